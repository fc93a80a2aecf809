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
	Datum		values[MAX_COLUMNS];	/* of the row at hand, in the script's order */
	bool		isnull[MAX_COLUMNS];
} ConfigScan;

extern void config_begin(ConfigScan *scan, const char *table);
extern bool config_next(ConfigScan *scan);
extern void config_end(ConfigScan *scan);

#endif							/* SYNCEXT_CONFIG_SCAN_H */
