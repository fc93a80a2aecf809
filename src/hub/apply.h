/*
 * apply.h
 *	  The hub's one door: a change comes in, is decided, written and answered.
 */
#ifndef SYNCEXT_APPLY_H
#define SYNCEXT_APPLY_H

#include "model/ladder.h"
#include "storage/conflict_log.h"
#include "storage/registry.h"

/* What a caller is told of its change. */
typedef struct Answer
{
	const Change *change;
	Decision	decision;		/* decision.after is the record as it stands */
	int64		conflict_id;	/* 0: none */
	bool		hidden;			/* its source may not be told what became of it */
	bool		refused;		/* it goes beyond a limit: error; nothing was written */
	ChangeError error;
} Answer;

/* The open tables, kept for all changes of a call: see apply_call.h. */
typedef struct ApplyCall ApplyCall;

/*
 * Decide and write one change.  The caller has checked that the user may act
 * as change->source, that source and entity are registered, and that the
 * document fits the entity's ladder.
 */
extern void apply_change(ApplyCall *call, const Change *change, Answer *answer);
/*
 * The same, but that a change which is refused is answered so, and not raised.  The
 * first raises it but where the source isn't shown the record: whoever edits a table
 * would learn of that.  Then nothing is written, and the server's log says why.
 */
extern void apply_document(ApplyCall *call, const Change *change, Answer *answer);
/* Has the source had a word in the record, as far as that tells? */
extern bool apply_is_known(ApplyCall *call, const char *entity, const char *external_id,
						   const char *source);
/*
 * Can the record be written without waiting?  What is set free comes out of the
 * order that keeps batches from deadlock, so it must not wait for a record.
 */
extern bool apply_available(ApplyCall *call, const Change *change);
/*
 * Hold the change's record until the transaction ends, whatever comes of the change.
 * Returns false if there is none.
 */
extern bool apply_hold(ApplyCall *call, const Change *change);
/* The same for a change that waits for no parent: it has, or was decided elsewhere. */
extern void apply_released(ApplyCall *call, const Change *change, Answer *answer);
/* The same, and all hear of it, the change's source included. */
extern void apply_own(ApplyCall *call, const Change *change, Answer *answer);

/* Decide only, by the rules in force; nothing is read or written. */
extern void apply_decide(const Registry *registry, const Change *change, const Record *record,
						 Decision *decision);

/* Does the change, and what was decided, stay within the limits?  Else *error. */
extern bool apply_within_limits(ConflictLog *conflicts, const Change *change,
								const Record *record, const Decision *decision,
								ChangeError *error);

#endif							/* SYNCEXT_APPLY_H */
