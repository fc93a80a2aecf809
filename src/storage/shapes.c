/*
 * shapes.c
 *	  What our tables and indexes look like, as the install script makes them.
 *
 * The list is made from that script when the library is built, by
 * src/shapes.awk: so it says what the code was written for, and storage/layout
 * compares it with what a DBA has made of the tables since.
 */
#include "postgres.h"

#include "catalog/pg_type.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "storage/shapes.h"

PG_FUNCTION_INFO_V1(syncext_is_own_column);

#define KEY(...)	{__VA_ARGS__}
#define COLUMN_NUMBER(name, number)

static const TableShape tables[] = {
#define TABLE_SHAPE(name, key, n, ...)	{name, key, n, {__VA_ARGS__}},
#define INDEX_SHAPE(name, table, partial, key)
#include "storage/shapes.inc"
#undef TABLE_SHAPE
#undef INDEX_SHAPE
};

static const IndexShape indexes[] = {
#define TABLE_SHAPE(name, key, n, ...)
#define INDEX_SHAPE(name, table, partial, key)	{name, table, partial, key},
#include "storage/shapes.inc"
};

const TableShape *
shape_of_table(const char *name)
{
	for (int i = 0; i < (int) lengthof(tables); i++)
		if (strcmp(tables[i].name, name) == 0)
			return &tables[i];
	return NULL;
}

const IndexShape *
shape_of_index(const char *name)
{
	for (int i = 0; i < (int) lengthof(indexes); i++)
	{
		Size		length = strlen(indexes[i].name);

		if (strncmp(indexes[i].name, name, length) == 0 &&
			(name[length] == '\0' || strncmp(name + length, "_cc", 3) == 0))
			return &indexes[i];
	}
	return NULL;
}

Datum
syncext_is_own_column(PG_FUNCTION_ARGS)
{
	const TableShape *shape = shape_of_table(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));

	if (shape == NULL)
		PG_RETURN_NULL();
	for (int i = 0; i < shape->ncolumns; i++)
		if (strcmp(shape->column[i].name, name) == 0)
			PG_RETURN_BOOL(true);
	PG_RETURN_BOOL(false);
}
