/*
 * capture_failure.c
 *	  Rows of attached relations that could not be brought to the hub: table
 *	  syncext.capture_failure.
 *
 * Called by polls and links, which try them again, and by hub/redrive.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "model/clip.h"
#include "storage/capture_failure.h"
#include "storage/registry.h"
#include "storage/rows.h"

enum
{
	COL_RELATION = 1,
	COL_EXTERNAL_ID,
	COL_SINCE,
	COL_TRIED_AT,
	COL_ATTEMPTS,
	COL_NEXT_ATTEMPT,
	COL_DEAD_SINCE,
	COL_ERROR,
	NCOLUMNS = COL_ERROR
};

struct CaptureFailures
{
	Rows	   *rows;
};

CaptureFailures *
capture_failures_open(bool write)
{
	CaptureFailures *failures = palloc(sizeof(CaptureFailures));
	Oid			relid = registry_relation("capture_failure");

	failures->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return failures;
}

void
capture_failures_close(CaptureFailures *failures)
{
	rows_close(failures->rows);
	pfree(failures);
}

bool
capture_failures_any(CaptureFailures *failures, Oid relation)
{
	Datum		key = ObjectIdGetDatum(relation);

	return !rows_empty(failures->rows) && rows_find(failures->rows, 1, &key);
}

static bool
find_row(CaptureFailures *failures, Oid relation, const char *external_id)
{
	Datum		keys[2] = {ObjectIdGetDatum(relation), CStringGetTextDatum(external_id)};

	return rows_find(failures->rows, 2, keys);
}

static void
read_failure(const Rows *rows, CaptureFailure *failure)
{
	bool		isnull;
	Datum		error;

	failure->relation = DatumGetObjectId(rows_value(rows, COL_RELATION, &isnull));
	failure->external_id = TextDatumGetCString(rows_value(rows, COL_EXTERNAL_ID, &isnull));
	failure->since = DatumGetTimestampTz(rows_value(rows, COL_SINCE, &isnull));
	failure->tried_at = DatumGetTimestampTz(rows_value(rows, COL_TRIED_AT, &isnull));
	failure->attempts = DatumGetInt32(rows_value(rows, COL_ATTEMPTS, &isnull));
	failure->next_attempt = DatumGetTimestampTz(rows_value(rows, COL_NEXT_ATTEMPT, &isnull));
	failure->dead = isnull;
	failure->dead_since = DatumGetTimestampTz(rows_value(rows, COL_DEAD_SINCE, &isnull));
	if (isnull)
		failure->dead_since = failure->since;
	error = rows_value(rows, COL_ERROR, &isnull);
	failure->error = isnull ? NULL : TextDatumGetCString(error);
}

bool
capture_failure_find(CaptureFailures *failures, Oid relation, const char *external_id,
					 CaptureFailure *failure)
{
	if (!find_row(failures, relation, external_id))
		return false;
	read_failure(failures->rows, failure);
	return true;
}

static TimestampTz
or_now(TimestampTz time)
{
	return time == 0 ? GetCurrentTimestamp() : time;
}

void
capture_failure_save(CaptureFailures *failures, const CaptureFailure *failure)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS] = {false};
	bool		done;

	values[COL_RELATION - 1] = ObjectIdGetDatum(failure->relation);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(failure->external_id);
	values[COL_SINCE - 1] = TimestampTzGetDatum(failure->since);
	values[COL_TRIED_AT - 1] = TimestampTzGetDatum(or_now(failure->tried_at));
	values[COL_ATTEMPTS - 1] = Int32GetDatum(failure->attempts);
	values[COL_NEXT_ATTEMPT - 1] = TimestampTzGetDatum(failure->next_attempt);
	isnull[COL_NEXT_ATTEMPT - 1] = failure->dead;
	values[COL_DEAD_SINCE - 1] = TimestampTzGetDatum(or_now(failure->dead_since));
	isnull[COL_DEAD_SINCE - 1] = !failure->dead;
	isnull[COL_ERROR - 1] = failure->error == NULL;
	if (failure->error != NULL)
		values[COL_ERROR - 1] =
			CStringGetTextDatum(clip_string(failure->error, CLIP_ERROR));
	do
	{
		if (find_row(failures, failure->relation, failure->external_id))
			done = rows_update(failures->rows, values, isnull) == ROWS_DONE;
		else
			done = rows_insert_new(failures->rows, values, isnull);
	} while (!done);
}

bool
capture_failure_remove(CaptureFailures *failures, Oid relation, const char *external_id)
{
	while (find_row(failures, relation, external_id))
	{
		if (rows_delete(failures->rows) == ROWS_DONE)
			return true;
	}
	return false;
}

List *
capture_failures_of(CaptureFailures *failures, Oid relation, const char *after,
					TimestampTz due_by, int n)
{
	Datum		key = ObjectIdGetDatum(relation);
	Datum		last = CStringGetTextDatum(after != NULL ? after : "");
	RowsScan   *scan = rows_scan_begin(failures->rows, NULL, 1, &key, after != NULL ? 1 : 0,
									   &last);
	List	   *result = NIL;

	while (list_length(result) < n && rows_scan_next(scan))
	{
		CaptureFailure *failure = palloc(sizeof(CaptureFailure));

		read_failure(failures->rows, failure);
		if (TIMESTAMP_IS_NOEND(due_by) || (!failure->dead && failure->next_attempt <= due_by))
			result = lappend(result, failure);
	}
	rows_scan_end(scan);
	return result;
}
