/*
 * worker_process.h
 *	  What the background workers have in common: how they begin, and when
 *	  they leave.
 */
#ifndef SYNCEXT_WORKER_PROCESS_H
#define SYNCEXT_WORKER_PROCESS_H

#include "compat.h"
#include "process/launch.h"
#include "process/owner.h"

/* Take signals and connect; a process that can't connect is not started again. */
extern const WorkerArgs *worker_begin(void);

/* Outside of a transaction: handle signals, read a changed configuration. */
extern void handle_interrupts(void);

/*
 * In a transaction.  End the process, to be started again, where another session
 * wants to drop, rename or copy the database; end it for good where the extension
 * is gone.
 */
extern void exit_unless_needed(void);

/* A transaction for statements as the tables' owner, with all that they need. */
extern void worker_begin_transaction(void);
extern void worker_commit(void);

/* End this process, and what it began; the postmaster doesn't start it again. */
pg_noreturn extern void worker_exit(void);
/* Like worker_exit(), but the postmaster starts the process again. */
pg_noreturn extern void worker_restart(void);

/* Show in pg_stat_activity what the process works on; or that it is idle. */
extern void worker_report_busy(const char *what);
extern void worker_report_idle(void);

#endif							/* SYNCEXT_WORKER_PROCESS_H */
