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

/* Where a worker belongs; it finds this in its bgw_extra. */
typedef struct WorkerPlace
{
	Oid			database;
	Oid			role;			/* whom it connects as; InvalidOid: the bootstrap superuser */
	bool		takes_over;		/* another one may be about to leave: wait for it */
	char		link[NAMEDATALEN];	/* the link worker's link */
} WorkerPlace;

/* A worker as all of them are, for who registers it with the postmaster. */
extern void launch_describe(BackgroundWorker *worker, const char *type, const char *function,
							const WorkerPlace *place);

/*
 * Ask the postmaster for a process; none of them needs a transaction.  They
 * return false if it has no room for one.
 */
extern bool launch_link_worker(const char *link, Oid role, bool takes_over);
extern bool launch_notifier(void);

/*
 * The lock that lets one worker alone be at a link, or one notifier be at the
 * database (link NULL).  It is the session's.  False: another one has it.
 */
extern bool launch_lock(const char *link);
extern void launch_unlock(const char *link);
/* Has the link a worker? */
extern bool launch_is_running(const char *link);

/*
 * Start the workers of enabled links that have none, as after a restart of the
 * server.  Called where a session reads the links, and cheap where all run.
 */
extern void launch_missing(List *links);

/* The process with this id; NULL: there is none.  Once found it costs nothing. */
extern PGPROC *launch_process(int pid);

#endif							/* SYNCEXT_LAUNCH_H */
