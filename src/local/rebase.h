/*
 * rebase.h
 *	  Rows of relations behind a link whose hub has gone back in time: what it has
 *	  lost of them is sent to it again.
 */
#ifndef SYNCEXT_REBASE_H
#define SYNCEXT_REBASE_H

#include "model/fields.h"
#include "model/life.h"

/* A record of which the hub has lost something, as it has it now. */
typedef struct LostRecord
{
	const char *entity;
	const char *external_id;
	bool		present;		/* the hub has it at all, */
	bool		deleted;		/* perhaps as a tombstone */
	int64		row_version;	/* of the hub now; 0: it has none */
	int64		base;			/* the last row version that both sides knew */
	Jsonb	   *fields;			/* but for those that are withheld, */
	Fields		withheld;		/* of which this has the names */
	Fields		stamps;			/* row versions at which fields were set, up to base */
	bool		recovered;		/* spokes have sent it again, some perhaps not all of it */
	bool		sent;			/* so have we, a moment ago */
} LostRecord;

/* A record as it was when this side last knew all of it. */
typedef struct Recovery
{
	int64		row_version;	/* that it had then */
	bool		deleted;
	Fields		fields;			/* those that the hub's record hasn't, or has otherwise */
	LifeStamp	known;			/* in a field ladder: its stamp */
} Recovery;

/* What came of it. */
typedef struct Rebased
{
	int64		resent;			/* records of which something is sent again */
	int64		stranded;		/* that the hub lost, in a relation that sends nothing; or
								 * that it doesn't know, where we have gone back */
	const char *error;			/* of a row that can't be read; NULL: none */
} Rebased;

/* What a side knows of a record, of its table of what was agreed on. */
typedef struct KnownRecord
{
	Jsonb	   *fields;			/* NULL: that there is none */
	int64		row_version;	/* up to which all of it has come here */
	int64		answered;		/* at which the hub last took an edit of ours */
	Jsonb	   *withheld;
	Jsonb	   *answers;
	bool		contested;
	LifeStamp	stamp;			/* in a field ladder, of the record as it came last */
} KnownRecord;

/*
 * Can the hub have the record again as it was here?  Only if it has written nothing to
 * it in its new time, and we know a later row version: else the ladder decides between
 * the two.  What it keeps back from us, and edits of ours beside which others had
 * written, are not part of what was known at a row version.
 */
extern bool recovery_make(const LostRecord *lost, const KnownRecord *known, Recovery *recovery);
/* The same for the row of a relation. */
extern bool rebase_recover(const char *source, const LostRecord *lost, Recovery *recovery);

/*
 * Note that, and capture what the rows hold beside it, in a transaction; adds to the
 * result.  Where it is we who have gone back in time (ours), rows of which the hub has
 * no record at all become dead letters: who knows if they were deleted there.  Returns
 * false if some were busy or failed: call it again for all.
 */
extern bool rebase_rows(const char *source, LostRecord *records, int n, bool ours,
						Rebased *result);

/*
 * What is agreed on of the record now; NULL: that there is none.  That is what the hub
 * has of it, but as before (NULL: nothing was) where it keeps a field back, or has set
 * it while both had the same history, and this side had come no further than a row
 * version, or in single fields than an answer: that will be delivered.
 *
 * Of a record that the hub has deleted since, it is that all fields were null.  What is
 * sent again is an edit, then, on the base, from before the delete: the hub decides
 * between the two.  Without any fields it would be a birth, which undoes every delete.
 */
extern Jsonb *rebase_fields(const LostRecord *lost, Jsonb *before, int64 row_version,
							Jsonb *answers);

#endif							/* SYNCEXT_REBASE_H */
