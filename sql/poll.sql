-- Polled relations: what a poll brings to the hub and what it leaves alone, deletes,
-- delivery without echo, failures, runs.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('Far', 2), sync_add_source('Other', 3);
SELECT count(sync_add_entity(name)) FROM unnest('{customer,big,bad}'::text[]) name;
CREATE VIEW hub AS SELECT external_id AS id, row_version AS rv, last_source, deleted, fields FROM syncext.canonical WHERE entity = 'customer' ORDER BY 1;
-- what a poll answered, but for the time it took and the counts that are 0
CREATE TABLE customer (id int PRIMARY KEY, name text, phone text, price numeric(8,2), updated_at timestamptz);
INSERT INTO customer VALUES (1, 'Ann', '1', 1.5, '2024-01-01 10:00+00'), (2, 'Bob', '2', NULL, '2024-01-01 11:00+00'), (3, 'Cleo', NULL, 3, NULL);

-- what goes wrong
CREATE TABLE plain_table (id int PRIMARY KEY, v text, t text, b bool);
CALL sync_poll('customer');
CALL sync_poll(NULL);
CALL sync_poll('customer', NULL);
CALL sync_poll(4711);
SELECT sync_attach('plain_table', 'Other');
CALL sync_poll('plain_table');
SELECT sync_detach('plain_table');
SELECT sync_attach('plain_table', 'Other', capture => 'poll', deleted_column => 'gone');
SELECT sync_attach('plain_table', 'Other', capture => 'poll', deleted_column => 't');
SELECT sync_attach('plain_table', 'Other', capture => 'poll', deleted_column => 'id');
SELECT sync_attach('plain_table', 'Other', deleted_column => 'b');
CREATE VIEW grouped AS SELECT id, count(*) FROM plain_table GROUP BY id;
SELECT sync_attach('grouped', 'Other', key => '{id}', capture => 'poll');
CREATE ROLE regress_poll;
SELECT sync_attach('customer', 'Far', 'customer', capture => 'poll', updated_column => 'updated_at');
SET ROLE regress_poll;
CALL sync_poll('customer');
RESET ROLE;

-- the first poll brings all rows, the next ones what has changed
CALL sync_poll('customer') \gset
SELECT counts(:'result'), (:'result'::jsonb)->>'watermark' AS watermark, ((:'result'::jsonb)->>'seconds')::numeric >= 0 AS took;
SELECT * FROM hub;
SELECT external_id, row_version, fields FROM syncext.replica ORDER BY 1;
-- the time of edit is no field, but tells when
SELECT external_id, updated_at < '2024-01-02' AS told FROM syncext.canonical WHERE entity = 'customer' ORDER BY 1;
CALL sync_poll('customer') \gset
SELECT counts(:'result');
UPDATE customer SET phone = '22', updated_at = '2024-01-01 12:00+00' WHERE id = 2;
INSERT INTO customer VALUES (4, 'Dora', '4', 4, '2024-01-01 12:00+00');
CALL sync_poll('customer') \gset
SELECT counts(:'result'), (:'result'::jsonb)->>'watermark' AS watermark;
-- only what differs was sent, made on what was delivered
SELECT external_id, resolution, told, fields, detail->>'base' AS base FROM syncext.change_log WHERE seq > 3 ORDER BY seq;
-- an edit without another time is out of the window; a full compare finds it
UPDATE customer SET name = 'Anna' WHERE id = 1;
CALL sync_poll('customer') \gset
SELECT counts(:'result');
CALL sync_poll('customer', true) \gset
SELECT counts(:'result');
-- the window begins before the watermark: what was committed late is in it
INSERT INTO customer VALUES (5, 'Late', '5', 5, '2024-01-01 11:56+00');
CALL sync_poll('customer') \gset
SELECT counts(:'result');
INSERT INTO customer VALUES (6, 'Too late', '6', 6, '2024-01-01 11:54+00');
CALL sync_poll('customer') \gset
SELECT counts(:'result');
SET syncext.poll_overlap = '10min';
CALL sync_poll('customer') \gset
SELECT counts(:'result');
RESET syncext.poll_overlap;
-- a row of tomorrow does not carry the watermark with it
INSERT INTO customer VALUES (7, 'Tomorrow', '7', 7, now() + '1 day');
CALL sync_poll('customer') \gset
SELECT counts(:'result'), watermark < now() AS bounded FROM syncext.poll_state;

-- delivery: what was delivered is no edit, whatever the time on it is
SELECT change('CRM', 'customer', '1', 10, '{"phone": "111"}'), change('CRM', 'customer', '8', 1, '{"name": "New", "price": 8}'), change('CRM', 'customer', '2', 10, NULL);
SELECT sync_deliver('Far');
SELECT id, name, phone, price FROM customer ORDER BY 1;
SELECT external_id, row_version, fields FROM syncext.replica WHERE external_id IN ('1', '2', '8') ORDER BY 1;
SELECT max(seq) AS seq FROM syncext.change_log \gset
UPDATE customer SET updated_at = now();
CALL sync_poll('customer', true) \gset
SELECT counts(:'result'), count(*) AS logged FROM syncext.change_log WHERE seq > :seq;
SELECT sync_deliver('Far');
-- two that edit different fields of a row meet
UPDATE customer SET name = 'Annie', updated_at = now() WHERE id = 1;
SELECT change('CRM', 'customer', '1', 11, '{"price": 11}');
CALL sync_poll('customer') \gset
SELECT counts(:'result');
SELECT sync_deliver('Far');
SELECT id, name, phone, price FROM customer WHERE id = 1;
SELECT fields FROM hub WHERE id = '1';
-- an edit that no poll has seen yet is not overwritten by a delivery
UPDATE customer SET name = 'Anneke', phone = '1111', updated_at = now() WHERE id = 1;
SELECT change('CRM', 'customer', '1', 12, '{"price": 12}');
SELECT sync_deliver('Far');
SELECT id, name, phone, price FROM customer WHERE id = 1;
SELECT fields FROM hub WHERE id = '1';
-- of the same field the ladder decides, and a loser is corrected
UPDATE customer SET name = 'Lost', updated_at = now() WHERE id = 1;
SELECT change('CRM', 'customer', '1', 13, '{"name": "Won"}');
CALL sync_poll('customer') \gset
SELECT counts(:'result');
SELECT sync_deliver('Far');
SELECT id, name, phone, price FROM customer WHERE id = 1;

-- deletes: a full compare finds them
DELETE FROM customer WHERE id IN (4, 5);
CALL sync_poll('customer') \gset
SELECT counts(:'result');
CALL sync_poll('customer', true) \gset
SELECT counts(:'result');
SELECT id, deleted FROM hub WHERE id IN ('4', '5');
CALL sync_poll('customer', true) \gset
SELECT counts(:'result');
-- one that comes back is new
INSERT INTO customer VALUES (4, 'Dora again', '44', 4, now());
CALL sync_poll('customer') \gset
SELECT counts(:'result');
SELECT * FROM hub WHERE id = '4';
-- one that others edit before its delete is known comes back
DELETE FROM customer WHERE id = 4;
SELECT change('CRM', 'customer', '4', 20, '{"phone": "444"}');
SELECT sync_deliver('Far');
SELECT id, name, phone FROM customer WHERE id = 4;
CALL sync_poll('customer', true) \gset
SELECT counts(:'result');

-- a table that is all but empty at once looks like an accident
CREATE TABLE big (id int PRIMARY KEY, v int);
INSERT INTO big SELECT n, n FROM generate_series(1, 2500) n;
SELECT sync_attach('big', 'Far', 'big', capture => 'poll');
CALL sync_poll('big') \gset
SELECT counts(:'result'), (:'result'::jsonb)->'watermark' AS watermark;
SELECT count(DISTINCT xid) FROM syncext.change_log WHERE entity = 'big';
DELETE FROM big WHERE id > 1000;
CALL sync_poll('big', true);
SELECT count(*) FROM syncext.canonical WHERE entity = 'big' AND deleted;
SELECT status, error FROM syncext.job_run ORDER BY id DESC LIMIT 1;
SET syncext.poll_delete_limit = 100;
CALL sync_poll('big', true) \gset
SELECT counts(:'result');
RESET syncext.poll_delete_limit;
SELECT count(*) FROM syncext.canonical WHERE entity = 'big' AND deleted;
-- and one whose keys are all written in another way: new rows don't make up for
-- those that went, whether a poll has seen them before or not
UPDATE big SET id = id + 10000 WHERE id > 400 AND id <> 500;
CALL sync_poll('big', true);
CALL sync_poll('big', true);
CALL sync_poll('big') \gset
SELECT counts(:'result');
CALL sync_poll('big', true);
SELECT count(*) FROM syncext.canonical WHERE entity = 'big' AND deleted;
SET syncext.poll_delete_limit = 100;
CALL sync_poll('big', true) \gset
RESET syncext.poll_delete_limit;
SELECT counts(:'result'), (SELECT new_rows FROM syncext.poll_state WHERE relation = 'big'::regclass);
-- without a time of edit every poll reads all
UPDATE big SET v = 0 WHERE id = 500;
CALL sync_poll('big') \gset
SELECT counts(:'result');
-- in a transaction it is part of that
BEGIN;
UPDATE big SET v = 1;
CALL sync_poll('big') \gset
ROLLBACK;
SELECT counts(:'result'), count(*) FROM syncext.canonical WHERE entity = 'big' AND fields->>'v' = '1';
CALL sync_poll('big') \gset
SELECT counts(:'result');

-- a commit that fails takes the run's row and the job's lock with it: how the poll ended
-- is noted all the same, and under the lock
CREATE TABLE later (id int CONSTRAINT later REFERENCES big DEFERRABLE INITIALLY DEFERRED);
CREATE TABLE seen (status text, locks bigint);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	INSERT INTO public.seen SELECT new.status, count(*) FROM pg_locks
	WHERE pid = pg_backend_pid() AND classid = 'syncext.binding'::regclass AND objid = new.relation AND objsubid = 1;
	RETURN NULL;
END $$;
CREATE TRIGGER see AFTER INSERT OR UPDATE ON syncext.job_run FOR EACH ROW EXECUTE FUNCTION see();
DO $$ DECLARE r jsonb; BEGIN INSERT INTO later VALUES (-1); CALL sync_poll('big', false, r); END $$;
SELECT * FROM seen;
SELECT status, error FROM syncext.job_run ORDER BY id DESC LIMIT 1;
SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'object' AND classid = 'syncext.binding'::regclass;
DROP TRIGGER see ON syncext.job_run;
DROP FUNCTION see;
DROP TABLE seen, later;

-- rows that are refused are kept apart, tried again and given up
CREATE TABLE bad (id int PRIMARY KEY, v text);
INSERT INTO bad VALUES (1, 'a'), (2, 'b');
SELECT sync_attach('bad', 'Far', 'bad', capture => 'poll', direction => 'in');
ALTER TABLE syncext.canonical ADD CONSTRAINT no_b CHECK (fields->>'v' <> 'b');
CALL sync_poll('bad') \gset
SELECT counts(:'result');
SELECT external_id, attempts, next_attempt > now() AS waits, error FROM syncext.capture_failure;
UPDATE syncext.source SET retry_cap = 2 WHERE name = 'Far';
UPDATE syncext.capture_failure SET next_attempt = now();
CALL sync_poll('bad') \gset
SELECT counts(:'result');
SELECT kind, source, entity, external_id, attempts, error, redrive, discard FROM syncext.dead_letter;
SELECT sync_redrive('Far', 'big'), sync_redrive('CRM'), sync_redrive('Far', 'bad', '1');
SELECT sync_redrive('Far', 'bad', '2');
SELECT attempts, next_attempt <= now() AS due FROM syncext.capture_failure;
SELECT sync_discard('Far');
SELECT resolution, detail - 'by' AS detail FROM syncext.change_log ORDER BY seq DESC LIMIT 1;
CALL sync_poll('bad') \gset
SELECT counts(:'result');
-- what is mended comes at once
UPDATE bad SET v = 'c' WHERE id = 2;
CALL sync_poll('bad') \gset
SELECT counts(:'result');
SELECT count(*) FROM syncext.capture_failure;
ALTER TABLE syncext.canonical DROP CONSTRAINT no_b;

-- runs
SELECT relation, job, status, attempt, phase, total, counts->'read' AS read, error, ended_at >= started_at AS ended FROM syncext.job_run WHERE relation <> 'bad'::regclass ORDER BY id DESC LIMIT 4;
UPDATE syncext.job_run SET status = 'running' WHERE id = (SELECT max(id) FROM syncext.job_run WHERE relation = 'bad'::regclass);
SELECT * FROM syncext.job_progress;
CALL sync_poll('bad') \gset
SELECT status, error FROM syncext.job_run WHERE relation = 'bad'::regclass ORDER BY id DESC LIMIT 2;
-- one that calls itself
CREATE FUNCTION poll_me() RETURNS int LANGUAGE plpgsql AS $$ DECLARE
	answer jsonb;
BEGIN
	CALL public.sync_poll('public.myself'::regclass, false, answer);
	RETURN 1;
EXCEPTION WHEN object_in_use THEN
	RETURN 2;
END $$;
CREATE VIEW myself AS SELECT poll_me() AS id, 'x' AS v;
SELECT sync_add_entity('myself');
SELECT sync_attach('myself', 'Far', 'myself', '{id}', capture => 'poll', direction => 'in');
CALL sync_poll('myself') \gset
SELECT counts(:'result');
SELECT external_id FROM syncext.replica WHERE relation = 'myself'::regclass;

-- detached, nothing is left
SELECT sync_detach('bad'), sync_detach('big'), sync_detach('customer'), sync_detach('myself');
SELECT (SELECT count(*) FROM syncext.job_run), (SELECT count(*) FROM syncext.poll_state), (SELECT count(*) FROM syncext.capture_failure), (SELECT count(*) FROM syncext.replica);
DROP VIEW grouped, hub, myself;
DROP FUNCTION poll_me;
DROP TABLE customer, plain_table, big, bad;
DROP ROLE regress_poll;
DROP EXTENSION syncext CASCADE;
