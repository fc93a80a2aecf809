-- Sending changes to the hub, and looking at what it holds.

CREATE FUNCTION @extschema@.sync_apply(change jsonb) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_apply';
COMMENT ON FUNCTION @extschema@.sync_apply(jsonb) IS
	'take in one change document or an array of them; answers with what became of each';

CREATE FUNCTION @extschema@.sync_explain(change jsonb) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_explain';
COMMENT ON FUNCTION @extschema@.sync_explain(jsonb) IS
	'the answer that sync_apply would give now; nothing is written';

CREATE FUNCTION @extschema@.sync_record(entity text, external_id text DEFAULT NULL, source text DEFAULT NULL, source_id text DEFAULT NULL) RETURNS jsonb
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_record';
COMMENT ON FUNCTION @extschema@.sync_record(text, text, text, text) IS
	'the golden record with the provenance of each field, by its external id or by a source''s own key of it; null if there is none';

CREATE FUNCTION @extschema@.sync_set_version(entity text, external_id text, version bigint) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_set_version';
COMMENT ON FUNCTION @extschema@.sync_set_version(text, text, bigint) IS
	'give a record another version, a lower one where a source''s ran away; every source is told. Returns the one that it had';
REVOKE ALL ON FUNCTION @extschema@.sync_set_version(text, text, bigint) FROM PUBLIC;

-- Is what became of a source's change the user's to see?
CREATE FUNCTION syncext.may_see(source text, entity text, external_id text, fields jsonb DEFAULT NULL) RETURNS boolean
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_may_see';
COMMENT ON FUNCTION syncext.may_see(text, text, text, jsonb) IS
	'may the calling role see what became of a source''s change of the record, with these fields: it may act as the source, and the source sees the record as it stands and the fields';

-- May the current user act as this source?  Null source: is it an administrator?
CREATE FUNCTION syncext.may_act_as(source text) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_may_act_as';
COMMENT ON FUNCTION syncext.may_act_as(text) IS 'may the calling role act as the source; with null: is it an administrator of the hub';

CREATE FUNCTION syncext.may_monitor() RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_may_monitor';
COMMENT ON FUNCTION syncext.may_monitor() IS 'may the calling role watch the hub as a whole: as an administrator, a member of pg_monitor, or by sync_grant';
CREATE FUNCTION syncext.may_decide(entity text) RETURNS boolean
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_may_decide';
COMMENT ON FUNCTION syncext.may_decide(text) IS 'is the calling role a steward of the entity; with null: of any';
