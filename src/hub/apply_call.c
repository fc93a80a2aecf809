/*
 * apply_call.c
 *	  Opening and closing the hub's tables around the changes of a call.
 *
 * Called by whoever applies changes: hub/documents, local/capture and local/work,
 * hub/sweep.  Tables stay open for the whole call, as opening them costs as much
 * as a change.
 */
#include "postgres.h"

#include "hub/apply_call.h"
#include "hub/apply_state.h"
#include "hub/release.h"

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

void
apply_end(ApplyCall *call)
{
	release_run(call, call->registry, call->dependency, &call->consequences);
	dependency_end(call->dependency);
	conflict_log_close(call->conflicts);
	change_log_close(call->log);
	canonical_close(call->canonical);
	pfree(call);
}
