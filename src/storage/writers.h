/*
 * writers.h
 *	  Waiting for transactions that change golden records, without holding
 *	  others up.
 */
#ifndef SYNCEXT_WRITERS_H
#define SYNCEXT_WRITERS_H

/*
 * Wait until every transaction that has written to syncext.canonical, or was about
 * to, has ended; those that begin meanwhile don't count.  They have read the
 * configuration as it is committed now.  Returns false if one of them goes on for
 * longer than timeout (ms).
 */
extern bool writers_wait(int timeout);
/*
 * Like writers_wait(), but without that limit, as one waits for a row: lock_timeout, a cancel and the
 * detection of deadlocks end it.  Returns whether any had to be waited for.
 */
extern bool writers_wait_out(void);

/*
 * How many transactions have ended that had written something.  Where it is the same twice,
 * nothing has come to be seen between.
 */
extern uint64 writers_ended(void);

#endif							/* SYNCEXT_WRITERS_H */
