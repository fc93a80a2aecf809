/*
 * release.h
 *	  Applying what a change sets free: children that waited for it, and
 *	  records that go with it.
 */
#ifndef SYNCEXT_RELEASE_H
#define SYNCEXT_RELEASE_H

#include "hub/dependency.h"

/* Apply all that a call's changes have set off, and what that sets off in turn. */
extern void release_run(ApplyCall *call, const Registry *registry, Dependency *dependency,
						Consequences *consequences);

/*
 * Apply those parked changes (a list of WaitingChange) whose parents are there.
 * With attempted, a change that still has to wait has had one more attempt.
 * Returns how many are parked no longer.
 */
extern int	release_parked(ApplyCall *call, const Registry *registry, Dependency *dependency,
						   List *parked, bool attempted);

#endif							/* SYNCEXT_RELEASE_H */
