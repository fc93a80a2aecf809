/*
 * uncaptured.c
 *	  What an administrator does with rows that could not be brought to the hub: try
 *	  again, or give up.
 *
 * Called by hub/redrive, which does the same with failed deliveries.  The rows
 * themselves are where they were: who reads the relation next finds them.
 */
#include "postgres.h"

#include <limits.h>

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "hub/uncaptured.h"
#include "model/json.h"
#include "storage/binding.h"
#include "storage/capture_failure.h"

/* The failures asked for of one relation. */
static List *
matching(CaptureFailures *failures, Oid relation, const char *external_id, TimestampTz dead_by)
{
	CaptureFailure *failure;
	List	   *list;
	ListCell   *lc;

	if (external_id != NULL)
	{
		failure = palloc(sizeof(CaptureFailure));
		list = capture_failure_find(failures, relation, external_id, failure) ?
			list_make1(failure) : NIL;
	}
	else
		list = capture_failures_of(failures, relation, NULL, DT_NOEND, INT_MAX);
	if (TIMESTAMP_IS_NOEND(dead_by))
		return list;
	foreach(lc, list)
	{
		failure = lfirst(lc);
		if (!failure->dead || failure->dead_since > dead_by)
			list = foreach_delete_current(list, lc);
	}
	return list;
}

/* Have the next poll try them again, as if they had never failed. */
int64
uncaptured_redrive(const char *source, const char *entity, const char *external_id,
				   TimestampTz dead_by)
{
	CaptureFailures *failures = capture_failures_open(true);
	int64		redriven = 0;
	ListCell   *binding_cell;
	ListCell   *lc;

	foreach(binding_cell, binding_list(source, NULL))
	{
		const Binding *binding = lfirst(binding_cell);

		if (entity != NULL && strcmp(entity, binding->entity) != 0)
			continue;
		foreach(lc, matching(failures, binding->relation, external_id, dead_by))
		{
			CaptureFailure *failure = lfirst(lc);

			failure->dead = false;
			failure->attempts = 0;
			failure->next_attempt = GetCurrentTimestamp();
			capture_failure_save(failures, failure);
			redriven++;
		}
	}
	capture_failures_close(failures);
	return redriven;
}

/* Leave a trace of the edit that was given up in the change log. */
static void
log_discard(ChangeLog *log, const Binding *binding, const CaptureFailure *failure)
{
	JsonbParseState *state = NULL;
	Fields		none = {0, NULL};
	LogEntry	entry = {
		.entity = binding->entity,
		.external_id = failure->external_id,
		.source = binding->source,
		.resolution = RESOLUTION_DISMISSED,
		.told = TOLD_NONE,
		.fields = fields_to_jsonb(&none)
	};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_string(&state, "discarded", "edit");
	json_push_string(&state, "by", GetUserNameFromId(GetUserId(), false));
	json_push_number(&state, "attempts", failure->attempts);
	if (failure->error != NULL)
		json_push_string(&state, "error", failure->error);
	entry.detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	change_log_append(log, &entry);
}

/* Forget them until a poll reads the rows again, as a full compare does. */
int64
uncaptured_discard(const char *source, const char *entity, const char *external_id,
				   TimestampTz dead_by, ChangeLog *log)
{
	CaptureFailures *failures = capture_failures_open(true);
	int64		discarded = 0;
	ListCell   *binding_cell;
	ListCell   *lc;

	foreach(binding_cell, binding_list(source, NULL))
	{
		const Binding *binding = lfirst(binding_cell);

		if (entity != NULL && strcmp(entity, binding->entity) != 0)
			continue;
		foreach(lc, matching(failures, binding->relation, external_id, dead_by))
		{
			const CaptureFailure *failure = lfirst(lc);

			if (!capture_failure_remove(failures, binding->relation, failure->external_id))
				continue;
			log_discard(log, binding, failure);
			discarded++;
		}
	}
	capture_failures_close(failures);
	return discarded;
}
