-- Polled relations at the edges: views, files, a server of its own, soft deletes,
-- versions, references, masks, held fields, and what no two of them have in common.
CREATE EXTENSION syncext;
\ir test/helpers.sql
CREATE EXTENSION postgres_fdw;
CREATE EXTENSION file_fdw;
SELECT sync_add_source('CRM', 1), sync_add_source('Far', 2), sync_add_source('Tied', 1);
SELECT count(sync_add_entity(name)) FROM unnest('{soft,timed,v,versioned,file,loop,child,parent,held,wide,masked}'::text[]) name;
SELECT sync_add_entity('newest', '{latest,keep}');
CREATE FUNCTION hub(entity text) RETURNS TABLE (id text, rv bigint, deleted bool, fields jsonb) LANGUAGE sql AS $$
	SELECT external_id, row_version, c.deleted, c.fields FROM syncext.canonical c WHERE c.entity = $1 ORDER BY 1 $$;

-- rows that are marked as deleted
CREATE TABLE soft (id int PRIMARY KEY, v text, gone bool, updated_at timestamp);
INSERT INTO soft VALUES (1, 'a', false, '2024-01-01 10:00'), (2, 'b', NULL, '2024-01-01 10:00'), (3, 'never seen', true, '2024-01-01 10:00'), (4, 'd', false, '2024-01-01 10:00');
SELECT sync_attach('soft', 'Far', 'soft', capture => 'poll', updated_column => 'updated_at', deleted_column => 'gone');
CALL sync_poll('soft') \gset
SELECT counts(:'result'), (:'result'::jsonb)->>'watermark' AS watermark;
UPDATE soft SET gone = true, updated_at = '2024-01-01 11:00' WHERE id = 1;
CALL sync_poll('soft') \gset
SELECT counts(:'result');
SELECT * FROM hub('soft');
SELECT detail FROM syncext.change_log WHERE entity = 'soft' AND external_id = '1' ORDER BY seq DESC LIMIT 1;
-- the hub's deletes become marks, and its records take them off
SELECT change('CRM', 'soft', '2', 9, NULL), change('CRM', 'soft', '1', 9, '{"v": "back"}'), change('CRM', 'soft', '5', 1, '{"v": "new"}'), change('CRM', 'soft', '6', 1, '{"v": "x"}'), change('CRM', 'soft', '6', 2, NULL);
SELECT sync_deliver('Far');
SELECT id, v, gone FROM soft ORDER BY 1;
CALL sync_poll('soft', true) \gset
SELECT counts(:'result');
-- the mark taken off is an edit
UPDATE soft SET gone = NULL, updated_at = '2024-01-01 12:00' WHERE id = 2;
-- and really deleted is deleted, too
DELETE FROM soft WHERE id = 4;
CALL sync_poll('soft', true) \gset
SELECT counts(:'result');
SELECT * FROM hub('soft');
CALL sync_load('soft') \gset
SELECT (:'result'::jsonb) - 'seconds' AS load;
-- by a time; latest wins, and a mark has the row's time
CREATE TABLE timed (id int PRIMARY KEY, v text, deleted_at timestamptz, updated_at timestamptz NOT NULL);
INSERT INTO timed VALUES (1, 'a', NULL, '2024-01-01 10:00+00'), (2, 'b', NULL, '2024-01-01 10:00+00');
SELECT sync_attach('timed', 'Far', 'newest', capture => 'poll', updated_column => 'updated_at', deleted_column => 'deleted_at');
CALL sync_poll('timed') \gset
SELECT counts(:'result');
UPDATE timed SET deleted_at = '2024-01-01 11:00+00', updated_at = '2024-01-01 11:00+00' WHERE id = 1;
SELECT sync_apply('{"entity": "newest", "externalId": "1", "source": "CRM", "updatedAt": "2024-01-01T12:00:00Z", "v": "later"}')->>'resolution';
CALL sync_poll('timed') \gset
SELECT counts(:'result');
SELECT sync_deliver('Far');
SELECT id, v, deleted_at, updated_at AT TIME ZONE 'UTC' AS at FROM timed ORDER BY 1;
SELECT sync_apply('{"entity": "newest", "externalId": "2", "source": "CRM", "updatedAt": "2024-01-01T13:00:00Z", "deleted": true}')->>'resolution';
SELECT sync_deliver('Far');
SELECT id, v, deleted_at AT TIME ZONE 'UTC' AS deleted_at, updated_at AT TIME ZONE 'UTC' AS at FROM timed WHERE id = 2;

-- a view that joins, written to by its triggers; two key columns
CREATE TABLE person (id int PRIMARY KEY, name text);
CREATE TABLE mail (person int REFERENCES person, kind text, address text, PRIMARY KEY (person, kind));
CREATE VIEW v AS SELECT p.id, m.kind, p.name, m.address FROM person p JOIN mail m ON m.person = p.id;
CREATE FUNCTION v_write() RETURNS trigger LANGUAGE plpgsql SET search_path = public AS $$
BEGIN
	IF TG_OP = 'DELETE' THEN
		DELETE FROM mail WHERE person = OLD.id AND kind = OLD.kind;
		RETURN OLD;
	END IF;
	INSERT INTO person VALUES (NEW.id, NEW.name) ON CONFLICT (id) DO UPDATE SET name = NEW.name;
	INSERT INTO mail VALUES (NEW.id, NEW.kind, lower(NEW.address)) ON CONFLICT (person, kind) DO UPDATE SET address = lower(NEW.address);
	RETURN NEW;
END $$;
CREATE TRIGGER v_write INSTEAD OF INSERT OR UPDATE OR DELETE ON v FOR EACH ROW EXECUTE FUNCTION v_write();
INSERT INTO person VALUES (1, 'Ann'), (2, 'Bob');
INSERT INTO mail VALUES (1, 'home', 'ann@home'), (1, 'work', 'ann@work'), (2, 'a|b', 'bob');
SELECT sync_attach('v', 'Far', 'v', '{id,kind}', capture => 'poll');
CALL sync_poll('v') \gset
SELECT counts(:'result');
UPDATE person SET name = 'Anna' WHERE id = 1;
DELETE FROM mail WHERE person = 2;
CALL sync_poll('v', true) \gset
SELECT counts(:'result');
-- what the view's trigger makes of what is delivered the hub hears of
SELECT change('CRM', 'v', '1|home', 10, '{"address": "ANN@New"}'), change('CRM', 'v', '3|home', 1, '{"name": "Cleo", "address": "CLEO"}'), change('CRM', 'v', '1|work', 10, NULL);
SELECT sync_deliver('Far');
SELECT * FROM v ORDER BY 1, 2;
SELECT * FROM hub('v');
CALL sync_poll('v', true) \gset
SELECT counts(:'result');
SELECT sync_deliver('Far');

-- a version column: it numbers the edits, and is no field
CREATE TABLE versioned (id int PRIMARY KEY, v text, version int);
INSERT INTO versioned VALUES (1, 'a', 5);
SELECT sync_attach('versioned', 'Far', 'versioned', capture => 'poll', version_column => 'version');
CALL sync_poll('versioned') \gset
UPDATE versioned SET version = 6;
CALL sync_poll('versioned') \gset
SELECT counts(:'result');
UPDATE versioned SET v = 'b', version = 7;
CALL sync_poll('versioned') \gset
SELECT counts(:'result'), version FROM syncext.canonical WHERE entity = 'versioned';

-- a file
SELECT format('%s/syncext_poll_%s.csv', current_setting('data_directory'), pg_backend_pid()) AS filename \gset
COPY (VALUES (1, 'a'), (2, 'b'), (NULL, 'nobody'), (3, 'c'), (3, 'd')) TO :'filename' (FORMAT csv);
CREATE SERVER files FOREIGN DATA WRAPPER file_fdw;
CREATE FOREIGN TABLE file (id int, v text) SERVER files OPTIONS (filename :'filename', format 'csv');
SELECT sync_attach('file', 'Far', 'file', '{id}', capture => 'poll');
SELECT sync_attach('file', 'Far', 'file', '{id}', capture => 'poll', direction => 'in');
CALL sync_poll('file') \gset
SELECT counts(:'result');
SELECT external_id, attempts, next_attempt IS NULL AS dead, error FROM syncext.capture_failure ORDER BY 1;
COPY (VALUES (1, 'a'), (3, 'c')) TO :'filename' (FORMAT csv);
UPDATE syncext.capture_failure SET next_attempt = now() WHERE external_id = '3';
CALL sync_poll('file', true) \gset
SELECT counts(:'result');
SELECT * FROM hub('file');
SELECT count(*) FROM syncext.capture_failure;
-- a line that is none: nothing of the file can be read
COPY (VALUES ('4', 'd'), ('five', 'e')) TO :'filename' (FORMAT csv);
CALL sync_poll('file', true);
SELECT status, error FROM syncext.job_run WHERE relation = 'file'::regclass ORDER BY id DESC LIMIT 1;
SELECT count(*) FROM hub('file') WHERE NOT deleted;
COPY (SELECT) TO :'filename';
SELECT sync_detach('file');

-- through a server, to this very database
SELECT current_database() AS db, split_part(current_setting('unix_socket_directories'), ',', 1) AS host, current_setting('port') AS port \gset
CREATE SERVER loop FOREIGN DATA WRAPPER postgres_fdw OPTIONS (dbname :'db', host :'host', port :'port');
CREATE USER MAPPING FOR CURRENT_USER SERVER loop;
CREATE TABLE loop_there (id uuid PRIMARY KEY, v text, tags text[], doc jsonb, at timestamptz, changed timestamptz DEFAULT now());
CREATE FOREIGN TABLE loop (id uuid NOT NULL, v text, tags text[], doc jsonb, at timestamptz, changed timestamptz) SERVER loop OPTIONS (table_name 'loop_there');
INSERT INTO loop_there VALUES ('11111111-1111-1111-1111-111111111111', 'a', '{x,y}', '{"b": 1, "a": [1.0, null]}', '2024-01-01 00:00:00.5+00', '2024-01-01 00:00:00+00');
SELECT sync_attach('loop', 'Far', 'loop', '{id}', capture => 'poll', updated_column => 'changed', columns => '{"value": "v", "tags": "tags", "doc": "doc", "at": "at"}');
CALL sync_poll('loop') \gset
SELECT counts(:'result');
SELECT * FROM hub('loop');
SELECT change('CRM', 'loop', '11111111-1111-1111-1111-111111111111', 9, '{"tags": ["z"]}'), change('CRM', 'loop', '22222222-2222-2222-2222-222222222222', 1, '{"value": "new", "doc": {"x": 1}}');
SELECT sync_deliver('Far');
SELECT id, v, tags, doc FROM loop_there ORDER BY 1;
CALL sync_poll('loop', true) \gset
SELECT counts(:'result');
-- what the server refuses fails alone
ALTER TABLE loop_there ADD CONSTRAINT short CHECK (length(v) < 5);
SELECT change('CRM', 'loop', '11111111-1111-1111-1111-111111111111', 10, '{"value": "much too long"}'), change('CRM', 'loop', '22222222-2222-2222-2222-222222222222', 10, '{"value": "ok"}');
SELECT sync_deliver('Far');
SELECT v FROM loop_there ORDER BY 1;
SELECT external_id, error FROM syncext.pending;
SELECT sync_discard('Far');
-- the condition is left to the server
EXPLAIN (VERBOSE, COSTS OFF) SELECT t.id FROM public.loop AS t WHERE t.changed OPERATOR(pg_catalog.>=) '2024-01-01T00:00:00Z'::pg_catalog.timestamptz ORDER BY t.changed;
SELECT sync_detach('loop');

-- parents that come later
SELECT sync_add_reference('child', 'parent', 'parent');
CREATE TABLE child (id int PRIMARY KEY, parent text, v text);
INSERT INTO child VALUES (1, 'p', 'waits'), (2, NULL, 'goes');
SELECT sync_attach('child', 'Far', 'child', capture => 'poll');
CALL sync_poll('child') \gset
SELECT counts(:'result');
CALL sync_poll('child') \gset
SELECT counts(:'result');
SELECT change('CRM', 'parent', 'p', 1, '{"v": 1}');
SELECT id, fields FROM hub('child');

-- fields of a pending conflict are judged by what was delivered of them
CREATE TABLE held (id int PRIMARY KEY, a text, b text);
INSERT INTO held VALUES (1, 'a', 'b');
SELECT sync_attach('held', 'Tied', 'held', capture => 'poll');
CALL sync_poll('held') \gset
SELECT change('CRM', 'held', '1', 10, '{"a": "crm"}');
UPDATE held SET a = 'tied';
CALL sync_poll('held') \gset
SELECT counts(:'result');
SELECT contested, status FROM syncext.conflict_log;
SELECT change('CRM', 'held', '1', 11, '{"b": "crm"}');
SELECT sync_deliver('Tied');
SELECT * FROM held;
SELECT row_version, held, fields FROM syncext.replica WHERE relation = 'held'::regclass;
CALL sync_poll('held') \gset
SELECT counts(:'result');
SELECT sync_resolve(id, 'incoming')->>'resolution' FROM syncext.conflict_log;
SELECT sync_deliver('Tied');
SELECT * FROM held;
CALL sync_poll('held') \gset
SELECT counts(:'result');

-- columns that come and go here
CREATE TABLE wide (id text PRIMARY KEY, a int);
INSERT INTO wide VALUES ('1', 1), ('1 ', 2), (E'tab\t', 3), (repeat('x', 1100), 4);
SELECT sync_attach('wide', 'Far', 'wide', capture => 'poll');
CALL sync_poll('wide') \gset
SELECT counts(:'result');
SELECT left(error, 60) AS error FROM syncext.capture_failure WHERE external_id = '';
DELETE FROM wide WHERE a = 4;
ALTER TABLE wide ADD COLUMN b text;
CALL sync_poll('wide') \gset
SELECT counts(:'result');
UPDATE wide SET b = 'x' WHERE a = 1;
ALTER TABLE wide ADD COLUMN c int DEFAULT 7;
CALL sync_poll('wide') \gset
SELECT counts(:'result');
ALTER TABLE wide DROP COLUMN a;
CALL sync_poll('wide') \gset
SELECT counts(:'result');
SELECT * FROM hub('wide');
-- of the name of one that was dropped: what it holds is no edit, but what is set then
ALTER TABLE wide DROP COLUMN b, ADD COLUMN b text DEFAULT 'again';
CALL sync_poll('wide') \gset
SELECT counts(:'result');
UPDATE wide SET b = 'edited' WHERE id = '1';
CALL sync_poll('wide') \gset
SELECT counts(:'result');
SELECT * FROM hub('wide');
-- nor where no poll has been yet
CREATE TABLE early (id text PRIMARY KEY, a int, b text, c int);
SELECT sync_add_source('Early');
SELECT sync_attach('early', 'Early', 'wide', capture => 'poll');
SELECT sync_deliver('Early');
ALTER TABLE early DROP COLUMN a, ADD COLUMN a int DEFAULT 99;
UPDATE wide SET c = 8 WHERE id = '1';
CALL sync_poll('wide') \gset
SELECT sync_deliver('Early');
CALL sync_poll('early') \gset
SELECT counts(:'result');
SELECT * FROM hub('wide');
SELECT sync_detach('early'), sync_drop_source('Early');
DROP TABLE early;
-- nothing but a key
ALTER TABLE wide DROP COLUMN b, DROP COLUMN c;
INSERT INTO wide VALUES ('bare');
CALL sync_poll('wide') \gset
SELECT counts(:'result');
CALL sync_poll('wide') \gset
SELECT counts(:'result');
DELETE FROM wide WHERE id = 'bare';
CALL sync_poll('wide', true) \gset
SELECT counts(:'result');
SELECT * FROM hub('wide') WHERE id = 'bare';

-- batches of one, and erased
SET syncext.poll_batch = 1;
INSERT INTO wide SELECT n::text FROM generate_series(10, 14) n;
CALL sync_poll('wide') \gset
SELECT counts(:'result');
RESET syncext.poll_batch;
SELECT sync_forget('wide', '10')->'replica' AS forgotten;
CALL sync_poll('wide') \gset
SELECT counts(:'result');

-- New rows of a view are brought to the hub together.  What its code makes of these records
-- meanwhile is neither lost nor in the way.
CREATE TABLE base (id int PRIMARY KEY, name text);
INSERT INTO base SELECT n, 'n' || n FROM generate_series(1, 100) n;
CREATE FUNCTION touch(id int, name text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	IF id % 10 = 0 THEN
		PERFORM sync_apply(jsonb_build_object('entity', 'touched', 'externalId', id::text, 'source', 'CRM', 'version', 1,
			'created', true, 'fields', jsonb_build_object('other', id)));
	END IF;
	RETURN name;
END $$;
SELECT sync_add_entity('touched');
CREATE VIEW touching AS SELECT id, touch(id, name) AS name FROM base;
SELECT sync_attach('touching', 'Far', 'touched', key => '{id}', capture => 'poll');
CALL sync_poll('touching') \gset
SELECT counts(:'result');
SELECT count(*), count(*) FILTER (WHERE fields->>'name' = 'n' || id) AS named, count(*) FILTER (WHERE (fields->>'other') = id) AS touched FROM hub('touched');
SELECT sync_forget('touched', n::text) IS NOT NULL AS forgotten FROM generate_series(30, 40, 10) n;
CALL sync_load('touching') \gset
SELECT (:'result')::jsonb - 'seconds' - 'details' AS loaded;
SELECT count(*), count(*) FILTER (WHERE fields->>'name' = 'n' || id) AS named, count(*) FILTER (WHERE (fields->>'other') = id) AS touched FROM hub('touched');
DROP VIEW touching;
DROP FUNCTION touch;

DROP TABLE base, soft, timed, mail, person, versioned, loop_there, child, held, wide CASCADE;
DROP FUNCTION hub, v_write;
SET client_min_messages = warning;
DROP EXTENSION syncext, postgres_fdw, file_fdw CASCADE;
