/*
 * field_stamp.c
 *	  What the field ladder orders its changes by.
 *
 * A record's own stamp, and its life, say when it was written and deleted; each field's, when
 * that was said.  Pure, as model/ladder.c is.
 */
#include "postgres.h"

#include "model/field_stamp.h"

/* ---------- order ---------- */

int
field_stamp_cmp(Ladder ladder, const LifeStamp *a, const LifeStamp *b)
{
	return life_stamp_cmp((ladder & RUNG_VERSION) != 0, (ladder & RUNG_LATEST) != 0, a, b);
}

/* Of two that said the same at one stamp, the greater name, and then the later time. */
int
field_stamp_cmp_sayings(Ladder ladder, const LifeStamp *a, const LifeStamp *b)
{
	int			cmp = field_stamp_cmp(ladder, a, b);

	if (cmp != 0 || !a->is_set)
		return cmp;
	if (a->source != NULL && b->source != NULL)
		cmp = strcmp(a->source, b->source);
	return cmp != 0 ? cmp : life_stamp_cmp(false, true, a, b);
}

const LifeStamp *
field_stamp_greater(Ladder ladder, const LifeStamp *a, const LifeStamp *b)
{
	return field_stamp_cmp_sayings(ladder, a, b) >= 0 ? a : b;
}

/* ---------- of a field, of a record ---------- */

LifeStamp
field_stamp_of(const RecordField *field)
{
	LifeStamp	stamp = {
		.is_set = true,
		.has_version = true,
		.version = field->stamp.version,
		.has_updated_at = field->stamp.has_updated_at,
		.updated_at = field->stamp.updated_at,
		.source = field->stamp.source
	};

	return stamp;
}

/* Its own stamp is the greatest of those that it lived and died by. */
static void
take_greatest_stamp(Ladder ladder, const Life *life, Record *after)
{
	const LifeStamp *greatest = field_stamp_greater(ladder, &life->lived, &life->died);

	if (ladder & RUNG_VERSION)
		after->version = greatest->version;
	after->has_updated_at = greatest->has_updated_at;
	after->updated_at = greatest->updated_at;
	after->last_source = greatest->source;
}

/* Keep the life only where the record's own stamp doesn't say all of it. */
static void
keep_life(Ladder ladder, const Life *life, Record *after)
{
	const LifeStamp *other = after->deleted ? &life->lived : &life->died;
	Life	   *kept;

	after->life = NULL;
	if (!other->is_set && !life->cut.is_set && !life->born.is_set && !life->seen.is_set)
		return;
	kept = palloc(sizeof(Life));
	*kept = *life;
	/* what a record is counted by is no part of its stamps */
	if (!(ladder & RUNG_VERSION))
		kept->lived.version = kept->died.version = 0;
	after->life = kept;
}

void
field_stamp_record(Ladder ladder, const Life *life, Record *after)
{
	take_greatest_stamp(ladder, life, after);
	keep_life(ladder, life, after);
}

/* ---------- what is known ---------- */

void
field_stamp_raise(const LifeStamp *stamp, LifeStamp *known)
{
	if (!stamp->is_set)
		return;
	if (!known->is_set)
	{
		*known = *stamp;
		return;
	}
	/* part by part: an edit that is above both parts is above the stamp */
	known->version = Max(known->version, stamp->version);
	if (stamp->has_updated_at && (!known->has_updated_at || stamp->updated_at > known->updated_at))
	{
		known->has_updated_at = true;
		known->updated_at = stamp->updated_at;
	}
}

void
field_stamp_raise_by_life(const Life *life, LifeStamp *known)
{
	field_stamp_raise(&life->lived, known);
	field_stamp_raise(&life->died, known);
	field_stamp_raise(&life->cut, known);
	field_stamp_raise(&life->born, known);
	field_stamp_raise(&life->seen, known);
}

LifeStamp
field_stamp_known(const Record *record)
{
	Life		life = record->exists ? record_life(record) : (Life) {0};
	LifeStamp	known = {0};

	for (int i = 0; i < record->nfields; i++)
	{
		const LifeStamp said = field_stamp_of(&record->fields[i]);

		field_stamp_raise(&said, &known);
	}
	field_stamp_raise_by_life(&life, &known);
	return known;
}

LifeStamp
field_stamp_above(const LifeStamp *known, const LifeStamp *own)
{
	LifeStamp	stamp = *own;

	stamp.is_set = stamp.has_version = true;
	stamp.version = Max(own->has_version ? own->version : 0,
						Min((known->is_set ? known->version : 0) + 1, CHANGE_MAX_VERSION));
	if (known->is_set && known->has_updated_at &&
		(!stamp.has_updated_at || stamp.updated_at <= known->updated_at))
	{
		stamp.has_updated_at = true;
		stamp.updated_at = Min(known->updated_at + 1, END_TIMESTAMP - 1);
	}
	return stamp;
}
