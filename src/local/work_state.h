/*
 * work_state.h
 *	  A work under way: what local/work and local/work_retry share.
 */
#ifndef SYNCEXT_WORK_STATE_H
#define SYNCEXT_WORK_STATE_H

#include "local/work.h"

typedef struct Work
{
	Placer		placer;
	WorkFunction function;
	void	   *arg;
	MemoryContext context;		/* of one item */
	bool		deferring;		/* deferrable constraints are checked with each run */
	int64		tries;			/* items that were done in a subtransaction, so far */
} Work;

/*
 * Do items whose relations have one owner, in a subtransaction.  Returns false if that
 * failed: then nothing was changed, and a single item has its error.
 */
extern bool work_try(Work *work, WorkItem **items, int n);
/*
 * Do items of any owners: all of an owner at once, or where that fails the first
 * half, then the other.  Returns whether any went well.
 */
extern bool work_in_halves(Work *work, WorkItem **items, int n);

#endif							/* SYNCEXT_WORK_STATE_H */
