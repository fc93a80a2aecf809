/*
 * resolve.c
 *	  Deciding a conflict that waits for review: sync_resolve.
 *
 * Called from SQL, by whom the extension's owner grants it.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/answer.h"
#include "hub/apply_call.h"
#include "hub/apply_state.h"
#include "hub/closing.h"
#include "hub/visibility.h"
#include "model/json.h"
#include "model/json_read.h"
#include "model/rfc3339.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(sync_resolve);

/*
 * Who set a value that the reviewer chose and the conflict's source did not
 * send.  It isn't the source's own, so the source's next edit made without
 * having seen it is a contest.
 */
#define SET_BY_REVIEWER	"sync_resolve"

typedef enum Verdict
{
	VERDICT_INCOMING,
	VERDICT_CANONICAL,
	VERDICT_MERGE,
	VERDICT_DISMISS
} Verdict;

typedef struct Resolve
{
	int64		id;
	Verdict		verdict;
	const char *verdict_name;
	Jsonb	   *fields;
	const char *note;
	ApplyCall  *call;
	bool		shown;			/* the reviewer may see the record */
} Resolve;

static Verdict
verdict_by_name(const char *name)
{
	if (strcmp(name, "incoming") == 0)
		return VERDICT_INCOMING;
	if (strcmp(name, "canonical") == 0)
		return VERDICT_CANONICAL;
	if (strcmp(name, "merge") == 0)
		return VERDICT_MERGE;
	if (strcmp(name, "dismiss") == 0)
		return VERDICT_DISMISS;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("decision \"%s\" is not known", name),
			 errhint("Decide incoming, canonical, merge (with fields) or dismiss.")));
}

/* merge needs fields, the others take none. */
static void
check_fields(const Resolve *r)
{
	Fields		fields;

	if (r->verdict != VERDICT_MERGE)
	{
		if (r->fields != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("decision \"%s\" takes no fields", r->verdict_name),
					 errhint("To set values of your own, decide merge.")));
		return;
	}
	if (r->fields == NULL || !JB_ROOT_IS_OBJECT(r->fields) || JB_ROOT_COUNT(r->fields) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("decision \"merge\" needs fields, an object of at least one"),
				 errhint("Name the values that shall stand, as '{\"email\": \"…\"}'.")));
	if ((int) JB_ROOT_COUNT(r->fields) > setting_max_fields)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("fields has more than %d fields", setting_max_fields),
				 errhint("Raise syncext.max_fields.")));
	fields_from_container(&r->fields->root, &fields);
	for (int i = 0; i < fields.n; i++)
		if (!field_name_valid(fields.field[i].name))
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("a key of fields must not be empty or \"*\""),
					 errhint("Name the fields one by one.")));
}

static void
refuse_closed(int64 id, const char *status)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("conflict " INT64_FORMAT " is not pending but %s", id, status),
			 errhint("See the pending ones with SELECT * FROM syncext.conflict_log WHERE status = 'pending'.")));
}

static void
find_pending(const Resolve *r, Conflict *conflict)
{
	if (!conflict_log_find(r->call->conflicts, r->id, conflict))
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("conflict " INT64_FORMAT " does not exist", r->id),
				 errhint("See SELECT * FROM syncext.conflict_log.")));
	if (strcmp(conflict->status, "pending") != 0)
		refuse_closed(r->id, conflict->status);
}

/* Was the incoming change a birth? */
static bool
was_birth(const Conflict *conflict)
{
	Fields		detail;

	fields_from_container(&conflict->incoming_detail->root, &detail);
	return fields_find(&detail, field_name("created")) != NULL;
}

/* A value that is let in keeps the time at which its source set it. */
static void
take_incoming_time(const Conflict *conflict, Change *change)
{
	Fields		detail;
	const Field *time;
	const char *text;

	fields_from_container(&conflict->incoming_detail->root, &detail);
	time = fields_find(&detail, field_name("updatedAt"));
	text = time == NULL ? NULL : json_read_string(&time->value);
	change->has_updated_at = text != NULL &&
		rfc3339_parse(text, strlen(text), &change->updated_at);
}

/*
 * The change that the verdict amounts to.  Of the incoming patch, an
 * uncontested field that somebody has set since the conflict arose is left
 * out, and counts as lost: nobody reviewed that.
 */
static void
verdict_change(const Resolve *r, const Conflict *conflict, const Record *record,
			   Change *change, FieldNames *left_out)
{
	Fields		patch;

	MemSet(change, 0, sizeof(Change));
	change->entity = conflict->entity;
	change->external_id = conflict->external_id;
	change->source = conflict->source;
	/* nothing of an earlier life comes back with what the reviewer made of a birth */
	change->created = was_birth(conflict);
	if (r->verdict == VERDICT_MERGE)
	{
		fields_from_container(&r->fields->root, &change->fields);
		field_names_init(left_out, 0);
		return;
	}
	change->deleted = conflict->incoming_deleted;
	take_incoming_time(conflict, change);
	fields_from_container(&conflict->incoming->root, &patch);
	field_names_init(left_out, patch.n);
	change->fields.field = palloc(sizeof(Field) * Max(patch.n, 1));
	for (int i = 0; i < patch.n; i++)
	{
		const RecordField *standing = record_find(record, patch.field[i].name);

		if (!conflict->whole && !field_names_has(&conflict->fields, patch.field[i].name) &&
			standing != NULL && standing->stamp.row_version > conflict->row_version)
			field_names_add(left_out, patch.field[i].name);
		else
			change->fields.field[change->fields.n++] = patch.field[i];
	}
}

/* Name the reviewer for the values that the conflict's source didn't send. */
static void
stamp_reviewer(const Conflict *conflict, Decision *d)
{
	Fields		incoming;

	fields_from_container(&conflict->incoming->root, &incoming);
	for (int i = 0; i < d->changed.n; i++)
	{
		RecordField *field = record_find(&d->after, d->changed.name[i]);
		const Field *sent = fields_find(&incoming, d->changed.name[i]);

		if (sent == NULL || !json_value_equal(&sent->value, &field->field.value))
			field->stamp.set_by = SET_BY_REVIEWER;
	}
}

static int64
log_verdict(const Resolve *r, const Change *change, const Decision *d)
{
	JsonbParseState *state = NULL;
	LogEntry	entry = {
		.entity = change->entity,
		.external_id = change->external_id,
		.source = change->source,
		.version = d->after.version,
		.row_version = d->after.row_version,
		.resolution = d->resolution,
		.told = d->told,
		.fields = fields_to_jsonb(&change->fields)
	};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "conflictId", r->id);
	json_push_string(&state, "decision", r->verdict_name);
	json_push_string(&state, "decidedBy", GetUserNameFromId(GetUserId(), false));
	if (change->deleted)
		json_push_bool(&state, "deleted", true);
	if (d->lost.n > 0)
	{
		json_push_key(&state, "lost");
		field_names_push(&state, &d->lost);
	}
	entry.detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return change_log_append(r->call->log, &entry);
}

/* The record stands: only the loser is told.  The row is held meanwhile. */
static bool
let_stand(Resolve *r, const Conflict *conflict, Change *change, Decision *d)
{
	if (d->after.exists && canonical_lock(r->call->canonical) == ROWS_MOVED)
		return false;
	MemSet(change, 0, sizeof(Change));
	change->entity = conflict->entity;
	change->external_id = conflict->external_id;
	change->source = conflict->source;
	d->status = 200;
	d->told = TOLD_ORIGIN;
	d->lost = conflict->fields;
	d->lost_all = conflict->whole;
	d->resolution = r->verdict == VERDICT_DISMISS ? RESOLUTION_DISMISSED : RESOLUTION_RESOLVED;
	d->reason = psprintf("%s decided %s: the record stands",
						 GetUserNameFromId(GetUserId(), false), r->verdict_name);
	return true;
}

/* A reviewer can't delete what other records, with restrict, refer to. */
static void
refuse_restricted(Resolve *r, const Change *change, const Record *record)
{
	Decision	d = {.write = WRITE_WHOLE};

	if (dependency_restricts(r->call->dependency, change, record, &d))
		ereport(ERROR,
				(errcode(ERRCODE_RESTRICT_VIOLATION),
				 errmsg("%s \"%s\" cannot be deleted: %s", change->entity, change->external_id,
						r->shown ? d.reason : "another record refers to it"),
				 errhint("Delete what refers to it, or decide canonical.")));
}

/* A whole write at the record's version + 1, told to all. */
static bool
write_verdict(Resolve *r, const Conflict *conflict, const Record *record, Change *change,
			  Decision *d)
{
	FieldNames	left_out;

	verdict_change(r, conflict, record, change, &left_out);
	if (change->deleted)
		refuse_restricted(r, change, record);
	ladder_impose(change, record, d);
	d->resolution = RESOLUTION_RESOLVED;
	d->told = TOLD_ALL;
	d->lost = left_out;
	d->reason = psprintf("%s decided %s", GetUserNameFromId(GetUserId(), false), r->verdict_name);
	if (r->verdict == VERDICT_MERGE)
		stamp_reviewer(conflict, d);
	return canonical_write(r->call->canonical, change->entity, change->external_id, &d->after) == ROWS_DONE;
}

/* Decide; false if the record moved on meanwhile. */
static bool
resolve_once(Resolve *r, Answer *answer)
{
	Conflict   *conflict = palloc(sizeof(Conflict));
	Change	   *change = palloc(sizeof(Change));
	Decision   *d = &answer->decision;
	Record		record;
	bool		stands = r->verdict == VERDICT_CANONICAL || r->verdict == VERDICT_DISMISS;
	int64		seq;

	find_pending(r, conflict);
	if (!stands)
		conflict_log_require(r->call->conflicts, conflict);
	canonical_find(r->call->canonical, conflict->entity, conflict->external_id, &record);
	r->shown = visibility_user_sees(r->call->registry, conflict->entity, &record);
	MemSet(answer, 0, sizeof(Answer));
	d->after = record;
	if (!(stands ? let_stand(r, conflict, change, d)
		  : write_verdict(r, conflict, &record, change, d)))
		return false;
	answer->change = change;
	answer->conflict_id = r->id;
	if (!stands)
		apply_note(r->call, change, &record, d);
	seq = log_verdict(r, change, d);
	if (!conflict_log_close_one(r->call->conflicts, r->id,
								r->verdict == VERDICT_DISMISS ? "dismissed" : "resolved",
								r->verdict_name, r->fields, r->note, seq))
		refuse_closed(r->id, "closed by another session just now");
	if (!stands)
		closing_close(r->call->conflicts, r->call->log,
					  closing_overtaken(r->call->conflicts, change, &record, d), change, d, seq);
	return true;
}

Datum
sync_resolve(PG_FUNCTION_ARGS)
{
	Resolve		r = {0};
	Answer		answer;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("conflict id and decision must not be null"),
				 errhint("Decide incoming, canonical, merge (with fields) or dismiss.")));
	r.id = PG_GETARG_INT64(0);
	r.verdict_name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	r.verdict = verdict_by_name(r.verdict_name);
	r.fields = PG_ARGISNULL(2) ? NULL : PG_GETARG_JSONB_P(2);
	r.note = PG_ARGISNULL(3) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(3));
	check_fields(&r);
	r.call = apply_begin(registry_get());
	while (!resolve_once(&r, &answer))
		CHECK_FOR_INTERRUPTS();
	apply_end(r.call);
	if (!r.shown)
		answer_cut(&answer);
	PG_RETURN_JSONB_P(JsonbValueToJsonb(answer_make(&answer)));
}
