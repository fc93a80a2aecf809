/*
 * spoke_merges.c
 *	  Rows behind a link of records that were merged at the hub.
 *
 * The crosswalk is here, and the merge was there: the hub says with the record which others
 * have become a part of it.  A row of one of these is given to it before the record is placed,
 * in a transaction that touches no row of a table, for it keeps out all that goes by the
 * source's keys.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "local/spoke_merges.h"
#include "process/for_now.h"
#include "process/owner.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/binding.h"
#include "storage/replica.h"
#include "storage/source_key.h"

typedef struct Taking
{
	const char *source;
	SourceKeys *keys;
	InFlight	flight;
} Taking;

static void
hold_alone(void *arg)
{
	source_keys_hold_alone(arg);
}

/* The table that would get a row of the record, and may have one of its parts; or NULL. */
static const Binding *
table_of(const char *source, const PulledRecord *record)
{
	const Binding *binding = record->merged_from == NIL || record->deleted ? NULL :
		binding_of_entity(source, record->entity);

	return binding != NULL && binding->own_keys && binding->out && binding_stands(binding) &&
		!binding_awaits_load(binding) ? binding : NULL;
}

/* The key of a row that is one of the record's parts; false: it has a row itself, or none of them has. */
static bool
find_row(const Taking *taking, const PulledRecord *record, SourceKey *key)
{
	if (source_key_current(taking->keys, taking->source, record->entity, record->external_id, key))
		return false;
	foreach_ptr(const char, part, record->merged_from)
		if (source_key_current(taking->keys, taking->source, record->entity, part, key))
			return true;
	return false;
}

/*
 * What was agreed on of the row is so still.  What it has added to counters was to the other
 * record: of this one it starts anew.
 */
static void
give_row(const Taking *taking, const Binding *binding, SourceKey *key, const char *external_id)
{
	owner_execute("UPDATE syncext.replica p SET external_id = %s, row_version = 0, answers = NULL, held = NULL, adjusted = NULL, "
				  "counted = NULL, shifts = NULL, cascaded = NULL WHERE p.relation = %u AND p.external_id = %s",
				  quote_literal_cstr(external_id), binding->relation,
				  quote_literal_cstr(key->external_id));
	key->external_id = external_id;
	key->duplicate = false;
	(void) source_key_give(taking->keys, key);
}

/* False: not yet. */
static bool
take_row(const Taking *taking, const Binding *binding, const PulledRecord *record)
{
	Replica    *replica = mapped_open(&replica_def, false);
	ReplicaRow	had = {0};
	ReplicaRow	part = {0};
	SourceKey	key;
	bool		found = find_row(taking, record, &key);

	if (found)
	{
		replica_find(replica, binding->relation, record->external_id, &had);
		replica_find(replica, binding->relation, key.external_id, &part);
	}
	mapped_close(replica);
	/* one that the table had, and has deleted, comes back under another key */
	if (!found || had.exists)
		return true;
	/* it is under the old name */
	if (spoke_tables_outstanding(&taking->flight, binding, key.external_id, part.settled))
		return false;
	give_row(taking, binding, &key, record->external_id);
	return true;
}

void
spoke_merges_take_rows(const char *source, PulledRecord *records, int n)
{
	Taking		taking = {.source = source, .keys = mapped_open(&source_key_def, true)};
	int			nest_level = bounded_wait_begin(setting_lock_timeout);
	bool		tried = false;
	bool		alone = false;
	SourceKey	key;

	for (int i = 0; i < n; i++)
	{
		const Binding *binding = table_of(source, &records[i]);

		if (binding == NULL || !find_row(&taking, &records[i], &key))
			continue;
		if (!tried)
		{
			tried = true;
			alone = subxact_try_lock(hold_alone, unconstify(char *, source));
			taking.flight = outbox_in_flight(source);
		}
		records[i].awaits_row = !alone || !take_row(&taking, binding, &records[i]);
	}
	bounded_wait_end(nest_level);
	mapped_close(taking.keys);
}
