/*
 * key_search.c
 *	  Searching a btree index of ours for a key without a scan.
 *
 * The keys of our tables are text in byte order and numbers.  A scan compares them by
 * functions of the operator class, some twenty times a search; here it is memcmp.  And
 * searches for ascending keys, as those of a batch are, begin at the leaf where the last one
 * has ended: if the key lies within it, it is not descended to from the root.
 *
 * Pages are walked as the server does it (src/backend/access/nbtree/README): with one
 * page locked at a time, and to the right where a page was split meanwhile.  What is
 * not plain, nulls, compressed values or a key that goes on on the next page, is left to a scan.
 */
#include "postgres.h"

#include "access/nbtree.h"
#include "catalog/pg_am_d.h"
#include "catalog/pg_collation_d.h"
#include "catalog/pg_opfamily_d.h"
#include "catalog/pg_type_d.h"
#include "pgstat.h"

#include "compat.h"
#include "storage/key_search.h"

/* A key that is searched for. */
typedef struct Sought
{
	KeySearch  *search;
	int			nkeys;
	struct
	{
		const char *bytes;
		int			length;
		int64		number;
	}			part[KEY_SEARCH_MAX_COLUMNS];
	bool		unknown;		/* something couldn't be compared */
} Sought;

/* ---------- which indexes ---------- */

static bool
kind_of_column(Relation index, int column, KeyKind *kind)
{
	const Oid	family = index->rd_opfamily[column];

	if (index->rd_indoption[column] != 0)
		return false;
	switch (index->rd_opcintype[column])
	{
		case TEXTOID:
			*kind = KEY_BYTES;
			return family == TEXT_BTREE_FAM_OID && index->rd_indcollation[column] == C_COLLATION_OID;
		case INT8OID:
			*kind = KEY_INT8;
			return family == INTEGER_BTREE_FAM_OID;
		case INT4OID:
			*kind = KEY_INT4;
			return family == INTEGER_BTREE_FAM_OID;
		case OIDOID:
			*kind = KEY_OID;
			return family == OID_BTREE_FAM_OID;
		default:
			return false;
	}
}

void
key_search_init(KeySearch *search, Relation table, Relation index)
{
	const int	ncolumns = Min(IndexRelationGetNumberOfKeyAttributes(index), KEY_SEARCH_MAX_COLUMNS);

	search->table = table;
	search->index = index;
	search->ncolumns = 0;
	search->leaf = InvalidBlockNumber;
	if (index->rd_rel->relam != BTREE_AM_OID || index->rd_rel->relkind != RELKIND_INDEX)
		return;
	while (search->ncolumns < ncolumns &&
		   kind_of_column(index, search->ncolumns, &search->kind[search->ncolumns]))
		search->ncolumns++;
}

/* ---------- comparing ---------- */

/* False: the value has to be unpacked first. */
static bool
plain_text(const char *value, const char **bytes, int *length)
{
	if (VARATT_IS_1B(value) && !VARATT_IS_1B_E(value))
	{
		*bytes = VARDATA_1B(value);
		*length = VARSIZE_1B(value) - VARHDRSZ_SHORT;
		return true;
	}
	if (!VARATT_IS_4B_U(value))
		return false;
	*bytes = VARDATA_4B(value);
	*length = VARSIZE_4B(value) - VARHDRSZ;
	return true;
}

static bool
set_sought(Sought *sought, KeySearch *search, int nkeys, const Datum *keys)
{
	sought->search = search;
	sought->nkeys = nkeys;
	sought->unknown = false;
	for (int i = 0; i < nkeys; i++)
	{
		switch (search->kind[i])
		{
			case KEY_BYTES:
				if (!plain_text(DatumGetPointer(keys[i]), &sought->part[i].bytes, &sought->part[i].length))
					return false;
				break;
			case KEY_INT8:
				sought->part[i].number = DatumGetInt64(keys[i]);
				break;
			case KEY_INT4:
				sought->part[i].number = DatumGetInt32(keys[i]);
				break;
			case KEY_OID:
				sought->part[i].number = DatumGetObjectId(keys[i]);
				break;
		}
	}
	return true;
}

static int
compare_bytes(Sought *sought, int i, const char *value)
{
	const char *bytes;
	int			length;
	int			cmp;

	if (!plain_text(value, &bytes, &length))
	{
		sought->unknown = true;
		return 0;
	}
	cmp = memcmp(sought->part[i].bytes, bytes, Min(sought->part[i].length, length));
	return cmp != 0 ? cmp : sought->part[i].length - length;
}

static int64
number_at(KeyKind kind, const char *value)
{
	switch (kind)
	{
		case KEY_INT8:
			return *(const int64 *) value;
		case KEY_INT4:
			return *(const int32 *) value;
		default:
			return *(const Oid *) value;
	}
}

/* The first natts columns of an entry that has no nulls. */
static int
compare_columns(Sought *sought, IndexTuple itup, int natts)
{
	const char *data = (const char *) itup + IndexInfoFindDataOffset(itup->t_info);
	Size		off = 0;

	for (int i = 0; i < natts; i++)
	{
		const KeyKind kind = sought->search->kind[i];
		int			cmp;

		if (kind == KEY_BYTES)
		{
			off = att_align_pointer(off, TYPALIGN_INT, -1, data + off);
			cmp = compare_bytes(sought, i, data + off);
			off += VARSIZE_ANY(data + off);
		}
		else
		{
			const int64 number = sought->part[i].number;
			const Size	size = kind == KEY_INT8 ? sizeof(int64) : sizeof(int32);
			int64		value;

			off = TYPEALIGN(size, off);
			value = number_at(kind, data + off);
			cmp = number < value ? -1 : number > value;
			off += size;
		}
		if (cmp != 0 || sought->unknown)
			return cmp;
	}
	return 0;
}

/*
 * The key against an entry.  Of a pivot, which parts two pages, the last columns may be
 * missing, and the row's place is: they are less than anything, so that a key which
 * equals the rest is greater.
 */
static int
compare_entry(Sought *sought, Page page, OffsetNumber at)
{
	IndexTuple	itup = (IndexTuple) PageGetItem(page, PageGetItemId(page, at));
	const int	natts = BTreeTupleGetNAtts(itup, sought->search->index);
	int			cmp;

	if (IndexTupleHasNulls(itup))
	{
		sought->unknown = true;
		return 0;
	}
	cmp = compare_columns(sought, itup, Min(natts, sought->nkeys));
	if (cmp != 0 || sought->unknown)
		return cmp;
	return natts < sought->nkeys ||
		(natts == sought->nkeys && BTreeTupleIsPivot(itup) && BTreeTupleGetHeapTID(itup) == NULL);
}

/* The first entry of the page, from offset low on, that is not less than the key. */
static OffsetNumber
find_offset(Sought *sought, Page page, OffsetNumber low)
{
	OffsetNumber high = OffsetNumberNext(PageGetMaxOffsetNumber(page));

	while (low < high)
	{
		OffsetNumber middle = low + (high - low) / 2;

		if (compare_entry(sought, page, middle) > 0)
			low = OffsetNumberNext(middle);
		else
			high = middle;
	}
	return low;
}

/* ---------- descending ---------- */

/* Go right to the page that would have the key.  InvalidBuffer: something isn't plain. */
static Buffer
move_right(Sought *sought, Buffer buf)
{
	for (;;)
	{
		Page		page = BufferGetPage(buf);
		BTPageOpaque opaque = BTPageGetOpaque(page);

		if (!P_RIGHTMOST(opaque) &&
			(P_IGNORE(opaque) || compare_entry(sought, page, P_HIKEY) > 0) && !sought->unknown)
		{
			buf = _bt_relandgetbuf(sought->search->index, buf, opaque->btpo_next, BT_READ);
			continue;
		}
		if (!P_IGNORE(opaque) && !sought->unknown)
			return buf;
		_bt_relbuf(sought->search->index, buf);
		sought->unknown = true;
		return InvalidBuffer;
	}
}

/* From the root to the leaf that would have the key; InvalidBuffer: the index is empty. */
static Buffer
descend(Sought *sought)
{
	Relation	index = sought->search->index;
	Buffer		buf = bt_getroot_compat(index, sought->search->table);

	while (BufferIsValid(buf) && BufferIsValid(buf = move_right(sought, buf)))
	{
		Page		page = BufferGetPage(buf);
		BTPageOpaque opaque = BTPageGetOpaque(page);
		OffsetNumber at;
		IndexTuple	itup;

		if (P_ISLEAF(opaque))
			return buf;
		/* the first downlink has no key: it is less than all */
		at = find_offset(sought, page, OffsetNumberNext(P_FIRSTDATAKEY(opaque)));
		itup = (IndexTuple) PageGetItem(page, PageGetItemId(page, OffsetNumberPrev(at)));
		buf = _bt_relandgetbuf(index, buf, BTreeTupleGetDownLink(itup), BT_READ);
	}
	return InvalidBuffer;
}

/*
 * The leaf where the last search has ended, if the key lies within it.  It may have been
 * split, deleted or come to another use since: what it holds now tells.
 */
static Buffer
same_leaf(Sought *sought)
{
	Relation	index = sought->search->index;
	Buffer		buf = _bt_getbuf(index, sought->search->leaf, BT_READ);
	Page		page = BufferGetPage(buf);
	BTPageOpaque opaque = BTPageGetOpaque(page);

	if (P_ISLEAF(opaque) && !P_IGNORE(opaque) &&
		PageGetMaxOffsetNumber(page) >= P_FIRSTDATAKEY(opaque) &&
		compare_entry(sought, page, P_FIRSTDATAKEY(opaque)) > 0 &&
		(P_RIGHTMOST(opaque) || compare_entry(sought, page, P_HIKEY) <= 0) &&
		!sought->unknown)
		return buf;
	_bt_relbuf(index, buf);
	sought->unknown = false;
	return InvalidBuffer;
}

/* ---------- the places ---------- */

/* Add those of an entry to the n that there are. */
static int
add_places(IndexTuple itup, ItemPointerData *places, int n)
{
	const int	more = BTreeTupleIsPosting(itup) ? BTreeTupleGetNPosting(itup) : 1;

	if (n + more > KEY_SEARCH_MAX_PLACES)
		return KEY_SEARCH_UNKNOWN;
	if (!BTreeTupleIsPosting(itup))
		places[n] = itup->t_tid;
	else
		memcpy(&places[n], BTreeTupleGetPosting(itup), sizeof(ItemPointerData) * more);
	return n + more;
}

/* Those of the entries of a leaf that have the key. */
static int
read_leaf(Sought *sought, Page page, ItemPointerData *places)
{
	BTPageOpaque opaque = BTPageGetOpaque(page);
	const OffsetNumber last = PageGetMaxOffsetNumber(page);
	OffsetNumber at = find_offset(sought, page, P_FIRSTDATAKEY(opaque));
	int			n = 0;

	for (; at <= last && n >= 0; at = OffsetNumberNext(at))
	{
		ItemId		id = PageGetItemId(page, at);

		if (compare_entry(sought, page, at) != 0)
			break;
		if (!ItemIdIsDead(id))
			n = add_places((IndexTuple) PageGetItem(page, id), places, n);
	}
	/* more of them may be on the next page */
	if (at > last && !P_RIGHTMOST(opaque) && compare_entry(sought, page, P_HIKEY) == 0)
		return KEY_SEARCH_UNKNOWN;
	return sought->unknown ? KEY_SEARCH_UNKNOWN : n;
}

int
key_search(KeySearch *search, int nkeys, const Datum *keys, ItemPointerData *places)
{
	Sought		sought;
	bool		heapkeyspace;
	bool		allequalimage;
	Buffer		buf = InvalidBuffer;
	int			n;

	if (nkeys > search->ncolumns || !set_sought(&sought, search, nkeys, keys))
		return KEY_SEARCH_UNKNOWN;
	if (search->leaf != InvalidBlockNumber)
		buf = same_leaf(&sought);
	if (!BufferIsValid(buf))
	{
		/* before version 4 pivots had no places of rows */
		_bt_metaversion(search->index, &heapkeyspace, &allequalimage);
		if (!heapkeyspace)
			return KEY_SEARCH_UNKNOWN;
		buf = descend(&sought);
	}
	if (!BufferIsValid(buf))
		return sought.unknown ? KEY_SEARCH_UNKNOWN : 0;
	n = read_leaf(&sought, BufferGetPage(buf), places);
	search->leaf = BufferGetBlockNumber(buf);
	_bt_relbuf(search->index, buf);
	pgstat_count_index_scan(search->index);
	return n;
}
