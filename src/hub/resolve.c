/*
 * resolve.c
 *	  Deciding a conflict that waits for review.
 *
 * For stewards, and roles to which the extension's owner has granted sync_resolve.
 * hub/steward has what else they call.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/answer.h"
#include "hub/apply_call.h"
#include "hub/apply_state.h"
#include "hub/conflict.h"
#include "hub/logged_change.h"
#include "hub/release.h"
#include "hub/resolve.h"
#include "hub/visibility.h"
#include "model/json.h"
#include "model/json_read.h"
#include "model/rfc3339.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/hints.h"
#include "storage/rights.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(sync_resolve);

/*
 * The stamp of a value that the reviewer chose and the conflict's source did not
 * send.  It isn't the source's own, so the source's next edit made without
 * having seen it is a contest.
 */
#define SET_BY_REVIEWER	"sync_resolve"

struct Resolve
{
	int64		id;
	Verdict		verdict;
	const char *verdict_name;
	Jsonb	   *fields;
	const char *note;
	ApplyCall  *call;
	bool		shown;			/* the reviewer may see the record */
};

Verdict
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
	if (strcmp(name, "ladder") == 0)
		return VERDICT_LADDER;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("decision \"%s\" is not known", name),
			 errhint("Decide incoming, canonical, merge (with fields), dismiss or ladder.")));
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

void
resolve_refuse_closed(int64 id, const char *status)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("conflict " INT64_FORMAT " is not pending but %s", id, status),
			 errhint("See the pending ones with SELECT * FROM syncext.conflict.")));
}

bool
resolve_may_decide(Oid function, const char *entity)
{
	return role_is_steward(entity) ||
		owner_true("SELECT EXISTS (SELECT FROM pg_proc p, aclexplode(p.proacl) a WHERE p.oid = %u "
				   "AND a.privilege_type = 'EXECUTE' AND a.grantee <> 0 "
				   "AND pg_has_role(%u::oid, a.grantee, 'USAGE'))", function, GetUserId());
}

void
resolve_check_steward(Oid function, const char *entity, const char *what)
{
	if (!resolve_may_decide(function, entity))
	{
		registry_check_stranger(registry_get(), NULL);
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s of entity \"%s\"", what, entity),
				 errhint_call("Ask the owner of the extension: SELECT sync_grant(%s, 'steward', %s).",
							  quote_literal_cstr(GetUserNameFromId(GetUserId(), false)),
							  quote_literal_cstr(entity))));
	}
	(void) registry_entity_required(registry_get(), entity);
}

void
resolve_refuse_stranger(Oid function, const char *entity, const char *what, const char *kind, int64 id)
{
	if (!resolve_may_decide(function, entity != NULL ? entity : "*"))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to %s %s " INT64_FORMAT, what, kind, id),
				 errdetail("Or there is no such %s.", kind),
				 errhint_call("Ask the owner of the extension: SELECT sync_grant(%s, 'steward', …).",
							  quote_literal_cstr(GetUserNameFromId(GetUserId(), false)))));
}

void
resolve_find(ConflictLog *conflicts, Oid function, int64 id, Conflict *conflict)
{
	bool		found = conflict_log_find(conflicts, id, conflict);

	resolve_refuse_stranger(function, found ? conflict->entity : NULL, "decide", "conflict", id);
	if (!found)
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("conflict " INT64_FORMAT " does not exist", id),
				 errhint("See SELECT * FROM syncext.conflict.")));
}

/* Was the incoming change a birth? */
static bool
was_birth(const Conflict *conflict)
{
	const Fields detail = fields_of(conflict->incoming_detail);

	return fields_value(&detail, "created") != NULL;
}

/* A value that is let in keeps the time at which its source set it. */
static void
take_incoming_time(const Conflict *conflict, Change *change)
{
	const Fields detail = fields_of(conflict->incoming_detail);
	const char *text = json_read_string(fields_value(&detail, "updatedAt"));

	change->has_updated_at = text != NULL &&
		rfc3339_parse(text, strlen(text), &change->updated_at);
}

static const Entity *
conflict_entity(const Resolve *r, const Conflict *conflict)
{
	return registry_entity_required(r->call->registry, conflict->entity);
}

/* The group that the field belongs to, where groups count; or NULL. */
static const FieldGroup *
group_of(const Entity *entity, FieldName name)
{
	const FieldRule *rule = field_rule_find(&entity->field_rules, name);

	if (rule == NULL || rule->group < 0 || !(entity->ladder & RUNG_MERGE))
		return NULL;
	return &entity->field_rules.groups[rule->group];
}

static bool
set_since(const Conflict *conflict, const Record *record, FieldName name)
{
	const RecordField *standing = record_find(record, name);

	return standing != NULL && standing->stamp.row_version > conflict->row_version;
}

/* Has an uncontested field, or one of its group, been set since the conflict arose? */
static bool
is_overtaken(const Resolve *r, const Conflict *conflict, const Record *record, FieldName name)
{
	const FieldGroup *group = group_of(conflict_entity(r, conflict), name);
	bool		overtaken = set_since(conflict, record, name);

	if (conflict->whole || field_names_has(&conflict->fields, name))
		return false;
	for (int i = 0; group != NULL && i < group->n; i++)
	{
		if (field_names_has(&conflict->fields, group->field[i]))
			return false;
		overtaken |= set_since(conflict, record, group->field[i]);
	}
	return overtaken;
}

/* The field of the group that the record has and the reviewer's fields leave out; or NULL. */
static const FieldName *
left_open(const FieldGroup *group, const Record *record, const Fields *fields)
{
	for (int i = 0; i < group->n; i++)
	{
		const RecordField *standing = record_find(record, group->field[i]);

		if (standing != NULL && standing->field.value.type != jbvNull &&
			fields_find(fields, group->field[i]) == NULL)
			return &group->field[i];
	}
	return NULL;
}

/* The reviewer says all of a group or nothing: half of it would be nobody's word. */
static void
check_groups(const Resolve *r, const Conflict *conflict, const Record *record, const Change *change)
{
	if (record->deleted && change_is_birth(change))
		return;
	for (int i = 0; i < change->fields.n; i++)
	{
		const FieldGroup *group = group_of(conflict_entity(r, conflict), change->fields.field[i].name);
		const FieldName *open = group == NULL ? NULL : left_open(group, record, &change->fields);

		if (open != NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("fields names a part of group \"%s\" alone", group->name),
					 errhint("Say what becomes of field \"%s\", too.", field_name_cstring(*open))));
	}
}

/*
 * The change that the verdict amounts to.  Of the incoming patch, an
 * uncontested field that was set since the conflict arose is left out, and counts
 * as lost: the reviewer has not seen the new value.
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
	change->origin = change->created ? ORIGIN_DOCUMENT : ORIGIN_EDIT;
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
		if (is_overtaken(r, conflict, record, patch.field[i].name))
			field_names_add(left_out, patch.field[i].name);
		else
			change->fields.field[change->fields.n++] = patch.field[i];
	}
}

/* ---------- by the ladder ---------- */

/* What the reviewer has not seen, or what lost by the ladder. */
static FieldNames
names_union(const FieldNames *a, const FieldNames *b)
{
	FieldNames	both;

	field_names_init(&both, a->n + b->n);
	for (int i = 0; i < a->n; i++)
		field_names_add(&both, a->name[i]);
	for (int i = 0; i < b->n; i++)
		if (!field_names_has(&both, b->name[i]))
			field_names_add(&both, b->name[i]);
	return both;
}

/*
 * Number the change so that the ladder's later rungs meet it as they did when the
 * conflict arose: with its own base, or at the record's present version.
 */
static void
number_as_it_came(const Conflict *conflict, const Record *record, Change *change)
{
	const Fields detail = fields_of(conflict->incoming_detail);

	change->has_base = json_read_number(fields_value(&detail, "base"), 0, CHANGE_MAX_VERSION,
										&change->base);
	change->has_version = !change->has_base;
	change->version = record->version;
}

/*
 * The record, with the contested fields vouched for at its present version: a write of
 * other fields, which left the conflict pending, must not have ended the contest.
 */
static Record
record_contested(const Conflict *conflict, const Record *record)
{
	Record		contested = *record;

	contested.fields = palloc(sizeof(RecordField) * Max(record->nfields, 1));
	memcpy(contested.fields, record->fields, sizeof(RecordField) * record->nfields);
	for (int i = 0; i < contested.nfields; i++)
		if (conflict->whole || field_names_has(&conflict->fields, contested.fields[i].field.name))
			contested.fields[i].stamp.version = record->version;
	return contested;
}

/* What the contest left as it was keeps its stamp. */
static void
restore_stamps(const Record *record, Decision *d)
{
	for (int i = 0; i < d->after.nfields; i++)
	{
		RecordField *field = &d->after.fields[i];
		const RecordField *before = record_find(record, field->field.name);

		if (before != NULL && field->stamp.row_version == before->stamp.row_version &&
			strcmp(field->stamp.source, before->stamp.source) == 0)
			field->stamp.version = before->stamp.version;
	}
}

/* Decide again, by the rules and ranks of today; d->resolution is the rung's. */
static void
decide_by_ladder(Resolve *r, const Conflict *conflict, const Record *record, Change *change,
				 Decision *d)
{
	Record		contested = record_contested(conflict, record);
	FieldNames	left_out;
	ApplyItem	item;

	verdict_change(r, conflict, record, change, &left_out);
	number_as_it_came(conflict, record, change);
	item = (ApplyItem) {change, registry_source(r->call->registry, change->source),
		conflict_entity(r, conflict)};
	apply_decide_by_rules(r->call, &item, &contested, d);
	restore_stamps(record, d);
	d->lost = names_union(&d->lost, &left_out);
}

/* ---------- writing ---------- */

/* Name the reviewer for the values that the conflict's source didn't send. */
static void
stamp_reviewer(const Conflict *conflict, Decision *d)
{
	const Fields incoming = fields_of(conflict->incoming);

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
	JsonbParseState *state = json_begin_object();
	LogEntry	entry = logged_decision(change->entity, change->external_id, change->source,
									   &d->after, &change->fields);

	entry.resolution = d->resolution;
	entry.audience = d->audience;
	json_push_number(&state, "conflictId", r->id);
	json_push_string(&state, "decision", r->verdict_name);
	json_push_string(&state, "decidedBy", GetUserNameFromId(GetUserId(), false));
	if (change->deleted)
		json_push_bool(&state, "deleted", true);
	if (d->lost.n > 0)
		field_names_push_member(&state, "lost", &d->lost);
	entry.detail = json_end_object(&state);
	return change_log_append(r->call->log, &entry);
}

static char *
verdict_reason(const Resolve *r)
{
	return psprintf("%s decided %s", GetUserNameFromId(GetUserId(), false), r->verdict_name);
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
	d->audience = AUDIENCE_ORIGIN;
	d->lost = conflict->fields;
	d->lost_all = conflict->whole;
	d->resolution = r->verdict == VERDICT_DISMISS ? RESOLUTION_DISMISSED : RESOLUTION_RESOLVED;
	d->reason = psprintf("%s: the record stands", verdict_reason(r));
	return true;
}

/* The source may have been dropped since the conflict arose; the entity must be there. */
static ApplyItem
verdict_item(const Resolve *r, const Change *change)
{
	const Registry *registry = r->call->registry;

	return (ApplyItem) {change, registry_source(registry, change->source),
			registry_entity_required(registry, change->entity)};
}

/* A reviewer can't delete what other records, with restrict, refer to: why not; or NULL. */
static const char *
restricted(Resolve *r, const Change *change, const Record *record)
{
	ApplyItem	item = verdict_item(r, change);
	Decision	d = {.write = WRITE_WHOLE};

	/* the reviewer is told, who may see less than the conflict's source */
	item.source = NULL;
	return change->deleted && references_restrict(r->call->references, &item, record, &d) ?
		d.reason : NULL;
}

/* A whole write at the record's version + 1, told to all. */
static void
decide_by_decree(Resolve *r, const Conflict *conflict, const Record *record, Change *change,
				 Decision *d)
{
	const Entity *entity = conflict_entity(r, conflict);
	const LadderRules rules = {.ladder = entity->ladder, .field_rules = &entity->field_rules};
	FieldNames	left_out;

	verdict_change(r, conflict, record, change, &left_out);
	if (r->verdict == VERDICT_MERGE)
	{
		check_groups(r, conflict, record, change);
		ladder_impose(change, record, NULL, NULL, d);
	}
	else
	{
		number_as_it_came(conflict, record, change);
		ladder_impose(change, record, &rules, conflict->whole ? NULL : &conflict->fields, d);
	}
	d->lost = left_out;
	d->reason = verdict_reason(r);
	if (r->verdict == VERDICT_MERGE)
		stamp_reviewer(conflict, d);
}

/* Decide, and write what comes of it, of which all are told. */
static ResolveOutcome
write_verdict(Resolve *r, const Conflict *conflict, const Record *record, Change *change,
			  Decision *d, const char **why)
{
	bool		by_ladder = r->verdict == VERDICT_LADDER;
	RowsOutcome outcome;

	if (by_ladder)
		decide_by_ladder(r, conflict, record, change, d);
	else
		decide_by_decree(r, conflict, record, change, d);
	if (by_ladder && d->resolution == RESOLUTION_MANUAL)
		return RESOLVE_UNDECIDED;
	if (d->write == WRITE_WHOLE && (*why = restricted(r, change, record)) != NULL)
		return RESOLVE_REFUSED;
	if (by_ladder)
		d->reason = psprintf("%s: %s, %s", verdict_reason(r), resolution_name(d->resolution), d->reason);
	d->status = 200;
	d->resolution = RESOLUTION_RESOLVED;
	d->audience = d->write == WRITE_NOTHING || d->write == WRITE_STAMPS ? AUDIENCE_ORIGIN : AUDIENCE_ALL;
	if (d->write == WRITE_NOTHING)
		outcome = record->exists ? canonical_lock(r->call->canonical) : ROWS_DONE;
	else
		outcome = canonical_write(r->call->canonical, change->entity, change->external_id, &d->after);
	return outcome == ROWS_DONE ? RESOLVE_DONE : RESOLVE_MOVED;
}

/* Note what the verdict's write sets off, and close the conflicts that it overtakes. */
static void
follow_write(Resolve *r, const Change *change, const Record *before, const Decision *d, int64 seq)
{
	ApplyCall  *call = r->call;
	const ApplyItem	item = verdict_item(r, change);
	ConflictReview review;
	ChangeError error;

	apply_note(call, &item, before, d);
	(void) conflict_review(call->conflicts, change, before, d, &review, &error);
	conflict_supersede(call->conflicts, call->log, review.overtaken, change, d, seq);
}

/* Decide once; *why of what is refused. */
static ResolveOutcome
resolve_once(Resolve *r, Conflict *conflict, Answer *answer, const char **why)
{
	Change	   *change = palloc(sizeof(Change));
	Decision   *d = &answer->decision;
	Record		record;
	bool		stands = r->verdict == VERDICT_CANONICAL || r->verdict == VERDICT_DISMISS;
	ResolveOutcome outcome;
	int64		seq;

	canonical_find(r->call->canonical, conflict->entity, conflict->external_id, &record);
	r->shown = visibility_user_sees(r->call->registry, conflict->entity, &record);
	MemSet(answer, 0, sizeof(Answer));
	d->after = record;
	if (stands)
		outcome = let_stand(r, conflict, change, d) ? RESOLVE_DONE : RESOLVE_MOVED;
	else
		outcome = write_verdict(r, conflict, &record, change, d, why);
	answer->change = change;
	answer->conflict_id = r->id;
	if (outcome != RESOLVE_DONE)
		return outcome;
	seq = log_verdict(r, change, d);
	if (!conflict_log_close_one(r->call->conflicts, r->id,
								r->verdict == VERDICT_DISMISS ? "dismissed" : "resolved",
								r->verdict_name, r->fields, r->note, seq))
		resolve_refuse_closed(r->id, "closed by another session just now");
	if (d->write != WRITE_NOTHING && !stands)
		follow_write(r, change, &record, d, seq);
	return RESOLVE_DONE;
}

bool
verdict_stands(Verdict verdict)
{
	return verdict == VERDICT_CANONICAL || verdict == VERDICT_DISMISS;
}

void
verdict_decide(ApplyCall *call, const char *verdict, Jsonb *fields, const Conflict *conflict,
			   const Record *record, Change *change, Decision *d)
{
	Resolve		r = {
		.id = conflict->id,
		.verdict = verdict_by_name(verdict),
		.verdict_name = verdict,
		.fields = fields,
		.call = call
	};

	if (r.verdict == VERDICT_LADDER)
		decide_by_ladder(&r, conflict, record, change, d);
	else
		decide_by_decree(&r, conflict, record, change, d);
}

Resolve *
resolve_begin(const char *decision, const char *note)
{
	Resolve    *r = palloc0(sizeof(Resolve));

	r->verdict_name = decision;
	r->verdict = verdict_by_name(decision);
	r->note = note;
	r->call = apply_begin(registry_get());
	return r;
}

void
resolve_end(Resolve *r)
{
	apply_end(r->call);
}

/* A conflict is always locked after its record: then it is pending, or isn't. */
ResolveOutcome
resolve_pending(Resolve *r, int64 id, Answer *answer, const char **why)
{
	Conflict   *conflict = palloc(sizeof(Conflict));
	ResolveOutcome outcome;

	r->id = id;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!conflict_log_find(r->call->conflicts, id, conflict) ||
			strcmp(conflict->status, "pending") != 0)
			return RESOLVE_CLOSED;
		if (r->verdict != VERDICT_CANONICAL && r->verdict != VERDICT_DISMISS)
			conflict_log_require(r->call->conflicts, conflict);
		outcome = resolve_once(r, conflict, answer, why);
	} while (outcome == RESOLVE_MOVED);
	return outcome;
}

Datum
sync_resolve(PG_FUNCTION_ARGS)
{
	Resolve    *r;
	Conflict	conflict;
	Answer		answer;
	const char *why = NULL;
	int64		id;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("conflict id and decision must not be null"),
				 errhint("Decide incoming, canonical, merge (with fields), dismiss or ladder.")));
	id = PG_GETARG_INT64(0);
	r = resolve_begin(text_to_cstring(PG_GETARG_TEXT_PP(1)), arg_text_or_null(fcinfo, 3));
	r->fields = arg_jsonb_or_null(fcinfo, 2);
	check_fields(r);
	resolve_find(r->call->conflicts, fcinfo->flinfo->fn_oid, id, &conflict);
	switch (resolve_pending(r, id, &answer, &why))
	{
		case RESOLVE_CLOSED:
			resolve_find(r->call->conflicts, fcinfo->flinfo->fn_oid, id, &conflict);
			resolve_refuse_closed(id, conflict.status);
		case RESOLVE_REFUSED:
			ereport(ERROR,
					(errcode(ERRCODE_RESTRICT_VIOLATION),
					 errmsg("%s \"%s\" cannot be deleted: %s", answer.change->entity,
							answer.change->external_id, why),
					 errhint("Delete what refers to it, or decide canonical.")));
		case RESOLVE_UNDECIDED:
		case RESOLVE_MOVED:
		case RESOLVE_DONE:
			break;
	}
	resolve_end(r);
	if (!r->shown)
		answer_cut(&answer);
	PG_RETURN_JSONB_P(json_of_value(answer_make(&answer, CurrentMemoryContext)));
}
