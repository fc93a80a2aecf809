/*
 * handover.c
 *	  Unique values that rows hand on to one another.
 *
 * Rows that a unique index has refused are tried again in the order found here.
 */
#include "postgres.h"

#include "access/genam.h"
#include "lib/stringinfo.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "common/hashfn.h"
#include "local/handover.h"

/* ---------- what a row hands on ---------- */

/* The value that the row has, or will have, in a column. */
static Datum
value_of(const RowWriteAttempt *attempt, AttrNumber attnum, bool target, bool *isnull)
{
	const AttachedRow *row = target && (!attempt->present ||
										bms_is_member(attnum, attempt->columns)) ?
		&attempt->target : &attempt->before;

	*isnull = row->isnull[attnum - 1];
	return row->values[attnum - 1];
}

/* The index's columns as one text; NULL if one of them is null, and nulls are never equal. */
static char *
index_text(const RowWriteAttempt *attempt, Relation index, bool target)
{
	StringInfoData text;

	if (!target && !attempt->present)
		return NULL;
	initStringInfo(&text);
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];
		bool		isnull;
		Datum		value = value_of(attempt, attnum, target, &isnull);
		Oid			output;
		bool		varlena;
		char	   *one;

		if (isnull && !index->rd_index->indnullsnotdistinct)
			return NULL;
		if (isnull)
		{
			appendStringInfoString(&text, "null:");
			continue;
		}
		getTypeOutputInfo(get_atttype(attempt->attached->relid, attnum), &output, &varlena);
		one = OidOutputFunctionCall(output, value);
		appendStringInfo(&text, "%zu:%s", strlen(one), one);
	}
	return text.data;
}

/* Are its columns just columns of the table? */
static bool
is_plain(Relation index)
{
	if (!index->rd_index->indisunique)
		return false;
	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
		if (index->rd_index->indkey.values[i] <= 0)
			return false;
	return true;
}

Handover *
handover_of(const RowWriteAttempt *attempt, const ErrorData *error)
{
	Handover   *handover = NULL;
	Oid			relid;
	Oid			oid;
	Relation	index;

	if (attempt->attached == NULL || error->constraint_name == NULL ||
		(error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION &&
		 error->sqlerrcode != ERRCODE_EXCLUSION_VIOLATION))
		return NULL;
	relid = attempt->attached->relid;
	oid = get_relname_relid(error->constraint_name, get_rel_namespace(relid));
	if (!OidIsValid(oid) || get_rel_relkind(oid) != RELKIND_INDEX)
		return NULL;
	index = index_open(oid, AccessShareLock);
	if (index->rd_index->indrelid == relid)
	{
		handover = palloc0(sizeof(Handover));
		handover->index = oid;
		handover->present = attempt->present;
	}
	if (handover != NULL && is_plain(index))
	{
		handover->held = index_text(attempt, index, false);
		handover->wanted = index_text(attempt, index, true);
	}
	index_close(index, AccessShareLock);
	return handover;
}

/* ---------- the order ---------- */

typedef struct Holder
{
	char	   *key;			/* index and value */
	int			position;
} Holder;

static uint32
hash_holder(const void *key, Size size)
{
	const char *text = *(char *const *) key;

	return DatumGetUInt32(hash_any((const unsigned char *) text, strlen(text)));
}

static int
match_holder(const void *a, const void *b, Size size)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

/* For each item, which one holds the value that it wants; -1: none of them. */
static int *
find_holders(BatchItem **items, int n)
{
	HASHCTL		info = {.keysize = sizeof(char *), .entrysize = sizeof(Holder),
		.hash = hash_holder, .match = match_holder, .hcxt = CurrentMemoryContext};
	HTAB	   *held = hash_create("syncext unique values", Max(n, 16), &info,
								   HASH_ELEM | HASH_FUNCTION | HASH_COMPARE | HASH_CONTEXT);
	int		   *holder = palloc(sizeof(int) * Max(n, 1));

	for (int i = 0; i < n; i++)
	{
		const Handover *handover = items[i]->handover;
		char	   *key;

		if (handover == NULL || handover->held == NULL)
			continue;
		key = psprintf("%u:%s", handover->index, handover->held);
		((Holder *) hash_search(held, &key, HASH_ENTER, NULL))->position = i;
	}
	for (int i = 0; i < n; i++)
	{
		const Handover *handover = items[i]->handover;
		Holder	   *found = NULL;

		if (handover != NULL && handover->wanted != NULL)
		{
			char	   *key = psprintf("%u:%s", handover->index, handover->wanted);

			found = hash_search(held, &key, HASH_FIND, NULL);
		}
		holder[i] = found == NULL || found->position == i ? -1 : found->position;
	}
	hash_destroy(held);
	return holder;
}

static void
add_circle(HandoverOrder *order, BatchItem **items, const int *path, int from, int to)
{
	HandoverCircle *circle = &order->circles[order->ncircles++];

	circle->n = to - from;
	circle->items = palloc(sizeof(BatchItem *) * circle->n);
	for (int i = from; i < to; i++)
		circle->items[i - from] = items[path[i]];
}

void
handover_order(BatchItem **items, int n, HandoverOrder *order)
{
	int		   *holder = find_holders(items, n);
	int		   *path = palloc(sizeof(int) * Max(n, 1));
	int		   *place = palloc(sizeof(int) * Max(n, 1));	/* in the path, from 1; -1: done */
	int			done = 0;

	memset(place, 0, sizeof(int) * n);
	order->items = palloc(sizeof(BatchItem *) * Max(n, 1));
	order->circles = palloc(sizeof(HandoverCircle) * Max(n, 1));
	order->ncircles = 0;
	for (int i = 0; i < n; i++)
	{
		int			length = 0;
		int			next = i;

		/* from row to row, as far as each waits for another */
		while (next >= 0 && place[next] == 0)
		{
			path[length++] = next;
			place[next] = length;
			next = holder[next];
		}
		if (next >= 0 && place[next] > 0)
			add_circle(order, items, path, place[next] - 1, length);
		while (length > 0)
		{
			place[path[--length]] = -1;
			order->items[done++] = items[path[length]];
		}
	}
}
