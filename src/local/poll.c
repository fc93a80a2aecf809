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
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/batch.h"
#include "hub/procedure.h"
#include "hub/section.h"
#include "local/job.h"
#include "local/loaded.h"
#include "local/poll.h"
#include "local/transfer.h"
#include "model/rfc3339.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(sync_poll);

#define JOB	"poll"
/* Rows of a batch take no more memory than this, however wide they are. */
#define MAX_BATCH_BYTES	(8 * 1024 * 1024)

/* ---------- steps: a transaction each ---------- */

/* Say how the poll failed; what it has done so far stays. */
static void
fail(Poll *poll, ErrorData *error)
{
	const TimestampTz *watermark = poll->has_watermark ? &poll->watermark : NULL;
	const char *why = work_describe_error(error);
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
	locked = job_lock(poll->relation, JOB, &holder) || holder == MyProcPid;
	if (!job_end(poll->run, NULL, why, watermark) && locked)
		(void) job_end(job_begin(poll->relation, JOB), NULL, why, watermark);
	SPI_commit();
	EnsurePortalSnapshotExists();
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

/* Do a step in a subtransaction, so that the run can say how it failed. */
static ErrorData *
try_step(Poll *poll, void (*function) (Poll *poll))
{
	Step		step = {poll, function};

	return procedure_try(poll->context, poll->context, run_step, &step);
}

static ErrorData *
try_commit(Poll *poll)
{
	ErrorData  *volatile error = NULL;

	PG_TRY();
	{
		SPI_commit();
	}
	PG_CATCH();
	{
		/* another transaction has begun by now */
		MemoryContextSwitchTo(poll->context);
		error = CopyErrorData();
		FlushErrorState();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(poll->context);
	EnsurePortalSnapshotExists();
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
		error = try_step(poll, step);
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

	(void) transfer_lock(poll->relation, -1);
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
poll_note_failure(Poll *poll, CaptureFailures *failures, const char *external_id,
				  const char *error, bool busy)
{
	const Binding *binding = attached_required(poll->relation, AccessShareLock)->binding;
	const Source *source = registry_source_required(registry_get(), binding->source);
	TimestampTz now = GetCurrentTimestamp();
	CaptureFailure failure = {
		.relation = poll->relation,
		.external_id = external_id,
		.since = now,
		.next_attempt = now,
	};

	(void) capture_failure_find(failures, poll->relation, external_id, &failure);
	failure.error = error;
	failure.tried_at = now;
	/* it was read again before its time: that is no attempt */
	if (!busy && !failure.dead && failure.next_attempt <= now)
	{
		failure.attempts++;
		failure.dead = failure.attempts >= source->retry_cap;
		failure.dead_since = now;
		failure.next_attempt = batch_backoff(now, failure.attempts);
	}
	capture_failure_save(failures, &failure);
	poll->nfailed++;
	poll->has_failures = true;
}

/* Count what came of the items, and keep those that failed. */
void
poll_settle(Poll *poll, WorkItem *items, int n)
{
	CaptureFailures *failures = capture_failures_open(true);

	for (int i = 0; i < n; i++)
	{
		const char *error = work_error(&items[i]);

		if (error != NULL)
			poll_note_failure(poll, failures, items[i].external_id, error, items[i].busy);
		else
		{
			poll->count[items[i].outcome]++;
			if (poll->has_failures)
				(void) capture_failure_remove(failures, poll->relation, items[i].external_id);
		}
	}
	capture_failures_close(failures);
}

/* ---------- rows ---------- */

/* A row on its way to the hub. */
typedef struct PollRow
{
	const char *external_id;
	MinimalTuple tuple;			/* NULL: it has to be read by its key */
	bool		is_new;			/* nothing was known of it */
} PollRow;

/* The rows of one batch, beside their WorkItems. */
typedef struct PollBatch
{
	Poll	   *poll;
	WorkItem   *items;
	PollRow    *rows;
	int			n;
	bool		has_updated;
	TimestampTz updated;		/* the highest among them */
} PollBatch;

/*
 * Take one row.  If it was delivered to or taken since it was read, what was read
 * may be older than what is remembered: read it again, and nobody comes between
 * now.  A row that is gone is left to the full compare.
 */
static int
take_row(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	PollBatch  *batch = arg;
	PollRow    *source = &batch->rows[item - batch->items];
	ReplicaRow	replica;
	PolledEdit	edit;
	AttachedRow row;
	bool		read_again = source->tuple == NULL;

	replica_find(placer->replica, item->relation, item->external_id, &replica);
	source->is_new = !replica.exists;
	if (!read_again)
	{
		row = poll_scan_row(batch->poll->scan, attached, source->tuple);
		if (!polled_compare(attached, true, row, &replica, &edit))
			return POLLED_SKIPPED;
		read_again = replica.exists &&
			!TransactionIdPrecedes(replica.written_by, poll_scan_horizon(batch->poll->scan));
	}
	if (read_again)
	{
		if (!polled_read(attached, item->external_id, &row))
			return POLLED_SKIPPED;
		if (!polled_compare(attached, true, row, &replica, &edit))
			return POLLED_SKIPPED;
	}
	return polled_send(placer, attached, item->external_id, row, &edit, &replica);
}

static int
compare_rows(const void *a, const void *b)
{
	return strcmp(((const PollRow *) a)->external_id, ((const PollRow *) b)->external_id);
}

/*
 * Make items of the rows, in the order of their ids, as others lock records in.
 * What failed before is read again, as it is now, but once a poll; of several
 * rows with one key none is taken.
 */
static void
make_items(Poll *poll, PollBatch *batch, const Attached *attached)
{
	CaptureFailures *failures = capture_failures_open(true);
	int			n = 0;

	qsort(batch->rows, batch->n, sizeof(PollRow), compare_rows);
	batch->items = palloc0(sizeof(WorkItem) * Max(batch->n, 1));
	for (int i = 0, next; i < batch->n; i = next)
	{
		PollRow    *row = &batch->rows[i];
		CaptureFailure failure;

		for (next = i + 1; next < batch->n && compare_rows(row, &batch->rows[next]) == 0;)
			next++;
		if (next > i + 1)
		{
			poll_note_failure(poll, failures, row->external_id,
							  psprintf("relation %s has several rows with this key", attached->name),
							  false);
			continue;
		}
		if (poll->has_failures &&
			capture_failure_find(failures, poll->relation, row->external_id, &failure))
		{
			row->tuple = NULL;
			if (failure.tried_at >= poll->begin)
				continue;
		}
		work_item(&batch->items[n], attached->binding, false, row->external_id);
		row->is_new = false;
		batch->rows[n++] = *row;
	}
	batch->n = n;
	capture_failures_close(failures);
}

/* Note how many rows are new, but for those that the first poll of all finds. */
static void
note_new_rows(const Poll *poll, const PollBatch *batch)
{
	Section		section;
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
		n += batch->rows[i].is_new && work_error(&batch->items[i]) == NULL;
	if (n == 0)
		return;
	SPI_connect();
	section_enter(&section, 0);
	section_run("UPDATE syncext.poll_state SET new_rows = new_rows + %d "
				"WHERE relation = %u AND polled_at IS NOT NULL", n, poll->relation);
	section_leave(&section);
	SPI_finish();
}

static void
work_batch(Poll *poll, PollBatch *batch, const Attached *attached)
{
	make_items(poll, batch, attached);
	work_through(registry_get(), batch->items, batch->n, take_row, batch);
	poll_settle(poll, batch->items, batch->n);
	note_new_rows(poll, batch);
}

/* ---------- from the scan ---------- */

static void
note_updated(PollBatch *batch, const Attached *attached, AttachedRow row)
{
	bool		isnull;
	TimestampTz updated;

	if (attached->updated == NULL)
		return;
	updated = DatumGetTimestampTz(attached_value(attached->updated, row, &isnull));
	if (isnull || TIMESTAMP_NOT_FINITE(updated))
		return;
	if (!batch->has_updated || updated > batch->updated)
		batch->updated = updated;
	batch->has_updated = true;
}

/* Add a tuple of the scan; one without a usable key is only counted. */
static void
add_row(Poll *poll, PollBatch *batch, ValueSettings *settings, MinimalTuple tuple)
{
	const Attached *attached = attached_required(poll->relation, AccessShareLock);
	AttachedRow row = poll_scan_row(poll->scan, attached, tuple);
	const char *problem;
	char	   *external_id = attached_find_external_id(attached, settings, row, &problem);

	poll->nread++;
	note_updated(batch, attached, row);
	if (external_id != NULL)
	{
		batch->rows[batch->n].external_id = external_id;
		batch->rows[batch->n++].tuple = poll->window.keys_only ? NULL : tuple;
	}
	else if (poll->nunusable++ == 0)
		poll->unusable = MemoryContextStrdup(poll->context, problem);
}

static void
read_rows(Poll *poll, PollBatch *batch)
{
	ValueSettings settings;
	Size		bytes = 0;
	MinimalTuple tuple;

	batch->rows = palloc(sizeof(PollRow) * setting_poll_batch);
	value_settings_begin(&settings);
	while (batch->n < setting_poll_batch && bytes < MAX_BATCH_BYTES)
	{
		tuple = poll_scan_next(poll->scan);
		if (tuple == NULL)
		{
			poll->scan_ended = true;
			break;
		}
		bytes += tuple->t_len;
		add_row(poll, batch, &settings, tuple);
	}
	value_settings_end(&settings);
}

/*
 * Move the watermark up to the last row, but not beyond the poll's beginning: a
 * row from the future must not keep others from being seen.
 */
static void
move_watermark(Poll *poll, const PollBatch *batch)
{
	TimestampTz reached = Min(batch->updated, poll->begin);
	Section		section;

	if (!batch->has_updated || (poll->has_watermark && reached <= poll->watermark))
		return;
	SPI_connect();
	section_enter(&section, 0);
	section_run("INSERT INTO syncext.poll_state (relation, watermark) VALUES (%u, %s) "
				"ON CONFLICT (relation) DO UPDATE SET watermark = excluded.watermark",
				poll->relation, quote_literal_cstr(rfc3339_format(reached)));
	section_leave(&section);
	SPI_finish();
	poll->watermark = reached;
	poll->has_watermark = true;
}

static void
apply_batch(Poll *poll)
{
	PollBatch	batch = {.poll = poll};
	const Attached *attached = poll_lock(poll);

	MemoryContextSwitchTo(poll->batch);
	read_rows(poll, &batch);
	work_batch(poll, &batch, attached);
	move_watermark(poll, &batch);
	job_progress(poll->run, poll->nread - poll->nretried);
}

/* ---------- from capture_failure ---------- */

/* What failed and is due now is tried again. */
static void
retry_batch(Poll *poll)
{
	PollBatch	batch = {.poll = poll};
	const Attached *attached = poll_lock(poll);
	CaptureFailures *failures;
	List	   *due;
	ListCell   *lc;

	MemoryContextSwitchTo(poll->batch);
	failures = capture_failures_open(false);
	poll->has_failures = capture_failures_any(failures, poll->relation);
	/* behind '': rows without a key can't be found again */
	due = capture_failures_of(failures, poll->relation,
							  poll->retried == NULL ? "" : poll->retried,
							  poll->begin, setting_poll_batch);
	capture_failures_close(failures);
	batch.rows = palloc0(sizeof(PollRow) * Max(list_length(due), 1));
	foreach(lc, due)
	{
		CaptureFailure *failure = lfirst(lc);

		batch.rows[batch.n++].external_id = failure->external_id;
		poll->retried = MemoryContextStrdup(poll->context, failure->external_id);
	}
	poll->nread += batch.n;
	poll->nretried += batch.n;
	poll->retries_ended = list_length(due) < setting_poll_batch;
	work_batch(poll, &batch, attached);
}

/* ---------- begin and end ---------- */

static void
read_state(Poll *poll)
{
	Section		section;
	char	   *watermark;

	SPI_connect();
	section_enter(&section, 0);
	watermark = section_text(poll->context,
							 "SELECT to_char(watermark AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') "
							 "FROM syncext.poll_state WHERE relation = %u", poll->relation);
	section_leave(&section);
	SPI_finish();
	poll->has_watermark = watermark != NULL &&
		rfc3339_parse(watermark, strlen(watermark), &poll->watermark);
}

/* Count the rows that a full compare may miss, before anything new is taken. */
static void
count_known(Poll *poll)
{
	Section		section;

	SPI_connect();
	section_enter(&section, 0);
	poll->known = section_number("SELECT (SELECT count(*) FROM syncext.replica WHERE relation = %u AND fields IS NOT NULL) "
								 "- coalesce((SELECT new_rows FROM syncext.poll_state WHERE relation = %u), 0)",
								 poll->relation, poll->relation);
	section_leave(&section);
	SPI_finish();
}

static void
begin_run(Poll *poll)
{
	const Attached *attached = attached_required(poll->relation, AccessShareLock);

	poll->run = job_begin(poll->relation, JOB);
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
	ErrorData  *error = try_step(poll, open_scan);

	if (error != NULL && is_about_value(error->sqlerrcode))
	{
		poll->window.keys_only = true;
		error = try_step(poll, open_scan);
	}
	if (error != NULL)
		ReThrowError(error);
}

/* Rows without a usable key, if there are any; a poll of all rows knows it if not. */
static void
note_unusable(Poll *poll)
{
	CaptureFailures *failures = capture_failures_open(true);
	CaptureFailure failure = {
		.relation = poll->relation,
		.external_id = "",
		.since = GetCurrentTimestamp(),
	};

	if (poll->nunusable > 0)
	{
		(void) capture_failure_find(failures, poll->relation, "", &failure);
		if (!failure.dead)
			failure.dead_since = failure.since;
		failure.tried_at = GetCurrentTimestamp();
		failure.attempts++;
		failure.dead = true;
		if (poll->nunusable == 1)
			failure.error = psprintf("a row has no usable key: %s", poll->unusable);
		else
			failure.error = psprintf(INT64_FORMAT " rows have no usable key: %s", poll->nunusable,
									 poll->unusable);
		capture_failure_save(failures, &failure);
		poll->nfailed += poll->nunusable;
	}
	else if (!poll->window.bounded)
		(void) capture_failure_remove(failures, poll->relation, "");
	capture_failures_close(failures);
}

static void
end_run(Poll *poll)
{
	Section		section;

	note_unusable(poll);
	loaded_note(attached_required(poll->relation, AccessShareLock));
	SPI_connect();
	section_enter(&section, 0);
	section_run("INSERT INTO syncext.poll_state (relation, polled_at) VALUES (%u, %s) "
				"ON CONFLICT (relation) DO UPDATE SET polled_at = excluded.polled_at",
				poll->relation, quote_literal_cstr(rfc3339_format(poll->begin)));
	if (poll->full)
		section_run("UPDATE syncext.poll_state SET full_compared_at = polled_at, new_rows = 0 WHERE relation = %u",
					poll->relation);
	section_leave(&section);
	SPI_finish();
	(void) job_end(poll->run, poll_result(poll), NULL,
				   poll->has_watermark ? &poll->watermark : NULL);
}

static void
run_steps(Poll *poll)
{
	if (!poll_step(poll, begin_run))
		return;
	while (!poll->retries_ended)
		if (!poll_step(poll, retry_batch))
			return;
	if (!poll_step(poll, open_scan_or_keys))
		return;
	while (!poll->scan_ended)
		if (!poll_step(poll, apply_batch))
			return;
	poll_scan_end(poll->scan);
	poll->scan = NULL;
	if (poll->full && !poll_delete_vanished(poll))
		return;
	(void) poll_step(poll, end_run);
}

Jsonb *
poll_run(Oid relation, bool full, bool atomic, ErrorData **error)
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

	if (!relation_ownercheck_compat(relation, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of relation \"%s\"", get_rel_name(relation))));
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

static Oid
read_relation(FunctionCallInfo fcinfo)
{
	Oid			relation;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "relation" : "full_compare")));
	relation = PG_GETARG_OID(0);
	if (get_rel_name(relation) == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	return relation;
}

/* One at a time: another one is refused, and leaves a row that says so. */
static void
lock_or_refuse(Oid relation, bool atomic)
{
	int			holder;

	if (job_lock(relation, JOB, &holder))
		return;
	if (!atomic)
	{
		job_skipped(relation, JOB, holder);
		SPI_commit();
		EnsurePortalSnapshotExists();
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
	Oid			relation = read_relation(fcinfo);
	bool		atomic = procedure_is_atomic(fcinfo) || IsSubTransaction();
	Jsonb	   *volatile result = NULL;
	ErrorData  *volatile failure = NULL;

	poll_check(relation);
	SPI_connect_ext(atomic ? 0 : SPI_OPT_NONATOMIC);
	lock_or_refuse(relation, atomic);
	PG_TRY();
	{
		ErrorData  *error;

		result = poll_run(relation, PG_GETARG_BOOL(1), atomic, &error);
		failure = error;
	}
	PG_FINALLY();
	{
		job_unlock(relation, JOB);
	}
	PG_END_TRY();
	if (failure != NULL)
		ReThrowError(failure);
	MemoryContextSwitchTo(caller);
	result = (Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(result));
	SPI_finish();
	PG_RETURN_DATUM(procedure_result(fcinfo, result));
}
