-- The owner of an attached relation has code in it that runs when syncext reads
-- and writes it. Whoever calls, it runs as the owner, and nothing of it is left
-- behind to run as another role later.
\set VERBOSITY terse
\pset format unaligned
\pset tuples_only on
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_mallory, regress_alice, regress_grp;
CREATE EXTENSION syncext;
CREATE ROLE regress_mallory;
CREATE ROLE regress_grp;
CREATE ROLE regress_alice IN ROLE regress_grp;
CREATE SCHEMA mallory AUTHORIZATION regress_mallory;
GRANT USAGE ON SCHEMA mallory TO PUBLIC;
GRANT CREATE ON SCHEMA public TO regress_mallory;
SELECT sync_add_source('M', 2, 'regress_mallory'), sync_add_source('V', 2, 'regress_mallory'), sync_add_source('X', 1) \g /dev/null
SELECT sync_add_entity('ware'), sync_add_entity('seen'), sync_add_entity('part'), sync_add_entity('kept'), sync_add_entity('slow') \g /dev/null

--
-- The owner's side
--
SET ROLE regress_mallory;
SET search_path = mallory;
-- Each door's sequence, and those of what must not be.
DO $$
DECLARE
	door text;
BEGIN
	FOREACH door IN ARRAY ARRAY['domain', 'generated', 'index', 'default', 'policy', 'check', 'predicate', 'before row', 'after row',
	                            'before statement', 'after statement', 'when', 'deferred', 'deferrable', 'rule', 'partition', 'cascade',
	                            'view', 'view condition', 'instead', 'deferred elsewhere'] LOOP
		EXECUTE format('CREATE SEQUENCE mallory.%I', door);
		EXECUTE format('CREATE SEQUENCE mallory.%I', door || ' ESCAPED');
		EXECUTE format('CREATE SEQUENCE mallory.%I', 'later ' || door);
		EXECUTE format('CREATE SEQUENCE mallory.%I', 'later ' || door || ' ESCAPED');
	END LOOP;
	EXECUTE 'GRANT ALL ON ALL SEQUENCES IN SCHEMA mallory TO PUBLIC';
END $$;
-- What was tried, by a sequence each: that stays whatever is rolled back.
CREATE FUNCTION note(what text, as_whom text DEFAULT current_user) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	IF as_whom <> 'regress_mallory' OR (SELECT rolsuper FROM pg_roles WHERE rolname = 'regress_mallory') THEN
		what := what || ' ESCAPED';
		RAISE WARNING '% as % in a session of %', what, as_whom, session_user;
	END IF;
	PERFORM setval(format('mallory.%I', what), 1);
EXCEPTION WHEN undefined_table OR insufficient_privilege THEN
	RAISE WARNING '% as % in a session of %', what, as_whom, session_user;
END $$;
-- What is tried at every door.
CREATE FUNCTION try(door text, command text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	PERFORM mallory.note(door, current_user);
EXCEPTION WHEN OTHERS THEN
	NULL;
END $$;
CREATE FUNCTION strike(door text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.note(door, current_user);
	PERFORM mallory.try(door, 'RESET ROLE');
	PERFORM mallory.try(door, 'SET ROLE NONE');
	PERFORM mallory.try(door, format('SET ROLE %I', session_user));
	PERFORM mallory.try(door, $c$SELECT pg_catalog.set_config('role', 'none', false)$c$);
	PERFORM mallory.try(door, 'SET SESSION AUTHORIZATION DEFAULT');
	PERFORM mallory.try(door, 'RESET SESSION AUTHORIZATION');
	PERFORM mallory.try(door, format('SET SESSION AUTHORIZATION %I', session_user));
	PERFORM mallory.try(door, 'ALTER ROLE regress_mallory SUPERUSER');
	PERFORM mallory.try(door, 'RESET ALL');
	PERFORM mallory.try(door, 'DISCARD ALL');
	-- what would run when the transaction ends, or later
	PERFORM mallory.try(door, format('DECLARE %I CURSOR WITH HOLD FOR SELECT mallory.later(%L)', door, door));
	PERFORM mallory.try(door, 'CREATE TEMP TABLE pg_class (later int DEFAULT 1)');
	PERFORM mallory.try(door, 'CREATE FUNCTION pg_temp.format(text) RETURNS text LANGUAGE sql AS ''SELECT mallory.later(''''temp'''')::text''');
	PERFORM mallory.try(door, 'SET CONSTRAINTS ALL DEFERRED');
	IF door !~ '^deferred|^later' THEN
		PERFORM mallory.try(door, 'INSERT INTO mallory.late VALUES (1)');
	END IF;
	PERFORM mallory.try(door, 'PREPARE later AS SELECT mallory.later(''prepared'')');
	PERFORM mallory.try(door, 'LISTEN later');
	-- what would be in force for the caller
	PERFORM mallory.try(door, $c$SELECT pg_catalog.set_config('search_path', 'mallory, pg_catalog', false)$c$);
	PERFORM mallory.try(door, $c$SELECT pg_catalog.set_config('syncext.inbound', '1', false)$c$);
	PERFORM mallory.try(door, $c$SELECT pg_catalog.set_config('session_replication_role', 'replica', false)$c$);
	PERFORM mallory.try(door, $c$SELECT pg_catalog.set_config('row_security', 'off', false)$c$);
	PERFORM mallory.try(door, 'SET LOCAL mallory.was = ''here''');
	RETURN true;
END $$;
CREATE FUNCTION strike_now(door text) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT mallory.strike(door)';
CREATE FUNCTION later(door text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.note('later ' || door, current_user);
	RETURN mallory.strike(door);
END $$;
CREATE FUNCTION trigger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.strike(TG_ARGV[0]);
	RETURN CASE TG_OP WHEN 'DELETE' THEN OLD ELSE NEW END;
END $$;
CREATE FUNCTION put() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM mallory.strike('instead');
	IF TG_OP <> 'INSERT' THEN
		DELETE FROM mallory.below WHERE id = OLD.id;
	END IF;
	IF TG_OP <> 'DELETE' THEN
		INSERT INTO mallory.below VALUES (NEW.id, NEW.name);
		RETURN NEW;
	END IF;
	RETURN OLD;
END $$;

CREATE TABLE late (n int);
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON late DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trigger('deferred elsewhere');
CREATE TABLE log (what text DEFAULT 'x');
CREATE DOMAIN label AS text CHECK (mallory.strike_now('domain'));
CREATE FUNCTION generated(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.strike('generated'); RETURN t; END $$;
CREATE FUNCTION indexed(t text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN PERFORM mallory.strike('index'); RETURN t; END $$;
CREATE FUNCTION by_default() RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM mallory.strike('default'); RETURN 'd'; END $$;
CREATE FUNCTION policy() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN mallory.strike('policy'); END $$;
-- one table has all that a table can have
CREATE TABLE ware (
	id int PRIMARY KEY,
	name label,
	note text DEFAULT mallory.by_default(),
	made text GENERATED ALWAYS AS (mallory.generated(name)) STORED,
	CHECK (mallory.strike_now('check'))
);
CREATE INDEX ON ware (mallory.indexed(name));
CREATE INDEX ON ware (id) WHERE mallory.strike_now('predicate');
CREATE TRIGGER a BEFORE INSERT OR UPDATE OR DELETE ON ware FOR EACH ROW EXECUTE FUNCTION trigger('before row');
CREATE TRIGGER b AFTER INSERT OR UPDATE OR DELETE ON ware FOR EACH ROW EXECUTE FUNCTION trigger('after row');
CREATE TRIGGER c BEFORE INSERT OR UPDATE OR DELETE ON ware FOR EACH STATEMENT EXECUTE FUNCTION trigger('before statement');
CREATE TRIGGER d AFTER INSERT ON ware REFERENCING NEW TABLE AS n FOR EACH STATEMENT EXECUTE FUNCTION trigger('after statement');
CREATE TRIGGER e BEFORE INSERT OR UPDATE ON ware FOR EACH ROW WHEN (mallory.strike_now('when')) EXECUTE FUNCTION trigger('before row');
ALTER TABLE ware ENABLE ROW LEVEL SECURITY;
ALTER TABLE ware FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON ware USING (mallory.policy()) WITH CHECK (mallory.policy());
-- for this one's rows fail where nothing may be deferred
CREATE TABLE slow (id int PRIMARY KEY, name text);
CREATE CONSTRAINT TRIGGER f AFTER INSERT OR UPDATE OR DELETE ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION trigger('deferred');
CREATE CONSTRAINT TRIGGER g AFTER INSERT OR UPDATE OR DELETE ON slow DEFERRABLE INITIALLY IMMEDIATE FOR EACH ROW EXECUTE FUNCTION trigger('deferrable');
-- rules, for they come before triggers
CREATE TABLE kept (id int PRIMARY KEY, name text);
CREATE RULE r AS ON INSERT TO kept DO ALSO SELECT mallory.strike('rule');
-- a foreign key whose action fires triggers elsewhere, and partitions
CREATE TABLE part (id int PRIMARY KEY, name text) PARTITION BY HASH (id);
CREATE TABLE part_0 PARTITION OF part FOR VALUES WITH (MODULUS 1, REMAINDER 0);
CREATE TRIGGER a AFTER INSERT ON part_0 FOR EACH ROW EXECUTE FUNCTION trigger('partition');
CREATE TABLE child (part int REFERENCES part ON DELETE CASCADE);
CREATE TRIGGER a BEFORE DELETE ON child FOR EACH ROW EXECUTE FUNCTION trigger('cascade');
-- views
CREATE TABLE below (id int PRIMARY KEY, name text);
INSERT INTO below VALUES (1, 'b');
CREATE VIEW seen AS SELECT id, CASE WHEN mallory.strike('view') THEN name END AS name FROM below WHERE mallory.strike('view condition');
CREATE TRIGGER a INSTEAD OF INSERT OR UPDATE OR DELETE ON seen FOR EACH ROW EXECUTE FUNCTION put();

RESET search_path;
SELECT sync_attach('mallory.ware', 'M', 'ware') \g /dev/null
SELECT sync_attach('mallory.slow', 'M', 'slow') \g /dev/null
SELECT sync_attach('mallory.kept', 'M', 'kept') \g /dev/null
SELECT sync_attach('mallory.part', 'M', 'part') \g /dev/null
SELECT sync_attach('mallory.seen', 'V', 'seen', '{id}', capture => 'poll') \g /dev/null
RESET ROLE;

-- Which doors were tried since the last time.
CREATE FUNCTION tried() RETURNS TABLE (doors text) LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT string_agg(sequencename::text, ', ' ORDER BY sequencename COLLATE "C") FROM pg_sequences
		WHERE schemaname = 'mallory' AND last_value IS NOT NULL;
	PERFORM setval(format('mallory.%I', sequencename)::regclass, 1, false) FROM pg_sequences WHERE schemaname = 'mallory';
END $$;
-- The caller is who he was, where he was, and nothing waits to run as him.
CREATE FUNCTION left_behind() RETURNS TABLE (what text) LANGUAGE sql AS $$
	SELECT 'cursor ' || name FROM pg_cursors WHERE is_holdable
	UNION ALL SELECT 'prepared ' || name FROM pg_prepared_statements
	UNION ALL SELECT 'temporary ' || relname FROM pg_class WHERE relnamespace = pg_my_temp_schema()
	UNION ALL SELECT 'listens to ' || c FROM pg_listening_channels() c
	UNION ALL SELECT 'setting ' || s FROM unnest('{search_path,syncext.inbound,session_replication_role,row_security,mallory.was}'::text[]) s
		WHERE coalesce(current_setting(s, true), '') NOT IN ('"$user", public', 'origin', 'on', '')
	UNION ALL SELECT 'role ' || current_user WHERE current_user <> session_user
$$;
CREATE FUNCTION change(entity text, id text, name text) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('entity', entity, 'externalId', id, 'source', 'X', 'updatedAt', clock_timestamp(),
		'base', coalesce((sync_record(entity, id)->>'rowVersion')::bigint, 0), 'fields', jsonb_build_object('id', id::int, 'name', name)))->>'resolution'
$$;
CREATE FUNCTION change_all(name text) RETURNS void LANGUAGE sql AS $$
	SELECT change(e, id, name) FROM unnest('{ware,slow,kept,part,seen}'::text[]) e, unnest('{1,2}'::text[]) id
$$;
CREATE FUNCTION delete_all() RETURNS void LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('entity', e, 'externalId', '2', 'source', 'X', 'base', (sync_record(e, '2')->>'rowVersion')::bigint, 'deleted', true))
	FROM unnest('{ware,slow,kept,part,seen}'::text[]) e
$$;

--
-- A superuser calls
--
SELECT change_all('a') \g /dev/null
SELECT sync_deliver('M'), sync_deliver('V') \g /dev/null
SELECT * FROM tried();
SELECT * FROM left_behind();
INSERT INTO mallory.child VALUES (2);
SELECT change_all('b'), delete_all() \g /dev/null
-- in a transaction that goes on
BEGIN;
SELECT sync_deliver('M'), sync_deliver('V');
SELECT * FROM tried();
SELECT * FROM left_behind();
COMMIT;
SELECT * FROM tried();
SELECT * FROM left_behind();
-- what was deferred before is the caller's, and its end the caller's
SELECT change_all('c') \g /dev/null
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
SELECT sync_deliver('M'), sync_deliver('V');
COMMIT;
SELECT * FROM tried();
SELECT * FROM left_behind();
-- loading, polling, jobs, by themselves and in a transaction
CALL sync_load('mallory.ware') \g /dev/null
CALL sync_load('mallory.part', 'table') \g /dev/null
SELECT * FROM tried();
SELECT change_all('d') \g /dev/null
CALL sync_load('mallory.ware', 'hub') \g /dev/null
CALL sync_load('mallory.seen', 'hub') \g /dev/null
SELECT * FROM tried();
SELECT * FROM left_behind();
INSERT INTO mallory.below VALUES (3, 'new');
CALL sync_poll('mallory.seen') \g /dev/null
SELECT * FROM tried();
DELETE FROM mallory.below WHERE id = 3;
CALL sync_poll('mallory.seen', true) \g /dev/null
SELECT * FROM tried();
SELECT change_all('e') \g /dev/null
CALL syncext.run_job('mallory.seen') \g /dev/null
CALL syncext.run_job('mallory.ware', 'deliver') \g /dev/null
SELECT * FROM tried();
BEGIN;
CALL sync_poll('mallory.seen', true) \g /dev/null
CALL sync_load('mallory.ware') \g /dev/null
COMMIT;
SELECT * FROM tried();
SELECT * FROM left_behind();
-- what doesn't touch it
SELECT * FROM sync_check() \g /dev/null
TABLE syncext.feed_lag \g /dev/null
TABLE syncext.job_status \g /dev/null
CALL sync_maintain() \g /dev/null
SELECT sync_forget('ware', '2') \g /dev/null
SELECT sync_redrive('M'), sync_discard('M') \g /dev/null
SELECT * FROM tried();

--
-- A superuser who has become the owner, or a role of which the owner is a member:
-- RESET ROLE must not lead back
--
SELECT change_all('f') \g /dev/null
SET ROLE regress_mallory;
SELECT sync_deliver('M'), sync_deliver('V');
CALL sync_poll('mallory.seen', true) \g /dev/null
CALL sync_load('mallory.ware') \g /dev/null
RESET ROLE;
SELECT * FROM tried();
SELECT * FROM left_behind();
UPDATE syncext.source SET role = 'regress_grp' WHERE name IN ('M', 'V');
GRANT regress_grp TO regress_mallory;
SELECT change_all('g') \g /dev/null
SET ROLE regress_grp;
SELECT sync_deliver('M'), sync_deliver('V');
RESET ROLE;
SELECT * FROM tried();
SELECT * FROM left_behind();
REVOKE regress_grp FROM regress_mallory;

--
-- Another role that may act as the source
--
UPDATE syncext.source SET role = 'regress_grp' WHERE name IN ('M', 'V');
SELECT change_all('h') \g /dev/null
SET SESSION AUTHORIZATION regress_alice;
SELECT sync_deliver('M'), sync_deliver('V');
RESET SESSION AUTHORIZATION;
SELECT * FROM tried();
SELECT * FROM left_behind();
SELECT rolname FROM pg_roles WHERE rolname LIKE 'regress_%' AND rolsuper;

SET client_min_messages = warning;
DROP SCHEMA mallory CASCADE;
DROP FUNCTION tried, left_behind, change_all, change(text, text, text), delete_all;
DROP EXTENSION syncext CASCADE;
DROP OWNED BY regress_mallory;
DROP ROLE regress_mallory, regress_alice, regress_grp;
