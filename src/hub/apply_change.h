/*
 * apply_change.h
 *	  Decide a change against the golden record, write what comes of it, and log it.
 */
#ifndef SYNCEXT_APPLY_CHANGE_H
#define SYNCEXT_APPLY_CHANGE_H

#include "hub/apply_item.h"

/*
 * A change as it counts upon a record; which is the sent one, or one of the copies
 * that are kept here for it.
 */
typedef struct Counted
{
	ApplyItem		item;
	Change		clamped;
	Change		referred;		/* to the record that the one it names was merged into */
	Change		told;			/* by its entity's rules what counts as empty */
	Change		said;
	Change		upon;
} Counted;

/*
 * Decide a change upon a record by all that counts: the hub's clock, ifMatch, parents
 * that it has to wait for (unless it was released), the rules, children that restrict,
 * limits.  What has to wait is parked, unless the call explains; nothing else is
 * written.
 */
extern void apply_decide_fully(ApplyCall *call, const ApplyItem *sent, const Record *record,
							   bool released, Counted *counted, Answer *answer);

/*
 * Decide and write one change.  The caller has checked that the user may act as
 * change->source, that source and entity are registered, and that the document fits
 * the entity's ladder.
 *
 * apply_document() answers that a change was refused.  apply_change() raises the
 * refusal, but where the source isn't shown the record: an edit of a table would tell
 * of that.  Then nothing is written, and the server's log says why.
 */
extern void apply_document(ApplyCall *call, const Change *change, Answer *answer);
extern void apply_change(ApplyCall *call, const Change *change, Answer *answer);
/* For a change that waits for no parent: it has, or was decided elsewhere.  Raises. */
extern void apply_released(ApplyCall *call, const Change *change, Answer *answer);
/* For the hub's own doing, of which the change's source has to hear, too.  Raises. */
extern void apply_own(ApplyCall *call, const Change *change, Answer *answer);

/* Decide by the rules of the item's entity and source (NULL: dropped) alone; writes nothing. */
extern void apply_decide_by_rules(ApplyCall *call, const ApplyItem *item, const Record *record,
								  Decision *decision);

/* Note what a write sets off, for the end of the call. */
extern void apply_note(ApplyCall *call, const ApplyItem *item, const Record *before,
					   const Decision *d);

/* The same of a record that was merged into another one: nothing goes with it. */
extern void apply_note_merged(ApplyCall *call, const ApplyItem *item, const Record *before,
							  const Record *after);

/* A key of the change's source is bound: what waits for it is released at the call's end. */
extern void apply_note_key(ApplyCall *call, const Change *change);

/* Has the source had a word in the record, as far as its stamps tell? */
extern bool apply_is_known(ApplyCall *call, const char *entity, const char *external_id,
						   const char *source);
/*
 * Can the record be written without waiting?  What is released comes out of the
 * order that keeps batches from deadlock, so it must not wait for a record.
 */
extern bool apply_available(ApplyCall *call, const Change *change);
/*
 * Hold the change's record until the transaction ends, whatever comes of the change.
 * Returns false if there is none.
 */
extern bool apply_hold(ApplyCall *call, const Change *change);

#endif							/* SYNCEXT_APPLY_CHANGE_H */
