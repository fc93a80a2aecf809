-- What is delivered to tables with foreign keys: what lives first, parents before
-- children, then deletes; and what a foreign key does to other rows meanwhile is no
-- edit where the record has moved on.
CREATE EXTENSION syncext;
SELECT sync_add_source('A', 2), sync_add_source('B', 1);
SELECT sync_add_entity('customer'), sync_add_entity('order');
CREATE TABLE ac (id int PRIMARY KEY, name text);
CREATE TABLE ao (id int PRIMARY KEY, customer int, item text);
CREATE TABLE bc (id int PRIMARY KEY, name text);
CREATE TABLE bo (id int PRIMARY KEY, customer int REFERENCES bc ON DELETE CASCADE, item text);
SELECT sync_attach('ac', 'A', 'customer'), sync_attach('ao', 'A', 'order'), sync_attach('bc', 'B', 'customer'), sync_attach('bo', 'B', 'order');
CREATE VIEW rows_of AS
	SELECT (SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM ac t) AS ac, (SELECT string_agg(id || ':' || coalesce(customer::text, 'null') || ' ' || item, ', ' ORDER BY id) FROM ao t) AS ao,
	       (SELECT string_agg(id || ' ' || name, ', ' ORDER BY id) FROM bc t) AS bc, (SELECT string_agg(id || ':' || coalesce(customer::text, 'null') || ' ' || item, ', ' ORDER BY id) FROM bo t) AS bo,
	       (SELECT count(*) FROM syncext.pending) AS pending;
-- small batches on purpose, until nothing comes any more
CREATE PROCEDURE settle(size int DEFAULT 500) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..12 LOOP
		UPDATE syncext.pending SET next_attempt = now() WHERE next_attempt IS NOT NULL;
		PERFORM sync_deliver('B', size);
		COMMIT;
		PERFORM sync_deliver('A', size);
		COMMIT;
	END LOOP;
END $$;
SET client_min_messages = warning;

-- a child moves away, and its parent is deleted: in one batch
INSERT INTO ac VALUES (1, 'Ann'), (2, 'dup');
INSERT INTO ao VALUES (10, 1, 'x'), (20, 2, 'y');
CALL settle();
SELECT * FROM rows_of;
UPDATE ao SET customer = 1 WHERE customer = 2;
DELETE FROM ac WHERE id = 2;
SELECT sync_deliver('B'), sync_deliver('A');
SELECT * FROM rows_of;
-- who pulls has the same order
BEGIN;
SELECT sync_resync('A');
SELECT entity, external_id, deleted FROM sync_pull('A');
ROLLBACK;

-- and where the delete comes in an earlier batch than the move: the cascade is no edit
INSERT INTO ac VALUES (3, 'dup');
INSERT INTO ao VALUES (30, 3, 'z'), (31, 3, 'zz');
CALL settle();
SELECT * FROM rows_of;
DELETE FROM ac WHERE id = 3;
UPDATE ao SET customer = 1 WHERE customer = 3;
SELECT sync_deliver('B', 1);
SELECT * FROM rows_of;
SELECT external_id, source, resolution, told, detail->'cascade' AS cascade, detail->'lost' AS lost FROM syncext.change_log WHERE external_id IN ('30', '31') ORDER BY seq;
CALL settle(1);
SELECT * FROM rows_of;
-- a record that hasn't moved on goes, as before
INSERT INTO ac VALUES (4, 'alone');
INSERT INTO ao VALUES (40, 4, 'last');
CALL settle();
SELECT * FROM rows_of;
DELETE FROM ac WHERE id = 4;
CALL settle(1);
SELECT * FROM rows_of;
-- nor did it move on by what the table itself did
INSERT INTO ac VALUES (5, 'five');
INSERT INTO ao VALUES (50, 5, 'mine');
CALL settle();
SELECT * FROM rows_of;
UPDATE bo SET item = 'ours' WHERE id = 50;
DELETE FROM ac WHERE id = 5;
CALL settle(1);
SELECT * FROM rows_of;

-- ON DELETE SET NULL
ALTER TABLE bo DROP CONSTRAINT bo_customer_fkey, ADD FOREIGN KEY (customer) REFERENCES bc ON DELETE SET NULL;
INSERT INTO ac VALUES (6, 'six'), (7, 'seven');
INSERT INTO ao VALUES (60, 6, 'a'), (70, 7, 'b');
CALL settle();
SELECT * FROM rows_of;
DELETE FROM ac WHERE id IN (6, 7);
UPDATE ao SET customer = 1 WHERE id = 60;
SELECT sync_deliver('B', 1), sync_deliver('B', 1);
SELECT * FROM rows_of;
CALL settle(1);
SELECT * FROM rows_of;

-- ON UPDATE CASCADE, of a key that isn't the record's
CREATE TABLE ax (id int PRIMARY KEY, code text UNIQUE);
CREATE TABLE ay (id int PRIMARY KEY, code text, n int);
CREATE TABLE bx (id int PRIMARY KEY, code text UNIQUE);
CREATE TABLE byy (id int PRIMARY KEY, code text REFERENCES bx (code) ON UPDATE CASCADE, n int);
SELECT sync_add_entity('x'), sync_add_entity('y');
SELECT sync_attach('ax', 'A', 'x'), sync_attach('ay', 'A', 'y'), sync_attach('bx', 'B', 'x'), sync_attach('byy', 'B', 'y');
INSERT INTO ax VALUES (1, 'red'), (2, 'blue');
INSERT INTO ay VALUES (10, 'red', 1), (11, 'red', 1);
CALL settle();
UPDATE ax SET code = 'pink' WHERE id = 1;
UPDATE ay SET code = 'blue' WHERE id = 10;
SELECT sync_deliver('B', 1);
TABLE byy ORDER BY id;
CALL settle(1);
SELECT (SELECT string_agg(id || code, ' ' ORDER BY id) FROM ay t) AS ay, (SELECT string_agg(id || code, ' ' ORDER BY id) FROM byy t) AS byy;

-- a parent that the table itself has made and lost does not come: the child's failures count
ALTER TABLE bo DROP CONSTRAINT bo_customer_fkey, ADD FOREIGN KEY (customer) REFERENCES bc;
INSERT INTO bc VALUES (100, 'own');
UPDATE bc SET name = 'own too' WHERE id = 100;
SET syncext.inbound = 'on';
DELETE FROM bc WHERE id = 100;
RESET syncext.inbound;
INSERT INTO ao VALUES (1000, 100, 'orphan');
SET client_min_messages = error;
CALL settle();
SET client_min_messages = warning;
SELECT source, entity, external_id, attempts, substr(error, 1, 5) AS error FROM syncext.dead_letter;
-- what waits for long without a failure is told, too
BEGIN;
UPDATE syncext.pending SET attempts = 0, next_attempt = now(), dead_since = NULL, error = 'it is busy', since = now() - interval '1 hour';
SELECT severity, object, regexp_replace(problem, 'since .*: order', 'since <time>: order') AS problem FROM sync_check() WHERE object = 'source B';
ROLLBACK;
CALL sync_load('bc', 'hub') \gset
SELECT sync_redrive('B');
CALL settle();
SELECT bo, pending FROM rows_of;
DELETE FROM ao WHERE id = 1000;
CALL settle();
DELETE FROM bc WHERE id = 100;
CALL settle();

-- with the references known to the hub
SELECT sync_add_reference('order', 'customer', 'customer', 'cascade');
ALTER TABLE bo DROP CONSTRAINT bo_customer_fkey, ADD FOREIGN KEY (customer) REFERENCES bc ON DELETE CASCADE;
INSERT INTO ac VALUES (8, 'eight'), (9, 'nine');
INSERT INTO ao VALUES (80, 8, 'a'), (90, 9, 'b');
CALL settle();
SELECT * FROM rows_of;
UPDATE ao SET customer = 9 WHERE id = 80;
DELETE FROM ac WHERE id = 8;
CALL settle(1);
SELECT * FROM rows_of;
DELETE FROM ac WHERE id = 9;
CALL settle(1);
SELECT * FROM rows_of;

-- a trigger that deletes other rows is no cascade: that is an edit as before
ALTER TABLE bo DROP CONSTRAINT bo_customer_fkey;
DELETE FROM syncext.reference;
CREATE FUNCTION take_along() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.bo WHERE customer = OLD.id; RETURN NULL; END $$;
CREATE TRIGGER take_along AFTER DELETE ON bc FOR EACH ROW EXECUTE FUNCTION take_along();
DELETE FROM ac WHERE id = 1;
CALL settle(1);
SELECT * FROM rows_of;

-- a child whose key refers to its parent has the parent's id whole, whatever is in it: it is tried once
SELECT sync_add_entity('part'), sync_add_entity('detail');
CREATE TABLE ap (id text PRIMARY KEY);
CREATE TABLE ad (id text PRIMARY KEY, note text);
CREATE TABLE bp (id text PRIMARY KEY);
CREATE TABLE bd (id text PRIMARY KEY REFERENCES bp, note text);
SELECT sync_attach('ap', 'A', 'part'), sync_attach('ad', 'A', 'detail'), sync_attach('bp', 'B', 'part'), sync_attach('bd', 'B', 'detail');
CREATE SEQUENCE tried;
CREATE FUNCTION count_tries() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('public.tried'); RETURN NEW; END $$;
CREATE TRIGGER count_tries BEFORE INSERT ON bd FOR EACH ROW EXECUTE FUNCTION count_tries();
INSERT INTO ad VALUES ('a|\b', 'n');
INSERT INTO ap VALUES ('a|\b');
SELECT sync_deliver('B');
SELECT id, note, last_value AS tries FROM bd, tried;

DROP TABLE ac, ao, bc, bo, ax, ay, bx, byy, ap, ad, bp, bd CASCADE;
DROP FUNCTION count_tries;
DROP SEQUENCE tried;
DROP FUNCTION take_along;
DROP PROCEDURE settle;
DROP EXTENSION syncext CASCADE;
