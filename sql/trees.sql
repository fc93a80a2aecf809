-- Trees and chains: rows that refer to one another with keys against their order,
-- unique values that rows hand on, and round in circles.  Nothing is wrong with
-- them, so nothing may be given up, and a delivery has to place them all.
CREATE EXTENSION syncext;
SELECT sync_add_source('A', 1), sync_add_source('B', 2);
SELECT sync_add_entity('node'), sync_add_entity('place'), sync_add_entity('seat'), sync_add_entity('pair'), sync_add_entity('note');
CREATE TABLE an (id int PRIMARY KEY, up int, name text);
CREATE TABLE bn (id int PRIMARY KEY, up int REFERENCES bn, name text);
CREATE TABLE ap (id int PRIMARY KEY, pos int);
CREATE TABLE bp (id int PRIMARY KEY, pos int UNIQUE);
SELECT sync_attach('an', 'A', 'node'), sync_attach('bn', 'B', 'node'), sync_attach('ap', 'A', 'place'), sync_attach('bp', 'B', 'place');
CREATE FUNCTION different() RETURNS text LANGUAGE sql AS $$
	SELECT format('%s nodes, %s places, %s pending', (SELECT count(*) FROM (TABLE an EXCEPT TABLE bn) d) + (SELECT count(*) FROM (TABLE bn EXCEPT TABLE an) d),
		(SELECT count(*) FROM (TABLE ap EXCEPT TABLE bp) d) + (SELECT count(*) FROM (TABLE bp EXCEPT TABLE ap) d), (SELECT count(*) FROM syncext.pending))
$$;

-- a tree with keys against it, 40 levels, and wide ones
INSERT INTO an SELECT i, nullif(i + 1, 41), 'level' FROM generate_series(1, 40) i;
INSERT INTO an SELECT i, CASE WHEN i < 400 THEN i + (i * 7919) % (400 - i) + 1 END, 'any' FROM generate_series(101, 400) i;
SELECT sync_deliver('B');
SELECT different();
-- one record at a time: a child whose parent is on its way has not failed
INSERT INTO an SELECT 500 + i, nullif(501 + i, 513), 'later' FROM generate_series(1, 12) i;
SET client_min_messages = warning;
DO $$
BEGIN
	FOR i IN 1..60 LOOP
		UPDATE syncext.pending SET next_attempt = next_attempt - interval '1 s';
		PERFORM sync_deliver('B', 2);
		IF EXISTS (SELECT FROM syncext.pending WHERE attempts > 0) THEN
			RAISE WARNING 'a failure counts: %', (SELECT min(error) FROM syncext.pending);
		END IF;
	END LOOP;
END $$;
RESET client_min_messages;
SELECT different();
-- but one whose parent is nowhere has, and so has one whose parent was given up
INSERT INTO an VALUES (600, 601, 'orphan');
SELECT sync_deliver('B');
SELECT external_id, attempts, error FROM syncext.pending;
UPDATE syncext.pending SET next_attempt = now();
DELETE FROM an WHERE id = 600;
SELECT sync_deliver('B');
-- it is deleted from the leaves up
DELETE FROM an;
SELECT sync_deliver('B');
SELECT different();

-- values handed on, up and down, in the order of the keys and in none
INSERT INTO ap SELECT i, i FROM generate_series(1, 400) i;
SELECT sync_deliver('B');
UPDATE ap SET pos = pos + 1;
SELECT sync_deliver('B');
SELECT different();
UPDATE ap SET pos = pos - 1;
SELECT sync_deliver('B');
SELECT different();
UPDATE ap SET pos = 1000 + (id * 173) % 401;
SELECT sync_deliver('B');
SELECT different();
UPDATE ap SET pos = pos + 1;
SELECT sync_deliver('B');
SELECT different();
-- one row is deleted, another gets its value
DELETE FROM ap WHERE id = 400;
UPDATE ap SET pos = 1001 + (400 * 173) % 401 WHERE id = 1;
SELECT sync_deliver('B');
SELECT different();

-- in circles: where nulls are allowed
UPDATE ap SET pos = CASE id WHEN 10 THEN (SELECT pos FROM ap WHERE id = 11) ELSE (SELECT pos FROM ap WHERE id = 10) END WHERE id IN (10, 11);
UPDATE ap a SET pos = (SELECT pos FROM ap b WHERE b.id = 20 + (a.id - 20 + 1) % 7) WHERE id BETWEEN 20 AND 26;
SELECT sync_deliver('B');
SELECT different();
-- where they aren't
ALTER TABLE bp ALTER pos SET NOT NULL;
UPDATE ap a SET pos = (SELECT pos FROM ap b WHERE b.id = 30 + (a.id - 30 + 1) % 50) WHERE id BETWEEN 30 AND 79;
SELECT sync_deliver('B');
SELECT different();
-- where the values have an upper limit
ALTER TABLE bp ADD CHECK (pos <= 2000);
INSERT INTO ap VALUES (900, 2000), (901, 5);
SELECT sync_deliver('B');
UPDATE ap SET pos = CASE id WHEN 900 THEN 5 ELSE 2000 END WHERE id IN (900, 901);
SELECT sync_deliver('B');
SELECT different();
-- where there is none in between, that is told; and the rest goes on
ALTER TABLE bp ADD CHECK (pos >= 5);
UPDATE ap SET pos = CASE id WHEN 900 THEN 2000 ELSE 5 END WHERE id IN (900, 901);
INSERT INTO ap VALUES (902, 77);
SELECT sync_deliver('B');
SELECT external_id, attempts, error FROM syncext.pending ORDER BY 1;
ALTER TABLE bp DROP CONSTRAINT bp_pos_check1;
SELECT sync_redrive('B');
SELECT sync_deliver('B');
SELECT different();

-- of other types, and of two columns, of which one is the record's key
CREATE TABLE aseat (room int, id int, who text, at timestamptz, PRIMARY KEY (room, id));
CREATE TABLE bseat (room int, id int, who varchar(12) NOT NULL UNIQUE, at timestamptz NOT NULL, PRIMARY KEY (room, id), UNIQUE (room, at));
SELECT sync_attach('aseat', 'A', 'seat'), sync_attach('bseat', 'B', 'seat');
INSERT INTO aseat VALUES (1, 1, 'Ann', '2026-01-01'), (1, 2, 'Bob', '2026-01-02'), (1, 3, 'Eve', '2026-01-03');
SELECT sync_deliver('B');
UPDATE aseat SET who = CASE id WHEN 1 THEN 'Bob' WHEN 2 THEN 'Eve' ELSE 'Ann' END;
SELECT sync_deliver('B');
TABLE bseat;
UPDATE aseat SET at = CASE id WHEN 1 THEN '2026-01-02' WHEN 2 THEN '2026-01-01' ELSE at END, who = CASE id WHEN 2 THEN 'Ann' WHEN 3 THEN 'Eve' ELSE who END;
SELECT sync_deliver('B');
TABLE bseat;
SELECT count(*) FROM syncext.pending;
-- where an index has expressions, generated columns or equal nulls, or excludes ranges
CREATE TABLE amail (id int PRIMARY KEY, mail text NOT NULL, n int NOT NULL, rank int, during int4range NOT NULL);
CREATE TABLE bmail (id int PRIMARY KEY, mail text NOT NULL, n int NOT NULL, rank int, during int4range NOT NULL,
	twice int GENERATED ALWAYS AS (n * 2) STORED UNIQUE, UNIQUE NULLS NOT DISTINCT (rank), EXCLUDE USING gist (during WITH &&));
CREATE UNIQUE INDEX bmail_lower ON bmail (lower(mail));
SELECT sync_add_entity('mail');
SELECT sync_attach('amail', 'A', 'mail'), sync_attach('bmail', 'B', 'mail');
INSERT INTO amail SELECT i, 'M' || i, i, nullif(i, 5), int4range(i * 10, i * 10 + 8) FROM generate_series(1, 5) i;
SELECT sync_deliver('B');
UPDATE amail SET mail = 'm' || (id % 5 + 1);
SELECT sync_deliver('B');
UPDATE amail SET n = id % 5 + 1;
SELECT sync_deliver('B');
UPDATE amail SET rank = nullif(id % 5 + 1, 5);
SELECT sync_deliver('B');
UPDATE amail SET during = int4range((id % 5 + 1) * 10, (id % 5 + 1) * 10 + 8);
SELECT sync_deliver('B');
UPDATE amail SET during = int4range(lower(during) + 5, upper(during) + 5), mail = upper(mail);
SELECT sync_deliver('B');
-- two rows want what one can have: the others get theirs
UPDATE amail SET mail = ('{m3,m2,m5,m5,m1}'::text[])[id];
SELECT sync_deliver('B');
SELECT id, mail, n, rank, during, twice FROM bmail ORDER BY id;
SELECT external_id, error FROM syncext.pending ORDER BY 1;
SELECT id FROM (TABLE amail EXCEPT SELECT id, mail, n, rank, during FROM bmail) d ORDER BY 1;
SELECT sync_discard('B'), sync_detach('amail'), sync_detach('bmail');

-- deferrable ones, and rows that refer to one another
CREATE TABLE apair (id int PRIMARY KEY, other int, pos int);
CREATE TABLE bpair (id int PRIMARY KEY, other int NOT NULL REFERENCES bpair DEFERRABLE, pos int NOT NULL UNIQUE DEFERRABLE CHECK (pos IN (1, 2)));
SELECT sync_attach('apair', 'A', 'pair'), sync_attach('bpair', 'B', 'pair');
INSERT INTO apair VALUES (1, 2, 1), (2, 1, 2);
SELECT sync_deliver('B');
UPDATE apair SET pos = 3 - pos;
SELECT sync_deliver('B');
TABLE bpair;

-- children and parents of two tables that the hub knows no reference of, in whatever batches
CREATE TABLE aparent (id int PRIMARY KEY, v int);
CREATE TABLE achild (id int PRIMARY KEY, parent int);
CREATE TABLE bparent (id int PRIMARY KEY, v int);
CREATE TABLE bchild (id int PRIMARY KEY, parent int REFERENCES bparent);
SELECT sync_add_entity('zparent'), sync_add_entity('child');
SELECT sync_attach('aparent', 'A', 'zparent'), sync_attach('achild', 'A', 'child'), sync_attach('bparent', 'B', 'zparent'), sync_attach('bchild', 'B', 'child');
BEGIN;
INSERT INTO achild SELECT i, i FROM generate_series(1, 50) i;
INSERT INTO aparent SELECT i, i FROM generate_series(1, 50) i;
COMMIT;
SELECT sync_deliver('B');
SELECT count(*) FROM bchild;
SELECT count(*) FROM syncext.pending;
UPDATE achild SET parent = 51 - parent;
DELETE FROM aparent WHERE id > 25;
DELETE FROM achild WHERE parent > 25;
SELECT sync_deliver('B');
SELECT count(*) FROM bchild;
SELECT count(*) FROM syncext.pending;

DROP TABLE amail, bmail, an, bn, ap, bp, aseat, bseat, apair, bpair, achild, bchild, aparent, bparent CASCADE;
DROP FUNCTION different;
DROP EXTENSION syncext CASCADE;
