/*
 * identity.c
 *	  Which database is it at the other end of a link: the one that was there, a
 *	  later one that takes its place, or one that must not be taken for it?
 *
 * Both sides of a link ask when it is opened.  No single value tells: a copy of a cluster's files equals its original in all that is stored, and
 * pg_upgrade changes the identifier of the system and the timeline.  So the
 * decision is made by a table, out of what both sides remember of each other.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "model/fields.h"
#include "model/identity.h"
#include "model/json.h"
#include "model/json_read.h"

PG_FUNCTION_INFO_V1(syncext_identity_case);

/* ---------- the decision ---------- */

static bool
descends_from(const Identity *said, const char *mark)
{
	for (int i = 0; i < said->nancestors; i++)
		if (strcmp(said->ancestors[i], mark) == 0)
			return true;
	return false;
}

/*
 * Does it stand where it stood?  A host may be named anew, as containers are, and a
 * directory be moved, but not both at once.
 */
static bool
same_place(const Identity *known, const Identity *said)
{
	return (known->host == said->host) + (known->directory == said->directory) +
		(known->inode == said->inode) >= 2;
}

/* Of the same mark, in the same cluster as far as that tells. */
static IdentityCase
judge_place(const Identity *known, const Identity *said, bool current, bool chosen)
{
	if (said->timeline < known->timeline)
		return IDENTITY_OLD_PRIMARY;
	if (said->timeline > known->timeline)
		return current ? IDENTITY_PROMOTED : IDENTITY_BEHIND;
	if (chosen || same_place(known, said))
		return current ? IDENTITY_SAME : IDENTITY_BEHIND;
	return current ? IDENTITY_MOVED : IDENTITY_DOUBTFUL;
}

IdentityCase
identity_judge(const Identity *known, const Identity *said, bool current, bool chosen)
{
	if (!known->known)
		return IDENTITY_NEW;
	/* of what a dump was restored to, the address says that it is the one that is meant */
	if (strcmp(known->mark, said->mark) != 0)
		return chosen && descends_from(said, known->mark) ? IDENTITY_BEHIND : IDENTITY_OTHER;
	if (known->system == said->system && known->database == said->database)
		return judge_place(known, said, current, chosen);
	if (known->system == said->system)
		return IDENTITY_COPY;
	/* pg_upgrade keeps the database's OID */
	if (known->database != said->database)
		return IDENTITY_OTHER;
	if (current)
		return IDENTITY_UPGRADED;
	return chosen ? IDENTITY_BEHIND : IDENTITY_DOUBTFUL;
}

bool
identity_is_refused(IdentityCase which)
{
	return which >= IDENTITY_OTHER;
}

const char *
identity_case_name(IdentityCase which)
{
	static const char *const names[] = {
		[IDENTITY_NEW] = "new",
		[IDENTITY_SAME] = "same",
		[IDENTITY_UPGRADED] = "upgraded",
		[IDENTITY_PROMOTED] = "promoted",
		[IDENTITY_BEHIND] = "behind",
		[IDENTITY_OTHER] = "other",
		[IDENTITY_COPY] = "copy",
		[IDENTITY_OLD_PRIMARY] = "old primary",
		[IDENTITY_MOVED] = "moved",
		[IDENTITY_DOUBTFUL] = "doubtful"
	};

	Assert(which < lengthof(names));
	return names[which];
}

/* ---------- as JSON ---------- */

/* A number that doesn't fit into all that read JSON. */
static void
push_text(JsonbParseState **state, const char *key, int64 value)
{
	json_push_string(state, key, psprintf(INT64_FORMAT, value));
}

Jsonb *
identity_to_jsonb(const Identity *identity)
{
	JsonbParseState *state = json_begin_object();

	json_push_string(&state, "mark", identity->mark);
	json_push_array(&state, "ancestors");
	for (int i = 0; i < identity->nancestors; i++)
		json_add_string(&state, identity->ancestors[i]);
	pushJsonbValue(&state, WJB_END_ARRAY, NULL);
	push_text(&state, "system", (int64) identity->system);
	json_push_number(&state, "database", identity->database);
	json_push_number(&state, "timeline", identity->timeline);
	json_push_number(&state, "epoch", identity->epoch);
	push_text(&state, "host", identity->host);
	push_text(&state, "directory", identity->directory);
	push_text(&state, "inode", identity->inode);
	return json_end_object(&state);
}

static const JsonbValue *
find_value(const Fields *fields, const char *key, enum jbvType type)
{
	const JsonbValue *value = fields_value(fields, key);

	return value != NULL && value->type == type ? value : NULL;
}

/* Read a number that is written as one, or as text. */
static bool
read_number(const Fields *fields, const char *key, enum jbvType type, int64 *number)
{
	const JsonbValue *value = find_value(fields, key, type);
	char	   *text;
	char	   *end;

	if (value == NULL)
		return false;
	text = json_read_text(value);
	errno = 0;
	*number = strtoi64(text, &end, 10);
	return end != text && *end == '\0' && errno == 0;
}

static bool
is_mark(const JsonbValue *value)
{
	return value != NULL && value->type == jbvString && value->val.string.len == 36 &&
		strspn(pnstrdup(value->val.string.val, 36), "0123456789abcdef-") == 36;
}

static bool
read_marks(const Fields *fields, Identity *identity)
{
	const JsonbValue *mark = find_value(fields, "mark", jbvString);
	JsonbContainer *array = json_read_array(fields_value(fields, "ancestors"));

	if (!is_mark(mark) || array == NULL || JsonContainerSize(array) > IDENTITY_MAX_ANCESTORS)
		return false;
	identity->mark = pnstrdup(mark->val.string.val, mark->val.string.len);
	identity->ancestors = palloc(sizeof(char *) * (IDENTITY_MAX_ANCESTORS));
	for (uint32 i = 0; i < JsonContainerSize(array); i++)
	{
		JsonbValue *value = getIthJsonbValueFromContainer(array, i);

		if (!is_mark(value))
			return false;
		identity->ancestors[identity->nancestors++] =
			pnstrdup(value->val.string.val, value->val.string.len);
	}
	return true;
}

bool
identity_from_jsonb(const Jsonb *jsonb, Identity *identity)
{
	Fields		fields;
	int64		system;
	int64		database;
	int64		timeline;

	MemSet(identity, 0, sizeof(Identity));
	if (!JB_ROOT_IS_OBJECT(jsonb))
		return false;
	fields = fields_of(jsonb);
	if (!read_marks(&fields, identity) ||
		!read_number(&fields, "system", jbvString, &system) ||
		!read_number(&fields, "database", jbvNumeric, &database) ||
		!read_number(&fields, "timeline", jbvNumeric, &timeline) ||
		!read_number(&fields, "epoch", jbvNumeric, &identity->epoch) ||
		!read_number(&fields, "host", jbvString, &identity->host) ||
		!read_number(&fields, "directory", jbvString, &identity->directory) ||
		!read_number(&fields, "inode", jbvString, &identity->inode) ||
		database < 1 || database > PG_UINT32_MAX || timeline < 1 || timeline > PG_UINT32_MAX ||
		identity->epoch < 1)
		return false;
	identity->system = (uint64) system;
	identity->database = (Oid) database;
	identity->timeline = (uint32) timeline;
	identity->known = true;
	return true;
}

/* ---------- for SQL ---------- */

Datum
syncext_identity_case(PG_FUNCTION_ARGS)
{
	Identity	known = {0};
	Identity	said;

	if (PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(3))
		PG_RETURN_NULL();
	if ((!PG_ARGISNULL(0) && !identity_from_jsonb(PG_GETARG_JSONB_P(0), &known)) ||
		!identity_from_jsonb(PG_GETARG_JSONB_P(1), &said))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("that is no identity of a database"),
				 errhint("It is what syncext.identity() says.")));
	PG_RETURN_TEXT_P(cstring_to_text(identity_case_name(identity_judge(&known, &said,
																	   PG_GETARG_BOOL(2),
																	   PG_GETARG_BOOL(3)))));
}
