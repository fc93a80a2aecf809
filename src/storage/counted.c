/*
 * counted.c
 *	  What the tables behind links have added to records in all: table syncext.counted.
 *
 * A spoke's pushes come one at a time, and nobody else writes its rows.
 */
#include "postgres.h"

#include "storage/counted.h"

typedef struct CountedRow
{
	const char *source;
	const char *entity;
	const char *external_id;
	Jsonb	   *counts;
} CountedRow;

const MappedDef counted_def = {
	.relation = "counted",
	.latest = true,
	.column = {
		[COL_COUNTED_SOURCE] = {MAP_TEXT, offsetof(CountedRow, source)},
		[COL_COUNTED_ENTITY] = {MAP_TEXT, offsetof(CountedRow, entity)},
		[COL_COUNTED_EXTERNAL_ID] = {MAP_TEXT, offsetof(CountedRow, external_id)},
		[COL_COUNTED_COUNTS] = {MAP_OBJECT, offsetof(CountedRow, counts)},
	}
};

Jsonb *
counted_read(CountedTable *table, const char *source, const char *entity, const char *external_id)
{
	CountedRow	row = {source, entity, external_id, NULL};

	return mapped_find(table, &row) ? row.counts : NULL;
}

Jsonb *
counted_find(const char *source, const char *entity, const char *external_id)
{
	CountedRow	row = {source, entity, external_id, NULL};

	return mapped_find_one(&counted_def, &row) ? row.counts : NULL;
}

void
counted_save(const char *source, const char *entity, const char *external_id, Jsonb *counts)
{
	const CountedRow row = {source, entity, external_id, counts};

	mapped_save_one(&counted_def, &row);
}
