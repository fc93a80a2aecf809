-- Counters in attached tables: what an edit added is added to the record.
CREATE EXTENSION syncext;
\ir test/helpers.sql
\set SHOW_CONTEXT never
SET synchronous_commit = off;
SELECT sync_add_source('North', 1), sync_add_source('South', 2), sync_add_source('Till', 3), sync_add_source('Hub', 0);
SELECT sync_rule('record', 'stock', 'sum');
CREATE TABLE north (sku text PRIMARY KEY, name text, stock int);
CREATE TABLE south (sku text PRIMARY KEY, name text, stock numeric) PARTITION BY HASH (sku);
CREATE TABLE south_0 PARTITION OF south FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE south_1 PARTITION OF south FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE till (sku text PRIMARY KEY, name text, stock bigint);
SELECT sync_attach('north', 'North'), sync_attach('south', 'South'), sync_attach('till', 'Till', capture => 'poll');
CREATE PROCEDURE deliver_all() LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. 3 LOOP
		PERFORM sync_deliver('North'), sync_deliver('South'), sync_deliver('Till');
	END LOOP;
END $$;
CREATE VIEW standing AS
	SELECT external_id AS sku, c.deleted, c.fields->'stock' AS hub, n.stock AS north, s.stock AS south, t.stock AS till
	FROM syncext.canonical c LEFT JOIN north n ON n.sku = external_id LEFT JOIN south s ON s.sku = external_id LEFT JOIN till t ON t.sku = external_id;
CREATE VIEW logged AS
	SELECT external_id AS sku, source, resolution, fields, detail - 'base' - 'updatedAt' AS detail FROM syncext.change_log ORDER BY seq;

-- Two branches that each sell 3 of 10 before they hear of one another end at 4.
INSERT INTO north VALUES ('pen', 'pen', 10);
CALL deliver_all();
UPDATE north SET stock = stock - 3;
UPDATE south SET stock = stock - 3;
SELECT * FROM standing;
CALL deliver_all();
SELECT * FROM standing;
SELECT source, resolution, fields, detail FROM logged;
-- and so does one that is polled, whose edit is seen when something is delivered
UPDATE till SET stock = stock - 1;
UPDATE north SET stock = stock + 5, name = 'Pen';
CALL deliver_all();
SELECT * FROM standing;
UPDATE till SET stock = stock - 1;
CALL sync_poll('till') \gset
SELECT counts(:'result');
CALL deliver_all();
SELECT * FROM standing;

-- Beside what another source's field contests; what is delivered meanwhile is no increment.
UPDATE north SET name = 'biro', stock = stock + 1;
UPDATE south SET name = 'Biro', stock = stock - 1;
CALL deliver_all();
SELECT * FROM standing;
SELECT sku, name FROM north UNION ALL SELECT sku, name FROM south;

-- From and to null it is set.  A key that changes makes another record, of what the row has.
UPDATE north SET stock = NULL;
CALL deliver_all();
UPDATE south SET stock = 3;
CALL deliver_all();
SELECT * FROM standing;
UPDATE south SET stock = 2;
CALL deliver_all();
UPDATE south SET stock = stock + 1, sku = 'ink';
CALL deliver_all();
SELECT * FROM standing ORDER BY sku;

-- What the hub lacks it gets as the row holds it.
SELECT a->>'resolution' AS resolution FROM sync_apply('{"externalId": "cap", "source": "Hub", "version": 1, "fields": {"name": "cap"}}') a;
CALL deliver_all();
UPDATE north SET stock = 8 WHERE sku = 'cap';
SELECT * FROM standing WHERE sku = 'cap';
-- A row that a trigger edits again adds both.
CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE south SET stock = stock - 1 WHERE sku = NEW.sku;
	RETURN NULL;
END $$;
CALL deliver_all();
CREATE TRIGGER a_again AFTER UPDATE ON south FOR EACH ROW WHEN (OLD.stock - NEW.stock = 10) EXECUTE FUNCTION again();
UPDATE north SET stock = stock - 5 WHERE sku = 'ink';
UPDATE south SET stock = stock - 10 WHERE sku = 'ink';
CALL deliver_all();
SELECT * FROM standing WHERE sku = 'ink';
DROP TRIGGER a_again ON south;

-- Nothing is added to what is deleted, and the editor learns it.
DELETE FROM north WHERE sku = 'ink';
UPDATE south SET stock = stock - 1 WHERE sku = 'ink';
SELECT source, resolution, fields, detail FROM logged WHERE sku = 'ink';
CALL deliver_all();
SELECT * FROM standing WHERE sku = 'ink';

-- A sum that a column can't hold is a delivery that fails.
SELECT a->>'resolution' AS resolution FROM sync_apply('{"externalId": "cap", "source": "Hub", "changeId": "1", "increments": {"stock": 3000000000}}') a;
SELECT sync_deliver('South'), sync_deliver('Till'), sync_deliver('North');
SELECT target, external_id, state, error FROM syncext.outbound_change WHERE error IS NOT NULL;
SELECT * FROM standing WHERE sku = 'cap';

SELECT a->>'resolution' AS resolution FROM sync_apply('{"externalId": "lid", "source": "Hub", "version": 1, "fields": {"name": "lid"}}') a;
-- of a row that was there before the table was attached, all of it
SELECT sync_detach('north');
INSERT INTO north VALUES ('old', 'old', 20), ('lid', 'lid', 30);
SELECT sync_attach('north', 'North');
UPDATE north SET stock = stock - 1 WHERE sku IN ('old', 'lid');
SELECT * FROM standing WHERE sku IN ('old', 'lid') ORDER BY sku;

-- A column with a scale sets what one of whole numbers takes.
SELECT sync_add_source('Scale', 1);
CREATE TABLE scale (sku text PRIMARY KEY, name text, stock numeric(10,2));
SELECT sync_attach('scale', 'Scale');
INSERT INTO scale VALUES ('tin', 'tin', 4);
SELECT sync_deliver('North') > 0 AS delivered;
UPDATE scale SET stock = stock - 0.5 WHERE sku = 'tin';
UPDATE scale SET stock = stock - 1.5 WHERE sku = 'tin';
SELECT sync_deliver('North') > 0 AS delivered;
SELECT c.fields, n.stock AS north, s.stock AS scale FROM syncext.canonical c JOIN north n ON n.sku = external_id JOIN scale s ON s.sku = external_id WHERE external_id = 'tin';
SELECT sync_detach('scale');
DROP TABLE scale;

-- Beside fields that a reviewer has to decide they add, and so they do where a poll finds both.
SELECT sync_rule('record', 'name', 'manual');
INSERT INTO north VALUES ('nib', 'nib', 10);
CALL deliver_all();
UPDATE south SET name = 'Nib' WHERE sku = 'nib';
UPDATE north SET name = 'NIB', stock = stock - 1 WHERE sku = 'nib';
UPDATE till SET name = 'nIb', stock = stock - 2 WHERE sku = 'nib';
CALL sync_poll('till') \gset
SELECT counts(:'result');
SELECT source, resolution, fields, detail->'increments' AS increments FROM logged WHERE sku = 'nib';
SELECT source, status, contested, incoming FROM syncext.conflict_log WHERE external_id = 'nib' ORDER BY id;
CALL deliver_all();
SELECT * FROM standing WHERE sku = 'nib';
-- the poll's increments are not for a tombstone either
DELETE FROM north WHERE sku = 'nib';
UPDATE till SET stock = stock - 2 WHERE sku = 'nib';
CALL sync_poll('till') \gset
SELECT counts(:'result');
SELECT source, resolution, detail->'increments' AS increments FROM logged WHERE sku = 'nib' ORDER BY 1, 2;
CALL deliver_all();
SELECT * FROM standing WHERE sku = 'nib';
SELECT sync_rule('record', 'name', NULL);

-- Foreign tables and views are polled or delivered to, but not both.
SET client_min_messages = warning;
CREATE EXTENSION postgres_fdw;
RESET client_min_messages;
CREATE SERVER nowhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'nowhere');
CREATE FOREIGN TABLE far (sku text, name text, stock int) SERVER nowhere;
SELECT sync_add_source('Far', 4);
SELECT sync_attach('far', 'Far', key => '{sku}', capture => 'poll');
DROP EXTENSION postgres_fdw CASCADE;
CREATE VIEW stand AS SELECT * FROM till;
SELECT sync_add_source('Stand', 4);
SELECT sync_attach('stand', 'Stand', key => '{sku}', capture => 'poll');
SELECT sync_attach('stand', 'Stand', key => '{sku}', columns => '{"label": "name"}', capture => 'poll');
SELECT sync_rule('record', 'label', 'sum');
SELECT sync_rule('record', 'name', 'sum'), sync_rule('record', 'name', NULL);
SELECT sync_detach('stand');
SELECT sync_attach('stand', 'Stand', key => '{sku}', capture => 'poll', direction => 'in');
SELECT sync_rule('*', 'stock', 'sum');

-- A rule that comes or goes counts from the next edit on.
SELECT sync_rule('record', 'stock', NULL), sync_rule('*', 'stock', NULL);
UPDATE north SET stock = 50 WHERE sku = 'old';
SELECT resolution, fields, detail FROM logged WHERE source = 'North' AND sku = 'old';

SELECT sync_detach(relation) FROM syncext.binding ORDER BY relation::text;
DROP VIEW stand, standing, logged;
DROP TABLE north, south, till;
DROP PROCEDURE deliver_all();
DROP FUNCTION again();
DROP EXTENSION syncext;
