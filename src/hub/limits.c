/*
 * limits.c
 *	  What one change may make of a record, so that it stays one that everybody
 *	  can be sent, and change.
 *
 * A document has limits of its own; these are of what many documents add up to, and of
 * the version that decides whose changes come after it.
 */
#include "postgres.h"

#include "errcodes.h"
#include "hub/limits.h"
#include "model/field_state.h"
#include "model/json_size.h"
#include "settings.h"

static int64
stamp_version(const LifeStamp *stamp)
{
	return stamp->is_set && stamp->has_version ? stamp->version : 0;
}

/* The highest version among a record's stamps. */
static int64
state_version(const Record *record)
{
	const Life *life = record->life;
	int64		version = 0;

	for (int i = 0; i < record->nfields; i++)
		version = Max(version, record->fields[i].stamp.version);
	version = Max(version, Max(stamp_version(&life->lived), stamp_version(&life->died)));
	version = Max(version, Max(stamp_version(&life->born), stamp_version(&life->seen)));
	return Max(version, stamp_version(&life->cut));
}

bool
limits_version(const Change *change, const Record *before, ChangeError *error)
{
	int64		present = before->exists ? before->version : 0;
	int64		step = (int64) setting_max_version_step;
	int64		named = change->has_version ? change->version : 0;

	/* what a field ladder's change was made on ends all that is older, as its own version does */
	named = Max(named, stamp_version(&change->known));
	if (change->state != NULL)
		named = Max(named, state_version(&change->state->record));
	if (step <= 0 || named <= present || named - present <= step)
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						"All lower versions would be stale for ever. Send the next version, or raise syncext.max_version_step.",
						"version " INT64_FORMAT " is more than " INT64_FORMAT " above the record's " INT64_FORMAT,
						named, step, present);
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
						"Many programs cannot read it; flatten the value, or raise syncext.max_depth.",
						"the document is nested deeper than %d levels", setting_max_depth);
}
