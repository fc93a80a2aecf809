/*
 * alias.h
 *	  External ids of records that were merged into others: tables syncext.alias and
 *	  syncext.merge.
 */
#ifndef SYNCEXT_ALIAS_H
#define SYNCEXT_ALIAS_H

#include "model/fields.h"
#include "model/record.h"
#include "storage/mapped.h"

typedef MappedTable Aliases;

typedef struct RecordAlias
{
	const char *entity;
	const char *external_id;
	const char *kept_id;		/* of the record that it is a part of by now */
	int64		merge;			/* by which it went */
} RecordAlias;

extern const MappedDef alias_def;

/* Was the record merged into another?  Costs nothing where no record ever was. */
extern bool alias_find(Aliases *aliases, const char *entity, const char *external_id,
					   RecordAlias *alias);
/* The ids of all that were merged into the record, a list of char *. */
extern List *alias_names(Aliases *aliases, const char *entity, const char *kept_id);
/* With a table of its own: the id of the record that it is a part of, or NULL. */
extern const char *alias_kept(const char *entity, const char *external_id);
/*
 * Read a record, or where it doesn't live the one that it was merged into; returns that one's
 * id, NULL if it was not.
 */
extern const char *alias_read(const char *entity, const char *external_id, Record *record);

/*
 * What the record that went by a merge held then, and the row version that the other got
 * by it.  False: it was erased.
 */
extern bool merge_image(int64 merge, Fields *fields, int64 *row_version);
/* Have sources been told that the record is gone which went by the merge? */
extern bool merge_is_settled(int64 merge);

#endif							/* SYNCEXT_ALIAS_H */
