/*
 * cursor.h
 *	  How far each target has got in the change feed: table syncext.cursor.
 */
#ifndef SYNCEXT_CURSOR_H
#define SYNCEXT_CURSOR_H

#include "nodes/pg_list.h"
#include "storage/feed_window.h"
#include "storage/mapped.h"

typedef struct Cursor
{
	const char *target;
	int			slot;
	int			slots;			/* how many the target has */

	/* the window of the feed: ticks, and the last row that was acknowledged */
	int64		from_tick;
	int64		to_tick;		/* 0: no window is under way */
	LogPosition position;
	LogPosition forgotten;		/* records that the window's rows up to here had may come again */
	LogPosition stretch_end;	/* captured edits from there to here are folded; 0: to the
								 * window's end */

	/* the walk through the golden records */
	char	   *backfill_entity;	/* NULL: none */
	char	   *backfill_id;	/* NULL: at the entity's start */
	List	   *backfill_rest;	/* of char *, the entities after it */

	/* the last batch */
	int64		batch;
	TimestampTz lease_until;	/* 0: it is acknowledged */
	LogPosition batch_end;		/* where it ends in the window */
	char	   *end_backfill_id;	/* and in the backfill; NULL: not in it */
	int			batch_retries;	/* how many pending rows are in it */
	TimestampTz moved_at;		/* last acknowledgement */
	int64		acknowledged;	/* the batch that it was of; 0: there was none */

	/* the walk's progress, as views show it */
	TimestampTz backfill_since;
	int64		backfill_done;	/* records that it has been through */
	int64		end_backfill_done;	/* with those of the batch */
} Cursor;

typedef MappedTable CursorTable;

extern const MappedDef cursor_def;
extern bool cursor_find(CursorTable *table, const char *target, int slot, Cursor *cursor);
/* Is a row of the window not behind the stretch under way?  So is any where there is none. */
extern bool cursor_in_stretch(const Cursor *cursor, LogPosition at);
/* Wait until no other transaction holds the cursor, then hold it until the end of ours. */
extern bool cursor_lock(CursorTable *table, const char *target, int slot, Cursor *cursor);
/* Write the cursor that was locked last. */
extern void cursor_save(CursorTable *table, const Cursor *cursor);

/* Hold all of a target's cursors; returns a list of Cursor *, NIL if none. */
extern List *cursor_lock_all(CursorTable *table, const char *target);
/* Write one of them, or a new one (false: another transaction makes it); drop one. */
extern bool cursor_put(CursorTable *table, const Cursor *cursor);
extern void cursor_remove(CursorTable *table, const Cursor *cursor);

#endif							/* SYNCEXT_CURSOR_H */
