/*
 * outstanding.h
 *	  Captured edits that the hub behind a link has not answered yet.
 */
#ifndef SYNCEXT_OUTSTANDING_H
#define SYNCEXT_OUTSTANDING_H

#include "model/fold.h"
#include "storage/replica.h"

/*
 * Has the record an edit with this seq or a higher one that waits to be sent, or to
 * be answered?  What this transaction itself has captured isn't seen.
 */
extern bool outstanding_has(const char *source, const char *entity, const char *external_id,
							int64 settled);

typedef struct OutstandingEdits
{
	Fold		fold;
	int64		first;			/* seq of the oldest one, */
	int64		last;			/* and of the newest */
} OutstandingEdits;

/*
 * Fold these edits of a row.  May be old: the newest may be missing, which is cheap.  False:
 * one of them was edited in the log to what it can't be.
 */
extern bool outstanding_fold(const char *source, const char *entity, const ReplicaRow *replica,
							 bool may_be_old, OutstandingEdits *edits);

#endif							/* SYNCEXT_OUTSTANDING_H */
