/*
 * link_state.c
 *	  How links fare (table syncext.link_state).
 *
 * A busy link makes hundreds of exchanges a second: they are noted once a second, and
 * what is noted need not survive a crash.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "link/link_state.h"
#include "process/owner.h"
#include "settings.h"
#include "process/durability.h"

/* How often, in milliseconds. */
#define NOTE_INTERVAL	1000

/* What one link has done since that was last noted. */
typedef struct Tally
{
	char	   *link;
	int64		pushed;
	int64		pulled;
	int64		behind;
	TimestampTz noted_at;
	int			batch_bytes;	/* 0: as set; -1: it isn't known */
} Tally;

static List *tallies = NIL;

static Tally *
find_tally(const char *link)
{
	MemoryContext old;
	Tally	   *tally;

	foreach_ptr(Tally, known, tallies)
		if (strcmp(known->link, link) == 0)
			return known;
	old = MemoryContextSwitchTo(CacheMemoryContext);
	tally = palloc0(sizeof(Tally));
	tally->link = pstrdup(link);
	tally->batch_bytes = -1;
	tallies = lappend(tallies, tally);
	MemoryContextSwitchTo(old);
	return tally;
}

void
link_state_note(const char *link, const ExchangeResult *result, bool wait)
{
	Tally	   *tally = find_tally(link);
	TimestampTz now = GetCurrentTimestamp();

	if (result != NULL)
	{
		tally->pushed += result->pushed;
		tally->pulled += result->pulled;
		tally->behind = result->behind;
	}
	if (!wait && !TimestampDifferenceExceeds(tally->noted_at, now, NOTE_INTERVAL))
		return;
	durability_none();
	owner_execute("SELECT syncext.note_exchange(%s, " INT64_FORMAT ", " INT64_FORMAT ", " INT64_FORMAT ", %d)",
				  quote_literal_cstr(link), tally->pushed, tally->pulled, tally->behind,
				  setting_link_batch_bytes);
	tally->pushed = tally->pulled = 0;
	tally->noted_at = now;
	if (tally->batch_bytes > 0)
		tally->batch_bytes = -1;
}

void
link_state_note_error(const char *link, const char *error, bool smaller)
{
	int			half = Max(link_state_batch_bytes(link) / 2, LINK_BATCH_BYTES_MIN);

	owner_execute("SELECT syncext.note_exchange_error(%s, %s, %s)", quote_literal_cstr(link),
				  quote_literal_cstr(error), smaller ? psprintf("%d", half) : "NULL");
	/* a success after it is noted at once */
	find_tally(link)->noted_at = 0;
	if (smaller)
		find_tally(link)->batch_bytes = -1;
}

int
link_state_batch_bytes(const char *link)
{
	Tally	   *tally = find_tally(link);

	if (tally->batch_bytes < 0)
		tally->batch_bytes = (int) owner_number("SELECT s.batch_bytes FROM syncext.link_state s WHERE s.link = %s",
												quote_literal_cstr(link));
	return tally->batch_bytes == 0 ? setting_link_batch_bytes :
		Min(tally->batch_bytes, setting_link_batch_bytes);
}
