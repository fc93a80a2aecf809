/*
 * source_key.c
 *	  The keys by which sources with keys of their own know records: table
 *	  syncext.source_key.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "storage/link.h"
#include "storage/locks.h"
#include "storage/source_key.h"

const MappedDef source_key_def = {
	.relation = "source_key",
	.column = {
		[COL_SOURCE_KEY_SOURCE] = {MAP_TEXT, offsetof(SourceKey, source)},
		[COL_SOURCE_KEY_ENTITY] = {MAP_TEXT, offsetof(SourceKey, entity)},
		[COL_SOURCE_KEY_SOURCE_ID] = {MAP_TEXT, offsetof(SourceKey, source_id)},
		[COL_SOURCE_KEY_EXTERNAL_ID] = {MAP_TEXT, offsetof(SourceKey, external_id)},
		[COL_SOURCE_KEY_DUPLICATE] = {MAP_BOOL, offsetof(SourceKey, duplicate)},
		[COL_SOURCE_KEY_SINCE] = {MAP_TIME, offsetof(SourceKey, since)},
		[COL_SOURCE_KEY_GONE_BATCH] = {MAP_INT8, offsetof(SourceKey, gone_batch)},
		[COL_SOURCE_KEY_UNSAID] = {MAP_BOOL, offsetof(SourceKey, unsaid)},
		[COL_SOURCE_KEY_MERGE] = {MAP_INT8, offsetof(SourceKey, merge)},
	}
};

void
source_keys_hold(const char *source)
{
	lock_transaction_shared(LOCK_KEYS, lock_key(source));
}

void
source_keys_hold_alone(const char *source)
{
	(void) lock_transaction(LOCK_KEYS, lock_key(source), true);
}

/* ---------- finding ---------- */

bool
source_key_is_bound(const SourceKey *key)
{
	SourceKey	found = *key;

	return mapped_find_one(&source_key_def, &found);
}

/* The newest of a record's keys that an index has, which is of one kind of them. */
static bool
find_newest(SourceKeys *keys, const char *index, const char *source, const char *entity,
			const char *external_id, SourceKey *key)
{
	const SourceKey asked = {.source = source, .entity = entity, .external_id = external_id};
	RowsScan   *scan = mapped_scan(keys, index, 3, 0, &asked);
	bool		found = false;

	while (rows_scan_next(scan))
	{
		SourceKey	next;

		mapped_read(keys, &next);
		if (!found || next.since >= key->since)
			*key = next;
		found = true;
	}
	rows_scan_end(scan);
	return found;
}

bool
source_key_current(SourceKeys *keys, const char *source, const char *entity,
				   const char *external_id, SourceKey *key)
{
	return find_newest(keys, "source_key_record", source, entity, external_id, key);
}

bool
source_key_last(SourceKeys *keys, const char *source, const char *entity,
				const char *external_id, SourceKey *key)
{
	return source_key_current(keys, source, entity, external_id, key) ||
		find_newest(keys, "source_key_duplicate", source, entity, external_id, key);
}

List *
source_keys_gone_in(SourceKeys *keys, const char *source, int64 batch)
{
	const SourceKey asked = {.source = source, .gone_batch = batch};

	return mapped_list(keys, "source_key_gone", 2, &asked, PG_INT32_MAX, sizeof(SourceKey));
}

List *
source_keys_unsaid(SourceKeys *keys, const char *source, int max)
{
	const SourceKey asked = {.source = source};

	return mapped_list(keys, "source_key_unsaid", 1, &asked, max, sizeof(SourceKey));
}

/* ---------- writing ---------- */

#define SAVED \
	(MAP_COLUMN(COL_SOURCE_KEY_DUPLICATE) | MAP_COLUMN(COL_SOURCE_KEY_GONE_BATCH) | \
	 MAP_COLUMN(COL_SOURCE_KEY_UNSAID))
#define GIVEN \
	(MAP_COLUMN(COL_SOURCE_KEY_EXTERNAL_ID) | MAP_COLUMN(COL_SOURCE_KEY_SINCE) | \
	 MAP_COLUMN(COL_SOURCE_KEY_MERGE))

/* A key as it is written: the hub behind a link hears of all that becomes of it. */
static SourceKey
row_of(const SourceKey *key)
{
	SourceKey	row = *key;

	row.unsaid = link_of_source(key->source) != NULL;
	return row;
}

bool
source_key_add(SourceKeys *keys, const SourceKey *key)
{
	SourceKey	row = row_of(key);

	row.since = GetCurrentTimestamp();
	return mapped_insert_new(keys, &row);
}

void
source_key_add_free(SourceKeys *keys, const SourceKey *key)
{
	SourceKey	row = row_of(key);

	row.since = GetCurrentTimestamp();
	mapped_insert(keys, &row);
}

void
source_key_add_later(SourceKeys *keys, const SourceKey *key)
{
	SourceKey	row = *key;

	row.since = GetCurrentTimestamp();
	mapped_insert_later(keys, &row);
}

/* Is the row that was found still the binding that is meant? */
static bool
is_binding_of(SourceKeys *keys, const SourceKey *key)
{
	SourceKey	found;

	mapped_read(keys, &found);
	return strcmp(found.external_id, key->external_id) == 0;
}

bool
source_key_save(SourceKeys *keys, const SourceKey *key)
{
	const SourceKey row = row_of(key);

	while (mapped_seek(keys, 3, key) && is_binding_of(keys, key))
		if (mapped_update(keys, SAVED, &row) == ROWS_DONE)
			return true;
	return false;
}

void
source_key_try_save(SourceKeys *keys, const SourceKey *key)
{
	const SourceKey row = row_of(key);

	if (mapped_seek(keys, 3, key) && is_binding_of(keys, key) && rows_try_lock(keys->rows))
		(void) mapped_update(keys, SAVED, &row);
}

void
source_key_note_said(SourceKeys *keys, const SourceKey *key)
{
	SourceKey	found;

	if (!mapped_seek(keys, 3, key) || !rows_try_lock(keys->rows))
		return;
	mapped_read(keys, &found);
	if (strcmp(found.external_id, key->external_id) != 0 || found.duplicate != key->duplicate)
		return;
	found.unsaid = false;
	(void) mapped_update(keys, MAP_COLUMN(COL_SOURCE_KEY_UNSAID), &found);
}

bool
source_key_give(SourceKeys *keys, const SourceKey *key)
{
	SourceKey	row = row_of(key);

	row.since = GetCurrentTimestamp();
	/* a batch that tells the source that it is gone does so still */
	row.merge = 0;
	while (mapped_seek(keys, 3, &row))
		if (mapped_update(keys, SAVED | GIVEN, &row) == ROWS_DONE)
			return true;
	return false;
}
