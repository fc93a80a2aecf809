-- One bad record, one greedy source: nobody else's feed ends, and nobody waits.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('Bad', 2), sync_add_source('EU', 3);

-- Characters are cut where they end: what a message quotes can be read.
SELECT a->>'status' AS status, length(a->>'reason') AS characters, convert_from(convert_to(a->>'reason', 'UTF8'), 'UTF8') = a->>'reason' AS whole
FROM jsonb_array_elements(sync_apply(jsonb_build_array(
	jsonb_build_object('externalId', 'a', 'source', 'CRM', 'version', 1, 'fields', '{"a": 1}'::jsonb, 'x' || repeat('é', 40), 2),
	jsonb_build_object('externalId', 'a', 'source', 'CRM', 'version', 1, 'deleted', true, 'xx' || repeat('€', 40), 2),
	jsonb_build_object('externalId', 'a', 'source', 'CRM', 'version', 1, 'updatedAt', 'x' || repeat('é', 40)),
	jsonb_build_object('externalId', 'a', 'source', 'x' || repeat('é', 40), 'version', 1, 'a', 1),
	jsonb_build_object('externalId', 'a', 'source', 'CRM', 'entity', 'xx' || repeat('€', 40), 'version', 1, 'a', 1)))) a;

-- A filter that fails on a record isn't met by it; the others come.
SELECT sync_route('EU', 'record', '$.when.datetime() < "2030-01-01".datetime()');
SELECT sync_apply('[{"externalId":"1","source":"CRM","version":1,"when":"2024-01-01"},
	{"externalId":"2","source":"Bad","version":1,"when":"2024-01-01T00:00:00+01:00"},
	{"externalId":"3","source":"CRM","version":1,"when":"2031-01-01"}]') -> 1 ->> 'resolution' AS resolution;
SELECT external_id FROM sync_pull('EU');
-- it is told, once, with the record
SELECT severity, object, problem FROM sync_check() WHERE object LIKE 'route%';
-- what the source itself says of such a record, too
SELECT sync_apply('{"externalId":"2","source":"EU","version":2,"a":1}') ->> 'resolution' AS resolution;
SELECT sync_apply('{"externalId":"2","source":"CRM","version":3,"when":"2024-01-01"}') ->> 'resolution' AS resolution;
SELECT severity, object, problem FROM sync_check() WHERE object LIKE 'route%';
SELECT sync_ack('EU', min(batch)) FROM sync_pull('EU');
SELECT external_id FROM sync_pull('EU');
-- a document that is nested too deep for it
SELECT sync_route('EU', 'record', 'exists($.** ? (@ == 5))');
INSERT INTO syncext.canonical (entity, external_id, version, row_version, last_source, fields, stamps)
	VALUES ('record', 'deep', 1, 1, 'Bad', (repeat('{"a":', 6000) || '1' || repeat('}', 6000))::jsonb, '{}');
SET max_stack_depth = '100kB';
SELECT syncext.filter_error('exists($.** ? (@ == 5))', fields) FROM syncext.canonical WHERE external_id = 'deep';
RESET max_stack_depth;
DELETE FROM syncext.canonical WHERE external_id = 'deep';
SELECT sync_route('EU', 'record');


--
-- What a record may become
--
CREATE FUNCTION try(change jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	batched jsonb := sync_explain(jsonb_build_array(change))->0;
	hint text;
BEGIN
	RETURN sync_apply(change)->>'resolution';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || SQLERRM || ' (' || hint || ')' || CASE WHEN batched <> jsonb_build_object('status', 400, 'reason', SQLERRM) THEN ' but ' || batched::text ELSE '' END;
END $$;
CREATE FUNCTION doc(id text, version bigint, fields jsonb, source text DEFAULT 'CRM', entity text DEFAULT 'record') RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('externalId', id, 'source', source, 'version', version, 'fields', fields, 'entity', entity)
$$;
-- its size and its fields, whatever the documents that make it
SET syncext.max_record = '10kB';
SET syncext.max_record_fields = 5;
SELECT try(doc('big', 1, jsonb_build_object('a', repeat('x', 6000))));
SELECT try(doc('big', 2, jsonb_build_object('b', repeat('x', 6000))));
SELECT try(doc('big', 3, jsonb_build_object('a', repeat('x', 5000), 'b', repeat('x', 5000))));
SELECT try(doc('big', 4, '{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5}')), try(doc('big', 5, '{"f": 6}'));
-- one item of a batch alone is refused
SELECT a->>'status' AS status, a->>'resolution' AS resolution
FROM jsonb_array_elements(sync_apply(jsonb_build_array(doc('big', 5, '{"f": 6}'), doc('other', 1, '{"f": 6}')))) a;
-- one that is beyond the limit already may shrink
SET syncext.max_record = '1kB';
SET syncext.max_record_fields = 2;
SELECT try(doc('big', 6, '{"a": "x"}'));
RESET syncext.max_record;
RESET syncext.max_record_fields;
-- an edit of an attached table is refused with the statement
CREATE TABLE wide (id text PRIMARY KEY, a text);
SELECT sync_add_entity('wide');
SELECT sync_attach('wide', 'Bad', 'wide');
SET syncext.max_record = '1kB';
INSERT INTO wide VALUES ('1', repeat('x', 2000));
RESET syncext.max_record;
SELECT count(*) FROM wide;
SELECT sync_detach('wide');
-- depth
SELECT try(doc('deep', 1, jsonb_build_object('a', (repeat('[', 98) || repeat(']', 98))::jsonb)));
SELECT try(doc('deep', 2, jsonb_build_object('a', (repeat('[', 99) || repeat(']', 99))::jsonb)));
SELECT try(doc('deep', 2, jsonb_build_object('a', (repeat('{"a":', 1000) || '1' || repeat('}', 1000))::jsonb)));

-- A version may not run away, and one that has is brought back.
SELECT try(doc('v', 4611686018427387903, '{"a": 1}', 'Bad'));
SELECT try(doc('v', 1764345600000000, '{"a": 1}'));	-- microseconds of the epoch
SELECT try(doc('v', 1764345600000000 + 10000000000000001, '{"a": 2}', 'Bad'));
SET syncext.max_version_step = 0;
SELECT try(doc('v', 4611686018427387903, '{"b": 1}', 'Bad'));
RESET syncext.max_version_step;
SELECT sync_apply(doc('v', 4611686018427387902, '{"a": 3}')) ->> 'resolution' AS stale;
SELECT sync_set_version('record', 'v', 7);
SELECT version, row_version, sync_record('record', 'v') -> 'stamps' -> 'b' AS stamp FROM syncext.canonical WHERE external_id = 'v';
SELECT sync_apply(doc('v', 8, '{"a": 3}')) ->> 'resolution' AS resolution;
SELECT source, resolution, told, detail - 'decidedBy' AS detail FROM syncext.change_log WHERE detail ? 'versionWas';
SELECT sync_set_version('record', 'none', 7);
SELECT sync_set_version('record', 'v', -1);

-- Conflicts of one source on a record, which wait for a decision.
SET syncext.max_conflicts = 3;
SELECT try(doc('c', 1, '{"a": 1, "b": 1, "c": 1, "d": 1}'));
UPDATE syncext.source_priority SET priority = 1;
SELECT try(doc('c', 1, '{"a": 2}', 'Bad')), try(doc('c', 1, '{"b": 2}', 'Bad')), try(doc('c', 1, '{"c": 2}', 'Bad'));
SELECT try(doc('c', 1, '{"d": 2}', 'Bad'));
-- the same again, and a newer word on one of them, are no more of them; others have their own
SELECT try(doc('c', 1, '{"a": 2}', 'Bad')), try(doc('c', 1, '{"a": 3}', 'Bad')), try(doc('c', 1, '{"d": 2}', 'EU'));
SELECT source, count(*) FROM syncext.conflict_log WHERE status = 'pending' GROUP BY 1 ORDER BY 1;
RESET syncext.max_conflicts;

-- Changes that wait for a record: so many of a source, released a part at a time.
SELECT sync_add_entity('child'), sync_add_entity('parent');
SELECT sync_add_reference('child', 'parent', 'parent');
SET syncext.max_parked = 3;
SELECT sync_apply(doc('p' || i, 1, '{"parent": "none"}', 'Bad', 'child')) ->> 'resolution' AS resolution FROM generate_series(1, 3) i;
SELECT try(doc('p4', 1, '{"parent": "none"}', 'Bad', 'child'));
SELECT try(doc('p1', 1, '{"parent": "none"}', 'Bad', 'child')) AS again, try(doc('p4', 1, '{"parent": "none"}', 'CRM', 'child')) AS another;
RESET syncext.max_parked;
SELECT count(sync_apply(doc('w' || i, 1, '{"parent": "late"}', 'CRM', 'child'))) FROM generate_series(1, 1200) i;
UPDATE syncext.waiting SET next_attempt = NULL, dead_since = now() WHERE parent_id = 'late' AND id % 2 = 0;
SELECT sync_apply(doc('late', 1, '{"a": 1}', 'CRM', 'parent')) ->> 'resolution' AS resolution;
SELECT count(*), substr(min('w' || lpad(substr(external_id, 2), 4, '0')), 2) AS next, count(*) FILTER (WHERE next_attempt <= now()) AS due FROM syncext.waiting WHERE parent_id = 'late';
SELECT count(*) >= 0 AS pulled FROM sync_pull('EU', 1);
SELECT count(*), substr(min('w' || lpad(substr(external_id, 2), 4, '0')), 2) AS next FROM syncext.waiting WHERE parent_id = 'late';
CALL sync_maintain() \gset
SELECT count(*) FROM syncext.waiting WHERE parent_id = 'late';

-- What can't be the id of a record is refused in its place; in a table's row it names none.
SELECT a->>'status' AS status, a->>'reason' AS reason, a->>'resolution' AS resolution
FROM jsonb_array_elements(sync_apply(jsonb_build_array(doc('long', 1, jsonb_build_object('parent', repeat('x', 3000)), 'CRM', 'child'), doc('short', 1, '{"parent": "late"}', 'CRM', 'child')))) a;
SELECT sync_add_reference('wide', 'a', 'parent', 'restrict');
SELECT sync_attach('wide', 'Bad', 'wide');
INSERT INTO wide VALUES ('long', (SELECT string_agg(md5(i::text), '') FROM generate_series(1, 200) i));
SELECT count(*) FROM syncext.child;
-- nor is it listed where the reference comes later
UPDATE syncext.reference SET on_delete = 'ignore' WHERE entity = 'wide';
UPDATE syncext.reference SET on_delete = 'cascade' WHERE entity = 'wide';
SELECT sync_detach('wide');

--
-- What can't be put out is its target's dead letter, and the others come
--
SELECT sync_add_entity('text'), sync_add_source('Old', 9);
SELECT sync_subscribe('Old', '{text}');
SELECT sync_apply(jsonb_build_array(doc('1', 1, '{"a": "x"}', 'CRM', 'text'), doc('2', 1, '{"a": "1 €"}', 'CRM', 'text'), doc('3', 1, '{"a": "é"}', 'CRM', 'text'))) -> 2 ->> 'resolution' AS resolution;
SET client_encoding = 'LATIN1';
SELECT external_id FROM sync_pull('Old');
SELECT external_id FROM sync_pull('Old');
SELECT sync_ack('Old', max(batch)) FROM sync_pull('Old');
SELECT external_id FROM sync_pull('Old');
RESET client_encoding;
SELECT source, external_id, error FROM syncext.dead_letter;
SELECT substr(problem, strpos(problem, 'text 2')) AS problem FROM sync_check() WHERE object = 'source Old' AND severity = 'error' AND problem LIKE '%2, it has%';
-- it comes when it has changed, or when who can read it has it tried again
SELECT sync_redrive('Old');
SELECT external_id, fields FROM sync_pull('Old');
SELECT sync_ack('Old', max(batch)) FROM sync_pull('Old');
-- A batch is cut by its size, too, and what it leaves comes next.
SET syncext.max_document = '20MB';
SELECT count(sync_apply(doc('large ' || i, 1, jsonb_build_object('a', repeat(i::text, 15000000)), 'CRM', 'text'))) FROM generate_series(1, 4) i;
RESET syncext.max_document;
CREATE FUNCTION take() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	taken bigint;
	names text;
BEGIN
	SELECT max(p.batch), string_agg(p.external_id, ', ') INTO taken, names FROM sync_pull('Old') p;
	IF taken IS NOT NULL THEN
		PERFORM sync_ack('Old', taken);
	END IF;
	RETURN names;
END $$;
SELECT take(), take(), take(), take();
-- Sizes are those of the text: a number of twelve bytes may have a hundred thousand digits.
CREATE FUNCTION digits(n int) RETURNS jsonb LANGUAGE sql AS $$ SELECT jsonb_build_object('n', jsonb_agg(1e130000::numeric)) FROM generate_series(1, n) $$;
SELECT pg_column_size(digits(200)) < 10000 AS small;
SELECT a ->> 'reason' AS reason FROM jsonb_array_elements(sync_apply(jsonb_build_array(doc('digits', 1, digits(200), 'CRM', 'text')))) a;
-- one that can't be put out as text at all, for a client; for a link one that is larger than an answer of its may be
SELECT count(sync_apply(doc('digits ' || i, 1, digits(1), 'CRM', 'text'))) FROM generate_series(1, 3) i;
UPDATE syncext.canonical SET fields = digits(4200) WHERE external_id = 'digits 1';
UPDATE syncext.canonical SET fields = digits(260) WHERE external_id = 'digits 2';
SELECT external_id, length(fields::text) FROM sync_pull('Old');
SELECT take(), take();
SELECT sync_add_source('Linked', 9), sync_subscribe('Linked', '{text}');
CREATE OR REPLACE FUNCTION take() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	taken bigint;
	names text;
BEGIN
	SELECT max(p.batch), string_agg(p.external_id, ', ') INTO taken, names FROM syncext.hub_pull('Linked', 100) p;
	IF taken IS NOT NULL THEN
		PERFORM syncext.hub_ack('Linked', taken, '[]');
	END IF;
	RETURN names;
END $$;
SELECT take(), take(), take(), take();
SELECT source, external_id, error FROM syncext.dead_letter WHERE entity = 'text' ORDER BY 1, 2;
SELECT sync_discard('Old'), sync_discard('Linked');
DROP FUNCTION take(), digits;
-- A batch of a link comes with so many changes at most, in whatever forms it comes; the next batch is none of its
INSERT INTO syncext.spoke (source, mark) VALUES ('Old', 'f0000000-0000-0000-0000-00000000000f');
CREATE FUNCTION push(batch int, id int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT sync_push('Old', 'f0000000-0000-0000-0000-00000000000f/1/' || batch, jsonb_build_array(jsonb_build_object('source', 'Old', 'entity', 'text', 'externalId', 'form ' || id, 'base', 0, 'fields', '{"a": 1}'::jsonb)))
$$;
SET syncext.max_batch = 1;
SELECT count(push(1, i)) FROM generate_series(1, 10) i;
SELECT push(1, 11);
SELECT push(1, 3);
SELECT count(*) FROM syncext.canonical WHERE external_id LIKE 'form%';
SELECT push(2, 11);
RESET syncext.max_batch;
SELECT jsonb_array_length(answers) AS kept FROM syncext.push;
DROP FUNCTION push;
DROP TABLE wide;
DROP FUNCTION try, doc;
DROP EXTENSION syncext;
