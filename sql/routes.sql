-- Routes: what of an entity a source is let see.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('EU', 2), sync_add_source('All', 3);
SELECT sync_add_entity('customer'), sync_add_entity('note');
CREATE FUNCTION pull(source text, max int DEFAULT 500, slot int DEFAULT 0, slots int DEFAULT 1) RETURNS TABLE (record text, rv bigint, gone boolean, fields jsonb)
	LANGUAGE sql AS $$ SELECT external_id, row_version, deleted, fields FROM sync_pull(source, max, slot, slots) $$;

-- A source that never pulled gets what its filter lets through, and no more.
SELECT change('CRM', 'customer', 'e1', 1, '{"region": "EU", "name": "Ann", "salary": 5}'), change('CRM', 'customer', 'u1', 1, '{"region": "US", "name": "Bob"}'),
       change('CRM', 'customer', 'n1', 1, '{"name": "Cid"}'), change('CRM', 'note', 'x1', 1, '{"region": "US"}');
SELECT sync_route('EU', 'customer', '$.region == "EU"', '{salary}');
SELECT source, entity, filter, mask, armed FROM syncext.route;
SELECT * FROM pull('EU');
SELECT take('EU'), take('EU'), take('EU');
SELECT armed FROM syncext.route;
-- others see it all
SELECT take('All'), take('All');
-- a record that never met it isn't delivered; one that comes to, is
SELECT change('CRM', 'customer', 'u1', 2, '{"name": "Rob"}'), change('CRM', 'customer', 'u2', 1, '{"region": "US"}');
SELECT take('EU');
SELECT change('CRM', 'customer', 'u1', 3, '{"region": "EU"}');
SELECT * FROM pull('EU');
SELECT take('EU'), take('EU');
-- and one that leaves it is delivered once more, as gone
SELECT change('CRM', 'customer', 'u1', 4, '{"region": "US"}');
SELECT * FROM pull('EU');
SELECT take('EU');
SELECT change('CRM', 'customer', 'u1', 5, '{"name": "Bob"}');
SELECT take('EU'), take('All');
-- it left and came back between two pulls: it is there
SELECT change('CRM', 'customer', 'e1', 2, '{"region": "US"}'), change('CRM', 'customer', 'e1', 3, '{"region": "EU"}');
SELECT take('EU');
-- it came and left: it was never there
SELECT change('CRM', 'customer', 'u2', 2, '{"region": "EU"}'), change('CRM', 'customer', 'u2', 3, '{"region": "US"}');
SELECT take('EU');
-- deletes: of what the source has, not of what it never had
SELECT change('CRM', 'customer', 'd1', 1, '{"region": "EU"}'), take('EU');
SELECT take('EU');
SELECT change('CRM', 'customer', 'd1', 2, NULL), change('CRM', 'customer', 'u2', 4, NULL);
SELECT take('EU'), take('EU');

-- A change of the masked field alone comes without it.
SELECT change('CRM', 'customer', 'e1', 4, '{"salary": 6}');
SELECT * FROM pull('EU');
SELECT take('EU'), take('All');

-- The batch was served, but the consumer did not say so: it may have it.
SELECT change('CRM', 'customer', 'p1', 1, '{"region": "EU"}');
SELECT * FROM pull('EU');
SELECT change('CRM', 'customer', 'p1', 2, '{"region": "US"}');
SELECT leases_end();
SELECT * FROM pull('EU');
SELECT take('EU'), take('EU');
-- in the same batch it is there, then it isn't: whoever took the first answer hears of it
SELECT change('CRM', 'customer', 'p2', 1, '{"region": "EU"}');
SELECT record, gone FROM pull('EU');
SELECT change('CRM', 'customer', 'p2', 2, '{"region": "US"}');
SELECT record, gone FROM pull('EU');
SELECT take('EU'), take('EU'), take('EU');
-- first gone, then there again
SELECT change('CRM', 'customer', 'p3', 1, '{"region": "EU"}'), take('EU');
SELECT take('EU');
SELECT change('CRM', 'customer', 'p3', 2, '{"region": "US"}');
SELECT record, gone FROM pull('EU');
SELECT change('CRM', 'customer', 'p3', 3, '{"region": "EU"}');
SELECT record, gone FROM pull('EU');
SELECT take('EU'), take('EU');
SELECT change('CRM', 'customer', 'p3', 4, '{"region": "US"}');
SELECT take('EU'), take('EU');
-- the target could not take that it is gone: it comes again
SELECT change('CRM', 'customer', 'f1', 1, '{"region": "EU"}'), take('EU');
SELECT take('EU');
SELECT change('CRM', 'customer', 'f1', 2, '{"region": "US"}');
SELECT sync_ack('EU', min(batch), '[{"entity": "customer", "externalId": "f1", "error": "no"}]') FROM sync_pull('EU');
UPDATE syncext.pending SET next_attempt = now() - interval '1 s';
SELECT take('EU'), take('EU');
SELECT count(*) FROM syncext.pending;
-- a pull that is rolled back was none
SELECT change('CRM', 'customer', 'f1', 3, '{"region": "EU"}');
BEGIN;
SELECT take('EU');
ROLLBACK;
SELECT change('CRM', 'customer', 'f1', 4, '{"region": "US"}');
SELECT take('EU');

-- What the source sends itself it has.
SELECT change('EU', 'customer', 's1', 1, '{"region": "EU"}'), change('EU', 'customer', 's2', 1, '{"region": "US"}'), change('EU', 'customer', 's3', 1, '{"region": "EU"}');
SELECT take('EU');
SELECT external_id, own FROM syncext.routed WHERE entity = 'customer' AND external_id LIKE 's%' ORDER BY 1, 2;
SELECT change('CRM', 'customer', 's1', 2, '{"region": "US"}'), change('CRM', 'customer', 's2', 2, '{"name": "x"}');
SELECT take('EU'), take('EU');
-- it takes a record out of its filter itself
SELECT change('EU', 'customer', 's3', 2, '{"region": "US"}');
SELECT * FROM pull('EU');
SELECT take('EU'), take('EU');
SELECT take('All') LIKE '%s3%' AS others_too;
-- ... what was served to it
SELECT change('CRM', 'customer', 's4', 1, '{"region": "EU"}');
SELECT take('EU');
SELECT change('EU', 'customer', 's4', 2, '{"region": "US"}'), take('EU');
SELECT take('EU'), take('EU');
-- it is told that a record is gone, and has it back before it says so
SELECT change('EU', 'customer', 's5', 1, '{"region": "EU"}');
SELECT change('CRM', 'customer', 's5', 2, '{"region": "US"}');
SELECT batch, external_id, deleted FROM sync_pull('EU') \gset
SELECT change('EU', 'customer', 's5', 3, '{"region": "EU"}');
SELECT sync_ack('EU', :batch);
SELECT change('CRM', 'customer', 's5', 4, '{"region": "US"}');
SELECT take('EU'), take('EU');
-- what it sends says nothing new, but that it has the record
SELECT change('CRM', 'customer', 's6', 1, '{"region": "EU"}');
SELECT change('EU', 'customer', 's6', 1, '{"region": "EU"}');
SELECT change('CRM', 'customer', 's6', 2, '{"region": "US"}');
SELECT take('EU'), take('EU');
-- its change lost
SELECT change('CRM', 'customer', 's7', 5, '{"region": "EU", "name": "a"}'), take('EU');
SELECT take('EU');
SELECT change('EU', 'customer', 's7', 2, '{"name": "b"}');
SELECT * FROM pull('EU');
SELECT take('EU'), take('EU');

-- An edit of the route: what meets it now comes, what doesn't any more goes.
SELECT take('EU'), change('CRM', 'customer', 'r1', 1, '{"region": "EU", "age": 50}'), change('CRM', 'customer', 'r2', 1, '{"region": "EU", "age": 20}'), change('CRM', 'customer', 'r3', 1, '{"region": "US", "age": 50}');
SELECT take('EU');
SELECT count(*) FROM syncext.routed WHERE gone_batch IS NOT NULL;
UPDATE syncext.route SET filter = '$.age > 40';
SELECT armed FROM syncext.route;
SELECT take('EU'), take('EU');
SELECT count(*) FROM syncext.routed;
-- nothing to do where the route is as it was
SELECT sync_route('EU', 'customer', '$.age > 40', '{salary}');
SELECT armed FROM syncext.route;
SELECT take('EU');
-- a filter of jsonpath's own kind: what can't be compared doesn't meet it
SELECT change('CRM', 'customer', 'r4', 1, '{"age": "50"}'), change('CRM', 'customer', 'r5', 1, '{"age": 41, "tags": ["a", "web"]}'), change('CRM', 'customer', 'r6', 1, '{"age": {"years": 50}}');
SELECT take('EU');
SELECT sync_route('EU', 'customer', 'exists($.tags[*] ? (@ == "web"))');
SELECT take('EU'), take('EU');
-- the mask alone: everything comes, and nothing is kept about it
SELECT sync_route('EU', 'customer', mask => '{salary,name}');
SELECT record, fields FROM pull('EU') WHERE record IN ('e1', 'u1', 'r1') ORDER BY 1;
SELECT length(take('EU')) > 20 AS all_again, take('EU');
SELECT count(*) FROM syncext.routed;
-- a filter for a source that has everything
SELECT sync_route('EU', 'customer', '$.region == "EU"', '{salary}');
SELECT change('CRM', 'customer', 'u1', 6, '{"name": "Ben"}');
SELECT take('EU'), take('EU');
SELECT external_id FROM syncext.routed ORDER BY 1;
-- no route any more: what was kept from it comes
SELECT sync_route('EU', 'customer');
SELECT count(*) FROM syncext.route;
SELECT record, fields FROM pull('EU') WHERE record IN ('e1', 'u1') ORDER BY 1;
SELECT length(take('EU')) > 20 AS all_again, take('EU');
SELECT count(*) FROM syncext.routed;

-- A subscription that comes after its route.
SELECT sync_subscribe('EU', '{note}');
SELECT sync_route('EU', 'customer', '$.region == "EU"');
SELECT take('EU');
SELECT sync_subscribe('EU', NULL), change('CRM', 'customer', 'u1', 7, '{"name": "Bo"}');
SELECT take('EU') NOT LIKE '%u1%' AS not_that, take('EU');
-- a resync sends what it has, and what is gone; it is filtered, too
SELECT change('CRM', 'customer', 'e9', 1, '{"region": "EU"}');
SELECT take('EU');
SELECT change('CRM', 'customer', 'e9', 2, '{"region": "US"}');
SELECT sync_resync('EU', 'customer');
SELECT take('EU') LIKE '%e9 gone%' AS gone, take('EU'), take('EU');
SELECT syncext.cursor_start('EU');
SELECT take('EU') NOT LIKE '%u1%' AS not_that, take('EU');
-- slots
SELECT change('CRM', 'customer', 'e' || i, 7, '{"region": "EU"}') FROM generate_series(20, 24) i;
SELECT take('EU', 500, 0, 2) || ', ' || take('EU', 500, 1, 2) AS both;
SELECT change('CRM', 'customer', 'e' || i, 8, '{"region": "US"}') FROM generate_series(20, 24) i;
SELECT count(*), bool_and(gone) FROM (SELECT * FROM pull('EU', 500, 0, 3) UNION ALL SELECT * FROM pull('EU', 500, 1, 3) UNION ALL SELECT * FROM pull('EU', 500, 2, 3)) p;
SELECT sync_ack('EU', batch, '[]', slot) FROM syncext.cursor WHERE target = 'EU' AND lease_until IS NOT NULL ORDER BY slot;
SELECT take('EU', 500, 0, 3), take('EU', 500, 1, 3), take('EU', 500, 2, 3);
-- it waits for nothing, and what it has is forgotten with the record
SELECT count(*) FROM syncext.routed WHERE external_id = 'e1';
SELECT sync_forget('customer', 'e1');
SELECT count(*) FROM syncext.routed WHERE external_id = 'e1';

-- What a source's role may look at.
CREATE ROLE syncext_routes_eu;
CREATE ROLE syncext_routes_all;
UPDATE syncext.source SET role = 'syncext_routes_eu' WHERE name = 'EU';
UPDATE syncext.source SET role = 'syncext_routes_all' WHERE name = 'All';
SELECT sync_route('EU', 'customer', '$.region == "EU"', '{salary}');
SELECT change('CRM', 'customer', 'v1', 1, '{"region": "EU", "salary": 7, "name": "Eve"}'), change('CRM', 'customer', 'v2', 1, '{"region": "US", "salary": 7}');
SET ROLE syncext_routes_eu;
SELECT sync_record('customer', 'v1') -> 'fields' AS fields, sync_record('customer', 'v1') -> 'stamps' ? 'salary' AS stamp;
SELECT sync_record('customer', 'v2');
-- whoever pulls brings the edit into force
SELECT external_id, deleted, fields FROM sync_pull('EU') WHERE external_id IN ('v1', 'v2');
-- nor can it guess
SELECT sync_explain('{"source": "EU", "entity": "customer", "externalId": "v1", "version": 9, "salary": 7}') ->> 'resolution';
SELECT sync_explain('{"source": "EU", "entity": "customer", "externalId": "v1", "version": 9, "name": "Eve"}') ->> 'resolution';
-- its history has what it sent itself, and nobody else's
SELECT count(*) FROM sync_history('customer', 'v1');
RESET ROLE;
GRANT syncext_routes_all TO syncext_routes_eu;
SET ROLE syncext_routes_eu;
SELECT sync_record('customer', 'v1') -> 'fields' AS fields;
SELECT sync_record('customer', 'v2') -> 'fields' AS fields;
SELECT sync_route('EU', 'customer');
RESET ROLE;

-- Attached tables: sync_deliver goes the same way.
CREATE TABLE eu (id text PRIMARY KEY, region text, name text, salary int DEFAULT 1);
SELECT sync_attach('eu', 'EU', 'customer', direction => 'out', capture => 'none');
SELECT take('EU') IS NOT NULL AS any;
SELECT change('CRM', 'customer', 'v1', 2, '{"name": "Eva", "salary": 8}'), change('CRM', 'customer', 'v2', 2, '{"name": "Sam"}'), change('CRM', 'customer', 'v3', 1, '{"region": "EU"}');
SELECT sync_deliver('EU');
TABLE eu ORDER BY id;
SELECT change('CRM', 'customer', 'v3', 2, '{"region": "US"}');
SELECT sync_deliver('EU'), sync_deliver('EU');
TABLE eu ORDER BY id;
SELECT sync_route('EU', 'customer', '$.name == "Sam"', '{salary}');
SELECT sync_deliver('EU'), sync_deliver('EU');
TABLE eu ORDER BY id;
SELECT sync_route('EU', 'customer', '$.name == "Sam"');
SELECT sync_deliver('EU') > 0 AS any;
TABLE eu ORDER BY id;
CREATE TABLE loaded (id text PRIMARY KEY, region text, name text, salary int);
SELECT sync_detach('eu');
SELECT sync_route('EU', 'customer', '$.name == "Sam"', '{salary}');
SELECT sync_attach('loaded', 'EU', 'customer', direction => 'out', capture => 'none');
CALL sync_load('loaded', 'hub') \gset
TABLE loaded ORDER BY id;

-- Bad input
SELECT sync_route('Nobody', 'customer', '$.a == 1');
SELECT sync_route('EU', 'nothing', '$.a == 1');
SELECT sync_route('EU', 'customer', '$.a ? (@ == 1)');
SELECT sync_route('EU', 'customer', '$.a ==');
SELECT sync_route('EU', 'customer', mask => '{a,null}');
SELECT sync_route('EU', 'customer', mask => '{*}');
SELECT sync_route('EU', 'customer', mask => NULL);
INSERT INTO syncext.route (source, entity, filter) VALUES ('All', 'customer', '$.a');
UPDATE syncext.route SET entity = 'note';
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT * FROM pull('EU');
ROLLBACK;
SELECT count(*) FROM syncext.route;
SELECT sync_detach('loaded'), sync_drop_source('EU');
SELECT count(*) FROM syncext.route;
SELECT count(*) FROM syncext.routed;
DROP TABLE eu, loaded;
DROP FUNCTION pull;
DROP EXTENSION syncext;
DROP ROLE syncext_routes_eu, syncext_routes_all;
