/*
 * rehearse_args.h
 *	  What sync_rehearse is asked to suppose.
 */
#ifndef SYNCEXT_REHEARSE_ARGS_H
#define SYNCEXT_REHEARSE_ARGS_H

#include "fmgr.h"

#include "storage/supposed.h"

/*
 * Read the arguments priorities, rules and ladder (1 to 3) of a rehearsal of the entity.
 * Raises 22023 where they are none, and 42501 where the user may not call the function of
 * a rule.
 */
extern void rehearse_arguments(FunctionCallInfo fcinfo, const Registry *registry, const Entity *entity,
							   Supposed *supposed);

#endif							/* SYNCEXT_REHEARSE_ARGS_H */
