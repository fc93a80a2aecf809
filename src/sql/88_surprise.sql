-- Configurations that do as they were told, and will surprise.  sync_check() tells of them.

-- It looks at samples, whatever the size of the hub: of each entity the first and the
-- last hundred records by key, and the last thousand changes of the log.  So a source
-- counts as one that writes an entity if it is seen there, or has a table attached for
-- it; and what two sources could contest is told where both write, and not before.
-- What a record holds is told to nobody: names of sources, fields and ranks are.
-- The planner takes each document for one of a hundred keys, an array for one of ten
-- elements, and a UNION for rows that all differ.  So keys are unnested from arrays and
-- DISTINCT is asked for: otherwise all of this seems so dear that a reader waits for the
-- JIT compiler, for a hundred times as long as the view takes.
CREATE VIEW syncext.surprise WITH (security_barrier) AS
	WITH reader AS (
		SELECT syncext.may_monitor() AS sees_all
	), change AS MATERIALIZED (
		SELECT l.entity, l.external_id, l.source, l.updated_at, l.fields, l.detail
		FROM syncext.log_row l
		ORDER BY l.xid DESC, l.seq DESC LIMIT 1000
	), record AS MATERIALIZED (
		SELECT e.name AS entity, r.external_id, r.last_source, r.fields, r.stamps, r.small
		FROM syncext.entity e
		CROSS JOIN LATERAL (
			SELECT s.external_id, s.last_source, s.fields, s.stamps,
			       -- what is long is not read
			       pg_catalog.pg_column_size(s.fields) + pg_catalog.pg_column_size(s.stamps) < 20000 AS small
			FROM ((SELECT c.external_id, c.last_source, c.fields, c.stamps FROM syncext.canonical c WHERE c.entity = e.name ORDER BY c.external_id LIMIT 100)
			      UNION ALL
			      (SELECT c.external_id, c.last_source, c.fields, c.stamps FROM syncext.canonical c WHERE c.entity = e.name ORDER BY c.external_id DESC LIMIT 100)) s) r
		WHERE (SELECT r.sees_all FROM reader r)
	), looked_at AS MATERIALIZED (
		-- from both ends the same, where there are no more than a hundred
		SELECT r.entity, pg_catalog.count(DISTINCT r.external_id) AS n, pg_catalog.count(*) < 200 AND bool_and(r.small) AS is_all
		FROM record r
		GROUP BY r.entity
	), writer AS MATERIALIZED (
		SELECT DISTINCT w.entity, w.source
		FROM (SELECT r.entity, r.last_source FROM record r
		      UNION ALL
		      SELECT r.entity, syncext.stamp_part(r.stamps, k.field, p.part)
		      FROM record r
		      CROSS JOIN LATERAL unnest(ARRAY(SELECT pg_catalog.jsonb_object_keys(CASE WHEN r.small AND pg_catalog.jsonb_typeof(r.stamps) = 'object' THEN r.stamps END))) k(field)
		      CROSS JOIN (VALUES (1), (3)) p(part)
		      UNION ALL
		      SELECT c.entity, c.source FROM change c WHERE (SELECT r.sees_all FROM reader r)
		      UNION ALL
		      SELECT b.entity, b.source FROM syncext.binding b
		      WHERE b.direction <> 'out' AND b.capture <> 'none' AND (SELECT r.sees_all FROM reader r)) w(entity, source)
		JOIN syncext.source s ON s.name = w.source
	), field_seen AS MATERIALIZED (
		SELECT DISTINCT f.entity, f.field
		FROM (SELECT r.entity, k.field FROM record r
		      CROSS JOIN LATERAL unnest(ARRAY(SELECT pg_catalog.jsonb_object_keys(CASE WHEN r.small AND pg_catalog.jsonb_typeof(r.fields) = 'object' THEN r.fields END))) k(field)
		      UNION ALL
		      SELECT c.entity, k.field FROM change c
		      CROSS JOIN LATERAL unnest(ARRAY(SELECT pg_catalog.jsonb_object_keys(CASE WHEN pg_catalog.jsonb_typeof(c.fields) = 'object' THEN c.fields END))) k(field)
		      WHERE (SELECT r.sees_all FROM reader r)
		      UNION ALL
		      SELECT c.entity, k.field FROM change c
		      CROSS JOIN LATERAL unnest(ARRAY(SELECT pg_catalog.jsonb_object_keys(CASE WHEN pg_catalog.jsonb_typeof(c.detail->'increments') = 'object' THEN c.detail->'increments' END))) k(field)
		      WHERE (SELECT r.sees_all FROM reader r)) f
	), contested AS MATERIALIZED (
		-- entities that more than one source writes, and that are decided here
		SELECT e.name AS entity, e.ladder, pg_catalog.count(*) AS writers,
		       pg_catalog.array_agg(w.source ORDER BY w.source) AS sources,
		       e.ladder[pg_catalog.cardinality(e.ladder)] AS last_rung
		FROM syncext.entity e
		JOIN writer w ON w.entity = e.name
		WHERE NOT EXISTS (SELECT FROM syncext.binding b JOIN syncext.link l ON l.source = b.source WHERE b.entity = e.name)
		  AND NOT EXISTS (SELECT FROM syncext.link l WHERE l.relay)
		GROUP BY e.name
		HAVING pg_catalog.count(*) > 1
	), rank AS MATERIALIZED (
		-- field *: of what has no rank of its own
		SELECT t.entity, t.last_rung, t.ladder[1] = 'field' AS by_field, f.field, w.source, p.priority, p.of_entity, p.of_field,
		       EXISTS (SELECT FROM syncext.source_priority o WHERE o.source = w.source AND o.entity IN (t.entity, '*')) AS is_ranked
		FROM contested t
		JOIN writer w ON w.entity = t.entity
		CROSS JOIN LATERAL (SELECT '*' UNION SELECT o.field FROM syncext.source_priority o WHERE o.entity IN (t.entity, '*')) f(field)
		LEFT JOIN LATERAL (
			SELECT o.priority, o.entity AS of_entity, o.field AS of_field
			FROM syncext.source_priority o
			WHERE o.source = w.source AND o.entity IN (t.entity, '*') AND o.field IN (f.field, '*')
			ORDER BY o.field = '*', o.entity = '*' LIMIT 1) p ON true
		WHERE 'priority' = ANY (t.ladder)
	), tie AS MATERIALIZED (
		SELECT r.entity, r.last_rung, r.by_field, r.field, r.priority, pg_catalog.array_agg(r.source ORDER BY r.source) AS sources,
		       (pg_catalog.array_agg(ARRAY[r.source, r.of_entity, r.of_field] ORDER BY r.of_field = '*', r.source DESC))[1:1] AS of_last
		FROM rank r
		WHERE r.priority IS NOT NULL
		GROUP BY r.entity, r.last_rung, r.by_field, r.field, r.priority
		-- the tie of a field that is one of all fields is told once
		HAVING pg_catalog.count(*) > 1 AND (r.field = '*' OR bool_or(r.of_field <> '*'))
	), unranked AS MATERIALIZED (
		SELECT r.entity, r.last_rung, r.by_field, pg_catalog.array_agg(r.source ORDER BY r.source) FILTER (WHERE NOT r.is_ranked) AS sources,
		       pg_catalog.min(r.source) FILTER (WHERE r.priority IS NOT NULL) AS ranked
		FROM rank r
		WHERE r.field = '*'
		GROUP BY r.entity, r.last_rung, r.by_field
		HAVING bool_or(NOT r.is_ranked) AND bool_or(r.priority IS NOT NULL)
	), applied AS MATERIALIZED (
		-- each rule with the entities that it is of
		SELECT e.name AS entity, f.entity AS of_entity, f.field, f.rule, f.args, 'priority' = ANY (e.ladder) AS by_rank
		FROM syncext.entity e
		JOIN syncext.field_rule f ON f.entity = e.name
		                          OR f.entity = '*' AND NOT EXISTS (SELECT FROM syncext.field_rule o WHERE o.entity = e.name AND o.field = f.field)
		WHERE 'merge' = ANY (e.ladder) AND (SELECT r.sees_all FROM reader r)
		  -- one whose function is not called is told of as that
		  AND (f.rule <> 'function' OR syncext.rule_function_error('field', f.args->>'function', f.written_by) IS NULL)
	), rule AS MATERIALIZED (
		SELECT a.of_entity, a.field, a.rule, a.entity, l.n, l.is_all, s.field IS NOT NULL AS is_seen
		FROM applied a
		JOIN looked_at l ON l.entity = a.entity
		LEFT JOIN field_seen s ON s.entity = a.entity AND s.field = a.field
	), untimed AS MATERIALIZED (
		-- sources whose changes of such a field all came without a time
		SELECT u.entity, u.of_entity, u.field, u.args, u.by_rank, pg_catalog.array_agg(u.source ORDER BY u.source) AS sources
		FROM (SELECT a.entity, a.of_entity, a.field, a.args, a.by_rank, c.source
		      FROM applied a
		      JOIN contested t ON t.entity = a.entity
		      JOIN change c ON c.entity = a.entity AND c.fields ? a.field
		      JOIN syncext.source s ON s.name = c.source
		      WHERE a.rule = 'latest'
		      GROUP BY a.entity, a.of_entity, a.field, a.args, a.by_rank, c.source
		      HAVING NOT bool_or(c.updated_at IS NOT NULL)) u
		GROUP BY u.entity, u.of_entity, u.field, u.args, u.by_rank
	), named AS MATERIALIZED (
		-- no more than three sources by name
		SELECT s.sources, pg_catalog.array_to_string(s.sources[1:3], ', ')
		                  || CASE WHEN pg_catalog.cardinality(s.sources) > 3 THEN pg_catalog.format(' and %s more', pg_catalog.cardinality(s.sources) - 3) ELSE '' END AS names
		FROM (SELECT t.sources FROM tie t UNION SELECT u.sources FROM unranked u UNION SELECT c.sources FROM contested c UNION SELECT u.sources FROM untimed u) s
	), part AS (
		SELECT 'warning' AS severity, NULL::text AS source, pg_catalog.format('configuration of entity %s', t.entity) AS object,
		       pg_catalog.format('sources %s have the same rank, %s%s: %s', n.names, t.priority,
		                         CASE WHEN t.field <> '*' THEN ', for field ' || t.field END,
		                         CASE WHEN t.by_field THEN 'where they say different things with the same stamp, the one whose name is the greater wins'
		                              WHEN t.last_rung = 'manual' THEN 'which of them wins is left to a reviewer, conflict by conflict'
		                              WHEN t.last_rung = 'keep' THEN 'of what they contest, what came first stays'
		                              ELSE 'of what they contest, what comes last wins' END) AS problem,
		       pg_catalog.format('SELECT * FROM syncext.source_priority shows the ranks, UPDATE syncext.source_priority SET priority = … WHERE source = %L AND entity = %L AND field = %L sets one apart.',
		                         t.of_last[1][1], t.of_last[1][2], t.of_last[1][3]) AS hint
		FROM tie t
		JOIN named n ON n.sources = t.sources
		UNION ALL
		SELECT 'warning', NULL, pg_catalog.format('configuration of entity %s', u.entity),
		       CASE pg_catalog.cardinality(u.sources)
		            WHEN 1 THEN pg_catalog.format('source %s has no rank, and others that write it do, as %s: it loses to each of them, whatever it says', u.sources[1], u.ranked)
		            ELSE pg_catalog.format('sources %s have no rank, and others that write it do, as %s: they lose to each of them, whatever they say, and %s', n.names, u.ranked,
		                                   CASE WHEN u.by_field THEN 'among themselves the one whose name is the greater wins'
		                                        WHEN u.last_rung = 'manual' THEN 'what they contest among themselves is left to a reviewer'
		                                        WHEN u.last_rung = 'keep' THEN 'of what they contest among themselves what came first stays'
		                                        ELSE 'of what they contest among themselves what comes last wins' END) END,
		       pg_catalog.format('INSERT INTO syncext.source_priority (source, priority) VALUES (%L, …).', u.sources[1])
		FROM unranked u
		JOIN named n ON n.sources = u.sources
		UNION ALL
		SELECT CASE WHEN bool_and(r.is_all) THEN 'warning' ELSE 'info' END, NULL, pg_catalog.format('field rule of %s of entity %s', r.field, r.of_entity),
		       CASE WHEN bool_and(r.is_all) THEN pg_catalog.format('decides nothing: no record%s has such a field', CASE WHEN r.of_entity = '*' THEN ' of any entity' END)
		            ELSE pg_catalog.format('may decide nothing: none of the %s records that were looked at, and none of the last changes, has such a field', pg_catalog.sum(r.n)) END,
		       pg_catalog.format('Names of fields are compared as they are written, with upper and lower case. SELECT sync_rule(%L, %L, NULL) removes the rule, SELECT sync_rule(%L, …, %L) gives it to the field that is meant.', r.of_entity, r.field, r.of_entity, r.rule)
		FROM rule r
		GROUP BY r.of_entity, r.field, r.rule
		HAVING NOT bool_or(r.is_seen)
		UNION ALL
		SELECT 'warning', NULL, pg_catalog.format('field rule of %s of entity %s', u.field, u.of_entity),
		       pg_catalog.format('latest cannot decide in entity %s: source%s no time with it, so that %s', u.entity,
		                         CASE WHEN pg_catalog.cardinality(u.sources) > 1 THEN 's ' || n.names || ' send' ELSE ' ' || n.names || ' sends' END,
		                         CASE WHEN u.by_rank THEN 'ranks decide' ELSE 'the ladder''s last rung decides' END),
		       coalesce((SELECT pg_catalog.format('Attach %s with updated_column => …; or', pg_catalog.min(b.relation::text))
		                 FROM syncext.binding b WHERE b.entity = u.entity AND b.source = ANY (u.sources)
		                 HAVING pg_catalog.count(*) > 0),
		                'Let it come with updatedAt; or')
		           || pg_catalog.format(' SELECT sync_rule(%L, %L, %s).', u.of_entity, u.field,
		                                CASE WHEN u.args ? 'group' THEN pg_catalog.format('''priority'', %L', u.args) ELSE 'NULL' END)
		FROM untimed u
		JOIN named n ON n.sources = u.sources
		UNION ALL
		-- the ladder needs a time, and a poll that is told of none takes its own
		SELECT 'warning', NULL, pg_catalog.format('configuration of entity %s', t.entity),
		       pg_catalog.format('the later change wins, and relation %s, which is polled, has no updated_column: what is found in it counts as edited when it was found, so that it wins against what others edited before that', b.relation),
		       pg_catalog.format('SELECT sync_detach(%L), and sync_attach it with updated_column => …; or UPDATE syncext.entity SET ladder = … WHERE name = %L, to one without latest.', b.relation, t.entity)
		FROM contested t
		JOIN syncext.binding b ON b.entity = t.entity
		WHERE 'latest' = ANY (t.ladder) AND b.capture = 'poll' AND b.direction <> 'out' AND b.updated_column IS NULL
		UNION ALL
		SELECT 'warning', NULL, pg_catalog.format('configuration of entity %s', t.entity),
		       pg_catalog.format('sources %s write it, and its ladder is overwrite alone: what arrives last wins, be it older, late or sent again', n.names),
		       pg_catalog.format('Where sources say when they edited what, UPDATE syncext.entity SET ladder = ''{latest,keep}'' WHERE name = %L; where they count versions, ''{version,merge,priority,manual}''.', t.entity)
		FROM contested t
		JOIN named n ON n.sources = t.sources
		WHERE t.ladder = '{overwrite}'
		UNION ALL
		SELECT 'warning', c.source, pg_catalog.format('clock of source %s', c.source),
		       pg_catalog.format('is ahead of the hub''s by up to %s, more than syncext.max_clock_skew: of its last changes %s counted as made when they arrived, so that late ones win against what others edited before',
		                         pg_catalog.max(c.ahead) * interval '1 second', pg_catalog.count(*)),
		       'Set its clock, by NTP say; or, if the clock of the hub is wrong, that one. Until it is right, latest takes what it sends for newer than it is.'
		FROM (SELECT c.source, least((c.detail->'ahead')::numeric, 1000000000) AS ahead
		      FROM change c
		      WHERE pg_catalog.jsonb_typeof(c.detail->'ahead') = 'number'
		        AND ((SELECT r.sees_all FROM reader r)
		             OR syncext.may_act_as(c.source) AND syncext.may_see(c.source, c.entity, c.external_id, c.fields))) c
		GROUP BY c.source
	)
	SELECT p.severity, p.source, p.object, p.problem, p.hint FROM part p;
COMMENT ON VIEW syncext.surprise IS
	'what of the configuration does as it was told, and will surprise: ranks, rules, ladders and clocks, as far as samples of the records and the change log show it. The view syncext.problem, and so sync_check(), has it';
COMMENT ON COLUMN syncext.surprise.severity IS 'warning; info: where more records are than were looked at';
COMMENT ON COLUMN syncext.surprise.source IS 'the source that it concerns; null: administrators alone';
COMMENT ON COLUMN syncext.surprise.object IS 'what it is about';
COMMENT ON COLUMN syncext.surprise.problem IS 'what will surprise, and why';
COMMENT ON COLUMN syncext.surprise.hint IS 'what mends it';
