-- Who sees what: to a source that may not see a record, or a field of it, every
-- function answers the same whatever is there.
CREATE EXTENSION syncext;
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_sees_eu, syncext_sees_none;
RESET client_min_messages;
CREATE ROLE syncext_sees_eu;
CREATE ROLE syncext_sees_none;
SET datestyle = ISO;
SELECT sync_add_entity('customer'), sync_add_entity('secret'), sync_add_entity('order');
SELECT sync_add_reference('order', 'customer', 'customer'), sync_add_reference('order', 'secret', 'secret', 'restrict');
-- CRM knows everything; EU is let see customers of the EU, without their salary, and orders
SELECT sync_add_source('CRM', 1), sync_add_source('EU', 2, 'syncext_sees_eu');
SELECT sync_subscribe('EU', '{record,customer,order}');
SELECT sync_route('EU', 'customer', '$.region == "EU"', '{salary}');

-- What is hidden, and how it comes about: with the value that is guessed, with
-- another, or not at all.
CREATE TABLE hidden (kind text, entity text, id text, guess text, documents jsonb, other jsonb, absent jsonb);
INSERT INTO hidden VALUES
	('outside the filter', 'customer', 'c1', '{"name": "Bob"}',
	 '[{"version": 3, "fields": {"region": "US", "name": "Bob"}}]', '[{"version": 7, "fields": {"region": "US", "name": "Eve", "age": 3}}]', '[]'),
	('a tombstone outside the filter', 'customer', 'c1', '{"name": "Bob"}',
	 '[{"version": 3, "fields": {"region": "US", "name": "Bob"}}, {"version": 4, "deleted": true}]',
	 '[{"version": 3, "fields": {"region": "US", "name": "Eve"}}, {"version": 9, "deleted": true}]', '[]'),
	('a masked field', 'customer', 'c1', '{"salary": 5}',
	 '[{"version": 3, "fields": {"region": "EU", "salary": 5}}]', '[{"version": 3, "fields": {"region": "EU", "salary": 6}}]',
	 '[{"version": 3, "fields": {"region": "EU"}}]'),
	('an entity that it does not get', 'secret', 's1', '{"name": "Bob"}',
	 '[{"version": 3, "fields": {"name": "Bob"}}]', '[{"version": 7, "fields": {"name": "Eve", "age": 3}}]', '[]'),
	('a tombstone of an entity that it does not get', 'secret', 's1', '{"name": "Bob"}',
	 '[{"version": 3, "fields": {"name": "Bob"}}, {"version": 4, "deleted": true}]',
	 '[{"version": 3, "fields": {"name": "Eve"}}, {"version": 9, "deleted": true}]', '[]'),
	('a parent outside the filter', 'customer', 'c1', '{"name": "Bob"}',
	 '[{"version": 3, "fields": {"region": "US", "name": "Bob"}}]', '[{"version": 3, "fields": {"region": "US", "name": "Eve"}}, {"version": 9, "deleted": true}]', '[]'),
	('a parent of an entity that it does not get', 'secret', 's1', '{"name": "Bob"}',
	 '[{"version": 3, "fields": {"name": "Bob"}}]', '[{"version": 3, "fields": {"name": "Eve"}}, {"version": 9, "deleted": true}]', '[]');

-- How it is tried to be found out.  $1 is the entity, $2 the id, $3 the guess.
-- Functions without a row here are looked for below.
CREATE TABLE door (function text, command text, kinds text DEFAULT 'outside|tombstone|entity|masked');
CREATE FUNCTION keyed(entity text) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	INSERT INTO syncext.keyed_entity (source, entity, armed) VALUES ('EU', $1, true);
	RETURN true;
END $$;
CREATE FUNCTION matched(entity text, guess jsonb) RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	PERFORM keyed($1), sync_add_match($1, 'met', ARRAY(SELECT jsonb_object_keys($2)), action => 'link', link_sources => '{EU}');
	INSERT INTO syncext.match_key SELECT r.entity, r.external_id, 'met', lower(g.value)
	FROM syncext.canonical r, jsonb_each_text($2) g WHERE r.entity = $1 AND r.fields->>g.key = g.value;
	RETURN true;
END $$;
CREATE FUNCTION doc(entity text, id text, more jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$ SELECT jsonb_build_object('entity', entity, 'externalId', id, 'source', 'EU') || more $$;
INSERT INTO door SELECT f, format('SELECT %s(doc($1, $2, %L || %s))', f, more, fields)
	FROM unnest('{sync_apply,sync_explain}'::text[]) f,
	     unnest('{"{\"version\": 1}","{\"version\": 3}","{\"version\": 4}","{\"version\": 100}","{\"version\": 4000000000000000000}","{\"base\": 0}","{\"base\": 1}","{\"base\": 2}","{\"version\": 3, \"ifMatch\": 1}","{\"version\": 3, \"ifMatch\": 0}"}'::jsonb[]) more,
	     unnest('{"jsonb_build_object(''fields'', $3)","jsonb_build_object(''fields'', $3 || ''{\"b\": 1}'')"}'::text[]) fields;
INSERT INTO door SELECT f, format('SELECT %s(jsonb_build_array(doc($1, $2, ''{"version": 3}'' || jsonb_build_object(''fields'', $3)), doc($1, $2, ''{"version": 3}'' || jsonb_build_object(''fields'', $3))))', f)
	FROM unnest('{sync_apply,sync_explain}'::text[]) f;
INSERT INTO door SELECT f, format('SELECT %s(doc($1, $2, %L))', f, more), 'outside|tombstone|entity'
	FROM unnest('{sync_apply,sync_explain}'::text[]) f,
	     unnest('{"{\"version\": 3, \"deleted\": true}","{\"version\": 100, \"deleted\": true}","{\"base\": 1, \"deleted\": true}"}'::jsonb[]) more;
INSERT INTO door VALUES
	('sync_record', 'SELECT sync_record($1, $2)', 'outside|tombstone|entity'),
	('sync_history', 'SELECT string_agg(h::text, '';'') FROM sync_history($1, $2) h', 'outside|tombstone|entity|masked'),
	('sync_push', 'SELECT sync_push(''EU'', ''11111111-1111-1111-1111-111111111111/1/1'', jsonb_build_array(doc($1, $2, ''{"base": 1}'' || jsonb_build_object(''fields'', $3))))', 'outside|tombstone|entity|masked'),
	('sync_push', 'SELECT sync_push(''EU'', ''11111111-1111-1111-1111-111111111111/1/1'', jsonb_build_array(doc($1, $2, ''{"base": 0}'' || jsonb_build_object(''fields'', $3))))', 'outside|tombstone|entity|masked'),
	('sync_check', 'SELECT string_agg(c::text, '';'') FROM sync_check() c', 'outside|tombstone|entity|masked'),
	('sync_rehearse', 'SELECT string_agg(r::text, '';'') FROM sync_rehearse($1, ''[]'') r', 'outside|tombstone|entity|masked'),
	('syncext.problems', 'SELECT string_agg(c::text, '';'') FROM syncext.problems() c', 'outside|tombstone|entity|masked'),
	('syncext.may_see', 'SELECT syncext.may_see(''EU'', $1, $2, $3)', 'outside|tombstone|entity|masked'),
	('syncext.hub_hello', 'SELECT syncext.hub_hello(''EU'', ''{}'') - ''hub'' - ''version''', 'outside|tombstone|entity|masked'),
	('syncext.hub_compare', 'SELECT string_agg(c::text, '';'') FROM syncext.hub_compare(''EU'', $1, jsonb_build_object($2, 2), ''epoch'', true) c', 'outside|tombstone|entity|masked'),
	('syncext.hub_compare', 'SELECT string_agg(c::text, '';'') FROM syncext.hub_compare(''EU'', $1, jsonb_build_object($2, 1000), ''2100-01-01'', false) c', 'outside|tombstone|entity|masked'),
	('syncext.hub_behind', 'SELECT syncext.hub_behind(''EU'')', 'outside|tombstone|entity|masked'),
	('syncext.hub_keys', 'SELECT syncext.hub_keys(''EU'', jsonb_build_array(jsonb_build_object(''entity'', $1, ''externalId'', $2, ''sourceId'', ''k'')))', 'outside|tombstone|entity|masked'),
	('syncext.hub_keys', 'SELECT (syncext.hub_keys(''EU'', said), syncext.hub_keys(''EU'', jsonb_set(said, ''{0,externalId}'', ''"zz"'')), (SELECT string_agg(c::text, '';'') FROM sync_check() c), syncext.record_of_key(''EU'', $1, ''k'')) FROM (SELECT jsonb_build_array(jsonb_build_object(''entity'', $1, ''externalId'', $2, ''sourceId'', ''k''))) s(said)', 'outside|tombstone|entity|masked'),
	('syncext.hub_greatest_keys', 'SELECT syncext.hub_greatest_keys(''EU'')', 'outside|tombstone|entity|masked'),
	('sync_resolve', 'SELECT sync_resolve(1, ''dismiss'')', 'outside|tombstone|entity|masked'),
	('sync_reopen', 'SELECT sync_reopen(1)', 'outside|tombstone|entity|masked'),
	('sync_match_decide', 'SELECT sync_match_decide(1, ''distinct'')', 'outside|tombstone|entity|masked'),
	('sync_split', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))), sync_split($1, ''EU'', ''k''))', 'outside|tombstone|entity|masked'),
	('sync_unmerge', 'SELECT sync_unmerge(1)', 'outside|tombstone|entity|masked'),
	('sync_split', 'SELECT sync_split($1, ''EU'', $2)', 'outside|tombstone|entity|masked'),
	('sync_merge', 'SELECT sync_merge($1, $2, $2)', 'outside|tombstone|entity|masked'),
	('sync_assign', 'SELECT sync_assign(1, ''me'')', 'outside|tombstone|entity|masked'),
	('sync_resolve_where', 'SELECT sync_resolve_where($1, ''dismiss'')', 'outside|tombstone|entity|masked'),
	('sync_report', 'SELECT regexp_replace(regexp_replace(sync_report(), ''<style>.*</style>|<title>.*</title>|<header>.*</header>|<footer>.*</footer>|<[^>]*>'', '' '', ''g''), ''\s+'', '' '', ''g'')', 'outside|tombstone|entity|masked'),
	('syncext.may_decide', 'SELECT syncext.may_decide($1)', 'outside|tombstone|entity|masked'),
	-- what it wrote itself, read back before it is rolled back
	('sync_history', 'SELECT (sync_apply(doc($1, $2, ''{"version": 3}'' || jsonb_build_object(''fields'', $3))), (SELECT string_agg(h::text, '';'') FROM sync_history($1, $2) h))', 'outside|tombstone|entity|masked'),
	('sync_record', 'SELECT (sync_apply(doc($1, $2, ''{"version": 3}'' || jsonb_build_object(''fields'', $3))), sync_record($1, $2))', 'outside|tombstone'),
	('sync_check', 'SELECT (sync_apply(doc($1, $2, ''{"version": 3}'' || jsonb_build_object(''fields'', $3))), aged(), (SELECT string_agg(c::text, '';'') FROM sync_check() c))', 'outside|tombstone|entity|masked'),
	-- a child of what is hidden: is it there, or waited for?
	('sync_apply', 'SELECT sync_apply(doc(''order'', ''o1'', jsonb_build_object(''version'', 1, ''fields'', jsonb_build_object($1, $2))))', 'parent'),
	('sync_explain', 'SELECT sync_explain(doc(''order'', ''o1'', jsonb_build_object(''version'', 1, ''fields'', jsonb_build_object($1, $2))))', 'parent'),
	('sync_push', 'SELECT sync_push(''EU'', ''11111111-1111-1111-1111-111111111111/1/1'', jsonb_build_array(doc(''order'', ''o1'', jsonb_build_object(''base'', 0, ''fields'', jsonb_build_object($1, $2)))))', 'parent'),
	('sync_history', 'SELECT (sync_apply(doc(''order'', ''o1'', jsonb_build_object(''version'', 1, ''fields'', jsonb_build_object($1, $2)))), (SELECT string_agg(h::text, '';'') FROM sync_history(''order'', ''o1'') h))', 'parent'),
	('sync_check', 'SELECT (sync_apply(doc(''order'', ''o1'', jsonb_build_object(''version'', 1, ''fields'', jsonb_build_object($1, $2)))), aged(), (SELECT string_agg(c::text, '';'') FROM sync_check() c))', 'parent'),
	-- with keys of its own
	('sync_bind', 'SELECT (keyed($1), sync_bind(''EU'', $1, ''k'', $2))', 'outside|tombstone|entity|masked'),
	('sync_bind', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))), sync_bind(''EU'', $1, ''j'', $2))', 'outside|tombstone|entity|masked'),
	('sync_unbind', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))), sync_unbind(''EU'', $1, ''k''))', 'outside|tombstone|entity|masked'),
	('syncext.record_of_key', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))), syncext.record_of_key(''EU'', $1, ''k''))', 'outside|tombstone|entity|masked'),
	('sync_record', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))), sync_record($1, source => ''EU'', source_id => ''k''))', 'outside|tombstone'),
	('sync_history', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))), (SELECT string_agg(h::text, '';'') FROM sync_history($1, source => ''EU'', source_id => ''k'') h))', 'outside|tombstone|entity|masked'),
	('sync_apply', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))), sync_apply(doc($1, $2, ''{"version": 100, "sourceId": "k", "deleted": true}'')), sync_apply(doc($1, $2, ''{"version": 100, "sourceId": "k", "deleted": true}'')))', 'outside|tombstone|entity'),
	('sync_apply', 'SELECT (keyed($1), sync_apply(doc($1, $2, ''{"version": 100, "sourceId": "k", "deleted": true}'')), sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "j"}'' || jsonb_build_object(''fields'', $3))))', 'outside|tombstone|entity|masked'),
	('sync_explain', 'SELECT (keyed($1), sync_explain(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3))))', 'outside|tombstone|entity|masked'),
	-- and where a match rule would link it to what it meets
	('sync_apply', 'SELECT (matched($1, $3), (SELECT a || jsonb_build_object(''externalId'', a->>''externalId'' = $2) FROM sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3)) - ''externalId'') a))', 'outside|tombstone|entity|masked'),
	('sync_explain', 'SELECT (matched($1, $3), sync_explain(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3)) - ''externalId''))', 'outside|tombstone|entity|masked'),
	('sync_bind', 'SELECT (matched($1, $3), (SELECT left(a::text, 0) FROM sync_apply(doc($1, $2, ''{"version": 3, "sourceId": "k"}'' || jsonb_build_object(''fields'', $3)) - ''externalId'') a), (SELECT string_agg(c::text, '';'') FROM syncext.candidate c), (SELECT string_agg(c::text, '';'') FROM sync_check() c))', 'outside|tombstone|entity|masked'),
	-- the feed shows only what is committed
	('sync_pull', 'SELECT string_agg(p::text, '';'') FROM sync_pull(''EU'') p', 'feed'),
	('syncext.hub_pull', 'SELECT string_agg(p::text, '';'') FROM syncext.hub_pull(''EU'', 100) p', 'feed'),
	('sync_ack', 'SELECT (max(batch), sync_ack(''EU'', max(batch), jsonb_build_array(jsonb_build_object(''entity'', $1, ''externalId'', $2)))) FROM sync_pull(''EU'')', 'feed'),
	('syncext.hub_ack', 'SELECT (max(batch), syncext.hub_ack(''EU'', max(batch), jsonb_build_array(jsonb_build_object(''entity'', $1, ''externalId'', $2)))) FROM syncext.hub_pull(''EU'', 100)', 'feed'),
	('sync_deliver', 'SELECT sync_deliver(''EU'')', 'feed');
-- What a table of its own is told.
CREATE SCHEMA eu AUTHORIZATION syncext_sees_eu;
CREATE FUNCTION crm(documents jsonb) RETURNS text LANGUAGE sql SECURITY DEFINER AS
	$$ SELECT left(min(sync_apply(d || '{"source": "CRM"}')::text), 0) FROM jsonb_array_elements(documents) d $$;
CREATE FUNCTION resync() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT sync_resync('EU')::text $$;
CREATE FUNCTION in_table(entity text, id text, fields jsonb, attached text, calls text[]) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	call    text;
	said    text;
	answers text := '';
BEGIN
	CREATE TABLE eu.t (id text PRIMARY KEY, name text, region text, salary int, customer text, secret text);
	EXECUTE format('SELECT sync_attach(''eu.t'', ''EU'', %L, %s)', entity, attached);
	INSERT INTO eu.t SELECT $2, f.name, f.region, f.salary, f.customer, f.secret FROM jsonb_to_record(fields) f(name text, region text, salary int, customer text, secret text);
	FOREACH call IN ARRAY calls || 'SELECT string_agg(t::text, '' '' ORDER BY t.id) FROM eu.t'::text LOOP
		IF call ~ '^(SELECT|CALL)' THEN
			EXECUTE call INTO said;
			answers := answers || coalesce(regexp_replace(said, '("seconds": )[0-9.]+', '\1…'), 'nothing') || E'\n';
		ELSE
			EXECUTE call;
		END IF;
	END LOOP;
	RETURN answers;
END $$;
CREATE FUNCTION tables(attached text, calls text, kinds text DEFAULT 'outside|tombstone|entity|masked') RETURNS bigint LANGUAGE sql AS $$
	WITH new AS (INSERT INTO door SELECT f, CASE row_number() OVER (ORDER BY f = 'sync_load' DESC, f) WHEN 1 THEN format('SELECT in_table($1, $2, $3 || CASE WHEN $3 ? ''salary'' THEN ''{"region": "EU"}'' ELSE ''{}'' END::jsonb, %L, %L)', attached, c.calls) END, kinds
	FROM (SELECT string_to_array(calls, '; ') AS calls) c, LATERAL (SELECT DISTINCT substring(u FROM 'sync_\w+') AS f FROM unnest(c.calls) u WHERE u ~ 'sync_') f RETURNING 1) SELECT count(*) FROM new
$$;
SELECT sum(tables(attached, calls)) AS doors FROM (VALUES
	('capture => ''none''', 'CALL sync_load(''eu.t'', ''hub'', true); CALL sync_load(''eu.t'', ''hub''); CALL sync_load(''eu.t'', ''ladder'')'),
	('capture => ''none''', 'CALL sync_load(''eu.t'', ''table'', true); CALL sync_load(''eu.t''); CALL sync_load(''eu.t'', ''table'')'),
	('capture => ''none'', direction => ''in''', 'CALL sync_load(''eu.t''); UPDATE eu.t SET name = ''Bo''; CALL sync_load(''eu.t'')'),
	('capture => ''none'', direction => ''out''', 'CALL sync_load(''eu.t'', ''hub''); SELECT resync(); SELECT sync_deliver(''EU'')'),
	('capture => ''none'', columns => ''{"name": "customer", "salary": "secret"}''', 'ALTER TABLE eu.t DROP COLUMN name; UPDATE eu.t SET customer = ''Bob''; CALL sync_load(''eu.t''); CALL sync_load(''eu.t'', ''hub'')'),
	('capture => ''poll''', 'CALL sync_poll(''eu.t''); CALL sync_load(''eu.t'', ''hub'', true)'),
	('capture => ''poll'', columns => ''{"region": "region"}''', 'CALL sync_poll(''eu.t''); SELECT sync_detach(''eu.t''); SELECT sync_attach(''eu.t'', ''EU'', ''customer'', capture => ''poll''); CALL sync_poll(''eu.t''); UPDATE eu.t SET salary = 5; CALL sync_poll(''eu.t'')'),
	('capture => ''trigger''', 'CALL sync_load(''eu.t'', ''hub''); UPDATE eu.t SET name = ''Bo''; SELECT resync(); SELECT sync_deliver(''EU''); DELETE FROM eu.t; CALL sync_load(''eu.t''); SELECT sync_deliver(''EU'')'),
	('capture => ''none''', 'DELETE FROM eu.t; ALTER TABLE eu.t ALTER id TYPE int USING 0; CALL sync_load(''eu.t'', ''hub'')'),
	('capture => ''none''', 'SELECT resync(); SELECT string_agg(p::text, '' '') FROM sync_pull(''EU'', 1) p; SELECT sync_ack(''EU'', max(batch)) FROM sync_pull(''EU'', 1); SELECT string_agg(c::text, '' '') FROM sync_check() c')) t(attached, calls);
SELECT sum(tables(attached, calls, 'parent')) AS doors FROM (VALUES
	('capture => ''none'', columns => ''{"customer": "customer", "secret": "secret"}''', 'CALL sync_load(''eu.t'')'),
	('capture => ''poll'', columns => ''{"customer": "customer", "secret": "secret"}''', 'CALL sync_poll(''eu.t'')')) t(attached, calls);
-- of a record that it sees, a masked field that it writes itself shows by the row version
SELECT tables('capture => ''poll''', 'CALL sync_poll(''eu.t''); UPDATE eu.t SET name = ''Bo''; CALL sync_poll(''eu.t''); SELECT sync_deliver(''EU''); DELETE FROM eu.t; CALL sync_poll(''eu.t'', true); CALL sync_load(''eu.t'')',
	'outside|tombstone|entity') AS doors;
UPDATE door SET command = replace(replace(command, 'in_table($1, $2, $3', 'in_table(''order'', ''o1'', jsonb_build_object($1, $2)'), '$3 ? ''salary''', 'false') WHERE kinds = 'parent' AND command ~ 'in_table';
-- these say nothing of a record, or of relations that are the caller's own
INSERT INTO door (function) VALUES ('syncext.is_own_column'), ('syncext.ladder_error'), ('syncext.resolution_name'), ('syncext.rule_function'), ('syncext.rule_function_error'), ('syncext.told_name'), ('syncext.log_detail'), ('syncext.record_slot'), ('syncext.identity_case'),
	('syncext.filter_error'), ('syncext.callable'), ('syncext.may_act_as'), ('syncext.cron_error'),
	('syncext.cron_next_due'), ('syncext.duration'), ('sync_schedule'), ('sync_unschedule'), ('syncext.run_job'), ('syncext.catch_up'),
	('syncext.is_told'), ('sync_exchange'), ('syncext.hub_listen'), ('syncext.link_activity'), ('syncext.cron_job_active'),
	('syncext.may_monitor'), ('syncext.stat_rows'), ('syncext.stat_place'), ('syncext.log_kinds'), ('syncext.stamp_part'), ('syncext.html'), ('syncext.html_plain'), ('syncext.report_age'), ('syncext.report_chart'), ('syncext.report_conflicts'), ('syncext.report_page'), ('syncext.report_picture'),
	('syncext.report_section'), ('syncext.report_style'), ('sync_listen'), ('sync_wait'), ('syncext.shape_of'), ('syncext.known_columns'), ('syncext.holds_as_much'), ('syncext.left_partitions'), ('syncext.capture');

-- Every function that the role may call has its row: a new one needs one, too.
SELECT p.oid::regprocedure AS without_a_row
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext')
  AND has_function_privilege('syncext_sees_eu', p.oid, 'EXECUTE')
  AND NOT EXISTS (SELECT FROM door WHERE door.function::regproc = p.oid);
-- ... and every relation that it may read
SELECT c.oid::regclass AS relation
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid
WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext')
  AND c.relkind IN ('r', 'v', 'm', 'p', 'f') AND has_table_privilege('syncext_sees_eu', c.oid, 'SELECT')
ORDER BY c.oid::regclass::text COLLATE "C";

-- EU is a spoke, whose first pull is over.
SELECT syncext.hub_hello('EU', jsonb_build_object('claim', true, 'identity', syncext.identity() || '{"mark": "11111111-1111-1111-1111-111111111111"}')) IS NOT NULL AS claimed;
SELECT sync_apply('{"entity": "customer", "externalId": "seen", "source": "CRM", "version": 1, "region": "EU"}') ->> 'resolution' AS resolution;
SELECT sync_ack('EU', max(batch)) FROM sync_pull('EU');
SELECT count(*) FROM sync_pull('EU');
-- Conflicts, and what was given up, are told when they are old.
CREATE FUNCTION aged() RETURNS boolean LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	UPDATE syncext.conflict_log SET recorded_at = now() - interval '9 days';
	UPDATE syncext.waiting SET parked_at = now() - interval '9 days', next_attempt = NULL;
	RETURN true;
END $$;

-- What a command answers to EU if the hub was told these documents before;
-- nothing of it stays.
CREATE FUNCTION answer(h hidden, id text, told jsonb, command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	answered text;
BEGIN
	PERFORM sync_apply(doc(h.entity, id, d || '{"source": "CRM"}')) FROM jsonb_array_elements(told) d;
	SET LOCAL ROLE syncext_sees_eu;
	BEGIN
		EXECUTE command INTO answered USING h.entity, id, h.guess::jsonb;
		answered := 'answers ' || coalesce(answered, 'nothing');
	EXCEPTION WHEN OTHERS THEN
		answered := 'raises ' || SQLSTATE || ' ' || SQLERRM;
	END;
	RAISE EXCEPTION USING ERRCODE = 'ZZZZZ', MESSAGE = regexp_replace(replace(answered, id, 'ID'), '\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.0-9]*(\+\d\d)?', 'TIME', 'g');
EXCEPTION WHEN SQLSTATE 'ZZZZZ' THEN
	RETURN SQLERRM;
END $$;
-- what fails with a record is counted; to name it is for a person to read
SET client_min_messages = error;
CREATE TABLE tried AS
	SELECT h.kind, d.function, d.command, s.state, answer(h, h.id, s.told, d.command) AS answer
	FROM hidden h, door d, LATERAL (VALUES ('same', h.documents), ('other', h.other), ('absent', h.absent)) s(state, told)
	WHERE d.command IS NOT NULL AND h.kind ~ CASE d.kinds WHEN 'parent' THEN 'parent' ELSE '^(?!a parent).*(' || d.kinds || ')' END;
RESET client_min_messages;
-- the feed: a record of each kind and state, and one that EU is served
SELECT count(sync_apply(doc(h.entity, kind_id || s.state, d || '{"source": "CRM"}')))
FROM hidden h, LATERAL (SELECT 'x' || length(h.kind) || '-') k(kind_id), LATERAL (VALUES ('same', h.documents), ('other', h.other)) s(state, told), jsonb_array_elements(s.told) d
WHERE h.kind ~ '^(?!a parent).*(outside|entity)';
SELECT sync_apply('{"entity": "customer", "externalId": "seen", "source": "CRM", "version": 2, "n": 1}') ->> 'resolution' AS resolution;
SELECT count(*) FROM sync_pull('EU');
UPDATE syncext.cursor SET lease_until = now() - interval '1 s' WHERE target = 'EU';
INSERT INTO tried
	SELECT h.kind, d.function, d.command, state, answer(h, 'x' || length(h.kind) || '-' || state, '[]', d.command)
	FROM hidden h, door d, unnest('{same,other,absent}'::text[]) state
	WHERE d.kinds = 'feed' AND h.kind ~ '^(?!a parent).*(outside|entity)';
SELECT kind, command, array_agg(DISTINCT answer) AS answers FROM tried GROUP BY 1, 2 HAVING count(DISTINCT answer) > 1 ORDER BY 1, 2;
-- what it was that they all answered
SELECT kind, function, count(*) AS commands, regexp_replace(min(answer), '"told".*told"', '…') AS answer FROM tried
WHERE state = 'same' AND kind !~ 'tombstone' AND (command !~ 'in_table' OR kind ~ '^outside') GROUP BY 1, 2, left(answer, 12) ORDER BY 1, 2, 3, 4;

-- What it had, and has lost sight of since: all that it is told is that it is gone.
SET client_min_messages = error;
SELECT l.attached, l.calls, count(DISTINCT l.answer) AS answers, min(l.answer) AS answer, nullif(max(l.answer), min(l.answer)) AS other
FROM (SELECT c.attached, c.calls, answer(h, 'c9', '[]', format('SELECT in_table(''customer'', ''c8'', ''{}'', %L, %L)', c.attached,
             ARRAY[$$SELECT crm('[{"entity": "customer", "externalId": "c9", "version": 1, "region": "EU", "name": "Ann"}]')$$,
                   'CALL sync_load(''eu.t'', ''hub'')', format('SELECT crm(%L)', s.told)] || string_to_array(c.calls, '; '))) AS answer
      FROM (SELECT * FROM hidden LIMIT 1) h, (VALUES
          ('capture => ''none''', 'CALL sync_load(''eu.t'', ''hub'', true); CALL sync_load(''eu.t'', ''hub'')'),
          ('capture => ''none''', 'CALL sync_load(''eu.t''); UPDATE eu.t SET name = ''Bob''; CALL sync_load(''eu.t''); CALL sync_load(''eu.t'', ''table'')'),
          ('capture => ''poll''', 'CALL sync_poll(''eu.t''); UPDATE eu.t SET name = ''Bob''; CALL sync_poll(''eu.t''); CALL sync_load(''eu.t'', ''hub'')'),
          ('capture => ''trigger''', 'CALL sync_load(''eu.t''); UPDATE eu.t SET name = ''Bob''; CALL sync_load(''eu.t'', ''hub'')'),
          ('capture => ''trigger''', 'SELECT resync(); SELECT sync_deliver(''EU''); CALL sync_load(''eu.t'')')) c(attached, calls),
          (VALUES ('[{"entity": "customer", "externalId": "c9", "version": 5, "region": "US"}]'),
                  ('[{"entity": "customer", "externalId": "c9", "version": 9000000000000000, "region": "US", "name": "Bob", "age": 3}]'),
                  ('[{"entity": "customer", "externalId": "c9", "version": 5, "region": "US"}, {"entity": "customer", "externalId": "c9", "version": 6, "deleted": true}]')) s(told)) l
GROUP BY 1, 2 ORDER BY 1, 2;
RESET client_min_messages;

-- Of what it sees it is told all.
SET ROLE syncext_sees_eu;
SELECT sync_apply(doc('customer', 'new', '{"version": 1, "region": "EU", "name": "Ann"}')) - 'reason' AS new;
SELECT sync_apply(doc('customer', 'new', '{"version": 1, "name": "Anna"}')) ->> 'resolution' AS again;
SELECT sync_explain(doc('customer', 'new', '{"version": 2, "name": "Anna"}')) ->> 'changed' AS explained;
SELECT resolution FROM sync_history('customer', 'new');
SELECT sync_apply(doc('order', 'o1', '{"version": 1, "customer": "new"}')) ->> 'resolution' AS "of one that it sees";
SELECT sync_apply(doc('order', 'o2', '{"version": 1, "customer": "none"}')) ->> 'resolution' AS "of none";
SELECT sync_apply(doc('order', 'o3', '{"version": 1, "item": 1}')) ->> 'resolution' AS "without one";
-- it takes a record out of its sight: that is told, and nothing after it
SELECT sync_apply(doc('customer', 'new', '{"version": 2, "region": "US"}')) ->> 'resolution' AS out;
SELECT sync_apply(doc('customer', 'new', '{"version": 3, "name": "Ann"}')) ->> 'resolution' AS gone;
SELECT sync_record('customer', 'new'), (SELECT count(*) FROM sync_history('customer', 'new'));
-- but it is written
RESET ROLE;
SELECT version, fields FROM syncext.canonical WHERE external_id = 'new';
-- a tombstone that it may see has no fields for it
SELECT sync_apply(doc('customer', 'dead', '{"source": "CRM", "version": 1, "region": "EU", "salary": 4}')) ->> 'resolution' AS made,
       sync_apply(doc('customer', 'dead', '{"source": "CRM", "version": 2, "deleted": true}')) ->> 'resolution' AS deleted;
SET ROLE syncext_sees_eu;
SELECT sync_record('customer', 'dead') - 'updatedAt' AS record;
RESET ROLE;
-- what refers to a record isn't named where it isn't seen
SELECT sync_add_reference('secret', 'order', 'order', 'restrict');
SELECT sync_apply(doc('secret', 'private', '{"source": "CRM", "version": 1, "order": "o3"}')) ->> 'resolution' AS resolution;
SET ROLE syncext_sees_eu;
SELECT sync_apply(doc('order', 'o3', '{"version": 2, "deleted": true}')) -> 'reason' AS reason;
RESET ROLE;
SELECT sync_apply(doc('order', 'o3', '{"source": "CRM", "version": 2, "deleted": true}')) -> 'reason' AS reason;
-- a reviewer who may not read the record is told what was decided
GRANT EXECUTE ON FUNCTION sync_resolve TO syncext_sees_none;
SELECT sync_apply(doc('secret', 'c', '{"source": "CRM", "version": 1, "x": 1}')) ->> 'resolution' AS made,
       sync_apply(doc('secret', 'c', '{"source": "CRM", "version": 1, "x": 2}')) ->> 'conflictId' IS NOT NULL AS conflict;
SELECT max(id) AS conflict FROM syncext.conflict_log \gset
SET ROLE syncext_sees_none;
SELECT sync_resolve(:conflict, 'incoming') - 'conflictId' AS answer;

-- Who has no business here is told the same of every name.
CREATE FUNCTION pg_temp.try(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || regexp_replace(SQLERRM, '"(CRM|nobody|customer|nothing)"', '"NAME"') || ' ' || hint;
END $$;
CREATE TEMP TABLE mine (id text PRIMARY KEY);
SELECT command, count(DISTINCT pg_temp.try(format(command, name))) AS answers, min(pg_temp.try(format(command, name))) AS answer
FROM unnest('{CRM,nobody}'::text[]) name, unnest(ARRAY[
	$$SELECT sync_apply('{"externalId": "1", "source": "%s", "version": 1, "a": 1}')$$,
	$$SELECT sync_apply('[{"externalId": "1", "source": "%s", "version": 1, "a": 1}]')$$,
	$$SELECT sync_explain('{"externalId": "1", "source": "%s", "version": 1, "a": 1}')$$,
	$$SELECT sync_push('%s', 'b', '[]')$$, $$SELECT sync_pull('%s')$$, $$SELECT sync_ack('%s', 1)$$, $$SELECT sync_deliver('%s')$$,
	$$SELECT syncext.hub_hello('%s', '{}')$$, $$SELECT syncext.hub_pull('%s', 1)$$, $$SELECT syncext.hub_ack('%s', 1, '[]')$$,
	$$SELECT syncext.hub_listen('%s')$$, $$SELECT syncext.hub_compare('%s', 'customer', '{"seen": 9}', now(), true)$$, $$SELECT sync_attach('mine', '%s')$$, $$SELECT syncext.may_act_as('%s')$$,
	$$SELECT syncext.may_see('%s', 'customer', 'seen')$$, $$SELECT sync_bind('%s', 'customer', 'k', 'seen')$$, $$SELECT sync_unbind('%s', 'customer', 'k')$$,
	$$SELECT syncext.record_of_key('%s', 'customer', 'k')$$, $$SELECT sync_split('customer', '%s', 'k')$$,
	$$SELECT syncext.hub_keys('%s', '[]')$$, $$SELECT syncext.hub_greatest_keys('%s')$$, $$SELECT syncext.hub_behind('%s')$$]) command
GROUP BY 1 ORDER BY 1;
SELECT command, count(DISTINCT pg_temp.try(format(command, name))) AS answers, min(pg_temp.try(format(command, name))) AS answer
FROM unnest('{customer,nothing}'::text[]) name, unnest(ARRAY[
	$$SELECT sync_apply('{"externalId": "1", "source": "CRM", "entity": "%s", "version": 1, "a": 1}')$$,
	$$SELECT sync_apply('{"externalId": "1", "source": "nobody", "entity": "%s", "version": 1, "a": 1}')$$,
	$$SELECT sync_explain('{"externalId": "1", "source": "CRM", "entity": "%s", "version": 1, "a": 1}')$$,
	$$SELECT sync_record('%s', '1')$$, $$SELECT sync_history('%s', '1')$$, $$SELECT sync_attach('mine', 'CRM', '%s')$$,
	$$SELECT sync_bind('CRM', '%s', 'k', 'seen')$$, $$SELECT sync_split('%s', 'CRM', 'k')$$, $$SELECT sync_merge('%s', 'a', 'b')$$,
	$$SELECT sync_resolve_where('%s', 'dismiss')$$, $$SELECT count(*) FROM sync_rehearse('%s')$$]) command
GROUP BY 1 ORDER BY 1;
RESET ROLE;

-- A link is told of every field that is masked, however many there are.
SELECT sync_add_source('many', 3);
SELECT sync_route('many', 'record', mask => array_agg('field' || n ORDER BY n)) FROM generate_series(1, 40) n;
SELECT sync_apply(jsonb_build_object('externalId', 'm' || r, 'source', 'CRM', 'version', 1,
	'fields', (SELECT jsonb_object_agg('field' || n, n) FROM generate_series(1, 41) n)))->>'status' AS status
FROM generate_series(1, 3) r;
SELECT syncext.hub_hello('many', jsonb_build_object('claim', true, 'identity', syncext.identity() || '{"mark": "22222222-2222-2222-2222-222222222222"}')) IS NOT NULL AS claimed;
SELECT external_id, fields, cardinality(withheld) FROM syncext.hub_compare('many', 'record', '{"m1": 9, "m2": 9, "m3": 9}', 'epoch', true) ORDER BY 1;

DROP FUNCTION pg_temp.try;
DROP FUNCTION answer, aged, doc, tables, in_table, crm, resync;
DROP SCHEMA eu;
DROP TABLE hidden, door, tried, mine;
DROP EXTENSION syncext;
DROP ROLE syncext_sees_eu, syncext_sees_none;
