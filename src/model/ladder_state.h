/*
 * ladder_state.h
 *	  What the rungs of the ladder share, and the outcomes they end in.
 *
 * Internal to the ladder: ladder.c decides, field_group.c what of a change belongs
 * together, ladder_write.c makes the record that the decision leads to, and ladder_text.c
 * the words of reasons.
 */
#ifndef SYNCEXT_LADDER_STATE_H
#define SYNCEXT_LADDER_STATE_H

#include "lib/stringinfo.h"

#include "model/ladder.h"

/* A group of fields that the patch names one of. */
typedef struct GroupState
{
	const FieldGroup *group;
	bool		contested;
	bool		take;			/* all of it becomes the change's */
	const FieldRule *rule;		/* that decided it */
	char	   *failed;			/* why the rule's function could not decide; or NULL */
	const char *opponent;		/* the best ranked of those that vouch for any of it */
} GroupState;

typedef enum RulesOutcome
{
	RULES_DECIDED,				/* all that is contested */
	RULES_LEFT_SOME,			/* for priority */
	RULES_FORBID				/* something is for the last rung alone */
} RulesOutcome;

/* A field of the patch beside the record's field of that name. */
typedef struct PatchField
{
	RecordField *current;		/* NULL: the record hasn't got it */
	bool		differs;		/* the patch sets another value */
	bool		contested;
	bool		take;			/* a merge writes it */
	const FieldRule *rule;		/* of a contested field that a rule decided */
	const JsonbValue *combined; /* what a merge writes instead of the patch's value */
	char	   *failed;			/* why the rule's function could not decide; or NULL */
	GroupState *group;			/* that it belongs to; NULL: none */
	bool		implied;		/* null, as the document names others of its group alone */
	bool		opposed;		/* of a group: another source vouches for it */
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
	int			ngroups;
	GroupState *groups;
	Change		completed;		/* with groups, what change is: the one that came, with implied nulls */
	Fields		named;			/* those that it came with */
} LadderState;

/* How many fields a reason names before it only counts them. */
#define REASON_FIELDS	3

/* What a reason shows of a rank, and of a value. */
extern char *ladder_rank_text(int64 rank);
extern char *ladder_value_text(const JsonbValue *value);

extern void ladder_write_new(LadderState *s);
extern void ladder_write_whole(LadderState *s, Resolution resolution, int64 version,
							   const char *reason);
extern void ladder_write_merge(LadderState *s, Resolution resolution, const char *reason);
/* Write sums of the change's increments beside what was decided of its fields. */
extern void ladder_write_sums(LadderState *s, const Fields *sums);
extern void ladder_restamp(LadderState *s, Resolution resolution, const char *reason);
extern void ladder_set_aside(LadderState *s, int status, Resolution resolution, bool lost,
							 const char *reason);

/* Add the change's increments to the record that its fields have led to. */
extern void ladder_add_increments(LadderState *s);

/* ---------- groups of fields, field_group.c ---------- */

/*
 * Let the patch have all fields of each group that it names one of, those that it doesn't
 * name as implied nulls.  Before it is matched with the record.
 */
extern void field_group_complete(LadderState *s);
/* Is it one of these nulls? */
extern bool field_group_is_implied(const LadderState *s, FieldName name);
/* Does the patch leave the record's value alone, unless it has won the group? */
extern bool field_group_leaves(const PatchField *match);
/* Tie what the patch was matched with to the groups. */
extern void field_group_tie(LadderState *s);
/*
 * Is the field a null that the change's own source has left in a group that it won?  What
 * it says of the field later adds to that, and contests nothing.
 */
extern bool field_group_left_null(const LadderState *s, const PatchField *match);
/* Mark the groups that are contested, after the fields that are. */
extern void field_group_mark(LadderState *s);
/* Mark those that one of the names is of. */
extern void field_group_mark_named(LadderState *s, const FieldNames *names);
/* Have rules decide the groups that are contested. */
extern RulesOutcome field_group_apply_rules(LadderState *s);
/* By rank those that no rule decided; false: a tie. */
extern bool field_group_apply_ranks(LadderState *s);
/* The change wins as a whole, and so all contested groups are its. */
extern void field_group_take_all(LadderState *s);
/* "group address: CRM (rank 1) before ERP (rank 2)". */
extern void field_group_append_reason(const LadderState *s, StringInfo text, const GroupState *group);
/* Say which fields become null, and which rules' functions could not decide. */
extern void field_group_tell(LadderState *s);

#endif							/* SYNCEXT_LADDER_STATE_H */
