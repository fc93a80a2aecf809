/*
 * ladder.h
 *	  The conflict ladder: what becomes of a change, given the record.
 *
 * ladder_decide is a pure function of its arguments; doc/ladder.md holds the rules
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
	RUNG_FIELD = 1 << 0,		/* each field on its own: see field_ladder.c */
	RUNG_VERSION = 1 << 1,
	RUNG_LATEST = 1 << 2,
	RUNG_MERGE = 1 << 3,
	RUNG_PRIORITY = 1 << 4,
	RUNG_MANUAL = 1 << 5,
	RUNG_KEEP = 1 << 6,
	RUNG_OVERWRITE = 1 << 7
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
	RESOLUTION_FIELD_WIN = 'F',	/* these two: of a field ladder */
	RESOLUTION_FIELD_SKIP = 'S',
	RESOLUTION_MANUAL = '?',
	RESOLUTION_KEEP = 'e',
	RESOLUTION_OVERWRITE = 'o',
	RESOLUTION_PRECONDITION_FAILED = '!',
	RESOLUTION_DEPENDENCY_WAIT = 'w',	/* its parent has not arrived */
	RESOLUTION_RESTRICTED = 'x',	/* children keep it from being deleted */
	RESOLUTION_KEY_CONFLICT = 'y',	/* externalId and sourceId are not of one record */
	RESOLUTION_TOMBSTONE = 't',	/* nothing can be added to a record that is deleted */
	/* written by sync_resolve and where a source's newer word closes its own */
	RESOLUTION_RESOLVED = 'r',
	RESOLUTION_DISMISSED = 'd',
	RESOLUTION_SUPERSEDED = 'u',
	/* decided elsewhere: an edit on its way to the hub behind a link */
	RESOLUTION_CAPTURED = 'c'
} Resolution;

/* Which targets hear of a change.  The codes are stored in the change log. */
typedef enum Audience
{
	AUDIENCE_NONE = 'n',
	AUDIENCE_OTHERS = 'o',			/* every source but the change's own */
	AUDIENCE_ORIGIN = 'r',			/* the change's own source alone */
	AUDIENCE_ALL = 'a'
} Audience;

typedef enum WriteKind
{
	WRITE_NOTHING,
	WRITE_STAMPS,				/* stamps alone; rowVersion stays */
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
	DeleteMode	deletes;		/* of a field ladder */
	bool		single_writer;	/* the change's source is one */
	const FieldRules *field_rules;
	LadderRank	rank;
	void	   *rank_arg;
	FieldFunction function;
	void	   *function_arg;
} LadderRules;

typedef struct Decision
{
	int			status;			/* 200, 409, 412 */
	Resolution	resolution;
	WriteKind	write;
	Audience	audience;
	Record		after;			/* the record as it stands after the write */
	FieldNames	changed;		/* fields whose value changed */
	FieldNames	lost;			/* contested fields that went to another */
	bool		lost_all;		/* the whole change was set aside */
	bool		combined;		/* a value was written that is neither side's */
	FieldNames	contested;		/* for MANUAL: what the conflict is over */
	bool		contested_all;	/* for MANUAL: it is over the whole record */
	bool		supersedes_own;		/* the source's newer word closes its own
								 * pending conflicts over what it names */
	char	   *reason;			/* which rung decided, and why */
	char	   *refused;		/* why the change can't be carried out, and is refused; or NULL */
} Decision;

extern bool ladder_parse(char **rungs, int n, Ladder *ladder, const char **why);
/* What the stamps of a field ladder are made of, and how its deletes count. */
extern const char *ladder_field_kind(Ladder ladder, DeleteMode deletes);
extern bool ladder_check_change(Ladder ladder, const Change *change, ChangeError *error);
/* Does ifMatch name another row version than the record has?  Returns what to say; NULL: no. */
extern char *ladder_precondition_fails(const Change *change, const Record *record);
extern void ladder_decide(const Change *change, const Record *record,
						  const LadderRules *rules, Decision *decision);

/*
 * A whole write by decree, at the record's next version: what a reviewer decided.  Groups
 * with a contested field become the change's as a whole; contested is NULL where the
 * whole record was: the groups that are, by their stamps.  rules is NULL: the change has
 * all of its groups.
 */
extern void ladder_impose(const Change *change, const Record *record, const LadderRules *rules,
						  const FieldNames *contested, Decision *decision);

/* The best rank that a source has for any field of the group. */
extern int64 ladder_group_rank(const FieldGroup *group, LadderRank rank, void *arg,
							   const char *source);

extern const char *resolution_name(Resolution resolution);
extern const char *audience_name(Audience audience);

#endif							/* SYNCEXT_LADDER_H */
