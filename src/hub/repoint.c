/*
 * repoint.c
 *	  What refers to a record that was merged into another one comes to refer to that.
 *
 * Sources' changes that name the old id are of the other record as they come (by_alias).
 * What was there before is found by a walk through the entities that refer to the
 * merged one's, in portions, a transaction each; table syncext.repoint says how far it has
 * come.  It begins when no transaction goes on that may not know of the merge.  Sources hear
 * that the old record is gone when it has ended: then nothing refers to it any more.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hub/apply_call.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/logged_change.h"
#include "hub/release.h"
#include "hub/repoint.h"
#include "model/field_impose.h"
#include "model/json.h"
#include "model/record_merge.h"
#include "model/referred_id.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/alias.h"
#include "storage/writers.h"

/* Records of one transaction that are looked at; and portions of one call. */
#define PORTION		1000
#define MAINTAIN_PORTIONS	100

/* The walk for an entity of which records were merged. */
typedef struct Walk
{
	const char *parent;
	const char *child;			/* the entity that it is at; NULL: none yet */
	const char *after;
	int64		repointed;
	bool		done;
} Walk;

/* ---------- one record ---------- */

static void
log_repointed(ApplyCall *call, const Change *change, const Record *after,
			  const RecordAlias *alias)
{
	JsonbParseState *state = json_begin_object();
	LogEntry	entry = logged_decision(change->entity, change->external_id, change->source,
									   after, &change->fields);

	json_push_number(&state, "mergeId", alias->merge);
	entry.detail = json_end_object(&state);
	(void) change_log_append(call->log, &entry);
	(void) owner_execute("INSERT INTO syncext.merge_child (merge, entity, external_id, field, row_version) "
						 "SELECT m.id, %s, %s, %s, " INT64_FORMAT " FROM syncext.merge m WHERE m.id = " INT64_FORMAT
						 " ON CONFLICT DO NOTHING",
						 quote_literal_cstr(change->entity), quote_literal_cstr(change->external_id),
						 quote_literal_cstr(field_name_cstring(change->fields.field[0].name)),
						 after->row_version, alias->merge);
}

/* The record that a field of a live record names, if that was merged into another one. */
static bool
names_alias(ApplyCall *call, const Reference *reference, const Record *record, RecordAlias *alias)
{
	const RecordField *field = !record->exists || record->deleted ? NULL :
		record_find(record, field_name(reference->field));
	const char *id = field == NULL ? NULL : referred_id(&field->field.value);

	return id != NULL && alias_find(call->aliases, reference->parent, id, alias);
}

static bool
repoint_field(ApplyCall *call, const Entity *entity, const char *external_id,
			  const Reference *reference)
{
	Field		field = {.name = field_name(reference->field)};
	Change		change = {
		.entity = entity->name,
		.external_id = external_id,
		.fields = {1, &field}
	};
	const ApplyItem item = {.change = &change, .entity = entity};
	Decision	d = {.write = WRITE_WHOLE};
	Record		record;
	RecordAlias alias;

	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(call->canonical, entity->name, external_id, &record);
		if (!names_alias(call, reference, &record, &alias))
			return false;
		json_set_string(&field.value, alias.kept_id, strlen(alias.kept_id));
		d.after = references_change(entity, &record, &field, SET_BY_MERGE);
	} while (canonical_write(call->canonical, entity->name, external_id, &d.after) != ROWS_DONE);
	change.source = record.last_source;
	apply_note(call, &item, &record, &d);
	log_repointed(call, &change, &d.after, &alias);
	return true;
}

/* ---------- a portion ---------- */

static bool
refers_to_parent(const Entity *entity, const char *parent)
{
	for (int i = 0; i < entity->nreferences; i++)
		if (strcmp(entity->references[i].parent, parent) == 0)
			return true;
	return false;
}

/* The next entity, in the order of names, that refers to the walk's; NULL: there is no other. */
static const Entity *
next_entity(const Registry *registry, const Walk *walk)
{
	const Entity *next = NULL;

	for (int i = 0; i < registry->nentities; i++)
	{
		const Entity *entity = &registry->entities[i];

		if (refers_to_parent(entity, walk->parent) &&
			(walk->child == NULL || strcmp(entity->name, walk->child) > 0) &&
			(next == NULL || strcmp(entity->name, next->name) < 0))
			next = entity;
	}
	return next;
}

/* The next records of the entity that the walk is at which name one that was merged. */
static List *
records_to_change(ApplyCall *call, const Entity *entity, Walk *walk)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "syncext repoint", ALLOCSET_DEFAULT_SIZES);
	RowsScan   *scan = canonical_scan_begin(call->canonical, entity->name, walk->after);
	List	   *found = NIL;
	int			n = 0;
	char	   *id;

	while (n < PORTION && canonical_scan_next(call->canonical, scan, &id))
	{
		Record		record;
		RecordAlias alias;
		bool		names = false;

		CHECK_FOR_INTERRUPTS();
		n++;
		walk->after = id;
		MemoryContextSwitchTo(each);
		canonical_scan_record(call->canonical, &record);
		for (int i = 0; i < entity->nreferences && !names; i++)
			names = names_alias(call, &entity->references[i], &record, &alias);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(each);
		if (names)
			found = lappend(found, id);
	}
	rows_scan_end(scan);
	MemoryContextDelete(each);
	if (n < PORTION)
		walk->after = NULL;
	return found;
}

static void
walk_entity(Walk *walk, const Entity *entity)
{
	ApplyCall  *call = apply_begin(registry_get());
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "syncext repoint", ALLOCSET_DEFAULT_SIZES);
	List	   *ids;

	call->aliases = mapped_open(&alias_def, false);
	ids = records_to_change(call, entity, walk);
	foreach_ptr(const char, id, ids)
	{
		MemoryContextSwitchTo(each);
		for (int i = 0; i < entity->nreferences; i++)
			walk->repointed += repoint_field(call, entity, id, &entity->references[i]);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(each);
	}
	MemoryContextDelete(each);
	apply_end(call);
}

/* ---------- the end ---------- */

/* Nothing refers to what was merged: sources are told that it is gone. */
static void
settle(const Walk *walk)
{
	ApplyCall  *call = apply_begin(registry_get());
	List	   *gone = owner_texts("SELECT syncext.repoint_end(%s)", quote_literal_cstr(walk->parent));
	Aliases    *aliases = mapped_open(&alias_def, false);

	foreach_ptr(const char, id, gone)
	{
		Change		change = {.entity = walk->parent, .alias = id};
		Record		record;
		RecordAlias alias;

		canonical_find(call->canonical, walk->parent, id, &record);
		if (!record.exists || !record.deleted || !alias_find(aliases, walk->parent, id, &alias))
			continue;
		change.external_id = alias.kept_id;
		change.source = record.last_source;
		change.alias_merge = alias.merge;
		merge_log_gone(call->log, &change, &record, AUDIENCE_ALL);
	}
	mapped_close(aliases);
	apply_end(call);
}

static void
walk_portion(void *arg)
{
	Walk	   *walk = arg;
	const Registry *registry = registry_get();
	const char *parent = quote_literal_cstr(walk->parent);
	const Entity *entity;

	/* who undoes a merge holds it, and comes before the portion or after it */
	walk->child = owner_text("SELECT p.child_entity FROM syncext.repoint p WHERE p.entity = %s FOR UPDATE", parent);
	walk->after = owner_text("SELECT p.after_id FROM syncext.repoint p WHERE p.entity = %s", parent);
	entity = walk->child != NULL && walk->after != NULL ? registry_entity(registry, walk->child) :
		next_entity(registry, walk);
	walk->done = entity == NULL;
	if (walk->done)
	{
		settle(walk);
		return;
	}
	walk_entity(walk, entity);
	(void) owner_execute("UPDATE syncext.repoint p SET child_entity = %s, after_id = %s WHERE p.entity = %s",
						 quote_literal_cstr(entity->name),
						 walk->after == NULL ? "NULL" : quote_literal_cstr(walk->after), parent);
}

/* Has the walk begun, or may it? */
static bool
may_walk(const char *parent)
{
	const char *entity = quote_literal_cstr(parent);

	if (owner_true("SELECT EXISTS (SELECT FROM syncext.repoint p WHERE p.entity = %s AND p.upto IS NOT NULL)", entity))
		return true;
	/* which merges it is for is said first: later ones may not be known to all */
	(void) owner_execute("UPDATE syncext.repoint p SET upto = (SELECT max(m.id) FROM syncext.merge m WHERE m.entity = p.entity) WHERE p.entity = %s",
						 entity);
	if (writers_wait(setting_maintain_lock_timeout))
		return true;
	(void) owner_execute("UPDATE syncext.repoint p SET upto = NULL WHERE p.entity = %s", entity);
	return false;
}

static bool
walk_next(Maintenance *m, Walk *walk)
{
	bool		walked;

	maintenance_begin(m);
	walked = may_walk(walk->parent) && subxact_try_lock(walk_portion, walk);
	maintenance_commit(m);
	if (!walked)
		maintenance_waits(m, "records that refer to entity \"%s\": a transaction that is changing records goes on",
						  walk->parent);
	return walked;
}

void
repoint_go_on(Maintenance *m)
{
	List	   *entities;

	maintenance_begin(m);
	entities = owner_texts("SELECT p.entity FROM syncext.repoint p ORDER BY 1");
	maintenance_commit(m);
	foreach_ptr(const char, parent, entities)
	{
		Walk		walk = {.parent = parent};

		for (int i = 0; i < MAINTAIN_PORTIONS && !walk.done; i++)
			if (!walk_next(m, &walk))
				break;
		m->repointed += walk.repointed;
	}
}
