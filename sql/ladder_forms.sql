-- Every ladder that there is, and what the default one promises.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1);
SELECT sync_add_source('ERP', 2);
SELECT sync_add_source('Portal', 3);
SELECT sync_add_source('LocalDB', 4);
-- without a rank
SELECT sync_add_source('Nobody');
SELECT sync_add_source('No one');
-- better for one field than for all
INSERT INTO syncext.source_priority (source, entity, field, priority) VALUES ('Portal', '*', 'a', 1);

--
-- Every ladder there is
--
-- Of all the ways to line up different rungs, 39 are ladders.
CREATE TABLE form AS
	WITH RECURSIVE rung (name) AS (
		VALUES ('version'), ('latest'), ('merge'), ('priority'), ('manual'), ('keep'), ('overwrite')
	), form (rungs) AS (
		SELECT ARRAY[name] FROM rung
		UNION ALL
		SELECT rungs || name FROM form, rung WHERE name <> ALL (rungs)
	)
	SELECT rungs, syncext.ladder_error(rungs) AS error FROM form;
SELECT count(*) AS forms, count(*) FILTER (WHERE error IS NULL) AS ladders FROM form;
-- One history down each of them: 2 sets another field, 3 is worse ranked, 4
-- and 5 tie over a field, 6 is an older version with a later time, 7 a newer
-- version with an earlier time, 8 a delete, 9 says nothing new.
CREATE TABLE history (n int, change jsonb);
INSERT INTO history VALUES
	(1, '{"source":"CRM","version":2,"updatedAt":"2026-01-02T00:00:00Z","a":1,"b":1}'),
	(2, '{"source":"ERP","version":2,"updatedAt":"2026-01-02T00:00:00Z","c":2}'),
	(3, '{"source":"LocalDB","version":2,"updatedAt":"2026-01-02T00:00:00Z","a":3,"d":3}'),
	(4, '{"source":"Nobody","version":2,"updatedAt":"2026-01-02T00:00:00Z","e":4}'),
	(5, '{"source":"No one","version":2,"updatedAt":"2026-01-02T00:00:00Z","e":5}'),
	(6, '{"source":"Portal","version":1,"updatedAt":"2026-01-03T00:00:00Z","b":6}'),
	(7, '{"source":"Portal","version":3,"updatedAt":"2026-01-01T00:00:00Z","b":7}'),
	(8, '{"source":"Portal","version":3,"updatedAt":"2026-01-03T00:00:00Z","deleted":true}'),
	(9, '{"source":"CRM","version":3,"updatedAt":"2026-01-03T00:00:00Z","deleted":true}');
CREATE FUNCTION play(rungs text[]) RETURNS TABLE (resolutions text, record jsonb)
	LANGUAGE plpgsql AS $$
DECLARE
	entity text := 'form ' || array_to_string(rungs, ' ');
	c jsonb;
	r text;
BEGIN
	PERFORM sync_add_entity(entity, rungs);
	FOR c IN SELECT change FROM history ORDER BY n LOOP
		SELECT s.resolution INTO r FROM send(c || jsonb_build_object('entity', entity, 'externalId', 'x')) s;
		resolutions := concat_ws(' ', resolutions, r);
	END LOOP;
	record := sync_record(entity, 'x');
	RETURN NEXT;
END $$;
SELECT array_to_string(f.rungs, ' ') AS ladder, p.resolutions,
       p.record->>'version' AS v, p.record->>'rowVersion' AS rv, p.record->>'lastSource' AS last, p.record->>'deleted' AS del,
       p.record->'fields' AS fields
FROM (SELECT rungs, rank() OVER (ORDER BY rungs COLLATE "C") FROM form WHERE error IS NULL) f, LATERAL play(f.rungs) p
ORDER BY f.rank;

--
-- What the ladder promises
--
-- Full rows of sources that are ranked apart end alike in whatever order they
-- come: all 24 orders of four rows at two versions.
CREATE TABLE full_row (n int, change jsonb);
INSERT INTO full_row VALUES
	(1, '{"source":"CRM","version":1,"a":"x","b":1,"c":null}'),
	(2, '{"source":"ERP","version":2,"a":"x","b":2,"c":null}'),
	(3, '{"source":"Portal","version":2,"a":"y","b":1,"c":null}'),
	(4, '{"source":"LocalDB","version":2,"a":"y","b":2,"c":true}');
CREATE FUNCTION play_rows(o int[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	i int;
	c jsonb;
BEGIN
	FOREACH i IN ARRAY o LOOP
		SELECT change INTO c FROM full_row WHERE n = i;
		PERFORM sync_apply(c || jsonb_build_object('externalId', 'order ' || o::text));
	END LOOP;
	RETURN sync_record('record', 'order ' || o::text);
END $$;
WITH ordered AS (
	SELECT ARRAY[a.n, b.n, c.n, d.n] AS o FROM full_row a, full_row b, full_row c, full_row d
	WHERE a.n <> ALL (ARRAY[b.n, c.n, d.n]) AND b.n <> ALL (ARRAY[c.n, d.n]) AND c.n <> d.n
), played AS (
	SELECT play_rows(o) AS r FROM ordered
)
SELECT count(*) AS orders, r->'fields' AS fields, r->>'version' AS version,
       (SELECT jsonb_object_agg(key, value->'source') FROM jsonb_each(r->'stamps')) AS vouched_for_by
FROM played GROUP BY 2, 3, 4;

DROP TABLE form, history, full_row;
DROP FUNCTION play, play_rows;
DROP EXTENSION syncext;
