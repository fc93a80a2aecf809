/*
 * json_read.h
 *	  Reading a JSON value that may be anything: what another server or a caller says,
 *	  and what was edited by hand.
 */
#ifndef SYNCEXT_JSON_READ_H
#define SYNCEXT_JSON_READ_H

#include "nodes/pg_list.h"
#include "utils/jsonb.h"

/* All of these take NULL for a value that isn't there. */

/* Is it a whole number from min to max?  Then *number is that. */
extern bool json_read_number(const JsonbValue *value, int64 min, int64 max, int64 *number);
/* Of a number that may be a fraction: it is rounded. */
extern bool json_read_rounded(const JsonbValue *value, int64 min, int64 max, int64 *number);
/* A string, palloc'd; NULL: it is none. */
extern char *json_read_string(const JsonbValue *value);
/* That, or a number's text. */
extern char *json_read_text(const JsonbValue *value);
/* False, too, if it is no boolean. */
extern bool json_read_true(const JsonbValue *value);
/* An object's or array's container; NULL: it is none. */
extern JsonbContainer *json_read_object(const JsonbValue *value);
extern JsonbContainer *json_read_array(const JsonbValue *value);

/* The elements of an array, if all of them are strings; false: one isn't. */
extern bool json_read_strings(JsonbContainer *array, List **strings);

/* What a value is, for messages: "a string", "an array". */
extern const char *json_type_name(const JsonbValue *value);
extern const char *jsonb_type_name(Jsonb *jsonb);

#endif							/* SYNCEXT_JSON_READ_H */
