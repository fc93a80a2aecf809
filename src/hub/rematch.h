/*
 * rematch.h
 *	  Building match keys, and looking again for what was written at once.
 */
#ifndef SYNCEXT_REMATCH_H
#define SYNCEXT_REMATCH_H

#include "hub/maintenance.h"

/* A step of sync_maintain: records that were written at once are looked at together. */
extern void rematch_sweep(Maintenance *m);
/* Another: goes on with what sync_rematch has not built. */
extern void rematch_go_on(Maintenance *m);

#endif							/* SYNCEXT_REMATCH_H */
