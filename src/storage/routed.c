/*
 * routed.c
 *	  Which records a target has of an entity that is filtered for it: table
 *	  syncext.routed.
 *
 * A row goes when a batch is acknowledged in which the target was told that the
 * record is gone.  It stays if the target has sent a change of the record since,
 * or is just sending one.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/routed.h"

const MappedDef routed_def = {
	.relation = "routed",
	.column = {
		[COL_ROUTED_TARGET] = {MAP_TEXT, offsetof(RoutedRecord, target)},
		[COL_ROUTED_ENTITY] = {MAP_TEXT, offsetof(RoutedRecord, entity)},
		[COL_ROUTED_EXTERNAL_ID] = {MAP_TEXT, offsetof(RoutedRecord, external_id)},
		[COL_ROUTED_OWN] = {MAP_BOOL, offsetof(RoutedRecord, own)},
		[COL_ROUTED_ROW_VERSION] = {MAP_INT8, offsetof(RoutedRecord, row_version)},
		[COL_ROUTED_GONE_BATCH] = {MAP_INT8, offsetof(RoutedRecord, gone_batch)},
	}
};

/* ---------- finding ---------- */

RowsScan *
routed_seek_begin(RoutedTable *table)
{
	return rows_seek_begin(table->rows, NULL, 3);
}

bool
routed_seek(RowsScan *scan, const char *target, const char *entity, const char *external_id)
{
	const Datum keys[3] = {
		CStringGetTextDatum(target),
		CStringGetTextDatum(entity),
		CStringGetTextDatum(external_id)
	};

	return rows_seek(scan, keys);
}

/* The row as it stands; without row_version and gone_batch if there is none. */
static bool
find_row(RoutedTable *table, const char *target, const char *entity, const char *external_id,
		 bool own, RoutedRecord *record)
{
	MemSet(record, 0, sizeof(RoutedRecord));
	record->target = target;
	record->entity = entity;
	record->external_id = external_id;
	record->own = own;
	return mapped_find(table, record);
}

/* ---------- writing ---------- */

/* Say of the found own row in which batch the record is gone, unless another backend has it. */
static void
mark_own(RoutedTable *table, RoutedRecord *record, int64 batch)
{
	if (!rows_try_lock(table->rows))
		return;
	record->gone_batch = batch;
	/* if it was changed just before that, it says that the target has it */
	(void) mapped_update(table, MAP_ALL_COLUMNS, record);
}

void
routed_note_served(RoutedTable *table, const char *target, const char *entity,
				   const char *external_id)
{
	RoutedRecord record;

	if (!find_row(table, target, entity, external_id, false, &record))
		(void) mapped_insert_new(table, &record);
	else if (record.gone_batch != 0)
	{
		record.row_version = record.gone_batch = 0;
		(void) mapped_update(table, MAP_ALL_COLUMNS, &record);
	}
	/* what an earlier answer to the same pull said of it doesn't hold any more */
	if (find_row(table, target, entity, external_id, true, &record) && record.gone_batch != 0)
		mark_own(table, &record, 0);
}

/*
 * The row is written even if it is there: until our transaction has ended,
 * no other one takes it away.
 */
void
routed_note_own(RoutedTable *table, const char *target, const char *entity,
				const char *external_id, int64 row_version)
{
	const RoutedRecord record = {
		.target = target,
		.entity = entity,
		.external_id = external_id,
		.own = true,
		.row_version = row_version
	};

	mapped_save(table, &record);
}

/* A change of the target's own that came after this row version doesn't count. */
void
routed_note_gone(RoutedTable *table, const char *target, const char *entity,
				 const char *external_id, int64 row_version, int64 batch)
{
	RoutedRecord record;

	if (find_row(table, target, entity, external_id, false, &record))
	{
		record.row_version = 0;
		record.gone_batch = batch;
		(void) mapped_update(table, MAP_ALL_COLUMNS, &record);
	}
	if (find_row(table, target, entity, external_id, true, &record) &&
		record.row_version <= row_version)
		mark_own(table, &record, batch);
}

List *
routed_gone_in(RoutedTable *table, const char *target, int64 batch)
{
	const RoutedRecord asked = {.target = target, .gone_batch = batch};

	return mapped_list(table, "routed_gone", 2, &asked, PG_INT32_MAX, sizeof(RoutedRecord));
}

void
routed_forget(RoutedTable *table, const char *target, const RoutedRecord *record, int64 batch)
{
	RoutedRecord found;

	for (int own = 0; own <= 1; own++)
		if (find_row(table, target, record->entity, record->external_id, own != 0, &found) &&
			found.gone_batch == batch && rows_try_lock(table->rows))
			(void) rows_delete(table->rows);
}
