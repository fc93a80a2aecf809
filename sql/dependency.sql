-- Changes that wait for the record they refer to, and deletes of records that
-- others refer to.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2);
SELECT sync_add_entity('customer'), sync_add_entity('order'), sync_add_entity('line');
SELECT sync_add_reference('order', 'clientId', 'customer');
SELECT sync_add_reference('line', 'orderId', 'order');

CREATE FUNCTION told(change jsonb) RETURNS TABLE (status text, resolution text, told text, reason text)
LANGUAGE sql AS $$
	SELECT a->>'status', a->>'resolution', a->>'told', a->>'reason' FROM sync_apply(change) a
$$;

-- a chain that arrives backwards is parked, a link at a time
SELECT * FROM told('{"entity": "line", "externalId": "L1", "source": "CRM", "version": 1, "orderId": "O1"}');
SELECT * FROM told('{"entity": "order", "externalId": "O1", "source": "CRM", "version": 1, "clientId": "C1"}');
SELECT entity, external_id, parent_entity, parent_id, attempts, next_attempt > parked_at AS again FROM syncext.waiting ORDER BY id;
-- the same document again is not parked twice
SELECT * FROM told('{"entity": "line", "externalId": "L1", "source": "CRM", "version": 1, "orderId": "O1"}');
SELECT count(*) FROM syncext.waiting;
-- nothing is there yet, and explaining says the same without parking
SELECT count(*) FROM syncext.canonical;
SELECT e->>'status' AS status, e->>'resolution' AS resolution
FROM sync_explain('{"entity": "order", "externalId": "O9", "source": "CRM", "version": 1, "clientId": "C9"}') e;
SELECT count(*) FROM syncext.waiting;
-- the customer's own transaction brings all of them
SELECT * FROM told('{"entity": "customer", "externalId": "C1", "source": "ERP", "version": 1, "name": "Anna"}');
SELECT entity, external_id, version, last_source FROM syncext.canonical ORDER BY 1, 2;
SELECT count(*) FROM syncext.waiting;
SELECT source, resolution, told FROM sync_history('line', 'L1');

-- a batch in whatever order
SELECT a->>'externalId' AS id, a->>'resolution' AS resolution FROM jsonb_array_elements(sync_apply('[
	{"entity": "line", "externalId": "L2", "source": "CRM", "version": 1, "orderId": "O2"},
	{"entity": "order", "externalId": "O2", "source": "CRM", "version": 1, "clientId": "C2"},
	{"entity": "customer", "externalId": "C2", "source": "CRM", "version": 1, "name": "Bert"}]')) a;

-- null, an absent field and a value that names nothing wait for nothing; a number names a record
SELECT * FROM told('{"entity": "order", "externalId": "O3", "source": "CRM", "version": 1, "clientId": null}');
SELECT * FROM told('{"entity": "order", "externalId": "O4", "source": "CRM", "version": 1, "total": 5}');
SELECT * FROM told('{"entity": "order", "externalId": "O5", "source": "CRM", "version": 1, "clientId": 77}');
SELECT * FROM told('{"entity": "customer", "externalId": "77", "source": "CRM", "version": 1, "name": "Number"}');
SELECT external_id FROM syncext.canonical WHERE external_id = 'O5';
-- ifMatch comes first: what it refuses is not parked
SELECT * FROM told('{"entity": "order", "externalId": "O4", "source": "CRM", "version": 2, "clientId": "C8", "ifMatch": 7}');
SELECT count(*) FROM syncext.waiting;
-- a tombstone has arrived
SELECT * FROM told('{"entity": "customer", "externalId": "C3", "source": "CRM", "version": 1, "deleted": true}');
SELECT * FROM told('{"entity": "order", "externalId": "O6", "source": "CRM", "version": 1, "clientId": "C3"}');

-- a newer version overtakes a parked one, which is stale when its parent comes
SELECT * FROM told('{"entity": "order", "externalId": "O7", "source": "CRM", "version": 1, "clientId": "C4", "total": 1}');
SELECT * FROM told('{"entity": "order", "externalId": "O7", "source": "CRM", "version": 2, "clientId": "C1", "total": 2}');
SELECT * FROM told('{"entity": "customer", "externalId": "C4", "source": "CRM", "version": 1, "name": "Dora"}');
SELECT source, resolution FROM sync_history('order', 'O7');
SELECT fields FROM syncext.canonical WHERE external_id = 'O7';

-- edits without versions queue up behind the parked one, and come in their order
SELECT * FROM told('{"entity": "order", "externalId": "O8", "source": "CRM", "base": 0, "fields": {"clientId": "C5", "total": 1}}');
SELECT * FROM told('{"entity": "order", "externalId": "O8", "source": "CRM", "base": 0, "fields": {"total": 2}}');
UPDATE syncext.source SET single_writer = true WHERE name = 'CRM';
SELECT * FROM told('{"entity": "customer", "externalId": "C5", "source": "CRM", "version": 1, "name": "Emil"}');
SELECT row_version, fields FROM syncext.canonical WHERE external_id = 'O8';

-- and they do so too where the first finds that it has to wait for something else
SELECT sync_add_entity('shop'), sync_add_reference('order', 'shopId', 'shop');
SELECT * FROM told('{"entity": "order", "externalId": "O10", "source": "CRM", "base": 0, "fields": {"clientId": "C7", "shopId": "S1", "total": 1}}');
SELECT * FROM told('{"entity": "order", "externalId": "O10", "source": "CRM", "base": 0, "fields": {"total": 2}}');
SELECT * FROM told('{"entity": "customer", "externalId": "C7", "source": "CRM", "version": 1, "name": "Gina"}');
SELECT parent_entity, parent_id, change->'fields' AS fields FROM syncext.waiting ORDER BY id;
SELECT * FROM told('{"entity": "shop", "externalId": "S1", "source": "CRM", "version": 1, "name": "Corner"}');
SELECT row_version, fields FROM syncext.canonical WHERE external_id = 'O10';

-- nor does a sweep let the second overtake, whichever of them is due
SELECT * FROM told('{"entity": "order", "externalId": "O11", "source": "CRM", "base": 0, "fields": {"clientId": "C8", "total": 1}}');
SELECT * FROM told('{"entity": "order", "externalId": "O11", "source": "CRM", "base": 0, "fields": {"total": 2}}');
UPDATE syncext.waiting SET next_attempt = now() - interval '1 s' WHERE change->'fields' = '{"total": 2}';
SELECT count(*) FROM sync_pull('ERP', 1);
SELECT change->'fields' AS fields, attempts, next_attempt > now() AS later FROM syncext.waiting ORDER BY id;
SELECT * FROM told('{"entity": "customer", "externalId": "C8", "source": "CRM", "version": 1, "name": "Hugo"}');
SELECT row_version, fields FROM syncext.canonical WHERE external_id = 'O11';

-- what is wrong with a parked change is kept with it, and is not the parent's fault
SELECT * FROM told('{"entity": "order", "externalId": "O12", "source": "CRM", "version": 1, "clientId": "C9", "total": -1}');
ALTER TABLE syncext.canonical ADD CONSTRAINT positive CHECK ((fields->>'total')::numeric > 0);
SELECT * FROM told('{"entity": "customer", "externalId": "C9", "source": "CRM", "version": 1, "name": "Ida"}');
SELECT external_id, next_attempt IS NULL AS dead, error FROM syncext.waiting;
ALTER TABLE syncext.canonical DROP CONSTRAINT positive;
SELECT sync_redrive('CRM');
SELECT count(*) FROM sync_pull('ERP', 1);
SELECT fields->'total' AS total FROM syncext.canonical WHERE external_id = 'O12';
SELECT count(*) FROM syncext.waiting;

-- cycles don't hang: both wait, and end as dead letters if nobody breaks it
SELECT sync_add_entity('a'), sync_add_entity('b');
SELECT sync_add_reference('a', 'b', 'b'), sync_add_reference('b', 'a', 'a'), sync_add_reference('a', 'self', 'a');
SELECT * FROM told('{"entity": "a", "externalId": "1", "source": "CRM", "version": 1, "b": "1"}');
SELECT * FROM told('{"entity": "b", "externalId": "1", "source": "CRM", "version": 1, "a": "1"}');
SELECT * FROM told('{"entity": "a", "externalId": "2", "source": "CRM", "version": 1, "self": "2"}');
-- one side without the reference breaks it
SELECT * FROM told('{"entity": "b", "externalId": "1", "source": "CRM", "version": 2, "note": "first"}');
SELECT entity, external_id, version FROM syncext.canonical WHERE entity IN ('a', 'b') ORDER BY 1, 2;
SELECT count(*) FROM syncext.waiting;

-- deleting a parent: ignore leaves the children
SELECT * FROM told('{"entity": "customer", "externalId": "C1", "source": "CRM", "version": 2, "deleted": true}');
SELECT external_id, deleted FROM syncext.canonical WHERE external_id IN ('O1', 'L1') ORDER BY 1;
-- restrict refuses, and tells the source that the record stands
UPDATE syncext.reference SET on_delete = 'restrict' WHERE entity = 'order';
UPDATE syncext.reference SET on_delete = 'cascade' WHERE entity = 'line';
SELECT * FROM told('{"entity": "customer", "externalId": "C2", "source": "CRM", "version": 2, "deleted": true}');
SELECT e->>'resolution' AS explained
FROM sync_explain('{"entity": "customer", "externalId": "C2", "source": "CRM", "version": 2, "deleted": true}') e;
-- cascade takes the lines of an order along
SELECT * FROM told('{"entity": "order", "externalId": "O2", "source": "CRM", "version": 2, "deleted": true}');
SELECT entity, external_id, deleted, last_source FROM syncext.canonical WHERE external_id IN ('O2', 'L2') ORDER BY 1;
-- and with the order gone the customer can go
SELECT * FROM told('{"entity": "customer", "externalId": "C2", "source": "CRM", "version": 3, "deleted": true}');
-- a child that refers elsewhere holds its old parent no longer
SELECT * FROM told('{"entity": "customer", "externalId": "C6", "source": "CRM", "version": 1, "name": "Finn"}');
SELECT * FROM told('{"entity": "order", "externalId": "O9", "source": "CRM", "version": 1, "clientId": "C6"}');
SELECT * FROM told('{"entity": "order", "externalId": "O9", "source": "CRM", "version": 2, "clientId": "C5"}');
SELECT * FROM told('{"entity": "customer", "externalId": "C6", "source": "CRM", "version": 2, "deleted": true}');

-- a reviewer's decision goes by the references too
SELECT * FROM told('{"entity": "customer", "externalId": "C10", "source": "CRM", "version": 1, "name": "Jan"}');
SELECT * FROM told('{"entity": "order", "externalId": "O13", "source": "CRM", "version": 1, "clientId": "C10"}');
SELECT * FROM told('{"entity": "customer", "externalId": "C10", "source": "CRM", "version": 1, "deleted": true}');
SELECT max(id) AS conflict FROM syncext.conflict_log \gset
SELECT sync_resolve(:conflict, 'incoming');
SELECT * FROM told('{"entity": "order", "externalId": "O13", "source": "CRM", "version": 1, "clientId": "C9"}');
SELECT max(id) AS moved FROM syncext.conflict_log \gset
SELECT sync_resolve(:moved, 'incoming')->>'resolution' AS resolution;
SELECT parent_id, external_id FROM syncext.child WHERE external_id = 'O13';
SELECT sync_resolve(:conflict, 'incoming')->>'resolution' AS resolution;

-- a reference whose children are not listed yet is told of, and heeded: to explain
-- lists nothing, a delete does, and nothing else of its batch waits for that
SELECT sync_add_entity('shelf'), sync_add_entity('book');
SELECT * FROM told('{"entity": "shelf", "externalId": "S1", "source": "CRM", "version": 1, "a": 1}');
SELECT * FROM told('{"entity": "shelf", "externalId": "S2", "source": "CRM", "version": 1, "a": 1}');
SELECT * FROM told('{"entity": "book", "externalId": "B1", "source": "CRM", "version": 1, "shelf": "S1"}');
SELECT sync_add_reference('book', 'shelf', 'shelf', 'restrict');
SELECT object, problem, hint FROM sync_check() WHERE object ~ '^reference';
SELECT a ->> 'externalId' AS id, a ->> 'resolution' AS resolution, a ->> 'reason' AS reason
FROM jsonb_array_elements(sync_explain('[
	{"entity": "shelf", "externalId": "S1", "source": "CRM", "version": 2, "deleted": true},
	{"entity": "shelf", "externalId": "S2", "source": "CRM", "version": 2, "deleted": true},
	{"entity": "book", "externalId": "B2", "source": "CRM", "version": 1, "shelf": "S2"}]')) a;
SELECT listed FROM syncext.reference WHERE entity = 'book';
SELECT a ->> 'externalId' AS id, a ->> 'resolution' AS resolution
FROM jsonb_array_elements(sync_apply('[
	{"entity": "shelf", "externalId": "S1", "source": "CRM", "version": 2, "deleted": true},
	{"entity": "shelf", "externalId": "S2", "source": "CRM", "version": 2, "deleted": true},
	{"entity": "shelf", "externalId": "S3", "source": "CRM", "version": 1, "a": 1}]')) a;
SELECT listed FROM syncext.reference WHERE entity = 'book';
SELECT count(*) FROM sync_check() WHERE object ~ '^reference';

-- references that make no sense
SELECT sync_add_reference('order', 'x', 'nobody');
SELECT sync_add_reference('order', '', 'customer');
SELECT sync_add_reference('order', 'x', 'customer', 'explode');
SELECT sync_add_reference('order', 'clientId', 'customer');

-- A chain of any length is released at once, in its order, when its first record arrives.
SELECT sync_add_entity('link');
SELECT sync_add_reference('link', 'after', 'link');
SELECT count(sync_apply(jsonb_build_object('entity', 'link', 'externalId', n::text, 'source', 'CHAIN', 'version', 1,
	'fields', jsonb_build_object('after', (n - 1)::text)))->>'resolution') AS parked
FROM sync_add_source('CHAIN', 9), generate_series(3000, 1, -1) n;
SELECT sync_apply('{"entity": "link", "externalId": "0", "source": "CHAIN", "version": 1, "fields": {"a": 1}}')->>'resolution' AS first;
SELECT count(*) AS arrived, (SELECT count(*) FROM syncext.waiting WHERE entity = 'link') AS wait,
	(SELECT count(*) FROM (SELECT external_id::int - lag(external_id::int) OVER (ORDER BY seq) AS step
		FROM syncext.change_log WHERE entity = 'link' AND resolution <> 'DEPENDENCY_WAIT') s WHERE step <> 1) AS out_of_order
FROM syncext.canonical WHERE entity = 'link';

DROP FUNCTION told(jsonb);
DROP EXTENSION syncext CASCADE;
