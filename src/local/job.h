/*
 * job.h
 *	  Runs of what works on an attached relation, a row of syncext.job_run each, and
 *	  when each job is to run next, a row of syncext.job_state.
 *
 * A job is "poll", "deliver" or "load".  The session that runs one holds its lock from
 * before job_begin until after job_end, through all its transactions; the end of the
 * session and an error that ends the transaction release it, too.
 */
#ifndef SYNCEXT_JOB_H
#define SYNCEXT_JOB_H

#include "datatype/timestamp.h"
#include "utils/jsonb.h"

/* Take the lock, or return false and the pid of the session that has it. */
extern bool job_lock(Oid relation, const char *job, int *holder);
extern void job_unlock(Oid relation, const char *job);

/*
 * Add the row of a run that begins, and say of earlier ones that never ended that
 * they were interrupted.  Each of these is part of the caller's transaction.
 * 0: the relation isn't attached any more.
 */
extern int64 job_begin(Oid relation, const char *job, bool scheduled);
/* Note what the run works on now, and how many rows that are (-1: not known). */
extern void job_phase(int64 id, const char *phase, int64 total);
extern void job_progress(int64 id, int64 done);
/* Close the row; counts, error and watermark may be NULL.  False: it is gone. */
extern bool job_end(int64 id, Jsonb *counts, const char *error, const TimestampTz *watermark);
/* The row of a run that did not begin, as another goes on. */
extern void job_skipped(Oid relation, const char *job, bool scheduled, int holder);

#endif							/* SYNCEXT_JOB_H */
