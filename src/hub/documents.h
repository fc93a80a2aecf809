/*
 * documents.h
 *	  Change documents in, answers out.
 */
#ifndef SYNCEXT_DOCUMENTS_H
#define SYNCEXT_DOCUMENTS_H

#include "hub/apply.h"

/* Makes the answer to a change, in the current memory context. */
typedef JsonbValue *(*AnswerMaker) (const Answer *answer);

/*
 * Apply an array of documents, all of one source, as sync_apply does.  Returns
 * how many they are, and the answers in their order; one that is refused is
 * answered with an object of status 400 and a reason.
 */
extern int	documents_apply(Jsonb *changes, const char *source, AnswerMaker make_answer,
							JsonbValue ***answers);

#endif							/* SYNCEXT_DOCUMENTS_H */
