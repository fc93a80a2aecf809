/*
 * closing.c
 *	  Conflicts that wait for review: adding them, and closing those that a
 *	  change has overtaken.
 *
 * Called by hub/apply and hub/resolve with the golden record's row held.  The
 * rules are those of LADDER.md, "What a write does", pending conflicts.
 */
#include "postgres.h"

#include "errcodes.h"
#include "hub/closing.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "settings.h"

static Jsonb *
patch_jsonb(const Change *change)
{
	return fields_to_jsonb(&change->fields);
}

int64
closing_find_same(ConflictLog *conflicts, const Change *change, const Record *record)
{
	Conflict	wanted = {
		.entity = change->entity,
		.external_id = change->external_id,
		.source = change->source,
		.version = record->version,
		.incoming = patch_jsonb(change),
		.incoming_deleted = change->deleted
	};

	return conflict_log_find_same(conflicts, &wanted);
}

/* How the change was numbered and timed, for the reviewer. */
static Jsonb *
incoming_detail(const Change *change)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (change_is_birth(change))
		json_push_bool(&state, "created", true);
	if (change->has_version)
		json_push_number(&state, "version", change->version);
	if (change->has_base)
		json_push_number(&state, "base", change->base);
	if (change->has_updated_at)
		json_push_string(&state, "updatedAt", rfc3339_format(change->updated_at));
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

int64
closing_add_conflict(ConflictLog *conflicts, const Change *change, const Record *record,
					 const Decision *decision)
{
	Conflict	conflict = {
		.entity = change->entity,
		.external_id = change->external_id,
		.source = change->source,
		.version = record->version,
		.row_version = record->row_version,
		.incoming = patch_jsonb(change),
		.incoming_deleted = change->deleted,
		.incoming_detail = incoming_detail(change),
		.canonical = record_fields_jsonb(record),
		.canonical_deleted = record->deleted,
		.canonical_source = record->last_source,
		.reason = decision->reason,
		.whole = decision->contested_all,
		.fields = decision->contested
	};

	return conflict_log_add(conflicts, &conflict);
}

/* Does the change name one of the conflict's fields? */
static bool
change_names(const Change *change, const Conflict *conflict)
{
	for (int i = 0; i < conflict->fields.n; i++)
		if (fields_find(&change->fields, conflict->fields.name[i]) != NULL)
			return true;
	return false;
}

static bool
names_intersect(const FieldNames *a, const FieldNames *b)
{
	for (int i = 0; i < a->n; i++)
		if (field_names_has(b, a->name[i]))
			return true;
	return false;
}

static bool
overtakes(const Conflict *conflict, const Change *change, const Record *before,
		  const Decision *d)
{
	if (d->write != WRITE_NOTHING && before->deleted != d->after.deleted)
		return true;
	if (d->write == WRITE_WHOLE && (conflict->whole || change_names(change, conflict)))
		return true;
	if (d->write == WRITE_MERGE && (conflict->whole || names_intersect(&conflict->fields, &d->changed)))
		return true;
	if (!d->closes_own || strcmp(conflict->source, change->source) != 0)
		return false;
	return d->contested_all || conflict->whole || change_names(change, conflict);
}

/*
 * May the source add the conflict that the decision is?  One that takes the place
 * of others of its own may always.
 */
bool
closing_has_room(ConflictLog *conflicts, const Change *change, const Record *record,
				 const Decision *decision, ChangeError *error)
{
	List	   *pending;
	ListCell   *lc;

	if (decision->resolution != RESOLUTION_MANUAL)
		return true;
	pending = conflict_log_pending(conflicts, change->entity, change->external_id,
								   change->source);
	if (list_length(pending) < setting_max_conflicts)
		return true;
	foreach(lc, pending)
		if (overtakes(lfirst(lc), change, record, decision))
			return true;
	if (closing_find_same(conflicts, change, record) != 0)
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Decide them with sync_resolve; an administrator may raise syncext.max_conflicts.",
						"%d conflicts of source \"%s\" on the record wait for a decision already",
						list_length(pending), change->source);
}

List *
closing_overtaken(ConflictLog *conflicts, const Change *change, const Record *before,
				  const Decision *decision)
{
	List	   *overtaken = NIL;
	List	   *pending;
	ListCell   *lc;

	if (decision->write == WRITE_NOTHING && !decision->closes_own)
		return NIL;
	pending = conflict_log_pending(conflicts, change->entity, change->external_id, NULL);
	foreach(lc, pending)
	{
		if (overtakes(lfirst(lc), change, before, decision))
			overtaken = lappend(overtaken, lfirst(lc));
	}
	return overtaken;
}

/*
 * While a conflict is pending its fields are held back from its source.  Once
 * it is closed, will the source hear of them without more ado?
 */
static bool
source_hears(const Conflict *conflict, const Change *change, const Decision *d)
{
	if (strcmp(conflict->source, change->source) != 0)
		return d->told == TOLD_OTHERS || d->told == TOLD_ALL;
	if (d->told == TOLD_ALL || d->told == TOLD_ORIGIN || change->deleted)
		return true;
	/* what it named itself just now, it has */
	if (conflict->whole)
		return false;
	for (int i = 0; i < conflict->fields.n; i++)
		if (fields_find(&change->fields, conflict->fields.name[i]) == NULL)
			return false;
	return true;
}

/* Queue the record for the conflict's source alone. */
static void
tell_source(ChangeLog *log, const Conflict *conflict, const Decision *d)
{
	JsonbParseState *state = NULL;
	Fields		none = {0, NULL};
	LogEntry	entry = {
		.entity = conflict->entity,
		.external_id = conflict->external_id,
		.source = conflict->source,
		.version = d->after.version,
		.row_version = d->after.row_version,
		.resolution = RESOLUTION_SUPERSEDED,
		.told = TOLD_ORIGIN,
		.fields = fields_to_jsonb(&none)
	};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "conflictId", conflict->id);
	entry.detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	change_log_append(log, &entry);
}

void
closing_close(ConflictLog *conflicts, ChangeLog *log, List *overtaken, const Change *change,
			  const Decision *decision, int64 seq)
{
	ListCell   *lc;

	foreach(lc, overtaken)
	{
		Conflict   *conflict = lfirst(lc);

		if (conflict_log_close_one(conflicts, conflict->id, "superseded",
								   resolution_name(decision->resolution), NULL, NULL, seq) &&
			!source_hears(conflict, change, decision))
			tell_source(log, conflict, decision);
	}
}
