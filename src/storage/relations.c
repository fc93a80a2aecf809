/*
 * relations.c
 *	  Which relations and functions are ours.
 *
 * With shared_preload_libraries the library runs in every database, and in each of them
 * a user may make a schema "syncext" with tables of our tables' names.  So a name
 * proves nothing: what counts is that the extension is there, that the
 * object is a member of it, and that both have one owner.  This is the only file
 * that looks anything of ours up by its name; test/lint sees to it.
 *
 * What was found is remembered with its name, until the relation's cache entry is
 * invalidated, which any ALTER or DROP of it does: the usual call is a look into
 * a hash table.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "access/table.h"
#include "catalog/dependency.h"
#include "catalog/index.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "catalog/pg_extension.h"
#include "catalog/pg_namespace.h"
#include "catalog/pg_proc.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "nodes/value.h"
#include "parser/parse_func.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "storage/relations.h"

/* More than there are names in our code. */
#define MAX_RELATIONS	128

/* A name of the schema and what it was found to be. */
typedef struct RelationEntry
{
	NameData	name;			/* hash key */
	Oid			relid;
	bool		valid;			/* nothing has changed since it was found */
} RelationEntry;

/* The extension as the catalog has it. */
typedef struct Extension
{
	Oid			oid;
	Oid			owner;
	Oid			functions;		/* the schema that sync_* are in */
} Extension;

/* Entries stay where they are: the callback walks the list, uses walk the hash. */
static HTAB *relation_cache = NULL;

/* Those that were used last, by where the caller has the name: the same few are asked for in each call. */
#define RECENT_ENTRIES	64

static RelationEntry *recent[RECENT_ENTRIES];
static RelationEntry *entries[MAX_RELATIONS];
static int	nentries = 0;

/* ---------- the extension ---------- */

static bool
find_extension(Extension *extension)
{
	Relation	rel = table_open(ExtensionRelationId, AccessShareLock);
	ScanKeyData key;
	SysScanDesc scan;
	HeapTuple	tuple;

	ScanKeyInit(&key, Anum_pg_extension_extname, BTEqualStrategyNumber, F_NAMEEQ,
				CStringGetDatum(SYNCEXT_NAME));
	scan = systable_beginscan(rel, ExtensionNameIndexId, true, NULL, 1, &key);
	tuple = systable_getnext(scan);
	if (HeapTupleIsValid(tuple))
	{
		Form_pg_extension form = (Form_pg_extension) GETSTRUCT(tuple);

		extension->oid = form->oid;
		extension->owner = form->extowner;
		extension->functions = form->extnamespace;
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	return HeapTupleIsValid(tuple);
}

/*
 * Another role's object in our schema would be run, or written to, as the extension's
 * owner.  pg_upgrade gives an extension to the cluster's first superuser, and leaves its
 * objects with the roles that had them: they may be another superuser's.
 */
static bool
is_member(const Extension *extension, Oid class, Oid object, Oid owner)
{
	return getExtensionOfObject(class, object) == extension->oid &&
		(owner == extension->owner || superuser_arg(owner));
}

Oid
object_owner(Oid class, Oid object)
{
	HeapTuple	tuple = SearchSysCache1(get_object_catcache_oid(class), ObjectIdGetDatum(object));
	Datum		owner;
	bool		isnull;

	if (!HeapTupleIsValid(tuple))
		return InvalidOid;
	owner = SysCacheGetAttr(get_object_catcache_oid(class), tuple, get_object_attnum_owner(class), &isnull);
	ReleaseSysCache(tuple);
	return DatumGetObjectId(owner);
}

/* The schema, InvalidOid if there is none of ours; the extension is filled in then. */
static Oid
find_schema(Extension *extension)
{
	Oid			namespace = get_namespace_oid(SYNCEXT_NAME, true);

	/* a database without such a schema is told by a cached look */
	if (!OidIsValid(namespace) || !find_extension(extension) ||
		!is_member(extension, NamespaceRelationId, namespace, object_owner(NamespaceRelationId, namespace)))
		return InvalidOid;
	return namespace;
}

static Oid
find_schema_required(Extension *extension)
{
	Oid			namespace = find_schema(extension);

	if (!OidIsValid(namespace))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_SCHEMA),
				 errmsg("extension \"%s\" is not in this database, or its schema is not its own",
						SYNCEXT_NAME),
				 errhint("Run CREATE EXTENSION syncext. A schema \"syncext\" must be its member and its owner's.")));
	return namespace;
}

Oid
extension_schema(const char *extension, const char *schema)
{
	Oid			extension_oid = get_extension_oid(extension, true);
	Oid			namespace = get_namespace_oid(schema, true);

	if (!OidIsValid(extension_oid) || !OidIsValid(namespace) ||
		getExtensionOfObject(NamespaceRelationId, namespace) != extension_oid)
		return InvalidOid;
	return namespace;
}

bool
extension_is_being_made(void)
{
	Extension	extension;

	return creating_extension && find_extension(&extension) &&
		CurrentExtensionObject == extension.oid;
}

Oid
extension_functions_schema(void)
{
	Extension	extension;

	return find_extension(&extension) ? extension.functions : InvalidOid;
}

Oid
registry_schema(void)
{
	Extension	extension;

	return find_schema_required(&extension);
}

/* ---------- relations ---------- */

/*
 * Called in the middle of other code whenever a relation's cache entry goes:
 * only mark, the next use looks again.
 */
static void
relation_invalidated(Datum arg, Oid relid)
{
	for (int i = 0; i < nentries; i++)
		if (!OidIsValid(relid) || entries[i]->relid == relid)
			entries[i]->valid = false;
}

/* A schema was dropped, made or renamed: all names may mean others now. */
static void
schema_invalidated(Datum arg, int cacheid, uint32 hashvalue)
{
	relation_invalidated(arg, InvalidOid);
}

static void
make_relation_cache(void)
{
	HASHCTL		ctl = {.keysize = sizeof(NameData), .entrysize = sizeof(RelationEntry)};

	relation_cache = hash_create("syncext relations", MAX_RELATIONS, &ctl,
								 HASH_ELEM | HASH_STRINGS);
	CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, schema_invalidated, (Datum) 0);
}

static RelationEntry *
get_entry(const char *name)
{
	RelationEntry **place = &recent[((uintptr_t) name >> 3) % RECENT_ENTRIES];
	RelationEntry *entry = *place;
	NameData	key;
	bool		found;

	if (entry != NULL && strcmp(NameStr(entry->name), name) == 0)
		return entry;
	if (relation_cache == NULL)
		make_relation_cache();
	namestrcpy(&key, name);
	entry = hash_search(relation_cache, NameStr(key), HASH_FIND, NULL);
	if (entry != NULL)
		return *place = entry;
	if (nentries == MAX_RELATIONS)
		elog(ERROR, "too many relations of schema \"%s\"", SYNCEXT_NAME);
	entry = hash_search(relation_cache, NameStr(key), HASH_ENTER, &found);
	entry->relid = InvalidOid;
	entry->valid = false;
	entries[nentries++] = entry;
	return entry;
}

/*
 * An index belongs to an extension by way of its table.  *gone: the relation was
 * dropped since it was looked up, as REINDEX CONCURRENTLY does.
 */
static bool
relation_is_member(const Extension *extension, Oid relid, bool *gone)
{
	Oid			owner = object_owner(RelationRelationId, relid);
	Oid			object = relid;

	if (get_rel_relkind(relid) == RELKIND_INDEX)
		object = IndexGetRelation(relid, true);
	*gone = !OidIsValid(owner) || !OidIsValid(object);
	return !*gone && is_member(extension, RelationRelationId, object, owner);
}

Oid
registry_relation(const char *name)
{
	RelationEntry *entry = get_entry(name);
	Extension	extension;
	Oid			namespace;
	Oid			relid;
	bool		gone;

	if (entry->valid)
		return entry->relid;
	namespace = find_schema_required(&extension);
	relid = get_relname_relid(name, namespace);
	if (!OidIsValid(relid))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation \"%s.%s\" does not exist", SYNCEXT_NAME, name),
				 errhint("It is part of the extension: make it again, or drop the extension and create it.")));
	/* what comes while we look makes the next call look again */
	entry->relid = relid;
	entry->valid = true;
	if (!relation_is_member(&extension, relid, &gone))
	{
		entry->valid = false;
		if (gone)
		{
			AcceptInvalidationMessages();
			return registry_relation(name);
		}
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s.%s\" is not the extension's, or not its owner's",
						SYNCEXT_NAME, name),
				 errhint("Nothing is read from it or written to it. Give it back with ALTER EXTENSION syncext ADD TABLE, and ALTER TABLE … OWNER TO %s.",
						 quote_identifier(GetUserNameFromId(extension.owner, false)))));
	}
	return relid;
}

Relation
registry_open(Oid relid, LOCKMODE lockmode)
{
	Relation	rel = try_relation_open(relid, lockmode);

	/* the session that we waited for has dropped the extension */
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u was dropped in the meantime", relid),
				 errhint("If the extension was made anew, try again.")));
	return rel;
}

Oid
registry_owner(void)
{
	return object_owner(RelationRelationId, registry_relation("source"));
}

bool
extension_is_here(void)
{
	Extension	extension;
	Oid			namespace = find_schema(&extension);
	Oid			link;
	bool		gone;

	if (!OidIsValid(namespace))
		return false;
	link = get_relname_relid("link", namespace);
	return OidIsValid(link) && relation_is_member(&extension, link, &gone);
}

/* ---------- functions ---------- */

Oid
extension_function(const char *name)
{
	Extension	extension;
	Oid			function;

	(void) find_schema_required(&extension);
	function = LookupFuncName(list_make2(makeString(SYNCEXT_NAME), makeString(pstrdup(name))),
							  0, NULL, false);
	if (!is_member(&extension, ProcedureRelationId, function, object_owner(ProcedureRelationId, function)))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("function \"%s.%s\" is not the extension's, or not its owner's",
						SYNCEXT_NAME, name),
				 errhint("Drop the extension and create it again.")));
	return function;
}
