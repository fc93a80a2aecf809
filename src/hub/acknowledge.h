/*
 * acknowledge.h
 *	  What became of a batch, as its target says.
 */
#ifndef SYNCEXT_ACKNOWLEDGE_H
#define SYNCEXT_ACKNOWLEDGE_H

#include "hub/batch.h"

/*
 * Raises if the current user may not act as the source.  named: the target has given records
 * of the batch keys of its own, and what refers to them can come.
 */
extern void acknowledge_batch(const char *source, int slot, int64 batch,
							  BatchFailure *failures, int nfailures, bool named);

#endif							/* SYNCEXT_ACKNOWLEDGE_H */
