/*
 * value.c
 *	  Column values as JSON, the same whatever a session's settings are.
 *
 * Numbers, booleans, JSON, arrays and composites become what to_jsonb makes of them,
 * times are ISO 8601 in UTC, all else is a string that holds the type's text.
 * jsonb_populate_record must make the same value of it again: where its reading of an
 * array would be another (bounds that don't start at 1, elements that are arrays to
 * JSON), the string holds the array's literal.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/bytea.h"
#include "utils/datetime.h"
#include "utils/datum.h"
#include "utils/float.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/json.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"
#include "utils/typcache.h"
#include "utils/xml.h"

#include "local/value.h"
#include "model/fields.h"
#include "model/json.h"
#include "process/for_now.h"

typedef enum ValueKind
{
	VALUE_TEXT,					/* its bytes are the string */
	VALUE_PADDED,				/* char(n): the blanks at the end say nothing */
	VALUE_BOOL,
	VALUE_INT2,
	VALUE_INT4,
	VALUE_INT8,
	VALUE_FLOAT4,
	VALUE_FLOAT8,
	VALUE_NUMERIC,
	VALUE_BYTEA,
	VALUE_DATE,
	VALUE_TIMESTAMP,
	VALUE_TIMESTAMPTZ,
	VALUE_JSON,
	VALUE_JSONB,
	VALUE_ARRAY,
	VALUE_COMPOSITE,
	VALUE_OUTPUT				/* the type's output function makes the string */
} ValueKind;

struct ValueType
{
	ValueKind	kind;
	Oid			type;			/* below all domains */
	int32		typmod;
	bool		byval;
	int16		len;
	char		align;
	bool		settings_matter;	/* to the output function */
	bool		domain;			/* whose constraints may look at anything */
	FmgrInfo	output;
	MemoryContext context;		/* of this ValueType */

	/* arrays */
	ValueType  *element;
	bool		as_literal;		/* JSON arrays would be read back as others */

	/* composites; made again when the type's definition changes */
	uint64		composite_id;
	int			natts;
	ValueType **att;
};

/* ---------- settings ---------- */

/* What text is made under.  Times without a zone are taken for UTC. */
static const char *const pinned_settings[][2] = {
	{"datestyle", "ISO, MDY"},
	{"timezone", "UTC"},
	{"intervalstyle", "postgres"},
	{"extra_float_digits", "1"},
	{"bytea_output", "hex"},
	{"lc_monetary", "C"},
	{"search_path", VALUE_SEARCH_PATH},
	{"xmloption", "content"},
	{"array_nulls", "on"},
	{"quote_all_identifiers", "off"},
};

#define SEARCH_PATH_SETTING 6

static bool
setting_is_pinned(int i)
{
	switch (i)
	{
		case 0:
			return DateStyle == USE_ISO_DATES && DateOrder == DATEORDER_MDY;
		case 1:
			return strcmp(pg_get_timezone_name(session_timezone), "UTC") == 0;
		case 2:
			return IntervalStyle == INTSTYLE_POSTGRES;
		case 3:
			return extra_float_digits >= 1; /* all the same from there on */
		case 4:
			return bytea_output == BYTEA_OUTPUT_HEX;
		case 5:
			return strcmp(GetConfigOption("lc_monetary", false, false), "C") == 0;
		case SEARCH_PATH_SETTING:
			return strcmp(namespace_search_path, VALUE_SEARCH_PATH) == 0;
		case 7:
			return xmloption == XMLOPTION_CONTENT;
		case 8:
			return Array_nulls;
		case 9:
			return !quote_all_identifiers;
	}
	return false;
}

void
value_settings_begin(ValueSettings *settings)
{
	settings->nest_level = 0;
}

/* Pin the settings until value_settings_end(); an error restores them, too. */
static void
pin_gucs(ValueSettings *settings, bool search_path)
{
	if (settings->nest_level != 0)
		return;
	settings->nest_level = NewGUCNestLevel();
	for (int i = 0; i < (int) lengthof(pinned_settings); i++)
		if (!setting_is_pinned(i) && (search_path || i != SEARCH_PATH_SETTING))
			set_for_now(pinned_settings[i][0], pinned_settings[i][1]);
}

void
value_pin_input_gucs(ValueSettings *settings)
{
	pin_gucs(settings, false);
}

void
value_settings_end(ValueSettings *settings)
{
	if (settings->nest_level != 0)
		AtEOXact_GUC(true, settings->nest_level);
	settings->nest_level = 0;
}

/* ---------- types ---------- */

/* Built-in types whose text no setting changes. */
static bool
text_is_fixed(Oid type)
{
	switch (type)
	{
		case BOOLOID:
		case CHAROID:
		case NAMEOID:
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case TEXTOID:
		case VARCHAROID:
		case BPCHAROID:
		case UUIDOID:
		case OIDOID:
		case TIMEOID:
		case INETOID:
		case CIDROID:
		case MACADDROID:
		case MACADDR8OID:
		case BITOID:
		case VARBITOID:
		case TSVECTOROID:
		case TSQUERYOID:
		case PG_LSNOID:
		case XID8OID:
		case INT4RANGEOID:
		case INT8RANGEOID:
		case NUMRANGEOID:
			return true;
		default:
			return get_typtype(type) == TYPTYPE_ENUM;
	}
}

static ValueKind
value_kind(Oid type, int32 typmod)
{
	switch (type)
	{
		case TEXTOID:
		case VARCHAROID:
			return VALUE_TEXT;
		case BPCHAROID:
			return typmod >= (int32) VARHDRSZ ? VALUE_PADDED : VALUE_TEXT;
		case BOOLOID:
			return VALUE_BOOL;
		case INT2OID:
			return VALUE_INT2;
		case INT4OID:
			return VALUE_INT4;
		case INT8OID:
			return VALUE_INT8;
		case FLOAT4OID:
			return VALUE_FLOAT4;
		case FLOAT8OID:
			return VALUE_FLOAT8;
		case NUMERICOID:
			return VALUE_NUMERIC;
		case BYTEAOID:
			return VALUE_BYTEA;
		case DATEOID:
			return VALUE_DATE;
		case TIMESTAMPOID:
			return VALUE_TIMESTAMP;
		case TIMESTAMPTZOID:
			return VALUE_TIMESTAMPTZ;
		case JSONOID:
			return VALUE_JSON;
		case JSONBOID:
			return VALUE_JSONB;
		default:
			if (OidIsValid(get_element_type(type)))
				return VALUE_ARRAY;
			return type_is_rowtype(type) ? VALUE_COMPOSITE : VALUE_OUTPUT;
	}
}

static void
init_output(ValueType *vt)
{
	Oid			function;
	bool		is_varlena;

	getTypeOutputInfo(vt->type, &function, &is_varlena);
	fmgr_info_cxt(function, &vt->output, vt->context);
	vt->settings_matter = !text_is_fixed(vt->type);
}

ValueType *
value_type(Oid type, int32 typmod)
{
	ValueType  *vt = palloc0(sizeof(ValueType));

	vt->context = CurrentMemoryContext;
	vt->typmod = typmod;
	vt->type = getBaseTypeAndTypmod(type, &vt->typmod);
	vt->domain = vt->type != type;
	vt->kind = value_kind(vt->type, vt->typmod);
	get_typlenbyvalalign(vt->type, &vt->len, &vt->byval, &vt->align);
	init_output(vt);
	if (vt->kind == VALUE_ARRAY)
	{
		vt->element = value_type(get_element_type(vt->type), vt->typmod);
		vt->as_literal = vt->element->kind == VALUE_JSON ||
			vt->element->kind == VALUE_JSONB || vt->element->kind == VALUE_ARRAY;
	}
	return vt;
}

/* ---------- values to JSON ---------- */

static void
json_numeric(JsonbValue *json, Numeric number)
{
	json->type = jbvNumeric;
	json->val.numeric = number;
}

static void
json_of_output(ValueType *type, ValueSettings *settings, Datum value, JsonbValue *json)
{
	char	   *text;

	if (type->settings_matter)
		pin_gucs(settings, true);
	text = OutputFunctionCall(&type->output, value);
	json_set_string(json, text, strlen(text));
}

bool
value_depends_on_gucs(const ValueType *type)
{
	return type->settings_matter || type->domain;
}

bool
value_is_json_text(const ValueType *type)
{
	return type->kind == VALUE_JSON;
}

/* A composite may have json in it, which is known when a value is at hand. */
bool
value_is_fragile(const ValueType *type)
{
	return type->kind == VALUE_JSON || type->kind == VALUE_COMPOSITE ||
		(type->kind == VALUE_ARRAY && value_is_fragile(type->element) && !type->as_literal);
}

static void
json_of_text(ValueType *type, Datum value, JsonbValue *json)
{
	text	   *t = DatumGetTextPP(value);
	int			len = VARSIZE_ANY_EXHDR(t);
	char	   *data = VARDATA_ANY(t);

	if (type->kind == VALUE_PADDED)
		len = bpchartruelen(data, len);
	json_set_string(json, data, len);
}

/* NaN and the infinities are no JSON numbers. */
static void
json_of_float(ValueType *type, ValueSettings *settings, Datum value, JsonbValue *json)
{
	char		buf[DOUBLE_SHORTEST_DECIMAL_LEN];
	Datum		numeric;
	float8		number = type->kind == VALUE_FLOAT4 ? DatumGetFloat4(value) : DatumGetFloat8(value);

	if (isnan(number) || isinf(number))
	{
		json_of_output(type, settings, value, json);
		return;
	}
	if (type->kind == VALUE_FLOAT4)
		float_to_shortest_decimal_buf(DatumGetFloat4(value), buf);
	else
		double_to_shortest_decimal_buf(number, buf);
	numeric = DirectFunctionCall3(numeric_in, CStringGetDatum(buf),
								  ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	json_numeric(json, DatumGetNumeric(numeric));
}

static void
json_of_numeric(ValueType *type, ValueSettings *settings, Datum value, JsonbValue *json)
{
	Numeric		number = DatumGetNumeric(value);

	if (numeric_is_nan(number) || numeric_is_inf(number))
		json_of_output(type, settings, value, json);
	else
		json_numeric(json, number);
}

static void
json_of_bytea(Datum value, JsonbValue *json)
{
	bytea	   *bytes = DatumGetByteaPP(value);
	Size		len = VARSIZE_ANY_EXHDR(bytes);
	char	   *text = MemoryContextAllocHuge(CurrentMemoryContext, len * 2 + 3);

	text[0] = '\\';
	text[1] = 'x';
	hex_encode(VARDATA_ANY(bytes), len, text + 2);
	json_set_string(json, text, len * 2 + 2);
}

static void
json_of_time(ValueType *type, Datum value, JsonbValue *json)
{
	char	   *text = palloc(MAXDATELEN + 1);
	int			utc = 0;

	JsonEncodeDateTime(text, value, type->type, type->kind == VALUE_TIMESTAMPTZ ? &utc : NULL);
	json_set_string(json, text, strlen(text));
}

static void
push_value(JsonbParseState **state, JsonbIteratorToken token, ValueType *type,
		   ValueSettings *settings, Datum value, bool isnull)
{
	JsonbValue	json;

	value_to_json(type, settings, value, isnull, &json);
	pushJsonbValue(state, token, &json);
}

/* Push one dimension of an array, and those below it; returns the array. */
static JsonbValue *
push_dimension(JsonbParseState **state, ValueType *type, ValueSettings *settings,
			   int ndim, const int *dims, Datum **elements, bool **nulls)
{
	pushJsonbValue(state, WJB_BEGIN_ARRAY, NULL);
	for (int i = 0; ndim > 0 && i < dims[0]; i++)
	{
		if (ndim > 1)
			(void) push_dimension(state, type, settings, ndim - 1, dims + 1, elements, nulls);
		else
			push_value(state, WJB_ELEM, type->element, settings, *(*elements)++, *(*nulls)++);
	}
	return pushJsonbValue(state, WJB_END_ARRAY, NULL);
}

static void
json_of_array(ValueType *type, ValueSettings *settings, Datum value, JsonbValue *json)
{
	ArrayType  *array = DatumGetArrayTypeP(value);
	JsonbParseState *state = NULL;
	JsonbValue *result;
	bool		literal = type->as_literal;
	Datum	   *elements;
	bool	   *nulls;
	int			n;

	for (int i = 0; i < ARR_NDIM(array); i++)
		literal |= ARR_LBOUND(array)[i] != 1;
	if (literal)
	{
		json_of_output(type, settings, PointerGetDatum(array), json);
		return;
	}
	deconstruct_array(array, ARR_ELEMTYPE(array), type->element->len, type->element->byval,
					  type->element->align, &elements, &nulls, &n);
	result = push_dimension(&state, type, settings, ARR_NDIM(array), ARR_DIMS(array),
							&elements, &nulls);
	*json = json_to_value(JsonbValueToJsonb(result));
}

/*
 * Learn the composite type's attributes, again if they have changed.  The number of
 * the definition and its attributes are taken at one go: looking either up on its own
 * may hear of a change.
 */
static TupleDesc
composite_desc(ValueType *type)
{
	TypeCacheEntry *entry = lookup_type_cache(type->type, TYPECACHE_TUPDESC);
	TupleDesc	desc = entry->tupDesc;
	uint64		id = entry->tupDesc_identifier;
	MemoryContext old;

	if (desc == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("type %s is not composite", format_type_be(type->type))));
	PinTupleDesc(desc);
	if (type->att != NULL && type->composite_id == id)
		return desc;
	old = MemoryContextSwitchTo(type->context);
	type->composite_id = 0;
	type->natts = desc->natts;
	type->att = palloc0(sizeof(ValueType *) * Max(desc->natts, 1));
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped)
			type->att[i] = value_type(att->atttypid, att->atttypmod);
	}
	type->composite_id = id;
	MemoryContextSwitchTo(old);
	return desc;
}

void
value_deform(Datum composite, TupleDesc desc, Datum *values, bool *isnull)
{
	HeapTupleHeader header = DatumGetHeapTupleHeader(composite);
	HeapTupleData tuple = {.t_len = HeapTupleHeaderGetDatumLength(header), .t_data = header};

	ItemPointerSetInvalid(&tuple.t_self);
	heap_deform_tuple(&tuple, desc, values, isnull);
}

static void
json_of_composite(ValueType *type, ValueSettings *settings, Datum value, JsonbValue *json)
{
	TupleDesc	desc = composite_desc(type);
	JsonbParseState *state = json_begin_object();
	Datum	   *values = palloc(sizeof(Datum) * Max(desc->natts, 1));
	bool	   *nulls = palloc(sizeof(bool) * Max(desc->natts, 1));

	value_deform(value, desc, values, nulls);
	for (int i = 0; i < desc->natts; i++)
	{
		JsonbValue	name;

		if (TupleDescAttr(desc, i)->attisdropped)
			continue;
		json_set_string(&name, pstrdup(NameStr(TupleDescAttr(desc, i)->attname)),
					strlen(NameStr(TupleDescAttr(desc, i)->attname)));
		pushJsonbValue(&state, WJB_KEY, &name);
		push_value(&state, WJB_VALUE, type->att[i], settings, values[i], nulls[i]);
	}
	*json = json_to_value(json_end_object(&state));
	ReleaseTupleDesc(desc);
}

void
value_to_json(ValueType *type, ValueSettings *settings, Datum value, bool isnull,
			  JsonbValue *json)
{
	if (isnull)
	{
		json->type = jbvNull;
		return;
	}
	switch (type->kind)
	{
		case VALUE_TEXT:
		case VALUE_PADDED:
			json_of_text(type, value, json);
			break;
		case VALUE_BOOL:
			json->type = jbvBool;
			json->val.boolean = DatumGetBool(value);
			break;
		case VALUE_INT2:
			json_numeric(json, int64_to_numeric(DatumGetInt16(value)));
			break;
		case VALUE_INT4:
			json_numeric(json, int64_to_numeric(DatumGetInt32(value)));
			break;
		case VALUE_INT8:
			json_numeric(json, int64_to_numeric(DatumGetInt64(value)));
			break;
		case VALUE_FLOAT4:
		case VALUE_FLOAT8:
			json_of_float(type, settings, value, json);
			break;
		case VALUE_NUMERIC:
			json_of_numeric(type, settings, value, json);
			break;
		case VALUE_BYTEA:
			json_of_bytea(value, json);
			break;
		case VALUE_DATE:
		case VALUE_TIMESTAMP:
		case VALUE_TIMESTAMPTZ:
			json_of_time(type, value, json);
			break;
		case VALUE_JSON:
			*json = json_to_value(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(TextDatumGetCString(value)))));
			break;
		case VALUE_JSONB:
			*json = json_to_value(DatumGetJsonbP(value));
			break;
		case VALUE_ARRAY:
			json_of_array(type, settings, value, json);
			break;
		case VALUE_COMPOSITE:
			json_of_composite(type, settings, value, json);
			break;
		case VALUE_OUTPUT:
			json_of_output(type, settings, value, json);
			break;
	}
}

/* ---------- JSON to values ---------- */

/* The type of an attribute of a composite type; NULL if there is none. */
static ValueType *
attribute_type(const ValueType *type, TupleDesc desc, const char *name)
{
	for (int i = 0; i < desc->natts; i++)
	{
		Form_pg_attribute att = TupleDescAttr(desc, i);

		if (!att->attisdropped && strcmp(NameStr(att->attname), name) == 0)
			return type->att[i];
	}
	return NULL;
}

static void
check_composite(ValueType *type, JsonbContainer *container)
{
	TupleDesc	desc = composite_desc(type);
	JsonbIterator *it = JsonbIteratorInit(container);
	char	   *name = NULL;
	JsonbIteratorToken token;
	JsonbValue	json;

	while ((token = JsonbIteratorNext(&it, &json, true)) != WJB_DONE)
	{
		ValueType  *attribute;

		if (token == WJB_KEY)
			name = pnstrdup(json.val.string.val, json.val.string.len);
		/* what is null can't be lost */
		if (token != WJB_VALUE || json.type == jbvNull)
			continue;
		attribute = attribute_type(type, desc, name);
		if (attribute == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("type %s has no attribute \"%s\", which the value has",
							format_type_be(type->type), name)));
		value_check_attributes(attribute, &json);
	}
	ReleaseTupleDesc(desc);
}

/* An array of several dimensions has JSON arrays for elements. */
static void
check_array(ValueType *type, JsonbContainer *container)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	json;

	while ((token = JsonbIteratorNext(&it, &json, true)) != WJB_DONE)
	{
		if (token != WJB_ELEM || json.type != jbvBinary)
			continue;
		if (JsonContainerIsArray(json.val.binary.data))
			check_array(type, json.val.binary.data);
		else
			value_check_attributes(type->element, &json);
	}
}

bool
value_has_parts(const ValueType *type)
{
	return type->kind == VALUE_COMPOSITE || type->kind == VALUE_ARRAY;
}

void
value_check_attributes(ValueType *type, JsonbValue *json)
{
	if (json->type != jbvBinary)
		return;
	if (type->kind == VALUE_COMPOSITE && JsonContainerIsObject(json->val.binary.data))
		check_composite(type, json->val.binary.data);
	else if (type->kind == VALUE_ARRAY && JsonContainerIsArray(json->val.binary.data))
		check_array(type, json->val.binary.data);
}

/* The value's text, as it stands in an external id. */
char *
value_to_text(ValueType *type, ValueSettings *settings, Datum value)
{
	JsonbValue	json;

	if (type->kind == VALUE_TEXT || type->kind == VALUE_PADDED)
	{
		json_of_text(type, value, &json);
		return pnstrdup(json.val.string.val, json.val.string.len);
	}
	json_of_output(type, settings, value, &json);
	return json.val.string.val;
}

/*
 * JSON null is a value of json and jsonb, too, if one that can't be told from
 * null on the way back.  Where the column forbids nulls it must be that one.
 */
bool
value_json_null(const ValueType *type, Datum *value)
{
	if (type->kind == VALUE_JSONB)
		*value = DirectFunctionCall1(jsonb_in, CStringGetDatum("null"));
	else if (type->kind == VALUE_JSON)
		*value = CStringGetTextDatum("null");
	else
		return false;
	return true;
}

/* Copy a value into the current memory context, in one piece. */
Datum
value_copy(const ValueType *type, Datum value)
{
	if (type->len == -1)
		return PointerGetDatum(PG_DETOAST_DATUM_COPY(value));
	return datumCopy(value, type->byval, type->len);
}

/* Can values with other bytes be the same in JSON? */
static bool
bytes_may_mislead(ValueKind kind)
{
	switch (kind)
	{
		case VALUE_NUMERIC:
		case VALUE_FLOAT4:
		case VALUE_FLOAT8:
		case VALUE_PADDED:
		case VALUE_JSON:
		case VALUE_JSONB:
		case VALUE_ARRAY:
		case VALUE_COMPOSITE:
			return true;
		default:
			return false;
	}
}

bool
value_same_bytes(const ValueType *type, Datum a, Datum b)
{
	return datum_image_eq(a, b, type->byval, type->len);
}

bool
value_equal(ValueType *type, Datum a, bool a_isnull, Datum b, bool b_isnull)
{
	ValueSettings settings;
	JsonbValue	ja;
	JsonbValue	jb;

	/* null and a JSON null are both null to the hub */
	if (a_isnull && b_isnull)
		return true;
	if ((a_isnull || b_isnull) && type->kind != VALUE_JSON && type->kind != VALUE_JSONB)
		return false;
	if (!a_isnull && !b_isnull && value_same_bytes(type, a, b))
		return true;
	if (!bytes_may_mislead(type->kind))
		return false;
	value_settings_begin(&settings);
	value_to_json(type, &settings, a, a_isnull, &ja);
	value_to_json(type, &settings, b, b_isnull, &jb);
	value_settings_end(&settings);
	return json_value_equal(&ja, &jb);
}
