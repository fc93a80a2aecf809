/*
 * change.c
 *	  Reading and checking a change document.
 *
 * Called by hub/apply for every document.  LADDER.md, "The change document",
 * is the table that this implements.  Nothing is raised here: an error is
 * handed back, as a batch answers it in place.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "errcodes.h"
#include "model/change.h"
#include "model/json_read.h"
#include "model/clip.h"
#include "model/json.h"
#include "model/rfc3339.h"

/*
 * Fill in an error; always returns false, so that checks read
 * "return change_error(…)".
 */
bool
change_error(ChangeError *error, int sqlerrcode, const char *hint, const char *format,...)
{
	StringInfoData message;

	initStringInfo(&message);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&message, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&message, needed);
	}
	error->sqlerrcode = sqlerrcode;
	error->message = message.data;
	error->hint = hint ? pstrdup(hint) : NULL;
	return false;
}

void
change_raise(const ChangeError *error)
{
	ereport(ERROR,
			(errcode(error->sqlerrcode),
			 errmsg_internal("%s", error->message),
			 error->hint ? errhint("%s", error->hint) : 0));
}

bool
change_not_object(ChangeError *error)
{
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Send {\"externalId\": …, \"source\": …, \"version\": …, \"fields\": {…}}, or an array of such.",
						"a change document must be a JSON object");
}

/* ---------- values of single keys ---------- */

#define WHOLE_NUMBER_HINT	"Write a number from 0 to 4611686018427387903, without quotes."

static bool
wrong_type(ChangeError *error, const char *key, const char *wanted, const char *hint,
		   const JsonbValue *value)
{
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, hint,
						"key \"%s\" must be %s, not %s", key, wanted, json_type_name(value));
}

static bool
parse_string(const char *key, const JsonbValue *value, int max_bytes, const char **result,
			 ChangeError *error)
{
	if (value->type != jbvString)
		return wrong_type(error, key, "a string", "Write it in double quotes.", value);
	if (value->val.string.len == 0)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Name the record, source or entity that is meant.",
							"key \"%s\" must not be empty", key);
	if (value->val.string.len > max_bytes)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Use a shorter key; a hash of it will do.",
							"key \"%s\" is %d bytes long, more than %d",
							key, value->val.string.len, max_bytes);
	*result = pnstrdup(value->val.string.val, value->val.string.len);
	return true;
}

static bool
parse_change_id(const char *key, const JsonbValue *value, const char **result,
				ChangeError *error)
{
	if (value->type != jbvString)
		return wrong_type(error, key, "a string", "Write it in double quotes.", value);
	if (value->val.string.len == 0)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Give each change an id of its own, a UUID for one, or leave the key out.",
							"key \"%s\" must not be empty", key);
	return parse_string(key, value, CHANGE_MAX_CHANGE_ID, result, error);
}

static bool
parse_boolean(const char *key, const JsonbValue *value, bool *result, ChangeError *error)
{
	if (value->type != jbvBool)
		return wrong_type(error, key, "a boolean", "Write true or false, without quotes.", value);
	*result = value->val.boolean;
	return true;
}

/* A whole number from 0 to below 2^62; 5.0 is whole, as jsonb has 5.0 = 5. */
static bool
parse_whole_number(const char *key, const JsonbValue *value, int64 *result, ChangeError *error)
{
	char	   *text;
	char	   *end;

	if (value->type != jbvNumeric)
		return wrong_type(error, key, "a whole number", WHOLE_NUMBER_HINT, value);
	text = DatumGetCString(DirectFunctionCall1(numeric_out,
											   NumericGetDatum(value->val.numeric)));
	if (text[0] == '-')
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, WHOLE_NUMBER_HINT,
							"key \"%s\" must not be negative", key);
	errno = 0;
	*result = strtoi64(text, &end, 10);
	if (*end == '.')
		end += 1 + strspn(end + 1, "0");
	if (*end != '\0')
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, WHOLE_NUMBER_HINT,
							"key \"%s\" must be a whole number, not a fraction", key);
	if (errno != 0 || *result > CHANGE_MAX_VERSION)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, WHOLE_NUMBER_HINT,
							"key \"%s\" is too big: the limit is " INT64_FORMAT,
							key, CHANGE_MAX_VERSION);
	return true;
}

static bool
parse_time(const char *key, const JsonbValue *value, TimestampTz *result, ChangeError *error)
{
	if (value->type != jbvString)
		return wrong_type(error, key, "a string", "Write it in double quotes.", value);
	if (!rfc3339_parse(value->val.string.val, value->val.string.len, result))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Write it as 2026-01-31T12:00:00Z or 2026-01-31T13:00:00.5+01:00.",
							"key \"%s\" is not an RFC 3339 time with a zone: \"%s\"", key,
							clip_text(value->val.string.val, value->val.string.len, CLIP_QUOTE));
	return true;
}

/* ---------- the document ---------- */

/*
 * Take one member of the document that has a meaning of its own.  *known is
 * false where it has none.
 */
static bool
take_key(const Field *member, Change *change, bool *known, ChangeError *error)
{
	char		key[16];

	*known = false;
	if (member->name.len >= (int) sizeof(key))
		return true;
	memcpy(key, member->name.data, member->name.len);
	key[member->name.len] = '\0';
	*known = true;
	if (strcmp(key, "externalId") == 0)
		return parse_string(key, &member->value, CHANGE_MAX_EXTERNAL_ID,
							&change->external_id, error);
	if (strcmp(key, "source") == 0)
		return parse_string(key, &member->value, INT_MAX, &change->source, error);
	if (strcmp(key, "entity") == 0)
		return parse_string(key, &member->value, INT_MAX, &change->entity, error);
	if (strcmp(key, "version") == 0)
		return change->has_version = true,
			parse_whole_number(key, &member->value, &change->version, error);
	if (strcmp(key, "base") == 0)
		return change->has_base = true,
			parse_whole_number(key, &member->value, &change->base, error);
	if (strcmp(key, "ifMatch") == 0)
		return change->has_if_match = true,
			parse_whole_number(key, &member->value, &change->if_match, error);
	if (strcmp(key, "updatedAt") == 0)
		return change->has_updated_at = true,
			parse_time(key, &member->value, &change->updated_at, error);
	if (strcmp(key, "changeId") == 0)
		return parse_change_id(key, &member->value, &change->change_id, error);
	if (strcmp(key, "deleted") == 0)
		return parse_boolean(key, &member->value, &change->deleted, error);
	if (strcmp(key, "ifAbsent") == 0 && change->from_link)
		return parse_boolean(key, &member->value, &change->if_absent, error);
	if (strcmp(key, "created") == 0)
	{
		if (!parse_boolean(key, &member->value, &change->created, error))
			return false;
		change->not_created = !change->created;
		return true;
	}
	if (strcmp(key, "known") == 0)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"The rungs go by \"version\", \"base\" and \"updatedAt\"; a field of this name goes into \"fields\".",
							"key \"known\" has no meaning in the ladders that there are");
	*known = strcmp(key, "fields") == 0;
	return true;
}

/* The keys of the document itself; in flat form the others are fields. */
static bool
take_members(const Fields *members, bool flat, bool own, Change *change, ChangeError *error)
{
	if (flat)
		change->fields.field = palloc(sizeof(Field) * Max(members->n, 1));
	for (int i = 0; i < members->n; i++)
	{
		const Field *member = &members->field[i];
		bool		known;

		if (own && field_name_cmp(member->name, field_name("cascade")) == 0)
		{
			if (!parse_boolean("cascade", &member->value, &change->cascade, error))
				return false;
			continue;
		}
		if (!take_key(member, change, &known, error))
			return false;
		if (!known && flat)
			change->fields.field[change->fields.n++] = *member;
		else if (!known)
			return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
								"With \"fields\", data goes into \"fields\"; check the spelling of the key.",
								"unknown key \"%s\" beside \"fields\"",
								clip_text(member->name.data, member->name.len, CLIP_QUOTE));
	}
	return true;
}

static bool
check_fields(const Change *change, const ChangeLimits *limits, ChangeError *error)
{
	if (change->deleted && change->fields.n > 0)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send the delete alone: the tombstone keeps the last fields.",
							"a document with \"deleted\" true cannot have fields, but has \"%s\"",
							clip_text(change->fields.field[0].name.data,
									  change->fields.field[0].name.len, CLIP_QUOTE));
	if (!change->deleted && change->fields.n == 0 && !change_is_birth(change))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Name what is set, in \"fields\" or beside the other keys, or send \"deleted\": true. Only a record that was just made, with \"created\": true, may have no fields.",
							"key \"fields\" is missing or empty: the document sets no fields");
	if (change->fields.n > limits->max_fields)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Raise syncext.max_fields, or split the document.",
							"\"fields\" has %d fields, more than %d",
							change->fields.n, limits->max_fields);
	for (int i = 0; i < change->fields.n; i++)
	{
		if (!field_name_valid(change->fields.field[i].name))
			return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
								"Give the field another name: \"*\" stands for all of them.",
								"a key of \"fields\" must not be empty or \"*\"");
	}
	return true;
}

static bool
check_birth(const Change *change, ChangeError *error)
{
	if (change->created && change->deleted)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send the record with \"created\", and the delete as a document of its own.",
							"the document has both \"created\" and \"deleted\"");
	if (change->created && change->has_base && change->base > 0)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"What was made on a row version is an edit; a record that was just made has \"base\" 0 or none.",
							"the document has \"created\" and \"base\" " INT64_FORMAT, change->base);
	return true;
}

static bool
check_required(const Change *change, ChangeError *error)
{
	if (change->external_id == NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Every document names its record, as \"externalId\": \"CUST-001\".",
							"key \"externalId\" is missing");
	if (change->source == NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Every document says who sends it, as \"source\": \"CRM\".",
							"key \"source\" is missing");
	if (change->has_version && change->has_base)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"\"base\" says on which row version the edit was made, and takes the place of \"version\".",
							"the document has both \"version\" and \"base\"");
	return true;
}

/*
 * Read a document into *change, whose members point into it.  Returns false
 * and fills in *error where it is wrong.
 */
bool
change_parse(JsonbContainer *document, const ChangeLimits *limits, Change *change,
			 ChangeError *error)
{
	Fields		members;
	const Field *fields;

	MemSet(change, 0, sizeof(Change));
	change->entity = "record";
	change->from_link = limits->own;
	if (!JsonContainerIsObject(document))
		return change_not_object(error);
	fields_from_container(document, &members);
	fields = fields_find(&members, field_name("fields"));
	if (fields != NULL)
	{
		if (fields->value.type != jbvBinary ||
			!JsonContainerIsObject(fields->value.val.binary.data))
			return wrong_type(error, "fields", "an object",
							  "Name what is set, as in {\"email\": \"anna@example.org\"}.",
							  &fields->value);
		fields_from_container(fields->value.val.binary.data, &change->fields);
	}
	return take_members(&members, fields == NULL, limits->own, change, error) &&
		check_required(change, error) &&
		check_birth(change, error) &&
		check_fields(change, limits, error);
}

bool
change_is_birth(const Change *change)
{
	if (change->deleted || change->origin == ORIGIN_EDIT)
		return false;
	return change->created || change->origin == ORIGIN_INSERT ||
		(change->has_base && change->base == 0);
}

static int
count_nulls(const Fields *fields)
{
	int			nulls = 0;

	for (int i = 0; i < fields->n; i++)
		nulls += fields->field[i].value.type == jbvNull;
	return nulls;
}

const Change *
change_as_it_counts(const Change *change, Change *counted)
{
	const Fields *sent = &change->fields;
	Fields		said;

	if (change->verbatim || !change_is_birth(change) || count_nulls(sent) == 0)
		return change;
	said.n = 0;
	said.field = palloc(sizeof(Field) * sent->n);
	for (int i = 0; i < sent->n; i++)
		if (sent->field[i].value.type != jbvNull)
			said.field[said.n++] = sent->field[i];
	/* the two may be one */
	if (counted != change)
		*counted = *change;
	counted->fields = said;
	return counted;
}

Jsonb *
change_document(const Change *change)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(&state, "entity", change->entity);
	json_push_string(&state, "externalId", change->external_id);
	json_push_string(&state, "source", change->source);
	if (change->has_version)
		json_push_number(&state, "version", change->version);
	if (change->has_base)
		json_push_number(&state, "base", change->base);
	if (change->has_if_match)
		json_push_number(&state, "ifMatch", change->if_match);
	if (change->has_updated_at)
		json_push_string(&state, "updatedAt", rfc3339_format(change->updated_at));
	if (change->created || change->not_created)
		json_push_bool(&state, "created", change->created);
	if (change->if_absent)
		json_push_bool(&state, "ifAbsent", true);
	if (change->change_id != NULL)
		json_push_string(&state, "changeId", change->change_id);
	if (change->cascade)
		json_push_bool(&state, "cascade", true);
	if (change->deleted)
		json_push_bool(&state, "deleted", true);
	else
		json_push_jsonb(&state, "fields", fields_to_jsonb(&change->fields));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
