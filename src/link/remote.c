/*
 * remote.c
 *	  A connection to another server: open it, send calls, take their results.
 *
 * Called by the rest of link/.  Descriptors are accounted for by the server's
 * helper for libpq.  Its waits have no deadline, though, and send blockingly:
 * a hub that hangs would hold us for ever, so the waits here are our own, and
 * the connection is in pipeline mode.
 */
#include "postgres.h"

#include "libpq-fe.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "link/remote.h"

#ifdef HAVE_LIBPQ_BE_FE_HELPERS
#include "libpq/libpq-be-fe-helpers.h"
#endif

/* ---------- descriptors ---------- */

/* Leave room for a descriptor that fd.c doesn't know of; raises if there is none. */
static void
reserve_descriptor(void)
{
#ifdef HAVE_LIBPQ_BE_FE_HELPERS
	libpqsrv_connect_prepare();
#else
	if (!AcquireExternalFD())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("too many files are open for another connection"),
				 errhint("Raise max_files_per_process, or the limit of the system.")));
#endif
}

static void
disconnect(PGconn *conn)
{
#ifdef HAVE_LIBPQ_BE_FE_HELPERS
	libpqsrv_disconnect(conn);
#else
	ReleaseExternalFD();
	PQfinish(conn);
#endif
}

/* ---------- waiting ---------- */

/* What libpq says, in one line. */
static char *
connection_message(PGconn *conn)
{
	char	   *message = pchomp(PQerrorMessage(conn));
	char	   *to = message;

	for (const char *from = message; *from != '\0'; from++)
	{
		bool		blank = *from == '\n' || *from == '\t' || *from == ' ';

		if (!blank)
			*to++ = *from;
		else if (to > message && to[-1] != ' ')
			*to++ = ' ';
	}
	*to = '\0';
	return message;
}

static void
raise_lost(const Remote *remote)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("link \"%s\" has lost its connection to the hub", remote->name),
			 errdetail_internal("%s", connection_message(remote->conn))));
}

/* How long an interrupt may have to wait for us, in milliseconds. */
#define SLICE_MS	100

/*
 * Wait for the socket until the deadline, in slices, between which interrupts are
 * heeded.  Returns false when the deadline has passed.
 *
 * The latch is left alone.  It says that somebody has committed an edit, which is
 * the caller's to see to; and nobody who commits has to wake us for that while we
 * wait for the hub anyway.
 */
static bool
wait_for_socket(PGconn *conn, int events, TimestampTz deadline, int *happened)
{
	long		left = TimestampDifferenceMilliseconds(GetCurrentTimestamp(), deadline);

	if (left <= 0)
		return false;
	*happened = WaitLatchOrSocket(NULL, events | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
								  PQsocket(conn), Min(left, SLICE_MS), PG_WAIT_EXTENSION);
	CHECK_FOR_INTERRUPTS();
	return true;
}

/* Go on connecting until it is done; returns false when time is up. */
static bool
poll_connection(PGconn *conn, TimestampTz deadline)
{
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED)
	{
		int			wanted = status == PGRES_POLLING_READING ? WL_SOCKET_READABLE :
			PQstatus(conn) == CONNECTION_STARTED ? WL_SOCKET_CONNECTED : WL_SOCKET_WRITEABLE;
		int			happened;

		if (!wait_for_socket(conn, wanted, deadline, &happened))
			return false;
		if (happened & wanted)
			status = PQconnectPoll(conn);
	}
	return true;
}

/* ---------- opening and closing ---------- */

static void
raise_no_connection(const Remote *remote, PGconn *conn, const char *why)
{
	char	   *detail = pstrdup(why);

	disconnect(conn);
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("link \"%s\" can't connect to its hub", remote->name),
			 errdetail_internal("%s", detail),
			 errhint("See to the hub, or to the link's server and user mapping: ALTER SERVER, ALTER USER MAPPING.")));
}

/* What the other side remarks is for its own log. */
static void
ignore_notice(void *arg, const PGresult *result)
{
}

void
remote_open(Remote *remote, const char *name, const char *const *keywords,
			const char *const *values, int timeout)
{
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout);
	PGconn	   *conn;
	volatile bool in_time = true;

	memset(remote, 0, sizeof(Remote));
	remote->name = name;
	reserve_descriptor();
	conn = PQconnectStartParams(keywords, values, 0);
	if (conn == NULL)
	{
		ReleaseExternalFD();
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory")));
	}
	PG_TRY();
	{
		if (PQstatus(conn) != CONNECTION_BAD)
			in_time = poll_connection(conn, deadline);
	}
	PG_CATCH();
	{
		disconnect(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!in_time)
		raise_no_connection(remote, conn, psprintf("It didn't answer in %d ms.", timeout));
	if (PQstatus(conn) != CONNECTION_OK)
		raise_no_connection(remote, conn, connection_message(conn));
	(void) PQsetNoticeReceiver(conn, ignore_notice, NULL);
	if (PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn))
		raise_no_connection(remote, conn, connection_message(conn));
	remote->conn = conn;
}

/* Ask the other side to stop; best effort, as it may have gone. */
static void
cancel_call(PGconn *conn)
{
#ifdef HAVE_LIBPQSRV_CANCEL
	(void) libpqsrv_cancel(conn, TimestampTzPlusMilliseconds(GetCurrentTimestamp(), 1000));
#else
	PGcancel   *cancel = PQgetCancel(conn);
	char		error[256];

	if (cancel == NULL)
		return;
	(void) PQcancel(cancel, error, sizeof(error));
	PQfreeCancel(cancel);
#endif
}

void
remote_close(Remote *remote, bool cancel)
{
	PGconn	   *conn = remote->conn;

	if (conn == NULL)
		return;
	remote->conn = NULL;
	if (cancel && remote->expected > 0 && PQstatus(conn) == CONNECTION_OK)
		cancel_call(conn);
	disconnect(conn);
}

bool
remote_alive(Remote *remote)
{
	/* first comes what it said in parting, if it did, and only then the end */
	return remote->conn != NULL && PQconsumeInput(remote->conn) &&
		!PQisBusy(remote->conn) && PQconsumeInput(remote->conn) &&
		PQstatus(remote->conn) == CONNECTION_OK;
}

/* ---------- calls ---------- */

void
remote_send(Remote *remote, const char *command, int nparams, const char *const *params)
{
	if (!PQsendQueryParams(remote->conn, command, nparams, NULL, params, NULL, NULL, 0))
		raise_lost(remote);
	remote->expected++;
}

void
remote_send_prepared(Remote *remote, const char *name, int nparams, const char *const *params)
{
	if (!PQsendQueryPrepared(remote->conn, name, nparams, params, NULL, NULL, 0))
		raise_lost(remote);
	remote->expected++;
}

void
remote_prepare(Remote *remote, const char *name, const char *command)
{
	if (!PQsendPrepare(remote->conn, name, command, 0, NULL))
		raise_lost(remote);
	remote->expected++;
}

void
remote_sync(Remote *remote)
{
	if (!PQpipelineSync(remote->conn))
		raise_lost(remote);
}

/*
 * Wait until a result can be taken without blocking, sending what is still to
 * be sent: the other side may stop reading until we have read its answers.
 */
static void
wait_for_result(Remote *remote, int timeout)
{
	PGconn	   *conn = remote->conn;
	TimestampTz deadline = TimestampTzPlusMilliseconds(GetCurrentTimestamp(), timeout);

	for (;;)
	{
		int			flushed = PQflush(conn);
		int			events = WL_SOCKET_READABLE | (flushed > 0 ? WL_SOCKET_WRITEABLE : 0);
		int			happened;

		if (flushed < 0)
			raise_lost(remote);
		if (!PQisBusy(conn))
			return;
		if (!wait_for_socket(conn, events, deadline, &happened))
			ereport(ERROR,
					(errcode(ERRCODE_CONNECTION_FAILURE),
					 errmsg("link \"%s\" got no answer from the hub in %d s", remote->name,
							timeout / 1000),
					 errhint("Somebody may hold what the call needs there: look into pg_stat_activity of the hub. If it is just slow, raise syncext.link_timeout or lower syncext.link_batch.")));
		if ((happened & WL_SOCKET_READABLE) && !PQconsumeInput(conn))
			raise_lost(remote);
	}
}

/* The next thing that libpq has to tell; NULL: the call before it is done. */
static PGresult *
next_result(Remote *remote, int timeout)
{
	PGresult   *result;

	wait_for_result(remote, timeout);
	result = PQgetResult(remote->conn);
	if (PQstatus(remote->conn) == CONNECTION_BAD)
	{
		PQclear(result);
		raise_lost(remote);
	}
	return result;
}

/*
 * Take the end of a transaction.  Only then it is committed: deferred constraints
 * may still fail.  Returns the error then.
 */
static PGresult *
take_end(Remote *remote, int timeout)
{
	PGresult   *error = NULL;

	for (;;)
	{
		PGresult   *result = next_result(remote, timeout);

		if (result == NULL)
			continue;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
		{
			PQclear(result);
			return error;
		}
		PQclear(error);
		error = result;
	}
}

static void
forget_notifications(Remote *remote)
{
	PGnotify   *notify;

	while ((notify = PQnotifies(remote->conn)) != NULL)
		PQfreemem(notify);
}

/*
 * A server sends notifications between transactions only.  So those that come
 * before a transaction's first result were sent before it began.
 */
static void
take_results(Remote *remote, int n, PGresult **results, bool sees_all, int timeout)
{
	volatile int taken = 0;

	PG_TRY();
	{
		PGresult   *failed;

		while (taken < n)
		{
			PGresult   *result = next_result(remote, timeout);

			if (result == NULL)
				continue;
			results[taken++] = result;
			if (sees_all && taken == 1)
				forget_notifications(remote);
		}
		failed = take_end(remote, timeout);
		if (failed != NULL)
		{
			PQclear(results[n - 1]);
			results[n - 1] = failed;
		}
		remote->expected -= n;
	}
	PG_CATCH();
	{
		while (taken > 0)
			PQclear(results[--taken]);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
remote_results(Remote *remote, int n, PGresult **results, int timeout)
{
	take_results(remote, n, results, false, timeout);
}

void
remote_results_of_all(Remote *remote, int n, PGresult **results, int timeout)
{
	take_results(remote, n, results, true, timeout);
}

PGresult *
remote_result(Remote *remote, int timeout)
{
	PGresult   *result;

	remote_results(remote, 1, &result, timeout);
	return result;
}

int
remote_sqlstate(const PGresult *result)
{
	const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);

	if (PQresultStatus(result) == PGRES_TUPLES_OK || PQresultStatus(result) == PGRES_COMMAND_OK)
		return 0;
	if (state == NULL || strlen(state) != 5)
		return ERRCODE_CONNECTION_FAILURE;
	return MAKE_SQLSTATE(state[0], state[1], state[2], state[3], state[4]);
}

static char *
error_field(const PGresult *result, int field)
{
	const char *value = PQresultErrorField(result, field);

	return value == NULL ? NULL : pstrdup(value);
}

void
remote_check(const Remote *remote, PGresult *result)
{
	int			sqlstate = remote_sqlstate(result);
	char	   *message;
	char	   *detail;
	char	   *hint;

	if (sqlstate == 0)
		return;
	message = error_field(result, PG_DIAG_MESSAGE_PRIMARY);
	detail = error_field(result, PG_DIAG_MESSAGE_DETAIL);
	hint = error_field(result, PG_DIAG_MESSAGE_HINT);
	PQclear(result);
	ereport(ERROR,
			(errcode(sqlstate),
			 errmsg_internal("%s", message != NULL ? message : "the call failed"),
			 detail != NULL ? errdetail_internal("%s", detail) : 0,
			 hint != NULL ? errhint("At the hub: %s", hint) : 0,
			 errcontext("link \"%s\", at the hub", remote->name)));
}

PGresult *
remote_call(Remote *remote, const char *command, int nparams, const char *const *params,
			int timeout)
{
	PGresult   *result;

	Assert(remote->expected == 0);
	remote_send(remote, command, nparams, params);
	remote_sync(remote);
	result = remote_result(remote, timeout);
	remote_check(remote, result);
	return result;
}
