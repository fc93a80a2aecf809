/*
 * binding.c
 *	  Attached relations (table syncext.binding), cached in the backend.
 *
 * Read like the registry's tables, by a systable scan with the catalog snapshot, and
 * for the same reason; the same invalidation, on syncext.source, outdates it.
 */
#include "postgres.h"

#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "model/json.h"
#include "model/json_read.h"
#include "storage/binding.h"
#include "storage/config_cache.h"
#include "storage/config_scan.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/replica.h"
#include "storage/rows.h"

/* ---------- reading ---------- */

static const char *const capture_names[] = {
	[CAPTURE_NONE] = "none",
	[CAPTURE_TRIGGER] = "trigger",
	[CAPTURE_POLL] = "poll"
};

bool
binding_capture_by_name(const char *name, BindingCapture *capture)
{
	for (*capture = CAPTURE_NONE; *capture < lengthof(capture_names); (*capture)++)
		if (strcmp(capture_names[*capture], name) == 0)
			return true;
	return false;
}

const char *
binding_capture_name(BindingCapture capture)
{
	return capture_names[capture];
}

/*
 * A binding that was edited to what it can't be keeps its own relation from being worked
 * on, and no others: so it is noted, and not raised, here.
 */
static void
read_key(Datum array, Binding *binding)
{
	binding->key = (const char **) names_of_array(array, NULL, &binding->nkeys);
	if (binding->nkeys == 0 || array_contains_nulls(DatumGetArrayTypeP(array)))
		binding->problem = "its key in syncext.binding is empty, or has a null";
}

static bool
is_map_of_columns(Jsonb *columns)
{
	Fields		map;

	if (!JB_ROOT_IS_OBJECT(columns))
		return false;
	fields_from_container(&columns->root, &map);
	for (int i = 0; i < map.n; i++)
		if (map.field[i].name.len == 0 || json_read_string(&map.field[i].value) == NULL)
			return false;
	return true;
}

/* An object that is a help alone: without it all is new, or nothing noted yet. */
static Jsonb *
object_or_null(const ConfigRow *row, int column)
{
	Jsonb	   *jsonb = row->isnull[column] ? NULL : DatumGetJsonbPCopy(row->values[column]);

	return jsonb != NULL && JB_ROOT_IS_OBJECT(jsonb) ? jsonb : NULL;
}

static void
read_binding(void *arg, const ConfigRow *row)
{
	List	  **bindings = arg;
	Binding    *binding = palloc0(sizeof(Binding));
	char	   *direction = config_text(row, COL_BINDING_DIRECTION);

	binding->relation = DatumGetObjectId(row->values[COL_BINDING_RELATION]);
	binding->source = config_text(row, COL_BINDING_SOURCE);
	binding->entity = config_text(row, COL_BINDING_ENTITY);
	read_key(row->values[COL_BINDING_KEY], binding);
	if (!row->isnull[COL_BINDING_COLUMNS])
		binding->columns = DatumGetJsonbPCopy(row->values[COL_BINDING_COLUMNS]);
	if (binding->columns != NULL && !is_map_of_columns(binding->columns))
	{
		binding->problem = "its columns in syncext.binding are no object of names of fields and columns";
		binding->columns = NULL;
	}
	if (!binding_capture_by_name(config_text(row, COL_BINDING_CAPTURE), &binding->capture))
		binding->capture = CAPTURE_NONE;
	binding->in = strcmp(direction, "out") != 0;
	binding->out = strcmp(direction, "in") != 0;
	binding->version_column = config_text(row, COL_BINDING_VERSION_COLUMN);
	binding->updated_column = config_text(row, COL_BINDING_UPDATED_COLUMN);
	binding->deleted_column = config_text(row, COL_BINDING_DELETED_COLUMN);
	binding->row_type = row->isnull[COL_BINDING_ROW_TYPE] ? InvalidOid :
		DatumGetObjectId(row->values[COL_BINDING_ROW_TYPE]);
	binding->name = config_text(row, COL_BINDING_NAME);
	binding->attached_at = DatumGetTimestampTz(row->values[COL_BINDING_ATTACHED_AT]);
	binding->attached_by = config_text(row, COL_BINDING_ATTACHED_BY);
	binding->attached_as = config_text(row, COL_BINDING_ATTACHED_AS);
	binding->loaded = object_or_null(row, COL_BINDING_LOADED);
	binding->differing = object_or_null(row, COL_BINDING_DIFFERING);
	if (!row->isnull[COL_BINDING_RESUMED])
		binding->resumed = DatumGetInt64(row->values[COL_BINDING_RESUMED]);
	binding->own_keys = DatumGetBool(row->values[COL_BINDING_OWN_KEYS]);
	binding->external_id_column = config_text(row, COL_BINDING_EXTERNAL_ID_COLUMN);
	*bindings = lappend(*bindings, binding);
}

static void *
load_bindings(void)
{
	List	   *bindings = NIL;

	config_read("binding", read_binding, &bindings);
	return bindings;
}

static ConfigCache cache = {.name = "bindings", .load = load_bindings};

static List *
bindings_get(void)
{
	return config_cache_get(&cache);
}

const Binding *
binding_of_relation(Oid relation)
{
	foreach_ptr(const Binding, binding, bindings_get())
	{
		if (binding->relation == relation)
			return binding;
	}
	return NULL;
}

const Binding *
binding_of_entity(const char *source, const char *entity)
{
	foreach_ptr(const Binding, binding, bindings_get())
	{
		if (strcmp(binding->source, source) == 0 && strcmp(binding->entity, entity) == 0)
			return binding;
	}
	return NULL;
}

List *
binding_list(const char *source, const char *entity)
{
	List	   *result = NIL;

	foreach_ptr(Binding, binding, bindings_get())
	{
		if ((source == NULL || strcmp(binding->source, source) == 0) &&
			(entity == NULL || strcmp(binding->entity, entity) == 0))
			result = lappend(result, binding);
	}
	return result;
}

Binding *
binding_copy(const Binding *binding)
{
	Binding    *copy = palloc(sizeof(Binding));

	*copy = *binding;
	copy->source = pstrdup(binding->source);
	copy->entity = pstrdup(binding->entity);
	copy->key = palloc(sizeof(char *) * binding->nkeys);
	for (int i = 0; i < binding->nkeys; i++)
		copy->key[i] = pstrdup(binding->key[i]);
	copy->columns = json_copy(binding->columns);
	copy->loaded = json_copy(binding->loaded);
	copy->differing = json_copy(binding->differing);
	if (binding->version_column != NULL)
		copy->version_column = pstrdup(binding->version_column);
	if (binding->updated_column != NULL)
		copy->updated_column = pstrdup(binding->updated_column);
	if (binding->deleted_column != NULL)
		copy->deleted_column = pstrdup(binding->deleted_column);
	if (binding->external_id_column != NULL)
		copy->external_id_column = pstrdup(binding->external_id_column);
	if (binding->name != NULL)
		copy->name = pstrdup(binding->name);
	if (binding->attached_by != NULL)
		copy->attached_by = pstrdup(binding->attached_by);
	if (binding->attached_as != NULL)
		copy->attached_as = pstrdup(binding->attached_as);
	return copy;
}

bool
binding_stands(const Binding *binding)
{
	Oid			row_type = get_rel_type_id(binding->relation);

	return OidIsValid(row_type) &&
		(!OidIsValid(binding->row_type) || binding->row_type == row_type);
}

/* Do the relation's edits reach the hub by themselves? */
bool
binding_captures(const Binding *binding)
{
	return binding->in && binding->capture != CAPTURE_NONE;
}

bool
binding_awaits_load(const Binding *binding)
{
	return binding->own_keys && binding->out && binding->loaded == NULL &&
		(binding->in || binding->external_id_column == NULL);
}

/* ---------- writing ---------- */

static Datum
key_datum(const Binding *binding)
{
	List	   *columns = NIL;

	for (int i = 0; i < binding->nkeys; i++)
		columns = lappend(columns, unconstify(char *, binding->key[i]));
	return names_to_array(columns);
}

static void
set_text(Datum *values, bool *isnull, int column, const char *text)
{
	isnull[column - 1] = text == NULL;
	if (text != NULL)
		values[column - 1] = CStringGetTextDatum(text);
}

void
binding_add(const Binding *binding)
{
	Rows	   *rows = rows_open_write(registry_relation("binding"));
	Datum		values[NCOLUMNS_BINDING] = {0};
	bool		isnull[NCOLUMNS_BINDING] = {false};
	const char *direction = "both";

	if (!binding->in || !binding->out)
		direction = binding->in ? "in" : "out";
	values[COL_BINDING_RELATION - 1] = ObjectIdGetDatum(binding->relation);
	set_text(values, isnull, COL_BINDING_SOURCE, binding->source);
	set_text(values, isnull, COL_BINDING_ENTITY, binding->entity);
	values[COL_BINDING_KEY - 1] = key_datum(binding);
	isnull[COL_BINDING_COLUMNS - 1] = binding->columns == NULL;
	values[COL_BINDING_COLUMNS - 1] = JsonbPGetDatum(binding->columns);
	set_text(values, isnull, COL_BINDING_CAPTURE, binding_capture_name(binding->capture));
	set_text(values, isnull, COL_BINDING_DIRECTION, direction);
	set_text(values, isnull, COL_BINDING_VERSION_COLUMN, binding->version_column);
	set_text(values, isnull, COL_BINDING_UPDATED_COLUMN, binding->updated_column);
	set_text(values, isnull, COL_BINDING_DELETED_COLUMN, binding->deleted_column);
	values[COL_BINDING_ATTACHED_AT - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	values[COL_BINDING_ROW_TYPE - 1] = ObjectIdGetDatum(binding->row_type);
	set_text(values, isnull, COL_BINDING_NAME, binding->name);
	set_text(values, isnull, COL_BINDING_ATTACHED_BY, binding->attached_by);
	set_text(values, isnull, COL_BINDING_ATTACHED_AS, binding->attached_as);
	values[COL_BINDING_OWN_KEYS - 1] = BoolGetDatum(binding->own_keys);
	set_text(values, isnull, COL_BINDING_EXTERNAL_ID_COLUMN, binding->external_id_column);
	isnull[COL_BINDING_LOADED - 1] = isnull[COL_BINDING_DIFFERING - 1] = true;
	isnull[COL_BINDING_RESUMED - 1] = isnull[COL_BINDING_SHAPE - 1] = true;
	rows_insert(rows, values, isnull);
	rows_close(rows);
}

static void
set_jsonb(Oid relation, int column, Jsonb *value)
{
	Rows	   *rows = rows_open_write(registry_relation("binding"));
	Datum		key = ObjectIdGetDatum(relation);
	Datum		values[MAX_COLUMNS];
	bool		isnull[MAX_COLUMNS];

	do
	{
		if (!rows_find(rows, 1, &key))
			break;
		rows_values(rows, values, isnull);
		values[column - 1] = JsonbPGetDatum(value);
		isnull[column - 1] = value == NULL;
	} while (rows_update(rows, values, isnull) != ROWS_DONE);
	rows_close(rows);
}

void
binding_set_loaded(Oid relation, Jsonb *loaded)
{
	set_jsonb(relation, COL_BINDING_LOADED, loaded);
}

void
binding_note_differing(const Binding *binding, FieldName field)
{
	JsonbParseState *state = NULL;
	Fields		known = {0, NULL};

	if (binding->differing != NULL)
		fields_from_container(&binding->differing->root, &known);
	if (fields_find(&known, field) != NULL)
		return;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < known.n; i++)
		json_push_bool(&state, field_name_cstring(known.field[i].name), true);
	json_push_bool(&state, field_name_cstring(field), true);
	set_jsonb(binding->relation, COL_BINDING_DIFFERING,
			  json_end_object(&state));
}

void
binding_remove(Oid relation, bool keep_rows)
{
	Rows	   *rows = rows_open_write(registry_relation("binding"));
	Datum		key = ObjectIdGetDatum(relation);

	while (rows_find(rows, 1, &key) && rows_delete(rows) != ROWS_DONE)
		continue;
	rows_close(rows);
	if (!keep_rows)
		replica_remove_all(relation);
}
