/*
 * attach.c
 *	  sync_attach and sync_detach: making a relation a source's copy of an
 *	  entity, and undoing it.
 *
 * Called from SQL.  All that can be wrong with a relation, its key or its
 * columns is found here, so that capture and delivery need not.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/xact.h"
#include "catalog/catalog.h"
#include "catalog/index.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_proc.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "rewrite/rewriteHandler.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "errcodes.h"
#include "local/attach.h"
#include "local/attached.h"
#include "local/capture_buffer.h"
#include "local/linked.h"
#include "local/loaded.h"
#include "local/transfer.h"
#include "model/fields.h"
#include "storage/hints.h"
#include "storage/names.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(sync_attach);
PG_FUNCTION_INFO_V1(sync_detach);

/* The names sort before the lower-case names that users give: first come, first captured. */
#define CAPTURE_TRIGGER_NAME	"_syncext_capture"
#define TRUNCATE_TRIGGER_NAME	"_syncext_truncate"

/* ---------- the relation ---------- */

static void
check_owner(Oid relid, const char *hint)
{
	if (!SearchSysCacheExists1(RELOID, ObjectIdGetDatum(relid)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relid)));
	if (!relation_ownercheck_compat(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of relation \"%s\"", get_rel_name(relid)),
				 errhint("%s", hint)));
}

static void
refuse_relation(Relation rel, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("relation \"%s\" cannot be attached: it is %s",
					RelationGetRelationName(rel), why),
			 hint != NULL ? errhint("%s", hint) : 0));
}

static void
check_partition(Relation rel)
{
	List	   *ancestors = get_partition_ancestors(RelationGetRelid(rel));
	Oid			top = llast_oid(ancestors);

	refuse_relation(rel, "a partition",
					psprintf("Attach the partitioned table: %s.",
							 quote_qualified_identifier(get_namespace_name(get_rel_namespace(top)),
														get_rel_name(top))));
}

static void
check_relation(Relation rel, const Binding *binding)
{
	const char *untriggered = "Edits of it can't be captured by trigger: give capture => 'poll', or 'none'.";

	if (IsSystemRelation(rel))
		refuse_relation(rel, "a system catalog", NULL);
	if (RelationGetNamespace(rel) == registry_schema())
		refuse_relation(rel, "one of the hub's own", NULL);
	if (rel->rd_rel->relpersistence == RELPERSISTENCE_TEMP)
		refuse_relation(rel, "temporary", "Other sessions could not deliver to it.");
	if (rel->rd_rel->relispartition)
		check_partition(rel);
	switch (rel->rd_rel->relkind)
	{
		case RELKIND_RELATION:
		case RELKIND_PARTITIONED_TABLE:
			break;
		case RELKIND_VIEW:
			if (binding->capture == CAPTURE_TRIGGER)
				refuse_relation(rel, "a view", untriggered);
			break;
		case RELKIND_FOREIGN_TABLE:
			if (binding->capture == CAPTURE_TRIGGER)
				refuse_relation(rel, "a foreign table", untriggered);
			break;
		default:
			refuse_relation(rel, "neither table nor view", NULL);
	}
}

/*
 * Can the hub's records be written to it?  A foreign table or a view may allow it
 * or not.
 */
static void
check_writable(Relation rel, const Binding *binding)
{
	int			events;
	int			needed = (1 << CMD_INSERT) | (1 << CMD_UPDATE);

	if (!binding->out || binding->capture != CAPTURE_POLL)
		return;
	if (binding->deleted_column == NULL)
		needed |= 1 << CMD_DELETE;
	events = relation_is_updatable(RelationGetRelid(rel), NIL, true, NULL);
	if ((events & needed) != needed)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("nothing can be delivered to relation \"%s\"", RelationGetRelationName(rel)),
				 errdetail("It doesn't let rows be inserted, updated and deleted."),
				 errhint("Give direction => 'in' to poll it only.")));
}

static bool
has_own_rows(Relation rel)
{
	return rel->rd_rel->relkind == RELKIND_RELATION ||
		rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE;
}

/* ---------- columns ---------- */

/* Find a column that the argument named, or raise. */
static Form_pg_attribute
find_column(Relation rel, const char *argument, const char *name)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);

	if (attnum == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("%s names column \"%s\", which relation \"%s\" does not have",
						argument, name, RelationGetRelationName(rel))));
	if (attnum < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
				 errmsg("%s names system column \"%s\"", argument, name)));
	return TupleDescAttr(RelationGetDescr(rel), attnum - 1);
}

static void
refuse_column(const char *argument, const char *name, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_COLUMN_REFERENCE),
			 errmsg("%s names column \"%s\", %s", argument, name, why),
			 hint != NULL ? errhint("%s", hint) : 0));
}

static bool
is_key(const Binding *binding, const char *name)
{
	for (int i = 0; i < binding->nkeys; i++)
		if (strcmp(binding->key[i], name) == 0)
			return true;
	return false;
}

static void
refuse_whole_record(const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a field can't be named \"%s\", which stands for the whole record", WHOLE_RECORD),
			 errhint("%s", hint)));
}

/* Check one "field": "column" of the map against those before it. */
static void
check_mapped_column(Relation rel, const Binding *binding, const Fields *map, int i)
{
	const JsonbValue *value = &map->field[i].value;
	Form_pg_attribute att;
	char	   *name;

	if (map->field[i].name.len == 0 || value->type != jbvString || value->val.string.len == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns must be an object of field names and column names"),
				 errdetail("The value of \"%s\" is no column name.",
						   field_name_cstring(map->field[i].name)),
				 errhint("For instance: {\"fullName\": \"full_name\"}.")));
	if (strcmp(field_name_cstring(map->field[i].name), WHOLE_RECORD) == 0)
		refuse_whole_record("Give it another name in columns.");
	name = pnstrdup(value->val.string.val, value->val.string.len);
	att = find_column(rel, "columns", name);
	if (att->attgenerated != '\0')
		refuse_column("columns", name, "which is generated",
					  "Leave it out: the table computes it from the others.");
	if (att->attidentity == ATTRIBUTE_IDENTITY_ALWAYS && binding->out)
		refuse_column("columns", name, "an identity column that is always generated",
					  "Leave it out, make it GENERATED BY DEFAULT, or give direction => 'in'.");
	if (is_key(binding, name))
		refuse_column("columns", name, "which belongs to the key",
					  "The key's values are the external id; they are no field besides.");
	for (int j = 0; j < i; j++)
	{
		const JsonbValue *other = &map->field[j].value;

		if (json_value_equal(value, other))
			refuse_column("columns", name, "twice", "A column can be one field only.");
	}
}

static void
check_columns(Relation rel, const Binding *binding)
{
	Fields		map;

	if (binding->columns == NULL)
	{
		if (get_attnum(RelationGetRelid(rel), WHOLE_RECORD) != InvalidAttrNumber &&
			!is_key(binding, WHOLE_RECORD))
			refuse_whole_record("Give columns => '{\"field\": \"column\", ...}', without the column or under another name.");
		return;
	}
	if (!JB_ROOT_IS_OBJECT(binding->columns))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("columns must be an object of field names and column names"),
				 errhint("For instance: {\"fullName\": \"full_name\"}.")));
	fields_from_container(&binding->columns->root, &map);
	for (int i = 0; i < map.n; i++)
		check_mapped_column(rel, binding, &map, i);
}

static void
check_special_columns(Relation rel, const Binding *binding)
{
	Form_pg_attribute att;

	if (binding->version_column != NULL)
	{
		att = find_column(rel, "version_column", binding->version_column);
		if (att->atttypid != INT2OID && att->atttypid != INT4OID && att->atttypid != INT8OID)
			refuse_column("version_column", binding->version_column, "which is no integer",
						  "It must be smallint, integer or bigint.");
		if (is_key(binding, binding->version_column) || att->attgenerated != '\0')
			refuse_column("version_column", binding->version_column, "which can't be written", NULL);
	}
	if (binding->updated_column != NULL)
	{
		att = find_column(rel, "updated_column", binding->updated_column);
		if (att->atttypid != TIMESTAMPTZOID && att->atttypid != TIMESTAMPOID)
			refuse_column("updated_column", binding->updated_column, "which is no timestamp",
						  "It must be timestamp with or without time zone; without is taken for UTC.");
		if (is_key(binding, binding->updated_column) || att->attgenerated != '\0')
			refuse_column("updated_column", binding->updated_column, "which can't be written", NULL);
	}
}

static void
check_deleted_column(Relation rel, const Binding *binding)
{
	const char *name = binding->deleted_column;
	Form_pg_attribute att;

	if (name == NULL)
		return;
	att = find_column(rel, "deleted_column", name);
	if (att->atttypid != BOOLOID && att->atttypid != TIMESTAMPTZOID && att->atttypid != TIMESTAMPOID)
		refuse_column("deleted_column", name, "which is neither boolean nor timestamp",
					  "It says that a row is deleted by true, or by a time.");
	if (is_key(binding, name) || att->attgenerated != '\0')
		refuse_column("deleted_column", name, "which can't be written", NULL);
	if (binding->capture == CAPTURE_TRIGGER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deleted_column needs a polled relation"),
				 errhint("Give capture => 'poll', or leave it out: then it is a field like others.")));
}

/* ---------- the key ---------- */

/* Take the primary key's columns, in its own order. */
static void
use_primary_key(Relation rel, Binding *binding)
{
	Oid			index_oid = has_own_rows(rel) ? RelationGetPrimaryKeyIndex_compat(rel) : InvalidOid;
	Relation	index;

	if (!OidIsValid(index_oid))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("relation \"%s\" has no primary key", RelationGetRelationName(rel)),
				 errhint("Add one, or name the columns that make the external id: key => '{column, ...}'.")));
	index = index_open(index_oid, AccessShareLock);
	binding->nkeys = IndexRelationGetNumberOfKeyAttributes(index);
	binding->key = palloc(sizeof(char *) * binding->nkeys);
	for (int i = 0; i < binding->nkeys; i++)
		binding->key[i] = get_attname(RelationGetRelid(rel), index->rd_index->indkey.values[i], false);
	index_close(index, AccessShareLock);
}

static void
read_key(ArrayType *array, Binding *binding)
{
	binding->key = (const char **) names_of_array(PointerGetDatum(array), "key", &binding->nkeys);
	if (binding->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key names no column"),
				 errhint("Leave it out to use the primary key.")));
	for (int i = 0; i < binding->nkeys; i++)
		for (int j = 0; j < i; j++)
			if (strcmp(binding->key[i], binding->key[j]) == 0)
				refuse_column("key", binding->key[i], "twice", NULL);
}

/* Does a unique index see to it that no two rows have the same key? */
static bool
key_is_unique(Relation rel, const Binding *binding)
{
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;
	bool		unique = false;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		Form_pg_index form = index->rd_index;
		int			matched = 0;

		if (form->indisunique && form->indisvalid && form->indimmediate &&
			RelationGetIndexPredicate(index) == NIL &&
			IndexRelationGetNumberOfKeyAttributes(index) == binding->nkeys)
		{
			for (int i = 0; i < binding->nkeys; i++)
			{
				AttrNumber	attnum = form->indkey.values[i];

				if (attnum > 0 && is_key(binding, get_attname(RelationGetRelid(rel), attnum, false)))
					matched++;
			}
		}
		index_close(index, AccessShareLock);
		if (matched == binding->nkeys)
			unique = true;
	}
	list_free(indexes);
	return unique;
}

/*
 * A partitioned table need not have the index itself, as that would need the
 * partition key in it; its partitions must.
 */
static bool
key_is_unique_in_leaves(Relation rel, const Binding *binding)
{
	List	   *members = find_all_inheritors(RelationGetRelid(rel), AccessShareLock, NULL);
	ListCell   *lc;

	foreach(lc, members)
	{
		Relation	member = relation_open(lfirst_oid(lc), NoLock);
		bool		unique = member->rd_rel->relkind != RELKIND_RELATION ||
			key_is_unique(member, binding);

		relation_close(member, NoLock);
		if (!unique)
			return false;
	}
	return true;
}

static void
check_key(Relation rel, const Binding *binding)
{
	bool		unique;

	for (int i = 0; i < binding->nkeys; i++)
	{
		Form_pg_attribute att = find_column(rel, "key", binding->key[i]);

		if (att->attgenerated != '\0')
			refuse_column("key", binding->key[i], "which is generated", NULL);
		if (!OidIsValid(lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR)->eq_opr))
			refuse_column("key", binding->key[i], "whose type has no equality operator", NULL);
		if (has_own_rows(rel) && !att->attnotnull)
			refuse_column("key", binding->key[i], "which may be null",
						  psprintf("A record must have an external id: ALTER TABLE %s ALTER %s SET NOT NULL.",
								   quote_identifier(RelationGetRelationName(rel)),
								   quote_identifier(binding->key[i])));
	}
	if (!has_own_rows(rel))
		return;
	unique = key_is_unique(rel, binding);
	if (!unique && rel->rd_rel->relkind == RELKIND_PARTITIONED_TABLE)
		unique = key_is_unique_in_leaves(rel, binding);
	if (!unique)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("no unique index of relation \"%s\" has just the key's columns",
						RelationGetRelationName(rel)),
				 errhint("Two rows must not be the same record: create a unique index on them, without expression, predicate or DEFERRABLE.")));
}

/* ---------- triggers ---------- */

static void
run_utility(const char *sql)
{
	int			result = SPI_execute(sql, false, 0);

	if (result != SPI_OK_UTILITY)
		elog(ERROR, "%s failed: %s", sql, SPI_result_code_string(result));
}

static char *
qualified_name(Oid relid)
{
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)),
									  get_rel_name(relid));
}

/*
 * The relations that need a trigger against TRUNCATE: statement triggers of a
 * partitioned table see nothing of a TRUNCATE of one of its partitions.
 */
static List *
truncatable(Oid relid, LOCKMODE lockmode)
{
	List	   *result = NIL;
	ListCell   *lc;

	if (get_rel_relkind(relid) != RELKIND_PARTITIONED_TABLE)
		return list_make1_oid(relid);
	foreach(lc, find_all_inheritors(relid, lockmode, NULL))
	{
		if (get_rel_relkind(lfirst_oid(lc)) != RELKIND_FOREIGN_TABLE)
			result = lappend_oid(result, lfirst_oid(lc));
	}
	return result;
}

static void
create_truncate_triggers(Oid relid, LOCKMODE lockmode)
{
	ListCell   *lc;

	foreach(lc, truncatable(relid, lockmode))
	{
		char	   *name = qualified_name(lfirst_oid(lc));
		Oid			capture = get_trigger_oid(lfirst_oid(lc), CAPTURE_TRIGGER_NAME, true);
		Oid			truncate = get_trigger_oid(lfirst_oid(lc), TRUNCATE_TRIGGER_NAME, true);

		if (OidIsValid(truncate) && truncate > capture)
			continue;
		/* it is older than the row trigger: the table left, and is back */
		if (OidIsValid(truncate))
			run_utility(psprintf("DROP TRIGGER " TRUNCATE_TRIGGER_NAME " ON %s", name));
		run_utility(psprintf("CREATE TRIGGER " TRUNCATE_TRIGGER_NAME " BEFORE TRUNCATE ON %s"
							 " FOR EACH STATEMENT EXECUTE FUNCTION syncext.capture()",
							 name));
		run_utility(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER " TRUNCATE_TRIGGER_NAME, name));
	}
}

/*
 * Put the triggers on the table.  Nobody may execute their function, so its
 * owner creates them.  They fire always, as a row that logical replication
 * writes is a row of the source's copy like any other.
 */
static void
create_triggers(Oid relid)
{
	char	   *name = qualified_name(relid);

	run_utility(psprintf("CREATE TRIGGER " CAPTURE_TRIGGER_NAME
						 " AFTER INSERT OR UPDATE OR DELETE ON %s"
						 " FOR EACH ROW EXECUTE FUNCTION syncext.capture()",
						 name));
	run_utility(psprintf("ALTER TABLE %s ENABLE ALWAYS TRIGGER " CAPTURE_TRIGGER_NAME, name));
	create_truncate_triggers(relid, ShareRowExclusiveLock);
}

/* Act as the tables' owner, whose the trigger function is, too, for a while. */
static void
as_owner(void (*act) (Oid relid), Oid relid)
{
	Oid			user;
	int			security;

	GetUserIdAndSecContext(&user, &security);
	/* by name in the statements: it has to be ours */
	(void) attached_capture_function();
	SetUserIdAndSecContext(registry_owner(), security | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	SPI_connect();
	act(relid);
	SPI_finish();
	SetUserIdAndSecContext(user, security);
}

static void
complete_triggers(Oid relid)
{
	create_truncate_triggers(relid, AccessShareLock);
}

void
attach_complete(Oid relid)
{
	as_owner(complete_triggers, relid);
}

static void
drop_trigger(Oid relid, const char *trigger)
{
	if (OidIsValid(get_trigger_oid(relid, trigger, true)))
		run_utility(psprintf("DROP TRIGGER %s ON %s", trigger, qualified_name(relid)));
}

static void
drop_triggers(Oid relid)
{
	ListCell   *lc;

	SPI_connect();
	drop_trigger(relid, CAPTURE_TRIGGER_NAME);
	foreach(lc, truncatable(relid, AccessExclusiveLock))
		drop_trigger(lfirst_oid(lc), TRUNCATE_TRIGGER_NAME);
	SPI_finish();
}

/* ---------- bindings that are in the way ---------- */

static void
forget_dropped(const Binding *binding)
{
	binding_remove(binding->relation, false);
	CommandCounterIncrement();
}

static void
check_other_bindings(const Binding *binding)
{
	const Binding *other = binding_of_relation(binding->relation);

	if (other != NULL && !binding_stands(other))
		forget_dropped(other);
	else if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("relation \"%s\" is already attached: it is source \"%s\"'s copy of entity \"%s\"",
						get_rel_name(binding->relation), other->source, other->entity),
				 errhint_call("Detach it first: SELECT sync_detach(%s).",
						 quote_literal_cstr(qualified_name(binding->relation)))));
	other = binding_of_entity(binding->source, binding->entity);
	if (other == NULL)
		return;
	if (!binding_stands(other))
	{
		forget_dropped(other);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("source \"%s\" already has a copy of entity \"%s\": relation %s",
					binding->source, binding->entity, qualified_name(other->relation)),
			 errhint_call("Detach it first: SELECT sync_detach(%s).",
					 quote_literal_cstr(qualified_name(other->relation)))));
}

/* ---------- the functions ---------- */

static char *
required_text(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
	return text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static char *
optional_text(FunctionCallInfo fcinfo, int arg)
{
	return PG_ARGISNULL(arg) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(arg));
}

static void
read_capture(const char *capture, Binding *binding)
{
	if (strcmp(capture, "trigger") == 0)
		binding->capture = CAPTURE_TRIGGER;
	else if (strcmp(capture, "none") == 0)
		binding->capture = CAPTURE_NONE;
	else if (strcmp(capture, "poll") == 0)
		binding->capture = CAPTURE_POLL;
	else
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capture is \"%s\", which is unknown", capture),
				 errhint("It is 'trigger', 'poll' or 'none'.")));
}

static void
read_direction(const char *direction, Binding *binding)
{
	binding->in = strcmp(direction, "out") != 0;
	binding->out = strcmp(direction, "in") != 0;
	if (binding->in && binding->out && strcmp(direction, "both") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("direction is \"%s\", which is unknown", direction),
				 errhint("It is 'both', 'in' (its edits go to the hub) or 'out' (the hub's records are written to it).")));
	/* what never goes to the hub needs no capture */
	if (!binding->in)
		binding->capture = CAPTURE_NONE;
}

static void
read_arguments(FunctionCallInfo fcinfo, Binding *binding)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
	binding->relation = PG_GETARG_OID(0);
	binding->source = required_text(fcinfo, 1, "source");
	binding->entity = required_text(fcinfo, 2, "entity");
	if (!PG_ARGISNULL(3))
		read_key(PG_GETARG_ARRAYTYPE_P(3), binding);
	if (!PG_ARGISNULL(4))
		binding->columns = PG_GETARG_JSONB_P(4);
	read_capture(required_text(fcinfo, 5, "capture"), binding);
	read_direction(required_text(fcinfo, 6, "direction"), binding);
	binding->version_column = optional_text(fcinfo, 7);
	binding->updated_column = optional_text(fcinfo, 8);
	binding->deleted_column = optional_text(fcinfo, 9);
}

Datum
sync_attach(PG_FUNCTION_ARGS)
{
	Binding		binding = {0};
	const Registry *registry = registry_get();
	Relation	rel;

	read_arguments(fcinfo, &binding);
	source_role_check(registry_source_required(registry, binding.source));
	(void) registry_entity_required(registry, binding.entity);
	check_owner(binding.relation, "Have its owner attach it, as a member of the source's role.");

	/* no edit of others may fall between the binding and the triggers */
	rel = try_relation_open(binding.relation, ShareRowExclusiveLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist any more", binding.relation)));
	/* who owned it may have given it away while we waited, or lost the source */
	check_owner(binding.relation, "Have its owner attach it, as a member of the source's role.");
	source_role_check(registry_source_required(registry_get(), binding.source));
	check_relation(rel, &binding);
	if (binding.nkeys == 0)
		use_primary_key(rel, &binding);
	check_key(rel, &binding);
	check_columns(rel, &binding);
	check_special_columns(rel, &binding);
	check_deleted_column(rel, &binding);
	check_writable(rel, &binding);
	relation_close(rel, NoLock);
	check_other_bindings(&binding);
	linked_check_binding(&binding);
	binding.row_type = get_rel_type_id(binding.relation);
	binding.name = qualified_name(binding.relation);
	if (!role_is_administrator())
	{
		binding.attached_by = GetUserNameFromId(GetUserId(), false);
		binding.attached_as = registry_source_required(registry, binding.source)->role_name;
	}

	binding_add(&binding);
	CommandCounterIncrement();
	linked_resume(&binding);
	if (binding_captures(&binding))
		source_set_single_writer(binding.source, true);
	if (binding.capture == CAPTURE_TRIGGER)
	{
		as_owner(create_triggers, binding.relation);
		loaded_at_attach(binding.relation);
	}
	else
		loaded_columns(binding.relation);
	PG_RETURN_VOID();
}

/* A source none of whose relations is captured may have many writers again. */
static void
reset_single_writer(const char *source)
{
	ListCell   *lc;

	foreach(lc, binding_list(source, NULL))
	{
		if (binding_captures(lfirst(lc)))
			return;
	}
	source_set_single_writer(source, false);
}

/* The binding as it is now, for one who may end it. */
static const Binding *
owned_binding(Oid relid, bool *exists)
{
	const Binding *binding = binding_of_relation(relid);
	const Source *source;

	*exists = get_rel_name(relid) != NULL && (binding == NULL || binding_stands(binding));
	if (*exists)
		check_owner(relid, "Have its owner detach it.");
	if (binding == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("relation %s is not attached",
						*exists ? qualified_name(relid) : psprintf("%u", relid)),
				 errhint("Table syncext.binding lists those that are.")));
	source = registry_source(registry_get(), binding->source);
	if (!*exists && source != NULL)
		source_role_check(source);
	return binding;
}

/* Wait for who works on the relation: a delivery, say, would leave rows behind. */
static void
lock_to_detach(const Binding *binding, bool exists)
{
	if (exists)
		LockRelationOid(binding->relation, binding->capture == CAPTURE_TRIGGER ?
						AccessExclusiveLock : ShareRowExclusiveLock);
	if (binding->capture == CAPTURE_POLL)
		(void) transfer_lock(binding->relation, -1);
}

Datum
sync_detach(PG_FUNCTION_ARGS)
{
	Oid			relid;
	const Binding *binding;
	bool		exists;

	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("relation must not be null")));
	relid = PG_GETARG_OID(0);
	binding = owned_binding(relid, &exists);
	lock_to_detach(binding, exists);
	/* who was waited for may have detached it, or attached it anew */
	binding = owned_binding(relid, &exists);

	/* what was captured for a hub behind a link is based on what it is bound to */
	capture_buffer_flush();
	if (exists && binding->capture == CAPTURE_TRIGGER)
		drop_triggers(relid);
	binding_remove(relid, exists && linked_keep(binding));
	CommandCounterIncrement();
	/* does nothing where there is no such source any more */
	if (binding_captures(binding))
		reset_single_writer(binding->source);
	PG_RETURN_VOID();
}
