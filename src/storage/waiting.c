/*
 * waiting.c
 *	  Changes whose parent has not arrived: table syncext.waiting.
 *
 * Called by hub/dependency.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "model/clip.h"
#include "storage/registry.h"
#include "storage/rows.h"
#include "storage/stored.h"
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

/* Documents that are held in memory at a time, once they are this large together. */
#define PORTION_BYTES	(16 * 1024 * 1024)

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
	w->change = stored_any(rows, COL_CHANGE);
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

/* Walk those of a record, or for a parent, in the order in which they were parked. */
static RowsScan *
scan_by(Waiting *waiting, const char *index, const char *entity, const char *external_id)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};

	return rows_scan_begin(waiting->rows, index, 2, keys, 0, NULL);
}

static bool
is_of_source(Waiting *waiting, const char *source)
{
	return strcmp(text_value(waiting->rows, COL_SOURCE), source) == 0;
}

List *
waiting_for_parent(Waiting *waiting, const char *entity, const char *external_id, int n)
{
	RowsScan   *scan = scan_by(waiting, "waiting_parent", entity, external_id);
	List	   *found = NIL;
	Size		bytes = 0;

	while (list_length(found) < n && bytes < PORTION_BYTES && rows_scan_next(scan))
	{
		found = lappend(found, read_waiting(waiting->rows));
		bytes += VARSIZE(((WaitingChange *) llast(found))->change);
	}
	rows_scan_end(scan);
	return found;
}

void
waiting_hand_on(Waiting *waiting, const char *entity, const char *external_id, int64 id)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};
	Datum		after = Int64GetDatum(id);
	TimestampTz now = GetCurrentTimestamp();
	RowsScan   *scan = rows_scan_begin(waiting->rows, "waiting_parent", 2, keys,
									   1, &after);
	WaitingChange *next = rows_scan_next(scan) ? read_waiting(waiting->rows) : NULL;

	rows_scan_end(scan);
	if (next == NULL || next->next_attempt <= now)
		return;
	next->next_attempt = now;
	/* if it has moved, somebody else is at it */
	(void) waiting_update(waiting, next);
}

/* The documents of others are not read: they may be many, and large. */
bool
waiting_ahead(Waiting *waiting, const char *entity, const char *external_id, const char *source,
			  int64 id, const char **parent_entity, const char **parent_id)
{
	RowsScan   *scan = scan_by(waiting, "waiting_record", entity, external_id);
	bool		ahead = false;
	bool		isnull;

	while (!ahead && rows_scan_next(scan) &&
		   DatumGetInt64(rows_value(waiting->rows, COL_ID, &isnull)) < id)
	{
		ahead = is_of_source(waiting, source);
		if (ahead)
		{
			*parent_entity = text_value(waiting->rows, COL_PARENT_ENTITY);
			*parent_id = text_value(waiting->rows, COL_PARENT_ID);
		}
	}
	rows_scan_end(scan);
	return ahead;
}

bool
waiting_has(Waiting *waiting, const char *entity, const char *external_id, const char *source,
			Jsonb *document)
{
	RowsScan   *scan = scan_by(waiting, "waiting_record", entity, external_id);
	bool		has = false;
	bool		isnull;

	while (!has && rows_scan_next(scan))
	{
		Datum		change = rows_value(waiting->rows, COL_CHANGE, &isnull);

		/* written by one function from one type: equal ones have one size */
		has = is_of_source(waiting, source) &&
			toast_raw_datum_size(change) == VARSIZE(document) &&
			compareJsonbContainers(&DatumGetJsonbP(change)->root, &document->root) == 0;
	}
	rows_scan_end(scan);
	return has;
}

static bool
are_fewer(Waiting *waiting, const char *index, const char *entity, const char *external_id,
		  const char *source, int limit)
{
	RowsScan   *scan = scan_by(waiting, index, entity, external_id);
	int			n = 0;

	while (n < limit && rows_scan_next(scan))
		n += is_of_source(waiting, source);
	rows_scan_end(scan);
	return n < limit;
}

bool
waiting_has_room(Waiting *waiting, const WaitingChange *change, int limit)
{
	return are_fewer(waiting, "waiting_record", change->entity, change->external_id,
					 change->source, limit) &&
		are_fewer(waiting, "waiting_parent", change->parent_entity, change->parent_id,
				  change->source, limit);
}

List *
waiting_of_source(Waiting *waiting, const char *source, const char *entity,
				  const char *external_id)
{
	RowsScan   *scan = rows_scan_begin(waiting->rows, NULL, 0, NULL, 0, NULL);
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
	RowsScan   *scan = rows_scan_begin(waiting->rows, "waiting_due", 0, NULL,
									   0, NULL);
	List	   *found = NIL;
	Size		bytes = 0;

	while (list_length(found) < n && bytes < PORTION_BYTES && rows_scan_next(scan))
	{
		WaitingChange *w = read_waiting(waiting->rows);

		if (w->next_attempt > now)
			break;
		found = lappend(found, w);
		bytes += VARSIZE(w->change);
	}
	rows_scan_end(scan);
	return found;
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
