/*
 * acknowledge.c
 *	  What became of a batch, as its target says.
 *
 * sync_ack is the SQL side; local/deliver calls the C side.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/acknowledge.h"
#include "hub/delivery_keys.h"
#include "hub/hello.h"
#include "hub/http.h"
#include "hub/incarnation.h"
#include "hub/pull.h"
#include "hub/subscription_filter.h"
#include "model/json_read.h"
#include "process/args.h"
#include "process/durability.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_ack);
PG_FUNCTION_INFO_V1(syncext_hub_ack);

/* The batch of another slot of the target was meant. */
static void
raise_batch_of_slot(const Feed *feed, int64 batch, int slot)
{
	ereport(ERROR,
			(errcode(http_errcode(ERRCODE_SYNC_STALE_BATCH, 409)),
			 errmsg("batch " INT64_FORMAT " of source \"%s\" is not of slot %d", batch,
					feed->target->name, feed->consumer.number),
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
		other.lease_until != 0 && other.batch == batch)
		raise_batch_of_slot(feed, batch, slot);
	ereport(ERROR,
			(errcode(http_errcode(ERRCODE_SYNC_STALE_BATCH, 409)),
			 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out", batch,
					feed->target->name),
			 cursor->lease_until != 0 ?
			 errdetail("Batch " INT64_FORMAT " is.", cursor->batch) :
			 errdetail("Every batch has been acknowledged, or has come back."),
			 errhint("Another consumer pulls for the source, or the lease had ended: pull again and acknowledge what comes. Consumers side by side need a slot each: sync_pull(source, max_records, slot, slots).")));
}

/* The batch was handed out by the cluster that the dump is of. */
static void
raise_batch_of_dump(const char *source, int64 batch)
{
	ereport(ERROR,
			(errcode(http_errcode(ERRCODE_SYNC_STALE_BATCH, 409)),
			 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out", batch,
					source),
			 errdetail("The database was restored from a dump, and the feed begins anew."),
			 errhint("Pull again and acknowledge what comes.")));
}

static void
acknowledge(const char *source, int slot, int64 batch, Acknowledgement *ack)
{
	const Consumer any_number = {slot, 0};
	Feed	   *feed;

	pull_check_primary();
	source_role_check(registry_source_required(registry_get(), source));
	if (incarnation_is_over())
		raise_batch_of_dump(source, batch);
	feed = feed_open(source, any_number, true);
	feed_lock(feed);
	/* a consumer that has had no answer to an acknowledgement sends it again */
	if (batch == 0 || batch != feed->cursor.acknowledged)
	{
		if (feed->cursor.lease_until == 0 || feed->cursor.batch != batch)
			raise_stale_batch(feed, batch);
		delivery_keys_bind(feed, ack);
		routing_check(feed, ack->failures, ack->nfailures);
		batch_finish(feed, ack->failures, ack->nfailures);
		routing_acknowledge(feed->target, batch, ack->failures, ack->nfailures);
		delivery_keys_acknowledge(feed->target, batch, ack);
		delivery_keys_send_again(feed, ack);
		feed->cursor.acknowledged = batch;
		feed_save(feed);
	}
	feed_close(feed);
	delivery_keys_release(ack);
}

void
acknowledge_batch(const char *source, int slot, int64 batch, BatchFailure *failures,
				 int nfailures, bool named)
{
	Acknowledgement ack = {.failures = failures, .nfailures = nfailures, .named = named};

	acknowledge(source, slot, batch, &ack);
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
	failure->busy = failure->waits = false;
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
		else if (strcmp(name, "waits") == 0 && key->value.type == jbvBool)
			failure->waits = json_read_true(&key->value);
		else if (strcmp(name, "busy") == 0 || strcmp(name, "waits") == 0)
			raise_bad_failed(psprintf("\"%s\" in \"failed\" must be true or false", name));
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
	batch_check_named(n, "failed");
	*failures = palloc(sizeof(BatchFailure) * Max(n, 1));
	for (int i = 0; i < n; i++)
		parse_failure(getIthJsonbValueFromContainer(&failed->root, i), &(*failures)[i]);
	return n;
}

Datum
sync_ack(PG_FUNCTION_ARGS)
{
	char	   *source = arg_text(fcinfo, 0, "source");
	Acknowledgement ack = {0};

	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("batch must not be null"),
				 errhint("It is the number that sync_pull returned with the records.")));
	pull_check_client(source);
	if (!PG_ARGISNULL(2))
		ack.nfailures = parse_failures(PG_GETARG_JSONB_P(2), &ack.failures);
	ack.keys = arg_jsonb_or_null(fcinfo, 4);
	acknowledge(source, arg_int(fcinfo, 3, "slot"), PG_GETARG_INT64(1), &ack);
	PG_RETURN_VOID();
}

/* Like sync_ack(), for a link.  If a crash loses the acknowledgement, the batch is delivered again. */
Datum
syncext_hub_ack(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	BatchFailure *failures;
	int			nfailures = parse_failures(PG_GETARG_JSONB_P(2), &failures);

	pull_check_client(source);
	hello_check(source);
	acknowledge_batch(source, ONLY_SLOT.number, PG_GETARG_INT64(1), failures, nfailures, false);
	if (!registry_source_required(registry_get(), source)->filtered)
		durability_none();
	PG_RETURN_VOID();
}
