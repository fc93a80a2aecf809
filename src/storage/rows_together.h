/*
 * rows_together.h
 *	  Inserting many rows of a table together, and updating rows, without a statement.
 */
#ifndef SYNCEXT_ROWS_TOGETHER_H
#define SYNCEXT_ROWS_TOGETHER_H

#include "executor/tuptable.h"
#include "nodes/bitmapset.h"
#include "storage/itemptr.h"
#include "utils/rel.h"

/*
 * Insert the rows, which have values for all columns, as the current user, who has the
 * right to it.  The table's constraints are checked, its foreign keys too, before this
 * returns; no row trigger of the function is fired, and there are no others but those of
 * constraints.  Raises what an INSERT would.
 */
extern void rows_insert_together(Relation rel, TupleTableSlot **slots, int n, Oid passed_over);

/*
 * A table that is open to update rows of it, as the current user, who has the right to it.
 * Its constraints are checked with each row, and the same triggers passed over.  It lives in
 * the current memory context; an error leaves it by itself.
 */
typedef struct RowsChanger RowsChanger;

extern RowsChanger *rows_changer_open(Relation rel, Oid passed_over);
/*
 * Change these columns, attribute numbers, of the row at that place, which this transaction
 * holds, as a subscription does.  Returns false if it isn't there any more.
 */
extern bool rows_change(RowsChanger *changer, const ItemPointerData *at, const Datum *values,
						const bool *isnull, const Bitmapset *columns);
extern void rows_changer_close(RowsChanger *changer);

#endif							/* SYNCEXT_ROWS_TOGETHER_H */
