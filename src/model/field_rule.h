/*
 * field_rule.h
 *	  Rules that decide a contested field by the two values, before ranks do.
 */
#ifndef SYNCEXT_FIELD_RULE_H
#define SYNCEXT_FIELD_RULE_H

#include "model/change.h"
#include "model/record.h"

typedef enum FieldRuleKind
{
	FIELD_RULE_MAX,
	FIELD_RULE_MIN,
	FIELD_RULE_LONGEST,
	FIELD_RULE_LATEST,
	FIELD_RULE_UNION,
	FIELD_RULE_KEEP,
	FIELD_RULE_MANUAL,			/* neither a rule nor a rank is to decide */
	FIELD_RULE_PRIORITY,		/* a rank is, as without a rule */
	FIELD_RULE_SUM,				/* increments are added; what is set is decided as by FIELD_RULE_PRIORITY */
	FIELD_RULE_FUNCTION			/* a function of the database's is asked */
} FieldRuleKind;

typedef struct FieldRule
{
	FieldName	field;
	FieldRuleKind kind;
	const char *function;		/* its name, with its schema; NULL: another kind */
	const char *written_by;		/* a role, by name, that has to be allowed to call the function */
	JsonbContainer *empty;		/* an array of what births leave empty; NULL: just null */
	const char *group_name;		/* of the fields that it belongs to; NULL: it stands alone */
	int			group;			/* its number among those of the entity; -1: none */
} FieldRule;

/* Fields that go to one side together, by the rule of the first of them. */
typedef struct FieldGroup
{
	const char *name;
	const FieldRule *rule;
	int			n;
	FieldName  *field;
} FieldGroup;

/* The rules of an entity, in jsonb's key order. */
typedef struct FieldRules
{
	int			n;
	FieldRule  *rule;
	int			nempty;			/* of those that have empty values */
	EmptyValues *empty;
	int			nsums;			/* of those that are sum */
	int			ngroups;
	FieldGroup *groups;
} FieldRules;

typedef enum FieldVerdict
{
	FIELD_UNDECIDED,
	FIELD_STANDS,				/* the record's value */
	FIELD_TAKEN,				/* the change's */
	FIELD_COMBINED				/* a value that is neither side's */
} FieldVerdict;

/*
 * Have a rule's function decide, as below.  *failed says why it could not, in the words
 * of its error; NULL: it didn't fail.
 */
typedef FieldVerdict (*FieldFunction) (void *arg, const Change *change, const FieldRule *rule,
									   const RecordField *current, const JsonbValue *sent,
									   const JsonbValue **result, char **failed);

extern bool field_rule_by_name(const char *name, FieldRuleKind *kind);
extern const char *field_rule_name(FieldRuleKind kind);
/* Can a group go by it?  It has to choose a side, and not a value. */
extern bool field_rule_chooses_side(FieldRuleKind kind);
/* The rule as a reason names it: a function by its name. */
extern const char *field_rule_label(const FieldRule *rule);
/*
 * Read a rule's arguments, {"function": …, "empty": […], "group": …}; args may be NULL.  Returns why
 * they are none of it; NULL: they are.
 */
extern const char *field_rule_read_args(FieldRule *rule, Jsonb *args);
/* Gather the groups that the rules, in their order, name. */
extern void field_rules_group(FieldRules *rules);
/* The rule of a field, or NULL. */
extern const FieldRule *field_rule_find(const FieldRules *rules, FieldName field);

/* The fields that are counters, as an array. */
extern void field_rules_push_sums(JsonbParseState **state, const FieldRules *rules);
/* Is the field a counter? */
extern bool field_rules_sum(const FieldRules *rules, FieldName field);
/* Has each of the fields that the change adds to the rule sum? */
extern bool field_rules_check_increments(const FieldRules *rules, const Change *change,
										 ChangeError *error);

/* What a value that a function has chosen means; a value that is neither side's is *result. */
extern FieldVerdict field_rule_verdict(const JsonbValue *chosen, const JsonbValue *current,
									   const JsonbValue *sent, const JsonbValue **result);

/*
 * Decide between the record's value of a field and the change's, which differ.
 * A rule of the kind function can't be asked so.
 * *result is set where the value to be written isn't just the change's.
 */
extern FieldVerdict field_rule_decide(FieldRuleKind kind, const RecordField *current,
									  const JsonbValue *sent, const Change *change,
									  const JsonbValue **result);

/*
 * Let a change know what its entity's rules take for empty, and have its counters without
 * zeros at the end of the fraction.  Returns the change itself or *told, a copy.
 */
extern const Change *field_rules_tell(const FieldRules *rules, const Change *change, Change *told);

#endif							/* SYNCEXT_FIELD_RULE_H */
