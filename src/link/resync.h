/*
 * resync.h
 *	  What both sides agreed on is compared anew, after one has gone back in time.
 */
#ifndef SYNCEXT_RESYNC_H
#define SYNCEXT_RESYNC_H

#include "link/exchange_step.h"

/* Is anything that was agreed on perhaps of another time of the hub?  In a step. */
extern bool resync_is_due(const Exchange *x);
/* Walk through all of that; in no step. */
extern void resync_run(Exchange *x);

#endif							/* SYNCEXT_RESYNC_H */
