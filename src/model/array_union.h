/*
 * array_union.h
 *	  Two JSON arrays as one, for the field rule of that name.
 */
#ifndef SYNCEXT_ARRAY_UNION_H
#define SYNCEXT_ARRAY_UNION_H

#include "model/fields.h"

/* Are both of them arrays? */
extern bool array_union_possible(const JsonbValue *a, const JsonbValue *b);
/*
 * The elements of the first as they are, then those of the second that are not
 * among them, each once.  NULL: there are none of these.
 */
extern JsonbValue *array_union(const JsonbValue *first, const JsonbValue *second);

#endif							/* SYNCEXT_ARRAY_UNION_H */
