-- Dead letters of every kind, bringing them back and giving them up, and how
-- far each source is behind.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('O''Neill', 2);
SELECT sync_add_entity('customer'), sync_add_entity('order'), sync_add_reference('order', 'clientId', 'customer');
UPDATE syncext.source SET retry_cap = 1;

SELECT a->>'resolution' AS resolution FROM jsonb_array_elements(sync_apply('[
	{"source": "CRM", "externalId": "A", "version": 1, "x": 1},
	{"source": "CRM", "externalId": "B", "version": 1, "x": 1},
	{"source": "O''Neill", "entity": "order", "externalId": "O1", "version": 1, "clientId": "C1"},
	{"source": "O''Neill", "entity": "order", "externalId": "O2", "version": 1, "clientId": "C2"},
	{"source": "O''Neill", "entity": "order", "externalId": "O3", "version": 1, "clientId": "C3"},
	{"source": "CRM", "entity": "order", "externalId": "O4", "version": 1, "clientId": "C1"}]')) a;
SELECT source, changes, retries, dead, seconds > 0 AS late, backfill, lease_until IS NOT NULL AS leased
FROM syncext.feed_lag ORDER BY 1;
SELECT external_id FROM sync_pull('O''Neill');
SELECT source, changes, seconds > 0 AS late, lease_until IS NOT NULL AS leased FROM syncext.feed_lag ORDER BY 1;
SELECT sync_ack('O''Neill', (SELECT max(batch) FROM sync_pull('O''Neill')),
                '[{"externalId": "A", "error": "no room"}, {"externalId": "B", "error": "no mind"}]');
SELECT source, changes, retries, dead, seconds > 0 AS late FROM syncext.feed_lag ORDER BY 1;
-- what is parked dies in time, here at the first attempt
UPDATE syncext.waiting SET next_attempt = now() WHERE external_id <> 'O3';
SELECT external_id FROM sync_pull('CRM');
CALL sync_maintain();
SELECT kind, source, entity, external_id, since IS NOT NULL AS since, attempts, error, redrive, discard
FROM syncext.dead_letter ORDER BY kind, source, external_id;

-- what the view says to call does it
SELECT redrive FROM syncext.dead_letter WHERE external_id IN ('A', 'O1') ORDER BY external_id \gexec
SELECT kind, external_id FROM syncext.dead_letter ORDER BY 1, 2;
SELECT external_id, attempts, next_attempt <= now() AS due FROM syncext.waiting ORDER BY 1;
SELECT external_id, attempt FROM sync_pull('O''Neill');
SELECT discard FROM syncext.dead_letter WHERE external_id IN ('B', 'O2') ORDER BY external_id \gexec
SELECT kind, external_id FROM syncext.dead_letter ORDER BY 1, 2;
SELECT external_id, source, resolution, told, detail - 'by' AS detail FROM syncext.change_log WHERE resolution = 'DISMISSED' ORDER BY seq;
-- a whole source: what waits in good health is brought forward, but not given up
SELECT sync_discard('O''Neill');
SELECT external_id FROM syncext.waiting ORDER BY 1;
SELECT sync_redrive('O''Neill', 'order');
SELECT sync_discard('O''Neill', 'order', 'O3');
SELECT external_id FROM syncext.waiting ORDER BY 1;
-- the parent's arrival brings back what is left, dead or not
SELECT sync_apply('{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 1, "name": "Anna"}')->>'resolution';
SELECT external_id FROM syncext.waiting ORDER BY 1;
SELECT * FROM syncext.dead_letter;

-- by age: how long they have been dead, whenever it was that they first failed
SELECT sync_ack('O''Neill', (SELECT max(batch) FROM sync_pull('O''Neill')));
SELECT count(sync_apply(jsonb_build_object('source', 'CRM', 'externalId', 'G' || n, 'version', 1, 'x', n))) FROM generate_series(1, 6) n;
SELECT count(sync_apply(jsonb_build_object('source', 'O''Neill', 'entity', 'order', 'externalId', 'P' || n, 'version', 1, 'clientId', 'C9')))
FROM generate_series(1, 4) n;
SELECT sync_ack('O''Neill', max(batch), jsonb_agg(jsonb_build_object('entity', entity, 'externalId', external_id, 'error', 'full', 'busy', external_id = 'G6')))
FROM sync_pull('O''Neill') WHERE external_id LIKE 'G%';
UPDATE syncext.waiting SET parked_at = now() - interval '30 days',
	next_attempt = CASE external_id WHEN 'P4' THEN now() + interval '1 hour' ELSE now() END;
UPDATE syncext.pending SET since = now() - interval '30 days', next_attempt = next_attempt + interval '1 hour';
CALL sync_maintain();
SELECT kind, external_id, now() - since > '29 days' AS failed_long_ago, dead_since BETWEEN now() - interval '1 hour' AND clock_timestamp() AS dead_now
FROM syncext.dead_letter ORDER BY kind, external_id;
SELECT sync_redrive('O''Neill', older_than => '1 day'), sync_discard('O''Neill', older_than => '1 day');
UPDATE syncext.pending SET dead_since = now() - interval '8 days' WHERE external_id IN ('G1', 'G2', 'G3');
UPDATE syncext.waiting SET dead_since = now() - interval '8 days' WHERE external_id IN ('P1', 'P2');
SELECT sync_redrive('O''Neill', older_than => '9 days'), sync_redrive('CRM', older_than => '1 day'),
	sync_redrive('O''Neill', 'order', 'G1', '7 days'), sync_discard('O''Neill', 'record', 'G4', '7 days');
SELECT sync_redrive('O''Neill', 'record', 'G1', '7 days'), sync_redrive('O''Neill', 'order', 'P1', '7 days');
SELECT sync_discard('O''Neill', older_than => '7 days');
SELECT kind, external_id FROM syncext.dead_letter ORDER BY 1, 2;
SELECT external_id, attempts, dead_since IS NULL AS alive, next_attempt <= now() AS due FROM syncext.pending
UNION ALL SELECT external_id, attempts, dead_since IS NULL, next_attempt <= now() FROM syncext.waiting ORDER BY 1;
-- a dead letter that dies once more is as old as its second death; a newer row version revives it
SELECT sync_ack('O''Neill', max(batch), '[{"externalId": "G1", "error": "still full"}]') FROM sync_pull('O''Neill');
SELECT external_id, dead_since > now() - interval '1 hour' AS young FROM syncext.dead_letter WHERE external_id IN ('G1', 'G4') ORDER BY 1;
SELECT sync_apply('{"source": "CRM", "externalId": "G4", "version": 2, "x": 0}')->>'resolution';
SELECT external_id FROM sync_pull('O''Neill') WHERE external_id = 'G4';
SELECT external_id, dead_since IS NULL AS alive FROM syncext.pending WHERE external_id IN ('G1', 'G4') ORDER BY 1;
-- none at all is every dead letter, and nothing but them
SELECT sync_discard('O''Neill', 'order', 'P4', '0'), sync_redrive('O''Neill', older_than => '0');
SELECT external_id, attempts, next_attempt <= clock_timestamp() AS due FROM syncext.pending
UNION ALL SELECT external_id, attempts, next_attempt <= clock_timestamp() FROM syncext.waiting ORDER BY 1;
SELECT * FROM syncext.dead_letter;
-- one that plain SQL declared dead counts from its first failure
UPDATE syncext.pending SET next_attempt = NULL, since = now() - interval '3 days' WHERE external_id = 'G5';
UPDATE syncext.waiting SET next_attempt = NULL, parked_at = now() - interval '3 days' WHERE external_id = 'P3';
SELECT external_id, dead_since = since AS same FROM syncext.dead_letter ORDER BY 1;
SELECT sync_redrive('O''Neill', older_than => '4 days'), sync_redrive('O''Neill', older_than => '2 days');
-- ages that are none
SELECT sync_redrive('O''Neill', older_than => '-1 second');
SELECT sync_discard('O''Neill', 'order', NULL, '1 day -25 hours');
SELECT sync_discard('O''Neill', older_than => '1 day -23 hours');

-- who holds the horizon
BEGIN;
SELECT sync_apply('{"source": "CRM", "externalId": "A", "version": 2, "x": 2}')->>'resolution';
PREPARE TRANSACTION 'half done';
SELECT source, changes, horizon_holder, horizon_since IS NOT NULL AS since FROM syncext.feed_lag ORDER BY 1;
COMMIT PREPARED 'half done';
SELECT source, changes, horizon_holder FROM syncext.feed_lag ORDER BY 1;

DROP EXTENSION syncext;
