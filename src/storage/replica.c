/*
 * replica.c
 *	  What was delivered to the rows of attached relations (table
 *	  syncext.replica).
 *
 * Captures read it; delivery and load write it, holding the row of the
 * attached relation.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/registry.h"
#include "storage/replica.h"
#include "storage/rows.h"

enum
{
	COL_RELATION = 1,
	COL_EXTERNAL_ID,
	COL_ROW_VERSION,
	COL_FIELDS,
	COL_HELD,
	COL_ADJUSTED,
	NCOLUMNS = COL_ADJUSTED
};

struct Replica
{
	Rows	   *rows;
};

Replica *
replica_open(bool write)
{
	Replica    *replica = palloc0(sizeof(Replica));
	Oid			relid = registry_relation("replica");

	replica->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return replica;
}

void
replica_close(Replica *replica)
{
	rows_close(replica->rows);
	pfree(replica);
}

static Jsonb *
jsonb_or_null(Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

static bool
find_row(Replica *replica, Oid relation, const char *external_id)
{
	Datum		keys[2] = {ObjectIdGetDatum(relation), CStringGetTextDatum(external_id)};

	return rows_find(replica->rows, 2, keys);
}

void
replica_find(Replica *replica, Oid relation, const char *external_id, ReplicaRow *row)
{
	bool		isnull;

	MemSet(row, 0, sizeof(ReplicaRow));
	row->exists = find_row(replica, relation, external_id);
	if (!row->exists)
		return;
	row->row_version = DatumGetInt64(rows_value(replica->rows, COL_ROW_VERSION, &isnull));
	row->fields = jsonb_or_null(replica->rows, COL_FIELDS);
	row->held = jsonb_or_null(replica->rows, COL_HELD);
	row->adjusted = DatumGetInt64(rows_value(replica->rows, COL_ADJUSTED, &isnull));
	if (isnull)
		row->adjusted = 0;
}

/* Is the row that was found just like this? */
static bool
found_same(const Rows *rows, const ReplicaRow *row)
{
	bool		isnull;
	int64		adjusted = DatumGetInt64(rows_value(rows, COL_ADJUSTED, &isnull));

	if ((isnull ? 0 : adjusted) != row->adjusted || row->fields != NULL || row->held != NULL)
		return false;
	(void) rows_value(rows, COL_HELD, &isnull);
	if (!isnull)
		return false;
	return DatumGetInt64(rows_value(rows, COL_ROW_VERSION, &isnull)) == row->row_version;
}

void
replica_set(Replica *replica, Oid relation, const char *external_id, const ReplicaRow *row)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS] = {false};
	bool		done;

	values[COL_RELATION - 1] = ObjectIdGetDatum(relation);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(external_id);
	values[COL_ROW_VERSION - 1] = Int64GetDatum(row->row_version);
	values[COL_FIELDS - 1] = JsonbPGetDatum(row->fields);
	isnull[COL_FIELDS - 1] = row->fields == NULL;
	values[COL_HELD - 1] = JsonbPGetDatum(row->held);
	isnull[COL_HELD - 1] = row->held == NULL;
	values[COL_ADJUSTED - 1] = Int64GetDatum(row->adjusted);
	isnull[COL_ADJUSTED - 1] = row->adjusted == 0;
	do
	{
		if (find_row(replica, relation, external_id))
			done = found_same(replica->rows, row) ||
				rows_update(replica->rows, values, isnull) == ROWS_DONE;
		else
			done = rows_insert_new(replica->rows, values, isnull);
	} while (!done);
}

/* Forget a relation's rows, when it is detached. */
void
replica_remove_all(Oid relation)
{
	Rows	   *rows = rows_open_write(registry_relation("replica"));
	Datum		key = ObjectIdGetDatum(relation);
	RowsScan   *scan = rows_scan_begin(rows, InvalidOid, 1, &key, 0, NULL);

	while (rows_scan_next(scan))
		(void) rows_delete(rows);
	rows_scan_end(scan);
	rows_close(rows);
}
