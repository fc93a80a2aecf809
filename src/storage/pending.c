/*
 * pending.c
 *	  Deliveries that failed, retries and dead letters: table syncext.pending.
 *
 * Called by hub/batch, which puts due rows into batches and failures in here,
 * and by hub/redrive.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "storage/pending.h"
#include "storage/registry.h"
#include "storage/rows.h"

#define DUE_INDEX	"pending_due"

enum
{
	COL_TARGET = 1,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_ROW_VERSION,
	COL_CORRECTION,
	COL_ATTEMPTS,
	COL_SINCE,
	COL_NEXT_ATTEMPT,
	COL_BATCH,
	COL_ERROR,
	COL_DEAD_SINCE,
	NCOLUMNS = COL_DEAD_SINCE
};

struct PendingTable
{
	Rows	   *rows;
	Datum		target;
};

PendingTable *
pending_open(const char *target, bool write)
{
	PendingTable *table = palloc(sizeof(PendingTable));
	Oid			relid = registry_relation("pending");

	table->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	table->target = CStringGetTextDatum(target);
	return table;
}

void
pending_close(PendingTable *table)
{
	rows_close(table->rows);
	pfree(table);
}

/* ---------- reading ---------- */

static void
read_pending(const Rows *rows, Pending *pending)
{
	bool		isnull;
	Datum		error;

	pending->entity = TextDatumGetCString(rows_value(rows, COL_ENTITY, &isnull));
	pending->external_id = TextDatumGetCString(rows_value(rows, COL_EXTERNAL_ID, &isnull));
	pending->row_version = DatumGetInt64(rows_value(rows, COL_ROW_VERSION, &isnull));
	pending->correction = DatumGetBool(rows_value(rows, COL_CORRECTION, &isnull));
	pending->attempts = DatumGetInt32(rows_value(rows, COL_ATTEMPTS, &isnull));
	pending->since = DatumGetTimestampTz(rows_value(rows, COL_SINCE, &isnull));
	pending->next_attempt = DatumGetTimestampTz(rows_value(rows, COL_NEXT_ATTEMPT, &isnull));
	pending->dead = isnull;
	pending->dead_since = DatumGetTimestampTz(rows_value(rows, COL_DEAD_SINCE, &isnull));
	/* a dead letter that plain SQL has made bears no time of its own */
	if (isnull)
		pending->dead_since = pending->dead ? pending->since : 0;
	pending->batch = DatumGetInt64(rows_value(rows, COL_BATCH, &isnull));
	if (isnull)
		pending->batch = 0;
	error = rows_value(rows, COL_ERROR, &isnull);
	pending->error = isnull ? NULL : TextDatumGetCString(error);
}

bool
pending_any(PendingTable *table)
{
	return !rows_empty(table->rows) && rows_find(table->rows, 1, &table->target);
}

static bool
find_row(PendingTable *table, const char *entity, const char *external_id)
{
	Datum		keys[3] = {
		table->target,
		CStringGetTextDatum(entity),
		CStringGetTextDatum(external_id)
	};

	return rows_find(table->rows, 3, keys);
}

bool
pending_find(PendingTable *table, const char *entity, const char *external_id, Pending *pending)
{
	if (!find_row(table, entity, external_id))
		return false;
	read_pending(table->rows, pending);
	return true;
}

/* Append the row at hand to a list. */
static List *
append_row(PendingTable *table, List *list)
{
	Pending    *pending = palloc(sizeof(Pending));

	read_pending(table->rows, pending);
	return lappend(list, pending);
}

/* Does the record at hand belong to the slot? */
static bool
row_is_of(PendingTable *table, Slot slot)
{
	bool		isnull;
	Datum		entity = rows_value(table->rows, COL_ENTITY, &isnull);
	Datum		external_id = rows_value(table->rows, COL_EXTERNAL_ID, &isnull);

	return slot_has_record(slot, DatumGetTextPP(entity), DatumGetTextPP(external_id));
}

/* Go to the scan's next row that belongs to the slot. */
static bool
next_of_slot(PendingTable *table, RowsScan *scan, Slot slot)
{
	do
	{
		if (!rows_scan_next(scan))
			return false;
	} while (!row_is_of(table, slot));
	return true;
}

TimestampTz
pending_next_due(PendingTable *table, Slot slot)
{
	TimestampTz next = DT_NOEND;
	RowsScan   *scan;

	if (rows_empty(table->rows))
		return next;
	scan = rows_scan_begin(table->rows, DUE_INDEX, 1, &table->target, 0, NULL);
	if (next_of_slot(table, scan, slot))
	{
		bool		isnull;
		TimestampTz first = DatumGetTimestampTz(rows_value(table->rows, COL_NEXT_ATTEMPT,
														   &isnull));

		/* dead letters, which have none, come last */
		if (!isnull)
			next = first;
	}
	rows_scan_end(scan);
	return next;
}

List *
pending_due(PendingTable *table, Slot slot, TimestampTz by, int max)
{
	RowsRange	range = {
		.nkeys = 1,
		.keys = &table->target,
		.has_last = true,
		.last = TimestampTzGetDatum(by)
	};
	List	   *due = NIL;
	RowsScan   *scan;

	if (rows_empty(table->rows))
		return NIL;
	scan = rows_scan_range(table->rows, DUE_INDEX, &range);
	while (list_length(due) < max && next_of_slot(table, scan, slot))
		due = append_row(table, due);
	rows_scan_end(scan);
	return due;
}

/*
 * The n rows that were put into a batch.  They were the first of the slot that
 * were due then, and so are found before what has become due since.
 */
List *
pending_in_batch(PendingTable *table, int64 batch, int n)
{
	List	   *members = NIL;
	RowsScan   *scan;

	if (n == 0)
		return NIL;
	scan = rows_scan_begin(table->rows, DUE_INDEX, 1, &table->target, 0, NULL);
	while (list_length(members) < n && rows_scan_next(scan))
	{
		bool		isnull;
		Datum		value = rows_value(table->rows, COL_BATCH, &isnull);

		if (!isnull && DatumGetInt64(value) == batch)
			members = append_row(table, members);
	}
	rows_scan_end(scan);
	return members;
}

/* Those of an entity, or of a record; NULL means any. */
List *
pending_matching(PendingTable *table, Slot slot, const char *entity, const char *external_id)
{
	Datum		keys[2] = {table->target};
	int			nkeys = 1;
	List	   *matching = NIL;
	RowsScan   *scan;

	if (entity != NULL)
		keys[nkeys++] = CStringGetTextDatum(entity);
	scan = rows_scan_begin(table->rows, NULL, nkeys, keys, 0, NULL);
	while (next_of_slot(table, scan, slot))
	{
		bool		isnull;
		char	   *id = TextDatumGetCString(rows_value(table->rows, COL_EXTERNAL_ID, &isnull));

		if (external_id == NULL || strcmp(id, external_id) == 0)
			matching = append_row(table, matching);
		pfree(id);
	}
	rows_scan_end(scan);
	return matching;
}

/* ---------- writing ---------- */

static void
put_pending(PendingTable *table, const Pending *pending, Datum *values, bool *isnull)
{
	memset(isnull, false, sizeof(bool) * NCOLUMNS);
	values[COL_TARGET - 1] = table->target;
	values[COL_ENTITY - 1] = CStringGetTextDatum(pending->entity);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(pending->external_id);
	values[COL_ROW_VERSION - 1] = Int64GetDatum(pending->row_version);
	values[COL_CORRECTION - 1] = BoolGetDatum(pending->correction);
	values[COL_ATTEMPTS - 1] = Int32GetDatum(pending->attempts);
	values[COL_SINCE - 1] = TimestampTzGetDatum(pending->since);
	values[COL_NEXT_ATTEMPT - 1] = TimestampTzGetDatum(pending->next_attempt);
	isnull[COL_NEXT_ATTEMPT - 1] = pending->dead;
	values[COL_BATCH - 1] = Int64GetDatum(pending->batch);
	isnull[COL_BATCH - 1] = pending->batch == 0;
	values[COL_DEAD_SINCE - 1] = TimestampTzGetDatum(pending->dead_since != 0 ?
													 pending->dead_since : GetCurrentTimestamp());
	isnull[COL_DEAD_SINCE - 1] = !pending->dead;
	isnull[COL_ERROR - 1] = pending->error == NULL;
	if (pending->error != NULL)
		values[COL_ERROR - 1] = CStringGetTextDatum(pending->error);
}

void
pending_save(PendingTable *table, const Pending *pending)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];

	put_pending(table, pending, values, isnull);
	for (;;)
	{
		if (find_row(table, pending->entity, pending->external_id))
		{
			if (rows_update(table->rows, values, isnull) == ROWS_DONE)
				return;
		}
		else if (rows_insert_new(table->rows, values, isnull))
			return;
	}
}

void
pending_delete(PendingTable *table, const char *entity, const char *external_id)
{
	while (find_row(table, entity, external_id))
	{
		if (rows_delete(table->rows) == ROWS_DONE)
			return;
	}
}
