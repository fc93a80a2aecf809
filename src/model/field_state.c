/*
 * field_state.c
 *	  A record of a field ladder with all that decides it, as two hubs tell it one
 *	  another.
 */
#include "postgres.h"

#include "model/field_state.h"
#include "model/json.h"
#include "model/json_read.h"

/* The longest name that a source has, in bytes. */
#define MAX_SOURCE_NAME		63

static void
push_stamp(JsonbParseState **state, const RecordField *field)
{
	const LifeStamp told = {
		.version = field->stamp.version,
		.has_updated_at = field->stamp.has_updated_at,
		.updated_at = field->stamp.updated_at,
		.source = field->stamp.source
	};

	life_push_stamp(state, field_name_cstring(field->field.name), &told);
}

Jsonb *
field_state_jsonb(const FieldState *told)
{
	const Record *record = &told->record;
	JsonbParseState *state = json_begin_object();
	Life		life = record_life(record);

	json_push_string(&state, "ladder", told->ladder);
	json_push_jsonb(&state, "life", life_jsonb(&life));
	json_push_object(&state, "stamps");
	for (int i = 0; i < record->nfields; i++)
		push_stamp(&state, &record->fields[i]);
	pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	if (record->deleted)
		json_push_jsonb(&state, "fields", record_fields_jsonb(record));
	return json_end_object(&state);
}

/* ---------- reading ---------- */

static JsonbContainer *
member_object(JsonbContainer *object, const char *key)
{
	return json_read_object(getKeyJsonValueFromContainer(object, key, strlen(key), NULL));
}

/* As the CHECK of syncext.source has it: the last two have a meaning of their own. */
static bool
is_source_name(const char *name)
{
	return name != NULL && name[0] != '\0' && strlen(name) <= MAX_SOURCE_NAME &&
		strcmp(name, "*") != 0 && strcmp(name, "sync_resolve") != 0;
}

static bool
read_stamp(const JsonbValue *value, Stamp *stamp)
{
	LifeStamp	said = {0};

	if (!life_read_stamp(value, &said) || !is_source_name(said.source))
		return false;
	*stamp = (Stamp) {
		.version = said.version,
		.has_updated_at = said.has_updated_at,
		.updated_at = said.updated_at,
		.source = said.source,
		.set_by = said.source
	};
	return true;
}

/* Each field has its stamp. */
static bool
read_fields(const Fields *fields, JsonbContainer *stamps, Record *record)
{
	Fields		stamped;

	fields_from_container(stamps, &stamped);
	record->nfields = fields->n;
	record->fields = palloc(sizeof(RecordField) * Max(fields->n, 1));
	for (int i = 0; i < fields->n; i++)
	{
		const Field *stamp = fields_find(&stamped, fields->field[i].name);

		record->fields[i].field = fields->field[i];
		if (!field_name_valid(fields->field[i].name) || stamp == NULL ||
			!read_stamp(&stamp->value, &record->fields[i].stamp))
			return false;
	}
	return true;
}

/* Those that a record is told by have their sources. */
static bool
read_life(JsonbContainer *object, Life *life)
{
	return life_read(object, life) && (life->lived.is_set || life->died.is_set) &&
		(!life->lived.is_set || is_source_name(life->lived.source)) &&
		(!life->died.is_set || is_source_name(life->died.source));
}

FieldState *
field_state_read(const JsonbValue *value, const Fields *fields, bool deleted)
{
	JsonbContainer *object = json_read_object(value);
	JsonbContainer *life_object = object == NULL ? NULL : member_object(object, "life");
	JsonbContainer *stamps = object == NULL ? NULL : member_object(object, "stamps");
	JsonbContainer *kept = object == NULL ? NULL : member_object(object, "fields");
	FieldState *state = palloc0(sizeof(FieldState));
	Life	   *life = palloc(sizeof(Life));
	Fields		of_tombstone = {0, NULL};

	if (life_object == NULL || stamps == NULL || !read_life(life_object, life))
		return NULL;
	if (deleted && kept != NULL)
		fields_from_container(kept, &of_tombstone);
	if (!read_fields(deleted ? &of_tombstone : fields, stamps, &state->record))
		return NULL;
	state->ladder = json_read_string(getKeyJsonValueFromContainer(object, "ladder",
																  strlen("ladder"), NULL));
	state->record.exists = true;
	state->record.deleted = deleted;
	state->record.life = life;
	return state->ladder == NULL ? NULL : state;
}
