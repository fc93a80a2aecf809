/*
 * stat_entries.c
 *	  Counters by their keys.
 *
 * Some of it runs after a commit, where nothing may be raised.
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#include "process/stat_entries.h"

#define FIRST_ROOM	16
#define KEPT_ROOM	64			/* by an empty list */
/* A session keeps as many apart; what comes when all are taken it doesn't count. */
#define MAX_ROOM	16384

StatKey
stat_key(char kind, char what, const char *name, const char *entity)
{
	StatKey		key;

	MemSet(&key, 0, sizeof(key));
	key.database = MyDatabaseId;
	key.kind = kind;
	key.what = what;
	strlcpy(key.name, name, NAMEDATALEN);
	strlcpy(key.entity, entity, NAMEDATALEN);
	return key;
}

StatEntry *
stat_search(StatEntry *entries, int room, const StatKey *key)
{
	uint32		start = hash_bytes((const unsigned char *) key, sizeof(StatKey));

	for (int i = 0; i < room; i++)
	{
		StatEntry  *entry = &entries[(start + i) % room];

		if (entry->key.kind == '\0' || memcmp(&entry->key, key, sizeof(StatKey)) == 0)
			return entry;
	}
	return NULL;
}

void
stat_add(StatEntry *to, const StatEntry *from)
{
	for (int k = 0; k < STAT_NCOUNTS; k++)
		to->n[k] += from->n[k];
	to->last_at = Max(to->last_at, from->last_at);
}

/* Where there is no memory the list stays as it is. */
static void
grow(StatEntries *list)
{
	StatEntries larger = {.context = list->context, .room = Max(FIRST_ROOM, list->room * 2)};

	if (larger.room > MAX_ROOM)
		return;
	larger.entry = MemoryContextAllocExtended(list->context != NULL ? list->context : TopMemoryContext,
											  sizeof(StatEntry) * larger.room, MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (larger.entry == NULL)
		return;
	if (list->entry != NULL)
	{
		stat_entries_move(&larger, list);
		if (list->entry != NULL)
			pfree(list->entry);
	}
	*list = larger;
}

StatEntry *
stat_entries_get(StatEntries *list, const StatKey *key)
{
	StatEntry  *entry;

	if (list->n * 2 >= list->room)
		grow(list);
	entry = stat_search(list->entry, list->room, key);
	if (entry != NULL && entry->key.kind == '\0')
	{
		entry->key = *key;
		list->n++;
	}
	return entry;
}

void
stat_entries_add(StatEntries *list, const StatEntry *entry)
{
	StatEntry  *sum = entry->key.kind == '\0' ? NULL : stat_entries_get(list, &entry->key);

	if (sum != NULL)
		stat_add(sum, entry);
}

void
stat_entries_move(StatEntries *to, StatEntries *from)
{
	for (int i = 0; from->n > 0 && i < from->room; i++)
		stat_entries_add(to, &from->entry[i]);
	stat_entries_clear(from);
}

/* Called at each commit that has counted: entries without a key are zero, and left so. */
void
stat_entries_clear(StatEntries *list)
{
	if (list->room > KEPT_ROOM)
	{
		pfree(list->entry);
		list->entry = NULL;
		list->room = 0;
	}
	for (int i = 0; list->n > 0 && i < list->room; i++)
	{
		if (list->entry[i].key.kind == '\0')
			continue;
		MemSet(&list->entry[i], 0, sizeof(StatEntry));
		list->n--;
	}
	list->n = 0;
}
