/*
 * clock.h
 *	  Clocks of sources that run ahead of the hub's.
 */
#ifndef SYNCEXT_CLOCK_H
#define SYNCEXT_CLOCK_H

#include "model/ladder.h"

/*
 * The change as the hub takes it: with now for its updatedAt, if that lies
 * further ahead than syncext.max_clock_skew.  Then it is *bounded, else it is
 * the change itself.
 */
extern const Change *clock_bound(const Change *change, Change *bounded);
/* Have the decision's reason say what became of the updatedAt that was sent. */
extern void clock_tell(const Change *sent, const Change *taken, Decision *decision);

#endif							/* SYNCEXT_CLOCK_H */
