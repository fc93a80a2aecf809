/*
 * rows.c
 *	  Executor-level reads and writes of syncext's own tables, without SPI.
 *
 * Called by the other files of storage/; nothing else includes the executor.
 * The server's own helpers for logical replication (RelationFindReplTupleByIndex,
 * ExecSimpleRelationInsert) are no model: they search with a dirty snapshot,
 * raise in the race for a new key, and ignore REPEATABLE READ.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "storage/predicate.h"
#include "utils/fmgroids.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "storage/rows.h"
#include "storage/seek_ahead.h"

/* How many indexes of a table can be searched during one call. */
#define ROWS_MAX_INDEXES	4

struct Rows
{
	Relation	rel;
	bool		latest;			/* rows_see_latest */
	bool		bracketed;		/* AfterTriggerBeginQuery was called */
	bool		indexes_open;	/* for writing; searching opens its own */
	bool		arbiter_ready;
	ResourceOwner owner;		/* what is opened late is its, too */
	EState	   *estate;			/* NULL until the first write, as the next one */
	ResultRelInfo *result;
	TupleTableSlot *found;
	TupleTableSlot *fresh;
	int			nindexes;
	Relation	indexes[ROWS_MAX_INDEXES];
};

struct RowsScan
{
	Rows	   *rows;
	IndexScanDesc scan;
	Snapshot	snapshot;
	ScanDirection direction;
	ScanKeyData keys[ROWS_MAX_KEYS + 1];	/* the last bound comes on top */
	ScanKeyData members[ROWS_MAX_KEYS]; /* of a row comparison */
	SeekAhead  *ahead;			/* of seeks for whole keys of a unique index, or NULL */
};

/* ---------- open and close ---------- */

/*
 * Of users' triggers only plain AFTER ROW triggers fire here.  A BEFORE trigger
 * could change what was decided on, and there is no statement to go before or
 * after: refuse the others rather than not to fire them.
 */
static void
refuse_other_triggers(Relation rel)
{
	TriggerDesc *t = rel->trigdesc;

	if (t == NULL)
		return;
	if (t->trig_insert_before_row || t->trig_update_before_row || t->trig_delete_before_row ||
		t->trig_insert_before_statement || t->trig_update_before_statement ||
		t->trig_delete_before_statement || t->trig_insert_after_statement ||
		t->trig_update_after_statement || t->trig_delete_after_statement ||
		t->trig_insert_new_table || t->trig_update_old_table || t->trig_update_new_table ||
		t->trig_delete_old_table)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("table \"%s\" can only have AFTER triggers FOR EACH ROW",
						RelationGetRelationName(rel)),
				 errhint("Drop its BEFORE and FOR EACH STATEMENT triggers, and those with REFERENCING.")));
}

/* Columns that an update may change: all but those of the primary key. */
static Bitmapset *
updatable_columns(Relation rel)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	Bitmapset  *columns = NULL;

	for (int attno = 1; attno <= RelationGetNumberOfAttributes(rel); attno++)
	{
		int			member = attno - FirstLowInvalidHeapAttributeNumber;

		if (!bms_is_member(member, key))
			columns = bms_add_member(columns, member);
	}
	return columns;
}

/* The executor's view of the table: a range table of one entry. */
static void
init_executor_state(Rows *rows)
{
	EState	   *estate = CreateExecutorState();
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	List	   *perminfos = NIL;

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rows->rel);
	rte->relkind = rows->rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#ifdef HAVE_RTE_PERMISSION_INFO
	addRTEPermissionInfo(&perminfos, rte)->updatedCols = updatable_columns(rows->rel);
#else
	rte->updatedCols = updatable_columns(rows->rel);
#endif
	ExecInitRangeTable_compat(estate, list_make1(rte), perminfos);
	(void) perminfos;
	estate->es_output_cid = GetCurrentCommandId(true);

	rows->result = makeNode(ResultRelInfo);
	InitResultRelInfo(rows->result, rows->rel, 1, NULL, 0);
	rows->estate = estate;
}

/* Make what writes need, at the first one: a call opens more tables than it writes. */
static void
begin_writing(Rows *rows)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;

	if (rows->estate != NULL)
		return;
	/* callers reset their own context from item to item */
	old = MemoryContextSwitchTo(GetMemoryChunkContext(rows));
	CurrentResourceOwner = rows->owner;
	rows->fresh = table_slot_create(rows->rel, NULL);
	init_executor_state(rows);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
}

static Rows *
rows_open(Oid relid, LOCKMODE mode)
{
	const bool	write = mode == RowExclusiveLock;
	Rows	   *rows = palloc0(sizeof(Rows));

	rows->rel = table_open(relid, mode);
	rows->owner = CurrentResourceOwner;
	rows->found = table_slot_create(rows->rel, NULL);
	if (write)
	{
		refuse_other_triggers(rows->rel);
		if (rows->rel->trigdesc != NULL)
		{
			begin_writing(rows);
			AfterTriggerBeginQuery();
			rows->bracketed = true;
		}
	}
	return rows;
}

Rows *
rows_open_read(Oid relid)
{
	return rows_open(relid, AccessShareLock);
}

Rows *
rows_open_lock(Oid relid)
{
	return rows_open(relid, RowShareLock);
}

Rows *
rows_open_write(Oid relid)
{
	PreventCommandIfReadOnly("a change of syncext's tables");
	PreventCommandIfParallelMode("a change of syncext's tables");
	return rows_open(relid, RowExclusiveLock);
}

void
rows_see_latest(Rows *rows)
{
	rows->latest = true;
}

/* Close the table; the lock is kept.  Fires the AFTER triggers of users. */
void
rows_close(Rows *rows)
{
	if (rows->bracketed)
		AfterTriggerEndQuery(rows->estate);
	if (rows->indexes_open)
		ExecCloseIndices(rows->result);
	for (int i = 0; i < rows->nindexes; i++)
		index_close(rows->indexes[i], NoLock);
	ExecDropSingleTupleTableSlot(rows->found);
	if (rows->estate != NULL)
	{
		ExecDropSingleTupleTableSlot(rows->fresh);
		/* the slots that triggers looked at hold buffers and descriptors */
		ExecResetTupleTable(rows->estate->es_tupleTable, false);
		ExecCloseResultRelations(rows->estate);
		FreeExecutorState(rows->estate);
	}
	table_close(rows->rel, NoLock);
	pfree(rows);
}

TupleDesc
rows_desc(const Rows *rows)
{
	return RelationGetDescr(rows->rel);
}

bool
rows_empty(const Rows *rows)
{
	return RelationGetNumberOfBlocks(rows->rel) == 0;
}

/* ---------- find and scan ---------- */

/* The snapshot to decide on; registered, the caller unregisters it. */
static Snapshot
rows_snapshot(const Rows *rows)
{
	if (IsolationUsesXactSnapshot() && !rows->latest)
		return RegisterSnapshot(GetTransactionSnapshot());
	return RegisterSnapshot(GetLatestSnapshot());
}

static Relation
rows_index(Rows *rows, Oid index)
{
	if (!OidIsValid(index))
		index = RelationGetPrimaryKeyIndex_compat(rows->rel);
	if (!OidIsValid(index))
		elog(ERROR, "table \"%s\" has no primary key", RelationGetRelationName(rows->rel));
	for (int i = 0; i < rows->nindexes; i++)
		if (RelationGetRelid(rows->indexes[i]) == index)
			return rows->indexes[i];
	if (rows->nindexes >= ROWS_MAX_INDEXES)
		elog(ERROR, "too many indexes of table \"%s\" are searched",
			 RelationGetRelationName(rows->rel));
	rows->indexes[rows->nindexes] = index_open(index, AccessShareLock);
	return rows->indexes[rows->nindexes++];
}

/* Equality for the types that keys of our tables have; others by catalog. */
static RegProcedure
equality_procedure(Relation index, int column)
{
	switch (index->rd_opcintype[column])
	{
		case TEXTOID:
			return F_TEXTEQ;
		case INT8OID:
			return F_INT8EQ;
		case INT4OID:
			return F_INT4EQ;
		case OIDOID:
			return F_OIDEQ;
		default:
			return get_opcode(get_opfamily_member(index->rd_opfamily[column],
												  index->rd_opcintype[column],
												  index->rd_opcintype[column],
												  BTEqualStrategyNumber));
	}
}

static void
init_equal_keys(Relation index, int nkeys, const Datum *values, ScanKeyData *keys)
{
	for (int i = 0; i < nkeys; i++)
		ScanKeyEntryInitialize(&keys[i], 0, i + 1, BTEqualStrategyNumber,
							   InvalidOid, index->rd_indcollation[i],
							   equality_procedure(index, i), values[i]);
}

/*
 * Make one key that holds "the columns from first on, compared as a row, are
 * greater than values": members are compared by the btree support function.
 */
static void
init_row_comparison(Relation index, int first, int n, const Datum *values,
					ScanKeyData *key, ScanKeyData *members)
{
	for (int i = 0; i < n; i++)
	{
		int			column = first + i;
		Oid			type = index->rd_opcintype[column];

		ScanKeyEntryInitialize(&members[i],
							   SK_ROW_MEMBER | (i == n - 1 ? SK_ROW_END : 0),
							   column + 1, BTGreaterStrategyNumber, InvalidOid,
							   index->rd_indcollation[column],
							   get_opfamily_proc(index->rd_opfamily[column], type, type,
												 BTORDER_PROC),
							   values[i]);
	}
	MemSet(key, 0, sizeof(ScanKeyData));
	key->sk_flags = SK_ROW_HEADER;
	key->sk_attno = members[0].sk_attno;
	key->sk_strategy = BTGreaterStrategyNumber;
	key->sk_argument = PointerGetDatum(members);
}

bool
rows_find_by(Rows *rows, Oid index_oid, int nkeys, const Datum *values)
{
	Relation	index = rows_index(rows, index_oid);
	Snapshot	snapshot = rows_snapshot(rows);
	IndexScanDesc scan;
	ScanKeyData keys[ROWS_MAX_KEYS];
	bool		found;

	Assert(nkeys <= ROWS_MAX_KEYS);
	init_equal_keys(index, nkeys, values, keys);
	scan = index_beginscan_compat(rows->rel, index, snapshot, nkeys);
	index_rescan(scan, keys, nkeys, NULL, 0);
	found = index_getnext_slot(scan, ForwardScanDirection, rows->found);
	if (found)
	{
		/* the scan's buffer pin goes with the scan: keep a copy of our own */
		ExecMaterializeSlot(rows->found);
		slot_getallattrs(rows->found);
	}
	else
		ExecClearTuple(rows->found);
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	return found;
}

bool
rows_find(Rows *rows, int nkeys, const Datum *keys)
{
	return rows_find_by(rows, InvalidOid, nkeys, keys);
}

bool
rows_find_at(Rows *rows, const ItemPointerData *at, int nkeys, const Datum *values)
{
	Relation	index = rows_index(rows, InvalidOid);
	Snapshot	snapshot = rows_snapshot(rows);
	ItemPointerData tid = *at;
	ScanKeyData keys[ROWS_MAX_KEYS];
	bool		found;

	Assert(nkeys <= ROWS_MAX_KEYS);
	found = table_tuple_fetch_row_version(rows->rel, &tid, snapshot, rows->found);
	UnregisterSnapshot(snapshot);
	if (!found)
		return false;
	ExecMaterializeSlot(rows->found);
	slot_getallattrs(rows->found);
	/* another row may have taken the place by now */
	init_equal_keys(index, nkeys, values, keys);
	for (int i = 0; i < nkeys; i++)
		if (!DatumGetBool(FunctionCall2Coll(&keys[i].sk_func, keys[i].sk_collation,
											rows->found->tts_values[index->rd_index->indkey.values[i] - 1],
											values[i])))
			return false;
	return true;
}

ItemPointerData
rows_place(const Rows *rows)
{
	return rows->found->tts_tid;
}

Datum
rows_value(const Rows *rows, int column, bool *isnull)
{
	*isnull = rows->found->tts_isnull[column - 1];
	return rows->found->tts_values[column - 1];
}

/* A frozen row still bears its id, whose commit status may be gone. */
TransactionId
rows_written_by(const Rows *rows)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(rows->found, false, NULL);

	return HeapTupleHeaderGetXmin(tuple->t_data);
}

/* One key: the column compares with a bound as the strategy says. */
static void
init_bound_key(Relation index, int column, StrategyNumber strategy, Datum bound,
			   ScanKeyData *key)
{
	Oid			type = index->rd_opcintype[column];
	Oid			operator = get_opfamily_member(index->rd_opfamily[column], type, type, strategy);

	ScanKeyEntryInitialize(key, 0, column + 1, strategy, InvalidOid,
						   index->rd_indcollation[column], get_opcode(operator), bound);
}

RowsScan *
rows_scan_range(Rows *rows, Oid index_oid, const RowsRange *range)
{
	RowsScan   *scan = palloc0(sizeof(RowsScan));
	Relation	index = rows_index(rows, index_oid);
	int			n = range->nkeys;

	Assert(range->nkeys + range->nafter <= ROWS_MAX_KEYS);
	scan->rows = rows;
	scan->direction = range->backward ? BackwardScanDirection : ForwardScanDirection;
	scan->snapshot = rows_snapshot(rows);
	init_equal_keys(index, n, range->keys, scan->keys);
	/* the server has no row comparison of a single column */
	if (range->nafter == 1)
		init_bound_key(index, range->nkeys, BTGreaterStrategyNumber, range->after[0],
					   &scan->keys[n++]);
	else if (range->nafter > 1)
		init_row_comparison(index, range->nkeys, range->nafter, range->after,
							&scan->keys[n++], scan->members);
	if (range->has_last)
		init_bound_key(index, range->nkeys, BTLessEqualStrategyNumber, range->last,
					   &scan->keys[n++]);
	scan->scan = index_beginscan_compat(rows->rel, index, scan->snapshot, n);
	index_rescan(scan->scan, scan->keys, n, NULL, 0);
	return scan;
}

RowsScan *
rows_scan_begin(Rows *rows, Oid index_oid, int nkeys, const Datum *keys,
				int nafter, const Datum *after)
{
	RowsRange	range = {.nkeys = nkeys, .keys = keys, .nafter = nafter, .after = after};

	return rows_scan_range(rows, index_oid, &range);
}

RowsScan *
rows_seek_begin(Rows *rows, Oid index_oid, int nkeys)
{
	const Datum none[ROWS_MAX_KEYS] = {0};
	RowsScan   *scan = palloc0(sizeof(RowsScan));
	Relation	index = rows_index(rows, index_oid);

	Assert(nkeys > 0 && nkeys <= ROWS_MAX_KEYS);
	scan->rows = rows;
	scan->direction = ForwardScanDirection;
	scan->snapshot = rows_snapshot(rows);
	init_equal_keys(index, nkeys, none, scan->keys);
	scan->scan = index_beginscan_compat(rows->rel, index, scan->snapshot, nkeys);
	if (index->rd_index->indisunique &&
		nkeys == IndexRelationGetNumberOfAttributes(index))
		scan->ahead = seek_ahead_begin(rows->rel, index, scan->snapshot);
	return scan;
}

bool
rows_seek(RowsScan *scan, const Datum *keys)
{
	bool		found;

	if (scan->ahead != NULL && seek_ahead(scan->ahead, keys, scan->rows->found, &found))
	{
		if (found)
			slot_getallattrs(scan->rows->found);
		return found;
	}
	for (int i = 0; i < scan->scan->numberOfKeys; i++)
		scan->keys[i].sk_argument = keys[i];
	index_rescan(scan->scan, scan->keys, scan->scan->numberOfKeys, NULL, 0);
	return rows_scan_next(scan);
}

bool
rows_scan_next(RowsScan *scan)
{
	if (!index_getnext_slot(scan->scan, scan->direction, scan->rows->found))
		return false;
	slot_getallattrs(scan->rows->found);
	return true;
}

void
rows_scan_end(RowsScan *scan)
{
	ExecClearTuple(scan->rows->found);
	if (scan->ahead != NULL)
		seek_ahead_end(scan->ahead);
	index_endscan(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	pfree(scan);
}

/* ---------- write ---------- */

/* Indexes are opened at the first write that needs them: HOT updates don't. */
static void
open_indexes(Rows *rows)
{
	MemoryContext old;

	if (rows->indexes_open)
		return;
	/* callers reset their own context from item to item */
	old = MemoryContextSwitchTo(rows->estate->es_query_cxt);
	ExecOpenIndices(rows->result, false);
	rows->indexes_open = true;
	MemoryContextSwitchTo(old);
}

static void
fill_fresh(Rows *rows, const Datum *values, const bool *isnull)
{
	TupleTableSlot *slot = rows->fresh;
	int			n = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	memcpy(slot->tts_values, values, n * sizeof(Datum));
	memcpy(slot->tts_isnull, isnull, n * sizeof(bool));
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(rows->rel);
	if (rows->rel->rd_att->constr && rows->rel->rd_att->constr->num_check > 0)
		ExecConstraints(rows->result, slot, rows->estate);
}

/* What every write ends with: triggers queued, the command's work visible. */
static void
finish_write(Rows *rows)
{
	ResetPerTupleExprContext(rows->estate);
	CommandCounterIncrement();
}

void
rows_insert(Rows *rows, const Datum *values, const bool *isnull)
{
	List	   *recheck;

	begin_writing(rows);
	open_indexes(rows);
	fill_fresh(rows, values, isnull);
	table_tuple_insert(rows->rel, rows->fresh, GetCurrentCommandId(true), 0, NULL);
	recheck = ExecInsertIndexTuples_compat(rows->result, rows->fresh, rows->estate,
										   false, false, NULL, NIL, UPDATE_INDEXES_ALL_COMPAT);
	ExecARInsertTriggers(rows->estate, rows->result, rows->fresh, recheck, NULL);
	list_free(recheck);
	finish_write(rows);
}

/* Rows that go to the table together, and share its WAL records. */
#define INSERT_CHUNK	64

static void
insert_chunk(Rows *rows, TupleTableSlot **slots, int n)
{
	table_multi_insert(rows->rel, slots, n, GetCurrentCommandId(true), 0, NULL);
	for (int i = 0; i < n; i++)
	{
		List	   *recheck = ExecInsertIndexTuples_compat(rows->result, slots[i], rows->estate,
														   false, false, NULL, NIL,
														   UPDATE_INDEXES_ALL_COMPAT);

		ExecARInsertTriggers(rows->estate, rows->result, slots[i], recheck, NULL);
		list_free(recheck);
		ResetPerTupleExprContext(rows->estate);
	}
	finish_write(rows);
}

void
rows_insert_many(Rows *rows, int n, RowsFill fill, void *arg)
{
	TupleTableSlot *slots[INSERT_CHUNK];
	int			nslots = Min(n, INSERT_CHUNK);

	begin_writing(rows);
	open_indexes(rows);
	for (int i = 0; i < nslots; i++)
		slots[i] = table_slot_create(rows->rel, NULL);
	for (int first = 0; first < n; first += nslots)
	{
		int			length = Min(n - first, nslots);

		for (int i = 0; i < length; i++)
		{
			TupleTableSlot *slot = ExecClearTuple(slots[i]);

			fill(arg, first + i, slot->tts_values, slot->tts_isnull);
			ExecStoreVirtualTuple(slot);
			slot->tts_tableOid = RelationGetRelid(rows->rel);
			if (rows->rel->rd_att->constr && rows->rel->rd_att->constr->num_check > 0)
				ExecConstraints(rows->result, slot, rows->estate);
		}
		insert_chunk(rows, slots, length);
	}
	for (int i = 0; i < nslots; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
}

/* The arbiter needs what BuildIndexInfo leaves out: how to compare keys. */
static void
prepare_arbiter(Rows *rows, Oid primary_key)
{
	MemoryContext old;

	if (rows->arbiter_ready)
		return;
	old = MemoryContextSwitchTo(rows->estate->es_query_cxt);
	for (int i = 0; i < rows->result->ri_NumIndices; i++)
	{
		Relation	index = rows->result->ri_IndexRelationDescs[i];

		if (RelationGetRelid(index) == primary_key)
			BuildSpeculativeIndexInfo(index, rows->result->ri_IndexRelationInfo[i]);
	}
	MemoryContextSwitchTo(old);
	rows->arbiter_ready = true;
}

/*
 * In REPEATABLE READ and above a row that exists but can't be seen is a
 * conflict that the transaction has to be told of.
 */
static void
refuse_invisible_row(Rows *rows, ItemPointer tid)
{
	Snapshot	snapshot;
	bool		visible;

	if (!IsolationUsesXactSnapshot())
		return;
	snapshot = RegisterSnapshot(GetTransactionSnapshot());
	visible = table_tuple_fetch_row_version(rows->rel, tid, snapshot, rows->found);
	UnregisterSnapshot(snapshot);
	if (!visible)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errhint("Run the transaction again.")));
}

/*
 * Insert a row whose primary key others may insert at the same time.  Returns
 * false if the key exists, after waiting for whoever is inserting it; the
 * caller then finds the row and decides again.
 */
bool
rows_insert_new(Rows *rows, const Datum *values, const bool *isnull)
{
	Oid			primary_key = RelationGetPrimaryKeyIndex_compat(rows->rel);
	List	   *arbiters = list_make1_oid(primary_key);
	ItemPointerData conflict;
	uint32		token;
	bool		lost_race = false;	/* only ever set to true below */
	List	   *recheck;

	begin_writing(rows);
	open_indexes(rows);
	prepare_arbiter(rows, primary_key);
	fill_fresh(rows, values, isnull);
	if (!ExecCheckIndexConstraints_compat(rows->result, rows->fresh, rows->estate,
										  &conflict, arbiters))
	{
		refuse_invisible_row(rows, &conflict);
		finish_write(rows);
		return false;
	}

	token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	table_tuple_insert_speculative(rows->rel, rows->fresh, GetCurrentCommandId(true),
								   0, NULL, token);
	recheck = ExecInsertIndexTuples_compat(rows->result, rows->fresh, rows->estate,
										   false, true, &lost_race, arbiters,
										   UPDATE_INDEXES_ALL_COMPAT);
	table_tuple_complete_speculative(rows->rel, rows->fresh, token, !lost_race);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	if (!lost_race)
		ExecARInsertTriggers(rows->estate, rows->result, rows->fresh, recheck, NULL);
	list_free(recheck);
	list_free(arbiters);
	finish_write(rows);
	return !lost_race;
}

/* Turn the table access method's answer into ours. */
static RowsOutcome
judge_outcome(TM_Result result, const char *what)
{
	switch (result)
	{
		case TM_Ok:
			return ROWS_DONE;
		case TM_Updated:
		case TM_Deleted:
			if (IsolationUsesXactSnapshot())
				ereport(ERROR,
						(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
						 errmsg("could not serialize access due to concurrent %s",
								result == TM_Deleted ? "delete" : "update"),
						 errhint("Run the transaction again.")));
			return ROWS_MOVED;
		case TM_SelfModified:
			ereport(ERROR,
					(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
					 errmsg("a row of syncext's tables was changed twice by one command"),
					 errhint("A trigger on the table changed the row that its own command was changing.")));
			break;
		default:
			elog(ERROR, "unexpected result %d of %s", result, what);
	}
	return ROWS_MOVED;			/* keep the compiler quiet */
}

RowsOutcome
rows_update(Rows *rows, const Datum *values, const bool *isnull)
{
	ItemPointerData tid = rows->found->tts_tid;
	TM_FailureData failure;
	LockTupleMode lockmode;
	UpdateIndexes_compat indexes;
	RowsOutcome outcome;
	List	   *recheck = NIL;

	begin_writing(rows);
	fill_fresh(rows, values, isnull);
	outcome = judge_outcome(table_tuple_update(rows->rel, &tid, rows->fresh,
											   GetCurrentCommandId(true), InvalidSnapshot,
											   InvalidSnapshot, true, &failure, &lockmode,
											   &indexes), "update");
	if (outcome == ROWS_MOVED)
		return ROWS_MOVED;
	if (update_indexes_any_compat(indexes))
	{
		open_indexes(rows);
		recheck = ExecInsertIndexTuples_compat(rows->result, rows->fresh, rows->estate,
											   true, false, NULL, NIL, indexes);
	}
	ExecARUpdateTriggers(rows->estate, rows->result, NULL, NULL, &tid, NULL, rows->fresh,
						 recheck, NULL, false);
	list_free(recheck);
	finish_write(rows);
	return ROWS_DONE;
}

RowsOutcome
rows_delete(Rows *rows)
{
	ItemPointerData tid = rows->found->tts_tid;
	TM_FailureData failure;

	begin_writing(rows);
	if (judge_outcome(table_tuple_delete(rows->rel, &tid, GetCurrentCommandId(true),
										 InvalidSnapshot, InvalidSnapshot, true,
										 &failure, false), "delete") == ROWS_MOVED)
		return ROWS_MOVED;
	ExecARDeleteTriggers(rows->estate, rows->result, &tid, NULL, NULL, false);
	finish_write(rows);
	return ROWS_DONE;
}

static TM_Result
lock_found(Rows *rows, LockWaitPolicy wait, uint8 flags)
{
	ItemPointerData tid = rows->found->tts_tid;
	TupleTableSlot *slot = table_slot_create(rows->rel, NULL);
	Snapshot	snapshot = rows_snapshot(rows);
	TM_FailureData failure;
	TM_Result	result;

	result = table_tuple_lock(rows->rel, &tid, snapshot, slot, GetCurrentCommandId(true),
							  LockTupleNoKeyExclusive, wait, flags, &failure);
	UnregisterSnapshot(snapshot);
	ExecDropSingleTupleTableSlot(slot);
	return result;
}

RowsOutcome
rows_lock(Rows *rows)
{
	return judge_outcome(lock_found(rows, LockWaitBlock, 0), "lock");
}

bool
rows_try_lock(Rows *rows)
{
	return lock_found(rows, LockWaitSkip, 0) != TM_WouldBlock;
}

RowsOutcome
rows_lock_free(Rows *rows, bool *busy)
{
	TM_Result	result = lock_found(rows, LockWaitSkip, 0);

	*busy = result == TM_WouldBlock;
	return *busy ? ROWS_MOVED : judge_outcome(result, "lock");
}

void
rows_lock_newest(Rows *rows)
{
	/* whether it was updated or deleted meanwhile: the caller finds again */
	(void) lock_found(rows, LockWaitBlock, TUPLE_LOCK_FLAG_FIND_LAST_VERSION);
}
