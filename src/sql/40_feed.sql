-- The change feed: how far each target has got, and what it failed to take.

CREATE TABLE syncext.tick (
	id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	taken_at timestamptz NOT NULL,
	snapshot pg_snapshot NOT NULL
);
COMMENT ON TABLE syncext.tick IS
	'snapshots that the change feed is cut by; a window is what happened between two of them';
COMMENT ON COLUMN syncext.tick.snapshot IS
	'the transactions that had ended; the one that took the tick counts as going on';
SELECT pg_catalog.pg_extension_config_dump('syncext.tick', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.tick_id_seq', '');

CREATE TABLE syncext.cursor (
	target          text COLLATE "C" NOT NULL
	                REFERENCES syncext.source ON DELETE CASCADE ON UPDATE CASCADE,
	slot            integer NOT NULL DEFAULT 0,
	slots           integer NOT NULL DEFAULT 1,
	lo              bigint NOT NULL,
	hi              bigint,
	at_xid          xid8 NOT NULL DEFAULT '0',
	at_seq          bigint NOT NULL DEFAULT 0,
	backfill_entity text COLLATE "C",
	backfill_id     text COLLATE "C",
	backfill_rest   text[] COLLATE "C",
	batch           bigint NOT NULL DEFAULT 0,
	lease_until     timestamptz,
	end_xid         xid8 NOT NULL DEFAULT '0',
	end_seq         bigint NOT NULL DEFAULT 0,
	end_backfill_id text COLLATE "C",
	batch_retries   integer NOT NULL DEFAULT 0,
	moved_at        timestamptz NOT NULL DEFAULT now(),
	backfill_since  timestamptz,
	backfill_done   bigint NOT NULL DEFAULT 0,
	end_backfill_done bigint NOT NULL DEFAULT 0,
	acknowledged    bigint NOT NULL DEFAULT 0,
	forgotten_xid   xid8 NOT NULL DEFAULT '0',
	forgotten_seq   bigint NOT NULL DEFAULT 0,
	stretch_xid     xid8 NOT NULL DEFAULT '0',
	stretch_seq     bigint NOT NULL DEFAULT 0,
	PRIMARY KEY (target, slot)
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.cursor IS 'how far each target has got in the change feed; one row for each of its parallel consumers';
COMMENT ON COLUMN syncext.cursor.slot IS 'which of the consumers; the records that syncext.record_slot gives this number are its';
COMMENT ON COLUMN syncext.cursor.slots IS 'how many there are, as the last sync_pull said';
COMMENT ON COLUMN syncext.cursor.lo IS 'the tick up to which everything was acknowledged, or handed to syncext.pending';
COMMENT ON COLUMN syncext.cursor.hi IS 'the tick at which the window under way ends; null: none is';
COMMENT ON COLUMN syncext.cursor.at_xid IS 'the last row of the change log that was acknowledged in the window, with at_seq';
COMMENT ON COLUMN syncext.cursor.forgotten_xid IS 'up to which row of the window it is forgotten which records were served, with forgotten_seq: they come again at their next row';
COMMENT ON COLUMN syncext.cursor.stretch_xid IS 'of a source that is linked: up to which row of the window its captured edits of a record are sent as one change, with stretch_seq; what it edits behind that is sent after that. 0: all of the window';
COMMENT ON COLUMN syncext.cursor.backfill_entity IS 'the entity whose golden records are being walked; null: no backfill';
COMMENT ON COLUMN syncext.cursor.backfill_id IS 'the last record of it that was acknowledged';
COMMENT ON COLUMN syncext.cursor.backfill_rest IS 'the entities that are to be walked after it';
COMMENT ON COLUMN syncext.cursor.batch IS 'the number of the last batch; divided by slots it leaves slot';
COMMENT ON COLUMN syncext.cursor.lease_until IS 'until when that batch comes again; null: it was acknowledged';
COMMENT ON COLUMN syncext.cursor.end_xid IS 'where the batch ends in the window, with end_seq';
COMMENT ON COLUMN syncext.cursor.end_backfill_id IS 'where the batch ends in the backfill; null: it has none of it';
COMMENT ON COLUMN syncext.cursor.batch_retries IS 'how many rows of syncext.pending are in the batch';
COMMENT ON COLUMN syncext.cursor.moved_at IS 'when the target last acknowledged a batch';
COMMENT ON COLUMN syncext.cursor.backfill_since IS 'when the backfill began';
COMMENT ON COLUMN syncext.cursor.backfill_done IS 'how many records of it were acknowledged; end_backfill_done: with those of the batch';
COMMENT ON COLUMN syncext.cursor.acknowledged IS
	'the batch that was acknowledged last: acknowledging it once more does nothing, as its sender may have had no answer; 0: none was';
SELECT pg_catalog.pg_extension_config_dump('syncext.cursor', '');

CREATE TABLE syncext.pending (
	target       text COLLATE "C" NOT NULL
	             REFERENCES syncext.source ON DELETE CASCADE ON UPDATE CASCADE,
	entity       text COLLATE "C" NOT NULL,
	external_id  text COLLATE "C" NOT NULL,
	row_version  bigint NOT NULL,
	correction   boolean NOT NULL,
	attempts     integer NOT NULL,
	since        timestamptz NOT NULL,
	next_attempt timestamptz,
	batch        bigint,
	error        text,
	dead_since   timestamptz,
	put_off      boolean NOT NULL DEFAULT false,
	PRIMARY KEY (target, entity, external_id)
) WITH (fillfactor = 80);
COMMENT ON TABLE syncext.pending IS 'deliveries that failed: retries and dead letters';
COMMENT ON COLUMN syncext.pending.row_version IS 'the newest row version that the target is known to lack';
COMMENT ON COLUMN syncext.pending.correction IS 'the target''s own change lost: it has to hear the truth';
COMMENT ON COLUMN syncext.pending.attempts IS 'how often the target failed';
COMMENT ON COLUMN syncext.pending.next_attempt IS 'null: a dead letter; sync_redrive brings it back, and so does a newer row version';
COMMENT ON COLUMN syncext.pending.batch IS 'the batch that it was last put into';
COMMENT ON COLUMN syncext.pending.dead_since IS 'when it became a dead letter';
COMMENT ON COLUMN syncext.pending.put_off IS 'it has not failed: the target has said no key yet of a record that it refers to';
CREATE INDEX pending_due ON syncext.pending (target, next_attempt);
SELECT pg_catalog.pg_extension_config_dump('syncext.pending', '');

-- What sources call.

CREATE FUNCTION syncext.record_slot(entity text, external_id text, slots integer) RETURNS integer
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_record_slot';
COMMENT ON FUNCTION syncext.record_slot(text, text, integer) IS
	'which of so many parallel consumers a record belongs to, from 0';

CREATE FUNCTION @extschema@.sync_pull(source text, max_records integer DEFAULT 500, slot integer DEFAULT 0, slots integer DEFAULT 1)
	RETURNS TABLE (batch bigint, entity text, external_id text, version bigint, row_version bigint,
	               deleted boolean, fields jsonb, last_source text, correction boolean, attempt integer,
	               epoch bigint, updated_at timestamptz, changed text[], source_id text, merged_into text)
	LANGUAGE c VOLATILE PARALLEL UNSAFE ROWS 500 AS 'MODULE_PATHNAME', 'sync_pull';
COMMENT ON FUNCTION @extschema@.sync_pull(text, integer, integer, integer) IS
	'the next batch of changed records for a source, parents first; the same one again until it is acknowledged or its lease ends. A row version is compared with others of its epoch alone. updated_at is the record''s own, as its sources said; in a field ladder it goes back, with version, as "known". changed names the fields that have changed since the source was last told, its own that lost included; null: that is not known, take all of them. source_id is the source''s own key of the record, where it has keys of its own; null: it is to say its key. merged_into, of a record that is gone: the record that it is a part of now. Consumers side by side say which of how many slots they are: each has its own records';

CREATE FUNCTION @extschema@.sync_ack(source text, batch bigint, failed jsonb DEFAULT '[]', slot integer DEFAULT 0, keys jsonb DEFAULT '[]') RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_ack';
COMMENT ON FUNCTION @extschema@.sync_ack(text, bigint, jsonb, integer, jsonb) IS
	'the batch was taken, but for failed: [{"entity", "externalId", "error", "busy"}], which come again later; keys: [{"entity", "externalId", "sourceId"}] says by which keys of its own the source knows records from now on';

-- Set-up and repair, for the extension's owner and roles that were granted these.

CREATE FUNCTION syncext.cursor_start(source text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_cursor_start';
COMMENT ON FUNCTION syncext.cursor_start(text) IS
	'let a source start in the feed, or anew: all golden records of its entities, and what changes from now on';
REVOKE ALL ON FUNCTION syncext.cursor_start(text) FROM PUBLIC;

CREATE FUNCTION syncext.cursor_subscribe(source text, entities text[]) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_cursor_subscribe';
COMMENT ON FUNCTION syncext.cursor_subscribe(text, text[]) IS
	'let a source have the golden records of entities that it is about to subscribe to';
REVOKE ALL ON FUNCTION syncext.cursor_subscribe(text, text[]) FROM PUBLIC;

CREATE FUNCTION syncext.cursor_resync(source text, entity text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_resync';
COMMENT ON FUNCTION syncext.cursor_resync(text, text) IS 'what sync_resync does, whatever schema that is in';
REVOKE ALL ON FUNCTION syncext.cursor_resync(text, text) FROM PUBLIC;

CREATE FUNCTION syncext.cursor_drop(source text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
	SELECT FROM syncext.cursor WHERE target = $1 ORDER BY slot FOR UPDATE;
	DELETE FROM syncext.cursor WHERE target = $1;
	DELETE FROM syncext.pending WHERE target = $1;
$$;
COMMENT ON FUNCTION syncext.cursor_drop(text) IS 'forget how far a source has got in the feed';
REVOKE ALL ON FUNCTION syncext.cursor_drop(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_subscribe(source text, entities text[]) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT syncext.cursor_subscribe($1, $2);
	DELETE FROM syncext.pending WHERE target = $1 AND entity <> ALL ($2);
	UPDATE syncext.source SET entities = $2 WHERE name = $1;
$$;
COMMENT ON FUNCTION @extschema@.sync_subscribe(text, text[]) IS
	'which entities a source gets (null: every); of those that are new to it, it gets all records';
REVOKE ALL ON FUNCTION @extschema@.sync_subscribe(text, text[]) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_resync(source text, entity text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_resync';
COMMENT ON FUNCTION @extschema@.sync_resync(text, text) IS
	'let a source have all records of an entity, or of all that it gets, again; syncext.backfill_progress tells how far it is. Of an attached table, rows that were lost or differ are written again';
REVOKE ALL ON FUNCTION @extschema@.sync_resync(text, text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_redrive(source text, entity text DEFAULT NULL, external_id text DEFAULT NULL,
                             older_than interval DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_redrive';
COMMENT ON FUNCTION @extschema@.sync_redrive(text, text, text, interval) IS
	'try a source''s dead letters, retries and parked changes again now, as if they had never failed; how many. With older_than only what has been a dead letter for that long, by dead_since of syncext.dead_letter';
REVOKE ALL ON FUNCTION @extschema@.sync_redrive(text, text, text, interval) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_discard(source text, entity text DEFAULT NULL, external_id text DEFAULT NULL,
                             older_than interval DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_discard';
COMMENT ON FUNCTION @extschema@.sync_discard(text, text, text, interval) IS
	'give up a source''s dead letters and retries, until the records change again, and its parked changes that are dead letters or of the record named; how many. With older_than only what has been a dead letter for that long, by dead_since of syncext.dead_letter. The change log keeps a note';
REVOKE ALL ON FUNCTION @extschema@.sync_discard(text, text, text, interval) FROM PUBLIC;

-- Target by target, what is on its way.  It walks the change log from each
-- cursor on, and the golden records where a backfill is under way.  All of that
-- hangs on one row of syncext.source, so that a query for one target costs the work
-- of one.
CREATE VIEW syncext.outbound_change AS
	SELECT s.name AS target, o.entity, o.external_id, o.state, o.since, o.attempts, o.next_attempt, o.error,
	       o.row_version, o.batch
	FROM syncext.source s
	CROSS JOIN LATERAL (
		WITH
		-- each of its cursors with its window, and the batch that is out
		feed AS (
			SELECT c.*, lo.snapshot AS lo_snapshot, hi.snapshot AS hi_snapshot,
			       coalesce(c.lease_until > pg_catalog.clock_timestamp(), false) AS leased
			FROM syncext.cursor c
			JOIN syncext.tick lo ON lo.id = c.lo
			LEFT JOIN syncext.tick hi ON hi.id = c.hi
			WHERE c.target = s.name
		),
		-- the log rows that it is due, in the window or behind it
		due AS (
			SELECT l.entity, l.external_id, l.recorded_at, l.row_version,
			       w.in_window AND (l.xid, l.seq) <= (f.at_xid, f.at_seq) AS served,
			       w.in_window AND f.leased AND (l.xid, l.seq) <= (f.end_xid, f.end_seq) AS leased,
			       NOT w.in_window AS later
			FROM feed f
			JOIN syncext.log_row l
				ON l.xid >= pg_catalog.pg_snapshot_xmin(f.lo_snapshot)
				AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, f.lo_snapshot)
				AND syncext.is_told(l.told, l.source = s.name)
				AND (s.entities IS NULL OR l.entity = ANY (s.entities))
				AND (f.slots = 1 OR syncext.record_slot(l.entity, l.external_id, f.slots) = f.slot)
			CROSS JOIN LATERAL (SELECT coalesce(pg_catalog.pg_visible_in_snapshot(l.xid, f.hi_snapshot), false)
			                           AND (f.stretch_xid = '0' OR (l.xid, l.seq) <= (f.stretch_xid, f.stretch_seq))) AS w(in_window)
			WHERE NOT (w.in_window AND (l.xid, l.seq) <= (f.forgotten_xid, f.forgotten_seq))
		),
		backfill AS (
			SELECT r.entity, r.external_id,
			       f.leased AND r.entity = f.backfill_entity AND r.external_id <= f.end_backfill_id AS delivering,
			       r.row_version
			FROM feed f
			JOIN syncext.canonical r ON (s.entities IS NULL OR r.entity = ANY (s.entities))
				AND (r.entity = ANY (f.backfill_rest)
				     OR r.entity = f.backfill_entity AND (f.backfill_id IS NULL OR r.external_id > f.backfill_id))
				AND (f.slots = 1 OR syncext.record_slot(r.entity, r.external_id, f.slots) = f.slot)
			WHERE f.backfill_entity IS NOT NULL
		),
		waiting AS (
			SELECT w.entity, w.external_id, bool_or(w.delivering) AS delivering, min(w.since) AS since,
			       max(w.row_version) AS row_version
			FROM (-- a record stands once in what is remembered of a window: what was served of it there is done
			      SELECT d.entity, d.external_id, bool_or(d.leased) AND NOT bool_or(d.served) AS delivering,
			             min(d.recorded_at) FILTER (WHERE d.later OR NOT d.served) AS since, max(d.row_version) AS row_version
			      FROM due d
			      GROUP BY d.entity, d.external_id
			      HAVING bool_or(d.later) OR NOT bool_or(d.served)
			      UNION ALL
			      SELECT b.entity, b.external_id, coalesce(b.delivering, false), NULL, b.row_version FROM backfill b) w
			GROUP BY w.entity, w.external_id
		)
		SELECT coalesce(p.entity, w.entity) AS entity, coalesce(p.external_id, w.external_id) AS external_id,
		       CASE WHEN p.target IS NULL THEN CASE WHEN w.delivering THEN 'delivering' ELSE 'waiting' END
		            WHEN f.leased AND p.batch = f.batch THEN 'delivering'
		            WHEN p.next_attempt IS NULL THEN 'dead'
		            ELSE 'retry' END AS state,
		       coalesce(p.since, w.since) AS since, coalesce(p.attempts, 0) AS attempts, p.next_attempt, p.error,
		       greatest(p.row_version, w.row_version) AS row_version,
		       CASE WHEN p.target IS NOT NULL AND f.leased AND p.batch = f.batch OR p.target IS NULL AND w.delivering
		            THEN f.batch END AS batch
		FROM (SELECT * FROM syncext.pending WHERE target = s.name) p
		FULL JOIN waiting w ON w.entity = p.entity AND w.external_id = p.external_id
		LEFT JOIN feed f ON f.slot = syncext.record_slot(coalesce(p.entity, w.entity), coalesce(p.external_id, w.external_id), f.slots)
	) o;
COMMENT ON VIEW syncext.outbound_change IS
	'target by target the records that wait, are being delivered, retry or are dead; it walks the change log from each cursor on. What a route will keep from the target counts until it has pulled';
COMMENT ON COLUMN syncext.outbound_change.state IS
	'waiting; delivering: in the batch that is out; retry: it failed and comes again at next_attempt; dead: it failed too often, see sync_redrive and sync_discard';
COMMENT ON COLUMN syncext.outbound_change.since IS
	'when the first change that the target lacks came in, or when the delivery first failed; null: a backfill';

-- How far the backfills are.  It counts the records that are left.
CREATE VIEW syncext.backfill_progress AS
	SELECT c.target AS source, c.slot, c.backfill_entity AS entity, c.backfill_rest AS entities_left,
	       c.backfill_done AS done, c.backfill_done + l.n AS total,
	       pg_catalog.round(100.0 * c.backfill_done / nullif(c.backfill_done + l.n, 0), 1) AS percent,
	       c.backfill_since AS since
	FROM syncext.cursor c
	JOIN syncext.source s ON s.name = c.target
	CROSS JOIN LATERAL (
		SELECT count(*) AS n
		FROM (SELECT r.entity, r.external_id FROM syncext.canonical r
		      WHERE r.entity = c.backfill_entity AND r.external_id > coalesce(c.backfill_id, '')
		      UNION ALL
		      SELECT r.entity, r.external_id FROM syncext.canonical r
		      WHERE r.entity = ANY (c.backfill_rest)) r
		WHERE (s.entities IS NULL OR r.entity = ANY (s.entities))
		  AND (c.slots = 1 OR syncext.record_slot(r.entity, r.external_id, c.slots) = c.slot)) l
	WHERE c.backfill_entity IS NOT NULL;
COMMENT ON VIEW syncext.backfill_progress IS
	'the sources, slot by slot, that are walking through the golden records: new, too far behind, or after sync_resync or sync_subscribe';
COMMENT ON COLUMN syncext.backfill_progress.entity IS 'the entity whose records are being walked; after it come entities_left';
COMMENT ON COLUMN syncext.backfill_progress.done IS 'records that were acknowledged';
COMMENT ON COLUMN syncext.backfill_progress.total IS 'those, and the records that are left as of now';
