/*
 * stat.c
 *	  Counters: what has become of changes, of deliveries, and what links have sent.
 *
 * A transaction counts in its own memory, what a subtransaction does apart until that
 * ends, and adds to the counters of all when it has committed.  These are in shared
 * memory (process/shared_area).  Where there is none, a session keeps what its transactions
 * have counted, and appends it once a second at most, and when it ends, to an
 * unlogged table (process/stat_table), which maintenance folds.
 *
 * Counting fails nobody.  What may raise is tried in a subtransaction before the
 * commit; after it there are memory and one short lock.
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "miscadmin.h"
#include "storage/ipc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "process/stat.h"
#include "process/stat_shared.h"
#include "process/stat_table.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/relations.h"

/* ---------- counting ---------- */

/* What a (sub)transaction has counted. */
typedef struct StatLevel
{
	int			nest_level;
	StatEntries counted;
	struct StatLevel *outer;
} StatLevel;

static StatLevel transaction = {.nest_level = 1};
static StatLevel *innermost = &transaction;
static StatLevel *spare = NULL;	/* one that has ended, with its memory */

/* What transactions have counted that have ended, and isn't written yet. */
static StatEntries unwritten = {0};

/* The list for what happens now; NULL: there is no memory for it. */
static StatEntries *
current_list(void)
{
	int			nest_level = Max(1, GetCurrentTransactionNestLevel());
	StatLevel  *level = spare;

	if (innermost->nest_level >= nest_level)
		return &innermost->counted;
	if (level == NULL)
		level = MemoryContextAllocExtended(TopMemoryContext, sizeof(StatLevel),
										   MCXT_ALLOC_NO_OOM | MCXT_ALLOC_ZERO);
	if (level == NULL)
		return NULL;
	spare = NULL;
	level->nest_level = nest_level;
	level->outer = innermost;
	innermost = level;
	return &level->counted;
}

static void write_at_exit(int code, Datum arg);

static StatEntry *
count(char kind, char what, const char *name, const char *entity)
{
	static StatEntry nowhere;
	static bool registered = false;
	StatKey		key = stat_key(kind, what, name, entity);
	StatEntries *list = setting_track_counts && !subxact_is_dry() ? current_list() : NULL;
	StatEntry  *entry = list == NULL ? NULL : stat_entries_get(list, &key);

	if (!registered)
		before_shmem_exit(write_at_exit, 0);
	registered = true;
	return entry == NULL ? &nowhere : entry;
}

void
stat_change(const char *source, const char *entity, char resolution, int64 fields_changed,
			int64 fields_lost)
{
	StatEntry  *entry = count('c', resolution, source, entity);

	entry->n[0]++;
	entry->n[1] += fields_changed;
	entry->n[2] += fields_lost;
}

void
stat_target(const char *target, StatTarget what, int64 n)
{
	if (n > 0)
		count('t', '-', target, "")->n[what] += n;
}

void
stat_link(const char *link, StatLink what, int64 n)
{
	count('l', '-', link, "")->n[what] += n;
}

/* What is rolled back doesn't count, but for what was refused, and what links did. */
static void
forget_aborted(StatEntries *counted)
{
	StatEntries kept = {0};

	for (int i = 0; counted->n > 0 && i < counted->room; i++)
	{
		const StatEntry *entry = &counted->entry[i];

		if (entry->key.kind == 'l' || (entry->key.kind == 'c' && entry->key.what == STAT_REFUSED))
			stat_entries_add(&kept, entry);
	}
	stat_entries_clear(counted);
	stat_entries_move(counted, &kept);
	if (kept.entry != NULL)
		pfree(kept.entry);
}

/* ---------- the end of a subtransaction ---------- */

static void
release_level(StatLevel *level)
{
	innermost = level->outer;
	if (spare == NULL)
		spare = level;
	else
	{
		if (level->counted.entry != NULL)
			pfree(level->counted.entry);
		pfree(level);
	}
}

static void
at_end_of_subtransaction(SubXactEvent event, SubTransactionId id, SubTransactionId parent, void *arg)
{
	StatLevel  *level = innermost;

	if (event != SUBXACT_EVENT_COMMIT_SUB && event != SUBXACT_EVENT_ABORT_SUB)
		return;
	if (level == &transaction || level->nest_level < GetCurrentTransactionNestLevel())
		return;
	if (event == SUBXACT_EVENT_ABORT_SUB)
		forget_aborted(&level->counted);
	if (level->outer->nest_level < level->nest_level - 1)
	{
		/* its parent hasn't counted anything yet */
		level->nest_level--;
		return;
	}
	stat_entries_move(&level->outer->counted, &level->counted);
	release_level(level);
}

/* ---------- before the commit ---------- */

/* How often a session tries to attach to shared memory, or to append, in milliseconds. */
#define WRITE_MS	1000

static TimestampTz attach_tried = 0;
static TimestampTz write_tried = 0;
static bool written = false;	/* what is unwritten, by this transaction */
static bool said = false;		/* that writing fails */

static void
write_unwritten(void *unused)
{
	/* the cancel of a statement that is through must not end up here */
	HOLD_INTERRUPTS();
	if (extension_is_here())
		written = stat_table_write(&unwritten);
	RESUME_INTERRUPTS();
}

/* Say once what is in the way, in the server's log alone. */
static void
tell(ErrorData *error)
{
	if (error == NULL)
		return;
	written = false;
	if (!said)
		ereport(LOG,
				(errmsg("counters of changes could not be stored: %s", error->message),
				 errdetail("They are kept in the session, and stored when that is mended.")));
	said = true;
	FreeErrorData(error);
}

/* Call function unless it was called just now. */
static void
try_now_and_then(void (*function) (void *arg), void *arg, TimestampTz *tried)
{
	TimestampTz now = GetCurrentTransactionStartTimestamp();
	MemoryContext old;

	if (!TimestampDifferenceExceeds(*tried, now, WRITE_MS))
		return;
	*tried = now;
	/* an error comes in it */
	old = MemoryContextSwitchTo(TopTransactionContext);
	tell(subxact_try(function, arg));
	MemoryContextSwitchTo(old);
}

static void
before_commit(void)
{
	if (shared_area_possible(&stat_shared_area))
		try_now_and_then(shared_area_attach, &stat_shared_area, &attach_tried);
	if (!stat_shared_area.at_hand && !written && unwritten.n > 0 && !XactReadOnly)
		try_now_and_then(write_unwritten, NULL, &write_tried);
}

/* ---------- the end of the transaction ---------- */

static void
after_end(bool committed)
{
	TimestampTz now = GetCurrentTransactionStopTimestamp();

	if (written && committed)
		stat_entries_clear(&unwritten);
	written = false;
	for (int i = 0; transaction.counted.n > 0 && i < transaction.counted.room; i++)
		if (transaction.counted.entry[i].key.kind != '\0')
			transaction.counted.entry[i].last_at = now;
	if (unwritten.n > 0 || !stat_shared_area.at_hand)
		stat_entries_move(&unwritten, &transaction.counted);
	if (stat_shared_area.at_hand)
		stat_shared_add(unwritten.n > 0 ? &unwritten : &transaction.counted);
}

/* The session ends, however: write what it has kept, in a transaction of its own. */
static void
write_at_exit(int code, Datum arg)
{
	AbortOutOfAnyTransaction();
	/* what a link has counted between transactions */
	forget_aborted(&transaction.counted);
	stat_entries_move(&unwritten, &transaction.counted);
	if (stat_shared_area.at_hand)
		stat_shared_add(&unwritten);
	if (unwritten.n == 0 || RecoveryInProgress())
		return;
	StartTransactionCommand();
	XactIsoLevel = XACT_READ_COMMITTED;
	XactReadOnly = false;
	write_unwritten(NULL);
	CommitTransactionCommand();
}

static void
at_end_of_transaction(XactEvent event, void *arg)
{
	if (transaction.counted.n == 0 && !written)
		return;
	switch (event)
	{
		case XACT_EVENT_PRE_COMMIT:
			before_commit();
			break;
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PREPARE:
			after_end(true);
			break;
		case XACT_EVENT_ABORT:
			forget_aborted(&transaction.counted);
			after_end(false);
			break;
		default:
			break;
	}
}

void
stat_init(void)
{
	RegisterXactCallback(at_end_of_transaction, NULL);
	RegisterSubXactCallback(at_end_of_subtransaction, NULL);
	shared_area_request(&stat_shared_area);
}

/* ---------- for others ---------- */

bool
stat_attach(void)
{
	return shared_area_try(&stat_shared_area);
}

const StatEntries *
stat_unwritten(void)
{
	return &unwritten;
}

void
stat_forget(void)
{
	for (StatLevel *level = innermost; level != NULL; level = level->outer)
		stat_entries_clear(&level->counted);
	stat_entries_clear(&unwritten);
}
