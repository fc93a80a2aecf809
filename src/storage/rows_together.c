/*
 * rows_together.c
 *	  Inserting many rows of a table together, and updating rows, without a statement.
 *
 * As COPY does: rows that are inserted at once share the pages' locks and WAL records,
 * and the executor is started for none of them; nor is it for rows that are updated.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "storage/rows_entries.h"
#include "storage/rows_state.h"
#include "storage/rows_together.h"

/* Let the copy of the table's triggers be without those of the function. */
static void
drop_triggers(ResultRelInfo *result, Oid function)
{
	TriggerDesc *triggers = result->ri_TrigDesc;
	int			left = 0;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgfoid != function)
			triggers->triggers[left++] = triggers->triggers[i];
	if (left == 0)
		result->ri_TrigDesc = NULL;
	else
		triggers->numtriggers = left;
}

static ResultRelInfo *
open_result(EState *estate, Relation rel, Oid passed_over)
{
	ResultRelInfo *result = rows_make_result(estate, rel, NULL);

	drop_triggers(result, passed_over);
	ExecOpenIndices(result, false);
	return result;
}

static void
close_result(EState *estate, ResultRelInfo *result)
{
	ExecCloseIndices(result);
	ExecResetTupleTable(estate->es_tupleTable, false);
	ExecCloseResultRelations(estate);
	FreeExecutorState(estate);
}

static void
insert_slots(EState *estate, ResultRelInfo *result, TupleTableSlot **slots, int n)
{
	Relation	rel = result->ri_RelationDesc;
	const TupleConstr *constr = RelationGetDescr(rel)->constr;

	for (int i = 0; constr != NULL && i < n; i++)
	{
		ExecConstraints(result, slots[i], estate);
		ResetPerTupleExprContext(estate);
	}
	table_multi_insert(rel, slots, n, estate->es_output_cid, 0, NULL);
	rows_insert_entries(result, estate, slots, n);
}

void
rows_insert_together(Relation rel, TupleTableSlot **slots, int n, Oid passed_over)
{
	EState	   *estate = CreateExecutorState();
	MemoryContext old = MemoryContextSwitchTo(estate->es_query_cxt);
	ResultRelInfo *result = open_result(estate, rel, passed_over);
	const bool	fires = result->ri_TrigDesc != NULL;

	PreventCommandIfReadOnly("INSERT");
	PreventCommandIfParallelMode("INSERT");
	if (fires)
		AfterTriggerBeginQuery();
	insert_slots(estate, result, slots, n);
	CommandCounterIncrement();
	if (fires)
		AfterTriggerEndQuery(estate);
	MemoryContextSwitchTo(old);
	close_result(estate, result);
}

struct RowsChanger
{
	Relation	rel;
	EState	   *estate;
	ResultRelInfo *result;
	TupleTableSlot *before;
	TupleTableSlot *after;
};

RowsChanger *
rows_changer_open(Relation rel, Oid passed_over)
{
	RowsChanger *changer = palloc0(sizeof(RowsChanger));
	MemoryContext old;

	PreventCommandIfReadOnly("UPDATE");
	PreventCommandIfParallelMode("UPDATE");
	changer->rel = rel;
	changer->estate = CreateExecutorState();
	old = MemoryContextSwitchTo(changer->estate->es_query_cxt);
	changer->result = open_result(changer->estate, rel, passed_over);
	changer->before = table_slot_create(rel, &changer->estate->es_tupleTable);
	changer->after = table_slot_create(rel, &changer->estate->es_tupleTable);
	MemoryContextSwitchTo(old);
	return changer;
}

/* Make the row as it is to be of the one that is there. */
static void
fill_after(RowsChanger *changer, const Datum *values, const bool *isnull, const Bitmapset *columns)
{
	TupleTableSlot *after = changer->after;
	const int	natts = after->tts_tupleDescriptor->natts;
	int			attnum = -1;

	slot_getallattrs(changer->before);
	ExecClearTuple(after);
	memcpy(after->tts_values, changer->before->tts_values, natts * sizeof(Datum));
	memcpy(after->tts_isnull, changer->before->tts_isnull, natts * sizeof(bool));
	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		after->tts_values[attnum - 1] = values[attnum - 1];
		after->tts_isnull[attnum - 1] = isnull[attnum - 1];
	}
	ExecStoreVirtualTuple(after);
}

bool
rows_change(RowsChanger *changer, const ItemPointerData *at, const Datum *values,
			const bool *isnull, const Bitmapset *columns)
{
	EState	   *estate = changer->estate;
	MemoryContext old = MemoryContextSwitchTo(GetPerTupleMemoryContext(estate));
	const bool	fires = changer->result->ri_TrigDesc != NULL;
	ItemPointerData place = *at;
	EPQState	epqstate;
	bool		found;

	if (fires)
		AfterTriggerBeginQuery();
	found = table_tuple_fetch_row_version(changer->rel, &place, SnapshotAny, changer->before);
	if (found)
	{
		fill_after(changer, values, isnull, columns);
		EvalPlanQualInit_compat(&epqstate, estate);
		ExecSimpleRelationUpdate(changer->result, estate, &epqstate, changer->before, changer->after);
		EvalPlanQualEnd(&epqstate);
	}
	ExecClearTuple(changer->after);
	ExecClearTuple(changer->before);
	CommandCounterIncrement();
	if (fires)
		AfterTriggerEndQuery(estate);
	MemoryContextSwitchTo(old);
	ResetPerTupleExprContext(estate);
	return found;
}

void
rows_changer_close(RowsChanger *changer)
{
	close_result(changer->estate, changer->result);
	pfree(changer);
}
