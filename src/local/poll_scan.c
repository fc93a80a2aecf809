/*
 * poll_scan.c
 *	  What a poll reads of its relation.
 *
 * The rows are of one moment, and are stored before the first of them is dealt
 * with: no snapshot or connection to another server is kept for as long as that
 * takes.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "executor/spi.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "executor/tstoreReceiver.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"
#include "utils/tuplestore.h"

#include "local/poll_scan.h"
#include "local/writer.h"
#include "model/rfc3339.h"

struct PollScan
{
	MemoryContext context;		/* all of it is in here */
	Tuplestorestate *store;
	TupleDesc	desc;			/* of what is stored */
	AttrNumber *attnums;		/* and where that is in the relation */
	TupleTableSlot *slot;
	TransactionId horizon;
	uint64		checked;		/* Attached that the columns were compared with */
};

/* ---------- the columns ---------- */

/* Is the column read: what says which record a row is, and the time of edit, at least? */
static bool
is_read(const Attached *attached, int column, const PollWindow *window)
{
	return !window->keys_only || column < attached->nkeys ||
		attached->read[column] == attached->updated || attached->read[column] == attached->external_id;
}

static void
init_columns(PollScan *scan, const Attached *attached, const PollWindow *window)
{
	int			n = 0;

	scan->attnums = palloc(sizeof(AttrNumber) * attached->nread);
	for (int i = 0; i < attached->nread; i++)
		if (is_read(attached, i, window))
			scan->attnums[n++] = attached->read[i]->attnum;
	scan->desc = CreateTemplateTupleDesc(n);
	for (int i = 0; i < n; i++)
		TupleDescCopyEntry(scan->desc, i + 1, attached->desc, scan->attnums[i]);
	scan->checked = attached->id;
}

/* ---------- the queries ---------- */

static char *
time_literal(const Attached *attached, TimestampTz time)
{
	return psprintf("'%s'::pg_catalog.%s", rfc3339_format(time),
					attached->updated->type == TIMESTAMPOID ? "timestamp" : "timestamptz");
}

/* Any server can read the conditions: plain comparisons with a constant. */
static void
append_condition(StringInfo sql, const Attached *attached, const PollWindow *window, bool nulls)
{
	const char *column;

	if (attached->updated == NULL)
		return;
	column = quote_identifier(attached->updated->name);
	if (nulls)
	{
		appendStringInfo(sql, " WHERE t.%s IS NULL", column);
		return;
	}
	if (window->bounded)
		appendStringInfo(sql, " WHERE t.%s OPERATOR(pg_catalog.>=) %s", column,
						 time_literal(attached, window->since));
	else if (!attached->updated->not_null)
		appendStringInfo(sql, " WHERE t.%s IS NOT NULL", column);
	appendStringInfo(sql, " ORDER BY t.%s", column);
}

static void
run_query(PollScan *scan, const Attached *attached, const PollWindow *window, bool nulls)
{
	SPIExecuteOptions options = {.read_only = true};
	StringInfoData sql;
	int			n = 0;
	int			result;

	initStringInfo(&sql);
	appendStringInfoString(&sql, "SELECT ");
	for (int i = 0; i < attached->nread; i++)
		if (is_read(attached, i, window))
			appendStringInfo(&sql, "%st.%s", n++ > 0 ? ", " : "",
							 quote_identifier(attached->read[i]->name));
	appendStringInfo(&sql, " FROM %s%s AS t", attached_only(attached), attached->name);
	append_condition(&sql, attached, window, nulls);

	options.dest = CreateDestReceiver(DestTuplestore);
	/* a toasted value may be gone when its turn comes */
	SetTuplestoreDestReceiverParams(options.dest, scan->store, scan->context, true, NULL, NULL);
	result = SPI_execute_extended(sql.data, &options);
	if (result < 0)
		elog(ERROR, "%s: %s", SPI_result_code_string(result), sql.data);
	options.dest->rDestroy(options.dest);
	pfree(sql.data);
}

/* Both queries see the same rows: one that is edited meanwhile is in one of them. */
static void
read_relation(PollScan *scan, Attached *attached, const PollWindow *window)
{
	Relation	rel = relation_open(attached->relid, NoLock);
	TableCode	code;
	Snapshot	snapshot;

	/* being open, it can't be altered by what a view calls */
	attached_recheck(attached);
	/* the snapshot comes first: what it doesn't see may be newer than the rows */
	snapshot = IsolationUsesXactSnapshot() ? GetTransactionSnapshot() : GetLatestSnapshot();
	scan->horizon = snapshot->xmin;
	SPI_connect();
	PushActiveSnapshot(snapshot);
	table_code_enter(&code, attached->owner, TABLE_CODE_RESTRICTED);
	if (attached->updated != NULL && !attached->updated->not_null)
		run_query(scan, attached, window, true);
	run_query(scan, attached, window, false);
	table_code_leave(&code);
	PopActiveSnapshot();
	SPI_finish();
	relation_close(rel, NoLock);
}

PollScan *
poll_scan_begin(Attached *attached, const PollWindow *window)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "syncext poll scan",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PollScan   *scan = palloc0(sizeof(PollScan));

	scan->context = context;
	init_columns(scan, attached, window);
	scan->slot = MakeSingleTupleTableSlot(scan->desc, &TTSOpsMinimalTuple);
	scan->store = tuplestore_begin_heap(false, true, work_mem);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		read_relation(scan, attached, window);
	}
	PG_CATCH();
	{
		/* its file would stay until the session ends */
		poll_scan_end(scan);
		PG_RE_THROW();
	}
	PG_END_TRY();
	return scan;
}

void
poll_scan_end(PollScan *scan)
{
	ExecClearTuple(scan->slot);
	tuplestore_end(scan->store);
	MemoryContextDelete(scan->context);
}

/* ---------- the rows ---------- */

int64
poll_scan_total(const PollScan *scan)
{
	return tuplestore_tuple_count(scan->store);
}

TransactionId
poll_scan_horizon(const PollScan *scan)
{
	return scan->horizon;
}

MinimalTuple
poll_scan_next(PollScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	bool		found = tuplestore_gettupleslot(scan->store, true, false, scan->slot);

	MemoryContextSwitchTo(old);
	return found ? ExecCopySlotMinimalTuple(scan->slot) : NULL;
}

/* Is a column still what it was when it was read? */
static bool
is_unaltered(const PollScan *scan, int i, const Attached *attached)
{
	Form_pg_attribute att = TupleDescAttr(scan->desc, i);

	for (int j = 0; j < attached->nread; j++)
		if (attached->read[j]->attnum == scan->attnums[i])
			return attached->read[j]->type == att->atttypid;
	return false;
}

/* The relation may have been altered since it was read, which raises. */
static void
check_unaltered(PollScan *scan, const Attached *attached)
{
	if (scan->checked == attached->id)
		return;
	for (int i = 0; i < scan->desc->natts; i++)
		if (!is_unaltered(scan, i, attached))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("relation %s was altered while it was polled", attached->name),
					 errhint("Poll it again.")));
	scan->checked = attached->id;
}

AttachedRow
poll_scan_row(PollScan *scan, const Attached *attached, MinimalTuple tuple)
{
	AttachedRow row = attached_row_make(attached);
	int			n = scan->desc->natts;
	Datum	   *values = palloc(sizeof(Datum) * n);
	bool	   *isnull = palloc(sizeof(bool) * n);
	HeapTupleData whole;

	check_unaltered(scan, attached);
	whole.t_len = tuple->t_len + MINIMAL_TUPLE_OFFSET;
	whole.t_data = (HeapTupleHeader) ((char *) tuple - MINIMAL_TUPLE_OFFSET);
	heap_deform_tuple(&whole, scan->desc, values, isnull);
	for (int i = 0; i < n; i++)
	{
		/* dropped columns stay: the number of columns never falls */
		row.values[scan->attnums[i] - 1] = values[i];
		row.isnull[scan->attnums[i] - 1] = isnull[i];
	}
	return row;
}
