/*
 * counts.c
 *	  How much a table behind a link has added to the counters of a record, in all.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "model/counts.h"
#include "model/json.h"
#include "model/json_read.h"

/* The one of the same field and run, if it is among those from first on. */
static Count *
find_count(const Counts *counts, int first, const Count *like)
{
	for (int i = first; i < counts->n; i++)
	{
		Count	   *count = &counts->count[i];

		if (count->run == like->run && count->since == like->since &&
			field_name_cmp(count->field, like->field) == 0)
			return count;
	}
	return NULL;
}

static Count *
add_place(Counts *counts)
{
	if (counts->n == counts->room)
	{
		counts->room = Max(counts->room * 2, 4);
		counts->count = counts->count == NULL ? palloc(sizeof(Count) * counts->room) :
			repalloc_huge(counts->count, sizeof(Count) * counts->room);
	}
	return &counts->count[counts->n++];
}

/* ---------- as JSON ---------- */

static bool
read_run(FieldName name, Count *count)
{
	const char *text = field_name_cstring(name);
	char	   *slash;
	char	   *end;

	errno = 0;
	count->run = strtoi64(text, &slash, 10);
	if (errno != 0 || slash == text || *slash != '/')
		return false;
	count->since = strtoi64(slash + 1, &end, 10);
	return errno == 0 && end > slash + 1 && *end == '\0';
}

static bool
read_count(FieldName field, const Field *member, Count *count)
{
	JsonbContainer *pair = json_read_array(&member->value);
	const JsonbValue *total;

	if (pair == NULL || JsonContainerSize(pair) != 2)
		return false;
	total = getIthJsonbValueFromContainer(pair, 1);
	if (total->type != jbvNumeric)
		return false;
	count->field = field;
	count->total = total->val.numeric;
	return read_run(member->name, count) &&
		json_read_number(getIthJsonbValueFromContainer(pair, 0), 0, PG_INT64_MAX, &count->seq);
}

/* The runs of a field, which has none yet: nobody else's have to be looked through. */
static bool
read_runs(const Field *field, Counts *counts)
{
	JsonbContainer *object = json_read_object(&field->value);
	const int	first = counts->n;
	Fields		runs;

	if (object == NULL || JsonContainerSize(object) > COUNTS_MAX_RUNS)
		return false;
	fields_from_container(object, &runs);
	for (int i = 0; i < runs.n; i++)
	{
		Count		count;
		Count	   *same;

		if (!read_count(field->name, &runs.field[i], &count))
			return false;
		/* 1/1 and 01/1 are one */
		same = find_count(counts, first, &count);
		*(same != NULL ? same : add_place(counts)) = count;
	}
	return true;
}

/* What others say is as long as they like: it takes as long to read, and can be cancelled. */
bool
counts_read(JsonbContainer *object, Counts *counts)
{
	Fields		fields;

	MemSet(counts, 0, sizeof(Counts));
	if (object == NULL)
		return true;
	fields_from_container(object, &fields);
	for (int i = 0; i < fields.n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		if (!read_runs(&fields.field[i], counts))
			return false;
	}
	return true;
}

static void
push_count(JsonbParseState **state, const Count *count)
{
	json_push_array(state, psprintf(INT64_FORMAT "/" INT64_FORMAT, count->run, count->since));
	json_add_number(state, count->seq);
	json_add_numeric(state, count->total);
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static int
compare_fields(const void *a, const void *b)
{
	return field_name_cmp(((const Count *) a)->field, ((const Count *) b)->field);
}

Jsonb *
counts_jsonb(const Counts *counts)
{
	JsonbParseState *state = json_begin_object();
	Count	   *sorted = palloc_extended(sizeof(Count) * Max(counts->n, 1), MCXT_ALLOC_HUGE);

	if (counts->n > 0)
		memcpy(sorted, counts->count, sizeof(Count) * counts->n);
	qsort(sorted, counts->n, sizeof(Count), compare_fields);
	for (int i = 0; i < counts->n; i++)
	{
		if (i == 0 || compare_fields(&sorted[i - 1], &sorted[i]) != 0)
			json_push_object(&state, field_name_cstring(sorted[i].field));
		push_count(&state, &sorted[i]);
		if (i + 1 == counts->n || compare_fields(&sorted[i], &sorted[i + 1]) != 0)
			pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	}
	return json_end_object(&state);
}

/* ---------- counting ---------- */

bool
counts_of_field(const Counts *counts, FieldName field)
{
	for (int i = 0; i < counts->n; i++)
		if (field_name_cmp(counts->count[i].field, field) == 0)
			return true;
	return false;
}

static bool
is_before(const Count *a, const Count *b)
{
	return a->run != b->run ? a->run < b->run : a->since < b->since;
}

/* The field's first count, if it has as many as are kept. */
static Count *
find_too_old(const Counts *counts, FieldName field)
{
	Count	   *first = NULL;
	int			n = 0;

	for (int i = 0; i < counts->n; i++)
	{
		Count	   *count = &counts->count[i];

		if (field_name_cmp(count->field, field) != 0)
			continue;
		n++;
		if (first == NULL || is_before(count, first))
			first = count;
	}
	return n < COUNTS_MAX_RUNS ? NULL : first;
}

void
counts_set(Counts *counts, const Count *count)
{
	Count	   *place = find_count(counts, 0, count);

	if (place == NULL)
		place = find_too_old(counts, count->field);
	*(place != NULL ? place : add_place(counts)) = *count;
}

static Numeric
sum_of(Numeric a, Numeric b)
{
	return DatumGetNumeric(DirectFunctionCall2(numeric_add, NumericGetDatum(a), NumericGetDatum(b)));
}

Count
counts_add(Counts *counts, const Count *difference)
{
	Count		count = *difference;

	for (int i = 0; i < counts->n; i++)
	{
		const Count *known = &counts->count[i];

		if (known->run != count.run || field_name_cmp(known->field, count.field) != 0)
			continue;
		count.since = known->since;
		count.total = sum_of(known->total, difference->total);
	}
	counts_set(counts, &count);
	return count;
}

/* Add an increment to those of other runs, which have come just before. */
static bool
add_increment(Fields *increments, FieldName name, Numeric difference)
{
	Field	   *field = increments->n == 0 ? NULL : &increments->field[increments->n - 1];
	bool		overflow = false;

	if (field != NULL && field_name_cmp(field->name, name) == 0)
	{
		field->value.val.numeric = numeric_add_opt_error(field->value.val.numeric, difference,
														 &overflow);
		return !overflow;
	}
	field = &increments->field[increments->n++];
	field->name = name;
	field->value.type = jbvNumeric;
	field->value.val.numeric = difference;
	return true;
}

/* counts of a document come in the order of its fields, and so do the increments. */
char *
counts_take(Counts *known, const Counts *sent, Fields *increments)
{
	increments->n = 0;
	increments->field = palloc(sizeof(Field) * Max(sent->n, 1));
	for (int i = 0; i < sent->n; i++)
	{
		const Count *count = &sent->count[i];
		const Count *before = find_count(known, 0, count);
		Numeric		difference = count->total;
		bool		overflow = false;

		if (before != NULL && before->seq >= count->seq)
			continue;
		if (before != NULL)
			difference = numeric_sub_opt_error(count->total, before->total, &overflow);
		if (overflow || !add_increment(increments, count->field, difference))
			return psprintf("what was added to field \"%s\" is beyond what a number can be",
							field_name_cstring(count->field));
		counts_set(known, count);
	}
	return NULL;
}

bool
counts_lacking(const Counts *known, const Counts *before, const Counts *made, FieldName field,
			   Numeric *lacking)
{
	*lacking = int64_to_numeric(0);
	for (int i = 0; i < made->n; i++)
	{
		const Count *count = &made->count[i];
		const Count *there = find_count(known, 0, count);

		if (field_name_cmp(count->field, field) != 0 ||
			(there != NULL && there->seq >= count->seq))
			continue;
		if (there == NULL && find_count(before, 0, count) != NULL)
			return false;
		*lacking = sum_of(*lacking, count->total);
		if (there != NULL)
			*lacking = DatumGetNumeric(DirectFunctionCall2(numeric_sub, NumericGetDatum(*lacking),
														   NumericGetDatum(there->total)));
	}
	return true;
}
