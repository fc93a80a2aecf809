/*
 * field_impose.c
 *	  What the hub itself makes of a record of a field ladder.
 *
 * A merge, or one that is undone, is no source's word, and has no stamp.  It gets one that is
 * later than all that was known of the record, for hubs that are joined with this one go by
 * stamps alone.  Pure, as model/ladder.c is.
 */
#include "postgres.h"

#include "model/field_impose.h"
#include "model/field_stamp.h"

static LifeStamp
stamp_of_decree(Ladder ladder, const LifeStamp *above, const Record *before, const char *source)
{
	const LifeStamp nothing = {0};
	LifeStamp	known = field_stamp_known(before);
	LifeStamp	stamp;

	if (above != NULL)
		field_stamp_raise(above, &known);
	stamp = field_stamp_above(&known, &nothing);
	stamp.source = source;
	if (!(ladder & RUNG_VERSION))
		stamp.version = 0;
	stamp.has_updated_at &= (ladder & RUNG_LATEST) != 0;
	return stamp;
}

static void
stamp_changed_fields(Ladder ladder, const LifeStamp *stamp, const Record *before, Record *after)
{
	for (int i = 0; i < after->nfields; i++)
	{
		RecordField *field = &after->fields[i];
		const RecordField *was = record_find(before, field->field.name);
		LifeStamp	is = field_stamp_of(field);
		LifeStamp	old = was == NULL ? (LifeStamp) {0} : field_stamp_of(was);

		if ((was != NULL && json_value_equal(&was->field.value, &field->field.value)) ||
			field_stamp_cmp(ladder, &is, &old) > 0)
			continue;
		field->stamp.version = ladder & RUNG_VERSION ? stamp->version : after->version;
		if (ladder & RUNG_LATEST)
		{
			field->stamp.has_updated_at = stamp->has_updated_at;
			field->stamp.updated_at = stamp->updated_at;
		}
	}
}

/* What was said of its fields it has lived at. */
static void
live_by_fields(Ladder ladder, const Record *after, LifeStamp *lived)
{
	for (int i = 0; i < after->nfields; i++)
	{
		LifeStamp	said = field_stamp_of(&after->fields[i]);

		if (field_stamp_cmp(ladder, &said, lived) <= 0)
			continue;
		*lived = said;
		lived->source = after->last_source;
	}
}

void
field_impose(Ladder ladder, DeleteMode deletes, const LifeStamp *above,
					const Record *before, Record *after)
{
	const LifeStamp stamp = stamp_of_decree(ladder, above, before, after->last_source);
	Life		life = before->exists ? record_life(before) : (Life) {0};
	bool		turns = above != NULL || before->deleted != after->deleted;

	stamp_changed_fields(ladder, &stamp, before, after);
	if (turns && after->deleted)
		life.died = stamp;
	else if (turns)
		life.lived = stamp;
	if (turns && after->deleted && deletes == EDITS_WIN)
		life.seen = stamp;
	if (turns && !after->deleted && deletes == DELETES_WIN)
		life.born = stamp;
	life.born.source = life.seen.source = NULL;
	if (!after->deleted)
		live_by_fields(ladder, after, &life.lived);
	field_stamp_record(ladder, &life, after);
}
