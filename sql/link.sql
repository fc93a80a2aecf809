-- Links: what can't be linked, and what is said to it; exchanging with a hub in
-- another database of this server.
SET client_min_messages = warning;
DROP DATABASE IF EXISTS syncext_hub;
DROP DATABASE IF EXISTS syncext_bare;
DROP ROLE IF EXISTS syncext_anna, syncext_spoke;
CREATE DATABASE syncext_hub;
CREATE DATABASE syncext_bare;
CREATE ROLE syncext_anna LOGIN;
CREATE ROLE syncext_spoke LOGIN;
SELECT current_database() AS spoke, current_user AS admin \gset
\connect syncext_hub
SET client_min_messages = warning;
CREATE EXTENSION syncext;
SELECT sync_add_source('Branch', 2, 'syncext_spoke'), sync_add_source('Other', 3), sync_add_source('ERP', 1);
-- a user's function that a call fits better which doesn't say its arguments' types
CREATE FUNCTION syncext.hub_hello(text, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"not ours"'::jsonb $$;
CREATE FUNCTION sync_push(text, text, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '"not ours"'::jsonb $$;
\connect :spoke
SET client_min_messages = warning;
CREATE EXTENSION syncext;
CREATE EXTENSION dblink;
CREATE EXTENSION postgres_fdw;
RESET client_min_messages;
SELECT sync_add_source('Branch'), sync_add_source('Other'), sync_add_source('Till');

-- Servers to this very server, by whatever wrapper.
CREATE FUNCTION make_server(name text, wrapper text, dbname text, role text, rest text DEFAULT '') RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER %I OPTIONS (host %L, port %L, dbname %L %s)', name, wrapper,
		trim(split_part(current_setting('unix_socket_directories'), ',', 1)), current_setting('port'), dbname, rest);
	EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (user %L)', name, role);
END $$;
SELECT make_server('hub', 'dblink_fdw', 'syncext_hub', 'syncext_spoke');
SELECT make_server('hub2', 'postgres_fdw', 'syncext_hub', 'syncext_spoke', ', fetch_size ''10''');
SELECT make_server('hub_admin', 'postgres_fdw', 'syncext_hub', current_user);
SELECT make_server('bare', 'dblink_fdw', 'syncext_bare', current_user);
SELECT make_server('self', 'dblink_fdw', current_database(), current_user);
CREATE SERVER away FOREIGN DATA WRAPPER dblink_fdw OPTIONS (host '/nonexistent', port '5432', dbname 'hub');

--
-- What can't be linked
--
SELECT sync_link(NULL, 'hub', 'Branch');
SELECT sync_link('up', NULL, 'Branch');
SELECT sync_link('up', 'hub', NULL);
SELECT sync_link('', 'hub', 'Branch');
SELECT sync_link('up', 'nowhere', 'Branch');
SELECT sync_link('up', 'hub', 'nobody');
CREATE USER MAPPING FOR CURRENT_USER SERVER away;
SELECT sync_link('up', 'away', 'Branch');
SELECT sync_link('up', 'bare', 'Branch');
SELECT sync_link('up', 'self', 'Branch');
-- a source that the hub doesn't know, and one that isn't ours there
SELECT sync_link('up', 'hub', 'Till');
SELECT sync_link('up', 'hub', 'Other');

-- Who isn't superuser needs rights, and a password.
GRANT EXECUTE ON FUNCTION sync_link(text, name, text, boolean) TO syncext_anna;
GRANT EXECUTE ON FUNCTION sync_unlink(text) TO syncext_anna;
SET ROLE syncext_anna;
SELECT sync_link('up', 'hub', 'Branch');
RESET ROLE;
UPDATE syncext.source SET role = 'syncext_anna' WHERE name = 'Branch';
SET ROLE syncext_anna;
SELECT sync_link('up', 'hub', 'Branch');
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER hub TO syncext_anna;
SET ROLE syncext_anna;
SELECT sync_link('up', 'hub', 'Branch');
CREATE USER MAPPING FOR syncext_anna SERVER hub OPTIONS (user 'syncext_spoke');
SELECT sync_link('up', 'hub', 'Branch');
RESET ROLE;

-- A table whose entity the hub doesn't have, or that is decided here already.
SELECT sync_add_entity('part'), sync_add_entity('bill');
CREATE TABLE part (id text PRIMARY KEY, name text);
SELECT sync_attach('part', 'Branch', 'part');
SELECT sync_link('up', 'hub', 'Branch');
\connect syncext_hub
SELECT sync_add_entity('part'), sync_add_entity('bill');
\connect :spoke
CREATE TABLE till_part (id text PRIMARY KEY, name text);
SELECT sync_attach('till_part', 'Till', 'part');
SELECT sync_link('up', 'hub', 'Branch');
SELECT sync_detach('till_part');
INSERT INTO part VALUES ('P1', 'bolt');
SELECT sync_link('up', 'hub', 'Branch');
SELECT count(*) FROM syncext.link;
SELECT sync_detach('part');
SELECT sync_forget('part', 'P1') ->> 'canonical' AS forgotten;

--
-- A link
--
SELECT sync_link('up', 'hub', 'Branch');
SELECT name, server, source, owner = current_user AS own, enabled, hub IS NOT NULL AS hub FROM syncext.link;
SELECT sync_link('up', 'hub', 'Other');
SELECT sync_link('up2', 'hub2', 'Branch');
\connect syncext_hub
SELECT source, batch, single_writer FROM syncext.spoke JOIN syncext.source ON name = source;
\connect :spoke

-- Not in a transaction, nor without being the source.
CALL sync_exchange(NULL);
CALL sync_exchange('nowhere');
BEGIN;
CALL sync_exchange('up');
ROLLBACK;
CREATE FUNCTION exchange() RETURNS void LANGUAGE plpgsql AS 'DECLARE r jsonb; BEGIN CALL sync_exchange(''up'', r); END';
SELECT exchange();
DROP FUNCTION exchange();
CREATE ROLE syncext_nobody;
SET ROLE syncext_nobody;
CALL sync_exchange('up');
SELECT sync_unlink('up');
RESET ROLE;
DROP ROLE syncext_nobody;

-- The hub's end of it takes nothing from others.
\connect syncext_hub
DROP FUNCTION syncext.hub_hello(text, text), sync_push(text, text, text);
SELECT sync_push('Branch', 'batch', '[]');
SELECT sync_push('ERP', 'batch', '[]');
SELECT sync_push('Branch', NULL, '[]');
SELECT sync_push(source, mark || '/1/1', '{}') FROM syncext.spoke;
SELECT sync_push(source, mark || '/1/1', '[{"source": "ERP", "externalId": "x", "base": 0, "a": 1}, 5]') FROM syncext.spoke;
-- what was answered is answered again, and no more
SELECT mark FROM syncext.spoke \gset
SELECT sync_push('Branch', :'mark' || '/1/2', '[{"source": "Branch", "externalId": "x", "base": 0, "fields": {"a": 1}}]');
SELECT sync_push('Branch', :'mark' || '/1/2', '[{"source": "Branch", "externalId": "y", "base": 0, "fields": {"a": 1}}]');
SELECT sync_apply('{"source": "ERP", "externalId": "x", "base": 1, "fields": {"a": 2}}') ->> 'rowVersion' AS erp;
SELECT sync_push('Branch', :'mark' || '/1/2',
	'[{"source": "Branch", "externalId": "y", "base": 0, "fields": {"a": 1}}, {"source": "Branch", "externalId": "x", "base": 0, "fields": {"a": 1}},
	  {"source": "Branch", "externalId": "z", "base": 0, "fields": {"a": 1}}]');
SELECT external_id, source, row_version, resolution FROM syncext.change_log ORDER BY seq;
SELECT octet_length(hashes) / 8 AS n, answers FROM syncext.push;
-- what fails in it fails alone, with its code, and is answered so again
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.fields ? 'bad' THEN RAISE 'not %', NEW.external_id USING ERRCODE = 'AB123'; END IF; RETURN NULL; END $$;
CREATE TRIGGER refuse AFTER INSERT ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE FUNCTION push_some(batch int, n int, bad int[]) RETURNS jsonb LANGUAGE sql AS $$
	SELECT sync_push('Branch', s.mark || '/1/' || $1, jsonb_agg(jsonb_build_object('source', 'Branch', 'externalId', format('b%s-%s', $1, i), 'base', 0,
		'fields', CASE WHEN i = ANY (bad) THEN '{"bad": 1}' ELSE '{"a": 1}' END::jsonb) ORDER BY i)) FROM generate_series(1, n) i, syncext.spoke s GROUP BY s.mark $$;
SELECT push_some(3, 7, '{2,3,7}');
SELECT push_some(3, 7, '{2,3,7}');
SELECT push_some(4, 1, '{1}');
-- those that are deferred are no error of the commit
DROP TRIGGER refuse ON syncext.canonical;
CREATE CONSTRAINT TRIGGER refuse AFTER INSERT ON syncext.canonical DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT push_some(5, 3, '{1,2}');
DROP FUNCTION refuse CASCADE;
-- an error about all of them is raised, and nothing is done
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.fields ? 'bad' THEN RAISE 'not now' USING ERRCODE = 'disk_full'; END IF; RETURN NULL; END $$;
CREATE TRIGGER refuse AFTER INSERT ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT push_some(6, 3, '{2}');
DROP FUNCTION refuse CASCADE;
-- where another transaction was in the way it is tried again here, some times
CREATE SEQUENCE tries;
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.fields ? 'bad' AND nextval('tries') <= current_setting('my.failures')::int THEN RAISE 'busy' USING ERRCODE = 'deadlock_detected'; END IF; RETURN NULL; END $$;
CREATE TRIGGER refuse AFTER INSERT ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION refuse();
SET my.failures = 2;
SELECT push_some(7, 3, '{2}');
SET my.failures = 6;
SELECT push_some(8, 3, '{2}');
SELECT last_value FROM tries;
DROP FUNCTION refuse CASCADE;
-- what needs too much memory at once is tried in halves; where one alone does, that is raised
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF nextval('tries') <= current_setting('my.failures')::int THEN RAISE 'no room' USING ERRCODE = 'out_of_memory'; END IF; RETURN NULL; END $$;
CREATE TRIGGER refuse AFTER INSERT ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION refuse();
SELECT setval('tries', 1, false);
SET my.failures = 2;
SELECT push_some(9, 4, '{}');
SELECT setval('tries', 1, false);
SET my.failures = 3;
SELECT push_some(10, 4, '{}');
DROP FUNCTION refuse CASCADE;
SELECT string_agg(external_id, ' ' ORDER BY external_id) FROM syncext.canonical WHERE external_id LIKE 'b%';
DROP FUNCTION push_some;
DROP SEQUENCE tries;
-- another protocol is refused before anything is noted
SELECT syncext.hub_hello('Branch', '{"protocol": 1, "claim": true}');
SELECT syncext.hub_hello('Branch', '{"protocol": 3}');
SELECT syncext.hub_hello('Branch', '{"claim": true}');
SELECT a->'refused' AS refused, a->>'spoke_is' AS spoke_is, a->>'hub_is' AS hub_is
FROM syncext.hub_hello('Branch', jsonb_build_object('claim', true, 'identity', syncext.identity() || '{"mark": "00000000-0000-0000-0000-000000000001"}')) a;
SELECT refused FROM syncext.spoke;
SELECT syncext.hub_hello('Branch', '{}') - 'hub';
SET ROLE syncext_spoke;
SELECT syncext.hub_hello('ERP', '{}');
SELECT syncext.release_spoke('Branch');
RESET ROLE;
\connect :spoke

-- A link that is edited by hand is another one from the next exchange on, though a
-- connection is kept
CALL sync_exchange('up') \gset
SELECT :'result'::jsonb - 'seconds' AS kept;
UPDATE syncext.link SET server = 'away' WHERE name = 'up';
CALL sync_exchange('up');
UPDATE syncext.link SET server = 'hub' WHERE name = 'up';
CREATE ROLE syncext_other SUPERUSER;
UPDATE syncext.link SET owner = 'syncext_other' WHERE name = 'up';
CALL sync_exchange('up');
UPDATE syncext.link SET owner = current_user WHERE name = 'up';
DROP ROLE syncext_other;

-- A hub of another version
\connect syncext_hub
ALTER EXTENSION syncext DROP FUNCTION syncext.hub_hello(text, jsonb);
ALTER FUNCTION syncext.hub_hello(text, jsonb) RENAME TO hub_hello_now;
\connect :spoke
CALL sync_exchange('up');
\connect syncext_hub
CREATE FUNCTION syncext.hub_hello(text, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"protocol": 3, "version": "2.0"}'::jsonb $$;
\connect :spoke
CALL sync_exchange('up');
\connect syncext_hub
CREATE OR REPLACE FUNCTION syncext.hub_hello(text, jsonb) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"protocol": 1, "version": "0.9"}'::jsonb $$;
\connect :spoke
CALL sync_exchange('up');
SELECT link, failures > 1 AS failed, last_error FROM syncext.link_state;
\connect syncext_hub
DROP FUNCTION syncext.hub_hello(text, jsonb);
ALTER FUNCTION syncext.hub_hello_now(text, jsonb) RENAME TO hub_hello;
ALTER EXTENSION syncext ADD FUNCTION syncext.hub_hello(text, jsonb);
\connect :spoke

-- Another hub than the one that was linked
\connect syncext_hub
UPDATE syncext.feed_origin SET mark = gen_random_uuid();
\connect :spoke
CALL sync_exchange('up');
\connect syncext_hub
SELECT syncext.release_spoke('Branch');
SELECT syncext.release_spoke('Branch');
\connect :spoke
SELECT sync_unlink('up');
SELECT sync_unlink('up');
SELECT count(*) FROM syncext.link_state;

\connect syncext_hub
DROP EXTENSION syncext;
\connect :spoke
SET client_min_messages = warning;
DROP OWNED BY syncext_anna, syncext_spoke;
DROP TABLE part, till_part;
DROP EXTENSION syncext;
DROP EXTENSION postgres_fdw CASCADE;
DROP EXTENSION dblink CASCADE;
DROP FUNCTION make_server(text, text, text, text, text);
DROP DATABASE syncext_hub;
DROP DATABASE syncext_bare;
DROP ROLE syncext_anna, syncext_spoke;
