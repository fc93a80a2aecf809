/*
 * ladder_write.c
 *	  The record that a decision of the ladder leads to, and its audience.
 *
 * The rules are those of doc/ladder.md, "What a write does" and "Who is told".
 */
#include "postgres.h"

#include "model/ladder_state.h"

/* A copy of the record's fields with room for more. */
static void
copy_fields(Record *after, const Record *record, int room)
{
	after->fields = palloc(sizeof(RecordField) * Max(record->nfields + room, 1));
	if (record->nfields > 0)
		memcpy(after->fields, record->fields, sizeof(RecordField) * record->nfields);
}

static void
later_updated_at(Record *after, const Change *change)
{
	if (change->has_updated_at &&
		(!after->has_updated_at || change->updated_at > after->updated_at))
	{
		after->has_updated_at = true;
		after->updated_at = change->updated_at;
	}
}

static void
start_outcome(LadderState *s, int status, Resolution resolution, const char *reason)
{
	Decision   *d = s->decision;

	d->status = status;
	d->resolution = resolution;
	d->reason = unconstify(char *, reason);
	d->audience = AUDIENCE_NONE;
	field_names_init(&d->changed, s->change->fields.n + s->change->increments.n);
	field_names_init(&d->lost, s->change->fields.n);
}

/* The answer of a change that leaves the record as it stands. */
void
ladder_set_aside(LadderState *s, int status, Resolution resolution, bool lost,
				 const char *reason)
{
	start_outcome(s, status, resolution, reason);
	s->decision->lost_all = lost;
	s->decision->audience = lost ? AUDIENCE_ORIGIN : AUDIENCE_NONE;
}

/* Stamp a field whose value the change has just set to another one. */
static void
stamp_set(const LadderState *s, RecordField *field, const Record *after)
{
	field->stamp.version = after->version;
	field->stamp.source = s->change->source;
	field->stamp.row_version = after->row_version;
	field->stamp.set_by = s->change->source;
	field->stamp.has_updated_at = s->change->has_updated_at;
	field->stamp.updated_at = s->change->updated_at;
}

static void
stamp_changed(LadderState *s, RecordField *field, const Record *after)
{
	stamp_set(s, field, after);
	field_names_add(&s->decision->changed, field->field.name);
}

void
ladder_write_new(LadderState *s)
{
	const Change *change = s->change;
	Decision   *d = s->decision;
	Record	   *after = &d->after;
	bool		counts = (s->rules->ladder & RUNG_VERSION) && change->has_version;

	field_group_complete(s);
	change = s->change;
	start_outcome(s, 200, RESOLUTION_NEW_RECORD, "there was no such record");
	d->write = WRITE_WHOLE;
	d->audience = AUDIENCE_OTHERS;
	after->version = counts ? change->version : 1;
	after->row_version = record_next_row_version(s->record);
	after->last_source = change->source;
	after->deleted = change->deleted;
	after->nfields = change->fields.n;
	after->fields = palloc(sizeof(RecordField) * Max(change->fields.n, 1));
	later_updated_at(after, change);
	for (int i = 0; i < change->fields.n; i++)
	{
		after->fields[i].field = change->fields.field[i];
		if (field_group_is_implied(s, change->fields.field[i].name))
			stamp_set(s, &after->fields[i], after);
		else
			stamp_changed(s, &after->fields[i], after);
	}
	after->exists = true;
	field_names_sort(&d->changed);
}

/*
 * Is the field of the patch written?  An implied one where the group was won; and where
 * the record hasn't it: who has lost a value of it later is told of the null.
 */
static bool
is_written(const PatchField *match, bool whole)
{
	if (match->implied && match->current != NULL)
		return match->take;
	return whole || match->take;
}

/* Does the change vouch for it, once it is written?  For all of a group that it has won. */
static bool
is_stamped(const PatchField *match, bool whole)
{
	return is_written(match, whole) &&
		(whole || match->current == NULL || match->differs ||
		 (match->group != NULL && match->group->contested));
}

/* Stamp a field that was written, if its value is another one than the record had. */
static void
stamp_written(LadderState *s, const PatchField *match, RecordField *field, const Record *after)
{
	if (match->differs && !(match->implied && match->current == NULL))
		stamp_changed(s, field, after);
	/* null in the place of nothing, or of null, is no news; but it is the winner's */
	else if (match->implied)
		stamp_set(s, field, after);
}

/*
 * Walk patch and record side by side and make the record's new field list.
 * With whole, every field of the patch is stamped; else those that are taken.
 */
static void
merge_fields(LadderState *s, bool whole)
{
	const Change *change = s->change;
	const Record *record = s->record;
	Record	   *after = &s->decision->after;
	int			n = 0;
	int			r = 0;

	copy_fields(after, record, change->fields.n);
	for (int i = 0; i < change->fields.n; i++)
	{
		PatchField *match = &s->match[i];
		const Field *patch = &change->fields.field[i];

		while (r < record->nfields &&
			   field_name_cmp(record->fields[r].field.name, patch->name) < 0)
			after->fields[n++] = record->fields[r++];
		if (match->current != NULL)
			after->fields[n] = record->fields[r++];
		else if (!is_written(match, whole))
			continue;
		if (is_stamped(match, whole))
		{
			after->fields[n].field = *patch;
			if (!whole && match->combined != NULL)
				after->fields[n].field.value = *match->combined;
			stamp_written(s, match, &after->fields[n], after);
			after->fields[n].stamp.version = after->version;
			after->fields[n].stamp.source = change->source;
		}
		n++;
	}
	while (r < record->nfields)
		after->fields[n++] = record->fields[r++];
	after->nfields = n;
	field_names_sort(&s->decision->changed);
}

/* Nothing of an earlier life comes back with a birth: all its fields are new. */
static void
start_from_nothing(LadderState *s)
{
	Record	   *empty = palloc(sizeof(Record));

	*empty = *s->record;
	empty->nfields = 0;
	s->record = empty;
	for (int i = 0; i < s->change->fields.n; i++)
	{
		s->match[i].current = NULL;
		s->match[i].differs = true;
	}
}

/* Does a group that the change has won lose what the change doesn't name? */
static bool
empties(const LadderState *s)
{
	for (int i = 0; i < s->change->fields.n; i++)
	{
		const PatchField *match = &s->match[i];

		if (match->implied && match->current != NULL && match->differs && match->take)
			return true;
	}
	return false;
}

void
ladder_write_whole(LadderState *s, Resolution resolution, int64 version, const char *reason)
{
	const Change *change = s->change;
	Decision   *d = s->decision;
	Record	   *after = &d->after;
	bool		flips = change->deleted != s->record->deleted;

	start_outcome(s, 200, resolution, reason);
	d->write = WRITE_WHOLE;
	after->version = version;
	after->row_version = record_next_row_version(s->record);
	after->last_source = change->source;
	after->exists = true;
	after->deleted = change->deleted;
	later_updated_at(after, change);
	/* an older version's clock doesn't outlive it */
	if (resolution == RESOLUTION_VERSION_WIN && !change->has_base && change->has_updated_at)
		after->updated_at = change->updated_at;
	field_group_take_all(s);
	if (flips && change_is_birth(change))
		start_from_nothing(s);
	d->combined = empties(s);
	merge_fields(s, true);
	d->audience = d->combined ? AUDIENCE_ALL :
		flips || d->changed.n > 0 ? AUDIENCE_OTHERS : AUDIENCE_NONE;
}

/* Does the source vouch for a value that the record has already? */
static bool
confirms(LadderState *s, int i)
{
	PatchField *match = &s->match[i];
	const Stamp *stamp = &match->current->stamp;
	FieldName	name = match->current->field.name;
	LadderRank	rank = s->rules->rank;

	return stamp->version < s->record->version ||
		rank(s->rules->rank_arg, s->change->source, name) <
		rank(s->rules->rank_arg, stamp->source, name);
}

/* Restamp the equal fields that the source vouches for; true if there are some. */
static bool
restamp_confirmed(LadderState *s)
{
	Record	   *after = &s->decision->after;
	bool		any = false;

	if (!(s->rules->ladder & RUNG_MERGE) || s->change->has_base || s->record->deleted)
		return false;
	for (int i = 0; i < s->change->fields.n; i++)
	{
		RecordField *field;

		if (s->match[i].differs || s->match[i].implied || !confirms(s, i))
			continue;
		if (!any && after->fields == s->record->fields)
			copy_fields(after, s->record, 0);
		any = true;
		field = record_find(after, s->change->fields.field[i].name);
		field->stamp.version = s->record->version;
		field->stamp.source = s->change->source;
	}
	return any;
}

void
ladder_restamp(LadderState *s, Resolution resolution, const char *reason)
{
	Decision   *d = s->decision;

	start_outcome(s, 200, resolution, reason);
	d->supersedes_own = true;
	d->write = restamp_confirmed(s) ? WRITE_STAMPS : WRITE_NOTHING;
}

/* Does the merge change a value of the record? */
static bool
merge_changes(const LadderState *s)
{
	for (int i = 0; i < s->change->fields.n; i++)
		if (s->match[i].take && s->match[i].differs)
			return true;
	return false;
}

/* Is one of the values that a merge writes neither side's? */
static bool
combines(const LadderState *s)
{
	for (int i = 0; i < s->change->fields.n; i++)
		if (s->match[i].combined != NULL &&
			!json_value_equal(s->match[i].combined, &s->change->fields.field[i].value))
			return true;
	return empties(s);
}

void
ladder_write_merge(LadderState *s, Resolution resolution, const char *reason)
{
	const Change *change = s->change;
	Decision   *d = s->decision;
	Record	   *after = &d->after;

	start_outcome(s, 200, resolution, reason);
	d->supersedes_own = true;
	for (int i = 0; i < change->fields.n; i++)
		if (s->match[i].contested && !s->match[i].take && s->match[i].differs && !s->match[i].implied)
			field_names_add(&d->lost, change->fields.field[i].name);
	field_names_sort(&d->lost);
	d->combined = combines(s);
	if (merge_changes(s))
	{
		d->write = WRITE_MERGE;
		after->row_version = record_next_row_version(s->record);
		if (d->lost.n == 0)
			after->last_source = change->source;
		later_updated_at(after, change);
		merge_fields(s, false);
		d->audience = d->lost.n > 0 || d->combined ? AUDIENCE_ALL : AUDIENCE_OTHERS;
		(void) restamp_confirmed(s);
		return;
	}
	d->write = restamp_confirmed(s) ? WRITE_STAMPS : WRITE_NOTHING;
	d->audience = d->lost.n > 0 ? AUDIENCE_ORIGIN : AUDIENCE_NONE;
}

/* The change is not set aside as a whole any more: it lost each of its fields. */
static void
lose_fields(LadderState *s)
{
	Decision   *d = s->decision;

	if (!d->lost_all)
		return;
	d->lost_all = false;
	for (int i = 0; i < s->change->fields.n; i++)
		field_names_add(&d->lost, s->change->fields.field[i].name);
	field_names_sort(&d->lost);
}

/* The record is written for the sums alone: that is a merge. */
static void
start_merge(LadderState *s)
{
	Decision   *d = s->decision;

	lose_fields(s);
	d->write = WRITE_MERGE;
	d->after.row_version = record_next_row_version(s->record);
	if (d->lost.n == 0 && d->resolution != RESOLUTION_MANUAL)
		d->after.last_source = s->change->source;
	later_updated_at(&d->after, s->change);
}

void
ladder_write_sums(LadderState *s, const Fields *sums)
{
	Decision   *d = s->decision;
	Record	   *after = &d->after;
	RecordField *before = after->fields;
	int			nbefore = after->nfields;
	int			n = 0;
	int			b = 0;

	if (d->write == WRITE_NOTHING || d->write == WRITE_STAMPS)
		start_merge(s);
	after->fields = palloc(sizeof(RecordField) * (nbefore + sums->n));
	for (int i = 0; i < sums->n; i++)
	{
		FieldName	name = sums->field[i].name;

		while (b < nbefore && field_name_cmp(before[b].field.name, name) < 0)
			after->fields[n++] = before[b++];
		if (b < nbefore && field_name_cmp(before[b].field.name, name) == 0)
			b++;
		after->fields[n].field = sums->field[i];
		stamp_changed(s, &after->fields[n++], after);
	}
	while (b < nbefore)
		after->fields[n++] = before[b++];
	after->nfields = n;
	field_names_sort(&d->changed);
	/* what its source has is not the sum */
	d->combined = true;
	d->audience = AUDIENCE_ALL;
}
