/*
 * exchange_step.h
 *	  An exchange under way, and its steps, each a transaction: what push, pull and
 *	  resync stand on.
 */
#ifndef SYNCEXT_EXCHANGE_STEP_H
#define SYNCEXT_EXCHANGE_STEP_H

#include "lib/stringinfo.h"

#include "link/upstream.h"
#include "link/link_state.h"
#include "link/side.h"

/* Changes that go to the hub in one call. */
typedef struct PushMessage
{
	StringInfoData changes;		/* a JSON array, in the hub's encoding */
	Size		bytes;			/* its size there, or here if that is more */
	int			n;				/* of them; 0: there is no message */
} PushMessage;

/* The batch of captured changes that is out, or the one to come after it. */
typedef struct Push
{
	MemoryContext context;		/* of the batch */
	OutboxBatch batch;			/* no changes: there is none */
	PushedAnswer *answers;		/* to its changes, as they come */
	PushMessage message;		/* of changes from .. to - 1, but for those that the wire */
	int			from;			/* can't carry, which have their answer */
	int			to;
	int			room;			/* for so many changes in the next message */
	Size		bytes;			/* of those that were sent */
	int			unsent;			/* changes that the wire can't carry */
	bool		followed;		/* the one after it was cut, or looked for */
	bool		owed;			/* there are rows of which all is to be noted first */
	bool		noted;			/* that was done, and nothing has been sent since */
	int			max;			/* changes in the next batch */
} Push;

typedef struct Pull
{
	MemoryContext context;		/* of the batch */
	bool		asked;			/* one is on its way */
	int64		batch;
	int			nrecords;		/* that can be read here */
	PulledRecord *records;
	int			nunread;		/* that can't */
	struct UnreadRecord *unread;
	int			max;			/* records in the next batch */
	int			refused_acks;	/* one after the other */
} Pull;

/* A call that was sent, or two that are one transaction there. */
typedef enum CallKind
{
	CALL_PUSH,
	CALL_PULL,
	CALL_ACK,
	CALL_ACK_AND_PULL
} CallKind;

typedef struct Exchange
{
	const char *link;
	const char *source;
	const SpokeSide *side;		/* this and the next as they were under the lock */
	bool		pulls;			/* there is something to put what comes into */
	bool		procedure;		/* commits through SPI */
	bool		locked;			/* no other session exchanges over the link */
	bool		ask_again;		/* the hub may have more entities by now */
	bool		greet_again;	/* we have gone back in time, and begun anew */
	bool		says_keys;		/* tables of its draw keys, which the hub is told */
	bool		asks_keys;		/* and which keys were drawn before is to be asked */
	List	   *unsaid;			/* keys that are being told, of SourceKey * */
	const char *unsaid_text;	/* and as they go over the wire */
	MemoryContext unsaid_context;	/* of these */
	Jsonb	   *greatest;		/* the greatest keys that the hub knows */
	bool		compare;		/* something that was agreed on may be of another time of the hub */
	const char *refused;		/* why the link is stopped, if it is */
	struct Resync *resync;		/* under way, or NULL */
	MemoryContext context;
	MemoryContext step;			/* of one step */
	Upstream   *upstream;
	List	   *calls;			/* of CallKind, in the order they were sent */
	int			batch_bytes;	/* how large one may be: setting_link_batch_bytes, or less after one
								 * for which there was not enough memory */
	int			batches;		/* so far, both ways */
	Push		push;
	Push		ahead;			/* made up while the hub works on that one */
	Pull		pull;
	ExchangeResult *result;
	const char *error;			/* that it failed with, to be noted */
} Exchange;

/* Batches, both ways, after which an exchange ends though there is more. */
#define MAX_BATCHES		1000

/*
 * Run the function in a transaction, and commit it.  If it raises, nothing of it is
 * done, and no transaction of ours is left open.
 */
extern void exchange_step(Exchange *x, void (*function) (Exchange *x));
/* Note that a call went to the hub: its answer comes after those of earlier calls. */
extern void exchange_sent(Exchange *x, CallKind kind);
/* False once MAX_BATCHES have gone over the link. */
extern bool exchange_may_go_on(const Exchange *x);
/* How many to ask for next, after n that had so many bytes in all. */
extern int	exchange_next_max(const Exchange *x, int n, Size bytes);

/* What time it is by the hub's clock, about. */
extern TimestampTz exchange_hub_time(const Exchange *x);

/*
 * One session exchanges over a link at a time.  exchange_lock() and exchange_unlock()
 * bracket an exchange of many transactions; exchange_hold() keeps exchanges away until
 * the end of the caller's transaction.
 */
extern void exchange_lock(Exchange *x);
extern void exchange_unlock(Exchange *x);
extern void exchange_hold(const char *link);

#endif							/* SYNCEXT_EXCHANGE_STEP_H */
