-- Who may do what: sources belong to roles, the hub to its administrators.
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_crm, syncext_erp, syncext_agent, syncext_lazy, syncext_nobody, syncext_admin, syncext_reviewer, "syncext ""O'Hara""; --";
RESET client_min_messages;
CREATE EXTENSION syncext;
\ir test/helpers.sql
CREATE ROLE syncext_crm;
CREATE ROLE syncext_erp;
CREATE ROLE syncext_agent IN ROLE syncext_crm, syncext_erp;
CREATE ROLE syncext_lazy NOINHERIT IN ROLE syncext_crm;
CREATE ROLE syncext_nobody;
CREATE ROLE syncext_reviewer;
SELECT sync_add_source('CRM', 1, 'syncext_crm');
SELECT sync_add_source('ERP', 2, 'syncext_erp');
SELECT sync_add_source('Internal', 3, NULL);
SELECT sync_add_entity('order');

CREATE FUNCTION apply_as(source text) RETURNS TABLE (state text, said text, hint text) LANGUAGE sql AS $$
	SELECT * FROM attempt(format('SELECT sync_apply(%L)->>''resolution''',
		jsonb_build_object('externalId', 'K', 'source', source, 'version', 1, 'x', source)))
$$;

--
-- To apply and to explain, be a member of the source's role
--
SELECT * FROM apply_as('CRM');
SET ROLE syncext_nobody;
SELECT source, a.* FROM unnest('{CRM,ERP,Internal}'::text[]) source, apply_as(source) a;
SELECT * FROM attempt($$SELECT sync_explain('{"externalId":"K","source":"CRM","version":1,"x":1}')$$);
-- asking what there is doesn't get further
SELECT * FROM attempt($$SELECT sync_apply('{"externalId":"K","source":"nobody","version":1,"x":1}')$$);
SET ROLE syncext_crm;
SELECT source, a.* FROM unnest('{CRM,ERP,Internal}'::text[]) source, apply_as(source) a;
-- a batch in another's name does nothing at all
SELECT * FROM attempt($$SELECT sync_apply('[
	{"externalId":"batch","source":"CRM","version":1,"x":1},
	{"externalId":"batch","source":"ERP","version":1,"y":1},
	{"externalId":"batch","source":"CRM","version":"bad","x":1}]')$$);
SELECT sync_record('record', 'batch') IS NULL AS nothing;
-- but an item that is refused for itself isn't anybody's
SELECT sync_apply('[{"externalId":"batch","source":"CRM","version":1,"x":1}, {"externalId":"batch","source":"ERP","version":-1,"y":1}]')->1 AS refused;
SET ROLE syncext_agent;
SELECT source, a.* FROM unnest('{CRM,ERP,Internal}'::text[]) source, apply_as(source) a;
-- who doesn't inherit has to become it
SET ROLE syncext_lazy;
SELECT * FROM apply_as('CRM');
RESET ROLE;
SET SESSION AUTHORIZATION syncext_lazy;
SELECT * FROM apply_as('CRM');
SET ROLE syncext_crm;
SELECT * FROM apply_as('CRM');
RESET SESSION AUTHORIZATION;
-- as soon as it is granted, and as long as it isn't revoked
GRANT syncext_erp TO syncext_nobody;
SET ROLE syncext_nobody;
SELECT * FROM apply_as('ERP');
RESET ROLE;
REVOKE syncext_erp FROM syncext_nobody;
SET ROLE syncext_nobody;
SELECT * FROM apply_as('ERP');
RESET ROLE;
-- as soon as the source is given to another role
UPDATE syncext.source SET role = 'syncext_nobody' WHERE name = 'ERP';
SET ROLE syncext_nobody;
SELECT * FROM apply_as('ERP');
SET ROLE syncext_erp;
SELECT * FROM apply_as('ERP');
RESET ROLE;
UPDATE syncext.source SET role = 'syncext_erp' WHERE name = 'ERP';
-- what a function of its owner does, its owner does
CREATE FUNCTION crm_apply(change jsonb) RETURNS jsonb LANGUAGE sql SECURITY DEFINER SET search_path = public AS 'SELECT sync_apply(change)';
ALTER FUNCTION crm_apply OWNER TO syncext_crm;
SET ROLE syncext_nobody;
SELECT crm_apply('{"externalId":"K","source":"CRM","version":2,"x":1}')->>'resolution' AS resolution;
SELECT * FROM attempt($$SELECT crm_apply('{"externalId":"K","source":"ERP","version":2,"x":1}')$$);
RESET ROLE;
DROP FUNCTION crm_apply;

--
-- Records are read by those who get them
--
UPDATE syncext.source SET entities = '{order}' WHERE name = 'ERP';
SET ROLE syncext_crm;
SELECT * FROM attempt($$SELECT sync_record('record', 'K')->>'version'$$);
SELECT * FROM attempt($$SELECT coalesce(sync_record('order', 'K')::text, 'none')$$);
SET ROLE syncext_erp;
SELECT * FROM attempt($$SELECT sync_record('record', 'K')->>'version'$$);
SELECT * FROM attempt($$SELECT coalesce(sync_record('order', 'K')::text, 'none')$$);
SET ROLE syncext_nobody;
SELECT * FROM attempt($$SELECT sync_record('record', 'K')->>'version'$$);
SELECT * FROM attempt($$SELECT sync_record('record', 'not there')->>'version'$$);
RESET ROLE;
GRANT SELECT ON syncext.canonical TO syncext_nobody;
SET ROLE syncext_nobody;
SELECT * FROM attempt($$SELECT sync_record('record', 'K')->>'version'$$);
RESET ROLE;
REVOKE SELECT ON syncext.canonical FROM syncext_nobody;
UPDATE syncext.source SET entities = NULL WHERE name = 'ERP';
-- Of the log, everybody sees what came from sources that are theirs.
SELECT source, resolution FROM sync_history('record', 'K');
SET ROLE syncext_crm;
SELECT source, resolution FROM sync_history('record', 'K');
SET ROLE syncext_agent;
SELECT source, resolution FROM sync_history('record', 'K');
SET ROLE syncext_nobody;
SELECT source, resolution FROM sync_history('record', 'K');
SELECT count(*) FROM syncext.history;
-- a condition that peeps gets to see no more
CREATE FUNCTION pg_temp.peep(s text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS $$ BEGIN RAISE NOTICE 'saw %', s; RETURN true; END $$;
SELECT count(*) FROM syncext.history WHERE pg_temp.peep(source);
RESET ROLE;
GRANT SELECT ON syncext.change_log TO syncext_nobody;
SET ROLE syncext_nobody;
SELECT source, resolution FROM sync_history('record', 'K');
RESET ROLE;
REVOKE SELECT ON syncext.change_log FROM syncext_nobody;
DROP FUNCTION pg_temp.peep;
SELECT source, syncext.may_act_as(source) FROM unnest('{CRM,Internal,"never there",NULL}'::text[]) source;
SET ROLE syncext_crm;
SELECT source, syncext.may_act_as(source) FROM unnest('{CRM,ERP,Internal,"never there",NULL}'::text[]) source;
RESET ROLE;

--
-- Setting up and deciding are the administrators', and whose they are granted
--
SELECT sync_apply('[{"externalId":"conflict","source":"CRM","version":1,"x":1}, {"externalId":"conflict","source":"CRM","version":1,"x":2}]')->1->'conflictId' AS conflict;
SET ROLE syncext_agent;
SELECT command, t.state, t.said FROM unnest(ARRAY[
	$$SELECT sync_add_source('mine')$$,
	$$SELECT sync_drop_source('CRM')$$,
	$$SELECT sync_add_entity('mine')$$,
	$$SELECT sync_add_reference('order', 'x', 'record')$$,
	$$SELECT sync_resolve(1, 'incoming')$$,
	$$INSERT INTO syncext.source (name, role) VALUES ('mine', 'syncext_agent')$$,
	$$UPDATE syncext.source SET role = 'syncext_agent'$$,
	$$UPDATE syncext.source_priority SET priority = 0 WHERE source = 'CRM'$$,
	$$UPDATE syncext.entity SET ladder = '{overwrite}'$$,
	$$SELECT * FROM syncext.canonical$$,
	$$UPDATE syncext.canonical SET version = 9$$,
	$$DELETE FROM syncext.change_log_0$$,
	$$SELECT * FROM syncext.change_log$$,
	$$SELECT * FROM syncext.conflict_log$$,
	$$SELECT nextval('syncext.change_seq')$$,
	$$TRUNCATE syncext.conflict_log$$,
	$$CREATE TABLE syncext.t ()$$,
	$$CREATE TRIGGER t AFTER INSERT ON syncext.canonical EXECUTE FUNCTION syncext.registry_changed()$$,
	$$CREATE TEMP TABLE t (); CREATE TRIGGER t AFTER INSERT ON t EXECUTE FUNCTION syncext.registry_changed()$$,
	$$SELECT syncext.registry_changed()$$]) command, attempt(command) t;
RESET ROLE;
-- No table is anybody's, and no sequence; history shows each what is theirs.
SELECT c.oid::regclass AS relation, a.grantee, a.privilege_type
FROM pg_depend d JOIN pg_class c ON d.classid = 'pg_class'::regclass AND d.objid = c.oid,
     aclexplode(c.relacl) a
WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext')
  AND a.grantee <> c.relowner
ORDER BY c.oid::regclass::text COLLATE "C", 2, 3;
SELECT has_schema_privilege('syncext_nobody', 'syncext', 'USAGE') AS usage, has_schema_privilege('syncext_nobody', 'syncext', 'CREATE') AS "create";
-- granted one by one
GRANT EXECUTE ON FUNCTION sync_resolve TO syncext_reviewer;
GRANT EXECUTE ON FUNCTION sync_add_source, sync_drop_source TO syncext_crm;
SET ROLE syncext_reviewer;
SELECT * FROM attempt($$SELECT sync_resolve(1, 'incoming')->>'resolution'$$);
SELECT * FROM attempt($$SELECT sync_add_source('mine')$$);
SET ROLE syncext_crm;
SELECT * FROM attempt($$SELECT sync_add_source('CRM 2')$$);
SELECT * FROM apply_as('CRM 2');
RESET ROLE;
-- whose the source is says the one who added it, not the function's owner
SELECT name, role FROM syncext.source ORDER BY name;
SET ROLE syncext_crm;
SELECT * FROM attempt($$SELECT sync_drop_source('CRM 2')$$);
RESET ROLE;
REVOKE EXECUTE ON FUNCTION sync_add_source, sync_drop_source FROM syncext_crm;
SELECT decided_by FROM syncext.conflict_log;
-- who has the privileges of the extension's owner is an administrator
CREATE ROLE syncext_admin SUPERUSER;
SET ROLE syncext_admin;
SELECT * FROM apply_as('Internal');
RESET ROLE;

--
-- Functions
--
-- What anybody may call.
SELECT p.oid::regprocedure AS function
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext')
  AND has_function_privilege('syncext_nobody', p.oid, 'EXECUTE')
ORDER BY p.oid::regprocedure::text COLLATE "C";
-- Whoever may read a view may call what it calls.
SET ROLE syncext_nobody;
SELECT count(*) AS links FROM syncext.link_status;
SELECT count(*) AS problems FROM sync_check();
RESET ROLE;

-- What runs as the extension's owner, none of it with a search path from outside.
SELECT p.oid::regprocedure AS function, proconfig
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid
WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext') AND prosecdef
ORDER BY p.oid::regprocedure::text COLLATE "C";
-- Nor does what is written in SQL depend on the caller's.
SELECT p.oid::regprocedure AS function
FROM pg_depend d JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid JOIN pg_language l ON l.oid = p.prolang
WHERE d.deptype = 'e' AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext') AND lanname <> 'c'
  AND NOT coalesce(proconfig::text LIKE '%search_path=pg_catalog, pg_temp%', false) AND prosqlbody IS NULL
ORDER BY p.oid::regprocedure::text COLLATE "C";
-- Traps on the caller's path: operators, functions and tables that are called
-- like the ones that are meant.
CREATE SCHEMA impostor;
CREATE FUNCTION impostor.eq(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'an impostor runs as %', current_user; RETURN false; END $$;
CREATE OPERATOR impostor.= (LEFTARG = text, RIGHTARG = text, FUNCTION = impostor.eq);
CREATE FUNCTION impostor.has_table_privilege(text, text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'an impostor runs as %', current_user; RETURN true; END $$;
CREATE FUNCTION impostor.format(text, VARIADIC text[]) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'an impostor runs as %', current_user; RETURN ''; END $$;
CREATE FUNCTION impostor.quote_ident(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'an impostor runs as %', current_user; RETURN 'postgres'; END $$;
CREATE FUNCTION impostor.now() RETURNS timestamptz LANGUAGE plpgsql AS $$ BEGIN RAISE WARNING 'an impostor runs as %', current_user; RETURN '2000-01-01'; END $$;
CREATE TABLE impostor.source (LIKE syncext.source);
CREATE TEMP TABLE entity (name text);
GRANT USAGE ON SCHEMA impostor TO PUBLIC;
SET search_path = impostor, pg_catalog, public;
SELECT public.sync_add_source('trapped', 9, 'syncext_crm');
SELECT public.sync_add_entity('trapped');
SELECT public.sync_apply('{"entity":"trapped","externalId":"K","source":"trapped","version":1,"x":1}')->>'resolution' AS resolution;
SELECT count(*) FROM public.sync_history('trapped', 'K');
SET ROLE syncext_nobody;
SELECT count(*) FROM public.sync_history('trapped', 'K');
RESET ROLE;
SELECT public.sync_drop_source('trapped');
RESET search_path;
SELECT count(*) FROM impostor.source;
DROP TABLE pg_temp.entity;
SET client_min_messages = warning;
DROP SCHEMA impostor CASCADE;
RESET client_min_messages;

--
-- Names that would like to be SQL
--
CREATE ROLE "syncext ""O'Hara""; --";
GRANT EXECUTE ON FUNCTION sync_add_source, sync_add_entity TO "syncext ""O'Hara""; --";
SET ROLE "syncext ""O'Hara""; --";
SELECT sync_add_source($$O'Hara"; DROP TABLE syncext.canonical; --$$, 5);
SELECT sync_add_entity($$'; DROP TABLE syncext.canonical; --$$, '{overwrite}');
SELECT sync_apply(jsonb_build_object('source', $$O'Hara"; DROP TABLE syncext.canonical; --$$, 'entity', $$'; DROP TABLE syncext.canonical; --$$,
	'externalId', $$x' OR '1'='1$$, 'fields', jsonb_build_object($$f'); --$$, $${"'}\$$)));
SELECT sync_record($$'; DROP TABLE syncext.canonical; --$$, $$x' OR '1'='1$$)->'fields' AS fields;
SELECT source, fields FROM sync_history($$'; DROP TABLE syncext.canonical; --$$, $$x' OR '1'='1$$);
SET ROLE syncext_nobody;
SELECT * FROM apply_as($$O'Hara"; DROP TABLE syncext.canonical; --$$);
RESET ROLE;
SELECT sync_drop_source($$O'Hara"; DROP TABLE syncext.canonical; --$$);
SELECT count(*) > 0 AS still_there FROM syncext.canonical;
-- a role that was dropped leaves its source to the administrators
SELECT sync_add_source('Orphan', 5, '"syncext ""O''Hara""; --"');
DROP OWNED BY "syncext ""O'Hara""; --";
DROP ROLE "syncext ""O'Hara""; --";
SET ROLE syncext_nobody;
SELECT * FROM apply_as('Orphan');
RESET ROLE;
SELECT state FROM apply_as('Orphan');

--
-- The tables' own: triggers, row security and constraints that users add
--
SELECT sync_apply('{"externalId":"T","source":"CRM","version":1,"email":"a@x"}')->>'resolution' AS resolution;
CREATE TABLE audit (n int GENERATED ALWAYS AS IDENTITY, what text, as_user name DEFAULT current_user);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
	INSERT INTO audit (what) VALUES (concat_ws(' ', TG_TABLE_NAME, TG_OP, OLD.version, '->', NEW.version));
	RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER audit AFTER INSERT ON syncext.conflict_log FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER audit_email AFTER UPDATE OF fields ON syncext.canonical FOR EACH ROW
	WHEN (OLD.fields->'email' IS DISTINCT FROM NEW.fields->'email') EXECUTE FUNCTION audit();
CREATE CONSTRAINT TRIGGER audit_late AFTER UPDATE ON syncext.canonical DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit();
SET ROLE syncext_crm;
BEGIN;
SELECT jsonb_path_query_array(sync_apply('[
	{"externalId":"T","source":"CRM","version":2,"email":"b@x"},
	{"externalId":"T","source":"CRM","version":3,"phone":"1"},
	{"externalId":"T","source":"CRM","version":3,"phone":"2"},
	{"externalId":"U","source":"CRM","version":1,"email":"u@x"}]'), '$[*].resolution') AS resolutions;
RESET ROLE;
SELECT what FROM audit ORDER BY n;
COMMIT;
SELECT count(*) FROM audit;
DROP TRIGGER audit_late ON syncext.canonical;
DROP TRIGGER audit_email ON syncext.canonical;
-- one that uses the hub in turn
CREATE FUNCTION copy_to_order() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM sync_apply(jsonb_build_object('entity', 'order', 'externalId', NEW.external_id, 'source', 'CRM', 'version', NEW.version, 'copy', NEW.fields));
	RETURN NULL;
END $$;
CREATE TRIGGER copy AFTER INSERT OR UPDATE ON syncext.canonical FOR EACH ROW WHEN (NEW.entity = 'record') EXECUTE FUNCTION copy_to_order();
SELECT sync_apply('[{"externalId":"U","source":"CRM","version":2,"email":"v@x"}, {"externalId":"T","source":"CRM","version":4,"email":"w@x"}]')->0->>'resolution' AS resolution;
SELECT external_id, version, fields FROM syncext.canonical WHERE entity = 'order' ORDER BY 1;
DROP TRIGGER copy ON syncext.canonical;
-- one that objects: nothing of that change is left
CREATE FUNCTION object() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.fields ? 'bad' THEN RAISE 'no bad ones'; END IF; RETURN NULL; END $$;
CREATE TRIGGER object AFTER INSERT OR UPDATE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION object();
SELECT sync_apply('[{"externalId":"good","source":"CRM","version":1,"good":1}, {"externalId":"bad","source":"CRM","version":1,"bad":1}]');
SELECT count(*) FROM syncext.canonical WHERE external_id IN ('good', 'bad');
SELECT count(*) FROM syncext.change_log WHERE external_id IN ('good', 'bad');
DROP TRIGGER object ON syncext.canonical;
-- What could change a row behind the ladder's back is refused.
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.version := 0; RETURN NEW; END $$;
CREATE TRIGGER meddle BEFORE UPDATE ON syncext.canonical FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT * FROM attempt($$SELECT sync_apply('{"externalId":"T","source":"CRM","version":9,"x":1}')$$);
SELECT * FROM attempt($$SELECT sync_explain('{"externalId":"T","source":"CRM","version":9,"x":1}')->>'resolution'$$);
DROP TRIGGER meddle ON syncext.canonical;
CREATE TRIGGER meddle BEFORE INSERT ON syncext.change_log_0 FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT * FROM attempt($$SELECT sync_apply('{"externalId":"T","source":"CRM","version":9,"x":1}')$$);
DROP TRIGGER meddle ON syncext.change_log_0;
CREATE TRIGGER meddle BEFORE INSERT ON syncext.conflict_log FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT * FROM attempt($$SELECT sync_apply('{"externalId":"T","source":"CRM","version":9,"x":1}')$$);
DROP TRIGGER meddle ON syncext.conflict_log;
-- and so is what would never fire, for there is no statement
CREATE TRIGGER meddle AFTER UPDATE ON syncext.canonical FOR EACH STATEMENT EXECUTE FUNCTION meddle();
SELECT state FROM attempt($$SELECT sync_apply('{"externalId":"T","source":"CRM","version":9,"x":1}')$$);
DROP TRIGGER meddle ON syncext.canonical;
CREATE TRIGGER meddle AFTER INSERT ON syncext.canonical REFERENCING NEW TABLE AS fresh FOR EACH ROW EXECUTE FUNCTION meddle();
SELECT state FROM attempt($$SELECT sync_apply('{"externalId":"T","source":"CRM","version":9,"x":1}')$$);
DROP TRIGGER meddle ON syncext.canonical;
-- Row security hides rows from their readers, not from the hub.
ALTER TABLE syncext.canonical ENABLE ROW LEVEL SECURITY;
SET ROLE syncext_crm;
SELECT sync_apply('{"externalId":"T","source":"CRM","version":9,"x":1}')->>'resolution' AS resolution;
RESET ROLE;
ALTER TABLE syncext.canonical DISABLE ROW LEVEL SECURITY;
-- constraints and indexes of one's own hold
ALTER TABLE syncext.canonical ADD CONSTRAINT adult CHECK ((fields->>'age')::int >= 18);
CREATE UNIQUE INDEX email ON syncext.canonical ((fields->>'email')) WHERE entity = 'record';
SELECT command, t.state, t.said FROM unnest('{"{\"externalId\":\"V\",\"age\":17}","{\"externalId\":\"V\",\"age\":18}","{\"externalId\":\"V\",\"age\":17}","{\"externalId\":\"W\",\"email\":\"v@x\"}","{\"externalId\":\"W\",\"email\":\"z@x\"}","{\"externalId\":\"W\",\"email\":\"v@x\"}","{\"externalId\":\"W\",\"email\":\"y@x\"}"}'::text[]) WITH ORDINALITY c (command, n),
	attempt(format('SELECT sync_apply(%L)->>''resolution''', command::jsonb || jsonb_build_object('source', 'CRM', 'version', n))) t ORDER BY n;
SET enable_seqscan = off;
SELECT external_id FROM syncext.canonical WHERE fields->>'email' IN ('v@x', 'y@x', 'z@x') AND entity = 'record' ORDER BY 1;
RESET enable_seqscan;

DROP FUNCTION apply_as;
DROP EXTENSION syncext;
DROP FUNCTION audit, copy_to_order, object, meddle;
DROP TABLE audit;
DROP ROLE syncext_crm, syncext_erp, syncext_agent, syncext_lazy, syncext_nobody, syncext_admin, syncext_reviewer;
