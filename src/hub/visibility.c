/*
 * visibility.c
 *	  Who sees what: may a source, or the current user, see this record, and
 *	  which fields of it?
 *
 * All that answers asks here; the views that are granted to PUBLIC do so by
 * syncext.may_see.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "compat.h"
#include "hub/subscription_filter.h"
#include "hub/visibility.h"
#include "model/referred_id.h"
#include "storage/conflict_log.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(syncext_may_see);

/* ---------- the current user ---------- */

static List *
sources_held(const Registry *registry, const char *entity)
{
	List	   *sources = NIL;

	for (int i = 0; i < registry->nsources; i++)
	{
		const Source *source = &registry->sources[i];

		if (source_gets_entity(source, entity) && source_role_held(source))
			sources = lappend(sources, (void *) source);
	}
	return sources;
}

List *
visibility_sources(const Registry *registry, const char *entity)
{
	List	   *sources;

	if (role_reads_records(entity))
		return NIL;
	sources = sources_held(registry, entity);
	if (sources != NIL)
		return sources;
	registry_check_stranger(registry, NULL);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to read records of entity \"%s\"", entity),
			 errhint("Be a member of the role of a source that gets the entity, or have SELECT on syncext.canonical.")));
}

/* Is the field shown by one of the routes?  A NULL among them shows all. */
static bool
field_is_shown(const List *routes, FieldName name)
{
	foreach_ptr(const Route, route, routes)
	{
		if (route == NULL || !field_names_has(&route->mask, name))
			return true;
	}
	return false;
}

/* The routes of those sources that see the record; NULL for one without. */
static List *
routes_to(const List *sources, const char *entity, const Record *record)
{
	List	   *routes = NIL;

	foreach_ptr(const Source, source, sources)
		if (visibility_shows(source, entity, record))
			routes = lappend(routes, (void *) source_route(source, entity));
	return routes;
}

/* The last fields of a tombstone are shown only to sources that see every record. */
static List *
drop_filtered(List *routes)
{
	ListCell   *lc;

	foreach(lc, routes)
	{
		const Route *route = lfirst(lc);

		if (route != NULL && route->filter != NULL)
			routes = foreach_delete_current(routes, lc);
	}
	return routes;
}

bool
visibility_cut(const List *sources, const char *entity, Record *record)
{
	List	   *routes = routes_to(sources, entity, record);
	bool		seen = routes != NIL;
	int			shown = 0;

	if (record->deleted)
		routes = drop_filtered(routes);
	for (int i = 0; i < record->nfields; i++)
		if (field_is_shown(routes, record->fields[i].field.name))
			record->fields[shown++] = record->fields[i];
	record->nfields = shown;
	return seen;
}

void
visibility_check_fields(const List *sources, const Change *change)
{
	Fields		named;
	List	   *routes = NIL;

	foreach_ptr(const Source, source, sources)
		routes = lappend(routes, (void *) source_route(source, change->entity));
	named = change_named(change);
	for (int i = 0; routes != NIL && i < named.n; i++)
	{
		FieldName	name = named.field[i].name;

		if (!field_is_shown(routes, name))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to compare with field \"%s\" of entity \"%s\"",
							field_name_cstring(name), change->entity),
					 errhint("The field is masked by the source's route; leave it out of what is explained.")));
	}
}

bool
visibility_user_sees(const Registry *registry, const char *entity, const Record *record)
{
	return role_reads_records(entity) ||
		routes_to(sources_held(registry, entity), entity, record) != NIL;
}

/* ---------- a source ---------- */

bool
visibility_shows(const Source *source, const char *entity, const Record *record)
{
	const Route *route = source_route(source, entity);

	if (!source_gets_entity(source, entity))
		return false;
	if (route == NULL || route->filter == NULL)
		return true;
	return record->exists && route_admits(route, record_fields_jsonb(record));
}

/* Does the source see the record of that id?  It is read in a memory context of its own. */
static bool
shows_stored(const Source *source, const char *entity, const char *external_id, Canonical *records)
{
	MemoryContext scratch = AllocSetContextCreate(CurrentMemoryContext, "syncext visibility",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(scratch);
	Record		record;
	bool		shown;

	canonical_find(records, entity, external_id, &record);
	shown = visibility_shows(source, entity, &record);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(scratch);
	return shown;
}

/* Does what the source sees of an entity hang on what is in a record? */
static bool
filters(const Source *source, const char *entity)
{
	const Route *route = source_route(source, entity);

	return route != NULL && route->filter != NULL;
}

bool
visibility_shows_living(const Source *source, const char *entity, const char *external_id,
						Canonical *records)
{
	return canonical_lives(records, entity, external_id) && source_gets_entity(source, entity) &&
		(!filters(source, entity) || shows_stored(source, entity, external_id, records));
}

bool
visibility_withheld(const Route *route, const List *conflicts, FieldNames *withheld)
{
	int			nmasked = route == NULL ? 0 : route->mask.n;
	int			n = nmasked;
	bool		whole = false;

	*withheld = (FieldNames) {0};
	foreach_ptr(const Conflict, conflict, conflicts)
	{
		n += conflict->fields.n;
		whole |= conflict->whole;
	}
	if (n == 0)
		return !whole;
	field_names_init(withheld, n);
	for (int i = 0; i < nmasked; i++)
		field_names_add(withheld, route->mask.name[i]);
	foreach_ptr(const Conflict, conflict, conflicts)
	{
		const FieldNames *contested = &conflict->fields;

		for (int i = 0; i < contested->n; i++)
			field_names_add(withheld, contested->name[i]);
	}
	return !whole;
}

/* Does the source see the record, or, where there is none, the one to be? */
static bool
shows_record(const Source *source, const Change *change, const Record *before)
{
	const Route *route = source_route(source, change->entity);
	const Fields named = change_named(change);

	if (before->exists || route == NULL || route->filter == NULL)
		return visibility_shows(source, change->entity, before);
	return source_gets_entity(source, change->entity) &&
		route_admits(route, fields_to_jsonb(&named));
}

static bool
names_masked(const Source *source, const Change *change)
{
	const Route *route = source_route(source, change->entity);
	const Fields named = change_named(change);

	for (int i = 0; route != NULL && i < named.n; i++)
		if (field_names_has(&route->mask, named.field[i].name))
			return true;
	return false;
}

/*
 * Does the change refer to a record that the source doesn't see?  Whether it waits
 * would tell if there is one.
 */
static bool
refers_to_hidden(const ApplyItem *item, Canonical *parents)
{
	const Source *source = item->source;
	const Entity *entity = item->entity;

	/* that it waits for a key of the source's tells of no record */
	if (item->change->awaited_key != NULL)
		return false;
	for (int i = 0; entity != NULL && i < entity->nreferences && !item->change->deleted; i++)
	{
		const char *parent = entity->references[i].parent;
		char	   *id = referred_id_of_change(item->change, entity->references[i].field,
											   parent);

		if (id != NULL && (!source_gets_entity(source, parent) ||
						   (filters(source, parent) && !shows_stored(source, parent, id, parents))))
			return true;
	}
	return false;
}

bool
visibility_answers(const ApplyItem *item, const Record *before, Canonical *parents)
{
	const Source *source = item->source;
	const Change *change = item->change;

	if (visibility_unlimited(source))
		return true;
	/* an answer that is kept is given again to any role that acts as the source then */
	return (change->change_id == NULL && role_reads_records(change->entity)) ||
		(shows_record(source, change, before) && !names_masked(source, change) &&
		 !refers_to_hidden(item, parents));
}

/* ---------- for views ---------- */

/*
 * May the user see what became of a source's change, of which the record is now as
 * it stands?  fields are those that it named.
 */
Datum
syncext_may_see(PG_FUNCTION_ARGS)
{
	const Registry *registry = registry_get();
	Change		change = {0};
	const Source *source;
	ApplyItem	item;
	Canonical  *canonical;
	Record		record;
	bool		seen;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		PG_RETURN_BOOL(role_is_administrator());
	change.source = text_to_cstring(PG_GETARG_TEXT_PP(0));
	change.entity = text_to_cstring(PG_GETARG_TEXT_PP(1));
	change.external_id = text_to_cstring(PG_GETARG_TEXT_PP(2));
	/* what is left of a source that was dropped is the administrators' */
	source = registry_source(registry, change.source);
	if (source == NULL || !source_role_held(source))
		PG_RETURN_BOOL(role_reads_records(change.entity));
	if (visibility_unlimited(source) || role_reads_records(change.entity))
		PG_RETURN_BOOL(true);
	if (!PG_ARGISNULL(3) && JB_ROOT_IS_OBJECT(PG_GETARG_JSONB_P(3)))
		fields_from_container(&PG_GETARG_JSONB_P(3)->root, &change.fields);
	canonical = canonical_open(false);
	canonical_find(canonical, change.entity, change.external_id, &record);
	/* of an entity that was dropped, too */
	item = (ApplyItem) {&change, source, registry_entity(registry, change.entity)};
	seen = visibility_answers(&item, &record, canonical);
	canonical_close(canonical);
	PG_RETURN_BOOL(seen);
}
