-- Nothing of syncext's calls what others have put beside it: operators, functions,
-- types and tables that fit better than the server's own, in the schema that
-- it is created in.
SET client_min_messages = warning;
\set home :DBNAME
DROP DATABASE IF EXISTS regress_shadowed;
CREATE DATABASE regress_shadowed;
\c regress_shadowed
SET client_min_messages = warning;
DROP ROLE IF EXISTS regress_mallory, regress_erp;
CREATE ROLE regress_mallory;
CREATE ROLE regress_erp;
GRANT CREATE ON SCHEMA public TO regress_mallory, regress_erp;
GRANT CREATE ON DATABASE regress_shadowed TO regress_mallory;
SET ROLE regress_mallory;
SET search_path = pg_catalog;

-- A impostor counts, whatever becomes of the transaction, and tells.
CREATE SEQUENCE public.sprung;
GRANT ALL ON SEQUENCE public.sprung TO PUBLIC;
DO $$
DECLARE
	types text[] := '{bool,"char",int2,int4,int8,numeric,float8,text,varchar,name,oid,regclass,regrole,xid,xid8,
	                  timestamptz,timestamp,date,interval,jsonb,jsonpath,uuid,pg_snapshot,text[],int8[]}';
	few   text[] := '{int4,int8,numeric,float8,text,name,timestamptz,interval,jsonb,text[]}';
	body  text := $impostor$ LANGUAGE plpgsql AS 'BEGIN PERFORM pg_catalog.nextval(''public.sprung''); RAISE WARNING ''sprung''; RETURN NULL; END'$impostor$;
	used  text[];
	o     text;
	f     record;
BEGIN
	-- every pair of types under every operator: an exact match is found first in
	-- pg_catalog, any other one here
	FOR f IN SELECT l, r FROM unnest(types) l, unnest(types) r LOOP
		EXECUTE format('CREATE FUNCTION public.is(l %s, r %s) RETURNS bool', f.l, f.r) || body;
		EXECUTE format('CREATE FUNCTION public.what(l %s, r %s) RETURNS %1$s', f.l, f.r) || body;
		FOREACH o IN ARRAY '{=,<>,<,<=,>,>=,~~,!~~,~,@>}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.is)', o, f.l, f.r);
		END LOOP;
		FOREACH o IN ARRAY '{+,-,*,/,%,^,||,->,->>}'::text[] LOOP
			EXECUTE format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = public.what)', o, f.l, f.r);
		END LOOP;
	END LOOP;
	-- the functions that the install script calls without saying whose
	RESET ROLE;
	used := ARRAY(SELECT DISTINCT m[1] FROM pg_config c, pg_available_extensions e,
	                     regexp_matches(pg_read_file(c.setting || '/extension/syncext--' || e.default_version || '.sql'),
	                                    '(?<![.\w])([a-z_]\w*)\s*\(', 'g') m
	              WHERE c.name = 'SHAREDIR' AND e.name = 'syncext'
	                AND EXISTS (SELECT FROM pg_proc p WHERE p.proname = m[1] AND p.pronamespace = 'pg_catalog'::regnamespace));
	SET ROLE regress_mallory;
	-- as they are there, for who looks here first
	FOR f IN SELECT quote_ident(p.proname) AS name, pg_get_function_identity_arguments(p.oid) AS args, p.prorettype::regtype AS returns
	         FROM pg_proc p
	         WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.proname = ANY (used) AND p.prokind <> 'p' AND p.proargmodes IS NULL
	           AND NOT EXISTS (SELECT FROM unnest(p.proargtypes::oid[] || p.prorettype) a JOIN pg_type t ON t.oid = a WHERE t.typtype = 'p') LOOP
		EXECUTE format('CREATE FUNCTION public.%s(%s) RETURNS %s', f.name, f.args, f.returns) || body;
	END LOOP;
	-- and for arguments that would have to be cast there
	FOR f IN SELECT quote_ident(n) AS name, a AS args FROM unnest(used) n, (SELECT unnest(types) UNION ALL SELECT l || ',' || r FROM unnest(few) l, unnest(few) r) AS t (a) LOOP
		CONTINUE WHEN to_regprocedure(format('public.%s(%s)', f.name, f.args)) IS NOT NULL;
		EXECUTE format('CREATE FUNCTION public.%s(%s) RETURNS %s', f.name, f.args, split_part(f.args, ',', 1)) || body;
	END LOOP;
	-- types and tables
	FOREACH o IN ARRAY '{text,int4,int8,bool,regclass,regrole,xid8,jsonb,timestamptz,interval,pg_snapshot,uuid}'::text[] LOOP
		EXECUTE format('CREATE DOMAIN public.%I AS pg_catalog.int2 CHECK (public.is(VALUE, VALUE))', o);
	END LOOP;
	FOREACH o IN ARRAY '{pg_class,pg_extension,pg_proc,pg_locks,pg_roles,pg_authid,pg_database,pg_trigger,pg_stat_activity,pg_prepared_xacts,source,entity,canonical,cursor}'::text[] LOOP
		EXECUTE format('CREATE TABLE public.%I (impostor int)', o);
	END LOOP;
END $$;
RESET ROLE;
RESET search_path;
-- so is it with a call that takes no care
SELECT 2 ^ 3::bigint IS NULL AS sprung;
SELECT setval('public.sprung', 1, false);

-- What stands there under a name of its own is not taken over.
\set SHOW_CONTEXT never
SET ROLE regress_mallory;
CREATE SCHEMA syncext;
RESET ROLE;
RESET search_path;
CREATE EXTENSION syncext;
DROP SCHEMA syncext;
SET ROLE regress_mallory;
CREATE FUNCTION public.sync_apply(change jsonb) RETURNS jsonb LANGUAGE sql AS 'SELECT change';
RESET ROLE;
CREATE EXTENSION syncext;
DROP FUNCTION public.sync_apply(jsonb);
SET ROLE regress_mallory;
-- another one is nobody's concern but of who calls it
CREATE FUNCTION public.sync_apply() RETURNS void LANGUAGE sql AS '';
CREATE FUNCTION public.sync_pull() RETURNS void LANGUAGE sql AS '';
RESET ROLE;

-- Who may what is the same whatever the default privileges are.
ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO PUBLIC, regress_mallory;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO PUBLIC, regress_mallory;
ALTER DEFAULT PRIVILEGES GRANT ALL ON FUNCTIONS TO regress_mallory WITH GRANT OPTION;
ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO PUBLIC, regress_mallory;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON FUNCTIONS TO regress_mallory;
CREATE EXTENSION syncext;
SET search_path = pg_catalog;
SELECT CASE WHEN x.grantee = 0 THEN 'public' ELSE x.grantee::regrole::text END AS who, x.privilege_type, pg_describe_object(d.classid, d.objid, 0) COLLATE "C" AS what
FROM pg_depend d
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
LEFT JOIN pg_proc p ON d.classid = 'pg_proc'::regclass AND p.oid = d.objid
LEFT JOIN pg_namespace n ON d.classid = 'pg_namespace'::regclass AND n.oid = d.objid
CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, p.proacl, n.nspacl, acldefault('f', p.proowner))) x
WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e' AND x.grantee <> coalesce(c.relowner, p.proowner, n.nspowner)
ORDER BY 1, 2, 3;

-- What its views, constraints, defaults, triggers and functions refer to is the
-- server's, or a part of the extension.
WITH RECURSIVE part AS (
	SELECT d.classid, d.objid
	FROM pg_depend d JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
	WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
	UNION
	SELECT d.classid, d.objid
	FROM part p JOIN pg_depend d ON d.refclassid = p.classid AND d.refobjid = p.objid AND d.deptype IN ('i', 'a')
), used AS (
	SELECT DISTINCT i.type, i.schema, coalesce(i.identity, i.name) AS name
	FROM part p
	JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid AND d.deptype <> 'e'
	CROSS JOIN LATERAL pg_identify_object(d.refclassid, d.refobjid, d.refobjsubid) i
	WHERE (d.refclassid, d.refobjid) NOT IN (TABLE part)
)
SELECT * FROM used WHERE schema IS DISTINCT FROM 'pg_catalog' AND name !~ '^pg_catalog\.' ORDER BY 1, 2, 3;

-- A function whose text is parsed when it runs looks nowhere else either; C code
-- is seen to below.  A body that is no string was read when it was installed.
SELECT p.oid::regprocedure
FROM pg_proc p
JOIN pg_language l ON l.oid = p.prolang AND l.lanname <> 'c'
JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
JOIN pg_extension e ON e.oid = d.refobjid AND e.extname = 'syncext'
WHERE p.prosqlbody IS NULL AND (p.proconfig IS NULL OR 'search_path=pg_catalog, pg_temp' <> ALL (p.proconfig));

-- Everything runs where the traps are found first.
CREATE TABLE public.item (id int PRIMARY KEY, name text, at timestamptz);
CREATE TABLE public.part (id int PRIMARY KEY, item int REFERENCES public.item DEFERRABLE, note text DEFAULT 'none');
CREATE VIEW public.polled AS SELECT * FROM public.item;
CREATE TABLE public.linked (id int PRIMARY KEY, name text);
ALTER TABLE public.item OWNER TO regress_erp;
ALTER TABLE public.part OWNER TO regress_erp;
ALTER VIEW public.polled OWNER TO regress_erp;
ALTER TABLE public.linked OWNER TO regress_erp;
\c
SET client_min_messages = warning;
\pset format unaligned
\pset tuples_only on
SET search_path = public, pg_catalog;
SELECT sync_add_entity('item'), sync_add_entity('part'), sync_add_entity('linked', '{latest,keep}');
SELECT sync_add_reference('part', 'item', 'item', 'restrict');
SELECT sync_add_source('erp', 1, 'regress_erp'), sync_add_source('web', 2, 'regress_erp'), sync_add_source('old', 2, 'regress_erp'), sync_add_source('hub', 4, 'regress_erp');
SELECT sync_route('web', 'item', '$.name != "hidden"', '{secret}');
SELECT sync_subscribe('old', '{item,part}');
INSERT INTO syncext.link (name, server, source, enabled) VALUES ('hub', 'none', 'hub', false);
SELECT syncext.link_start('hub');

SET ROLE regress_erp;
SET search_path = public, pg_catalog;
SELECT sync_attach('item', 'erp', 'item');
SELECT sync_attach('part', 'erp', 'part');
SELECT sync_attach('polled', 'old', 'item', key => '{id}', capture => 'poll', updated_column => 'at');
SELECT sync_attach('linked', 'hub', 'linked');
INSERT INTO item VALUES ('1', 'one', '2020-01-01'), ('2', 'two', '2020-01-02');
INSERT INTO part VALUES ('1', '1');
UPDATE item SET name = 'uno' WHERE name OPERATOR(pg_catalog.=) 'one';
DELETE FROM part;
INSERT INTO linked VALUES ('1', 'one');
-- every rung, and what waits
SELECT sync_apply('{"entity": "item", "externalId": "3", "source": "web", "version": 1, "name": "three", "at": "2020-01-01T00:00:00Z"}');
SELECT sync_apply('[{"entity": "item", "externalId": "3", "source": "old", "version": 1, "name": "drei"},
	{"entity": "item", "externalId": "1", "source": "web", "version": 2, "base": 1, "name": "eins", "secret": 1},
	{"entity": "item", "externalId": "6", "source": "web", "version": 1, "name": "six"},
	{"entity": "item", "externalId": "6", "source": "old", "version": 1, "name": "sechs"},
	{"entity": "part", "externalId": "9", "source": "web", "version": 1, "item": 77},
	{"entity": "part", "externalId": "8", "source": "web", "version": 1, "item": 3},
	{"entity": "item", "externalId": "3", "source": "web", "version": 5, "deleted": true},
	{"entity": "item", "externalId": "4", "source": "web", "version": 1, "name": "hidden"}]') \g /dev/null
RESET ROLE;
SELECT id FROM syncext.conflict_log ORDER BY id DESC LIMIT 1 \gset
SELECT sync_resolve(:id, 'merge', '{"name": "six"}', 'note') \g /dev/null
SET ROLE regress_erp;
SELECT sync_explain('{"entity": "item", "externalId": "2", "source": "web", "version": 1, "name": "zwei"}') \g /dev/null
SELECT sync_record('item', '1') \g /dev/null
SELECT * FROM sync_history('item', '1') \g /dev/null
SELECT syncext.hub_hello('web', '{"protocol": 2, "claim": true, "identity": {"mark": "a0000000-0000-0000-0000-00000000000a", "ancestors": [], "system": "1", "database": 1, "timeline": 1, "epoch": 1, "host": "1", "directory": "1", "inode": "1"}}') \g /dev/null
SELECT sync_push('web', 'a0000000-0000-0000-0000-00000000000a:1', '[{"entity": "item", "externalId": "5", "source": "web", "version": 1, "name": "five"}]') \g /dev/null
SELECT batch FROM syncext.hub_pull('web', 2) LIMIT 1 \gset
SELECT syncext.hub_ack('web', :batch, '[{"entity": "item", "externalId": "2", "error": "no"}]') \g /dev/null
SELECT batch FROM sync_pull('web') LIMIT 1 \gset
SELECT sync_ack('web', :batch) \g /dev/null
SELECT sync_deliver('erp') \g /dev/null
CALL sync_load('item', 'table') \g /dev/null
CALL sync_load('part', 'hub') \g /dev/null
CALL sync_poll('polled') \g /dev/null
CALL sync_poll('polled', 'true') \g /dev/null
CALL syncext.run_job('polled') \g /dev/null
CALL syncext.catch_up() \g /dev/null
TABLE syncext.history \g /dev/null
TABLE syncext.link_status \g /dev/null
TABLE syncext.problem \g /dev/null
SELECT * FROM sync_check() \g /dev/null
RESET ROLE;
SELECT batch FROM syncext.captured('hub') LIMIT 1 \gset
SELECT syncext.captured_answered('hub', :batch, '[{"entity": "linked", "externalId": "1", "status": 200, "resolution": "NEW_RECORD", "rowVersion": 1, "version": 1, "lastSource": "hub", "lost": []}]') \g /dev/null
SELECT syncext.linked_deliver('hub', '[{"entity": "linked", "external_id": "2", "version": 1, "row_version": 1, "deleted": false, "fields": {"id": 2, "name": "two"}}]') \g /dev/null
SELECT syncext.linked_retry('hub') \g /dev/null
SELECT syncext.log_grown('1:1:') \g /dev/null
TABLE syncext.change_log \g /dev/null
TABLE syncext.outbound_change \g /dev/null
TABLE syncext.backfill_progress \g /dev/null
TABLE syncext.dead_letter \g /dev/null
TABLE syncext.feed_lag \g /dev/null
TABLE syncext.job_progress \g /dev/null
TABLE syncext.job_status \g /dev/null
SELECT * FROM sync_check() \g /dev/null
SELECT sync_resync('web', 'item'), sync_redrive('web'), sync_discard('web', older_than => '1 day') \g /dev/null
SELECT sync_route('web', 'item') \g /dev/null
SELECT * FROM sync_pull('web') \g /dev/null
-- a restored database
INSERT INTO syncext.feed_origin DEFAULT VALUES;
SELECT * FROM sync_pull('old') \g /dev/null
SET syncext.retention = '10s';
CALL sync_maintain() \g /dev/null
SELECT sync_forget('item', '2') \g /dev/null
SELECT syncext.release_spoke('web') \g /dev/null
SELECT syncext.link_end('hub') \g /dev/null
DELETE FROM syncext.link;
SELECT sync_detach('item'), sync_detach('part'), sync_detach('polled'), sync_detach('linked') \g /dev/null
SELECT sync_drop_source('web') \g /dev/null

SET search_path = pg_catalog;
SELECT is_called FROM public.sprung;

\c :home
DROP DATABASE regress_shadowed;
DROP ROLE regress_mallory, regress_erp;
