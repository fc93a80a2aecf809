/*
 * ladder_sum.c
 *	  What the increments of a change add to the record that its fields have led to.
 *
 * They are never contested: whatever becomes of the fields beside them, they are added.
 * Only ifMatch keeps them back, a record that is deleted, and a value that is no number.
 */
#include "postgres.h"

#include "lib/stringinfo.h"

#include "model/increment.h"
#include "model/ladder_state.h"

/* The record is gone, and stays so: there is nothing to add to. */
static void
find_tombstone(LadderState *s)
{
	Decision   *d = s->decision;

	d->status = 409;
	if (d->resolution != RESOLUTION_MANUAL)
		d->resolution = RESOLUTION_TOMBSTONE;
	d->lost_all = true;
	d->audience = AUDIENCE_ORIGIN;
	d->reason = s->change->fields.n == 0 ?
		pstrdup("the record is deleted: nothing can be added to it") :
		psprintf("%s; the record is deleted: nothing can be added to it", d->reason);
}

/* "stock: sum of 10 and -3", the record's value first. */
static void
append_sum(StringInfo text, int n, const JsonbValue *value, const Field *increment)
{
	if (n >= REASON_FIELDS)
		return;
	appendStringInfo(text, "%s%s: sum of %s and %s", n > 0 ? "; " : "",
					 field_name_cstring(increment->name),
					 value == NULL ? "0" : ladder_value_text(value),
					 ladder_value_text(&increment->value));
}

/*
 * The sum of a field.  A record that hasn't the field gets what an edited row holds of it:
 * the hub had never heard of that.
 */
static char *
make_sum(const LadderState *s, const JsonbValue *value, const Field *increment, JsonbValue *sum)
{
	const Field *total = value != NULL ? NULL :
		fields_find(&s->change->totals, increment->name);

	if (total == NULL)
		return increment_add(value, increment, sum);
	*sum = total->value;
	return NULL;
}

/* The sums that differ from what the record has.  Returns false where one can't be made. */
static bool
make_sums(LadderState *s, Fields *sums, StringInfo text)
{
	const Fields *increments = &s->change->increments;

	sums->n = 0;
	sums->field = palloc(sizeof(Field) * increments->n);
	for (int i = 0; i < increments->n; i++)
	{
		const Field *increment = &increments->field[i];
		const RecordField *present = record_find(&s->decision->after, increment->name);
		const JsonbValue *value = present == NULL ? NULL : &present->field.value;
		Field	   *sum = &sums->field[sums->n];

		sum->name = increment->name;
		s->decision->refused = make_sum(s, value, increment, &sum->value);
		if (s->decision->refused != NULL)
			return false;
		if (value == NULL || !json_value_equal(value, &sum->value))
			append_sum(text, sums->n++, value, increment);
	}
	if (sums->n > REASON_FIELDS)
		appendStringInfo(text, "; and %d more", sums->n - REASON_FIELDS);
	return true;
}

void
ladder_add_increments(LadderState *s)
{
	Decision   *d = s->decision;
	StringInfoData text;
	Fields		sums;

	if (d->after.deleted)
	{
		find_tombstone(s);
		return;
	}
	initStringInfo(&text);
	if (!make_sums(s, &sums, &text) || sums.n == 0)
		return;
	ladder_write_sums(s, &sums);
	if (d->resolution == RESOLUTION_NO_CHANGE)
	{
		d->resolution = RESOLUTION_FIELD_RULE;
		d->reason = psprintf("by rule, %s", text.data);
	}
	else
		d->reason = psprintf("%s; by rule, %s", d->reason, text.data);
}
