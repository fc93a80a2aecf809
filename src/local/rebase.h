/*
 * rebase.h
 *	  Rows of relations behind a link whose hub has gone back in time: what it has
 *	  lost of them is sent to it again.
 */
#ifndef SYNCEXT_REBASE_H
#define SYNCEXT_REBASE_H

#include "model/fields.h"

/* A record of which the hub has lost something, as it has it now. */
typedef struct LostRecord
{
	const char *entity;
	const char *external_id;
	bool		present;		/* the hub has it at all, */
	bool		deleted;		/* perhaps as a tombstone */
	int64		base;			/* the last row version that both sides knew */
	Jsonb	   *fields;			/* but for those that are withheld, */
	Fields		withheld;		/* of which this has the names */
	Fields		stamps;			/* row versions at which fields were set, up to base */
} LostRecord;

/* What came of it. */
typedef struct Rebased
{
	int64		resent;			/* records of which something is sent again */
	int64		stranded;		/* that the hub lost, in a relation that sends nothing; or
								 * that it doesn't know, where we have gone back */
	const char *error;			/* of a row that can't be read; NULL: none */
} Rebased;

/*
 * Note that, and capture what the rows hold beside it, in a transaction; adds to the
 * result.  Where it is we who have gone back in time (ours), rows of which the hub has
 * no record at all become dead letters: who knows if they were deleted there.  Returns
 * false if some were busy or failed: call it again for all.
 */
extern bool rebase_rows(const char *source, LostRecord *records, int n, bool ours,
						Rebased *result);

/*
 * What is agreed on of the record now: what the hub has of it, but as before (NULL:
 * nothing was) where it keeps a field back, or has set it while both had the same
 * history, and this side had come no further than a row version: that will be
 * delivered.
 */
extern Jsonb *rebase_fields(const LostRecord *lost, Jsonb *before, int64 row_version);
/*
 * When fields that the hub kept back were last delivered, which is what edits of them
 * are made on; NULL: there are none.
 */
extern Jsonb *rebase_held(const LostRecord *lost, Jsonb *held);

#endif							/* SYNCEXT_REBASE_H */
