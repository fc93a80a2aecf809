/*
 * config_scan.c
 *	  Reading a configuration table row by row, as it is in force now.
 *
 * The catalog snapshot serves them: in REPEATABLE READ an edit that is in force for all
 * others must be in force here too.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "utils/builtins.h"

#include "storage/config_scan.h"
#include "storage/relations.h"

void
config_read(const char *table, ConfigReader read, void *arg)
{
	Relation	rel = registry_open(registry_relation(table), AccessShareLock);
	const TableLayout *layout = layout_of(rel);
	SysScanDesc scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	HeapTuple	tuple;
	ConfigRow	row;

	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		layout_deform(layout, RelationGetDescr(rel), tuple, row.values, row.isnull);
		read(arg, &row);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
}

char *
config_text(const ConfigRow *row, int column)
{
	return row->isnull[column] ? NULL : TextDatumGetCString(row->values[column]);
}
