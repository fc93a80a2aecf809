/*
 * document_order.c
 *	  In which order the documents of a batch are worked off.
 *
 * What lives comes first, parents before children; then what is deleted, children
 * before parents, so that a batch which deletes a record with all that refers to it
 * is neither restricted by its own documents nor does it take along a child that it
 * moves elsewhere.  Records are held in one order for all batches even so (depth,
 * entity, external id): on the way through the live ones, the records whose
 * delete comes later are locked.  One that isn't there can't be; its delete leaves
 * a tombstone, takes nothing along, and is done at once.
 */
#include "postgres.h"

#include "compat.h"
#include "hub/document_order.h"
#include "storage/rights.h"

/* The documents of one record whose last is a delete that comes later. */
typedef struct LateDelete
{
	int			first;
	int			n;
	const Change *change;		/* the delete */
	int			depth;
	int			blocked_by;		/* records that refer to it and go first */
	List	   *blocks;			/* of LateDelete *: records that it refers to */
} LateDelete;

static bool
same_record(const Change *a, const Change *b)
{
	return strcmp(a->entity, b->entity) == 0 && strcmp(a->external_id, b->external_id) == 0;
}

static int
group_length(const Change *const *changes, int n)
{
	int			length = 1;

	while (length < n && same_record(changes[0], changes[length]))
		length++;
	return length;
}

/* Children before parents, as far as the entities tell. */
static int
compare_deletes(const void *a, const void *b)
{
	const LateDelete *da = a;
	const LateDelete *db = b;
	int			cmp;

	if (da->depth != db->depth)
		return da->depth > db->depth ? -1 : 1;
	cmp = strcmp(da->change->entity, db->change->entity);
	return cmp != 0 ? cmp : strcmp(da->change->external_id, db->change->external_id);
}

static LateDelete *
find_delete(LateDelete *deletes, int n, int depth, const Child *child)
{
	Change		change = {.entity = child->entity, .external_id = child->external_id};
	LateDelete	key = {.change = &change, .depth = depth};

	return bsearch(&key, deletes, n, sizeof(LateDelete), compare_deletes);
}

/* Note which deletes have to wait for which others. */
static void
find_blocks(const DocumentOrder *order, LateDelete *deletes, int n)
{
	for (int i = 0; i < n; i++)
	{
		LateDelete *parent = &deletes[i];
		List	   *children = references_children(order->references, parent->change->entity,
												   parent->change->external_id);

		foreach_ptr(const Child, child, children)
		{
			const Entity *entity = registry_entity(order->registry, child->entity);
			LateDelete *first = entity == NULL ? NULL :
				find_delete(deletes, n, entity->depth, child);

			if (first == NULL || first == parent)
				continue;
			first->blocks = lappend(first->blocks, parent);
			parent->blocked_by++;
		}
	}
}

/*
 * Work off the deletes, each after those of the records that refer to it.  Where
 * they refer to one another in a circle, none is first.
 */
static void
run_deletes(const DocumentOrder *order, LateDelete *deletes, int n)
{
	LateDelete **queue = palloc(sizeof(LateDelete *) * n);
	int			queued = 0;

	qsort(deletes, n, sizeof(LateDelete), compare_deletes);
	find_blocks(order, deletes, n);
	for (int i = 0; i < n; i++)
		if (deletes[i].blocked_by == 0)
			queue[queued++] = &deletes[i];
	for (int done = 0; done < queued; done++)
	{
		order->work(order->arg, queue[done]->first, queue[done]->n);
		foreach_ptr(LateDelete, parent, queue[done]->blocks)
		{
			if (--parent->blocked_by == 0)
				queue[queued++] = parent;
		}
	}
	for (int i = 0; i < n; i++)
		if (deletes[i].blocked_by > 0)
			order->work(order->arg, deletes[i].first, deletes[i].n);
}

void
document_order_run(const DocumentOrder *order, const Change *const *changes, int n)
{
	LateDelete *deletes = NULL;
	int			ndeletes = 0;
	int			length;

	for (int first = 0; first < n; first += length)
	{
		const Change *last;

		length = group_length(&changes[first], n - first);
		last = changes[first + length - 1];
		/* alone in its batch, or where no record could refer to it, it comes at once */
		if (last->deleted && length < n)
		{
			const Entity *entity = registry_entity_required(order->registry, last->entity);

			if (entity->holds_children && order->hold(order->arg, last))
			{
				if (deletes == NULL)
					deletes = palloc0(sizeof(LateDelete) * n);
				deletes[ndeletes].first = first;
				deletes[ndeletes].n = length;
				deletes[ndeletes].change = last;
				deletes[ndeletes++].depth = entity->depth;
				continue;
			}
		}
		order->work(order->arg, first, length);
	}
	if (ndeletes > 0)
		run_deletes(order, deletes, ndeletes);
}
