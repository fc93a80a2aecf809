/*
 * relation_lock.h
 *	  The lock of a polled relation for moving rows between it and the hub.
 */
#ifndef SYNCEXT_RELATION_LOCK_H
#define SYNCEXT_RELATION_LOCK_H

/*
 * Take the relation's transfer lock until the end of the transaction, waiting for
 * it at most so many milliseconds (-1: as long as it takes).  False: another
 * transaction has it.
 */
extern bool relation_lock(Oid relation, int timeout);

#endif							/* SYNCEXT_RELATION_LOCK_H */
