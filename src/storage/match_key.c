/*
 * match_key.c
 *	  The keys by which match rules find records: tables syncext.match_key and
 *	  syncext.match_due.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "storage/match_key.h"
#include "storage/relations.h"

#define SHARED_INDEX	"match_key_shared"

/* What was committed since a REPEATABLE READ transaction began shares keys, too. */
const MappedDef match_key_def = {
	.relation = "match_key",
	.latest = true,
	.column = {
		[COL_MATCH_KEY_ENTITY] = {MAP_TEXT, offsetof(MatchKey, entity)},
		[COL_MATCH_KEY_EXTERNAL_ID] = {MAP_TEXT, offsetof(MatchKey, external_id)},
		[COL_MATCH_KEY_RULE] = {MAP_TEXT, offsetof(MatchKey, rule)},
		[COL_MATCH_KEY_KEY] = {MAP_TEXT, offsetof(MatchKey, key)},
	}
};

/* ---------- finding ---------- */

List *
match_keys_of(MatchKeys *keys, const char *entity, const char *external_id)
{
	const MatchKey asked = {.entity = entity, .external_id = external_id};

	return mapped_list(keys, NULL, 2, &asked, PG_INT32_MAX, sizeof(MatchKey));
}

List *
match_keys_sharing(MatchKeys *keys, const MatchKey *key, int max, MatchCounts counts, void *arg)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "syncext match key", ALLOCSET_SMALL_SIZES);
	RowsScan   *scan = mapped_scan(keys, SHARED_INDEX, 3, 0, key);
	List	   *others = NIL;

	while (list_length(others) < max && rows_scan_next(scan))
	{
		MatchKey	found;
		bool		is_other;

		CHECK_FOR_INTERRUPTS();
		MemoryContextSwitchTo(each);
		mapped_read(keys, &found);
		is_other = strcmp(found.external_id, key->external_id) != 0 &&
			(counts == NULL || counts(arg, found.external_id));
		MemoryContextSwitchTo(outer);
		if (is_other)
			others = lappend(others, pstrdup(found.external_id));
		MemoryContextReset(each);
	}
	rows_scan_end(scan);
	MemoryContextDelete(each);
	return others;
}

struct MatchKeyWalk
{
	MatchKeys  *keys;
	RowsScan   *scan;
	const char *entity;
	MemoryContext context;		/* of the key at hand */
	MatchKey   *at;				/* NULL: there are no more */
	MemoryContext outer;		/* of those that were passed */
	List	   *passed;
};

static void
walk_on(MatchKeyWalk *walk)
{
	MemoryContext old = MemoryContextSwitchTo(walk->context);

	MemoryContextReset(walk->context);
	walk->at = rows_scan_next(walk->scan) ? mapped_copy(walk->keys, sizeof(MatchKey)) : NULL;
	MemoryContextSwitchTo(old);
}

MatchKeyWalk *
match_key_walk_begin(MatchKeys *keys, const char *entity, const char *after)
{
	const MatchKey asked = {.external_id = after};
	MatchKeyWalk *walk = palloc(sizeof(MatchKeyWalk));

	walk->keys = keys;
	walk->entity = entity;
	walk->outer = CurrentMemoryContext;
	walk->passed = NIL;
	walk->context = AllocSetContextCreate(CurrentMemoryContext, "syncext match keys",
										  ALLOCSET_SMALL_SIZES);
	walk->scan = mapped_scan(keys, NULL, 0, 1, &asked);
	walk_on(walk);
	return walk;
}

/* Add a copy of the key at hand to a list, if it is the entity's. */
static List *
take_at(const MatchKeyWalk *walk, List *keys)
{
	MatchKey   *key;

	if (strcmp(walk->at->entity, walk->entity) != 0)
		return keys;
	key = palloc(sizeof(MatchKey));
	key->entity = walk->entity;
	key->external_id = pstrdup(walk->at->external_id);
	key->rule = pstrdup(walk->at->rule);
	key->key = pstrdup(walk->at->key);
	return lappend(keys, key);
}

static void
pass_at(MatchKeyWalk *walk)
{
	MemoryContext old = MemoryContextSwitchTo(walk->outer);

	walk->passed = take_at(walk, walk->passed);
	MemoryContextSwitchTo(old);
	walk_on(walk);
}

List *
match_key_walk(MatchKeyWalk *walk, const char *external_id)
{
	List	   *found = NIL;

	while (walk->at != NULL && strcmp(walk->at->external_id, external_id) < 0)
		pass_at(walk);
	for (; walk->at != NULL && strcmp(walk->at->external_id, external_id) == 0; walk_on(walk))
		found = take_at(walk, found);
	return found;
}

List *
match_key_walk_end(MatchKeyWalk *walk, bool all)
{
	List	   *passed;

	while (all && walk->at != NULL)
		pass_at(walk);
	passed = walk->passed;
	rows_scan_end(walk->scan);
	MemoryContextDelete(walk->context);
	pfree(walk);
	return passed;
}

/* ---------- writing ---------- */

void
match_key_add(MatchKeys *keys, const MatchKey *key)
{
	if (!mapped_insert_new(keys, key))
		mapped_save(keys, key);
}

Rows *
match_due_open(void)
{
	return rows_open_write(registry_relation("match_due"));
}

void
match_due_add(Rows *due, const char *entity, const char *external_id)
{
	const Datum values[2] = {CStringGetTextDatum(entity), CStringGetTextDatum(external_id)};
	const bool	isnull[2] = {false, false};

	rows_insert_later(due, values, isnull);
}
