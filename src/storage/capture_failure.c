/*
 * capture_failure.c
 *	  Rows of attached relations that could not be brought to the hub: table
 *	  syncext.capture_failure.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "storage/capture_failure.h"

const MappedDef capture_failure_def = {
	.relation = "capture_failure",
	.column = {
		[COL_CAPTURE_FAILURE_RELATION] = {MAP_OID, offsetof(CaptureFailure, relation)},
		[COL_CAPTURE_FAILURE_EXTERNAL_ID] = {MAP_TEXT, offsetof(CaptureFailure, external_id)},
		[COL_CAPTURE_FAILURE_SINCE] = {MAP_TIME, offsetof(CaptureFailure, since)},
		[COL_CAPTURE_FAILURE_TRIED_AT] = {MAP_TIME, offsetof(CaptureFailure, tried_at)},
		[COL_CAPTURE_FAILURE_ATTEMPTS] = {MAP_INT4, offsetof(CaptureFailure, attempt.attempts)},
		[COL_CAPTURE_FAILURE_NEXT_ATTEMPT] = {MAP_TIME, offsetof(CaptureFailure, attempt.next_attempt), DT_NOEND},
		[COL_CAPTURE_FAILURE_DEAD_SINCE] = {MAP_TIME, offsetof(CaptureFailure, attempt.dead_since)},
		[COL_CAPTURE_FAILURE_ERROR] = {MAP_ERROR, offsetof(CaptureFailure, attempt.error)},
	}
};

bool
capture_failures_none(CaptureFailures *failures)
{
	return rows_empty(failures->rows);
}

bool
capture_failures_any(CaptureFailures *failures, Oid relation)
{
	const CaptureFailure any = {.relation = relation};

	return !rows_empty(failures->rows) && mapped_seek(failures, 1, &any);
}

bool
capture_failure_find(CaptureFailures *failures, Oid relation, const char *external_id,
					 CaptureFailure *failure)
{
	failure->relation = relation;
	failure->external_id = external_id;
	return mapped_find(failures, failure);
}

bool
capture_failure_owed(Oid relation, const char *external_id)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, false);
	CaptureFailure failure;
	bool		owed = capture_failures_any(failures, relation) &&
		capture_failure_find(failures, relation, external_id, &failure);

	mapped_close(failures);
	return owed;
}

void
capture_failure_save(CaptureFailures *failures, const CaptureFailure *failure)
{
	CaptureFailure row = *failure;

	if (row.tried_at == 0)
		row.tried_at = GetCurrentTimestamp();
	mapped_save(failures, &row);
}

void
capture_failure_recall(CaptureFailures *failures, Oid relation, const char *external_id)
{
	CaptureFailure failure;

	if (!capture_failures_any(failures, relation) ||
		!capture_failure_find(failures, relation, external_id, &failure))
		return;
	attempt_recall(&failure.attempt, GetCurrentTimestamp());
	capture_failure_save(failures, &failure);
}

bool
capture_failure_remove(CaptureFailures *failures, Oid relation, const char *external_id)
{
	const CaptureFailure row = {.relation = relation, .external_id = external_id};

	return mapped_remove(failures, &row);
}

List *
capture_failures_of(CaptureFailures *failures, Oid relation, const char *after,
					TimestampTz due_by, int n)
{
	const CaptureFailure asked = {.relation = relation, .external_id = after};
	RowsScan   *scan = mapped_scan(failures, NULL, 1, after != NULL ? 1 : 0, &asked);
	List	   *result = NIL;

	while (list_length(result) < n && rows_scan_next(scan))
	{
		CaptureFailure *failure = mapped_copy(failures, sizeof(CaptureFailure));

		if (TIMESTAMP_IS_NOEND(due_by) || failure->attempt.next_attempt <= due_by)
			result = lappend(result, failure);
	}
	rows_scan_end(scan);
	return result;
}
