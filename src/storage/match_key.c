/*
 * match_key.c
 *	  The keys by which match rules find records: tables syncext.match_key and
 *	  syncext.match_due.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/match_key.h"
#include "storage/relations.h"

#define SHARED_INDEX	"match_key_shared"

/* What was committed since a REPEATABLE READ transaction began shares keys, too. */
static MappedDef match_key_def = {
	.relation = "match_key",
	.latest = true,
	.ncolumns = 4,
	.column = {
		{"entity", MAP_TEXT, offsetof(MatchKey, entity)},
		{"external_id", MAP_TEXT, offsetof(MatchKey, external_id)},
		{"rule", MAP_TEXT, offsetof(MatchKey, rule)},
		{"key", MAP_TEXT, offsetof(MatchKey, key)},
	}
};

struct MatchKeys
{
	MappedTable *table;
	Rows	   *due;			/* NULL: only to read */
};

MatchKeys *
match_keys_open(bool write)
{
	MatchKeys  *keys = palloc0(sizeof(MatchKeys));

	keys->table = mapped_open(&match_key_def, write);
	if (write)
		keys->due = rows_open_write(registry_relation("match_due"));
	return keys;
}

void
match_keys_close(MatchKeys *keys)
{
	if (keys->due != NULL)
		rows_close(keys->due);
	mapped_close(keys->table);
	pfree(keys);
}

/* ---------- finding ---------- */

bool
match_key_find(MatchKeys *keys, MatchKey *key)
{
	return mapped_find(keys->table, key);
}

List *
match_keys_of(MatchKeys *keys, const char *entity, const char *external_id)
{
	const MatchKey asked = {.entity = entity, .external_id = external_id};
	RowsScan   *scan = mapped_scan(keys->table, NULL, 2, 0, &asked);
	List	   *found = NIL;

	while (rows_scan_next(scan))
		found = lappend(found, mapped_copy(keys->table, sizeof(MatchKey)));
	rows_scan_end(scan);
	return found;
}

List *
match_keys_sharing(MatchKeys *keys, const MatchKey *key, int max)
{
	RowsScan   *scan = mapped_scan(keys->table, SHARED_INDEX, 3, 0, key);
	List	   *others = NIL;

	while (list_length(others) < max && rows_scan_next(scan))
	{
		MatchKey	found;

		mapped_read(keys->table, &found);
		if (strcmp(found.external_id, key->external_id) != 0)
			others = lappend(others, unconstify(char *, found.external_id));
	}
	rows_scan_end(scan);
	return others;
}

/* ---------- writing ---------- */

void
match_key_save(MatchKeys *keys, const MatchKey *key)
{
	mapped_save(keys->table, key);
}

void
match_key_add(MatchKeys *keys, const MatchKey *key)
{
	if (!mapped_insert_new(keys->table, key))
		mapped_save(keys->table, key);
}

bool
match_key_remove(MatchKeys *keys, const MatchKey *key)
{
	return mapped_remove(keys->table, key);
}

void
match_due_add(MatchKeys *keys, const char *entity, const char *external_id)
{
	Datum		values[2];
	bool		isnull[2] = {false, false};

	values[0] = CStringGetTextDatum(entity);
	values[1] = CStringGetTextDatum(external_id);
	rows_insert_later(keys->due, values, isnull);
}
