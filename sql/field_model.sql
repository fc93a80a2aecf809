-- Histories of field ladders made by chance, each in several orders, against a model that
-- was made from their rules and not from the code: answers, records and stamps must be the
-- model's.  test/model has it; SYNCEXT_MODEL_HISTORIES and SYNCEXT_MODEL_SEED in the
-- environment ask for other histories.
CREATE EXTENSION syncext;
SET synchronous_commit = off;

-- The model itself is checked against the vectors, made by another one.
CREATE TABLE checked (n int GENERATED ALWAYS AS IDENTITY, line text);
\copy checked (line) FROM PROGRAM 'perl "$PG_ABS_SRCDIR/test/model/field_histories" check "$PG_ABS_SRCDIR/test/vectors/field_ladder.jsonl"' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
SELECT line FROM checked ORDER BY n DESC LIMIT 5;

-- One row for each configuration, the histories of which go side by side.
CREATE TABLE model (n int GENERATED ALWAYS AS IDENTITY, h jsonb NOT NULL);
\copy model (h) FROM PROGRAM 'perl "$PG_ABS_SRCDIR/test/model/field_histories" make "${SYNCEXT_MODEL_HISTORIES:-1000}" "${SYNCEXT_MODEL_SEED:-1}"' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
SELECT count(sync_add_source(s)) AS sources FROM unnest('{P,Q,R,S}'::text[]) s;

CREATE TABLE mismatch (n int, step int, what text, expected jsonb, got jsonb);
CREATE TABLE played (n int, change jsonb, a jsonb);
CREATE TABLE ended (n int, id text, deleted boolean, fields jsonb, stamp jsonb);

-- Times in microseconds, as the model has them; of stamps what the ladder makes them of.
CREATE FUNCTION microseconds(t text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT (extract(epoch FROM t::timestamptz) * 1000000)::bigint $$;
CREATE FUNCTION standing(ladder jsonb) RETURNS SETOF jsonb LANGUAGE sql AS $$
	SELECT r - 'stamps' - 'entity' - 'life' || jsonb_build_object('updatedAt', microseconds(r->>'updatedAt'), 'stamps', (
		SELECT coalesce(jsonb_object_agg(key, jsonb_build_array(value->'source')
		       || CASE WHEN ladder ? 'version' THEN jsonb_build_array(value->'version') ELSE '[]' END
		       || CASE WHEN ladder ? 'latest' THEN jsonb_build_array(microseconds(value->>'updatedAt')) ELSE '[]' END), '{}')
		FROM jsonb_each(r->'stamps')))
	FROM syncext.canonical c, sync_record(c.entity, c.external_id) r
$$;

-- Each step of a configuration's histories is one batch, explained, then applied.
CREATE PROCEDURE replay() LANGUAGE plpgsql AS $$
DECLARE
	m record;
	step record;
	explained jsonb;
	answers jsonb;
BEGIN
	FOR m IN SELECT * FROM model ORDER BY n LOOP
		DELETE FROM syncext.canonical;
		DELETE FROM syncext.source_priority;
		UPDATE syncext.entity SET ladder = ARRAY(SELECT jsonb_array_elements_text(m.h->'ladder')), deletes = m.h->>'deletes' WHERE name = 'record';
		INSERT INTO syncext.source_priority
			SELECT p->>0, p->>1, p->>2, (p->>3)::int FROM jsonb_array_elements(m.h->'priority') p;
		COMMIT;
		FOR step IN SELECT s->'changes' AS changes, s->'answers' AS answers, nr FROM jsonb_array_elements(m.h->'steps') WITH ORDINALITY s (s, nr) LOOP
			explained := sync_explain(step.changes);
			answers := sync_apply(step.changes);
			INSERT INTO played
				SELECT m.n, c, a FROM ROWS FROM (jsonb_array_elements(step.changes), jsonb_array_elements(answers)) x (c, a);
			INSERT INTO mismatch
				SELECT m.n, step.nr, 'answer', e || jsonb_build_object('change', c), a
				FROM ROWS FROM (jsonb_array_elements(step.changes), jsonb_array_elements(step.answers), jsonb_array_elements(answers)) x (c, e, a)
				WHERE NOT a @> e OR a->'changed' <> e->'changed' OR a->'lost' <> e->'lost'
				UNION ALL
				SELECT m.n, step.nr, 'explained', a, e
				FROM ROWS FROM (jsonb_array_elements(explained), jsonb_array_elements(answers)) x (e, a)
				WHERE e <> a;
			COMMIT;
		END LOOP;
		INSERT INTO mismatch
			SELECT m.n, NULL::int, 'record', e.record, s.record
			FROM jsonb_array_elements(m.h->'records') e (record)
			FULL JOIN standing(m.h->'ladder') s (record) ON s.record->'externalId' = e.record->'externalId'
			WHERE e.record IS DISTINCT FROM s.record;
		INSERT INTO ended
			SELECT m.n, split_part(r->>'externalId', '-', 1), (r->>'deleted')::boolean, r->'fields',
			       r - 'externalId' - 'rowVersion' - 'fields' - CASE WHEN m.h->'ladder' ? 'version' THEN '' ELSE 'version' END
			FROM standing(m.h->'ladder') r;
		COMMIT;
	END LOOP;
END $$;
CALL replay();

SELECT n, step, what, expected, got FROM mismatch ORDER BY 1, 2 NULLS LAST, 3 LIMIT 20;
SELECT count(*) AS mismatches FROM mismatch;
-- Whatever the order, it is one record, with one stamp; a tombstone's fields are among them.
SELECT count(*) AS several_ends
FROM (SELECT n, id FROM ended GROUP BY 1, 2 HAVING count(DISTINCT (deleted, fields, stamp)) > 1) e;
-- All that can be answered was.
SELECT a->>'resolution' AS resolution, string_agg(DISTINCT a->>'told', ', ' ORDER BY a->>'told') AS told FROM played GROUP BY 1 ORDER BY 1;
SELECT what, count(*) FILTER (WHERE often) > 0 AS there
FROM (SELECT 'a birth''s nulls' AS what, change->>'created' = 'true' AND change->'fields' @@ '$.* == null' AS often FROM played
      UNION ALL SELECT 'a birth without fields', change->'fields' = '{}' AND a->>'resolution' = 'FIELD_WIN' FROM played
      UNION ALL SELECT 'a record that comes back', a->>'resolution' = 'FIELD_WIN' AND a->>'told' = 'others' AND a->'changed' = '[]' AND change->'deleted' IS NULL FROM played
      UNION ALL SELECT 'a delete that doesn''t count yet', change->>'deleted' = 'true' AND a->>'resolution' = 'FIELD_WIN' AND a->>'told' = 'none' FROM played
      UNION ALL SELECT 'fields that are cut from a live record', jsonb_array_length(a->'changed') > jsonb_array_length(jsonb_path_query_array(change->'fields', '$.keyvalue()')) FROM played
      UNION ALL SELECT 'a source named at an equal stamp', a->>'resolution' = 'NO_CHANGE' AND a->>'lastSource' = change->>'source' FROM played) w
GROUP BY 1 ORDER BY 1;

DROP FUNCTION standing, microseconds;
DROP TABLE checked, model, mismatch, played, ended;
DROP PROCEDURE replay;
DROP EXTENSION syncext;
