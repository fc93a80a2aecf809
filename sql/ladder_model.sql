-- Histories made by chance, fields in groups among them, against a model of the ladder that was made
-- from its rules and not from the code: answers, records, stamps and conflicts must be the
-- model's.  test/model has it; SYNCEXT_MODEL_HISTORIES and SYNCEXT_MODEL_SEED in the
-- environment ask for other histories.
CREATE EXTENSION syncext;
SET synchronous_commit = off;
-- of rules in ladders that have no merge
SET client_min_messages = error;

-- The model itself is checked against the vectors, made by another one.
CREATE TABLE checked (n int GENERATED ALWAYS AS IDENTITY, line text);
\copy checked (line) FROM PROGRAM 'perl "$PG_ABS_SRCDIR/test/model/histories" check "$PG_ABS_SRCDIR/test/vectors/ladder.jsonl"' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
-- And it ends alike in every order where doc/ladder.md promises that.
\copy checked (line) FROM PROGRAM 'perl "$PG_ABS_SRCDIR/test/model/histories" orders 60 1' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
SELECT line FROM checked ORDER BY n DESC LIMIT 5;

-- One row for each configuration, the histories of which go side by side.
CREATE TABLE model (n int GENERATED ALWAYS AS IDENTITY, h jsonb NOT NULL);
\copy model (h) FROM PROGRAM 'perl "$PG_ABS_SRCDIR/test/model/histories" make "${SYNCEXT_MODEL_HISTORIES:-2000}" "${SYNCEXT_MODEL_SEED:-1}"' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
SELECT count(sync_add_source(s)) AS sources FROM unnest('{CRM,ERP,Portal,LocalDB}'::text[]) s;

CREATE TABLE mismatch (n int, step int, what text, expected jsonb, got jsonb);
CREATE TABLE played (n int, change jsonb, a jsonb);

-- The sources, times in microseconds, of a record as the model has them.
CREATE FUNCTION microseconds(t text) RETURNS bigint LANGUAGE sql AS
	$$ SELECT (extract(epoch FROM t::timestamptz) * 1000000)::bigint $$;
CREATE VIEW standing AS
	SELECT r - 'stamps' - 'entity' - 'updatedAt' || jsonb_build_object('updatedAt', microseconds(r->>'updatedAt'), 'stamps', (
		SELECT coalesce(jsonb_object_agg(key, jsonb_build_array(
			value->'version', value->'source', value->'rowVersion', value->'setBy', microseconds(value->>'updatedAt'))), '{}')
		FROM jsonb_each(r->'stamps'))) AS record
	FROM syncext.canonical c, sync_record(c.entity, c.external_id) r;

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
		DELETE FROM syncext.conflict_log;
		DELETE FROM syncext.source_priority;
		DELETE FROM syncext.field_rule;
		UPDATE syncext.entity SET ladder = ARRAY(SELECT jsonb_array_elements_text(m.h->'ladder')) WHERE name = 'record';
		UPDATE syncext.source SET single_writer = m.h->'singleWriters' ? name;
		INSERT INTO syncext.source_priority
			SELECT p->>0, p->>1, p->>2, (p->>3)::int FROM jsonb_array_elements(m.h->'priority') p;
		INSERT INTO syncext.field_rule
			SELECT r->>0, r->>1, r->>2, CASE WHEN r->>3 IS NOT NULL THEN jsonb_build_object('group', r->>3) END FROM jsonb_array_elements(m.h->'fieldRules') r;
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
				   OR (a->>'conflictId' IS NOT NULL) <> (a->>'resolution' = 'MANUAL')
				UNION ALL
				SELECT m.n, step.nr, 'explained', a, e
				FROM ROWS FROM (jsonb_array_elements(explained), jsonb_array_elements(answers)) x (e, a)
				WHERE e - 'conflictId' <> a - 'conflictId' OR e->>'conflictId' <> a->>'conflictId';
			COMMIT;
		END LOOP;
		INSERT INTO mismatch
			SELECT m.n, NULL::int, 'record', e.record, s.record
			FROM jsonb_array_elements(m.h->'records') e (record)
			FULL JOIN standing s ON s.record->'externalId' = e.record->'externalId'
			WHERE e.record IS DISTINCT FROM s.record
			UNION ALL
			SELECT m.n, NULL, 'conflict', e.conflict, c.conflict
			FROM (SELECT conflict, row_number() OVER (PARTITION BY conflict->'externalId' ORDER BY nr)
			      FROM jsonb_array_elements(m.h->'conflicts') WITH ORDINALITY e (conflict, nr)) e
			FULL JOIN (SELECT jsonb_build_object('externalId', l.external_id, 'source', l.source, 'version', l.version, 'deleted', l.incoming_deleted,
			                                     'incoming', l.incoming, 'status', l.status, 'decision', l.decision, 'contested', l.contested) AS conflict,
			                  row_number() OVER (PARTITION BY l.external_id ORDER BY l.id)
			           FROM syncext.conflict_log l) c
			ON c.conflict->'externalId' = e.conflict->'externalId' AND c.row_number = e.row_number
			WHERE e.conflict IS DISTINCT FROM c.conflict;
		COMMIT;
	END LOOP;
END $$;
CALL replay();

SELECT n, step, what, expected, got FROM mismatch ORDER BY 1, 2 NULLS LAST, 3 LIMIT 20;
SELECT count(*) AS mismatches FROM mismatch;
-- All the rungs were there, and all that the vectors don't cover.
CREATE VIEW answer AS
	SELECT p.change, p.a, m.ladder FROM played p JOIN (SELECT n, h->'ladder' AS ladder FROM model OFFSET 0) m USING (n);
SELECT a->>'resolution' AS resolution, count(*) > 0 AS there FROM answer GROUP BY 1 ORDER BY 1;
SELECT what, count(*) FILTER (WHERE often) > 0 AS there
FROM (SELECT 'a value that is neither side''s, told to all' AS what, a->>'told' = 'all' AND a->'lost' = '[]' AS often FROM answer
      UNION ALL SELECT 'rules and ranks side by side', a->>'reason' LIKE 'by priority, %: % before %' AND a->>'reason' ~ '(max|min|longest|latest|union|keep) of ' FROM answer
      UNION ALL SELECT 'contested at any version', ladder ? 'merge' AND NOT ladder ? 'version' AND a->>'resolution' IN ('FIELD_RULE', 'PRIORITY_WIN') FROM answer
      UNION ALL SELECT 'a time compared with the contested fields'' own', a->>'reason' LIKE '%contested fields' FROM answer
      UNION ALL SELECT 'a group decided by rank', a->>'reason' ~ 'by priority,.* group [gh]: ' FROM answer
      UNION ALL SELECT 'a group decided by its rule', a->>'reason' ~ 'by rule,.* group [gh]: ' FROM answer
      UNION ALL SELECT 'a group decided beside a field', a->>'reason' ~ 'by (priority|rule),.* group [gh]: ' AND a->>'reason' ~ '(max|min|longest|latest|union|keep) of ' FROM answer
      UNION ALL SELECT 'a group emptied by ' || (a->>'resolution'), a->>'reason' LIKE '%which the change does not name, becomes null' FROM answer WHERE a->>'reason' LIKE '%becomes null'
      UNION ALL SELECT 'a birth without fields', change->'fields' = '{}' AND a->>'status' = '200' FROM answer
      UNION ALL SELECT 'the same conflict again', lag(a->'conflictId') OVER (ORDER BY a->'conflictId') = a->'conflictId' AND a->>'conflictId' IS NOT NULL FROM answer) w
GROUP BY 1 ORDER BY 1;

DROP VIEW answer, standing;
DROP FUNCTION microseconds;
DROP TABLE checked, model, mismatch, played;
DROP PROCEDURE replay;
DROP EXTENSION syncext;
