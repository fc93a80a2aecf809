/*
 * references.c
 *	  References between records: what a change refers to, and what becomes of
 *	  the children of a record that is deleted.
 *
 * A reference (sync_add_reference) with restrict or cascade is kept track of in
 * syncext.child, with each write, so that a delete finds the children.  Changes that
 * wait for a parent are hub/parked's.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/memutils.h"

#include "compat.h"
#include "errcodes.h"
#include "hub/listing.h"
#include "hub/references.h"
#include "hub/visibility.h"
#include "model/field_impose.h"
#include "model/field_ladder.h"
#include "model/referred_id.h"
#include "storage/alias.h"
#include "storage/canonical.h"
#include "storage/child.h"
#include "storage/rights.h"

struct References
{
	const Registry *registry;
	bool		write;
	MemoryContext context;		/* of the tables that are opened late */
	Canonical  *parents;
	Children   *children;
	List	   *supposed;		/* Supposed: what explaining takes for granted */
};

/* A record as a change would leave it that was explained before. */
typedef struct Supposed
{
	const Entity *entity;
	const char *external_id;
	Record		record;
} Supposed;

References *
references_begin(const Registry *registry, bool write)
{
	References *references = palloc0(sizeof(References));

	references->registry = registry;
	references->write = write;
	references->context = CurrentMemoryContext;
	return references;
}

void
references_end(References *references)
{
	if (references->children != NULL)
		mapped_close(references->children);
	if (references->parents != NULL)
		canonical_close(references->parents);
	pfree(references);
}

static Canonical *
parents_table(References *references)
{
	if (references->parents == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(references->context);

		references->parents = canonical_open(false);
		MemoryContextSwitchTo(old);
	}
	return references->parents;
}

static Children *
children_table(References *references)
{
	if (references->children == NULL)
		references->children = mapped_open_in(references->context, &child_def, references->write);
	return references->children;
}

/* ---------- what a change refers to ---------- */

void
references_suppose(References *references, const ApplyItem *item, const Record *after)
{
	Supposed   *supposed = palloc(sizeof(Supposed));

	supposed->entity = item->entity;
	supposed->external_id = item->change->external_id;
	supposed->record = *after;
	/* the newest is found first */
	references->supposed = lcons(supposed, references->supposed);
}

static const Record *
supposed_record(const References *references, const char *entity, const char *external_id)
{
	foreach_ptr(const Supposed, supposed, references->supposed)
	{
		if (strcmp(supposed->entity->name, entity) == 0 &&
			strcmp(supposed->external_id, external_id) == 0)
			return &supposed->record;
	}
	return NULL;
}

/* A tombstone counts as arrived: what refers to it isn't early but late. */
static bool
record_arrived(References *references, const char *entity, const char *external_id)
{
	return supposed_record(references, entity, external_id) != NULL ||
		canonical_exists(parents_table(references), entity, external_id);
}

bool
references_check(const Entity *entity, const Change *change, ChangeError *error)
{
	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		const Field *field = fields_find(&change->fields, field_name(reference->field));

		if (field != NULL && field->value.type == jbvString &&
			field->value.val.string.len > CHANGE_MAX_EXTERNAL_ID)
			return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
								"Name the record by its external id.",
								"field \"%s\" refers to a record of entity \"%s\" by %d bytes, more than an external id has",
								reference->field, reference->parent,
								field->value.val.string.len);
	}
	return true;
}

bool
references_missing(References *references, const ApplyItem *item, RecordKey *parent)
{
	if (item->change->awaited_key != NULL)
	{
		parent->entity = item->change->awaited_entity;
		parent->external_id = item->change->awaited_key;
		return true;
	}
	for (int i = 0; i < item->entity->nreferences && !item->change->deleted; i++)
	{
		const Reference *reference = &item->entity->references[i];
		char	   *id = referred_id_of_change(item->change, reference->field, reference->parent);

		if (id != NULL && !record_arrived(references, reference->parent, id))
		{
			parent->entity = reference->parent;
			parent->external_id = id;
			return true;
		}
	}
	return false;
}

/* ---------- deleting a parent ---------- */

static OnDelete
on_delete_of(const Registry *registry, const Child *child)
{
	const Entity *entity = registry_entity(registry, child->entity);

	for (int i = 0; entity != NULL && i < entity->nreferences; i++)
		if (strcmp(entity->references[i].field, child->field) == 0)
			return entity->references[i].on_delete;
	return ON_DELETE_IGNORE;
}

/* A child that was listed while it was being changed may refer elsewhere by now. */
static List *
leave_out_former(References *references, const char *parent_id, List *children)
{
	ListCell   *lc;

	foreach(lc, children)
	{
		const Child *child = lfirst(lc);
		Record		record;

		canonical_find(parents_table(references), child->entity, child->external_id, &record);
		if (!references_refers(&record, child->field, parent_id))
			children = foreach_delete_current(children, lc);
	}
	return children;
}

/* Does the reference keep children of records of the entity? */
static bool
tracks(const Reference *reference, const char *parent_entity)
{
	return reference->on_delete != ON_DELETE_IGNORE &&
		strcmp(reference->parent, parent_entity) == 0;
}

/* Add the record, if it refers to the parent and isn't among the children yet. */
static List *
add_if_child(const Entity *entity, const char *external_id, const Record *record,
			 const RecordKey *parent, List *children)
{
	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		Child	   *child;

		if (!tracks(reference, parent->entity) ||
			!references_refers(record, reference->field, parent->external_id) ||
			children_have(children, entity->name, external_id, reference->field))
			continue;
		child = palloc(sizeof(Child));
		child->parent_entity = parent->entity;
		child->parent_id = parent->external_id;
		child->entity = entity->name;
		child->external_id = pstrdup(external_id);
		child->field = reference->field;
		children = lappend(children, child);
	}
	return children;
}

/* The children as they would be after what was explained before. */
static List *
suppose_children(References *references, const RecordKey *parent, List *children)
{
	ListCell   *lc;

	foreach(lc, children)
	{
		const Child *child = lfirst(lc);
		const Record *record = supposed_record(references, child->entity, child->external_id);

		if (record != NULL && !references_refers(record, child->field, parent->external_id))
			children = foreach_delete_current(children, lc);
	}
	foreach_ptr(const Supposed, supposed, references->supposed)
	{
		/* only as it is supposed to be last */
		if (supposed_record(references, supposed->entity->name, supposed->external_id) ==
			&supposed->record)
			children = add_if_child(supposed->entity, supposed->external_id, &supposed->record,
									parent, children);
	}
	return children;
}

/* Look through an entity's golden records for those that refer to the parent. */
static List *
look_through(References *references, const Entity *entity, const RecordKey *parent, List *children)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext inner = AllocSetContextCreate(outer, "syncext children", ALLOCSET_DEFAULT_SIZES);
	Canonical  *records = parents_table(references);
	RowsScan   *scan = canonical_scan_begin(records, entity->name, NULL);

	for (;;)
	{
		char	   *external_id;
		Record		record;
		bool		found;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(inner);
		MemoryContextSwitchTo(inner);
		found = canonical_scan_next(records, scan, &external_id);
		/* raises where it can't be read, as it may refer to the parent */
		if (found)
			canonical_scan_record(records, &record);
		MemoryContextSwitchTo(outer);
		if (!found)
			break;
		children = add_if_child(entity, external_id, &record, parent, children);
	}
	rows_scan_end(scan);
	MemoryContextDelete(inner);
	return children;
}

/* Where not all are listed yet: while another transaction lists them, or may not. */
static List *
look_for_children(References *references, const RecordKey *parent, List *children)
{
	const Registry *registry = references->registry;

	for (int i = 0; i < registry->nentities; i++)
	{
		const Entity *entity = &registry->entities[i];
		bool		refers = false;

		for (int j = 0; j < entity->nreferences; j++)
			refers |= tracks(&entity->references[j], parent->entity);
		if (refers)
			children = look_through(references, entity, parent, children);
	}
	return children;
}

/* The children that refer to the record by this id. */
static List *
children_by(References *references, const char *parent_entity, const char *parent_id)
{
	const RecordKey parent = {parent_entity, parent_id};
	bool		listed = listing_ready(parent_entity, references->write);
	List	   *children = children_of(children_table(references), parent_entity, parent_id);

	if (!listed)
		children = look_for_children(references, &parent, children);
	children = leave_out_former(references, parent_id, children);
	return references->supposed == NIL ? children :
		suppose_children(references, &parent, children);
}

List *
references_children(References *references, const char *parent_entity, const char *parent_id)
{
	const Entity *entity = registry_entity(references->registry, parent_entity);
	List	   *children = children_by(references, parent_entity, parent_id);
	Aliases    *aliases;

	if (entity == NULL || !entity->merged)
		return children;
	/* what was merged into it may be referred to still */
	aliases = mapped_open(&alias_def, false);
	foreach_ptr(char, alias, alias_names(aliases, parent_entity, parent_id))
		children = list_concat(children, children_by(references, parent_entity, alias));
	mapped_close(aliases);
	return children;
}

static List *
children_of_item(References *references, const ApplyItem *item)
{
	return references_children(references, item->change->entity, item->change->external_id);
}

/* A record that the source, or the user (NULL), doesn't see isn't named to it. */
static char *
restricted_reason(References *references, const Source *source, const Child *child)
{
	Record		record;

	if ((source == NULL || !visibility_unlimited(source)) && !role_reads_records(child->entity))
	{
		canonical_find(parents_table(references), child->entity, child->external_id, &record);
		if (source == NULL && !visibility_user_sees(references->registry, child->entity, &record))
			return pstrdup("another record refers to it");
		if (source != NULL && !visibility_shows(source, child->entity, &record))
			return psprintf("a record that source \"%s\" is not shown refers to it", source->name);
	}
	return psprintf("%s %s refers to it: delete that first", child->entity, child->external_id);
}

bool
references_restrict(References *references, const ApplyItem *item, const Record *before,
					Decision *decision)
{
	if (decision->write != WRITE_WHOLE || before->deleted || !before->exists ||
		!item->change->deleted || !item->entity->holds_children)
		return false;
	foreach_ptr(Child, child, children_of_item(references, item))
	{
		if (on_delete_of(references->registry, child) != ON_DELETE_RESTRICT)
			continue;
		field_ladder_let_stand(before, true, restricted_reason(references, item->source, child),
							   decision);
		decision->status = 409;
		decision->resolution = RESOLUTION_RESTRICTED;
		return true;
	}
	return false;
}

static Cascade *
make_cascade(const Child *child, const char *source)
{
	Cascade    *cascade = palloc(sizeof(Cascade));

	cascade->key.entity = child->entity;
	cascade->key.external_id = pstrdup(child->external_id);
	cascade->field = child->field;
	cascade->parent_id = pstrdup(child->parent_id);
	cascade->source = pstrdup(source);
	return cascade;
}

List *
references_cascade(References *references, const ApplyItem *item)
{
	List	   *cascades = NIL;

	if (!item->change->deleted || !item->entity->holds_children)
		return NIL;
	foreach_ptr(Child, child, children_of_item(references, item))
	{
		if (on_delete_of(references->registry, child) == ON_DELETE_CASCADE)
			cascades = lappend(cascades, make_cascade(child, item->change->source));
	}
	return cascades;
}

/* What a record refers to by a field, while it lives. */
static char *
refers_to(const Record *record, const char *field)
{
	RecordField *found;

	if (!record->exists || record->deleted)
		return NULL;
	found = record_find(record, field_name(field));
	return found ? referred_id(&found->field.value) : NULL;
}

bool
references_refers(const Record *record, const char *field, const char *parent_id)
{
	char	   *id = refers_to(record, field);

	return id != NULL && strcmp(id, parent_id) == 0;
}

Record
references_change(const Entity *entity, const Record *record, const Field *field,
				  const char *set_by)
{
	Record		after = *record;
	RecordField *changed;

	after.fields = palloc(sizeof(RecordField) * record->nfields);
	memcpy(after.fields, record->fields, sizeof(RecordField) * record->nfields);
	changed = record_find(&after, field->name);
	changed->field = *field;
	changed->stamp.set_by = set_by;
	if (!record->deleted)
	{
		changed->stamp.version = after.version = Min(record->version + 1, CHANGE_MAX_VERSION);
		changed->stamp.row_version = after.row_version = record->row_version + 1;
	}
	if (entity->ladder & RUNG_FIELD)
		field_impose(entity->ladder, entity->deletes, NULL, record, &after);
	return after;
}

void
references_track(References *references, const ApplyItem *item, const Record *before,
				 const Record *after)
{
	const Entity *entity = item->entity;

	if (!entity->tracks_parents)
		return;
	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		Child		child = {
			.parent_entity = reference->parent,
			.entity = entity->name,
			.external_id = item->change->external_id,
			.field = reference->field
		};
		char	   *was = refers_to(before, reference->field);
		char	   *is = refers_to(after, reference->field);

		if (reference->on_delete == ON_DELETE_IGNORE ||
			(was == NULL && is == NULL) || (was && is && strcmp(was, is) == 0))
			continue;
		/* the record is held: another backend can only have listed it before */
		child.parent_id = was;
		if (was != NULL)
			(void) mapped_remove(children_table(references), &child);
		child.parent_id = is;
		if (is != NULL)
			(void) mapped_insert_new(children_table(references), &child);
	}
}

/* ---------- coming after the parent's delete ---------- */

static void
add_late_cascade(const References *references, const ApplyItem *item, const Reference *reference,
				 const char *parent_id, const Record *parent, Consequences *consequences)
{
	const Source *deleter = registry_source(references->registry, parent->last_source);
	const Child child = {
		.parent_id = parent_id,
		.entity = item->entity->name,
		.external_id = item->change->external_id,
		.field = reference->field
	};

	/* the source that deleted the parent may have been dropped since */
	consequences->cascades = lappend(consequences->cascades,
									 make_cascade(&child, deleter != NULL ? deleter->name : item->change->source));
}

static void
add_revival(const ApplyItem *item, const Reference *reference, const char *parent_id,
			Consequences *consequences)
{
	Revival    *revival = palloc(sizeof(Revival));

	revival->key.entity = reference->parent;
	revival->key.external_id = pstrdup(parent_id);
	revival->source = pstrdup(item->change->source);
	consequences->revivals = lappend(consequences->revivals, revival);
}

void
references_late(References *references, const ApplyItem *item, const Record *before,
				const Record *after, Consequences *consequences)
{
	const Entity *entity = item->entity;

	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		char	   *was = refers_to(before, reference->field);
		char	   *is = refers_to(after, reference->field);
		Record		parent;

		if (reference->on_delete == ON_DELETE_IGNORE || is == NULL ||
			(was != NULL && strcmp(was, is) == 0))
			continue;
		canonical_find(parents_table(references), reference->parent, is, &parent);
		if (!parent.exists || !parent.deleted)
			continue;
		if (reference->on_delete == ON_DELETE_CASCADE)
			add_late_cascade(references, item, reference, is, &parent, consequences);
		else
			add_revival(item, reference, is, consequences);
	}
}
