/*
 * record.c
 *	  The golden record in memory, and how its stamps are stored.
 *
 * Most stamps say what the record's own columns say: (version, last_source,
 * row_version, last_source).  Only the others are stored, as an object of
 * arrays [version, source, rowVersion, setBy].
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "model/record.h"

/* ---------- reading ---------- */

static int64
stamp_number(JsonbContainer *array, int i)
{
	JsonbValue *v = getIthJsonbValueFromContainer(array, i);

	if (v == NULL || v->type != jbvNumeric)
		elog(ERROR, "a stored stamp is not an array of version, source, row version and source");
	return DatumGetInt64(DirectFunctionCall1(numeric_int8, NumericGetDatum(v->val.numeric)));
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

static void
read_stamp(const JsonbValue *stored, const char *last_source, Stamp *stamp)
{
	JsonbContainer *array = stored->val.binary.data;

	if (stored->type != jbvBinary || !JsonContainerIsArray(array))
		elog(ERROR, "a stored stamp is not an array");
	stamp->version = stamp_number(array, 0);
	stamp->source = stamp_source(array, 1, last_source);
	stamp->row_version = stamp_number(array, 2);
	stamp->set_by = stamp_source(array, 3, last_source);
}

static Stamp
implied_stamp(const Record *record)
{
	Stamp		stamp = {
		.version = record->version,
		.source = record->last_source,
		.row_version = record->row_version,
		.set_by = record->last_source
	};

	return stamp;
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
			read_stamp(&stored.field[s].value, record->last_source, &field->stamp);
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
stamp_equal(const Stamp *a, const Stamp *b)
{
	return a->version == b->version && a->row_version == b->row_version &&
		strcmp(a->source, b->source) == 0 && strcmp(a->set_by, b->set_by) == 0;
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
set_stamp(JsonbValue *value, const Stamp *stamp)
{
	JsonbValue *elements = palloc(sizeof(JsonbValue) * 4);

	set_number(&elements[0], stamp->version);
	set_string(&elements[1], stamp->source, strlen(stamp->source));
	set_number(&elements[2], stamp->row_version);
	set_string(&elements[3], stamp->set_by, strlen(stamp->set_by));
	value->type = jbvArray;
	value->val.array.rawScalar = false;
	value->val.array.nElems = 4;
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

		if (stamp_equal(&field->stamp, &implied))
			continue;
		set_string(&pair->key, field->field.name.data, field->field.name.len);
		set_stamp(&pair->value, &field->stamp);
		pair->order = n++;
	}
	object.val.object.nPairs = n;
	return JsonbValueToJsonb(&object);
}
