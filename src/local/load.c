/*
 * load.c
 *	  sync_load: bringing an attached relation and the hub together.
 *
 * Called from SQL.  First the relation's rows, then the hub's records, in
 * batches that are committed one by one; stopped in the middle, it can be run
 * again.
 */
#include "postgres.h"

#include "access/transam.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "hub/visibility.h"
#include "local/capture_trigger.h"
#include "local/job.h"
#include "local/load_row.h"
#include "local/loaded.h"
#include "local/row_failures.h"
#include "local/row_keys.h"
#include "model/json.h"
#include "process/args.h"
#include "process/steps.h"
#include "process/subxact.h"
#include "storage/link.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_load);

/* Rows of a transaction: what each of them opens costs as much as some twenty rows. */
#define LOAD_BATCH	1000
/* Of more failures than these a load doesn't warn one by one. */
#define MAX_WARNINGS	100

typedef struct Load
{
	Oid			relation;
	const char *source;			/* as this one's copy */
	const char *entity;			/* of this */
	bool		linked;			/* the hub is behind a link */
	bool		dry_run;		/* all is taken back in the end */
	bool		atomic;			/* in a transaction of the caller's: can't commit */
	MemoryContext context;		/* outlives the transactions */
	MemoryContext batch;		/* of one batch */
	TimestampTz begin;
	TransactionId first_xid;	/* transactions from this one on have begun since, too */
	int64		run;			/* of syncext.job_run; 0: none */
	int64		nread;
	int64		nfailed;
	int64		nkeyless;		/* of them, rows without a usable key */
	const char *keyless;		/* what is wrong with the last of these */
	char	   *failure;		/* what failed first, and why; NULL: nothing */
	LoadRows	rows;			/* how each is dealt with, and what came of it */
} Load;

/* ---------- what is loaded ---------- */

/*
 * The relation, locked for the transaction.  Between two batches it may have become
 * another source's or entity's, which the caller may not load perhaps, or one that
 * another hub decides.
 */
static Attached *
attached_as_begun(const Load *load)
{
	Attached   *attached = attached_required(load->relation, AccessShareLock);
	const Binding *binding = attached->binding;

	if (strcmp(binding->source, load->source) != 0 || strcmp(binding->entity, load->entity) != 0 ||
		(link_of_source(load->source) != NULL) != load->linked)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("relation %s was attached anew, or its source linked or unlinked, while it was loaded",
						attached->name),
				 errhint("Load it again: what was loaded is skipped.")));
	return attached;
}

/* ---------- batches ---------- */

/*
 * What failed is kept, see run_batch(); this tells the caller.  A dry run tells nobody
 * else, as it changes nothing.
 */
static void
count_failure(Load *load, const char *what, const char *why)
{
	if (load->nfailed == 0)
		load->failure = MemoryContextStrdup(load->context, psprintf("%s: %s", what, why));
	if (++load->nfailed <= MAX_WARNINGS)
		ereport(WARNING, (errmsg("%s was not loaded: %s", what, why)));
}

/* Count what came of a batch; returns whether anything of it has failed. */
static bool
count_items(Load *load, const BatchItem *items, int n)
{
	int64		failed = load->nfailed;

	for (int i = 0; i < n; i++)
	{
		const char *error = batch_item_error(&items[i]);

		if (error != NULL)
			count_failure(load, psprintf("record \"%s\"", items[i].external_id), error);
		else
			load_rows_count(&load->rows, &items[i]);
	}
	return load->nfailed > failed;
}

/*
 * Work through a batch, count what came of it, keep what failed, and commit.  Of a
 * relation whose hub is behind a link the run itself has failed then, see end_run().
 */
static void
run_batch(Load *load, BatchItem *items, int n, BatchItemFunction function)
{
	bool		failed;

	load_rows_begin(&load->rows, items, n);
	item_batch_run(items, n, function, &load->rows);
	/* if not, each of its items has failed by that */
	(void) attached_as_begun(load);
	failed = count_items(load, items, n);
	if (function == load_row && !load->dry_run)
		row_failures_settle(attached_as_begun(load)->binding, items, n);
	if (load->run != 0)
		job_progress(load->run, load->nread);
	if (!load->atomic)
		steps_commit();
	/* cursors are locked before rows */
	if (failed && function == load_record && !load->dry_run)
	{
		row_failures_of_records(load->source, load->entity, items, n);
		if (!load->atomic)
			steps_commit();
	}
}

/* Are the places of the rows read with their keys? */
static bool
tells_places(const Attached *attached)
{
	return attached->has_key_index && attached->relkind == RELKIND_RELATION;
}

/* What is read of each row: the columns of its key, then the one that has its record's id. */
static const AttachedColumn *
read_column(const Attached *attached, int i)
{
	return i < attached->nkeys ? &attached->keys[i] :
		i == attached->nkeys ? attached->external_id : NULL;
}

/* The keys were read by a cursor, of whatever types the columns had then. */
static void
check_key_types(const Attached *attached, TupleDesc desc)
{
	const AttachedColumn *column;
	bool		same = true;
	int			n;

	for (n = 0; (column = read_column(attached, n)) != NULL && same; n++)
		same = n < desc->natts && TupleDescAttr(desc, n)->atttypid == column->type;
	if (!same || desc->natts != n + tells_places(attached))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("relation %s was altered while it was loaded", attached->name),
				 errhint("Load it again: what was loaded is skipped.")));
}

/* Take over what open_keys() has read of row number i. */
static void
take_fetched(const Attached *attached, uint64 i, AttachedRow *row)
{
	const AttachedColumn *column;

	for (int n = 0; (column = read_column(attached, n)) != NULL; n++)
		row->values[column->attnum - 1] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
														n + 1, &row->isnull[column->attnum - 1]);
}

/* Where row number i was when its key was read. */
static ItemPointerData
fetched_place(const Attached *attached, uint64 i)
{
	ItemPointerData at;
	bool		isnull;

	ItemPointerSetInvalid(&at);
	if (tells_places(attached))
		at = *(ItemPointer) DatumGetPointer(SPI_getbinval(SPI_tuptable->vals[i],
														  SPI_tuptable->tupdesc,
														  SPI_tuptable->tupdesc->natts, &isnull));
	return at;
}

/* Turn fetched keys into items; a row without a usable key has failed. */
static int
make_row_items(Load *load, BatchItem *items)
{
	Attached   *attached = attached_as_begun(load);
	int			n = 0;

	check_key_types(attached, SPI_tuptable->tupdesc);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		AttachedRow row = attached_row_make(attached);
		const char *problem;
		const char *external_id;
		bool		busy = false;
		char	   *key;

		take_fetched(attached, i, &row);
		key = attached_try_external_id(attached, row, &problem);
		load->nread++;
		if (key == NULL)
		{
			count_failure(load, "a row", problem);
			load->nkeyless++;
			load->keyless = MemoryContextStrdup(load->context, problem);
			continue;
		}
		external_id = row_keys_of_row(attached, row, key, &busy);
		if (busy)
			count_failure(load, psprintf("the row with key \"%s\"", key), "another transaction has it");
		if (external_id == NULL)
			continue;
		batch_item_init(&items[n], attached->binding, load->linked, external_id);
		/* for a batch's time, and not for a caller's transaction */
		items[n].wants_alone = !load->atomic && !load->dry_run;
		items[n++].at = fetched_place(attached, i);
	}
	return n;
}

/*
 * Open a cursor over the relation's keys.  Where transactions end while it is
 * open it is pinned and held over: what it returns is stored, on disk if it is
 * much.  That is done at once, while we act as the owner: a view's functions
 * must not run as the caller.
 */
static Portal
open_keys(const Load *load)
{
	Attached   *attached = attached_as_begun(load);
	const AttachedColumn *column;
	TableCode	code;
	StringInfoData sql;
	SPIPlanPtr	plan;
	Portal		portal;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; (column = read_column(attached, i)) != NULL; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_identifier(column->name));
	if (tells_places(attached))
		appendStringInfoString(&sql, ", ctid");
	appendStringInfo(&sql, " FROM %s%s", attached_only(attached), attached->name);
	table_code_enter(&code, attached->owner, TABLE_CODE_RESTRICTED);
	plan = SPI_prepare(sql.data, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s", SPI_result_code_string(SPI_result));
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, false);
	PinPortal(portal);
	if (!load->atomic)
		HoldPinnedPortals();
	table_code_leave(&code);
	return portal;
}

static void
load_rows(Load *load)
{
	Portal		portal = open_keys(load);
	TableCode	code;

	for (;;)
	{
		BatchItem  *items;
		int			n;

		CHECK_FOR_INTERRUPTS();
		table_code_enter(&code, attached_as_begun(load)->owner, TABLE_CODE_RESTRICTED);
		SPI_cursor_fetch(portal, true, LOAD_BATCH);
		table_code_leave(&code);
		if (SPI_processed == 0)
			break;
		MemoryContextSwitchTo(load->batch);
		items = palloc0(sizeof(BatchItem) * LOAD_BATCH);
		n = make_row_items(load, items);
		SPI_freetuptable(SPI_tuptable);
		run_batch(load, items, n, !load->linked ? load_row :
				  load->rows.winner == WINNER_HUB ? load_agreed : load_linked_row);
		MemoryContextSwitchTo(load->context);
		MemoryContextReset(load->batch);
	}
	UnpinPortal(portal);
	SPI_cursor_close(portal);
	if (!load->linked && !load->dry_run)
		row_failures_of_keys(attached_as_begun(load)->binding, load->nkeyless, load->keyless,
							 "; the next sync_load looks again");
}

/*
 * Make items of at most LOAD_BATCH ids behind *after, which is moved to the last that
 * was read, also if it made no item; it is left where there are no more.
 */
typedef int (*MakeItems) (const Load *load, const char **after, BatchItem *items);

/*
 * Which of the records are in the row versions that their rows have seen?  Those whose rows
 * have seen them since the load began, when it brought the rows to the hub as a rule, are
 * left out.  Returns how many are left.
 */
static int
find_known(const Load *load, BatchItem *items, const int64 *row_versions, int n)
{
	Replica    *replica = mapped_open(&replica_def, false);
	RowsScan   *seek = replica_seek_begin(replica);
	int			left = 0;

	for (int i = 0; i < n; i++)
	{
		TransactionId written_by;

		items[i].known = replica_seek(replica, seek, load->relation, items[i].external_id,
									  &written_by) >= row_versions[i];
		if (!items[i].known || !TransactionIdFollowsOrEquals(written_by, load->first_xid))
			items[left++] = items[i];
	}
	rows_scan_end(seek);
	mapped_close(replica);
	return left;
}

/* Of the entity's records, as far as the source may see them: an id tells of one, too. */
static int
make_record_items(const Load *load, const char **after, BatchItem *items)
{
	const Attached *attached = attached_as_begun(load);
	const Source *source = registry_source_required(registry_get(), attached->binding->source);
	Canonical  *canonical = canonical_open(false);
	RowsScan   *scan = canonical_scan_begin(canonical, load->entity, *after);
	int64		row_versions[LOAD_BATCH];
	char	   *external_id;
	Record		record;
	int			n = 0;

	for (int read = 0; read < LOAD_BATCH &&
		 canonical_scan_next(canonical, scan, &external_id); read++)
	{
		*after = external_id;
		/* a source that may see everything is told of a record that can't be read */
		if (visibility_unlimited(source) || (canonical_scan_try(canonical, &record) == NULL &&
											 visibility_shows(source, load->entity, &record)))
		{
			/* of a record that can't be read its row was told, if there was a look at that */
			row_versions[n] = attached->binding->in || canonical_scan_try(canonical, &record) == NULL ?
				canonical_scan_row_version(canonical) : PG_INT64_MAX;
			batch_item_init(&items[n], attached->binding, false, external_id);
			items[n++].record_at = canonical_scan_place(canonical);
		}
	}
	rows_scan_end(scan);
	canonical_close(canonical);
	return find_known(load, items, row_versions, n);
}

/* Of rows that were agreed on. */
static int
make_agreed_items(const Load *load, const char **after, BatchItem *items)
{
	const Attached *attached = attached_as_begun(load);
	Replica    *replica = mapped_open(&replica_def, false);
	RowsScan   *scan = replica_scan_begin(replica, load->relation, *after);
	char	   *external_id;
	bool		present;
	int			n = 0;

	while (n < LOAD_BATCH && replica_scan_next(replica, scan, &external_id, &present))
	{
		*after = external_id;
		batch_item_init(&items[n++], attached->binding, true, external_id);
	}
	rows_scan_end(scan);
	mapped_close(replica);
	return n;
}

static void
load_by_id(Load *load, MakeItems make_items, BatchItemFunction function)
{
	char	   *after = NULL;
	bool		moved;

	do
	{
		const char *last = after;
		BatchItem  *items;
		int			n;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(load->batch);
		items = palloc0(sizeof(BatchItem) * LOAD_BATCH);
		n = make_items(load, &last, items);
		moved = last != after;
		if (moved)
		{
			if (after != NULL)
				pfree(after);
			after = MemoryContextStrdup(load->context, last);
		}
		if (n > 0)
			run_batch(load, items, n, function);
		MemoryContextSwitchTo(load->context);
		MemoryContextReset(load->batch);
	} while (moved);
}

/* ---------- the procedure ---------- */

static LoadWinner
parse_winner(const char *winner)
{
	if (strcmp(winner, "ladder") == 0)
		return WINNER_LADDER;
	if (strcmp(winner, "hub") == 0)
		return WINNER_HUB;
	if (strcmp(winner, "table") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("winner is \"%s\", which is unknown", winner),
				 errhint("It is 'ladder', 'hub' or 'table': who decides where both have a row.")));
	return WINNER_TABLE;
}

/* What the hub has is not known here: its own ladder decides. */
static void
check_linked(const Load *load, const Link *link)
{
	if (load->rows.winner == WINNER_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the ladder of the hub behind link \"%s\" decides", link->name),
				 errhint("Load with winner => 'ladder', or 'hub' to have the table as it was last agreed on.")));
}

/* The caller has to own the relation and to be allowed to act as the source. */
static void
check_rights(const Load *load, const Binding *binding)
{
	relation_check_owner(load->relation, NULL);
	source_role_check(registry_source_required(registry_get(), binding->source));
	if ((load->rows.winner == WINNER_HUB && !binding->out) ||
		(load->rows.winner == WINNER_TABLE && !binding->in))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the %s cannot win: nothing goes from there to the %s",
						binding->out ? "table" : "hub", binding->out ? "hub" : "table"),
				 errdetail("The relation is attached with direction '%s'.",
						   binding->out ? "out" : "in")));
}

static void
push_count(JsonbParseState **state, const Load *load, const char *key, LoadOutcome outcome)
{
	json_push_number(state, key, load->rows.count[outcome]);
}

static Jsonb *
make_result(const Load *load)
{
	JsonbParseState *state = json_begin_object();

	json_push_number(&state, "read", load->nread);
	push_count(&state, load, "new", LOAD_NEW);
	push_count(&state, load, "updated", LOAD_UPDATED);
	push_count(&state, load, "equal", LOAD_EQUAL);
	push_count(&state, load, "conflicts", LOAD_CONFLICT);
	push_count(&state, load, "waiting", LOAD_WAITING);
	push_count(&state, load, "delivered", LOAD_DELIVERED);
	if (load->rows.count[LOAD_NOT_SHOWN] > 0)
		push_count(&state, load, "not_shown", LOAD_NOT_SHOWN);
	json_push_number(&state, "failed", load->nfailed);
	json_push_number(&state, "replaced", load_details_count(load->rows.details, DETAIL_REPLACED));
	json_push_number(&state, "kept_back", load_details_count(load->rows.details, DETAIL_KEPT_BACK));
	json_push_key(&state, "details");
	load_details_push(load->rows.details, &state);
	json_push_seconds(&state, "seconds", GetCurrentTimestamp() - load->begin);
	return json_end_object(&state);
}

static void
read_arguments(FunctionCallInfo fcinfo, Load *load)
{
	const Binding *binding;
	const Link *link;

	load->relation = arg_relation(fcinfo, 0);
	relation_check_exists(load->relation);
	load->rows.winner = parse_winner(arg_text(fcinfo, 1, "winner"));
	load->dry_run = arg_bool(fcinfo, 2, "dry_run");
	load->atomic = steps_is_atomic(fcinfo) || load->dry_run;
	load->begin = GetCurrentTimestamp();
	load->first_xid = ReadNextTransactionId();
	binding = attached_required(load->relation, AccessShareLock)->binding;
	check_rights(load, binding);
	load->source = pstrdup(binding->source);
	load->entity = pstrdup(binding->entity);
	link = link_of_source(load->source);
	load->linked = link != NULL;
	if (link != NULL)
		check_linked(load, link);
}

/* Let other sessions see how far it is; another load of the relation is refused. */
static void
begin_run(Load *load)
{
	int			holder;

	if (!load->linked || load->atomic || !job_lock(load->relation, "load", &holder))
		return;
	load->run = job_begin(load->relation, "load", false);
	job_phase(load->run, "reading", -1);
}

/* A run of which rows failed has failed: sync_check() tells of it until they are loaded. */
static void
end_run(const Load *load)
{
	if (load->run == 0)
		return;
	(void) job_end(load->run, make_result(load), load->failure, NULL);
	job_unlock(load->relation, "load");
}

/*
 * What DDL made of rows is told of until they were brought together with what the hub has.
 * The ladder leaves some of it to edits to come; it takes a row for equal that rounds what
 * its record has.
 */
static void
note_shape(const Load *load, const Binding *binding)
{
	bool		hub = load->rows.winner == WINNER_HUB;
	bool		rows = hub || (binding->in && (load->linked || load->rows.winner == WINNER_TABLE));
	bool		records = binding->out && (hub || !load->linked);
	bool		done = load->nfailed == 0;

	loaded_note_shape(load->relation, done && rows, done && records);
}

static void
load_all(void *arg)
{
	Load	   *load = arg;
	const Binding *binding = binding_copy(attached_as_begun(load)->binding);

	if (binding->capture == CAPTURE_TRIGGER)
		capture_triggers_complete(load->relation);
	(void) loaded_forget_dropped(attached_as_begun(load));
	if (binding->in)
		load_rows(load);
	if (binding->out && !load->linked)
		load_by_id(load, make_record_items, load_record);
	else if (load->linked && load->rows.winner == WINNER_HUB)
	{
		/* where nothing is sent load_rows() was not called, and looked at no row */
		if (!binding->in)
			load_by_id(load, make_agreed_items, load_agreed);
		load_by_id(load, make_agreed_items, load_missing);
	}
	if (binding->in && load->nfailed == 0)
		loaded_note(attached_as_begun(load));
	note_shape(load, binding);
}

Datum
sync_load(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Load		load = {0};
	Jsonb	   *result;

	read_arguments(fcinfo, &load);
	SPI_connect_ext(load.atomic ? 0 : SPI_OPT_NONATOMIC);
	load.context = CurrentMemoryContext;
	load.batch = AllocSetContextCreate(load.context, "syncext load", ALLOCSET_DEFAULT_SIZES);
	load.rows.details = load_details_make();
	begin_run(&load);
	if (load.dry_run)
		subxact_dry(load_all, &load);
	else
		load_all(&load);
	end_run(&load);
	MemoryContextSwitchTo(caller);
	result = make_result(&load);
	SPI_finish();
	PG_RETURN_DATUM(steps_result(fcinfo, result));
}
