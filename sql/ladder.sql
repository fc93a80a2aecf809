-- The conflict ladder: what becomes of a change, rung by rung.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_source('Portal', 3);
SELECT sync_add_source('LocalDB', 4);

--
-- The five scenarios of a customer master
--
-- the same version, the same fields: the better ranked source wins
SELECT * FROM send(
	'{"externalId":"CUST-001","source":"ERP","version":3,"fullName":"Alice M. Smith","email":"alice@erp.com"}',
	'{"externalId":"CUST-001","source":"CRM","version":3,"fullName":"Alice Smith","email":"alice@crm.com"}');
-- an older version comes late
SELECT * FROM send(
	'{"externalId":"CUST-002","source":"CRM","version":2,"fullName":"Bob Jones","email":"bob@crm.com"}',
	'{"externalId":"CUST-002","source":"Portal","version":1,"fullName":"Bobby","email":"bob@portal.com"}');
-- the same version, different fields
SELECT * FROM send(
	'{"externalId":"CUST-003","source":"CRM","version":1,"fullName":"Carol White"}',
	'{"externalId":"CUST-003","source":"ERP","version":1,"email":"carol@erp.com"}');
-- the same version, the same field, the same rank, another value
SELECT * FROM send(
	'{"externalId":"CUST-004","source":"CRM","version":5,"fullName":"David Brown","email":"david@crm.com"}',
	'{"externalId":"CUST-004","source":"CRM","version":5,"fullName":"David Brown","email":"d.brown@crm.com"}');
-- nothing there yet
SELECT * FROM send(
	'{"externalId":"CUST-005","source":"CRM","version":1,"fullName":"Eve Black","email":"eve@crm.com"}');

SELECT c.external_id, c.last_source,
       (SELECT h.resolution FROM sync_history('record', c.external_id) h ORDER BY h.seq DESC LIMIT 1) AS resolution,
       c.fields
FROM syncext.canonical c ORDER BY 1;
SELECT external_id, source, status, contested, incoming FROM syncext.conflict_log;

-- The CRM's user corrected CUST-004 and replays it with a version above both.
SELECT * FROM send('{"externalId":"CUST-004","source":"CRM","version":6,"fullName":"David Brown","email":"david.corrected@crm.com"}');
SELECT external_id, source, status, decision FROM syncext.conflict_log;

-- LocalDB above ERP: in force from the next statement.
SELECT * FROM send(
	'{"externalId":"CUST-006","source":"ERP","version":1,"fullName":"Frank"}',
	'{"externalId":"CUST-006","source":"LocalDB","version":1,"fullName":"Franky"}');
UPDATE syncext.source_priority SET priority = 2 WHERE source = 'LocalDB';
UPDATE syncext.source_priority SET priority = 3 WHERE source = 'ERP';
SELECT * FROM send('{"externalId":"CUST-006","source":"LocalDB","version":1,"fullName":"Franky"}');
UPDATE syncext.source_priority SET priority = 4 WHERE source = 'LocalDB';
UPDATE syncext.source_priority SET priority = 2 WHERE source = 'ERP';

--
-- No record
--
SELECT * FROM send(
	'{"externalId":"new-version","source":"CRM","version":7,"a":1}',
	'{"externalId":"new-zero","source":"CRM","version":0,"a":1}',
	'{"externalId":"new-base","source":"CRM","base":7,"a":1}',
	'{"externalId":"new-deleted","source":"CRM","version":7,"deleted":true}',
	'{"externalId":"new-times","source":"CRM","version":1,"updatedAt":"2026-01-31T12:00:00+01:00","a":1}');
SELECT * FROM record_of('new-deleted');
SELECT * FROM record_of('new-times');
SELECT * FROM fields_of('new-base');
SELECT sync_record('record', 'never-heard-of') IS NULL AS none;

--
-- version
--
-- A whole write: every field sent is stamped, equal ones too, but since when it
-- has its value, and from whom, stays.
SELECT * FROM send(
	'{"externalId":"v","source":"CRM","version":2,"a":1,"b":1,"c":1}',
	'{"externalId":"v","source":"LocalDB","version":3,"a":1,"b":2}');
SELECT * FROM fields_of('v');
-- lower: set aside, however it is ranked, and its sender is told
SELECT * FROM send('{"externalId":"v","source":"CRM","version":2,"c":9,"d":9}');
-- a new version of the same values counts, but is no news to anybody
SELECT * FROM send('{"externalId":"v","source":"ERP","version":5,"a":1,"b":2,"c":1}');
SELECT * FROM record_of('v');
SELECT * FROM fields_of('v');

--
-- latest
--
SELECT sync_add_entity('latest', '{latest,keep}');
SELECT * FROM send(
	'{"entity":"latest","externalId":"l","source":"LocalDB","updatedAt":"2026-03-01T12:00:00Z","a":1}',
	'{"entity":"latest","externalId":"l","source":"LocalDB","updatedAt":"2026-03-01T12:00:00.000001Z","a":2}',
	'{"entity":"latest","externalId":"l","source":"CRM","updatedAt":"2026-03-01T12:00:00Z","a":3}',
	-- equal in another zone
	'{"entity":"latest","externalId":"l","source":"CRM","updatedAt":"2026-03-01T13:00:00.000001+01:00","a":3}',
	'{"entity":"latest","externalId":"l","source":"CRM","updatedAt":"2026-03-01T13:00:00.000001+01:00","a":2}',
	-- a base that is clean comes before the time
	'{"entity":"latest","externalId":"l","source":"ERP","base":2,"updatedAt":"1999-01-01T00:00:00Z","a":4}',
	-- what came after the base was set in that same 1999, whatever the record's time
	'{"entity":"latest","externalId":"l","source":"ERP","base":2,"updatedAt":"1999-01-01T00:00:00Z","deleted":true}');
-- of two times the later one stays
SELECT * FROM record_of('l', 'latest');
-- a record that has no time is older than any
UPDATE syncext.entity SET ladder = '{version,keep}' WHERE name = 'latest';
SELECT * FROM send('{"entity":"latest","externalId":"timeless","source":"CRM","version":1,"a":1}');
UPDATE syncext.entity SET ladder = '{version,latest,keep}' WHERE name = 'latest';
SELECT * FROM send(
	'{"entity":"latest","externalId":"timeless","source":"ERP","version":1,"updatedAt":"0001-01-01T00:00:00Z","a":2}',
	-- the version comes first
	'{"entity":"latest","externalId":"timeless","source":"ERP","version":0,"updatedAt":"2026-01-01T00:00:00Z","a":3}',
	'{"entity":"latest","externalId":"timeless","source":"ERP","version":2,"updatedAt":"0000-01-01T00:00:00Z","a":3}');
-- and an older version's time doesn't outlive it
SELECT * FROM record_of('timeless', 'latest');

--
-- Nothing new
--
-- values are compared as JSON: 1.0 is 1, the order of keys doesn't matter
SELECT * FROM send(
	'{"externalId":"n","source":"Portal","version":1,"i":1,"n":null,"t":true,"s":"1","o":{"a":[1,2],"b":null},"e":""}',
	'{"externalId":"n","source":"Portal","version":1,"i":1.0,"o":{"b":null,"a":[1.00,2]}}',
	'{"externalId":"n","source":"Portal","version":1,"i":1,"n":null,"t":true,"s":"1","o":{"a":[1,2],"b":null},"e":""}');
-- each of these differs from what stands
SELECT c AS change, e->>'resolution' AS resolution, e->'changed' AS changed
FROM (VALUES ('{"i":"1"}'::jsonb), ('{"i":true}'), ('{"n":""}'), ('{"n":false}'), ('{"t":1}'), ('{"t":"true"}'), ('{"s":1}'),
             ('{"o":{"a":[2,1],"b":null}}'), ('{"o":{"a":[1,2]}}'), ('{"o":{}}'), ('{"e":null}'), ('{"E":""}'), ('{"missing":null}')) v (c),
     sync_explain(jsonb_build_object('externalId', 'n', 'source', 'CRM', 'version', 1, 'fields', c)) e;
-- a whole write stores what was sent all the same
SELECT * FROM send('{"externalId":"n","source":"Portal","version":2,"i":1.00}');
SELECT fields->'i' AS i FROM syncext.canonical WHERE external_id = 'n';
-- JSON null is a value: it can be set, vouched for and contested
SELECT * FROM send(
	'{"externalId":"null","source":"ERP","version":1,"a":null}',
	'{"externalId":"null","source":"Portal","version":1,"a":1}',
	'{"externalId":"null","source":"CRM","version":1,"a":null}',
	'{"externalId":"null","source":"ERP","version":2,"a":null}');
SELECT * FROM fields_of('null');

--
-- merge
--
-- what the record has not got at its version is free
SELECT * FROM send(
	'{"externalId":"m","source":"CRM","version":1,"old":1,"kept":1}',
	'{"externalId":"m","source":"CRM","version":2,"kept":2}',
	'{"externalId":"m","source":"LocalDB","version":2,"updatedAt":"2026-01-01T00:00:00Z","old":2,"new":2}');
SELECT * FROM record_of('m');
SELECT * FROM fields_of('m');
-- by now all three are contested
SELECT * FROM send('{"externalId":"m","source":"ERP","version":2,"old":3,"kept":3,"new":3}');
SELECT * FROM record_of('m');

--
-- Vouching: who sends a value that stands
--
SELECT * FROM send(
	'{"externalId":"w","source":"CRM","version":1,"a":1,"b":1,"c":1}',
	'{"externalId":"w","source":"Portal","version":2,"b":2}',
	-- worse ranked: for a only, which was last vouched for at an older version
	'{"externalId":"w","source":"LocalDB","version":2,"a":1,"b":2}');
SELECT * FROM fields_of('w');
-- better ranked, along with a merge
SELECT * FROM send('{"externalId":"w","source":"ERP","version":2,"a":1,"b":2,"d":1}');
SELECT * FROM fields_of('w');
SELECT * FROM record_of('w');
-- so a worse ranked source can't take them any more
SELECT * FROM send('{"externalId":"w","source":"Portal","version":2,"a":9,"b":9,"c":1}');
SELECT * FROM fields_of('w');
-- a base vouches for nothing
SELECT * FROM send('{"externalId":"w","source":"CRM","base":9,"a":1,"b":2}');
SELECT * FROM fields_of('w');

-- nor does anything in a ladder without merge
SELECT sync_add_entity('unmerged', '{version,priority,manual}');
SELECT * FROM send(
	'{"entity":"unmerged","externalId":"w","source":"ERP","version":1,"a":1}',
	'{"entity":"unmerged","externalId":"w","source":"CRM","version":1,"a":1}');
SELECT * FROM fields_of('w', 'unmerged');

--
-- priority
--
-- field by field: some won, some lost, and what nobody contests is merged
SELECT * FROM send(
	'{"externalId":"p","source":"ERP","version":1,"a":1,"b":1}',
	'{"externalId":"p","source":"CRM","version":1,"b":2}',
	'{"externalId":"p","source":"ERP","version":1,"a":3,"b":3,"c":3}');
-- ERP ties with itself over a: nothing was written, not even c
SELECT * FROM fields_of('p');
INSERT INTO syncext.source_priority (source, entity, field, priority) VALUES ('Portal', '*', 'a', 1);
SELECT * FROM send('{"externalId":"p","source":"Portal","version":1,"a":4,"b":4,"c":4}');
SELECT * FROM fields_of('p');
SELECT * FROM record_of('p');
-- all lost, and no value changed: only the loser is told
SELECT * FROM send('{"externalId":"p","source":"LocalDB","version":1,"a":5,"c":4}');
-- nothing lost, everything won
SELECT * FROM send('{"externalId":"p","source":"CRM","version":1,"b":2,"c":6}');
-- The most specific rank counts: (source, entity, field), (source, *, field),
-- (source, entity, *), (source, *, *).
SELECT sync_add_entity('ranked');
SELECT sync_add_source('Any', 5);
SELECT sync_add_source('Entity', 9);
SELECT sync_add_source('Field', 9);
SELECT sync_add_source('Both', 9);
INSERT INTO syncext.source_priority VALUES
	('Entity', 'ranked', '*', 4), ('Entity', 'record', '*', 10),
	('Field', '*', 'f', 3), ('Field', 'ranked', '*', 8), ('Field', '*', 'g', 9),
	('Both', 'ranked', 'f', 2), ('Both', '*', 'f', 8), ('Both', 'ranked', '*', 8);
SELECT * FROM send(
	'{"entity":"ranked","externalId":"r","source":"Any","version":1,"f":1,"g":1}',
	'{"entity":"ranked","externalId":"r","source":"Entity","version":1,"f":2,"g":2}',
	'{"entity":"ranked","externalId":"r","source":"Field","version":1,"f":3,"g":3}',
	'{"entity":"ranked","externalId":"r","source":"Both","version":1,"f":4,"g":4}',
	-- and the same for another entity
	'{"externalId":"r","source":"Any","version":1,"f":1,"g":1}',
	'{"externalId":"r","source":"Entity","version":1,"f":2,"g":2}',
	'{"externalId":"r","source":"Field","version":1,"f":3,"g":3}',
	'{"externalId":"r","source":"Both","version":1,"f":4,"g":4}');
-- For a whole record ranks of fields don't count.
SELECT * FROM send(
	'{"entity":"ranked","externalId":"whole","source":"Field","version":1,"f":1}',
	'{"entity":"ranked","externalId":"whole","source":"Any","version":1,"deleted":true}',
	'{"entity":"ranked","externalId":"whole","source":"Both","version":1,"f":2}',
	'{"entity":"ranked","externalId":"whole","source":"Entity","version":1,"f":3}');
-- A source without a rank is below all others, two of them tie; a rank may be
-- any integer.
SELECT sync_add_source('Nobody');
SELECT sync_add_source('No one');
SELECT sync_add_source('Last', 2147483647);
SELECT sync_add_source('First', -2147483648);
SELECT * FROM send(
	'{"externalId":"unranked","source":"Nobody","version":1,"a":1}',
	'{"externalId":"unranked","source":"No one","version":1,"a":2}',
	'{"externalId":"unranked","source":"Last","version":1,"a":3}',
	'{"externalId":"unranked","source":"Nobody","version":1,"a":4}',
	'{"externalId":"unranked","source":"First","version":1,"a":5}',
	'{"externalId":"unranked","source":"CRM","version":1,"a":6}');

--
-- What the ladder ends with
--
SELECT sync_add_entity('keep', '{version,merge,priority,keep}');
SELECT sync_add_entity('overwrite', '{version,merge,priority,overwrite}');
SELECT * FROM send(
	'{"externalId":"end","source":"CRM","version":1,"a":1}',
	'{"externalId":"end","source":"CRM","version":1,"a":2,"b":2}',
	'{"entity":"keep","externalId":"end","source":"CRM","version":1,"a":1}',
	'{"entity":"keep","externalId":"end","source":"CRM","version":1,"a":2,"b":2}',
	'{"entity":"overwrite","externalId":"end","source":"CRM","version":1,"a":1}',
	'{"entity":"overwrite","externalId":"end","source":"CRM","version":1,"a":2,"b":2}');
SELECT c.entity, c.fields FROM syncext.canonical c WHERE c.external_id = 'end' ORDER BY 1;
-- A contest that a base lost its way into leaves the version alone, where there
-- are versions.
SELECT sync_add_entity('unversioned', '{priority,overwrite}');
SELECT * FROM send(
	'{"entity":"overwrite","externalId":"stay","source":"CRM","version":4,"a":1}',
	'{"entity":"overwrite","externalId":"stay","source":"CRM","base":0,"a":2}',
	'{"entity":"unversioned","externalId":"count","source":"ERP","version":4,"a":1}',
	'{"entity":"unversioned","externalId":"count","source":"ERP","a":2}',
	'{"entity":"unversioned","externalId":"count","source":"ERP","base":0,"a":3}',
	'{"entity":"unversioned","externalId":"count","source":"ERP","base":3,"a":4}',
	'{"entity":"unversioned","externalId":"count","source":"CRM","version":1,"a":5}',
	'{"entity":"unversioned","externalId":"count","source":"LocalDB","a":6}');

--
-- The whole answer, and why, for each rung
--
SELECT jsonb_pretty(sync_apply('{"externalId":"why","source":"ERP","version":2,"a":1}'));
SELECT sync_apply(c)->>'reason' AS reason
FROM (VALUES ('{"externalId":"why","source":"ERP","version":2,"ifMatch":7,"a":1}'::jsonb),
	('{"externalId":"why","source":"ERP","version":1,"a":1}'),
	('{"externalId":"why","source":"ERP","version":3,"a":2}'),
	('{"externalId":"why","source":"ERP","version":3,"a":2}'),
	('{"externalId":"why","source":"ERP","version":3,"b":2}'),
	('{"externalId":"why","source":"CRM","version":3,"a":3}'),
	('{"externalId":"why","source":"Nobody","version":3,"a":3,"b":4}'),
	('{"externalId":"why","source":"Nobody","version":3,"deleted":true}'),
	('{"externalId":"why","source":"CRM","version":3,"a":5}'),
	('{"externalId":"why","source":"CRM","base":0,"c":5}'),
	('{"externalId":"why","source":"CRM","version":4,"deleted":true}'),
	('{"entity":"keep","externalId":"end","source":"CRM","version":1,"a":3}'),
	('{"entity":"overwrite","externalId":"end","source":"CRM","version":1,"a":3}'),
	('{"entity":"latest","externalId":"timeless","source":"ERP","version":2,"updatedAt":"2026-01-01T00:00:00Z","a":5}'),
	('{"entity":"latest","externalId":"timeless","source":"ERP","version":2,"updatedAt":"2025-01-01T00:00:00Z","a":6}')) v (c);
-- of many fields, a reason names the first
SELECT sync_apply(c)->>'reason' AS reason
FROM (VALUES ('{"externalId":"why many","source":"ERP","version":2,"a":1,"b":1,"c":1,"d":1,"e":1}'::jsonb),
	('{"externalId":"why many","source":"CRM","version":2,"a":2,"c":2}'),
	('{"externalId":"why many","source":"LocalDB","version":2,"a":3,"b":3,"c":3,"d":3,"e":3,"f":3}')) v (c);
-- The log keeps what came in, how it was decided and who was told; not what
-- said nothing new or was refused.
SELECT source, version, row_version, resolution, told, fields, detail FROM sync_history('record', 'why');

DROP EXTENSION syncext;
