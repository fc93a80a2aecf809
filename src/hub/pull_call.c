/*
 * pull_call.c
 *	  What a target gets, as rows of a function: of sync_pull for clients, and of what a
 *	  link calls.
 */
#include "postgres.h"

#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "hub/hello.h"
#include "hub/pull.h"
#include "process/args.h"
#include "storage/link.h"
#include "storage/names.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_pull);
PG_FUNCTION_INFO_V1(syncext_hub_pull);

/* The columns that clients and links both get; returns how many. */
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
fill_for_client(const Delivery *delivery, const DeliveryRecord *record, Datum *values, bool *isnull)
{
	int			n = fill_columns(delivery, record, values);

	isnull[n] = record->last_source == NULL;
	values[n++] = record->last_source == NULL ? (Datum) 0 : CStringGetTextDatum(record->last_source);
	values[n++] = BoolGetDatum(record->correction);
	values[n++] = Int32GetDatum(record->attempt);
	values[n++] = Int64GetDatum(registry_get()->epoch);
	isnull[n] = !record->has_updated_at;
	values[n++] = TimestampTzGetDatum(record->updated_at);
	isnull[n] = !record->knows_changed;
	values[n] = isnull[n] ? (Datum) 0 : field_names_to_array(&record->changed);
	n++;
	isnull[n] = record->source_id == NULL;
	values[n] = isnull[n] ? (Datum) 0 : CStringGetTextDatum(record->source_id);
	n++;
	isnull[n] = record->merged_into == NULL;
	values[n] = isnull[n] ? (Datum) 0 : CStringGetTextDatum(record->merged_into);
}

static void
fill_for_link(const Delivery *delivery, const DeliveryRecord *record, Datum *values, bool *isnull)
{
	int			n = fill_columns(delivery, record, values);

	values[n++] = BoolGetDatum(record->correction);
	isnull[n] = record->withheld.n == 0;
	values[n] = isnull[n] ? (Datum) 0 : field_names_to_array(&record->withheld);
	isnull[++n] = !record->has_updated_at;
	values[n] = TimestampTzGetDatum(record->updated_at);
	isnull[++n] = record->state == NULL;
	values[n] = JsonbPGetDatum(record->state);
	isnull[++n] = record->counted == NULL;
	values[n] = JsonbPGetDatum(record->counted);
	isnull[++n] = record->merged_from == NIL;
	values[n] = isnull[n] ? (Datum) 0 : names_to_array(record->merged_from);
}

#define MAX_COLUMNS_OUT	15

/* Where a pull's records are put out to. */
typedef struct Output
{
	ReturnSetInfo *rows;
	MemoryContext context;		/* of what one row takes */
} Output;

/* Put a record into the function's result, as it is read: a batch has many. */
static void
put_row(void *arg, const Delivery *delivery, const DeliveryRecord *record)
{
	Output	   *output = arg;
	Datum		values[MAX_COLUMNS_OUT];
	bool		isnull[MAX_COLUMNS_OUT] = {false};
	MemoryContext old;

	if (record == NULL)
	{
		tuplestore_clear(output->rows->setResult);
		return;
	}
	old = MemoryContextSwitchTo(output->context);
	if (delivery->to_link)
		fill_for_link(delivery, record, values, isnull);
	else
		fill_for_client(delivery, record, values, isnull);
	tuplestore_putvalues(output->rows->setResult, output->rows->setDesc, values, isnull);
	MemoryContextSwitchTo(old);
	MemoryContextReset(output->context);
}

/* Pull a batch as the function's result. */
static void
put_out_batch(FunctionCallInfo fcinfo, const char *source, Consumer consumer, int max_records,
			  Delivery *delivery)
{
	Output		output = {
		.rows = (ReturnSetInfo *) fcinfo->resultinfo,
		.context = AllocSetContextCreate(CurrentMemoryContext, "syncext row",
										 ALLOCSET_DEFAULT_SIZES)
	};

	/* working the row type out of the catalogs takes longer than a pull that finds nothing */
	InitMaterializedSRF(fcinfo, MAT_SRF_USE_EXPECTED_DESC);
	delivery->put = put_row;
	delivery->arg = &output;
	pull_batch(source, consumer, max_records, delivery);
}

/*
 * What a client of the hub calls is for sources that it decides itself; who may not
 * act as the source isn't told which those are.
 */
void
pull_check_client(const char *source)
{
	source_role_check(registry_source_required(registry_get(), source));
	link_refuse_source(source);
}

Datum
sync_pull(PG_FUNCTION_ARGS)
{
	char	   *source = arg_text(fcinfo, 0, "source");
	int			max_records = arg_int(fcinfo, 1, "max_records");
	Consumer	consumer;
	Delivery	delivery = {.to_client = true, .wants_changed = true};

	consumer.number = arg_int(fcinfo, 2, "slot");
	consumer.count = arg_int(fcinfo, 3, "slots");
	pull_check_client(source);
	put_out_batch(fcinfo, source, consumer, max_records, &delivery);
	return (Datum) 0;
}

/*
 * Like sync_pull(), for a link, which has to know of a field that doesn't come whether it
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

	pull_check_client(source);
	hello_check(source);
	/* nobody else joins records, and it names what others have said */
	delivery.with_state = registry_source_required(registry_get(), source)->relay;
	put_out_batch(fcinfo, source, ONLY_SLOT, PG_GETARG_INT32(1), &delivery);
	return (Datum) 0;
}
