/*
 * work_retry.c
 *	  Trying again what failed while others succeeded.
 *
 * Called by local/work when all items were tried once.  A round costs a few
 * subtransactions for each item that still fails, so rounds must be few: rows that
 * hand unique values on are tried in the order in which they let go of them, others
 * once from the front and once from the back, which takes a chain in either
 * direction at one go.  Rows that hand them round in a circle need values in
 * between; where it isn't known who waits for whom, all that wait are given such, and
 * those that even so can't be placed are left out.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/resowner.h"

#include "local/free_value.h"
#include "local/handover.h"
#include "local/work_retry.h"

/* So often each item is tried on average, before the rest is left for later. */
#define TRIES_PER_ITEM	30

static int
find_failed(WorkItem **items, int n, bool backward, WorkItem **failed)
{
	int			nfailed = 0;

	for (int i = 0; i < n; i++)
	{
		WorkItem   *item = items[backward ? n - 1 - i : i];

		if (item->error != NULL && !item->busy)
			failed[nfailed++] = item;
	}
	return nfailed;
}

/*
 * Place rows of which the first aside of them let go of all unique values before, and
 * get theirs in the end.
 */
static bool
place_with_aside(Work *work, WorkItem **items, int n, int aside)
{
	WorkItem  **steps = palloc(sizeof(WorkItem *) * (n + aside));
	WorkItem   *copies = palloc(sizeof(WorkItem) * aside);
	WorkItem   *before = palloc(sizeof(WorkItem) * n);
	bool		placed = false;

	for (int i = 0; i < aside; i++)
	{
		copies[i] = *items[i];
		steps[i] = &copies[i];
	}
	for (int i = 0; i < n; i++)
	{
		/* from the last, which waits for the first, to the first */
		steps[aside + i] = items[n - 1 - i];
		before[i] = *items[i];
	}
	for (int candidate = 1; candidate <= FREE_VALUES && !placed; candidate++)
	{
		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < aside; i++)
			copies[i].free_value = candidate;
		/* those that are put aside were placed once by then */
		for (int i = 0; i < n; i++)
			items[i]->correction = true;
		placed = work_try(work, steps, n + aside);
		/* where that failed, some were done before others */
		for (int i = 0; i < n && !placed; i++)
			*items[i] = before[i];
	}
	for (int i = 0; i < n; i++)
		items[i]->correction = before[i].correction;
	return placed;
}

/* Those first whose rows are there, and can let go of values; returns how many. */
static int
present_first(WorkItem **items, int n)
{
	int			npresent = 0;

	for (int i = 0; i < n; i++)
	{
		WorkItem   *item = items[i];

		if (!item->handover->present)
			continue;
		items[i] = items[npresent];
		items[npresent++] = item;
	}
	return npresent;
}

/*
 * Let all rows go of their unique values, and see which can be placed then.  Nothing of
 * it stays.
 */
static void
try_each(Work *work, WorkItem **items, int n, int candidate, bool *placeable)
{
	int			npresent = present_first(items, n);

	for (int i = 0; i < n; i++)
	{
		WorkItem	aside = *items[i];
		WorkItem   *one = &aside;

		aside.free_value = candidate;
		placeable[i] = i >= npresent || work_try(work, &one, 1);
	}
	for (int i = n - 1; i >= 0; i--)
	{
		WorkItem	again = *items[i];
		WorkItem   *one = &again;

		again.correction = true;
		placeable[i] = placeable[i] && work_try(work, &one, 1);
	}
}

/* Leave out those that can't be placed whatever the others let go of; returns how many stay. */
static int
leave_out_hopeless(Work *work, WorkItem **items, int n, int candidate)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	bool		deferring = work->deferring;
	bool	   *placeable = palloc(sizeof(bool) * n);
	ErrorData  *volatile error = NULL;
	int			left = 0;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		try_each(work, items, n, candidate, placeable);
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (error != NULL)
		ReThrowError(error);
	work->deferring = deferring;
	for (int i = 0; i < n; i++)
		if (placeable[i])
			items[left++] = items[i];
	pfree(placeable);
	return left;
}

/* Place as many rows as can be when all of them let go of their values first. */
static bool
place_together(Work *work, WorkItem **items, int n)
{
	int			npresent = present_first(items, n);

	if (n < 2 || npresent == 0)
		return false;
	if (place_with_aside(work, items, n, npresent))
		return true;
	for (int candidate = 1; candidate <= FREE_VALUES; candidate++)
	{
		WorkItem  **some = palloc(sizeof(WorkItem *) * n);
		int			left = n;
		int			before;

		memcpy(some, items, sizeof(WorkItem *) * n);
		do
		{
			CHECK_FOR_INTERRUPTS();
			before = left;
			left = leave_out_hopeless(work, some, left, candidate);
		} while (left > 1 && left < before);
		npresent = present_first(some, left);
		if (left > 1 && left < n && npresent > 0 && place_with_aside(work, some, left, npresent))
			return true;
	}
	return false;
}

/*
 * Place rows that wait for one another in circles.  Circles of several unique indexes
 * may hang together: then all rows that wait are put aside at once.
 */
static bool
place_circles(Work *work, WorkItem **failed, int n)
{
	HandoverOrder order;
	WorkItem  **waiting = palloc(sizeof(WorkItem *) * Max(n, 1));
	int			nwaiting = 0;
	bool		any = false;

	handover_order(failed, n, &order);
	for (int i = 0; i < order.ncircles; i++)
		any |= place_with_aside(work, order.circles[i].items, order.circles[i].n, 1);
	if (any)
		return true;
	for (int i = 0; i < n; i++)
		if (order.items[i]->handover != NULL && order.items[i]->owner == order.items[0]->owner)
			waiting[nwaiting++] = order.items[i];
	if (place_together(work, waiting, nwaiting))
		return true;
	for (int i = 0; i < order.ncircles; i++)
		for (int k = 0; k < order.circles[i].n; k++)
		{
			WorkItem   *item = order.circles[i].items[k];

			item->error = psprintf("%s; this row and %d more hand their values on in a circle, and none could be stored in between",
								   item->error, order.circles[i].n - 1);
		}
	return false;
}

static bool
may_hand_on(WorkItem **items, int n)
{
	for (int i = 0; i < n; i++)
		if (items[i]->error != NULL && items[i]->handover != NULL)
			return true;
	return false;
}

void
work_retry(Work *work, WorkItem **items, int n, bool any)
{
	WorkItem  **failed = palloc(sizeof(WorkItem *) * Max(n, 1));
	int64		budget = work->tries + (int64) n * TRIES_PER_ITEM;
	bool		backward = true;
	bool		progress = false;
	int			nfailed = 0;

	while ((any || may_hand_on(items, n)) &&
		   (nfailed = find_failed(items, n, backward, failed)) > 0 && work->tries < budget)
	{
		HandoverOrder order;

		handover_order(failed, nfailed, &order);
		progress = work_in_halves(work, order.items, nfailed);
		if (!progress)
		{
			nfailed = find_failed(items, n, backward, failed);
			progress = place_circles(work, failed, nfailed);
		}
		if (!progress)
			break;
		any = true;
		backward = !backward;
	}
	/* the time was up */
	nfailed = progress ? find_failed(items, n, false, failed) : 0;
	for (int i = 0; i < nfailed; i++)
		failed[i]->busy = true;
	pfree(failed);
}
