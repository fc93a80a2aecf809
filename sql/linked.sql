-- Tables whose entity is decided by the hub behind a link: capture, folding,
-- answers, and what comes from the hub.  Two databases, and psql between them.
\set VERBOSITY terse
SET client_min_messages = warning;
\set spoke :DBNAME
DROP DATABASE IF EXISTS regress_linked_hub;
CREATE DATABASE regress_linked_hub;

-- the hub: the branch is a source like any other
\c regress_linked_hub
\set VERBOSITY terse
CREATE EXTENSION syncext;
SELECT sync_add_entity('item');
SELECT sync_add_source('branch'), sync_add_source('web');
UPDATE syncext.source SET single_writer = true WHERE name = 'branch';
CREATE FUNCTION web(id text, base bigint, fields jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('entity', 'item', 'externalId', id, 'source', 'web',
	                  'updatedAt', now(), 'base', base, 'fields', fields)) ->> 'resolution'
$$;

-- the branch
\c :spoke
\set VERBOSITY terse

CREATE EXTENSION syncext;
SELECT sync_add_entity('item');
SELECT sync_add_source('branch');
CREATE TABLE item (id int PRIMARY KEY, name text, price numeric, stock int DEFAULT 0);
CREATE VIEW log AS
	SELECT external_id, row_version AS base, told, resolution, fields, detail
	FROM syncext.change_log ORDER BY seq;
CREATE VIEW replica AS SELECT external_id, row_version, fields, held FROM syncext.replica ORDER BY 1;
SELECT sync_attach('item', 'branch', 'item');
INSERT INTO syncext.link (name, server, source) VALUES ('l', 'none', 'branch');
SELECT syncext.link_start('branch');

-- an edit is captured, and decided by nobody here
INSERT INTO item VALUES (1, 'Bolt', 1.50, 10), (2, 'Nut', 0.5, 20);
UPDATE item SET stock = stock + 1 WHERE id = 1;
UPDATE item SET stock = stock WHERE id = 1;
DELETE FROM item WHERE id = 2;
SELECT * FROM log;
SELECT count(*) FROM syncext.canonical;
SELECT target, entity, external_id, state FROM syncext.outbound_change;

-- what a savepoint takes back was never captured; nested ones keep their order
BEGIN;
INSERT INTO item VALUES (3, 'Washer', 0.1, 5);
SAVEPOINT a;
UPDATE item SET name = 'never' WHERE id = 3;
SAVEPOINT b;
UPDATE item SET price = 99 WHERE id = 3;
RELEASE b;
ROLLBACK TO a;
UPDATE item SET stock = 6 WHERE id = 3;
SAVEPOINT c;
UPDATE item SET stock = 7 WHERE id = 3;
RELEASE c;
SELECT count(*) FROM log WHERE external_id = '3';
COMMIT;
SELECT * FROM log WHERE external_id = '3';

-- folded into one change a record; what came and went isn't sent
SELECT batch, change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch, coalesce(jsonb_agg(change), '[]') AS changes FROM syncext.captured('branch') \gset

-- The exchange, by hand: what the hub is sent, its answers, what it has for us.
\c regress_linked_hub
SELECT sync_apply(:'changes') AS answers \gset
SELECT a ->> 'externalId' AS id, a ->> 'resolution' AS resolution, a ->> 'rowVersion' AS rv
FROM jsonb_array_elements(:'answers') a;
\c :spoke
SELECT syncext.captured_answered('branch', :batch, :'answers');
SELECT * FROM replica;
SELECT * FROM syncext.captured('branch');
-- a batch is answered once
\set VERBOSITY terse
SELECT syncext.captured_answered('branch', :batch, :'answers');

-- What others edit comes in; an edit that the hub hasn't answered is left alone,
-- and so are fields that the hub doesn't say.
\c regress_linked_hub
\set VERBOSITY terse
SELECT web('1', 1, '{"price": 1.75}'), web('3', 1, '{"name": "Disc"}'), web('4', 0, '{"name": "Screw"}');
SELECT max(batch) AS batch, jsonb_agg(p) AS records FROM sync_pull('branch') p \gset
\c :spoke
\set VERBOSITY terse
UPDATE item SET stock = 8 WHERE id = 3;
SELECT syncext.linked_deliver('branch', :'records') AS failed \gset
SELECT :'failed';
SELECT * FROM item ORDER BY id;
SELECT * FROM replica;
-- the row that was left alone is edited on what was delivered, not on what it is there
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch2, jsonb_agg(change) AS changes FROM syncext.captured('branch') \gset
\c regress_linked_hub
SELECT sync_ack('branch', :batch, :'failed');
SELECT sync_apply(:'changes') AS answers \gset
SELECT a ->> 'externalId' AS id, a ->> 'resolution' AS resolution, a ->> 'rowVersion' AS rv
FROM jsonb_array_elements(:'answers') a;
\c :spoke
SELECT syncext.captured_answered('branch', :batch2, :'answers');
-- read there before our edit came there: not now
SELECT syncext.linked_deliver('branch', :'records') -> 0 -> 'busy' AS busy;
SELECT * FROM item ORDER BY id;
\c regress_linked_hub
UPDATE syncext.pending SET next_attempt = now();
SELECT max(batch) AS batch, jsonb_agg(p) AS records FROM sync_pull('branch') p \gset
\c :spoke
SELECT syncext.linked_deliver('branch', :'records') AS failed \gset
SELECT * FROM item ORDER BY id;
SELECT * FROM replica;
SELECT count(*) FROM syncext.captured('branch');
\c regress_linked_hub
SELECT sync_ack('branch', :batch, :'failed');

-- A loser is corrected, whatever row version it has seen; and hears of a conflict.
\c regress_linked_hub
SELECT web('1', 2, '{"name": "Bolt M6", "stock": 12}');
\c :spoke
\set VERBOSITY terse
UPDATE item SET name = 'Bolt M8', price = 2 WHERE id = 1;
SELECT max(batch) AS batch, jsonb_agg(change) AS changes FROM syncext.captured('branch') \gset
\c regress_linked_hub
SELECT sync_apply(:'changes') AS answers \gset
SELECT a ->> 'externalId' AS id, a ->> 'resolution' AS resolution, a -> 'lost' AS lost
FROM jsonb_array_elements(:'answers') a;
\c :spoke
\set VERBOSITY terse
SELECT syncext.captured_answered('branch', :batch, :'answers');
\c regress_linked_hub
SELECT max(batch) AS batch, jsonb_agg(p) AS records FROM sync_pull('branch') p \gset
SELECT fields, correction FROM sync_pull('branch');
\c :spoke
\set VERBOSITY terse
SELECT syncext.linked_deliver('branch', :'records') AS failed \gset
-- what the conflict keeps back is based on when it was last delivered
SELECT * FROM replica WHERE external_id = '1';
UPDATE item SET name = 'Bolt M10', stock = 13 WHERE id = 1;
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch2, jsonb_agg(change) AS changes FROM syncext.captured('branch') \gset
\c regress_linked_hub
SELECT sync_ack('branch', :batch, :'failed');
SELECT sync_apply(:'changes') AS answers \gset
SELECT a ->> 'externalId' AS id, a ->> 'resolution' AS resolution, a -> 'lost' AS lost
FROM jsonb_array_elements(:'answers') a;
SELECT sync_resolve(max(id), 'canonical') ->> 'resolution' AS resolved FROM syncext.conflict_log WHERE status = 'pending';
SELECT max(batch) AS batch, jsonb_agg(p) AS records FROM sync_pull('branch') p \gset
\c :spoke
\set VERBOSITY terse
SELECT syncext.captured_answered('branch', :batch2, :'answers');
SELECT syncext.linked_deliver('branch', :'records') AS failed \gset
SELECT * FROM item WHERE id = 1;
SELECT * FROM replica WHERE external_id = '1';

-- What the hub refuses is kept as a dead letter; what it can't take now comes again.
UPDATE item SET name = repeat('x', 2000) WHERE id = 4;
UPDATE item SET price = 3 WHERE id = 3;
SELECT max(batch) AS batch, jsonb_agg(change) AS changes FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 4, "lost": []}, {"status": 400, "reason": "document too large"}]');
SELECT relation, external_id, attempts, next_attempt IS NULL AS dead, error FROM syncext.capture_failure;
-- what the hub hasn't got is sent with whatever is edited next
UPDATE item SET stock = 1 WHERE id = 4;
SELECT count(*) FROM syncext.captured('branch');
SELECT external_id, next_attempt <= clock_timestamp() AS due FROM syncext.capture_failure;
SELECT syncext.linked_retry('branch');
SELECT change #>> '{fields,name}' = repeat('x', 2000) AS whole, change -> 'base' AS base FROM syncext.captured('branch');
UPDATE item SET name = 'Screw' WHERE id = 4;
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 2, "lost": []}, {"status": 200, "rowVersion": 3, "lost": []}]');
SELECT count(*) FROM syncext.captured('branch');
SELECT syncext.linked_retry('branch');
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 4, "lost": []}]');
SELECT syncext.linked_retry('branch');
SELECT count(*) FROM syncext.capture_failure;

-- An edit that was taken back isn't sent, nor one that a delivery has settled.
UPDATE item SET price = 9 WHERE id = 3;
UPDATE item SET price = 3 WHERE id = 3;
SELECT count(*) FROM syncext.captured('branch');
UPDATE item SET price = 9 WHERE id = 3;
UPDATE item SET price = 3 WHERE id = 3;
SELECT syncext.linked_deliver('branch', '[{"entity": "item", "external_id": "3", "version": 0, "row_version": 9, "deleted": false, "fields": {"price": 4, "name": "Disc", "stock": 8}}]');
SELECT count(*) FROM syncext.captured('branch');
-- deleted and made again: whole, on the first base
DELETE FROM item WHERE id = 3;
INSERT INTO item VALUES (3, 'Ring', 5, 5);
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
-- while a batch is out its records are left alone, though the row looks answered
UPDATE item SET name = 'Disc', price = 4, stock = 8 WHERE id = 3;
SELECT syncext.linked_deliver('branch', '[{"entity": "item", "external_id": "3", "row_version": 10, "fields": {"price": 5}}]') -> 0 -> 'busy' AS busy;
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 10, "lost": []}]');
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 11, "lost": []}]');

-- A delete; a row that the table refuses; one that came and is the same.
SELECT syncext.linked_deliver('branch', '[{"entity": "item", "external_id": "3", "row_version": 12, "deleted": true},
	{"entity": "item", "external_id": "five", "row_version": 1, "fields": {"name": "Pin"}},
	{"entity": "item", "external_id": "5", "row_version": 1, "fields": {"name": "Pin"}}]');
SELECT * FROM item ORDER BY id;
SELECT * FROM replica;
BEGIN;
SET LOCAL syncext.inbound = 'on';
INSERT INTO item VALUES (6, 'Cam', 1, 1), (7, 'Cog', 1, 1);
COMMIT;
SELECT syncext.linked_deliver('branch', '[{"entity": "item", "external_id": "6", "row_version": 1, "fields": {"name": "Cam", "price": 1, "stock": 1}},
	{"entity": "item", "external_id": "7", "row_version": 1, "fields": {"name": "Cog", "price": 1, "stock": 2}}]');
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 409, "rowVersion": 1, "lost": []}]');
SELECT * FROM replica WHERE external_id > '5';

-- A trigger that changes what comes in is heard once, and does not quarrel.
CREATE FUNCTION upper_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER upper_name BEFORE INSERT OR UPDATE ON item FOR EACH ROW EXECUTE FUNCTION upper_name();
SELECT syncext.linked_deliver('branch', '[{"entity": "item", "external_id": "5", "row_version": 2, "fields": {"name": "Pin", "stock": 3}}]');
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 3, "lost": []}]');
SELECT syncext.linked_deliver('branch', '[{"entity": "item", "external_id": "5", "row_version": 4, "fields": {"name": "pin", "stock": 3}}]');
SELECT count(*) FROM syncext.captured('branch');
DROP TRIGGER upper_name ON item;

-- The first load: what the table has goes to the hub, in batches.
CREATE TABLE part (id text PRIMARY KEY, n int);
INSERT INTO part SELECT 'P' || i, i FROM generate_series(1, 1200) i;
SELECT sync_add_entity('part');
SELECT sync_attach('part', 'branch', 'part');
CALL sync_load('part', 'table');
CALL sync_load('part') \gset load_
SELECT :'load_result'::jsonb - 'seconds' AS result;
SELECT job, status, done, counts ->> 'new' AS new FROM syncext.job_run;
SELECT count(*), max(change ->> 'base') AS base FROM syncext.captured('branch', 1000);
SELECT max(batch) AS batch, jsonb_agg('{"status": 200, "rowVersion": 1, "lost": []}'::jsonb) AS answers FROM syncext.captured('branch', 1000) \gset
SELECT syncext.captured_answered('branch', :batch, :'answers');
SELECT count(*) FROM syncext.captured('branch', 1000);
SELECT max(batch) AS batch, jsonb_agg('{"status": 200, "rowVersion": 1, "lost": []}'::jsonb) AS answers FROM syncext.captured('branch', 1000) \gset
SELECT syncext.captured_answered('branch', :batch, :'answers');
CALL sync_load('part') \gset load_
SELECT :'load_result'::jsonb - 'seconds' AS result;

-- A column's type that is changed, with its values: a load captures what is different.
CREATE VIEW told AS SELECT problem, hint FROM sync_check() WHERE object = 'relation public.part';
ALTER TABLE part ALTER n TYPE bigint USING CASE id WHEN 'P1' THEN 7 ELSE n END;
SELECT * FROM told;
CALL sync_load('part') \gset load_
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT * FROM told;
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 2, "lost": []}]');
-- one from which nothing is sent gets what was agreed on
SELECT sync_detach('part');
SELECT sync_attach('part', 'branch', 'part', direction => 'out');
ALTER TABLE part ALTER n TYPE int USING CASE id WHEN 'P1' THEN 8 ELSE n END;
SELECT * FROM told;
CALL sync_load('part') \gset load_
SELECT count(*) FROM told;
CALL sync_load('part', 'hub') \gset load_
SELECT :'load_result'::jsonb - 'seconds' AS result;
SELECT * FROM part WHERE id IN ('P1', 'P2') ORDER BY id;
SELECT * FROM told;
SELECT count(*) FROM syncext.captured('branch');
DROP VIEW told;
SELECT sync_detach('part');
SELECT sync_attach('part', 'branch', 'part');

-- Whose business it is.
SELECT sync_apply('{"entity": "item", "externalId": "1", "source": "branch", "base": 0, "fields": {"n": 1}}');
SELECT sync_add_source('other');
SELECT sync_apply('{"entity": "item", "externalId": "1", "source": "other", "base": 0, "fields": {"n": 1}}');
SELECT sync_apply('[{"entity": "item", "externalId": "1", "source": "other", "base": 0, "fields": {"n": 1}}]') -> 0 -> 'reason' AS reason;
SELECT sync_explain('{"entity": "item", "externalId": "1", "source": "other", "base": 0, "fields": {"n": 1}}');
SELECT * FROM sync_pull('branch');
SELECT sync_ack('branch', 1);
SELECT sync_deliver('branch');
SELECT syncext.cursor_start('branch');
CREATE TABLE item2 (id int PRIMARY KEY);
SELECT sync_attach('item2', 'other', 'item');
SELECT sync_add_entity('thing');
SELECT sync_apply('{"entity": "thing", "externalId": "1", "source": "other", "base": 0, "fields": {"n": 1}}') -> 'status' AS status;
SELECT sync_attach('item2', 'branch', 'thing');
SELECT sync_add_entity('gear');
SELECT sync_attach('item2', 'other', 'gear');
CREATE TABLE item3 (id int PRIMARY KEY);
SELECT sync_attach('item3', 'branch', 'gear');
SELECT syncext.captured('other');

-- Forgotten: in the log, in what was agreed on, and what this transaction did.
BEGIN;
DELETE FROM item WHERE id = 1;
SELECT sync_forget('item', '1') -> 'changeLog' AS log;
COMMIT;
SELECT count(*) FROM syncext.change_log WHERE entity = 'item' AND external_id = '1';
SELECT count(*) FROM syncext.captured('branch');

-- Retention takes nothing that wasn't answered.
CREATE PROCEDURE age() LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	FOR i IN 0 .. 3 LOOP
		EXECUTE format('UPDATE syncext.change_log_%s SET recorded_at = recorded_at - interval ''1 year''', i);
	END LOOP;
	UPDATE syncext.feed_state SET switched_at = switched_at - interval '1 year';
	COMMIT;
	CALL sync_maintain(result);
	RAISE WARNING 'truncated %, restarted %, waits %', result -> 'truncated', result -> 'restarted', result -> 'waits';
END $$;
UPDATE item SET stock = 77 WHERE id = 4;
CALL age();
CALL age();
CALL age();
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT max(batch) AS batch FROM syncext.captured('branch') \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 5, "lost": []}]');
CALL age();

-- Restored elsewhere: what waited waits still, and nothing that was answered does.
UPDATE item SET stock = 78 WHERE id = 4;
UPDATE item SET stock = 30 WHERE id = 5;
SELECT max(batch) AS batch FROM syncext.captured('branch', 1) \gset
SELECT syncext.captured_answered('branch', :batch, '[{"status": 200, "rowVersion": 6, "lost": []}]');
UPDATE item SET stock = 31 WHERE id = 5;
INSERT INTO syncext.feed_origin DEFAULT VALUES;
-- the first call begins anew, and what it keeps comes with the next
SELECT count(*) FROM syncext.captured('branch');
SELECT change - 'updatedAt' AS change FROM syncext.captured('branch');
SELECT count(*) FROM syncext.feed_origin;

-- More edits wait than are kept in memory: of rows that are not as agreed, each is still
-- known to have been edited, or not.
UPDATE part SET n = -1 WHERE id IN ('P1', 'P11');
INSERT INTO part SELECT 'P1' || i || 'Q', i FROM generate_series(1, 50000) i;
UPDATE part SET n = -2 WHERE id IN ('P1', 'P1200');
SET syncext.inbound = 'on';
UPDATE part SET n = -3 WHERE id IN ('P1', 'P111', 'P12', 'P2', 'P999');
RESET syncext.inbound;
CALL sync_load('part', 'hub') \gset load_
SELECT :'load_result'::jsonb - 'seconds' AS result;
SELECT * FROM part WHERE n < 0 ORDER BY id;
SELECT id, n FROM part WHERE id IN ('P111', 'P12', 'P2', 'P999') ORDER BY id;
SELECT sum(total_bytes) < 1024 * 1024 AS bounded FROM pg_backend_memory_contexts WHERE name IN ('syncext places of edits', 'syncext file of places');

\c regress_linked_hub
\c :spoke
DROP DATABASE regress_linked_hub;
DROP EXTENSION syncext CASCADE;
DROP TABLE item, item2, item3, part;
DROP FUNCTION upper_name;
DROP PROCEDURE age;
