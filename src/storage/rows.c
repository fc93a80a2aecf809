/*
 * rows.c
 *	  Finding and scanning rows of syncext's own tables, without SPI.
 *
 * Called by the other files of storage/, and by local/writer for users' tables
 * that have their key in an index.  storage/rows_write has the other half.
 * The server's own helper for logical replication (RelationFindReplTupleByIndex)
 * is no model: it searches with a dirty snapshot, and ignores REPEATABLE READ.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/table.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "storage/relations.h"
#include "storage/rows_state.h"
#include "storage/seek_ahead.h"

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

static Rows *
rows_open(Oid relid, LOCKMODE mode, bool ours)
{
	const bool	write = mode == RowExclusiveLock;
	Rows	   *rows = palloc0(sizeof(Rows));

	rows->rel = registry_open(relid, mode);
	rows->layout = ours ? layout_of(rows->rel) : NULL;
	rows->owner = CurrentResourceOwner;
	rows->found = table_slot_create(rows->rel, NULL);
	if (write)
	{
		refuse_other_triggers(rows->rel);
		if (rows->rel->trigdesc != NULL)
		{
			rows_begin_writing(rows);
			AfterTriggerBeginQuery();
			rows->bracketed = true;
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

Snapshot
rows_snapshot(const Rows *rows)
{
	if (IsolationUsesXactSnapshot() && !rows->latest)
		return RegisterSnapshot(GetTransactionSnapshot());
	return RegisterSnapshot(GetLatestSnapshot());
}

/* How often an index may be replaced while it is opened. */
#define INDEX_TRIES	10

static Oid
find_index(const Rows *rows, const char *name)
{
	Oid			primary_key;

	if (name != NULL)
		return registry_relation(name);
	primary_key = RelationGetPrimaryKeyIndex_compat(rows->rel);
	if (!OidIsValid(primary_key))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"%s\" has no primary key that is checked at once",
						RelationGetRelationName(rows->rel)),
				 errhint("Give it back the one that it was made with.")));
	return primary_key;
}

/*
 * Open an index.  REINDEX CONCURRENTLY may have put another one in its place since
 * the look-up: the lock is only then certain to be on one that is in use.  Whoever
 * has the table locked keeps the old one, once it is open, up to date and there.
 */
static Relation
open_index(Rows *rows, const char *name)
{
	for (int tries = 0;; tries++)
	{
		Oid			oid = find_index(rows, name);
		Relation	index = try_relation_open(oid, AccessShareLock);

		if (index != NULL && (index->rd_index == NULL || index->rd_index->indisvalid ||
							  tries == INDEX_TRIES))
			return index;
		if (index != NULL)
			relation_close(index, AccessShareLock);
		if (tries == INDEX_TRIES)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("an index of table \"%s\" is replaced again and again",
							RelationGetRelationName(rows->rel)),
					 errhint("Try again when nobody reindexes it.")));
		AcceptInvalidationMessages();
	}
}

static Relation
rows_index(Rows *rows, const char *name)
{
	Relation	index;

	for (int i = 0; i < rows->nindexes; i++)
		if (name == NULL ? rows->index_names[i] == NULL :
			rows->index_names[i] != NULL && strcmp(rows->index_names[i], name) == 0)
			return rows->indexes[i];
	if (rows->nindexes >= ROWS_MAX_INDEXES)
		elog(ERROR, "too many indexes of table \"%s\" are searched",
			 RelationGetRelationName(rows->rel));
	index = open_index(rows, name);
	rows->index_names[rows->nindexes] = name;
	rows->indexes[rows->nindexes++] = index;
	if (rows->layout != NULL)
		layout_check_index(rows->layout, index);
	return index;
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
rows_find(Rows *rows, int nkeys, const Datum *values)
{
	Relation	index = rows_index(rows, NULL);
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
rows_find_at(Rows *rows, const ItemPointerData *at, int nkeys, const Datum *values)
{
	Relation	index = rows_index(rows, NULL);
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
	int			at = (rows->layout != NULL ? rows->layout->attnum[column - 1] : column) - 1;

	*isnull = rows->found->tts_isnull[at];
	if (*isnull && rows->layout != NULL && rows->layout->shape->column[column - 1].required)
		layout_refuse_null(rows->layout, column);
	return rows->found->tts_values[at];
}

void
rows_values(const Rows *rows, Datum *values, bool *isnull)
{
	for (int i = 0; i < rows->layout->shape->ncolumns; i++)
		values[i] = rows_value(rows, i + 1, &isnull[i]);
}

int
rows_column(const Rows *rows, const char *name)
{
	const TableShape *shape = rows->layout->shape;

	for (int i = 0; i < shape->ncolumns; i++)
		if (strcmp(shape->column[i].name, name) == 0)
			return i + 1;
	elog(ERROR, "table \"%s\" has no column \"%s\"", shape->name, name);
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
rows_scan_range(Rows *rows, const char *index_name, const RowsRange *range)
{
	RowsScan   *scan = palloc0(sizeof(RowsScan));
	Relation	index = rows_index(rows, index_name);
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
rows_scan_begin(Rows *rows, const char *index_name, int nkeys, const Datum *keys,
				int nafter, const Datum *after)
{
	RowsRange	range = {.nkeys = nkeys, .keys = keys, .nafter = nafter, .after = after};

	return rows_scan_range(rows, index_name, &range);
}

RowsScan *
rows_seek_begin(Rows *rows, const char *index_name, int nkeys)
{
	const Datum none[ROWS_MAX_KEYS] = {0};
	RowsScan   *scan = palloc0(sizeof(RowsScan));
	Relation	index = rows_index(rows, index_name);

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
