/*
 * cursor.c
 *	  How far each target has got in the change feed: table syncext.cursor.
 *
 * The cursor's row is the one lock of the feed: pulling, acknowledging and redriving
 * for a target hold it, and no writer ever waits for it.  A target with parallel
 * consumers has a row for each slot. Holding slot 0's row also pins the number of
 * slots.  A transaction that needs several rows locks them in the order of their slots.
 */
#include "postgres.h"

#include "storage/cursor.h"

static MappedDef cursor_def = {
	.relation = "cursor",
	.ncolumns = 21,
	.column = {
		{"target", MAP_TEXT, offsetof(Cursor, target)},
		{"slot", MAP_INT4, offsetof(Cursor, slot)},
		{"slots", MAP_INT4, offsetof(Cursor, slots)},
		{"lo", MAP_INT8, offsetof(Cursor, from_tick)},
		{"hi", MAP_INT8, offsetof(Cursor, to_tick)},
		{"at_xid", MAP_XID8, offsetof(Cursor, position.xid)},
		{"at_seq", MAP_INT8, offsetof(Cursor, position.seq)},
		{"backfill_entity", MAP_TEXT, offsetof(Cursor, backfill_entity)},
		{"backfill_id", MAP_TEXT, offsetof(Cursor, backfill_id)},
		{"backfill_rest", MAP_NAMES, offsetof(Cursor, backfill_rest)},
		{"batch", MAP_INT8, offsetof(Cursor, batch)},
		{"lease_until", MAP_TIME, offsetof(Cursor, lease_until)},
		{"end_xid", MAP_XID8, offsetof(Cursor, batch_end.xid)},
		{"end_seq", MAP_INT8, offsetof(Cursor, batch_end.seq)},
		{"end_backfill_id", MAP_TEXT, offsetof(Cursor, end_backfill_id)},
		{"batch_retries", MAP_INT4, offsetof(Cursor, batch_retries)},
		{"moved_at", MAP_TIME, offsetof(Cursor, moved_at)},
		{"backfill_since", MAP_TIME, offsetof(Cursor, backfill_since)},
		{"backfill_done", MAP_INT8, offsetof(Cursor, backfill_done)},
		{"end_backfill_done", MAP_INT8, offsetof(Cursor, end_backfill_done)},
		{"acknowledged", MAP_INT8, offsetof(Cursor, acknowledged)},
	}
};

CursorTable *
cursor_open(bool write)
{
	return mapped_open(&cursor_def, write);
}

void
cursor_close(CursorTable *table)
{
	mapped_close(table);
}

/* ---------- reading ---------- */

bool
cursor_find(CursorTable *table, const char *target, int slot, Cursor *cursor)
{
	cursor->target = target;
	cursor->slot = slot;
	return mapped_find(table, cursor);
}

/*
 * Lock the target's cursor, and read it as it stands when no other transaction holds
 * it any more.  Returns false if there is none.
 */
bool
cursor_lock(CursorTable *table, const char *target, int slot, Cursor *cursor)
{
	cursor->target = target;
	cursor->slot = slot;
	while (mapped_seek(table, 2, cursor))
	{
		if (rows_lock(table->rows) == ROWS_DONE)
		{
			mapped_read(table, cursor);
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

/* What is stored of it: the walk's start goes with the walk. */
static Cursor
stored_cursor(const Cursor *cursor)
{
	Cursor		stored = *cursor;

	if (stored.backfill_entity == NULL)
		stored.backfill_since = 0;
	return stored;
}

void
cursor_save(CursorTable *table, const Cursor *cursor)
{
	const Cursor stored = stored_cursor(cursor);

	if (mapped_update(table, MAP_ALL_COLUMNS, &stored) != ROWS_DONE)
		elog(ERROR, "the cursor of \"%s\" was changed although it is locked", cursor->target);
}

/*
 * Write one of several cursors that are locked, or a new one.  Returns false if
 * another transaction makes it at the same time.
 */
bool
cursor_put(CursorTable *table, const Cursor *cursor)
{
	const Cursor stored = stored_cursor(cursor);

	if (!mapped_seek(table, 2, cursor))
		return mapped_insert_new(table, &stored);
	cursor_save(table, cursor);
	return true;
}

/* Drop a cursor that is locked. */
void
cursor_remove(CursorTable *table, const Cursor *cursor)
{
	if (mapped_seek(table, 2, cursor) && rows_delete(table->rows) != ROWS_DONE)
		elog(ERROR, "the cursor of \"%s\" was changed although it is locked", cursor->target);
}
