/*
 * parked.c
 *	  What an administrator does with parked changes: try again, or give up.
 *
 * Called by hub/redrive, which does the same with failed deliveries.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "hub/parked.h"
#include "model/json.h"
#include "storage/waiting.h"

static bool
is_dead(const WaitingChange *w)
{
	return TIMESTAMP_IS_NOEND(w->next_attempt);
}

static bool
is_dead_by(const WaitingChange *w, TimestampTz dead_by)
{
	return TIMESTAMP_IS_NOEND(dead_by) || (is_dead(w) && w->dead_since <= dead_by);
}

/* The next pull or maintenance looks for their parents, and begins to count anew. */
int64
parked_redrive(const char *source, const char *entity, const char *external_id,
			   TimestampTz dead_by)
{
	Waiting    *waiting = waiting_open(true);
	TimestampTz now = GetCurrentTimestamp();
	int64		redriven = 0;
	ListCell   *lc;

	foreach(lc, waiting_of_source(waiting, source, entity, external_id))
	{
		WaitingChange *w = lfirst(lc);

		if (!is_dead_by(w, dead_by))
			continue;
		w->attempts = 0;
		w->parked_at = now;
		w->next_attempt = now;
		redriven += waiting_update(waiting, w);
	}
	waiting_close(waiting);
	return redriven;
}

/* Leave a trace of the change that was given up in the change log. */
static void
log_discard(ChangeLog *log, const WaitingChange *w)
{
	JsonbParseState *state = NULL;
	Fields		none = {0, NULL};
	LogEntry	entry = {
		.entity = w->entity,
		.external_id = w->external_id,
		.source = w->source,
		.resolution = RESOLUTION_DISMISSED,
		.told = TOLD_NONE,
		.fields = fields_to_jsonb(&none)
	};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(&state, "discarded", "parked change");
	json_push_string(&state, "by", GetUserNameFromId(GetUserId(), false));
	json_push_number(&state, "attempts", w->attempts);
	if (w->error != NULL)
		json_push_string(&state, "error", w->error);
	json_push_jsonb(&state, "change", w->change);
	entry.detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	change_log_append(log, &entry);
}

/* Those that wait in good health are given up only where the record is named. */
int64
parked_discard(const char *source, const char *entity, const char *external_id,
			   TimestampTz dead_by, ChangeLog *log)
{
	Waiting    *waiting = waiting_open(true);
	int64		discarded = 0;
	ListCell   *lc;

	foreach(lc, waiting_of_source(waiting, source, entity, external_id))
	{
		WaitingChange *w = lfirst(lc);

		if ((external_id == NULL && !is_dead(w)) || !is_dead_by(w, dead_by) ||
			!waiting_take(waiting, w->id))
			continue;
		log_discard(log, w);
		discarded++;
	}
	waiting_close(waiting);
	return discarded;
}
