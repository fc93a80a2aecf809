/*
 * free_value.h
 *	  Values that no row of a table has in a unique index.
 */
#ifndef SYNCEXT_FREE_VALUE_H
#define SYNCEXT_FREE_VALUE_H

#include "nodes/bitmapset.h"

#include "local/attached_relation.h"

/* How many can be tried. */
#define FREE_VALUES		4

/*
 * Put free values, those of number candidate (from 1), into a field's column of each
 * unique index and exclusion constraint, but not into the key, and add these columns to columns.  Raises if
 * there are none.  Needs an SPI connection, as the table's owner.
 */
extern void free_value_put(const Attached *attached, int candidate, AttachedRow *row,
						   Bitmapset **columns);

#endif							/* SYNCEXT_FREE_VALUE_H */
