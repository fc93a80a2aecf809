/*
 * edit_places.c
 *	  Where the edits that were captured of records stand in the change log.
 *
 * They follow from the log; this backend keeps them, to walk through it once.
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "hub/captured_edit.h"
#include "hub/edit_places.h"

void
edit_places_begin(EditPlaces *places)
{
	edit_places_forget(places);
	places->context = AllocSetContextCreate(TopMemoryContext, "syncext places of edits",
											ALLOCSET_DEFAULT_SIZES);
	places->records = record_set_create(places->context, 64);
	places->room = 64;
	places->places = MemoryContextAlloc(places->context, sizeof(EditPlace) * places->room);
}

void
edit_places_forget(EditPlaces *places)
{
	if (places->context != NULL)
		MemoryContextDelete(places->context);
	MemSet(places, 0, sizeof(EditPlaces));
}

void
edit_places_add(EditPlaces *places, RecordSetEntry *entry, const FeedRow *row)
{
	if (places->n == places->room)
		places->places = repalloc_huge(places->places, sizeof(EditPlace) * (places->room *= 2));
	places->places[places->n++] = (EditPlace) {row->at, row->table, entry->number};
	entry->number = places->n;
}

/* The next one of the record's from a seq on, behind one (NULL: the last that was added). */
static const EditPlace *
next_place(const EditPlaces *places, const RecordSetEntry *entry, const EditPlace *before,
		   int64 from_seq)
{
	int			i = before != NULL ? before->next : entry == NULL ? 0 : entry->number;

	while (i != 0 && places->places[i - 1].at.seq < from_seq)
		i = places->places[i - 1].next;
	return i == 0 ? NULL : &places->places[i - 1];
}

static int
compare_seqs(const void *a, const void *b)
{
	const EditPlace *pa = a;
	const EditPlace *pb = b;

	return pa->at.seq < pb->at.seq ? -1 : pa->at.seq > pb->at.seq;
}

/* Transactions may have committed in another order than that of seq. */
int
edit_places_of(const EditPlaces *places, const char *entity, const char *external_id,
			   int64 from_seq, EditPlace **of)
{
	const RecordSetEntry *entry = record_set_find_named(places->records, entity, external_id);
	const EditPlace *place = NULL;
	int			room = 4;
	int			n = 0;

	*of = palloc(sizeof(EditPlace) * room);
	while ((place = next_place(places, entry, place, from_seq)) != NULL)
	{
		if (n == room)
			*of = repalloc_huge(*of, sizeof(EditPlace) * (room *= 2));
		(*of)[n++] = *place;
	}
	qsort(*of, n, sizeof(EditPlace), compare_seqs);
	return n;
}

bool
edit_places_any(const EditPlaces *places, const char *entity, const char *external_id,
				int64 from_seq)
{
	const RecordSetEntry *entry = record_set_find_named(places->records, entity, external_id);

	return next_place(places, entry, NULL, from_seq) != NULL;
}

bool
edit_places_fold(FeedSeek *seek, const EditPlace *places, int n, const ReplicaRow *replica,
				 Fold *fold, Size *bytes)
{
	bool		readable = true;

	for (int i = 0; i < n; i++)
	{
		LogRow		row;

		if (!feed_seek(seek, places[i].table, places[i].at, &row) ||
			row.resolution != RESOLUTION_CAPTURED)
			continue;
		*bytes += row.fields == NULL ? 0 : VARSIZE(row.fields);
		readable &= captured_edit_fold(fold, &row, places[i].at.seq, replica->row_version,
									   replica->shifts);
	}
	return readable;
}
