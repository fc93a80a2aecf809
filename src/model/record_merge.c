/*
 * record_merge.c
 *	  One record of two that were found to be one.
 *
 * Counters are added up: what was added to either was added to the one that they are.
 * Groups of fields go to one side, as they do in the ladder.
 */
#include "postgres.h"

#include "model/field_ladder.h"
#include "model/increment.h"
#include "model/record_merge.h"

/* ---------- one field ---------- */

static bool
is_null(const RecordField *field)
{
	return field == NULL || field->field.value.type == jbvNull;
}

/* What a rule or its function is told of drop's value, as if it had just come. */
static Change
said_of(const RecordMerge *merge, const RecordField *dropped)
{
	const Change said = {
		.entity = merge->entity,
		.external_id = merge->keep_id,
		.source = dropped->stamp.source,
		.has_version = true,
		.version = dropped->stamp.version,
		.has_updated_at = dropped->stamp.has_updated_at,
		.updated_at = dropped->stamp.updated_at
	};

	return said;
}

static FieldVerdict
add_up(const RecordField *kept, const RecordField *dropped, const JsonbValue **result)
{
	JsonbValue *sum = palloc(sizeof(JsonbValue));

	if (kept->field.value.type != jbvNumeric || dropped->field.value.type != jbvNumeric ||
		increment_add(&kept->field.value, &dropped->field, sum) != NULL)
		return FIELD_UNDECIDED;
	*result = sum;
	return FIELD_COMBINED;
}

static FieldVerdict
decide_by_rule(const RecordMerge *merge, const FieldRule *rule, const RecordField *kept,
			   const RecordField *dropped, const JsonbValue **result)
{
	const Change said = said_of(merge, dropped);
	char	   *failed = NULL;

	*result = NULL;
	if (rule->kind == FIELD_RULE_SUM)
		return add_up(kept, dropped, result);
	if (rule->kind == FIELD_RULE_FUNCTION)
		return merge->rules->function(merge->rules->function_arg, &said, rule, kept,
									  &dropped->field.value, result, &failed);
	return field_rule_decide(rule->kind, kept, &dropped->field.value, &said, result);
}

static FieldVerdict
lower_wins(const RecordMerge *merge, int64 kept, int64 dropped)
{
	if (kept == dropped || (merge->rules->ladder & RUNG_PRIORITY) == 0)
		return FIELD_UNDECIDED;
	return dropped < kept ? FIELD_TAKEN : FIELD_STANDS;
}

static FieldVerdict
decide_field(const RecordMerge *merge, const RecordField *kept, const RecordField *dropped,
			 const JsonbValue **result)
{
	const LadderRules *rules = merge->rules;
	const FieldRule *rule = field_rule_find(rules->field_rules, kept->field.name);
	FieldVerdict verdict = FIELD_UNDECIDED;

	*result = NULL;
	if (rule != NULL)
		verdict = decide_by_rule(merge, rule, kept, dropped, result);
	if (verdict != FIELD_UNDECIDED || (rule != NULL && rule->kind == FIELD_RULE_MANUAL))
		return verdict;
	return lower_wins(merge, rules->rank(rules->rank_arg, kept->stamp.source, kept->field.name),
					  rules->rank(rules->rank_arg, dropped->stamp.source, kept->field.name));
}

/* ---------- groups ---------- */

/* The group that a field belongs to, or NULL. */
static const FieldGroup *
group_of(const RecordMerge *merge, FieldName name)
{
	const FieldRules *rules = merge->rules->field_rules;
	const FieldRule *rule = field_rule_find(rules, name);

	return rule == NULL || rule->group < 0 ? NULL : &rules->groups[rule->group];
}

/* Has the record a value in the group?  The best rank of those who vouch for any of it. */
static bool
group_filled(const RecordMerge *merge, const FieldGroup *group, const Record *record, int64 *rank)
{
	const LadderRules *rules = merge->rules;
	bool		filled = false;

	*rank = RANK_NONE;
	for (int i = 0; i < group->n; i++)
	{
		const RecordField *field = record_find(record, group->field[i]);

		if (is_null(field))
			continue;
		filled = true;
		*rank = Min(*rank, ladder_group_rank(group, rules->rank, rules->rank_arg, field->stamp.source));
	}
	return filled;
}

static bool
group_differs(const RecordMerge *merge, const FieldGroup *group)
{
	for (int i = 0; i < group->n; i++)
	{
		const RecordField *kept = record_find(merge->keep, group->field[i]);
		const RecordField *dropped = record_find(merge->drop, group->field[i]);

		if (is_null(kept) != is_null(dropped) ||
			(!is_null(kept) && !json_value_equal(&kept->field.value, &dropped->field.value)))
			return true;
	}
	return false;
}

/* Whose the group becomes; the first field's values are what its rule looks at. */
static FieldVerdict
decide_group(const RecordMerge *merge, const FieldGroup *group)
{
	const RecordField *kept = record_find(merge->keep, group->rule->field);
	const RecordField *dropped = record_find(merge->drop, group->rule->field);
	const JsonbValue *result;
	int64		kept_rank;
	int64		dropped_rank;
	FieldVerdict verdict = FIELD_UNDECIDED;

	if (!group_filled(merge, group, merge->drop, &dropped_rank))
		return FIELD_STANDS;
	if (!group_filled(merge, group, merge->keep, &kept_rank))
		return FIELD_TAKEN;
	if (!group_differs(merge, group))
		return FIELD_STANDS;
	if (kept != NULL && dropped != NULL)
		verdict = decide_by_rule(merge, group->rule, kept, dropped, &result);
	if (verdict == FIELD_STANDS || verdict == FIELD_TAKEN)
		return verdict;
	if (group->rule->kind == FIELD_RULE_MANUAL)
		return FIELD_UNDECIDED;
	return lower_wins(merge, kept_rank, dropped_rank);
}

/* ---------- the record ---------- */

static RecordField *
append(RecordMerge *merge, const RecordField *field)
{
	RecordField *added = &merge->after.fields[merge->after.nfields++];

	*added = *field;
	return added;
}

/* Keep's value, which who knew drop alone has not seen. */
static void
append_kept(RecordMerge *merge, const RecordField *field)
{
	append(merge, field)->stamp.version = merge->after.version;
}

static void
append_taken(RecordMerge *merge, const RecordField *field)
{
	RecordField *added = append(merge, field);

	added->stamp.version = merge->after.version;
	added->stamp.row_version = merge->after.row_version;
	field_names_add(&merge->taken, field->field.name);
}

static void
append_combined(RecordMerge *merge, const RecordField *kept, const JsonbValue *value)
{
	RecordField combined = *kept;

	combined.field.value = *value;
	combined.stamp.set_by = SET_BY_MERGE;
	append_taken(merge, &combined);
}

/* A field that is in a group that became drop's, which hasn't got it. */
static void
append_emptied(RecordMerge *merge, const RecordField *kept)
{
	const JsonbValue null = {.type = jbvNull};

	append_combined(merge, kept, &null);
}

static void
append_by(RecordMerge *merge, FieldVerdict verdict, const RecordField *kept,
		  const RecordField *dropped, const JsonbValue *combined)
{
	switch (verdict)
	{
		case FIELD_TAKEN:
			append_taken(merge, dropped);
			break;
		case FIELD_COMBINED:
			append_combined(merge, kept, combined);
			break;
		case FIELD_UNDECIDED:
			field_names_add(&merge->undecided, kept->field.name);
			append_kept(merge, kept);
			break;
		case FIELD_STANDS:
			append_kept(merge, kept);
			break;
	}
}

static void
merge_in_group(RecordMerge *merge, const FieldGroup *group, const RecordField *kept,
			   const RecordField *dropped)
{
	FieldVerdict verdict = decide_group(merge, group);

	if (kept != NULL && dropped != NULL &&
		json_value_equal(&kept->field.value, &dropped->field.value))
		append(merge, kept);
	else if (verdict == FIELD_TAKEN)
	{
		if (dropped != NULL)
			append_taken(merge, dropped);
		else
			append_emptied(merge, kept);
	}
	else if (kept != NULL)
		append_by(merge, is_null(dropped) ? FIELD_STANDS : verdict, kept, dropped, NULL);
	else if (verdict == FIELD_UNDECIDED && !is_null(dropped))
		field_names_add(&merge->undecided, dropped->field.name);
}

static void
merge_field(RecordMerge *merge, const RecordField *kept, const RecordField *dropped)
{
	FieldName	name = kept != NULL ? kept->field.name : dropped->field.name;
	const FieldGroup *group = group_of(merge, name);
	const JsonbValue *combined;

	if (group != NULL)
		merge_in_group(merge, group, kept, dropped);
	else if (is_null(dropped))
	{
		if (kept != NULL)
			append_kept(merge, kept);
	}
	else if (is_null(kept))
		append_taken(merge, dropped);
	else if (json_value_equal(&kept->field.value, &dropped->field.value) &&
			 !field_rules_sum(merge->rules->field_rules, name))
		append(merge, kept);
	else
	{
		FieldVerdict verdict = decide_field(merge, kept, dropped, &combined);

		append_by(merge, verdict, kept, dropped, combined);
	}
}

/* There each field is the greatest that was said of it, of whichever of the two. */
static void
merge_by_stamps(RecordMerge *merge)
{
	Decision	d;

	field_ladder_merge(merge->keep, merge->drop, merge->rules, &d);
	merge->after = d.after;
	merge->taken = d.changed;
	field_names_init(&merge->undecided, 0);
}

static void
merge_by_rules(RecordMerge *merge)
{
	const Record *keep = merge->keep;
	const Record *drop = merge->drop;
	int			most = keep->nfields + drop->nfields;
	int			k = 0;
	int			d = 0;

	merge->after = *keep;
	merge->after.version = Min(Max(keep->version, drop->version) + 1, CHANGE_MAX_VERSION);
	merge->after.row_version = Max(keep->row_version, drop->row_version) + 1;
	if (drop->has_updated_at && (!keep->has_updated_at || drop->updated_at > keep->updated_at))
	{
		merge->after.has_updated_at = true;
		merge->after.updated_at = drop->updated_at;
	}
	merge->after.nfields = 0;
	merge->after.fields = palloc(sizeof(RecordField) * Max(most, 1));
	field_names_init(&merge->taken, most);
	field_names_init(&merge->undecided, most);
	while (k < keep->nfields || d < drop->nfields)
	{
		int			cmp = k == keep->nfields ? 1 : d == drop->nfields ? -1 :
			field_name_cmp(keep->fields[k].field.name, drop->fields[d].field.name);
		const RecordField *kept = cmp <= 0 ? &keep->fields[k++] : NULL;
		const RecordField *dropped = cmp >= 0 ? &drop->fields[d++] : NULL;

		merge_field(merge, kept, dropped);
	}
}

void
record_merge(RecordMerge *merge)
{
	if (merge->rules->ladder & RUNG_FIELD)
		merge_by_stamps(merge);
	else
		merge_by_rules(merge);
}
