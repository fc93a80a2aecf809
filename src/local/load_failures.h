/*
 * load_failures.h
 *	  What a load could not do, kept for the administrator who mends the cause.
 */
#ifndef SYNCEXT_LOAD_FAILURES_H
#define SYNCEXT_LOAD_FAILURES_H

#include "local/batch_item.h"

/*
 * Rows that could not be brought to the hub here are rows of syncext.capture_failure;
 * those that could are none any more.
 */
extern void load_failures_of_rows(const Binding *binding, const BatchItem *items, int n);
/* The same of so many rows that have no usable key; problem is that of one of them. */
extern void load_failures_of_keys(const Binding *binding, int64 n, const char *problem);
/*
 * Records that could not be written to the relation are rows of syncext.pending.  To be
 * called in a transaction that has locked nothing yet, as far as there is one.  What the
 * items name of a transaction before is gone: source and entity are the caller's.
 */
extern void load_failures_of_records(const char *source, const char *entity,
									 const BatchItem *items, int n);

#endif							/* SYNCEXT_LOAD_FAILURES_H */
