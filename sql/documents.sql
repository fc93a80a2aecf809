-- Change documents: the forms they come in, and what a wrong one answers.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_entity('timed', '{latest,overwrite}');

-- What a single document answers.  A wrong one raises; it must also raise from
-- sync_explain, and answer 400 for the same reason in a batch.
CREATE FUNCTION try(change jsonb, OUT state text, OUT answer text, OUT hint text)
	LANGUAGE plpgsql AS $$
DECLARE
	explained text;
	batched jsonb;
BEGIN
	batched := sync_explain(jsonb_build_array(change))->0;
	BEGIN
		explained := sync_explain(change)->>'resolution';
	EXCEPTION WHEN OTHERS THEN
		explained := SQLSTATE || SQLERRM;
	END;
	answer := sync_apply(change)->>'resolution';
	state := '00000';
	IF explained <> answer OR batched->>'resolution' <> answer THEN
		RAISE WARNING 'explained %, answered %, in a batch %', explained, answer, batched;
	END IF;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, answer = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	IF explained <> state || answer OR batched <> jsonb_build_object('status', 400, 'reason', answer) THEN
		RAISE WARNING 'explained %, in a batch %', explained, batched;
	END IF;
END $$;

--
-- Forms
--
-- flat, as any HTTP client sends it
SELECT jsonb_pretty(sync_apply('{"externalId":"CUST-004","source":"CRM","version":6,"fullName":"David Brown","email":"david.corrected@crm.com"}'));
-- structured: the same
SELECT sync_apply('{"externalId":"structured","source":"CRM","version":6,"fields":{"fullName":"David Brown","email":"david.corrected@crm.com"}}')->>'resolution' AS resolution;
SELECT a.fields = b.fields AND a.version = b.version AS same
FROM syncext.canonical a, syncext.canonical b WHERE a.external_id = 'CUST-004' AND b.external_id = 'structured';
-- within "fields" every name is a field's, and any value goes
SELECT sync_apply('{"externalId":"names","source":"CRM","version":1,"entity":"record","deleted":false,"fields":
	{"version":"1","source":null,"fields":{},"deleted":[],"externalId":{"a":[{"b":null}]},"Version":1e3,"a b":"\u00e4","a\"b'';":true,"**":0}}')->'changed' AS changed;
SELECT fields FROM syncext.canonical WHERE external_id = 'names';
-- keys are case-sensitive: in flat form another spelling is a field
SELECT sync_apply('{"externalId":"case","source":"CRM","version":1,"Version":9,"deleted ":true}')->'changed' AS changed;
-- of a key that is there twice the last counts, as jsonb has it
SELECT sync_apply('{"externalId":"double","source":"CRM","version":1,"a":1,"version":2,"a":2}'::jsonb)->>'version' AS version;
-- a delete has no fields; an empty object is none
SELECT t.* FROM (VALUES
	('{"externalId":"gone","source":"CRM","version":1,"deleted":true}'::jsonb),
	('{"externalId":"gone too","source":"CRM","version":1,"deleted":true,"fields":{}}')) v (c), try(c) t;
-- an array answers with an array, in its order
SELECT jsonb_path_query_array(sync_apply('[
	{"externalId":"z","source":"CRM","version":1,"a":1},
	{"externalId":"b","source":"CRM","version":1,"a":1},
	{"externalId":"z","source":"CRM","version":2,"a":2},
	{"externalId":"a","source":"ERP","version":1,"a":1},
	{"externalId":"z","source":"ERP","version":1,"a":3},
	{"externalId":"b","source":"ERP","version":1,"a":2}]'), '$[*].externalId') AS ids;
-- of one record, what comes first is applied first
SELECT resolution, version, fields FROM sync_history('record', 'z');
SELECT sync_apply('[]') AS nothing, sync_explain('[]') AS explained;
-- within a batch, explaining sees what the batch itself would have written
SELECT jsonb_path_query_array(e, '$[*].resolution') AS explained, e = a AS as_applied
FROM (VALUES ('[
	{"externalId":"e","source":"CRM","version":1,"a":1},
	{"externalId":"e","source":"ERP","version":1,"b":1},
	{"externalId":"e","source":"ERP","version":1,"a":2},
	{"externalId":"e","source":"CRM","version":1,"a":1,"b":1},
	{"externalId":"e","source":"CRM","version":2,"deleted":true},
	{"externalId":"e","source":"CRM","version":3,"c":1}]'::jsonb)) v (c),
	sync_explain(c) e, sync_apply(c) a;
-- explaining writes nothing, so a transaction that may not write can ask
BEGIN READ ONLY;
SELECT sync_explain('{"externalId":"asked","source":"CRM","version":1,"a":1}')->>'resolution' AS resolution, pg_current_xact_id_if_assigned() AS wrote;
SAVEPOINT s;
SELECT sync_apply('{"externalId":"asked","source":"CRM","version":1,"a":1}');
ROLLBACK TO s;
-- even where nothing would be
SELECT sync_apply('{"externalId":"z","source":"CRM","version":2,"a":2}');
ROLLBACK;
SELECT sync_record('record', 'asked') IS NULL AS not_written;

--
-- Wrong documents
--
SELECT sync_apply(NULL);
SELECT sync_explain(NULL);
SELECT sync_apply('{"externalId":"broken",}');
-- not an object
SELECT c AS change, t.* FROM (VALUES ('1'::jsonb), ('"x"'), ('null'), ('true')) v (c), try(c) t;
SELECT sync_apply('[1, "x", null, [], [{"externalId":"nested","source":"CRM","version":1,"a":1}], {}]');
-- missing keys
SELECT c AS change, t.* FROM (VALUES
	('{}'::jsonb),
	('{"source":"CRM","version":1,"a":1}'),
	('{"externalId":"x","version":1,"a":1}'),
	('{"externalId":"x","source":"CRM","a":1}'),
	('{"externalId":"x","source":"CRM","fields":{"a":1,"version":1}}'),
	('{"entity":"timed","externalId":"x","source":"CRM","a":1}'),
	('{"entity":"timed","externalId":"x","source":"CRM","base":1,"a":1}'),
	('{"externalId":"x","source":"CRM","version":1}'),
	('{"externalId":"x","source":"CRM","version":1,"fields":{}}'),
	('{"externalId":"x","source":"CRM","version":1,"deleted":false}')) v (c), try(c) t;
-- each key with each wrong type
SELECT key, value, t.state, t.answer
FROM unnest('{externalId,source,entity,version,base,ifMatch,updatedAt,deleted,fields}'::text[]) WITH ORDINALITY k (key, n),
     unnest('{"null","\"1\"","1","true","[]","{}"}'::jsonb[]) WITH ORDINALITY v (value, m),
     try('{"externalId":"x","source":"CRM","version":1,"a":1}'::jsonb - CASE key WHEN 'base' THEN 'version' WHEN 'fields' THEN 'a' ELSE '' END
         || jsonb_build_object(key, value)) t
WHERE NOT CASE jsonb_typeof(value)
	WHEN 'string' THEN key IN ('externalId', 'source', 'entity', 'updatedAt')
	WHEN 'number' THEN key IN ('version', 'base', 'ifMatch')
	WHEN 'boolean' THEN key = 'deleted'
	WHEN 'object' THEN key = 'fields'
	ELSE false END
ORDER BY n, m;
-- numbers that are none of the kind
SELECT key, left(value::text, 25) AS value, t.state, t.answer
FROM unnest('{version,base,ifMatch}'::text[]) WITH ORDINALITY k (key, n),
     unnest('{-1,-0.5,-1e400,1.5,0.1,1e-400,4611686018427387904,9223372036854775807,9223372036854775808,1e19,1e400}'::jsonb[]) WITH ORDINALITY v (value, m),
     try('{"externalId":"x","source":"CRM","a":1}'::jsonb || CASE key WHEN 'ifMatch' THEN '{"version":1}' ELSE '{}' END::jsonb
         || jsonb_build_object(key, value)) t
ORDER BY n, m;
-- and those that are
-- any version, however far above the record's
SET syncext.max_version_step = 0;
SELECT value, t.answer, sync_record('record', format('number %s', value))->'version' AS version
FROM unnest('{0,-0,0.000,5.0,5.00e1,1e18,4611686018427387903}'::jsonb[]) value,
     try(jsonb_build_object('externalId', format('number %s', value), 'source', 'CRM', 'a', 1, 'version', value)) t;
RESET syncext.max_version_step;
-- a key of 1024 bytes, and not one more
SELECT length(id) AS characters, octet_length(id) AS bytes, t.*
FROM (VALUES (''), (repeat('x', 1024)), (repeat('x', 1025)), (repeat('ä', 512)), (repeat('ä', 512) || 'x'), (repeat('😀', 256)), (repeat('😀', 257))) v (id),
     try(jsonb_build_object('externalId', id, 'source', 'CRM', 'version', 1, 'a', 1)) t;
SELECT length(external_id) AS characters, sync_record(entity, external_id)->>'rowVersion' AS row_version
FROM syncext.canonical WHERE octet_length(external_id) = 1024 ORDER BY 1;
-- unknown names
SELECT c AS change, t.* FROM (VALUES
	('{"externalId":"x","source":"crm","version":1,"a":1}'::jsonb),
	('{"externalId":"x","source":"*","version":1,"a":1}'),
	('{"externalId":"x","source":"","version":1,"a":1}'),
	('{"externalId":"x","source":"O''Hara; DROP TABLE syncext.source","version":1,"a":1}'),
	('{"externalId":"x","source":"back\\slash","version":1,"a":1}'),
	('{"externalId":"x","source":"CRM","entity":"order","version":1,"a":1}'),
	('{"externalId":"x","source":"CRM","entity":"*","version":1,"a":1}'),
	('{"externalId":"x","source":"CRM","entity":"","version":1,"a":1}'),
	('{"externalId":"x","source":"CRM","entity":"O''Hara","version":1,"a":1}')) v (c), try(c) t;
-- keys that contradict one another
SELECT c AS change, t.* FROM (VALUES
	('{"externalId":"x","source":"CRM","version":1,"base":1,"a":1}'::jsonb),
	('{"externalId":"x","source":"CRM","version":1,"fields":{"a":1},"b":1}'),
	('{"externalId":"x","source":"CRM","verison":1,"base":1,"fields":{"a":1}}'),
	('{"externalId":"x","source":"CRM","version":1,"fields":{"a":1},"":1}'),
	('{"externalId":"x","source":"CRM","version":1,"deleted":true,"a":1}'),
	('{"externalId":"x","source":"CRM","version":1,"deleted":true,"fields":{"a":1}}'),
	('{"externalId":"x","source":"CRM","version":1,"":1}'),
	('{"externalId":"x","source":"CRM","version":1,"*":1}'),
	('{"externalId":"x","source":"CRM","version":1,"fields":{"a":1,"*":1}}')) v (c), try(c) t;

--
-- Times
--
CREATE TABLE time (n int GENERATED ALWAYS AS IDENTITY, t text);
-- RFC 3339 with a zone, to the microsecond
INSERT INTO time (t) VALUES ('2026-01-31T12:00:00Z'), ('2026-01-31t12:00:00z'), ('2026-01-31 12:00:00Z'), ('2026-01-31T12:00:00.5+01:00'),
	('2026-01-31T12:00:00-00:00'), ('2026-01-31T00:30:00+23:59'), ('2026-01-31T23:30:00-23:59'), ('2026-01-31T12:00:00.123456Z'),
	('2026-01-31T12:00:00.1234564Z'), ('2026-01-31T12:00:00.1234567Z'), ('2026-12-31T23:59:59.9999999Z'), ('2026-01-31T12:00:00.0000000000000000000000000000000009Z'),
	('2024-02-29T00:00:00Z'), ('2000-02-29T00:00:00Z'), ('2016-12-31T23:59:60Z'), ('2017-01-01T00:59:60.5+01:00'),
	('1969-12-31T23:59:59.999999Z'), ('0001-01-01T00:00:00Z'), ('0000-02-29T00:00:00Z'), ('0000-01-01T00:00:00-01:00'), ('9999-12-31T23:59:59.999999Z');
SET syncext.max_clock_skew = -1;
SELECT t, a.answer, sync_record('timed', 'time ' || n)->>'updatedAt' AS kept
FROM time, try(jsonb_build_object('entity', 'timed', 'externalId', 'time ' || n, 'source', 'CRM', 'updatedAt', t, 'a', 1)) a ORDER BY n;
RESET syncext.max_clock_skew;
-- what is kept is what the server itself reads
SELECT t, sync_record('timed', 'time ' || n)->>'updatedAt' AS kept, updated_at
FROM time JOIN syncext.canonical ON external_id = 'time ' || n
WHERE t !~ '^0000|23:59$' AND updated_at <> t::timestamptz ORDER BY n;
SELECT count(*) AS times, count(*) FILTER (WHERE sync_record('timed', 'time ' || n)->>'updatedAt' IS NOT NULL) AS kept FROM time;
TRUNCATE time RESTART IDENTITY;
-- and what is none
INSERT INTO time (t) VALUES (''), ('now'), ('infinity'), ('2026-01-31'), ('2026-01-31T12:00:00'), ('2026-01-31T12:00Z'), ('2026-01-31T12:00:00 Z'),
	('2026-01-31T12:00:00.Z'), ('2026-01-31T12:00:00,5Z'), ('2026-01-31T12:00:00+01'), ('2026-01-31T12:00:00+0100'), ('2026-01-31T12:00:00+1:00'),
	('2026-01-31T12:00:00+24:00'), ('2026-01-31T12:00:00+01:60'), ('2026-01-31T12:00:00+01:00:00'), ('2026-01-31T12:00:00 CET'), ('2026-01-31T12:00:00Europe/Paris'),
	('2026-01-31T24:00:00Z'), ('2026-01-31T12:60:00Z'), ('2026-01-31T12:00:61Z'), ('2026-01-31T12:00:60Z'), ('2026-01-31T23:59:60+01:00'),
	('2026-00-31T12:00:00Z'), ('2026-13-31T12:00:00Z'), ('2026-01-00T12:00:00Z'), ('2026-01-32T12:00:00Z'), ('2026-04-31T12:00:00Z'),
	('2025-02-29T12:00:00Z'), ('1900-02-29T12:00:00Z'), ('2100-02-29T12:00:00Z'),
	('26-01-31T12:00:00Z'), ('02026-01-31T12:00:00Z'), ('-2026-01-31T12:00:00Z'), ('+2026-01-31T12:00:00Z'), ('2026-1-31T12:00:00Z'), ('2026/01/31T12:00:00Z'), ('20260131T120000Z'),
	('2026-01-31T12:00:00Z '), (' 2026-01-31T12:00:00Z'), ('2026-01-31T12:00:00ZZ'), ('2026-01-31T12:00:00Z+01:00'), ('2026-01-31T12:00:00-1:00'),
	('２０２６-01-31T12:00:00Z'), ('2026-01-31T12:00:00−01:00'), ('1769860800'), ('2026-W05-6T12:00:00Z'), ('2026-031T12:00:00Z'), ('31 Jan 2026 12:00:00 GMT'), (repeat('9', 100)),
	-- in UTC these have no year of four digits
	('0000-01-01T00:30:00+01:00'), ('9999-12-31T23:30:00-01:00'), ('9999-12-31T23:59:59.9999999Z');
SELECT t.state, t.answer FROM time, try(jsonb_build_object('externalId', 'x', 'source', 'CRM', 'version', 1, 'updatedAt', time.t, 'a', 1)) t ORDER BY n;
SELECT DISTINCT t.hint FROM time, try(jsonb_build_object('externalId', 'x', 'source', 'CRM', 'version', 1, 'updatedAt', time.t, 'a', 1)) t;

--
-- How much
--
SHOW syncext.max_document;
SHOW syncext.max_fields;
SHOW syncext.max_batch;
SET syncext.max_document = '2kB';
SET syncext.max_fields = 3;
SET syncext.max_batch = 3;
SELECT t.* FROM unnest('{1900,2048}'::int[]) n,
     try(jsonb_build_object('externalId', 'big', 'source', 'CRM', 'version', 1, 'a', repeat('x', n))) t;
SELECT t.* FROM (VALUES
	('{"externalId":"many","source":"CRM","version":1,"a":1,"b":1,"c":1}'::jsonb),
	('{"externalId":"many","source":"CRM","version":2,"a":1,"b":1,"c":1,"d":1}'),
	('{"externalId":"many","source":"CRM","version":2,"fields":{"a":1,"b":1,"c":1,"d":1}}')) v (c), try(c) t;
-- the limit is the single document's, not the batch's
SELECT jsonb_path_query_array(sync_apply(jsonb_agg(jsonb_build_object('externalId', 'big ' || n, 'source', 'CRM', 'version', 1, 'a', repeat('x', 1900)))), '$[*].status') AS statuses FROM generate_series(1, 3) n;
SELECT sync_apply('[1,2,3,4]');
SELECT sync_explain('[1,2,3,4]');
RESET syncext.max_document;
RESET syncext.max_fields;
RESET syncext.max_batch;
-- a megabyte, and a thousand fields
SELECT t.* FROM unnest('{1048000,1048576}'::int[]) n,
     try(jsonb_build_object('externalId', 'megabyte', 'source', 'CRM', 'version', 1, 'a', repeat('x', n))) t;
SELECT sync_apply('{"externalId":"megabyte","source":"CRM","version":2,"b":1}')->>'resolution' AS resolution;
SELECT fields->>'a' = repeat('x', 1048000) AS kept, fields->'b' AS b FROM syncext.canonical WHERE external_id = 'megabyte';
SELECT t.* FROM unnest('{1000,1001}'::int[]) n,
     try(jsonb_build_object('externalId', 'thousand', 'source', 'CRM', 'version', n, 'fields',
                            (SELECT jsonb_object_agg('f' || i, i) FROM generate_series(1, n) i))) t;
-- the limits are not everybody's to lift
CREATE ROLE syncext_documents_anybody;
SET ROLE syncext_documents_anybody;
SET syncext.max_batch = 100000;
RESET ROLE;
DROP ROLE syncext_documents_anybody;
SET syncext.max_batches = 1;

--
-- Bad items of a batch answer in their places, and the others are applied
--
SELECT a.n, a.value - 'entity' - 'changed' - 'lost' - 'told' - 'conflictId' - 'lastSource' AS answer
FROM jsonb_array_elements(sync_apply('[
	{"externalId":"batch","source":"CRM","version":1,"a":1},
	{"externalId":"batch","source":"CRM","version":-1,"a":2},
	7,
	{"externalId":"batch","source":"nobody","version":3,"a":3},
	{"externalId":"batch","source":"CRM","version":2,"a":2},
	{"externalId":"batch","source":"CRM","version":2,"ifMatch":1,"a":3},
	{"externalId":"batch","source":"CRM","version":9,"filds":{"a":9},"fields":{"a":9}},
	{"externalId":"batch","source":"ERP","version":1,"a":1}]')) WITH ORDINALITY a (value, n);
SELECT sync_record('record', 'batch')->'fields' AS fields, sync_record('record', 'batch')->>'rowVersion' AS row_version;
SELECT sync_apply('[{}, {"externalId":1}]');

-- Nothing that was refused left a trace.
SELECT count(*) FROM syncext.change_log WHERE external_id IN ('x', 'nested', 'broken', '', 'asked');
SELECT count(*) FROM syncext.canonical WHERE external_id IN ('x', 'nested', 'broken', '', 'asked');
SELECT count(*) FROM syncext.change_log WHERE external_id = 'batch';

--
-- Reading a record
--
SELECT sync_record('no such entity', 'x');
SELECT sync_record(NULL, 'x') IS NULL AS a, sync_record('record', NULL) IS NULL AS b, sync_record('record', '') IS NULL AS c, sync_record('record', repeat('x', 5000)) IS NULL AS d;
-- a query that goes to work in parallel can ask for records as well
-- (the setting was renamed in 16)
SELECT name AS parallel_mode FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query') \gset
SET :parallel_mode = on;
SELECT sync_record('record', 'batch')->'fields' AS fields;
SELECT count(sync_record(entity, external_id)) > 5 AS all_of_them FROM syncext.canonical;
RESET :parallel_mode;

-- However many fields there are, of whatever kinds, what is stored and answered is as the
-- server itself would lay it out: each member is found by its key or place.
CREATE FUNCTION many(n int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT coalesce(jsonb_object_agg('f' || i, CASE i % 6
		WHEN 0 THEN to_jsonb(repeat('x', i)) WHEN 1 THEN to_jsonb(i * 1234.5) WHEN 2 THEN to_jsonb(i % 4 = 2)
		WHEN 3 THEN jsonb_build_object('k', i, 'list', jsonb_build_array(i, 'é', NULL, jsonb_build_object('deep', i / 7.0)))
		WHEN 4 THEN jsonb_build_array() ELSE to_jsonb(10 ^ i) END), '{}')
	FROM generate_series(1, n) i
$$;
CREATE TABLE answered_many AS
	SELECT n, sync_apply(jsonb_build_array(
		jsonb_build_object('externalId', 'many' || n, 'source', 'CRM', 'version', 1, 'fields', many(n)),
		jsonb_build_object('externalId', 'many' || n, 'source', 'CRM', 'version', 2, 'fields', many(n) || '{"f1": "new"}'))) AS answers
	FROM unnest(ARRAY[1, 2, 5, 15, 16, 17, 18, 31, 32, 33, 34, 48, 64, 65, 100]) n;
SELECT n, c.fields = many(n) || '{"f1": "new"}' AS equal,
	(SELECT count(*) FROM generate_series(2, n) i WHERE c.fields -> ('f' || i) IS DISTINCT FROM many(n) -> ('f' || i)) AS differing,
	(SELECT count(DISTINCT answers -> 0 -> 'changed' ->> i) FROM generate_series(0, n) i WHERE many(n) ? (answers -> 0 -> 'changed' ->> i)) AS named,
	(SELECT string_agg(key || '=' || value, ' ') FROM jsonb_each_text(answers -> 1) WHERE answers -> 1 ->> key = value AND key <> 'reason') AS second
FROM answered_many JOIN syncext.canonical c ON external_id = 'many' || n ORDER BY n;
SELECT count(*) AS answers, count(*) FILTER (WHERE answers -> (i - 1) ->> 'externalId' = 'list' || i) AS in_place
FROM generate_series(1, 150) i, (SELECT sync_apply(jsonb_agg(jsonb_build_object('externalId', 'list' || i, 'source', 'CRM', 'version', 1, 'fields', jsonb_build_object('a', i)) ORDER BY i)) AS answers
	FROM generate_series(1, 150) i) a;

DROP TABLE answered_many;
DROP FUNCTION many;
DROP TABLE time;
DROP FUNCTION try;
DROP EXTENSION syncext;
