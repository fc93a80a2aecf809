/*
 * poll_scan.h
 *	  What a poll reads of its relation: rows of one moment, stored until they are
 *	  dealt with, on disk if they are many.
 */
#ifndef SYNCEXT_POLL_SCAN_H
#define SYNCEXT_POLL_SCAN_H

#include "access/htup.h"

#include "local/attached_relation.h"

typedef struct PollScan PollScan;

typedef struct PollWindow
{
	bool		bounded;		/* only rows edited since a time */
	TimestampTz since;
	bool		keys_only;		/* no fields: of rows that can't be read together */
} PollWindow;

/*
 * Read the relation, as its owner: first the rows whose updated column is null,
 * then the others in its order.  The scan lives in the current memory context and
 * outlives transactions; end it, also after an error.
 */
extern PollScan *poll_scan_begin(Attached *attached, const PollWindow *window);
extern void poll_scan_end(PollScan *scan);

/* How many rows it has in all. */
extern int64 poll_scan_total(const PollScan *scan);
/* Transactions before this one were over when the relation was read. */
extern TransactionId poll_scan_horizon(const PollScan *scan);

/* The next row, in the current memory context; NULL at the end. */
extern MinimalTuple poll_scan_next(PollScan *scan);
/*
 * The row as one of the relation; it points into the tuple.  Raises if the relation
 * has been altered since it was read.
 */
extern AttachedRow poll_scan_row(PollScan *scan, const Attached *attached, MinimalTuple tuple);

#endif							/* SYNCEXT_POLL_SCAN_H */
