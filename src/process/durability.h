/*
 * durability.h
 *	  When a transaction is flushed, where it isn't the session's to say.
 *
 * What one server has told another must not be forgotten in a crash.  What it has
 * told no other server may be, if it is asked or told again.  So a link's
 * transactions needn't wait for the disk one by one: the message does.
 */
#ifndef SYNCEXT_DURABILITY_H
#define SYNCEXT_DURABILITY_H

/* Let the transaction commit without a flush: it can be done again. */
extern void durability_none(void);

/*
 * Flush the transaction, whatever the session's synchronous_commit, but after it
 * has become visible; what is sent to the client comes after the flush.
 */
extern void durability_after_commit(void);

/* Wait until all that the session has committed is as durable as it wants it. */
extern void durability_wait(void);

/* For _PG_init. */
extern void durability_init(void);

#endif							/* SYNCEXT_DURABILITY_H */
