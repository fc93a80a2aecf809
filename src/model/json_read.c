/*
 * json_read.c
 *	  Reading a JSON value that may be anything: what another server or a caller says,
 *	  and what was edited by hand.
 *
 * Called wherever such a value is read: its type is looked at here, and by no caller.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/numeric.h"

#include "model/json_read.h"

/* A numeric of more bytes, a header and three digits of four, is hardly one of 32 bits. */
#define MAX_INT4_BYTES	8

static Datum
keep_numeric(int64 number)
{
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Datum		kept = NumericGetDatum(int64_to_numeric(number));

	MemoryContextSwitchTo(old);
	return kept;
}

/* The number, rounded; false if it is beyond 64 bits. */
static bool
fits(Numeric numeric, int64 *number)
{
	static Datum least = (Datum) 0;
	static Datum greatest = (Datum) 0;
	Datum		datum = NumericGetDatum(numeric);
	bool		beyond = VARSIZE_ANY_EXHDR(numeric) > MAX_INT4_BYTES;

	/* versions, which every change reads many of, are small */
	if (!beyond)
		*number = numeric_int4_opt_error(numeric, &beyond);
	if (!beyond)
		return true;
	if (greatest == (Datum) 0)
	{
		least = keep_numeric(PG_INT64_MIN);
		greatest = keep_numeric(PG_INT64_MAX);
	}
	if (!DatumGetBool(DirectFunctionCall2(numeric_ge, datum, least)) ||
		!DatumGetBool(DirectFunctionCall2(numeric_le, datum, greatest)))
		return false;
	*number = DatumGetInt64(DirectFunctionCall1(numeric_int8, datum));
	return true;
}

bool
json_read_rounded(const JsonbValue *value, int64 min, int64 max, int64 *number)
{
	return value != NULL && value->type == jbvNumeric && fits(value->val.numeric, number) &&
		*number >= min && *number <= max;
}

bool
json_read_number(const JsonbValue *value, int64 min, int64 max, int64 *number)
{
	return json_read_rounded(value, min, max, number) &&
		DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(value->val.numeric),
										 NumericGetDatum(int64_to_numeric(*number))));
}

char *
json_read_string(const JsonbValue *value)
{
	return value == NULL || value->type != jbvString ? NULL :
		pnstrdup(value->val.string.val, value->val.string.len);
}

char *
json_read_text(const JsonbValue *value)
{
	if (value != NULL && value->type == jbvNumeric)
		return DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(value->val.numeric)));
	return json_read_string(value);
}

bool
json_read_true(const JsonbValue *value)
{
	return value != NULL && value->type == jbvBool && value->val.boolean;
}

JsonbContainer *
json_read_object(const JsonbValue *value)
{
	return value != NULL && value->type == jbvBinary &&
		JsonContainerIsObject(value->val.binary.data) ? value->val.binary.data : NULL;
}

JsonbContainer *
json_read_array(const JsonbValue *value)
{
	return value != NULL && value->type == jbvBinary &&
		JsonContainerIsArray(value->val.binary.data) ? value->val.binary.data : NULL;
}

bool
json_read_strings(JsonbContainer *array, List **strings)
{
	*strings = NIL;
	for (uint32 i = 0; i < JsonContainerSize(array); i++)
	{
		char	   *string = json_read_string(getIthJsonbValueFromContainer(array, i));

		if (string == NULL)
			return false;
		*strings = lappend(*strings, string);
	}
	return true;
}

/* ---------- for messages ---------- */

const char *
json_type_name(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return "null";
		case jbvString:
			return "a string";
		case jbvNumeric:
			return "a number";
		case jbvBool:
			return "a boolean";
		case jbvBinary:
			return JsonContainerIsArray(value->val.binary.data) ? "an array" : "an object";
		default:
			return "something else";
	}
}

const char *
jsonb_type_name(Jsonb *jsonb)
{
	JsonbValue	value;

	if (JsonbExtractScalar(&jsonb->root, &value))
		return json_type_name(&value);
	return JB_ROOT_IS_ARRAY(jsonb) ? "an array" : "an object";
}
