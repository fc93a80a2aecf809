/*
 * replica.c
 *	  What was delivered to the rows of attached relations (table
 *	  syncext.replica).
 *
 * Captures read it; delivery and load write it, holding the row of the
 * attached relation.  Of a polled one it is what was last seen or delivered, and
 * polls write it, too.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "storage/registry.h"
#include "storage/replica.h"
#include "storage/rows.h"
#include "storage/stored.h"

enum
{
	COL_RELATION = 1,
	COL_EXTERNAL_ID,
	COL_ROW_VERSION,
	COL_FIELDS,
	COL_HELD,
	COL_ADJUSTED,
	COL_SETTLED,
	COL_ANSWERED,
	COL_CASCADED,
	COL_GONE_AT,
	COL_CONTESTED,
	NCOLUMNS = COL_CONTESTED
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

/* Find the row, perhaps where it was before. */
static bool
find_row(Replica *replica, Oid relation, const char *external_id, const ItemPointerData *before)
{
	Datum		keys[2] = {ObjectIdGetDatum(relation), CStringGetTextDatum(external_id)};

	return (ItemPointerIsValid(before) && rows_find_at(replica->rows, before, 2, keys)) ||
		rows_find(replica->rows, 2, keys);
}

void
replica_find(Replica *replica, Oid relation, const char *external_id, ReplicaRow *row)
{
	MemSet(row, 0, sizeof(ReplicaRow));
	replica_look_again(replica, relation, external_id, row);
}

void
replica_look_again(Replica *replica, Oid relation, const char *external_id, ReplicaRow *row)
{
	const char *problem = replica_try(replica, relation, external_id, row);

	if (problem != NULL)
		stored_fail(replica->rows, problem);
}

const char *
replica_try(Replica *replica, Oid relation, const char *external_id, ReplicaRow *row)
{
	Rows	   *rows = replica->rows;
	ItemPointerData before = row->at;
	const char *problem;
	bool		isnull;

	MemSet(row, 0, sizeof(ReplicaRow));
	row->sought = true;
	row->exists = find_row(replica, relation, external_id, &before);
	if (!row->exists)
		return NULL;
	row->at = rows_place(rows);
	problem = stored_version_problem(rows, COL_ROW_VERSION, &row->row_version);
	if (problem == NULL)
		problem = stored_object_problem(rows, COL_FIELDS, &row->fields);
	if (problem == NULL)
		problem = stored_versions_problem(rows, COL_HELD, &row->held);
	if (problem == NULL)
		problem = stored_object_problem(rows, COL_CASCADED, &row->cascaded);
	if (problem != NULL)
		return problem;
	row->adjusted = DatumGetInt64(rows_value(replica->rows, COL_ADJUSTED, &isnull));
	if (isnull)
		row->adjusted = 0;
	row->settled = DatumGetInt64(rows_value(replica->rows, COL_SETTLED, &isnull));
	if (isnull)
		row->settled = 0;
	row->answered = DatumGetInt64(rows_value(replica->rows, COL_ANSWERED, &isnull));
	if (isnull)
		row->answered = 0;
	row->gone_at = DatumGetTimestampTz(rows_value(rows, COL_GONE_AT, &isnull));
	if (isnull)
		row->gone_at = 0;
	(void) rows_value(rows, COL_CONTESTED, &isnull);
	row->contested = !isnull;
	row->written_by = rows_written_by(rows);
	return NULL;
}

/* Is the row that was found just like this? */
static bool
found_same(const Rows *rows, const ReplicaRow *row)
{
	bool		isnull;
	int64		adjusted = DatumGetInt64(rows_value(rows, COL_ADJUSTED, &isnull));

	if ((isnull ? 0 : adjusted) != row->adjusted || row->fields != NULL || row->held != NULL ||
		row->settled != 0 || row->answered != 0 || row->cascaded != NULL || row->gone_at != 0 ||
		row->contested)
		return false;
	(void) rows_value(rows, COL_CONTESTED, &isnull);
	if (!isnull)
		return false;
	(void) rows_value(rows, COL_GONE_AT, &isnull);
	if (!isnull)
		return false;
	(void) rows_value(rows, COL_CASCADED, &isnull);
	if (!isnull)
		return false;
	(void) rows_value(rows, COL_HELD, &isnull);
	if (!isnull)
		return false;
	(void) rows_value(rows, COL_FIELDS, &isnull);
	if (!isnull)
		return false;
	return DatumGetInt64(rows_value(rows, COL_ROW_VERSION, &isnull)) == row->row_version;
}

static void
write_row(Replica *replica, Oid relation, const char *external_id, const ReplicaRow *row,
		  bool alone)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS] = {false};
	bool		absent = row->sought && !row->exists;
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
	values[COL_SETTLED - 1] = Int64GetDatum(row->settled);
	isnull[COL_SETTLED - 1] = row->settled == 0;
	values[COL_ANSWERED - 1] = Int64GetDatum(row->answered);
	isnull[COL_ANSWERED - 1] = row->answered == 0;
	values[COL_CASCADED - 1] = JsonbPGetDatum(row->cascaded);
	isnull[COL_CASCADED - 1] = row->cascaded == NULL;
	values[COL_GONE_AT - 1] = TimestampTzGetDatum(row->gone_at);
	isnull[COL_GONE_AT - 1] = row->gone_at == 0;
	values[COL_CONTESTED - 1] = BoolGetDatum(true);
	isnull[COL_CONTESTED - 1] = !row->contested;
	if (alone && absent)
	{
		/* cheaper than to find out whether it is there */
		rows_insert(replica->rows, values, isnull);
		return;
	}
	do
	{
		if (!absent && find_row(replica, relation, external_id, &row->at))
			done = found_same(replica->rows, row) ||
				rows_update(replica->rows, values, isnull) == ROWS_DONE;
		else
			done = rows_insert_new(replica->rows, values, isnull);
		absent = false;
	} while (!done);
}

void
replica_set(Replica *replica, Oid relation, const char *external_id, const ReplicaRow *row)
{
	write_row(replica, relation, external_id, row, false);
}

void
replica_set_alone(Replica *replica, Oid relation, const char *external_id, const ReplicaRow *row)
{
	write_row(replica, relation, external_id, row, true);
}

void
replica_note_cascade(Oid relation, const char *external_id, const Fields *fields)
{
	Replica    *replica = replica_open(true);
	ReplicaRow	row;

	replica_find(replica, relation, external_id, &row);
	if (row.exists)
	{
		row.cascaded = fields_to_jsonb(fields);
		replica_set(replica, relation, external_id, &row);
	}
	replica_close(replica);
}

struct ReplicaScan
{
	Replica    *replica;
	RowsScan   *scan;
};

ReplicaScan *
replica_scan_begin(Replica *replica, Oid relation, const char *after)
{
	ReplicaScan *scan = palloc(sizeof(ReplicaScan));
	Datum		key = ObjectIdGetDatum(relation);
	Datum		last;

	scan->replica = replica;
	last = CStringGetTextDatum(after != NULL ? after : "");
	scan->scan = rows_scan_begin(replica->rows, NULL, 1, &key, after != NULL ? 1 : 0, &last);
	return scan;
}

bool
replica_scan_next(ReplicaScan *scan, char **external_id, bool *present)
{
	bool		isnull;

	if (!rows_scan_next(scan->scan))
		return false;
	*external_id = TextDatumGetCString(rows_value(scan->replica->rows, COL_EXTERNAL_ID, &isnull));
	(void) rows_value(scan->replica->rows, COL_FIELDS, &isnull);
	*present = !isnull;
	return true;
}

int64
replica_scan_seen(ReplicaScan *scan, bool *contested)
{
	Rows	   *rows = scan->replica->rows;
	bool		none;
	bool		isnull;
	int64		row_version = DatumGetInt64(rows_value(rows, COL_ROW_VERSION, &isnull));
	int64		answered = DatumGetInt64(rows_value(rows, COL_ANSWERED, &isnull));

	if (isnull)
		answered = 0;
	(void) rows_value(rows, COL_CONTESTED, &none);
	(void) rows_value(rows, COL_HELD, &isnull);
	*contested = !none || !isnull;
	(void) rows_value(rows, COL_FIELDS, &none);
	return replica_seen(row_version, answered, !none);
}

void
replica_scan_end(ReplicaScan *scan)
{
	rows_scan_end(scan->scan);
	pfree(scan);
}

/* Forget a relation's rows, when it is detached. */
void
replica_remove_all(Oid relation)
{
	Rows	   *rows = rows_open_write(registry_relation("replica"));
	Datum		key = ObjectIdGetDatum(relation);
	RowsScan   *scan = rows_scan_begin(rows, NULL, 1, &key, 0, NULL);

	while (rows_scan_next(scan))
		(void) rows_delete(rows);
	rows_scan_end(scan);
	rows_close(rows);
}
