/*
 * schedule.c
 *	  sync_schedule and sync_unschedule: jobs of attached relations in pg_cron.
 *
 * Called from SQL.  A schedule is a row of syncext.schedule and a job of pg_cron
 * that calls syncext.run_job with the row's number; a trigger on the table takes
 * the job away with the row.
 */
#include "postgres.h"

#include <ctype.h>

#include "commands/dbcommands.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgtime.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "local/cron.h"
#include "local/schedule.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/hints.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(syncext_cron_error);
PG_FUNCTION_INFO_V1(syncext_cron_next_due);
PG_FUNCTION_INFO_V1(syncext_duration);
PG_FUNCTION_INFO_V1(sync_schedule);
PG_FUNCTION_INFO_V1(sync_unschedule);

#define CATCH_UP_NAME		"syncext: catch up"
#define CATCH_UP_COMMAND	"CALL syncext.catch_up()"

/* ---------- expressions ---------- */

static void
parse_or_raise(const char *expression, CronSchedule *schedule)
{
	char	   *problem;

	if (!cron_parse(expression, schedule, &problem))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is not a cron expression: %s", expression, problem),
				 errhint("For instance \"*/30 * * * *\", every half hour: minute, hour, day, month, weekday. Before them, seconds can only be 0.")));
}

/* The zone that pg_cron goes by: since 1.5 it has a parameter, before it is GMT. */
static pg_tz *
cron_zone(void)
{
	const char *name = GetConfigOption("cron.timezone", true, false);
	pg_tz	   *zone = name != NULL ? pg_tzset(name) : NULL;

	return zone != NULL ? zone : pg_tzset("GMT");
}

/*
 * The first minute after a time at which an expression is due, as the zone's clocks
 * show it: in an hour that comes twice both times, as pg_cron has it.  What is due in
 * an hour that is left out is due when that is over; pg_cron leaves it to us.
 */
static TimestampTz
next_due(const CronSchedule *schedule, TimestampTz after)
{
	const int64 epoch = (int64) (POSTGRES_EPOCH_JDATE - UNIX_EPOCH_JDATE) * SECS_PER_DAY;
	pg_tz	   *zone = cron_zone();
	int64		minute = after / USECS_PER_MINUTE + (after >= 0 || after % USECS_PER_MINUTE == 0);

	for (;;)
	{
		pg_time_t	from = minute * SECS_PER_MINUTE + epoch;
		pg_time_t	set = 0;	/* when the clocks are set next */
		long		offset = 0,
					new_offset = 0;
		int			is_dst;
		bool		are_set = pg_next_dst_boundary(&from, &offset, &is_dst, &set, &new_offset, &is_dst, zone) == 1;
		int64		due;

		offset /= SECS_PER_MINUTE;
		due = cron_next_minute(schedule, minute + offset) - offset;
		minute = (set - epoch) / SECS_PER_MINUTE;
		if (!are_set || due < minute)
			return due * USECS_PER_MINUTE;
		if (due < minute + new_offset / SECS_PER_MINUTE - offset)
			return minute * USECS_PER_MINUTE;
	}
}

Datum
syncext_cron_error(PG_FUNCTION_ARGS)
{
	CronSchedule schedule;
	char	   *problem;

	if (cron_parse(text_to_cstring(PG_GETARG_TEXT_PP(0)), &schedule, &problem))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}

Datum
syncext_cron_next_due(PG_FUNCTION_ARGS)
{
	TimestampTz due = PG_GETARG_TIMESTAMPTZ(1);
	CronSchedule schedule;

	parse_or_raise(text_to_cstring(PG_GETARG_TEXT_PP(0)), &schedule);
	if (!TIMESTAMP_NOT_FINITE(due))
		due = schedule.seconds > 0 ? due + schedule.seconds * USECS_PER_SEC : next_due(&schedule, due);
	if (!TIMESTAMP_NOT_FINITE(due) && !IS_VALID_TIMESTAMP(due))
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timestamp out of range")));
	PG_RETURN_TIMESTAMPTZ(due);
}

/* A setting that is a time.  Being in the library, it knows that it is loaded. */
Datum
syncext_duration(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (strncmp(name, "syncext.", 8) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("\"%s\" is no setting of syncext", name)));
	PG_RETURN_DATUM(DirectFunctionCall3(interval_in,
										CStringGetDatum(GetConfigOptionByName(name, NULL, false)),
										ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
}

/* ---------- what may be scheduled ---------- */

const char *
schedule_default_job(const Binding *binding)
{
	bool		polls = binding->in && binding->capture == CAPTURE_POLL;

	if (polls && binding->out)
		return "both";
	if (polls)
		return "poll";
	return binding->out ? "deliver" : NULL;
}

/* Refuse a job that the binding has no use for. */
const char *
schedule_check_job(const Binding *binding, const char *job)
{
	const char *possible = schedule_default_job(binding);
	char	   *relation = get_rel_name(binding->relation);

	if (job != NULL && strcmp(job, "poll") != 0 && strcmp(job, "deliver") != 0 && strcmp(job, "both") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("job is \"%s\", which is unknown", job),
				 errhint("It is 'poll', 'deliver' or 'both'.")));
	if (possible == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" is neither polled nor delivered to", relation),
				 errhint("Attach it with capture => 'poll', or with direction => 'both' or 'out'.")));
	if (job == NULL)
		return possible;
	if (strcmp(possible, "both") != 0 && strcmp(job, possible) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("relation \"%s\" cannot be scheduled for \"%s\"", relation, job),
				 errdetail(strcmp(possible, "poll") == 0 ? "It is attached with direction \"in\"."
						   : "It is not attached with capture \"poll\"."),
				 errhint("What it can be scheduled for is \"%s\".", possible)));
	return job;
}

const Binding *
schedule_check_relation(Oid relid)
{
	const Binding *binding = binding_of_relation(relid);
	const Source *source;
	char	   *name = get_rel_name(relid);

	if (binding == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("relation %s is not attached", name != NULL ? quote_identifier(name) : psprintf("%u", relid)),
				 errhint("Attach it first with sync_attach.")));
	source = registry_source(registry_get(), binding->source);
	if (source != NULL)
		source_role_check(source);
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("attached relation %u was dropped", relid),
				 errhint_call("Forget it: SELECT sync_detach(%u).", relid)));
	return binding;
}

void
schedule_check_owner(Oid relid)
{
	if (get_rel_name(relid) != NULL && !relation_ownercheck_compat(relid, GetUserId()))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be owner of relation \"%s\"", get_rel_name(relid)),
				 errhint("Have its owner schedule it, as a member of the source's role.")));
}

/* ---------- pg_cron ---------- */

/* Does pg_cron know seconds?  That began with 1.5. */
static bool
knows_seconds(void)
{
	char	   *version = owner_text("SELECT extversion FROM pg_extension WHERE extname = 'pg_cron'");
	int			major = 0,
				minor = 0;

	return version != NULL && sscanf(version, "%d.%d", &major, &minor) >= 1 &&
		(major > 1 || (major == 1 && minor >= 5));
}

/*
 * An argument for a shell, in a line of a crontab, where cron itself takes % for
 * something else.
 */
static char *
shell_argument(const char *argument, bool quote)
{
	StringInfoData quoted;

	for (const char *c = argument; *c != '\0'; c++)
		quote |= !isalnum((unsigned char) *c) && strchr("_-./", *c) == NULL;
	quote |= argument[0] == '\0' || argument[0] == '-';
	if (!quote)
		return pstrdup(argument);
	initStringInfo(&quoted);
	appendStringInfoChar(&quoted, '"');
	for (const char *c = argument; *c != '\0'; c++)
	{
		if (strchr("\"\\$`%", *c) != NULL)
			appendStringInfoChar(&quoted, '\\');
		appendStringInfoChar(&quoted, *c);
	}
	appendStringInfoChar(&quoted, '"');
	return quoted.data;
}

/* Without pg_cron any other scheduler will do: say what it has to call. */
static void
refuse_without_cron(Oid relid, const char *job, const CronSchedule *schedule)
{
	char	   *call = psprintf("CALL syncext.run_job(%s, '%s')", quote_literal_cstr(names_of_relation(relid)), job);

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("pg_cron is not installed in this database"),
			 errdetail("It needs to be in shared_preload_libraries, cron.database_name to name this database, and CREATE EXTENSION pg_cron."),
			 schedule->seconds == 0
			 ? errhint("Or have cron do it, with this line in the crontab of who may connect as %s: %s psql -X -d %s -U %s -c %s",
					   GetUserNameFromId(GetUserId(), false), schedule->text,
					   shell_argument(get_database_name(MyDatabaseId), false),
					   shell_argument(GetUserNameFromId(GetUserId(), false), false),
					   shell_argument(call, true))
			 : errhint("Or have another scheduler run: %s.", call)));
}

static void
check_cron(Oid relid, const char *job, const CronSchedule *schedule)
{
	Oid			schema;

	schema = extension_schema("pg_cron", "cron");
	if (!OidIsValid(schema))
		refuse_without_cron(relid, job, schedule);
	if (schedule->seconds > 0 && !knows_seconds())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("seconds need pg_cron 1.5 or newer"),
				 errhint("With this pg_cron, every minute is the shortest: \"* * * * *\".")));
	if (!DatumGetBool(DirectFunctionCall2(has_schema_privilege_id, ObjectIdGetDatum(schema),
										  CStringGetTextDatum("USAGE"))))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to schedule jobs with pg_cron"),
				 errhint("Have an administrator GRANT USAGE ON SCHEMA cron TO %s.",
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* Add a job of the user's to pg_cron, or change it. */
static void
cron_add(const char *name, const char *cron, const char *command)
{
	Oid			types[] = {TEXTOID, TEXTOID, TEXTOID};
	Datum		values[] = {
		CStringGetTextDatum(name),
		CStringGetTextDatum(cron),
		CStringGetTextDatum(command)
	};

	if (SPI_execute_with_args("SELECT cron.schedule($1, $2, $3)", 3, types, values, NULL, false, 0) != SPI_OK_SELECT)
		elog(ERROR, "cron.schedule could not be called");
}

/* ---------- the functions ---------- */

/* Write the schedule's row; returns its number, and the name of its job. */
static int64
write_row(Oid relid, const CronSchedule *schedule, const char *job, const char *role, char **name)
{
	char	   *wanted = psprintf("syncext: %s", names_of_relation(relid));
	int64		id;

	/* another role's job can't be changed: it goes, and this one is new */
	owner_execute("DELETE FROM syncext.schedule WHERE relation = %u AND role <> %s", relid,
				  quote_literal_cstr(role));
	id = owner_number("SELECT syncext.note_schedule(%u::regclass, %s, %s, %s, %s)",
					  relid, quote_literal_cstr(schedule->text), quote_literal_cstr(job),
					  quote_literal_cstr(role), quote_literal_cstr(wanted));
	*name = owner_text("SELECT name FROM syncext.schedule WHERE id = " INT64_FORMAT, id);
	return id;
}

Datum
sync_schedule(PG_FUNCTION_ARGS)
{
	MemoryContext caller = CurrentMemoryContext;
	Oid			relid = arg_relation(fcinfo, 0);
	CronSchedule schedule;
	const char *job = arg_text_or_null(fcinfo, 2);
	int64		id;
	char	   *name;

	parse_or_raise(arg_text(fcinfo, 1, "cron"), &schedule);
	job = schedule_check_job(schedule_check_relation(relid), job);
	schedule_check_owner(relid);
	SPI_connect();
	check_cron(relid, job, &schedule);
	id = write_row(relid, &schedule, job, GetUserNameFromId(GetUserId(), false), &name);
	cron_add(name, schedule.text,
			 psprintf("CALL syncext.run_job(schedule => " INT64_FORMAT ")", id));
	cron_add(CATCH_UP_NAME, "* * * * *", CATCH_UP_COMMAND);
	SPI_finish();
	MemoryContextSwitchTo(caller);
	PG_RETURN_TEXT_P(cstring_to_text(schedule.text));
}

Datum
sync_unschedule(PG_FUNCTION_ARGS)
{
	Oid			relid = arg_relation(fcinfo, 0);

	(void) schedule_check_relation(relid);
	schedule_check_owner(relid);
	if (owner_execute("DELETE FROM syncext.schedule WHERE relation = %u", relid) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("relation \"%s\" is not scheduled", get_rel_name(relid)),
				 errhint("Table syncext.schedule lists those that are.")));
	PG_RETURN_VOID();
}
