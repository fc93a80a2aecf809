/*
 * apply.h
 *	  Change documents in, answers out.
 */
#ifndef SYNCEXT_APPLY_H
#define SYNCEXT_APPLY_H

#include "hub/answer.h"

/*
 * Apply an array of documents, all of one source, as sync_apply does.  Returns
 * how many they are, and the answers in their order; one that is refused is
 * answered with an object of status 400 and a reason, one that raises an error with one
 * of status 500.  What isn't about one document is raised: a cancel, no space.  With
 * lost_epoch they may say what this hub has lost that it had in that epoch of its own;
 * the caller knows that it is so.
 */
extern int	documents_apply(Jsonb *changes, const char *source, const int64 *lost_epoch,
							AnswerMaker make_answer, JsonbValue ***answers);

#endif							/* SYNCEXT_APPLY_H */
