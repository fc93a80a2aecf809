/*
 * run_job.c
 *	  Running the jobs of attached relations: CALL syncext.run_job() and
 *	  CALL syncext.catch_up().
 *
 * pg_cron, another scheduler or a person runs them.  Both commit between their steps.
 * A job that fails is a row of syncext.job_run that says so, and doesn't keep the
 * others from being run.
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
#include "utils/timestamp.h"

#include "local/deliver.h"
#include "local/item_batch.h"
#include "local/job.h"
#include "local/poll.h"
#include "local/schedule.h"
#include "local/table_code.h"
#include "model/json.h"
#include "process/args.h"
#include "process/owner.h"
#include "process/steps.h"
#include "process/subxact.h"
#include "storage/names.h"

PG_FUNCTION_INFO_V1(syncext_run_job);
PG_FUNCTION_INFO_V1(syncext_catch_up);

/* Records that a scheduled delivery commits at a time. */
#define DELIVER_BATCH	500

/* One job of one relation, to be run. */
typedef struct JobRun
{
	Oid			relation;
	const char *job;			/* "poll" or "deliver" */
	bool		scheduled;
} JobRun;

/* What came of it. */
typedef struct Outcome
{
	int			holder;			/* not run: the session with this pid runs it already */
	Jsonb	   *counts;
	ErrorData  *error;			/* NULL: none */
} Outcome;

/* ---------- transactions ---------- */

/* Commit, and go on in context, which outlives the transactions. */
static void
commit(MemoryContext context)
{
	SPI_commit();
	/* the next transaction has to see what was committed before it */
	XactIsoLevel = XACT_READ_COMMITTED;
	EnsurePortalSnapshotExists();
	MemoryContextSwitchTo(context);
}

/* ---------- delivering ---------- */

typedef struct DeliverCall
{
	const char *source;
	int64		delivered;
} DeliverCall;

static void
deliver_batch(void *arg)
{
	DeliverCall *call = arg;

	call->delivered = deliver_some(call->source, DELIVER_BATCH);
}

static Jsonb *
delivery_counts(int64 delivered, TimestampTz begin)
{
	JsonbParseState *state = json_begin_object();

	json_push_number(&state, "delivered", delivered);
	json_push_seconds(&state, "seconds", GetCurrentTimestamp() - begin);
	return json_end_object(&state);
}

/* Deliver, batch by batch, whatever is due to the relation's source. */
static void
run_deliver(MemoryContext context, const JobRun *run, const char *source, Outcome *outcome)
{
	TimestampTz begin = GetCurrentTimestamp();
	int64		id = job_begin(run->relation, run->job, run->scheduled);
	DeliverCall call = {.source = source};
	int64		total = 0;

	job_phase(id, "delivering", -1);
	commit(context);
	for (;;)
	{
		outcome->error = subxact_try(deliver_batch, &call);
		if (outcome->error != NULL || call.delivered == 0)
			break;
		CHECK_FOR_INTERRUPTS();
		total += call.delivered;
		job_progress(id, total);
		commit(context);
	}
	outcome->counts = delivery_counts(total, begin);
	(void) job_end(id, outcome->counts,
				   outcome->error != NULL ? batch_item_describe_error(outcome->error) : NULL, NULL);
	commit(context);
}

/* ---------- a run ---------- */

/* May the user run the job, and is there something to run?  Raises if not. */
static void
check_run(void *arg)
{
	const JobRun *run = arg;
	const Binding *binding = schedule_check_relation(run->relation);

	(void) schedule_check_job(binding, run->job);
	if (strcmp(run->job, "poll") == 0)
		poll_check(run->relation);
}

/* The row of a run that failed before it began. */
static void
note_failure(MemoryContext context, const JobRun *run, ErrorData *error)
{
	(void) job_end(job_begin(run->relation, run->job, run->scheduled), NULL, batch_item_describe_error(error), NULL);
	commit(context);
}

/*
 * Run a job, or say that it is running already.  What is wrong with a scheduled
 * job comes back in the outcome; of others the caller hears by an error.
 */
static void
run_one(MemoryContext context, JobRun *run, Outcome *outcome)
{
	const Binding *binding;

	memset(outcome, 0, sizeof(Outcome));
	if (!run->scheduled)
		check_run(run);
	if (!job_lock(run->relation, run->job, &outcome->holder))
	{
		job_skipped(run->relation, run->job, run->scheduled, outcome->holder);
		commit(context);
		return;
	}
	if (run->scheduled)
		outcome->error = subxact_try(check_run, run);
	if (outcome->error != NULL)
		note_failure(context, run, outcome->error);
	else if (strcmp(run->job, "poll") == 0)
	{
		outcome->counts = poll_run(run->relation, false, false, run->scheduled, &outcome->error);
		commit(context);
	}
	else
	{
		/* it may have been detached since it was looked at */
		binding = schedule_check_relation(run->relation);
		run_deliver(context, run, MemoryContextStrdup(context, binding->source), outcome);
	}
	job_unlock(run->relation, run->job);
}

static void
push_outcome(JsonbParseState **state, const char *job, const Outcome *outcome)
{
	if (outcome->counts != NULL)
	{
		json_push_jsonb(state, job, outcome->counts);
		return;
	}
	json_push_object(state, job);
	if (outcome->error != NULL)
		json_push_string(state, "error", outcome->error->message);
	else
		json_push_number(state, "runningIn", outcome->holder);
	pushJsonbValue(state, WJB_END_OBJECT, NULL);
}

/* ---------- CALL syncext.run_job() ---------- */

/* The relation and job of a schedule, by its number; its role's alone. */
static Oid
find_schedule(int64 id, const char **job)
{
	Oid			relation;
	char	   *role;

	relation = owner_number("SELECT relation::oid FROM syncext.schedule WHERE id = " INT64_FORMAT, id);
	role = owner_text("SELECT role FROM syncext.schedule WHERE id = " INT64_FORMAT, id);
	*job = owner_text("SELECT job FROM syncext.schedule WHERE id = " INT64_FORMAT, id);
	if (*job == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("there is no schedule " INT64_FORMAT, id),
				 errhint("Remove the job that calls it: SELECT cron.unschedule(...). Table syncext.schedule lists the schedules.")));
	if (!has_privs_of_role(GetUserId(), role_of_name(role)))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for schedule " INT64_FORMAT, id),
				 errhint("It is role %s's.", role)));
	return relation;
}

/* Run the jobs one after another; then raise what went wrong first. */
static Jsonb *
run_jobs(MemoryContext context, Oid relation, const char *job, bool scheduled)
{
	static const char *const jobs[] = {"poll", "deliver"};
	JsonbParseState *state = json_begin_object();
	ErrorData  *error = NULL;

	for (size_t i = 0; i < lengthof(jobs); i++)
	{
		JobRun		run = {.relation = relation, .job = jobs[i], .scheduled = scheduled};
		Outcome		outcome;

		if (strcmp(job, jobs[i]) != 0 && strcmp(job, "both") != 0)
			continue;
		run_one(context, &run, &outcome);
		push_outcome(&state, jobs[i], &outcome);
		if (error == NULL)
			error = outcome.error;
		if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED && !table_code_raised(error))
			break;
	}
	if (error != NULL)
		ThrowErrorData(error);
	return json_end_object(&state);
}

Datum
syncext_run_job(PG_FUNCTION_ARGS)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context;
	Oid			relation;
	const char *job = arg_text_or_null(fcinfo, 1);
	bool		scheduled = !PG_ARGISNULL(2);
	Jsonb	   *result;

	steps_refuse_atomic(fcinfo, "syncext.run_job()", "It commits between its steps.");
	if (PG_ARGISNULL(0) != scheduled || (scheduled && job != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("syncext.run_job needs a relation, and perhaps a job, or else the number of a schedule")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	context = CurrentMemoryContext;
	relation = scheduled ? find_schedule(PG_GETARG_INT64(2), &job) : PG_GETARG_OID(0);
	if (!scheduled)
		job = schedule_check_job(schedule_check_relation(relation), job);
	job = pstrdup(job);
	commit(context);
	result = run_jobs(context, relation, job, scheduled);
	MemoryContextSwitchTo(outer);
	result = (Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(result));
	SPI_finish();
	return steps_result(fcinfo, result);
}

/* ---------- CALL syncext.catch_up() ---------- */

static char *
relation_text(Oid relid)
{
	return get_rel_name(relid) == NULL ? psprintf("%u", relid) : names_of_relation(relid);
}

/* The caller's jobs that should have run by now, as JobRuns. */
static List *
runs_to_catch_up(void)
{
	List	   *runs = NIL;

	foreach_ptr(char, missed, owner_texts("SELECT run FROM syncext.runs_to_catch_up(%s) run",
							quote_literal_cstr(GetUserNameFromId(GetUserId(), false))))
	{
		JobRun	   *run = palloc0(sizeof(JobRun));
		char	   *end;

		run->relation = (Oid) strtoul(missed, &end, 10);
		run->job = end + 1;
		run->scheduled = true;
		runs = lappend(runs, run);
	}
	return runs;
}

Datum
syncext_catch_up(PG_FUNCTION_ARGS)
{
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext context;
	JsonbParseState *state = NULL;
	List	   *runs;
	int			nfailed = 0;
	Jsonb	   *result;

	steps_refuse_atomic(fcinfo, "syncext.catch_up()", "It commits between its steps.");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	context = CurrentMemoryContext;
	commit(context);
	runs = runs_to_catch_up();
	foreach_ptr(JobRun, run, runs)
	{
		Outcome		outcome;

		run_one(context, run, &outcome);
		if (outcome.error == NULL)
			continue;
		if (outcome.error->sqlerrcode == ERRCODE_QUERY_CANCELED && !table_code_raised(outcome.error))
			ThrowErrorData(outcome.error);
		nfailed++;
		ereport(WARNING,
				(errcode(outcome.error->sqlerrcode),
				 errmsg("job \"%s\" of relation %s failed: %s", run->job, relation_text(run->relation),
						outcome.error->message)));
	}
	MemoryContextSwitchTo(outer);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "run", list_length(runs));
	json_push_number(&state, "failed", nfailed);
	result = json_end_object(&state);
	SPI_finish();
	return steps_result(fcinfo, result);
}
