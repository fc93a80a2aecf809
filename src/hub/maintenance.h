/*
 * maintenance.h
 *	  The steps of sync_maintain: a transaction each, as our tables' owner.
 */
#ifndef SYNCEXT_MAINTENANCE_H
#define SYNCEXT_MAINTENANCE_H

#include "nodes/pg_list.h"

#include "process/owner.h"

/* One call, and what it has done so far. */
typedef struct Maintenance
{
	MemoryContext context;		/* outlives the call's transactions */
	OwnerContext as_owner;		/* of the step under way */
	bool		incarnation;	/* a new one was started */
	int			rotated_from;	/* log tables; -1: not rotated */
	int			rotated_to;
	List	   *truncated;		/* of char *, names of log tables */
	List	   *restarted;		/* of char *, targets that were too far behind */
	List	   *waits;			/* of char *, what could not be done yet, and why */
	int64		released;		/* parked changes applied */
	int64		conflicts;		/* closed ones removed */
	int64		runs;			/* of jobs, removed */
	int64		change_ids;		/* answers to changes with an id, removed */
	int64		tombstones;		/* removed */
	int64		gone;			/* keys that the hub behind a link doesn't have, removed */
	int64		ticks;			/* removed */
	int64		repointed;		/* records that referred to one that was merged into another */
	int64		candidates;		/* of records that may be one, found by the sweep */
} Maintenance;

/*
 * Begin a step, and commit it: a transaction of its own, READ COMMITTED.  In between
 * the session is the tables' owner, and the memory context is m->context.
 */
extern void maintenance_begin(Maintenance *m);
extern void maintenance_commit(Maintenance *m);
/* Note why work that is due is left for another time. */
extern void maintenance_waits(Maintenance *m, const char *format,...) pg_attribute_printf(2, 3);
/* Let a target start anew, in a step of its own.  False: its cursor is in use. */
extern bool maintenance_restart(Maintenance *m, const char *target);

#endif							/* SYNCEXT_MAINTENANCE_H */
