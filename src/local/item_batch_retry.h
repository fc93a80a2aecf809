/*
 * item_batch_retry.h
 *	  Trying again what failed while others succeeded.
 */
#ifndef SYNCEXT_ITEM_BATCH_RETRY_H
#define SYNCEXT_ITEM_BATCH_RETRY_H

#include "local/item_batch_try.h"

/*
 * Try again what has failed, where any of the items went well or rows may hand values
 * on, as long as anything goes well that way: a parent was
 * placed, a unique value was freed.  What is left when the time is up for now, though
 * the last round made progress, is busy and not failed.
 */
extern void item_batch_retry(ItemBatch *batch, BatchItem **items, int n, bool any);

#endif							/* SYNCEXT_ITEM_BATCH_RETRY_H */
