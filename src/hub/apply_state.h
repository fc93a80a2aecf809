/*
 * apply_state.h
 *	  The open tables of a call, kept for all its changes.
 *
 * Internal to what works on them: apply_call.c opens and closes them.
 */
#ifndef SYNCEXT_APPLY_STATE_H
#define SYNCEXT_APPLY_STATE_H

#include "hub/apply_item.h"
#include "hub/matching.h"
#include "hub/references.h"
#include "hub/subscription_filter.h"
#include "storage/alias.h"
#include "storage/canonical.h"
#include "storage/change_log.h"
#include "storage/conflict_log.h"
#include "storage/parked_change.h"
#include "storage/pending_ahead.h"

struct ApplyCall
{
	const Registry *registry;
	bool		write;			/* else it explains, and writes nothing */
	bool		births_wait;	/* apply_let_births_wait */
	MemoryContext context;		/* outlives the single change */
	Canonical  *canonical;
	ChangeLog  *log;			/* NULL where it explains */
	ConflictLog *conflicts;
	PendingAhead *pending;		/* of them, NULL until a batch looks ahead */
	References *references;
	ParkedChanges *waiting;		/* NULL until something may have to wait */
	RoutedTable *routed;		/* NULL until a filtered source sends something */
	Aliases    *aliases;		/* NULL until a record is found to be gone */
	Matching   *matching;		/* NULL until a record of an entity with match rules is written */
	Consequences consequences;
};

#endif							/* SYNCEXT_APPLY_STATE_H */
