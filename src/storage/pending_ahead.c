/*
 * pending_ahead.c
 *	  Which records of a batch have no pending conflict, by one look at all of them.
 *
 * Each write has to know its record's pending conflicts, with the record held: a look-up
 * that finds nothing nearly always, and takes a tenth of a batch's time.  Where
 * the index has no entry of a record at all, there was none, neither one that could be
 * seen nor one that a transaction is about to commit; and there is none for as long as nobody
 * has committed anything since, nor this transaction added one.  So the index's entries
 * are read once for many records, and those without one need no look-up while that holds.
 * Where others commit all the time, it doesn't: then looking ahead is put off, ever longer.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"

#include "storage/pending_ahead.h"

/* Entries for each of the records: of more a look-up each is as cheap. */
#define MAX_ENTRIES		8
/* So many records have to be answered by one look for it to have been worth it. */
#define WORTH_RECORDS	16
/* Looks that are put off, at most. */
#define MAX_PAUSE		64

struct PendingAhead
{
	ConflictLog *log;
	MemoryContext context;		/* of what was found */
	bool		looked;			/* and how often it served isn't judged yet */
	bool		known;			/* what follows is: */
	RowsMoment	moment;
	uint64		made;			/* conflict_log_made() */
	const char *entity;
	const char *first;			/* of the records from this one */
	const char *last;			/* to this one */
	int			n;
	int			max;
	char	  **ids;			/* these may have conflicts */
	int			served;			/* records since the last look */
	int			pause;			/* looks left that are put off */
	int			next_pause;
};

PendingAhead *
pending_ahead_begin(ConflictLog *log)
{
	MemoryContext parent = GetMemoryChunkContext(log);
	PendingAhead *ahead = MemoryContextAllocZero(parent, sizeof(PendingAhead));

	ahead->log = log;
	ahead->context = AllocSetContextCreate(parent, "syncext pending conflicts", ALLOCSET_SMALL_SIZES);
	return ahead;
}

void
pending_ahead_end(PendingAhead *ahead)
{
	MemoryContextDelete(ahead->context);
	pfree(ahead);
}

static void
note_id(void *arg, const text *external_id)
{
	PendingAhead *ahead = arg;

	ahead->ids[ahead->n++] = text_to_cstring(external_id);
}

/* After a look that has served few records the next ones are put off. */
static bool
is_put_off(PendingAhead *ahead)
{
	if (ahead->looked)
	{
		ahead->next_pause = ahead->served >= WORTH_RECORDS ? 0 :
			Min(Max(1, ahead->next_pause * 2), MAX_PAUSE);
		ahead->pause = ahead->next_pause;
		ahead->looked = false;
	}
	if (ahead->pause == 0)
		return false;
	ahead->pause--;
	return true;
}

void
pending_ahead_look(PendingAhead *ahead, int n, const RecordKey *records)
{
	MemoryContext old;
	int			run = 1;

	ahead->known = false;
	if (is_put_off(ahead))
		return;
	while (run < n && strcmp(records[run].entity, records[0].entity) == 0)
		run++;
	MemoryContextReset(ahead->context);
	old = MemoryContextSwitchTo(ahead->context);
	ahead->entity = pstrdup(records[0].entity);
	ahead->first = pstrdup(records[0].external_id);
	ahead->last = pstrdup(records[run - 1].external_id);
	ahead->max = run * MAX_ENTRIES;
	ahead->ids = palloc(sizeof(char *) * ahead->max);
	ahead->n = 0;
	ahead->served = 0;
	ahead->looked = true;
	/* before the look: what ends meanwhile may have been missed */
	ahead->moment = rows_moment();
	ahead->made = conflict_log_made();
	ahead->known = conflict_log_note_pending(ahead->log, ahead->entity, ahead->first, ahead->last,
											 ahead->max, note_id, ahead);
	MemoryContextSwitchTo(old);
}

static int
compare_ids(const void *a, const void *b)
{
	return strcmp(*(char *const *) a, *(char *const *) b);
}

bool
pending_ahead_none(PendingAhead *ahead, const char *entity, const char *external_id)
{
	if (!ahead->known || strcmp(entity, ahead->entity) != 0 ||
		strcmp(external_id, ahead->first) < 0 || strcmp(external_id, ahead->last) > 0 ||
		(ahead->n > 0 &&
		 bsearch(&external_id, ahead->ids, ahead->n, sizeof(char *), compare_ids) != NULL))
		return false;
	ahead->known = ahead->made == conflict_log_made() && rows_moment_lasts(&ahead->moment);
	ahead->served += ahead->known;
	return ahead->known;
}

void
pending_ahead_added(PendingAhead *ahead, const char *external_id)
{
	int			at = 0;

	if (!ahead->known)
		return;
	ahead->known = ahead->n < ahead->max && conflict_log_made() == ahead->made + 1;
	if (!ahead->known)
		return;
	while (at < ahead->n && strcmp(ahead->ids[at], external_id) < 0)
		at++;
	memmove(&ahead->ids[at + 1], &ahead->ids[at], sizeof(char *) * (ahead->n - at));
	ahead->ids[at] = MemoryContextStrdup(ahead->context, external_id);
	ahead->n++;
	ahead->made++;
}
