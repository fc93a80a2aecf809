/*
 * routed.c
 *	  Which records a target has of an entity that is filtered for it: table
 *	  syncext.routed.
 *
 * Called by hub/route alone, and only where a route has a filter.
 *
 * A row goes when a batch is acknowledged in which the target was told that the
 * record is gone.  It stays if the target has sent a change of the record since,
 * or is just sending one.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/registry.h"
#include "storage/routed.h"

enum
{
	COL_TARGET = 1,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_OWN,
	COL_ROW_VERSION,
	COL_GONE_BATCH,
	NCOLUMNS = COL_GONE_BATCH
};

struct RoutedTable
{
	Rows	   *rows;
};

RoutedTable *
routed_open(bool write)
{
	RoutedTable *table = palloc(sizeof(RoutedTable));
	Oid			relid = registry_relation("routed");

	table->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return table;
}

void
routed_close(RoutedTable *table)
{
	rows_close(table->rows);
	pfree(table);
}

/* ---------- finding ---------- */

static void
make_keys(Datum *keys, const char *target, const char *entity, const char *external_id)
{
	keys[0] = CStringGetTextDatum(target);
	keys[1] = CStringGetTextDatum(entity);
	keys[2] = CStringGetTextDatum(external_id);
}

RowsScan *
routed_seek_begin(RoutedTable *table)
{
	return rows_seek_begin(table->rows, NULL, 3);
}

bool
routed_seek(RowsScan *scan, const char *target, const char *entity, const char *external_id)
{
	Datum		keys[3];

	make_keys(keys, target, entity, external_id);
	return rows_seek(scan, keys);
}

static bool
find_row(RoutedTable *table, const char *target, const char *entity, const char *external_id,
		 bool own)
{
	Datum		keys[4];

	make_keys(keys, target, entity, external_id);
	keys[3] = BoolGetDatum(own);
	return rows_find(table->rows, 4, keys);
}

/* In which batch the target was told that the found row's record is gone; 0: none. */
static int64
gone_batch(RoutedTable *table)
{
	bool		isnull;
	Datum		batch = rows_value(table->rows, COL_GONE_BATCH, &isnull);

	return isnull ? 0 : DatumGetInt64(batch);
}

static int64
row_version_noted(RoutedTable *table)
{
	bool		isnull;

	return DatumGetInt64(rows_value(table->rows, COL_ROW_VERSION, &isnull));
}

/* ---------- writing ---------- */

/* A whole row, so that there is nothing to be kept of the one that it replaces. */
typedef struct NewRow
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];
} NewRow;

static void
make_row(NewRow *row, const char *target, const char *entity, const char *external_id,
		 bool own, int64 row_version, int64 batch)
{
	MemSet(row->isnull, false, sizeof(row->isnull));
	make_keys(row->values, target, entity, external_id);
	row->values[COL_OWN - 1] = BoolGetDatum(own);
	row->values[COL_ROW_VERSION - 1] = Int64GetDatum(row_version);
	row->values[COL_GONE_BATCH - 1] = Int64GetDatum(batch);
	row->isnull[COL_GONE_BATCH - 1] = batch == 0;
}

/* Say of the own row in which batch the record is gone, unless somebody has it. */
static void
mark_own(RoutedTable *table, const char *target, const char *entity, const char *external_id,
		 int64 batch)
{
	NewRow		row;

	if (!rows_try_lock(table->rows))
		return;
	make_row(&row, target, entity, external_id, true, row_version_noted(table), batch);
	/* if it was changed just before that, it says that the target has it */
	(void) rows_update(table->rows, row.values, row.isnull);
}

void
routed_note_served(RoutedTable *table, const char *target, const char *entity,
				   const char *external_id)
{
	NewRow		row;

	make_row(&row, target, entity, external_id, false, 0, 0);
	if (!find_row(table, target, entity, external_id, false))
		(void) rows_insert_new(table->rows, row.values, row.isnull);
	else if (gone_batch(table) != 0)
		(void) rows_update(table->rows, row.values, row.isnull);
	/* what an earlier answer to the same pull said of it doesn't hold any more */
	if (find_row(table, target, entity, external_id, true) && gone_batch(table) != 0)
		mark_own(table, target, entity, external_id, 0);
}

/*
 * The row is written even if it is there: until our transaction has ended,
 * nobody else takes it away.
 */
void
routed_note_own(RoutedTable *table, const char *target, const char *entity,
				const char *external_id, int64 row_version)
{
	RowsOutcome outcome = ROWS_MOVED;
	NewRow		row;

	make_row(&row, target, entity, external_id, true, row_version, 0);
	while (outcome == ROWS_MOVED)
	{
		if (find_row(table, target, entity, external_id, true))
			outcome = rows_update(table->rows, row.values, row.isnull);
		else if (rows_insert_new(table->rows, row.values, row.isnull))
			outcome = ROWS_DONE;
	}
}

/* A change of the target's own that came after this row version doesn't count. */
void
routed_note_gone(RoutedTable *table, const char *target, const char *entity,
				 const char *external_id, int64 row_version, int64 batch)
{
	NewRow		row;

	make_row(&row, target, entity, external_id, false, 0, batch);
	if (find_row(table, target, entity, external_id, false))
		(void) rows_update(table->rows, row.values, row.isnull);
	if (find_row(table, target, entity, external_id, true) &&
		row_version_noted(table) <= row_version)
		mark_own(table, target, entity, external_id, batch);
}

List *
routed_gone_in(RoutedTable *table, const char *target, int64 batch)
{
	Datum		keys[2] = {CStringGetTextDatum(target), Int64GetDatum(batch)};
	List	   *records = NIL;
	RowsScan   *scan;

	scan = rows_scan_begin(table->rows, "routed_gone", 2, keys, 0, NULL);
	while (rows_scan_next(scan))
	{
		RoutedRecord *record = palloc(sizeof(RoutedRecord));
		bool		isnull;

		record->entity = TextDatumGetCString(rows_value(table->rows, COL_ENTITY, &isnull));
		record->external_id = TextDatumGetCString(rows_value(table->rows, COL_EXTERNAL_ID,
															 &isnull));
		records = lappend(records, record);
	}
	rows_scan_end(scan);
	return records;
}

void
routed_forget(RoutedTable *table, const char *target, const RoutedRecord *record, int64 batch)
{
	for (int own = 0; own <= 1; own++)
	{
		if (find_row(table, target, record->entity, record->external_id, own != 0) &&
			gone_batch(table) == batch && rows_try_lock(table->rows))
			(void) rows_delete(table->rows);
	}
}
