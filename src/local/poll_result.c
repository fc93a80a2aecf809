/*
 * poll_result.c
 *	  What sync_poll answers.
 *
 * Called by poll.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "local/poll.h"
#include "model/json.h"
#include "model/rfc3339.h"

static void
push_count(JsonbParseState **state, const Poll *poll, const char *key, PolledOutcome outcome)
{
	json_push_number(state, key, poll->count[outcome]);
}

static void
push_seconds(JsonbParseState **state, TimestampTz begin)
{
	double		seconds = (GetCurrentTimestamp() - begin) / 1000000.0;
	JsonbValue	value = {.type = jbvNumeric};

	value.val.numeric =
		DatumGetNumeric(DirectFunctionCall3(numeric_in,
											CStringGetDatum(psprintf("%.3f", seconds)),
											ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	json_push_key(state, "seconds");
	pushJsonbValue(state, WJB_VALUE, &value);
}

Jsonb *
poll_result(const Poll *poll)
{
	JsonbParseState *state = NULL;
	JsonbValue	null = {.type = jbvNull};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_number(&state, "read", poll->nread);
	push_count(&state, poll, "new", POLLED_NEW);
	push_count(&state, poll, "updated", POLLED_UPDATED);
	push_count(&state, poll, "merged", POLLED_MERGED);
	push_count(&state, poll, "skipped", POLLED_SKIPPED);
	push_count(&state, poll, "conflicts", POLLED_CONFLICT);
	push_count(&state, poll, "waiting", POLLED_WAITING);
	push_count(&state, poll, "deleted", POLLED_DELETED);
	json_push_number(&state, "failed", poll->nfailed);
	push_seconds(&state, poll->begin);
	if (poll->has_watermark)
		json_push_string(&state, "watermark", rfc3339_format(poll->watermark));
	else
	{
		json_push_key(&state, "watermark");
		pushJsonbValue(&state, WJB_VALUE, &null);
	}
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
