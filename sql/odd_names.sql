-- Names that would be something else if they were ever pasted into a statement,
-- through the whole of the API: each works as any other name does.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
DO $$
DECLARE
	r text;
BEGIN
	FOR r IN SELECT rolname FROM pg_roles WHERE rolname LIKE 'regress_odd%' LOOP
		EXECUTE format('DROP ROLE %I', r);
	END LOOP;
END $$;
CREATE EXTENSION syncext;
CREATE EXTENSION postgres_fdw;
-- what a name that gets through would do
CREATE TABLE x (still text DEFAULT 'here');
INSERT INTO x DEFAULT VALUES;
CREATE FUNCTION evil() RETURNS text LANGUAGE plpgsql AS $$ BEGIN DELETE FROM public.x; RETURN 'evil'; END $$;

-- Everything that has a name has this one: source, entity, fields, columns, table,
-- schema, role, server, link.
CREATE FUNCTION live(n text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	part  text := n;
	other text := CASE WHEN octet_length(n) < 57 THEN 'other ' || n ELSE 'other' || left(n, 25) END;
	role  text := 'regress_odd' || left(n, 20);
	rel   text := format('%I.%I', part, part);
	polled text := format('%I.%I', part, other);
	said  jsonb;
BEGIN
	EXECUTE format('CREATE ROLE %I', role);
	EXECUTE format('CREATE SCHEMA %I AUTHORIZATION %I', part, role);
	EXECUTE format('CREATE TABLE %s (%I text PRIMARY KEY, %I text, at timestamptz DEFAULT now())', rel, part, other);
	EXECUTE format('CREATE VIEW %s AS SELECT * FROM %s', polled, rel);
	EXECUTE format('ALTER TABLE %s OWNER TO %I', rel, role);
	EXECUTE format('ALTER VIEW %s OWNER TO %I', polled, role);
	PERFORM sync_add_entity(n), sync_add_entity(left(n, 30) || '-');
	PERFORM sync_add_source(n, 1, format('%I', role)::regrole), sync_add_source(other, 1, format('%I', role)::regrole), sync_add_source('plain' || md5(n), 1);
	PERFORM sync_add_reference(left(n, 30) || '-', n, n, 'restrict');
	PERFORM sync_attach(rel::regclass, n, n, ARRAY[part], jsonb_build_object('f' || part, other), updated_column => 'at');
	PERFORM sync_attach(polled::regclass, other, n, ARRAY[part], jsonb_build_object('f' || part, other), 'poll', updated_column => 'at');
	EXECUTE format('INSERT INTO %s VALUES ($1, $1)', rel) USING n;
	said := sync_apply(jsonb_build_object('entity', n, 'externalId', n, 'source', 'plain' || md5(n), 'base', 1, 'f' || part, n || '!'));
	RETURN NEXT format('%s %s', said->>'resolution', said->>'externalId' = n);
	said := sync_explain(jsonb_build_object('entity', n, 'externalId', n, 'source', 'plain' || md5(n), 'base', 1, 'f' || part, n || '?'));
	RETURN NEXT format('explained: %s', said->>'resolution');
	said := sync_apply(jsonb_build_object('entity', left(n, 30) || '-', 'externalId', n, 'source', 'plain' || md5(n), 'version', 1, 'fields', jsonb_build_object(n, n)));
	RETURN NEXT format('child: %s', said->>'resolution');
	said := sync_apply(jsonb_build_object('entity', n, 'externalId', n, 'source', 'plain' || md5(n), 'base', 2, 'deleted', true));
	RETURN NEXT format('parent: %s', said->>'resolution');
	PERFORM sync_route(other, n, format('$.%s != "no"', to_json('f' || part))::jsonpath, ARRAY[n, '%s']);
	PERFORM sync_subscribe(other, ARRAY[n]);
	PERFORM sync_resync(other, n);
	RETURN NEXT format('record: %s', sync_record(n, n)->'fields'->>('f' || part) = n || '!');
	RETURN NEXT format('history: %s', (SELECT count(*) FROM sync_history(n, n)));
	PERFORM syncext.hub_hello(other, '{"protocol": 2}');
	PERFORM syncext.may_act_as(n);
	PERFORM syncext.record_slot(n, n, 4);
	EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host ''/nonexistent'', dbname %L)', part, part);
	EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (user %L)', part, part);
	BEGIN
		PERFORM sync_link(n, part::name, 'plain' || md5(n));
	EXCEPTION WHEN OTHERS THEN
		RETURN NEXT 'link: ' || SQLSTATE;
	END;
	BEGIN
		PERFORM sync_schedule(rel::regclass, n);
	EXCEPTION WHEN OTHERS THEN
		RETURN NEXT 'schedule: ' || SQLSTATE;
	END;
	BEGIN
		PERFORM sync_schedule(rel::regclass, '@hourly');
	EXCEPTION WHEN OTHERS THEN
		RETURN NEXT 'schedule: ' || SQLSTATE;
	END;
END $$;
-- What commits, or needs another transaction than the one before.
CREATE FUNCTION later(n text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	part  text := n;
	other text := CASE WHEN octet_length(n) < 57 THEN 'other ' || n ELSE 'other' || left(n, 25) END;
	b     bigint;
	call  text;
	r     jsonb;
BEGIN
	RETURN NEXT format('delivered %s', sync_deliver(n));
	CALL sync_poll(format('%I.%I', part, other)::regclass, true, r);
	RETURN NEXT format('polled %s', r - 'seconds' - 'watermark');
	CALL sync_load(format('%I.%I', part, part)::regclass, 'table', false, r);
	RETURN NEXT format('loaded %s', r - 'seconds');
	SELECT max(p.batch) INTO b FROM sync_pull('plain' || md5(n)) p;
	UPDATE syncext.source SET retry_cap = 1 WHERE name = 'plain' || md5(n);
	PERFORM sync_ack('plain' || md5(n), b, jsonb_build_array(jsonb_build_object('entity', n, 'externalId', n, 'error', n)));
	PERFORM count(*) FROM syncext.feed_lag;
	RETURN NEXT format('problems %s', (SELECT count(*) > 0 FROM sync_check()));
	-- what is offered as a call is one
	FOR call IN SELECT d.redrive FROM syncext.dead_letter d WHERE d.source = 'plain' || md5(n) LOOP
		EXECUTE call INTO b;
		RETURN NEXT format('redriven %s', b);
	END LOOP;
	PERFORM sync_discard('plain' || md5(n), n, n);
END $$;
CREATE FUNCTION over(n text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	part  text := n;
	other text := CASE WHEN octet_length(n) < 57 THEN 'other ' || n ELSE 'other' || left(n, 25) END;
BEGIN
	PERFORM sync_detach(format('%I.%I', part, part)::regclass), sync_detach(format('%I.%I', part, other)::regclass);
	DELETE FROM syncext.reference WHERE parent = n;
	RETURN NEXT format('forgotten %s', sync_forget(n, n)->>'canonical');
	PERFORM sync_drop_source(n), sync_drop_source(other), sync_drop_source('plain' || md5(n));
	EXECUTE format('DROP SERVER %I CASCADE', part);
	EXECUTE format('DROP SCHEMA %I CASCADE', part);
	EXECUTE format('DROP ROLE %I', 'regress_odd' || left(n, 20));
END $$;

CREATE TABLE names (i int, n text);
INSERT INTO names VALUES
	(1, E'a"b''; DROP TABLE x; --'),
	(2, '$1 $$ $a$ || evil() --'),
	(3, E'\\''||evil()||\\'''),
	(4, '%s %I %L %n %1$s %'),
	(5, '{a,b} "c" (d) [e]'),
	(6, E'two\nlines\t\r\x01'),
	(7, E'\u00e9\u4e2d\U0001F600'),
	(8, repeat('x', 63)),
	(9, repeat(E'\u00e9', 31)),
	(10, ' '),
	(11, 'select'),
	(12, 'Mixed.Case.dots');
SELECT i, a FROM names, live(n) a ORDER BY i;
SELECT i, a FROM names, later(n) a ORDER BY i;
SELECT i, a FROM names, over(n) a ORDER BY i;
SELECT * FROM x;

DROP FUNCTION live, later, over, evil;
DROP TABLE x, names;
DROP EXTENSION postgres_fdw;
DROP EXTENSION syncext;
