/*
 * outstanding.c
 *	  Captured edits that the hub behind a link has not answered yet.
 *
 * Where a row is not as it was agreed on, an edit that was captured is on its way, or
 * else the row was lost or changed without our triggers.  That is rare, and to tell
 * costs a walk through what waits, which is kept for as long as no other transaction ends.
 */
#include "postgres.h"

#include "hub/edit_places.h"
#include "hub/outstanding.h"
#include "hub/pull.h"
#include "storage/hints.h"
#include "storage/record_set.h"
#include "storage/rights.h"

/* What waits of a source, as of a snapshot. */
typedef struct Outstanding
{
	EditPlaces	places;			/* flag: the window under way has been answered for the record */
	char		source[NAMEDATALEN];
	FeedSnapshot upto;
	bool		walked;			/* to the end, from where the cursor was: */
	int64		from_tick;
	int64		to_tick;
	LogPosition position;
} Outstanding;

static Outstanding outstanding;

/*
 * Add a row that is due to the hub.  Of the window's stretch under way a record is served
 * at one go, with its first row there; what was served up to where the cursor stands has
 * been answered.
 */
static void
add_row(StringInfo key, const Cursor *cursor, const Tick *hi, const FeedRow *row)
{
	RecordSetEntry *entry;
	bool		in_stretch = cursor->to_tick != 0 && feed_snapshot_sees(&hi->snapshot, row->at.xid) &&
		cursor_in_stretch(cursor, row->at);

	if (in_stretch && log_position_cmp(row->at, cursor->forgotten) <= 0)
		return;
	entry = record_set_add(outstanding.places.records,
						   record_set_key(key, row->entity, row->external_id));
	if (in_stretch)
	{
		if (log_position_cmp(row->at, cursor->position) <= 0)
			entry->flag = true;
		if (entry->flag)
			return;
	}
	edit_places_add(&outstanding.places, entry, row);
}

static void
walk(const Source *target, const Cursor *cursor, const FeedSnapshot *now)
{
	const LogPosition begin = {0, 0};
	FeedLog    *log = feed_log_open();
	StringInfoData key;
	FeedWindow *window;
	FeedRow		row;
	Tick		lo;
	Tick		hi;

	if (!tick_find(cursor->from_tick, &lo) || (cursor->to_tick != 0 && !tick_find(cursor->to_tick, &hi)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a tick of source \"%s\" is missing", target->name),
				 errhint_call("Run CALL sync_maintain().")));
	initStringInfo(&key);
	window = feed_window_begin(log, target, ONLY_SLOT, &lo.snapshot, now, begin);
	while (feed_window_next(window, &row))
		if (row.correction)
			add_row(&key, cursor, &hi, &row);
	feed_window_end(window);
	feed_log_close(log);
}

static bool
is_same_cursor(const Cursor *cursor)
{
	const Outstanding *o = &outstanding;

	return o->walked && cursor->from_tick == o->from_tick && cursor->to_tick == o->to_tick &&
		log_position_cmp(cursor->position, o->position) == 0;
}

/* May be old: edits that were captured since may be missing, none that was answered is there. */
static void
look(const char *source, bool may_be_old)
{
	const Source *target = registry_source_required(registry_get(), source);
	CursorTable *cursors = mapped_open(&cursor_def, false);
	Outstanding *o = &outstanding;
	FeedSnapshot now;
	Cursor		cursor = {0};
	bool		found = cursor_find(cursors, source, 0, &cursor);

	mapped_close(cursors);
	feed_snapshot_now(&now);
	if (o->places.context != NULL && strcmp(o->source, source) == 0 &&
		(feed_snapshot_reaches(&o->upto, &now) || (may_be_old && is_same_cursor(&cursor))))
		return;
	edit_places_begin(&o->places);
	MemSet(&o->upto, 0, sizeof(o->upto));
	o->walked = false;
	strlcpy(o->source, source, sizeof(o->source));
	if (found)
		walk(target, &cursor, &now);
	o->walked = true;
	o->from_tick = cursor.from_tick;
	o->to_tick = cursor.to_tick;
	o->position = cursor.position;
	o->upto = now;
	o->upto.xip = MemoryContextAlloc(o->places.context, sizeof(uint64) * Max(now.nxip, 1));
	memcpy(o->upto.xip, now.xip, sizeof(uint64) * now.nxip);
}

bool
outstanding_has(const char *source, const char *entity, const char *external_id, int64 settled)
{
	look(source, false);
	return edit_places_any(&outstanding.places, entity, external_id, settled);
}

bool
outstanding_fold(const char *source, const char *entity, const ReplicaRow *replica, bool may_be_old,
				 OutstandingEdits *edits)
{
	bool		readable;
	Size		bytes = 0;
	FeedSeek   *seek;
	FeedLog    *log;
	EditPlace  *places;
	int			n;

	MemSet(edits, 0, sizeof(OutstandingEdits));
	look(source, may_be_old);
	n = edit_places_of(&outstanding.places, entity, replica->external_id, replica->settled,
					   &places);
	if (n == 0)
		return true;
	edits->first = places[0].at.seq;
	edits->last = places[n - 1].at.seq;
	log = feed_log_open();
	seek = feed_seek_begin(log);
	readable = edit_places_fold(seek, places, n, replica, &edits->fold, &bytes);
	feed_seek_end(seek);
	feed_log_close(log);
	return readable;
}
