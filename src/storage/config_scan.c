/*
 * config_scan.c
 *	  Reading a configuration table row by row, as it is in force now.
 *
 * The catalog snapshot serves them: in REPEATABLE READ an edit that is in force for all
 * others must be in force here too.
 */
#include "postgres.h"

#include "access/table.h"

#include "storage/config_scan.h"
#include "storage/relations.h"

void
config_begin(ConfigScan *scan, const char *table)
{
	scan->rel = registry_open(registry_relation(table), AccessShareLock);
	scan->layout = layout_of(scan->rel);
	scan->scan = systable_beginscan(scan->rel, InvalidOid, false, NULL, 0, NULL);
}

bool
config_next(ConfigScan *scan)
{
	HeapTuple	tuple = systable_getnext(scan->scan);

	if (!HeapTupleIsValid(tuple))
		return false;
	layout_deform(scan->layout, RelationGetDescr(scan->rel), tuple, scan->values, scan->isnull);
	return true;
}

void
config_end(ConfigScan *scan)
{
	systable_endscan(scan->scan);
	table_close(scan->rel, AccessShareLock);
}
