/*
 * matching.c
 *	  Records that may be one: their keys are kept, and pairs that share one found.
 *
 * What writes a record's keys holds the record.  Looking for others holds nothing: of two
 * records that are written at once each may miss the other, so what is new is looked at
 * again by maintenance, which sees both.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "compat.h"
#include "hub/match_normalize.h"
#include "hub/matching.h"
#include "storage/match_candidate.h"
#include "storage/match_problem.h"

struct Matching
{
	MatchKeys  *keys;
	Rows	   *due;
	MatchCandidates *candidates;	/* NULL until one may have to be added or removed */
	int64		made;
};

Matching *
matching_open(void)
{
	Matching   *matching = palloc0(sizeof(Matching));

	matching->keys = mapped_open(&match_key_def, true);
	matching->due = match_due_open();
	return matching;
}

void
matching_close(Matching *matching)
{
	if (matching->candidates != NULL)
		mapped_close(matching->candidates);
	rows_close(matching->due);
	mapped_close(matching->keys);
	pfree(matching);
}

int64
matching_made(const Matching *matching)
{
	return matching->made;
}

static MatchCandidates *
candidates_table(Matching *matching)
{
	if (matching->candidates == NULL)
		matching->candidates = mapped_open_in(GetMemoryChunkContext(matching), &match_candidate_def, true);
	return matching->candidates;
}

/* ---------- looking for others ---------- */

static void
look_by(Matching *matching, const MatchKey *key)
{
	List	   *others = match_keys_sharing(matching->keys, key, MATCH_MAX_SHARED, NULL, NULL);
	MatchCandidates *candidates;
	int			room;

	if (others == NIL)
		return;
	if (list_length(others) >= MATCH_MAX_SHARED)
	{
		match_problem_note(key->entity, key->rule, MATCH_PROBLEM_COMMON, key->external_id, NULL);
		return;
	}
	candidates = candidates_table(matching);
	room = MATCH_MAX_CANDIDATES -
		match_candidates_waiting(candidates, key->entity, key->external_id, MATCH_MAX_CANDIDATES);
	foreach_ptr(char, other, others)
	{
		if (room <= 0)
			break;
		if (!match_candidate_add(candidates, key->entity, key->rule, key->external_id, other))
			continue;
		matching->made++;
		room--;
	}
}

void
matching_look(Matching *matching, const Entity *entity, const char *external_id)
{
	foreach_ptr(MatchKey, key, match_keys_of(matching->keys, entity->name, external_id))
		look_by(matching, key);
}

/* ---------- keeping keys ---------- */

typedef enum KeyChange
{
	KEY_SAME,
	KEY_NEW,
	KEY_LOST					/* the one that was there is another, or gone */
} KeyChange;

/* The key that the rule makes of a record's fields. */
static MatchKey
make_key(const MatchRule *rule, const MatchKey *of, const Fields *fields)
{
	MatchKey	made = *of;
	char	   *failed = NULL;

	made.rule = rule->name;
	made.key = match_normalize(rule, fields, &failed);
	if (failed != NULL)
		match_problem_note(of->entity, rule->name, MATCH_PROBLEM_ERROR, of->external_id, failed);
	return made;
}

/* Let the record have that key. */
static KeyChange
keep_key(Matching *matching, const MatchRule *rule, const MatchKey *of, const Fields *fields)
{
	MatchKey	kept = make_key(rule, of, fields);
	MatchKey	found = kept;
	bool		had = mapped_find(matching->keys, &found);

	if (had ? kept.key != NULL && strcmp(found.key, kept.key) == 0 : kept.key == NULL)
		return KEY_SAME;
	if (kept.key != NULL)
		mapped_save(matching->keys, &kept);
	else
		(void) mapped_remove(matching->keys, &found);
	return had ? KEY_LOST : KEY_NEW;
}

/* Are the rule's fields what they were? */
static bool
stays(const MatchRule *rule, const Record *before, const Record *after)
{
	for (int i = 0; i < rule->fields.n; i++)
	{
		const RecordField *was = record_find(before, rule->fields.name[i]);
		const RecordField *is = record_find(after, rule->fields.name[i]);

		if ((was == NULL) != (is == NULL) ||
			(was != NULL && !json_value_equal(&was->field.value, &is->field.value)))
			return false;
	}
	return true;
}

/* The record is gone: so are its keys and what waits for a decision. */
static void
end_record(Matching *matching, const MatchKey *of)
{
	foreach_ptr(MatchKey, key, match_keys_of(matching->keys, of->entity, of->external_id))
		(void) mapped_remove(matching->keys, key);
	match_candidates_end(candidates_table(matching), of->entity, of->external_id);
}

/* Keep the keys by those rules whose fields are others than before, which may be NULL: by all. */
static KeyChange
keep_keys(Matching *matching, const Entity *entity, const MatchKey *of, const Record *before,
		  const Record *after)
{
	const Fields fields = record_fields(after, NULL);
	KeyChange	all = KEY_SAME;

	for (int i = 0; i < entity->nmatches; i++)
	{
		const MatchRule *rule = &entity->matches[i];
		KeyChange	one;

		if (before != NULL && stays(rule, before, after))
			continue;
		one = keep_key(matching, rule, of, &fields);
		all = Max(all, one);
	}
	return all;
}

/*
 * A record that is new has no keys yet: what it gets it looks for others by, without
 * being searched for itself.
 */
static void
bear_record(Matching *matching, const Entity *entity, const MatchKey *of, const Record *after)
{
	const Fields fields = record_fields(after, NULL);
	bool		any = false;

	for (int i = 0; i < entity->nmatches; i++)
	{
		const MatchKey key = make_key(&entity->matches[i], of, &fields);

		if (key.key == NULL)
			continue;
		match_key_add(matching->keys, &key);
		look_by(matching, &key);
		any = true;
	}
	if (any)
		match_due_add(matching->due, of->entity, of->external_id);
}

void
matching_track(Matching *matching, const ApplyItem *item, const Record *before,
			   const Record *after)
{
	const MatchKey of = {.entity = item->entity->name, .external_id = item->change->external_id};
	bool		lived = before->exists && !before->deleted;
	KeyChange	change;

	if (after->deleted)
	{
		if (lived)
			end_record(matching, &of);
		return;
	}
	if (!before->exists)
	{
		bear_record(matching, item->entity, &of, after);
		return;
	}
	change = keep_keys(matching, item->entity, &of, lived ? before : NULL, after);
	if (change == KEY_SAME)
		return;
	/* those that have met by the old key need not any more */
	if (change == KEY_LOST)
		match_candidates_end(candidates_table(matching), of.entity, of.external_id);
	matching_look(matching, item->entity, of.external_id);
	match_due_add(matching->due, of.entity, of.external_id);
}

/* ---------- building ---------- */

bool
matching_rebuild(Matching *matching, Canonical *canonical, const Entity *entity,
				 const char *external_id)
{
	const MatchKey of = {.entity = entity->name, .external_id = external_id};
	Record		record;

	if (!canonical_hold(canonical, of.entity, of.external_id, &record))
		return false;
	if (record.deleted)
	{
		end_record(matching, &of);
		return false;
	}
	if (keep_keys(matching, entity, &of, NULL, &record) == KEY_LOST)
		match_candidates_end(candidates_table(matching), of.entity, of.external_id);
	matching_look(matching, entity, external_id);
	return true;
}

/* ---------- many records ---------- */

struct MatchPortion
{
	Matching   *matching;
	Canonical  *canonical;
	const Entity *entity;
	MatchKeyWalk *walk;
	MemoryContext context;		/* of the next */
	List	   *looking;		/* MatchKeys that others are to be looked for by */
};

MatchPortion *
matching_portion_begin(Matching *matching, Canonical *canonical, const Entity *entity,
					   const char *after)
{
	MatchPortion *portion = palloc0(sizeof(MatchPortion));

	portion->matching = matching;
	portion->canonical = canonical;
	portion->entity = entity;
	portion->context = CurrentMemoryContext;
	portion->walk = match_key_walk_begin(matching->keys, entity->name, after);
	return portion;
}

static void
look_later(MatchPortion *portion, const MatchKey *key)
{
	MemoryContext old = MemoryContextSwitchTo(portion->context);
	MatchKey   *copy = palloc(sizeof(MatchKey));

	*copy = *key;
	copy->external_id = pstrdup(key->external_id);
	copy->key = pstrdup(key->key);
	portion->looking = lappend(portion->looking, copy);
	MemoryContextSwitchTo(old);
}

static const MatchKey *
key_by_rule(List *keys, const char *rule)
{
	foreach_ptr(const MatchKey, key, keys)
		if (strcmp(key->rule, rule) == 0)
			return key;
	return NULL;
}

/* Let the record, which had these keys, have the rule's.  Returns whether it has lost one. */
static bool
portion_keep(MatchPortion *portion, const MatchKey *kept, List *had)
{
	MatchKeys  *keys = portion->matching->keys;
	const MatchKey *old = key_by_rule(had, kept->rule);
	const bool	lost = old != NULL && (kept->key == NULL || strcmp(old->key, kept->key) != 0);

	if (kept->key != NULL && old == NULL)
		mapped_insert_later(keys, kept);
	else if (lost && kept->key != NULL)
		mapped_save(keys, kept);
	else if (lost)
		(void) mapped_remove(keys, kept);
	if (kept->key != NULL)
		look_later(portion, kept);
	return lost;
}

/* Keys by rules that there are no more. */
static void
remove_unruled(MatchPortion *portion, List *had)
{
	foreach_ptr(const MatchKey, key, had)
	{
		bool		ruled = false;

		for (int i = 0; i < portion->entity->nmatches; i++)
			ruled |= strcmp(portion->entity->matches[i].name, key->rule) == 0;
		if (!ruled)
			(void) mapped_remove(portion->matching->keys, key);
	}
}

/* Keys of records that were removed by hand, unless the record has come since. */
static void
remove_strays(MatchPortion *portion, List *keys)
{
	Record		record;

	foreach_ptr(const MatchKey, key, keys)
	{
		canonical_find(portion->canonical, key->entity, key->external_id, &record);
		if (!record.exists)
			(void) mapped_remove(portion->matching->keys, key);
	}
}

bool
matching_portion_add(MatchPortion *portion, const char *external_id)
{
	Matching   *matching = portion->matching;
	const Entity *entity = portion->entity;
	const MatchKey of = {.entity = entity->name, .external_id = external_id};
	bool		lost = false;
	List	   *had;
	Record		record;
	Fields		fields;

	if (canonical_scan_lock(portion->canonical) != ROWS_DONE)
		return matching_rebuild(matching, portion->canonical, entity, external_id);
	canonical_scan_record(portion->canonical, &record);
	had = match_key_walk(portion->walk, external_id);
	if (record.deleted)
	{
		end_record(matching, &of);
		return false;
	}
	remove_unruled(portion, had);
	fields = record_fields(&record, NULL);
	for (int i = 0; i < entity->nmatches; i++)
	{
		const MatchKey kept = make_key(&entity->matches[i], &of, &fields);

		lost |= portion_keep(portion, &kept, had);
	}
	if (lost)
		match_candidates_end(candidates_table(matching), of.entity, of.external_id);
	return true;
}

void
matching_portion_end(MatchPortion *portion, bool last)
{
	List	   *passed = match_key_walk_end(portion->walk, last);

	remove_strays(portion, passed);
	rows_flush(portion->matching->keys->rows);
	foreach_ptr(const MatchKey, key, portion->looking)
		look_by(portion->matching, key);
	list_free_deep(portion->looking);
	pfree(portion);
}
