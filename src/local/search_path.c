/*
 * search_path.c
 *	  The search_path that code of a role is run with.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_database.h"
#include "catalog/pg_db_role_setting.h"
#include "catalog/pg_namespace.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/guc_tables.h"
#include "utils/memutils.h"
#include "utils/syscache.h"
#include "utils/varlena.h"

#include "compat.h"
#include "local/search_path.h"
#include "storage/names.h"
#include "storage/relations.h"

#define DEFAULT_SEARCH_PATH	"\"$user\", public"

/* ---------- what the role's sessions have ---------- */

/* The value of search_path among "name=value" texts, or NULL. */
static char *
find_setting(Datum settings)
{
	static const char prefix[] = "search_path=";
	int			n;
	char	  **names = names_of_array(settings, NULL, &n);

	for (int i = 0; i < n; i++)
		if (strncmp(names[i], prefix, sizeof(prefix) - 1) == 0)
			return names[i] + sizeof(prefix) - 1;
	return NULL;
}

/* What ALTER DATABASE and ALTER ROLE have set; 0: for all of them. */
static char *
setting_of(Relation rel, Oid database, Oid role)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	char	   *value = NULL;

	ScanKeyInit(&keys[0], Anum_pg_db_role_setting_setdatabase, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(database));
	ScanKeyInit(&keys[1], Anum_pg_db_role_setting_setrole, BTEqualStrategyNumber, F_OIDEQ,
				ObjectIdGetDatum(role));
	scan = systable_beginscan(rel, DbRoleSettingDatidRolidIndexId, true, NULL, 2, keys);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		bool		isnull;
		Datum		settings = heap_getattr(tuple, Anum_pg_db_role_setting_setconfig,
											RelationGetDescr(rel), &isnull);

		if (!isnull)
			value = find_setting(settings);
	}
	systable_endscan(scan);
	return value;
}

/* In the order in which a new session heeds them. */
static char *
role_setting(Oid role)
{
	Relation	rel = table_open(DbRoleSettingRelationId, AccessShareLock);
	const Oid	places[][2] = {
		{MyDatabaseId, role}, {InvalidOid, role}, {MyDatabaseId, InvalidOid}, {InvalidOid, InvalidOid}
	};
	char	   *value = NULL;

	for (size_t i = 0; value == NULL && i < lengthof(places); i++)
		value = setting_of(rel, places[i][0], places[i][1]);
	table_close(rel, AccessShareLock);
	return value;
}

#ifdef HAVE_GUC_ARRAY
static struct config_generic *
find_guc_compat(const char *name)
{
	struct config_generic **variables = get_guc_variables();
	int			n = GetNumConfigOptions();

	for (int i = 0; i < n; i++)
		if (strcmp(variables[i]->name, name) == 0)
			return variables[i];
	return NULL;
}
#endif

/* Does RESET search_path set what the server's configuration says? */
static bool
reset_is_configured(void)
{
	const struct config_generic *setting = find_guc_compat("search_path");

	return setting != NULL && setting->reset_source <= PGC_S_ARGV;
}

static const char *
session_search_path(Oid role)
{
	const char *value = role_setting(role);

	if (value != NULL)
		return value;
	/* what is left is the server's configuration, unless something else hides it here */
	return reset_is_configured() ?
		GetConfigOptionResetString("search_path") : DEFAULT_SEARCH_PATH;
}

/* ---------- schemas that nobody else can put anything into ---------- */

/*
 * A member of the role, who may act as it anyway, may create what the role uses; and so
 * may the database's owner, who could set search_path for all of its users.
 */
static bool
is_trusted(Oid grantee, Oid role)
{
	return grantee != ACL_ID_PUBLIC &&
		(grantee == ROLE_PG_DATABASE_OWNER || has_privs_of_role(grantee, role) ||
		 grantee == object_owner(DatabaseRelationId, MyDatabaseId));
}

static bool
acl_is_safe(Acl *acl, Oid role)
{
	/* an ACL is an array of one dimension without nulls */
	const AclItem *items = (const AclItem *) ((const char *) acl + ARR_OVERHEAD_NONULLS(1));

	for (int i = 0; i < ACL_NUM(acl); i++)
		if ((ACLITEM_GET_PRIVS(items[i]) & ACL_CREATE) != 0 && !is_trusted(items[i].ai_grantee, role))
			return false;
	return true;
}

static bool
schema_is_safe(Oid schema, Oid role)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	bool		isnull;
	Datum		acl;
	bool		safe;

	if (!HeapTupleIsValid(tuple))
		return false;
	safe = is_trusted(((Form_pg_namespace) GETSTRUCT(tuple))->nspowner, role);
	acl = SysCacheGetAttr(NAMESPACEOID, tuple, Anum_pg_namespace_nspacl, &isnull);
	if (safe && !isnull)
		safe = acl_is_safe(DatumGetAclPCopy(acl), role);
	ReleaseSysCache(tuple);
	return safe;
}

static void
append_schema(StringInfo path, const char *name, Oid role)
{
	Oid			schema;

	if (strcmp(name, "$user") == 0)
		name = GetUserNameFromId(role, false);
	schema = get_namespace_oid(name, true);
	/* this session's own comes last, and others' not at all */
	if (!OidIsValid(schema) || isAnyTempNamespace(schema) || !schema_is_safe(schema, role))
		return;
	appendStringInfo(path, "%s, ", quote_identifier(name));
}

static char *
make_search_path(Oid role)
{
	StringInfoData path;
	List	   *names;

	initStringInfo(&path);
	if (SplitIdentifierString(pstrdup(session_search_path(role)), ',', &names))
		foreach_ptr(char, name, names)
			append_schema(&path, name, role);
	appendStringInfoString(&path, "pg_temp");
	return path.data;
}

/* ---------- one a transaction ---------- */

static Oid	known_role = InvalidOid;
static char *known_path;

static void
forget(void *arg)
{
	known_role = InvalidOid;
}

const char *
search_path_of_role(Oid role)
{
	MemoryContextCallback *callback;
	char	   *path;

	if (known_role == role)
		return known_path;
	path = make_search_path(role);
	known_path = MemoryContextStrdup(TopTransactionContext, path);
	if (!OidIsValid(known_role))
	{
		callback = MemoryContextAlloc(TopTransactionContext, sizeof(MemoryContextCallback));
		callback->func = forget;
		callback->arg = NULL;
		MemoryContextRegisterResetCallback(TopTransactionContext, callback);
	}
	known_role = role;
	return known_path;
}
