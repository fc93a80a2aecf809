-- What the edit of a row counts as: only a row that was inserted, or that the hub has
-- never heard of, is a birth; an edit is made on what its own table said last.
CREATE EXTENSION syncext;
SET client_min_messages = warning;
SELECT sync_add_source('A', 3), sync_add_source('B', 2), sync_add_source('API', 1), sync_add_entity('item'), sync_add_entity('member'), sync_add_entity('old');
CREATE FUNCTION record(entity text, id text) RETURNS text LANGUAGE sql AS
	$$ SELECT format('%s %s%s %s', c.row_version, c.last_source, CASE WHEN c.deleted THEN ' deleted' END, c.fields) FROM syncext.canonical c WHERE c.entity = $1 AND c.external_id = $2 $$;
CREATE FUNCTION api(entity text, id text, base bigint, fields jsonb) RETURNS text LANGUAGE sql AS
	$$ SELECT sync_apply(jsonb_build_object('entity', entity, 'externalId', id, 'source', 'API', 'base', base) || CASE WHEN fields IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', fields) END)->>'resolution' $$;

CREATE TABLE item (id text PRIMARY KEY, a text, b text);
SELECT sync_attach('item', 'A', 'item');

-- an update of a row to which nothing was delivered yet doesn't undo a better ranked delete
INSERT INTO item VALUES ('gone', 'x');
SELECT api('item', 'gone', 1, NULL);
UPDATE item SET a = 'y' WHERE id = 'gone';
SELECT record('item', 'gone');
-- nor where nothing of the record is the table's own any more
INSERT INTO item VALUES ('all gone', 'x');
SELECT api('item', 'all gone', 1, '{"a": "z"}');
SELECT api('item', 'all gone', 2, NULL);
UPDATE item SET a = 'y' WHERE id = 'all gone';
SELECT record('item', 'all gone');
SELECT sync_deliver('A');
SELECT * FROM item;
-- nor, unseen, what others have set
INSERT INTO item VALUES ('set', 'x');
SELECT api('item', 'set', 1, '{"a": "z"}');
UPDATE item SET b = 'q' WHERE id = 'set';
UPDATE item SET a = 'y' WHERE id = 'set';
SELECT record('item', 'set');
-- but its nulls are a word
UPDATE item SET b = NULL WHERE id = 'set';
SELECT record('item', 'set');
-- an insert is a birth, whatever was there before
SELECT sync_deliver('A');
SELECT api('item', 'set', 5, '{"extra": 1}');
SELECT sync_deliver('A');
DELETE FROM item WHERE id = 'set';
INSERT INTO item VALUES ('set', 'new');
SELECT record('item', 'set');
SELECT api('item', 'set', 8, NULL);
DELETE FROM item WHERE id = 'set';
INSERT INTO item VALUES ('set', 'newer');
SELECT record('item', 'set');
-- a row that goes and comes back in one transaction has been edited: what the table has no column for stays
SELECT api('item', 'set', 10, '{"b": "here", "extra": 2}');
SELECT sync_deliver('A');
BEGIN;
DELETE FROM item WHERE id = 'set';
SAVEPOINT s;
INSERT INTO item VALUES ('set', 'replaced', NULL);
COMMIT;
SELECT record('item', 'set');

-- a row that was there before the table was attached: its first word says all of it
CREATE TABLE old (id text PRIMARY KEY, a text, b text, c text);
INSERT INTO old VALUES ('1', 'a', 'b', NULL), ('2', 'a', 'b', NULL), ('3', 'a', 'b', NULL);
SELECT sync_attach('old', 'A', 'old');
SELECT api('old', '1', 0, '{"a": "api", "c": "api"}'), api('old', '2', 0, '{"a": "api"}'), api('old', '2', 1, NULL);
UPDATE old SET a = a || '!', b = b;
SELECT record('old', '1'), record('old', '2'), record('old', '3');
SELECT loaded FROM syncext.binding WHERE relation = 'old'::regclass;
CALL sync_load('old') \gset
SELECT loaded FROM syncext.binding WHERE relation = 'old'::regclass;
SELECT * FROM old ORDER BY 1;

-- a table that is nothing but its key
CREATE TABLE member (u int, r int, PRIMARY KEY (u, r));
CREATE TABLE member_b (u int, r int, PRIMARY KEY (u, r));
CREATE TABLE member_p (u int, r int, PRIMARY KEY (u, r));
SELECT sync_add_source('P');
SELECT sync_attach('member', 'A', 'member'), sync_attach('member_b', 'B', 'member'), sync_attach('member_p', 'P', 'member', capture => 'poll');
INSERT INTO member VALUES (1, 2);
SELECT record('member', '1|2');
SELECT sync_deliver('B'), sync_deliver('P');
UPDATE member_b SET r = 3;
SELECT sync_deliver('A'), sync_deliver('P');
SELECT * FROM member UNION ALL SELECT * FROM member_p;
INSERT INTO member_p VALUES (4, 4);
CALL sync_poll('member_p') \gset
SELECT record('member', '4|4');
DELETE FROM member_p WHERE u = 1;
CALL sync_poll('member_p', true) \gset
SELECT sync_deliver('A'), sync_deliver('B');
SELECT * FROM member UNION ALL SELECT * FROM member_b;
SELECT sync_detach('member');
INSERT INTO member VALUES (8, 8);
SELECT sync_attach('member', 'A', 'member');
CALL sync_load('member') \gset
SELECT sync_deliver('B');
SELECT * FROM member_b;

DROP FUNCTION record, api;
DROP TABLE item, old, member, member_b, member_p;
DROP EXTENSION syncext;
