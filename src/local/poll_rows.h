/*
 * poll_rows.h
 *	  Bringing the rows that a poll has read, or is to try again, to the hub.
 */
#ifndef SYNCEXT_POLL_ROWS_H
#define SYNCEXT_POLL_ROWS_H

#include "local/poll_run.h"

/* Steps of a poll: the next batch of what failed before and is due now, and of the scan. */
extern void poll_retry_batch(Poll *poll);
extern void poll_apply_batch(Poll *poll);

#endif							/* SYNCEXT_POLL_ROWS_H */
