-- demo.sql
--	  The sync hub at work, with the five cases of the Azure demo that doc/migrating
--	  tells of.  Run by make demo.
\set QUIET on
\pset footer off
\pset null '-'
\pset linestyle unicode
\pset border 2
SET client_min_messages = warning;

\echo
\echo '════ 1. A hub with four sources ════'
\echo
\echo 'CRM outranks ERP, ERP outranks Portal, Portal outranks LocalDB; the table is edited with plain SQL.'
CREATE EXTENSION syncext;
SELECT sync_add_source(name, priority) FROM (VALUES ('CRM', 1), ('ERP', 2), ('Portal', 3), ('LocalDB', 4)) s (name, priority) \g /dev/null
SELECT source, entity, field, priority FROM syncext.source_priority ORDER BY priority;

\echo '════ 2. Five customers, five ways to disagree ════'
\echo
CREATE TEMP TABLE story (step serial, change jsonb, answer jsonb);
INSERT INTO story (change) VALUES
	('{"externalId": "CUST-001", "source": "CRM",    "version": 1, "fullName": "Alice Martin",  "email": "alice@crm.example"}'),
	('{"externalId": "CUST-001", "source": "ERP",    "version": 1, "fullName": "Alice Martens", "email": "alice@erp.example"}'),
	('{"externalId": "CUST-002", "source": "CRM",    "version": 2, "fullName": "Bob Stone",     "email": "bob@crm.example"}'),
	('{"externalId": "CUST-002", "source": "Portal", "version": 1, "fullName": "Bobby Stone"}'),
	('{"externalId": "CUST-003", "source": "CRM",    "version": 1, "fullName": "Carol Reyes"}'),
	('{"externalId": "CUST-003", "source": "ERP",    "version": 1, "email": "carol@erp.example"}'),
	('{"externalId": "CUST-004", "source": "CRM",    "version": 5, "fullName": "David Brown",   "email": "david@crm.example"}'),
	('{"externalId": "CUST-004", "source": "CRM",    "version": 5, "fullName": "David Brown",   "email": "d.brown@crm.example"}'),
	('{"externalId": "CUST-005", "source": "CRM",    "version": 1, "fullName": "Eve Adams",     "email": "eve@crm.example"}');
DO $$
DECLARE s record;
BEGIN
	FOR s IN SELECT * FROM story ORDER BY step LOOP
		UPDATE story SET answer = sync_apply(s.change) WHERE step = s.step;
	END LOOP;
END $$;
SELECT change->>'externalId' AS record, change->>'source' AS source, (change->>'version')::int AS version,
       change - '{externalId,source,version}'::text[] AS sets,
       answer->>'status' AS status, answer->>'resolution' AS resolution
FROM story ORDER BY step;

\echo 'What came out, beside what the ladder promises:'
SELECT e.record, e.last_source AS expected_source, c.last_source, e.resolution AS expected_resolution,
       a.answer->>'resolution' AS resolution,
       CASE WHEN c.last_source = e.last_source AND a.answer->>'resolution' = e.resolution THEN 'as expected' ELSE 'DIFFERS' END AS verdict
FROM (VALUES ('CUST-001', 'CRM', 'PRIORITY_WIN'), ('CUST-002', 'CRM', 'STALE_SKIP'), ('CUST-003', 'ERP', 'FIELD_MERGE'),
             ('CUST-004', 'CRM', 'MANUAL'), ('CUST-005', 'CRM', 'NEW_RECORD')) e (record, last_source, resolution)
JOIN syncext.canonical c ON c.external_id = e.record
JOIN LATERAL (SELECT answer FROM story s WHERE s.change->>'externalId' = e.record ORDER BY step DESC LIMIT 1) a ON true
ORDER BY 1;
SELECT 1 / count(*) AS "every verdict is as expected, or this divides by zero" FROM (
	SELECT 1 WHERE NOT EXISTS (SELECT FROM (VALUES ('CUST-001', 'CRM', 'PRIORITY_WIN'), ('CUST-002', 'CRM', 'STALE_SKIP'),
		('CUST-003', 'ERP', 'FIELD_MERGE'), ('CUST-004', 'CRM', 'MANUAL'), ('CUST-005', 'CRM', 'NEW_RECORD')) e (record, last_source, resolution)
		JOIN syncext.canonical c ON c.external_id = e.record
		WHERE c.last_source <> e.last_source OR e.resolution <>
			(SELECT answer->>'resolution' FROM story s WHERE s.change->>'externalId' = e.record ORDER BY step DESC LIMIT 1))) ok \g /dev/null

\echo 'Why CUST-001 is as it is, field by field, and in the hub''s own words:'
SELECT field, stamp->>'source' AS source, stamp->>'version' AS version, stamp->>'rowVersion' AS "since row version",
       record->'fields'->>field AS value
FROM sync_record('record', 'CUST-001') record, jsonb_each(record->'stamps') s (field, stamp) ORDER BY field;
SELECT answer->>'reason' AS reason, answer->>'lost' AS lost, answer->>'told' AS told FROM story WHERE step = 2;

\echo '════ 3. A local table joins in ════'
\echo
\echo 'CREATE TABLE customer …; SELECT sync_attach(…); CALL sync_load(…): the hub''s records come into it.'
CREATE TABLE customer (
	number    text PRIMARY KEY,
	full_name text,
	email     text CONSTRAINT no_freemail CHECK (email NOT LIKE '%@freemail.example')
);
SELECT sync_attach('customer', 'LocalDB', columns => '{"fullName": "full_name", "email": "email"}') \g /dev/null
CALL sync_load('customer') \g /dev/null
TABLE customer ORDER BY number;

-- each source takes what is due to it until here
DO $$
DECLARE s text; b bigint;
BEGIN
	FOREACH s IN ARRAY '{CRM,ERP,Portal}'::text[] LOOP
		LOOP
			SELECT max(batch) INTO b FROM sync_pull(s);
			EXIT WHEN b IS NULL;
			PERFORM sync_ack(s, b);
		END LOOP;
	END LOOP;
	WHILE sync_deliver('LocalDB') > 0 LOOP END LOOP;
END $$;

\echo 'UPDATE customer SET email = … : the edit is in the queue of CRM, ERP and Portal when it commits, not in LocalDB''s own.'
UPDATE customer SET email = 'carol.reyes@home.example' WHERE number = 'CUST-003';
SELECT target, entity, external_id, state FROM syncext.outbound_change ORDER BY target;
SELECT 'CRM' AS pulled_by, batch, external_id, version, row_version, fields, last_source FROM sync_pull('CRM');
SELECT sync_ack('CRM', (SELECT max(batch) FROM sync_pull('CRM'))) \g /dev/null
SELECT sync_ack('ERP', (SELECT max(batch) FROM sync_pull('ERP'))) \g /dev/null
SELECT sync_ack('Portal', (SELECT max(batch) FROM sync_pull('Portal'))) \g /dev/null

\echo 'The other way: CRM changes a customer, sync_deliver writes the local table, and the write does not come back.'
SELECT sync_apply('{"externalId": "CUST-005", "source": "CRM", "version": 2, "fullName": "Eve Adams-Lee"}') \g /dev/null
SELECT sync_deliver('LocalDB') AS delivered;
SELECT * FROM customer WHERE number = 'CUST-005';
SELECT count(*) FILTER (WHERE source = 'LocalDB') AS "echoes of it in the change log"
FROM sync_history('record', 'CUST-005');

\echo '════ 4. A delivery that fails ════'
\echo
\echo 'ERP sends an address that the local table refuses. It is tried five times, is a dead letter then, and holds nothing up.'
SET syncext.retry_base = '1ms';
SELECT sync_apply('{"externalId": "CUST-002", "source": "ERP", "version": 3, "email": "bob@freemail.example"}') \g /dev/null
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		PERFORM sync_deliver('LocalDB');
		EXIT WHEN EXISTS (SELECT FROM syncext.outbound_change WHERE target = 'LocalDB' AND state = 'dead');
		PERFORM pg_sleep(0.02);
	END LOOP;
END $$;
SELECT target, external_id, state, attempts, error FROM syncext.outbound_change WHERE target = 'LocalDB';
\echo 'The constraint is mended, the letter redriven:'
ALTER TABLE customer DROP CONSTRAINT no_freemail;
SELECT sync_redrive('LocalDB') AS redriven;
SELECT sync_deliver('LocalDB') AS delivered;
SELECT * FROM customer WHERE number = 'CUST-002';
RESET syncext.retry_base;

\echo '════ 5. Priorities are data ════'
\echo
\echo 'The same contest before and after LocalDB is promoted above ERP:'
SELECT sync_apply('{"externalId": "CUST-006", "source": "ERP", "version": 1, "fullName": "Frank Ito"}') \g /dev/null
SELECT answer->>'resolution' AS resolution, answer->>'lost' AS lost, answer->>'reason' AS reason
FROM sync_explain('{"externalId": "CUST-006", "source": "LocalDB", "version": 1, "fullName": "Franklin Ito"}') answer;
UPDATE syncext.source_priority SET priority = 2 WHERE source = 'LocalDB';
UPDATE syncext.source_priority SET priority = 3 WHERE source = 'ERP';
SELECT answer->>'resolution' AS resolution, answer->>'changed' AS changed, answer->>'reason' AS reason
FROM sync_apply('{"externalId": "CUST-006", "source": "LocalDB", "version": 1, "fullName": "Franklin Ito"}') answer;

\echo '════ 6. CUST-004 waits for a person ════'
\echo
SELECT id, external_id, source, version, contested, incoming->>'email' AS incoming, canonical->>'email' AS canonical
FROM syncext.conflict_log WHERE status = 'pending';
\echo 'CRM sends a corrected version 6, and the conflict is overtaken:'
SELECT answer->>'resolution' AS resolution, answer->>'version' AS version, answer->>'told' AS told
FROM sync_apply('{"externalId":"CUST-004","source":"CRM","version":6,"fullName":"David Brown","email":"david.corrected@crm.com"}') answer;
SELECT id, status, decision FROM syncext.conflict_log;
\echo 'Or a reviewer decides it in SQL; the outcome goes to every source, the loser too:'
SELECT (sync_apply('{"externalId":"CUST-004","source":"CRM","version":6,"email":"david@new.example"}')->>'conflictId')::bigint AS conflict \gset
SELECT answer->>'resolution' AS resolution, answer->>'version' AS version, answer->>'told' AS told, answer->>'reason' AS reason
FROM sync_resolve(:conflict, 'incoming', note => 'David called: the new address is right') answer;
SELECT sync_deliver('LocalDB') AS delivered \g /dev/null
SELECT * FROM customer ORDER BY number;
\echo 'The history of CUST-004, from the change log:'
SELECT source, version, row_version, resolution, told, fields FROM sync_history('record', 'CUST-004');

\echo '════ 7. Databases on other servers join in ════'
\echo
\echo 'Two shops, each a database with a table and a link to the hub. (Here all three are in one server; a foreign server may lead anywhere.)'
SELECT sync_add_entity('product'), sync_add_source('East', 10), sync_add_source('West', 11) \g /dev/null
\set hub :DBNAME
CREATE DATABASE shop_east;
CREATE DATABASE shop_west;
\set shop shop_east
\set source East
\ir demo_spoke.sql
\set shop shop_west
\set source West
\ir demo_spoke.sql
\c :hub
\set QUIET on
SET client_min_messages = warning;

\echo 'An edit in the east, without anybody calling anything, and when it was seen where:'
CREATE EXTENSION dblink;
SELECT dblink_connect(name, format('host=%s port=%s dbname=%s', :'HOST', :'PORT', name))
FROM unnest(ARRAY[:'hub', 'shop_east', 'shop_west']) name \g /dev/null
SELECT dblink_exec('shop_east', $$INSERT INTO product VALUES ('P-1', 'Umbrella', 19.9)$$) \g /dev/null
SELECT seen FROM dblink('shop_west', $$SELECT wait_for('P-1', 'Umbrella')$$) s (seen timestamptz) \g /dev/null
CREATE FUNCTION wait_for(wanted text, value text) RETURNS timestamptz LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 30000 LOOP
		IF EXISTS (SELECT FROM syncext.canonical WHERE entity = 'product' AND external_id = wanted AND fields->>'name' = value) THEN
			RETURN clock_timestamp();
		END IF;
		PERFORM pg_sleep(0.001);
	END LOOP;
	RAISE EXCEPTION 'the edit did not arrive';
END $$;
SELECT dblink_send_query(:'hub', $$SELECT wait_for('P-1', 'Large umbrella')$$),
       dblink_send_query('shop_west', $$SELECT wait_for('P-1', 'Large umbrella')$$) \g /dev/null
SELECT committed AS edited FROM dblink('shop_east', $$UPDATE product SET name = 'Large umbrella' WHERE id = 'P-1' RETURNING clock_timestamp()$$)
	e (committed timestamptz) \gset
SELECT 'the hub' AS seen_in, seen, round(1000 * extract(epoch FROM seen - :'edited'))::text || ' ms' AS after
FROM dblink_get_result(:'hub') s (seen timestamptz)
UNION ALL
SELECT 'the west', seen, round(1000 * extract(epoch FROM seen - :'edited'))::text || ' ms'
FROM dblink_get_result('shop_west') s (seen timestamptz);
-- each answer has an end
SELECT FROM dblink_get_result(:'hub') s (seen timestamptz) \g /dev/null
SELECT FROM dblink_get_result('shop_west') s (seen timestamptz) \g /dev/null

\echo 'Edits of one product in both shops at once, of different fields, are merged; this is what both have, and how it came about:'
SELECT dblink_exec('shop_east', $$UPDATE product SET price = 24.9 WHERE id = 'P-1'$$),
       dblink_exec('shop_west', $$UPDATE product SET name = 'Umbrella XL' WHERE id = 'P-1'$$) \g /dev/null
SELECT seen FROM unnest(ARRAY['shop_east', 'shop_west']) shop, dblink(shop, $$SELECT wait_for('P-1', 'Umbrella XL', 24.9)$$) s (seen timestamptz) \g /dev/null
SELECT shop, p.* FROM unnest(ARRAY['shop_east', 'shop_west']) shop, dblink(shop, 'TABLE product') p (id text, name text, price numeric);
SELECT source, row_version, resolution, fields FROM sync_history('product', 'P-1');
SELECT dblink_disconnect(name) FROM unnest(ARRAY[:'hub', 'shop_east', 'shop_west']) name \g /dev/null

\echo '════ 8. Every system keeps its own keys ════'
\echo
\echo 'A CRM with numbers, an ERP with codes, and a branch whose table draws its keys. Each has a customer that the others know nothing of.'
SELECT sync_add_entity('client'), sync_add_entity('purchase'), sync_add_reference('purchase', 'client', 'client'), sync_add_source('Branch', 5) \g /dev/null
SELECT sync_own_keys(source, entity) FROM unnest('{CRM,ERP}'::text[]) source, unnest('{client,purchase}'::text[]) entity \g /dev/null
SELECT sync_add_match('client', 'email', '{email}') \g /dev/null
CREATE TABLE branch_client (id integer GENERATED BY DEFAULT AS IDENTITY (START 17) PRIMARY KEY, name text, email text, phone text, iban text);
CREATE TABLE branch_purchase (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, client integer REFERENCES branch_client, item text);
SELECT sync_attach('branch_client', 'Branch', 'client', own_keys => true), sync_attach('branch_purchase', 'Branch', 'purchase', own_keys => true) \g /dev/null
SELECT a->>'sourceId' AS "CRM's client", a->>'resolution' AS resolution
FROM sync_apply('{"source": "CRM", "entity": "client", "sourceId": "1001", "version": 1, "name": "Ann Lee", "email": "ann@home.example"}') a;
SELECT a->>'sourceId' AS "ERP's client", a->>'resolution' AS resolution
FROM sync_apply('{"source": "ERP", "entity": "client", "sourceId": "K-77", "version": 1, "name": "LEE, ANN", "email": "Ann@home.example", "iban": "DE02"}') a;
INSERT INTO branch_client (name, email, phone) VALUES ('Ann', 'ann@home.example ', '555-17') RETURNING id AS "the branch's row", name, email, phone;

\echo 'A match rule has found that they may be one. A steward says so, and they are:'
SELECT rule, fields->>'name' AS one, keys, other_fields->>'name' AS other, other_keys FROM syncext.candidate ORDER BY candidate;
SELECT sync_match_decide(candidate, 'merge', 'one e-mail address') FROM syncext.candidate ORDER BY candidate LIMIT 1 \g /dev/null
SELECT sync_match_decide(candidate, 'merge', 'one e-mail address') FROM syncext.candidate ORDER BY candidate LIMIT 1 \g /dev/null
SELECT count(*) AS "candidates left" FROM syncext.candidate;
SELECT source, source_id, duplicate FROM syncext.source_key WHERE entity = 'client' ORDER BY source;
SELECT fields AS "the golden record" FROM syncext.canonical WHERE entity = 'client' AND NOT deleted;

\echo 'Each is told of it under its own key: the branch''s row has what the others knew.'
SELECT sync_deliver('Branch') > 0 AS delivered \g /dev/null
TABLE branch_client;

\echo 'An order follows. CRM says that it is of its client 1001; ERP gets it of its K-77, the branch of its 17.'
SELECT a->>'resolution' AS resolution
FROM sync_apply('{"source": "CRM", "entity": "purchase", "sourceId": "A-1", "version": 1, "client": "1001", "item": "Umbrella XL"}') a;
SELECT 'ERP' AS pulled_by, entity, source_id, fields FROM sync_pull('ERP') WHERE entity IN ('client', 'purchase');
SELECT sync_ack('ERP', (SELECT max(batch) FROM sync_pull('ERP')),
	keys => (SELECT jsonb_agg(jsonb_build_object('entity', entity, 'externalId', external_id, 'sourceId', 'P-1')) FROM sync_pull('ERP') WHERE entity = 'purchase')) \g /dev/null
SELECT sync_deliver('Branch') > 0 AS delivered \g /dev/null
SELECT p.id, p.client, c.name, p.item FROM branch_purchase p JOIN branch_client c ON c.id = p.client;
SELECT source, source_id FROM syncext.source_key WHERE entity = 'purchase' ORDER BY source;
DO $$
BEGIN
	ASSERT (SELECT count(*) FROM syncext.canonical WHERE entity = 'client' AND NOT deleted) = 1, 'one customer';
	ASSERT (SELECT array_agg(client) FROM branch_purchase) = '{17}', 'the branch has the order';
	ASSERT (SELECT count(*) FROM syncext.source_key WHERE entity = 'client' AND NOT duplicate) = 3, 'three keys';
END $$;

\echo '════ Try it by hand ════'
\echo
\echo '  make install                                   # into the server that pg_config names; done by make demo'
\echo '  pg_createcluster 15 main --start               # if the machine has no cluster yet; then, as user postgres:'
\echo '  psql -c "CREATE EXTENSION syncext"'
\echo '  psql -c "SELECT sync_add_source(''CRM'', 1), sync_add_source(''ERP'', 2)"'
\echo '  psql -c "SELECT sync_apply(''{\\"externalId\\": \\"CUST-001\\", \\"source\\": \\"CRM\\", \\"version\\": 1, \\"fullName\\": \\"Alice\\"}'')"'
\echo '  psql -c "SELECT jsonb_pretty(sync_record(''record'', ''CUST-001''))"'
\echo '  psql -c "SELECT * FROM sync_pull(''ERP'')"'
\echo
\echo 'README.md has a five-minute tour.'
