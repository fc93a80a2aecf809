/*
 * keys_alone.c
 *	  Giving sources' own keys to other records, with nobody going by them meanwhile.
 *
 * Cursors are held before keys, as a target holds its own when it says its keys.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"

#include "compat.h"
#include "hub/keys_alone.h"
#include "process/for_now.h"
#include "process/owner.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/link.h"
#include "storage/source_key.h"

void
keys_alone_check_entity(const Entity *entity)
{
	link_refuse_entity(entity->name);
	foreach_ptr(const Link, link, link_list())
	{
		const Source *source = registry_source(registry_get(), link->source);

		if (link->relay && source != NULL && source_gets_entity(source, entity->name))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg(LINK_ENTITY_MESSAGE, entity->name, link->name),
					 errhint("Merge, unmerge and split records at that hub: this one hears of it.")));
	}
}

static void
hold_alone(void *arg)
{
	const List *sources = arg;

	foreach_ptr(char, source, sources)
		owner_execute("SELECT FROM syncext.cursor c WHERE c.target = %s ORDER BY c.slot FOR NO KEY UPDATE",
					  quote_literal_cstr(source));
	foreach_ptr(char, source, sources)
		source_keys_hold_alone(source);
}

int
keys_alone_begin(const List *sources)
{
	int			nest_level;

	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("keys are given to other records in transaction isolation level READ COMMITTED"),
				 errhint("What others commit meanwhile counts, too: begin with BEGIN ISOLATION LEVEL READ COMMITTED.")));
	nest_level = bounded_wait_begin(setting_maintain_lock_timeout);
	if (!subxact_try_lock(hold_alone, unconstify(List *, sources)))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 list_length(sources) == 1 ?
				 errmsg("keys of source \"%s\" are in use by a transaction that goes on",
						(const char *) linitial(sources)) :
				 errmsg("keys of the records' sources are in use by a transaction that goes on"),
				 errhint("Try again when it has ended.")));
	return nest_level;
}

void
keys_alone_end(int nest_level)
{
	bounded_wait_end(nest_level);
}
