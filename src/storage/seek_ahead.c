/*
 * seek_ahead.c
 *	  Finding keys that come in index order by walking on from the last one.
 *
 * An index search descends from the root for each key.  Where the next key is a near
 * neighbour, as in a target's first batches or after a bulk load, a scan that stands
 * on the last key reaches it in a few steps.  Steps look at index entries only; rows
 * are fetched for the keys that are wanted.
 *
 * Starting such a scan costs more than a search, because it reads a whole page.  So
 * the scan is started now and then, and kept while it serves.
 *
 * Measured (PostgreSQL 15, medians of four, CPU time of a backend that pulls and
 * acknowledges 20,000 records in batches of 500): 66 ms with it, 113 ms without,
 * where the ids ascend as the records came in; 166 ms with it, 153 ms without, where
 * they came in at random.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/itup.h"
#include "access/nbtree.h"
#include "access/relscan.h"
#include "access/skey.h"
#include "catalog/pg_collation.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#include "compat.h"
#include "storage/seek_ahead.h"

/* A key that is farther away than so many entries is searched for. */
#define MAX_STEPS		16
/* So many keys have to be found by one start for it to have been worth it. */
#define WORTH_KEYS		8
/* Seeks that do without, at first, and at most. */
#define FIRST_PAUSE		4
#define MAX_PAUSE		1024

struct SeekAhead
{
	Relation	index;
	Snapshot	snapshot;
	int			nkeys;
	IndexScanDesc scan;
	ScanKeyData keys[SEEK_AHEAD_MAX_KEYS];	/* all columns but the last equal, that at least */
	MemoryContext bounds;		/* what they point to */
	bool		started;
	bool		on_entry;		/* the scan stands on one, in xs_itup */
	bool		taken;			/* and its row has been fetched */
	bool		has_gap;		/* there is none before where it stands from here on: */
	Datum		gap;			/* this value of the last column */
	int			served;			/* keys since it was started */
	int			pause;			/* seeks left that do without */
	int			next_pause;
	int		   *lesson;
};

SeekAhead *
seek_ahead_begin(Relation table, Relation index, Snapshot snapshot, int *lesson)
{
	SeekAhead  *ahead = palloc0(sizeof(SeekAhead));
	int			n = IndexRelationGetNumberOfKeyAttributes(index);

	Assert(n <= SEEK_AHEAD_MAX_KEYS && n == IndexRelationGetNumberOfAttributes(index));
	ahead->index = index;
	ahead->snapshot = snapshot;
	ahead->nkeys = n;
	ahead->next_pause = lesson == NULL || *lesson == 0 ? FIRST_PAUSE : *lesson;
	ahead->pause = ahead->next_pause;
	ahead->lesson = lesson;
	ahead->bounds = AllocSetContextCreate(CurrentMemoryContext, "syncext seek", ALLOCSET_SMALL_SIZES);
	ahead->scan = index_beginscan_compat(table, index, snapshot, n);
	ahead->scan->xs_want_itup = true;
	for (int i = 0; i < n; i++)
	{
		Oid			type = index->rd_opcintype[i];
		StrategyNumber strategy = i < n - 1 ? BTEqualStrategyNumber : BTGreaterEqualStrategyNumber;

		ScanKeyEntryInitialize(&ahead->keys[i], 0, i + 1, strategy, InvalidOid,
							   index->rd_indcollation[i],
							   get_opcode(get_opfamily_member(index->rd_opfamily[i], type, type,
															  strategy)),
							   (Datum) 0);
	}
	return ahead;
}

void
seek_ahead_end(SeekAhead *ahead)
{
	if (ahead->lesson != NULL)
		*ahead->lesson = ahead->next_pause;
	index_endscan(ahead->scan);
	MemoryContextDelete(ahead->bounds);
	pfree(ahead);
}

/* ---------- the scan ---------- */

static void
step(SeekAhead *ahead)
{
	ahead->on_entry = index_getnext_tid(ahead->scan, ForwardScanDirection) != NULL;
	ahead->taken = false;
	ahead->has_gap = false;
}

/* By bytes, as external ids are ordered: half of what the operator class takes for it. */
static int
compare_bytes(Datum a, Datum b)
{
	const text *first = DatumGetTextPP(a);
	const text *second = DatumGetTextPP(b);
	const int	n = VARSIZE_ANY_EXHDR(first);
	const int	m = VARSIZE_ANY_EXHDR(second);
	const int	cmp = memcmp(VARDATA_ANY(first), VARDATA_ANY(second), Min(n, m));

	return cmp != 0 ? cmp : n - m;
}

/* Compare values of the last column, as the index does. */
static int
compare_values(const SeekAhead *ahead, Datum a, Datum b)
{
	const int	column = ahead->nkeys - 1;

	if (ahead->index->rd_opcintype[column] == TEXTOID &&
		ahead->index->rd_indcollation[column] == C_COLLATION_OID)
		return compare_bytes(a, b);
	return DatumGetInt32(FunctionCall2Coll(index_getprocinfo(ahead->index, column + 1, BTORDER_PROC),
										   ahead->index->rd_indcollation[column], a, b));
}

/* Compare the last column of the entry with a key. */
static int
compare_last(const SeekAhead *ahead, const Datum *keys)
{
	bool		isnull;
	Datum		value = index_getattr(ahead->scan->xs_itup, ahead->nkeys,
									  ahead->scan->xs_itupdesc, &isnull);

	return compare_values(ahead, value, keys[ahead->nkeys - 1]);
}

/*
 * Does the scan walk the entries of which all columns but the last are these?  It is those
 * that it was started for, so that they need not be looked at.
 */
static bool
in_same_range(const SeekAhead *ahead, const Datum *keys)
{
	if (!ahead->on_entry && !ahead->has_gap)
		return false;
	for (int i = 0; i < ahead->nkeys - 1; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(ahead->index), i);

		if (!datum_image_eq(ahead->keys[i].sk_argument, keys[i], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

/* What was sought is not there, nor anything between it and where the scan stands. */
static void
note_gap(SeekAhead *ahead, const Datum *keys)
{
	const int	column = ahead->nkeys - 1;
	Form_pg_attribute att = TupleDescAttr(RelationGetDescr(ahead->index), column);
	MemoryContext old = MemoryContextSwitchTo(ahead->bounds);

	ahead->has_gap = true;
	ahead->gap = datumCopy(keys[column], att->attbyval, att->attlen);
	MemoryContextSwitchTo(old);
}

static bool
in_gap(const SeekAhead *ahead, const Datum *keys)
{
	return ahead->has_gap && compare_values(ahead, keys[ahead->nkeys - 1], ahead->gap) >= 0;
}

static void
start(SeekAhead *ahead, const Datum *keys)
{
	MemoryContext old = MemoryContextSwitchTo(ahead->bounds);

	/* it is compared with page after page, long after the caller's are gone */
	MemoryContextReset(ahead->bounds);
	for (int i = 0; i < ahead->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(ahead->index), i);

		ahead->keys[i].sk_argument = datumCopy(keys[i], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(old);
	index_rescan(ahead->scan, ahead->keys, ahead->nkeys, NULL, 0);
	ahead->started = true;
	ahead->served = 0;
	step(ahead);
	if (!ahead->on_entry || compare_last(ahead, keys) > 0)
		note_gap(ahead, keys);
}

/* Fetch the row; of several versions of the key the one that can be seen. */
static bool
fetch(SeekAhead *ahead, const Datum *keys, TupleTableSlot *slot)
{
	do
	{
		if (index_fetch_heap(ahead->scan, slot))
		{
			ahead->taken = true;
			return true;
		}
		step(ahead);
	} while (ahead->on_entry && compare_last(ahead, keys) == 0);
	return false;
}

/* ---------- seeking ---------- */

typedef enum Reach
{
	REACH_HERE,					/* the scan stands on the key's first entry */
	REACH_ABSENT,				/* or behind where it would be */
	REACH_FAR,
	REACH_UNKNOWN				/* it may have been passed */
} Reach;

/* Walk on to the key. */
static Reach
walk(SeekAhead *ahead, const Datum *keys)
{
	int			cmp;

	if (!in_same_range(ahead, keys))
		return REACH_FAR;
	if (!ahead->on_entry)
		return in_gap(ahead, keys) ? REACH_ABSENT : REACH_FAR;
	cmp = compare_last(ahead, keys);
	if (cmp > 0 && in_gap(ahead, keys))
		return REACH_ABSENT;
	if (cmp > 0 || (cmp == 0 && ahead->taken))
		return REACH_UNKNOWN;
	for (int steps = 0; cmp < 0; steps++)
	{
		if (steps == MAX_STEPS)
			return REACH_FAR;
		step(ahead);
		cmp = ahead->on_entry ? compare_last(ahead, keys) : 1;
	}
	if (cmp == 0)
		return REACH_HERE;
	note_gap(ahead, keys);
	return REACH_ABSENT;
}

/* After a start that has served few keys the next one is put off, ever longer. */
static bool
worth_a_start(SeekAhead *ahead)
{
	if (ahead->started && ahead->served < WORTH_KEYS)
	{
		ahead->pause = ahead->next_pause;
		ahead->next_pause = Min(ahead->next_pause * 2, MAX_PAUSE);
		ahead->started = ahead->on_entry = ahead->has_gap = false;
		return false;
	}
	if (ahead->started)
		ahead->next_pause = FIRST_PAUSE;
	return true;
}

bool
seek_ahead(SeekAhead *ahead, const Datum *keys, TupleTableSlot *slot, bool *found)
{
	Reach		reach;

	if (ahead->pause > 0)
	{
		ahead->pause--;
		return false;
	}
	reach = walk(ahead, keys);
	if (reach == REACH_UNKNOWN)
		return false;
	if (reach == REACH_FAR)
	{
		if (!worth_a_start(ahead))
			return false;
		start(ahead, keys);
		reach = ahead->on_entry && compare_last(ahead, keys) == 0 ? REACH_HERE : REACH_ABSENT;
	}
	ahead->served++;
	*found = reach == REACH_HERE && fetch(ahead, keys, slot);
	if (!*found)
		ExecClearTuple(slot);
	return true;
}
