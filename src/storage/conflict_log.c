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

/* How often a conflict was made pending, by this backend. */
static uint64 nmade = 0;

const MappedDef conflict_log_def = {
	.relation = "conflict_log",
	/*
	 * A conflict that arose after a REPEATABLE READ transaction began leaves no
	 * trace on the record itself, so its snapshot can't show whether one has to
	 * be closed.
	 */
	.latest = true,
	.column = {
		[COL_CONFLICT_LOG_ID] = {MAP_INT8, offsetof(Conflict, id)},
		[COL_CONFLICT_LOG_STATUS] = {MAP_TEXT, offsetof(Conflict, status)},
		[COL_CONFLICT_LOG_RECORDED_AT] = {MAP_TIME, offsetof(Conflict, recorded_at)},
		[COL_CONFLICT_LOG_ENTITY] = {MAP_TEXT, offsetof(Conflict, entity)},
		[COL_CONFLICT_LOG_EXTERNAL_ID] = {MAP_TEXT, offsetof(Conflict, external_id)},
		[COL_CONFLICT_LOG_SOURCE] = {MAP_TEXT, offsetof(Conflict, source)},
		[COL_CONFLICT_LOG_VERSION] = {MAP_INT8, offsetof(Conflict, version)},
		[COL_CONFLICT_LOG_ROW_VERSION] = {MAP_INT8, offsetof(Conflict, row_version)},
		[COL_CONFLICT_LOG_CONTESTED] = {MAP_NAMES, offsetof(Conflict, contested)},
		[COL_CONFLICT_LOG_INCOMING] = {MAP_OBJECT, offsetof(Conflict, incoming)},
		[COL_CONFLICT_LOG_INCOMING_DELETED] = {MAP_BOOL, offsetof(Conflict, incoming_deleted)},
		[COL_CONFLICT_LOG_INCOMING_DETAIL] = {MAP_OBJECT, offsetof(Conflict, incoming_detail)},
		[COL_CONFLICT_LOG_CANONICAL] = {MAP_JSONB, offsetof(Conflict, canonical)},
		[COL_CONFLICT_LOG_CANONICAL_DELETED] = {MAP_BOOL, offsetof(Conflict, canonical_deleted)},
		[COL_CONFLICT_LOG_CANONICAL_SOURCE] = {MAP_TEXT, offsetof(Conflict, canonical_source)},
		[COL_CONFLICT_LOG_REASON] = {MAP_TEXT, offsetof(Conflict, reason)},
		[COL_CONFLICT_LOG_DECISION] = {MAP_TEXT, offsetof(Conflict, decision)},
		[COL_CONFLICT_LOG_DECIDED_FIELDS] = {MAP_JSONB, offsetof(Conflict, decided_fields)},
		[COL_CONFLICT_LOG_DECIDED_BY] = {MAP_TEXT, offsetof(Conflict, decided_by)},
		[COL_CONFLICT_LOG_DECIDED_AT] = {MAP_TIME, offsetof(Conflict, decided_at)},
		[COL_CONFLICT_LOG_DECIDED_SEQ] = {MAP_INT8, offsetof(Conflict, decided_seq)},
		[COL_CONFLICT_LOG_NOTE] = {MAP_TEXT, offsetof(Conflict, note)},
		[COL_CONFLICT_LOG_ASSIGNED_TO] = {MAP_TEXT, offsetof(Conflict, assigned_to)},
	}
};

/*
 * Without the copies of what came in and what stood: they may be as large as
 * records are, and are seldom asked for.
 */
#define OUTLINE \
	(MAP_COLUMN(COL_CONFLICT_LOG_ID) | MAP_COLUMN(COL_CONFLICT_LOG_STATUS) | \
	 MAP_COLUMN(COL_CONFLICT_LOG_ENTITY) | MAP_COLUMN(COL_CONFLICT_LOG_EXTERNAL_ID) | \
	 MAP_COLUMN(COL_CONFLICT_LOG_SOURCE) | MAP_COLUMN(COL_CONFLICT_LOG_VERSION) | \
	 MAP_COLUMN(COL_CONFLICT_LOG_ROW_VERSION) | MAP_COLUMN(COL_CONFLICT_LOG_CONTESTED) | \
	 MAP_COLUMN(COL_CONFLICT_LOG_INCOMING_DELETED))

#define DECIDED \
	(MAP_COLUMN(COL_CONFLICT_LOG_STATUS) | MAP_COLUMN(COL_CONFLICT_LOG_DECISION) | \
	 MAP_COLUMN(COL_CONFLICT_LOG_DECIDED_FIELDS) | MAP_COLUMN(COL_CONFLICT_LOG_DECIDED_BY) | \
	 MAP_COLUMN(COL_CONFLICT_LOG_DECIDED_AT) | MAP_COLUMN(COL_CONFLICT_LOG_DECIDED_SEQ) | \
	 MAP_COLUMN(COL_CONFLICT_LOG_NOTE))

/* The contested fields are stored as names, {*} for the whole record. */
static void
take_contested(Conflict *conflict)
{
	field_names_init(&conflict->fields, list_length(conflict->contested));
	conflict->whole = false;
	foreach_ptr(const char, name, conflict->contested)
	{
		if (strcmp(name, "*") == 0)
			conflict->whole = true;
		else
			field_names_add(&conflict->fields, field_name(name));
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
	/* an index may still hold a closed row's old version: look */
	return strcmp(TextDatumGetCString(rows_datum(rows, COL_CONFLICT_LOG_STATUS)), "pending") == 0 &&
		(source == NULL ||
		 strcmp(TextDatumGetCString(rows_datum(rows, COL_CONFLICT_LOG_SOURCE)), source) == 0);
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

		if (!is_pending(rows, wanted->source) ||
			DatumGetInt64(rows_datum(rows, COL_CONFLICT_LOG_VERSION)) != wanted->version ||
			DatumGetBool(rows_datum(rows, COL_CONFLICT_LOG_INCOMING_DELETED)) != wanted->incoming_deleted)
			continue;
		incoming = rows_datum(rows, COL_CONFLICT_LOG_INCOMING);
		if (differs_in_size(toast_raw_datum_size(incoming), VARSIZE(wanted->incoming)))
			continue;
		if (compareJsonbContainers(&DatumGetJsonbP(incoming)->root, &wanted->incoming->root) == 0)
			id = DatumGetInt64(rows_datum(rows, COL_CONFLICT_LOG_ID));
	}
	rows_scan_end(scan);
	return id;
}

List *
conflict_log_pending(ConflictLog *log, const char *entity, const char *external_id,
					 const char *source)
{
	const Conflict asked = {.entity = entity, .external_id = external_id};
	static bool had_rows = false;
	RowsScan   *scan;
	List	   *conflicts = NIL;

	/* to ask costs a system call */
	if (!had_rows && rows_empty(log->rows))
		return NIL;
	had_rows = true;
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
conflict_log_note_pending(ConflictLog *log, const char *entity, const char *first, const char *last,
						  int max, void (*note) (void *arg, const text *external_id), void *arg)
{
	const Datum keys[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(first)};

	return rows_empty(log->rows) ||
		rows_note_entries(log->rows, PENDING_INDEX, 2, keys, CStringGetTextDatum(last), max, note, arg);
}

uint64
conflict_log_made(void)
{
	return nmade;
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
	nmade++;
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
		nmade++;
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
		if (mapped_update(log, MAP_COLUMN(COL_CONFLICT_LOG_ASSIGNED_TO), &assigned) == ROWS_DONE)
			return true;
	}
	return false;
}
