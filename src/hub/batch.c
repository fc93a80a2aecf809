/*
 * batch.c
 *	  What a target is served next: cutting batches out of the feed and the
 *	  backfill, and what an acknowledgement does to them.
 *
 * The caller has locked the cursor.
 *
 * A batch isn't stored record by record: the cursor says where it begins and
 * ends in the window and in the backfill, and the retries in it bear its
 * number.  batch_cut sets these marks, batch_collect finds the same records
 * again by them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "errcodes.h"
#include "hub/batch.h"
#include "hub/batch_record.h"
#include "hub/batch_retry.h"
#include "model/clip.h"
#include "settings.h"
#include "storage/canonical.h"
#include "storage/hints.h"
#include "storage/link.h"

/* Records that are left out of a page until it ends even so. */
#define MAX_DEFERRED			10000
/* How much of the rest of a window is looked at for rows of the page's records. */
#define REST_ROWS				1000
/* How many records a set has room for at first, and one that may stay small. */
#define SET_SIZE			512
#define FEW_RECORDS			32
/* How many records of a window are remembered: about 12 MB. */
#define MAX_FIRST_ROWS			100000
/* How many of a source's captured edits are folded at one go: about 12 MB. */
#define MAX_STRETCH				50000

/*
 * Where a window's records stand in it first: a record is served at its first row, and one
 * whose first row an earlier page had must not come again.  That follows from the log, so that
 * any backend can find it; this one keeps it to spare itself that from page to page.
 *
 * Of a window that has too many records, those that were served are forgotten between two
 * batches: the cursor says up to where, and a record may come again after that, as it stands
 * then.  A source's captured edits of a record are sent at one go, at its first row, and never
 * twice: so of a window that has too many of them the cursor says in advance where the stretch
 * ends that they are folded in, and forgets there.
 */
typedef struct FirstRows
{
	RecordSet  *set;			/* NULL: none; at: of the record's first row */
	RecordSet  *corrections;	/* the same of rows that are corrections alone; or NULL */
	bool		complete;		/* false: filling it was broken off */
	char		target[NAMEDATALEN];
	int			slot;
	Oid			ticks;			/* table that lo and hi are of: it can be made anew */
	int64		lo;
	int64		hi;
	LogPosition forgotten;		/* the cursor's: what comes before isn't in the set */
	LogPosition upto;			/* the set knows the window's rows up to here, perhaps more */
} FirstRows;

static FirstRows first_rows;

/* ---------- what earlier pages had ---------- */

static void
forget_first_rows(void)
{
	if (first_rows.set != NULL)
		record_set_free(first_rows.set);
	if (first_rows.corrections != NULL)
		record_set_free(first_rows.corrections);
	first_rows.set = first_rows.corrections = NULL;
}

static bool
first_rows_are_of(const Cursor *cursor)
{
	return first_rows.set != NULL && first_rows.complete &&
		first_rows.ticks == registry_relation("tick") &&
		first_rows.lo == cursor->from_tick && first_rows.hi == cursor->to_tick &&
		log_position_cmp(first_rows.forgotten, cursor->forgotten) == 0 &&
		first_rows.slot == cursor->slot && strcmp(first_rows.target, cursor->target) == 0;
}

/* Begin with nothing for the cursor's window. */
static void
start_first_rows(const Cursor *cursor)
{
	forget_first_rows();
	first_rows.set = record_set_create(CacheMemoryContext, FEW_RECORDS);
	strlcpy(first_rows.target, cursor->target, sizeof(first_rows.target));
	first_rows.slot = cursor->slot;
	first_rows.ticks = registry_relation("tick");
	first_rows.lo = cursor->from_tick;
	first_rows.hi = cursor->to_tick;
	first_rows.forgotten = first_rows.upto = cursor->forgotten;
}

/* Note a record's row; is its first one up to a position? */
static bool
has_row_upto(RecordSet *set, RecordSetKey key, LogPosition at, LogPosition upto)
{
	RecordSetEntry *entry = record_set_add(set, key);

	if (entry->at.xid == 0)
		entry->at = at;
	return log_position_cmp(entry->at, upto) <= 0;
}

/*
 * Note a row of the window.  Has a page up to where the cursor stands had its record, and,
 * if this one is a correction, as one?  Captured edits are the source's own, all of them;
 * what others did is not its to send.
 */
static bool
came_before(const Feed *feed, RecordSetKey key, const FeedRow *row)
{
	const Cursor *cursor = &feed->cursor;
	bool		came;

	if (feed->captured && !row->correction)
		return true;
	came = has_row_upto(first_rows.set, key, row->at, cursor->position);
	if (!row->correction || feed->captured)
		return came;
	if (first_rows.corrections == NULL)
		first_rows.corrections = record_set_create(CacheMemoryContext, FEW_RECORDS);
	return has_row_upto(first_rows.corrections, key, row->at, cursor->position) && came;
}

static bool
first_rows_are_many(void)
{
	return record_set_size(first_rows.set) +
		(first_rows.corrections == NULL ? 0 : record_set_size(first_rows.corrections)) >= MAX_FIRST_ROWS;
}

/*
 * Note the rows from where the set ends to where the cursor stands; with may_forget until
 * there are too many.
 */
static void
walk_first_rows(Feed *feed, bool may_forget)
{
	const Cursor *cursor = &feed->cursor;
	FeedWindow *window;
	FeedRow		row;

	window = feed_window_begin(feed->log, feed->target, feed->consumer, &feed->lo.snapshot,
							   &feed->hi.snapshot, first_rows.upto);
	while (!(may_forget && first_rows_are_many()) &&
		   feed_window_next(window, &row) && log_position_cmp(row.at, cursor->position) <= 0)
		(void) came_before(feed, record_set_key(&feed->key, row.entity, row.external_id), &row);
	feed_window_end(window);
	first_rows.upto = cursor->position;
}

/* Behind the end of a stretch another one begins. */
static void
leave_stretch(Cursor *cursor)
{
	if (cursor->stretch_end.xid == 0 || log_position_cmp(cursor->position, cursor->stretch_end) < 0)
		return;
	cursor->forgotten = cursor->position;
	cursor->stretch_end = (LogPosition) {0, 0};
}

/*
 * Find where the stretch ends whose first page has been cut: not in front of the page's end,
 * and at the window's if that has no more edits than may be folded at one go.
 */
static void
find_stretch_end(Feed *feed)
{
	Cursor	   *cursor = &feed->cursor;
	FeedWindow *window;
	FeedRow		row;

	if (cursor->stretch_end.xid != 0 || cursor->batch_end.xid >= feed->hi.snapshot.xmax)
		return;
	cursor->stretch_end = log_position_end(&feed->hi.snapshot);
	window = feed_window_begin(feed->log, feed->target, feed->consumer, &feed->lo.snapshot,
							   &feed->hi.snapshot, cursor->forgotten);
	for (int n = 1; feed_window_next(window, &row); n++)
	{
		if (n < MAX_STRETCH || log_position_cmp(row.at, cursor->batch_end) < 0)
			continue;
		cursor->stretch_end = row.at;
		break;
	}
	feed_window_end(window);
}

/*
 * Know the window's rows up to where the cursor stands, and go on from there.  Where no batch
 * is out, they may be forgotten if they are too many.
 */
static void
begin_first_rows(Feed *feed, bool between_batches)
{
	Cursor	   *cursor = &feed->cursor;
	bool		may_forget = between_batches && !feed->captured;

	if (between_batches)
		leave_stretch(cursor);
	if (!first_rows_are_of(cursor))
		start_first_rows(cursor);
	first_rows.complete = false;
	if (log_position_cmp(first_rows.upto, cursor->position) < 0)
		walk_first_rows(feed, may_forget);
	if (may_forget && first_rows_are_many())
	{
		cursor->forgotten = cursor->position;
		start_first_rows(cursor);
		first_rows.complete = false;
	}
}

/* Those up to a position have been noted. */
static void
end_first_rows(LogPosition upto)
{
	if (log_position_cmp(first_rows.upto, upto) < 0)
		first_rows.upto = upto;
	first_rows.complete = true;
}

/* ---------- what may be passed ---------- */

/*
 * What a source that is linked is due is sent over its link: of a relay the golden
 * records, of any other the edits that were captured, which are in no golden record.
 * Whoever serves the one must not move the cursor past the other.
 */
static void
refuse_to_pass(const Feed *feed, const Link *link, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("%s of source \"%s\" would be passed over", what, feed->target->name),
			 errhint_call("They go over link \"%s\": CALL sync_exchange(%s).", link->name,
					 quote_literal_cstr(link->name))));
}

static void
check_kind(const Feed *feed)
{
	const Link *link = link_of_source(feed->target->name);

	if (link != NULL && link->relay == feed->captured)
		refuse_to_pass(feed, link, feed->captured ? "records" : "captured edits");
}

/* A source that is not linked any more has its edits in its tables alone. */
static void
check_captured(const Feed *feed, const FeedRow *row)
{
	const Link *link;

	if (!row->captured || feed->captured)
		return;
	link = link_of_source(feed->target->name);
	if (link != NULL)
		refuse_to_pass(feed, link, "captured edits");
}

/* ---------- the records of a batch ---------- */

static void
start_records(Feed *feed, int expected)
{
	if (feed->members != NULL)
		record_set_free(feed->members);
	feed->members = record_set_create(CurrentMemoryContext, Min(expected, SET_SIZE));
	feed->nrecords = 0;
	feed->ndeferred = 0;
	feed->any_pending = pending_any(feed->pending);
}

/* The batch's record of this name; NULL if it has none. */
static BatchRecord *
find_record(Feed *feed, RecordSetKey key)
{
	RecordSetEntry *entry = record_set_find(feed->members, key);

	return entry == NULL ? NULL : &feed->records[entry->number - 1];
}

/* Append a record of the window or the backfill; NULL: it is pending, and is left out. */
static BatchRecord *
append_fresh_record(Feed *feed, RecordSetEntry *member)
{
	BatchRecord *record = batch_append(feed, member);
	Pending		pending;

	if (feed->any_pending &&
		pending_find(feed->pending, record->entity, record->external_id, &pending))
	{
		record->deferred = true;
		feed->ndeferred++;
	}
	return record;
}

/* The page's record of this name, added if there is room; else NULL. */
static BatchRecord *
page_record(Feed *feed, RecordSetKey key, bool correction, bool room)
{
	RecordSetEntry *member = room ? record_set_add(feed->members, key) :
		record_set_find(feed->members, key);

	if (member == NULL)
		return NULL;
	member->flag |= correction;
	if (member->number == 0)
		return append_fresh_record(feed, member);
	return &feed->records[member->number - 1];
}

/*
 * A row of a later transaction may be of an earlier row version, where that committed
 * first.  So what has changed is known only if the rest of the window has been looked at;
 * of the page's last transaction, that has the greater row versions.
 */
static void
note_rest(Feed *feed, LogPosition last)
{
	const LogPosition after = {last.xid, PG_INT64_MAX};
	FeedWindow *window = feed_window_begin(feed->log, feed->target, feed->consumer,
										   &feed->lo.snapshot, &feed->hi.snapshot, after);
	FeedRow		row;

	feed_window_limit(window, REST_ROWS);
	while (feed_window_next(window, &row))
	{
		BatchRecord *record = find_record(feed, record_set_key(&feed->key, row.entity,
															   row.external_id));

		if (record != NULL)
			changed_fields_note(&record->changed, window, &row);
	}
	for (int i = 0; feed_window_cut_short(window) && i < feed->nrecords; i++)
		feed->records[i].changed.unknown = true;
	feed_window_end(window);
}

/*
 * Take the window's next records: up to room of them, or, with upto, those up
 * to where the batch ends.  A record stands once in what is remembered of a window, at its
 * first row; once more only where a later page finds that the target's own change has lost.
 * Returns where the page ends.  The first rows have been begun.
 */
static LogPosition
take_page(Feed *feed, int room, const LogPosition *upto)
{
	LogPosition last = feed->cursor.position;
	FeedWindow *window = feed_window_begin(feed->log, feed->target, feed->consumer,
										   &feed->lo.snapshot, &feed->hi.snapshot, last);
	FeedRow		row;
	bool		more;

	for (;;)
	{
		RecordSetKey key;

		more = feed_window_next(window, &row);
		if (!more)
		{
			last = log_position_end(&feed->hi.snapshot);
			break;
		}
		if (upto != NULL && log_position_cmp(row.at, *upto) > 0)
			break;
		if (!cursor_in_stretch(&feed->cursor, row.at))
		{
			last = feed->cursor.stretch_end;
			break;
		}
		check_captured(feed, &row);
		key = record_set_key(&feed->key, row.entity, row.external_id);
		if (!came_before(feed, key, &row))
		{
			BatchRecord *record = page_record(feed, key, row.correction, upto != NULL ||
											  (batch_size(feed) < room &&
											   feed->ndeferred < MAX_DEFERRED));

			if (record == NULL)
				break;
			record->row_version = Max(record->row_version, row.row_version);
			record->correction |= row.correction;
			if (feed->wants_changed)
				changed_fields_note(&record->changed, window, &row);
		}
		last = row.at;
	}
	feed_window_end(window);
	if (more && feed->wants_changed)
		note_rest(feed, last);
	end_first_rows(last);
	return last;
}

/* ---------- the backfill ---------- */

/* The entity under way is done: go on to the next one. */
static void
next_backfill_entity(Cursor *cursor)
{
	cursor->backfill_entity = NULL;
	cursor->backfill_id = NULL;
	if (cursor->backfill_rest != NIL)
	{
		cursor->backfill_entity = linitial(cursor->backfill_rest);
		cursor->backfill_rest = list_delete_first(cursor->backfill_rest);
	}
}

/*
 * Take the next golden records of the entity under way: until the batch has
 * max records, or, with upto, those up to an external id.  Returns the last
 * id that it came by, NULL if there was none, and in walked how many records
 * of the slot that were.
 */
static char *
take_golden_records(Feed *feed, int max, const char *upto, int64 *walked)
{
	Canonical  *canonical = canonical_open(false);
	text	   *entity = cstring_to_text(feed->cursor.backfill_entity);
	RowsScan   *scan = canonical_scan_begin(canonical, feed->cursor.backfill_entity,
											feed->cursor.backfill_id);
	char	   *last = NULL;
	char	   *id;

	*walked = 0;
	while ((upto != NULL || batch_size(feed) < max) &&
		   canonical_scan_next(canonical, scan, &id))
	{
		CHECK_FOR_INTERRUPTS();
		if (upto != NULL && strcmp(id, upto) > 0)
			break;
		last = id;
		if (consumer_has(feed->consumer, feed->cursor.backfill_entity, id))
		{
			RecordSetKey key = record_set_key(&feed->key, entity, cstring_to_text(id));
			RecordSetEntry *member;

			(*walked)++;
			member = record_set_add(feed->members, key);
			if (member->number == 0)
				(void) append_fresh_record(feed, member);
		}
	}
	rows_scan_end(scan);
	canonical_close(canonical);
	return last;
}

/* Fill the batch up to max with the backfill's next records. */
static void
take_backfill(Feed *feed, int max)
{
	Cursor	   *cursor = &feed->cursor;
	int64		walked = 0;

	while (cursor->backfill_entity != NULL && batch_size(feed) < max)
	{
		if (source_gets_entity(feed->target, cursor->backfill_entity))
			cursor->end_backfill_id = take_golden_records(feed, max, NULL, &walked);
		/* a batch has records of one entity's walk alone */
		if (cursor->end_backfill_id != NULL)
			break;
		next_backfill_entity(cursor);
	}
	cursor->end_backfill_done = cursor->backfill_done + walked;
}

/* ---------- cutting, finding again, finishing ---------- */

void
batch_collect(Feed *feed)
{
	const Cursor *cursor = &feed->cursor;
	int64		walked;
	List	   *retries;

	start_records(feed, SET_SIZE);
	if (cursor->to_tick != 0)
	{
		begin_first_rows(feed, false);
		(void) take_page(feed, 0, &cursor->batch_end);
	}
	if (cursor->end_backfill_id != NULL)
		(void) take_golden_records(feed, 0, cursor->end_backfill_id, &walked);
	retries = pending_in_batch(feed->pending, cursor->batch, cursor->batch_retries);
	foreach_ptr(Pending, retry, retries)
		batch_add_retry(feed, retry);
}

/*
 * How many of max records come from the window.  Retries that are due get half
 * of the batch at most, and a backfill half of what they leave: none of the
 * three can keep the others waiting.  Where a half isn't whole, every other
 * batch gives the window the greater.
 */
static int
window_share(Feed *feed, int max)
{
	int			due = list_length(pending_due(feed->pending, feed->consumer, feed->now,
											  (max + 1) / 2));
	int			share = max - due;

	if (feed->cursor.backfill_entity != NULL)
		share = (share + feed->cursor.batch / feed->cursor.slots % 2) / 2;
	return share;
}

/* Move the cursor behind the batch. */
static void
pass_batch(Feed *feed)
{
	Cursor	   *cursor = &feed->cursor;

	check_kind(feed);
	if (cursor->to_tick != 0)
	{
		cursor->position = cursor->batch_end;
		if (cursor->position.xid >= feed->hi.snapshot.xmax)
		{
			cursor->from_tick = cursor->to_tick;
			feed->lo = feed->hi;
			cursor->to_tick = 0;
			cursor->position = cursor->forgotten = cursor->stretch_end = (LogPosition) {0, 0};
			forget_first_rows();
		}
	}
	if (cursor->end_backfill_id != NULL)
	{
		cursor->backfill_id = cursor->end_backfill_id;
		cursor->backfill_done = cursor->end_backfill_done;
	}
	cursor->end_backfill_id = NULL;
	cursor->batch_end = (LogPosition) {0, 0};
	cursor->batch_retries = 0;
	cursor->lease_until = 0;
}

/*
 * The number after the last batch's that leaves the slot's when it is divided by
 * how many there are: no two slots have a batch of the same number.  Nor must one
 * that was handed out in a time that is lost now pass for one to come: an epoch's
 * numbers begin with its own, and milliseconds go faster than batches.
 */
static int64
next_batch(const Feed *feed)
{
	const Cursor *cursor = &feed->cursor;
	int64		next = Max(cursor->batch + 1, feed->registry->epoch);

	while (next % cursor->slots != cursor->slot)
		next++;
	return next;
}

/* Returns false if there is nothing to serve; the cursor may have moved even so. */
bool
batch_cut(Feed *feed, int max)
{
	Cursor	   *cursor = &feed->cursor;
	int64		last_batch = cursor->batch;

	cursor->batch = next_batch(feed);
	cursor->lease_until = 0;
	cursor->end_backfill_id = NULL;
	for (;;)
	{
		bool		window = cursor->to_tick != 0 || feed_open_window(feed);

		start_records(feed, max);
		if (window)
		{
			int			share = window_share(feed, max);

			cursor->batch_end = cursor->position;
			if (share > 0)
			{
				begin_first_rows(feed, true);
				cursor->batch_end = take_page(feed, share, NULL);
				if (feed->captured)
					find_stretch_end(feed);
			}
		}
		take_backfill(feed, max);
		batch_raise_deferred(feed);
		batch_take_retries(feed, max);
		if (batch_size(feed) > 0)
			return true;
		if (!window && cursor->backfill_entity == NULL)
			break;
		/* what there was is pending, or came before: look further */
		pass_batch(feed);
	}
	cursor->batch = last_batch;
	return false;
}

/*
 * Pages of one window have no record in common, but for corrections.  A backfill, what is
 * tried again, that records are forgotten, and another stretch, would have to be written into
 * the cursor and syncext.pending: then the batch is cut when it is its turn.
 */
bool
batch_cut_ahead(Feed *feed, int max)
{
	Cursor	   *cursor = &feed->cursor;

	if (cursor->to_tick == 0 || cursor->batch_end.xid >= feed->hi.snapshot.xmax ||
		cursor->backfill_entity != NULL || cursor->batch_retries > 0 || pending_any(feed->pending) ||
		(feed->captured ? log_position_cmp(cursor->batch_end, cursor->stretch_end) >= 0 :
		 first_rows_are_of(cursor) && first_rows_are_many()))
		return false;
	pass_batch(feed);
	cursor->batch = next_batch(feed);
	start_records(feed, max);
	begin_first_rows(feed, false);
	cursor->batch_end = take_page(feed, max, NULL);
	return batch_size(feed) > 0;
}

bool
batch_take_up(Feed *feed, const Cursor *ahead)
{
	Cursor	   *cursor = &feed->cursor;

	if (cursor->from_tick != ahead->from_tick || cursor->to_tick != ahead->to_tick ||
		log_position_cmp(cursor->position, ahead->position) != 0 ||
		cursor->backfill_entity != NULL || pending_any(feed->pending) ||
		next_batch(feed) != ahead->batch)
		return false;
	cursor->batch = ahead->batch;
	cursor->batch_end = ahead->batch_end;
	batch_lease(feed);
	return true;
}

void
batch_lease(Feed *feed)
{
	feed->cursor.lease_until =
		TimestampTzPlusMilliseconds(feed->now, (int64) setting_lease * 1000);
}

bool
batch_is_leased(const Feed *feed)
{
	return feed->cursor.lease_until > feed->now;
}

/* Each of them is looked for among the others, and in what the batch took away. */
void
batch_check_named(int n, const char *argument)
{
	if (n > setting_max_records)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
				 errmsg("\"%s\" names %d records, but at most %d are served at once", argument, n,
						setting_max_records),
				 errhint("Name each record of the batch once. If the setting \"syncext.max_records\" was lowered since it was pulled, let its lease end and pull again.")));
}

void
batch_refuse_failure(const Feed *feed, const BatchFailure *failure)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
			 errmsg("record \"%s\" of entity \"%s\" is not in batch " INT64_FORMAT,
					clip_string(failure->external_id, CLIP_QUOTE),
					clip_string(failure->entity, CLIP_QUOTE), feed->cursor.batch),
			 errhint("List records in \"failed\" that sync_pull returned with this batch.")));
}

static BatchRecord *
find_served(Feed *feed, const char *entity, const char *external_id)
{
	RecordSetKey key = record_set_key(&feed->key, cstring_to_text(entity),
									  cstring_to_text(external_id));
	BatchRecord *record = find_record(feed, key);

	return record != NULL && !record->deferred ? record : NULL;
}

bool
batch_has(Feed *feed, const char *entity, const char *external_id)
{
	return find_served(feed, entity, external_id) != NULL;
}

/* Note a failure at its record, which has to be in the batch. */
static void
note_failure(Feed *feed, const BatchFailure *failure)
{
	BatchRecord *record = find_served(feed, failure->entity, failure->external_id);

	if (record != NULL)
	{
		record->failure = failure;
		return;
	}
	/* the target has unsubscribed since: it need not take it any more */
	if (!source_gets_entity(feed->target, failure->entity))
		return;
	batch_refuse_failure(feed, failure);
}

void
batch_finish(Feed *feed, const BatchFailure *failures, int nfailures)
{
	if (nfailures > 0 || feed->cursor.batch_retries > 0)
	{
		batch_collect(feed);
		for (int i = 0; i < nfailures; i++)
			note_failure(feed, &failures[i]);
		for (int i = 0; i < feed->nrecords; i++)
		{
			const BatchRecord *record = &feed->records[i];

			if (record->failure != NULL)
				batch_store_failure(feed, record);
			else if (record->retry)
				pending_delete(feed->pending, record->entity, record->external_id);
		}
	}
	pass_batch(feed);
	feed->cursor.moved_at = feed->now;
}
