/*
 * find_ahead.h
 *	  Records of a run, and what is remembered of their rows, found ahead.
 */
#ifndef SYNCEXT_FIND_AHEAD_H
#define SYNCEXT_FIND_AHEAD_H

#include "local/batch_item.h"

/* Called before each item: these are the ones to come, the next one first. */
extern void find_ahead(RowWriter *writer, BatchItem **items, int n);
/* Is what was found ahead still what would be found now? */
extern bool found_ahead_stands(const RowWriter *writer);

#endif							/* SYNCEXT_FIND_AHEAD_H */
