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
	'the identity of this database, and the cluster that the feed''s transaction ids belong to; several rows: the database was restored from a dump, and the next pull begins the feed anew';
COMMENT ON COLUMN syncext.feed_origin.mark IS 'tells this database from others; a dump that is restored begins a new one';
COMMENT ON COLUMN syncext.feed_origin.database IS 'its OID: a copy by CREATE DATABASE … TEMPLATE has another one, and begins a new epoch';
COMMENT ON COLUMN syncext.feed_origin.timeline IS 'the cluster''s when last seen: a higher one tells of a promotion, or of a recovery to a point in time';
COMMENT ON COLUMN syncext.feed_origin.epoch IS
	'grows whenever the database may have gone back in time; row versions are compared within one. After the first it is the time at which it began, in milliseconds since 1970';
COMMENT ON COLUMN syncext.feed_origin.ancestors IS 'the marks of the databases whose dumps were restored';
COMMENT ON COLUMN syncext.feed_origin.began_at IS 'when the epoch began';
COMMENT ON COLUMN syncext.feed_origin.reason IS
	'why it began: created; restored (a dump); promoted (a standby, or a recovery to a point in time); copied (by CREATE DATABASE … TEMPLATE); behind (the other end of a link knows of more than is here: files were restored)';
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.feed_origin
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.feed_origin ENABLE ALWAYS TRIGGER registry_changed;
INSERT INTO syncext.feed_origin DEFAULT VALUES;
SELECT pg_catalog.pg_extension_config_dump('syncext.feed_origin', '');

CREATE FUNCTION syncext.next_epoch() RETURNS bigint
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT greatest(coalesce(max(o.epoch), 0) + 1, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)
	FROM syncext.feed_origin o
	$$;
COMMENT ON FUNCTION syncext.next_epoch() IS 'an epoch later than every one that there was, here or in a time that is lost';
REVOKE ALL ON FUNCTION syncext.next_epoch() FROM PUBLIC;

-- One mark of its own takes the place of those that are here; next_epoch() sees them still.
CREATE FUNCTION syncext.begin_restored(max_ancestors integer) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	WITH old AS (
		DELETE FROM syncext.feed_origin o RETURNING o.mark::text, o.ancestors
	), known AS (
		SELECT old.mark, 0 AS age FROM old
		UNION ALL SELECT unnest(old.ancestors), 1 FROM old
	), ancestor AS (
		SELECT k.mark FROM known k GROUP BY k.mark ORDER BY min(k.age) LIMIT $1
	)
	INSERT INTO syncext.feed_origin (epoch, ancestors, reason)
	SELECT syncext.next_epoch(), ARRAY(SELECT a.mark FROM ancestor a), 'restored'
	$$;
COMMENT ON FUNCTION syncext.begin_restored(integer) IS
	'after a restore from a dump: make this a database of its own, that names those before it, the nearest first, as its ancestors';
REVOKE ALL ON FUNCTION syncext.begin_restored(integer) FROM PUBLIC;

-- They are to be in the next window of a cursor that starts anew in this transaction.  A
-- record of which the window's stretch under way has been served in part has been served
-- with all that the stretch has of it.
CREATE FUNCTION syncext.unanswered_edits(source text) RETURNS TABLE (seq bigint, entity text, external_id text, deleted boolean)
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	WITH feed AS (
		SELECT c.*, lo.snapshot AS lo_snapshot, hi.snapshot AS hi_snapshot
		FROM syncext.cursor c
		JOIN syncext.tick lo ON lo.id = c.lo
		LEFT JOIN syncext.tick hi ON hi.id = c.hi
		WHERE c.target = $1
	), due AS (
		SELECT l.seq, l.entity, l.external_id, coalesce(l.detail ? 'deleted', false) AS deleted,
		       w.in_window, (l.xid, l.seq) <= (f.at_xid, f.at_seq) AS before
		FROM syncext.log_row l
		CROSS JOIN feed f
		CROSS JOIN LATERAL (SELECT coalesce(pg_visible_in_snapshot(l.xid, f.hi_snapshot), false)
		                           AND (f.stretch_xid = '0' OR (l.xid, l.seq) <= (f.stretch_xid, f.stretch_seq))) AS w(in_window)
		WHERE l.source = $1 AND l.resolution = 'c' AND NOT pg_visible_in_snapshot(l.xid, f.lo_snapshot)
		  AND NOT (w.in_window AND (l.xid, l.seq) <= (f.forgotten_xid, f.forgotten_seq))
	)
	SELECT d.seq, d.entity, d.external_id, d.deleted FROM due d
	WHERE NOT d.in_window
	   OR NOT EXISTS (SELECT FROM due s
	                  WHERE s.in_window AND s.before AND s.entity = d.entity AND s.external_id = d.external_id)
	$$;
COMMENT ON FUNCTION syncext.unanswered_edits(text) IS
	'the rows of the change log with edits of a source''s relations that the hub behind its link has not answered';
REVOKE ALL ON FUNCTION syncext.unanswered_edits(text) FROM PUBLIC;

CREATE FUNCTION syncext.renew_captured(source text) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	WITH renewed AS MATERIALIZED (
		SELECT u.seq FROM syncext.unanswered_edits($1) u
	-- all of them see the log as it was before
	), log_0 AS (
		UPDATE syncext.change_log_0 SET xid = pg_current_xact_id() WHERE seq IN (SELECT r.seq FROM renewed r)
	), log_1 AS (
		UPDATE syncext.change_log_1 SET xid = pg_current_xact_id() WHERE seq IN (SELECT r.seq FROM renewed r)
	), log_2 AS (
		UPDATE syncext.change_log_2 SET xid = pg_current_xact_id() WHERE seq IN (SELECT r.seq FROM renewed r)
	)
	UPDATE syncext.change_log_3 SET xid = pg_current_xact_id() WHERE seq IN (SELECT r.seq FROM renewed r)
	$$;
COMMENT ON FUNCTION syncext.renew_captured(text) IS
	'give the edits of a source that the hub behind its link has not answered this transaction''s id';
REVOKE ALL ON FUNCTION syncext.renew_captured(text) FROM PUBLIC;

CREATE FUNCTION syncext.identity() RETURNS jsonb
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_identity';
COMMENT ON FUNCTION syncext.identity() IS
	'the identity of this database, as it tells the other end of a link; where it stands is in it as hashes';
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

-- Erases a record without a trace.  It is no delete: no source is told of it, and
-- what sources hold is theirs to erase.  Cursors are held first, so that no
-- pull or delivery under way keeps a copy of what goes.
CREATE FUNCTION @extschema@.sync_forget(entity text, external_id text) RETURNS jsonb
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	restricted record;
	names      text[] := '{canonical,changeLog,conflictLog,waiting,pending,replica,child,routed,captureFailure,agreed,changeId,sourceKey,unsent,matchKey,matchCandidate,merge,alias}';
	counts     bigint[] := '{0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}';
	n          bigint;
	was        bigint;
	parts      jsonb[] := '{}';
	part       text;
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
	IF EXISTS (SELECT FROM syncext.alias a JOIN syncext.merge m ON m.id = a.merge
	           WHERE a.entity = $1 AND a.external_id = $2 AND m.settled_at IS NULL AND m.undone_at IS NULL) THEN
		RAISE EXCEPTION '% % cannot be forgotten before what refers to it refers to the record that it was merged into', $1, $2
			USING ERRCODE = 'object_not_in_prerequisite_state', HINT = syncext.callable('CALL sync_maintain() sees to that.');
	END IF;
	-- and what was merged into it, whatever refers to that
	UPDATE syncext.merge m SET settled_at = now() FROM syncext.alias a
	WHERE a.entity = $1 AND a.kept_id = $2 AND m.id = a.merge AND m.settled_at IS NULL;
	-- of one that was itself merged later, too: the merges that made them parts of it go with it
	FOR part IN SELECT a.external_id FROM syncext.alias a JOIN syncext.merge m ON m.id = a.merge
	            WHERE a.entity = $1 AND $2 IN (a.kept_id, m.keep_id) ORDER BY 1 LOOP
		-- that may have gone with another part
		IF EXISTS (SELECT FROM syncext.alias a WHERE a.entity = $1 AND a.external_id = part) THEN
			parts := parts || @extschema@.sync_forget($1, part);
		END IF;
	END LOOP;

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
	-- its keys stand in the conflicts and the merges of other records, too
	DELETE FROM syncext.key_problem p
	WHERE p.entity = $1 AND (p.external_id = $2 OR EXISTS (SELECT FROM syncext.source_key k WHERE k.source = p.source AND k.entity = $1
	                                                      AND k.source_id = p.source_id AND k.external_id = $2));
	DELETE FROM syncext.merge_key b USING syncext.merge m, syncext.source_key k
	WHERE m.id = b.merge AND m.entity = $1 AND k.entity = $1 AND k.external_id = $2 AND k.source = b.source AND k.source_id = b.source_id;
	DELETE FROM syncext.source_key k WHERE k.entity = $1 AND k.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[12] := n;
	-- spokes go on counting: what they have counted is known by a hash, so that it isn't added again
	INSERT INTO syncext.counted AS t
	SELECT c.source, c.entity, syncext.erased_id(c.external_id), c.counts FROM syncext.counted c
	WHERE c.entity = $1 AND c.external_id = $2
	ON CONFLICT ON CONSTRAINT counted_pkey DO UPDATE SET counts = EXCLUDED.counts;
	DELETE FROM syncext.counted t WHERE t.entity = $1 AND t.external_id = $2;
	DELETE FROM syncext.unsent u WHERE u.entity = $1 AND u.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[13] := n;
	DELETE FROM syncext.match_key k WHERE k.entity = $1 AND k.external_id = $2;
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[14] := n;
	DELETE FROM syncext.match_candidate c WHERE c.entity = $1 AND $2 IN (c.external_id, c.other_id);
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[15] := n;
	DELETE FROM syncext.alias a WHERE a.entity = $1 AND $2 IN (a.external_id, a.kept_id);
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[17] := n;
	DELETE FROM syncext.merge m WHERE m.entity = $1 AND $2 IN (m.keep_id, m.drop_id);
	GET DIAGNOSTICS n = ROW_COUNT;
	counts[16] := n;
	DELETE FROM syncext.merge_child c WHERE c.entity = $1 AND c.external_id = $2;
	UPDATE syncext.repoint p SET after_id = '' WHERE p.child_entity = $1 AND p.after_id = $2;
	DELETE FROM syncext.match_due d WHERE d.entity = $1 AND d.external_id = $2;
	DELETE FROM syncext.match_problem p WHERE p.entity = $1 AND p.external_id = $2;
	UPDATE syncext.match_build b SET after_id = '' WHERE b.entity = $1 AND b.after_id = $2;

	-- an entity that was dropped may have left records behind
	IF 0 = ALL (counts) AND parts = '{}' AND NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = $1) THEN
		RAISE EXCEPTION 'entity "%" does not exist', entity USING ERRCODE = 'undefined_object';
	END IF;
	RETURN (SELECT jsonb_object_agg(u.name, u.n + coalesce((SELECT sum((p->>u.name)::bigint) FROM unnest(parts) p), 0))
	        FROM unnest(names, counts) AS u(name, n));
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

CREATE FUNCTION syncext.log_kinds(since xid8) RETURNS TABLE (source text, entity text, told "char", last_xid xid8)
	LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 10 AS 'MODULE_PATHNAME', 'syncext_log_kinds';
COMMENT ON FUNCTION syncext.log_kinds(xid8) IS
	'the kinds of rows that transactions since this one have written to the change log, rows of a kind being told to the same targets, for those who may read feed_lag; a row of nulls: any';

-- How far each source is behind, and which transaction the feed waits for.  Whether anything
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
		-- by the kinds of rows there are, a source that is told of nothing needs no walk
		SELECT k.*
		FROM (SELECT min(pg_catalog.pg_snapshot_xmin(t.snapshot)) AS xid FROM syncext.cursor c JOIN syncext.tick t ON t.id = c.lo) f,
		     syncext.log_kinds(f.xid) k
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
			              WHERE k.source IS NULL
			                 OR k.last_xid >= pg_catalog.pg_snapshot_xmin(lo.snapshot)
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
	'how far the change log has gone on since the first change that waits or is being delivered, changes that the source does not get included; 0: nothing waits. What a backfill has yet to send is in syncext.backfill_progress';
COMMENT ON COLUMN syncext.feed_lag.retries IS 'deliveries that failed and come again';
COMMENT ON COLUMN syncext.feed_lag.seconds IS 'age of the oldest change that waits, is being delivered or retries';
COMMENT ON COLUMN syncext.feed_lag.lease_until IS 'when the batch that is out comes again; the oldest one';
COMMENT ON COLUMN syncext.feed_lag.horizon_holder IS
	'the oldest transaction that goes on: its own changes are not fed yet, and no log table that it used is truncated. Sessions of others need pg_read_all_stats to be seen';

-- A tombstone that was written before it is older than the retention and seen by all: its
-- delete isn't in the log any more, nor yet to be delivered to anyone.  Null where a target
-- is walking through the golden records, for it may have to learn from the tombstone that
-- its own record is to go.  A walk through entities that the target doesn't get any more
-- will not be taken, and keeps nothing.
CREATE FUNCTION syncext.tombstone_horizon() RETURNS xid8
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT least((SELECT l.xid FROM syncext.log_row l ORDER BY l.xid, l.seq LIMIT 1),
	             (SELECT min(pg_snapshot_xmin(t.snapshot)) FROM syncext.cursor c JOIN syncext.tick t ON t.id = c.lo),
	             pg_snapshot_xmin(pg_current_snapshot()))
	WHERE NOT EXISTS (
		SELECT FROM syncext.cursor c JOIN syncext.source s ON s.name = c.target
		WHERE c.backfill_entity IS NOT NULL
		  AND (s.entities IS NULL OR s.entities && (coalesce(c.backfill_rest, '{}') || c.backfill_entity)))
	$$;
COMMENT ON FUNCTION syncext.tombstone_horizon() IS
	'the transaction id before which nothing needs a tombstone any more; null: that cannot be told now';
REVOKE ALL ON FUNCTION syncext.tombstone_horizon() FROM PUBLIC;

-- xmin is widened by what the current transaction id is; a row older than that can tell
-- looks younger, and stays.  What something still speaks of stays, too.  The plan is made
-- for the limit as it is: with few rows to find, what speaks of them is looked up by index.
CREATE FUNCTION syncext.remove_tombstones(horizon bigint, n integer) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
	AS $$
	DECLARE
		removed bigint;
	BEGIN
		WITH now AS (
			SELECT pg_snapshot_xmax(pg_current_snapshot())::text::numeric AS xid
		), gone AS (
			DELETE FROM syncext.canonical d
			WHERE d.deleted AND d.ctid = ANY (ARRAY(
				SELECT r.ctid
				FROM syncext.canonical r, now,
				     LATERAL (SELECT now.xid - mod(now.xid, 4294967296) + r.xmin::text::numeric AS xid) same_epoch,
				     LATERAL (SELECT same_epoch.xid - CASE WHEN same_epoch.xid >= now.xid THEN 4294967296 ELSE 0 END AS xid) written
				WHERE r.deleted AND written.xid < horizon
				  AND NOT EXISTS (SELECT FROM syncext.pending p WHERE p.entity = r.entity AND p.external_id = r.external_id)
				  AND NOT EXISTS (SELECT FROM syncext.waiting w WHERE w.entity = r.entity AND w.external_id = r.external_id)
				  AND NOT EXISTS (SELECT FROM syncext.child c WHERE c.parent_entity = r.entity AND c.parent_id = r.external_id)
				  AND NOT EXISTS (SELECT FROM syncext.conflict_log l
				                  WHERE l.status = 'pending' AND l.entity = r.entity AND l.external_id = r.external_id)
				LIMIT n FOR UPDATE OF r SKIP LOCKED))
			RETURNING d.entity, d.external_id
		), forgotten AS (
			DELETE FROM syncext.replica p USING gone g, syncext.binding b
			WHERE b.entity = g.entity AND p.relation = b.relation AND p.external_id = g.external_id
		), unrouted AS (
			DELETE FROM syncext.routed h USING gone g WHERE h.entity = g.entity AND h.external_id = g.external_id
		), unagreed AS (
			DELETE FROM syncext.agreed a USING gone g WHERE a.entity = g.entity AND a.external_id = g.external_id
		), unbound AS (
			DELETE FROM syncext.source_key k USING gone g
			WHERE k.entity = g.entity AND k.external_id = g.external_id
		)
		SELECT count(*) INTO removed FROM gone;
		RETURN removed;
	END $$;
COMMENT ON FUNCTION syncext.remove_tombstones(bigint, integer) IS
	'remove tombstones that were written before the transaction, no more than n of them, with what else is known of their keys; how many';
REVOKE ALL ON FUNCTION syncext.remove_tombstones(bigint, integer) FROM PUBLIC;

CREATE FUNCTION syncext.lock_holders(relation regclass) RETURNS text
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT string_agg(DISTINCT coalesce('session ' || l.pid, 'prepared transaction ' || quote_literal(p.gid),
	                                    'a prepared transaction'), ', ')
	FROM pg_locks l
	LEFT JOIN pg_locks x ON x.locktype = 'transactionid' AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction
	LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid
	WHERE l.locktype = 'relation' AND l.granted AND l.pid IS DISTINCT FROM pg_backend_pid() AND l.relation = $1
	$$;
COMMENT ON FUNCTION syncext.lock_holders(regclass) IS
	'the other sessions and prepared transactions that hold a lock on a relation, as words; null: none';
REVOKE ALL ON FUNCTION syncext.lock_holders(regclass) FROM PUBLIC;

-- What maintenance removes in steps of so many rows; each of them says how many it has
-- removed.  The plan is made for the limit as it is: few rows are looked up by index.
CREATE FUNCTION syncext.remove_conflicts(retention interval, max_rows integer) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
	AS $$
	DECLARE
		removed bigint;
	BEGIN
		DELETE FROM syncext.conflict_log d
		WHERE d.status <> 'pending'
		  AND d.id IN (SELECT l.id FROM syncext.conflict_log l
		               WHERE l.status <> 'pending' AND coalesce(l.decided_at, l.recorded_at) < clock_timestamp() - retention
		               LIMIT max_rows);
		GET DIAGNOSTICS removed = ROW_COUNT;
		RETURN removed;
	END $$;
COMMENT ON FUNCTION syncext.remove_conflicts(interval, integer) IS
	'remove conflicts that were decided longer ago than the retention, no more than max_rows of them; how many';
REVOKE ALL ON FUNCTION syncext.remove_conflicts(interval, integer) FROM PUBLIC;

CREATE FUNCTION syncext.remove_gone(retention interval, max_rows integer) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
	AS $$
	DECLARE
		removed bigint;
	BEGIN
		WITH gone AS (
			DELETE FROM syncext.replica d
			WHERE d.ctid = ANY (ARRAY(SELECT r.ctid FROM syncext.replica r
			                          WHERE r.gone_at < clock_timestamp() - retention AND r.fields IS NULL
			                          LIMIT max_rows FOR UPDATE SKIP LOCKED))
			RETURNING d.relation, d.external_id
		), unbound AS (
			-- of a table behind a link, which has no records here
			DELETE FROM syncext.source_key k USING gone g
			JOIN syncext.binding b ON b.relation = g.relation AND b.own_keys
			JOIN syncext.link l ON l.source = b.source
			WHERE k.source = b.source AND k.entity = b.entity AND k.external_id = g.external_id AND k.duplicate
		)
		SELECT count(*) INTO removed FROM gone;
		RETURN removed;
	END $$;
COMMENT ON FUNCTION syncext.remove_gone(interval, integer) IS
	'forget what was agreed on of rows that have been gone for longer than the retention, no more than max_rows of them; how many';
REVOKE ALL ON FUNCTION syncext.remove_gone(interval, integer) FROM PUBLIC;

-- The newest run of each job stays: job_status shows it.
CREATE FUNCTION syncext.remove_runs(retention interval, max_rows integer) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
	AS $$
	DECLARE
		removed bigint;
	BEGIN
		DELETE FROM syncext.job_run d
		WHERE d.id IN (SELECT r.id FROM syncext.job_run r
		               WHERE r.ended_at < clock_timestamp() - retention
		                 AND NOT EXISTS (SELECT FROM syncext.job_state s WHERE s.run = r.id)
		               LIMIT max_rows);
		GET DIAGNOSTICS removed = ROW_COUNT;
		RETURN removed;
	END $$;
COMMENT ON FUNCTION syncext.remove_runs(interval, integer) IS
	'remove runs of jobs that ended longer ago than the retention, no more than max_rows of them; how many';
REVOKE ALL ON FUNCTION syncext.remove_runs(interval, integer) FROM PUBLIC;

CREATE FUNCTION syncext.remove_change_ids(retention interval, max_rows integer) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan
	AS $$
	DECLARE
		removed bigint;
	BEGIN
		DELETE FROM syncext.change_id d
		WHERE (d.source, d.change_id) IN (SELECT i.source, i.change_id FROM syncext.change_id i
		                                  WHERE i.answered_at < clock_timestamp() - retention
		                                  ORDER BY i.answered_at LIMIT max_rows);
		GET DIAGNOSTICS removed = ROW_COUNT;
		RETURN removed;
	END $$;
COMMENT ON FUNCTION syncext.remove_change_ids(interval, integer) IS
	'forget answers to changes with an id that are older than the retention, no more than max_rows of them; how many';
REVOKE ALL ON FUNCTION syncext.remove_change_ids(interval, integer) FROM PUBLIC;

CREATE FUNCTION syncext.idle_targets(idle interval) RETURNS SETOF text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT DISTINCT c.target
	FROM syncext.cursor c
	JOIN syncext.tick t ON t.id = c.lo
	WHERE c.hi IS NULL AND c.lease_until IS NULL AND c.backfill_entity IS NULL
	  AND t.taken_at < clock_timestamp() - idle AND t.id < (SELECT max(n.id) FROM syncext.tick n)
	ORDER BY c.target
	$$;
COMMENT ON FUNCTION syncext.idle_targets(interval) IS
	'the targets that no batch is out for, with a cursor that has stood still for so long and could go on';
REVOKE ALL ON FUNCTION syncext.idle_targets(interval) FROM PUBLIC;

CREATE FUNCTION syncext.note_names() RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	-- what an ALTER TABLE that goes on has noted isn't waited for
	UPDATE syncext.binding b SET name = n.name
	FROM (SELECT o.relation, w.name
	      FROM syncext.binding o
	      JOIN pg_class c ON c.oid = o.relation AND c.reltype = o.row_type
	      JOIN pg_namespace s ON s.oid = c.relnamespace
	      CROSS JOIN LATERAL (SELECT format('%I.%I', s.nspname, c.relname) AS name) w
	      WHERE w.name <> o.name
	      FOR NO KEY UPDATE OF o SKIP LOCKED) n
	WHERE b.relation = n.relation;
	SELECT syncext.note_shape(d.relation, false, false)
	FROM syncext.binding b
	CROSS JOIN LATERAL (SELECT o.relation FROM syncext.binding o
	                    WHERE o.relation = b.relation AND o.shape IS DISTINCT FROM syncext.shape_of(o)
	                    FOR NO KEY UPDATE SKIP LOCKED) d
	$$;
COMMENT ON FUNCTION syncext.note_names() IS 'note by what name each attached relation is known now, and which partitions and columns it has';
REVOKE ALL ON FUNCTION syncext.note_names() FROM PUBLIC;

-- Of one of the log's tables, which the caller names.
CREATE FUNCTION syncext.log_targets(log regclass) RETURNS SETOF text
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		RETURN QUERY EXECUTE format('
			SELECT DISTINCT c.target
			FROM syncext.cursor c
			JOIN syncext.source s ON s.name = c.target
			JOIN syncext.tick lo ON lo.id = c.lo
			WHERE EXISTS (SELECT FROM %s l
			              WHERE l.xid >= pg_snapshot_xmin(lo.snapshot) AND NOT pg_visible_in_snapshot(l.xid, lo.snapshot)
			                AND syncext.is_told(l.told, l.source = c.target)
			                AND syncext.record_slot(l.entity, l.external_id, c.slots) = c.slot
			                AND (s.entities IS NULL OR l.entity = ANY (s.entities)))
			ORDER BY c.target', log);
	END $$;
COMMENT ON FUNCTION syncext.log_targets(regclass) IS 'the targets that have something in a table of the log yet to get';
REVOKE ALL ON FUNCTION syncext.log_targets(regclass) FROM PUBLIC;

CREATE FUNCTION syncext.log_has_captured(log regclass, source text) RETURNS boolean
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	DECLARE
		captured boolean;
	BEGIN
		EXECUTE format('
			SELECT EXISTS (SELECT FROM %s l
			               JOIN syncext.cursor c ON c.target = l.source
			               JOIN syncext.tick lo ON lo.id = c.lo
			               WHERE l.source = $1 AND l.resolution = ''c'' AND l.xid >= pg_snapshot_xmin(lo.snapshot)
			                 AND NOT pg_visible_in_snapshot(l.xid, lo.snapshot))', log)
		INTO captured USING source;
		RETURN captured;
	END $$;
COMMENT ON FUNCTION syncext.log_has_captured(regclass, text) IS
	'are there edits of a source in a table of the log that the hub behind its link has not answered?';
REVOKE ALL ON FUNCTION syncext.log_has_captured(regclass, text) FROM PUBLIC;
