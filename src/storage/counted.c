/*
 * counted.c
 *	  What the tables behind links have added to records in all: table syncext.counted.
 *
 * A spoke's pushes come one at a time, and nobody else writes its rows.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "storage/counted.h"

PG_FUNCTION_INFO_V1(syncext_erased_id);

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

static char *
erased_id(const char *external_id)
{
	const int	len = strlen(external_id);
	bytea	   *bytes = palloc(VARHDRSZ + len);
	Datum		hash;

	SET_VARSIZE(bytes, VARHDRSZ + len);
	memcpy(VARDATA(bytes), external_id, len);
	hash = DirectFunctionCall1(sha256_bytea, PointerGetDatum(bytes));
	return psprintf("\001%s", TextDatumGetCString(DirectFunctionCall2(binary_encode, hash,
																	CStringGetTextDatum("hex"))));
}

Datum
syncext_erased_id(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(erased_id(text_to_cstring(PG_GETARG_TEXT_PP(0)))));
}

Jsonb *
counted_find(const char *source, const char *entity, const char *external_id)
{
	CountedRow	row = {source, entity, external_id, NULL};

	return mapped_find_one(&counted_def, &row) ? row.counts : NULL;
}

/* sync_forget() leaves what had been counted, under a name that tells nothing of the record. */
Jsonb *
counted_find_erased(const char *source, const char *entity, const char *external_id)
{
	return counted_find(source, entity, erased_id(external_id));
}

void
counted_save(const char *source, const char *entity, const char *external_id, Jsonb *counts)
{
	const CountedRow row = {source, entity, external_id, counts};

	mapped_save_one(&counted_def, &row);
}
