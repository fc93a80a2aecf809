/*
 * worker_process.c
 *	  What the background workers have in common: how they begin, and when
 *	  they leave.
 *
 * SIGTERM has the server's own handler: the process ends at the next point that
 * looks for interrupts, in a query, in libpq's waits or asleep, and no error
 * handler in SQL can swallow it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "process/worker_process.h"
#include "storage/locks.h"
#include "storage/relations.h"

static bool connected = false;

/*
 * The database or the role may be gone.  Without this the postmaster would restart
 * us for ever; exiting with code 0 unregisters the worker.
 */
static void
exit_cleanly_unless_connected(int code, Datum arg)
{
	if (!connected && code != 0)
		proc_exit(0);
}

const WorkerArgs *
worker_begin(void)
{
	const WorkerArgs *args = (const WorkerArgs *) MyBgworkerEntry->bgw_extra;

	on_proc_exit(exit_cleanly_unless_connected, (Datum) 0);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(args->database, args->role, 0);
	connected = true;
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	return args;
}

void
handle_interrupts(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void
worker_exit(void)
{
	AbortOutOfAnyTransaction();
	proc_exit(0);
}

void
worker_restart(void)
{
	AbortOutOfAnyTransaction();
	proc_exit(1);
}

/*
 * DROP DATABASE and its like wait five seconds for other sessions to leave.  A new
 * session waits for their lock before it counts as connected, and so does this
 * process when it is started again: it finds the database gone, or works on.
 */
void
exit_unless_needed(void)
{
	if (lock_database_wanted())
		worker_restart();
	if (!extension_is_here())
		worker_exit();
}

void
worker_begin_transaction(void)
{
	StartTransactionCommand();
	exit_unless_needed();
	PushActiveSnapshot(GetTransactionSnapshot());
}

void
worker_commit(void)
{
	PopActiveSnapshot();
	CommitTransactionCommand();
}

void
worker_report_busy(const char *what)
{
	pgstat_report_activity(STATE_RUNNING, what);
}

void
worker_report_idle(void)
{
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}
