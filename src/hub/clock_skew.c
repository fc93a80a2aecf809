/*
 * clock_skew.c
 *	  Clocks of sources that run ahead of the hub's.
 *
 * Where the later change wins, a source whose clock is wrong by a year would win for
 * a year.  So updatedAt is bounded by the hub's own clock, whichever way a change comes
 * in.  A clock that is behind harms its own source alone.
 *
 * A field ladder's record must not depend on when a change came, so there it isn't bent
 * but refused; only where the hub or a table makes the stamp itself it is bounded first.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/clock_skew.h"
#include "model/field_state.h"
#include "model/rfc3339.h"
#include "settings.h"

/* Is the time later than the hub's clock allows? */
static bool
is_ahead(TimestampTz time)
{
	TimestampTz skew = (TimestampTz) setting_max_clock_skew * USECS_PER_SEC;

	/* the statement's time costs nothing, and is never later than the clock's */
	return setting_max_clock_skew >= 0 && time > GetCurrentStatementStartTimestamp() + skew &&
		time > GetCurrentTimestamp() + skew;
}

TimestampTz
clock_bounded(TimestampTz time)
{
	return is_ahead(time) ? GetCurrentTimestamp() : time;
}

/* Does the change say itself what it counts as, in any order?  Then it isn't bent. */
static bool
stamps_itself(const ApplyItem *item)
{
	const Change *change = item->change;

	return (item->entity->ladder & RUNG_FIELD) && change->origin == ORIGIN_DOCUMENT &&
		!change->has_base;
}

const Change *
clamp_updated_at(const ApplyItem *item, Change *bounded)
{
	const Change *change = item->change;

	if (!change->has_updated_at || !is_ahead(change->updated_at) || stamps_itself(item))
		return change;
	*bounded = *change;
	bounded->updated_at = clock_bounded(change->updated_at);
	bounded->ahead = Max((change->updated_at - bounded->updated_at) / USECS_PER_SEC, 1);
	return bounded;
}

static bool
stamp_within_bounds(const LifeStamp *stamp)
{
	return !stamp->is_set || !stamp->has_updated_at || !is_ahead(stamp->updated_at);
}

static bool
state_within_bounds(const Record *record)
{
	const Life *life = record->life;

	for (int i = 0; i < record->nfields; i++)
		if (record->fields[i].stamp.has_updated_at && is_ahead(record->fields[i].stamp.updated_at))
			return false;
	return stamp_within_bounds(&life->lived) && stamp_within_bounds(&life->died) &&
		stamp_within_bounds(&life->cut) && stamp_within_bounds(&life->born) &&
		stamp_within_bounds(&life->seen);
}

bool
clock_within_bounds(const ApplyItem *item, ChangeError *error)
{
	const Change *change = item->change;

	/* what was delivered to a table here was within bounds once */
	if (!(item->entity->ladder & RUNG_FIELD) || change->origin != ORIGIN_DOCUMENT)
		return true;
	if (change->state != NULL && strcmp(change->state->ladder,
										ladder_field_kind(item->entity->ladder, item->entity->deletes)) != 0)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT, "Give both hubs the same ladder and deletes.",
							"the ladder of entity \"%s\" is \"%s\" at the other hub, and \"%s\" here",
							change->entity, change->state->ladder,
							ladder_field_kind(item->entity->ladder, item->entity->deletes));
	if ((change->state == NULL || state_within_bounds(&change->state->record)) &&
		(!change->has_updated_at || !stamps_itself(item) || !is_ahead(change->updated_at)) &&
		stamp_within_bounds(&change->known))
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Set the clock that it is of, and send the change with the right time; or raise syncext.max_clock_skew.",
						"a time of the document is ahead of the hub's clock by more than syncext.max_clock_skew");
}

void
explain_clamped(const Change *sent, const Change *taken, Decision *decision)
{
	if (taken == sent)
		return;
	decision->reason = psprintf("%s; updatedAt %s is ahead of the hub's clock by more than syncext.max_clock_skew, and counts as now",
								decision->reason, rfc3339_format(sent->updated_at));
}
