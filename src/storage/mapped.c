/*
 * mapped.c
 *	  Rows of a table of ours as C structures.
 *
 * syncext.canonical and the change log, which every change goes through, are read
 * and written by hand (canonical.c, change_log.c).
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/jsonb.h"
#include "utils/xid8.h"

#include "model/clip.h"
#include "storage/names.h"
#include "storage/relations.h"
#include "storage/stored.h"
#include "storage/mapped.h"

/* ---------- open and close ---------- */

MappedTable *
mapped_open(const MappedDef *def, bool write)
{
	MappedTable *table = palloc(sizeof(MappedTable));
	Oid			relid = registry_relation(def->relation);

	table->def = def;
	table->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	table->ncolumns = rows_shape(table->rows)->ncolumns;
	if (def->latest)
		rows_see_latest(table->rows);
	return table;
}

MappedTable *
mapped_open_in(MemoryContext context, const MappedDef *def, bool write)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	MappedTable *table = mapped_open(def, write);

	MemoryContextSwitchTo(old);
	return table;
}

void
mapped_close(MappedTable *table)
{
	rows_close(table->rows);
	pfree(table);
}

/* ---------- one column ---------- */

static List *
names_list(Datum array)
{
	List	   *list = NIL;
	int			n;
	char	  **names = names_of_array(array, NULL, &n);

	for (int i = 0; i < n; i++)
		list = lappend(list, names[i]);
	return list;
}

/* Set the member that is a column's; what is null has its null value. */
static void
read_member(const MappedColumn *column, Datum value, bool isnull, void *member)
{
	switch (column->type)
	{
		case MAP_TEXT:
		case MAP_ERROR:
			*(char **) member = isnull ? NULL : TextDatumGetCString(value);
			break;
		case MAP_NAMES:
			*(List **) member = isnull ? NIL : names_list(value);
			break;
		case MAP_BYTEA:
			*(bytea **) member = isnull ? NULL : DatumGetByteaPCopy(value);
			break;
		case MAP_INT8:
		case MAP_TIME:
			*(int64 *) member = isnull ? column->null : DatumGetInt64(value);
			break;
		case MAP_INT4:
			*(int *) member = isnull ? (int) column->null : DatumGetInt32(value);
			break;
		case MAP_BOOL:
			*(bool *) member = isnull ? column->null != 0 : DatumGetBool(value);
			break;
		case MAP_OID:
			*(Oid *) member = isnull ? InvalidOid : DatumGetObjectId(value);
			break;
		case MAP_XID8:
			*(uint64 *) member = isnull ? 0 : U64FromFullTransactionId(DatumGetFullTransactionId(value));
			break;
		default:
			elog(ERROR, "a column has a member of type %d", (int) column->type);
	}
}

/* Read a column of the found row; returns what is wrong with it, or NULL. */
static const char *
read_column(const MappedTable *table, int number, void *row)
{
	const MappedColumn *column = &table->def->column[number];
	void	   *member = (char *) row + column->offset;
	Datum		value;
	bool		isnull;

	switch (column->type)
	{
		case MAP_OTHER:
			return NULL;
		case MAP_JSONB:
			*(Jsonb **) member = stored_any(table->rows, number);
			return NULL;
		case MAP_OBJECT:
			return stored_object_problem(table->rows, number, member);
		case MAP_VERSIONS:
			return stored_versions_problem(table->rows, number, member);
		case MAP_VERSION:
			return stored_version_problem(table->rows, number, member);
		default:
			value = rows_value(table->rows, number, &isnull);
			read_member(column, value, isnull, member);
			return NULL;
	}
}

static Datum
pointer_datum(const void *pointer, bool *isnull)
{
	*isnull = pointer == NULL;
	return PointerGetDatum(pointer);
}

static Datum
text_datum(const char *text, bool *isnull)
{
	*isnull = text == NULL;
	return *isnull ? (Datum) 0 : CStringGetTextDatum(text);
}

/* A member as its column's value; required: the column is never null. */
static Datum
member_datum(const MappedColumn *column, bool required, const void *member, bool *isnull)
{
	const char *text;
	int64		number;

	switch (column->type)
	{
		case MAP_TEXT:
			return text_datum(*(char *const *) member, isnull);
		case MAP_ERROR:
			text = *(char *const *) member;
			return text_datum(text == NULL ? NULL : clip_string(text, CLIP_ERROR), isnull);
		case MAP_NAMES:
			*isnull = !required && *(List *const *) member == NIL;
			return *isnull ? (Datum) 0 : names_to_array(*(List *const *) member);
		case MAP_BYTEA:
		case MAP_JSONB:
		case MAP_OBJECT:
		case MAP_VERSIONS:
			return pointer_datum(*(void *const *) member, isnull);
		case MAP_VERSION:
		case MAP_INT8:
		case MAP_TIME:
			number = *(const int64 *) member;
			*isnull = !required && number == column->null;
			return Int64GetDatum(number);
		case MAP_INT4:
			number = *(const int *) member;
			*isnull = !required && number == column->null;
			return Int32GetDatum((int32) number);
		case MAP_BOOL:
			*isnull = !required && *(const bool *) member == (column->null != 0);
			return BoolGetDatum(*(const bool *) member);
		case MAP_OID:
			*isnull = false;
			return ObjectIdGetDatum(*(const Oid *) member);
		case MAP_XID8:
			*isnull = false;
			return FullTransactionIdGetDatum(FullTransactionIdFromU64(*(const uint64 *) member));
		case MAP_OTHER:
			break;
	}
	*isnull = true;
	return (Datum) 0;
}

static Datum
column_datum(const MappedTable *table, int number, const void *row, bool *isnull)
{
	const MappedColumn *column = &table->def->column[number];

	return member_datum(column, rows_shape(table->rows)->column[number - 1].required,
						(const char *) row + column->offset, isnull);
}

/* ---------- find and read ---------- */

static void
key_datums(const MappedTable *table, const KeyShape *key, int n, const void *row, Datum *keys)
{
	bool		isnull;

	Assert(n <= key->n);
	for (int i = 0; i < n; i++)
		keys[i] = column_datum(table, key->column[i], row, &isnull);
}

void
mapped_keys(const MappedTable *table, int nkeys, const void *row, Datum *keys)
{
	key_datums(table, &rows_shape(table->rows)->primary_key, nkeys, row, keys);
}

bool
mapped_seek(MappedTable *table, int nkeys, const void *row)
{
	Datum		keys[ROWS_MAX_KEYS];

	mapped_keys(table, nkeys, row, keys);
	return rows_find(table->rows, nkeys, keys);
}

static bool
seek_whole_key(MappedTable *table, const void *row)
{
	return mapped_seek(table, rows_shape(table->rows)->primary_key.n, row);
}

const char *
mapped_try(const MappedTable *table, MappedColumns columns, void *row)
{
	const char *first = NULL;

	for (int i = 0; i < table->ncolumns; i++)
	{
		const char *problem = NULL;

		if (columns & MAP_COLUMN(i + 1))
			problem = read_column(table, i + 1, row);
		if (first == NULL)
			first = problem;
	}
	return first;
}

void
mapped_read(const MappedTable *table, void *row)
{
	const char *problem = mapped_try(table, MAP_ALL_COLUMNS, row);

	if (problem != NULL)
		stored_fail(table->rows, problem);
}

bool
mapped_find(MappedTable *table, void *row)
{
	if (!seek_whole_key(table, row))
		return false;
	mapped_read(table, row);
	return true;
}

bool
mapped_find_one(const MappedDef *def, void *row)
{
	MappedTable *table = mapped_open(def, false);
	bool		found = mapped_find(table, row);

	mapped_close(table);
	return found;
}

void *
mapped_copy(const MappedTable *table, Size size)
{
	void	   *row = palloc0(size);

	mapped_read(table, row);
	return row;
}

RowsScan *
mapped_scan(MappedTable *table, const char *index, int nkeys, int nafter, const void *row)
{
	const KeyShape *key = index == NULL ? &rows_shape(table->rows)->primary_key :
		&shape_of_index(index)->key;
	Datum		keys[ROWS_MAX_KEYS];

	key_datums(table, key, nkeys + nafter, row, keys);
	return rows_scan_begin(table->rows, index, nkeys, keys, nafter, keys + nkeys);
}

List *
mapped_list(MappedTable *table, const char *index, int nkeys, const void *row, int max, Size size)
{
	RowsScan   *scan = mapped_scan(table, index, nkeys, 0, row);
	List	   *found = NIL;

	while (list_length(found) < max && rows_scan_next(scan))
		found = lappend(found, mapped_copy(table, size));
	rows_scan_end(scan);
	return found;
}

/* ---------- write ---------- */

static void
row_datums(const MappedTable *table, const void *row, Datum *values, bool *isnull)
{
	for (int i = 0; i < table->ncolumns; i++)
		values[i] = column_datum(table, i + 1, row, &isnull[i]);
}

void
mapped_insert(MappedTable *table, const void *row)
{
	Datum		values[MAX_COLUMNS];
	bool		isnull[MAX_COLUMNS];

	row_datums(table, row, values, isnull);
	rows_insert(table->rows, values, isnull);
}

void
mapped_insert_later(MappedTable *table, const void *row)
{
	Datum		values[MAX_COLUMNS];
	bool		isnull[MAX_COLUMNS];

	row_datums(table, row, values, isnull);
	rows_insert_later(table->rows, values, isnull);
}

bool
mapped_insert_new(MappedTable *table, const void *row)
{
	Datum		values[MAX_COLUMNS];
	bool		isnull[MAX_COLUMNS];

	row_datums(table, row, values, isnull);
	return rows_insert_new(table->rows, values, isnull);
}

RowsOutcome
mapped_update(MappedTable *table, MappedColumns columns, const void *row)
{
	Datum		values[MAX_COLUMNS];
	bool		isnull[MAX_COLUMNS];

	for (int i = 0; i < table->ncolumns; i++)
	{
		if ((columns & MAP_COLUMN(i + 1)) && table->def->column[i + 1].type != MAP_OTHER)
			values[i] = column_datum(table, i + 1, row, &isnull[i]);
		else
			values[i] = rows_value(table->rows, i + 1, &isnull[i]);
	}
	return rows_update(table->rows, values, isnull);
}

void
mapped_save(MappedTable *table, const void *row)
{
	bool		done = false;

	while (!done)
		done = seek_whole_key(table, row) ?
			mapped_update(table, MAP_ALL_COLUMNS, row) == ROWS_DONE :
			mapped_insert_new(table, row);
}

void
mapped_save_one(const MappedDef *def, const void *row)
{
	MappedTable *table = mapped_open(def, true);

	mapped_save(table, row);
	mapped_close(table);
}

bool
mapped_remove(MappedTable *table, const void *row)
{
	while (seek_whole_key(table, row))
	{
		if (rows_delete(table->rows) == ROWS_DONE)
			return true;
	}
	return false;
}
