/*
 * redrive.c
 *	  What an administrator does with what failed: try it again, or give it up.
 *
 * That is failed deliveries to a source (syncext.pending), its parked changes
 * (syncext.waiting), and rows of its attached relations that could not be brought to
 * the hub (syncext.capture_failure).
 */
#include "postgres.h"

#include <limits.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/batch.h"
#include "hub/redrive.h"
#include "model/json.h"
#include "model/json_read.h"
#include "process/args.h"
#include "process/owner.h"
#include "process/stat.h"
#include "process/wake.h"
#include "storage/binding.h"
#include "storage/canonical.h"
#include "storage/capture_failure.h"
#include "storage/change_log.h"
#include "storage/parked_change.h"

PG_FUNCTION_INFO_V1(sync_discard);

/* The arguments of sync_redrive and sync_discard. */
typedef struct Asked
{
	const char *source;
	const char *entity;			/* NULL: any */
	const char *external_id;	/* NULL: any */
	TimestampTz dead_by;		/* dead letters of that time; DT_NOEND: all that failed */
	ChangeLog  *log;			/* where to note what is given up; NULL: it is tried again */
} Asked;

/* ---------- what is asked for ---------- */

static TimestampTz
dead_by_argument(FunctionCallInfo fcinfo)
{
	static const Interval zero = {0};
	Datum		older_than;

	if (PG_ARGISNULL(3))
		return DT_NOEND;
	older_than = PG_GETARG_DATUM(3);
	if (DatumGetBool(DirectFunctionCall2(interval_lt, older_than, IntervalPGetDatum(&zero))))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("older_than must not be negative"),
				 errhint("It is how long they have been dead letters, as '7 days'; '0' means every dead letter.")));
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_mi_interval,
												   TimestampTzGetDatum(GetCurrentTimestamp()),
												   older_than));
}

static Asked
read_arguments(FunctionCallInfo fcinfo)
{
	Asked		asked = {.dead_by = dead_by_argument(fcinfo)};

	asked.source = arg_text(fcinfo, 0, "source");
	asked.entity = arg_text_or_null(fcinfo, 1);
	asked.external_id = arg_text_or_null(fcinfo, 2);
	return asked;
}

/* ---------- a trace in the change log ---------- */

/* Note in the entry's detail what is given up, and append it. */
static void
log_discard(const Asked *asked, LogEntry *entry, const char *what, const Attempt *attempt,
			Jsonb *change)
{
	JsonbParseState *state = json_begin_object();
	Fields		none = {0, NULL};

	entry->source = asked->source;
	entry->resolution = RESOLUTION_DISMISSED;
	entry->audience = AUDIENCE_NONE;
	entry->fields = fields_to_jsonb(&none);
	json_push_string(&state, "discarded", what);
	json_push_string(&state, "by", GetUserNameFromId(GetUserId(), false));
	json_push_number(&state, "attempts", attempt->attempts);
	if (attempt->error != NULL)
		json_push_string(&state, "error", attempt->error);
	if (change != NULL)
		json_push_jsonb(&state, "change", change);
	entry->detail = json_end_object(&state);
	change_log_append(asked->log, entry);
}

/* ---------- deliveries ---------- */

static void
discard_delivery(const Asked *asked, Feed *feed, const Pending *pending, int64 version)
{
	LogEntry	entry = {
		.entity = pending->entity,
		.external_id = pending->external_id,
		.version = version,
		.row_version = pending->row_version
	};

	pending_delete(feed->pending, pending->entity, pending->external_id);
	log_discard(asked, &entry, "delivery", &pending->attempt, NULL);
}

/* What is in a batch that is out stays: its consumer may still take it. */
static int64
discard_deliveries(const Asked *asked, Feed *feed, const List *rows)
{
	Canonical  *canonical = canonical_open(false);
	RowsScan   *scan = canonical_seek_begin(canonical);
	int64		out = 0;

	foreach_ptr(const Pending, pending, rows)
	{
		CanonicalState record = {0};

		if (batch_is_leased(feed) && pending->batch == feed->cursor.batch)
		{
			out++;
			continue;
		}
		(void) canonical_seek(canonical, scan, pending->entity, pending->external_id, &record);
		discard_delivery(asked, feed, pending, record.version);
	}
	rows_scan_end(scan);
	canonical_close(canonical);
	if (out > 0)
		ereport(NOTICE,
				(errmsg_plural(INT64_FORMAT " record is being delivered and was left",
							   INT64_FORMAT " records are being delivered and were left",
							   (unsigned long) out, out),
				 errhint("Discard again when batch " INT64_FORMAT " has been acknowledged.",
						 feed->cursor.batch)));
	return list_length(rows) - out;
}

static int64
redrive_deliveries(Feed *feed, const List *rows)
{
	foreach_ptr(Pending, pending, rows)
	{
		attempt_revive(&pending->attempt, feed->now);
		pending_save(feed->pending, pending);
	}
	stat_target(feed->target->name, STAT_REDRIVEN, list_length(rows));
	return list_length(rows);
}

/* One slot's; returns how many, and in *slots how many slots there are. */
static int64
treat_slot(const Asked *asked, int slot, int *slots)
{
	const Consumer any_number = {slot, 0};
	Feed	   *feed = feed_open(asked->source, any_number, true);
	List	   *rows;
	int64		treated;
	ListCell   *lc;

	feed_lock(feed);
	rows = pending_matching(feed->pending, feed->consumer, asked->entity, asked->external_id);
	foreach(lc, rows)
	{
		const Pending *pending = lfirst(lc);

		if (!attempt_is_dead_by(&pending->attempt, pending->since, asked->dead_by))
			rows = foreach_delete_current(rows, lc);
	}
	treated = asked->log != NULL ? discard_deliveries(asked, feed, rows) :
		redrive_deliveries(feed, rows);
	*slots = feed->consumer.count;
	feed_close(feed);
	return treated;
}

/* Cursors of several slots are locked from the first slot on, by every backend. */
static int64
treat_deliveries(const Asked *asked)
{
	int64		treated = 0;
	int			slots = 1;

	for (int slot = 0; slot < slots; slot++)
		treated += treat_slot(asked, slot, &slots);
	return treated;
}

/* ---------- parked changes ---------- */

static bool
discard_parked(const Asked *asked, ParkedChanges *waiting, const ParkedChange *parked)
{
	LogEntry	entry = {.entity = parked->entity, .external_id = parked->external_id};

	/* one that only waits for its parent is given up only where its record is named */
	if ((asked->external_id == NULL && !attempt_is_dead(&parked->attempt)) ||
		!parked_change_take(waiting, parked->id))
		return false;
	log_discard(asked, &entry, "parked change", &parked->attempt, parked->change);
	return true;
}

/* The next pull or maintenance looks for its parent, and begins to count anew. */
static bool
redrive_parked(ParkedChanges *waiting, ParkedChange *parked)
{
	parked->parked_at = GetCurrentTimestamp();
	attempt_revive(&parked->attempt, parked->parked_at);
	return parked_change_update(waiting, parked);
}

static int64
treat_parked(const Asked *asked)
{
	ParkedChanges *waiting = mapped_open(&parked_change_def, true);
	int64		treated = 0;

	foreach_ptr(ParkedChange, parked, parked_changes_of_source(waiting, asked->source, asked->entity, asked->external_id))
	{
		if (attempt_is_dead_by(&parked->attempt, parked->parked_at, asked->dead_by))
			treated += asked->log != NULL ? discard_parked(asked, waiting, parked) :
				redrive_parked(waiting, parked);
	}
	mapped_close(waiting);
	return treated;
}

/* ---------- rows that were not captured ---------- */

/* The rows themselves stay where they are: a poll of all of them, or an edit, finds them. */
static bool
discard_edit(const Asked *asked, const Binding *binding, CaptureFailures *failures,
			 const CaptureFailure *failure)
{
	LogEntry	entry = {.entity = binding->entity, .external_id = failure->external_id};

	if (!capture_failure_remove(failures, binding->relation, failure->external_id))
		return false;
	log_discard(asked, &entry, "edit", &failure->attempt, NULL);
	return true;
}

/* The next poll or exchange tries it, as if it had never failed. */
static bool
redrive_edit(CaptureFailures *failures, CaptureFailure *failure)
{
	attempt_revive(&failure->attempt, GetCurrentTimestamp());
	capture_failure_save(failures, failure);
	return true;
}

static int64
treat_edits_of(const Asked *asked, const Binding *binding, CaptureFailures *failures)
{
	CaptureFailure one;
	List	   *list = NIL;
	int64		treated = 0;

	if (asked->external_id == NULL)
		list = capture_failures_of(failures, binding->relation, NULL, DT_NOEND, INT_MAX);
	else if (capture_failure_find(failures, binding->relation, asked->external_id, &one))
		list = list_make1(&one);
	foreach_ptr(CaptureFailure, failure, list)
	{
		if (attempt_is_dead_by(&failure->attempt, failure->since, asked->dead_by))
			treated += asked->log != NULL ? discard_edit(asked, binding, failures, failure) :
				redrive_edit(failures, failure);
	}
	return treated;
}

static int64
treat_edits(const Asked *asked)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);
	int64		treated = 0;

	foreach_ptr(const Binding, binding, binding_list(asked->source, NULL))
	{
		if (asked->entity == NULL || strcmp(asked->entity, binding->entity) == 0)
			treated += treat_edits_of(asked, binding, failures);
	}
	mapped_close(failures);
	return treated;
}

/* ---------- edits that were not sent when a link was ended ---------- */

/* There is nothing to try again before the source is linked to that hub. */
static int64
discard_unsent(const Asked *asked)
{
	const Attempt none = {0};
	List	   *taken;

	taken = owner_texts("SELECT syncext.take_unsent(%s, %s, %s, %s)", quote_literal_cstr(asked->source),
						asked->entity == NULL ? "NULL" : quote_literal_cstr(asked->entity),
						asked->external_id == NULL ? "NULL" : quote_literal_cstr(asked->external_id),
						quote_literal_cstr(timestamptz_to_str(asked->dead_by)));
	foreach_ptr(char, pair, taken)
	{
		Jsonb	   *names = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(pair)));
		LogEntry	entry = {
			.entity = json_read_string(getIthJsonbValueFromContainer(&names->root, 0)),
			.external_id = json_read_string(getIthJsonbValueFromContainer(&names->root, 1))
		};

		log_discard(asked, &entry, "edit", &none, NULL);
	}
	return list_length(taken);
}

/* ---------- the calls ---------- */

static int64
treat_failed(const Asked *asked)
{
	int64		treated = treat_deliveries(asked);

	treated += treat_parked(asked);
	treated += treat_edits(asked);
	return asked->log == NULL ? treated : treated + discard_unsent(asked);
}

int64
redrive_failed(FunctionCallInfo fcinfo)
{
	const Asked asked = read_arguments(fcinfo);
	int64		redriven = treat_failed(&asked);

	if (redriven > 0)
		wake_note_feeds();
	return redriven;
}

Datum
sync_discard(PG_FUNCTION_ARGS)
{
	Asked		asked = read_arguments(fcinfo);
	int64		discarded;

	asked.log = change_log_open(registry_get()->current_log);
	discarded = treat_failed(&asked);
	change_log_close(asked.log);
	PG_RETURN_INT64(discarded);
}
