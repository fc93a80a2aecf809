-- Erasing a record everywhere the hub keeps it.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Desk', 3);
SELECT sync_add_entity('customer', '{version,merge,manual}'), sync_add_entity('order'), sync_add_entity('note');
SELECT sync_add_reference('order', 'clientId', 'customer', 'restrict');
SELECT sync_add_reference('note', 'clientId', 'customer', 'cascade');
SELECT sync_add_reference('customer', 'referrer', 'customer');
CREATE TABLE customers (id text PRIMARY KEY, name text, phone text, referrer text);
SELECT sync_attach('customers', 'Desk', 'customer', capture => 'none');
SET syncext.retention = 0;

-- a person who has left something in every table, log tables too
SELECT a->>'resolution' AS resolution FROM jsonb_array_elements(sync_apply('[
	{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 1, "fields": {"name": "Secret Person", "phone": "1"}},
	{"source": "CRM", "entity": "customer", "externalId": "C2", "version": 1, "fields": {"name": "Bob", "phone": "2"}},
	{"source": "CRM", "entity": "note", "externalId": "N1", "version": 1, "fields": {"clientId": "C1"}}]')) a;
CALL sync_maintain();
SELECT a->>'resolution' AS resolution FROM jsonb_array_elements(sync_apply('[
	{"source": "ERP", "entity": "customer", "externalId": "C1", "version": 1, "fields": {"name": "Secret Other"}},
	{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 3, "fields": {"name": "Secret", "referrer": "nobody yet"}},
	{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 2, "fields": {"phone": "3"}}]')) a;
SELECT sync_deliver('Desk');
SELECT sync_ack('CRM', batch, '[{"entity": "customer", "externalId": "C1", "error": "Secret Person is locked"}]')
FROM (SELECT max(batch) AS batch FROM sync_pull('CRM')) b WHERE batch IS NOT NULL;
SELECT sync_ack('ERP', batch, '[{"entity": "customer", "externalId": "C1", "error": "Secret Person is locked"}]')
FROM (SELECT max(batch) AS batch FROM sync_pull('ERP')) b WHERE batch IS NOT NULL;
SELECT count(*) AS pending FROM syncext.pending WHERE external_id = 'C1';

-- all tables of the hub, as text
CREATE FUNCTION traces(what text) RETURNS TABLE (place text, n bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR place IN SELECT relname FROM pg_class WHERE relnamespace = 'syncext'::regnamespace AND relkind = 'r' ORDER BY 1 LOOP
		EXECUTE format('SELECT count(*) FROM syncext.%I t WHERE t::text ~ $1', place) INTO n USING what;
		IF n > 0 THEN RETURN NEXT; END IF;
	END LOOP;
END $$;
SELECT * FROM traces('Secret|C1');

-- ERP has a batch out that it is in
SELECT sync_apply('{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 2, "fields": {"phone": "4"}}')->>'resolution';
SELECT sync_apply('{"source": "CRM", "entity": "customer", "externalId": "C2", "version": 2, "fields": {"phone": "5"}}')->>'resolution';
SELECT sync_redrive('ERP');
SELECT external_id FROM sync_pull('ERP');
-- what refers to the person and mustn't be without keeps it
SELECT sync_apply('{"source": "CRM", "entity": "order", "externalId": "O1", "version": 1, "clientId": "C1"}')->>'resolution';
SELECT sync_forget('customer', 'C1');
SELECT sync_forget('order', 'O1');
SELECT sync_forget('customer', 'C1');
-- nothing is left but what others say of it
SELECT * FROM traces('Secret|C1');
SELECT sync_record('customer', 'C1');
SELECT * FROM sync_history('customer', 'C1');
-- the batch comes again without it, and is acknowledged
SELECT external_id FROM sync_pull('ERP');
SELECT sync_ack('ERP', (SELECT max(batch) FROM sync_pull('ERP')), '[{"entity": "customer", "externalId": "C1", "error": "?"}]');
SELECT sync_ack('ERP', (SELECT max(batch) FROM sync_pull('ERP')));
SELECT external_id FROM sync_pull('ERP');
-- nobody is told, and the tables attached keep theirs
SELECT sync_deliver('Desk');
SELECT id, name FROM customers ORDER BY 1;
-- a batch that had nothing else is gone
SELECT sync_apply('{"source": "ERP", "entity": "customer", "externalId": "C3", "version": 1, "fields": {"name": "Short Stay"}}')->>'resolution';
SELECT external_id FROM sync_pull('CRM') WHERE external_id = 'C3';
SELECT sync_forget('customer', 'C3');
SELECT external_id FROM sync_pull('CRM') WHERE external_id = 'C3';
-- it may come back as a new one
SELECT sync_apply('{"source": "CRM", "entity": "customer", "externalId": "C1", "version": 1, "fields": {"name": "New"}}')->>'resolution';

-- an edit of a row that is still there makes all of it, also one that waits for its parent, or came after its first word was erased as it waited
CREATE TABLE orders (id text PRIMARY KEY, what text, state text, "clientId" text);
SELECT sync_attach('orders', 'Desk', 'order');
INSERT INTO orders VALUES ('O2', 'pen', 'open', NULL), ('O3', 'ink', 'open', 'C4');
SELECT sync_forget('order', 'O2')->'canonical' AS erased, sync_forget('order', 'O3')->'waiting' AS erased_waiting;
UPDATE orders SET "clientId" = 'C5';
UPDATE orders SET state = 'sent';
INSERT INTO orders VALUES ('O4', 'nib', 'open', 'C5');
UPDATE orders SET state = 'sent' WHERE id = 'O4';
SELECT external_id, count(*) AS changes FROM syncext.waiting GROUP BY 1 ORDER BY 1;
SELECT sync_apply('{"source": "CRM", "entity": "customer", "externalId": "C5", "version": 1, "fields": {"name": "Late"}}')->>'resolution';
SELECT external_id, fields FROM syncext.canonical WHERE external_id ~ 'O[234]' ORDER BY 1;

-- what isn't there, and bad input
SELECT sync_forget('customer', 'nobody');
SELECT sync_forget('nothing', 'nobody');
SELECT sync_forget('customer', NULL);
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT sync_forget('customer', 'C2');
ROLLBACK;
CREATE ROLE regress_forgetter;
SET ROLE regress_forgetter;
SELECT sync_forget('customer', 'C2');
RESET ROLE;
DROP ROLE regress_forgetter;

RESET syncext.retention;
DROP TABLE customers, orders;
DROP EXTENSION syncext;
DROP FUNCTION traces;
