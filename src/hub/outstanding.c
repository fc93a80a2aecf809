/*
 * outstanding.c
 *	  Captured edits that the hub behind a link has not answered yet.
 *
 * Where a row is not as it was agreed on, an edit that was captured is on its way, or
 * else the row was lost or changed without our triggers.  That is rare, and to tell
 * costs a walk through what waits, which is kept for as long as no other transaction ends.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "hub/captured_edit.h"
#include "hub/outstanding.h"
#include "hub/pull.h"
#include "storage/hints.h"
#include "storage/record_set.h"
#include "storage/rights.h"

/* Where an edit is in the log. */
typedef struct Place
{
	LogPosition at;
	int			table;
	int			next;			/* the record's next, from 1; 0: none */
} Place;

/* What waits of a source, as of a snapshot. */
typedef struct Outstanding
{
	MemoryContext context;		/* NULL: not known */
	char		source[NAMEDATALEN];
	FeedSnapshot upto;
	bool		walked;			/* to the end, from where the cursor was: */
	int64		from_tick;
	int64		to_tick;
	LogPosition position;
	RecordSet  *records;		/* number: of its last place; flag: the window under way has
								 * been answered for it */
	int			n;
	int			room;
	Place	   *places;
} Outstanding;

static Outstanding outstanding;

static void
forget(void)
{
	if (outstanding.context != NULL)
		MemoryContextDelete(outstanding.context);
	MemSet(&outstanding, 0, sizeof(outstanding));
}

static void
start(const char *source)
{
	Outstanding *o = &outstanding;

	forget();
	o->context = AllocSetContextCreate(TopMemoryContext, "syncext outstanding edits",
									   ALLOCSET_DEFAULT_SIZES);
	strlcpy(o->source, source, sizeof(o->source));
	o->records = record_set_create(o->context, 64);
	o->room = 64;
	o->places = MemoryContextAlloc(o->context, sizeof(Place) * o->room);
}

static void
add_place(RecordSetEntry *entry, const FeedRow *row)
{
	Outstanding *o = &outstanding;
	Place	   *place;

	if (o->n == o->room)
		o->places = repalloc_huge(o->places, sizeof(Place) * (o->room *= 2));
	place = &o->places[o->n++];
	place->at = row->at;
	place->table = row->table;
	place->next = entry->number;
	entry->number = o->n;
}

/*
 * Add a row that is due to the hub.  Of the window under way a record is served at
 * one go, with its first row there; what was served up to where the cursor stands has
 * been answered.
 */
static void
add_row(StringInfo key, const Cursor *cursor, const Tick *hi, const FeedRow *row)
{
	RecordSetEntry *entry = record_set_add(outstanding.records,
										   record_set_key(key, row->entity, row->external_id));

	if (cursor->to_tick != 0 && feed_snapshot_sees(&hi->snapshot, row->at.xid))
	{
		if (log_position_cmp(row->at, cursor->position) <= 0)
			entry->flag = true;
		if (entry->flag)
			return;
	}
	add_place(entry, row);
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
	CursorTable *cursors = cursor_open(false);
	Outstanding *o = &outstanding;
	FeedSnapshot now;
	Cursor		cursor = {0};
	bool		found = cursor_find(cursors, source, 0, &cursor);

	mapped_close(cursors);
	feed_snapshot_now(&now);
	if (o->context != NULL && strcmp(o->source, source) == 0 &&
		(feed_snapshot_reaches(&o->upto, &now) || (may_be_old && is_same_cursor(&cursor))))
		return;
	start(source);
	if (found)
		walk(target, &cursor, &now);
	o->walked = true;
	o->from_tick = cursor.from_tick;
	o->to_tick = cursor.to_tick;
	o->position = cursor.position;
	o->upto = now;
	o->upto.xip = MemoryContextAlloc(o->context, sizeof(uint64) * Max(now.nxip, 1));
	memcpy(o->upto.xip, now.xip, sizeof(uint64) * now.nxip);
}

/* The record's last place, from 1; 0: it has none. */
static int
find_places(const char *entity, const char *external_id)
{
	StringInfoData key;
	RecordSetEntry *entry;

	initStringInfo(&key);
	entry = record_set_find(outstanding.records,
							record_set_key(&key, cstring_to_text(entity),
										   cstring_to_text(external_id)));
	pfree(key.data);
	return entry == NULL ? 0 : entry->number;
}

bool
outstanding_has(const char *source, const char *entity, const char *external_id, int64 settled)
{
	look(source, false);
	for (int i = find_places(entity, external_id); i != 0; i = outstanding.places[i - 1].next)
		if (outstanding.places[i - 1].at.seq >= settled)
			return true;
	return false;
}

static int
compare_seqs(const void *a, const void *b)
{
	const Place *pa = a;
	const Place *pb = b;

	return pa->at.seq < pb->at.seq ? -1 : pa->at.seq > pb->at.seq;
}

/* The record's places by seq: transactions may have committed in another order. */
static Place *
places_of(const char *entity, const char *external_id, int64 settled, int *n)
{
	int			room = 4;
	Place	   *places = palloc(sizeof(Place) * room);

	*n = 0;
	for (int i = find_places(entity, external_id); i != 0; i = outstanding.places[i - 1].next)
	{
		if (outstanding.places[i - 1].at.seq < settled)
			continue;
		if (*n == room)
			places = repalloc(places, sizeof(Place) * (room *= 2));
		places[(*n)++] = outstanding.places[i - 1];
	}
	qsort(places, *n, sizeof(Place), compare_seqs);
	return places;
}

bool
outstanding_fold(const char *source, const char *entity, const ReplicaRow *replica, bool may_be_old,
				 OutstandingEdits *edits)
{
	bool		readable = true;
	FeedSeek   *seek;
	FeedLog    *log;
	Place	   *places;
	int			n;

	MemSet(edits, 0, sizeof(OutstandingEdits));
	look(source, may_be_old);
	places = places_of(entity, replica->external_id, replica->settled, &n);
	if (n == 0)
		return true;
	edits->first = places[0].at.seq;
	edits->last = places[n - 1].at.seq;
	log = feed_log_open();
	seek = feed_seek_begin(log);
	for (int i = 0; i < n && readable; i++)
	{
		LogRow		row;

		if (feed_seek(seek, places[i].table, places[i].at, &row) &&
			row.resolution == RESOLUTION_CAPTURED)
			readable = captured_edit_fold(&edits->fold, &row, places[i].at.seq,
										  replica->row_version, replica->shifts);
	}
	feed_seek_end(seek);
	feed_log_close(log);
	return readable;
}
