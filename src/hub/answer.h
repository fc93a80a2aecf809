/*
 * answer.h
 *	  Answers as JSON.
 */
#ifndef SYNCEXT_ANSWER_H
#define SYNCEXT_ANSWER_H

#include "hub/apply.h"

extern JsonbValue *answer_make(const Answer *answer);
extern JsonbValue *answer_refused(const ChangeError *error);
/* Leave of an answer what was decided, for who may not see the record. */
extern void answer_cut(Answer *answer);
/* An array of answers, in the order given. */
extern Jsonb *answer_array(JsonbValue **answers, int n);

#endif							/* SYNCEXT_ANSWER_H */
