/*
 * json.c
 *	  A JSON object that is being built, its members, and elements of arrays in it.
 *
 * Called wherever a document, an answer or a log's detail is put together.
 */
#include "postgres.h"

#include "utils/numeric.h"

#include "model/json.h"

JsonbParseState *
json_begin_object(void)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	return state;
}

Jsonb *
json_end_object(JsonbParseState **state)
{
	return JsonbValueToJsonb(pushJsonbValue(state, WJB_END_OBJECT, NULL));
}

/* A null pointer becomes JSON null. */
static void
push_string(JsonbParseState **state, JsonbIteratorToken token, const char *string)
{
	JsonbValue	v = {.type = jbvNull};

	if (string != NULL)
		json_set_string(&v, string, strlen(string));
	pushJsonbValue(state, token, &v);
}

static void
push_numeric(JsonbParseState **state, JsonbIteratorToken token, Numeric number)
{
	JsonbValue	v = {.type = jbvNumeric};

	v.val.numeric = number;
	pushJsonbValue(state, token, &v);
}

/* ---------- members ---------- */

void
json_push_key(JsonbParseState **state, const char *key)
{
	push_string(state, WJB_KEY, key);
}

void
json_push_object(JsonbParseState **state, const char *key)
{
	json_push_key(state, key);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
}

void
json_push_array(JsonbParseState **state, const char *key)
{
	json_push_key(state, key);
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
}

void
json_push_string(JsonbParseState **state, const char *key, const char *value)
{
	json_push_key(state, key);
	push_string(state, WJB_VALUE, value);
}

void
json_push_seconds(JsonbParseState **state, const char *key, int64 microseconds)
{
	json_push_key(state, key);
	push_numeric(state, WJB_VALUE, int64_div_fast_to_numeric((microseconds + 500) / 1000, 3));
}

void
json_push_number(JsonbParseState **state, const char *key, int64 value)
{
	json_push_key(state, key);
	push_numeric(state, WJB_VALUE, int64_to_numeric(value));
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

void
json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *value)
{
	JsonbValue	v;

	json_push_key(state, key);
	v.type = jbvBinary;
	v.val.binary.data = &value->root;
	v.val.binary.len = VARSIZE(value) - VARHDRSZ;
	pushJsonbValue(state, WJB_VALUE, &v);
}

/* ---------- elements ---------- */

void
json_add_string(JsonbParseState **state, const char *value)
{
	push_string(state, WJB_ELEM, value);
}

void
json_add_number(JsonbParseState **state, int64 value)
{
	push_numeric(state, WJB_ELEM, int64_to_numeric(value));
}

void
json_add_numeric(JsonbParseState **state, Numeric value)
{
	push_numeric(state, WJB_ELEM, value);
}

Jsonb *
json_of_value(const JsonbValue *value)
{
	return JsonbValueToJsonb(unconstify(JsonbValue *, value));
}

Jsonb *
json_copy(const Jsonb *jsonb)
{
	return jsonb == NULL ? NULL : memcpy(palloc(VARSIZE(jsonb)), jsonb, VARSIZE(jsonb));
}

JsonbValue
json_to_value(Jsonb *jsonb)
{
	JsonbValue	value = {.type = jbvBinary};

	if (JB_ROOT_IS_SCALAR(jsonb))
		(void) JsonbExtractScalar(&jsonb->root, &value);
	else
	{
		value.val.binary.data = &jsonb->root;
		value.val.binary.len = VARSIZE(jsonb) - VARHDRSZ;
	}
	return value;
}
