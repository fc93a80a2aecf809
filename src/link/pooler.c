/*
 * pooler.c
 *	  Does a connection pooler stand between a link and its hub?
 *
 * A link needs a session of its own at the hub: for its settings, its prepared
 * statements and its wake-ups.  A pooler that gives a client a server session for as long
 * as it is connected does no harm.  One that does so for a transaction hands our settings
 * to the next client, and gives us sessions without them.
 *
 * That a pooler is there shows for certain: the process that answers is not the one
 * that the connection began with.  Settings sent as startup options would show no more:
 * PgBouncer refuses them, or drops them if ignore_startup_parameters lists options,
 * whatever its pool_mode is.  Which mode it is has to be found out, and nothing is set
 * before that has told.
 */
#include "postgres.h"

#include "link/pooler.h"

/* Sessions come and go while others use the pooler: it is asked so often. */
#define ROUNDS	20
/* A pooler that has no second session for us is waited for so long, in milliseconds. */
#define PROBE_MS	2000

static int
ask_process(Remote *remote, TimestampTz deadline)
{
	static const ReplyShape process = {"pg_backend_pid", 1, 1, 1, 100};
	Reply	   *reply = remote_call(remote, "SELECT pg_catalog.pg_backend_pid()", 0, NULL, &process,
									deadline);
	int			pid = (int) reply_int64(reply, 0, 0, 0, INT_MAX);

	reply_free(reply);
	return pid;
}

/* What a second connection tells of ours. */
typedef enum Finding
{
	FOUND_NOTHING,				/* it could not be had, or got no answer */
	FOUND_OWN,
	FOUND_SHARED
} Finding;

/* Begin or end a transaction. */
static void
command(Remote *remote, const char *what, TimestampTz deadline)
{
	const ReplyShape shape = {.call = what};

	reply_free(remote_call(remote, what, 0, NULL, &shape, deadline));
}

pg_noreturn static void
raise_pooler(const char *link, Finding finding)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 finding == FOUND_SHARED ?
			 errmsg("link \"%s\" leads through a connection pooler that shares sessions between transactions",
					link) :
			 errmsg("link \"%s\" leads through a connection pooler that may share sessions between transactions",
					link),
			 errdetail("A link needs a session of its own at its hub, for its settings, prepared statements and notifications."),
			 errhint("Let the pooler pool by session for this user or database, as with pool_mode = session of PgBouncer; or name the hub's own host and port in the link's server.")));
}

/*
 * Is our session at the hub another one than a moment ago, or does the probe get it for
 * a transaction?  The test sets nothing in these sessions, and leaves nothing behind.
 */
static bool
is_shared(Remote *remote, Remote *probe, int pid, TimestampTz deadline)
{
	for (int i = 0; i < ROUNDS; i++)
	{
		int			other;

		command(probe, "BEGIN", deadline);
		other = ask_process(probe, deadline);
		if (other == pid || ask_process(remote, deadline) != pid)
			return true;
		command(probe, "COMMIT", deadline);
		if (ask_process(probe, deadline) != other)
			return true;
	}
	return false;
}

/* Open the probe, and see whether it and the remote share sessions at the hub. */
static Finding
look(Remote *remote, Remote *probe, const char *const *keywords, const char *const *values,
	 int pid, TimestampTz until)
{
	MemoryContext context = CurrentMemoryContext;
	volatile Finding finding = FOUND_NOTHING;

	PG_TRY();
	{
		remote_open(probe, remote->name, keywords, values, until);
		finding = is_shared(remote, probe, pid, until) ? FOUND_SHARED : FOUND_OWN;
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		/* raise errors of our own connection, and cancellations; the probe's mean no finding */
		if (!remote_alive(remote) ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
	}
	PG_END_TRY();
	return finding;
}

/*
 * The probe got no answer, because all the pooler's sessions are taken.  If one of them
 * is ours for good, we are answered while the probe still waits.  If the pooler had to
 * give us one first, it would serve the probe before us.
 */
static Finding
look_beside_waiting(Remote *remote, Remote *probe, int pid, TimestampTz deadline)
{
	if (probe->conn == NULL || probe->expected == 0)
		return FOUND_NOTHING;
	if (ask_process(remote, deadline) != pid)
		return FOUND_SHARED;
	return remote_waits(probe) ? FOUND_OWN : FOUND_NOTHING;
}

static Finding
probe_session(Remote *remote, const char *const *keywords, const char *const *values, int pid,
			  TimestampTz deadline)
{
	Remote		probe = {0};
	volatile Finding finding = FOUND_NOTHING;

	PG_TRY();
	{
		finding = look(remote, &probe, keywords, values, pid,
					   Min(deadline, remote_deadline(PROBE_MS)));
		if (finding == FOUND_NOTHING)
			finding = look_beside_waiting(remote, &probe, pid, deadline);
	}
	PG_CATCH();
	{
		remote_close(&probe);
		PG_RE_THROW();
	}
	PG_END_TRY();
	remote_close(&probe);
	return finding;
}

void
pooler_check(Remote *remote, const char *const *keywords, const char *const *values,
			 TimestampTz deadline)
{
	int			pid = ask_process(remote, deadline);
	Finding		finding;

	/* the process that answers is the one that we connected to: no pooler */
	if (pid == remote_pid(remote))
		return;
	finding = ask_process(remote, deadline) != pid ? FOUND_SHARED :
		probe_session(remote, keywords, values, pid, deadline);
	if (finding != FOUND_OWN)
		raise_pooler(remote->name, finding);
}
