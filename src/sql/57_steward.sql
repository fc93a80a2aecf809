-- The stewards' work: conflicts that wait for a decision.

-- What a stamp of the golden record says, as syncext.canonical stores it.
CREATE FUNCTION syncext.stamp_part(stamps jsonb, field text, part integer) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE WHEN jsonb_typeof(stamps->field) = 'array' THEN stamps->field->>part
	            WHEN part = 4 AND jsonb_typeof(stamps->field) = 'number' THEN stamps->>field
	            WHEN part = 2 AND jsonb_typeof(stamps->field) = 'string' THEN substring(stamps->>field FROM '^[0-9]+')
	            WHEN part = 4 AND jsonb_typeof(stamps->field) = 'string' THEN substring(stamps->>field FROM '^[0-9]+@(-?[0-9]+)$') END;
COMMENT ON FUNCTION syncext.stamp_part(jsonb, text, integer) IS
	'a part of a stored stamp: 0 version, 1 source, 2 row version, 3 by whom it was set, 4 the time; null: it is as the record''s own columns say';

CREATE VIEW syncext.conflict WITH (security_barrier) AS
	SELECT l.id AS conflict_id, l.entity, l.external_id, f.field, l.source,
	       CASE WHEN l.incoming_deleted THEN NULL WHEN f.field = '*' THEN l.incoming ELSE l.incoming->f.field END AS theirs,
	       CASE WHEN l.canonical_deleted THEN NULL WHEN f.field = '*' THEN l.canonical ELSE l.canonical->f.field END AS ours,
	       CASE WHEN r.deleted THEN NULL WHEN f.field = '*' THEN r.fields ELSE r.fields->f.field END AS now,
	       l.incoming_detail->>'updatedAt' AS theirs_at,
	       coalesce(l.incoming_detail->>'version', 'base ' || (l.incoming_detail->>'base')) AS theirs_version,
	       l.canonical_source AS ours_source,
	       l.row_version AS ours_row_version,
	       coalesce(syncext.stamp_part(r.stamps, f.field, 3), r.last_source) AS now_source,
	       coalesce(syncext.stamp_part(r.stamps, f.field, 2), r.row_version::text)::bigint AS now_row_version,
	       CASE WHEN f.field = '*' OR NOT r.stamps ? f.field THEN r.updated_at
	            ELSE timestamptz '2000-01-01 00:00:00+00' + syncext.stamp_part(r.stamps, f.field, 4)::bigint * interval '1 microsecond' END AS now_at,
	       l.recorded_at AS since,
	       ARRAY(SELECT DISTINCT o.source FROM syncext.conflict_log o
	             WHERE o.status = 'pending' AND o.entity = l.entity AND o.external_id = l.external_id
	               AND (f.field = '*' OR o.contested && ARRAY[f.field::text, '*'])
	             ORDER BY o.source) AS disputed_by,
	       l.reason, l.assigned_to
	FROM syncext.conflict_log l
	CROSS JOIN LATERAL unnest(l.contested) WITH ORDINALITY f(field, position)
	LEFT JOIN syncext.canonical r ON r.entity = l.entity AND r.external_id = l.external_id
	WHERE l.status = 'pending'
	  AND ((SELECT pg_catalog.has_table_privilege('syncext.conflict_log', 'SELECT')) OR syncext.may_decide(l.entity));
COMMENT ON VIEW syncext.conflict IS
	'what waits for a decision, one row a contested field: what came in beside what stood and what stands now. A role sees the conflicts of entities that it is a steward of, and with SELECT on syncext.conflict_log all';
COMMENT ON COLUMN syncext.conflict.conflict_id IS 'what sync_resolve takes; a conflict over several fields is decided as one';
COMMENT ON COLUMN syncext.conflict.field IS 'the contested field; *: the whole record';
COMMENT ON COLUMN syncext.conflict.source IS 'whose change came in';
COMMENT ON COLUMN syncext.conflict.theirs IS 'the value that came in; null: the change did not name the field, or was a delete';
COMMENT ON COLUMN syncext.conflict.ours IS 'the value that stood then; null: there was none, or the record was deleted';
COMMENT ON COLUMN syncext.conflict.now IS 'the value that stands now';
COMMENT ON COLUMN syncext.conflict.theirs_at IS 'updatedAt of the change that came in';
COMMENT ON COLUMN syncext.conflict.theirs_version IS 'its version, or the base that it was made on';
COMMENT ON COLUMN syncext.conflict.ours_source IS 'the last source of the record as it stood then';
COMMENT ON COLUMN syncext.conflict.ours_row_version IS 'the record''s row version then';
COMMENT ON COLUMN syncext.conflict.now_source IS 'which source set the value that stands now';
COMMENT ON COLUMN syncext.conflict.now_row_version IS 'in which row version it was set; above ours_row_version: since the conflict arose';
COMMENT ON COLUMN syncext.conflict.now_at IS 'when, by that source''s clock; null: it did not say';
COMMENT ON COLUMN syncext.conflict.since IS 'when the conflict arose';
COMMENT ON COLUMN syncext.conflict.disputed_by IS 'all sources that have a conflict over the field';
COMMENT ON COLUMN syncext.conflict.reason IS 'why the ladder did not decide';
COMMENT ON COLUMN syncext.conflict.assigned_to IS 'who is to decide it; null: any steward';

CREATE FUNCTION @extschema@.sync_resolve(conflict_id bigint, decision text, fields jsonb DEFAULT NULL, note text DEFAULT NULL) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_resolve';
COMMENT ON FUNCTION @extschema@.sync_resolve(bigint, text, jsonb, text) IS
	'decide a pending conflict: incoming, canonical, merge (with fields), dismiss, or ladder: by the ranks and rules of today; tells the sources';

CREATE FUNCTION syncext.conflicts_where(entity text, source text, field text, older_than interval, filter jsonpath, max_conflicts integer)
	RETURNS SETOF bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	PERFORM syncext.check_predicate(filter);
	RETURN QUERY
	SELECT l.id
	FROM syncext.conflict_log l
	LEFT JOIN syncext.canonical r ON r.entity = l.entity AND r.external_id = l.external_id
	WHERE l.status = 'pending' AND l.entity = $1
	  AND ($2 IS NULL OR l.source = $2)
	  AND ($3 IS NULL OR $3 = ANY (l.contested))
	  AND ($4 IS NULL OR l.recorded_at < clock_timestamp() - $4)
	  AND ($5 IS NULL OR jsonb_path_match(jsonb_build_object(
	       'theirs', CASE WHEN NOT l.incoming_deleted THEN l.incoming END,
	       'ours', CASE WHEN NOT l.canonical_deleted THEN l.canonical END,
	       'now', CASE WHEN NOT r.deleted THEN r.fields END), $5, silent => true))
	ORDER BY l.external_id, l.id LIMIT $6;
END $$;
COMMENT ON FUNCTION syncext.conflicts_where(text, text, text, interval, jsonpath, integer) IS
	'the pending conflicts that sync_resolve_where decides, in the order of their records';
REVOKE ALL ON FUNCTION syncext.conflicts_where(text, text, text, interval, jsonpath, integer) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_resolve_where(entity text, decision text, source text DEFAULT NULL, field text DEFAULT NULL,
                                    older_than interval DEFAULT NULL, filter jsonpath DEFAULT NULL,
                                    max_conflicts integer DEFAULT 1000, note text DEFAULT NULL) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_resolve_where';
COMMENT ON FUNCTION @extschema@.sync_resolve_where(text, text, text, text, interval, jsonpath, integer, text) IS
	'decide all pending conflicts of an entity that meet the conditions alike: incoming, canonical, dismiss or ladder; says how many were decided, were decided meanwhile (skipped), stay undecided by the ladder, and were refused, and whether there are more';

CREATE FUNCTION @extschema@.sync_reopen(conflict_id bigint) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_reopen';
COMMENT ON FUNCTION @extschema@.sync_reopen(bigint) IS
	'let a conflict that was closed wait for a decision again; what was written stays';

CREATE FUNCTION @extschema@.sync_assign(conflict_id bigint, assignee text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_assign';
COMMENT ON FUNCTION @extschema@.sync_assign(bigint, text) IS
	'note who is to decide a pending conflict; null: any steward';
