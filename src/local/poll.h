/*
 * poll.h
 *	  sync_poll: bringing what was edited in a polled relation to the hub.
 */
#ifndef SYNCEXT_POLL_H
#define SYNCEXT_POLL_H

#include "utils/jsonb.h"

/* Raises if the relation isn't polled, or not for the current user to poll. */
extern void poll_check(Oid relation);
/*
 * Poll a relation that has been checked, and locked as a job.  Not atomic, it needs
 * a non-atomic connection to SPI; what it fails by is then returned in *error, and
 * has been noted in job_run.  The counts, and *error, come in the current context.
 */
extern Jsonb *poll_run(Oid relation, bool full, bool atomic, bool scheduled,
					   ErrorData **error);

#endif							/* SYNCEXT_POLL_H */
