/*
 * row_failures.h
 *	  What a load or a poll could not do, kept until it is done.
 */
#ifndef SYNCEXT_ROW_FAILURES_H
#define SYNCEXT_ROW_FAILURES_H

#include "local/batch_item.h"
#include "storage/capture_failure.h"

/*
 * Keep a row that could not be brought to the hub as one of syncext.capture_failure; busy: for a
 * reason that passes.
 */
extern void row_failure_note(CaptureFailures *failures, const Binding *binding,
							 const char *external_id, const char *error, bool busy);
/* So it is with the rows that failed; the others are kept no longer. */
extern void row_failures_settle(const Binding *binding, const BatchItem *items, int n);
/*
 * The same of so many rows that have no usable key; problem is that of one of them, next is
 * said behind it.
 */
extern void row_failures_of_keys(const Binding *binding, int64 n, const char *problem,
								 const char *next);
/*
 * Records that could not be written to the relation are rows of syncext.pending.  To be
 * called in a transaction that has locked nothing yet, as far as there is one.  What the
 * items name of a transaction before is gone: source and entity are the caller's.
 */
extern void row_failures_of_records(const char *source, const char *entity,
									const BatchItem *items, int n);

#endif							/* SYNCEXT_ROW_FAILURES_H */
