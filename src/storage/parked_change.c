/*
 * parked_change.c
 *	  Changes whose parent has not arrived: table syncext.waiting.
 */
#include "postgres.h"

#include "access/detoast.h"
#include "commands/sequence.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "storage/registry.h"
#include "storage/parked_change.h"

const MappedDef parked_change_def = {
	.relation = "waiting",
	/* a change that was parked after our snapshot can be waiting for us */
	.latest = true,
	.column = {
		[COL_WAITING_ID] = {MAP_INT8, offsetof(ParkedChange, id)},
		[COL_WAITING_ENTITY] = {MAP_TEXT, offsetof(ParkedChange, entity)},
		[COL_WAITING_EXTERNAL_ID] = {MAP_TEXT, offsetof(ParkedChange, external_id)},
		[COL_WAITING_SOURCE] = {MAP_TEXT, offsetof(ParkedChange, source)},
		[COL_WAITING_PARENT_ENTITY] = {MAP_TEXT, offsetof(ParkedChange, parent_entity)},
		[COL_WAITING_PARENT_ID] = {MAP_TEXT, offsetof(ParkedChange, parent_id)},
		[COL_WAITING_CHANGE] = {MAP_JSONB, offsetof(ParkedChange, change)},
		[COL_WAITING_PARKED_AT] = {MAP_TIME, offsetof(ParkedChange, parked_at)},
		[COL_WAITING_ATTEMPTS] = {MAP_INT4, offsetof(ParkedChange, attempt.attempts)},
		[COL_WAITING_NEXT_ATTEMPT] = {MAP_TIME, offsetof(ParkedChange, attempt.next_attempt), DT_NOEND},
		[COL_WAITING_ERROR] = {MAP_ERROR, offsetof(ParkedChange, attempt.error)},
		[COL_WAITING_DEAD_SINCE] = {MAP_TIME, offsetof(ParkedChange, attempt.dead_since)},
	}
};

/* Documents that are held in memory at a time, once they are this large together. */
#define PORTION_BYTES	(16 * 1024 * 1024)

static char *
text_value(Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? NULL : TextDatumGetCString(value);
}

static ParkedChange *
read_parked(const ParkedChanges *changes)
{
	return mapped_copy(changes, sizeof(ParkedChange));
}

int64
parked_change_add(ParkedChanges *changes, const ParkedChange *change)
{
	ParkedChange w = *change;

	w.id = nextval_internal(registry_relation("waiting_id_seq"), false);
	mapped_insert(changes, &w);
	return w.id;
}

bool
parked_changes_any(const ParkedChanges *changes)
{
	return !rows_empty(changes->rows);
}

/* Walk those of a record, or for a parent, in the order in which they were parked. */
static RowsScan *
scan_by(ParkedChanges *changes, const char *index, const char *entity, const char *external_id,
		int64 after)
{
	const ParkedChange asked = {
		.id = after,
		.entity = entity,
		.external_id = external_id,
		.parent_entity = entity,
		.parent_id = external_id
	};

	return mapped_scan(changes, index, 2, 1, &asked);
}

static bool
is_of_source(ParkedChanges *changes, const char *source)
{
	return strcmp(text_value(changes->rows, COL_WAITING_SOURCE), source) == 0;
}

List *
parked_changes_for_parent(ParkedChanges *changes, const char *entity, const char *external_id,
						  int n)
{
	RowsScan   *scan = scan_by(changes, "waiting_parent", entity, external_id, 0);
	List	   *found = NIL;
	Size		bytes = 0;

	while (list_length(found) < n && bytes < PORTION_BYTES && rows_scan_next(scan))
	{
		found = lappend(found, read_parked(changes));
		bytes += VARSIZE(((ParkedChange *) llast(found))->change);
	}
	rows_scan_end(scan);
	return found;
}

void
parked_change_hand_on(ParkedChanges *changes, const char *entity, const char *external_id,
					  int64 id)
{
	TimestampTz now = GetCurrentTimestamp();
	RowsScan   *scan = scan_by(changes, "waiting_parent", entity, external_id, id);
	ParkedChange *next = rows_scan_next(scan) ? read_parked(changes) : NULL;

	rows_scan_end(scan);
	if (next == NULL || next->attempt.next_attempt <= now)
		return;
	attempt_recall(&next->attempt, now);
	/* if it has moved, another transaction is releasing it */
	(void) parked_change_update(changes, next);
}

/* The documents of others are not read: they may be many, and large. */
bool
parked_change_ahead(ParkedChanges *changes, const char *entity, const char *external_id,
					const char *source, int64 id, const char **parent_entity,
					const char **parent_id)
{
	RowsScan   *scan = scan_by(changes, "waiting_record", entity, external_id, 0);
	bool		ahead = false;

	while (!ahead && rows_scan_next(scan) &&
		   DatumGetInt64(rows_datum(changes->rows, COL_WAITING_ID)) < id)
	{
		ahead = is_of_source(changes, source);
		if (ahead)
		{
			*parent_entity = text_value(changes->rows, COL_WAITING_PARENT_ENTITY);
			*parent_id = text_value(changes->rows, COL_WAITING_PARENT_ID);
		}
	}
	rows_scan_end(scan);
	return ahead;
}

bool
parked_changes_have(ParkedChanges *changes, const char *entity, const char *external_id,
					const char *source, Jsonb *document)
{
	RowsScan   *scan = scan_by(changes, "waiting_record", entity, external_id, 0);
	bool		has = false;

	while (!has && rows_scan_next(scan))
	{
		Datum		change = rows_datum(changes->rows, COL_WAITING_CHANGE);

		/* written by one function from one type: equal ones have one size */
		has = is_of_source(changes, source) &&
			toast_raw_datum_size(change) == VARSIZE(document) &&
			compareJsonbContainers(&DatumGetJsonbP(change)->root, &document->root) == 0;
	}
	rows_scan_end(scan);
	return has;
}

static bool
are_fewer(ParkedChanges *changes, const char *index, const char *entity, const char *external_id,
		  const char *source, int limit)
{
	RowsScan   *scan = scan_by(changes, index, entity, external_id, 0);
	int			n = 0;

	while (n < limit && rows_scan_next(scan))
		n += is_of_source(changes, source);
	rows_scan_end(scan);
	return n < limit;
}

bool
parked_changes_have_room(ParkedChanges *changes, const ParkedChange *change, int limit)
{
	return are_fewer(changes, "waiting_record", change->entity, change->external_id,
					 change->source, limit) &&
		are_fewer(changes, "waiting_parent", change->parent_entity, change->parent_id,
				  change->source, limit);
}

List *
parked_changes_of_source(ParkedChanges *changes, const char *source, const char *entity,
						 const char *external_id)
{
	RowsScan   *scan = mapped_scan(changes, NULL, 0, 0, NULL);
	List	   *found = NIL;

	while (rows_scan_next(scan))
	{
		ParkedChange *w = read_parked(changes);

		if (strcmp(w->source, source) == 0 &&
			(entity == NULL || strcmp(w->entity, entity) == 0) &&
			(external_id == NULL || strcmp(w->external_id, external_id) == 0))
			found = lappend(found, w);
	}
	rows_scan_end(scan);
	return found;
}

List *
parked_changes_due(ParkedChanges *changes, TimestampTz now, int n)
{
	RowsScan   *scan = mapped_scan(changes, "waiting_due", 0, 0, NULL);
	List	   *found = NIL;
	Size		bytes = 0;

	while (list_length(found) < n && bytes < PORTION_BYTES && rows_scan_next(scan))
	{
		ParkedChange *w = read_parked(changes);

		if (w->attempt.next_attempt > now)
			break;
		found = lappend(found, w);
		bytes += VARSIZE(w->change);
	}
	rows_scan_end(scan);
	return found;
}

TimestampTz
parked_changes_next_due(void)
{
	ParkedChanges *changes = mapped_open(&parked_change_def, false);
	List	   *first = parked_changes_due(changes, DT_NOEND - 1, 1);

	mapped_close(changes);
	return first == NIL ? DT_NOEND : ((ParkedChange *) linitial(first))->attempt.next_attempt;
}

bool
parked_change_take(ParkedChanges *changes, int64 id)
{
	const ParkedChange asked = {.id = id};

	return mapped_seek(changes, 1, &asked) && rows_delete(changes->rows) == ROWS_DONE;
}

bool
parked_change_update(ParkedChanges *changes, const ParkedChange *change)
{
	return mapped_seek(changes, 1, change) &&
		mapped_update(changes, MAP_ALL_COLUMNS, change) == ROWS_DONE;
}
