/*
 * capture_failure.h
 *	  Rows of attached relations that could not be brought to the hub: table
 *	  syncext.capture_failure.
 */
#ifndef SYNCEXT_CAPTURE_FAILURE_H
#define SYNCEXT_CAPTURE_FAILURE_H

#include "nodes/pg_list.h"

#include "storage/attempt.h"
#include "storage/mapped.h"

typedef MappedTable CaptureFailures;

typedef struct CaptureFailure
{
	Oid			relation;
	const char *external_id;	/* '': rows without a usable key */
	TimestampTz since;
	TimestampTz tried_at;		/* the last time; saved as 0: now */
	Attempt		attempt;
} CaptureFailure;

extern const MappedDef capture_failure_def;

/* Has the table never had a row?  That is cheaper to know, and once for many rows of a relation. */
extern bool capture_failures_none(CaptureFailures *failures);
/* Is there one of the relation? */
extern bool capture_failures_any(CaptureFailures *failures, Oid relation);
extern bool capture_failure_find(CaptureFailures *failures, Oid relation,
								 const char *external_id, CaptureFailure *failure);
/* Is there one of the row?  Opens the table, and closes it. */
extern bool capture_failure_owed(Oid relation, const char *external_id);
extern void capture_failure_save(CaptureFailures *failures, const CaptureFailure *failure);
/* Have an edit of the row that had failed, if one has, looked at again. */
extern void capture_failure_recall(CaptureFailures *failures, Oid relation,
								   const char *external_id);
/* Returns whether it was there. */
extern bool capture_failure_remove(CaptureFailures *failures, Oid relation,
								   const char *external_id);
/*
 * A relation's failures (CaptureFailure *) behind an id (NULL: from the start), in
 * the order of their ids, at most n; those that are due by a time, or all if it is
 * DT_NOEND.
 */
extern List *capture_failures_of(CaptureFailures *failures, Oid relation, const char *after,
								 TimestampTz due_by, int n);

#endif							/* SYNCEXT_CAPTURE_FAILURE_H */
