/*
 * json_member.h
 *	  An object that is made member by member, as jsonb or as the text of it.
 *
 * What is only put out isn't made into jsonb first: that takes twice the time.
 */
#ifndef SYNCEXT_JSON_MEMBER_H
#define SYNCEXT_JSON_MEMBER_H

#include "lib/stringinfo.h"

#include "model/fields.h"

typedef struct JsonObject
{
	StringInfo	text;			/* to be appended to; NULL: it is to be jsonb */
	bool		any;			/* the text has a member */
	JsonbParseState *state;
} JsonObject;

extern JsonObject json_object_begin(StringInfo text);
extern void json_member_string(JsonObject *object, const char *key, const char *value);
extern void json_member_number(JsonObject *object, const char *key, int64 value);
extern void json_member_bool(JsonObject *object, const char *key, bool value);
extern void json_member_jsonb(JsonObject *object, const char *key, Jsonb *value);
extern void json_member_fields(JsonObject *object, const char *key, const Fields *fields);
/* Returns the jsonb; NULL where it was to be text. */
extern Jsonb *json_object_end(JsonObject *object);

#endif							/* SYNCEXT_JSON_MEMBER_H */
