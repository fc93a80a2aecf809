/*
 * sweep.c
 *	  Parked changes whose time has come.
 *
 * Called by pulls and by maintenance.  A parent's arrival sets its children free
 * in its own transaction; but a child that is being parked at that very moment
 * isn't seen by it.  Such a wake-up, lost to a race, costs one sweep.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "hub/apply_call.h"
#include "hub/sweep.h"
#include "storage/waiting.h"

bool
sweep_any_due(void)
{
	Waiting    *waiting = waiting_open(false);
	bool		any = waiting_any_due(waiting, GetCurrentTimestamp());

	waiting_close(waiting);
	return any;
}

TimestampTz
sweep_next_due(void)
{
	Waiting    *waiting = waiting_open(false);
	List	   *first = waiting_due(waiting, DT_NOEND - 1, 1);

	waiting_close(waiting);
	return first == NIL ? DT_NOEND : ((WaitingChange *) linitial(first))->next_attempt;
}

int
sweep_due(int n)
{
	Waiting    *waiting = waiting_open(false);
	List	   *due = waiting_due(waiting, GetCurrentTimestamp(), n);

	waiting_close(waiting);
	return apply_parked(due, true);
}
