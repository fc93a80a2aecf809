/*
 * batch.h
 *	  What a target is served next: cutting batches out of the feed, the
 *	  backfill and the retries, and what an acknowledgement does to them.
 */
#ifndef SYNCEXT_BATCH_H
#define SYNCEXT_BATCH_H

#include "storage/cursor.h"
#include "storage/pending.h"
#include "storage/record_set.h"

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

/* One target's feed, open for the time of a call, and the batch at hand. */
typedef struct Feed
{
	const Registry *registry;
	const Source *target;
	TimestampTz now;
	CursorTable *cursors;
	PendingTable *pending;
	FeedLog    *log;
	Cursor		cursor;
	Tick		lo;				/* the cursor's ticks; hi if it has one */
	Tick		hi;

	bool		any_pending;	/* the target has rows in pending */
	int			nrecords;
	int			room;			/* for records */
	BatchRecord *records;
	int			nheld;			/* how many of them are left out */
	RecordSet  *members;		/* their places in records, from 1 */
} Feed;

extern Feed *feed_open(const char *source, bool write);
extern void feed_close(Feed *feed);
/* Is there nothing to serve?  Holds no lock and writes nothing. */
extern bool feed_idle(Feed *feed);
/* Hold the target's cursor until the end of the transaction. */
extern void feed_lock(Feed *feed);
/* Store the cursor; once a call, at its end. */
extern void feed_save(Feed *feed);

/* Fill in the records of a new batch; returns false if there is nothing. */
extern bool batch_cut(Feed *feed, int max);
/* Fill in those of the batch that is out. */
extern void batch_collect(Feed *feed);
extern void batch_lease(Feed *feed);
extern bool batch_is_leased(const Feed *feed);
/* Go on behind the batch; these of its records have failed. */
extern void batch_finish(Feed *feed, const BatchFailure *failures, int nfailures);

#endif							/* SYNCEXT_BATCH_H */
