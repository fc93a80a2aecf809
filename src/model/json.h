/*
 * json.h
 *	  Members of a JSON object that is being built.
 */
#ifndef SYNCEXT_JSON_H
#define SYNCEXT_JSON_H

#include "utils/jsonb.h"

extern void json_push_key(JsonbParseState **state, const char *key);
extern void json_push_string(JsonbParseState **state, const char *key, const char *value);
extern void json_push_number(JsonbParseState **state, const char *key, int64 value);
/* To the millisecond. */
extern void json_push_seconds(JsonbParseState **state, const char *key, int64 microseconds);
extern void json_push_bool(JsonbParseState **state, const char *key, bool value);
extern void json_push_jsonb(JsonbParseState **state, const char *key, Jsonb *value);

#endif							/* SYNCEXT_JSON_H */
