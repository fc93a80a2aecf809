-- Maintenance: the log tables are rotated and truncated, ticks, conflicts and
-- tombstones go when their time has come, and nobody loses a change by it.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Shop', 3);
SET syncext.retention = 0;

-- how many rows each of the four tables has, and which one is written to
CREATE VIEW tables AS
	SELECT current_log,
	       (SELECT count(*) FROM syncext.change_log_0) AS log_0, (SELECT count(*) FROM syncext.change_log_1) AS log_1,
	       (SELECT count(*) FROM syncext.change_log_2) AS log_2, (SELECT count(*) FROM syncext.change_log_3) AS log_3
	FROM syncext.feed_state;
-- pulls and acknowledges all there is
CREATE PROCEDURE take_all(source text, INOUT taken text DEFAULT '') LANGUAGE plpgsql AS $$
DECLARE
	n bigint;
	more text;
BEGIN
	LOOP
		SELECT max(batch), string_agg(external_id || CASE WHEN deleted THEN ' deleted' ELSE ' ' || (fields->>'value') END, ', ')
			INTO n, more FROM sync_pull(source);
		EXIT WHEN n IS NULL;
		PERFORM sync_ack(source, n);
		taken := concat_ws(', ', nullif(taken, ''), more);
	END LOOP;
END $$;

-- where nothing has happened there is nothing to do
CALL sync_maintain();
SELECT * FROM tables;

-- a rotation leaves the old table to those who have not read it, at once and in
-- all sessions
SELECT change('CRM', 'record', 'A', 1, '{"value": "one"}');
SET syncext.retention = '1h';
CALL sync_maintain();
SET syncext.retention = 0;
CALL sync_maintain();
SELECT * FROM tables;
SELECT change('CRM', 'record', 'B', 1, '{"value": "one"}');
SELECT * FROM tables;
CALL take_all('ERP');
CALL take_all('Shop');
-- a young table stays even if everybody has read it
SET syncext.retention = '1h';
CALL sync_maintain();
SELECT * FROM tables;
SET syncext.retention = 0;
CALL sync_maintain();
SELECT * FROM tables;

-- round and round: every change arrives, whichever table it is in, and nothing
-- piles up
CREATE PROCEDURE rounds(n int) LANGUAGE plpgsql AS $$
DECLARE
	target text;
	taken text;
	result jsonb;
	rotated int := 0;
	truncated int := 0;
BEGIN
	FOR i IN 1 .. n LOOP
		PERFORM change('CRM', 'record', 'R', i, jsonb_build_object('value', 'round ' || i));
		COMMIT;
		FOREACH target IN ARRAY '{ERP,Shop}'::text[] LOOP
			taken := '';
			CALL take_all(target, taken);
			IF taken IS DISTINCT FROM 'R round ' || i THEN
				RAISE EXCEPTION '% got % in round %', target, taken, i;
			END IF;
		END LOOP;
		COMMIT;
		CALL sync_maintain(result);
		rotated := rotated + (result ? 'rotated')::int;
		truncated := truncated + jsonb_array_length(result->'truncated');
		IF result->'restarted' <> '[]' OR result->'waits' <> '[]' THEN
			RAISE EXCEPTION 'round %: %', i, result;
		END IF;
	END LOOP;
	RAISE NOTICE '% rotations, % tables truncated', rotated, truncated;
END $$;
CALL rounds(50);
SELECT count(*) AS log_rows FROM syncext.change_log;
-- a cursor's two ticks for each of the targets, and the newest
SELECT count(*) <= 7 AS few_ticks FROM syncext.tick;

-- a target that is too far behind doesn't hold the log: it gets the records
SELECT change('CRM', 'record', 'B', 2, '{"value": "two"}');
CALL sync_maintain();
CALL take_all('ERP');
CALL sync_maintain();
SELECT target, backfill_entity FROM syncext.cursor ORDER BY 1;
SELECT change('CRM', 'record', 'C', 1, '{"value": "while it walks"}');
CALL take_all('Shop');
CALL take_all('Shop');
SELECT target, backfill_entity FROM syncext.cursor ORDER BY 1;
-- who is told of nothing isn't behind, however old its cursor: CRM has sent
-- everything itself
SELECT lo < (SELECT max(id) FROM syncext.tick) AS moved_up FROM syncext.cursor WHERE target = 'CRM';

-- the cursor of a target whose tick is gone is mended
DELETE FROM syncext.tick t USING syncext.cursor c WHERE c.target = 'Shop' AND t.id = c.lo;
\set VERBOSITY sqlstate
SELECT * FROM sync_pull('Shop');
\set VERBOSITY default
CALL sync_maintain();
CALL take_all('Shop');

-- closed conflicts go, pending ones stay
SELECT change('ERP', 'record', 'A', 1, '{"value": "mine"}'), change('CRM', 'record', 'A', 2, '{"value": "theirs"}'), change('Shop', 'record', 'A', 2, '{"value": "ours"}');
SELECT sync_add_entity('reviewed', '{version,manual}');
SELECT sync_apply('[{"source": "CRM", "entity": "reviewed", "externalId": "V", "version": 1, "a": 1},
                    {"source": "ERP", "entity": "reviewed", "externalId": "V", "version": 1, "a": 2},
                    {"source": "CRM", "entity": "reviewed", "externalId": "W", "version": 1, "a": 1},
                    {"source": "ERP", "entity": "reviewed", "externalId": "W", "version": 1, "a": 2}]') IS NOT NULL AS applied;
SELECT sync_resolve(id, 'dismiss')->>'resolution' FROM syncext.conflict_log WHERE external_id = 'V';
SET syncext.retention = '1h';
CALL sync_maintain();
SELECT external_id, status FROM syncext.conflict_log;
SET syncext.retention = 0;
CALL sync_maintain();
SELECT external_id, status FROM syncext.conflict_log;
CALL take_all('CRM');
CALL take_all('ERP');
CALL take_all('Shop');

-- tombstones go when their delete has left the log, and all have seen it
SELECT sync_apply('[{"source": "CRM", "externalId": "A", "version": 9, "deleted": true},
                    {"source": "CRM", "externalId": "B", "version": 9, "deleted": true}]') IS NOT NULL AS deleted;
CALL take_all('ERP');
-- Shop can't take one of them
SELECT sync_ack('Shop', (SELECT max(batch) FROM sync_pull('Shop')), '[{"externalId": "B", "error": "it is in use"}]');
CALL sync_maintain();
SELECT external_id, deleted FROM syncext.canonical WHERE entity = 'record' ORDER BY 1;
CALL sync_maintain();
SELECT external_id, deleted FROM syncext.canonical WHERE entity = 'record' ORDER BY 1;
-- A is gone: it may come anew, at any version
SELECT change('Shop', 'record', 'A', 1, '{"value": "again"}');
-- while a target walks through the records tombstones stay
SELECT sync_discard('Shop');
SELECT sync_add_source('Late', 4);
CALL take_all('ERP');
CALL take_all('Shop');
CALL take_all('CRM');
CALL sync_maintain();
CALL sync_maintain();
CALL take_all('Late');
SELECT change('CRM', 'record', 'C', 3, '{"value": "three"}');
CALL take_all('ERP');
CALL take_all('Shop');
CALL take_all('Late');
CALL sync_maintain();
CALL sync_maintain();
SELECT external_id, deleted FROM syncext.canonical WHERE entity = 'record' ORDER BY 1;

-- parked changes that are due are tried
SELECT sync_add_entity('customer'), sync_add_entity('order'), sync_add_reference('order', 'clientId', 'customer');
SELECT sync_apply('{"source": "CRM", "entity": "order", "externalId": "O1", "version": 1, "clientId": "C1"}')->>'resolution';
INSERT INTO syncext.canonical SELECT 'customer', 'C1', 1, 1, 'CRM', false, NULL, '{}', '{}';
UPDATE syncext.waiting SET next_attempt = now();
CALL sync_maintain();
SELECT count(*) FROM syncext.waiting;

-- it commits, so it isn't for a transaction
BEGIN;
CALL sync_maintain();
ROLLBACK;
-- whatever the isolation level that transactions begin with
SET default_transaction_isolation = 'repeatable read';
CALL sync_maintain();
RESET default_transaction_isolation;
-- who may
CREATE ROLE regress_maintainer;
SET ROLE regress_maintainer;
CALL sync_maintain();
RESET ROLE;
GRANT EXECUTE ON PROCEDURE sync_maintain TO regress_maintainer;
SELECT change('CRM', 'record', 'C', 4, '{"value": "four"}');
SET ROLE regress_maintainer;
CALL sync_maintain();
SELECT current_user;
RESET ROLE;
DROP OWNED BY regress_maintainer;
DROP ROLE regress_maintainer;

RESET syncext.retention;
DROP VIEW tables;
DROP EXTENSION syncext;
DROP PROCEDURE take_all, rounds;
