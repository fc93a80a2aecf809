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
	int64		seq;
	int64		run;			/* of the server, by when it was started; 0: no counter was edited */
	bool		recount;		/* it has no fields: all that was counted is sent again, */
	bool		baseline;		/* or that, as what the record has already */
	Fields		fields;			/* none if it is deleted */
} FoldEdit;

/* What the edits of a run of the server have left in a counter. */
typedef struct FoldRun
{
	int64		run;
	int64		since;			/* the seq of the first of them, */
	int64		seq;			/* and of the last */
	JsonbValue	value;
} FoldRun;

typedef struct FoldField
{
	Field		field;
	int64		base;			/* of the first edit of it */
	TimestampTz updated_at;		/* of the last one */
	bool		added;			/* every edit of it is of a column that was added */
	int			nruns;			/* in the order of their edits; 0: it may be no counter */
	FoldRun    *runs;
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
	bool		cascade;		/* and nothing else was done */
	bool		recount;
	bool		baseline;
	bool		by_time;		/* set by the caller: edits of several times are taken apart */
	int64		base;			/* of the first edit */
	bool		has_version;	/* these two are the last edit's */
	int64		version;
	TimestampTz updated_at;
	int			n;
	FoldField  *fields;			/* in jsonb's key order */
} Fold;

/* Add the next edit.  The fold keeps what the edit's fields point to. */
extern void fold_add(Fold *fold, const FoldEdit *edit);

/* Drop the fields that are as agreed on. */
extern void fold_drop(Fold *fold, const Fields *agreed);

/* Fields that are sent as one. */
typedef struct FoldPart
{
	int64		base;
	TimestampTz updated_at;
	bool		added;
	Fields		fields;
} FoldPart;

/*
 * Take out of the fold the fields of its lowest base, as long as there are any.
 * That leaves the fields of a record that were edited on another base than the
 * rest to be sent on their own, and so are those of columns that were added.
 * By time, of one base those that were edited first come first.
 */
extern bool fold_take(Fold *fold, FoldPart *part);

#endif							/* SYNCEXT_FOLD_H */
