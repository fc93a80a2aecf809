/*
 * row_keys.c
 *	  Which record a row is, where the relation draws keys of its own.
 *
 * A row that is born here is a new record, whose id is a UUID, and its key is bound in the
 * same transaction.  A record that is delivered gets a key as an insert would that leaves
 * it out: it is drawn first, so that the row has one name from the beginning, for the
 * relation's own triggers too.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "hub/own_keys.h"
#include "local/row_keys.h"
#include "process/for_now.h"
#include "process/owner.h"
#include "settings.h"
#include "storage/canonical.h"
#include "storage/key_problem.h"

/* ---------- what a key is bound to ---------- */

static SourceKey
source_key_of(const Binding *binding, const char *key)
{
	const SourceKey found = {
		.source = binding->source,
		.entity = binding->entity,
		.source_id = key
	};

	return found;
}

static RowRecord
named_by_key(const char *key)
{
	const RowRecord record = {.external_id = key};

	return record;
}

static RowRecord
bound_to(SourceKeys *keys, const SourceKey *key)
{
	RowRecord	record = {.external_id = key->external_id, .ended = key->duplicate};
	SourceKey	current;

	if (key->duplicate && key->merge != 0)
	{
		record.duplicate = source_key_current(keys, key->source, key->entity, key->external_id, &current);
		record.takes_over = !record.duplicate;
	}
	return record;
}

RowRecord
row_keys_find(const Binding *binding, const char *key)
{
	SourceKey	found = source_key_of(binding, key);
	RowRecord	record = {0};
	SourceKeys *keys;

	if (!binding->own_keys)
		return named_by_key(key);
	source_keys_hold(binding->source);
	keys = mapped_open(&source_key_def, false);
	if (mapped_find(keys, &found))
		record = bound_to(keys, &found);
	mapped_close(keys);
	return record;
}

/* Bind a key that isn't to a new record.  False: it just was. */
static bool
add_record(SourceKeys *keys, SourceKey *key, RowRecord *record)
{
	key->external_id = own_keys_new_id();
	key->duplicate = false;
	record->external_id = key->external_id;
	record->added = source_key_add(keys, key);
	return record->added;
}

RowRecord
row_keys_take(const Binding *binding, const char *key)
{
	SourceKey	found = source_key_of(binding, key);
	RowRecord	record = {0};
	SourceKeys *keys;

	if (!binding->own_keys)
		return named_by_key(key);
	source_keys_hold(binding->source);
	keys = mapped_open(&source_key_def, true);
	while (!mapped_find(keys, &found) && !add_record(keys, &found, &record))
		CHECK_FOR_INTERRUPTS();
	if (!record.added)
		record = bound_to(keys, &found);
	mapped_close(keys);
	return record;
}

/* Does the record live, as far as is known here?  It has a row, or is the hub's here. */
static bool
record_lives(SourceKeys *keys, const SourceKey *key)
{
	Canonical  *canonical;
	SourceKey	current;
	bool		lives;

	if (source_key_current(keys, key->source, key->entity, key->external_id, &current))
		return true;
	canonical = canonical_open(false);
	lives = canonical_lives(canonical, key->entity, key->external_id);
	canonical_close(canonical);
	return lives;
}

/* The key was drawn a second time: what it named so far stays a record, without this key. */
static void
note_reused(const SourceKey *key)
{
	const KeyProblem problem = {
		.source = key->source,
		.entity = key->entity,
		.kind = KEY_PROBLEM_REUSED,
		.source_id = key->source_id,
		.external_id = key->external_id
	};

	key_problem_note(&problem);
}

static bool
bear(SourceKeys *keys, SourceKey *key, RowRecord *record)
{
	if (!mapped_find(keys, key))
		return add_record(keys, key, record);
	*record = bound_to(keys, key);
	if (key->duplicate && !record_lives(keys, key))
		return true;
	if (!key->duplicate)
		note_reused(key);
	(void) mapped_remove(keys, key);
	return add_record(keys, key, record);
}

RowRecord
row_keys_birth(const Binding *binding, const char *key)
{
	RowRecord	record = {0};
	SourceKey	found;
	SourceKeys *keys;

	if (!binding->own_keys)
		return named_by_key(key);
	source_keys_hold(binding->source);
	keys = mapped_open(&source_key_def, true);
	do
	{
		CHECK_FOR_INTERRUPTS();
		found = source_key_of(binding, key);
	} while (!bear(keys, &found, &record));
	mapped_close(keys);
	return record;
}

/* A key to be taken in a subtransaction. */
typedef struct Taking
{
	const Binding *binding;
	const char *key;
	RowRecord	record;
} Taking;

static void
take_soon(void *arg)
{
	Taking	   *taking = arg;

	taking->record = row_keys_take(taking->binding, taking->key);
}

/*
 * The record whose id the row has in its external_id_column, to which its key, that isn't
 * bound, is now: it was delivered by a transaction, perhaps, that a far server has committed,
 * and we have not.  Without an id: there is none, or that record has a row.
 */
static RowRecord
find_by_column(const Attached *attached, AttachedRow row, const char *key)
{
	const Binding *binding = attached->binding;
	const RowRecord none = {0};
	const char *external_id;
	bool		isnull;
	Datum		value;

	if (attached->external_id == NULL)
		return none;
	value = attached_value(attached->external_id, row, &isnull);
	external_id = isnull ? "" : TextDatumGetCString(value);
	if (external_id[0] == '\0' || strlen(external_id) > CHANGE_MAX_EXTERNAL_ID ||
		!own_keys_bind(binding->source, binding->entity, key, external_id))
		return none;
	/* of a record that was merged into another one it is that one's */
	return row_keys_find(binding, key);
}

const char *
row_keys_of_row(const Attached *attached, AttachedRow row, const char *key, bool *busy)
{
	const Binding *binding = attached->binding;
	Taking		taking = {binding, key, row_keys_find(binding, key)};
	RowRecord  *record = &taking.record;

	if (record->external_id == NULL)
		*record = find_by_column(attached, row, key);
	if (record->external_id == NULL && busy == NULL)
		*record = row_keys_take(binding, key);
	else if (record->external_id == NULL)
		*busy = !bounded_wait_try(setting_lock_timeout, take_soon, &taking);
	if (record->external_id == NULL || record->duplicate)
		return NULL;
	/* the row is there, whatever became of it before */
	if (record->ended)
		(void) own_keys_bind(binding->source, binding->entity, key, record->external_id);
	return record->external_id;
}

const char *
row_keys_of(const Binding *binding, const char *external_id)
{
	SourceKeys *keys;
	SourceKey	key;
	bool		found;

	if (!binding->own_keys)
		return external_id;
	source_keys_hold(binding->source);
	keys = mapped_open(&source_key_def, false);
	found = source_key_current(keys, binding->source, binding->entity, external_id, &key);
	mapped_close(keys);
	return found ? key.source_id : NULL;
}

/* ---------- keys that change, or are given ---------- */

void
row_keys_unbind(const Binding *binding, const char *key)
{
	const SourceKey unbound = source_key_of(binding, key);
	SourceKeys *keys = mapped_open(&source_key_def, true);

	(void) mapped_remove(keys, &unbound);
	mapped_close(keys);
}

/* A merge that brought the key to its record takes the new one back when it is undone. */
static void
move_merged(const SourceKey *from, const SourceKey *to)
{
	const char *entity = quote_literal_cstr(to->entity);
	const char *source = quote_literal_cstr(to->source);
	const char *key = quote_literal_cstr(to->source_id);

	(void) owner_execute("DELETE FROM syncext.merge_key k USING syncext.merge m "
						 "WHERE m.id = k.merge AND m.entity = %s AND k.source = %s AND k.source_id = %s",
						 entity, source, key);
	(void) owner_execute("UPDATE syncext.merge_key k SET source_id = %s FROM syncext.merge m "
						 "WHERE m.id = k.merge AND m.entity = %s AND k.source = %s AND k.source_id = %s",
						 key, entity, source, quote_literal_cstr(from->source_id));
}

void
row_keys_move(const Binding *binding, const char *external_id, const char *from, const char *to)
{
	SourceKeys *keys = mapped_open(&source_key_def, true);
	SourceKey	old = source_key_of(binding, from);
	SourceKey	moved = source_key_of(binding, to);
	SourceKey	taken = moved;

	moved.external_id = external_id;
	if (mapped_find(keys, &old) && strcmp(old.external_id, external_id) == 0)
	{
		moved.duplicate = old.duplicate;
		moved.merge = old.merge;
		(void) mapped_remove(keys, &old);
	}
	if (mapped_find(keys, &taken))
	{
		if (!taken.duplicate)
			note_reused(&taken);
		(void) mapped_remove(keys, &taken);
	}
	(void) source_key_add(keys, &moved);
	mapped_close(keys);
	if (moved.merge != 0)
		move_merged(&old, &moved);
}

void
row_keys_add(SourceKeys *keys, const Binding *binding, const char *key, const char *external_id,
			 bool later)
{
	SourceKey	added = source_key_of(binding, key);

	added.external_id = external_id;
	if (later)
		source_key_add_later(keys, &added);
	else
		source_key_add_free(keys, &added);
}

bool
row_keys_bind(SourceKeys *keys, const Binding *binding, const char *key, const char *external_id)
{
	SourceKey	found = source_key_of(binding, key);
	SourceKey	bound = found;

	bound.external_id = external_id;
	if (!mapped_find(keys, &found))
		return source_key_add(keys, &bound);
	/* a key that names nothing any more is free to be drawn again */
	if (!found.duplicate)
		return strcmp(found.external_id, external_id) == 0;
	(void) mapped_remove(keys, &found);
	return source_key_add(keys, &bound);
}
