-- Routes: what of an entity a source is let see.

CREATE TABLE syncext.route (
	source  text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE ON UPDATE CASCADE,
	entity  text COLLATE "C" NOT NULL REFERENCES syncext.entity ON DELETE CASCADE ON UPDATE CASCADE,
	filter  jsonpath CHECK (coalesce(pg_catalog.jsonb_path_match('{}', filter), true) IN (true, false)),
	mask    text[] COLLATE "C" NOT NULL DEFAULT '{}' CHECK (pg_catalog.array_position(mask, NULL) IS NULL),
	armed   boolean NOT NULL DEFAULT false,
	tracked boolean NOT NULL DEFAULT false,
	served  boolean,
	PRIMARY KEY (source, entity)
);
COMMENT ON TABLE syncext.route IS
	'what of an entity a source is let see; sync_route writes it, and plain SQL may. An edit is in force from the source''s next pull on';
COMMENT ON COLUMN syncext.route.filter IS
	'a jsonpath predicate on the fields, as $.region == "EU"; records that meet it are delivered, null: all. One that ceases to is delivered once more, as gone, to a source that has it';
COMMENT ON COLUMN syncext.route.mask IS 'fields that the source may not see';
COMMENT ON COLUMN syncext.route.armed IS 'the source''s cursors know of the route as it is';
COMMENT ON COLUMN syncext.route.tracked IS 'syncext.routed says which records the source has';
COMMENT ON COLUMN syncext.route.served IS 'had the source been served before it pulled by the route as it is; null: it has not pulled';
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.route
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.route ENABLE ALWAYS TRIGGER registry_changed;
SELECT pg_catalog.pg_extension_config_dump('syncext.route', '');

-- Kept for entities with a filter alone.
CREATE TABLE syncext.routed (
	target      text COLLATE "C" NOT NULL
	            REFERENCES syncext.source ON DELETE CASCADE ON UPDATE CASCADE,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	own         boolean NOT NULL,
	row_version bigint NOT NULL DEFAULT 0,
	gone_batch  bigint,
	PRIMARY KEY (target, entity, external_id, own)
) WITH (fillfactor = 85);
COMMENT ON TABLE syncext.routed IS
	'the records of a filtered entity that a source may have, as it was served them, or has sent a change of them itself (own)';
COMMENT ON COLUMN syncext.routed.row_version IS 'the record''s, after the source''s own change';
COMMENT ON COLUMN syncext.routed.gone_batch IS
	'the batch in which the source is told that the record is gone; when it is acknowledged, the row goes';
CREATE INDEX routed_gone ON syncext.routed (target, gone_batch) WHERE gone_batch IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('syncext.routed', '');

-- An edit waits for the source's next pull, which holds its cursors anyway.
CREATE FUNCTION syncext.route_edited() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NEW.entity <> OLD.entity AND EXISTS (SELECT FROM syncext.entity e WHERE e.name = OLD.entity) THEN
		RAISE EXCEPTION 'a route cannot become another entity''s' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Delete it, and insert one for the other entity.';
	END IF;
	IF (NEW.filter::text, NEW.mask) IS DISTINCT FROM (OLD.filter::text, OLD.mask) THEN
		-- what was served by an earlier edit was filtered already
		IF OLD.armed THEN
			NEW.served := NULL;
		END IF;
		NEW.armed := false;
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION syncext.route_edited() IS 'trigger: an edited route is in force from the source''s next pull';
REVOKE ALL ON FUNCTION syncext.route_edited() FROM PUBLIC;
CREATE TRIGGER route_edited BEFORE UPDATE ON syncext.route
	FOR EACH ROW EXECUTE FUNCTION syncext.route_edited();
ALTER TABLE syncext.route ENABLE ALWAYS TRIGGER route_edited;

-- Without its route a source gets the records that were kept from it.
CREATE FUNCTION syncext.route_deleted() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM FROM syncext.cursor c WHERE c.target = OLD.source ORDER BY c.slot FOR NO KEY UPDATE;
	DELETE FROM syncext.routed r WHERE r.target = OLD.source AND r.entity = OLD.entity;
	IF EXISTS (SELECT FROM syncext.source s, syncext.entity e
	           WHERE s.name = OLD.source AND e.name = OLD.entity AND (s.entities IS NULL OR e.name = ANY (s.entities))) THEN
		PERFORM syncext.cursor_resync(OLD.source, OLD.entity);
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.route_deleted() IS 'trigger: without its route a source gets what was kept from it';
REVOKE ALL ON FUNCTION syncext.route_deleted() FROM PUBLIC;
CREATE TRIGGER route_deleted AFTER DELETE ON syncext.route
	FOR EACH ROW EXECUTE FUNCTION syncext.route_deleted();
ALTER TABLE syncext.route ENABLE ALWAYS TRIGGER route_deleted;

-- A filter that failed on a record, which therefore isn't delivered.
CREATE TABLE syncext.route_failure (
	source      text COLLATE "C" NOT NULL,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	error       text NOT NULL,
	since       timestamptz NOT NULL,
	PRIMARY KEY (source, entity),
	FOREIGN KEY (source, entity) REFERENCES syncext.route ON DELETE CASCADE ON UPDATE CASCADE
);
COMMENT ON TABLE syncext.route_failure IS
	'routes whose filter could not be evaluated, each with a record that it failed on; such a record does not meet it';
-- It isn't dumped: the next delivery finds it again.

CREATE FUNCTION syncext.filter_error(filter jsonpath, fields jsonb) RETURNS text
	LANGUAGE c STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_filter_error';
COMMENT ON FUNCTION syncext.filter_error(jsonpath, jsonb) IS 'why a route''s filter cannot be evaluated on a record''s fields; null: it can';

-- Brings edited routes into force, at a pull: all records of the entity are
-- walked through again, and come, or go, as the filter says.  For the first
-- filter it has to be known what the source has: everything that there is, if
-- it was ever served, else what it has sent itself.  Until then the source is
-- served by the filter, but isn't told what is gone.  Returns false if a
-- transaction that may not know of the edit goes on; the next pull tries again.
CREATE FUNCTION syncext.route_arm(source text) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	r      syncext.route;
	edited text[];
	gets   boolean;
BEGIN
	PERFORM FROM syncext.cursor c WHERE c.target = $1 ORDER BY c.slot FOR NO KEY UPDATE;
	UPDATE syncext.route t SET served = EXISTS (SELECT FROM syncext.cursor c WHERE c.target = $1 AND c.batch > 0)
	WHERE t.source = $1 AND NOT t.armed AND t.served IS NULL;
	edited := ARRAY(SELECT t.entity FROM syncext.route t WHERE t.source = $1 AND NOT t.armed ORDER BY t.entity FOR NO KEY UPDATE);
	-- the source's own changes that don't know of the filter must be done first
	IF NOT syncext.writers_done() THEN
		RETURN false;
	END IF;
	DELETE FROM syncext.route_failure f WHERE f.source = $1 AND f.entity = ANY (edited);
	FOR r IN SELECT * FROM syncext.route t WHERE t.source = $1 AND t.entity = ANY (edited) ORDER BY t.entity LOOP
		gets := (SELECT s.entities IS NULL OR r.entity = ANY (s.entities) FROM syncext.source s WHERE s.name = $1);
		IF r.filter IS NULL THEN
			DELETE FROM syncext.routed h WHERE h.target = $1 AND h.entity = r.entity;
		ELSIF NOT r.tracked THEN
			INSERT INTO syncext.routed (target, entity, external_id, own)
			SELECT $1, c.entity, c.external_id, false
			FROM syncext.canonical c
			WHERE c.entity = r.entity
			  AND (gets AND r.served OR c.last_source = $1
			       OR jsonb_path_exists(c.stamps, '$.*[*] ? (@ == $name)', jsonb_build_object('name', $1))
			       OR c.external_id IN (SELECT l.external_id FROM syncext.change_log l WHERE l.source = $1 AND l.entity = r.entity))
			ON CONFLICT DO NOTHING;
		END IF;
		UPDATE syncext.route t SET armed = true, tracked = r.filter IS NOT NULL
		WHERE t.source = $1 AND t.entity = r.entity;
		IF gets THEN
			PERFORM syncext.cursor_resync($1, r.entity);
		END IF;
	END LOOP;
	RETURN true;
END $$;
COMMENT ON FUNCTION syncext.route_arm(text) IS 'bring a source''s edited routes into force, which its next pull does; false: a transaction that may not know of them goes on';
REVOKE ALL ON FUNCTION syncext.route_arm(text) FROM PUBLIC;

CREATE FUNCTION syncext.check_predicate(filter jsonpath) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM jsonb_path_match('{}', filter);
EXCEPTION WHEN singleton_sql_json_item_required OR sql_json_array_not_found THEN
	RAISE EXCEPTION 'filter % is no predicate', filter USING ERRCODE = 'invalid_parameter_value',
		HINT = 'It is true or false, as $.region == "EU", or exists($.tags[*] ? (@ == "web")).';
END $$;
COMMENT ON FUNCTION syncext.check_predicate(jsonpath) IS 'raise if a jsonpath is neither true nor false';
REVOKE ALL ON FUNCTION syncext.check_predicate(jsonpath) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_route(source text, entity text, filter jsonpath DEFAULT NULL, mask text[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM syncext.source s WHERE s.name = $1) THEN
		RAISE EXCEPTION 'source "%" does not exist', $1 USING ERRCODE = 'undefined_object',
			HINT = syncext.callable(format('Add it with SELECT sync_add_source(%L).', $1));
	END IF;
	IF NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = $2) THEN
		RAISE EXCEPTION 'entity "%" does not exist', $2 USING ERRCODE = 'undefined_object',
			HINT = syncext.callable(format('Add it with SELECT sync_add_entity(%L).', $2));
	END IF;
	IF mask IS NULL OR array_position(mask, NULL) IS NOT NULL OR '*' = ANY (mask) OR '' = ANY (mask) THEN
		RAISE EXCEPTION 'mask must be an array of names of fields' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'To mask nothing, give {}; to keep a whole entity from a source, see sync_subscribe.';
	END IF;
	PERFORM syncext.check_predicate(filter);
	IF filter IS NULL AND cardinality(mask) = 0 THEN
		DELETE FROM syncext.route r WHERE r.source = $1 AND r.entity = $2;
	ELSE
		INSERT INTO syncext.route AS r (source, entity, filter, mask) VALUES ($1, $2, $3, $4)
		ON CONFLICT ON CONSTRAINT route_pkey DO UPDATE SET filter = excluded.filter, mask = excluded.mask;
	END IF;
END $$;
COMMENT ON FUNCTION @extschema@.sync_route(text, text, jsonpath, text[]) IS
	'what of an entity a source is let see: records that meet a jsonpath predicate, without the fields in mask. With neither it sees everything. From its next pull on it gets what it lacks, and is told what is gone';
REVOKE ALL ON FUNCTION @extschema@.sync_route(text, text, jsonpath, text[]) FROM PUBLIC;
