-- sync_check(): what an administrator should look at, and who gets to see it.
CREATE EXTENSION syncext;
SET timezone = 'UTC';
SET datestyle = 'ISO';
SET intervalstyle = 'postgres';
CREATE ROLE syncext_crm;
CREATE ROLE syncext_shop;
CREATE ROLE syncext_nobody;
SELECT sync_add_source('CRM', 1, 'syncext_crm'), sync_add_source('Shop', 2, 'syncext_shop');
-- without times, OIDs and the numbers of sessions
CREATE VIEW checked WITH (security_invoker) AS
	SELECT severity, object, problem, hint
	FROM (SELECT severity, r.* FROM sync_check(), LATERAL (SELECT
		regexp_replace(object, '(relation|session) \d+', '\1 <n>'),
		regexp_replace(problem, '\d{4}-\d\d-\d\d[ T][0-9:.]+\+\d\d', '<time>', 'g'),
		regexp_replace(regexp_replace(hint, '\d{4}-\d\d-\d\d[ T][0-9:.]+\+\d\d', '<time>', 'g'), '(detach|backend)\(\d+\)', '\1(<n>)')) r (object, problem, hint)) c;
GRANT SELECT ON checked TO PUBLIC;

-- What reads a view isn't kept waiting by the JIT compiler, which the server's own
-- jit_above_cost would call for: no view seems dear while there is next to nothing in it.
CREATE FUNCTION plan_cost(view regclass) RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE format('EXPLAIN (FORMAT json) SELECT * FROM %s', view) INTO plan;
	RETURN plan->0->'Plan'->>'Total Cost';
END $$;
SELECT c.relname AS dear FROM pg_class c
WHERE c.relkind = 'v' AND c.relnamespace = 'syncext'::regnamespace AND plan_cost(c.oid) > 100000 ORDER BY 1;
DROP FUNCTION plan_cost;

-- all is well
SELECT * FROM checked;
-- a source that was inserted by hand lacks what sync_add_source makes
INSERT INTO syncext.source (name) VALUES ('ByHand');
SELECT * FROM checked;
SELECT sync_resync('ByHand');
SELECT * FROM checked;
SELECT sync_drop_source('ByHand');
SELECT count(sync_apply(jsonb_build_object('externalId', n::text, 'source', 'CRM', 'version', 1, 'x', n))) FROM generate_series(1, 3) n;
SELECT * FROM checked;

--
-- What was given up
--
-- deliveries: Shop can't take two of them, however often it tries
UPDATE syncext.source SET retry_cap = 1;
SELECT sync_ack('Shop', max(batch), '[{"entity": "record", "externalId": "1", "error": "no room"}, {"entity": "record", "externalId": "3", "error": "no room"}]') FROM sync_pull('Shop');
-- a parked change whose parent never came
SELECT sync_add_entity('line');
SELECT sync_add_reference('line', 'of', 'record');
SELECT sync_apply('{"entity": "line", "externalId": "1", "source": "CRM", "version": 1, "of": "9"}')->>'resolution' AS resolution;
UPDATE syncext.waiting SET next_attempt = NULL, error = 'record 9 has not arrived';
\x
SELECT * FROM checked;
-- each sees what is theirs
SET ROLE syncext_crm;
SELECT object FROM sync_check();
SET ROLE syncext_shop;
SELECT object FROM sync_check();
SELECT source, object FROM syncext.problem;
SET ROLE syncext_nobody;
SELECT object FROM sync_check();
RESET ROLE;
SELECT sync_discard('CRM'), sync_discard('Shop');
SELECT * FROM checked;

--
-- The feed
--
SELECT sync_apply('{"externalId": "late", "source": "CRM", "version": 1, "x": 1}')->>'resolution' AS resolution;
SELECT * FROM checked;
UPDATE syncext.tick SET taken_at = taken_at - interval '2 hours';
UPDATE syncext.change_log_0 SET recorded_at = recorded_at - interval '2 hours';
SELECT * FROM checked;
SET ROLE syncext_crm;
SELECT * FROM checked;
RESET ROLE;
-- by half of the retention
UPDATE syncext.tick SET taken_at = taken_at - interval '16 days';
UPDATE syncext.change_log_0 SET recorded_at = recorded_at - interval '16 days';
SELECT * FROM checked;
-- in the middle of a window: it was served, the window goes on
SELECT count(*) FROM sync_pull('Shop', 1);
SELECT object FROM checked;
SELECT sync_ack('Shop', batch) FROM (SELECT max(batch) FROM syncext.cursor WHERE target = 'Shop') c (batch);
SELECT * FROM checked;
-- who wants nothing isn't behind
SELECT sync_apply('{"externalId": "late", "source": "CRM", "version": 2, "x": 2}')->>'resolution' AS resolution;
UPDATE syncext.tick SET taken_at = taken_at - interval '2 hours';
UPDATE syncext.change_log_0 SET recorded_at = recorded_at - interval '2 hours';
SELECT object FROM checked;
SELECT sync_subscribe('Shop', '{}');
SELECT * FROM checked;
-- nor who is told of nothing else
SELECT sync_subscribe('Shop', NULL);
SELECT * FROM checked;
SELECT sync_ack('Shop', max(batch)) FROM sync_pull('Shop');
SELECT sync_ack('Shop', max(batch)) FROM sync_pull('Shop') HAVING max(batch) IS NOT NULL;
SELECT * FROM checked;
-- the log is not rotated
UPDATE syncext.feed_state SET switched_at = switched_at - interval '11 days';
SELECT * FROM checked;
SET ROLE syncext_shop;
SELECT * FROM checked;
RESET ROLE;
UPDATE syncext.feed_state SET switched_at = now();
-- after a restore
INSERT INTO syncext.feed_origin (system_identifier) VALUES (1);
SELECT * FROM checked;
DELETE FROM syncext.feed_origin WHERE system_identifier = 1;
-- settings
SET default_transaction_isolation = 'repeatable read';
SELECT * FROM checked;
RESET default_transaction_isolation;

--
-- Conflicts
--
SELECT sync_apply('{"externalId": "1", "source": "CRM", "version": 1, "x": 8}')->>'resolution' AS resolution;
SELECT sync_apply('{"externalId": "2", "source": "CRM", "version": 1, "x": 9}')->>'resolution' AS resolution;
SELECT * FROM checked;
UPDATE syncext.conflict_log SET recorded_at = recorded_at - interval '25 hours' WHERE external_id = '1';
SELECT * FROM checked;
UPDATE syncext.conflict_log SET recorded_at = recorded_at - interval '26 hours';
SELECT problem FROM checked;
SET ROLE syncext_shop;
SELECT problem FROM checked;
SET ROLE syncext_crm;
SELECT problem FROM checked;
RESET ROLE;
SELECT sync_resolve(id, 'canonical')->>'status' AS status FROM syncext.conflict_log WHERE status = 'pending';
SELECT sync_ack('CRM', max(batch)) FROM sync_pull('CRM');
SELECT * FROM checked;

--
-- Attached relations and their jobs
--
CREATE TABLE shop_item (id text PRIMARY KEY, x int);
ALTER TABLE shop_item OWNER TO syncext_shop;
SELECT sync_attach('shop_item', 'Shop');
SELECT * FROM checked;
ALTER TABLE shop_item DISABLE TRIGGER _syncext_capture;
SELECT * FROM checked;
-- this one wouldn't fire where a subscription writes
ALTER TABLE shop_item ENABLE TRIGGER _syncext_capture;
SELECT object FROM checked;
ALTER TABLE shop_item ENABLE ALWAYS TRIGGER _syncext_capture;
SELECT * FROM checked;
-- a run that failed, called by nobody's schedule
CREATE FUNCTION ran(job text, status text, error text) RETURNS void LANGUAGE sql AS $$
	SELECT syncext.begin_job_run('shop_item', $1, false, 'syncext_shop');
	UPDATE syncext.job_run SET status = $2, ended_at = now(), error = $3 WHERE id = (SELECT max(id) FROM syncext.job_run)
$$;
SELECT FROM ran('deliver', 'failed', 'out of paper');
SELECT * FROM checked;
SELECT FROM syncext.begin_job_run('shop_item', 'deliver', false, 'syncext_shop');
UPDATE syncext.source SET retry_cap = 3;
SELECT severity, problem FROM checked;
CALL syncext.run_job('shop_item') \gset
SELECT :'result'::jsonb #- '{deliver,seconds}' AS result;
SELECT * FROM checked;
-- nor a load
SELECT FROM ran('load', 'failed', 'out of paper');
SELECT * FROM checked;
DELETE FROM syncext.job_state WHERE job = 'load';
-- rows that the hub doesn't get
INSERT INTO syncext.capture_failure (relation, external_id, since, attempts, next_attempt, error) VALUES ('shop_item', 'a', now(), 1, now(), 'unreadable');
SELECT * FROM checked;
UPDATE syncext.capture_failure SET since = since - interval '61 min';
SELECT * FROM checked;
DELETE FROM syncext.capture_failure;
-- a schedule that pg_cron knows nothing of, as after a restore without it
SELECT FROM syncext.note_schedule('shop_item', '0 0 1 1 *', 'deliver', 'syncext_shop', 'syncext: shop_item');
SELECT * FROM checked;
SET ROLE syncext_shop;
SELECT object FROM checked;
SET ROLE syncext_crm;
SELECT object FROM checked;
RESET ROLE;
-- one that should have run
UPDATE syncext.job_state SET next_due = next_due - interval '2 years';
UPDATE syncext.job_run SET started_at = started_at - interval '2 years', ended_at = ended_at - interval '2 years';
SELECT * FROM checked WHERE object NOT LIKE 'schedule%';
-- one that fails, is tried again, and given up
SELECT FROM ran('deliver', 'failed', 'out of paper');
SELECT * FROM checked WHERE object NOT LIKE 'schedule%';
SELECT FROM ran('deliver', 'interrupted', 'the session that ran it ended');
SELECT severity, problem FROM checked WHERE object NOT LIKE 'schedule%';
SELECT FROM ran('deliver', 'failed', 'still out of paper');
SELECT * FROM checked WHERE object NOT LIKE 'schedule%';
CALL syncext.run_job('shop_item') \gset
SELECT :'result'::jsonb #- '{deliver,seconds}' AS result;
SELECT * FROM checked WHERE object NOT LIKE 'schedule%';
SELECT sync_unschedule('shop_item');
-- a delivery that fails: who gets 0 is told why, and all see that it is tried again
ALTER TABLE shop_item ADD CHECK (x <> 13);
UPDATE syncext.source SET retry_cap = 5;
SELECT sync_apply('{"externalId": "unlucky", "source": "CRM", "version": 1, "x": 13}')->>'resolution' AS resolution;
SELECT sync_deliver('Shop');
SELECT * FROM checked;
-- who watches the server sees all of it
CREATE ROLE syncext_watch IN ROLE pg_monitor;
SET ROLE syncext_watch;
SELECT object FROM checked;
RESET ROLE;
DROP ROLE syncext_watch;
SELECT sync_discard('Shop');

--
-- Partitions
--
SELECT sync_add_entity('part');
CREATE TABLE part (id int PRIMARY KEY, x int) PARTITION BY RANGE (id);
CREATE TABLE part_1 PARTITION OF part FOR VALUES FROM (1) TO (10);
SELECT sync_attach('part', 'Shop', 'part');
INSERT INTO part VALUES (1, 1);
SELECT * FROM checked;
-- one that comes with rows
CREATE TABLE part_2 (id int PRIMARY KEY, x int);
INSERT INTO part_2 VALUES (11, 1);
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
SELECT * FROM checked;
CALL sync_load('part') \gset
SELECT * FROM checked;
SELECT external_id FROM syncext.canonical WHERE entity = 'part' ORDER BY 1;
TRUNCATE part_2;
-- one that isn't captured
ALTER TABLE part_2 DISABLE TRIGGER ALL;
SELECT * FROM checked;
ALTER TABLE part_2 ENABLE ALWAYS TRIGGER _syncext_capture;
ALTER TABLE part_2 ENABLE ALWAYS TRIGGER _syncext_truncate;
-- one that goes, is edited, and comes back
ALTER TABLE part DETACH PARTITION part_2;
SELECT * FROM checked;
UPDATE part_2 SET x = 2;
ALTER TABLE part ATTACH PARTITION part_2 FOR VALUES FROM (10) TO (20);
SELECT * FROM checked;
CALL sync_load('part') \gset
SELECT * FROM checked;
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'part' ORDER BY 1;
SELECT sync_detach('part');
DROP TABLE part;

-- rows of tables that inherit are none of the attached one's
CREATE TABLE shop_heir () INHERITS (shop_item);
SELECT * FROM checked;
DROP TABLE shop_heir;

-- dropped while it was attached
DROP TABLE shop_item;
SELECT * FROM checked;
SELECT sync_detach(relation::oid) FROM syncext.binding;
SELECT * FROM checked;
\x

-- nothing that the reader plants on the path is called
CREATE SCHEMA impostor;
CREATE FUNCTION impostor.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'an impostor runs as %', current_user; RETURN false; END $$;
CREATE OPERATOR impostor.= (LEFTARG = text, RIGHTARG = text, FUNCTION = impostor.eq);
CREATE FUNCTION impostor.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'an impostor runs as %', current_user; RETURN ''; END $$;
SET search_path = impostor, pg_catalog, public;
SELECT count(*) FROM public.sync_check();
SELECT count(*) FROM syncext.problem;
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA impostor CASCADE;
RESET client_min_messages;

DROP VIEW checked;
DROP FUNCTION ran;
DROP EXTENSION syncext;
DROP ROLE syncext_crm, syncext_shop, syncext_nobody;
