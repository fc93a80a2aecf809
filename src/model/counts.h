/*
 * counts.h
 *	  How much a table behind a link has added to the counters of a record, in all.
 *
 * By that an increment which is sent again adds once.  A total is of a run of the
 * spoke (hub/self.c:self_run), so that what was edited before a backup, and is known to
 * the hub, is told from what is edited after the backup was restored; and it has the seq
 * of the edit that it was reached with, by which an older total is known.
 */
#ifndef SYNCEXT_COUNTS_H
#define SYNCEXT_COUNTS_H

#include "utils/numeric.h"

#include "model/fields.h"

typedef struct Count
{
	FieldName	field;
	int64		run;			/* when it began */
	int64		since;			/* the seq of the first edit in it: what was counted before may
								 * have been forgotten */
	int64		seq;			/* of the last edit */
	Numeric		total;
} Count;

typedef struct Counts
{
	int			n;
	int			room;
	Count	   *count;
} Counts;

/* Of how many runs the totals of a field are kept. */
#define COUNTS_MAX_RUNS		32

/* From {field: {run/since: [seq, total]}}; false: it is none.  NULL: there are none. */
extern bool counts_read(JsonbContainer *object, Counts *counts);
extern Jsonb *counts_jsonb(const Counts *counts);
/* Are there any of the field? */
extern bool counts_of_field(const Counts *counts, FieldName field);
/* Write a total over the one that is there.  Of too many of a field the first one goes. */
extern void counts_set(Counts *counts, const Count *count);
/*
 * Add what edits of a run have made of a field, to what was counted in it before, if that
 * is known; returns the run's total.
 */
extern Count counts_add(Counts *counts, const Count *difference);
/*
 * What the later ones of sent have more than known, as increments; known becomes what it
 * is with them.  Returns why that can't be, in the words of an error; NULL: it is done.
 */
extern char *counts_take(Counts *known, const Counts *sent, Fields *increments);
/*
 * What those counts of a field that were made since before have more than known.  False:
 * known lacks what it was told before, so that can't be said.
 */
extern bool counts_lacking(const Counts *known, const Counts *before, const Counts *made,
						   FieldName field, Numeric *lacking);

#endif							/* SYNCEXT_COUNTS_H */
