-- Match: a new record is found to be one that is there; candidates for stewards.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_eu, regress_steward, regress_other, regress_writer, regress_owner;
CREATE EXTENSION syncext;
\ir test/helpers.sql
RESET client_min_messages;
CREATE ROLE regress_eu;
CREATE ROLE regress_steward;
CREATE ROLE regress_other;
SELECT sync_add_source('Plain', 1), sync_add_source('CRM', 2), sync_add_source('ERP', 3), sync_add_source('EU', 4, 'regress_eu'), sync_add_entity('customer'), sync_add_entity('item');
SELECT sync_own_keys(s, 'customer') FROM unnest('{CRM,ERP,EU}'::text[]) s;
SELECT sync_grant('regress_steward', 'steward', 'customer'), sync_grant('regress_other', 'steward', 'item');
-- What a new record of a source is answered, and which of the records with names it is.
CREATE FUNCTION named(id text) RETURNS text LANGUAGE sql AS $$ SELECT coalesce((SELECT fields->>'is' FROM syncext.canonical WHERE entity = 'customer' AND external_id = id), '-') $$;
CREATE FUNCTION sends(source text, id text, fields jsonb) RETURNS TABLE (resolution text, is_record text, changed jsonb, reason text) LANGUAGE sql AS $$
	SELECT a->>'resolution', named(a->>'externalId'), a->'changed', a->>'reason'
	FROM sync_apply(jsonb_build_object('source', $1, 'entity', 'customer', 'version', 1, 'fields', $3, CASE $1 WHEN 'Plain' THEN 'externalId' ELSE 'sourceId' END, $2)) a
$$;
CREATE VIEW pairs AS SELECT least(named(external_id), named(other_id)) AS one, greatest(named(external_id), named(other_id)) AS two, rule, status FROM syncext.match_candidate ORDER BY 1, 2;
CREATE VIEW keys AS SELECT named(external_id) AS record, rule, replace(key, E'\x1f', '|') AS key FROM syncext.match_key ORDER BY 1, 2;
CREATE VIEW told AS SELECT severity, object, regexp_replace(regexp_replace(problem, 'since .*', 'since …'), '[0-9a-f]{8}-[0-9a-f-]+', 'ID') AS problem, hint FROM sync_check() WHERE object ~ 'match|entity' ORDER BY object, problem;

--
-- Rules
--
SELECT attempt(c) FROM (VALUES (1, $$SELECT sync_add_match('nothing', 'r', '{a}')$$), (2, $$SELECT sync_add_match('customer', '', '{a}')$$), (3, $$SELECT sync_add_match('customer', NULL, '{a}')$$),
	(4, $$SELECT sync_add_match('customer', 'r', '{}')$$), (5, $$SELECT sync_add_match('customer', 'r', '{a,a}')$$), (6, $$SELECT sync_add_match('customer', 'r', '{*}')$$), (7, $$SELECT sync_add_match('customer', 'r', NULL)$$),
	(8, $$SELECT sync_add_match('customer', 'r', '{a}', action => 'merge')$$), (9, $$SELECT sync_add_match('customer', 'r', '{a}', action => 'link')$$), (10, $$SELECT sync_add_match('customer', 'r', '{a}', link_sources => '{ERP}')$$),
	(11, $$SELECT sync_add_match('customer', 'r', '{a}', NULL, 'link', '{Nobody}')$$), (12, $$SELECT sync_add_match('customer', 'r', '{a}', 'lower(text)')$$), (13, $$SELECT sync_drop_match('customer', 'r')$$),
	(14, $$SELECT sync_match_decide(1, 'distinct')$$), (15, $$SELECT sync_match_decide(NULL, 'distinct')$$)) x (n, c) ORDER BY n;
CALL sync_rematch('customer');
SELECT sync_add_match('customer', 'email', '{email}', action => 'link', link_sources => '{ERP,EU}');
SELECT attempt($$SELECT sync_add_match('customer', 'email', '{email}')$$);
SELECT entity, name, fields, "normalize", action, link_sources, written_by = current_user AS by_me FROM syncext.match_rule;
-- no record, so nothing is to be built; but an empty database can't know that of a restored one
SELECT * FROM told;
CALL sync_rematch('customer');

--
-- A new record is linked, or is a candidate
--
SELECT * FROM sends('CRM', '1', '{"is": "ann", "email": " Ann@X.org", "city": "Bonn"}');
SELECT * FROM keys;
-- it is Ann: what it has beside her is taken over, what it contests is for the ladder
SELECT resolution, is_record, changed, reason FROM sends('ERP', 'K-1', '{"email": "ann@x.ORG ", "limit": 5}');
SELECT source, source_id, named(external_id), duplicate FROM syncext.source_key ORDER BY 1, 2;
-- and is told what she has
SELECT source_id, named(external_id), fields FROM sync_pull('ERP');
SELECT count(sync_ack('ERP', batch)) FROM syncext.cursor WHERE target = 'ERP' AND batch > 0;
-- the key is the record's from here on
SELECT resolution, is_record FROM sends('ERP', 'K-1', '{"limit": 6}');
SELECT detail->>'sourceId' AS source_id, detail->>'matchedBy' AS matched_by, detail->>'base' AS base FROM syncext.change_log WHERE source = 'ERP' ORDER BY seq LIMIT 1;
-- it has a key of ERP: another is another record, and a candidate
SELECT resolution, is_record FROM sends('ERP', 'K-2', '{"is": "ann2", "email": "ann@x.org"}');
SELECT * FROM pairs;
-- CRM isn't among the sources whose word is enough
SELECT resolution, is_record FROM sends('CRM', '2', '{"is": "bob", "email": "bob@x.org"}');
SELECT resolution, is_record FROM sends('CRM', '3', '{"is": "bob2", "email": "bob@x.org"}');
-- two others: which one isn't clear
SELECT resolution, is_record FROM sends('ERP', 'K-3', '{"is": "bob3", "email": "bob@x.org"}');
SELECT * FROM pairs;
-- no value, an empty one: no key; numbers are one however they are written
SELECT resolution, is_record FROM sends('ERP', 'K-4', '{"is": "nul", "email": null}'), sends('ERP', 'K-5', '{"is": "empty", "email": "  "}') x (r, i), sends('ERP', 'K-6', '{"is": "none"}') y (r, i);
SELECT resolution, is_record FROM sends('CRM', '4', '{"is": "num", "email": 1.0}');
SELECT resolution, is_record FROM sends('ERP', 'K-7', '{"email": 1}');
SELECT source_id, named(external_id), fields FROM sync_pull('ERP') WHERE source_id = 'K-7';
SELECT resolution, told FROM syncext.change_log WHERE detail->>'matchedBy' IS NOT NULL ORDER BY seq;
-- what it adds is for the others, what the record has for itself
SELECT resolution, is_record FROM sends('CRM', '7', '{"is": "zoe", "email": "zoe@x.org"}');
SELECT a->>'resolution' AS resolution, a->'changed' AS changed, a->>'told' AS told FROM answered('{"source": "ERP", "entity": "customer", "sourceId": "K-10", "version": 1, "fields": {"email": "zoe@x.org", "limit": 1}}') a;
-- explained as it is applied, and nothing is bound
SELECT resolution, is_record FROM sends('CRM', '5', '{"is": "eve", "email": "eve@x.org"}');
SELECT a->>'resolution' AS resolution, named(a->>'externalId') AS is_record FROM sync_explain('{"source": "ERP", "entity": "customer", "sourceId": "K-8", "version": 1, "fields": {"email": "eve@x.org"}}') a;
SELECT count(*) FROM syncext.source_key WHERE source_id = 'K-8';
-- a document that is to make a record makes one
SELECT a->>'resolution' AS resolution FROM sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "K-8", "version": 1, "ifMatch": 0, "fields": {"is": "eve2", "email": "eve@x.org"}}') a;
-- refused in a batch: the record isn't claimed
SELECT resolution, is_record FROM sends('CRM', '6', '{"is": "joe", "email": "joe@x.org"}');
SELECT sync_apply('[{"source": "ERP", "entity": "customer", "sourceId": "K-9", "version": 1, "fields": {"email": "joe@x.org"}, "increments": {"n": 1}}]')->0->'status' AS status;
SELECT count(*) FROM syncext.source_key WHERE source_id = 'K-9';
SELECT resolution, is_record, reason FROM sends('ERP', 'K-9', '{"email": "joe@x.org"}');

--
-- Keys are kept as records change; updates give candidates only
--
SELECT resolution FROM sends('Plain', 'P1', '{"is": "p1", "email": "p1@x.org"}'), sends('Plain', 'P2', '{"is": "p2", "email": "p2@x.org"}') x (r);
UPDATE syncext.match_rule SET link_sources = '{ERP,EU,Plain}';
SELECT change('Plain', 'customer', 'P2', 2, '{"email": "P1@x.org"}');
SELECT * FROM pairs WHERE one = 'p1';
SELECT * FROM keys WHERE record ~ 'p';
-- another address ends what it has met by the old one
SELECT change('Plain', 'customer', 'P2', 3, '{"email": "p3@x.org"}');
SELECT * FROM pairs WHERE one = 'p1';
SELECT change('Plain', 'customer', 'P2', 4, '{"email": "p1@x.org"}'), change('Plain', 'customer', 'P2', 5, '{"phone": 1}');
SELECT * FROM pairs WHERE one = 'p1';
-- a tombstone ends them; a revival is looked at as a birth
SELECT change('Plain', 'customer', 'P2', 6, NULL);
SELECT * FROM pairs WHERE one = 'p1';
SELECT count(*) FROM syncext.match_key WHERE external_id = 'P2';
SELECT change('Plain', 'customer', 'P2', 7, '{"is": "p2", "email": "p1@x.org"}');
SELECT * FROM pairs WHERE one = 'p1';

--
-- Decided
--
SET ROLE regress_other;
SELECT count(*) FROM syncext.candidate;
SELECT attempt('SELECT count(*) FROM syncext.match_candidate'), attempt('SELECT count(*) FROM syncext.match_key');
RESET ROLE;
SELECT id AS pair FROM syncext.match_candidate WHERE 'P2' IN (external_id, other_id) \gset
SELECT attempt(format('SET ROLE regress_other; SELECT sync_match_decide(%s, ''distinct'')', :pair)) AS of_others, attempt('SET ROLE regress_other; SELECT sync_match_decide(999, ''distinct'')') AS none;
RESET ROLE;
SET ROLE regress_steward;
SELECT entity, external_id, other_id, rule, fields, other_fields, keys, other_keys FROM syncext.candidate WHERE other_id = 'P2';
SELECT count(*) FROM syncext.candidate;
SELECT attempt(format('SELECT sync_match_decide(%s, ''perhaps'')', :pair)), attempt('SELECT sync_match_decide(999, ''distinct'')');
SELECT sync_match_decide(:pair, 'distinct', 'father and son');
SELECT attempt(format('SELECT sync_match_decide(%s, ''distinct'')', :pair));
RESET ROLE;
SELECT external_id, other_id, status, decided_by, note FROM syncext.match_candidate WHERE id = :pair;
-- it isn't asked again: by an edit, a rematch, the sweep
SELECT change('Plain', 'customer', 'P2', 8, '{"email": "x"}'), change('Plain', 'customer', 'P2', 9, '{"email": "p1@x.org"}');
CALL sync_rematch('customer');
CALL sync_maintain() \g /dev/null
SELECT * FROM pairs WHERE one = 'p1';
-- erased, with what it was found by
SELECT sync_forget('customer', 'P2') @> '{"matchKey": 1, "matchCandidate": 1}' AS erased;
SELECT count(*) FROM syncext.match_key WHERE external_id = 'P2';
SELECT * FROM told;
-- what is called merging today ends in one record
SELECT external_id AS drop FROM syncext.canonical WHERE fields->>'is' = 'bob2' \gset
SELECT external_id AS keep FROM syncext.canonical WHERE fields->>'is' = 'bob' \gset
SELECT sync_unbind('CRM', 'customer', '2'), sync_unbind('CRM', 'customer', '3'), sync_bind('CRM', 'customer', '3', :'keep');
SELECT sync_apply(jsonb_build_object('source', 'Plain', 'entity', 'customer', 'externalId', :'drop', 'version', 2, 'deleted', true))->>'resolution';
SELECT * FROM pairs WHERE one ~ 'bob';

--
-- Who may not see a record is told nothing of it
--
SELECT sync_route('EU', 'customer', '$.region == "EU"', '{tax}');
SELECT sync_add_match('customer', 'tax', '{tax}', action => 'link', link_sources => '{EU}');
SELECT resolution FROM sends('Plain', 'H1', '{"is": "hidden", "email": "h@x.org", "region": "US"}'), sends('Plain', 'S1', '{"is": "seen", "email": "s@x.org", "region": "EU", "tax": "T1"}') x (r);
SET ROLE regress_eu;
SELECT a - 'externalId' AS answer FROM sync_apply('{"source": "EU", "entity": "customer", "sourceId": "e1", "version": 1, "fields": {"is": "e1", "email": "h@x.org", "region": "EU"}}') a;
SELECT a - 'externalId' AS answer FROM sync_apply('{"source": "EU", "entity": "customer", "sourceId": "e2", "version": 1, "fields": {"is": "e2", "email": "nobody@x.org", "region": "EU"}}') a;
-- by a masked field neither
SELECT a->>'resolution' AS resolution, a->>'externalId' = 'S1' AS linked FROM sync_apply('{"source": "EU", "entity": "customer", "sourceId": "e3", "version": 1, "fields": {"is": "e3", "tax": "t1", "region": "EU"}}') a;
-- one that it sees, beside one that it doesn't
RESET ROLE;
SELECT resolution FROM sends('Plain', 'H2', '{"is": "hidden2", "email": "s@x.org", "region": "US"}');
SET ROLE regress_eu;
SELECT a->>'resolution' AS resolution, a->>'externalId' = 'S1' AS linked FROM sync_apply('{"source": "EU", "entity": "customer", "sourceId": "e4", "version": 1, "fields": {"email": "s@x.org", "region": "EU"}}') a;
SELECT count(*) FROM syncext.candidate;
SELECT count(*) FROM sync_check() WHERE problem ~ 'may be one|match';
SELECT attempt('SELECT sync_match_decide(1, ''distinct'')'), attempt('SELECT sync_add_match(''customer'', ''r'', ''{a}'')'), attempt('SELECT sync_drop_match(''customer'', ''email'')'), attempt('CALL sync_rematch(''customer'')');
RESET ROLE;
SELECT * FROM pairs WHERE one ~ 'e\d|hidden|seen' OR two ~ 'e\d|hidden|seen';

--
-- Ten candidates a record, a hundred records a key
--
SELECT sync_add_match('item', 'code', '{code}');
SELECT count(change('Plain', 'item', 'I' || lpad(i::text, 3, '0'), 1, '{"code": "same"}')) FROM generate_series(1, 12) i;
SELECT count(*) AS of_the_last FROM syncext.match_candidate WHERE 'I012' IN (external_id, other_id) AND entity = 'item';
SELECT count(*) AS pairs FROM syncext.match_candidate WHERE entity = 'item';
SELECT count(change('Plain', 'item', 'I' || lpad(i::text, 3, '0'), 1, '{"code": "same"}')) FROM generate_series(13, 103) i;
SELECT * FROM told WHERE object ~ 'code';
SELECT max(n) AS most FROM (SELECT count(*) AS n FROM syncext.match_candidate WHERE entity = 'item' GROUP BY other_id) c;
SELECT count(*) FILTER (WHERE 'I100' IN (external_id, other_id)) AS of_the_hundredth, count(*) FILTER (WHERE 'I101' IN (external_id, other_id)) AS beyond, count(*) FILTER (WHERE 'I103' IN (external_id, other_id)) AS more
FROM syncext.match_candidate WHERE entity = 'item';
SELECT entity, rule, kind, external_id FROM syncext.match_problem;
-- 10 of them go: no more than a hundred are left, which maintenance notices
SELECT count(change('Plain', 'item', 'I' || lpad(i::text, 3, '0'), 2, NULL)) FROM generate_series(1, 10) i;
CALL sync_maintain() \g /dev/null
SELECT count(*) FROM syncext.match_problem;

--
-- Built in portions, and again
--
SELECT sync_drop_match('item', 'code');
SELECT (SELECT count(*) FROM syncext.match_key WHERE entity = 'item') AS keys, (SELECT count(*) FROM syncext.match_candidate WHERE entity = 'item') AS candidates, (SELECT count(*) FROM syncext.match_build) AS builds;
SELECT count(sync_apply(d)) FROM (SELECT jsonb_agg(jsonb_build_object('source', 'Plain', 'entity', 'item', 'externalId', 'J' || i, 'version', 1, 'fields', jsonb_build_object('code', 'c' || i / 2))) AS d FROM generate_series(0, 2499) i) x;
SELECT sync_add_match('item', 'code', '{code}');
SELECT problem, hint FROM told WHERE object = 'entity item';
BEGIN;
CALL sync_rematch('item');
ROLLBACK;
CALL sync_rematch('item');
SELECT count(*) AS keys, count(DISTINCT key) AS different FROM syncext.match_key WHERE entity = 'item';
SELECT count(*) AS builds FROM syncext.match_build;
-- broken off after a portion, it goes on there
DELETE FROM syncext.match_key WHERE entity = 'item';
DELETE FROM syncext.match_candidate WHERE entity = 'item';
INSERT INTO syncext.match_build (entity, after_id, records) VALUES ('item', 'J50', 1300);
SELECT problem FROM told WHERE object = 'entity item';
CALL sync_maintain() \g /dev/null
SELECT count(*) = (SELECT count(*) FROM syncext.canonical WHERE entity = 'item' AND NOT deleted AND external_id > 'J50') AS rest FROM syncext.match_key WHERE entity = 'item';
CALL sync_rematch('item');
-- a record that was edited or removed by hand
UPDATE syncext.canonical SET fields = '{"code": "by hand"}' WHERE entity = 'item' AND external_id = 'J1';
DELETE FROM syncext.canonical WHERE entity = 'item' AND external_id = 'J2';
CALL sync_rematch('item');
SELECT external_id, key FROM syncext.match_key WHERE entity = 'item' AND external_id IN ('J1', 'J2', 'J3');
SELECT count(*) FROM syncext.match_candidate WHERE entity = 'item' AND ('J1' IN (external_id, other_id));
-- a rule that is changed is built anew
UPDATE syncext.match_rule SET fields = '{code,colour}' WHERE entity = 'item';
SELECT (SELECT count(*) FROM syncext.match_key WHERE entity = 'item') AS keys, (SELECT count(*) FROM syncext.match_candidate WHERE entity = 'item') AS candidates, (SELECT count(*) FROM syncext.match_build WHERE entity = 'item') AS builds;
SELECT change('Plain', 'item', 'K1', 1, jsonb_build_object('code', 'A', 'colour', 'Red')), change('Plain', 'item', 'K2', 1, jsonb_build_object('code', 'long', 'colour', repeat('x', 2000)));
SELECT external_id, replace(key, E'\x1f', '|') AS key FROM syncext.match_key WHERE entity = 'item';

--
-- Functions that normalize
--
CREATE ROLE regress_writer;
CREATE ROLE regress_owner;
CREATE SCHEMA rules;
GRANT USAGE, CREATE ON SCHEMA rules TO regress_owner, regress_writer;
CREATE TABLE rules.seen (who text);
GRANT ALL ON rules.seen TO regress_owner;
CREATE FUNCTION rules.letters(jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT regexp_replace(lower($1->>'name'), '[^a-z]', '', 'g') $$;
CREATE FUNCTION rules.stable(jsonb) RETURNS text STABLE LANGUAGE sql AS $$ SELECT $1::text $$;
SET ROLE regress_owner;
CREATE FUNCTION rules.who(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN concat_ws('/', current_user, current_setting('search_path'), current_setting('transaction_read_only'), $1); END $$;
CREATE FUNCTION rules.fails(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no idea of %', $1->>'name'; END $$;
CREATE FUNCTION rules.writes(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN INSERT INTO rules.seen VALUES (current_user); RETURN 'w'; END $$;
CREATE FUNCTION rules.resets(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('role', 'none', false); RETURN current_user; END $$;
CREATE FUNCTION rules.sets(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN PERFORM set_config('my.rule', 'left', false); RETURN 's'; END $$;
CREATE FUNCTION rules.temporary(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN CREATE TEMP TABLE left_over (x int); RETURN 't'; END $$;
CREATE FUNCTION rules.applies(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RETURN public.sync_apply('{"externalId": "nested", "source": "CRM", "version": 1, "fields": {"a": 1}}'); END $$;
CREATE FUNCTION rules.nothing(jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT NULL::text $$;
CREATE FUNCTION rules.definer(jsonb) RETURNS text IMMUTABLE SECURITY DEFINER LANGUAGE sql AS $$ SELECT current_user || ':' || ($1->>'name') $$;
RESET ROLE;
SELECT sync_drop_match('item', 'code');
CREATE PROCEDURE try(name regprocedure) LANGUAGE plpgsql AS $$
DECLARE
	n int := (SELECT count(*) FROM syncext.canonical WHERE entity = 'item' AND external_id ~ '^N') + 1;
BEGIN
	PERFORM sync_add_match('item', 'fn', '{name,first}', name);
	PERFORM sync_apply(jsonb_build_object('externalId', 'N' || n, 'source', 'Plain', 'entity', 'item', 'version', 1, 'fields', jsonb_build_object('name', 'Müller ' || n)));
	RAISE NOTICE '%: key %, %', name, (SELECT key FROM syncext.match_key WHERE external_id = 'N' || n), (SELECT error FROM syncext.match_problem);
	PERFORM sync_drop_match('item', 'fn');
END $$;
CALL try('rules.letters(jsonb)');
CALL try('rules.who(jsonb)');
CALL try('rules.fails(jsonb)');
CALL try('rules.writes(jsonb)');
CALL try('rules.resets(jsonb)');
CALL try('rules.sets(jsonb)');
CALL try('rules.temporary(jsonb)');
CALL try('rules.applies(jsonb)');
CALL try('rules.nothing(jsonb)');
CALL try('rules.definer(jsonb)');
SELECT attempt($$SELECT sync_add_match('item', 'fn', '{name}', 'rules.stable(jsonb)')$$);
SELECT current_user = session_user AS myself, current_setting('my.rule', true) AS left_behind, to_regclass('left_over') AS temp, (SELECT count(*) FROM rules.seen) AS written;
-- who writes the rule has to be allowed what the function does
GRANT SELECT ON ALL TABLES IN SCHEMA syncext TO regress_writer;
GRANT INSERT, UPDATE, DELETE ON syncext.match_rule TO regress_writer;
GRANT EXECUTE ON FUNCTION sync_add_match, sync_drop_match TO regress_writer;
SET ROLE regress_writer;
SELECT attempt($$SELECT sync_add_match('item', 'fn', '{name}', 'rules.letters(jsonb)')$$);
SELECT sync_add_match('item', 'fn', '{name}', 'rules.definer(jsonb)');
SELECT written_by FROM syncext.match_rule WHERE name = 'fn';
-- nor by writing the table
UPDATE syncext.match_rule SET "normalize" = 'rules.who', written_by = 'postgres' WHERE name = 'fn';
RESET ROLE;
SELECT written_by FROM syncext.match_rule WHERE name = 'fn';
SELECT change('Plain', 'item', 'W1', 1, '{"name": "Ann"}');
SELECT key FROM syncext.match_key WHERE external_id = 'W1';
SELECT * FROM told WHERE object ~ 'item';
-- another's edit of its sources doesn't make it his
UPDATE syncext.match_rule SET action = 'link', link_sources = '{CRM}' WHERE name = 'fn';
SELECT written_by FROM syncext.match_rule WHERE name = 'fn';
SELECT sync_drop_source('ERP');
SELECT name, link_sources FROM syncext.match_rule ORDER BY 1;
-- mended
UPDATE syncext.match_rule SET "normalize" = 'rules.letters' WHERE name = 'fn';
CALL sync_rematch('item');
SELECT key FROM syncext.match_key WHERE external_id = 'W1';
-- the function is gone, or says nonsense
DROP FUNCTION rules.letters;
SELECT change('Plain', 'item', 'W2', 1, '{"name": "Bob"}');
SELECT * FROM told WHERE object ~ 'item';
CREATE FUNCTION rules.letters(jsonb) RETURNS text IMMUTABLE LANGUAGE sql AS $$ SELECT $1->>'name' $$;
CALL sync_maintain() \g /dev/null
SELECT key FROM syncext.match_key WHERE external_id IN ('W1', 'W2') ORDER BY external_id;
SELECT count(*) FROM syncext.match_problem WHERE rule = 'fn';
-- a cancel isn't the function's
CREATE OR REPLACE FUNCTION rules.letters(jsonb) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stop' USING ERRCODE = 'query_canceled'; END $$;
SELECT attempt($$SELECT change('Plain', 'item', 'W3', 1, '{"name": "Bob"}')$$);

--
-- Entities without rules, and an entity that goes
--
SELECT change('Plain', 'record', 'R1', 1, '{"email": "ann@x.org"}');
SELECT count(*) FROM syncext.match_key WHERE entity = 'record';
DELETE FROM syncext.entity WHERE name = 'item';
SELECT (SELECT count(*) FROM syncext.match_key WHERE entity = 'item') AS keys, (SELECT count(*) FROM syncext.match_candidate WHERE entity = 'item') AS candidates, (SELECT count(*) FROM syncext.match_rule WHERE entity = 'item') AS rules;

DROP VIEW pairs, keys, told;
DROP FUNCTION named, sends;
DROP PROCEDURE try;
DROP EXTENSION syncext;
SET client_min_messages = warning;
DROP SCHEMA rules CASCADE;
DROP OWNED BY regress_writer, regress_owner;
DROP ROLE regress_eu, regress_steward, regress_other, regress_writer, regress_owner;
