/*
 * remote.h
 *	  A connection to another server: open it, send calls, take their answers.
 *
 * The only file pair that knows libpq.  Nothing here needs a transaction, and
 * every wait heeds interrupts and a deadline.  An error that is raised leaves the
 * connection in no state to be used again: remote_alive() says so, close it.
 */
#ifndef SYNCEXT_REMOTE_H
#define SYNCEXT_REMOTE_H

#include "datatype/timestamp.h"
#include "port.h"

#include "link/reply.h"

struct pg_conn;
struct pg_result;

typedef struct Remote
{
	struct pg_conn *conn;
	const char *name;			/* of the link, for messages */
	int			expected;		/* answers that are still to come */
	bool		broken;			/* something went wrong on it */
	bool		notified;		/* since that was last looked at */
	bool		listens;		/* set by the caller that had the other side notify us */
	struct pg_result *result;	/* at hand; NULL: none */
	int64		opened;			/* the process's memory beside that of contexts when it was opened */
	int64		memory;			/* the same when the answer at hand was begun to be read */
	Size		max_bytes;		/* of the largest answer that was asked for */
} Remote;

extern TimestampTz remote_deadline(int milliseconds);

/*
 * Connect with libpq's keywords and values (NULL at the end) until a deadline.
 * Raises 08001 with what libpq says if that fails.
 */
extern void remote_open(Remote *remote, const char *name, const char *const *keywords,
						const char *const *values, TimestampTz deadline);
/*
 * Close it.  A call that is under way there is not cancelled, which could take as
 * long as any call: the other side finds by itself that we are gone.
 */
extern void remote_close(Remote *remote);
/* Is it open, with nothing outstanding, and has the other side not hung up? */
extern bool remote_alive(Remote *remote);
/* Has nothing come yet of the answer that is outstanding? */
extern bool remote_waits(Remote *remote);
extern bool remote_used_password(const Remote *remote);
/* The process that the other side says serves us. */
extern int	remote_pid(const Remote *remote);

/* To wait on for what the other side says unasked: PGINVALID_SOCKET if it is closed. */
extern pgsocket remote_socket(const Remote *remote);
/*
 * Between calls: has it notified us since we last looked, or hung up?  Reads what
 * has come.
 */
extern bool remote_take_notified(Remote *remote);

/*
 * Queue a call, with parameters as text of the wire's (NULL: null).  Calls up to
 * the next remote_sync are one transaction there; several such may be under way.
 */
extern void remote_send(Remote *remote, const char *command, int nparams,
						const char *const *params);
extern void remote_send_prepared(Remote *remote, const char *name, int nparams,
								 const char *const *params);
/* Queue a call that gives a statement a name; planned once, it can be sent by it. */
extern void remote_prepare(Remote *remote, const char *name, const char *command);
extern void remote_sync(Remote *remote);
/*
 * Wait until the other side has read all that was sent, but for what the system keeps for it.
 * Returns false if it has said something first, or hasn't read on until the deadline: the
 * rest is sent while an answer is waited for.
 */
extern bool remote_flush(Remote *remote, TimestampTz deadline);
/*
 * Take the answers to the n calls of the next transaction in order, and its end,
 * waiting until the deadline at most.  Where one of them is an error those behind
 * it are errors, too; where the commit failed the last one is that error.  They
 * are allocated in the current memory context.  Where the calls look for all that there
 * is (sees_all), what the other side has notified us of before is forgotten.
 */
extern void remote_replies(Remote *remote, int n, bool sees_all, const ReplyShape *const *shapes,
						   Reply **replies, TimestampTz deadline);
/* Of one call. */
extern Reply *remote_reply(Remote *remote, const ReplyShape *shape, TimestampTz deadline);
/* Send one call and take its answer, which is good. */
extern Reply *remote_call(Remote *remote, const char *command, int nparams,
						  const char *const *params, const ReplyShape *shape,
						  TimestampTz deadline);

#endif							/* SYNCEXT_REMOTE_H */
