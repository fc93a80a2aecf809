/*
 * rows_together.h
 *	  Inserting many rows of a table together, without a statement.
 */
#ifndef SYNCEXT_ROWS_TOGETHER_H
#define SYNCEXT_ROWS_TOGETHER_H

#include "executor/tuptable.h"
#include "utils/rel.h"

/*
 * Insert the rows, which have values for all columns, as the current user, who has the
 * right to it.  The table's constraints are checked, its foreign keys too, before this
 * returns; no row trigger of the function is fired, and there are no others but those of
 * constraints.  Raises what an INSERT would.
 */
extern void rows_insert_together(Relation rel, TupleTableSlot **slots, int n, Oid passed_over);

#endif							/* SYNCEXT_ROWS_TOGETHER_H */
