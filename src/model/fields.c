/*
 * fields.c
 *	  A record's fields in memory: names and JSON values, in jsonb's key order.
 */
#include "postgres.h"

#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "model/fields.h"
#include "model/json.h"
#include "model/json_pack.h"

/* The value of an entry whose data are from start to end behind base. */
static void
read_entry(JEntry entry, char *base, uint32 start, uint32 end, JsonbValue *value)
{
	if (JBE_ISSTRING(entry))
		json_set_string(value, base + start, end - start);
	else if (JBE_ISNUMERIC(entry))
	{
		value->type = jbvNumeric;
		value->val.numeric = (Numeric) (base + INTALIGN(start));
	}
	else if (JBE_ISCONTAINER(entry))
	{
		value->type = jbvBinary;
		value->val.binary.data = (JsonbContainer *) (base + INTALIGN(start));
		value->val.binary.len = end - INTALIGN(start);
	}
	else if (JBE_ISNULL(entry))
		value->type = jbvNull;
	else
	{
		value->type = jbvBool;
		value->val.boolean = JBE_ISBOOL_TRUE(entry);
	}
}

/*
 * Read an object's members; values point into the object.  All keys stand before all
 * values: the server's iterator goes to and fro between them, for six times the work, and
 * every record that is decided on or sent is read so.
 */
void
fields_from_container(JsonbContainer *object, Fields *out)
{
	const int	n = JsonContainerSize(object);
	char	   *base = (char *) (object->children + 2 * n);
	uint32		offset = 0;

	Assert(JsonContainerIsObject(object));
	out->n = n;
	out->field = palloc(sizeof(Field) * Max(n, 1));
	for (int i = 0; i < 2 * n; i++)
	{
		uint32		end = offset;

		JBE_ADVANCE_OFFSET(end, object->children[i]);
		if (i < n)
			out->field[i].name = (FieldName) {base + offset, end - offset};
		else
			read_entry(object->children[i], base, offset, end, &out->field[i - n].value);
		offset = end;
	}
}

/* Are the names in order, as they should be? */
static bool
are_ordered(const Fields *fields)
{
	for (int i = 1; i < fields->n; i++)
		if (field_name_cmp(fields->field[i - 1].name, fields->field[i].name) >= 0)
			return false;
	return true;
}

/* Where nothing has to be sorted the object is put together by hand. */
static Jsonb *
ordered_to_jsonb(const Fields *fields)
{
	JsonbValue	object;

	object.type = jbvObject;
	object.val.object.nPairs = fields->n;
	object.val.object.pairs = palloc(sizeof(JsonbPair) * Max(fields->n, 1));
	for (int i = 0; i < fields->n; i++)
	{
		const Field *field = &fields->field[i];
		JsonbPair  *pair = &object.val.object.pairs[i];

		json_set_string(&pair->key, field->name.data, field->name.len);
		pair->value = field->value;
		pair->order = i;
	}
	return json_pack(&object);
}

Jsonb *
fields_to_jsonb(const Fields *fields)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;

	if (are_ordered(fields))
		return ordered_to_jsonb(fields);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < fields->n; i++)
	{
		Field	   *field = &fields->field[i];
		JsonbValue	key;

		json_set_string(&key, field->name.data, field->name.len);
		pushJsonbValue(&state, WJB_KEY, &key);
		pushJsonbValue(&state, WJB_VALUE, &field->value);
	}
	result = pushJsonbValue(&state, WJB_END_OBJECT, NULL);
	return JsonbValueToJsonb(result);
}

/* Binary search by name; NULL if the field isn't there. */
const Field *
fields_find(const Fields *fields, FieldName name)
{
	return field_search(fields->field, fields->n, sizeof(Field), name);
}

/* ---------- sets of fields ---------- */

const JsonbValue *
fields_value(const Fields *fields, const char *name)
{
	const Field *field = fields_find(fields, field_name(name));

	return field == NULL ? NULL : &field->value;
}

Fields
fields_of_object(JsonbContainer *object)
{
	Fields		fields = {0, NULL};

	if (object != NULL)
		fields_from_container(object, &fields);
	return fields;
}

Fields
fields_of(const Jsonb *object)
{
	return fields_of_object(object == NULL ? NULL : unconstify(JsonbContainer *, &object->root));
}

bool
fields_align(FieldsAlign *align, const Field **first, const Field **second)
{
	bool		has_first = align->i < align->first->n;
	bool		has_second = align->j < align->second->n;
	int			cmp = !has_first ? 1 : !has_second ? -1 :
		field_name_cmp(align->first->field[align->i].name, align->second->field[align->j].name);

	if (!has_first && !has_second)
		return false;
	*first = cmp <= 0 ? &align->first->field[align->i++] : NULL;
	*second = cmp >= 0 ? &align->second->field[align->j++] : NULL;
	return true;
}

bool
fields_hold(const Fields *fields, const Field *field)
{
	const Field *held = fields_find(fields, field->name);

	return held != NULL && json_value_equal(&held->value, &field->value);
}

static Fields
fields_with_room(int n)
{
	Fields		fields = {0, palloc(sizeof(Field) * Max(n, 1))};

	return fields;
}

Fields
fields_union(const Fields *first, const Fields *second)
{
	Fields		both = fields_with_room(first->n + second->n);
	FieldsAlign align = {.first = first, .second = second};
	const Field *a;
	const Field *b;

	while (fields_align(&align, &a, &b))
		both.field[both.n++] = b != NULL ? *b : *a;
	return both;
}

Fields
fields_without(const Fields *fields, const Fields *others)
{
	Fields		rest = fields_with_room(fields->n);
	FieldsAlign align = {.first = fields, .second = others};
	const Field *a;
	const Field *b;

	while (fields_align(&align, &a, &b))
		if (b == NULL)
			rest.field[rest.n++] = *a;
	return rest;
}

Fields
fields_difference(const Fields *fields, const Fields *known)
{
	Fields		different = fields_with_room(fields->n);
	FieldsAlign align = {.first = fields, .second = known};
	const Field *a;
	const Field *b;

	while (fields_align(&align, &a, &b))
		if (a != NULL && (b == NULL || !json_value_equal(&a->value, &b->value)))
			different.field[different.n++] = *a;
	return different;
}

Fields
fields_missing(const Fields *known, const Fields *now)
{
	Fields		missing = fields_without(known, now);
	int			kept = 0;

	for (int i = 0; i < missing.n; i++)
	{
		if (missing.field[i].value.type == jbvNull)
			continue;
		missing.field[kept] = missing.field[i];
		missing.field[kept++].value.type = jbvNull;
	}
	missing.n = kept;
	return missing;
}

/* ---------- names ---------- */

FieldName
field_name(const char *cstring)
{
	FieldName	name = {cstring, strlen(cstring)};

	return name;
}

bool
field_name_valid(FieldName name)
{
	return name.len > 0 && !(name.len == 1 && name.data[0] == '*');
}

/* jsonb's order of keys: the shorter first, then by bytes. */
int
field_name_cmp(FieldName a, FieldName b)
{
	if (a.len != b.len)
		return a.len < b.len ? -1 : 1;
	return memcmp(a.data, b.data, a.len);
}

/* The order that answers list names in: by bytes. */
int
field_name_cmp_bytes(const void *a, const void *b)
{
	const FieldName *na = a;
	const FieldName *nb = b;
	int			cmp = memcmp(na->data, nb->data, Min(na->len, nb->len));

	return cmp != 0 ? cmp : na->len - nb->len;
}

char *
field_name_cstring(FieldName name)
{
	return pnstrdup(name.data, name.len);
}

static bool
numeric_equal(Numeric a, Numeric b)
{
	if (VARSIZE_ANY(a) == VARSIZE_ANY(b) && memcmp(a, b, VARSIZE_ANY(a)) == 0)
		return true;
	return DatumGetBool(DirectFunctionCall2(numeric_eq, NumericGetDatum(a), NumericGetDatum(b)));
}

/* Equal as jsonb compares: 1.0 = 1, true <> 1, key order doesn't matter. */
bool
json_value_equal(const JsonbValue *a, const JsonbValue *b)
{
	if (a->type != b->type)
		return false;
	switch (a->type)
	{
		case jbvNull:
			return true;
		case jbvBool:
			return a->val.boolean == b->val.boolean;
		case jbvString:
			return a->val.string.len == b->val.string.len &&
				memcmp(a->val.string.val, b->val.string.val, a->val.string.len) == 0;
		case jbvNumeric:
			return numeric_equal(a->val.numeric, b->val.numeric);
		case jbvBinary:
			return compareJsonbContainers(a->val.binary.data, b->val.binary.data) == 0;
		default:
			elog(ERROR, "unexpected JSON value of type %d", (int) a->type);
	}
	return false;				/* keep the compiler quiet */
}

/* ---------- sets of names ---------- */

void
field_names_init(FieldNames *names, int capacity)
{
	names->n = 0;
	names->capacity = Max(capacity, 1);
	names->name = palloc(sizeof(FieldName) * names->capacity);
}

/* A caller that miscounts gets an error, not another one's memory. */
void
field_names_add(FieldNames *names, FieldName name)
{
	if (unlikely(names->n >= names->capacity))
		elog(ERROR, "more than %d field names were added to a set made for them",
			 names->capacity);
	names->name[names->n++] = name;
}

FieldNames
field_names_copy(const FieldNames *names)
{
	FieldNames	copy;

	field_names_init(&copy, names->n);
	for (int i = 0; i < names->n; i++)
		field_names_add(&copy, field_name(field_name_cstring(names->name[i])));
	return copy;
}

bool
field_names_has(const FieldNames *names, FieldName name)
{
	for (int i = 0; i < names->n; i++)
		if (field_name_cmp(names->name[i], name) == 0)
			return true;
	return false;
}

void
field_names_sort(FieldNames *names)
{
	if (names->n > 1)
		qsort(names->name, names->n, sizeof(FieldName), field_name_cmp_bytes);
}

/* Push the names as a JSON array. */
void
field_names_push(JsonbParseState **state, const FieldNames *names)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < names->n; i++)
	{
		JsonbValue	v;

		json_set_string(&v, names->name[i].data, names->name[i].len);
		pushJsonbValue(state, WJB_ELEM, &v);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

void
field_names_push_member(JsonbParseState **state, const char *key, const FieldNames *names)
{
	json_push_key(state, key);
	field_names_push(state, names);
}
