/*
 * poll.c
 *	  sync_poll: bringing what was edited in a polled relation to the hub.
 *
 * Called from SQL, by hand or by a schedule.  The relation is read at one moment,
 * from a little before the watermark on; the rows that differ from what was last
 * seen of them go through the ladder in batches, and the watermark moves with each
 * batch, in its transaction.  Broken off anywhere, nothing is lost: what was done
 * is skipped the next time.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "local/job.h"
#include "local/loaded.h"
#include "local/poll.h"
#include "local/poll_deletes.h"
#include "local/poll_rows.h"
#include "local/row_failures.h"
#include "model/rfc3339.h"
#include "process/args.h"
#include "process/owner.h"
#include "process/steps.h"
#include "storage/rights.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(sync_poll);

/* ---------- begin and end ---------- */

static void
read_state(Poll *poll)
{
	char	   *watermark = owner_text("SELECT to_char(watermark AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') "
									"FROM syncext.poll_state WHERE relation = %u", poll->relation);

	poll->has_watermark = watermark != NULL &&
		rfc3339_parse(watermark, strlen(watermark), &poll->watermark);
}

/* Count the rows that a full compare may miss, before anything new is taken. */
static void
count_known(Poll *poll)
{
	poll->known = owner_number("SELECT (SELECT count(*) FROM syncext.replica WHERE relation = %u AND fields IS NOT NULL) "
							   "- coalesce((SELECT new_rows FROM syncext.poll_state WHERE relation = %u), 0)",
							   poll->relation, poll->relation);
}

static void
begin_run(Poll *poll)
{
	const Attached *attached = attached_required(poll->relation, AccessShareLock);

	poll->run = job_begin(poll->relation, POLL_JOB, poll->scheduled);
	/* rows that aren't read this time are compared with what is known, too */
	if (loaded_forget_dropped(attached))
		loaded_note(attached);
	read_state(poll);
	if (poll->full)
		count_known(poll);
	job_phase(poll->run, "reading", -1);
}

static void
open_scan(Poll *poll)
{
	Attached   *attached = attached_required(poll->relation, AccessShareLock);

	poll->window.bounded = attached->updated != NULL && poll->has_watermark && !poll->full;
	if (poll->window.bounded)
		poll->window.since = poll->watermark - (int64) setting_poll_overlap * USECS_PER_SEC;
	poll->scan = poll_scan_begin(attached, &poll->window);
	job_phase(poll->run, "applying", poll_scan_total(poll->scan));
}

/* Is the error about a value in one of the rows? */
static bool
is_about_value(int sqlerrcode)
{
	return ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_DATA_EXCEPTION ||
		ERRCODE_TO_CATEGORY(sqlerrcode) == ERRCODE_INTEGRITY_CONSTRAINT_VIOLATION;
}

/*
 * Read the relation.  Where a value doesn't fit its column here, all rows fail
 * with it: then read the keys, and the rows one by one.
 */
static void
open_scan_or_keys(Poll *poll)
{
	ErrorData  *error = poll_try_step(poll, open_scan);

	if (error != NULL && is_about_value(error->sqlerrcode))
	{
		poll->window.keys_only = true;
		error = poll_try_step(poll, open_scan);
	}
	if (error != NULL)
		ReThrowError(error);
}

/* A poll of all rows knows it if there are none without a usable key. */
static void
note_unusable(Poll *poll)
{
	if (poll->nunusable > 0 || !poll->window.bounded)
		row_failures_of_keys(attached_required(poll->relation, AccessShareLock)->binding,
							 poll->nunusable, poll->unusable, "");
	poll->nfailed += poll->nunusable;
}

static void
end_run(Poll *poll)
{
	note_unusable(poll);
	loaded_note(attached_required(poll->relation, AccessShareLock));
	loaded_note_shape(poll->relation, poll->full && poll->nfailed == 0, true);
	owner_execute("INSERT INTO syncext.poll_state (relation, polled_at) VALUES (%u, %s) "
				  "ON CONFLICT (relation) DO UPDATE SET polled_at = excluded.polled_at",
				  poll->relation, quote_literal_cstr(rfc3339_format(poll->begin)));
	if (poll->full)
		owner_execute("UPDATE syncext.poll_state SET full_compared_at = polled_at, new_rows = 0 WHERE relation = %u",
					  poll->relation);
	(void) job_end(poll->run, poll_result(poll), NULL,
				   poll->has_watermark ? &poll->watermark : NULL);
}

static void
run_steps(Poll *poll)
{
	if (!poll_step(poll, begin_run))
		return;
	while (!poll->retries_ended)
		if (!poll_step(poll, poll_retry_batch))
			return;
	if (!poll_step(poll, open_scan_or_keys))
		return;
	while (!poll->scan_ended)
		if (!poll_step(poll, poll_apply_batch))
			return;
	poll_scan_end(poll->scan);
	poll->scan = NULL;
	if (poll->full && !poll_delete_vanished(poll))
		return;
	(void) poll_step(poll, end_run);
}

Jsonb *
poll_run(Oid relation, bool full, bool atomic, bool scheduled, ErrorData **error)
{
	MemoryContext caller = CurrentMemoryContext;
	/* not on the stack: it changes between setting a jump target and jumping there */
	Poll	   *poll = palloc0(sizeof(Poll));
	const Binding *binding = attached_required(relation, AccessShareLock)->binding;

	poll->relation = relation;
	poll->source = pstrdup(binding->source);
	poll->entity = pstrdup(binding->entity);
	poll->full = full;
	poll->atomic = atomic;
	poll->scheduled = scheduled;
	poll->begin = GetCurrentTimestamp();
	poll->context = caller;
	poll->batch = AllocSetContextCreate(caller, "syncext poll", ALLOCSET_DEFAULT_SIZES);
	PG_TRY();
	{
		run_steps(poll);
	}
	PG_CATCH();
	{
		if (poll->scan != NULL)
			poll_scan_end(poll->scan);
		PG_RE_THROW();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(poll->batch);
	*error = poll->error;
	return poll->error == NULL ? poll_result(poll) : NULL;
}

/* ---------- the procedure ---------- */

void
poll_check(Oid relation)
{
	const Binding *binding = attached_required(relation, AccessShareLock)->binding;

	relation_check_owner(relation, NULL);
	source_role_check(registry_source_required(registry_get(), binding->source));
	if (binding->capture != CAPTURE_POLL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is not polled", get_rel_name(relation)),
				 errdetail("It is attached with capture '%s' and direction '%s'.",
						   binding_capture_name(binding->capture),
						   binding->in ? (binding->out ? "both" : "in") : "out"),
				 errhint("Detach it, and attach it with capture => 'poll'.")));
}

/* One at a time: another one is refused, and leaves a row that says so. */
static void
lock_or_refuse(Oid relation, bool atomic)
{
	int			holder;

	if (job_lock(relation, POLL_JOB, &holder))
		return;
	if (!atomic)
	{
		job_skipped(relation, POLL_JOB, false, holder);
		steps_commit();
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("relation \"%s\" is being polled by session %d", get_rel_name(relation), holder),
			 errhint("View syncext.job_progress shows how far that is.")));
}

Datum
sync_poll(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			relation = arg_relation(fcinfo, 0);
	bool		full;
	bool		atomic = steps_is_atomic(fcinfo) || IsSubTransaction();
	Jsonb	   *volatile result = NULL;
	ErrorData  *volatile failure = NULL;

	relation_check_exists(relation);
	full = arg_bool(fcinfo, 1, "full_compare");
	poll_check(relation);
	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	lock_or_refuse(relation, atomic);
	PG_TRY();
	{
		ErrorData  *error;

		result = poll_run(relation, full, atomic, false, &error);
		failure = error;
	}
	PG_FINALLY();
	{
		job_unlock(relation, POLL_JOB);
	}
	PG_END_TRY();
	if (failure != NULL)
		ReThrowError(failure);
	MemoryContextSwitchTo(caller);
	result = (Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(result));
	SPI_finish();
	PG_RETURN_DATUM(steps_result(fcinfo, result));
}
