/*
 * batch_retry.h
 *	  What a target could not take, or can't yet: how it is kept in syncext.pending, and when
 *	  it comes into a batch again.
 */
#ifndef SYNCEXT_BATCH_RETRY_H
#define SYNCEXT_BATCH_RETRY_H

#include "hub/batch_record.h"
#include "storage/pending.h"

/* ---------- while a batch is cut ---------- */

/*
 * Records that turn up while they are pending: they will be delivered as they
 * are then.  A newer row version brings a dead one back.
 */
extern void batch_raise_deferred(Feed *feed);
/* Fill the batch up to max with records whose next attempt is due. */
extern void batch_take_retries(Feed *feed, int max);
/* Make a pending record a member of the batch. */
extern void batch_add_retry(Feed *feed, const Pending *pending);

/* ---------- what doesn't go out, or didn't ---------- */

/*
 * The record can't be put out as it is: it is a dead letter of the target until it
 * changes, and the batch goes on without it.
 */
extern void batch_set_aside(Feed *feed, BatchRecord *record, const char *error);
/*
 * The record can't be delivered before another, a parent's, is: it comes again later, and
 * the batch goes on without it.  That is no failure.
 */
extern void batch_put_off(Feed *feed, BatchRecord *record, const RecordKey *parent);
/* Deliver a record once more. */
extern void batch_send_again(Feed *feed, const RecordKey *record);
/* Some of what was put off is due now, as a parent may have been delivered. */
extern void batch_recall_put_off(Feed *feed);
/* Put a record that the target could not take into pending. */
extern void batch_store_failure(Feed *feed, const BatchRecord *record);

#endif							/* SYNCEXT_BATCH_RETRY_H */
