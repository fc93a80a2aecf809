/*
 * change.c
 *	  Reading and checking a change document.
 *
 * doc/ladder.md, "The change document", is the table that this implements.  Errors are
 * returned, not raised, as a batch answers them document by document.
 */
#include "postgres.h"

#include <limits.h>

#include "utils/numeric.h"

#include "errcodes.h"
#include "model/change.h"
#include "model/field_state.h"
#include "model/json_read.h"
#include "model/clip.h"
#include "model/format.h"
#include "model/increment.h"
#include "model/json.h"
#include "model/json_member.h"
#include "model/rfc3339.h"

/*
 * Fill in an error; always returns false, so that checks read
 * "return change_error(…)".
 */
bool
change_error(ChangeError *error, int sqlerrcode, const char *hint, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	error->message = format_va(format, args);
	va_end(args);
	error->sqlerrcode = sqlerrcode;
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

#define KNOWN_HINT			"Send what the last pull of the record said: {\"version\": …, \"updatedAt\": …}, or leave it out if there was none."
#define WHOLE_NUMBER_HINT	"Write a number from 0 to 4611686018427387903, or a string of its digits."

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

/* Is it a string of digits alone?  JavaScript's numbers are exact up to 2^53 only. */
static bool
is_digits(const JsonbValue *value)
{
	if (value->type != jbvString || value->val.string.len == 0)
		return false;
	for (int i = 0; i < value->val.string.len; i++)
		if (value->val.string.val[i] < '0' || value->val.string.val[i] > '9')
			return false;
	return true;
}

/* A number is as long with its first digits as beyond what is taken. */
#define MAX_NUMBER_TEXT	64

/*
 * The beginning of a number, or of a string of digits.  1e131071 is short in a document, of
 * which a batch has thousands: of each nothing stays in memory.
 */
static void
number_text(const JsonbValue *value, char *text)
{
	char	   *whole = json_read_text(value);
	int			digits = strcspn(whole, ".");

	/* 5.000… is 5 */
	if (whole[digits] == '.' && whole[digits + 1 + strspn(whole + digits + 1, "0")] == '\0')
		whole[digits] = '\0';
	strlcpy(text, whole, MAX_NUMBER_TEXT);
	pfree(whole);
}

/*
 * A whole number from 0 to below 2^62, or a string of its digits; 5.0 is whole, as jsonb
 * has 5.0 = 5.
 */
static bool
parse_whole_number(const char *key, const JsonbValue *value, int64 *result, ChangeError *error)
{
	char		text[MAX_NUMBER_TEXT];
	char	   *end;

	if (!is_digits(value) && value->type != jbvNumeric)
		return wrong_type(error, key, "a whole number", WHOLE_NUMBER_HINT, value);
	number_text(value, text);
	if (text[0] == '-')
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, WHOLE_NUMBER_HINT,
							"key \"%s\" must not be negative", key);
	errno = 0;
	*result = strtoi64(text, &end, 10);
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

/* A part of "known"; null, as a pull has it where there is none, is no part. */
static bool
parse_known_part(const Field *member, LifeStamp *known, bool *has_version, ChangeError *error)
{
	bool		is_version = field_name_cmp(member->name, field_name("version")) == 0;

	if (!is_version && field_name_cmp(member->name, field_name("updatedAt")) != 0)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, KNOWN_HINT,
							"unknown key \"%s\" in \"known\"",
							clip_text(member->name.data, member->name.len, CLIP_QUOTE));
	if (member->value.type == jbvNull)
		return true;
	if (is_version)
		return *has_version = true,
			parse_whole_number("version", &member->value, &known->version, error);
	return known->has_updated_at = true,
		parse_time("updatedAt", &member->value, &known->updated_at, error);
}

/* The stamp of the record as it was last delivered. */
static bool
parse_known(const JsonbValue *value, LifeStamp *known, ChangeError *error)
{
	JsonbContainer *object = json_read_object(value);
	bool		has_version = false;
	Fields		members;

	if (object == NULL)
		return wrong_type(error, "known", "an object", KNOWN_HINT, value);
	fields_from_container(object, &members);
	for (int i = 0; i < members.n; i++)
		if (!parse_known_part(&members.field[i], known, &has_version, error))
			return false;
	if (!has_version && !known->has_updated_at)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, KNOWN_HINT,
							"key \"known\" names neither a version nor a time");
	known->is_set = true;
	known->has_version = has_version;
	return true;
}

static bool
parse_increments(const JsonbValue *value, Fields *increments, ChangeError *error)
{
	char	   *why = increments_read(value, increments);

	if (why != NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Write what is to be added, as {\"stock\": -3}; large numbers may be strings of their digits.",
							"%s", why);
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
	if (strcmp(key, "sourceId") == 0)
		return parse_string(key, &member->value, CHANGE_MAX_EXTERNAL_ID,
							&change->source_id, error);
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
		return parse_known(&member->value, &change->known, error);
	if (strcmp(key, "increments") == 0)
		return parse_increments(&member->value, &change->increments, error);
	*known = strcmp(key, "fields") == 0 || (strcmp(key, "state") == 0 && change->from_link);
	return true;
}

static bool
check_number_of(const char *key, int n, const ChangeLimits *limits, ChangeError *error)
{
	return n <= limits->max_fields ||
		change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
					 "Raise syncext.max_fields, or split the document.",
					 "\"%s\" has %d fields, more than %d", key, n, limits->max_fields);
}

/* Take a member that has a meaning in documents which syncext has made itself. */
static bool
take_own_key(const Field *member, const ChangeLimits *limits, Change *change, bool *known,
			 ChangeError *error)
{
	*known = true;
	if (field_name_cmp(member->name, field_name("cascade")) == 0)
		return parse_boolean("cascade", &member->value, &change->cascade, error);
	if (limits->recovers && field_name_cmp(member->name, field_name("recovered")) == 0)
		return parse_whole_number("recovered", &member->value, &change->recovered, error);
	if (limits->recovers && field_name_cmp(member->name, field_name("recoveredEpoch")) == 0)
		return parse_whole_number("recoveredEpoch", &member->value, &change->recovered_epoch, error);
	if (field_name_cmp(member->name, field_name("baseline")) == 0)
		return parse_boolean("baseline", &member->value, &change->baseline, error);
	if (field_name_cmp(member->name, field_name("counted")) == 0)
	{
		if (json_read_object(&member->value) == NULL)
			return wrong_type(error, "counted", "an object", "Only links send it.", &member->value);
		if (!check_number_of("counted", JsonContainerSize(member->value.val.binary.data), limits, error))
			return false;
		change->counted = JsonbValueToJsonb(unconstify(JsonbValue *, &member->value));
		return true;
	}
	if (field_name_cmp(member->name, field_name("totals")) == 0)
		return parse_increments(&member->value, &change->totals, error) &&
			check_number_of("totals", change->totals.n, limits, error);
	*known = false;
	return true;
}

/* How the change came to be, which a document of its source's doesn't say. */
static bool
take_parked_key(const Field *member, Change *change, bool *known, ChangeError *error)
{
	*known = true;
	if (field_name_cmp(member->name, field_name("origin")) == 0)
	{
		const char *origin = json_read_string(&member->value);

		change->origin = origin == NULL ? ORIGIN_DOCUMENT :
			strcmp(origin, "insert") == 0 ? ORIGIN_INSERT : ORIGIN_EDIT;
		return true;
	}
	if (field_name_cmp(member->name, field_name("alias")) == 0)
	{
		change->alias = json_read_string(&member->value);
		return true;
	}
	if (field_name_cmp(member->name, field_name("aliasMerge")) == 0)
		return parse_whole_number("aliasMerge", &member->value, &change->alias_merge, error);
	if (field_name_cmp(member->name, field_name("takesOver")) == 0)
		return parse_boolean("takesOver", &member->value, &change->takes_over, error);
	if (field_name_cmp(member->name, field_name("refersAnew")) == 0)
		return parse_boolean("refersAnew", &member->value, &change->refers_anew, error);
	*known = false;
	return true;
}

/* The keys of the document itself; in flat form the others are fields. */
static bool
take_members(const Fields *members, bool flat, const ChangeLimits *limits, Change *change,
			 ChangeError *error)
{
	if (flat)
		change->fields.field = palloc(sizeof(Field) * Max(members->n, 1));
	for (int i = 0; i < members->n; i++)
	{
		const Field *member = &members->field[i];
		bool		known = false;

		if (limits->own && !take_own_key(member, limits, change, &known, error))
			return false;
		if (!known && limits->parked && !take_parked_key(member, change, &known, error))
			return false;
		if (known)
			continue;
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

/* The record as the hub behind a relay has it. */
static bool
take_state(const Fields *members, Change *change, ChangeError *error)
{
	const JsonbValue *state = change->from_link ? fields_value(members, "state") : NULL;

	if (state == NULL)
		return true;
	change->state = field_state_read(state, &change->fields, change->deleted);
	if (change->state == NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, "Only links send it.",
							"key \"state\" is no state of a record");
	return true;
}

static bool
check_names_of(const char *key, const Fields *fields, const ChangeLimits *limits,
			   ChangeError *error)
{
	if (!check_number_of(key, fields->n, limits, error))
		return false;
	for (int i = 0; i < fields->n; i++)
	{
		if (!field_name_valid(fields->field[i].name))
			return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
								"Give the field another name: \"*\" stands for all of them.",
								"a key of \"%s\" must not be empty or \"*\"", key);
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
	if (!change->deleted && change->fields.n == 0 && !change_is_birth(change) &&
		change->state == NULL && change->increments.n == 0 && change->counted == NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Name what is set, in \"fields\" or beside the other keys, or send \"deleted\": true. Only a record that was just made, with \"created\": true, may have no fields.",
							"key \"fields\" is missing or empty: the document sets no fields");
	return check_names_of("fields", &change->fields, limits, error) &&
		check_names_of("increments", &change->increments, limits, error);
}

/* Do the increments go with what else the document says? */
static bool
check_increments(const Change *change, ChangeError *error)
{
	FieldsAlign align = {.first = &change->fields, .second = &change->increments};
	const Field *field;
	const Field *increment;

	if (change->increments.n == 0)
		return true;
	if (change->deleted)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send the delete alone: the tombstone keeps the last fields.",
							"a document with \"deleted\" true cannot have increments");
	if (change->change_id == NULL && !change->from_link)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Give the change an id of its own, a UUID for one, and send it again with that: so it adds once.",
							"key \"changeId\" is missing, which a document with increments needs");
	while (fields_align(&align, &field, &increment))
		if (field != NULL && increment != NULL)
			return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
								"Either set the field or add to it.",
								"field \"%s\" stands in both \"fields\" and \"increments\"",
								clip_text(field->name.data, field->name.len, CLIP_QUOTE));
	return true;
}

static bool
check_birth(const Change *change, ChangeError *error)
{
	if (change->created && change->deleted)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Send the record with \"created\", and the delete as a document of its own.",
							"the document has both \"created\" and \"deleted\"");
	/* a link brings back what was erased here, as it was */
	if (change->created && change->has_base && change->base > 0 && !change->if_absent)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"What was made on a row version is an edit; a record that was just made has \"base\" 0 or none.",
							"the document has \"created\" and \"base\" " INT64_FORMAT, change->base);
	return true;
}

static bool
check_required(Change *change, ChangeError *error)
{
	if (change->external_id == NULL && change->source_id != NULL)
	{
		change->by_source_id = true;
		change->external_id = "";
	}
	if (change->external_id == NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Every document names its record, as \"externalId\": \"CUST-001\".",
							"key \"externalId\" is missing");
	if (change->source == NULL)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Every document says who sends it, as \"source\": \"CRM\".",
							"key \"source\" is missing");
	if (change->recovered > 0 && !(change->has_base && change->has_if_match))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, NULL,
							"key \"recovered\" needs \"base\" and \"ifMatch\"");
	if (change->recovered > CHANGE_MAX_RECOVERED)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, NULL,
							"key \"recovered\" is too big: the limit is " INT64_FORMAT,
							CHANGE_MAX_RECOVERED);
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
	const JsonbValue *fields;

	MemSet(change, 0, sizeof(Change));
	change->entity = "record";
	change->from_link = limits->own;
	if (!JsonContainerIsObject(document))
		return change_not_object(error);
	fields_from_container(document, &members);
	fields = fields_value(&members, "fields");
	if (fields != NULL)
	{
		if (json_read_object(fields) == NULL)
			return wrong_type(error, "fields", "an object",
							  "Name what is set, as in {\"email\": \"anna@example.org\"}.", fields);
		fields_from_container(fields->val.binary.data, &change->fields);
		change->sent = change->fields.field;
		change->sent_object = *fields;
	}
	return take_members(&members, fields == NULL, limits, change, error) &&
		take_state(&members, change, error) &&
		check_required(change, error) &&
		check_birth(change, error) &&
		check_fields(change, limits, error) &&
		check_increments(change, error);
}

bool
change_is_birth(const Change *change)
{
	if (change->deleted || change->origin == ORIGIN_EDIT)
		return false;
	return change->created || change->origin == ORIGIN_INSERT ||
		(change->has_base && change->base == 0);
}

Fields
change_named(const Change *change)
{
	return change->increments.n == 0 ? change->fields :
		fields_union(&change->fields, &change->increments);
}

bool
change_only_adds(const Change *change)
{
	return change->increments.n > 0 && change->fields.n == 0 && !change_is_birth(change);
}

static bool
array_has(JsonbContainer *array, const JsonbValue *value)
{
	for (int i = 0; i < (int) JsonContainerSize(array); i++)
		if (json_value_equal(getIthJsonbValueFromContainer(array, i), value))
			return true;
	return false;
}

/* Has the field a value that says nothing, in a birth? */
static bool
is_empty(const Change *change, const Field *field)
{
	if (field->value.type == jbvNull)
		return true;
	for (int i = 0; i < change->nempty; i++)
		if (field_name_cmp(change->empty[i].field, field->name) == 0)
			return array_has(change->empty[i].values, &field->value);
	return false;
}

static int
count_empty(const Change *change)
{
	int			n = 0;

	for (int i = 0; i < change->fields.n; i++)
		n += is_empty(change, &change->fields.field[i]);
	return n;
}

const Change *
change_as_it_counts(const Change *change, Change *counted)
{
	const Fields *sent = &change->fields;
	Fields		said;

	if (change->verbatim || !change_is_birth(change) || count_empty(change) == 0)
		return change;
	said.n = 0;
	said.field = palloc(sizeof(Field) * sent->n);
	for (int i = 0; i < sent->n; i++)
		if (!is_empty(change, &sent->field[i]))
			said.field[said.n++] = sent->field[i];
	/* the two may be one */
	if (counted != change)
		*counted = *change;
	counted->fields = said;
	return counted;
}

Jsonb *
change_known_document(const Change *change)
{
	const LifeStamp *known = &change->known;
	JsonbParseState *state = json_begin_object();

	if (known->has_version)
		json_push_number(&state, "version", known->version);
	if (known->has_updated_at)
		json_push_string(&state, "updatedAt", rfc3339_format(known->updated_at));
	return json_end_object(&state);
}

Jsonb *
change_fields_jsonb(const Change *change)
{
	/* as they came they need not be put together again */
	if (change->sent != NULL && change->sent == change->fields.field)
		return JsonbValueToJsonb(unconstify(JsonbValue *, &change->sent_object));
	return fields_to_jsonb(&change->fields);
}

static void
put_increments(JsonObject *object, const Change *change)
{
	if (change->totals.n > 0)
		json_member_fields(object, "totals", &change->totals);
	if (change->increments.n > 0)
		json_member_fields(object, "increments", &change->increments);
	else if (change->counted != NULL)
		json_member_jsonb(object, "counted", change->counted);
	if (change->baseline)
		json_member_bool(object, "baseline", true);
}

static void
put_fields(JsonObject *object, const Change *change)
{
	if (change->sent_fields.field != NULL)
		json_member_fields(object, "fields", &change->sent_fields);
	else if (object->text != NULL)
		json_member_fields(object, "fields", &change->fields);
	else
		json_member_jsonb(object, "fields", change_fields_jsonb(change));
}

static void
put_parked(JsonObject *object, const Change *change)
{
	if (change->origin != ORIGIN_DOCUMENT)
		json_member_string(object, "origin", change->origin == ORIGIN_INSERT ? "insert" : "edit");
	if (change->alias != NULL)
		json_member_string(object, "alias", change->alias);
	if (change->alias_merge != 0)
		json_member_number(object, "aliasMerge", change->alias_merge);
	if (change->takes_over)
		json_member_bool(object, "takesOver", true);
	if (change->refers_anew)
		json_member_bool(object, "refersAnew", true);
}

static Jsonb *
make_document(const Change *change, StringInfo text, bool parked)
{
	JsonObject	object = json_object_begin(text);

	json_member_string(&object, "entity", change->entity);
	if (change->external_id[0] != '\0')
		json_member_string(&object, "externalId", change->external_id);
	if (change->source_id != NULL)
		json_member_string(&object, "sourceId", change->source_id);
	json_member_string(&object, "source", change->source);
	if (change->has_version)
		json_member_number(&object, "version", change->version);
	if (change->has_base)
		json_member_number(&object, "base", change->base);
	if (change->has_if_match)
		json_member_number(&object, "ifMatch", change->if_match);
	if (change->has_updated_at)
		json_member_string(&object, "updatedAt", rfc3339_format(change->updated_at));
	if (change->created || change->not_created)
		json_member_bool(&object, "created", change->created);
	if (change->if_absent)
		json_member_bool(&object, "ifAbsent", true);
	if (change->change_id != NULL)
		json_member_string(&object, "changeId", change->change_id);
	if (change->cascade)
		json_member_bool(&object, "cascade", true);
	if (change->recovered > 0)
	{
		json_member_number(&object, "recovered", change->recovered);
		json_member_number(&object, "recoveredEpoch", change->recovered_epoch);
	}
	if (change->known.is_set)
		json_member_jsonb(&object, "known", change_known_document(change));
	if (change->state != NULL)
		json_member_jsonb(&object, "state", field_state_jsonb(change->state));
	if (parked)
		put_parked(&object, change);
	put_increments(&object, change);
	if (change->deleted)
		json_member_bool(&object, "deleted", true);
	else
		put_fields(&object, change);
	return json_object_end(&object);
}

Jsonb *
change_document(const Change *change)
{
	return make_document(change, NULL, false);
}

Jsonb *
change_parked(const Change *change)
{
	return make_document(change, NULL, true);
}

void
change_text(const Change *change, StringInfo text)
{
	(void) make_document(change, text, false);
}
