/*
 * batch_record.h
 *	  The records of a batch.
 */
#ifndef SYNCEXT_BATCH_RECORD_H
#define SYNCEXT_BATCH_RECORD_H

#include "hub/changed_fields.h"
#include "hub/feed.h"
#include "model/record.h"

/* A delivery that the target could not take. */
typedef struct BatchFailure
{
	const char *entity;
	const char *external_id;
	const char *error;
	bool		busy;			/* just not now: doesn't count */
	bool		waits;			/* busy, for a record that it refers to has no row there */
} BatchFailure;

typedef struct BatchRecord
{
	const char *entity;
	const char *external_id;
	int			depth;			/* of the entity, among the references */
	int64		row_version;	/* the newest that the log has in the batch */
	bool		correction;		/* the target's own change lost */
	bool		deferred;		/* left out: it is pending, and not due */
	bool		retry;			/* it is pending, and due */
	int			attempts;		/* failures so far */
	ChangedFields changed;		/* if feed->wants_changed */
	const BatchFailure *failure;	/* what the acknowledgement says of it */
} BatchRecord;

/* How many records the batch serves. */
extern int	batch_size(const Feed *feed);
/* Parents first; the numbers that feed->members has of them hold no more. */
extern void batch_sort(Feed *feed);
/* Add the record that members has got just now. */
extern BatchRecord *batch_append(Feed *feed, RecordSetEntry *member);

#endif							/* SYNCEXT_BATCH_RECORD_H */
