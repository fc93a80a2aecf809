/*
 * work_lock.h
 *	  Locking the relations that a work is about.
 */
#ifndef SYNCEXT_WORK_LOCK_H
#define SYNCEXT_WORK_LOCK_H

#include "local/work.h"

/*
 * Lock the items' relations until the end of the transaction, all callers in one
 * order.  Sets of each item the owner of its relation, or why nothing can be done
 * with it now.
 */
extern void work_lock_relations(WorkItem *items, int n);

#endif							/* SYNCEXT_WORK_LOCK_H */
