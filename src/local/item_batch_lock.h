/*
 * item_batch_lock.h
 *	  Locking the relations that a batch of items is about.
 */
#ifndef SYNCEXT_ITEM_BATCH_LOCK_H
#define SYNCEXT_ITEM_BATCH_LOCK_H

#include "local/batch_item.h"

/*
 * Lock the items' relations until the end of the transaction, all callers in one
 * order.  Sets of each item the owner of its relation, or why nothing can be done
 * with it now.
 */
extern void item_batch_lock_relations(BatchItem *items, int n);

#endif							/* SYNCEXT_ITEM_BATCH_LOCK_H */
