-- Groups of fields: all of a group goes to one side, and half of each is never written.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Shop', 3), sync_add_source('Twin', 3);
CREATE FUNCTION decide(VARIADIC changes jsonb[])
	RETURNS TABLE (resolution text, changed jsonb, lost jsonb, told text, reason text)
	LANGUAGE sql AS $$
	SELECT a->>'resolution', a->'changed', a->'lost', a->>'told', a->>'reason'
	FROM unnest(changes) change, answered(change) a
$$;
SELECT sync_rule('*', f, 'priority', '{"group": "address"}') FROM unnest('{street,city,zip}'::text[]) f;

-- The better ranked side has it all; what it doesn't name becomes null.
SELECT * FROM decide(
	'{"externalId":"1","source":"ERP","version":1,"fields":{"name":"Ann","street":"A","city":"Bonn","zip":"1"}}',
	-- the worse one loses all of it, and keeps what is not of the group
	'{"externalId":"1","source":"Shop","version":1,"fields":{"zip":"2","phone":"5"}}',
	'{"externalId":"1","source":"CRM","version":1,"fields":{"city":"Cologne","name":"Ann"}}',
	-- what was emptied is the winner's, too
	'{"externalId":"1","source":"ERP","version":1,"fields":{"street":"A"}}',
	'{"externalId":"1","source":"CRM","version":1,"fields":{"street":"C"}}');
SELECT fields FROM syncext.canonical WHERE external_id = '1';
SELECT s.key AS field, s.value->>'source' AS source, s.value->>'rowVersion' AS rv, s.value->>'setBy' AS set_by
FROM sync_record('record', '1') r, jsonb_each(r->'stamps') s ORDER BY s.key COLLATE "C";
-- A change that alters nothing of it contests nothing, and so does a newer version.
SELECT * FROM decide(
	'{"externalId":"1","source":"Shop","version":1,"fields":{"city":"Cologne","phone":"6"}}',
	'{"externalId":"1","source":"Shop","version":2,"fields":{"zip":"3"}}');
SELECT fields FROM syncext.canonical WHERE external_id = '1';
-- By what an edit was made on: nobody has set any of it since, or another source has.
SELECT * FROM decide(
	'{"externalId":"2","source":"ERP","base":0,"fields":{"name":"Bob","street":"A","city":"Bonn","zip":"1"}}',
	'{"externalId":"2","source":"Shop","base":1,"fields":{"zip":"2"}}',
	'{"externalId":"2","source":"ERP","base":1,"fields":{"name":"Bobby"}}',
	'{"externalId":"2","source":"ERP","base":1,"fields":{"street":"B"}}',
	'{"externalId":"2","source":"Twin","base":1,"fields":{"city":"Cologne"}}');
SELECT fields FROM syncext.canonical WHERE external_id = '2';

-- A tie is for a reviewer, who sees all of the group, and decides all of it.
SELECT * FROM decide(
	'{"externalId":"3","source":"Shop","version":1,"fields":{"street":"A","city":"Bonn"}}',
	'{"externalId":"3","source":"Twin","version":1,"fields":{"city":"Cologne","name":"T"}}',
	'{"externalId":"4","source":"Shop","version":1,"fields":{"street":"A","city":"Bonn"}}',
	'{"externalId":"4","source":"Twin","version":1,"fields":{"city":"Cologne","name":"T"}}',
	'{"externalId":"5","source":"Shop","version":1,"fields":{"street":"A","city":"Bonn"}}',
	'{"externalId":"5","source":"Twin","version":1,"fields":{"city":"Cologne","name":"T"}}',
	'{"externalId":"6","source":"Shop","version":1,"fields":{"street":"A","city":"Bonn"}}',
	'{"externalId":"6","source":"Twin","version":1,"fields":{"city":"Cologne","name":"T"}}');
SELECT field, theirs, ours FROM syncext.conflict WHERE external_id = '3' ORDER BY field;
CREATE FUNCTION conflict_of(id text) RETURNS bigint LANGUAGE sql AS $$ SELECT max(c.id) FROM syncext.conflict_log c WHERE c.external_id = $1 AND c.status = 'pending' $$;
SELECT a->>'resolution', a->'changed', a->>'told' FROM sync_resolve(conflict_of('3'), 'incoming') a;
SELECT a->>'resolution', a->'changed', a->>'told' FROM sync_resolve(conflict_of('4'), 'canonical') a;
SELECT * FROM attempt(format($$SELECT sync_resolve(%s, 'merge', '{"city": "Essen"}')$$, conflict_of('5')));
SELECT * FROM attempt(format($$SELECT sync_resolve(%s, 'merge', '{"zip": "9", "name": "T"}')$$, conflict_of('5')));
SELECT a->>'resolution', a->'changed' FROM sync_resolve(conflict_of('5'), 'merge', '{"city": "Essen", "street": "E"}') a;
UPDATE syncext.source_priority SET priority = 2 WHERE source = 'Twin';
SELECT a->>'resolution', a->'changed', a->>'reason' FROM sync_resolve(conflict_of('6'), 'ladder') a;
UPDATE syncext.source_priority SET priority = 3 WHERE source = 'Twin';
SELECT external_id, fields FROM syncext.canonical WHERE external_id IN ('3', '4', '5', '6') ORDER BY 1;
-- Another change of any field of it overtakes the conflict.
SELECT * FROM decide(
	'{"externalId":"7","source":"Shop","version":1,"fields":{"street":"A","city":"Bonn"}}',
	'{"externalId":"7","source":"Twin","version":1,"fields":{"city":"Cologne"}}',
	'{"externalId":"7","source":"CRM","version":1,"fields":{"zip":"7"}}');
SELECT status, decision, contested FROM syncext.conflict_log WHERE external_id = '7';
SELECT fields FROM syncext.canonical WHERE external_id = '7';

-- Births, and records that come back.
SELECT * FROM decide(
	'{"externalId":"8","source":"ERP","base":0,"fields":{"street":"A","city":"Bonn","zip":"1"}}',
	'{"externalId":"8","source":"CRM","base":0,"fields":{"city":"Cologne","zip":null,"phone":"1"}}',
	'{"externalId":"9","source":"ERP","base":0,"fields":{"street":"A","city":"Bonn","zip":"1"}}',
	'{"externalId":"9","source":"Shop","base":1,"fields":{"street":"S"}}',
	'{"externalId":"9","source":"ERP","base":2,"deleted":true}',
	'{"externalId":"9","source":"CRM","base":1,"fields":{"city":"Cologne"}}');
SELECT external_id, fields FROM syncext.canonical WHERE external_id IN ('8', '9') ORDER BY 1;

-- Who knew of the delete has nothing of the group but what it says.
SELECT * FROM decide(
	'{"externalId":"10","source":"ERP","version":1,"fields":{"street":"A","city":"Bonn","name":"x"}}',
	'{"externalId":"10","source":"ERP","version":2,"deleted":true}',
	'{"externalId":"10","source":"Shop","version":3,"fields":{"city":"Cologne"}}');
SELECT fields FROM syncext.canonical WHERE external_id = '10';

-- The rules that a group may have, in ladders of all kinds.
SELECT sync_add_entity('latest'), sync_add_entity('keep'), sync_add_entity('manual'), sync_add_entity('function'), sync_add_entity('over', '{version,merge,overwrite}'),
       sync_add_entity('clock', '{latest,merge,priority,manual}'), sync_add_entity('whole', '{version,priority,keep}');
CREATE FUNCTION public.longer(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
BEGIN
	IF incoming ? 'zip' THEN
		RETURN current || incoming;
	END IF;
	RETURN CASE WHEN length(incoming->>'street') > length(current->>'street') THEN incoming ELSE current END;
END $$;
INSERT INTO syncext.field_rule (entity, field, rule, args)
	SELECT e, f, e, '{"group": "address"}'::jsonb FROM unnest('{latest,keep,manual}'::text[]) e, unnest('{street,city,zip}'::text[]) f
	UNION ALL SELECT 'function', f, 'function', '{"group": "address", "function": "public.longer"}' FROM unnest('{street,city,zip}'::text[]) f;
SELECT c->>'entity' AS entity, d.* FROM unnest('{latest,keep,manual,function,over,clock,whole}'::text[]) e,
	LATERAL unnest(ARRAY['{"externalId":"r","source":"ERP","version":1,"updatedAt":"2026-01-02T00:00:00Z","fields":{"street":"A","city":"Bonn","zip":"1"}}',
		'{"externalId":"r","source":"Shop","version":1,"updatedAt":"2026-01-03T00:00:00Z","fields":{"city":"Cologne","street":"Long"}}',
		'{"externalId":"r","source":"Twin","version":1,"updatedAt":"2026-01-01T00:00:00Z","fields":{"zip":"7","x":1}}']::jsonb[]) WITH ORDINALITY t (doc, n),
	LATERAL (SELECT doc || jsonb_build_object('entity', e) AS c) c, LATERAL decide(c) d;
SELECT entity, fields FROM syncext.canonical WHERE external_id = 'r' ORDER BY 1;

-- What can't be a group is refused.
SELECT sync_add_entity('field', '{field,version}');
SELECT command, s.* FROM unnest(ARRAY[
	$$SELECT sync_rule('record', 'street', 'max', '{"group": "address"}')$$,
	$$SELECT sync_rule('record', 'street', 'union', '{"group": "address"}')$$,
	$$SELECT sync_rule('record', 'street', 'keep', '{"group": ""}')$$,
	$$SELECT sync_rule('record', 'street', 'keep', '{"group": 7}')$$,
	$$SELECT sync_rule('*', 'street', 'keep', '{"group": "address"}')$$,
	$$SELECT sync_rule('record', 'country', 'latest', '{"group": "address"}')$$,
	$$SELECT sync_rule('function', 'zip', 'priority', '{"group": "address"}')$$,
	-- it would uncover a rule of every entity's
	$$SELECT sync_rule('latest', 'zip', NULL)$$,
	$$SELECT sync_rule('field', 'street', 'latest', '{"group": "address"}')$$,
	$$SELECT sync_add_entity('other', '{field,latest}')$$,
	-- these are none
	$$SELECT sync_rule('record', 'zip', 'max')$$,
	$$UPDATE syncext.field_rule SET rule = 'keep' WHERE entity = 'latest'$$,
	$$DELETE FROM syncext.field_rule WHERE entity = 'latest'$$]) command, attempt(command) s;
SELECT entity, field, rule, args FROM syncext.field_rule ORDER BY 1, 2;
-- a field that has left the group by a rule of the entity's own
SELECT * FROM decide(
	'{"externalId":"z","source":"ERP","version":1,"fields":{"street":"A","city":"Bonn","zip":"1"}}',
	'{"externalId":"z","source":"CRM","version":1,"fields":{"street":"C","zip":"0"}}');
SELECT fields FROM syncext.canonical WHERE external_id = 'z';

-- Tables: edits of a row name what they change alone, and a column that was added is no edit.
CREATE TABLE shops (id text PRIMARY KEY, street text, city text, name text);
SELECT sync_attach('shops', 'Shop', 'latest');
INSERT INTO shops VALUES ('t', 'A', 'Bonn', 'x');
SELECT * FROM decide('{"entity":"latest","externalId":"t","source":"CRM","base":1,"fields":{"zip":"9","city":"Cologne"}}');
UPDATE shops SET street = 'S' WHERE id = 't';
SELECT fields FROM syncext.canonical WHERE external_id = 't';
SELECT sync_deliver('Shop');
SELECT * FROM shops;
UPDATE shops SET street = 'T' WHERE id = 't';
SELECT fields FROM syncext.canonical WHERE external_id = 't';
SELECT sync_detach('shops');

-- A record that has any of a group has all of it: who loses a value that the record hadn't, has its null delivered.
SELECT * FROM decide('{"entity":"keep","externalId":"u","source":"CRM","base":0,"fields":{"street":"C"}}',
	'{"entity":"keep","externalId":"v","source":"CRM","base":0,"fields":{"name":"only"}}',
	'{"entity":"keep","externalId":"v","source":"CRM","base":1,"fields":{"city":"Bonn"}}');
SELECT external_id, fields FROM syncext.canonical WHERE external_id IN ('u', 'v') AND entity = 'keep' ORDER BY 1;
TRUNCATE shops;
INSERT INTO shops VALUES ('u', NULL, 'Cologne', 'lost');
SELECT sync_attach('shops', 'Shop', 'keep', capture => 'poll');
CALL sync_poll('shops') \gset
SELECT * FROM sync_deliver('Shop');
SELECT * FROM shops ORDER BY id;
CALL sync_poll('shops') \gset
SELECT fields FROM syncext.canonical WHERE external_id = 'u' AND entity = 'keep';
SELECT sync_detach('shops');

-- A row that is made anew has nothing of what another has brought back, but what it says.
TRUNCATE shops;
SELECT sync_attach('shops', 'Shop', 'keep');
SELECT resolution FROM decide('{"entity":"keep","externalId":"w","source":"ERP","base":0,"fields":{"street":"A","zip":"1"}}');
SELECT count(*) > 0 AS delivered FROM sync_deliver('Shop');
SELECT resolution FROM decide('{"entity":"keep","externalId":"w","source":"ERP","base":1,"deleted":true}');
SELECT count(*) > 0 AS delivered FROM sync_deliver('Shop');
SELECT resolution FROM decide('{"entity":"keep","externalId":"w","source":"ERP","base":2,"fields":{"name":"x"}}');
INSERT INTO shops (id, city) VALUES ('w', 'Cologne');
SELECT fields FROM syncext.canonical WHERE external_id = 'w';
SELECT sync_detach('shops');

-- Who wins a group has won its nulls, too: what it says next adds to that.
SELECT sync_add_entity('trio');
SELECT resolution, changed, lost FROM decide(
	'{"entity":"trio","externalId":"n","source":"ERP","base":0,"fields":{"city":"Bonn"}}',
	'{"entity":"trio","externalId":"n","source":"CRM","base":0,"fields":{"street":"C"}}',
	'{"entity":"trio","externalId":"n","source":"CRM","base":0,"created":false,"fields":{"zip":"7"}}');
SELECT fields FROM syncext.canonical WHERE entity = 'trio';

-- What a conflict keeps from being delivered is sent by the row version that it was seen at: a group together.
TRUNCATE shops;
SELECT sync_subscribe('Shop', '{manual}');
SELECT sync_attach('shops', 'Shop', 'manual');
INSERT INTO shops VALUES ('h', 'A', 'Bonn', 'x');
SELECT * FROM decide('{"entity":"manual","externalId":"h","source":"CRM","base":1,"fields":{"street":"C","city":"Cologne"}}');
UPDATE shops SET city = 'Essen' WHERE id = 'h';
SELECT * FROM decide('{"entity":"manual","externalId":"h","source":"CRM","base":2,"fields":{"name":"y"}}');
SELECT sync_deliver('Shop');
SELECT * FROM shops WHERE id = 'h';
UPDATE shops SET street = 'T', city = 'Trier' WHERE id = 'h';
SELECT status, incoming, contested FROM syncext.conflict_log WHERE entity = 'manual' AND external_id = 'h' ORDER BY id;
SELECT sync_detach('shops');

DROP FUNCTION decide, conflict_of, public.longer;
DROP TABLE shops;
DROP EXTENSION syncext;
