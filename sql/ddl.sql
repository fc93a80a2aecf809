-- What DDL makes of an attached table's rows fires no trigger: sync_check() tells of it,
-- until the call that it names has brought them together with what the hub has.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SET datestyle = ISO;
SELECT sync_add_source('CRM', 1), sync_add_source('Shop', 2);
SELECT count(sync_add_entity(name)) FROM unnest('{part,event,item,copy,polled,viewed,brief,rewritten}'::text[]) name;
CREATE VIEW told AS SELECT severity, object, problem, hint FROM sync_check()
	WHERE problem ~ 'was of type|other values|dropped while|any more|event trigger' ORDER BY 2, 3;
\x

--
-- Partitions that were dropped
--
CREATE TABLE part (id int, x int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (10);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
CREATE TABLE part_3 PARTITION OF part FOR VALUES FROM (20) TO (40) PARTITION BY RANGE (id);
CREATE TABLE part_31 PARTITION OF part_3 FOR VALUES FROM (20) TO (30);
INSERT INTO part VALUES (1, 1), (11, 1), (21, 1);
SELECT sync_attach('part', 'Shop', 'part');
CALL sync_load('part') \gset
SELECT * FROM told;
DROP TABLE part_2;
SELECT * FROM told;
-- maintenance doesn't take it for settled, and knows partitions that came meanwhile
CREATE TABLE part_4 PARTITION OF part FOR VALUES FROM (40) TO (50);
INSERT INTO part VALUES (41, 1);
CALL sync_maintain() \gset
DROP TABLE part_4, part_3;
ALTER TABLE part_1 RENAME TO "Part 1";
SELECT object FROM told;
CALL sync_maintain() \gset
SELECT object FROM told;
SELECT jsonb_object_keys(shape->'partitions') FROM syncext.binding;
-- one of its name isn't the one that was dropped
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
SELECT object FROM told;
CALL sync_maintain() \gset
SELECT object FROM told;
-- records that no partition takes fail, and it isn't settled
SET client_min_messages = error;
CALL sync_load('part') \gset
RESET client_min_messages;
SELECT (:'result'::jsonb)->'delivered' AS delivered, (:'result'::jsonb)->'failed' AS failed;
SELECT object FROM told;
SELECT change('Shop', 'part', external_id, 5, NULL) FROM syncext.canonical c
WHERE entity = 'part' AND NOT deleted AND NOT EXISTS (SELECT FROM part p WHERE p.id::text = c.external_id);
CALL sync_load('part') \gset
SELECT (:'result'::jsonb)->'failed' AS failed;
SELECT * FROM part ORDER BY id;
SELECT * FROM told;
SELECT jsonb_object_keys(shape->'partitions') FROM syncext.binding;
-- one that is detached is told of by its trigger; when it is dropped, by this
ALTER TABLE part DETACH PARTITION part_2;
SELECT object, problem FROM told;
CALL sync_maintain() \gset
SELECT object, problem FROM told;
DROP TABLE part_2;
SELECT object, problem FROM told;
-- one that was settled as it says isn't
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
CALL sync_load('part') \gset
SELECT * FROM told;
ALTER TABLE part DETACH PARTITION part_2;
DROP TRIGGER _syncext_truncate ON part_2;
SELECT change('Shop', 'part', '11', 6, NULL);
CALL sync_maintain() \gset
DROP TABLE part_2;
SELECT * FROM told;
-- a table that is partitioned by others now
CREATE TABLE part_5 PARTITION OF part FOR VALUES FROM (50) TO (60);
CALL sync_load('part') \gset
CREATE TABLE other (id int, x int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
SELECT sync_attach('other', 'Shop', 'event');
ALTER TABLE part DETACH PARTITION part_5;
ALTER TABLE other ATTACH PARTITION part_5 FOR VALUES FROM (50) TO (60);
SELECT object, problem FROM told WHERE problem ~ 'hub has the records';
SELECT sync_detach('other');
DROP TABLE other;
CALL sync_load('part') \gset
SELECT * FROM told;

-- restored from a dump, or copied: numbers are others', names are the same
UPDATE syncext.binding SET shape = jsonb_set(jsonb_set(shape, '{of}', '"another"'), '{columns}', '{"x": [1, "integer", 23, -1], "id": [7, "integer", 23, -1]}');
UPDATE syncext.binding SET shape = jsonb_set(shape, '{partitions}', '{"public.\"Part 1\"": 1}');
SELECT * FROM told;
UPDATE syncext.binding SET shape = jsonb_set(shape, '{partitions,public.gone}', '1259');
SELECT object, problem FROM told;
CALL sync_maintain() \gset
SELECT object, problem FROM told;
SELECT (shape->'partitions'->'public."Part 1"')::text::oid::regclass, shape->'partitions'->'public.gone' AS gone, shape->'columns' AS columns, shape->>'of' <> 'another' AS here FROM syncext.binding;

-- edited to what it can't be
UPDATE syncext.binding SET shape = '{"of": [], "columns": {"x": 1, "id": [1, "text", 2, "y"]}, "partitions": {"a b.c": {}, "": null, "x": "1"}}';
SELECT object FROM told;
UPDATE syncext.binding SET shape = shape || '{"columns": [], "partitions": 7}';
SELECT object FROM told;
UPDATE syncext.binding SET shape = shape || (SELECT jsonb_build_object('of', syncext.shape_of(b)->'of', 'columns', '{"x": [2, "y", 1e400, 1e400], "id": ["1", "text", 2, 4]}'::jsonb, 'partitions', '{"a": "b", "c": 99999999999999999999}'::jsonb) FROM syncext.binding b);
SELECT object FROM told;
CALL sync_maintain() \gset
\set VERBOSITY terse
UPDATE syncext.binding SET shape = '[]';
\set VERBOSITY default
UPDATE syncext.binding SET shape = '{}';
SELECT object FROM told;
UPDATE syncext.binding SET shape = NULL;
SELECT object FROM told;
CALL sync_maintain() \gset
SELECT shape = syncext.shape_of(b) AS known FROM syncext.binding b;
SELECT sync_detach('part');
DROP TABLE part;

-- it is not told of when its rows were deleted before, by which it was captured from when it was loaded
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 (id int NOT NULL);
CREATE TABLE part_2 PARTITION OF part FOR VALUES FROM (10) TO (20);
SELECT sync_attach('part', 'Shop', 'part');
ALTER TABLE part ATTACH PARTITION part_1 FOR VALUES FROM (1) TO (10);
INSERT INTO part VALUES (1), (11);
CALL sync_load('part') \gset
DELETE FROM part;
DROP TABLE part_1, part_2;
SELECT object FROM told;
SELECT sync_detach('part');
DROP TABLE part;
-- of one from which nothing is captured, nothing has told
CREATE TABLE part (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (10);
SELECT sync_attach('part', 'Shop', 'part', direction => 'out');
DROP TABLE part_1;
SELECT object FROM told;
SELECT sync_detach('part');
DROP TABLE part;

-- a table that only sends
CREATE TABLE event (id int, x int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE event_1 PARTITION OF event FOR VALUES FROM (1) TO (10);
SELECT sync_attach('event', 'Shop', 'event', direction => 'in');
INSERT INTO event VALUES (1, 1);
DROP TABLE event_1;
SELECT hint FROM told;
CALL sync_load('event') \gset
SELECT object FROM told;
UPDATE syncext.binding SET shape = shape - 'partitions' WHERE relation = 'event'::regclass;
SELECT object FROM told;
-- dropped as a whole is told once
DROP TABLE event;
SELECT object FROM told WHERE object ~ 'event';
SELECT sync_detach(relation::oid) FROM syncext.binding;

--
-- Partitions that maintenance has never seen
--
CREATE TABLE brief (id int, x int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
SELECT sync_attach('brief', 'Shop', 'brief');
CREATE TABLE brief_1 PARTITION OF brief FOR VALUES FROM (1) TO (10);
INSERT INTO brief VALUES (1, 1);
DROP TABLE brief_1;
SELECT object, problem, hint FROM told;
SELECT change('Shop', 'brief', '1', 5, NULL);
CALL sync_load('brief') \gset
SELECT * FROM told;
-- of one that goes as it came, without having been loaded, no trigger of its own tells
CREATE TABLE brief_2 (id int NOT NULL, x int);
ALTER TABLE brief ATTACH PARTITION brief_2 FOR VALUES FROM (10) TO (20);
INSERT INTO brief VALUES (11, 1);
ALTER TABLE brief DETACH PARTITION brief_2;
SELECT object, problem FROM told;
CALL sync_maintain() \gset
SELECT object, problem FROM told;
ALTER TABLE brief_2 RENAME TO "Brief 2";
SELECT object FROM told;
CALL sync_maintain() \gset
SELECT object FROM told;
-- it is one again; then what it took meanwhile is not captured, as is told of any that is attached
ALTER TABLE brief ATTACH PARTITION "Brief 2" FOR VALUES FROM (10) TO (20);
SELECT * FROM told;
CALL sync_load('brief') \gset
-- where triggers of its own tell, they do
ALTER TABLE brief DETACH PARTITION "Brief 2";
SELECT object, problem FROM told;
ALTER TABLE brief ATTACH PARTITION "Brief 2" FOR VALUES FROM (10) TO (20);
-- of partitions, in a schema that is made with it, and in a transaction that is rolled back
CREATE TABLE brief_3 PARTITION OF brief FOR VALUES FROM (20) TO (40) PARTITION BY RANGE (id);
CREATE SCHEMA brief CREATE TABLE part PARTITION OF public.brief_3 FOR VALUES FROM (20) TO (30);
BEGIN;
CREATE TABLE brief_32 PARTITION OF brief_3 FOR VALUES FROM (30) TO (40);
INSERT INTO brief VALUES (31, 1);
DROP TABLE brief_32;
SELECT object FROM told;
ROLLBACK;
INSERT INTO brief VALUES (21, 1);
DROP SCHEMA brief CASCADE;
SELECT object, problem FROM told;
-- of one that has no rows, as their deletes were captured, nothing is to be told
CREATE TABLE brief_4 PARTITION OF brief FOR VALUES FROM (40) TO (50);
CREATE TABLE brief_5 PARTITION OF brief FOR VALUES FROM (50) TO (70) PARTITION BY RANGE (id);
CREATE TABLE brief_51 PARTITION OF brief_5 FOR VALUES FROM (50) TO (60);
CREATE TABLE brief_52 PARTITION OF brief_5 FOR VALUES FROM (60) TO (70);
INSERT INTO brief VALUES (41, 1), (51, 1), (61, 1);
DELETE FROM brief WHERE id IN (41, 51);
DROP TABLE IF EXISTS brief_4, brief_5, nowhere.brief_6, brief_6;
SELECT object FROM told;
-- but of one that lost them otherwise, or may have
CREATE TABLE brief_4 PARTITION OF brief FOR VALUES FROM (40) TO (50);
INSERT INTO brief VALUES (41, 2);
ALTER TABLE brief_4 DISABLE TRIGGER _syncext_truncate;
TRUNCATE brief_4;
DROP TABLE brief_4;
CREATE TABLE brief_8 PARTITION OF brief FOR VALUES FROM (90) TO (99);
INSERT INTO brief VALUES (91, 1);
ALTER TABLE brief DETACH PARTITION brief_8;
DELETE FROM brief_8;
ALTER TABLE brief ATTACH PARTITION brief_8 FOR VALUES FROM (90) TO (99);
DROP TABLE brief_8;
BEGIN;
CREATE TABLE brief_6 PARTITION OF brief FOR VALUES FROM (70) TO (80);
DROP TABLE brief_6;
COMMIT;
-- dropping fails, and it is as it was
CREATE TABLE brief_7 PARTITION OF brief FOR VALUES FROM (80) TO (90);
CREATE VIEW on_brief_7 AS SELECT FROM brief_7;
\set VERBOSITY terse
DROP TABLE brief_7;
\set VERBOSITY default
SELECT object FROM told;
SELECT shape->'partitions' ? 'public.brief_7' AS known FROM syncext.binding;
DROP TABLE brief_7 CASCADE;
SELECT object FROM told WHERE object ~ 'brief_7';
-- restored, or copied, before it was loaded
CREATE TABLE brief_33 (id int NOT NULL, x int);
ALTER TABLE brief_3 ATTACH PARTITION brief_33 FOR VALUES FROM (30) TO (40);
ALTER TABLE brief_3 DETACH PARTITION brief_33;
UPDATE syncext.binding SET shape = jsonb_set(shape, '{of}', '"another"');
SELECT object, problem FROM told;
CALL sync_maintain() \gset
SELECT object, problem FROM told;
SELECT jsonb_typeof(shape->'partitions'->'public.brief_33') AS left, shape->'partitions'->'brief.part' AS dropped FROM syncext.binding;
SELECT sync_detach('brief');
DROP TABLE brief, brief_33, "Brief 2";

--
-- Partitions that CREATE TABLE makes need no load
--
SELECT sync_add_entity('day');
CREATE TABLE day (id int, x int, PRIMARY KEY (id)) PARTITION BY RANGE (id);
SELECT sync_attach('day', 'Shop', 'day');
CREATE VIEW of_day AS SELECT object, problem FROM sync_check() WHERE object ~ 'day|loose' ORDER BY 1, 2;
-- by the table's owner, also of one that is partitioned itself
CREATE ROLE regress_ddl;
ALTER TABLE day OWNER TO regress_ddl;
CREATE SCHEMA jobs AUTHORIZATION regress_ddl;
-- event triggers of others hear of what the owner does, as the owner, and of nothing else
CREATE FUNCTION heard() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE '% by %', tg_tag, current_user; END $$;
CREATE EVENT TRIGGER heard ON ddl_command_end EXECUTE FUNCTION heard();
SET ROLE regress_ddl;
CREATE TABLE jobs.day_1 PARTITION OF day FOR VALUES FROM (10) TO (20);
CREATE TABLE jobs.day_2 PARTITION OF day FOR VALUES FROM (20) TO (30) PARTITION BY RANGE (id);
CREATE TABLE jobs.day_21 PARTITION OF jobs.day_2 FOR VALUES FROM (20) TO (25);
RESET ROLE;
SELECT sync_add_source('Jobs', 3, 'regress_ddl');
SET ROLE regress_ddl;
CREATE TABLE jobs.own (id int PRIMARY KEY, x int) PARTITION BY RANGE (id);
CREATE TABLE jobs.own_1 PARTITION OF jobs.own FOR VALUES FROM (1) TO (10);
SELECT sync_attach('jobs.own', 'Jobs', 'item');
SELECT tgrelid::regclass, tgname, tgenabled, tgtype FROM pg_trigger WHERE tgrelid IN ('jobs.own'::regclass, 'jobs.own_1'::regclass) ORDER BY 1, 2;
SELECT sync_detach('jobs.own');
DROP TABLE jobs.own;
RESET ROLE;
SELECT sync_drop_source('Jobs');
DROP EVENT TRIGGER heard;
DROP FUNCTION heard();
SET ROLE regress_ddl;
-- by a job
CREATE FUNCTION jobs.run() RETURNS void LANGUAGE plpgsql SECURITY DEFINER SET search_path = jobs, pg_temp AS $$
	BEGIN
		CREATE TABLE day_3 PARTITION OF public.day FOR VALUES FROM (30) TO (40);
		INSERT INTO public.day VALUES (31, 1);
	END $$;
RESET ROLE;
SELECT jobs.run();
-- in the transaction that fills it, and with a schema
BEGIN;
CREATE TABLE jobs.day_4 PARTITION OF day FOR VALUES FROM (40) TO (50);
INSERT INTO day VALUES (41, 1);
COMMIT;
CREATE SCHEMA later CREATE TABLE day_5 PARTITION OF public.day FOR VALUES FROM (50) TO (60);
INSERT INTO day VALUES (11, 1), (21, 1), (51, 1);
SELECT * FROM of_day;
\x
SELECT tgrelid::regclass, tgenabled, tgfoid::regproc FROM pg_trigger WHERE tgname = '_syncext_truncate' ORDER BY tgrelid::regclass::text;
SELECT p.name, p.number = to_jsonb(p.name::regclass::oid::bigint) AS complete FROM syncext.binding, jsonb_each(shape->'partitions') p(name, number) ORDER BY 1;
SELECT external_id FROM syncext.canonical WHERE entity = 'day' ORDER BY 1;
\x
TRUNCATE jobs.day_1;
TRUNCATE jobs.day_2;
TRUNCATE jobs.day_4;
-- dropped with rows, or when they were deleted
DELETE FROM day WHERE id IN (11, 21);
DROP TABLE jobs.day_1, jobs.day_2, jobs.day_3;
SELECT * FROM of_day;
CALL sync_maintain() \gset
SELECT object FROM of_day;
-- it left and came back in the transaction that made it
BEGIN;
CREATE TABLE jobs.day_6 PARTITION OF day FOR VALUES FROM (60) TO (70);
INSERT INTO day VALUES (61, 1);
ALTER TABLE day DETACH PARTITION jobs.day_6;
DELETE FROM jobs.day_6;
ALTER TABLE day ATTACH PARTITION jobs.day_6 FOR VALUES FROM (60) TO (70);
COMMIT;
SELECT * FROM of_day;
DROP TABLE jobs.day_6;
SELECT object FROM of_day;
-- what is attached may have rows, whatever makes it
CREATE TABLE loose (LIKE day INCLUDING ALL);
INSERT INTO loose VALUES (71, 1);
ALTER TABLE day ATTACH PARTITION loose FOR VALUES FROM (70) TO (80);
\set VERBOSITY terse
CREATE TABLE IF NOT EXISTS loose PARTITION OF day FOR VALUES FROM (70) TO (80);
\set VERBOSITY default
CREATE FUNCTION attach_loose() RETURNS event_trigger LANGUAGE plpgsql AS $$
	BEGIN
		INSERT INTO loosely.loose VALUES (81, 1);
		ALTER TABLE public.day ATTACH PARTITION loosely.loose FOR VALUES FROM (80) TO (90);
	END $$;
CREATE EVENT TRIGGER a_first ON ddl_command_end WHEN TAG IN ('CREATE SCHEMA') EXECUTE FUNCTION attach_loose();
CREATE SCHEMA loosely CREATE TABLE loose (id int PRIMARY KEY, x int);
DROP EVENT TRIGGER a_first;
DROP FUNCTION attach_loose();
SELECT object, problem FROM of_day WHERE object ~ 'loose';
CALL sync_load('day') \gset
SELECT object FROM of_day WHERE object ~ 'loose';
-- one that isn't captured, or of which the event trigger doesn't hear
ALTER TABLE ONLY day DISABLE TRIGGER _syncext_capture;
CREATE TABLE jobs.day_7 PARTITION OF day FOR VALUES FROM (90) TO (100);
ALTER TABLE ONLY day ENABLE ALWAYS TRIGGER _syncext_capture;
ALTER TABLE jobs.day_7 ENABLE ALWAYS TRIGGER _syncext_capture;
ALTER EVENT TRIGGER syncext_altered DISABLE;
CREATE TABLE jobs.day_8 PARTITION OF day FOR VALUES FROM (100) TO (110);
ALTER EVENT TRIGGER syncext_altered ENABLE ALWAYS;
-- a setting of servers from 17 on, as ALTER DATABASE and ALTER ROLE keep it there
BEGIN;
UPDATE pg_db_role_setting s SET setconfig = setconfig || '{event_triggers=False}' FROM pg_database d
WHERE d.datname = current_database() AND s.setdatabase = d.oid AND s.setrole = 0;
INSERT INTO pg_db_role_setting VALUES (0, 'regress_ddl'::regrole, '{work_mem=4MB,event_triggers=off}'), (0, 'pg_monitor'::regrole, '{event_triggers=on}');
SELECT problem, replace(hint, quote_ident(current_database()), '…') AS hint FROM sync_check() WHERE object = 'setting event_triggers';
ROLLBACK;
SELECT object, problem FROM of_day WHERE object ~ 'day_[78]';
CALL sync_load('day') \gset
SELECT object FROM of_day WHERE object ~ 'day_[78]';
SELECT sync_detach('day');
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^_syncext';
-- where nothing is captured by a trigger there is none
SELECT sync_attach('day', 'Shop', 'day', direction => 'out');
CREATE TABLE jobs.day_9 PARTITION OF day FOR VALUES FROM (110) TO (120);
SELECT sync_detach('day');
SELECT sync_attach('day', 'Shop', 'day', capture => 'poll');
CREATE TABLE jobs.day_10 PARTITION OF day FOR VALUES FROM (120) TO (130);
SELECT object, problem FROM of_day WHERE object ~ 'day_(9|10)';
SELECT count(*) FROM pg_trigger WHERE tgname ~ '^_syncext';
SELECT sync_detach('day');
DROP VIEW of_day;
DROP TABLE day;
SET client_min_messages = warning;
DROP SCHEMA jobs, later, loosely CASCADE;
RESET client_min_messages;
DROP ROLE regress_ddl;

--
-- Columns that keep their type, and get other values
--
CREATE DOMAIN word AS text CHECK (VALUE <> 'bad');
CREATE TYPE pair AS (a int, b int);
CREATE TABLE rewritten (id int PRIMARY KEY, n int, v varchar(10), w text, at timestamptz, made timestamptz);
SELECT sync_attach('rewritten', 'Shop', 'rewritten', updated_column => 'at');
INSERT INTO rewritten VALUES (1, 5, 'v', 'w', '2026-01-01', '2026-01-01');
-- what writes the table anew, or might, and leaves the values alone
CLUSTER rewritten USING rewritten_pkey;
VACUUM FULL rewritten;
ALTER TABLE rewritten SET UNLOGGED;
ALTER TABLE rewritten SET LOGGED, ALTER n TYPE int USING n, ALTER v TYPE varchar(10);
ALTER TABLE rewritten ADD volatile float DEFAULT random(), ALTER n TYPE int;
ALTER TABLE rewritten DROP volatile;
ALTER TABLE rewritten ALTER w TYPE word;
ALTER TABLE rewritten ALTER w TYPE text COLLATE "C", ALTER v TYPE varchar(20);
-- what is no field
ALTER TABLE rewritten ALTER at TYPE timestamptz USING at + '1 hour';
BEGIN;
ALTER TABLE rewritten ALTER n TYPE int USING n + 1;
SELECT problem FROM told;
ROLLBACK;
SELECT * FROM told;
-- what does not
ALTER TABLE rewritten ALTER n TYPE int USING n + 1, ALTER v TYPE text USING upper(v);
SELECT * FROM told;
CALL sync_maintain() \gset
ALTER TABLE rewritten RENAME n TO number;
SELECT problem FROM told;
CALL sync_load('rewritten') \gset
VACUUM FULL rewritten;
SELECT count(*) FROM told;
CALL sync_load('rewritten', 'table') \gset
SELECT * FROM told;
SELECT fields('rewritten', '1');
-- to and fro, and as a session's triggers are off
SET session_replication_role = replica;
ALTER TABLE rewritten ALTER made TYPE date;
RESET session_replication_role;
SELECT problem FROM told;
ALTER TABLE rewritten ALTER made TYPE timestamptz;
SELECT problem FROM told;
-- what is remembered of it goes with a dump
UPDATE syncext.binding SET shape = jsonb_set(shape, '{of}', '"another"');
SELECT problem FROM told;
CALL sync_maintain() \gset
SELECT problem FROM told;
CALL sync_load('rewritten', 'hub') \gset
SELECT * FROM told;
SELECT made = '2026-01-01' AS as_before FROM rewritten;
SELECT sync_detach('rewritten');
DROP TABLE rewritten;
-- of a partition it is the attached table's, of a typed table by its type
CREATE TABLE rewritten (id int PRIMARY KEY, n int) PARTITION BY RANGE (id);
CREATE TABLE rewritten_1 PARTITION OF rewritten FOR VALUES FROM (1) TO (10);
SELECT sync_attach('rewritten', 'Shop', 'rewritten');
ALTER TABLE rewritten ALTER n TYPE int USING -n;
SELECT object, problem FROM told;
SELECT sync_detach('rewritten');
DROP TABLE rewritten;
CREATE TABLE rewritten OF pair (PRIMARY KEY (a));
SELECT sync_attach('rewritten', 'Shop', 'rewritten');
ALTER TYPE pair ALTER ATTRIBUTE b TYPE bigint CASCADE;
ALTER TYPE pair ALTER ATTRIBUTE b TYPE int CASCADE;
SELECT object, problem FROM told;
SELECT sync_detach('rewritten');
DROP TABLE rewritten;
DROP TYPE pair;
DROP DOMAIN word;
-- whose DDL it is doesn't matter; what is about no attached table is no business of ours
CREATE TABLE rewritten (id int PRIMARY KEY, n int);
SELECT sync_attach('rewritten', 'Shop', 'rewritten');
CREATE ROLE regress_ddl;
ALTER TABLE rewritten OWNER TO regress_ddl;
SET ROLE regress_ddl;
ALTER TABLE rewritten ADD own int, ALTER n TYPE int USING 5;
CREATE TEMP TABLE mine (id int, n int) PARTITION BY RANGE (id);
CREATE TEMP TABLE mine_1 PARTITION OF mine FOR VALUES FROM (1) TO (2);
ALTER TABLE mine ALTER n TYPE text USING 'x';
DROP TABLE mine;
SELECT syncext.note_altered();
RESET ROLE;
SELECT syncext.altered();
SELECT shape->'columns' ? 'own' AS own, shape->'columns'->'n' AS n FROM syncext.binding;
SELECT sync_detach('rewritten');
DROP TABLE rewritten;
DROP ROLE regress_ddl;
-- without the event triggers
ALTER EVENT TRIGGER syncext_altered ENABLE;
ALTER EVENT TRIGGER syncext_rewritten RENAME TO "Mine";
ALTER EVENT TRIGGER "Mine" DISABLE;
SELECT severity, object, problem, hint FROM sync_check() WHERE object ~ 'event trigger' ORDER BY 2;
ALTER EVENT TRIGGER syncext_altered ENABLE ALWAYS;
ALTER EVENT TRIGGER "Mine" ENABLE ALWAYS;
SELECT object FROM sync_check() WHERE object ~ 'event trigger';

--
-- Columns of another type
--
CREATE TYPE size AS ENUM ('s', 'm');
CREATE DOMAIN short AS varchar(10);
CREATE DOMAIN shorter AS short CHECK (length(VALUE) < 5);
CREATE TABLE item (id int PRIMARY KEY, n int, v varchar(10), d shorter, p numeric(5,2), at timestamp(0), s size, renamed int, made int GENERATED ALWAYS AS (n + 1) STORED, changed timestamptz);
SELECT sync_attach('item', 'Shop', 'item', updated_column => 'changed');
INSERT INTO item VALUES (1, 5, 'v', 'd', 1.25, '2026-01-01', 's', 1);
SELECT * FROM told;
-- what holds as much, or is no field, is none
ALTER TABLE item ALTER v TYPE varchar(20), ALTER d TYPE varchar(10), ALTER p TYPE numeric(8,2), ALTER at TYPE timestamp(3), ALTER changed TYPE timestamp;
ALTER TYPE size RENAME TO "Size";
SELECT * FROM told;
ALTER TABLE item ALTER v TYPE text, ALTER d TYPE shorter, ALTER p TYPE numeric, ALTER at TYPE timestamp;
ALTER TABLE item RENAME n TO m;
ALTER TABLE item RENAME renamed TO n;
ALTER TABLE item DROP COLUMN s;
ALTER TABLE item ADD s text;
SELECT * FROM told;
CALL sync_maintain() \gset
SELECT * FROM told;
-- values that are another's, and what the hub has of them
ALTER TABLE item ALTER n TYPE bigint USING n * 100, ALTER v TYPE varchar(30), ALTER p TYPE numeric(5,1), ALTER at TYPE timestamp(0);
SELECT * FROM told;
CALL sync_maintain() \gset
SELECT count(*) FROM told;
ALTER TABLE item RENAME n TO number;
SELECT object, problem FROM told WHERE problem ~ 'column number';
-- the ladder leaves some of it
CALL sync_load('item') \gset
SELECT count(*) FROM told;
CALL sync_load('item', 'table', true) \gset
SELECT count(*) FROM told;
CALL sync_load('item', 'table') \gset
SELECT * FROM told;
SELECT fields('item', '1');
-- a column that was added is known once it was seen
ALTER TABLE item ADD late int;
ALTER TABLE item ALTER late TYPE text;
SELECT * FROM told;
CALL sync_maintain() \gset
ALTER TABLE item ALTER late TYPE int USING 5;
SELECT problem FROM told;
-- attached anew it is as it is
SELECT sync_detach('item');
SELECT sync_attach('item', 'Shop', 'item', '{id}', '{"number": "number", "total": "late"}');
SELECT * FROM told;
ALTER TABLE item ALTER p TYPE text, ALTER late TYPE bigint;
SELECT problem FROM told;
CALL sync_load('item', 'hub') \gset
SELECT * FROM told;
SELECT sync_detach('item');

-- a table that only gets
CREATE TABLE copy (id int PRIMARY KEY, n int);
SELECT sync_attach('copy', 'Shop', 'copy', direction => 'out');
SELECT change('CRM', 'copy', '1', 1, '{"n": 5}'), change('CRM', 'copy', '2', 1, '{"n": 6}');
SELECT sync_deliver('Shop');
ALTER TABLE copy ALTER n TYPE bigint USING CASE id WHEN 1 THEN 7 ELSE n END;
SELECT hint FROM told;
CALL sync_load('copy') \gset
SELECT count(*) FROM told;
CALL sync_load('copy', 'hub') \gset
SELECT (:'result'::jsonb)->'delivered' AS delivered;
SELECT * FROM copy ORDER BY id;
SELECT * FROM told;
SELECT sync_detach('copy');

-- a polled one, whose watermark passes over what no edit has touched
CREATE TABLE base (id int PRIMARY KEY, n int, at timestamptz);
INSERT INTO base VALUES (1, 5, '2026-01-01');
SELECT sync_attach('base', 'Shop', 'polled', capture => 'poll', updated_column => 'at');
CALL sync_poll('base') \gset
ALTER TABLE base ALTER n TYPE bigint USING n * 10;
SELECT hint FROM told;
INSERT INTO base VALUES (2, 5, '2027-01-01');
CALL sync_poll('base') \gset
SELECT count(*) FROM told;
CALL sync_poll('base', true) \gset
SELECT * FROM told;
SELECT fields('polled', '1');
SELECT sync_detach('base');

-- and a view, that has another definition, or has one below
CREATE VIEW below AS SELECT id, n, at FROM base;
CREATE VIEW above AS SELECT id, n, at FROM below;
SELECT sync_attach('above', 'Shop', 'viewed', '{id}', capture => 'poll', updated_column => 'at');
CALL sync_poll('above') \gset
CREATE OR REPLACE VIEW above AS SELECT id, n + 1 AS n, at FROM below;
CREATE VIEW beside AS SELECT id FROM base;
CREATE OR REPLACE VIEW beside AS SELECT id + 1 AS id FROM base;
SELECT object, problem, hint FROM told;
CALL sync_poll('above') \gset
SELECT fields('viewed', '1');
CALL sync_poll('above', true) \gset
SELECT fields('viewed', '1');
SELECT count(*) FROM told;
CREATE OR REPLACE VIEW below AS SELECT id, n * 2 AS n, at FROM base;
SELECT object FROM told;
CALL sync_poll('above', true) \gset
SELECT fields('viewed', '1');
SELECT count(*) FROM told;
SELECT sync_detach('above');
DROP VIEW above, below, beside;

DROP VIEW told;
DROP TABLE item, copy, base;
DROP DOMAIN shorter, short;
DROP TYPE "Size";
DROP EXTENSION syncext CASCADE;
