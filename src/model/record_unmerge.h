/*
 * record_unmerge.h
 *	  The record that stayed when another was merged into it, without what it got by that.
 */
#ifndef SYNCEXT_RECORD_UNMERGE_H
#define SYNCEXT_RECORD_UNMERGE_H

#include "model/field_rule.h"
#include "model/record.h"

/* The stamp of a field that nobody has said, once what was merged into the record is gone. */
#define SET_BY_UNMERGE	"sync_unmerge"

typedef struct RecordUnmerge
{
	const Record *now;
	const Record *keep;			/* both as they were before they were merged */
	const Record *drop;
	const FieldNames *taken;	/* the fields that got another value by it, */
	int64		row_version;	/* in this row version */
	const Fields *stands;		/* or in this one: later merges are undone */
	const FieldRules *rules;
	const Fields *since;		/* what was said since by keys that the other had had, */
	const Fields *since_by;		/* and by which sources */
	bool		shared;			/* sources were sent the one that stayed under keys that the other had had */

	/* what comes of it */
	Record		after;
	Record		revived;		/* the other: its version and row version are set before */
	FieldNames	returned;		/* fields that are as before the merge again */
	FieldNames	stays;			/* that the merge has set, and that others have changed or said since */
} RecordUnmerge;

/*
 * What the merge has set and nobody has said since, but by keys of the other's, is as it was
 * before; null where there was nothing.  Of a counter the other's part is taken off, whatever
 * was added since.  The other is as it was, and as its keys' sources have said since; where
 * these were sent the one that stayed, what that has besides is null, for they have it too.
 */
extern void record_unmerge(RecordUnmerge *unmerge);

#endif							/* SYNCEXT_RECORD_UNMERGE_H */
