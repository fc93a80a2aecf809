/*
 * agreed.c
 *	  What this hub and the one behind a link have agreed on (table
 *	  syncext.agreed).
 *
 * For where a hub is a spoke of another hub.  What a hub and a row of an attached
 * relation have agreed on stands in table syncext.replica.  One table for both would
 * have source and entity in its key in place of the relation's OID: with 200,000 rows
 * its index is 20.3 MB, not 14.2, and the rows that are told from one another by their
 * last column compare two names more.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/agreed.h"

enum
{
	COL_EXTERNAL_ID = 3,
	COL_ROW_VERSION,
	COL_FIELDS,
	COL_HELD,
	COL_CONTESTED,
	COL_ANSWERS,
	COL_ANSWERED
};

static MappedDef agreed_def = {
	.relation = "agreed",
	.ncolumns = 9,
	.column = {
		{"source", MAP_TEXT, offsetof(Agreed, source)},
		{"entity", MAP_TEXT, offsetof(Agreed, entity)},
		{"external_id", MAP_TEXT, offsetof(Agreed, external_id)},
		{"row_version", MAP_VERSION, offsetof(Agreed, row_version)},
		{"fields", MAP_OBJECT, offsetof(Agreed, fields)},
		{"held", MAP_VERSIONS, offsetof(Agreed, withheld)},
		{"contested", MAP_BOOL, offsetof(Agreed, contested)},
		{"answers", MAP_VERSIONS, offsetof(Agreed, answers)},
		{"answered", MAP_INT8, offsetof(Agreed, answered)},
	}
};

AgreedTable *
agreed_open(bool write)
{
	return mapped_open(&agreed_def, write);
}

void
agreed_close(AgreedTable *table)
{
	mapped_close(table);
}

void
agreed_find(AgreedTable *table, const char *source, const char *entity, const char *external_id,
			Agreed *agreed)
{
	MemSet(agreed, 0, sizeof(Agreed));
	agreed->source = source;
	agreed->entity = entity;
	agreed->external_id = external_id;
	agreed->exists = mapped_seek(table, 3, agreed);
	if (!agreed->exists)
		return;
	agreed->problem = mapped_try(table, MAP_ALL_COLUMNS, agreed);
	if (agreed->problem == NULL)
		return;
	agreed->row_version = agreed->answered = 0;
	agreed->fields = agreed->withheld = agreed->answers = NULL;
	ereport(WARNING,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg_internal("%s", agreed->problem),
			 errdetail("All of the record is sent to the other hub, whose ladder decides.")));
}

void
agreed_set(AgreedTable *table, const char *source, const char *entity, const char *external_id,
		   const Agreed *agreed)
{
	Agreed		written = *agreed;

	written.source = source;
	written.entity = entity;
	written.external_id = external_id;
	mapped_save(table, &written);
}

struct AgreedScan
{
	AgreedTable *table;
	RowsScan   *scan;
};

AgreedScan *
agreed_scan_begin(AgreedTable *table, const char *source, const char *entity, const char *after)
{
	const Agreed asked = {.source = source, .entity = entity, .external_id = after};
	AgreedScan *scan = palloc(sizeof(AgreedScan));

	scan->table = table;
	scan->scan = mapped_scan(table, NULL, 2, after != NULL ? 1 : 0, &asked);
	return scan;
}

bool
agreed_scan_next(AgreedScan *scan, char **external_id, int64 *row_version, bool *contested)
{
	const Rows *rows = scan->table->rows;
	bool		isnull;

	if (!rows_scan_next(scan->scan))
		return false;
	*external_id = TextDatumGetCString(rows_value(rows, COL_EXTERNAL_ID, &isnull));
	*row_version = DatumGetInt64(rows_value(rows, COL_ROW_VERSION, &isnull));
	if (!rows_is_null(rows, COL_ANSWERED))
		*row_version = Max(*row_version, DatumGetInt64(rows_value(rows, COL_ANSWERED, &isnull)));
	*contested = !rows_is_null(rows, COL_CONTESTED) || !rows_is_null(rows, COL_HELD);
	/* what was sent and came to nothing, a conflict say, counts as seen */
	*row_version = Max(*row_version, rows_is_null(rows, COL_FIELDS) ? 0 : 1);
	return true;
}

Size
agreed_scan_bytes(AgreedScan *scan)
{
	return rows_bytes(scan->table->rows, COL_FIELDS);
}

void
agreed_scan_end(AgreedScan *scan)
{
	rows_scan_end(scan->scan);
	pfree(scan);
}
