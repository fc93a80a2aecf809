/*
 * poll_rows.c
 *	  Bringing the rows that a poll has read, or is to try again, to the hub.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "local/job.h"
#include "local/poll_rows.h"
#include "local/polled.h"
#include "local/row_keys.h"
#include "model/rfc3339.h"
#include "process/owner.h"
#include "settings.h"

/* Rows of a batch take no more memory than this, however wide they are. */
#define MAX_BATCH_BYTES	(8 * 1024 * 1024)

/* A row on its way to the hub. */
typedef struct PollRow
{
	const char *external_id;
	MinimalTuple tuple;			/* NULL: it has to be read by its key */
	bool		is_new;			/* nothing was known of it */
} PollRow;

/* The rows of one batch, beside their BatchItems. */
typedef struct PollBatch
{
	Poll	   *poll;
	BatchItem  *items;
	PollRow    *rows;
	int			n;
	bool		has_updated;
	TimestampTz updated;		/* the highest among them */
} PollBatch;

/*
 * Take one row.  If it was delivered to or taken since it was read, what was read
 * may be older than what is remembered: read it again, and no other session comes
 * between now.  A row that is gone is left to the full compare.
 */
static int
take_row(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	PollBatch  *batch = arg;
	PollRow    *source = item->data;
	ReplicaRow	replica;
	PolledEdit	edit;
	AttachedRow row;
	bool		read_again = source->tuple == NULL;

	replica_find(writer->replica, item->relation, item->external_id, &replica);
	source->is_new = !replica.exists;
	writer->polls = writer->loads = true;
	writer->streak = source->is_new ? writer->streak + 1 : 0;
	if (!read_again)
	{
		row = poll_scan_row(batch->poll->scan, attached, source->tuple);
		if (!polled_compare(attached, true, row, &replica, &edit))
			return POLLED_SKIPPED;
		read_again = replica.exists &&
			!TransactionIdPrecedes(replica.written_by, poll_scan_horizon(batch->poll->scan));
	}
	if (read_again)
	{
		if (!polled_read(attached, item->external_id, &row))
			return POLLED_SKIPPED;
		if (!polled_compare(attached, true, row, &replica, &edit))
			return POLLED_SKIPPED;
	}
	return polled_send(writer, attached, item->external_id, row, &edit, &replica);
}

static int
compare_rows(const void *a, const void *b)
{
	return strcmp(((const PollRow *) a)->external_id, ((const PollRow *) b)->external_id);
}

/*
 * Make items of the rows, in the order of their ids, as others lock records in.
 * What failed before is read again, as it is now, but once a poll; of several
 * rows with one key none is taken.
 */
static void
make_items(Poll *poll, PollBatch *batch, const Attached *attached)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);
	int			n = 0;

	qsort(batch->rows, batch->n, sizeof(PollRow), compare_rows);
	batch->items = palloc0(sizeof(BatchItem) * Max(batch->n, 1));
	for (int i = 0, next; i < batch->n; i = next)
	{
		PollRow    *row = &batch->rows[i];
		CaptureFailure failure;

		for (next = i + 1; next < batch->n && compare_rows(row, &batch->rows[next]) == 0;)
			next++;
		if (next > i + 1)
		{
			poll_note_twice(poll, failures, row->external_id);
			continue;
		}
		if (poll->has_failures &&
			capture_failure_find(failures, poll->relation, row->external_id, &failure))
		{
			row->tuple = NULL;
			if (failure.tried_at >= poll->begin)
				continue;
		}
		batch_item_init(&batch->items[n], attached->binding, false, row->external_id);
		row->is_new = false;
		batch->rows[n] = *row;
		batch->items[n].data = &batch->rows[n];
		n++;
	}
	batch->n = n;
	mapped_close(failures);
}

/* Note how many rows are new, but for those that the first poll of all finds. */
static void
note_new_rows(const Poll *poll, const PollBatch *batch)
{
	int			n = 0;

	for (int i = 0; i < batch->n; i++)
		n += batch->rows[i].is_new && batch_item_error(&batch->items[i]) == NULL;
	if (n == 0)
		return;
	owner_execute("UPDATE syncext.poll_state SET new_rows = new_rows + %d "
				  "WHERE relation = %u AND polled_at IS NOT NULL", n, poll->relation);
}

static void
work_batch(Poll *poll, PollBatch *batch, const Attached *attached)
{
	make_items(poll, batch, attached);
	item_batch_run(batch->items, batch->n, take_row, batch);
	poll_settle(poll, batch->items, batch->n);
	note_new_rows(poll, batch);
}

/* ---------- from the scan ---------- */

static void
note_updated(PollBatch *batch, const Attached *attached, AttachedRow row)
{
	bool		isnull;
	TimestampTz updated;

	if (attached->updated == NULL)
		return;
	updated = DatumGetTimestampTz(attached_value(attached->updated, row, &isnull));
	if (isnull || !rfc3339_can_be(updated))
		return;
	if (!batch->has_updated || updated > batch->updated)
		batch->updated = updated;
	batch->has_updated = true;
}

/* Add a tuple of the scan; one without a usable key is only counted. */
static void
add_row(Poll *poll, PollBatch *batch, MinimalTuple tuple)
{
	const Attached *attached = attached_required(poll->relation, AccessShareLock);
	AttachedRow row = poll_scan_row(poll->scan, attached, tuple);
	const char *problem;
	char	   *key = attached_try_external_id(attached, row, &problem);

	poll->nread++;
	note_updated(batch, attached, row);
	if (key != NULL)
	{
		/* no other session polls the relation or delivers to it meanwhile */
		const char *external_id = row_keys_of_row(attached, row, key, NULL);

		if (external_id == NULL)
			return;
		batch->rows[batch->n].external_id = external_id;
		batch->rows[batch->n++].tuple = poll->window.keys_only ? NULL : tuple;
	}
	else if (poll->nunusable++ == 0)
		poll->unusable = MemoryContextStrdup(poll->context, problem);
}

static void
read_rows(Poll *poll, PollBatch *batch)
{
	Size		bytes = 0;
	MinimalTuple tuple;

	batch->rows = palloc(sizeof(PollRow) * setting_poll_batch);
	while (batch->n < setting_poll_batch && bytes < MAX_BATCH_BYTES)
	{
		tuple = poll_scan_next(poll->scan);
		if (tuple == NULL)
		{
			poll->scan_ended = true;
			break;
		}
		bytes += tuple->t_len;
		add_row(poll, batch, tuple);
	}
}

/*
 * Move the watermark up to the last row, but not beyond the poll's beginning: a
 * row from the future must not keep others from being seen.
 */
static void
move_watermark(Poll *poll, const PollBatch *batch)
{
	TimestampTz reached = Min(batch->updated, poll->begin);

	if (!batch->has_updated || (poll->has_watermark && reached <= poll->watermark))
		return;
	owner_execute("INSERT INTO syncext.poll_state (relation, watermark) VALUES (%u, %s) "
				  "ON CONFLICT (relation) DO UPDATE SET watermark = excluded.watermark",
				  poll->relation, quote_literal_cstr(rfc3339_format(reached)));
	poll->watermark = reached;
	poll->has_watermark = true;
}

void
poll_apply_batch(Poll *poll)
{
	PollBatch	batch = {.poll = poll};
	const Attached *attached = poll_lock(poll);

	MemoryContextSwitchTo(poll->batch);
	read_rows(poll, &batch);
	work_batch(poll, &batch, attached);
	move_watermark(poll, &batch);
	job_progress(poll->run, poll->nread - poll->nretried);
}

/* ---------- from capture_failure ---------- */

void
poll_retry_batch(Poll *poll)
{
	PollBatch	batch = {.poll = poll};
	const Attached *attached = poll_lock(poll);
	CaptureFailures *failures;
	List	   *due;

	MemoryContextSwitchTo(poll->batch);
	failures = mapped_open(&capture_failure_def, false);
	poll->has_failures = capture_failures_any(failures, poll->relation);
	/* behind '': rows without a key can't be found again */
	due = capture_failures_of(failures, poll->relation,
							  poll->retried == NULL ? "" : poll->retried,
							  poll->begin, setting_poll_batch);
	mapped_close(failures);
	batch.rows = palloc0(sizeof(PollRow) * Max(list_length(due), 1));
	foreach_ptr(CaptureFailure, failure, due)
	{
		batch.rows[batch.n++].external_id = failure->external_id;
		poll->retried = MemoryContextStrdup(poll->context, failure->external_id);
	}
	poll->nread += batch.n;
	poll->nretried += batch.n;
	poll->retries_ended = list_length(due) < setting_poll_batch;
	work_batch(poll, &batch, attached);
}
