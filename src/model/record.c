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

#include "utils/numeric.h"

#include "model/json_read.h"
#include "model/record.h"

/* ---------- reading ---------- */

/* A source's name; the record's last source, the usual one, is not copied. */
static const char *
read_source(const JsonbValue *v, const char *last_source)
{
	if (v->type == jbvString &&
		strncmp(last_source, v->val.string.val, v->val.string.len) == 0 &&
		last_source[v->val.string.len] == '\0')
		return last_source;
	return json_read_string(v);
}

static bool
read_time(const JsonbValue *v, Stamp *stamp)
{
	stamp->has_updated_at = v->type != jbvNull;
	return !stamp->has_updated_at ||
		json_read_rounded(v, MIN_TIMESTAMP, END_TIMESTAMP - 1, &stamp->updated_at);
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

/* False if what is stored is no stamp. */
static bool
read_stamp(const JsonbValue *stored, const Record *record, Stamp *stamp)
{
	JsonbContainer *array = json_read_array(stored);
	JsonbValue *part[5] = {NULL};

	*stamp = implied_stamp(record);
	if (array == NULL)
		return read_time(stored, stamp);
	for (int i = 0; i < Min((int) JsonContainerSize(array), 5); i++)
		part[i] = getIthJsonbValueFromContainer(array, i);
	stamp->has_updated_at = false;
	if (part[3] == NULL ||
		!json_read_rounded(part[0], 0, CHANGE_MAX_VERSION, &stamp->version) ||
		!json_read_rounded(part[2], 0, CHANGE_MAX_VERSION, &stamp->row_version) ||
		(part[4] != NULL && !read_time(part[4], stamp)))
		return false;
	stamp->source = read_source(part[1], record->last_source);
	stamp->set_by = read_source(part[3], record->last_source);
	return stamp->source != NULL && stamp->set_by != NULL;
}

void
record_set_version(Record *record, int64 version)
{
	record->version = version;
	record->row_version++;
	for (int i = 0; i < record->nfields; i++)
		record->fields[i].stamp.version = Min(record->fields[i].stamp.version, version);
}

int64
record_next_row_version(const Record *record)
{
	return Max(record->exists ? record->row_version : 0, record->floor) + 1;
}

/*
 * Fill in the fields of a record whose other members are set.  Both objects
 * are in the same key order, so they are read side by side.  Returns NULL, or the
 * name of a field whose stamp is none.
 */
const char *
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
		{
			if (!read_stamp(&stored.field[s].value, record, &field->stamp))
				return field_name_cstring(field->field.name);
		}
		else
			field->stamp = implied_stamp(record);
	}
	return NULL;
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

Fields
record_missing(const Record *record, const Fields *fields)
{
	Fields		missing = {0, palloc(sizeof(Field) * Max(fields->n, 1))};

	for (int i = 0; i < fields->n; i++)
		if (fields->field[i].value.type != jbvNull &&
			record_find(record, fields->field[i].name) == NULL)
			missing.field[missing.n++] = fields->field[i];
	return missing;
}

void
record_take_fields(Record *record, const Fields *fields)
{
	record->nfields = fields->n;
	record->fields = palloc0(sizeof(RecordField) * Max(fields->n, 1));
	for (int i = 0; i < fields->n; i++)
		record->fields[i].field = fields->field[i];
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

/* The number that was made last: most stamps of a record share theirs. */
typedef struct LastNumber
{
	int64		number;
	Numeric		numeric;		/* NULL: none was made */
} LastNumber;

static void
set_likely_number(JsonbValue *value, int64 number, LastNumber *last)
{
	if (last->numeric == NULL || last->number != number)
	{
		last->number = number;
		last->numeric = int64_to_numeric(number);
	}
	value->type = jbvNumeric;
	value->val.numeric = last->numeric;
}

static void
set_stamp(JsonbValue *value, const Stamp *stamp, LastNumber *version, LastNumber *row_version)
{
	JsonbValue *elements = palloc(sizeof(JsonbValue) * 5);

	set_likely_number(&elements[0], stamp->version, version);
	set_string(&elements[1], stamp->source, strlen(stamp->source));
	set_likely_number(&elements[2], stamp->row_version, row_version);
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
	LastNumber	version = {0};
	LastNumber	row_version = {0};
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
			set_stamp(&pair->value, &field->stamp, &version, &row_version);
		pair->order = n++;
	}
	object.val.object.nPairs = n;
	return JsonbValueToJsonb(&object);
}

/* ---------- the life of a record in a field ladder ---------- */

static Life
implied_life(const Record *record)
{
	Life		life = {0};
	LifeStamp  *stamp = record->deleted ? &life.died : &life.lived;

	stamp->is_set = record->exists;
	stamp->version = record->version;
	stamp->has_updated_at = record->has_updated_at;
	stamp->updated_at = record->updated_at;
	stamp->source = record->last_source;
	return life;
}

Life
record_life(const Record *record)
{
	return record->life != NULL ? *record->life : implied_life(record);
}

Jsonb *
record_life_jsonb(const Record *record)
{
	return record->life == NULL ? NULL : life_jsonb(record->life);
}
