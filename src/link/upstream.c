/*
 * upstream.c
 *	  The hub behind a link: connect to it, and hear what it says of itself.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/jsonb.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hub/hello.h"
#include "hub/incarnation.h"
#include "link/notifier.h"
#include "link/pooler.h"
#include "link/upstream.h"
#include "link/wire.h"
#include "model/fields.h"
#include "model/json_read.h"
#include "settings.h"
#include "storage/binding.h"

/* ---------- preparing ---------- */

void
upstream_greet(Upstream *upstream)
{
	MemoryContext old = MemoryContextSwitchTo(upstream->context);

	(void) incarnation_check();
	greeting_prepare(&upstream->greeting, upstream->link, upstream->source);
	MemoryContextSwitchTo(old);
}

Upstream *
upstream_prepare(const Link *link)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "syncext hub",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Upstream   *upstream = palloc0(sizeof(Upstream));

	upstream->context = context;
	wire_prepare();
	upstream->link = pstrdup(link->name);
	upstream->source = pstrdup(link->source);
	upstream->server = pstrdup(link->server);
	upstream->owner = link->owner;
	upstream->relay = link->relay;
	upstream->wire_source = wire_out_required(upstream->source);
	upstream_options_read(&upstream->options, link);
	upstream_greet(upstream);
	MemoryContextSwitchTo(old);
	MemoryContextSetParent(context, CacheMemoryContext);
	return upstream;
}

/* ---------- what the hub says ---------- */

/*
 * Set what we need in the hub's session, whatever its role or database have set.  With
 * these timeouts its statements end soon after we stop waiting, or disconnect.
 */
static void
send_settings(Upstream *upstream)
{
	const char *timeout = psprintf("%ds", setting_link_timeout + 5);

	remote_send(&upstream->remote,
				"SELECT pg_catalog.set_config(s.name, s.value, false) FROM (VALUES "
				"('search_path', 'pg_catalog, pg_temp'), ('timezone', 'UTC'), ('datestyle', 'ISO'), "
				"('intervalstyle', 'postgres'), ('extra_float_digits', '1'), "
				"('bytea_output', 'hex'), ('standard_conforming_strings', 'on'), "
				"('default_transaction_isolation', 'read committed'), "
				"('default_transaction_read_only', 'off'), ('lock_timeout', '0'), "
				"('idle_session_timeout', '0'), ('syncext.lease', '1h'), "
				"('statement_timeout', $1)) AS s(name, value)",
				1, &timeout);
	remote_sync(&upstream->remote);
	/* not every system can do this */
	remote_send(&upstream->remote,
				"SELECT pg_catalog.set_config('client_connection_check_interval', '1s', false)",
				0, NULL);
	remote_sync(&upstream->remote);
}

static void
raise_no_hub(const Upstream *upstream)
{
	const char *database = upstream_options_find(&upstream->options, "dbname");

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("database \"%s\" behind link \"%s\" has no syncext",
					database != NULL ? database : "", upstream->link),
			 errhint("Run CREATE EXTENSION syncext there, or name the hub's database in the link's server.")));
}

/* The hub speaks another protocol; 0: it knows no links. */
static void
raise_other_version(const Upstream *upstream, const char *version, int protocol)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("the hub of link \"%s\" has version %s of syncext, which %s", upstream->link, version,
					protocol == 0 ? "knows no links" : psprintf("speaks link protocol %d", protocol)),
			 errdetail("This side speaks link protocol %d.", LINK_PROTOCOL),
			 protocol < LINK_PROTOCOL ?
			 errhint("Install this side's version at the hub, and run ALTER EXTENSION syncext UPDATE there.") :
			 errhint("Install the hub's version here, and run ALTER EXTENSION syncext UPDATE.")));
}

/* A hub's answer to the handshake is no longer than this. */
#define HELLO_BYTES	(1024 * 1024)

/* Is there a hub in that database, of a version that can be talked to? */
static void
find_extension(Upstream *upstream, TimestampTz deadline)
{
	static const ReplyShape settings = {"set_config", 1, 0, 100, 10000};
	static const ReplyShape interval = {"set_config", 1, 1, 1, 1000};
	static const ReplyShape extension = {"the question for its version", 3, 0, 1, 1000};
	Reply	   *reply;
	const char *version;

	remote_send(&upstream->remote,
				"SELECT e.extversion, pg_catalog.quote_ident(n.nspname), "
				"pg_catalog.to_regprocedure('syncext.hub_hello(text,jsonb)') IS NOT NULL "
				"FROM pg_catalog.pg_extension e "
				"JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace "
				"WHERE e.extname = 'syncext'",
				0, NULL);
	remote_sync(&upstream->remote);
	/* the settings' answers come first; the second of them may be an error */
	reply = remote_reply(&upstream->remote, &settings, deadline);
	reply_check(reply);
	reply_free(reply);
	reply_free(remote_reply(&upstream->remote, &interval, deadline));
	reply = remote_reply(&upstream->remote, &extension, deadline);
	reply_check(reply);
	if (reply->nrows == 0)
		raise_no_hub(upstream);
	version = wire_message(reply_text(reply, 0, 0));
	upstream->schema = MemoryContextStrdup(upstream->context, reply_text(reply, 0, 1));
	if (!reply_bool(reply, 0, 2))
		raise_other_version(upstream, version, 0);
	reply_free(reply);
}

static const char *const hello_call = "syncext.hub_hello";

static char *
handshake_string(const Fields *said, const char *key)
{
	char	   *string = json_read_string(fields_value(said, key));

	return string != NULL ? string : pstrdup("");
}

static List *
handshake_strings(const Upstream *upstream, const Fields *said, const char *key)
{
	JsonbContainer *array = json_read_array(fields_value(said, key));
	List	   *strings;

	if (array == NULL)
		reply_violation(upstream->link, hello_call, "has no array \"%s\"", key);
	if (!json_read_strings(array, &strings))
		reply_violation(upstream->link, hello_call, "has something else than strings in \"%s\"", key);
	return strings;
}

static bool
is_uuid(const char *mark)
{
	return strlen(mark) == 36 && strspn(mark, "0123456789abcdef-") == 36;
}

/* Take what the hub says of itself, and raise if it isn't what we need. */
static void
read_handshake(Upstream *upstream, const Jsonb *jsonb)
{
	Fields		said;
	int64		protocol;

	if (!JB_ROOT_IS_OBJECT(jsonb))
		reply_violation(upstream->link, hello_call, "is no object");
	said = fields_of(jsonb);
	if (!json_read_number(fields_value(&said, "protocol"), 0, INT_MAX, &protocol))
		reply_violation(upstream->link, hello_call, "has no number \"protocol\"");
	if (protocol != LINK_PROTOCOL)
		raise_other_version(upstream, wire_message(handshake_string(&said, "version")),
							(int) protocol);
	upstream->database_id = handshake_string(&said, "hub");
	if (!is_uuid(upstream->database_id))
		reply_violation(upstream->link, hello_call, "has no mark of the hub");
	upstream->entities = handshake_strings(upstream, &said, "entities");
	greeting_hear(&upstream->greeting, upstream->link, jsonb);
}

static void
send_handshake(Upstream *upstream, bool claim, TimestampTz deadline)
{
	const ReplyShape hello = {hello_call, 1, 1, 1, HELLO_BYTES};
	const char *params[2] = {upstream->wire_source};
	Reply	   *reply;
	Jsonb	   *jsonb;
	MemoryContext old;

	params[1] = greeting_say(&upstream->greeting, claim, upstream->relay, LINK_PROTOCOL, upstream->tables);
	reply = remote_call(&upstream->remote,
						"SELECT syncext.hub_hello($1::pg_catalog.text, $2::pg_catalog.jsonb)", 2, params,
						&hello, deadline);
	jsonb = reply_jsonb(reply, 0, 0);
	old = MemoryContextSwitchTo(upstream->context);
	read_handshake(upstream, jsonb);
	MemoryContextSwitchTo(old);
	if (claim)
		upstream->told_tables = upstream->tables;
	reply_free(reply);
}

/* Prepare what is called again and again, so that the hub plans it once. */
static void
prepare_calls(Upstream *upstream, TimestampTz deadline)
{
	static const ReplyShape prepared = {.call = "PREPARE"};
	const ReplyShape *shapes[3] = {&prepared, &prepared, &prepared};
	Reply	   *replies[3];

	/* with the types written out, functions of these names that others made at the hub aren't met */
	remote_prepare(&upstream->remote, UPSTREAM_PUSH,
				   psprintf("SELECT %s.sync_push($1::pg_catalog.text, $2::pg_catalog.text, $3::pg_catalog.jsonb)",
							upstream->schema));
	remote_prepare(&upstream->remote, UPSTREAM_PULL,
				   "SELECT batch, entity, external_id, version, row_version, deleted, fields, correction, "
				   "CASE WHEN withheld IS NOT NULL THEN jsonb_object(withheld, withheld) END, "
				   /* microseconds, exactly */
				   "CAST(extract(epoch FROM updated_at) OPERATOR(pg_catalog.*) 1000000 AS bigint), state, counted, pg_catalog.to_jsonb(merged_from) "
				   "FROM syncext.hub_pull($1::pg_catalog.text, $2::pg_catalog.int4, $3::pg_catalog.int4)");
	remote_prepare(&upstream->remote, UPSTREAM_ACK,
				   "SELECT syncext.hub_ack($1::pg_catalog.text, $2::pg_catalog.int8, $3::pg_catalog.jsonb)");
	remote_sync(&upstream->remote);
	remote_replies(&upstream->remote, lengthof(replies), false, shapes, replies, deadline);
	for (int i = 0; i < (int) lengthof(replies); i++)
	{
		reply_check(replies[i]);
		reply_free(replies[i]);
	}
}

void
upstream_listen(Upstream *upstream)
{
	static const ReplyShape listen = {.call = "LISTEN"};
	static const ReplyShape told = {"syncext.hub_listen", 1, 1, 1, 100};
	const char *source = upstream->wire_source;

	reply_free(remote_call(&upstream->remote, "LISTEN " FEED_CHANNEL, 0, NULL, &listen, upstream_deadline()));
	reply_free(remote_call(&upstream->remote, "SELECT syncext.hub_listen($1::pg_catalog.text)", 1, &source, &told,
						   upstream_deadline()));
	upstream->remote.listens = true;
}

int64
upstream_behind(Upstream *upstream)
{
	static const ReplyShape behind = {"syncext.hub_behind", 1, 1, 1, 100};
	const char *source = upstream->wire_source;
	Reply	   *reply = remote_call(&upstream->remote, "SELECT syncext.hub_behind($1::pg_catalog.text)", 1,
									&source, &behind, upstream_deadline());

	upstream->behind = reply_int64(reply, 0, 0, 0, PG_INT64_MAX);
	reply_free(reply);
	return upstream->behind;
}

/* ---------- opening and closing ---------- */

TimestampTz
upstream_deadline(void)
{
	return remote_deadline(setting_link_timeout * 1000);
}

/* All calls together share one deadline: the time that a link waits for an answer. */
void
upstream_open(Upstream *upstream, bool claim)
{
	const TimestampTz deadline = upstream_deadline();
	const bool	connected = upstream->remote.conn != NULL;
	const UpstreamOptions *options = &upstream->options;

	PG_TRY();
	{
		if (!connected)
		{
			remote_open(&upstream->remote, upstream->link, options->keywords, options->values, deadline);
			if (options->needs_password && !remote_used_password(&upstream->remote))
				upstream_raise_no_password(upstream->link, "Its owner is no superuser, and the hub did not ask for the password.");
			upstream->behind = -1;
			pooler_check(&upstream->remote, options->keywords, options->values, deadline);
			send_settings(upstream);
			find_extension(upstream, deadline);
		}
		send_handshake(upstream, claim, deadline);
		if (!connected)
			prepare_calls(upstream, deadline);
	}
	PG_CATCH();
	{
		remote_close(&upstream->remote);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
upstream_close(Upstream *upstream)
{
	remote_close(&upstream->remote);
	MemoryContextDelete(upstream->context);
}

/* ---------- entities ---------- */

static bool
has_entity(const Upstream *upstream, const char *entity)
{
	foreach_ptr(const char, known, upstream->entities)
		if (strcmp(known, entity) == 0)
			return true;
	return false;
}

/*
 * A relation here whose entity the hub doesn't have for the source; or NULL.  The hub
 * names the entities that the source gets, so a relation that only sends may be of
 * another entity.
 */
static const Binding *
find_unknown_entity(const Upstream *upstream)
{
	foreach_ptr(const Binding, binding, binding_list(upstream->source, NULL))
	{
		if (binding->out && !has_entity(upstream, binding->entity))
			return binding;
	}
	return NULL;
}

/*
 * A relation is named with the times when it and its link were made.  If it is detached
 * and attached again, or the link is made anew, the hub takes it for a new relation, and
 * sends again what came meanwhile.
 */
void
upstream_note_tables(Upstream *upstream, const Link *link)
{
	StringInfoData tables;

	if (link->relay)
		return;
	initStringInfo(&tables);
	appendStringInfoChar(&tables, '{');
	foreach_ptr(const Binding, binding, binding_list(link->source, NULL))
	{
		if (!binding->out || !binding_stands(binding) || binding_awaits_load(binding))
			continue;
		if (tables.len > 1)
			appendStringInfoString(&tables, ", ");
		escape_json(&tables, wire_out_required(binding->entity));
		appendStringInfo(&tables, ": \"" INT64_FORMAT "/" INT64_FORMAT "\"", binding->attached_at,
						 link->added_at);
	}
	appendStringInfoChar(&tables, '}');
	if (upstream->tables == NULL || strcmp(upstream->tables, tables.data) != 0)
		upstream->tables = MemoryContextStrdup(upstream->context, tables.data);
	pfree(tables.data);
}

static bool
knows_tables(const Upstream *upstream)
{
	return upstream->tables == NULL ||
		(upstream->told_tables != NULL && strcmp(upstream->tables, upstream->told_tables) == 0);
}

bool
upstream_is_outdated(const Upstream *upstream)
{
	return !knows_tables(upstream) || find_unknown_entity(upstream) != NULL;
}

void
upstream_check_entities(const Upstream *upstream)
{
	const Binding *binding = find_unknown_entity(upstream);

	if (binding == NULL)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("the hub of link \"%s\" has no entity \"%s\" for source \"%s\"", upstream->link,
					binding->entity, upstream->source),
			 errdetail("Relation %s is attached to it here.",
					   DatumGetCString(DirectFunctionCall1(regclassout,
														   ObjectIdGetDatum(binding->relation)))),
			 errhint("Add it there with SELECT sync_add_entity(%s), let the source get it there with sync_subscribe, or detach the relation here.",
					 quote_literal_cstr(binding->entity))));
}
