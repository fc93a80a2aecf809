/*
 * conflict_log.c
 *	  The manual review queue: table syncext.conflict_log.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "commands/sequence.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "storage/conflict_log.h"
#include "storage/registry.h"
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
	COL_ASSIGNED_TO
};

static MappedDef conflict_log_def = {
	.relation = "conflict_log",
	/*
	 * A conflict that arose after a REPEATABLE READ transaction began leaves no
	 * trace on the record itself, so its snapshot can't show whether one has to
	 * be closed.
	 */
	.latest = true,
	.ncolumns = 23,
	.column = {
		{"id", MAP_INT8, offsetof(Conflict, id)},
		{"status", MAP_TEXT, offsetof(Conflict, status)},
		{"recorded_at", MAP_TIME, offsetof(Conflict, recorded_at)},
		{"entity", MAP_TEXT, offsetof(Conflict, entity)},
		{"external_id", MAP_TEXT, offsetof(Conflict, external_id)},
		{"source", MAP_TEXT, offsetof(Conflict, source)},
		{"version", MAP_INT8, offsetof(Conflict, version)},
		{"row_version", MAP_INT8, offsetof(Conflict, row_version)},
		{"contested", MAP_NAMES, offsetof(Conflict, contested)},
		{"incoming", MAP_OBJECT, offsetof(Conflict, incoming)},
		{"incoming_deleted", MAP_BOOL, offsetof(Conflict, incoming_deleted)},
		{"incoming_detail", MAP_OBJECT, offsetof(Conflict, incoming_detail)},
		{"canonical", MAP_JSONB, offsetof(Conflict, canonical)},
		{"canonical_deleted", MAP_BOOL, offsetof(Conflict, canonical_deleted)},
		{"canonical_source", MAP_TEXT, offsetof(Conflict, canonical_source)},
		{"reason", MAP_TEXT, offsetof(Conflict, reason)},
		{"decision", MAP_TEXT, offsetof(Conflict, decision)},
		{"decided_fields", MAP_JSONB, offsetof(Conflict, decided_fields)},
		{"decided_by", MAP_TEXT, offsetof(Conflict, decided_by)},
		{"decided_at", MAP_TIME, offsetof(Conflict, decided_at)},
		{"decided_seq", MAP_INT8, offsetof(Conflict, decided_seq)},
		{"note", MAP_TEXT, offsetof(Conflict, note)},
		{"assigned_to", MAP_TEXT, offsetof(Conflict, assigned_to)},
	}
};

/*
 * Without the copies of what came in and what stood: they may be as large as
 * records are, and are seldom asked for.
 */
#define OUTLINE \
	(MAP_COLUMN(COL_ID) | MAP_COLUMN(COL_STATUS) | MAP_COLUMN(COL_ENTITY) | \
	 MAP_COLUMN(COL_EXTERNAL_ID) | MAP_COLUMN(COL_SOURCE) | MAP_COLUMN(COL_VERSION) | \
	 MAP_COLUMN(COL_ROW_VERSION) | MAP_COLUMN(COL_CONTESTED) | MAP_COLUMN(COL_INCOMING_DELETED))

#define DECIDED \
	(MAP_COLUMN(COL_STATUS) | MAP_COLUMN(COL_DECISION) | MAP_COLUMN(COL_DECIDED_FIELDS) | \
	 MAP_COLUMN(COL_DECIDED_BY) | MAP_COLUMN(COL_DECIDED_AT) | MAP_COLUMN(COL_DECIDED_SEQ) | \
	 MAP_COLUMN(COL_NOTE))

ConflictLog *
conflict_log_open(bool write)
{
	return mapped_open(&conflict_log_def, write);
}

void
conflict_log_close(ConflictLog *log)
{
	mapped_close(log);
}

/* The contested fields are stored as names, {*} for the whole record. */
static void
take_contested(Conflict *conflict)
{
	ListCell   *lc;

	field_names_init(&conflict->fields, list_length(conflict->contested));
	conflict->whole = false;
	foreach(lc, conflict->contested)
	{
		if (strcmp(lfirst(lc), "*") == 0)
			conflict->whole = true;
		else
			field_names_add(&conflict->fields, field_name(lfirst(lc)));
	}
	if (conflict->whole)
		conflict->fields.n = 0;
}

static List *
contested_names(const Conflict *conflict)
{
	List	   *names = NIL;

	if (conflict->whole)
		return list_make1("*");
	for (int i = 0; i < conflict->fields.n; i++)
		names = lappend(names, field_name_cstring(conflict->fields.name[i]));
	return names;
}

/* Read these columns of the found row. */
static void
read_conflict(const ConflictLog *log, MappedColumns columns, Conflict *conflict)
{
	MemSet(conflict, 0, sizeof(Conflict));
	conflict->problem = mapped_try(log, columns, conflict);
	take_contested(conflict);
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
	RowsScan   *scan = mapped_scan(log, PENDING_INDEX, 2, 0, wanted);
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
	const Conflict asked = {.entity = entity, .external_id = external_id};
	RowsScan   *scan;
	List	   *conflicts = NIL;

	if (rows_empty(log->rows))
		return NIL;
	scan = mapped_scan(log, PENDING_INDEX, 2, 0, &asked);
	while (rows_scan_next(scan))
	{
		Conflict   *conflict;

		if (!is_pending(log->rows, source))
			continue;
		conflict = palloc(sizeof(Conflict));
		read_conflict(log, OUTLINE, conflict);
		conflicts = lappend(conflicts, conflict);
	}
	rows_scan_end(scan);
	return conflicts;
}

bool
conflict_log_any_pending(ConflictLog *log)
{
	RowsScan   *scan = mapped_scan(log, PENDING_INDEX, 0, 0, NULL);
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
	const Conflict asked = {.id = id};

	if (!mapped_seek(log, 1, &asked))
		return false;
	read_conflict(log, MAP_ALL_COLUMNS, conflict);
	return true;
}

int64
conflict_log_add(ConflictLog *log, const Conflict *conflict)
{
	Conflict	added = *conflict;

	added.id = nextval_internal(registry_relation("conflict_log_id_seq"), false);
	added.status = "pending";
	added.recorded_at = GetCurrentTimestamp();
	added.contested = contested_names(conflict);
	mapped_insert(log, &added);
	return added.id;
}

bool
conflict_log_close_one(ConflictLog *log, int64 id, const char *status, const char *decision,
					   Jsonb *decided_fields, const char *note, int64 closed_by_seq)
{
	const Conflict closed = {
		.id = id,
		.status = status,
		.decision = decision,
		.decided_fields = decided_fields,
		.decided_by = GetUserNameFromId(GetUserId(), false),
		.decided_at = GetCurrentTimestamp(),
		.decided_seq = closed_by_seq,
		.note = note
	};

	while (mapped_seek(log, 1, &closed) && is_pending(log->rows, NULL))
	{
		if (mapped_update(log, DECIDED, &closed) == ROWS_DONE)
			return true;
	}
	return false;
}

bool
conflict_log_reopen(ConflictLog *log, const Conflict *conflict)
{
	const Conflict reopened = {.id = conflict->id, .status = "pending"};

	while (mapped_seek(log, 1, &reopened) && !is_pending(log->rows, NULL))
	{
		if (mapped_update(log, DECIDED, &reopened) == ROWS_DONE)
			return true;
	}
	return false;
}

bool
conflict_log_assign(ConflictLog *log, int64 id, const char *assignee)
{
	const Conflict assigned = {.id = id, .assigned_to = assignee};

	while (mapped_seek(log, 1, &assigned) && is_pending(log->rows, NULL))
	{
		if (mapped_update(log, MAP_COLUMN(COL_ASSIGNED_TO), &assigned) == ROWS_DONE)
			return true;
	}
	return false;
}
