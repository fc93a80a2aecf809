/*
 * row_change.c
 *	  What the edit of a row counts as, upon the record that it meets.
 *
 * Documents count as they say.  A row that was inserted is a birth: on a tombstone
 * whatever was delivered before, but not where one transaction deletes a row and
 * inserts it again, which is an edit of it.
 * A row that was updated before anything was delivered to it was there already: the
 * edit is based on the last word that its own table had in the record, before others
 * had theirs, so that neither a delete nor a value of theirs is undone unseen.
 */
#include "postgres.h"

#include "model/row_change.h"

int64
row_change_last_word(const Record *record, const char *source)
{
	int64		last = 0;

	if (!record->exists)
		return 0;
	for (int i = 0; i < record->nfields; i++)
	{
		const Stamp *stamp = &record->fields[i].stamp;

		if (strcmp(stamp->set_by, source) == 0)
			last = Max(last, stamp->row_version);
	}
	/* a record without fields, or a tombstone: the source that wrote it last */
	if (last == 0 && strcmp(record->last_source, source) == 0)
		last = record->nfields == 0 || record->deleted ? record->row_version : 1;
	return last;
}

/* The row version that an edit was made on to which nothing was delivered before. */
static int64
own_base(const Record *record, const char *source)
{
	int64		base = row_change_last_word(record, source);

	for (int i = 0; i < record->nfields; i++)
	{
		const Stamp *stamp = &record->fields[i].stamp;

		if (strcmp(stamp->set_by, source) != 0)
			base = Min(base, stamp->row_version - 1);
	}
	/* a tombstone of others was made later than that in any case */
	return record->exists && record->deleted ? Max(base, 1) : base;
}

const Change *
row_change_upon(const Change *change, const Record *record, bool own_grave, Change *counted)
{
	bool		grave = record->exists && record->deleted;

	if (change->origin == ORIGIN_DOCUMENT || change->deleted)
		return change_as_it_counts(change, counted);
	*counted = *change;
	if (change->origin == ORIGIN_INSERT && grave)
	{
		counted->origin = own_grave ? ORIGIN_EDIT : ORIGIN_INSERT;
		counted->base = own_grave ? record->row_version : 0;
	}
	else if (change->origin == ORIGIN_EDIT && change->base == 0)
		counted->base = own_base(record, change->source);
	return change_as_it_counts(counted, counted);
}

/* Has another source set a field of its group since what the edit was made on? */
static bool
group_is_foreign(const FieldRules *rules, FieldName name, const Change *change, const Record *record)
{
	const FieldRule *rule = field_rule_find(rules, name);
	const FieldGroup *group = rule != NULL && rule->group >= 0 ? &rules->groups[rule->group] : NULL;

	for (int i = 0; group != NULL && i < group->n; i++)
	{
		const RecordField *field = record_find(record, group->field[i]);

		if (field != NULL && field->stamp.row_version > change->base &&
			strcmp(field->stamp.set_by, change->source) != 0)
			return true;
	}
	return false;
}

void
row_change_leave_out(Change *change, const Record *record, const FieldRules *rules,
					 FieldNames *left_out)
{
	Fields		kept = {0, palloc(sizeof(Field) * Max(change->fields.n, 1))};

	field_names_init(left_out, change->fields.n);
	for (int i = 0; i < change->fields.n; i++)
	{
		FieldName	name = change->fields.field[i].name;

		if (record->deleted || record_find(record, name) != NULL ||
			group_is_foreign(rules, name, change, record))
			field_names_add(left_out, name);
		else
			kept.field[kept.n++] = change->fields.field[i];
	}
	change->fields = kept;
	/* a column that was added revives nothing */
	change->deleted = record->deleted;
}

void
row_change_tell(const FieldNames *left_out, Decision *decision)
{
	FieldNames	lost;

	if (left_out->n == 0)
		return;
	if (decision->resolution == RESOLUTION_NO_CHANGE)
	{
		decision->resolution = RESOLUTION_KEEP;
		decision->reason = pstrdup("the record has these fields: what a column holds because it was added is no edit");
	}
	field_names_init(&lost, decision->lost.n + left_out->n);
	for (int i = 0; i < decision->lost.n; i++)
		field_names_add(&lost, decision->lost.name[i]);
	for (int i = 0; i < left_out->n; i++)
		field_names_add(&lost, left_out->name[i]);
	field_names_sort(&lost);
	decision->lost = lost;
	decision->audience = decision->audience == AUDIENCE_NONE ? AUDIENCE_ORIGIN :
		decision->audience == AUDIENCE_OTHERS ? AUDIENCE_ALL : decision->audience;
}
