-- sync_history finds a record's rows without reading the log: what VACUUM has summarized by
-- its indexes, and what has come in since.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1);

CREATE FUNCTION fill(first int, last int, version int) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(sync_apply(docs)) FROM (
		SELECT jsonb_agg(jsonb_build_object('externalId', 'r' || n, 'source', 'CRM', 'version', $3, 'fields', jsonb_build_object('a', repeat('x', 100) || n))) AS docs
		FROM generate_series($1, $2) n GROUP BY n / 1000) d
$$;
CREATE FUNCTION history(id text, OUT versions text, OUT read_in_sequence bigint) LANGUAGE plpgsql AS $$
DECLARE
	before bigint := (SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables WHERE relname ~ '^change_log_[0-3]$');
BEGIN
	SELECT string_agg(version::text, ' ') INTO versions FROM sync_history('record', id);
	read_in_sequence := (SELECT sum(seq_tup_read) FROM pg_stat_xact_user_tables WHERE relname ~ '^change_log_[0-3]$') - before;
END $$;

SELECT fill(1, 3000, 1);
SELECT fill(1, 3000, 2);
VACUUM syncext.change_log_0;
-- most of the log is known not to have a record
CREATE FUNCTION part_read(id text) RETURNS numeric LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
	plan jsonb;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, COSTS off, TIMING off, FORMAT json) SELECT FROM syncext.change_log_0 WHERE external_id = $1' INTO plan USING id;
	RETURN round(jsonb_path_query_first(plan, '$.**."Lossy Heap Blocks"')::numeric * 8192 / pg_relation_size('syncext.change_log_0'), 1);
END $$;
SELECT part_read('r1') < 0.5 AS r1, part_read('r2999') < 0.5 AS r2999, part_read('nobody') < 0.5 AS nobody;
SELECT * FROM history('r1');
SELECT * FROM history('r2999');
SELECT * FROM history('nobody');
-- what came in since
SELECT fill(2990, 3010, 3);
SELECT * FROM history('r2999');
SELECT * FROM history('r3010');
-- whatever has become of the index
REINDEX INDEX syncext.change_log_0_record;
SELECT fill(2999, 3020, 4);
SELECT * FROM history('r2999');
SELECT * FROM history('r3020');
DROP INDEX syncext.change_log_0_record;
SELECT versions, read_in_sequence > 6000 AS in_sequence FROM history('r2999');

-- every part of the log has one
SELECT c.relname, am.amname, c.reloptions FROM pg_class c JOIN pg_am am ON am.oid = c.relam
WHERE c.relnamespace = 'syncext'::regnamespace AND c.relname ~ '^change_log_[0-3](_record)?$' ORDER BY 1;

DROP FUNCTION fill, history, part_read;
DROP EXTENSION syncext;
