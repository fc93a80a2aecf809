-- Keys that sources say, and lose, beside merges; and sources with filters, which have what their keys name.
\set SHOW_CONTEXT never
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Web', 3), sync_add_source('Shop', 4), sync_add_source('Far', 5), sync_add_entity('customer');
SELECT sync_own_keys(s, 'customer') FROM unnest('{CRM,ERP}'::text[]) s;
CREATE FUNCTION born(id text, key text, fields jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'customer', 'externalId', $1, 'sourceId', $2, 'version', 1, 'fields', $3))->>'resolution'
$$;
CREATE FUNCTION pulled(source text, keys jsonb DEFAULT '{}') RETURNS TABLE (external_id text, source_id text, deleted boolean, name text, merged_into text) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	number bigint;
	said jsonb := '[]';
BEGIN
	FOR p IN SELECT * FROM sync_pull($1) ORDER BY external_id LOOP
		number := p.batch;
		IF $2 ? p.external_id THEN
			said := said || jsonb_build_object('entity', p.entity, 'externalId', p.external_id, 'sourceId', $2->>p.external_id);
		END IF;
		RETURN QUERY SELECT p.external_id, p.source_id, p.deleted, p.fields->>'name', p.merged_into;
	END LOOP;
	IF number IS NOT NULL THEN
		PERFORM sync_ack($1, number, keys => said);
	END IF;
END $$;
CREATE FUNCTION out_of(source text) RETURNS bigint LANGUAGE sql AS $$
	SELECT max(batch) FROM sync_pull($1)
$$;
CREATE FUNCTION say(source text, batch bigint, id text, key text) RETURNS void LANGUAGE sql AS $$
	SELECT sync_ack($1, $2, keys => jsonb_build_array(jsonb_build_object('entity', 'customer', 'externalId', $3, 'sourceId', $4)))
$$;
CREATE VIEW keys AS SELECT source, source_id, external_id, duplicate FROM syncext.source_key ORDER BY 1, 2;

--
-- A key that is said of a record when that is a part of another already is what it would be, said before
--
SELECT born('A', '1', '{"name": "Ann"}'), born('B', '2', '{"name": "Anna"}'), born('C', '3', '{"name": "Annie"}');
SELECT * FROM pulled('ERP', '{"A": "K-1"}');
SELECT sync_resync('ERP');
SELECT out_of('ERP') AS batch \gset
SELECT sync_merge('customer', 'A', 'B') AS first \gset
SELECT say('ERP', :batch, 'B', 'K-2');
SELECT target, external_id, error FROM syncext.pending;
SELECT * FROM keys WHERE source = 'ERP';
-- a second row of it at ERP: what it repeats is no edit, and a delete ends that row alone
SELECT sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "K-2", "version": 5, "name": "Anna"}')->>'resolution';
-- before the merge another one would have been refused
SELECT answered('{"source": "ERP", "entity": "customer", "sourceId": "K-3", "externalId": "B", "version": 6, "name": "Anna"}')->>'resolution';
SELECT attempt($$SELECT sync_bind('ERP', 'customer', 'K-3', 'B')$$);
SELECT sync_bind('ERP', 'customer', 'K-2', 'B');
-- through two merges, in a document
SELECT born('D', '4', '{"name": "Dora"}');
SELECT sync_merge('customer', 'C', 'D') AS later \gset
SELECT sync_merge('customer', 'A', 'C') AS last \gset
SELECT answered('{"source": "ERP", "entity": "customer", "sourceId": "K-4", "externalId": "D", "version": 7, "name": "Dora"}')->>'resolution';
SELECT * FROM keys WHERE source = 'ERP';
SELECT answered('{"source": "ERP", "entity": "customer", "sourceId": "K-3", "externalId": "C", "version": 7, "name": "Annie"}')->>'resolution';
SELECT * FROM keys WHERE source = 'ERP';
SELECT m.later, k.source_id, k.duplicate, k.second FROM (VALUES (:first, 1), (:later, 2), (:last, 3)) AS m(id, later) JOIN syncext.merge_key k ON k.merge = m.id WHERE k.source = 'ERP' ORDER BY 1, 2;
SELECT count(sync_unmerge(m)) FROM unnest(ARRAY[:last]) m;
SELECT * FROM keys WHERE source = 'ERP';
SELECT count(sync_unmerge(m)) FROM unnest(ARRAY[:later, :first]) m;
SELECT * FROM keys WHERE source = 'ERP';
SELECT count(*) FROM syncext.canonical WHERE NOT deleted;
-- a delete of the second row leaves the record
SELECT sync_merge('customer', 'A', 'B') AS first \gset
SELECT sync_apply('{"source": "ERP", "entity": "customer", "sourceId": "K-2", "version": 8, "deleted": true}')->>'resolution';
SELECT sync_record('customer', 'A')->>'deleted' AS deleted;
SELECT * FROM keys WHERE source = 'ERP';
-- a key that was unbound, and bound to the record that stayed, is that one's: the source, or what it says by the key, is another
SELECT sync_unbind('CRM', 'customer', '2'), sync_bind('ERP', 'customer', 'K-2', 'B');
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "2", "externalId": "A", "version": 9, "name": "Ann"}')->>'resolution';
SELECT sync_unbind('CRM', 'customer', '1'), sync_bind('CRM', 'customer', '2', 'A');
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "2", "version": 10, "town": "Ulm"}')->>'resolution';
SELECT sync_unmerge(:first);
SELECT * FROM keys WHERE external_id IN ('A', 'B');
SELECT external_id, fields FROM syncext.canonical WHERE external_id IN ('A', 'B') ORDER BY 1;
SELECT sync_merge('customer', 'A', 'B') AS first \gset
-- a row that says in a column which record it is
CREATE TABLE shop (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, hub text);
INSERT INTO shop (name, hub) VALUES ('Ann', 'A'), ('Anna', 'B');
SELECT sync_attach('shop', 'Shop', 'customer', own_keys => true, external_id_column => 'hub');
CALL sync_load('shop') \gset
SELECT :'result'::jsonb - 'seconds' - 'details' AS result;
SELECT * FROM keys WHERE source = 'Shop';
SELECT * FROM shop WHERE id < 3;
CREATE TABLE far (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, hub text);
INSERT INTO far (name, hub) VALUES ('Ann', 'A'), ('Anna', 'B');
SELECT sync_attach('far', 'Far', 'customer', capture => 'poll', own_keys => true, external_id_column => 'hub');
CALL sync_poll('far') \gset
SELECT counts(:'result');
SELECT * FROM keys WHERE source = 'Far';
SELECT count(*) FROM syncext.canonical WHERE NOT deleted;
SELECT sync_detach('shop'), sync_detach('far');

--
-- A filter: whose key names the record now has that one, and is told when it may not see it any more
--
SELECT sync_drop_source(s) FROM unnest('{ERP,Web,Shop,Far}'::text[]) s;
SELECT count(sync_forget('customer', external_id)) FROM syncext.canonical WHERE NOT deleted;
SELECT sync_add_source('ERP', 2), sync_add_source('Web', 3), sync_add_source('Shop', 4), sync_own_keys('ERP', 'customer');
SELECT sync_route(s, 'customer', '$.kind == "pub"') FROM unnest('{ERP,Web,Shop}'::text[]) s;
DROP TABLE shop, far;
CREATE TABLE shop (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, kind text);
SELECT sync_attach('shop', 'Shop', 'customer', own_keys => true);
SELECT born('P1', '1', '{"name": "Ann", "kind": "pub"}');
SELECT * FROM pulled('ERP', '{"P1": "K-1"}');
SELECT count(*) FROM pulled('Web');
SELECT sync_deliver('Shop');
SELECT born('P2', '2', '{"name": "Anna", "kind": "pub"}'), born('H', '3', '{"name": "Zoe", "kind": "hid"}');
SELECT sync_merge('customer', 'P2', 'P1') AS first \gset
SELECT * FROM pulled('ERP');
SELECT * FROM pulled('Web');
SELECT sync_deliver('Shop');
SELECT * FROM shop;
SELECT target, external_id, own FROM syncext.routed WHERE external_id <> 'H' ORDER BY 1, 2;
SELECT sync_merge('customer', 'H', 'P2') AS later \gset
SELECT * FROM pulled('ERP');
SELECT * FROM pulled('Web');
SELECT sync_deliver('Shop');
SELECT * FROM shop;
SELECT * FROM keys WHERE source <> 'CRM';
SELECT count(*) FROM syncext.routed;
-- undone, it comes back as what comes back does: under a key that is new
SELECT count(sync_unmerge(:later));
SELECT * FROM pulled('ERP', '{"P2": "K-2"}');
SELECT * FROM pulled('Web');
SELECT sync_deliver('Shop');
SELECT * FROM shop;
SELECT * FROM keys WHERE source <> 'CRM';
-- where it had both, it has both again
SELECT count(sync_unmerge(:first));
SELECT * FROM pulled('ERP', '{"P1": "K-1", "P2": "K-2"}');
SELECT * FROM pulled('Web');
SELECT sync_deliver('Shop');
SELECT * FROM shop ORDER BY id;
SELECT sync_merge('customer', 'P2', 'P1') AS first \gset
SELECT target, external_id, own FROM syncext.routed ORDER BY 1, 2;
SELECT count(sync_unmerge(:first));
SELECT * FROM keys WHERE source <> 'CRM';
SELECT target, external_id, own FROM syncext.routed ORDER BY 1, 2;

-- what it is just being told to delete it makes anew, unless it could not delete it
SELECT born('M', '9', '{"name": "Mia", "kind": "pub"}');
SELECT count(*) FROM pulled('ERP');
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "1", "version": 100, "kind": "hid"}')->>'resolution';
SELECT out_of('ERP') AS batch \gset
SELECT sync_merge('customer', 'M', 'P1') AS first \gset
SELECT sync_ack('ERP', :batch, failed => '[{"entity": "customer", "externalId": "P1", "error": "busy"}]');
SELECT * FROM keys WHERE external_id = 'M' AND source = 'ERP';
SELECT count(sync_unmerge(:first));
SELECT * FROM keys WHERE external_id = 'P1' AND source = 'ERP';
SELECT sync_redrive('ERP');
SELECT * FROM pulled('ERP');
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "1", "version": 101, "kind": "pub"}')->>'resolution';
SELECT * FROM pulled('ERP', '{"P1": "K-5"}');
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "1", "version": 102, "kind": "hid"}')->>'resolution';
SELECT out_of('ERP') AS batch \gset
SELECT sync_merge('customer', 'M', 'P1') AS first \gset
SELECT sync_ack('ERP', :batch);
SELECT * FROM keys WHERE external_id = 'M' AND source = 'ERP';
SELECT * FROM pulled('ERP');
SELECT count(sync_unmerge(:first));
SELECT * FROM keys WHERE external_id = 'P1' AND source = 'ERP';
-- likewise where the key is split off meanwhile
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "1", "version": 103, "kind": "pub"}')->>'resolution';
SELECT * FROM pulled('ERP', '{"P1": "K-6"}');
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "1", "version": 104, "kind": "hid"}')->>'resolution';
SELECT out_of('ERP') AS batch \gset
SELECT sync_split('customer', 'ERP', 'K-6')->>'externalId' AS split \gset
SELECT sync_ack('ERP', :batch);
SELECT source_id, external_id = :'split' AS is_split, duplicate FROM keys WHERE source_id = 'K-6';
SELECT sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'customer', 'sourceId', '77', 'externalId', :'split', 'version', 200, 'kind', 'pub'))->>'resolution';
SELECT source_id, deleted FROM pulled('ERP');
-- told so, the source didn't get the answer: in the one that it gets of the same batch nothing is gone by that key any more
SELECT born('P8', '88', '{"kind": "pub"}');
SELECT * FROM pulled('ERP', '{"P8": "K-7"}');
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "88", "version": 2, "kind": "hid"}')->>'resolution';
SELECT born('P9', '99', '{"kind": "pub"}');
SELECT source_id, deleted FROM sync_pull('ERP') ORDER BY deleted;
SELECT sync_split('customer', 'ERP', 'K-7')->>'externalId' AS split \gset
SELECT external_id, source_id, deleted FROM pulled('ERP');
SELECT source_id, external_id = :'split' AS is_split, duplicate FROM keys WHERE source_id = 'K-7';

--
-- Forgotten, its keys are nowhere
--
CREATE FUNCTION traces(word text) RETURNS TABLE (of text) LANGUAGE plpgsql AS $$
BEGIN
	FOR of IN SELECT oid::regclass FROM pg_class WHERE relnamespace = 'syncext'::regnamespace AND relkind = 'r' ORDER BY 1 LOOP
		RETURN QUERY EXECUTE format('SELECT %L FROM %s r WHERE strpos(r::text, %L) > 0 LIMIT 1', of, of, word);
	END LOOP;
END $$;
SELECT born('F1', 'KEY-1', '{"kind": "pub"}'), born('F2', 'KEY-2', '{"kind": "pub"}'), born('F3', 'KEY-3', '{"kind": "pub"}');
SELECT answered('{"source": "CRM", "entity": "customer", "sourceId": "KEY-3", "externalId": "F1", "version": 1, "town": "Ulm"}')->>'resolution';
SELECT * FROM traces('KEY-3');
SELECT sync_forget('customer', 'F3') IS NOT NULL AS forgotten;
SELECT * FROM traces('KEY-3');
SELECT count(sync_merge('customer', 'F1', 'F2'));
SELECT answered('{"source": "ERP", "entity": "customer", "sourceId": "E-1", "externalId": "F1", "version": 9, "town": "Ulm"}')->>'resolution';
SELECT sync_split('customer', 'CRM', 'KEY-2')->>'externalId' AS split \gset
SELECT sync_forget('customer', :'split') IS NOT NULL AS forgotten;
-- but for the history of the record that it was a part of
SELECT * FROM traces('KEY-2');
SELECT sync_forget('customer', 'F1') IS NOT NULL AS forgotten;
SELECT * FROM traces('KEY-2');
-- one that was merged further takes those along that were merged into it before: of the record that stays they aren't known to be a part
SELECT born('G1', 'KEY-4', '{"name": "Gil"}'), born('G2', 'KEY-5', '{"name": "Gill"}'), born('G3', 'KEY-6', '{"name": "Gilly"}'), born('G4', 'KEY-7', '{"name": "Gillian"}');
SELECT count(sync_merge('customer', 'G2', 'G1')) + count(sync_merge('customer', 'G3', 'G2'));
SELECT sync_forget('customer', 'G2') @> '{"alias": 2, "merge": 2, "canonical": 2}' AS forgotten;
SELECT external_id FROM syncext.alias WHERE kept_id ~ '^G';
SELECT answered('{"source": "ERP", "entity": "customer", "sourceId": "E-4", "externalId": "G1", "version": 1, "name": "another"}')->>'resolution';
SELECT sync_merge('customer', 'G4', 'G3') AS merge \gset
SELECT count(sync_unmerge(:merge));
SELECT answered('{"source": "Web", "entity": "customer", "externalId": "G1", "version": 9, "name": "new"}')->>'externalId' AS of;

DROP TABLE shop;
DROP FUNCTION born, pulled, out_of, say, traces;
DROP EXTENSION syncext CASCADE;
