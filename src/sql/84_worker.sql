-- The workers: a link's at the spoke, the notifier at the hub.

-- Starts, stops and wakes the worker when its link is made or changed; a
-- worker that notes its process id needs no waking.
CREATE FUNCTION syncext.link_changed() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'syncext_link_changed';
COMMENT ON FUNCTION syncext.link_changed() IS 'trigger on syncext.link: starts the link''s worker, or lets it look';
REVOKE ALL ON FUNCTION syncext.link_changed() FROM PUBLIC;
CREATE TRIGGER link_changed AFTER INSERT OR DELETE OR UPDATE OF name, server, source, owner, enabled, relay ON syncext.link
	FOR EACH ROW EXECUTE FUNCTION syncext.link_changed();
ALTER TABLE syncext.link ENABLE ALWAYS TRIGGER link_changed;

-- At the hub: the sessions that want to be told of changes.
CREATE UNLOGGED TABLE syncext.listener (
	pid     integer PRIMARY KEY,
	source  text COLLATE "C" NOT NULL,
	since   timestamptz NOT NULL DEFAULT clock_timestamp(),
	listens boolean NOT NULL DEFAULT false,
	waits   boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE syncext.listener IS
	'sessions that listen on channel syncext_feed, or have called sync_wait where the server had not loaded the library when it started; as long as there is one the notifier runs';
COMMENT ON COLUMN syncext.listener.listens IS 'it is told by NOTIFY';
COMMENT ON COLUMN syncext.listener.waits IS 'it has called sync_wait, and is woken by its latch';

CREATE FUNCTION syncext.hub_listen(source text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_listen';
COMMENT ON FUNCTION syncext.hub_listen(text) IS
	'this session, of a link, listens on channel syncext_feed: let it be told when there is something in the feed';

CREATE FUNCTION @extschema@.sync_listen(source text) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_listen';
COMMENT ON FUNCTION @extschema@.sync_listen(text) IS
	'after LISTEN syncext_feed: let this session be notified when there is something in the feed, until it ends';

CREATE PROCEDURE @extschema@.sync_wait(source text, timeout interval DEFAULT '30 s', INOUT ready boolean DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'sync_wait';
COMMENT ON PROCEDURE @extschema@.sync_wait(text, interval, boolean) IS
	'wait until there is something for the source to pull; ready: there is. It holds no transaction, snapshot or lock while it waits, and cannot be called in a transaction block';

-- The notifier's look: what was committed since the snapshot began to be after
-- it, or was going on then.  What is looked for stands at the log's end, which the planner
-- doesn't know: it would read all of the log for it.
CREATE FUNCTION syncext.log_grown(since pg_snapshot) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_bitmapscan = off SET jit = off AS $$
	SELECT EXISTS (SELECT FROM syncext.change_log_0 WHERE xid >= pg_snapshot_xmax($1) AND told <> 'n')
	    OR EXISTS (SELECT FROM syncext.change_log_1 WHERE xid >= pg_snapshot_xmax($1) AND told <> 'n')
	    OR EXISTS (SELECT FROM syncext.change_log_2 WHERE xid >= pg_snapshot_xmax($1) AND told <> 'n')
	    OR EXISTS (SELECT FROM syncext.change_log_3 WHERE xid >= pg_snapshot_xmax($1) AND told <> 'n')
	    OR EXISTS (SELECT FROM pg_snapshot_xip($1) x
	               WHERE EXISTS (SELECT FROM syncext.change_log_0 WHERE xid = x AND told <> 'n')
	                  OR EXISTS (SELECT FROM syncext.change_log_1 WHERE xid = x AND told <> 'n')
	                  OR EXISTS (SELECT FROM syncext.change_log_2 WHERE xid = x AND told <> 'n')
	                  OR EXISTS (SELECT FROM syncext.change_log_3 WHERE xid = x AND told <> 'n'))
$$;
COMMENT ON FUNCTION syncext.log_grown(pg_snapshot) IS 'has anything been committed to the change log since the snapshot';
REVOKE ALL ON FUNCTION syncext.log_grown(pg_snapshot) FROM PUBLIC;

-- What the workers do.  Others' activity is not for everybody to see, that of
-- the links' workers is: a view's functions are called as its reader.
CREATE FUNCTION syncext.start_workers() RETURNS integer
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_start_workers';
COMMENT ON FUNCTION syncext.start_workers() IS
	'start the workers of enabled links that have none, and the notifier if it is missing; returns how many';
REVOKE ALL ON FUNCTION syncext.start_workers() FROM PUBLIC;

CREATE FUNCTION syncext.link_activity() RETURNS TABLE (pid integer, busy text)
	LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
	SELECT a.pid, CASE WHEN a.state = 'active' THEN a.query END
	FROM pg_stat_activity a
	WHERE a.datname = current_database() AND a.backend_type = 'syncext link'
$$;
COMMENT ON FUNCTION syncext.link_activity() IS 'the workers of links that run, and what they are at; null: they wait';

-- How each link fares.  It walks the change log from the link's cursor on.
CREATE VIEW syncext.link_status WITH (security_barrier) AS
	SELECT l.name AS link, l.source, l.server,
	       CASE WHEN NOT l.enabled THEN 'disabled'
	            WHEN a.pid IS NULL THEN 'stopped'
	            WHEN s.failures > 0 AND s.next_attempt > pg_catalog.clock_timestamp() THEN 'retrying'
	            WHEN NOT l.relay AND NOT EXISTS (SELECT FROM syncext.binding b WHERE b.source = l.source) THEN 'no table'
	            ELSE coalesce(a.busy, 'waiting') END AS state,
	       a.pid, s.last_exchange_at AS last_exchange, s.last_push_at AS last_push, s.last_pull_at AS last_pull,
	       s.pushed, s.pulled, o.unanswered, o.since AS unanswered_since, s.hub_behind,
	       coalesce(s.failures, 0) AS failures, s.last_error, s.last_error_at, s.next_attempt, l.relay,
	       CASE WHEN NOT l.enabled OR a.pid IS NOT NULL THEN NULL
	            WHEN r.oid IS NULL THEN pg_catalog.format('role %I, which it belongs to, does not exist', l.owner)
	            WHEN NOT r.rolcanlogin THEN pg_catalog.format('role %I, which it belongs to, may not log in', l.owner)
	            WHEN NOT pg_catalog.has_database_privilege(r.oid, pg_catalog.current_database(), 'CONNECT')
	            THEN pg_catalog.format('role %I, which it belongs to, may not connect to this database', l.owner) END AS stopped_because
	FROM syncext.link l
	LEFT JOIN syncext.link_state s ON s.link = l.name
	LEFT JOIN syncext.link_activity() a ON a.pid = l.worker_pid
	LEFT JOIN pg_catalog.pg_roles r ON r.rolname = l.owner
	LEFT JOIN LATERAL (
		SELECT count(*) AS unanswered, min(c.since) AS since
		FROM syncext.outbound_change c
		WHERE c.target = l.source) o ON true
	WHERE (SELECT pg_catalog.has_table_privilege('syncext.link', 'SELECT'))
	   OR syncext.may_act_as(l.source);
COMMENT ON VIEW syncext.link_status IS
	'how each link that the reader may act for, or with SELECT on syncext.link every one, fares; it walks the change log as syncext.outbound_change does';
COMMENT ON COLUMN syncext.link_status.state IS
	'what its worker is at; waiting: for an edit here or at the hub, or for syncext.link_interval; retrying: the last exchange failed, see last_error and next_attempt; disabled: it was told to rest; stopped: there is no worker; no table: nothing is attached to its source, so that nothing comes';
COMMENT ON COLUMN syncext.link_status.relay IS 'this hub is a spoke as a whole; else the link is for the tables of its source';
COMMENT ON COLUMN syncext.link_status.stopped_because IS 'why a link that is stopped can have no worker; null: it can, and syncext.start_workers() starts it';
COMMENT ON COLUMN syncext.link_status.unanswered IS 'records with edits here that the hub has not answered';
COMMENT ON COLUMN syncext.link_status.hub_behind IS 'how many records the hub still had for us at the end of the last exchange, those that failed and come again and dead letters among them; null: the last exchange failed, and the number is not known';
COMMENT ON COLUMN syncext.link_status.next_attempt IS 'when a failed link is tried again';
GRANT SELECT ON syncext.link_status TO PUBLIC;
