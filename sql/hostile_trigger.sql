-- Everybody may make triggers with the function that captures edits: the server asks the
-- owner of a partitioned table for that right. Whatever the trigger is like, an edit is
-- captured once, for the source whose table it is, and nobody's code runs as another.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_trigger_owner, regress_trigger_other, regress_trigger_clerk;
CREATE EXTENSION syncext;
CREATE ROLE regress_trigger_owner;
CREATE ROLE regress_trigger_other;
CREATE ROLE regress_trigger_clerk;
CREATE SCHEMA own AUTHORIZATION regress_trigger_owner;
CREATE SCHEMA other AUTHORIZATION regress_trigger_other;
CREATE SCHEMA clerk AUTHORIZATION regress_trigger_clerk;
GRANT USAGE ON SCHEMA own, other, clerk TO PUBLIC;
SELECT sync_add_source('Own', 2, 'regress_trigger_owner'), sync_add_source('Other', 2, 'regress_trigger_other'), sync_add_source('X', 1) \g /dev/null
SELECT sync_add_entity('ware'), sync_add_entity('thing'), sync_add_entity('polled') \g /dev/null
SELECT sync_rule('ware', 'n', 'sum'), sync_rule('thing', 'n', 'sum') \g /dev/null
CREATE VIEW log AS SELECT source, entity, external_id, resolution, fields FROM syncext.change_log ORDER BY seq;
CREATE FUNCTION failing(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' ', SQLSTATE || ':', SQLERRM || '.', hint);
END $$;

--
-- The owner of a partitioned table, who is no superuser
--
SET ROLE regress_trigger_owner;
CREATE TABLE own.ware (id int PRIMARY KEY, n int, note text) PARTITION BY RANGE (id);
CREATE TABLE own.ware_1 PARTITION OF own.ware FOR VALUES FROM (0) TO (10);
SELECT sync_attach('own.ware', 'Own', 'ware') \g /dev/null
CREATE TABLE own.ware_2 PARTITION OF own.ware FOR VALUES FROM (10) TO (20);
CREATE TABLE own.ware_3 (LIKE own.ware INCLUDING ALL);
ALTER TABLE own.ware ATTACH PARTITION own.ware_3 FOR VALUES FROM (20) TO (30);
CREATE TABLE own.ware_4 PARTITION OF own.ware FOR VALUES FROM (30) TO (50) PARTITION BY RANGE (id);
CREATE TABLE own.ware_4_1 PARTITION OF own.ware_4 FOR VALUES FROM (30) TO (40);
INSERT INTO own.ware VALUES (1, 1), (11, 1), (21, 1), (31, 1);
UPDATE own.ware SET n = n + 1;
UPDATE own.ware SET id = 12 WHERE id = 21;
CALL sync_load('own.ware') \g /dev/null
ALTER TABLE own.ware DETACH PARTITION own.ware_3;
SELECT object, problem FROM sync_check();
INSERT INTO own.ware_3 VALUES (22, 1);
DROP TABLE own.ware_3;
RESET ROLE;
TABLE log;
TRUNCATE syncext.change_log_0;

--
-- A role without rights, on what is its own
--
SET ROLE regress_trigger_clerk;
SELECT syncext.capture();
SELECT failing('SELECT syncext.capture(1)');
CREATE TABLE clerk.t (id int PRIMARY KEY, n int);
CREATE TEMP TABLE t_temp (id int PRIMARY KEY, n int);
CREATE VIEW clerk.v AS SELECT * FROM clerk.t;
CREATE TABLE clerk.p (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE clerk.p_1 PARTITION OF clerk.p FOR VALUES FROM (0) TO (10);
CREATE FUNCTION clerk.try(relation text, write text, VARIADIC definitions text[]) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	definition text;
BEGIN
	FOREACH definition IN ARRAY definitions LOOP
		EXECUTE format('CREATE %s EXECUTE FUNCTION syncext.capture()', replace(definition, '@', relation));
		RETURN NEXT format('%s: %s', definition, failing(write));
		EXECUTE format('DROP TRIGGER %s ON %s', (regexp_match(definition, 'TRIGGER (\S+)'))[1], relation);
	END LOOP;
END $$;
GRANT EXECUTE ON FUNCTION clerk.try(text, text, text[]) TO PUBLIC;
SELECT clerk.try(r, format('INSERT INTO %s VALUES (1, 1)', r),
	'TRIGGER x AFTER INSERT ON @ FOR EACH ROW', 'TRIGGER _syncext_capture AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW',
	'TRIGGER x BEFORE INSERT ON @ FOR EACH ROW', 'TRIGGER x AFTER INSERT ON @', 'TRIGGER x BEFORE INSERT ON @')
FROM unnest('{clerk.t,t_temp,clerk.p,clerk.p_1}'::text[]) r;
SELECT clerk.try('clerk.v', 'INSERT INTO clerk.v VALUES (1, 1)', 'TRIGGER x INSTEAD OF INSERT ON @ FOR EACH ROW', 'TRIGGER x AFTER INSERT ON @');
SELECT clerk.try('clerk.t', 'TRUNCATE clerk.t', 'TRIGGER _syncext_truncate BEFORE TRUNCATE ON @', 'TRIGGER x AFTER TRUNCATE ON @');
TABLE clerk.t;
-- not on others' tables, and not for them by a partition or a child of one's own
CREATE TRIGGER x AFTER INSERT ON own.ware FOR EACH ROW EXECUTE FUNCTION syncext.capture();
CREATE TABLE clerk.ware_5 PARTITION OF own.ware FOR VALUES FROM (60) TO (70);
CREATE TABLE clerk.ware_6 () INHERITS (own.ware_1);
DROP TABLE t_temp;
RESET ROLE;
CREATE EXTENSION postgres_fdw;
DO $$
BEGIN
	EXECUTE format('CREATE SERVER self FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
		trim(split_part(current_setting('unix_socket_directories'), ',', 1)), current_setting('port'), current_database());
	EXECUTE format('CREATE USER MAPPING FOR regress_trigger_clerk SERVER self OPTIONS (user %L, password_required ''false'')', current_user);
END $$;
GRANT USAGE ON FOREIGN SERVER self TO regress_trigger_clerk;
SET ROLE regress_trigger_clerk;
CREATE FOREIGN TABLE clerk.f (id int, n int) SERVER self OPTIONS (schema_name 'clerk', table_name 't');
SELECT clerk.try('clerk.f', 'INSERT INTO clerk.f VALUES (1, 1)', 'TRIGGER x AFTER INSERT ON @ FOR EACH ROW', 'TRIGGER _syncext_capture AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW',
	'TRIGGER x BEFORE INSERT ON @ FOR EACH ROW');
TABLE clerk.t;
RESET ROLE;
TABLE log;

--
-- On an attached table of one's own, beside ours: nothing is captured twice, counters count once
--
SET ROLE regress_trigger_owner;
CREATE TABLE own.thing (id int PRIMARY KEY, n int, note text);
SELECT sync_attach('own.thing', 'Own', 'thing') \g /dev/null
INSERT INTO own.thing VALUES (1, 1);
SELECT clerk.try('own.thing', 'UPDATE own.thing SET n = n + 1',
	'TRIGGER x AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW', 'TRIGGER "A" AFTER UPDATE ON @ FOR EACH ROW', 'TRIGGER x AFTER UPDATE OF n ON @ FOR EACH ROW',
	'TRIGGER x AFTER UPDATE ON @ FOR EACH ROW WHEN (new.n > 0)', 'TRIGGER x AFTER UPDATE ON @ REFERENCING NEW TABLE AS news FOR EACH ROW',
	'TRIGGER x AFTER UPDATE ON @ REFERENCING NEW TABLE AS news', 'CONSTRAINT TRIGGER x AFTER UPDATE ON @ FOR EACH ROW',
	'TRIGGER x BEFORE UPDATE ON @ FOR EACH ROW', 'TRIGGER x AFTER UPDATE ON @', 'TRIGGER x AFTER DELETE ON @ FOR EACH ROW');
CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON own.thing DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION syncext.capture();
UPDATE own.thing SET n = n + 1;
DROP TRIGGER late ON own.thing;
SELECT clerk.try('own.ware', 'UPDATE own.ware SET n = n + 1 WHERE id = 1', 'TRIGGER x AFTER UPDATE ON @ FOR EACH ROW');
SELECT clerk.try('own.ware_1', 'UPDATE own.ware SET n = n + 1 WHERE id = 1', 'TRIGGER x AFTER UPDATE ON @ FOR EACH ROW');
-- that of a partition is its table's
DROP TRIGGER _syncext_capture ON own.ware_1;
CREATE TRIGGER _syncext_capture AFTER UPDATE ON own.ware_1 FOR EACH ROW EXECUTE FUNCTION syncext.capture();
TABLE own.thing;
TABLE own.ware;
-- in place of ours: whoever edits is told, and so is who asks
DROP TRIGGER _syncext_capture ON own.thing;
SELECT clerk.try('own.thing', 'UPDATE own.thing SET n = n + 1',
	'TRIGGER _syncext_capture AFTER UPDATE ON @ FOR EACH ROW', 'TRIGGER _syncext_capture AFTER INSERT OR UPDATE OF n OR DELETE ON @ FOR EACH ROW',
	'TRIGGER _syncext_capture AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW WHEN (pg_trigger_depth() = 0)',
	'CONSTRAINT TRIGGER _syncext_capture AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW');
CREATE TRIGGER _syncext_capture AFTER INSERT OR UPDATE OR DELETE ON own.thing FOR EACH ROW EXECUTE FUNCTION syncext.capture('an argument');
SELECT failing('UPDATE own.thing SET n = n + 1');
ALTER TABLE own.thing ENABLE ALWAYS TRIGGER _syncext_capture;
CREATE TRIGGER x AFTER DELETE ON own.ware FOR EACH ROW EXECUTE FUNCTION syncext.capture();
SELECT object, problem, hint FROM sync_check() WHERE problem ~ 'as sync_attach creates' ORDER BY 1;
DROP TRIGGER x ON own.ware;
ALTER TRIGGER _syncext_capture ON own.ware RENAME TO renamed;
SELECT failing('DELETE FROM own.ware WHERE id = 31');
SELECT object, problem, hint FROM sync_check() WHERE problem ~ 'renamed';
ALTER TRIGGER renamed ON own.ware RENAME TO _syncext_capture;
SELECT failing('DELETE FROM own.ware WHERE id = 31');
-- as ours was
DROP TRIGGER _syncext_capture ON own.thing;
CREATE TRIGGER _syncext_capture AFTER INSERT OR UPDATE OR DELETE ON own.thing FOR EACH ROW EXECUTE FUNCTION syncext.capture();
ALTER TABLE own.thing ENABLE ALWAYS TRIGGER _syncext_capture;
SELECT failing('UPDATE own.thing SET n = n + 1');
SELECT count(*) FROM sync_check() WHERE problem ~ 'as sync_attach creates';
RESET ROLE;
SET session_replication_role = replica;
UPDATE own.thing SET n = n + 1;
RESET session_replication_role;
TABLE log;
SELECT fields FROM syncext.canonical WHERE entity = 'thing';
-- left, or put there, before it is attached: it is made anew
SET ROLE regress_trigger_owner;
SELECT sync_detach('own.thing') \g /dev/null
CREATE TRIGGER _syncext_capture AFTER DELETE ON own.thing FOR EACH ROW EXECUTE FUNCTION syncext.capture('an argument');
CREATE TRIGGER _syncext_truncate AFTER TRUNCATE ON own.thing EXECUTE FUNCTION syncext.capture();
SELECT sync_attach('own.thing', 'Own', 'thing') \g /dev/null
SELECT tgname, tgtype, tgenabled, tgnargs FROM pg_trigger WHERE tgrelid = 'own.thing'::regclass ORDER BY 1;
SELECT count(*) FROM sync_check() WHERE problem ~ 'as sync_attach creates';
SELECT failing('UPDATE own.thing SET n = n + 1');
-- but not one of another function
SELECT sync_detach('own.thing') \g /dev/null
CREATE FUNCTION own.nothing() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
CREATE TRIGGER _syncext_capture AFTER DELETE ON own.thing FOR EACH ROW EXECUTE FUNCTION own.nothing();
SELECT sync_attach('own.thing', 'Own', 'thing') \g /dev/null
DROP TRIGGER _syncext_capture ON own.thing;
SELECT sync_attach('own.thing', 'Own', 'thing') \g /dev/null
RESET ROLE;
SELECT fields FROM syncext.canonical WHERE entity = 'thing';
-- of a polled table nothing is captured
SET ROLE regress_trigger_owner;
CREATE TABLE own.polled (id int PRIMARY KEY, n int);
SELECT sync_attach('own.polled', 'Own', 'polled', capture => 'poll') \g /dev/null
SELECT clerk.try('own.polled', 'INSERT INTO own.polled VALUES (1, 1)', 'TRIGGER _syncext_capture AFTER INSERT OR UPDATE OR DELETE ON @ FOR EACH ROW', 'TRIGGER x AFTER DELETE ON @ FOR EACH ROW');
DELETE FROM own.polled;
INSERT INTO own.polled VALUES (2, 2);
CALL sync_poll('own.polled') \g /dev/null
RESET ROLE;
SELECT external_id FROM log WHERE entity = 'polled';

--
-- On another's attached table, by the privilege TRIGGER: a condition is code of others
--
SET ROLE regress_trigger_owner;
GRANT SELECT, TRIGGER ON own.thing, own.ware TO regress_trigger_other;
SET ROLE regress_trigger_other;
CREATE FUNCTION other.condition() RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE WARNING 'condition as %', current_user;
	BEGIN
		RESET ROLE;
		RAISE WARNING 'ESCAPED as %', current_user;
	EXCEPTION WHEN OTHERS THEN
		NULL;
	END;
	RETURN false;
END $$;
CREATE TRIGGER _x AFTER INSERT OR UPDATE OR DELETE ON own.thing FOR EACH ROW WHEN (other.condition()) EXECUTE FUNCTION syncext.capture();
RESET ROLE;
SELECT sync_apply('{"source": "X", "entity": "thing", "externalId": "1", "version": 1, "note": "x"}')->>'status';
SELECT sync_apply(jsonb_build_object('source', 'X', 'entity', 'thing', 'externalId', g::text, 'version', 1, 'n', 1, 'note', 'x'))->>'status' FROM generate_series(2, 4) g;
SELECT sync_deliver('Own');
TABLE own.thing;
SET ROLE regress_trigger_other;
-- one that fails, fails the owner's edits and the deliveries, as any trigger would: it is told
CREATE OR REPLACE TRIGGER _x AFTER INSERT OR UPDATE OR DELETE ON own.thing FOR EACH ROW EXECUTE FUNCTION syncext.capture();
RESET ROLE;
SELECT sync_apply('{"source": "X", "entity": "thing", "externalId": "1", "version": 2, "note": "xx"}')->>'status';
SELECT sync_deliver('Own');
SET ROLE regress_trigger_owner;
SELECT failing('UPDATE own.thing SET n = n + 1 WHERE id = 1');
SELECT problem, hint FROM sync_check() WHERE problem ~ '_x' AND severity = 'error';
RESET ROLE;
SELECT DISTINCT source FROM log ORDER BY 1;

DROP EXTENSION syncext CASCADE;
DROP SCHEMA own, other, clerk CASCADE;
DROP FUNCTION failing;
DROP EXTENSION postgres_fdw CASCADE;
DROP ROLE regress_trigger_owner, regress_trigger_other, regress_trigger_clerk;
