/*
 * value_input.h
 *	  Values of scalar types, made of JSON without a row around them.
 */
#ifndef SYNCEXT_VALUE_INPUT_H
#define SYNCEXT_VALUE_INPUT_H

#include "utils/jsonb.h"

/* How values of a type are made; once, and kept with the relation. */
typedef struct ValueInput ValueInput;

/*
 * Make a ValueInput in the current memory context.  NULL: values of the type are made by
 * jsonb_populate_record alone, as it has parts, a domain's constraints or JSON of its own.
 */
extern ValueInput *value_input(Oid type, int32 typmod);

/*
 * Make the value that jsonb_populate_record would, with the same errors.  Returns false if
 * that has to make it.
 */
extern bool value_input_take(ValueInput *input, const JsonbValue *json, Datum *value, bool *isnull);

#endif							/* SYNCEXT_VALUE_INPUT_H */
