/*
 * outbox_sums.c
 *	  What the edits of a row behind a link have added to its counters.
 *
 * What was captured is what the row held then.  What a run of the server has added is
 * what it has left in the field more than the one before, or than is agreed on; it goes
 * into that run's total, which is what the hub is told.
 */
#include "postgres.h"

#include "hub/outbox_sums.h"
#include "model/counts.h"
#include "model/increment.h"

/* What is taken out of a fold. */
typedef struct Taking
{
	Counts		counts;			/* all that was counted, with this */
	Counts		sent;			/* what the hub is told of it */
	Fields		summed;			/* the fields as they are now, */
	Fields		added;			/* and what they have more than was agreed on */
} Taking;

static void
count_run(Taking *taking, const Field *before, const Field *after, const FoldRun *run)
{
	Count		count = {.field = after->name, .run = run->run, .since = run->since, .seq = run->seq};

	/* through null or a text: the next number tells */
	if (!increment_number(before, after, &count.total))
		return;
	count = counts_add(&taking->counts, &count);
	counts_set(&taking->sent, &count);
}

static void
count_field(Taking *taking, const Field *agreed, const FoldField *f)
{
	Field		before = *agreed;
	Field		after = f->field;

	for (int i = 0; i < f->nruns; i++)
	{
		after.value = f->runs[i].value;
		count_run(taking, &before, &after, &f->runs[i]);
		if (after.value.type == jbvNumeric)
			before = after;
	}
	taking->summed.field[taking->summed.n++] = f->field;
	if (increment_between(agreed, &f->field, &taking->added.field[taking->added.n]))
		taking->added.n++;
}

/*
 * Is it a counter that went from a number to a number, captured as one?  What a run of the
 * server has taken back of an edit of the one before is told: the hub may have had that.
 */
static bool
is_counted(const FieldRules *rules, const Fields *agreed, const FoldField *f, const Field **from)
{
	*from = f->nruns > 0 && field_rules_sum(rules, f->field.name) ?
		fields_find(agreed, f->field.name) : NULL;
	return *from != NULL && (*from)->value.type == jbvNumeric &&
		f->field.value.type == jbvNumeric &&
		(f->nruns > 1 || !fields_hold(agreed, &f->field));
}

bool
outbox_sums_take(const FieldRules *rules, const ReplicaRow *replica, const Fields *agreed,
				 Fold *fold, CountedSums *sums)
{
	Taking		taking = {
		.summed.field = palloc(sizeof(Field) * Max(fold->n, 1)),
		.added.field = palloc(sizeof(Field) * Max(fold->n, 1))
	};
	int			kept = 0;

	if (!counts_read(replica->counted == NULL ? NULL : &replica->counted->root, &taking.counts))
		MemSet(&taking.counts, 0, sizeof(Counts));
	for (int i = 0; i < fold->n; i++)
	{
		const Field *from;

		if (is_counted(rules, agreed, &fold->fields[i], &from))
			count_field(&taking, from, &fold->fields[i]);
		else
			fold->fields[kept++] = fold->fields[i];
	}
	fold->n = kept;
	sums->summed = taking.summed;
	sums->added = taking.added;
	sums->counted = counts_jsonb(&taking.sent);
	sums->counts = counts_jsonb(&taking.counts);
	return taking.summed.n > 0;
}
