/*
 * cursor.c
 *	  How far each target has got in the change feed: table syncext.cursor.
 *
 * Called by hub/feed.  The cursor's row is the one lock of
 * the feed: who pulls, acknowledges or redrives for a target holds it, and no
 * writer ever waits for it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "storage/canonical.h"
#include "storage/cursor.h"
#include "storage/rows.h"

PG_FUNCTION_INFO_V1(syncext_cursor_start);
PG_FUNCTION_INFO_V1(syncext_cursor_subscribe);

enum
{
	COL_TARGET = 1,
	COL_SLOT,
	COL_SLOTS,
	COL_LO,
	COL_HI,
	COL_AT_XID,
	COL_AT_SEQ,
	COL_BACKFILL_ENTITY,
	COL_BACKFILL_ID,
	COL_BACKFILL_REST,
	COL_BATCH,
	COL_LEASE_UNTIL,
	COL_END_XID,
	COL_END_SEQ,
	COL_END_BACKFILL_ID,
	COL_BATCH_RETRIES,
	COL_MOVED_AT,
	NCOLUMNS = COL_MOVED_AT
};

struct CursorTable
{
	Rows	   *rows;
};

CursorTable *
cursor_open(bool write)
{
	CursorTable *table = palloc0(sizeof(CursorTable));
	Oid			relid = registry_relation("cursor");

	table->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return table;
}

void
cursor_close(CursorTable *table)
{
	rows_close(table->rows);
	pfree(table);
}

/* ---------- reading ---------- */

static char *
optional_text(const Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static LogPosition
read_position(const Rows *rows, int xid_column, int seq_column)
{
	LogPosition position;
	bool		isnull;
	FullTransactionId xid = DatumGetFullTransactionId(rows_value(rows, xid_column, &isnull));

	position.xid = U64FromFullTransactionId(xid);
	position.seq = DatumGetInt64(rows_value(rows, seq_column, &isnull));
	return position;
}

static List *
read_names(const Rows *rows, int column)
{
	bool		isnull;
	Datum		array = rows_value(rows, column, &isnull);
	Datum	   *names;
	bool	   *nulls;
	int			n;
	List	   *list = NIL;

	if (isnull)
		return NIL;
	deconstruct_array(DatumGetArrayTypeP(array), TEXTOID, -1, false, TYPALIGN_INT,
					  &names, &nulls, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(names[i]));
	return list;
}

static void
read_cursor(const Rows *rows, Cursor *cursor)
{
	bool		isnull;

	cursor->target = TextDatumGetCString(rows_value(rows, COL_TARGET, &isnull));
	cursor->slot = DatumGetInt32(rows_value(rows, COL_SLOT, &isnull));
	cursor->slots = DatumGetInt32(rows_value(rows, COL_SLOTS, &isnull));
	cursor->lo = DatumGetInt64(rows_value(rows, COL_LO, &isnull));
	cursor->hi = DatumGetInt64(rows_value(rows, COL_HI, &isnull));
	if (isnull)
		cursor->hi = 0;
	cursor->at = read_position(rows, COL_AT_XID, COL_AT_SEQ);
	cursor->backfill_entity = optional_text(rows, COL_BACKFILL_ENTITY);
	cursor->backfill_id = optional_text(rows, COL_BACKFILL_ID);
	cursor->backfill_rest = read_names(rows, COL_BACKFILL_REST);
	cursor->batch = DatumGetInt64(rows_value(rows, COL_BATCH, &isnull));
	cursor->lease_until = DatumGetTimestampTz(rows_value(rows, COL_LEASE_UNTIL, &isnull));
	cursor->leased = !isnull;
	cursor->end = read_position(rows, COL_END_XID, COL_END_SEQ);
	cursor->end_backfill_id = optional_text(rows, COL_END_BACKFILL_ID);
	cursor->batch_retries = DatumGetInt32(rows_value(rows, COL_BATCH_RETRIES, &isnull));
	cursor->moved_at = DatumGetTimestampTz(rows_value(rows, COL_MOVED_AT, &isnull));
}

static bool
find_row(Rows *rows, const char *target, int slot)
{
	Datum		keys[2] = {CStringGetTextDatum(target), Int32GetDatum(slot)};

	return rows_find(rows, 2, keys);
}

bool
cursor_find(CursorTable *table, const char *target, int slot, Cursor *cursor)
{
	if (!find_row(table->rows, target, slot))
		return false;
	read_cursor(table->rows, cursor);
	return true;
}

/*
 * Lock the target's cursor, as it stands when nobody else holds it any more.
 * Returns false if there is none.
 */
bool
cursor_lock(CursorTable *table, const char *target, int slot, Cursor *cursor)
{
	while (find_row(table->rows, target, slot))
	{
		if (rows_lock(table->rows) == ROWS_DONE)
		{
			read_cursor(table->rows, cursor);
			return true;
		}
		rows_lock_newest(table->rows);
	}
	return false;
}

/* ---------- writing ---------- */

static void
put_text(Datum *values, bool *isnull, int column, const char *text)
{
	isnull[column - 1] = text == NULL;
	if (text != NULL)
		values[column - 1] = CStringGetTextDatum(text);
}

static void
put_position(Datum *values, int xid_column, int seq_column, LogPosition position)
{
	values[xid_column - 1] =
		FullTransactionIdGetDatum(FullTransactionIdFromU64(position.xid));
	values[seq_column - 1] = Int64GetDatum(position.seq);
}

static void
put_names(Datum *values, bool *isnull, int column, const List *names)
{
	Datum	   *elements = palloc(sizeof(Datum) * (list_length(names) + 1));
	int			n = 0;
	ListCell   *lc;

	foreach(lc, names)
		elements[n++] = CStringGetTextDatum(lfirst(lc));
	isnull[column - 1] = n == 0;
	if (n > 0)
		values[column - 1] = PointerGetDatum(construct_array(elements, n, TEXTOID, -1, false,
															 TYPALIGN_INT));
}

static void
put_cursor(const Cursor *cursor, Datum *values, bool *isnull)
{
	memset(isnull, false, sizeof(bool) * NCOLUMNS);
	values[COL_TARGET - 1] = CStringGetTextDatum(cursor->target);
	values[COL_SLOT - 1] = Int32GetDatum(cursor->slot);
	values[COL_SLOTS - 1] = Int32GetDatum(cursor->slots);
	values[COL_LO - 1] = Int64GetDatum(cursor->lo);
	values[COL_HI - 1] = Int64GetDatum(cursor->hi);
	isnull[COL_HI - 1] = cursor->hi == 0;
	put_position(values, COL_AT_XID, COL_AT_SEQ, cursor->at);
	put_text(values, isnull, COL_BACKFILL_ENTITY, cursor->backfill_entity);
	put_text(values, isnull, COL_BACKFILL_ID, cursor->backfill_id);
	put_names(values, isnull, COL_BACKFILL_REST, cursor->backfill_rest);
	values[COL_BATCH - 1] = Int64GetDatum(cursor->batch);
	values[COL_LEASE_UNTIL - 1] = TimestampTzGetDatum(cursor->lease_until);
	isnull[COL_LEASE_UNTIL - 1] = !cursor->leased;
	put_position(values, COL_END_XID, COL_END_SEQ, cursor->end);
	put_text(values, isnull, COL_END_BACKFILL_ID, cursor->end_backfill_id);
	values[COL_BATCH_RETRIES - 1] = Int32GetDatum(cursor->batch_retries);
	values[COL_MOVED_AT - 1] = TimestampTzGetDatum(cursor->moved_at);
}

void
cursor_save(CursorTable *table, const Cursor *cursor)
{
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];

	put_cursor(cursor, values, isnull);
	if (rows_update(table->rows, values, isnull) != ROWS_DONE)
		elog(ERROR, "the cursor of \"%s\" was changed although it is locked", cursor->target);
}

/* ---------- where a target starts ---------- */

static int
compare_depths(const ListCell *a, const ListCell *b)
{
	const Entity *ea = lfirst(a);
	const Entity *eb = lfirst(b);

	return ea->depth != eb->depth ? ea->depth - eb->depth : strcmp(ea->name, eb->name);
}

/* Are there records that were written before now?  If in doubt, yes. */
static bool
entity_has_records(const char *entity)
{
	Canonical  *canonical;
	RowsScan   *scan;
	bool		any;

	/* the transaction's snapshot is older than the tick that was taken */
	if (IsolationUsesXactSnapshot())
		return true;
	canonical = canonical_open(false);
	scan = canonical_scan_begin(canonical, entity, NULL);
	any = rows_scan_next(scan);
	rows_scan_end(scan);
	canonical_close(canonical);
	return any;
}

/*
 * The names of entities that the target gets, parents first, but for those of
 * which there are no records, and those that it has had so far.
 */
static List *
entities_to_walk(const Registry *registry, const Source *target, const Source *had)
{
	List	   *entities = NIL;
	List	   *names = NIL;
	ListCell   *lc;

	for (int i = 0; i < registry->nentities; i++)
	{
		Entity	   *entity = &registry->entities[i];

		if (source_gets_entity(target, entity->name) &&
			(had == NULL || !source_gets_entity(had, entity->name)) &&
			entity_has_records(entity->name))
			entities = lappend(entities, entity);
	}
	list_sort(entities, compare_depths);
	foreach(lc, entities)
		names = lappend(names, pstrdup(((Entity *) lfirst(lc))->name));
	return names;
}

/* Let the target walk through these entities' records, after what it has to walk. */
static void
add_backfill(Cursor *cursor, List *entities)
{
	cursor->backfill_rest = list_concat(cursor->backfill_rest, entities);
	if (cursor->backfill_entity == NULL && cursor->backfill_rest != NIL)
	{
		cursor->backfill_entity = linitial(cursor->backfill_rest);
		cursor->backfill_id = NULL;
		cursor->backfill_rest = list_delete_first(cursor->backfill_rest);
	}
}

/*
 * The window begins at a tick of now.  What the walk finds is read later than
 * that, and what is written while it goes on comes in windows, too: nothing
 * falls between them.
 */
void
cursor_start(const Registry *registry, const Source *target)
{
	CursorTable *table = cursor_open(true);
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS];
	Cursor		cursor;
	Cursor		old;
	Tick		tick;

	MemSet(&cursor, 0, sizeof(cursor));
	cursor.target = target->name;
	cursor.slots = 1;
	cursor.moved_at = GetCurrentTimestamp();
	for (;;)
	{
		bool		exists = cursor_lock(table, target->name, 0, &old);

		tick_take(&tick);
		cursor.lo = tick.id;
		add_backfill(&cursor, entities_to_walk(registry, target, NULL));
		if (exists)
		{
			cursor.batch = old.batch;
			cursor_save(table, &cursor);
			break;
		}
		put_cursor(&cursor, values, isnull);
		if (rows_insert_new(table->rows, values, isnull))
			break;
		/* somebody else has made it just now, and that will do */
		if (cursor_find(table, target->name, 0, &old))
			break;
	}
	cursor_close(table);
}

Datum
syncext_cursor_start(PG_FUNCTION_ARGS)
{
	const Registry *registry = registry_get();

	cursor_start(registry,
				 registry_source_required(registry, text_to_cstring(PG_GETARG_TEXT_PP(0))));
	PG_RETURN_VOID();
}

/* The entities of a subscription, each of which has to be there. */
static void
read_subscription(const Registry *registry, ArrayType *array, Source *source)
{
	Datum	   *names;
	bool	   *nulls;

	deconstruct_array(array, TEXTOID, -1, false, TYPALIGN_INT, &names, &nulls,
					  &source->nentities);
	source->entities = palloc(sizeof(char *) * (source->nentities + 1));
	for (int i = 0; i < source->nentities; i++)
	{
		if (nulls[i])
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("the name of an entity cannot be null"),
					 errhint("To subscribe to every entity, give NULL instead of the array.")));
		source->entities[i] = TextDatumGetCString(names[i]);
		(void) registry_entity_required(registry, source->entities[i]);
	}
}

/*
 * Called when a source's subscription is about to become entities (null:
 * every): lets it walk through the records of those that it hasn't had.
 */
Datum
syncext_cursor_subscribe(PG_FUNCTION_ARGS)
{
	const Registry *registry = registry_get();
	const Source *source;
	CursorTable *table;
	Source		future;
	Cursor		cursor;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("source must not be null")));
	source = registry_source_required(registry, text_to_cstring(PG_GETARG_TEXT_PP(0)));
	future = *source;
	future.nentities = -1;
	if (!PG_ARGISNULL(1))
		read_subscription(registry, PG_GETARG_ARRAYTYPE_P(1), &future);
	table = cursor_open(true);
	if (cursor_lock(table, source->name, 0, &cursor))
	{
		/* by what is in force now that no pull is under way */
		registry = registry_get();
		source = registry_source_required(registry, source->name);
		add_backfill(&cursor, entities_to_walk(registry, &future, source));
		cursor_save(table, &cursor);
	}
	cursor_close(table);
	PG_RETURN_VOID();
}
