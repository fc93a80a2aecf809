-- Roles are kept by name: one that is dropped, renamed or not there yet leaves its
-- source to administrators, and sync_check says so.
\set VERBOSITY default
\set SHOW_CONTEXT never
CREATE EXTENSION syncext;
CREATE ROLE "Role names shop";
CREATE ROLE role_names_user IN ROLE "Role names shop";
CREATE FUNCTION put(id text) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', 'Shop', 'externalId', id, 'version', 1, 'v', 1))->>'resolution' $$;
CREATE VIEW told AS SELECT severity, object, problem, hint FROM sync_check() WHERE problem LIKE '%role%' OR hint LIKE '%ROLE%' ORDER BY object, problem;
GRANT SELECT ON told TO PUBLIC;
SELECT sync_add_source('CRM', 1), sync_add_source('Shop', 2, '"Role names shop"');
SELECT name, role FROM syncext.source ORDER BY 1;
SET ROLE role_names_user;
SELECT put('1');
RESET ROLE;
SELECT * FROM told;

-- renamed: the source doesn't follow, and a session that has acted as it knows
ALTER ROLE "Role names shop" RENAME TO role_names_other;
SET ROLE role_names_user;
SELECT put('2');
RESET ROLE;
SELECT put('3');
SELECT * FROM told;
UPDATE syncext.source SET role = 'role_names_other' WHERE name = 'Shop';
SET ROLE role_names_user;
SELECT put('4');
RESET ROLE;
SELECT * FROM told;

-- dropped, and there again
DROP ROLE role_names_other;
SET ROLE role_names_user;
SELECT put('5');
RESET ROLE;
SELECT * FROM told;
CREATE ROLE role_names_other ROLE role_names_user;
SET ROLE role_names_user;
SELECT put('6');
RESET ROLE;
SELECT * FROM told;
-- a slip of the pen is told of at once
UPDATE syncext.source SET role = 'role_names_othr' WHERE name = 'Shop';
UPDATE syncext.source SET retry_cap = 6 WHERE name = 'Shop';
UPDATE syncext.source SET role = 'role_names_other' WHERE name = 'Shop';
SELECT sync_add_source('X', 3, 4711::regrole);
SELECT sync_add_source('Nobody', 3, NULL), sync_add_source('Noone', 3, '-');
SELECT name, role FROM syncext.source WHERE name LIKE 'No%' ORDER BY 1;

-- who attached a relation: applications go on writing to it
CREATE TABLE shop (id text PRIMARY KEY, v int);
ALTER TABLE shop OWNER TO role_names_user;
GRANT CREATE ON SCHEMA public TO role_names_user;
SET ROLE role_names_user;
SELECT sync_attach('shop', 'Shop');
RESET ROLE;
SELECT attached_by, attached_as FROM syncext.binding;
INSERT INTO syncext.schedule (relation, cron, job, role, name) VALUES ('shop', '0 3 * * *', 'deliver', 'role_names_other', 'syncext: public.shop');
-- the link's worker would have run as that role: there is none
CREATE FOREIGN DATA WRAPPER role_names;
CREATE SERVER role_names FOREIGN DATA WRAPPER role_names;
INSERT INTO syncext.link (name, server, source, owner) VALUES ('up', 'role_names', 'CRM', 'role_names_gone');
SELECT syncext.start_workers();
CALL sync_exchange('up');
ALTER TABLE shop OWNER TO CURRENT_USER;
REVOKE CREATE ON SCHEMA public FROM role_names_user;
DROP ROLE role_names_user, role_names_other;
INSERT INTO shop VALUES ('a', 1);
UPDATE shop SET v = 2;
SELECT fields, last_source FROM syncext.canonical WHERE external_id = 'a';
SELECT * FROM told;
CREATE ROLE role_names_user;
-- one of that name, without the right
SELECT * FROM told WHERE object = 'relation public.shop';
UPDATE shop SET v = 3;
DROP ROLE role_names_user;
UPDATE shop SET v = 4;
SELECT sync_detach('shop');

DROP VIEW told;
DROP EXTENSION syncext CASCADE;
DROP TABLE shop;
DROP FUNCTION put;
DROP SERVER role_names;
DROP FOREIGN DATA WRAPPER role_names;
