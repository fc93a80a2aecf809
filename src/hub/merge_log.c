/*
 * merge_log.c
 *	  The change log of records that were merged into others.
 */
#include "postgres.h"

#include "hub/merge_log.h"
#include "model/json.h"

void
merge_log_gone(ChangeLog *log, const Change *change, const Record *gone, Audience audience)
{
	JsonbParseState *state = NULL;
	Fields		none = {0, NULL};
	LogEntry	entry = {
		.entity = change->entity,
		.external_id = change->alias,
		.source = change->source,
		.version = gone->version,
		.row_version = gone->row_version,
		.resolution = RESOLUTION_RESOLVED,
		.audience = audience,
		.fields = fields_to_jsonb(&none)
	};

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	json_push_bool(&state, "deleted", true);
	json_push_number(&state, "mergeId", change->alias_merge);
	json_push_string(&state, "mergedInto", change->external_id);
	entry.detail = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	(void) change_log_append(log, &entry);
}
