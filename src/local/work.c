/*
 * work.c
 *	  Working through records of attached relations.
 *
 * Called by deliver, load and poll.  A subtransaction for each record costs as much
 * as placing it, so a run of records goes in one; where it fails, its halves
 * do, down to the records that fail alone.  What comes of those is up to
 * local/work_retry.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

#include "hub/apply_call.h"
#include "local/constraints.h"
#include "local/search_path.h"
#include "local/table_code.h"
#include "local/handover.h"
#include "local/work_lock.h"
#include "local/work_order.h"
#include "local/work_retry.h"
#include "settings.h"

/* ---------- one subtransaction ---------- */

/* Can anything be done for the item? */
static bool
is_open(const WorkItem *item)
{
	return !item->shut && item->closed == NULL;
}

/* The owner of the relations of a run, InvalidOid if there is nothing to do in it. */
static Oid
owner_of(WorkItem **items, int n)
{
	for (int i = 0; i < n; i++)
		if (is_open(items[i]))
			return items[i]->owner;
	return InvalidOid;
}

/*
 * Do one item.  Its relation is kept open: code of the table that runs meanwhile can't
 * alter it.  What such code did before is seen here; what it sets goes with the item.
 */
static void
do_item(Work *work, WorkItem *item)
{
	Relation	rel = try_relation_open(item->relation, NoLock);
	Attached   *attached = rel == NULL ? NULL : attached_of(rel);
	int			nest_level;

	if (attached == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("relation with OID %u was dropped or detached in the meantime",
						item->relation)));
	attached_check(attached);
	if (attached->owner != item->owner)
		attached_raise_altered(attached);
	nest_level = NewGUCNestLevel();
	work->placer.attempt.attached = NULL;
	work->placer.free_value = item->free_value;
	item->outcome = work->function(&work->placer, attached, item, work->arg);
	AtEOXact_GUC(false, nest_level);
	relation_close(rel, NoLock);
}

/* Work through items whose relations have one owner. */
static void
work_run(Work *work, WorkItem **items, int n)
{
	Placer	   *placer = &work->placer;
	MemoryContext old = CurrentMemoryContext;
	Oid			owner = owner_of(items, n);

	if (!OidIsValid(owner))
	{
		for (int i = 0; i < n; i++)
			items[i]->busy = true;
		return;
	}
	SPI_connect();
	MemoryContextSwitchTo(work->context);
	placer->canonical = canonical_open(false);
	placer->replica = replica_open(true);
	placer->conflicts = conflict_log_open(false);
	placer->call = NULL;
	placer->context = work->context;
	MemoryContextSwitchTo(old);

	writer_enter(&placer->writer, owner, work->deferring);
	for (int i = 0; i < n; i++)
	{
		MemoryContext item_context = AllocSetContextCreate(work->context, "syncext work item",
														   ALLOCSET_DEFAULT_SIZES);

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(item_context);
		items[i]->busy = !is_open(items[i]);
		items[i]->error = NULL;
		items[i]->handover = NULL;
		if (is_open(items[i]))
			do_item(work, items[i]);
		MemoryContextSwitchTo(old);
		MemoryContextDelete(item_context);
	}
	if (placer->call != NULL)
		apply_end(placer->call);
	writer_leave(&placer->writer);

	conflict_log_close(placer->conflicts);
	replica_close(placer->replica);
	canonical_close(placer->canonical);
	SPI_finish();
	MemoryContextSwitchTo(old);
	MemoryContextReset(work->context);
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

/* Did somebody just have the row, or another that is needed, in use? */
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

/* DETAIL shows values, and is left out. */
char *
work_describe_error(const ErrorData *error)
{
	const char *message = error->message != NULL ? error->message : "unknown error";

	if (error->constraint_name != NULL && strstr(message, error->constraint_name) == NULL)
		return psprintf("%s: %s (constraint \"%s\")", unpack_sql_state(error->sqlerrcode),
						message, error->constraint_name);
	return psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), message);
}

/* Say what is known besides of why a name wasn't found. */
static char *
describe_failure(const WorkItem *item, const ErrorData *error)
{
	switch (error->sqlerrcode)
	{
		case ERRCODE_UNDEFINED_TABLE:
		case ERRCODE_UNDEFINED_FUNCTION:
		case ERRCODE_UNDEFINED_OBJECT:
			return psprintf("%s (code of relation %s runs with search_path = %s)",
							work_describe_error(error), item->name,
							search_path_of_role(item->owner));
		default:
			return work_describe_error(error);
	}
}

/* From here on constraints are deferred; first what the caller has deferred is checked. */
static void
start_deferring(Work *work)
{
	constraints_fire();
	work->deferring = true;
}

bool
work_try(Work *work, WorkItem **items, int n)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool done = false;
	volatile bool defer = false;

	work->tries += n;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		work_run(work, items, n);
		ReleaseCurrentSubTransaction();
		done = true;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (n == 1)
			items[0]->handover = handover_of(&work->placer.attempt, error);
		MemoryContextReset(work->context);
		defer = !work->deferring && table_code_needs_deferring(error);
		if (!defer && !is_about_record(error))
			ReThrowError(error);
		if (n == 1)
		{
			items[0]->busy = is_busy(error);
			items[0]->error = describe_failure(items[0], error);
			items[0]->sqlerrcode = error->sqlerrcode;
			/* it has waited long enough, and who waits for us did, too */
			if (items[0]->busy)
				work->placer.writer.patience = 0;
		}
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	if (!defer)
		return done;
	start_deferring(work);
	return work_try(work, items, n);
}

/* ---------- all of them ---------- */

/* How many items from the first on have relations of the same owner, or none. */
static int
run_length(WorkItem **items, int n)
{
	Oid			owner = InvalidOid;
	int			length = 0;

	for (; length < n; length++)
	{
		if (!is_open(items[length]))
			continue;
		if (OidIsValid(owner) && items[length]->owner != owner)
			break;
		owner = items[length]->owner;
	}
	return length;
}

/* Items whose relations have one owner. */
static bool
halves_of_run(Work *work, WorkItem **items, int n)
{
	bool		any;

	if (work_try(work, items, n))
		return true;
	/* who inserts the row at the same time makes an update of our insert */
	if (n == 1)
		return items[0]->sqlerrcode == ERRCODE_UNIQUE_VIOLATION && work_try(work, items, 1);
	any = halves_of_run(work, items, n / 2);
	return halves_of_run(work, items + n / 2, n - n / 2) || any;
}

bool
work_in_halves(Work *work, WorkItem **items, int n)
{
	bool		any = false;
	int			length;

	for (int first = 0; first < n; first += length)
	{
		length = run_length(&items[first], n - first);
		any |= halves_of_run(work, &items[first], length);
	}
	return any;
}

/* Has a relation of them constraints that can be deferred? */
static bool
is_deferrable(const WorkItem *items, int n)
{
	for (int i = 0; i < n; i++)
		if (is_open(&items[i]) && items[i].deferrable)
			return true;
	return false;
}

void
work_item(WorkItem *item, const Binding *binding, bool linked, const char *external_id)
{
	item->relation = binding->relation;
	item->source = binding->source;
	item->entity = binding->entity;
	item->linked = linked;
	item->external_id = external_id;
}

void
work_through(const Registry *registry, WorkItem *items, int n, WorkFunction function, void *arg)
{
	Work		work = {.function = function, .arg = arg};
	WorkItem  **order;
	bool		any;

	work.placer.registry = registry;
	work.placer.writer.patience = setting_lock_timeout;
	work.context = AllocSetContextCreate(CurrentMemoryContext, "syncext work",
										 ALLOCSET_DEFAULT_SIZES);
	work_lock_relations(items, n);
	if (is_deferrable(items, n))
		start_deferring(&work);
	order = work_order(items, n);
	any = work_in_halves(&work, order, n);
	work_retry(&work, order, n, any);
	if (work.deferring)
		constraints_restore();
	MemoryContextDelete(work.context);
}

const char *
work_error(const WorkItem *item)
{
	if (item->closed != NULL)
		return item->closed;
	if (item->error == NULL && item->busy)
		return "somebody else's transaction holds the row";
	return item->error;
}
