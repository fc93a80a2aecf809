/*
 * limits.c
 *	  What one change may make of a record, so that it stays one that everybody
 *	  can be sent, and change.
 *
 * Called by hub/apply and hub/documents.  A document has limits of its own; these
 * are of what many documents add up to, and of the version that decides whose
 * changes come after it.
 */
#include "postgres.h"

#include "errcodes.h"
#include "hub/limits.h"
#include "model/json_size.h"
#include "settings.h"

bool
limits_version(const Change *change, const Record *before, ChangeError *error)
{
	int64		present = before->exists ? before->version : 0;
	int64		step = (int64) setting_max_version_step;

	if (!change->has_version || setting_max_version_step <= 0 ||
		change->version <= present || change->version - present <= step)
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"All lower versions would be stale for ever. Send the next version, or raise syncext.max_version_step.",
						"version " INT64_FORMAT " is more than " INT64_FORMAT " above the record's " INT64_FORMAT,
						change->version, step, present);
}

/* As text: what others are sent, and what a dump has. */
static Size
record_bytes(const Record *record)
{
	Size		bytes = 0;

	for (int i = 0; i < record->nfields; i++)
		bytes += record->fields[i].field.name.len +
			json_value_bytes(&record->fields[i].field.value, JSON_PLAIN);
	return bytes;
}

bool
limits_record(const Change *change, const Record *before, const Decision *decision,
			  ChangeError *error)
{
	const Record *after = &decision->after;
	Size		bytes;

	if (decision->write == WRITE_NOTHING)
		return true;
	if (after->nfields > setting_max_record_fields && after->nfields > before->nfields)
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Raise syncext.max_record_fields, or nest the fields.",
							"the record would have %d fields, more than %d", after->nfields,
							setting_max_record_fields);
	bytes = record_bytes(after);
	if (bytes > (Size) setting_max_record * 1024 && bytes > record_bytes(before))
		return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
							"Raise syncext.max_record, or keep large values elsewhere.",
							"the record would have %zu bytes, more than %d kB", bytes,
							setting_max_record);
	return true;
}

static bool
is_deeper(JsonbContainer *container, int levels)
{
	JsonbIterator *it = JsonbIteratorInit(container);
	JsonbIteratorToken token;
	JsonbValue	v;

	if (levels == 0)
		return true;
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
	{
		if ((token == WJB_ELEM || token == WJB_VALUE) && v.type == jbvBinary &&
			is_deeper(v.val.binary.data, levels - 1))
			return true;
	}
	return false;
}

bool
limits_depth(JsonbContainer *document, Size bytes, ChangeError *error)
{
	/* each level takes its container's header and an entry: most need no look */
	if (bytes < setting_max_depth * (sizeof(JsonbContainer) + sizeof(JEntry)) ||
		!is_deeper(document, setting_max_depth))
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Many programs can't read it; flatten the value, or raise syncext.max_depth.",
						"the document is nested deeper than %d levels", setting_max_depth);
}
