/*
 * cascade.h
 *	  What a foreign key does to the rows that refer to a row.
 */
#ifndef SYNCEXT_CASCADE_H
#define SYNCEXT_CASCADE_H

#include "executor/tuptable.h"
#include "utils/rel.h"

/*
 * Was the row deleted (new is NULL) or updated because the row that it referred to
 * is gone, as a foreign key of its table asks for?
 */
extern bool cascade_made(Relation rel, TupleTableSlot *old, TupleTableSlot *new);

#endif							/* SYNCEXT_CASCADE_H */
