/*
 * json_size.h
 *	  How long is the text of a jsonb value?
 */
#ifndef SYNCEXT_JSON_SIZE_H
#define SYNCEXT_JSON_SIZE_H

#include "utils/jsonb.h"

/* How the characters of strings count. */
typedef enum JsonMeasure
{
	JSON_PLAIN,					/* as they are */
	JSON_WORST,					/* as if each were escaped: needs no look at them */
	JSON_ESCAPED				/* as they are put out, or a little more */
} JsonMeasure;

/* In bytes, without blanks and line breaks; at most a few too many for each value. */
extern Size json_container_bytes(const JsonbContainer *container, JsonMeasure measure);
extern Size json_value_bytes(const JsonbValue *value, JsonMeasure measure);

#endif							/* SYNCEXT_JSON_SIZE_H */
