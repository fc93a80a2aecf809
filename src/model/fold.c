/*
 * fold.c
 *	  Many edits of a record as one.
 *
 * Folding the edits and applying the outcome to the
 * row as it was before them gives the row as it is after them.
 */
#include "postgres.h"

#include "model/fold.h"

/* Where the field is, or belongs. */
static int
find_place(const Fold *fold, FieldName name, bool *found)
{
	int			low = 0;
	int			high = fold->n;

	*found = false;
	while (low < high)
	{
		int			middle = (low + high) / 2;
		int			cmp = field_name_cmp(fold->fields[middle].field.name, name);

		if (cmp == 0)
		{
			*found = true;
			return middle;
		}
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void
note_run(FoldField *f, const FoldEdit *edit)
{
	if (f->nruns == 0 || f->runs[f->nruns - 1].run != edit->run)
	{
		f->runs = f->runs == NULL ? palloc(sizeof(FoldRun)) :
			repalloc(f->runs, sizeof(FoldRun) * (f->nruns + 1));
		f->runs[f->nruns].since = edit->seq;
		f->runs[f->nruns++].run = edit->run;
	}
	f->runs[f->nruns - 1].seq = edit->seq;
	f->runs[f->nruns - 1].value = f->field.value;
}

/* The later value counts, the earlier base. */
static void
set_field(Fold *fold, const Field *field, int64 base, const FoldEdit *edit)
{
	bool		found;
	int			place = find_place(fold, field->name, &found);

	if (!found)
	{
		memmove(&fold->fields[place + 1], &fold->fields[place],
				sizeof(FoldField) * (fold->n - place));
		fold->n++;
		fold->fields[place].base = base;
		fold->fields[place].added = edit->added;
		fold->fields[place].nruns = 0;
		fold->fields[place].runs = NULL;
	}
	fold->fields[place].added &= edit->added;
	fold->fields[place].updated_at = edit->updated_at;
	fold->fields[place].field = *field;
	if (edit->run != 0)
		note_run(&fold->fields[place], edit);
}

void
fold_add(Fold *fold, const FoldEdit *edit)
{
	if (fold->nedits++ == 0)
	{
		fold->base = edit->base;
		fold->made = edit->inserted;
		fold->born = edit->inserted || edit->all;
		fold->cascade = edit->cascade;
	}
	fold->cascade &= edit->cascade;
	fold->all |= edit->all;
	fold->recount |= edit->recount;
	fold->baseline |= edit->baseline;
	fold->has_version = edit->has_version;
	fold->version = edit->version;
	fold->updated_at = edit->updated_at;
	fold->deleted = edit->deleted;
	if (edit->deleted)
	{
		fold->whole = true;
		fold->n = 0;
		return;
	}
	if (fold->fields == NULL)
		fold->fields = palloc(sizeof(FoldField) * edit->fields.n);
	else
		fold->fields = repalloc(fold->fields, sizeof(FoldField) * (fold->n + edit->fields.n));
	for (int i = 0; i < edit->fields.n; i++)
		set_field(fold, &edit->fields.field[i], fold->whole ? fold->base : edit->base, edit);
}

void
fold_drop(Fold *fold, const Fields *agreed)
{
	int			kept = 0;

	for (int i = 0; i < fold->n; i++)
		if (!fields_hold(agreed, &fold->fields[i].field))
			fold->fields[kept++] = fold->fields[i];
	fold->n = kept;
}

/* Does the field belong to the part? */
static bool
is_of_part(const Fold *fold, const FoldField *field, const FoldPart *part)
{
	if (field->added != part->added)
		return false;
	return part->added || (field->base == part->base &&
						   (!fold->by_time || field->updated_at == part->updated_at));
}

static void
choose_part(const Fold *fold, FoldPart *part)
{
	part->base = PG_INT64_MAX;
	part->updated_at = fold->by_time ? PG_INT64_MAX : fold->updated_at;
	part->added = true;
	for (int i = 0; i < fold->n; i++)
		part->added &= fold->fields[i].added;
	for (int i = 0; i < fold->n; i++)
		if (fold->fields[i].added == part->added)
			part->base = Min(part->base, fold->fields[i].base);
	for (int i = 0; fold->by_time && i < fold->n; i++)
		if (fold->fields[i].added == part->added &&
			(part->added || fold->fields[i].base == part->base))
			part->updated_at = Min(part->updated_at, fold->fields[i].updated_at);
}

bool
fold_take(Fold *fold, FoldPart *part)
{
	int			kept = 0;

	if (fold->n == 0)
		return false;
	choose_part(fold, part);
	part->fields.n = 0;
	part->fields.field = palloc(sizeof(Field) * fold->n);
	for (int i = 0; i < fold->n; i++)
	{
		const FoldField *f = &fold->fields[i];

		if (is_of_part(fold, f, part))
			part->fields.field[part->fields.n++] = f->field;
		else
			fold->fields[kept++] = *f;
	}
	fold->n = kept;
	return true;
}
