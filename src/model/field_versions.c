/*
 * field_versions.c
 *	  JSON objects {field: row version}, as syncext.replica and syncext.agreed keep them
 *	  of what is known of single fields.
 */
#include "postgres.h"

#include "model/change.h"
#include "model/field_versions.h"
#include "model/json.h"
#include "model/json_read.h"

static int64
number_of(const Field *field)
{
	int64		number;

	return json_read_number(&field->value, 0, PG_INT64_MAX, &number) ? number : 0;
}

bool
field_versions_find(const Fields *versions, FieldName name, int64 *row_version)
{
	const Field *field = fields_find(versions, name);

	return field != NULL && json_read_rounded(&field->value, 0, CHANGE_MAX_VERSION, row_version);
}

Jsonb *
field_versions_make(const FieldNames *names, Jsonb *before, int64 row_version)
{
	JsonbParseState *state = NULL;
	Fields		known = fields_of(before);

	if (names->n == 0)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < names->n; i++)
	{
		int64		version = row_version;

		(void) field_versions_find(&known, names->name[i], &version);
		json_push_number(&state, field_name_cstring(names->name[i]), version);
	}
	return json_end_object(&state);
}

int64
field_versions_of(Jsonb *versions, FieldName name)
{
	Fields		fields = fields_of(versions);
	const Field *field = fields_find(&fields, name);

	return field == NULL ? 0 : number_of(field);
}

Jsonb *
field_versions_put(Jsonb *versions, const Fields *put, int64 row_version)
{
	Fields		fields = fields_of(versions);
	JsonbParseState *state = NULL;

	if (put->n == 0 || row_version == 0)
		return versions;
	/* of a key that comes twice the last counts */
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < fields.n; i++)
		json_push_number(&state, field_name_cstring(fields.field[i].name),
						 number_of(&fields.field[i]));
	for (int i = 0; i < put->n; i++)
		json_push_number(&state, field_name_cstring(put->field[i].name), row_version);
	return json_end_object(&state);
}

Jsonb *
field_versions_without(Jsonb *versions, const Fields *gone)
{
	Fields		fields = fields_of(versions);
	Fields		rest = fields_without(&fields, gone);

	return rest.n == 0 ? NULL : fields_to_jsonb(&rest);
}

Jsonb *
field_versions_limit(Jsonb *versions, int64 row_version)
{
	Fields		fields = fields_of(versions);
	JsonbParseState *state = NULL;

	if (fields.n == 0)
		return NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < fields.n; i++)
		json_push_number(&state, field_name_cstring(fields.field[i].name),
						 Min(number_of(&fields.field[i]), row_version));
	return json_end_object(&state);
}
