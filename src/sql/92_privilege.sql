-- Who may watch the hub, decide its conflicts, or run it: sync_grant, sync_revoke.

-- What a monitor reads tells how the hub is, and names records, but has no values of theirs.
CREATE FUNCTION syncext.privilege_statements(privilege text) RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT format('SELECT ON syncext.%I', c.relname)
	FROM pg_class c
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'syncext'
	WHERE c.relkind IN ('r', 'v')
	  AND ($1 = 'admin'
	       OR $1 = 'monitor' AND c.relname IN ('backfill_progress', 'binding', 'dead_letter', 'entity', 'feed_lag', 'job_run', 'job_status', 'link', 'link_state',
	                                           'metric', 'outbound_change', 'schedule', 'source', 'stat', 'stat_info', 'stat_link', 'stat_target'))
	UNION ALL
	SELECT format('INSERT, UPDATE, DELETE ON syncext.%I', t.name)
	FROM unnest('{entity,field_rule,match_rule,reference,route,source,source_priority}'::text[]) t(name)
	WHERE $1 = 'admin'
	UNION ALL
	SELECT format('EXECUTE ON %s %s', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, p.oid::regprocedure)
	FROM pg_proc p
	JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
	JOIN pg_extension e ON d.refclassid = 'pg_extension'::regclass AND e.oid = d.refobjid AND e.extname = 'syncext'
	WHERE $1 = 'admin'
	  AND (p.proname LIKE 'sync\_%' AND p.proname NOT IN ('sync_grant', 'sync_revoke')
	       OR p.proname IN ('cursor_start', 'identity', 'release_hub', 'release_spoke', 'start_workers'))
	$$;
COMMENT ON FUNCTION syncext.privilege_statements(text) IS 'what a privilege is in GRANTs, each without its first word and the role';
REVOKE ALL ON FUNCTION syncext.privilege_statements(text) FROM PUBLIC;

CREATE FUNCTION syncext.check_privilege(privilege text, entity text) RETURNS void
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF privilege IS NULL OR privilege NOT IN ('monitor', 'steward', 'admin') THEN
		RAISE EXCEPTION 'privilege % is not known', coalesce('"' || privilege || '"', 'null') USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is monitor, steward or admin.';
	END IF;
	IF entity IS NOT NULL AND privilege <> 'steward' THEN
		RAISE EXCEPTION 'privilege "%" is not of an entity', privilege USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Only stewards are of one entity.';
	END IF;
END $$;
COMMENT ON FUNCTION syncext.check_privilege(text, text) IS 'raise if there is no such privilege';
REVOKE ALL ON FUNCTION syncext.check_privilege(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_grant(role text, privilege text, entity text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	statement text;
BEGIN
	PERFORM syncext.check_privilege(privilege, entity);
	IF role IS NULL THEN
		RAISE EXCEPTION 'role must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = $1) THEN
		RAISE EXCEPTION 'role "%" does not exist', role USING ERRCODE = 'undefined_object',
			HINT = 'Give its name as pg_roles has it.';
	END IF;
	IF entity IS NOT NULL AND NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = $3) THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity USING ERRCODE = 'undefined_object',
			HINT = syncext.callable(format('Add it with SELECT sync_add_entity(%L).', entity));
	END IF;
	INSERT INTO syncext.privilege (role, privilege, entity) VALUES ($1, $2, coalesce($3, '*')) ON CONFLICT DO NOTHING;
	FOR statement IN SELECT * FROM syncext.privilege_statements(privilege) LOOP
		EXECUTE format('GRANT %s TO %I', statement, role);
	END LOOP;
END $$;
COMMENT ON FUNCTION @extschema@.sync_grant(text, text, text) IS
	'let a role watch the hub (monitor), decide conflicts (steward, of one entity or of all) or run the hub (admin)';
REVOKE ALL ON FUNCTION @extschema@.sync_grant(text, text, text) FROM PUBLIC;

-- The role need not be there any more.
CREATE FUNCTION @extschema@.sync_revoke(role text, privilege text, entity text DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	statement text;
BEGIN
	PERFORM syncext.check_privilege(privilege, entity);
	DELETE FROM syncext.privilege p WHERE p.role = $1 AND p.privilege = $2 AND ($3 IS NULL OR p.entity = $3);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'role % has no privilege "%"', coalesce('"' || role || '"', 'null'), concat_ws(' of ', privilege, entity)
			USING ERRCODE = 'undefined_object', HINT = 'Table syncext.privilege has all that were granted.';
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = $1) THEN
		RETURN;
	END IF;
	FOR statement IN SELECT * FROM syncext.privilege_statements(privilege) LOOP
		EXECUTE format('REVOKE %s FROM %I', statement, role);
	END LOOP;
	-- what another privilege of the role gives stays
	FOR statement IN SELECT s FROM syncext.privilege p, syncext.privilege_statements(p.privilege) s WHERE p.role = $1 LOOP
		EXECUTE format('GRANT %s TO %I', statement, role);
	END LOOP;
END $$;
COMMENT ON FUNCTION @extschema@.sync_revoke(text, text, text) IS
	'take back what sync_grant gave a role; of a steward all entities, or the one named';
REVOKE ALL ON FUNCTION @extschema@.sync_revoke(text, text, text) FROM PUBLIC;

-- Another entity of the name is another one: what was granted on this, sources' keys of its records and what was found to be distinct go.
CREATE FUNCTION syncext.entity_dropped() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM syncext.privilege p WHERE p.entity = OLD.name;
	DELETE FROM syncext.source_key k WHERE k.entity = OLD.name;
	DELETE FROM syncext.match_candidate c WHERE c.entity = OLD.name;
	DELETE FROM syncext.merge_child m WHERE m.entity = OLD.name;
	DELETE FROM syncext.alias a WHERE a.entity = OLD.name;
	DELETE FROM syncext.merge m WHERE m.entity = OLD.name;
	DELETE FROM syncext.repoint p WHERE p.entity = OLD.name;
	UPDATE syncext.repoint p SET child_entity = NULL, after_id = NULL, upto = NULL WHERE p.child_entity = OLD.name;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.entity_dropped() IS 'trigger: removes what was granted on an entity, the keys of its records and what was merged';
REVOKE ALL ON FUNCTION syncext.entity_dropped() FROM PUBLIC;
CREATE TRIGGER entity_dropped AFTER DELETE ON syncext.entity
	FOR EACH ROW EXECUTE FUNCTION syncext.entity_dropped();
