/*
 * outbox_sums.h
 *	  What the edits of a row behind a link have added to its counters.
 */
#ifndef SYNCEXT_OUTBOX_SUMS_H
#define SYNCEXT_OUTBOX_SUMS_H

#include "model/field_rule.h"
#include "model/fold.h"
#include "storage/replica.h"

typedef struct CountedSums
{
	Jsonb	   *counted;		/* what is sent: totals */
	Jsonb	   *counts;			/* all that was counted ever */
	Fields		summed;			/* the counters, as they are in the row now, */
	Fields		added;			/* and what they have more than was agreed on */
} CountedSums;

/*
 * Take counters out of the fold that went from one number to another since they were agreed
 * on.  False: there are none.
 */
extern bool outbox_sums_take(const FieldRules *rules, const ReplicaRow *replica,
							 const Fields *agreed, Fold *fold, CountedSums *sums);

#endif							/* SYNCEXT_OUTBOX_SUMS_H */
