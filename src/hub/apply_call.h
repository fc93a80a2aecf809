/*
 * apply_call.h
 *	  A call of the hub: its open tables, and what its changes set off.
 */
#ifndef SYNCEXT_APPLY_CALL_H
#define SYNCEXT_APPLY_CALL_H

#include "hub/apply_item.h"
#include "hub/references.h"
#include "storage/canonical.h"

/* Open the tables, in the current memory context. */
extern ApplyCall *apply_begin(const Registry *registry);
/* Open them for explaining: nothing is written. */
extern ApplyCall *apply_begin_explaining(const Registry *registry);
/*
 * Let new records that nobody asks for meanwhile be inserted together, as canonical_insert_later()
 * does: for a caller that brings records of one entity, undoes the call if that raises, and tries
 * again without.
 */
extern void apply_let_births_wait(ApplyCall *call);
/* Insert those that wait: from here on anybody finds them.  call may be NULL. */
extern void apply_show_births(ApplyCall *call);
/* The call's own: what it has written is found there. */
extern Canonical *apply_canonical(ApplyCall *call);
/* Look for the pending conflicts of the records that the next changes are of, in the order of the index. */
extern void apply_look_for_conflicts(ApplyCall *call, int n, const RecordKey *records);
/* Have the call's changes set off nothing so far? */
extern bool apply_is_quiet(const ApplyCall *call);
/*
 * Apply what the call's changes have set off, and close the tables.  Returns the records
 * that are new, a list of RecordKey: what waits for them is the caller's to release, as
 * apply_end() in hub/release.h does.
 */
extern List *apply_finish(ApplyCall *call);

#endif							/* SYNCEXT_APPLY_CALL_H */
