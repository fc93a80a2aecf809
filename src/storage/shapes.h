/*
 * shapes.h
 *	  What our tables and indexes look like, as the install script makes them.
 */
#ifndef SYNCEXT_SHAPES_H
#define SYNCEXT_SHAPES_H

/* More than any of our tables has. */
#define MAX_COLUMNS		32
#define MAX_KEY_COLUMNS	6

/* COL_TABLE_COLUMN: a column's number, from 1, as the script has them; NCOLUMNS_TABLE. */
enum ColumnNumber
{
#define TABLE_SHAPE(name, key, n, ...)
#define INDEX_SHAPE(name, table, partial, key)
#define COLUMN_NUMBER(name, number)	name = number,
#include "storage/shapes.inc"
#undef TABLE_SHAPE
#undef INDEX_SHAPE
#undef COLUMN_NUMBER
};

typedef struct ColumnShape
{
	const char *name;
	Oid			type;
	bool		required;		/* never null */
} ColumnShape;

typedef struct KeyShape
{
	int			n;
	int			column[MAX_KEY_COLUMNS];
} KeyShape;

typedef struct TableShape
{
	const char *name;
	KeyShape	primary_key;	/* n 0: none */
	int			ncolumns;
	ColumnShape column[MAX_COLUMNS];
} TableShape;

typedef struct IndexShape
{
	const char *name;
	const char *table;
	bool		partial;
	KeyShape	key;
} IndexShape;

/* NULL: there is none of that name. */
extern const TableShape *shape_of_table(const char *name);
/* Of an index; REINDEX CONCURRENTLY gives one an appendix to its name for a while. */
extern const IndexShape *shape_of_index(const char *name);

#endif							/* SYNCEXT_SHAPES_H */
