/*
 * stat_shared.c
 *	  Counters of all sessions in shared memory, where there is some.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/lwlock.h"
#include "utils/timestamp.h"

#include "process/stat_shared.h"

/* Rises when these structures, or what is counted, mean something else. */
#define STAT_LAYOUT		1

/* As many keys; what comes when all are taken is counted together, without a name. */
#define STAT_ENTRIES	8192
#define STAT_SPARE		256		/* of them, for what comes without a name */

typedef struct StatShared
{
	LWLock		lock;			/* of all that follows */
	TimestampTz since;			/* when the counters began; never changes */
	int			used;			/* entries that have a key */
	StatEntry	entry[STAT_ENTRIES];
} StatShared;

static StatShared *shared = NULL;

/* ---------- getting at it ---------- */

static Size
area_size(void)
{
	return sizeof(StatShared);
}

static void
init_shared(void *place)
{
	StatShared *s = place;

	MemSet(s, 0, sizeof(StatShared));
	LWLockInitialize(&s->lock, LWLockNewTrancheId());
	s->since = GetCurrentTimestamp();
}

static void
attached(void *place)
{
	shared = place;
	LWLockRegisterTranche(shared->lock.tranche, "syncext");
}

SharedArea	stat_shared_area = {
	.what = "counters",
	.layout = STAT_LAYOUT,
	.unit = sizeof(StatShared),
	.size = area_size,
	.init = init_shared,
	.attached = attached
};

/* ---------- counting ---------- */

/* The key's entry, new where there is room for it, or NULL; the lock is held. */
static StatEntry *
find_entry(const StatKey *key, int room)
{
	StatEntry  *entry = stat_search(shared->entry, STAT_ENTRIES, key);

	if (entry != NULL && entry->key.kind == '\0')
	{
		if (shared->used >= room)
			return NULL;
		entry->key = *key;
		shared->used++;
	}
	return entry;
}

/* NULL, beyond all reason: there are more databases than spare entries. */
static StatEntry *
entry_of(const StatKey *key)
{
	StatKey		other = {.database = key->database, .kind = key->kind, .what = key->what};
	StatEntry  *entry = find_entry(key, STAT_ENTRIES - STAT_SPARE);

	return entry != NULL ? entry : find_entry(&other, STAT_ENTRIES);
}

void
stat_shared_add(StatEntries *counted)
{
	if (counted->n == 0)
		return;
	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < counted->room; i++)
	{
		const StatEntry *from = &counted->entry[i];
		StatEntry  *to = from->key.kind == '\0' ? NULL : entry_of(&from->key);

		if (to != NULL)
			stat_add(to, from);
	}
	LWLockRelease(&shared->lock);
	stat_entries_clear(counted);
}

/*
 * Entries are found by where they stand among the others, so that the others' are put in
 * anew.  This database's keys go: of its sources and entities there may be other ones now.
 */
void
stat_shared_reset(void)
{
	StatEntry  *copy = palloc(sizeof(shared->entry));

	LWLockAcquire(&shared->lock, LW_EXCLUSIVE);
	memcpy(copy, shared->entry, sizeof(shared->entry));
	MemSet(shared->entry, 0, sizeof(shared->entry));
	shared->used = 0;
	for (int i = 0; i < STAT_ENTRIES; i++)
	{
		if (copy[i].key.kind != '\0' && copy[i].key.database != MyDatabaseId)
			*find_entry(&copy[i].key, STAT_ENTRIES) = copy[i];
	}
	LWLockRelease(&shared->lock);
	pfree(copy);
}

TimestampTz
stat_shared_since(void)
{
	return shared->since;
}

void
stat_shared_read(StatEntries *to)
{
	StatEntry  *copy = palloc(sizeof(shared->entry));

	LWLockAcquire(&shared->lock, LW_SHARED);
	memcpy(copy, shared->entry, sizeof(shared->entry));
	LWLockRelease(&shared->lock);
	for (int i = 0; i < STAT_ENTRIES; i++)
		if (copy[i].key.database == MyDatabaseId)
			stat_entries_add(to, &copy[i]);
	pfree(copy);
}
