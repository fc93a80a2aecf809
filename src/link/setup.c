/*
 * setup.c
 *	  sync_link and sync_unlink: making and ending links.
 *
 * Called from SQL.  The hub is asked, and told that the source is ours, before
 * anything is locked or written here.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "commands/dbcommands.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "link/exchange_step.h"
#include "link/upstream_cache.h"
#include "local/spoke_tables.h"
#include "model/ladder.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/binding.h"
#include "storage/hints.h"
#include "storage/registry.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_link);
PG_FUNCTION_INFO_V1(sync_unlink);

/* ---------- what can't be linked ---------- */

static void
check_name(const char *name)
{
	if (name[0] == '\0' || strlen(name) > 63)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" cannot be the name of a link", name),
				 errhint("A name has 1 to 63 bytes.")));
}

static void
check_unused(const char *name)
{
	if (link_of_name(name) != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("link \"%s\" already exists", name),
				 errhint_call("End it first with SELECT sync_unlink(%s), or choose another name.",
						 quote_literal_cstr(name))));
}

static void
check_source(const char *source)
{
	const Link *other;

	source_role_check(registry_source_required(registry_get(), source));
	other = link_of_source(source);
	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("source \"%s\" is linked already, by link \"%s\"", source, other->name),
				 errhint_call("A source is one link's: add another with sync_add_source, or end that link with SELECT sync_unlink(%s).",
						 quote_literal_cstr(other->name))));
}

/* Raise if a worker could not run as the role, which makes the link. */
static void
check_login(Oid role)
{
	HeapTuple	tuple = SearchSysCache1(AUTHOID, ObjectIdGetDatum(role));
	bool		login;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "role %u does not exist", role);
	login = ((Form_pg_authid) GETSTRUCT(tuple))->rolcanlogin;
	ReleaseSysCache(tuple);
	if (!login || !database_connectable_compat(MyDatabaseId, role))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" cannot make a link: it may not %s", GetUserNameFromId(role, false),
						login ? "connect to this database" : "log in"),
				 errdetail("The link's worker would run as this role."),
				 login ?
				 errhint("GRANT CONNECT ON DATABASE %s TO %s, or make the link as another role.",
						 quote_identifier(get_database_name(MyDatabaseId)),
						 quote_identifier(GetUserNameFromId(role, false))) :
				 errhint("ALTER ROLE %s LOGIN, which needs no password, or make the link as another role.",
						 quote_identifier(GetUserNameFromId(role, false)))));
}

/* Through a relay this hub is a spoke as a whole, not by tables. */
static void
check_no_tables(const char *source)
{
	List	   *bindings = binding_list(source, NULL);

	if (bindings != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a relay's source cannot have relations, as source \"%s\" has", source),
				 errhint("Link without relay, for the relations' entities to be decided by the hub there; or add a source of its own for the relay, with sync_add_source.")));
}

/* What a relay sends of a counter is what it holds, not what was added to it. */
static void
check_no_counters(void)
{
	const Registry *registry = registry_get();

	for (int i = 0; i < registry->nentities; i++)
		if (registry->entities[i].field_rules.nsums > 0)
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("entity \"%s\" has fields with rule sum, which cannot go over a link",
							registry->entities[i].name),
					 errhint("Give the fields another rule: DELETE FROM syncext.field_rule WHERE rule = 'sum'.")));
}

static void
check_relay(const char *source)
{
	check_no_tables(source);
	check_no_counters();
}

/* An entity is decided in one place: by this database, or by one hub. */
static void
check_entity(const char *source, const char *entity)
{
	const Link *other = link_of_entity(entity);

	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("entity \"%s\" is decided by the hub behind link \"%s\"", entity,
						other->name),
				 errhint("Detach the relation of one of the two sources.")));
	foreach_ptr(const Binding, binding, binding_list(NULL, entity))
	{
		if (strcmp(binding->source, source) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("entity \"%s\" cannot be decided by a hub behind a link", entity),
					 errdetail("Relation %s is attached to it as source \"%s\", which is decided here.",
							   get_rel_name(binding->relation), binding->source),
					 errhint("Detach that relation with sync_detach.")));
	}
	if (owner_true("SELECT EXISTS (SELECT FROM syncext.canonical WHERE entity = %s) "
				   "AND NOT syncext.has_only_own(%s, %s)", quote_literal_cstr(entity),
				   quote_literal_cstr(source), quote_literal_cstr(entity)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has records of entity \"%s\" that it has decided itself",
						entity),
				 errhint_call("Link the source first, and attach the relation then; or let this hub be a spoke as a whole: sync_link(…, relay => true) with another source, that no relation is attached to. If they were edited since it was linked before, and the relation holds them: SELECT sync_forget(%s, external_id) FROM syncext.canonical WHERE entity = %s, link, and CALL sync_load for the relation.",
						 quote_literal_cstr(entity), quote_literal_cstr(entity))));
}

static void
check_entities(const char *source)
{
	foreach_ptr(const Binding, binding, binding_list(source, NULL))
		check_entity(source, binding->entity);
}

/* ---------- making ---------- */

static const char *
mark_of(const Peer *hub)
{
	Identity	identity;

	(void) identity_from_jsonb(hub->identity, &identity);
	return identity.mark;
}

/*
 * The source was linked before.  If it was to this hub, then what was agreed on is
 * known, but what the hub has of it now is not: it is compared by the first exchange.
 * With another hub nothing was agreed on.
 */
static void
recall_hub(const Link *link, Peer *hub)
{
	char	   *source = quote_literal_cstr(link->source);
	Identity	known = {0};
	Identity	said;
	char	   *identity;
	bool		let_go;

	identity = owner_text("SELECT identity FROM syncext.unlinked WHERE source = %s AND relay = %s",
						  source, link->relay ? "true" : "false");
	if (identity != NULL)
		(void) identity_from_jsonb(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																	  CStringGetDatum(identity))),
								   &known);
	(void) identity_from_jsonb(hub->identity, &said);
	let_go = owner_true("SELECT EXISTS (SELECT FROM syncext.unlinked WHERE source = %s AND relay = %s AND identity IS NULL)",
						source, link->relay ? "true" : "false");
	if (let_go || (known.known && !identity_is_refused(identity_judge(&known, &said, false, true))))
	{
		hub->heard_at = hub->resync_since =
			owner_time("SELECT coalesce(heard_at, unlinked_at) FROM syncext.unlinked WHERE source = %s", source);
		hub->met_epoch = owner_number("SELECT epoch FROM syncext.unlinked WHERE source = %s", source);
	}
	else
	{
		owner_execute("DELETE FROM syncext.uncompared WHERE source = %s", source);
		owner_execute("DELETE FROM syncext.agreed WHERE source = %s", source);
		owner_execute("UPDATE syncext.unsent SET elsewhere = true WHERE source = %s", source);
	}
}

static void
store_link(const Link *link, Peer *hub)
{
	owner_execute("INSERT INTO syncext.link (name, server, source, owner, hub, relay) "
				  "VALUES (%s, %s, %s, %s, %s, %s)",
				  quote_literal_cstr(link->name), quote_literal_cstr(link->server),
				  quote_literal_cstr(link->source), quote_literal_cstr(link->owner_name),
				  quote_literal_cstr(mark_of(hub)),
				  link->relay ? "true" : "false");
	owner_execute("INSERT INTO syncext.link_state (link) VALUES (%s)",
				  quote_literal_cstr(link->name));
	recall_hub(link, hub);
	peer_save(link->name, hub);
	CommandCounterIncrement();
	spoke_start(link->source);
	owner_execute("DELETE FROM syncext.unlinked WHERE source = %s", quote_literal_cstr(link->source));
}

/*
 * Claim the source at the hub before anything is locked here: writers of the tables
 * mustn't wait for the hub.  If making the link fails afterwards, the claim does no harm
 * there: the next attempt makes it again.
 */
static void
ask_hub(const Link *link, Peer *known)
{
	Upstream   *upstream = upstream_prepare(link);

	MemSet(known, 0, sizeof(Peer));
	PG_TRY();
	{
		upstream_open(upstream, false);
		greeting_check(&upstream->greeting, link->name, link->server, link->source);
		upstream_check_entities(upstream);
		upstream_open(upstream, true);
		greeting_check(&upstream->greeting, link->name, link->server, link->source);
		known->identity = DatumGetJsonbPCopy(JsonbPGetDatum(upstream->greeting.hub));
		known->answered = upstream->greeting.answered;
		known->pulled = upstream->greeting.pulled;
	}
	PG_FINALLY();
	{
		upstream_close(upstream);
	}
	PG_END_TRY();
}

/* The link as it is now.  Raises unless the current role may end it. */
static const Link *
owned_link(const char *name)
{
	const Link *link = link_of_name(name);

	if (link == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("link \"%s\" does not exist", name)));
	if (!has_privs_of_role(GetUserId(), link->owner) && !role_is_administrator())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of link \"%s\"", link->name)));
	return link;
}

/* Like owned_link(), but first waits for an exchange under way, or a session that ends the link. */
static const Link *
hold_link(const char *name)
{
	(void) owned_link(name);
	exchange_hold(name);
	return owned_link(name);
}

/* ---------- another kind ---------- */

/* Has anything gone over the link, or is anything kept here for it? */
static bool
is_used(const Link *link)
{
	char	   *name = quote_literal_cstr(link->name);
	char	   *source = quote_literal_cstr(link->source);

	return owner_true("SELECT EXISTS (SELECT FROM syncext.link_state s WHERE s.link = %s AND s.pushed + s.pulled > 0) "
					  "OR EXISTS (SELECT FROM syncext.agreed a WHERE a.source = %s) "
					  "OR EXISTS (SELECT FROM syncext.change_log c WHERE c.source = %s AND c.resolution = '%s')",
					  name, source, source, resolution_name(RESOLUTION_CAPTURED));
}

/*
 * A link that was made as the wrong kind can be made the other one as long as
 * nothing has gone over it: what the two kinds keep of a source is not the same.
 */
static void
change_kind(const char *name, bool relay)
{
	const Link *link = hold_link(name);

	if (link->relay == relay)
		return;
	if (relay)
		check_relay(link->source);
	if (is_used(link))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("link \"%s\" cannot become %s any more", name,
						relay ? "a relay" : "a link for tables"),
				 errdetail("It has exchanged changes, or keeps some for its hub, as %s.",
						   relay ? "a link for tables" : "a relay"),
				 errhint_call("Make another with a source of its own; or, to give up what was not exchanged, SELECT sync_unlink(%s) and link anew.",
						 quote_literal_cstr(name))));
	owner_execute("UPDATE syncext.link SET relay = %s WHERE name = %s", relay ? "true" : "false",
				  quote_literal_cstr(name));
}

/* ---------- the functions ---------- */

static void
read_arguments(FunctionCallInfo fcinfo, Link *link)
{
	link->name = arg_text(fcinfo, 0, "name");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("server must not be null"),
				 errhint("Say where the hub is with CREATE SERVER.")));
	link->server = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	link->source = arg_text(fcinfo, 2, "source");
	if (PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relay must not be null"),
				 errhint("It is false for a link of tables, true to let this hub be a spoke as a whole.")));
	link->relay = PG_GETARG_BOOL(3);
}

Datum
sync_link(PG_FUNCTION_ARGS)
{
	Link		link = {
		.enabled = true,
		.owner = GetUserId(),
		.owner_name = GetUserNameFromId(GetUserId(), false)
	};
	const Link *old;
	Peer		hub;

	read_arguments(fcinfo, &link);
	check_name(link.name);
	old = link_of_name(link.name);
	if (old != NULL && strcmp(old->server, link.server) == 0 &&
		strcmp(old->source, link.source) == 0 && old->relay != link.relay)
	{
		change_kind(link.name, link.relay);
		PG_RETURN_VOID();
	}
	check_unused(link.name);
	check_source(link.source);
	if (link.relay)
		check_relay(link.source);
	check_entities(link.source);
	check_login(link.owner);
	ask_hub(&link, &hub);
	store_link(&link, &hub);
	PG_RETURN_VOID();
}

Datum
sync_unlink(PG_FUNCTION_ARGS)
{
	char	   *name = arg_text(fcinfo, 0, "name");
	const Link *link = hold_link(name);

	upstream_cached_drop(name);
	spoke_end(link->source);
	owner_execute("DELETE FROM syncext.link WHERE name = %s", quote_literal_cstr(name));
	PG_RETURN_VOID();
}
