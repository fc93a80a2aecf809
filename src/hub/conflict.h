/*
 * conflict.h
 *	  Conflicts that wait for review: adding them, and closing those that a
 *	  change has overtaken.
 */
#ifndef SYNCEXT_CONFLICT_H
#define SYNCEXT_CONFLICT_H

#include "model/ladder.h"
#include "storage/change_log.h"
#include "storage/conflict_log.h"

/* What a decision means for the pending conflicts of its record. */
typedef struct ConflictReview
{
	int64		same;			/* of a manual one: the conflict that says just the same; 0: none */
	List	   *overtaken;		/* Conflict: that it leaves nothing to decide of */
} ConflictReview;

/*
 * Read the record's pending conflicts, as far as the decision touches any.  False, and
 * *error says why, if its source may add no more: it has too many on the record, and
 * this one takes the place of none.
 */
extern bool conflict_review(ConflictLog *conflicts, const Change *change, const Record *before,
							const Decision *decision, ConflictReview *review,
							ChangeError *error);
/* The conflict that such a decision leads to, without the record's side of it. */
extern void conflict_make(const Change *change, const Record *record, const Decision *decision,
						  Conflict *conflict);
/* Does a decision on a record, which was as before says, leave nothing to decide of the conflict? */
extern bool conflict_overtaken(const Conflict *conflict, const Change *change, const Record *before,
							   const Decision *decision);
extern int64 conflict_add(ConflictLog *conflicts, const Change *change, const Record *record,
						  const Decision *decision);
/* Mark them superseded, and queue the record for sources that would not receive it else. */
extern void conflict_supersede(ConflictLog *conflicts, ChangeLog *log, List *overtaken,
							   const Change *change, const Decision *decision, int64 seq);

#endif							/* SYNCEXT_CONFLICT_H */
