/*
 * deliver.h
 *	  What is due to a source, into its attached relations.
 */
#ifndef SYNCEXT_DELIVER_H
#define SYNCEXT_DELIVER_H

/*
 * Deliver a batch, in the caller's transaction.  Returns how many records the
 * relations now hold; 0: nothing more can be delivered.  Raises unless the user
 * may act as the source, and something is attached to deliver to.
 */
extern int64 deliver_some(const char *source, int max_records);

#endif							/* SYNCEXT_DELIVER_H */
