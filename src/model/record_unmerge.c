/*
 * record_unmerge.c
 *	  The record that stayed when another was merged into it, without what it got by that.
 */
#include "postgres.h"

#include "model/change.h"
#include "model/increment.h"
#include "model/json_read.h"
#include "model/record_merge.h"
#include "model/record_unmerge.h"

/* Has the merge set the value that stands? */
static bool
is_set_by_merge(const RecordUnmerge *u, const RecordField *now)
{
	const Field *stands = fields_find(u->stands, now->field.name);
	int64		row_version;

	return now->stamp.row_version == u->row_version ||
		(stands != NULL && json_read_number(&stands->value, 0, CHANGE_MAX_VERSION, &row_version) &&
		 now->stamp.row_version == row_version);
}

/* Is the field what the merge has made of it, and vouched for by who did then? */
static bool
is_untouched(const RecordUnmerge *u, const RecordField *now, const RecordField *kept,
			 const RecordField *dropped)
{
	const char *source = now->stamp.source;
	bool		of_kept = kept != NULL && strcmp(source, kept->stamp.source) == 0;
	bool		of_dropped = dropped != NULL && strcmp(source, dropped->stamp.source) == 0;

	return is_set_by_merge(u, now) &&
		(of_dropped || (of_kept && strcmp(now->stamp.set_by, SET_BY_MERGE) == 0));
}

/* The source that has said it since; of a row that was edited by hand it may not be known. */
static const char *
who_said(const RecordUnmerge *u, FieldName name)
{
	const Field *by = fields_find(u->since_by, name);
	const char *source = by == NULL ? NULL : json_read_string(&by->value);

	return source != NULL ? source : SET_BY_UNMERGE;
}

/* Was it set since by a key that is the other's again? */
static bool
is_of_other(const RecordUnmerge *u, const RecordField *now)
{
	const Field *said = fields_find(u->since, now->field.name);

	return said != NULL && json_value_equal(&said->value, &now->field.value) &&
		strcmp(who_said(u, now->field.name), now->stamp.set_by) == 0;
}

/* Is it known what it would be without what the other's key has said since? */
static bool
is_known_before(const RecordUnmerge *u, const RecordField *now, const RecordField *kept)
{
	return kept == NULL || field_names_has(u->taken, now->field.name);
}

/* What is left of a counter; false: it is none, or the other had no part in it. */
static bool
take_off(const RecordUnmerge *u, const RecordField *now, const RecordField *kept,
		 const RecordField *dropped, Field *left)
{
	if (!field_rules_sum(u->rules, now->field.name) || dropped == NULL ||
		!increment_between(&dropped->field, &now->field, left))
		return false;
	/* nobody has added anything to what wasn't there before */
	return kept != NULL || !is_set_by_merge(u, now);
}

/* Stamp a field that is as before the merge: as it was then, or as nobody's. */
static void
stamp_before(RecordField *field, const RecordField *kept, const Record *after)
{
	field->stamp.source = kept != NULL ? kept->stamp.source : SET_BY_UNMERGE;
	field->stamp.set_by = kept != NULL ? kept->stamp.set_by : SET_BY_UNMERGE;
	field->stamp.has_updated_at = kept != NULL && kept->stamp.has_updated_at;
	field->stamp.updated_at = kept != NULL ? kept->stamp.updated_at : 0;
	field->stamp.version = after->version;
	field->stamp.row_version = after->row_version;
}

static void
unmerge_field(RecordUnmerge *u, RecordField *field)
{
	const RecordField *kept = record_find(u->keep, field->field.name);
	const RecordField *dropped = record_find(u->drop, field->field.name);
	const RecordField now = *field;
	Field		left;

	if (!field_names_has(u->taken, field->field.name) && !is_of_other(u, &now))
		return;
	if (take_off(u, &now, kept, dropped, &left))
		field->field.value = left.value;
	else if (!is_untouched(u, &now, kept, dropped) &&
			 !(is_of_other(u, &now) && is_known_before(u, &now, kept)))
	{
		field_names_add(&u->stays, field->field.name);
		return;
	}
	else if (kept != NULL)
		field->field.value = kept->field.value;
	else
		field->field.value.type = jbvNull;
	field_names_add(&u->returned, field->field.name);
	stamp_before(field, kept, &u->after);
}

/* The other, with what was said of it since. */
static void
revive(RecordUnmerge *u)
{
	const Fields *since = u->since;
	Record	   *revived = &u->revived;
	int			d = 0;

	revived->exists = true;
	revived->deleted = false;
	revived->last_source = u->drop->last_source;
	revived->has_updated_at = u->drop->has_updated_at;
	revived->updated_at = u->drop->updated_at;
	revived->nfields = 0;
	revived->fields = palloc(sizeof(RecordField) * Max(u->drop->nfields + since->n, 1));
	for (int i = 0; i < since->n; i++)
	{
		RecordField *field;

		while (d < u->drop->nfields &&
			   field_name_cmp(u->drop->fields[d].field.name, since->field[i].name) < 0)
			revived->fields[revived->nfields++] = u->drop->fields[d++];
		if (d < u->drop->nfields &&
			field_name_cmp(u->drop->fields[d].field.name, since->field[i].name) == 0)
			d++;
		field = &revived->fields[revived->nfields++];
		field->field = since->field[i];
		field->stamp = (Stamp)
		{
			.version = revived->version,
			.row_version = revived->row_version,
			.source = who_said(u, since->field[i].name),
			.has_updated_at = u->drop->has_updated_at,
			.updated_at = u->drop->updated_at
		};
		field->stamp.set_by = field->stamp.source;
	}
	while (d < u->drop->nfields)
		revived->fields[revived->nfields++] = u->drop->fields[d++];
}

/* Fields that only the one that stayed has are null in the other, whose sources empty them then. */
static void
empty_others(RecordUnmerge *u)
{
	Record	   *revived = &u->revived;
	const Record *now = u->now;
	RecordField *said = revived->fields;
	int			nsaid = revived->nfields;
	int			s = 0;

	revived->nfields = 0;
	revived->fields = palloc(sizeof(RecordField) * Max(nsaid + now->nfields, 1));
	for (int i = 0; i < now->nfields; i++)
	{
		const FieldName name = now->fields[i].field.name;
		RecordField *field;

		while (s < nsaid && field_name_cmp(said[s].field.name, name) < 0)
			revived->fields[revived->nfields++] = said[s++];
		if (s < nsaid && field_name_cmp(said[s].field.name, name) == 0)
			continue;
		field = &revived->fields[revived->nfields++];
		*field = (RecordField) {.field.name = name, .field.value.type = jbvNull};
		stamp_before(field, NULL, revived);
	}
	while (s < nsaid)
		revived->fields[revived->nfields++] = said[s++];
}

void
record_unmerge(RecordUnmerge *u)
{
	const Record *now = u->now;

	u->after = *now;
	u->after.version = Min(now->version + 1, CHANGE_MAX_VERSION);
	u->after.row_version = now->row_version + 1;
	u->after.fields = palloc(sizeof(RecordField) * Max(now->nfields, 1));
	memcpy(u->after.fields, now->fields, sizeof(RecordField) * now->nfields);
	field_names_init(&u->returned, now->nfields);
	field_names_init(&u->stays, now->nfields);
	for (int i = 0; i < u->after.nfields; i++)
		unmerge_field(u, &u->after.fields[i]);
	revive(u);
	if (u->shared)
		empty_others(u);
	/* nothing was written since: it is as old as it was */
	if (now->row_version == u->row_version)
	{
		u->after.has_updated_at = u->keep->has_updated_at;
		u->after.updated_at = u->keep->updated_at;
	}
}
