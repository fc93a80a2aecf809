-- sync_split: one key of a source becomes a record of its own.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SET timezone = 'UTC';
CREATE ROLE regress_steward;
CREATE ROLE regress_other;
CREATE ROLE regress_erp;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2, 'regress_erp'), sync_add_source('Web', 3), sync_add_entity('customer'), sync_add_entity('order');
SELECT sync_add_reference('order', 'client', 'customer');
SELECT sync_own_keys('CRM', 'customer'), sync_own_keys('ERP', 'customer');
SELECT sync_grant('regress_steward', 'steward', 'customer'), sync_grant('regress_other', 'steward', 'order');
-- what a source says by a key of its own, or of the record that another source has a key of
CREATE FUNCTION said(source text, source_id text, more jsonb, of text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT a->>'resolution' FROM sync_apply(jsonb_strip_nulls(jsonb_build_object('source', $1, 'entity', 'customer', 'sourceId', $2,
		'externalId', (SELECT k.external_id FROM syncext.source_key k WHERE k.source_id = $4))) || $3) a
$$;
CREATE FUNCTION id_of(source_id text) RETURNS text LANGUAGE sql AS $$ SELECT k.external_id FROM syncext.source_key k WHERE k.source_id = $1 $$;
-- ids are random: the new record's is said to be that of its key
CREATE FUNCTION split(source text, source_id text, note text DEFAULT NULL) RETURNS jsonb LANGUAGE sql AS $$
	SELECT s - 'externalId' || CASE WHEN s->>'externalId' = id_of($2) THEN '{}' ELSE jsonb_build_object('externalId', 'another') END
	FROM sync_split('customer', $1, $2, $3) s
$$;
CREATE VIEW crosswalk AS
	SELECT k.source, k.source_id, k.duplicate, c.fields FROM syncext.source_key k LEFT JOIN syncext.canonical c USING (entity, external_id);
CREATE FUNCTION pulled(source text) RETURNS TABLE (source_id text, deleted boolean, fields jsonb) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	number bigint;
BEGIN
	FOR p IN SELECT * FROM sync_pull($1) ORDER BY sync_pull.fields::text LOOP
		number := p.batch;
		source_id := p.source_id;
		deleted := p.deleted;
		fields := p.fields;
		RETURN NEXT;
	END LOOP;
	IF number IS NOT NULL THEN
		PERFORM sync_ack($1, number);
	END IF;
END $$;

--
-- Ann of the CRM and Zoe of the ERP were held for one.
--
SELECT said('CRM', '1001', '{"version": 1, "name": "Ann", "email": "a@x.org", "town": "Bonn"}');
SELECT said('ERP', 'K-77', '{"version": 2, "name": "Zoe", "email": "a@x.org", "iban": "DE1"}', '1001');
SELECT change('Web', 'customer', id_of('1001'), 3, '{"phone": "7"}');
SELECT * FROM crosswalk ORDER BY 1;
SELECT * FROM pulled('CRM');
SELECT * FROM pulled('ERP');
SELECT count(*) FROM pulled('Web');
SELECT id_of('1001') AS ann \gset
SELECT row_version AS was FROM syncext.canonical WHERE external_id = :'ann' \gset
-- what only the ERP has said goes with it, what the CRM had said before stands again, what the ERP hasn't said stays
SELECT split('ERP', 'K-77', 'the neighbour');
SELECT * FROM crosswalk ORDER BY 1;
SELECT * FROM fields_of(:'ann', 'customer');
SELECT * FROM fields_of(id_of('K-77'), 'customer');
SELECT r.row_version > :was AS newer, r.version FROM syncext.canonical r ORDER BY r.version;
-- all are told of both; the ERP has no key of Ann any more
SELECT * FROM pulled('CRM');
SELECT * FROM pulled('ERP');
SELECT * FROM pulled('Web');
-- the history says so
SELECT source, resolution, told, fields, detail - 'decidedBy' AS detail FROM syncext.change_log WHERE detail ? 'split' ORDER BY seq;
-- the next documents of the key are the new record's
SELECT said('ERP', 'K-77', '{"version": 3, "town": "Ulm"}');
SELECT said('CRM', '1001', '{"version": 5, "town": "Köln"}');
SELECT * FROM crosswalk ORDER BY 1;
-- an edit made on what was delivered before is none of another source's
SELECT said('ERP', 'K-77', jsonb_build_object('base', :was, 'name', 'Zoë'));
SELECT said('ERP', 'K-77', jsonb_build_object('base', :was, 'town', 'Linz'));
SELECT said('CRM', '1001', jsonb_build_object('base', :was, 'phone', '8'));
SELECT * FROM crosswalk ORDER BY 1;

--
-- The two are not asked about again, nor linked
--
SELECT sync_add_match('customer', 'email', '{email}');
CALL sync_rematch('customer');
SELECT rule, status, decided_by = current_user AS by_me, note, (external_id, other_id) IN ((:'ann', id_of('K-77')), (id_of('K-77'), :'ann')) AS of_both FROM syncext.match_candidate;
SELECT said('CRM', '1002', '{"version": 1, "name": "Eve", "email": "e@x.org"}');
SELECT said('ERP', 'K-78', '{"version": 2, "email": "e@x.org", "vat": "1"}', '1002');
SELECT split('ERP', 'K-78');
SELECT count(*), count(*) FILTER (WHERE status = 'pending') AS pending FROM syncext.match_candidate;

--
-- What isn't sure stays: the log doesn't reach back, a reviewer has decided, the source has another key
--
SELECT said('CRM', '1003', '{"version": 1, "name": "Bob", "size": 1}');
SELECT said('ERP', 'K-79', '{"version": 2, "name": "Rob", "vat": "2", "size": 5}', '1003');
SELECT said('ERP', 'K-79', '{"version": 3, "plan": "gold"}');
DELETE FROM syncext.change_log_0 WHERE external_id = id_of('1003') AND (resolution = 'n' OR fields ? 'vat');
SELECT split('ERP', 'K-79');
SELECT * FROM crosswalk WHERE source_id IN ('1003', 'K-79') ORDER BY 1;
SELECT said('CRM', '1004', '{"version": 1, "name": "Cy"}');
INSERT INTO syncext.source_priority VALUES ('CRM', 'customer', 'vat', 5), ('ERP', 'customer', 'vat', 5);
SELECT said('CRM', '1004', '{"version": 2, "vat": "a"}');
SELECT said('ERP', 'K-80', '{"version": 2, "vat": "b"}', '1004');
SELECT sync_resolve(conflict_id, 'incoming')->>'resolution' AS decided FROM syncext.conflict;
SELECT split('ERP', 'K-80');
SELECT * FROM crosswalk WHERE source_id IN ('1004', 'K-80') ORDER BY 1;
-- a conflict that waits ends with the key
SELECT said('CRM', '1005', '{"version": 2, "vat": "a"}');
SELECT said('ERP', 'K-81', '{"version": 2, "vat": "b"}', '1005');
SELECT field, theirs, ours FROM syncext.conflict;
SELECT split('ERP', 'K-81');
SELECT status, decision, note FROM syncext.conflict_log WHERE external_id = id_of('1005');
SELECT * FROM crosswalk WHERE source_id IN ('1005', 'K-81') ORDER BY 1;

--
-- Two keys of one source
--
SELECT said('ERP', 'D-1', '{"version": 1, "name": "Dora", "a": 1}');
SELECT said('CRM', '1006', '{"version": 2, "b": 2}', 'D-1');
UPDATE syncext.source_key SET duplicate = true WHERE source_id = 'D-1';
SELECT said('ERP', 'D-2', '{"version": 3, "c": 3}', '1006');
SELECT said('ERP', 'D-1', '{"version": 4, "d": 4}');
SELECT * FROM crosswalk WHERE source_id ~ '^D' OR source_id = '1006' ORDER BY 1, 2;
-- the current one goes: the other becomes current; of two keys it isn't sure by which the record was meant
SELECT split('ERP', 'D-2');
SELECT * FROM crosswalk WHERE source_id ~ '^D' OR source_id = '1006' ORDER BY 1, 2;
UPDATE syncext.source_key SET external_id = id_of('1006'), duplicate = true WHERE source_id = 'D-2';
SELECT split('ERP', 'D-2');
SELECT * FROM crosswalk WHERE source_id ~ '^D' OR source_id = '1006' ORDER BY 1, 2;

--
-- What else goes by the key: children that the source has said itself, what is parked, filters
--
SELECT sync_add_source('Shop', 9), sync_own_keys('Shop', 'customer');
SELECT said('CRM', '1007', '{"version": 1, "name": "Gus", "region": "EU"}');
SELECT said('Shop', 'S-7', '{"version": 2, "name": "Gustav"}', '1007');
SELECT sync_apply(jsonb_build_object('source', s, 'entity', 'order', 'externalId', o, 'version', 1, 'client', c))->>'resolution'
FROM (VALUES ('Shop', 'O1', 'S-7'), ('CRM', 'O2', '1007'), ('Shop', 'O3', 'S-7')) x(s, o, c);
SELECT change('Web', 'order', 'O3', 2, jsonb_build_object('client', id_of('1007'), 'note', 'x'));
SELECT sync_add_reference('customer', 'branch', 'order');
SELECT said('Shop', 'S-7', '{"version": 3, "branch": "B-1", "nick": "G"}');
SELECT change('Web', 'customer', id_of('1007'), 3, '{"branch": "B-1"}');
SELECT split('Shop', 'S-7');
SELECT c.external_id, k.source_id FROM syncext.canonical c JOIN syncext.source_key k ON k.external_id = c.fields->>'client' AND k.entity = 'customer' WHERE c.entity = 'order' ORDER BY 1, 2;
SELECT change('Web', 'order', 'B-1', 1, '{"name": "Head office"}');
SELECT * FROM crosswalk WHERE source_id IN ('1007', 'S-7') ORDER BY 1;
SELECT count(*) FROM syncext.waiting;

--
-- Refused
--
SELECT attempt(c) FROM unnest(ARRAY[
	$$SELECT sync_split(NULL, 'ERP', 'K-77')$$,
	$$SELECT sync_split('customer', NULL, 'K-77')$$,
	$$SELECT sync_split('customer', 'ERP', NULL)$$,
	$$SELECT sync_split('nothing', 'ERP', 'K-77')$$,
	$$SELECT sync_split('customer', 'nobody', 'K-77')$$,
	$$SELECT sync_split('customer', 'ERP', 'nobody''s')$$,
	$$SELECT sync_split('customer', 'Web', '1001')$$,
	-- nobody else has a part in it
	$$SELECT sync_split('customer', 'ERP', 'K-77')$$]) c;
SELECT said('CRM', '1001', '{"version": 99, "deleted": true}');
SELECT attempt($$SELECT sync_split('customer', 'CRM', '1001')$$);

BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT attempt($$SELECT sync_split('customer', 'ERP', 'K-77')$$);
COMMIT;

-- a steward of the entity, whoever was let by name, and nobody else
SELECT said('CRM', '1008', '{"version": 1, "name": "Hal"}'), said('ERP', 'K-88', '{"version": 2, "vat": "8"}', '1008');
SET ROLE regress_erp;
SELECT attempt($$SELECT sync_split('customer', 'ERP', 'K-88')$$);
SELECT attempt($$SELECT sync_split('nothing', 'ERP', 'K-88')$$);
SET ROLE regress_other;
SELECT attempt($$SELECT sync_split('customer', 'ERP', 'K-88')$$);
SET ROLE regress_steward;
SELECT s->'said' AS said, s->'emptied' AS emptied FROM sync_split('customer', 'ERP', 'K-88', 'by a steward') s;
RESET ROLE;
SELECT decided_by, note FROM syncext.match_candidate WHERE note ~ 'steward';
SELECT detail->>'decidedBy' AS decided_by, detail->>'note' AS note FROM syncext.change_log WHERE detail ? 'split' AND detail->>'note' ~ 'steward';
SELECT said('ERP', 'K-89', '{"version": 2, "vat": "8"}', '1008');
GRANT EXECUTE ON FUNCTION sync_split TO regress_erp;
SET ROLE regress_erp;
SELECT sync_split('customer', 'ERP', 'K-89')->'said' AS said;
RESET ROLE;

--
-- Other ladders
--
SELECT sync_add_entity('item', '{latest,merge,priority,manual}'), sync_own_keys('CRM', 'item'), sync_own_keys('ERP', 'item');
CREATE FUNCTION item(source text, source_id text, at text, more jsonb, of text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT a->>'resolution' FROM sync_apply(jsonb_strip_nulls(jsonb_build_object('source', $1, 'entity', 'item', 'sourceId', $2, 'updatedAt', '2026-01-01T00:00:' || $3 || 'Z',
		'externalId', (SELECT k.external_id FROM syncext.source_key k WHERE k.source_id = $5), 'fields', $4))) a
$$;
SELECT item('CRM', 'i1', '01', '{"a": 1, "b": 1}'), item('ERP', 'j1', '03', '{"a": 3, "c": 3}', 'i1'), item('ERP', 'j1', '02', '{"a": 2}');
SELECT sync_split('item', 'ERP', 'j1') - 'externalId' AS split;
SELECT * FROM crosswalk WHERE source_id IN ('i1', 'j1') ORDER BY 1;
SELECT item('CRM', 'i1', '04', '{"c": 4}'), item('ERP', 'j1', '04', '{"c": 5}');
SELECT sync_add_entity('part', '{field,version}'), sync_own_keys('CRM', 'part'), sync_own_keys('ERP', 'part');
SELECT a->>'resolution' FROM sync_apply('{"source": "CRM", "entity": "part", "sourceId": "p1", "version": 1, "a": 1, "b": 1}') a;
SELECT a->>'resolution' FROM sync_apply(jsonb_build_object('source', 'ERP', 'entity', 'part', 'sourceId', 'q1', 'externalId', id_of('p1'), 'version', 7, 'a', 7, 'c', 7)) a;
SELECT sync_split('part', 'ERP', 'q1') - 'externalId' AS split;
SELECT * FROM crosswalk WHERE source_id IN ('p1', 'q1') ORDER BY 1;
SELECT a->>'resolution' FROM jsonb_array_elements(sync_apply('[{"source": "CRM", "entity": "part", "sourceId": "p1", "version": 9, "a": 8, "c": 8}, {"source": "ERP", "entity": "part", "sourceId": "q1", "version": 8, "a": 9}]')) a;
SELECT * FROM crosswalk WHERE source_id IN ('p1', 'q1') ORDER BY 1;

--
-- Tables that draw their keys: the row of the key goes on, its record is another
--
SELECT sync_add_source('Lyon', 4), sync_add_source('Bari', 5), sync_add_entity('guest');
CREATE TABLE lyon (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, room text);
CREATE TABLE bari (id serial PRIMARY KEY, name text, room text);
SELECT sync_attach('lyon', 'Lyon', 'guest', own_keys => true), sync_attach('bari', 'Bari', 'guest', own_keys => true);
INSERT INTO lyon (name) VALUES ('Ann');
SELECT sync_deliver('Bari'), sync_deliver('Lyon');
UPDATE bari SET name = 'Zoe' WHERE id = 1;
UPDATE bari SET room = '12' WHERE id = 1;
SELECT source, resolution, fields, detail->>'sourceId' AS key FROM syncext.change_log WHERE entity = 'guest' ORDER BY seq;
SELECT sync_deliver('Lyon');
SELECT * FROM lyon;
SELECT sync_split('guest', 'Bari', '1') - 'externalId' AS split;
-- before anything is delivered
UPDATE bari SET room = '13' WHERE id = 1;
SELECT sync_deliver('Lyon'), sync_deliver('Bari');
SELECT * FROM lyon ORDER BY id;
SELECT * FROM bari ORDER BY id;
UPDATE bari SET name = upper(name);
UPDATE lyon SET room = 'l' || id;
SELECT sync_deliver('Lyon'), sync_deliver('Bari');
SELECT * FROM lyon ORDER BY id;
SELECT * FROM bari ORDER BY id;
DELETE FROM bari WHERE id = 1;
SELECT sync_deliver('Lyon'), sync_deliver('Bari');
SELECT * FROM lyon ORDER BY id;
SELECT * FROM bari ORDER BY id;
SELECT source, source_id, duplicate FROM syncext.source_key WHERE entity = 'guest' ORDER BY 1, 2;
-- two rows of one record: the other's becomes the current one
INSERT INTO bari (name) VALUES ('Two');
SELECT sync_deliver('Lyon'), sync_deliver('Bari');
UPDATE syncext.source_key SET duplicate = true WHERE source = 'Bari' AND source_id = '3';
INSERT INTO bari (name) VALUES ('Three');
UPDATE syncext.source_key k SET external_id = o.external_id FROM syncext.source_key o WHERE k.source = 'Bari' AND k.source_id = '4' AND o.source = 'Bari' AND o.source_id = '3';
SELECT sync_split('guest', 'Bari', '4') - 'externalId' AS split;
-- what the log doesn't have the row says itself
SELECT sync_deliver('Bari'), sync_deliver('Lyon');
SELECT * FROM lyon ORDER BY id;
SELECT * FROM bari ORDER BY id;
SELECT source, source_id, duplicate FROM syncext.source_key WHERE entity = 'guest' ORDER BY 1, 2;
SELECT severity, problem FROM sync_check() WHERE problem !~ 'ERP|CRM|Web|Shop' AND severity <> 'info';
SELECT sync_detach('lyon'), sync_detach('bari');
DROP TABLE lyon, bari;

--
-- What others have said to refer to the record went out by the key that is split off
--
SELECT count(*) >= 0 AS all FROM unnest('{CRM,ERP,Web}'::text[]) s, pulled(s);
SELECT said('ERP', 'B-9', '{"version": 1, "fields": {"name": "Bo"}}'), said('CRM', 'c-9', '{"version": 2, "fields": {"town": "Ulm"}}', 'B-9');
SELECT a->>'resolution' FROM sync_apply(jsonb_build_object('source', 'Web', 'entity', 'order', 'externalId', 'bill', 'version', 1, 'fields', jsonb_build_object('client', id_of('B-9')))) a;
SELECT fields FROM pulled('ERP') WHERE fields ? 'client';
SELECT split('ERP', 'B-9') - 'said' AS split;
SELECT entity, source_id, fields, batch > 0 AS batch FROM sync_pull('ERP') ORDER BY entity, source_id;
SELECT sync_ack('ERP', c.batch, keys => jsonb_build_array(jsonb_build_object('entity', 'customer', 'externalId', id_of('c-9'), 'sourceId', 'B-10'))) FROM syncext.cursor c WHERE c.target = 'ERP';
SELECT fields FROM pulled('ERP') WHERE fields ? 'client';

DROP VIEW crosswalk;
DROP FUNCTION said, id_of, split, pulled, item;
DROP EXTENSION syncext;
DROP ROLE regress_steward, regress_other, regress_erp;
