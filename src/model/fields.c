/*
 * fields.c
 *	  A record's fields in memory: names and JSON values, in jsonb's key order.
 *
 * Used by everything that reads, compares or patches records.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

#include "model/fields.h"

/* Read an object's members; values point into the object. */
void
fields_from_container(JsonbContainer *object, Fields *out)
{
	JsonbIterator *it = JsonbIteratorInit(object);
	JsonbValue	v;
	JsonbIteratorToken token;

	Assert(JsonContainerIsObject(object));
	out->n = 0;
	out->field = palloc(sizeof(Field) * Max(JsonContainerSize(object), 1));
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
		{
			Field	   *field = &out->field[out->n++];

			field->name.data = v.val.string.val;
			field->name.len = v.val.string.len;
			(void) JsonbIteratorNext(&it, &field->value, true);
		}
	}
}

/* Are there no nested values, and the names in order, as they should be? */
static bool
are_simple(const Fields *fields)
{
	for (int i = 0; i < fields->n; i++)
	{
		if (!IsAJsonbScalar(&fields->field[i].value) ||
			(i > 0 && field_name_cmp(fields->field[i - 1].name, fields->field[i].name) >= 0))
			return false;
	}
	return true;
}

/* Where nothing has to be taken apart the object is put together by hand. */
static Jsonb *
simple_to_jsonb(const Fields *fields)
{
	JsonbValue	object;

	object.type = jbvObject;
	object.val.object.nPairs = fields->n;
	object.val.object.pairs = palloc(sizeof(JsonbPair) * Max(fields->n, 1));
	for (int i = 0; i < fields->n; i++)
	{
		const Field *field = &fields->field[i];
		JsonbPair  *pair = &object.val.object.pairs[i];

		pair->key.type = jbvString;
		pair->key.val.string.val = unconstify(char *, field->name.data);
		pair->key.val.string.len = field->name.len;
		pair->value = field->value;
		pair->order = i;
	}
	return JsonbValueToJsonb(&object);
}

Jsonb *
fields_to_jsonb(const Fields *fields)
{
	JsonbParseState *state = NULL;
	JsonbValue *result;

	if (are_simple(fields))
		return simple_to_jsonb(fields);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < fields->n; i++)
	{
		Field	   *field = &fields->field[i];
		JsonbValue	key;

		key.type = jbvString;
		key.val.string.val = unconstify(char *, field->name.data);
		key.val.string.len = field->name.len;
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
	int			low = 0;
	int			high = fields->n - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			cmp = field_name_cmp(fields->field[middle].name, name);

		if (cmp == 0)
			return &fields->field[middle];
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return NULL;
}

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
	names->name = palloc(sizeof(FieldName) * Max(capacity, 1));
}

/* Add a name; the set was made for as many as will be added. */
void
field_names_add(FieldNames *names, FieldName name)
{
	names->name[names->n++] = name;
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

		v.type = jbvString;
		v.val.string.val = unconstify(char *, names->name[i].data);
		v.val.string.len = names->name[i].len;
		pushJsonbValue(state, WJB_ELEM, &v);
	}
	pushJsonbValue(state, WJB_END_ARRAY, NULL);
}
