/*
 * retention.h
 *	  Removing what is older than the retention, but for the change log.
 */
#ifndef SYNCEXT_RETENTION_H
#define SYNCEXT_RETENTION_H

#include "hub/maintenance.h"

/*
 * Call one of syncext's functions, of the retention and of how many rows one transaction
 * removes, in steps until there is nothing left to remove; returns how many rows there were.
 */
extern int64 retention_remove(Maintenance *m, const char *function);
/*
 * Tombstones.  Finding them takes a walk through all records.  They become old as log
 * tables are truncated, so it is done when one was.
 */
extern void retention_remove_tombstones(Maintenance *m);

#endif							/* SYNCEXT_RETENTION_H */
