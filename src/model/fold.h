/*
 * fold.h
 *	  Many edits of a record as one.
 */
#ifndef SYNCEXT_FOLD_H
#define SYNCEXT_FOLD_H

#include "datatype/timestamp.h"
#include "model/fields.h"

/* An edit of a row as it was captured. */
typedef struct FoldEdit
{
	bool		inserted;
	bool		all;			/* it has all that isn't agreed on */
	bool		added;			/* its fields are of columns that were added */
	bool		deleted;
	bool		cascade;		/* a foreign key did it, when another row was delivered */
	int64		base;			/* the row version that it was made on */
	bool		has_version;
	int64		version;
	TimestampTz updated_at;
	Fields		fields;			/* none if it is deleted */
} FoldEdit;

typedef struct FoldField
{
	Field		field;
	int64		base;			/* of the first edit of it */
	bool		added;			/* every edit of it is of a column that was added */
} FoldField;

/* What the edits so far come to; all zero before the first. */
typedef struct Fold
{
	int			nedits;
	bool		born;			/* the first of them is all that the row has: an insert, a load, */
	bool		made;			/* and an insert: there was no row before */
	bool		deleted;		/* the last of them was a delete */
	bool		all;			/* one of them has all that isn't agreed on */
	bool		whole;			/* there was a delete: what came before is gone */
	bool		cascade;		/* and nobody else did anything */
	int64		base;			/* of the first edit */
	bool		has_version;	/* these two are the last edit's */
	int64		version;
	TimestampTz updated_at;
	int			n;
	FoldField  *fields;			/* in jsonb's key order */
} Fold;

/* Add the next edit.  The fold keeps what the edit's fields point to. */
extern void fold_add(Fold *fold, const FoldEdit *edit);

/* Drop the fields for which the function returns true. */
typedef bool (*FoldDrop) (void *arg, const Field *field);
extern void fold_drop(Fold *fold, FoldDrop drop, void *arg);

/*
 * Take out of the fold the fields of its lowest base, as long as there are any.
 * That leaves the fields of a record that were edited on another base than the
 * rest to be sent on their own, and so are those of columns that were added.
 */
extern bool fold_take(Fold *fold, int64 *base, bool *added, Fields *fields);

#endif							/* SYNCEXT_FOLD_H */
