/*
 * shifts.h
 *	  By how much deliveries have moved the counters of a row whose edits wait for an answer.
 *
 * An edit that was captured says what the row held then.  A delivery that writes the
 * hub's value and what the row has added beside it moves that: as {field: [[seq,
 * difference]]}, what was captured with a lower seq is so much more now.
 */
#ifndef SYNCEXT_SHIFTS_H
#define SYNCEXT_SHIFTS_H

#include "utils/numeric.h"

#include "model/fields.h"

/* Make fields that were captured with a seq what they are now; shifts may be NULL. */
extern void shifts_apply(Jsonb *shifts, int64 seq, Fields *fields);

/* A difference to add. */
typedef struct Shift
{
	FieldName	field;
	Numeric		difference;
} Shift;

/*
 * Add differences to what was captured before a seq.  Of other fields no edit waits, and
 * of these none with a seq before first, or after last.
 */
extern Jsonb *shifts_add(Jsonb *shifts, int64 seq, int64 first, int64 last, const Shift *added,
						 int n);

#endif							/* SYNCEXT_SHIFTS_H */
