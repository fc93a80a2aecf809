/*
 * item_batch_retry.c
 *	  Trying again what failed while others succeeded.
 *
 * A round costs a few subtransactions for each item that still fails, so rounds
 * must be few: rows that hand unique values on are tried in the order in which
 * they let go of them, others once from the front and once from the back, which
 * takes a chain in either direction at one go.  Rows that hand them round in a
 * circle need values in between; where it isn't known which waits for which,
 * all that wait are given such, and those that even so can't be placed are left
 * out.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "local/free_value.h"
#include "local/handover.h"
#include "local/item_batch_retry.h"
#include "process/subxact.h"

/* So often each item is tried on average, before the rest is left for later. */
#define TRIES_PER_ITEM	30

static int
find_failed(BatchItem **items, int n, bool backward, BatchItem **failed)
{
	int			nfailed = 0;

	for (int i = 0; i < n; i++)
	{
		BatchItem  *item = items[backward ? n - 1 - i : i];

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
place_with_aside(ItemBatch *batch, BatchItem **items, int n, int aside)
{
	BatchItem **steps = palloc(sizeof(BatchItem *) * (n + aside));
	BatchItem  *copies = palloc(sizeof(BatchItem) * aside);
	BatchItem  *before = palloc(sizeof(BatchItem) * n);
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
		placed = item_batch_try(batch, steps, n + aside);
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
present_first(BatchItem **items, int n)
{
	int			npresent = 0;

	for (int i = 0; i < n; i++)
	{
		BatchItem  *item = items[i];

		if (!item->handover->present)
			continue;
		items[i] = items[npresent];
		items[npresent++] = item;
	}
	return npresent;
}

typedef struct Trial
{
	ItemBatch  *batch;
	BatchItem **items;
	int			n;
	int			candidate;
	bool	   *placeable;		/* of each item */
} Trial;

/* Let all rows go of their unique values, and see which can be placed then. */
static void
try_each(void *arg)
{
	const Trial *trial = arg;
	ItemBatch  *batch = trial->batch;
	BatchItem **items = trial->items;
	const int	n = trial->n;
	bool	   *placeable = trial->placeable;
	int			npresent = present_first(items, n);

	for (int i = 0; i < n; i++)
	{
		BatchItem	aside = *items[i];
		BatchItem  *one = &aside;

		aside.free_value = trial->candidate;
		placeable[i] = i >= npresent || item_batch_try(batch, &one, 1);
	}
	for (int i = n - 1; i >= 0; i--)
	{
		BatchItem	again = *items[i];
		BatchItem  *one = &again;

		again.correction = true;
		placeable[i] = placeable[i] && item_batch_try(batch, &one, 1);
	}
}

/* Leave out those that can't be placed whatever the others let go of; returns how many stay. */
static int
leave_out_hopeless(ItemBatch *batch, BatchItem **items, int n, int candidate)
{
	bool		deferring = batch->deferring;
	bool	   *placeable = palloc(sizeof(bool) * n);
	Trial		trial = {batch, items, n, candidate, placeable};
	int			left = 0;

	subxact_dry(try_each, &trial);
	batch->deferring = deferring;
	for (int i = 0; i < n; i++)
		if (placeable[i])
			items[left++] = items[i];
	pfree(placeable);
	return left;
}

/* Place as many rows as can be when all of them let go of their values first. */
static bool
place_together(ItemBatch *batch, BatchItem **items, int n)
{
	int			npresent = present_first(items, n);

	if (n < 2 || npresent == 0)
		return false;
	if (place_with_aside(batch, items, n, npresent))
		return true;
	for (int candidate = 1; candidate <= FREE_VALUES; candidate++)
	{
		BatchItem **some = palloc(sizeof(BatchItem *) * n);
		int			left = n;
		int			before;

		memcpy(some, items, sizeof(BatchItem *) * n);
		do
		{
			CHECK_FOR_INTERRUPTS();
			before = left;
			left = leave_out_hopeless(batch, some, left, candidate);
		} while (left > 1 && left < before);
		npresent = present_first(some, left);
		if (left > 1 && left < n && npresent > 0 && place_with_aside(batch, some, left, npresent))
			return true;
	}
	return false;
}

/*
 * Place rows that wait for one another in circles.  Circles of several unique indexes
 * may hang together: then all rows that wait are put aside at once.
 */
static bool
place_circles(ItemBatch *batch, BatchItem **failed, int n)
{
	HandoverOrder order;
	BatchItem **waiting = palloc(sizeof(BatchItem *) * Max(n, 1));
	int			nwaiting = 0;
	bool		any = false;

	handover_order(failed, n, &order);
	for (int i = 0; i < order.ncircles; i++)
		any |= place_with_aside(batch, order.circles[i].items, order.circles[i].n, 1);
	if (any)
		return true;
	for (int i = 0; i < n; i++)
		if (order.items[i]->handover != NULL && order.items[i]->owner == order.items[0]->owner)
			waiting[nwaiting++] = order.items[i];
	if (place_together(batch, waiting, nwaiting))
		return true;
	for (int i = 0; i < order.ncircles; i++)
		for (int k = 0; k < order.circles[i].n; k++)
		{
			BatchItem  *item = order.circles[i].items[k];

			item->error = psprintf("%s; this row and %d more hand their values on in a circle, and none could be stored in between",
								   item->error, order.circles[i].n - 1);
		}
	return false;
}

static bool
may_hand_on(BatchItem **items, int n)
{
	for (int i = 0; i < n; i++)
		if (items[i]->error != NULL && items[i]->handover != NULL)
			return true;
	return false;
}

void
item_batch_retry(ItemBatch *batch, BatchItem **items, int n, bool any)
{
	BatchItem **failed = palloc(sizeof(BatchItem *) * Max(n, 1));
	int64		budget = batch->tries + (int64) n * TRIES_PER_ITEM;
	bool		backward = true;
	bool		progress = false;
	int			nfailed = 0;

	while ((any || may_hand_on(items, n)) &&
		   (nfailed = find_failed(items, n, backward, failed)) > 0 && batch->tries < budget)
	{
		HandoverOrder order;

		handover_order(failed, nfailed, &order);
		progress = item_batch_in_halves(batch, order.items, nfailed);
		if (!progress)
		{
			nfailed = find_failed(items, n, backward, failed);
			progress = place_circles(batch, failed, nfailed);
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
