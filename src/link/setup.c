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
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "compat.h"
#include "hub/section.h"
#include "link/connect.h"
#include "link/exchange_state.h"
#include "local/linked.h"
#include "model/ladder.h"
#include "storage/binding.h"
#include "storage/hints.h"
#include "storage/registry.h"

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

/* The link's worker runs as who makes the link. */
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
				 errmsg("role \"%s\" can't make a link: it may not %s", GetUserNameFromId(role, false),
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
				 errmsg("a relay's source can't have relations, as source \"%s\" has", source),
				 errhint("Link without relay, for the relations' entities to be decided by the hub there; or add a source of its own for the relay, with sync_add_source.")));
}

/* An entity is decided in one place: by this database, or by one hub. */
static void
check_entity(const char *source, const char *entity)
{
	const Link *other = link_of_entity(entity);
	ListCell   *lc;

	if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("entity \"%s\" is decided by the hub behind link \"%s\"", entity,
						other->name),
				 errhint("Detach the relation of one of the two sources.")));
	foreach(lc, binding_list(NULL, entity))
	{
		const Binding *binding = lfirst(lc);

		if (strcmp(binding->source, source) != 0)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("entity \"%s\" can't be decided by a hub behind a link", entity),
					 errdetail("Relation %s is attached to it as source \"%s\", which is decided here.",
							   get_rel_name(binding->relation), binding->source),
					 errhint("Detach that relation with sync_detach.")));
	}
	if (section_true("SELECT EXISTS (SELECT FROM syncext.canonical WHERE entity = %s)",
					 quote_literal_cstr(entity)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("this database has records of entity \"%s\" that it has decided itself",
						entity),
				 errhint_call("Link the source first, and attach the relation then; or let this hub be a spoke as a whole: sync_link(…, relay => true) with another source, that no relation is attached to. If they are edits of the relation's since it was linked before, which it holds itself: SELECT sync_forget(%s, external_id) FROM syncext.canonical WHERE entity = %s, link, and CALL sync_load for the relation.",
						 quote_literal_cstr(entity), quote_literal_cstr(entity))));
}

static void
check_entities(const char *source)
{
	Section		section;
	ListCell   *lc;

	SPI_connect();
	section_enter(&section, 0);
	foreach(lc, binding_list(source, NULL))
		check_entity(source, ((Binding *) lfirst(lc))->entity);
	section_leave(&section);
	SPI_finish();
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
	Section		section;
	Identity	known = {0};
	Identity	said;
	char	   *identity;
	char	   *heard_at;

	SPI_connect();
	section_enter(&section, 0);
	identity = section_text(CurrentMemoryContext,
							"SELECT identity FROM syncext.unlinked WHERE source = %s AND relay = %s",
							source, link->relay ? "true" : "false");
	if (identity != NULL)
		(void) identity_from_jsonb(DatumGetJsonbP(DirectFunctionCall1(jsonb_in,
																	  CStringGetDatum(identity))),
								   &known);
	(void) identity_from_jsonb(hub->identity, &said);
	if (known.known && !identity_is_refused(identity_judge(&known, &said, false, true)))
	{
		heard_at = section_text(CurrentMemoryContext,
								"SELECT (extract(epoch FROM coalesce(heard_at, unlinked_at) - '2000-01-01 00:00:00+00'::timestamptz) * 1000000)::bigint "
								"FROM syncext.unlinked WHERE source = %s", source);
		hub->heard_at = hub->resync_since = strtoi64(heard_at, NULL, 10);
	}
	else
		section_run("DELETE FROM syncext.agreed WHERE source = %s", source);
	section_run("DELETE FROM syncext.unlinked WHERE source = %s", source);
	section_leave(&section);
	SPI_finish();
}

static void
store_link(const Link *link, Peer *hub)
{
	Section		section;

	SPI_connect();
	section_enter(&section, 0);
	section_run("INSERT INTO syncext.link (name, server, source, owner, hub, relay) "
				"VALUES (%s, %s, %s, %s, %s, %s)",
				quote_literal_cstr(link->name), quote_literal_cstr(link->server),
				quote_literal_cstr(link->source), quote_literal_cstr(link->owner_name),
				quote_literal_cstr(mark_of(hub)),
				link->relay ? "true" : "false");
	section_run("INSERT INTO syncext.link_state (link) VALUES (%s)",
				quote_literal_cstr(link->name));
	section_leave(&section);
	SPI_finish();
	recall_hub(link, hub);
	peer_save(link->name, hub);
	CommandCounterIncrement();
	linked_start(link->source);
}

/*
 * The hub is told that the source is ours before anything is locked here: writers
 * of the tables mustn't wait for it.  A claim that comes to nothing here does no
 * harm there: it is made again with the next attempt.
 */
static void
ask_hub(const Link *link, Peer *known)
{
	Hub		   *hub = hub_prepare(link);

	MemSet(known, 0, sizeof(Peer));
	PG_TRY();
	{
		hub_open(hub, false);
		greeting_check(&hub->greeting, link->name, link->server, link->source);
		hub_check_entities(hub);
		hub_open(hub, true);
		greeting_check(&hub->greeting, link->name, link->server, link->source);
		known->identity = DatumGetJsonbPCopy(JsonbPGetDatum(hub->greeting.hub));
		known->answered = hub->greeting.answered;
		known->pulled = hub->greeting.pulled;
	}
	PG_FINALLY();
	{
		hub_close(hub);
	}
	PG_END_TRY();
}

static char *
required_text(FunctionCallInfo fcinfo, int argument, const char *name)
{
	if (PG_ARGISNULL(argument))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

/* The link as it is now, for one who may end it. */
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

/* The same, once an exchange under way has come to its end, or who else ends the link. */
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
	Section		section;
	bool		used;

	SPI_connect();
	section_enter(&section, 0);
	used = section_true("SELECT EXISTS (SELECT FROM syncext.link_state s WHERE s.link = %s AND s.pushed + s.pulled > 0) "
						"OR EXISTS (SELECT FROM syncext.agreed a WHERE a.source = %s) "
						"OR EXISTS (SELECT FROM syncext.change_log c WHERE c.source = %s AND c.resolution = '%s')",
						name, source, source, resolution_name(RESOLUTION_CAPTURED));
	section_leave(&section);
	SPI_finish();
	return used;
}

/*
 * A link that was made as the wrong kind can be made the other one as long as
 * nothing has gone over it: what the two kinds keep of a source is not the same.
 */
static void
change_kind(const char *name, bool relay)
{
	const Link *link = hold_link(name);
	Section		section;

	if (link->relay == relay)
		return;
	if (relay)
		check_no_tables(link->source);
	if (is_used(link))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("link \"%s\" can't become %s any more", name,
						relay ? "a relay" : "a link for tables"),
				 errdetail("It has exchanged changes, or keeps some for its hub, as %s.",
						   relay ? "a link for tables" : "a relay"),
				 errhint_call("Make another with a source of its own; or, to give up what was not exchanged, SELECT sync_unlink(%s) and link anew.",
						 quote_literal_cstr(name))));
	SPI_connect();
	section_enter(&section, 0);
	section_run("UPDATE syncext.link SET relay = %s WHERE name = %s", relay ? "true" : "false",
				quote_literal_cstr(name));
	section_leave(&section);
	SPI_finish();
}

/* ---------- the functions ---------- */

static void
read_arguments(FunctionCallInfo fcinfo, Link *link)
{
	link->name = required_text(fcinfo, 0, "name");
	if (PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("server must not be null"),
				 errhint("Say where the hub is with CREATE SERVER.")));
	link->server = pstrdup(NameStr(*PG_GETARG_NAME(1)));
	link->source = required_text(fcinfo, 2, "source");
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
		check_no_tables(link.source);
	check_entities(link.source);
	check_login(link.owner);
	ask_hub(&link, &hub);
	store_link(&link, &hub);
	PG_RETURN_VOID();
}

Datum
sync_unlink(PG_FUNCTION_ARGS)
{
	char	   *name = required_text(fcinfo, 0, "name");
	const Link *link = hold_link(name);
	Section		section;

	hub_kept_drop(name);
	linked_end(link->source);
	SPI_connect();
	section_enter(&section, 0);
	section_run("DELETE FROM syncext.link WHERE name = %s", quote_literal_cstr(name));
	section_leave(&section);
	SPI_finish();
	PG_RETURN_VOID();
}
