-- Links to hubs on other servers, that decide the entities of the relations
-- that are attached to the link's source.

CREATE TABLE syncext.link (
	name       text COLLATE "C" PRIMARY KEY CHECK (name <> '' AND octet_length(name) <= 63),
	server     text COLLATE "C" NOT NULL,
	source     text COLLATE "C" NOT NULL UNIQUE REFERENCES syncext.source,
	owner      text COLLATE "C" NOT NULL DEFAULT CURRENT_USER,
	enabled    boolean NOT NULL DEFAULT true,
	hub        uuid,
	worker_pid integer,
	added_at   timestamptz NOT NULL DEFAULT now(),
	relay      boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE syncext.link IS 'hubs on other servers; sync_link and sync_unlink write it';
COMMENT ON COLUMN syncext.link.server IS 'the foreign server that says where the hub is; its user mapping says which role we have there';
COMMENT ON COLUMN syncext.link.source IS 'the source that stands here for the hub, and that we are there';
COMMENT ON COLUMN syncext.link.owner IS 'the name of the role that made the link: its worker runs as that';
COMMENT ON COLUMN syncext.link.enabled IS 'false: its worker rests';
COMMENT ON COLUMN syncext.link.hub IS 'the mark in the hub''s syncext.feed_origin, when it was linked';
COMMENT ON COLUMN syncext.link.worker_pid IS 'the process of its worker, if one runs';
COMMENT ON COLUMN syncext.link.relay IS 'false: for the tables of the source, and nothing else; true: this hub is a spoke as a whole, its records go there and those of there come. sync_link says which, and it stays so';
SELECT pg_catalog.pg_extension_config_dump('syncext.link', '');
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE ON syncext.link
	FOR EACH ROW EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_truncated AFTER TRUNCATE ON syncext.link
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.link ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.link ENABLE ALWAYS TRIGGER registry_truncated;

CREATE TABLE syncext.link_state (
	link             text COLLATE "C" PRIMARY KEY
	                 REFERENCES syncext.link ON DELETE CASCADE ON UPDATE CASCADE,
	last_exchange_at timestamptz,
	last_push_at     timestamptz,
	last_pull_at     timestamptz,
	pushed           bigint NOT NULL DEFAULT 0,
	pulled           bigint NOT NULL DEFAULT 0,
	failures         integer NOT NULL DEFAULT 0,
	last_error       text,
	last_error_at    timestamptz,
	next_attempt     timestamptz,
	hub_behind       bigint,
	batch_bytes      integer
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.link_state IS 'how each link fares';
COMMENT ON COLUMN syncext.link_state.failures IS 'exchanges that failed one after the other';
COMMENT ON COLUMN syncext.link_state.hub_behind IS 'how many records the hub still had for us at the end of the last exchange, those that failed and come again and dead letters among them; null: the last exchange failed, and the number is not known';
COMMENT ON COLUMN syncext.link_state.batch_bytes IS 'how large a batch is for the time being, as there was not enough memory for a larger one; null: syncext.link_batch_bytes';
SELECT pg_catalog.pg_extension_config_dump('syncext.link_state', '');

-- What an exchange has done.  batch_bytes is what batches may have: one that had to be
-- smaller doubles with each success until it is no smaller any more.
CREATE FUNCTION syncext.note_exchange(link text, pushed bigint, pulled bigint, behind bigint, batch_bytes integer) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.link_state AS s (link, last_exchange_at, last_push_at, last_pull_at, pushed, pulled, hub_behind)
	SELECT l.name, clock_timestamp(), CASE WHEN $2 > 0 THEN clock_timestamp() END,
	       CASE WHEN $3 > 0 THEN clock_timestamp() END, $2, $3, $4
	FROM syncext.link l
	WHERE l.name = $1
	ON CONFLICT ON CONSTRAINT link_state_pkey DO UPDATE
	SET last_exchange_at = excluded.last_exchange_at,
	    last_push_at = coalesce(excluded.last_push_at, s.last_push_at),
	    last_pull_at = coalesce(excluded.last_pull_at, s.last_pull_at),
	    pushed = s.pushed + excluded.pushed, pulled = s.pulled + excluded.pulled,
	    hub_behind = excluded.hub_behind, failures = 0, next_attempt = NULL,
	    batch_bytes = CASE WHEN s.batch_bytes < $5 / 2 THEN s.batch_bytes * 2 END
	$$;
COMMENT ON FUNCTION syncext.note_exchange(text, bigint, bigint, bigint, integer) IS
	'note what exchanges over a link have done since that was noted last';
REVOKE ALL ON FUNCTION syncext.note_exchange(text, bigint, bigint, bigint, integer) FROM PUBLIC;

-- batch_bytes: what the next batch may have, after an out-of-memory; else null.
CREATE FUNCTION syncext.note_exchange_error(link text, error text, batch_bytes integer) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.link_state AS s (link, failures, last_error, last_error_at, batch_bytes)
	SELECT l.name, 1, $2, clock_timestamp(), $3
	FROM syncext.link l
	WHERE l.name = $1
	ON CONFLICT ON CONSTRAINT link_state_pkey DO UPDATE
	SET failures = s.failures + 1, last_error = excluded.last_error, last_error_at = excluded.last_error_at,
	    hub_behind = NULL, batch_bytes = coalesce(excluded.batch_bytes, s.batch_bytes)
	$$;
COMMENT ON FUNCTION syncext.note_exchange_error(text, text, integer) IS 'note that an exchange over a link has failed';
REVOKE ALL ON FUNCTION syncext.note_exchange_error(text, text, integer) FROM PUBLIC;

CREATE FUNCTION syncext.note_link_failure(link text, failures integer, error text, next_attempt timestamptz) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.link_state (link, failures, last_error, last_error_at, next_attempt)
	SELECT l.name, $2, $3, clock_timestamp(), $4
	FROM syncext.link l
	WHERE l.name = $1
	ON CONFLICT ON CONSTRAINT link_state_pkey DO UPDATE
	SET failures = excluded.failures, last_error = excluded.last_error, last_error_at = excluded.last_error_at,
	    hub_behind = NULL, next_attempt = excluded.next_attempt
	$$;
COMMENT ON FUNCTION syncext.note_link_failure(text, integer, text, timestamptz) IS
	'note how often the worker of a link has failed, and when it tries again';
REVOKE ALL ON FUNCTION syncext.note_link_failure(text, integer, text, timestamptz) FROM PUBLIC;

CREATE TABLE syncext.detached (
	relation regclass PRIMARY KEY,
	source   text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity   text COLLATE "C" NOT NULL,
	key      text[] COLLATE "C" NOT NULL,
	columns  jsonb,
	row_type regtype NOT NULL,
	loaded   jsonb,
	linked_at timestamptz NOT NULL,
	detached_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	own_keys boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE syncext.detached IS
	'relations that were detached from a source that is linked: their rows of syncext.replica, what was agreed on with the hub, are kept for when they are attached again';
COMMENT ON COLUMN syncext.detached.key IS 'its key columns, as in syncext.binding: attached by others it is another relation';
COMMENT ON COLUMN syncext.detached.columns IS 'the fields that it had, as in syncext.binding';
COMMENT ON COLUMN syncext.detached.row_type IS 'tells it from another relation that was given its OID';
COMMENT ON COLUMN syncext.detached.loaded IS '{column: its number} of the fields, as in syncext.binding';
COMMENT ON COLUMN syncext.detached.detached_at IS 'when it was detached';
COMMENT ON COLUMN syncext.detached.own_keys IS 'its rows had keys of its own, as in syncext.binding';
COMMENT ON COLUMN syncext.detached.linked_at IS 'the added_at of the link: with another one nothing was agreed on';
SELECT pg_catalog.pg_extension_config_dump('syncext.detached', '');

CREATE FUNCTION syncext.keep_detached(relation regclass) RETURNS boolean
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.detached (relation, source, entity, key, columns, row_type, loaded, linked_at, own_keys)
	SELECT b.relation, b.source, b.entity, b.key, b.columns, b.row_type, b.loaded, l.added_at, b.own_keys
	FROM syncext.binding b
	JOIN syncext.link l ON l.source = b.source AND NOT l.relay
	WHERE b.relation = $1 AND b.row_type IS NOT NULL
	RETURNING true
	$$;
COMMENT ON FUNCTION syncext.keep_detached(regclass) IS
	'before a relation of a linked source is detached: note what it was, for when it is attached again; null: it is not of a linked source';
REVOKE ALL ON FUNCTION syncext.keep_detached(regclass) FROM PUBLIC;

CREATE FUNCTION syncext.resume_detached(relation regclass) RETURNS boolean
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	UPDATE syncext.binding b SET resumed = nextval('syncext.change_seq'), loaded = coalesce(d.loaded, b.loaded)
	FROM syncext.detached d
	JOIN syncext.link l ON l.source = d.source AND l.added_at = d.linked_at
	WHERE b.relation = $1 AND d.relation = b.relation AND d.source = b.source AND d.entity = b.entity
	  AND d.row_type = b.row_type AND d.key = b.key AND d.own_keys = b.own_keys AND d.columns IS NOT DISTINCT FROM b.columns
	RETURNING true
	$$;
COMMENT ON FUNCTION syncext.resume_detached(regclass) IS
	'let a relation that is attached again go on from what was agreed on before; null: it was not detached, or is another now';
REVOKE ALL ON FUNCTION syncext.resume_detached(regclass) FROM PUBLIC;

CREATE TABLE syncext.peer (
	link          text COLLATE "C" PRIMARY KEY
	              REFERENCES syncext.link ON DELETE CASCADE ON UPDATE CASCADE,
	identity      jsonb,
	answered      bigint NOT NULL DEFAULT 0,
	pulled        bigint NOT NULL DEFAULT 0,
	heard_at      timestamptz,
	resync_since  timestamptz,
	resync_entity text COLLATE "C",
	resync_id     text COLLATE "C",
	resent        bigint NOT NULL DEFAULT 0,
	stranded      bigint NOT NULL DEFAULT 0,
	turned        text CHECK (turned IN ('hub', 'spoke')),
	turned_at     timestamptz,
	refused       text,
	refused_at    timestamptz,
	met_epoch     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.peer IS 'what each link knows of its hub, to notice when one of the two has gone back in time, or is another';
COMMENT ON COLUMN syncext.peer.identity IS 'the identity of the hub when it was last connected to, as its syncext.identity() said; null: it was let go, and the next one is taken';
COMMENT ON COLUMN syncext.peer.answered IS 'the number of the last batch of ours that it has answered';
COMMENT ON COLUMN syncext.peer.pulled IS 'the number of the last batch of its records that was placed here';
COMMENT ON COLUMN syncext.peer.heard_at IS 'when the later of these two came, by the hub''s clock';
COMMENT ON COLUMN syncext.peer.resync_since IS 'the hub has gone back in time, and what it knew at that time is being compared; null: it is not';
COMMENT ON COLUMN syncext.peer.met_epoch IS 'the epoch of the hub that the row versions are of which are being compared; 0: not known';
COMMENT ON COLUMN syncext.peer.resync_entity IS 'how far that is, with resync_id';
COMMENT ON COLUMN syncext.peer.resync_id IS 'the last record of the entity that was compared';
COMMENT ON COLUMN syncext.peer.resent IS 'of how many records the hub had lost something that is sent again, the last time';
COMMENT ON COLUMN syncext.peer.stranded IS 'how many records it had lost, the last time, that are in tables from which nothing is sent; or that it does not know, where we have gone back in time';
COMMENT ON COLUMN syncext.peer.turned IS 'which of the two was last found to have gone back in time; null: neither';
COMMENT ON COLUMN syncext.peer.turned_at IS 'when that was found';
COMMENT ON COLUMN syncext.peer.refused_at IS 'when that was last said';
COMMENT ON COLUMN syncext.peer.refused IS 'why the link is stopped, until an administrator decides: the hub is, or we are for it, other; copy; old primary; moved; doubtful. null: it is not';
SELECT pg_catalog.pg_extension_config_dump('syncext.peer', '');
ALTER TABLE syncext.peer SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION syncext.release_hub(link text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE syncext.peer p
	SET identity = NULL, refused = NULL, refused_at = NULL,
	    met_epoch = CASE WHEN p.resync_since IS NULL THEN coalesce(syncext.log_number(p.identity->'epoch'), 0) ELSE p.met_epoch END
	WHERE p.link = $1;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'link "%" does not exist', link USING ERRCODE = 'undefined_object';
	END IF;
END $$;
COMMENT ON FUNCTION syncext.release_hub(text) IS
	'let the database that the link''s server leads to be its hub, whatever it is: what it lacks of what was agreed on here is sent to it';
REVOKE ALL ON FUNCTION syncext.release_hub(text) FROM PUBLIC;

-- Edits are written to the log when their transaction commits.
CREATE FUNCTION syncext.captured_flush() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_captured_flush';
COMMENT ON FUNCTION syncext.captured_flush() IS
	'write to the change log now what the transaction has captured for a hub behind a link';
REVOKE ALL ON FUNCTION syncext.captured_flush() FROM PUBLIC;

-- What sync_link and sync_unlink do beside writing syncext.link.
CREATE FUNCTION syncext.link_start(source text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_link_start';
COMMENT ON FUNCTION syncext.link_start(text) IS
	'after a link was added: edits of its source''s tables are kept for the hub there from now on';
REVOKE ALL ON FUNCTION syncext.link_start(text) FROM PUBLIC;
CREATE FUNCTION syncext.link_end(source text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_link_end';
COMMENT ON FUNCTION syncext.link_end(text) IS
	'before a link is removed: forget what was agreed on with its hub';
REVOKE ALL ON FUNCTION syncext.link_end(text) FROM PUBLIC;

-- The halves of an exchange, for programs that carry changes and records between the
-- databases by other ways than a connection.
CREATE FUNCTION syncext.captured(source text, max_records integer DEFAULT 500)
	RETURNS TABLE (batch bigint, change jsonb)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 500 AS 'MODULE_PATHNAME', 'syncext_captured';
COMMENT ON FUNCTION syncext.captured(text, integer) IS
	'the next edits of a linked source''s tables, folded into one change a record, for sync_apply at its hub; the same ones again until they are answered';
REVOKE ALL ON FUNCTION syncext.captured(text, integer) FROM PUBLIC;

CREATE FUNCTION syncext.captured_answered(source text, batch bigint, answers jsonb) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_captured_answered';
COMMENT ON FUNCTION syncext.captured_answered(text, bigint, jsonb) IS
	'take the hub''s answers to a batch of syncext.captured, an array in its order';
REVOKE ALL ON FUNCTION syncext.captured_answered(text, bigint, jsonb) FROM PUBLIC;

CREATE FUNCTION syncext.linked_deliver(source text, records jsonb) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_linked_deliver';
COMMENT ON FUNCTION syncext.linked_deliver(text, jsonb) IS
	'write rows of the hub''s sync_pull, as an array of objects, into a linked source''s tables; returns what sync_ack there takes as failed';
REVOKE ALL ON FUNCTION syncext.linked_deliver(text, jsonb) FROM PUBLIC;

CREATE FUNCTION syncext.linked_retry(source text) RETURNS integer
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_linked_retry';
COMMENT ON FUNCTION syncext.linked_retry(text) IS
	'bring up again those edits of syncext.capture_failure that are due; how many rows still differ from what was agreed on with the hub';
REVOKE ALL ON FUNCTION syncext.linked_retry(text) FROM PUBLIC;
