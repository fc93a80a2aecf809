/*
 * apply_state.h
 *	  The open tables of a call, kept for all its changes.
 *
 * Internal to apply.c, which works on them, and apply_call.c, which opens and
 * closes them.
 */
#ifndef SYNCEXT_APPLY_STATE_H
#define SYNCEXT_APPLY_STATE_H

#include "hub/apply.h"
#include "hub/dependency.h"
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
	Consequences consequences;
};

#endif							/* SYNCEXT_APPLY_STATE_H */
