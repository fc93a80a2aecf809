/*
 * increment.c
 *	  Increments of a change: numbers that are added to fields whose rule is sum.
 *
 * doc/ladder.md, "Counters", has the rules; ladder_sum.c adds them to a record.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "model/clip.h"
#include "model/increment.h"
#include "model/json_read.h"

/* A string of digits has at most so many bytes. */
#define INCREMENT_MAX_BYTES		1000

/* ---------- reading ---------- */

static int
count_digits(const char *text, int len)
{
	int			n = 0;

	while (n < len && text[n] >= '0' && text[n] <= '9')
		n++;
	return n;
}

/* Is it a string of digits, with a sign and a fraction perhaps? */
static bool
is_decimal(const JsonbValue *value)
{
	const char *text = value->val.string.val;
	int			len = value->val.string.len;
	int			n;

	if (len > 0 && (text[0] == '-' || text[0] == '+'))
		text++, len--;
	n = count_digits(text, len);
	if (n == 0 || n == len)
		return n > 0;
	return text[n] == '.' && n + 1 < len &&
		count_digits(text + n + 1, len - n - 1) == len - n - 1;
}

/* Returns why it is none. */
static char *
read_increment(Field *increment)
{
	JsonbValue *value = &increment->value;
	char	   *text;

	if (value->type == jbvNumeric)
		return NULL;
	if (value->type != jbvString || value->val.string.len > INCREMENT_MAX_BYTES ||
		!is_decimal(value))
		return psprintf("the increment of field \"%s\" must be a number, not %s",
						clip_text(increment->name.data, increment->name.len, CLIP_QUOTE),
						json_type_name(value));
	text = pnstrdup(value->val.string.val, value->val.string.len);
	value->type = jbvNumeric;
	value->val.numeric = DatumGetNumeric(DirectFunctionCall3(numeric_in, CStringGetDatum(text),
															 ObjectIdGetDatum(InvalidOid),
															 Int32GetDatum(-1)));
	return NULL;
}

char *
increments_read(const JsonbValue *value, Fields *increments)
{
	JsonbContainer *object = json_read_object(value);
	char	   *why = NULL;

	if (object == NULL)
		return psprintf("key \"increments\" must be an object, not %s", json_type_name(value));
	fields_from_container(object, increments);
	if (increments->n == 0)
		return pstrdup("key \"increments\" is empty: it adds to no field");
	for (int i = 0; i < increments->n && why == NULL; i++)
		why = read_increment(&increments->field[i]);
	return why;
}

/* ---------- adding ---------- */

Numeric
increment_numeric(const Field *field)
{
	return field->value.type == jbvNumeric ? field->value.val.numeric : NULL;
}

bool
increment_number(const Field *before, const Field *after, Numeric *difference)
{
	Numeric		from = increment_numeric(before);
	Numeric		to = increment_numeric(after);
	bool		overflow = false;

	if (from == NULL || to == NULL)
		return false;
	*difference = numeric_sub_opt_error(to, from, &overflow);
	return !overflow;
}

bool
increment_between(const Field *before, const Field *after, Field *increment)
{
	Numeric		difference;

	if (!increment_number(before, after, &difference))
		return false;
	*increment = *after;
	increment->value.val.numeric = difference;
	return true;
}

char *
increment_add(const JsonbValue *value, const Field *increment, JsonbValue *sum)
{
	const char *name = clip_text(increment->name.data, increment->name.len, CLIP_QUOTE);
	bool		overflow = false;

	*sum = increment->value;
	if (value == NULL || value->type == jbvNull)
		return NULL;
	if (value->type != jbvNumeric)
		return psprintf("field \"%s\" holds %s, to which nothing can be added", name,
						json_type_name(value));
	sum->val.numeric = numeric_add_opt_error(value->val.numeric, increment->value.val.numeric,
											 &overflow);
	if (overflow)
		return psprintf("the sum of field \"%s\" is beyond what a number can be", name);
	/* 4.00, as a column with a scale makes it, is 4 to one of whole numbers */
	sum->val.numeric = DatumGetNumeric(DirectFunctionCall1(numeric_trim_scale,
														   NumericGetDatum(sum->val.numeric)));
	return NULL;
}
