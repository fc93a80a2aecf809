/*
 * apply_state.h
 *	  The open tables of a call, kept for all its changes.
 *
 * Internal to apply.c and resolve.c, which work on them, and apply_call.c, which
 * opens and closes them.
 */
#ifndef SYNCEXT_APPLY_STATE_H
#define SYNCEXT_APPLY_STATE_H

#include "hub/apply.h"
#include "hub/dependency.h"
#include "hub/route.h"
#include "storage/canonical.h"
#include "storage/change_log.h"
#include "storage/conflict_log.h"

struct ApplyCall
{
	const Registry *registry;
	MemoryContext context;		/* outlives the single change */
	Canonical  *canonical;
	ChangeLog  *log;
	ConflictLog *conflicts;
	Dependency *dependency;
	RoutedTable *routed;		/* NULL until a filtered source sends something */
	Consequences consequences;
};

/* Note what a write sets off, for the end of the call. */
extern void apply_note(ApplyCall *call, const Change *change, const Record *before,
					   const Decision *d);

#endif							/* SYNCEXT_APPLY_STATE_H */
