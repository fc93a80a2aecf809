/*
 * value_input.c
 *	  Values of scalar types, made of JSON without a row around them.
 *
 * jsonb_populate_record, which value.c's JSON is made for, takes an object and returns a
 * row: to make the one costs more than to make the values, and to take the other apart as
 * much again.  What it does for one value of a scalar type is to call the type's input
 * function with the text of the JSON, and that is done here.
 */
#include "postgres.h"

#include "access/transam.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"

#include "local/value_input.h"

struct ValueInput
{
	Oid			type;
	Oid			ioparam;
	int32		typmod;
	bool		as_is;			/* a string is the value, whatever it says */
	FmgrInfo	function;
};

/* Code of users' own types could do anything to the table. */
static bool
is_scalar(Oid type)
{
	const char	kind = get_typtype(type);

	if (kind == TYPTYPE_ENUM)
		return true;
	return kind == TYPTYPE_BASE && type < FirstNormalObjectId && type != JSONOID &&
		type != JSONBOID && !OidIsValid(get_element_type(type));
}

ValueInput *
value_input(Oid type, int32 typmod)
{
	ValueInput *input;
	Oid			function;

	if (!is_scalar(type))
		return NULL;
	input = palloc0(sizeof(ValueInput));
	input->type = type;
	input->typmod = typmod;
	input->as_is = type == TEXTOID || (type == VARCHAROID && typmod < 0);
	getTypeInputInfo(type, &function, &input->ioparam);
	fmgr_info_cxt(function, &input->function, CurrentMemoryContext);
	return input;
}

bool
value_input_take(ValueInput *input, const JsonbValue *json, Datum *value, bool *isnull)
{
	char	   *text;

	*isnull = json->type == jbvNull;
	if (*isnull)
		return true;
	if (json->type == jbvString && input->as_is)
	{
		*value = PointerGetDatum(cstring_to_text_with_len(json->val.string.val, json->val.string.len));
		return true;
	}
	if (json->type == jbvString)
		text = pnstrdup(json->val.string.val, json->val.string.len);
	else if (json->type == jbvBool)
		text = pstrdup(json->val.boolean ? "true" : "false");
	else if (json->type == jbvNumeric)
		text = DatumGetCString(DirectFunctionCall1(numeric_out, NumericGetDatum(json->val.numeric)));
	else
		return false;
	*value = InputFunctionCall(&input->function, text, input->ioparam, input->typmod);
	return true;
}
