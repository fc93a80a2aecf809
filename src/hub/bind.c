/*
 * bind.c
 *	  Binding sources' own keys to records, and looking them up.
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/bind.h"
#include "hub/own_keys.h"
#include "hub/release.h"
#include "hub/visibility.h"
#include "model/clip.h"
#include "process/args.h"
#include "storage/alias.h"
#include "storage/hints.h"
#include "storage/source_key.h"

PG_FUNCTION_INFO_V1(sync_bind);
PG_FUNCTION_INFO_V1(sync_unbind);
PG_FUNCTION_INFO_V1(syncext_record_of_key);

/* The source, if the user may act as it; and the entity has to be there. */
static const Source *
check_rights(const SourceKey *key)
{
	const Registry *registry = registry_get();
	const Source *source = registry_source_required(registry, key->source);

	source_role_check(source);
	(void) registry_entity_required(registry, key->entity);
	return source;
}

/* The arguments that a key is named by. */
static SourceKey
key_arguments(FunctionCallInfo fcinfo)
{
	SourceKey	key = {.source = arg_text(fcinfo, 0, "source")};

	key.entity = arg_text(fcinfo, 1, "entity");
	key.source_id = arg_text(fcinfo, 2, "source_id");
	return key;
}

static void
check_length(const char *argument, const char *id)
{
	Size		bytes = strlen(id);

	if (bytes == 0 || bytes > CHANGE_MAX_EXTERNAL_ID)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("%s has %zu bytes, and must have 1 to %d", argument, bytes,
						CHANGE_MAX_EXTERNAL_ID)));
}

static void
check_bindable(const Source *source, const SourceKey *key)
{
	if (!source_has_own_keys(source, key->entity))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" has no keys of its own of entity \"%s\"", key->source,
						key->entity),
				 errhint_call("An administrator gives it some: SELECT sync_own_keys(%s, %s).",
						 quote_literal_cstr(key->source), quote_literal_cstr(key->entity))));
	check_length("source_id", key->source_id);
	check_length("external_id", key->external_id);
}

/*
 * One that the source may not see answers as one that isn't there; of a record that was merged
 * into another one the key is that one's.
 */
static bool
source_knows_record(const Source *source, const SourceKey *key)
{
	Record		record;

	(void) alias_read(key->entity, key->external_id, &record);
	return record.exists &&
		(role_reads_records(key->entity) || visibility_shows(source, key->entity, &record));
}

Datum
sync_bind(PG_FUNCTION_ARGS)
{
	SourceKey	key = key_arguments(fcinfo);
	const Source *source = check_rights(&key);

	key.external_id = arg_text(fcinfo, 3, "external_id");
	check_bindable(source, &key);
	own_keys_arm(key.source);
	/* a key comes before its record: see src/sql */
	if (!own_keys_bind(key.source, key.entity, key.source_id, key.external_id))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("key \"%s\" of source \"%s\" cannot be bound to record \"%s\" of entity \"%s\"",
						clip_string(key.source_id, CLIP_QUOTE), key.source,
						clip_string(key.external_id, CLIP_QUOTE), key.entity),
				 errdetail("The key is another record's, or the record has another key of the source's."),
				 errhint_call("SELECT sync_unbind(%s, %s, …) the one that is wrong first.",
						 quote_literal_cstr(key.source), quote_literal_cstr(key.entity))));
	if (!source_knows_record(source, &key))
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("record \"%s\" of entity \"%s\" does not exist",
						clip_string(key.external_id, CLIP_QUOTE), key.entity),
				 errhint("A key is bound to a record that there is; a document with sourceId makes one.")));
	if (registry_entity_required(registry_get(), key.entity)->is_parent)
		release_waiting(key.entity, key.source_id);
	PG_RETURN_VOID();
}

Datum
sync_unbind(PG_FUNCTION_ARGS)
{
	const SourceKey key = key_arguments(fcinfo);
	SourceKeys *keys;
	bool		removed;

	(void) check_rights(&key);
	source_keys_hold(key.source);
	keys = mapped_open(&source_key_def, true);
	removed = mapped_remove(keys, &key);
	mapped_close(keys);
	PG_RETURN_BOOL(removed);
}

char *
record_of_key(const char *source, const char *entity, const char *source_id)
{
	SourceKey	key = {.source = source, .entity = entity, .source_id = source_id};
	SourceKeys *keys;
	bool		found;

	(void) check_rights(&key);
	keys = mapped_open(&source_key_def, false);
	found = mapped_find(keys, &key);
	mapped_close(keys);
	return found ? unconstify(char *, key.external_id) : NULL;
}

Datum
syncext_record_of_key(PG_FUNCTION_ARGS)
{
	const SourceKey key = key_arguments(fcinfo);
	char	   *external_id = record_of_key(key.source, key.entity, key.source_id);

	if (external_id == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(external_id));
}
