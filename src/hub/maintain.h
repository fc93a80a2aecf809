/*
 * maintain.h
 *	  What sync_maintain's steps share.
 */
#ifndef SYNCEXT_MAINTAIN_H
#define SYNCEXT_MAINTAIN_H

#include "nodes/pg_list.h"

#include "hub/section.h"

/* One call, and what it has done so far. */
typedef struct Maintenance
{
	MemoryContext context;		/* outlives the call's transactions */
	Section		section;		/* of the step under way */
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
} Maintenance;

/*
 * A step is a transaction of its own: committed at its end, READ COMMITTED.
 * In between the session is the tables' owner.
 */
extern void maintain_step_begin(Maintenance *m);
extern void maintain_step_end(Maintenance *m);
/* Note why something has to wait. */
extern void maintain_waits(Maintenance *m, const char *format,...) pg_attribute_printf(2, 3);
/* Let a target start anew, in a step of its own.  False: its cursor is in use. */
extern bool maintain_restart(Maintenance *m, const char *target);

#endif							/* SYNCEXT_MAINTAIN_H */
