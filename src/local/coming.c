/*
 * coming.c
 *	  Records that failed to go in only because another has yet to come.
 *
 * Called by local/deliver.  A child may be served in an earlier batch than its parent,
 * where the hub wasn't told of the reference.  That is no failure of the child's, as
 * long as the parent is on its way and not given up itself.
 */
#include "postgres.h"

#include "local/coming.h"
#include "local/work_order.h"
#include "storage/pending.h"

/* Has the hub a newer state of the record than its row, and is it not given up? */
static bool
is_coming(const WorkParent *parent)
{
	const Binding *binding = binding_of_relation(parent->relation);
	Canonical  *canonical;
	Replica    *replica;
	PendingTable *table;
	Record		record;
	ReplicaRow	row;
	Pending		pending;
	bool		coming;

	/* it may have been detached since it was found */
	if (binding == NULL)
		return false;
	canonical = canonical_open(false);
	replica = replica_open(false);
	table = pending_open(binding->source, false);
	canonical_find(canonical, binding->entity, parent->external_id, &record);
	replica_find(replica, parent->relation, parent->external_id, &row);
	coming = record.exists && !record.deleted &&
		(!row.exists || row.row_version < record.row_version) &&
		!(pending_find(table, binding->entity, parent->external_id, &pending) && pending.dead);
	pending_close(table);
	replica_close(replica);
	canonical_close(canonical);
	return coming;
}

bool
coming_parent(const WorkItem *item)
{
	ListCell   *lc;

	if (item->error == NULL || item->busy ||
		item->sqlerrcode != ERRCODE_FOREIGN_KEY_VIOLATION || item->deleted)
		return false;
	foreach(lc, work_parents(item))
		if (is_coming(lfirst(lc)))
			return true;
	return false;
}
