/*
 * json.h
 *	  A JSON object that is being built, its members, and elements of arrays in it.
 */
#ifndef SYNCEXT_JSON_H
#define SYNCEXT_JSON_H

#include "utils/jsonb.h"

/* Between these two members are pushed, and others with the server's pushJsonbValue(). */
extern JsonbParseState *json_begin_object(void);
extern Jsonb *json_end_object(JsonbParseState **state);

extern void json_push_key(JsonbParseState **state, const char *key);
/* Begin a member that is an object or array; WJB_END_OBJECT or WJB_END_ARRAY ends it. */
extern void json_push_object(JsonbParseState **state, const char *key);
extern void json_push_array(JsonbParseState **state, const char *key);
extern void json_push_string(JsonbParseState **state, const char *key, const char *value);
extern void json_push_number(JsonbParseState **state, const char *key, int64 value);
/* To the millisecond. */
extern void json_push_seconds(JsonbParseState **state, const char *key, int64 microseconds);
extern void json_push_bool(JsonbParseState **state, const char *key, bool value);
extern void json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *value);

/* Elements of an array. */
extern void json_add_string(JsonbParseState **state, const char *value);
extern void json_add_number(JsonbParseState **state, int64 value);
extern void json_add_numeric(JsonbParseState **state, Numeric value);

/* Make a value a string, which isn't copied. */
static inline void
json_set_string(JsonbValue *value, const char *string, int len)
{
	value->type = jbvString;
	value->val.string.val = unconstify(char *, string);
	value->val.string.len = len;
}

/* A value that stands alone. */
extern Jsonb *json_of_value(const JsonbValue *value);
/* A copy in the current memory context; of NULL, NULL. */
extern Jsonb *json_copy(const Jsonb *jsonb);
/* The other way round, without a copy: what is a scalar stands by itself. */
extern JsonbValue json_to_value(Jsonb *jsonb);

#endif							/* SYNCEXT_JSON_H */
