/*
 * conflict.c
 *	  Conflicts that wait for review: adding them, and closing those that a
 *	  change has overtaken.
 *
 * All of it with the golden record's row held.  The rules are those of doc/ladder.md,
 * "What a write does", pending conflicts.
 */
#include "postgres.h"

#include "compat.h"
#include "errcodes.h"
#include "hub/conflict.h"
#include "hub/logged_change.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "settings.h"

/* The pending conflict that says just the same; 0 if there is none. */
static int64
find_same(ConflictLog *conflicts, const Change *change, const Record *record)
{
	Conflict	wanted = {
		.entity = change->entity,
		.external_id = change->external_id,
		.source = change->source,
		.version = record->version,
		.incoming = change_fields_jsonb(change),
		.incoming_deleted = change->deleted
	};

	return conflict_log_find_same(conflicts, &wanted);
}

/* How the change was numbered and timed, for the reviewer. */
static Jsonb *
incoming_detail(const Change *change)
{
	JsonbParseState *state = json_begin_object();

	if (change_is_birth(change))
		json_push_bool(&state, "created", true);
	if (change->has_version)
		json_push_number(&state, "version", change->version);
	if (change->has_base)
		json_push_number(&state, "base", change->base);
	if (change->has_updated_at)
		json_push_string(&state, "updatedAt", rfc3339_format(change->updated_at));
	return json_end_object(&state);
}

void
conflict_make(const Change *change, const Record *record, const Decision *decision,
			  Conflict *conflict)
{
	MemSet(conflict, 0, sizeof(Conflict));
	conflict->entity = change->entity;
	conflict->external_id = change->external_id;
	conflict->source = change->source;
	conflict->version = record->version;
	conflict->row_version = record->row_version;
	conflict->incoming = change_fields_jsonb(change);
	conflict->incoming_deleted = change->deleted;
	conflict->incoming_detail = incoming_detail(change);
	conflict->reason = decision->reason;
	conflict->whole = decision->contested_all;
	conflict->fields = decision->contested;
}

int64
conflict_add(ConflictLog *conflicts, const Change *change, const Record *record,
			 const Decision *decision)
{
	Conflict	conflict;

	conflict_make(change, record, decision, &conflict);
	conflict.canonical = record_fields_jsonb(record);
	conflict.canonical_deleted = record->deleted;
	conflict.canonical_source = record->last_source;
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

bool
conflict_overtaken(const Conflict *conflict, const Change *change, const Record *before,
				   const Decision *d)
{
	if (d->write != WRITE_NOTHING && before->deleted != d->after.deleted)
		return true;
	if (d->write == WRITE_WHOLE && (conflict->whole || change_names(change, conflict)))
		return true;
	/* a whole write may change others of a group, too */
	if ((d->write == WRITE_MERGE || d->write == WRITE_WHOLE) &&
		(conflict->whole || names_intersect(&conflict->fields, &d->changed)))
		return true;
	if (!d->supersedes_own || strcmp(conflict->source, change->source) != 0)
		return false;
	return d->contested_all || conflict->whole || change_names(change, conflict);
}

/* Conflicts of a source's own on a record, and whether the decision closes any of them. */
typedef struct OwnConflicts
{
	int			n;
	bool		overtaken;
} OwnConflicts;

/* Those of the pending ones that the decision leaves nothing to decide of. */
static List *
find_overtaken(List *pending, const Change *change, const Record *before, const Decision *d,
			   OwnConflicts *own)
{
	List	   *overtaken = NIL;
	ListCell   *lc;

	foreach(lc, pending)
	{
		const Conflict *conflict = lfirst(lc);
		bool		is_own = strcmp(conflict->source, change->source) == 0;

		own->n += is_own;
		if (!conflict_overtaken(conflict, change, before, d))
			continue;
		own->overtaken |= is_own;
		overtaken = lappend(overtaken, lfirst(lc));
	}
	return overtaken;
}

bool
conflict_review(ConflictLog *conflicts, const Change *change, const Record *before,
				const Decision *d, ConflictReview *review, ChangeError *error)
{
	bool		manual = d->resolution == RESOLUTION_MANUAL;
	OwnConflicts own = {0};
	List	   *pending;

	MemSet(review, 0, sizeof(ConflictReview));
	if (!before->exists || (d->write == WRITE_NOTHING && !d->supersedes_own && !manual))
		return true;
	pending = conflict_log_pending(conflicts, change->entity, change->external_id, NULL);
	if (pending == NIL)
		return true;
	if (manual)
		review->same = find_same(conflicts, change, before);
	/* a conflict that is there already has closed the others in its time */
	if (review->same != 0)
		return true;
	review->overtaken = find_overtaken(pending, change, before, d, &own);
	if (!manual || own.n < setting_max_conflicts || own.overtaken)
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Decide them with sync_resolve; an administrator may raise syncext.max_conflicts.",
						"%d conflicts of source \"%s\" on the record wait for a decision already",
						own.n, change->source);
}

/*
 * While a conflict is pending its fields are held back from its source.  Once
 * it is closed, will the source hear of them without more ado?
 */
static bool
source_hears(const Conflict *conflict, const Change *change, const Decision *d)
{
	if (strcmp(conflict->source, change->source) != 0)
		return d->audience == AUDIENCE_OTHERS || d->audience == AUDIENCE_ALL;
	if (d->audience == AUDIENCE_ALL || d->audience == AUDIENCE_ORIGIN || change->deleted)
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
	JsonbParseState *state = json_begin_object();
	LogEntry	entry = logged_decision(conflict->entity, conflict->external_id, conflict->source,
									   &d->after, NULL);

	entry.resolution = RESOLUTION_SUPERSEDED;
	entry.audience = AUDIENCE_ORIGIN;
	json_push_number(&state, "conflictId", conflict->id);
	entry.detail = json_end_object(&state);
	change_log_append(log, &entry);
}

void
conflict_supersede(ConflictLog *conflicts, ChangeLog *log, List *overtaken, const Change *change,
				   const Decision *decision, int64 seq)
{
	foreach_ptr(Conflict, conflict, overtaken)
	{
		if (conflict_log_close_one(conflicts, conflict->id, "superseded",
								   resolution_name(decision->resolution), NULL, NULL, seq) &&
			!source_hears(conflict, change, decision))
			tell_source(log, conflict, decision);
	}
}
