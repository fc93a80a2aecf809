/*
 * handover.h
 *	  Unique values that rows hand on to one another.
 */
#ifndef SYNCEXT_HANDOVER_H
#define SYNCEXT_HANDOVER_H

#include "local/batch_item.h"

/*
 * The values of a unique index or exclusion constraint that a row was refused for.
 * Those of expressions aren't known, nor which row an exclusion constraint found in the
 * way.
 */
typedef struct Handover
{
	Oid			index;
	bool		present;		/* the row is there already */
	char	   *held;			/* that the row has; NULL: not known, or none that others could want */
	char	   *wanted;			/* that it was to get, and another row has; NULL: not known */
} Handover;

/* Rows that wait for one another: each for the next, the last for the first. */
typedef struct HandoverCircle
{
	int			n;
	BatchItem **items;
} HandoverCircle;

typedef struct HandoverOrder
{
	BatchItem **items;			/* all of them, those that let go of a value before those
								 * that get it */
	int			ncircles;
	HandoverCircle *circles;
} HandoverOrder;

/*
 * What the row of the writer's last attempt hands on, if this is the error of a unique
 * index or an exclusion constraint; else NULL.  Allocated in the current memory context.
 */
extern Handover *handover_of(const RowWriteAttempt *attempt, const ErrorData *error);

extern void handover_order(BatchItem **items, int n, HandoverOrder *order);

#endif							/* SYNCEXT_HANDOVER_H */
