/*
 * inspect.c
 *	  Looking at the hub: the golden record with its provenance, and rights.
 *
 * Called from SQL.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "hub/visibility.h"
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
	sources = visibility_sources(registry, entity);
	canonical = canonical_open(false);
	canonical_find(canonical, entity, external_id, &record);
	canonical_close(canonical);
	if (!record.exists || (sources != NIL && !visibility_cut(sources, entity, &record)))
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
