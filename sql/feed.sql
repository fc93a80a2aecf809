-- The change feed: pull, acknowledge, retry, backfill.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SET timezone = 'UTC';
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Portal', 3);

-- A batch without what a test can't foresee.
CREATE FUNCTION pull(source text, max int DEFAULT 500)
	RETURNS TABLE (batch bigint, record text, rv bigint, gone boolean, fields jsonb, by text, correction boolean, attempt int)
	LANGUAGE sql AS $$
	SELECT batch, CASE entity WHEN 'record' THEN '' ELSE entity || ' ' END || external_id,
	       row_version, deleted, fields, last_source, correction, attempt
	FROM sync_pull(source, max)
$$;
CREATE FUNCTION outbound(source text) RETURNS TABLE (record text, state text, attempts int, rv bigint, batch bigint, error text)
	LANGUAGE sql AS $$
	SELECT CASE entity WHEN 'record' THEN '' ELSE entity || ' ' END || external_id, state, attempts, row_version, batch, error
	FROM syncext.outbound_change WHERE target = source ORDER BY entity, external_id
$$;
-- Time passes.
CREATE FUNCTION lease_ends(source text) RETURNS void LANGUAGE sql AS
	$$ UPDATE syncext.cursor SET lease_until = now() - interval '1 s' WHERE target = source AND lease_until IS NOT NULL $$;
CREATE FUNCTION retries_due(source text) RETURNS void LANGUAGE sql AS
	$$ UPDATE syncext.pending SET next_attempt = now() - interval '1 s' WHERE target = source AND next_attempt IS NOT NULL $$;

-- Every other source hears of a change; the same batch comes until it is taken.
SELECT change('CRM', 'record', 'C1', 1, '{"name": "Ann"}'), change('ERP', 'record', 'C2', 1, '{"name": "Bob"}');
SELECT * FROM pull('CRM');
SELECT * FROM pull('ERP');
SELECT * FROM pull('Portal');
SELECT change('CRM', 'record', 'C3', 1, '{"name": "Cid"}');
SELECT * FROM pull('Portal');
SELECT * FROM outbound('Portal');
SELECT sync_ack('Portal', 1);
SELECT * FROM outbound('Portal');
SELECT take('Portal');
SELECT * FROM pull('Portal');
SELECT * FROM outbound('Portal');
-- of a record that changed twice, the state alone; and as it is now
SELECT change('CRM', 'record', 'C1', 2, '{"name": "Anna"}'), change('CRM', 'record', 'C1', 3, '{"name": "Anne"}');
SELECT * FROM pull('Portal');
SELECT change('CRM', 'record', 'C1', 4, '{"name": "Annie"}');
SELECT * FROM pull('Portal');
SELECT take('Portal'), take('Portal'), take('Portal');
-- a batch that isn't out
SELECT sync_ack('Portal', 1);
SELECT sync_ack('Portal', 99);
SELECT sync_ack('ERP', 2);
SELECT take('ERP'), take('CRM');
-- the one that was acknowledged last, by who has had no answer: nothing happens
SELECT batch, acknowledged FROM syncext.cursor WHERE target = 'ERP';
SELECT sync_ack('ERP', acknowledged) FROM syncext.cursor WHERE target = 'ERP';
SELECT sync_ack('ERP', acknowledged, '[{"externalId": "C1", "error": "too late"}]') FROM syncext.cursor WHERE target = 'ERP';
SELECT count(*) FROM syncext.pending;
-- nor while the next one is out, which is still to be acknowledged
SELECT change('CRM', 'record', 'C3', 2, '{"name": "Sid"}');
SELECT batch, record FROM pull('ERP');
SELECT sync_ack('ERP', acknowledged) FROM syncext.cursor WHERE target = 'ERP';
SELECT batch - acknowledged AS ahead, lease_until IS NOT NULL AS out FROM syncext.cursor WHERE target = 'ERP';
SELECT sync_ack('ERP', acknowledged - 1) FROM syncext.cursor WHERE target = 'ERP';
SELECT take('ERP'), take('Portal');
-- a target that has acknowledged nothing yet has no batch 0
SELECT sync_ack('CRM', 0);

-- The loser alone learns the truth.
SELECT change('ERP', 'record', 'C1', 2, '{"name": "Old"}');
SELECT * FROM pull('ERP');
SELECT take('ERP'), take('ERP'), take('CRM'), take('Portal');

-- The lease ends: the same records in a new batch, and the old number is void.
SELECT change('CRM', 'record', 'C2', 2, '{"name": "Rob"}');
SELECT batch, record FROM pull('Portal');
SELECT lease_ends('Portal');
SELECT state FROM outbound('Portal');
-- late is not too late, as long as nobody has pulled since
BEGIN;
SELECT sync_ack('Portal', batch) FROM syncext.cursor WHERE target = 'Portal';
ROLLBACK;
SELECT batch, record FROM pull('Portal');
SELECT sync_ack('Portal', batch - 1) FROM syncext.cursor WHERE target = 'Portal';
SELECT sync_ack('Portal', batch) FROM syncext.cursor WHERE target = 'Portal';

-- A big transaction is served in pages, each record once, whoever pulls.
DO $$
BEGIN
	FOR i IN 1..10 LOOP
		PERFORM change('CRM', 'record', 'P' || i, 1, '{"name": "one"}');
		PERFORM change('CRM', 'record', 'P' || greatest(1, i - 4), 2, '{"name": "two"}');
	END LOOP;
END $$;
SELECT string_agg(record || ':' || rv, ' ') FROM pull('Portal', 4);
SELECT take('Portal', 4);
SELECT take('Portal', 4);
SELECT count(*) FROM outbound('Portal');
\c -
SELECT take('Portal', 4);
SELECT take('Portal', 4);
-- a page that only says again what came before is passed over
SELECT at_xid, hi FROM syncext.cursor WHERE target = 'Portal';
SELECT take('ERP', 3), take('ERP', 3), take('ERP', 3), take('ERP', 3), take('ERP', 3);

-- The loser is told on a later page, even of a record that an earlier one had.
BEGIN;
SELECT change('CRM', 'record', 'P1', 3, '{"name": "three"}'), change('CRM', 'record', 'P2', 3, '{"name": "three"}'), change('CRM', 'record', 'P3', 3, '{"name": "three"}');
SELECT change('Portal', 'record', 'P1', 1, '{"name": "mine"}');
COMMIT;
SELECT record, correction FROM pull('Portal', 2);
SELECT take('Portal', 2);
SELECT record, correction FROM pull('Portal', 2);
SELECT take('Portal', 2), take('Portal', 2);
-- on one page it stands once
BEGIN;
SELECT change('CRM', 'record', 'P1', 4, '{"name": "four"}');
SELECT change('Portal', 'record', 'P1', 1, '{"name": "mine"}');
COMMIT;
SELECT record, correction FROM pull('Portal');
SELECT take('Portal'), take('ERP');

-- What fails comes again later, and holds up nothing else.
UPDATE syncext.source SET retry_cap = 2;
SELECT change('CRM', 'record', 'F1', 1, '{"name": "a"}'), change('CRM', 'record', 'F2', 1, '{"name": "a"}'), change('CRM', 'record', 'F3', 1, '{"name": "a"}');
SELECT record, attempt FROM pull('ERP');
SELECT sync_ack('ERP', batch, '[{"entity": "record", "externalId": "F1", "error": "check violated"}, {"externalId": "F2", "busy": true}]')
FROM syncext.cursor WHERE target = 'ERP';
SELECT * FROM outbound('ERP');
SELECT external_id, (next_attempt > now() + interval '10 s') AS later
FROM syncext.pending ORDER BY 1;
-- not before its time, nor when it changes meanwhile; the busy one's would come in a second
UPDATE syncext.pending SET next_attempt = now() + interval '1 hour' WHERE external_id = 'F2';
SELECT change('CRM', 'record', 'F1', 2, '{"name": "b"}'), change('CRM', 'record', 'F4', 1, '{"name": "a"}');
SELECT record, attempt FROM pull('ERP');
SELECT * FROM outbound('ERP');
SELECT take('ERP');
SELECT retries_due('ERP');
SELECT * FROM pull('ERP');
SELECT * FROM outbound('ERP');
SELECT sync_ack('ERP', batch, '[{"externalId": "F1", "error": "again"}]') FROM syncext.cursor WHERE target = 'ERP';
-- dead
SELECT * FROM outbound('ERP');
SELECT retries_due('ERP');
SELECT * FROM pull('ERP');
-- a newer row version brings it back
SELECT change('CRM', 'record', 'F1', 3, '{"name": "c"}');
SELECT * FROM pull('ERP');
SELECT sync_ack('ERP', batch, '[{"externalId": "F1", "error": "1"}]') FROM syncext.cursor WHERE target = 'ERP';
SELECT retries_due('ERP');
SELECT record, attempt FROM pull('ERP');
SELECT sync_ack('ERP', batch, '[{"externalId": "F1", "error": "2"}]') FROM syncext.cursor WHERE target = 'ERP';
SELECT * FROM outbound('ERP');
-- and so does an administrator
SELECT sync_redrive('ERP', 'thing'), sync_redrive('ERP', 'record', 'F9'), sync_redrive('CRM');
SELECT sync_redrive('ERP', 'record', 'F1');
SELECT record, attempt FROM pull('ERP');
SELECT sync_discard('ERP');
SELECT sync_ack('ERP', batch, '[{"externalId": "F1", "error": "no use"}]') FROM syncext.cursor WHERE target = 'ERP';
SELECT sync_discard('ERP', 'record');
SELECT * FROM outbound('ERP');
SELECT resolution, told, source, version, row_version, detail - 'by' AS detail FROM sync_history('record', 'F1') WHERE resolution = 'DISMISSED';
SELECT take('ERP');
-- retries don't crowd out what is new, nor the other way round
SELECT take('Portal');
SELECT count(change('CRM', 'record', 'G' || i, 1, '{"name": "a"}')) FROM generate_series(1, 8) i;
SELECT count(*) FROM pull('Portal');
SELECT sync_ack('Portal', batch, (SELECT jsonb_agg(jsonb_build_object('externalId', 'G' || i, 'error', 'x')) FROM generate_series(1, 8) i))
FROM syncext.cursor WHERE target = 'Portal';
SELECT count(change('CRM', 'record', 'H' || i, 1, '{"name": "a"}')) FROM generate_series(1, 8) i;
SELECT retries_due('Portal');
SELECT record, attempt FROM pull('Portal', 4) ORDER BY 1;
SELECT take('Portal', 4), take('Portal', 4), take('Portal', 4), take('Portal', 4), take('Portal', 4);
SELECT take('ERP');

-- Fields, and records, that are in a conflict of the target's are held back.
UPDATE syncext.source_priority SET priority = 2 WHERE source IN ('ERP', 'Portal');
SELECT sync_apply('{"source": "ERP", "externalId": "K1", "version": 1, "name": "erp", "city": "Bonn"}') ->> 'resolution';
SELECT sync_apply('{"source": "Portal", "externalId": "K1", "version": 1, "name": "portal"}') ->> 'resolution';
SELECT * FROM pull('Portal');
SELECT fields FROM pull('CRM');
SELECT take('Portal'), take('CRM');
SELECT sync_resolve(id, 'canonical') ->> 'status' FROM syncext.conflict_log WHERE status = 'pending';
SELECT * FROM pull('Portal');
SELECT take('Portal'), take('ERP'), take('CRM');
-- a delete is a conflict over the whole record: it waits, and holds up no other
SELECT change('ERP', 'record', 'K1', 2, '{"name": "erp2"}'), change('ERP', 'record', 'K2', 1, '{"name": "x"}');
SELECT sync_apply('{"source": "Portal", "externalId": "K1", "version": 2, "deleted": true}') ->> 'resolution';
SELECT take('Portal'), take('Portal');
SELECT change('ERP', 'record', 'K1', 2, '{"name": "erp2"}') AS no_news, take('Portal');
SELECT sync_resolve(id, 'dismiss') ->> 'status' FROM syncext.conflict_log WHERE status = 'pending';
SELECT record, fields, correction FROM pull('Portal');
SELECT take('Portal'), take('CRM');
-- a batch of nothing but such is passed over
SELECT change('ERP', 'record', 'K1', 3, '{"name": "erp3"}');
SELECT sync_apply('{"source": "Portal", "externalId": "K1", "version": 3, "deleted": true}') ->> 'resolution';
SELECT take('Portal', 1);
SELECT count(*) FROM outbound('Portal');
-- what came out of it in the end
SELECT change('CRM', 'record', 'K1', 3, '{"name": "crm"}');
SELECT status, count(*) FROM syncext.conflict_log GROUP BY 1 ORDER BY 1;
SELECT take('Portal'), take('ERP'), take('CRM');

-- A tombstone
SELECT sync_apply('{"source": "CRM", "externalId": "C2", "version": 9, "deleted": true}') ->> 'resolution';
SELECT * FROM pull('Portal');
SELECT take('Portal'), take('ERP');

-- Parents come before children.
SELECT sync_add_entity('order'), sync_add_entity('customer'), sync_add_entity('line');
INSERT INTO syncext.reference (entity, field, parent) VALUES ('order', 'customer', 'customer'), ('line', 'order', 'order');
SELECT change('CRM', 'line', 'L1', 1, '{"name": "x"}'), change('CRM', 'order', 'O1', 1, '{"name": "x"}'), change('CRM', 'customer', 'A1', 1, '{"name": "x"}'), change('CRM', 'record', 'R1', 1, '{"name": "x"}');
SELECT record FROM pull('Portal');
SELECT take('Portal'), take('ERP');

-- What a transaction writes itself comes once it has committed.
BEGIN;
SELECT change('CRM', 'record', 'T1', 1, '{"name": "first"}'), change('CRM', 'record', 'T2', 1, '{"name": "first"}');
SELECT take('Portal');
SELECT change('CRM', 'record', 'T2', 2, '{"name": "second"}');
SELECT take('Portal');
COMMIT;
SELECT take('Portal');
BEGIN;
SELECT change('CRM', 'record', 'T1', 2, '{"name": "second"}');
-- a window is open here, and its tick is this transaction's own
SELECT take('ERP', 1);
SELECT change('CRM', 'record', 'T1', 3, '{"name": "third"}');
SELECT take('ERP', 1), take('ERP', 1);
COMMIT;
SELECT take('ERP'), take('Portal');
-- a pull that is rolled back was none
BEGIN;
SELECT change('CRM', 'record', 'T3', 1, '{"name": "kept"}');
SAVEPOINT s;
SELECT change('CRM', 'record', 'T4', 1, '{"name": "dropped"}');
ROLLBACK TO s;
COMMIT;
BEGIN;
SELECT take('Portal');
ROLLBACK;
SELECT take('Portal'), take('ERP');

-- A pull that finds nothing writes nothing, and goes in any transaction.
BEGIN;
SELECT * FROM pull('Portal');
SELECT pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT * FROM pull('Portal');
COMMIT;
SELECT change('CRM', 'record', 'T5', 1, '{"name": "x"}');
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM pull('Portal');
ROLLBACK;
BEGIN READ ONLY;
SELECT * FROM pull('Portal');
ROLLBACK;
SELECT take('Portal'), take('ERP');

-- Much that isn't the target's own is passed over.
SELECT jsonb_array_length(sync_apply(jsonb_agg(jsonb_build_object('source', 'CRM', 'externalId', 'M' || i, 'version', 1, 'name', 'x'))))
FROM generate_series(1, 1001) i;
SELECT lo AS before FROM syncext.cursor WHERE target = 'CRM' \gset
SELECT * FROM pull('CRM');
SELECT lo > :before AS moved, hi, batch, lease_until FROM syncext.cursor WHERE target = 'CRM';
SELECT sync_discard('ERP'), length(take('ERP', 10000)) > 0 AS taken;

-- A source that comes late gets what there is, and what changes meanwhile.
SELECT sync_add_source('Late', 9);
SELECT backfill_entity, backfill_id, backfill_rest FROM syncext.cursor WHERE target = 'Late';
SELECT count(*) = (SELECT count(*) FROM syncext.canonical) AS everything, min(state), max(state), count(since) FROM syncext.outbound_change WHERE target = 'Late';
SELECT record FROM pull('Late', 4);
SELECT change('CRM', 'record', 'C1', 9, '{"name": "changed"}'), change('CRM', 'record', 'Z1', 1, '{"name": "new"}');
SELECT record FROM pull('Late', 4);
SELECT state, batch, count(*) FROM outbound('Late') GROUP BY 1, 2 ORDER BY 2, 1;
SELECT take('Late', 4);
SELECT sync_ack('Late', min(batch), '[{"externalId": "C3", "error": "not yet"}]'), string_agg(record || ':' || rv, ' ') FROM pull('Late', 4);
SELECT take('Late', 4);
CREATE TABLE copy (record text PRIMARY KEY, rv bigint, gone boolean, fields jsonb);
DO $$
BEGIN
	PERFORM sync_redrive('Late');
	LOOP
		INSERT INTO copy SELECT record, rv, gone, fields FROM pull('Late', 300)
			ON CONFLICT (record) DO UPDATE SET rv = excluded.rv, gone = excluded.gone, fields = excluded.fields;
		EXIT WHEN NOT FOUND;
		PERFORM sync_ack('Late', batch) FROM syncext.cursor WHERE target = 'Late';
	END LOOP;
END $$;
SELECT backfill_entity, backfill_rest FROM syncext.cursor WHERE target = 'Late';
SELECT count(*) FROM outbound('Late');
-- all but those that were taken above
SELECT external_id FROM syncext.canonical c
WHERE NOT EXISTS (SELECT FROM copy WHERE record = CASE entity WHEN 'record' THEN '' ELSE entity || ' ' END || external_id
                  AND rv = row_version AND gone = deleted AND copy.fields = CASE WHEN deleted THEN '{}' ELSE c.fields END)
ORDER BY external_id;
SELECT syncext.cursor_start('Late');
SELECT count(*) = (SELECT count(*) FROM syncext.canonical) AS everything FROM syncext.outbound_change WHERE target = 'Late';
SELECT sync_drop_source('Late');
SELECT count(*) FROM syncext.cursor WHERE target = 'Late';
-- a source that was added by hand starts with its first pull
INSERT INTO syncext.source (name, entities) VALUES ('Hand', '{order}');
SELECT take('Hand');
SELECT take('Hand');
DELETE FROM syncext.source WHERE name = 'Hand';
SELECT count(*) FROM syncext.cursor WHERE target = 'Hand';

-- Subscriptions
SELECT sync_subscribe('Portal', '{order,customer}');
SELECT take('Portal');
SELECT change('CRM', 'record', 'C1', 10, '{"name": "x"}'), change('CRM', 'order', 'O2', 1, '{"name": "x"}');
SELECT * FROM outbound('Portal');
SELECT sync_ack('Portal', min(batch), '[{"entity": "order", "externalId": "O2", "error": "x"}]') FROM pull('Portal');
SELECT * FROM outbound('Portal');
-- what it gets no more it need not take; what is new to it comes with all records
SELECT sync_subscribe('Portal', '{customer,line}');
SELECT * FROM outbound('Portal');
SELECT take('Portal');
SELECT change('CRM', 'customer', 'A1', 2, '{"name": "y"}');
SELECT batch, record FROM pull('Portal');
SELECT sync_subscribe('Portal', '{line}');
SELECT sync_ack('Portal', batch, '[{"entity": "customer", "externalId": "A1", "error": "x"}]') FROM syncext.cursor WHERE target = 'Portal';
SELECT * FROM outbound('Portal');
SELECT sync_subscribe('Portal', '{line,lines}');
SELECT sync_subscribe('Portal', '{line,null}');
SELECT sync_subscribe('Portals', NULL);
SELECT sync_subscribe(NULL, NULL);
SELECT sync_subscribe('Portal', NULL);
SELECT count(*) > 1000 AS all_the_rest, bool_or(record LIKE 'line%') AS what_it_had FROM outbound('Portal');

-- Bad input
SELECT * FROM sync_pull('Nobody');
SELECT * FROM sync_pull(NULL);
SELECT * FROM sync_pull('CRM', NULL);
SELECT * FROM sync_pull('CRM', 0);
SELECT * FROM sync_pull('CRM', -5);
SELECT * FROM sync_pull('CRM', 10001);
SELECT sync_ack('Nobody', 1);
SELECT sync_ack('CRM', NULL);
SELECT sync_redrive('Nobody');
SELECT sync_discard(NULL);
SELECT change('ERP', 'record', 'B1', 1, '{"name": "x"}');
SELECT batch AS b FROM pull('CRM') \gset
SELECT sync_ack('CRM', :b, '{}');
SELECT sync_ack('CRM', :b, '[1]');
SELECT sync_ack('CRM', :b, '[{"error": "x"}]');
SELECT sync_ack('CRM', :b, '[{"externalId": 1}]');
SELECT sync_ack('CRM', :b, '[{"externalId": "B1", "busy": "yes"}]');
SELECT sync_ack('CRM', :b, '[{"externalId": "B1", "eror": "x"}]');
SELECT sync_ack('CRM', :b, '[{"externalId": "B1"}, {"externalId": "B2"}]');
SELECT sync_ack('CRM', :b, '[{"entity": "order", "externalId": "B1"}]');
-- no more than a batch may have
SET syncext.max_records = 2;
SELECT sync_ack('CRM', :b, '[{"externalId": "B1"}, {"externalId": "B1"}, {"externalId": "B1"}]');
SELECT sync_ack('CRM', :b, keys => '[1, 2, 3]');
SELECT sync_ack('CRM', :b, '[{"externalId": "B1"}, {"externalId": "B2"}]', keys => '[1, 2]');
RESET syncext.max_records;
SELECT count(*) FROM syncext.pending WHERE target = 'CRM';
SELECT sync_ack('CRM', :b, ('[{"externalId": "B1", "error": "' || repeat('ä', 2000) || '"}]')::jsonb);
SELECT octet_length(error) FROM syncext.pending WHERE target = 'CRM';

-- Rights: who may act as a source may pull and acknowledge for it, no more.
CREATE ROLE regress_feed_erp;
UPDATE syncext.source SET role = 'regress_feed_erp' WHERE name = 'ERP';
SET ROLE regress_feed_erp;
SELECT count(*) FROM sync_pull('ERP');
SELECT sync_ack('ERP', batch) FROM (SELECT DISTINCT batch FROM sync_pull('ERP')) b;
SELECT * FROM sync_pull('CRM');
SELECT sync_ack('CRM', 1);
SELECT sync_redrive('ERP');
SELECT sync_discard('ERP');
SELECT sync_subscribe('ERP', NULL);
SELECT syncext.cursor_start('ERP');
SELECT syncext.cursor_drop('ERP');
SELECT count(*) FROM syncext.outbound_change;
RESET ROLE;
UPDATE syncext.source SET role = NULL WHERE name = 'ERP';
DROP ROLE regress_feed_erp;
SELECT sync_add_source('Pages', 9);
DO $$ BEGIN WHILE take('Pages', 10000) <> 'nothing' LOOP END LOOP; END $$;
-- A page that is rolled back is none: a smaller one in its place, and what it had comes later.
DO $$
BEGIN
	FOR i IN 1..12 LOOP
		PERFORM change('CRM', 'record', 'W' || (i - 1) % 6 + 1, i, '{"name": "one"}');
	END LOOP;
END $$;
SELECT take('Pages', 1);
BEGIN;
SELECT take('Pages', 4);
ROLLBACK;
SELECT take('Pages', 1);
SELECT take('Pages', 3), take('Pages', 3), take('Pages', 3);
-- More than can be sent at once comes in turn, each record once.
SET syncext.max_document = '16MB';
SELECT change('CRM', 'record', 'X' || i, 1, jsonb_build_object('text', repeat('x', 12000000))) FROM generate_series(1, 4) i;
SELECT count(*), string_agg(external_id, ' ') FROM sync_pull('Pages');
SELECT take('Pages') ~ 'X1' AS taken;
SELECT count(*), string_agg(external_id, ' ') FROM sync_pull('Pages');
SELECT take('Pages') ~ 'X4' AS taken;
RESET syncext.max_document;

DROP TABLE copy;
DROP FUNCTION pull, outbound, lease_ends, retries_due;
DROP EXTENSION syncext;
