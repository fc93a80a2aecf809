-- Merging: two records that were found to be one.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_eu, regress_steward, regress_other;
CREATE EXTENSION syncext;
\ir test/helpers.sql
RESET client_min_messages;
CREATE ROLE regress_steward;
CREATE ROLE regress_other;
SELECT sync_add_source('Plain', 3), sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Tie', 2), sync_add_entity('customer'), sync_add_entity('item');
SELECT sync_own_keys(s, 'customer') FROM unnest('{CRM,ERP}'::text[]) s;
SELECT sync_grant('regress_steward', 'steward', 'customer'), sync_grant('regress_other', 'steward', 'item');

-- What is sent under the hub's id, under a source's key, or both; and what stands.
CREATE FUNCTION sends(source text, id text, version bigint, fields jsonb, key text DEFAULT NULL) RETURNS TABLE (resolution text, is_record text, changed jsonb, told text, reason text) LANGUAGE sql AS $$
	SELECT a->>'resolution', a->>'externalId', a->'changed', a->>'told', a->>'reason'
	FROM sync_apply(jsonb_strip_nulls(jsonb_build_object('source', $1, 'entity', 'customer', 'externalId', $2, 'sourceId', $5, 'version', $3)) || jsonb_build_object('fields', $4)) a
$$;
CREATE FUNCTION stands(id text) RETURNS TABLE (version bigint, row_version bigint, deleted boolean, fields jsonb) LANGUAGE sql AS $$
	SELECT r.version, r.row_version, r.deleted, r.fields FROM syncext.canonical r WHERE r.entity = 'customer' AND r.external_id = $1
$$;
CREATE VIEW keys AS SELECT source, source_id, external_id, duplicate FROM syncext.source_key ORDER BY 1, 2;

--
-- Fields: what the one lacks is the other's, what both have goes by rule, then by rank
--
SELECT sync_rule('customer', 'tags', 'union'), sync_rule('customer', 'visits', 'sum'), sync_rule('customer', 'vip', 'manual'),
	sync_rule('customer', 'street', 'priority', '{"group": "address"}'), sync_rule('customer', 'zip', 'priority', '{"group": "address"}');
SELECT resolution FROM sends('Plain', 'A', 1, '{"name": "Ann", "city": "Bonn", "mail": null, "same": 1, "tags": ["a"], "visits": 2, "vip": false, "street": "Old Road", "zip": "1"}');
SELECT resolution FROM sends('CRM', 'B', 4, '{"name": "Anna", "mail": "ann@x.org", "same": 1, "tags": ["b"], "visits": 3, "vip": true, "street": "New Road"}', '1001');
SELECT resolution FROM sends('ERP', 'B', 5, '{"phone": "42"}', 'K-1');
SELECT resolution FROM sends('Plain', 'B', 6, '{"city": "Berlin"}');
SELECT count(*) > 0 AS pulled FROM unnest('{CRM,ERP,Plain,Tie}'::text[]) s, sync_pull(s);
SELECT count(sync_ack(target, batch)) FROM syncext.cursor WHERE batch > 0;
SELECT sync_merge('customer', 'A', 'B', 'same person') AS merge \gset
SELECT * FROM stands('A');
SELECT * FROM stands('B');
SELECT key AS field, value->>'version' AS version, value->>'source' AS source, value->>'rowVersion' AS row_version, value->>'setBy' AS set_by
FROM jsonb_each(sync_record('customer', 'A')->'stamps') ORDER BY 1;
SELECT keep_id, drop_id, note, merged_by = current_user AS by_me, row_version, taken, undecided, keep_before->'fields'->>'name' AS kept, drop_before->'fields'->>'name' AS dropped, settled_at IS NOT NULL AS settled
FROM syncext.merge WHERE id = :merge;
SELECT * FROM keys;
SELECT source, source_id, duplicate FROM syncext.merge_key ORDER BY 1;
SELECT entity, external_id, kept_id FROM syncext.alias;
-- what neither a rule nor a rank decides stays, with a conflict that says so and that can be opened again
SELECT id AS conflict, status, external_id, source, contested, incoming, decision, note, reason FROM syncext.conflict_log ORDER BY id;
SELECT external_id, source, resolution, told, fields, detail - 'decidedBy' AS detail FROM syncext.change_log ORDER BY seq DESC LIMIT 2;

-- everybody hears of it: who has keys gets the record under its own, who has none that the other one is gone
SELECT external_id, source_id, deleted, fields->>'name' AS name, merged_into FROM sync_pull('ERP');
SELECT external_id, source_id, deleted, fields->>'name' AS name, merged_into FROM sync_pull('Plain');
SELECT count(sync_ack(target, batch)) FROM syncext.cursor WHERE batch > 0;

--
-- The old name finds the record
--
-- what it repeats is no edit
SELECT * FROM sends('Plain', 'B', 7, '{"name": "Anna", "city": "Berlin"}');
SELECT * FROM sends('Plain', 'B', 8, '{"name": "Anna", "fax": "9"}');
SELECT a->>'resolution' AS resolution, a->>'externalId' AS id, a->>'reason' AS reason FROM sync_explain('{"source": "Plain", "entity": "customer", "externalId": "B", "version": 9, "fields": {"fax": "10"}}') a;
SELECT a->>'resolution' AS resolution, a->>'externalId' AS id, a->>'reason' AS reason FROM sync_apply('{"source": "Plain", "entity": "customer", "externalId": "B", "version": 9, "deleted": true}') a;
SELECT x->>'resolution' AS resolution, x->>'externalId' AS id FROM sync_apply('[{"source": "Plain", "entity": "customer", "externalId": "B", "version": 10, "fields": {"fax": "11"}}, {"source": "Plain", "entity": "customer", "externalId": "A", "version": 11, "fields": {"fax": "12"}}]') a, jsonb_array_elements(a) x;
-- what was made on the other one has seen nothing of this one
SELECT a->>'resolution' AS resolution, a->>'externalId' AS id, a->'lost' AS lost FROM sync_apply('{"source": "Tie", "entity": "customer", "externalId": "B", "base": 3, "fields": {"fax": "13", "name": "Hanna"}}') a;
SELECT * FROM stands('A');
-- and the sources' keys do
SELECT * FROM sends('CRM', NULL, 20, '{"name": "Annie"}', '1001');
SELECT sync_record('customer', source => 'ERP', source_id => 'K-1')->>'externalId' AS id;

--
-- A source that has both: one of its keys is a duplicate
--
SELECT resolution FROM sends('CRM', 'C', 1, '{"name": "Bob", "city": "Rome"}', '2001');
SELECT resolution FROM sends('CRM', 'D', 1, '{"name": "Rob", "note": "x"}', '2002');
SELECT resolution FROM sends('ERP', 'D', 2, '{"limit": 5}', 'K-2');
SELECT sync_merge('customer', 'C', 'D') > 0 AS merged;
SELECT * FROM keys WHERE external_id = 'C';
SELECT fields FROM stands('C');
-- deliveries go to the one
SELECT count(sync_ack('CRM', batch)) FROM sync_pull('CRM');
SELECT resolution, is_record FROM sends('ERP', NULL, 9, '{"limit": 6}', 'K-2');
SELECT external_id, source_id, deleted, fields->>'limit' AS "limit" FROM sync_pull('CRM');
-- an unchanged row of the other is no edit, an edit of it is one of the record, and it goes to the first, too
SELECT * FROM sends('CRM', NULL, 10, '{"name": "Rob", "note": "x"}', '2002');
SELECT * FROM sends('CRM', NULL, 11, '{"name": "Rob", "note": "y"}', '2002');
SELECT count(sync_ack('CRM', batch)) FROM sync_pull('CRM');
SELECT external_id, source_id, fields->>'note' AS note FROM sync_pull('CRM');
-- its delete unbinds it
SELECT a->>'resolution' AS resolution, a->>'reason' AS reason FROM sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "2002", "version": 12, "deleted": true}') a;
SELECT * FROM keys WHERE external_id = 'C';
SELECT deleted FROM stands('C');

--
-- Merged again: the alias is shortened
--
SELECT resolution FROM sends('Plain', 'Z', 1, '{"name": "Ann Z", "zodiac": "lion"}');
SELECT sync_merge('customer', 'Z', 'A') > 0 AS merged;
SELECT external_id, kept_id FROM syncext.alias ORDER BY 1;
SELECT resolution, is_record FROM sends('Plain', 'B', 50, '{"fax": "50"}');
SELECT source, source_id, external_id FROM keys WHERE source_id IN ('1001', 'K-1');

--
-- Conflicts, candidates and what waits are about the one that stays
--
SELECT resolution FROM sends('Plain', 'P', 1, '{"name": "Eve", "mail": "eve@x.org"}');
SELECT resolution FROM sends('Plain', 'Q', 1, '{"name": "Eva", "mail": "eve@x.org", "age": 30}');
SELECT resolution FROM sends('Plain', 'R', 1, '{"name": "Evi"}');
SELECT resolution FROM sends('Plain', 'S', 1, '{"name": "Eff"}');
SELECT sync_add_source('Twin', 3), sync_add_source('Gone', 3);
SELECT a->>'resolution' AS resolution FROM sync_apply('{"source": "Twin", "entity": "customer", "externalId": "Q", "base": 0, "fields": {"age": 31}}') a;
SELECT a->>'resolution' AS resolution FROM sync_apply('{"source": "Gone", "entity": "customer", "externalId": "Q", "base": 0, "deleted": true}') a;
INSERT INTO syncext.match_candidate (entity, external_id, other_id, rule, status) VALUES
	('customer', 'P', 'Q', 'm', 'pending'), ('customer', 'Q', 'R', 'm', 'distinct'), ('customer', 'P', 'R', 'm', 'pending'), ('customer', 'Q', 'S', 'm', 'pending');
SELECT id AS candidate FROM syncext.match_candidate WHERE other_id = 'Q' \gset
SELECT sync_match_decide(:candidate, 'merge', 'one Eve');
SELECT keep_id, drop_id, note, taken, undecided FROM syncext.merge WHERE drop_id = 'Q';
SELECT external_id, other_id, status, note FROM syncext.match_candidate ORDER BY 1, 2;
SELECT external_id, source, status, incoming, incoming_deleted FROM syncext.conflict_log WHERE source IN ('Twin', 'Gone') ORDER BY id;
SELECT a->>'resolution' AS resolution, a->>'externalId' AS id FROM syncext.conflict_log c, sync_resolve(c.id, 'incoming') a WHERE c.source = 'Twin' AND c.status = 'pending';
SELECT fields FROM stands('P');
SELECT attempt(format($$SELECT sync_match_decide(%s, 'merge')$$, :candidate)), attempt($$SELECT sync_match_decide(0, 'merge')$$);
-- which of the two stays: the one that sources know by its id, else the one that was bound first
SELECT resolution FROM sends('CRM', 'M1', 1, '{"name": "Max"}', '3001');
SELECT resolution FROM sends('ERP', 'L1', 1, '{"name": "Max"}', 'K-3');
SELECT resolution FROM sends('Plain', 'N1', 1, '{"name": "Max"}');
INSERT INTO syncext.match_candidate (entity, external_id, other_id, rule) VALUES ('customer', 'L1', 'M1', 'm');
SELECT sync_match_decide(id, 'merge') FROM syncext.match_candidate WHERE other_id = 'M1';
INSERT INTO syncext.match_candidate (entity, external_id, other_id, rule) VALUES ('customer', 'M1', 'N1', 'm');
SELECT sync_match_decide(id, 'merge') FROM syncext.match_candidate WHERE other_id = 'N1';
SELECT keep_id, drop_id FROM syncext.merge ORDER BY id DESC LIMIT 2;
SELECT * FROM keys WHERE external_id = 'N1';
-- a key that comes for the one that went is of the other
SELECT resolution, is_record FROM sends('CRM', 'Q', 1, '{"x": 1}', '4001');
SELECT sync_bind('ERP', 'customer', 'K-4', 'Q');
SELECT * FROM keys WHERE external_id IN ('P', 'Q');
SELECT attempt($$SELECT sync_bind('ERP', 'customer', 'K-5', 'Q')$$);
-- as is what is looked up under its id
SELECT sync_record('customer', 'Q')->>'externalId' AS id, (SELECT count(*) FROM sync_history('customer', 'Q')) > 0 AS history;

--
-- Forgotten: either one
--
SELECT sync_forget('customer', 'Q') @> '{"merge": 1, "alias": 1, "canonical": 1}' AS erased;
SELECT count(*) FROM syncext.merge WHERE 'Q' IN (keep_id, drop_id) OR drop_before::text ~ '"Eva"';
SELECT count(*) FROM syncext.alias WHERE external_id = 'Q';
SELECT sync_forget('customer', 'N1') @> '{"merge": 2, "alias": 2, "canonical": 3, "sourceKey": 2}' AS erased;
SELECT count(*) FROM syncext.canonical WHERE external_id IN ('N1', 'M1', 'L1');
SELECT count(*) FROM syncext.alias WHERE kept_id = 'N1';

--
-- What refers to the one that went
--
SELECT sync_add_entity('order'), sync_add_entity('note'), sync_add_reference('order', 'client', 'customer', 'restrict'), sync_add_reference('note', 'about', 'customer'), sync_own_keys('CRM', 'order', false);
CREATE FUNCTION child(entity text, id text, version bigint, fields jsonb, source text DEFAULT 'Plain') RETURNS TABLE (resolution text, told text, fields jsonb) LANGUAGE sql AS $$
	SELECT a->>'resolution', a->>'told', sync_record($1, $2)->'fields'
	FROM sync_apply(jsonb_build_object('source', $5, 'entity', $1, 'externalId', $2, 'version', $3, 'fields', $4)) a
$$;
SELECT resolution FROM sends('Plain', 'T1', 1, '{"name": "Tim"}');
SELECT resolution FROM sends('Plain', 'T2', 1, '{"name": "Tom"}');
SELECT resolution FROM sends('ERP', 'T2', 2, '{"name": "Tom"}', 'K-8');
SELECT (child('order', 'o' || n, 1, jsonb_build_object('client', 'T2', 'n', n))).resolution FROM generate_series(1, 3) n;
SELECT (child('note', 'n1', 1, '{"about": "T2"}')).resolution, (child('note', 'n2', 1, '{"about": "T1"}')).resolution, (child('note', 'n3', 1, '{"about": "late"}')).resolution;
SELECT sync_merge('customer', 'T1', 'T2') > 0 AS merged;
SELECT settled_at, (SELECT entity FROM syncext.repoint) AS entity FROM syncext.merge WHERE drop_id = 'T2';
SELECT severity, problem ~ 'not heard yet' AS told, hint FROM sync_check() WHERE object = 'entity customer' AND problem ~ 'merged';
SELECT attempt($$SELECT sync_forget('customer', 'T2')$$);
-- the old id is told in nobody's feed yet, and children that name it are the other one's
SELECT count(*) > 0 AS pulled FROM unnest('{Plain,ERP}'::text[]) s, sync_pull(s);
SELECT count(sync_ack(target, batch)) FROM syncext.cursor WHERE batch > 0 AND target IN ('Plain', 'ERP');
SELECT * FROM child('order', 'o1', 2, '{"client": "T2", "n": 10}');
SELECT * FROM child('note', 'n4', 1, '{"about": "T2"}');
SELECT a->>'resolution' AS resolution FROM sync_explain('{"source": "Plain", "entity": "note", "externalId": "n5", "version": 1, "fields": {"about": "T2"}}') a;
SELECT parent_id, external_id FROM syncext.child WHERE parent_id IN ('T1', 'T2') ORDER BY 1, 2;
SELECT a->>'resolution' AS resolution, a->>'reason' AS reason FROM sync_apply('{"source": "Plain", "entity": "customer", "externalId": "T1", "version": 100, "deleted": true}') a;
SELECT external_id, deleted, fields->>'client' AS client FROM sync_pull('ERP') WHERE entity IN ('customer', 'order', 'note');
SELECT count(sync_ack('ERP', batch)) FROM syncext.cursor WHERE target = 'ERP' AND batch > 0;
CALL sync_maintain() \gset
SELECT :'result'::jsonb->'repointed' AS repointed, :'result'::jsonb->'waits' AS waits;
SELECT entity, external_id, version, row_version, fields FROM syncext.canonical WHERE entity IN ('order', 'note') ORDER BY 1, 2;
SELECT parent_id, external_id FROM syncext.child WHERE parent_id IN ('T1', 'T2') ORDER BY 1, 2;
SELECT entity, external_id, field FROM syncext.merge_child ORDER BY 1, 2;
SELECT settled_at IS NOT NULL AS settled, (SELECT count(*) FROM syncext.repoint) AS walks FROM syncext.merge WHERE drop_id = 'T2';
-- parents first, then what refers to them, and last what is gone
SELECT entity, external_id, deleted, fields, merged_into FROM sync_pull('Plain') WHERE entity IN ('customer', 'order', 'note');
SELECT entity, external_id, source_id, fields FROM sync_pull('ERP');
-- what is gone for good is found by its alias still
DELETE FROM syncext.canonical WHERE entity = 'customer' AND external_id = 'T2';
SELECT resolution, is_record, reason FROM sends('Plain', 'T2', 200, '{"name": "Timothy"}');
SELECT * FROM child('note', 'n6', 1, '{"about": "T2"}');

--
-- Rights
--
SET ROLE regress_other;
SELECT attempt($$SELECT sync_merge('customer', 'Z', 'C')$$), attempt($$SELECT sync_merge('nothing', 'Z', 'C')$$) \gx
SET ROLE regress_steward;
SELECT attempt($$SELECT sync_merge('item', 'Z', 'C')$$);
SELECT sync_merge('customer', 'Z', 'C', 'by a steward') > 0 AS merged;
RESET ROLE;
SELECT merged_by, note FROM syncext.merge WHERE drop_id = 'C';

--
-- Refused
--
SELECT attempt($$SELECT sync_merge('customer', 'Z', 'Z')$$), attempt($$SELECT sync_merge('customer', 'Z', 'nobody')$$), attempt($$SELECT sync_merge('customer', 'nobody', 'Z')$$),
	attempt($$SELECT sync_merge('customer', 'Z', 'B')$$), attempt($$SELECT sync_merge('customer', 'A', 'Z')$$), attempt($$SELECT sync_merge('nothing', 'A', 'Z')$$),
	attempt($$SELECT sync_merge(NULL, 'A', 'Z')$$), attempt($$SELECT sync_merge('customer', 'A', NULL)$$) \gx
SELECT sync_apply('{"source": "Plain", "entity": "customer", "externalId": "G", "version": 1, "deleted": true}')->>'resolution' AS resolution;
SELECT attempt($$SELECT sync_merge('customer', 'Z', 'G')$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT attempt($$SELECT sync_merge('customer', 'Z', 'P')$$);
COMMIT;
BEGIN;
INSERT INTO syncext.link (name, server, source, owner, hub, relay) VALUES ('up', 'x', 'Tie', 'x', gen_random_uuid(), true);
SELECT attempt($$SELECT sync_merge('customer', 'Z', 'P')$$);
SELECT attempt(format('SELECT sync_unmerge(%s)', max(id))) FROM syncext.merge WHERE entity = 'customer';
SELECT attempt($$SELECT sync_split('customer', 'CRM', '1')$$);
ROLLBACK;

--
-- Into a record that the source is not shown
--
SELECT sync_add_source('Near', 4, role => 'regress_other'), sync_route('Near', 'customer', '$.place == "near"'), sync_own_keys('Near', 'customer');
SELECT resolution FROM sends('Plain', 'far-1', 1, '{"place": "far"}');
SELECT resolution FROM sends('Plain', 'near-1', 1, '{"place": "near"}');
SELECT count(sync_ack('Near', batch)) FROM (SELECT DISTINCT batch FROM sync_pull('Near')) p;
SELECT sync_merge('customer', 'far-1', 'near-1') > 0 AS merged;
SET ROLE regress_other;
-- neither an answer nor an error names it
SELECT attempt($$SELECT sync_bind('Near', 'customer', 'n', 'near-1')$$), attempt($$SELECT sync_bind('Near', 'customer', 'n', 'far-1')$$) \gx
SELECT resolution, is_record FROM sends('Near', 'near-1', 2, '{"phone": "1"}');
SELECT a->>'resolution' AS resolution, a->>'externalId' AS id FROM sync_explain('{"source": "Near", "entity": "customer", "externalId": "near-1", "version": 3, "phone": "2"}') a;
SELECT external_id, deleted, merged_into FROM sync_pull('Near') WHERE external_id LIKE '%-1';
RESET ROLE;
SELECT fields FROM stands('far-1');

--
-- Merged before anything was known to refer to it
--
SELECT sync_add_entity('letter'), sync_add_entity('reader');
SELECT change('Plain', 'reader', id, 1, '{"name": "x"}') FROM unnest('{R1,R2}'::text[]) id;
SELECT change('Plain', 'letter', 'L1', 1, '{"reader": "R2"}');
SELECT sync_merge('reader', 'R1', 'R2') > 0 AS merged;
SELECT sync_add_reference('letter', 'reader', 'reader');
CALL sync_maintain() \g /dev/null
SELECT fields FROM syncext.canonical WHERE external_id = 'L1';
SELECT count(*) FROM syncext.repoint;

DROP EXTENSION syncext CASCADE;
DROP ROLE regress_steward, regress_other;
