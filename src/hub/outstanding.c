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
#include "hub/place_file.h"
#include "hub/pull.h"
#include "storage/hints.h"
#include "storage/record_set.h"
#include "storage/rights.h"

/* How many of the edits are kept in memory: about 12 MB; all of more are in a file. */
#define MAX_KEPT	50000

/* What waits of a source, as of a snapshot. */
typedef struct Outstanding
{
	EditPlaces	places;
	PlaceFile  *file;			/* or NULL */
	char		source[NAMEDATALEN];
	FeedSnapshot upto;
	bool		walked;			/* to the end, from where the cursor was: */
	int64		from_tick;
	int64		to_tick;
	LogPosition position;
} Outstanding;

static Outstanding outstanding;

/* ---------- what waits ---------- */

typedef struct Walk
{
	const Cursor *cursor;
	const Tick *hi;				/* of the window under way, if there is one */
	RecordSet  *answered;		/* records that it has been answered for */
	StringInfoData key;
} Walk;

/*
 * Of the window's stretch under way a record is served at one go, with its first row there;
 * what was served up to where the cursor stands has been answered.
 */
static bool
is_answered(const Walk *walk, RecordSetKey key, const FeedRow *row)
{
	const Cursor *cursor = walk->cursor;
	bool		in_stretch = cursor->to_tick != 0 &&
		feed_snapshot_sees(&walk->hi->snapshot, row->at.xid) && cursor_in_stretch(cursor, row->at);

	if (!in_stretch)
		return false;
	if (log_position_cmp(row->at, cursor->forgotten) <= 0)
		return true;
	if (log_position_cmp(row->at, cursor->position) > 0)
		return record_set_find(walk->answered, key) != NULL;
	(void) record_set_add(walk->answered, key);
	return true;
}

/* Note a row that is due to the hub; false: there are too many to be kept. */
static bool
note_row(Walk *walk, const FeedRow *row)
{
	Outstanding *o = &outstanding;
	RecordSetKey key = record_set_key(&walk->key, row->entity, row->external_id);

	if (is_answered(walk, key, row))
		return true;
	if (o->file != NULL)
		place_file_add(o->file, key, row);
	else if (o->places.n == MAX_KEPT)
		return false;
	else
		edit_places_add(&o->places, record_set_add(o->places.records, key), row);
	return true;
}

static bool
walk(const Source *target, const Cursor *cursor, const FeedSnapshot *now)
{
	const LogPosition begin = {0, 0};
	FeedLog    *log = feed_log_open();
	bool		all = true;
	Walk		walk = {.cursor = cursor};
	FeedWindow *window;
	FeedRow		row;
	Tick		lo;
	Tick		hi;

	if (!tick_find(cursor->from_tick, &lo) || (cursor->to_tick != 0 && !tick_find(cursor->to_tick, &hi)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("a tick of source \"%s\" is missing", target->name),
				 errhint_call("Run CALL sync_maintain().")));
	walk.hi = &hi;
	walk.answered = record_set_create(outstanding.places.context, 64);
	initStringInfo(&walk.key);
	window = feed_window_begin(log, target, ONLY_SLOT, &lo.snapshot, now, begin);
	while (all && feed_window_next(window, &row))
		all = !row.correction || note_row(&walk, &row);
	feed_window_end(window);
	feed_log_close(log);
	record_set_free(walk.answered);
	return all;
}

static void
forget(void)
{
	PlaceFile  *file = outstanding.file;

	outstanding.walked = false;
	outstanding.file = NULL;
	if (file != NULL)
		place_file_free(file);
	edit_places_begin(&outstanding.places);
}

static void
walk_all(const Source *target, const Cursor *cursor, const FeedSnapshot *now)
{
	if (walk(target, cursor, now))
		return;
	forget();
	outstanding.file = place_file_begin(outstanding.places.context);
	(void) walk(target, cursor, now);
	place_file_complete(outstanding.file);
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
	forget();
	MemSet(&o->upto, 0, sizeof(o->upto));
	strlcpy(o->source, source, sizeof(o->source));
	if (found)
		walk_all(target, &cursor, &now);
	o->walked = true;
	o->from_tick = cursor.from_tick;
	o->to_tick = cursor.to_tick;
	o->position = cursor.position;
	o->upto = now;
	o->upto.xip = MemoryContextAlloc(o->places.context, sizeof(uint64) * Max(now.nxip, 1));
	memcpy(o->upto.xip, now.xip, sizeof(uint64) * now.nxip);
}

/* ---------- asking ---------- */

static int
places_of(const char *entity, const char *external_id, int64 from_seq, EditPlace **places)
{
	if (outstanding.file != NULL)
		return place_file_of(outstanding.file, entity, external_id, from_seq, places);
	return edit_places_of(&outstanding.places, entity, external_id, from_seq, places);
}

bool
outstanding_has(const char *source, const char *entity, const char *external_id, int64 settled)
{
	look(source, false);
	if (outstanding.file != NULL)
		return place_file_any(outstanding.file, entity, external_id, settled);
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
	n = places_of(entity, replica->external_id, replica->settled, &places);
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
