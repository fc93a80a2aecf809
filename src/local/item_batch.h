/*
 * item_batch.h
 *	  Working through records of attached relations: all in one
 *	  subtransaction, or in smaller ones where that fails.
 */
#ifndef SYNCEXT_ITEM_BATCH_H
#define SYNCEXT_ITEM_BATCH_H

#include "local/item_batch_try.h"

/*
 * Do the work for all items.  An item that fails has error set and has changed
 * nothing; what concerns more than one item (a cancel, no space) is raised.
 */
extern void item_batch_run(BatchItem *items, int n, BatchItemFunction function, void *arg);

#endif							/* SYNCEXT_ITEM_BATCH_H */
