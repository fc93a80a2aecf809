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

#endif							/* SYNCEXT_WRITERS_H */
