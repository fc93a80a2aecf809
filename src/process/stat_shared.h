/*
 * stat_shared.h
 *	  Counters of all sessions in shared memory, where there is some.
 */
#ifndef SYNCEXT_STAT_SHARED_H
#define SYNCEXT_STAT_SHARED_H

#include "process/stat_entries.h"

/* Have we them at hand? */
extern bool stat_shared_attached(void);
/*
 * Get at them, where the server can have them and they are not at hand: in a
 * transaction, before anything that may not fail.  May raise: call it by subxact_try().
 */
extern void stat_shared_attach(void *unused);
/* Could stat_shared_attach() do anything here? */
extern bool stat_shared_possible(void);

/* These are for those who are attached, and raise nothing. */
extern void stat_shared_add(StatEntries *counted);
extern void stat_shared_reset(void);
extern TimestampTz stat_shared_since(void);
/* Those that came with the server, not from its registry. */
extern bool stat_shared_preloaded(void);
/* Add this database's counters to the list. */
extern void stat_shared_read(StatEntries *to);

/* For _PG_init, while the server loads its libraries. */
extern void stat_shared_request(void);

#endif							/* SYNCEXT_STAT_SHARED_H */
