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
} LostRecord;

/* What came of it. */
typedef struct Rebased
{
	int64		resent;			/* records of which something is sent again */
	int64		stranded;		/* that the hub lost, in a relation that sends nothing */
	const char *error;			/* of a row that can't be read; NULL: none */
} Rebased;

/*
 * Note that, and capture what the rows hold beside it, in a transaction; adds to the
 * result.  Returns false if some were busy or failed: call it again for all.
 */
extern bool rebase_rows(const char *source, LostRecord *records, int n, Rebased *result);

/* The fields, and those of before that are withheld. */
extern Jsonb *rebase_keep_withheld(const Fields *agreed, Jsonb *before, const Fields *withheld);

#endif							/* SYNCEXT_REBASE_H */
