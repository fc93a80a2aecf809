/*
 * merge_log.c
 *	  The change log of records that were merged into others.
 */
#include "postgres.h"

#include "hub/logged_change.h"
#include "hub/merge_log.h"
#include "model/json.h"

void
merge_log_gone(ChangeLog *log, const Change *change, const Record *gone, Audience audience)
{
	JsonbParseState *state = json_begin_object();
	LogEntry	entry = logged_decision(change->entity, change->alias, change->source,
									   gone, NULL);

	entry.audience = audience;
	json_push_bool(&state, "deleted", true);
	json_push_number(&state, "mergeId", change->alias_merge);
	json_push_string(&state, "mergedInto", change->external_id);
	entry.detail = json_end_object(&state);
	(void) change_log_append(log, &entry);
}
