/*
 * load.c
 *	  sync_load: bringing an attached relation and the hub together.
 *
 * Called from SQL.  First the relation's rows, then the hub's records, in
 * batches that are committed one by one; stopped in the middle, it can be run
 * again.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/portal.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/procedure.h"
#include "local/attach.h"
#include "local/job.h"
#include "local/linked.h"
#include "local/work.h"
#include "model/json.h"
#include "storage/link.h"

PG_FUNCTION_INFO_V1(sync_load);

#define LOAD_BATCH	500
/* Of more failures than these a load doesn't warn one by one. */
#define MAX_WARNINGS	100

typedef enum LoadWinner
{
	WINNER_LADDER,
	WINNER_HUB,
	WINNER_TABLE
} LoadWinner;

/* What became of a row. */
typedef enum LoadOutcome
{
	LOAD_GONE,					/* deleted before we came to it */
	LOAD_NEW,
	LOAD_UPDATED,
	LOAD_EQUAL,
	LOAD_CONFLICT,
	LOAD_WAITING,
	LOAD_DELIVERED,
	LOAD_NOUTCOMES
} LoadOutcome;

typedef struct Load
{
	Oid			relation;
	LoadWinner	winner;
	bool		linked;			/* the hub is behind a link */
	bool		atomic;			/* in somebody's transaction: can't commit */
	MemoryContext context;		/* outlives the transactions */
	MemoryContext batch;		/* of one batch */
	TimestampTz begin;
	int64		run;			/* of syncext.job_run; 0: none */
	int64		nread;
	int64		nfailed;
	int64		count[LOAD_NOUTCOMES];
} Load;

/* ---------- one row ---------- */

static LoadOutcome
judge_answer(const Answer *answer, LoadOutcome otherwise)
{
	const Decision *d = &answer->decision;

	if (answer->hidden)
		return otherwise;
	if (d->resolution == RESOLUTION_DEPENDENCY_WAIT)
		return LOAD_WAITING;
	if (d->status == 409 || d->lost_all || d->lost.n > 0)
		return LOAD_CONFLICT;
	return otherwise;
}

/*
 * Bring what the hub has now to the row, after the ladder has spoken.  Where
 * nothing is written to the relation, it has just seen what it agrees with.
 */
static void
settle(Placer *placer, Placement *p, bool agreed)
{
	Placement	now;

	if (!place_lock(placer, p->attached, p->external_id, &now))
		elog(ERROR, "a row of relation %s was locked and is not any more", p->attached->name);
	if (p->attached->binding->out)
		(void) place_write(placer, &now);
	else if (agreed && now.record.exists)
		place_remember(placer, &now);
}

/* The hub has no record for the row, or a tombstone that doesn't count. */
static LoadOutcome
load_new(Placer *placer, Placement *p, LoadWinner winner)
{
	int64		base = winner == WINNER_TABLE ? p->record.row_version : p->replica.row_version;
	LoadOutcome outcome;
	Answer		answer;

	place_send(placer, p, p->before, NULL, base, &answer);
	outcome = judge_answer(&answer, LOAD_NEW);
	settle(placer, p, outcome == LOAD_NEW);
	return outcome;
}

/* Which fields are sent, and on which row version they are said to be made. */
static bool
choose_fields(const Placement *p, LoadWinner winner, bool *different, const bool *missing,
			  int64 *base)
{
	bool		any = false;

	*base = winner == WINNER_LADDER ? p->replica.row_version : p->record.row_version;
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		/* what the hub doesn't know it can't win */
		different[i] = missing[i] || (different[i] && winner != WINNER_HUB);
		any |= different[i];
	}
	return any;
}

/* Both have the row. */
static LoadOutcome
load_both(Placer *placer, Placement *p, LoadWinner winner)
{
	int			n = p->attached->ncolumns;
	bool	   *different = palloc(sizeof(bool) * Max(n, 1));
	bool	   *missing = palloc(sizeof(bool) * Max(n, 1));
	LoadOutcome outcome = LOAD_EQUAL;
	int64		base;
	Answer		answer;

	/* the hub's values may be of another day, and of none of today's types */
	if (winner == WINNER_TABLE)
		place_compare_json(p, different, missing);
	else
		place_compare(p, different, missing);
	for (int i = 0; i < n; i++)
		if (different[i] || missing[i])
			outcome = LOAD_UPDATED;
	if (choose_fields(p, winner, different, missing, &base))
	{
		place_send(placer, p, p->before, different, base, &answer);
		outcome = judge_answer(&answer, outcome);
	}
	if (outcome == LOAD_EQUAL && p->attached->version == NULL && p->attached->updated == NULL)
		place_remember(placer, p);
	else
		settle(placer, p, outcome != LOAD_CONFLICT);
	return outcome;
}

static int
load_row(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	Load	   *load = arg;
	Placement	placement;

	if (!place_lock(placer, attached, item->external_id, &placement))
	{
		item->busy = true;
		return LOAD_GONE;
	}
	if (!placement.present || attached_is_deleted(attached, placement.before))
		return LOAD_GONE;
	if (placement.withheld_all)
		return LOAD_CONFLICT;
	if (!placement.record.exists || (placement.record.deleted && load->winner != WINNER_HUB))
		return load_new(placer, &placement, load->winner);
	if (placement.record.deleted)
	{
		settle(placer, &placement, false);
		return LOAD_UPDATED;
	}
	return load_both(placer, &placement, load->winner);
}

/*
 * The hub is behind a link: whatever differs from what was agreed on with it is
 * captured, and goes there with the next exchange.
 */
static int
load_linked_row(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	Placement	placement;

	if (!place_lock_row(placer, attached, item->external_id, &placement))
	{
		item->busy = true;
		return LOAD_GONE;
	}
	if (!placement.present)
		return LOAD_GONE;
	if (!linked_capture(&placement))
		return LOAD_EQUAL;
	return placement.replica.exists ? LOAD_UPDATED : LOAD_NEW;
}

/* A record of the hub, on its way to the relation. */
static int
load_record(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	Placement	placement;

	if (!place_lock(placer, attached, item->external_id, &placement))
	{
		item->busy = true;
		return LOAD_GONE;
	}
	if (placement.record.row_version <= placement.replica.row_version && placement.present)
		return LOAD_GONE;
	/* the source's filter keeps it from the relation */
	if (placement.outside)
		return LOAD_GONE;
	return place_write(placer, &placement) == PLACE_WRITTEN ? LOAD_DELIVERED : LOAD_GONE;
}

/* ---------- batches ---------- */

static void
count_failure(Load *load, const char *what, const char *why)
{
	if (++load->nfailed <= MAX_WARNINGS)
		ereport(WARNING, (errmsg("%s was not loaded: %s", what, why)));
}

/* Work through a batch, count what came of it, and commit. */
static void
run_batch(Load *load, WorkItem *items, int n, WorkFunction function)
{
	work_through(registry_get(), items, n, function, load);
	for (int i = 0; i < n; i++)
	{
		const char *error = work_error(&items[i]);

		if (error != NULL)
			count_failure(load, psprintf("record \"%s\"", items[i].external_id), error);
		else
			load->count[items[i].outcome]++;
	}
	if (load->run != 0)
		job_progress(load->run, load->nread);
	if (!load->atomic)
	{
		SPI_commit();
		EnsurePortalSnapshotExists();
	}
}

/* The keys were read by a cursor, of whatever types the columns had then. */
static void
check_key_types(const Attached *attached, TupleDesc desc)
{
	bool		same = desc->natts == attached->nkeys;

	for (int k = 0; k < attached->nkeys && same; k++)
		same = TupleDescAttr(desc, k)->atttypid == attached->keys[k].type;
	if (!same)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("relation %s was altered while it was loaded", attached->name),
				 errhint("Load it again: what was loaded is skipped.")));
}

/* Turn fetched keys into items; a row without a usable key has failed. */
static int
make_row_items(Load *load, WorkItem *items)
{
	Attached   *attached = attached_required(load->relation, AccessShareLock);
	ValueSettings settings;
	int			n = 0;

	check_key_types(attached, SPI_tuptable->tupdesc);
	value_settings_begin(&settings);
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		AttachedRow row = attached_row_make(attached);
		const char *problem;
		char	   *external_id;

		for (int k = 0; k < attached->nkeys; k++)
		{
			AttrNumber	attno = attached->keys[k].attnum - 1;

			row.values[attno] = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc,
											  k + 1, &row.isnull[attno]);
		}
		external_id = attached_find_external_id(attached, &settings, row, &problem);
		load->nread++;
		if (external_id == NULL)
		{
			count_failure(load, "a row", problem);
			continue;
		}
		items[n].relation = load->relation;
		items[n++].external_id = external_id;
	}
	value_settings_end(&settings);
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
	Attached   *attached = attached_required(load->relation, AccessShareLock);
	TableCode	code;
	StringInfoData sql;
	SPIPlanPtr	plan;
	Portal		portal;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < attached->nkeys; i++)
		appendStringInfo(&sql, "%s%s", i > 0 ? ", " : "", quote_identifier(attached->keys[i].name));
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
		WorkItem   *items;
		int			n;

		CHECK_FOR_INTERRUPTS();
		table_code_enter(&code, attached_required(load->relation, AccessShareLock)->owner,
						 TABLE_CODE_RESTRICTED);
		SPI_cursor_fetch(portal, true, LOAD_BATCH);
		table_code_leave(&code);
		if (SPI_processed == 0)
			break;
		MemoryContextSwitchTo(load->batch);
		items = palloc0(sizeof(WorkItem) * LOAD_BATCH);
		n = make_row_items(load, items);
		SPI_freetuptable(SPI_tuptable);
		run_batch(load, items, n, load->linked ? load_linked_row : load_row);
		MemoryContextSwitchTo(load->context);
		MemoryContextReset(load->batch);
	}
	UnpinPortal(portal);
	SPI_cursor_close(portal);
}

/* Read the ids of the entity's records behind a position. */
static int
make_record_items(const Load *load, const char *after, WorkItem *items)
{
	const Attached *attached = attached_required(load->relation, AccessShareLock);
	Canonical  *canonical = canonical_open(false);
	RowsScan   *scan = canonical_scan_begin(canonical, attached->binding->entity, after);
	char	   *external_id;
	Record		record;
	int			n = 0;

	while (n < LOAD_BATCH && canonical_scan_next(canonical, scan, &external_id, &record))
	{
		items[n].relation = load->relation;
		items[n++].external_id = external_id;
	}
	rows_scan_end(scan);
	canonical_close(canonical);
	return n;
}

static void
load_records(Load *load)
{
	char	   *after = NULL;
	int			n;

	do
	{
		WorkItem   *items;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(load->batch);
		items = palloc0(sizeof(WorkItem) * LOAD_BATCH);
		n = make_record_items(load, after, items);
		if (n > 0)
		{
			if (after != NULL)
				pfree(after);
			after = MemoryContextStrdup(load->context, items[n - 1].external_id);
		}
		run_batch(load, items, n, load_record);
		MemoryContextSwitchTo(load->context);
		MemoryContextReset(load->batch);
	} while (n == LOAD_BATCH);
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
check_linked(const Load *load)
{
	const Link *link = link_of_source(attached_required(load->relation, AccessShareLock)->binding->source);

	if (load->winner != WINNER_LADDER)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the ladder of the hub behind link \"%s\" decides", link->name),
				 errhint("Load with winner => 'ladder'.")));
}

/* Whoever loads owns the relation and may act as the source. */
static void
check_rights(const Load *load)
{
	const Binding *binding = attached_required(load->relation, AccessShareLock)->binding;

	if (!relation_ownercheck_compat(load->relation, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of relation \"%s\"", get_rel_name(load->relation))));
	source_role_check(registry_source_required(registry_get(), binding->source));
	if ((load->winner == WINNER_HUB && !binding->out) ||
		(load->winner == WINNER_TABLE && !binding->in))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the %s can't win: nothing goes from there to the %s",
						binding->out ? "table" : "hub", binding->out ? "hub" : "table"),
				 errdetail("The relation is attached with direction '%s'.",
						   binding->out ? "out" : "in")));
}

static void
push_count(JsonbParseState **state, const Load *load, const char *key, LoadOutcome outcome)
{
	json_push_number(state, key, load->count[outcome]);
}

static Jsonb *
make_result(const Load *load)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "read", load->nread);
	push_count(&state, load, "new", LOAD_NEW);
	push_count(&state, load, "updated", LOAD_UPDATED);
	push_count(&state, load, "equal", LOAD_EQUAL);
	push_count(&state, load, "conflicts", LOAD_CONFLICT);
	push_count(&state, load, "waiting", LOAD_WAITING);
	push_count(&state, load, "delivered", LOAD_DELIVERED);
	json_push_number(&state, "failed", load->nfailed);
	json_push_seconds(&state, "seconds", GetCurrentTimestamp() - load->begin);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

static void
read_arguments(FunctionCallInfo fcinfo, Load *load)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "relation" : "winner")));
	load->relation = PG_GETARG_OID(0);
	if (get_rel_name(load->relation) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", load->relation)));
	load->winner = parse_winner(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	load->atomic = procedure_is_atomic(fcinfo);
	load->begin = GetCurrentTimestamp();
	check_rights(load);
	load->linked = link_of_source(attached_required(load->relation, AccessShareLock)->binding->source) != NULL;
	if (load->linked)
		check_linked(load);
}

/* Let others see how far it is, but for those who load the same relation. */
static void
begin_run(Load *load)
{
	int			holder;

	if (!load->linked || load->atomic || !job_lock(load->relation, "load", &holder))
		return;
	load->run = job_begin(load->relation, "load");
	job_phase(load->run, "reading", -1);
}

static void
end_run(const Load *load)
{
	if (load->run == 0)
		return;
	job_end(load->run, make_result(load), NULL, NULL);
	job_unlock(load->relation, "load");
}

Datum
sync_load(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Load		load = {0};
	bool		in;
	bool		out;

	read_arguments(fcinfo, &load);
	in = attached_required(load.relation, AccessShareLock)->binding->in;
	out = attached_required(load.relation, AccessShareLock)->binding->out;
	SPI_connect_ext(load.atomic ? 0 : SPI_OPT_NONATOMIC);
	load.context = CurrentMemoryContext;
	load.batch = AllocSetContextCreate(load.context, "syncext load", ALLOCSET_DEFAULT_SIZES);
	begin_run(&load);
	if (attached_required(load.relation, AccessShareLock)->binding->capture == CAPTURE_TRIGGER)
		attach_complete(load.relation);
	if (in)
		load_rows(&load);
	if (out && !load.linked)
		load_records(&load);
	end_run(&load);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_DATUM(procedure_result(fcinfo, make_result(&load)));
}
