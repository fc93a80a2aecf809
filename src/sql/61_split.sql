-- Splitting: a key that was found to be of another record.

-- What the log has of a record: the last that was said by a key, and by everybody else.  Newer is
-- what says so itself, by its version or time; else what came later.
CREATE FUNCTION syncext.words_of(entity text, ids text[], source text, source_id text, only_key boolean, by_time boolean) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH logged AS (
		SELECT l.seq, l.source, l.fields, l.resolution,
		       CASE WHEN jsonb_typeof(l.detail) = 'object' THEN l.detail ELSE '{}' END AS detail, l.version, l.base, l.updated_at
		FROM syncext.log_row l
		WHERE l.entity = $1 AND l.external_id = ANY ($2) AND jsonb_typeof(l.fields) = 'object'
		  AND l.resolution NOT IN ('w', 'x', 'y', '!', 'c', 'd', 'u')
		  AND (l.resolution <> 'r' OR l.detail ? 'conflictId')
	), attributed AS (
		SELECT g.*, g.source = $3 AND g.resolution <> 'r' AND ($5 OR coalesce(g.detail->>'sourceId' = $4, false)) AS mine,
		       coalesce(g.detail->'created' = 'true', g.base = 0 AND g.detail->'edit' IS NULL, false) AND g.detail->'verbatim' IS NULL AS born
		FROM logged g
	), present AS (
		SELECT * FROM attributed a
		WHERE NOT a.mine OR a.seq > ALL (SELECT d.seq FROM attributed d
		                                 WHERE d.mine AND d.detail->'deleted' = 'true' AND d.resolution NOT IN ('s', 'k', 'S', '?'))
	), named AS (
		SELECT p.seq, p.source, p.mine, p.detail, p.version, p.updated_at, e.key AS field, e.value, p.resolution <> 'r' AS clear
		FROM present p, jsonb_each(p.fields) e
		WHERE NOT (p.born AND e.value = 'null')
		UNION ALL
		SELECT p.seq, p.source, p.mine, p.detail, p.version, p.updated_at, e.key, 'null', false
		FROM present p, jsonb_each(CASE WHEN jsonb_typeof(p.detail->'increments') = 'object' THEN p.detail->'increments' ELSE '{}' END) e
	), newest AS (
		SELECT DISTINCT ON (n.mine, n.field) n.mine, n.field, n.value, n.source, n.clear
		FROM named n
		ORDER BY n.mine, n.field, CASE WHEN $6 THEN n.updated_at END DESC NULLS LAST,
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
	UPDATE syncext.waiting w SET external_id = $3, change = jsonb_set(w.change - '{alias,aliasMerge,takesOver}'::text[], '{externalId}', to_jsonb($3))
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

--
-- Unmerging: what a merge has made one is two again.
--

CREATE FUNCTION syncext.merge_to_undo(merge bigint, hold boolean) RETURNS jsonb
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m syncext.merge;
BEGIN
	IF hold THEN
		SELECT * INTO m FROM syncext.merge o WHERE o.id = $1 FOR UPDATE;
	ELSE
		SELECT * INTO m FROM syncext.merge o WHERE o.id = $1;
	END IF;
	IF m.id IS NULL THEN
		RETURN NULL;
	END IF;
	RETURN jsonb_build_object('entity', m.entity, 'keepId', m.keep_id, 'dropId', m.drop_id, 'rowVersion', m.row_version,
		'taken', m.taken,
		-- the record that stayed may have been made to refer to itself
		'stands', m.stands || coalesce((SELECT jsonb_object_agg(c.field, c.row_version) FROM syncext.merge_child c
		                                WHERE c.entity = m.entity AND c.external_id = m.keep_id AND c.field = ANY (m.taken)
		                                  AND c.row_version > m.row_version), '{}'),
		 'keepBefore', m.keep_before, 'dropBefore', m.drop_before, 'undone', m.undone_at IS NOT NULL,
		'later', (SELECT max(o.id) FROM syncext.merge o WHERE o.entity = m.entity AND o.id > m.id AND o.undone_at IS NULL
		          AND (o.keep_id IN (m.keep_id, m.drop_id) OR o.drop_id IN (m.keep_id, m.drop_id))));
END $$;
COMMENT ON FUNCTION syncext.merge_to_undo(bigint, boolean) IS
	'what is known of a merge that is to be undone, and the last one after it that one of its records was part of; null: there is none. hold: until the transaction ends';
REVOKE ALL ON FUNCTION syncext.merge_to_undo(bigint, boolean) FROM PUBLIC;

CREATE FUNCTION syncext.said_since(merge bigint) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	WITH logged AS (
		SELECT DISTINCT ON (e.key) e.key AS field, e.value, l.source
		FROM syncext.merge m
		JOIN syncext.merge_key b ON b.merge = m.id
		JOIN syncext.log_row l ON l.entity = m.entity AND l.external_id = m.keep_id AND l.source = b.source
		     AND l.recorded_at >= m.merged_at AND l.detail->>'sourceId' = b.source_id
		CROSS JOIN LATERAL jsonb_each(CASE WHEN jsonb_typeof(l.fields) = 'object' THEN l.fields ELSE '{}' END) e
		JOIN syncext.entity n ON n.name = m.entity
		-- in a field ladder the greatest stamp counts, that of the record that went among them
		CROSS JOIN LATERAL (SELECT n.ladder @> '{field,version}' AS by_version, n.ladder @> '{field,latest}' AS by_time) w
		CROSS JOIN LATERAL (SELECT CASE WHEN w.by_version THEN coalesce(syncext.log_number(l.detail->'version'), l.version) ELSE 0 END AS version,
		                           coalesce(CASE WHEN w.by_time THEN l.updated_at END, '-infinity') AS at) said
		CROSS JOIN LATERAL (SELECT CASE WHEN w.by_version THEN coalesce(syncext.stamp_part(m.drop_before->'stamps', e.key, 0)::bigint, syncext.log_number(m.drop_before->'version')) ELSE 0 END AS version,
		                           coalesce(CASE WHEN NOT w.by_time THEN NULL WHEN m.drop_before->'stamps' ? e.key THEN timestamptz '2000-01-01 00:00:00+00' + syncext.stamp_part(m.drop_before->'stamps', e.key, 4)::bigint * interval '1 microsecond'
		                                         ELSE (m.drop_before->>'updated_at')::timestamptz END, '-infinity') AS at) had
		WHERE m.id = $1 AND l.resolution NOT IN ('w', 'x', 'y', '!', 'c', 'd', 'u', 'r', 's', 'k')
		  AND (NOT m.drop_before->'fields' ? e.key OR (said.version, said.at) >= (had.version, had.at))
		  AND NOT EXISTS (SELECT FROM syncext.source_key k WHERE k.source = b.source AND k.entity = m.entity AND k.source_id = b.source_id
		                                                     AND k.external_id = m.keep_id AND k.merge IS NULL)
		ORDER BY e.key, said.version DESC, said.at DESC, l.seq DESC
	), standing AS (
		-- where the log doesn't reach back to the merge, what a source has set that has no other key of the record
		SELECT f.key AS field, f.value, s.source
		FROM syncext.merge m
		JOIN syncext.canonical r ON r.entity = m.entity AND r.external_id = m.keep_id
		CROSS JOIN LATERAL jsonb_each(r.fields) f
		CROSS JOIN LATERAL (SELECT coalesce(syncext.stamp_part(r.stamps, f.key, 3), r.last_source) AS source,
		                           coalesce(syncext.stamp_part(r.stamps, f.key, 2)::bigint, r.row_version) AS row_version) s
		WHERE m.id = $1 AND s.row_version > m.row_version
		  AND f.value IS DISTINCT FROM m.keep_before->'fields'->f.key AND f.value IS DISTINCT FROM m.drop_before->'fields'->f.key
		  AND NOT EXISTS (SELECT FROM syncext.log_row l WHERE l.entity = m.entity AND l.external_id = m.keep_id AND l.detail->>'mergeId' = m.id::text)
		  AND NOT EXISTS (SELECT FROM logged g WHERE g.field = f.key)
		  AND NOT EXISTS (SELECT FROM syncext.field_rule u WHERE u.entity IN (m.entity, '*') AND u.field = f.key AND u.rule <> 'priority')
		  AND EXISTS (SELECT FROM syncext.merge_key b WHERE b.merge = m.id AND b.source = s.source)
		  AND NOT EXISTS (SELECT FROM syncext.source_key k
		                  WHERE k.entity = m.entity AND k.external_id = m.keep_id AND k.source = s.source
		                    AND NOT EXISTS (SELECT FROM syncext.merge_key b WHERE b.merge = m.id AND b.source = k.source AND b.source_id = k.source_id))
	)
	SELECT jsonb_build_object('values', coalesce(jsonb_object_agg(n.field, n.value), '{}'), 'sources', coalesce(jsonb_object_agg(n.field, n.source), '{}'))
	FROM (TABLE logged UNION ALL TABLE standing) n
	$$;
COMMENT ON FUNCTION syncext.said_since(bigint) IS
	'what was said since a merge by the keys that it has moved, the last of each field, and by which sources';
REVOKE ALL ON FUNCTION syncext.said_since(bigint) FROM PUBLIC;

-- Both records and the sources' keys are held.
CREATE FUNCTION syncext.unmerge_names(merge bigint, undone_by text, note text, returned jsonb, row_version bigint) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m    syncext.merge;
	keys bigint;
BEGIN
	SELECT * INTO STRICT m FROM syncext.merge o WHERE o.id = $1;
	-- what was bound otherwise since, or split off, stays where it is
	UPDATE syncext.source_key k SET external_id = m.drop_id,
		-- it has ended since; or two consumers of a source have said a key each at one moment
		duplicate = b.duplicate OR k.duplicate AND NOT b.second
		         OR EXISTS (SELECT FROM syncext.merge_key o
		                    JOIN syncext.source_key e ON e.source = o.source AND e.entity = m.entity AND e.source_id = o.source_id AND e.external_id = m.keep_id
		                    WHERE o.merge = $1 AND o.source = b.source AND o.source_id < b.source_id AND NOT o.duplicate),
		-- what had brought it to that one before has done so still
		merge = CASE WHEN k.merge <> $1 THEN k.merge
		             ELSE (SELECT max(p.id) FROM syncext.merge p JOIN syncext.merge_key e ON e.merge = p.id AND e.source = k.source AND e.source_id = k.source_id
		                   WHERE p.entity = m.entity AND p.keep_id = m.drop_id AND p.id < $1 AND p.undone_at IS NULL) END
	FROM syncext.merge_key b
	WHERE b.merge = $1 AND k.source = b.source AND k.source_id = b.source_id AND k.entity = m.entity AND k.external_id = m.keep_id AND k.merge IS NOT NULL;
	GET DIAGNOSTICS keys = ROW_COUNT;
	-- a source with a filter has what its keys name
	INSERT INTO syncext.routed (target, entity, external_id, own)
	SELECT DISTINCT r.target, r.entity, m.drop_id, r.own FROM syncext.routed r JOIN syncext.merge_key b ON b.source = r.target
	WHERE b.merge = $1 AND r.entity = m.entity AND r.external_id = m.keep_id AND syncext.knows_by_key(r.target, m.entity, m.drop_id)
	ON CONFLICT (target, entity, external_id, own) DO UPDATE SET row_version = 0, gone_batch = NULL;
	DELETE FROM syncext.routed r USING syncext.merge_key b
	WHERE b.merge = $1 AND r.target = b.source AND r.entity = m.entity AND r.external_id = m.keep_id
	  AND NOT syncext.knows_by_key(r.target, m.entity, m.keep_id);
	-- a source's row of the record that stayed is the other's again
	UPDATE syncext.replica p SET external_id = m.drop_id
	FROM syncext.binding b
	WHERE b.relation = p.relation AND b.own_keys AND b.entity = m.entity AND p.external_id = m.keep_id
	  AND b.source IN (SELECT o.source FROM syncext.merge_key o WHERE o.merge = $1)
	  AND NOT EXISTS (SELECT FROM syncext.source_key k WHERE k.source = b.source AND k.entity = m.entity AND k.external_id = m.keep_id AND NOT k.duplicate);

	UPDATE syncext.capture_failure f SET external_id = m.drop_id
	FROM syncext.binding b
	WHERE b.relation = f.relation AND b.own_keys AND b.entity = m.entity AND f.external_id = m.keep_id
	  AND b.source IN (SELECT o.source FROM syncext.merge_key o WHERE o.merge = $1)
	  AND NOT EXISTS (SELECT FROM syncext.source_key k WHERE k.source = b.source AND k.entity = m.entity AND k.external_id = m.keep_id AND NOT k.duplicate)
	  AND NOT EXISTS (SELECT FROM syncext.capture_failure o WHERE o.relation = f.relation AND o.external_id = m.drop_id);

	DELETE FROM syncext.alias a WHERE a.entity = m.entity AND a.external_id = m.drop_id;
	-- of what had been merged into it before it is the record again
	WITH RECURSIVE part AS (
		SELECT m.drop_id AS id
		UNION
		SELECT a.external_id FROM part p
		JOIN syncext.merge o ON o.entity = m.entity AND o.keep_id = p.id
		JOIN syncext.alias a ON a.entity = m.entity AND a.external_id = o.drop_id AND a.merge = o.id
	)
	UPDATE syncext.alias a SET kept_id = m.drop_id FROM part p
	WHERE a.entity = m.entity AND a.external_id = p.id;

	UPDATE syncext.waiting w SET external_id = m.drop_id, change = jsonb_set(w.change - '{alias,aliasMerge,takesOver}'::text[], '{externalId}', to_jsonb(m.drop_id))
	FROM syncext.merge_key b
	WHERE b.merge = $1 AND w.entity = m.entity AND w.external_id = m.keep_id AND w.source = b.source
	  AND jsonb_typeof(w.change) = 'object' AND w.change->>'sourceId' = b.source_id;
	UPDATE syncext.conflict_log l SET external_id = m.drop_id, row_version = syncext.log_number(m.conflicts->l.id::text)
	WHERE l.status = 'pending' AND l.entity = m.entity AND l.external_id = m.keep_id
	  AND syncext.log_number(m.conflicts->l.id::text) IS NOT NULL;
	-- what it left undecided, and was opened again, is two records' now
	UPDATE syncext.conflict_log l SET status = 'superseded', decided_by = $2, decided_at = now(), note = format('merge %s was undone', $1)
	WHERE l.status = 'pending' AND l.entity = m.entity AND l.external_id = m.keep_id AND jsonb_typeof(l.incoming_detail) = 'object'
	  AND syncext.log_number(l.incoming_detail->'mergeId') = $1;
	-- what it returns of an earlier merge is that one's, though it has a new row version
	UPDATE syncext.merge o SET stands = o.stands || s.fields
	FROM (SELECT p.id, jsonb_object_agg(f, $5) AS fields
	      FROM syncext.merge p, jsonb_array_elements_text($4->'names') f
	      WHERE p.entity = m.entity AND p.keep_id = m.keep_id AND p.id < m.id AND p.undone_at IS NULL AND f = ANY (p.taken)
	        AND coalesce(syncext.stamp_part(m.keep_before->'stamps', f, 2)::bigint, syncext.log_number(m.keep_before->'row_version'))
	            IN (p.row_version, syncext.log_number(p.stands->f))
	      GROUP BY p.id) s
	WHERE o.id = s.id;
	UPDATE syncext.merge o SET undone_at = now(), undone_by = $2, undo_note = $3, settled_at = coalesce(o.settled_at, now()) WHERE o.id = $1;
	RETURN keys;
END $$;
COMMENT ON FUNCTION syncext.unmerge_names(bigint, text, text, jsonb, bigint) IS
	'let keys, aliases, conflicts and what waits, which a merge has brought to the record that stayed, be of the other again; how many keys';
REVOKE ALL ON FUNCTION syncext.unmerge_names(bigint, text, text, jsonb, bigint) FROM PUBLIC;

-- What had been merged into the record before is a part of it still: what was made to refer to it
-- then, and nobody has said since, is known by its row version.
CREATE FUNCTION syncext.unmerge_child(merge bigint, entity text, external_id text, field text, row_version bigint) RETURNS void
	LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
	UPDATE syncext.merge_child c SET row_version = $5
	FROM syncext.merge m
	WHERE m.id = $1 AND c.entity = $2 AND c.external_id = $3 AND c.field = $4
	  AND c.merge IN (SELECT a.merge FROM syncext.alias a WHERE a.entity = m.entity AND a.kept_id = m.drop_id)
	  AND NOT EXISTS (SELECT FROM syncext.log_row l
	                  WHERE l.entity = $2 AND l.external_id = $3 AND l.row_version > c.row_version AND l.fields ? $4
	                    AND NOT coalesce(l.detail ?| '{mergeId,unmergeId}', false) AND l.told <> 'n')
	$$;
COMMENT ON FUNCTION syncext.unmerge_child(bigint, text, text, text, bigint) IS
	'a record refers to the one that was merged again, in this row version; so do merges before that one count it';
REVOKE ALL ON FUNCTION syncext.unmerge_child(bigint, text, text, text, bigint) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_unmerge(merge_id bigint, note text DEFAULT NULL) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_unmerge';
COMMENT ON FUNCTION @extschema@.sync_unmerge(bigint, text) IS
	'undo a merge: the record that went lives again as it was, with its keys and children, and the one that stayed gives back what nobody has said since; says what became of both';
