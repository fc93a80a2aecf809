/*
 * work_order.h
 *	  In which order records go into their relations.
 */
#ifndef SYNCEXT_WORK_ORDER_H
#define SYNCEXT_WORK_ORDER_H

#include "local/work.h"

/*
 * The items, whose relations are locked, in an order in which no foreign key between
 * the relations is violated, as far as their fields tell; else in the order they have.
 */
extern WorkItem **work_order(WorkItem *items, int n);

/* A record that an item refers to by a foreign key of its relation. */
typedef struct WorkParent
{
	Oid			relation;		/* attached to the same source */
	char	   *external_id;
} WorkParent;

/* A list of WorkParent. */
extern List *work_parents(const WorkItem *item);

#endif							/* SYNCEXT_WORK_ORDER_H */
