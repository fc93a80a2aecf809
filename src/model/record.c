/*
 * record.c
 *	  The golden record in memory, and how its stamps are stored.
 *
 * Most stamps say what the record's own columns say: (version, last_source,
 * row_version, last_source, updated_at).  Only the others are stored, as an
 * object of arrays [version, source, rowVersion, setBy, updatedAt], the last in
 * microseconds as the server counts them, and left out where it isn't known.
 * Where the time alone differs it stands alone, as a number, or null.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "model/record.h"

/* ---------- reading ---------- */

static int64
number_of(const JsonbValue *v)
{
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(v->val.numeric)));
}

static int64
stamp_number(JsonbContainer *array, int i)
{
	JsonbValue *v = getIthJsonbValueFromContainer(array, i);

	if (v == NULL || v->type != jbvNumeric)
		elog(ERROR, "a stored stamp is not an array of version, source, row version and source");
	return number_of(v);
}

/* A source's name; the record's last source, the usual one, is not copied. */
static const char *
stamp_source(JsonbContainer *array, int i, const char *last_source)
{
	JsonbValue *v = getIthJsonbValueFromContainer(array, i);

	if (v == NULL || v->type != jbvString)
		elog(ERROR, "a stored stamp is not an array of version, source, row version and source");
	if (strncmp(last_source, v->val.string.val, v->val.string.len) == 0 &&
		last_source[v->val.string.len] == '\0')
		return last_source;
	return pnstrdup(v->val.string.val, v->val.string.len);
}

static Stamp
implied_stamp(const Record *record)
{
	Stamp		stamp = {
		.version = record->version,
		.source = record->last_source,
		.row_version = record->row_version,
		.set_by = record->last_source,
		.has_updated_at = record->has_updated_at,
		.updated_at = record->updated_at
	};

	return stamp;
}

static Stamp
read_stamp(const JsonbValue *stored, const Record *record)
{
	JsonbContainer *array = stored->val.binary.data;
	Stamp		stamp = implied_stamp(record);

	stamp.has_updated_at = stored->type == jbvNumeric;
	if (stamp.has_updated_at)
		stamp.updated_at = number_of(stored);
	if (stored->type == jbvNumeric || stored->type == jbvNull)
		return stamp;
	if (stored->type != jbvBinary || !JsonContainerIsArray(array))
		elog(ERROR, "a stored stamp is neither an array nor a time");
	stamp.version = stamp_number(array, 0);
	stamp.source = stamp_source(array, 1, record->last_source);
	stamp.row_version = stamp_number(array, 2);
	stamp.set_by = stamp_source(array, 3, record->last_source);
	stamp.has_updated_at = JsonContainerSize(array) > 4;
	if (stamp.has_updated_at)
		stamp.updated_at = stamp_number(array, 4);
	return stamp;
}

int64
record_next_row_version(const Record *record)
{
	return (record->exists ? record->row_version : record->floor) + 1;
}

/*
 * Fill in the fields of a record whose other members are set.  Both objects
 * are in the same key order, so they are read side by side.
 */
void
record_set_fields(Record *record, Jsonb *fields, Jsonb *stamps)
{
	Fields		values;
	Fields		stored;
	int			s = 0;

	fields_from_container(&fields->root, &values);
	fields_from_container(&stamps->root, &stored);
	record->nfields = values.n;
	record->fields = palloc(sizeof(RecordField) * Max(values.n, 1));
	for (int i = 0; i < values.n; i++)
	{
		RecordField *field = &record->fields[i];

		field->field = values.field[i];
		while (s < stored.n && field_name_cmp(stored.field[s].name, field->field.name) < 0)
			s++;
		if (s < stored.n && field_name_cmp(stored.field[s].name, field->field.name) == 0)
			field->stamp = read_stamp(&stored.field[s].value, record);
		else
			field->stamp = implied_stamp(record);
	}
}

RecordField *
record_find(const Record *record, FieldName name)
{
	int			low = 0;
	int			high = record->nfields - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			cmp = field_name_cmp(record->fields[middle].field.name, name);

		if (cmp == 0)
			return &record->fields[middle];
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

/* ---------- writing ---------- */

Jsonb *
record_fields_jsonb(const Record *record)
{
	Fields		fields = {record->nfields, palloc(sizeof(Field) * Max(record->nfields, 1))};

	for (int i = 0; i < record->nfields; i++)
		fields.field[i] = record->fields[i].field;
	return fields_to_jsonb(&fields);
}

static bool
same_but_for_time(const Stamp *a, const Stamp *b)
{
	return a->version == b->version && a->row_version == b->row_version &&
		strcmp(a->source, b->source) == 0 && strcmp(a->set_by, b->set_by) == 0;
}

static bool
same_time(const Stamp *a, const Stamp *b)
{
	return a->has_updated_at == b->has_updated_at &&
		(!a->has_updated_at || a->updated_at == b->updated_at);
}

static void
set_number(JsonbValue *value, int64 number)
{
	value->type = jbvNumeric;
	value->val.numeric = int64_to_numeric(number);
}

static void
set_string(JsonbValue *value, const char *data, int len)
{
	value->type = jbvString;
	value->val.string.val = unconstify(char *, data);
	value->val.string.len = len;
}

static void
set_time(JsonbValue *value, const Stamp *stamp)
{
	if (stamp->has_updated_at)
		set_number(value, stamp->updated_at);
	else
		value->type = jbvNull;
}

static void
set_stamp(JsonbValue *value, const Stamp *stamp)
{
	JsonbValue *elements = palloc(sizeof(JsonbValue) * 5);

	set_number(&elements[0], stamp->version);
	set_string(&elements[1], stamp->source, strlen(stamp->source));
	set_number(&elements[2], stamp->row_version);
	set_string(&elements[3], stamp->set_by, strlen(stamp->set_by));
	if (stamp->has_updated_at)
		set_number(&elements[4], stamp->updated_at);
	value->type = jbvArray;
	value->val.array.rawScalar = false;
	value->val.array.nElems = stamp->has_updated_at ? 5 : 4;
	value->val.array.elems = elements;
}

/* Put together by hand, as every write needs it; fields are in jsonb's order. */
Jsonb *
record_stamps_jsonb(const Record *record)
{
	Stamp		implied = implied_stamp(record);
	JsonbValue	object;
	int			n = 0;

	object.type = jbvObject;
	object.val.object.pairs = palloc(sizeof(JsonbPair) * Max(record->nfields, 1));
	for (int i = 0; i < record->nfields; i++)
	{
		const RecordField *field = &record->fields[i];
		JsonbPair  *pair = &object.val.object.pairs[n];
		bool		time_alone = same_but_for_time(&field->stamp, &implied);

		if (time_alone && same_time(&field->stamp, &implied))
			continue;
		set_string(&pair->key, field->field.name.data, field->field.name.len);
		if (time_alone)
			set_time(&pair->value, &field->stamp);
		else
			set_stamp(&pair->value, &field->stamp);
		pair->order = n++;
	}
	object.val.object.nPairs = n;
	return JsonbValueToJsonb(&object);
}
