/*
 * row_edit.c
 *	  An edit of a row as a change: the ladder decides it, or it is noted for a hub.
 *
 * Called by local/capture, by polls and loads, and for tables behind a link.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/timestamp.h"

#include "local/capture_buffer.h"
#include "local/row_edit.h"
#include "model/json_read.h"

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
	if (isnull || TIMESTAMP_NOT_FINITE(DatumGetTimestampTz(value)))
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

void
row_send_fields(ApplyCall *call, const Attached *attached, const char *external_id,
				const Fields *fields, ChangeOrigin origin, int64 base, Answer *answer)
{
	Change		change = {
		.origin = origin,
		.entity = attached->binding->entity,
		.external_id = external_id,
		.source = attached->binding->source,
		.has_updated_at = true,
		.updated_at = GetCurrentStatementStartTimestamp(),
		.has_base = true,
		.base = base,
		.fields = *fields,
	};

	apply_change(call, &change, answer);
	answer->change = NULL;		/* it was ours */
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
		.source = attached->binding->source,
		.deleted = edit->deleted,
		.cascade = edit->cascade,
		.fields = *fields,
	};

	set_updated_at(registry, edit, &change);
	if (edit->cascade || !set_version(registry, edit, &change))
	{
		change.has_base = true;
		change.base = base;
	}
	apply_change(call, &change, answer);
	answer->change = NULL;		/* it was ours */
}

/* What a field that is kept back is based on. */
static int64
held_base(const Field *held)
{
	int64		base = 0;

	(void) json_read_rounded(&held->value, 0, CHANGE_MAX_VERSION, &base);
	return base;
}

/*
 * Send what a conflict keeps from being delivered here on its own: those fields
 * were last seen at an older row version than the others.  Returns the others.
 */
static Fields
send_held(ApplyCall *call, const Registry *registry, const RowEdit *edit)
{
	Fields		others = {0, palloc(sizeof(Field) * Max(edit->fields.n, 1))};
	Fields		held;

	fields_from_container(&edit->replica->held->root, &held);
	for (int i = 0; i < edit->fields.n; i++)
	{
		const Field *base = fields_find(&held, edit->fields.field[i].name);
		Fields		one = {1, &edit->fields.field[i]};
		Answer		answer;

		if (base == NULL)
			others.field[others.n++] = edit->fields.field[i];
		else
			send_change(call, registry, edit, &one, held_base(base), &answer);
	}
	return others;
}

bool
row_edit_send(ApplyCall *call, const Registry *registry, const RowEdit *edit, Answer *answer)
{
	Fields		fields = edit->fields;

	if (edit->replica->held != NULL && !edit->deleted && !edit->cascade)
		fields = send_held(call, registry, edit);
	if (!edit->deleted && fields.n == 0 && edit->fields.n > 0)
		return false;
	send_change(call, registry, edit, &fields, edit->replica->row_version, answer);
	return true;
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
	capture_buffer_add(&change, kind == NOTE_INSERT ? "inserted" : kind == NOTE_ALL ? "all" :
						   kind == NOTE_ADDED										? "added" :
																					  NULL);
}
