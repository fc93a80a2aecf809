-- The stewards' work, and who may do it: syncext.conflict, sync_resolve_where,
-- decision ladder, sync_reopen, sync_assign; sync_grant and sync_revoke.
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_watcher, syncext_all, syncext_person, "syncext Per'son", syncext_runner, syncext_nobody, syncext_gone;
RESET client_min_messages;
CREATE EXTENSION syncext;
\ir test/helpers.sql
CREATE ROLE syncext_watcher;
CREATE ROLE syncext_all;
CREATE ROLE syncext_person;
CREATE ROLE "syncext Per'son" IN ROLE syncext_person;
CREATE ROLE syncext_runner;
CREATE ROLE syncext_nobody;
CREATE ROLE syncext_gone;
SELECT sync_add_source('CRM', 1), sync_add_source('Web', 3), sync_add_source('App', 3), sync_add_entity('person'), sync_add_entity('order');
-- two sources of one rank, who say different things at one version
CREATE FUNCTION contest(entity text, id text, fields jsonb, other jsonb, at text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', 'Web', 'entity', entity, 'externalId', id, 'version', 1, 'fields', fields))->>'resolution' || ' ' ||
	       (sync_apply(jsonb_build_object('source', 'App', 'entity', entity, 'externalId', id, 'version', 1) ||
	                   jsonb_strip_nulls(jsonb_build_object('updatedAt', at)) ||
	                   CASE WHEN other IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', other) END)->>'resolution')
$$;

--
-- What waits: a row a contested field
--
SELECT contest('person', 'P1', '{"name": "Ann", "phone": "1", "n": null}', '{"name": "Anne", "phone": "2", "n": 3}', '2026-01-01T00:00:00Z');
SELECT contest('person', 'P2', '{"name": "Bob"}', NULL);
SELECT contest('order', 'O1', '{"total": 1}', '{"total": 2}');
-- since then the record has moved on
SELECT sync_apply('{"source":"CRM","entity":"person","externalId":"P1","version":2,"updatedAt":"2026-02-01T00:00:00Z","city":"Bern"}')->>'resolution' AS resolution;
SELECT conflict_id AS id, entity, external_id, field, source, theirs, ours, now FROM syncext.conflict ORDER BY 1, field;
SELECT conflict_id AS id, field, theirs_at, theirs_version, ours_source, ours_row_version AS ours_rv, now_source, now_row_version AS now_rv, now_at AT TIME ZONE 'UTC' AS now_at, disputed_by, since IS NOT NULL AS since, reason
FROM syncext.conflict ORDER BY 1, field;
-- who else disputes it
SELECT sync_add_source('Old', 3);
SELECT sync_apply('{"source":"Old","entity":"person","externalId":"P1","base":0,"name":"Annie"}')->>'resolution' AS resolution;
SELECT conflict_id AS id, field, source, disputed_by FROM syncext.conflict WHERE external_id = 'P1' ORDER BY 1, field;
-- stamps that a hand has edited break nothing
UPDATE syncext.canonical SET stamps = stamps || '{"name": "x", "phone": [1]}' WHERE external_id = 'P1';
SELECT field, now, now_source, now_at FROM syncext.conflict WHERE external_id = 'P1' AND source = 'App' ORDER BY 1;
UPDATE syncext.canonical SET stamps = stamps - 'name' - 'phone' || '{"n": [1, "Web", 1, "Web"], "name": [1, "Web", 1, "Web"], "phone": [1, "Web", 1, "Web"]}' WHERE external_id = 'P1';

--
-- Assigned
--
SELECT sync_assign(1, 'Dora'), sync_assign(3, 'Dora'), sync_assign(3, NULL);
SELECT DISTINCT conflict_id, assigned_to FROM syncext.conflict ORDER BY 1;
SELECT sync_assign(99, 'Dora');
SELECT sync_assign(NULL, 'Dora');

--
-- By the ladder, with the ranks and rules of today
--
-- nothing has changed: it stays pending
SELECT a->>'status' AS status, a->>'resolution' AS resolution, a->>'conflictId' AS id FROM sync_resolve(1, 'ladder') a;
SELECT count(*) FROM syncext.conflict WHERE conflict_id = 1;
-- App has a better rank for the phone, and a rule decides n, so the name is left
UPDATE syncext.source_priority SET priority = 2 WHERE source = 'App';
INSERT INTO syncext.source_priority (source, entity, field, priority) VALUES ('App', 'person', 'name', 9);
INSERT INTO syncext.field_rule VALUES ('person', 'n', 'max');
SELECT a->>'resolution' AS resolution, a->'changed' AS changed, a->'lost' AS lost, a->>'told' AS told, regexp_replace(a->>'reason', '^\S+', 'who') AS reason
FROM sync_resolve(1, 'ladder', note => 'ranks were mended') a;
SELECT * FROM fields_of('P1', 'person');
SELECT id, status, decision, note FROM syncext.conflict_log WHERE id = 1;
SELECT source, resolution, told, detail - 'decidedBy' AS detail FROM sync_history('person', 'P1') ORDER BY seq DESC LIMIT 1;
-- what lost, lost: only its source is told
SELECT contest('person', 'P3', '{"name": "C"}', '{"name": "D"}');
UPDATE syncext.source_priority SET priority = 3 WHERE field = 'name';
SELECT contest('person', 'P4', '{"name": "C"}', '{"name": "D"}');
UPDATE syncext.source_priority SET priority = 9 WHERE field = 'name';
SELECT a->'changed' AS changed, a->'lost' AS lost, a->>'told' AS told FROM sync_resolve((SELECT conflict_id FROM syncext.conflict WHERE external_id = 'P4'), 'ladder') a;
SELECT fields('person', 'P4');
-- a delete, as a whole record
SELECT a->>'resolution' AS resolution, a->>'told' AS told FROM sync_resolve(2, 'ladder') a;
SELECT deleted FROM syncext.canonical WHERE external_id = 'P2';
-- by a base, and a ladder that ends otherwise today
SELECT sync_apply('{"source":"Web","entity":"order","externalId":"O2","version":1,"a":1,"b":1}')->>'resolution' AS resolution,
       sync_apply('{"source":"Old","entity":"order","externalId":"O2","base":0,"a":2,"c":2}')->>'resolution' AS resolution;
UPDATE syncext.entity SET ladder = '{version,merge,priority,overwrite}' WHERE name = 'order';
SELECT a->'changed' AS changed, a->>'told' AS told, regexp_replace(a->>'reason', '^\S+', 'who') AS reason FROM sync_resolve((SELECT conflict_id FROM syncext.conflict WHERE external_id = 'O2'), 'ladder') a;
UPDATE syncext.entity SET ladder = DEFAULT WHERE name = 'order';
-- a source that was dropped has no rank
SELECT sync_add_source('Leaver', 3);
SELECT sync_apply('{"source":"Leaver","entity":"order","externalId":"O2","base":0,"b":5}')->>'resolution' AS resolution;
SELECT sync_drop_source('Leaver');
SELECT a->'changed' AS changed, a->'lost' AS lost FROM sync_resolve((SELECT conflict_id FROM syncext.conflict WHERE source = 'Leaver'), 'ladder') a;
SELECT sync_resolve(3, 'ladder', '{"a": 1}');

--
-- Reopened
--
SELECT sync_reopen(1);
SELECT id, status, decision, decided_by, decided_at, decided_seq, note FROM syncext.conflict_log WHERE id = 1;
SELECT field, theirs, ours, now FROM syncext.conflict WHERE conflict_id = 1 ORDER BY 1;
-- its fields are held back from its source again
SELECT sync_resync('App', 'person');
SELECT external_id, fields FROM sync_pull('App') WHERE external_id = 'P1';
SELECT a->>'resolution' AS resolution FROM sync_resolve(1, 'canonical') a;
SELECT * FROM attempt('SELECT sync_reopen(3)');
SELECT * FROM attempt('SELECT sync_reopen(99)');
SELECT * FROM attempt('SELECT sync_reopen(NULL)');
-- not beside one that says the same
SELECT contest('order', 'O3', '{"x": 1}', '{"x": 2}');
UPDATE syncext.source_priority SET priority = 3 WHERE source = 'App' AND field = '*';
SELECT contest('order', 'O4', '{"x": 1}', '{"x": 2}');
SELECT conflict_id AS id FROM syncext.conflict WHERE external_id = 'O4' \gset
SELECT a->>'resolution' AS resolution FROM sync_resolve(:id, 'dismiss') a;
SELECT contest('order', 'O4', '{"x": 1}', '{"x": 2}');
SELECT regexp_replace(said, '\d+', 'N', 'g') AS said, regexp_replace(hint, '\d+', 'N') AS hint FROM attempt(format('SELECT sync_reopen(%s)', :id));
-- nor of a record that was erased, or when what came in can't be read
SELECT id FROM syncext.conflict_log WHERE external_id = 'P4' \gset
DELETE FROM syncext.canonical WHERE external_id = 'P4';
SELECT regexp_replace(said, '\d+', 'N') AS said FROM attempt(format('SELECT sync_reopen(%s)', :id));

--
-- Many at once
--
SELECT count(*) FROM generate_series(1, 20) i, contest('order', 'M' || lpad(i::text, 2, '0'), jsonb_build_object('a', i, 'b', 1), jsonb_build_object('a', i + 1, 'b', 1 + i % 2));
SELECT sync_resolve_where('order', 'incoming', field => 'b', note => 'b is theirs');
SELECT count(*), count(*) FILTER (WHERE note = 'b is theirs') AS noted FROM syncext.conflict_log WHERE decision = 'incoming';
SELECT sync_resolve_where('order', 'canonical', filter => '$.theirs.a > 15 && $.ours.a < 20 && $.now.a < 20');
SELECT sync_resolve_where('order', 'dismiss', max_conflicts => 2);
SELECT sync_resolve_where('order', 'ladder', source => 'App');
UPDATE syncext.source_priority SET priority = 2 WHERE source = 'App' AND field = '*';
SELECT sync_resolve_where('order', 'ladder', 'App');
SELECT sync_resolve_where('order', 'canonical', older_than => '1 day');
SELECT entity, external_id, field FROM syncext.conflict ORDER BY 1, 2;
-- deciding one closes others of its record: they are skipped
SELECT sync_apply('{"source":"Web","entity":"order","externalId":"S","version":1,"a":1}')->>'resolution' AS resolution,
       sync_apply('{"source":"Old","entity":"order","externalId":"S","version":1,"a":2}')->>'resolution' AS resolution;
UPDATE syncext.source_priority SET priority = 3 WHERE source = 'App' AND field = '*';
SELECT sync_apply('{"source":"App","entity":"order","externalId":"S","version":1,"a":3}')->>'resolution' AS resolution;
SELECT sync_resolve_where('order', 'incoming', filter => '$.now.a == 1');
-- a delete that others keep from happening is refused
SELECT sync_add_reference('order', 'person', 'person', 'restrict');
SELECT contest('person', 'P9', '{"name": "Z"}', NULL);
SELECT sync_apply('{"source":"CRM","entity":"order","externalId":"O9","version":1,"person":"P9"}')->>'resolution' AS resolution;
SELECT sync_resolve_where('person', 'incoming', filter => '$.theirs == null');
SELECT said FROM attempt(format('SELECT sync_resolve(%s, ''incoming'')', (SELECT conflict_id FROM syncext.conflict WHERE external_id = 'P9')));
-- what can't be
SELECT command, t.* FROM unnest(ARRAY[
	$$SELECT sync_resolve_where('order', 'merge')$$,
	$$SELECT sync_resolve_where('order', 'maybe')$$,
	$$SELECT sync_resolve_where('order', NULL)$$,
	$$SELECT sync_resolve_where(NULL, 'dismiss')$$,
	$$SELECT sync_resolve_where('nothing', 'dismiss')$$,
	$$SELECT sync_resolve_where('order', 'dismiss', max_conflicts => 0)$$,
	$$SELECT sync_resolve_where('order', 'dismiss', filter => '$.theirs')$$]) command, attempt(command) t;

--
-- Who may
--
SELECT sync_grant('syncext_watcher', 'monitor'), sync_grant('syncext_all', 'steward'), sync_grant('syncext_person', 'steward', 'person'), sync_grant('syncext_runner', 'admin');
SELECT sync_grant('syncext_watcher', 'monitor');
SELECT role, privilege, entity FROM syncext.privilege ORDER BY 1, 2;
SELECT contest('person', 'W1', '{"mail": "E"}', '{"mail": "F"}'), contest('order', 'W1', '{"x": 1}', '{"x": 2}');
SELECT max(conflict_id) FILTER (WHERE entity = 'person') AS person, max(conflict_id) FILTER (WHERE entity = 'order') AS "order" FROM syncext.conflict WHERE external_id = 'W1' \gset

CREATE FUNCTION may(role text, VARIADIC commands text[]) RETURNS TABLE (command text, state text, said text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	FOREACH command IN ARRAY commands LOOP
		SELECT a.state, regexp_replace(left(a.said, 90), '\d+', 'N') INTO state, said FROM attempt(command) a;
		RETURN NEXT;
	END LOOP;
	RESET ROLE;
END $$;
GRANT EXECUTE ON FUNCTION may, attempt TO PUBLIC;
-- a monitor sees how the hub is, and no record
SELECT * FROM may('syncext_watcher', 'SELECT count(*) FROM syncext.feed_lag', 'SELECT count(*) FROM syncext.dead_letter', 'SELECT count(*) > 0 FROM sync_check()',
	'SELECT count(*) FROM syncext.conflict', 'SELECT count(*) FROM syncext.canonical', $$SELECT sync_record('person', 'W1')$$, 'SELECT count(*) FROM syncext.conflict_log', 'SELECT sync_add_source(''X'')',
	'SELECT sync_grant(''syncext_watcher'', ''admin'')', format('SELECT sync_resolve(%s, ''dismiss'')', :person), 'SELECT syncext.may_monitor()');
-- a steward of one entity, by membership as well, sees and decides that one's
SELECT * FROM may('syncext Per''son', 'SELECT string_agg(DISTINCT entity, '' '') FROM syncext.conflict', $$SELECT sync_record('person', 'W1')->'fields'$$, $$SELECT sync_record('order', 'W1')$$,
	$$SELECT count(*) FROM sync_history('person', 'W1')$$, $$SELECT count(*) FROM sync_history('order', 'W1')$$,
	format('SELECT sync_assign(%s, ''me'')', :person), format('SELECT sync_assign(%s, ''me'')', :order),
	format('SELECT sync_resolve(%s, ''dismiss'')', :order), format('SELECT sync_resolve(%s, ''dismiss'')', 4711), format('SELECT sync_reopen(%s)', 3), format('SELECT sync_resolve(%s, ''dismiss'')->>''resolution''', :person),
	format('SELECT sync_reopen(%s)', :person), $$SELECT sync_resolve_where('order', 'dismiss')$$, $$SELECT sync_resolve_where('nothing', 'dismiss')$$, $$SELECT sync_resolve_where('person', 'dismiss', filter => '$.now.mail == "E"')$$,
	'SELECT count(*) FROM syncext.feed_lag', 'SELECT count(*) FROM syncext.canonical', $$SELECT sync_apply('{"source":"CRM","entity":"person","externalId":"X","version":1,"a":1}')$$);
-- of all entities
SELECT * FROM may('syncext_all', 'SELECT string_agg(DISTINCT entity, '' '') FROM syncext.conflict', format('SELECT sync_resolve(%s, ''dismiss'')->>''resolution''', :order), 'SELECT sync_resolve(4711, ''dismiss'')');
-- which record of another entity keeps one from being deleted only the second is told
SELECT role, m.said FROM unnest('{"syncext Per''son",syncext_all}'::text[]) role, may(role, format('SELECT sync_resolve(%s, ''incoming'')', (SELECT conflict_id FROM syncext.conflict WHERE external_id = 'P9'))) m;
-- an admin does what the owner does, but grant
SELECT * FROM may('syncext_runner', 'SELECT count(*) > 0 FROM syncext.canonical', $$SELECT sync_add_source('New')$$, $$UPDATE syncext.source SET role = 'syncext_nobody' WHERE name = 'New'$$,
	$$INSERT INTO syncext.field_rule VALUES ('order', 'n', 'min')$$, $$SELECT sync_apply('{"source":"CRM","entity":"person","externalId":"X","version":1,"a":1}')->>'resolution'$$, $$SELECT sync_drop_source('New')$$,
	$$SELECT sync_grant('syncext_nobody', 'admin')$$, $$UPDATE syncext.privilege SET entity = '*'$$, $$UPDATE syncext.binding SET source = source$$, $$UPDATE syncext.link SET owner = 'postgres'$$, $$DELETE FROM syncext.canonical$$);
-- nobody else
SELECT * FROM may('syncext_nobody', 'SELECT count(*) FROM syncext.conflict', format('SELECT sync_resolve(%s, ''dismiss'')', :order), 'SELECT sync_reopen(1)', $$SELECT sync_resolve_where('order', 'dismiss')$$,
	$$SELECT sync_resolve_where('nothing', 'dismiss')$$, 'SELECT syncext.may_decide(NULL)', 'SELECT syncext.may_monitor()');
-- taken back: one entity, or all
SELECT sync_grant('syncext_person', 'steward', 'order');
SELECT * FROM may('syncext_person', 'SELECT syncext.may_decide(''order'')', 'SELECT syncext.may_decide(''person'')');
SELECT sync_revoke('syncext_person', 'steward', 'order');
SELECT * FROM may('syncext_person', 'SELECT syncext.may_decide(''order'')', 'SELECT syncext.may_decide(''person'')');
SELECT sync_revoke('syncext_person', 'steward');
SELECT * FROM may('syncext_person', 'SELECT syncext.may_decide(NULL)');
-- what another privilege gives stays
SELECT sync_grant('syncext_runner', 'monitor'), sync_revoke('syncext_runner', 'admin');
SELECT * FROM may('syncext_runner', 'SELECT count(*) > 0 FROM syncext.feed_lag', 'SELECT count(*) FROM syncext.canonical', $$SELECT sync_add_source('New')$$);
SELECT command, t.* FROM unnest(ARRAY[
	$$SELECT sync_grant('syncext_missing', 'monitor')$$,
	$$SELECT sync_grant(NULL, 'monitor')$$,
	$$SELECT sync_grant('syncext_all', 'king')$$,
	$$SELECT sync_grant('syncext_all', NULL)$$,
	$$SELECT sync_grant('syncext_all', 'monitor', 'order')$$,
	$$SELECT sync_grant('syncext_all', 'steward', 'nothing')$$,
	$$SELECT sync_revoke('syncext_nobody', 'steward')$$,
	$$SELECT sync_revoke(NULL, 'steward')$$]) command, attempt(command) t;
-- who is an admin no more acts as no source, by what it has attached neither
CREATE TABLE runs (id text PRIMARY KEY, v text);
ALTER TABLE runs OWNER TO syncext_runner;
SELECT sync_add_source('Runs'), sync_add_entity('run'), sync_grant('syncext_runner', 'admin');
SET ROLE syncext_runner;
SELECT sync_attach('runs', 'Runs', 'run');
INSERT INTO runs VALUES ('1', 'as admin');
RESET ROLE;
SELECT sync_revoke('syncext_runner', 'admin');
SELECT * FROM may('syncext_runner', $$INSERT INTO runs VALUES ('2', 'as nobody')$$);
SELECT object, problem, hint FROM sync_check() WHERE object ~ 'runs';
SELECT external_id FROM syncext.canonical WHERE entity = 'run';
SELECT sync_detach('runs');
DROP TABLE runs;
-- what was granted on an entity goes with it
SELECT sync_add_entity('brief');
SELECT sync_grant('syncext_runner', 'steward', 'brief'), sync_own_keys('Runs', 'brief');
INSERT INTO syncext.source_key (source, entity, source_id, external_id) VALUES ('Runs', 'brief', 'r1', 'b1');
DELETE FROM syncext.entity WHERE name = 'brief';
SELECT (SELECT count(*) FROM syncext.privilege WHERE entity = 'brief') AS privileges, (SELECT count(*) FROM syncext.source_key WHERE entity = 'brief') AS keys;
-- roles are kept by name: one that is missing has nothing, and sync_check tells
SELECT sync_grant('syncext_gone', 'steward'), sync_grant('syncext_gone', 'monitor');
DROP OWNED BY syncext_gone;
SELECT object, problem, hint FROM sync_check() WHERE object ~ 'gone' ORDER BY 1;
DROP ROLE syncext_gone;
SELECT object, problem, hint FROM sync_check() WHERE object ~ 'gone' ORDER BY 1;
SELECT sync_revoke('syncext_gone', 'steward'), sync_revoke('syncext_gone', 'monitor');
-- a role that is renamed keeps its GRANTs, which go by no name
CREATE ROLE syncext_once;
SELECT sync_grant('syncext_once', 'monitor'), sync_grant('syncext_once', 'admin'), sync_revoke('syncext_once', 'admin');
ALTER ROLE syncext_once RENAME TO syncext_now;
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE '%syncext_%' ORDER BY object;
SELECT sync_revoke('syncext_once', 'monitor');
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE '%syncext_%' ORDER BY object;
SELECT sync_grant('syncext_now', 'monitor');
SELECT sync_revoke('syncext_now', 'monitor');
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE '%syncext_%' ORDER BY object;
SELECT has_table_privilege('syncext_now', 'syncext.metric', 'SELECT') AS still;
DROP ROLE syncext_now;
-- what a hand has granted on sync_resolve still counts
GRANT EXECUTE ON FUNCTION sync_resolve TO syncext_nobody;
SELECT * FROM may('syncext_nobody', 'SELECT sync_resolve(4711, ''dismiss'')', 'SELECT sync_reopen(1)');

DROP FUNCTION contest, may;
DROP EXTENSION syncext;
DROP ROLE syncext_watcher, syncext_all, "syncext Per'son", syncext_person, syncext_runner, syncext_nobody;
