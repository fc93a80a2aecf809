-- The order of a batch: what lives first, parents before children; then deletes,
-- children before parents.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2);
SELECT sync_add_entity('customer'), sync_add_entity('order'), sync_add_entity('line'), sync_add_entity('node');
SELECT sync_add_reference('order', 'customer', 'customer', 'restrict');
SELECT sync_add_reference('line', 'order', 'order', 'restrict');
SELECT sync_add_reference('node', 'up', 'node', 'restrict');

CREATE FUNCTION put(entity text, id text, parent text DEFAULT NULL, v int DEFAULT 1) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_strip_nulls(jsonb_build_object('entity', $1, 'externalId', $2, 'source', 'CRM', 'version', $4)) || jsonb_build_object('fields',
		jsonb_build_object(CASE $1 WHEN 'order' THEN 'customer' WHEN 'line' THEN 'order' WHEN 'node' THEN 'up' ELSE 'name' END, $3, 'v', $4))
$$;
CREATE FUNCTION del(entity text, id text, v int DEFAULT 2) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('entity', $1, 'externalId', $2, 'source', 'CRM', 'version', $3, 'deleted', true)
$$;
CREATE FUNCTION told(VARIADIC changes jsonb[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg((a->>'externalId') || ' ' || (a->>'resolution'), ', ' ORDER BY i)
	FROM jsonb_array_elements(sync_apply(to_jsonb(changes))) WITH ORDINALITY e (a, i)
$$;
CREATE FUNCTION explained(VARIADIC changes jsonb[]) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg((a->>'externalId') || ' ' || (a->>'resolution'), ', ' ORDER BY i)
	FROM jsonb_array_elements(sync_explain(to_jsonb(changes))) WITH ORDINALITY e (a, i)
$$;
CREATE VIEW living AS SELECT entity, string_agg(external_id, ' ' ORDER BY external_id) AS ids FROM syncext.canonical WHERE NOT deleted GROUP BY 1 ORDER BY 1;

-- a parent goes with its children, whichever stands first
SELECT told(put('customer', 'C1'), put('order', 'O1', 'C1'), put('line', 'L1', 'O1'), put('line', 'L2', 'O1'));
SELECT told(del('customer', 'C1'), del('order', 'O1'), del('line', 'L1'));
SELECT * FROM living;
SELECT told(del('line', 'L2'), put('customer', 'C1', NULL, 2), put('order', 'O1', 'C1', 2), put('line', 'L1', 'O1', 3), put('line', 'L2', 'O1', 3));
SELECT * FROM living;
SELECT explained(del('customer', 'C1', 3), del('order', 'O1', 3), del('line', 'L1', 4), del('line', 'L2', 4));
SELECT told(del('customer', 'C1', 3), del('order', 'O1', 3), del('line', 'L1', 4), del('line', 'L2', 4));
SELECT * FROM living;
-- what the ladder refuses still restricts
SELECT told(put('customer', 'C2'), put('order', 'O2', 'C2', 5));
SELECT explained(del('order', 'O2', 4), del('customer', 'C2'));
SELECT told(del('order', 'O2', 4), del('customer', 'C2'));

-- a child that moves away, or comes, in the batch that deletes the parent
SELECT told(put('customer', 'C3'), put('customer', 'C4'), put('order', 'O3', 'C3'));
SELECT explained(del('customer', 'C3'), put('order', 'O3', 'C4', 2));
SELECT told(del('customer', 'C3'), put('order', 'O3', 'C4', 2));
SELECT explained(put('order', 'O4', 'C4'), del('customer', 'C4'));
SELECT told(put('order', 'O4', 'C4'), del('customer', 'C4'));
SELECT * FROM living;

-- a record's own documents stay together and in their order: its last one says when
SELECT told(put('order', 'O3', 'C4', 3), del('order', 'O3', 4), del('order', 'O4'), del('customer', 'C4', 3), put('customer', 'C4', NULL, 4));
SELECT told(put('customer', 'C4', NULL, 5), del('customer', 'C4', 6));
-- of what isn't there yet, too
SELECT told(put('customer', 'C5'), del('customer', 'C5'), del('order', 'O5'), del('customer', 'C6'));
SELECT external_id, deleted FROM syncext.canonical WHERE external_id IN ('C5', 'O5', 'C6') ORDER BY 1;

-- records of one entity that refer to one another: a tree goes from its leaves
SELECT told(put('node', '1'), put('node', '2', '1'), put('node', '3', '2'), put('node', '4', '1'));
SELECT explained(del('node', '1'), del('node', '2'), del('node', '3'), del('node', '4'));
SELECT told(del('node', '1'), del('node', '2'), del('node', '3'));
SELECT told(del('node', '1'), del('node', '4'));
SELECT * FROM living;
-- and a long chain too
SELECT count(*) FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(put('node', to_char(i, 'FM0000'), to_char(i - 1, 'FM0000')) ORDER BY i) FROM generate_series(1, 1000) i)
	|| put('node', '0000'))) a;
SELECT a->>'resolution' AS resolution, count(*)
FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(del('node', to_char(i, 'FM0000')) ORDER BY i) FROM generate_series(1, 1000) i))) a GROUP BY 1;
SELECT * FROM living WHERE entity = 'node';
-- a circle stays, as none of it is first
SELECT told(put('node', 'a'), put('node', 'b', 'a'), put('node', 'a', 'b', 2));
SELECT told(del('node', 'a', 3), del('node', 'b'));

-- cascade takes along what is still there after the batch's own documents
UPDATE syncext.reference SET on_delete = 'cascade' WHERE entity = 'order';
SELECT told(put('customer', 'C7'), put('customer', 'C8'), put('order', 'O7', 'C7'), put('order', 'O8', 'C7'), put('order', 'O9', 'C7'));
SELECT told(del('customer', 'C7'), put('order', 'O7', 'C8', 2), del('order', 'O9'));
SELECT * FROM living WHERE entity = 'order';

DROP VIEW living;
DROP FUNCTION put, del, told, explained;
DROP EXTENSION syncext;
