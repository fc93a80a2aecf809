-- Every function that anybody may execute, called with another source's names, keys,
-- batches, tables and conflicts, as a role of one source, a steward of one entity, a
-- monitor, and nobody: nothing of the other source's is changed, and nothing of it is told.
--
-- What nobody else may know begins with zq: zqvalue is what records hold, zqname what they,
-- tables and links are called, and what errors say.
\set VERBOSITY terse
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_mine, syncext_theirs, syncext_steward, syncext_monitor, syncext_nobody;
CREATE EXTENSION syncext;
CREATE ROLE syncext_mine;
CREATE ROLE syncext_theirs;
CREATE ROLE syncext_steward;
CREATE ROLE syncext_monitor;
CREATE ROLE syncext_nobody;
RESET client_min_messages;
\pset format unaligned
\pset tuples_only on

-- Mine gets orders and nothing else.  What is another's is three sources: one is linked, one
-- has tables, one has keys of its own.
SELECT sync_add_source('Mine', 2, 'syncext_mine'), sync_add_source('Other'), sync_add_source('Linked', 3, 'syncext_theirs') \g /dev/null
SELECT sync_add_source(s, 1, 'syncext_theirs') FROM unnest('{Theirs,"Theirs table","Theirs keyed"}'::text[]) s \g /dev/null
SELECT sync_add_entity('order', '{version,merge,manual}'), sync_add_entity('customer', '{version,merge,manual}'), sync_add_entity('part'), sync_add_entity('leaf', '{field,latest}') \g /dev/null
SELECT sync_add_reference('part', 'customer', 'customer'), sync_add_reference('leaf', 'order', 'order', 'restrict') \g /dev/null
SELECT sync_subscribe('Mine', '{order}'), sync_grant('syncext_steward', 'steward', 'order'), sync_grant('syncext_monitor', 'monitor') \g /dev/null
SELECT sync_own_keys('Mine', 'order'), sync_own_keys('Theirs keyed', 'customer') \g /dev/null
SET ROLE syncext_theirs;
SELECT sync_apply('[{"source": "Theirs keyed", "entity": "customer", "externalId": "zqname1", "sourceId": "zqnamekey", "version": 1, "fields": {"a": "zqvalue", "b": "zqvalue"}},
	{"source": "Theirs", "entity": "customer", "externalId": "zqname2", "version": 1, "fields": {"a": "zqvalue"}, "changeId": "c-1"},
	{"source": "Theirs", "entity": "leaf", "externalId": "zqname1", "version": 1, "updatedAt": "2026-01-01T00:00:00Z", "fields": {"a": "zqvalue", "order": "shared"}},
	{"source": "Theirs", "entity": "order", "externalId": "shared", "version": 1, "fields": {"a": "theirs"}},
	{"source": "Theirs", "entity": "part", "externalId": "zqname3", "version": 1, "fields": {"customer": "zqnamemissing"}}]') \g /dev/null
RESET ROLE;
-- conflicts of both entities
SELECT a->>'resolution' FROM sync_apply('[{"source": "Other", "entity": "customer", "externalId": "zqname1", "version": 1, "fields": {"a": "zqvalue2"}},
	{"source": "Other", "entity": "order", "externalId": "shared", "version": 1, "deleted": true}]') x, jsonb_array_elements(x) a;
SELECT entity, count(*) FROM syncext.conflict_log WHERE status = 'pending' GROUP BY 1 ORDER BY 1;
-- a batch that is out, and a delivery that was given up
SELECT sync_ack('Theirs', max(batch), '[{"entity": "customer", "externalId": "zqname1", "error": "zqnameerror"}]') FROM sync_pull('Theirs') \g /dev/null
UPDATE syncext.pending SET next_attempt = NULL, dead_since = now() WHERE target = 'Theirs';
SELECT sync_apply('{"source": "Other", "entity": "customer", "externalId": "zqname4", "version": 1, "fields": {"a": "zqvalue"}}') \g /dev/null
SELECT count(*) > 0 AS out FROM sync_pull('Theirs');
-- tables, with a row that was not captured and a job that has failed
CREATE SCHEMA theirs AUTHORIZATION syncext_theirs;
CREATE SCHEMA mine AUTHORIZATION syncext_mine;
SET ROLE syncext_theirs;
CREATE TABLE theirs.zqname_part (id text PRIMARY KEY, a text);
CREATE TABLE theirs.zqname_leaf (id text PRIMARY KEY, a text, at timestamptz);
CREATE TABLE theirs.zqname_free (id text PRIMARY KEY, a text);
INSERT INTO theirs.zqname_part VALUES ('zqname5', 'zqvalue');
INSERT INTO theirs.zqname_free VALUES ('zqname5', 'zqvalue');
SELECT sync_attach('theirs.zqname_part', 'Theirs table', 'part'), sync_attach('theirs.zqname_leaf', 'Theirs table', 'leaf', capture => 'poll', updated_column => 'at') \g /dev/null
RESET ROLE;
INSERT INTO syncext.capture_failure (relation, external_id, error, since, dead_since, attempts) VALUES ('theirs.zqname_part', 'zqname6', 'zqnameerror', now(), now(), 1);
SELECT syncext.begin_job_run('theirs.zqname_leaf', 'poll', false, 'syncext_theirs') \g /dev/null
UPDATE syncext.job_run SET status = 'failed', error = 'zqnameerror';
-- a spoke that is linked as one, and a link of another
CREATE TABLE spoke AS SELECT jsonb_set(jsonb_set(syncext.identity(), '{mark}', '"11111111-1111-1111-1111-111111111111"'), '{ancestors}', '[]') AS identity;
SELECT syncext.hub_hello('Theirs', jsonb_build_object('claim', true, 'identity', identity)) IS NOT NULL AS linked FROM spoke;
SELECT sync_push('Theirs', '11111111-1111-1111-1111-111111111111/1/1', '[{"source": "Theirs", "entity": "customer", "externalId": "zqname2", "version": 2, "fields": {"a": "zqvalue"}}]') \g /dev/null
\c -
\pset format unaligned
\pset tuples_only on
\set VERBOSITY terse
CREATE EXTENSION dblink;
CREATE SERVER zqname_server FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '/nowhere');
INSERT INTO syncext.link (name, server, source, owner, enabled) VALUES ('zqname_link', 'zqname_server', 'Linked', 'syncext_theirs', false);
INSERT INTO syncext.link_state (link, last_error, failures) VALUES ('zqname_link', 'zqnameerror', 3);
-- a filter of theirs
SELECT sync_route('Theirs', 'part', '$.a != "zqvalue"') \g /dev/null
UPDATE syncext.route SET armed = true;

-- All rows that are about the other source or its records, with those of its tables.
CREATE FUNCTION theirs() RETURNS text LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	rows text;
	digest text;
BEGIN
	SELECT string_agg(format('SELECT %L || t::text AS t FROM %s t WHERE t::text ~ ''Theirs|Linked'' OR (t::text ~ ''zq'' AND t::text !~ ''Mine'')', c.oid::regclass, c.oid::regclass), ' UNION ALL ')
	INTO rows
	FROM pg_class c WHERE c.relkind = 'r' AND c.relnamespace IN ('syncext'::regnamespace, 'theirs'::regnamespace);
	EXECUTE format('SELECT string_agg(md5(t), '' '' ORDER BY t) FROM (%s) x', rows) INTO digest;
	RETURN digest;
END $$;

-- The values that the parameters of these names have: another's, or one's own beside it.
CREATE TABLE named (parameter text, type text, value text);
INSERT INTO named
SELECT p, t, v FROM (VALUES
	('source', 'text', '{Theirs,"Theirs table","Theirs keyed",Mine}'::text[]), ('entity', 'text', '{customer,order}'), ('external_id', 'text', '{zqname1,shared}'), ('keep', 'text', '{zqname1}'), ('drop', 'text', '{shared}'), ('source_id', 'text', '{zqnamekey}'),
	('link', 'text', '{zqname_link}'), ('name', 'text', '{zqname_link}'), ('decision', 'text', '{incoming,dismiss,distinct,merge}'), ('assignee', 'text', '{me}'),
	('batch', 'text', '{11111111-1111-1111-1111-111111111111/1/2}'), ('relation', 'regclass', '{theirs.zqname_part,theirs.zqname_free,theirs.zqname_leaf,mine.t}'),
	('max_records', 'integer', '{10}'), ('hub_behind', 'boolean', '{true,false}'), ('since', 'timestamptz', '{2020-01-01}'), ('epoch', 'bigint', '{1}'),
	('job', 'text', '{poll,zqname_job}'), ('cron', 'text', '{* * * * *}')) x (p, t, vs), unnest(vs) v;
INSERT INTO named SELECT p, 'bigint', id::text FROM (SELECT id FROM syncext.conflict_log UNION ALL VALUES (4711)) c, (VALUES ('conflict_id')) x (p);
INSERT INTO syncext.match_candidate (entity, external_id, other_id, rule) VALUES ('customer', 'shared', 'zqname1', 'r');
INSERT INTO named SELECT 'candidate', 'bigint', id::text FROM (SELECT id FROM syncext.match_candidate UNION ALL VALUES (4711)) c;
INSERT INTO named SELECT 'batch', 'bigint', batch::text FROM syncext.cursor WHERE target = 'Theirs';
CREATE FUNCTION document(more jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT '{"source": "Theirs", "entity": "customer", "externalId": "zqname1", "version": 9, "fields": {"a": "stolen"}}' || more
$$;
INSERT INTO named
SELECT p, 'jsonb', v::text FROM (VALUES
	('change', ARRAY[document('{}'), document('{"changeId": "c-1"}'), document('{"externalId": "shared", "entity": "order"}'), document('{"source": "Theirs keyed", "sourceId": "zqnamekey"}'),
		jsonb_build_array('{"source": "Mine", "entity": "order", "externalId": "own", "sourceId": "o", "version": 1, "fields": {"a": 1}}'::jsonb, document('{}')),
		'{"source": "Mine", "entity": "customer", "changeId": "c-1", "externalId": "stolen", "version": 1, "fields": {"a": 1}}']),
	('changes', ARRAY[jsonb_build_array(document('{}')), jsonb_build_array(document('{"base": 1}') - 'version'),
		jsonb_build_array('{"source": "Mine", "entity": "order", "externalId": "own", "version": 1, "fields": {"a": 1}}'::jsonb, document('{}')),
		jsonb_build_array(document('{"source": "Mine", "entity": "leaf", "state": {"ladder": "latest/latest", "stamps": {"a": [1, 800000000000000, "Theirs"]}, "life": {"lived": [1, 800000000000000, "Theirs"]}}}')),
		jsonb_build_array(document('{"recovered": 100, "recoveredEpoch": 1, "base": 0, "ifMatch": 0}') - 'version')]),
	('spoke', ARRAY['{}', (SELECT jsonb_build_object('claim', true, 'sent', 100, 'answered', 100, 'pulled', 100, 'identity', identity, 'hub', syncext.identity()) FROM spoke),
		(SELECT jsonb_build_object('claim', true, 'relay', true, 'identity', identity) FROM spoke)]),
	('known', ARRAY['{"zqname1": 1, "zqname2": -1, "shared": 1}'::jsonb]),
	('lost', ARRAY['[]', jsonb_build_array(document('{"recovered": 100, "recoveredEpoch": 1, "base": 0, "ifMatch": 0}') - 'version')]),
	('failed', ARRAY['[]', '[{"entity": "customer", "externalId": "zqname1", "error": "stolen"}, {"entity": "order", "externalId": "shared", "error": "stolen"}]'::jsonb]),
	('keys', ARRAY['[]', '[{"entity": "customer", "externalId": "zqname1", "sourceId": "stolen"}]'::jsonb])) x (p, vs), unnest(vs) v;

-- Each function with all that its parameters may be, those with another name or type left
-- to their defaults, or else null.
CREATE FUNCTION calls(kind "char") RETURNS TABLE (function regprocedure, call text, given text[]) LANGUAGE sql AS $$
	WITH RECURSIVE f AS (
		SELECT p.oid, p.pronargs, p.pronargdefaults, p.proargnames, p.proargtypes
		FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
		WHERE p.prokind = kind AND has_function_privilege('syncext_nobody', p.oid, 'EXECUTE')
	), argued AS (
		SELECT f.oid, 0 AS n, '{}'::text[] COLLATE "C" AS args, '{}'::text[] COLLATE "C" AS given FROM f
		UNION ALL
		SELECT a.oid, a.n + 1,
		       CASE WHEN v.value IS NOT NULL THEN a.args || format('%s => %L::%s', quote_ident(f.proargnames[a.n + 1]), v.value, format_type(f.proargtypes[a.n], NULL))
		            WHEN a.n >= f.pronargs - f.pronargdefaults THEN a.args
		            ELSE a.args || format('%s => NULL::%s', quote_ident(f.proargnames[a.n + 1]), format_type(f.proargtypes[a.n], NULL)) END,
		       a.given || v.value
		FROM argued a
		JOIN f ON f.oid = a.oid AND a.n < f.pronargs
		LEFT JOIN named v ON v.parameter = f.proargnames[a.n + 1] AND v.type::regtype = f.proargtypes[a.n]
		WHERE f.proargnames IS NOT NULL
	)
	SELECT a.oid::regprocedure, format(CASE kind WHEN 'p' THEN 'CALL %s(%s)' ELSE 'SELECT string_agg(x::text, '' '') FROM %s(%s) x' END, a.oid::regproc, array_to_string(a.args, ', ')),
	       array_remove(a.given, NULL)
	FROM argued a JOIN f ON f.oid = a.oid
	WHERE a.n = f.pronargs OR f.proargnames IS NULL
$$;
-- Parameters of public functions that take a name, a number or a document and have no
-- values above: a new one needs some, or to be listed here.
SELECT string_agg(DISTINCT format('%s %s', p.proargnames[n + 1], format_type(p.proargtypes[n], NULL)), ', ' ORDER BY format('%s %s', p.proargnames[n + 1], format_type(p.proargtypes[n], NULL)))
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext', generate_series(0, p.pronargs - 1) n
WHERE has_function_privilege('syncext_nobody', p.oid, 'EXECUTE') AND p.provolatile = 'v'
  AND NOT EXISTS (SELECT FROM named v WHERE v.parameter = p.proargnames[n + 1] AND v.type::regtype = p.proargtypes[n]);

CREATE TABLE answered (role text, call text, given text[], said text, changed boolean);
CREATE FUNCTION call_all(role text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	before text := theirs();
	c record;
	s text;
	hint text;
	changed boolean;
BEGIN
	FOR c IN SELECT * FROM calls('f') LOOP
		changed := false;
		BEGIN
			EXECUTE format('SET LOCAL ROLE %I', role);
			EXECUTE c.call INTO s;
			RESET ROLE;
			changed := theirs() IS DISTINCT FROM before;
			RAISE SQLSTATE 'ZZZZZ';
		EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
			NULL;
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
			s := concat_ws(' ', SQLSTATE, SQLERRM, hint);
		END;
		INSERT INTO answered VALUES (role, c.call, c.given, s, changed);
	END LOOP;
END $$;
SET client_min_messages = error;
SELECT call_all(r) FROM unnest('{syncext_mine,syncext_steward,syncext_monitor,syncext_nobody}'::text[]) r \g /dev/null
RESET client_min_messages;
SELECT count(*) > 1000 AS many, count(*) FILTER (WHERE said ~ '^42501') > 300 AS refused, count(*) FILTER (WHERE said !~ '^[0-9A-Z]{5} ') > 100 AS answered FROM answered;
-- nothing is changed, but for what the steward is for
SELECT role, regexp_replace(call, '=> ''\d+''', '=> N') AS call, left(said, 100) FROM answered WHERE changed ORDER BY 1, 2;
-- nothing is told but what was said by the caller; to a monitor names and errors are
CREATE FUNCTION told(said text, given text[], monitor boolean) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. coalesce(cardinality(given), 0) LOOP
		said := replace(replace(said, given[i], ''), split_part(given[i], '.', 2), '');
	END LOOP;
	RETURN said ~ CASE WHEN monitor THEN 'zqvalue' ELSE 'zq' END;
END $$;
SELECT role, call, left(said, 200) FROM answered WHERE told(said, given, role ~ 'monitor') ORDER BY 1, 2;
-- and internal errors are none
SELECT role, call, said FROM answered WHERE said ~ '^(XX|P0)' ORDER BY 1, 2;

-- What a role may read tells no more.
CREATE FUNCTION read_all(role text) RETURNS TABLE (relation regclass, said text) LANGUAGE plpgsql AS $$
BEGIN
	FOR relation IN
		SELECT c.oid FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
		WHERE c.relkind IN ('r', 'v') AND has_table_privilege(role, c.oid, 'SELECT')
	LOOP
		EXECUTE format('SET LOCAL ROLE %I', role);
		EXECUTE format('SELECT string_agg(t::text, '' '') FROM %s t', relation) INTO said;
		RESET ROLE;
		RETURN NEXT;
	END LOOP;
END $$;
SELECT role, relation, said FROM unnest('{syncext_mine,syncext_steward,syncext_monitor,syncext_nobody}'::text[]) role, read_all(role) WHERE told(said, '{}', role ~ 'monitor') ORDER BY 1, 2::text;
-- the test itself would see it
SELECT relation, told(said, '{}', true) FROM read_all(session_user) WHERE relation::text IN ('syncext.history', 'syncext.conflict') ORDER BY 1::text;

-- The test itself would notice a function that tells, and one that changes.
CREATE FUNCTION syncext.telling(source text) RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT left(string_agg(c::text, ''), 200) FROM syncext.canonical c $$;
CREATE FUNCTION syncext.changing(source text) RETURNS void LANGUAGE sql SECURITY DEFINER AS $$ UPDATE syncext.source s SET retry_cap = 1 WHERE s.name = $1 $$;
ALTER EXTENSION syncext ADD FUNCTION syncext.telling;
ALTER EXTENSION syncext ADD FUNCTION syncext.changing;
TRUNCATE answered;
SELECT call_all('syncext_nobody') \g /dev/null
SELECT call FROM answered WHERE changed OR told(said, given, false) ORDER BY 1;
ALTER EXTENSION syncext DROP FUNCTION syncext.telling;
ALTER EXTENSION syncext DROP FUNCTION syncext.changing;
DROP FUNCTION syncext.telling, syncext.changing;

-- Procedures commit: each by itself, in the end as it was.
CREATE TABLE before AS SELECT theirs() AS theirs;
SET client_min_messages = error;
\set VERBOSITY sqlstate
SELECT statement
FROM unnest('{syncext_mine,syncext_steward,syncext_monitor,syncext_nobody}'::text[]) r,
	LATERAL (SELECT 0 AS n, format('SET ROLE %I', r) AS statement
	         UNION ALL SELECT 1, call FROM calls('p')
	         UNION ALL SELECT 2, 'RESET ROLE') x
ORDER BY r, n, statement
\gexec
SELECT (SELECT theirs FROM before) = theirs() AS unchanged;
SET client_min_messages = warning;
DROP SCHEMA theirs, mine CASCADE;
DROP EXTENSION syncext;
DROP EXTENSION dblink CASCADE;
DROP OWNED BY syncext_mine, syncext_theirs, syncext_steward, syncext_monitor, syncext_nobody;
DROP ROLE syncext_mine, syncext_theirs, syncext_steward, syncext_monitor, syncext_nobody;
DROP FUNCTION theirs, document, calls, call_all, told, read_all;
DROP TABLE answered, named, before, spoke;
