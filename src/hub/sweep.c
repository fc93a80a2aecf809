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
#include "storage/canonical.h"
#include "storage/waiting.h"

TimestampTz
sweep_next_due(void)
{
	Waiting    *waiting = waiting_open(false);
	List	   *first = waiting_due(waiting, DT_NOEND - 1, 1);

	waiting_close(waiting);
	return first == NIL ? DT_NOEND : ((WaitingChange *) linitial(first))->next_attempt;
}

static bool
has_arrived(const WaitingChange *w)
{
	Canonical  *canonical = canonical_open(false);
	bool		exists = canonical_exists(canonical, w->parent_entity, w->parent_id);

	canonical_close(canonical);
	return exists;
}

/*
 * Who sends a parent releases a part of what waits for it, and lets the next one be
 * due: after that one come the others, again a part of them.
 */
int
sweep_due(int n)
{
	Waiting    *waiting = waiting_open(false);
	List	   *due = waiting_due(waiting, GetCurrentTimestamp(), n);
	int			room = n - list_length(due);
	int			released;
	const WaitingChange *last = NULL;
	ListCell   *lc;

	waiting_close(waiting);
	released = apply_parked(due, true);
	foreach(lc, due)
	{
		const WaitingChange *w = lfirst(lc);
		int			more;

		if ((last != NULL && strcmp(last->parent_id, w->parent_id) == 0 &&
			 strcmp(last->parent_entity, w->parent_entity) == 0) || !has_arrived(w))
			continue;
		more = apply_portion(w->parent_entity, w->parent_id, Max(room, 1));
		room -= more;
		released += more;
		last = w;
	}
	return released;
}
