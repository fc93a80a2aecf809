/*
 * stat_table.h
 *	  Counters in the unlogged table syncext.stat_row, where there is no shared memory.
 */
#ifndef SYNCEXT_STAT_TABLE_H
#define SYNCEXT_STAT_TABLE_H

#include "process/stat_entries.h"

/*
 * Append what was counted, and leave the list as it is; false, and nothing is written, if
 * the table is locked.  May raise.
 */
extern bool stat_table_write(const StatEntries *counted);
/* Add all rows to the list; how many they are. */
extern int64 stat_table_read(StatEntries *to);

#endif							/* SYNCEXT_STAT_TABLE_H */
