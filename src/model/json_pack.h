/*
 * json_pack.h
 *	  A tree of values as jsonb, written in one go.
 */
#ifndef SYNCEXT_JSON_PACK_H
#define SYNCEXT_JSON_PACK_H

#include "utils/jsonb.h"

/*
 * The same as JsonbValueToJsonb() makes of an object or an array, whose members come in
 * jsonb's own order.  Unlike there an object or array in it may be a jbvBinary, which is copied.
 */
extern Jsonb *json_pack(const JsonbValue *value);
/* The same, as a value in one piece, in that memory context. */
extern JsonbValue *json_pack_value(const JsonbValue *value, MemoryContext context);

#endif							/* SYNCEXT_JSON_PACK_H */
