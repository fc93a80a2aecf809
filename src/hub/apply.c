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

#include "hub/answer.h"
#include "hub/apply.h"
#include "hub/closing.h"
#include "model/rfc3339.h"
#include "storage/canonical.h"
#include "storage/change_log.h"
#include "storage/conflict_log.h"

/* Losing the race for a row this often, wait for it before deciding. */
#define OPTIMISTIC_TRIES	3

struct ApplyCall
{
	const Registry *registry;
	Canonical  *canonical;
	ChangeLog  *log;
	ConflictLog *conflicts;
};

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
	RankScope	scope = {registry, change->entity};
	LadderRules rules = {
		.ladder = registry_entity(registry, change->entity)->ladder,
		.single_writer = registry_source(registry, change->source)->single_writer,
		.rank = scope_rank,
		.rank_arg = &scope
	};

	ladder_decide(change, record, &rules, decision);
}

ApplyCall *
apply_begin(const Registry *registry)
{
	ApplyCall  *call = palloc0(sizeof(ApplyCall));

	call->registry = registry;
	call->canonical = canonical_open(true);
	call->log = change_log_open(registry->current_log);
	call->conflicts = conflict_log_open(true);
	return call;
}

void
apply_end(ApplyCall *call)
{
	conflict_log_close(call->conflicts);
	change_log_close(call->log);
	canonical_close(call->canonical);
	pfree(call);
}

/*
 * Carry the decision out on the golden record.  A conflict for review writes
 * nothing there, but holds the row, so that a write that overtakes it comes
 * either before it, and is decided against, or after it, and closes it.
 */
static RowsOutcome
write_record(ApplyCall *call, const Change *change, const Decision *d)
{
	if (d->write != WRITE_NOTHING)
		return canonical_write(call->canonical, change->entity, change->external_id, &d->after);
	if (d->resolution == RESOLUTION_MANUAL)
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

	if (!change->deleted && !change->has_base && !other_version && !change->has_updated_at &&
		!d->lost_all && d->lost.n == 0 && conflict_id == 0)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	if (change->deleted)
		json_push_bool(&state, "deleted", true);
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
		.told = d->told
	};

	if (d->resolution == RESOLUTION_NO_CHANGE || d->resolution == RESOLUTION_PRECONDITION_FAILED)
		return 0;
	entry.fields = fields_to_jsonb(&change->fields);
	entry.detail = log_detail(change, d, conflict_id);
	return change_log_append(call->log, &entry);
}

void
apply_change(ApplyCall *call, const Change *change, Answer *answer)
{
	Decision   *d = &answer->decision;
	Record		record;
	int			tries = 0;
	int64		seq;

	answer->change = change;
	answer->conflict_id = 0;
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(call->canonical, change->entity, change->external_id, &record);
		if (tries >= OPTIMISTIC_TRIES && record.exists)
		{
			canonical_lock_newest(call->canonical);
			canonical_find(call->canonical, change->entity, change->external_id, &record);
		}
		apply_decide(call->registry, change, &record, d);
		if (write_record(call, change, d) == ROWS_DONE)
			break;
		tries++;
	}
	if (d->resolution == RESOLUTION_MANUAL)
		answer->conflict_id = closing_find_same(call->conflicts, change, &record);
	if (d->resolution == RESOLUTION_MANUAL && answer->conflict_id == 0)
	{
		List	   *overtaken = closing_overtaken(call->conflicts, change, &record, d);

		answer->conflict_id = closing_add_conflict(call->conflicts, change, &record, d);
		seq = log_change(call, change, d, answer->conflict_id);
		closing_close(call->conflicts, call->log, overtaken, change, d, seq);
		return;
	}
	seq = log_change(call, change, d, answer->conflict_id);
	if (record.exists && d->resolution != RESOLUTION_MANUAL)
		closing_close(call->conflicts, call->log,
					  closing_overtaken(call->conflicts, change, &record, d), change, d, seq);
}
