/*
 * cursor.c
 *	  How far each target has got in the change feed: table syncext.cursor.
 *
 * Called by hub/feed and cursor_set.  The cursor's row is the one lock of the
 * feed: who pulls, acknowledges or redrives for a target holds it, and no
 * writer ever waits for it.  A target with parallel consumers has a row for
 * each slot.  Who holds that of slot 0 holds how many there are; who needs more
 * than one locks them in the order of their numbers.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "storage/cursor.h"
#include "storage/names.h"
#include "storage/rows.h"

enum
{
	COL_TARGET = 1,
	COL_SLOT,
	COL_SLOTS,
	COL_LO,
	COL_HI,
	COL_AT_XID,
	COL_AT_SEQ,
	COL_BACKFILL_ENTITY,
	COL_BACKFILL_ID,
	COL_BACKFILL_REST,
	COL_BATCH,
	COL_LEASE_UNTIL,
	COL_END_XID,
	COL_END_SEQ,
	COL_END_BACKFILL_ID,
	COL_BATCH_RETRIES,
	COL_MOVED_AT,
	COL_BACKFILL_SINCE,
	COL_BACKFILL_DONE,
	COL_END_BACKFILL_DONE,
	COL_ACKNOWLEDGED,
	NCOLUMNS = COL_ACKNOWLEDGED
};

struct CursorTable
{
	Rows	   *rows;
};

CursorTable *
cursor_open(bool write)
{
	CursorTable *table = palloc0(sizeof(CursorTable));
	Oid			relid = registry_relation("cursor");

	table->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return table;
}

void
cursor_close(CursorTable *table)
{
	rows_close(table->rows);
	pfree(table);
}

/* ---------- reading ---------- */

static char *
optional_text(const Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static LogPosition
read_position(const Rows *rows, int xid_column, int seq_column)
{
	LogPosition position;
	bool		isnull;
	FullTransactionId xid = DatumGetFullTransactionId(rows_value(rows, xid_column, &isnull));

	position.xid = U64FromFullTransactionId(xid);
	position.seq = DatumGetInt64(rows_value(rows, seq_column, &isnull));
	return position;
}

static List *
read_names(const Rows *rows, int column)
{
	bool		isnull;
	Datum		array = rows_value(rows, column, &isnull);
	char	  **names;
	int			n = 0;
	List	   *list = NIL;

	if (isnull)
		return NIL;
	names = names_of_array(array, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, names[i]);
	return list;
}

static void
read_cursor(const Rows *rows, Cursor *cursor)
{
	bool		isnull;

	cursor->target = TextDatumGetCString(rows_value(rows, COL_TARGET, &isnull));
	cursor->slot = DatumGetInt32(rows_value(rows, COL_SLOT, &isnull));
	cursor->slots = DatumGetInt32(rows_value(rows, COL_SLOTS, &isnull));
	cursor->lo = DatumGetInt64(rows_value(rows, COL_LO, &isnull));
	cursor->hi = DatumGetInt64(rows_value(rows, COL_HI, &isnull));
	if (isnull)
		cursor->hi = 0;
	cursor->at = read_position(rows, COL_AT_XID, COL_AT_SEQ);
	cursor->backfill_entity = optional_text(rows, COL_BACKFILL_ENTITY);
	cursor->backfill_id = optional_text(rows, COL_BACKFILL_ID);
	cursor->backfill_rest = read_names(rows, COL_BACKFILL_REST);
	cursor->batch = DatumGetInt64(rows_value(rows, COL_BATCH, &isnull));
	cursor->lease_until = DatumGetTimestampTz(rows_value(rows, COL_LEASE_UNTIL, &isnull));
	cursor->leased = !isnull;
	cursor->end = read_position(rows, COL_END_XID, COL_END_SEQ);
	cursor->end_backfill_id = optional_text(rows, COL_END_BACKFILL_ID);
	cursor->batch_retries = DatumGetInt32(rows_value(rows, COL_BATCH_RETRIES, &isnull));
	cursor->moved_at = DatumGetTimestampTz(rows_value(rows, COL_MOVED_AT, &isnull));
	cursor->backfill_since = DatumGetTimestampTz(rows_value(rows, COL_BACKFILL_SINCE, &isnull));
	cursor->backfill_done = DatumGetInt64(rows_value(rows, COL_BACKFILL_DONE, &isnull));
	cursor->end_backfill_done = DatumGetInt64(rows_value(rows, COL_END_BACKFILL_DONE, &isnull));
	cursor->acknowledged = DatumGetInt64(rows_value(rows, COL_ACKNOWLEDGED, &isnull));
}

static bool
find_row(Rows *rows, const char *target, int slot)
{
	Datum		keys[2] = {CStringGetTextDatum(target), Int32GetDatum(slot)};

	return rows_find(rows, 2, keys);
}

bool
cursor_find(CursorTable *table, const char *target, int slot, Cursor *cursor)
{
	if (!find_row(table->rows, target, slot))
		return false;
	read_cursor(table->rows, cursor);
	return true;
}

/*
 * Lock the target's cursor, as it stands when nobody else holds it any more.
 * Returns false if there is none.
 */
bool
cursor_lock(CursorTable *table, const char *target, int slot, Cursor *cursor)
{
	while (find_row(table->rows, target, slot))
	{
		if (rows_lock(table->rows) == ROWS_DONE)
		{
			read_cursor(table->rows, cursor);
			return true;
		}
		rows_lock_newest(table->rows);
	}
	return false;
}

/* Lock all of the target's cursors.  Returns them in the order of their slots. */
List *
cursor_lock_all(CursorTable *table, const char *target)
{
	List	   *cursors = NIL;
	int			slots = 1;

	for (int slot = 0; slot < slots; slot++)
	{
		Cursor	   *cursor = palloc(sizeof(Cursor));

		if (cursor_lock(table, target, slot, cursor))
		{
			cursors = lappend(cursors, cursor);
			slots = cursor->slots;
		}
	}
	return cursors;
}

/* ---------- writing ---------- */

static void
put_text(Datum *values, bool *isnull, int column, const char *text)
{
	isnull[column - 1] = text == NULL;
	if (text != NULL)
		values[column - 1] = CStringGetTextDatum(text);
}

static void
put_position(Datum *values, int xid_column, int seq_column, LogPosition position)
{
	values[xid_column - 1] =
		FullTransactionIdGetDatum(FullTransactionIdFromU64(position.xid));
	values[seq_column - 1] = Int64GetDatum(position.seq);
}

static void
put_names(Datum *values, bool *isnull, int column, const List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * (list_length(names) + 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		elements[n++] = CStringGetTextDatum(lfirst(lc));
	isnull[column - 1] = n == 0;
	if (n > 0)
		values[column - 1] = PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false,
															 TYPALIGN_INT));
}

static void
put_cursor(const Cursor *cursor, Datum *values, bool *isnull)
{
	memset(isnull, false, sizeof(bool) * NCOLUMNS);
	values[COL_TARGET - 1] = CStringGetTextDatum(cursor->target);
	values[COL_SLOT - 1] = Int32GetDatum(cursor->slot);
	values[COL_SLOTS - 1] = Int32GetDatum(cursor->slots);
	values[COL_LO - 1] = Int64GetDatum(cursor->lo);
	values[COL_HI - 1] = Int64GetDatum(cursor->hi);
	isnull[COL_HI - 1] = cursor->hi == 0;
	put_position(values, COL_AT_XID, COL_AT_SEQ, cursor->at);
	put_text(values, isnull, COL_BACKFILL_ENTITY, cursor->backfill_entity);
	put_text(values, isnull, COL_BACKFILL_ID, cursor->backfill_id);
	put_names(values, isnull, COL_BACKFILL_REST, cursor->backfill_rest);
	values[COL_BATCH - 1] = Int64GetDatum(cursor->batch);
	values[COL_LEASE_UNTIL - 1] = TimestampTzGetDatum(cursor->lease_until);
	isnull[COL_LEASE_UNTIL - 1] = !cursor->leased;
	put_position(values, COL_END_XID, COL_END_SEQ, cursor->end);
	put_text(values, isnull, COL_END_BACKFILL_ID, cursor->end_backfill_id);
	values[COL_BATCH_RETRIES - 1] = Int32GetDatum(cursor->batch_retries);
	values[COL_MOVED_AT - 1] = TimestampTzGetDatum(cursor->moved_at);
	values[COL_BACKFILL_SINCE - 1] = TimestampTzGetDatum(cursor->backfill_since);
	isnull[COL_BACKFILL_SINCE - 1] = cursor->backfill_entity == NULL;
	values[COL_BACKFILL_DONE - 1] = Int64GetDatum(cursor->backfill_done);
	values[COL_END_BACKFILL_DONE - 1] = Int64GetDatum(cursor->end_backfill_done);
	values[COL_ACKNOWLEDGED - 1] = Int64GetDatum(cursor->acknowledged);
}

void
cursor_save(CursorTable *table, const Cursor *cursor)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];

	put_cursor(cursor, values, isnull);
	if (rows_update(table->rows, values, isnull) != ROWS_DONE)
		elog(ERROR, "the cursor of \"%s\" was changed although it is locked", cursor->target);
}

/*
 * Write one of several cursors that are locked, or a new one.  Returns false if
 * somebody else makes it at the same time.
 */
bool
cursor_put(CursorTable *table, const Cursor *cursor)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];

	if (find_row(table->rows, cursor->target, cursor->slot))
	{
		cursor_save(table, cursor);
		return true;
	}
	put_cursor(cursor, values, isnull);
	return rows_insert_new(table->rows, values, isnull);
}

/* Drop a cursor that is locked. */
void
cursor_remove(CursorTable *table, const Cursor *cursor)
{
	if (find_row(table->rows, cursor->target, cursor->slot) &&
		rows_delete(table->rows) != ROWS_DONE)
		elog(ERROR, "the cursor of \"%s\" was changed although it is locked", cursor->target);
}
