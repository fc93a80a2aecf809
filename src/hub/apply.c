/*
 * apply.c
 *	  Deciding and writing one change.
 *
 * Called by hub/documents for sync_apply, by local/capture for edits of
 * attached tables and by load.  Read, decide, write if the row is still the
 * one that was decided on; else decide again.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "hub/apply.h"
#include "hub/apply_state.h"
#include "hub/clock.h"
#include "hub/closing.h"
#include "hub/limits.h"
#include "hub/visibility.h"
#include "model/clip.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "model/row_change.h"

/* Losing the race for a row this often, wait for it before deciding. */
#define OPTIMISTIC_TRIES	3

/* Where the ladder asks for ranks. */
typedef struct RankScope
{
	const Registry *registry;
	const char *entity;
} RankScope;

static int64
scope_rank(void *arg, const char *source, FieldName field)
{
	RankScope  *scope = arg;

	return registry_rank(registry_source(scope->registry, source), scope->entity, field);
}

/* Decide by the rules of the change's entity and source. */
void
apply_decide(const Registry *registry, const Change *change, const Record *record,
			 Decision *decision)
{
	const Entity *entity = registry_entity_required(registry, change->entity);
	RankScope	scope = {registry, change->entity};
	LadderRules rules = {
		.ladder = entity->ladder,
		.field_rules = &entity->field_rules,
		.single_writer = registry_source_required(registry, change->source)->single_writer,
		.rank = scope_rank,
		.rank_arg = &scope
	};

	ladder_decide(change, record, &rules, decision);
}

/*
 * Must the row be held though nothing is written to it?  Who adds or closes a
 * conflict holds its record: a write that overtakes a conflict then comes either
 * before it, and is decided against, or after it, and closes it; and conflicts
 * are always locked after records.
 */
static bool
touches_conflicts(ApplyCall *call, const Change *change, const Record *record,
				  const Decision *d)
{
	return d->resolution == RESOLUTION_MANUAL ||
		(record->exists && d->closes_own &&
		 closing_overtaken(call->conflicts, change, record, d) != NIL);
}

/* Carry the decision out on the golden record. */
static RowsOutcome
write_record(ApplyCall *call, const Change *change, const Record *record, const Decision *d)
{
	if (d->write != WRITE_NOTHING)
		return canonical_write(call->canonical, change->entity, change->external_id, &d->after);
	if (touches_conflicts(call, change, record, d))
		return canonical_lock(call->canonical);
	return ROWS_DONE;
}

/* What the log keeps of a change beside its fields; NULL where that says all. */
static Jsonb *
log_detail(const Change *change, const Decision *d, int64 conflict_id)
{
	JsonbParseState *state = NULL;
	FieldName	all = {"*", 1};
	FieldNames	whole = {1, &all};
	bool		other_version = change->has_version && change->version != d->after.version;

	if (!change->deleted && !change->created && !change->has_base && !other_version &&
		!change->has_updated_at && !d->lost_all && d->lost.n == 0 && conflict_id == 0)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (change->deleted)
		json_push_bool(&state, "deleted", true);
	if (change->created)
		json_push_bool(&state, "created", true);
	if (change->cascade)
		json_push_bool(&state, "cascade", true);
	if (change->has_base)
		json_push_number(&state, "base", change->base);
	if (other_version)
		json_push_number(&state, "version", change->version);
	if (change->has_updated_at)
		json_push_string(&state, "updatedAt", rfc3339_format(change->updated_at));
	if (d->lost_all || d->lost.n > 0)
	{
		json_push_key(&state, "lost");
		field_names_push(&state, d->lost_all ? &whole : &d->lost);
	}
	if (conflict_id != 0)
		json_push_number(&state, "conflictId", conflict_id);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Whom the log says is told: a filtered source of what leaves its filter, too. */
static Told
told_by_route(ApplyCall *call, const Change *change, const Decision *d)
{
	/* dropped since the document was read, perhaps */
	const Source *source = registry_source_required(call->registry, change->source);

	if (source->nroutes > 0 &&
		route_note_own(source, change->entity, change->external_id, &d->after, &call->routed,
					   call->context) &&
		d->told == TOLD_OTHERS)
		return TOLD_ALL;
	return d->told;
}

/* Append the change to the log, if it is of the kind that is logged. */
static int64
log_change(ApplyCall *call, const Change *change, const Decision *d, int64 conflict_id)
{
	LogEntry	entry = {
		.entity = change->entity,
		.external_id = change->external_id,
		.source = change->source,
		.version = d->after.version,
		.row_version = d->after.row_version,
		.resolution = d->resolution,
		.told = told_by_route(call, change, d)
	};

	if (d->resolution == RESOLUTION_NO_CHANGE || d->resolution == RESOLUTION_PRECONDITION_FAILED)
		return 0;
	entry.fields = fields_to_jsonb(&change->fields);
	entry.detail = log_detail(change, d, conflict_id);
	return change_log_append(call->log, &entry);
}

/* Find the record; after lost races, wait for whoever holds it first. */
static void
find_record(ApplyCall *call, const Change *change, int tries, Record *record)
{
	canonical_find(call->canonical, change->entity, change->external_id, record);
	if (tries >= OPTIMISTIC_TRIES && record->exists)
	{
		canonical_lock_newest(call->canonical);
		canonical_find(call->canonical, change->entity, change->external_id, record);
	}
}

/* ifMatch comes before references: what it refuses isn't parked. */
static bool
must_wait(ApplyCall *call, const Change *change, const Record *record, Answer *answer)
{
	RecordKey	parent;
	char	   *reason;

	if (ladder_precondition_fails(change, record) ||
		!dependency_must_wait(call->dependency, change, &parent, &reason))
		return false;
	answer->refused = !dependency_park(call->dependency, change, &parent, &answer->error);
	dependency_answer(record, reason, &answer->decision);
	return true;
}

/* Note what the write sets free, for the end of the call. */
void
apply_note(ApplyCall *call, const Change *change, const Record *before, const Decision *d)
{
	const Entity *entity = registry_entity_required(call->registry, change->entity);
	MemoryContext old;

	if (!entity->is_parent && !entity->tracks_parents)
		return;
	dependency_track(call->dependency, change, before, &d->after);
	old = MemoryContextSwitchTo(call->context);
	if (entity->is_parent && !before->exists)
	{
		RecordKey  *key = palloc(sizeof(RecordKey));

		key->entity = entity->name;
		key->external_id = pstrdup(change->external_id);
		call->consequences.arrived = lappend(call->consequences.arrived, key);
	}
	call->consequences.cascades = list_concat(call->consequences.cascades,
											  dependency_cascade(call->dependency, change));
	if (entity->tracks_parents && !d->after.deleted)
		dependency_late(call->dependency, change, before, &d->after, &call->consequences);
	MemoryContextSwitchTo(old);
}

/* Log the change, and settle the conflicts that it adds or overtakes. */
static void
log_and_close(ApplyCall *call, const Change *change, const Record *before, Answer *answer)
{
	Decision   *d = &answer->decision;
	List	   *overtaken = NIL;
	int64		seq;

	if (d->resolution == RESOLUTION_MANUAL)
		answer->conflict_id = closing_find_same(call->conflicts, change, before);
	/* a conflict that is there already has closed the others in its time */
	if (before->exists && answer->conflict_id == 0)
		overtaken = closing_overtaken(call->conflicts, change, before, d);
	if (d->resolution == RESOLUTION_MANUAL && answer->conflict_id == 0)
		answer->conflict_id = closing_add_conflict(call->conflicts, change, before, d);
	seq = log_change(call, change, d, answer->conflict_id);
	closing_close(call->conflicts, call->log, overtaken, change, d, seq);
}

bool
apply_within_limits(ConflictLog *conflicts, const Change *change, const Record *record,
					const Decision *decision, ChangeError *error)
{
	return limits_version(change, record, error) &&
		limits_record(change, record, decision, error) &&
		closing_has_room(conflicts, change, record, decision, error);
}

/* Would the record violate a CHECK that somebody has put on the table? */
static bool
violates_check(ApplyCall *call, const Change *change, Answer *answer)
{
	const char *violated;

	if (answer->decision.write == WRITE_NOTHING)
		return false;
	violated = canonical_violated(call->canonical, change->entity, change->external_id,
								  &answer->decision.after);
	if (violated == NULL)
		return false;
	return !change_error(&answer->error, ERRCODE_CHECK_VIOLATION,
						 "The constraint is the hub's own, on table syncext.canonical.",
						 "record \"%s\" of entity \"%s\" would violate check constraint \"%s\"",
						 clip_string(change->external_id, CLIP_QUOTE), change->entity, violated);
}

static bool
within_limits(ApplyCall *call, const Change *change, const Record *record, Answer *answer)
{
	answer->refused = !apply_within_limits(call->conflicts, change, record, &answer->decision,
										   &answer->error) ||
		violates_check(call, change, answer);
	return !answer->refused;
}

/* Is the record that was found a tombstone that the source has just made itself? */
static bool
is_own_grave(ApplyCall *call, const Change *change, const Record *record)
{
	return change->origin == ORIGIN_INSERT && record->exists && record->deleted &&
		strcmp(record->last_source, change->source) == 0 && canonical_is_ours(call->canonical);
}

/* Decide the change as it counts upon the record that was found. */
static const Change *
decide_upon(ApplyCall *call, const Change *change, const Record *record, Decision *d)
{
	Change	   *upon = palloc(sizeof(Change));
	const Change *counts = row_change_upon(change, record, is_own_grave(call, change, record),
										   upon);
	FieldNames	left_out = {0, NULL};

	if (change->if_absent)
	{
		*upon = *counts;
		counts = upon;
		row_change_leave_out(upon, record, &left_out);
	}
	apply_decide(call->registry, counts, record, d);
	row_change_tell(&left_out, d);
	return counts;
}

/*
 * Decide and write until nobody came between.  Returns the record before, and in
 * *counts the change as it counts upon that.
 */
static Record
decide_and_write(ApplyCall *call, const Change *change, bool released, const Change **counts,
				 Answer *answer)
{
	Decision   *d = &answer->decision;
	Change	   *said = palloc(sizeof(Change));
	Record		record;

	for (int tries = 0;; tries++)
	{
		CHECK_FOR_INTERRUPTS();
		find_record(call, change, tries, &record);
		*counts = change_as_it_counts(change, said);
		if (!released && must_wait(call, *counts, &record, answer))
			return record;
		*counts = decide_upon(call, change, &record, d);
		if (dependency_restricts(call->dependency, *counts, &record, d) ||
			!within_limits(call, *counts, &record, answer))
			return record;
		if (write_record(call, *counts, &record, d) == ROWS_DONE)
			return record;
	}
}

/* Where a change comes from: what it still has to wait for, and who must hear of it. */
typedef enum Origin
{
	ORIGIN_SENT,
	ORIGIN_RELEASED,			/* it waits for no parent: it has, or was decided elsewhere */
	ORIGIN_OWN					/* the hub's own doing: its source has to hear of it, too */
} Origin;

/*
 * A change of a record that its source isn't shown goes beyond a limit: that would
 * tell of the record.  So the source isn't told, and administrators read it in the log.
 */
static void
tell_server(const Answer *answer)
{
	const Change *change = answer->change;

	ereport(LOG_SERVER_ONLY,
			(errmsg("a change of %s %s by source \"%s\", which isn't shown the record, was refused: %s",
					change->entity, change->external_id, change->source, answer->error.message)));
}

static void
apply_one(ApplyCall *call, const Change *sent, Origin origin, Answer *answer)
{
	Change		bounded;
	const Change *change = clock_bound(sent, &bounded);
	const Change *counts;
	Record		before;

	answer->change = sent;
	answer->conflict_id = 0;
	answer->refused = false;
	before = decide_and_write(call, change, origin != ORIGIN_SENT, &counts, answer);
	answer->hidden = !visibility_answers(call->registry, change, &before, call->canonical);
	if (answer->refused)
	{
		if (answer->hidden)
			tell_server(answer);
		answer->decision.write = WRITE_NOTHING;
		return;
	}
	if (origin == ORIGIN_OWN && answer->decision.told == TOLD_OTHERS)
		answer->decision.told = TOLD_ALL;
	clock_tell(sent, change, &answer->decision);
	if (answer->decision.write != WRITE_NOTHING)
		apply_note(call, counts, &before, &answer->decision);
	log_and_close(call, counts, &before, answer);
}

void
apply_document(ApplyCall *call, const Change *change, Answer *answer)
{
	apply_one(call, change, ORIGIN_SENT, answer);
}

/* For who can't go on as if nothing had been said: a change would be lost. */
static void
raise_refused(const Answer *answer)
{
	if (answer->refused)
		change_raise(&answer->error);
}

bool
apply_is_known(ApplyCall *call, const char *entity, const char *external_id, const char *source)
{
	Record		record;

	canonical_find(call->canonical, entity, external_id, &record);
	return row_change_last_word(&record, source) > 0;
}

void
apply_change(ApplyCall *call, const Change *change, Answer *answer)
{
	apply_one(call, change, ORIGIN_SENT, answer);
	/* or whoever edits a table would learn of a record that its source isn't shown */
	if (!answer->hidden)
		raise_refused(answer);
}

bool
apply_available(ApplyCall *call, const Change *change)
{
	Record		record;

	canonical_find(call->canonical, change->entity, change->external_id, &record);
	return canonical_try_lock(call->canonical);
}

bool
apply_hold(ApplyCall *call, const Change *change)
{
	Record		record;

	for (int tries = 0;; tries++)
	{
		CHECK_FOR_INTERRUPTS();
		find_record(call, change, tries, &record);
		if (!record.exists)
			return false;
		if (canonical_lock(call->canonical) == ROWS_DONE)
			return true;
	}
}

void
apply_released(ApplyCall *call, const Change *change, Answer *answer)
{
	apply_one(call, change, ORIGIN_RELEASED, answer);
	raise_refused(answer);
}

void
apply_own(ApplyCall *call, const Change *change, Answer *answer)
{
	apply_one(call, change, ORIGIN_OWN, answer);
	raise_refused(answer);
}
