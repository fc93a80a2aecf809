/*
 * apply_call.c
 *	  A call of the hub: its open tables, and what its changes set off.
 *
 * Called by whoever applies changes: hub/documents, hub/resolve, local/capture
 * and local/work, hub/sweep.  Tables stay open for the whole call, as opening
 * them costs as much as a change.  At its end come, in the same transaction, the
 * records that go with a deleted one, and the changes that waited for a new one.
 */
#include "postgres.h"

#include <limits.h>

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/apply_call.h"
#include "hub/apply_state.h"
#include "settings.h"

/* How many parked changes are released by who sends their parent. */
#define RELEASED_AT_ONCE		500

ApplyCall *
apply_begin(const Registry *registry)
{
	ApplyCall  *call = palloc0(sizeof(ApplyCall));

	call->context = CurrentMemoryContext;
	call->canonical = canonical_open(true);
	/* opening may have waited for who was changing the rules just now */
	call->registry = registry = registry_get();
	call->log = change_log_open(registry->current_log);
	call->conflicts = conflict_log_open(true);
	call->dependency = dependency_begin(registry, true);
	return call;
}

Dependency *
apply_dependency(ApplyCall *call)
{
	return call->dependency;
}

static void
apply_close(ApplyCall *call)
{
	dependency_end(call->dependency);
	if (call->routed != NULL)
		routed_close(call->routed);
	conflict_log_close(call->conflicts);
	change_log_close(call->log);
	canonical_close(call->canonical);
	pfree(call);
}

/* ---------- one parked change ---------- */

/* Read the parked document again, against today's names and ladders. */
static bool
reread(const Registry *registry, const WaitingChange *w, Change *change, ChangeError *error)
{
	ChangeLimits limits = {.max_fields = INT_MAX, .own = true};	/* it was let in once */
	const Entity *entity;

	/* it was edited since */
	if (!JB_ROOT_IS_OBJECT(w->change))
		return change_not_object(error);
	if (!change_parse(&w->change->root, &limits, change, error))
		return false;
	entity = registry_entity(registry, change->entity);
	if (entity == NULL || registry_source(registry, change->source) == NULL)
		return change_error(error, ERRCODE_SYNC_UNKNOWN_NAME, NULL,
							"source \"%s\" or entity \"%s\" does not exist any more",
							change->source, change->entity);
	return ladder_check_change(entity->ladder, change, error);
}

/* One more attempt was in vain. */
static void
count_attempt(const Registry *registry, WaitingChange *w)
{
	const Source *source = registry_source(registry, w->source);

	w->attempts++;
	w->next_attempt = dependency_next_attempt(w->parked_at, GetCurrentTimestamp(), w->attempts,
											  source ? source->retry_cap : 0);
	w->error = psprintf("%s %s has not arrived", w->parent_entity, w->parent_id);
}

/*
 * Must the change stay parked?  Then *w says for what and until when: for another
 * parent, behind an earlier change of its record, for whoever holds the record,
 * or as a dead letter.
 */
static bool
stays_parked(ApplyCall *call, WaitingChange *w, Change *change, bool attempted)
{
	ChangeError error;
	RecordKey	parent;
	bool		missing;

	if (!reread(call->registry, w, change, &error))
	{
		w->next_attempt = DT_NOEND;
		w->error = error.message;
		return true;
	}
	missing = dependency_missing(call->dependency, change, &parent);
	if (missing || dependency_ahead(call->dependency, change, w->id, &parent))
	{
		w->parent_entity = parent.entity;
		w->parent_id = parent.external_id;
		if (attempted && missing)
			count_attempt(call->registry, w);
		else if (attempted)
			w->next_attempt = GetCurrentTimestamp() + (int64) setting_waiting_retry * 1000;
		return true;
	}
	if (apply_available(call, change))
		return false;
	/* the next sweep finds whoever holds the record gone */
	w->next_attempt = GetCurrentTimestamp();
	return true;
}

/* Apply the change, or write back why it stays; true if it is parked no longer. */
static bool
release_or_park(WaitingChange *w, bool attempted)
{
	ApplyCall  *call = apply_begin(registry_get());
	Change		change;
	Answer		answer;
	bool		stays = stays_parked(call, w, &change, attempted);

	if (stays)
		(void) waiting_update(dependency_waiting(call->dependency), w);
	else if (waiting_take(dependency_waiting(call->dependency), w->id))
		apply_released(call, &change, &answer);
	apply_end(call);
	return !stays;
}

/* Errors that say nothing of the change itself: they end the transaction. */
static bool
is_passing_error(int sqlerrcode)
{
	switch (ERRCODE_TO_CATEGORY(sqlerrcode))
	{
		case ERRCODE_TRANSACTION_ROLLBACK:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE:
			return true;
		default:
			return false;
	}
}

static void
keep_as_dead_letter(WaitingChange *w, const char *message)
{
	Waiting    *waiting = waiting_open(true);

	w->next_attempt = DT_NOEND;
	w->error = message;
	(void) waiting_update(waiting, w);
	waiting_close(waiting);
}

/*
 * Release one parked change in a subtransaction.  Whatever is wrong with it, a
 * constraint that it violates for one, is kept with it: the transaction that
 * sets it free has nothing to do with it.
 */
static bool
release_one(WaitingChange *w, bool attempted)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool released = false;

	check_stack_depth();
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		released = release_or_park(w, attempted);
		ReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (is_passing_error(error->sqlerrcode))
			ReThrowError(error);
		keep_as_dead_letter(w, error->message);
	}
	PG_END_TRY();
	return released;
}

int
apply_parked(List *parked, bool attempted)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext item = AllocSetContextCreate(outer, "syncext parked change",
											   ALLOCSET_DEFAULT_SIZES);
	ListCell   *lc;
	int			released = 0;

	foreach(lc, parked)
	{
		/* a copy, as what it waits for next lives no longer than the item */
		WaitingChange w = *(const WaitingChange *) lfirst(lc);

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(item);
		released += release_one(&w, attempted);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(item);
	}
	MemoryContextDelete(item);
	return released;
}

/* ---------- what a call sets off ---------- */

int
apply_portion(const char *parent_entity, const char *parent_id, int n)
{
	MemoryContext portion = AllocSetContextCreate(CurrentMemoryContext, "syncext parked changes",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext outer = MemoryContextSwitchTo(portion);
	Waiting    *waiting = waiting_open(true);
	List	   *parked = waiting_for_parent(waiting, parent_entity, parent_id, n);
	int			released = apply_parked(parked, false);

	if (parked != NIL)
		waiting_hand_on(waiting, parent_entity, parent_id,
						((WaitingChange *) llast(parked))->id);
	waiting_close(waiting);
	MemoryContextSwitchTo(outer);
	MemoryContextDelete(portion);
	return released;
}

/* Delete a record because its parent was deleted, if that still is its parent. */
static void
delete_child(ApplyCall *call, const Cascade *cascade)
{
	Record		record;
	Change		change = {
		.entity = cascade->key.entity,
		.external_id = cascade->key.external_id,
		.source = cascade->source,
		.deleted = true,
		.has_base = true
	};
	Answer		answer;

	canonical_find(call->canonical, cascade->key.entity, cascade->key.external_id, &record);
	if (!dependency_refers(&record, cascade->field, cascade->parent_id))
		return;
	change.base = record.row_version;
	/* who deleted the parent has the child still, perhaps */
	apply_own(call, &change, &answer);
}

/*
 * Bring a deleted record back whole, as it was, because another refers to it that
 * may not be without it, if that still is there.
 */
static void
revive_parent(ApplyCall *call, const Revival *revival)
{
	Record		record;
	Change		change = {
		.entity = revival->key.entity,
		.external_id = revival->key.external_id,
		.source = revival->source,
		.has_base = true
	};
	Answer		answer;

	canonical_find(call->canonical, revival->key.entity, revival->key.external_id, &record);
	if (!record.exists || !record.deleted ||
		dependency_children(call->dependency, &change) == NIL)
		return;
	change.base = record.row_version;
	apply_own(call, &change, &answer);
}

static void
run_cascades(ApplyCall *call)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext item = AllocSetContextCreate(outer, "syncext cascade", ALLOCSET_DEFAULT_SIZES);

	/* in the order of their keys, as a batch would go */
	while (call->consequences.cascades != NIL)
	{
		Cascade    *cascade = linitial(call->consequences.cascades);

		CHECK_FOR_INTERRUPTS();
		call->consequences.cascades = list_delete_first(call->consequences.cascades);
		MemoryContextSwitchTo(item);
		delete_child(call, cascade);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(item);
	}
	MemoryContextDelete(item);
}

static void
run_revivals(ApplyCall *call)
{
	while (call->consequences.revivals != NIL)
	{
		Revival    *revival = linitial(call->consequences.revivals);

		CHECK_FOR_INTERRUPTS();
		call->consequences.revivals = list_delete_first(call->consequences.revivals);
		revive_parent(call, revival);
	}
}

void
apply_end(ApplyCall *call)
{
	/* a record that comes back may itself have come too late */
	while (call->consequences.cascades != NIL || call->consequences.revivals != NIL)
	{
		run_cascades(call);
		run_revivals(call);
	}
	while (call->consequences.arrived != NIL)
	{
		RecordKey  *key = linitial(call->consequences.arrived);

		call->consequences.arrived = list_delete_first(call->consequences.arrived);
		/* however many wait: sweeps release the rest, in the same order */
		(void) apply_portion(key->entity, key->external_id, RELEASED_AT_ONCE);
	}
	apply_close(call);
}
