/*
 * place_file.c
 *	  Where very many captured edits stand in the change log, in a temporary file.
 *
 * For hub/outstanding, where what edit_places would keep has no limit.  The places are
 * sorted by record and seq; in memory is only the first of every few kilobytes of the file.
 */
#include "postgres.h"

#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "port/pg_bswap.h"
#include "storage/buffile.h"
#include "utils/memutils.h"
#include "utils/tuplesort.h"

#include "compat.h"
#include "hub/place_file.h"

/* How much of the file is read for a record. */
#define MARK_EVERY		(16 * 1024)

/* What follows the record's key in an item. */
typedef struct PlaceTail
{
	uint64		seq;			/* in network byte order, to be sorted by */
	uint64		xid;
	int			table;
} PlaceTail;

/* Some of the file's items: where they are, and what they hold. */
typedef struct Mark
{
	int			fileno;
	off_t		offset;
	bytea	   *item;
} Mark;

struct PlaceFile
{
	MemoryContext context;
	Tuplesortstate *sort;		/* NULL: completed */
	BufFile    *file;			/* of items: a varlena's length, and its data */
	Size		written;		/* since the last mark */
	int			nmarks;
	int			room;
	Mark	   *marks;
	StringInfoData item;
};

/* ---------- items ---------- */

/* Begin an item with the record's key, which is no other key's beginning. */
static void
begin_item(StringInfo item, const char *key, int len)
{
	resetStringInfo(item);
	appendStringInfoSpaces(item, VARHDRSZ);
	appendBinaryStringInfo(item, key, len);
	appendStringInfoChar(item, '\0');
}

static const bytea *
end_item(StringInfo item)
{
	SET_VARSIZE(item->data, item->len);
	return (const bytea *) item->data;
}

/* As bytea is sorted. */
static int
compare_items(const bytea *a, const bytea *b)
{
	Size		na = VARSIZE(a) - VARHDRSZ;
	Size		nb = VARSIZE(b) - VARHDRSZ;
	int			c = memcmp(VARDATA(a), VARDATA(b), Min(na, nb));

	return c != 0 ? c : na < nb ? -1 : na > nb;
}

/* Is the item of the record whose key, without a tail, this is? */
static bool
item_is_of(const bytea *item, const bytea *key)
{
	Size		n = VARSIZE(key) - VARHDRSZ;

	return VARSIZE(item) == VARSIZE(key) + sizeof(PlaceTail) &&
		memcmp(VARDATA(item), VARDATA(key), n) == 0;
}

/* ---------- filling it ---------- */

PlaceFile *
place_file_begin(MemoryContext parent)
{
	MemoryContext context = AllocSetContextCreate(parent, "syncext file of places",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(context);
	PlaceFile  *file = palloc0(sizeof(PlaceFile));

	file->context = context;
	file->room = 64;
	file->marks = palloc(sizeof(Mark) * file->room);
	initStringInfo(&file->item);
	file->sort = tuplesort_begin_datum(BYTEAOID, ByteaLessOperator, InvalidOid, false, work_mem,
									   NULL, TUPLESORT_NONE);
	MemoryContextSwitchTo(old);
	return file;
}

void
place_file_free(PlaceFile *file)
{
	if (file->file != NULL)
		BufFileClose(file->file);
	MemoryContextDelete(file->context);
}

void
place_file_add(PlaceFile *file, RecordSetKey key, const FeedRow *row)
{
	PlaceTail	tail = {0};

	tail.seq = pg_hton64((uint64) row->at.seq);
	tail.xid = row->at.xid;
	tail.table = row->table;
	begin_item(&file->item, key.data, key.len);
	appendBinaryStringInfo(&file->item, (const char *) &tail, sizeof(tail));
	tuplesort_putdatum(file->sort, PointerGetDatum(end_item(&file->item)), false);
}

static void
mark(PlaceFile *file, const bytea *item)
{
	Mark	   *last;

	if (file->nmarks == file->room)
		file->marks = repalloc_huge(file->marks, sizeof(Mark) * (file->room *= 2));
	last = &file->marks[file->nmarks++];
	BufFileTell(file->file, &last->fileno, &last->offset);
	last->item = memcpy(palloc(VARSIZE(item)), item, VARSIZE(item));
	file->written = 0;
}

static void
write_items(PlaceFile *file)
{
	Datum		value;
	bool		isnull;

	while (tuplesort_getdatum_compat(file->sort, &value, &isnull))
	{
		bytea	   *item = DatumGetByteaP(value);
		uint32		len = VARSIZE(item) - VARHDRSZ;

		if (file->nmarks == 0 || file->written >= MARK_EVERY)
			mark(file, item);
		BufFileWrite(file->file, &len, sizeof(len));
		BufFileWrite(file->file, VARDATA(item), len);
		file->written += sizeof(len) + len;
		pfree(DatumGetPointer(value));
	}
}

void
place_file_complete(PlaceFile *file)
{
	MemoryContext old = MemoryContextSwitchTo(file->context);

	tuplesort_performsort(file->sort);
	file->file = BufFileCreateTemp(true);
	write_items(file);
	tuplesort_end(file->sort);
	file->sort = NULL;
	MemoryContextSwitchTo(old);
}

/* ---------- asking it ---------- */

/* Go to the last mark that is in front of the record's items. */
static bool
seek(const PlaceFile *file, const bytea *key)
{
	int			low = 0;
	int			high = file->nmarks;

	if (high == 0)
		return false;
	while (high - low > 1)
	{
		int			middle = low + (high - low) / 2;

		if (compare_items(file->marks[middle].item, key) < 0)
			low = middle;
		else
			high = middle;
	}
	if (BufFileSeek(file->file, file->marks[low].fileno, file->marks[low].offset, SEEK_SET) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not seek in a temporary file of captured edits")));
	return true;
}

static bool
read_bytes(PlaceFile *file, void *bytes, size_t n)
{
	size_t		got = BufFileRead(file->file, bytes, n);

	if (got != 0 && got != n)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not read a temporary file of captured edits")));
	return got == n;
}

/* The next item, which is held in the buffer; NULL: there is none. */
static const bytea *
read_item(PlaceFile *file)
{
	StringInfo	item = &file->item;
	uint32		len;

	if (!read_bytes(file, &len, sizeof(len)))
		return NULL;
	resetStringInfo(item);
	enlargeStringInfo(item, VARHDRSZ + len);
	item->len = VARHDRSZ + len;
	return read_bytes(file, VARDATA(item->data), len) ? end_item(item) : NULL;
}

/* The record's first item; NULL: it has none. */
static const bytea *
find_first(PlaceFile *file, const bytea *key)
{
	const bytea *item;

	if (!seek(file, key))
		return NULL;
	while ((item = read_item(file)) != NULL && compare_items(item, key) < 0)
		CHECK_FOR_INTERRUPTS();
	return item != NULL && item_is_of(item, key) ? item : NULL;
}

static const bytea *
next_of(PlaceFile *file, const bytea *key)
{
	const bytea *item = read_item(file);

	return item != NULL && item_is_of(item, key) ? item : NULL;
}

static EditPlace
place_of(const bytea *item)
{
	PlaceTail	tail;

	memcpy(&tail, (const char *) item + VARSIZE(item) - sizeof(tail), sizeof(tail));
	return (EditPlace) {.at = {tail.xid, (int64) pg_ntoh64(tail.seq)}, .table = tail.table};
}

static const bytea *
make_key(const char *entity, const char *external_id)
{
	StringInfoData key;

	initStringInfo(&key);
	begin_item(&key, entity, strlen(entity));
	appendBinaryStringInfo(&key, external_id, strlen(external_id) + 1);
	return end_item(&key);
}

int
place_file_of(PlaceFile *file, const char *entity, const char *external_id, int64 from_seq,
			  EditPlace **of)
{
	const bytea *key = make_key(entity, external_id);
	int			room = 4;
	int			n = 0;

	*of = palloc(sizeof(EditPlace) * room);
	for (const bytea *item = find_first(file, key); item != NULL; item = next_of(file, key))
	{
		EditPlace	place = place_of(item);

		if (place.at.seq < from_seq)
			continue;
		if (n == room)
			*of = repalloc_huge(*of, sizeof(EditPlace) * (room *= 2));
		(*of)[n++] = place;
	}
	return n;
}

bool
place_file_any(PlaceFile *file, const char *entity, const char *external_id, int64 from_seq)
{
	EditPlace  *places;
	int			n = place_file_of(file, entity, external_id, from_seq, &places);

	pfree(places);
	return n > 0;
}
