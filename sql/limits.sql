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

DROP EXTENSION syncext;
