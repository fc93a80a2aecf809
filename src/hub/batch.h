/*
 * batch.h
 *	  What a target is served next: cutting batches out of the feed, the
 *	  backfill and the retries, and what an acknowledgement does to them.
 */
#ifndef SYNCEXT_BATCH_H
#define SYNCEXT_BATCH_H

#include "compat.h"
#include "hub/feed.h"

/* A delivery that the target could not take. */
typedef struct BatchFailure
{
	const char *entity;
	const char *external_id;
	const char *error;
	bool		busy;			/* just not now: doesn't count */
} BatchFailure;

typedef struct BatchRecord
{
	const char *entity;
	const char *external_id;
	int			depth;			/* of the entity, among the references */
	int64		row_version;	/* the newest that the log has in the batch */
	bool		correction;		/* the target's own change lost */
	bool		held;			/* left out: it is pending, and not due */
	bool		retry;			/* it is pending, and due */
	int			attempts;		/* failures so far */
	const BatchFailure *failure;	/* what the acknowledgement says of it */
} BatchRecord;

/* Fill in the records of a new batch; returns false if there is nothing. */
extern bool batch_cut(Feed *feed, int max);
/*
 * The record can't be put out as it is: it is a dead letter of the target until it
 * changes, and the batch goes on without it.
 */
extern void batch_set_aside(Feed *feed, BatchRecord *record, const char *error);
/* Fill in those of the batch that is out. */
extern void batch_collect(Feed *feed);
extern void batch_lease(Feed *feed);
extern bool batch_is_leased(const Feed *feed);
/* Go on behind the batch; these of its records have failed. */
extern void batch_finish(Feed *feed, const BatchFailure *failures, int nfailures);
/* Raise that a failure is of a record which the batch doesn't have. */
pg_noreturn extern void batch_refuse_failure(const Feed *feed, const BatchFailure *failure);
/* When the next attempt is due, after so many failures. */
extern TimestampTz batch_backoff(TimestampTz now, int failures);

#endif							/* SYNCEXT_BATCH_H */
