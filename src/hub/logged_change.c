/*
 * logged_change.c
 *	  What a row of the change log keeps of its change beside the fields.
 *
 * A change is logged as it counted, so that the log can be replayed: all that the
 * ladder goes by has to be in the row, and what is added to a change has to be added
 * here.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/logged_change.h"
#include "model/field_state.h"
#include "model/json.h"
#include "model/json_read.h"
#include "model/rfc3339.h"
#include "storage/conflict_log.h"

PG_FUNCTION_INFO_V1(syncext_log_detail);

LogEntry
logged_decision(const char *entity, const char *external_id, const char *source,
				const Record *after, const Fields *fields)
{
	const Fields none = {0, NULL};

	return (LogEntry) {
		.entity = entity,
		.external_id = external_id,
		.source = source,
		.version = after->version,
		.row_version = after->row_version,
		.resolution = RESOLUTION_RESOLVED,
		.audience = AUDIENCE_ALL,
		.fields = fields_to_jsonb(fields != NULL ? fields : &none)
	};
}

void
merge_log_gone(ChangeLog *log, const Change *change, const Record *gone, Audience audience)
{
	JsonbParseState *state = json_begin_object();
	LogEntry	entry = logged_decision(change->entity, change->alias, change->source,
									   gone, NULL);

	entry.audience = audience;
	json_push_bool(&state, "deleted", true);
	json_push_number(&state, "mergeId", change->alias_merge);
	json_push_string(&state, "mergedInto", change->external_id);
	entry.detail = json_end_object(&state);
	(void) change_log_append(log, &entry);
}

/* The conflicts that the change closes. */
static void
push_closed(JsonbParseState **state, List *overtaken)
{
	json_push_array(state, "closes");
	foreach_ptr(Conflict, conflict, overtaken)
		json_add_number(state, conflict->id);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* How the change is numbered, where the row's version isn't its own. */
static void
push_number(JsonbParseState **state, const Change *change, const Decision *d)
{
	const JsonbValue none = {.type = jbvNull};

	if (change->has_version && change->version != d->after.version)
		json_push_number(state, "version", change->version);
	if (!change->has_version && !change->has_base)
	{
		json_push_key(state, "version");
		pushJsonbValue(state, WJB_VALUE, unconstify(JsonbValue *, &none));
	}
}

/* Is it a birth, or isn't it, though its base says otherwise? */
static void
push_birth(JsonbParseState **state, const Change *change)
{
	bool		seems_born = change->has_base && change->base == 0 && !change->deleted;
	bool		born = change_is_birth(change);

	if (change->created || (born && !seems_born))
		json_push_bool(state, "created", true);
	if (seems_born && !born)
		json_push_bool(state, "edit", true);
	if (born && change->verbatim)
		json_push_bool(state, "verbatim", true);
}

/* Where it came from, and what was known there. */
static void
push_origin(JsonbParseState **state, const Change *change)
{
	if (change->cascade)
		json_push_bool(state, "cascade", true);
	if (change->if_absent)
		json_push_bool(state, "ifAbsent", true);
	if (change->recovered > 0)
	{
		json_push_number(state, "recovered", change->recovered);
		json_push_number(state, "recoveredEpoch", change->recovered_epoch);
	}
	if (change->ahead > 0)
		json_push_number(state, "ahead", change->ahead);
	if (change->known.is_set)
		json_push_jsonb(state, "known", change_known_document(change));
	if (change->state != NULL)
		json_push_jsonb(state, "state", field_state_jsonb(change->state));
	if (change->source_id != NULL)
		json_push_string(state, "sourceId", change->source_id);
	if (change->matched_by != NULL)
		json_push_string(state, "matchedBy", change->matched_by);
	if (change->split)
		json_push_bool(state, "split", true);
}

static bool
lacks_any(const Record *record, const Fields *fields)
{
	for (int i = 0; i < fields->n; i++)
		if (record_find(record, fields->field[i].name) == NULL)
			return true;
	return false;
}

/* What was added; what the row held then counts where the record hadn't the field. */
static void
push_increments(JsonbParseState **state, const Change *change, const Record *before)
{
	if (change->increments.n > 0)
		json_push_jsonb(state, "increments", fields_to_jsonb(&change->increments));
	if (change->increments.n > 0 && lacks_any(before, &change->totals))
		json_push_jsonb(state, "totals", fields_to_jsonb(&change->totals));
}

/* What came of it. */
static void
push_outcome(JsonbParseState **state, const Record *before, const Decision *d, List *overtaken,
			 int64 conflict_id)
{
	FieldName	all = {"*", 1};
	FieldNames	whole = {.n = 1, .name = &all};

	if (d->lost_all || d->lost.n > 0)
	{
		field_names_push_member(state, "lost", d->lost_all ? &whole : &d->lost);
	}
	if (conflict_id != 0)
		json_push_number(state, "conflictId", conflict_id);
	if (d->write != WRITE_NOTHING && before->exists && before->deleted && !d->after.deleted)
		json_push_bool(state, "revived", true);
	if (overtaken != NIL)
		push_closed(state, overtaken);
}

Jsonb *
logged_change_detail(const Change *change, const Record *before, const Decision *d,
					 List *overtaken, int64 conflict_id)
{
	JsonbParseState *state = json_begin_object();
	JsonbValue *detail;

	if (change->deleted)
		json_push_bool(&state, "deleted", true);
	push_number(&state, change, d);
	push_birth(&state, change);
	push_origin(&state, change);
	push_increments(&state, change, before);
	push_outcome(&state, before, d, overtaken, conflict_id);
	detail = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return detail->val.object.nPairs == 0 ? NULL : JsonbValueToJsonb(detail);
}

/* For the view: what is stored beside the detail is shown in it. */
Datum
syncext_log_detail(PG_FUNCTION_ARGS)
{
	Jsonb	   *detail = PG_ARGISNULL(0) ? NULL : PG_GETARG_JSONB_P(0);
	JsonbParseState *state = json_begin_object();
	Fields		stored;
	Fields		beside;
	Fields		all;

	if (!PG_ARGISNULL(1))
		json_push_number(&state, "base", PG_GETARG_INT64(1));
	if (!PG_ARGISNULL(2))
		json_push_string(&state, "updatedAt", rfc3339_format(PG_GETARG_TIMESTAMPTZ(2)));
	beside = fields_of(json_end_object(&state));
	/* rows can be edited by hand */
	if (detail != NULL && (beside.n == 0 || !JB_ROOT_IS_OBJECT(detail)))
		PG_RETURN_JSONB_P(detail);
	if (beside.n == 0)
		PG_RETURN_NULL();
	stored = fields_of(detail);
	all = fields_union(&stored, &beside);
	PG_RETURN_JSONB_P(fields_to_jsonb(&all));
}

/* ---------- reading ---------- */

const JsonbValue *
logged_row_member(const LoggedRow *row, const char *name)
{
	return fields_value(&row->details, name);
}

int64
logged_row_number(const LoggedRow *row, const char *name)
{
	int64		number;

	return json_read_number(logged_row_member(row, name), 0, CHANGE_MAX_VERSION, &number) ? number : 0;
}

static bool
is_string(const JsonbValue *value, FieldName name)
{
	return value->type == jbvString && value->val.string.len == name.len &&
		memcmp(value->val.string.val, name.data, name.len) == 0;
}

bool
logged_row_lost(const LoggedRow *row, FieldName field)
{
	JsonbContainer *lost = json_read_array(logged_row_member(row, "lost"));
	const FieldName all = {"*", 1};

	for (int i = 0; lost != NULL && i < (int) JsonContainerSize(lost); i++)
	{
		const JsonbValue *name = getIthJsonbValueFromContainer(lost, i);

		if (is_string(name, field) || is_string(name, all))
			return true;
	}
	return false;
}

static bool
read_time(const JsonbValue *value, bool *has, TimestampTz *time)
{
	const char *text = json_read_string(value);

	*has = value != NULL;
	return value == NULL || (text != NULL && rfc3339_parse(text, strlen(text), time));
}

static bool
read_whole(const JsonbValue *value, bool *has, int64 *number)
{
	*has = value != NULL;
	return value == NULL || json_read_number(value, 0, CHANGE_MAX_VERSION, number);
}

/* What was known of the record where the change was made. */
static bool
read_known(const LoggedRow *row, LifeStamp *known)
{
	const JsonbValue *value = logged_row_member(row, "known");
	JsonbContainer *object = json_read_object(value);
	const Fields members = fields_of_object(object);

	if (object == NULL)
		return value == NULL;
	known->is_set = true;
	return read_whole(fields_value(&members, "version"), &known->has_version, &known->version) &&
		read_time(fields_value(&members, "updatedAt"), &known->has_updated_at, &known->updated_at);
}

/* By base, or by a version: the detail's, or the one that it gave to the record. */
static bool
read_number(const LoggedRow *row, Change *change)
{
	const JsonbValue *version = logged_row_member(row, "version");

	change->has_base = row->has_base;
	change->base = row->base;
	if (row->has_base && (row->base < 0 || row->base > CHANGE_MAX_VERSION))
		return false;
	if (version == NULL)
	{
		change->has_version = !change->has_base;
		change->version = row->version;
		return true;
	}
	return version->type == jbvNull || read_whole(version, &change->has_version, &change->version);
}

static bool
read_object(const LoggedRow *row, const char *name, Fields *fields)
{
	const JsonbValue *value = logged_row_member(row, name);
	JsonbContainer *object = json_read_object(value);

	if (object != NULL)
		fields_from_container(object, fields);
	return value == NULL || object != NULL;
}

static bool
read_state(const LoggedRow *row, Change *change)
{
	const JsonbValue *state = logged_row_member(row, "state");

	if (state != NULL)
		change->state = field_state_read(state, &change->fields, change->deleted);
	return state == NULL || change->state != NULL;
}

const char *
logged_change_read(const LoggedRow *row, const char *entity, const char *external_id,
				   Change *change)
{
	bool		recovered;

	MemSet(change, 0, sizeof(Change));
	change->entity = entity;
	change->external_id = external_id;
	change->source = row->source;
	/* it was let in once */
	change->from_link = true;
	if (!JB_ROOT_IS_OBJECT(row->fields) || (row->detail != NULL && !JB_ROOT_IS_OBJECT(row->detail)))
		return "is no object";
	change->fields = fields_of(row->fields);
	change->deleted = json_read_true(logged_row_member(row, "deleted"));
	change->created = json_read_true(logged_row_member(row, "created"));
	change->verbatim = json_read_true(logged_row_member(row, "verbatim"));
	change->cascade = json_read_true(logged_row_member(row, "cascade"));
	change->if_absent = json_read_true(logged_row_member(row, "ifAbsent"));
	if (json_read_true(logged_row_member(row, "edit")))
		change->origin = ORIGIN_EDIT;
	change->has_updated_at = row->has_updated_at;
	change->updated_at = row->updated_at;
	if (row->has_updated_at && !rfc3339_can_be(row->updated_at))
		return "has a time that is none";
	if (!read_number(row, change) ||
		!read_whole(logged_row_member(row, "recovered"), &recovered, &change->recovered) ||
		!read_object(row, "increments", &change->increments) ||
		!read_object(row, "totals", &change->totals) ||
		!read_known(row, &change->known) || !read_state(row, change))
		return "has something else than numbers and times";
	return NULL;
}
