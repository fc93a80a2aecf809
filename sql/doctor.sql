-- sync_check() tells of configurations that will surprise, and is silent when they are mended.
CREATE EXTENSION syncext;
SET timezone = 'UTC';
SET intervalstyle = 'postgres';
CREATE VIEW told WITH (security_invoker) AS
	SELECT severity, object, problem, hint FROM sync_check() WHERE problem !~ '^is (behind|getting)';
GRANT SELECT ON told TO PUBLIC;
CREATE ROLE syncext_clock;
CREATE ROLE syncext_watch;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Portal', 3), sync_add_source('Kiosk'), sync_add_source('Clock', 9, 'syncext_clock');
SELECT sync_grant('syncext_watch', 'monitor');
CREATE FUNCTION word(source text, id text, fields jsonb, rest jsonb DEFAULT '{"version": 1}', entity text DEFAULT 'record') RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', source, 'externalId', id, 'fields', fields, 'entity', entity) || rest)->>'resolution'
$$;
\x

-- Two of one rank: a swap by two statements, of which one was forgotten.
SELECT word('CRM', '1', '{"name": "a"}');
UPDATE syncext.source_priority SET priority = 2 WHERE source = 'CRM';
-- nobody else writes it
SELECT * FROM told;
SELECT word('ERP', '1', '{"email": "b"}');
SELECT * FROM told;
-- by another last rung
UPDATE syncext.entity SET ladder = '{version,merge,priority,keep}';
SELECT problem FROM told;
UPDATE syncext.entity SET ladder = '{version,merge,priority,overwrite}';
SELECT problem FROM told;
-- no rank is asked
UPDATE syncext.entity SET ladder = '{version,merge,manual}';
SELECT * FROM told;
UPDATE syncext.entity SET ladder = '{version,merge,priority,manual}';
UPDATE syncext.source_priority SET priority = 1 WHERE source = 'ERP';
SELECT * FROM told;
-- one of the two is apart for this entity, another in one field
INSERT INTO syncext.source_priority VALUES ('CRM', 'record', 'email', 1), ('ERP', '*', 'email', 1), ('Portal', 'record', 'name', 1);
SELECT * FROM told;
-- but Portal writes nothing there
SELECT word('Portal', '2', '{"name": "c"}');
SELECT problem, hint FROM told ORDER BY problem;
DELETE FROM syncext.source_priority WHERE field <> '*';
SELECT * FROM told;
-- many of them
SELECT count(sync_add_source('Shop ' || n, 7)), count(word('Shop ' || n, 'shop ' || n, '{"x": 1}')) FROM generate_series(1, 5) n;
SELECT problem, hint FROM told;
SELECT count(sync_drop_source('Shop ' || n)) FROM generate_series(1, 5) n;
-- what they had set is theirs still, but they write nothing any more
SELECT * FROM told;
-- a field ladder
SELECT sync_add_entity('note', '{field,version,priority}');
SELECT word('CRM', '1', '{"a": 1}', entity => 'note'), word('ERP', '1', '{"b": 1}', entity => 'note');
INSERT INTO syncext.source_priority VALUES ('CRM', 'note', '*', 1);
SELECT object, problem, hint FROM told;
DELETE FROM syncext.source_priority WHERE entity = 'note';

-- One without a rank beside others that have one.
SELECT word('Kiosk', '3', '{"name": "d"}');
SELECT * FROM told;
SELECT sync_add_source('Booth');
SELECT word('Booth', '4', '{"name": "d"}');
SELECT problem, hint FROM told;
-- one has a rank for what it is asked for
INSERT INTO syncext.source_priority VALUES ('Booth', 'record', 'name', 5);
INSERT INTO syncext.source_priority (source, priority) VALUES ('Kiosk', 4);
SELECT * FROM told;
-- where nobody has one, nobody expects that it counts
SELECT sync_add_source('U'), sync_add_source('V'), sync_add_entity('plain');
SELECT word('U', '1', '{"a": 1}', entity => 'plain'), word('V', '1', '{"b": 1}', entity => 'plain');
SELECT * FROM told;

-- A rule for a field that no record has.
SELECT sync_rule('record', 'Name', 'longest'), sync_rule('*', 'tags', 'union');
SELECT * FROM told;
SELECT sync_rule('record', 'Name', NULL), sync_rule('record', 'name', 'longest');
SELECT word('V', '1', '{"tags": ["x"]}', entity => 'plain');
SELECT * FROM told;
-- an entity without records tells nothing yet
SELECT sync_add_entity('empty'), sync_rule('empty', 'name', 'longest');
SELECT * FROM told;
-- and one of many records is looked at in part; the last changes are, too
SELECT sync_add_entity('many'), sync_rule('many', 'rare', 'longest');
SELECT count(word('CRM', to_char(n, 'FM0000'), '{"x": 1}', entity => 'many')) FROM generate_series(1, 300) n;
SELECT * FROM told;
SELECT word('CRM', '0150', '{"rare": "x"}', '{"version": 2}', 'many');
SELECT * FROM told;
-- so is what was added
SELECT sync_rule('many', 'stock', 'sum');
SELECT word('CRM', '0150', '{"x": 2}', '{"version": 3, "changeId": "1", "increments": {"stock": 1}}', 'many');
SELECT * FROM told;

-- The rule latest, where nothing tells the time.
SELECT sync_rule('record', 'name', 'latest');
SELECT problem, hint FROM told;
SELECT count(word(s, s, '{"name": "e"}', '{"version": 2, "updatedAt": "2026-01-01T00:00:00Z"}')) FROM unnest('{CRM,Portal,Kiosk}'::text[]) s;
SELECT problem, hint FROM told;
-- a table whose edits come without it
CREATE TABLE booth (id text PRIMARY KEY, name text, at timestamptz);
SELECT sync_attach('booth', 'Booth');
SELECT problem, hint FROM told;
SELECT sync_detach('booth');
SELECT sync_attach('booth', 'Booth', columns => '{"name": "name"}', updated_column => 'at');
INSERT INTO booth VALUES ('6', 'f', now());
SELECT * FROM told;
SELECT sync_detach('booth');
SELECT sync_rule('record', 'name', NULL);
-- groups
SELECT sync_rule('record', f, 'latest', '{"group": "whole name"}') FROM unnest('{name,email}'::text[]) f;
SELECT problem, hint FROM told;
DELETE FROM syncext.field_rule WHERE entity = 'record';
SELECT * FROM told;

-- The rung latest, and a poll that isn't told when a row was edited.
SELECT sync_add_entity('clocked', '{latest,keep}');
SELECT word('CRM', '1', '{"a": 1}', '{"updatedAt": "2026-01-01T00:00:00Z"}', 'clocked');
CREATE TABLE polled (id text PRIMARY KEY, a int, at timestamptz);
SELECT sync_attach('polled', 'Portal', 'clocked', capture => 'poll');
SELECT * FROM told;
SELECT sync_detach('polled');
SELECT sync_attach('polled', 'Portal', 'clocked', capture => 'poll', updated_column => 'at');
SELECT * FROM told WHERE problem ~ 'later';
SELECT sync_detach('polled');
DROP TABLE polled, booth;

-- Overwrite alone.
SELECT sync_add_entity('last', '{overwrite}');
SELECT word('CRM', '1', '{"a": 1}', '{}', 'last');
SELECT * FROM told;
SELECT word('ERP', '1', '{"a": 2}', '{}', 'last');
SELECT * FROM told;
UPDATE syncext.entity SET ladder = '{latest,keep}' WHERE name = 'last';
SELECT * FROM told;

-- Clocks that are ahead.
SELECT word('Clock', '2', '{"a": 1}', jsonb_build_object('updatedAt', clock_timestamp() + interval '100 s'), 'clocked');
SELECT * FROM told;
SELECT word('Clock', '3', '{"a": 1}', jsonb_build_object('updatedAt', clock_timestamp() + interval '1 year'), 'clocked');
CREATE VIEW clock_told WITH (security_invoker) AS SELECT object, regexp_replace(problem, '\d+:[0-9:]+', '<time>') AS problem, hint FROM told;
GRANT SELECT ON clock_told TO PUBLIC;
SELECT * FROM clock_told;
SELECT detail ? 'ahead' AS noted FROM syncext.change_log WHERE external_id = '3' AND entity = 'clocked';
-- its own role is told, and no more; a monitor is told all
UPDATE syncext.entity SET ladder = '{overwrite}' WHERE name = 'last';
SET ROLE syncext_clock;
SELECT object FROM clock_told;
SET ROLE syncext_watch;
SELECT object FROM clock_told;
RESET ROLE;
-- rows can be edited by hand
UPDATE syncext.change_log_0 SET detail = '{"ahead": "late"}' WHERE detail ? 'ahead';
UPDATE syncext.canonical SET stamps = '[7]', fields = '"x"' WHERE external_id = '1';
SELECT object FROM told;
UPDATE syncext.entity SET ladder = '{version,priority,manual}' WHERE name = 'last';
SELECT * FROM told;

-- However many records and changes there are, it looks at few.
INSERT INTO syncext.canonical (entity, external_id, version, row_version, last_source, fields, stamps)
	SELECT 'many', n::text, 1, 1, 'CRM', '{}', '{}' FROM generate_series(1, 5000) n;
INSERT INTO syncext.change_log_0 SELECT '3', -n, now(), 1, 1, NULL, NULL, 'M', 'n', 'many', n::text, 'CRM', '{}', NULL FROM generate_series(1, 5000) n;
ANALYZE syncext.canonical, syncext.change_log_0;
CREATE FUNCTION rows_read() RETURNS TABLE (name text, n bigint) LANGUAGE plpgsql AS $$
DECLARE
	plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, TIMING off, COSTS off, BUFFERS off, FORMAT json) SELECT * FROM syncext.surprise' INTO plan;
	RETURN QUERY
		WITH RECURSIVE node AS (
			SELECT plan->0->'Plan' AS p
			UNION ALL
			SELECT c FROM node, json_array_elements(p->'Plans') c)
		SELECT regexp_replace(p->>'Relation Name', '_\d$', ''), max((p->>'Actual Rows')::numeric * (p->>'Actual Loops')::numeric)::bigint
		FROM node WHERE p->>'Relation Name' ~ 'canonical|change_log' GROUP BY 1;
END $$;
SELECT name, n <= CASE name WHEN 'canonical' THEN 1000 ELSE 1001 END AS few FROM rows_read() ORDER BY name;

DROP VIEW clock_told, told;
DROP FUNCTION word, rows_read;
DROP EXTENSION syncext;
DROP ROLE syncext_clock, syncext_watch;
