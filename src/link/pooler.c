/*
 * pooler.c
 *	  Does a connection pooler stand between a link and its hub?
 *
 * Called by link/connect.  A link needs a session of its own at the hub: for its
 * settings, its prepared statements and its wake-ups.  A pooler that gives one out
 * for a session is no harm; one that does so for a transaction hands what we set to
 * whoever comes next, and us to sessions that know nothing of us.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "link/pooler.h"

/* Sessions come and go while others use the pooler: it is asked so often. */
#define ROUNDS	5
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

/* Begin or end a transaction. */
static void
command(Remote *remote, const char *what, TimestampTz deadline)
{
	const ReplyShape shape = {.call = what};

	reply_free(remote_call(remote, what, 0, NULL, &shape, deadline));
}

pg_noreturn static void
raise_pooler(const char *link)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("link \"%s\" leads through a connection pooler that shares sessions between transactions",
					link),
			 errdetail("A link needs a session of its own at its hub, for its settings, prepared statements and notifications."),
			 errhint("Let the pooler pool by session for this user or database, as with pool_mode = session of PgBouncer; or name the hub's own host and port in the link's server.")));
}

/*
 * Is our session at the hub another one than a moment ago, or somebody else's in a
 * transaction that goes on?  Nothing is set for it, nor left behind.
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

/*
 * Open a second connection, and see whether the two share what they have there.  One
 * that can't be had, as all sessions are taken, proves that ours is taken, too.
 */
static bool
probe_shared(Remote *remote, const char *const *keywords, const char *const *values, int pid,
			 TimestampTz until)
{
	MemoryContext context = CurrentMemoryContext;
	Remote		probe = {0};
	volatile bool shared = false;

	PG_TRY();
	{
		remote_open(&probe, remote->name, keywords, values, until);
		shared = is_shared(remote, &probe, pid, until);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		remote_close(&probe);
		/* what went wrong with ours does so again */
		if (!remote_alive(remote) ||
			ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			PG_RE_THROW();
		FlushErrorState();
		FreeErrorData(error);
	}
	PG_END_TRY();
	remote_close(&probe);
	return shared;
}

void
pooler_check(Remote *remote, const char *const *keywords, const char *const *values,
			 TimestampTz deadline)
{
	int			pid = ask_process(remote, deadline);

	/* who answers is whom we are connected with */
	if (pid == remote_pid(remote))
		return;
	if (ask_process(remote, deadline) != pid ||
		probe_shared(remote, keywords, values, pid, Min(deadline, remote_deadline(PROBE_MS))))
		raise_pooler(remote->name);
}
