-- Field rules with arguments: functions of the database's, and values that count as empty.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Shop', 3), sync_add_source('Twin', 3);
CREATE FUNCTION decide(VARIADIC changes jsonb[])
	RETURNS TABLE (resolution text, changed jsonb, lost jsonb, told text, reason text)
	LANGUAGE sql AS $$
	SELECT a->>'resolution', a->'changed', a->'lost', a->>'told', a->>'reason'
	FROM unnest(changes) change, answered(change) a
$$;
CREATE ROLE regress_rules;
CREATE ROLE regress_functions;
CREATE SCHEMA rules;
GRANT ALL ON SCHEMA rules TO PUBLIC;
CREATE TABLE seen (who text, path text, read_only text, context jsonb);

--
-- A function decides
--
CREATE FUNCTION rules.sum(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT to_jsonb(current::numeric + incoming::numeric) $$;
CREATE FUNCTION rules.pick(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT CASE incoming #>> '{}' WHEN 'ours' THEN current WHEN 'theirs' THEN incoming WHEN 'null' THEN 'null' WHEN 'tree' THEN '{"a": [1, {"b": null}]}' END::jsonb $$;
CREATE FUNCTION rules.context(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN RETURN context || jsonb_build_object('who', current_user, 'path', current_setting('search_path'), 'readOnly', current_setting('transaction_read_only')); END $$;
SELECT sync_rule('*', 'n', 'function', '{"function": "rules.sum"}'), sync_rule('record', 'pick', 'function', '{"function": "rules.pick"}'),
       sync_rule('record', 'seen', 'function', '{"function": "rules.context"}');
SELECT * FROM decide(
	'{"externalId":"1","source":"Shop","version":1,"fields":{"n":1,"pick":"x","seen":1}}',
	'{"externalId":"1","source":"Twin","version":1,"fields":{"n":2}}',
	'{"externalId":"1","source":"Twin","version":1,"fields":{"pick":"ours"}}',
	'{"externalId":"1","source":"Twin","version":1,"fields":{"pick":"theirs"}}',
	'{"externalId":"1","source":"Shop","version":1,"fields":{"pick":"null"}}',
	'{"externalId":"1","source":"Twin","version":1,"fields":{"pick":"tree"}}',
	-- undecided: by rank; a tie is for the last rung
	'{"externalId":"1","source":"CRM","version":1,"fields":{"pick":"what"}}',
	'{"externalId":"1","source":"Shop","version":1,"fields":{"n":1,"pick":"who"}}',
	'{"externalId":"2","source":"Shop","version":1,"fields":{"pick":"x"}}',
	'{"externalId":"2","source":"Twin","version":1,"fields":{"pick":"who"}}');
SELECT fields FROM syncext.canonical WHERE external_id = '1';
-- What it is told, as whom it runs, and that it can't write.
SET ROLE regress_functions;
CREATE OR REPLACE FUNCTION rules.context2(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS
	$$ BEGIN RETURN context || jsonb_build_object('who', current_user, 'path', current_setting('search_path'), 'readOnly', current_setting('transaction_read_only')); END $$;
RESET ROLE;
SELECT sync_rule('record', 'seen', 'function', '{"function": "rules.context2"}');
SELECT * FROM send('{"externalId":"1","source":"Twin","version":1,"updatedAt":"2026-01-02T00:00:00Z","fields":{"seen":2}}');
SELECT jsonb_pretty(fields->'seen') FROM syncext.canonical WHERE external_id = '1';
SELECT * FROM send('{"externalId":"1","source":"ERP","base":1,"fields":{"seen":3}}');
SELECT fields->'seen'->'incoming' AS incoming, fields->'seen'->'current' AS current FROM syncext.canonical WHERE external_id = '1';
SELECT current_user = session_user AS myself, current_setting('transaction_read_only') AS read_only;

--
-- One that fails, writes, or reaches for more: told, nothing broken, nothing gained
--
SET ROLE regress_functions;
CREATE FUNCTION rules.raises(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no idea of % and %', $1, $2; END $$;
CREATE FUNCTION rules.divides(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(1 / ($1::int - $1::int)) $$;
CREATE FUNCTION rules.swallows(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN BEGIN PERFORM 1 / 0; EXCEPTION WHEN division_by_zero THEN NULL; END; RETURN '"swallowed"'; END $$;
CREATE FUNCTION rules.resets(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', 'none', false); RETURN to_jsonb(current_user::text); END $$;
CREATE FUNCTION rules.unlocks(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN SET transaction_read_only = off; RETURN $2; END $$;
CREATE FUNCTION rules.temporary(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE left_over (x int); RETURN $2; END $$;
CREATE FUNCTION rules.sets(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('my.rule', 'left', false); RETURN $2; END $$;
CREATE FUNCTION rules.deep(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT (repeat('[', 3000) || repeat(']', 3000))::jsonb $$;
CREATE FUNCTION rules.applies(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS
	$$ BEGIN RETURN public.sync_apply('{"externalId":"nested","source":"CRM","version":1,"fields":{"a":1}}'); END $$;
RESET ROLE;
GRANT ALL ON seen TO regress_functions;
CREATE FUNCTION rules.writes(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$ BEGIN RETURN to_jsonb(rules.writer()); END $$;
CREATE FUNCTION rules.writer() RETURNS int LANGUAGE sql VOLATILE AS $$ INSERT INTO public.seen VALUES ('me') RETURNING 1 $$;
CREATE PROCEDURE try(name text) LANGUAGE plpgsql AS $$
DECLARE
	a jsonb;
BEGIN
	PERFORM sync_rule('record', 'f', 'function', jsonb_build_object('function', name));
	PERFORM sync_apply(jsonb_build_object('externalId', name, 'source', 'Shop', 'version', 1, 'fields', '{"f": 1}'::jsonb));
	a := sync_apply(jsonb_build_object('externalId', name, 'source', 'Twin', 'version', 1, 'fields', '{"f": 2}'::jsonb));
	RAISE NOTICE '%: %, %', a->>'resolution', sync_record('record', name)->'fields', a->>'reason';
END $$;
CALL try('rules.raises');
CALL try('rules.divides');
CALL try('rules.swallows');
CALL try('rules.writes');
CALL try('rules.resets');
CALL try('rules.unlocks');
CALL try('rules.temporary');
CALL try('rules.applies');
CALL try('rules.sets');
CALL try('rules.deep');
SELECT count(*) AS written FROM seen;
SELECT nullif(current_setting('my.rule', true), '') AS set, to_regclass('left_over') AS left_over, current_user = session_user AS myself, current_setting('transaction_read_only') AS read_only;
-- One that loops meets the statement's timeout, which passes.
CREATE FUNCTION rules.loops(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$ BEGIN LOOP PERFORM pg_sleep(0.01); END LOOP; END $$;
SELECT sync_rule('record', 'f', 'function', '{"function": "rules.loops"}');
SELECT sync_apply('{"externalId":"rules.loops","source":"Shop","version":1,"fields":{"f":1}}')->>'resolution' AS resolution;
SET statement_timeout = '200ms';
SELECT sync_apply('{"externalId":"rules.loops","source":"Twin","version":1,"fields":{"f":2}}');
RESET statement_timeout;
SELECT fields FROM syncext.canonical WHERE external_id = 'rules.loops';
-- One that has gone, or become something else.
SELECT sync_rule('record', 'f', 'function', '{"function": "rules.divides"}');
DROP FUNCTION rules.divides;
SELECT a->>'reason' AS reason FROM sync_apply('{"externalId":"rules.raises","source":"Twin","version":1,"fields":{"f":5}}') a;
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE '%rule%';
CREATE FUNCTION rules.divides(jsonb, jsonb, jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$ SELECT $1 $$;
SELECT a->>'reason' AS reason FROM sync_apply('{"externalId":"rules.raises","source":"Twin","version":1,"fields":{"f":6}}') a;
SELECT count(*) FROM sync_check() WHERE object LIKE '%rule%';

--
-- What can't be a rule
--
CREATE FUNCTION rules.one(jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION rules.wrong(jsonb, jsonb, jsonb) RETURNS text LANGUAGE sql AS $$ SELECT 'x' $$;
SELECT command, s.* FROM unnest(ARRAY[
	$$SELECT sync_rule('record', 'x', 'function')$$,
	$$SELECT sync_rule('record', 'x', 'function', '{"function": 7}')$$,
	$$SELECT sync_rule('record', 'x', 'function', '{"function": "sum"}')$$,
	$$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.none"}')$$,
	$$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.one"}')$$,
	$$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.wrong"}')$$,
	$$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.\"sum"}')$$,
	$$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.sum; DROP TABLE seen"}')$$,
	$$SELECT sync_rule('record', 'x', 'max', '{"function": "rules.sum"}')$$,
	$$SELECT sync_rule('record', 'x', 'max', '{"empty": ""}')$$,
	$$SELECT sync_rule('record', 'x', 'max', '{"emtpy": [""]}')$$,
	$$SELECT sync_rule('record', 'x', 'max', '[]')$$,
	$$SELECT sync_rule('record', 'x', 'mean')$$,
	$$SELECT sync_rule('record', '*', 'max')$$]) command, attempt(command) s;
-- Who writes the rule has to be allowed to call the function.
REVOKE EXECUTE ON FUNCTION rules.sum FROM PUBLIC;
GRANT USAGE ON SCHEMA syncext TO regress_rules;
GRANT SELECT, INSERT, UPDATE, DELETE ON syncext.field_rule TO regress_rules;
GRANT SELECT ON syncext.entity TO regress_rules;
GRANT EXECUTE ON FUNCTION sync_rule TO regress_rules;
SET ROLE regress_rules;
SELECT * FROM attempt($$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.sum"}')$$);
SELECT * FROM attempt($$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.pick"}')$$);
RESET ROLE;
-- It runs as its owner: so EXECUTE alone is enough only where the function does so for
-- every caller; else what the owner may read, its callers may not, would be theirs.
CREATE TABLE owners_own AS SELECT 42 AS secret;
GRANT SELECT ON owners_own TO regress_functions;
CREATE FUNCTION rules.reads(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT to_jsonb(secret) FROM public.owners_own $$;
ALTER FUNCTION rules.reads OWNER TO regress_functions;
CREATE FUNCTION wrote() RETURNS TABLE (state text, said text, hint text) LANGUAGE sql AS
	$$ SELECT * FROM attempt('SELECT sync_rule(''record'', ''reads'', ''function'', ''{"function": "rules.reads"}'')') $$;
SELECT sync_apply('{"externalId":"reads","source":"Shop","version":1,"fields":{"reads":1}}')->>'resolution';
CREATE FUNCTION reads() RETURNS text LANGUAGE sql AS
	$$ SELECT a->>'reason' FROM sync_explain('{"externalId":"reads","source":"Twin","version":1,"fields":{"reads":2}}') a $$;
SET ROLE regress_rules;
SELECT * FROM attempt($$SELECT rules.reads('1', '2', '{}')$$);
SELECT * FROM wrote();
-- by hand it is told, and decides nothing
INSERT INTO syncext.field_rule (entity, field, rule, args) VALUES ('record', 'reads', 'function', '{"function": "rules.reads"}');
RESET ROLE;
SELECT reads();
SELECT problem, hint FROM sync_check() WHERE object ~ 'rule of reads';
-- who may act as the owner may; and everybody, where the owner says so
GRANT regress_functions TO regress_rules;
SELECT reads();
SET ROLE regress_rules;
SELECT * FROM wrote();
RESET ROLE;
REVOKE regress_functions FROM regress_rules;
SELECT reads();
ALTER FUNCTION rules.reads SECURITY DEFINER;
SELECT reads();
SET ROLE regress_rules;
SELECT * FROM wrote();
RESET ROLE;
SELECT count(*) FROM sync_check() WHERE object ~ 'rule of reads';
SELECT sync_rule('record', 'reads', NULL);
DROP FUNCTION reads, wrote, rules.reads;
DROP TABLE owners_own;
ALTER FUNCTION rules.pick SECURITY DEFINER;
SET ROLE regress_rules;
SELECT * FROM attempt($$SELECT sync_rule('record', 'x', 'function', '{"function": "rules.pick"}')$$);
RESET ROLE;
ALTER FUNCTION rules.sum SECURITY DEFINER;
-- By hand, or in a restore, it is told and decides nothing, whatever the row says of who
-- wrote it; nor does a rule go on when the right of its writer ends.
SELECT sync_apply('{"externalId":"r","source":"Shop","version":1,"fields":{"x":"ours","y":1}}')->>'resolution';
SET ROLE regress_rules;
INSERT INTO syncext.field_rule (entity, field, rule, args, written_by) VALUES ('record', 'y', 'function', '{"function": "rules.sum"}', 'regress_functions'),
	('record', 'later', 'function', '{"function": "rules.later"}', 'regress_functions');
UPDATE syncext.field_rule SET written_by = 'regress_functions' WHERE field = 'y';
RESET ROLE;
SELECT field, written_by FROM syncext.field_rule WHERE field IN ('x', 'y', 'later') ORDER BY field;
SELECT a->>'resolution' AS resolution, a->>'reason' AS reason FROM sync_explain('{"externalId":"r","source":"Twin","version":1,"fields":{"y":2}}') a;
SELECT severity, object, problem, hint FROM sync_check() WHERE object ~ 'rule of (x|y|later) ' ORDER BY object;
CREATE FUNCTION rules.later(jsonb, jsonb, jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER AS $$ SELECT $1 $$;
REVOKE EXECUTE ON FUNCTION rules.later FROM PUBLIC;
GRANT EXECUTE ON FUNCTION rules.sum TO regress_rules;
REVOKE USAGE ON SCHEMA rules FROM PUBLIC;
SELECT problem FROM sync_check() WHERE object ~ 'rule of (x|y|later) ' ORDER BY object;
SELECT a->>'reason' AS reason FROM sync_explain('{"externalId":"r","source":"Twin","version":1,"fields":{"y":2}}') a;
GRANT USAGE ON SCHEMA rules TO regress_rules;
SELECT a->>'reason' AS reason FROM sync_explain('{"externalId":"r","source":"Twin","version":1,"fields":{"y":2}}') a;
SELECT problem FROM sync_check() WHERE object ~ 'rule of (x|y|later) ' ORDER BY object;
ALTER ROLE regress_rules RENAME TO regress_rulers;
SELECT a->>'reason' AS reason FROM sync_explain('{"externalId":"r","source":"Twin","version":1,"fields":{"y":2}}') a;
SELECT problem FROM sync_check() WHERE object ~ 'rule of (y|later) ' ORDER BY object;
-- whoever writes it again answers for it
UPDATE syncext.field_rule SET rule = rule WHERE field IN ('y', 'later');
SELECT a->>'reason' AS reason FROM sync_explain('{"externalId":"r","source":"Twin","version":1,"fields":{"y":2}}') a;
SELECT count(*) FROM sync_check() WHERE object ~ 'rule of (y|later) ' AND severity = 'error';
ALTER ROLE regress_rulers RENAME TO regress_rules;
GRANT USAGE ON SCHEMA rules TO PUBLIC;
SELECT sync_rule('record', 'x', NULL), sync_rule('record', 'y', NULL), sync_rule('record', 'later', NULL);
SELECT entity, field, rule, args FROM syncext.field_rule ORDER BY 1, 2;

--
-- Values that count as null in births
--
SELECT sync_add_entity('plain', '{version,priority,keep}');
SELECT sync_rule('*', 'phone', 'priority', '{"empty": ["", "N/A", 0, []]}'), sync_rule('plain', 'note', 'priority', '{"empty": [""]}');
SELECT * FROM send(
	'{"externalId":"e","source":"ERP","base":0,"fields":{"name":"Ann","phone":"123","note":""}}',
	'{"externalId":"e","source":"CRM","base":0,"fields":{"name":"Anna","phone":"N/A"}}',
	'{"externalId":"e","source":"CRM","version":1,"created":true,"fields":{"phone":0.0}}',
	'{"externalId":"e","source":"CRM","version":1,"created":true,"fields":{"phone":[],"x":""}}',
	-- in an edit they are values
	'{"externalId":"e","source":"CRM","base":3,"fields":{"phone":""}}');
SELECT fields FROM syncext.canonical WHERE external_id = 'e';
-- by ladders without merge, too
SELECT * FROM send(
	'{"entity":"plain","externalId":"e","source":"ERP","base":0,"fields":{"note":"kept","a":1}}',
	'{"entity":"plain","externalId":"e","source":"CRM","version":2,"created":true,"fields":{"note":"","a":2}}');
SELECT fields FROM syncext.canonical WHERE entity = 'plain';
-- priority: as without a rule, where every entity has another one
SELECT sync_rule('*', 'q', 'max'), sync_rule('record', 'q', 'priority');
SELECT * FROM decide('{"externalId":"q","source":"CRM","version":1,"fields":{"q":1}}', '{"externalId":"q","source":"ERP","version":1,"fields":{"q":2}}');

-- in a restore a rule whose function is gone keeps nobody else's rule out
COPY syncext.field_rule (entity, field, rule, args) FROM stdin;
record	gone	function	{"function": "rules.nowhere"}
record	stays	max	\N
\.
SELECT field, rule FROM syncext.field_rule WHERE field IN ('gone', 'stays') ORDER BY 1;
SELECT problem FROM sync_check() WHERE object ~ 'gone';

DROP FUNCTION decide;
DROP PROCEDURE try;
DROP EXTENSION syncext;
DROP TABLE seen;
DROP SCHEMA rules CASCADE;
DROP ROLE regress_rules, regress_functions;
