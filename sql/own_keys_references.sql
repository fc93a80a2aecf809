-- References speak each system's keys.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Web', 3);
SELECT sync_add_entity('customer'), sync_add_entity('order'), sync_add_entity('line');
SELECT sync_add_reference('order', 'client', 'customer'), sync_add_reference('line', 'order', 'order', 'cascade'), sync_add_reference('customer', 'referrer', 'customer');
SELECT s, e, sync_own_keys(s, e) FROM unnest('{CRM,ERP}'::text[]) s, unnest('{customer,order}'::text[]) e ORDER BY 1, 2;
CREATE FUNCTION said(source text, entity text, source_id text, said jsonb)
	RETURNS TABLE (status text, resolution text, row_version text, reason text) LANGUAGE sql AS $$
	SELECT a->>'status', a->>'resolution', a->>'rowVersion', a->>'reason'
	FROM sync_apply(jsonb_build_object('source', $1, 'entity', $2, CASE WHEN $2 = 'line' THEN 'externalId' ELSE 'sourceId' END, $3) || $4) a
$$;
-- a record with what it refers to by its name
CREATE FUNCTION shown() RETURNS TABLE (entity text, name text, refers_to text) LANGUAGE sql AS $$
	SELECT c.entity, coalesce(c.fields->>'name', c.external_id), coalesce(p.fields->>'name', '(nothing)')
	FROM syncext.canonical c
	JOIN syncext.reference f ON f.entity = c.entity AND c.fields ? f.field
	LEFT JOIN syncext.canonical p ON p.entity = f.parent AND p.external_id = c.fields->>f.field
	ORDER BY 1, 2
$$;
-- pulls, says the keys of what it names, and shows what came as it came
CREATE FUNCTION pulled(source text, said jsonb DEFAULT '{}') RETURNS TABLE (entity text, source_id text, fields jsonb) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	number bigint;
	keys jsonb := '[]';
BEGIN
	FOR p IN SELECT * FROM sync_pull($1) LOOP
		number := p.batch;
		entity := p.entity;
		source_id := p.source_id;
		fields := p.fields;
		IF said ? (fields->>'name') THEN
			keys := keys || jsonb_build_object('entity', p.entity, 'externalId', p.external_id, 'sourceId', said->>(fields->>'name'));
		END IF;
		RETURN NEXT;
	END LOOP;
	IF number IS NOT NULL THEN
		PERFORM sync_ack($1, number, keys => keys);
	END IF;
END $$;

-- from the source's key to the record
SELECT * FROM said('CRM', 'customer', '1', '{"version": 1, "name": "Ann"}');
SELECT * FROM said('ERP', 'customer', '1', '{"version": 1, "name": "Zoe"}');
SELECT * FROM said('CRM', 'order', '10', '{"version": 1, "name": "Ann''s", "client": "1"}');
SELECT * FROM said('ERP', 'order', '10', '{"version": 1, "name": "Zoe''s", "client": 1}');
SELECT * FROM shown();
-- what it says again is no news, and history has the record's id
SELECT * FROM said('CRM', 'order', '10', '{"version": 1, "name": "Ann''s", "client": "1"}');
SELECT h.fields->>'client' = r->>'externalId' AS its_id
FROM sync_history('order', source => 'CRM', source_id => '10') h, sync_record('customer', source => 'CRM', source_id => '1') r;

-- unknown: it waits under that key, until it is bound by a document ...
SELECT * FROM said('CRM', 'order', '11', '{"version": 1, "name": "Bob''s", "client": "2"}');
SELECT source, parent_entity, parent_id, change->'fields' AS fields FROM syncext.waiting;
SELECT * FROM said('ERP', 'customer', '2', '{"version": 1, "name": "not him"}');
SELECT count(*) AS still FROM syncext.waiting;
SELECT * FROM said('CRM', 'customer', '2', '{"version": 1, "name": "Bob"}');
SELECT * FROM shown();
-- ... by one with both keys, of a record that there is ...
SELECT * FROM said('CRM', 'order', '12', '{"version": 1, "name": "Zoe''s too", "client": "3"}');
SELECT a->>'resolution' AS resolution FROM syncext.source_key k, sync_apply(jsonb_build_object('source', 'CRM', 'entity', 'customer', 'externalId', k.external_id, 'sourceId', '3', 'version', 1, 'name', 'Zoe')) a
WHERE k.source = 'ERP' AND k.entity = 'customer' AND k.source_id = '1';
-- ... by hand ...
SELECT * FROM said('ERP', 'order', '13', '{"version": 1, "name": "Bob''s too", "client": "B"}');
SELECT sync_bind('ERP', 'customer', 'B', external_id) FROM syncext.source_key WHERE source = 'CRM' AND entity = 'customer' AND source_id = '2';
-- ... or by an acknowledgement
SELECT * FROM said('ERP', 'order', '14', '{"version": 1, "name": "Ann''s too", "client": "A"}');
SELECT * FROM pulled('ERP', '{"Ann": "A"}') ORDER BY 1, 2, 3;
SELECT * FROM shown();
SELECT count(*) FROM syncext.waiting;

-- to itself, within one batch, in any order
SELECT a->>'resolution' AS resolution, a->>'reason' AS reason FROM jsonb_array_elements(sync_apply('[
	{"source": "CRM", "entity": "order", "sourceId": "20", "version": 1, "name": "Cid''s", "client": "4"},
	{"source": "CRM", "entity": "customer", "sourceId": "4", "version": 1, "name": "Cid", "referrer": "4"},
	{"source": "CRM", "entity": "line", "externalId": "L1", "version": 1, "name": "nut", "order": "20"},
	{"source": "Web", "entity": "line", "externalId": "L2", "version": 1, "name": "bolt", "order": "20"}]')) a;
SELECT e->>'resolution' AS resolution FROM jsonb_array_elements(sync_explain('[
	{"source": "CRM", "entity": "order", "sourceId": "21", "version": 1, "name": "Dan''s", "client": "5"},
	{"source": "CRM", "entity": "customer", "sourceId": "5", "version": 1, "name": "Dan", "referrer": "4"},
	{"source": "CRM", "entity": "order", "sourceId": "22", "version": 1, "name": "Eve''s", "client": "6"}]')) e;
SELECT * FROM shown() WHERE name IN ('Cid''s', 'Cid', 'nut', 'bolt');

-- back: each source in its own words; a child waits for a parent that the source has no key of
SELECT * FROM pulled('ERP', '{"Cid": "C"}') ORDER BY 1, 2, 3;
SELECT entity, attempts, regexp_replace(error, '[0-9a-f-]{36}', '…') AS error FROM syncext.pending WHERE target = 'ERP' ORDER BY 1, 3;
SELECT * FROM pulled('ERP', '{"Cid''s": "C-1", "Ann''s": "A-1", "Bob''s": "B-1", "Zoe''s too": "Z-2"}') ORDER BY 1, 2, 3;
SELECT * FROM pulled('ERP') ORDER BY 1, 2, 3;
SELECT * FROM pulled('ERP') ORDER BY 1, 2, 3;
SELECT count(*) FROM syncext.pending WHERE target = 'ERP';
-- Web goes by external ids
SELECT count(*) AS all_uuid FROM pulled('Web') p WHERE p.fields->>'client' ~ '^[0-9a-f-]{36}$';

-- a parent that a route never lets through
SELECT sync_route('ERP', 'customer', '$.name != "Fay"');
SELECT * FROM pulled('ERP') ORDER BY 1, 2, 3;
SELECT * FROM said('CRM', 'customer', '7', '{"version": 1, "name": "Fay"}');
SELECT * FROM said('CRM', 'order', '30', '{"version": 1, "name": "Fay''s", "client": "7"}');
SELECT * FROM pulled('ERP') ORDER BY 1, 2, 3;
SELECT state, attempts FROM syncext.outbound_change WHERE target = 'ERP';
UPDATE syncext.pending SET since = now() - interval '2 days' WHERE target = 'ERP';
SELECT severity, object, regexp_replace(problem, 'since .*: waits', 'since …: waits') ~ 'since …: waits for its parent' AS told FROM sync_check() WHERE problem ~ 'for source ERP';
-- until it does
SELECT sync_route('ERP', 'customer');
UPDATE syncext.pending SET next_attempt = now() - interval '1 s' WHERE target = 'ERP';
SELECT * FROM pulled('ERP', '{"Fay": "F"}') ORDER BY 1, 2, 3;
SELECT count(*) FILTER (WHERE fields->>'name' = 'Fay''s') AS came FROM pulled('ERP');

-- a deleted parent is referred to by the key that it had
SELECT * FROM said('ERP', 'customer', 'F', '{"version": 2, "deleted": true}');
SELECT * FROM said('CRM', 'order', '30', '{"version": 2, "name": "Fay''s last"}');
SELECT * FROM pulled('ERP') ORDER BY 1, 2, 3;

DROP FUNCTION said, shown, pulled;
DROP EXTENSION syncext;
