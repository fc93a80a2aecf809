/*
 * attach_check.c
 *	  What can be attached: a relation, its key and its columns.
 *
 * All that can be wrong with them is found here, so that capture and delivery need
 * not.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "catalog/catalog.h"
#include "catalog/partition.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "catalog/pg_type.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/typcache.h"

#include "compat.h"
#include "local/attach_check.h"
#include "local/attached_relation.h"
#include "model/fields.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/relations.h"

/* ---------- the relation ---------- */

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
					psprintf("Attach the partitioned table: %s.", names_of_relation(top)));
}

static void
check_relation(Relation rel, const Binding *binding)
{
	const char *untriggered = "Edits of it cannot be captured by trigger: give capture => 'poll', or 'none'.";

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
				 errdetail("It does not let rows be inserted, updated and deleted."),
				 errhint("Give direction => 'in' to poll it only.")));
}

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
			 errmsg("a field cannot be named \"%s\", which stands for the whole record", WHOLE_RECORD),
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
check_special_column(Relation rel, const Binding *binding, const char *argument, const char *name,
					 SpecialColumn which, const char *why, const char *hint)
{
	Form_pg_attribute att;

	if (name == NULL)
		return;
	att = find_column(rel, argument, name);
	if (!special_column_takes(which, att->atttypid))
		refuse_column(argument, name, why, hint);
	if (is_key(binding, name) || att->attgenerated != '\0')
		refuse_column(argument, name, "which cannot be written", NULL);
}

static void
check_special_columns(Relation rel, const Binding *binding)
{
	check_special_column(rel, binding, "version_column", binding->version_column, SPECIAL_VERSION,
						 "which is no integer", "It must be smallint, integer or bigint.");
	check_special_column(rel, binding, "updated_column", binding->updated_column, SPECIAL_UPDATED,
						 "which is no timestamp",
						 "It must be timestamp with or without time zone; without is taken for UTC.");
	check_special_column(rel, binding, "deleted_column", binding->deleted_column, SPECIAL_DELETED,
						 "which is neither boolean nor timestamp",
						 "It says that a row is deleted by true, or by a time.");
	if (binding->deleted_column != NULL && binding->capture == CAPTURE_TRIGGER)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("deleted_column needs a polled relation"),
				 errhint("Give capture => 'poll', or leave it out: then it is a field like others.")));
}

/* Take the primary key's columns, in its own order. */
static void
use_primary_key(Relation rel, Binding *binding)
{
	Oid			index_oid = relkind_has_rows(rel->rd_rel->relkind) ? RelationGetPrimaryKeyIndex_compat(rel) : InvalidOid;
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

		for (int j = 0; j < i; j++)
			if (strcmp(binding->key[i], binding->key[j]) == 0)
				refuse_column("key", binding->key[i], "twice", NULL);
		if (att->attgenerated != '\0')
			refuse_column("key", binding->key[i], "which is generated", NULL);
		if (!OidIsValid(lookup_type_cache(att->atttypid, TYPECACHE_EQ_OPR)->eq_opr))
			refuse_column("key", binding->key[i], "whose type has no equality operator", NULL);
		if (relkind_has_rows(rel->rd_rel->relkind) && !att->attnotnull)
			refuse_column("key", binding->key[i], "which may be null",
						  psprintf("A record must have an external id: ALTER TABLE %s ALTER %s SET NOT NULL.",
								   quote_identifier(RelationGetRelationName(rel)),
								   quote_identifier(binding->key[i])));
	}
	if (!relkind_has_rows(rel->rd_rel->relkind))
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

/* ---------- counters ---------- */

static bool
maps_field(Relation rel, const Binding *binding, FieldName field)
{
	Fields		map = fields_of(binding->columns);

	return binding->columns != NULL ? fields_find(&map, field) != NULL :
		get_attnum(RelationGetRelid(rel), field_name_cstring(field)) > 0;
}

/*
 * An edit of a counter is what the row has more than when it was last seen.  So a delivery
 * has to see what it overwrites: that needs rows that can be locked.
 */
static void
check_counters(Relation rel, const Binding *binding)
{
	const Entity *entity = registry_entity(registry_get(), binding->entity);

	if (relkind_has_rows(rel->rd_rel->relkind) || !binding->in || !binding->out || entity == NULL)
		return;
	for (int i = 0; i < entity->field_rules.n; i++)
	{
		const FieldRule *rule = &entity->field_rules.rule[i];

		if (rule->kind == FIELD_RULE_SUM && maps_field(rel, binding, rule->field))
			ereport(ERROR,
					(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
					 errmsg("relation \"%s\" cannot be attached: its field \"%s\" has rule sum",
							RelationGetRelationName(rel), field_name_cstring(rule->field)),
					 errdetail("Rows of a foreign table or a view are not locked when they are written, and what was added to them meanwhile would be lost."),
					 errhint("Give direction => 'in' or 'out', or leave the field out of columns.")));
	}
}

/* ---------- keys of its own ---------- */

static void
refuse_own_keys(Relation rel, const char *why, const char *hint)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("relation \"%s\" cannot have keys of its own: %s", RelationGetRelationName(rel), why),
			 errhint("%s", hint)));
}

static void
check_external_id_column(Relation rel, const Binding *binding)
{
	if (binding->external_id_column != NULL && !binding->own_keys)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("external_id_column needs own_keys"),
				 errhint("Without them the key is the record's external id.")));
	check_special_column(rel, binding, "external_id_column", binding->external_id_column,
						 SPECIAL_EXTERNAL_ID, "which is neither text nor varchar",
						 "A record's id may be any text.");
}

/* The first column of the key that an insert which leaves it out doesn't fill; NULL: none. */
static const char *
unfilled_key(Relation rel, const Binding *binding)
{
	for (int i = 0; i < binding->nkeys; i++)
		if (build_column_default(rel, get_attnum(RelationGetRelid(rel), binding->key[i])) == NULL)
			return binding->key[i];
	return NULL;
}

/*
 * A record that is delivered gets its key when its row is inserted.  A foreign server
 * commits that before we do, so after a crash the row must be found by what it has.
 */
static void
check_own_keys(Relation rel, const Binding *binding)
{
	bool		foreign = rel->rd_rel->relkind == RELKIND_FOREIGN_TABLE;
	const char *unfilled;

	check_external_id_column(rel, binding);
	if (!binding->own_keys || !binding->out)
		return;
	if (foreign && binding->external_id_column == NULL)
		refuse_own_keys(rel, "its server commits a row before its key is noted here, and a crash between the two would have it inserted again",
						"Give external_id_column => 'column', one that may hold the hub's id of the record.");
	unfilled = unfilled_key(rel, binding);
	if (unfilled != NULL && (binding->external_id_column == NULL || binding->capture == CAPTURE_TRIGGER))
		refuse_own_keys(rel, psprintf("nothing fills key column \"%s\" of a row that is inserted without it", unfilled),
						relkind_has_rows(rel->rd_rel->relkind) ? "Make it GENERATED BY DEFAULT AS IDENTITY, or give it a default, as a sequence's nextval()." :
						"Give it a default here, as a sequence's nextval(); or external_id_column => 'column', by which the key is read that the server has given.");
}

/* ---------- all of it ---------- */

void
attach_check(Relation rel, Binding *binding)
{
	check_relation(rel, binding);
	if (binding->nkeys == 0)
		use_primary_key(rel, binding);
	check_key(rel, binding);
	check_columns(rel, binding);
	check_special_columns(rel, binding);
	check_own_keys(rel, binding);
	check_writable(rel, binding);
	check_counters(rel, binding);
}
