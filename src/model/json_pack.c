/*
 * json_pack.c
 *	  A tree of values as jsonb, written in one go.
 *
 * The server's JsonbValueToJsonb() appends each key and value to a string that grows. A change
 * makes four objects, an answer among them, and a batch thousands of them, so here the tree is measured
 * first, and then written: a third of the instructions.  Both passes count bytes from the start of
 * the outermost container, which is aligned; within it numbers and containers are aligned, too.
 */
#include "postgres.h"

#include "miscadmin.h"

#include "model/json_pack.h"

typedef struct Packing
{
	char	   *start;
	Size		at;				/* so much is written */
} Packing;

/* ---------- measuring ---------- */

static Size measure(const JsonbValue *value, Size at);

static Size
measure_container(const JsonbValue *value, Size at)
{
	check_stack_depth();
	at = INTALIGN(at) + offsetof(JsonbContainer, children);
	if (value->type == jbvArray)
	{
		at += sizeof(JEntry) * value->val.array.nElems;
		for (int i = 0; i < value->val.array.nElems; i++)
			at = measure(&value->val.array.elems[i], at);
		return at;
	}
	at += sizeof(JEntry) * 2 * value->val.object.nPairs;
	for (int i = 0; i < value->val.object.nPairs; i++)
		at += value->val.object.pairs[i].key.val.string.len;
	for (int i = 0; i < value->val.object.nPairs; i++)
		at = measure(&value->val.object.pairs[i].value, at);
	return at;
}

/* Where the value ends that begins there. */
static Size
measure(const JsonbValue *value, Size at)
{
	switch (value->type)
	{
		case jbvNull:
		case jbvBool:
			return at;
		case jbvString:
			return at + value->val.string.len;
		case jbvNumeric:
			return INTALIGN(at) + VARSIZE_ANY(value->val.numeric);
		case jbvBinary:
			Assert(!JsonContainerIsScalar(value->val.binary.data));
			return INTALIGN(at) + value->val.binary.len;
		case jbvArray:
		case jbvObject:
			return measure_container(value, at);
		default:
			elog(ERROR, "a value of type %d is packed", (int) value->type);
	}
	return at;					/* keep the compiler quiet */
}

static Size
measure_all(const JsonbValue *value)
{
	const Size	size = measure(value, 0);

	Assert(value->type == jbvArray || value->type == jbvObject);
	/* what is in it is no longer, either */
	if (size > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a jsonb value would take more than %u bytes", JENTRY_OFFLENMASK)));
	return size;
}

/* ---------- writing ---------- */

static void
align(Packing *p)
{
	while (p->at != INTALIGN(p->at))
		p->start[p->at++] = '\0';
}

static void
append(Packing *p, const void *data, Size len)
{
	memcpy(p->start + p->at, data, len);
	p->at += len;
}

static JEntry write_value(Packing *p, const JsonbValue *value);

/* Entry number i of a container whose data begin there, of a value that began at before. */
static void
set_entry(const Packing *p, JEntry *entries, int i, JEntry type, Size data, Size before)
{
	entries[i] = type | (i % JB_OFFSET_STRIDE == 0 ? JENTRY_HAS_OFF | (JEntry) (p->at - data) :
						 (JEntry) (p->at - before));
}

static void
write_container(Packing *p, const JsonbValue *value)
{
	const bool	is_array = value->type == jbvArray;
	const int	n = is_array ? value->val.array.nElems : value->val.object.nPairs;
	const int	nkeys = is_array ? 0 : n;
	JsonbContainer *container;
	Size		data;
	Size		before;

	align(p);
	container = (JsonbContainer *) (p->start + p->at);
	container->header = n | (!is_array ? JB_FOBJECT : value->val.array.rawScalar ?
							 JB_FARRAY | JB_FSCALAR : JB_FARRAY);
	p->at += offsetof(JsonbContainer, children) + sizeof(JEntry) * (nkeys + n);
	data = p->at;
	for (int i = 0; i < nkeys; i++)
	{
		const JsonbValue *key = &value->val.object.pairs[i].key;

		before = p->at;
		append(p, key->val.string.val, key->val.string.len);
		set_entry(p, container->children, i, JENTRY_ISSTRING, data, before);
	}
	for (int i = 0; i < n; i++)
	{
		JEntry		type;

		before = p->at;
		type = write_value(p, is_array ? &value->val.array.elems[i] : &value->val.object.pairs[i].value);
		set_entry(p, container->children, nkeys + i, type, data, before);
	}
}

static JEntry
write_value(Packing *p, const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvNull:
			return JENTRY_ISNULL;
		case jbvBool:
			return value->val.boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE;
		case jbvString:
			append(p, value->val.string.val, value->val.string.len);
			return JENTRY_ISSTRING;
		case jbvNumeric:
			align(p);
			append(p, value->val.numeric, VARSIZE_ANY(value->val.numeric));
			return JENTRY_ISNUMERIC;
		case jbvBinary:
			align(p);
			append(p, value->val.binary.data, value->val.binary.len);
			return JENTRY_ISCONTAINER;
		default:
			write_container(p, value);
			return JENTRY_ISCONTAINER;
	}
}

Jsonb *
json_pack(const JsonbValue *value)
{
	const Size	size = measure_all(value);
	Jsonb	   *jsonb = palloc(VARHDRSZ + size);
	Packing		p = {.start = (char *) &jsonb->root};

	SET_VARSIZE(jsonb, VARHDRSZ + size);
	write_container(&p, value);
	Assert(p.at == size);
	return jsonb;
}

JsonbValue *
json_pack_value(const JsonbValue *value, MemoryContext context)
{
	const Size	size = measure_all(value);
	JsonbValue *packed = MemoryContextAlloc(context, MAXALIGN(sizeof(JsonbValue)) + size);
	Packing		p = {.start = (char *) packed + MAXALIGN(sizeof(JsonbValue))};

	packed->type = jbvBinary;
	packed->val.binary.len = (int) size;
	packed->val.binary.data = (JsonbContainer *) p.start;
	write_container(&p, value);
	Assert(p.at == size);
	return packed;
}
