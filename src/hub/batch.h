/*
 * batch.h
 *	  What a target is served next: cutting batches out of the feed and the
 *	  backfill, and what an acknowledgement does to them.
 */
#ifndef SYNCEXT_BATCH_H
#define SYNCEXT_BATCH_H

#include "compat.h"
#include "hub/batch_record.h"

/* Fill in the records of a new batch; returns false if there is nothing. */
extern bool batch_cut(Feed *feed, int max);
/*
 * Fill in the records of the batch that comes after the one that is out, of the same window,
 * as if that were finished: the cursor then stands as it will then.  It is not to be saved
 * so.  Returns false if there is nothing.
 */
extern bool batch_cut_ahead(Feed *feed, int max);
/*
 * Where the batch has just been finished, let the one that was cut ahead be the next: false
 * if the cursor doesn't stand where it stood behind batch_cut_ahead().
 */
extern bool batch_take_up(Feed *feed, const Cursor *ahead);
/* Fill in those of the batch that is out. */
extern void batch_collect(Feed *feed);
/* Does the batch have the record?  After batch_collect. */
extern bool batch_has(Feed *feed, const char *entity, const char *external_id);
extern void batch_lease(Feed *feed);
extern bool batch_is_leased(const Feed *feed);
/* Go on behind the batch; these of its records have failed. */
extern void batch_finish(Feed *feed, const BatchFailure *failures, int nfailures);
/* Raise if an acknowledgement names more records, in its argument of that name, than are served. */
extern void batch_check_named(int n, const char *argument);
/* Raise that a failure is of a record which the batch doesn't have. */
pg_noreturn extern void batch_refuse_failure(const Feed *feed, const BatchFailure *failure);

#endif							/* SYNCEXT_BATCH_H */
