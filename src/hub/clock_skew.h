/*
 * clock_skew.h
 *	  Clocks of sources that run ahead of the hub's.
 */
#ifndef SYNCEXT_CLOCK_SKEW_H
#define SYNCEXT_CLOCK_SKEW_H

#include "hub/apply_item.h"

/* The time; now, if it lies further ahead than syncext.max_clock_skew. */
extern TimestampTz clock_bounded(TimestampTz time);
/*
 * The change as the hub takes it: with now for its updatedAt, if that lies
 * further ahead than syncext.max_clock_skew.  Then it is *bounded, else it is
 * the change itself.
 */
extern const Change *clamp_updated_at(const ApplyItem *item, Change *bounded);
/* Of a change that says itself what it counts as, in a field ladder: refuse what can't count. */
extern bool clock_within_bounds(const ApplyItem *item, ChangeError *error);
/* Have the decision's reason say what became of the updatedAt that was sent. */
extern void explain_clamped(const Change *sent, const Change *taken, Decision *decision);

#endif							/* SYNCEXT_CLOCK_SKEW_H */
