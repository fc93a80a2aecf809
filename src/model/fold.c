/*
 * fold.c
 *	  Many edits of a record as one.
 *
 * Called by hub/captured.  Folding the edits and applying the outcome to the
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

/* The later value counts, the earlier base. */
static void
set_field(Fold *fold, const Field *field, int64 base, bool added)
{
	bool		found;
	int			place = find_place(fold, field->name, &found);

	if (!found)
	{
		memmove(&fold->fields[place + 1], &fold->fields[place],
				sizeof(FoldField) * (fold->n - place));
		fold->n++;
		fold->fields[place].base = base;
		fold->fields[place].added = added;
	}
	fold->fields[place].added &= added;
	fold->fields[place].field = *field;
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
		set_field(fold, &edit->fields.field[i], fold->whole ? fold->base : edit->base,
				  edit->added);
}

void
fold_drop(Fold *fold, FoldDrop drop, void *arg)
{
	int			kept = 0;

	for (int i = 0; i < fold->n; i++)
		if (!drop(arg, &fold->fields[i].field))
			fold->fields[kept++] = fold->fields[i];
	fold->n = kept;
}

bool
fold_take(Fold *fold, int64 *base, bool *added, Fields *fields)
{
	int			kept = 0;

	if (fold->n == 0)
		return false;
	*base = PG_INT64_MAX;
	*added = true;
	for (int i = 0; i < fold->n; i++)
		*added &= fold->fields[i].added;
	for (int i = 0; i < fold->n; i++)
		if (fold->fields[i].added == *added)
			*base = Min(*base, fold->fields[i].base);
	fields->n = 0;
	fields->field = palloc(sizeof(Field) * fold->n);
	for (int i = 0; i < fold->n; i++)
	{
		const FoldField *f = &fold->fields[i];

		if (f->added == *added && (*added || f->base == *base))
			fields->field[fields->n++] = f->field;
		else
			fold->fields[kept++] = *f;
	}
	fold->n = kept;
	return true;
}
