-- Histories of field ladders, made from their rules by an independent model:
-- test/vectors/field_ladder.jsonl holds one a line, each with orders in which its changes
-- come, some of them several times.  Whatever the order, the record is the same.
CREATE EXTENSION syncext;
SET synchronous_commit = off;

CREATE TABLE history (n int GENERATED ALWAYS AS IDENTITY, h jsonb NOT NULL);
\copy history (h) FROM PROGRAM 'cat "$PG_ABS_SRCDIR/test/vectors/field_ladder.jsonl"' WITH (FORMAT csv, QUOTE E'\x01', DELIMITER E'\x02')
SELECT count(*) AS histories, sum(jsonb_array_length(h->'changes')) AS changes, sum(jsonb_array_length(h->'orders')) AS orders
FROM history;

SELECT count(sync_add_source(s)) AS sources FROM unnest('{P,Q,R,S}'::text[]) s;
-- an entity for each ladder and way of deletes
CREATE FUNCTION entity_of(h jsonb) RETURNS text LANGUAGE sql AS
	$$ SELECT concat_ws('-', (SELECT string_agg(r, '-') FROM jsonb_array_elements_text(h->'ladder') r), h->>'deletes') $$;
SELECT count(sync_add_entity(e, l, d)) AS entities
FROM (SELECT DISTINCT entity_of(h) AS e, ARRAY(SELECT jsonb_array_elements_text(h->'ladder')) AS l, h->>'deletes' AS d FROM history) x;

-- Each order of a history is a record of its own.
CREATE TABLE played (history int, id text, answers jsonb);
CREATE PROCEDURE replay() LANGUAGE plpgsql AS $$
DECLARE
	history record;
BEGIN
	FOR history IN SELECT * FROM history ORDER BY n LOOP
		DELETE FROM syncext.source_priority;
		INSERT INTO syncext.source_priority
			SELECT p->>0, p->>1, p->>2, (p->>3)::int FROM jsonb_array_elements(history.h->'priority') p;
		INSERT INTO played
			SELECT history.n, o.id, sync_apply(o.changes)
			FROM (SELECT history.n || '-' || nr AS id,
			             (SELECT jsonb_agg(history.h->'changes'->i::int || jsonb_build_object('entity', entity_of(history.h), 'externalId', history.n || '-' || nr) ORDER BY at)
			              FROM jsonb_array_elements_text(orders) WITH ORDINALITY x (i, at)) AS changes
			      FROM jsonb_array_elements(history.h->'orders') WITH ORDINALITY y (orders, nr)) o;
	END LOOP;
END $$;
CALL replay();

SELECT p.history, p.id, h.h->'deleted' AS expected_deleted, c.deleted, h.h->'fields' AS expected, c.fields
FROM played p JOIN history h ON h.n = p.history
LEFT JOIN syncext.canonical c ON c.entity = entity_of(h.h) AND c.external_id = p.id
WHERE c.deleted IS DISTINCT FROM (h.h->>'deleted')::boolean OR (NOT c.deleted AND c.fields IS DISTINCT FROM h.h->'fields')
ORDER BY 1, 2 LIMIT 20;
-- Nor do the stamps depend on the order: of the record, its life and its fields.
SELECT p.history, count(DISTINCT (c.version, c.updated_at, c.last_source, c.life)) AS lives
FROM played p JOIN history h ON h.n = p.history
JOIN syncext.canonical c ON c.entity = entity_of(h.h) AND c.external_id = p.id
WHERE h.h->'ladder' ? 'version'
GROUP BY 1 HAVING count(DISTINCT (c.version, c.updated_at, c.last_source, c.life)) > 1;
SELECT count(*) AS records, count(*) FILTER (WHERE c.deleted) AS deleted, count(*) FILTER (WHERE c.life IS NOT NULL) AS with_life FROM syncext.canonical c;
-- all the answers were there
SELECT a->>'resolution' AS resolution, a->>'told' AS told, count(*) FROM played, jsonb_array_elements(answers) a GROUP BY 1, 2 ORDER BY 1, 2;

DROP FUNCTION entity_of;
DROP TABLE history, played;
DROP PROCEDURE replay;
DROP EXTENSION syncext;
