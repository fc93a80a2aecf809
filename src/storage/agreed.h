/*
 * agreed.h
 *	  What this hub and the one behind a link have agreed on, record by record
 *	  (table syncext.agreed): what differs from it has still to be sent.
 */
#ifndef SYNCEXT_AGREED_H
#define SYNCEXT_AGREED_H

#include "utils/jsonb.h"

#include "storage/mapped.h"

typedef MappedTable AgreedTable;

typedef struct Agreed
{
	const char *source;			/* these three: agreed_find() and agreed_set() set them */
	const char *entity;
	const char *external_id;
	bool		exists;
	int64		row_version;	/* of the other hub's record; 0: it has none */
	Jsonb	   *fields;			/* NULL: that there is no record, or a tombstone */
	Jsonb	   *withheld;		/* {field: row version it last came at} of those
								 * that the other hub keeps back; NULL: none */
	bool		contested;		/* it had not taken, or not all of, what was sent last,
								 * or others had changed the record since */
	Jsonb	   *answers;		/* {field: the row version of the other hub's record when
								 * it answered what was sent of it}, since the record last
								 * came from there; NULL: none */
	int64		answered;		/* the row version of the other hub's record when it last
								 * answered what was sent; 0: never */
	const char *problem;		/* what is wrong with the row: nothing is known then; or
								 * NULL */
} Agreed;

extern const MappedDef agreed_def;

/* Read a row in the current memory context. */
extern void agreed_find(AgreedTable *table, const char *source, const char *entity,
						const char *external_id, Agreed *agreed);
/* Write over the row that is there, or insert one. */
extern void agreed_set(AgreedTable *table, const char *source, const char *entity,
					   const char *external_id, const Agreed *agreed);

/* Walk an entity's records of a source by id, from after one (NULL: the first). */
extern RowsScan *agreed_scan_begin(AgreedTable *table, const char *source, const char *entity,
								   const char *after);
extern bool agreed_scan_next(AgreedTable *table, RowsScan *scan, char **external_id,
							 int64 *row_version, bool *contested);
/* How large the fields of the row at hand are, without being read. */
extern Size agreed_scan_bytes(const AgreedTable *table);

#endif							/* SYNCEXT_AGREED_H */
