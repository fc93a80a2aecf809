/*
 * key_children.c
 *	  Records that refer to one whose key is another's now.
 *
 * What a source says that a record refers to it says by its own key: where it had one key of
 * the record alone, that is of the key's new record.  It is the source's own edit, of which
 * all are told.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/key_children.h"
#include "process/owner.h"

/* What is moved from one record to another. */
typedef struct Move
{
	ApplyCall  *call;
	const char *source;
	const char *from;
	const char *to;
	int			moved;
} Move;

static void
move_child(Move *move, const Reference *reference, const char *entity, const char *external_id)
{
	Record		record;
	const RecordField *field;
	Field		value = {.name = field_name(reference->field)};
	Change		change = {
		.origin = ORIGIN_EDIT,
		.entity = entity,
		.external_id = external_id,
		.source = move->source,
		.has_base = true,
		.fields = {1, &value}
	};
	Answer		answer;

	canonical_find(move->call->canonical, entity, external_id, &record);
	if (!references_refers(&record, reference->field, move->from))
		return;
	field = record_find(&record, value.name);
	if (strcmp(field->stamp.source, move->source) != 0 ||
		strcmp(field->stamp.set_by, move->source) != 0)
		return;
	value.value.type = jbvString;
	value.value.val.string.val = unconstify(char *, move->to);
	value.value.val.string.len = strlen(move->to);
	change.base = record.row_version;
	apply_own(move->call, &change, &answer);
	move->moved++;
}

static void
move_children(Move *move, const Entity *entity, const char *parent)
{
	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		List	   *ids;

		if (strcmp(reference->parent, parent) != 0)
			continue;
		ids = owner_texts("SELECT c.external_id FROM syncext.canonical c WHERE c.entity = %s AND NOT c.deleted "
						  "AND c.fields->>%s = %s ORDER BY c.external_id",
						  quote_literal_cstr(entity->name), quote_literal_cstr(reference->field),
						  quote_literal_cstr(move->from));
		foreach_ptr(char, id, ids)
		{
			CHECK_FOR_INTERRUPTS();
			move_child(move, reference, entity->name, id);
		}
	}
}

int
key_children_move(ApplyCall *call, const char *source, const char *entity, const char *from,
				  const char *to)
{
	Move		move = {.call = call, .source = source, .from = from, .to = to};

	for (int i = 0; i < call->registry->nentities; i++)
		move_children(&move, &call->registry->entities[i], entity);
	return move.moved;
}
