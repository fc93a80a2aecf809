-- Delivery into attached tables: what the table's triggers make of it, rows
-- that it refuses, order, contested fields, as whom it runs.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('A', 4), sync_add_source('B', 4), sync_add_source('C', 4);
SELECT count(sync_add_entity(name)) FROM unnest('{person,order,line,a_child,z_parent,node}'::text[]) name;
CREATE VIEW log AS
	SELECT seq, entity, external_id AS id, source, row_version AS rv, resolution, told, fields, detail->'base' AS base, (detail->'deleted')::bool AS deleted
	FROM syncext.change_log ORDER BY seq;
CREATE VIEW failed AS
	SELECT target, entity, external_id, state, attempts, error FROM syncext.outbound_change WHERE error IS NOT NULL ORDER BY 1, 2, 3;
-- Deliver to all until nothing moves; that must come to an end.
CREATE PROCEDURE settle(VARIADIC sources text[]) LANGUAGE plpgsql AS $$
DECLARE
	moved bigint;
BEGIN
	FOR round IN 1..10 LOOP
		SELECT sum(sync_deliver(s)) INTO moved FROM unnest(sources) s;
		COMMIT;
		IF moved = 0 THEN
			RETURN;
		END IF;
	END LOOP;
	RAISE WARNING 'records still go to and fro';
END $$;

--
-- The table's own triggers
--
CREATE TABLE person_a (id int PRIMARY KEY, name text, tag text, seen int DEFAULT 0, code char(4), price numeric(6,2), at timestamptz(0), friend int);
CREATE TABLE person_b (LIKE person_a INCLUDING ALL);
SELECT sync_attach('person_a', 'A', 'person'), sync_attach('person_b', 'B', 'person');
-- what a column's type makes of a value is no edit
SELECT change('CRM', 'person', '1', 1, '{"name": "Ann", "code": "x", "price": 1.239, "at": "2024-01-01T00:00:00.6Z"}');
CALL settle('A', 'B');
SELECT name, code, price, at AT TIME ZONE 'UTC' AS at FROM person_b;
SELECT fields('person', '1'), (SELECT count(*) FROM log) AS changes;
-- nor does the same value in other words write the row again
SELECT ctid AS place FROM person_a \gset
SELECT change('CRM', 'person', '1', 2, '{"at": "2024-01-01 00:00:01+00", "price": 1.2400, "code": "x   "}');
CALL settle('A', 'B');
SELECT source, fields FROM log ORDER BY seq DESC LIMIT 1;
SELECT ctid = :'place' AS untouched FROM person_a;
-- a trigger that changes what is delivered: the hub and the others get it, and that's that
CREATE FUNCTION upper_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := upper(NEW.name); RETURN NEW; END $$;
CREATE TRIGGER upper_name BEFORE INSERT OR UPDATE ON person_a FOR EACH ROW EXECUTE FUNCTION upper_name();
SELECT change('CRM', 'person', '1', 9, '{"name": "Anna"}'), change('CRM', 'person', '2', 1, '{"name": "Bob"}');
CALL settle('A', 'B');
SELECT (SELECT string_agg(name, ' ' ORDER BY id) FROM person_a) AS a, (SELECT string_agg(name, ' ' ORDER BY id) FROM person_b) AS b,
	fields('person', '1')->'name' AS hub;
SELECT source, id, resolution, told, fields FROM log WHERE source <> 'CRM' AND entity = 'person' AND seq > 4;
-- one that can't be satisfied: the other table takes it back
CREATE FUNCTION lower_name() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.name := lower(NEW.name); NEW.seen := coalesce(NEW.seen, 0) + 1; RETURN NEW; END $$;
CREATE TRIGGER lower_name BEFORE INSERT OR UPDATE ON person_b FOR EACH ROW EXECUTE FUNCTION lower_name();
SELECT change('CRM', 'person', '1', 99, '{"name": "Anni"}'), change('CRM', 'person', '3', 1, '{"name": "Cid"}');
CALL settle('A', 'B');
CALL settle('A', 'B');
-- an edit there still goes everywhere
UPDATE person_b SET tag = 'new' WHERE id = 1;
CALL settle('A', 'B');
SELECT a.tag, b.tag, fields('person', '1')->'tag' AS hub FROM person_a a JOIN person_b b USING (id) WHERE id = 1;
-- nor can two that both date each write
CREATE FUNCTION date_it() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.at := clock_timestamp(); RETURN NEW; END $$;
ALTER TABLE person_a ALTER at TYPE timestamptz;
ALTER TABLE person_b ALTER at TYPE timestamptz;
CREATE TRIGGER date_it BEFORE INSERT OR UPDATE ON person_a FOR EACH ROW EXECUTE FUNCTION date_it();
CREATE TRIGGER date_it BEFORE INSERT OR UPDATE ON person_b FOR EACH ROW EXECUTE FUNCTION date_it();
SELECT change('CRM', 'person', '1', 200, '{"tag": "dated", "name": "Ännchen"}');
CALL settle('A', 'B');
UPDATE person_a SET tag = 'by a';
CALL settle('B', 'A');
UPDATE person_b SET tag = 'by b', name = 'Xx';
CALL settle('A', 'B');
SELECT a.name, b.name, a.tag, b.tag, a.at = b.at AS same_time FROM person_a a JOIN person_b b USING (id) WHERE id = 1;
DROP TRIGGER upper_name ON person_a;
DROP TRIGGER lower_name ON person_b;
DROP TRIGGER date_it ON person_a;
DROP TRIGGER date_it ON person_b;
-- an AFTER trigger that writes the same row, and other rows
CREATE FUNCTION spread() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() < 2 THEN
		UPDATE public.person_a SET seen = seen + 10 WHERE id = NEW.id;
		UPDATE public.person_a SET friend = NEW.id WHERE id = NEW.id - 1;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER spread AFTER INSERT OR UPDATE ON person_a FOR EACH ROW EXECUTE FUNCTION spread();
SELECT change('CRM', 'person', '3', 99, '{"tag": "t"}');
CALL settle('A', 'B');
SELECT id, a.seen, a.friend, fields('person', id::text) @> jsonb_strip_nulls(jsonb_build_object('seen', a.seen, 'friend', a.friend)) AS hub_knows,
	(a.seen, a.friend) IS NOT DISTINCT FROM (b.seen, b.friend) AS b_knows FROM person_a a JOIN person_b b USING (id) WHERE id > 1 ORDER BY 1;
DROP TRIGGER spread ON person_a;
-- one that changes the key, and one that keeps the row out
CREATE FUNCTION rekey() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.name = 'rekey' THEN NEW.id := 1000; END IF;
	RETURN CASE WHEN NEW.name = 'vanish' THEN NULL ELSE NEW END;
END $$;
CREATE TRIGGER rekey BEFORE INSERT OR UPDATE ON person_a FOR EACH ROW EXECUTE FUNCTION rekey();
SELECT change('CRM', 'person', '4', 1, '{"name": "rekey"}'), change('CRM', 'person', '5', 1, '{"name": "vanish"}'), change('CRM', 'person', '6', 1, '{"name": "Fay"}');
SELECT sync_deliver('A');
SELECT * FROM failed;
SELECT id, name FROM person_a WHERE id > 3 ORDER BY 1;
SELECT sync_discard('A');
DROP TRIGGER rekey ON person_a;

-- what a row has and the hub's record doesn't: known to all from then on
INSERT INTO person_a (id, name, tag) VALUES (9, 'Ida', 'local');
CALL settle('A', 'B');
SELECT change('CRM', 'person', '9', 9, NULL), change('CRM', 'person', '9', 10, '{"name": "Ida II"}');
CALL settle('A', 'B');
ALTER TABLE person_a ADD COLUMN extra text DEFAULT 'x';
SELECT change('CRM', 'person', '9', 20, '{"name": "Ida III"}');
CALL settle('A', 'B');
SELECT name, tag, extra FROM person_a WHERE id = 9;
SELECT name, tag FROM person_b WHERE id = 9;
SELECT fields('person', '9');

--
-- Rows that the table refuses fail alone
--
CREATE TABLE strict (
	id int PRIMARY KEY, name varchar(5) NOT NULL, nick text UNIQUE, age int CONSTRAINT grown_up CHECK (age >= 18),
	boss int REFERENCES strict DEFERRABLE INITIALLY DEFERRED, kind text);
SELECT sync_attach('strict', 'C', 'node');
SELECT change('CRM', 'node', id, 1, fields::jsonb) FROM (VALUES
	('1', '{"name": "ok", "nick": "secret nick"}'), ('2', '{"name": null}'), ('3', '{"nick": "no name"}'), ('4', '{"name": "too long"}'),
	('5', '{"name": "kid", "age": 7}'), ('6', '{"name": "twin", "nick": "secret nick"}'), ('7', '{"name": "boss", "boss": 77}'),
	('8', '{"name": "age", "age": "many"}'), ('9', '{"name": {"nested": 1}}'), ('x', '{"name": "no id"}'), ('99999999999', '{"name": "big"}'),
	('12', '{"name": "last", "boss": 13}'), ('13', '{"name": "first", "boss": 12}')) v (id, fields);
SELECT sync_deliver('C');
SELECT id, name, nick, boss FROM strict ORDER BY 1;
SELECT external_id, attempts, error FROM failed WHERE target = 'C' ORDER BY 1;
-- until they are dead; redriven, they go in once the table lets them
UPDATE syncext.pending SET next_attempt = now() - interval '1 s';
SELECT sync_deliver('C');
UPDATE syncext.source SET retry_cap = 3 WHERE name = 'C';
UPDATE syncext.pending SET next_attempt = now() - interval '1 s';
SELECT sync_deliver('C');
SELECT state, attempts, count(*) FROM failed GROUP BY 1, 2;
ALTER TABLE strict DROP CONSTRAINT grown_up, ALTER name TYPE text, ALTER name DROP NOT NULL;
SELECT sync_redrive('C');
SELECT sync_deliver('C');
SELECT external_id FROM failed;
SELECT sync_discard('C');
-- order: a freed value, children before parents, and the other way round
SELECT change('CRM', 'node', '1', 2, NULL), change('CRM', 'node', '0', 1, '{"name": "heir", "nick": "secret nick"}');
SELECT sync_deliver('C');
SELECT id, name FROM strict WHERE nick = 'secret nick';
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL REFERENCES parent, v int);
SELECT sync_attach('parent', 'C', 'z_parent'), sync_attach('child', 'C', 'a_child');
SELECT change('CRM', 'a_child', '1', 1, '{"parent": 1}'), change('CRM', 'z_parent', '1', 1, '{"v": 1}');
SELECT sync_deliver('C');
TABLE child;
SELECT change('CRM', 'z_parent', '1', 2, NULL), change('CRM', 'a_child', '1', 2, NULL);
SELECT sync_deliver('C');
SELECT count(*) FROM child;
SELECT count(*) FROM failed;
SELECT sync_detach('parent'), sync_detach('child');
DROP TABLE child, parent;

--
-- Cascades of a delivery are edits of other records
--
CREATE TABLE orders (id int PRIMARY KEY, v text);
CREATE TABLE lines (id int PRIMARY KEY, o int REFERENCES orders ON DELETE CASCADE, v text);
CREATE TABLE lines_c (LIKE lines INCLUDING ALL);
SELECT sync_attach('orders', 'A', 'order'), sync_attach('lines', 'A', 'line'), sync_attach('lines_c', 'C', 'line');
INSERT INTO orders VALUES (1, 'one'), (2, 'two');
INSERT INTO lines VALUES (10, 1, 'a'), (11, 1, 'b'), (20, 2, 'c');
SELECT sync_deliver('C');
SELECT change('CRM', 'order', '1', 9, NULL);
SELECT sync_deliver('A');
SELECT source, id, resolution, deleted FROM log WHERE entity = 'line' AND deleted;
SELECT sync_deliver('C');
SELECT * FROM lines_c;
-- an entity without a table here counts as taken
SELECT change('CRM', 'person', '7', 1, '{"name": "Gil"}');
SELECT sync_deliver('C');
SELECT count(*) FROM syncext.outbound_change WHERE target = 'C';

--
-- Contested fields
--
SELECT change('CRM', 'person', '8', 1, '{"name": "Hal", "tag": "t0", "seen": 1}');
CALL settle('A', 'B');
INSERT INTO syncext.source_priority VALUES ('CRM', 'person', '*', 4);
SELECT change('CRM', 'person', '8', 2, '{"name": "Hal of CRM", "tag": "t1"}');
UPDATE person_a SET name = 'Hal of A' WHERE id = 8;
SELECT source, rv, resolution, told, fields, base FROM log WHERE id = '8' AND entity = 'person';
-- the field waits for review and isn't delivered, the rest is
SELECT sync_deliver('A');
SELECT name, tag FROM person_a WHERE id = 8;
SELECT row_version, held FROM syncext.replica WHERE relation = 'person_a'::regclass AND external_id = '8';
-- editing it again is judged by what the row last saw of it; another field by what it saw of that
UPDATE person_a SET name = 'Hal again', tag = 't2' WHERE id = 8;
SELECT source, rv, resolution, told, fields, base FROM log WHERE id = '8' AND entity = 'person' AND seq > 3 ORDER BY seq DESC LIMIT 2;
SELECT status, contested FROM syncext.conflict_log ORDER BY id;
-- the decision reaches the loser
SELECT sync_resolve(id, 'canonical')->>'resolution' FROM syncext.conflict_log WHERE status = 'pending';
SELECT sync_deliver('A');
SELECT name, tag FROM person_a WHERE id = 8;
SELECT held FROM syncext.replica WHERE relation = 'person_a'::regclass AND external_id = '8';
-- a delete against an edit: nothing of the record is delivered until it is decided
SELECT change('CRM', 'person', '8', 20, '{"name": "Hal 20"}');
DELETE FROM person_a WHERE id = 8;
SELECT sync_deliver('A');
SELECT count(*) FROM person_a WHERE id = 8;
SELECT sync_resolve(id, 'dismiss')->>'resolution' FROM syncext.conflict_log WHERE status = 'pending';
SELECT sync_deliver('A');
SELECT id, name, seen FROM person_a WHERE id = 8;
DELETE FROM syncext.source_priority WHERE entity = 'person';
-- a lost edit is corrected, though the record didn't move
UPDATE syncext.entity SET ladder = '{version,priority,keep}' WHERE name = 'person';
SELECT change('CRM', 'person', '8', 30, '{"tag": "crm"}');
UPDATE person_a SET tag = 'lost' WHERE id = 8;
SELECT sync_deliver('A');
SELECT tag FROM person_a WHERE id = 8;

--
-- As whom
--
CREATE ROLE regress_deliver_owner;
CREATE ROLE regress_deliver_caller;
CREATE SCHEMA other_owner AUTHORIZATION regress_deliver_owner;
GRANT CREATE, USAGE ON SCHEMA other_owner TO regress_deliver_caller;
SELECT sync_add_source('Theirs', 9, 'regress_deliver_caller'), sync_add_source('Mine', 9, 'regress_deliver_caller');
GRANT regress_deliver_caller TO regress_deliver_owner;
SET ROLE regress_deliver_owner;
CREATE TABLE other_owner.person (id int PRIMARY KEY, name text, tag text);
CREATE TABLE other_owner.diary (what text, who text DEFAULT current_user, path text DEFAULT current_setting('search_path'));
CREATE FUNCTION other_owner.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO other_owner.diary VALUES (TG_NAME);
	IF NEW.tag IS NOT NULL THEN EXECUTE NEW.tag; END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE ON other_owner.person FOR EACH ROW EXECUTE FUNCTION other_owner.note();
CREATE CONSTRAINT TRIGGER late AFTER INSERT OR UPDATE ON other_owner.person DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION other_owner.note();
SELECT sync_attach('other_owner.person', 'Theirs', 'person');
ALTER TABLE other_owner.person ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
RESET ROLE;
-- the owner can't act as the caller any more
REVOKE regress_deliver_caller FROM regress_deliver_owner;
SELECT change('CRM', 'person', '100', 1, '{"name": "ok"}'),
	change('CRM', 'person', '101', 1, '{"tag": "SET ROLE postgres"}'),
	change('CRM', 'person', '102', 1, '{"tag": "DECLARE c CURSOR WITH HOLD FOR SELECT 1"}'),
	change('CRM', 'person', '103', 1, '{"tag": "SELECT set_config(''search_path'', ''other_owner'', false)"}'),
	change('CRM', 'person', '104', 1, '{"tag": "SET CONSTRAINTS ALL DEFERRED"}');
-- the caller's own deferred triggers don't run as the owner
SET ROLE regress_deliver_caller;
CREATE TABLE other_owner.bait (id int);
CREATE FUNCTION other_owner.bait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE NOTICE 'the caller''s trigger runs as %', current_user; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER bait AFTER INSERT ON other_owner.bait DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION other_owner.bait();
SET search_path = other_owner, public;
BEGIN;
INSERT INTO bait VALUES (1);
SELECT sync_deliver('Theirs') > 0 AS delivered;
SELECT current_user, current_setting('search_path'), current_setting('syncext.inbound') = '' AS nothing_inbound;
COMMIT;
RESET search_path;
RESET ROLE;
SELECT id, name FROM other_owner.person WHERE id >= 100 ORDER BY 1;
SELECT external_id, error FROM failed WHERE target = 'Theirs' ORDER BY 1;
SELECT DISTINCT what, who, path FROM other_owner.diary ORDER BY 1, 2;
SELECT count(*) FROM pg_cursors;
SELECT sync_detach('other_owner.person');

--
-- One way only, and relations that are no tables
--
CREATE TABLE inward (id int PRIMARY KEY, name text, tag text);
CREATE TABLE outward (id int PRIMARY KEY, name text, tag text);
CREATE TABLE base (id int PRIMARY KEY, name text, tag text);
CREATE VIEW upward AS SELECT id AS nr, name, tag FROM base WHERE id < 100;
SELECT sync_add_source('In'), sync_add_source('Out'), sync_add_source('View');
SELECT sync_attach('inward', 'In', 'person', direction => 'in');
SELECT sync_attach('outward', 'Out', 'person', direction => 'out');
SELECT sync_attach('upward', 'View', 'person', key => '{nr}', columns => '{"name": "name"}', capture => 'none');
SELECT name, single_writer FROM syncext.source WHERE name IN ('In', 'Out', 'View') ORDER BY 1;
SELECT sync_deliver('In');
CALL settle('Out', 'View');
SELECT id, name FROM outward WHERE id < 10 ORDER BY 1;
SELECT id, name FROM outward EXCEPT SELECT id, name FROM base;
INSERT INTO inward VALUES (50, 'inward', 'x');
UPDATE outward SET name = 'not captured' WHERE id = 50;
SELECT sync_deliver('Out'), sync_deliver('View');
SELECT * FROM outward WHERE id = 50;
SELECT * FROM base WHERE id = 50;
SELECT change('CRM', 'person', '50', 60, NULL);
SELECT sync_deliver('Out'), sync_deliver('View');
SELECT count(*) FROM base WHERE id = 50;
SELECT count(*) FROM inward;

DROP EXTENSION syncext CASCADE;
DROP OWNED BY regress_deliver_owner, regress_deliver_caller;
DROP ROLE regress_deliver_owner, regress_deliver_caller;
DROP TABLE person_a, person_b, strict, lines, orders, lines_c, inward, outward, base CASCADE;
DROP FUNCTION upper_name, lower_name, date_it, spread, rekey;
DROP PROCEDURE settle;
