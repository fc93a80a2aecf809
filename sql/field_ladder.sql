-- The field ladder: what it is given to, what its documents say, and every door that
-- changes come in by.  sql/field_vectors.sql and sql/field_model.sql have its decisions.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Shop', 3);

CREATE FUNCTION refused(change jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN sync_apply(change);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE FUNCTION decide(VARIADIC changes jsonb[]) RETURNS TABLE (resolution text, v int, rv int, last text, changed jsonb, lost jsonb, told text, reason text)
	LANGUAGE sql AS $$
	SELECT a->>'resolution', (a->>'version')::int, (a->>'rowVersion')::int, a->>'lastSource', a->'changed', a->'lost', a->>'told', a->>'reason'
	FROM unnest(changes) change, answered(change) a
$$;
-- without how long it took
CREATE PROCEDURE quietly(relation regclass, winner text DEFAULT 'ladder', INOUT result jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	CALL sync_load(relation, winner, false, result);
	result := result - '{seconds,failed,waiting}'::text[];
END $$;
CREATE PROCEDURE polls(full_compare bool DEFAULT false, INOUT result jsonb DEFAULT NULL) LANGUAGE plpgsql AS $$
BEGIN
	CALL sync_poll('polled', full_compare, result);
	result := to_jsonb(counts(result));
END $$;
CREATE VIEW record AS
	SELECT entity, external_id AS id, version AS v, row_version AS rv, last_source AS last, deleted, updated_at AT TIME ZONE 'UTC' AS at, fields, life
	FROM syncext.canonical ORDER BY 1, 2;

--
-- Ladders
--
SELECT l.ladder, syncext.ladder_error(l.ladder::text[])
FROM (VALUES ('{field,latest}'), ('{field,version}'), ('{field,version,latest}'), ('{field,latest,priority}'), ('{field,version,latest,priority}'),
             ('{field}'), ('{field,priority}'), ('{field,latest,version}'), ('{latest,field}'), ('{field,version,merge}'), ('{field,version,manual}'),
             ('{field,version,priority,keep}')) l (ladder);
SELECT sync_add_entity('doc', '{field,version,priority}'), sync_add_entity('note', '{field,latest}', 'delete_wins'),
       sync_add_entity('item', '{field,version,latest,priority}', deletes => 'edit_wins');
SELECT * FROM attempt($$SELECT sync_add_entity('x', '{field,latest}', 'never')$$);
SELECT * FROM attempt($$SELECT sync_add_entity('x', '{field,latest}', NULL)$$);
SELECT * FROM attempt($$SELECT sync_add_entity('x', '{latest,keep}', 'edit_wins')$$);
-- rules and groups need the rung merge
SELECT * FROM attempt($$INSERT INTO syncext.field_rule VALUES ('doc', 'a', 'max')$$);
INSERT INTO syncext.field_rule VALUES ('plain', 'a', 'max');
SELECT * FROM attempt($$SELECT sync_add_entity('plain', '{field,version}')$$);
DELETE FROM syncext.field_rule;
-- a rule of every entity's is not asked
INSERT INTO syncext.field_rule VALUES ('*', 'a', 'max');

--
-- Documents
--
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","base":0,"fields":{"a":1}}');
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","fields":{"a":1}}');
SELECT refused('{"entity":"note","externalId":"d","source":"CRM","version":1,"fields":{"a":1}}');
SELECT refused('{"entity":"item","externalId":"d","source":"CRM","version":1,"fields":{"a":1}}');
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","version":1,"known":1,"deleted":true}');
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","version":1,"known":{},"deleted":true}');
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","version":1,"known":{"version":-1},"deleted":true}');
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","version":1,"known":{"version":1,"at":2},"deleted":true}');
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","version":1,"known":{"updatedAt":"2026-01-01T00:00:00Z"},"deleted":true}');
SELECT refused('{"entity":"item","externalId":"d","source":"CRM","version":1,"updatedAt":"2026-01-01T00:00:00Z","known":{"version":1},"deleted":true}');
SELECT refused('{"externalId":"d","source":"CRM","version":1,"known":{"version":1},"deleted":true}');
SELECT refused('{"entity":"doc","externalId":"d","source":"CRM","version":1,"state":{},"fields":{"a":1}}');
-- a time that is ahead is refused, not bent: the result would depend on when it came
SELECT refused(jsonb_build_object('entity', 'note', 'externalId', 'd', 'source', 'CRM', 'updatedAt', now() + interval '1 hour', 'fields', '{"a":1}'::jsonb));
SELECT refused(jsonb_build_object('entity', 'note', 'externalId', 'd', 'source', 'CRM', 'updatedAt', '2026-01-01T00:00:00Z', 'created', true,
	'known', jsonb_build_object('updatedAt', now() + interval '1 hour'), 'fields', '{"a":1}'::jsonb));
SELECT sync_apply(jsonb_build_array(jsonb_build_object('entity', 'note', 'externalId', 'd', 'source', 'CRM', 'updatedAt', now() + interval '1 hour', 'deleted', true)));
SELECT count(*) AS records FROM syncext.canonical;

--
-- Registers, ranks, answers
--
SELECT * FROM decide(
	'{"entity":"doc","externalId":"1","source":"ERP","version":2,"fields":{"a":"erp","b":"erp"}}',
	'{"entity":"doc","externalId":"1","source":"CRM","version":1,"fields":{"a":"old","c":"crm"}}',
	'{"entity":"doc","externalId":"1","source":"CRM","version":2,"fields":{"a":"crm"}}',
	'{"entity":"doc","externalId":"1","source":"Shop","version":2,"fields":{"a":"shop","b":"shop"}}',
	'{"entity":"doc","externalId":"1","source":"Shop","version":1,"fields":{"a":"shop","d":"shop"}}',
	'{"entity":"doc","externalId":"1","source":"Shop","version":1,"fields":{"a":"shop","d":"shop"}}',
	'{"entity":"doc","externalId":"1","source":"Shop","version":3,"fields":{"a":"crm"}}',
	'{"entity":"doc","externalId":"1","source":"CRM","version":1,"ifMatch":1,"fields":{"c":"x"}}',
	'{"entity":"doc","externalId":"2","source":"CRM","version":1,"ifMatch":1,"fields":{"c":"x"}}');
SELECT * FROM fields_of('1', 'doc');
-- An equal rank: the greater name; the same source: the greater text, numbers too.
INSERT INTO syncext.source_priority VALUES ('Shop', 'doc', 'x', 2);
SELECT * FROM decide(
	'{"entity":"doc","externalId":"t","source":"Shop","version":1,"fields":{"x":1}}',
	'{"entity":"doc","externalId":"t","source":"ERP","version":1,"fields":{"x":9}}',
	'{"entity":"doc","externalId":"t","source":"Shop","version":1,"fields":{"x":9}}',
	'{"entity":"doc","externalId":"t","source":"Shop","version":1,"fields":{"x":10}}');
-- A sooner delete is noted; a later one is the last word until something later comes.
SELECT * FROM decide(
	'{"entity":"doc","externalId":"1","source":"ERP","version":1,"deleted":true}',
	'{"entity":"doc","externalId":"1","source":"ERP","version":4,"deleted":true}',
	'{"entity":"doc","externalId":"1","source":"CRM","version":4,"fields":{"e":1}}',
	'{"entity":"doc","externalId":"1","source":"CRM","version":5,"fields":{"f":1}}');
SELECT * FROM record WHERE id = '1';
-- A birth names the tombstone that it was made on: nothing up to that comes back, at an equal stamp neither.
SELECT * FROM decide(
	'{"entity":"doc","externalId":"1","source":"CRM","version":6,"deleted":true,"known":{"version":5}}',
	'{"entity":"doc","externalId":"1","source":"CRM","version":7,"created":true,"known":{"version":6},"fields":{"g":1,"a":null}}',
	'{"entity":"doc","externalId":"1","source":"Shop","version":6,"fields":{"h":1}}',
	'{"entity":"doc","externalId":"1","source":"Shop","version":7,"fields":{"h":1}}',
	'{"entity":"doc","externalId":"1","source":"CRM","version":8,"created":true,"known":{"version":7},"fields":{}}');
SELECT * FROM record WHERE id = '1';
SELECT sync_record('doc', '1');
-- without a known one all of it comes back
SELECT * FROM decide('{"entity":"doc","externalId":"t","source":"ERP","version":2,"deleted":true}',
	'{"entity":"doc","externalId":"t","source":"ERP","version":3,"created":true,"fields":{"y":1,"x":null}}');
SELECT fields('doc', 't');
-- delete_wins: an edit brings nothing back, a birth does
SELECT * FROM decide(
	'{"entity":"note","externalId":"1","source":"CRM","updatedAt":"2026-01-01T00:00:00Z","fields":{"a":1}}',
	'{"entity":"note","externalId":"1","source":"ERP","updatedAt":"2026-01-02T00:00:00Z","deleted":true}',
	'{"entity":"note","externalId":"1","source":"CRM","updatedAt":"2026-01-03T00:00:00Z","fields":{"a":2}}',
	'{"entity":"note","externalId":"1","source":"CRM","updatedAt":"2026-01-02T12:00:00Z","created":true,"fields":{"b":2}}',
	-- one that nobody marked as created goes by any delete
	'{"entity":"note","externalId":"2","source":"CRM","updatedAt":"2026-01-03T00:00:00Z","fields":{"a":1}}',
	'{"entity":"note","externalId":"2","source":"ERP","updatedAt":"2026-01-02T00:00:00Z","deleted":true}');
-- edit_wins: a delete counts if it knew of the last edit
SELECT * FROM decide(
	'{"entity":"item","externalId":"1","source":"CRM","version":1,"updatedAt":"2026-01-01T00:00:00Z","fields":{"a":1}}',
	'{"entity":"item","externalId":"1","source":"ERP","version":9,"updatedAt":"2026-01-09T00:00:00Z","deleted":true}',
	'{"entity":"item","externalId":"1","source":"ERP","version":9,"updatedAt":"2026-01-09T00:00:00Z","known":{"version":1,"updatedAt":"2026-01-01T00:00:00Z"},"deleted":true}',
	'{"entity":"item","externalId":"1","source":"CRM","version":1,"updatedAt":"2026-01-02T00:00:00Z","fields":{"b":1}}');
SELECT * FROM record WHERE entity <> 'doc';
-- the log says what was known
SELECT source, resolution, fields, detail FROM sync_history('item', '1');

--
-- What a source pulls is what it sends back as known
--
SELECT entity, external_id, version, updated_at AT TIME ZONE 'UTC' AS updated_at, deleted, fields FROM sync_pull('Shop') ORDER BY 1, 2;

--
-- Attached tables
--
CREATE TABLE doc_a (id text PRIMARY KEY, a text, b text);
CREATE TABLE note_a (id text PRIMARY KEY, a text, b text);
CREATE TABLE item_a (id text PRIMARY KEY, a text, b text, at timestamptz, v bigint);
SELECT sync_add_source('T');
SELECT sync_attach('doc_a', 'T', 'doc'), sync_attach('note_a', 'T', 'note'), sync_attach('item_a', 'T', 'item', version_column => 'v', updated_column => 'at');
CREATE VIEW sent AS SELECT seq, entity, external_id AS id, version AS v, resolution, told, fields, detail - 'updatedAt' AS detail FROM syncext.change_log WHERE source = 'T' ORDER BY seq;
SELECT sync_deliver('T') > 0 AS delivered;
SELECT id, a, b FROM doc_a ORDER BY 1;
-- An edit is above what was delivered to the row, and above the one before it.
SELECT * FROM decide('{"entity":"doc","externalId":"e","source":"CRM","version":40,"fields":{"a":"crm","b":"crm"}}');
SELECT sync_deliver('T');
UPDATE doc_a SET a = 'z' WHERE id = 'e';
UPDATE doc_a SET a = 'a' WHERE id = 'e';
SELECT v, resolution, told, fields, detail FROM sent WHERE id = 'e';
SELECT fields('doc', 'e');
-- What came meanwhile it doesn't know of: the greater version counts.
SELECT * FROM decide('{"entity":"doc","externalId":"e","source":"CRM","version":90,"fields":{"a":"crm"}}');
UPDATE doc_a SET a = 'mine', b = 'mine' WHERE id = 'e';
SELECT v, resolution, told, fields FROM sent WHERE id = 'e' ORDER BY seq DESC LIMIT 1;
SELECT sync_deliver('T');
SELECT * FROM doc_a WHERE id = 'e';
-- Deletes say what they knew, births on them, too.
DELETE FROM doc_a WHERE id = 'e';
INSERT INTO doc_a VALUES ('e', 'new', NULL);
SELECT v, resolution, told, fields, detail FROM sent WHERE id = 'e' ORDER BY seq DESC LIMIT 2;
SELECT v, rv, deleted, fields, life FROM record WHERE id = 'e';
-- A row that is deleted and inserted by one transaction was edited, also where deletes win.
INSERT INTO note_a VALUES ('n', 'one', 'two');
SELECT * FROM decide('{"entity":"note","externalId":"n","source":"CRM","updatedAt":"2026-01-01T00:00:00Z","fields":{"c":"kept"}}');
BEGIN;
DELETE FROM note_a WHERE id = 'n';
INSERT INTO note_a VALUES ('n', 'three', NULL);
COMMIT;
SELECT resolution, told, fields, detail - 'known' AS detail FROM sent WHERE id = 'n';
SELECT deleted, fields FROM record WHERE id = 'n';
-- Whatever the clock says, nobody loses to what he had before him.
SELECT * FROM decide('{"entity":"item","externalId":"c","source":"CRM","version":3,"updatedAt":"2026-03-01T00:00:00Z","fields":{"a":"crm","b":"crm"}}');
SELECT sync_deliver('T');
SELECT a, b, at AT TIME ZONE 'UTC' AS at, v FROM item_a WHERE id = 'c';
UPDATE item_a SET a = 'mine' WHERE id = 'c';
UPDATE item_a SET b = 'mine', at = '2020-01-01', v = 1 WHERE id = 'c';
UPDATE item_a SET b = 'later', at = '2026-04-01Z', v = 10 WHERE id = 'c';
SELECT resolution, fields, coalesce((detail->>'version')::bigint, version) AS v, detail->'updatedAt' AS at, detail->'known' AS known FROM syncext.change_log WHERE source = 'T' AND external_id = 'c' ORDER BY seq;
-- A row's clock that is ahead is bounded: the edit gets its stamp here and now.
UPDATE item_a SET a = 'future', at = now() + interval '1 day' WHERE id = 'c';
SELECT resolution, (detail->>'updatedAt')::timestamptz < now() + interval '1 minute' AS now FROM syncext.change_log WHERE source = 'T' AND external_id = 'c' ORDER BY seq DESC LIMIT 1;
-- edit_wins: somebody has edited it since, and the row comes back
SELECT * FROM decide(jsonb_build_object('entity', 'item', 'externalId', 'c', 'source', 'ERP', 'version', 11, 'updatedAt', now(), 'fields', '{"c": 1}'::jsonb));
DELETE FROM item_a WHERE id = 'c';
SELECT resolution, told FROM sent WHERE id = 'c' ORDER BY seq DESC LIMIT 1;
SELECT sync_deliver('T');
SELECT a, b FROM item_a WHERE id = 'c';
DELETE FROM item_a WHERE id = 'c';
SELECT resolution, told FROM sent WHERE id = 'c' ORDER BY seq DESC LIMIT 1;
SELECT deleted FROM record WHERE id = 'c';

--
-- Loading: what two tables hold is compared by how old it is, not by which came first
--
CREATE TABLE item_1 (id text PRIMARY KEY, a text, b text, at timestamptz);
CREATE TABLE item_2 (LIKE item_1 INCLUDING ALL);
SELECT sync_add_entity('loaded', '{field,latest}'), sync_add_source('L1'), sync_add_source('L2');
INSERT INTO item_1 VALUES ('1', 'one', 'one', '2026-01-01Z'), ('2', 'one', NULL, '2026-01-03Z');
INSERT INTO item_2 VALUES ('1', 'two', NULL, '2026-01-02Z'), ('2', 'two', 'two', '2026-01-02Z');
SELECT sync_attach('item_1', 'L1', 'loaded', updated_column => 'at'), sync_attach('item_2', 'L2', 'loaded', updated_column => 'at');
CALL quietly('item_1');
CALL quietly('item_2');
SELECT id, at, fields, life FROM record WHERE entity = 'loaded';
SELECT sync_deliver('L1'), sync_deliver('L2');
SELECT 1 AS t, * FROM item_1 UNION ALL SELECT 2, * FROM item_2 ORDER BY 1, 2;
-- again, nothing is new
SELECT max(seq) AS seq FROM syncext.change_log \gset
CALL quietly('item_1');
SELECT count(*) AS news FROM syncext.change_log WHERE seq > :seq;
-- by decree
SET syncext.inbound = 'on';
UPDATE item_2 SET a = 'table', at = '2025-01-01Z' WHERE id = '1';
RESET syncext.inbound;
CALL quietly('item_2', 'table');
SELECT id, fields FROM record WHERE entity = 'loaded';

--
-- Polls
--
CREATE TABLE polled (id text PRIMARY KEY, a text, b text);
SELECT sync_add_entity('polled', '{field,version,latest}', 'edit_wins'), sync_add_source('Poll');
SELECT sync_attach('polled', 'Poll', 'polled', capture => 'poll');
INSERT INTO polled VALUES ('1', 'x', NULL), ('2', 'x', 'y');
CALL polls();
SELECT * FROM decide(jsonb_build_object('entity', 'polled', 'externalId', '1', 'source', 'CRM', 'version', 7, 'updatedAt', now(), 'fields', '{"a": "crm"}'::jsonb));
SELECT sync_deliver('Poll');
UPDATE polled SET b = 'mine', a = 'mine' WHERE id = '1';
DELETE FROM polled WHERE id = '2';
CALL polls(true);
SELECT external_id AS id, version AS v, resolution, told, fields, detail - 'updatedAt' #- '{known,updatedAt}' AS detail FROM syncext.change_log WHERE source = 'Poll' ORDER BY seq;
SELECT id, deleted, fields FROM record WHERE entity = 'polled';

--
-- References: what the hub does itself has a stamp above what stands
--
SELECT sync_add_entity('head', '{field,version}'), sync_add_entity('line', '{field,version}');
SELECT sync_add_reference('line', 'head', 'head', 'cascade');
SELECT * FROM decide('{"entity":"line","externalId":"l","source":"CRM","version":5,"fields":{"head":"h","n":1}}',
	'{"entity":"head","externalId":"h","source":"CRM","version":1,"fields":{"n":1}}',
	-- an older delete isn't one, and takes nothing along
	'{"entity":"head","externalId":"h","source":"ERP","version":0,"deleted":true}');
SELECT entity, id, v, deleted FROM record WHERE entity IN ('head', 'line');
SELECT * FROM decide('{"entity":"head","externalId":"h","source":"ERP","version":2,"deleted":true}');
SELECT entity, id, v, deleted FROM record WHERE entity IN ('head', 'line');

--
-- Another ladder for an entity that has records
--
UPDATE syncext.entity SET ladder = '{field,version}' WHERE name = 'doc';
UPDATE syncext.entity SET ladder = '{field,version,priority}' WHERE name = 'doc';
SELECT * FROM attempt($$UPDATE syncext.entity SET ladder = '{field,version,latest}' WHERE name = 'doc'$$);
SELECT * FROM attempt($$UPDATE syncext.entity SET deletes = 'edit_wins' WHERE name = 'doc'$$);
SELECT * FROM attempt($$UPDATE syncext.entity SET deletes = 'edit_wins' WHERE name = 'record'$$);
UPDATE syncext.entity SET ladder = DEFAULT WHERE name = 'doc';
SELECT * FROM decide('{"entity":"doc","externalId":"1","source":"CRM","version":1,"fields":{"g":0}}', '{"entity":"doc","externalId":"1","source":"ERP","version":8,"fields":{"h":2}}');
SELECT * FROM attempt($$UPDATE syncext.entity SET ladder = '{field,version}' WHERE name = 'doc'$$);
-- nor can its version, which is a stamp, be set
SELECT * FROM attempt($$SELECT sync_set_version('head', 'h', 1)$$);
-- what it says it was made on ends what is older, so it may not be beyond all versions
SELECT refused('{"entity":"head","externalId":"far","source":"CRM","version":3,"created":true,"known":{"version":4611686018427387903},"fields":{"n":1}}');
-- what a hand has made of a life is told
UPDATE syncext.canonical SET life = '{"lived": 7}' WHERE entity = 'head';
SELECT refused('{"entity":"head","externalId":"h","source":"CRM","version":9,"fields":{"n":1}}');

-- It comes along with a dump.
SELECT extcondition FROM (SELECT unnest(extconfig) AS relid, unnest(extcondition) AS extcondition FROM pg_extension WHERE extname = 'syncext') c
WHERE relid = 'syncext.entity'::regclass;
INSERT INTO syncext.canonical (entity, external_id, version, row_version, last_source, fields, stamps) VALUES ('record', 'restored', 1, 1, 'CRM', '{}', '{}');
INSERT INTO syncext.entity (name, ladder, deletes) VALUES ('record', '{field,version}', 'edit_wins');
SELECT ladder, deletes FROM syncext.entity WHERE name = 'record';

DROP TABLE doc_a, note_a, item_a, item_1, item_2, polled;
DROP VIEW record, sent;
DROP PROCEDURE quietly, polls;
DROP FUNCTION decide, refused;
DROP EXTENSION syncext;
