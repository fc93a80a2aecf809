-- Changes that wait for a record they refer to, and which records refer to
-- which, where a delete has to know.

CREATE TABLE syncext.waiting (
	id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	entity        text COLLATE "C" NOT NULL,
	external_id   text COLLATE "C" NOT NULL,
	source        text COLLATE "C" NOT NULL,
	parent_entity text COLLATE "C" NOT NULL,
	parent_id     text COLLATE "C" NOT NULL,
	change        jsonb NOT NULL,
	parked_at     timestamptz NOT NULL DEFAULT now(),
	attempts      integer NOT NULL DEFAULT 0,
	next_attempt  timestamptz,
	error         text,
	dead_since    timestamptz
) WITH (fillfactor = 85);
COMMENT ON TABLE syncext.waiting IS 'changes whose parent has not arrived';
COMMENT ON COLUMN syncext.waiting.change IS 'the change document';
COMMENT ON COLUMN syncext.waiting.next_attempt IS
	'when the parent is looked for again without being told of it; null: a dead letter, which only the parent''s arrival or sync_redrive revives';
COMMENT ON COLUMN syncext.waiting.dead_since IS 'when it became a dead letter';
CREATE INDEX waiting_parent ON syncext.waiting (parent_entity, parent_id, id);
CREATE INDEX waiting_record ON syncext.waiting (entity, external_id, id);
CREATE INDEX waiting_due ON syncext.waiting (next_attempt) WHERE next_attempt IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('syncext.waiting', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.waiting_id_seq', '');

-- Kept for references with restrict or cascade only: the others cost nothing.
CREATE TABLE syncext.child (
	parent_entity text COLLATE "C" NOT NULL,
	parent_id     text COLLATE "C" NOT NULL,
	entity        text COLLATE "C" NOT NULL,
	external_id   text COLLATE "C" NOT NULL,
	field         text COLLATE "C" NOT NULL,
	PRIMARY KEY (parent_entity, parent_id, entity, external_id, field)
);
COMMENT ON TABLE syncext.child IS 'the live records that refer to a record, where deleting it is restricted or cascades';
-- It isn't dumped: references that were loaded are not listed yet.

CREATE FUNCTION @extschema@.sync_add_reference(entity text, field text, parent text, on_delete text DEFAULT 'ignore') RETURNS void
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	missing text := (SELECT n FROM unnest(ARRAY[entity, parent]) n
	                 WHERE NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = n) LIMIT 1);
BEGIN
	IF missing IS NOT NULL THEN
		RAISE EXCEPTION 'entity "%" does not exist', missing USING ERRCODE = 'undefined_object',
			HINT = syncext.callable(format('Add it with SELECT sync_add_entity(%L).', missing));
	END IF;
	IF coalesce(field, '') IN ('', '*') THEN
		RAISE EXCEPTION 'a reference needs the name of a field' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF on_delete IS NULL OR on_delete NOT IN ('ignore', 'restrict', 'cascade') THEN
		RAISE EXCEPTION 'on_delete "%" is not known', on_delete USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Say ignore, restrict or cascade.';
	END IF;
	IF EXISTS (SELECT FROM syncext.reference r WHERE r.entity = sync_add_reference.entity AND r.field = sync_add_reference.field) THEN
		RAISE EXCEPTION 'field "%" of entity "%" is a reference already', field, entity USING ERRCODE = 'duplicate_object',
			HINT = 'Change it with UPDATE syncext.reference.';
	END IF;
	INSERT INTO syncext.reference (entity, field, parent, on_delete)
		VALUES (sync_add_reference.entity, sync_add_reference.field, sync_add_reference.parent, sync_add_reference.on_delete);
	-- what named a record that was merged before comes to refer to the one that stayed
	INSERT INTO syncext.repoint (entity)
	SELECT e.name FROM syncext.entity e WHERE e.name = sync_add_reference.parent AND e.merged
	ON CONFLICT ON CONSTRAINT repoint_pkey DO UPDATE SET upto = NULL, child_entity = NULL, after_id = NULL;
END $$;
COMMENT ON FUNCTION @extschema@.sync_add_reference(text, text, text, text) IS
	'a field of an entity names a record of another, which has to come first; on_delete of that record: ignore, restrict or cascade';
REVOKE ALL ON FUNCTION @extschema@.sync_add_reference(text, text, text, text) FROM PUBLIC;

-- However a reference comes to track its children, those there are already have
-- to be listed; and no longer when it ceases to.
CREATE FUNCTION syncext.reference_unlisted() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP = 'INSERT' OR OLD.on_delete = 'ignore' OR NEW.on_delete = 'ignore'
	   OR (NEW.entity, NEW.field, NEW.parent) <> (OLD.entity, OLD.field, OLD.parent) THEN
		NEW.listed := false;
		NEW.made_by := pg_current_xact_id();
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION syncext.reference_unlisted() IS 'trigger: the children of a reference that is made or altered have to be listed again';
REVOKE ALL ON FUNCTION syncext.reference_unlisted() FROM PUBLIC;
CREATE TRIGGER reference_unlisted BEFORE INSERT OR UPDATE ON syncext.reference
	FOR EACH ROW EXECUTE FUNCTION syncext.reference_unlisted();
ALTER TABLE syncext.reference ENABLE ALWAYS TRIGGER reference_unlisted;

CREATE FUNCTION syncext.reference_changed() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF OLD.on_delete <> 'ignore' AND (TG_OP = 'DELETE' OR NOT NEW.listed) THEN
		DELETE FROM syncext.child c WHERE c.entity = OLD.entity AND c.field = OLD.field;
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.reference_changed() IS 'trigger: forgets the listed children of a reference that is gone or altered';
REVOKE ALL ON FUNCTION syncext.reference_changed() FROM PUBLIC;
CREATE TRIGGER reference_changed AFTER UPDATE OR DELETE ON syncext.reference
	FOR EACH ROW EXECUTE FUNCTION syncext.reference_changed();

CREATE FUNCTION syncext.add_children(entities text[], names text[]) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	INSERT INTO syncext.child (parent_entity, parent_id, entity, external_id, field)
	SELECT f.parent, r.fields->>f.field, r.entity, r.external_id, f.field
	FROM unnest(entities, names) l(entity, field)
	JOIN syncext.reference f ON f.entity = l.entity AND f.field = l.field
	JOIN syncext.canonical r ON r.entity = f.entity
	WHERE NOT r.deleted AND jsonb_typeof(r.fields->f.field) IN ('string', 'number')
	  AND octet_length(r.fields->>f.field) <= 1024
	ON CONFLICT DO NOTHING
	$$;
COMMENT ON FUNCTION syncext.add_children(text[], text[]) IS
	'list the records that refer to others by these references, each an entity and a field';
REVOKE ALL ON FUNCTION syncext.add_children(text[], text[]) FROM PUBLIC;

-- Lists the children that were there before their reference.  Writers track them
-- once they see it: those that may not must have ended first, and no transaction is
-- kept waiting for that.  Meanwhile others may change a child, and what is listed here
-- may be out of date by then: readers of the list look at the child.  A reference
-- that this very transaction has made is listed for its own deletes alone, as
-- others don't see it until the commit.  waited: they were waited for already.
CREATE FUNCTION syncext.list_children(waited boolean DEFAULT false) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	entities text[];
	names    text[];
BEGIN
	SELECT array_agg(l.entity), array_agg(l.field) INTO entities, names
	FROM (SELECT f.entity, f.field FROM syncext.reference f
	      WHERE f.on_delete <> 'ignore' AND NOT f.listed
	      ORDER BY f.entity, f.field FOR NO KEY UPDATE) l;
	IF entities IS NULL THEN
		RETURN true;
	END IF;
	IF NOT waited AND NOT syncext.writers_done() THEN
		RETURN false;
	END IF;
	PERFORM syncext.add_children(entities, names);
	UPDATE syncext.reference f SET listed = true
	FROM unnest(entities, names) l(entity, field)
	WHERE f.entity = l.entity AND f.field = l.field AND f.made_by <> pg_current_xact_id();
	RETURN true;
END $$;
COMMENT ON FUNCTION syncext.list_children(boolean) IS
	'list the records that were there before their reference, which a delete needs; false: a transaction that may not know of the reference goes on';
REVOKE ALL ON FUNCTION syncext.list_children(boolean) FROM PUBLIC;

-- The list isn't dumped: it follows from the records.
CREATE FUNCTION syncext.list_children_anew() RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT syncext.add_children(array_agg(f.entity), array_agg(f.field))
	FROM syncext.reference f WHERE f.on_delete <> 'ignore'
	$$;
COMMENT ON FUNCTION syncext.list_children_anew() IS 'list the children of all references, after a restore from a dump';
REVOKE ALL ON FUNCTION syncext.list_children_anew() FROM PUBLIC;
