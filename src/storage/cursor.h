/*
 * cursor.h
 *	  How far each target has got in the change feed: table syncext.cursor.
 */
#ifndef SYNCEXT_CURSOR_H
#define SYNCEXT_CURSOR_H

#include "nodes/pg_list.h"
#include "storage/feed_window.h"

typedef struct Cursor
{
	const char *target;
	int			slot;
	int			slots;

	/* the window of the feed: ticks, and the last row that was acknowledged */
	int64		lo;
	int64		hi;				/* 0: no window is under way */
	LogPosition at;

	/* the walk through the golden records */
	char	   *backfill_entity;	/* NULL: none */
	char	   *backfill_id;	/* NULL: at the entity's start */
	List	   *backfill_rest;	/* of char *, the entities after it */

	/* the last batch */
	int64		batch;
	bool		leased;			/* it is not acknowledged yet */
	TimestampTz lease_until;
	LogPosition end;			/* where it ends in the window */
	char	   *end_backfill_id;	/* and in the backfill; NULL: not in it */
	int			batch_retries;	/* how many pending rows are in it */
	TimestampTz moved_at;		/* last acknowledgement */
} Cursor;

typedef struct CursorTable CursorTable;

extern CursorTable *cursor_open(bool write);
extern void cursor_close(CursorTable *table);
extern bool cursor_find(CursorTable *table, const char *target, int slot, Cursor *cursor);
/* Wait for whoever holds the cursor, hold it until the transaction's end. */
extern bool cursor_lock(CursorTable *table, const char *target, int slot, Cursor *cursor);
/* Write the cursor that was locked last. */
extern void cursor_save(CursorTable *table, const Cursor *cursor);

/*
 * Set the target's cursor to now and let it walk through the golden records;
 * make it if there is none.
 */
extern void cursor_start(const Registry *registry, const Source *target);

#endif							/* SYNCEXT_CURSOR_H */
