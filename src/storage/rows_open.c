/*
 * rows_open.c
 *	  Opening and closing tables of syncext for storage/rows and rows_write: the
 *	  snapshot that they are read with, the executor's state for writes.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "parser/parse_relation.h"
#include "rewrite/rewriteHandler.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "storage/relations.h"
#include "storage/rows_state.h"

/* ---------- for writes ---------- */

ResultRelInfo *
rows_make_result(EState *estate, Relation rel, Bitmapset *updated)
{
	RangeTblEntry *rte = makeNode(RangeTblEntry);
	ResultRelInfo *result = makeNode(ResultRelInfo);
	List	   *perminfos = NIL;

	rte->rtekind = RTE_RELATION;
	rte->relid = RelationGetRelid(rel);
	rte->relkind = rel->rd_rel->relkind;
	rte->rellockmode = RowExclusiveLock;
#ifdef HAVE_RTE_PERMISSION_INFO
	addRTEPermissionInfo(&perminfos, rte)->updatedCols = updated;
#else
	rte->updatedCols = updated;
#endif
	ExecInitRangeTable_compat(estate, list_make1(rte), perminfos);
	(void) perminfos;
	estate->es_output_cid = GetCurrentCommandId(true);
	InitResultRelInfo(result, rel, 1, NULL, 0);
	return result;
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
	rows->estate = CreateExecutorState();
	rows->result = rows_make_result(rows->estate, rows->rel, bms_copy(rows->layout->updatable));
	if (!rows->layout->plain)
		init_defaults(rows);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
}

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

static uint64 nbrackets = 0;

uint64
rows_brackets(void)
{
	return nbrackets;
}

static Rows *
rows_open(Oid relid, LOCKMODE mode, bool ours)
{
	const bool	write = mode == RowExclusiveLock;
	Rows	   *rows = palloc0(sizeof(Rows));

	rows->rel = registry_open(relid, mode);
	rows->layout = ours ? layout_of(rows->rel) : NULL;
	rows->owner = CurrentResourceOwner;
	rows->nest_level = GetCurrentTransactionNestLevel();
	rows->found = table_slot_create(rows->rel, NULL);
	if (write)
	{
		refuse_other_triggers(rows->rel);
		if (rows->rel->trigdesc != NULL)
		{
			rows_begin_writing(rows);
			AfterTriggerBeginQuery();
			rows->bracketed = true;
			nbrackets++;
		}
	}
	return rows;
}

Rows *
rows_open_read(Oid relid)
{
	return rows_open(relid, AccessShareLock, true);
}

Rows *
rows_open_lock(Oid relid)
{
	return rows_open(relid, RowShareLock, false);
}

Rows *
rows_open_write(Oid relid)
{
	PreventCommandIfReadOnly("a change of syncext's tables");
	PreventCommandIfParallelMode("a change of syncext's tables");
	return rows_open(relid, RowExclusiveLock, true);
}

void
rows_append_only(Rows *rows)
{
	rows->insert_options |= TABLE_INSERT_SKIP_FSM;
}

void
rows_see_latest(Rows *rows)
{
	rows->latest = true;
}

/* Close the table; the lock is kept.  Fires the AFTER triggers of users. */
void
rows_release(Rows *rows)
{
	if (rows->bracketed)
		AfterTriggerEndQuery(rows->estate);
	if (rows->indexes_open)
		ExecCloseIndices(rows->result);
	for (int i = 0; i < rows->nindexes; i++)
		index_close(rows->indexes[i], NoLock);
	ExecDropSingleTupleTableSlot(rows->found);
	if (rows->locked != NULL)
		ExecDropSingleTupleTableSlot(rows->locked);
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

Snapshot
rows_snapshot(const Rows *rows)
{
	if (IsolationUsesXactSnapshot() && !rows->latest)
		return RegisterSnapshot(GetTransactionSnapshot());
	return RegisterSnapshot(GetLatestSnapshot());
}

TupleTableSlot *
rows_make_slot(Rows *rows)
{
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(rows));
	TupleTableSlot *slot;

	CurrentResourceOwner = rows->owner;
	slot = table_slot_create(rows->rel, NULL);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return slot;
}
