/*
 * field_rule.c
 *	  Rules that decide a contested field by the two values, before ranks do.
 *
 * doc/ladder.md, "Field rules", says what each rule does and what it cannot decide.
 */
#include "postgres.h"

#include "mb/pg_wchar.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "errcodes.h"
#include "model/array_union.h"
#include "model/clip.h"
#include "model/field_rule.h"
#include "model/json_read.h"

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
	{"priority", FIELD_RULE_PRIORITY},
	{"sum", FIELD_RULE_SUM},
	{"function", FIELD_RULE_FUNCTION},
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

bool
field_rule_chooses_side(FieldRuleKind kind)
{
	return kind == FIELD_RULE_LATEST || kind == FIELD_RULE_KEEP || kind == FIELD_RULE_MANUAL ||
		kind == FIELD_RULE_PRIORITY || kind == FIELD_RULE_FUNCTION;
}

const char *
field_rule_label(const FieldRule *rule)
{
	return rule->function != NULL ? rule->function : field_rule_name(rule->kind);
}

const char *
field_rule_read_args(FieldRule *rule, Jsonb *args)
{
	Fields		members = fields_of(args != NULL && JB_ROOT_IS_OBJECT(args) ? args : NULL);

	if (args != NULL && !JB_ROOT_IS_OBJECT(args))
		return "they are no object";
	for (int i = 0; i < members.n; i++)
	{
		const Field *member = &members.field[i];

		if (field_name_cmp(member->name, field_name("function")) == 0)
			rule->function = json_read_string(&member->value);
		else if (field_name_cmp(member->name, field_name("empty")) == 0)
			rule->empty = json_read_array(&member->value);
		else if (field_name_cmp(member->name, field_name("group")) == 0)
			rule->group_name = json_read_string(&member->value);
		else
			return psprintf("key \"%s\" is not known", field_name_cstring(member->name));
	}
	if ((rule->kind == FIELD_RULE_FUNCTION) != (rule->function != NULL))
		return rule->function == NULL ? "they name no function" : "they name a function";
	if (fields_find(&members, field_name("empty")) != NULL && rule->empty == NULL)
		return "the empty values are no array";
	if (fields_find(&members, field_name("group")) != NULL && rule->group_name == NULL)
		return "the group is no name";
	if (rule->group_name != NULL && !field_rule_chooses_side(rule->kind))
		return psprintf("rule \"%s\" is not of a group", field_rule_name(rule->kind));
	return NULL;
}

static int
group_number(const FieldRules *rules, const char *name)
{
	for (int i = 0; i < rules->ngroups; i++)
		if (strcmp(rules->groups[i].name, name) == 0)
			return i;
	return -1;
}

void
field_rules_group(FieldRules *rules)
{
	rules->ngroups = 0;
	rules->groups = palloc0(sizeof(FieldGroup) * Max(rules->n, 1));
	for (int i = 0; i < rules->n; i++)
	{
		FieldRule  *rule = &rules->rule[i];
		FieldGroup *group;

		rule->group = -1;
		if (rule->group_name == NULL)
			continue;
		rule->group = group_number(rules, rule->group_name);
		if (rule->group < 0)
		{
			rule->group = rules->ngroups++;
			group = &rules->groups[rule->group];
			group->name = rule->group_name;
			group->rule = rule;
			group->field = palloc(sizeof(FieldName) * rules->n);
		}
		group = &rules->groups[rule->group];
		group->field[group->n++] = rule->field;
	}
}

const FieldRule *
field_rule_find(const FieldRules *rules, FieldName field)
{
	return field_search(rules->rule, rules->n, sizeof(FieldRule), field);
}

void
field_rules_push_sums(JsonbParseState **state, const FieldRules *rules)
{
	FieldNames	names;

	field_names_init(&names, rules->n);
	for (int i = 0; i < rules->n; i++)
		if (rules->rule[i].kind == FIELD_RULE_SUM)
			field_names_add(&names, rules->rule[i].field);
	field_names_sort(&names);
	field_names_push(state, &names);
}

bool
field_rules_sum(const FieldRules *rules, FieldName field)
{
	const FieldRule *rule = rules->nsums == 0 ? NULL : field_rule_find(rules, field);

	return rule != NULL && rule->kind == FIELD_RULE_SUM;
}

bool
field_rules_check_increments(const FieldRules *rules, const Change *change, ChangeError *error)
{
	for (int i = 0; i < change->increments.n; i++)
	{
		FieldName	name = change->increments.field[i].name;

		if (!field_rules_sum(rules, name))
			return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
								"An administrator makes it a counter with sync_rule(entity, field, 'sum').",
								"nothing can be added to field \"%s\" of entity \"%s\", whose rule is not sum",
								clip_text(name.data, name.len, CLIP_QUOTE), change->entity);
	}
	return true;
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
field_rule_verdict(const JsonbValue *chosen, const JsonbValue *current, const JsonbValue *sent,
				   const JsonbValue **result)
{
	*result = NULL;
	if (json_value_equal(chosen, current))
		return FIELD_STANDS;
	if (json_value_equal(chosen, sent))
		return FIELD_TAKEN;
	*result = chosen;
	return FIELD_COMBINED;
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
		case FIELD_RULE_PRIORITY:
		case FIELD_RULE_SUM:
		case FIELD_RULE_FUNCTION:
			return FIELD_UNDECIDED;
	}
	return FIELD_UNDECIDED;
}

/* ---------- what a change says by the rules ---------- */

/* Would a sum of this number have other digits?  4.00 is 4. */
static bool
is_padded(const FieldRules *rules, const Field *field)
{
	return field->value.type == jbvNumeric && field_rules_sum(rules, field->name) &&
		DatumGetInt32(DirectFunctionCall1(numeric_scale, NumericGetDatum(field->value.val.numeric))) >
		DatumGetInt32(DirectFunctionCall1(numeric_min_scale, NumericGetDatum(field->value.val.numeric)));
}

/* The fields, their counters as sums are: a column of whole numbers may take 4, and not 4.00. */
static Fields
trim_counters(const FieldRules *rules, const Fields *fields)
{
	Fields		trimmed = *fields;

	for (int i = 0; i < fields->n; i++)
	{
		if (!is_padded(rules, &fields->field[i]))
			continue;
		if (trimmed.field == fields->field)
		{
			trimmed.field = palloc(sizeof(Field) * fields->n);
			memcpy(trimmed.field, fields->field, sizeof(Field) * fields->n);
		}
		trimmed.field[i].value.val.numeric =
			DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
												NumericGetDatum(fields->field[i].value.val.numeric)));
	}
	return trimmed;
}

const Change *
field_rules_tell(const FieldRules *rules, const Change *change, Change *told)
{
	if (rules->nempty == 0 && rules->nsums == 0)
		return change;
	*told = *change;
	if (rules->nsums > 0)
	{
		told->fields = trim_counters(rules, &change->fields);
		told->totals = trim_counters(rules, &change->totals);
	}
	told->nempty = rules->nempty;
	told->empty = rules->empty;
	return told;
}
