/*
 * rows_write.c
 *	  Inserting, updating, deleting and locking rows of syncext's own tables at
 *	  the level of the executor, without SPI.
 *
 * Called by the other files of storage/, and for locks by local/writer.  The
 * server's own helper for logical replication (ExecSimpleRelationInsert) is no
 * model: it raises in the race for a new key.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "storage/rows_state.h"

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

/* Defaults of the columns that a DBA has added. */
static void
init_defaults(Rows *rows)
{
	TupleDesc	desc = RelationGetDescr(rows->rel);

	rows->defaults = palloc0(sizeof(ExprState *) * desc->natts);
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);
		Node	   *expr = NULL;

		if (!att->attisdropped && att->attgenerated == '\0')
			expr = build_column_default(rows->rel, i + 1);
		if (expr != NULL)
			rows->defaults[i] = ExecPrepareExpr((Expr *) expr, rows->estate);
	}
}

void
rows_begin_writing(Rows *rows)
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
	if (!rows->layout->plain)
		init_defaults(rows);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
}

/* ---------- insert, update, delete ---------- */

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

/* What a new row has in a column that the extension doesn't know. */
static void
fill_default(Rows *rows, TupleTableSlot *slot, int i)
{
	ExprState  *state = rows->defaults[i];

	slot->tts_isnull[i] = true;
	if (state != NULL)
		slot->tts_values[i] = ExecEvalExprSwitchContext(state, GetPerTupleExprContext(rows->estate),
														&slot->tts_isnull[i]);
}

/* A row of a table to which columns were added; old is the one that it replaces, or NULL. */
static void
fill_around(Rows *rows, TupleTableSlot *slot, const TupleTableSlot *old, const Datum *values,
			const bool *isnull)
{
	const TableLayout *layout = rows->layout;
	int			natts = slot->tts_tupleDescriptor->natts;

	for (int i = 0; i < natts; i++)
	{
		if (old == NULL)
			fill_default(rows, slot, i);
		else
		{
			slot->tts_values[i] = old->tts_values[i];
			slot->tts_isnull[i] = old->tts_isnull[i];
		}
	}
	for (int i = 0; i < layout->shape->ncolumns; i++)
	{
		slot->tts_values[layout->attnum[i] - 1] = values[i];
		slot->tts_isnull[layout->attnum[i] - 1] = isnull[i];
	}
}

/* Make the row, without a look at its constraints. */
static void
make_slot(Rows *rows, TupleTableSlot *slot, const TupleTableSlot *old, const Datum *values,
		  const bool *isnull)
{
	TupleConstr *constr = RelationGetDescr(rows->rel)->constr;
	int			n = slot->tts_tupleDescriptor->natts;

	ExecClearTuple(slot);
	if (rows->layout->plain)
	{
		memcpy(slot->tts_values, values, n * sizeof(Datum));
		memcpy(slot->tts_isnull, isnull, n * sizeof(bool));
	}
	else
		fill_around(rows, slot, old, values, isnull);
	ExecStoreVirtualTuple(slot);
	slot->tts_tableOid = RelationGetRelid(rows->rel);
	if (constr != NULL && constr->has_generated_stored)
		ExecComputeStoredGenerated(rows->result, rows->estate, slot, CMD_INSERT);
}

static void
fill_slot(Rows *rows, TupleTableSlot *slot, const TupleTableSlot *old, const Datum *values,
		  const bool *isnull)
{
	TupleConstr *constr = RelationGetDescr(rows->rel)->constr;

	make_slot(rows, slot, old, values, isnull);
	if (constr != NULL && (constr->num_check > 0 || constr->has_not_null))
		ExecConstraints(rows->result, slot, rows->estate);
}

static void
fill_fresh(Rows *rows, const TupleTableSlot *old, const Datum *values, const bool *isnull)
{
	fill_slot(rows, rows->fresh, old, values, isnull);
}

static void
prepare_checks(Rows *rows, const TupleConstr *constr)
{
	MemoryContext old = MemoryContextSwitchTo(rows->estate->es_query_cxt);

	rows->checks = palloc0(sizeof(ExprState *) * constr->num_check);
	for (int i = 0; i < constr->num_check; i++)
		if (check_is_enforced_compat(&constr->check[i]))
			rows->checks[i] = ExecPrepareExpr(stringToNode(constr->check[i].ccbin), rows->estate);
	MemoryContextSwitchTo(old);
}

bool
rows_checked(const Rows *rows)
{
	const TupleConstr *constr = RelationGetDescr(rows->rel)->constr;

	return constr != NULL && constr->num_check > 0;
}

const char *
rows_violated(Rows *rows, bool insert, const Datum *values, const bool *isnull)
{
	const TupleConstr *constr = RelationGetDescr(rows->rel)->constr;
	const char *violated = NULL;
	ExprContext *context;

	if (!rows_checked(rows))
		return NULL;
	rows_begin_writing(rows);
	if (rows->checks == NULL)
		prepare_checks(rows, constr);
	make_slot(rows, rows->fresh, insert ? NULL : rows->found, values, isnull);
	context = GetPerTupleExprContext(rows->estate);
	context->ecxt_scantuple = rows->fresh;
	for (int i = 0; i < constr->num_check && violated == NULL; i++)
		if (rows->checks[i] != NULL && !ExecCheck(rows->checks[i], context))
			violated = constr->check[i].ccname;
	ExecClearTuple(rows->fresh);
	ResetPerTupleExprContext(rows->estate);
	return violated;
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

	rows_begin_writing(rows);
	open_indexes(rows);
	fill_fresh(rows, NULL, values, isnull);
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

	rows_begin_writing(rows);
	open_indexes(rows);
	for (int i = 0; i < nslots; i++)
		slots[i] = table_slot_create(rows->rel, NULL);
	for (int first = 0; first < n; first += nslots)
	{
		int			length = Min(n - first, nslots);

		for (int i = 0; i < length; i++)
		{
			Datum		values[MAX_COLUMNS];
			bool		isnull[MAX_COLUMNS];

			fill(arg, first + i, values, isnull);
			fill_slot(rows, slots[i], NULL, values, isnull);
			/* a default that was computed goes with the first row that is written */
			if (!rows->layout->plain)
				ExecMaterializeSlot(slots[i]);
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

	rows_begin_writing(rows);
	open_indexes(rows);
	prepare_arbiter(rows, primary_key);
	fill_fresh(rows, NULL, values, isnull);
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

	rows_begin_writing(rows);
	fill_fresh(rows, rows->found, values, isnull);
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

	rows_begin_writing(rows);
	if (judge_outcome(table_tuple_delete(rows->rel, &tid, GetCurrentCommandId(true),
										 InvalidSnapshot, InvalidSnapshot, true,
										 &failure, false), "delete") == ROWS_MOVED)
		return ROWS_MOVED;
	ExecARDeleteTriggers(rows->estate, rows->result, &tid, NULL, NULL, false);
	finish_write(rows);
	return ROWS_DONE;
}

/* ---------- lock ---------- */

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
