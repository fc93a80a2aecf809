-- Keys, merges, counters and matches in the hands of who means no good: what is small in a
-- document takes no memory or time that others lack, what a source isn't shown stays untold,
-- and rows that were edited by hand hold nothing up.
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_eu, syncext_steward, syncext_stranger;
RESET client_min_messages;
CREATE EXTENSION syncext;
\ir test/helpers.sql
CREATE ROLE syncext_eu;
CREATE ROLE syncext_steward;
CREATE ROLE syncext_stranger;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('EU', 3, 'syncext_eu'), sync_add_source('Spoke', 4);
SELECT sync_add_entity('person'), sync_add_entity('order'), sync_add_reference('order', 'client', 'person');
SELECT sync_own_keys('ERP', 'person'), sync_own_keys('EU', 'person'), sync_rule('person', 'stock', 'sum');
SELECT sync_route('EU', 'person', '$.region == "EU"');
SELECT sync_apply('{"source": "CRM", "entity": "person", "externalId": "P", "version": 1, "name": "Ann"}')->>'resolution' AS resolution;

--
-- What a call takes
--
SELECT sync_apply(jsonb_build_object('source', 'ERP', 'entity', 'person', 'sourceId', 'k', 'externalId', 'large', 'version', 1, 'fields', jsonb_build_object('v', repeat('x', 900000))))->>'resolution' AS resolution;
-- how much memory the session has had at most, with the server's shared buffers
CREATE FUNCTION is_modest() RETURNS boolean LANGUAGE sql AS $$
	SELECT substring(pg_read_file('/proc/self/status') FROM 'VmHWM:\s+(\d+)')::int < 300 * 1024
$$;
CREATE FUNCTION many(document jsonb, n int DEFAULT 600) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_agg(document) FROM generate_series(1, n) $$;
CREATE FUNCTION outcomes(answers jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(DISTINCT coalesce(a->>'resolution', a->>'reason'), ', ') FROM jsonb_array_elements(answers) a
$$;
-- a record that is larger than its changes, by either of its names
\c -
SELECT outcomes(sync_apply(many('{"source": "ERP", "entity": "person", "externalId": "large", "version": 1, "fields": {"n": 1}}'))), is_modest();
\c -
SELECT outcomes(sync_explain(many('{"source": "ERP", "entity": "person", "sourceId": "k", "externalId": "large", "version": 1, "fields": {"n": 1}}'))), is_modest();
-- a number that is longer than what is written of it
\c -
SELECT outcomes(sync_apply(many('{"source": "CRM", "entity": "person", "externalId": "P", "version": 1e131071, "fields": {"n": 1}}', 3000))), is_modest();
SELECT outcomes(sync_apply(many('{"source": "CRM", "entity": "person", "externalId": "P", "version": 1e-16000, "fields": {"n": 1}}', 1))),
       outcomes(sync_apply(many('{"source": "CRM", "entity": "person", "externalId": "P", "version": -1e100, "fields": {"n": 1}}', 1))),
       outcomes(sync_apply(many('{"source": "CRM", "entity": "person", "externalId": "P", "version": 2.00000000000000000000000000000000000000000000000000000000000000000000, "fields": {"n": 1}}', 1)));
\c -
SELECT outcomes(sync_apply(many('{"source": "ERP", "entity": "order", "externalId": "O", "version": 1, "fields": {"client": 1e131071}}', 3000))), is_modest();
-- keys that are all in conflict
SELECT count(sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'person', 'externalId', 'many' || n, 'version', 1, 'fields', '{"a": 1}'::jsonb))) FROM generate_series(1, 4500) n;
SELECT sync_subscribe('ERP', '{person}');
\c -
SELECT max(batch) AS batch FROM sync_pull('ERP', 10000) \gset
SELECT sync_ack('ERP', :batch, keys => (SELECT jsonb_agg(jsonb_build_object('entity', 'person', 'externalId', 'many' || n, 'sourceId', 'same')) FROM generate_series(1, 4500) n)), is_modest();
SELECT count(*) FROM syncext.pending WHERE target = 'ERP' AND attempts = 1;

--
-- A spoke: what it says of its keys and of what it has counted
--
CREATE FUNCTION hello() RETURNS text LANGUAGE sql AS $$
	SELECT syncext.hub_hello('Spoke', jsonb_build_object('protocol', 2, 'claim', true, 'relay', false, 'sent', 0, 'answered', 0, 'pulled', 0,
		'identity', jsonb_set(jsonb_set(syncext.identity(), '{mark}', '"11111111-1111-1111-1111-111111111111"'), '{ancestors}', '[]')))->>'refused'
$$;
CREATE FUNCTION push(n int, document jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(a->>'reason', a->>'resolution', a::text)
	FROM sync_push('Spoke', '11111111-1111-1111-1111-111111111111/1/' || n, jsonb_build_array(document || '{"source": "Spoke", "entity": "person"}')) p, jsonb_array_elements(p) a
$$;
CREATE FUNCTION counts(prefix text, n int) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_object_agg(prefix || i, '{"1/1": [1, 1]}'::jsonb) FROM generate_series(1, n) i $$;
\c -
SELECT hello();
SELECT syncext.hub_keys('Spoke', (SELECT jsonb_agg(jsonb_build_object('entity', 'person', 'sourceId', 'k' || n, 'externalId', 'large', 'ended', true)) FROM generate_series(1, 600) n)), is_modest();
SELECT push(1, '{"externalId": "S", "base": 0, "fields": {"stock": 1}}');
SELECT push(2, jsonb_build_object('externalId', 'S', 'base', 1, 'counted', counts('f', 1001)));
SELECT push(3, jsonb_build_object('externalId', 'S', 'base', 1, 'totals', (SELECT jsonb_object_agg('f' || i, 1) FROM generate_series(1, 1001) i)));
-- of fields that are no counters nothing is kept
SELECT push(4, jsonb_build_object('externalId', 'S', 'base', 1, 'baseline', true, 'counted', counts('f', 1000)));
SELECT count(*) FROM syncext.counted;
SELECT push(5, '{"externalId": "S", "base": 1, "counted": {"stock": {"1/1": [1, 1], "01/1": [2, 5], "2/7": [3, 1]}}}');
SELECT counts FROM syncext.counted;
-- eight times as many take not much more than eight times as long
SET syncext.max_fields = 100000;
SET syncext.max_document = '16MB';
CREATE FUNCTION time_of(push int, n int) RETURNS interval LANGUAGE plpgsql AS $$
DECLARE
	document jsonb := jsonb_build_object('externalId', 'S', 'base', 1, 'counted', counts('f', n));
	start timestamptz := clock_timestamp();
BEGIN
	ASSERT push(push, document) ~ 'whose rule is not sum';
	RETURN clock_timestamp() - start;
END $$;
SELECT time_of(6, 4000) * 20 > time_of(7, 32000) AS linear;
-- two keys of records that are one by now
SELECT string_agg(sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'person', 'externalId', i, 'version', 1, 'a', 1))->>'resolution', ' ') FROM unnest('{A,B,C,D}'::text[]) i;
SELECT sync_merge('person', 'C', 'A') < sync_merge('person', 'C', 'B') AS merged;
SELECT syncext.hub_keys('Spoke', '[{"entity": "person", "sourceId": "1", "externalId": "A"}, {"entity": "person", "sourceId": "2", "externalId": "B"}]');
SELECT source_id, external_id, duplicate FROM syncext.source_key WHERE source = 'Spoke' AND external_id = 'C' ORDER BY 1;
SELECT sync_merge('person', 'P', 'D') IS NOT NULL AS merged;
SELECT syncext.hub_keys('Spoke', '[{"entity": "person", "sourceId": "4", "externalId": "D"}, {"entity": "person", "sourceId": "5", "externalId": "P"}]');
SELECT source_id, external_id, duplicate FROM syncext.source_key WHERE source = 'Spoke' AND external_id = 'P' ORDER BY 1;

--
-- What a source isn't shown
--
-- how many others share a match key
SELECT sync_add_match('person', 'mail', '{mail}', action => 'link', link_sources => '{EU}');
CALL sync_rematch('person') \g /dev/null
CREATE FUNCTION is_linked(guess text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sync_apply((SELECT jsonb_agg(jsonb_build_object('source', 'EU', 'entity', 'person', 'sourceId', guess || n, 'version', 1, 'fields', jsonb_build_object('region', 'US', 'mail', guess))) FROM generate_series(1, 99) n));
	PERFORM sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'person', 'externalId', guess, 'version', 1, 'fields', jsonb_build_object('region', 'EU', 'mail', guess)));
	RETURN sync_apply(jsonb_build_object('source', 'EU', 'entity', 'person', 'sourceId', guess || 'new', 'version', 1, 'fields', jsonb_build_object('region', 'EU', 'mail', guess)))->>'externalId' = guess;
END $$;
SELECT sync_apply('{"source": "CRM", "entity": "person", "externalId": "hidden", "version": 1, "region": "US", "mail": "bob"}')->>'resolution' AS resolution;
SELECT guess, is_linked(guess) FROM unnest('{bob,eve}'::text[]) guess;
SELECT sync_drop_match('person', 'mail');
-- which record its own was merged into, and what the steward noted
SELECT sync_apply('{"source": "EU", "entity": "person", "sourceId": "mine", "externalId": "mine", "version": 1, "region": "EU"}')->>'resolution' AS resolution,
       sync_apply('{"source": "EU", "entity": "person", "sourceId": "too", "externalId": "too", "version": 1, "region": "EU"}')->>'resolution' AS resolution;
SELECT sync_grant('syncext_steward', 'steward', 'person');
SELECT sync_merge('person', 'hidden', 'mine', 'looks like fraud') AS merge \gset
SELECT sync_unmerge(:merge, 'it was none') - 'keys' AS unmerged;
SELECT sync_merge('person', 'eve', 'too') AS merge \gset
CREATE FUNCTION told(role name) RETURNS TABLE (external_id text, detail jsonb) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	RETURN QUERY SELECT h.external_id, h.detail - 'mergeId' - 'unmergeId' - 'decidedBy' FROM syncext.history h WHERE h.external_id IN ('mine', 'too') AND h.detail ?| '{mergeId,unmergeId}' ORDER BY h.seq;
	RESET ROLE;
END $$;
SELECT r.rolname, t.* FROM unnest('{syncext_eu,syncext_steward,syncext_stranger}'::name[]) r(rolname), told(r.rolname) t;
-- which entities there are
SET ROLE syncext_stranger;
SELECT replace(a.said, e, 'NAME') AS said FROM unnest('{person,nothing}'::text[]) e, attempt(format('SELECT count(*) FROM sync_rehearse(%L)', e)) a;
RESET ROLE;
-- what waits of a record that it isn't shown any more
SELECT sync_apply('{"source": "CRM", "entity": "person", "externalId": "gone", "version": 1, "region": "EU"}')->>'resolution' AS resolution;
INSERT INTO syncext.pending (target, entity, external_id, row_version, correction, attempts, since, next_attempt, error, put_off) VALUES ('EU', 'person', 'gone', 1, false, 0, now() - interval '9 days', now() + interval '1 hour', 'waits for its parent', true);
CREATE FUNCTION waits() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	SET LOCAL ROLE syncext_eu;
	SELECT count(*) INTO n FROM sync_check() WHERE problem ~ 'waits for source EU';
	RESET ROLE;
	RETURN n;
END $$;
SELECT waits();
SELECT sync_apply('{"source": "CRM", "entity": "person", "externalId": "gone", "version": 2, "region": "US"}')->>'resolution' AS resolution;
SELECT waits();

--
-- Rows that were edited by hand
--
-- an index that refuses what is bound
CREATE UNIQUE INDEX mine ON syncext.source_key (source, external_id) WHERE source = 'ERP';
SET statement_timeout = '30s';
SELECT said FROM attempt($$SELECT sync_apply('{"source": "ERP", "entity": "person", "sourceId": "j", "externalId": "large", "version": 2, "deleted": true}')$$);
SELECT said FROM attempt($$SELECT sync_bind('ERP', 'person', 'other', 'large')$$);
DROP INDEX syncext.mine;
-- merges in a circle
WITH merge AS (
	INSERT INTO syncext.merge (entity, keep_id, drop_id, row_version, keep_before, drop_before) VALUES ('person', 'x1', 'x2', 1, '{}', '{}'), ('person', 'x2', 'x1', 1, '{}', '{}') RETURNING *
)
INSERT INTO syncext.alias (entity, external_id, kept_id, merge) SELECT entity, drop_id, keep_id, id FROM merge;
SELECT sync_apply('{"source": "ERP", "entity": "person", "sourceId": "x", "externalId": "x2", "version": 1, "fields": {"a": 1}}')->>'resolution' AS resolution;
RESET statement_timeout;
-- nulls, and what can't be
SELECT id AS merge FROM syncext.merge WHERE drop_id = 'too' \gset
CREATE FUNCTION undone_after(merge bigint, edit text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	a record;
BEGIN
	BEGIN
		EXECUTE edit;
		SELECT * INTO a FROM attempt(format('SELECT sync_unmerge(%s)', merge));
		RAISE EXCEPTION USING ERRCODE = 'YY000';
	EXCEPTION WHEN SQLSTATE 'YY000' THEN
	END;
	RETURN a.state || ' ' || regexp_replace(a.said, '\d{2,}|(?<=merge )\d+', 'N', 'g');
END $$;
SELECT edit, undone_after(:merge, format('ALTER TABLE syncext.%s DROP NOT NULL; UPDATE syncext.%s = NULL', regexp_replace(edit, ' ', ' ALTER '), regexp_replace(edit, ' ', ' SET '))) AS undone
FROM unnest('{merge entity,merge keep_id,merge drop_id,merge taken,merge stands,merge conflicts,merge keep_before,merge drop_before,merge row_version,merge_child row_version}'::text[]) edit;
SELECT sync_add_reference('person', 'boss', 'person');
INSERT INTO syncext.merge_child (merge, entity, external_id, field, row_version) VALUES (:merge, 'person', 'P', 'boss', 1);
SELECT edit, undone_after(:merge, format('ALTER TABLE syncext.merge_child DROP CONSTRAINT merge_child_pkey; ALTER TABLE syncext.merge_child ALTER %1$s DROP NOT NULL; UPDATE syncext.merge_child SET %1$s = NULL', edit)) AS undone
FROM unnest('{entity,external_id,field}'::text[]) edit;
SELECT edit, undone_after(:merge, format('UPDATE syncext.merge SET %s', edit)) AS undone
FROM unnest(ARRAY['note = note', 'drop_before = ''[]''', 'drop_before = ''{"fields": 5}''', 'drop_before = drop_before || ''{"version": -1}''', 'drop_before = drop_before || ''{"updated_at": 7}''', 'drop_before = drop_before || ''{"last_source": 7}''',
	'taken = ''{NULL,a}''', 'stands = ''[]''', 'stands = ''{"a": "x"}''', 'conflicts = ''"x"''', 'row_version = -1', 'keep_id = ''nowhere''']) edit;

DROP FUNCTION is_modest, many, outcomes, hello, push, counts(text, int), time_of, is_linked, told, waits, undone_after;
DROP EXTENSION syncext;
DROP ROLE syncext_eu, syncext_steward, syncext_stranger;
