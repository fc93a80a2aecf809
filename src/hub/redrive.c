/*
 * redrive.c
 *	  What an administrator does with failed deliveries, parked changes and rows
 *	  that were not captured of a source: try again, or give up.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "hub/batch.h"
#include "hub/parked.h"
#include "hub/redrive.h"
#include "hub/uncaptured.h"
#include "model/json.h"
#include "storage/canonical.h"
#include "storage/change_log.h"

PG_FUNCTION_INFO_V1(sync_discard);

static char *
optional_text(FunctionCallInfo fcinfo, int argument)
{
	return PG_ARGISNULL(argument) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(argument));
}

static char *
source_argument(FunctionCallInfo fcinfo)
{
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("source must not be null")));
	return text_to_cstring(PG_GETARG_TEXT_PP(0));
}

/*
 * The time by which those that are asked for were dead letters, of the argument
 * older_than; DT_NOEND: they need not be dead at all.
 */
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

/*
 * Open a slot of the source's feed with its cursor held; the pending rows asked
 * for.  Slots are taken from the first on, which is how whoever needs more than
 * one locks them; feed->slot.of says how many there are.
 */
static Feed *
open_pending(FunctionCallInfo fcinfo, int slot, TimestampTz dead_by, List **rows)
{
	const Slot	any_number = {slot, 0};
	Feed	   *feed = feed_open(source_argument(fcinfo), any_number, true);
	ListCell   *lc;

	feed_lock(feed);
	*rows = pending_matching(feed->pending, feed->slot, optional_text(fcinfo, 1),
							 optional_text(fcinfo, 2));
	foreach(lc, *rows)
	{
		const Pending *p = lfirst(lc);

		if (!TIMESTAMP_IS_NOEND(dead_by) && !(p->dead && p->dead_since <= dead_by))
			*rows = foreach_delete_current(*rows, lc);
	}
	return feed;
}

/* Make a slot's rows due; returns how many, and how many slots there are. */
static int
redrive_slot(FunctionCallInfo fcinfo, int slot, TimestampTz dead_by, int *slots)
{
	List	   *rows;
	Feed	   *feed = open_pending(fcinfo, slot, dead_by, &rows);
	ListCell   *lc;

	foreach(lc, rows)
	{
		Pending    *p = lfirst(lc);

		p->dead = false;
		p->attempts = 0;
		p->next_attempt = feed->now;
		pending_save(feed->pending, p);
	}
	*slots = feed->slot.of;
	feed_close(feed);
	return list_length(rows);
}

int64
redrive_failed(FunctionCallInfo fcinfo)
{
	TimestampTz dead_by = dead_by_argument(fcinfo);
	int64		redriven = 0;
	int			slots = 1;

	for (int slot = 0; slot < slots; slot++)
		redriven += redrive_slot(fcinfo, slot, dead_by, &slots);
	redriven += parked_redrive(source_argument(fcinfo), optional_text(fcinfo, 1),
							   optional_text(fcinfo, 2), dead_by);
	redriven += uncaptured_redrive(source_argument(fcinfo), optional_text(fcinfo, 1),
								   optional_text(fcinfo, 2), dead_by);
	return redriven;
}

/* Leave a trace of the delivery that was given up in the change log. */
static void
log_discard(ChangeLog *log, int64 version, const Feed *feed, const Pending *p)
{
	JsonbParseState *state = NULL;
	Fields		none = {0, NULL};
	LogEntry	entry = {
		.entity = p->entity,
		.external_id = p->external_id,
		.source = feed->target->name,
		.version = version,
		.row_version = p->row_version,
		.resolution = RESOLUTION_DISMISSED,
		.told = TOLD_NONE,
		.fields = fields_to_jsonb(&none)
	};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(&state, "discarded", "delivery");
	json_push_string(&state, "by", GetUserNameFromId(GetUserId(), false));
	json_push_number(&state, "attempts", p->attempts);
	if (p->error != NULL)
		json_push_string(&state, "error", p->error);
	entry.detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	change_log_append(log, &entry);
}

/*
 * Drop a slot's rows, but what is in a batch that is out.  Returns how many, and
 * how many slots there are.
 */
static int64
discard_slot(FunctionCallInfo fcinfo, int slot, TimestampTz dead_by, ChangeLog *log, int *slots)
{
	List	   *rows;
	Feed	   *feed = open_pending(fcinfo, slot, dead_by, &rows);
	Canonical  *canonical = canonical_open(false);
	RowsScan   *scan = canonical_seek_begin(canonical);
	int64		discarded = 0;
	int64		out = 0;
	ListCell   *lc;

	foreach(lc, rows)
	{
		Pending    *p = lfirst(lc);
		CanonicalState record = {0};

		if (batch_is_leased(feed) && p->batch == feed->cursor.batch)
		{
			out++;
			continue;
		}
		pending_delete(feed->pending, p->entity, p->external_id);
		(void) canonical_seek(canonical, scan, p->entity, p->external_id, &record);
		log_discard(log, record.version, feed, p);
		discarded++;
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
	*slots = feed->slot.of;
	feed_close(feed);
	return discarded;
}

/*
 * Drop retries and dead letters: the target doesn't get these records until
 * they change again.  What is in a batch that is out stays, for its consumer
 * may take it yet.
 */
Datum
sync_discard(PG_FUNCTION_ARGS)
{
	TimestampTz dead_by = dead_by_argument(fcinfo);
	ChangeLog  *log = change_log_open(registry_get()->current_log);
	int64		discarded = 0;
	int			slots = 1;

	for (int slot = 0; slot < slots; slot++)
		discarded += discard_slot(fcinfo, slot, dead_by, log, &slots);
	discarded += parked_discard(source_argument(fcinfo), optional_text(fcinfo, 1),
								optional_text(fcinfo, 2), dead_by, log);
	discarded += uncaptured_discard(source_argument(fcinfo), optional_text(fcinfo, 1),
									optional_text(fcinfo, 2), dead_by, log);
	change_log_close(log);
	PG_RETURN_INT64(discarded);
}
