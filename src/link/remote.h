/*
 * remote.h
 *	  A connection to another server: open it, send calls, take their results.
 *
 * The only file pair that knows libpq.  Nothing here needs a transaction, and
 * every wait heeds interrupts.  An error that is raised leaves the connection
 * in no state to be used again: close it.
 */
#ifndef SYNCEXT_REMOTE_H
#define SYNCEXT_REMOTE_H

#include "libpq-fe.h"

typedef struct Remote
{
	PGconn	   *conn;
	const char *name;			/* of the link, for messages */
	int			expected;		/* answers that are still to come */
} Remote;

/*
 * Connect with libpq's keywords and values (NULL at the end), in so many
 * milliseconds.  Raises 08001 with what libpq says if that fails.
 */
extern void remote_open(Remote *remote, const char *name, const char *const *keywords,
						const char *const *values, int timeout);
/* Close it; an open call is cancelled there first if that is wanted. */
extern void remote_close(Remote *remote, bool cancel);
/* Is it open, and has the other side not hung up?  Reads what has come. */
extern bool remote_alive(Remote *remote);

/*
 * Queue a call, with parameters as text (NULL: null).  Calls up to the next
 * remote_sync are one transaction there; several such may be under way.
 */
extern void remote_send(Remote *remote, const char *command, int nparams,
						const char *const *params);
extern void remote_send_prepared(Remote *remote, const char *name, int nparams,
								 const char *const *params);
/* Queue a call that gives a statement a name; planned once, it can be sent by it. */
extern void remote_prepare(Remote *remote, const char *name, const char *command);
extern void remote_sync(Remote *remote);
/*
 * Take the results of the n calls of the next transaction in order, and its end,
 * waiting for each so many milliseconds.  Where one of them is an error the ones
 * behind it are PGRES_PIPELINE_ABORTED; where the commit failed the last one is
 * that error.  The caller clears them.
 */
extern void remote_results(Remote *remote, int n, PGresult **results, int timeout);
extern PGresult *remote_result(Remote *remote, int timeout);	/* of one call */
/*
 * The same, where the calls look for all that there is: what the other side has
 * notified us of before is forgotten.
 */
extern void remote_results_of_all(Remote *remote, int n, PGresult **results, int timeout);
/* Raise the error that the other side answered with, if it is one. */
extern void remote_check(const Remote *remote, PGresult *result);
/* Send one call and take its result, which is good. */
extern PGresult *remote_call(Remote *remote, const char *command, int nparams,
							 const char *const *params, int timeout);

/* The SQLSTATE of a result that is an error, else 0. */
extern int	remote_sqlstate(const PGresult *result);

#endif							/* SYNCEXT_REMOTE_H */
