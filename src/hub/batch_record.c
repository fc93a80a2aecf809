/*
 * batch_record.c
 *	  The records of a batch.
 */
#include "postgres.h"

#include "compat.h"
#include "hub/batch_record.h"

/* How many records the batch serves. */
int
batch_size(const Feed *feed)
{
	return feed->nrecords - feed->ndeferred;
}

/* Add the record that members has got just now. */
BatchRecord *
batch_append(Feed *feed, RecordSetEntry *member)
{
	BatchRecord *record;
	const Entity *known;
	char	   *names = palloc(member->key.len + 1);

	if (feed->records == NULL)
		feed->records = palloc(sizeof(BatchRecord) * (feed->room = 64));
	else if (feed->nrecords == feed->room)
		feed->records = repalloc_huge(feed->records, sizeof(BatchRecord) * (feed->room *= 2));
	record = &feed->records[feed->nrecords++];
	MemSet(record, 0, sizeof(BatchRecord));
	/* the entity, a zero byte, the external id */
	memcpy(names, member->key.data, member->key.len);
	names[member->key.len] = '\0';
	known = registry_entity(feed->registry, names);
	record->entity = names;
	record->external_id = names + strlen(names) + 1;
	record->depth = known == NULL ? 0 : known->depth;
	member->number = feed->nrecords;
	return record;
}

static int
compare_records(const void *a, const void *b)
{
	const BatchRecord *ra = a;
	const BatchRecord *rb = b;
	int			cmp = ra->depth - rb->depth;

	if (cmp == 0)
		cmp = strcmp(ra->entity, rb->entity);
	return cmp != 0 ? cmp : strcmp(ra->external_id, rb->external_id);
}

void
batch_sort(Feed *feed)
{
	qsort(feed->records, feed->nrecords, sizeof(BatchRecord), compare_records);
}
