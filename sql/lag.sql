-- How far each source is behind: syncext.feed_lag, which looks for the first change
-- that a cursor has yet to get, agrees with syncext.outbound_change, which lists all.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Shop'), sync_add_source('Desk'), sync_add_source('Idle');
SELECT sync_add_entity('item', '{version,merge,priority,keep}');
UPDATE syncext.source SET retry_cap = 2;
SET syncext.lease = '1h';

CREATE FUNCTION change_rows(source text, entity text, ids int[], version int, field text DEFAULT 'a') RETURNS bigint LANGUAGE sql AS $$
	SELECT count(sync_apply(jsonb_build_object('source', source, 'entity', entity, 'externalId', 'R' || i, 'version', version,
		'fields', jsonb_build_object(field, source || version)))) FROM unnest(ids) i $$;
-- Pulls, and acknowledges with the records that failed.
CREATE FUNCTION take_but(source text, records int, failed text[] DEFAULT '{}', slot int DEFAULT 0, slots int DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	number bigint; names text; failures jsonb;
BEGIN
	SELECT max(batch), string_agg(entity || ' ' || external_id, ', ' ORDER BY entity, external_id),
		coalesce(jsonb_agg(jsonb_build_object('entity', entity, 'externalId', external_id, 'error', 'no')) FILTER (WHERE external_id = ANY (failed)), '[]')
	INTO number, names, failures FROM sync_pull(source, records, slot, slots);
	PERFORM sync_ack(source, number, failures, slot) WHERE number IS NOT NULL;
	RETURN names;
END $$;
-- Where they disagree: nowhere.  A record that failed stands as such in the list, however often it changes.
CREATE VIEW disagreement AS
	WITH listed AS (
		SELECT s.name AS source, count(o.entity) FILTER (WHERE o.state <> 'dead' AND o.attempts = 0 AND o.since IS NOT NULL) AS changes,
			count(*) FILTER (WHERE o.state <> 'dead' AND o.attempts > 0) AS retries, count(*) FILTER (WHERE o.state = 'dead') AS dead,
			min(o.since) FILTER (WHERE o.state <> 'dead') AS since
		FROM syncext.source s LEFT JOIN syncext.outbound_change o ON o.target = s.name GROUP BY s.name)
	SELECT l.source, l.changes, t.changes AS told, l.retries, t.retries AS retries_told, l.dead, t.dead AS dead_told, l.since, t.seconds
	FROM listed l JOIN syncext.feed_lag t USING (source)
	WHERE l.changes > t.changes OR l.changes = 0 AND t.changes > 0 AND t.retries + t.dead = 0
		OR l.retries <> t.retries OR l.dead <> t.dead OR (l.since IS NULL) <> (t.seconds = 0) AND t.retries + t.dead = 0;

-- each record stands once, whatever the number of its changes; a correction goes to its origin
SELECT change_rows('CRM', 'record', '{1,2,3,4,5,6}', 1), change_rows('ERP', 'record', '{1,2}', 1), change_rows('ERP', 'item', '{1,2,3}', 1),
	change_rows('Shop', 'record', '{1}', 2, 'b');
SELECT source, changes, retries, dead FROM syncext.feed_lag ORDER BY 1;
SELECT * FROM disagreement;
-- Shop gets one entity alone; a transaction goes on while ticks are taken
SELECT sync_subscribe('Shop', '{item}');
BEGIN;
SELECT change_rows('CRM', 'record', '{7}', 1), change_rows('ERP', 'item', '{4}', 1);
PREPARE TRANSACTION 'lag';
SELECT change_rows('CRM', 'record', '{9}', 1);
SELECT take_but('ERP', 100), take_but('Shop', 2), take_but('Desk', 3);
SELECT change_rows('CRM', 'record', '{8}', 1), change_rows('CRM', 'item', '{1}', 2);
-- ERP is in the middle of a window with a batch out, Desk has consumers side by side
SELECT count(*) FROM sync_pull('ERP', 1);
SELECT take_but('Desk', 2, '{}', slot, 3) IS NOT NULL AS any FROM generate_series(0, 2) slot;
SELECT count(*) > 1 AS several FROM generate_series(0, 2) slot, sync_pull('Desk', 1, slot, 3);
SELECT source, changes, retries, dead FROM syncext.feed_lag ORDER BY 1;
SELECT * FROM disagreement;
COMMIT PREPARED 'lag';
SELECT source, changes, retries, dead FROM syncext.feed_lag ORDER BY 1;
SELECT * FROM disagreement;
-- what was served in a window and changes behind it waits again
SELECT take_but('CRM', 2);
SELECT count(*) FROM sync_pull('CRM', 1);
SELECT change_rows('ERP', 'item', '{1}', 3), change_rows('Desk', 'item', '{2}', 2);
-- retries and dead letters; one of each, one in a batch that is out, one that changes behind its back
SELECT take_but('Idle', 5, '{R1,R2,R3}');
UPDATE syncext.pending SET next_attempt = now() WHERE external_id = 'R1';
SELECT take_but('Idle', 1, '{R1,R2,R3}');
UPDATE syncext.pending SET next_attempt = NULL, since = now() - interval '2 days' WHERE external_id = 'R2';
UPDATE syncext.pending SET next_attempt = now() + interval '1 hour', since = now() - interval '1 day' WHERE external_id = 'R3';
SELECT change_rows('CRM', 'record', '{1,3}', 5, 'd');
SELECT source, changes, retries, dead FROM syncext.feed_lag ORDER BY 1;
SELECT target, entity, external_id, state, attempts, row_version, batch FROM syncext.outbound_change WHERE target IN ('CRM', 'ERP', 'Idle') ORDER BY 1, 2, 3;
SELECT * FROM disagreement;
UPDATE syncext.pending SET next_attempt = now() WHERE external_id = 'R3';
SELECT count(*) FROM sync_pull('Idle', 4);
SELECT source, changes, retries, dead FROM syncext.feed_lag WHERE source = 'Idle';
SELECT * FROM disagreement;
-- backfills: none served yet, one under way with a batch out, one entity again while it is walked, and in slots
SELECT sync_add_source('Late'), sync_add_source('Later');
SELECT take_but('Late', 4), take_but('Later', 2);
SELECT count(*) FROM sync_pull('Late', 2);
SELECT sync_resync('ERP'), sync_resync('Desk', 'item'), sync_resync('Late', 'record'), sync_resync('Shop');
SELECT change_rows('Late', 'item', '{9}', 1), change_rows('CRM', 'item', '{1}', 6);
SELECT source, changes, retries, dead, backfill FROM syncext.feed_lag ORDER BY 1;
SELECT entity, external_id, state, since IS NULL AS by_backfill, row_version, batch FROM syncext.outbound_change WHERE target = 'Late' ORDER BY 1, 2;
SELECT * FROM disagreement;
-- batches that have come back are no deliveries
UPDATE syncext.cursor SET lease_until = now();
SELECT target, count(*) FROM syncext.outbound_change WHERE state = 'delivering' GROUP BY 1;
SELECT * FROM disagreement;
-- what a transaction wrote that went on while all after it was taken
BEGIN;
SELECT change_rows('Desk', 'item', '{20}', 1);
PREPARE TRANSACTION 'lag';
SELECT change_rows('Desk', 'item', '{21}', 1);
SELECT take_but('CRM', 100), take_but('CRM', 100), take_but('CRM', 100);
SELECT changes FROM syncext.feed_lag WHERE source = 'CRM';
COMMIT PREPARED 'lag';
SELECT changes > 0 AS waits FROM syncext.feed_lag WHERE source = 'CRM';
SELECT * FROM disagreement;

-- who asks for one target pays for one; who asks how far all are behind, for hardly more than their number
SELECT count(*) AS log_size, (SELECT count(*) FROM syncext.cursor) AS cursors FROM syncext.change_log \gset
CREATE FUNCTION log_rows_read() RETURNS numeric LANGUAGE sql VOLATILE AS $$
	SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0)) FROM pg_stat_xact_user_tables WHERE relname ~ '^change_log_[0-3]$' $$;
BEGIN;
SELECT log_rows_read() AS before \gset
SELECT count(*) > 0 AS any FROM syncext.outbound_change WHERE target = 'CRM';
SELECT log_rows_read() - :before BETWEEN 1 AND :log_size AS cheap;
SELECT log_rows_read() AS before \gset
SELECT count(DISTINCT target) > 5 AS any FROM syncext.outbound_change;
SELECT log_rows_read() - :before > :log_size AS costs_more;
COMMIT;
-- whether anything has come, which the notifier asks every second, is answered by the log's end
SELECT pg_current_snapshot() AS since \gset
SELECT change_rows('Desk', 'item', '{22}', 1);
SELECT pg_current_snapshot() AS until \gset
BEGIN;
SELECT log_rows_read() AS before \gset
SELECT syncext.log_grown(:'since') AS by_the_change, syncext.log_grown(:'until') AS by_nothing;
SELECT log_rows_read() - :before AS rows_read;
COMMIT;

-- what it lists is what comes: each source is served until nothing does
UPDATE syncext.pending SET next_attempt = now(), attempts = 0;
CREATE TEMP TABLE listed AS SELECT target, entity, external_id FROM syncext.outbound_change;
CREATE TEMP TABLE came (target text, name text);
DO $$
DECLARE
	t record; names text;
BEGIN
	FOR t IN SELECT target, slot, slots FROM syncext.cursor ORDER BY 1, 2 LOOP
		LOOP
			names := take_but(t.target, 4, '{}', t.slot, t.slots);
			EXIT WHEN names IS NULL;
			INSERT INTO came SELECT t.target, n FROM unnest(string_to_array(names, ', ')) n;
		END LOOP;
	END LOOP;
END $$;
SELECT target, entity || ' ' || external_id AS name FROM listed EXCEPT SELECT * FROM came;
SELECT * FROM came EXCEPT SELECT target, entity || ' ' || external_id FROM listed;
SELECT count(*) FROM syncext.outbound_change;
SELECT source, changes, retries, dead, seconds FROM syncext.feed_lag ORDER BY 1;

-- the numbers are for whom the view is granted to, and for nobody else
CREATE ROLE regress_lag_watcher;
GRANT USAGE ON SCHEMA syncext TO regress_lag_watcher;
SET ROLE regress_lag_watcher;
SELECT count(*) FROM syncext.feed_lag;
RESET ROLE;
GRANT SELECT ON syncext.feed_lag TO regress_lag_watcher;
SET ROLE regress_lag_watcher;
SELECT count(*) FROM syncext.feed_lag;
SELECT count(*) FROM syncext.cursor;
RESET ROLE;

DROP VIEW disagreement;
DROP FUNCTION change_rows, take_but, log_rows_read;
DROP EXTENSION syncext;
DROP OWNED BY regress_lag_watcher;
DROP ROLE regress_lag_watcher;
