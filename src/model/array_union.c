/*
 * array_union.c
 *	  Two JSON arrays as one, for the field rule of that name.
 *
 * Elements are looked up by hash: arrays of many thousand elements come, and
 * comparing each with each would keep the record locked for minutes.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/fmgrprotos.h"

#include "model/json.h"
#include "model/array_union.h"

typedef struct Element
{
	JsonbValue	value;
	uint32		hash;
} Element;

/* A hash table with open addressing; its size is a power of two. */
typedef struct ElementSet
{
	uint32		mask;
	const Element **slot;
} ElementSet;

static bool
is_array(const JsonbValue *value)
{
	return value->type == jbvBinary && JsonContainerIsArray(value->val.binary.data);
}

bool
array_union_possible(const JsonbValue *a, const JsonbValue *b)
{
	return is_array(a) && is_array(b);
}

/* Values that are equal as jsonb compares have equal hashes. */
static uint32
hash_value(const JsonbValue *value)
{
	uint32		hash = 0;

	if (IsAJsonbScalar(value))
		JsonbHashScalarValue(value, &hash);
	else
		hash = DatumGetUInt32(DirectFunctionCall1(jsonb_hash, JsonbPGetDatum(json_of_value(value))));
	return hash;
}

static int
read_elements(const JsonbValue *array, Element *elements)
{
	JsonbIterator *it = JsonbIteratorInit(array->val.binary.data);
	JsonbIteratorToken token;
	JsonbValue	v;
	int			n = 0;

	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		CHECK_FOR_INTERRUPTS();
		if (token != WJB_ELEM)
			continue;
		elements[n].value = v;
		elements[n].hash = hash_value(&v);
		n++;
	}
	return n;
}

static ElementSet
set_make(int capacity)
{
	ElementSet	set = {.mask = 15};

	while (set.mask < (uint32) capacity * 2)
		set.mask = set.mask * 2 + 1;
	set.slot = palloc0(sizeof(Element *) * ((Size) set.mask + 1));
	return set;
}

/* Returns false if an equal element is there already. */
static bool
set_add(ElementSet *set, const Element *element)
{
	uint32		i = element->hash & set->mask;

	while (set->slot[i] != NULL)
	{
		CHECK_FOR_INTERRUPTS();
		if (set->slot[i]->hash == element->hash &&
			json_value_equal(&set->slot[i]->value, &element->value))
			return false;
		i = (i + 1) & set->mask;
	}
	set->slot[i] = element;
	return true;
}

static JsonbValue *
make_array(Element *const *elements, int n)
{
	JsonbParseState *state = NULL;
	JsonbValue *value = palloc(sizeof(JsonbValue));

	pushJsonbValue(&state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; i < n; i++)
		pushJsonbValue(&state, WJB_ELEM, &elements[i]->value);
	*value = json_to_value(JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_ARRAY, NULL)));
	return value;
}

JsonbValue *
array_union(const JsonbValue *first, const JsonbValue *second)
{
	int			most = JsonContainerSize(first->val.binary.data) +
		JsonContainerSize(second->val.binary.data);
	Element    *elements = palloc(sizeof(Element) * Max(most, 1));
	Element   **united = palloc(sizeof(Element *) * Max(most, 1));
	ElementSet	set = set_make(most);
	int			nfirst = read_elements(first, elements);
	int			nsecond = read_elements(second, elements + nfirst);
	int			n = 0;

	/* what the first has twice stays twice */
	for (int i = 0; i < nfirst; i++)
	{
		(void) set_add(&set, &elements[i]);
		united[n++] = &elements[i];
	}
	for (int i = nfirst; i < nfirst + nsecond; i++)
		if (set_add(&set, &elements[i]))
			united[n++] = &elements[i];
	return n > nfirst ? make_array(united, n) : NULL;
}
