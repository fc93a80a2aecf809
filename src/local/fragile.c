/*
 * fragile.c
 *	  Rows whose values can't all be brought to the hub.
 *
 * A column of type json takes what jsonb, in which the hub keeps its records, does not:
 * a zero character, half of a surrogate pair, a number that no numeric holds, or
 * nesting that is deeper.  The application's edit must not fail because of that: it
 * stands, and the row is a capture failure, until all of it could be sent.  Few rows
 * look as if they could be of that kind; only these are dealt with in a subtransaction.
 */
#include "postgres.h"

#include <ctype.h>

#include "fmgr.h"
#include "utils/timestamp.h"

#include "local/fragile.h"
#include "local/item_batch.h"
#include "storage/capture_failure.h"

/* What no number within numeric's limits needs in a row, and no document of ours. */
#define MAX_DIGITS		1000
#define MAX_NESTING		500
/* jsonb's limits are beyond this, in bytes. */
#define MAX_LENGTH		(100 * 1024 * 1024)

/* Can a number end in this exponent and fit? */
static bool
is_large_exponent(const char *c, const char *end)
{
	int			digits = 0;

	if (c < end && (*c == '+' || *c == '-'))
		c++;
	for (; c < end && isdigit((unsigned char) *c); c++)
		digits++;
	return digits > 3;
}

/* May jsonb refuse this text, that json has taken?  If in doubt, yes. */
static bool
suspects_text(const char *c, Size len)
{
	const char *end = c + len;
	int			digits = 0;
	int			nesting = 0;

	if (len > MAX_LENGTH)
		return true;
	for (; c < end; c++)
	{
		if (*c == '\\' && c + 1 < end && c[1] == 'u')
			return true;
		if ((*c == 'e' || *c == 'E') && digits > 0 && is_large_exponent(c + 1, end))
			return true;
		digits = isdigit((unsigned char) *c) ? digits + 1 : *c == '.' && digits > 0 ? digits : 0;
		nesting += (*c == '[' || *c == '{') - (*c == ']' || *c == '}');
		if (digits > MAX_DIGITS || nesting > MAX_NESTING)
			return true;
	}
	return false;
}

bool
fragile_suspects_value(const AttachedColumn *column, Datum value)
{
	text	   *json;

	if (!value_is_fragile(column->value))
		return false;
	if (!value_is_json_text(column->value))
		return true;
	json = DatumGetTextPP(value);
	return suspects_text(VARDATA_ANY(json), VARSIZE_ANY_EXHDR(json));
}

bool
fragile_suspects(const Attached *attached, AttachedRow row)
{
	if (!attached->fragile)
		return false;
	for (int i = 0; i < attached->ncolumns; i++)
	{
		bool		isnull;
		Datum		value = attached_value(&attached->columns[i], row, &isnull);

		if (!isnull && fragile_suspects_value(&attached->columns[i], value))
			return true;
	}
	return false;
}

bool
fragile_is_about_value(const ErrorData *error)
{
	switch (ERRCODE_TO_CATEGORY(error->sqlerrcode))
	{
		case ERRCODE_DATA_EXCEPTION:
		case ERRCODE_PROGRAM_LIMIT_EXCEEDED:
			return true;
		default:
			return false;
	}
}

void
fragile_keep(const Attached *attached, const char *external_id, const ErrorData *error)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);
	TimestampTz now = GetCurrentTimestamp();
	CaptureFailure failure = {
		.relation = attached->binding->relation,
		.external_id = external_id,
		.since = now,
	};

	(void) capture_failure_find(failures, failure.relation, external_id, &failure);
	failure.tried_at = now;
	failure.attempt.attempts++;
	attempt_recall(&failure.attempt, now);
	attempt_kill(&failure.attempt, now);
	failure.attempt.error = batch_item_describe_error(error);
	capture_failure_save(failures, &failure);
	mapped_close(failures);
}

bool
fragile_owes(const Attached *attached, const char *external_id)
{
	return attached->fragile && capture_failure_owed(attached->binding->relation, external_id);
}

void
fragile_settle(const Attached *attached, const char *external_id)
{
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);

	(void) capture_failure_remove(failures, attached->binding->relation, external_id);
	mapped_close(failures);
}
