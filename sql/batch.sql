-- Large batches: rows that go to the change log together, records that are read ahead.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);

CREATE FUNCTION doc(n int, version int, value text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('externalId', 'k' || to_char($1, 'FM0000'), 'source', 'CRM', 'version', $2, 'fields', jsonb_build_object('a', $3))
$$;

-- Each record comes twice in the batch, and more rows than are written at once.
SELECT a->>'resolution' AS resolution, a->>'rowVersion' AS row_version, count(*)
FROM (SELECT sync_apply(jsonb_agg(doc(n, v, 'v' || v) ORDER BY md5(n::text), v)) AS all FROM generate_series(1, 700) n, generate_series(1, 2) v) s,
	jsonb_array_elements(s.all) a
GROUP BY 1, 2 ORDER BY 1, 2;
SELECT version, count(*) FROM syncext.canonical GROUP BY 1;
-- one row a change, and the rows of a record in the order of its row versions
SELECT count(*), count(DISTINCT seq) AS seqs, count(DISTINCT external_id) AS records, count(DISTINCT xid) AS transactions
FROM syncext.change_log;
SELECT count(*) AS out_of_order
FROM (SELECT row_version < lag(row_version) OVER (PARTITION BY external_id ORDER BY seq) AS back FROM syncext.change_log) s WHERE back;

-- Large rows are not kept waiting for others.
SELECT count(*) FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(doc(n, 3, repeat('x', 20000) || n)) FROM generate_series(1, 40) n))) a
WHERE a->>'resolution' = 'VERSION_WIN';
SELECT count(*), min(length(fields->>'a')) FROM syncext.change_log WHERE version = 3;

-- A trigger on the log fires for each of them, and its condition, defaults and indexes hold.
CREATE TABLE seen (seq bigint, external_id text);
CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO seen VALUES (NEW.seq, NEW.external_id); RETURN NULL; END $$;
CREATE TRIGGER see AFTER INSERT ON syncext.change_log_0 FOR EACH ROW EXECUTE FUNCTION see();
ALTER TABLE syncext.change_log_0 ADD COLUMN noted text DEFAULT 'n' || txid_current();
ALTER TABLE syncext.change_log_0 ADD CONSTRAINT no_evil CHECK (fields->>'a' <> 'evil');
CREATE INDEX noted ON syncext.change_log_0 (external_id) WHERE coalesce(version, row_version) = 4;
SELECT count(*) FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(doc(n, 4, 'four')) FROM generate_series(1, 300) n))) a;
SELECT count(*), count(DISTINCT s.seq) FROM seen s JOIN syncext.change_log l USING (seq, external_id);
SELECT count(DISTINCT noted), count(*) FROM syncext.change_log_0 WHERE coalesce(version, row_version) = 4;
SET enable_seqscan = off;
SELECT count(*) FROM syncext.change_log_0 WHERE coalesce(version, row_version) = 4 AND external_id > '';
RESET enable_seqscan;
-- what the log refuses fails alone, and nothing of it stays
\set VERBOSITY terse
SELECT a->>'status' AS status, a->>'sqlstate' AS sqlstate, count(*)
FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(doc(n, 5, CASE n WHEN 280 THEN 'evil' ELSE 'five' END)) FROM generate_series(1, 300) n))) a GROUP BY 1, 2 ORDER BY 1;
SELECT count(*) FROM syncext.canonical WHERE version = 5;
SELECT count(*) FROM syncext.change_log WHERE version = 5;
DROP TRIGGER see ON syncext.change_log_0;
ALTER TABLE syncext.change_log_0 DROP CONSTRAINT no_evil;

-- What a subtransaction has logged goes with it: parked children of which one is refused
-- when their parent arrives.
SELECT sync_add_entity('parent');
SELECT sync_add_entity('child');
SELECT sync_add_reference('child', 'of', 'parent');
SELECT count(*) FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', 'child', 'externalId', n::text, 'source', 'CRM', 'version', 1,
	'fields', jsonb_build_object('of', 'p', 'a', CASE n WHEN 5 THEN 'evil' ELSE 'good' END))) FROM generate_series(1, 9) n))) a
WHERE a->>'resolution' = 'DEPENDENCY_WAIT';
ALTER TABLE syncext.change_log_0 ADD CONSTRAINT no_evil CHECK (fields->>'a' <> 'evil' OR resolution = 'd') NOT VALID;
SELECT sync_apply('{"entity": "parent", "externalId": "p", "source": "CRM", "version": 1, "fields": {"a": "x"}}')->>'resolution' AS resolution;
SELECT external_id, resolution FROM syncext.change_log WHERE entity = 'child' AND resolution <> 'DEPENDENCY_WAIT' ORDER BY external_id;
SELECT external_id FROM syncext.canonical WHERE entity = 'child' ORDER BY 1;
SELECT external_id, error FROM syncext.waiting WHERE next_attempt IS NULL;

-- A record is found by its key, and none by one that is not there, however long the keys are,
-- how often the records have moved, and how many have gone.
SELECT sync_add_entity('keyed');
CREATE FUNCTION keyed(n int, version int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('entity', 'keyed', 'externalId', CASE n % 5 WHEN 0 THEN repeat(chr(97 + n % 7), n % 1000) || n WHEN 1 THEN repeat(md5(n::text), n % 30) || n ELSE n::text END,
		'source', 'CRM', 'version', version, 'fields', jsonb_build_object('a', repeat(md5((n * version)::text), 30)))
$$;
SELECT version, a->>'status' AS status, a->>'resolution' AS resolution, count(*)
FROM generate_series(1, 4) version, LATERAL (SELECT jsonb_agg(keyed(n, version)) AS docs FROM generate_series(1, 3000) n) d, jsonb_array_elements(sync_apply(docs)) a
GROUP BY 1, 2, 3 ORDER BY 1;
SELECT count(*), count(*) FILTER (WHERE (sync_record(entity, external_id)->>'version')::int IS DISTINCT FROM 4) AS missed,
       count(*) FILTER (WHERE sync_record(entity, external_id || '!') IS NOT NULL) AS invented
FROM syncext.canonical WHERE entity = 'keyed';
DELETE FROM syncext.canonical WHERE entity = 'keyed' AND md5(external_id) < 'c';
VACUUM syncext.canonical;
SELECT count(*) > 500 AS some, count(*) FILTER (WHERE sync_record(entity, external_id) IS NULL) AS missed
FROM syncext.canonical WHERE entity = 'keyed';
-- those that are there say nothing new, those that have gone are made
SELECT r.there, a->>'resolution' AS resolution, count(*) = (SELECT count(*) FROM generate_series(1, 3000) n WHERE (md5(keyed(n, 4)->>'externalId') >= 'c') = r.there) AS all_of_them
FROM (SELECT n, keyed(n, 4) AS doc FROM generate_series(1, 3000) n) d
CROSS JOIN LATERAL (SELECT md5(doc->>'externalId') >= 'c' AS there) r
JOIN (SELECT e.a, e.i FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(keyed(n, 4) ORDER BY n) FROM generate_series(1, 3000) n))) WITH ORDINALITY e(a, i)) s ON s.i = d.n
GROUP BY 1, 2 ORDER BY 1;

DROP EXTENSION syncext CASCADE;
DROP FUNCTION doc, see, keyed;
DROP TABLE seen;
