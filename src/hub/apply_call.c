/*
 * apply_call.c
 *	  A call of the hub: its open tables, and what its changes set off.
 *
 * Tables stay open for the whole call, as opening them costs as much as a change.
 * At its end come, in the same transaction, the records that go with a deleted one and
 * those that come back; then hub/release applies what waited for new ones.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "hub/apply_call.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"

static ApplyCall *
open_call(const Registry *registry, bool write)
{
	ApplyCall  *call = palloc0(sizeof(ApplyCall));

	call->registry = registry;
	call->write = write;
	call->context = CurrentMemoryContext;
	call->canonical = canonical_open(write);
	/* a transaction that was changing the rules may have kept us waiting until now */
	if (write)
		call->registry = registry_get();
	if (write)
		call->log = change_log_open(call->registry->current_log);
	call->conflicts = mapped_open(&conflict_log_def, write);
	call->references = references_begin(call->registry, write);
	return call;
}

ApplyCall *
apply_begin(const Registry *registry)
{
	return open_call(registry, true);
}

ApplyCall *
apply_begin_explaining(const Registry *registry)
{
	return open_call(registry, false);
}

void
apply_let_births_wait(ApplyCall *call)
{
	call->births_wait = true;
}

void
apply_show_births(ApplyCall *call)
{
	if (call != NULL)
		canonical_flush(call->canonical);
}

Canonical *
apply_canonical(ApplyCall *call)
{
	return call->canonical;
}

void
apply_look_for_conflicts(ApplyCall *call, int n, const RecordKey *records)
{
	if (call->pending == NULL)
		call->pending = pending_ahead_begin(call->conflicts);
	pending_ahead_look(call->pending, n, records);
}

bool
apply_is_quiet(const ApplyCall *call)
{
	return call->consequences.arrived == NIL && call->consequences.cascades == NIL &&
		call->consequences.revivals == NIL;
}

static void
apply_close(ApplyCall *call)
{
	references_end(call->references);
	if (call->waiting != NULL)
		mapped_close(call->waiting);
	if (call->routed != NULL)
		mapped_close(call->routed);
	if (call->aliases != NULL)
		mapped_close(call->aliases);
	if (call->matching != NULL)
		matching_close(call->matching);
	if (call->pending != NULL)
		pending_ahead_end(call->pending);
	mapped_close(call->conflicts);
	if (call->log != NULL)
		change_log_close(call->log);
	canonical_close(call->canonical);
	pfree(call);
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
	if (!references_refers(&record, cascade->field, cascade->parent_id))
		return;
	change.base = record.row_version;
	/* the source that deleted the parent may have the child still */
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
		references_children(call->references, change.entity, change.external_id) == NIL)
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

List *
apply_finish(ApplyCall *call)
{
	List	   *arrived;

	/* a record that comes back may itself have come too late */
	while (call->consequences.cascades != NIL || call->consequences.revivals != NIL)
	{
		run_cascades(call);
		run_revivals(call);
	}
	arrived = call->consequences.arrived;
	apply_close(call);
	return arrived;
}
