-- A source that speaks the language of links by hand: it acts as its own source, and what
-- it says of others, of the past and of the hub is not believed on its word alone.
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_spoke;
RESET client_min_messages;
CREATE EXTENSION syncext;
\ir test/helpers.sql
CREATE ROLE syncext_spoke;
SELECT sync_add_source('Spoke', 5, 'syncext_spoke'), sync_add_source('CRM', 1);
SELECT sync_add_entity('field', '{field,version,latest,priority}'), sync_add_entity('customer'), sync_add_entity('order');
SELECT sync_add_reference('order', 'customer', 'customer');
SELECT sync_apply('{"entity": "field", "externalId": "K", "source": "CRM", "version": 1, "updatedAt": "2026-01-01T00:00:00Z", "fields": {"limit": 10}}')->>'resolution' AS resolution,
       sync_apply('{"entity": "customer", "externalId": "K", "source": "CRM", "version": 1, "fields": {"limit": 10}}')->>'resolution' AS resolution;

-- What a spoke says when its link is opened, and what it sends.
CREATE TABLE whoami AS SELECT jsonb_set(jsonb_set(syncext.identity(), '{mark}', '"11111111-1111-1111-1111-111111111111"'), '{ancestors}', '[]') AS i;
GRANT SELECT ON whoami TO syncext_spoke;
CREATE FUNCTION hello(relay boolean, claim boolean DEFAULT true) RETURNS text LANGUAGE sql AS $$
	SELECT syncext.hub_hello('Spoke', jsonb_build_object('protocol', 2, 'claim', claim, 'relay', relay, 'sent', 0, 'answered', 0, 'pulled', 0,
		'identity', (SELECT i FROM whoami i)))->>'refused'
$$;
CREATE SEQUENCE batch;
GRANT USAGE ON SEQUENCE batch TO syncext_spoke;
CREATE FUNCTION push(document jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(a->>'reason', a->>'resolution', a::text)
	FROM sync_push('Spoke', '11111111-1111-1111-1111-111111111111/1/' || nextval('batch'), jsonb_build_array(document || '{"source": "Spoke"}')) p, jsonb_array_elements(p) a
$$;
-- A record as another hub has it, all of it as CRM had said it, at a version and a time.
CREATE FUNCTION state(version bigint, at timestamptz, who text DEFAULT 'CRM', part text DEFAULT 'lived') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('entity', 'field', 'externalId', 'K', 'fields', jsonb_build_object('limit', 1000000), 'state',
		jsonb_build_object('ladder', 'version latest/latest', 'stamps', jsonb_build_object('limit', s.stamp), 'life', jsonb_build_object('lived', s.stamp) || jsonb_build_object(part, s.stamp)))
	FROM (SELECT jsonb_build_array(version, (extract(epoch FROM at - '2000-01-01 00:00:00Z') * 1000000)::bigint, who) AS stamp) s
$$;
-- What it compares, and sends again.
CREATE FUNCTION compare(known jsonb, epoch bigint, lost jsonb DEFAULT '[]', entity text DEFAULT 'customer') RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(concat_ws(' ', external_id, base, recovered), ', ' ORDER BY external_id), 'nothing is lost')
	FROM syncext.hub_compare('Spoke', entity, known, '2020-01-01', true, epoch, lost)
$$;
CREATE FUNCTION recovery(id text, row_version bigint, epoch bigint, more jsonb DEFAULT '{}', entity text DEFAULT 'customer') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(jsonb_build_object('entity', entity, 'externalId', id, 'source', 'Spoke', 'base', 0, 'ifMatch', 0, 'updatedAt', '2026-01-01T00:00:00Z',
		'recovered', row_version, 'recoveredEpoch', epoch, 'fields', '{"name": "lost"}'::jsonb) || more)
$$;

--
-- Speaking for others: a relay alone, and an administrator says which sources are
--
SET ROLE syncext_spoke;
SELECT * FROM attempt('SELECT hello(true)');
SELECT hello(false);
SELECT * FROM attempt($$SELECT push(state(2, '2026-02-01'))$$);
-- in a batch beside others, too
SELECT * FROM attempt($$SELECT sync_push('Spoke', '11111111-1111-1111-1111-111111111111/1/99', jsonb_build_array(state(2, '2026-02-01') || '{"source": "Spoke"}',
	'{"source": "Spoke", "entity": "field", "externalId": "L", "version": 1, "updatedAt": "2026-01-01T00:00:00Z", "fields": {"a": 1}}'))$$);
SELECT * FROM attempt($$SELECT sync_apply(state(2, '2026-02-01') || '{"source": "Spoke"}')$$);
SELECT * FROM attempt($$SELECT sync_add_source('Mine', relay => true)$$);
SELECT * FROM attempt($$UPDATE syncext.source SET relay = true WHERE name = 'Spoke'$$);
-- nor is it told by what stamps others have said what they have
SELECT count(syncext.hub_ack('Spoke', batch, '[]')) FROM (SELECT DISTINCT batch FROM syncext.hub_pull('Spoke', 100) WHERE entity <> 'field') p;
SELECT external_id, state FROM syncext.hub_pull('Spoke', 100) WHERE entity = 'field';
RESET ROLE;
SELECT external_id, fields, sync_record(entity, external_id)->'stamps'->'limit'->>'source' AS source FROM syncext.canonical WHERE entity = 'field';
SELECT sync_add_source('Null', relay => NULL);
UPDATE syncext.source SET relay = true WHERE name = 'Spoke';
SET ROLE syncext_spoke;
SELECT hello(true);
SELECT push(state(2, '2026-02-01'));
RESET ROLE;
SELECT external_id, fields, sync_record(entity, external_id)->'stamps'->'limit'->>'source' AS source, row_version FROM syncext.canonical WHERE entity = 'field';
SELECT sync_apply('{"entity": "field", "externalId": "M", "source": "CRM", "version": 1, "updatedAt": "2026-01-01T00:00:00Z", "fields": {"limit": 10}}')->>'resolution' AS resolution;
SET ROLE syncext_spoke;
SELECT count(syncext.hub_ack('Spoke', batch, '[]')) FROM (SELECT DISTINCT batch FROM syncext.hub_pull('Spoke', 100)) p;
SELECT external_id, state FROM syncext.hub_pull('Spoke', 100) WHERE entity = 'field';
-- what it says has the limits of what a source says: of each stamp
SELECT part, push(state(3, now() + interval '1 day', part => part)) AS said FROM unnest('{lived,died,cut,born,seen}'::text[]) part;
SELECT push(jsonb_set(state(3, now()), '{state,stamps,limit,1}', to_jsonb((extract(epoch FROM now() + interval '1 day' - '2000-01-01 00:00:00Z') * 1000000)::bigint))) AS said;
SELECT part, push(state(40000000000000000, now(), part => part)) AS said FROM unnest('{lived,died,cut,born,seen}'::text[]) part;
SELECT push(jsonb_set(state(3, now()), '{state,stamps,limit,0}', '40000000000000000')) AS said;
SELECT who, push(state(3, now(), who)) AS said FROM unnest(ARRAY['', '*', 'sync_resolve', repeat('x', 64)]) who;
RESET ROLE;
SELECT external_id, fields, version FROM syncext.canonical WHERE entity = 'field';
-- a mark that is taken back ends the session
UPDATE syncext.source SET relay = false WHERE name = 'Spoke';
SET ROLE syncext_spoke;
SELECT * FROM attempt($$SELECT push('{"entity": "customer", "externalId": "L", "base": 0, "fields": {"a": 1}}')$$);
SELECT * FROM attempt($$SELECT count(*) FROM syncext.hub_pull('Spoke', 100)$$);
SELECT hello(false);
SELECT push('{"entity": "customer", "externalId": "L", "base": 0, "fields": {"a": 1}}');

--
-- What this hub has lost: only a comparison may say so, and only of an epoch that is over
--
SELECT push(recovery('R', 7, 1)->0);
SELECT push(((recovery('R', 7, 1)->0) - 'fields') || '{"deleted": true}');
SELECT sync_apply(recovery('R', 7, 1))->0->>'reason' AS said;
-- this hub has never gone back in time, and nothing is lost of what the spoke knows
SELECT compare('{}', 0, recovery('R', 7, 0)), compare('{}', 1, recovery('R', 7, 1));
RESET ROLE;
SELECT count(*) FROM syncext.canonical WHERE external_id = 'R';
SELECT reason, epoch FROM syncext.feed_origin;
-- who may act as the source isn't the database that is linked as it
\c -
SET ROLE syncext_spoke;
SELECT * FROM attempt($$SELECT compare('{"K": 1000}', 1)$$);
SELECT hello(false, claim => false);
SELECT * FROM attempt($$SELECT compare('{"K": 1000}', 1)$$);
SELECT hello(false);
-- that one is believed: files were restored, of which nothing here tells
SELECT compare('{"K": 1000}', 1);
RESET ROLE;
SELECT f.reason, f.epoch > 1 AS later, s.behind, s.behind_at = f.began_at AS then FROM syncext.feed_origin f, syncext.spoke s;
SELECT severity, object, regexp_replace(problem, ' \d+ at .*?:\d\d .*?:', ' … at …:') AS problem FROM sync_check() WHERE problem ~ 'epoch';
SET ROLE syncext_spoke;
SELECT compare('{"R": 7}', 1, recovery('R', 7, 1)) AS sent_again;
-- of the epoch that it compares, and of one that is over
SELECT compare('{}', 1, recovery('S', 7, 2)) AS of_another;
RESET ROLE;
SELECT epoch AS present FROM syncext.feed_origin \gset
SET ROLE syncext_spoke;
SELECT compare('{}', :present, recovery('S', 7, :present)) AS of_the_present;
-- in its own name, and upon what it has compared
SELECT compare('{}', 1, recovery('S', 7, 1, '{"source": "CRM"}')) AS as_another;
SELECT compare('{}', 1, recovery('K', 7, 1)) AS not_as_compared;
RESET ROLE;
SELECT external_id, row_version, last_source FROM syncext.canonical WHERE entity = 'customer' AND external_id IN ('K', 'R', 'S') ORDER BY 1;
-- a record whose parent has not come is told of like one that waits for it, until that comes
SET ROLE syncext_spoke;
SELECT compare('{"O": 3}', 1, recovery('O', 3, 1, '{"fields": {"customer": "P", "n": 1}}', 'order'), 'order') AS sent_again;
RESET ROLE;
SELECT external_id, row_version, fields FROM syncext.canonical WHERE entity = 'order';
SELECT entity, external_id, parent_entity, parent_id, change FROM syncext.waiting;
UPDATE syncext.waiting SET next_attempt = NULL;
SELECT severity, object, regexp_replace(problem, ', the first.*', '') AS problem FROM sync_check() WHERE object ~ 'Spoke' AND severity = 'error';
UPDATE syncext.waiting SET next_attempt = now();
SELECT sync_apply('{"entity": "customer", "externalId": "P", "source": "CRM", "version": 1, "fields": {"name": "parent"}}')->>'resolution' AS resolution;
SELECT count(*) FROM syncext.waiting;
SELECT external_id, row_version, fields FROM syncext.canonical WHERE entity = 'order';

--
-- That the hub has gone back in time: who says so again and again isn't believed
--
CREATE FUNCTION cry(times int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	said bigint := 0;
BEGIN
	FOR n IN 1 .. times LOOP
		PERFORM FROM syncext.hub_compare('Spoke', 'customer', '{"K": 1000}', clock_timestamp() + interval '1 day', true);
		said := said + 1;
	END LOOP;
	RETURN said;
END $$;
SET ROLE syncext_spoke;
SELECT cry(9);
RESET ROLE;
SELECT epoch AS tenth FROM syncext.feed_origin \gset
SET ROLE syncext_spoke;
SELECT * FROM attempt('SELECT cry(1)');
RESET ROLE;
SELECT epoch = :tenth AS unmoved FROM syncext.feed_origin;
SELECT severity, object, regexp_replace(problem, 'before .*', 'before …') AS problem, hint FROM sync_check() WHERE problem ~ 'believed';
UPDATE syncext.spoke SET behind_at = behind_at - interval '1 day 1 s';
SET ROLE syncext_spoke;
SELECT cry(1);
RESET ROLE;
SELECT behind FROM syncext.spoke;

--
-- The keys that its tables draw are its own: of others' it learns and changes nothing
--
SELECT sync_apply('{"entity": "customer", "externalId": "T", "source": "Spoke", "version": 1, "fields": {"name": "its own"}}')->>'resolution' AS resolution;
CREATE FUNCTION said(source_id text, external_id text, more jsonb DEFAULT '{}') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_array(jsonb_build_object('entity', 'customer', 'sourceId', source_id, 'externalId', external_id) || more)
$$;
SET ROLE syncext_spoke;
SELECT * FROM attempt($$SELECT syncext.hub_keys('CRM', said('1', 'K'))$$);
SELECT * FROM attempt($$SELECT syncext.hub_greatest_keys('CRM')$$);
SELECT left(s, 60) AS keys, a.* FROM unnest(ARRAY['{}', '"x"', '[1]', '[{}]', said('', 'K')::text, said('1', 'K', '{"externalId": 7}')::text, said('1', 'K', '{"entity": "none"}')::text, said(repeat('x', 1025), 'K')::text]) s,
	attempt(format('SELECT syncext.hub_keys(%L, %L)', 'Spoke', s)) a;
SELECT syncext.hub_keys('Spoke', said('1', 'T')), syncext.hub_keys('Spoke', said('1', 'T')), syncext.hub_keys('Spoke', said('999999999999999999999', 'nowhere')), syncext.hub_keys('Spoke', said('17', 'K'));
SELECT syncext.hub_greatest_keys('Spoke');
-- another key for it, and one that is drawn twice
SELECT syncext.hub_keys('Spoke', said('2', 'T')), syncext.hub_keys('Spoke', said('17', 'P'));
RESET ROLE;
SELECT source, source_id, external_id, duplicate FROM syncext.source_key ORDER BY source_id;
SELECT rule, external_id, other_id FROM syncext.match_candidate;
SELECT external_id, row_version, last_source FROM syncext.canonical WHERE entity = 'customer' AND external_id IN ('K', 'P') ORDER BY 1;
-- they aren't the source's when it sends documents
SET ROLE syncext_spoke;
SELECT * FROM attempt($$SELECT sync_apply('{"entity": "customer", "sourceId": "17", "source": "Spoke", "version": 9, "fields": {"name": "by key"}}')$$);
SELECT syncext.hub_keys('Spoke', said('2', 'T', '{"ended": true}'));
RESET ROLE;
SELECT source_id, external_id, duplicate FROM syncext.source_key WHERE external_id = 'T';
-- nor may who isn't the database that is linked say them
\c -
SET ROLE syncext_spoke;
SELECT * FROM attempt($$SELECT syncext.hub_keys('Spoke', said('1', 'K'))$$);
RESET ROLE;
DROP FUNCTION said;
DROP EXTENSION syncext;
DROP OWNED BY syncext_spoke;
DROP ROLE syncext_spoke;
DROP FUNCTION hello, push, state, compare, recovery, cry;
DROP TABLE whoami;
DROP SEQUENCE batch;
