-- A session's first edits, which load the library when their statement has come to its end:
-- they are logged together, like those of later statements, however the statement is run.
CREATE EXTENSION syncext;
SELECT sync_add_source('LocalDB', 1), sync_add_entity('item');
CREATE TABLE kind (id int PRIMARY KEY);
INSERT INTO kind VALUES (1);
CREATE TABLE item (id int PRIMARY KEY, v text, kind int REFERENCES kind);
SELECT sync_attach('item', 'LocalDB', 'item');
INSERT INTO item SELECT id, 'v' FROM generate_series(1, 5) id;
-- of what was logged since the last time this was asked: how many rows, by how many commands
CREATE TABLE seen (seq bigint);
INSERT INTO seen VALUES (0);
CREATE FUNCTION logged(OUT rows int, OUT commands int) LANGUAGE plpgsql AS $$
BEGIN
	SELECT count(*), count(DISTINCT cmin::text) INTO rows, commands FROM syncext.change_log_0 WHERE seq > (SELECT s.seq FROM seen s);
	UPDATE seen SET seq = (SELECT max(l.seq) FROM syncext.change_log_0 l);
END $$;
CREATE FUNCTION touch(text) RETURNS bigint LANGUAGE sql VOLATILE AS $$
	WITH touched AS (UPDATE item SET v = v || $1 RETURNING id) SELECT count(*) FROM touched $$;
SELECT * FROM logged();

\c -
UPDATE item SET v = v || ' 1';
SELECT * FROM logged();
\c -
BEGIN;
UPDATE item SET v = v || ' 2';
SELECT * FROM logged();
ROLLBACK;
SELECT * FROM logged();
\c -
WITH touched AS (UPDATE item SET v = v || ' 3' RETURNING id) SELECT count(*) FROM touched;
SELECT * FROM logged();
\c -
SELECT touch(' 4');
SELECT * FROM logged();
\c -
DO $$ BEGIN UPDATE item SET v = v || ' 5'; END $$;
SELECT * FROM logged();
\c -
PREPARE remove(int) AS DELETE FROM item WHERE id > $1;
EXECUTE remove(3);
SELECT * FROM logged();
\c -
BEGIN;
DECLARE c CURSOR FOR SELECT touch(' 6');
FETCH c;
COMMIT;
SELECT * FROM logged();
-- COPY has no such end: its rows go one by one
\c -
COPY item FROM stdin;
4	copied	1
5	copied	1
\.
SELECT rows FROM logged();
-- what fails in the middle takes its part along, and what follows begins anew
CREATE FUNCTION spoil() RETURNS void LANGUAGE sql VOLATILE AS $$
	UPDATE item SET v = v || ' no good', kind = CASE id WHEN 3 THEN 9 ELSE 1 END $$;
\c -
DO $$
BEGIN
	PERFORM spoil();
EXCEPTION WHEN foreign_key_violation THEN
	RAISE NOTICE '%', SQLERRM;
	PERFORM touch(' 7');
END $$;
SELECT * FROM logged();
-- the hub has what the table has
SELECT id, fields->>'v' = v AS same, v FROM item JOIN syncext.canonical ON external_id = id::text ORDER BY 1;
SELECT sync_detach('item');
DROP TABLE item, kind, seen;
DROP FUNCTION logged, touch, spoil;
DROP EXTENSION syncext;
