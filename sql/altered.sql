-- Attached tables that change under the hub's feet: by their own code in the middle
-- of a delivery or a poll, and from one call to the next.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('A', 2), sync_add_source('B', 3), sync_add_source('P', 4);
SELECT count(sync_add_entity(name)) FROM unnest('{item,inner,outer,shape,other,versioned}'::text[]) name;

--
-- A domain's constraint that alters the table: the row is refused, and nothing else happens
--
CREATE FUNCTION widen(value int) RETURNS bool LANGUAGE plpgsql AS $$
BEGIN
	IF value = 2 AND to_regclass('public.item') IS NOT NULL THEN
		EXECUTE (SELECT 'ALTER TABLE public.item ' || string_agg(format('ADD COLUMN x%s bigint DEFAULT 4702111234474983745', i), ', ') FROM generate_series(1, 1500) i);
	END IF;
	RETURN true;
END $$;
CREATE DOMAIN checked AS int CHECK (public.widen(VALUE));
CREATE TABLE item (id checked PRIMARY KEY, v text);
SELECT sync_attach('item', 'A', 'item');
SELECT change('CRM', 'item', i::text, 1, '{"v": "a"}') FROM generate_series(1, 3) i;
SELECT sync_deliver('A');
SELECT * FROM item;
SELECT external_id, attempts, error FROM syncext.outbound_change WHERE state = 'retry';
SELECT count(*) FROM pg_attribute WHERE attrelid = 'item'::regclass AND attnum > 0;
DROP TABLE item;
SELECT sync_detach(relation) FROM syncext.binding WHERE source = 'A';

--
-- A poll within a full compare of another relation
--
CREATE TABLE inner_rows (id int PRIMARY KEY, v int);
CREATE TABLE outer_rows (id int PRIMARY KEY, v int);
INSERT INTO inner_rows SELECT i, i FROM generate_series(1, 3) i;
INSERT INTO outer_rows SELECT i, i FROM generate_series(1, 30) i;
CREATE VIEW inner_view AS SELECT id, v FROM inner_rows;
CREATE FUNCTION polling(v int) RETURNS int LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	IF v = 30 THEN
		CALL public.sync_poll('public.inner_view', true, result);
	END IF;
	RETURN v;
END $$;
CREATE VIEW outer_view AS SELECT id, polling(v) AS v FROM outer_rows;
SELECT sync_attach('inner_view', 'P', 'inner', '{id}', capture => 'poll', direction => 'in'), sync_attach('outer_view', 'P', 'outer', '{id}', capture => 'poll', direction => 'in');
CALL sync_poll('inner_view', true) \gset
CALL sync_poll('outer_view') \gset
DELETE FROM inner_rows WHERE id = 1;
DELETE FROM outer_rows WHERE id < 3;
CALL sync_poll('outer_view', true) \gset
SELECT (:'result'::jsonb)->'read' AS read, (:'result'::jsonb)->'deleted' AS deleted;
SELECT entity, external_id FROM syncext.canonical WHERE deleted ORDER BY 1, 2;
DROP VIEW inner_view, outer_view;
SELECT sync_detach(relation) FROM syncext.binding WHERE source = 'P';

--
-- A column's type that gets an attribute, which the table isn't told of
--
CREATE TYPE address AS (street text);
CREATE TABLE shape (id int PRIMARY KEY, at address, all_at address[]);
SELECT sync_attach('shape', 'A', 'shape');
INSERT INTO shape VALUES (1, ROW('High St'), ARRAY[ROW('Low St')::address]);
SELECT change('CRM', 'shape', '1', 5, '{"at": {"street": "Broadway"}}');
SELECT sync_deliver('A');
ALTER TYPE address ADD ATTRIBUTE zip text;
UPDATE shape SET all_at = ARRAY[ROW('Low St', '1234')::address];
SELECT fields('shape', '1');
SELECT change('CRM', 'shape', '1', 6, '{"at": {"street": "Broadway", "zip": "10004"}}');
SELECT sync_deliver('A');
ALTER TYPE address DROP ATTRIBUTE street, ADD ATTRIBUTE no bigint;
UPDATE shape SET all_at = ARRAY[ROW('1234', 42)::address];
SELECT * FROM shape;
SELECT fields('shape', '1');
SELECT sync_detach('shape');

--
-- A column that serves as version, or as time of edit, becomes something else
--
CREATE TABLE versioned (id int PRIMARY KEY, v text, n int, at timestamptz);
SELECT sync_attach('versioned', 'B', 'versioned', version_column => 'n', updated_column => 'at');
INSERT INTO versioned VALUES (1, 'a', 1, '2026-01-01');
ALTER TABLE versioned ALTER n TYPE text;
INSERT INTO versioned VALUES (2, 'b', 'two', '2026-01-01');
ALTER TABLE versioned ALTER n TYPE bigint USING n::bigint, ALTER at TYPE text;
INSERT INTO versioned VALUES (2, 'b', 2, 'now');
-- a delete needs the key alone
DELETE FROM versioned WHERE id = 1;
SELECT external_id, deleted FROM syncext.canonical WHERE entity = 'versioned';
ALTER TABLE versioned ALTER at TYPE timestamptz USING at::timestamptz;
INSERT INTO versioned VALUES (2, 'b', 2, '2026-01-01');
SELECT fields('versioned', '2');

--
-- A table that isn't as it was attached keeps nobody else's changes
--
CREATE TABLE other (id int PRIMARY KEY, v text);
SELECT sync_attach('other', 'B', 'other', columns => '{"v": "v"}');
SELECT change('CRM', 'other', '1', 1, '{"v": "o"}'), change('CRM', 'versioned', '3', 1, '{"v": "c"}');
ALTER TABLE other RENAME v TO w;
SELECT sync_deliver('B');
SELECT * FROM versioned WHERE id = 3;
SELECT entity, external_id, state, attempts, error FROM syncext.outbound_change WHERE target = 'B' AND state <> 'waiting';
INSERT INTO other VALUES (2, 'x');
SET syncext.inbound = 'on';
INSERT INTO other VALUES (2, 'x');
RESET syncext.inbound;
SELECT object, problem, hint FROM sync_check() WHERE object LIKE '%other';
ALTER TABLE other RENAME w TO v;
SELECT sync_redrive('B');
SELECT sync_deliver('B');
SELECT * FROM other ORDER BY 1;
SELECT count(*) FROM sync_check() WHERE object LIKE '%other%';
DROP TABLE other;
SELECT change('CRM', 'other', '3', 1, '{"v": "p"}'), change('CRM', 'versioned', '4', 1, '{"v": "d"}');
SELECT sync_deliver('B');
SELECT * FROM versioned WHERE id = 4;
SELECT object, problem, regexp_replace(hint, '\d+', 'OID') AS hint FROM sync_check() WHERE object LIKE 'relation %';
-- once more, if another one of its name stands there
CREATE TABLE other (id int PRIMARY KEY, v text);
SELECT object, problem, regexp_replace(hint, '\d+', 'OID') AS hint FROM sync_check() WHERE object LIKE 'relation %';
SELECT sync_attach('other', 'B', 'other');
SELECT count(*) FROM sync_check() WHERE object LIKE 'relation %';
-- OIDs come again: one that has it is another relation, and nothing is written to it
UPDATE syncext.binding SET row_type = 'text' WHERE entity = 'other';
SELECT change('CRM', 'other', '5', 1, '{"v": "not here"}');
SELECT sync_deliver('B');
SELECT * FROM other;
SELECT object, problem FROM sync_check() WHERE object LIKE 'relation %';
DROP TRIGGER _syncext_capture ON other;
DROP TRIGGER _syncext_truncate ON other;
SELECT sync_attach('other', 'A', 'item');
SELECT relation, source, entity FROM syncext.binding ORDER BY entity;
-- a rename is noted, for the day when it is dropped
ALTER TABLE other RENAME TO another;
CALL sync_maintain() \gset
DROP TABLE another;
SELECT object FROM sync_check() WHERE object LIKE 'relation %';

--
-- "*" is no name of a field
--
CREATE TABLE star (id int PRIMARY KEY, "*" text, v text);
SELECT sync_attach('star', 'P', 'shape');
SELECT sync_attach('star', 'P', 'shape', columns => '{"*": "v"}');
SELECT sync_attach('star', 'P', 'shape', columns => '{"star": "*", "v": "v"}');
INSERT INTO star VALUES (9, 'a', 'b');
SELECT fields('shape', '9');
SELECT sync_detach('star');
ALTER TABLE star DROP COLUMN "*";
SELECT sync_attach('star', 'P', 'shape');
ALTER TABLE star ADD COLUMN "*" text;
INSERT INTO star VALUES (10, 'b', 'a');
SELECT fields('shape', '10');
SELECT object, problem, hint FROM sync_check() WHERE problem LIKE '%"*"%';
UPDATE syncext.binding SET columns = '{"*": "v"}' WHERE relation = 'star'::regclass;
INSERT INTO star VALUES (11, 'c', 'a');
--
-- The hub's values are no values of a column whose type was changed: the record waits,
-- the others don't, and the table's own values are the way out
--
CREATE TYPE mood AS ENUM ('glad', 'sad');
CREATE TABLE retyped (id int PRIMARY KEY, n text, m mood);
SELECT sync_add_entity('retyped');
SELECT sync_attach('retyped', 'A', 'retyped');
INSERT INTO retyped VALUES (1, 'one', 'glad'), (2, '2', 'sad');
SELECT change('CRM', 'retyped', '3', 1, '{"n": "three", "m": "glad"}'), change('CRM', 'retyped', '4', 1, '{"n": "4", "m": "sad"}');
ALTER TABLE retyped ALTER n TYPE int USING CASE n WHEN 'one' THEN 1 ELSE n::int END;
ALTER TYPE mood RENAME VALUE 'glad' TO 'happy';
SELECT sync_deliver('A');
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'A' AND entity = 'retyped';
SELECT change('CRM', 'retyped', '1', 9, '{"other": 1}');
SELECT sync_deliver('A');
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'A' AND entity = 'retyped' ORDER BY 1;
CALL sync_load('retyped', 'table') \gset
SELECT fields('retyped', '1'), fields('retyped', '2');
SELECT change('CRM', 'retyped', '3', 2, '{"n": 3, "m": "happy"}');
SELECT sync_redrive('A');
SELECT sync_deliver('A');
SELECT * FROM retyped ORDER BY 1;
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'A' AND entity = 'retyped';

SET client_min_messages = warning;
DROP EXTENSION syncext CASCADE;
DROP TABLE retyped;
DROP TYPE mood;
DROP TABLE inner_rows, outer_rows, shape, versioned, star;
DROP TYPE address;
DROP DOMAIN checked;
DROP FUNCTION widen, polling;
