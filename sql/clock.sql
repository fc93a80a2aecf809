-- Clocks that run ahead: what a source says of the time is bounded by the hub's.
CREATE EXTENSION syncext;
SELECT sync_add_source('A', 1), sync_add_source('B', 2), sync_add_source('Shop', 3);
SELECT sync_add_entity('latest', '{latest,keep}');
SELECT sync_add_entity('child', '{version,merge,priority,manual}');
SELECT sync_add_reference('child', 'of', 'latest');

-- a change document of a time from now
CREATE FUNCTION document(entity text, id text, source text, ahead interval, fields jsonb) RETURNS jsonb
	LANGUAGE sql AS $$
	SELECT jsonb_build_object('entity', entity, 'externalId', id, 'source', source, 'version', 1,
		'updatedAt', clock_timestamp() + ahead, 'fields', fields)
$$;
-- what an answer says, without the time that it was given
CREATE FUNCTION said(answer jsonb) RETURNS text
	LANGUAGE sql AS $$
	SELECT concat_ws(' ', answer->>'status', answer->>'resolution') || ': '
		|| regexp_replace(answer->>'reason', '\d{4}-\d\d-\d\dT[0-9:.]+Z', '<time>', 'g')
$$;
-- is the record's time the hub's, ahead of it as it was sent, or before?
CREATE FUNCTION record_time(entity text, id text) RETURNS text
	LANGUAGE sql AS $$
	SELECT CASE WHEN t > clock_timestamp() THEN 'ahead' WHEN t > clock_timestamp() - interval '10 min' THEN 'now' ELSE 'past' END
	FROM (SELECT (sync_record(entity, id)->>'updatedAt')::timestamptz) r (t)
$$;

SHOW syncext.max_clock_skew;
-- a clock that is an hour ahead wins against what was before it ...
SELECT said(sync_apply(document('latest', '1', 'B', '-1 min', '{"x": 1}')));
SELECT said(sync_apply(document('latest', '1', 'A', '1 hour', '{"x": 2}')));
SELECT record_time('latest', '1');
-- ... but not against what comes after
SELECT said(sync_apply(document('latest', '1', 'B', '0', '{"x": 3}')));
SELECT sync_record('latest', '1')->'fields' AS fields;
-- the log and the history have the time that counts
SELECT source, resolution, (detail->>'updatedAt')::timestamptz < clock_timestamp() AS bounded FROM sync_history('latest', '1');
-- a few minutes are let pass
SELECT said(sync_apply(document('latest', '2', 'A', '4 min', '{"x": 1}')));
SELECT record_time('latest', '2');
SELECT said(sync_apply(document('latest', '2', 'B', '0', '{"x": 2}')));
-- a clock that is behind
SELECT said(sync_apply(document('latest', '3', 'A', '-1 year', '{"x": 1}')));
SELECT record_time('latest', '3');

-- in a batch, each on its own
SELECT said(answer) FROM jsonb_array_elements(sync_apply(jsonb_build_array(
	document('latest', '4', 'A', '100 years', '{"x": 1}'),
	document('latest', '5', 'A', '1 min', '{"x": 1}'),
	document('latest', '4', 'B', '200 years', '{"x": 2}')))) answer;
SELECT record_time('latest', '4'), record_time('latest', '5'), sync_record('latest', '4')->'fields' AS fields;

-- explained as it would be applied
SELECT said(sync_explain(document('latest', '5', 'B', '-1 hour', '{"x": 9}')));
SELECT said(sync_explain(document('latest', '4', 'A', '1 hour', '{"x": 9}')));
SELECT said(answer) FROM jsonb_array_elements(sync_explain(jsonb_build_array(
	document('latest', '6', 'A', '1 hour', '{"x": 1}'),
	document('latest', '6', 'B', '1 min', '{"x": 2}')))) answer;
SELECT sync_record('latest', '6');

-- a ladder that doesn't go by the time keeps the record's all the same
SELECT said(sync_apply(document('record', '1', 'A', '1 hour', '{"x": 1}')));
SELECT record_time('record', '1');
SELECT said(sync_apply(document('record', '1', 'B', '1 hour', '{"y": 1}')));
-- what is parked has the time at which it came in
SELECT said(sync_apply(document('child', '1', 'A', '1 hour', '{"of": "7"}')));
SELECT (change->>'updatedAt')::timestamptz < clock_timestamp() AS bounded FROM syncext.waiting;
-- a conflict, too
INSERT INTO syncext.source_priority (source, entity, priority) VALUES ('B', 'record', 1);
SELECT said(sync_apply(document('record', '1', 'B', '1 hour', '{"x": 2}')));
SELECT (incoming_detail->>'updatedAt')::timestamptz < clock_timestamp() AS bounded, reason LIKE '%counts as now' AS reason FROM syncext.conflict_log;

-- attached tables
CREATE TABLE item (id int PRIMARY KEY, x int, updated_at timestamptz);
SELECT sync_attach('item', 'Shop', 'latest', updated_column => 'updated_at');
INSERT INTO item VALUES (10, 1, clock_timestamp() + interval '1 hour'), (11, 1, clock_timestamp() + interval '1 min');
SELECT record_time('latest', '10'), record_time('latest', '11');
SELECT said(sync_apply(document('latest', '10', 'A', '0', '{"x": 2}')));

-- by the setting
SET syncext.max_clock_skew = '2h';
SELECT said(sync_apply(document('latest', '20', 'A', '1 hour', '{"x": 1}')));
SELECT record_time('latest', '20');
SET syncext.max_clock_skew = -1;
SELECT said(sync_apply(document('latest', '22', 'A', '1000 years', '{"x": 1}')));
SELECT record_time('latest', '22');
SET syncext.max_clock_skew = 0;
SELECT said(sync_apply(document('latest', '21', 'A', '1 min', '{"x": 1}')));
SELECT record_time('latest', '21');
RESET syncext.max_clock_skew;
CREATE ROLE syncext_user;
SET ROLE syncext_user;
SET syncext.max_clock_skew = '1 year';
RESET ROLE;
DROP ROLE syncext_user;

DROP FUNCTION document, said, record_time;
SELECT sync_detach('item');
DROP TABLE item;
DROP EXTENSION syncext;
