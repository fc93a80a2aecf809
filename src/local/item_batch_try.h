/*
 * item_batch_try.h
 *	  Working through items in subtransactions: a run of them in one, or where that
 *	  fails in halves.
 */
#ifndef SYNCEXT_ITEM_BATCH_TRY_H
#define SYNCEXT_ITEM_BATCH_TRY_H

#include "local/batch_item.h"

/* Returns an outcome of its own making, or BATCH_ITEM_BUSY, or raises. */
typedef int (*BatchItemFunction) (RowWriter *writer, Attached *attached, BatchItem *item, void *arg);

/* A batch under way. */
typedef struct ItemBatch
{
	RowWriter	writer;
	BatchItemFunction function;
	void	   *arg;
	MemoryContext context;		/* of one item */
	bool		deferring;		/* deferrable constraints are checked with each run */
	bool		any_done;		/* what was done holds rows */
	bool		not_alone;		/* others may write the relations: a run had to wait for one */
	int64		tries;			/* items that were done in a subtransaction, so far */
} ItemBatch;

/*
 * Do items whose relations have one owner, in a subtransaction.  Returns false if that
 * failed: then nothing was changed, and a single item has its error.
 */
extern bool item_batch_try(ItemBatch *batch, BatchItem **items, int n);
/* From here on constraints are deferred; first what the caller has deferred is checked. */
extern void item_batch_defer(ItemBatch *batch);
/*
 * Do items of any owners: all of an owner at once, or where that fails the first
 * half, then the other.  Returns whether any went well.
 */
extern bool item_batch_in_halves(ItemBatch *batch, BatchItem **items, int n);

#endif							/* SYNCEXT_ITEM_BATCH_TRY_H */
