-- The schema that holds syncext's tables and views.  The functions that users
-- call, sync_*, go to the schema that the extension was created in.

-- Others may have operators and functions of their own in that schema, which fit
-- better than the server's: nothing in this script is looked for there.  Each
-- object's name says its schema, as it would come to pg_catalog without.
SET LOCAL search_path = pg_catalog, pg_temp;

CREATE SCHEMA syncext;
COMMENT ON SCHEMA syncext IS 'tables and views of the sync hub';
GRANT USAGE ON SCHEMA syncext TO PUBLIC;

-- Marks every session's cached registry as outdated, for the next statement.
CREATE FUNCTION syncext.registry_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'syncext_registry_changed';
COMMENT ON FUNCTION syncext.registry_changed() IS
	'trigger on the configuration tables: makes an edit known to every session';
REVOKE ALL ON FUNCTION syncext.registry_changed() FROM PUBLIC;

-- Null if the rungs form a ladder, else why they don't.
CREATE FUNCTION syncext.ladder_error(rungs text[]) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_ladder_error';
COMMENT ON FUNCTION syncext.ladder_error(text[]) IS
	'null if the rungs form a conflict ladder, else what is wrong with them';
