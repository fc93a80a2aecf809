/*
 * rows_entries.h
 *	  Index entries of rows that were inserted together.
 */
#ifndef SYNCEXT_ROWS_ENTRIES_H
#define SYNCEXT_ROWS_ENTRIES_H

#include "nodes/execnodes.h"

/*
 * Insert the index entries of rows that are in the table, all of them, and queue their
 * triggers, as the executor does row by row.
 */
extern void rows_insert_entries(ResultRelInfo *result, EState *estate, TupleTableSlot **slots, int n);

#endif							/* SYNCEXT_ROWS_ENTRIES_H */
