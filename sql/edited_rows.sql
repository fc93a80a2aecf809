-- Rows of our tables that were edited, by hand or by a script that meant well, to
-- what they can't be: objects that are arrays, stamps that are strings, versions below
-- zero.  Each is tried with every door that comes upon it: it works all the same, or
-- says which table, column and row it is and what to do, and says so of that row alone.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
CREATE EXTENSION syncext;
SELECT count(sync_add_entity(e)) FROM unnest('{goods,polled,far,client,order,other}'::text[]) e \g /dev/null
SELECT count(sync_add_source(s, r)) FROM unnest('{crm,erp,A,P,L,hub,tie}'::text[], '{1,2,3,4,5,5,1}'::int[]) u(s, r) \g /dev/null
SELECT sync_add_reference('order', 'client', 'client', 'restrict') \g /dev/null
UPDATE syncext.source SET retry_cap = 1;
CREATE TABLE goods (id int PRIMARY KEY, name text, price int);
CREATE TABLE polled (id int PRIMARY KEY, name text, price int);
CREATE TABLE far (id int PRIMARY KEY, name text, price int);
SELECT sync_attach('goods', 'A', 'goods', columns => '{"name": "name", "price": "price"}'), sync_attach('polled', 'P', 'polled', capture => 'poll'),
       sync_attach('far', 'L', 'far') \g /dev/null
INSERT INTO syncext.link (name, server, source, enabled) VALUES ('l', 'nowhere', 'L', false);
SELECT syncext.link_start('L') \g /dev/null
CREATE FUNCTION crm(entity text, id text, version int, fields jsonb) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT sync_apply(jsonb_build_object('entity', $1, 'externalId', $2, 'source', 'crm', 'version', $3, 'changeId', $1 || $2 || $3, 'fields', $4)) $$;
-- records 1 and 2 of each entity; a conflict over 1; a change that waits; answers that are
-- kept; edits that wait for the hub behind the link, and what is agreed on with it
SELECT count(crm(e, i::text, 2, '{"name": "n", "price": 1}')) FROM unnest('{goods,polled}'::text[]) e, generate_series(1, 2) i \g /dev/null
SELECT sync_deliver('A'), sync_deliver('P') \g /dev/null
CALL sync_poll('polled') \g /dev/null
SELECT sync_apply(jsonb_build_object('entity', 'goods', 'externalId', '1', 'source', s, 'version', 2, 'fields', jsonb_build_object('price', 5, 'more', 1))) FROM unnest('{tie}'::text[]) s \g /dev/null
SELECT syncext.linked_deliver('L', (SELECT jsonb_agg(jsonb_build_object('entity', 'far', 'external_id', i::text, 'row_version', 3, 'fields', '{"name": "f", "price": 3}'::jsonb)) FROM generate_series(1, 3) i)) \g /dev/null
UPDATE far SET price = price + id;
SELECT sync_apply('{"entity": "order", "externalId": "1", "source": "crm", "version": 1, "client": "1"}'), sync_apply('{"entity": "order", "externalId": "2", "source": "crm", "version": 1, "client": "1"}') \g /dev/null
INSERT INTO syncext.spoke (source, mark) VALUES ('hub', 'f0000000-0000-0000-0000-00000000000f');
SELECT sync_push('hub', 'f0000000-0000-0000-0000-00000000000f/1/1', '[{"source": "hub", "entity": "other", "externalId": "1", "base": 0, "fields": {"a": 1}}]') \g /dev/null
SELECT sync_subscribe('erp', '{goods,polled,other}'), sync_route('hub', 'goods', '$.price < 100') \g /dev/null

-- What keeps the rows of configuration from such edits does it first.
UPDATE syncext.binding SET columns = '[]';
UPDATE syncext.binding SET loaded = '"x"';
UPDATE syncext.binding SET differing = '5';
UPDATE syncext.binding SET key = '{}';
UPDATE syncext.binding SET key = '{NULL}';
UPDATE syncext.spoke SET past = '[]';
UPDATE syncext.spoke SET past = '{"x": [1, 2]}';
UPDATE syncext.spoke SET past = '{"1": 2}';
UPDATE syncext.spoke SET past = '{"1": [1, "x"]}';
BEGIN;
UPDATE syncext.spoke SET past = '{"1795908636497": [1, 2]}';
ROLLBACK;
DO $$ DECLARE c name; BEGIN
	FOR c IN SELECT conname FROM pg_constraint WHERE conrelid = 'syncext.binding'::regclass AND contype = 'c' LOOP
		EXECUTE format('ALTER TABLE syncext.binding DROP CONSTRAINT %I', c);
	END LOOP;
END $$;

-- The cases: a column, its row, and a value.
CREATE TABLE edit (n int GENERATED ALWAYS AS IDENTITY, at text, which text, value text);
INSERT INTO edit (at, which, value)
SELECT at, which, value FROM (VALUES
	('canonical.fields', 'entity = ''goods'' AND external_id = ''1''', ARRAY['[]', '"x"', 'null']),
	('canonical.fields', 'entity = ''polled'' AND external_id = ''1''', ARRAY['[]']),
	('canonical.stamps', 'entity = ''goods'' AND external_id = ''1''', ARRAY['[]', '{"name": "x"}', '{"name": [1]}', '{"name": [1, 2, 3, 4]}',
		'{"name": [1e300, "crm", -1, "crm"]}', '{"name": [1, "crm", 1, "crm", "x"]}', '{"name": {}}', '{"name": [1, "nobody", 1, "nobody"], "gone": 5}']),
	('canonical.row_version', 'entity = ''goods'' AND external_id = ''1''', ARRAY['-1', '9223372036854775807', '4611686018427387903']),
	('canonical.version', 'entity = ''goods'' AND external_id = ''1''', ARRAY['-1', '9223372036854775807', '4611686018427387903']),
	('replica.fields', 'relation = ''polled''::regclass AND external_id = ''1''', ARRAY['[]', 'null']),
	('replica.fields', 'relation = ''far''::regclass AND external_id = ''1''', ARRAY['[]', '"x"']),
	('replica.held', 'relation = ''far''::regclass AND external_id = ''1''', ARRAY['"x"', '{"price": "x"}', '{"price": 1e300}']),
	('replica.held', 'relation = ''goods''::regclass AND external_id = ''1''', ARRAY['{"price": "x"}']),
	('replica.cascaded', 'relation = ''far''::regclass AND external_id = ''1''', ARRAY['[]']),
	('replica.row_version', 'relation = ''far''::regclass AND external_id = ''1''', ARRAY['-1', '9223372036854775807']),
	('change_log_0.fields', 'entity = ''far'' AND external_id = ''1''', ARRAY['[]', '"x"', 'null']),
	('change_log_0.detail', 'entity = ''far'' AND external_id = ''1''', ARRAY['[]', '"x"', '{"version": "x"}', '{"version": 1e300}', '{"deleted": 0}']),
	('change_log_0.updated_at', 'entity = ''far'' AND external_id = ''1''', ARRAY['infinity', '-infinity', '294276-01-01 UTC']),
	('change_log_0.base', 'entity = ''goods'' AND external_id = ''1''', ARRAY['-1', '9223372036854775807']),
	('change_log_0.updated_at', 'entity = ''goods'' AND external_id = ''1''', ARRAY['infinity', '294276-01-01 UTC']),
	('change_log_0.fields', 'entity = ''goods'' AND external_id = ''1''', ARRAY['[]']),
	('conflict_log.incoming', 'external_id = ''1''', ARRAY['[]', 'null']),
	('conflict_log.incoming_detail', 'external_id = ''1''', ARRAY['"x"', '{"updatedAt": 5}', '{"updatedAt": "never"}']),
	('conflict_log.canonical', 'external_id = ''1''', ARRAY['[]']),
	('conflict_log.contested', 'external_id = ''1''', ARRAY['{}', '{NULL}', '{*,NULL,price}', '{{price,name}}', '{nothing}']),
	('waiting.change', 'external_id = ''1''', ARRAY['[]', '"x"', 'null', '{}', '{"externalId": 5}']),
	('change_id.answer', 'entity = ''goods'' AND external_id = ''1''', ARRAY['[]']),
	('push.answers', 'source = ''hub''', ARRAY['{}', '"x"', '[]', '["x"]']),
	('push.hashes', 'source = ''hub''', ARRAY['', '\x01', '\x0102030405060708090a']),
	('binding.columns', 'relation = ''goods''::regclass', ARRAY['[]', '"x"', '{"name": 5}', '{"name": {}}', '{"name": "gone"}', '{"": "name"}']),
	('binding.key', 'relation = ''goods''::regclass', ARRAY['{}', '{NULL}', '{id,NULL}', '{gone}', '{{id,name}}']),
	('binding.loaded', 'relation = ''goods''::regclass', ARRAY['[]', '{"name": "x"}', '{"name": 1e300}']),
	('binding.differing', 'relation = ''goods''::regclass', ARRAY['[]', '"x"', '{"name": 5}'])) c (at, which, vs), unnest(vs) value;

-- The doors.  Each answers with a text.
CREATE TABLE door (n int GENERATED ALWAYS AS IDENTITY, about text, name text, call text);
INSERT INTO door (about, name, call) VALUES
	('canonical|conflict_log|change_id|change_log', 'apply', $$SELECT crm('goods', '1', 3, '{"name": "x"}')->>'resolution'$$),
	('canonical|conflict_log|change_id|change_log', 'apply again', $$SELECT crm('goods', '1', 2, '{"name": "n", "price": 1}')->>'resolution'$$),
	('canonical|conflict_log|change_id|change_log', 'apply by base', $$SELECT sync_apply('{"entity": "goods", "externalId": "1", "source": "erp", "base": 1, "price": 4}')->>'resolution'$$),
	('canonical|conflict_log|change_id|change_log', 'apply the other', $$SELECT crm('goods', '2', 3, '{"name": "x"}')->>'resolution'$$),
	('canonical|conflict_log|change_id|change_log', 'delete', $$SELECT sync_apply('{"entity": "goods", "externalId": "1", "source": "crm", "version": 4, "deleted": true}')->>'resolution'$$),
	('canonical|conflict_log|change_id|change_log', 'explain', $$SELECT sync_explain('{"entity": "goods", "externalId": "1", "source": "crm", "version": 3, "name": "x"}')->>'resolution'$$),
	('canonical|conflict_log|change_id|change_log', 'record', $$SELECT (sync_record('goods', '1')->'fields')::text$$),
	('canonical|conflict_log|change_id|change_log', 'history', $$SELECT count(*)::text FROM sync_history('goods', '1')$$),
	('canonical|conflict_log|change_id|change_log', 'set_version', $$SELECT sync_set_version('goods', '1', 7)::text$$),
	('canonical|conflict_log|change_id|change_log', 'forget', $$SELECT sync_forget('goods', '1')::text$$),
	('canonical|conflict_log|change_log', 'pull', $$SELECT string_agg(entity || external_id, ' ' ORDER BY entity, external_id) FROM sync_pull('erp')$$),
	('canonical|conflict_log|change_log', 'pull with a filter', $$SELECT string_agg(entity || external_id, ' ' ORDER BY entity, external_id) FROM sync_pull('hub') WHERE entity = 'goods'$$),
	('canonical|conflict_log|change_log', 'dead letters after a pull', $$SELECT count(*) FROM sync_pull('erp'); SELECT string_agg(entity || external_id, ' ') FROM syncext.dead_letter WHERE source = 'erp'$$),
	('canonical|replica|binding|conflict_log', 'dead letters after a delivery', $$SELECT sync_resync('A', 'goods'), sync_deliver('A'); SELECT string_agg(external_id || CASE WHEN next_attempt IS NULL THEN ' is dead' ELSE ' waits' END, ' ') FROM syncext.pending WHERE target = 'A'$$),
	('canonical|replica|binding|conflict_log', 'resync', $$SELECT sync_resync('A', 'goods')::text || ' ' || sync_deliver('A')$$),
	('canonical|replica', 'deliver to a poll', $$SELECT sync_resync('P', 'polled')::text || ' ' || sync_deliver('P')$$),
	('canonical|replica|binding', 'edit', $$UPDATE goods SET price = price + 10 RETURNING 'x'$$),
	('canonical|replica|binding', 'insert', $$INSERT INTO goods VALUES (9, 'nine', 9) RETURNING 'x'$$),
	('replica|change_log', 'edit far', $$UPDATE far SET price = price + 10 RETURNING 'x'$$),
	('replica|change_log', 'captured', $$SELECT string_agg(change->>'externalId', ' ' ORDER BY change->>'externalId') FROM syncext.captured('L')$$),
	('replica|change_log', 'captured, with what is owed', $$SELECT count(*) FROM syncext.captured('L'); SELECT string_agg(external_id || CASE WHEN next_attempt IS NULL THEN ' is dead' ELSE ' is owed' END, ' ') FROM syncext.capture_failure$$),
	('replica|change_log', 'linked_deliver', $$SELECT string_agg(f->>'externalId' || CASE WHEN f->>'busy' = 'true' THEN ' busy' ELSE ' ' || (f->>'error') END, ', ') FROM jsonb_array_elements(syncext.linked_deliver('L',
		'[{"entity": "far", "external_id": "1", "row_version": 4, "fields": {"name": "g"}}, {"entity": "far", "external_id": "3", "row_version": 4, "fields": {"name": "g"}}]')) f$$),
	('replica|change_log', 'linked_retry', $$SELECT syncext.linked_retry('L')::text$$),
	('canonical|conflict_log', 'resolve: incoming', $$SELECT string_agg(sync_resolve(id, 'incoming')->>'resolution', ' ') FROM syncext.conflict_log WHERE status = 'pending'$$),
	('canonical|conflict_log', 'resolve: merge', $$SELECT string_agg(sync_resolve(id, 'merge', '{"price": 7}')->>'resolution', ' ') FROM syncext.conflict_log WHERE status = 'pending'$$),
	('canonical|conflict_log', 'resolve: dismiss', $$SELECT string_agg(sync_resolve(id, 'dismiss')->>'resolution', ' ') FROM syncext.conflict_log WHERE status = 'pending'$$),
	('canonical|conflict_log', 'conflict again', $$SELECT sync_apply('{"entity": "goods", "externalId": "1", "source": "tie", "version": 2, "fields": {"price": 5, "more": 1}}')->>'resolution'$$),
	('waiting|canonical', 'parent arrives', $$SELECT crm('client', '1', 1, '{"name": "c"}'); SELECT string_agg(external_id || ' ' || kind, ', ') FROM (SELECT external_id, 'arrived' AS kind FROM syncext.canonical WHERE entity = 'order' UNION ALL SELECT external_id, left(error, 90) FROM syncext.waiting ORDER BY 1) o$$),
	('waiting|canonical', 'sweep', $$UPDATE syncext.waiting SET next_attempt = now(); SELECT string_agg(entity || external_id, ' ' ORDER BY entity, external_id) FROM sync_pull('erp')$$),
	('waiting|canonical', 'redrive', $$SELECT sync_redrive('crm')::text || sync_redrive('erp') || sync_redrive('L')$$),
	('waiting|canonical', 'discard', $$SELECT sync_discard('crm', 'order', '1')::text$$),
	('push', 'push again', $$SELECT sync_push('hub', 'f0000000-0000-0000-0000-00000000000f/1/1', '[{"source": "hub", "entity": "other", "externalId": "1", "base": 0, "fields": {"a": 1}}]')::text$$),
	('push', 'push anew', $$SELECT sync_push('hub', 'f0000000-0000-0000-0000-00000000000f/1/2', '[{"source": "hub", "entity": "other", "externalId": "1", "base": 1, "fields": {"a": 2}}]')::text$$),
	('.', 'check', $$SELECT string_agg(object || ': ' || problem, '; ' ORDER BY object, problem) FROM sync_check() WHERE object LIKE '%goods%' AND object NOT LIKE 'configuration%'$$),
	('canonical.fields|waiting', 'views', $$SELECT (SELECT count(*) FROM syncext.outbound_change)::text || (SELECT count(*) FROM syncext.history WHERE entity = 'goods' AND external_id = '2') || (SELECT count(*) FROM syncext.dead_letter)$$),
	('.', 'detach', $$SELECT sync_detach('goods')::text$$);
CREATE FUNCTION load(relation regclass, winner text) RETURNS text LANGUAGE plpgsql AS
	$$ DECLARE r jsonb; BEGIN CALL sync_load(relation, winner, false, r); RETURN (r - 'seconds' - 'details')::text; END $$;
CREATE FUNCTION poll(relation regclass, complete bool) RETURNS text LANGUAGE plpgsql AS
	$$ DECLARE r jsonb; BEGIN CALL sync_poll(relation, complete, r); RETURN format('%s read, %s failed', r->>'read', r->>'failed'); END $$;
INSERT INTO door (about, name, call) SELECT 'canonical|replica|binding|conflict_log', format('load %s: %s', t, w), format('SELECT load(%L, %L)', t, w) FROM unnest('{goods,far}'::text[]) t, unnest('{ladder,hub}'::text[]) w
UNION ALL SELECT 'canonical|replica', 'poll', $$SELECT poll('polled', false)$$ UNION ALL SELECT 'canonical|replica', 'poll all', $$SELECT poll('polled', true)$$;

-- An edit, a door, and all is as before.  What both do to the rest is taken back.
CREATE FUNCTION try(edit text, door text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE said text; state text; hint text;
BEGIN
	BEGIN
		IF edit IS NOT NULL THEN
			EXECUTE edit;
		END IF;
		EXECUTE door INTO said;
		said := 'ok ' || coalesce(said, 'nothing');
		RAISE EXCEPTION USING ERRCODE = 'YY000';
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, hint = PG_EXCEPTION_HINT;
		IF state <> 'YY000' THEN
			said := SQLERRM || CASE WHEN hint <> '' THEN ' - ' || hint ELSE '' END;
		END IF;
	END;
	RETURN CASE WHEN state <> 'YY000' THEN state || ' ' ELSE '' END || regexp_replace(said, '\m\d{5,9}\M', 'N', 'g');
END $$;
CREATE TABLE outcome (edit int, door int, said text);
-- each in a transaction of its own, for what was taken back to be pruned
SELECT format($$INSERT INTO outcome SELECT e.n, d.n, try(CASE WHEN e.n IS NOT NULL THEN format('UPDATE syncext.%%I SET %%I = %%L WHERE %%s', split_part(e.at, '.', 1), split_part(e.at, '.', 2), e.value, e.which) END, d.call)
FROM door d LEFT JOIN edit e ON e.n = %s WHERE e.at IS NULL OR e.at ~ d.about ORDER BY d.n$$, n) FROM generate_series(0, (SELECT max(n) FROM edit)) n \gexec

-- No internal error, and none of the server's own about a value it was not meant to see.
SELECT at, value, name, said FROM outcome o JOIN edit e ON e.n = o.edit JOIN door d ON d.n = o.door
WHERE said !~ '^(ok|XX001|42704|55000|22P02|23514) ' ORDER BY e.n, d.n;
-- What the doors say of rows that are good.
SELECT name, said FROM outcome o JOIN door d ON d.n = o.door WHERE edit IS NULL ORDER BY d.n;
-- And what they say otherwise.
SELECT at, left(value, 40) AS value, string_agg(name, ', ' ORDER BY d.n) AS doors, o.said FROM outcome o JOIN outcome good ON good.edit IS NULL AND good.door = o.door
JOIN edit e ON e.n = o.edit JOIN door d ON d.n = o.door
WHERE o.said <> good.said GROUP BY e.n, at, value, o.said ORDER BY e.n, min(d.n);

-- What is handed over by hand, in the place of a connection, is looked at in the same way.
SELECT left(v, 180), try(NULL, format('SELECT syncext.linked_deliver(''L'', %L)::text', v)) FROM (
	SELECT unnest('{"{}","5","null","[5]","[null]","[{}]"}'::text[])
	UNION ALL SELECT jsonb_build_array(good || odd)::text
	FROM (SELECT '{"entity": "far", "external_id": "9", "row_version": 4, "version": 1, "deleted": false, "correction": false, "fields": {"name": "g"}}'::jsonb AS good) g,
	     unnest('{"{}","{\"entity\": 5}","{\"entity\": \"\"}","{\"external_id\": 5}","{\"external_id\": \"\"}","{\"external_id\": null}","{\"row_version\": null}","{\"row_version\": \"4\"}","{\"row_version\": 0}","{\"row_version\": -1}","{\"row_version\": 4.5}","{\"row_version\": 1e300}","{\"row_version\": 9223372036854775807}","{\"version\": -1}","{\"deleted\": \"no\"}","{\"deleted\": 1}","{\"correction\": []}","{\"fields\": []}","{\"fields\": \"x\"}","{\"fields\": null}","{\"fields\": null, \"deleted\": true}","{\"unknown\": 1}"}'::jsonb[]) odd) c(v);
SELECT try(NULL, format('SELECT syncext.linked_deliver(''L'', %L)::text', jsonb_build_array(jsonb_build_object('entity', 'far', 'external_id', repeat('x', 1025), 'row_version', 1, 'fields', '{}'::jsonb))));
SELECT v, try(NULL, format('SELECT count(*) FROM syncext.captured(''L''); SELECT syncext.captured_answered(''L'', batch, %L)::text FROM syncext.cursor WHERE target = ''L''',
	'[' || v || ', {"status": 200, "rowVersion": 4, "lost": []}, {"status": 400, "reason": "no"}]'))
FROM unnest('{"{\"status\": 200, \"rowVersion\": 4}",5,null,[],"{}","{\"status\": \"200\"}","{\"status\": 0}","{\"status\": 200.5}","{\"status\": 1e300}","{\"status\": 400}","{\"status\": 400, \"reason\": 5}","{\"status\": 200, \"rowVersion\": \"4\"}","{\"status\": 200, \"rowVersion\": -1}","{\"status\": 200, \"rowVersion\": 9223372036854775807}","{\"status\": 200, \"rowVersion\": 1e300}","{\"status\": 200, \"lost\": {}}","{\"status\": 200, \"lost\": \"x\"}"}'::text[]) v;

DROP TABLE goods, polled, far, edit, door, outcome;
DROP FUNCTION crm, load, poll, try;
DROP EXTENSION syncext;
