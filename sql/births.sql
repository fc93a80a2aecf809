-- Births and revivals: what comes with a record that was just made, and what
-- comes back with one that was deleted.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_source('Portal', 3);
SELECT sync_add_entity('latest', '{version,latest,merge,priority,manual}');

CREATE FUNCTION refused(change jsonb) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RETURN sync_apply(change);
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ' ' || SQLERRM;
END $$;
CREATE VIEW record AS
	SELECT c.entity, c.external_id AS id, c.version AS v, c.row_version AS rv, c.deleted, c.fields,
	       (SELECT string_agg(format('%s: %s %s %s %s%s', key, value->>'version', value->>'source', value->>'rowVersion',
	                                 value->>'setBy', ' ' || (value->>'updatedAt')), ', ' ORDER BY key COLLATE "C")
	        FROM jsonb_each(sync_record(c.entity, c.external_id)->'stamps')) AS stamps
	FROM syncext.canonical c;

--
-- The nulls of a birth say nothing
--
-- The worse ranked ERP knows what CRM has just left empty: it stays known.
SELECT * FROM send(
	'{"externalId":"1","source":"ERP","base":0,"fields":{"name":"Ann","email":"a@erp","phone":null}}',
	'{"externalId":"1","source":"CRM","base":0,"fields":{"name":"Anna","email":null,"phone":null}}');
SELECT * FROM record WHERE id = '1';
-- Whichever comes first, and with a version too.
SELECT * FROM send(
	'{"externalId":"2","source":"CRM","version":1,"created":true,"fields":{"name":"Anna","email":null}}',
	'{"externalId":"2","source":"ERP","version":1,"created":true,"fields":{"name":"Ann","email":"a@erp"}}');
SELECT * FROM record WHERE id = '2';
-- An edit's nulls are values.
SELECT * FROM send('{"externalId":"2","source":"CRM","base":2,"fields":{"email":null}}',
	'{"externalId":"2","source":"CRM","version":9,"created":false,"fields":{"name":null}}');
SELECT * FROM record WHERE id = '2';
-- The log and the detail say what counted.
SELECT source, resolution, fields, detail FROM sync_history('record', '2');
-- A birth that says nothing at all is no news.
SELECT * FROM send('{"externalId":"2","source":"ERP","base":0,"fields":{"email":null,"name":null}}');

--
-- A birth may have no fields: a table that is nothing but its key
--
SELECT * FROM send(
	'{"externalId":"u1/r1","source":"CRM","base":0,"fields":{}}',
	'{"externalId":"u1/r1","source":"ERP","base":0}',
	'{"externalId":"u1/r2","source":"ERP","version":4,"created":true}',
	'{"externalId":"u1/r2","source":"ERP","version":5,"created":true,"fields":{"x":null}}',
	'{"externalId":"u1/r2","source":"ERP","base":2,"deleted":true}',
	'{"externalId":"u1/r2","source":"ERP","base":0,"fields":{}}');
SELECT * FROM record WHERE id LIKE 'u1%' ORDER BY id;
SELECT external_id, deleted, fields FROM sync_pull('Portal') WHERE external_id LIKE 'u1%';
-- Anything else without fields is an error.
SELECT refused('{"externalId":"u1/r1","source":"CRM","version":1,"fields":{}}');
SELECT refused('{"externalId":"u1/r1","source":"CRM","base":1,"fields":{}}');
SELECT refused('{"externalId":"u1/r1","source":"CRM","version":1,"created":false}');
SELECT refused('{"externalId":"u1/r1","source":"CRM","version":1,"created":true,"deleted":true}');
SELECT refused('{"externalId":"u1/r1","source":"CRM","base":1,"created":true,"a":1}');
SELECT refused('{"externalId":"u1/r1","source":"CRM","version":1,"created":"yes","a":1}');
SELECT refused('{"externalId":"u1/r1","source":"CRM","created":true,"a":1}');
SELECT refused('{"externalId":"u1/r1","source":"CRM","version":1,"known":{"version":1},"a":1}');
-- a delete with base 0 is none
SELECT * FROM send('{"externalId":"u1/r1","source":"CRM","base":0,"deleted":true}');

--
-- Whole revival: an edit that beats a delete doesn't cost the fields that it didn't set
--
SELECT * FROM send(
	'{"externalId":"3","source":"ERP","version":1,"updatedAt":"2026-01-01T00:00:00Z","fields":{"name":"n","note":"keep","n":7}}',
	'{"externalId":"3","source":"Portal","version":1,"deleted":true}',
	'{"externalId":"3","source":"Portal","version":2,"deleted":true}',
	'{"externalId":"3","source":"CRM","base":1,"updatedAt":"2026-01-02T00:00:00Z","fields":{"name":"edited","n":7}}');
SELECT * FROM record WHERE id = '3';
-- It is told to the others though it changes no value.
SELECT * FROM send(
	'{"externalId":"3","source":"CRM","base":3,"deleted":true}',
	'{"externalId":"3","source":"CRM","base":4,"fields":{"name":"edited"}}');
SELECT * FROM record WHERE id = '3';
-- A birth starts from no fields: nothing of the earlier life comes back.
SELECT * FROM send(
	'{"externalId":"3","source":"CRM","base":5,"deleted":true}',
	'{"externalId":"3","source":"ERP","base":0,"fields":{"name":"edited","note":null}}');
SELECT * FROM record WHERE id = '3';
-- A birth at the tombstone's version is a contest of the record: rank decides.
SELECT * FROM send(
	'{"externalId":"4","source":"ERP","version":1,"fields":{"a":1,"b":1}}',
	'{"externalId":"4","source":"ERP","version":2,"deleted":true}',
	'{"externalId":"4","source":"Portal","version":2,"created":true,"fields":{"a":2}}',
	'{"externalId":"4","source":"CRM","version":2,"created":true,"fields":{"a":1,"c":null}}');
SELECT * FROM record WHERE id = '4';
-- A reviewer who lets a birth in lets nothing of the earlier life in with it.
SELECT * FROM send(
	'{"externalId":"5","source":"ERP","version":1,"fields":{"a":1,"b":1}}',
	'{"externalId":"5","source":"ERP","version":2,"deleted":true}',
	'{"externalId":"5","source":"ERP","version":2,"created":true,"fields":{"a":2,"b":null}}',
	-- the nulls of a birth don't make it another one
	'{"externalId":"5","source":"ERP","version":2,"created":true,"fields":{"a":2}}',
	'{"externalId":"6","source":"ERP","version":1,"fields":{"a":1,"b":1}}',
	'{"externalId":"6","source":"ERP","version":2,"deleted":true}',
	'{"externalId":"6","source":"ERP","version":2,"fields":{"a":2}}');
SELECT id, external_id, incoming, incoming_detail FROM syncext.conflict_log WHERE status = 'pending';
SELECT count(sync_resolve(id, 'incoming')) AS resolved FROM syncext.conflict_log WHERE status = 'pending';
SELECT * FROM record WHERE id IN ('5', '6') ORDER BY id;

-- What is let in keeps the time at which its source set it.
SELECT * FROM send(
	'{"externalId":"7","source":"ERP","version":1,"updatedAt":"2026-01-01T00:00:00Z","fields":{"a":1,"b":1}}',
	'{"externalId":"7","source":"ERP","version":1,"updatedAt":"2026-01-05T00:00:00Z","fields":{"a":2,"b":1}}',
	'{"externalId":"8","source":"ERP","version":1,"updatedAt":"2026-01-01T00:00:00Z","fields":{"a":1,"b":1}}',
	'{"externalId":"8","source":"ERP","version":1,"updatedAt":"2026-01-05T00:00:00Z","fields":{"a":2,"b":2}}');
SELECT sync_resolve(id, 'incoming')->>'resolution' AS incoming FROM syncext.conflict_log WHERE status = 'pending' AND external_id = '7';
SELECT sync_resolve(id, 'merge', '{"b":3}')->>'resolution' AS merge FROM syncext.conflict_log WHERE status = 'pending' AND external_id = '8';
SELECT *, (SELECT updated_at AT TIME ZONE 'UTC' FROM syncext.canonical WHERE external_id = record.id) AS updated_at FROM record WHERE id IN ('7', '8') ORDER BY id;

--
-- The time of an edit of another field decides nothing
--
-- The record is of March, as CRM edited b then.  Portal's edit of a, in February, is
-- later than ERP's of a, in January.
SELECT * FROM send(
	'{"entity":"latest","externalId":"t","source":"ERP","version":1,"updatedAt":"2026-01-01T00:00:00Z","fields":{"a":1,"b":1}}',
	'{"entity":"latest","externalId":"t","source":"ERP","base":1,"updatedAt":"2026-01-20T00:00:00Z","fields":{"a":2}}',
	'{"entity":"latest","externalId":"t","source":"CRM","base":1,"updatedAt":"2026-03-01T00:00:00Z","fields":{"b":2}}',
	'{"entity":"latest","externalId":"t","source":"Portal","base":1,"updatedAt":"2026-02-01T00:00:00Z","fields":{"a":3}}',
	'{"entity":"latest","externalId":"t","source":"ERP","base":1,"updatedAt":"2026-02-10T00:00:00Z","fields":{"a":4,"b":4}}',
	-- a delete looks at all of them
	'{"entity":"latest","externalId":"t","source":"ERP","base":1,"updatedAt":"2026-02-10T00:00:00Z","deleted":true}');
SELECT * FROM record WHERE id = 't';
-- A field keeps the time of its own change, be it earlier than the record's, and
-- none where that came without one.
SELECT * FROM send(
	'{"externalId":"t2","source":"ERP","version":1,"updatedAt":"2026-03-01T00:00:00Z","fields":{"a":1,"b":1}}',
	'{"externalId":"t2","source":"CRM","version":1,"updatedAt":"2026-01-01T00:00:00Z","fields":{"a":2,"b":1,"c":2}}',
	'{"externalId":"t2","source":"CRM","base":2,"fields":{"b":3}}');
SELECT * FROM record WHERE id = 't2';
SELECT stamps FROM syncext.canonical WHERE external_id = 't2';
-- Where nothing but the time differs from what the record implies, the time is all that is stored.
SELECT * FROM send('{"externalId":"t2","source":"CRM","base":3,"updatedAt":"2026-02-01T00:00:00Z","fields":{"a":4,"b":4,"c":4}}');
SELECT * FROM record WHERE id = 't2';
SELECT stamps FROM syncext.canonical WHERE external_id = 't2';
SELECT * FROM send('{"externalId":"t2","source":"CRM","base":4,"fields":{"a":5,"b":5,"c":5}}');
SELECT * FROM record WHERE id = 't2';
SELECT stamps FROM syncext.canonical WHERE external_id = 't2';

--
-- Parked births stay births
--
SELECT sync_add_entity('parent');
SELECT sync_add_entity('child');
SELECT sync_add_reference('child', 'parent', 'parent');
SELECT * FROM send(
	'{"entity":"child","externalId":"c","source":"CRM","version":1,"fields":{"a":1,"b":1}}',
	'{"entity":"child","externalId":"c","source":"CRM","version":2,"deleted":true}',
	'{"entity":"child","externalId":"c","source":"CRM","version":3,"created":true,"fields":{"parent":"p","a":2,"b":null}}');
SELECT external_id, change FROM syncext.waiting;
SELECT * FROM send('{"entity":"parent","externalId":"p","source":"CRM","version":1,"created":true}');
SELECT * FROM record WHERE entity = 'child';

DROP VIEW record;
DROP FUNCTION refused;
DROP EXTENSION syncext;
