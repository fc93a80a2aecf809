/*
 * item_batch_try.c
 *	  Working through items in subtransactions: a run of them in one, or where that
 *	  fails in halves.
 *
 * A subtransaction for each record costs as much as placing it, so a run of records
 * goes in one; where it fails, its halves do, down to the records that fail alone.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/memutils.h"

#include "hub/release.h"
#include "local/constraints.h"
#include "local/search_path.h"
#include "local/table_code.h"
#include "local/handover.h"
#include "local/find_ahead.h"
#include "local/item_batch_try.h"
#include "local/row_together.h"
#include "process/subxact.h"

/* ---------- one subtransaction ---------- */

/* The owner of the relations of a run, InvalidOid if there is nothing to do in it. */
static Oid
owner_of(BatchItem **items, int n)
{
	for (int i = 0; i < n; i++)
		if (batch_item_is_open(items[i]))
			return items[i]->owner;
	return InvalidOid;
}

/*
 * Do one item.  Its relation is kept open: code of the table that runs meanwhile can't
 * alter it.  What such code did before is seen here; what it sets goes with the item.
 */
static void
do_item(ItemBatch *batch, BatchItem *item)
{
	Relation	rel = try_relation_open(item->relation, NoLock);
	Attached   *attached = rel == NULL ? NULL : attached_of(rel);
	RowWriter  *writer = &batch->writer;

	if (attached == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("relation with OID %u was dropped or detached in the meantime",
						item->relation)));
	attached_check(attached);
	if (attached->owner != item->owner)
		attached_raise_altered(attached);
	writer_begin_record(&writer->as_owner, attached);
	writer->as_owner.at = item->at;
	writer->attempt.attached = NULL;
	writer->free_value = item->free_value;
	item->outcome = batch->function(writer, attached, item, batch->arg);
	item->busy = item->outcome == BATCH_ITEM_BUSY;
	writer_end_record(&writer->as_owner);
	relation_close(rel, NoLock);
}

/*
 * Can no other session write rows of the relation until the subtransaction fails or our
 * transaction ends?  Then none of them need be locked, which writes each of their pages,
 * and all of these to the WAL.  It is asked for where nobody is writing, and nobody waits to;
 * who comes meanwhile waits for this run.  So it doesn't last where the run has to wait for
 * more than a moment: then it is done again, see item_batch_try().
 */
static Oid
lock_alone(const ItemBatch *batch, BatchItem **items, int n)
{
	Oid			relid = items[0]->relation;

	if (batch->not_alone)
		return InvalidOid;
	for (int i = 0; i < n; i++)
		if (items[i]->relation != relid || !items[i]->may_be_alone)
			return InvalidOid;
	return ConditionalLockRelationOid(relid, ShareLock) ? relid : InvalidOid;
}

typedef struct Run
{
	ItemBatch  *batch;
	BatchItem **items;
	int			n;
} Run;

/* Do items whose relations have one owner. */
static void
do_run(void *arg)
{
	const Run  *run = arg;
	ItemBatch  *batch = run->batch;
	BatchItem **items = run->items;
	const int	n = run->n;
	RowWriter  *writer = &batch->writer;
	MemoryContext old = CurrentMemoryContext;
	Oid			owner = owner_of(items, n);

	if (!OidIsValid(owner))
	{
		for (int i = 0; i < n; i++)
			items[i]->busy = true;
		return;
	}
	SPI_connect();
	MemoryContextSwitchTo(batch->context);
	writer->canonical = canonical_open(false);
	writer->replica = mapped_open(&replica_def, true);
	writer->conflicts = mapped_open(&conflict_log_def, false);
	writer->together = NULL;
	writer->loads = writer->polls = writer->ahead = false;
	writer->streak = writer->quiet = writer->nahead = writer->pause = writer->next_pause = 0;
	/* what is alone tells by itself what is wrong with it */
	writer->deferring = batch->deferring;
	if (n > 1)
		row_together_begin(writer, batch->context);
	writer->call = NULL;
	writer->keys = NULL;
	writer->draws_free_keys = false;
	writer->context = batch->context;
	MemoryContextSwitchTo(old);

	writer->as_owner.alone = lock_alone(batch, items, n);
	writer_enter(&writer->as_owner, owner, batch->deferring);
	for (int i = 0; i < n; i++)
	{
		MemoryContext item_context = AllocSetContextCreate(batch->context, "syncext batch item",
														   ALLOCSET_DEFAULT_SIZES);

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(item_context);
		items[i]->busy = !batch_item_is_open(items[i]);
		items[i]->error = NULL;
		items[i]->handover = NULL;
		if (batch_item_is_open(items[i]))
		{
			find_ahead(writer, &items[i], n - i);
			do_item(batch, items[i]);
		}
		MemoryContextSwitchTo(old);
		/* a deferred constraint may yet fail for what an only item tried, see handover_of() */
		if (n > 1)
			MemoryContextDelete(item_context);
	}
	row_together_end(writer);
	if (writer->call != NULL)
		apply_end(writer->call);
	writer_leave(&writer->as_owner);

	if (writer->keys != NULL)
		mapped_close(writer->keys);
	mapped_close(writer->conflicts);
	mapped_close(writer->replica);
	canonical_close(writer->canonical);
	SPI_finish();
	MemoryContextSwitchTo(old);
	MemoryContextReset(batch->context);
}

/*
 * Is the error about one record, and not about the server or the caller?  A SQLSTATE
 * that the table's own code chose says nothing of the server.
 */
static bool
is_about_record(const ErrorData *error)
{
	if (table_code_raised(error))
		return true;
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_OPERATOR_INTERVENTION:
		case ERRCODE_INSUFFICIENT_RESOURCES:
		case ERRCODE_SYSTEM_ERROR:
		case ERRCODE_CONNECTION_EXCEPTION:
			return false;
	}
	/* what a foreign table's server says when it is away */
	if (error->sqlerrcode == ERRCODE_FDW_UNABLE_TO_ESTABLISH_CONNECTION)
		return false;
	return error->sqlerrcode != ERRCODE_T_R_SERIALIZATION_FAILURE || !IsolationUsesXactSnapshot();
}

/* Did another transaction have the row, or another one that is needed, in use? */
static bool
is_busy(const ErrorData *error)
{
	if (table_code_raised(error))
		return false;
	switch (error->sqlerrcode)
	{
		case ERRCODE_LOCK_NOT_AVAILABLE:
		case ERRCODE_T_R_DEADLOCK_DETECTED:
		case ERRCODE_T_R_SERIALIZATION_FAILURE:
			return true;
		default:
			return false;
	}
}

/* Say what is known besides of why a name wasn't found. */
static char *
describe_failure(const BatchItem *item, const ErrorData *error)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
			return psprintf("%s (code of relation %s runs with search_path = %s)",
							batch_item_describe_error(error), item->name,
							search_path_of_role(item->owner));
		default:
			return batch_item_describe_error(error);
	}
}

void
item_batch_defer(ItemBatch *batch)
{
	constraints_check();
	batch->deferring = true;
}

bool
item_batch_try(ItemBatch *batch, BatchItem **items, int n)
{
	Run			run = {batch, items, n};
	ErrorData  *error;
	bool		defer;

	batch->tries += n;
	batch->writer.as_owner.holds_rows = n > 1 || batch->any_done;
	error = subxact_try(do_run, &run);
	if (error == NULL)
	{
		batch->any_done = true;
		return true;
	}
	if (OidIsValid(batch->writer.as_owner.alone) && is_busy(error))
	{
		/* who holds what we wait for may be about to write the relation */
		batch->not_alone = true;
		FreeErrorData(error);
		MemoryContextReset(batch->context);
		return item_batch_try(batch, items, n);
	}
	batch->writer.careful = true;
	if (n == 1)
		items[0]->handover = handover_of(&batch->writer.attempt, error);
	MemoryContextReset(batch->context);
	defer = !batch->deferring && table_code_needs_deferring(error);
	if (!defer && !is_about_record(error))
		ReThrowError(error);
	if (n == 1)
	{
		items[0]->busy = is_busy(error);
		items[0]->error = describe_failure(items[0], error);
		items[0]->sqlerrcode = error->sqlerrcode;
		/* it has waited long enough, and other sessions have waited for us */
		if (items[0]->busy)
			batch->writer.as_owner.patience = 0;
	}
	FreeErrorData(error);
	if (!defer)
		return false;
	item_batch_defer(batch);
	return item_batch_try(batch, items, n);
}

/* ---------- runs and halves ---------- */

/* How many items from the first on have relations of the same owner, or none. */
static int
run_length(BatchItem **items, int n)
{
	Oid			owner = InvalidOid;
	int			length = 0;

	for (; length < n; length++)
	{
		if (!batch_item_is_open(items[length]))
			continue;
		if (OidIsValid(owner) && items[length]->owner != owner)
			break;
		owner = items[length]->owner;
	}
	return length;
}

/* Items whose relations have one owner. */
static bool
halves_of_run(ItemBatch *batch, BatchItem **items, int n)
{
	bool		any;

	if (item_batch_try(batch, items, n))
		return true;
	/* another session that inserts the row meanwhile makes an update of our insert */
	if (n == 1)
		return items[0]->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && item_batch_try(batch, items, 1);
	any = halves_of_run(batch, items, n / 2);
	return halves_of_run(batch, items + n / 2, n - n / 2) || any;
}

bool
item_batch_in_halves(ItemBatch *batch, BatchItem **items, int n)
{
	bool		any = false;
	int			length;

	for (int first = 0; first < n; first += length)
	{
		length = run_length(&items[first], n - first);
		any |= halves_of_run(batch, &items[first], length);
	}
	return any;
}
