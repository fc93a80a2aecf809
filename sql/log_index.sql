-- Rows of the log that are inserted together are all found by its index, whether their pages
-- had a summary when they came or not.
\set VERBOSITY terse
CREATE EXTENSION syncext;
SELECT sync_add_source('crm');

CREATE PROCEDURE send(first int, last int) LANGUAGE sql AS $$
	SELECT count(sync_apply(docs)) FROM (SELECT jsonb_agg(jsonb_build_object('externalId', 'r' || k,
			'source', 'crm', 'version', 1, 'fields', jsonb_build_object('name', repeat('x', 200)))) AS docs
		FROM generate_series(first, last) k GROUP BY k / 500 ORDER BY k / 500) d
$$;

-- the first pages are summarized from the start, those behind them aren't
CALL send(1, 1500);
SELECT count(*) > 32 AS pages FROM generate_series(1, pg_relation_size('syncext.change_log_0') / 8192);
SELECT count(*) AS summaries FROM syncext.change_log_0 WHERE ctid = '(20,1)'
	AND brin_summarize_range('syncext.change_log_0_record', 16) = 1;
-- into pages that have no summary, then the last ones get theirs while they fill
CALL send(1501, 1600);
SELECT brin_summarize_new_values('syncext.change_log_0_record') > 0 AS summarized;
CALL send(1601, 1800);
CALL send(1801, 3000);

SET enable_seqscan = off;
CREATE FUNCTION by_index(id text) RETURNS bigint LANGUAGE sql AS
	'SELECT count(*) FROM syncext.change_log_0 WHERE external_id = id';
SELECT count(*) AS lost FROM generate_series(1, 3000) k WHERE by_index('r' || k) <> 1;
EXPLAIN (COSTS OFF) SELECT count(*) FROM syncext.change_log_0 WHERE external_id = 'r7';

-- and an index that a DBA has added, of some rows, and of what is made of them
RESET enable_seqscan;
CREATE INDEX some_records ON syncext.canonical (upper(external_id)) WHERE external_id LIKE 'r%7';
CALL send(3001, 3100);
SET enable_seqscan = off;
SELECT count(*) AS found FROM syncext.canonical WHERE external_id LIKE 'r%7' AND upper(external_id) > 'R3';
EXPLAIN (COSTS OFF) SELECT count(*) FROM syncext.canonical WHERE external_id LIKE 'r%7' AND upper(external_id) > 'R3';

RESET enable_seqscan;
DROP EXTENSION syncext CASCADE;
DROP PROCEDURE send;
DROP FUNCTION by_index;
