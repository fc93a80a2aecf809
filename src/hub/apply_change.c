/*
 * apply_change.c
 *	  Deciding and writing one change.
 *
 * Read the record, decide, write if the row is still the one that was decided on;
 * else decide again.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "errcodes.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/by_alias.h"
#include "hub/clock_skew.h"
#include "hub/conflict.h"
#include "hub/limits.h"
#include "hub/logged_change.h"
#include "hub/parked.h"
#include "hub/rule_function.h"
#include "hub/visibility.h"
#include "model/clip.h"
#include "model/field_ladder.h"
#include "model/row_change.h"
#include "process/stat.h"
#include "process/subxact.h"
#include "storage/registry.h"

/* Losing the race for a row this often, wait for it before deciding. */
#define OPTIMISTIC_TRIES	3

/* What the ladder's questions for ranks are answered from. */
typedef struct RankScope
{
	const Registry *registry;
	const Entity *entity;
} RankScope;

static int64
scope_rank(void *arg, const char *source, FieldName field)
{
	RankScope  *scope = arg;

	return registry_rank(registry_source(scope->registry, source), scope->entity->name, field);
}

/* ---------- deciding ---------- */

void
apply_decide_by_rules(ApplyCall *call, const ApplyItem *item, const Record *record,
					  Decision *decision)
{
	RankScope	scope = {call->registry, item->entity};
	RuleScope	rule_scope = {item->entity, scope_rank, &scope};
	LadderRules rules = {
		.ladder = item->entity->ladder,
		.deletes = item->entity->deletes,
		.field_rules = &item->entity->field_rules,
		.single_writer = item->source != NULL && item->source->single_writer,
		.rank = scope_rank,
		.rank_arg = &scope,
		.function = rule_function_decide,
		.function_arg = &rule_scope
	};

	if (rules.ladder & RUNG_FIELD)
		field_ladder_decide(item->change, record, &rules, decision);
	else
		ladder_decide(item->change, record, &rules, decision);
}

/* Is the record that was found a tombstone that the source has just made itself? */
static bool
is_own_grave(ApplyCall *call, const Change *change, const Record *record)
{
	return change->origin == ORIGIN_INSERT && record->exists && record->deleted &&
		strcmp(record->last_source, change->source) == 0 && canonical_is_ours(call->canonical);
}

/*
 * What a link brings back of a record that was erased nobody has set since the spoke knew it:
 * an edit that others have made on the same is no contest of that.
 */
static void
date_back(const Change *change, Decision *d)
{
	for (int i = 0; i < d->after.nfields; i++)
	{
		Stamp	   *stamp = &d->after.fields[i].stamp;

		stamp->row_version = Min(stamp->row_version, change->base);
	}
}

/* Decide the change as it counts upon the record. */
static void
decide_upon(ApplyCall *call, const Change *change, const Record *record, Counted *counted,
			Decision *d)
{
	Ladder		ladder = counted->item.entity->ladder;
	bool		own_grave = is_own_grave(call, change, record);
	const Change *upon = ladder & RUNG_FIELD ?
		field_ladder_upon(change, record, ladder, own_grave, &counted->upon) :
		row_change_upon(change, record, own_grave, &counted->upon);
	FieldNames	left_out = {0};

	if (change->if_absent)
	{
		counted->upon = *upon;
		upon = &counted->upon;
		row_change_leave_out(&counted->upon, record, &counted->item.entity->field_rules,
							 &left_out);
	}
	counted->item.change = upon;
	if (change->if_absent && upon->fields.n == 0 && (ladder & RUNG_FIELD))
		field_ladder_let_stand(record, false, "the record has these fields", d);
	else
		apply_decide_by_rules(call, &counted->item, record, d);
	if (change->created && change->if_absent && change->has_base && change->base > 0 &&
		d->resolution == RESOLUTION_NEW_RECORD)
		date_back(change, d);
	row_change_tell(&left_out, d);
}

/* A record that is tried on the table before it is written. */
typedef struct Trial
{
	Canonical  *canonical;
	const Change *change;
	const Record *record;
	const char *violated;		/* the CHECK that is false, or NULL */
	const char *constraint;		/* the CHECK that is being evaluated, or NULL */
} Trial;

static void
run_trial(void *arg)
{
	Trial	   *trial = arg;

	trial->violated = canonical_violated(trial->canonical, trial->change->entity,
										 trial->change->external_id, trial->record,
										 &trial->constraint);
}

#define GUARD_HINT	"The constraint is the hub's own, on table syncext.canonical."

/*
 * Would the table's CHECKs, columns or indexes that a DBA has added refuse the record,
 * by being violated or by raising an error?
 */
static bool
violates_guard(ApplyCall *call, const Change *change, Answer *answer)
{
	Trial		trial = {call->canonical, change, &answer->decision.after, NULL, NULL};
	const char *id = clip_string(change->external_id, CLIP_QUOTE);
	ErrorData  *error;

	if (!call->write || answer->decision.write == WRITE_NOTHING ||
		!canonical_guarded(call->canonical))
		return false;
	error = subxact_try(run_trial, &trial);
	if (error == NULL)
		return trial.violated != NULL &&
			!change_error(&answer->error, ERRCODE_CHECK_VIOLATION, GUARD_HINT,
						  "record \"%s\" of entity \"%s\" would violate check constraint \"%s\"",
						  id, change->entity, trial.violated);
	if (subxact_error_passes(error->sqlerrcode))
		ReThrowError(error);
	if (trial.constraint != NULL)
		return !change_error(&answer->error, ERRCODE_CHECK_VIOLATION, GUARD_HINT,
							 "record \"%s\" of entity \"%s\" fails check constraint \"%s\": %s",
							 id, change->entity, trial.constraint, error->message);
	return !change_error(&answer->error, error->sqlerrcode,
						 "A column or an index that was added to the table syncext.canonical raises it.",
						 "record \"%s\" of entity \"%s\" cannot be stored: %s", id, change->entity,
						 error->message);
}

/* May the change be decided, and the decision be carried out?  Else *answer says why. */
static bool
within_limits(ApplyCall *call, const Change *change, const Record *record, Answer *answer)
{
	const char *refused = answer->decision.refused;

	if (refused != NULL)
		return change_error(&answer->error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Set the field to a number, or to null.", "%s", refused);
	return limits_version(change, record, &answer->error) &&
		limits_record(change, record, &answer->decision, &answer->error) &&
		!violates_guard(call, change, answer);
}

/* A source whose new record is one that was there has to hear what that has. */
static void
tell_linked(const Change *change, Decision *d)
{
	d->reason = psprintf("%s; it is this record by match rule \"%s\"", d->reason,
						 change->matched_by);
	if (d->resolution == RESOLUTION_DEPENDENCY_WAIT)
		return;
	if (d->audience == AUDIENCE_OTHERS)
		d->audience = AUDIENCE_ALL;
	else if (d->audience == AUDIENCE_NONE)
		d->audience = AUDIENCE_ORIGIN;
}

/*
 * A source that names a record by an id which is no more has to hear what that is now, also
 * where the record says so already.
 */
static void
tell_referring(Decision *d)
{
	if (d->audience == AUDIENCE_OTHERS)
		d->audience = AUDIENCE_ALL;
	else if (d->resolution == RESOLUTION_NO_CHANGE && d->audience == AUDIENCE_NONE)
		d->audience = AUDIENCE_ORIGIN;
}

/*
 * Would a link's edit make a record of its own few fields, which others would get?  The spoke
 * has all of the record, and is asked for it; but not one that isn't shown the record, for it
 * would learn that there is none.
 */
static bool
is_part_of_nothing(ApplyCall *call, const ApplyItem *sent, const Record *record)
{
	return sent->change->from_link && parked_is_unheard(call, sent->change, record) &&
		visibility_answers(sent, record, call->canonical);
}

void
apply_decide_fully(ApplyCall *call, const ApplyItem *sent, const Record *record, bool released,
				   Counted *counted, Answer *answer)
{
	Decision   *d = &answer->decision;
	const Change *bounded = clamp_updated_at(sent, &counted->clamped);
	const Change *referring = by_alias_refer(call, sent->entity, bounded, &counted->referred);
	const Change *taken = field_rules_tell(&sent->entity->field_rules, referring, &counted->told);
	ApplyItem  *item = &counted->item;

	*item = *sent;
	item->change = change_as_it_counts(taken, &counted->said);
	/* what a hub had decided before it went back in time comes with that hub's own time */
	answer->refused = ((!released || sent->change->recovered > 0) &&
					   !clock_within_bounds(sent, &answer->error)) ||
		(!released && !field_rules_check_increments(&item->entity->field_rules, item->change,
													&answer->error));
	if (answer->refused)
	{
		field_ladder_let_stand(record, true, answer->error.message, d);
		return;
	}
	if (by_alias_decide(item->change, record, d))
		return;
	answer->unheard = !released && is_part_of_nothing(call, sent, record);
	if (answer->unheard)
	{
		field_ladder_let_stand(record, false, "there is no such record any more: all of it is needed", d);
		d->status = 412;
		d->resolution = RESOLUTION_PRECONDITION_FAILED;
		return;
	}
	/* ifMatch comes before references: what it refuses isn't parked */
	if (released || ladder_precondition_fails(item->change, record) != NULL ||
		!parked_must_wait(call, item, record, answer))
	{
		decide_upon(call, taken, record, counted, d);
		if (!references_restrict(call->references, item, record, d))
			answer->refused = !within_limits(call, item->change, record, answer);
	}
	explain_clamped(sent->change, bounded, d);
	if (sent->change->matched_by != NULL)
		tell_linked(sent->change, d);
	by_alias_tell(sent, record, d);
	if (referring->refers_anew)
		tell_referring(d);
}

/* ---------- logging ---------- */

/* The audience that the log names: a filtered source hears of what leaves its filter. */
static Audience
audience_with_filter(ApplyCall *call, const ApplyItem *item, const Decision *d)
{
	const Change *change = item->change;

	/* by the id of another it has not written what it would be told is gone */
	if (item->source->nroutes > 0 && change->alias_merge == 0 &&
		route_note_own(item->source, change->entity, change->external_id, &d->after,
					   &call->routed, call->context) &&
		d->audience == AUDIENCE_OTHERS)
		return AUDIENCE_ALL;
	return d->audience;
}

/*
 * What changes nothing is logged where it moves a stamp, as later contests may go by that;
 * and where a record was linked, or it refers to another one, which its source is to be told.
 */
static bool
is_logged(const Change *change, const Decision *d)
{
	if (d->resolution == RESOLUTION_NO_CHANGE && change->refers_anew)
		return true;
	return change->matched_by != NULL || (d->resolution != RESOLUTION_PRECONDITION_FAILED &&
		(d->resolution != RESOLUTION_NO_CHANGE || d->write != WRITE_NOTHING));
}

/* Append the change to the log, if it is of the kind that is logged. */
static int64
log_change(ApplyCall *call, const ApplyItem *item, const Record *before, List *overtaken,
		   const Decision *d, int64 conflict_id)
{
	const Change *change = item->change;
	LogEntry	entry = {
		.entity = change->entity,
		.external_id = change->external_id,
		.source = change->source,
		.version = d->after.version,
		.row_version = d->after.row_version,
		.has_base = change->has_base,
		.base = change->base,
		.has_updated_at = change->has_updated_at,
		.updated_at = change->updated_at,
		.resolution = d->resolution,
		.audience = audience_with_filter(call, item, d)
	};

	if (!is_logged(change, d))
		return 0;
	entry.fields = change_fields_jsonb(change);
	entry.detail = logged_change_detail(change, before, d, overtaken, conflict_id);
	return change_log_append(call->log, &entry);
}

static void
note_arrival(ApplyCall *call, const Entity *entity, const char *id)
{
	MemoryContext old = MemoryContextSwitchTo(call->context);
	RecordKey  *key = palloc(sizeof(RecordKey));

	key->entity = entity->name;
	key->external_id = pstrdup(id);
	call->consequences.arrived = lappend(call->consequences.arrived, key);
	MemoryContextSwitchTo(old);
}

void
apply_note_key(ApplyCall *call, const Change *change)
{
	const Entity *entity = registry_entity(call->registry, change->entity);

	if (entity != NULL && entity->is_parent)
		note_arrival(call, entity, change->source_id);
}

/* Keep the keys by which match rules find the record. */
static void
match_record(ApplyCall *call, const ApplyItem *item, const Record *before, const Record *after)
{
	if (call->matching == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(call->context);

		call->matching = matching_open();
		MemoryContextSwitchTo(old);
	}
	matching_track(call->matching, item, before, after);
}

/* Note what the write sets off, for the end of the call. */
void
apply_note(ApplyCall *call, const ApplyItem *item, const Record *before, const Decision *d)
{
	const Entity *entity = item->entity;
	MemoryContext old;

	if (entity->nmatches > 0)
		match_record(call, item, before, &d->after);
	if (!entity->is_parent && !entity->tracks_parents)
		return;
	references_track(call->references, item, before, &d->after);
	old = MemoryContextSwitchTo(call->context);
	if (entity->is_parent && !before->exists)
		note_arrival(call, entity, item->change->external_id);
	/* in a field ladder the record may have outlived a delete */
	if (d->after.deleted)
		call->consequences.cascades = list_concat(call->consequences.cascades,
												  references_cascade(call->references, item));
	if (entity->tracks_parents && !d->after.deleted)
		references_late(call->references, item, before, &d->after, &call->consequences);
	MemoryContextSwitchTo(old);
}

void
apply_note_merged(ApplyCall *call, const ApplyItem *item, const Record *before,
				  const Record *after)
{
	if (item->entity->nmatches > 0)
		match_record(call, item, before, after);
	references_track(call->references, item, before, after);
}

/* Log the change, and settle the conflicts that it adds or overtakes. */
static void
log_and_close(ApplyCall *call, const ApplyItem *item, const Record *before,
			  const ConflictReview *review, Answer *answer)
{
	Decision   *d = &answer->decision;
	int64		seq;

	answer->conflict_id = review->same;
	if (d->resolution == RESOLUTION_MANUAL && answer->conflict_id == 0)
	{
		answer->conflict_id = conflict_add(call->conflicts, item->change, before, d);
		if (call->pending != NULL)
			pending_ahead_added(call->pending, item->change->external_id);
	}
	seq = log_change(call, item, before, review->overtaken, d, answer->conflict_id);
	conflict_supersede(call->conflicts, call->log, review->overtaken, item->change, d, seq);
}

/* ---------- writing ---------- */

/* Find the record; after lost races, wait for the transaction that holds it first. */
static void
find_record(ApplyCall *call, const Change *change, int tries, Record *record)
{
	canonical_find(call->canonical, change->entity, change->external_id, record);
	if (tries >= OPTIMISTIC_TRIES && record->exists)
	{
		canonical_lock_newest(call->canonical);
		canonical_find(call->canonical, change->entity, change->external_id, record);
	}
	/* what this hub has lost gets the row version that it had */
	if (change->recovered > 0)
		record->floor = Max(record->floor, change->recovered - 1);
}

/* Is a record of the entity asked for when another one of it is written? */
static bool
refers_to_itself(const Entity *entity)
{
	for (int i = 0; i < entity->nreferences; i++)
		if (strcmp(entity->references[i].parent, entity->name) == 0)
			return true;
	return false;
}

/*
 * Does nobody ask for the new record before the call ends, but by its own id?  Changes that wait
 * for it are looked for after that, and parents are records of other entities.
 */
static bool
may_wait(ApplyCall *call, const Change *change, const Record *record)
{
	const Entity *entity = registry_entity_required(call->registry, change->entity);

	return !record->exists && change->source_id == NULL && change->alias == NULL &&
		!refers_to_itself(entity) && !entity->merged && entity->nmatches == 0 &&
		entity->field_rules.n == 0 && !canonical_guarded(call->canonical);
}

static RowsOutcome
write_decided(ApplyCall *call, const Change *change, const Record *record, const Decision *d)
{
	if (call->births_wait && may_wait(call, change, record) &&
		canonical_insert_later(call->canonical, change->entity, change->external_id, &d->after))
		return ROWS_DONE;
	return canonical_write(call->canonical, change->entity, change->external_id, &d->after);
}

/* conflict_review(), but where it is known already that there are none. */
static bool
review_conflicts(ApplyCall *call, const Change *change, const Record *record, const Decision *d,
				 ConflictReview *review, ChangeError *error)
{
	if (call->pending != NULL && record->exists &&
		pending_ahead_none(call->pending, change->entity, change->external_id))
	{
		MemSet(review, 0, sizeof(ConflictReview));
		return true;
	}
	return conflict_review(call->conflicts, change, record, d, review, error);
}

/*
 * Carry the decision out on the golden record.  A change that adds or closes a conflict
 * holds its record, though nothing may be written to it: a write that overtakes a
 * conflict then comes either before it, and is decided against, or after it, and closes
 * it; and conflicts are always locked after records.  So they are read with the record
 * held; but a change that writes nothing holds it only where there is one to close.
 */
static RowsOutcome
write_record(ApplyCall *call, const Change *change, const Record *record,
			 ConflictReview *review, Answer *answer)
{
	const Decision *d = &answer->decision;
	RowsOutcome outcome;

	if (d->write == WRITE_NOTHING && d->resolution != RESOLUTION_MANUAL)
	{
		(void) review_conflicts(call, change, record, d, review, &answer->error);
		if (review->overtaken == NIL)
			return ROWS_DONE;
	}
	outcome = d->write == WRITE_NOTHING ? canonical_lock(call->canonical) :
		write_decided(call, change, record, d);
	if (outcome == ROWS_DONE)
		answer->refused = !review_conflicts(call, change, record, d, review, &answer->error);
	return outcome;
}

/*
 * Where the record isn't there any more: is the change of the one that it was merged into?
 * Then sent is of that, which is found; as it is found after its alias, and that once more
 * after it, the two are of one time, whoever undoes the merge meanwhile.
 */
static void
follow_alias(ApplyCall *call, ApplyItem *sent, const Change *change, int tries, Record *record)
{
	Change	   *renamed = palloc(sizeof(Change));

	sent->change = change;
	find_record(call, change, tries, record);
	while ((record->exists ? record->deleted : sent->entity->merged) &&
		   by_alias_follow(call, change, renamed))
	{
		CHECK_FOR_INTERRUPTS();
		find_record(call, renamed, tries, record);
		sent->change = renamed;
		if (by_alias_stands(call, renamed))
			return;
		sent->change = change;
		find_record(call, change, tries, record);
	}
}

/*
 * Decide and write until no other transaction came between.  Returns the record as it
 * was before; where the change's own was merged into another one, sent is of that then.
 */
static Record
decide_and_write(ApplyCall *call, ApplyItem *sent, bool released, Counted *counted,
				 ConflictReview *review, Answer *answer)
{
	const Change *change = sent->change;
	Record		record;

	for (int tries = 0;; tries++)
	{
		CHECK_FOR_INTERRUPTS();
		follow_alias(call, sent, change, tries, &record);
		apply_decide_fully(call, sent, &record, released, counted, answer);
		if (answer->refused ||
			write_record(call, counted->item.change, &record, review, answer) == ROWS_DONE)
			return record;
	}
}

/* Where a change comes from: what it still has to wait for, and which sources hear of it. */
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
			(errmsg("a change of %s %s by source \"%s\", which is not shown the record, was refused: %s",
					change->entity, change->external_id, change->source, answer->error.message)));
}

static void
apply_one(ApplyCall *call, const Change *change, Origin origin, Answer *answer)
{
	ApplyItem	sent = apply_item(call->registry, change);
	Decision   *d = &answer->decision;
	ConflictReview review = {0};
	Counted		counted;
	Record		before;
	bool		released;

	answer->change = change;
	answer->conflict_id = 0;
	answer->unheard = false;
	/* what had been decided before this hub went back in time waits for no parent */
	released = origin != ORIGIN_SENT || change->recovered > 0;
	before = decide_and_write(call, &sent, released, &counted, &review, answer);
	answer->change = change = sent.change;
	answer->born = !before.exists || before.deleted;
	answer->hidden = !visibility_answers(&sent, &before, call->canonical);
	if (answer->refused)
	{
		if (answer->hidden)
			tell_server(answer);
		d->write = WRITE_NOTHING;
		stat_change(change->source, change->entity, STAT_REFUSED, 0, 0);
		return;
	}
	stat_change(change->source, change->entity, d->resolution, d->changed.n,
				d->lost_all ? change->fields.n : d->lost.n);
	if (origin == ORIGIN_OWN && d->audience == AUDIENCE_OTHERS)
		d->audience = AUDIENCE_ALL;
	if (d->write != WRITE_NOTHING)
		apply_note(call, &counted.item, &before, d);
	if (d->write != WRITE_NOTHING && change->recovered > 0)
		parked_remind(call, &sent, &d->after);
	log_and_close(call, &counted.item, &before, &review, answer);
	by_alias_remind(call, &sent, d);
}

void
apply_document(ApplyCall *call, const Change *change, Answer *answer)
{
	apply_one(call, change, ORIGIN_SENT, answer);
}

/* Where the caller can't answer that it was refused, the change would be lost unseen. */
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
	/* raised, it would tell the editor of a table of a record that its source isn't shown */
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
