/*
 * attempt.c
 *	  What failed and is tried again, until it is given up as a dead letter.
 *
 * Parked changes have a schedule of their own (hub/release.c), as what they wait
 * for isn't an error that passes.
 */
#include "postgres.h"

#include <math.h>

#include "common/pg_prng.h"
#include "utils/timestamp.h"

#include "settings.h"
#include "storage/attempt.h"

bool
attempt_is_dead(const Attempt *attempt)
{
	return TIMESTAMP_IS_NOEND(attempt->next_attempt);
}

bool
attempt_is_dead_by(const Attempt *attempt, TimestampTz since, TimestampTz by)
{
	return TIMESTAMP_IS_NOEND(by) ||
		(attempt_is_dead(attempt) &&
		 (attempt->dead_since != 0 ? attempt->dead_since : since) <= by);
}

void
attempt_kill(Attempt *attempt, TimestampTz now)
{
	attempt->next_attempt = DT_NOEND;
	if (attempt->dead_since == 0)
		attempt->dead_since = now;
}

void
attempt_recall(Attempt *attempt, TimestampTz now)
{
	attempt->next_attempt = now;
	attempt->dead_since = 0;
}

void
attempt_revive(Attempt *attempt, TimestampTz now)
{
	attempt->attempts = 0;
	attempt_recall(attempt, now);
}

void
attempt_failed(Attempt *attempt, TimestampTz now, int cap)
{
	attempt->attempts++;
	if (attempt->attempts >= cap)
		attempt_kill(attempt, now);
	else
		attempt_recall(attempt, attempt_backoff(now, attempt->attempts));
}

TimestampTz
attempt_backoff_between(TimestampTz now, int failures, double base, double max)
{
	double		delay = ldexp(base, Min(failures, 64) - 1);

	delay = Min(delay, max) * (0.5 + pg_prng_double(&pg_global_prng_state));
	return TimestampTzPlusMilliseconds(now, (int64) delay);
}

TimestampTz
attempt_backoff(TimestampTz now, int failures)
{
	return attempt_backoff_between(now, failures, setting_retry_base, setting_retry_max);
}
