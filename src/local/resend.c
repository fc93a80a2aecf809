/*
 * resend.c
 *	  sync_redrive: failed deliveries, parked changes and rows that could not be brought
 *	  to the hub are tried again.
 *
 * Called from SQL.  The first two are due then, and so are rows that a poll or a link's
 * exchange reads again.  Nobody comes back to a row whose edit a trigger sends, or a
 * load: it is sent here, as it is now.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/redrive.h"
#include "local/load_row.h"
#include "local/row_failures.h"
#include "storage/alias.h"
#include "storage/binding.h"
#include "storage/link.h"
#include "storage/registry.h"

PG_FUNCTION_INFO_V1(sync_redrive);

/* Rows of a relation that one call sends; the others wait for the next one. */
#define RESEND_MAX	1000

/* What keeps the row from being sent; NULL: nothing. */
static const char *
why_not_sent(const Binding *binding, const BatchItem *item)
{
	const char *kept = !binding->own_keys || item->outcome != LOAD_GONE ? NULL :
		alias_kept(item->entity, item->external_id);

	if (batch_item_error(item) != NULL || kept == NULL)
		return batch_item_error(item);
	return psprintf("it is a second row of record \"%s\" since a merge: what it has that the record lacks is not sent by itself",
					kept);
}

/* A row that fails as before is given up again, with what is wrong with it now. */
static void
settle(CaptureFailures *failures, const Binding *binding, const BatchItem *item)
{
	const char *why = why_not_sent(binding, item);
	CaptureFailure failure;

	if (item->busy)
		return;
	if (why == NULL)
		(void) capture_failure_remove(failures, item->relation, item->external_id);
	else if (capture_failure_find(failures, item->relation, item->external_id, &failure))
		row_failure_note(failures, binding, item->external_id, why, false);
}

/* Rows without a usable key can't be found: a load, which reads all, sees to them. */
static void
keep_keyless(CaptureFailures *failures, CaptureFailure *failure)
{
	attempt_kill(&failure->attempt, GetCurrentTimestamp());
	capture_failure_save(failures, failure);
}

static void
resend_relation(const Binding *binding)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);
	List	   *due = capture_failures_of(failures, binding->relation, NULL, GetCurrentTimestamp(),
										  RESEND_MAX);
	BatchItem  *items = palloc0(sizeof(BatchItem) * Max(list_length(due), 1));
	LoadRows	rows = {
		.winner = WINNER_LADDER,
		.context = CurrentMemoryContext,
		.details = load_details_make()
	};
	int			n = 0;

	foreach_ptr(CaptureFailure, failure, due)
	{
		if (failure->external_id[0] != '\0')
			batch_item_init(&items[n++], binding, false, failure->external_id);
		else
			keep_keyless(failures, failure);
	}
	load_rows_begin(&rows, items, n);
	item_batch_run(items, n, load_row, &rows);
	for (int i = 0; i < n; i++)
		settle(failures, binding, &items[i]);
	mapped_close(failures);
}

Datum
sync_redrive(PG_FUNCTION_ARGS)
{
	int64		redriven = redrive_failed(fcinfo);
	char	   *source = text_to_cstring(PG_GETARG_TEXT_PP(0));

	if (link_of_source(source) == NULL)
		foreach_ptr(const Binding, binding, binding_list(source, NULL))
		{
			if (binding->in && binding->capture != CAPTURE_POLL && binding_stands(binding))
				resend_relation(binding);
		}
	PG_RETURN_INT64(redriven);
}
