/*
 * exchange_state.h
 *	  An exchange under way: what its two halves, push and pull, share.
 */
#ifndef SYNCEXT_EXCHANGE_STATE_H
#define SYNCEXT_EXCHANGE_STATE_H


#include "hub/captured.h"
#include "link/connect.h"
#include "link/exchange.h"

/* What became of a change that was sent. */
typedef struct PushOutcome
{
	bool		written;		/* as it was sent, nothing of it lost */
	bool		alone;			/* and others have set nothing since its base */
	int64		row_version;	/* of the hub's record then; 0: it has none */
	bool		refused;		/* for good */
	const char *error;			/* why it was refused, or failed; NULL: it was answered */
} PushOutcome;

/* The batch of captured changes that is out. */
typedef struct Push
{
	MemoryContext context;		/* of the batch */
	CapturedBatch batch;		/* no changes: none is out */
	const char **documents;		/* its changes, as JSON on the wire; NULL: one that
								 * can't be told there, and has its outcome */
	PushOutcome *outcomes;
	int			parts;			/* that are still to be answered */
	bool		owed;			/* there are rows of which all is to be noted first */
	int			max;			/* changes in the next batch */
} Push;

typedef struct Pull
{
	MemoryContext context;		/* of the batch */
	bool		asked;			/* one is on its way */
	int64		batch;
	int			nrecords;		/* that can be read here */
	struct LinkedRecord *records;
	int			nunread;		/* that can't */
	struct UnreadRecord *unread;
	int			max;			/* records in the next batch */
	int			refused_acks;	/* one after the other */
} Pull;

/* A call that was sent, or two that are one transaction there. */
typedef enum CallKind
{
	CALL_PUSH,					/* changes from .. to - 1 of the batch */
	CALL_PULL,
	CALL_ACK,
	CALL_ACK_AND_PULL
} CallKind;

typedef struct Call
{
	CallKind	kind;
	int			from;
	int			to;
} Call;

typedef struct Exchange
{
	const char *link;
	const char *source;
	bool		relay;			/* a hub that is a spoke as a whole; these two as they were under the lock */
	bool		pulls;			/* there is something to put what comes into */
	bool		procedure;		/* commits through SPI */
	bool		locked;			/* no other session exchanges over the link */
	bool		ask_again;		/* the hub may have more entities by now */
	bool		greet_again;	/* we have gone back in time, and begun anew */
	const char *refused;		/* why the link is stopped, if it is */
	struct Resync *resync;		/* under way, or NULL */
	MemoryContext context;
	MemoryContext step;			/* of one step */
	Hub		   *hub;
	List	   *calls;			/* of Call *, in the order they were sent */
	int			batch_bytes;	/* how large one may be: setting_link_batch_bytes, or less after one
								 * for which there was not enough memory */
	int			batches;		/* so far, both ways */
	Push		push;
	Pull		pull;
	ExchangeResult *result;
	const char *error;			/* that it has failed by, to be noted */
	bool		out_of_memory;	/* and that was why */
} Exchange;

/* Batches, both ways, after which an exchange ends though there is more. */
#define MAX_BATCHES		1000
/* What a message should have at most, in bytes. */
#define MESSAGE_BYTES	(4 * 1024 * 1024)

/*
 * Do something in a transaction, and commit it.  If it raises, nothing of it is
 * done, and no transaction of ours is left open.
 */
extern void exchange_step(Exchange *x, void (*function) (Exchange *x));
extern void exchange_sent(Exchange *x, CallKind kind, int from, int to);
extern bool exchange_may_go_on(const Exchange *x);
/* How many to ask for next, after n that had so many bytes in all. */
extern int	exchange_next_max(const Exchange *x, int n, Size bytes);

/* What time it is by the hub's clock, about. */
extern TimestampTz exchange_hub_time(const Exchange *x);

/* Let nobody exchange over the link until the end of the transaction. */
extern void exchange_hold(const char *link);

/* exchange_push.c.  Cut the next batch: in a step. */
extern void push_cut(Exchange *x);
/* Send it; nothing if there is none. */
extern void push_send(Exchange *x);
/* Take the answer to some of it; if it was the last one, the next batch is sent. */
extern void push_answered(Exchange *x, const Call *call);

/* resync.c: the hub has gone back in time; in no step. */
extern void resync_run(Exchange *x);

/* exchange_pull.c */
extern void pull_ask(Exchange *x);
extern void pull_answered(Exchange *x, const Call *call);

#endif							/* SYNCEXT_EXCHANGE_STATE_H */
