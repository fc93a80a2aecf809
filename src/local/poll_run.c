/*
 * poll_run.c
 *	  A poll under way: its steps, each a transaction, and what fails in them.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "tcop/pquery.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "local/job.h"
#include "local/poll_run.h"
#include "local/row_failures.h"
#include "model/json.h"
#include "model/rfc3339.h"
#include "process/steps.h"
#include "process/subxact.h"
#include "storage/locks.h"

/* ---------- steps ---------- */

/* Say how the poll failed; what it has done so far stays. */
static void
fail(Poll *poll, ErrorData *error)
{
	const TimestampTz *watermark = poll->has_watermark ? &poll->watermark : NULL;
	const char *why = batch_item_describe_error(error);
	int			holder;
	bool		locked;

	if (poll->scan != NULL)
		poll_scan_end(poll->scan);
	poll->scan = NULL;
	poll->error = error;
	if (poll->run == 0)
		return;
	/*
	 * A commit that failed has released the lock, and taken the row with it perhaps.  If
	 * another poll has begun since, that doesn't change how this one has ended.
	 */
	locked = job_lock(poll->relation, POLL_JOB, &holder) || holder == MyProcPid;
	if (!job_end(poll->run, NULL, why, watermark) && locked)
		(void) job_end(job_begin(poll->relation, POLL_JOB, poll->scheduled), NULL, why, watermark);
	steps_commit();
}

typedef struct Step
{
	Poll	   *poll;
	void		(*function) (Poll *poll);
} Step;

static void
run_step(void *arg)
{
	const Step *step = arg;

	step->function(step->poll);
}

ErrorData *
poll_try_step(Poll *poll, void (*function) (Poll *poll))
{
	Step		step = {poll, function};

	return subxact_try(run_step, &step);
}

static ErrorData *
try_commit(Poll *poll)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		steps_commit();
	}
	PG_CATCH();
	{
		/* another transaction has begun by now */
		MemoryContextSwitchTo(poll->context);
		error = CopyErrorData();
		FlushErrorState();
		EnsurePortalSnapshotExists();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(poll->context);
	return error;
}

bool
poll_step(Poll *poll, void (*step) (Poll *poll))
{
	ErrorData  *error = NULL;

	CHECK_FOR_INTERRUPTS();
	MemoryContextSwitchTo(poll->context);
	if (poll->atomic)
		step(poll);
	else
	{
		error = poll_try_step(poll, step);
		if (error == NULL)
			error = try_commit(poll);
		if (error != NULL)
			fail(poll, error);
	}
	MemoryContextSwitchTo(poll->context);
	MemoryContextReset(poll->batch);
	return error == NULL;
}

Attached *
poll_lock(const Poll *poll)
{
	Attached   *attached;

	(void) lock_transaction(LOCK_TRANSFER, poll->relation, true);
	attached = attached_required(poll->relation, AccessShareLock);
	if (attached->binding->capture != CAPTURE_POLL ||
		strcmp(attached->binding->source, poll->source) != 0 ||
		strcmp(attached->binding->entity, poll->entity) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("relation %s was attached anew while it was polled", attached->name),
				 errhint("Poll it again.")));
	return attached;
}

/* ---------- failures ---------- */

void
poll_note_twice(Poll *poll, CaptureFailures *failures, const char *external_id)
{
	const Attached *attached = attached_required(poll->relation, AccessShareLock);

	row_failure_note(failures, attached->binding, external_id,
					 psprintf("relation %s has several rows with this key", attached->name), false);
	poll->nfailed++;
	poll->has_failures = true;
}

void
poll_settle(Poll *poll, BatchItem *items, int n)
{
	row_failures_settle(attached_required(poll->relation, AccessShareLock)->binding, items, n);
	for (int i = 0; i < n; i++)
	{
		if (batch_item_error(&items[i]) == NULL)
			poll->count[items[i].outcome]++;
		else
		{
			poll->nfailed++;
			poll->has_failures = true;
		}
	}
}

/* ---------- the answer ---------- */

static void
push_count(JsonbParseState **state, const Poll *poll, const char *key, PolledOutcome outcome)
{
	json_push_number(state, key, poll->count[outcome]);
}

Jsonb *
poll_result(const Poll *poll)
{
	JsonbParseState *state = json_begin_object();
	JsonbValue	null = {.type = jbvNull};

	json_push_number(&state, "read", poll->nread);
	push_count(&state, poll, "new", POLLED_NEW);
	push_count(&state, poll, "updated", POLLED_UPDATED);
	push_count(&state, poll, "merged", POLLED_MERGED);
	push_count(&state, poll, "skipped", POLLED_SKIPPED);
	push_count(&state, poll, "conflicts", POLLED_CONFLICT);
	push_count(&state, poll, "waiting", POLLED_WAITING);
	push_count(&state, poll, "deleted", POLLED_DELETED);
	if (poll->count[POLLED_NOT_SHOWN] > 0)
		push_count(&state, poll, "not_shown", POLLED_NOT_SHOWN);
	json_push_number(&state, "failed", poll->nfailed);
	json_push_seconds(&state, "seconds", GetCurrentTimestamp() - poll->begin);
	if (poll->has_watermark)
		json_push_string(&state, "watermark", rfc3339_format(poll->watermark));
	else
	{
		json_push_key(&state, "watermark");
		pushJsonbValue(&state, WJB_VALUE, &null);
	}
	return json_end_object(&state);
}
