/*
 * remote.c
 *	  A connection to another server: open it, send calls, take their answers.
 *
 * The server's helper for libpq accounts for descriptors.  But its waits have no
 * deadline, and its sends block, so a hub that hangs would hold us for ever: the waits
 * here are our own, and the connection is in pipeline mode.
 *
 * Answers are taken row by row, and copied into memory that goes with an error.
 * libpq itself would gather all of an answer, however long, before it tells of
 * it.  What it holds of a single message is bounded by looking at the process's
 * memory before each read, where the C library can tell of that.
 *
 * One wait is out of our hands: libpq looks names of hosts up by getaddrinfo(),
 * which heeds neither interrupts nor deadlines.  A server with hostaddr needs no
 * such look.
 */
#include "postgres.h"

#include "libpq-fe.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"
#include "utils/wait_event.h"

#include "compat.h"
#include "link/remote.h"

#include "link/wire.h"
#include "process/stat.h"
#include "settings.h"

#ifdef HAVE_LIBPQ_BE_FE_HELPERS
#include "libpq/libpq-be-fe-helpers.h"
#endif
#ifdef HAVE_MALLINFO2
#include <malloc.h>
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

/* What libpq says: its own words, or the other side's. */
static char *
connection_message(PGconn *conn)
{
	return wire_message(PQerrorMessage(conn));
}

TimestampTz
remote_deadline(int milliseconds)
{
	return TimestampTzPlusMilliseconds(GetCurrentTimestamp(), milliseconds);
}

static void
raise_lost(Remote *remote)
{
	remote->broken = true;
	if (PQstatus(remote->conn) == CONNECTION_OK)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("link \"%s\" could not send a call to its hub", remote->name),
				 errdetail_internal("%s", connection_message(remote->conn))));
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
 * The latch is left alone.  It is set when a session has committed an edit, and the
 * caller looks at it.  A commit needn't wake us here: we wait for the hub anyway.
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

/* How much memory libpq may take while it reads an answer, beyond the largest message. */
#define LIBPQ_BYTES		(16 * 1024 * 1024)
/*
 * How much it may keep between calls, beyond that: for the largest message that was
 * sent, and for settings that the other side has reported.
 */
#define KEPT_BYTES		(256 * 1024 * 1024)

/* The process's memory that memory contexts don't account for: libpq's, and more. */
static int64
memory_beside_contexts(void)
{
#ifdef HAVE_MALLINFO2
	struct mallinfo2 info = mallinfo2();

	return (int64) (info.uordblks + info.hblkhd) -
		(int64) MemoryContextMemAllocated(TopMemoryContext, true);
#else
	return 0;
#endif
}

/* Begin to look at what libpq takes, while it reads and nothing else does. */
static void
watch_memory(Remote *remote)
{
	remote->memory = memory_beside_contexts();
}

/*
 * Has libpq taken no more since than an answer of so many bytes needs?
 *
 * To be asked whenever libpq has looked at what it has read, before it reads on.  It
 * makes room for a message as soon as it sees the length that the other side announces,
 * and then a single PQconsumeInput() reads until that room is full, if the other side
 * sends as fast as that.  Room costs nothing before it is filled.
 */
static bool
memory_is_bounded(const Remote *remote, Size max_bytes)
{
	/* libpq doubles its buffer until a message fits */
	return memory_beside_contexts() - remote->memory <= 2 * (int64) max_bytes + LIBPQ_BYTES;
}

static void
bound_memory(const Remote *remote, const ReplyShape *shape)
{
	if (!memory_is_bounded(remote, shape->max_bytes))
		reply_violation(remote->name, shape->call,
						"is a message of more than the %zu bytes that were asked for",
						shape->max_bytes);
}

/*
 * Has libpq kept no more since the connection was opened than it needs?  What it took
 * for other connections of the process counts as well.
 */
static bool
kept_is_bounded(const Remote *remote)
{
	return memory_beside_contexts() - remote->opened <= 2 * (int64) remote->max_bytes + KEPT_BYTES;
}

/* Go on connecting until it is done; returns false when time is up. */
static bool
poll_connection(Remote *remote, PGconn *conn, TimestampTz deadline)
{
	static const ReplyShape connecting = {.call = "the connection"};
	PostgresPollingStatusType status = PGRES_POLLING_WRITING;

	while (status != PGRES_POLLING_OK && status != PGRES_POLLING_FAILED)
	{
		int			wanted = status == PGRES_POLLING_READING ? WL_SOCKET_READABLE :
			PQstatus(conn) == CONNECTION_STARTED ? WL_SOCKET_CONNECTED : WL_SOCKET_WRITEABLE;
		int			happened;

		bound_memory(remote, &connecting);
		if (!wait_for_socket(conn, wanted, deadline, &happened))
			return false;
		if (happened & wanted)
			status = PQconnectPoll(conn);
	}
	return true;
}

/* ---------- opening and closing ---------- */

/* Returns the hint: a startup option is refused nearly always by a pooler. */
static const char *
refusal_hint(const char *detail)
{
	if (strstr(detail, "unsupported startup parameter") != NULL)
		return "A connection pooler stands before the hub, and takes no settings at the start of a session: name the hub's own port in the link's server.";
	return "See to the hub, or to the link's server and user mapping: ALTER SERVER, ALTER USER MAPPING.";
}

static void
raise_no_connection(const Remote *remote, PGconn *conn, const char *why)
{
	char	   *detail = pstrdup(why);

	disconnect(conn);
	ereport(ERROR,
			(errcode(ERRCODE_SQLCLIENT_UNABLE_TO_ESTABLISH_SQLCONNECTION),
			 errmsg("link \"%s\" could not connect to its hub", remote->name),
			 errdetail_internal("%s", detail),
			 errhint("%s", refusal_hint(detail))));
}

/* Drop the other side's notices: they are in its own log. */
static void
ignore_notice(void *arg, const PGresult *result)
{
}

void
remote_open(Remote *remote, const char *name, const char *const *keywords,
			const char *const *values, TimestampTz deadline)
{
	PGconn	   *conn;
	volatile bool in_time = true;

	memset(remote, 0, sizeof(Remote));
	remote->name = name;
	reserve_descriptor();
	watch_memory(remote);
	remote->opened = remote->memory;
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
		(void) PQsetNoticeReceiver(conn, ignore_notice, NULL);
		if (PQstatus(conn) != CONNECTION_BAD)
			in_time = poll_connection(remote, conn, deadline);
	}
	PG_CATCH();
	{
		disconnect(conn);
		PG_RE_THROW();
	}
	PG_END_TRY();
	if (!in_time)
		raise_no_connection(remote, conn,
							psprintf("It did not answer in %d s.", setting_link_timeout));
	if (PQstatus(conn) != CONNECTION_OK)
		raise_no_connection(remote, conn, connection_message(conn));
	if (PQsetnonblocking(conn, 1) != 0 || !PQenterPipelineMode(conn))
		raise_no_connection(remote, conn, connection_message(conn));
	remote->conn = conn;
}

void
remote_close(Remote *remote)
{
	PGconn	   *conn = remote->conn;

	PQclear(remote->result);
	remote->result = NULL;
	if (conn == NULL)
		return;
	remote->conn = NULL;
	disconnect(conn);
}

bool
remote_alive(Remote *remote)
{
	/* the server may have sent an error before it closed: that is read first */
	return remote->conn != NULL && !remote->broken && remote->expected == 0 &&
		kept_is_bounded(remote) && PQconsumeInput(remote->conn) &&
		!PQisBusy(remote->conn) && PQconsumeInput(remote->conn) &&
		PQstatus(remote->conn) == CONNECTION_OK;
}

bool
remote_waits(Remote *remote)
{
	return PQconsumeInput(remote->conn) && PQisBusy(remote->conn);
}

bool
remote_used_password(const Remote *remote)
{
	return PQconnectionUsedPassword(remote->conn);
}

int
remote_pid(const Remote *remote)
{
	return PQbackendPID(remote->conn);
}

pgsocket
remote_socket(const Remote *remote)
{
	return remote->conn == NULL ? PGINVALID_SOCKET : PQsocket(remote->conn);
}

/* ---------- notifications ---------- */

/* Note that there are notifications, and free them: libpq would keep them all. */
static void
note_notifications(Remote *remote)
{
	PGnotify   *notify;

	while ((notify = PQnotifies(remote->conn)) != NULL)
	{
		remote->notified = true;
		PQfreemem(notify);
	}
}

/*
 * Take what is left on the connection, the ends of transactions: until that is done,
 * libpq in pipeline mode doesn't look at notifications.
 */
static void
drain(PGconn *conn)
{
	int			ends = 0;

	/* after the last result libpq returns NULL twice */
	for (int i = 0; i < 16 && ends < 2 && !PQisBusy(conn); i++)
	{
		PGresult   *result = PQgetResult(conn);

		ends = result == NULL ? ends + 1 : 0;
		PQclear(result);
	}
}

bool
remote_take_notified(Remote *remote)
{
	bool		notified;

	if (remote->conn == NULL)
		return false;
	watch_memory(remote);
	if (remote->broken || !PQconsumeInput(remote->conn))
		return true;
	drain(remote->conn);
	note_notifications(remote);
	/* the caller's next call finds a connection that isn't alive, and opens another */
	if (!memory_is_bounded(remote, 0))
		remote->broken = true;
	notified = remote->notified || remote->broken;
	remote->notified = false;
	return notified;
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

bool
remote_flush(Remote *remote, TimestampTz deadline)
{
	int			flushed;
	int			happened = 0;

	while ((flushed = PQflush(remote->conn)) > 0)
	{
		/* what comes is read where it is known how much it may be */
		if ((happened & WL_SOCKET_READABLE) ||
			!wait_for_socket(remote->conn, WL_SOCKET_READABLE | WL_SOCKET_WRITEABLE, deadline, &happened))
			return false;
	}
	if (flushed < 0)
		raise_lost(remote);
	return true;
}

/* ---------- answers ---------- */

static void
raise_no_answer(const Remote *remote)
{
	ereport(ERROR,
			(errcode(ERRCODE_CONNECTION_FAILURE),
			 errmsg("link \"%s\" got no answer from the hub in %d s", remote->name,
					setting_link_timeout),
			 errhint("Another session may hold what the call needs there: look into pg_stat_activity of the hub. If it is just slow, raise syncext.link_timeout or lower syncext.link_batch.")));
}

/*
 * Wait until a result can be taken without blocking, sending what is still to
 * be sent: the other side may stop reading until we have read its answers.
 */
static void
wait_for_result(Remote *remote, const ReplyShape *shape, TimestampTz deadline)
{
	PGconn	   *conn = remote->conn;
	TimestampTz begin = 0;

	for (;;)
	{
		int			flushed = PQflush(conn);
		int			events = WL_SOCKET_READABLE | (flushed > 0 ? WL_SOCKET_WRITEABLE : 0);
		int			happened;

		if (flushed < 0)
			raise_lost(remote);
		if (!PQisBusy(conn))
			break;
		if (begin == 0)
			begin = GetCurrentTimestamp();
		note_notifications(remote);
		bound_memory(remote, shape);
		if (!wait_for_socket(conn, events, deadline, &happened))
			raise_no_answer(remote);
		if ((happened & WL_SOCKET_READABLE) && !PQconsumeInput(conn))
			raise_lost(remote);
	}
	if (begin == 0)
		return;
	stat_link(remote->name, STAT_ROUND_TRIPS, 1);
	stat_link(remote->name, STAT_WAITED, GetCurrentTimestamp() - begin);
}

/*
 * libpq's next result, which stays valid until the next call of this; NULL: the end of
 * the answer before.
 */
static PGresult *
next_result(Remote *remote, const ReplyShape *shape, TimestampTz deadline)
{
	PQclear(remote->result);
	remote->result = NULL;
	wait_for_result(remote, shape, deadline);
	remote->result = PQgetResult(remote->conn);
	if (PQstatus(remote->conn) == CONNECTION_BAD)
		raise_lost(remote);
	return remote->result;
}

static void
add_rows(Reply *reply, const PGresult *result)
{
	reply_check_columns(reply, PQnfields(result));
	for (int row = 0; row < PQntuples(result); row++)
	{
		ReplyCell  *cells = reply_add_row(reply);

		for (int i = 0; i < reply->shape.columns; i++)
		{
			if (PQfformat(result, i) != 0)
				reply_violation(reply->link, reply->shape.call, "is not in text in column %d", i + 1);
			reply_add_value(reply, &cells[i],
							PQgetisnull(result, row, i) ? NULL : PQgetvalue(result, row, i),
							PQgetlength(result, row, i));
		}
	}
}

static void
add_error(Reply *reply, const PGresult *result)
{
	reply_add_error(reply, PQresultErrorField(result, PG_DIAG_SQLSTATE),
					PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY),
					PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL),
					PQresultErrorField(result, PG_DIAG_MESSAGE_HINT));
}

/* Add a result to the answer; returns false if more of it has to come. */
static bool
add_result(Reply *reply, const PGresult *result)
{
	const ExecStatusType status = result == NULL ? PGRES_EMPTY_QUERY : PQresultStatus(result);

	switch (status)
	{
		case PGRES_SINGLE_TUPLE:
			add_rows(reply, result);
			return false;
		case PGRES_TUPLES_OK:
			/* none, where each came by itself */
			add_rows(reply, result);
			return true;
		case PGRES_COMMAND_OK:
			reply_check_columns(reply, 0);
			return true;
		case PGRES_FATAL_ERROR:
			add_error(reply, result);
			return true;
		case PGRES_PIPELINE_ABORTED:
			reply_add_error(reply, NULL, "the call before it failed", NULL, NULL);
			return true;
		default:
			reply_violation(reply->link, reply->shape.call, "is out of turn: %s",
							result == NULL ? "there is none" : PQresStatus(status));
	}
}

static Reply *
take_reply(Remote *remote, const ReplyShape *shape, TimestampTz deadline)
{
	Reply	   *reply = reply_begin(remote->name, shape);

	/* not where it is known already that there is none, after an error */
	(void) PQsetSingleRowMode(remote->conn);
	while (!add_result(reply, next_result(remote, shape, deadline)))
		;
	if (next_result(remote, shape, deadline) != NULL)
		reply_violation(remote->name, shape->call, "has something behind its end");
	reply_end(reply);
	return reply;
}

/*
 * Take the end of a transaction.  Only then it is committed: deferred constraints
 * may still fail, which is the answer to its last call then.
 */
static void
take_end(Remote *remote, Reply *last, TimestampTz deadline)
{
	/* an error, the end of it, and that of the transaction */
	for (int i = 0; i < 3; i++)
	{
		PGresult   *result = next_result(remote, &last->shape, deadline);

		if (result == NULL)
			continue;
		if (PQresultStatus(result) == PGRES_PIPELINE_SYNC)
			return;
		if (PQresultStatus(result) != PGRES_FATAL_ERROR)
			break;
		add_error(last, result);
	}
	reply_violation(remote->name, last->shape.call, "is not followed by the transaction's end");
}

/*
 * A server sends notifications between transactions only.  So those that come
 * before a transaction's first result were sent before it began.
 */
void
remote_replies(Remote *remote, int n, bool sees_all, const ReplyShape *const *shapes,
			   Reply **replies, TimestampTz deadline)
{
	remote->broken = true;
	for (int i = 0; i < n; i++)
		remote->max_bytes = Max(remote->max_bytes, shapes[i]->max_bytes);
	if (!kept_is_bounded(remote))
		reply_violation(remote->name, shapes[0]->call, "comes with more settings than a server has");
	watch_memory(remote);
	for (int i = 0; i < n; i++)
	{
		replies[i] = take_reply(remote, shapes[i], deadline);
		if (sees_all && i == 0)
		{
			/* looking for notifications reads into the next answer */
			(void) PQsetSingleRowMode(remote->conn);
			note_notifications(remote);
			remote->notified = false;
		}
	}
	take_end(remote, replies[n - 1], deadline);
	PQclear(remote->result);
	remote->result = NULL;
	remote->expected -= n;
	remote->broken = false;
}

Reply *
remote_reply(Remote *remote, const ReplyShape *shape, TimestampTz deadline)
{
	Reply	   *reply;

	remote_replies(remote, 1, false, &shape, &reply, deadline);
	return reply;
}

Reply *
remote_call(Remote *remote, const char *command, int nparams, const char *const *params,
			const ReplyShape *shape, TimestampTz deadline)
{
	Reply	   *reply;

	Assert(remote->expected == 0);
	remote_send(remote, command, nparams, params);
	remote_sync(remote);
	reply = remote_reply(remote, shape, deadline);
	reply_check(reply);
	return reply;
}
