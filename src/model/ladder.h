/*
 * ladder.h
 *	  The conflict ladder: what becomes of a change, given the record.
 *
 * ladder_decide is a pure function of its arguments; LADDER.md holds the rules
 * that it implements, rung by rung.
 */
#ifndef SYNCEXT_LADDER_H
#define SYNCEXT_LADDER_H

#include "model/change.h"
#include "model/field_rule.h"
#include "model/record.h"

/* The rungs that an entity's ladder has; bits, in their only order. */
typedef enum LadderRung
{
	RUNG_VERSION = 1 << 0,
	RUNG_LATEST = 1 << 1,
	RUNG_MERGE = 1 << 2,
	RUNG_PRIORITY = 1 << 3,
	RUNG_MANUAL = 1 << 4,
	RUNG_KEEP = 1 << 5,
	RUNG_OVERWRITE = 1 << 6
} LadderRung;

typedef int Ladder;				/* an OR of LadderRung */

/* How a change was decided.  The codes are stored in the change log. */
typedef enum Resolution
{
	RESOLUTION_NEW_RECORD = 'n',
	RESOLUTION_VERSION_WIN = 'v',
	RESOLUTION_STALE_SKIP = 's',
	RESOLUTION_LATEST_WIN = 'l',
	RESOLUTION_LATEST_SKIP = 'k',
	RESOLUTION_NO_CHANGE = '=',
	RESOLUTION_FIELD_MERGE = 'm',
	RESOLUTION_FIELD_RULE = 'f',
	RESOLUTION_PRIORITY_WIN = 'p',
	RESOLUTION_MANUAL = '?',
	RESOLUTION_KEEP = 'e',
	RESOLUTION_OVERWRITE = 'o',
	RESOLUTION_PRECONDITION_FAILED = '!',
	RESOLUTION_DEPENDENCY_WAIT = 'w',	/* its parent has not arrived */
	RESOLUTION_RESTRICTED = 'x',	/* children keep it from being deleted */
	/* written by sync_resolve and where a source's newer word closes its own */
	RESOLUTION_RESOLVED = 'r',
	RESOLUTION_DISMISSED = 'd',
	RESOLUTION_SUPERSEDED = 'u',
	/* decided elsewhere: an edit on its way to the hub behind a link */
	RESOLUTION_CAPTURED = 'c'
} Resolution;

/* Which targets hear of a change.  The codes are stored in the change log. */
typedef enum Told
{
	TOLD_NONE = 'n',
	TOLD_OTHERS = 'o',			/* every source but the change's own */
	TOLD_ORIGIN = 'r',			/* the change's own source alone */
	TOLD_ALL = 'a'
} Told;

typedef enum WriteKind
{
	WRITE_NOTHING,
	WRITE_VOUCH,				/* stamps alone; rowVersion stays */
	WRITE_MERGE,
	WRITE_WHOLE
} WriteKind;

/* A source without a rank is below all others. */
#define RANK_NONE	PG_INT64_MAX

/* The rank of a source for a field, or for the whole record (field.data NULL). */
typedef int64 (*LadderRank) (void *arg, const char *source, FieldName field);

/* What ladder_decide must know beside the change and the record. */
typedef struct LadderRules
{
	Ladder		ladder;
	bool		single_writer;	/* the change's source is one */
	const FieldRules *field_rules;
	LadderRank	rank;
	void	   *rank_arg;
} LadderRules;

typedef struct Decision
{
	int			status;			/* 200, 409, 412 */
	Resolution	resolution;
	WriteKind	write;
	Told		told;
	Record		after;			/* the record as it stands after the write */
	FieldNames	changed;		/* fields whose value changed */
	FieldNames	lost;			/* contested fields that went to another */
	bool		lost_all;		/* the whole change was set aside */
	bool		combined;		/* a value was written that is neither side's */
	FieldNames	contested;		/* for MANUAL: what the conflict is over */
	bool		contested_all;	/* for MANUAL: it is over the whole record */
	bool		closes_own;		/* the source's newer word closes its own
								 * pending conflicts over what it names */
	char	   *reason;			/* which rung decided, and why */
} Decision;

extern bool ladder_parse(char **rungs, int n, Ladder *ladder, const char **why);
extern bool ladder_check_change(Ladder ladder, const Change *change, ChangeError *error);
/* Does ifMatch name another row version than the record has? */
extern bool ladder_precondition_fails(const Change *change, const Record *record);
extern void ladder_decide(const Change *change, const Record *record,
						  const LadderRules *rules, Decision *decision);

/* A whole write by decree, at the record's next version: what a reviewer decided. */
extern void ladder_impose(const Change *change, const Record *record, Decision *decision);

extern const char *resolution_name(Resolution resolution);
extern const char *told_name(Told told);

#endif							/* SYNCEXT_LADDER_H */
