/*
 * utility_hook.h
 *	  What hooks into utility statements have in common.
 */
#ifndef SYNCEXT_UTILITY_HOOK_H
#define SYNCEXT_UTILITY_HOOK_H

#include "tcop/utility.h"

/* What such a hook is called with, and what it hands on. */
#define utility_hook_args \
	PlannedStmt *pstmt, const char *query, bool read_only_tree, ProcessUtilityContext context, \
	ParamListInfo params, QueryEnvironment *environment, DestReceiver *dest, QueryCompletion *completion
#define utility_hook_pass \
	pstmt, query, read_only_tree, context, params, environment, dest, completion

/* Run the statement, by the hook that was there before. */
static inline void
utility_hook_next(ProcessUtility_hook_type next, utility_hook_args)
{
	if (next == NULL)
		next = standard_ProcessUtility;
	next(utility_hook_pass);
}

#endif							/* SYNCEXT_UTILITY_HOOK_H */
