/*
 * launch.c
 *	  Starting syncext's background workers, and telling whether they run.
 *
 * Called by storage/wake at the commit of who makes or changes a link, by
 * storage/link where a session first reads the links, and by link/.
 *
 * The postmaster starts a worker again that ended with exit code 1: after a
 * crash of the server, pg_terminate_backend, or an error that it can't go on
 * from.  Code 0 is for good.
 */
#include "postgres.h"

#include "access/xlog.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/procarray.h"
#include "utils/timestamp.h"

#include "storage/launch.h"
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
				const WorkerPlace *place)
{
	StaticAssertStmt(sizeof(WorkerPlace) <= BGW_EXTRALEN, "no room for a WorkerPlace");
	memset(worker, 0, sizeof(BackgroundWorker));
	worker->bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker->bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker->bgw_restart_time = RESTART_TIME;
	strlcpy(worker->bgw_library_name, "syncext", sizeof(worker->bgw_library_name));
	strlcpy(worker->bgw_function_name, function, sizeof(worker->bgw_function_name));
	strlcpy(worker->bgw_type, type, sizeof(worker->bgw_type));
	snprintf(worker->bgw_name, sizeof(worker->bgw_name), "%s%s%s", type,
			 place->link[0] == '\0' ? "" : " ", place->link);
	memcpy(worker->bgw_extra, place, sizeof(WorkerPlace));
}

static bool
launch(const char *type, const char *function, const WorkerPlace *place)
{
	BackgroundWorker worker;

	launch_describe(&worker, type, function, place);
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

bool
launch_link_worker(const char *link, Oid role, bool takes_over)
{
	WorkerPlace place = {.database = MyDatabaseId, .role = role, .takes_over = takes_over};

	/* as nobody it would run as the bootstrap superuser */
	if (!OidIsValid(role))
		elog(ERROR, "the role of link \"%s\" does not exist", link);
	strlcpy(place.link, link, sizeof(place.link));
	return launch(LINK_WORKER_TYPE, "syncext_link_worker_main", &place);
}

bool
launch_notifier(void)
{
	WorkerPlace place = {.database = MyDatabaseId};

	return launch(NOTIFIER_TYPE, "syncext_notifier_main", &place);
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

/* A process id that another one has got since doesn't mislead: the lock tells. */
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

/* Returns how many were started; level is what it is told at if one could not. */
static int
start_missing(List *links, int level)
{
	int			started = 0;
	ListCell   *lc;

	foreach(lc, links)
	{
		const Link *link = lfirst(lc);

		if (!is_missing(link))
			continue;
		if (launch_link_worker(link->name, link->owner, false))
			started++;
		else
			ereport(level,
					(errmsg("the worker of link \"%s\" could not be started: there is no room for another background worker",
							link->name),
					 errhint("Raise \"max_worker_processes\".")));
	}
	return started;
}

void
launch_missing(List *links)
{
	static TimestampTz next_look = 0;
	TimestampTz now;

	if (links == NIL || RecoveryInProgress())
		return;
	now = GetCurrentTimestamp();
	if (now < next_look)
		return;
	next_look = TimestampTzPlusMilliseconds(now, LOOK_AGAIN_MS);
	(void) start_missing(links, LOG);
}

Datum
syncext_start_workers(PG_FUNCTION_ARGS)
{
	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_READ_ONLY_SQL_TRANSACTION),
				 errmsg("a standby has no workers"),
				 errhint("Run SELECT syncext.start_workers() on the primary.")));
	PG_RETURN_INT32(start_missing(link_list(), WARNING));
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
	/* who was not there is not looked for at every commit */
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
