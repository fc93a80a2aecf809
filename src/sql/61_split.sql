-- Splitting: a key that was found to be of another record.

-- What the log has of a record: the last that was said by a key, and by everybody else.  Newer is
-- what says so itself, by its version or time; else what came later.
CREATE FUNCTION syncext.words_of(entity text, ids text[], source text, source_id text, only_key boolean, by_time boolean) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH logged AS (
		SELECT l.seq, l.source, l.fields, l.resolution,
		       CASE WHEN jsonb_typeof(l.detail) = 'object' THEN l.detail ELSE '{}' END AS detail, l.version
		FROM syncext.log_row l
		WHERE l.entity = $1 AND l.external_id = ANY ($2) AND jsonb_typeof(l.fields) = 'object'
		  AND l.resolution NOT IN ('w', 'x', 'y', '!', 'c', 'd', 'u')
		  AND (l.resolution <> 'r' OR l.detail ? 'conflictId')
	), attributed AS (
		SELECT g.*, g.source = $3 AND g.resolution <> 'r' AND ($5 OR coalesce(g.detail->>'sourceId' = $4, false)) AS mine,
		       coalesce(g.detail->'created' = 'true', g.detail->'base' = '0' AND g.detail->'edit' IS NULL, false) AND g.detail->'verbatim' IS NULL AS born
		FROM logged g
	), present AS (
		SELECT * FROM attributed a
		WHERE NOT a.mine OR a.seq > ALL (SELECT d.seq FROM attributed d
		                                 WHERE d.mine AND d.detail->'deleted' = 'true' AND d.resolution NOT IN ('s', 'k', 'S', '?'))
	), named AS (
		SELECT p.seq, p.source, p.mine, p.detail, p.version, e.key AS field, e.value, p.resolution <> 'r' AS clear
		FROM present p, jsonb_each(p.fields) e
		WHERE NOT (p.born AND e.value = 'null')
		UNION ALL
		SELECT p.seq, p.source, p.mine, p.detail, p.version, e.key, 'null', false
		FROM present p, jsonb_each(CASE WHEN jsonb_typeof(p.detail->'increments') = 'object' THEN p.detail->'increments' ELSE '{}' END) e
	), newest AS (
		SELECT DISTINCT ON (n.mine, n.field) n.mine, n.field, n.value, n.source, n.clear
		FROM named n
		ORDER BY n.mine, n.field, CASE WHEN $6 THEN n.detail->>'updatedAt' END COLLATE "C" DESC NULLS LAST,
		         coalesce(syncext.log_number(n.detail->'version'), n.version) DESC, n.seq DESC
	)
	SELECT jsonb_build_object(
		'said', coalesce(jsonb_object_agg(w.field, w.value) FILTER (WHERE w.mine AND w.clear), '{}'),
		'others', coalesce(jsonb_object_agg(w.field, w.value) FILTER (WHERE NOT w.mine AND w.clear), '{}'),
		'sources', coalesce(jsonb_object_agg(w.field, w.source) FILTER (WHERE NOT w.mine AND w.clear), '{}'),
		'unclear', coalesce(jsonb_object_agg(w.field, 'null'::jsonb) FILTER (WHERE NOT w.clear), '{}'),
		'whole', EXISTS (SELECT FROM logged g WHERE g.resolution = 'n'))
	FROM newest w
	$$;
COMMENT ON FUNCTION syncext.words_of(text, text[], text, text, boolean, boolean) IS
	'what the change log has of a record: said, the last of each field by a source''s own key; others, by everybody else, and which sources that were; unclear, fields whose last word is no value; whole, it reaches back to the record''s birth. only_key: all that the source has said counts; by_time: by updatedAt';
REVOKE ALL ON FUNCTION syncext.words_of(text, text[], text, text, boolean, boolean) FROM PUBLIC;

-- What is kept of the record elsewhere, by its id, and is the key's.
CREATE FUNCTION syncext.split_rest(entity text, was text, now text, source text, source_id text, only_key boolean, current boolean) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	UPDATE syncext.waiting w SET external_id = $3, change = jsonb_set(w.change, '{externalId}', to_jsonb($3))
	WHERE w.entity = $1 AND w.external_id = $2 AND w.source = $4 AND jsonb_typeof(w.change) = 'object'
	  AND ($6 OR w.change->>'sourceId' = $5);
	UPDATE syncext.replica p SET external_id = $3
	WHERE $7 AND p.external_id = $2 AND p.relation IN (SELECT b.relation FROM syncext.binding b WHERE b.source = $4 AND b.entity = $1 AND b.own_keys);
	UPDATE syncext.capture_failure f SET external_id = $3
	WHERE $7 AND f.external_id = $2 AND f.relation IN (SELECT b.relation FROM syncext.binding b WHERE b.source = $4 AND b.entity = $1 AND b.own_keys);
	DELETE FROM syncext.routed r WHERE $6 AND r.target = $4 AND r.entity = $1 AND r.external_id = $2;
	$$;
COMMENT ON FUNCTION syncext.split_rest(text, text, text, text, text, boolean, boolean) IS
	'what waits of a source''s key, and what is remembered of its row, is of another record now';
REVOKE ALL ON FUNCTION syncext.split_rest(text, text, text, text, text, boolean, boolean) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_split(entity text, source text, source_id text, note text DEFAULT NULL) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_split';
COMMENT ON FUNCTION @extschema@.sync_split(text, text, text, text) IS
	'make one key of a source a record of its own, with what the source last said by it; says which, and what became of the record''s values';
