/*
 * attached_row.c
 *	  Rows of an attached relation: their external ids, their fields, and rows made
 *	  of a record's values.
 */
#include "postgres.h"

#include "local/attached_relation.h"
#include "model/change.h"

/* In an external id of several columns: what stands between, and before it. */
#define KEY_SEPARATOR	'|'
#define KEY_ESCAPE		'\\'

/* ---------- rows ---------- */

bool
relkind_has_rows(char relkind)
{
	return relkind == RELKIND_RELATION || relkind == RELKIND_PARTITIONED_TABLE;
}

const char *
attached_only(const Attached *attached)
{
	return attached->relkind == RELKIND_RELATION ? "ONLY " : "";
}

bool
attached_is_key(const Attached *attached, int attnum)
{
	for (int i = 0; i < attached->nkeys; i++)
		if (attached->keys[i].attnum == attnum)
			return true;
	return false;
}

const AttachedColumn *
attached_column(const Attached *attached, int attnum)
{
	for (int i = 0; i < attached->ncolumns; i++)
		if (attached->columns[i].attnum == attnum)
			return &attached->columns[i];
	return NULL;
}

/* An empty row, all null, in the current memory context. */
AttachedRow
attached_row_make(const Attached *attached)
{
	AttachedRow row;

	row.values = palloc0(sizeof(Datum) * attached->natts);
	row.isnull = palloc(sizeof(bool) * attached->natts);
	memset(row.isnull, true, sizeof(bool) * attached->natts);
	return row;
}

Datum
attached_value(const AttachedColumn *column, AttachedRow row, bool *isnull)
{
	*isnull = row.isnull[column->attnum - 1];
	return row.values[column->attnum - 1];
}

bool
attached_is_deleted(const Attached *attached, AttachedRow row)
{
	bool		isnull;
	Datum		value;

	if (attached->deleted == NULL)
		return false;
	value = attached_value(attached->deleted, row, &isnull);
	if (isnull)
		return false;
	return attached->deleted->type != BOOLOID || DatumGetBool(value);
}

/* ---------- external ids ---------- */

static void
append_key(StringInfo id, const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
	{
		if (*c == KEY_SEPARATOR || *c == KEY_ESCAPE)
			appendStringInfoChar(id, KEY_ESCAPE);
		appendStringInfoChar(id, *c);
	}
}

/* Say what is wrong with an external id, or return it. */
static char *
check_external_id(const Attached *attached, char *id, const char **problem)
{
	Size		len = strlen(id);

	if (len >= 1 && len <= CHANGE_MAX_EXTERNAL_ID)
		return id;
	if (len == 0)
		*problem = psprintf("a row of attached relation %s has an empty key", attached->name);
	else
		*problem = psprintf("the key of a row of attached relation %s has %zu bytes as text, more than %d",
							attached->name, len, CHANGE_MAX_EXTERNAL_ID);
	return NULL;
}

char *
attached_find_external_id(const Attached *attached, ValueSettings *settings, AttachedRow row,
						  const char **problem)
{
	StringInfoData id;
	char	   *text = NULL;

	initStringInfo(&id);
	for (int i = 0; i < attached->nkeys; i++)
	{
		bool		isnull;
		Datum		value = attached_value(&attached->keys[i], row, &isnull);

		if (isnull)
		{
			*problem = psprintf("key column \"%s\" of attached relation %s is null",
								attached->keys[i].name, attached->name);
			return NULL;
		}
		text = value_to_text(attached->keys[i].value, settings, value);
		if (i > 0)
			appendStringInfoChar(&id, KEY_SEPARATOR);
		append_key(&id, text);
	}
	/* a single column stands as it is */
	return check_external_id(attached, attached->nkeys == 1 ? text : id.data, problem);
}

char *
attached_try_external_id(const Attached *attached, AttachedRow row, const char **problem)
{
	ValueSettings settings;
	char	   *id;

	value_settings_begin(&settings);
	id = attached_find_external_id(attached, &settings, row, problem);
	value_settings_end(&settings);
	return id;
}

char *
attached_external_id(const Attached *attached, AttachedRow row)
{
	const char *problem;
	char	   *id = attached_try_external_id(attached, row, &problem);

	if (id == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s", problem),
				 errhint("A record's external id has 1 to %d bytes.", CHANGE_MAX_EXTERNAL_ID)));
	return id;
}

/* Do two rows have the same external id? */
bool
attached_key_equal(const Attached *attached, AttachedRow a, AttachedRow b)
{
	bool		same_bytes = true;

	for (int i = 0; i < attached->nkeys && same_bytes; i++)
	{
		AttrNumber	attno = attached->keys[i].attnum - 1;

		same_bytes = !a.isnull[attno] && !b.isnull[attno] &&
			value_same_bytes(attached->keys[i].value, a.values[attno], b.values[attno]);
	}
	return same_bytes ||
		strcmp(attached_external_id(attached, a), attached_external_id(attached, b)) == 0;
}

static void
raise_parts(const Attached *attached, const char *external_id, int n)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
			 errmsg("external id \"%s\" has %d parts, the key of relation %s has %d columns",
					external_id, n, attached->name, attached->nkeys),
			 errhint("Parts are separated by |; a | or \\ inside of one is written \\| or \\\\.")));
}

/* Read a part of an id; returns what is behind it, a separator or the end. */
static const char *
read_part(const char *c, StringInfo part)
{
	resetStringInfo(part);
	for (; *c != KEY_SEPARATOR && *c != '\0'; c++)
	{
		if (*c == KEY_ESCAPE && c[1] != '\0')
			c++;
		appendStringInfoChar(part, *c);
	}
	return c;
}

char **
attached_split_external_id(const Attached *attached, const char *external_id)
{
	char	  **parts = palloc(sizeof(char *) * attached->nkeys);
	const char *c = external_id;
	StringInfoData part;
	int			n = 0;

	if (attached->nkeys == 1)
	{
		parts[0] = pstrdup(external_id);
		return parts;
	}
	initStringInfo(&part);
	do
	{
		c = read_part(c, &part);
		if (n < attached->nkeys)
			parts[n] = pstrdup(part.data);
		n++;
	} while (*c++ != '\0');
	if (n != attached->nkeys)
		raise_parts(attached, external_id, n);
	return parts;
}

char *
attached_join_external_id(char **parts, int n)
{
	StringInfoData id;

	if (n == 1)
		return parts[0];
	initStringInfo(&id);
	for (int i = 0; i < n; i++)
	{
		if (i > 0)
			appendStringInfoChar(&id, KEY_SEPARATOR);
		append_key(&id, parts[i]);
	}
	return id.data;
}

char *
attached_id_part(const char *external_id, int part, int n)
{
	StringInfoData text;

	if (n == 1)
		return pstrdup(external_id);
	initStringInfo(&text);
	external_id = read_part(external_id, &text);
	for (; part > 0; part--)
	{
		if (*external_id == '\0')
			return NULL;
		external_id = read_part(external_id + 1, &text);
	}
	return text.data;
}

void
attached_fields(const Attached *attached, AttachedRow row, const bool *wanted, Fields *out)
{
	ValueSettings settings;

	value_settings_begin(&settings);
	out->n = 0;
	out->field = palloc(sizeof(Field) * Max(attached->ncolumns, 1));
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];
		bool		isnull;
		Datum		value;

		if (wanted != NULL && !wanted[i])
			continue;
		value = attached_value(column, row, &isnull);
		out->field[out->n].name = column->field;
		value_to_json(column->value, &settings, value, isnull, &out->field[out->n].value);
		out->n++;
	}
	value_settings_end(&settings);
}
