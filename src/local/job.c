/*
 * job.c
 *	  Runs of what works on an attached relation (table syncext.job_run).
 *
 * Called by poll and by whatever runs a schedule.  A run's row is committed when
 * it begins and with each of its batches, so that others see how far it is.
 */
#include "postgres.h"

#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "hub/section.h"
#include "local/job.h"
#include "model/rfc3339.h"
#include "storage/locks.h"

/* What the next run's row says of its schedule. */
static TimestampTz context_scheduled_for = 0;
static int	context_attempt = 0;

static void
enter(Section *section)
{
	SPI_connect();
	section_enter(section, 0);
}

static void
leave(Section *section)
{
	section_leave(section);
	SPI_finish();
}

/* ---------- locks ---------- */

static LockKind
job_lock_kind(const char *job)
{
	if (strcmp(job, "poll") == 0)
		return LOCK_POLL;
	return strcmp(job, "deliver") == 0 ? LOCK_DELIVER : LOCK_LOAD;
}

/* Who has the lock, 0 if nobody any more. */
static int
lock_holder(Oid relation, LockKind kind)
{
	Section		section;
	int			holder;

	enter(&section);
	holder = section_number("SELECT pid FROM pg_locks WHERE locktype = 'object' AND granted "
							"AND database = %u AND classid = 'syncext.binding'::regclass "
							"AND objid = %u AND objsubid = %d",
							MyDatabaseId, relation, kind);
	leave(&section);
	return holder;
}

bool
job_lock(Oid relation, const char *job, int *holder)
{
	LockKind	kind = job_lock_kind(job);

	*holder = 0;
	switch (lock_session(kind, relation, false))
	{
		case LOCK_TAKEN:
			return true;
		case LOCK_BUSY:
			*holder = lock_holder(relation, kind);
			return false;
		case LOCK_MINE:
			/* a run within a run, from a trigger or a default perhaps */
			*holder = MyProcPid;
			break;
	}
	return false;
}

void
job_unlock(Oid relation, const char *job)
{
	lock_release(job_lock_kind(job), relation);
}

/* ---------- rows ---------- */

void
job_set_context(TimestampTz scheduled_for, int attempt)
{
	context_scheduled_for = scheduled_for;
	context_attempt = attempt;
}

static const char *
time_literal(TimestampTz time)
{
	return quote_literal_cstr(rfc3339_format(time));
}

static int64
add_row(Oid relation, const char *job, const char *status, const char *role)
{
	int64		id;

	id = section_number("INSERT INTO syncext.job_run (relation, job, status, started_at, "
						"progress_at, scheduled_for, attempt, pid, role) "
						"VALUES (%u, %s, %s, clock_timestamp(), clock_timestamp(), %s, %d, %d, %s) "
						"RETURNING id",
						relation, quote_literal_cstr(job), quote_literal_cstr(status),
						context_attempt > 0 ? time_literal(context_scheduled_for) : "NULL",
						Max(context_attempt, 1), MyProcPid, quote_literal_cstr(role));
	context_attempt = 0;
	return id;
}

int64
job_begin(Oid relation, const char *job)
{
	Section		section;
	const char *role = GetUserNameFromId(GetUserId(), false);
	int64		id;

	enter(&section);
	section_run("UPDATE syncext.job_run SET status = 'interrupted', ended_at = clock_timestamp(), "
				"error = 'the session that ran it ended' "
				"WHERE relation = %u AND job = %s AND status = 'running'",
				relation, quote_literal_cstr(job));
	id = add_row(relation, job, "running", role);
	leave(&section);
	return id;
}

void
job_skipped(Oid relation, const char *job, int holder)
{
	Section		section;
	const char *role = GetUserNameFromId(GetUserId(), false);
	int64		id;

	enter(&section);
	id = add_row(relation, job, "skipped", role);
	section_run("UPDATE syncext.job_run SET ended_at = started_at, "
				"error = 'the run of session %d goes on' WHERE id = " INT64_FORMAT,
				holder, id);
	leave(&section);
}

void
job_phase(int64 id, const char *phase, int64 total)
{
	Section		section;

	enter(&section);
	section_run("UPDATE syncext.job_run SET phase = %s, done = 0, total = nullif(" INT64_FORMAT ", -1), "
				"progress_at = clock_timestamp() WHERE id = " INT64_FORMAT,
				quote_literal_cstr(phase), total, id);
	leave(&section);
}

void
job_progress(int64 id, int64 done)
{
	Section		section;

	enter(&section);
	section_run("UPDATE syncext.job_run SET done = " INT64_FORMAT ", progress_at = clock_timestamp() "
				"WHERE id = " INT64_FORMAT, done, id);
	leave(&section);
}

bool
job_end(int64 id, Jsonb *counts, const char *error, const TimestampTz *watermark)
{
	Section		section;
	const char *counts_literal = "NULL";
	bool		there;

	if (counts != NULL)
		counts_literal = quote_literal_cstr(JsonbToCString(NULL, &counts->root, VARSIZE(counts)));
	enter(&section);
	there = section_run("UPDATE syncext.job_run SET status = %s, ended_at = clock_timestamp(), counts = %s, "
						"error = %s, watermark = %s WHERE id = " INT64_FORMAT,
						error != NULL ? "'failed'" : "'done'", counts_literal,
						error != NULL ? quote_literal_cstr(error) : "NULL",
						watermark != NULL ? time_literal(*watermark) : "NULL", id) > 0;
	leave(&section);
	return there;
}
