-- Sources, priorities and entities: tables that are edited with plain SQL, in
-- force from the next statement.  Other sessions: test/specs/registry_session.spec.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('A', 1);
SELECT sync_add_source('B', 2);

-- Two changes of one version: which of them would win?  Asked with
-- sync_explain, so that asking changes nothing.
CREATE FUNCTION winner() RETURNS text LANGUAGE sql AS $$
	SELECT e->>'lastSource' || ' (' || (e->>'resolution') || ')'
	FROM sync_explain('{"externalId":"contest","source":"B","version":1,"x":"B"}') e
$$;
SELECT sync_apply('{"externalId":"contest","source":"A","version":1,"x":"A"}')->>'resolution' AS resolution;
SELECT winner();

--
-- Priorities
--
UPDATE syncext.source_priority SET priority = 0 WHERE source = 'B';
SELECT winner();
DELETE FROM syncext.source_priority WHERE source = 'A';
SELECT winner();
DELETE FROM syncext.source_priority;
SELECT winner();
INSERT INTO syncext.source_priority (source, priority) VALUES ('A', 1), ('B', 2);
SELECT winner();
INSERT INTO syncext.source_priority (source, field, priority) VALUES ('B', 'x', 0);
SELECT winner();
INSERT INTO syncext.source_priority (source, entity, field, priority) VALUES ('B', 'record', 'x', 9);
SELECT winner();
TRUNCATE syncext.source_priority;
SELECT winner();
COPY syncext.source_priority (source, priority) FROM stdin;
A	5
B	4
\.
SELECT winner();
MERGE INTO syncext.source_priority p USING (VALUES ('A', 3)) v (source, priority) ON p.source = v.source
	WHEN MATCHED THEN UPDATE SET priority = v.priority;
SELECT winner();
-- within the statement that edits, the old ones stand, once the transaction has read them
BEGIN;
SELECT winner();
WITH edit AS (UPDATE syncext.source_priority SET priority = 6 WHERE source = 'A' RETURNING 1)
SELECT winner() FROM edit;
COMMIT;
SELECT winner();

--
-- Transactions
--
BEGIN;
UPDATE syncext.source_priority SET priority = 1 WHERE source = 'A';
SELECT winner();
SAVEPOINT s;
UPDATE syncext.source_priority SET priority = 0 WHERE source = 'B';
SELECT winner();
SAVEPOINT inner_s;
TRUNCATE syncext.source_priority;
SELECT winner();
ROLLBACK TO inner_s;
SELECT winner();
ROLLBACK TO s;
SELECT winner();
RELEASE s;
SELECT winner();
ROLLBACK;
SELECT winner();
-- an edit that failed
BEGIN;
INSERT INTO syncext.source_priority (source, priority) VALUES ('A', 1);
ROLLBACK;
SELECT winner();
-- in a transaction with a snapshot of its own, which the edit is newer than
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT winner();
UPDATE syncext.source_priority SET priority = 1 WHERE source = 'A';
SELECT winner();
ROLLBACK;
SELECT winner();
-- from a function, statement by statement
DO $$
BEGIN
	RAISE NOTICE '%', winner();
	UPDATE syncext.source_priority SET priority = 1 WHERE source = 'A';
	RAISE NOTICE '%', winner();
	BEGIN
		UPDATE syncext.source_priority SET priority = 0 WHERE source = 'B';
		RAISE NOTICE '%', winner();
		RAISE EXCEPTION 'never mind';
	EXCEPTION WHEN raise_exception THEN
		RAISE NOTICE '%', winner();
	END;
	EXECUTE 'TRUNCATE syncext.source_priority';
	RAISE NOTICE '%', winner();
END $$;
SELECT winner();
DO $$
BEGIN
	INSERT INTO syncext.source_priority (source, priority) VALUES ('A', 1), ('B', 2);
	COMMIT;
	RAISE NOTICE '%', winner();
	DELETE FROM syncext.source_priority WHERE source = 'A';
	ROLLBACK;
	RAISE NOTICE '%', winner();
END $$;
-- Triggers that are switched off for replication are not these: the edits of a
-- subscription count, and those of a restore.
SET session_replication_role = replica;
UPDATE syncext.source_priority SET priority = 0 WHERE source = 'B';
SELECT winner();
RESET session_replication_role;
-- nothing is decided again later
SELECT fields, last_source FROM syncext.canonical WHERE external_id = 'contest';

--
-- Entities
--
SELECT sync_apply('{"entity":"order","externalId":"o","source":"A","version":1,"x":1}');
BEGIN;
SELECT sync_add_entity('order', '{version,keep}');
SELECT sync_explain('{"entity":"order","externalId":"o","source":"A","version":1,"x":1}')->>'resolution' AS resolution;
ROLLBACK;
SELECT sync_explain('{"entity":"order","externalId":"o","source":"A","version":1,"x":1}')->>'resolution' AS resolution;
SELECT sync_add_entity('order', '{version,keep}');
SELECT sync_apply('{"entity":"order","externalId":"o","source":"A","version":1,"x":1}')->>'resolution' AS resolution;
SELECT sync_apply('{"entity":"order","externalId":"o","source":"B","version":1,"x":2}')->>'resolution' AS resolution;
UPDATE syncext.entity SET ladder = '{version,overwrite}' WHERE name = 'order';
SELECT sync_apply('{"entity":"order","externalId":"o","source":"B","version":1,"x":2}')->>'resolution' AS resolution;
UPDATE syncext.entity SET ladder = DEFAULT WHERE name = 'order';
SELECT name, ladder FROM syncext.entity ORDER BY name;
-- an entity's own ranks
INSERT INTO syncext.source_priority (source, entity, priority) VALUES ('A', 'order', -1);
SELECT sync_apply('{"entity":"order","externalId":"o","source":"A","version":1,"x":3}')->>'resolution' AS resolution;
-- the document has to fit the ladder that stands
UPDATE syncext.entity SET ladder = '{latest,keep}' WHERE name = 'order';
SELECT sync_apply('{"entity":"order","externalId":"o","source":"A","version":1,"x":3}');
SELECT sync_apply('{"entity":"order","externalId":"o","source":"A","updatedAt":"2026-01-01T00:00:00Z","x":3}')->>'resolution' AS resolution;
-- what is not a ladder
SELECT ladder, syncext.ladder_error(ladder::text[]) AS error, (SELECT state FROM attempt(format('UPDATE syncext.entity SET ladder = %L WHERE name = ''order''', ladder))) AS state
FROM unnest(ARRAY['{}', '{version}', '{version,merge}', '{version,latest,merge,priority}', '{merge,keep}', '{priority,keep}', '{priority,manual}', '{manual}',
	'{merge,priority,overwrite}', '{keep,version}', '{merge,version,keep}', '{latest,version,keep}', '{version,priority,merge,keep}', '{version,version,keep}',
	'{version,keep,overwrite}', '{version,manual,keep}', '{version,keep,keep}', '{Version,keep}', '{"version ",keep}', '{version,NULL}', '{NULL}', '{"",keep}',
	'{version,drop table,keep}', '{version,*}']) ladder;
SELECT command, s.* FROM unnest(ARRAY[
	$$SELECT sync_add_entity('bad', '{version}')$$,
	$$SELECT sync_add_entity('bad', '{}')$$,
	$$SELECT sync_add_entity('bad', '{nonsense}')$$,
	$$SELECT sync_add_entity('bad', NULL)$$,
	$$SELECT sync_add_entity('order')$$,
	$$SELECT sync_add_entity('record', '{latest,keep}')$$,
	$$SELECT sync_add_entity('')$$,
	$$SELECT sync_add_entity('*')$$,
	$$SELECT sync_add_entity(NULL)$$,
	$$SELECT sync_add_entity(repeat('x', 64))$$]) command, attempt(command) s;
SELECT sync_add_entity(repeat('x', 63));
DELETE FROM syncext.entity WHERE name = repeat('x', 63);
-- record can be told otherwise, too
UPDATE syncext.entity SET ladder = '{overwrite}' WHERE name = 'record';
SELECT winner();
UPDATE syncext.entity SET ladder = DEFAULT WHERE name = 'record';

--
-- Sources
--
SELECT command, s.* FROM unnest(ARRAY[
	$$SELECT sync_add_source('A')$$,
	$$SELECT sync_add_source('')$$,
	$$SELECT sync_add_source('*')$$,
	$$SELECT sync_add_source(NULL)$$,
	$$SELECT sync_add_source(repeat('x', 64))$$,
	$$SELECT sync_add_source(repeat('ä', 32))$$,
	$$SELECT sync_add_source('C', role => 'nobody_by_that_name')$$,
	$$SELECT sync_drop_source('nobody')$$,
	$$SELECT sync_drop_source('a')$$,
	$$SELECT sync_drop_source(NULL)$$,
	$$INSERT INTO syncext.source_priority (source, priority) VALUES ('nobody', 1)$$,
	$$INSERT INTO syncext.source_priority (source, priority) VALUES ('A', NULL)$$]) command, attempt(command) s;
-- Names that are written by hand are limited as those that functions take: a rule's name
-- that its own table's index has room for needn't fit beside a record's id in another.
SELECT command, s.state, substring(s.said FROM 'check constraint "[a-z_]*"') AS said FROM unnest(ARRAY[
	$$INSERT INTO syncext.match_rule (entity, name, fields) VALUES ('record', repeat('n', 256), '{x}')$$,
	$$INSERT INTO syncext.match_rule (entity, name, fields) VALUES ('record', repeat('n', 100000), '{x}')$$,
	$$INSERT INTO syncext.field_rule (entity, field, rule) VALUES (repeat('e', 64), 'x', 'max')$$,
	$$INSERT INTO syncext.field_rule (field, rule) VALUES (repeat('f', 1025), 'max')$$,
	$$INSERT INTO syncext.source_priority (source, entity, priority) VALUES ('A', repeat('e', 64), 1)$$,
	$$INSERT INTO syncext.source_priority (source, field, priority) VALUES ('A', repeat('f', 1025), 1)$$,
	$$INSERT INTO syncext.privilege (role, privilege) VALUES (repeat('r', 64), 'admin')$$,
	$$INSERT INTO syncext.privilege (role, privilege, entity) VALUES ('r', 'steward', repeat('e', 64))$$]) command, attempt(command) s;
SELECT name, role = current_user AS mine, single_writer FROM syncext.source ORDER BY name;
-- added and gone again with the transaction
BEGIN;
SELECT sync_add_source('C', 3, role => NULL);
SELECT sync_apply('{"externalId":"c","source":"C","version":1,"x":1}')->>'resolution' AS resolution;
ROLLBACK;
SELECT sync_apply('{"externalId":"c","source":"C","version":1,"x":1}');
SELECT sync_add_source('C');
SELECT sync_apply('{"externalId":"c","source":"C","version":1,"x":1}')->>'resolution' AS resolution;
SELECT source, entity, field, priority FROM syncext.source_priority WHERE source = 'C';
-- names are told apart by every byte
SELECT sync_add_source(E'C\t''";--', 9);
SELECT sync_add_source('C ', 8);
SELECT sync_add_source('c', 7);
SELECT a->'lastSource' AS last_source, a->>'resolution' AS resolution
FROM (SELECT name FROM syncext.source WHERE name ILIKE 'c%' ORDER BY name) s,
     sync_apply(jsonb_build_object('externalId', 'odd', 'source', name, 'version', 1, 'x', name)) a;
SELECT sync_apply(jsonb_build_object('externalId', 'odd', 'source', 'C ', 'version', 1, 'x', 1))->>'resolution' AS resolution, sync_record('record', 'odd')->'lastSource' AS last_source;
-- who is dropped leaves what it set, ranks nowhere and comes back as another
SELECT sync_apply('{"externalId":"left","source":"A","version":1,"x":1}')->>'resolution' AS resolution;
SELECT sync_drop_source('A');
SELECT * FROM syncext.source_priority WHERE source = 'A';
SELECT sync_apply('{"externalId":"left","source":"A","version":2,"x":2}');
SELECT sync_record('record', 'left')->>'lastSource' AS last_source;
SELECT sync_apply('{"externalId":"left","source":"B","version":1,"x":3}')->>'resolution' AS resolution;
SELECT sync_add_source('A', 1);
SELECT winner();
-- names stand in records and the log, and stay
UPDATE syncext.source SET name = 'B renamed' WHERE name = 'B';
UPDATE syncext.entity SET name = 'renamed' WHERE name = 'record';
SELECT winner();

--
-- The extension anew, in the same session
--
DROP EXTENSION syncext;
SELECT sync_apply('{"externalId":"contest","source":"A","version":1,"x":"A"}');
CREATE EXTENSION syncext;
SELECT sync_apply('{"externalId":"contest","source":"A","version":1,"x":"A"}');
SELECT sync_add_source('B', 1);
SELECT sync_apply('{"externalId":"contest","source":"B","version":1,"x":"B"}')->>'resolution' AS resolution;
SELECT winner();
-- in a schema of its own, which nothing depends on
DROP EXTENSION syncext;
CREATE SCHEMA elsewhere;
CREATE EXTENSION syncext SCHEMA elsewhere;
SELECT elsewhere.sync_add_source('B', 1);
SELECT elsewhere.sync_add_entity('order');
SELECT elsewhere.sync_apply('{"entity":"order","externalId":"contest","source":"B","version":1,"x":"B"}')->>'resolution' AS resolution;
SELECT elsewhere.sync_drop_source('B');
DROP EXTENSION syncext;
DROP SCHEMA elsewhere;

DROP FUNCTION winner;
