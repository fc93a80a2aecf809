/*
 * linked_setup.c
 *	  Which relations may be attached to a linked source, and what changes for
 *	  them when it is linked.
 *
 * Called by sync_attach, and by sync_link and sync_unlink.
 */
#include "postgres.h"

#include "access/relation.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"

#include "hub/section.h"
#include "local/linked.h"
#include "storage/binding.h"
#include "storage/canonical.h"
#include "storage/cursor_set.h"
#include "storage/hints.h"
#include "storage/link.h"
#include "storage/registry.h"
#include "storage/replica.h"

PG_FUNCTION_INFO_V1(syncext_link_start);
PG_FUNCTION_INFO_V1(syncext_link_end);

/* ---------- one hub an entity ---------- */

static bool
has_records(const char *entity)
{
	Canonical  *canonical = canonical_open(false);
	RowsScan   *scan = canonical_scan_begin(canonical, entity, NULL);
	bool		any = rows_scan_next(scan);

	rows_scan_end(scan);
	canonical_close(canonical);
	return any;
}

/* Another source here that holds the entity; NULL if there is none. */
static const char *
other_source(const Binding *binding)
{
	ListCell   *lc;

	foreach(lc, binding_list(NULL, binding->entity))
	{
		const Binding *other = lfirst(lc);

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
			 errmsg("entity \"%s\" is decided here, and can't be decided by the hub behind link \"%s\", too",
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
linked_check_binding(const Binding *binding)
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
				 errmsg("a relation of source \"%s\" can't be polled, as it is linked", binding->source),
				 errhint("Use capture => 'trigger'.")));
	other = other_source(binding);
	if (other != NULL)
		raise_decided_here(binding, link,
						   psprintf("Source \"%s\" has a relation that holds it.", other));
	if (has_records(binding->entity))
		raise_decided_here(binding, link, "There are records of it.");
}

/* ---------- ended and made again ---------- */

/* What was agreed on of a relation's rows, for a link to come. */
static void
keep_agreed(const Binding *binding)
{
	section_run("INSERT INTO syncext.agreed AS a (source, entity, external_id, row_version, fields, held, contested) "
				"SELECT b.source, b.entity, r.external_id, greatest(r.row_version, r.answered), r.fields, r.held, r.contested "
				"FROM syncext.replica r JOIN syncext.binding b ON b.relation = r.relation "
				"WHERE r.relation = %u "
				"ON CONFLICT ON CONSTRAINT agreed_pkey DO UPDATE SET row_version = excluded.row_version, "
				"fields = excluded.fields, held = excluded.held, contested = excluded.contested",
				binding->relation);
}

/*
 * Have it back.  Nobody has watched the relation meanwhile: a row that differs is an
 * edit.
 */
static void
recall_agreed(const Binding *binding)
{
	uint64		n;
	Section		section;

	SPI_connect();
	section_enter(&section, 0);
	n = section_run("WITH kept AS (DELETE FROM syncext.agreed a USING syncext.binding b "
					"WHERE b.relation = %u AND a.source = b.source AND a.entity = b.entity RETURNING a.*) "
					"INSERT INTO syncext.replica (relation, external_id, row_version, fields, held, contested, gone_at) "
					"SELECT %u, external_id, row_version, fields, held, contested, "
					"CASE WHEN fields IS NULL THEN now() END FROM kept ON CONFLICT DO NOTHING",
					binding->relation, binding->relation);
	if (n > 0)
		section_run("UPDATE syncext.binding SET resumed = nextval('syncext.change_seq') WHERE relation = %u",
					binding->relation);
	section_leave(&section);
	SPI_finish();
}

/* ---------- detached and attached again ---------- */

/* Forget what was kept of relations; condition says of which. */
static void
forget_kept(const char *condition)
{
	ListCell   *lc;

	foreach(lc, section_texts(CurrentMemoryContext,
							  "DELETE FROM syncext.detached d WHERE %s RETURNING d.relation::oid::text",
							  condition))
		replica_remove_all(atooid(lfirst(lc)));
}

bool
linked_keep(const Binding *binding)
{
	Section		section;
	bool		kept;

	SPI_connect();
	section_enter(&section, 0);
	forget_kept("NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = d.relation AND c.reltype = d.row_type)");
	kept = section_run("INSERT INTO syncext.detached (relation, source, entity, key, columns, row_type, loaded, linked_at) "
					   "SELECT b.relation, b.source, b.entity, b.key, b.columns, b.row_type, b.loaded, l.added_at "
					   "FROM syncext.binding b JOIN syncext.link l ON l.source = b.source AND NOT l.relay "
					   "WHERE b.relation = %u AND b.row_type IS NOT NULL", binding->relation) > 0;
	section_leave(&section);
	SPI_finish();
	return kept;
}

/*
 * Nobody has watched the relation meanwhile, nor has the hub's word come to it.  With
 * what was agreed on a row that differs is an edit, and one that doesn't takes what
 * the hub says now.
 */
void
linked_resume(const Binding *binding)
{
	Section		section;

	SPI_connect();
	section_enter(&section, 0);
	if (section_run("UPDATE syncext.binding b SET resumed = nextval('syncext.change_seq'), loaded = coalesce(d.loaded, b.loaded) "
					"FROM syncext.detached d JOIN syncext.link l ON l.source = d.source AND l.added_at = d.linked_at "
					"WHERE b.relation = %u AND d.relation = b.relation AND d.source = b.source "
					"AND d.entity = b.entity AND d.row_type = b.row_type AND d.key = b.key "
					"AND d.columns IS NOT DISTINCT FROM b.columns", binding->relation) > 0)
		section_run("DELETE FROM syncext.detached WHERE relation = %u", binding->relation);
	else
		forget_kept(psprintf("d.relation = %u", binding->relation));
	section_leave(&section);
	SPI_finish();
	if (link_of_source(binding->source) != NULL)
		recall_agreed(binding);
}

/* ---------- linking ---------- */

/* What was agreed on with the hub of another link, or of another time, says nothing. */
void
linked_forget_detached(const char *source)
{
	Section		section;

	SPI_connect();
	section_enter(&section, 0);
	forget_kept(psprintf("d.source = %s", quote_literal_cstr(source)));
	section_leave(&section);
	SPI_finish();
}

/*
 * From now on what was agreed on is agreed on with another hub, and edits are
 * kept for it.  Whoever is writing to a relation at the moment is waited for.
 */
void
linked_start(const char *source)
{
	const Registry *registry = registry_get();
	ListCell   *lc;

	foreach(lc, binding_list(source, NULL))
	{
		const Binding *binding = lfirst(lc);

		LockRelationOid(binding->relation, ShareRowExclusiveLock);
		linked_check_binding(binding);
		replica_remove_all(binding->relation);
		binding_set_loaded(binding->relation, NULL);
		recall_agreed(binding);
	}
	linked_forget_detached(source);
	source_set_single_writer(source, true);
	cursor_start(registry, registry_source_required(registry, source));
}

void
linked_end(const char *source)
{
	ListCell   *lc;
	Section		section;

	SPI_connect();
	section_enter(&section, 0);
	section_run("INSERT INTO syncext.unlinked AS u (source, identity, relay, heard_at) "
				"SELECT l.source, p.identity, l.relay, p.heard_at "
				"FROM syncext.link l JOIN syncext.peer p ON p.link = l.name "
				"WHERE l.source = %s AND p.identity IS NOT NULL "
				"ON CONFLICT ON CONSTRAINT unlinked_pkey DO UPDATE SET identity = excluded.identity, "
				"relay = excluded.relay, heard_at = excluded.heard_at, unlinked_at = now()",
				quote_literal_cstr(source));
	foreach(lc, binding_list(source, NULL))
	{
		const Binding *binding = lfirst(lc);

		LockRelationOid(binding->relation, ShareRowExclusiveLock);
		keep_agreed(binding);
		replica_remove_all(binding->relation);
		binding_set_loaded(binding->relation, NULL);
	}
	section_leave(&section);
	SPI_finish();
	linked_forget_detached(source);
}

/* ---------- for SQL ---------- */

Datum
syncext_link_start(PG_FUNCTION_ARGS)
{
	linked_start(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}

Datum
syncext_link_end(PG_FUNCTION_ARGS)
{
	linked_end(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	PG_RETURN_VOID();
}
