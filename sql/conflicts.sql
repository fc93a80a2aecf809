-- Conflicts for manual review: how they arise, what closes them, who is told.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_source('Web', 3);
SELECT sync_add_source('App', 3);

-- Applies changes one after another.  Conflicts are numbered anew from 1 in each
-- section, by restart().
CREATE FUNCTION contest(VARIADIC changes jsonb[])
	RETURNS TABLE (status int, resolution text, row_version bigint, changed jsonb, lost jsonb, told text, conflict bigint)
	LANGUAGE sql AS $$
	SELECT (a->>'status')::int, a->>'resolution', (a->>'rowVersion')::bigint, a->'changed', a->'lost', a->>'told', (a->>'conflictId')::bigint
	FROM unnest(changes) change, answered(change) a
$$;
CREATE FUNCTION resolve(id bigint, decision text, fields jsonb DEFAULT NULL, note text DEFAULT NULL)
	RETURNS TABLE (status int, resolution text, version bigint, row_version bigint, last_source text, changed jsonb, lost jsonb, told text, conflict bigint)
	LANGUAGE sql AS $$
	SELECT (a->>'status')::int, a->>'resolution', (a->>'version')::bigint, (a->>'rowVersion')::bigint, a->>'lastSource',
		a->'changed', a->'lost', a->>'told', (a->>'conflictId')::bigint
	FROM sync_resolve($1, $2, $3, $4) a
$$;
CREATE VIEW conflict AS
	SELECT id, status, source, version AS v, row_version AS rv, contested, decision, decided_at IS NOT NULL AS decided
	FROM syncext.conflict_log ORDER BY id;
-- what was told, to whom, since the last time this was asked
CREATE TABLE seen (seq bigint);
INSERT INTO seen VALUES (0);
CREATE FUNCTION new_log_rows() RETURNS TABLE (source text, resolution text, told text, fields jsonb, detail jsonb)
	LANGUAGE sql BEGIN ATOMIC
	WITH l AS (SELECT l.* FROM syncext.change_log l, seen s WHERE l.seq > s.seq),
	     u AS (UPDATE seen SET seq = m.max FROM (SELECT max(l.seq) FROM l) m WHERE m.max IS NOT NULL)
	SELECT l.source, l.resolution, l.told, l.fields, l.detail FROM l ORDER BY l.seq;
END;
CREATE FUNCTION restart() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	DELETE FROM syncext.conflict_log;
	DELETE FROM syncext.canonical;
	ALTER SEQUENCE syncext.conflict_log_id_seq RESTART;
	PERFORM new_log_rows();
END $$;
CREATE FUNCTION standing(external_id text) RETURNS TABLE (v bigint, rv bigint, last_source text, deleted boolean, fields jsonb, set_by jsonb)
	LANGUAGE sql AS $$
	SELECT (r->>'version')::bigint, (r->>'rowVersion')::bigint, r->>'lastSource', (r->>'deleted')::boolean, r->'fields',
		(SELECT jsonb_object_agg(key, concat_ws(' ', value->>'version', value->>'source', value->>'rowVersion', value->>'setBy')) FROM jsonb_each(r->'stamps'))
	FROM sync_record('record', $1) r
$$;

--
-- A conflict
--
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1,"c":1}',
	'{"externalId":"K","source":"App","version":1,"updatedAt":"2026-01-01T00:00:00Z","b":2,"a":2,"c":1,"d":2}');
-- nothing was written, not even what nobody contests; both sides are kept
SELECT * FROM standing('K');
SELECT id, status, entity, external_id, source, version, row_version, contested, incoming, incoming_deleted, incoming_detail,
       canonical, canonical_deleted, canonical_source, reason, decision, decided_fields, decided_by, decided_at, decided_seq, note
FROM syncext.conflict_log \gx
SELECT * FROM new_log_rows();
-- The same again answers with the same number: other JSON for the same values,
-- other times and the same change with a base are the same.
SELECT * FROM contest(
	'{"externalId":"K","source":"App","version":1,"fields":{"c":1.0,"d":2,"a":2.00,"b":2}}',
	'{"externalId":"K","source":"App","base":0,"a":2,"b":2,"c":1,"d":2}');
SELECT * FROM conflict;
-- what differs in a value, or comes from another source, is another
SELECT sync_add_source('Old App', 3);
SELECT * FROM contest(
	'{"externalId":"K","source":"App","version":1,"b":2,"c":1,"d":3}',
	'{"externalId":"K","source":"Old App","version":1,"b":2,"c":1,"d":3}',
	'{"externalId":"K","source":"Old App","version":1,"b":2}');
-- one's newer word has closed one's own over the fields that it names
SELECT * FROM conflict;
SELECT * FROM new_log_rows();
-- a closed one doesn't count: the same again is a new one
SELECT * FROM contest('{"externalId":"K","source":"App","version":1,"a":2,"b":2,"c":1,"d":2}');
SELECT * FROM conflict;

--
-- What others do closes a conflict
--
-- a whole write that names one of its fields, though with the value that stands
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1}',
	'{"externalId":"K","source":"App","version":1,"a":2}',
	'{"externalId":"K","source":"ERP","version":2,"b":2}');
SELECT * FROM conflict;
SELECT * FROM contest('{"externalId":"K","source":"ERP","version":3,"a":1}');
SELECT * FROM conflict;
-- App would not hear of that otherwise: the write is news to nobody
SELECT * FROM new_log_rows();
-- a merge that changes one of its fields, not one that doesn't
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1}',
	'{"externalId":"K","source":"App","version":1,"a":2,"z":1}',
	'{"externalId":"K","source":"ERP","version":1,"c":1}',
	'{"externalId":"K","source":"CRM","version":1,"b":2}',
	'{"externalId":"K","source":"CRM","version":1,"a":1}');
SELECT * FROM conflict;
SELECT * FROM contest('{"externalId":"K","source":"CRM","version":2,"b":3}', '{"externalId":"K","source":"ERP","version":2,"a":5}');
SELECT * FROM conflict;
SELECT * FROM new_log_rows();
-- an update that is set aside closes none
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":2,"a":1}',
	'{"externalId":"K","source":"App","version":2,"a":2}',
	'{"externalId":"K","source":"CRM","version":1,"a":3}',
	'{"externalId":"K","source":"App","version":1,"a":3}',
	'{"externalId":"K","source":"App","version":2,"ifMatch":9,"a":3}',
	'{"externalId":"K","source":"Old App","version":2,"a":1}');
SELECT * FROM conflict;
-- all of the record's when it is deleted
SELECT sync_add_source('Late', 4);
SELECT * FROM contest(
	'{"externalId":"K","source":"Late","version":2,"b":1}',
	'{"externalId":"K","source":"Old App","version":2,"a":4,"b":1}',
	'{"externalId":"K","source":"CRM","version":3,"deleted":true}');
SELECT * FROM conflict;
-- and when it comes back
SELECT * FROM contest(
	'{"externalId":"K","source":"CRM","version":3,"a":1}',
	'{"externalId":"K","source":"ERP","version":4,"deleted":true}',
	'{"externalId":"K","source":"ERP","version":4,"a":1}',
	'{"externalId":"K","source":"Web","version":5,"b":1}');
SELECT * FROM conflict WHERE id > 2;
SELECT * FROM new_log_rows();
-- of another record, none
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1}',
	'{"externalId":"K","source":"App","version":1,"a":2}',
	'{"externalId":"K2","source":"Web","version":1,"a":1}',
	'{"externalId":"K2","source":"App","version":1,"a":2}',
	'{"externalId":"K2","source":"App","version":2,"a":3}');
SELECT * FROM conflict;

--
-- A source's newer word closes its own
--
-- NO_CHANGE: it has given in
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1,"c":1}',
	'{"externalId":"K","source":"App","version":1,"a":2,"b":2}',
	'{"externalId":"K","source":"Old App","version":1,"a":2}',
	'{"externalId":"K","source":"App","version":1,"c":1}',
	'{"externalId":"K","source":"App","version":1,"a":1}');
SELECT * FROM conflict;
-- App has sent a but not b, so b is still to be told
SELECT * FROM new_log_rows();
-- FIELD_MERGE, and PRIORITY_WIN by field even if it lost
SELECT * FROM contest(
	'{"externalId":"K","source":"CRM","version":2,"z":1}',
	'{"externalId":"K","source":"Old App","version":2,"a":3}',
	'{"externalId":"K","source":"App","version":2,"a":4}',
	'{"externalId":"K","source":"CRM","version":2,"b":9}');
SELECT * FROM conflict;
INSERT INTO syncext.source_priority (source, field, priority) VALUES ('App', 'b', 7);
SELECT * FROM contest('{"externalId":"K","source":"App","version":2,"a":3,"b":4}');
SELECT * FROM conflict;
DELETE FROM syncext.source_priority WHERE field = 'b';
-- a new conflict closes its source's over any field that it names; one over the
-- whole record all of its source's
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1,"c":1}',
	'{"externalId":"K","source":"App","version":1,"a":2}',
	'{"externalId":"K","source":"App","version":1,"b":2}',
	'{"externalId":"K","source":"App","version":1,"b":3,"c":3}',
	'{"externalId":"K","source":"Old App","version":1,"a":2}');
SELECT * FROM conflict;
SELECT * FROM contest('{"externalId":"K","source":"App","version":1,"deleted":true}');
SELECT * FROM conflict;
-- a newer word over any field closes one over the whole record
SELECT * FROM contest('{"externalId":"K","source":"App","version":1,"c":1}');
SELECT * FROM conflict WHERE id = 5;
SELECT * FROM new_log_rows();

--
-- Over the whole record
--
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1}',
	'{"externalId":"K","source":"App","version":1,"deleted":true}',
	'{"externalId":"K","source":"App","version":1,"deleted":true}',
	'{"externalId":"K","source":"Old App","version":1,"deleted":true}',
	'{"externalId":"K","source":"ERP","version":1,"a":1}');
SELECT * FROM conflict;
SELECT id, incoming, incoming_deleted, canonical, canonical_deleted FROM syncext.conflict_log ORDER BY id;
-- any merge that changes a value closes it
SELECT * FROM contest('{"externalId":"K","source":"ERP","version":1,"x":1}');
SELECT * FROM conflict;
-- on a tombstone; any whole write closes it, of a later tombstone too
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":2,"deleted":true}',
	'{"externalId":"K","source":"App","version":2,"a":2}',
	'{"externalId":"K","source":"CRM","version":3,"deleted":true}');
SELECT * FROM conflict;
-- in a ladder without merge there are no others
SELECT sync_add_entity('whole', '{version,priority,manual}');
SELECT * FROM contest(
	'{"entity":"whole","externalId":"K","source":"Web","version":1,"a":1}',
	'{"entity":"whole","externalId":"K","source":"App","version":1,"b":1}');
SELECT contested FROM syncext.conflict_log WHERE entity = 'whole';

--
-- sync_resolve
--
-- incoming: the patch goes in, at the record's version + 1, and all are told
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":4,"a":1,"b":1}',
	'{"externalId":"K","source":"App","version":4,"a":2,"c":2}');
SELECT * FROM resolve(1, 'incoming', note => 'App is right');
SELECT * FROM standing('K');
SELECT id, status, decision, decided_fields, decided_by = current_user AS by_me, decided_at IS NOT NULL AS at, note,
       decided_seq = (SELECT max(seq) FROM syncext.change_log) AS that_row
FROM syncext.conflict_log;
SELECT source, resolution, told, fields, detail - 'decidedBy' AS detail, detail->>'decidedBy' = current_user AS by_me FROM new_log_rows();
-- canonical: the record stands, and the loser is told
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":4,"a":1,"b":1}',
	'{"externalId":"K","source":"App","version":4,"a":2,"c":2}');
SELECT * FROM resolve(1, 'canonical');
SELECT * FROM standing('K');
SELECT * FROM conflict;
SELECT source, resolution, told, fields, detail - 'decidedBy' AS detail FROM new_log_rows();
-- dismiss: nobody decides, and the loser is told
SELECT * FROM contest('{"externalId":"K","source":"App","version":4,"a":2,"c":2}');
SELECT * FROM resolve(2, 'dismiss');
SELECT * FROM standing('K');
SELECT * FROM conflict;
SELECT source, resolution, told, fields, detail - 'decidedBy' AS detail FROM new_log_rows();
-- merge: values of the reviewer's own, and their provenance says so
SELECT * FROM contest('{"externalId":"K","source":"App","version":4,"a":2,"c":2}');
SELECT * FROM resolve(3, 'merge', '{"a":2,"b":7,"n":null}', 'half and half');
SELECT * FROM standing('K');
SELECT id, status, decision, decided_fields, note FROM syncext.conflict_log WHERE id = 3;
SELECT source, resolution, told, fields, detail - 'decidedBy' AS detail FROM new_log_rows();
-- so the source whose conflict it was contests with what the reviewer set, if
-- it hasn't seen it
SELECT * FROM contest('{"externalId":"K","source":"App","base":1,"b":8}');
UPDATE syncext.source SET single_writer = true WHERE name = 'App';
SELECT * FROM contest('{"externalId":"K","source":"App","base":1,"b":9}', '{"externalId":"K","source":"App","base":1,"a":9}');
UPDATE syncext.source SET single_writer = false WHERE name = 'App';
-- incoming, when the record has moved on: what nobody reviewed stays
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1}',
	'{"externalId":"K","source":"App","version":1,"a":2,"b":1,"c":2}',
	'{"externalId":"K","source":"CRM","version":1,"c":3}',
	'{"externalId":"K","source":"CRM","version":5,"d":4}');
SELECT * FROM conflict;
SELECT * FROM resolve(1, 'incoming');
SELECT * FROM standing('K');
-- resolving closes others over the same fields
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1,"b":1}',
	'{"externalId":"K","source":"App","version":1,"a":2}',
	'{"externalId":"K","source":"Old App","version":1,"a":3}',
	'{"externalId":"K","source":"App","version":1,"b":2}');
SELECT * FROM resolve(1, 'incoming');
SELECT * FROM conflict;
SELECT source, resolution, told, fields, detail - 'decidedBy' AS detail FROM new_log_rows();
-- but letting the record stand closes none
SELECT * FROM contest('{"externalId":"K","source":"Old App","version":2,"a":3}');
SELECT * FROM resolve(3, 'canonical');
SELECT * FROM conflict;
-- a delete, and an edit of what is deleted
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1}',
	'{"externalId":"K","source":"App","version":1,"deleted":true}');
SELECT * FROM resolve(1, 'incoming');
SELECT * FROM standing('K');
SELECT * FROM contest('{"externalId":"K","source":"Old App","version":2,"b":1}');
SELECT * FROM resolve(2, 'merge', '{"b":2}');
SELECT * FROM standing('K');
SELECT * FROM conflict;
-- from whom it came needs not be there any more
SELECT restart();
SELECT sync_add_source('Leaver', 3);
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1}',
	'{"externalId":"K","source":"Leaver","version":1,"a":2}');
SELECT sync_drop_source('Leaver');
SELECT * FROM resolve(1, 'incoming');
SELECT * FROM standing('K');

--
-- What can't be resolved
--
SELECT restart();
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1}',
	'{"externalId":"K","source":"App","version":1,"a":2}');
SET syncext.max_fields = 2;
SELECT command, s.* FROM unnest(ARRAY[
	$$SELECT sync_resolve(99, 'incoming')$$,
	$$SELECT sync_resolve(-1, 'incoming')$$,
	$$SELECT sync_resolve(NULL, 'incoming')$$,
	$$SELECT sync_resolve(1, NULL)$$,
	$$SELECT sync_resolve(1, '')$$,
	$$SELECT sync_resolve(1, 'Incoming')$$,
	$$SELECT sync_resolve(1, 'maybe')$$,
	$$SELECT sync_resolve(1, 'incoming', '{"a":3}')$$,
	$$SELECT sync_resolve(1, 'dismiss', '{}')$$,
	$$SELECT sync_resolve(1, 'merge')$$,
	$$SELECT sync_resolve(1, 'merge', '{}')$$,
	$$SELECT sync_resolve(1, 'merge', '[]')$$,
	$$SELECT sync_resolve(1, 'merge', '["a"]')$$,
	$$SELECT sync_resolve(1, 'merge', '1')$$,
	$$SELECT sync_resolve(1, 'merge', 'null')$$,
	$$SELECT sync_resolve(1, 'merge', '{"a":1,"b":1,"c":1}')$$]) command, attempt(command) s;
RESET syncext.max_fields;
-- what can't be a field's name in a document can't be one here
SELECT s.state FROM unnest('{"{\"\":1}","{\"*\":1}","{\"a\":1,\"*\":1}"}'::jsonb[]) f, attempt(format('SELECT sync_resolve(1, ''merge'', %L)', f)) s;
SELECT * FROM conflict;
SELECT * FROM standing('K');
-- twice
SELECT * FROM resolve(1, 'canonical');
SELECT * FROM resolve(1, 'canonical');
SELECT * FROM resolve(1, 'dismiss');
-- overtaken
SELECT * FROM contest('{"externalId":"K","source":"App","version":1,"a":2}', '{"externalId":"K","source":"CRM","version":2,"a":1}');
SELECT * FROM resolve(2, 'incoming');
SELECT * FROM conflict;
-- a resolution that is rolled back is none
SELECT * FROM contest('{"externalId":"K","source":"CRM","version":2,"a":2}');
BEGIN;
SELECT * FROM resolve(3, 'incoming');
ROLLBACK;
SELECT * FROM conflict WHERE id = 3;
BEGIN READ ONLY;
SELECT sync_resolve(3, 'incoming');
ROLLBACK;
-- a conflict whose record was taken away with SQL
DELETE FROM syncext.canonical;
SELECT * FROM resolve(3, 'canonical');
SELECT * FROM conflict WHERE id = 3;
SELECT * FROM contest(
	'{"externalId":"K","source":"Web","version":1,"a":1}',
	'{"externalId":"K","source":"App","version":1,"a":2}');
DELETE FROM syncext.canonical;
SELECT * FROM resolve(4, 'incoming');
SELECT * FROM standing('K');

DROP VIEW conflict;
DROP FUNCTION contest, resolve, new_log_rows, restart, standing;
DROP TABLE seen;
DROP EXTENSION syncext;
