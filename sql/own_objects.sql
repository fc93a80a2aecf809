-- What a DBA makes of the extension's own tables: columns, indexes, checks and
-- triggers that are added work; what can't be worked with is told.
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE EXTENSION syncext;
SELECT sync_add_source('A', 1), sync_add_source('B', 2);
CREATE FUNCTION put(id text, version int, v int) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', 'A', 'externalId', id, 'version', version, 'fields', jsonb_build_object('v', v)))->>'resolution' $$;

-- ---------- columns that were added ----------

SELECT put('1', 1, 1);
ALTER TABLE syncext.canonical ADD COLUMN owner text DEFAULT 'nobody', ADD COLUMN n int NOT NULL DEFAULT 7,
	ADD COLUMN size int GENERATED ALWAYS AS (octet_length(fields::text)) STORED;
ALTER TABLE syncext.change_log_0 ADD COLUMN who text DEFAULT upper('me'), ADD COLUMN gone int;
ALTER TABLE syncext.change_log_0 DROP COLUMN gone;
ALTER TABLE syncext.source ADD COLUMN contact text, ADD COLUMN filler text DEFAULT 'f';
ALTER TABLE syncext.cursor ADD COLUMN note text DEFAULT 'c';
ALTER TABLE syncext.tick ADD COLUMN note text;
ALTER TABLE syncext.link ADD COLUMN note text, ADD COLUMN note2 bigint DEFAULT 4711;
ALTER TABLE syncext.conflict_log ADD COLUMN assignee text DEFAULT 'desk';
ALTER TABLE syncext.feed_origin ADD COLUMN note text;
UPDATE syncext.canonical SET owner = 'ann' WHERE external_id = '1';
SELECT put('1', 2, 2), put('2', 1, 1);
SELECT external_id, fields, owner, n, size FROM syncext.canonical ORDER BY 1;
SELECT external_id, who FROM syncext.change_log_0 ORDER BY seq;
SELECT entity, external_id, fields FROM sync_pull('B');
SELECT sync_ack('B', batch) FROM syncext.cursor WHERE target = 'B';
SELECT target, note FROM syncext.cursor ORDER BY 1;
CREATE TABLE t (id text PRIMARY KEY, v int);
SELECT sync_attach('t', 'B');
UPDATE syncext.source SET contact = 'desk' WHERE name = 'B';
SELECT sync_detach('t');
SELECT name, single_writer, contact, filler FROM syncext.source ORDER BY 1;
CALL sync_maintain();
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE 'table syncext.%';

-- one that the application must fill is its own error
ALTER TABLE syncext.canonical ADD COLUMN must text;
UPDATE syncext.canonical SET must = 'x';
ALTER TABLE syncext.canonical ALTER must SET NOT NULL;
SELECT put('3', 1, 1);
SELECT put('2', 2, 2);
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE 'table syncext.%' AND severity = 'error';
ALTER TABLE syncext.canonical DROP COLUMN must;
SELECT put('3', 1, 1);

-- ---------- columns that are gone, or others ----------

ALTER TABLE syncext.canonical RENAME COLUMN stamps TO marks;
SELECT put('1', 3, 3);
ALTER TABLE syncext.canonical RENAME COLUMN marks TO stamps;
SELECT put('1', 3, 3);
ALTER TABLE syncext.canonical ALTER version TYPE text;
SELECT put('1', 4, 4);
ALTER TABLE syncext.canonical ALTER version TYPE bigint USING version::bigint;
SELECT put('1', 4, 4);
ALTER TABLE syncext.source DROP COLUMN retry_cap;
-- of several views that depend on it the server names any
\set VERBOSITY terse
ALTER TABLE syncext.tick ALTER snapshot TYPE text;
\set VERBOSITY default
-- where a column stands doesn't matter
ALTER TABLE syncext.canonical ADD COLUMN copy jsonb;
UPDATE syncext.canonical SET copy = stamps;
ALTER TABLE syncext.canonical RENAME COLUMN stamps TO was;
ALTER TABLE syncext.canonical RENAME COLUMN copy TO stamps;
ALTER TABLE syncext.canonical ALTER was DROP NOT NULL;
SELECT put('1', 5, 5);
SELECT count(*) FROM sync_pull('B');
SELECT sync_ack('B', batch) FROM syncext.cursor WHERE target = 'B';

-- ---------- nulls, odd arrays ----------

ALTER TABLE syncext.canonical ALTER fields DROP NOT NULL;
UPDATE syncext.canonical SET fields = NULL WHERE external_id = '2';
SELECT put('2', 9, 9);
SELECT sync_record('record', '2');
SELECT put('1', 6, 6);
UPDATE syncext.canonical SET fields = '{"v": 2}' WHERE external_id = '2';
SELECT put('2', 9, 9);
\set VERBOSITY terse
UPDATE syncext.source SET entities = '{record,NULL}';
\set VERBOSITY default
ALTER TABLE syncext.source DROP CONSTRAINT source_entities_check;
UPDATE syncext.source SET entities = '{record,NULL}' WHERE name = 'B';
SELECT source, changes FROM syncext.feed_lag ORDER BY 1;
UPDATE syncext.source SET entities = '{{record,NULL},{"",record}}' WHERE name = 'B';
SELECT put('1', 7, 7);
SELECT entity, external_id FROM sync_pull('B');
SELECT source, changes FROM syncext.feed_lag ORDER BY 1;
UPDATE syncext.source SET entities = NULL;
ALTER TABLE syncext.entity ALTER ladder DROP NOT NULL;
UPDATE syncext.entity SET ladder = NULL;
SELECT put('1', 8, 8);
UPDATE syncext.entity SET ladder = DEFAULT;
ALTER TABLE syncext.source_priority ALTER priority DROP NOT NULL;
UPDATE syncext.source_priority SET priority = NULL WHERE source = 'A';
SELECT put('1', 8, 8);
UPDATE syncext.source_priority SET priority = 1 WHERE source = 'A';
UPDATE syncext.cursor SET lo = -1, hi = 9223372036854775807 WHERE target = 'B';
SELECT count(*) FROM sync_pull('B');
CALL sync_maintain();
SELECT put('1', 8, 8);

-- ---------- indexes, checks and triggers ----------

CREATE INDEX by_email ON syncext.canonical ((fields->>'v'));
CREATE UNIQUE INDEX by_row ON syncext.canonical (external_id, row_version);
ALTER TABLE syncext.canonical ADD CONSTRAINT small CHECK ((fields->>'v')::int < 1000);
CREATE TABLE audit (id text, v text);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN INSERT INTO public.audit VALUES (NEW.external_id, NEW.fields->>'v'); RETURN NULL; END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION audit();
SELECT put('1', 9, 99), put('5', 1, 5);
SELECT put('1', 10, 10000);
-- in a batch it fails alone, and says which record it is
SELECT a->>'status' AS status, a->>'resolution' AS resolution, a->>'reason' AS reason
FROM jsonb_array_elements(sync_apply(jsonb_build_array(
	'{"source": "A", "externalId": "6", "version": 1, "v": 6}'::jsonb,
	'{"source": "A", "externalId": "5", "version": 2, "v": 5000}'::jsonb,
	'{"source": "A", "externalId": "7", "version": 1, "v": 7000}'::jsonb,
	'{"source": "A", "externalId": "8", "version": 1, "v": 8}'::jsonb))) a;
SELECT external_id, fields FROM syncext.canonical WHERE external_id BETWEEN '5' AND '8' ORDER BY 1;

-- so does one whose own expression raises, as it is evaluated or prepared; and a column or an index that does
CREATE FUNCTION batch(VARIADIC v int[]) RETURNS TABLE (status text, reason text) LANGUAGE sql AS $$
	SELECT a->>'status', a->>'reason' FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(
		jsonb_build_object('source', 'A', 'externalId', 'g' || n, 'version', (SELECT count(*) FROM syncext.change_log) + 1, 'v', v[n])) FROM generate_subscripts(v, 1) n))) a $$;
CREATE FUNCTION odd(v int) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN IF v % 2 = 0 THEN RAISE EXCEPTION '% is even', v USING ERRCODE = '42501'; END IF; RETURN true; END $$;
ALTER TABLE syncext.canonical ADD CONSTRAINT inverse CHECK (1 / (fields->>'v')::int > -1);
SELECT * FROM batch(3, 0, 4);
SELECT put('g9', 1, 0);
ALTER TABLE syncext.canonical DROP CONSTRAINT inverse, ADD CONSTRAINT raises CHECK (odd((fields->>'v')::int)) NOT VALID;
SELECT * FROM batch(5, 6, 7);
ALTER TABLE syncext.canonical DROP CONSTRAINT raises, ADD CONSTRAINT constant CHECK (1 / 0 > 0) NOT VALID;
SELECT * FROM batch(8, 9);
ALTER TABLE syncext.canonical DROP CONSTRAINT constant, ADD COLUMN inverse int GENERATED ALWAYS AS (1000 / ((fields->>'v')::int - 11)) STORED;
SELECT * FROM batch(10, 11, 12);
ALTER TABLE syncext.canonical DROP COLUMN inverse;
CREATE INDEX inverse ON syncext.canonical ((1000 / ((fields->>'v')::int - 14)));
SELECT * FROM batch(13, 14, 15);
DROP INDEX syncext.inverse;
SELECT * FROM batch(13, 14, 15);
SELECT external_id, fields FROM syncext.canonical WHERE external_id LIKE 'g%' ORDER BY 1;
CREATE TRIGGER before BEFORE INSERT OR UPDATE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER statement AFTER INSERT ON syncext.canonical EXECUTE FUNCTION audit();
CREATE TRIGGER truncated AFTER TRUNCATE ON syncext.canonical EXECUTE FUNCTION audit();
SELECT put('1', 10, 10);
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE 'table syncext.%' AND problem LIKE 'has a trigger%';
DROP TRIGGER before ON syncext.canonical;
DROP TRIGGER statement ON syncext.canonical;
DROP TRIGGER truncated ON syncext.canonical;
SELECT * FROM audit ORDER BY id;
DROP INDEX syncext.waiting_due;
CREATE INDEX waiting_due ON syncext.waiting (attempts);
SELECT syncext.may_act_as('A');
CALL sync_maintain();
DROP INDEX syncext.waiting_due;
CREATE INDEX waiting_due ON syncext.waiting (next_attempt) WHERE next_attempt IS NOT NULL;
CALL sync_maintain();
ALTER TABLE syncext.tick DROP CONSTRAINT tick_pkey;
ALTER TABLE syncext.tick ADD PRIMARY KEY (taken_at);
SELECT count(*) FROM sync_pull('A');
ALTER TABLE syncext.tick DROP CONSTRAINT tick_pkey;
ALTER TABLE syncext.tick ADD PRIMARY KEY (id);
SELECT count(*) FROM sync_pull('A');

-- whatever a document of a batch raises, it fails alone, and a record is deleted with those that refer to it
SELECT sync_add_entity('parent'), sync_add_entity('child'), sync_add_reference('child', 'parent', 'parent', 'restrict');
CREATE FUNCTION tried(VARIADIC documents text[]) RETURNS TABLE (entity text, id text, status text, resolution text, sqlstate text) LANGUAGE sql AS $$
	WITH d AS (SELECT i, ('{"source": "A", ' || documents[i] || '}')::jsonb AS d FROM generate_subscripts(documents, 1) i),
	     a AS (SELECT sync_apply((SELECT jsonb_agg(d ORDER BY i) FROM d)) AS a)
	SELECT d->>'entity', d->>'externalId', a->(i - 1)->>'status', a->(i - 1)->>'resolution', a->(i - 1)->>'sqlstate' FROM d, a ORDER BY i $$;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.fields ? 'bad' THEN RAISE 'it is bad' USING ERRCODE = 'AB123'; END IF; RETURN NULL; END $$;
CREATE TRIGGER refuse AFTER INSERT OR UPDATE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT * FROM tried('"entity": "parent", "externalId": "p1", "version": 1, "n": 1', '"entity": "child", "externalId": "c1", "version": 1, "parent": "p1"', '"entity": "child", "externalId": "c2", "version": 1, "parent": "p1", "bad": 1',
	'"entity": "child", "externalId": "c3", "version": 1, "parent": "p1"', '"entity": "parent", "externalId": "p2", "version": 1, "n": 1');
SELECT * FROM tried('"entity": "parent", "externalId": "p1", "version": 2, "deleted": true', '"entity": "child", "externalId": "c1", "version": 2, "deleted": true', '"entity": "parent", "externalId": "p3", "version": 1, "bad": 1',
	'"entity": "child", "externalId": "c3", "version": 2, "deleted": true', '"entity": "parent", "externalId": "p2", "version": 2, "deleted": true', '"entity": "parent", "externalId": "p2", "version": 3, "n": 3');
SELECT * FROM tried('"entity": "parent", "externalId": "p3", "version": 2, "bad": 1');
SELECT entity, external_id, deleted, fields FROM syncext.canonical WHERE entity IN ('parent', 'child') ORDER BY 1, 2;
DROP FUNCTION refuse CASCADE;

-- on another table of ours a CHECK fails the call, but in a batch its change alone, and is told; canonical's and our own are not
SELECT severity, object, problem, hint FROM sync_check() WHERE problem LIKE 'has a CHECK%';
ALTER TABLE syncext.change_log_0 ADD CONSTRAINT odd_in_log CHECK (external_id <> 'odd');
ALTER TABLE syncext.conflict_log ADD CHECK (source <> 'odd');
SELECT severity, object, problem, hint FROM sync_check() WHERE problem LIKE 'has a CHECK%';
\set VERBOSITY terse
SELECT sync_apply('[{"source": "A", "externalId": "even", "version": 1, "v": 1}, {"source": "A", "externalId": "odd", "version": 1, "v": 1}]');
\set VERBOSITY default
SELECT count(*) FROM syncext.canonical WHERE external_id IN ('odd', 'even');
SELECT put('even', 1, 1);
ALTER TABLE syncext.change_log_0 DROP CONSTRAINT odd_in_log;
ALTER TABLE syncext.conflict_log DROP CONSTRAINT conflict_log_source_check;
SELECT put('odd', 1, 1);

-- ---------- tables that are another's ----------

CREATE ROLE own_objects_other;
ALTER TABLE syncext.change_log_0 OWNER TO own_objects_other;
SELECT put('1', 11, 11);
ALTER TABLE syncext.change_log_0 OWNER TO CURRENT_USER;
SELECT put('1', 11, 11);
ALTER TABLE syncext.canonical RENAME TO canonical_was;
CREATE TABLE syncext.canonical (LIKE syncext.canonical_was INCLUDING ALL);
SELECT put('1', 12, 12);
DROP TABLE syncext.canonical;
ALTER TABLE syncext.canonical_was RENAME TO canonical;
SELECT put('1', 12, 12);

-- a trigger function of ours on another table
CREATE TABLE other (a int, b text);
CREATE TRIGGER x AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION syncext.link_changed();
INSERT INTO other VALUES (1, 'x');
DROP TRIGGER x ON other;
CREATE TRIGGER x AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION syncext.capture();
INSERT INTO other VALUES (1, 'x');
DROP TRIGGER x ON other;
CREATE TRIGGER x AFTER INSERT ON other FOR EACH ROW EXECUTE FUNCTION syncext.registry_changed();
INSERT INTO other VALUES (1, 'x');

DROP TABLE other, audit, t;
DROP EXTENSION syncext CASCADE;
DROP FUNCTION put, audit;
DROP ROLE own_objects_other;
