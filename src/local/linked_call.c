/*
 * linked_call.c
 *	  The two halves of an exchange as SQL functions: for who brings changes to
 *	  the hub and records from it by other ways than a connection, by file for
 *	  one.
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
#include "utils/numeric.h"

#include "errcodes.h"
#include "local/linked.h"
#include "model/json.h"
#include "settings.h"
#include "storage/link.h"

PG_FUNCTION_INFO_V1(syncext_captured);
PG_FUNCTION_INFO_V1(syncext_captured_answered);
PG_FUNCTION_INFO_V1(syncext_linked_deliver);
PG_FUNCTION_INFO_V1(syncext_linked_retry);

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
	CapturedBatch batch;

	if (max < 1 || max > setting_max_records)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("max_records must be from 1 to %d, not %d", setting_max_records, max)));
	InitMaterializedSRF(fcinfo, 0);
	captured_cut(source, max, &batch);
	/* what is told must not be lost here, nor the batch's number come again for another */
	if (batch.nchanges > 0)
		ForceSyncCommit();
	for (int i = 0; i < batch.nchanges; i++)
	{
		Datum		values[2];
		bool		isnull[2] = {false};

		values[0] = Int64GetDatum(batch.batch);
		values[1] = JsonbPGetDatum(captured_document(source, &batch.changes[i]));
		tuplestore_putvalues(rsinfo->setResult, rsinfo->setDesc, values, isnull);
	}
	return (Datum) 0;
}

/* ---------- JSON that comes in ---------- */

static void
raise_bad(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
			 errmsg("%s", what)));
}

/* The members of an array's element, which has to be an object. */
static void
read_object(Jsonb *array, int i, Fields *members)
{
	JsonbValue *element = getIthJsonbValueFromContainer(&array->root, i);

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		raise_bad("an element of the array is not an object");
	fields_from_container(element->val.binary.data, members);
}

static int
elements_of(Jsonb *array)
{
	if (!JB_ROOT_IS_ARRAY(array) || JB_ROOT_IS_SCALAR(array))
		raise_bad("it must be an array");
	return JB_ROOT_COUNT(array);
}

static const JsonbValue *
member(const Fields *members, const char *name, enum jbvType type)
{
	const Field *field = fields_find(members, field_name(name));

	return field == NULL || field->value.type != type ? NULL : &field->value;
}

/* 0 if it isn't there, or null. */
static int64
member_number(const Fields *members, const char *name)
{
	const JsonbValue *value = member(members, name, jbvNumeric);

	return value == NULL ? 0 :
		DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(value->val.numeric)));
}

static bool
member_true(const Fields *members, const char *name)
{
	const JsonbValue *value = member(members, name, jbvBool);

	return value != NULL && value->val.boolean;
}

static char *
member_string(const Fields *members, const char *name)
{
	const JsonbValue *value = member(members, name, jbvString);

	if (value == NULL)
		raise_bad(psprintf("key \"%s\" is missing", name));
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* ---------- answers ---------- */

static bool
lost_nothing(const Fields *answer)
{
	const JsonbValue *lost = member(answer, "lost", jbvBinary);

	return lost == NULL || JsonContainerSize(lost->val.binary.data) == 0;
}

/* The answer to a change that could be decided; else why it couldn't. */
static bool
read_answer(const Fields *members, const CapturedChange *change, LinkedAnswer *answer,
			BatchFailure *failure)
{
	int64		status = member_number(members, "status");

	if (status == 400)
	{
		failure->entity = change->entity;
		failure->external_id = change->external_id;
		failure->error = member_string(members, "reason");
		failure->busy = false;
		return false;
	}
	answer->change = change;
	answer->written = status == 200 && lost_nothing(members);
	answer->row_version = status == 200 ? member_number(members, "rowVersion") : 0;
	return true;
}

Datum
syncext_captured_answered(PG_FUNCTION_ARGS)
{
	char	   *source = linked_source(fcinfo);
	int64		number = PG_GETARG_INT64(1);
	Jsonb	   *array = PG_GETARG_JSONB_P(2);
	int			n = elements_of(array);
	CapturedBatch batch;
	LinkedAnswer *answers;
	BatchFailure *failures;
	int			nanswers = 0;
	int			nfailures = 0;

	/* the one that is out comes again as it was */
	captured_cut(source, setting_max_records, &batch);
	if (batch.nchanges == 0 || batch.batch != number)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_STALE_BATCH),
				 errmsg("batch " INT64_FORMAT " of source \"%s\" is not the one that is out",
						number, source)));
	if (batch.nchanges != n)
		raise_bad(psprintf("there are %d answers to %d changes", n, batch.nchanges));
	answers = palloc(sizeof(LinkedAnswer) * n);
	failures = palloc(sizeof(BatchFailure) * n);
	for (int i = 0; i < n; i++)
	{
		Fields		members;

		read_object(array, i, &members);
		if (read_answer(&members, &batch.changes[i], &answers[nanswers], &failures[nfailures]))
			nanswers++;
		else
			nfailures++;
	}
	linked_answered(source, answers, nanswers);
	captured_ack(source, number, failures, nfailures);
	PG_RETURN_VOID();
}

Datum
syncext_linked_retry(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(linked_retry(linked_source(fcinfo)));
}

/* ---------- records ---------- */

static void
read_record(const Fields *members, LinkedRecord *record)
{
	const JsonbValue *fields = member(members, "fields", jbvBinary);

	record->entity = member_string(members, "entity");
	record->external_id = member_string(members, "external_id");
	record->version = member_number(members, "version");
	record->row_version = member_number(members, "row_version");
	record->deleted = member_true(members, "deleted");
	record->correction = member_true(members, "correction");
	if (fields != NULL)
		record->fields = JsonbValueToJsonb(unconstify(JsonbValue *, fields));
}

static void
push_failure(JsonbParseState **state, const LinkedRecord *record)
{
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(state, "entity", record->entity);
	json_push_string(state, "externalId", record->external_id);
	json_push_string(state, "error", record->error);
	json_push_bool(state, "busy", record->busy);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Returns what sync_ack takes as "failed". */
Datum
syncext_linked_deliver(PG_FUNCTION_ARGS)
{
	char	   *source = linked_source(fcinfo);
	Jsonb	   *array = PG_GETARG_JSONB_P(1);
	int			n = elements_of(array);
	LinkedRecord *records = palloc0(sizeof(LinkedRecord) * Max(n, 1));
	JsonbParseState *state = NULL;

	for (int i = 0; i < n; i++)
	{
		Fields		members;

		read_object(array, i, &members);
		read_record(&members, &records[i]);
	}
	linked_place(source, records, n);
	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		if (records[i].error != NULL)
			push_failure(&state, &records[i]);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
}
