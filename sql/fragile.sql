-- What a column of type json takes and jsonb doesn't: the application's edit stands,
-- and the hub lacks the row until all of it can be sent.
CREATE EXTENSION syncext;
SET client_min_messages = warning;
SELECT sync_add_source('A', 1), sync_add_source('P', 2), sync_add_entity('doc'), sync_add_entity('polled');
CREATE TYPE pair AS (id int, j json);
CREATE TABLE doc (id int PRIMARY KEY, name text, j json, p pair);
SELECT sync_attach('doc', 'A', 'doc');
CREATE FUNCTION rec(id text) RETURNS jsonb LANGUAGE sql AS $$ SELECT fields FROM syncext.canonical c WHERE c.entity = 'doc' AND c.external_id = $1 AND NOT deleted $$;
CREATE VIEW failed AS SELECT relation, external_id, attempts, next_attempt IS NULL AS dead, error FROM syncext.capture_failure ORDER BY relation::text, external_id;

INSERT INTO doc VALUES (1, 'zero', '{"a": "\u0000"}'), (2, 'half', '["\ud800"]'), (3, 'large', '[1e400000]'), (4, 'deep', (repeat('[', 3000) || repeat(']', 3000))::json), (5, 'fine', '{"a": "\u00e4", "b": 1e10}');
SELECT id, name FROM doc ORDER BY 1;
SELECT external_id, error FROM failed;
SELECT rec('1'), rec('5');
UPDATE doc SET j = '"\u0000"', name = 'not fine' WHERE id = 5;
INSERT INTO doc VALUES (6, 'composite', NULL, ROW(1, '"\u0000"')), (7, 'composite', NULL, ROW(1, '"ok"'));
SELECT external_id, error FROM failed WHERE external_id IN ('5', '6');
SELECT rec('5'), rec('7');
SELECT severity, object, problem ~ '^5 captured rows were given up' AS told FROM sync_check();
-- what sync_redrive tries again is sent as it is now, or given up as before
SELECT sync_redrive('A', 'doc', '6');
SELECT external_id, attempts, dead FROM failed WHERE external_id = '6';
ALTER TABLE doc DISABLE TRIGGER _syncext_capture;
UPDATE doc SET p = NULL WHERE id = 6;
ALTER TABLE doc ENABLE ALWAYS TRIGGER _syncext_capture;
SELECT sync_redrive('A', 'doc', '6');
SELECT rec('6'), (SELECT count(*) FROM failed WHERE external_id = '6') AS failed;
-- whatever is edited next
UPDATE doc SET name = 'again' WHERE id = 5;
SELECT rec('5');
UPDATE doc SET j = '"mended"' WHERE id = 5;
SELECT rec('5');
UPDATE doc SET j = '"mended"' WHERE id = 1;
SELECT rec('1');
DELETE FROM doc WHERE id = 2;
ALTER TABLE doc DISABLE TRIGGER _syncext_capture;
UPDATE doc SET j = NULL WHERE id = 3;
ALTER TABLE doc ENABLE ALWAYS TRIGGER _syncext_capture;
SET client_min_messages = error;
CALL sync_load('doc') \gset
SET client_min_messages = warning;
SELECT :'result'::jsonb->'failed' AS failed, rec('3');
SELECT external_id FROM failed;
-- an error that is none of a value's stays one
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$;
CREATE TRIGGER refuse BEFORE INSERT ON doc FOR EACH ROW EXECUTE FUNCTION refuse();
INSERT INTO doc VALUES (8, 'x', '"\u0000"');

-- polled
CREATE TABLE polled (id int PRIMARY KEY, name text, j json);
INSERT INTO polled VALUES (1, 'bad', '"\u0000"'), (2, 'good', '1');
SELECT sync_attach('polled', 'P', 'polled', capture => 'poll');
CALL sync_poll('polled') \gset
SELECT :'result'::jsonb->'failed' AS failed, (SELECT external_id FROM syncext.canonical WHERE entity = 'polled');
SELECT external_id, error FROM failed WHERE relation = 'polled'::regclass;

DROP VIEW failed;
DROP FUNCTION rec;
DROP TABLE doc, polled;
DROP TYPE pair;
DROP FUNCTION refuse;
DROP EXTENSION syncext;
