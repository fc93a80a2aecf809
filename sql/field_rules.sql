-- Field rules: how a contested field is decided before ranks are asked.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_source('Shop', 3);
SELECT sync_add_source('Twin', 3);
SELECT sync_add_entity('unranked', '{version,merge,keep}');
SELECT sync_add_entity('whole', '{version,priority,manual}');

CREATE FUNCTION decide(VARIADIC changes jsonb[])
	RETURNS TABLE (resolution text, row_version bigint, last text, changed jsonb, lost jsonb, told text, reason text)
	LANGUAGE sql AS $$
	SELECT a->>'resolution', (a->>'rowVersion')::bigint, a->>'lastSource', a->'changed', a->'lost', a->>'told', a->>'reason'
	FROM unnest(changes) change, answered(change) a
$$;
-- What a rule makes of two values that contest, sent by equally ranked sources:
-- without a decision it is MANUAL.
CREATE FUNCTION rule_of(field text, ours jsonb, theirs jsonb, OUT resolution text, OUT value jsonb, OUT lost jsonb, OUT told text)
	LANGUAGE plpgsql AS $$
DECLARE
	id text := (SELECT 'r' || count(*) FROM syncext.canonical);
	answer jsonb;
BEGIN
	PERFORM sync_apply(jsonb_build_object('externalId', id, 'source', 'Shop', 'version', 1, 'fields', jsonb_build_object(field, ours)));
	answer := sync_apply(jsonb_build_object('externalId', id, 'source', 'Twin', 'version', 1, 'fields', jsonb_build_object(field, theirs)));
	resolution := answer->>'resolution';
	value := sync_record('record', id)->'fields'->field;
	lost := answer->'lost';
	told := answer->>'told';
END $$;

INSERT INTO syncext.field_rule (field, rule) VALUES
	('max', 'max'), ('min', 'min'), ('longest', 'longest'), ('latest', 'latest'), ('union', 'union'), ('keep', 'keep'), ('manual', 'manual');

-- Numbers compare as numbers, strings by bytes; anything else a rule can't decide.
SELECT v.*, r.*
FROM (VALUES ('max', '9'::jsonb, '10'::jsonb), ('max', '10', '9'), ('max', '1e2', '99.5'), ('max', '-1', '-1.5'),
             ('max', '"9"', '"10"'), ('max', '"é"', '"z"'), ('max', '"ab"', '"abc"'), ('max', '""', '"a"'),
             ('max', '1', '"2"'), ('max', 'null', '2'), ('max', '1', 'null'), ('max', 'true', 'false'), ('max', '[1]', '[2]'),
             ('min', '9', '10'), ('min', '10', '9'), ('min', '"9"', '"10"'), ('min', '"abc"', '"ab"'), ('min', '{}', '1'),
             ('longest', '"zz"', '"abc"'), ('longest', '"abc"', '"zz"'), ('longest', '"äöü"', '"abcd"'), ('longest', '"abcd"', '"äöü€"'),
             ('longest', '"a"', '"b"'), ('longest', '""', 'null'), ('longest', '[1]', '[1,2]'),
             ('keep', '1', '2'), ('keep', 'null', '2'), ('manual', '1', '2'), ('latest', '1', '2')) v (field, ours, theirs),
     rule_of(v.field, v.ours, v.theirs) r;

-- union: the record's elements as they are, then those of the change that aren't
-- among them, each once.
SELECT v.*, r.*
FROM (VALUES ('union', '["a"]'::jsonb, '["b"]'::jsonb), ('union', '["a"]', '["a","b"]'), ('union', '["a","b"]', '["b"]'), ('union', '["a","b"]', '["b","a"]'),
             ('union', '["a","a"]', '["b","b","a"]'), ('union', '[]', '[1]'), ('union', '[1]', '[]'), ('union', '[]', '[1,1.0,1]'),
             ('union', '[1.0]', '[1,2]'), ('union', '[1,"1"]', '[true,null,"1"]'), ('union', '[{"a":[1,{"b":null}]}]', '[{"a":[1.0,{"b":null}]},{"a":[1]}]'),
             ('union', '[[1,2]]', '[[2,1],[1,2]]'), ('union', '[[]]', '[{},[]]'), ('union', '"a"', '["b"]'), ('union', '["a"]', 'null'), ('union', '{"a":1}', '["a"]')) v (field, ours, theirs),
     rule_of(v.field, v.ours, v.theirs) r;
-- of many elements, too
SELECT jsonb_array_length(value) AS elements, jsonb_array_length(lost) AS lost, told
FROM rule_of('union', (SELECT jsonb_agg(n) FROM generate_series(1, 20000) n), (SELECT jsonb_agg(n * 3) FROM generate_series(1, 20000) n));

-- latest: by the times of the change and of the field's own value
SELECT * FROM decide(
	'{"externalId":"t","source":"Shop","version":1,"updatedAt":"2026-01-02T00:00:00Z","fields":{"latest":1,"x":1}}',
	'{"externalId":"t","source":"CRM","version":1,"updatedAt":"2026-02-01T00:00:00Z","fields":{"x":2}}',
	'{"externalId":"t","source":"Twin","version":1,"updatedAt":"2026-01-03T00:00:00Z","fields":{"latest":2}}',
	'{"externalId":"t","source":"Twin","version":1,"updatedAt":"2026-01-02T00:00:00Z","fields":{"latest":3}}',
	-- vouching for a value is not setting it: the time is the first one's
	'{"externalId":"t","source":"ERP","version":1,"updatedAt":"2026-01-09T00:00:00Z","fields":{"latest":2}}',
	'{"externalId":"t","source":"Twin","version":1,"updatedAt":"2026-01-04T00:00:00Z","fields":{"latest":4}}');
-- equal or missing times: rank, if the ladder has it
SELECT * FROM decide(
	'{"externalId":"t","source":"Shop","version":1,"updatedAt":"2026-01-04T00:00:00Z","fields":{"latest":5}}',
	'{"externalId":"t","source":"ERP","version":1,"updatedAt":"2026-01-04T00:00:00Z","fields":{"latest":6}}',
	'{"externalId":"t","source":"CRM","version":1,"fields":{"latest":7}}',
	'{"externalId":"t","source":"Shop","version":1,"updatedAt":"2026-01-05T00:00:00Z","fields":{"latest":8}}',
	'{"entity":"unranked","externalId":"t","source":"CRM","version":1,"fields":{"latest":1,"max":1}}',
	'{"entity":"unranked","externalId":"t","source":"CRM","version":1,"fields":{"latest":2,"max":2}}',
	'{"entity":"unranked","externalId":"t","source":"CRM","version":1,"fields":{"max":2,"y":2}}',
	'{"entity":"unranked","externalId":"t","source":"CRM","version":1,"fields":{"max":3,"z":3}}');

-- Many fields: rules and ranks side by side.  Only where no rank was asked it is
-- FIELD_RULE; a field that stays as it is is lost; a value that is neither side's
-- isn't lost, and is told to all.
SELECT * FROM decide(
	'{"externalId":"m","source":"Shop","version":1,"fields":{"max":5,"min":5,"union":["a"],"keep":1,"x":1,"y":1}}',
	'{"externalId":"m","source":"Twin","version":1,"fields":{"max":6,"min":4,"y":1,"z":1}}',
	'{"externalId":"m","source":"Twin","version":1,"fields":{"max":1,"keep":2}}',
	'{"externalId":"m","source":"Twin","version":1,"fields":{"max":7,"keep":2,"new":1}}',
	'{"externalId":"m","source":"Twin","version":1,"fields":{"union":["b"]}}',
	'{"externalId":"m","source":"CRM","version":1,"fields":{"union":["c"],"max":1,"x":2}}',
	'{"externalId":"m","source":"ERP","version":1,"fields":{"union":["b","d"],"x":3}}',
	-- a tie over one field: nothing is written, and all of them are contested
	'{"externalId":"m","source":"CRM","version":1,"fields":{"union":["e"],"max":99,"x":9}}');
SELECT s.key AS field, r->'fields'->s.key AS value, s.value->>'source' AS source, s.value->>'rowVersion' AS rv, s.value->>'setBy' AS set_by
FROM sync_record('record', 'm') r, jsonb_each(r->'stamps') s ORDER BY s.key COLLATE "C";
SELECT contested, incoming, reason FROM syncext.conflict_log WHERE external_id = 'm';
-- manual: neither rule nor rank, nothing is written, be the others decided
SELECT * FROM decide(
	'{"externalId":"n","source":"Shop","version":1,"fields":{"max":1,"manual":1,"x":1}}',
	'{"externalId":"n","source":"CRM","version":1,"fields":{"max":2,"manual":2,"x":2,"y":2}}',
	'{"externalId":"n","source":"CRM","version":1,"fields":{"max":2,"manual":1,"x":2}}',
	'{"entity":"unranked","externalId":"n","source":"Shop","version":1,"fields":{"max":1,"manual":1}}',
	'{"entity":"unranked","externalId":"n","source":"CRM","version":1,"fields":{"max":2,"manual":2}}');
SELECT contested, status, decision FROM syncext.conflict_log WHERE external_id = 'n';
-- An edit made on a row version contests what others set since, by the same rules.
SELECT * FROM decide(
	'{"externalId":"b","source":"Shop","version":1,"fields":{"union":[1],"max":1}}',
	'{"externalId":"b","source":"ERP","base":1,"fields":{"union":[1,2],"max":5}}',
	'{"externalId":"b","source":"CRM","base":1,"fields":{"union":[1,3],"max":4}}',
	-- made on what stands: not contested, so it wins whatever the rule says
	'{"externalId":"b","source":"CRM","base":3,"fields":{"union":[3],"max":0}}');
SELECT fields FROM syncext.canonical WHERE external_id = 'b';
-- so does a newer version, and a last rung that an undecided neighbour leads to
UPDATE syncext.entity SET ladder = '{version,merge,overwrite}' WHERE name = 'unranked';
SELECT * FROM decide(
	'{"externalId":"b","source":"Shop","version":9,"fields":{"keep":1,"max":-1}}',
	'{"entity":"unranked","externalId":"o","source":"Shop","version":1,"fields":{"keep":1,"x":1,"union":["a"]}}',
	'{"entity":"unranked","externalId":"o","source":"CRM","version":1,"fields":{"keep":2,"x":2,"union":["b"]}}');
SELECT fields FROM syncext.canonical WHERE external_id = 'o';
-- Not where a delete is on either side, nor in a ladder without merge.
SELECT * FROM decide(
	'{"externalId":"d","source":"Shop","version":1,"fields":{"max":1}}',
	'{"externalId":"d","source":"CRM","version":1,"deleted":true}',
	'{"externalId":"d","source":"Shop","version":1,"fields":{"max":2}}',
	'{"entity":"whole","externalId":"d","source":"CRM","version":1,"fields":{"max":1}}',
	'{"entity":"whole","externalId":"d","source":"Shop","version":1,"fields":{"max":2}}');

-- A rule is in force from the next statement; an entity's own comes before that of
-- every entity.
SELECT sync_add_entity('own');
SELECT * FROM decide('{"entity":"own","externalId":"1","source":"Shop","version":1,"fields":{"max":5,"q":5}}',
	'{"entity":"own","externalId":"1","source":"Twin","version":1,"fields":{"max":6}}');
INSERT INTO syncext.field_rule VALUES ('own', 'max', 'min'), ('own', 'q', 'max');
SELECT * FROM decide('{"entity":"own","externalId":"1","source":"Shop","version":1,"fields":{"max":7,"q":7}}',
	'{"externalId":"q","source":"Shop","version":1,"fields":{"q":5}}',
	'{"externalId":"q","source":"CRM","version":1,"fields":{"q":4}}');
DELETE FROM syncext.field_rule WHERE entity = 'own' AND field = 'max';
SELECT * FROM decide('{"entity":"own","externalId":"1","source":"Twin","version":1,"fields":{"max":9}}');
UPDATE syncext.field_rule SET rule = 'keep' WHERE field = 'max';
SELECT * FROM decide('{"entity":"own","externalId":"1","source":"Shop","version":1,"fields":{"max":10}}');
TRUNCATE syncext.field_rule;
SELECT * FROM decide('{"entity":"own","externalId":"1","source":"Twin","version":1,"fields":{"max":11}}');

-- What can't be a rule is refused; one that is never asked is told of.
INSERT INTO syncext.field_rule (field, rule) VALUES ('a', 'mean');
INSERT INTO syncext.field_rule (field, rule, args) VALUES ('a', 'max', '[]');
INSERT INTO syncext.field_rule (field, rule) VALUES ('*', 'max');
INSERT INTO syncext.field_rule (entity, field, rule) VALUES ('', 'a', 'max');
INSERT INTO syncext.field_rule (entity, field, rule) VALUES ('ownn', 'a', 'max'), ('whole', 'a', 'max');
SELECT severity, object, problem, hint FROM sync_check() WHERE object LIKE '%rule%';

-- They come along with a dump.
SELECT extcondition FROM (SELECT unnest(extconfig) AS relid, unnest(extcondition) AS extcondition FROM pg_extension WHERE extname = 'syncext') c
WHERE relid = 'syncext.field_rule'::regclass;

DROP FUNCTION decide, rule_of;
DROP EXTENSION syncext;
