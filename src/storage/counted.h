/*
 * counted.h
 *	  What the tables behind links have added to records in all: table syncext.counted.
 */
#ifndef SYNCEXT_COUNTED_H
#define SYNCEXT_COUNTED_H

#include "utils/jsonb.h"

#include "storage/mapped.h"

typedef MappedTable CountedTable;

/* To read many rows. */
extern const MappedDef counted_def;
/* NULL: nothing.  Raises XX001 if the row was edited to what it can't be. */
extern Jsonb *counted_read(CountedTable *table, const char *source, const char *entity,
						   const char *external_id);
/* The same of one. */
extern Jsonb *counted_find(const char *source, const char *entity, const char *external_id);
/* The same of a record that was erased, as it was then. */
extern Jsonb *counted_find_erased(const char *source, const char *entity, const char *external_id);
extern void counted_save(const char *source, const char *entity, const char *external_id,
						 Jsonb *counts);

#endif							/* SYNCEXT_COUNTED_H */
