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
#include "utils/memutils.h"

#include "compat.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/key_children.h"
#include "hub/logged_change.h"
#include "model/json.h"
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
	json_set_string(&value.value, move->to, strlen(move->to));
	change.base = record.row_version;
	apply_own(move->call, &change, &answer);
	move->moved++;
}

static void
move_children(Move *move, const Entity *entity, const char *parent)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "syncext child", ALLOCSET_DEFAULT_SIZES);

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
			MemoryContextSwitchTo(each);
			move_child(move, reference, entity->name, id);
			MemoryContextSwitchTo(outer);
			MemoryContextReset(each);
		}
	}
	MemoryContextDelete(each);
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

/* ---------- told again ---------- */

/* Records that are told to all as they are. */
typedef struct Telling
{
	ApplyCall  *call;
	const char *parent;			/* the entity of the record that they refer to */
	const char *id;				/* its name */
	List	   *ids;			/* and all that are aliases of it */
	Jsonb	   *detail;			/* of the log */
} Telling;

static bool
refers_to_any(const Record *record, const Reference *reference, const List *ids)
{
	foreach_ptr(const char, id, ids)
		if (references_refers(record, reference->field, id))
			return true;
	return false;
}

static void
log_told(const Telling *telling, const Change *change, const ApplyItem *item,
		 const Record *before, const Decision *d)
{
	LogEntry	entry = logged_decision(change->entity, change->external_id, d->after.last_source,
									   &d->after, &change->fields);

	entry.detail = telling->detail;
	(void) change_log_append(telling->call->log, &entry);
	apply_note(telling->call, item, before, d);
}

/* At a version that is above what anybody has had. */
static void
tell_child(const Telling *telling, const Entity *entity, const Reference *reference,
		   const char *external_id)
{
	Record		record;
	Field		value;
	Change		change = {.entity = entity->name, .external_id = external_id, .fields = {1, &value}};
	const ApplyItem item = {.change = &change, .entity = entity};
	Decision	d = {.write = WRITE_WHOLE};

	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(telling->call->canonical, entity->name, external_id, &record);
		if (!refers_to_any(&record, reference, telling->ids))
			return;
		d.after = record;
		d.after.version = Min(record.version + 1, CHANGE_MAX_VERSION);
		d.after.row_version = record.row_version + 1;
	} while (canonical_write(telling->call->canonical, entity->name, external_id, &d.after) != ROWS_DONE);
	value = record_find(&record, field_name(reference->field))->field;
	change.source = record.last_source;
	log_told(telling, &change, &item, &record, &d);
}

static void
tell_children(const Telling *telling, const Entity *entity)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "syncext child", ALLOCSET_DEFAULT_SIZES);

	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		List	   *children;

		if (strcmp(reference->parent, telling->parent) != 0)
			continue;
		children = owner_texts("SELECT c.external_id FROM syncext.canonical c WHERE c.entity = %s AND NOT c.deleted "
							   "AND c.fields->>%s IN (SELECT %s UNION ALL SELECT a.external_id FROM syncext.alias a WHERE a.entity = %s AND a.kept_id = %s) "
							   "ORDER BY c.external_id",
							   quote_literal_cstr(entity->name), quote_literal_cstr(reference->field),
							   quote_literal_cstr(telling->id), quote_literal_cstr(telling->parent),
							   quote_literal_cstr(telling->id));
		foreach_ptr(char, child, children)
		{
			MemoryContextSwitchTo(each);
			tell_child(telling, entity, reference, child);
			MemoryContextSwitchTo(outer);
			MemoryContextReset(each);
		}
	}
	MemoryContextDelete(each);
}

void
key_children_tell(ApplyCall *call, const char *entity, const char *id, Jsonb *detail)
{
	Telling		telling = {.call = call, .parent = entity, .id = id, .detail = detail};

	telling.ids = lcons(unconstify(char *, id),
						owner_texts("SELECT a.external_id FROM syncext.alias a WHERE a.entity = %s AND a.kept_id = %s",
									quote_literal_cstr(entity), quote_literal_cstr(id)));
	for (int i = 0; i < call->registry->nentities; i++)
		tell_children(&telling, &call->registry->entities[i]);
}
