/*
 * agreed.c
 *	  What this hub and the one behind a link have agreed on (table
 *	  syncext.agreed).
 *
 * Called by link/relay, where a hub is a spoke of another hub.  For rows of
 * attached relations, table syncext.replica has the same.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/agreed.h"
#include "storage/registry.h"
#include "storage/rows.h"
#include "storage/stored.h"

enum
{
	COL_SOURCE = 1,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_ROW_VERSION,
	COL_FIELDS,
	COL_HELD,
	COL_CONTESTED,
	NCOLUMNS = COL_CONTESTED
};

struct AgreedTable
{
	Rows	   *rows;
};

AgreedTable *
agreed_open(bool write)
{
	AgreedTable *table = palloc(sizeof(AgreedTable));
	Oid			relid = registry_relation("agreed");

	table->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return table;
}

void
agreed_close(AgreedTable *table)
{
	rows_close(table->rows);
	pfree(table);
}

static bool
find_row(AgreedTable *table, const char *source, const char *entity, const char *external_id)
{
	Datum		keys[3] = {
		CStringGetTextDatum(source),
		CStringGetTextDatum(entity),
		CStringGetTextDatum(external_id)
	};

	return rows_find(table->rows, 3, keys);
}

void
agreed_find(AgreedTable *table, const char *source, const char *entity, const char *external_id,
			Agreed *agreed)
{
	bool		isnull;

	MemSet(agreed, 0, sizeof(Agreed));
	agreed->exists = find_row(table, source, entity, external_id);
	if (!agreed->exists)
		return;
	(void) rows_value(table->rows, COL_CONTESTED, &isnull);
	agreed->contested = !isnull;
	agreed->problem = stored_version_problem(table->rows, COL_ROW_VERSION, &agreed->row_version);
	if (agreed->problem == NULL)
		agreed->problem = stored_object_problem(table->rows, COL_FIELDS, &agreed->fields);
	if (agreed->problem == NULL)
		agreed->problem = stored_versions_problem(table->rows, COL_HELD, &agreed->held);
	if (agreed->problem == NULL)
		return;
	agreed->row_version = 0;
	agreed->fields = agreed->held = NULL;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg_internal("%s", agreed->problem),
			 errdetail("All of the record is sent to the other hub, whose ladder decides.")));
}

void
agreed_set(AgreedTable *table, const char *source, const char *entity, const char *external_id,
		   const Agreed *agreed)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS] = {false};
	bool		done;

	values[COL_SOURCE - 1] = CStringGetTextDatum(source);
	values[COL_ENTITY - 1] = CStringGetTextDatum(entity);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(external_id);
	values[COL_ROW_VERSION - 1] = Int64GetDatum(agreed->row_version);
	values[COL_FIELDS - 1] = JsonbPGetDatum(agreed->fields);
	isnull[COL_FIELDS - 1] = agreed->fields == NULL;
	values[COL_HELD - 1] = JsonbPGetDatum(agreed->held);
	isnull[COL_HELD - 1] = agreed->held == NULL;
	values[COL_CONTESTED - 1] = BoolGetDatum(true);
	isnull[COL_CONTESTED - 1] = !agreed->contested;
	do
	{
		if (find_row(table, source, entity, external_id))
			done = rows_update(table->rows, values, isnull) == ROWS_DONE;
		else
			done = rows_insert_new(table->rows, values, isnull);
	} while (!done);
}

struct AgreedScan
{
	AgreedTable *table;
	RowsScan   *scan;
};

AgreedScan *
agreed_scan_begin(AgreedTable *table, const char *source, const char *entity, const char *after)
{
	AgreedScan *scan = palloc(sizeof(AgreedScan));
	Datum		keys[2] = {CStringGetTextDatum(source), CStringGetTextDatum(entity)};
	Datum		last = CStringGetTextDatum(after != NULL ? after : "");

	scan->table = table;
	scan->scan = rows_scan_begin(table->rows, NULL, 2, keys, after != NULL ? 1 : 0, &last);
	return scan;
}

bool
agreed_scan_next(AgreedScan *scan, char **external_id, int64 *row_version, bool *contested)
{
	bool		isnull;
	bool		none;

	if (!rows_scan_next(scan->scan))
		return false;
	*external_id = TextDatumGetCString(rows_value(scan->table->rows, COL_EXTERNAL_ID, &isnull));
	*row_version = DatumGetInt64(rows_value(scan->table->rows, COL_ROW_VERSION, &isnull));
	(void) rows_value(scan->table->rows, COL_HELD, &isnull);
	(void) rows_value(scan->table->rows, COL_CONTESTED, &none);
	*contested = !none || !isnull;
	(void) rows_value(scan->table->rows, COL_FIELDS, &isnull);
	/* what was sent and came to nothing, a conflict say, counts as seen */
	*row_version = Max(*row_version, isnull ? 0 : 1);
	return true;
}

void
agreed_scan_end(AgreedScan *scan)
{
	rows_scan_end(scan->scan);
	pfree(scan);
}
