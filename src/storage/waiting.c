/*
 * waiting.c
 *	  Changes whose parent has not arrived: table syncext.waiting.
 *
 * Called by hub/dependency.
 */
#include "postgres.h"

#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "model/clip.h"
#include "storage/registry.h"
#include "storage/rows.h"
#include "storage/waiting.h"

enum
{
	COL_ID = 1,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_SOURCE,
	COL_PARENT_ENTITY,
	COL_PARENT_ID,
	COL_CHANGE,
	COL_PARKED_AT,
	COL_ATTEMPTS,
	COL_NEXT_ATTEMPT,
	COL_ERROR,
	COL_DEAD_SINCE,
	NCOLUMNS = COL_DEAD_SINCE
};

struct Waiting
{
	Rows	   *rows;
};

Waiting *
waiting_open(bool write)
{
	Waiting    *waiting = palloc0(sizeof(Waiting));
	Oid			relid = registry_relation("waiting");

	waiting->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	/* a change that was parked after our snapshot can be waiting for us */
	rows_see_latest(waiting->rows);
	return waiting;
}

void
waiting_close(Waiting *waiting)
{
	rows_close(waiting->rows);
	pfree(waiting);
}

static char *
text_value(Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static WaitingChange *
read_waiting(Rows *rows)
{
	WaitingChange *w = palloc(sizeof(WaitingChange));
	bool		isnull;

	w->id = DatumGetInt64(rows_value(rows, COL_ID, &isnull));
	w->entity = text_value(rows, COL_ENTITY);
	w->external_id = text_value(rows, COL_EXTERNAL_ID);
	w->source = text_value(rows, COL_SOURCE);
	w->parent_entity = text_value(rows, COL_PARENT_ENTITY);
	w->parent_id = text_value(rows, COL_PARENT_ID);
	w->change = DatumGetJsonbPCopy(rows_value(rows, COL_CHANGE, &isnull));
	w->parked_at = DatumGetTimestampTz(rows_value(rows, COL_PARKED_AT, &isnull));
	w->attempts = DatumGetInt32(rows_value(rows, COL_ATTEMPTS, &isnull));
	w->next_attempt = DatumGetTimestampTz(rows_value(rows, COL_NEXT_ATTEMPT, &isnull));
	if (isnull)
		w->next_attempt = DT_NOEND;
	w->error = text_value(rows, COL_ERROR);
	w->dead_since = DatumGetTimestampTz(rows_value(rows, COL_DEAD_SINCE, &isnull));
	/* a dead letter that plain SQL has made bears no time of its own */
	if (isnull)
		w->dead_since = TIMESTAMP_IS_NOEND(w->next_attempt) ? w->parked_at : 0;
	return w;
}

static void
write_values(const WaitingChange *w, Datum *values, bool *isnull)
{
	memset(isnull, false, NCOLUMNS * sizeof(bool));
	values[COL_ID - 1] = Int64GetDatum(w->id);
	values[COL_ENTITY - 1] = CStringGetTextDatum(w->entity);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(w->external_id);
	values[COL_SOURCE - 1] = CStringGetTextDatum(w->source);
	values[COL_PARENT_ENTITY - 1] = CStringGetTextDatum(w->parent_entity);
	values[COL_PARENT_ID - 1] = CStringGetTextDatum(w->parent_id);
	values[COL_CHANGE - 1] = JsonbPGetDatum(w->change);
	values[COL_PARKED_AT - 1] = TimestampTzGetDatum(w->parked_at);
	values[COL_ATTEMPTS - 1] = Int32GetDatum(w->attempts);
	values[COL_NEXT_ATTEMPT - 1] = TimestampTzGetDatum(w->next_attempt);
	isnull[COL_NEXT_ATTEMPT - 1] = TIMESTAMP_IS_NOEND(w->next_attempt);
	if (w->error != NULL)
		values[COL_ERROR - 1] = CStringGetTextDatum(clip_string(w->error, CLIP_ERROR));
	isnull[COL_ERROR - 1] = w->error == NULL;
	values[COL_DEAD_SINCE - 1] = TimestampTzGetDatum(w->dead_since != 0 ? w->dead_since :
													 GetCurrentTimestamp());
	isnull[COL_DEAD_SINCE - 1] = !TIMESTAMP_IS_NOEND(w->next_attempt);
}

int64
waiting_add(Waiting *waiting, const WaitingChange *change)
{
	WaitingChange w = *change;
	Datum		values[NCOLUMNS] = {0};
	bool		isnull[NCOLUMNS];

	w.id = nextval_internal(registry_relation("waiting_id_seq"), false);
	write_values(&w, values, isnull);
	rows_insert(waiting->rows, values, isnull);
	return w.id;
}

static List *
waiting_by(Waiting *waiting, const char *index, const char *entity, const char *external_id)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};
	RowsScan   *scan = rows_scan_begin(waiting->rows, registry_relation(index), 2, keys, 0, NULL);
	List	   *found = NIL;

	while (rows_scan_next(scan))
		found = lappend(found, read_waiting(waiting->rows));
	rows_scan_end(scan);
	return found;
}

/* At most n changes with ids above after_id. */
List *
waiting_for_parent(Waiting *waiting, const char *entity, const char *external_id, int64 after_id,
				   int n)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};
	Datum		after = Int64GetDatum(after_id);
	RowsScan   *scan = rows_scan_begin(waiting->rows, registry_relation("waiting_parent"), 2, keys,
									   1, &after);
	List	   *found = NIL;

	while (list_length(found) < n && rows_scan_next(scan))
		found = lappend(found, read_waiting(waiting->rows));
	rows_scan_end(scan);
	return found;
}

List *
waiting_of_record(Waiting *waiting, const char *entity, const char *external_id)
{
	return waiting_by(waiting, "waiting_record", entity, external_id);
}

List *
waiting_of_source(Waiting *waiting, const char *source, const char *entity,
				  const char *external_id)
{
	RowsScan   *scan = rows_scan_begin(waiting->rows, InvalidOid, 0, NULL, 0, NULL);
	List	   *found = NIL;

	while (rows_scan_next(scan))
	{
		WaitingChange *w = read_waiting(waiting->rows);

		if (strcmp(w->source, source) == 0 &&
			(entity == NULL || strcmp(w->entity, entity) == 0) &&
			(external_id == NULL || strcmp(w->external_id, external_id) == 0))
			found = lappend(found, w);
	}
	rows_scan_end(scan);
	return found;
}

List *
waiting_due(Waiting *waiting, TimestampTz now, int n)
{
	RowsScan   *scan = rows_scan_begin(waiting->rows, registry_relation("waiting_due"), 0, NULL,
									   0, NULL);
	List	   *found = NIL;

	while (list_length(found) < n && rows_scan_next(scan))
	{
		WaitingChange *w = read_waiting(waiting->rows);

		if (w->next_attempt > now)
			break;
		found = lappend(found, w);
	}
	rows_scan_end(scan);
	return found;
}

bool
waiting_any_due(Waiting *waiting, TimestampTz now)
{
	return waiting_due(waiting, now, 1) != NIL;
}

bool
waiting_take(Waiting *waiting, int64 id)
{
	Datum		key = Int64GetDatum(id);

	return rows_find(waiting->rows, 1, &key) && rows_delete(waiting->rows) == ROWS_DONE;
}

bool
waiting_update(Waiting *waiting, const WaitingChange *change)
{
	Datum		key = Int64GetDatum(change->id);
	Datum		values[NCOLUMNS] = {0};
	bool		isnull[NCOLUMNS];

	if (!rows_find(waiting->rows, 1, &key))
		return false;
	write_values(change, values, isnull);
	return rows_update(waiting->rows, values, isnull) == ROWS_DONE;
}
