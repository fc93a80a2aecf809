/*
 * canonical.c
 *	  The golden records: table syncext.canonical.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "model/change.h"
#include "storage/canonical.h"
#include "storage/hints.h"
#include "storage/registry.h"
#include "storage/stored.h"

struct Canonical
{
	Rows	   *rows;
	Rows	   *floors;			/* table syncext.entity_floor; NULL: none was asked for yet */
	char	   *floor_of;		/* the entity that was asked for last, or NULL: */
	int64		floor;			/* its floor then */
	bool		found;			/* the last find found a row */
	const char *born;			/* an entity whose new records were inserted later, or NULL: */
	int64		first_born;		/* the lowest row version among them */
};

Canonical *
canonical_open(bool write)
{
	Canonical  *canonical = palloc0(sizeof(Canonical));
	Oid			relid = registry_relation("canonical");

	canonical->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return canonical;
}

static int64 find_floor(Canonical *canonical, const char *entity);

/*
 * Insert the records that wait.  Where the floor has risen since, as insert_record() tells
 * of, their row versions are too low; but they were decided on long ago, so that it raises.
 */
static void
insert_born(Canonical *canonical)
{
	rows_flush(canonical->rows);
	if (canonical->born != NULL && find_floor(canonical, canonical->born) >= canonical->first_born)
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("records of entity \"%s\" were forgotten while new ones were inserted",
						canonical->born)));
}

void
canonical_close(Canonical *canonical)
{
	insert_born(canonical);
	if (canonical->floors != NULL)
		rows_close(canonical->floors);
	rows_close(canonical->rows);
	pfree(canonical);
}

void
canonical_see_latest(Canonical *canonical)
{
	rows_see_latest(canonical->rows);
}

static const char *
try_life(Rows *rows, Record *record)
{
	Life	   *life = palloc(sizeof(Life));
	Jsonb	   *stored;
	const char *problem = stored_object_problem(rows, COL_CANONICAL_LIFE, &stored);

	if (problem == NULL && !life_read(&stored->root, life))
		problem = stored_problem(rows, COL_CANONICAL_LIFE, "has something else than stamps");
	record->life = life;
	return problem;
}

/*
 * Turn the row that was found into a Record, copied into the current context.  Returns
 * why it can't be one, or NULL.
 */
static const char *
try_record(Rows *rows, Record *record)
{
	const char *problem = stored_version_problem(rows, COL_CANONICAL_VERSION, &record->version);
	const char *no_stamp;
	bool		isnull;
	Jsonb	   *fields;
	Jsonb	   *stamps;

	record->exists = true;
	if (problem == NULL)
		problem = stored_version_problem(rows, COL_CANONICAL_ROW_VERSION, &record->row_version);
	if (problem == NULL)
		problem = stored_object_problem(rows, COL_CANONICAL_FIELDS, &fields);
	if (problem == NULL)
		problem = stored_object_problem(rows, COL_CANONICAL_STAMPS, &stamps);
	if (problem != NULL)
		return problem;
	record->last_source = TextDatumGetCString(rows_value(rows, COL_CANONICAL_LAST_SOURCE, &isnull));
	record->deleted = DatumGetBool(rows_value(rows, COL_CANONICAL_DELETED, &isnull));
	record->updated_at = DatumGetTimestampTz(rows_value(rows, COL_CANONICAL_UPDATED_AT, &isnull));
	record->has_updated_at = !isnull;
	no_stamp = record_set_fields(record, fields, stamps);
	if (no_stamp == NULL)
		return rows_is_null(rows, COL_CANONICAL_LIFE) ? NULL : try_life(rows, record);
	return
		stored_problem(rows, COL_CANONICAL_STAMPS,
					   psprintf("has something else than a stamp for field \"%s\"", no_stamp));
}

/* For as long as the golden records, whatever subtransactions end. */
static void
open_floors(Canonical *canonical)
{
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(canonical));

	canonical->floors = rows_open_read(registry_relation("entity_floor"));
	/* in REPEATABLE READ, too: an insert meets what was committed since */
	rows_see_latest(canonical->floors);
	MemoryContextSwitchTo(old);
}

/*
 * The floor of an entity as of now, which a record that isn't there begins above.  A key that
 * is used again must not be taken for what receivers had of it before, so its row versions go
 * on above all that were forgotten.  sync_maintain and sync_forget, which remove golden
 * records, raise the floor first: a backend that doesn't find the record finds the floor.
 */
static int64
find_floor(Canonical *canonical, const char *entity)
{
	Datum		key = CStringGetTextDatum(entity);

	if (canonical->floors == NULL)
		open_floors(canonical);
	if (rows_empty(canonical->floors) || !rows_find(canonical->floors, 1, &key))
		return 0;
	/* whatever was edited by hand: the next one has to be higher */
	return Max(0, Min(DatumGetInt64(rows_datum(canonical->floors, COL_ENTITY_FLOOR_ROW_VERSION)),
					  CHANGE_MAX_VERSION));
}

/* The same as of when it was first asked for: where it has risen since, an insert finds out. */
static int64
known_floor(Canonical *canonical, const char *entity)
{
	if (canonical->floor_of != NULL && strcmp(canonical->floor_of, entity) == 0)
		return canonical->floor;
	if (canonical->floor_of != NULL)
		pfree(canonical->floor_of);
	canonical->floor_of = NULL;
	canonical->floor = find_floor(canonical, entity);
	canonical->floor_of = MemoryContextStrdup(GetMemoryChunkContext(canonical), entity);
	return canonical->floor;
}

bool
canonical_look_ahead(Canonical *canonical, int n, const RecordKey *records, const int *order,
					 const ItemPointerData *places)
{
	Datum	   *keys = palloc(sizeof(Datum) * 2 * n);

	for (int i = 0; i < n; i++)
	{
		keys[2 * i] = CStringGetTextDatum(records[i].entity);
		keys[2 * i + 1] = CStringGetTextDatum(records[i].external_id);
	}
	return rows_look_ahead(canonical->rows, n, 2, keys, order, places);
}

void
canonical_forget_ahead(Canonical *canonical)
{
	rows_forget_ahead(canonical->rows);
}

void
canonical_find(Canonical *canonical, const char *entity, const char *external_id,
			   Record *record)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};
	const char *problem;

	MemSet(record, 0, sizeof(Record));
	canonical->found = rows_find(canonical->rows, 2, keys);
	problem = canonical->found ? try_record(canonical->rows, record) : NULL;
	if (problem != NULL)
		stored_fail(canonical->rows, problem);
	if (!canonical->found)
		record->floor = known_floor(canonical, entity);
}

void
canonical_read(const char *entity, const char *external_id, Record *record)
{
	Canonical  *canonical = canonical_open(false);

	canonical_find(canonical, entity, external_id, record);
	canonical_close(canonical);
}

bool
canonical_hold(Canonical *canonical, const char *entity, const char *external_id, Record *record)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(canonical, entity, external_id, record);
	} while (record->exists && canonical_lock(canonical) != ROWS_DONE);
	return record->exists;
}

bool
canonical_any(const char *entity)
{
	Canonical  *canonical = canonical_open(false);
	RowsScan   *scan = canonical_scan_begin(canonical, entity, NULL);
	bool		any = rows_scan_next(scan);

	rows_scan_end(scan);
	canonical_close(canonical);
	return any;
}

bool
canonical_exists(Canonical *canonical, const char *entity, const char *external_id)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};

	canonical->found = false;
	return rows_find(canonical->rows, 2, keys);
}

bool
canonical_lives(Canonical *canonical, const char *entity, const char *external_id)
{
	return canonical_exists(canonical, entity, external_id) &&
		!DatumGetBool(rows_datum(canonical->rows, COL_CANONICAL_DELETED));
}

bool
canonical_is_ours(Canonical *canonical)
{
	return canonical->found &&
		TransactionIdIsCurrentTransactionId(rows_written_by(canonical->rows));
}

RowsScan *
canonical_seek_begin(Canonical *canonical)
{
	canonical_flush(canonical);
	canonical->found = false;
	return rows_seek_begin(canonical->rows, NULL, 2);
}

/* Returns false if there is no such record. */
bool
canonical_seek(Canonical *canonical, RowsScan *scan, const char *entity,
			   const char *external_id, CanonicalState *state)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};
	Rows	   *rows = canonical->rows;
	const bool	found = rows_seek(scan, keys);
	bool		isnull;

	/* a batch has many */
	pfree(DatumGetPointer(keys[0]));
	pfree(DatumGetPointer(keys[1]));
	if (!found)
		return false;
	MemSet(state, 0, sizeof(CanonicalState));
	state->problem = stored_version_problem(rows, COL_CANONICAL_VERSION, &state->version);
	if (state->problem == NULL)
		state->problem = stored_version_problem(rows, COL_CANONICAL_ROW_VERSION, &state->row_version);
	if (state->problem == NULL)
		state->problem = stored_object_problem(rows, COL_CANONICAL_FIELDS, &state->fields);
	state->deleted = DatumGetBool(rows_value(rows, COL_CANONICAL_DELETED, &isnull));
	state->last_source = TextDatumGetCString(rows_value(rows, COL_CANONICAL_LAST_SOURCE, &isnull));
	state->updated_at = DatumGetTimestampTz(rows_value(rows, COL_CANONICAL_UPDATED_AT, &isnull));
	state->has_updated_at = !isnull;
	state->written_by = rows_written_by(rows);
	state->at = rows_place(rows);
	return true;
}

bool
canonical_seek_set_since(Canonical *canonical, const CanonicalState *state, int64 since, int more,
						 FieldNames *names)
{
	const Record record = {
		.version = state->version,
		.row_version = state->row_version,
		.last_source = state->last_source,
		.has_updated_at = state->has_updated_at,
		.updated_at = state->updated_at
	};
	Jsonb	   *stamps;
	bool		known;

	if (stored_object_problem(canonical->rows, COL_CANONICAL_STAMPS, &stamps) != NULL)
		return false;
	known = record_set_since(&record, state->fields, stamps, since, more, names);
	pfree(stamps);
	return known;
}

/*
 * Insert a record.  Another life of it may have come and been forgotten since it
 * was not found: what forgets raises the floor first, so that after the insert,
 * which waits for it, the floor tells.
 */
static RowsOutcome
insert_record(Canonical *canonical, const char *entity, const Datum *values, const bool *isnull,
			  int64 row_version)
{
	Rows	   *rows = canonical->rows;

	if (row_version <= canonical->floor)
		elog(ERROR, "a new record of entity \"%s\" would begin at row version " INT64_FORMAT
			 ", not above " INT64_FORMAT, entity, row_version, canonical->floor);
	if (!rows_insert_new(rows, values, isnull))
		return ROWS_MOVED;
	canonical->floor = find_floor(canonical, entity);
	if (canonical->floor < row_version)
		return ROWS_DONE;
	if (rows_find(rows, 2, values))
		(void) rows_delete(rows);
	return ROWS_MOVED;
}

static void
fill_values(const char *entity, const char *external_id, const Record *record, Datum *values,
			bool *isnull)
{
	Jsonb	   *life;

	values[COL_CANONICAL_ENTITY - 1] = CStringGetTextDatum(entity);
	values[COL_CANONICAL_EXTERNAL_ID - 1] = CStringGetTextDatum(external_id);
	values[COL_CANONICAL_VERSION - 1] = Int64GetDatum(record->version);
	values[COL_CANONICAL_ROW_VERSION - 1] = Int64GetDatum(record->row_version);
	values[COL_CANONICAL_LAST_SOURCE - 1] = CStringGetTextDatum(record->last_source);
	values[COL_CANONICAL_DELETED - 1] = BoolGetDatum(record->deleted);
	values[COL_CANONICAL_UPDATED_AT - 1] = TimestampTzGetDatum(record->updated_at);
	isnull[COL_CANONICAL_UPDATED_AT - 1] = !record->has_updated_at;
	values[COL_CANONICAL_FIELDS - 1] = JsonbPGetDatum(record_fields_jsonb(record));
	values[COL_CANONICAL_STAMPS - 1] = JsonbPGetDatum(record_stamps_jsonb(record));
	life = record_life_jsonb(record);
	values[COL_CANONICAL_LIFE - 1] = JsonbPGetDatum(life);
	isnull[COL_CANONICAL_LIFE - 1] = life == NULL;
}

bool
canonical_guarded(const Canonical *canonical)
{
	return rows_guarded(canonical->rows);
}

const char *
canonical_violated(Canonical *canonical, const char *entity, const char *external_id,
				   const Record *record, const char **constraint)
{
	Datum		values[NCOLUMNS_CANONICAL];
	bool		isnull[NCOLUMNS_CANONICAL] = {false};

	fill_values(entity, external_id, record, values, isnull);
	return rows_violated(canonical->rows, !canonical->found, values, isnull, constraint);
}

RowsOutcome
canonical_write(Canonical *canonical, const char *entity, const char *external_id,
				const Record *record)
{
	Datum		values[NCOLUMNS_CANONICAL];
	bool		isnull[NCOLUMNS_CANONICAL] = {false};

	if (record->version > CHANGE_MAX_VERSION || record->row_version > CHANGE_MAX_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("record \"%s\" of entity \"%s\" has come to its last version", external_id,
						entity),
				 record->row_version > CHANGE_MAX_VERSION ?
				 errhint_call("Nothing counts so far by itself: UPDATE syncext.canonical SET row_version to a lower one, and SELECT sync_resync for each source.") :
				 errhint_call("Give it a lower one: SELECT sync_set_version(%s, %s, 1).",
						 quote_literal_cstr(entity), quote_literal_cstr(external_id))));
	fill_values(entity, external_id, record, values, isnull);
	if (canonical->found)
		return rows_update(canonical->rows, values, isnull);
	return insert_record(canonical, entity, values, isnull, record->row_version);
}

bool
canonical_insert_later(Canonical *canonical, const char *entity, const char *external_id,
					   const Record *record)
{
	Datum		values[NCOLUMNS_CANONICAL];
	bool		isnull[NCOLUMNS_CANONICAL] = {false};

	if (canonical->found || !rows_may_wait(canonical->rows) ||
		(canonical->born != NULL && strcmp(canonical->born, entity) != 0))
		return false;
	if (canonical->born == NULL)
	{
		canonical->born = MemoryContextStrdup(GetMemoryChunkContext(canonical), entity);
		canonical->first_born = record->row_version;
		rows_show_waiting(canonical->rows);
	}
	canonical->first_born = Min(canonical->first_born, record->row_version);
	fill_values(entity, external_id, record, values, isnull);
	rows_insert_later(canonical->rows, values, isnull);
	return true;
}

void
canonical_flush(Canonical *canonical)
{
	rows_flush(canonical->rows);
}

RowsOutcome
canonical_lock(Canonical *canonical)
{
	Assert(canonical->found);
	return rows_lock(canonical->rows);
}

bool
canonical_try_lock(Canonical *canonical)
{
	return !canonical->found || rows_try_lock(canonical->rows);
}

void
canonical_lock_newest(Canonical *canonical)
{
	if (canonical->found)
		rows_lock_newest(canonical->rows);
}

RowsScan *
canonical_scan_begin(Canonical *canonical, const char *entity, const char *after_external_id)
{
	Datum		key = CStringGetTextDatum(entity);
	Datum		after;

	canonical_flush(canonical);
	canonical->found = false;
	if (after_external_id == NULL)
		return rows_scan_begin(canonical->rows, NULL, 1, &key, 0, NULL);
	after = CStringGetTextDatum(after_external_id);
	return rows_scan_begin(canonical->rows, NULL, 1, &key, 1, &after);
}

bool
canonical_scan_next(Canonical *canonical, RowsScan *scan, char **external_id)
{
	if (!rows_scan_next(scan))
		return false;
	*external_id = TextDatumGetCString(rows_datum(canonical->rows, COL_CANONICAL_EXTERNAL_ID));
	return true;
}

ItemPointerData
canonical_scan_place(const Canonical *canonical)
{
	return rows_place(canonical->rows);
}

int64
canonical_scan_row_version(const Canonical *canonical)
{
	int64		row_version;

	return stored_version_problem(canonical->rows, COL_CANONICAL_ROW_VERSION, &row_version) == NULL ?
		row_version : PG_INT64_MAX;
}

void
canonical_scan_record(Canonical *canonical, Record *record)
{
	const char *problem = canonical_scan_try(canonical, record);

	if (problem != NULL)
		stored_fail(canonical->rows, problem);
}

const char *
canonical_scan_try(Canonical *canonical, Record *record)
{
	MemSet(record, 0, sizeof(Record));
	return try_record(canonical->rows, record);
}

RowsOutcome
canonical_scan_lock(Canonical *canonical)
{
	return rows_lock(canonical->rows);
}
