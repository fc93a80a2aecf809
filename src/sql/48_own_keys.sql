-- Sources that name the records of an entity by keys of their own: the crosswalk.

CREATE TABLE syncext.keyed_entity (
	source text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity text COLLATE "C" NOT NULL REFERENCES syncext.entity ON DELETE CASCADE,
	since  timestamptz NOT NULL DEFAULT now(),
	armed  boolean NOT NULL DEFAULT false,
	bound_from xid8 NOT NULL DEFAULT pg_catalog.pg_snapshot_xmin(pg_catalog.pg_current_snapshot()),
	made_by xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
	linked  boolean NOT NULL DEFAULT false,
	PRIMARY KEY (source, entity)
);
COMMENT ON TABLE syncext.keyed_entity IS
	'entities whose records a source names by keys of its own; sync_own_keys writes it';
COMMENT ON COLUMN syncext.keyed_entity.source IS 'the source';
COMMENT ON COLUMN syncext.keyed_entity.armed IS
	'all that the source sent before it had keys of its own is bound; its first document or pull sees to that';
COMMENT ON COLUMN syncext.keyed_entity.bound_from IS 'the oldest transaction whose changes may not be bound yet, until it is armed';
COMMENT ON COLUMN syncext.keyed_entity.made_by IS 'the transaction that gave the source keys of its own';
COMMENT ON COLUMN syncext.keyed_entity.linked IS
	'the keys are those of tables behind a link, which goes by external ids and tells this hub of them';
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.keyed_entity
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.keyed_entity ENABLE ALWAYS TRIGGER registry_changed;
SELECT pg_catalog.pg_extension_config_dump('syncext.keyed_entity', '');

-- The order in which the hub changes a record's keys and the record itself: a key is added
-- before its record is looked at, and changed when the record is held.
CREATE TABLE syncext.source_key (
	source      text COLLATE "C" NOT NULL,
	entity      text COLLATE "C" NOT NULL,
	source_id   text COLLATE "C" NOT NULL CHECK (octet_length(source_id) BETWEEN 1 AND 1024),
	external_id text COLLATE "C" NOT NULL CHECK (octet_length(external_id) BETWEEN 1 AND 1024),
	duplicate   boolean NOT NULL DEFAULT false,
	since       timestamptz NOT NULL DEFAULT now(),
	gone_batch  bigint,
	unsaid      boolean NOT NULL DEFAULT false,
	merge       bigint,
	PRIMARY KEY (source, entity, source_id)
);
COMMENT ON TABLE syncext.source_key IS
	'the crosswalk: by which keys sources with keys of their own know records';
COMMENT ON COLUMN syncext.source_key.source IS 'the source whose key it is';
COMMENT ON COLUMN syncext.source_key.source_id IS 'the source''s own key of the record';
COMMENT ON COLUMN syncext.source_key.external_id IS 'the record''s id at the hub';
COMMENT ON COLUMN syncext.source_key.duplicate IS
	'deliveries do not go to it, as the source has deleted what it named or has taken a delete of it, or as two records were merged of which it had a key each; documents that come under it still find the record';
COMMENT ON COLUMN syncext.source_key.since IS 'when it was bound';
COMMENT ON COLUMN syncext.source_key.gone_batch IS
	'the batch in which the source is told that the record is gone; when it is acknowledged, deliveries go to the key no more';
COMMENT ON COLUMN syncext.source_key.unsaid IS
	'of a source that is linked: its hub has still to be told';
COMMENT ON COLUMN syncext.source_key.merge IS 'the merge that has brought it to its record; null: none';
CREATE UNIQUE INDEX source_key_record ON syncext.source_key (entity, external_id, source) WHERE NOT duplicate;
CREATE INDEX source_key_duplicate ON syncext.source_key (entity, external_id, source) WHERE duplicate;
CREATE INDEX source_key_unsaid ON syncext.source_key (source, since) WHERE unsaid;
CREATE INDEX source_key_gone ON syncext.source_key (source, gone_batch) WHERE gone_batch IS NOT NULL;
SELECT pg_catalog.pg_extension_config_dump('syncext.source_key', '');

CREATE TABLE syncext.key_problem (
	source      text COLLATE "C" NOT NULL,
	entity      text COLLATE "C" NOT NULL,
	kind        text COLLATE "C" NOT NULL CHECK (kind IN ('conflict', 'unsaid', 'reused')),
	source_id   text COLLATE "C",
	external_id text COLLATE "C" NOT NULL,
	noted_at    timestamptz NOT NULL,
	PRIMARY KEY (source, entity, kind),
	FOREIGN KEY (source, entity) REFERENCES syncext.keyed_entity ON DELETE CASCADE
);
COMMENT ON TABLE syncext.key_problem IS
	'what sync_check tells of sources'' own keys: one of each kind, source and entity';
COMMENT ON COLUMN syncext.key_problem.kind IS
	'conflict: the two keys of a document were not of one record; unsaid: a record was served that the source has no key of, and it is to say one; reused: a table has drawn a key that named another record so far, which has lost it';
COMMENT ON COLUMN syncext.key_problem.source_id IS 'the source''s own key; null: none is known';
COMMENT ON COLUMN syncext.key_problem.noted_at IS 'when that was noted';
SELECT pg_catalog.pg_extension_config_dump('syncext.key_problem', '');

-- What a source has of an entity: all that it was ever served or could have been, if it was
-- served at all, and what it has sent itself.
CREATE FUNCTION syncext.bind_as_named(source text, entity text, duplicate boolean DEFAULT false) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	served boolean := EXISTS (SELECT FROM syncext.cursor c WHERE c.target = $1 AND c.batch > 0)
	                  AND (SELECT s.entities IS NULL OR $2 = ANY (s.entities) FROM syncext.source s WHERE s.name = $1);
	bound  bigint;
BEGIN
	INSERT INTO syncext.source_key (source, entity, source_id, external_id, duplicate)
	SELECT $1, c.entity, c.external_id, c.external_id, $3
	FROM syncext.canonical c
	WHERE c.entity = $2
	  AND (served AND NOT EXISTS (SELECT FROM syncext.route r WHERE r.source = $1 AND r.entity = $2 AND r.filter IS NOT NULL)
	       OR EXISTS (SELECT FROM syncext.routed h WHERE h.target = $1 AND h.entity = c.entity AND h.external_id = c.external_id)
	       OR c.last_source = $1
	       OR jsonb_path_exists(c.stamps, '$.*[*] ? (@ == $name)', jsonb_build_object('name', $1))
	       OR c.external_id IN (SELECT l.external_id FROM syncext.change_log l WHERE l.source = $1 AND l.entity = $2))
	ON CONFLICT DO NOTHING;
	GET DIAGNOSTICS bound = ROW_COUNT;
	RETURN bound;
END $$;
COMMENT ON FUNCTION syncext.bind_as_named(text, text, boolean) IS
	'bind the external ids of the records that a source has as its own keys (duplicate: deliveries do not go there unless a row is found to have it); how many';
REVOKE ALL ON FUNCTION syncext.bind_as_named(text, text, boolean) FROM PUBLIC;

-- What the source was just sending by external ids when it got keys of its own: those
-- transactions must have ended.  Others don't see what this very transaction has made, and
-- go on until its commit.
CREATE FUNCTION syncext.arm_own_keys(source text) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	entities text[];
BEGIN
	entities := ARRAY(SELECT k.entity FROM syncext.keyed_entity k WHERE k.source = $1 AND NOT k.armed ORDER BY k.entity FOR NO KEY UPDATE);
	IF NOT syncext.writers_done() THEN
		RETURN false;
	END IF;
	INSERT INTO syncext.source_key (source, entity, source_id, external_id)
	SELECT DISTINCT $1, l.entity, l.external_id, l.external_id
	FROM syncext.keyed_entity k
	JOIN syncext.log_row l ON l.xid >= k.bound_from AND l.source = $1 AND l.entity = k.entity
	JOIN syncext.canonical c ON c.entity = l.entity AND c.external_id = l.external_id
	WHERE k.source = $1 AND k.entity = ANY (entities)
	  AND NOT EXISTS (SELECT FROM syncext.source_key o
	                  WHERE o.entity = l.entity AND o.external_id = l.external_id AND o.source = $1 AND NOT o.duplicate)
	ON CONFLICT DO NOTHING;
	UPDATE syncext.keyed_entity k SET armed = true
	WHERE k.source = $1 AND k.entity = ANY (entities) AND k.made_by <> pg_current_xact_id();
	RETURN true;
END $$;
COMMENT ON FUNCTION syncext.arm_own_keys(text) IS
	'bind what a source was sending by external ids while it got keys of its own, which its first document or pull does; false: a transaction that may not know of them goes on';
REVOKE ALL ON FUNCTION syncext.arm_own_keys(text) FROM PUBLIC;

-- The cursors are held: what the source pulls meanwhile would have neither of the two keys.
CREATE FUNCTION @extschema@.sync_own_keys(source text, entity text, own boolean DEFAULT true) RETURNS bigint
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	keys bigint;
	why  text;
BEGIN
	IF source IS NULL OR entity IS NULL OR own IS NULL THEN
		RAISE EXCEPTION 'source, entity and own must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF NOT EXISTS (SELECT FROM syncext.source s WHERE s.name = $1) THEN
		RAISE EXCEPTION 'source "%" does not exist', $1 USING ERRCODE = 'undefined_object',
			HINT = syncext.callable(format('Add it with SELECT sync_add_source(%L).', $1));
	END IF;
	IF NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = $2) THEN
		RAISE EXCEPTION 'entity "%" does not exist', $2 USING ERRCODE = 'undefined_object',
			HINT = syncext.callable(format('Add it with SELECT sync_add_entity(%L).', $2));
	END IF;
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'sync_own_keys needs transaction isolation level READ COMMITTED'
			USING ERRCODE = 'invalid_transaction_state',
			HINT = 'What others commit meanwhile has to be bound, too: begin with BEGIN ISOLATION LEVEL READ COMMITTED.';
	END IF;
	PERFORM FROM syncext.cursor c WHERE c.target = $1 ORDER BY c.slot FOR NO KEY UPDATE;
	IF EXISTS (SELECT FROM syncext.binding b WHERE b.source = $1 AND b.entity = $2 AND b.own_keys) THEN
		IF own THEN
			RETURN 0;
		END IF;
		RAISE EXCEPTION 'source "%" has a table of entity "%" attached that draws its keys itself', source, entity
			USING ERRCODE = 'object_in_use', HINT = 'Detach it first with sync_detach.';
	END IF;
	IF own THEN
		why := CASE WHEN EXISTS (SELECT FROM syncext.binding b WHERE b.source = $1 AND b.entity = $2)
		            THEN 'has a table of it attached, whose rows go by external ids'
		            WHEN EXISTS (SELECT FROM syncext.link l WHERE l.source = $1) OR EXISTS (SELECT FROM syncext.spoke p WHERE p.source = $1)
		            THEN 'is one end of a link, which goes by external ids' END;
		IF why IS NOT NULL THEN
			RAISE EXCEPTION 'source "%" cannot have keys of its own: it %', source, why USING ERRCODE = 'feature_not_supported',
				HINT = 'Keys of their own are for sources that send documents, and pull; of a table, say so to sync_attach.';
		END IF;
		INSERT INTO syncext.keyed_entity (source, entity) VALUES ($1, $2) ON CONFLICT DO NOTHING;
		IF NOT FOUND THEN
			RETURN 0;
		END IF;
		RETURN syncext.bind_as_named(source, entity);
	END IF;
	DELETE FROM syncext.keyed_entity k WHERE k.source = $1 AND k.entity = $2;
	DELETE FROM syncext.source_key k WHERE k.source = $1 AND k.entity = $2;
	GET DIAGNOSTICS keys = ROW_COUNT;
	RETURN keys;
END $$;
COMMENT ON FUNCTION @extschema@.sync_own_keys(text, text, boolean) IS
	'let a source name the records of an entity by keys of its own, or (own false) by their external ids again. What it has by now is bound under the external ids; returns how many keys were bound, or forgotten';
REVOKE ALL ON FUNCTION @extschema@.sync_own_keys(text, text, boolean) FROM PUBLIC;

-- Documents that the source sends meanwhile by external ids are of records that the table
-- has no row of, so nothing has to come into force later.
CREATE FUNCTION syncext.own_keys_of_table(source text, entity text) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM FROM syncext.cursor c WHERE c.target = $1 ORDER BY c.slot FOR NO KEY UPDATE;
	INSERT INTO syncext.keyed_entity (source, entity, armed) VALUES ($1, $2, true) ON CONFLICT DO NOTHING;
	IF FOUND THEN
		PERFORM syncext.bind_as_named($1, $2, true);
	END IF;
END $$;
COMMENT ON FUNCTION syncext.own_keys_of_table(text, text) IS
	'let a source whose table draws its keys name the records of an entity by these; sync_attach calls it';
REVOKE ALL ON FUNCTION syncext.own_keys_of_table(text, text) FROM PUBLIC;

CREATE FUNCTION syncext.sequence_of_key(relation regclass, key text) RETURNS oid
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT q.oid
	FROM pg_attribute a
	LEFT JOIN pg_attrdef f ON f.adrelid = a.attrelid AND f.adnum = a.attnum
	JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
	                    AND d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
	                 OR d.classid = 'pg_attrdef'::regclass AND d.objid = f.oid AND d.refclassid = 'pg_class'::regclass
	JOIN pg_class q ON q.relkind = 'S'
	               AND q.oid = CASE WHEN d.classid = 'pg_class'::regclass THEN d.objid ELSE d.refobjid END
	WHERE a.attrelid = $1 AND a.attname = $2 AND NOT a.attisdropped
	LIMIT 1
	$$;
COMMENT ON FUNCTION syncext.sequence_of_key(regclass, text) IS 'the sequence that a column''s default draws from; null: none';
REVOKE ALL ON FUNCTION syncext.sequence_of_key(regclass, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_bind(source text, entity text, source_id text, external_id text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_bind';
COMMENT ON FUNCTION @extschema@.sync_bind(text, text, text, text) IS
	'say by which of its own keys a source knows a record; refused where the key is another record''s, or the record has another key of the source';
REVOKE ALL ON FUNCTION @extschema@.sync_bind(text, text, text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_unbind(source text, entity text, source_id text) RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_unbind';
COMMENT ON FUNCTION @extschema@.sync_unbind(text, text, text) IS
	'forget one of a source''s own keys: what comes under it is a new record then. False: there was none';
REVOKE ALL ON FUNCTION @extschema@.sync_unbind(text, text, text) FROM PUBLIC;

CREATE FUNCTION syncext.record_of_key(source text, entity text, source_id text) RETURNS text
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_record_of_key';
COMMENT ON FUNCTION syncext.record_of_key(text, text, text) IS
	'the external id of the record that a source knows by a key of its own; null: none. For roles that may act as the source';
REVOKE ALL ON FUNCTION syncext.record_of_key(text, text, text) FROM PUBLIC;
