/*
 * process.c
 *	  What the background workers have in common: how they begin, and when
 *	  they leave.
 *
 * Called by link/worker, link/notifier and link/launcher.
 *
 * SIGTERM is the server's own handler: the process ends at the next point that
 * looks for interrupts, in a query, in libpq's waits or asleep, and no error
 * handler of anybody's can swallow it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "postmaster/bgworker.h"
#include "postmaster/interrupt.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

#include "link/process.h"
#include "storage/locks.h"
#include "storage/relations.h"

static bool connected = false;

/*
 * The database or the role may be gone, with nobody left to tell the postmaster:
 * it would go on trying for ever.  Ending once more, from within, it is told that
 * all is well.
 */
static void
give_up_unconnected(int code, Datum arg)
{
	if (!connected && code != 0)
		proc_exit(0);
}

const WorkerPlace *
process_begin(void)
{
	const WorkerPlace *place = (const WorkerPlace *) MyBgworkerEntry->bgw_extra;

	on_proc_exit(give_up_unconnected, (Datum) 0);
	pqsignal(SIGHUP, SignalHandlerForConfigReload);
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(place->database, place->role, 0);
	connected = true;
	pgstat_report_appname(MyBgworkerEntry->bgw_name);
	return place;
}

void
process_heed(void)
{
	CHECK_FOR_INTERRUPTS();
	if (ConfigReloadPending)
	{
		ConfigReloadPending = false;
		ProcessConfigFile(PGC_SIGHUP);
	}
}

void
process_leave(void)
{
	AbortOutOfAnyTransaction();
	proc_exit(0);
}

void
process_restart(void)
{
	AbortOutOfAnyTransaction();
	proc_exit(1);
}

/*
 * Who wants the database for himself waits for five seconds until the others have
 * left it.  Whoever connects waits for that lock before it counts as connected,
 * and so does this process when it is started again: it finds the database gone,
 * or works on.
 */
void
process_check_place(void)
{
	if (lock_database_wanted())
		process_restart();
	if (!extension_is_here())
		process_leave();
}

void
process_begin_work(Section *section)
{
	StartTransactionCommand();
	process_check_place();
	PushActiveSnapshot(GetTransactionSnapshot());
	SPI_connect();
	section_enter(section, 0);
}

void
process_end_work(Section *section)
{
	section_leave(section);
	SPI_finish();
	PopActiveSnapshot();
	CommitTransactionCommand();
}

void
process_busy(const char *what)
{
	pgstat_report_activity(STATE_RUNNING, what);
}

void
process_idle(void)
{
	pgstat_report_stat(true);
	pgstat_report_activity(STATE_IDLE, NULL);
}
