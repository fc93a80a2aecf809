-- Capture where it is easily wrong: keys of all kinds, identity and generated
-- columns, partitions, triggers that write again, cascades, own versions.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('LocalDB', 4);
SELECT count(sync_add_entity(name)) FROM unnest('{order,line,point,item,doc,person}'::text[]) name;
SELECT sync_add_entity('timed', '{latest,overwrite}');
CREATE VIEW log AS
	SELECT seq, entity, external_id AS id, source, row_version AS rv, resolution, told, fields,
	       detail->'base' AS base, (detail->'deleted')::bool AS deleted
	FROM syncext.change_log ORDER BY seq;
-- what was logged since the last time this was asked
CREATE TABLE seen (seq bigint);
INSERT INTO seen VALUES (0);
CREATE FUNCTION new_log_rows() RETURNS TABLE (entity text, id text, resolution text, deleted bool, fields jsonb) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT l.entity, l.id, l.resolution, l.deleted, l.fields FROM log l WHERE seq > (SELECT s.seq FROM seen s);
	UPDATE seen SET seq = (SELECT max(l.seq) FROM log l);
END $$;
-- Is the hub's entity just what the table holds?
CREATE FUNCTION differs(tab regclass, entity text, id text) RETURNS TABLE (external_id text, hub jsonb, tab_row jsonb) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY EXECUTE format($q$
		SELECT coalesce(c.external_id, t.id), c.fields, t.fields
		FROM (SELECT external_id, fields FROM syncext.canonical WHERE entity = $1 AND NOT deleted) c
		FULL JOIN (SELECT (%s)::text COLLATE "C" AS id, to_jsonb(t) AS fields FROM %s t) t ON t.id = c.external_id
		WHERE c.fields IS NULL OR t.fields IS NULL OR NOT t.fields @> c.fields ORDER BY 1 $q$, id, tab) USING entity;
END $$;

--
-- Keys
--
-- composite: parts are joined by |, and escaped
CREATE TABLE point (a text, b int, c date, v text, PRIMARY KEY (c, a, b));
SELECT sync_attach('point', 'LocalDB', 'point', '{a,b,c}');
SET datestyle = 'SQL, DMY';
INSERT INTO point VALUES ('x', 1, '31/12/2024', 'plain'), ('p|q', -2, '01/02/2024', 'bar'), (E'b\\s|', 3, '01/02/2024', 'backslash'), ('', 0, '01/02/2024', 'empty');
RESET datestyle;
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'point' ORDER BY 1;
-- and it is read back
SELECT sync_apply(jsonb_build_object('entity', 'point', 'externalId', external_id, 'source', 'CRM', 'version', 5, 'v', fields->>'v' || '!'))->>'resolution'
FROM syncext.canonical WHERE entity = 'point' ORDER BY 1;
SELECT sync_apply(jsonb_build_object('entity', 'point', 'externalId', id, 'source', 'CRM', 'version', 1, 'v', 'new'))->>'resolution'
FROM unnest(ARRAY['n|1|2025-01-01', E'\\||2|2025-01-01', 'two|2', 'a|b|c|d', 'n|007|2025-01-01', 'n|x|2025-01-01', 'n|1|1 Jan 2025']) id;
SELECT sync_deliver('LocalDB');
SELECT * FROM point ORDER BY c, a COLLATE "C", b;
SELECT external_id, state, attempts, error FROM syncext.outbound_change WHERE target = 'LocalDB' ORDER BY 1;
SELECT sync_discard('LocalDB');
SELECT * FROM differs('point', 'point', $$replace(replace(a, '\', '\\'), '|', '\|') || '|' || b || '|' || to_char(c, 'YYYY-MM-DD')$$) WHERE tab_row IS NOT NULL;
-- text that is no id
CREATE TABLE texts (id text PRIMARY KEY, v text);
SELECT sync_attach('texts', 'LocalDB', 'item');
INSERT INTO texts VALUES ('', 'empty');
INSERT INTO texts VALUES (repeat('x', 1025), 'long');
INSERT INTO texts VALUES (repeat('ü', 512), 'longest'), ('a|b\c', 'alone it stays as it is');
SELECT octet_length(external_id), left(external_id, 6), fields FROM syncext.canonical WHERE entity = 'item' ORDER BY 1;
SELECT sync_detach('texts');
-- values that are equal, but not as text
CREATE TABLE numbers (id numeric PRIMARY KEY, v text);
SELECT sync_attach('numbers', 'LocalDB', 'item');
INSERT INTO numbers VALUES (1.0, 'one');
UPDATE numbers SET id = 1.00;
UPDATE numbers SET v = 'two';
SELECT id, resolution, deleted FROM log WHERE entity = 'item' AND id LIKE '1%';
SELECT sync_apply('{"entity": "item", "externalId": "1", "source": "CRM", "version": 1, "v": "crm"}')->>'resolution';
SELECT sync_deliver('LocalDB', 1);
SELECT error FROM syncext.outbound_change WHERE error IS NOT NULL;
TABLE numbers;
-- its end is nothing to the row
SELECT sync_apply('{"entity": "item", "externalId": "1", "source": "CRM", "version": 2, "deleted": true}')->>'resolution';
SELECT sync_redrive('LocalDB');
SELECT sync_deliver('LocalDB');
SELECT error FROM syncext.outbound_change WHERE error IS NOT NULL;
TABLE numbers;
SELECT sync_discard('LocalDB'), sync_detach('numbers');
DELETE FROM syncext.canonical WHERE external_id = '1';
-- keys of other types
CREATE TYPE pair AS (x int, y text);
CREATE DOMAIN code AS varchar(10) CHECK (value <> '');
DO $$
DECLARE
	k record;
BEGIN
	FOR k IN SELECT * FROM (VALUES ('bigint', '-9223372036854775808'), ('numeric(8,2)', '12.50'), ('uuid', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'),
		('timestamptz', '2024-07-01 12:00:00+02'), ('date', '0044-03-15 BC'), ('boolean', 'true'), ('bytea', '\x00ff'), ('char(5)', 'ab'), ('name', 'n'),
		('inet', '10.0.0.1/8'), ('interval', '1 day 2 hours'), ('int[]', '{1,2}'), ('pair', '(1,"a b")'), ('code', 'K1'), ('float8', '0.1'), ('int4range', '[1,5)')) v (type, value)
	LOOP
		EXECUTE format('CREATE TABLE keyed (id %s PRIMARY KEY, v int)', k.type);
		PERFORM sync_attach('keyed', 'LocalDB', 'doc');
		SET LOCAL timezone = 'Asia/Tokyo';
		SET LOCAL intervalstyle = 'iso_8601';
		SET LOCAL bytea_output = 'escape';
		EXECUTE format('INSERT INTO keyed VALUES (%L, 1)', k.value);
		SET LOCAL timezone = 'UTC';
		EXECUTE 'UPDATE keyed SET v = 2';
		EXECUTE 'DELETE FROM keyed';
		RAISE NOTICE '%: %', rpad(k.type, 12), (SELECT string_agg(id || ' ' || resolution, ', ' ORDER BY seq) FROM log WHERE entity = 'doc');
		PERFORM sync_detach('keyed');
		DROP TABLE keyed;
		DELETE FROM syncext.change_log_0 WHERE entity = 'doc';
		DELETE FROM syncext.canonical WHERE entity = 'doc';
	END LOOP;
END $$;

--
-- Identity, generated and defaulted columns; names that need quotes
--
CREATE TABLE "Odd ""Item" (
	"The ID" int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "a ""b" text DEFAULT 'dflt', twice text GENERATED ALWAYS AS ("a ""b" || "a ""b") STORED,
	n int GENERATED BY DEFAULT AS IDENTITY, gone int, "select" int DEFAULT 7 NOT NULL);
ALTER TABLE "Odd ""Item" DROP COLUMN gone;
SELECT sync_attach('"Odd ""Item"', 'LocalDB', 'item');
INSERT INTO "Odd ""Item" DEFAULT VALUES;
INSERT INTO "Odd ""Item" ("a ""b") VALUES ('x');
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'item' AND length(external_id) < 3 ORDER BY 1;
SELECT sync_apply('{"entity": "item", "externalId": "1", "source": "CRM", "version": 4, "a \"b": "crm"}')->>'resolution';
-- defaults fill in what the hub's record lacks, and the hub learns of it
SELECT sync_apply('{"entity": "item", "externalId": "99", "source": "CRM", "version": 1, "a \"b": "new"}')->>'resolution';
DELETE FROM syncext.canonical WHERE length(external_id) > 3 AND entity = 'item';
SELECT sync_deliver('LocalDB');
SELECT "The ID", "a ""b", twice, "select" FROM "Odd ""Item" ORDER BY 1;
SELECT fields FROM syncext.canonical WHERE entity = 'item' AND external_id = '99';
SELECT sync_deliver('LocalDB');
SELECT sync_detach('"Odd ""Item"');

--
-- A table that was not loaded, and records that the hub knows less of
--
CREATE TABLE late (id int PRIMARY KEY, a int, b int, c int);
INSERT INTO late VALUES (1001, 1, 2, NULL), (1002, 1, 2, 3);
SELECT sync_attach('late', 'LocalDB', 'order');
SELECT count(*) FROM new_log_rows();
UPDATE late SET a = 10 WHERE id = 1001;
SELECT sync_apply('{"entity": "order", "externalId": "1002", "source": "CRM", "version": 1, "a": 5}')->>'resolution';
UPDATE late SET b = 20 WHERE id = 1002;
SELECT * FROM new_log_rows();
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'order' ORDER BY 1;
SELECT sync_detach('late');

--
-- Partitions
--
CREATE TABLE part (region text NOT NULL, id int NOT NULL, v text, w int) PARTITION BY LIST (region);
CREATE TABLE part_n PARTITION OF part (PRIMARY KEY (id)) FOR VALUES IN ('north');
CREATE TABLE part_s (w int, gone text, v text, id int NOT NULL, region text NOT NULL, PRIMARY KEY (id));
ALTER TABLE part_s DROP COLUMN gone;
ALTER TABLE part ATTACH PARTITION part_s FOR VALUES IN ('south');
CREATE TABLE part_o PARTITION OF part DEFAULT PARTITION BY RANGE (id);
CREATE TABLE part_o1 PARTITION OF part_o FOR VALUES FROM (0) TO (1000);
SELECT sync_attach('part', 'LocalDB', 'line', '{id}');
ALTER TABLE part_o1 ADD PRIMARY KEY (id);
SELECT sync_attach('part', 'LocalDB', 'line', '{id}');
INSERT INTO part VALUES ('north', 1, 'one', 1), ('south', 2, 'two', 2), ('east', 3, 'three', 3);
INSERT INTO part_s (id, region, v) VALUES (4, 'south', 'direct');
SELECT * FROM new_log_rows();
-- a move is one update
UPDATE part SET region = 'south' WHERE id = 1;
UPDATE part SET region = 'west', v = v || '!', w = w WHERE id IN (1, 2);
SELECT * FROM new_log_rows();
-- a move to another key is two records; one that never arrives, or that a trigger takes away, is a delete
UPDATE part SET region = 'north', id = id + 10 WHERE id = 1;
CREATE FUNCTION swallow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$;
CREATE TRIGGER swallow BEFORE INSERT ON part_n FOR EACH ROW EXECUTE FUNCTION swallow();
UPDATE part SET region = 'north' WHERE id = 3;
DROP TRIGGER swallow ON part_n;
SELECT * FROM new_log_rows();
-- delivery moves rows, too
SELECT sync_apply('{"entity": "line", "externalId": "2", "source": "CRM", "version": 9, "region": "north", "w": 22}')->>'resolution';
SELECT sync_deliver('LocalDB');
SELECT tableoid::regclass, * FROM part ORDER BY id;
SELECT source, id, resolution FROM log WHERE id = '2' AND entity = 'line';
SELECT sync_deliver('LocalDB');
-- new partitions are captured
CREATE TABLE part_x PARTITION OF part (PRIMARY KEY (id)) FOR VALUES IN ('x');
INSERT INTO part VALUES ('x', 50, 'x', 0);
TRUNCATE part;
TRUNCATE part_n;
SELECT * FROM differs('part', 'line', 'id');
DELETE FROM part;
SELECT count(*) FROM syncext.canonical WHERE entity = 'line' AND NOT deleted;
SELECT sync_detach('part');
SELECT count(*) FROM pg_trigger WHERE tgname LIKE '\_syncext%';
-- plain inheritance: the parent's own rows
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child () INHERITS (parent);
SELECT sync_attach('parent', 'LocalDB', 'line');
INSERT INTO parent VALUES (500, 1);
INSERT INTO child VALUES (501, 1);
UPDATE parent SET v = 2;
SELECT external_id, fields->'v' AS v FROM syncext.canonical WHERE entity = 'line' AND NOT deleted;
SELECT sync_detach('parent');

--
-- Triggers of the table that write again; statements that touch rows twice
--
CREATE TABLE doc (id int PRIMARY KEY, title text, n int DEFAULT 0, slug text, next int REFERENCES doc ON DELETE CASCADE ON UPDATE CASCADE);
SELECT sync_attach('doc', 'LocalDB', 'doc');
SELECT count(*) >= 0 AS ok FROM new_log_rows();
-- a trigger that fires before ours, and one that fires after it
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() = 1 THEN
		UPDATE doc SET n = n + 1, title = upper(title) WHERE id = NEW.id OR id = NEW.id + 1;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER "A_first" AFTER INSERT OR UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION touch();
INSERT INTO doc (id, title) VALUES (1, 'one'), (2, 'two'), (3, 'three');
UPDATE doc SET title = title || '-' || id;
SELECT * FROM doc ORDER BY id;
SELECT * FROM differs('doc', 'doc', 'id');
DROP TRIGGER "A_first" ON doc;
CREATE TRIGGER z_last AFTER INSERT OR UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION touch();
UPDATE doc SET title = lower(title) || id;
INSERT INTO doc (id, title) VALUES (4, 'four');
SELECT * FROM doc ORDER BY id;
SELECT * FROM differs('doc', 'doc', 'id');
DROP TRIGGER z_last ON doc;
-- one that deletes what was just written, and one that writes what was just deleted
CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		INSERT INTO doc (id, title) VALUES (OLD.id, 'again');
	ELSIF NEW.title = 'unwanted' THEN
		DELETE FROM doc WHERE id = NEW.id;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER undo AFTER INSERT OR UPDATE OR DELETE ON doc FOR EACH ROW EXECUTE FUNCTION undo();
UPDATE doc SET title = 'unwanted' WHERE id = 4;
SELECT * FROM differs('doc', 'doc', 'id');
DROP TRIGGER undo ON doc;
CREATE TRIGGER "A_undo" AFTER INSERT OR UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION undo();
INSERT INTO doc (id, title) VALUES (5, 'unwanted'), (6, 'wanted');
SELECT * FROM differs('doc', 'doc', 'id');
DROP TRIGGER "A_undo" ON doc;
-- one that gives a key to another row that this one had
CREATE FUNCTION successor() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id <> OLD.id THEN
		INSERT INTO doc (id, title) VALUES (OLD.id, 'successor');
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER "A_successor" AFTER UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION successor();
UPDATE doc SET id = 60 WHERE id = 6;
SELECT * FROM differs('doc', 'doc', 'id');
SELECT id, title FROM doc WHERE id IN (6, 60) ORDER BY 1;
DROP TRIGGER "A_successor" ON doc;
-- a BEFORE trigger's work is part of the edit, and one that refuses leaves none
CREATE FUNCTION slug() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.slug := lower(NEW.title);
	RETURN CASE WHEN NEW.title = 'no' THEN NULL ELSE NEW END;
END $$;
CREATE TRIGGER slug BEFORE INSERT OR UPDATE ON doc FOR EACH ROW EXECUTE FUNCTION slug();
SELECT count(*) >= 0 AS ok FROM new_log_rows();
UPDATE doc SET title = 'Slug' WHERE id = 6;
UPDATE doc SET title = 'no' WHERE id = 6;
INSERT INTO doc (id, title) VALUES (7, 'no');
SELECT * FROM new_log_rows();
DROP TRIGGER slug ON doc;
-- cascades, keys that trade places, upserts, MERGE, one statement with several parts
INSERT INTO doc (id, title, next) VALUES (10, 'root', NULL), (11, 'leaf', 10), (12, 'leaf of leaf', 11);
SELECT count(*) >= 0 AS ok FROM new_log_rows();
UPDATE doc SET id = 20 WHERE id = 10;
SELECT * FROM new_log_rows();
DELETE FROM doc WHERE id = 20;
SELECT * FROM new_log_rows();
ALTER TABLE doc DROP CONSTRAINT doc_next_fkey, DROP CONSTRAINT doc_pkey;
CREATE UNIQUE INDEX doc_key ON doc (id);
UPDATE doc SET id = id - 1;
SELECT * FROM differs('doc', 'doc', 'id');
SELECT count(*) >= 0 AS ok FROM new_log_rows();
INSERT INTO doc (id, title) VALUES (0, 'upserted'), (100, 'inserted') ON CONFLICT (id) DO UPDATE SET title = excluded.title;
WITH gone AS (DELETE FROM doc WHERE id = 100 RETURNING *), moved AS (INSERT INTO doc SELECT 101, title FROM gone RETURNING id)
	UPDATE doc SET n = 99 WHERE id = 1;
MERGE INTO doc USING (VALUES (1, 'merged'), (101, NULL), (102, 'merged')) s (id, title) ON doc.id = s.id
	WHEN MATCHED AND s.title IS NULL THEN DELETE
	WHEN MATCHED THEN UPDATE SET title = s.title
	WHEN NOT MATCHED THEN INSERT (id, title) VALUES (s.id, s.title);
SELECT * FROM new_log_rows();
-- what is rolled back was never there
BEGIN;
SAVEPOINT a;
UPDATE doc SET title = 'lost';
ROLLBACK TO a;
UPDATE doc SET title = 'kept' WHERE id = 102;
COMMIT;
SELECT * FROM new_log_rows();
SELECT * FROM differs('doc', 'doc', 'id');
-- logical replication's rows count like any other's
SET session_replication_role = replica;
UPDATE doc SET title = 'replicated' WHERE id = 102;
RESET session_replication_role;
SELECT * FROM new_log_rows();
SELECT sync_detach('doc');

--
-- The table's own versions and times
--
CREATE TABLE versioned (id int PRIMARY KEY, v text, version bigint, edited timestamp);
SELECT sync_attach('versioned', 'LocalDB', 'order', version_column => 'version', updated_column => 'edited');
INSERT INTO versioned VALUES (1, 'a', 1, '2024-01-01 12:00');
UPDATE versioned SET v = 'b', version = 2, edited = '2024-01-02 12:00';
SELECT version, fields, updated_at AT TIME ZONE 'UTC' AS updated_at FROM syncext.canonical WHERE entity = 'order' AND external_id = '1';
SELECT sync_apply('{"entity": "order", "externalId": "1", "source": "CRM", "version": 7, "v": "crm", "updatedAt": "2024-03-01T00:00:00+01:00"}')->>'resolution';
-- an edit of version 3 is late; the truth is delivered, and counted on from
UPDATE versioned SET v = 'late', version = 3;
SELECT sync_deliver('LocalDB');
TABLE versioned;
-- so is an edit of what the hub has, though the record hasn't moved
UPDATE versioned SET v = 'late again', version = 6;
SELECT sync_deliver('LocalDB');
SELECT id, v, version FROM versioned;
UPDATE versioned SET v = 'next', version = version + 1;
DELETE FROM versioned;
SELECT id, resolution, rv, fields, deleted FROM log WHERE entity = 'order' AND id = '1';
INSERT INTO versioned VALUES (2, 'null counts by base', NULL, NULL);
INSERT INTO versioned VALUES (3, 'no version', -1, NULL);
SELECT id, resolution, fields, base FROM log WHERE entity = 'order' AND id = '2';
SELECT sync_detach('versioned');
-- a ladder by time
CREATE TABLE timed (id int PRIMARY KEY, v text, edited timestamptz);
SELECT sync_attach('timed', 'LocalDB', 'timed', updated_column => 'edited');
INSERT INTO timed VALUES (1, 'a', '2024-01-01 12:00+00');
SELECT sync_apply('{"entity": "timed", "externalId": "1", "source": "CRM", "v": "crm", "updatedAt": "2024-01-03T00:00:00Z"}')->>'resolution';
UPDATE timed SET v = 'too late', edited = '2024-01-02 00:00+00';
SELECT sync_deliver('LocalDB');
TABLE timed;
UPDATE timed SET v = 'in time', edited = '2024-01-04 00:00+00';
SELECT id, source, resolution, told FROM log WHERE entity = 'timed';
SELECT sync_detach('timed');

--
-- Statements of many rows: the hub's tables stay open from row to row
--
CREATE TABLE many (id int PRIMARY KEY, v text, w text);
SELECT sync_attach('many', 'LocalDB', 'item');
-- a trigger of the table that sends changes, and edits rows that the statement has yet to tell of
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 2 AND NEW.w IS NULL THEN
		PERFORM sync_apply('{"entity": "item", "externalId": "3", "source": "CRM", "version": 9, "v": "crm"}');
		UPDATE many SET w = 'meddled' WHERE id IN (1, 4);
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER a_meddle AFTER INSERT ON many FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT last_value AS was FROM syncext.change_seq \gset
INSERT INTO many SELECT i, 'v' || i FROM generate_series(1, 5) i;
SELECT id, source, resolution, fields FROM log WHERE seq > :was ORDER BY seq;
-- what has waited for a row in the middle is released with it
SELECT sync_add_reference('line', 'item', 'item');
SELECT sync_apply(jsonb_build_object('entity', 'line', 'externalId', 'of ' || id, 'source', 'CRM', 'version', 1, 'item', id))->>'resolution' FROM unnest('{11,12}'::text[]) id;
COPY many (id, v) FROM stdin;
10	ten
11	eleven
12	twelve
13	thirteen
\.
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'line' AND external_id LIKE 'of %' ORDER BY 1;
-- rules that the statement changes itself hold from the row that is told next
CREATE FUNCTION promote() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id = 11 THEN
		UPDATE syncext.entity SET ladder = '{overwrite}' WHERE name = 'item';
	ELSIF NEW.w = 'no good' THEN
		RAISE 'row % is no good', NEW.id;
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER b_promote AFTER UPDATE ON many FOR EACH ROW EXECUTE FUNCTION promote();
SELECT count(sync_apply(jsonb_build_object('entity', 'item', 'externalId', id, 'source', 'CRM', 'version', 1000, 'v', 'hub'))) FROM unnest('{10,11,12}'::text[]) id;
SELECT last_value AS was FROM syncext.change_seq \gset
UPDATE many SET v = v || '!' WHERE id BETWEEN 10 AND 12;
SELECT id, source, resolution, fields FROM log WHERE seq > :was ORDER BY seq;
UPDATE syncext.entity SET ladder = DEFAULT WHERE name = 'item';
-- triggers that were put on the hub's own tables fire with each row
CREATE FUNCTION watch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'golden record %, % of the table''s rows have been logged', NEW.external_id, (SELECT count(*) FROM log WHERE entity = 'item' AND fields->>'w' = 'watched');
	RETURN NULL;
END $$;
CREATE TRIGGER watch AFTER UPDATE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION watch();
UPDATE many SET w = 'watched' WHERE id BETWEEN 4 AND 6 OR id = 13;
DROP TRIGGER watch ON syncext.canonical;
-- what fails in the middle takes all of it along, and the next statement begins anew
DO $$
BEGIN
	UPDATE many SET w = CASE id WHEN 4 THEN 'no good' ELSE 'fine' END WHERE id <= 5;
EXCEPTION WHEN raise_exception THEN
	RAISE NOTICE '%', SQLERRM;
	UPDATE many SET w = 'after that' WHERE id <= 5;
END $$;
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'item' AND fields ? 'w' ORDER BY 1;
SELECT sync_detach('many');

DROP FUNCTION meddle, promote, watch CASCADE;
DROP TABLE many;
-- code of the table's own that runs after a row's capture finds it in the log, and may have it forgotten
CREATE TABLE erased (id int PRIMARY KEY, v text);
CREATE TABLE erased_child (id int PRIMARY KEY, erased int REFERENCES erased ON UPDATE CASCADE ON DELETE CASCADE);
SELECT sync_attach('erased', 'LocalDB', 'person');
CREATE FUNCTION erase() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '% %: % logged, % forgotten', TG_OP, NEW.id, (SELECT count(*) FROM sync_history('person', NEW.id::text)), sync_forget('person', NEW.id::text)->'changeLog';
	RETURN NULL;
END $$;
CREATE TRIGGER "~ erase" AFTER INSERT OR UPDATE ON erased FOR EACH ROW EXECUTE FUNCTION erase();
INSERT INTO erased VALUES (1, 'a'), (2, 'b'), (3, 'c');
UPDATE erased SET v = v || '!';
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'person' ORDER BY 1;
-- so does that of another table, which an action of a foreign key runs
DROP TRIGGER "~ erase" ON erased;
CREATE FUNCTION count_deletes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'child of %: % deletes have been logged', OLD.erased, (SELECT count(*) FROM log WHERE entity = 'person' AND deleted);
	RETURN NULL;
END $$;
CREATE TRIGGER count_deletes AFTER DELETE ON erased_child FOR EACH ROW EXECUTE FUNCTION count_deletes();
INSERT INTO erased_child SELECT id, id FROM erased;
DELETE FROM erased;
SELECT sync_detach('erased');

DROP TABLE erased_child, erased;
DROP FUNCTION erase, count_deletes;
DROP FUNCTION new_log_rows, differs, touch, undo, swallow, slug, successor CASCADE;
DROP VIEW log;
DROP TABLE seen, point, texts, numbers, "Odd ""Item", late, part, parent, child, doc, versioned, timed;
DROP TYPE pair;
DROP DOMAIN code;
DROP EXTENSION syncext;
