/*
 * process.h
 *	  What the background workers have in common: how they begin, and when
 *	  they leave.
 */
#ifndef SYNCEXT_PROCESS_H
#define SYNCEXT_PROCESS_H

#include "compat.h"
#include "hub/section.h"
#include "storage/launch.h"

/* Take signals and connect; a process that can't connect is not started again. */
extern const WorkerPlace *process_begin(void);

/* Once a turn, outside of a transaction: heed signals, read a changed configuration. */
extern void process_heed(void);

/*
 * In a transaction.  Leave, to be started again, where somebody wants to drop,
 * rename or copy the database; leave for good where the extension is gone.
 */
extern void process_check_place(void);

/* A transaction for statements as the tables' owner, with all that they need. */
extern void process_begin_work(Section *section);
extern void process_end_work(Section *section);

/* End this process, and what it began; the postmaster doesn't start it again. */
pg_noreturn extern void process_leave(void);
/* The same, but the postmaster starts it again. */
pg_noreturn extern void process_restart(void);

/* What pg_stat_activity shows: at work on this; or idle, with what was done last. */
extern void process_busy(const char *what);
extern void process_idle(void);

#endif							/* SYNCEXT_PROCESS_H */
