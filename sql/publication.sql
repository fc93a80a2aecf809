-- A publication for all tables takes in the hub's own: what the hub deletes and
-- updates in them must not be refused for want of a replica identity.
SET client_min_messages = error;	-- wal_level may be too low for the publication to be of use
CREATE EXTENSION syncext;
CREATE PUBLICATION everything FOR ALL TABLES;
RESET client_min_messages;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Desk', 3);
SET syncext.retention = 0;

-- every table, those of later versions too
SELECT c.relname FROM pg_class c
WHERE c.relnamespace = 'syncext'::regnamespace AND c.relkind = 'r' AND c.relpersistence = 'p'
  AND CASE c.relreplident
      WHEN 'd' THEN NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisprimary AND i.indimmediate)
      ELSE c.relreplident = 'n' END
ORDER BY 1;

CREATE TABLE customers (id text PRIMARY KEY, name text);
SELECT sync_attach('customers', 'Desk');
INSERT INTO customers VALUES ('C1', 'Ann'), ('C2', 'Bob');
SELECT a->>'resolution' AS resolution FROM jsonb_array_elements(sync_apply('[
	{"source": "CRM", "externalId": "C1", "version": 2, "fields": {"name": "Anna"}},
	{"source": "ERP", "externalId": "C1", "version": 2, "fields": {"name": "Annie"}},
	{"source": "CRM", "externalId": "C2", "version": 2, "deleted": true}]')) a;
SELECT sync_deliver('Desk');
SELECT * FROM customers;
CALL sync_maintain();
SELECT sync_forget('record', 'C1') ->> 'changeLog' AS erased;

-- a restore
SELECT external_id FROM sync_pull('ERP');
INSERT INTO syncext.feed_origin (system_identifier) VALUES (1);
SELECT external_id, correction FROM sync_pull('ERP');
CALL sync_maintain();
SELECT count(*) FROM syncext.feed_origin;

SELECT sync_detach('customers');

-- where another hub's come in their place
SET client_min_messages = error;
BEGIN;
CREATE SUBSCRIPTION regress_everything CONNECTION 'dbname=nowhere' PUBLICATION everything WITH (connect = false);
INSERT INTO pg_subscription_rel (srsubid, srrelid, srsubstate)
SELECT s.oid, r, 'i' FROM pg_subscription s, unnest('{customers,syncext.source,syncext.canonical}'::regclass[]) r WHERE s.subname = 'regress_everything';
SELECT severity, problem, hint FROM sync_check() WHERE object = 'subscription regress_everything';
ROLLBACK;
RESET client_min_messages;

DROP TABLE customers;
DROP PUBLICATION everything;
DROP EXTENSION syncext;
