/*
 * poll_run.h
 *	  A poll under way: its steps, each a transaction, and what fails in them.
 */
#ifndef SYNCEXT_POLL_RUN_H
#define SYNCEXT_POLL_RUN_H

#include "local/poll_scan.h"
#include "local/polled.h"
#include "local/item_batch.h"
#include "storage/capture_failure.h"

typedef struct Vanished Vanished;

typedef struct Poll
{
	Oid			relation;
	const char *source;			/* as this one's copy */
	const char *entity;			/* of this */
	bool		full;			/* compare all rows, and find what has vanished */
	bool		atomic;			/* in a transaction of the caller's: can't commit */
	bool		scheduled;
	MemoryContext context;		/* outlives the transactions */
	MemoryContext batch;		/* of one step */
	TimestampTz begin;
	int64		run;			/* its row in job_run; 0: none yet */
	ErrorData  *error;			/* that it has failed by, or NULL */
	bool		has_watermark;
	TimestampTz watermark;

	PollWindow	window;
	PollScan   *scan;			/* NULL: not open */
	bool		scan_ended;
	const char *retried;		/* the last failure that was tried again */
	bool		retries_ended;
	Vanished   *vanished;		/* of a full compare, while it deletes */
	int64		known;			/* to the last full compare, of the rows that are there still */
	bool		has_failures;	/* the relation has rows in capture_failure */

	int64		nread;
	int64		nretried;		/* those among them that had failed before */
	int64		nfailed;
	int64		nunusable;		/* rows without a usable key */
	const char *unusable;		/* what is wrong with the first of them */
	int64		count[POLLED_NOUTCOMES];
} Poll;

/* The job that a poll is, in job_run. */
#define POLL_JOB	"poll"

/*
 * Do a step, in a transaction of its own if that is possible; resets the batch's
 * memory.  False: the poll has failed by poll->error.
 */
extern bool poll_step(Poll *poll, void (*step) (Poll *poll));
/*
 * The relation, locked for the step against deliveries, too.  Raises if it isn't what
 * it was when the poll began.
 */
extern Attached *poll_lock(const Poll *poll);
/* Do a step in a subtransaction; returns its error, or NULL. */
extern ErrorData *poll_try_step(Poll *poll, void (*step) (Poll *poll));
/* Several rows have this key: keep that, as none of them is taken. */
extern void poll_note_twice(Poll *poll, CaptureFailures *failures, const char *external_id);
/* The answer of sync_poll, in the current memory context. */
extern Jsonb *poll_result(const Poll *poll);
/* Count what came of the items, and keep those that failed. */
extern void poll_settle(Poll *poll, BatchItem *items, int n);

#endif							/* SYNCEXT_POLL_RUN_H */
