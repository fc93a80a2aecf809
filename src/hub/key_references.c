/*
 * key_references.c
 *	  References in the words of a source that has keys of its own of the parents.
 *
 * Records hold external ids.  What a source sends is translated when its keys are looked
 * up (hub/own_keys), or when what was parked is released; what it is sent, when a batch is
 * read (hub/delivery_keys).  Filters and masks see external ids.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "hub/key_references.h"
#include "hub/references.h"
#include "model/json.h"
#include "model/referred_id.h"
#include "storage/alias.h"
#include "storage/canonical.h"
#include "storage/rights.h"

bool
key_references_any(const Source *source, const Entity *entity)
{
	for (int i = 0; source->nkeyed > 0 && i < entity->nreferences; i++)
		if (source_has_own_keys(source, entity->references[i].parent))
			return true;
	return false;
}

/* ---------- what a source sends ---------- */

/* The external id that a key stands for; NULL: none. */
static const char *
translate(SourceKeys *keys, const Change *change, const Reference *reference, const char *id,
		  KeyFinder find, void *arg)
{
	SourceKey	key = {
		.source = change->source,
		.entity = reference->parent,
		.source_id = id
	};

	if (mapped_find(keys, &key))
		return key.external_id;
	return find == NULL ? NULL : find(arg, &key);
}

void
key_references_read(SourceKeys *keys, const ApplyItem *item, Change *change, KeyFinder find,
					void *arg)
{
	const Entity *entity = item->entity;
	Fields		translated = {change->fields.n, NULL};

	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		const Field *field = fields_find(&change->fields, field_name(reference->field));
		char	   *id = field == NULL ? NULL : referred_id(&field->value);
		const char *external_id;

		if (id == NULL || !source_has_own_keys(item->source, reference->parent))
			continue;
		external_id = translate(keys, change, reference, id, find, arg);
		if (external_id == NULL)
		{
			change->awaited_entity = reference->parent;
			change->awaited_key = id;
			return;
		}
		if (translated.field == NULL)
		{
			translated.field = palloc(sizeof(Field) * translated.n);
			memcpy(translated.field, change->fields.field, sizeof(Field) * translated.n);
		}
		json_set_string(&translated.field[field - change->fields.field].value, external_id,
						strlen(external_id));
	}
	if (translated.field == NULL)
		return;
	change->sent_fields = change->fields;
	change->fields = translated;
}

void
key_references_reread(const ApplyItem *item, Change *change)
{
	SourceKeys *keys;

	if (!key_references_any(item->source, item->entity))
		return;
	source_keys_hold(item->source->name);
	keys = mapped_open(&source_key_def, false);
	key_references_read(keys, item, change, NULL, NULL);
	mapped_close(keys);
}

/* ---------- what a target is sent ---------- */

/* The target's key of the record that another one was merged into. */
static bool
find_key_of_kept(SourceKeys *keys, const Source *target, const RecordKey *parent, SourceKey *key)
{
	const Entity *entity = registry_entity(registry_get(), parent->entity);
	const char *kept = entity == NULL || !entity->merged ? NULL :
		alias_kept(parent->entity, parent->external_id);

	return kept != NULL && source_key_current(keys, target->name, parent->entity, kept, key);
}

/*
 * The key of a record that another refers to.  One that deliveries don't go to will do
 * where the record is gone: where it lives, the target is to make it anew.
 */
static bool
find_key(SourceKeys *keys, const Source *target, const RecordKey *parent, SourceKey *key)
{
	Canonical  *canonical;
	bool		lives;

	if (source_key_current(keys, target->name, parent->entity, parent->external_id, key) ||
		find_key_of_kept(keys, target, parent, key))
		return true;
	if (!source_key_last(keys, target->name, parent->entity, parent->external_id, key))
		return false;
	canonical = canonical_open(false);
	lives = canonical_lives(canonical, parent->entity, parent->external_id);
	canonical_close(canonical);
	return !lives;
}

/* Put the target's key in the place of what a field refers to.  False: it has none. */
static bool
write_reference(SourceKeys *keys, const Source *target, const RecordKey *record,
				const RecordKey *parent, JsonbValue *value)
{
	SourceKey	key;
	bool		found = find_key(keys, target, parent, &key);

	if (found)
		json_set_string(value, key.source_id, strlen(key.source_id));
	else if (strcmp(record->entity, parent->entity) == 0 &&
			 strcmp(record->external_id, parent->external_id) == 0)
		value->type = jbvNull;
	else
		return false;
	return true;
}

bool
key_references_write_field(SourceKeys *keys, const Source *target, const RecordKey *record,
						   FieldName field, JsonbValue *value, RecordKey *parent)
{
	const Entity *entity = registry_entity(registry_get(), record->entity);

	for (int i = 0; entity != NULL && i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];

		if (field_name_cmp(field_name(reference->field), field) != 0 ||
			!source_has_own_keys(target, reference->parent))
			continue;
		parent->entity = reference->parent;
		parent->external_id = referred_id(value);
		return parent->external_id == NULL || write_reference(keys, target, record, parent, value);
	}
	return true;
}

Jsonb *
key_references_write(SourceKeys *keys, const Source *target, const RecordKey *record,
					 Jsonb *fields, RecordKey *parent)
{
	const Entity *entity = registry_entity_required(registry_get(), record->entity);
	Fields		translated = {0};

	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		const Field *field;

		if (!source_has_own_keys(target, reference->parent))
			continue;
		if (translated.field == NULL)
			fields_from_container(&fields->root, &translated);
		field = fields_find(&translated, field_name(reference->field));
		parent->external_id = field == NULL ? NULL : referred_id(&field->value);
		parent->entity = reference->parent;
		if (parent->external_id != NULL &&
			!write_reference(keys, target, record, parent,
							 &translated.field[field - translated.field].value))
			return NULL;
	}
	return translated.field == NULL ? fields : fields_to_jsonb(&translated);
}

/* The record is read in a memory context of its own: an acknowledgement may name thousands. */
static bool
refers_to_itself(const Entity *entity, const RecordKey *key)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "syncext reference",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	Canonical  *canonical = canonical_open(false);
	Record		record;
	bool		itself = false;

	canonical_find(canonical, key->entity, key->external_id, &record);
	canonical_close(canonical);
	for (int i = 0; i < entity->nreferences && !itself; i++)
		itself = strcmp(entity->references[i].parent, key->entity) == 0 &&
			references_refers(&record, entity->references[i].field, key->external_id);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return itself;
}

bool
key_references_itself(const Source *target, const RecordKey *key)
{
	const Entity *entity = registry_entity_required(registry_get(), key->entity);

	for (int i = 0; source_has_own_keys(target, key->entity) && i < entity->nreferences; i++)
		if (strcmp(entity->references[i].parent, key->entity) == 0)
			return refers_to_itself(entity, key);
	return false;
}
