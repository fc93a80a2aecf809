/*
 * sweep.c
 *	  Parked changes whose time has come.
 *
 * Called by pulls and by maintenance.  A parent's arrival sets its children free
 * in its own transaction; but a child that is being parked at that very moment
 * isn't seen by it.  Such a wake-up, lost to a race, costs one sweep.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "hub/apply_call.h"
#include "hub/release.h"
#include "hub/sweep.h"

bool
sweep_any_due(void)
{
	Waiting    *waiting = waiting_open(false);
	bool		any = waiting_any_due(waiting, GetCurrentTimestamp());

	waiting_close(waiting);
	return any;
}

int
sweep_due(int n)
{
	const Registry *registry;
	Dependency *dependency;
	ApplyCall  *call;
	int			applied;

	if (!sweep_any_due())
		return 0;
	registry = registry_get();
	call = apply_begin(registry);
	dependency = dependency_begin(registry, true);
	applied = release_parked(call, registry, dependency,
							 waiting_due(dependency_waiting(dependency), GetCurrentTimestamp(), n),
							 true);
	dependency_end(dependency);
	apply_end(call);
	return applied;
}
