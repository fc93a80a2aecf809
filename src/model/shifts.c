/*
 * shifts.c
 *	  By how much deliveries have moved the counters of a row whose edits wait for an answer.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"

#include "model/json.h"
#include "model/json_read.h"
#include "model/shifts.h"

/* An entry [seq, difference]; false: it was edited to what it can't be, and says nothing. */
static bool
read_entry(const JsonbValue *value, int64 *seq, Numeric *difference)
{
	JsonbContainer *pair = json_read_array(value);
	const JsonbValue *second;

	if (pair == NULL || JsonContainerSize(pair) != 2)
		return false;
	second = getIthJsonbValueFromContainer(pair, 1);
	if (second->type != jbvNumeric ||
		!json_read_number(getIthJsonbValueFromContainer(pair, 0), 0, PG_INT64_MAX, seq))
		return false;
	*difference = second->val.numeric;
	return true;
}

static Numeric
sum_of(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

static void
shift_field(Field *field, const JsonbValue *list, int64 seq)
{
	JsonbContainer *entries = json_read_array(list);

	for (uint32 i = 0; entries != NULL && i < JsonContainerSize(entries); i++)
	{
		int64		before;
		Numeric		difference;

		if (read_entry(getIthJsonbValueFromContainer(entries, i), &before, &difference) &&
			seq < before)
			field->value.val.numeric = sum_of(field->value.val.numeric, difference);
	}
}

void
shifts_apply(Jsonb *shifts, int64 seq, Fields *fields)
{
	Fields		moved;

	if (shifts == NULL)
		return;
	moved = fields_of(shifts);
	for (int i = 0; i < fields->n; i++)
	{
		const Field *list = fields_find(&moved, fields->field[i].name);

		if (list != NULL && fields->field[i].value.type == jbvNumeric)
			shift_field(&fields->field[i], &list->value, seq);
	}
}

static void
push_entry(JsonbParseState **state, int64 seq, Numeric difference)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	json_add_number(state, seq);
	json_add_numeric(state, difference);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

/* What moves all of the edits that wait is added to the new difference. */
static void
push_list(JsonbParseState **state, const Field *known, int64 seq, int64 first, int64 last,
		  const Shift *added)
{
	JsonbContainer *entries = known == NULL ? NULL : json_read_array(&known->value);
	Numeric		sum = added->difference;

	json_push_array(state, field_name_cstring(added->field));
	for (uint32 i = 0; entries != NULL && i < JsonContainerSize(entries); i++)
	{
		int64		before;
		Numeric		difference;

		if (!read_entry(getIthJsonbValueFromContainer(entries, i), &before, &difference) ||
			before <= first)
			continue;
		if (before > last)
			sum = sum_of(sum, difference);
		else
			push_entry(state, before, difference);
	}
	push_entry(state, seq, sum);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

Jsonb *
shifts_add(Jsonb *shifts, int64 seq, int64 first, int64 last, const Shift *added, int n)
{
	JsonbParseState *state = json_begin_object();
	Fields		known = fields_of(shifts);

	for (int i = 0; i < n; i++)
		push_list(&state, fields_find(&known, added[i].field), seq, first, last, &added[i]);
	return json_end_object(&state);
}
