/*
 * rows_write.c
 *	  Inserting, updating, deleting and locking rows of syncext's own tables at
 *	  the level of the executor, without SPI.
 *
 * The server's own helper for logical replication (ExecSimpleRelationInsert) is no
 * model: it raises in the race for a new key.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/index.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "executor/nodeModifyTable.h"
#include "storage/lmgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "storage/rows_entries.h"
#include "storage/rows_state.h"

/* ---------- insert, update, delete ---------- */

/* Indexes are opened at the first write that needs them: HOT updates don't. */
void
rows_open_indexes(Rows *rows)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old;

	if (rows->indexes_open)
		return;
	/* callers reset their own context from item to item */
	old = MemoryContextSwitchTo(rows->estate->es_query_cxt);
	CurrentResourceOwner = rows->owner;
	ExecOpenIndices(rows->result, false);
	CurrentResourceOwner = owner;
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

	rows->absent_again = false;
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

void
rows_fill_slot(Rows *rows, TupleTableSlot *slot, const TupleTableSlot *old, const Datum *values,
			   const bool *isnull)
{
	TupleConstr *constr = RelationGetDescr(rows->rel)->constr;

	make_slot(rows, slot, old, values, isnull);
	if (constr != NULL && (constr->num_check > 0 || constr->has_not_null))
		ExecConstraints(rows->result, slot, rows->estate);
}

/* All or none: an expression may raise as soon as it is prepared. */
static void
prepare_checks(Rows *rows, const TupleConstr *constr, const char **constraint)
{
	MemoryContext old = MemoryContextSwitchTo(rows->estate->es_query_cxt);
	ExprState **checks = palloc0(sizeof(ExprState *) * constr->num_check);

	for (int i = 0; i < constr->num_check; i++)
	{
		*constraint = constr->check[i].ccname;
		if (check_is_enforced_compat(&constr->check[i]))
			checks[i] = ExecPrepareExpr(stringToNode(constr->check[i].ccbin), rows->estate);
	}
	rows->checks = checks;
	MemoryContextSwitchTo(old);
}

bool
rows_guarded(const Rows *rows)
{
	const TupleConstr *constr = RelationGetDescr(rows->rel)->constr;

	if (!rows->rel->rd_indexvalid)
		list_free(RelationGetIndexList(rows->rel));
	return !rows->layout->plain || list_length(rows->rel->rd_indexlist) > 1 ||
		(constr != NULL && constr->num_check > 0);
}

/* Evaluate what indexes keep of the row beside its columns. */
static void
try_indexes(Rows *rows)
{
	rows_open_indexes(rows);
	for (int i = 0; i < rows->result->ri_NumIndices; i++)
	{
		IndexInfo  *info = rows->result->ri_IndexRelationInfo[i];
		Datum		values[INDEX_MAX_KEYS];
		bool		isnull[INDEX_MAX_KEYS];

		if (info->ii_Predicate != NIL && info->ii_PredicateState == NULL)
			info->ii_PredicateState = ExecPrepareQual(info->ii_Predicate, rows->estate);
		if (info->ii_Predicate == NIL ||
			ExecQual(info->ii_PredicateState, GetPerTupleExprContext(rows->estate)))
			FormIndexDatum(info, rows->fresh, rows->estate, values, isnull);
	}
}

const char *
rows_violated(Rows *rows, bool insert, const Datum *values, const bool *isnull,
			  const char **constraint)
{
	const TupleConstr *constr = RelationGetDescr(rows->rel)->constr;
	const int	nchecks = constr == NULL ? 0 : constr->num_check;
	const char *violated = NULL;
	ExprContext *context;

	rows_begin_writing(rows);
	make_slot(rows, rows->fresh, insert ? NULL : rows->found, values, isnull);
	if (nchecks > 0 && rows->checks == NULL)
		prepare_checks(rows, constr, constraint);
	context = GetPerTupleExprContext(rows->estate);
	context->ecxt_scantuple = rows->fresh;
	for (int i = 0; i < nchecks && violated == NULL; i++)
	{
		*constraint = constr->check[i].ccname;
		if (rows->checks[i] != NULL && !ExecCheck(rows->checks[i], context))
			violated = *constraint;
	}
	*constraint = NULL;
	if (violated == NULL)
		try_indexes(rows);
	ExecClearTuple(rows->fresh);
	ResetPerTupleExprContext(rows->estate);
	return violated;
}

/* Commands of the transaction that were rows' own, so that one can tell if others came between. */
static CommandId own_commands = 0;

void
rows_finish_write(Rows *rows)
{
	const CommandId before = GetCurrentCommandId(false);

	ResetPerTupleExprContext(rows->estate);
	CommandCounterIncrement();
	own_commands += GetCurrentCommandId(false) - before;
}

/*
 * The server counts transactions as they end, for the sake of its own snapshots, at once with
 * their becoming visible: while the count stays, so does what can be seen.
 */
RowsMoment
rows_moment(void)
{
	RowsMoment	moment = {
		.completed = GetLatestSnapshot()->snapXactCompletionCount,
		.foreign = GetCurrentCommandId(false) - own_commands
	};

	return moment;
}

bool
rows_moment_lasts(const RowsMoment *moment)
{
	const RowsMoment now = rows_moment();

	return now.completed == moment->completed && now.foreign == moment->foreign;
}

void
rows_insert_slot(Rows *rows, TupleTableSlot *slot)
{
	table_tuple_insert(rows->rel, slot, GetCurrentCommandId(true), rows->insert_options, NULL);
	rows_insert_entries(rows->result, rows->estate, &slot, 1);
	rows_finish_write(rows);
}

void
rows_insert(Rows *rows, const Datum *values, const bool *isnull)
{
	rows_begin_writing(rows);
	rows_open_indexes(rows);
	rows_fill_slot(rows, rows->fresh, NULL, values, isnull);
	rows_insert_slot(rows, rows->fresh);
}

/* Can the index refuse a row for another reason than its key? */
static bool
is_rival(const ResultRelInfo *result, int i, Oid primary_key)
{
	const IndexInfo *info = result->ri_IndexRelationInfo[i];

	return RelationGetRelid(result->ri_IndexRelationDescs[i]) != primary_key &&
		(info->ii_Unique || info->ii_ExclusionOps != NULL);
}

/* Let an index be the last one, the others keeping their order. */
static void
move_to_end(ResultRelInfo *result, int i)
{
	int			nbehind = result->ri_NumIndices - i - 1;
	Relation	index = result->ri_IndexRelationDescs[i];
	IndexInfo  *info = result->ri_IndexRelationInfo[i];

	memmove(&result->ri_IndexRelationDescs[i], &result->ri_IndexRelationDescs[i + 1], nbehind * sizeof(Relation));
	memmove(&result->ri_IndexRelationInfo[i], &result->ri_IndexRelationInfo[i + 1], nbehind * sizeof(IndexInfo *));
	result->ri_IndexRelationDescs[i + nbehind] = index;
	result->ri_IndexRelationInfo[i + nbehind] = info;
}

/*
 * Unique indexes that users have added come last: a row that another session inserts
 * at the same time has to be found by its key, not refused by one of them.
 */
static void
move_rivals(Rows *rows, Oid primary_key)
{
	ResultRelInfo *result = rows->result;

	for (int i = 0, n = result->ri_NumIndices; n > 0; n--)
	{
		if (!is_rival(result, i, primary_key))
			i++;
		else
		{
			move_to_end(result, i);
			rows->nrivals++;
		}
	}
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
	move_rivals(rows, primary_key);
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

/* The row's key is new: only now may other unique indexes refuse it. */
static List *
insert_rivals(Rows *rows)
{
	ResultRelInfo rivals = *rows->result;

	if (rows->nrivals == 0)
		return NIL;
	rivals.ri_NumIndices = rows->nrivals;
	rivals.ri_IndexRelationDescs += rows->result->ri_NumIndices - rows->nrivals;
	rivals.ri_IndexRelationInfo += rows->result->ri_NumIndices - rows->nrivals;
	return ExecInsertIndexTuples_compat(&rivals, rows->fresh, rows->estate, false, false, NULL, NIL,
										UPDATE_INDEXES_ALL_COMPAT);
}

/*
 * Insert the row unless its key exists.  Nothing is looked up before: the index tells
 * when it is given the entry, and then the row goes again.
 */
static bool
insert_speculatively(Rows *rows, List *arbiters)
{
	uint32		token = SpeculativeInsertionLockAcquire(GetCurrentTransactionId());
	ResultRelInfo result = *rows->result;
	bool		lost_race = false;	/* only ever set to true below */
	List	   *recheck;

	result.ri_NumIndices -= rows->nrivals;
	table_tuple_insert_speculative(rows->rel, rows->fresh, GetCurrentCommandId(true),
								   0, NULL, token);
	recheck = ExecInsertIndexTuples_compat(&result, rows->fresh, rows->estate,
										   false, true, &lost_race, arbiters,
										   UPDATE_INDEXES_ALL_COMPAT);
	table_tuple_complete_speculative(rows->rel, rows->fresh, token, !lost_race);
	SpeculativeInsertionLockRelease(GetCurrentTransactionId());
	if (!lost_race)
	{
		recheck = list_concat(recheck, insert_rivals(rows));
		ExecARInsertTriggers(rows->estate, rows->result, rows->fresh, recheck, NULL);
	}
	list_free(recheck);
	return !lost_race;
}

/*
 * Insert a row whose primary key others may insert at the same time.  Returns
 * false if the key exists, after waiting for the transaction that is inserting it; the
 * caller then finds the row and decides again.
 */
bool
rows_insert_new(Rows *rows, const Datum *values, const bool *isnull)
{
	Oid			primary_key = RelationGetPrimaryKeyIndex_compat(rows->rel);
	List	   *arbiters = list_make1_oid(primary_key);
	ItemPointerData conflict;
	bool		inserted;

	rows_begin_writing(rows);
	rows_open_indexes(rows);
	prepare_arbiter(rows, primary_key);
	rows_fill_slot(rows, rows->fresh, NULL, values, isnull);
	inserted = insert_speculatively(rows, arbiters);
	/* the look-up waits */
	if (!inserted && !ExecCheckIndexConstraints_compat(rows->result, rows->fresh, rows->estate,
													   &conflict, arbiters))
		refuse_invisible_row(rows, &conflict);
	list_free(arbiters);
	rows_finish_write(rows);
	return inserted;
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
	rows_fill_slot(rows, rows->fresh, rows->found, values, isnull);
	outcome = judge_outcome(table_tuple_update(rows->rel, &tid, rows->fresh,
											   GetCurrentCommandId(true), InvalidSnapshot,
											   InvalidSnapshot, true, &failure, &lockmode,
											   &indexes), "update");
	if (outcome == ROWS_MOVED)
		return ROWS_MOVED;
	if (update_indexes_any_compat(indexes))
	{
		rows_open_indexes(rows);
		recheck = ExecInsertIndexTuples_compat(rows->result, rows->fresh, rows->estate,
											   true, false, NULL, NIL, indexes);
	}
	ExecARUpdateTriggers(rows->estate, rows->result, NULL, NULL, &tid, NULL, rows->fresh,
						 recheck, NULL, false);
	list_free(recheck);
	rows_finish_write(rows);
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
	rows_finish_write(rows);
	return ROWS_DONE;
}

/* ---------- lock ---------- */

static TM_Result
lock_found(Rows *rows, LockWaitPolicy wait, uint8 flags)
{
	ItemPointerData tid = rows->found->tts_tid;
	Snapshot	snapshot = rows_snapshot(rows);
	TM_FailureData failure;
	TM_Result	result;

	if (rows->locked == NULL)
		rows->locked = rows_make_slot(rows);
	result = table_tuple_lock(rows->rel, &tid, snapshot, rows->locked, GetCurrentCommandId(true),
							  LockTupleNoKeyExclusive, wait, flags, &failure);
	UnregisterSnapshot(snapshot);
	ExecClearTuple(rows->locked);
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
