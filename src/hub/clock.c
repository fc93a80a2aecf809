/*
 * clock.c
 *	  Clocks of sources that run ahead of the hub's.
 *
 * Called by hub/apply and hub/documents for every change, whichever way it
 * came in.  Where the later change wins, a source whose clock is wrong by a
 * year would win for a year: what it says of the time is bounded by the hub's
 * own clock.  A clock that is behind harms its own source alone.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "hub/clock.h"
#include "model/rfc3339.h"
#include "settings.h"

const Change *
clock_bound(const Change *change, Change *bounded)
{
	TimestampTz skew = (TimestampTz) setting_max_clock_skew * USECS_PER_SEC;
	TimestampTz now;

	/* the statement's time costs nothing, and is never later than the clock's */
	if (!change->has_updated_at || setting_max_clock_skew < 0 ||
		change->updated_at <= GetCurrentStatementStartTimestamp() + skew)
		return change;
	now = GetCurrentTimestamp();
	if (change->updated_at <= now + skew)
		return change;
	*bounded = *change;
	bounded->updated_at = now;
	return bounded;
}

void
clock_tell(const Change *sent, const Change *taken, Decision *decision)
{
	if (taken == sent)
		return;
	decision->reason = psprintf("%s; updatedAt %s is ahead of the hub's clock by more than syncext.max_clock_skew, and counts as now",
								decision->reason, rfc3339_format(sent->updated_at));
}
