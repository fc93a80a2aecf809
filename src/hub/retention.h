/*
 * retention.h
 *	  Removing what is older than the retention, but for the change log.
 */
#ifndef SYNCEXT_RETENTION_H
#define SYNCEXT_RETENTION_H

#include "hub/maintenance.h"

/* Conflicts that are closed. */
extern void retention_remove_conflicts(Maintenance *m);
/* Runs of jobs; the last run of each stays, however old it is. */
extern void retention_remove_runs(Maintenance *m);
/* Answers to changes that were sent with an id. */
extern void retention_remove_change_ids(Maintenance *m);
/*
 * Tombstones.  Finding them takes a walk through all records.  They become old as log
 * tables are truncated, so it is done when one was.
 */
extern void retention_remove_tombstones(Maintenance *m);
/*
 * Keys that the hub behind a link doesn't have.  Behind a link there is no golden
 * record whose tombstone tells that a key is gone: what was agreed on with the hub
 * there does.
 */
extern void retention_remove_gone(Maintenance *m);

#endif							/* SYNCEXT_RETENTION_H */
