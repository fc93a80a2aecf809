/*
 * config_scan.h
 *	  Reading a configuration table row by row, as it is in force now.
 */
#ifndef SYNCEXT_CONFIG_SCAN_H
#define SYNCEXT_CONFIG_SCAN_H

#include "storage/layout.h"

typedef struct ConfigRow
{
	Datum		values[MAX_COLUMNS + 1];	/* by the columns' numbers */
	bool		isnull[MAX_COLUMNS + 1];
} ConfigRow;

typedef void (*ConfigReader) (void *arg, const ConfigRow *row);

/* Have each row of the table read. */
extern void config_read(const char *table, ConfigReader read, void *arg);

/* A column of type text; NULL where it is null. */
extern char *config_text(const ConfigRow *row, int column);

#endif							/* SYNCEXT_CONFIG_SCAN_H */
