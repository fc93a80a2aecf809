-- sync_load and sync_resync: what was agreed on is no edit, nulls at first sight say
-- nothing, columns that were added are filled, and what a table lost comes back.
CREATE EXTENSION syncext;
SET client_min_messages = warning;
SELECT sync_add_source('A', 1), sync_add_source('CRM', 2), sync_add_source('B', 3), sync_add_source('N', 1), sync_add_entity('first'), sync_add_entity('person'), sync_add_entity('grown'), sync_add_entity('lost'), sync_add_entity('none');
CREATE FUNCTION record(entity text, id text) RETURNS text LANGUAGE sql AS
	$$ SELECT format('%s %s%s %s', c.row_version, c.last_source, CASE WHEN c.deleted THEN ' deleted' END, c.fields) FROM syncext.canonical c WHERE c.entity = $1 AND c.external_id = $2 $$;
CREATE FUNCTION crm(entity text, id text, base bigint, fields jsonb) RETURNS text LANGUAGE sql AS
	$$ SELECT sync_apply(jsonb_build_object('entity', entity, 'externalId', id, 'source', 'CRM', 'base', base) || CASE WHEN fields IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', fields) END)->>'resolution' $$;
CREATE FUNCTION plain(result jsonb) RETURNS text LANGUAGE sql AS
	$$ SELECT string_agg(format('%s %s', key, value), ', ' ORDER BY key) FROM jsonb_each(result - 'seconds') WHERE value NOT IN ('0', '{"replaced": [], "kept_back": []}') $$;

-- the first sight of two systems: who is empty and well ranked erases nothing
CREATE TABLE first_a (id text PRIMARY KEY, email text, phone text);
CREATE TABLE first_b (id text PRIMARY KEY, email text, phone text);
INSERT INTO first_a VALUES ('1', NULL, '1');
INSERT INTO first_b VALUES ('1', 'e@x', '11');
SELECT sync_attach('first_a', 'A', 'first'), sync_attach('first_b', 'B', 'first');
CALL sync_load('first_a', dry_run => true) \gset
SELECT plain(:'result'), (SELECT count(*) FROM syncext.canonical) AS records, (SELECT count(*) FROM syncext.replica) AS replicas, (SELECT count(*) FROM syncext.change_log) AS changes;
CALL sync_load('first_a') \gset
SELECT plain(:'result');
CALL sync_load('first_b', dry_run => true) \gset
SELECT plain(:'result');
CALL sync_load('first_b') \gset
SELECT plain(:'result');
SELECT sync_deliver('A');
SELECT * FROM first_a UNION ALL SELECT * FROM first_b;
CALL sync_load('first_a', dry_run => NULL);

-- a row that is as it was agreed on: others' changes that weren't delivered yet stand
CREATE TABLE person (id text PRIMARY KEY, name text, phone text);
SELECT sync_attach('person', 'A', 'person');
INSERT INTO person VALUES ('1', 'Ann', '111'), ('2', 'Bob', '111');
SELECT crm('person', '1', 1, '{"phone": "222"}'), crm('person', '2', 1, NULL);
CALL sync_load('person') \gset
SELECT plain(:'result'), record('person', '1'), record('person', '2');
SELECT * FROM person;
-- with an edit that was captured, and one that was not
SELECT crm('person', '1', 2, '{"phone": "333"}');
UPDATE person SET name = 'Anna';
ALTER TABLE person DISABLE TRIGGER _syncext_capture;
UPDATE person SET name = 'Annabel';
ALTER TABLE person ENABLE ALWAYS TRIGGER _syncext_capture;
CALL sync_load('person') \gset
SELECT plain(:'result'), record('person', '1');
-- nothing captures this one: what was agreed on is remembered
CREATE TABLE none (id text PRIMARY KEY, name text, phone text);
INSERT INTO none VALUES ('1', 'Ann', '111'), ('2', 'Bob', '111'), ('3', 'Cid', '111');
SELECT sync_attach('none', 'N', 'none', capture => 'none');
CALL sync_load('none') \gset
SELECT crm('none', '1', 1, '{"phone": "222"}'), crm('none', '2', 1, NULL), crm('none', '3', 1, NULL);
UPDATE none SET name = name || '!' WHERE id IN ('1', '3');
CALL sync_load('none') \gset
SELECT plain(:'result'), record('none', '1'), record('none', '2'), record('none', '3');
SELECT * FROM none ORDER BY 1;

-- columns that are added node by node: their content is no edit
CREATE TABLE grown_a (id text PRIMARY KEY, v text);
CREATE TABLE grown_b (id text PRIMARY KEY, v text);
CREATE TABLE grown_n (id text PRIMARY KEY, v text);
SELECT sync_attach('grown_a', 'A', 'grown'), sync_attach('grown_b', 'B', 'grown'), sync_attach('grown_n', 'N', 'grown', capture => 'poll');
INSERT INTO grown_a SELECT n, 'v' || n FROM generate_series(1, 3) n;
SELECT crm('grown', '1', 1, '{"phone": "p1"}');
SELECT sync_deliver('A'), sync_deliver('B'), sync_deliver('N');
ALTER TABLE grown_a ADD phone text;
CALL sync_load('grown_a') \gset
SELECT plain(:'result'), record('grown', '1');
ALTER TABLE grown_a ADD state text DEFAULT 'new';
UPDATE grown_a SET state = 'done' WHERE id = '1';
SELECT sync_deliver('B'), sync_deliver('N');
ALTER TABLE grown_n ADD state text DEFAULT 'new';
CALL sync_poll('grown_n') \gset
SELECT record('grown', '1'), record('grown', '2');
ALTER TABLE grown_b ADD state text DEFAULT 'new', ADD phone text;
CALL sync_load('grown_b') \gset
SELECT plain(:'result'), record('grown', '1'), record('grown', '2');
CALL sync_load('grown_n') \gset
SELECT plain(:'result');
SELECT sync_deliver('A'), sync_deliver('B');
SELECT * FROM grown_a ORDER BY 1;
SELECT * FROM grown_b ORDER BY 1;
SELECT * FROM grown_n ORDER BY 1;
-- once more by the same name, and by sync_resync
ALTER TABLE grown_b DROP phone;
ALTER TABLE grown_b ADD phone text;
SELECT sync_resync('B', 'grown');
SELECT sync_deliver('B');
SELECT * FROM grown_b ORDER BY 1;
ALTER TABLE grown_b DROP phone;
ALTER TABLE grown_b ADD phone text;
CALL sync_load('grown_b') \gset
SELECT plain(:'result'), record('grown', '1');

-- rows that were lost or have drifted, behind the hub's back
CREATE TABLE lost (id text PRIMARY KEY, v text);
SELECT sync_attach('lost', 'B', 'lost');
SELECT count(crm('lost', n::text, 0, jsonb_build_object('v', 'v' || n))) FROM generate_series(1, 4) n;
SELECT sync_deliver('B');
UPDATE lost SET v = 'mine' WHERE id = '4';
SET syncext.inbound = 'on';
DELETE FROM lost WHERE id IN ('1', '2');
UPDATE lost SET v = 'drifted' WHERE id = '3';
RESET syncext.inbound;
SELECT sync_resync('B');
SELECT sync_deliver('B');
SELECT * FROM lost ORDER BY 1;
SELECT sync_resync('B');
SELECT sync_deliver('B');
-- a change of others brings its row back, too, and deletes nothing
SET syncext.inbound = 'on';
DELETE FROM lost;
RESET syncext.inbound;
SELECT crm('lost', '1', 1, '{"v": "v1 again"}');
SELECT sync_deliver('B');
SELECT * FROM lost ORDER BY 1;
SET syncext.inbound = 'on';
UPDATE lost SET v = 'drifted';
RESET syncext.inbound;
CALL sync_load('lost', 'hub', dry_run => true) \gset
SELECT plain(:'result');
CALL sync_load('lost', 'hub') \gset
SELECT plain(:'result');
SELECT * FROM lost ORDER BY 1;
SELECT external_id, deleted FROM syncext.canonical WHERE entity = 'lost' AND deleted;

DROP FUNCTION record, crm, plain;
DROP TABLE first_a, first_b, person, none, grown_a, grown_b, grown_n, lost;
-- Rows that are loaded together: those that others refer to, and those that refer
SELECT sync_add_entity(name) FROM unnest('{house,room,lamp}'::text[]) name;
SELECT sync_add_reference('room', 'house', 'house', 'restrict'), sync_add_reference('lamp', 'room', 'room', 'cascade');
CREATE TABLE house (id int PRIMARY KEY, street text);
CREATE TABLE room (id int PRIMARY KEY, house int, name text);
CREATE TABLE lamp (id int PRIMARY KEY, room int, watts int);
INSERT INTO house SELECT n, 's' || n FROM generate_series(1, 60) n;
INSERT INTO room SELECT n, n, 'r' || n FROM generate_series(1, 60) n;
INSERT INTO lamp SELECT n, n, 40 FROM generate_series(1, 60) n;
SELECT sync_attach(name, 'CRM', name) FROM unnest('{house,room,lamp}'::text[]) name;
-- what waited for them comes with them
SELECT answer->>'resolution' AS resolution, count(*) FROM generate_series(41, 60) n,
	sync_apply(jsonb_build_object('entity', 'room', 'externalId', (100 + n)::text, 'source', 'A', 'version', 1, 'fields', jsonb_build_object('house', n::text))) answer
GROUP BY 1;
CALL sync_load('house') \gset
SELECT (SELECT count(*) FROM syncext.waiting) AS waiting, count(*) FILTER (WHERE entity = 'house') AS houses, count(*) FILTER (WHERE entity = 'room') AS rooms FROM syncext.canonical;
-- of those that were deleted meanwhile, one that may not be missed comes back, and one takes with it what comes late
SELECT count(sync_apply(jsonb_build_object('entity', 'house', 'externalId', n::text, 'source', 'A', 'version', 9, 'deleted', true))) FROM generate_series(1, 10) n;
CALL sync_load('room') \gset
SELECT entity, deleted, count(*) FROM syncext.canonical WHERE entity IN ('house', 'room', 'lamp') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(sync_apply(jsonb_build_object('entity', 'room', 'externalId', n::text, 'source', 'A', 'version', 9, 'deleted', true))) FROM generate_series(21, 40) n;
CALL sync_load('lamp') \gset
SELECT entity, deleted, count(*) FROM syncext.canonical WHERE entity IN ('house', 'room', 'lamp') GROUP BY 1, 2 ORDER BY 1, 2;
SELECT count(*) AS tracked FROM syncext.child;
-- a record that refers to one of its own kind is there before that one is asked for
SELECT sync_add_entity('folder'), sync_add_reference('folder', 'within', 'folder');
CREATE TABLE folder (id int PRIMARY KEY, within int);
INSERT INTO folder SELECT n, nullif(n / 2, 0) FROM generate_series(1, 60) n;
SELECT sync_attach('folder', 'CRM', 'folder');
CALL sync_load('folder') \gset
SELECT count(*) AS folders, (SELECT count(*) FROM syncext.waiting) AS waiting FROM syncext.canonical WHERE entity = 'folder' AND NOT deleted;
DROP TABLE house, room, lamp, folder;

DROP EXTENSION syncext;
