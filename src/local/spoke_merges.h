/*
 * spoke_merges.h
 *	  Rows behind a link of records that were merged at the hub.
 */
#ifndef SYNCEXT_SPOKE_MERGES_H
#define SYNCEXT_SPOKE_MERGES_H

#include "local/spoke_tables.h"

/*
 * Where a table that draws its keys has no row of a pulled record, but one of a record that was
 * merged into it, that row is the record's from now on.  While it isn't known what becomes of
 * the row, or others go by the source's keys, the record awaits it.
 */
extern void spoke_merges_take_rows(const char *source, PulledRecord *records, int n);

#endif							/* SYNCEXT_SPOKE_MERGES_H */
