/*
 * spoke_setup.c
 *	  Which relations may be attached to a linked source, and what changes for
 *	  them when it is linked.
 */
#include "postgres.h"

#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "compat.h"
#include "hub/backfill.h"
#include "local/loaded.h"
#include "local/spoke_tables.h"
#include "process/owner.h"
#include "storage/binding.h"
#include "storage/canonical.h"
#include "storage/hints.h"
#include "storage/link.h"
#include "storage/registry.h"
#include "storage/replica.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(syncext_link_start);
PG_FUNCTION_INFO_V1(syncext_link_end);

/* ---------- one hub an entity ---------- */

/* Another source here that holds the entity; NULL if there is none. */
static const char *
other_source(const Binding *binding)
{
	foreach_ptr(const Binding, other, binding_list(NULL, binding->entity))
	{
		if (strcmp(other->source, binding->source) != 0)
			return other->source;
	}
	return NULL;
}

static void
raise_decided_here(const Binding *binding, const Link *link, const char *why)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("entity \"%s\" is decided here, and cannot be decided by the hub behind link \"%s\", too",
					binding->entity, link->name),
			 errdetail("%s", why),
			 errhint_call("An entity has one hub: attach the table as another entity, or to a source that is not linked. For this hub to pass on what it decides and what comes from there, let it be a spoke as a whole: SELECT sync_link(…, relay => true), with a source that no table is attached to.")));
}

/* It stands for all of the other hub: what comes from there is golden records here. */
static void
raise_relay(const Binding *binding, const Link *link)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no relation can be attached to source \"%s\": link \"%s\" is a relay", binding->source,
					link->name),
			 errhint_call("Attach it to another source of this hub, which gets what comes over the link. Or, if nothing has gone over it, make it a link for tables: SELECT sync_link(%s, %s, %s, relay => false).",
					 quote_literal_cstr(link->name), quote_literal_cstr(link->server),
					 quote_literal_cstr(link->source))));
}

/* An entity is decided here or behind one link, not both. */
void
spoke_check_binding(const Binding *binding)
{
	const Link *link = link_of_source(binding->source);
	const char *other;

	if (link == NULL)
	{
		link_refuse_entity(binding->entity);
		return;
	}
	if (link->relay)
		raise_relay(binding, link);
	if (binding->capture == CAPTURE_POLL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("a relation of source \"%s\" cannot be polled, as it is linked", binding->source),
				 errhint("Use capture => 'trigger'.")));
	other = other_source(binding);
	if (other != NULL)
		raise_decided_here(binding, link,
						   psprintf("Source \"%s\" has a relation that holds it.", other));
	if (canonical_any(binding->entity))
		raise_decided_here(binding, link, "There are records of it.");
}

/* ---------- detached and attached again ---------- */

/* Forget what was kept of relations; condition says of which. */
static void
forget_kept(const char *condition)
{
	foreach_ptr(char, relation, owner_texts("DELETE FROM syncext.detached d WHERE %s RETURNING d.relation::oid::text",
							condition))
		replica_remove_all(atooid(relation));
}

bool
spoke_keep(const Binding *binding)
{
	forget_kept("NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.relation AND c.reltype = d.row_type)");
	return owner_true("SELECT syncext.keep_detached(%u::regclass)", binding->relation);
}

/*
 * Nobody has watched the relation meanwhile, nor has the hub's word come to it.  With
 * what was agreed on a row that differs is an edit, and one that doesn't takes what
 * the hub says now.
 */
void
spoke_resume(const Binding *binding)
{
	if (owner_true("SELECT syncext.resume_detached(%u::regclass)", binding->relation))
		owner_execute("DELETE FROM syncext.detached WHERE relation = %u", binding->relation);
	else
		forget_kept(psprintf("d.relation = %u", binding->relation));
	if (link_of_source(binding->source) == NULL)
		return;
	owner_execute("SELECT syncext.recall_agreed(%u::regclass)", binding->relation);
	owner_execute("SELECT syncext.compare_attached(%s, %s)", quote_literal_cstr(binding->source),
				  quote_literal_cstr(binding->entity));
}

/* ---------- linking ---------- */

/* What was agreed on with the hub of another link, or of another time, says nothing. */
void
spoke_forget_detached(const char *source)
{
	forget_kept(psprintf("d.source = %s", quote_literal_cstr(source)));
}

/* What was edited here since the source was linked before is the hub's to decide now. */
static void
hand_over_edits(const Binding *binding)
{
	char	   *source = quote_literal_cstr(binding->source);
	char	   *entity = quote_literal_cstr(binding->entity);

	owner_execute("SELECT syncext.hand_over(%s, %s, %u::regclass) WHERE syncext.has_only_own(%s, %s)",
				  source, entity, binding->relation, source, entity);
}

/*
 * From now on what was agreed on is agreed on with another hub, and edits are kept for
 * it.  Waits for the transactions that are writing to a relation at the moment.
 */
void
spoke_start(const char *source)
{
	foreach_ptr(const Binding, binding, binding_list(source, NULL))
	{
		LockRelationOid(binding->relation, ShareRowExclusiveLock);
		hand_over_edits(binding);
		spoke_check_binding(binding);
		replica_remove_all(binding->relation);
		binding_set_loaded(binding->relation, NULL);
		owner_execute("SELECT syncext.recall_agreed(%u::regclass)", binding->relation);
		if (binding->own_keys)
			loaded_at_attach(binding->relation);
	}
	owner_execute("UPDATE syncext.source_key SET unsaid = true WHERE source = %s AND NOT unsaid",
				  quote_literal_cstr(source));
	spoke_forget_detached(source);
	source_set_single_writer(source, true);
	cursor_start(source);
}

/*
 * What was agreed on with the hub, and which edits it has not answered, are kept for
 * when the source is linked to it again.
 */
void
spoke_end(const char *source)
{
	owner_execute("SELECT syncext.note_unlinked(%s)", quote_literal_cstr(source));
	owner_execute("SELECT syncext.keep_agreed(d.relation) FROM syncext.detached d WHERE d.source = %s",
				  quote_literal_cstr(source));
	foreach_ptr(const Binding, binding, binding_list(source, NULL))
	{
		LockRelationOid(binding->relation, ShareRowExclusiveLock);
		owner_execute("SELECT syncext.keep_agreed(%u::regclass)", binding->relation);
		replica_remove_all(binding->relation);
		binding_set_loaded(binding->relation, NULL);
	}
	/* those of this transaction, too */
	owner_execute("SELECT syncext.captured_flush()");
	owner_execute("SELECT syncext.note_unsent(%s)", quote_literal_cstr(source));
	spoke_forget_detached(source);
}

/* ---------- for SQL ---------- */

Datum
syncext_link_start(PG_FUNCTION_ARGS)
{
	spoke_start(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

Datum
syncext_link_end(PG_FUNCTION_ARGS)
{
	spoke_end(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
