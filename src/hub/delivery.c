/*
 * delivery.c
 *	  Pull and acknowledge: what a target gets, and what became of it.
 *
 * sync_pull and sync_ack are the SQL side; local/deliver calls the C side.
 * hub/batch says which records a batch has, here they are read as they stand.
 */
#include "postgres.h"

#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_type_d.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/delivery.h"
#include "hub/hello.h"
#include "hub/incarnation.h"
#include "hub/put_out.h"
#include "hub/route.h"
#include "hub/sweep.h"
#include "settings.h"
#include "model/json_read.h"
#include "storage/canonical.h"
#include "storage/conflict_log.h"
#include "storage/durability.h"
#include "storage/link.h"

PG_FUNCTION_INFO_V1(sync_pull);
PG_FUNCTION_INFO_V1(syncext_hub_pull);
PG_FUNCTION_INFO_V1(sync_ack);
PG_FUNCTION_INFO_V1(syncext_hub_ack);

/* ---------- pull ---------- */

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
	XLogRecPtr	durable;		/* what was read is safe once WAL is, up to here */
	Feed	   *feed;
	bool		to_client;
	bool		to_link;
	Size		bytes;			/* of what was read; to a link, as text */
} Reading;

static int
compare_records(const void *a, const void *b)
{
	const BatchRecord *ra = a;
	const BatchRecord *rb = b;
	int			cmp = ra->depth - rb->depth;

	if (cmp == 0)
		cmp = strcmp(ra->entity, rb->entity);
	if (cmp == 0)
		cmp = strcmp(ra->external_id, rb->external_id);
	return cmp;
}

/* The fields but for those that are masked, or that one of the conflicts is over. */
static Jsonb *
visible_fields(Jsonb *jsonb, const Route *route, const List *conflicts)
{
	Fields		fields;
	int			kept = 0;

	fields_from_container(&jsonb->root, &fields);
	for (int i = 0; i < fields.n; i++)
	{
		FieldName	name = fields.field[i].name;
		bool		hidden = route != NULL && field_names_has(&route->mask, name);
		ListCell   *lc;

		foreach(lc, conflicts)
			hidden |= field_names_has(&((Conflict *) lfirst(lc))->fields, name);
		if (!hidden)
			fields.field[kept++] = fields.field[i];
	}
	fields.n = kept;
	return fields_to_jsonb(&fields);
}

/* The names of all fields that visible_fields would leave out. */
static List *
find_withheld(const Route *route, const List *conflicts)
{
	List	   *withheld = NIL;
	ListCell   *lc;

	for (int i = 0; route != NULL && i < route->mask.n; i++)
		withheld = lappend(withheld, &route->mask.name[i]);
	foreach(lc, conflicts)
	{
		const Conflict *conflict = lfirst(lc);

		for (int i = 0; i < conflict->fields.n; i++)
			withheld = lappend(withheld, &conflict->fields.name[i]);
	}
	return withheld;
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

/* The names of what is kept back are sent twice. */
static Size
withheld_bytes(const List *withheld)
{
	Size		bytes = 0;
	ListCell   *lc;

	foreach(lc, withheld)
		bytes += 2 * ((const FieldName *) lfirst(lc))->len;
	return bytes;
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
	CanonicalState state;
	ListCell   *lc;

	if (!source_gets_entity(reading->target, record->entity))
		return false;
	if (reading->any_conflict)
		conflicts = conflict_log_pending(reading->conflicts, record->entity,
										 record->external_id, reading->target->name);
	foreach(lc, conflicts)
	{
		if (((Conflict *) lfirst(lc))->whole)
			return false;
	}
	if (route != NULL && route->filter != NULL)
		had = routing_has(reading->routing, record->entity, record->external_id);
	if (!canonical_seek(reading->canonical, reading->records, record->entity,
						record->external_id, &state))
		return false;
	if (state.problem != NULL)
	{
		/* who may not see it perhaps doesn't hear of it, unless it has it */
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
	/* whether it was deleted, or doesn't meet the filter any more, isn't told */
	hidden = out->deleted && route != NULL && route->filter != NULL;
	out->last_source = hidden ? NULL : state.last_source;
	out->has_updated_at = state.has_updated_at && !hidden;
	out->updated_at = state.updated_at;
	out->last_fields = state.fields;
	out->fields = out->deleted ? no_fields() :
		conflicts != NIL || (route != NULL && route->mask.n > 0) ?
		visible_fields(state.fields, route, conflicts) : state.fields;
	if (put_out_fails(reading, record, out))
		return false;
	out->withheld = out->deleted ? NIL : find_withheld(route, conflicts);
	reading->bytes += reading->to_link ? withheld_bytes(out->withheld) : VARSIZE(out->fields);
	out->correction = record->correction;
	out->attempt = record->attempts + 1;
	return true;
}

/*
 * Let what lives come first, parents before children as it is, and then what is
 * deleted, children before parents: whoever writes the records in this order meets
 * no reference to one that isn't there.
 */
static void
put_deletes_last(Delivery *delivery)
{
	DeliveryRecord *deleted = palloc_extended(sizeof(DeliveryRecord) *
											  Max(delivery->nrecords, 1), MCXT_ALLOC_HUGE);
	int			ndeleted = 0;
	int			nlive = 0;

	for (int i = 0; i < delivery->nrecords; i++)
	{
		if (delivery->records[i].deleted)
			deleted[ndeleted++] = delivery->records[i];
		else
			delivery->records[nlive++] = delivery->records[i];
	}
	while (ndeleted > 0)
		delivery->records[nlive++] = deleted[--ndeleted];
	pfree(deleted);
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
		.conflicts = conflict_log_open(false),
		.target = feed->target,
		.feed = feed,
		.to_client = delivery->to_client,
		.to_link = delivery->to_link,
		.routing = routing_begin(feed->target, feed->cursor.batch, again)
	};
	Size		max_bytes = reading.to_link ? LINK_BATCH_BYTES : BATCH_BYTES;
	int			fit = 0;

	if (delivery->max_bytes > 0)
		max_bytes = Min(max_bytes, delivery->max_bytes);
	reading.records = canonical_seek_begin(reading.canonical);
	reading.any_conflict = conflict_log_any_pending(reading.conflicts);
	/* in this order, the places that members says don't hold any more */
	qsort(feed->records, feed->nrecords, sizeof(BatchRecord), compare_records);
	delivery->batch = feed->cursor.batch;
	delivery->nrecords = 0;
	delivery->records = palloc_extended(sizeof(DeliveryRecord) * Max(feed->nrecords, 1),
										MCXT_ALLOC_HUGE);
	for (int i = 0; i < feed->nrecords && fit == 0; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (feed->records[i].held)
			continue;
		/* of one record, however large, there is always room */
		if (reading.bytes > max_bytes)
			fit = Max(delivery->nrecords, 1);
		else if (read_record(&reading, &feed->records[i], &delivery->records[delivery->nrecords]))
			delivery->nrecords++;
	}
	put_deletes_last(delivery);
	rows_scan_end(reading.records);
	routing_end(reading.routing);
	conflict_log_close(reading.conflicts);
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
			XLogFlush(durable);
			make_durable(feed, delivery);
			return;
		}
		if (fit > 0)
		{
			/* in the order of the log, other records may come first */
			max_records = Max(Min(fit, max_records / 2), 1);
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

static void
check_primary(void)
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
		(void) sweep_due(SWEEP_AT_A_PULL);
}

void
delivery_pull(const char *source, Slot slot, int max_records, Delivery *delivery)
{
	Feed	   *feed;
	bool		idle;

	delivery->nrecords = 0;
	check_max_records(max_records);
	slot_check(slot);
	check_primary();
	source_role_check(registry_source_required(registry_get(), source));
	if (feed_known_idle(source, slot))
		return;
	(void) incarnation_check();
	route_arm(source);
	feed = feed_open(source, slot, false);
	idle = feed_idle(feed);
	feed_close(feed);
	sweep_parked();
	if (idle)
		return;

	check_isolation();
	feed = feed_open(source, slot, true);
	feed_lock(feed);
	serve(feed, max_records, delivery);
	feed_save(feed);
	feed_close(feed);
}

/* The columns that whoever pulls gets; returns how many. */
static int
fill_columns(const Delivery *delivery, const DeliveryRecord *record, Datum *values)
{
	values[0] = Int64GetDatum(delivery->batch);
	values[1] = CStringGetTextDatum(record->entity);
	values[2] = CStringGetTextDatum(record->external_id);
	values[3] = Int64GetDatum(record->version);
	values[4] = Int64GetDatum(record->row_version);
	values[5] = BoolGetDatum(record->deleted);
	values[6] = JsonbPGetDatum(record->fields);
	return 7;
}

static void
put_record(ReturnSetInfo *rsinfo, const Delivery *delivery, const DeliveryRecord *record)
{
	Datum		values[11];
	bool		isnull[11] = {false};
	int			n = fill_columns(delivery, record, values);

	isnull[n] = record->last_source == NULL;
	values[n++] = record->last_source == NULL ? (Datum) 0 : CStringGetTextDatum(record->last_source);
	values[n++] = BoolGetDatum(record->correction);
	values[n++] = Int32GetDatum(record->attempt);
	values[n] = Int64GetDatum(registry_get()->epoch);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

static char *
required_text(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

static int
required_int(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return PG_GETARG_INT32(argument);
}

/*
 * What a client of the hub calls is for sources that it decides itself; who may not
 * act as the source isn't told which those are.
 */
static void
check_client(const char *source)
{
	source_role_check(registry_source_required(registry_get(), source));
	link_refuse_source(source);
}

Datum
sync_pull(PG_FUNCTION_ARGS)
{
	char	   *source = required_text(fcinfo, 0, "source");
	int			max_records = required_int(fcinfo, 1, "max_records");
	Slot		slot;
	Delivery	delivery = {.to_client = true};

	slot.number = required_int(fcinfo, 2, "slot");
	slot.of = required_int(fcinfo, 3, "slots");
	check_client(source);
	/* working the row type out of the catalogs takes longer than a pull that finds nothing */
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	delivery_pull(source, slot, max_records, &delivery);
	for (int i = 0; i < delivery.nrecords; i++)
		put_record((ReturnSetInfo *) fcinfo->resultinfo, &delivery, &delivery.records[i]);
	return (Datum) 0;
}

static Datum
names_to_array(const List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * Max(list_length(names), 1));
	ListCell   *lc;

	foreach(lc, names)
	{
		const FieldName *name = lfirst(lc);

		elements[foreach_current_index(lc)] =
			PointerGetDatum(cstring_to_text_with_len(name->data, name->len));
	}
	return PointerGetDatum(construct_array(elements, list_length(names), TEXTOID, -1, false,
										   TYPALIGN_INT));
}

static void
put_record_for_link(ReturnSetInfo *rsinfo, const Delivery *delivery,
					const DeliveryRecord *record)
{
	Datum		values[10];
	bool		isnull[10] = {false};
	int			n = fill_columns(delivery, record, values);

	values[n++] = BoolGetDatum(record->correction);
	isnull[n] = record->withheld == NIL;
	values[n] = isnull[n] ? (Datum) 0 : names_to_array(record->withheld);
	isnull[++n] = !record->has_updated_at;
	values[n] = TimestampTzGetDatum(record->updated_at);
	tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
}

/*
 * The same for a link, which has to know of a field that doesn't come whether it
 * is kept back or the record has none.
 */
Datum
syncext_hub_pull(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Delivery	delivery = {
		.to_link = true,
		.to_client = true,
		.max_bytes = Max(PG_GETARG_INT32(2), 0)
	};

	check_client(source);
	hello_check(source);
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	delivery_pull(source, ONLY_SLOT, PG_GETARG_INT32(1), &delivery);
	for (int i = 0; i < delivery.nrecords; i++)
		put_record_for_link((ReturnSetInfo *) fcinfo->resultinfo, &delivery,
							&delivery.records[i]);
	return (Datum) 0;
}

/* ---------- acknowledge ---------- */

/* The batch of another slot of the target was meant. */
static void
raise_batch_of_slot(const Feed *feed, int64 batch, int slot)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_STALE_BATCH),
			 errmsg("batch " INT64_FORMAT " of source \"%s\" is not of slot %d", batch,
					feed->target->name, feed->slot.number),
			 errhint("Acknowledge it with slot => %d.", slot)));
}

static void
raise_stale_batch(const Feed *feed, int64 batch)
{
	const Cursor *cursor = &feed->cursor;
	int			slot = (int) (Max(batch, 0) % cursor->slots);
	Cursor		other;

	if (slot != cursor->slot &&
		cursor_find(feed->cursors, feed->target->name, slot, &other) &&
		other.leased && other.batch == batch)
		raise_batch_of_slot(feed, batch, slot);
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_STALE_BATCH),
			 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out", batch,
					feed->target->name),
			 cursor->leased ?
			 errdetail("Batch " INT64_FORMAT " is.", cursor->batch) :
			 errdetail("Every batch has been acknowledged, or has come back."),
			 errhint("Another consumer pulls for the source, or the lease had ended: pull again and acknowledge what comes. Consumers side by side need a slot each: sync_pull(source, max_records, slot, slots).")));
}

/* The batch was handed out by the cluster that the dump is of. */
static void
raise_batch_of_dump(const char *source, int64 batch)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_STALE_BATCH),
			 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out", batch,
					source),
			 errdetail("The database was restored from a dump, and the feed begins anew."),
			 errhint("Pull again and acknowledge what comes.")));
}

void
delivery_ack(const char *source, int slot, int64 batch, const BatchFailure *failures,
			 int nfailures)
{
	const Slot	any_number = {slot, 0};
	Feed	   *feed;

	check_primary();
	source_role_check(registry_source_required(registry_get(), source));
	if (incarnation_is_over())
		raise_batch_of_dump(source, batch);
	feed = feed_open(source, any_number, true);
	feed_lock(feed);
	/* who has had no answer to an acknowledgement sends it again */
	if (batch == 0 || batch != feed->cursor.acknowledged)
	{
		if (!feed->cursor.leased || feed->cursor.batch != batch)
			raise_stale_batch(feed, batch);
		routing_check(feed, failures, nfailures);
		batch_finish(feed, failures, nfailures);
		routing_acknowledge(feed->target, batch, failures, nfailures);
		feed->cursor.acknowledged = batch;
		feed_save(feed);
	}
	feed_close(feed);
}

static void
raise_bad_failed(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
			 errmsg("%s", what),
			 errhint("\"failed\" is an array of {\"entity\": …, \"externalId\": …, \"error\": …, \"busy\": true or false}.")));
}

static char *
failed_string(const Field *field)
{
	if (field->value.type != jbvString)
		raise_bad_failed(psprintf("\"%s\" in \"failed\" must be a string",
								  field_name_cstring(field->name)));
	return json_read_string(&field->value);
}

/* Read one element of the array. */
static void
parse_failure(const JsonbValue *element, BatchFailure *failure)
{
	Fields		keys;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		raise_bad_failed("an element of \"failed\" is not an object");
	fields_from_container(element->val.binary.data, &keys);
	failure->entity = "record";
	failure->external_id = NULL;
	failure->error = "no reason given";
	failure->busy = false;
	for (int i = 0; i < keys.n; i++)
	{
		const Field *key = &keys.field[i];
		char	   *name = field_name_cstring(key->name);

		if (strcmp(name, "entity") == 0)
			failure->entity = failed_string(key);
		else if (strcmp(name, "externalId") == 0)
			failure->external_id = failed_string(key);
		else if (strcmp(name, "error") == 0 && key->value.type != jbvNull)
			failure->error = failed_string(key);
		else if (strcmp(name, "busy") == 0 && key->value.type == jbvBool)
			failure->busy = json_read_true(&key->value);
		else if (strcmp(name, "busy") == 0)
			raise_bad_failed("\"busy\" in \"failed\" must be true or false");
		else if (strcmp(name, "error") != 0)
			raise_bad_failed(psprintf("unknown key \"%s\" in \"failed\"", name));
	}
	if (failure->external_id == NULL)
		raise_bad_failed("an element of \"failed\" has no \"externalId\"");
}

static int
parse_failures(Jsonb *failed, BatchFailure **failures)
{
	int			n;

	if (!JB_ROOT_IS_ARRAY(failed) || JB_ROOT_IS_SCALAR(failed))
		raise_bad_failed("\"failed\" is not an array");
	n = JB_ROOT_COUNT(failed);
	*failures = palloc_extended(sizeof(BatchFailure) * Max(n, 1), MCXT_ALLOC_HUGE);
	for (int i = 0; i < n; i++)
		parse_failure(getIthJsonbValueFromContainer(&failed->root, i), &(*failures)[i]);
	return n;
}

Datum
sync_ack(PG_FUNCTION_ARGS)
{
	char	   *source = required_text(fcinfo, 0, "source");
	BatchFailure *failures = NULL;
	int			nfailures = 0;

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("batch must not be null"),
				 errhint("It is the number that sync_pull returned with the records.")));
	check_client(source);
	if (!PG_ARGISNULL(2))
		nfailures = parse_failures(PG_GETARG_JSONB_P(2), &failures);
	delivery_ack(source, required_int(fcinfo, 3, "slot"), PG_GETARG_INT64(1), failures,
				 nfailures);
	PG_RETURN_VOID();
}

/* The same for a link.  An acknowledgement that is lost in a crash has the records come again. */
Datum
syncext_hub_ack(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	BatchFailure *failures;
	int			nfailures = parse_failures(PG_GETARG_JSONB_P(2), &failures);

	check_client(source);
	hello_check(source);
	delivery_ack(source, ONLY_SLOT.number, PG_GETARG_INT64(1), failures, nfailures);
	if (!registry_source_required(registry_get(), source)->filtered)
		durability_none();
	PG_RETURN_VOID();
}
