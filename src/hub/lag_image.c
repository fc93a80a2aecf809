/*
 * lag_image.c
 *	  What it takes to count how far all targets are behind, read into memory.
 *
 * Called by hub/lag.  Each table is read once, whatever the number of targets,
 * and by the snapshot of the query that asks, so that they agree.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/xid8.h"

#include "compat.h"
#include "hub/lag_image.h"
#include "hub/section.h"
#include "storage/names.h"
#include "storage/record_set.h"

#define FETCH_ROWS	5000

/* A name's number, from 0. */
typedef struct NameEntry
{
	char		name[NAMEDATALEN];	/* the key */
	int			number;
} NameEntry;

typedef struct Reader
{
	LagImage   *image;
	MemoryContext context;
	HTAB	   *sources;
	HTAB	   *entities;
	RecordSet  *records;
	StringInfoData key;
	int64		room_rows;		/* of the image's arrays */
	int			room_records;
	int64		room_golden;
	int			nwalks;			/* cursors with a backfill, by where it stands */
	LagCursor **walks;
	int			next_walk;		/* that no golden record read yet lies behind */
} Reader;

/* ---------- rows of a query ---------- */

typedef void (*RowReader) (Reader *reader, HeapTuple tuple, TupleDesc desc);

/* Call function for each row of a query, in the image's memory context. */
static void
read_rows(Reader *reader, const char *query, RowReader function)
{
	Portal		portal = SPI_cursor_open_with_args(NULL, query, 0, NULL, NULL, NULL, true, 0);

	do
	{
		MemoryContext old;

		SPI_cursor_fetch(portal, true, FETCH_ROWS);
		CHECK_FOR_INTERRUPTS();
		old = MemoryContextSwitchTo(reader->context);
		for (uint64 i = 0; i < SPI_processed; i++)
			function(reader, SPI_tuptable->vals[i], SPI_tuptable->tupdesc);
		MemoryContextSwitchTo(old);
		SPI_freetuptable(SPI_tuptable);
	} while (SPI_processed == FETCH_ROWS);
	SPI_cursor_close(portal);
}

static Datum
value(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;

	return SPI_getbinval(tuple, desc, column, &isnull);
}

static bool
is_null(HeapTuple tuple, TupleDesc desc, int column)
{
	bool		isnull;

	(void) SPI_getbinval(tuple, desc, column, &isnull);
	return isnull;
}

static char *
text_or_null(HeapTuple tuple, TupleDesc desc, int column)
{
	return is_null(tuple, desc, column) ? NULL : TextDatumGetCString(value(tuple, desc, column));
}

/* Make room for one more element. */
static void *
grow(void *array, int64 n, int64 *room, Size size)
{
	if (n < *room)
		return array;
	*room = Max(*room * 2, 1024);
	if (array == NULL)
		return palloc_extended(*room * size, MCXT_ALLOC_HUGE);
	return repalloc_huge(array, *room * size);
}

/* ---------- numbers for names ---------- */

static HTAB *
create_names(MemoryContext context, const char *what)
{
	HASHCTL		ctl = {.keysize = NAMEDATALEN, .entrysize = sizeof(NameEntry), .hcxt = context};

	return hash_create(what, 64, &ctl, HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

static int
number_of_name(HTAB *names, const char *name)
{
	bool		found;
	NameEntry  *entry = hash_search(names, name, HASH_ENTER, &found);

	if (!found)
		entry->number = hash_get_num_entries(names) - 1;
	return entry->number;
}

static int
number_of_text(HTAB *names, Datum datum)
{
	char		name[NAMEDATALEN];

	text_to_cstring_buffer(DatumGetTextPP(datum), name, sizeof(name));
	return number_of_name(names, name);
}

static int *
numbers_of_array(HTAB *names, Datum array, int *n)
{
	char	  **elements = names_of_array(array, NULL, n);
	int		   *numbers = palloc(sizeof(int) * (*n + 1));

	for (int i = 0; i < *n; i++)
		numbers[i] = number_of_name(names, elements[i]);
	return numbers;
}

static RecordSetKey
record_key(Reader *reader, Datum entity, Datum external_id)
{
	return record_set_key(&reader->key, DatumGetTextPP(entity), DatumGetTextPP(external_id));
}

static uint64
hash_of_key(RecordSetKey key)
{
	int			entity_length = strlen(key.data);

	return slot_hash(key.data, entity_length, key.data + entity_length + 1,
					 key.len - entity_length - 1);
}

/* The number of a record, which gets one if it has none yet. */
static int
number_of_record(Reader *reader, Datum entity, Datum external_id)
{
	LagImage   *image = reader->image;
	RecordSetKey key = record_key(reader, entity, external_id);
	RecordSetEntry *entry = record_set_add(reader->records, key);

	if (entry->number == 0)
	{
		int64		room = reader->room_records;

		image->hashes = grow(image->hashes, image->nrecords, &room, sizeof(uint64));
		reader->room_records = room;
		image->hashes[image->nrecords++] = hash_of_key(key);
		entry->number = image->nrecords;
	}
	return entry->number - 1;
}

/* ---------- the tables ---------- */

static const char *const log_query =
	"SELECT l.xid, l.seq, l.recorded_at, l.source, l.entity, l.external_id, l.told "
	"FROM (SELECT xid, seq, recorded_at, source, entity, external_id, told FROM syncext.change_log_0 "
	"UNION ALL SELECT xid, seq, recorded_at, source, entity, external_id, told FROM syncext.change_log_1 "
	"UNION ALL SELECT xid, seq, recorded_at, source, entity, external_id, told FROM syncext.change_log_2 "
	"UNION ALL SELECT xid, seq, recorded_at, source, entity, external_id, told FROM syncext.change_log_3) l "
	"WHERE l.told IN ('a', 'o', 'r') AND l.xid >= (SELECT min(pg_snapshot_xmin(t.snapshot)) "
	"FROM syncext.cursor c JOIN syncext.tick t ON t.id = c.lo) "
	"ORDER BY l.xid, l.seq";

static void
read_log_row(Reader *reader, HeapTuple tuple, TupleDesc desc)
{
	LagImage   *image = reader->image;
	LagRow	   *row;

	image->rows = grow(image->rows, image->nrows, &reader->room_rows, sizeof(LagRow));
	row = &image->rows[image->nrows++];
	row->at.xid = U64FromFullTransactionId(DatumGetFullTransactionId(value(tuple, desc, 1)));
	row->at.seq = DatumGetInt64(value(tuple, desc, 2));
	row->recorded_at = DatumGetTimestampTz(value(tuple, desc, 3));
	row->source = number_of_text(reader->sources, value(tuple, desc, 4));
	row->entity = number_of_text(reader->entities, value(tuple, desc, 5));
	row->record = number_of_record(reader, value(tuple, desc, 5), value(tuple, desc, 6));
	row->told = DatumGetChar(value(tuple, desc, 7));
}

static const char *const target_query =
	"SELECT s.name, s.entities FROM syncext.source s "
	"WHERE EXISTS (SELECT FROM syncext.cursor c WHERE c.target = s.name) "
	"OR EXISTS (SELECT FROM syncext.pending p WHERE p.target = s.name) "
	"ORDER BY s.name";

static void
read_target(Reader *reader, HeapTuple tuple, TupleDesc desc)
{
	LagImage   *image = reader->image;
	LagTarget  *target;

	if (image->targets == NULL)
		image->targets = palloc(sizeof(LagTarget));
	else
		image->targets = repalloc_huge(image->targets, sizeof(LagTarget) * (image->ntargets + 1));
	target = &image->targets[image->ntargets++];
	MemSet(target, 0, sizeof(LagTarget));
	target->name = TextDatumGetCString(value(tuple, desc, 1));
	target->number = number_of_name(reader->sources, target->name);
	target->nentities = -1;
	if (!is_null(tuple, desc, 2))
		target->entities = numbers_of_array(reader->entities, value(tuple, desc, 2),
											&target->nentities);
}

/* The target of this name; there is one. */
static LagTarget *
find_target(const LagImage *image, Datum datum)
{
	char	   *name = TextDatumGetCString(datum);
	int			first = 0;
	int			last = image->ntargets - 1;

	while (first < last)
	{
		int			middle = (first + last) / 2;

		if (strcmp(image->targets[middle].name, name) < 0)
			first = middle + 1;
		else
			last = middle;
	}
	pfree(name);
	return &image->targets[first];
}

static const char *const cursor_query =
	"SELECT c.target, c.slot, c.slots, lo.snapshot, hi.snapshot, c.at_xid, c.at_seq, c.batch, "
	"coalesce(c.lease_until > clock_timestamp(), false), c.backfill_entity, c.backfill_id, c.backfill_rest "
	"FROM syncext.cursor c JOIN syncext.tick lo ON lo.id = c.lo LEFT JOIN syncext.tick hi ON hi.id = c.hi "
	"ORDER BY c.target, c.slot";

static void
read_cursor(Reader *reader, HeapTuple tuple, TupleDesc desc)
{
	LagTarget  *target = find_target(reader->image, value(tuple, desc, 1));
	LagCursor  *cursor;

	if (target->cursors == NULL)
		target->cursors = palloc(sizeof(LagCursor));
	else
		target->cursors = repalloc(target->cursors,
								   sizeof(LagCursor) * (target->ncursors + 1));
	cursor = &target->cursors[target->ncursors++];
	MemSet(cursor, 0, sizeof(LagCursor));
	cursor->slot.number = DatumGetInt32(value(tuple, desc, 2));
	cursor->slot.of = DatumGetInt32(value(tuple, desc, 3));
	feed_snapshot_read(value(tuple, desc, 4), &cursor->lo);
	cursor->has_window = !is_null(tuple, desc, 5);
	if (cursor->has_window)
		feed_snapshot_read(value(tuple, desc, 5), &cursor->hi);
	cursor->at.xid = U64FromFullTransactionId(DatumGetFullTransactionId(value(tuple, desc, 6)));
	cursor->at.seq = DatumGetInt64(value(tuple, desc, 7));
	cursor->batch = DatumGetInt64(value(tuple, desc, 8));
	cursor->leased = DatumGetBool(value(tuple, desc, 9));
	cursor->backfill_name = text_or_null(tuple, desc, 10);
	if (cursor->backfill_name == NULL)
		return;
	cursor->backfill_entity = number_of_name(reader->entities, cursor->backfill_name);
	cursor->backfill_id = text_or_null(tuple, desc, 11);
	if (!is_null(tuple, desc, 12))
		cursor->rest = numbers_of_array(reader->entities, value(tuple, desc, 12), &cursor->nrest);
	reader->nwalks++;
}

static const char *const pending_query =
	"SELECT target, entity, external_id, since, next_attempt IS NULL, batch "
	"FROM syncext.pending ORDER BY target";

static void
read_pending(Reader *reader, HeapTuple tuple, TupleDesc desc)
{
	LagTarget  *target = find_target(reader->image, value(tuple, desc, 1));
	int64		room = target->npending;
	LagPending *pending;

	/* a power of two of them fills the room */
	if (target->npending == 0)
		target->pending = palloc(sizeof(LagPending));
	else if ((room & (room - 1)) == 0)
		target->pending = repalloc_huge(target->pending, sizeof(LagPending) * room * 2);
	pending = &target->pending[target->npending++];
	pending->record = number_of_record(reader, value(tuple, desc, 2), value(tuple, desc, 3));
	pending->since = DatumGetTimestampTz(value(tuple, desc, 4));
	pending->dead = DatumGetBool(value(tuple, desc, 5));
	pending->batch = is_null(tuple, desc, 6) ? 0 : DatumGetInt64(value(tuple, desc, 6));
}

/* ---------- golden records ---------- */

/* By the first record that they are to walk to. */
static int
compare_walks(const void *a, const void *b)
{
	const LagCursor *ca = *(LagCursor *const *) a;
	const LagCursor *cb = *(LagCursor *const *) b;
	int			cmp = strcmp(ca->backfill_name, cb->backfill_name);

	if (cmp == 0)
		cmp = strcmp(ca->backfill_id ? ca->backfill_id : "", cb->backfill_id ? cb->backfill_id : "");
	return cmp;
}

static void
sort_walks(Reader *reader)
{
	int			n = 0;

	reader->walks = MemoryContextAlloc(reader->context, sizeof(LagCursor *) * reader->nwalks);
	for (int i = 0; i < reader->image->ntargets; i++)
	{
		LagTarget  *target = &reader->image->targets[i];

		for (int j = 0; j < target->ncursors; j++)
			if (target->cursors[j].backfill_name != NULL)
				reader->walks[n++] = &target->cursors[j];
	}
	qsort(reader->walks, n, sizeof(LagCursor *), compare_walks);
}

static const char *const golden_query =
	"SELECT r.entity, r.external_id FROM syncext.canonical r WHERE r.entity IN "
	"(SELECT unnest(c.backfill_rest || c.backfill_entity) FROM syncext.cursor c WHERE c.backfill_entity IS NOT NULL) "
	"ORDER BY r.entity, r.external_id";

/* Does the walk stand before the record? */
static bool
walk_comes_to(const LagCursor *cursor, RecordSetKey key)
{
	int			cmp = strcmp(cursor->backfill_name, key.data);
	const char *id = key.data + strlen(key.data) + 1;

	/* key.data ends in a zero byte, as its buffer does */
	return cmp != 0 ? cmp < 0 :
		cursor->backfill_id == NULL || strcmp(cursor->backfill_id, id) < 0;
}

static void
read_golden(Reader *reader, HeapTuple tuple, TupleDesc desc)
{
	LagImage   *image = reader->image;
	RecordSetKey key = record_key(reader, value(tuple, desc, 1), value(tuple, desc, 2));
	RecordSetEntry *entry = record_set_find(reader->records, key);
	LagEntity  *entity = &image->entities[number_of_name(reader->entities, key.data)];
	LagGolden  *golden;

	image->golden = grow(image->golden, image->ngolden, &reader->room_golden, sizeof(LagGolden));
	golden = &image->golden[image->ngolden];
	golden->record = entry == NULL ? -1 : entry->number - 1;
	golden->hash = hash_of_key(key);
	while (reader->next_walk < reader->nwalks &&
		   walk_comes_to(reader->walks[reader->next_walk], key))
		reader->walks[reader->next_walk++]->backfill_from = image->ngolden;
	if (entity->end == 0)
		entity->first = image->ngolden;
	entity->end = ++image->ngolden;
}

static void
read_backfills(Reader *reader)
{
	sort_walks(reader);
	read_rows(reader, golden_query, read_golden);
	while (reader->next_walk < reader->nwalks)
		reader->walks[reader->next_walk++]->backfill_from = reader->image->ngolden;
}

LagImage *
lag_image_read(void)
{
	LagImage   *image = palloc0(sizeof(LagImage));
	Reader		reader = {.image = image, .context = CurrentMemoryContext};
	Section		section;

	reader.sources = create_names(reader.context, "syncext sources");
	reader.entities = create_names(reader.context, "syncext entities");
	reader.records = record_set_create(reader.context, 1024);
	initStringInfo(&reader.key);
	SPI_connect();
	section_enter(&section, 0);
	read_rows(&reader, log_query, read_log_row);
	read_rows(&reader, target_query, read_target);
	read_rows(&reader, cursor_query, read_cursor);
	read_rows(&reader, pending_query, read_pending);
	/* from here on no entity is new: those of golden records stand at cursors */
	image->nentities = hash_get_num_entries(reader.entities);
	image->entities = MemoryContextAllocZero(reader.context,
											 sizeof(LagEntity) * Max(image->nentities, 1));
	if (reader.nwalks > 0)
		read_backfills(&reader);
	section_leave(&section);
	SPI_finish();
	record_set_free(reader.records);
	return image;
}
