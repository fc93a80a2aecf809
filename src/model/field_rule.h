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
	FIELD_RULE_MANUAL			/* neither a rule nor a rank is to decide */
} FieldRuleKind;

typedef struct FieldRule
{
	FieldName	field;
	FieldRuleKind kind;
} FieldRule;

/* The rules of an entity, in jsonb's key order. */
typedef struct FieldRules
{
	int			n;
	FieldRule  *rule;
} FieldRules;

typedef enum FieldVerdict
{
	FIELD_UNDECIDED,
	FIELD_STANDS,				/* the record's value */
	FIELD_TAKEN,				/* the change's */
	FIELD_COMBINED				/* a value that is neither side's */
} FieldVerdict;

extern bool field_rule_by_name(const char *name, FieldRuleKind *kind);
extern const char *field_rule_name(FieldRuleKind kind);
/* The rule of a field, or NULL. */
extern const FieldRule *field_rule_find(const FieldRules *rules, FieldName field);

/*
 * Decide between the record's value of a field and the change's, which differ.
 * *result is set where the value to be written isn't just the change's.
 */
extern FieldVerdict field_rule_decide(FieldRuleKind kind, const RecordField *current,
									  const JsonbValue *sent, const Change *change,
									  const JsonbValue **result);

#endif							/* SYNCEXT_FIELD_RULE_H */
