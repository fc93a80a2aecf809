/*
 * item_batch.c
 *	  Working through records of attached relations.
 *
 * deliver, load and poll do.  All items are tried in halves (item_batch_try), and
 * those that fail alone once more (item_batch_retry).
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "local/constraints.h"
#include "local/item_batch.h"
#include "local/item_batch_lock.h"
#include "local/item_batch_order.h"
#include "local/item_batch_retry.h"
#include "settings.h"

/* Has a relation of them constraints that can be deferred? */
static bool
is_deferrable(const BatchItem *items, int n)
{
	for (int i = 0; i < n; i++)
		if (batch_item_is_open(&items[i]) && items[i].deferrable)
			return true;
	return false;
}

void
item_batch_run(BatchItem *items, int n, BatchItemFunction function, void *arg)
{
	ItemBatch	batch = {.function = function, .arg = arg};
	BatchItem **order;
	bool		any;

	if (n == 0)
		return;
	batch.writer.registry = registry_get();
	batch.writer.as_owner.patience = setting_lock_timeout;
	batch.context = AllocSetContextCreate(CurrentMemoryContext, "syncext item batch",
										  ALLOCSET_DEFAULT_SIZES);
	item_batch_lock_relations(items, n);
	if (is_deferrable(items, n))
		item_batch_defer(&batch);
	order = item_batch_order(items, n);
	any = item_batch_in_halves(&batch, order, n);
	item_batch_retry(&batch, order, n, any);
	if (batch.deferring)
		constraints_restore();
	MemoryContextDelete(batch.context);
}
