/*
 * polled.c
 *	  A row of a polled relation, against what was last seen of it.
 *
 * syncext.replica has the fields as they were last seen or delivered: a row that has
 * others was edited since, and a row that has the same has not, however often it is
 * read.
 */
#include "postgres.h"

#include "hub/answer.h"
#include "hub/own_keys.h"
#include "hub/visibility.h"
#include "local/polled.h"
#include "local/row_together.h"
#include "local/row_edit.h"
#include "local/row_keys.h"

bool
polled_read(Attached *attached, const char *external_id, AttachedRow *row)
{
	const char *key_text = row_keys_of(attached->binding, external_id);

	/* keys that are equal to their type may have other texts: another record */
	return key_text != NULL && writer_read(attached, row_write_key(attached, key_text), row) &&
		strcmp(attached_external_id(attached, *row), key_text) == 0;
}

bool
polled_compare(const Attached *attached, bool present, AttachedRow row,
			   const ReplicaRow *replica, PolledEdit *edit)
{
	bool		was_there = replica->exists && replica->fields != NULL;

	MemSet(edit, 0, sizeof(PolledEdit));
	edit->marked = present && attached_is_deleted(attached, row);
	edit->gone = !present || edit->marked;
	if (edit->gone)
		return was_there;
	attached_fields(attached, row, NULL, &edit->all);
	if (!was_there)
	{
		edit->changed = edit->all;
		return true;
	}
	row_edit_find(attached, &edit->all, replica->fields, &edit->changed, &edit->added);
	return edit->changed.n > 0 || edit->added.n > 0;
}

/* ---------- bringing an edit to the hub ---------- */

static PolledOutcome
judge_answer(const Answer *answer, bool gone)
{
	static const PolledOutcome outcomes[] = {
		[OUTCOME_NOT_SHOWN] = POLLED_NOT_SHOWN,
		[OUTCOME_WAITING] = POLLED_WAITING,
		[OUTCOME_CONFLICT] = POLLED_CONFLICT,
		[OUTCOME_UNCHANGED] = POLLED_SKIPPED,
		[OUTCOME_NEW] = POLLED_NEW,
		[OUTCOME_MERGED] = POLLED_MERGED,
		[OUTCOME_WRITTEN] = POLLED_UPDATED,
	};
	AnswerOutcome outcome = answer_outcome(answer);

	return gone && outcome >= OUTCOME_NEW ? POLLED_DELETED : outcomes[outcome];
}

/*
 * The hub may know less of a record than the row holds: the record was erased, or
 * deleted and came back with this edit, or came from elsewhere with fewer fields.
 * Send what it lacks, after the edit if that waits.
 */
static void
send_missing(ApplyCall *call, const Attached *attached, const char *external_id,
			 const PolledEdit *edit, const Answer *answer)
{
	const Record *record = &answer->decision.after;
	Fields		missing;
	Answer		second;

	if ((answer->decision.write != WRITE_WHOLE && !answer->unheard) || record->deleted)
		return;
	missing = record_missing(record, &edit->all);
	if (missing.n > 0)
		row_send_fields(call, attached, external_id, &missing, record->row_version, &second);
}

/* Has the record these fields, or not: may the source see that? */
static bool
may_tell(RowWriter *writer, const Binding *binding, const Record *record, const Fields *fields)
{
	Change		change = {.entity = binding->entity, .source = binding->source, .fields = *fields};
	ApplyItem	item = apply_item(writer->registry, &change);

	return visibility_answers(&item, record, row_together_records(writer));
}

/*
 * What is sent of an edit.  What a column holds because it was added is news only
 * where the record hasn't the field; *unseen: so what is sent tells of what the
 * source may not see.
 */
static Fields
fields_to_send(RowWriter *writer, const Attached *attached, const char *external_id,
			   const PolledEdit *edit, bool *unseen)
{
	Fields		fields = {0, palloc(sizeof(Field) * Max(edit->all.n, 1))};
	Record		record;

	*unseen = false;
	if (edit->added.n == 0)
		return edit->changed;
	canonical_find(row_together_records(writer), attached->binding->entity, external_id, &record);
	*unseen = !may_tell(writer, attached->binding, &record, &edit->added);
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
polled_send(RowWriter *writer, const Attached *attached, const char *external_id,
			AttachedRow row, const PolledEdit *edit, ReplicaRow *replica)
{
	ApplyCall  *call = row_write_call(writer);
	bool		unseen;
	RowEdit		sent = {
		.attached = attached,
		.external_id = external_id,
		.row = row,
		.key = attached->binding->own_keys && !edit->gone && replica->fields == NULL ?
			row_keys_of(attached->binding, external_id) : NULL,
		.inserted = !edit->gone && replica->fields == NULL,
		.deleted = edit->gone,
		.marked = edit->marked,
		.fields = fields_to_send(writer, attached, external_id, edit, &unseen),
		.replica = replica,
	};
	const Fields seen = fields_of(replica->fields);
	PolledOutcome outcome = POLLED_CONFLICT;
	Answer		answer;

	sent.key_is_new = sent.key != NULL;
	if (!edit->gone)
		row_edit_find_increments(&sent, row_edit_counters(writer->registry, attached), &seen,
								 &edit->all);
	if (!edit->gone && !sent.inserted && sent.fields.n == 0 && sent.increments.n == 0)
		outcome = POLLED_SKIPPED;
	else if (row_edit_send(call, writer->registry, &sent, &answer))
	{
		outcome = judge_answer(&answer, edit->gone);
		if (!edit->gone)
			send_missing(call, attached, external_id, edit, &answer);
	}
	if (edit->gone && !edit->marked && attached->binding->own_keys)
		own_keys_end(attached->binding->source, attached->binding->entity, external_id);
	replica->fields = edit->gone ? NULL : fields_to_jsonb(&edit->all);
	row_together_remember(writer, attached->binding, external_id, replica);
	return unseen ? POLLED_NOT_SHOWN : outcome;
}
