/*
 * upstream_options.c
 *	  How to reach the hub behind a link: the options of foreign server and user mapping.
 *
 * Where the hub is stands in a foreign server of whatever wrapper, and which role this
 * database has there in the user mapping of the link's owner.
 */
#include "postgres.h"

#include "catalog/pg_foreign_server.h"
#include "commands/defrem.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#include "compat.h"
#include "link/upstream_options.h"
#include "link/wire.h"

/* ---------- options ---------- */

/*
 * What a server or user mapping may tell libpq.  A list, not all that libpq knows:
 * with an option that a later libpq brings, the role that makes a user mapping could
 * read or write files, or run programs, as the server's system user.
 */
static const char *const allowed_options[] = {
	"channel_binding", "connect_timeout", "dbname", "gssdelegation", "gssencmode", "gsslib",
	"host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
	"keepalives_interval", "krbsrvname", "load_balance_hosts", "options", "password", "port",
	"require_auth", "requirepeer", "ssl_max_protocol_version", "ssl_min_protocol_version",
	"sslcertmode", "sslcompression", "sslmode", "sslnegotiation", "sslpassword", "sslsni",
	"target_session_attrs", "tcp_user_timeout", "user"};

/*
 * Options that name files.  libpq reads these as the server's system user, and its
 * error messages tell whether they are there and what is in them.  So only superusers
 * may set them, who could read the files anyway.
 */
static const char *const superuser_options[] = {
	"passfile", "service", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslrootcert"};

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
set_option(UpstreamOptions *options, const char *keyword, const char *value)
{
	int			at = 0;

	while (at < options->n && strcmp(options->keywords[at], keyword) != 0)
		at++;
	if (at == options->n)
	{
		/* one more than there is, for the NULL at the end */
		options->n++;
		options->keywords = repalloc(options->keywords, sizeof(char *) * (options->n + 1));
		options->values = repalloc(options->values, sizeof(char *) * (options->n + 1));
		options->keywords[at] = pstrdup(keyword);
		options->keywords[options->n] = NULL;
		options->values[options->n] = NULL;
	}
	options->values[at] = pstrdup(value);
}

static void
raise_file_option(const char *link, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("link \"%s\" cannot use option \"%s\"", link, name),
			 errdetail("It names a file of the database server's, and neither the link nor the foreign server is a superuser's."),
			 errhint("Have a superuser own the foreign server that has the option, or make the link.")));
}

/*
 * Take over what libpq is to know; a wrapper's own options are its own affair.  Unless
 * files is set, an option that names a file is an error.
 */
static void
add_options(UpstreamOptions *options, const char *link, List *from, bool files)
{
	foreach_ptr(DefElem, option, from)
	{
		bool		is_file = is_one_of(option->defname, superuser_options,
										lengthof(superuser_options));

		if (is_file && !files)
			raise_file_option(link, option->defname);
		if (is_file || is_one_of(option->defname, allowed_options, lengthof(allowed_options)))
			set_option(options, option->defname, defGetString(option));
	}
}

const char *
upstream_options_find(const UpstreamOptions *options, const char *keyword)
{
	for (int i = 0; i < options->n; i++)
		if (strcmp(options->keywords[i], keyword) == 0)
			return options->values[i];
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

void
upstream_raise_no_password(const char *link, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_S_R_E_PROHIBITED_SQL_STATEMENT_ATTEMPTED),
			 errmsg("link \"%s\" needs a password", link),
			 errdetail("%s", detail),
			 errhint("Set one in the user mapping, and have the hub ask for it; or have a superuser make the link.")));
}

void
upstream_options_read(UpstreamOptions *options, const Link *link)
{
	ForeignServer *server;
	UserMapping *mapping;
	const char *password;

	server = find_server(link);
	mapping = find_mapping(link, server);
	options->needs_password = !superuser_arg(link->owner);
	options->n = 0;
	options->keywords = palloc0(sizeof(char *));
	options->values = palloc0(sizeof(char *));
	/* a wrapper is always a superuser's */
	add_options(options, link->name, GetForeignDataWrapper(server->fdwid)->options, true);
	add_options(options, link->name, server->options,
				!options->needs_password || superuser_arg(server->owner));
	add_options(options, link->name, mapping->options, !options->needs_password);
	password = upstream_options_find(options, "password");
	if (options->needs_password && (password == NULL || password[0] == '\0'))
		upstream_raise_no_password(link->name,
								   "Its owner is no superuser, and the user mapping has no password.");
	/* set last, so that neither server nor user mapping can set these */
	set_option(options, "application_name", psprintf("syncext %s", link->name));
	set_option(options, "client_encoding", wire_encoding_name());
}
