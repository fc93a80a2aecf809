/*
 * connect.c
 *	  The hub behind a link: how to reach it, who we are there, and what it has
 *	  said of itself.
 *
 * Called by link/setup and link/exchange.  Where the hub is stands in a foreign
 * server of whatever wrapper, and who we are in the user mapping that the link's
 * owner has there.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_foreign_server.h"
#include "catalog/pg_user_mapping.h"
#include "commands/defrem.h"
#include "executor/spi.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

#include "compat.h"
#include "hub/incarnation.h"
#include "hub/section.h"
#include "link/connect.h"
#include "link/notifier.h"
#include "link/pooler.h"
#include "link/wire.h"
#include "model/fields.h"
#include "settings.h"
#include "model/json_read.h"
#include "storage/binding.h"
#include "storage/registry.h"

/* ---------- options ---------- */

/*
 * What a server or user mapping may tell libpq.  A list, not all that libpq
 * knows: an option that a later libpq brings could let whoever makes a user
 * mapping read or write files, or run programs, as the server's system user.
 */
static const char *const allowed_options[] = {
	"channel_binding", "connect_timeout", "dbname", "gssdelegation", "gssencmode", "gsslib",
	"host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
	"keepalives_interval", "krbsrvname", "load_balance_hosts", "options", "password", "port",
	"require_auth", "requirepeer", "ssl_max_protocol_version", "ssl_min_protocol_version",
	"sslcertmode", "sslcompression", "sslmode", "sslnegotiation", "sslpassword", "sslsni",
	"target_session_attrs", "tcp_user_timeout", "user"
};

/*
 * Those that name files, which are read as the server's system user, and of which
 * error messages tell whether they are there and what is in them: of whoever could
 * read them anyway.
 */
static const char *const superuser_options[] = {
	"passfile", "service", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert"
};

static bool
is_one_of(const char *name, const char *const *names, int n)
{
	for (int i = 0; i < n; i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* Set an option; a later one of the same name takes its place. */
static void
set_option(Hub *hub, const char *keyword, const char *value)
{
	int			at = 0;

	while (at < hub->noptions && strcmp(hub->keywords[at], keyword) != 0)
		at++;
	if (at == hub->noptions)
	{
		/* one more than there is, for the NULL at the end */
		hub->noptions++;
		hub->keywords = repalloc(hub->keywords, sizeof(char *) * (hub->noptions + 1));
		hub->values = repalloc(hub->values, sizeof(char *) * (hub->noptions + 1));
		hub->keywords[at] = pstrdup(keyword);
		hub->keywords[hub->noptions] = NULL;
		hub->values[hub->noptions] = NULL;
	}
	hub->values[at] = pstrdup(value);
}

static void
raise_file_option(const Hub *hub, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("link \"%s\" can't use option \"%s\"", hub->link, name),
			 errdetail("It names a file of the database server's, and neither the link nor the foreign server is a superuser's."),
			 errhint("Have a superuser own the foreign server that has the option, or make the link.")));
}

/*
 * Take over what libpq is to know; a wrapper's own options are its own affair.
 * With files those that name some may be among them.
 */
static void
add_options(Hub *hub, List *options, bool files)
{
	ListCell   *lc;

	foreach(lc, options)
	{
		DefElem    *option = lfirst(lc);
		bool		is_file = is_one_of(option->defname, superuser_options,
										lengthof(superuser_options));

		if (is_file && !files)
			raise_file_option(hub, option->defname);
		if (is_file || is_one_of(option->defname, allowed_options, lengthof(allowed_options)))
			set_option(hub, option->defname, defGetString(option));
	}
}

static const char *
find_option(const Hub *hub, const char *keyword)
{
	for (int i = 0; i < hub->noptions; i++)
		if (strcmp(hub->keywords[i], keyword) == 0)
			return hub->values[i];
	return NULL;
}

/* ---------- server and user mapping ---------- */

static ForeignServer *
find_server(const Link *link)
{
	ForeignServer *server = GetForeignServerByName(link->server, true);

	if (!OidIsValid(link->owner))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" of link \"%s\" does not exist", link->owner_name, link->name),
				 errhint("CREATE ROLE %s, or UPDATE syncext.link SET owner = … WHERE name = %s.",
						 quote_identifier(link->owner_name), quote_literal_cstr(link->name))));
	if (server == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("server \"%s\" does not exist", link->server),
				 errhint("Say where the hub is: CREATE SERVER %s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '…', port '…', dbname '…').",
						 quote_identifier(link->server))));
	if (!server_usable_compat(server->serverid, link->owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for server \"%s\"", link->server),
				 errhint("Whoever makes a link needs it: GRANT USAGE ON FOREIGN SERVER %s TO %s.",
						 quote_identifier(link->server),
						 quote_identifier(GetUserNameFromId(link->owner, false)))));
	return server;
}

static UserMapping *
find_mapping(const Link *link, const ForeignServer *server)
{
	Datum		serverid = ObjectIdGetDatum(server->serverid);

	if (!SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(link->owner), serverid) &&
		!SearchSysCacheExists2(USERMAPPINGUSERSERVER, ObjectIdGetDatum(InvalidOid), serverid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" has no user mapping for server \"%s\"",
						GetUserNameFromId(link->owner, false), link->server),
				 errhint("Say who we are at the hub: CREATE USER MAPPING FOR %s SERVER %s OPTIONS (user '…', password '…').",
						 quote_identifier(GetUserNameFromId(link->owner, false)),
						 quote_identifier(link->server))));
	return GetUserMapping(link->owner, server->serverid);
}

/*
 * Whoever isn't superuser proves with a password who they are: the server's
 * own standing, as its system user for one, isn't theirs.
 */
static void
raise_no_password(const Hub *hub, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("link \"%s\" needs a password", hub->link),
			 errdetail("%s", detail),
			 errhint("Set one in the user mapping, and have the hub ask for it; or have a superuser make the link.")));
}

static void
read_options(Hub *hub, const Link *link)
{
	ForeignServer *server;
	UserMapping *mapping;
	const char *password;

	server = find_server(link);
	mapping = find_mapping(link, server);
	hub->needs_password = !superuser_arg(link->owner);
	hub->keywords = palloc0(sizeof(char *));
	hub->values = palloc0(sizeof(char *));
	/* a wrapper is always a superuser's */
	add_options(hub, GetForeignDataWrapper(server->fdwid)->options, true);
	add_options(hub, server->options, !hub->needs_password || superuser_arg(server->owner));
	add_options(hub, mapping->options, !hub->needs_password);
	password = find_option(hub, "password");
	if (hub->needs_password && (password == NULL || password[0] == '\0'))
		raise_no_password(hub, "Its owner is no superuser, and the user mapping has no password.");
	/* these are ours to say */
	set_option(hub, "application_name", psprintf("syncext %s", hub->link));
	set_option(hub, "client_encoding", wire_encoding_name());
}

void
hub_greet(Hub *hub)
{
	MemoryContext old = MemoryContextSwitchTo(hub->context);

	(void) incarnation_check();
	greeting_prepare(&hub->greeting, hub->link, hub->source);
	MemoryContextSwitchTo(old);
}

Hub *
hub_prepare(const Link *link)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "syncext hub",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Hub		   *hub = palloc0(sizeof(Hub));

	hub->context = context;
	wire_prepare();
	hub->link = pstrdup(link->name);
	hub->source = pstrdup(link->source);
	hub->server = pstrdup(link->server);
	hub->owner = link->owner;
	hub->wire_source = wire_out_required(hub->source);
	read_options(hub, link);
	hub_greet(hub);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, CacheMemoryContext);
	return hub;
}

/* ---------- what the hub says ---------- */

/*
 * The session there is as we need it, whatever its role or database have set.
 * Its statements end soon after we have given up waiting, or have gone.
 */
static void
send_settings(Hub *hub)
{
	const char *timeout = psprintf("%ds", setting_link_timeout + 5);

	remote_send(&hub->remote,
				"SELECT pg_catalog.set_config(s.name, s.value, false) FROM (VALUES "
				"('search_path', 'pg_catalog, pg_temp'), ('timezone', 'UTC'), ('datestyle', 'ISO'), "
				"('intervalstyle', 'postgres'), ('extra_float_digits', '1'), "
				"('bytea_output', 'hex'), ('standard_conforming_strings', 'on'), "
				"('default_transaction_isolation', 'read committed'), "
				"('default_transaction_read_only', 'off'), ('lock_timeout', '0'), "
				"('idle_session_timeout', '0'), ('syncext.lease', '1h'), "
				"('statement_timeout', $1)) AS s(name, value)", 1, &timeout);
	remote_sync(&hub->remote);
	/* not every system can do this */
	remote_send(&hub->remote,
				"SELECT pg_catalog.set_config('client_connection_check_interval', '1s', false)",
				0, NULL);
	remote_sync(&hub->remote);
}

static void
raise_no_hub(const Hub *hub)
{
	const char *database = find_option(hub, "dbname");

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("database \"%s\" behind link \"%s\" has no syncext",
					database != NULL ? database : "", hub->link),
			 errhint("Run CREATE EXTENSION syncext there, or name the hub's database in the link's server.")));
}

static void
raise_other_version(const Hub *hub, const char *version, const char *how)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the hub of link \"%s\" has version %s of syncext, which %s", hub->link,
					version, how),
			 errdetail("This side speaks link protocol %d.", LINK_PROTOCOL),
			 errhint("Install the newer version on both sides, and run ALTER EXTENSION syncext UPDATE.")));
}

/* What is said of itself by a hub is no more than this. */
#define HELLO_BYTES	(1024 * 1024)

/* Is there a hub in that database, of a version that can be talked to? */
static void
find_extension(Hub *hub, TimestampTz deadline)
{
	static const ReplyShape settings = {"set_config", 1, 0, 100, 10000};
	static const ReplyShape interval = {"set_config", 1, 1, 1, 1000};
	static const ReplyShape extension = {"the question for its version", 3, 0, 1, 1000};
	Reply	   *reply;
	const char *version;

	remote_send(&hub->remote,
				"SELECT e.extversion, pg_catalog.quote_ident(n.nspname), "
				"pg_catalog.to_regprocedure('syncext.hub_hello(text,jsonb)') IS NOT NULL "
				"FROM pg_catalog.pg_extension e "
				"JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace "
				"WHERE e.extname = 'syncext'", 0, NULL);
	remote_sync(&hub->remote);
	/* the settings' answers come first; the second of them may be an error */
	reply = remote_reply(&hub->remote, &settings, deadline);
	reply_check(reply);
	reply_free(reply);
	reply_free(remote_reply(&hub->remote, &interval, deadline));
	reply = remote_reply(&hub->remote, &extension, deadline);
	reply_check(reply);
	if (reply->nrows == 0)
		raise_no_hub(hub);
	version = wire_message(reply_text(reply, 0, 0));
	hub->schema = MemoryContextStrdup(hub->context, reply_text(reply, 0, 1));
	if (!reply_bool(reply, 0, 2))
		raise_other_version(hub, version, "knows no links");
	reply_free(reply);
}

static const char *const hello_call = "syncext.hub_hello";

static char *
said_string(const Fields *said, const char *key)
{
	const Field *field = fields_find(said, field_name(key));
	char	   *string = field == NULL ? NULL : json_read_string(&field->value);

	return string != NULL ? string : pstrdup("");
}

static int
said_number(const Fields *said, const char *key)
{
	const Field *field = fields_find(said, field_name(key));
	int64		number;

	return field != NULL && json_read_number(&field->value, 0, INT_MAX, &number) ? (int) number : -1;
}

static List *
said_strings(const Hub *hub, const Fields *said, const char *key)
{
	const Field *field = fields_find(said, field_name(key));
	List	   *strings = NIL;

	if (field == NULL || field->value.type != jbvBinary ||
		!JsonContainerIsArray(field->value.val.binary.data))
		reply_violation(hub->link, hello_call, "has no array \"%s\"", key);
	for (uint32 i = 0; i < JsonContainerSize(field->value.val.binary.data); i++)
	{
		char	   *string = json_read_string(getIthJsonbValueFromContainer(field->value.val.binary.data, i));

		if (string == NULL)
			reply_violation(hub->link, hello_call, "has something else than strings in \"%s\"", key);
		strings = lappend(strings, string);
	}
	return strings;
}

static bool
is_uuid(const char *mark)
{
	return strlen(mark) == 36 && strspn(mark, "0123456789abcdef-") == 36;
}

/* Take what the hub says of itself, and raise if it isn't what we need. */
static void
hear_hello(Hub *hub, const Jsonb *jsonb)
{
	Fields		said;
	int			protocol;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		reply_violation(hub->link, hello_call, "is no object");
	fields_from_container(unconstify(JsonbContainer *, &jsonb->root), &said);
	protocol = said_number(&said, "protocol");
	if (protocol < 0)
		reply_violation(hub->link, hello_call, "has no number \"protocol\"");
	if (protocol != LINK_PROTOCOL)
		raise_other_version(hub, wire_message(said_string(&said, "version")),
							psprintf("speaks link protocol %d", protocol));
	hub->hub = said_string(&said, "hub");
	if (!is_uuid(hub->hub))
		reply_violation(hub->link, hello_call, "has no mark of the hub");
	hub->entities = said_strings(hub, &said, "entities");
	greeting_hear(&hub->greeting, hub->link, jsonb);
}

static void
say_hello(Hub *hub, bool claim, TimestampTz deadline)
{
	const ReplyShape hello = {hello_call, 1, 1, 1, HELLO_BYTES};
	const char *params[2] = {hub->wire_source};
	Reply	   *reply;
	Jsonb	   *jsonb;
	MemoryContext old;

	params[1] = greeting_say(&hub->greeting, claim, LINK_PROTOCOL, hub->tables);
	reply = remote_call(&hub->remote,
						"SELECT syncext.hub_hello($1::pg_catalog.text, $2::pg_catalog.jsonb)", 2, params,
						&hello, deadline);
	jsonb = reply_jsonb(reply, 0, 0);
	old = MemoryContextSwitchTo(hub->context);
	hear_hello(hub, jsonb);
	MemoryContextSwitchTo(old);
	if (claim)
		hub->told_tables = hub->tables;
	reply_free(reply);
}

/* What is called again and again is planned once. */
static void
prepare_calls(Hub *hub, TimestampTz deadline)
{
	static const ReplyShape prepared = {.call = "PREPARE"};
	const ReplyShape *shapes[3] = {&prepared, &prepared, &prepared};
	Reply	   *replies[3];

	/* the types are said: others at the hub may have functions of the same name there */
	remote_prepare(&hub->remote, HUB_PUSH,
				   psprintf("SELECT %s.sync_push($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.jsonb)",
							hub->schema));
	remote_prepare(&hub->remote, HUB_PULL,
				   "SELECT batch, entity, external_id, version, row_version, deleted, fields, correction, "
				   "CASE WHEN withheld IS NOT NULL THEN jsonb_object(withheld, withheld) END, "
				   /* microseconds, exactly */
				   "CAST(extract(epoch FROM updated_at) OPERATOR(pg_catalog.*) 1000000 AS bigint) "
				   "FROM syncext.hub_pull($1::pg_catalog.text, $2::pg_catalog.int4, $3::pg_catalog.int4)");
	remote_prepare(&hub->remote, HUB_ACK,
				   "SELECT syncext.hub_ack($1::pg_catalog.text, $2::pg_catalog.int8, $3::pg_catalog.jsonb)");
	remote_sync(&hub->remote);
	remote_replies(&hub->remote, lengthof(replies), shapes, replies, deadline);
	for (int i = 0; i < (int) lengthof(replies); i++)
	{
		reply_check(replies[i]);
		reply_free(replies[i]);
	}
}

bool
hub_listen(Hub *hub)
{
	static const ReplyShape listen = {.call = "LISTEN"};
	static const ReplyShape told = {"syncext.hub_listen", 1, 1, 1, 100};
	const char *source = hub->wire_source;

	reply_free(remote_call(&hub->remote, "LISTEN " FEED_CHANNEL, 0, NULL, &listen, hub_deadline()));
	reply_free(remote_call(&hub->remote, "SELECT syncext.hub_listen($1::pg_catalog.text)", 1, &source, &told,
						   hub_deadline()));
	hub->remote.listens = true;
	return true;
}

int64
hub_behind(Hub *hub)
{
	static const ReplyShape behind = {"syncext.hub_behind", 1, 1, 1, 100};
	const char *source = hub->wire_source;
	Reply	   *reply = remote_call(&hub->remote, "SELECT syncext.hub_behind($1::pg_catalog.text)", 1,
									&source, &behind, hub_deadline());

	hub->behind = reply_int64(reply, 0, 0, 0, PG_INT64_MAX);
	reply_free(reply);
	return hub->behind;
}

/* ---------- opening and closing ---------- */

TimestampTz
hub_deadline(void)
{
	return remote_deadline(setting_link_timeout * 1000);
}

/* All of it takes no longer than the time that a link waits for an answer. */
void
hub_open(Hub *hub, bool claim)
{
	const TimestampTz deadline = hub_deadline();
	const bool	connected = hub->remote.conn != NULL;

	PG_TRY();
	{
		if (!connected)
		{
			remote_open(&hub->remote, hub->link, hub->keywords, hub->values, deadline);
			if (hub->needs_password && !remote_used_password(&hub->remote))
				raise_no_password(hub, "Its owner is no superuser, and the hub didn't ask for the password.");
			hub->behind = -1;
			pooler_check(&hub->remote, hub->keywords, hub->values, deadline);
			send_settings(hub);
			find_extension(hub, deadline);
		}
		say_hello(hub, claim, deadline);
		if (!connected)
			prepare_calls(hub, deadline);
	}
	PG_CATCH();
	{
		remote_close(&hub->remote);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
hub_close(Hub *hub)
{
	remote_close(&hub->remote);
	MemoryContextDelete(hub->context);
}

/* ---------- from call to call ---------- */

static List *kept = NIL;		/* of Hub * */

/* A server or a user mapping was altered: ours perhaps. */
static void
outdate_kept(Datum arg, int cacheid, uint32 hashvalue)
{
	ListCell   *lc;

	foreach(lc, kept)
		((Hub *) lfirst(lc))->outdated = true;
}

Hub *
hub_kept(const char *link)
{
	ListCell   *lc;

	foreach(lc, kept)
	{
		Hub		   *hub = lfirst(lc);

		if (strcmp(hub->link, link) == 0)
			return hub;
	}
	return NULL;
}

void
hub_kept_drop(const char *link)
{
	Hub		   *hub = hub_kept(link);

	if (hub == NULL)
		return;
	kept = list_delete_ptr(kept, hub);
	hub_close(hub);
}

/* Is it the link's hub still?  The link may have been edited by hand. */
static bool
is_hub_of(const Hub *hub, const Link *link)
{
	return strcmp(hub->source, link->source) == 0 && strcmp(hub->server, link->server) == 0 &&
		hub->owner == link->owner;
}

Hub *
hub_kept_prepare(const Link *link)
{
	static bool registered = false;
	Hub		   *hub = hub_kept(link->name);
	MemoryContext old;

	if (!registered)
	{
		CacheRegisterSyscacheCallback(FOREIGNSERVEROID, outdate_kept, (Datum) 0);
		CacheRegisterSyscacheCallback(USERMAPPINGOID, outdate_kept, (Datum) 0);
		registered = true;
	}
	/* what was said on a connection of an epoch before is over at the hub, too */
	if (hub != NULL && !hub->outdated && is_hub_of(hub, link) &&
		hub->greeting.self.epoch == registry_get()->epoch && remote_alive(&hub->remote))
		return hub;
	hub_kept_drop(link->name);
	hub = hub_prepare(link);
	old = MemoryContextSwitchTo(CacheMemoryContext);
	kept = lappend(kept, hub);
	MemoryContextSwitchTo(old);
	return hub;
}

/* ---------- entities ---------- */

static bool
hub_has_entity(const Hub *hub, const char *entity)
{
	ListCell   *lc;

	foreach(lc, hub->entities)
		if (strcmp(lfirst(lc), entity) == 0)
			return true;
	return false;
}

/*
 * A relation here for whose entity the hub has nothing; or NULL.  The hub tells of the
 * entities that the source gets; what only sends may be of another one.
 */
static const Binding *
find_stranger(const Hub *hub)
{
	ListCell   *lc;

	foreach(lc, binding_list(hub->source, NULL))
	{
		const Binding *binding = lfirst(lc);

		if (binding->out && !hub_has_entity(hub, binding->entity))
			return binding;
	}
	return NULL;
}

/*
 * By the times of both a relation that was detached and attached again, or whose
 * link was made anew, is another one: what came meanwhile has to come again.
 */
void
hub_note_tables(Hub *hub, const Link *link)
{
	StringInfoData tables;
	ListCell   *lc;

	if (link->relay)
		return;
	initStringInfo(&tables);
	appendStringInfoChar(&tables, '{');
	foreach(lc, binding_list(link->source, NULL))
	{
		const Binding *binding = lfirst(lc);

		if (!binding->out || !binding_stands(binding))
			continue;
		if (tables.len > 1)
			appendStringInfoString(&tables, ", ");
		escape_json(&tables, wire_out_required(binding->entity));
		appendStringInfo(&tables, ": \"" INT64_FORMAT "/" INT64_FORMAT "\"", binding->attached_at,
						 link->added_at);
	}
	appendStringInfoChar(&tables, '}');
	if (hub->tables == NULL || strcmp(hub->tables, tables.data) != 0)
		hub->tables = MemoryContextStrdup(hub->context, tables.data);
	pfree(tables.data);
}

static bool
hub_knows_tables(const Hub *hub)
{
	return hub->tables == NULL ||
		(hub->told_tables != NULL && strcmp(hub->tables, hub->told_tables) == 0);
}

bool
hub_is_outdated(const Hub *hub)
{
	return !hub_knows_tables(hub) || find_stranger(hub) != NULL;
}

void
hub_check_entities(const Hub *hub)
{
	const Binding *binding = find_stranger(hub);

	if (binding == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the hub of link \"%s\" has no entity \"%s\" for source \"%s\"", hub->link,
					binding->entity, hub->source),
			 errdetail("Relation %s is attached to it here.",
					   DatumGetCString(DirectFunctionCall1(regclassout,
														   ObjectIdGetDatum(binding->relation)))),
			 errhint("Add it there with SELECT sync_add_entity(%s), let the source get it there with sync_subscribe, or detach the relation here.",
					 quote_literal_cstr(binding->entity))));
}
