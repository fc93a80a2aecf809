/*
 * pending.c
 *	  Deliveries that failed, retries and dead letters: table syncext.pending.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "storage/mapped.h"
#include "storage/pending.h"

#define DUE_INDEX	"pending_due"

static const MappedDef pending_def = {
	.relation = "pending",
	.column = {
		[COL_PENDING_TARGET] = {MAP_TEXT, offsetof(Pending, target)},
		[COL_PENDING_ENTITY] = {MAP_TEXT, offsetof(Pending, entity)},
		[COL_PENDING_EXTERNAL_ID] = {MAP_TEXT, offsetof(Pending, external_id)},
		[COL_PENDING_ROW_VERSION] = {MAP_INT8, offsetof(Pending, row_version)},
		[COL_PENDING_CORRECTION] = {MAP_BOOL, offsetof(Pending, correction)},
		[COL_PENDING_ATTEMPTS] = {MAP_INT4, offsetof(Pending, attempt.attempts)},
		[COL_PENDING_SINCE] = {MAP_TIME, offsetof(Pending, since)},
		[COL_PENDING_NEXT_ATTEMPT] = {MAP_TIME, offsetof(Pending, attempt.next_attempt), DT_NOEND},
		[COL_PENDING_BATCH] = {MAP_INT8, offsetof(Pending, batch)},
		[COL_PENDING_ERROR] = {MAP_ERROR, offsetof(Pending, attempt.error)},
		[COL_PENDING_DEAD_SINCE] = {MAP_TIME, offsetof(Pending, attempt.dead_since)},
		[COL_PENDING_PUT_OFF] = {MAP_BOOL, offsetof(Pending, put_off)},
	}
};

struct PendingTable
{
	MappedTable *mapped;
	const char *target;
};

PendingTable *
pending_open(const char *target, bool write)
{
	PendingTable *table = palloc(sizeof(PendingTable));

	table->mapped = mapped_open(&pending_def, write);
	table->target = pstrdup(target);
	return table;
}

void
pending_close(PendingTable *table)
{
	mapped_close(table->mapped);
	pfree(table);
}

/* ---------- reading ---------- */

bool
pending_any(PendingTable *table)
{
	const Pending any = {.target = table->target};

	return !rows_empty(table->mapped->rows) && mapped_seek(table->mapped, 1, &any);
}

bool
pending_find(PendingTable *table, const char *entity, const char *external_id, Pending *pending)
{
	pending->target = table->target;
	pending->entity = entity;
	pending->external_id = external_id;
	return mapped_find(table->mapped, pending);
}

/* Walk all that is pending for the target, the earliest due first and dead letters last. */
static RowsScan *
scan_due(PendingTable *table)
{
	const Pending any = {.target = table->target};

	return mapped_scan(table->mapped, DUE_INDEX, 1, 0, &any);
}

/* Does the row at hand belong to the slot? */
static bool
row_is_of(PendingTable *table, Consumer consumer)
{
	Datum		entity = rows_datum(table->mapped->rows, COL_PENDING_ENTITY);
	Datum		external_id = rows_datum(table->mapped->rows, COL_PENDING_EXTERNAL_ID);

	return consumer_has_record(consumer, DatumGetTextPP(entity), DatumGetTextPP(external_id));
}

/* Read the scan's next row that belongs to the slot; NULL: there is none. */
static Pending *
next_of_slot(PendingTable *table, RowsScan *scan, Consumer consumer)
{
	while (rows_scan_next(scan))
		if (row_is_of(table, consumer))
			return mapped_copy(table->mapped, sizeof(Pending));
	return NULL;
}

TimestampTz
pending_next_due(PendingTable *table, Consumer consumer)
{
	List	   *first = pending_due(table, consumer, DT_NOEND - 1, 1);

	return first == NIL ? DT_NOEND : ((Pending *) linitial(first))->attempt.next_attempt;
}

List *
pending_due(PendingTable *table, Consumer consumer, TimestampTz by, int max)
{
	List	   *due = NIL;
	Pending    *pending;
	RowsScan   *scan;

	if (rows_empty(table->mapped->rows))
		return NIL;
	scan = scan_due(table);
	while (list_length(due) < max && (pending = next_of_slot(table, scan, consumer)) != NULL &&
		   pending->attempt.next_attempt <= by)
		due = lappend(due, pending);
	rows_scan_end(scan);
	return due;
}

/*
 * The n rows that were put into a batch.  They were the first of the slot that
 * were due then, and so are found before what has become due since.
 */
List *
pending_in_batch(PendingTable *table, int64 batch, int n)
{
	List	   *members = NIL;
	RowsScan   *scan;

	if (n == 0)
		return NIL;
	scan = scan_due(table);
	while (list_length(members) < n && rows_scan_next(scan))
	{
		Pending    *pending = mapped_copy(table->mapped, sizeof(Pending));

		if (pending->batch == batch)
			members = lappend(members, pending);
	}
	rows_scan_end(scan);
	return members;
}

/* Those of an entity, or of a record; NULL means any. */
List *
pending_matching(PendingTable *table, Consumer consumer, const char *entity,
				 const char *external_id)
{
	const Pending asked = {.target = table->target, .entity = entity};
	RowsScan   *scan = mapped_scan(table->mapped, NULL, entity == NULL ? 1 : 2, 0, &asked);
	List	   *matching = NIL;
	Pending    *pending;

	while ((pending = next_of_slot(table, scan, consumer)) != NULL)
		if (external_id == NULL || strcmp(pending->external_id, external_id) == 0)
			matching = lappend(matching, pending);
	rows_scan_end(scan);
	return matching;
}

/* ---------- writing ---------- */

void
pending_save(PendingTable *table, const Pending *pending)
{
	Pending		row = *pending;

	row.target = table->target;
	mapped_save(table->mapped, &row);
}

void
pending_delete(PendingTable *table, const char *entity, const char *external_id)
{
	const Pending row = {
		.target = table->target,
		.entity = entity,
		.external_id = external_id
	};

	(void) mapped_remove(table->mapped, &row);
}
