-- Every function and procedure of the extension, called with nothing, with too
-- much and with nonsense: an error that says what is wrong, or an answer; never
-- an internal error.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_odd;
CREATE EXTENSION syncext;
CREATE EXTENSION dblink;
CREATE ROLE regress_odd;
SELECT sync_add_source('crm', 1, 'regress_odd'), sync_add_source('erp', 2), sync_add_entity('item') \g /dev/null
CREATE TABLE odd (id int PRIMARY KEY, name text, at timestamptz);
INSERT INTO odd VALUES (1, 'one', now());
CREATE VIEW odd_view AS SELECT * FROM odd;
ALTER TABLE odd OWNER TO regress_odd;
ALTER VIEW odd_view OWNER TO regress_odd;
SELECT sync_attach('odd', 'crm', 'record'), sync_attach('odd_view', 'crm', 'item', '{id}', capture => 'poll') \g /dev/null
SELECT sync_apply('[{"externalId": "1", "source": "erp", "version": 1, "name": "uno"}, {"externalId": "2", "source": "erp", "version": 1, "name": "dos"}]') \g /dev/null
SELECT count(*) FROM sync_pull('crm') \g /dev/null

CREATE TABLE odd_value (type regtype, usual boolean, value text);
INSERT INTO odd_value
SELECT t::regtype, n = 1, v
FROM (VALUES
	('text', ARRAY['crm', 'record', '', '*', 'sync_resolve', '1', 'poll', 'hub', '* * * * *', 'day', 'syncext.lease', 'search_path', E'a"b''; DROP TABLE odd; --', '%s%I%n%*d', E'\\', E'\u00e9\U0001F600',
	               repeat('x', 64), repeat(E'\u00e9', 32), repeat('0', 100000)]),
	('name', ARRAY['nowhere', '', '*', repeat('x', 63)]),
	('text[]', ARRAY['{item}', '{}', '{NULL}', '{{version,merge},{priority,manual}}', '[7:8]={version,keep}', '{version,merge,priority,manual}', '{latest,latest}', '{""}', '{*}',
	                 '{' || repeat('record,', 2000) || 'item}']),
	('integer', ARRAY['1', '0', '-1', '2147483647', '-2147483648']),
	('bigint', ARRAY['1', '0', '-1', '9223372036854775807', '-9223372036854775808']),
	('boolean', ARRAY['true', 'false']),
	('numeric', ARRAY['1', '0', '-1', 'NaN', '1e300']),
	('jsonb', ARRAY['{"externalId": "9", "source": "crm", "version": 1, "name": "x"}', 'null', '1', '"x"', '[]', '{}', '[null]', '[[]]', '[{}]', '{"": null}', 'true', '1e400', repeat('[', 3000) || repeat(']', 3000),
	                '{"externalId": 9, "source": ["crm"], "version": {"a": 1}, "fields": null, "base": 1e30, "deleted": "no", "updatedAt": 5}',
	                '[{"entity": "record", "externalId": "1", "error": null, "busy": 5}, {"entity": "record"}, 5]',
	                '[{"externalId": "9", "source": "crm", "version": 1}, {"externalId": "9", "source": "erp", "version": -1}, {"externalId": "9", "source": "crm", "base": 99}]',
	                '{"spoke": "x", "claim": 5, "protocol": -1}', '{"spoke": null, "protocol": 1e300}', '{"id": "id", "name": ["name"]}', '[{"status": 200}, {"status": "x", "rowVersion": 1e100}]',
	                '[{"entity": "record", "external_id": "1", "row_version": 1, "version": 1, "deleted": null, "fields": {"id": {}}}]']),
	('regclass', ARRAY['odd', '0', '4711', '4294967295', 'odd_view', 'pg_catalog.pg_class', 'syncext.canonical', 'odd_pkey', 'syncext.change_seq']),
	('regrole', ARRAY['regress_odd', '0', '4711']),
	('regprocedure', ARRAY['pg_catalog.lower(text)', '0', '4711', 'pg_catalog.jsonb_typeof(jsonb)', 'syncext.rule_function(text, text)']),
	('interval', ARRAY['1 day', '0', '-1 day', '178000000 years', '-178000000 years']),
	('timestamptz', ARRAY['2020-01-01', 'infinity', '-infinity', '4714-11-24 BC UTC', '294276-12-31 UTC']),
	('"char"', ARRAY['a', '', 'Z']),
	('jsonpath', ARRAY['$.a == 1', '$', 'strict $.x', '$.** ? (@ > 1)', '$.x.datetime() < "2020".datetime()']),
	('oid[]', ARRAY['{1259}', '{}', '{NULL}', '{{0},{4294967295}}']),
	('xid8', ARRAY['1', '0', '18446744073709551615']),
	('syncext.binding', ARRAY['(odd,crm,record,{id},,trigger,both,,,,2026-01-01,,,,,,,,f,,"{""columns"": {""id"": [1, ""text"", 25, -1], ""name"": 5}, ""partitions"": {""x"": 5, ""y"": null}}")',
	                          '(0,,,,,,,,,,,,,,,,,,,,)', '(4711,,,{},"{}",,,,,,,,,,,,,,,,{})', '(odd,,,"{NULL,id}",5,poll,,id,,,,4711,,,,,,,,,"{""columns"": [], ""partitions"": 1}")',
	                          '(syncext.canonical,,,,"{""a"": [1], ""b"": null}",,,,,,,,,,,,,,,,"{""of"": {}, ""columns"": {""fields"": [1e400, ""x"", 1e400, 1e400]}, ""partitions"": {"""": {}}}")', '(odd,,,,,,,,,,,,,,,,,,,,1)']),
	('pg_snapshot', ARRAY['1:1:', '1:9223372036854775807:', '9223372036854775806:9223372036854775807:9223372036854775806'])) t (t, vs), unnest(vs) WITH ORDINALITY u (v, n);
INSERT INTO odd_value SELECT DISTINCT type, false, NULL FROM odd_value;

-- Each argument in turn has each of the values of its type, the others being what
-- they usually are, or all nothing.
CREATE FUNCTION calls(kind "char") RETURNS TABLE (call text) LANGUAGE sql AS $$
	WITH f AS (
		SELECT p.oid, p.oid::regproc AS name, array_remove(coalesce(p.proargtypes::regtype[], '{}'), NULL) AS types, p.proretset
		FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
		WHERE p.prokind = kind
	), a AS (
		SELECT f.oid, f.name, a.n, v.value, others.nothing,
		       (SELECT string_agg(format('%L::%s', CASE WHEN t.n = a.n THEN v.value WHEN others.nothing THEN NULL
		                                               ELSE (SELECT u.value FROM odd_value u WHERE u.type = t.type AND u.usual LIMIT 1) END, t.type), ', ' ORDER BY t.n)
		        FROM unnest(f.types) WITH ORDINALITY t (type, n)) AS args
		FROM f
		CROSS JOIN LATERAL unnest(CASE WHEN f.types = '{}' THEN NULL ELSE f.types END) WITH ORDINALITY a (type, n)
		JOIN odd_value v ON v.type = a.type
		CROSS JOIN (VALUES (false), (true)) others (nothing)
		UNION ALL
		SELECT f.oid, f.name, 0, NULL, false, '' FROM f WHERE f.types = '{}'
	)
	SELECT DISTINCT format(CASE kind WHEN 'p' THEN 'CALL %s(%s)' ELSE 'SELECT * FROM %s(%s)' END, a.name, a.args) AS call
	FROM a
	ORDER BY 1
$$;
-- A type that has no values above would be passed over.
SELECT DISTINCT t::regtype
FROM pg_proc p
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext',
	unnest(p.proargtypes) t
WHERE t NOT IN (SELECT type FROM odd_value);

CREATE TABLE odd_answer (role text, call text, state text, message text);
GRANT ALL ON odd_answer TO regress_odd;
CREATE FUNCTION call_all() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c record;
	s text;
	m text;
BEGIN
	FOR c IN SELECT * FROM calls('f') LOOP
		s := '00000';
		m := NULL;
		BEGIN
			EXECUTE c.call;
			-- nothing of it stays
			RAISE SQLSTATE 'ODD00';
		EXCEPTION WHEN SQLSTATE 'ODD00' THEN
			NULL;
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, m = MESSAGE_TEXT;
		END;
		INSERT INTO odd_answer VALUES (current_user, c.call, s, m);
	END LOOP;
END $$;
-- Procedures commit: over there.
CREATE FUNCTION call_procedures(who text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	c record;
	s text;
	m text;
BEGIN
	PERFORM dblink_connect('odd', format('host=%s port=%s dbname=%L user=%L options=''-c client_min_messages=error''',
		split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database(), session_user));
	PERFORM dblink_exec('odd', format('SET ROLE %I', who));
	FOR c IN SELECT * FROM calls('p') LOOP
		s := '00000';
		m := NULL;
		BEGIN
			PERFORM * FROM dblink('odd', c.call) AS t (result jsonb);
		EXCEPTION WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS s = RETURNED_SQLSTATE, m = MESSAGE_TEXT;
		END;
		INSERT INTO odd_answer VALUES (who, c.call, s, m);
	END LOOP;
	PERFORM dblink_disconnect('odd');
END $$;
SELECT call_all() \g /dev/null
GRANT SELECT ON odd_value TO regress_odd;
SET ROLE regress_odd;
SELECT call_all() \g /dev/null
RESET ROLE;
SELECT call_procedures(current_user), call_procedures('regress_odd') \g /dev/null
SELECT count(*) > 4000 AS many, count(*) FILTER (WHERE state = '00000') > 500 AS answered FROM odd_answer;
-- internal errors, crashes, and what the server can't do
SELECT role, state, message, left(call, 200) FROM odd_answer WHERE state ~ '^(XX|F0|57P|08|53)' ORDER BY call, role LIMIT 50;
-- what was answered to one who has a source and a table, but for strict functions
-- of a null, which the server answers
SELECT DISTINCT split_part(split_part(call, '(', 1), ' ', CASE WHEN call LIKE 'CALL%' THEN 2 ELSE 4 END) COLLATE "C" AS answered
FROM odd_answer WHERE role = 'regress_odd' AND state = '00000' AND call !~ 'NULL::' ORDER BY 1;

-- The trigger functions, on a table that isn't theirs: every event, level and time.
CREATE TABLE anywhere (n int, x text);
CREATE FUNCTION trigger_all() RETURNS TABLE (trigger text, state text, message text) LANGUAGE plpgsql AS $$
BEGIN
	FOR trigger IN
		SELECT format('%s %s ON anywhere FOR EACH %s EXECUTE FUNCTION %s', at, event, level, p.oid::regprocedure)
		FROM pg_proc p
		JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
		JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext',
			unnest('{BEFORE,AFTER}'::text[]) at, unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) event, unnest('{ROW,STATEMENT}'::text[]) level
		WHERE p.prorettype = 'trigger'::regtype AND NOT (event = 'TRUNCATE' AND level = 'ROW')
		ORDER BY p.oid::regprocedure::text COLLATE "C", at, event, level
	LOOP
		BEGIN
			INSERT INTO anywhere VALUES (1, 'x'), (2, NULL);
			EXECUTE 'CREATE TRIGGER anywhere ' || trigger;
			INSERT INTO anywhere VALUES (3, 'y');
			UPDATE anywhere SET n = n + 1;
			DELETE FROM anywhere WHERE n = 2;
			TRUNCATE anywhere;
			RAISE SQLSTATE 'ODD00';
		EXCEPTION WHEN SQLSTATE 'ODD00' THEN
			NULL;
		WHEN OTHERS THEN
			GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT;
			IF state LIKE 'XX%' THEN
				RETURN NEXT;
			END IF;
		END;
	END LOOP;
END $$;
SELECT * FROM trigger_all();

SET client_min_messages = warning;
SELECT sync_detach('odd'), sync_detach('odd_view') \g /dev/null
DROP TABLE odd, odd_value, odd_answer, anywhere CASCADE;
DROP FUNCTION calls, call_all, call_procedures, trigger_all;
DROP EXTENSION dblink;
DROP EXTENSION syncext CASCADE;
DROP ROLE regress_odd;
