-- Counters, and all that a scraper wants in one query.

-- Where the server has no shared memory for them.  Appended to, and folded by maintenance.
CREATE UNLOGGED TABLE syncext.stat_row (
	kind    text NOT NULL,
	what    text NOT NULL,
	name    text COLLATE "C" NOT NULL,
	entity  text COLLATE "C" NOT NULL,
	one      bigint NOT NULL,
	two      bigint NOT NULL,
	three      bigint NOT NULL,
	four      bigint NOT NULL,
	last_at timestamptz NOT NULL
);
COMMENT ON TABLE syncext.stat_row IS 'counters where there is no shared memory for them; read syncext.stat, stat_target and stat_link';
COMMENT ON COLUMN syncext.stat_row.kind IS 'c: of changes; t: of a target; l: of a link';
COMMENT ON COLUMN syncext.stat_row.what IS 'of changes: how they were decided, as a one-byte code';
COMMENT ON COLUMN syncext.stat_row.name IS 'the source, the target or the link';
COMMENT ON COLUMN syncext.stat_row.one IS 'changes; records delivered; batches';
COMMENT ON COLUMN syncext.stat_row.two IS 'fields changed; deliveries that failed; bytes';
COMMENT ON COLUMN syncext.stat_row.three IS 'fields lost; dead letters; round trips';
COMMENT ON COLUMN syncext.stat_row.four IS 'of a target: redriven; of a link: microseconds waited';
COMMENT ON COLUMN syncext.stat_row.last_at IS 'when it was counted last';

CREATE TABLE syncext.stat_reset (
	only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	reset_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE syncext.stat_reset IS 'when the counters were set to zero last';
COMMENT ON COLUMN syncext.stat_reset.reset_at IS 'when that was';
COMMENT ON COLUMN syncext.stat_reset.only_row IS 'there is one row';
INSERT INTO syncext.stat_reset DEFAULT VALUES;

CREATE FUNCTION syncext.stat_rows(kind "char") RETURNS TABLE (what text, name text, entity text, one bigint, two bigint, three bigint, four bigint, last_at timestamptz)
	LANGUAGE c STABLE STRICT PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'syncext_stat_rows';
COMMENT ON FUNCTION syncext.stat_rows("char") IS
	'the counters of a kind, as in syncext.stat_row, for administrators and monitors: those in shared memory, in the table, and what this session has yet to add';
CREATE FUNCTION syncext.stat_place(OUT place text, OUT since timestamptz, OUT unfolded bigint)
	LANGUAGE c STABLE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_stat_place';
COMMENT ON FUNCTION syncext.stat_place() IS 'where the counters are, since when, and how many rows they have in the table';

CREATE VIEW syncext.stat WITH (security_barrier) AS
	SELECT r.name AS source, r.entity,
	       CASE r.what WHEN 'R' THEN 'REFUSED' WHEN 'L' THEN 'RELEASED' ELSE syncext.resolution_name(r.what::"char") END AS resolution,
	       r.one AS changes, r.two AS fields_changed, r.three AS fields_lost, r.last_at
	FROM syncext.stat_rows('c') r;
COMMENT ON VIEW syncext.stat IS 'what became of changes since sync_stat_reset, or the server''s start: see syncext.stat_info';
COMMENT ON COLUMN syncext.stat.source IS 'whose changes; empty: of sources that there was no room for';
COMMENT ON COLUMN syncext.stat.resolution IS 'how they were decided; REFUSED: 400; RELEASED: parked changes that were applied after all';
COMMENT ON COLUMN syncext.stat.changes IS 'how many changes';
COMMENT ON COLUMN syncext.stat.fields_changed IS 'fields whose value they changed';
COMMENT ON COLUMN syncext.stat.fields_lost IS 'contested fields that went to another source';
COMMENT ON COLUMN syncext.stat.last_at IS 'when the last one was counted';

CREATE VIEW syncext.stat_target WITH (security_barrier) AS
	SELECT r.name AS target, r.one AS delivered, r.two AS failed, r.three AS dead, r.four AS redriven, r.last_at FROM syncext.stat_rows('t') r;
COMMENT ON VIEW syncext.stat_target IS 'what became of deliveries, by target';
COMMENT ON COLUMN syncext.stat_target.delivered IS 'records that the target took';
COMMENT ON COLUMN syncext.stat_target.failed IS 'deliveries that failed';
COMMENT ON COLUMN syncext.stat_target.dead IS 'deliveries that became dead letters';
COMMENT ON COLUMN syncext.stat_target.redriven IS 'what sync_redrive tried again';
COMMENT ON COLUMN syncext.stat_target.last_at IS 'when the last one was counted';

CREATE VIEW syncext.stat_link WITH (security_barrier) AS
	SELECT r.name AS link, r.one AS batches, r.two AS bytes, r.three AS round_trips, round(r.four / 1000000.0, 3) AS seconds_waited, r.last_at FROM syncext.stat_rows('l') r;
COMMENT ON VIEW syncext.stat_link IS 'what links have sent to their hubs, and how long they have waited for them';
COMMENT ON COLUMN syncext.stat_link.batches IS 'batches that were sent';
COMMENT ON COLUMN syncext.stat_link.bytes IS 'bytes of changes that were sent';
COMMENT ON COLUMN syncext.stat_link.round_trips IS 'answers that were waited for';
COMMENT ON COLUMN syncext.stat_link.seconds_waited IS 'how long, in all';
COMMENT ON COLUMN syncext.stat_link.last_at IS 'when that was counted last';

CREATE VIEW syncext.stat_info AS
	SELECT p.place, greatest(p.since, t.reset_at) AS since, p.unfolded
	FROM syncext.stat_place() p, syncext.stat_reset t;
COMMENT ON VIEW syncext.stat_info IS 'where the counters are, and since when they count';
COMMENT ON COLUMN syncext.stat_info.place IS
	'shared memory: the server has loaded the library when it started; registry: a segment of the server''s, since PostgreSQL 17; table: rows that maintenance folds. The first two begin anew with the server. primary: this is a standby, which counts nothing; ask the primary';
COMMENT ON COLUMN syncext.stat_info.since IS 'since when they count: sync_stat_reset, or the server''s start';
COMMENT ON COLUMN syncext.stat_info.unfolded IS 'of the table: how many rows it has';

CREATE FUNCTION @extschema@.sync_stat_reset() RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_stat_reset';
COMMENT ON FUNCTION @extschema@.sync_stat_reset() IS 'set all counters to zero';
REVOKE ALL ON FUNCTION @extschema@.sync_stat_reset() FROM PUBLIC;

-- Appending goes on meanwhile: what is folded is what is deleted.
CREATE FUNCTION syncext.fold_stat() RETURNS bigint
	LANGUAGE sql SET search_path = pg_catalog, pg_temp AS $$
	WITH gone AS (
		DELETE FROM syncext.stat_row WHERE (SELECT count(*) FROM syncext.stat_row) > 1000 RETURNING *
	), folded AS (
		INSERT INTO syncext.stat_row (kind, what, name, entity, one, two, three, four, last_at)
		SELECT g.kind, g.what, g.name, g.entity, sum(g.one), sum(g.two), sum(g.three), sum(g.four), max(g.last_at) FROM gone g GROUP BY 1, 2, 3, 4
	)
	SELECT count(*) FROM gone
$$;
COMMENT ON FUNCTION syncext.fold_stat() IS 'fold the rows of counters to one a counter, when there are many; how many there were';
REVOKE ALL ON FUNCTION syncext.fold_stat() FROM PUBLIC;

-- Counters first, then what is as it is now.
CREATE VIEW syncext.metric AS
	SELECT 'syncext_changes_total' AS name, jsonb_build_object('source', s.source, 'entity', s.entity, 'resolution', s.resolution) AS labels, s.changes::double precision AS value,
	       'Changes by how they were decided' AS help, 'counter' AS type FROM syncext.stat s
	UNION ALL SELECT 'syncext_fields_changed_total', jsonb_build_object('source', s.source, 'entity', s.entity), sum(s.fields_changed), 'Fields whose value was changed', 'counter' FROM syncext.stat s GROUP BY s.source, s.entity
	UNION ALL SELECT 'syncext_fields_lost_total', jsonb_build_object('source', s.source, 'entity', s.entity), sum(s.fields_lost), 'Contested fields that went to another source', 'counter' FROM syncext.stat s GROUP BY s.source, s.entity
	UNION ALL SELECT 'syncext_delivered_total', jsonb_build_object('target', t.target), t.delivered, 'Records that the target took', 'counter' FROM syncext.stat_target t
	UNION ALL SELECT 'syncext_delivery_failures_total', jsonb_build_object('target', t.target), t.failed, 'Deliveries that failed', 'counter' FROM syncext.stat_target t
	UNION ALL SELECT 'syncext_deliveries_dead_total', jsonb_build_object('target', t.target), t.dead, 'Deliveries that became dead letters', 'counter' FROM syncext.stat_target t
	UNION ALL SELECT 'syncext_redriven_total', jsonb_build_object('target', t.target), t.redriven, 'Dead letters and retries that sync_redrive tried again', 'counter' FROM syncext.stat_target t
	UNION ALL SELECT 'syncext_link_batches_total', jsonb_build_object('link', l.link), l.batches, 'Batches that the link sent', 'counter' FROM syncext.stat_link l
	UNION ALL SELECT 'syncext_link_bytes_total', jsonb_build_object('link', l.link), l.bytes, 'Bytes of changes that the link sent', 'counter' FROM syncext.stat_link l
	UNION ALL SELECT 'syncext_link_round_trips_total', jsonb_build_object('link', l.link), l.round_trips, 'Answers of its hub that the link waited for', 'counter' FROM syncext.stat_link l
	UNION ALL SELECT 'syncext_link_waited_seconds_total', jsonb_build_object('link', l.link), l.seconds_waited, 'How long the link waited for its hub', 'counter' FROM syncext.stat_link l
	UNION ALL SELECT m.name, jsonb_build_object('target', f.source), m.value, m.help, 'gauge'
	FROM syncext.feed_lag f
	CROSS JOIN LATERAL (VALUES ('syncext_lag_seconds', f.seconds::double precision, 'Age of the oldest change that waits for the target, is being delivered or retries'),
	                           ('syncext_lag_changes', f.changes::double precision, 'How far the change log has gone on since the first change that waits for the target'),
	                           ('syncext_retries', f.retries::double precision, 'Deliveries that failed and come again')) m(name, value, help)
	UNION ALL SELECT 'syncext_dead_letters', jsonb_build_object('kind', k.kind), (SELECT count(*) FROM syncext.dead_letter d WHERE d.kind = k.kind), 'Dead letters', 'gauge' FROM (VALUES ('outbound'), ('parked'), ('captured')) k(kind)
	UNION ALL SELECT 'syncext_conflicts_pending', '{}', count(*), 'Conflicts that wait for a decision', 'gauge' FROM syncext.conflict_log c WHERE c.status = 'pending'
	UNION ALL SELECT 'syncext_conflict_oldest_seconds', '{}', coalesce(extract(epoch FROM pg_catalog.clock_timestamp() - min(c.recorded_at)), 0), 'Age of the oldest conflict that waits', 'gauge' FROM syncext.conflict_log c WHERE c.status = 'pending'
	UNION ALL SELECT 'syncext_parked_changes', '{}', count(*), 'Changes that wait for their parent', 'gauge' FROM syncext.waiting
	UNION ALL SELECT 'syncext_link_failures', jsonb_build_object('link', l.name), coalesce(t.failures, 0), 'Failed exchanges in a row', 'gauge' FROM syncext.link l LEFT JOIN syncext.link_state t ON t.link = l.name
	UNION ALL SELECT 'syncext_change_log_bytes', '{}', sum(pg_catalog.pg_table_size(pg_catalog.format('syncext.change_log_%s', i)::pg_catalog.regclass)), 'Size of the change log', 'gauge' FROM generate_series(0, 3) i;
COMMENT ON VIEW syncext.metric IS 'all that a scraper wants, a row a sample: counters since syncext.stat_info.since, and gauges';
COMMENT ON COLUMN syncext.metric.name IS 'the metric''s name';
COMMENT ON COLUMN syncext.metric.labels IS 'its labels: name: value';
COMMENT ON COLUMN syncext.metric.value IS 'its value';
COMMENT ON COLUMN syncext.metric.help IS 'what it is';
COMMENT ON COLUMN syncext.metric.type IS 'counter: it grows until it begins anew; gauge: it is as it is now';
