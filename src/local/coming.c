/*
 * coming.c
 *	  Records that failed to go in only because another has yet to come.
 *
 * A child may be served in an earlier batch than its parent,
 * where the hub wasn't told of the reference.  That is no failure of the child's, as
 * long as the parent is on its way and not given up itself.
 */
#include "postgres.h"

#include "compat.h"
#include "local/coming.h"
#include "local/item_batch_order.h"
#include "storage/pending.h"

/* Has another source had a word in the record since it was delivered to this one? */
static bool
others_spoke(const Record *record, int64 delivered, const char *source)
{
	for (int i = 0; i < record->nfields; i++)
	{
		const Stamp *stamp = &record->fields[i].stamp;

		if (stamp->row_version > delivered && strcmp(stamp->set_by, source) != 0)
			return true;
	}
	return record->row_version > delivered && strcmp(record->last_source, source) != 0;
}

/*
 * Has the hub a newer state of the record than its row, and is it not given up?  What
 * the table itself has said doesn't come back to it: a row that it lost is lost.
 */
static bool
is_coming(const ItemParent *parent)
{
	const Binding *binding = binding_of_relation(parent->relation);
	PendingTable *table;
	Record		record;
	ReplicaRow	row;
	Pending		pending;
	bool		coming = false;

	/* it may have been detached since it was found */
	if (binding == NULL)
		return false;
	canonical_read(binding->entity, parent->external_id, &record);
	replica_read(parent->relation, parent->external_id, &row);
	table = pending_open(binding->source, false);
	if (record.exists && !record.deleted)
		coming = pending_find(table, binding->entity, parent->external_id, &pending) ?
			!attempt_is_dead(&pending.attempt) :
			others_spoke(&record, row.exists ? row.row_version : 0, binding->source);
	pending_close(table);
	return coming;
}

bool
coming_parent(const BatchItem *item)
{
	if (item->error == NULL || item->busy ||
		item->sqlerrcode != ERRCODE_FOREIGN_KEY_VIOLATION || item->deleted)
		return false;
	foreach_ptr(const ItemParent, parent, item_parents(item))
		if (is_coming(parent))
			return true;
	return false;
}
