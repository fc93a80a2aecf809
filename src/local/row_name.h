/*
 * row_name.h
 *	  The key of a record's row in a relation that draws its keys itself.
 */
#ifndef SYNCEXT_ROW_NAME_H
#define SYNCEXT_ROW_NAME_H

#include "local/row_state.h"

/* The key by which the relation knows the record; NULL: it has no row of it. */
extern const char *row_name_find(RowState *state);
/* Is the key still the record's, now that its row is locked? */
extern bool row_name_stands(const RowState *state);
/*
 * Give the record a key, as an insert does that leaves it out.  later: nobody asks for it
 * before row_name_flush().
 */
extern void row_name_draw(RowState *state, bool later);
extern void row_name_flush(RowWriter *writer);
/*
 * Read the row of the record that was just inserted without a key, by the record's id that
 * it has in a column.
 */
extern void row_name_read_back(RowState *state, AttachedRow *stored);

/* Does a field of the record refer to rows of tables that draw keys of their own? */
extern bool row_name_refers(const RowState *state);
/*
 * What is written into a column: where it refers to a record of such a table, the key of
 * that row.  Raises if there is no row.
 */
extern JsonbValue row_name_value(const RowState *state, const AttachedColumn *column);

#endif							/* SYNCEXT_ROW_NAME_H */
