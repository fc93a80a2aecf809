/*
 * answer.h
 *	  Answers as JSON.
 */
#ifndef SYNCEXT_ANSWER_H
#define SYNCEXT_ANSWER_H

#include "hub/apply_change.h"

/* What an answer means for the source that sent the change. */
typedef enum AnswerOutcome
{
	OUTCOME_NOT_SHOWN,			/* what became of the change isn't told */
	OUTCOME_WAITING,			/* for a parent */
	OUTCOME_CONFLICT,			/* it lost, or a reviewer decides, in part at least */
	OUTCOME_UNCHANGED,			/* the record is like that already */
	OUTCOME_NEW,
	OUTCOME_MERGED,				/* beside what others had changed */
	OUTCOME_WRITTEN
} AnswerOutcome;

/* Makes the answer to a change, in that memory context, of what may go before it is sent. */
typedef JsonbValue *(*AnswerMaker) (const Answer *answer, MemoryContext context);

extern AnswerOutcome answer_outcome(const Answer *answer);
extern JsonbValue *answer_make(const Answer *answer, MemoryContext context);
extern JsonbValue *answer_refused(const ChangeError *error);
extern JsonbValue *answer_failed(const ErrorData *error);
/* Leave of an answer what was decided, for who may not see the record. */
extern void answer_cut(Answer *answer);
/* An array of answers, in the order given. */
extern Jsonb *answer_array(JsonbValue **answers, int n);

#endif							/* SYNCEXT_ANSWER_H */
