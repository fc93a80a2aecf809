/*
 * launch.h
 *	  Starting syncext's background workers, and telling whether they run.
 */
#ifndef SYNCEXT_LAUNCH_H
#define SYNCEXT_LAUNCH_H

#include "nodes/pg_list.h"
#include "postmaster/bgworker.h"
#include "storage/proc.h"

/* What the processes are called in pg_stat_activity.backend_type. */
#define LINK_WORKER_TYPE	"syncext link"
#define NOTIFIER_TYPE		"syncext notifier"

/* What a worker is started with, in its bgw_extra. */
typedef struct WorkerArgs
{
	Oid			database;
	Oid			role;			/* that it connects as; InvalidOid: the bootstrap superuser */
	bool		wait_for_predecessor;		/* another worker of the link may be about to end */
	char		link[NAMEDATALEN];	/* the link worker's link */
} WorkerArgs;

/* May workers be started in this server at all? */
extern bool launch_allowed(void);

/* Fill in a worker, to be registered with the postmaster. */
extern void launch_describe(BackgroundWorker *worker, const char *type, const char *function,
							const WorkerArgs *args);

/*
 * Ask the postmaster for a process; neither needs a transaction.  They return false
 * if it has no room for one, and report that: at level, or as a WARNING.
 */
extern bool launch_link_worker(const char *link, Oid role, bool wait_for_predecessor, int level);
extern bool launch_notifier(void);

/*
 * Take the lock that makes this process the link's only worker, or with link NULL the
 * database's only notifier; it is the session's.  False: another process has it.
 */
extern bool launch_lock(const char *link);
extern void launch_unlock(const char *link);
/* Does the link have a worker? */
extern bool launch_is_running(const char *link);

/*
 * Start the workers of enabled links that have none, as after a restart of the server.
 * Looks once for each configuration that the session has read; cheap otherwise.
 */
extern void launch_missing(void);

/* The process with this id; NULL: there is none.  Once found it costs nothing. */
extern PGPROC *launch_process(int pid);

#endif							/* SYNCEXT_LAUNCH_H */
