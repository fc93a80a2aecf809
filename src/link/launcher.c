/*
 * launcher.c
 *	  Starting the links' workers with the server.
 *
 * With shared_preload_libraries = 'syncext' the postmaster runs the launcher
 * once, when it is ready for writes.  Only a process inside a database can see whether
 * it has the extension: so the launcher starts a short-lived process in one database
 * after the other, and then ends.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_database.h"
#include "miscadmin.h"
#include "postmaster/bgworker.h"
#include "storage/ipc.h"
#include "tcop/tcopprot.h"
#include "utils/rel.h"

#include "link/launcher.h"
#include "process/launch.h"
#include "process/worker_process.h"

extern PGDLLEXPORT void syncext_launcher_main(Datum arg);
extern PGDLLEXPORT void syncext_starter_main(Datum arg);

/* Seconds until the launcher comes back if there was no room for a process. */
#define COME_BACK_TIME	10

void
launcher_register(void)
{
	WorkerArgs nowhere = {0};
	BackgroundWorker worker;

	if (!process_shared_preload_libraries_in_progress || !launch_allowed())
		return;
	launch_describe(&worker, "syncext launcher", "syncext_launcher_main", &nowhere);
	worker.bgw_restart_time = COME_BACK_TIME;
	RegisterBackgroundWorker(&worker);
}

/* The databases that can be connected to, in the current memory context. */
static List *
list_databases(void)
{
	MemoryContext context = CurrentMemoryContext;
	List	   *databases = NIL;
	Relation	rel;
	SysScanDesc scan;
	HeapTuple	tuple;

	StartTransactionCommand();
	rel = table_open(DatabaseRelationId, AccessShareLock);
	scan = systable_beginscan(rel, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_database database = (Form_pg_database) GETSTRUCT(tuple);
		MemoryContext old = MemoryContextSwitchTo(context);

		if (database->datallowconn)
			databases = lappend_oid(databases, database->oid);
		MemoryContextSwitchTo(old);
	}
	systable_endscan(scan);
	table_close(rel, AccessShareLock);
	CommitTransactionCommand();
	MemoryContextSwitchTo(context);
	return databases;
}

/* Returns false if the postmaster has no room for a process. */
static bool
visit(Oid database)
{
	WorkerArgs args = {.database = database};
	BackgroundWorker worker;
	BackgroundWorkerHandle *handle;

	launch_describe(&worker, "syncext starter", "syncext_starter_main", &args);
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	worker.bgw_notify_pid = MyProcPid;
	if (!RegisterDynamicBackgroundWorker(&worker, &handle))
		return false;
	(void) WaitForBackgroundWorkerShutdown(handle);
	return true;
}

void
syncext_launcher_main(Datum arg)
{
	ListCell   *lc;

	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	/* no database: what all of them share is enough */
	BackgroundWorkerInitializeConnection(NULL, NULL, 0);
	foreach(lc, list_databases())
	{
		CHECK_FOR_INTERRUPTS();
		if (!visit(lfirst_oid(lc)))
		{
			ereport(LOG,
					(errmsg("the workers of links could not be started: there is no room for another background worker"),
					 errdetail("There will be another attempt in %d seconds.", COME_BACK_TIME),
					 errhint("Raise \"max_worker_processes\".")));
			proc_exit(1);
		}
	}
	proc_exit(0);
}

void
syncext_starter_main(Datum arg)
{
	(void) worker_begin();
	StartTransactionCommand();
	exit_unless_needed();
	launch_missing();
	CommitTransactionCommand();
	proc_exit(0);
}
