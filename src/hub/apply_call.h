/*
 * apply_call.h
 *	  A call of the hub: its open tables, and what its changes set off.
 */
#ifndef SYNCEXT_APPLY_CALL_H
#define SYNCEXT_APPLY_CALL_H

#include "hub/apply.h"
#include "hub/dependency.h"
#include "nodes/pg_list.h"

/* Open the tables, in the current memory context. */
extern ApplyCall *apply_begin(const Registry *registry);
/* The call's look at who refers to whom. */
extern Dependency *apply_dependency(ApplyCall *call);
/* Apply what the call's changes have set off, and close the tables. */
extern void apply_end(ApplyCall *call);

/*
 * Apply those parked changes (a list of WaitingChange) whose parents are there,
 * each in a subtransaction of its own.  With attempted, a change that still has
 * to wait has had one more attempt.  Returns how many are parked no longer.
 */
extern int	apply_parked(List *parked, bool attempted);
/*
 * Apply the first of those that wait for a record which has arrived, n at most, and
 * let a sweep go on from there.  Returns how many are parked no longer.
 */
extern int	apply_portion(const char *parent_entity, const char *parent_id, int n);

#endif							/* SYNCEXT_APPLY_CALL_H */
