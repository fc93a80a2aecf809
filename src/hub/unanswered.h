/*
 * unanswered.h
 *	  What a row behind a link has added to its counters, and the hub's record hasn't.
 */
#ifndef SYNCEXT_UNANSWERED_H
#define SYNCEXT_UNANSWERED_H

#include "utils/numeric.h"

#include "model/field_rule.h"
#include "storage/replica.h"

typedef struct UnansweredSum
{
	FieldName	field;
	Numeric		held;			/* what the row holds, by its edits */
	Numeric		added;			/* what they have added since it was agreed on */
	Numeric		lacking;		/* what of that the hub's record lacks */
} UnansweredSum;

typedef struct UnansweredSums
{
	int			n;
	UnansweredSum *sum;			/* in jsonb's key order */
	int64		first;			/* seq of the oldest edit, */
	int64		last;			/* and of the newest */
} UnansweredSums;

/*
 * Sum up the edits of a row that wait for the hub, where known is what it has counted.
 * False: they are not of counters alone, or there are none.
 */
extern bool unanswered_sums(const char *source, const char *entity, const FieldRules *rules,
							const ReplicaRow *replica, Jsonb *known, bool may_be_old,
							UnansweredSums *sums);

#endif							/* SYNCEXT_UNANSWERED_H */
