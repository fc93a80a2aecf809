/*
 * ladder_state.h
 *	  What the rungs of the ladder share, and the outcomes they end in.
 *
 * Internal to the ladder: ladder.c decides, ladder_write.c makes the record
 * that the decision leads to.
 */
#ifndef SYNCEXT_LADDER_STATE_H
#define SYNCEXT_LADDER_STATE_H

#include "model/ladder.h"

/* A field of the patch beside the record's field of that name. */
typedef struct PatchField
{
	RecordField *current;		/* NULL: the record hasn't got it */
	bool		differs;		/* the patch sets another value */
	bool		contested;
	bool		take;			/* a merge writes it */
	const FieldRule *rule;		/* of a contested field that a rule decided */
	const JsonbValue *combined; /* what a merge writes instead of the patch's value */
} PatchField;

typedef struct LadderState
{
	const Change *change;
	const Record *record;
	const LadderRules *rules;
	Decision   *decision;
	PatchField *match;			/* one for each field of the patch */
	bool		says_new;		/* a value or "deleted" differs */
	int			nforeign;		/* fields that others set after the base */
	RecordField **foreign;
	bool		foreign_tombstone;
} LadderState;

extern void ladder_write_new(LadderState *s);
extern void ladder_write_whole(LadderState *s, Resolution resolution, int64 version,
							   const char *reason);
extern void ladder_write_merge(LadderState *s, Resolution resolution, const char *reason);
extern void ladder_vouch(LadderState *s, Resolution resolution, const char *reason);
extern void ladder_set_aside(LadderState *s, int status, Resolution resolution, bool lost,
							 const char *reason);

#endif							/* SYNCEXT_LADDER_STATE_H */
