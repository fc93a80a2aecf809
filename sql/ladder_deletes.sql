-- The conflict ladder where a delete is on either side.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_source('Portal', 3);
SELECT sync_add_source('LocalDB', 4);

--
-- Deletes and tombstones
--
-- a delete keeps the last fields
SELECT * FROM send(
	'{"externalId":"d","source":"ERP","version":1,"a":1,"b":1}',
	'{"externalId":"d","source":"ERP","version":2,"deleted":true}');
SELECT * FROM record_of('d');
SELECT * FROM fields_of('d');
-- again, and later again
SELECT * FROM send(
	'{"externalId":"d","source":"Portal","version":2,"deleted":true}',
	'{"externalId":"d","source":"Portal","version":3,"deleted":true}');
SELECT * FROM record_of('d');
-- late news
SELECT * FROM send('{"externalId":"d","source":"CRM","version":2,"a":2}');
-- an edit at the tombstone's version is up to rank: who deleted it was Portal
SELECT * FROM send('{"externalId":"d","source":"LocalDB","version":3,"a":2}');
-- a birth comes with what is sent alone: all of it is new
SELECT * FROM send('{"externalId":"d","source":"CRM","version":3,"created":true,"a":1}');
SELECT * FROM fields_of('d');
-- a delete at the record's version contests the whole record
SELECT * FROM send(
	'{"externalId":"d","source":"ERP","version":3,"deleted":true}',
	'{"externalId":"d","source":"CRM","version":4,"a":1}',
	'{"externalId":"d","source":"ERP","version":4,"b":1}',
	'{"externalId":"d","source":"ERP","version":4,"deleted":true}');
-- the best of those who vouch for a field at the record's version decides, not
-- the last source
SELECT * FROM record_of('d');
SELECT * FROM fields_of('d');
-- With base: a delete looks at every field.
SELECT * FROM send(
	'{"externalId":"db","source":"CRM","version":1,"a":1,"b":1}',
	'{"externalId":"db","source":"Portal","version":2,"b":2}',
	'{"externalId":"db","source":"LocalDB","base":1,"deleted":true}',
	'{"externalId":"db","source":"ERP","base":1,"deleted":true}');
SELECT * FROM record_of('db');
-- It contests with who vouches for those that were set since, not with who set
-- them, and not with who stands for the others.
SELECT * FROM send(
	'{"externalId":"dv","source":"LocalDB","version":1,"a":1}',
	'{"externalId":"dv","source":"CRM","version":1,"a":1}',
	'{"externalId":"dv","source":"Portal","base":0,"deleted":true}',
	'{"externalId":"do","source":"CRM","version":1,"a":1,"b":1}',
	'{"externalId":"do","source":"LocalDB","version":2,"b":2}',
	'{"externalId":"do","source":"CRM","version":2,"a":1}',
	'{"externalId":"do","source":"ERP","base":1,"deleted":true}');
SELECT * FROM fields_of('dv');
-- made on the row version before the tombstone: a contest with who deleted it;
-- on the tombstone itself, or by a source that never saw the record: none
SELECT * FROM send(
	'{"externalId":"db","source":"Portal","base":2,"a":3}',
	'{"externalId":"db","source":"Portal","base":3,"a":3}',
	'{"externalId":"db","source":"Portal","base":4,"deleted":true}',
	'{"externalId":"db","source":"Portal","base":0,"deleted":true}',
	'{"externalId":"db","source":"LocalDB","base":0,"c":1}');
SELECT * FROM fields_of('db');
-- a single writer's own delete is not foreign to it
SELECT * FROM send(
	'{"externalId":"own","source":"Portal","base":0,"a":1}',
	'{"externalId":"own","source":"Portal","base":1,"deleted":true}',
	'{"externalId":"own","source":"Portal","base":1,"a":2}');
UPDATE syncext.source SET single_writer = true WHERE name = 'Portal';
SELECT * FROM send('{"externalId":"own","source":"Portal","base":1,"a":2}');
UPDATE syncext.source SET single_writer = false WHERE name = 'Portal';

DROP EXTENSION syncext;
