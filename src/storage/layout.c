/*
 * layout.c
 *	  Where the columns that we know stand in a table of ours.
 *
 * A DBA may have added columns, which are carried along, or dropped or changed
 * some, which nothing can be read by: that is told where the table is opened.
 * The comparison is made once, and again when the table has been invalidated.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/sysattr.h"
#include "catalog/pg_am.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_index.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

#include "storage/layout.h"
#include "storage/relations.h"

typedef struct LayoutEntry
{
	Oid			relid;			/* hash key */
	bool		valid;
	TableLayout layout;
} LayoutEntry;

static HTAB *layouts = NULL;

/* Called in the middle of other code: only mark. */
static void
layout_invalidated(Datum arg, Oid relid)
{
	LayoutEntry *entry;
	HASH_SEQ_STATUS seq;

	if (OidIsValid(relid))
	{
		entry = hash_search(layouts, &relid, HASH_FIND, NULL);
		if (entry != NULL)
			entry->valid = false;
		return;
	}
	hash_seq_init(&seq, layouts);
	while ((entry = hash_seq_search(&seq)) != NULL)
		entry->valid = false;
}

static LayoutEntry *
get_entry(Oid relid)
{
	LayoutEntry *entry;
	bool		found;

	if (layouts == NULL)
	{
		HASHCTL		ctl = {.keysize = sizeof(Oid), .entrysize = sizeof(LayoutEntry)};

		layouts = hash_create("syncext layouts", 64, &ctl, HASH_ELEM | HASH_BLOBS);
		CacheRegisterRelcacheCallback(layout_invalidated, (Datum) 0);
	}
	entry = hash_search(layouts, &relid, HASH_ENTER, &found);
	if (!found)
	{
		entry->valid = false;
		entry->layout.updatable = NULL;
	}
	return entry;
}

static AttrNumber
find_column(Relation rel, const ColumnShape *column)
{
	TupleDesc	desc = RelationGetDescr(rel);

	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (att->attisdropped || strcmp(NameStr(att->attname), column->name) != 0)
			continue;
		if (att->atttypid == column->type && att->attgenerated == '\0')
			return att->attnum;
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("column \"%s\" of table \"%s.%s\" is not the one that syncext made",
						column->name, SYNCEXT_NAME, RelationGetRelationName(rel)),
				 errhint("Make it a plain column again: ALTER TABLE %s.%s ALTER COLUMN %s TYPE %s.",
						 SYNCEXT_NAME, RelationGetRelationName(rel), column->name,
						 format_type_be(column->type))));
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_COLUMN),
			 errmsg("table \"%s.%s\" has no column \"%s\"", SYNCEXT_NAME,
					RelationGetRelationName(rel), column->name),
			 errhint("Give it back its name, or ALTER TABLE %s.%s ADD COLUMN %s %s.", SYNCEXT_NAME,
					 RelationGetRelationName(rel), column->name, format_type_be(column->type))));
	return InvalidAttrNumber;	/* keep the compiler quiet */
}

/* For as long as the layout: a change of the table's indexes makes that invalid, too. */
static Bitmapset *
find_updatable(Relation rel)
{
	Bitmapset  *key = RelationGetIndexAttrBitmap(rel, INDEX_ATTR_BITMAP_PRIMARY_KEY);
	MemoryContext old = MemoryContextSwitchTo(TopMemoryContext);
	Bitmapset  *columns = NULL;

	for (int attno = 1; attno <= RelationGetNumberOfAttributes(rel); attno++)
	{
		int			member = attno - FirstLowInvalidHeapAttributeNumber;

		if (!bms_is_member(member, key))
			columns = bms_add_member(columns, member);
	}
	MemoryContextSwitchTo(old);
	return columns;
}

static void
fill_layout(TableLayout *layout, Relation rel)
{
	const TableShape *shape = shape_of_table(RelationGetRelationName(rel));

	if (shape == NULL || RelationGetRelid(rel) != registry_relation(shape->name))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is no table of syncext", RelationGetRelationName(rel))));
	if (rel->rd_rel->relkind != RELKIND_RELATION)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("relation \"%s.%s\" is no table", SYNCEXT_NAME, shape->name)));
	layout->shape = shape;
	layout->plain = RelationGetNumberOfAttributes(rel) == shape->ncolumns;
	for (int i = 0; i < shape->ncolumns; i++)
	{
		layout->attnum[i] = find_column(rel, &shape->column[i]);
		layout->plain &= layout->attnum[i] == i + 1;
	}
	bms_free(layout->updatable);
	layout->updatable = NULL;
	layout->updatable = find_updatable(rel);
}

const TableLayout *
layout_of(Relation rel)
{
	LayoutEntry *entry = get_entry(RelationGetRelid(rel));

	if (!entry->valid)
	{
		fill_layout(&entry->layout, rel);
		/* locked as it is, nothing about its columns can have changed meanwhile */
		entry->valid = true;
	}
	return &entry->layout;
}

static bool
index_has_key(const TableLayout *layout, Relation index, const KeyShape *key)
{
	const FormData_pg_index *form = index->rd_index;

	if (form->indnkeyatts < key->n || index->rd_rel->relam != BTREE_AM_OID || !form->indisvalid)
		return false;
	for (int i = 0; i < key->n; i++)
	{
		Oid			collation = index->rd_indcollation[i];

		if (form->indkey.values[i] != layout->attnum[key->column[i] - 1] ||
			index->rd_indoption[i] != 0 ||
			(OidIsValid(collation) && collation != C_COLLATION_OID))
			return false;
	}
	return true;
}

void
layout_check_index(const TableLayout *layout, Relation index)
{
	const char *name = RelationGetRelationName(index);
	const IndexShape *shape;

	if (index->rd_index->indisprimary && index_has_key(layout, index, &layout->shape->primary_key))
		return;
	shape = shape_of_index(name);
	if (shape != NULL && strcmp(shape->table, layout->shape->name) == 0 &&
		shape->partial == !heap_attisnull(index->rd_indextuple, Anum_pg_index_indpred, NULL) &&
		index_has_key(layout, index, &shape->key))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" of table \"%s.%s\" is not the one that syncext made", name,
					SYNCEXT_NAME, layout->shape->name),
			 errhint("Drop it, and make it as the extension's script does.")));
}

void
layout_refuse_null(const TableLayout *layout, int column)
{
	const char *name = layout->shape->column[column - 1].name;

	ereport(ERROR,
			(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
			 errmsg("column \"%s\" of table \"%s.%s\" is null in a row", name, SYNCEXT_NAME,
					layout->shape->name),
			 errhint("Mend the row, and ALTER TABLE %s.%s ALTER COLUMN %s SET NOT NULL.",
					 SYNCEXT_NAME, layout->shape->name, name)));
}

void
layout_deform(const TableLayout *layout, TupleDesc desc, HeapTuple tuple, Datum *values,
			  bool *isnull)
{
	for (int i = 0; i < layout->shape->ncolumns; i++)
	{
		values[i + 1] = heap_getattr(tuple, layout->attnum[i], desc, &isnull[i + 1]);
		if (isnull[i + 1] && layout->shape->column[i].required)
			layout_refuse_null(layout, i + 1);
	}
}
