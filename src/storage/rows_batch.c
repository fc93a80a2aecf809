/*
 * rows_batch.c
 *	  Many rows of a table of ours at once: found ahead by one snapshot, inserted
 *	  together.
 *
 * Rows that are inserted together share the pages' locks and WAL records.  They wait in
 * slots of their own until there are enough of them, the table is closed, or the
 * caller says so.
 */
#include "postgres.h"

#include "access/tableam.h"
#include "access/xact.h"
#include "executor/executor.h"
#include "utils/datum.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#include "storage/rows_entries.h"
#include "storage/rows_state.h"

/* ---------- slots ---------- */

static void
drop_slots(TupleTableSlot **slots, int n)
{
	for (int i = 0; i < n; i++)
		ExecDropSingleTupleTableSlot(slots[i]);
}

/* ---------- inserting together ---------- */

/* So many rows are inserted at once, or what has so many bytes: a row's slot isn't cheap to make. */
#define MAX_WAITING		128
#define MAX_WAITING_BYTES	(64 * 1024)

struct RowsWaiting
{
	int			n;
	Size		bytes;
	int			nslots;			/* that there are */
	TupleTableSlot *slots[MAX_WAITING];
};

void
rows_flush(Rows *rows)
{
	RowsWaiting *waiting = rows->waiting;

	if (waiting == NULL || waiting->n == 0)
		return;
	rows_open_indexes(rows);
	if (waiting->n == 1)
		rows_insert_slot(rows, waiting->slots[0]);
	else
	{
		table_multi_insert(rows->rel, waiting->slots, waiting->n, GetCurrentCommandId(true),
						   rows->insert_options, NULL);
		rows_insert_entries(rows->result, rows->estate, waiting->slots, waiting->n);
		rows_finish_write(rows);
	}
	for (int i = 0; i < waiting->n; i++)
		ExecClearTuple(waiting->slots[i]);
	waiting->n = 0;
	waiting->bytes = 0;
}

/* Make the next slot hold the row, with all that it points to. */
static void
append_waiting(Rows *rows, RowsWaiting *waiting, const Datum *values, const bool *isnull)
{
	TupleTableSlot *slot;

	if (waiting->n == waiting->nslots)
		waiting->slots[waiting->nslots++] = rows_make_slot(rows);
	slot = waiting->slots[waiting->n];
	rows_fill_slot(rows, slot, NULL, values, isnull);
	waiting->bytes += ExecFetchSlotHeapTuple(slot, true, NULL)->t_len;
	waiting->n++;
	ResetPerTupleExprContext(rows->estate);
}

bool
rows_may_wait(const Rows *rows)
{
	return GetCurrentTransactionNestLevel() == rows->nest_level;
}

void
rows_show_waiting(Rows *rows)
{
	rows->shows_waiting = true;
}

void
rows_insert_later(Rows *rows, const Datum *values, const bool *isnull)
{
	/* what a subtransaction inserts goes with it if it is rolled back */
	if (!rows_may_wait(rows))
	{
		rows_insert(rows, values, isnull);
		return;
	}
	rows_begin_writing(rows);
	if (rows->waiting == NULL)
		rows->waiting = MemoryContextAllocZero(GetMemoryChunkContext(rows), sizeof(RowsWaiting));
	append_waiting(rows, rows->waiting, values, isnull);
	if (rows->waiting->n == MAX_WAITING || rows->waiting->bytes >= MAX_WAITING_BYTES)
		rows_flush(rows);
}

/* ---------- finding ahead ---------- */

/* Seeks that did without their scan say that the keys are no neighbours. */
#define MAX_LESSON		16

struct RowsAhead
{
	int			n;
	int			next;			/* those before have been taken or passed */
	int			nkeys;
	MemoryContext context;		/* of the keys */
	Datum		keys[ROWS_AHEAD][ROWS_MAX_KEYS];
	int			nslots;			/* that there are, */
	int			nfound;			/* and of them the first hold rows that were found */
	TupleTableSlot *slots[ROWS_AHEAD];
	TupleTableSlot **found[ROWS_AHEAD];	/* by key; NULL: there is none */
};

static RowsAhead *
start_ahead(Rows *rows, int nkeys)
{
	RowsAhead  *ahead = rows->ahead;
	MemoryContext context = GetMemoryChunkContext(rows);

	if (ahead == NULL)
	{
		ahead = rows->ahead = MemoryContextAllocZero(context, sizeof(RowsAhead));
		ahead->context = AllocSetContextCreate(context, "syncext rows found ahead",
											   ALLOCSET_DEFAULT_SIZES);
	}
	MemoryContextReset(ahead->context);
	rows->absent_again = false;
	ahead->n = 0;
	ahead->nfound = 0;
	ahead->next = 0;
	ahead->nkeys = nkeys;
	return ahead;
}

static void
copy_keys(const Rows *rows, RowsAhead *ahead, int number, const Datum *keys)
{
	const KeyShape *key = &rows->layout->shape->primary_key;
	MemoryContext old = MemoryContextSwitchTo(ahead->context);

	for (int i = 0; i < ahead->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rows->rel),
											  rows->layout->attnum[key->column[i] - 1] - 1);

		ahead->keys[number][i] = datumCopy(keys[i], att->attbyval, att->attlen);
	}
	MemoryContextSwitchTo(old);
}

/* The found row's slot changes places with the one that the row was found ahead in. */
static void
swap_slot(Rows *rows, TupleTableSlot **slot)
{
	TupleTableSlot *found = rows->found;

	rows->found = *slot;
	*slot = found;
}

/* Keep the found row, as the one of that key. */
static void
keep_found(Rows *rows, RowsAhead *ahead, int number)
{
	if (ahead->nfound == ahead->nslots)
		ahead->slots[ahead->nslots++] = rows_make_slot(rows);
	/* the scan goes on to other pages */
	ExecMaterializeSlot(rows->found);
	ahead->found[number] = &ahead->slots[ahead->nfound++];
	swap_slot(rows, ahead->found[number]);
}

/* Is the row of the keys still at that place?  It is the found row then. */
static bool
stands_at(Rows *rows, Snapshot snapshot, const ItemPointerData *place, int nkeys, const Datum *keys)
{
	const KeyShape *key = &rows->layout->shape->primary_key;
	ItemPointerData tid = *place;

	if (!ItemPointerIsValid(place) ||
		!table_tuple_fetch_row_version(rows->rel, &tid, snapshot, rows->found))
		return false;
	slot_getallattrs(rows->found);
	for (int i = 0; i < nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rows->rel),
											  rows->layout->attnum[key->column[i] - 1] - 1);
		bool		isnull;
		Datum		value = rows_value(rows, key->column[i], &isnull);

		/* another row may have taken the place by now */
		if (isnull || !datum_image_eq(value, keys[i], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

bool
rows_look_ahead(Rows *rows, int n, int nkeys, const Datum *keys, const int *order,
				const ItemPointerData *places)
{
	RowsAhead  *ahead = start_ahead(rows, nkeys);
	RowsScan   *scan;
	Snapshot	snapshot;

	Assert(n <= ROWS_AHEAD);
	if (rows->shows_waiting)
		rows_flush(rows);
	scan = rows_seek_begin(rows, NULL, nkeys);
	snapshot = rows_snapshot(rows);
	for (int k = 0; k < n; k++)
	{
		int			i = order == NULL ? k : order[k];

		copy_keys(rows, ahead, i, &keys[i * nkeys]);
		ahead->found[i] = NULL;
		if ((places != NULL && stands_at(rows, snapshot, &places[i], nkeys, ahead->keys[i])) ||
			rows_seek(scan, ahead->keys[i]))
			keep_found(rows, ahead, i);
	}
	rows_scan_end(scan);
	UnregisterSnapshot(snapshot);
	ahead->n = n;
	return rows->lesson <= MAX_LESSON;
}

void
rows_forget_ahead(Rows *rows)
{
	rows->absent_again = false;
	if (rows->ahead != NULL)
		rows->ahead->n = rows->ahead->next = 0;
}

static bool
same_keys(const Rows *rows, const Datum *a, const Datum *b)
{
	const KeyShape *key = &rows->layout->shape->primary_key;

	for (int i = 0; i < rows->ahead->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rows->rel),
											  rows->layout->attnum[key->column[i] - 1] - 1);

		if (!datum_image_eq(a[i], b[i], att->attbyval, att->attlen))
			return false;
	}
	return true;
}

/* Was the row found ahead?  Then *found tells if there is one, which is the found row. */
static bool
take_ahead(Rows *rows, int nkeys, const Datum *keys, bool *found)
{
	RowsAhead  *ahead = rows->ahead;

	if (nkeys != ahead->nkeys)
		return false;
	*found = false;
	if (rows->absent_again && same_keys(rows, ahead->keys[ahead->next - 1], keys))
	{
		rows->absent_again = false;
		ExecClearTuple(rows->found);
		return true;
	}
	for (int i = ahead->next; i < ahead->n; i++)
	{
		if (!same_keys(rows, ahead->keys[i], keys))
			continue;
		ahead->next = i + 1;
		*found = ahead->found[i] != NULL;
		rows->absent_again = !*found;
		if (*found)
		{
			swap_slot(rows, ahead->found[i]);
			slot_getallattrs(rows->found);
		}
		else
			ExecClearTuple(rows->found);
		return true;
	}
	return false;
}

bool
rows_find(Rows *rows, int nkeys, const Datum *keys)
{
	bool		found;

	if (rows->ahead != NULL && take_ahead(rows, nkeys, keys, &found))
		return found;
	if (rows->shows_waiting)
		rows_flush(rows);
	return rows_search(rows, nkeys, keys);
}

/* ---------- closing ---------- */

void
rows_close(Rows *rows)
{
	rows_flush(rows);
	if (rows->waiting != NULL)
		drop_slots(rows->waiting->slots, rows->waiting->nslots);
	if (rows->ahead != NULL)
	{
		drop_slots(rows->ahead->slots, rows->ahead->nslots);
		MemoryContextDelete(rows->ahead->context);
	}
	rows_end_kept(rows);
	rows_release(rows);
}
