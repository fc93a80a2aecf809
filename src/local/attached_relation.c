/*
 * attached_relation.c
 *	  An attached relation as capture and delivery see it.
 *
 * The cache is marked by relcache callbacks: of the relation itself, and of the one
 * that stands for all configuration.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/relation.h"
#include "catalog/partition.h"
#include "catalog/pg_attribute.h"
#include "catalog/pg_class.h"
#include "catalog/pg_trigger.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "rewrite/rewriteHandler.h"
#include "storage/config_cache.h"
#include "storage/hints.h"
#include "storage/lmgr.h"
#include "storage/registry.h"
#include "storage/rights.h"
#include "storage/rows.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"
#include "utils/typcache.h"

#include "compat.h"
#include "local/attached_relation.h"
#include "local/own_trigger.h"
#include "local/table_code.h"
#include "model/json_read.h"

typedef struct AttachedEntry
{
	Oid			relid;			/* hash key */
	bool		valid;
	Attached   *attached;		/* NULL: none was built yet */
} AttachedEntry;

static HTAB *attached_cache = NULL;
static HTAB *attached_watched = NULL;	/* relations whose change outdates all */
static Oid	attached_trigger_relid = InvalidOid;	/* invalidating it outdates all */

/* ---------- building ---------- */

/* The trigger function syncext.capture(). */
Oid
attached_capture_function(void)
{
	return extension_function("capture");
}

/* Keep the first thing that is wrong. */
static void
note_problem(Attached *attached, const char *problem)
{
	if (attached->problem == NULL)
		attached->problem = problem;
}

/* Describe a column; false, and a problem, if the relation has none of that name. */
static bool
init_column(Attached *attached, AttachedColumn *column, Relation rel, const char *name,
			FieldName field)
{
	AttrNumber	attnum = get_attnum(RelationGetRelid(rel), name);
	Form_pg_attribute att;

	if (attnum <= InvalidAttrNumber || attnum > RelationGetNumberOfAttributes(rel))
	{
		note_problem(attached, psprintf("column \"%s\" of attached relation %s does not exist any more",
										name, attached->name));
		return false;
	}
	att = TupleDescAttr(RelationGetDescr(rel), attnum - 1);
	column->name = pstrdup(name);
	column->field = field;
	column->attnum = attnum;
	column->type = att->atttypid;
	column->not_null = att->attnotnull;
	column->value = value_type(att->atttypid, att->atttypmod);
	column->input = value_input(att->atttypid, att->atttypmod);
	return true;
}

bool
special_column_takes(SpecialColumn which, Oid type)
{
	switch (which)
	{
		case SPECIAL_VERSION:
			return type == INT2OID || type == INT4OID || type == INT8OID;
		case SPECIAL_EXTERNAL_ID:
			return type == TEXTOID || type == VARCHAROID;
		case SPECIAL_UPDATED:
		case SPECIAL_DELETED:
			break;
	}
	return type == TIMESTAMPTZOID || type == TIMESTAMPOID ||
		(type == BOOLOID && which == SPECIAL_DELETED);
}

static AttachedColumn *
make_special_column(Attached *attached, Relation rel, const char *name, SpecialColumn which)
{
	FieldName	none = {NULL, 0};
	AttachedColumn *column;

	if (name == NULL)
		return NULL;
	column = palloc0(sizeof(AttachedColumn));
	if (!init_column(attached, column, rel, name, none))
		return NULL;
	if (special_column_takes(which, column->type))
		return column;
	note_problem(attached, psprintf("column \"%s\" of attached relation %s is of type %s now, which cannot serve as what it was attached as",
									name, attached->name, format_type_be(column->type)));
	return NULL;
}

static void
init_special_columns(Attached *attached, Relation rel)
{
	const Binding *binding = attached->binding;

	attached->version = make_special_column(attached, rel, binding->version_column, SPECIAL_VERSION);
	attached->updated = make_special_column(attached, rel, binding->updated_column, SPECIAL_UPDATED);
	attached->deleted = make_special_column(attached, rel, binding->deleted_column, SPECIAL_DELETED);
	attached->external_id = make_special_column(attached, rel, binding->external_id_column,
												SPECIAL_EXTERNAL_ID);
}

/*
 * Is the column an identity?  Before 17 that is known of the bound relation alone,
 * not of its partitions.  Nobody need lock it to be told: its columns don't change
 * while a partition is locked.
 */
static bool
is_identity(const Binding *binding, Relation rel, Form_pg_attribute att)
{
	HeapTuple	tuple;
	bool		identity;

	if (att->attidentity != '\0' || binding->relation == RelationGetRelid(rel))
		return att->attidentity != '\0';
	tuple = SearchSysCacheAttName(binding->relation, NameStr(att->attname));
	if (!HeapTupleIsValid(tuple))
		return false;
	identity = ((Form_pg_attribute) GETSTRUCT(tuple))->attidentity != '\0';
	ReleaseSysCache(tuple);
	return identity;
}

static bool
is_named(const char *name, const char *column)
{
	return column != NULL && strcmp(name, column) == 0;
}

/* Is the column one that is a field where no map says otherwise? */
static bool
column_is_plain(const Binding *binding, Relation rel, Form_pg_attribute att)
{
	const char *name = NameStr(att->attname);

	if (att->attisdropped || att->attgenerated != '\0' || is_identity(binding, rel, att))
		return false;
	/* it would stand for the whole record; sync_check tells */
	if (is_named(name, WHOLE_RECORD) || is_named(name, binding->version_column) ||
		is_named(name, binding->updated_column) || is_named(name, binding->deleted_column) ||
		is_named(name, binding->external_id_column))
		return false;
	for (int i = 0; i < binding->nkeys; i++)
		if (strcmp(name, binding->key[i]) == 0)
			return false;
	return true;
}

static int
compare_columns(const void *a, const void *b)
{
	return field_name_cmp(((const AttachedColumn *) a)->field,
						  ((const AttachedColumn *) b)->field);
}

static int
compare_places(const void *a, const void *b)
{
	return (*(const AttachedColumn *const *) a)->attnum - (*(const AttachedColumn *const *) b)->attnum;
}

static void
put_in_order(Attached *attached)
{
	qsort(attached->columns, attached->ncolumns, sizeof(AttachedColumn), compare_columns);
	attached->in_table_order = palloc(sizeof(AttachedColumn *) * Max(attached->ncolumns, 1));
	for (int i = 0; i < attached->ncolumns; i++)
		attached->in_table_order[i] = &attached->columns[i];
	qsort(attached->in_table_order, attached->ncolumns, sizeof(AttachedColumn *), compare_places);
}

/*
 * Tell which columns are fields.  A partition has the columns of the relation that
 * is bound, in another order perhaps.
 */
static void
init_columns(Attached *attached, Relation rel)
{
	const Binding *binding = attached->binding;

	if (binding->problem != NULL)
		note_problem(attached, psprintf("relation %s: %s", attached->name, binding->problem));
	if (binding->columns != NULL)
	{
		Fields		map = fields_of(binding->columns);

		attached->columns = palloc0(sizeof(AttachedColumn) * Max(map.n, 1));
		for (int i = 0; i < map.n; i++)
		{
			char	   *name = json_read_string(&map.field[i].value);

			if (strcmp(field_name_cstring(map.field[i].name), WHOLE_RECORD) == 0)
			{
				note_problem(attached, psprintf("relation %s is attached with a field \"%s\", which stands for the whole record",
												attached->name, WHOLE_RECORD));
				continue;
			}
			if (init_column(attached, &attached->columns[attached->ncolumns], rel, name,
							map.field[i].name))
				attached->ncolumns++;
		}
	}
	else
	{
		TupleDesc	desc = RelationGetDescr(rel);

		attached->columns = palloc0(sizeof(AttachedColumn) * Max(desc->natts, 1));
		for (int i = 0; i < desc->natts; i++)
		{
			Form_pg_attribute att = TupleDescAttr(desc, i);

			if (column_is_plain(binding, rel, att) &&
				init_column(attached, &attached->columns[attached->ncolumns], rel,
							NameStr(att->attname), field_name(pstrdup(NameStr(att->attname)))))
				attached->ncolumns++;
		}
	}
	put_in_order(attached);
}

/*
 * Prepare jsonb_populate_record.  Its first argument is a row of nulls and not
 * a null row: then columns that the object leaves out are left alone, also
 * those of a domain that forbids nulls.
 */
static void
init_populate(Attached *attached)
{
	TupleDesc	desc = attached->desc;
	Datum	   *values = palloc0(sizeof(Datum) * Max(desc->natts, 1));
	bool	   *isnull = palloc(sizeof(bool) * Max(desc->natts, 1));
	List	   *args = list_make2(makeNullConst(attached->row_type, -1, InvalidOid),
								  makeNullConst(JSONBOID, -1, InvalidOid));

	memset(isnull, true, sizeof(bool) * desc->natts);
	attached->empty_row = heap_copy_tuple_as_datum(heap_form_tuple(desc, values, isnull), desc);
	fmgr_info_cxt(F_JSONB_POPULATE_RECORD, &attached->populate, attached->context);
	fmgr_info_set_expr((Node *) makeFuncExpr(F_JSONB_POPULATE_RECORD, attached->row_type, args,
											 InvalidOid, InvalidOid, COERCE_EXPLICIT_CALL),
					   &attached->populate);
}

static void
add_read(Attached *attached, const AttachedColumn *column)
{
	if (column == NULL)
		return;
	attached->read[attached->nread++] = column;
	attached->depends_on_gucs |= value_depends_on_gucs(column->value);
	attached->fragile |= value_is_fragile(column->value);
	attached->last_attnum = Max(attached->last_attnum, column->attnum);
}

/* List the columns that matter: the key, the fields, and those that say more. */
static void
init_read(Attached *attached)
{
	attached->read = palloc(sizeof(AttachedColumn *) * (attached->nkeys + attached->ncolumns + 4));
	for (int i = 0; i < attached->nkeys; i++)
		add_read(attached, &attached->keys[i]);
	for (int i = 0; i < attached->ncolumns; i++)
		add_read(attached, &attached->columns[i]);
	add_read(attached, attached->version);
	add_read(attached, attached->updated);
	add_read(attached, attached->deleted);
	add_read(attached, attached->external_id);
}

/* Can what is stored differ from what a statement writes? */
static bool
may_change_rows(Relation rel)
{
	Oid			capture = attached_capture_function();
	/* read after the last look into the catalogs, which may replace it */
	TriggerDesc *triggers = rel->trigdesc;

	/* partitions may have triggers of their own */
	if (rel->rd_rel->relkind != RELKIND_RELATION || rel->rd_rules != NULL)
		return true;
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (!triggers->triggers[i].tgisinternal && !own_trigger_is(&triggers->triggers[i], capture))
			return true;
	return false;
}

/* Does a foreign key's action change rows of other tables, whose triggers fire then? */
static bool
is_action(const Trigger *trigger)
{
	return trigger->tgfoid == F_RI_FKEY_CASCADE_DEL || trigger->tgfoid == F_RI_FKEY_CASCADE_UPD ||
		trigger->tgfoid == F_RI_FKEY_SETNULL_DEL || trigger->tgfoid == F_RI_FKEY_SETNULL_UPD ||
		trigger->tgfoid == F_RI_FKEY_SETDEFAULT_DEL || trigger->tgfoid == F_RI_FKEY_SETDEFAULT_UPD;
}

/* Does code of others run between the capture of two rows of a statement? */
static bool
runs_code(Relation rel)
{
	Oid			capture = attached_capture_function();
	TriggerDesc *triggers = rel->trigdesc;

	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
	{
		const Trigger *trigger = &triggers->triggers[i];

		if (TRIGGER_FOR_ROW(trigger->tgtype) &&
			(trigger->tgtype & TRIGGER_TYPE_TIMING_MASK) == TRIGGER_TYPE_AFTER &&
			!own_trigger_is(trigger, capture) && (!trigger->tgisinternal || is_action(trigger)))
			return true;
	}
	return false;
}

/* Can a constraint be deferred that a row of the relation may break? */
static bool
may_defer(Relation rel)
{
	TriggerDesc *triggers = rel->trigdesc;

	/* of the tables behind a view or a rule nothing is known here */
	if (!relkind_has_rows(rel->rd_rel->relkind) || rel->rd_rules != NULL)
		return true;
	for (int i = 0; triggers != NULL && i < triggers->numtriggers; i++)
		if (triggers->triggers[i].tgdeferrable)
			return true;
	return false;
}

/*
 * Can rows of the table be found by the key in its primary key's index, as a
 * statement would find them?
 */
static bool
has_key_index(Relation rel, const Binding *binding)
{
	Oid			oid = rel->rd_rel->relkind == RELKIND_RELATION ?
		RelationGetPrimaryKeyIndex_compat(rel) : InvalidOid;
	Relation	index;
	bool		same;

	if (!OidIsValid(oid) || binding->nkeys > ROWS_MAX_KEYS)
		return false;
	index = index_open(oid, AccessShareLock);
	same = index->rd_index->indimmediate && index->rd_index->indisvalid &&
		index->rd_index->indnkeyatts == binding->nkeys;
	for (int i = 0; i < binding->nkeys && same; i++)
	{
		int			attnum = index->rd_index->indkey.values[i];
		Form_pg_attribute column = TupleDescAttr(RelationGetDescr(rel), attnum - 1);

		same = strcmp(NameStr(column->attname), binding->key[i]) == 0 &&
			column->atttypid == index->rd_opcintype[i];
	}
	index_close(index, AccessShareLock);
	return same;
}

/* A type with attributes is changed without a word to the tables that use it. */
static void
watch_type(Attached *attached, Oid type)
{
	Oid			base = getBaseType(type);
	Oid			part = get_element_type(base);
	Oid			relid;
	TupleDesc	desc;

	check_stack_depth();
	if (!OidIsValid(part))
		part = get_range_subtype(base);
	if (OidIsValid(part))
		watch_type(attached, part);
	relid = get_typ_typrelid(base);
	if (!OidIsValid(relid) || list_member_oid(attached->watched, relid))
		return;
	attached->watched = lappend_oid(attached->watched, relid);
	desc = lookup_rowtype_tupdesc_copy(base, -1);
	for (int i = 0; i < desc->natts; i++)
		if (!TupleDescAttr(desc, i)->attisdropped)
			watch_type(attached, TupleDescAttr(desc, i)->atttypid);
}

static void
init_watched(Attached *attached)
{
	attached->watched = NIL;
	if (attached->relid != attached->binding->relation)
		attached->watched = list_make1_oid(attached->binding->relation);
	for (int i = 0; i < attached->nread; i++)
		watch_type(attached, attached->read[i]->type);
}

static void
init_keys(Attached *attached, Relation rel)
{
	const Binding *binding = attached->binding;
	FieldName	none = {NULL, 0};

	attached->keys = palloc0(sizeof(AttachedColumn) * binding->nkeys);
	for (int i = 0; i < binding->nkeys; i++)
		if (init_column(attached, &attached->keys[attached->nkeys], rel, binding->key[i], none))
			attached->nkeys++;
	attached->has_key = attached->nkeys == binding->nkeys;
}

/* What fills the key's columns of a row that is inserted without them? */
static void
init_key_defaults(Attached *attached, Relation rel)
{
	if (!attached->binding->own_keys || attached->relid != attached->binding->relation)
		return;
	for (int i = 0; i < attached->nkeys; i++)
	{
		Node	   *filler = build_column_default(rel, attached->keys[i].attnum);

		if (filler == NULL)
		{
			attached->key_defaults = NIL;
			return;
		}
		attached->key_defaults = lappend(attached->key_defaults, filler);
	}
}

/* Which columns of the bound relation were added since it was loaded? */
static void
init_new(Attached *attached)
{
	Fields		loaded;

	if (attached->binding->loaded == NULL || attached->relid != attached->binding->relation)
		return;
	fields_from_container(&attached->binding->loaded->root, &loaded);
	for (int i = 0; i < attached->ncolumns; i++)
	{
		AttachedColumn *column = &attached->columns[i];
		const JsonbValue *known = fields_value(&loaded, column->name);
		int64		attnum;

		column->is_again = known != NULL &&
			(!json_read_number(known, 0, MaxAttrNumber, &attnum) || attnum != column->attnum);
		column->is_new = known == NULL || column->is_again;
	}
}

/* Build the description, in a memory context of its own. */
static Attached *
attached_build(Relation rel, const Binding *binding)
{
	static uint64 last_id = 0;
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext,
												  "syncext attached relation",
												  ALLOCSET_SMALL_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	Attached   *attached = palloc0(sizeof(Attached));

	attached->context = context;
	attached->id = ++last_id;
	attached->relid = RelationGetRelid(rel);
	attached->binding = binding_copy(binding);
	attached->name = quote_qualified_identifier(get_namespace_name(RelationGetNamespace(rel)),
												RelationGetRelationName(rel));
	attached->relkind = rel->rd_rel->relkind;
	attached->owner = rel->rd_rel->relowner;
	attached->has_triggers = may_change_rows(rel);
	attached->reads_quietly = table_code_reads_quietly(rel);
	attached->runs_code = runs_code(rel);
	attached->deferrable = may_defer(rel);
	attached->row_type = rel->rd_rel->reltype;
	attached->desc = CreateTupleDescCopy(RelationGetDescr(rel));
	attached->natts = attached->desc->natts;
	init_keys(attached, rel);
	attached->has_key_index = attached->has_key && has_key_index(rel, binding);
	init_key_defaults(attached, rel);
	init_columns(attached, rel);
	init_new(attached);
	init_special_columns(attached, rel);
	init_read(attached);
	init_watched(attached);
	init_populate(attached);
	attached->may_send = rights_of_attacher(attached->binding);
	MemoryContextSwitchTo(old);
	return attached;
}

/* ---------- the cache ---------- */

/* Called in the middle of other code: only mark, the next use rebuilds. */
static void
attached_invalidate(Datum arg, Oid relid)
{
	AttachedEntry *entry;
	HASH_SEQ_STATUS status;

	if (OidIsValid(relid) && relid != attached_trigger_relid &&
		hash_search(attached_watched, &relid, HASH_FIND, NULL) == NULL)
	{
		entry = hash_search(attached_cache, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&status, attached_cache);
	while ((entry = hash_seq_search(&status)) != NULL)
		entry->valid = false;
}

/* Statements name the relation with its schema; and roles lose rights. */
static void
attached_forget_names(Datum arg, int cacheid, uint32 hashvalue)
{
	attached_invalidate(arg, InvalidOid);
}

/*
 * Forget descriptions that are outdated: those of relations that are gone would stay
 * for ever.  Callers further up may still use them.
 */
static void
forget_outdated(const AttachedEntry *but)
{
	AttachedEntry *entry;
	HASH_SEQ_STATUS status;

	hash_seq_init(&status, attached_cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->valid || entry == but)
			continue;
		if (entry->attached != NULL)
			config_outdate(entry->attached->context);
		(void) hash_search(attached_cache, &entry->relid, HASH_REMOVE, NULL);
	}
}

/* What was made of a content of a config_cache goes when that does. */
static void
forget_all(void)
{
	attached_invalidate((Datum) 0, InvalidOid);
	forget_outdated(NULL);
}

static void
make_cache(void)
{
	HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(AttachedEntry)};
	HASHCTL		watched_ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(Oid)};

	attached_watched = hash_create("syncext watched relations", 16, &watched_ctl,
								   HASH_ELEM | HASH_BLOBS);
	attached_cache = hash_create("syncext attached relations", 16, &ctl, HASH_ELEM | HASH_BLOBS);
	CacheRegisterRelcacheCallback(attached_invalidate, (Datum) 0);
	CacheRegisterSyscacheCallback(NAMESPACEOID, attached_forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, attached_forget_names, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, attached_forget_names, (Datum) 0);
	config_forget_at_end(forget_all);
}

/* The binding of the relation, or else of the nearest one it is a partition of. */
static const Binding *
find_binding(Oid relid)
{
	const Binding *binding = binding_of_relation(relid);
	ListCell   *lc;

	if (binding != NULL && binding_stands(binding))
		return binding;
	if (!get_rel_relispartition(relid))
		return NULL;
	foreach(lc, get_partition_ancestors(relid))
	{
		binding = binding_of_relation(lfirst_oid(lc));
		if (binding != NULL && binding_stands(binding))
			return binding;
	}
	return NULL;
}

/* Have the entry outdated by what the description was made of, too. */
static void
watch(const Attached *attached)
{
	ListCell   *lc;

	foreach(lc, attached->watched)
		(void) hash_search(attached_watched, &lfirst_oid(lc), HASH_ENTER, NULL);
}

static void
rebuild(AttachedEntry *entry, Relation rel)
{
	const Binding *binding;
	Attached   *attached;

	forget_outdated(entry);
	attached_trigger_relid = registry_relation("source");
	/* an invalidation that comes while we read counts for the next call */
	entry->valid = true;
	PG_TRY();
	{
		binding = find_binding(entry->relid);
		attached = binding != NULL ? attached_build(rel, binding) : NULL;
		if (attached != NULL)
			watch(attached);
	}
	PG_CATCH();
	{
		entry->valid = false;
		PG_RE_THROW();
	}
	PG_END_TRY();
	/* callers further up may still use the old one */
	if (entry->attached != NULL)
		config_outdate(entry->attached->context);
	if (attached != NULL)
		MemoryContextSetParent(attached->context, CacheMemoryContext);
	entry->attached = attached;
}

Attached *
attached_of(Relation rel)
{
	Oid			relid = RelationGetRelid(rel);
	AttachedEntry *entry;
	bool		found;

	Assert(CheckRelationLockedByMe(rel, AccessShareLock, true));
	if (attached_cache == NULL)
		make_cache();
	entry = hash_search(attached_cache, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->attached = NULL;
	}
	if (!entry->valid)
		rebuild(entry, rel);
	return entry->attached;
}

Attached *
attached_open(Oid relid, LOCKMODE lockmode)
{
	Relation	rel = try_relation_open(relid, lockmode);
	Attached   *attached;

	if (rel == NULL)
		return NULL;
	attached = attached_of(rel);
	relation_close(rel, NoLock);
	return attached;
}

void
attached_check(const Attached *attached)
{
	if (attached->problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg_internal("%s", attached->problem),
				 errhint_call("Give it back what it had, or SELECT sync_detach(%s), sync_attach it as it is now, and CALL sync_load(%s).",
						 quote_literal_cstr(attached->name), quote_literal_cstr(attached->name))));
}

void
attached_check_sender(const Attached *attached)
{
	const Binding *binding = attached->binding;

	if (attached->may_send)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("role \"%s\", which attached relation %s, may not act as source \"%s\" any more",
					binding->attached_by, attached->name, binding->source),
			 errdetail("The edit would not reach the hub."),
			 errhint_call("Make it a member of the source's role again, or SELECT sync_detach(%s).",
					 quote_literal_cstr(attached->name))));
}

Attached *
attached_required(Oid relid, LOCKMODE lockmode)
{
	Attached   *attached = attached_open(relid, lockmode);
	char	   *name;

	if (attached != NULL)
	{
		attached_check(attached);
		return attached;
	}
	name = get_rel_name(relid);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("attached relation %u was dropped", relid),
				 errhint_call("Forget it: SELECT sync_detach(%u).", relid)));
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("relation %s is not attached", name),
			 errhint("Attach it first with sync_attach.")));
}

void
attached_raise_altered(const Attached *attached)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("attached relation %s was altered in the meantime", attached->name),
			 errhint("Try again.")));
}

void
attached_check_type(const Attached *attached, int i, Oid type)
{
	if (attached->read[i]->type != type)
		attached_raise_altered(attached);
}

void
attached_check_desc(const Attached *attached, TupleDesc desc)
{
	if (desc->natts != attached->natts)
		attached_raise_altered(attached);
	for (int i = 0; i < attached->nread; i++)
		attached_check_type(attached, i,
							TupleDescAttr(desc, attached->read[i]->attnum - 1)->atttypid);
}

void
attached_recheck(const Attached *attached)
{
	AttachedEntry *entry = hash_search(attached_cache, &attached->relid, HASH_FIND, NULL);
	Relation	rel;

	if (entry != NULL && entry->valid && entry->attached == attached)
		return;
	rel = try_relation_open(attached->relid, NoLock);
	if (rel == NULL)
		attached_raise_altered(attached);
	attached_check_desc(attached, RelationGetDescr(rel));
	relation_close(rel, NoLock);
}
