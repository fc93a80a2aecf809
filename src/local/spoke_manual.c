/*
 * spoke_manual.c
 *	  The two halves of an exchange as SQL functions: for an administrator who
 *	  brings changes to the hub and records from it by other ways than a
 *	  connection, by file for one.
 *
 * Called from SQL, by administrators.
 *
 *	  SELECT batch, change FROM syncext.captured('branch')		here
 *	  SELECT sync_apply(jsonb_agg(change))						at the hub
 *	  SELECT syncext.captured_answered('branch', batch, answers)	here
 *	  SELECT * FROM sync_pull('branch')							at the hub
 *	  SELECT syncext.linked_deliver('branch', records)			here
 *	  SELECT sync_ack('branch', batch, failed)					at the hub
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "funcapi.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "local/spoke_tables.h"
#include "model/json.h"
#include "model/json_read.h"
#include "model/rfc3339.h"
#include "settings.h"
#include "storage/link.h"

PG_FUNCTION_INFO_V1(syncext_captured);
PG_FUNCTION_INFO_V1(syncext_captured_answered);
PG_FUNCTION_INFO_V1(syncext_linked_deliver);
PG_FUNCTION_INFO_V1(syncext_linked_retry);

/* A hub that keeps to the protocol gives a reason for refusing a change in fewer bytes. */
#define MAX_REASON	65536

static char *
linked_source(FunctionCallInfo fcinfo)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (link_of_source(source) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" is not linked", source),
				 errhint("Link it with sync_link; table syncext.link lists those that are.")));
	return source;
}

/* ---------- changes ---------- */

Datum
syncext_captured(PG_FUNCTION_ARGS)
{
	char	   *source = linked_source(fcinfo);
	ReturnSetInfo *rsinfo = (ReturnSetInfo *) fcinfo->resultinfo;
	int			max = PG_GETARG_INT32(1);
	OutboxBatch batch;

	if (max < 1 || max > setting_max_records)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records must be from 1 to %d, not %d", setting_max_records, max)));
	InitMaterializedSRF(fcinfo, 0);
	outbox_cut(source, max, setting_link_batch_bytes, &batch);
	/* what is told must not be lost here, nor the batch's number come again for another */
	if (batch.nchanges > 0)
		ForceSyncCommit();
	for (int i = 0; i < batch.nchanges; i++)
	{
		Datum		values[2];
		bool		isnull[2] = {false};

		values[0] = Int64GetDatum(batch.batch);
		values[1] = JsonbPGetDatum(outbox_document(source, &batch.changes[i]));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	}
	return (Datum) 0;
}

/* ---------- JSON that comes in ---------- */

/* An element of the array, and its members. */
typedef struct Element
{
	int			number;			/* from 1, for messages */
	Fields		members;
} Element;

static void
raise_bad(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
			 errmsg_internal("%s", what),
			 errhint("Hand over what the hub has said, as it has said it.")));
}

static void
raise_bad_key(const Element *element, const char *key, const char *wanted)
{
	raise_bad(psprintf("key \"%s\" of element %d must be %s", key, element->number, wanted));
}

/* An array's element, which has to be an object. */
static void
read_element(Jsonb *array, int i, Element *element)
{
	JsonbContainer *object = json_read_object(getIthJsonbValueFromContainer(&array->root, i));

	element->number = i + 1;
	if (object == NULL)
		raise_bad(psprintf("element %d of the array is not an object", i + 1));
	fields_from_container(object, &element->members);
}

static int
elements_of(Jsonb *array)
{
	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		raise_bad("it must be an array");
	return JB_ROOT_COUNT(array);
}

/* NULL, too, where it is null. */
static const JsonbValue *
member(const Element *element, const char *key)
{
	const JsonbValue *value = fields_value(&element->members, key);

	return value == NULL || value->type == jbvNull ? NULL : value;
}

static const JsonbValue *
required(const Element *element, const char *key)
{
	const JsonbValue *value = member(element, key);

	if (value == NULL)
		raise_bad(psprintf("key \"%s\" of element %d is missing", key, element->number));
	return value;
}

static int64
required_number(const Element *element, const char *key, int64 min, int64 max)
{
	int64		number;

	if (!json_read_number(required(element, key), min, max, &number))
		raise_bad_key(element, key, psprintf("a whole number from " INT64_FORMAT " to " INT64_FORMAT,
											 min, max));
	return number;
}

/* False if it isn't there. */
static bool
member_true(const Element *element, const char *key)
{
	const JsonbValue *value = member(element, key);

	if (value != NULL && value->type != jbvBool)
		raise_bad_key(element, key, "true or false");
	return json_read_true(value);
}

static char *
required_string(const Element *element, const char *key, int max_bytes)
{
	char	   *string = json_read_string(required(element, key));

	if (string == NULL || string[0] == '\0' || strlen(string) > (size_t) max_bytes)
		raise_bad_key(element, key, psprintf("a string of 1 to %d bytes", max_bytes));
	return string;
}

/* NULL if it isn't there. */
static JsonbContainer *
member_object(const Element *element, const char *key)
{
	const JsonbValue *value = member(element, key);

	if (value != NULL && json_read_object(value) == NULL)
		raise_bad_key(element, key, "an object");
	return json_read_object(value);
}

/* ---------- answers ---------- */

static bool
lost_nothing(const Element *element)
{
	const JsonbValue *lost = member(element, "lost");

	if (lost != NULL && json_read_array(lost) == NULL)
		raise_bad_key(element, "lost", "an array");
	return lost == NULL || JsonContainerSize(json_read_array(lost)) == 0;
}

static void
read_answer(const Element *element, PushedAnswer *answer)
{
	int			status = (int) required_number(element, "status", 200, 599);
	const char *reason = status == 400 || status == 412 || status >= 500 ?
		required_string(element, "reason", MAX_REASON) : NULL;
	int64		row_version = status == 200 && member(element, "rowVersion") != NULL ?
		required_number(element, "rowVersion", 0, CHANGE_MAX_VERSION) : 0;

	pushed_answer_take(answer, status, status == 200 && !lost_nothing(element), row_version, reason);
}

Datum
syncext_captured_answered(PG_FUNCTION_ARGS)
{
	char	   *source = linked_source(fcinfo);
	int64		number = PG_GETARG_INT64(1);
	Jsonb	   *array = PG_GETARG_JSONB_P(2);
	int			n = elements_of(array);
	OutboxBatch batch;
	PushedAnswer *answers;

	/* the one that is out comes again as it was */
	outbox_cut(source, setting_max_records, setting_link_batch_bytes, &batch);
	if (batch.nchanges == 0 || batch.batch != number)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_STALE_BATCH),
				 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out",
						number, source)));
	if (batch.nchanges != n)
		raise_bad(psprintf("there are %d answers to %d changes", n, batch.nchanges));
	answers = palloc0(sizeof(PushedAnswer) * Max(n, 1));
	for (int i = 0; i < n; i++)
	{
		Element		element;

		read_element(array, i, &element);
		read_answer(&element, &answers[i]);
	}
	(void) spoke_tables_answered(source, &batch, answers, NULL);
	PG_RETURN_VOID();
}

Datum
syncext_linked_retry(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(spoke_tables_retry(linked_source(fcinfo)));
}

/* ---------- records ---------- */

static void
read_updated_at(const Element *element, PulledRecord *record)
{
	const char *text;

	record->has_updated_at = member(element, "updated_at") != NULL;
	if (!record->has_updated_at)
		return;
	text = required_string(element, "updated_at", 100);
	if (!rfc3339_parse(text, strlen(text), &record->updated_at))
		raise_bad_key(element, "updated_at", "a time");
}

static void
read_record(const Element *element, PulledRecord *record)
{
	JsonbContainer *fields = member_object(element, "fields");
	JsonbValue	value = {.type = jbvBinary};

	record->entity = required_string(element, "entity", NAMEDATALEN - 1);
	record->external_id = required_string(element, "external_id", CHANGE_MAX_EXTERNAL_ID);
	if (member(element, "version") != NULL)
		record->version = required_number(element, "version", 0, CHANGE_MAX_VERSION);
	record->row_version = required_number(element, "row_version", 1, CHANGE_MAX_VERSION);
	record->deleted = member_true(element, "deleted");
	read_updated_at(element, record);
	record->correction = member_true(element, "correction");
	if (fields == NULL && !record->deleted)
		raise_bad_key(element, "fields", "an object");
	if (fields == NULL)
		return;
	value.val.binary.data = fields;
	value.val.binary.len = required(element, "fields")->val.binary.len;
	record->fields = JsonbValueToJsonb(&value);
}

static void
push_failure(JsonbParseState **state, const PulledRecord *record)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(state, "entity", record->entity);
	json_push_string(state, "externalId", record->external_id);
	json_push_string(state, "error", record->error);
	json_push_bool(state, "busy", record->busy);
	if (record->waits)
		json_push_bool(state, "waits", true);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Returns what sync_ack takes as "failed". */
Datum
syncext_linked_deliver(PG_FUNCTION_ARGS)
{
	char	   *source = linked_source(fcinfo);
	Jsonb	   *array = PG_GETARG_JSONB_P(1);
	int			n = elements_of(array);
	PulledRecord *records = palloc0(sizeof(PulledRecord) * Max(n, 1));
	JsonbParseState *state = NULL;

	for (int i = 0; i < n; i++)
	{
		Element		element;

		read_element(array, i, &element);
		read_record(&element, &records[i]);
	}
	spoke_tables_place(source, records, n);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		if (records[i].error != NULL)
			push_failure(&state, &records[i]);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}
