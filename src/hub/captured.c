/*
 * captured.c
 *	  Edits of relations whose entity is decided behind a link: what is to be
 *	  sent there next, and what came of it.
 *
 * Called by link/exchange and local/linked_call.  The edits are CAPTURED
 * rows of the change log, told to nobody but their own source: the source that
 * stands here for the hub.  So they come in its windows, batches and leases
 * like everything else that a target is due.  A record stands once in a window,
 * and all of its edits there are folded into one change.
 *
 * What says nothing that is not agreed on with the hub already isn't sent: an
 * edit that was taken back, or one that was captured twice.
 */
#include "postgres.h"

#include <math.h>

#include "access/xact.h"
#include "common/pg_prng.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/captured.h"
#include "hub/delivery.h"
#include "hub/incarnation.h"
#include "hub/section.h"
#include "model/clip.h"
#include "model/fold.h"
#include "model/json_read.h"
#include "model/rfc3339.h"
#include "settings.h"
#include "storage/binding.h"
#include "storage/capture_failure.h"
#include "storage/change_log.h"
#include "storage/replica.h"

/* ---------- where a record's edits are ---------- */

typedef struct Place
{
	LogPosition at;
	int			table;
	int			next;			/* the record's next, from 1; 0: none */
} Place;

/*
 * The edits of the window under way, record by record.  They follow from the
 * log; this backend keeps them, to walk a window of many pages once.
 */
typedef struct WindowEdits
{
	MemoryContext context;		/* NULL: there are none */
	bool		complete;		/* false: walking was broken off */
	char		target[NAMEDATALEN];
	Oid			ticks;			/* table that lo and hi are of: it can be made anew */
	int64		lo;
	int64		hi;
	RecordSet  *records;		/* number: of the first place */
	int			nplaces;
	int			room;
	Place	   *places;
} WindowEdits;

static WindowEdits window_edits;

static void
forget_window_edits(void)
{
	if (window_edits.context != NULL)
		MemoryContextDelete(window_edits.context);
	MemSet(&window_edits, 0, sizeof(window_edits));
}

static void
start_window_edits(const Cursor *cursor)
{
	forget_window_edits();
	window_edits.context = AllocSetContextCreate(CacheMemoryContext, "syncext edits of a window",
												 ALLOCSET_DEFAULT_SIZES);
	window_edits.records = record_set_create(window_edits.context, 64);
	window_edits.room = 256;
	window_edits.places = MemoryContextAlloc(window_edits.context,
											 sizeof(Place) * window_edits.room);
	strlcpy(window_edits.target, cursor->target, sizeof(window_edits.target));
	window_edits.ticks = registry_relation("tick");
	window_edits.lo = cursor->lo;
	window_edits.hi = cursor->hi;
}

static void
add_place(RecordSetKey key, const FeedRow *row)
{
	WindowEdits *w = &window_edits;
	RecordSetEntry *entry = record_set_add(w->records, key);
	Place	   *place;

	if (w->nplaces == w->room)
		w->places = repalloc_huge(w->places, sizeof(Place) * (w->room *= 2));
	place = &w->places[w->nplaces++];
	place->at = row->at;
	place->table = row->table;
	place->next = entry->number;
	entry->number = w->nplaces;
}

/* Know where the edits of the cursor's window are. */
static void
walk_window(Feed *feed)
{
	const Cursor *cursor = &feed->cursor;
	const LogPosition start = {0, 0};
	FeedWindow *window;
	FeedRow		row;

	if (window_edits.complete && window_edits.ticks == registry_relation("tick") &&
		window_edits.lo == cursor->lo && window_edits.hi == cursor->hi &&
		strcmp(window_edits.target, cursor->target) == 0)
		return;
	start_window_edits(cursor);
	window = feed_window_begin(feed->log, feed->target, feed->slot, &feed->lo.snapshot,
							   &feed->hi.snapshot, start);
	while (feed_window_next(window, &row))
	{
		/* what others did is not ours to send */
		if (row.correction)
			add_place(record_set_key(&feed->key, row.entity, row.external_id), &row);
	}
	feed_window_end(window);
	window_edits.complete = true;
}

static int
compare_places(const void *a, const void *b)
{
	const Place *pa = a;
	const Place *pb = b;

	return pa->at.seq < pb->at.seq ? -1 : pa->at.seq > pb->at.seq;
}

/* The record's places by seq: transactions may have committed in another order. */
static Place *
places_of_record(Feed *feed, const BatchRecord *record, int *n)
{
	RecordSetKey key = record_set_key(&feed->key, cstring_to_text(record->entity),
									  cstring_to_text(record->external_id));
	RecordSetEntry *entry = record_set_find(window_edits.records, key);
	int			first = entry == NULL ? 0 : entry->number;
	Place	   *places;

	*n = 0;
	for (int i = first; i != 0; i = window_edits.places[i - 1].next)
		(*n)++;
	places = palloc(sizeof(Place) * Max(*n, 1));
	*n = 0;
	for (int i = first; i != 0; i = window_edits.places[i - 1].next)
		places[(*n)++] = window_edits.places[i - 1];
	qsort(places, *n, sizeof(Place), compare_places);
	return places;
}

/* ---------- where a record is ---------- */

Oid
captured_relation(const char *source, const char *entity)
{
	const Binding *binding = binding_of_entity(source, entity);
	int64		relation;
	Section		section;

	if (binding != NULL)
		return binding->relation;
	SPI_connect();
	section_enter(&section, 0);
	relation = section_number("SELECT coalesce((SELECT d.relation::oid::bigint FROM syncext.detached d "
							  "WHERE d.source = %s AND d.entity = %s ORDER BY d.detached_at DESC LIMIT 1), 0)",
							  quote_literal_cstr(source), quote_literal_cstr(entity));
	section_leave(&section);
	SPI_finish();
	return (Oid) relation;
}

/* ---------- one record ---------- */

/* What a batch is made of. */
typedef struct Cutting
{
	Feed	   *feed;
	FeedSeek   *seek;
	Replica    *replica;
	CaptureFailures *failures;
	int			room;
	Size		bytes;			/* of the edits that were read */
	CapturedBatch *out;
} Cutting;

/* False if there is something in it that can't be. */
static bool
read_detail(const LogRow *row, FoldEdit *edit)
{
	Fields		detail;

	edit->updated_at = row->recorded_at;
	if (row->detail == NULL)
		return true;
	fields_from_container(&row->detail->root, &detail);
	for (int i = 0; i < detail.n; i++)
	{
		const JsonbValue *value = &detail.field[i].value;
		FieldName	name = detail.field[i].name;

		if (field_name_cmp(name, field_name("deleted")) == 0)
			edit->deleted = true;
		else if (field_name_cmp(name, field_name("inserted")) == 0)
			edit->inserted = true;
		else if (field_name_cmp(name, field_name("cascade")) == 0)
			edit->cascade = true;
		else if (field_name_cmp(name, field_name("all")) == 0)
			edit->all = true;
		else if (field_name_cmp(name, field_name("added")) == 0)
			edit->added = true;
		else if (field_name_cmp(name, field_name("version")) == 0)
		{
			edit->has_version = true;
			if (!json_read_number(value, 0, CHANGE_MAX_VERSION, &edit->version))
				return false;
		}
		else if (field_name_cmp(name, field_name("updatedAt")) == 0)
		{
			const char *text = json_read_string(value);

			if (text == NULL || !rfc3339_parse(text, strlen(text), &edit->updated_at))
				return false;
		}
	}
	return true;
}

/* False if the row was edited to what it can't be. */
static bool
fold_row(Fold *fold, const LogRow *row, int64 base)
{
	FoldEdit	edit = {.base = base};

	if (row->problem != NULL || !read_detail(row, &edit))
		return false;
	if (!edit.deleted)
		fields_from_container(&row->fields->root, &edit.fields);
	fold_add(fold, &edit);
	return true;
}

/* Fields that a hub kept back are based on when they were last delivered. */
static void
set_held_bases(Fold *fold, Jsonb *held_jsonb)
{
	Fields		held;

	fields_from_container(&held_jsonb->root, &held);
	for (int i = 0; i < fold->n; i++)
	{
		const Field *base = fields_find(&held, fold->fields[i].field.name);

		if (base != NULL)
			(void) json_read_rounded(&base->value, 0, CHANGE_MAX_VERSION, &fold->fields[i].base);
	}
}

static bool
is_agreed(void *arg, const Field *field)
{
	const Field *agreed = fields_find(arg, field->name);

	return agreed != NULL && json_value_equal(&agreed->value, &field->value);
}

static CapturedChange *
add_change(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica,
		   const Fold *fold, int64 base)
{
	CapturedBatch *out = cutting->out;
	CapturedChange *change;

	if (out->nchanges == cutting->room)
	{
		cutting->room = Max(cutting->room * 2, 64);
		out->changes = out->changes == NULL ? palloc(sizeof(CapturedChange) * cutting->room) :
			repalloc_huge(out->changes, sizeof(CapturedChange) * cutting->room);
	}
	change = &out->changes[out->nchanges++];
	MemSet(change, 0, sizeof(CapturedChange));
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

/* No row is agreed on: there was none, or it was deleted. */
static void
add_birth(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica, Fold *fold)
{
	CapturedChange *change = add_change(cutting, record, replica, fold, 0);

	change->born = true;
	change->fields.field = palloc(sizeof(Field) * Max(fold->n, 1));
	for (int i = 0; i < fold->n; i++)
		change->fields.field[change->fields.n++] = fold->fields[i].field;
}

/* What is left to be said of the record, after what is agreed on. */
static void
add_changes(Cutting *cutting, const BatchRecord *record, const ReplicaRow *replica, Fold *fold)
{
	int64		base;
	bool		added;
	Fields		agreed;
	Fields		fields;

	if (fold->deleted)
	{
		/* it came and went, or they know; a row that was loaded was there before */
		if (replica->exists ? replica->fields != NULL : !fold->made)
			(void) add_change(cutting, record, replica, fold, fold->base);
		return;
	}
	if (replica->fields == NULL)
	{
		add_birth(cutting, record, replica, fold);
		return;
	}
	fields_from_container(&replica->fields->root, &agreed);
	fold_drop(fold, is_agreed, &agreed);
	while (fold_take(fold, &base, &added, &fields))
	{
		CapturedChange *change = add_change(cutting, record, replica, fold, base);

		change->fields = fields;
		change->added = added;
	}
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
	failed = capture_failures_any(cutting->failures, relation) &&
		capture_failure_find(cutting->failures, relation, record->external_id, &failure);
	if (!failed && (replica->fields != NULL || fold->born || fold->whole))
		return false;
	if (!failed)
	{
		failure.since = GetCurrentTimestamp();
		failure.error = "the hub has not heard of the row yet, and is sent all of it";
	}
	failure.dead = false;
	failure.next_attempt = GetCurrentTimestamp();
	capture_failure_save(cutting->failures, &failure);
	cutting->out->nowed++;
	return true;
}

/*
 * Something of the record was edited by hand to what it can't be.  Its edits don't keep
 * those of others back: all of the row is sent as it stands, or not before somebody has
 * mended what is known of it.
 */
static void
set_aside(Cutting *cutting, Oid relation, const char *external_id, bool dead,
		  const char *error)
{
	CaptureFailure failure = {.relation = relation, .external_id = external_id,
							  .since = GetCurrentTimestamp()};

	(void) capture_failure_find(cutting->failures, relation, external_id, &failure);
	failure.dead = dead;
	failure.next_attempt = GetCurrentTimestamp();
	failure.error = error;
	capture_failure_save(cutting->failures, &failure);
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
	Oid			relation = captured_relation(cutting->feed->target->name, record->entity);
	ReplicaRow	replica = {0};
	Fold		fold = {0};
	bool		readable = true;
	int			n;
	Place	   *places = places_of_record(cutting->feed, record, &n);
	const char *problem = NULL;

	if (OidIsValid(relation))
		problem = replica_try(cutting->replica, relation, record->external_id, &replica);
	if (problem != NULL)
	{
		set_aside(cutting, relation, record->external_id, true, problem);
		return;
	}
	for (int i = 0; i < n; i++)
	{
		LogRow		row;

		if (places[i].at.seq >= replica.settled &&
			feed_seek(cutting->seek, places[i].table, places[i].at, &row) &&
			row.resolution == RESOLUTION_CAPTURED)
		{
			cutting->bytes += row.fields == NULL ? 0 : VARSIZE(row.fields);
			readable &= fold_row(&fold, &row, replica.row_version);
		}
	}
	if (!readable && OidIsValid(relation))
	{
		set_aside(cutting, relation, record->external_id, false,
				  "an edit of it can't be read in syncext.change_log: all of the row is sent");
		return;
	}
	if (replica.held != NULL)
		set_held_bases(&fold, replica.held);
	if (fold.nedits > 0 && OidIsValid(relation) &&
		owes_more(cutting, relation, record, &replica, &fold))
		return;
	if (fold.nedits > 0)
		add_changes(cutting, record, &replica, &fold);
}

/* ---------- what is out ---------- */

/* The records of the batch that is out, as far as this backend knows. */
typedef struct Flight
{
	char		target[NAMEDATALEN];	/* empty: not known */
	int64		batch;
	RecordSet  *records;
} Flight;

static Flight flight;

static void
forget_flight(void)
{
	if (flight.records != NULL)
		record_set_free(flight.records);
	MemSet(&flight, 0, sizeof(flight));
}

static void
note_flight(const char *source, const CapturedBatch *out)
{
	StringInfoData key;

	forget_flight();
	flight.records = record_set_create(CacheMemoryContext, out->nchanges);
	initStringInfo(&key);
	for (int i = 0; i < out->nchanges; i++)
		(void) record_set_add(flight.records,
							  record_set_key(&key, cstring_to_text(out->changes[i].entity),
											 cstring_to_text(out->changes[i].external_id)));
	flight.batch = out->batch;
	strlcpy(flight.target, source, sizeof(flight.target));
}

CapturedFlight
captured_flight(const char *source)
{
	CapturedFlight out = {.source = source};
	CursorTable *cursors = cursor_open(false);
	Cursor		cursor;

	out.any = cursor_find(cursors, source, 0, &cursor) && cursor.leased;
	if (out.any)
		out.batch = cursor.batch;
	cursor_close(cursors);
	return out;
}

/* A table's own code may have cut another batch since it was asked for. */
static bool
is_known(const CapturedFlight *out)
{
	return flight.records != NULL && flight.batch == out->batch &&
		strcmp(flight.target, out->source) == 0;
}

bool
captured_is_out(const CapturedFlight *out, const char *entity, const char *external_id)
{
	StringInfoData key;
	bool		is_out;

	if (!out->any || !is_known(out))
		return out->any;
	initStringInfo(&key);
	is_out = record_set_find(flight.records,
							 record_set_key(&key, cstring_to_text(entity),
											cstring_to_text(external_id))) != NULL;
	pfree(key.data);
	return is_out;
}

/* ---------- batches ---------- */

static Feed *
open_feed(const char *source, bool write)
{
	Feed	   *feed = feed_open(source, ONLY_SLOT, write);

	feed->captured = true;
	return feed;
}

static int
compare_depths(const void *a, const void *b)
{
	const BatchRecord *ra = a;
	const BatchRecord *rb = b;
	int			cmp = ra->depth - rb->depth;

	if (cmp == 0)
		cmp = strcmp(ra->entity, rb->entity);
	return cmp != 0 ? cmp : strcmp(ra->external_id, rb->external_id);
}

/*
 * Returns 0, or how many records of the batch make it large enough: then it has to be
 * cut anew, for what is in front by the order here need not be so in the log.
 */
static int
cut_records(Feed *feed, Size max_bytes, CapturedBatch *out)
{
	Cutting		cutting = {.feed = feed, .out = out};
	int			fit = 0;

	MemSet(out, 0, sizeof(CapturedBatch));
	out->batch = feed->cursor.batch;
	if (feed->cursor.hi == 0)
		return 0;
	walk_window(feed);
	cutting.seek = feed_seek_begin(feed->log);
	cutting.replica = replica_open(false);
	cutting.failures = capture_failures_open(true);
	/* in this order, the places that members says don't hold any more */
	qsort(feed->records, feed->nrecords, sizeof(BatchRecord), compare_depths);
	for (int i = 0; i < feed->nrecords && fit == 0; i++)
	{
		CHECK_FOR_INTERRUPTS();
		/* of one record, however large, there is always room */
		if (cutting.bytes > max_bytes)
			fit = i;
		else if (!feed->records[i].held)
			cut_record(&cutting, &feed->records[i]);
	}
	capture_failures_close(cutting.failures);
	replica_close(cutting.replica);
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

void
captured_cut(const char *source, int max, Size max_bytes, CapturedBatch *out)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext cut;			/* of what the caller gets */
	Feed	   *feed;
	bool		again;
	bool		any;

	MemSet(out, 0, sizeof(CapturedBatch));
	if (nothing_to_cut(source))
		return;
	feed = open_feed(source, true);
	feed_lock(feed);
	/* however old it is: what they answered to it once, they answer again */
	any = feed->cursor.leased;
	if (any)
		batch_collect(feed);
	else
		any = batch_cut(feed, max);
	again = any && feed->cursor.leased;
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
			note_flight(source, out);
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

Jsonb *
captured_document(const char *source, const CapturedChange *captured)
{
	Change		change = {
		.entity = captured->entity,
		.external_id = captured->external_id,
		.source = source,
		.has_version = captured->has_version,
		.version = captured->version,
		.has_base = !captured->has_version,
		.base = captured->base,
		.if_absent = captured->added,
		.created = captured->born && captured->has_version,
		.not_created = !captured->born && !captured->deleted && !captured->has_version &&
			captured->base == 0,
		.has_updated_at = captured->has_updated_at,
		.updated_at = captured->updated_at,
		.deleted = captured->deleted,
		.cascade = captured->cascade,
		.fields = captured->fields,
	};

	return change_document(&change);
}

/* ---------- what came of it ---------- */

TimestampTz
captured_retry_at(int attempts)
{
	double		delay = ldexp(setting_retry_base, Min(attempts, 64) - 1);

	delay = Min(delay, setting_retry_max) * (0.5 + pg_prng_double(&pg_global_prng_state));
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), (int64) delay);
}

/*
 * Keep what failed.  It is found again by what differs from what was agreed on,
 * so that neither the log nor the batch need be kept for it.
 */
static void
keep_failure(CaptureFailures *table, Oid relation, const BatchFailure *failure)
{
	CaptureFailure kept = {.relation = relation, .external_id = failure->external_id};

	if (!capture_failure_find(table, relation, failure->external_id, &kept))
		kept.since = GetCurrentTimestamp();
	kept.attempts++;
	kept.dead = !failure->busy;
	kept.next_attempt = captured_retry_at(kept.attempts);
	kept.error = clip_string(failure->error, CLIP_ERROR);
	capture_failure_save(table, &kept);
}

static void
keep_failures(const char *source, const BatchFailure *failures, int nfailures)
{
	CaptureFailures *table = capture_failures_open(true);

	for (int i = 0; i < nfailures; i++)
	{
		Oid			relation = captured_relation(source, failures[i].entity);

		if (OidIsValid(relation))
			keep_failure(table, relation, &failures[i]);
	}
	capture_failures_close(table);
}

void
captured_ack(const char *source, int64 batch, const BatchFailure *failures, int nfailures)
{
	Feed	   *feed = open_feed(source, true);

	feed_lock(feed);
	if (!feed->cursor.leased || feed->cursor.batch != batch)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_STALE_BATCH),
				 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out",
						batch, source),
				 errhint("Another session exchanges over the link, too; the next exchange goes on from where it is.")));
	batch_finish(feed, NULL, 0);
	if (feed->cursor.hi == 0)
		forget_window_edits();
	feed_save(feed);
	feed_close(feed);
	if (nfailures > 0)
		keep_failures(source, failures, nfailures);
}

/* ---------- a new start ---------- */

/*
 * A record of which the window under way has been served in part has been
 * served with all that the window has of it.
 */
void
captured_renew(const char *source)
{
	char	   *name = quote_literal_cstr(source);
	StringInfoData updates;

	/* all of them see the log as it was before */
	initStringInfo(&updates);
	for (int i = 0; i < LOG_NTABLES; i++)
		appendStringInfo(&updates, ", log_%d AS (UPDATE syncext.change_log_%d "
						 "SET xid = pg_current_xact_id() WHERE seq IN (SELECT seq FROM renewed))", i, i);
	section_run("WITH feed AS (SELECT c.at_xid, c.at_seq, lo.snapshot AS lo, hi.snapshot AS hi "
				"FROM syncext.cursor c JOIN syncext.tick lo ON lo.id = c.lo "
				"LEFT JOIN syncext.tick hi ON hi.id = c.hi WHERE c.target = %s), "
				"due AS (SELECT l.seq, l.entity, l.external_id, "
				"coalesce(pg_visible_in_snapshot(l.xid, f.hi), false) AS in_window, "
				"(l.xid, l.seq) <= (f.at_xid, f.at_seq) AS before "
				"FROM syncext.change_log l CROSS JOIN feed f WHERE l.source = %s "
				"AND l.resolution = '%s' AND NOT pg_visible_in_snapshot(l.xid, f.lo)), "
				"renewed AS MATERIALIZED (SELECT d.seq FROM due d WHERE NOT d.in_window OR NOT EXISTS "
				"(SELECT FROM due s WHERE s.in_window AND s.before "
				"AND s.entity = d.entity AND s.external_id = d.external_id))%s "
				"SELECT count(*) FROM renewed",
				name, name, resolution_name(RESOLUTION_CAPTURED), updates.data);
}
