/*
 * dependency.c
 *	  References between records: changes that wait for their parent, and
 *	  parents that can't go or take their children along.
 *
 * Called by hub/apply around each decision, for entities that have references
 * (sync_add_reference); hub/apply_call applies what was parked here.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/dependency.h"
#include "hub/listing.h"
#include "hub/visibility.h"
#include "settings.h"
#include "storage/canonical.h"
#include "storage/child.h"

struct Dependency
{
	const Registry *registry;
	bool		write;
	MemoryContext context;		/* of the tables that are opened late */
	Canonical  *parents;
	Waiting    *waiting;
	Children   *children;
	List	   *supposed;		/* Supposed: what explaining takes for granted */
};

/* A record as a change would leave it that was explained before. */
typedef struct Supposed
{
	const char *entity;
	const char *external_id;
	Record		record;
} Supposed;

Dependency *
dependency_begin(const Registry *registry, bool write)
{
	Dependency *dependency = palloc0(sizeof(Dependency));

	dependency->registry = registry;
	dependency->write = write;
	dependency->context = CurrentMemoryContext;
	return dependency;
}

void
dependency_end(Dependency *dependency)
{
	if (dependency->children != NULL)
		children_close(dependency->children);
	if (dependency->waiting != NULL)
		waiting_close(dependency->waiting);
	if (dependency->parents != NULL)
		canonical_close(dependency->parents);
	pfree(dependency);
}

Waiting *
dependency_waiting(Dependency *dependency)
{
	if (dependency->waiting == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(dependency->context);

		dependency->waiting = waiting_open(dependency->write);
		MemoryContextSwitchTo(old);
	}
	return dependency->waiting;
}

static Canonical *
parents_table(Dependency *dependency)
{
	if (dependency->parents == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(dependency->context);

		dependency->parents = canonical_open(false);
		MemoryContextSwitchTo(old);
	}
	return dependency->parents;
}

static Children *
children_table(Dependency *dependency)
{
	if (dependency->children == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(dependency->context);

		dependency->children = children_open(dependency->write);
		MemoryContextSwitchTo(old);
	}
	return dependency->children;
}

/* ---------- waiting for a parent ---------- */

/* The external id that a value names; NULL where it names none, as one that is too long. */
static char *
referred_id(const JsonbValue *value)
{
	char	   *id = NULL;

	if (value->type == jbvString && value->val.string.len > 0)
		id = pnstrdup(value->val.string.val, value->val.string.len);
	else if (value->type == jbvNumeric)
		id = DatumGetCString(DirectFunctionCall1(numeric_out,
												 NumericGetDatum(value->val.numeric)));
	return id != NULL && strlen(id) <= CHANGE_MAX_EXTERNAL_ID ? id : NULL;
}

void
dependency_suppose(Dependency *dependency, const Change *change, const Record *after)
{
	Supposed   *supposed = palloc(sizeof(Supposed));

	supposed->entity = change->entity;
	supposed->external_id = change->external_id;
	supposed->record = *after;
	/* the newest is found first */
	dependency->supposed = lcons(supposed, dependency->supposed);
}

static const Record *
supposed_record(const Dependency *dependency, const char *entity, const char *external_id)
{
	ListCell   *lc;

	foreach(lc, dependency->supposed)
	{
		const Supposed *supposed = lfirst(lc);

		if (strcmp(supposed->entity, entity) == 0 &&
			strcmp(supposed->external_id, external_id) == 0)
			return &supposed->record;
	}
	return NULL;
}

/* A tombstone counts as arrived: what refers to it isn't early but late. */
static bool
record_arrived(Dependency *dependency, const char *entity, const char *external_id)
{
	return supposed_record(dependency, entity, external_id) != NULL ||
		canonical_exists(parents_table(dependency), entity, external_id);
}

char *
dependency_referred(const Change *change, const Reference *reference)
{
	const Field *field = fields_find(&change->fields, field_name(reference->field));
	char	   *id = field ? referred_id(&field->value) : NULL;

	/* a record may refer to itself: it arrives with this very change */
	if (id != NULL && strcmp(reference->parent, change->entity) == 0 &&
		strcmp(id, change->external_id) == 0)
		return NULL;
	return id;
}

bool
dependency_check(const Entity *entity, const Change *change, ChangeError *error)
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
dependency_missing(Dependency *dependency, const Change *change, RecordKey *parent)
{
	const Entity *entity = registry_entity_required(dependency->registry, change->entity);

	for (int i = 0; i < entity->nreferences && !change->deleted; i++)
	{
		const Reference *reference = &entity->references[i];
		char	   *id = dependency_referred(change, reference);

		if (id != NULL && !record_arrived(dependency, reference->parent, id))
		{
			parent->entity = reference->parent;
			parent->external_id = id;
			return true;
		}
	}
	return false;
}

/* Does the order of arrival alone tell which of two changes is the newer? */
static bool
ordered_by_arrival(const Entity *entity, const Change *change)
{
	return change->has_base || !(entity->ladder & RUNG_VERSION);
}

bool
dependency_ahead(Dependency *dependency, const Change *change, int64 id, RecordKey *parent)
{
	const Entity *entity = registry_entity_required(dependency->registry, change->entity);

	/* a version says itself which is the newer, and may overtake */
	return ordered_by_arrival(entity, change) &&
		waiting_ahead(dependency_waiting(dependency), change->entity, change->external_id,
					  change->source, id, &parent->entity, &parent->external_id);
}

bool
dependency_must_wait(Dependency *dependency, const Change *change, RecordKey *parent,
					 char **reason)
{
	const Entity *entity = registry_entity_required(dependency->registry, change->entity);

	if (entity->nreferences == 0)
		return false;
	if (dependency_missing(dependency, change, parent))
	{
		*reason = psprintf("waits for %s %s, which has not arrived", parent->entity,
						   parent->external_id);
		return true;
	}
	if (!dependency_ahead(dependency, change, PG_INT64_MAX, parent))
		return false;
	*reason = psprintf("waits behind an earlier change of the record, and that for %s %s",
					   parent->entity, parent->external_id);
	return true;
}

TimestampTz
dependency_next_attempt(TimestampTz parked_at, TimestampTz now, int attempts, int cap)
{
	int64		delay = (int64) setting_waiting_retry * 1000;

	if (attempts >= cap || now - parked_at > (int64) setting_waiting_max * USECS_PER_SEC)
		return DT_NOEND;
	for (int i = 0; i < attempts && delay < USECS_PER_DAY; i++)
		delay *= 2;
	return now + delay;
}

static void
waiting_change(const Change *change, const RecordKey *parent, WaitingChange *w)
{
	TimestampTz now = GetCurrentTimestamp();

	MemSet(w, 0, sizeof(WaitingChange));
	w->entity = change->entity;
	w->external_id = change->external_id;
	w->source = change->source;
	w->parent_entity = parent->entity;
	w->parent_id = parent->external_id;
	w->change = change_document(change);
	w->parked_at = now;
	w->next_attempt = now + (int64) setting_waiting_retry * 1000;
}

/* An edit that says on what it was made is another edit each time. */
static bool
parked_already(Dependency *dependency, const Change *change, const WaitingChange *w)
{
	return change->has_version &&
		waiting_has(dependency_waiting(dependency), w->entity, w->external_id, w->source,
					w->change);
}

static bool
has_room(Dependency *dependency, const WaitingChange *w, ChangeError *error)
{
	if (waiting_has_room(dependency_waiting(dependency), w, setting_max_parked))
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Send what the changes refer to first; an administrator may raise syncext.max_parked.",
						"%d changes of source \"%s\" wait already, of the record or for %s %s",
						setting_max_parked, w->source, w->parent_entity, w->parent_id);
}

bool
dependency_has_room(Dependency *dependency, const Change *change, const RecordKey *parent,
					ChangeError *error)
{
	WaitingChange w;

	waiting_change(change, parent, &w);
	return parked_already(dependency, change, &w) || has_room(dependency, &w, error);
}

bool
dependency_park(Dependency *dependency, const Change *change, const RecordKey *parent,
				ChangeError *error)
{
	WaitingChange w;

	waiting_change(change, parent, &w);
	if (parked_already(dependency, change, &w))
		return true;
	if (!has_room(dependency, &w, error))
		return false;
	waiting_add(dependency_waiting(dependency), &w);
	return true;
}

void
dependency_answer(const Record *record, char *reason, Decision *decision)
{
	MemSet(decision, 0, sizeof(Decision));
	decision->status = 409;
	decision->resolution = RESOLUTION_DEPENDENCY_WAIT;
	decision->told = TOLD_NONE;
	decision->after = *record;
	decision->reason = reason;
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

static bool
holds_children(Dependency *dependency, const Change *change)
{
	return change->deleted &&
		registry_entity_required(dependency->registry, change->entity)->holds_children;
}

/* Does the record, as it is supposed to be, refer to a parent by this reference? */
static bool
supposed_refers(const Supposed *supposed, const Reference *reference, const Change *parent)
{
	return reference->on_delete != ON_DELETE_IGNORE &&
		strcmp(reference->parent, parent->entity) == 0 &&
		dependency_refers(&supposed->record, reference->field, parent->external_id);
}

/* A child that was listed while it was being changed may refer elsewhere by now. */
static List *
leave_out_former(Dependency *dependency, const char *parent_id, List *children)
{
	ListCell   *lc;

	foreach(lc, children)
	{
		const Child *child = lfirst(lc);
		Record		record;

		canonical_find(parents_table(dependency), child->entity, child->external_id, &record);
		if (!dependency_refers(&record, child->field, parent_id))
			children = foreach_delete_current(children, lc);
	}
	return children;
}

/* The children as they would be after what was explained before. */
static List *
suppose_children(Dependency *dependency, const Change *parent, List *children)
{
	ListCell   *lc;

	foreach(lc, children)
	{
		const Child *child = lfirst(lc);
		const Record *record = supposed_record(dependency, child->entity, child->external_id);

		if (record != NULL && !dependency_refers(record, child->field, parent->external_id))
			children = foreach_delete_current(children, lc);
	}
	foreach(lc, dependency->supposed)
	{
		const Supposed *supposed = lfirst(lc);
		const Entity *entity = registry_entity_required(dependency->registry, supposed->entity);

		/* only as it is supposed to be last */
		if (supposed_record(dependency, supposed->entity, supposed->external_id) !=
			&supposed->record)
			continue;
		for (int i = 0; i < entity->nreferences; i++)
		{
			const Reference *reference = &entity->references[i];
			Child	   *child;

			if (!supposed_refers(supposed, reference, parent) ||
				children_have(children, entity->name, supposed->external_id, reference->field))
				continue;
			child = palloc(sizeof(Child));
			child->entity = entity->name;
			child->external_id = supposed->external_id;
			child->field = reference->field;
			children = lappend(children, child);
		}
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
			 const Change *parent, List *children)
{
	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		Child	   *child;

		if (!tracks(reference, parent->entity) ||
			!dependency_refers(record, reference->field, parent->external_id) ||
			children_have(children, entity->name, external_id, reference->field))
			continue;
		child = palloc(sizeof(Child));
		child->entity = entity->name;
		child->external_id = pstrdup(external_id);
		child->field = reference->field;
		children = lappend(children, child);
	}
	return children;
}

/* Look through an entity's golden records for those that refer to the parent. */
static List *
look_through(Dependency *dependency, const Entity *entity, const Change *parent, List *children)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext inner = AllocSetContextCreate(outer, "syncext children", ALLOCSET_DEFAULT_SIZES);
	Canonical  *records = parents_table(dependency);
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
		/* of one that can't be read nobody knows whether it refers to the parent */
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

/* Where not all are listed: while somebody else lists them, or nobody may. */
static List *
look_for_children(Dependency *dependency, const Change *parent, List *children)
{
	const Registry *registry = dependency->registry;

	for (int i = 0; i < registry->nentities; i++)
	{
		const Entity *entity = &registry->entities[i];
		bool		refers = false;

		for (int j = 0; j < entity->nreferences; j++)
			refers |= tracks(&entity->references[j], parent->entity);
		if (refers)
			children = look_through(dependency, entity, parent, children);
	}
	return children;
}

List *
dependency_children(Dependency *dependency, const Change *parent)
{
	bool		listed = listing_ready(parent->entity, dependency->write);
	List	   *children = children_of(children_table(dependency), parent->entity,
									   parent->external_id);

	if (!listed)
		children = look_for_children(dependency, parent, children);
	children = leave_out_former(dependency, parent->external_id, children);
	return dependency->supposed == NIL ? children :
		suppose_children(dependency, parent, children);
}

/* A record that the source doesn't see isn't named to it. */
static char *
restricted_reason(Dependency *dependency, const Change *change, const Child *child)
{
	const Source *source = registry_source_required(dependency->registry, change->source);
	Record		record;

	if (!visibility_unlimited(source) && !role_reads_records())
	{
		canonical_find(parents_table(dependency), child->entity, child->external_id, &record);
		if (!visibility_shows(source, child->entity, &record))
			return psprintf("a record that source \"%s\" is not shown refers to it", source->name);
	}
	return psprintf("%s %s refers to it: delete that first", child->entity, child->external_id);
}

bool
dependency_restricts(Dependency *dependency, const Change *change, const Record *before,
					 Decision *decision)
{
	ListCell   *lc;

	if (decision->write != WRITE_WHOLE || before->deleted || !before->exists ||
		!holds_children(dependency, change))
		return false;
	foreach(lc, dependency_children(dependency, change))
	{
		Child	   *child = lfirst(lc);

		if (on_delete_of(dependency->registry, child) != ON_DELETE_RESTRICT)
			continue;
		MemSet(decision, 0, sizeof(Decision));
		decision->status = 409;
		decision->resolution = RESOLUTION_RESTRICTED;
		decision->told = TOLD_ORIGIN;
		decision->lost_all = true;
		decision->after = *before;
		decision->reason = restricted_reason(dependency, change, child);
		return true;
	}
	return false;
}

List *
dependency_cascade(Dependency *dependency, const Change *change)
{
	List	   *cascades = NIL;
	ListCell   *lc;

	if (!holds_children(dependency, change))
		return NIL;
	foreach(lc, dependency_children(dependency, change))
	{
		Child	   *child = lfirst(lc);
		Cascade    *cascade;

		if (on_delete_of(dependency->registry, child) != ON_DELETE_CASCADE)
			continue;
		cascade = palloc(sizeof(Cascade));
		cascade->key.entity = child->entity;
		cascade->key.external_id = child->external_id;
		cascade->field = child->field;
		cascade->parent_id = pstrdup(change->external_id);
		cascade->source = pstrdup(change->source);
		cascades = lappend(cascades, cascade);
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
dependency_refers(const Record *record, const char *field, const char *parent_id)
{
	char	   *id = refers_to(record, field);

	return id != NULL && strcmp(id, parent_id) == 0;
}

void
dependency_track(Dependency *dependency, const Change *change, const Record *before,
				 const Record *after)
{
	const Entity *entity = registry_entity_required(dependency->registry, change->entity);

	if (!entity->tracks_parents)
		return;
	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		Child		child = {change->entity, change->external_id, reference->field};
		char	   *was = refers_to(before, reference->field);
		char	   *is = refers_to(after, reference->field);

		if (reference->on_delete == ON_DELETE_IGNORE ||
			(was == NULL && is == NULL) || (was && is && strcmp(was, is) == 0))
			continue;
		if (was != NULL)
			children_remove(children_table(dependency), reference->parent, was, &child);
		if (is != NULL)
			children_add(children_table(dependency), reference->parent, is, &child);
	}
}

/* ---------- coming after the parent's delete ---------- */

static void
add_late_cascade(const Dependency *dependency, const Change *change, const Reference *reference,
				 const char *parent_id, const Record *parent, Consequences *consequences)
{
	const Source *deleter = registry_source(dependency->registry, parent->last_source);
	Cascade    *cascade = palloc(sizeof(Cascade));

	cascade->key.entity = registry_entity_required(dependency->registry, change->entity)->name;
	cascade->key.external_id = pstrdup(change->external_id);
	cascade->field = reference->field;
	cascade->parent_id = pstrdup(parent_id);
	/* who deleted the parent may have been dropped since */
	cascade->source = deleter != NULL ? deleter->name : pstrdup(change->source);
	consequences->cascades = lappend(consequences->cascades, cascade);
}

static void
add_revival(const Change *change, const Reference *reference, const char *parent_id,
			Consequences *consequences)
{
	Revival    *revival = palloc(sizeof(Revival));

	revival->key.entity = reference->parent;
	revival->key.external_id = pstrdup(parent_id);
	revival->source = pstrdup(change->source);
	consequences->revivals = lappend(consequences->revivals, revival);
}

void
dependency_late(Dependency *dependency, const Change *change, const Record *before,
				const Record *after, Consequences *consequences)
{
	const Entity *entity = registry_entity_required(dependency->registry, change->entity);

	for (int i = 0; i < entity->nreferences; i++)
	{
		const Reference *reference = &entity->references[i];
		char	   *was = refers_to(before, reference->field);
		char	   *is = refers_to(after, reference->field);
		Record		parent;

		if (reference->on_delete == ON_DELETE_IGNORE || is == NULL ||
			(was != NULL && strcmp(was, is) == 0))
			continue;
		canonical_find(parents_table(dependency), reference->parent, is, &parent);
		if (!parent.exists || !parent.deleted)
			continue;
		if (reference->on_delete == ON_DELETE_CASCADE)
			add_late_cascade(dependency, change, reference, is, &parent, consequences);
		else
			add_revival(change, reference, is, consequences);
	}
}
