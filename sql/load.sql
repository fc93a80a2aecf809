-- sync_load: bringing a table and the hub together, with each of the winners.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 2), sync_add_source('ERP', 2), sync_add_source('Low', 9), sync_add_source('High', 1), sync_add_source('Tied', 2);
SELECT count(sync_add_entity(name)) FROM unnest('{big,child,parent}'::text[]) name;
CREATE FUNCTION hub() RETURNS TABLE (id text, rv bigint, last_source text, deleted bool, fields jsonb) LANGUAGE sql AS
	$$ SELECT external_id, row_version, last_source, c.deleted, c.fields FROM syncext.canonical c WHERE entity = 'record' ORDER BY 1 $$;
-- The same start for each: what the hub has, and what the table has.
CREATE PROCEDURE start(source text, direction text DEFAULT 'both') LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM syncext.canonical;
	DELETE FROM syncext.conflict_log;
	TRUNCATE syncext.change_log_0;
	DROP TABLE IF EXISTS t;
	CREATE TABLE t (id text COLLATE "C" PRIMARY KEY, name text, phone text, note text);
	INSERT INTO t VALUES ('both equal', 'E', '1', NULL), ('both differ', 'T', '2', 't'), ('missing', 'M', '3', 'only here'),
		('table only', 'O', '4', NULL), ('was deleted', 'D', '5', NULL);
	PERFORM sync_apply('[
		{"externalId": "both equal", "source": "CRM", "version": 1, "name": "E", "phone": "1", "extra": 1},
		{"externalId": "both differ", "source": "CRM", "version": 1, "name": "H", "phone": "2", "note": "h"},
		{"externalId": "missing", "source": "CRM", "version": 1, "name": "M"},
		{"externalId": "hub only", "source": "CRM", "version": 1, "name": "N", "phone": "6", "note": null},
		{"externalId": "was deleted", "source": "CRM", "version": 1, "name": "D"},
		{"externalId": "hub deleted", "source": "CRM", "version": 1, "name": "X"}]');
	PERFORM sync_apply('[{"externalId": "was deleted", "source": "ERP", "version": 2, "deleted": true},
		{"externalId": "hub deleted", "source": "ERP", "version": 2, "deleted": true}]');
	PERFORM sync_attach('t', source, direction => direction);
END $$;
CREATE FUNCTION plain(result jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT CASE WHEN (result->>'seconds')::numeric >= 0 THEN result - 'seconds' END $$;

-- what goes wrong
CREATE TABLE t (id int PRIMARY KEY);
CALL sync_load('t');
SELECT sync_attach('t', 'Low', direction => 'in');
CALL sync_load('t', 'loudest');
CALL sync_load('t', 'hub');
CALL sync_load(NULL);
CALL sync_load('t', NULL);
CALL sync_load(4711);
SELECT sync_detach('t'), sync_attach('t', 'Low', direction => 'out');
CALL sync_load('t', 'table');
CREATE ROLE regress_load;
SET ROLE regress_load;
CALL sync_load('t');
RESET ROLE;
ALTER TABLE t OWNER TO regress_load;
SET ROLE regress_load;
CALL sync_load('t');
RESET ROLE;
DROP OWNED BY regress_load;
DROP ROLE regress_load;

-- by the ladder: the lower rank loses what differs, the higher one wins, equals wait for review
CALL start('Low');
CALL sync_load('t') \gset
SELECT plain(:'result');
SELECT * FROM hub();
SELECT * FROM t ORDER BY 1;
SELECT external_id, row_version FROM syncext.replica ORDER BY 1;
-- again there is nothing to do
CALL sync_load('t') \gset
SELECT plain(:'result');
-- and the feed has nothing new for the table
SELECT count(*) FROM syncext.change_log WHERE told = 'all' OR source <> 'Low' AND told = 'others' AND seq > 8;
SELECT sync_detach('t');
CALL start('High');
CALL sync_load('t') \gset
SELECT plain(:'result');
SELECT * FROM hub() WHERE id = 'both differ';
SELECT * FROM t WHERE id = 'both differ';
SELECT sync_detach('t');
CALL start('Tied');
CALL sync_load('t') \gset
SELECT plain(:'result');
SELECT external_id, contested, status FROM syncext.conflict_log;
SELECT * FROM t WHERE id = 'both differ';
SELECT external_id, row_version, held FROM syncext.replica WHERE external_id = 'both differ';
SELECT sync_detach('t');

-- the hub
CALL start('High');
CALL sync_load('t', 'hub') \gset
SELECT plain(:'result');
SELECT * FROM hub();
SELECT * FROM t ORDER BY 1;
SELECT sync_detach('t');

-- the table
CALL start('Low');
CALL sync_load('t', 'table') \gset
SELECT plain(:'result');
SELECT * FROM hub();
SELECT * FROM t ORDER BY 1;
SELECT sync_detach('t');

-- one way
CALL start('High', 'in');
CALL sync_load('t') \gset
SELECT plain(:'result');
SELECT count(*) FROM t;
SELECT sync_detach('t');
CALL start('High', 'out');
CALL sync_load('t') \gset
SELECT plain(:'result');
SELECT * FROM t ORDER BY 1;
SELECT * FROM hub() WHERE last_source = 'High';
SELECT sync_detach('t');

-- in a transaction it is part of that
CALL start('Low');
BEGIN;
CALL sync_load('t', 'table') \gset
ROLLBACK;
SELECT count(*) FROM hub() WHERE last_source = 'Low';

-- rows that fail are counted, the others go in; parents may come later
CREATE TABLE big (id text PRIMARY KEY, v int CHECK (v <> 13));
INSERT INTO big SELECT 'r' || n, n FROM generate_series(100, 1700) n;
INSERT INTO big VALUES ('', 0), (repeat('x', 1100), 0);
SELECT sync_apply('{"entity": "big", "externalId": "r13", "source": "CRM", "version": 1, "v": 13}')->>'resolution';
SELECT count(sync_apply(jsonb_build_object('entity', 'big', 'externalId', 'h' || n, 'source', 'CRM', 'version', 1, 'v', n))) FROM generate_series(2000, 2700) n;
SELECT sync_attach('big', 'Low', 'big');
CALL sync_load('big') \gset
SELECT plain(:'result');
-- what failed is kept, and told until it is mended
CREATE FUNCTION failed() RETURNS TABLE (kind text, external_id text, attempts int, dead bool, error text) LANGUAGE sql AS $$
	SELECT 'delivery', external_id, attempts, next_attempt IS NULL, error FROM syncext.pending
	UNION ALL
	SELECT 'row', left(external_id, 10), attempts, next_attempt IS NULL, error FROM syncext.capture_failure
	ORDER BY 1, 2
$$;
SELECT * FROM failed();
CREATE VIEW problems AS
	SELECT severity, object, regexp_replace(problem, 'since .*?:.*?:.*?:', 'since …:') AS problem,
	       regexp_replace(hint, 'due at [^;]+', 'due at …') AS hint FROM sync_check();
SELECT * FROM problems WHERE object = 'source Low';
CALL sync_load('big') \gset
SELECT kind, external_id, attempts FROM failed();
ALTER TABLE big DISABLE TRIGGER USER;
DELETE FROM big WHERE id = '' OR length(id) > 1000;
ALTER TABLE big ENABLE TRIGGER USER;
ALTER TABLE big DROP CONSTRAINT big_v_check;
SELECT sync_redrive('Low'), sync_deliver('Low');
SELECT kind, external_id, attempts, dead FROM failed();
CALL sync_load('big') \gset
SELECT * FROM failed();
-- rows that the hub does not take; a dry run keeps nothing
ALTER TABLE big ADD COLUMN w json, DISABLE TRIGGER USER;
UPDATE big SET w = '"\u0000"' WHERE id IN ('r101', 'r102');
ALTER TABLE big ENABLE TRIGGER USER;
SELECT sync_attach('big', 'Low', 'big', columns => '{"v": "v", "w": "w"}') FROM sync_detach('big');
CALL sync_load('big', dry_run => true) \gset
SELECT * FROM failed();
CALL sync_load('big') \gset
SELECT * FROM failed();
SELECT * FROM problems WHERE object = 'source Low';
SELECT sync_redrive('Low');
SELECT kind, external_id, attempts, dead FROM failed();
UPDATE big SET w = '"w"' WHERE id = 'r101';
SELECT kind, external_id FROM failed();
ALTER TABLE big DISABLE TRIGGER USER;
UPDATE big SET w = '"mended"' WHERE id = 'r102';
ALTER TABLE big ENABLE TRIGGER USER;
SELECT sync_redrive('Low');
SELECT * FROM failed();
SELECT external_id, fields->>'w' FROM syncext.canonical WHERE entity = 'big' AND fields ? 'w' AND fields->>'w' IS NOT NULL ORDER BY 1;
SELECT count(*), min(v), max(v) FROM big;
SELECT count(*) FROM syncext.canonical WHERE entity = 'big';
SELECT count(*) FROM syncext.replica WHERE relation = 'big'::regclass;
-- each batch was a transaction
SELECT count(DISTINCT xid) > 1 AS several FROM syncext.change_log WHERE entity = 'big' AND source = 'Low';
SELECT sync_add_reference('child', 'parent', 'parent');
CREATE TABLE parent (id int PRIMARY KEY, v int);
CREATE TABLE child (id int PRIMARY KEY, parent int, v int);
INSERT INTO parent VALUES (1, 1);
INSERT INTO child VALUES (1, 1, 1), (2, 2, 2), (3, NULL, 3);
SELECT sync_attach('parent', 'Low', 'parent'), sync_attach('child', 'Low', 'child');
CALL sync_load('child') \gset
SELECT plain(:'result');
CALL sync_load('parent') \gset
SELECT plain(:'result');
SELECT external_id FROM syncext.canonical WHERE entity = 'child' ORDER BY 1;
CALL sync_load('child') \gset
SELECT plain(:'result');

-- of a table that only gets, rows that were changed behind the hub's back are the hub's to win
CREATE TABLE sink (id int PRIMARY KEY, v int);
SELECT sync_add_entity('sink'), sync_attach('sink', 'High', 'sink', direction => 'out');
SELECT count(sync_apply(jsonb_build_object('entity', 'sink', 'externalId', i::text, 'source', 'CRM', 'version', 1, 'v', i))) FROM generate_series(1, 3) i;
CALL sync_load('sink') \gset
UPDATE sink SET v = 9 WHERE id = 1;
DELETE FROM sink WHERE id = 3;
CALL sync_load('sink') \gset
SELECT plain(:'result');
CALL sync_load('sink', 'hub') \gset
SELECT plain(:'result');
SELECT * FROM sink ORDER BY id;

-- of a table that only gives, what others have set since stays different: it is told of, and nothing is updated
CREATE TABLE spring (id int PRIMARY KEY, v int);
SELECT sync_add_entity('spring'), sync_attach('spring', 'Low', 'spring', direction => 'in');
INSERT INTO spring VALUES (1, 1), (2, 2);
SELECT sync_apply('{"entity": "spring", "externalId": "1", "source": "CRM", "version": 2, "v": 9}')->>'resolution';
CALL sync_load('spring') \gset
SELECT plain(:'result');
SELECT external_id, row_version FROM syncext.replica WHERE relation = 'spring'::regclass ORDER BY 1;

DROP VIEW problems;
DROP FUNCTION hub, plain, failed;
DROP PROCEDURE start;
DROP TABLE t, big, child, parent, sink, spring;
DROP EXTENSION syncext CASCADE;
