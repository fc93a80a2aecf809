/*
 * unanswered.c
 *	  What a row behind a link has added to its counters, and the hub's record hasn't.
 *
 * The hub tells with a record which of our totals are in it.  So it doesn't matter how far
 * a batch that is out has come there, whether its answer was lost, or what this database
 * had sent before it went back in time.
 */
#include "postgres.h"

#include "hub/outbox_sums.h"
#include "hub/outstanding.h"
#include "hub/unanswered.h"
#include "model/counts.h"
#include "model/increment.h"

/* Has the row been edited only in counters, from number to number? */
static bool
is_of_counters(const FieldRules *rules, const Fields *agreed, const Fold *fold)
{
	if (fold->nedits == 0 || fold->made || fold->whole || fold->deleted || fold->cascade ||
		fold->recount || fold->baseline)
		return false;
	for (int i = 0; i < fold->n; i++)
	{
		const FoldField *f = &fold->fields[i];
		const Field *from = fields_find(agreed, f->field.name);

		if (!field_rules_sum(rules, f->field.name) || f->added || f->nruns == 0 ||
			from == NULL || from->value.type != jbvNumeric)
			return false;
		for (int n = 0; n < f->nruns; n++)
			if (f->runs[n].value.type != jbvNumeric)
				return false;
	}
	return fold->n > 0;
}

static void
read_counts(Jsonb *jsonb, Counts *counts)
{
	if (!counts_read(jsonb == NULL ? NULL : &jsonb->root, counts))
		MemSet(counts, 0, sizeof(Counts));
}

static bool
make_sum(const Fields *agreed, const FoldField *f, UnansweredSum *sum)
{
	sum->field = f->field.name;
	sum->held = increment_numeric(&f->field);
	return increment_number(fields_find(agreed, sum->field), &f->field, &sum->added);
}

bool
unanswered_sums(const char *source, const char *entity, const FieldRules *rules,
				const ReplicaRow *replica, Jsonb *known_jsonb, bool may_be_old,
				UnansweredSums *sums)
{
	Fields		agreed = fields_of(replica->fields);
	OutstandingEdits edits;
	CountedSums taken;
	Counts		known;
	Counts		before;
	Counts		made;

	sums->n = 0;
	if (!outstanding_fold(source, entity, replica, may_be_old, &edits) ||
		!is_of_counters(rules, &agreed, &edits.fold))
		return false;
	sums->first = edits.first;
	sums->last = edits.last;
	sums->sum = palloc(sizeof(UnansweredSum) * edits.fold.n);
	for (int i = 0; i < edits.fold.n; i++)
		if (!make_sum(&agreed, &edits.fold.fields[i], &sums->sum[sums->n++]))
			return false;
	read_counts(known_jsonb, &known);
	read_counts(replica->counted, &before);
	(void) outbox_sums_take(rules, replica, &agreed, &edits.fold, &taken);
	read_counts(taken.counted, &made);
	for (int i = 0; i < sums->n; i++)
		if (!counts_lacking(&known, &before, &made, sums->sum[i].field, &sums->sum[i].lacking))
			return false;
	return true;
}
