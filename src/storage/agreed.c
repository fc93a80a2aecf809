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

const MappedDef agreed_def = {
	.relation = "agreed",
	.column = {
		[COL_AGREED_SOURCE] = {MAP_TEXT, offsetof(Agreed, source)},
		[COL_AGREED_ENTITY] = {MAP_TEXT, offsetof(Agreed, entity)},
		[COL_AGREED_EXTERNAL_ID] = {MAP_TEXT, offsetof(Agreed, external_id)},
		[COL_AGREED_ROW_VERSION] = {MAP_VERSION, offsetof(Agreed, row_version)},
		[COL_AGREED_FIELDS] = {MAP_OBJECT, offsetof(Agreed, fields)},
		[COL_AGREED_HELD] = {MAP_VERSIONS, offsetof(Agreed, withheld)},
		[COL_AGREED_CONTESTED] = {MAP_BOOL, offsetof(Agreed, contested)},
		[COL_AGREED_ANSWERS] = {MAP_VERSIONS, offsetof(Agreed, answers)},
		[COL_AGREED_ANSWERED] = {MAP_INT8, offsetof(Agreed, answered)},
	}
};

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

RowsScan *
agreed_scan_begin(AgreedTable *table, const char *source, const char *entity, const char *after)
{
	const Agreed asked = {.source = source, .entity = entity, .external_id = after};

	return mapped_scan(table, NULL, 2, after != NULL ? 1 : 0, &asked);
}

bool
agreed_scan_next(AgreedTable *table, RowsScan *scan, char **external_id, int64 *row_version,
				 bool *contested)
{
	const Rows *rows = table->rows;

	if (!rows_scan_next(scan))
		return false;
	*external_id = TextDatumGetCString(rows_datum(rows, COL_AGREED_EXTERNAL_ID));
	*row_version = DatumGetInt64(rows_datum(rows, COL_AGREED_ROW_VERSION));
	if (!rows_is_null(rows, COL_AGREED_ANSWERED))
		*row_version = Max(*row_version, DatumGetInt64(rows_datum(rows, COL_AGREED_ANSWERED)));
	*contested = !rows_is_null(rows, COL_AGREED_CONTESTED) || !rows_is_null(rows, COL_AGREED_HELD);
	/* what was sent and came to nothing, a conflict say, counts as seen */
	*row_version = Max(*row_version, rows_is_null(rows, COL_AGREED_FIELDS) ? 0 : 1);
	return true;
}

Size
agreed_scan_bytes(const AgreedTable *table)
{
	return rows_bytes(table->rows, COL_AGREED_FIELDS);
}
