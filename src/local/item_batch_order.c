/*
 * item_batch_order.c
 *	  In which order records go into their relations.
 *
 * The hub serves parents before children, as far as it was told of references;
 * here the relations' own foreign keys count, those of a table to itself for
 * one.  What is found is a guess at what can go in at once: what it misses is
 * tried again.
 */
#include "postgres.h"

#include "access/relation.h"
#include "storage/lmgr.h"
#include "utils/builtins.h"
#include "utils/rel.h"

#include "compat.h"
#include "local/attached_relation.h"
#include "local/item_batch_order.h"
#include "model/json_read.h"
#include "storage/record_set.h"

/* How a relation's rows name a row of another by its record's key. */
typedef struct Referring
{
	Oid			relation;
	Oid			parent;
	int			nkeys;			/* columns of its own key */
	int			nparts;			/* of the parent's external id */
	FieldName  *fields;			/* that hold them; no data: part of the own key */
	int		   *parts;			/* which one */
} Referring;

typedef struct OrderNode
{
	BatchItem  *item;
	int			blocked_by;
	List	   *blocks;			/* of OrderNode * */
} OrderNode;

/* ---------- foreign keys ---------- */

static bool
is_among(const BatchItem *items, int n, Oid relation)
{
	for (int i = 0; i < n; i++)
		if (items[i].relation == relation)
			return batch_item_is_open(&items[i]);
	return false;
}

/* Where the child's column is found in a record: a field, or a part of its key. */
static bool
find_column(const Attached *child, AttrNumber attnum, FieldName *field, int *part)
{
	const AttachedColumn *column = attached_column(child, attnum);

	if (column != NULL)
	{
		*field = column->field;
		return true;
	}
	field->data = NULL;
	for (*part = 0; *part < child->nkeys; (*part)++)
		if (child->keys[*part].attnum == attnum)
			return true;
	return false;
}

/* NULL if the key doesn't refer to what the parent's records are told by. */
static Referring *
make_referring(const Attached *child, const Attached *parent, const ForeignKeyCacheInfo *key)
{
	Referring  *r = palloc0(sizeof(Referring));

	if (key->nkeys != parent->nkeys)
		return NULL;
	r->relation = child->relid;
	r->parent = parent->relid;
	r->nkeys = child->nkeys;
	r->nparts = parent->nkeys;
	r->fields = palloc0(sizeof(FieldName) * r->nparts);
	r->parts = palloc0(sizeof(int) * r->nparts);
	for (int i = 0; i < r->nparts; i++)
	{
		int			k = 0;

		while (k < key->nkeys && key->confkey[k] != parent->keys[i].attnum)
			k++;
		if (k == key->nkeys || !find_column(child, key->conkey[k], &r->fields[i], &r->parts[i]))
			return NULL;
	}
	return r;
}

static Referring *
referring_by(const ForeignKeyCacheInfo *key)
{
	Attached   *child = attached_open(key->conrelid, AccessShareLock);
	Attached   *parent = attached_open(key->confrelid, AccessShareLock);

	if (child == NULL || parent == NULL || child->problem != NULL || parent->problem != NULL)
		return NULL;
	return make_referring(child, parent, key);
}

/* The foreign keys of a relation, as they are now. */
static List *
keys_of(Oid relation)
{
	Relation	rel = relation_open(relation, NoLock);
	List	   *keys = copyObject(RelationGetFKeyList(rel));

	relation_close(rel, NoLock);
	return keys;
}

static List *
referrings_of(const BatchItem *items, int n, Oid relation)
{
	List	   *found = NIL;

	foreach_ptr(const ForeignKeyCacheInfo, key, keys_of(relation))
	{
		Referring  *r = is_among(items, n, key->confrelid) ? referring_by(key) : NULL;

		if (r != NULL)
			found = lappend(found, r);
	}
	return found;
}

/* All foreign keys between relations of the items. */
static List *
find_referrings(const BatchItem *items, int n)
{
	List	   *relations = NIL;
	List	   *found = NIL;
	ListCell   *lc;

	for (int i = 0; i < n; i++)
		if (items[i].fields != NULL && batch_item_is_open(&items[i]) &&
			(i == 0 || items[i].relation != items[i - 1].relation))
			relations = list_append_unique_oid(relations, items[i].relation);
	foreach(lc, relations)
		found = list_concat(found, referrings_of(items, n, lfirst_oid(lc)));
	return found;
}

/* ---------- records ---------- */

static char *
parent_id(const Referring *r, const BatchItem *item)
{
	char	  **parts = palloc(sizeof(char *) * r->nparts);
	Fields		fields = fields_of(item->fields);

	for (int i = 0; i < r->nparts; i++)
	{
		const Field *field;

		if (r->fields[i].data == NULL)
			parts[i] = attached_id_part(item->external_id, r->parts[i], r->nkeys);
		else
		{
			field = fields_find(&fields, r->fields[i]);
			parts[i] = field == NULL ? NULL : json_read_text(&field->value);
		}
		if (parts[i] == NULL)
			return NULL;
	}
	return attached_join_external_id(parts, r->nparts);
}

static RecordSetKey
node_key(StringInfo buffer, Oid relation, const char *external_id)
{
	return record_set_key(buffer, cstring_to_text(psprintf("%u", relation)),
						  cstring_to_text(external_id));
}

static void
add_block(OrderNode *first, OrderNode *second)
{
	first->blocks = lappend(first->blocks, second);
	second->blocked_by++;
}

/* Note which item comes before which: a parent that lives before its child, else after it. */
static void
find_blocks(List *referrings, OrderNode *nodes, int n)
{
	RecordSet  *set = record_set_create(CurrentMemoryContext, Max(n, 16));
	StringInfoData buffer;

	initStringInfo(&buffer);
	for (int i = 0; i < n; i++)
		record_set_add(set, node_key(&buffer, nodes[i].item->relation,
									 nodes[i].item->external_id))->number = i + 1;
	for (int i = 0; i < n; i++)
	{
		OrderNode	   *child = &nodes[i];

		foreach_ptr(const Referring, r, referrings)
		{
			char	   *id;
			RecordSetEntry *entry;
			OrderNode	   *parent;

			if (r->relation != child->item->relation || child->item->fields == NULL ||
				(id = parent_id(r, child->item)) == NULL)
				continue;
			entry = record_set_find(set, node_key(&buffer, r->parent, id));
			parent = entry == NULL ? NULL : &nodes[entry->number - 1];
			if (parent == NULL || parent == child || parent->item->deleted != child->item->deleted)
				continue;
			if (child->item->deleted)
				add_block(child, parent);
			else
				add_block(parent, child);
		}
	}
	record_set_free(set);
}

/* An item that none blocks comes first; a circle comes last, as it stands. */
static BatchItem **
unwind(OrderNode *nodes, int n)
{
	BatchItem **order = palloc(sizeof(BatchItem *) * Max(n, 1));
	OrderNode	  **queue = palloc(sizeof(OrderNode *) * Max(n, 1));
	int			queued = 0;
	int			ordered = 0;

	for (int i = 0; i < n; i++)
		if (nodes[i].blocked_by == 0)
			queue[queued++] = &nodes[i];
	for (int done = 0; done < queued; done++)
	{

		order[ordered++] = queue[done]->item;
		foreach_ptr(OrderNode, next, queue[done]->blocks)
		{
			if (--next->blocked_by == 0)
				queue[queued++] = next;
		}
	}
	for (int i = 0; i < n; i++)
		if (nodes[i].blocked_by > 0)
			order[ordered++] = nodes[i].item;
	return order;
}

/* What lives first, in any case. */
static BatchItem **
put_deletes_last(BatchItem **items, int n)
{
	BatchItem **order = palloc(sizeof(BatchItem *) * Max(n, 1));
	int			ordered = 0;

	for (int deleted = 0; deleted < 2; deleted++)
		for (int i = 0; i < n; i++)
			if (items[i]->deleted == (deleted == 1))
				order[ordered++] = items[i];
	return order;
}

BatchItem **
item_batch_order(BatchItem *items, int n)
{
	List	   *referrings = find_referrings(items, n);
	OrderNode	   *nodes = palloc0(sizeof(OrderNode) * Max(n, 1));

	for (int i = 0; i < n; i++)
		nodes[i].item = &items[i];
	if (referrings != NIL)
		find_blocks(referrings, nodes, n);
	return put_deletes_last(unwind(nodes, n), n);
}

List *
item_parents(const BatchItem *item)
{
	/* the table's lock doesn't keep its binding from being removed */
	const Binding *own = binding_of_relation(item->relation);
	List	   *found = NIL;

	foreach_ptr(const ForeignKeyCacheInfo, key, own == NULL || item->fields == NULL ? NIL : keys_of(item->relation))
	{
		const Binding *binding = binding_of_relation(key->confrelid);
		ItemParent *parent;
		Referring  *r;

		/* a session that alters it isn't waited for here */
		if (binding == NULL || strcmp(binding->source, own->source) != 0 ||
			!ConditionalLockRelationOid(key->confrelid, AccessShareLock) ||
			(r = referring_by(key)) == NULL)
			continue;
		parent = palloc(sizeof(ItemParent));
		parent->relation = key->confrelid;
		parent->external_id = parent_id(r, item);
		if (parent->external_id != NULL)
			found = lappend(found, parent);
	}
	return found;
}
