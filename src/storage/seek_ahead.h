/*
 * seek_ahead.h
 *	  Finding keys that come in index order by walking on from the last one.
 */
#ifndef SYNCEXT_SEEK_AHEAD_H
#define SYNCEXT_SEEK_AHEAD_H

#include "executor/tuptable.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* Columns of an index; as many as storage/rows has. */
#define SEEK_AHEAD_MAX_KEYS	5

typedef struct SeekAhead SeekAhead;

/*
 * The index is a unique btree, none of whose columns is ever null.  What is learnt of the
 * keys, how near to one another they are, goes to *lesson, for the next time: 0 at first,
 * NULL if there is none.
 */
extern SeekAhead *seek_ahead_begin(Relation table, Relation index, Snapshot snapshot,
								   int *lesson);
extern void seek_ahead_end(SeekAhead *ahead);
/*
 * Look for a value of each column.  Returns false where a search of its own is
 * cheaper; else *found tells, and the row is in slot.
 */
extern bool seek_ahead(SeekAhead *ahead, const Datum *keys, TupleTableSlot *slot, bool *found);

#endif							/* SYNCEXT_SEEK_AHEAD_H */
