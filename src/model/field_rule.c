/*
 * field_rule.c
 *	  Rules that decide a contested field by the two values, before ranks do.
 *
 * LADDER.md, "Field rules", says what each rule does and what it cannot decide.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "model/array_union.h"
#include "model/field_rule.h"

static const struct
{
	const char *name;
	FieldRuleKind kind;
}			rule_names[] = {
	{"max", FIELD_RULE_MAX},
	{"min", FIELD_RULE_MIN},
	{"longest", FIELD_RULE_LONGEST},
	{"latest", FIELD_RULE_LATEST},
	{"union", FIELD_RULE_UNION},
	{"keep", FIELD_RULE_KEEP},
	{"manual", FIELD_RULE_MANUAL},
};

bool
field_rule_by_name(const char *name, FieldRuleKind *kind)
{
	for (size_t i = 0; i < lengthof(rule_names); i++)
	{
		if (strcmp(rule_names[i].name, name) == 0)
		{
			*kind = rule_names[i].kind;
			return true;
		}
	}
	return false;
}

const char *
field_rule_name(FieldRuleKind kind)
{
	for (size_t i = 0; i < lengthof(rule_names); i++)
		if (rule_names[i].kind == kind)
			return rule_names[i].name;
	return "unknown";
}

const FieldRule *
field_rule_find(const FieldRules *rules, FieldName field)
{
	int			low = 0;
	int			high = rules->n - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			cmp = field_name_cmp(rules->rule[middle].field, field);

		if (cmp == 0)
			return &rules->rule[middle];
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

/* ---------- the rules ---------- */

/* The side with the greater measure wins; equal ones decide nothing. */
static FieldVerdict
greater_wins(int sent_against_current)
{
	if (sent_against_current == 0)
		return FIELD_UNDECIDED;
	return sent_against_current > 0 ? FIELD_TAKEN : FIELD_STANDS;
}

static int
compare_numbers(const JsonbValue *a, const JsonbValue *b)
{
	return DatumGetInt32(DirectFunctionCall2(numeric_cmp, NumericGetDatum(a->val.numeric),
											 NumericGetDatum(b->val.numeric)));
}

static int
compare_strings(const JsonbValue *a, const JsonbValue *b)
{
	int			cmp = memcmp(a->val.string.val, b->val.string.val,
							 Min(a->val.string.len, b->val.string.len));

	return cmp != 0 ? cmp : a->val.string.len - b->val.string.len;
}

/* Two numbers, or two strings; sign -1 lets the smaller win. */
static FieldVerdict
decide_by_size(const JsonbValue *current, const JsonbValue *sent, int sign)
{
	int			cmp;

	if (current->type == jbvNumeric && sent->type == jbvNumeric)
		cmp = compare_numbers(sent, current);
	else if (current->type == jbvString && sent->type == jbvString)
		cmp = compare_strings(sent, current);
	else
		return FIELD_UNDECIDED;
	return greater_wins(cmp > 0 ? sign : (cmp < 0 ? -sign : 0));
}

static FieldVerdict
decide_by_length(const JsonbValue *current, const JsonbValue *sent)
{
	if (current->type != jbvString || sent->type != jbvString)
		return FIELD_UNDECIDED;
	return greater_wins(pg_mbstrlen_with_len(sent->val.string.val, sent->val.string.len) -
						pg_mbstrlen_with_len(current->val.string.val, current->val.string.len));
}

static FieldVerdict
decide_by_time(const Stamp *stamp, const Change *change)
{
	if (!stamp->has_updated_at || !change->has_updated_at ||
		stamp->updated_at == change->updated_at)
		return FIELD_UNDECIDED;
	return change->updated_at > stamp->updated_at ? FIELD_TAKEN : FIELD_STANDS;
}

static FieldVerdict
decide_by_union(const JsonbValue *current, const JsonbValue *sent, const JsonbValue **result)
{
	JsonbValue *united;

	if (!array_union_possible(current, sent))
		return FIELD_UNDECIDED;
	united = array_union(current, sent);
	if (united == NULL)
		return FIELD_STANDS;
	*result = united;
	return json_value_equal(united, sent) ? FIELD_TAKEN : FIELD_COMBINED;
}

FieldVerdict
field_rule_decide(FieldRuleKind kind, const RecordField *current, const JsonbValue *sent,
				  const Change *change, const JsonbValue **result)
{
	*result = NULL;
	switch (kind)
	{
		case FIELD_RULE_MAX:
			return decide_by_size(&current->field.value, sent, 1);
		case FIELD_RULE_MIN:
			return decide_by_size(&current->field.value, sent, -1);
		case FIELD_RULE_LONGEST:
			return decide_by_length(&current->field.value, sent);
		case FIELD_RULE_LATEST:
			return decide_by_time(&current->stamp, change);
		case FIELD_RULE_UNION:
			return decide_by_union(&current->field.value, sent, result);
		case FIELD_RULE_KEEP:
			return FIELD_STANDS;
		case FIELD_RULE_MANUAL:
			return FIELD_UNDECIDED;
	}
	return FIELD_UNDECIDED;
}
