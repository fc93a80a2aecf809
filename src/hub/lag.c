/*
 * lag.c
 *	  How far all targets are behind: what syncext.feed_lag shows.
 *
 * Called from that view.  It counts by the rules of syncext.outbound_change,
 * which lists the records of one target; here the log is read once and held
 * against each target in memory, for with many of them that is what takes the
 * time.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "hub/lag_image.h"
#include "model/ladder.h"

PG_FUNCTION_INFO_V1(syncext_feed_counts);

/* What is known of a record for the target at hand. */
#define MARK_PENDING	0x01	/* it is pending, which settles it */
#define MARK_LATER		0x02	/* it has a row behind the window */
#define MARK_SERVED		0x04	/* it was served in the window */
#define MARK_WAITING	0x08	/* it has a row in the window that wasn't served */
#define MARK_COUNTED	0x10	/* it was counted as waiting */

typedef struct Mark
{
	int			target;			/* whose this is, from 1: else nothing is known */
	int			flags;
	TimestampTz since;			/* DT_NOEND: not known */
} Mark;

/* One target's numbers, and where they are being worked out. */
typedef struct Count
{
	const LagImage *image;
	const LagTarget *target;
	int			number;			/* of the target, from 1 */
	bool	   *gets;			/* by entity */
	Mark	   *marks;			/* by record */
	int			ntouched;
	int		   *touched;		/* the records that the window or what follows has */

	int64		changes;
	int64		retries;
	int64		dead;
	TimestampTz since;			/* DT_NOEND: nothing that bears a time */
} Count;

/* ---------- one target ---------- */

static Mark *
mark_of(Count *count, int record)
{
	Mark	   *mark = &count->marks[record];

	if (mark->target != count->number)
	{
		mark->target = count->number;
		mark->flags = 0;
		mark->since = DT_NOEND;
	}
	return mark;
}

static bool
slot_has_hash(Slot slot, uint64 hash)
{
	return slot.of == 1 || (int) (hash % slot.of) == slot.number;
}

/* Is the pending record in the batch that its slot's consumer has? */
static bool
is_delivering(const Count *count, const LagPending *pending)
{
	for (int i = 0; i < count->target->ncursors; i++)
	{
		const LagCursor *cursor = &count->target->cursors[i];

		if (cursor->leased && cursor->batch == pending->batch && pending->batch != 0 &&
			slot_has_hash(cursor->slot, count->image->hashes[pending->record]))
			return true;
	}
	return false;
}

static void
count_pending(Count *count)
{
	for (int i = 0; i < count->target->npending; i++)
	{
		const LagPending *pending = &count->target->pending[i];
		bool		delivering = is_delivering(count, pending);

		mark_of(count, pending->record)->flags = MARK_PENDING;
		if (delivering)
			count->changes++;
		else if (pending->dead)
			count->dead++;
		else
			count->retries++;
		if (delivering || !pending->dead)
			count->since = Min(count->since, pending->since);
	}
}

/* Is the target told of the row, and does it get the entity, in this slot? */
static bool
row_is_due(const Count *count, Slot slot, const LagRow *row)
{
	bool		own = row->source == count->target->number;

	if ((row->told == TOLD_OTHERS && own) || (row->told == TOLD_ORIGIN && !own))
		return false;
	return count->gets[row->entity] && slot_has_hash(slot, count->image->hashes[row->record]);
}

/* The first row that the snapshot may not see. */
static int64
first_row(const LagImage *image, const FeedSnapshot *snapshot)
{
	int64		first = 0;
	int64		end = image->nrows;

	while (first < end)
	{
		int64		middle = (first + end) / 2;

		if (image->rows[middle].at.xid < snapshot->xmin)
			first = middle + 1;
		else
			end = middle;
	}
	return first;
}

/* Note what a row that is due means for its record. */
static void
note_row(Count *count, const LagCursor *cursor, const LagRow *row, bool in_window)
{
	Mark	   *mark = mark_of(count, row->record);

	if (mark->flags & MARK_PENDING)
		return;
	if (mark->flags == 0)
		count->touched[count->ntouched++] = row->record;
	if (in_window && log_position_cmp(row->at, cursor->at) <= 0)
	{
		mark->flags |= MARK_SERVED;
		return;
	}
	mark->flags |= in_window ? MARK_WAITING : MARK_LATER;
	mark->since = Min(mark->since, row->recorded_at);
}

/* Note the rows behind the cursor, those of its window apart. */
static void
note_rows(Count *count, const LagCursor *cursor)
{
	const LagImage *image = count->image;
	uint64		xid = 0;
	bool		done = true;
	bool		in_window = false;

	for (int64 i = first_row(image, &cursor->lo); i < image->nrows; i++)
	{
		const LagRow *row = &image->rows[i];

		/* transactions are looked up once, not row by row */
		if (row->at.xid != xid)
		{
			xid = row->at.xid;
			done = feed_snapshot_sees(&cursor->lo, xid);
			in_window = cursor->has_window && feed_snapshot_sees(&cursor->hi, xid);
		}
		if (!done && row_is_due(count, cursor->slot, row))
			note_row(count, cursor, row, in_window);
	}
}

/* A record stands once in a window: what was served of it there is done. */
static void
count_touched(Count *count)
{
	for (int i = 0; i < count->ntouched; i++)
	{
		Mark	   *mark = &count->marks[count->touched[i]];

		if ((mark->flags & MARK_SERVED) && !(mark->flags & MARK_LATER))
			continue;
		mark->flags |= MARK_COUNTED;
		count->changes++;
		count->since = Min(count->since, mark->since);
	}
}

/* Count an entity's golden records from a place on that aren't counted yet. */
static void
count_golden(Count *count, Slot slot, int entity, int64 from)
{
	const LagEntity *range = &count->image->entities[entity];

	if (!count->gets[entity])
		return;
	for (int64 i = Max(from, range->first); i < range->end; i++)
	{
		const LagGolden *golden = &count->image->golden[i];

		if (!slot_has_hash(slot, golden->hash))
			continue;
		if (golden->record >= 0)
		{
			Mark	   *mark = mark_of(count, golden->record);

			if (mark->flags & (MARK_PENDING | MARK_COUNTED))
				continue;
			mark->flags |= MARK_COUNTED;
		}
		count->changes++;
	}
}

static void
count_backfill(Count *count, const LagCursor *cursor)
{
	bool		again = false;

	for (int i = 0; i < cursor->nrest; i++)
	{
		again |= cursor->rest[i] == cursor->backfill_entity;
		count_golden(count, cursor->slot, cursor->rest[i], 0);
	}
	/* unless all of it comes again anyway */
	if (!again)
		count_golden(count, cursor->slot, cursor->backfill_entity, cursor->backfill_from);
}

static void
count_target(Count *count, const LagTarget *target)
{
	count->target = target;
	count->number++;
	count->ntouched = 0;
	count->changes = count->retries = count->dead = 0;
	count->since = DT_NOEND;
	memset(count->gets, target->nentities < 0, count->image->nentities);
	for (int i = 0; i < target->nentities; i++)
		count->gets[target->entities[i]] = true;
	count_pending(count);
	for (int i = 0; i < target->ncursors; i++)
	{
		CHECK_FOR_INTERRUPTS();
		note_rows(count, &target->cursors[i]);
	}
	count_touched(count);
	for (int i = 0; i < target->ncursors; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (target->cursors[i].backfill_name != NULL)
			count_backfill(count, &target->cursors[i]);
	}
}

/* ---------- all of them ---------- */

static void
put_count(ReturnSetInfo *rsinfo, const Count *count)
{
	Datum		values[5];
	bool		isnull[5] = {false};

	values[0] = CStringGetTextDatum(count->target->name);
	values[1] = Int64GetDatum(count->changes);
	values[2] = Int64GetDatum(count->retries);
	values[3] = Int64GetDatum(count->dead);
	values[4] = TimestampTzGetDatum(count->since);
	isnull[4] = TIMESTAMP_IS_NOEND(count->since);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/* A view's functions run as who reads it: the tables are read for whom it is granted to. */
static void
check_may_read(void)
{
	Oid			view = registry_relation("feed_lag");
	AclResult	allowed = pg_class_aclcheck(view, GetUserId(), ACL_SELECT);

	if (allowed != ACLCHECK_OK)
		aclcheck_error(allowed, OBJECT_VIEW, "feed_lag");
}

/* Returns a row a target: changes, retries, dead letters, the oldest's time. */
Datum
syncext_feed_counts(PG_FUNCTION_ARGS)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "syncext feed counts",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old;
	Count		count = {0};

	check_may_read();
	InitMaterializedSRF(fcinfo, 0);
	old = MemoryContextSwitchTo(context);
	count.image = lag_image_read();
	count.gets = palloc(count.image->nentities + 1);
	count.marks = palloc_extended(sizeof(Mark) * Max(count.image->nrecords, 1),
								  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	count.touched = palloc_extended(sizeof(int) * Max(count.image->nrecords, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < count.image->ntargets; i++)
	{
		count_target(&count, &count.image->targets[i]);
		put_count((ReturnSetInfo *) fcinfo->resultinfo, &count);
	}
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return (Datum) 0;
}
