/*
 * poll_deletes.c
 *	  Rows of a polled relation that have vanished.
 *
 * The keys that the relation has, sorted, are compared with those that were
 * last seen, which the replica's index has in order; what is missing is looked
 * up once more before it counts as deleted.
 */
#include "postgres.h"

#include "catalog/pg_collation_d.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"
#include "utils/tuplestore.h"

#include "compat.h"
#include "local/job.h"
#include "local/poll_deletes.h"
#include "local/row_keys.h"
#include "settings.h"

/* So few rows may vanish, whatever part of all they are. */
#define FEW_ROWS	10

/* The keys on one side: the next one, NULL at the end. */
typedef struct Keys
{
	Tuplesortstate *sort;
	char	   *next;
} Keys;

/* A list of ids that may be long. */
struct Vanished
{
	Tuplestorestate *store;
	TupleDesc	desc;
	TupleTableSlot *slot;
	int64		n;
	int64		done;
	bool		ended;
};

/* ---------- what there is ---------- */

static void
next_key(Keys *keys)
{
	Datum		value;
	bool		isnull;

	if (keys->next != NULL)
		pfree(keys->next);
	keys->next = NULL;
	if (!tuplesort_getdatum_compat(keys->sort, &value, &isnull))
		return;
	keys->next = TextDatumGetCString(value);
	pfree(DatumGetPointer(value));
}

/* Read the keys that the relation has and sort their ids by bytes. */
static Tuplesortstate *
sort_keys(Poll *poll)
{
	PollWindow	window = {.keys_only = true};
	Attached   *attached = attached_required(poll->relation, AccessShareLock);
	Tuplesortstate *sort = tuplesort_begin_datum(TEXTOID, TextLessOperator, C_COLLATION_OID, false,
												 work_mem, NULL, TUPLESORT_NONE);
	MemoryContext row_context = AllocSetContextCreate(CurrentMemoryContext, "syncext poll key",
													  ALLOCSET_DEFAULT_SIZES);
	ValueSettings settings;
	MinimalTuple tuple;
	MemoryContext old;

	poll->scan = poll_scan_begin(attached, &window);
	job_phase(poll->run, "comparing", poll_scan_total(poll->scan));
	value_settings_begin(&settings);
	old = MemoryContextSwitchTo(row_context);
	while ((tuple = poll_scan_next(poll->scan)) != NULL)
	{
		const char *problem;
		char	   *key = attached_find_external_id(attached, &settings,
													poll_scan_row(poll->scan, attached, tuple),
													&problem);
		RowRecord	record = {0};

		CHECK_FOR_INTERRUPTS();
		if (key != NULL)
			record = row_keys_find(attached->binding, key);
		/* a row that is no record yet can't be one that has vanished, nor a second one of one */
		if (record.external_id != NULL && !record.duplicate)
			tuplesort_putdatum(sort, CStringGetTextDatum(record.external_id), false);
		MemoryContextReset(row_context);
	}
	MemoryContextSwitchTo(old);
	value_settings_end(&settings);
	MemoryContextDelete(row_context);
	poll_scan_end(poll->scan);
	poll->scan = NULL;
	tuplesort_performsort(sort);
	return sort;
}

/* ---------- against what was seen ---------- */

static void
add_vanished(Vanished *vanished, const char *external_id)
{
	Datum		value = CStringGetTextDatum(external_id);
	bool		isnull = false;

	tuplestore_putvalues(vanished->store, vanished->desc, &value, &isnull);
	vanished->n++;
}

/* Go on to the first key that isn't before id; one that comes twice is a failure. */
static void
skip_keys(Poll *poll, CaptureFailures *failures, Keys *keys, const char *id)
{
	while (keys->next != NULL && (id == NULL || strcmp(keys->next, id) < 0))
	{
		char	   *last = pstrdup(keys->next);
		bool		twice = false;

		for (next_key(keys); keys->next != NULL && strcmp(keys->next, last) == 0; next_key(keys))
			twice = true;
		if (twice)
			poll_note_twice(poll, failures, last);
		pfree(last);
	}
}

static void
merge(Poll *poll, Keys *keys)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);
	Replica    *replica = mapped_open(&replica_def, false);
	RowsScan   *scan = replica_scan_begin(replica, poll->relation, NULL);
	char	   *id;
	bool		present;

	while (replica_scan_next(replica, scan, &id, &present))
	{
		CHECK_FOR_INTERRUPTS();
		skip_keys(poll, failures, keys, id);
		if (present && (keys->next == NULL || strcmp(keys->next, id) != 0))
			add_vanished(poll->vanished, id);
		pfree(id);
	}
	skip_keys(poll, failures, keys, NULL);
	rows_scan_end(scan);
	mapped_close(replica);
	mapped_close(failures);
}

/*
 * If nearly all is gone, it is more likely that something is wrong: a source that
 * writes its keys in another way, for one, whose rows are all gone and all new.  So
 * new rows don't make up for those that went.
 */
static void
check_limit(const Poll *poll)
{
	const Vanished *vanished = poll->vanished;

	if (vanished->n <= FEW_ROWS ||
		vanished->n * 100.0 <= (double) poll->known * setting_poll_delete_limit)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg(INT64_FORMAT " of " INT64_FORMAT " rows of relation %s have vanished; none was deleted",
					vanished->n, Max(poll->known, vanished->n), attached_required(poll->relation, AccessShareLock)->name),
			 errdetail("That is more than syncext.poll_delete_limit, %d percent.",
					   setting_poll_delete_limit),
			 errhint("If they were deleted, SET syncext.poll_delete_limit = 100 and call sync_poll with full_compare => true again.")));
}

static void
find_vanished(Poll *poll)
{
	Keys		keys = {.next = NULL};

	keys.sort = sort_keys(poll);
	next_key(&keys);
	merge(poll, &keys);
	tuplesort_end(keys.sort);
	check_limit(poll);
	job_phase(poll->run, "deleting", poll->vanished->n);
}

/* ---------- deletes ---------- */

static int
take_vanished(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	AttachedRow row = attached_row_make(attached);
	ReplicaRow	replica;
	PolledEdit	edit;

	replica_find(writer->replica, item->relation, item->external_id, &replica);
	/* it may have come back, by delivery for one */
	if (polled_read(attached, item->external_id, &row) ||
		!polled_compare(attached, false, row, &replica, &edit))
		return POLLED_SKIPPED;
	return polled_send(writer, attached, item->external_id, row, &edit, &replica);
}

static void
delete_batch(Poll *poll)
{
	Vanished   *vanished = poll->vanished;
	const Attached *attached = poll_lock(poll);
	BatchItem  *items;
	int			n = 0;

	MemoryContextSwitchTo(poll->batch);
	items = palloc0(sizeof(BatchItem) * setting_poll_batch);
	while (n < setting_poll_batch)
	{
		bool		isnull;

		vanished->ended = !tuplestore_gettupleslot(vanished->store, true, false, vanished->slot);
		if (vanished->ended)
			break;
		batch_item_init(&items[n++], attached->binding, false,
						TextDatumGetCString(slot_getattr(vanished->slot, 1, &isnull)));
		ExecClearTuple(vanished->slot);
	}
	item_batch_run(items, n, take_vanished, NULL);
	poll_settle(poll, items, n);
	vanished->done += n;
	job_progress(poll->run, vanished->done);
}

static void
close_vanished(Vanished *list)
{
	ExecClearTuple(list->slot);
	tuplestore_end(list->store);
}

bool
poll_delete_vanished(Poll *poll)
{
	Vanished   *list = palloc0(sizeof(Vanished));
	volatile bool done;

	list->desc = CreateTemplateTupleDesc(1);
	TupleDescInitEntry(list->desc, 1, "external_id", TEXTOID, -1, 0);
	list->slot = MakeSingleTupleTableSlot(list->desc, &TTSOpsMinimalTuple);
	list->store = tuplestore_begin_heap(false, true, work_mem);
	PG_TRY();
	{
		poll->vanished = list;
		done = poll_step(poll, find_vanished);
		while (done && !list->ended)
			done = poll_step(poll, delete_batch);
	}
	PG_FINALLY();
	{
		/* its file would stay until the session ends */
		poll->vanished = NULL;
		close_vanished(list);
	}
	PG_END_TRY();
	return done;
}
