/*
 * run_job.c
 *	  Running the jobs of attached relations: CALL syncext.run_job() and
 *	  CALL syncext.catch_up().
 *
 * Called by pg_cron, by any other scheduler, or by hand.  Both commit between
 * their steps.  A job that fails is a row of syncext.job_run that says so, and
 * doesn't keep the others from being run.
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

#include "hub/procedure.h"
#include "hub/section.h"
#include "local/deliver.h"
#include "local/job.h"
#include "local/poll.h"
#include "local/schedule.h"
#include "local/table_code.h"
#include "local/work.h"
#include "model/json.h"
#include "storage/registry.h"
#include "storage/role.h"

PG_FUNCTION_INFO_V1(syncext_run_job);
PG_FUNCTION_INFO_V1(syncext_catch_up);

/* Records that a scheduled delivery commits at a time. */
#define DELIVER_BATCH	500

/* One job of one relation, in its turn. */
typedef struct Turn
{
	Oid			relation;
	const char *job;			/* "poll" or "deliver" */
	bool		scheduled;
	TimestampTz due;			/* if it is */
	int			attempt;
} Turn;

/* What came of it. */
typedef struct Outcome
{
	int			holder;			/* not run: this session runs it already */
	Jsonb	   *counts;
	ErrorData  *error;			/* NULL: none */
} Outcome;

typedef struct Runner
{
	MemoryContext context;		/* outlives the transactions */
} Runner;

/* ---------- transactions ---------- */

static void
commit(Runner *runner)
{
	SPI_commit();
	/* each has to see what was committed before it */
	XactIsoLevel = XACT_READ_COMMITTED;
	EnsurePortalSnapshotExists();
	MemoryContextSwitchTo(runner->context);
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
	JsonbParseState *state = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "delivered", delivered);
	json_push_seconds(&state, "seconds", GetCurrentTimestamp() - begin);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/* Deliver, batch by batch, whatever is due to the relation's source. */
static void
run_deliver(Runner *runner, const Turn *turn, const char *source, Outcome *outcome)
{
	TimestampTz begin = GetCurrentTimestamp();
	int64		id = job_begin(turn->relation, turn->job);
	DeliverCall call = {.source = source};
	int64		total = 0;

	job_phase(id, "delivering", -1);
	commit(runner);
	for (;;)
	{
		outcome->error = procedure_try(runner->context, runner->context, deliver_batch, &call);
		if (outcome->error != NULL || call.delivered == 0)
			break;
		CHECK_FOR_INTERRUPTS();
		total += call.delivered;
		job_progress(id, total);
		commit(runner);
	}
	outcome->counts = delivery_counts(total, begin);
	(void) job_end(id, outcome->counts,
				   outcome->error != NULL ? work_describe_error(outcome->error) : NULL, NULL);
	commit(runner);
}

/* ---------- a turn ---------- */

/* May the user run the job, and is there something to run?  Raises if not. */
static void
check_turn(void *arg)
{
	const Turn *turn = arg;
	const Binding *binding = schedule_check_relation(turn->relation);

	(void) schedule_check_job(binding, turn->job);
	if (strcmp(turn->job, "poll") == 0)
		poll_check(turn->relation);
}

/* The row of a run that failed before it began. */
static void
note_failure(Runner *runner, const Turn *turn, ErrorData *error)
{
	(void) job_end(job_begin(turn->relation, turn->job), NULL, work_describe_error(error), NULL);
	commit(runner);
}

/*
 * Run a job, or say that it is running already.  What is wrong with a scheduled
 * job comes back in the outcome; of others the caller hears by an error.
 */
static void
run_turn(Runner *runner, Turn *turn, Outcome *outcome)
{
	const Binding *binding;

	memset(outcome, 0, sizeof(Outcome));
	if (turn->scheduled)
		job_set_context(turn->due, turn->attempt);
	else
		check_turn(turn);
	if (!job_lock(turn->relation, turn->job, &outcome->holder))
	{
		job_skipped(turn->relation, turn->job, outcome->holder);
		commit(runner);
		return;
	}
	if (turn->scheduled)
		outcome->error = procedure_try(runner->context, runner->context, check_turn, turn);
	if (outcome->error != NULL)
		note_failure(runner, turn, outcome->error);
	else if (strcmp(turn->job, "poll") == 0)
	{
		outcome->counts = poll_run(turn->relation, false, false, &outcome->error);
		commit(runner);
	}
	else
	{
		/* it may have been detached since it was looked at */
		binding = schedule_check_relation(turn->relation);
		run_deliver(runner, turn, MemoryContextStrdup(runner->context, binding->source), outcome);
	}
	job_unlock(turn->relation, turn->job);
}

static void
push_outcome(JsonbParseState **state, const char *job, const Outcome *outcome)
{
	if (outcome->counts != NULL)
	{
		json_push_jsonb(state, job, outcome->counts);
		return;
	}
	json_push_key(state, job);
	pushJsonbValue(state, WJB_BEGIN_OBJECT, NULL);
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
	Section		section;
	Oid			relation;
	char	   *role;

	section_enter(&section, 0);
	relation = section_number("SELECT relation::oid FROM syncext.schedule WHERE id = " INT64_FORMAT, id);
	role = section_text(CurrentMemoryContext,
						"SELECT role FROM syncext.schedule WHERE id = " INT64_FORMAT, id);
	*job = section_text(CurrentMemoryContext,
						"SELECT job FROM syncext.schedule WHERE id = " INT64_FORMAT, id);
	section_leave(&section);
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

/* Read what a scheduled job's turn is for; relation and job are known. */
static void
complete_turn(Turn *turn)
{
	char	   *cron;
	Section		section;

	section_enter(&section, 0);
	cron = section_text(CurrentMemoryContext, "SELECT cron FROM syncext.schedule WHERE relation = %u AND job IN (%s, 'both')",
						turn->relation, quote_literal_cstr(turn->job));
	turn->scheduled = cron != NULL;
	turn->attempt = 1 + section_number("SELECT failures FROM syncext.job_status WHERE relation = %u AND job = %s",
									   turn->relation, quote_literal_cstr(turn->job));
	section_leave(&section);
	if (cron != NULL)
		turn->due = schedule_last_due(cron, GetCurrentTimestamp());
}

/* Run the jobs one after another; then raise what went wrong first. */
static Jsonb *
run_jobs(Runner *runner, Oid relation, const char *job, bool scheduled)
{
	static const char *const jobs[] = {"poll", "deliver"};
	JsonbParseState *state = NULL;
	ErrorData  *error = NULL;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (size_t i = 0; i < lengthof(jobs); i++)
	{
		Turn		turn = {.relation = relation, .job = jobs[i]};
		Outcome		outcome;

		if (strcmp(job, jobs[i]) != 0 && strcmp(job, "both") != 0)
			continue;
		if (scheduled)
			complete_turn(&turn);
		run_turn(runner, &turn, &outcome);
		push_outcome(&state, jobs[i], &outcome);
		if (error == NULL)
			error = outcome.error;
		if (error != NULL && error->sqlerrcode == ERRCODE_QUERY_CANCELED && !table_code_raised(error))
			break;
	}
	if (error != NULL)
		ThrowErrorData(error);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

Datum
syncext_run_job(PG_FUNCTION_ARGS)
{
	MemoryContext outer = CurrentMemoryContext;
	Runner		runner;
	Oid			relation;
	const char *job = PG_ARGISNULL(1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(1));
	bool		scheduled = !PG_ARGISNULL(2);
	Jsonb	   *result;

	procedure_refuse_atomic(fcinfo, "syncext.run_job()", "It commits between its steps.");
	if (PG_ARGISNULL(0) != scheduled || (scheduled && job != NULL))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("syncext.run_job needs a relation, and perhaps a job, or else the number of a schedule")));
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	runner.context = CurrentMemoryContext;
	relation = scheduled ? find_schedule(PG_GETARG_INT64(2), &job) : PG_GETARG_OID(0);
	if (!scheduled)
		job = schedule_check_job(schedule_check_relation(relation), job);
	job = pstrdup(job);
	commit(&runner);
	result = run_jobs(&runner, relation, job, scheduled);
	MemoryContextSwitchTo(outer);
	result = (Jsonb *) PG_DETOAST_DATUM_COPY(JsonbPGetDatum(result));
	SPI_finish();
	return procedure_result(fcinfo, result);
}

/* ---------- CALL syncext.catch_up() ---------- */

static char *
relation_text(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		return psprintf("%u", relid);
	return quote_qualified_identifier(get_namespace_name(get_rel_namespace(relid)), name);
}

/* The caller's jobs that were missed, or are to be tried again, as Turns. */
static List *
turns_to_catch_up(Runner *runner)
{
	Section		section;
	List	   *texts;
	List	   *turns = NIL;
	ListCell   *lc;

	section_enter(&section, 0);
	/* who failed long ago comes before who failed just now */
	texts = section_texts(runner->context,
						  "SELECT format('%%s %%s %%s %%s', relation::oid, failures + 1, "
						  "(extract(epoch FROM due) * 1000000)::bigint, job) "
						  "FROM syncext.job_status WHERE role = %s AND (missed OR retry_at <= clock_timestamp()) "
						  "ORDER BY started_at NULLS FIRST",
						  quote_literal_cstr(GetUserNameFromId(section.user, false)));
	section_leave(&section);
	MemoryContextSwitchTo(runner->context);
	foreach(lc, texts)
	{
		Turn	   *turn = palloc0(sizeof(Turn));
		long long	micros;
		int			length = 0;

		if (sscanf(lfirst(lc), "%u %d %lld %n", &turn->relation, &turn->attempt, &micros, &length) < 3)
			elog(ERROR, "unexpected job status \"%s\"", (char *) lfirst(lc));
		turn->job = (char *) lfirst(lc) + length;
		turn->scheduled = true;
		turn->due = micros - (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * USECS_PER_DAY;
		turns = lappend(turns, turn);
	}
	return turns;
}

Datum
syncext_catch_up(PG_FUNCTION_ARGS)
{
	MemoryContext outer = CurrentMemoryContext;
	Runner		runner;
	JsonbParseState *state = NULL;
	List	   *turns;
	ListCell   *lc;
	int			nfailed = 0;
	Jsonb	   *result;

	procedure_refuse_atomic(fcinfo, "syncext.catch_up()", "It commits between its steps.");
	SPI_connect_ext(SPI_OPT_NONATOMIC);
	runner.context = CurrentMemoryContext;
	commit(&runner);
	turns = turns_to_catch_up(&runner);
	foreach(lc, turns)
	{
		Turn	   *turn = lfirst(lc);
		Outcome		outcome;

		run_turn(&runner, turn, &outcome);
		if (outcome.error == NULL)
			continue;
		if (outcome.error->sqlerrcode == ERRCODE_QUERY_CANCELED && !table_code_raised(outcome.error))
			ThrowErrorData(outcome.error);
		nfailed++;
		ereport(WARNING,
				(errcode(outcome.error->sqlerrcode),
				 errmsg("job \"%s\" of relation %s failed: %s", turn->job, relation_text(turn->relation),
						outcome.error->message)));
	}
	MemoryContextSwitchTo(outer);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "run", list_length(turns));
	json_push_number(&state, "failed", nfailed);
	result = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	SPI_finish();
	return procedure_result(fcinfo, result);
}
