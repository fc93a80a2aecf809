-- A child that arrives after its parent's delete: with cascade it goes, with
-- restrict the parent comes back whole, with ignore it is told.  Whoever deleted
-- what, all tables end alike.
CREATE EXTENSION syncext;
SELECT sync_add_source('A', 1), sync_add_source('B', 2), sync_add_source('C', 3);
SELECT sync_add_entity('customer'), sync_add_entity('order'), sync_add_entity('line');
SELECT sync_add_reference('order', 'customer', 'customer', 'cascade');
SELECT sync_add_reference('line', 'order', 'order', 'cascade');

CREATE FUNCTION told(change jsonb) RETURNS TABLE (resolution text, row_version text)
LANGUAGE sql AS $$ SELECT a->>'resolution', a->>'rowVersion' FROM sync_apply(change) a $$;
CREATE FUNCTION look(id text) RETURNS TABLE (source text, resolution text, told text, row_version bigint)
LANGUAGE sql AS $$ SELECT source, resolution, told, row_version FROM syncext.change_log WHERE external_id = id ORDER BY seq $$;

-- in the hub: the child's source hears of it, and all that refers to the child goes, too
SELECT * FROM told('{"entity": "customer", "externalId": "1", "source": "A", "version": 1, "name": "Ann", "city": "Ulm"}');
SELECT * FROM told('{"entity": "customer", "externalId": "1", "source": "B", "version": 2, "deleted": true}');
SELECT * FROM told('{"entity": "line", "externalId": "100", "source": "A", "version": 1, "order": "10"}');
SELECT * FROM told('{"entity": "order", "externalId": "10", "source": "A", "version": 1, "customer": "1"}');
SELECT entity, external_id, deleted, last_source FROM syncext.canonical ORDER BY 1, 2;
SELECT * FROM look('10');
SELECT * FROM look('100');
-- explaining says what is answered
SELECT e->>'resolution' AS resolution FROM sync_explain('{"entity": "order", "externalId": "11", "source": "A", "version": 1, "customer": "1"}') e;
-- an edit that refers to the deleted one, and one that brings the child back
SELECT * FROM told('{"entity": "customer", "externalId": "2", "source": "A", "version": 1, "name": "Bob"}');
SELECT * FROM told('{"entity": "order", "externalId": "12", "source": "A", "version": 1, "customer": "2"}');
SELECT * FROM told('{"entity": "order", "externalId": "12", "source": "A", "version": 2, "customer": "1"}');
SELECT * FROM told('{"entity": "order", "externalId": "12", "source": "A", "version": 9, "total": 5}');
SELECT deleted, fields FROM syncext.canonical WHERE external_id = '12';
SELECT * FROM look('12');
-- one that refers elsewhere stays
SELECT * FROM told('{"entity": "order", "externalId": "12", "source": "A", "version": 11, "customer": "2"}');
SELECT deleted, fields FROM syncext.canonical WHERE external_id = '12';

-- restrict: the parent is back, with all its fields, and everybody hears of it
UPDATE syncext.reference SET on_delete = 'restrict' WHERE entity = 'order';
SELECT * FROM told('{"entity": "order", "externalId": "13", "source": "A", "version": 1, "customer": "1"}');
SELECT entity, external_id, deleted, last_source, row_version, fields FROM syncext.canonical WHERE external_id IN ('1', '13') ORDER BY 1, 2;
SELECT * FROM look('1');
-- once: it is there for the next one
SELECT * FROM told('{"entity": "order", "externalId": "14", "source": "A", "version": 1, "customer": "1"}');
SELECT count(*) FROM look('1');
-- but not for one that waits, or is refused
SELECT * FROM told('{"entity": "customer", "externalId": "3", "source": "A", "version": 1, "deleted": true}');
SELECT * FROM told('{"entity": "order", "externalId": "13", "source": "B", "version": 0, "customer": "3"}');
SELECT deleted FROM syncext.canonical WHERE external_id = '3';
-- in a chain that is restricted all the way up
UPDATE syncext.reference SET on_delete = 'restrict';
SELECT * FROM told('{"entity": "customer", "externalId": "5", "source": "A", "version": 1, "name": "Eve"}');
SELECT * FROM told('{"entity": "order", "externalId": "50", "source": "A", "version": 1, "customer": "5"}');
SELECT * FROM told('{"entity": "order", "externalId": "50", "source": "B", "version": 2, "deleted": true}');
SELECT * FROM told('{"entity": "customer", "externalId": "5", "source": "B", "version": 2, "deleted": true}');
SELECT * FROM told('{"entity": "line", "externalId": "500", "source": "A", "version": 1, "order": "50"}');
SELECT entity, external_id, deleted, fields FROM syncext.canonical WHERE external_id IN ('5', '50', '500') ORDER BY 1, 2;

-- between tables with foreign keys
DELETE FROM syncext.reference;
SELECT sync_add_entity('cust'), sync_add_entity('ord');
SELECT sync_add_reference('ord', 'customer', 'cust', 'cascade');
CREATE TABLE ac (id int PRIMARY KEY, name text, city text);
CREATE TABLE ao (id int PRIMARY KEY, customer int REFERENCES ac, item text);
CREATE TABLE bc (id int PRIMARY KEY, name text, city text);
CREATE TABLE bo (id int PRIMARY KEY, customer int REFERENCES bc, item text);
SELECT sync_attach('ac', 'A', 'cust'), sync_attach('ao', 'A', 'ord'), sync_attach('bc', 'B', 'cust'), sync_attach('bo', 'B', 'ord');
CREATE FUNCTION settle() RETURNS TABLE (ac text, ao text, bc text, bo text, problems bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1..6 LOOP
		UPDATE syncext.pending SET next_attempt = now() WHERE next_attempt IS NOT NULL;
		PERFORM sync_deliver('A'), sync_deliver('B');
	END LOOP;
	RETURN QUERY SELECT (SELECT string_agg(id || name, ' ' ORDER BY id) FROM ac t), (SELECT string_agg(id || ':' || customer, ' ' ORDER BY id) FROM ao t),
		(SELECT string_agg(id || name, ' ' ORDER BY id) FROM bc t), (SELECT string_agg(id || ':' || customer, ' ' ORDER BY id) FROM bo t),
		(SELECT count(*) FROM syncext.pending);
END $$;
INSERT INTO ac VALUES (1, 'Ann', 'Ulm'), (2, 'Bob', 'Bonn');
SELECT * FROM settle();
DELETE FROM bc WHERE id = 1;
INSERT INTO ao VALUES (10, 1, 'late'), (20, 2, 'in time');
SELECT * FROM settle();
-- with restrict both are there
UPDATE syncext.reference SET on_delete = 'restrict';
DELETE FROM bo WHERE customer = 2;
DELETE FROM bc WHERE id = 2;
INSERT INTO ao VALUES (21, 2, 'late');
SELECT * FROM settle();
SELECT * FROM bc;
-- with ignore the order can't be placed, and sync_check tells
UPDATE syncext.reference SET on_delete = 'ignore';
DELETE FROM bo WHERE customer = 2;
DELETE FROM bc WHERE id = 2;
INSERT INTO ao VALUES (22, 2, 'late');
SET client_min_messages = warning;
SELECT * FROM settle();
RESET client_min_messages;
SELECT source, entity, external_id, error FROM syncext.dead_letter ORDER BY 1;
SELECT severity, object, problem LIKE '%foreign key%' AS why FROM sync_check() WHERE severity = 'error' ORDER BY 2;

-- What was edited while the row waited for its parent is an edit still: a reference that was taken back is null.
SELECT sync_add_entity('par'), sync_add_entity('kid'), sync_add_reference('kid', 'par', 'par', 'cascade');
CREATE TABLE co (id text PRIMARY KEY, par text, note text);
SELECT sync_attach('co', 'C', 'kid');
INSERT INTO co VALUES ('k1', 'p1', 'early');
UPDATE co SET par = NULL WHERE id = 'k1';
SELECT change - '{entity,source}'::text[] AS change FROM syncext.waiting WHERE external_id = 'k1' ORDER BY id;
SELECT resolution FROM told('{"entity": "par", "externalId": "p1", "source": "A", "version": 1, "name": "Zoe"}');
SELECT fields FROM syncext.canonical WHERE external_id = 'k1';
TABLE co;
DROP TABLE co;

DROP TABLE ao, ac, bo, bc CASCADE;
DROP FUNCTION told, look, settle;
DROP EXTENSION syncext CASCADE;
