/*
 * conflict_log.c
 *	  The manual review queue: table syncext.conflict_log.
 *
 * Called by hub/apply, which adds conflicts and closes overtaken ones, by
 * hub/resolve and by delivery, which leaves contested fields out.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "catalog/pg_type.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "storage/conflict_log.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/rows.h"
#include "storage/stored.h"

#define PENDING_INDEX	"conflict_log_pending"

enum
{
	COL_ID = 1,
	COL_STATUS,
	COL_RECORDED_AT,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_SOURCE,
	COL_VERSION,
	COL_ROW_VERSION,
	COL_CONTESTED,
	COL_INCOMING,
	COL_INCOMING_DELETED,
	COL_INCOMING_DETAIL,
	COL_CANONICAL,
	COL_CANONICAL_DELETED,
	COL_CANONICAL_SOURCE,
	COL_REASON,
	COL_DECISION,
	COL_DECIDED_FIELDS,
	COL_DECIDED_BY,
	COL_DECIDED_AT,
	COL_DECIDED_SEQ,
	COL_NOTE,
	NCOLUMNS = COL_NOTE
};

struct ConflictLog
{
	Rows	   *rows;
};

ConflictLog *
conflict_log_open(bool write)
{
	ConflictLog *log = palloc0(sizeof(ConflictLog));
	Oid			relid = registry_relation("conflict_log");

	log->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	/*
	 * A conflict that arose after a REPEATABLE READ transaction began leaves no
	 * trace on the record itself, so its snapshot can't show whether one has to
	 * be closed.
	 */
	rows_see_latest(log->rows);
	return log;
}

void
conflict_log_close(ConflictLog *log)
{
	rows_close(log->rows);
	pfree(log);
}

/* The contested fields as stored: an array of names, {*} for the whole record. */
static void
read_contested(Datum array, Conflict *conflict)
{
	int			n;
	char	  **names = names_of_array(array, NULL, &n);

	field_names_init(&conflict->fields, n);
	conflict->whole = false;
	for (int i = 0; i < n; i++)
	{
		if (strcmp(names[i], "*") == 0)
			conflict->whole = true;
		else
			field_names_add(&conflict->fields, field_name(names[i]));
	}
	if (conflict->whole)
		conflict->fields.n = 0;
}

static Datum
contested_datum(const Conflict *conflict)
{
	int			n = conflict->whole ? 1 : conflict->fields.n;
	Datum	   *names = palloc(sizeof(Datum) * Max(n, 1));

	if (conflict->whole)
		names[0] = CStringGetTextDatum("*");
	else
		for (int i = 0; i < n; i++)
			names[i] = CStringGetTextDatum(field_name_cstring(conflict->fields.name[i]));
	return PointerGetDatum(construct_array(names, n, TEXTOID, -1, false, TYPALIGN_INT));
}

/*
 * Without the copies of what came in and what stood: they may be as large as
 * records are, and are seldom asked for.
 */
static void
read_outline(Rows *rows, Conflict *conflict)
{
	bool		isnull;

	MemSet(conflict, 0, sizeof(Conflict));
	conflict->id = DatumGetInt64(rows_value(rows, COL_ID, &isnull));
	conflict->status = TextDatumGetCString(rows_value(rows, COL_STATUS, &isnull));
	conflict->entity = TextDatumGetCString(rows_value(rows, COL_ENTITY, &isnull));
	conflict->external_id = TextDatumGetCString(rows_value(rows, COL_EXTERNAL_ID, &isnull));
	conflict->source = TextDatumGetCString(rows_value(rows, COL_SOURCE, &isnull));
	conflict->version = DatumGetInt64(rows_value(rows, COL_VERSION, &isnull));
	conflict->row_version = DatumGetInt64(rows_value(rows, COL_ROW_VERSION, &isnull));
	read_contested(rows_value(rows, COL_CONTESTED, &isnull), conflict);
	conflict->incoming_deleted = DatumGetBool(rows_value(rows, COL_INCOMING_DELETED, &isnull));
}

static void
read_conflict(Rows *rows, Conflict *conflict)
{
	bool		isnull;

	read_outline(rows, conflict);
	conflict->problem = stored_object_problem(rows, COL_INCOMING, &conflict->incoming);
	if (conflict->problem == NULL)
		conflict->problem = stored_object_problem(rows, COL_INCOMING_DETAIL,
												  &conflict->incoming_detail);
	conflict->canonical = stored_any(rows, COL_CANONICAL);
	conflict->canonical_deleted = DatumGetBool(rows_value(rows, COL_CANONICAL_DELETED, &isnull));
	conflict->canonical_source =
		TextDatumGetCString(rows_value(rows, COL_CANONICAL_SOURCE, &isnull));
	conflict->reason = TextDatumGetCString(rows_value(rows, COL_REASON, &isnull));
}

/* Is the found row one that is pending, of the source if that isn't NULL? */
static bool
is_pending(Rows *rows, const char *source)
{
	bool		isnull;

	/* an index may still hold a closed row's old version: look */
	return strcmp(TextDatumGetCString(rows_value(rows, COL_STATUS, &isnull)), "pending") == 0 &&
		(source == NULL ||
		 strcmp(TextDatumGetCString(rows_value(rows, COL_SOURCE, &isnull)), source) == 0);
}

/* So much that they can't be equal, and need not be read?  1.000 is equal to 1. */
static bool
differs_in_size(Size a, Size b)
{
	return Max(a, b) > 2 * Min(a, b) + 65536;
}

int64
conflict_log_find_same(ConflictLog *log, const Conflict *wanted)
{
	Datum		keys[2] = {CStringGetTextDatum(wanted->entity), CStringGetTextDatum(wanted->external_id)};
	RowsScan   *scan = rows_scan_begin(log->rows, PENDING_INDEX, 2, keys, 0, NULL);
	int64		id = 0;

	while (id == 0 && rows_scan_next(scan))
	{
		Rows	   *rows = log->rows;
		Datum		incoming;
		bool		isnull;

		if (!is_pending(rows, wanted->source) ||
			DatumGetInt64(rows_value(rows, COL_VERSION, &isnull)) != wanted->version ||
			DatumGetBool(rows_value(rows, COL_INCOMING_DELETED, &isnull)) != wanted->incoming_deleted)
			continue;
		incoming = rows_value(rows, COL_INCOMING, &isnull);
		if (differs_in_size(toast_raw_datum_size(incoming), VARSIZE(wanted->incoming)))
			continue;
		if (compareJsonbContainers(&DatumGetJsonbP(incoming)->root, &wanted->incoming->root) == 0)
			id = DatumGetInt64(rows_value(rows, COL_ID, &isnull));
	}
	rows_scan_end(scan);
	return id;
}

List *
conflict_log_pending(ConflictLog *log, const char *entity, const char *external_id,
					 const char *source)
{
	Datum		keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};
	RowsScan   *scan = rows_scan_begin(log->rows, PENDING_INDEX, 2, keys, 0, NULL);
	List	   *conflicts = NIL;

	while (rows_scan_next(scan))
	{
		Conflict   *conflict;

		if (!is_pending(log->rows, source))
			continue;
		conflict = palloc(sizeof(Conflict));
		read_outline(log->rows, conflict);
		conflicts = lappend(conflicts, conflict);
	}
	rows_scan_end(scan);
	return conflicts;
}

bool
conflict_log_any_pending(ConflictLog *log)
{
	RowsScan   *scan = rows_scan_begin(log->rows, PENDING_INDEX, 0, NULL, 0, NULL);
	bool		any = rows_scan_next(scan);

	rows_scan_end(scan);
	return any;
}

void
conflict_log_require(const ConflictLog *log, const Conflict *conflict)
{
	if (conflict->problem != NULL)
		stored_fail(log->rows, conflict->problem);
}

bool
conflict_log_find(ConflictLog *log, int64 id, Conflict *conflict)
{
	Datum		key = Int64GetDatum(id);

	if (!rows_find(log->rows, 1, &key))
		return false;
	read_conflict(log->rows, conflict);
	return true;
}

int64
conflict_log_add(ConflictLog *log, const Conflict *conflict)
{
	Datum		values[NCOLUMNS] = {0};
	bool		isnull[NCOLUMNS];
	int64		id = nextval_internal(registry_relation("conflict_log_id_seq"), false);

	memset(isnull, false, COL_REASON);
	memset(isnull + COL_REASON, true, NCOLUMNS - COL_REASON);
	values[COL_ID - 1] = Int64GetDatum(id);
	values[COL_STATUS - 1] = CStringGetTextDatum("pending");
	values[COL_RECORDED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[COL_ENTITY - 1] = CStringGetTextDatum(conflict->entity);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(conflict->external_id);
	values[COL_SOURCE - 1] = CStringGetTextDatum(conflict->source);
	values[COL_VERSION - 1] = Int64GetDatum(conflict->version);
	values[COL_ROW_VERSION - 1] = Int64GetDatum(conflict->row_version);
	values[COL_CONTESTED - 1] = contested_datum(conflict);
	values[COL_INCOMING - 1] = JsonbPGetDatum(conflict->incoming);
	values[COL_INCOMING_DELETED - 1] = BoolGetDatum(conflict->incoming_deleted);
	values[COL_INCOMING_DETAIL - 1] = JsonbPGetDatum(conflict->incoming_detail);
	values[COL_CANONICAL - 1] = JsonbPGetDatum(conflict->canonical);
	values[COL_CANONICAL_DELETED - 1] = BoolGetDatum(conflict->canonical_deleted);
	values[COL_CANONICAL_SOURCE - 1] = CStringGetTextDatum(conflict->canonical_source);
	values[COL_REASON - 1] = CStringGetTextDatum(conflict->reason);
	rows_insert(log->rows, values, isnull);
	return id;
}

/* The found row with what closing it changes. */
static void
closed_row(ConflictLog *log, const char *status, const char *decision, Jsonb *decided_fields,
		   const char *note, int64 closed_by_seq, Datum *values, bool *isnull)
{
	for (int column = 1; column <= NCOLUMNS; column++)
		values[column - 1] = rows_value(log->rows, column, &isnull[column - 1]);
	values[COL_STATUS - 1] = CStringGetTextDatum(status);
	if (decision != NULL)
		values[COL_DECISION - 1] = CStringGetTextDatum(decision);
	isnull[COL_DECISION - 1] = decision == NULL;
	values[COL_DECIDED_FIELDS - 1] = JsonbPGetDatum(decided_fields);
	isnull[COL_DECIDED_FIELDS - 1] = decided_fields == NULL;
	values[COL_DECIDED_BY - 1] = CStringGetTextDatum(GetUserNameFromId(GetUserId(), false));
	isnull[COL_DECIDED_BY - 1] = false;
	values[COL_DECIDED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	isnull[COL_DECIDED_AT - 1] = false;
	values[COL_DECIDED_SEQ - 1] = Int64GetDatum(closed_by_seq);
	isnull[COL_DECIDED_SEQ - 1] = closed_by_seq == 0;
	if (note != NULL)
		values[COL_NOTE - 1] = CStringGetTextDatum(note);
	isnull[COL_NOTE - 1] = note == NULL;
}

bool
conflict_log_close_one(ConflictLog *log, int64 id, const char *status, const char *decision,
					   Jsonb *decided_fields, const char *note, int64 closed_by_seq)
{
	for (;;)
	{
		Datum		key = Int64GetDatum(id);
		Datum		values[NCOLUMNS];
		bool		isnull[NCOLUMNS];

		if (!rows_find(log->rows, 1, &key) || !is_pending(log->rows, NULL))
			return false;
		closed_row(log, status, decision, decided_fields, note, closed_by_seq, values, isnull);
		if (rows_update(log->rows, values, isnull) == ROWS_DONE)
			return true;
	}
}
