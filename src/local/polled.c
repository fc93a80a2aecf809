/*
 * polled.c
 *	  A row of a polled relation, against what was last seen of it.
 *
 * Called by poll, and by deliver before it writes over a row.  syncext.replica
 * has the fields as they were last seen or delivered: a row that has others was
 * edited since, and a row that has the same has not, however often it is read.
 */
#include "postgres.h"

#include "hub/visibility.h"
#include "local/polled.h"
#include "local/row_edit.h"

bool
polled_read(Attached *attached, const char *external_id, AttachedRow *row)
{
	ValueSettings settings;
	AttachedRow key;
	bool		same;

	value_settings_begin(&settings);
	key = place_key(attached, &settings, external_id);
	if (!writer_read(attached, key, row))
		return false;
	/* keys that are equal to their type may have other texts: another record */
	same = strcmp(attached_external_id(attached, &settings, *row), external_id) == 0;
	value_settings_end(&settings);
	return same;
}

/*
 * The fields that are not as they were, and those that were not there but have a
 * value: a new column's, though there was another one of its name.  All are in
 * jsonb's key order.
 */
static void
find_changed(const Attached *attached, const Fields *now, Jsonb *seen, Fields *changed,
			 Fields *added)
{
	Fields		before;
	int			b = 0;

	fields_from_container(&seen->root, &before);
	changed->n = 0;
	changed->field = palloc(sizeof(Field) * Max(now->n, 1));
	added->n = 0;
	added->field = palloc(sizeof(Field) * Max(now->n, 1));
	for (int i = 0; i < now->n; i++)
	{
		const Field *field = &now->field[i];

		while (b < before.n && field_name_cmp(before.field[b].name, field->name) < 0)
			b++;
		if (b < before.n && field_name_cmp(before.field[b].name, field->name) == 0 &&
			!attached->columns[i].is_again)
		{
			if (!json_value_equal(&before.field[b].value, &field->value))
				changed->field[changed->n++] = *field;
		}
		else if (field->value.type != jbvNull)
			added->field[added->n++] = *field;
	}
}

bool
polled_compare(const Attached *attached, bool present, AttachedRow row,
			   const ReplicaRow *replica, PolledEdit *edit)
{
	ValueSettings settings;
	bool		was_there = replica->exists && replica->fields != NULL;

	MemSet(edit, 0, sizeof(PolledEdit));
	edit->marked = present && attached_is_deleted(attached, row);
	edit->gone = !present || edit->marked;
	if (edit->gone)
		return was_there;
	value_settings_begin(&settings);
	attached_fields(attached, &settings, row, NULL, &edit->all);
	value_settings_end(&settings);
	if (!was_there)
	{
		edit->changed = edit->all;
		return true;
	}
	find_changed(attached, &edit->all, replica->fields, &edit->changed, &edit->added);
	return edit->changed.n > 0 || edit->added.n > 0;
}

/* ---------- bringing an edit to the hub ---------- */

static PolledOutcome
judge_answer(const Answer *answer, bool gone)
{
	const Decision *d = &answer->decision;

	if (answer->hidden)
		return POLLED_NOT_SHOWN;
	if (d->resolution == RESOLUTION_DEPENDENCY_WAIT)
		return POLLED_WAITING;
	if (d->status == 409 || d->lost_all || d->lost.n > 0)
		return POLLED_CONFLICT;
	switch (d->resolution)
	{
		case RESOLUTION_NO_CHANGE:
			return POLLED_SKIPPED;
		case RESOLUTION_NEW_RECORD:
			return gone ? POLLED_DELETED : POLLED_NEW;
		case RESOLUTION_FIELD_MERGE:
		case RESOLUTION_FIELD_RULE:
			return gone ? POLLED_DELETED : POLLED_MERGED;
		default:
			return gone ? POLLED_DELETED : POLLED_UPDATED;
	}
}

/*
 * The hub may know less of a record than the row holds: the record was deleted
 * there and came back with this edit, or came from elsewhere with fewer fields.
 * Send what it lacks.
 */
static void
send_missing(ApplyCall *call, const Attached *attached, const char *external_id,
			 const PolledEdit *edit, const Answer *answer)
{
	const Record *record = &answer->decision.after;
	Fields		missing = {0, palloc(sizeof(Field) * Max(edit->all.n, 1))};
	int			known = 0;
	Answer		second;

	if (answer->decision.write != WRITE_WHOLE || record->deleted)
		return;
	for (int i = 0; i < edit->all.n; i++)
	{
		const Field *field = &edit->all.field[i];

		while (known < record->nfields &&
			   field_name_cmp(record->fields[known].field.name, field->name) < 0)
			known++;
		if (field->value.type != jbvNull &&
			(known == record->nfields ||
			 field_name_cmp(record->fields[known].field.name, field->name) != 0))
			missing.field[missing.n++] = *field;
	}
	if (missing.n > 0)
		row_send_fields(call, attached, external_id, &missing, ORIGIN_EDIT, record->row_version,
						&second);
}

/* Has the record these fields, or not: may the source see that? */
static bool
may_tell(Placer *placer, const Binding *binding, const Record *record, const Fields *fields)
{
	const Source *source = registry_source_required(placer->registry, binding->source);
	Change		change = {.entity = binding->entity, .source = binding->source, .fields = *fields};

	return visibility_unlimited(source) ||
		visibility_answers(placer->registry, &change, record, placer->canonical);
}

/*
 * What is sent of an edit.  What a column holds because it was added is news only
 * where the record hasn't the field; *unseen: so what is sent tells of what the
 * source may not see.
 */
static Fields
fields_to_send(Placer *placer, const Attached *attached, const char *external_id,
			   const PolledEdit *edit, bool *unseen)
{
	Fields		fields = {0, palloc(sizeof(Field) * Max(edit->all.n, 1))};
	Record		record;

	*unseen = false;
	if (edit->added.n == 0)
		return edit->changed;
	canonical_find(placer->canonical, attached->binding->entity, external_id, &record);
	*unseen = !may_tell(placer, attached->binding, &record, &edit->added);
	for (int i = 0; i < edit->all.n; i++)
	{
		FieldName	name = edit->all.field[i].name;

		if (fields_find(&edit->changed, name) != NULL ||
			(fields_find(&edit->added, name) != NULL && record_find(&record, name) == NULL))
			fields.field[fields.n++] = edit->all.field[i];
	}
	return fields;
}

PolledOutcome
polled_send(Placer *placer, const Attached *attached, const char *external_id,
			AttachedRow row, const PolledEdit *edit, ReplicaRow *replica)
{
	ApplyCall  *call = place_call(placer);
	bool		unseen;
	RowEdit		sent = {
		.attached = attached,
		.external_id = external_id,
		.row = row,
		.inserted = !edit->gone && replica->fields == NULL,
		.deleted = edit->gone,
		.marked = edit->marked,
		.fields = fields_to_send(placer, attached, external_id, edit, &unseen),
		.replica = replica,
	};
	PolledOutcome outcome = POLLED_CONFLICT;
	Answer		answer;

	if (!edit->gone && !sent.inserted && sent.fields.n == 0)
		outcome = POLLED_SKIPPED;
	else if (row_edit_send(call, placer->registry, &sent, &answer))
	{
		outcome = judge_answer(&answer, edit->gone);
		if (!edit->gone)
			send_missing(call, attached, external_id, edit, &answer);
	}
	replica->fields = edit->gone ? NULL : fields_to_jsonb(&edit->all);
	replica_set(placer->replica, attached->binding->relation, external_id, replica);
	return unseen ? POLLED_NOT_SHOWN : outcome;
}
