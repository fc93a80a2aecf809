/*
 * increment.h
 *	  Increments of a change: numbers that are added to fields whose rule is sum.
 */
#ifndef SYNCEXT_INCREMENT_H
#define SYNCEXT_INCREMENT_H

#include "utils/numeric.h"

#include "model/fields.h"

/*
 * Read the member "increments" of a document.  Returns why it is none, in the words of
 * an error; NULL: it is read.
 */
extern char *increments_read(const JsonbValue *value, Fields *increments);

/* The number that a field holds; NULL: it is none. */
extern Numeric increment_numeric(const Field *field);

/* What the second of two numbers has more than the first; false: they are not both numbers. */
extern bool increment_number(const Field *before, const Field *after, Numeric *difference);
/* The same as an increment. */
extern bool increment_between(const Field *before, const Field *after, Field *increment);

/*
 * Add an increment to a value; NULL, and JSON null, are 0.  Returns why it can't be added,
 * in the words of an error; NULL: *sum is the sum.
 */
extern char *increment_add(const JsonbValue *value, const Field *increment, JsonbValue *sum);

#endif							/* SYNCEXT_INCREMENT_H */
