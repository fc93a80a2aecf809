-- Changes that are sent again, known by their changeId: whoever has lost an
-- answer gets the very same one, whatever others have done since.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2);

CREATE FUNCTION told(change jsonb) RETURNS TABLE (status text, resolution text, row_version text, changed text)
LANGUAGE sql AS $$
	SELECT a->>'status', a->>'resolution', a->>'rowVersion', a->>'changed' FROM sync_apply(change) a
$$;
CREATE FUNCTION code_of(change jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sync_apply(change);
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END $$;

-- where no change has an id, its table isn't even opened
SELECT * FROM told('{"externalId": "K", "source": "CRM", "base": 0, "fields": {"a": 1}}');
BEGIN;
SELECT * FROM told('{"externalId": "K", "source": "ERP", "base": 1, "fields": {"b": 1}}');
SELECT count(*) AS locks FROM pg_locks WHERE relation = 'syncext.change_id'::regclass;
ROLLBACK;

-- the answer is lost, others correct the value, the change is sent again
SELECT sync_apply('{"externalId": "K", "source": "CRM", "base": 1, "fields": {"a": 2}, "changeId": "c-1"}') AS first \gset
SELECT * FROM told('{"externalId": "K", "source": "ERP", "base": 2, "fields": {"a": 3}}');
SELECT sync_apply('{"externalId": "K", "source": "CRM", "base": 1, "fields": {"a": 2}, "changeId": "c-1"}') = :'first' AS same,
       :'first'::jsonb->>'resolution' AS resolution;
SELECT fields FROM syncext.canonical;
SELECT count(*) FROM syncext.change_log;
-- without the id it would be decided anew
BEGIN;
SELECT * FROM told('{"externalId": "K", "source": "CRM", "base": 1, "fields": {"a": 2}}');
ROLLBACK;
-- what is the same document doesn't hang on how it is written
SELECT * FROM told('{"changeId": "c-1", "a": 2.0, "base": 1.0, "source": "CRM", "entity": "record", "externalId": "K"}');
-- ifMatch is met once
SELECT * FROM told('{"externalId": "K", "source": "CRM", "base": 3, "ifMatch": 3, "fields": {"a": 4}, "changeId": "c-2"}');
SELECT * FROM told('{"externalId": "K", "source": "CRM", "base": 3, "ifMatch": 3, "fields": {"a": 4}, "changeId": "c-2"}');

-- ids are each source's own
SELECT * FROM told('{"externalId": "K", "source": "ERP", "base": 4, "fields": {"b": 5}, "changeId": "c-2"}');
-- the same id with another document
SELECT code_of('{"externalId": "K", "source": "CRM", "base": 3, "ifMatch": 3, "fields": {"a": 5}, "changeId": "c-2"}');
SELECT code_of('{"externalId": "K", "source": "CRM", "base": 3, "ifMatch": 3, "fields": {"a": "4"}, "changeId": "c-2"}');
SELECT code_of('{"externalId": "L", "source": "CRM", "base": 3, "ifMatch": 3, "fields": {"a": 4}, "changeId": "c-2"}');
SELECT a->>'status' AS status, a->>'resolution' AS resolution, a->>'reason' AS reason FROM jsonb_array_elements(sync_apply('[
	{"externalId": "N", "source": "CRM", "version": 1, "a": 1},
	{"externalId": "K", "source": "CRM", "base": 9, "fields": {"a": 5}, "changeId": "c-2"}]')) a;
-- what is no id
SELECT code_of('{"externalId": "K", "source": "CRM", "base": 3, "fields": {"a": 5}, "changeId": ""}');
SELECT code_of('{"externalId": "K", "source": "CRM", "base": 3, "fields": {"a": 5}, "changeId": 7}');
SELECT code_of(jsonb_build_object('externalId', 'K', 'source', 'CRM', 'base', 3, 'a', 5, 'changeId', repeat('é', 101)));
SELECT a->>'resolution' AS longest
FROM sync_apply(jsonb_build_object('externalId', 'X', 'source', 'CRM', 'base', 3, 'a', 5, 'changeId', repeat('é', 100))) a;

-- 409 and 412 are answers, too
SELECT sync_add_entity('order'), sync_add_reference('order', 'customer', 'record');
UPDATE syncext.source_priority SET priority = 1;
SELECT a->>'status' AS status, a->>'conflictId' AS conflict
FROM sync_apply('{"externalId": "N", "source": "ERP", "version": 1, "a": 2, "changeId": "m"}') a;
SELECT a->>'resolution' AS resolution FROM sync_resolve(1, 'canonical') a;
SELECT a->>'status' AS status, a->>'conflictId' AS conflict
FROM sync_apply('{"externalId": "N", "source": "ERP", "version": 1, "a": 2, "changeId": "m"}') a;
SELECT status, count(*) FROM syncext.conflict_log GROUP BY 1;
SELECT * FROM told('{"externalId": "N", "source": "ERP", "version": 7, "a": 7, "ifMatch": 9, "changeId": "p"}');
SELECT * FROM told('{"externalId": "N", "source": "CRM", "version": 9, "a": 9}');
SELECT * FROM told('{"externalId": "N", "source": "ERP", "version": 7, "a": 7, "ifMatch": 9, "changeId": "p"}');

-- a change that is parked keeps its id; when it is released, the first answer is still the answer
SELECT * FROM told('{"entity": "order", "externalId": "O", "source": "CRM", "version": 1, "customer": "C", "changeId": "w"}');
SELECT change->>'changeId' AS parked FROM syncext.waiting;
SELECT * FROM told('{"externalId": "C", "source": "CRM", "version": 1, "name": "Anna"}');
SELECT * FROM told('{"entity": "order", "externalId": "O", "source": "CRM", "version": 1, "customer": "C", "changeId": "w"}');
SELECT count(*) FROM syncext.waiting;
SELECT resolution FROM sync_history('order', 'O');

-- in one batch: what came before, what comes twice, what comes twice with another content
SELECT a->>'status' AS status, a->>'resolution' AS resolution, a->>'rowVersion' AS row_version, a->>'reason' LIKE '%another document%' AS other
FROM jsonb_array_elements(sync_apply('[
	{"externalId": "Z", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "z-1"},
	{"externalId": "K", "source": "CRM", "base": 1, "fields": {"a": 2}, "changeId": "c-1"},
	{"externalId": "Z", "source": "CRM", "base": 1, "fields": {"a": 2}, "changeId": "z-2"},
	{"externalId": "A", "source": "CRM", "base": 1, "fields": {"a": 2}, "changeId": "z-2"},
	{"externalId": "Z", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "z-1"},
	{"externalId": "A", "source": "CRM", "base": 0, "fields": {"a": 2}}]')) WITH ORDINALITY a (a, i) ORDER BY i;
SELECT external_id, row_version, fields FROM syncext.canonical WHERE external_id IN ('A', 'Z') ORDER BY 1;

-- a subtransaction that is rolled back frees its ids
BEGIN;
SAVEPOINT s;
SELECT * FROM told('{"externalId": "S", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "s"}');
ROLLBACK TO s;
SELECT * FROM told('{"externalId": "S", "source": "CRM", "base": 0, "fields": {"a": 2}, "changeId": "s"}');
COMMIT;
-- and so does a change that raises
SELECT code_of('{"externalId": "S", "source": "Nobody", "base": 0, "fields": {"a": 1}, "changeId": "e"}');
ALTER TABLE syncext.canonical ADD CONSTRAINT small CHECK (octet_length(fields::text) < 100);
SELECT split_part(code_of(jsonb_build_object('externalId', 'S', 'source', 'CRM', 'base', 1, 'a', repeat('x', 200), 'changeId', 'e')), ':', 1);
ALTER TABLE syncext.canonical DROP CONSTRAINT small;
SELECT * FROM told('{"externalId": "S", "source": "CRM", "base": 1, "fields": {"a": 3}, "changeId": "e"}');

-- explaining answers as applying would, and claims nothing
SELECT e->>'resolution' AS resolution, e->>'rowVersion' AS row_version
FROM sync_explain('{"externalId": "K", "source": "CRM", "base": 1, "fields": {"a": 2}, "changeId": "c-1"}') e;
SELECT e->>'resolution' AS resolution, e->>'rowVersion' AS row_version, e->>'status' AS status
FROM jsonb_array_elements(sync_explain('[
	{"externalId": "Y", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "y"},
	{"externalId": "Y", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "y"},
	{"externalId": "Y", "source": "CRM", "base": 0, "fields": {"a": 2}, "changeId": "y"}]')) e;
SELECT count(*) FROM syncext.change_id WHERE change_id = 'y';
SELECT sync_explain('{"externalId": "K", "source": "CRM", "base": 1, "fields": {"a": 1}, "changeId": "c-1"}');

-- a refusal isn't kept, in a batch either: the limit may be raised, and another
-- document may have the id; what comes twice in a call is refused twice
SET syncext.max_record_fields = 1;
SELECT e->>'status' AS status, e->>'reason' AS reason FROM jsonb_array_elements(sync_apply('[
	{"externalId": "L", "source": "CRM", "base": 0, "fields": {"a": 1, "b": 2}, "changeId": "limit"},
	{"externalId": "M", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "within"},
	{"externalId": "L", "source": "CRM", "base": 0, "fields": {"a": 1, "b": 2}, "changeId": "limit"}]')) e;
SELECT change_id FROM syncext.change_id WHERE change_id IN ('limit', 'within');
RESET syncext.max_record_fields;
SELECT e->>'status' AS status, e->>'resolution' AS resolution FROM jsonb_array_elements(sync_apply('[
	{"externalId": "L", "source": "CRM", "base": 0, "fields": {"a": 1, "b": 2}, "changeId": "limit"}]')) e;

-- a trigger that sends what it was fired by is told so, and doesn't wait for itself
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sync_apply('{"externalId": "T", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "t"}');
	RETURN NULL;
END $$;
CREATE TRIGGER again AFTER INSERT ON syncext.canonical FOR EACH ROW WHEN (NEW.external_id = 'T') EXECUTE FUNCTION again();
SELECT code_of('{"externalId": "T", "source": "CRM", "base": 0, "fields": {"a": 1}, "changeId": "t"}');
DROP TRIGGER again ON syncext.canonical;
DROP FUNCTION again();

-- kept as long as the retention says, and no longer
UPDATE syncext.change_id SET answered_at = now() - interval '31 days' WHERE change_id LIKE 'z%';
CALL sync_maintain(NULL);
SELECT source, change_id, length(digest) AS digest, entity, external_id, answer->>'status' AS status
FROM syncext.change_id WHERE octet_length(change_id) < 10 ORDER BY 1, 2;

-- erased with its record, and gone with its source
SELECT sync_forget('record', 'K')->'changeId' AS erased;
SELECT count(*) FROM syncext.change_id WHERE external_id = 'K';
SELECT sync_drop_source('ERP');
SELECT DISTINCT source FROM syncext.change_id;

DROP FUNCTION told(jsonb), code_of(jsonb);
DROP EXTENSION syncext;
