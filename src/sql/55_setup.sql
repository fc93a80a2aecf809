-- Setting the hub up.  For the extension's owner, and whom it grants these to.

-- A hint is to be copied: where search_path doesn't lead to the functions that users
-- call, their schema goes before their names, and else it needn't.  The body was read
-- when it was installed, and has no search_path of its own: that of who asks counts.
CREATE FUNCTION syncext.callable(hint text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	RETURN CASE WHEN pg_catalog.pg_function_is_visible('@extschema@.sync_apply(jsonb)'::pg_catalog.regprocedure)
	            THEN pg_catalog.replace(pg_catalog.replace(hint, 'SELECT @extschema@.sync_', 'SELECT sync_'), 'CALL @extschema@.sync_', 'CALL sync_')
	            ELSE pg_catalog.regexp_replace(hint, '\m(SELECT|CALL) (sync_)', '\1 @extschema@.\2', 'g') END;
COMMENT ON FUNCTION syncext.callable(text) IS
	'a hint as it can be copied: with the schema of sync_... before their names where search_path does not lead there';

-- Refuses what can't be the name of a source or an entity.
CREATE FUNCTION syncext.check_name(kind text, name text) RETURNS void
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF name IS NULL OR name IN ('', '*', 'sync_resolve') OR octet_length(name) > 63 THEN
		RAISE EXCEPTION '% cannot be the name of %', coalesce(quote_literal(name), 'null'), kind
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A name has 1 to 63 bytes, and is not "*" or "sync_resolve", which have a meaning of their own.';
	END IF;
END $$;
COMMENT ON FUNCTION syncext.check_name(text, text) IS 'refuses what can''t be the name of a source or an entity';
REVOKE ALL ON FUNCTION syncext.check_name(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_add_source(name text, priority integer DEFAULT NULL,
		role regrole DEFAULT (pg_catalog.quote_ident(CURRENT_USER)::regrole)) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	role_name name := (SELECT r.rolname FROM pg_roles r WHERE r.oid = sync_add_source.role);
BEGIN
	PERFORM syncext.check_name('a source', name);
	IF EXISTS (SELECT FROM syncext.source s WHERE s.name = sync_add_source.name) THEN
		RAISE EXCEPTION 'source "%" already exists', name USING ERRCODE = 'duplicate_object',
			HINT = 'Change it with UPDATE syncext.source, or drop it first with sync_drop_source.';
	END IF;
	IF role::oid <> 0 AND role_name IS NULL THEN
		RAISE EXCEPTION 'role with OID % does not exist', role::oid USING ERRCODE = 'undefined_object';
	END IF;
	INSERT INTO syncext.source (name, role) VALUES (sync_add_source.name, role_name);
	IF priority IS NOT NULL THEN
		INSERT INTO syncext.source_priority (source, priority)
			VALUES (sync_add_source.name, sync_add_source.priority);
	END IF;
	PERFORM syncext.cursor_start(sync_add_source.name);
END $$;
COMMENT ON FUNCTION @extschema@.sync_add_source(text, integer, regrole) IS
	'add a system that sends and gets changes; members of the role may act as it (null: administrators only)';
REVOKE ALL ON FUNCTION @extschema@.sync_add_source(text, integer, regrole) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_drop_source(name text) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	attached text := (SELECT b.relation::text FROM syncext.binding b WHERE b.source = sync_drop_source.name LIMIT 1);
BEGIN
	IF NOT EXISTS (SELECT FROM syncext.source s WHERE s.name = sync_drop_source.name) THEN
		RAISE EXCEPTION 'source "%" does not exist', name USING ERRCODE = 'undefined_object';
	END IF;
	IF attached IS NOT NULL THEN
		RAISE EXCEPTION 'source "%" has a table attached: %', name, attached
			USING ERRCODE = 'dependent_objects_still_exist',
			HINT = syncext.callable(format('Detach it first: SELECT sync_detach(%L).', attached));
	END IF;
	PERFORM syncext.cursor_drop(sync_drop_source.name);
	-- what it had parked stays in the change log, as DEPENDENCY_WAIT
	DELETE FROM syncext.waiting w WHERE w.source = sync_drop_source.name;
	DELETE FROM syncext.change_id i WHERE i.source = sync_drop_source.name;
	DELETE FROM syncext.source s WHERE s.name = sync_drop_source.name;
END $$;
COMMENT ON FUNCTION @extschema@.sync_drop_source(text) IS
	'drop a source with its priorities and its place in the feed; what it has set stays, under its name';
REVOKE ALL ON FUNCTION @extschema@.sync_drop_source(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_add_entity(name text, ladder text[] DEFAULT '{version,merge,priority,manual}') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	wrong text := syncext.ladder_error(ladder);
BEGIN
	PERFORM syncext.check_name('an entity', name);
	IF ladder IS NULL THEN
		RAISE EXCEPTION 'the ladder must not be null' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'Leave it out for the default, {version,merge,priority,manual}.';
	END IF;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION '% is not a ladder: %', ladder, wrong USING ERRCODE = 'invalid_parameter_value',
			HINT = 'The default is {version,merge,priority,manual}; latest wins is {latest,keep}.';
	END IF;
	IF EXISTS (SELECT FROM syncext.entity e WHERE e.name = sync_add_entity.name) THEN
		RAISE EXCEPTION 'entity "%" already exists', name USING ERRCODE = 'duplicate_object',
			HINT = 'Change its ladder with UPDATE syncext.entity.';
	END IF;
	INSERT INTO syncext.entity (name, ladder) VALUES (sync_add_entity.name, sync_add_entity.ladder);
END $$;
COMMENT ON FUNCTION @extschema@.sync_add_entity(text, text[]) IS 'add a kind of record, with its conflict ladder';
REVOKE ALL ON FUNCTION @extschema@.sync_add_entity(text, text[]) FROM PUBLIC;

-- A view's functions run as who reads it, its tables are read as its owner.
CREATE VIEW syncext.history WITH (security_barrier) AS
	SELECT l.* FROM syncext.change_log l
	WHERE (SELECT pg_catalog.has_table_privilege('syncext.change_log', 'SELECT'))
	   OR syncext.may_see(l.source, l.entity, l.external_id, l.fields);
COMMENT ON VIEW syncext.history IS
	'the change log as far as the reader may see it: changes of the sources it may act as, of records and fields that these see; or all with SELECT on syncext.change_log';
GRANT SELECT ON syncext.history TO PUBLIC;

CREATE FUNCTION @extschema@.sync_history(entity text, external_id text)
	RETURNS TABLE (recorded_at timestamptz, seq bigint, source text, version bigint, row_version bigint,
	               resolution text, told text, fields jsonb, detail jsonb)
	LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp AS $$
	SELECT h.recorded_at, h.seq, h.source, h.version, h.row_version, h.resolution, h.told, h.fields, h.detail
	FROM syncext.history h
	WHERE h.entity = $1 AND h.external_id = $2
	ORDER BY h.seq
$$;
COMMENT ON FUNCTION @extschema@.sync_history(text, text) IS
	'what came in for a record and how it was decided, oldest first, as far as the caller may see it';
