/*
 * mapped.h
 *	  Rows of a table of ours as C structures.
 *
 * A MappedDef says which member of a structure each column is.  Whatever can be
 * said of rows by that alone is said here: finding, reading, writing over.  What
 * a table has besides, its scans above all, stands in the table's own file.
 */
#ifndef SYNCEXT_MAPPED_H
#define SYNCEXT_MAPPED_H

#include "nodes/pg_list.h"

#include "storage/rows.h"

/* How a column is read and written, and the type of its member. */
typedef enum MappedType
{
	MAP_OTHER,					/* no member: null in a new row, kept in an old one */
	MAP_TEXT,					/* char *, copied; NULL: null */
	MAP_ERROR,					/* like MAP_TEXT; clipped when it is written */
	MAP_NAMES,					/* List * of char *; NIL: null or empty */
	MAP_BYTEA,					/* bytea *, copied */
	MAP_JSONB,					/* Jsonb *, copied, whatever it is; NULL: null */
	MAP_OBJECT,					/* like MAP_JSONB, but wrong if it isn't an object */
	MAP_VERSIONS,				/* an object all of whose members are row versions */
	MAP_VERSION,				/* int64, wrong if it is no version */
	MAP_INT8,					/* int64 */
	MAP_TIME,					/* TimestampTz */
	MAP_INT4,					/* int */
	MAP_BOOL,					/* bool */
	MAP_OID,					/* Oid */
	MAP_XID8					/* uint64 */
} MappedType;

typedef struct MappedColumn
{
	MappedType	type;
	size_t		offset;			/* of the member */
	int64		null;			/* what a number is where the column is null; columns
								 * that can't be are never written as null */
} MappedColumn;

typedef struct MappedDef
{
	const char *relation;
	bool		latest;			/* rows_see_latest() */
	MappedColumn column[MAX_COLUMNS + 1];	/* by their numbers */
} MappedDef;

typedef struct MappedTable
{
	const MappedDef *def;
	Rows	   *rows;
	int			ncolumns;
} MappedTable;

/* Some of a table's columns. */
typedef uint32 MappedColumns;

#define MAP_COLUMN(number)	((MappedColumns) 1 << ((number) - 1))
#define MAP_ALL_COLUMNS		PG_UINT32_MAX

extern MappedTable *mapped_open(const MappedDef *def, bool write);
/* For as long as the context lives. */
extern MappedTable *mapped_open_in(MemoryContext context, const MappedDef *def, bool write);
/* Also closes what has another name for this type: Replica, ConflictLog and others. */
extern void mapped_close(MappedTable *table);

/* The first nkeys columns of the primary key as values; *row need have no others. */
extern void mapped_keys(const MappedTable *table, int nkeys, const void *row, Datum *keys);
/* Find the first row whose first nkeys columns of the primary key are like *row's. */
extern bool mapped_seek(MappedTable *table, int nkeys, const void *row);

/*
 * Copy the found row into *row, in the current memory context.  Raises XX001 if a
 * column holds what it can't; mapped_try returns why instead, NULL if all is good,
 * and reads some columns alone: a wrong one's member is 0 or NULL.
 */
extern void mapped_read(const MappedTable *table, void *row);
extern const char *mapped_try(const MappedTable *table, MappedColumns columns, void *row);
/* Find the row that has the primary key of *row, and read it. */
extern bool mapped_find(MappedTable *table, void *row);
/* The same where it is one row alone: opens the table, and closes it. */
extern bool mapped_find_one(const MappedDef *def, void *row);
/* A copy of the found row, as a structure of that size. */
extern void *mapped_copy(const MappedTable *table, Size size);

/*
 * Walk, in an index's order (NULL: the primary key's), the rows whose first nkeys columns of
 * that index are like *row's and whose next nafter, compared as a row, are greater.
 */
extern RowsScan *mapped_scan(MappedTable *table, const char *index, int nkeys, int nafter,
							 const void *row);
/* Copies of the first max of those without nafter, as structures of that size. */
extern List *mapped_list(MappedTable *table, const char *index, int nkeys, const void *row,
						 int max, Size size);

extern void mapped_insert(MappedTable *table, const void *row);
/* Like mapped_insert(), together with others: rows_insert_later. */
extern void mapped_insert_later(MappedTable *table, const void *row);
/* False: a row with that primary key exists, or has just been inserted. */
extern bool mapped_insert_new(MappedTable *table, const void *row);
/* Change these columns of the found row. */
extern RowsOutcome mapped_update(MappedTable *table, MappedColumns columns, const void *row);
/* Write over the row that has the primary key of *row, or insert one. */
extern void mapped_save(MappedTable *table, const void *row);
/* The same where it is one row alone: opens the table, and closes it. */
extern void mapped_save_one(const MappedDef *def, const void *row);
/* Delete the row that has the primary key of *row.  Returns whether it was there. */
extern bool mapped_remove(MappedTable *table, const void *row);

#endif							/* SYNCEXT_MAPPED_H */
