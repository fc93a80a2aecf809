/*
 * row_failures.c
 *	  What a load or a poll could not do, kept until it is done.
 *
 * The WARNINGs of a load are seen by its caller alone, once.  So what failed is a row of
 * syncext.pending or syncext.capture_failure, too: it is tried again where something
 * comes by, sync_check() tells of it, and sync_redrive() or the next load mends it.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "hub/undelivered.h"
#include "local/row_failures.h"
#include "storage/registry.h"

void
row_failure_note(CaptureFailures *failures, const Binding *binding, const char *external_id,
				 const char *error, bool busy)
{
	TimestampTz now = GetCurrentTimestamp();
	CaptureFailure failure = {
		.relation = binding->relation,
		.external_id = external_id,
		.since = now,
		.attempt.next_attempt = now,
	};

	(void) capture_failure_find(failures, binding->relation, external_id, &failure);
	failure.tried_at = now;
	failure.attempt.error = error;
	/* a poll comes back to the row, where it can be found by its key; nobody else does */
	if (binding->capture != CAPTURE_POLL || external_id[0] == '\0')
	{
		failure.attempt.attempts++;
		attempt_kill(&failure.attempt, now);
	}
	else if (!busy && failure.attempt.next_attempt <= now)
		attempt_failed(&failure.attempt, now,
					   registry_source_required(registry_get(), binding->source)->retry_cap);
	capture_failure_save(failures, &failure);
}

void
row_failures_settle(const Binding *binding, const BatchItem *items, int n)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);
	const bool	any = capture_failures_any(failures, binding->relation);

	for (int i = 0; i < n; i++)
	{
		const char *error = batch_item_error(&items[i]);

		if (error != NULL)
			row_failure_note(failures, binding, items[i].external_id, error, items[i].busy);
		else if (any)
			(void) capture_failure_remove(failures, binding->relation, items[i].external_id);
	}
	mapped_close(failures);
}

void
row_failures_of_keys(const Binding *binding, int64 n, const char *problem, const char *next)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);

	if (n == 0)
		(void) capture_failure_remove(failures, binding->relation, "");
	else
		row_failure_note(failures, binding, "",
						 psprintf("%s no usable key: %s%s",
								  n == 1 ? "a row has" : psprintf(INT64_FORMAT " rows have", n), problem, next),
						 false);
	mapped_close(failures);
}

void
row_failures_of_records(const char *source, const char *entity, const BatchItem *items, int n)
{
	BatchFailure *failures = palloc(sizeof(BatchFailure) * Max(n, 1));
	int			nfailed = 0;

	for (int i = 0; i < n; i++)
	{
		const char *error = batch_item_error(&items[i]);

		if (error != NULL)
			failures[nfailed++] = (BatchFailure)
		{
			.entity = entity,
			.external_id = items[i].external_id,
			.error = error,
			.busy = items[i].busy
		};
	}
	if (nfailed > 0)
		undelivered_note(source, failures, nfailed);
	pfree(failures);
}
