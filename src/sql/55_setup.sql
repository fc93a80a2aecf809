-- Setting the hub up.  For the extension's owner, and roles that were granted these.

-- A hint is to be copied: where search_path doesn't lead to the functions that users
-- call, their schema goes before their names, and else it needn't.  The body was read
-- when it was installed, and has no search_path of its own: the caller's counts.
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
COMMENT ON FUNCTION syncext.check_name(text, text) IS 'refuses what cannot be the name of a source or an entity';
REVOKE ALL ON FUNCTION syncext.check_name(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_add_source(name text, priority integer DEFAULT NULL,
		role regrole DEFAULT (pg_catalog.quote_ident(CURRENT_USER)::regrole), relay boolean DEFAULT false) RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	role_name name := (SELECT r.rolname FROM pg_roles r WHERE r.oid = sync_add_source.role);
BEGIN
	PERFORM syncext.check_name('a source', name);
	IF relay IS NULL THEN
		RAISE EXCEPTION 'relay must not be null' USING ERRCODE = 'null_value_not_allowed',
			HINT = 'It is true for a hub that links to this one as a whole, and else false.';
	END IF;
	IF EXISTS (SELECT FROM syncext.source s WHERE s.name = sync_add_source.name) THEN
		RAISE EXCEPTION 'source "%" already exists', name USING ERRCODE = 'duplicate_object',
			HINT = 'Change it with UPDATE syncext.source, or drop it first with sync_drop_source.';
	END IF;
	IF role::oid <> 0 AND role_name IS NULL THEN
		RAISE EXCEPTION 'role with OID % does not exist', role::oid USING ERRCODE = 'undefined_object';
	END IF;
	INSERT INTO syncext.source (name, role, relay) VALUES (sync_add_source.name, role_name, sync_add_source.relay);
	IF priority IS NOT NULL THEN
		INSERT INTO syncext.source_priority (source, priority)
			VALUES (sync_add_source.name, sync_add_source.priority);
	END IF;
	PERFORM syncext.cursor_start(sync_add_source.name);
END $$;
COMMENT ON FUNCTION @extschema@.sync_add_source(text, integer, regrole, boolean) IS
	'add a system that sends and gets changes; members of the role may act as it (null: administrators only). relay: it is a hub, that links to this one as a whole';
REVOKE ALL ON FUNCTION @extschema@.sync_add_source(text, integer, regrole, boolean) FROM PUBLIC;

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
	DELETE FROM syncext.source_key k WHERE k.source = sync_drop_source.name;
	DELETE FROM syncext.source s WHERE s.name = sync_drop_source.name;
END $$;
COMMENT ON FUNCTION @extschema@.sync_drop_source(text) IS
	'drop a source with its priorities and its place in the feed; what it has set stays, under its name';
REVOKE ALL ON FUNCTION @extschema@.sync_drop_source(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_add_entity(name text, ladder text[] DEFAULT '{version,merge,priority,manual}',
		deletes text DEFAULT 'latest') RETURNS void
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
			HINT = 'The default is {version,merge,priority,manual}; latest wins is {latest,keep}, by field {field,latest}.';
	END IF;
	IF deletes IS NULL OR deletes NOT IN ('latest', 'delete_wins', 'edit_wins') THEN
		RAISE EXCEPTION '% is no way in which deletes meet edits', coalesce(quote_literal(deletes), 'null') USING ERRCODE = 'invalid_parameter_value',
			HINT = 'In a field ladder it is latest (the default), delete_wins or edit_wins.';
	END IF;
	IF EXISTS (SELECT FROM syncext.entity e WHERE e.name = sync_add_entity.name) THEN
		RAISE EXCEPTION 'entity "%" already exists', name USING ERRCODE = 'duplicate_object',
			HINT = 'Change its ladder with UPDATE syncext.entity.';
	END IF;
	INSERT INTO syncext.entity (name, ladder, deletes)
		VALUES (sync_add_entity.name, sync_add_entity.ladder, sync_add_entity.deletes);
END $$;
COMMENT ON FUNCTION @extschema@.sync_add_entity(text, text[], text) IS
	'add a kind of record, with its conflict ladder; in a field ladder, deletes says how deletes and edits meet';
REVOKE ALL ON FUNCTION @extschema@.sync_add_entity(text, text[], text) FROM PUBLIC;

-- As the caller, who needs the right to write the table and to call a rule's function.
CREATE FUNCTION @extschema@.sync_rule(entity text, field text, rule text, args jsonb DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF rule IS NULL THEN
		DELETE FROM syncext.field_rule f WHERE f.entity = $1 AND f.field = $2;
		RETURN;
	END IF;
	-- by hand, or in a restore, that is a warning
	IF rule = 'function' AND jsonb_typeof(args->'function') = 'string' AND args->>'function' LIKE '%.%' AND syncext.rule_function('field', args->>'function') IS NULL THEN
		RAISE EXCEPTION 'there is no function %(jsonb, jsonb, jsonb) that returns jsonb', args->>'function' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Rule "function" has args {"function": "schema.name"}; any rule may have {"empty": ["", "N/A"]}; latest, keep, manual, priority and function {"group": "address"}.';
	ELSIF rule = 'function' AND syncext.rule_function_error('field', args->>'function', current_user) IS NOT NULL AND syncext.rule_function('field', args->>'function') IS NOT NULL THEN
		RAISE EXCEPTION 'permission denied for function %', args->>'function' USING ERRCODE = 'insufficient_privilege',
			HINT = 'Whoever writes a rule has to be allowed to call its function, and to act as its owner, for it runs as that; or it is SECURITY DEFINER.';
	END IF;
	INSERT INTO syncext.field_rule AS f (entity, field, rule, args) VALUES ($1, $2, $3, $4)
	ON CONFLICT ON CONSTRAINT field_rule_pkey DO UPDATE SET rule = excluded.rule, args = excluded.args;
END $$;
COMMENT ON FUNCTION @extschema@.sync_rule(text, text, text, jsonb) IS
	'say how a contested field of an entity (*: of every) is decided; without a rule (null): no more by one';
REVOKE ALL ON FUNCTION @extschema@.sync_rule(text, text, text, jsonb) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_rehearse(entity text, priorities jsonb DEFAULT NULL, rules jsonb DEFAULT NULL, ladder text[] DEFAULT NULL, since timestamptz DEFAULT NULL)
	RETURNS TABLE (external_id text, field text, now jsonb, "then" jsonb, resolution text, reason text)
	LANGUAGE c STABLE PARALLEL UNSAFE COST 1000000 AS 'MODULE_PATHNAME', 'sync_rehearse';
COMMENT ON FUNCTION @extschema@.sync_rehearse(text, jsonb, jsonb, text[], timestamptz) IS
	'in what the golden records would differ, had these priorities (rows of syncext.source_priority), rules (of syncext.field_rule) and ladder been in force (null: those that are), since then (null: always), replayed from the log. A row for each field (*: the record as a whole is there or is not); without a field: the log does not tell. Nothing is written';

-- A view's functions run as its reader, its tables are read as its owner.
CREATE VIEW syncext.history WITH (security_barrier) AS
	SELECT l.xid, l.seq, l.recorded_at, l.entity, l.external_id, l.source, l.version, l.row_version, l.resolution, l.told, l.fields,
	       -- what a steward has noted is no source's matter, nor is a record that it isn't shown and that another was merged into
	       CASE WHEN NOT l.detail ?| '{note,mergedInto}'::text[] OR syncext.may_decide(l.entity)
	              OR (SELECT pg_catalog.has_table_privilege('syncext.change_log', 'SELECT')) THEN l.detail
	            WHEN syncext.may_see(l.source, l.entity, l.detail->>'mergedInto') THEN l.detail - 'note'::text
	            ELSE l.detail - '{note,mergedInto}'::text[] END AS detail
	FROM syncext.change_log l
	WHERE (SELECT pg_catalog.has_table_privilege('syncext.change_log', 'SELECT'))
	   OR syncext.may_see(l.source, l.entity, l.external_id,
	                      CASE WHEN pg_catalog.jsonb_typeof(l.detail->'increments') = 'object' THEN l.fields || (l.detail->'increments') ELSE l.fields END);
COMMENT ON VIEW syncext.history IS
	'the change log as far as the reader may see it: changes of the sources it may act as, of records and fields that these see; or all with SELECT on syncext.change_log';
GRANT SELECT ON syncext.history TO PUBLIC;

-- The planner takes the log's BRIN indexes for worse than they are.
CREATE FUNCTION @extschema@.sync_history(entity text, external_id text DEFAULT NULL, source text DEFAULT NULL, source_id text DEFAULT NULL)
	RETURNS TABLE (recorded_at timestamptz, seq bigint, source text, version bigint, row_version bigint,
	               resolution text, told text, fields jsonb, detail jsonb)
	LANGUAGE sql STABLE PARALLEL UNSAFE ROWS 20 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
	SELECT h.recorded_at, h.seq, h.source, h.version, h.row_version, h.resolution, h.told, h.fields, h.detail
	FROM syncext.history h
	WHERE h.entity = $1
	  AND h.external_id = CASE WHEN $3 IS NULL AND $4 IS NULL THEN $2
	                           WHEN $2 IS NULL THEN syncext.record_of_key($3, $1, $4) END
	ORDER BY h.seq
$$;
COMMENT ON FUNCTION @extschema@.sync_history(text, text, text, text) IS
	'what came in for a record and how it was decided, oldest first, as far as the caller may see it; by the record''s external id, or by a source''s own key of it';
