/*
 * backfill.c
 *	  A target's cursors together: where they start, what they walk through,
 *	  and how many there are.
 *
 * When the number of slots changes, records change hands, and the new slots
 * must not be further than the slot that was the furthest behind: all of them
 * begin there.  What the others had beyond that comes twice; nothing is lost.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/backfill.h"
#include "process/args.h"
#include "process/wake.h"
#include "storage/canonical.h"
#include "storage/link.h"
#include "storage/names.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(syncext_cursor_start);
PG_FUNCTION_INFO_V1(syncext_cursor_subscribe);
PG_FUNCTION_INFO_V1(sync_resync);

/* ---------- what a target walks through ---------- */

static int
compare_depths(const ListCell *a, const ListCell *b)
{
	const Entity *ea = lfirst(a);
	const Entity *eb = lfirst(b);

	return ea->depth != eb->depth ? ea->depth - eb->depth : strcmp(ea->name, eb->name);
}

/* Are there records that were written before now?  If in doubt, yes. */
static bool
entity_has_records(const char *entity)
{
	/* the transaction's snapshot is older than the tick that was taken */
	return IsolationUsesXactSnapshot() || canonical_any(entity);
}

/*
 * The names of entities that the target gets, parents first, but for those of
 * which there are no records, and those that it has had so far.
 */
static List *
entities_to_walk(const Registry *registry, const Source *target, const Source *had)
{
	List	   *entities = NIL;
	List	   *names = NIL;

	for (int i = 0; i < registry->nentities; i++)
	{
		Entity	   *entity = &registry->entities[i];

		if (source_gets_entity(target, entity->name) &&
			(had == NULL || !source_gets_entity(had, entity->name)) &&
			entity_has_records(entity->name))
			entities = lappend(entities, entity);
	}
	list_sort(entities, compare_depths);
	foreach_ptr(const Entity, entity, entities)
		names = lappend(names, pstrdup(entity->name));
	return names;
}

static bool
names_have(const List *names, const char *name)
{
	foreach_ptr(const char, known, names)
	{
		if (strcmp(known, name) == 0)
			return true;
	}
	return false;
}

/* Is it about to begin with the entity? */
static bool
stands_before(const Cursor *cursor, const char *entity)
{
	return cursor->backfill_entity != NULL && strcmp(cursor->backfill_entity, entity) == 0 &&
		cursor->backfill_id == NULL && cursor->end_backfill_id == NULL;
}

/*
 * Let the cursor walk through these entities' records, after what it has to
 * walk.  One that it is in the middle of comes again at the end: the batch that
 * is out begins where it stands now, and must stay as it is.
 */
static void
add_backfill(Cursor *cursor, const List *entities)
{
	List	   *rest = list_copy(cursor->backfill_rest);

	foreach_ptr(char, entity, entities)
	{
		if (!names_have(rest, entity) && !stands_before(cursor, entity))
			rest = lappend(rest, entity);
	}
	if (cursor->backfill_entity == NULL && rest != NIL)
	{
		cursor->backfill_entity = linitial(rest);
		cursor->backfill_id = NULL;
		cursor->backfill_since = GetCurrentTimestamp();
		cursor->backfill_done = 0;
		rest = list_delete_first(rest);
	}
	cursor->backfill_rest = rest;
}

/* Like add_backfill(), but for all of the target's cursors, which are locked. */
static void
add_backfill_to_all(CursorTable *table, const List *cursors, const List *entities)
{
	foreach_ptr(Cursor, cursor, cursors)
	{
		add_backfill(cursor, entities);
		(void) cursor_put(table, cursor);
	}
	wake_note_feeds();
}

/* ---------- where it starts ---------- */

/*
 * The window begins at a tick of now.  What the walk finds is read later than
 * that, and what is written while it goes on comes in windows, too: nothing
 * falls between them.
 */
static void
start_at_now(Cursor *cursor, const Source *target, int slot, int slots, int64 batch,
			 const List *entities, const Tick *tick)
{
	MemSet(cursor, 0, sizeof(Cursor));
	cursor->target = target->name;
	cursor->slot = slot;
	cursor->slots = slots;
	cursor->batch = batch;
	cursor->from_tick = tick->id;
	cursor->moved_at = GetCurrentTimestamp();
	add_backfill(cursor, entities);
}

/* The highest number that a batch of the target had. */
static int64
last_batch(const List *cursors)
{
	int64		last = 0;

	foreach_ptr(const Cursor, cursor, cursors)
		last = Max(last, cursor->batch);
	return last;
}

void
cursor_start(const char *source)
{
	const Registry *registry = registry_get();
	const Source *target = registry_source_required(registry, source);
	CursorTable *table = mapped_open(&cursor_def, true);
	List	   *old = cursor_lock_all(table, target->name);
	int			slots = old == NIL ? 1 : ((Cursor *) linitial(old))->slots;
	List	   *entities;
	Tick		tick;

	/* once no pull of the target is under way */
	tick_take(&tick);
	entities = entities_to_walk(registry, target, NULL);
	for (int slot = 0; slot < slots; slot++)
	{
		Cursor		cursor;

		start_at_now(&cursor, target, slot, slots, last_batch(old), entities, &tick);
		/* another session has made the first one just now, and that will do */
		if (!cursor_put(table, &cursor))
			break;
	}
	mapped_close(table);
	wake_note_feeds();
}

Datum
syncext_cursor_start(PG_FUNCTION_ARGS)
{
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	const Link *link = link_of_source(source);

	/* edits that wait for another hub would be passed over */
	if (link != NULL && !link->relay)
		link_refuse_source(source);
	cursor_start(source);
	PG_RETURN_VOID();
}

/* ---------- slots ---------- */

/* Does a's window begin before b's? */
static bool
begins_before(const Cursor *a, const Cursor *b)
{
	Tick		ta;
	Tick		tb;

	if (a->from_tick == b->from_tick)
		return false;
	if (!tick_find(a->from_tick, &ta) || !tick_find(b->from_tick, &tb))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("a tick of source \"%s\" is missing", a->target),
				 errhint("Let the source start anew with SELECT syncext.cursor_start(%s).",
						 quote_literal_cstr(a->target))));
	return !feed_snapshot_reaches(&ta.snapshot, &tb.snapshot);
}

/*
 * Add what the other cursor has to walk through.  Of the entity that the merged
 * one is in the middle of, it may have more to walk; the others are walked from
 * their start.
 */
static void
merge_backfill(Cursor *merged, const Cursor *other)
{
	List	   *names = list_copy(other->backfill_rest);
	const char *entity = other->backfill_entity;

	if (entity == NULL)
		return;
	if (merged->backfill_entity == NULL)
	{
		merged->backfill_entity = other->backfill_entity;
		merged->backfill_id = other->backfill_id;
		merged->backfill_since = other->backfill_since;
	}
	else if (strcmp(entity, merged->backfill_entity) != 0)
		names = lcons(unconstify(char *, entity), names);
	else if (merged->backfill_id != NULL &&
			 (other->backfill_id == NULL || strcmp(other->backfill_id, merged->backfill_id) < 0))
		merged->backfill_id = other->backfill_id;
	add_backfill(merged, names);
}

static int
compare_walks(const ListCell *a, const ListCell *b)
{
	const Cursor *ca = lfirst(a);
	const Cursor *cb = lfirst(b);

	/* the longest first */
	return list_length(cb->backfill_rest) - list_length(ca->backfill_rest);
}

/* Where all of the cursors have been: what the least advanced has to do yet. */
static void
find_least_advanced(const List *cursors, Cursor *least)
{
	List	   *by_walk = list_copy(cursors);

	list_sort(by_walk, compare_walks);
	*least = (Cursor)
	{
		.target = ((Cursor *) linitial(cursors))->target,
		.from_tick = ((Cursor *) linitial(cursors))->from_tick,
		.batch = last_batch(cursors)
	};
	foreach_ptr(const Cursor, cursor, by_walk)
	{
		if (begins_before(cursor, least))
			least->from_tick = cursor->from_tick;
		least->moved_at = Max(least->moved_at, cursor->moved_at);
		merge_backfill(least, cursor);
	}
}

static void
refuse_if_leased(const List *cursors, int slots)
{
	TimestampTz now = GetCurrentTimestamp();

	foreach_ptr(const Cursor, cursor, cursors)
	{
		if (cursor->lease_until > now)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_IN_USE),
					 errmsg("source \"%s\" is pulled with slots => %d, not %d", cursor->target,
							cursor->slots, slots),
					 errdetail("Batch " INT64_FORMAT " of slot %d is out.", cursor->batch,
							   cursor->slot),
					 errhint("Pull with slots => %d; or, to change their number, acknowledge what is out or let its lease end first.",
							 cursor->slots)));
	}
}

/* Make the cursors of so many slots of those that there are. */
static void
change_slots(CursorTable *table, const List *old, int slots)
{
	Cursor		least;
	ListCell   *lc;

	refuse_if_leased(old, slots);
	find_least_advanced(old, &least);
	least.slots = slots;
	for (least.slot = 0; least.slot < slots; least.slot++)
		(void) cursor_put(table, &least);
	foreach(lc, old)
	{
		if (((Cursor *) lfirst(lc))->slot >= slots)
			cursor_remove(table, lfirst(lc));
	}
}

void
cursor_set_slots(const char *target, int slots)
{
	CursorTable *table = mapped_open(&cursor_def, true);
	List	   *cursors = cursor_lock_all(table, target);
	int			present = list_length(cursors);
	bool		complete = present > 0 && ((Cursor *) linitial(cursors))->slots == present;

	if (complete && present != slots)
		change_slots(table, cursors, slots);
	mapped_close(table);
	/* the source was added by plain SQL, or a cursor deleted */
	if (!complete)
		cursor_start(target);
}

/* ---------- subscriptions, and all records again ---------- */

/* The entities of a subscription, each of which has to be there. */
static void
read_subscription(const Registry *registry, ArrayType *array, Source *source)
{
	source->entities = (const char **) names_of_array(PointerGetDatum(array), "a subscription",
													  &source->nentities);
	for (int i = 0; i < source->nentities; i++)
		(void) registry_entity_required(registry, source->entities[i]);
}

static const Source *
source_argument(FunctionCallInfo fcinfo, const Registry *registry)
{
	return registry_source_required(registry, arg_text(fcinfo, 0, "source"));
}

/*
 * Called when a source's subscription is about to become entities (null:
 * every): lets it walk through the records of those that it hasn't had.
 */
Datum
syncext_cursor_subscribe(PG_FUNCTION_ARGS)
{
	const Registry *registry = registry_get();
	const Source *source = source_argument(fcinfo, registry);
	Source		future = *source;
	CursorTable *table;
	List	   *cursors;

	future.nentities = -1;
	if (!PG_ARGISNULL(1))
		read_subscription(registry, PG_GETARG_ARRAYTYPE_P(1), &future);
	table = mapped_open(&cursor_def, true);
	cursors = cursor_lock_all(table, source->name);
	/* by what is in force now that no pull is under way */
	registry = registry_get();
	source = registry_source_required(registry, source->name);
	add_backfill_to_all(table, cursors, entities_to_walk(registry, &future, source));
	mapped_close(table);
	PG_RETURN_VOID();
}

/* The entities whose records the source is to get again. */
static List *
entities_to_resync(const Registry *registry, const Source *source, const char *entity)
{
	if (entity == NULL)
		return entities_to_walk(registry, source, NULL);
	(void) registry_entity_required(registry, entity);
	if (!source_gets_entity(source, entity))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("source \"%s\" does not get entity \"%s\"", source->name, entity),
				 errhint("Subscribe to it with sync_subscribe, and all of its records come.")));
	return entity_has_records(entity) ? list_make1(unconstify(char *, entity)) : NIL;
}

/* Let a source walk through the golden records again, beside what changes. */
Datum
sync_resync(PG_FUNCTION_ARGS)
{
	const Registry *registry = registry_get();
	const Source *source = source_argument(fcinfo, registry);
	char	   *entity = arg_text_or_null(fcinfo, 1);
	CursorTable *table;
	List	   *cursors;

	(void) entities_to_resync(registry, source, entity);
	table = mapped_open(&cursor_def, true);
	cursors = cursor_lock_all(table, source->name);
	registry = registry_get();
	source = registry_source_required(registry, source->name);
	if (cursors != NIL)
		add_backfill_to_all(table, cursors, entities_to_resync(registry, source, entity));
	mapped_close(table);
	/* a source without a cursor has all records before it anyway */
	if (cursors == NIL)
		cursor_start(source->name);
	PG_RETURN_VOID();
}
