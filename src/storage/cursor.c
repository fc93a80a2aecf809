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

const MappedDef cursor_def = {
	.relation = "cursor",
	.column = {
		[COL_CURSOR_TARGET] = {MAP_TEXT, offsetof(Cursor, target)},
		[COL_CURSOR_SLOT] = {MAP_INT4, offsetof(Cursor, slot)},
		[COL_CURSOR_SLOTS] = {MAP_INT4, offsetof(Cursor, slots)},
		[COL_CURSOR_LO] = {MAP_INT8, offsetof(Cursor, from_tick)},
		[COL_CURSOR_HI] = {MAP_INT8, offsetof(Cursor, to_tick)},
		[COL_CURSOR_AT_XID] = {MAP_XID8, offsetof(Cursor, position.xid)},
		[COL_CURSOR_AT_SEQ] = {MAP_INT8, offsetof(Cursor, position.seq)},
		[COL_CURSOR_BACKFILL_ENTITY] = {MAP_TEXT, offsetof(Cursor, backfill_entity)},
		[COL_CURSOR_BACKFILL_ID] = {MAP_TEXT, offsetof(Cursor, backfill_id)},
		[COL_CURSOR_BACKFILL_REST] = {MAP_NAMES, offsetof(Cursor, backfill_rest)},
		[COL_CURSOR_BATCH] = {MAP_INT8, offsetof(Cursor, batch)},
		[COL_CURSOR_LEASE_UNTIL] = {MAP_TIME, offsetof(Cursor, lease_until)},
		[COL_CURSOR_END_XID] = {MAP_XID8, offsetof(Cursor, batch_end.xid)},
		[COL_CURSOR_END_SEQ] = {MAP_INT8, offsetof(Cursor, batch_end.seq)},
		[COL_CURSOR_END_BACKFILL_ID] = {MAP_TEXT, offsetof(Cursor, end_backfill_id)},
		[COL_CURSOR_BATCH_RETRIES] = {MAP_INT4, offsetof(Cursor, batch_retries)},
		[COL_CURSOR_MOVED_AT] = {MAP_TIME, offsetof(Cursor, moved_at)},
		[COL_CURSOR_BACKFILL_SINCE] = {MAP_TIME, offsetof(Cursor, backfill_since)},
		[COL_CURSOR_BACKFILL_DONE] = {MAP_INT8, offsetof(Cursor, backfill_done)},
		[COL_CURSOR_END_BACKFILL_DONE] = {MAP_INT8, offsetof(Cursor, end_backfill_done)},
		[COL_CURSOR_ACKNOWLEDGED] = {MAP_INT8, offsetof(Cursor, acknowledged)},
		[COL_CURSOR_FORGOTTEN_XID] = {MAP_XID8, offsetof(Cursor, forgotten.xid)},
		[COL_CURSOR_FORGOTTEN_SEQ] = {MAP_INT8, offsetof(Cursor, forgotten.seq)},
		[COL_CURSOR_STRETCH_XID] = {MAP_XID8, offsetof(Cursor, stretch_end.xid)},
		[COL_CURSOR_STRETCH_SEQ] = {MAP_INT8, offsetof(Cursor, stretch_end.seq)},
	}
};

/* ---------- reading ---------- */

bool
cursor_find(CursorTable *table, const char *target, int slot, Cursor *cursor)
{
	cursor->target = target;
	cursor->slot = slot;
	return mapped_find(table, cursor);
}

bool
cursor_in_stretch(const Cursor *cursor, LogPosition at)
{
	return cursor->stretch_end.xid == 0 || log_position_cmp(at, cursor->stretch_end) <= 0;
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
