/*
 * feed.c
 *	  One target's feed: its tables, its cursor, and whether there is anything
 *	  in it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "hub/feed.h"
#include "storage/rights.h"
#include "storage/parked_change.h"

/* Rows that were walked for nothing until the cursor is moved past them. */
#define PASS_OVER_ROWS		1000

/*
 * The slot that was found idle last.  As long as no transaction has ended
 * since, nothing in the database has changed, and there is nothing to be done
 * for it until the first retry, or the first parked change, is due.  Later the
 * walk goes on from there: a target that sends much and gets little would look
 * through its own changes again each time.
 */
typedef struct Idle
{
	char		target[NAMEDATALEN];	/* empty: none */
	Consumer	consumer;
	FeedSnapshot snapshot;		/* xip in CacheMemoryContext */
	TimestampTz until;
	int64		lo;				/* the tick of the cursor that stood still, */
	int64		walked;			/* rows behind it that are none of its, */
	uint64		generation;		/* as the registry was then */
} Idle;

static Idle idle;

/* ---------- open and close ---------- */

Feed *
feed_open(const char *source, Consumer consumer, bool write)
{
	Feed	   *feed = palloc0(sizeof(Feed));

	feed->registry = registry_get();
	feed->target = registry_source_required(feed->registry, source);
	feed->consumer = consumer;
	feed->now = GetCurrentTimestamp();
	feed->cursors = mapped_open(&cursor_def, write);
	feed->pending = pending_open(feed->target->name, write);
	feed->log = feed_log_open();
	initStringInfo(&feed->key);
	return feed;
}

void
feed_close(Feed *feed)
{
	feed_log_close(feed->log);
	pending_close(feed->pending);
	mapped_close(feed->cursors);
	pfree(feed);
}

static void
load_tick(Feed *feed, int64 id, Tick *tick)
{
	if (tick->id == id)
		return;
	if (!tick_find(id, tick))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("tick " INT64_FORMAT " of source \"%s\" is missing",
						id, feed->target->name),
				 errhint("Let the source start anew with SELECT syncext.cursor_start(%s).",
						 quote_literal_cstr(feed->target->name))));
}

static void
load_ticks(Feed *feed)
{
	load_tick(feed, feed->cursor.from_tick, &feed->lo);
	if (feed->cursor.to_tick != 0)
		load_tick(feed, feed->cursor.to_tick, &feed->hi);
}

/*
 * Returns false, perhaps with the cursor locked, if the target has none for the
 * slot or another number of slots.  Whoever then changes that locks all cursors
 * from the first on: only that one may be held already.
 */
static bool
lock_slot(Feed *feed)
{
	const char *name = feed->target->name;
	Consumer	consumer = feed->consumer;

	if (consumer.number > 0 && consumer.count > 0 &&
		!(cursor_find(feed->cursors, name, consumer.number, &feed->cursor) &&
		  feed->cursor.slots == consumer.count))
		return false;
	return cursor_lock(feed->cursors, name, consumer.number, &feed->cursor) &&
		(consumer.count == 0 || feed->cursor.slots == consumer.count);
}

/* Let the target have the slots that are asked for. */
static void
arrange_slots(Feed *feed)
{
	Consumer	consumer = feed->consumer;
	Cursor		first;

	if (consumer.count == 0)
	{
		consumer.count = 1;
		if (cursor_find(feed->cursors, feed->target->name, 0, &first))
			consumer.count = first.slots;
		consumer_check(consumer);
	}
	cursor_set_slots(feed->target->name, consumer.count);
}

void
feed_lock(Feed *feed)
{
	const char *name = feed->target->name;

	while (!lock_slot(feed))
	{
		CHECK_FOR_INTERRUPTS();
		arrange_slots(feed);
	}
	feed->consumer.count = feed->cursor.slots;
	/* what was in force before the wait may not be any more */
	feed->registry = registry_get();
	feed->target = registry_source_required(feed->registry, name);
	feed->now = GetCurrentTimestamp();
	load_ticks(feed);
}

void
feed_save(Feed *feed)
{
	cursor_save(feed->cursors, &feed->cursor);
}

/* ---------- windows ---------- */

static bool
idle_is_of(const char *target, Consumer consumer)
{
	return strcmp(idle.target, target) == 0 &&
		idle.consumer.number == consumer.number && idle.consumer.count == consumer.count;
}

/*
 * Is there anything for the target between its cursor and now?  True, too,
 * where so much was walked for nothing that the cursor should be moved past it.
 */
static bool
feed_has_changes(Feed *feed, const FeedSnapshot *now, int64 *walked)
{
	const LogPosition start = {0, 0};
	const bool	goes_on = idle_is_of(feed->target->name, feed->consumer) &&
		idle.lo == feed->cursor.from_tick && idle.generation == registry_generation();
	FeedWindow *window;
	FeedRow		row;
	bool		any;

	window = feed_window_begin(feed->log, feed->target, feed->consumer,
							   goes_on ? &idle.snapshot : &feed->lo.snapshot, now, start);
	any = feed_window_next(window, &row);
	*walked = (goes_on ? idle.walked : 0) + feed_window_walked(window);
	feed_window_end(window);
	return any || *walked > PASS_OVER_ROWS;
}

/* Remember that the slot is idle. */
static void
remember_idle(const Feed *feed, const FeedSnapshot *now, int64 walked, TimestampTz until)
{
	uint64	   *xip = idle.snapshot.xip;
	Size		size = sizeof(uint64) * Max(now->nxip, 1);

	idle.target[0] = '\0';
	if (xip == NULL)
		xip = MemoryContextAlloc(CacheMemoryContext, size);
	else
		xip = repalloc(xip, size);
	memcpy(xip, now->xip, sizeof(uint64) * now->nxip);
	idle.snapshot = *now;
	idle.snapshot.xip = xip;
	idle.until = until;
	idle.lo = feed->cursor.from_tick;
	idle.walked = walked;
	idle.generation = registry_generation();
	idle.consumer = feed->consumer;
	strlcpy(idle.target, feed->target->name, sizeof(idle.target));
}

/* What this transaction has written counts, though it hasn't ended. */
bool
feed_known_idle(const char *target, Consumer consumer)
{
	FeedSnapshot now;

	if (!idle_is_of(target, consumer) || TransactionIdIsValid(GetTopTransactionIdIfAny()))
		return false;
	feed_snapshot_now(&now);
	return feed_snapshot_reaches(&idle.snapshot, &now) &&
		GetCurrentTimestamp() < idle.until;
}

bool
feed_idle(Feed *feed)
{
	const Cursor *cursor = &feed->cursor;
	TimestampTz next_retry;
	FeedSnapshot now;
	int64		walked;

	feed_snapshot_now(&now);
	if (!cursor_find(feed->cursors, feed->target->name, feed->consumer.number, &feed->cursor) ||
		cursor->slots != feed->consumer.count)
		return false;
	if (cursor->lease_until != 0 || cursor->to_tick != 0 || cursor->backfill_entity != NULL)
		return false;
	next_retry = pending_next_due(feed->pending, feed->consumer);
	if (next_retry <= feed->now)
		return false;
	load_ticks(feed);
	if (feed_has_changes(feed, &now, &walked))
		return false;
	feed->idle_until = Min(next_retry, parked_changes_next_due());
	if (!IsolationUsesXactSnapshot())
		remember_idle(feed, &now, walked, feed->idle_until);
	return true;
}

/* How many slots the source has shared its records out among. */
static int
count_slots(const char *source)
{
	CursorTable *cursors = mapped_open(&cursor_def, false);
	Cursor		first;
	int			n = cursor_find(cursors, source, 0, &first) ? first.slots : 1;

	mapped_close(cursors);
	return n;
}

bool
feed_source_idle(const char *source, TimestampTz *until)
{
	Consumer	consumer = {0, count_slots(source)};
	bool		is_idle = true;

	*until = DT_NOEND;
	for (; is_idle && consumer.number < consumer.count; consumer.number++)
	{
		Feed	   *feed;

		CHECK_FOR_INTERRUPTS();
		feed = feed_open(source, consumer, false);
		is_idle = feed_idle(feed);
		*until = Min(*until, feed->idle_until);
		feed_close(feed);
	}
	return is_idle;
}

/*
 * Open the window from the cursor's tick to now, if there is anything in it.
 * Its end is a tick of its own: one that another session has taken could be
 * removed before this cursor is seen to need it.
 */
bool
feed_open_window(Feed *feed)
{
	FeedSnapshot now;
	int64		walked;

	feed_snapshot_now(&now);
	if (!feed_has_changes(feed, &now, &walked))
		return false;
	tick_take(&feed->hi);
	feed->cursor.to_tick = feed->hi.id;
	feed->cursor.position = feed->cursor.forgotten = feed->cursor.stretch_end = (LogPosition) {0, 0};
	return true;
}
