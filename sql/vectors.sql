-- Histories made from the ladder's rules by an independent model, replayed
-- answer by answer; test/vectors/ladder.jsonl holds one a line.
CREATE EXTENSION syncext;
SET synchronous_commit = off;

-- Read by the client: the server may be another user's.  Neither quote nor
-- delimiter is in the file.
CREATE TABLE history (n int GENERATED ALWAYS AS IDENTITY, h jsonb NOT NULL);
\copy history (h) FROM PROGRAM 'cat "$PG_ABS_SRCDIR/test/vectors/ladder.jsonl"' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
SELECT count(*) AS histories, count(*) = 300 AS complete,
       sum(jsonb_array_length(h->'changes')) AS changes,
       bool_and(jsonb_array_length(h->'changes') = jsonb_array_length(h->'answers')) AS all_answered
FROM history;

SELECT count(sync_add_source(s)) AS sources FROM unnest('{CRM,ERP,Portal,LocalDB}'::text[]) s;

CREATE TABLE mismatch (history int, step int, what text, expected jsonb, got jsonb);
CREATE TABLE played (history int, step int, resolution text);

-- Replays each change in a transaction of its own: explained, then applied.
CREATE PROCEDURE replay() LANGUAGE plpgsql AS $$
DECLARE
	history record;
	change jsonb;
	expected jsonb;
	explained jsonb;
	answer jsonb;
	wrote xid8;
	step int;
BEGIN
	FOR history IN SELECT * FROM history ORDER BY n LOOP
		DELETE FROM syncext.canonical;
		DELETE FROM syncext.conflict_log;
		DELETE FROM syncext.source_priority;
		DELETE FROM syncext.field_rule;
		UPDATE syncext.entity SET ladder = ARRAY(SELECT jsonb_array_elements_text(history.h->'ladder'))
			WHERE name = 'record';
		UPDATE syncext.source SET single_writer = history.h->'singleWriters' ? name;
		INSERT INTO syncext.source_priority
			SELECT p->>0, p->>1, p->>2, (p->>3)::int FROM jsonb_array_elements(history.h->'priority') p;
		INSERT INTO syncext.field_rule
			SELECT r->>0, r->>1, r->>2 FROM jsonb_array_elements(history.h->'fieldRules') r;
		COMMIT;
		FOR step IN 0 .. jsonb_array_length(history.h->'changes') - 1 LOOP
			change := history.h->'changes'->step;
			expected := history.h->'answers'->step;
			explained := sync_explain(change);
			wrote := pg_current_xact_id_if_assigned();
			answer := sync_apply(change);
			INSERT INTO played VALUES (history.n, step, answer->>'resolution');
			INSERT INTO mismatch
				SELECT history.n, step, 'answer', expected, answer
				WHERE expected <> (SELECT jsonb_object_agg(k, answer->k) FROM jsonb_object_keys(expected) k)
				   OR answer->>'entity' <> 'record' OR answer->'externalId' <> change->'externalId'
				   OR (answer->>'conflictId' IS NOT NULL) <> (answer->>'resolution' = 'MANUAL')
				UNION ALL
				SELECT history.n, step, 'explained', answer, explained
				WHERE explained - 'conflictId' <> answer - 'conflictId'
				   -- a conflict that isn't there yet has no number
				   OR explained->>'conflictId' <> answer->>'conflictId'
				UNION ALL
				SELECT history.n, step, 'explaining wrote', NULL, NULL
				WHERE wrote IS NOT NULL;
			COMMIT;
		END LOOP;
		INSERT INTO mismatch
			SELECT history.n, NULL::int, 'record', e.record, g.record
			FROM (SELECT record FROM jsonb_array_elements(history.h->'records') r (record)) e
			FULL JOIN (
				SELECT r - 'stamps' - 'entity' - 'updatedAt' || jsonb_build_object('stamps', (
					SELECT coalesce(jsonb_object_agg(key, jsonb_build_array(
						value->'version', value->'source', value->'rowVersion', value->'setBy')), '{}')
					FROM jsonb_each(r->'stamps'))) AS record
				FROM syncext.canonical c, sync_record(c.entity, c.external_id) r) g
			ON g.record->'externalId' = e.record->'externalId'
			WHERE e.record IS DISTINCT FROM g.record
			UNION ALL
			SELECT history.n, NULL, 'pending conflicts', history.h->'pendingConflicts', to_jsonb(c.pending)
			FROM (SELECT count(*) AS pending FROM syncext.conflict_log WHERE status = 'pending') c
			WHERE to_jsonb(c.pending) IS DISTINCT FROM history.h->'pendingConflicts';
		COMMIT;
	END LOOP;
END $$;
CALL replay();

SELECT history, step, what, expected, got FROM mismatch ORDER BY 1, 2 NULLS LAST, 3 LIMIT 20;
SELECT count(DISTINCT history) AS histories, count(*) AS changes, (SELECT count(*) FROM mismatch) AS mismatches
FROM played;
-- all the rungs were there
SELECT resolution, count(*) FROM played GROUP BY 1 ORDER BY 1;

DROP TABLE history, mismatch, played;
DROP PROCEDURE replay;
DROP EXTENSION syncext;
