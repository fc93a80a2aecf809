/*
 * changed_fields.h
 *	  Which fields of a delivered record have changed since its target was last told.
 */
#ifndef SYNCEXT_CHANGED_FIELDS_H
#define SYNCEXT_CHANGED_FIELDS_H

#include "nodes/pg_list.h"

#include "storage/canonical.h"
#include "storage/feed_window.h"

/* What the rows of the window say of it, of one record; all zero before the first. */
typedef struct ChangedFields
{
	bool		noted;			/* there was a row */
	bool		unknown;		/* all of them may have changed */
	int64		since;			/* those that were set in a later row version have changed */
	List	   *lost;			/* of FieldName *: those of the target's own that lost */
} ChangedFields;

/* Note the row that the window returned last. */
extern void changed_fields_note(ChangedFields *changed, const FeedWindow *window,
								const FeedRow *row);
/*
 * Of the record as canonical_seek() has just found it, but for withheld ones; false: all may
 * have changed.
 */
extern bool changed_fields_find(const ChangedFields *changed, Canonical *canonical,
								const CanonicalState *state, const FieldNames *withheld,
								FieldNames *names);

#endif							/* SYNCEXT_CHANGED_FIELDS_H */
