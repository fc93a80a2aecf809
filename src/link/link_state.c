/*
 * link_state.c
 *	  How links fare (table syncext.link_state).
 *
 * Called by link/exchange.  A busy link makes hundreds of exchanges a second:
 * they are noted once a second, and what is noted need not survive a crash.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "hub/section.h"
#include "link/link_state.h"
#include "settings.h"
#include "storage/durability.h"

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
	ListCell   *lc;
	Tally	   *tally;

	foreach(lc, tallies)
	{
		tally = lfirst(lc);
		if (strcmp(tally->link, link) == 0)
			return tally;
	}
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
	Section		section;

	if (result != NULL)
	{
		tally->pushed += result->pushed;
		tally->pulled += result->pulled;
		tally->behind = result->behind;
	}
	if (!wait && !TimestampDifferenceExceeds(tally->noted_at, now, NOTE_INTERVAL))
		return;
	durability_none();
	SPI_connect();
	section_enter(&section, 0);
	section_run("INSERT INTO syncext.link_state AS s (link, last_exchange_at, last_push_at, last_pull_at, pushed, pulled, hub_behind) "
				"SELECT l.name, clock_timestamp(), CASE WHEN v.pushed > 0 THEN clock_timestamp() END, "
				"CASE WHEN v.pulled > 0 THEN clock_timestamp() END, v.pushed, v.pulled, v.behind "
				"FROM syncext.link l, (VALUES (" INT64_FORMAT ", " INT64_FORMAT ", " INT64_FORMAT ")) v(pushed, pulled, behind) "
				"WHERE l.name = %s "
				"ON CONFLICT (link) DO UPDATE SET last_exchange_at = excluded.last_exchange_at, "
				"last_push_at = coalesce(excluded.last_push_at, s.last_push_at), "
				"last_pull_at = coalesce(excluded.last_pull_at, s.last_pull_at), "
				"pushed = s.pushed + excluded.pushed, pulled = s.pulled + excluded.pulled, "
				"hub_behind = excluded.hub_behind, "
				"failures = 0, next_attempt = NULL, "
				"batch_bytes = CASE WHEN s.batch_bytes < %d / 2 THEN s.batch_bytes * 2 END",
				tally->pushed, tally->pulled, tally->behind,
				quote_literal_cstr(link), setting_link_batch_bytes);
	section_leave(&section);
	SPI_finish();
	tally->pushed = tally->pulled = 0;
	tally->noted_at = now;
	if (tally->batch_bytes > 0)
		tally->batch_bytes = -1;
}

void
link_state_note_error(const char *link, const char *error, bool out_of_memory)
{
	Section		section;
	int			half = Max(link_state_batch_bytes(link) / 2, LINK_BATCH_BYTES_MIN);

	SPI_connect();
	section_enter(&section, 0);
	section_run("INSERT INTO syncext.link_state AS s (link, failures, last_error, last_error_at, batch_bytes) "
				"SELECT l.name, 1, %s, clock_timestamp(), %s FROM syncext.link l WHERE l.name = %s "
				"ON CONFLICT (link) DO UPDATE SET failures = s.failures + 1, "
				"last_error = excluded.last_error, last_error_at = excluded.last_error_at, hub_behind = NULL, "
				"batch_bytes = coalesce(excluded.batch_bytes, s.batch_bytes)",
				quote_literal_cstr(error), out_of_memory ? psprintf("%d", half) : "NULL",
				quote_literal_cstr(link));
	section_leave(&section);
	SPI_finish();
	/* a success after it is noted at once */
	find_tally(link)->noted_at = 0;
	if (out_of_memory)
		find_tally(link)->batch_bytes = -1;
}

int
link_state_batch_bytes(const char *link)
{
	Tally	   *tally = find_tally(link);
	Section		section;

	if (tally->batch_bytes < 0)
	{
		SPI_connect();
		section_enter(&section, 0);
		tally->batch_bytes = (int) section_number("SELECT coalesce(min(s.batch_bytes), 0) "
												  "FROM syncext.link_state s WHERE s.link = %s",
												  quote_literal_cstr(link));
		section_leave(&section);
		SPI_finish();
	}
	return tally->batch_bytes == 0 ? setting_link_batch_bytes :
		Min(tally->batch_bytes, setting_link_batch_bytes);
}
