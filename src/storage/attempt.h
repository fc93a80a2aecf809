/*
 * attempt.h
 *	  What failed and is tried again, until it is given up as a dead letter.
 *
 * Rows of pending, waiting and capture_failure hold one each.
 */
#ifndef SYNCEXT_ATTEMPT_H
#define SYNCEXT_ATTEMPT_H

#include "datatype/timestamp.h"

typedef struct Attempt
{
	int			attempts;		/* that failed, since the first or the last revival */
	TimestampTz next_attempt;	/* DT_NOEND: none, it is a dead letter */
	TimestampTz dead_since;		/* 0: it isn't one, or plain SQL has made it one */
	const char *error;			/* of the last attempt, or NULL */
} Attempt;

extern bool attempt_is_dead(const Attempt *attempt);
/*
 * Was it a dead letter by a time?  Of one without a time of its own that is asked of
 * since, when it failed first.  DT_NOEND: true, dead or not.
 */
extern bool attempt_is_dead_by(const Attempt *attempt, TimestampTz since, TimestampTz by);

/* It has failed once more: try again later, or not at all from the cap-th time on. */
extern void attempt_failed(Attempt *attempt, TimestampTz now, int cap);
/* Give it up. */
extern void attempt_kill(Attempt *attempt, TimestampTz now);
/* Try it now, dead letter or not; attempt_revive as if it had never failed. */
extern void attempt_recall(Attempt *attempt, TimestampTz now);
extern void attempt_revive(Attempt *attempt, TimestampTz now);

/*
 * When to try again after so many failures: each time twice as late as syncext.retry_base,
 * syncext.retry_max at most, and spread, lest all that failed together come together.
 */
extern TimestampTz attempt_backoff(TimestampTz now, int failures);
/* Like attempt_backoff(), with a base and maximum (ms) of the caller's own. */
extern TimestampTz attempt_backoff_between(TimestampTz now, int failures, double base,
										   double max);

#endif							/* SYNCEXT_ATTEMPT_H */
