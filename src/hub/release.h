/*
 * release.h
 *	  Applying changes that have waited for their parent.
 */
#ifndef SYNCEXT_RELEASE_H
#define SYNCEXT_RELEASE_H

#include "hub/apply_item.h"

/*
 * Apply what the call's changes have set off and close its tables, as apply_finish()
 * does; then release the changes that waited for the call's new records, and those that
 * wait for what arrives thereby.  Of those that wait for one record a part: sweeps
 * release the rest, in the same order.
 */
extern void apply_end(ApplyCall *call);

/* Release what waits for a record, by its external id or by a source's own key of it. */
extern void release_waiting(const char *entity, const char *id);

/* Try the parked changes that are due, at most n; returns how many were applied. */
extern int	release_due(int n);

#endif							/* SYNCEXT_RELEASE_H */
