/*
 * launch.c
 *	  Starting syncext's background workers, and telling whether they run.
 *
 * process/wake starts the workers of links that were made or changed, at commit; and
 * when a session first writes to the log, those that are missing.
 *
 * The postmaster starts a worker again that ended with exit code 1: after a
 * crash of the server, pg_terminate_backend, or an error that it can't go on
 * from.  Code 0 is for good.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "process/launch.h"
#include "process/owner.h"
#include "storage/hints.h"
#include "storage/link.h"
#include "storage/locks.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(syncext_start_workers);

/* Seconds until the postmaster starts a worker again that has died. */
#define RESTART_TIME	2
/* Missing workers are looked for this often at most, in a session. */
#define LOOK_AGAIN_MS	5000

/* ---------- processes ---------- */

void
launch_describe(BackgroundWorker *worker, const char *type, const char *function,
				const WorkerArgs *args)
{
	StaticAssertStmt(sizeof(WorkerArgs) <= BGW_EXTRALEN, "no room for a WorkerArgs");
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = RESTART_TIME;
	strlcpy(worker->bgw_library_name, "syncext", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, type, sizeof(worker->bgw_type));
	snprintf(worker->bgw_name, sizeof(worker->bgw_name), "%s%s%s", type,
			 args->link[0] == '\0' ? "" : " ", args->link);
	memcpy(worker->bgw_extra, args, sizeof(WorkerArgs));
}

/*
 * What pg_upgrade starts is the old cluster, of which it knows the next transaction id
 * already, and the new one: what a worker writes there, with a later id, is corrupt
 * afterwards.
 */
bool
launch_allowed(void)
{
	return !IsBinaryUpgrade;
}

static bool
launch(const char *type, const char *function, const WorkerArgs *args, int level)
{
	BackgroundWorker worker;

	launch_describe(&worker, type, function, args);
	if (launch_allowed() && RegisterDynamicBackgroundWorker(&worker, NULL))
		return true;
	ereport(level,
			(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
			 args->link[0] != '\0' ?
			 errmsg("the worker of link \"%s\" could not be started: there is no room for another background worker",
					args->link) :
			 errmsg("the notifier could not be started: there is no room for another background worker"),
			 errhint_call("Raise \"max_worker_processes\". Until then the link is served by CALL sync_exchange().")));
	return false;
}

bool
launch_link_worker(const char *link, Oid role, bool wait_for_predecessor, int level)
{
	WorkerArgs args = {.database = MyDatabaseId, .role = role, .wait_for_predecessor = wait_for_predecessor};

	/* without a role it would connect as the bootstrap superuser */
	if (!OidIsValid(role))
		elog(ERROR, "the role of link \"%s\" does not exist", link);
	strlcpy(args.link, link, sizeof(args.link));
	return launch(LINK_WORKER_TYPE, "syncext_link_worker_main", &args, level);
}

bool
launch_notifier(void)
{
	WorkerArgs args = {.database = MyDatabaseId};

	return launch(NOTIFIER_TYPE, "syncext_notifier_main", &args, WARNING);
}

/* ---------- one of each ---------- */

bool
launch_lock(const char *link)
{
	return lock_session(link != NULL ? LOCK_WORKER : LOCK_NOTIFIER,
						link != NULL ? lock_key(link) : 0, false) != LOCK_BUSY;
}

void
launch_unlock(const char *link)
{
	lock_release(link != NULL ? LOCK_WORKER : LOCK_NOTIFIER, link != NULL ? lock_key(link) : 0);
}

/* The lock tells, as another process may have the worker's id by now. */
bool
launch_is_running(const char *link)
{
	if (lock_session(LOCK_WORKER, lock_key(link), false) != LOCK_TAKEN)
		return true;
	launch_unlock(link);
	return false;
}

static bool
is_missing(const Link *link)
{
	return link->enabled && OidIsValid(link->owner) && !launch_is_running(link->name);
}

/* Returns how many were started; that one could not be is reported at level. */
static int
start_missing(List *links, int level)
{
	int			started = 0;

	foreach_ptr(const Link, link, links)
		started += is_missing(link) && launch_link_worker(link->name, link->owner, false, level);
	return started;
}

void
launch_missing(void)
{
	static uint64 seen = 0;
	static TimestampTz next_look = 0;
	uint64		generation = registry_generation();
	List	   *links = link_list();
	TimestampTz now;

	if (seen == generation || links == NIL || RecoveryInProgress() || !launch_allowed())
		return;
	seen = generation;
	now = GetCurrentTimestamp();
	if (now < next_look)
		return;
	next_look = TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS);
	(void) start_missing(links, LOG);
}

/* Sessions of links listen, and nobody tells them: returns whether one was started. */
static bool
start_missing_notifier(void)
{
	return launch_process(registry_get()->notifier_pid) == NULL &&
		owner_true("SELECT EXISTS (SELECT FROM syncext.listener l, pg_stat_get_activity(l.pid) a WHERE a.datid = %u)",
				   MyDatabaseId) && launch_notifier();
}

Datum
syncext_start_workers(PG_FUNCTION_ARGS)
{
	int			started;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby has no workers"),
				 errhint("Run SELECT syncext.start_workers() on the primary.")));
	if (!launch_allowed())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("no workers run while the server is being upgraded")));
	SPI_connect();
	started = start_missing(link_list(), WARNING) + start_missing_notifier();
	SPI_finish();
	PG_RETURN_INT32(started);
}

/* ---------- finding a process ---------- */

/* A process that was looked up. */
typedef struct Found
{
	int			pid;
	PGPROC	   *proc;			/* NULL: there was none */
	TimestampTz looked_at;
} Found;

#define NFOUND	8
#define ABSENT_MS	1000

PGPROC *
launch_process(int pid)
{
	static Found recent[NFOUND];
	static int	next = 0;
	Found	   *found = NULL;
	TimestampTz now;

	for (int i = 0; i < NFOUND && found == NULL; i++)
		if (recent[i].pid == pid)
			found = &recent[i];
	if (pid <= 0 || (found != NULL && found->proc != NULL && found->proc->pid == pid))
		return pid <= 0 ? NULL : found->proc;
	/* a process that was absent isn't looked for at every commit */
	now = GetCurrentTimestamp();
	if (found != NULL && found->proc == NULL &&
		!TimestampDifferenceExceeds(found->looked_at, now, ABSENT_MS))
		return NULL;
	if (found == NULL)
		found = &recent[next++ % NFOUND];
	found->pid = pid;
	found->proc = BackendPidGetProc(pid);
	found->looked_at = now;
	return found->proc;
}
