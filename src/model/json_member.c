/*
 * json_member.c
 *	  An object that is made member by member, as jsonb or as the text of it.
 *
 * Called where a change is put into a document: for a table of ours that is jsonb, for the
 * hub behind a link text.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "model/json.h"
#include "model/json_member.h"

/* ---------- text ---------- */

/* Append a string as JSON has it.  The server's own wants one that is terminated. */
static void
append_string(StringInfo text, const char *string, int len)
{
	int			plain = 0;		/* from here on nothing was appended yet */

	appendStringInfoCharMacro(text, '"');
	for (int i = 0; i < len; i++)
	{
		const unsigned char c = string[i];

		if (c >= ' ' && c != '"' && c != '\\')
			continue;
		appendBinaryStringInfo(text, string + plain, i - plain);
		plain = i + 1;
		if (c < ' ')
			appendStringInfo(text, "\\u%04x", c);
		else
		{
			appendStringInfoCharMacro(text, '\\');
			appendStringInfoCharMacro(text, c);
		}
	}
	appendBinaryStringInfo(text, string + plain, len - plain);
	appendStringInfoCharMacro(text, '"');
}

static void
append_value(StringInfo text, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			appendStringInfoString(text, "null");
			break;
		case jbvBool:
			appendStringInfoString(text, value->val.boolean ? "true" : "false");
			break;
		case jbvString:
			append_string(text, value->val.string.val, value->val.string.len);
			break;
		case jbvNumeric:
			appendStringInfoString(text, DatumGetCString(DirectFunctionCall1(numeric_out,
																			 NumericGetDatum(value->val.numeric))));
			break;
		case jbvBinary:
			(void) JsonbToCString(text, value->val.binary.data, value->val.binary.len);
			break;
		default:
			elog(ERROR, "a field has a value of type %d", (int) value->type);
	}
}

/* Append the name of the next member. */
static void
append_key(StringInfo text, bool *any, const char *key, int len)
{
	if (*any)
		appendBinaryStringInfo(text, ", ", 2);
	*any = true;
	append_string(text, key, len);
	appendBinaryStringInfo(text, ": ", 2);
}

static void
append_fields(StringInfo text, const Fields *fields)
{
	bool		any = false;

	appendStringInfoCharMacro(text, '{');
	for (int i = 0; i < fields->n; i++)
	{
		append_key(text, &any, fields->field[i].name.data, fields->field[i].name.len);
		append_value(text, &fields->field[i].value);
	}
	appendStringInfoCharMacro(text, '}');
}

/* ---------- members ---------- */

JsonObject
json_object_begin(StringInfo text)
{
	JsonObject	object = {.text = text};

	if (text != NULL)
		appendStringInfoChar(text, '{');
	else
		pushJsonbValue(&object.state, WJB_BEGIN_OBJECT, NULL);
	return object;
}

Jsonb *
json_object_end(JsonObject *object)
{
	if (object->text == NULL)
		return json_end_object(&object->state);
	appendStringInfoChar(object->text, '}');
	return NULL;
}

/* Where it is to be text, append the key; false: it is to be jsonb. */
static bool
begin_member(JsonObject *object, const char *key)
{
	if (object->text == NULL)
		return false;
	append_key(object->text, &object->any, key, strlen(key));
	return true;
}

void
json_member_string(JsonObject *object, const char *key, const char *value)
{
	if (begin_member(object, key))
		append_string(object->text, value, strlen(value));
	else
		json_push_string(&object->state, key, value);
}

void
json_member_number(JsonObject *object, const char *key, int64 value)
{
	if (begin_member(object, key))
		appendStringInfo(object->text, INT64_FORMAT, value);
	else
		json_push_number(&object->state, key, value);
}

void
json_member_bool(JsonObject *object, const char *key, bool value)
{
	if (begin_member(object, key))
		appendStringInfoString(object->text, value ? "true" : "false");
	else
		json_push_bool(&object->state, key, value);
}

void
json_member_jsonb(JsonObject *object, const char *key, Jsonb *value)
{
	if (begin_member(object, key))
		(void) JsonbToCString(object->text, &value->root, VARSIZE(value));
	else
		json_push_jsonb(&object->state, key, value);
}

void
json_member_fields(JsonObject *object, const char *key, const Fields *fields)
{
	if (begin_member(object, key))
		append_fields(object->text, fields);
	else
		json_push_jsonb(&object->state, key, fields_to_jsonb(fields));
}
