/*
 * redelivery.h
 *	  Changes that are sent again, known by their change ids.
 */
#ifndef SYNCEXT_REDELIVERY_H
#define SYNCEXT_REDELIVERY_H

#include "storage/change_id.h"

typedef enum ClaimOutcome
{
	CLAIM_NEW,					/* to be applied */
	CLAIM_ANSWERED,				/* was applied before: answer */
	CLAIM_REPEATED,				/* to be answered as claim first of the same call is */
	CLAIM_REFUSED				/* the id stands for another document: error */
} ClaimOutcome;

/* A change that bears an id. */
typedef struct Claim
{
	const Change *change;
	int			position;		/* among the documents of the call */
	ChangeDigest digest;

	/* what came of it */
	ClaimOutcome outcome;
	const struct Claim *first;
	JsonbValue *answer;
	ChangeError error;
} Claim;

/*
 * Find which changes of a call were answered before, and claim the ids of the
 * others; without write they are only looked up.  Call it before any record is
 * touched.  The claims are put into another order.
 */
extern void redelivery_claim(Claim *claims, int n, bool write);
/*
 * Keep the answers to the claims that were new; answers are in call order.  NULL: the
 * change was refused.  That isn't kept, as in a call of its own: a limit may be raised.
 */
extern void redelivery_keep(const Claim *claims, int n, JsonbValue *(*answer) (void *arg, int position),
							void *arg);

#endif							/* SYNCEXT_REDELIVERY_H */
