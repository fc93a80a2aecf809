/*
 * replica.c
 *	  What was delivered to the rows of attached relations (table
 *	  syncext.replica).
 *
 * Captures read it; delivery and load write it, holding the row of the
 * attached relation.  Of a polled one it is what was last seen or delivered, and
 * polls write it, too.
 *
 * A row is looked for first where it was found before, of an edit behind a link since
 * the batch was cut.  Measured (PostgreSQL 15, medians of three, CPU time of a spoke's
 * backend that pushes 40,000 edits): 0.40 s with it, 0.48 s without.  A delivery gains
 * 2 %.  The place of an attached table's own row was worth less than that to an UPDATE,
 * so rows are updated by their key.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/replica.h"
#include "storage/stored.h"

enum
{
	COL_EXTERNAL_ID = 2,
	COL_ROW_VERSION,
	COL_FIELDS,
	COL_HELD,
	COL_ADJUSTED,
	COL_SETTLED,
	COL_ANSWERED,
	COL_CASCADED,
	COL_GONE_AT,
	COL_CONTESTED,
	COL_ANSWERS,
	COL_SEEN_VERSION,
	COL_SEEN_AT,
	COL_COUNTED,
	COL_SHIFTS
};

/* Those that are no documents. */
#define PLAIN_COLUMNS \
	(MAP_COLUMN(COL_ROW_VERSION) | MAP_COLUMN(COL_ADJUSTED) | MAP_COLUMN(COL_SETTLED) | \
	 MAP_COLUMN(COL_ANSWERED) | MAP_COLUMN(COL_GONE_AT) | MAP_COLUMN(COL_CONTESTED) | \
	 MAP_COLUMN(COL_SEEN_VERSION) | MAP_COLUMN(COL_SEEN_AT))

const MappedDef replica_def = {
	.relation = "replica",
	.column = {
		[COL_REPLICA_RELATION] = {MAP_OID, offsetof(ReplicaRow, relation)},
		[COL_REPLICA_EXTERNAL_ID] = {MAP_TEXT, offsetof(ReplicaRow, external_id)},
		[COL_REPLICA_ROW_VERSION] = {MAP_VERSION, offsetof(ReplicaRow, row_version)},
		[COL_REPLICA_FIELDS] = {MAP_OBJECT, offsetof(ReplicaRow, fields)},
		[COL_REPLICA_HELD] = {MAP_VERSIONS, offsetof(ReplicaRow, withheld)},
		[COL_REPLICA_ADJUSTED] = {MAP_INT8, offsetof(ReplicaRow, adjusted)},
		[COL_REPLICA_SETTLED] = {MAP_INT8, offsetof(ReplicaRow, settled)},
		[COL_REPLICA_ANSWERED] = {MAP_INT8, offsetof(ReplicaRow, answered)},
		[COL_REPLICA_CASCADED] = {MAP_OBJECT, offsetof(ReplicaRow, cascaded)},
		[COL_REPLICA_GONE_AT] = {MAP_TIME, offsetof(ReplicaRow, gone_at)},
		[COL_REPLICA_CONTESTED] = {MAP_BOOL, offsetof(ReplicaRow, contested)},
		[COL_REPLICA_ANSWERS] = {MAP_VERSIONS, offsetof(ReplicaRow, answers)},
		[COL_REPLICA_SEEN_VERSION] = {MAP_INT8, offsetof(ReplicaRow, seen_version)},
		[COL_REPLICA_SEEN_AT] = {MAP_TIME, offsetof(ReplicaRow, seen_at)},
		[COL_REPLICA_COUNTED] = {MAP_OBJECT, offsetof(ReplicaRow, counted)},
		[COL_REPLICA_SHIFTS] = {MAP_OBJECT, offsetof(ReplicaRow, shifts)},
	}
};

void
replica_see(ReplicaRow *row, const LifeStamp *stamp)
{
	if (!stamp->is_set)
		return;
	row->seen_version = Max(row->seen_version, stamp->version);
	if (stamp->has_updated_at)
		row->seen_at = row->seen_at == 0 ? stamp->updated_at : Max(row->seen_at, stamp->updated_at);
}

bool
replica_look_ahead(Replica *replica, int n, const ReplicaKey *rows, const int *order)
{
	Datum	   *keys = palloc(sizeof(Datum) * 2 * n);

	for (int i = 0; i < n; i++)
	{
		keys[2 * i] = ObjectIdGetDatum(rows[i].relation);
		keys[2 * i + 1] = CStringGetTextDatum(rows[i].external_id);
	}
	return rows_look_ahead(replica->rows, n, 2, keys, order, NULL);
}

/* Find the row, perhaps where it was before. */
static bool
find_row(Replica *replica, const ReplicaRow *row, const ItemPointerData *before)
{
	Datum		keys[2];

	mapped_keys(replica, 2, row, keys);
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
replica_read(Oid relation, const char *external_id, ReplicaRow *row)
{
	Replica    *replica = mapped_open(&replica_def, false);

	replica_find(replica, relation, external_id, row);
	mapped_close(replica);
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
	ItemPointerData before = row->at;

	MemSet(row, 0, sizeof(ReplicaRow));
	row->relation = relation;
	row->external_id = external_id;
	row->sought = true;
	row->exists = find_row(replica, row, &before);
	if (!row->exists)
		return NULL;
	row->at = rows_place(replica->rows);
	row->written_by = rows_written_by(replica->rows);
	return mapped_try(replica, MAP_ALL_COLUMNS, row);
}

/* Is the row that was found just like this? */
static bool
found_same(const Replica *replica, const ReplicaRow *row)
{
	ReplicaRow	found = {0};

	if (row->fields != NULL || row->withheld != NULL || row->cascaded != NULL ||
		row->answers != NULL || !rows_is_null(replica->rows, COL_ANSWERS) ||
		!rows_is_null(replica->rows, COL_FIELDS) || !rows_is_null(replica->rows, COL_HELD) ||
		!rows_is_null(replica->rows, COL_CASCADED))
		return false;
	(void) mapped_try(replica, PLAIN_COLUMNS, &found);
	return found.row_version == row->row_version && found.adjusted == row->adjusted &&
		found.settled == row->settled && found.answered == row->answered &&
		found.gone_at == row->gone_at && found.contested == row->contested &&
		found.seen_version == row->seen_version && found.seen_at == row->seen_at;
}

static void
write_row(Replica *replica, Oid relation, const char *external_id, const ReplicaRow *row,
		  bool alone)
{
	ReplicaRow	written = *row;
	bool		absent = row->sought && !row->exists;
	bool		done;

	written.relation = relation;
	written.external_id = external_id;
	if (alone && absent)
	{
		/* cheaper than to find out whether it is there */
		mapped_insert(replica, &written);
		return;
	}
	do
	{
		if (!absent && find_row(replica, &written, &row->at))
			done = found_same(replica, row) ||
				mapped_update(replica, MAP_ALL_COLUMNS, &written) == ROWS_DONE;
		else
			done = mapped_insert_new(replica, &written);
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
replica_insert_later(Replica *replica, Oid relation, const char *external_id, const ReplicaRow *row)
{
	ReplicaRow	written = *row;

	written.relation = relation;
	written.external_id = external_id;
	mapped_insert_later(replica, &written);
}

void
replica_note_cascade(Oid relation, const char *external_id, const Fields *fields)
{
	Replica    *replica = mapped_open(&replica_def, true);
	ReplicaRow	row;

	replica_find(replica, relation, external_id, &row);
	if (row.exists)
	{
		row.cascaded = fields_to_jsonb(fields);
		replica_set(replica, relation, external_id, &row);
	}
	mapped_close(replica);
}

RowsScan *
replica_seek_begin(Replica *replica)
{
	return rows_seek_begin(replica->rows, NULL, 2);
}

int64
replica_seek(Replica *replica, RowsScan *seek, Oid relation, const char *external_id,
			 TransactionId *written_by)
{
	Datum		keys[2] = {ObjectIdGetDatum(relation), CStringGetTextDatum(external_id)};
	int64		row_version;

	*written_by = InvalidTransactionId;
	if (!rows_seek(seek, keys) ||
		stored_version_problem(replica->rows, COL_ROW_VERSION, &row_version) != NULL)
		return -1;
	*written_by = rows_written_by(replica->rows);
	return row_version;
}

RowsScan *
replica_scan_begin(Replica *replica, Oid relation, const char *after)
{
	const ReplicaRow asked = {.relation = relation, .external_id = after};

	return mapped_scan(replica, NULL, 1, after != NULL ? 1 : 0, &asked);
}

bool
replica_scan_next(Replica *replica, RowsScan *scan, char **external_id, bool *present)
{
	if (!rows_scan_next(scan))
		return false;
	*external_id = TextDatumGetCString(rows_datum(replica->rows, COL_EXTERNAL_ID));
	*present = !rows_is_null(replica->rows, COL_FIELDS);
	return true;
}

int64
replica_scan_seen(const Replica *replica, bool *contested)
{
	ReplicaRow	row = {0};

	(void) mapped_try(replica, PLAIN_COLUMNS, &row);
	*contested = row.contested || !rows_is_null(replica->rows, COL_HELD);
	return replica_seen(row.row_version, row.answered, !rows_is_null(replica->rows, COL_FIELDS));
}

Size
replica_scan_bytes(const Replica *replica)
{
	return rows_bytes(replica->rows, COL_FIELDS);
}

/* Forget a relation's rows, when it is detached. */
void
replica_remove_all(Oid relation)
{
	Replica    *replica = mapped_open(&replica_def, true);
	RowsScan   *scan = replica_scan_begin(replica, relation, NULL);

	while (rows_scan_next(scan))
		(void) rows_delete(replica->rows);
	rows_scan_end(scan);
	mapped_close(replica);
}
