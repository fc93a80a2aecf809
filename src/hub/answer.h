/*
 * answer.h
 *	  Answers as JSON.
 */
#ifndef SYNCEXT_ANSWER_H
#define SYNCEXT_ANSWER_H

#include "hub/apply.h"

extern JsonbValue *answer_make(const Answer *answer);
extern JsonbValue *answer_refused(const ChangeError *error);
/* An array of answers, in the order given. */
extern Jsonb *answer_array(JsonbValue **answers, int n);

/* Members of an object that is being built. */
extern void json_push_string(JsonbParseState **state, const char *key, const char *value);
extern void json_push_number(JsonbParseState **state, const char *key, int64 value);
extern void json_push_bool(JsonbParseState **state, const char *key, bool value);
extern void json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *value);
extern void json_push_key(JsonbParseState **state, const char *key);

#endif							/* SYNCEXT_ANSWER_H */
