/*
 * outbox.c
 *	  Edits of relations whose entity is decided behind a link: what is to be
 *	  sent there next, and what came of it.
 *
 * The edits are CAPTURED rows of the change log, told to nobody but their own source:
 * the source that stands here for the hub.  So they come in its windows, batches and
 * leases like everything else that a target is due.  A record stands once in a window,
 * and all of its edits there are folded into one change.  A window of very many edits is
 * dealt with in stretches, one after the other, as if each were a window: hub/batch.c.
 *
 * What says nothing that is not agreed on with the hub already isn't sent: an
 * edit that was taken back, or one that was captured twice.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/clock_skew.h"
#include "hub/edit_places.h"
#include "hub/outbox.h"
#include "hub/outbox_flight.h"
#include "hub/outbox_sums.h"
#include "hub/incarnation.h"
#include "hub/pull.h"
#include "model/field_ladder.h"
#include "model/field_stamp.h"
#include "model/fold.h"
#include "model/field_versions.h"
#include "process/owner.h"
#include "storage/binding.h"
#include "storage/capture_failure.h"
#include "storage/change_log.h"
#include "storage/replica.h"

/* ---------- where a record's edits are ---------- */

/* The edits of the window's stretch under way, which may have many pages. */
typedef struct WindowEdits
{
	EditPlaces	places;
	bool		complete;		/* false: walking was broken off */
	char		target[NAMEDATALEN];
	Oid			ticks;			/* table that lo and hi are of: it can be made anew */
	int64		lo;
	int64		hi;
	LogPosition forgotten;		/* the cursor's: the stretch is from there */
	LogPosition stretch_end;
} WindowEdits;

static WindowEdits window_edits;

static void
start_window_edits(const Cursor *cursor)
{
	window_edits.complete = false;
	edit_places_begin(&window_edits.places);
	strlcpy(window_edits.target, cursor->target, sizeof(window_edits.target));
	window_edits.ticks = registry_relation("tick");
	window_edits.lo = cursor->from_tick;
	window_edits.hi = cursor->to_tick;
	window_edits.forgotten = cursor->forgotten;
	window_edits.stretch_end = cursor->stretch_end;
}

static bool
window_edits_are_of(const Cursor *cursor)
{
	return window_edits.complete && window_edits.ticks == registry_relation("tick") &&
		window_edits.lo == cursor->from_tick && window_edits.hi == cursor->to_tick &&
		log_position_cmp(window_edits.forgotten, cursor->forgotten) == 0 &&
		log_position_cmp(window_edits.stretch_end, cursor->stretch_end) == 0 &&
		strcmp(window_edits.target, cursor->target) == 0;
}

/* Know where the edits of the stretch are. */
static void
walk_window(Feed *feed)
{
	const Cursor *cursor = &feed->cursor;
	FeedWindow *window;
	FeedRow		row;

	if (window_edits_are_of(cursor))
		return;
	start_window_edits(cursor);
	window = feed_window_begin(feed->log, feed->target, feed->consumer, &feed->lo.snapshot,
							   &feed->hi.snapshot, cursor->forgotten);
	while (feed_window_next(window, &row) && cursor_in_stretch(cursor, row.at))
	{
		/* what others did is not ours to send */
		if (row.correction)
			edit_places_add(&window_edits.places,
							record_set_add(window_edits.places.records,
										   record_set_key(&feed->key, row.entity, row.external_id)),
							&row);
	}
	feed_window_end(window);
	window_edits.complete = true;
}

/* ---------- where a record is ---------- */

Oid
outbox_relation(const char *source, const char *entity)
{
	const Binding *binding = binding_of_entity(source, entity);

	if (binding != NULL)
		return binding->relation;
	return (Oid) owner_number("SELECT d.relation::oid FROM syncext.detached d "
							  "WHERE d.source = %s AND d.entity = %s ORDER BY d.detached_at DESC LIMIT 1",
							  quote_literal_cstr(source), quote_literal_cstr(entity));
}

/* ---------- one record ---------- */

/* What a batch is made of. */
typedef struct Cutting
{
	Feed	   *feed;
	FeedSeek   *seek;
	Replica    *replica;
	CaptureFailures *failures;
	bool		any_failure;	/* there may be some */
	int			room;
	Size		bytes;			/* of the edits that were read */
	OutboxBatch *out;
} Cutting;

/* Fields that a hub kept back are based on when they were last delivered. */
static void
set_held_bases(Fold *fold, Jsonb *held_jsonb)
{
	Fields		held = fields_of(held_jsonb);

	for (int i = 0; i < fold->n; i++)
		(void) field_versions_find(&held, fold->fields[i].field.name, &fold->fields[i].base);
}

static OutboxChange *
add_change(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica,
		   const Fold *fold, int64 base)
{
	OutboxBatch *out = cutting->out;
	OutboxChange *change;

	if (out->nchanges == cutting->room)
	{
		cutting->room = Max(cutting->room * 2, 64);
		out->changes = out->changes == NULL ? palloc(sizeof(OutboxChange) * cutting->room) :
			repalloc_huge(out->changes, sizeof(OutboxChange) * cutting->room);
	}
	change = &out->changes[out->nchanges++];
	MemSet(change, 0, sizeof(OutboxChange));
	change->entity = record->entity;
	change->external_id = record->external_id;
	change->deleted = fold->deleted;
	change->cascade = fold->cascade;
	/* whether the record has moved on is told by its row version */
	change->has_version = fold->has_version && !fold->cascade;
	change->version = fold->version;
	change->has_updated_at = true;
	change->updated_at = fold->updated_at;
	change->base = base;
	change->replica_at = replica->at;
	return change;
}

static Ladder
ladder_of(const char *entity_name)
{
	const Entity *entity = registry_entity(registry_get(), entity_name);

	return entity == NULL ? 0 : entity->ladder;
}

/*
 * In a field ladder, which both ends of the link have then, the edit gets its stamp here:
 * above what was delivered to the row, and above the edit before it.
 */
static void
stamp_change(OutboxChange *change, const ReplicaRow *replica)
{
	Ladder		ladder = ladder_of(change->entity);
	const LifeStamp known = replica_stamp(replica);
	const LifeStamp own = {
		.has_version = change->has_version,
		.version = change->version,
		.has_updated_at = true,
		.updated_at = clock_bounded(change->updated_at)
	};
	LifeStamp	stamp;

	if (!(ladder & RUNG_FIELD))
		return;
	stamp = field_stamp_above(&known, &own);
	change->stamped = true;
	change->has_version = (ladder & RUNG_VERSION) != 0;
	change->version = stamp.version;
	if (ladder & RUNG_LATEST)
		change->updated_at = stamp.updated_at;
	if (!change->deleted && !change->born)
		return;
	change->known = known;
	change->known.has_version = change->has_version;
	change->known.has_updated_at &= (ladder & RUNG_LATEST) != 0;
}

/*
 * The hub has lost the record: what was agreed on of it comes back before the edit, where
 * nobody has made it meanwhile, and is older than that.
 */
static void
add_lost(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica,
		 const Fold *fold, const Fields *agreed)
{
	OutboxChange *change = add_change(cutting, record, replica, fold, replica->row_version);
	const LifeStamp known = replica_stamp(replica);

	change->cascade = false;
	change->anew = true;
	change->fields = *agreed;
	change->version = Max(fold->version - 1, 0);
	change->updated_at = known.is_set && known.has_updated_at ? known.updated_at :
		fold->updated_at - 1;
	change->stamped = (ladder_of(record->entity) & RUNG_FIELD) != 0;
	if (!change->stamped)
		return;
	change->has_version = (ladder_of(record->entity) & RUNG_VERSION) != 0;
	change->version = known.version;
}

/* No row is agreed on: there was none, or it was deleted. */
static void
add_birth(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica, Fold *fold)
{
	OutboxChange *change = add_change(cutting, record, replica, fold, 0);

	change->born = true;
	change->fields.field = palloc(sizeof(Field) * Max(fold->n, 1));
	for (int i = 0; i < fold->n; i++)
		change->fields.field[change->fields.n++] = fold->fields[i].field;
	stamp_change(change, replica);
}

/* A change that sets no field, of counters. */
static OutboxChange *
add_counted(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica,
			const Fold *fold, const CountedSums *sums)
{
	OutboxChange *change = add_change(cutting, record, replica, fold, replica->row_version);

	change->has_version = false;
	change->counted = sums->counted;
	change->counts = sums->counts;
	change->summed = sums->summed;
	change->added_sums = sums->added;
	return change;
}

/*
 * Where the hub has gone back in time it is told all that was counted: it may have lost
 * some of that, or has it with the record.
 */
static void
add_recount(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica,
			const Fold *fold)
{
	const CountedSums all = {.counted = replica->counted, .counts = replica->counted};

	if ((fold->recount || fold->baseline) && replica->counted != NULL)
		add_counted(cutting, record, replica, fold, &all)->baseline = fold->baseline;
}

/* What was added to counters, unless they were set anew with the row. */
static bool
take_sums(const BatchRecord *record, const ReplicaRow *replica, const Fields *agreed,
		  Fold *fold, CountedSums *sums)
{
	const Entity *entity = registry_entity(registry_get(), record->entity);

	return entity != NULL && entity->field_rules.nsums > 0 && !fold->whole && fold->n > 0 &&
		outbox_sums_take(&entity->field_rules, replica, agreed, fold, sums);
}

/* What is left to be said of the record, after what is agreed on. */
static void
add_changes(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica, Fold *fold)
{
	CountedSums sums;
	FoldPart	part;
	Fields		agreed;
	bool		summed;

	if (fold->deleted)
	{
		/* it came and went, or they know; a row that was loaded was there before */
		if (replica->exists ? replica->fields != NULL : !fold->made)
			stamp_change(add_change(cutting, record, replica, fold, fold->base), replica);
		return;
	}
	if (replica->fields == NULL)
	{
		add_birth(cutting, record, replica, fold);
		return;
	}
	agreed = fields_of(replica->fields);
	summed = take_sums(record, replica, &agreed, fold, &sums);
	fold_drop(fold, &agreed);
	if (replica->gone_at != 0 && (fold->n > 0 || summed))
		add_lost(cutting, record, replica, fold, &agreed);
	add_recount(cutting, record, replica, fold);
	while (fold_take(fold, &part))
	{
		OutboxChange *change = add_change(cutting, record, replica, fold, part.base);

		change->fields = part.fields;
		change->added = part.added;
		change->updated_at = part.updated_at;
		stamp_change(change, replica);
	}
	/* after what may bring the record back */
	if (summed)
		(void) add_counted(cutting, record, replica, fold, &sums);
}

/*
 * Does the hub lack more of the row than the edits at hand say?  It refused some of
 * it before, or has never heard of it.  Then they aren't sent; the row is noted as one
 * of which all is to be sent.  A delete says all.
 */
static bool
owes_more(Cutting *cutting, Oid relation, const BatchRecord *record,
		  const ReplicaRow *replica, const Fold *fold)
{
	CaptureFailure failure = {.relation = relation, .external_id = record->external_id};
	bool		failed;

	if (fold->all || fold->deleted)
		return false;
	failed = cutting->any_failure && capture_failures_any(cutting->failures, relation) &&
		capture_failure_find(cutting->failures, relation, record->external_id, &failure);
	if (!failed && (replica->fields != NULL || fold->born || fold->whole))
		return false;
	if (!failed)
	{
		failure.since = GetCurrentTimestamp();
		failure.attempt.error = "the hub has not heard of the row yet, and is sent all of it";
	}
	attempt_recall(&failure.attempt, GetCurrentTimestamp());
	capture_failure_save(cutting->failures, &failure);
	cutting->any_failure = true;
	cutting->out->nowed++;
	return true;
}

/*
 * Something of the record was edited by hand to what it can't be.  Its edits don't keep
 * those of others back: all of the row is sent as it stands, or not before an
 * administrator has mended what is known of it.
 */
static void
set_aside(Cutting *cutting, Oid relation, const char *external_id, bool dead,
		  const char *error)
{
	CaptureFailure failure = {.relation = relation, .external_id = external_id,
							  .since = GetCurrentTimestamp()};

	(void) capture_failure_find(cutting->failures, relation, external_id, &failure);
	if (dead)
		attempt_kill(&failure.attempt, GetCurrentTimestamp());
	else
		attempt_recall(&failure.attempt, GetCurrentTimestamp());
	failure.attempt.error = error;
	capture_failure_save(cutting->failures, &failure);
	cutting->any_failure = true;
	cutting->out->nowed += !dead;
}

/*
 * Fold what the window has of the record.  As long as an edit has not been
 * answered nothing else is placed in the row: so what it was made on is what is
 * agreed on now, and with it what the hub has taken of ours since.
 */
static void
cut_record(Cutting *cutting, const BatchRecord *record)
{
	Oid			relation = outbox_relation(cutting->feed->target->name, record->entity);
	ReplicaRow	replica = {0};
	Fold		fold = {.by_time = (ladder_of(record->entity) & RUNG_FIELD) != 0};
	EditPlace  *places;
	bool		readable;
	int			n;
	const char *problem = NULL;

	if (OidIsValid(relation))
		problem = replica_try(cutting->replica, relation, record->external_id, &replica);
	if (problem != NULL)
	{
		set_aside(cutting, relation, record->external_id, true, problem);
		return;
	}
	n = edit_places_of(&window_edits.places, record->entity, record->external_id, replica.settled,
					   &places);
	readable = edit_places_fold(cutting->seek, places, n, &replica, &fold, &cutting->bytes);
	if (!readable && OidIsValid(relation))
	{
		set_aside(cutting, relation, record->external_id, false,
				  "an edit of it cannot be read in syncext.change_log: all of the row is sent");
		return;
	}
	if (replica.withheld != NULL)
		set_held_bases(&fold, replica.withheld);
	if (fold.nedits > 0 && OidIsValid(relation) &&
		owes_more(cutting, relation, record, &replica, &fold))
		return;
	if (fold.nedits > 0)
		add_changes(cutting, record, &replica, &fold);
}

/* ---------- batches ---------- */

/* They live as long as the backend does. */
static RecordSet *
records_of(const OutboxBatch *out)
{
	RecordSet  *records = record_set_create(CacheMemoryContext, out->nchanges);
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < out->nchanges; i++)
		(void) record_set_add(records, record_set_key(&key, cstring_to_text(out->changes[i].entity),
													  cstring_to_text(out->changes[i].external_id)));
	pfree(key.data);
	return records;
}

static Feed *
open_feed(const char *source, bool write)
{
	Feed	   *feed = feed_open(source, ONLY_SLOT, write);

	feed->captured = true;
	return feed;
}

/*
 * Returns 0, or how many records of the batch make it large enough: then it has to be
 * cut anew, for what is in front by the order here need not be so in the log.
 */
static int
cut_records(Feed *feed, Size max_bytes, OutboxBatch *out)
{
	Cutting		cutting = {.feed = feed, .out = out};
	int			fit = 0;

	MemSet(out, 0, sizeof(OutboxBatch));
	out->batch = feed->cursor.batch;
	if (feed->cursor.to_tick == 0)
		return 0;
	walk_window(feed);
	cutting.seek = feed_seek_begin(feed->log);
	cutting.replica = mapped_open(&replica_def, false);
	cutting.failures = mapped_open(&capture_failure_def, true);
	cutting.any_failure = !capture_failures_none(cutting.failures);
	/* in this order, the places that members says don't hold any more */
	batch_sort(feed);
	for (int i = 0; i < feed->nrecords && fit == 0; i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* of one record, however large, there is always room */
		if (cutting.bytes > max_bytes)
			fit = i;
		else if (!feed->records[i].deferred)
			cut_record(&cutting, &feed->records[i]);
	}
	mapped_close(cutting.failures);
	mapped_close(cutting.replica);
	feed_seek_end(cutting.seek);
	return fit;
}

static bool
nothing_to_cut(const char *source)
{
	Feed	   *feed;
	bool		idle;

	if (feed_known_idle(source, ONLY_SLOT))
		return true;
	(void) incarnation_check();
	feed = open_feed(source, false);
	idle = feed_idle(feed);
	feed_close(feed);
	return idle;
}

static bool
has_more(const Feed *feed)
{
	return feed->cursor.to_tick != 0 && feed->cursor.batch_end.xid < feed->hi.snapshot.xmax;
}

void
outbox_cut(const char *source, int max, Size max_bytes, OutboxBatch *out)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext cut;			/* of what the caller gets */
	Feed	   *feed;
	bool		again;
	bool		any;

	MemSet(out, 0, sizeof(OutboxBatch));
	if (nothing_to_cut(source))
		return;
	feed = open_feed(source, true);
	feed_lock(feed);
	/* a batch that is out comes again, however old it is: the hub repeats its answers */
	any = feed->cursor.lease_until != 0;
	if (any)
		batch_collect(feed);
	else
		any = batch_cut(feed, max);
	again = any && feed->cursor.lease_until != 0;
	cut = AllocSetContextCreate(outer, "syncext captured batch", ALLOCSET_DEFAULT_SIZES);
	while (any)
	{
		int			fit;

		MemoryContextSwitchTo(cut);
		fit = cut_records(feed, again ? SIZE_MAX : max_bytes, out);
		MemoryContextSwitchTo(outer);
		if (fit > 0)
		{
			MemoryContextReset(cut);
			max = Max(Min(fit, max / 2), 1);
		}
		else if (out->nchanges > 0)
		{
			batch_lease(feed);
			outbox_flight_note(source, out->batch, records_of(out));
			out->more = has_more(feed);
			break;
		}
		else
			batch_finish(feed, NULL, 0);
		any = batch_cut(feed, max);
		again = false;
	}
	feed_save(feed);
	feed_close(feed);
}

static bool
any_is_out(const OutboxBatch *out)
{
	for (int i = 0; i < out->nchanges; i++)
		if (outbox_flight_has(out->changes[i].entity, out->changes[i].external_id))
			return true;
	return false;
}

/* Of what is too large at once the batch has the first half. */
static bool
cut_in_size(Feed *feed, int max, Size max_bytes, OutboxBatch *out)
{
	const Cursor before = feed->cursor;
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext cut = AllocSetContextCreate(outer, "syncext captured batch", ALLOCSET_DEFAULT_SIZES);
	int			fit = max;

	while (fit > 0)
	{
		if (!batch_cut_ahead(feed, max))
			return false;
		MemoryContextSwitchTo(cut);
		fit = cut_records(feed, max_bytes, out);
		MemoryContextSwitchTo(outer);
		if (fit == 0)
			break;
		MemoryContextReset(cut);
		feed->cursor = before;
		max = Max(Min(fit, max / 2), 1);
	}
	out->more = has_more(feed);
	return out->nchanges > 0 && !any_is_out(out);
}

bool
outbox_cut_ahead(const char *source, int max, Size max_bytes, OutboxBatch *out)
{
	Feed	   *feed = open_feed(source, true);
	bool		any;

	MemSet(out, 0, sizeof(OutboxBatch));
	feed_lock(feed);
	any = feed->cursor.lease_until != 0 && outbox_flight_is_of(source, feed->cursor.batch) &&
		cut_in_size(feed, max, max_bytes, out);
	if (any)
	{
		out->at = feed->cursor;
		outbox_flight_note_ahead(records_of(out));
	}
	else
		out->nchanges = 0;
	feed_close(feed);
	return any;
}

static Change
change_of(const char *source, const OutboxChange *captured)
{
	Change		change = {
		.entity = captured->entity,
		.external_id = captured->external_id,
		.source = source,
		.has_version = captured->has_version,
		.version = captured->version,
		.has_base = !captured->has_version && !captured->stamped && captured->state == NULL,
		.base = captured->base,
		.known = captured->known,
		.state = captured->state,
		.if_absent = captured->added || captured->anew,
		.created = captured->anew || (captured->born && (captured->has_version || captured->stamped)),
		.not_created = !captured->stamped && captured->state == NULL && !captured->born && !captured->anew && !captured->deleted && !captured->has_version &&
			captured->base == 0,
		.has_updated_at = captured->has_updated_at,
		.updated_at = captured->updated_at,
		.deleted = captured->deleted,
		.cascade = captured->cascade,
		.fields = captured->fields,
		.counted = captured->counted,
		.baseline = captured->baseline,
		.totals = captured->summed,
	};

	return change;
}

Jsonb *
outbox_document(const char *source, const OutboxChange *captured)
{
	const Change change = change_of(source, captured);

	return change_document(&change);
}

void
outbox_text(const char *source, const OutboxChange *captured, StringInfo text)
{
	const Change change = change_of(source, captured);

	change_text(&change, text);
}

bool
outbox_change_follows(const OutboxBatch *batch, int i)
{
	const OutboxChange *change = &batch->changes[i];

	return i > 0 && strcmp(change->external_id, change[-1].external_id) == 0 &&
		strcmp(change->entity, change[-1].entity) == 0;
}

/* ---------- what came of it ---------- */

/*
 * Keep what failed.  It is found again by what differs from what was agreed on,
 * so that neither the log nor the batch need be kept for it.
 */
static void
keep_failure(CaptureFailures *table, Oid relation, const OutboxChange *change,
			 const PushedAnswer *answer)
{
	CaptureFailure kept = {.relation = relation, .external_id = change->external_id};

	if (!capture_failure_find(table, relation, change->external_id, &kept))
		kept.since = GetCurrentTimestamp();
	/* the hub has refused it: that isn't tried again by itself */
	attempt_failed(&kept.attempt, GetCurrentTimestamp(), answer->refused ? 0 : INT_MAX);
	kept.attempt.error = answer->error;
	capture_failure_save(table, &kept);
}

static void
keep_failures(const char *source, const OutboxBatch *batch, const PushedAnswer *answers)
{
	CaptureFailures *table = mapped_open(&capture_failure_def, true);

	for (int i = 0; i < batch->nchanges; i++)
	{
		Oid			relation = answers[i].error == NULL ? InvalidOid :
			outbox_relation(source, batch->changes[i].entity);

		if (OidIsValid(relation))
			keep_failure(table, relation, &batch->changes[i], &answers[i]);
	}
	mapped_close(table);
}

void
pushed_answer_take(PushedAnswer *answer, int status, bool lost_any, int64 row_version,
				   const char *reason)
{
	answer->refused = status == 400 || status == 412;
	answer->error = answer->refused || status >= 500 ? reason : NULL;
	answer->written = status == 200 && !lost_any;
	answer->row_version = answer->error != NULL ? 0 : row_version;
}

bool
outbox_ack(const char *source, const OutboxBatch *batch, const PushedAnswer *answers,
		   const OutboxBatch *next)
{
	Feed	   *feed = open_feed(source, true);
	bool		goes_on;

	feed_lock(feed);
	if (feed->cursor.lease_until == 0 || feed->cursor.batch != batch->batch)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_STALE_BATCH),
				 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out",
						batch->batch, source),
				 errhint("Another session exchanges over the link, too; the next exchange goes on from where it is.")));
	batch_finish(feed, NULL, 0);
	if (feed->cursor.to_tick == 0)
	{
		window_edits.complete = false;
		edit_places_forget(&window_edits.places);
	}
	goes_on = next != NULL && batch_take_up(feed, &next->at);
	if (goes_on)
		outbox_flight_take_up(next->batch);
	feed_save(feed);
	feed_close(feed);
	keep_failures(source, batch, answers);
	return goes_on;
}
