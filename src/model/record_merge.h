/*
 * record_merge.h
 *	  One record of two that were found to be one.
 */
#ifndef SYNCEXT_RECORD_MERGE_H
#define SYNCEXT_RECORD_MERGE_H

#include "model/ladder.h"

typedef struct RecordMerge
{
	const char *entity;
	const char *keep_id;
	const LadderRules *rules;
	const Record *keep;
	const Record *drop;

	/* what comes of it */
	Record		after;			/* keep as it stands then */
	FieldNames	taken;			/* fields of it that have another value than keep's */
	FieldNames	undecided;		/* the two disagree, and neither rule nor rank decides: keep's stays */
} RecordMerge;

/*
 * What keep lacks is drop's.  What both have is decided by the field's rule, then by the
 * ranks of those who vouch for the two values, then keep's stays.  A field that is
 * another one to who knew only one of the two counts as vouched for at the new version.
 */
extern void record_merge(RecordMerge *merge);

/* The stamp of a value that is neither's. */
#define SET_BY_MERGE	"sync_merge"

#endif							/* SYNCEXT_RECORD_MERGE_H */
