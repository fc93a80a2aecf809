-- Code of attached tables, run by a delivery, a load or a poll: as whom, with which
-- search_path, within reach of what, and what is left behind.
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_owner, syncext_group, syncext_sender, syncext_other, syncext_leaver;
RESET client_min_messages;
CREATE EXTENSION syncext;
\ir test/helpers.sql
CREATE ROLE syncext_owner;
CREATE ROLE syncext_group;
CREATE ROLE syncext_sender;
CREATE ROLE syncext_other;
GRANT syncext_group TO syncext_owner;
SELECT sync_add_source('CRM', 1, 'syncext_sender'), sync_add_source('Here', 2, 'syncext_sender');
SELECT count(sync_add_entity(name)) FROM unnest('{plain,swap,child,parent,raised,view}'::text[]) name;
GRANT syncext_sender TO syncext_owner;
CREATE SCHEMA app AUTHORIZATION syncext_owner;
CREATE SCHEMA loose AUTHORIZATION syncext_owner;
GRANT USAGE ON SCHEMA app, loose TO syncext_sender;
GRANT CREATE ON SCHEMA loose TO syncext_other;

--
-- A trigger finds what a session of its owner would find, but nothing that others put there
--
ALTER ROLE syncext_owner SET search_path = loose, app, public;
SET ROLE syncext_owner;
CREATE TABLE app.audit (who text DEFAULT current_user, path text DEFAULT current_setting('search_path'), note text);
CREATE TABLE app.plain (id int PRIMARY KEY, v text);
CREATE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO audit (note) VALUES (NEW.v);
	RETURN NEW;
END $$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE ON app.plain FOR EACH ROW EXECUTE FUNCTION app.note();
SELECT sync_attach('app.plain', 'Here', 'plain');
RESET ROLE;
SELECT change('CRM', 'plain', '1', 1, '{"v": "a"}');
SELECT sync_deliver('Here');
SELECT * FROM app.audit;
-- the database's setting for all comes after the role's own, and the default last
SELECT format('ALTER ROLE syncext_owner IN DATABASE %I SET search_path = app, pg_temp, "$user"', current_database()) AS set_here,
       format('ALTER ROLE syncext_owner IN DATABASE %I RESET search_path', current_database()) AS reset_here \gset
:set_here;
SELECT change('CRM', 'plain', '1', 2, '{"v": "b"}');
SELECT sync_deliver('Here');
SELECT path FROM app.audit WHERE note = 'b';
:reset_here;
ALTER ROLE syncext_owner RESET search_path;
SELECT change('CRM', 'plain', '1', 3, '{"v": "c"}');
SELECT sync_deliver('Here');
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'Here' AND state = 'retry';
ALTER ROLE syncext_owner SET search_path = app;

--
-- What the deliverer has put into its session is out of reach, under a name that the
-- table's code uses, and under one that isn't there but in the session
--
SELECT sync_redrive('Here');
SET ROLE syncext_sender;
CREATE TEMP TABLE audit (who text, path text, note text);
GRANT ALL ON audit TO PUBLIC;
CREATE FUNCTION pg_temp.impostor() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'trapped: %', current_user; END $$;
CREATE TRIGGER impostor BEFORE INSERT ON audit FOR EACH ROW EXECUTE FUNCTION pg_temp.impostor();
SELECT sync_deliver('Here');
RESET ROLE;
SELECT note FROM app.audit;
ALTER TABLE app.audit RENAME TO audit_away;
SELECT change('CRM', 'plain', '1', 4, '{"v": "d"}');
SET ROLE syncext_sender;
SELECT sync_deliver('Here');
RESET ROLE;
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'Here' AND state = 'retry';
-- a view's functions could run when it is planned
SET ROLE syncext_sender;
DROP TABLE audit;
CREATE FUNCTION pg_temp.peek() RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'trapped: %', current_user; END $$;
CREATE VIEW pg_temp.audit AS SELECT pg_temp.peek() AS note;
GRANT ALL ON audit TO PUBLIC;
RESET ROLE;
CREATE OR REPLACE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM note FROM audit;
	RETURN NEW;
END $$;
SELECT sync_redrive('Here');
SET ROLE syncext_sender;
SELECT sync_deliver('Here');
RESET ROLE;
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'Here' AND state = 'retry';
SET ROLE syncext_sender;
DROP VIEW audit;
CREATE TABLE pg_temp.audit (note text);
GRANT ALL ON pg_temp.audit TO PUBLIC;
CREATE TRIGGER impostor BEFORE TRUNCATE ON pg_temp.audit EXECUTE FUNCTION pg_temp.impostor();
RESET ROLE;
CREATE OR REPLACE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	TRUNCATE audit;
	RETURN NEW;
END $$;
SELECT sync_redrive('Here');
SET ROLE syncext_sender;
SELECT sync_deliver('Here');
-- a type's constraint is checked whenever a value is made
CREATE DOMAIN pg_temp.text_of_mine AS text;
RESET ROLE;
SELECT sync_redrive('Here');
SET ROLE syncext_sender;
SELECT sync_deliver('Here');
RESET ROLE;
DISCARD TEMP;
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'Here' AND state = 'retry';

--
-- Whoever calls, nothing is left behind that runs later: also where the caller is
-- superuser, a member of the owner's role, or has said SET ROLE
--
CREATE OR REPLACE FUNCTION app.note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE NEW.v;
	RETURN NEW;
END $$;
SELECT sync_redrive('Here');
SELECT change('CRM', 'plain', (100 + n)::text, 1, jsonb_build_object('v', command)) FROM unnest('{
	DECLARE later CURSOR WITH HOLD FOR SELECT 1,
	CREATE TEMP TABLE later (id int),
	PREPARE later AS SELECT 1,
	DEALLOCATE ALL,
	LISTEN later,
	UNLISTEN *,
	SET ROLE syncext_sender,
	RESET ROLE,
	SET SESSION AUTHORIZATION syncext_sender,
	CLOSE ALL,
	CREATE TABLE pg_temp.later (id int),
	CREATE TEMP VIEW later AS SELECT 1,
	CREATE TEMP SEQUENCE later}'::text[]) WITH ORDINALITY c(command, n);
SELECT change('CRM', 'plain', '1', 9, '{"v": "SELECT 1"}');
SET ROLE syncext_group;
RESET ROLE;
SELECT sync_deliver('Here');
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'Here' AND state = 'retry' ORDER BY external_id;
-- where constraints are deferred the server doesn't refuse it by itself
SET ROLE syncext_owner;
ALTER TABLE app.plain ADD UNIQUE (v) DEFERRABLE;
RESET ROLE;
SELECT sync_redrive('Here');
SELECT sync_deliver('Here');
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'Here' AND state = 'retry' ORDER BY external_id;
SELECT count(*) FROM pg_cursors WHERE name = 'later';
SELECT sync_discard('Here');
SET ROLE syncext_owner;
DROP TRIGGER note ON app.plain;
RESET ROLE;

--
-- Constraints that can be deferred are, whoever delivers
--
SET ROLE syncext_owner;
CREATE TABLE app.swap (id int PRIMARY KEY, pos int UNIQUE DEFERRABLE);
CREATE TABLE app.parent (id int PRIMARY KEY, favourite int);
CREATE TABLE app.child (id int PRIMARY KEY, parent int REFERENCES app.parent DEFERRABLE);
ALTER TABLE app.parent ADD FOREIGN KEY (favourite) REFERENCES app.child DEFERRABLE INITIALLY DEFERRED;
SELECT sync_attach('app.swap', 'Here', 'swap'), sync_attach('app.parent', 'Here', 'parent'), sync_attach('app.child', 'Here', 'child');
RESET ROLE;
SELECT change('CRM', 'swap', '1', 1, '{"pos": 1}'), change('CRM', 'swap', '2', 1, '{"pos": 2}'), change('CRM', 'parent', '1', 1, '{"favourite": 1}'), change('CRM', 'child', '1', 1, '{"parent": 1}');
SELECT sync_deliver('Here');
SELECT change('CRM', 'swap', '1', 2, '{"pos": 2}'), change('CRM', 'swap', '2', 2, '{"pos": 1}');
SELECT sync_deliver('Here');
SELECT id, pos FROM app.swap ORDER BY 1;
SELECT p.id, p.favourite, c.parent FROM app.parent p, app.child c;
-- and are the caller's again afterwards
CREATE TABLE mine (id int PRIMARY KEY, other int CONSTRAINT later REFERENCES mine DEFERRABLE INITIALLY DEFERRED,
	third int CONSTRAINT sooner REFERENCES mine DEFERRABLE);
SELECT change('CRM', 'swap', '1', 3, '{"pos": 3}'), change('CRM', 'plain', '7', 3, '{"v": "x"}');
BEGIN;
SELECT sync_deliver('Here') > 0 AS delivered;
INSERT INTO mine VALUES (1, 2);
INSERT INTO mine VALUES (2, 1);
SAVEPOINT s;
INSERT INTO mine VALUES (3, 1, 4);
ROLLBACK TO s;
COMMIT;
SELECT change('CRM', 'swap', '1', 4, '{"pos": 4}');
BEGIN;
SET CONSTRAINTS sooner DEFERRED;
SAVEPOINT s;
SET CONSTRAINTS ALL IMMEDIATE;
ROLLBACK TO s;
SELECT sync_deliver('Here') > 0 AS delivered;
INSERT INTO mine VALUES (3, 1, 4);
INSERT INTO mine VALUES (4, 1, 3);
COMMIT;
SELECT change('CRM', 'swap', '1', 5, '{"pos": 5}');
BEGIN;
SET CONSTRAINTS ALL IMMEDIATE;
SELECT sync_deliver('Here') > 0 AS delivered;
INSERT INTO mine VALUES (5, 6);
ROLLBACK;
-- what waits in the caller's transaction is not touched where nothing need be deferred
SET ROLE syncext_owner;
ALTER TABLE app.plain DROP CONSTRAINT plain_v_key;
RESET ROLE;
SELECT change('CRM', 'plain', '8', 3, '{"v": "y"}');
SELECT sync_deliver('Here');
SELECT change('CRM', 'plain', '9', 3, '{"v": "z"}');
BEGIN;
INSERT INTO mine VALUES (7, 8);
SELECT sync_deliver('Here') > 0 AS delivered;
INSERT INTO mine VALUES (8, 7);
COMMIT;
SELECT * FROM mine ORDER BY 1;

--
-- A SQLSTATE that the table's code chose is that record's failure
--
SET ROLE syncext_owner;
CREATE TABLE app.raised (id int PRIMARY KEY, state text);
CREATE FUNCTION app.raise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.state <> 'fine' THEN
		RAISE 'says %', NEW.state USING ERRCODE = NEW.state;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER raise BEFORE INSERT ON app.raised FOR EACH ROW EXECUTE FUNCTION app.raise();
SELECT sync_attach('app.raised', 'Here', 'raised');
RESET ROLE;
SELECT change('CRM', 'raised', n::text, 1, jsonb_build_object('state', state)) FROM unnest('{57014,53100,53200,58030,57P01,08006,40001,55P03,40P01,HV00N,fine,XX000}'::text[]) WITH ORDINALITY s(state, n);
SELECT sync_deliver('Here');
SELECT * FROM app.raised;
SELECT external_id, attempts, error FROM syncext.outbound_change WHERE target = 'Here' AND state = 'retry' ORDER BY external_id::int;

--
-- Who attached a table by right of the source's role has to keep that
--
CREATE ROLE syncext_leaver IN ROLE syncext_sender;
SELECT sync_add_entity('left'), sync_add_source('Left', 3, 'syncext_sender');
CREATE SCHEMA leaver AUTHORIZATION syncext_leaver;
SET ROLE syncext_leaver;
CREATE TABLE leaver.leaving (id int PRIMARY KEY, v text);
SELECT sync_attach('leaver.leaving', 'Left', 'left');
INSERT INTO leaver.leaving VALUES (1, 'a');
RESET ROLE;
REVOKE syncext_sender FROM syncext_leaver;
SET ROLE syncext_leaver;
INSERT INTO leaver.leaving VALUES (2, 'b');
DELETE FROM leaver.leaving;
RESET ROLE;
SELECT change('CRM', 'left', '3', 1, '{"v": "by right of who delivers"}');
SELECT sync_deliver('Left');
SELECT * FROM leaver.leaving;
SELECT object, problem, hint FROM sync_check() WHERE object LIKE '%leaving';
GRANT syncext_sender TO syncext_leaver;
SET ROLE syncext_leaver;
INSERT INTO leaver.leaving VALUES (2, 'b');
RESET ROLE;
SELECT external_id FROM syncext.canonical WHERE entity = 'left' ORDER BY 1;

SET client_min_messages = warning;
DROP EXTENSION syncext CASCADE;
DROP SCHEMA leaver CASCADE;
DROP ROLE syncext_leaver;
DROP SCHEMA app, loose CASCADE;
DROP TABLE mine;
DROP ROLE syncext_owner, syncext_group, syncext_sender, syncext_other;
