/*
 * set_version.c
 *	  sync_set_version: a record whose version ran away is brought back.
 *
 * Called from SQL, by administrators.  Where a source has sent a version that no
 * other will reach, all others are stale for ever.  The version is set, and every
 * source is told, so that they count on from there.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/apply_call.h"
#include "hub/apply_state.h"
#include "hub/logged_change.h"
#include "hub/release.h"
#include "model/json.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_set_version);

static void
check_version(int64 version)
{
	if (version < 0 || version > CHANGE_MAX_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("version " INT64_FORMAT " is no version", version),
				 errhint("A version is 0 or more and less than 2^62.")));
}

/* There each field has its own, and late changes would make the record what it was. */
static void
refuse_field_ladder(const Entity *entity)
{
	if (entity->ladder & RUNG_FIELD)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("entity \"%s\" has a field ladder, in which a record's version is that of its last change",
						entity->name),
				 errhint("Send what shall stand at a higher version.")));
}

static void
log_version(ApplyCall *call, const char *entity, const char *external_id, const Record *record,
			int64 was)
{
	JsonbParseState *state = json_begin_object();
	LogEntry	entry = logged_decision(entity, external_id, record->last_source,
									   record, NULL);

	json_push_number(&state, "versionWas", was);
	json_push_string(&state, "decidedBy", GetUserNameFromId(GetUserId(), false));
	entry.detail = json_end_object(&state);
	change_log_append(call->log, &entry);
}

Datum
sync_set_version(PG_FUNCTION_ARGS)
{
	char	   *entity = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *external_id = text_to_cstring(PG_GETARG_TEXT_PP(1));
	int64		version = PG_GETARG_INT64(2);
	ApplyCall  *call;
	Record		record;
	int64		was;

	check_version(version);
	refuse_field_ladder(registry_entity_required(registry_get(), entity));
	call = apply_begin(registry_get());
	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(call->canonical, entity, external_id, &record);
		if (!record.exists)
			ereport(ERROR,
					(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
					 errmsg("there is no record \"%s\" of entity \"%s\"", external_id, entity)));
		was = record.version;
		record_set_version(&record, version);
	} while (canonical_write(call->canonical, entity, external_id, &record) != ROWS_DONE);
	log_version(call, entity, external_id, &record, was);
	apply_end(call);
	PG_RETURN_INT64(was);
}
