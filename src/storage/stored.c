/*
 * stored.c
 *	  What a column of a table of ours holds, where SQL's types don't say all of it.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "utils/lsyscache.h"

#include "model/change.h"
#include "model/json_read.h"
#include "storage/relations.h"
#include "storage/rows_state.h"
#include "storage/stored.h"

/* ---------- saying what is wrong ---------- */

/* What mends a row of a table. */
typedef struct Remedy
{
	const char *table;			/* or what its name begins with */
	const char *hint;
} Remedy;

static const Remedy remedies[] = {
	{"canonical", "Mend the row with UPDATE, or give the record up: SELECT sync_forget(entity, external_id)."},
	{"replica", "Delete the row, and CALL sync_load for the relation."},
	{"agreed", "Delete the row: what the hub has comes again with SELECT sync_resync there."},
	{"conflict_log", "Mend the row with UPDATE, or close the conflict: SELECT sync_resolve(id, 'dismiss')."},
	{"change_log", "Mend the row with UPDATE, or delete it."},
	{"waiting", "Mend the row with UPDATE, or give the change up: SELECT sync_discard(source, entity, external_id)."},
	{"push", "Delete the row: a batch that is sent again is then decided again."},
};

static const char *
find_remedy(const char *table)
{
	for (size_t i = 0; i < lengthof(remedies); i++)
		if (strncmp(table, remedies[i].table, strlen(remedies[i].table)) == 0)
			return remedies[i].hint;
	return "Mend the row with UPDATE, or delete it.";
}

static char *
value_text(const Rows *rows, int column)
{
	const ColumnShape *shape = &rows->layout->shape->column[column - 1];
	int			at = rows->layout->attnum[column - 1] - 1;
	Oid			function;
	bool		is_varlena;

	if (rows->found->tts_isnull[at])
		return "null";
	getTypeOutputInfo(shape->type, &function, &is_varlena);
	return OidOutputFunctionCall(function, rows->found->tts_values[at]);
}

/* The found row by its primary key: (entity, external_id) = (record, 7). */
static char *
row_name(const Rows *rows)
{
	const KeyShape *key = &rows->layout->shape->primary_key;
	StringInfoData names;
	StringInfoData values;

	initStringInfo(&names);
	initStringInfo(&values);
	for (int i = 0; i < key->n; i++)
	{
		appendStringInfo(&names, "%s%s", i > 0 ? ", " : "",
						 rows->layout->shape->column[key->column[i] - 1].name);
		appendStringInfo(&values, "%s%s", i > 0 ? ", " : "", value_text(rows, key->column[i]));
	}
	return psprintf("(%s) = (%s)", names.data, values.data);
}

const char *
stored_problem(const Rows *rows, int column, const char *what)
{
	const TableShape *shape = rows->layout->shape;

	return psprintf("column \"%s\" of table \"%s.%s\" %s in row %s",
					shape->column[column - 1].name, SYNCEXT_NAME, shape->name, what,
					row_name(rows));
}

void
stored_fail(const Rows *rows, const char *problem)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg_internal("%s", problem),
			 errhint("%s", find_remedy(rows->layout->shape->name))));
}

void
stored_raise(const Rows *rows, int column, const char *what)
{
	stored_fail(rows, stored_problem(rows, column, what));
}

/* ---------- reading ---------- */

/* The found row's value as it is; NULL: it is good, or null as it may be. */
static const char *
find_value(const Rows *rows, int column, Datum *value, bool *isnull)
{
	int			at = rows->layout->attnum[column - 1] - 1;

	*value = rows->found->tts_values[at];
	*isnull = rows->found->tts_isnull[at];
	return *isnull && rows->layout->shape->column[column - 1].required ?
		stored_problem(rows, column, "is null") : NULL;
}

static const char *
read_container(const Rows *rows, int column, bool array, Jsonb **jsonb)
{
	Datum		value;
	bool		isnull;
	const char *problem = find_value(rows, column, &value, &isnull);

	*jsonb = isnull ? NULL : DatumGetJsonbPCopy(value);
	if (isnull ||
		(array ? JB_ROOT_IS_ARRAY(*jsonb) && !JB_ROOT_IS_SCALAR(*jsonb) : JB_ROOT_IS_OBJECT(*jsonb)))
		return problem;
	problem = stored_problem(rows, column, psprintf("is %s, not %s,", jsonb_type_name(*jsonb),
											  array ? "an array" : "an object"));
	*jsonb = NULL;
	return problem;
}

const char *
stored_object_problem(const Rows *rows, int column, Jsonb **object)
{
	return read_container(rows, column, false, object);
}

const char *
stored_versions_problem(const Rows *rows, int column, Jsonb **object)
{
	const char *problem = read_container(rows, column, false, object);
	Fields		versions;
	int64		version;

	if (*object == NULL)
		return problem;
	fields_from_container(&(*object)->root, &versions);
	for (int i = 0; i < versions.n && problem == NULL; i++)
		if (!json_read_rounded(&versions.field[i].value, 0, CHANGE_MAX_VERSION, &version))
			problem = stored_problem(rows, column,
							   psprintf("has something else than a row version for field \"%s\"",
										field_name_cstring(versions.field[i].name)));
	if (problem != NULL)
		*object = NULL;
	return problem;
}

Jsonb *
stored_any(const Rows *rows, int column)
{
	bool		isnull;
	Datum		value = rows_value(rows, column, &isnull);

	return isnull ? NULL : DatumGetJsonbPCopy(value);
}

Jsonb *
stored_array(const Rows *rows, int column)
{
	Jsonb	   *array;
	const char *problem = read_container(rows, column, true, &array);

	if (problem != NULL)
		stored_fail(rows, problem);
	return array;
}

const char *
stored_version_problem(const Rows *rows, int column, int64 *version)
{
	Datum		value;
	bool		isnull;
	const char *problem = find_value(rows, column, &value, &isnull);

	*version = isnull ? 0 : DatumGetInt64(value);
	if (problem == NULL && (*version < 0 || *version > CHANGE_MAX_VERSION))
		problem = stored_problem(rows, column, psprintf("is " INT64_FORMAT ", which is no version,",
												  *version));
	return problem;
}
