/*
 * config_scan.h
 *	  Reading a configuration table row by row, as it is in force now.
 */
#ifndef SYNCEXT_CONFIG_SCAN_H
#define SYNCEXT_CONFIG_SCAN_H

#include "access/genam.h"

#include "storage/layout.h"

typedef struct ConfigScan
{
	Relation	rel;
	SysScanDesc scan;
	const TableLayout *layout;
	Datum		values[MAX_COLUMNS + 1];	/* of the row at hand, by the columns' numbers */
	bool		isnull[MAX_COLUMNS + 1];
} ConfigScan;

extern void config_begin(ConfigScan *scan, const char *table);
extern bool config_next(ConfigScan *scan);
extern void config_end(ConfigScan *scan);

#endif							/* SYNCEXT_CONFIG_SCAN_H */
