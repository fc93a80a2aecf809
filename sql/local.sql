-- Attached tables: sync_attach and what it refuses, capture by trigger,
-- delivery without echo, rights, sync_detach.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('LocalDB', 4);
SELECT sync_add_entity('order'), sync_add_entity('part');

-- The log without what changes from run to run.
CREATE VIEW log AS
	SELECT row_number() OVER (ORDER BY seq) AS n, entity, external_id, source, version AS v, row_version AS rv, resolution, told, fields,
	       detail->'base' AS base, (detail->'deleted')::bool AS deleted
	FROM syncext.change_log ORDER BY seq;

--
-- What can be attached
--
CREATE TABLE customer (
	id text PRIMARY KEY, full_name text, email text, phone text,
	search text GENERATED ALWAYS AS (lower(full_name)) STORED, nr int GENERATED ALWAYS AS IDENTITY);
SELECT sync_attach('customer', 'LocalDB', columns => '{"fullName": "full_name", "email": "email", "phone": "phone"}');
\d customer
SELECT relation, source, entity, key, columns, capture, direction, version_column, updated_column FROM syncext.binding;
SELECT name, single_writer FROM syncext.source ORDER BY 1;

CREATE TABLE keyless (a int, b int);
CREATE TABLE wide (
	a int NOT NULL, b int NOT NULL, c int, d int GENERATED ALWAYS AS (a + 1) STORED, e int GENERATED ALWAYS AS IDENTITY,
	n numeric, at date, UNIQUE (a), UNIQUE (c), UNIQUE (b) DEFERRABLE);
CREATE UNIQUE INDEX ON wide ((a + 1), b);
CREATE UNIQUE INDEX ON wide (a, b) WHERE c > 0;
CREATE VIEW customer_view AS SELECT id, full_name FROM customer;
CREATE MATERIALIZED VIEW customer_matview AS SELECT id FROM customer;
CREATE TEMP TABLE passing (id int PRIMARY KEY);
CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (10);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;
CREATE FOREIGN TABLE far (id int NOT NULL) SERVER nowhere;

-- relations
SELECT sync_attach('keyless', 'LocalDB', 'order');
SELECT sync_attach('customer_view', 'LocalDB', 'order', '{id}');
SELECT sync_attach('far', 'LocalDB', 'order', '{id}');
SELECT sync_attach('customer_matview', 'LocalDB', 'order', '{id}', capture => 'none');
SELECT sync_attach('passing', 'LocalDB', 'order');
SELECT sync_attach('parted_1', 'LocalDB', 'order');
SELECT sync_attach('pg_class', 'LocalDB', 'order');
SELECT sync_attach('syncext.canonical', 'LocalDB', 'order');
SELECT sync_attach('customer_pkey', 'LocalDB', 'order');
SELECT sync_attach(4711, 'LocalDB', 'order');
-- names and words
SELECT sync_attach('wide', 'Nobody');
SELECT sync_attach('wide', 'LocalDB', 'nothing');
SELECT sync_attach('wide', 'LocalDB', 'order', capture => 'magic');
SELECT sync_attach('wide', 'LocalDB', 'order', capture => 'poll');
SELECT sync_attach('wide', 'LocalDB', 'order', direction => 'up');
SELECT sync_attach(NULL, 'LocalDB');
SELECT sync_attach('wide', NULL);
SELECT sync_attach('wide', 'LocalDB', NULL);
-- keys
SELECT sync_attach('wide', 'LocalDB', 'order', '{}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a,NULL}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a,a}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{x}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{ctid}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{c}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{d}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{b}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a,b}');
-- columns
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '["b"]');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"b": 1}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"": "b"}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"f": "x"}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"f": "xmin"}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"f": "b", "g": "b"}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"f": "a"}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"f": "d"}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', '{"f": "e"}');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', version_column => 'n');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', version_column => 'a');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', version_column => 'x');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', updated_column => 'at');
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}', updated_column => 'd');
-- one binding a relation, and one a source and entity
SELECT sync_attach('customer', 'CRM');
SELECT sync_attach('wide', 'LocalDB', 'record', '{a}');
-- a dropped relation makes room
CREATE TABLE short_lived (id int PRIMARY KEY, v int);
SELECT sync_attach('short_lived', 'LocalDB', 'order');
INSERT INTO short_lived VALUES (1, 1);
DROP TABLE short_lived;
SELECT sync_attach('wide', 'LocalDB', 'order', '{a}');
-- it has no rows of the dropped one's any more; the hub's records stay
SELECT count(*) FROM syncext.replica;
SELECT relation, entity, columns FROM syncext.binding ORDER BY entity;
-- a default map is every plain column
INSERT INTO wide (a, b, n) VALUES (1, 2, 3.50);
SELECT fields('order', '1');
-- and follows the table
ALTER TABLE wide ADD COLUMN later text DEFAULT 'was there';
UPDATE wide SET n = 4;
SELECT fields('order', '1');
ALTER TABLE wide DROP COLUMN at;
ALTER TABLE wide RENAME COLUMN later TO soon;
UPDATE wide SET soon = 'now';
SELECT fields('order', '1');
-- a key that is gone is an error with a way out
ALTER TABLE wide RENAME COLUMN a TO z;
UPDATE wide SET n = 5;
SELECT sync_detach('wide');
UPDATE wide SET n = 5;
SELECT sync_detach('wide');
SELECT sync_detach(4711);

--
-- Capture
--
TRUNCATE syncext.change_log_0;
INSERT INTO customer (id, full_name, email) VALUES ('C1', 'Ann', 'ann@x'), ('C2', 'Bob', NULL);
UPDATE customer SET phone = '1', email = email;
UPDATE customer SET full_name = full_name;
UPDATE customer SET id = 'C3' WHERE id = 'C2';
DELETE FROM customer WHERE id = 'C3';
COPY customer (id, full_name) FROM stdin;
C4	Dora
C5	Emil
\.
SELECT * FROM log;
SELECT sync_record('record', 'C1') - 'updatedAt';
TRUNCATE customer;
-- nobody else's trigger
CREATE TABLE stray (id int PRIMARY KEY);
CREATE TRIGGER stray AFTER INSERT ON stray FOR EACH ROW EXECUTE FUNCTION syncext.capture('LocalDB', 'record');
INSERT INTO stray VALUES (1);
CREATE TRIGGER wrong BEFORE INSERT ON customer FOR EACH ROW EXECUTE FUNCTION syncext.capture();
INSERT INTO customer (id) VALUES ('C9');
DROP TRIGGER wrong ON customer;
SELECT syncext.capture();

--
-- Delivery
--
TRUNCATE syncext.change_log_0;
SELECT sync_apply('{"externalId": "C1", "source": "CRM", "version": 3, "fullName": "Anna", "notHere": 1}')->>'resolution';
SELECT sync_apply('{"externalId": "C6", "source": "CRM", "version": 1, "fullName": "Fred"}')->>'resolution';
SELECT sync_apply('{"externalId": "C5", "source": "CRM", "version": 2, "deleted": true}')->>'resolution';
SELECT sync_deliver('LocalDB');
SELECT id, full_name, email, phone, search FROM customer ORDER BY 1;
SELECT * FROM syncext.replica ORDER BY external_id;
SELECT sync_deliver('LocalDB');
-- no echo
SELECT source, external_id, resolution FROM log;
-- an edit is judged by what was delivered to its row: nothing came since
UPDATE customer SET full_name = 'Annie' WHERE id = 'C1';
-- made before another's was delivered: per field
SELECT sync_apply('{"externalId": "C1", "source": "CRM", "version": 9, "fullName": "Anne", "email": "anne@x"}')->>'resolution';
UPDATE customer SET full_name = 'Änne', phone = '22' WHERE id = 'C1';
UPDATE customer SET phone = '33' WHERE id = 'C1';
SELECT external_id, source, rv, resolution, told, fields, base FROM log WHERE n > 3;
SELECT sync_deliver('LocalDB');
SELECT id, full_name, email, phone FROM customer WHERE id = 'C1';
SELECT fields('record', 'C1');

--
-- Rights
--
CREATE ROLE regress_local_owner;
CREATE ROLE regress_local_source;
CREATE ROLE regress_local_both IN ROLE regress_local_owner, regress_local_source;
CREATE SCHEMA owned AUTHORIZATION regress_local_owner;
SELECT sync_add_source('Branch', 5, 'regress_local_source');
SET ROLE regress_local_owner;
CREATE TABLE owned.item (id int PRIMARY KEY, name text);
SELECT sync_attach('owned.item', 'Branch', 'part');
RESET ROLE;
GRANT USAGE ON SCHEMA owned TO regress_local_source;
SET ROLE regress_local_source;
SELECT sync_attach('owned.item', 'Branch', 'part');
SET ROLE regress_local_both;
SELECT sync_attach('owned.item', 'Branch', 'part');
INSERT INTO owned.item VALUES (1, 'one');
SELECT sync_deliver('CRM');
SELECT sync_detach('customer');
RESET ROLE;
SELECT sync_apply('{"entity": "part", "externalId": "1", "source": "CRM", "version": 2, "name": "uno"}')->>'status';
SELECT sync_apply('{"entity": "part", "externalId": "2", "source": "CRM", "version": 1, "name": "due"}')->>'status';
-- who may deliver needs no right on the table
SET ROLE regress_local_source;
SELECT sync_deliver('Branch');
SELECT * FROM owned.item;
-- whoever writes, it is the binding's source; nobody needs a right on the hub
RESET ROLE;
CREATE ROLE regress_local_clerk;
GRANT USAGE ON SCHEMA owned TO regress_local_clerk;
GRANT SELECT, UPDATE ON owned.item TO regress_local_clerk;
SET ROLE regress_local_clerk;
UPDATE owned.item SET name = name || '!';
SET syncext.inbound = 'on';
TABLE syncext.binding;
-- everybody may make such triggers, which capture nothing: see hostile_trigger
CREATE TEMP TABLE mine (id int PRIMARY KEY);
CREATE TRIGGER mine AFTER INSERT ON mine FOR EACH ROW EXECUTE FUNCTION syncext.capture();
DROP TABLE mine;
RESET ROLE;
SELECT source, external_id, resolution, fields FROM log WHERE entity = 'part';
-- what isn't there to deliver to
SELECT sync_deliver('CRM');
SELECT sync_deliver('Nobody');
SELECT sync_deliver(NULL);

--
-- Without capture
--
GRANT SET ON PARAMETER syncext.inbound TO regress_local_clerk;
SET ROLE regress_local_clerk;
SET syncext.inbound = 'on';
UPDATE owned.item SET name = 'quiet';
SET syncext.inbound = 'yes';
SET syncext.inbound = '1234';
RESET syncext.inbound;
RESET ROLE;
SELECT set_config('syncext.inbound', 'owned.item'::regclass::oid || ':1', false) ~ '^\d+:1$' AS one_row;
UPDATE owned.item SET name = 'row ' || id;
RESET syncext.inbound;
SELECT fields('part', '1'), fields('part', '2');

--
-- Detach
--
SELECT sync_detach('owned.item'), sync_detach('customer');
SELECT sync_detach('customer');
\d customer
SELECT count(*) FROM syncext.replica;
SELECT name, single_writer FROM syncext.source ORDER BY 1;
UPDATE owned.item SET name = 'free';
TRUNCATE owned.item;
-- sources that are not attached any more can be dropped
SELECT sync_attach('customer', 'LocalDB');
SELECT sync_drop_source('LocalDB');
SELECT sync_detach('customer'), sync_drop_source('LocalDB');

DROP EXTENSION syncext CASCADE;
DROP OWNED BY regress_local_clerk, regress_local_both, regress_local_source, regress_local_owner;
DROP ROLE regress_local_clerk, regress_local_both, regress_local_source, regress_local_owner;
DROP FOREIGN DATA WRAPPER nowhere CASCADE;
DROP VIEW customer_view;
DROP MATERIALIZED VIEW customer_matview;
DROP TABLE customer, keyless, wide, parted, stray, passing;
