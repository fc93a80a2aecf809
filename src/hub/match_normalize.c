/*
 * match_normalize.c
 *	  The key that a match rule makes of a record's fields.
 */
#include "postgres.h"

#include "catalog/pg_collation_d.h"
#include "catalog/pg_type_d.h"
#include "common/sha2.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/numeric.h"

#include "hub/called_function.h"
#include "model/json.h"
#include "hub/match_normalize.h"

/* A longer key would leave no room in an index; the same text has the same sum. */
#define MAX_KEY		1024

/* Between the values of a key: no text that people write has it. */
#define SEPARATOR	'\x1f'

static bool
is_null(const Field *field)
{
	return field == NULL || field->value.type == jbvNull;
}

/* ---------- without a function ---------- */

static char *
value_text(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return pnstrdup(value->val.string.val, value->val.string.len);
		case jbvNumeric:
			/* 1.0 is 1 */
			return numeric_normalize(value->val.numeric);
		case jbvBool:
			return pstrdup(value->val.boolean ? "true" : "false");
		default:
			return JsonbToCString(NULL, value->val.binary.data, value->val.binary.len);
	}
}

/* The text in lower case, without white space around it. */
static char *
plain_text(const JsonbValue *value)
{
	char	   *text = value_text(value);
	Size		length;

	while (*text != '\0' && isspace((unsigned char) *text) && !IS_HIGHBIT_SET(*text))
		text++;
	length = strlen(text);
	while (length > 0 && isspace((unsigned char) text[length - 1]) && !IS_HIGHBIT_SET(text[length - 1]))
		length--;
	return str_tolower(text, length, DEFAULT_COLLATION_OID);
}

static char *
join_plain(const MatchRule *rule, const Fields *fields)
{
	StringInfoData key;

	initStringInfo(&key);
	for (int i = 0; i < rule->fields.n; i++)
	{
		const Field *field = fields_find(fields, rule->fields.name[i]);
		char	   *text = is_null(field) ? NULL : plain_text(&field->value);

		if (text == NULL || *text == '\0')
			return NULL;
		if (i > 0)
			appendStringInfoChar(&key, SEPARATOR);
		appendStringInfoString(&key, text);
	}
	return key.data;
}

/* ---------- with one ---------- */

/* The named fields as an object, null where there is none; NULL: there is none at all. */
static Jsonb *
named_fields(const MatchRule *rule, const Fields *fields)
{
	JsonbParseState *state = json_begin_object();
	bool		any = false;

	for (int i = 0; i < rule->fields.n; i++)
	{
		FieldName	name = rule->fields.name[i];
		const Field *field = fields_find(fields, name);
		JsonbValue	key;
		JsonbValue	value = {.type = jbvNull};

		json_set_string(&key, name.data, name.len);
		if (!is_null(field))
			value = field->value;
		any |= !is_null(field);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &value);
	}
	return any ? json_end_object(&state) : NULL;
}

static char *
call_normalize(const MatchRule *rule, const Fields *fields, char **failed)
{
	const CalledFunction function = {
		.name = rule->normalize,
		.written_by = rule->written_by,
		.nargs = 1,
		.result = TEXTOID,
		.immutable = true
	};
	Jsonb	   *named = named_fields(rule, fields);
	Datum		args[1];
	text	   *made;

	if (named == NULL)
		return NULL;
	args[0] = JsonbPGetDatum(named);
	made = called_function_run(&function, args, failed);
	return made == NULL ? NULL : text_to_cstring(made);
}

/* ---------- the key ---------- */

static char *
sum_of(const char *key)
{
	char	   *sum = palloc(sizeof("sha256:") + PG_SHA256_DIGEST_LENGTH * 2);
	bytea	   *digest = DatumGetByteaPP(DirectFunctionCall1(sha256_bytea, PointerGetDatum(cstring_to_text(key))));
	Size		prefix = strlen("sha256:");

	strcpy(sum, "sha256:");
	prefix += hex_encode(VARDATA_ANY(digest), VARSIZE_ANY_EXHDR(digest), sum + prefix);
	sum[prefix] = '\0';
	return sum;
}

char *
match_normalize(const MatchRule *rule, const Fields *fields, char **failed)
{
	char	   *key = rule->normalize != NULL ? call_normalize(rule, fields, failed) :
		join_plain(rule, fields);

	if (key == NULL || *key == '\0')
		return NULL;
	return strlen(key) > MAX_KEY ? sum_of(key) : key;
}
