-- sync_unmerge: two records that were merged are two again.
\set SHOW_CONTEXT never
CREATE EXTENSION syncext;
\ir test/helpers.sql
SET timezone = 'UTC';
CREATE ROLE regress_steward;
CREATE ROLE regress_other;
SELECT sync_add_source('Plain', 3), sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_entity('customer'), sync_add_entity('order'), sync_add_entity('item');
SELECT sync_own_keys(s, 'customer') FROM unnest('{CRM,ERP}'::text[]) s;
SELECT sync_grant('regress_steward', 'steward', 'customer'), sync_grant('regress_other', 'steward', 'item');
SELECT sync_add_reference('order', 'client', 'customer');
CREATE FUNCTION claims(source text, id text, version bigint, fields jsonb, key text DEFAULT NULL) RETURNS text LANGUAGE sql AS $$
	SELECT (a->>'resolution') || CASE WHEN a->>'externalId' IS NOT DISTINCT FROM $2 THEN '' ELSE ' of ' || (a->>'externalId') END
	FROM sync_apply(jsonb_strip_nulls(jsonb_build_object('source', $1, 'entity', 'customer', 'externalId', $2, 'sourceId', $5, 'version', $3)) || jsonb_build_object('fields', $4)) a
$$;
CREATE VIEW stands AS SELECT external_id, version, row_version, deleted, fields FROM syncext.canonical WHERE entity = 'customer' ORDER BY 1;
CREATE VIEW keys AS SELECT source, source_id, external_id, duplicate, merge FROM syncext.source_key ORDER BY 1, 2;
CREATE FUNCTION pulled(source text) RETURNS TABLE (external_id text, source_id text, deleted boolean, fields jsonb, merged_into text) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	number bigint;
BEGIN
	FOR p IN SELECT * FROM sync_pull($1) ORDER BY external_id LOOP
		number := p.batch;
		RETURN QUERY SELECT p.external_id, p.source_id, p.deleted, p.fields, p.merged_into;
	END LOOP;
	IF number IS NOT NULL THEN
		PERFORM sync_ack($1, number);
	END IF;
END $$;

--
-- A round trip
--
SELECT sync_rule('customer', 'visits', 'sum'), sync_rule('customer', 'tags', 'union');
SELECT claims('Plain', 'A', 1, '{"name": "Ann", "city": "Bonn", "visits": 2, "tags": ["a"], "same": 1}');
SELECT claims('CRM', 'A', 2, '{"mail": "a@x.org"}', '1001');
SELECT claims('CRM', 'B', 4, '{"name": "Zoe", "phone": "7", "visits": 3, "tags": ["b"], "same": 1}', '1002');
SELECT claims('ERP', 'B', 5, '{"vat": "9", "fax": "1"}', 'K-1');
SELECT sync_apply('[{"source": "ERP", "entity": "order", "externalId": "O1", "version": 1, "client": "K-1"}, {"source": "Plain", "entity": "order", "externalId": "O2", "version": 1, "client": "B"}, {"source": "Plain", "entity": "order", "externalId": "O3", "version": 1, "client": "A"}]') IS NOT NULL AS ordered;
CREATE TABLE before AS SELECT external_id, jsonb_strip_nulls(fields) AS fields FROM syncext.canonical;
CREATE TABLE keys_before AS TABLE keys;
SELECT count(*) > 0 AS all FROM unnest('{CRM,ERP,Plain}'::text[]) s, pulled(s);
SELECT sync_merge('customer', 'A', 'B', 'one?') AS merge \gset
CALL sync_maintain() \g /dev/null
SELECT * FROM stands;
SELECT * FROM keys;
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'order' ORDER BY 1;
SELECT count(*) > 0 AS all FROM unnest('{CRM,ERP,Plain}'::text[]) s, pulled(s);
SELECT sync_unmerge(:merge, 'two');
SELECT * FROM stands;
SELECT * FROM keys;
SELECT external_id, fields FROM syncext.canonical WHERE entity = 'order' ORDER BY 1;
SELECT external_id, jsonb_strip_nulls(fields) AS fields FROM syncext.canonical EXCEPT TABLE before;
TABLE keys EXCEPT TABLE keys_before;
SELECT * FROM fields_of('A', 'customer');
SELECT * FROM fields_of('B', 'customer');
SELECT count(*) FROM syncext.alias;
SELECT status, note FROM syncext.match_candidate;
SELECT undone_by = current_user AS by_me, undo_note, settled_at IS NOT NULL AS settled FROM syncext.merge;
SELECT external_id, source, resolution, told, fields, detail - 'decidedBy' AS detail FROM syncext.change_log WHERE detail ? 'unmergeId' ORDER BY seq;
-- everybody hears of both
SELECT * FROM pulled('CRM');
SELECT * FROM pulled('ERP');
SELECT * FROM pulled('Plain');
-- what is sent next is of the one that it names
SELECT claims('CRM', NULL, 20, '{"phone": "8"}', '1002');
SELECT claims('CRM', NULL, 20, '{"mail": "b@x.org"}', '1001');
SELECT claims('Plain', 'B', 30, '{"city": "Rome"}');
SELECT * FROM stands;
-- once
SELECT attempt(format('SELECT sync_unmerge(%s)', :merge));

--
-- Before maintenance has come to what refers to it: that went out in keys of the one that
-- stayed, and is told again
--
SELECT claims('CRM', 'P', 1, '{"name": "P"}', 'p'), claims('CRM', 'Q', 1, '{"name": "Q"}', 'q'), claims('CRM', 'R', 1, '{"name": "R"}', 'r');
SELECT sync_merge('customer', 'Q', 'R') AS first \gset
SELECT sync_apply('{"source": "Plain", "entity": "order", "externalId": "O4", "version": 1, "client": "Q"}')->>'resolution' AS ordered;
UPDATE syncext.canonical SET fields = '{"client": "R"}' WHERE entity = 'order' AND external_id = 'O4';
SELECT sync_merge('customer', 'P', 'Q') AS merge \gset
SELECT external_id, fields FROM pulled('CRM') WHERE external_id LIKE 'O4';
SELECT sync_unmerge(:merge) - 'returned' AS unmerged;
SELECT external_id, fields FROM pulled('CRM') WHERE external_id LIKE 'O4';
SELECT external_id, fields FROM pulled('Plain') WHERE external_id LIKE 'O4';
DELETE FROM syncext.canonical WHERE entity = 'order' AND external_id = 'O4';
SELECT sync_unmerge(:first) - 'returned' AS unmerged;
SELECT count(sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'customer', 'sourceId', k, 'version', 50, 'deleted', true))) FROM unnest('{p,q,r}'::text[]) k;
SELECT count(*) > 0 AS all FROM unnest('{CRM,ERP,Plain}'::text[]) s, pulled(s);
-- what refers to the one that stayed went out in a key that is the other's again: so it is told, too
SELECT claims('CRM', 'U', 1, '{"name": "U"}', 'u'), claims('ERP', 'V', 1, '{"name": "V"}', 'v');
SELECT sync_apply('{"source": "Plain", "entity": "order", "externalId": "O6", "version": 1, "client": "U"}')->>'resolution' AS ordered;
SELECT sync_merge('customer', 'U', 'V') AS merge \gset
CALL sync_maintain() \g /dev/null
SELECT external_id, fields FROM pulled('ERP') WHERE external_id = 'O6';
SELECT sync_unmerge(:merge) - 'returned' AS unmerged;
SELECT external_id, source_id FROM pulled('ERP') WHERE external_id IN ('U', 'V', 'O6');
SELECT sync_bind('ERP', 'customer', 'u9', 'U') IS NOT NULL AS said;
UPDATE syncext.pending SET next_attempt = now() - interval '1 s' WHERE next_attempt IS NOT NULL;
SELECT external_id, fields FROM pulled('ERP') WHERE external_id = 'O6';
-- one that is deleted, and revived when it is over
SELECT claims('Plain', 'S', 1, '{"name": "S"}'), claims('Plain', 'T', 1, '{"name": "T"}');
SELECT sync_apply('{"source": "Plain", "entity": "order", "externalId": "O5", "version": 1, "client": "T"}')->>'resolution' AS ordered;
SELECT sync_merge('customer', 'S', 'T') AS merge \gset
CALL sync_maintain() \g /dev/null
SELECT sync_apply('{"source": "Plain", "entity": "order", "externalId": "O5", "version": 5, "deleted": true}')->>'resolution' AS gone;
SELECT sync_unmerge(:merge);
SELECT sync_apply('{"source": "Plain", "entity": "order", "externalId": "O5", "version": 6, "n": 1}')->>'resolution' AS revived;
SELECT deleted, fields FROM syncext.canonical WHERE entity = 'order' AND external_id = 'O5';

--
-- What was said since stays where it is
--
SELECT claims('Plain', 'C', 1, '{"name": "Cy", "visits": 1}');
SELECT claims('Plain', 'D', 2, '{"city": "Oslo", "zip": "1", "street": "S", "visits": 5}');
SELECT sync_merge('customer', 'C', 'D') AS merge \gset
SELECT claims('ERP', 'C', 10, '{"zip": "2"}', 'K-3');
SELECT claims('CRM', 'C', 11, '{"street": "S"}', '1003');
SELECT a->>'resolution' FROM sync_apply('{"source": "Plain", "entity": "customer", "externalId": "C", "changeId": "c1", "increments": {"visits": 10}}') a;
SELECT sync_unmerge(:merge);
SELECT * FROM stands WHERE external_id IN ('C', 'D');
-- but by a key of the other's: that is the other's
SELECT claims('CRM', 'C2', 1, '{"name": "Cy"}', 'c2'), claims('ERP', 'D2', 2, '{"phone": "1", "vat": "1"}', 'd2');
SELECT sync_merge('customer', 'C2', 'D2') AS merge \gset
SELECT claims('ERP', NULL, 10, '{"phone": "2", "web": "x"}', 'd2');
SELECT claims('CRM', NULL, 11, '{"vat": "2"}', 'c2');
SELECT sync_unmerge(:merge);
SELECT * FROM stands WHERE external_id IN ('C2', 'D2');
-- what only the one that stayed has is taken back from who was sent it under a key of the other's
SELECT claims('CRM', 'C3', 1, '{"name": "Cy", "phone": "1"}', 'c3'), claims('ERP', 'D3', 2, '{"vat": "1"}', 'd3');
SELECT sync_merge('customer', 'C3', 'D3') AS merge \gset
SELECT source_id, fields FROM pulled('ERP') WHERE external_id = 'C3';
SELECT sync_unmerge(:merge);
SELECT source_id, fields FROM pulled('ERP') WHERE source_id = 'd3';
-- a row of a table, too, which would be taken for what its source says
SELECT sync_add_source('Shop', 4);
CREATE TABLE shop_customer (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, phone text);
SELECT sync_attach('shop_customer', 'Shop', 'customer', own_keys => true);
INSERT INTO shop_customer (name) VALUES ('Di');
SELECT external_id AS di FROM syncext.source_key WHERE source = 'Shop' \gset
SELECT claims('CRM', 'C4', 1, '{"name": "Cy", "phone": "4"}', 'c4');
SELECT sync_merge('customer', 'C4', :'di') AS merge \gset
SELECT count(sync_deliver('Shop')) AS calls FROM generate_series(1, 2);
SELECT name, phone FROM shop_customer WHERE id = 1;
SELECT sync_unmerge(:merge) - 'externalId' AS unmerged;
SELECT count(sync_deliver('Shop')) AS calls FROM generate_series(1, 2);
SELECT name, phone FROM shop_customer WHERE id = 1;
SELECT fields FROM syncext.canonical WHERE external_id = :'di';
SELECT sync_detach('shop_customer');
DROP TABLE shop_customer;
DELETE FROM syncext.source_key WHERE source = 'Shop';

--
-- A merge of a merge: the last one first
--
SELECT claims('CRM', 'E', 1, '{"name": "E"}', 'e'), claims('CRM', 'F', 1, '{"f": 1}', 'f'), claims('ERP', 'G', 1, '{"g": 1}', 'g'), claims('ERP', 'H', 1, '{"h": 1}', 'h');
SELECT sync_merge('customer', 'F', 'G') AS first \gset
SELECT sync_merge('customer', 'E', 'F') AS second \gset
SELECT sync_merge('customer', 'E', 'H') AS third \gset
SELECT external_id, kept_id FROM syncext.alias ORDER BY 1;
SELECT attempt(format('SELECT sync_unmerge(%s)', :first));
SELECT attempt(format('SELECT sync_unmerge(%s)', :second));
SELECT sync_unmerge(:third);
SELECT sync_unmerge(:second);
SELECT external_id, kept_id FROM syncext.alias ORDER BY 1;
SELECT * FROM keys WHERE source_id IN ('e', 'f', 'g', 'h');
SELECT sync_unmerge(:first);
SELECT * FROM keys WHERE source_id IN ('e', 'f', 'g', 'h');
SELECT * FROM stands WHERE external_id IN ('E', 'F', 'G', 'H');
-- a row that was a duplicate before the second one is one still: unchanged, it is no edit
SELECT claims('CRM', 'X', 1, '{"name": "X"}', 'x'), claims('CRM', 'Y', 1, '{"name": "Y"}', 'y'), claims('CRM', 'Z', 1, '{"name": "Z"}', 'z');
SELECT sync_merge('customer', 'Y', 'Z') AS first \gset
SELECT sync_merge('customer', 'X', 'Y') AS second \gset
SELECT sync_unmerge(:second) - 'returned' AS unmerged;
SELECT claims('CRM', NULL, 9, '{"name": "Z"}', 'z');
SELECT source_id, external_id, duplicate, merge = :first AS of_first FROM keys WHERE source_id IN ('x', 'y', 'z');
SELECT sync_unmerge(:first) - 'returned' AS unmerged;
SELECT source_id, external_id, duplicate, merge FROM keys WHERE source_id IN ('x', 'y', 'z');
-- and merged again
SELECT sync_merge('customer', 'E', 'F') > 0 AS merged;
SELECT sync_unmerge(max(id)) - 'kept' AS unmerged FROM syncext.merge;

--
-- Conflicts, a key that was split off, one that is another's by now, what is parked
--
INSERT INTO syncext.source_priority VALUES ('CRM', 'customer', 'tie', 5), ('ERP', 'customer', 'tie', 5);
SELECT claims('CRM', 'I', 1, '{"name": "I"}', 'i'), claims('CRM', 'J', 1, '{"name": "J", "tie": 1}', 'j'), claims('ERP', 'J', 1, '{"tie": 2}', 'jj');
SELECT claims('ERP', 'J', 2, '{"extra": 1}', 'jj');
SELECT external_id, source, row_version FROM syncext.conflict_log WHERE status = 'pending';
SELECT sync_merge('customer', 'I', 'J') AS merge \gset
SELECT external_id, source FROM syncext.conflict_log WHERE status = 'pending';
SELECT sync_split('customer', 'CRM', 'j') - 'externalId' AS split;
SELECT sync_unmerge(:merge);
SELECT external_id, source, row_version FROM syncext.conflict_log WHERE status = 'pending';
SELECT source, source_id, CASE WHEN external_id ~ '-' THEN 'uuid' ELSE external_id END AS external_id, duplicate FROM keys WHERE source_id IN ('i', 'j', 'jj');

-- what a merge left undecided is not open any more when it is undone, nor opened again
SELECT claims('Plain', 'I2', 1, '{"tie": 1}'), claims('Plain', 'J2', 1, '{"tie": 2}');
SELECT sync_merge('customer', 'I2', 'J2') AS merge \gset
SELECT id AS conflict FROM syncext.conflict_log WHERE external_id = 'I2' \gset
SELECT sync_reopen(:conflict);
SELECT status FROM syncext.conflict_log WHERE id = :conflict;
SELECT sync_unmerge(:merge);
SELECT status, note ~ '^merge [0-9]+ was undone$' AS undone FROM syncext.conflict_log WHERE id = :conflict;
SELECT (a).state, regexp_replace((a).said, '[0-9]+', '…', 'g') AS message, (a).hint FROM attempt(format('SELECT sync_reopen(%s)', :conflict)) a;
SELECT status FROM syncext.conflict_log WHERE id = :conflict;
SELECT * FROM stands WHERE external_id IN ('I2', 'J2');

--
-- Refused
--
SELECT claims('Plain', 'K', 1, '{"k": 1}'), claims('Plain', 'L', 1, '{"l": 1}');
SELECT sync_merge('customer', 'K', 'L') AS merge \gset
SELECT attempt($$SELECT sync_unmerge(NULL)$$), attempt($$SELECT sync_unmerge(999)$$) \gx
SET ROLE regress_other;
SELECT attempt(format('SELECT sync_unmerge(%s)', :merge)), attempt($$SELECT sync_unmerge(999)$$) \gx
SET ROLE regress_steward;
SELECT attempt($$SELECT sync_unmerge(999)$$);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT attempt(format('SELECT sync_unmerge(%s)', :merge));
COMMIT;
RESET ROLE;
-- the one that stayed is gone
SELECT sync_apply('{"source": "Plain", "entity": "customer", "externalId": "K", "version": 9, "deleted": true}')->>'resolution' AS resolution;
SELECT attempt(format('SELECT sync_unmerge(%s)', :merge));
SELECT claims('Plain', 'K', 10, '{"k": 2}');
-- the image isn't one
BEGIN;
UPDATE syncext.merge SET drop_before = '{}' WHERE id = :merge;
SELECT attempt(format('SELECT sync_unmerge(%s)', :merge));
ROLLBACK;
-- the tombstone is gone: a steward's word brings it back above what it was
DELETE FROM syncext.canonical WHERE external_id = 'L';
SELECT syncext.raise_floor('customer', 50);
SET ROLE regress_steward;
SELECT sync_unmerge(:merge);
RESET ROLE;
SELECT * FROM stands WHERE external_id IN ('K', 'L');
-- forgotten
SELECT sync_merge('customer', 'K', 'L') AS merge \gset
CALL sync_maintain() \g /dev/null
SELECT sync_forget('customer', 'L') IS NOT NULL AS forgotten;
SELECT attempt(format('SELECT sync_unmerge(%s)', :merge));

--
-- Round trips by chance: merge, maybe maintain, unmerge, maybe several in a row: all is as it was.
-- SYNCEXT_UNMERGE_ROUNDS and SYNCEXT_UNMERGE_SEED in the environment ask for others.
--
\set rounds `echo "${SYNCEXT_UNMERGE_ROUNDS:-60}"`
\set seed `echo "${SYNCEXT_UNMERGE_SEED:-1}"`
SET synchronous_commit = off;
SET client_min_messages = error;
SELECT sync_add_source('Tie', 2), sync_add_entity('person'), sync_add_entity('visit');
SELECT sync_add_reference('visit', 'of', 'person'), sync_add_reference('visit', 'by', 'person', 'restrict'), sync_add_reference('person', 'boss', 'person');
SELECT count(sync_own_keys(s, 'person')) FROM unnest('{CRM,ERP}'::text[]) s;
SELECT count(sync_rule('person', f, r, a)) FROM (VALUES ('a', 'sum', '{}'), ('b', 'union', '{}'), ('c', 'manual', '{}'), ('d', 'max', '{}'), ('e', 'priority', '{"group": "g"}'), ('f', 'priority', '{"group": "g"}')) x(f, r, a), LATERAL (SELECT a::jsonb) y(a);
SELECT setseed(:seed / 1000.0) IS NULL AS seeded;
CREATE FUNCTION chance(p float8) RETURNS boolean LANGUAGE sql VOLATILE AS $$ SELECT random() < p $$;
CREATE FUNCTION some_fields() RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(jsonb_object_agg(f, CASE WHEN chance(0.1) THEN 'null' WHEN f = 'b' THEN to_jsonb(ARRAY[(random() * 3)::int, (random() * 3)::int + 4]) ELSE to_jsonb((random() * 3)::int) END), '{"x": 0}')
	FROM unnest('{a,b,c,d,e,f,g,h,i}'::text[]) f WHERE chance(0.5)
$$;
-- a record that some sources have said something of, each by its own keys
CREATE PROCEDURE bear(id text) LANGUAGE plpgsql AS $$
DECLARE
	source text;
	answer jsonb;
BEGIN
	FOREACH source IN ARRAY '{Plain,CRM,ERP,Tie}'::text[] LOOP
		CONTINUE WHEN chance(0.4);
		answer := sync_apply(jsonb_strip_nulls(jsonb_build_object('source', source, 'entity', 'person', 'externalId', id, 'version', 1 + (random() * 4)::int,
			'sourceId', CASE WHEN source IN ('CRM', 'ERP') THEN source || id END)) || jsonb_build_object('fields', some_fields()));
	END LOOP;
	IF NOT EXISTS (SELECT FROM syncext.canonical r WHERE r.entity = 'person' AND r.external_id = id) THEN
		answer := sync_apply(jsonb_build_object('source', 'Plain', 'entity', 'person', 'externalId', id, 'version', 1, 'fields', some_fields()));
	END IF;
	FOR i IN 1 .. (random() * 2)::int LOOP
		answer := sync_apply(jsonb_build_object('source', (ARRAY['Plain', 'Tie'])[1 + (random())::int], 'entity', 'visit', 'externalId', id || '-' || i, 'version', 1,
			'fields', jsonb_build_object('of', id) || CASE WHEN chance(0.5) THEN jsonb_build_object('by', id) ELSE '{}' END));
	END LOOP;
	IF chance(0.3) THEN
		answer := sync_apply(jsonb_build_object('source', 'Plain', 'entity', 'person', 'externalId', id, 'version', 9, 'fields', jsonb_build_object('boss', id)));
	END IF;
END $$;
-- an alias will do for what it stands for
CREATE FUNCTION now_of(id jsonb) RETURNS jsonb LANGUAGE sql STABLE AS $$ SELECT coalesce((SELECT to_jsonb(a.kept_id) FROM syncext.alias a WHERE a.entity = 'person' AND a.external_id = $1 #>> '{}'), $1) $$;
CREATE VIEW state AS
	SELECT 'record' AS kind, entity, external_id AS id, (jsonb_strip_nulls(fields) || jsonb_strip_nulls(jsonb_build_object('of', now_of(fields->'of'), 'by', now_of(fields->'by'), 'boss', now_of(fields->'boss'))))::text || deleted AS what
	FROM syncext.canonical WHERE entity IN ('person', 'visit') AND NOT EXISTS (SELECT FROM syncext.alias a WHERE (a.entity, a.external_id) = (canonical.entity, canonical.external_id))
	UNION ALL SELECT 'key', source, source_id, external_id || duplicate FROM syncext.source_key WHERE entity = 'person'
	UNION ALL SELECT 'alias', entity, external_id, kept_id FROM syncext.alias WHERE entity = 'person'
	UNION ALL SELECT 'conflict', source, id::text, external_id FROM syncext.conflict_log WHERE status = 'pending' AND entity = 'person'
	UNION ALL SELECT 'child', entity || field, external_id, now_of(to_jsonb(parent_id)) #>> '{}' FROM syncext.child;
CREATE TABLE was (depth int, kind text, entity text, id text, what text);
CREATE TABLE wrong (round int, depth int, said text, kind text, entity text, id text, what text);
CREATE PROCEDURE round_trip(round int) LANGUAGE plpgsql AS $$
DECLARE
	ids text[];
	left_over text[];
	merges bigint[] := '{}';
	keep text;
	gone text;
	done jsonb;
BEGIN
	FOR i IN 1 .. 2 + (random() * 2)::int LOOP
		ids := ids || format('r%s.%s', round, i);
		CALL bear(ids[i]);
	END LOOP;
	left_over := ids;
	WHILE cardinality(left_over) > 1 AND (cardinality(merges) = 0 OR chance(0.7)) LOOP
		keep := left_over[1 + (random() * (cardinality(left_over) - 1))::int];
		gone := (SELECT o FROM unnest(left_over) o WHERE o <> keep ORDER BY random() LIMIT 1);
		left_over := array_remove(left_over, gone);
		INSERT INTO was SELECT cardinality(merges), * FROM state;
		merges := merges || sync_merge('person', keep, gone);
		IF chance(0.5) THEN
			COMMIT;
			CALL sync_maintain(done);
		END IF;
	END LOOP;
	FOR i IN REVERSE cardinality(merges) .. 1 LOOP
		PERFORM sync_unmerge(merges[i]);
		INSERT INTO wrong
			SELECT round, i, 'lacks', w.kind, w.entity, w.id, w.what FROM (SELECT kind, entity, id, what FROM was WHERE depth = i - 1 EXCEPT TABLE state) w
			UNION ALL SELECT round, i, 'has', w.kind, w.entity, w.id, w.what FROM (TABLE state EXCEPT SELECT kind, entity, id, what FROM was WHERE depth = i - 1) w;
	END LOOP;
	TRUNCATE was;
	COMMIT;
END $$;
SELECT format('CALL round_trip(%s)', n) FROM generate_series(1, :rounds) n \gexec
SELECT * FROM wrong ORDER BY 1, 2 DESC, 3, 4, 5, 6 LIMIT 20;
SELECT count(*) = :rounds AS all, count(*) FILTER (WHERE merges > 1) > 0 AS several FROM (SELECT left(keep_id, strpos(keep_id, '.')), count(*) AS merges FROM syncext.merge WHERE entity = 'person' GROUP BY 1) x;

--
-- A key that was a duplicate before a later merge repeats what it had then
--
SELECT claims('CRM', 'K1', 1, '{"name": "Ann"}', '9001'), claims('CRM', 'K2', 1, '{"name": "Zoe", "city": "Ulm"}', '9002'), claims('CRM', 'K3', 1, '{"name": "Cy"}', '9003');
SELECT sync_merge('customer', 'K1', 'K2') AS first \gset
SELECT sync_merge('customer', 'K3', 'K1') AS second \gset
SELECT claims('CRM', NULL, 50, '{"name": "Zoe", "city": "Ulm"}', '9002');
SELECT claims('CRM', NULL, 50, '{"name": "Ann"}', '9001');
SELECT sync_unmerge(:second)->'keys' AS keys;
SELECT claims('CRM', NULL, 51, '{"name": "Zoe", "city": "Ulm"}', '9002');
SELECT k.source_id, k.external_id, k.duplicate, k.merge = :first AS by_the_first FROM keys k WHERE k.source_id LIKE '900_';
SELECT external_id, fields FROM stands WHERE external_id IN ('K1', 'K3');
-- what was written into the row by hand is passed over
UPDATE syncext.merge SET taken = taken || ARRAY[NULL, 'nothing'] WHERE id = :first;
SELECT sync_unmerge(:first)->'returned' AS returned;
SELECT source_id, external_id, duplicate, merge FROM keys WHERE source_id LIKE '900_';

--
-- What was said since by the source's only key is the other's, also where the log has it no more
--
SELECT claims('Plain', 'U1', 1, '{"name": "Una"}'), claims('ERP', 'U2', 1, '{"name": "Uno", "phone": "7"}', 'u-2');
SELECT sync_merge('customer', 'U1', 'U2') AS merge \gset
SELECT claims('ERP', NULL, 9, '{"phone": "9", "fax": "5"}', 'u-2'), claims('Plain', 'U1', 10, '{"city": "Ulm"}');
TRUNCATE syncext.change_log_0, syncext.change_log_1, syncext.change_log_2, syncext.change_log_3;
SELECT sync_unmerge(:merge);
SELECT external_id, fields FROM stands WHERE external_id IN ('U1', 'U2');

DROP VIEW stands, keys, state;
DROP TABLE before, keys_before, was, wrong;
DROP PROCEDURE bear, round_trip;
DROP FUNCTION claims, pulled, chance, some_fields, now_of;
DROP EXTENSION syncext;
DROP ROLE regress_steward, regress_other;
