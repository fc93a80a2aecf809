/*
 * stat_shared.h
 *	  Counters of all sessions in shared memory, where there is some.
 */
#ifndef SYNCEXT_STAT_SHARED_H
#define SYNCEXT_STAT_SHARED_H

#include "process/shared_area.h"
#include "process/stat_entries.h"

/* Where they are. */
extern SharedArea stat_shared_area;

/* These are for those who have it at hand, and raise nothing. */
extern void stat_shared_add(StatEntries *counted);
extern void stat_shared_reset(void);
extern TimestampTz stat_shared_since(void);
/* Add this database's counters to the list. */
extern void stat_shared_read(StatEntries *to);

#endif							/* SYNCEXT_STAT_SHARED_H */
