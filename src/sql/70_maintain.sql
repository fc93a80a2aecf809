-- Keeping the hub in shape: retention, erasure, restored databases, and what
-- to watch.

-- Where the feed's transaction ids come from.  CREATE EXTENSION leaves a row, a
-- restored dump brings those of where it was taken: more than one tells that
-- the ids are not this cluster's.
CREATE FUNCTION syncext.system_identifier() RETURNS bigint
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS 'SELECT system_identifier FROM pg_control_system()';
COMMENT ON FUNCTION syncext.system_identifier() IS 'the identifier of this cluster';
REVOKE ALL ON FUNCTION syncext.system_identifier() FROM PUBLIC;

CREATE FUNCTION syncext.this_database() RETURNS oid
	LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS 'SELECT d.oid FROM pg_database d WHERE d.datname = current_database()';
COMMENT ON FUNCTION syncext.this_database() IS 'the OID of this database';
REVOKE ALL ON FUNCTION syncext.this_database() FROM PUBLIC;
CREATE FUNCTION syncext.this_timeline() RETURNS bigint
	LANGUAGE c STABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_this_timeline';
COMMENT ON FUNCTION syncext.this_timeline() IS 'the timeline that this cluster writes';
REVOKE ALL ON FUNCTION syncext.this_timeline() FROM PUBLIC;

CREATE TABLE syncext.feed_origin (
	mark              uuid PRIMARY KEY DEFAULT pg_catalog.gen_random_uuid(),
	system_identifier bigint NOT NULL DEFAULT syncext.system_identifier(),
	database          oid NOT NULL DEFAULT syncext.this_database(),
	timeline          bigint NOT NULL DEFAULT syncext.this_timeline(),
	epoch             bigint NOT NULL DEFAULT 1 CHECK (epoch > 0),
	ancestors         text[] NOT NULL DEFAULT '{}',
	began_at          timestamptz NOT NULL DEFAULT pg_catalog.now(),
	reason            text NOT NULL DEFAULT 'created'
);
COMMENT ON TABLE syncext.feed_origin IS
	'who this database is, and the cluster that the feed''s transaction ids belong to; several rows: the database was restored from a dump, and the next pull begins the feed anew';
COMMENT ON COLUMN syncext.feed_origin.mark IS 'tells this database from others; a dump that is restored begins a new one';
COMMENT ON COLUMN syncext.feed_origin.database IS 'where it was made: a copy by CREATE DATABASE … TEMPLATE has another OID than this';
COMMENT ON COLUMN syncext.feed_origin.timeline IS 'the cluster''s when last seen: a higher one tells of a promotion, or of a recovery to a point in time';
COMMENT ON COLUMN syncext.feed_origin.epoch IS
	'grows whenever the database may have gone back in time; row versions are compared within one. After the first it is the time at which it began, in milliseconds since 1970';
COMMENT ON COLUMN syncext.feed_origin.ancestors IS 'the marks of the databases whose dumps were restored';
COMMENT ON COLUMN syncext.feed_origin.began_at IS 'when the epoch began';
COMMENT ON COLUMN syncext.feed_origin.reason IS
	'why it began: created; restored (a dump); promoted (a standby, or a recovery to a point in time); behind (the other end of a link knows of more than is here: files were restored)';
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.feed_origin
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.feed_origin ENABLE ALWAYS TRIGGER registry_changed;
INSERT INTO syncext.feed_origin DEFAULT VALUES;
SELECT pg_catalog.pg_extension_config_dump('syncext.feed_origin', '');

CREATE FUNCTION syncext.identity() RETURNS jsonb
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_identity';
COMMENT ON FUNCTION syncext.identity() IS
	'who this database is, as it says to the other end of a link; where it stands is in it as hashes';
REVOKE ALL ON FUNCTION syncext.identity() FROM PUBLIC;
CREATE FUNCTION syncext.identity_case(known jsonb, said jsonb, current boolean, chosen boolean) RETURNS text
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_identity_case';
COMMENT ON FUNCTION syncext.identity_case(jsonb, jsonb, boolean, boolean) IS
	'what the other end of a link is, compared with what is known of it (null: nothing): current tells if it knows all that was exchanged, chosen if it is the hub, whose address was chosen';

CREATE PROCEDURE @extschema@.sync_maintain(INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'sync_maintain';
COMMENT ON PROCEDURE @extschema@.sync_maintain(jsonb) IS
	'rotate and truncate the change log, remove what is older than syncext.retention, try parked changes; commits between its steps, and says what it did';
REVOKE ALL ON PROCEDURE @extschema@.sync_maintain(jsonb) FROM PUBLIC;

-- Erases a record without a trace.  It is no delete: nobody is told of it, and
-- what sources hold is theirs to erase.  Cursors are held first, so that no
-- pull or delivery under way keeps a copy of what goes.
CREATE FUNCTION @extschema@.sync_forget(entity text, external_id text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	restricted record;
	names      text[] := '{canonical,changeLog,conflictLog,waiting,pending,replica,child,routed,captureFailure,agreed,changeId}';
	counts     bigint[] := '{0,0,0,0,0,0,0,0,0,0,0}';
	n          bigint;
	was        bigint;
BEGIN
	IF entity IS NULL OR external_id IS NULL THEN
		RAISE EXCEPTION 'entity and external_id must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF current_setting('transaction_isolation') <> 'read committed' THEN
		RAISE EXCEPTION 'sync_forget needs transaction isolation level READ COMMITTED'
			USING ERRCODE = 'invalid_transaction_state',
			HINT = 'What others commit meanwhile has to be erased, too: begin with BEGIN ISOLATION LEVEL READ COMMITTED.';
	END IF;
	PERFORM FROM syncext.cursor ORDER BY target, slot FOR NO KEY UPDATE;
	-- what this transaction has captured is to go, too
	PERFORM syncext.captured_flush();

	DELETE FROM syncext.canonical r WHERE r.entity = $1 AND r.external_id = $2 RETURNING r.row_version INTO was;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[1] := n;
	IF n > 0 THEN
		PERFORM syncext.raise_floor(entity, was);
	END IF;
	IF EXISTS (SELECT FROM syncext.reference f WHERE f.parent = $1 AND f.on_delete = 'restrict' AND NOT f.listed)
	   AND NOT syncext.list_children() THEN
		RAISE EXCEPTION 'the records that refer to entity "%" cannot be listed while a transaction is changing records that may not know of the reference', $1
			USING ERRCODE = 'lock_not_available', HINT = 'Try again when it has ended.';
	END IF;
	SELECT c.entity, c.external_id INTO restricted
	FROM syncext.child c
	JOIN syncext.canonical r ON r.entity = c.entity AND r.external_id = c.external_id
	     AND NOT r.deleted AND r.fields->>c.field = c.parent_id
	JOIN syncext.reference f ON f.entity = c.entity AND f.field = c.field AND f.parent = c.parent_entity
	WHERE c.parent_entity = $1 AND c.parent_id = $2 AND f.on_delete = 'restrict'
	  AND (c.entity, c.external_id) <> ($1, $2)
	ORDER BY 1, 2 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION '% % cannot be forgotten while % % refers to it', entity, external_id,
			restricted.entity, restricted.external_id USING ERRCODE = 'restrict_violation',
			HINT = syncext.callable(format('Delete that first, or erase it with SELECT sync_forget(%L, %L).',
			                               restricted.entity, restricted.external_id));
	END IF;

	FOR i IN 0 .. 3 LOOP
		EXECUTE format('DELETE FROM syncext.change_log_%s l WHERE l.entity = $1 AND l.external_id = $2', i)
			USING entity, external_id;
		GET DIAGNOSTICS n = ROW_COUNT;
		counts[2] := counts[2] + n;
	END LOOP;
	DELETE FROM syncext.conflict_log l WHERE l.entity = $1 AND l.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[3] := n;
	DELETE FROM syncext.waiting w WHERE w.entity = $1 AND w.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[4] := n;
	DELETE FROM syncext.pending p WHERE p.entity = $1 AND p.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[5] := n;
	DELETE FROM syncext.replica p USING (SELECT k.relation, k.entity FROM syncext.binding k UNION ALL SELECT d.relation, d.entity FROM syncext.detached d) b
	WHERE b.relation = p.relation AND b.entity = $1 AND p.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[6] := n;
	DELETE FROM syncext.child c WHERE c.entity = $1 AND c.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[7] := n;
	DELETE FROM syncext.routed r WHERE r.entity = $1 AND r.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[8] := n;
	DELETE FROM syncext.capture_failure f USING (SELECT k.relation, k.entity FROM syncext.binding k UNION ALL SELECT d.relation, d.entity FROM syncext.detached d) b
	WHERE b.relation = f.relation AND b.entity = $1 AND f.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[9] := n;
	DELETE FROM syncext.agreed a WHERE a.entity = $1 AND a.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[10] := n;
	DELETE FROM syncext.change_id i WHERE i.entity = $1 AND i.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[11] := n;

	-- an entity that was dropped may have left records behind
	IF 0 = ALL (counts) AND NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = $1) THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity USING ERRCODE = 'undefined_object';
	END IF;
	RETURN (SELECT jsonb_object_agg(u.name, u.n) FROM unnest(names, counts) AS u(name, n));
END $$;
COMMENT ON FUNCTION @extschema@.sync_forget(text, text) IS
	'erase a record everywhere the hub keeps it, log and conflicts included, and say how many rows where; no source is told';
REVOKE ALL ON FUNCTION @extschema@.sync_forget(text, text) FROM PUBLIC;

-- What will not go on by itself.
CREATE VIEW syncext.dead_letter AS
	SELECT 'outbound' AS kind, p.target AS source, p.entity, p.external_id, p.since,
	       coalesce(p.dead_since, p.since) AS dead_since, p.attempts, p.error,
	       syncext.callable(pg_catalog.format('SELECT sync_redrive(%L, %L, %L)', p.target, p.entity, p.external_id)) AS redrive,
	       syncext.callable(pg_catalog.format('SELECT sync_discard(%L, %L, %L)', p.target, p.entity, p.external_id)) AS discard
	FROM syncext.pending p
	WHERE p.next_attempt IS NULL
	UNION ALL
	SELECT 'parked', w.source, w.entity, w.external_id, w.parked_at, coalesce(w.dead_since, w.parked_at), w.attempts, w.error,
	       syncext.callable(pg_catalog.format('SELECT sync_redrive(%L, %L, %L)', w.source, w.entity, w.external_id)),
	       syncext.callable(pg_catalog.format('SELECT sync_discard(%L, %L, %L)', w.source, w.entity, w.external_id))
	FROM syncext.waiting w
	WHERE w.next_attempt IS NULL
	UNION ALL
	SELECT 'captured', b.source, b.entity, f.external_id, f.since, coalesce(f.dead_since, f.since), f.attempts, f.error,
	       syncext.callable(pg_catalog.format('SELECT sync_redrive(%L, %L, %L)', b.source, b.entity, f.external_id)),
	       syncext.callable(pg_catalog.format('SELECT sync_discard(%L, %L, %L)', b.source, b.entity, f.external_id))
	FROM syncext.capture_failure f
	JOIN syncext.binding b USING (relation)
	WHERE f.next_attempt IS NULL;
COMMENT ON VIEW syncext.dead_letter IS 'what was given up, of every kind, and what to call about it';
COMMENT ON COLUMN syncext.dead_letter.kind IS
	'outbound: a delivery that the source could not take; parked: a change of the source whose parent has not arrived; captured: a row of the source that could not be brought to the hub';
COMMENT ON COLUMN syncext.dead_letter.since IS 'when it first failed, or the change was parked';
COMMENT ON COLUMN syncext.dead_letter.dead_since IS
	'when it was given up: when the attempt failed that was the last. The older_than of sync_redrive and sync_discard counts from here';
COMMENT ON COLUMN syncext.dead_letter.redrive IS 'tries it again, as if it had never failed';
COMMENT ON COLUMN syncext.dead_letter.discard IS 'gives it up; the change log keeps a note';

-- How far each source is behind, and whom the feed waits for.  Whether anything
-- waits, and since when, is found by the first row of the log that a cursor has yet
-- to get; how much, by how far the log has gone on since: the names of what waits are
-- for syncext.outbound_change, target by target.
CREATE VIEW syncext.feed_lag AS
	WITH horizon AS (
		SELECT h.* FROM (
			SELECT a.backend_xid AS xid, a.xact_start AS since,
			       pg_catalog.format('session %s (%s)', a.pid, a.state) AS holder
			FROM pg_catalog.pg_stat_activity a
			WHERE a.backend_xid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid()
			UNION ALL
			SELECT p.transaction, p.prepared, pg_catalog.format('prepared transaction %L', p.gid)
			FROM pg_catalog.pg_prepared_xacts p) h
		ORDER BY pg_catalog.age(h.xid) DESC LIMIT 1
	), kinds AS MATERIALIZED (
		-- the last transaction that wrote rows of a kind which the same targets are told of:
		-- by it, whoever is told of nothing needs no walk
		SELECT l.source, l.entity, l.told, max(l.xid::text::bigint)::text::xid8 AS last_xid
		FROM syncext.log_row l
		WHERE l.xid >= (SELECT min(pg_catalog.pg_snapshot_xmin(t.snapshot)::text::bigint)::text::xid8
		                FROM syncext.cursor c JOIN syncext.tick t ON t.id = c.lo)
		GROUP BY l.source, l.entity, l.told
	), newest AS MATERIALIZED (
		SELECT l.seq FROM syncext.log_row l ORDER BY l.xid DESC, l.seq DESC LIMIT 1
	), cursors AS (
		SELECT c.target, min(c.lease_until) FILTER (WHERE c.lease_until > pg_catalog.clock_timestamp()) AS lease_until,
		       max(c.moved_at) AS acknowledged_at, bool_or(c.backfill_entity IS NOT NULL) AS backfill,
		       -- consumers side by side share what comes after the hindmost
		       max(greatest(n.seq - d.seq, 0) + 1) FILTER (WHERE d.seq IS NOT NULL) AS changes, min(d.recorded_at) AS since
		FROM syncext.cursor c
		JOIN syncext.source s ON s.name = c.target
		JOIN syncext.tick lo ON lo.id = c.lo
		LEFT JOIN syncext.tick hi ON hi.id = c.hi
		LEFT JOIN newest n ON true
		LEFT JOIN LATERAL (
			SELECT l.seq, l.recorded_at
			FROM syncext.log_row l
			WHERE l.xid >= pg_catalog.pg_snapshot_xmin(lo.snapshot)
			  AND NOT pg_catalog.pg_visible_in_snapshot(l.xid, lo.snapshot)
			  AND NOT (coalesce(pg_catalog.pg_visible_in_snapshot(l.xid, hi.snapshot), false) AND (l.xid, l.seq) <= (c.at_xid, c.at_seq))
			  AND syncext.is_told(l.told, l.source = c.target)
			  AND (s.entities IS NULL OR l.entity = ANY (s.entities))
			  AND (c.slots = 1 OR syncext.record_slot(l.entity, l.external_id, c.slots) = c.slot)
			  AND EXISTS (SELECT FROM kinds k
			              WHERE k.last_xid >= pg_catalog.pg_snapshot_xmin(lo.snapshot)
			                AND syncext.is_told(k.told, k.source = c.target) AND (s.entities IS NULL OR k.entity = ANY (s.entities)))
			ORDER BY l.xid, l.seq LIMIT 1) d ON true
		GROUP BY c.target
	), failures AS (
		SELECT p.target, count(*) FILTER (WHERE p.next_attempt IS NOT NULL) AS retries,
		       count(*) FILTER (WHERE p.next_attempt IS NULL) AS dead,
		       min(p.since) FILTER (WHERE p.next_attempt IS NOT NULL) AS since
		FROM syncext.pending p
		GROUP BY p.target
	)
	SELECT s.name AS source,
	       coalesce(c.changes, 0) AS changes, coalesce(f.retries, 0) AS retries,
	       coalesce(f.dead, 0) AS dead,
	       coalesce(extract(epoch FROM greatest(pg_catalog.clock_timestamp() - least(c.since, f.since), '0')), 0) AS seconds,
	       coalesce(c.backfill, false) AS backfill, c.lease_until, c.acknowledged_at,
	       h.holder AS horizon_holder, h.xid AS horizon_xid, h.since AS horizon_since
	FROM syncext.source s
	LEFT JOIN cursors c ON c.target = s.name
	LEFT JOIN failures f ON f.target = s.name
	LEFT JOIN horizon h ON true;
COMMENT ON VIEW syncext.feed_lag IS
	'source by source how far it is behind; it looks in the change log for the first row that each is yet to get';
COMMENT ON COLUMN syncext.feed_lag.changes IS
	'how far the change log has gone on since the first change that waits or is being delivered, changes that the source doesn''t get included; 0: nothing waits. What a backfill has yet to send is in syncext.backfill_progress';
COMMENT ON COLUMN syncext.feed_lag.retries IS 'deliveries that failed and come again';
COMMENT ON COLUMN syncext.feed_lag.seconds IS 'age of the oldest change that waits, is being delivered or retries';
COMMENT ON COLUMN syncext.feed_lag.lease_until IS 'when the batch that is out comes again; the oldest one';
COMMENT ON COLUMN syncext.feed_lag.horizon_holder IS
	'the oldest transaction that goes on: its own changes are not fed yet, and no log table that it used is truncated. Sessions of others need pg_read_all_stats to be seen';
