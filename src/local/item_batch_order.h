/*
 * item_batch_order.h
 *	  In which order records go into their relations.
 */
#ifndef SYNCEXT_ITEM_BATCH_ORDER_H
#define SYNCEXT_ITEM_BATCH_ORDER_H

#include "local/batch_item.h"

/*
 * The items, whose relations are locked, in an order in which no foreign key between
 * the relations is violated, as far as their fields tell; else in the order they have.
 */
extern BatchItem **item_batch_order(BatchItem *items, int n);

/* A record that an item refers to by a foreign key of its relation. */
typedef struct ItemParent
{
	Oid			relation;		/* attached to the same source */
	char	   *external_id;
} ItemParent;

/* A list of ItemParent. */
extern List *item_parents(const BatchItem *item);

#endif							/* SYNCEXT_ITEM_BATCH_ORDER_H */
