/*
 * inspect.c
 *	  Looking at the hub: the golden record with its provenance, and rights.
 *
 * Called from SQL.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "hub/bind.h"
#include "hub/visibility.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "process/args.h"
#include "storage/alias.h"
#include "storage/registry.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_record);
PG_FUNCTION_INFO_V1(syncext_may_act_as);
PG_FUNCTION_INFO_V1(syncext_may_monitor);
PG_FUNCTION_INFO_V1(syncext_may_decide);

static void
push_stamp(JsonbParseState **state, const RecordField *field)
{
	json_push_object(state, field_name_cstring(field->field.name));
	json_push_number(state, "version", field->stamp.version);
	json_push_string(state, "source", field->stamp.source);
	json_push_number(state, "rowVersion", field->stamp.row_version);
	json_push_string(state, "setBy", field->stamp.set_by);
	if (field->stamp.has_updated_at)
		json_push_string(state, "updatedAt", rfc3339_format(field->stamp.updated_at));
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static void
push_life_stamp(JsonbParseState **state, const char *name, const LifeStamp *stamp)
{
	if (!stamp->is_set)
		return;
	json_push_object(state, name);
	json_push_number(state, "version", stamp->version);
	if (stamp->source != NULL)
		json_push_string(state, "source", stamp->source);
	if (stamp->has_updated_at)
		json_push_string(state, "updatedAt", rfc3339_format(stamp->updated_at));
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* Of a field ladder: by which stamps the record is there or not. */
static void
push_life(JsonbParseState **state, const Life *life)
{
	json_push_object(state, "life");
	push_life_stamp(state, "lived", &life->lived);
	push_life_stamp(state, "died", &life->died);
	push_life_stamp(state, "cut", &life->cut);
	push_life_stamp(state, "born", &life->born);
	push_life_stamp(state, "seen", &life->seen);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

static Jsonb *
record_to_jsonb(const char *entity, const char *external_id, const Record *record)
{
	JsonbParseState *state = json_begin_object();

	json_push_string(&state, "entity", entity);
	json_push_string(&state, "externalId", external_id);
	json_push_number(&state, "version", record->version);
	json_push_number(&state, "rowVersion", record->row_version);
	json_push_string(&state, "lastSource", record->last_source);
	json_push_bool(&state, "deleted", record->deleted);
	json_push_string(&state, "updatedAt",
					 record->has_updated_at ? rfc3339_format(record->updated_at) : NULL);
	json_push_jsonb(&state, "fields", record_fields_jsonb(record));
	json_push_object(&state, "stamps");
	for (int i = 0; i < record->nfields; i++)
		push_stamp(&state, &record->fields[i]);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	if (record->life != NULL)
		push_life(&state, record->life);
	return json_end_object(&state);
}

/* The record that is asked for, by its external id or a source's own key; NULL: none. */
static char *
record_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(2) && PG_ARGISNULL(3))
		return arg_text_or_null(fcinfo, 1);
	if (!PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a record is asked for by external_id, or by source and source_id, not by both")));
	return record_of_key(arg_text(fcinfo, 2, "source"), arg_text(fcinfo, 0, "entity"),
						 arg_text(fcinfo, 3, "source_id"));
}

Datum
sync_record(PG_FUNCTION_ARGS)
{
	char	   *entity = arg_text_or_null(fcinfo, 0);
	char	   *external_id = entity == NULL ? NULL : record_argument(fcinfo);
	const Registry *registry = registry_get();
	List	   *sources;
	const char *kept;
	Record		record;

	if (entity == NULL)
		PG_RETURN_NULL();
	registry_entity_required(registry, entity);
	sources = visibility_sources(registry, entity);
	if (external_id == NULL)
		PG_RETURN_NULL();
	kept = alias_read(entity, external_id, &record);
	if (!record.exists || (sources != NIL && !visibility_cut(sources, entity, &record)))
		PG_RETURN_NULL();
	PG_RETURN_JSONB_P(record_to_jsonb(entity, kept != NULL ? kept : external_id, &record));
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

Datum
syncext_may_monitor(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(role_is_monitor());
}

/* With null: any conflict at all? */
Datum
syncext_may_decide(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(role_is_steward(PG_ARGISNULL(0) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(0))));
}
