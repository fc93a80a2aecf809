/*
 * row_name.c
 *	  The key of a record's row in a relation that draws its keys itself.
 *
 * Called when a row is written: which key it has, or gets.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "errcodes.h"
#include "hub/key_references.h"
#include "local/draw_key.h"
#include "local/row_keys.h"
#include "local/row_name.h"
#include "storage/alias.h"

/* The crosswalk, open from the first relation on that draws keys of its own. */
static SourceKeys *
open_keys(RowWriter *writer)
{
	if (writer->keys == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		writer->keys = mapped_open(&source_key_def, true);
		MemoryContextSwitchTo(old);
	}
	return writer->keys;
}

/*
 * The row's key was read from the row itself, which has the record's id in a column: it was
 * written by a transaction of ours that was not heard of again.
 */
static const char *
bind_found_key(RowState *p, AttachedRow row)
{
	char	   *text = attached_external_id(p->attached, row);

	if (!row_keys_bind(open_keys(p->writer), p->attached->binding, text, p->external_id))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("column \"%s\" of the row of relation %s with key \"%s\" says that it is record \"%s\", but it is another",
						p->attached->external_id->name, p->attached->name, text, p->external_id)));
	p->named = true;
	return text;
}

const char *
row_name_find(RowState *p)
{
	Attached   *attached = p->attached;
	const Binding *binding = attached->binding;
	SourceKey	key;
	AttachedRow row;

	source_keys_hold(binding->source);
	if (source_key_current(open_keys(p->writer), binding->source, binding->entity, p->external_id, &key))
		return key.source_id;
	/* a row of one that was merged into another record is a second one of that */
	if (attached->external_id == NULL || alias_kept(binding->entity, p->external_id) != NULL ||
		!writer_read_by_id(attached, p->external_id, &row))
		return NULL;
	return bind_found_key(p, row);
}

bool
row_name_stands(const RowState *p)
{
	const Binding *binding = p->attached->binding;
	SourceKey	key;

	return source_key_current(open_keys(p->writer), binding->source, binding->entity, p->external_id, &key) &&
		strcmp(key.source_id, p->key_text) == 0;
}

/* A sequence that lags behind its table gives so many keys in vain, and then it is said. */
#define MAX_DRAWS	1000

/*
 * Bind the key that was drawn.  What follows a key that was free is free, too, as a rule: it
 * isn't looked for, and where it is there after all, the row fails and is tried once more,
 * alone.
 */
static bool
bind_drawn(RowState *p, const char *text, bool later)
{
	RowWriter  *writer = p->writer;

	if (writer->draws_free_keys)
		row_keys_add(open_keys(writer), p->attached->binding, text, p->external_id, later);
	else if (!row_keys_bind(open_keys(writer), p->attached->binding, text, p->external_id))
		return false;
	writer->draws_free_keys = true;
	return true;
}

void
row_name_draw(RowState *p, bool later)
{
	for (int i = 0; i < MAX_DRAWS; i++)
	{
		AttachedRow key = draw_key(p->attached);
		char	   *text = attached_external_id(p->attached, key);

		CHECK_FOR_INTERRUPTS();
		if (!bind_drawn(p, text, later))
			continue;
		p->key = key;
		p->key_text = text;
		p->named = true;
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNIQUE_VIOLATION),
			 errmsg("the defaults of relation %s's key have given %d keys that it has already",
					p->attached->name, MAX_DRAWS),
			 errhint("Set its sequence past the greatest key: SELECT setval(…).")));
}

void
row_name_flush(RowWriter *writer)
{
	if (writer->keys != NULL)
		rows_flush(writer->keys->rows);
}

bool
row_name_refers(const RowState *p)
{
	const Registry *registry = p->writer->registry;
	const Source *source = registry_source(registry, p->attached->binding->source);
	const Entity *entity = registry_entity(registry, p->attached->binding->entity);

	return registry->any_keyed && source != NULL && entity != NULL &&
		key_references_any(source, entity);
}

/* A batch has parents first: only where a parent's row has just gone there is no key of it. */
JsonbValue
row_name_value(const RowState *p, const AttachedColumn *column)
{
	const Binding *binding = p->attached->binding;
	const RecordKey record = {binding->entity, p->external_id};
	JsonbValue	value = record_find(&p->record, column->field)->field.value;
	RecordKey	parent;

	/* the parent's row may be one that waits */
	if (p->refers_by_keys)
		row_name_flush(p->writer);
	if (p->refers_by_keys &&
		!key_references_write_field(open_keys(p->writer),
									registry_source_required(p->writer->registry, binding->source),
									&record, column->field, &value, &parent))
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_NO_PARENT_KEY),
				 errmsg("field \"%s\" refers to a record of entity \"%s\" of which source \"%s\" has no row",
						field_name_cstring(column->field), parent.entity, binding->source)));
	return value;
}

void
row_name_read_back(RowState *p, AttachedRow *stored)
{
	if (!writer_read_by_id(p->attached, p->external_id, stored))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_ACTION_EXCEPTION),
				 errmsg("a row that was inserted into relation %s with \"%s\" in column \"%s\" is not found by that",
						p->attached->name, p->external_id, p->attached->external_id->name)));
	p->key_text = bind_found_key(p, *stored);
	p->key = *stored;
}
