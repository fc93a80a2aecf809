/*
 * row_edit.c
 *	  An edit of a row as a change: the ladder decides it, or it is noted for a hub.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/timestamp.h"

#include "hub/key_references.h"
#include "hub/self.h"
#include "local/outbox_buffer.h"
#include "local/row_edit.h"
#include "model/field_versions.h"
#include "model/rfc3339.h"
#include "model/increment.h"
#include "storage/rights.h"

void
row_edit_find(const Attached *attached, const Fields *now, Jsonb *seen, Fields *edited,
			  Fields *added)
{
	Fields		before = fields_of(seen);

	edited->n = added->n = 0;
	edited->field = palloc(sizeof(Field) * Max(now->n, 1));
	added->field = palloc(sizeof(Field) * Max(now->n, 1));
	for (int i = 0; i < now->n; i++)
	{
		const Field *field = &now->field[i];
		/* what was known of a column that was dropped says nothing of the next one */
		const Field *known = attached->columns[i].is_again ? NULL :
			fields_find(&before, field->name);

		if (known == NULL && field->value.type != jbvNull)
			added->field[added->n++] = *field;
		else if (known != NULL && !json_value_equal(&known->value, &field->value))
			edited->field[edited->n++] = *field;
	}
}

static void
take_out_increments(RowEdit *edit, const FieldRules *rules, const Fields *before,
					const Fields *after)
{
	Fields		fields = {0, palloc(sizeof(Field) * Max(edit->fields.n, 1))};

	edit->increments.field = palloc(sizeof(Field) * Max(edit->fields.n, 1));
	edit->totals.field = palloc(sizeof(Field) * Max(edit->fields.n, 1));
	for (int i = 0; i < edit->fields.n; i++)
	{
		const Field *now = &edit->fields.field[i];
		const bool	counts = field_rules_sum(rules, now->name);
		const Field *old = counts ? fields_find(before, now->name) : NULL;
		const Field *new = counts ? fields_find(after, now->name) : NULL;

		if (old != NULL && new != NULL &&
			increment_between(old, new, &edit->increments.field[edit->increments.n]))
		{
			edit->increments.n++;
			edit->totals.field[edit->totals.n++] = *now;
		}
		else
			fields.field[fields.n++] = *now;
	}
	edit->fields = fields;
}

void
row_edit_find_increments(RowEdit *edit, const FieldRules *rules, const Fields *before,
						 const Fields *after)
{
	if (rules != NULL && before->n > 0 && edit->fields.n > 0)
		take_out_increments(edit, rules, before, after);
}

const FieldRules *
row_edit_counters(const Registry *registry, const Attached *attached)
{
	const Entity *entity = registry_entity(registry, attached->binding->entity);

	/* only where merging can the ladder add */
	return entity == NULL || entity->field_rules.nsums == 0 || !(entity->ladder & RUNG_MERGE) ?
		NULL : &entity->field_rules;
}

/* Say when the row was edited, as it says itself, or now if the ladder asks. */
static void
set_updated_at(const Registry *registry, const RowEdit *edit, Change *change)
{
	const Attached *attached = edit->attached;
	bool		isnull;
	Datum		value;

	change->updated_at = GetCurrentStatementStartTimestamp();
	change->has_updated_at =
		(registry_entity_required(registry, change->entity)->ladder & RUNG_LATEST) != 0;
	if (attached->updated == NULL || (edit->deleted && !edit->marked))
		return;
	value = attached_value(attached->updated, edit->row, &isnull);
	/* a timestamp without a zone is taken for UTC, and has the same bits */
	if (isnull || !rfc3339_can_be(DatumGetTimestampTz(value)))
		return;
	change->updated_at = DatumGetTimestampTz(value);
	change->has_updated_at = true;
}

/*
 * Number the change by the relation's own version, if it keeps one and the
 * ladder asks for it.  A delete counts one more: no edit could do so.
 */
static bool
set_version(const Registry *registry, const RowEdit *edit, Change *change)
{
	const Attached *attached = edit->attached;
	const Entity *entity = registry_entity_required(registry, change->entity);
	bool		isnull;
	Datum		value;

	if (attached->version == NULL || !(entity->ladder & RUNG_VERSION))
		return false;
	value = attached_value(attached->version, edit->row, &isnull);
	if (isnull)
		return false;
	switch (attached->version->type)
	{
		case INT2OID:
			change->version = DatumGetInt16(value);
			break;
		case INT4OID:
			change->version = DatumGetInt32(value);
			break;
		default:
			change->version = DatumGetInt64(value);
	}
	if (edit->deleted && !edit->marked && change->version < CHANGE_MAX_VERSION)
		change->version++;
	if (change->version < 0 || change->version > CHANGE_MAX_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("version column \"%s\" of attached relation %s holds " INT64_FORMAT ", which is no version",
						attached->version->name, attached->name, change->version),
				 errhint("A version is 0 or more and less than 2^62.")));
	change->has_version = true;
	return true;
}

/*
 * In a field ladder what a row holds is as old as the row says: so what two tables
 * hold when they are loaded is compared by that, and not by which came first.
 */
static void
set_own_stamp(const RowEdit *edit, Change *change)
{
	const Registry *registry = registry_get();

	if (!(registry_entity_required(registry, change->entity)->ladder & RUNG_FIELD))
		return;
	change->known = replica_stamp(edit->replica);
	set_updated_at(registry, edit, change);
	(void) set_version(registry, edit, change);
}

/*
 * Have the ladder decide, once what refers to rows with keys of their own refers to their
 * records.  What has waited for a key that is new is released when the call ends.
 */
static void
apply_edit(ApplyCall *call, Change *change, bool key_is_new, Answer *answer)
{
	const Registry *registry = registry_get();

	if (registry->any_keyed && !change->deleted)
	{
		const ApplyItem item = apply_item(registry, change);

		key_references_reread(&item, change);
	}
	apply_change(call, change, answer);
	if (key_is_new)
		apply_note_key(call, change);
	answer->change = NULL;		/* it was ours */
}

void
row_send_row(ApplyCall *call, const RowEdit *edit, ChangeOrigin origin, int64 base, Answer *answer)
{
	const Attached *attached = edit->attached;
	Change		change = {
		.origin = origin,
		.entity = attached->binding->entity,
		.external_id = edit->external_id,
		.source_id = edit->key,
		.source = attached->binding->source,
		.has_updated_at = true,
		.updated_at = GetCurrentStatementStartTimestamp(),
		.has_base = true,
		.base = base,
		.fields = edit->fields,
	};

	/* what is said of the record as it stands isn't the row's own word */
	if (edit->replica != NULL)
		set_own_stamp(edit, &change);
	apply_edit(call, &change, edit->key_is_new, answer);
}

void
row_send_fields(ApplyCall *call, const Attached *attached, const char *external_id,
				const Fields *fields, int64 base, Answer *answer)
{
	const RowEdit edit = {.attached = attached, .external_id = external_id, .fields = *fields};

	row_send_row(call, &edit, ORIGIN_EDIT, base, answer);
}

/* The same for an edit that a user made, with the row's own version and time. */
static void
send_change(ApplyCall *call, const Registry *registry, const RowEdit *edit, const Fields *fields,
			int64 base, Answer *answer)
{
	const Attached *attached = edit->attached;
	Change		change = {
		.origin = edit->inserted ? ORIGIN_INSERT : ORIGIN_EDIT,
		.entity = attached->binding->entity,
		.external_id = edit->external_id,
		.source_id = edit->key,
		.source = attached->binding->source,
		.deleted = edit->deleted,
		.cascade = edit->cascade,
		.takes_over = edit->takes_over,
		.known = replica_stamp(edit->replica),
		.fields = *fields,
		.increments = edit->increments,
		.totals = edit->totals,
	};

	set_updated_at(registry, edit, &change);
	if (edit->cascade || !set_version(registry, edit, &change))
	{
		change.has_base = true;
		change.base = base;
	}
	/* what was delivered to the other row this one has not seen, nor what is to come of it */
	if (edit->duplicate)
	{
		change.alias = edit->key;
		change.base = 0;
	}
	apply_edit(call, &change, edit->key_is_new, answer);
}

/*
 * Of the held fields from the i-th on, those that go with it: of its group, and last seen
 * at the same row version.  What was edited together is decided together.
 */
static Fields
held_together(const FieldRules *rules, const Fields *fields, int i, const Fields *held, int64 base)
{
	const FieldRule *rule = field_rule_find(rules, fields->field[i].name);
	Fields		together = {0, palloc(sizeof(Field) * fields->n)};

	for (int j = i; j < fields->n; j++)
	{
		const FieldRule *other = field_rule_find(rules, fields->field[j].name);
		bool		same = j == i || (rule != NULL && other != NULL && rule->group >= 0 &&
									  rule->group == other->group);
		int64		other_base;

		if (same && field_versions_find(held, fields->field[j].name, &other_base) &&
			other_base == base)
			together.field[together.n++] = fields->field[j];
	}
	return together;
}

/*
 * Send what a conflict keeps from being delivered here on its own: those fields
 * were last seen at an older row version than the others.  Returns the others.
 */
static Fields
send_held(ApplyCall *call, const Registry *registry, const RowEdit *edit)
{
	const Entity *entity = registry_entity_required(registry, edit->attached->binding->entity);
	Fields		others = {0, palloc(sizeof(Field) * Max(edit->fields.n, 1))};
	Fields		held = fields_of(edit->replica->withheld);
	Fields		sent = {0};
	RowEdit		set = *edit;

	set.increments.n = 0;
	for (int i = 0; i < edit->fields.n; i++)
	{
		FieldName	name = edit->fields.field[i].name;
		int64		base;
		Fields		together;
		Answer		answer;

		if (!field_versions_find(&held, name, &base))
		{
			others.field[others.n++] = edit->fields.field[i];
			continue;
		}
		if (fields_find(&sent, name) != NULL)
			continue;
		together = held_together(&entity->field_rules, &edit->fields, i, &held, base);
		send_change(call, registry, &set, &together, base, &answer);
		sent = fields_union(&sent, &together);
	}
	return others;
}

bool
row_edit_send(ApplyCall *call, const Registry *registry, const RowEdit *edit, Answer *answer)
{
	Fields		fields = edit->fields;

	if (edit->replica->withheld != NULL && !edit->deleted && !edit->cascade)
		fields = send_held(call, registry, edit);
	if (!edit->deleted && fields.n == 0 && edit->fields.n > 0 && edit->increments.n == 0)
		return false;
	send_change(call, registry, edit, &fields, edit->replica->row_version, answer);
	return true;
}

/* The key of the note in the log row's detail; NULL: it needs none. */
static const char *
note_key(NoteKind kind)
{
	switch (kind)
	{
		case NOTE_INSERT:
			return "inserted";
		case NOTE_ALL:
			return "all";
		case NOTE_ADDED:
			return "added";
		case NOTE_RECOUNT:
			return "recount";
		case NOTE_BASELINE:
			return "baseline";
		case NOTE_EDIT:
			break;
	}
	return NULL;
}

static bool
edits_counter(const Registry *registry, const RowEdit *edit)
{
	const FieldRules *rules = row_edit_counters(registry, edit->attached);

	for (int i = 0; rules != NULL && i < edit->fields.n; i++)
		if (field_rules_sum(rules, edit->fields.field[i].name))
			return true;
	return false;
}

void
row_edit_note(const RowEdit *edit, NoteKind kind)
{
	const Attached *attached = edit->attached;
	const Registry *registry = registry_get();
	Change		change = {
		.entity = attached->binding->entity,
		.external_id = edit->external_id,
		.source = attached->binding->source,
		.deleted = edit->deleted,
		.cascade = edit->cascade,
		.fields = edit->fields,
	};

	/* a transaction's edits are of when it began, unless the row says more */
	if (attached->updated != NULL)
		set_updated_at(registry, edit, &change);
	(void) set_version(registry, edit, &change);
	outbox_buffer_add(&change, note_key(kind), edits_counter(registry, edit) ? self_run() : 0);
}
