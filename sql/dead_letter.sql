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

-- who holds the horizon
BEGIN;
SELECT sync_apply('{"source": "CRM", "externalId": "A", "version": 2, "x": 2}')->>'resolution';
PREPARE TRANSACTION 'half done';
SELECT source, changes, horizon_holder, horizon_since IS NOT NULL AS since FROM syncext.feed_lag ORDER BY 1;
COMMIT PREPARED 'half done';
SELECT source, changes, horizon_holder FROM syncext.feed_lag ORDER BY 1;

DROP EXTENSION syncext;
