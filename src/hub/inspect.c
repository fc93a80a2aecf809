/*
 * inspect.c
 *	  Looking at the hub: the golden record with its provenance, and rights.
 *
 * Called from SQL.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/inspect.h"
#include "hub/route.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "storage/canonical.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(sync_record);
PG_FUNCTION_INFO_V1(syncext_may_act_as);

static void
push_stamp(JsonbParseState **state, const RecordField *field)
{
	json_push_key(state, field_name_cstring(field->field.name));
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(state, "version", field->stamp.version);
	json_push_string(state, "source", field->stamp.source);
	json_push_number(state, "rowVersion", field->stamp.row_version);
	json_push_string(state, "setBy", field->stamp.set_by);
	if (field->stamp.has_updated_at)
		json_push_string(state, "updatedAt", rfc3339_format(field->stamp.updated_at));
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static Jsonb *
record_to_jsonb(const char *entity, const char *external_id, const Record *record)
{
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(&state, "entity", entity);
	json_push_string(&state, "externalId", external_id);
	json_push_number(&state, "version", record->version);
	json_push_number(&state, "rowVersion", record->row_version);
	json_push_string(&state, "lastSource", record->last_source);
	json_push_bool(&state, "deleted", record->deleted);
	json_push_string(&state, "updatedAt",
					 record->has_updated_at ? rfc3339_format(record->updated_at) : NULL);
	json_push_jsonb(&state, "fields", record_fields_jsonb(record));
	json_push_key(&state, "stamps");
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < record->nfields; i++)
		push_stamp(&state, &record->fields[i]);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * The sources as which the user gets the entity anyway, by pulling.  NIL: it may
 * read the table, and so everything.
 */
static List *
check_may_read(const Registry *registry, const char *entity)
{
	List	   *sources = NIL;

	if (pg_class_aclcheck(registry_relation("canonical"), GetUserId(), ACL_SELECT) == ACLCHECK_OK)
		return NIL;
	for (int i = 0; i < registry->nsources; i++)
	{
		const Source *source = &registry->sources[i];

		if (source_gets_entity(source, entity) && source_role_held(source))
			sources = lappend(sources, (void *) source);
	}
	if (sources != NIL)
		return sources;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to read records of entity \"%s\"", entity),
			 errhint("Be a member of the role of a source that gets the entity, or have SELECT on syncext.canonical.")));
}

/* Is the field shown to one of the sources, of those whose filter it meets? */
static bool
field_is_shown(const List *routes, FieldName name)
{
	ListCell   *lc;

	foreach(lc, routes)
	{
		const Route *route = lfirst(lc);

		if (route == NULL || !field_names_has(&route->mask, name))
			return true;
	}
	return false;
}

void
inspect_check_may_read(const Registry *registry, const char *entity)
{
	(void) check_may_read(registry, entity);
}

void
inspect_check_mask(const Registry *registry, const Change *change)
{
	List	   *routes = NIL;
	ListCell   *lc;

	foreach(lc, check_may_read(registry, change->entity))
		routes = lappend(routes, (void *) source_route(lfirst(lc), change->entity));
	for (int i = 0; routes != NIL && i < change->fields.n; i++)
	{
		FieldName	name = change->fields.field[i].name;

		if (!field_is_shown(routes, name))
			ereport(ERROR,
					(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
					 errmsg("permission denied to compare with field \"%s\" of entity \"%s\"",
							field_name_cstring(name), change->entity),
					 errhint("The field is masked by the source's route; leave it out of what is explained.")));
	}
}

/*
 * Leave in the record what one of the sources is let see.  Returns false if none
 * of them gets the record.
 */
static bool
show_to(const List *sources, const char *entity, Record *record)
{
	Jsonb	   *fields = record_fields_jsonb(record);
	List	   *routes = NIL;
	int			shown = 0;
	ListCell   *lc;

	foreach(lc, sources)
	{
		const Route *route = source_route(lfirst(lc), entity);

		if (record->deleted || route_admits(route, fields))
			routes = lappend(routes, (void *) route);
	}
	for (int i = 0; i < record->nfields; i++)
		if (field_is_shown(routes, record->fields[i].field.name))
			record->fields[shown++] = record->fields[i];
	record->nfields = shown;
	return routes != NIL;
}

Datum
sync_record(PG_FUNCTION_ARGS)
{
	char	   *entity = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *external_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	const Registry *registry = registry_get();
	Canonical  *canonical;
	List	   *sources;
	Record		record;

	registry_entity_required(registry, entity);
	sources = check_may_read(registry, entity);
	canonical = canonical_open(false);
	canonical_find(canonical, entity, external_id, &record);
	canonical_close(canonical);
	if (!record.exists || (sources != NIL && !show_to(sources, entity, &record)))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(record_to_jsonb(entity, external_id, &record));
}

Datum
syncext_may_act_as(PG_FUNCTION_ARGS)
{
	const Source *source;

	if (PG_ARGISNULL(0))
		PG_RETURN_BOOL(role_is_administrator());
	source = registry_source(registry_get(), text_to_cstring(PG_GETARG_TEXT_PP(0)));
	/* the log still holds rows of sources that were dropped */
	PG_RETURN_BOOL(source ? source_role_held(source) : role_is_administrator());
}
