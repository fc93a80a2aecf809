/*
 * undelivered.c
 *	  Records that could not be delivered, outside of a batch of the feed.
 *
 * sync_load brings records to a relation without the feed.  What it could not write is
 * pending from then on, as if the feed had delivered it.
 */
#include "postgres.h"

#include "hub/batch_retry.h"
#include "hub/undelivered.h"
#include "storage/canonical.h"

/* A record of the batch that is out is pending or not as its acknowledgement says. */
static bool
is_out(Feed *feed, const BatchFailure *failure)
{
	Pending		pending;

	return batch_is_leased(feed) &&
		pending_find(feed->pending, failure->entity, failure->external_id, &pending) &&
		pending.batch == feed->cursor.batch;
}

static void
note_of_slot(Feed *feed, const BatchFailure *failures, int n)
{
	Canonical  *canonical = canonical_open(false);
	RowsScan   *scan = canonical_seek_begin(canonical);

	for (int i = 0; i < n; i++)
	{
		BatchRecord record = {
			.entity = failures[i].entity,
			.external_id = failures[i].external_id,
			.failure = &failures[i]
		};
		CanonicalState state = {0};

		if (!consumer_has(feed->consumer, record.entity, record.external_id) ||
			is_out(feed, &failures[i]) ||
			!canonical_seek(canonical, scan, record.entity, record.external_id, &state))
			continue;
		record.row_version = state.row_version;
		batch_store_failure(feed, &record);
	}
	rows_scan_end(scan);
	canonical_close(canonical);
}

/* Cursors of several slots are locked from the first slot on, by every backend. */
void
undelivered_note(const char *target, const BatchFailure *failures, int n)
{
	int			slots = 1;

	for (int slot = 0; slot < slots; slot++)
	{
		const Consumer any_number = {slot, 0};
		Feed	   *feed = feed_open(target, any_number, true);

		feed_lock(feed);
		note_of_slot(feed, failures, n);
		slots = feed->consumer.count;
		feed_close(feed);
	}
}
