/*
 * routed.h
 *	  Which records a target has of an entity that is filtered for it: table
 *	  syncext.routed.
 *
 * A row says that the target may have the record.  There are two: one is written by a
 * pull, which holds the target's cursor; the other by changes that the target itself
 * sends.  So neither transaction waits for the other, but where the record is just being
 * taken from the target.
 */
#ifndef SYNCEXT_ROUTED_H
#define SYNCEXT_ROUTED_H

#include "nodes/pg_list.h"
#include "storage/mapped.h"

typedef MappedTable RoutedTable;

typedef struct RoutedRecord
{
	const char *target;
	const char *entity;
	const char *external_id;
	bool		own;			/* of the two rows the one by the target's own changes */
	int64		row_version;
	int64		gone_batch;		/* in which the target was told that it is gone; 0: none */
} RoutedRecord;

extern const MappedDef routed_def;

/*
 * May the target have it?  Many by one snapshot, with a scan that rows_scan_end
 * ends, on a table that isn't written to meanwhile.
 */
extern RowsScan *routed_seek_begin(RoutedTable *table);
extern bool routed_seek(RowsScan *scan, const char *target, const char *entity,
						const char *external_id);

/* The target is served the record. */
extern void routed_note_served(RoutedTable *table, const char *target, const char *entity,
							   const char *external_id);
/* A change of the target's own, of which the record has a row version, says so. */
extern void routed_note_own(RoutedTable *table, const char *target, const char *entity,
							const char *external_id, int64 row_version);
/* The target is told in this batch that the record, as of a row version, is gone. */
extern void routed_note_gone(RoutedTable *table, const char *target, const char *entity,
							 const char *external_id, int64 row_version, int64 batch);
/* Those that were, in this batch: a list of RoutedRecord; forget one of them. */
extern List *routed_gone_in(RoutedTable *table, const char *target, int64 batch);
extern void routed_forget(RoutedTable *table, const char *target, const RoutedRecord *record,
						  int64 batch);

#endif							/* SYNCEXT_ROUTED_H */
