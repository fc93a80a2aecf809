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

#include "hub/backfill.h"
#include "hub/outstanding.h"
#include "hub/pull.h"
#include "storage/hints.h"
#include "storage/record_set.h"
#include "storage/rights.h"

/* What waits of a source, as of a snapshot. */
typedef struct Outstanding
{
	MemoryContext context;		/* NULL: not known */
	char		source[NAMEDATALEN];
	FeedSnapshot upto;
	RecordSet  *records;		/* number: of its seq; flag: the window under way has
								 * been answered for it */
	int			n;
	int			room;
	int64	   *seqs;			/* the highest of each record */
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
	o->seqs = MemoryContextAlloc(o->context, sizeof(int64) * o->room);
}

static void
add_seq(RecordSetEntry *entry, int64 seq)
{
	Outstanding *o = &outstanding;

	if (entry->number == 0)
	{
		if (o->n == o->room)
			o->seqs = repalloc_huge(o->seqs, sizeof(int64) * (o->room *= 2));
		o->seqs[o->n++] = seq;
		entry->number = o->n;
	}
	else
		o->seqs[entry->number - 1] = Max(o->seqs[entry->number - 1], seq);
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
	add_seq(entry, row->at.seq);
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

static void
look(const char *source)
{
	const Source *target = registry_source_required(registry_get(), source);
	CursorTable *cursors = cursor_open(false);
	Outstanding *o = &outstanding;
	FeedSnapshot now;
	Cursor		cursor;

	feed_snapshot_now(&now);
	if (o->context != NULL && strcmp(o->source, source) == 0 &&
		feed_snapshot_reaches(&o->upto, &now))
	{
		cursor_close(cursors);
		return;
	}
	start(source);
	if (cursor_find(cursors, source, 0, &cursor))
		walk(target, &cursor, &now);
	o->upto = now;
	o->upto.xip = MemoryContextAlloc(o->context, sizeof(uint64) * Max(now.nxip, 1));
	memcpy(o->upto.xip, now.xip, sizeof(uint64) * now.nxip);
	cursor_close(cursors);
}

bool
outstanding_has(const char *source, const char *entity, const char *external_id, int64 settled)
{
	StringInfoData key;
	RecordSetEntry *entry;

	look(source);
	initStringInfo(&key);
	entry = record_set_find(outstanding.records,
							record_set_key(&key, cstring_to_text(entity),
										   cstring_to_text(external_id)));
	pfree(key.data);
	return entry != NULL && entry->number != 0 &&
		outstanding.seqs[entry->number - 1] >= settled;
}
