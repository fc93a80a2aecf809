/*
 * record.c
 *	  The golden record in memory, and how its stamps are stored.
 *
 * Most stamps say what the record's own columns say: (version, last_source,
 * row_version, last_source, updated_at).  Only the others are stored, as an
 * object of arrays [version, source, rowVersion, setBy, updatedAt], the last in
 * microseconds as the server counts them, and left out where it isn't known; of the
 * others null is what the record's column says.
 * Where the time alone differs it stands alone, as a number, or null.  Where besides it
 * only the row version does, they are a string, "rowVersion@updatedAt" or "rowVersion":
 * a field that its record's last source says again and again costs a few bytes, and the
 * record stays on its page.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/numeric.h"

#include "model/json.h"
#include "model/json_pack.h"
#include "model/json_read.h"
#include "model/record.h"

/* Two numbers of 64 bits, a sign and what parts them. */
#define MAX_SHORT_STAMP	48

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

/* The decimal number that text begins with, *end being what comes after it. */
static bool
read_digits(const char *text, char **end, int64 min, int64 max, int64 *number)
{
	if (!isdigit((unsigned char) text[*text == '-']))
		return false;
	errno = 0;
	*number = strtoll(text, end, 10);
	return errno == 0 && *number >= min && *number <= max;
}

/* "rowVersion" or "rowVersion@updatedAt". */
static bool
read_short(const JsonbValue *stored, Stamp *stamp)
{
	char		text[MAX_SHORT_STAMP];
	char	   *end;
	int64		time;

	if (stored->val.string.len >= MAX_SHORT_STAMP)
		return false;
	memcpy(text, stored->val.string.val, stored->val.string.len);
	text[stored->val.string.len] = '\0';
	if (!read_digits(text, &end, 0, CHANGE_MAX_VERSION, &stamp->row_version))
		return false;
	stamp->has_updated_at = *end == '@';
	if (!stamp->has_updated_at)
		return *end == '\0';
	if (!read_digits(end + 1, &end, MIN_TIMESTAMP, END_TIMESTAMP - 1, &time))
		return false;
	stamp->updated_at = time;
	return *end == '\0';
}

static bool
read_number(const JsonbValue *part, int64 *number)
{
	return part->type == jbvNull || json_read_rounded(part, 0, CHANGE_MAX_VERSION, number);
}

/* False if what is stored is no stamp. */
static bool
read_stamp(const JsonbValue *stored, const Record *record, Stamp *stamp)
{
	JsonbContainer *array = json_read_array(stored);
	JsonbValue *part[5] = {NULL};

	*stamp = implied_stamp(record);
	if (array == NULL)
		return stored->type == jbvString ? read_short(stored, stamp) : read_time(stored, stamp);
	for (int i = 0; i < Min((int) JsonContainerSize(array), 5); i++)
		part[i] = getIthJsonbValueFromContainer(array, i);
	stamp->has_updated_at = false;
	if (part[3] == NULL ||
		!read_number(part[0], &stamp->version) || !read_number(part[2], &stamp->row_version) ||
		(part[4] != NULL && !read_time(part[4], stamp)))
		return false;
	if (part[1]->type != jbvNull)
		stamp->source = read_source(part[1], record->last_source);
	if (part[3]->type != jbvNull)
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

/* A field without a stamp was set in the record's own row version. */
static bool
stamp_is_since(const Record *record, const Field *stored, int64 since, bool *valid)
{
	Stamp		stamp;

	if (stored == NULL)
		return record->row_version > since;
	*valid &= read_stamp(&stored->value, record, &stamp);
	return stamp.row_version > since;
}

bool
record_set_since(const Record *record, Jsonb *fields, Jsonb *stamps, int64 since, int more,
				 FieldNames *names)
{
	Fields		values;
	Fields		stored;
	FieldsAlign align = {.first = &values, .second = &stored};
	const Field *value;
	const Field *stamp;
	bool		valid = true;
	bool		all;

	if (JB_ROOT_COUNT(stamps) == 0 && record->row_version > since)
		return false;
	values = fields_of(fields);
	stored = fields_of(stamps);
	field_names_init(names, values.n + more);
	while (fields_align(&align, &value, &stamp))
	{
		if (value != NULL && stamp_is_since(record, stamp, since, &valid))
			field_names_add(names, value->name);
	}
	all = names->n == values.n;
	pfree(values.field);
	pfree(stored.field);
	return valid && !all;
}

RecordField *
record_find(const Record *record, FieldName name)
{
	return field_search(record->fields, record->nfields, sizeof(RecordField), name);
}

/* ---------- writing ---------- */

Fields
record_fields(const Record *record, const FieldNames *names)
{
	Fields		fields = {0, palloc(sizeof(Field) * Max(record->nfields, 1))};

	for (int i = 0; i < record->nfields; i++)
		if (names == NULL || field_names_has(names, record->fields[i].field.name))
			fields.field[fields.n++] = record->fields[i].field;
	return fields;
}

Jsonb *
record_fields_jsonb(const Record *record)
{
	Fields		fields = record_fields(record, NULL);

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
set_source(JsonbValue *value, const char *source, bool implied)
{
	value->type = jbvNull;
	if (!implied)
		json_set_string(value, source, strlen(source));
}

static void
set_short(JsonbValue *value, const Stamp *stamp)
{
	char	   *text = palloc(MAX_SHORT_STAMP);
	int			len = pg_lltoa(stamp->row_version, text);

	if (stamp->has_updated_at)
	{
		text[len++] = '@';
		len += pg_lltoa(stamp->updated_at, text + len);
	}
	json_set_string(value, text, len);
}

static void
set_stamp(JsonbValue *value, const Stamp *stamp, const Stamp *implied, LastNumber *version,
		  LastNumber *row_version)
{
	const bool	same_version = stamp->version == implied->version;
	const bool	same_source = strcmp(stamp->source, implied->source) == 0;
	const bool	same_set_by = strcmp(stamp->set_by, implied->set_by) == 0;
	JsonbValue *elements;

	if (same_version && same_source && same_set_by)
	{
		set_short(value, stamp);
		return;
	}
	elements = palloc(sizeof(JsonbValue) * 5);
	elements[0].type = jbvNull;
	if (!same_version)
		set_likely_number(&elements[0], stamp->version, version);
	set_source(&elements[1], stamp->source, same_source);
	set_likely_number(&elements[2], stamp->row_version, row_version);
	set_source(&elements[3], stamp->set_by, same_set_by);
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
		json_set_string(&pair->key, field->field.name.data, field->field.name.len);
		if (time_alone)
			set_time(&pair->value, &field->stamp);
		else
			set_stamp(&pair->value, &field->stamp, &implied, &version, &row_version);
		pair->order = n++;
	}
	object.val.object.nPairs = n;
	return json_pack(&object);
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
