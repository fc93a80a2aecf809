/*
 * answer.c
 *	  Answers as JSON.
 *
 * Called by hub/apply and hub/resolve; LADDER.md, "The answer", lists the keys.
 */
#include "postgres.h"

#include "utils/numeric.h"

#include "hub/answer.h"

void
json_push_key(JsonbParseState **state, const char *key)
{
	JsonbValue	v;

	v.type = jbvString;
	v.val.string.val = unconstify(char *, key);
	v.val.string.len = strlen(key);
	pushJsonbValue(state, WJB_KEY, &v);
}

/* A null pointer becomes JSON null. */
void
json_push_string(JsonbParseState **state, const char *key, const char *value)
{
	JsonbValue	v;

	json_push_key(state, key);
	v.type = value ? jbvString : jbvNull;
	if (value)
	{
		v.val.string.val = unconstify(char *, value);
		v.val.string.len = strlen(value);
	}
	pushJsonbValue(state, WJB_VALUE, &v);
}

void
json_push_number(JsonbParseState **state, const char *key, int64 value)
{
	JsonbValue	v;

	json_push_key(state, key);
	v.type = jbvNumeric;
	v.val.numeric = int64_to_numeric(value);
	pushJsonbValue(state, WJB_VALUE, &v);
}

void
json_push_bool(JsonbParseState **state, const char *key, bool value)
{
	JsonbValue	v;

	json_push_key(state, key);
	v.type = jbvBool;
	v.val.boolean = value;
	pushJsonbValue(state, WJB_VALUE, &v);
}

static void
push_binary(JsonbParseState **state, JsonbIteratorToken token, Jsonb *value)
{
	JsonbValue	v;

	v.type = jbvBinary;
	v.val.binary.data = &value->root;
	v.val.binary.len = VARSIZE(value) - VARHDRSZ;
	pushJsonbValue(state, token, &v);
}

void
json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *value)
{
	json_push_key(state, key);
	push_binary(state, WJB_VALUE, value);
}

static void
push_null(JsonbParseState **state, const char *key)
{
	json_push_string(state, key, NULL);
}

/* The record as it now stands: nulls where there is none. */
static void
push_standing(JsonbParseState **state, const Record *record)
{
	if (record->exists)
	{
		json_push_number(state, "version", record->version);
		json_push_number(state, "rowVersion", record->row_version);
		json_push_string(state, "lastSource", record->last_source);
		return;
	}
	push_null(state, "version");
	push_null(state, "rowVersion");
	push_null(state, "lastSource");
}

Jsonb *
answer_to_jsonb(const Answer *answer)
{
	const Decision *d = &answer->decision;
	JsonbParseState *state = NULL;
	FieldName	all = {"*", 1};
	FieldNames	whole = {1, &all};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "status", d->status);
	json_push_string(&state, "resolution", resolution_name(d->resolution));
	json_push_string(&state, "entity", answer->change->entity);
	json_push_string(&state, "externalId", answer->change->external_id);
	push_standing(&state, &d->after);
	json_push_key(&state, "changed");
	field_names_push(&state, &d->changed);
	json_push_key(&state, "lost");
	field_names_push(&state, d->lost_all ? &whole : &d->lost);
	json_push_string(&state, "told", told_name(d->told));
	if (answer->conflict_id != 0)
		json_push_number(&state, "conflictId", answer->conflict_id);
	else
		push_null(&state, "conflictId");
	json_push_string(&state, "reason", d->reason);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* The answer of a bad document in a batch. */
Jsonb *
answer_refused(const ChangeError *error)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "status", 400);
	json_push_string(&state, "reason", error->message);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Jsonb *
answer_array(Jsonb **answers, int n)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		push_binary(&state, WJB_ELEM, answers[i]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL));
}
