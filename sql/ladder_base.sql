-- Edits that say on which row version they were made: base and ifMatch.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_source('Portal', 3);
SELECT sync_add_source('LocalDB', 4);

--
-- ifMatch comes before everything, and before a new record too
--
SELECT * FROM send(
	'{"externalId":"match","source":"CRM","version":1,"ifMatch":1,"a":1}',
	'{"externalId":"match","source":"CRM","version":1,"ifMatch":0,"a":1}',
	'{"externalId":"match","source":"CRM","version":2,"ifMatch":0,"a":2}',
	'{"externalId":"match","source":"CRM","version":2,"ifMatch":1,"a":2}',
	'{"externalId":"match","source":"CRM","version":1,"ifMatch":1,"a":2}',
	'{"externalId":"match","source":"CRM","version":2,"ifMatch":1,"a":2}',
	'{"externalId":"match","source":"CRM","version":3,"ifMatch":2,"deleted":true}');
-- a tombstone is a record
SELECT * FROM send(
	'{"externalId":"match","source":"CRM","version":4,"ifMatch":0,"a":4}',
	'{"externalId":"match","source":"CRM","version":4,"ifMatch":3,"a":4}');
SELECT resolution FROM sync_history('record', 'match');

--
-- base: on which row version the edit was made
--
SELECT * FROM send(
	'{"externalId":"b","source":"CRM","version":5,"a":1,"b":1}',
	'{"externalId":"b","source":"ERP","version":7,"b":2}');
-- made on row version 1, of a field that nobody has set since: it is clean, and
-- the record counts on
SELECT * FROM send('{"externalId":"b","source":"LocalDB","base":1,"a":2}');
-- what is stored already is no news, whatever it was made on
SELECT * FROM send('{"externalId":"b","source":"LocalDB","base":0,"a":2,"b":2}');
-- a field that the record hasn't got is nobody's
SELECT * FROM send('{"externalId":"b","source":"LocalDB","base":0,"c":1}');
-- ERP has set b since: the fields contest, rank decides
SELECT * FROM send(
	'{"externalId":"b","source":"LocalDB","base":1,"b":3,"d":1}',
	'{"externalId":"b","source":"CRM","base":1,"b":4,"d":2}');
SELECT * FROM record_of('b');
SELECT * FROM fields_of('b');
-- a base from the future is no base of a contest
SELECT * FROM send('{"externalId":"b","source":"LocalDB","base":99,"b":5}');
-- a base needs no version, and the version it makes is the record's + 1
SELECT * FROM record_of('b');
-- Who sets a field twice from one base contests with itself, unless its edits
-- are known to come in order.
SELECT * FROM send(
	'{"externalId":"twice","source":"ERP","base":0,"a":1}',
	'{"externalId":"twice","source":"ERP","base":0,"a":2}');
UPDATE syncext.source SET single_writer = true WHERE name = 'ERP';
SELECT * FROM send('{"externalId":"twice","source":"ERP","base":0,"a":2}');
-- A single writer may overtake what it set itself, not what others did.
SELECT * FROM send(
	'{"externalId":"twice","source":"CRM","base":2,"a":3}',
	'{"externalId":"twice","source":"ERP","base":2,"a":4}',
	'{"externalId":"twice","source":"ERP","base":3,"a":5}');
-- vouching for a value is not setting it
SELECT * FROM send(
	'{"externalId":"vouched","source":"ERP","version":1,"a":1}',
	'{"externalId":"vouched","source":"CRM","version":1,"a":1}');
SELECT * FROM fields_of('vouched');
SELECT * FROM send('{"externalId":"vouched","source":"ERP","base":0,"a":2}');
-- but the source that vouches for it is who a contest is with
SELECT * FROM send(
	'{"externalId":"vouched","source":"Portal","version":3,"a":3}',
	'{"externalId":"vouched","source":"CRM","version":3,"a":3}',
	'{"externalId":"vouched","source":"ERP","base":2,"a":4}');
UPDATE syncext.source SET single_writer = false WHERE name = 'ERP';

DROP EXTENSION syncext;
