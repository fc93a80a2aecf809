/*
 * release.h
 *	  Applying what a change sets free: children that waited for it, records
 *	  that go with it, and parked changes whose time has come.
 */
#ifndef SYNCEXT_RELEASE_H
#define SYNCEXT_RELEASE_H

#include "hub/dependency.h"

/* What a call's changes have set off; worked off at its end. */
typedef struct Release
{
	List	   *arrived;		/* RecordKey: records that are new */
	List	   *cascades;		/* Cascade: records to be deleted */
} Release;

typedef struct Cascade
{
	RecordKey	key;
	const char *source;			/* who deleted the parent */
} Cascade;

/* Apply all of it, and what that sets off in turn. */
extern void release_run(ApplyCall *call, Release *release, const Registry *registry,
						Dependency *dependency);

/*
 * Try the parked changes that are due, for a wake-up that was lost to a race;
 * at most n.  Returns how many were applied.  Costs one index probe if none is.
 */
extern int	release_sweep(int n);

#endif							/* SYNCEXT_RELEASE_H */
