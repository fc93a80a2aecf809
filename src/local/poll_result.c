/*
 * poll_result.c
 *	  What sync_poll answers.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "local/poll_result.h"
#include "model/json.h"
#include "model/rfc3339.h"

static void
push_count(JsonbParseState **state, const Poll *poll, const char *key, PolledOutcome outcome)
{
	json_push_number(state, key, poll->count[outcome]);
}

Jsonb *
poll_result(const Poll *poll)
{
	JsonbParseState *state = json_begin_object();
	JsonbValue	null = {.type = jbvNull};

	json_push_number(&state, "read", poll->nread);
	push_count(&state, poll, "new", POLLED_NEW);
	push_count(&state, poll, "updated", POLLED_UPDATED);
	push_count(&state, poll, "merged", POLLED_MERGED);
	push_count(&state, poll, "skipped", POLLED_SKIPPED);
	push_count(&state, poll, "conflicts", POLLED_CONFLICT);
	push_count(&state, poll, "waiting", POLLED_WAITING);
	push_count(&state, poll, "deleted", POLLED_DELETED);
	if (poll->count[POLLED_NOT_SHOWN] > 0)
		push_count(&state, poll, "not_shown", POLLED_NOT_SHOWN);
	json_push_number(&state, "failed", poll->nfailed);
	json_push_seconds(&state, "seconds", GetCurrentTimestamp() - poll->begin);
	if (poll->has_watermark)
		json_push_string(&state, "watermark", rfc3339_format(poll->watermark));
	else
	{
		json_push_key(&state, "watermark");
		pushJsonbValue(&state, WJB_VALUE, &null);
	}
	return json_end_object(&state);
}
