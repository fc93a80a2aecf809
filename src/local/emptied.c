/*
 * emptied.c
 *	  Partitions of attached tables that have no rows when they are dropped.
 *
 * Who deletes a partition's rows first, as is advised, has told the hub: sync_check() is to
 * be silent then.  After the drop nobody can know, so local/altered asks before it.
 */
#include "postgres.h"

#include "access/table.h"
#include "access/tableam.h"
#include "catalog/namespace.h"
#include "catalog/partition.h"
#include "catalog/pg_inherits.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "nodes/parsenodes.h"
#include "storage/bufmgr.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "compat.h"
#include "local/emptied.h"
#include "process/owner.h"

/* A partition of more is taken for one that has rows: to look takes long, and locks it. */
#define MAX_LOOKED_AT	1000	/* blocks */

static bool
has_row(Relation rel)
{
	BlockNumber nblocks = RelationGetNumberOfBlocks(rel);
	Snapshot	snapshot;
	TableScanDesc scan;
	TupleTableSlot *slot;
	bool		found;

	if (nblocks == 0 || nblocks > MAX_LOOKED_AT)
		return nblocks != 0;
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	scan = table_beginscan(rel, snapshot, 0, NULL);
	slot = table_slot_create(rel, NULL);
	found = table_scan_getnextslot(scan, ForwardScanDirection, slot);
	ExecDropSingleTupleTableSlot(slot);
	table_endscan(scan);
	UnregisterSnapshot(snapshot);
	return found;
}

/*
 * Has the partition no row, and has it lost none but by DELETE, of which the hub has heard?
 * What was truncated has another file, or as it may be was made in this transaction.
 */
static bool
is_emptied(Oid relid)
{
	Relation	rel = try_table_open(relid, NoLock);
	bool		emptied;

	if (rel == NULL)
		return false;
	emptied = rel->rd_rel->relkind == RELKIND_RELATION && rel->rd_rel->relfilenode == relid &&
		rel->rd_createSubid == InvalidSubTransactionId && !has_row(rel);
	table_close(rel, NoLock);
	return emptied;
}

/* Is it a partition of an attached table, which the user may drop? */
static bool
is_ours(Oid relid)
{
	return OidIsValid(relid) && get_rel_relispartition(relid) &&
		relation_ownercheck_compat(relid, GetUserId()) &&
		owner_true("SELECT true FROM pg_catalog.pg_partition_ancestors(%u) a "
				   "JOIN syncext.binding b ON b.relation = a.relid LIMIT 1", relid);
}

/* It is locked as DROP TABLE will do, so that nothing is written to it after the look. */
static void
note_emptied(Oid relid)
{
	Oid			parent = get_partition_parent(relid, true);
	StringInfoData emptied;
	ListCell   *lc;

	initStringInfo(&emptied);
	LockRelationOid(parent, AccessExclusiveLock);
	LockRelationOid(relid, AccessExclusiveLock);
	/* which locks the others alone */
	foreach(lc, find_all_inheritors(relid, AccessExclusiveLock, NULL))
	{
		if (is_emptied(lfirst_oid(lc)))
			appendStringInfo(&emptied, "%s%u", emptied.len > 0 ? ", " : "", lfirst_oid(lc));
	}
	if (emptied.len > 0)
		owner_execute("SELECT syncext.note_emptied(%u, ARRAY[%s]::pg_catalog.oid[])", relid, emptied.data);
}

void
emptied_look(const Node *statement)
{
	ListCell   *lc;

	if (!IsA(statement, DropStmt) || ((const DropStmt *) statement)->removeType != OBJECT_TABLE)
		return;
	foreach(lc, ((const DropStmt *) statement)->objects)
	{
		Oid			relid = RangeVarGetRelid(makeRangeVarFromNameList(lfirst(lc)), NoLock, true);

		if (is_ours(relid))
			note_emptied(relid);
	}
}
