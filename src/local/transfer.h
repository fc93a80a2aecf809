/*
 * transfer.h
 *	  Who moves rows between the hub and a polled relation: one at a time.
 */
#ifndef SYNCEXT_TRANSFER_H
#define SYNCEXT_TRANSFER_H

/*
 * Take the relation's transfer lock until the end of the transaction, waiting for
 * it at most so many milliseconds (-1: as long as it takes).  False: somebody
 * else has it.
 */
extern bool transfer_lock(Oid relation, int timeout);

#endif							/* SYNCEXT_TRANSFER_H */
