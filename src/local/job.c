/*
 * job.c
 *	  Runs of what works on an attached relation (table syncext.job_run).
 *
 * A run's row is committed when
 * it begins and with each of its batches, so that others see how far it is.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "local/job.h"
#include "model/rfc3339.h"
#include "process/owner.h"
#include "storage/locks.h"

/* ---------- locks ---------- */

static LockKind
job_lock_kind(const char *job)
{
	if (strcmp(job, "poll") == 0)
		return LOCK_POLL;
	return strcmp(job, "deliver") == 0 ? LOCK_DELIVER : LOCK_LOAD;
}

/* The pid of the session that has the lock; 0: none has it any more. */
static int
lock_holder(Oid relation, LockKind kind)
{
	return owner_number("SELECT pid FROM pg_locks WHERE locktype = 'object' AND granted "
						"AND database = %u AND classid = 'syncext.binding'::regclass "
						"AND objid = %u AND objsubid = %d",
						MyDatabaseId, relation, kind);
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

int64
job_begin(Oid relation, const char *job, bool scheduled)
{
	owner_execute("UPDATE syncext.job_run SET status = 'interrupted', ended_at = clock_timestamp(), "
				  "error = 'the session that ran it ended' "
				  "WHERE relation = %u AND job = %s AND status = 'running'",
				  relation, quote_literal_cstr(job));
	return owner_number("SELECT syncext.begin_job_run(%u::regclass, %s, %s, %s)",
						relation, quote_literal_cstr(job), scheduled ? "true" : "false",
						quote_literal_cstr(GetUserNameFromId(GetUserId(), false)));
}

void
job_skipped(Oid relation, const char *job, bool scheduled, int holder)
{
	owner_execute("SELECT syncext.skip_job_run(%u::regclass, %s, %s, %s, %d)",
				  relation, quote_literal_cstr(job), scheduled ? "true" : "false",
				  quote_literal_cstr(GetUserNameFromId(GetUserId(), false)), holder);
}

void
job_phase(int64 id, const char *phase, int64 total)
{
	owner_execute("UPDATE syncext.job_run SET phase = %s, done = 0, total = nullif(" INT64_FORMAT ", -1), "
				  "progress_at = clock_timestamp() WHERE id = " INT64_FORMAT,
				  quote_literal_cstr(phase), total, id);
}

void
job_progress(int64 id, int64 done)
{
	owner_execute("UPDATE syncext.job_run SET done = " INT64_FORMAT ", progress_at = clock_timestamp() "
				  "WHERE id = " INT64_FORMAT, done, id);
}

bool
job_end(int64 id, Jsonb *counts, const char *error, const TimestampTz *watermark)
{
	const char *counts_literal = "NULL";
	bool		is_there;

	if (counts != NULL)
		counts_literal = quote_literal_cstr(JsonbToCString(NULL, &counts->root, VARSIZE(counts)));
	is_there = owner_execute("UPDATE syncext.job_run SET status = %s, ended_at = clock_timestamp(), counts = %s, "
							 "error = %s, watermark = %s WHERE id = " INT64_FORMAT,
							 error != NULL ? "'failed'" : "'done'", counts_literal,
							 error != NULL ? quote_literal_cstr(error) : "NULL",
							 watermark != NULL ? quote_literal_cstr(rfc3339_format(*watermark)) : "NULL", id) > 0;
	/* it counts as a failure since it began; when it is tried again counts from its end */
	owner_execute("UPDATE syncext.job_state s SET %s FROM syncext.job_run r "
				  "WHERE r.id = " INT64_FORMAT " AND s.relation = r.relation AND s.job = r.job AND s.run = r.id",
				  error != NULL ? "retry_at = s.retry_at + (r.ended_at - r.started_at)" : "failures = 0, retry_at = NULL", id);
	return is_there;
}
