/*
 * undelivered.h
 *	  Records that could not be delivered, outside of a batch of the feed.
 */
#ifndef SYNCEXT_UNDELIVERED_H
#define SYNCEXT_UNDELIVERED_H

#include "hub/batch.h"

/*
 * Put the records into syncext.pending, as an acknowledgement does: they are delivered
 * when they are due, or are dead letters.  Holds the cursors of all of the target's
 * slots until the end of the transaction, so call it before anything else is locked.
 */
extern void undelivered_note(const char *target, const BatchFailure *failures, int n);

#endif							/* SYNCEXT_UNDELIVERED_H */
