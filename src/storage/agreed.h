/*
 * agreed.h
 *	  What this hub and the one behind a link have agreed on, record by record
 *	  (table syncext.agreed): what differs from it has still to be sent.
 */
#ifndef SYNCEXT_AGREED_H
#define SYNCEXT_AGREED_H

#include "utils/jsonb.h"

typedef struct AgreedTable AgreedTable;

typedef struct Agreed
{
	bool		exists;
	int64		row_version;	/* of the other hub's record; 0: it has none */
	Jsonb	   *fields;			/* NULL: that there is no record, or a tombstone */
	Jsonb	   *held;			/* {field: row version it last came at} of those
								 * that the other hub keeps back; NULL: none */
	bool		contested;		/* it had not taken, or not all of, what was sent last */
	const char *problem;		/* what is wrong with the row: nothing is known then; or
								 * NULL */
} Agreed;

extern AgreedTable *agreed_open(bool write);
extern void agreed_close(AgreedTable *table);

/* Read a row in the current memory context. */
extern void agreed_find(AgreedTable *table, const char *source, const char *entity,
						const char *external_id, Agreed *agreed);
/* Write over the row that is there, or insert one. */
extern void agreed_set(AgreedTable *table, const char *source, const char *entity,
					   const char *external_id, const Agreed *agreed);

/* Walk an entity's records of a source by id, from after one (NULL: the first). */
typedef struct AgreedScan AgreedScan;
extern AgreedScan *agreed_scan_begin(AgreedTable *table, const char *source, const char *entity,
									 const char *after);
extern bool agreed_scan_next(AgreedScan *scan, char **external_id, int64 *row_version,
							 bool *contested);
extern void agreed_scan_end(AgreedScan *scan);

#endif							/* SYNCEXT_AGREED_H */
