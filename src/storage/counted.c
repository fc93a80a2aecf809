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

static MappedDef counted_def = {
	.relation = "counted",
	.latest = true,
	.ncolumns = 4,
	.column = {
		{"source", MAP_TEXT, offsetof(CountedRow, source)},
		{"entity", MAP_TEXT, offsetof(CountedRow, entity)},
		{"external_id", MAP_TEXT, offsetof(CountedRow, external_id)},
		{"counts", MAP_OBJECT, offsetof(CountedRow, counts)},
	}
};

CountedTable *
counted_open(void)
{
	return mapped_open(&counted_def, false);
}

void
counted_close(CountedTable *table)
{
	mapped_close(table);
}

Jsonb *
counted_read(CountedTable *table, const char *source, const char *entity, const char *external_id)
{
	CountedRow	row = {source, entity, external_id, NULL};

	return mapped_find(table, &row) ? row.counts : NULL;
}

Jsonb *
counted_find(const char *source, const char *entity, const char *external_id)
{
	CountedTable *table = counted_open();
	Jsonb	   *counts = counted_read(table, source, entity, external_id);

	counted_close(table);
	return counts;
}

void
counted_save(const char *source, const char *entity, const char *external_id, Jsonb *counts)
{
	MappedTable *table = mapped_open(&counted_def, true);
	const CountedRow row = {source, entity, external_id, counts};

	mapped_save(table, &row);
	mapped_close(table);
}
