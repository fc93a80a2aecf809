/*
 * pull.c
 *	  What a target gets.
 *
 * hub/pull_call is the SQL side; local/deliver calls the C side.
 * hub/batch says which records a batch has, here they are read as they stand.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "hub/batch_retry.h"
#include "hub/delivery_keys.h"
#include "hub/incarnation.h"
#include "hub/own_keys.h"
#include "hub/pull.h"
#include "hub/put_out.h"
#include "hub/release.h"
#include "hub/subscription_filter.h"
#include "hub/visibility.h"
#include "model/field_state.h"
#include "settings.h"
#include "process/durability.h"
#include "process/stat.h"
#include "storage/alias.h"
#include "storage/canonical.h"
#include "storage/conflict_log.h"
#include "storage/counted.h"
#include "storage/link.h"
#include "storage/rights.h"
#include "storage/source_key.h"

/* As many bytes are sent at once, and a record more. */
#define BATCH_BYTES		(32 * 1024 * 1024)
/* To a link as many, as text, and a record of so many more: with names that is its answer. */
#define LINK_BATCH_BYTES	(LINK_ANSWER_BYTES / 4)
#define LINK_RECORD_BYTES	(LINK_ANSWER_BYTES / 2)

/* What is read for a batch, and how. */
typedef struct Reading
{
	Canonical  *canonical;
	RowsScan   *records;
	ConflictLog *conflicts;
	bool		any_conflict;	/* else none need be looked for */
	const Source *target;
	Routing    *routing;		/* NULL: it has no filters */
	DeliveryKeys *keys;			/* NULL: it has no keys of its own */
	CountedTable *counted;		/* NULL until it is asked for */
	Aliases    *aliases;		/* NULL until a record is gone */
	XLogRecPtr	durable;		/* what was read is safe once WAL is, up to here */
	TransactionId writer;		/* of the record before: it has been looked up */
	Feed	   *feed;
	bool		to_client;
	bool		to_link;
	bool		with_state;
	Size		bytes;			/* of what was read; to a link, as text */
} Reading;

/* The fields but for those that are withheld. */
static Jsonb *
visible_fields(Jsonb *jsonb, const FieldNames *withheld)
{
	Fields		fields;
	int			kept = 0;

	fields_from_container(&jsonb->root, &fields);
	for (int i = 0; i < fields.n; i++)
		if (!field_names_has(withheld, fields.field[i].name))
			fields.field[kept++] = fields.field[i];
	fields.n = kept;
	return fields_to_jsonb(&fields);
}

static Jsonb *
no_fields(void)
{
	Fields		none = {0, NULL};

	return fields_to_jsonb(&none);
}

/*
 * Whose record is lost if the server crashes now must not have reached the
 * target: a transaction that committed asynchronously is seen before its WAL
 * is safe.
 */
static void
note_durability(Reading *reading, TransactionId written_by)
{
	XLogRecPtr	commit;

	if (written_by == reading->writer)
		return;
	reading->writer = written_by;
	if (!TransactionIdIsNormal(written_by) || TransactionIdIsCurrentTransactionId(written_by))
		return;
	commit = TransactionIdGetCommitLSN(written_by);
	reading->durable = Max(reading->durable, commit);
}

/*
 * Settle whether a record is delivered as gone: it is deleted, or doesn't meet
 * the target's filter.  Returns false if it isn't delivered at all, as the
 * filtered target doesn't have it.
 */
static bool
route_record(Reading *reading, const Route *route, const BatchRecord *record, bool had,
			 const CanonicalState *state, bool *gone)
{
	*gone = state->deleted;
	if (route == NULL || route->filter == NULL)
		return true;
	if (!*gone)
		*gone = !routing_admits(reading->routing, route, record->external_id, state->fields);
	if (*gone && !had)
		return false;
	routing_note(reading->routing, record->entity, record->external_id, state->row_version,
				 *gone);
	return true;
}

/*
 * Can the record not be put out?  Then it is set aside: or the target's feed would
 * end here, as the same batch came again and again.
 */
static bool
put_out_fails(Reading *reading, BatchRecord *record, const DeliveryRecord *out)
{
	const char *error;
	Size		bytes;

	if (!reading->to_client)
		return false;
	error = put_out_error(record->entity, record->external_id, out->fields,
						  reading->to_link ? LINK_RECORD_BYTES : PUT_OUT_BYTES, &bytes);
	if (error != NULL)
		batch_set_aside(reading->feed, record, error);
	else if (reading->to_link)
		reading->bytes += bytes + strlen(record->entity) + strlen(record->external_id);
	return error != NULL;
}

/* The names of what is withheld are sent twice. */
static Size
withheld_bytes(const FieldNames *withheld)
{
	Size		bytes = 0;

	for (int i = 0; i < withheld->n; i++)
		bytes += 2 * withheld->name[i].len;
	return bytes;
}

/* Which fields have changed since the target was last told of the record, if that is known. */
static void
find_changed(Reading *reading, const BatchRecord *record, const CanonicalState *state,
			 bool may_lack_it, DeliveryRecord *out)
{
	out->knows_changed = reading->feed->wants_changed && !out->deleted && !record->retry &&
		!may_lack_it && reading->feed->cursor.backfill_entity == NULL &&
		changed_fields_find(&record->changed, reading->canonical, state, &out->withheld,
							&out->changed);
}

/*
 * What another hub has to know of the record that was just read, to join it with its own:
 * of a tombstone its fields, too.  NULL: its entity has no field ladder.
 */
static Jsonb *
record_state(Reading *reading, const char *entity_name, const FieldNames *withheld)
{
	const Entity *entity = registry_entity(registry_get(), entity_name);
	FieldState	state;
	int			kept = 0;

	if (entity == NULL || !(entity->ladder & RUNG_FIELD) ||
		canonical_scan_try(reading->canonical, &state.record) != NULL)
		return NULL;
	for (int i = 0; i < state.record.nfields; i++)
		if (!field_names_has(withheld, state.record.fields[i].field.name))
			state.record.fields[kept++] = state.record.fields[i];
	state.record.nfields = kept;
	state.ladder = ladder_field_kind(entity->ladder, entity->deletes);
	return field_state_jsonb(&state);
}

/*
 * How much of what the link's tables have added is in these fields.  It is looked for after
 * the record was read: of a total that came between, the next row version tells.
 */
static Jsonb *
find_counted(Reading *reading, const BatchRecord *record, Jsonb *fields_jsonb)
{
	const Entity *entity = registry_entity(registry_get(), record->entity);
	const Fields fields = fields_of(fields_jsonb);
	Jsonb	   *counted;
	Fields		all;
	int			kept = 0;

	if (entity == NULL || entity->field_rules.nsums == 0)
		return NULL;
	if (reading->counted == NULL)
		reading->counted = mapped_open(&counted_def, false);
	counted = counted_read(reading->counted, reading->target->name, record->entity,
						   record->external_id);
	if (counted == NULL)
		return NULL;
	all = fields_of(counted);
	/* names of others may be what the link can't carry */
	for (int i = 0; i < all.n; i++)
		if (fields_find(&fields, all.field[i].name) != NULL)
			all.field[kept++] = all.field[i];
	if (kept < all.n)
	{
		all.n = kept;
		counted = fields_to_jsonb(&all);
	}
	reading->bytes += VARSIZE(counted);
	return counted;
}

/* The record that a tombstone has become a part of; NULL: none. */
static const char *
find_merged_into(Reading *reading, const BatchRecord *record)
{
	RecordAlias alias;

	if (reading->aliases == NULL)
		reading->aliases = mapped_open(&alias_def, false);
	return alias_find(reading->aliases, record->entity, record->external_id, &alias) ?
		alias.kept_id : NULL;
}

/* May a target that has a filter be told of it?  Then it is shown the record itself. */
static bool
may_tell_merged(const Reading *reading, const BatchRecord *record, const char *kept)
{
	/* the other one stands at the tombstone */
	Canonical  *canonical = canonical_open(false);
	bool		shown = visibility_shows_living(reading->target, record->entity, kept, canonical);

	canonical_close(canonical);
	return shown;
}

/*
 * Settle what a target is told of a tombstone's having been merged into another record.
 * False: nothing, nor that it is gone, for it has the other one under its key of this.
 */
static bool
settle_merged(Reading *reading, const BatchRecord *record, bool hidden, const char **kept)
{
	*kept = find_merged_into(reading, record);
	if (*kept == NULL)
		return true;
	/* a link's other end keeps its keys itself */
	if (!reading->to_link && delivery_keys_knows(reading->keys, record->entity, *kept))
		return false;
	if (hidden && !may_tell_merged(reading, record, *kept))
		*kept = NULL;
	return true;
}

/*
 * Of which records that have become a part of this one has the link told the key of a row?
 * Of others it doesn't learn that they are there.
 */
static List *
find_merged_from(Reading *reading, const BatchRecord *record)
{
	const Entity *entity = registry_entity(registry_get(), record->entity);
	List	   *known = NIL;
	List	   *names;
	ListCell   *lc;
	SourceKeys *keys;

	if (!reading->to_link || reading->with_state || entity == NULL || !entity->merged)
		return NIL;
	if (reading->aliases == NULL)
		reading->aliases = mapped_open(&alias_def, false);
	names = alias_names(reading->aliases, record->entity, record->external_id);
	if (names == NIL)
		return NIL;
	keys = mapped_open(&source_key_def, false);
	foreach(lc, names)
	{
		SourceKey	key;

		if (source_key_current(keys, reading->target->name, record->entity, lfirst(lc), &key))
			known = lappend(known, lfirst(lc));
	}
	mapped_close(keys);
	return known;
}

/*
 * Read a record of the batch as it stands now.  Returns false if it isn't
 * delivered: the target has a conflict over the whole of it, and will be told
 * when that is closed; it has unsubscribed, or a filter keeps the record from
 * it; or the record has been erased.
 */
static bool
read_record(Reading *reading, BatchRecord *record, DeliveryRecord *out)
{
	const Route *route = source_route(reading->target, record->entity);
	List	   *conflicts = NIL;
	bool		had = false;
	bool		hidden;
	FieldNames	withheld;
	CanonicalState state;

	if (!source_gets_entity(reading->target, record->entity))
		return false;
	if (reading->any_conflict)
		conflicts = conflict_log_pending(reading->conflicts, record->entity,
										 record->external_id, reading->target->name);
	if (!visibility_withheld(route, conflicts, &withheld))
		return false;
	if (route != NULL && route->filter != NULL)
		had = routing_has(reading->routing, record->entity, record->external_id);
	if (!canonical_seek(reading->canonical, reading->records, record->entity,
						record->external_id, &state))
		return false;
	if (state.problem != NULL)
	{
		/* a target that may not see it hears of it only if it has it */
		if (route == NULL || route->filter == NULL || had)
			batch_set_aside(reading->feed, record, state.problem);
		return false;
	}
	if (!route_record(reading, route, record, had, &state, &out->deleted))
		return false;
	note_durability(reading, state.written_by);
	out->entity = record->entity;
	out->external_id = record->external_id;
	out->version = state.version;
	out->row_version = state.row_version;
	out->at = state.at;
	/* whether it was deleted, or doesn't meet the filter any more, isn't told */
	hidden = out->deleted && route != NULL && route->filter != NULL;
	out->last_source = hidden ? NULL : state.last_source;
	out->has_updated_at = state.has_updated_at && !hidden;
	out->updated_at = state.updated_at;
	out->merged_into = NULL;
	if (state.deleted && !settle_merged(reading, record, hidden, &out->merged_into))
		return false;
	out->last_fields = state.fields;
	out->fields = out->deleted ? no_fields() :
		withheld.n > 0 ? visible_fields(state.fields, &withheld) : state.fields;
	out->state = NULL;
	if (reading->with_state && !hidden)
		out->state = record_state(reading, record->entity, &withheld);
	out->counted = reading->to_link && !out->deleted ?
		find_counted(reading, record, out->fields) : NULL;
	out->merged_from = out->deleted ? NIL : find_merged_from(reading, record);
	if (!out->deleted && !delivery_keys_fields(reading->keys, reading->feed, record, &out->fields))
		return false;
	if (put_out_fails(reading, record, out))
		return false;
	out->source_id = delivery_keys_find(reading->keys, record->entity, record->external_id,
										out->deleted);
	out->withheld = out->deleted ? (FieldNames) {0} : withheld;
	reading->bytes += reading->to_link ? withheld_bytes(&out->withheld) : VARSIZE(out->fields);
	find_changed(reading, record, &state, route != NULL && route->filter != NULL && !had, out);
	out->correction = record->correction;
	out->attempt = record->attempts + 1;
	return true;
}

/*
 * Let what lives come first, parents before children as it is, and then what is
 * deleted, children before parents: a consumer that writes them in this order meets
 * no reference to one that isn't there.
 */
static void
put_deletes_last(DeliveryRecord *records, int n)
{
	DeliveryRecord *deleted = palloc_extended(sizeof(DeliveryRecord) * Max(n, 1), MCXT_ALLOC_HUGE);
	int			ndeleted = 0;
	int			nlive = 0;

	for (int i = 0; i < n; i++)
	{
		if (records[i].deleted)
			deleted[ndeleted++] = records[i];
		else
			records[nlive++] = records[i];
	}
	while (ndeleted > 0)
		records[nlive++] = deleted[--ndeleted];
	pfree(deleted);
}

/*
 * Put out a record that has just been read, where that is wanted.  What is deleted is kept
 * until all others are out.
 */
static bool
put_at_once(const Delivery *delivery, DeliveryRecord *record)
{
	if (delivery->put == NULL || record->deleted)
		return false;
	delivery->put(delivery->arg, delivery, record);
	/* most of what was read: the next one's goes where this one's was */
	pfree(record->last_fields);
	return true;
}

/* Read the batch's records; returns how many of them delivery->records has. */
static int
read_records(Reading *reading, Delivery *delivery, Size max_bytes, int *fit)
{
	Feed	   *feed = reading->feed;
	int			n = 0;

	for (int i = 0; i < feed->nrecords && *fit == 0; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (feed->records[i].deferred)
			continue;
		/* of one record, however large, there is always room */
		if (reading->bytes > max_bytes)
			*fit = Max(delivery->nrecords, 1);
		else if (read_record(reading, &feed->records[i], &delivery->records[n]))
		{
			delivery->nrecords++;
			if (!put_at_once(delivery, &delivery->records[n]))
				n++;
		}
	}
	return n;
}

/*
 * Read the batch at hand, which may have been served before; *durable is what must
 * be in safe WAL.  Returns 0, or how many records are as many as can be sent at once.
 */
static int
read_batch(Feed *feed, bool again, Delivery *delivery, XLogRecPtr *durable)
{
	Reading		reading = {
		.canonical = canonical_open(false),
		.conflicts = mapped_open(&conflict_log_def, false),
		.target = feed->target,
		.feed = feed,
		.to_client = delivery->to_client,
		.to_link = delivery->to_link,
		.with_state = delivery->with_state,
		.routing = routing_begin(feed->target, feed->cursor.batch, again),
		.keys = delivery_keys_begin(feed->target, feed->cursor.batch, again, !delivery->to_client)
	};
	Size		max_bytes = reading.to_link ? LINK_BATCH_BYTES : BATCH_BYTES;
	int			fit = 0;
	int			n;

	if (delivery->max_bytes > 0)
		max_bytes = Min(max_bytes, delivery->max_bytes);
	reading.records = canonical_seek_begin(reading.canonical);
	reading.any_conflict = conflict_log_any_pending(reading.conflicts);
	/* in this order, the places that members says don't hold any more */
	batch_sort(feed);
	delivery->batch = feed->cursor.batch;
	delivery->nrecords = 0;
	delivery->records = palloc_extended(sizeof(DeliveryRecord) * Max(feed->nrecords, 1),
										MCXT_ALLOC_HUGE);
	n = read_records(&reading, delivery, max_bytes, &fit);
	put_deletes_last(delivery->records, n);
	for (int i = 0; delivery->put != NULL && i < n && fit == 0; i++)
		delivery->put(delivery->arg, delivery, &delivery->records[i]);
	rows_scan_end(reading.records);
	if (reading.counted != NULL)
		mapped_close(reading.counted);
	if (reading.aliases != NULL)
		mapped_close(reading.aliases);
	delivery_keys_end(reading.keys);
	routing_end(reading.routing);
	mapped_close(reading.conflicts);
	canonical_close(reading.canonical);
	*durable = reading.durable;
	return fit;
}

/*
 * A batch number that was served must not come again after a crash, for something
 * else: the first one would be acknowledged.  A link does that on the connection
 * that it pulls on, which doesn't outlive the crash.  But which records a filtered
 * target has must be known.
 */
static void
make_durable(const Feed *feed, const Delivery *delivery)
{
	if (delivery->to_link && !feed->target->filtered)
		durability_none();
	else
		ForceSyncCommit();
}

/*
 * Serve the batch that is out or cut one.  One that is too large is cut anew, with a
 * number of its own.  Where nothing of a batch is to be delivered now it counts as
 * taken, and the next one is cut.
 */
static void
serve(Feed *feed, int max_records, Delivery *delivery)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext read = AllocSetContextCreate(outer, "syncext batch", ALLOCSET_DEFAULT_SIZES);
	int64		last_batch = feed->cursor.batch;
	bool		again = batch_is_leased(feed);
	bool		any = true;

	if (again)
		batch_collect(feed);
	else
		any = batch_cut(feed, max_records);
	while (any)
	{
		XLogRecPtr	durable;
		int			fit;

		MemoryContextSwitchTo(read);
		fit = read_batch(feed, again, delivery, &durable);
		MemoryContextSwitchTo(outer);
		if (delivery->nrecords > 0 && fit == 0)
		{
			batch_lease(feed);
			stat_target(feed->target->name, STAT_DELIVERED, again ? 0 : delivery->nrecords);
			XLogFlush(durable);
			make_durable(feed, delivery);
			return;
		}
		if (fit > 0)
		{
			/* in the order of the log, other records may come first */
			max_records = Max(Min(fit, max_records / 2), 1);
			if (delivery->put != NULL)
				delivery->put(delivery->arg, delivery, NULL);
			MemoryContextReset(read);
		}
		else
		{
			batch_finish(feed, NULL, 0);
			/* or gaps between the numbers would count what is kept from the target */
			if (!again)
				feed->cursor.batch = last_batch;
		}
		any = batch_cut(feed, max_records);
		again = false;
	}
}

static void
check_max_records(int max_records)
{
	if (max_records < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records must be at least 1, not %d", max_records)));
	if (max_records > setting_max_records)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records is %d, but at most %d are served at once",
						max_records, setting_max_records),
				 errhint("Ask for fewer, or raise the setting \"syncext.max_records\".")));
}

void
pull_check_primary(void)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby does not serve targets"),
				 errhint("Pull from the primary; pg_is_in_recovery() tells them apart.")));
}

/* A snapshot that stands still shows neither the cursor nor the log as they are. */
static void
check_isolation(void)
{
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("sync_pull needs transaction isolation level READ COMMITTED"),
				 errhint("Pull in a transaction of its own, or begin with BEGIN ISOLATION LEVEL READ COMMITTED.")));
}

/* How many parked changes a pull tries at most. */
#define SWEEP_AT_A_PULL	100

/* What a pull does for parked changes, where it may write. */
static void
sweep_parked(void)
{
	if (!XactReadOnly && !IsolationUsesXactSnapshot())
		(void) release_due(SWEEP_AT_A_PULL);
}

void
pull_batch(const char *source, Consumer consumer, int max_records, Delivery *delivery)
{
	Feed	   *feed;
	bool		idle;

	delivery->nrecords = 0;
	check_max_records(max_records);
	consumer_check(consumer);
	pull_check_primary();
	source_role_check(registry_source_required(registry_get(), source));
	if (feed_known_idle(source, consumer))
		return;
	(void) incarnation_check();
	route_arm(source);
	own_keys_arm(source);
	feed = feed_open(source, consumer, false);
	idle = feed_idle(feed);
	feed_close(feed);
	sweep_parked();
	if (idle)
		return;

	check_isolation();
	feed = feed_open(source, consumer, true);
	feed->wants_changed = delivery->wants_changed;
	feed_lock(feed);
	serve(feed, max_records, delivery);
	feed_save(feed);
	feed_close(feed);
}
