-- Counters: fields whose rule is sum, and documents that add to them.
CREATE EXTENSION syncext;
\ir test/helpers.sql
\set SHOW_CONTEXT never
SET synchronous_commit = off;
SELECT sync_add_source('Hub', 1);
SELECT sync_add_source('North', 2);
SELECT sync_add_source('South', 2);
SELECT sync_rule('*', 'stock', 'sum'), sync_rule('record', 'sold', 'sum');

CREATE FUNCTION told(change jsonb)
	RETURNS TABLE (status text, resolution text, row_version text, last text, changed text, lost text, told text, reason text)
	LANGUAGE sql AS $$
	SELECT a->>'status', a->>'resolution', a->>'rowVersion', a->>'lastSource', a->>'changed', a->>'lost', a->>'told', a->>'reason'
	FROM answered(change) a
$$;
CREATE FUNCTION held(id text) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT (r->'fields') || CASE WHEN (r->>'deleted')::boolean THEN '{"(deleted)": true}'::jsonb ELSE '{}' END FROM sync_record('record', id) r $$;
CREATE FUNCTION code_of(change jsonb, function text DEFAULT 'sync_apply') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('SELECT %I($1)', function) USING change;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END $$;

-- Two branches that each sell 3 of 10 end at 4, whoever comes first and however often.
SELECT * FROM told('{"externalId": "P", "source": "Hub", "version": 1, "fields": {"name": "pen", "stock": 10}}');
SELECT * FROM told('{"externalId": "P", "source": "North", "changeId": "n1", "increments": {"stock": -3}}');
SELECT * FROM told('{"externalId": "P", "source": "South", "changeId": "s1", "increments": {"stock": "-3"}}');
SELECT * FROM told('{"externalId": "P", "source": "North", "changeId": "n1", "increments": {"stock": -3.0}}');
SELECT held('P');
-- all are told, the origin too
SELECT s AS source, p.fields FROM unnest('{Hub,North,South}'::text[]) s, sync_pull(s) p;
-- what was added stands in the log
SELECT source, resolution, told, fields, detail FROM sync_history('record', 'P');
SELECT r->'stamps'->'stock' AS stamp FROM sync_record('record', 'P') r;

-- Whatever becomes of the fields beside them, increments are added: stale,
SELECT * FROM told('{"externalId": "P", "source": "Hub", "version": 5, "fields": {"name": "pen", "color": "red"}}');
SELECT * FROM told('{"externalId": "P", "source": "North", "version": 2, "changeId": "n2", "fields": {"name": "biro", "color": "red"}, "increments": {"stock": 1}}');
-- lost by rank,
SELECT * FROM told('{"externalId": "P", "source": "North", "version": 5, "changeId": "n3", "fields": {"name": "biro"}, "increments": {"stock": 1}}');
-- left to a reviewer,
UPDATE syncext.source_priority SET priority = 2;
SELECT * FROM told('{"externalId": "P", "source": "North", "version": 5, "changeId": "n4", "fields": {"name": "biro"}, "increments": {"stock": 1}}');
SELECT source, status, contested, incoming FROM syncext.conflict_log ORDER BY id;
-- the same conflict again, and more to add
SELECT * FROM told('{"externalId": "P", "source": "North", "version": 5, "changeId": "n5", "fields": {"name": "biro"}, "increments": {"stock": 1}}');
SELECT source, status, contested, incoming FROM syncext.conflict_log ORDER BY id;
SELECT a->>'resolution' AS resolved FROM sync_resolve((SELECT id FROM syncext.conflict_log WHERE status = 'pending'), 'incoming') a;
-- or known already, or written.
SELECT * FROM told('{"externalId": "P", "source": "Hub", "version": 6, "changeId": "h1", "fields": {"name": "biro"}, "increments": {"stock": 1}}');
SELECT * FROM told('{"externalId": "P", "source": "Hub", "version": 7, "changeId": "h2", "fields": {"name": "Biro"}, "increments": {"stock": 1}}');
SELECT * FROM told('{"externalId": "P", "source": "North", "base": 1, "changeId": "n6", "fields": {"size": 1}, "increments": {"stock": 1}}');
SELECT held('P');
-- ifMatch keeps all back, and nothing is nothing
SELECT * FROM told('{"externalId": "P", "source": "North", "ifMatch": 1, "changeId": "n7", "increments": {"stock": 1}}');
SELECT * FROM told('{"externalId": "P", "source": "North", "changeId": "n8", "increments": {"stock": 0}}');
SELECT * FROM told('{"externalId": "P", "source": "North", "changeId": "n9", "increments": {"sold": 0, "stock": 0.0}}');
SELECT held('P');

-- A plain set is decided like any field.
SELECT * FROM told('{"externalId": "P", "source": "Hub", "version": 8, "fields": {"stock": 100}}');
SELECT * FROM told('{"externalId": "P", "source": "North", "version": 8, "fields": {"stock": 90}}');
-- and a sum overtakes what was to be decided of it
SELECT * FROM told('{"externalId": "P", "source": "South", "changeId": "s2", "increments": {"stock": -1}}');
SELECT source, status, contested, incoming, decision FROM syncext.conflict_log ORDER BY id;
SELECT p.fields FROM sync_pull('North') p \gset north_
SELECT :'north_fields' AS told_to_north;

-- A number that is set has no zeros at the end of its fraction, as a sum has none.
SELECT * FROM told('{"externalId": "S", "source": "Hub", "version": 1, "fields": {"stock": 4.00, "sold": 0.50, "price": 4.00}}');
SELECT * FROM told('{"externalId": "S", "source": "Hub", "version": 2, "fields": {"stock": 4.0, "price": 4.0}}');
SELECT * FROM told('{"externalId": "S", "source": "Hub", "version": 3, "fields": {"stock": 1200.00, "sold": "0.50"}}');
SELECT held('S'), fields AS logged FROM syncext.change_log WHERE external_id = 'S' ORDER BY seq DESC LIMIT 1;

-- No record: from 0.  Null: from 0.
SELECT * FROM told('{"externalId": "Q", "source": "North", "changeId": "n10", "increments": {"stock": -3, "sold": 3}}');
SELECT * FROM told('{"externalId": "R", "source": "North", "version": 1, "created": true, "changeId": "n11", "fields": {"name": "ink"}, "increments": {"stock": 4}}');
SELECT * FROM told('{"externalId": "R", "source": "North", "version": 2, "fields": {"stock": null}}');
SELECT * FROM told('{"externalId": "R", "source": "South", "changeId": "s3", "increments": {"stock": 2.50}}');
SELECT * FROM told('{"externalId": "R", "source": "South", "changeId": "s4", "increments": {"stock": "-0.1"}}');
SELECT held('Q'), held('R');

-- A tombstone: 409, unless the fields beside them bring the record back.
SELECT * FROM told('{"externalId": "R", "source": "North", "version": 4, "deleted": true}');
SELECT * FROM told('{"externalId": "R", "source": "South", "changeId": "s5", "increments": {"stock": 1}}');
SELECT * FROM told('{"externalId": "R", "source": "South", "version": 3, "changeId": "s6", "fields": {"name": "INK"}, "increments": {"stock": 1}}');
SELECT * FROM told('{"externalId": "R", "source": "South", "version": 4, "changeId": "s7", "fields": {"name": "INK"}, "increments": {"stock": 1}}');
SELECT held('R');
SELECT * FROM told('{"externalId": "R", "source": "South", "version": 5, "changeId": "s8", "fields": {"name": "INK"}, "increments": {"stock": 1}}');
SELECT held('R');
SELECT * FROM told('{"externalId": "R", "source": "North", "version": 6, "deleted": true}');
SELECT * FROM told('{"externalId": "R", "source": "South", "version": 7, "created": true, "changeId": "s9", "fields": {"name": "ink"}, "increments": {"stock": 7}}');
SELECT held('R');

-- Numbers are PostgreSQL's: exact, and as large as they come.
SELECT a->>'resolution' AS resolution FROM sync_apply('{"externalId": "N", "source": "North", "changeId": "m1", "increments": {"stock": "9007199254740993", "sold": 0.1}}') a;
SELECT a->>'resolution' AS resolution FROM sync_apply('{"externalId": "N", "source": "North", "changeId": "m2", "increments": {"stock": "+1", "sold": 0.2}}') a;
SELECT held('N');
-- What is none isn't added to, and nothing of the document is done.
SELECT * FROM told('{"externalId": "N", "source": "North", "version": 2, "fields": {"stock": "many"}}');
SELECT code_of('{"externalId": "N", "source": "North", "version": 3, "changeId": "m3", "fields": {"name": "x"}, "increments": {"stock": 1}}');
SELECT a.* FROM jsonb_array_elements(sync_apply('[{"externalId": "N", "source": "North", "version": 3, "changeId": "m3", "fields": {"name": "x"}, "increments": {"stock": 1}},
	{"externalId": "N", "source": "North", "changeId": "m4", "increments": {"sold": 1}}]')) a;
SELECT held('N');
-- its id is free again
SELECT * FROM told('{"externalId": "N", "source": "North", "version": 3, "fields": {"stock": 1}}');
SELECT * FROM told('{"externalId": "N", "source": "North", "version": 3, "changeId": "m3", "fields": {"name": "x"}, "increments": {"stock": 1}}');
SELECT code_of(jsonb_build_object('externalId', 'Big', 'source', 'North', 'changeId', 'b1', 'increments', jsonb_build_object('stock', ('9' || repeat('0', 131071))::numeric)));
SELECT code_of(jsonb_build_object('externalId', 'Big', 'source', 'North', 'changeId', 'b2', 'increments', jsonb_build_object('stock', ('9' || repeat('0', 131071))::numeric)));
SELECT length(held('Big')->>'stock');

-- Bad documents.
SELECT d.document, code_of('{"externalId": "P", "source": "North", "changeId": "x"}' || d.document) FROM (VALUES
	('{"changeId": null, "increments": {"stock": 1}}'::jsonb), ('{"increments": {}}'), ('{"increments": []}'), ('{"increments": 1}'),
	('{"increments": {"stock": true}}'), ('{"increments": {"stock": null}}'), ('{"increments": {"stock": "1e5"}}'), ('{"increments": {"stock": ""}}'),
	('{"increments": {"stock": "-"}}'), ('{"increments": {"stock": "1."}}'), ('{"increments": {"stock": ".5"}}'), ('{"increments": {"stock": "NaN"}}'), ('{"increments": {"": 1}}'), ('{"increments": {"*": 1}}'),
	('{"increments": {"name": 1}}'), ('{"increments": {"stock": 1}, "deleted": true}'), ('{"increments": {"stock": 1}, "version": 9, "fields": {"stock": 2}}'),
	('{"increments": {"stock": 1}, "version": 9, "stock": 2}'), ('{"increments": {"stock": 1}, "fields": {"name": "no version"}}'), ('{"increments": {"stock": 1}, "fields": []}')) d (document);
SELECT code_of('{"externalId": "P", "source": "North", "increments": {"stock": 1}}');
SELECT code_of(jsonb_build_object('externalId', 'P', 'source', 'North', 'changeId', 'x', 'increments', jsonb_build_object('stock', repeat('9', 1001))));

-- The ladder has to decide by field.
SELECT sync_add_entity('whole', '{version,priority,manual}'), sync_add_entity('each', '{field,version}'), sync_add_entity('ware');
SELECT code_of('{"entity": "whole", "externalId": "P", "source": "North", "changeId": "x", "increments": {"stock": 1}}');
SELECT code_of('{"entity": "each", "externalId": "P", "source": "North", "changeId": "x", "increments": {"stock": 1}}');
SELECT sync_rule('whole', 'stock', 'sum');
SELECT sync_rule('each', 'stock', 'sum');
SELECT sync_rule('ware', 'held', 'sum');
UPDATE syncext.entity SET ladder = '{version,priority,manual}' WHERE name = 'ware';
UPDATE syncext.entity SET ladder = '{field,version}' WHERE name = 'ware';
UPDATE syncext.entity SET ladder = '{latest,merge,priority,keep}' WHERE name = 'ware';
-- no time, no version
SELECT * FROM told('{"entity": "ware", "externalId": "W", "source": "North", "changeId": "w1", "increments": {"held": 1}}');
SELECT * FROM told('{"entity": "ware", "externalId": "W", "source": "South", "changeId": "w2", "updatedAt": "2026-01-31T12:00:00Z", "increments": {"held": 1}}');
SELECT r->'fields' AS fields, r->>'updatedAt' AS updated_at FROM sync_record('ware', 'W') r;

-- Parked with what they came with, and added once that is released, though the rule is gone by then.
SELECT sync_add_entity('order'), sync_add_reference('order', 'ware', 'ware'), sync_rule('order', 'pieces', 'sum');
SELECT * FROM told('{"entity": "order", "externalId": "O", "source": "North", "version": 1, "changeId": "o1", "fields": {"ware": "late"}, "increments": {"pieces": 2}}');
SELECT * FROM told('{"entity": "order", "externalId": "O", "source": "North", "version": 1, "changeId": "o1", "fields": {"ware": "late"}, "increments": {"pieces": 2}}');
SELECT sync_rule('order', 'pieces', NULL);
SELECT a->>'resolution' AS resolution FROM sync_apply('{"entity": "ware", "externalId": "late", "source": "Hub", "updatedAt": "2026-01-31T12:00:00Z", "fields": {"name": "x"}}') a;
SELECT r->'fields' AS fields FROM sync_record('order', 'O') r;
SELECT * FROM told('{"entity": "order", "externalId": "O", "source": "North", "version": 1, "changeId": "o1", "fields": {"ware": "late"}, "increments": {"pieces": 2}}');
SELECT code_of('{"entity": "order", "externalId": "O", "source": "North", "changeId": "o2", "increments": {"pieces": 2}}');

-- sync_explain says the same, and adds nothing.
SELECT e->>'resolution' AS resolution, e->>'changed' AS changed, e->>'reason' AS reason
FROM jsonb_array_elements(sync_explain('[{"externalId": "Q", "source": "South", "changeId": "e1", "increments": {"stock": 1}},
	{"externalId": "Q", "source": "South", "changeId": "e2", "increments": {"stock": 1, "sold": -1}}]')) e;
SELECT held('Q');

-- What a source isn't shown it isn't told the sum of.
SELECT sync_subscribe('South', '{record}');
INSERT INTO syncext.route (source, entity, mask) VALUES ('South', 'record', '{stock}')
	ON CONFLICT (source, entity) DO UPDATE SET mask = excluded.mask;
CREATE ROLE regress_counters_south;
SELECT sync_add_source('Blind', NULL, 'regress_counters_south');
INSERT INTO syncext.route (source, entity, mask) VALUES ('Blind', 'record', '{stock}')
	ON CONFLICT (source, entity) DO UPDATE SET mask = excluded.mask;
SET SESSION AUTHORIZATION regress_counters_south;
SELECT a->>'resolution' AS resolution, a->>'reason' AS reason FROM sync_apply('{"externalId": "Q", "source": "Blind", "changeId": "z1", "increments": {"stock": 1}}') a;
SELECT * FROM told('{"externalId": "Q", "source": "Blind", "changeId": "z2", "increments": {"sold": 1}}');
SELECT code_of('{"externalId": "Q", "source": "Blind", "changeId": "z3", "increments": {"stock": 1}}', 'sync_explain');
SELECT source, resolution, detail FROM sync_history('record', 'Q');
RESET SESSION AUTHORIZATION;
SELECT held('Q');

-- A relay sends records as they stand, and so can't carry increments.
INSERT INTO syncext.link (name, server, source, owner, hub, relay) VALUES ('up', 'x', 'Hub', 'x', gen_random_uuid(), true);
SELECT sync_rule('ware', 'weight', 'sum');
DELETE FROM syncext.link;

-- By chance: in whatever order documents come, however often and however their fields
-- end, a counter is the sum of what was added to it.  The sum is made from the documents
-- alone.
SET syncext.max_conflicts = 1000;
DELETE FROM syncext.route;
SELECT setseed(0.4);
CREATE TABLE sent (n int, id text, change jsonb, answer jsonb);
CREATE PROCEDURE send_by_chance(n int) LANGUAGE plpgsql AS $$
DECLARE
	change jsonb;
	document jsonb;
	again int;
BEGIN
	FOR i IN 1 .. n LOOP
		change := jsonb_build_object('externalId', 'c' || (random() * 20)::int, 'source', (ARRAY['Hub', 'North', 'South'])[1 + floor(random() * 3)], 'changeId', 'chance' || i);
		IF random() < 0.8 THEN
			change := change || jsonb_build_object('increments', jsonb_build_object('stock', (random() * 200 - 100)::int) ||
				CASE WHEN random() < 0.3 THEN jsonb_build_object('sold', round((random() * 10)::numeric, 2)) ELSE '{}' END);
		END IF;
		IF random() < 0.5 OR NOT change ? 'increments' THEN
			change := change || jsonb_build_object('fields', jsonb_build_object('name', (random() * 3)::int, 'color', (random() * 3)::int)) ||
				CASE WHEN random() < 0.5 THEN jsonb_build_object('version', (random() * 5)::int) ELSE jsonb_build_object('base', (random() * 20)::int) END;
		END IF;
		IF random() < 0.1 THEN
			change := change || jsonb_build_object('ifMatch', (random() * 5)::int);
		END IF;
		INSERT INTO sent VALUES (i, change->>'externalId', change, sync_apply(change));
		-- an older one comes again
		IF random() < 0.3 THEN
			again := 1 + floor(random() * i);
			SELECT s.change INTO document FROM sent s WHERE s.n = again;
			IF sync_apply(document) <> (SELECT s.answer FROM sent s WHERE s.change = document) THEN
				RAISE WARNING '% was answered otherwise', document;
			END IF;
		END IF;
	END LOOP;
END $$;
CALL send_by_chance(3000);
-- what ends beside sums is there
SELECT answer->>'resolution' AS resolution, count(*) > 10 AS often FROM sent WHERE change ? 'increments' GROUP BY 1 ORDER BY 1;
SELECT s.id, f.key, sum((s.change->'increments'->>f.key)::numeric) AS added, r->'fields'->f.key AS has
FROM sent s, unnest('{stock,sold}'::text[]) f (key), sync_record('record', s.id) r
WHERE s.answer->>'status' <> '412' AND s.change->'increments' ? f.key
GROUP BY 1, 2, r
HAVING sum((s.change->'increments'->>f.key)::numeric) IS DISTINCT FROM (r->'fields'->>f.key)::numeric;
-- and so it is of the records in the log
SELECT count(*) AS differing FROM (
	SELECT external_id FROM syncext.change_log l, sync_record('record', l.external_id) r
	WHERE external_id LIKE 'c%' GROUP BY external_id, r
	HAVING sum((l.detail->'increments'->>'stock')::numeric) IS DISTINCT FROM (r->'fields'->>'stock')::numeric) d;

DROP TABLE sent;
DROP PROCEDURE send_by_chance(int);
DROP FUNCTION told(jsonb), held(text), code_of(jsonb, text);
DROP EXTENSION syncext;
DROP ROLE regress_counters_south;
