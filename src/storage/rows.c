/*
 * rows.c
 *	  Finding and scanning rows of syncext's own tables, without SPI.
 *
 * storage/rows_write has the other half. The server's own helper for logical
 * replication (RelationFindReplTupleByIndex) is no model: it searches with a dirty
 * snapshot, and ignores REPEATABLE READ.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/nbtree.h"
#include "access/relation.h"
#include "access/relscan.h"
#include "access/tableam.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "utils/fmgroids.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
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
	bool		kept;			/* begun for as long as the table is open */
	bool		busy;			/* it is kept, and in use */
};

/* ---------- indexes ---------- */

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
 * the look-up, so it is looked at again under the lock.  From then on the old one is
 * kept up to date, and is not dropped, as long as we have the table locked.
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

/* The number of the open index of that name. */
static int
index_number(Rows *rows, const char *name)
{
	Relation	index;

	for (int i = 0; i < rows->nindexes; i++)
		if (name == NULL ? rows->index_names[i] == NULL :
			rows->index_names[i] != NULL && strcmp(rows->index_names[i], name) == 0)
			return i;
	if (rows->nindexes >= ROWS_MAX_INDEXES)
		elog(ERROR, "too many indexes of table \"%s\" are searched",
			 RelationGetRelationName(rows->rel));
	index = open_index(rows, name);
	rows->index_names[rows->nindexes] = name;
	rows->indexes[rows->nindexes++] = index;
	if (rows->layout != NULL)
		layout_check_index(rows->layout, index);
	return rows->nindexes - 1;
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

/* ---------- searches ---------- */

/* Begin a scan that all searches for so many leading columns of the index share. */
static RowsScan *
make_kept_scan(Rows *rows, int number, int nkeys)
{
	const Datum none[ROWS_MAX_KEYS] = {0};
	Relation	index = rows->indexes[number];
	ResourceOwner owner = CurrentResourceOwner;
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(rows));
	RowsScan   *scan = palloc0(sizeof(RowsScan));

	Assert(nkeys <= ROWS_MAX_KEYS);
	CurrentResourceOwner = rows->owner;
	scan->rows = rows;
	scan->direction = ForwardScanDirection;
	scan->kept = true;
	init_equal_keys(index, nkeys, none, scan->keys);
	scan->scan = index_beginscan_compat(rows->rel, index, SnapshotAny, nkeys);
	CurrentResourceOwner = owner;
	MemoryContextSwitchTo(old);
	return scan;
}

/*
 * Begin to search without beginning a scan anew.  Returns NULL where that can't be: it is
 * in use, or an error that ends a subtransaction would leave it standing on a page.
 */
static RowsScan *
kept_scan_begin(Rows *rows, int number, int nkeys, const Datum *keys)
{
	RowsScan   *scan = rows->kept[number];

	if (GetCurrentTransactionNestLevel() != rows->nest_level)
		return NULL;
	if (scan == NULL)
		scan = rows->kept[number] = make_kept_scan(rows, number, nkeys);
	else if (scan->busy || scan->scan->numberOfKeys != nkeys)
		return NULL;
	scan->busy = true;
	scan->snapshot = rows_snapshot(rows);
	scan->scan->xs_snapshot = scan->snapshot;
	for (int i = 0; i < nkeys; i++)
		scan->keys[i].sk_argument = keys[i];
	index_rescan(scan->scan, scan->keys, nkeys, NULL, 0);
	return scan;
}

/* Let go of the pages that it stands on. */
static void
kept_scan_end(RowsScan *scan)
{
	index_rescan(scan->scan, NULL, scan->scan->numberOfKeys, NULL, 0);
	scan->scan->xs_snapshot = SnapshotAny;
	UnregisterSnapshot(scan->snapshot);
	scan->snapshot = NULL;
	scan->busy = false;
}

static void
scan_release(RowsScan *scan)
{
	if (scan->kept)
	{
		kept_scan_end(scan);
		return;
	}
	if (scan->ahead != NULL)
		seek_ahead_end(scan->ahead);
	index_endscan(scan->scan);
	UnregisterSnapshot(scan->snapshot);
	pfree(scan);
}

void
rows_end_kept(Rows *rows)
{
	for (int i = 0; i < rows->nindexes; i++)
		if (rows->kept[i] != NULL)
			index_endscan(rows->kept[i]->scan);
}

/* What the index makes for the scan lives as long as that. */
static bool
scan_next(RowsScan *scan)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(scan));
	bool		found = index_getnext_slot(scan->scan, scan->direction, scan->rows->found);

	MemoryContextSwitchTo(old);
	return found;
}

bool
rows_search(Rows *rows, int nkeys, const Datum *values)
{
	RowsScan   *scan = rows_scan_begin(rows, NULL, nkeys, values, 0, NULL);
	bool		found = scan_next(scan);

	/* the scan's buffer pin goes with the scan: keep a copy of our own */
	if (found)
		ExecMaterializeSlot(rows->found);
	scan_release(scan);
	if (found)
		slot_getallattrs(rows->found);
	else
		ExecClearTuple(rows->found);
	return found;
}

bool
rows_find_at(Rows *rows, const ItemPointerData *at, int nkeys, const Datum *values)
{
	Relation	index = rows->indexes[index_number(rows, NULL)];
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

Datum
rows_datum(const Rows *rows, int column)
{
	bool		isnull;

	return rows_value(rows, column, &isnull);
}

Size
rows_bytes(const Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? 0 : toast_raw_datum_size(value);
}

bool
rows_is_null(const Rows *rows, int column)
{
	bool		isnull;

	(void) rows_value(rows, column, &isnull);
	return isnull;
}

void
rows_values(const Rows *rows, Datum *values, bool *isnull)
{
	for (int i = 0; i < rows->layout->shape->ncolumns; i++)
		values[i] = rows_value(rows, i + 1, &isnull[i]);
}

const TableShape *
rows_shape(const Rows *rows)
{
	return rows->layout->shape;
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

bool
rows_is_untouched(const Rows *rows)
{
	HeapTuple	tuple = ExecFetchSlotHeapTuple(rows->found, false, NULL);

	return (tuple->t_data->t_infomask & HEAP_XMAX_INVALID) != 0;
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
	int			number = index_number(rows, index_name);
	Relation	index = rows->indexes[number];
	int			n = range->nkeys;
	RowsScan   *scan = NULL;

	Assert(range->nkeys + range->nafter <= ROWS_MAX_KEYS);
	if (n > 0 && range->nafter == 0 && !range->has_last && !range->backward)
		scan = kept_scan_begin(rows, number, n, range->keys);
	if (scan != NULL)
		return scan;
	scan = palloc0(sizeof(RowsScan));
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
	Relation	index = rows->indexes[index_number(rows, index_name)];

	StaticAssertStmt(SEEK_AHEAD_MAX_KEYS >= ROWS_MAX_KEYS, "a key has more columns than seek_ahead knows");
	Assert(nkeys > 0 && nkeys <= ROWS_MAX_KEYS);
	scan->rows = rows;
	scan->direction = ForwardScanDirection;
	scan->snapshot = rows_snapshot(rows);
	init_equal_keys(index, nkeys, none, scan->keys);
	scan->scan = index_beginscan_compat(rows->rel, index, scan->snapshot, nkeys);
	if (index->rd_index->indisunique &&
		nkeys == IndexRelationGetNumberOfAttributes(index))
		scan->ahead = seek_ahead_begin(rows->rel, index, scan->snapshot, &rows->lesson);
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
	if (!scan_next(scan))
		return false;
	slot_getallattrs(scan->rows->found);
	return true;
}

void
rows_scan_end(RowsScan *scan)
{
	ExecClearTuple(scan->rows->found);
	scan_release(scan);
}

bool
rows_note_entries(Rows *rows, const char *index_name, int nkeys, const Datum *first, Datum last,
				  int max, void (*note) (void *arg, const text *value), void *arg)
{
	Relation	index = rows->indexes[index_number(rows, index_name)];
	Snapshot	snapshot = rows_snapshot(rows);
	ScanKeyData keys[ROWS_MAX_KEYS + 1];
	IndexScanDesc scan;
	int			n = 0;

	Assert(nkeys <= ROWS_MAX_KEYS && index->rd_opcintype[nkeys - 1] == TEXTOID);
	init_equal_keys(index, nkeys - 1, first, keys);
	init_bound_key(index, nkeys - 1, BTGreaterEqualStrategyNumber, first[nkeys - 1], &keys[nkeys - 1]);
	init_bound_key(index, nkeys - 1, BTLessEqualStrategyNumber, last, &keys[nkeys]);
	scan = index_beginscan_compat(rows->rel, index, snapshot, nkeys + 1);
	scan->xs_want_itup = true;
	index_rescan(scan, keys, nkeys + 1, NULL, 0);
	while (n <= max && index_getnext_tid(scan, ForwardScanDirection) != NULL)
	{
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		if (n++ < max)
			note(arg, DatumGetTextPP(index_getattr(scan->xs_itup, nkeys, scan->xs_itupdesc, &isnull)));
	}
	index_endscan(scan);
	UnregisterSnapshot(snapshot);
	return n <= max;
}

void
rows_walk(Rows *rows, void (*function) (Rows *rows, void *arg), void *arg)
{
	Snapshot	snapshot = rows_snapshot(rows);
	TableScanDesc scan = table_beginscan(rows->rel, snapshot, 0, NULL);

	while (table_scan_getnextslot(scan, ForwardScanDirection, rows->found))
	{
		CHECK_FOR_INTERRUPTS();
		slot_getallattrs(rows->found);
		function(rows, arg);
	}
	table_endscan(scan);
	ExecClearTuple(rows->found);
	UnregisterSnapshot(snapshot);
}
