/*
 * own_sums.c
 *	  Counters of a row behind a link whose edits the hub has not answered.
 *
 * What is agreed on of a counter is what the row holds without what its edits that wait
 * have added, whichever of that the hub may have by now.  So what is sent of an edit stays
 * the same, whatever is placed between its capture and its answer.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "local/own_sums.h"
#include "local/row_edit.h"
#include "model/increment.h"
#include "model/shifts.h"

static Numeric
difference_of(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(a), NumericGetDatum(b)));
}

static const UnansweredSum *
find_sum(const UnansweredSums *own, FieldName name)
{
	for (int i = 0; i < own->n; i++)
		if (field_name_cmp(own->sum[i].field, name) == 0)
			return &own->sum[i];
	return NULL;
}

static Field
number_field(FieldName name, Numeric number)
{
	Field		field = {.name = name, .value = {.type = jbvNumeric}};

	field.value.val.numeric = number;
	return field;
}

/* Is the row as its edits say, and nothing but counters edited? */
static bool
is_as_edited(const RowState *p, const Fields *edited, const UnansweredSums *own)
{
	Fields		agreed = fields_of(p->replica.fields);

	for (int i = 0; i < edited->n; i++)
		if (find_sum(own, edited->field[i].name) == NULL)
			return false;
	for (int i = 0; i < own->n; i++)
	{
		const Field held = number_field(own->sum[i].field, own->sum[i].held);
		const Field *now = fields_find(edited, held.name);

		if (now != NULL ? !json_value_equal(&now->value, &held.value) : !fields_hold(&agreed, &held))
			return false;
	}
	return true;
}

static bool
are_counters(const FieldRules *rules, const Fields *edited)
{
	for (int i = 0; i < edited->n; i++)
		if (edited->field[i].value.type != jbvNumeric ||
			!field_rules_sum(rules, edited->field[i].name))
			return false;
	return edited->n > 0;
}

/* Has the record a number in each of them, and room for the sum?  Then it gets that. */
static bool
add_to_record(Record *record, const UnansweredSums *own)
{
	JsonbValue *sums = palloc(sizeof(JsonbValue) * own->n);

	for (int i = 0; i < own->n; i++)
	{
		const RecordField *field = record_find(record, own->sum[i].field);
		const Field lacking = number_field(own->sum[i].field, own->sum[i].lacking);

		if (field == NULL || field->field.value.type != jbvNumeric ||
			increment_add(&field->field.value, &lacking, &sums[i]) != NULL)
			return false;
	}
	for (int i = 0; i < own->n; i++)
		record_find(record, own->sum[i].field)->field.value = sums[i];
	return true;
}

bool
own_sums_add(RowState *p, const Fields *edited, Jsonb *counted, UnansweredSums *own)
{
	const Binding *binding = p->attached->binding;
	const FieldRules *rules = row_edit_counters(registry_get(), p->attached);
	bool		known = false;

	if (rules == NULL || !are_counters(rules, edited))
		return false;
	/* the row may have been edited since what waits was looked at */
	for (int fresh = 0; fresh <= 1 && !known; fresh++)
		known = unanswered_sums(binding->source, binding->entity, rules, &p->replica, counted,
								fresh == 0, own) && is_as_edited(p, edited, own);
	if (known && add_to_record(&p->record, own))
		return true;
	own->n = 0;
	return false;
}

void
own_sums_agree(ReplicaRow *replica, const UnansweredSums *own, int64 seq, Fields *fields)
{
	Shift	   *shifts = palloc(sizeof(Shift) * Max(own->n, 1));
	int			n = 0;

	for (int i = 0; i < fields->n; i++)
	{
		Field	   *field = &fields->field[i];
		const UnansweredSum *sum = find_sum(own, field->name);

		if (sum == NULL || field->value.type != jbvNumeric)
			continue;
		shifts[n].field = field->name;
		shifts[n++].difference = difference_of(field->value.val.numeric, sum->held);
		field->value.val.numeric = difference_of(field->value.val.numeric, sum->added);
	}
	replica->shifts = n == 0 ? NULL :
		shifts_add(replica->shifts, seq, own->first, own->last, shifts, n);
}

Fields
own_sums_answered(const OutboxChange *change, const ReplicaRow *replica)
{
	Fields		agreed = fields_of(replica->fields);
	Fields		summed = {change->summed.n, palloc(sizeof(Field) * Max(change->summed.n, 1))};

	for (int i = 0; i < summed.n; i++)
	{
		Field	   *field = &summed.field[i];
		const Field *now = fields_find(&agreed, change->summed.field[i].name);
		const Field *added = fields_find(&change->added_sums, change->summed.field[i].name);

		*field = change->summed.field[i];
		if (now != NULL && now->value.type == jbvNumeric && added != NULL)
			(void) increment_add(&now->value, added, &field->value);
	}
	return fields_union(&change->fields, &summed);
}
