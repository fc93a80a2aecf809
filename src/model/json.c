/*
 * json.c
 *	  Members of a JSON object that is being built.
 *
 * Called wherever a document, an answer or a log's detail is put together.
 */
#include "postgres.h"

#include "utils/numeric.h"

#include "model/json.h"

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
json_push_seconds(JsonbParseState **state, const char *key, int64 microseconds)
{
	JsonbValue	v = {.type = jbvNumeric};

	json_push_key(state, key);
	v.val.numeric = int64_div_fast_to_numeric((microseconds + 500) / 1000, 3);
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
