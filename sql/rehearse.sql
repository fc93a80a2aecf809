-- sync_rehearse against histories made by chance: with what was in force it finds nothing, and
-- with anything else what a second entity has that is sent the first one's log under that.
-- REHEARSE_SEED and REHEARSE_CHANGES in the environment ask for other histories.
CREATE EXTENSION syncext;
SET synchronous_commit = off;
SET client_min_messages = error;
\set seed 1
\set changes 150
\getenv seed REHEARSE_SEED
\getenv changes REHEARSE_CHANGES
SELECT count(sync_add_source(s)) AS sources FROM unnest('{A,B,C}'::text[]) s;
CREATE FUNCTION public.middle(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN jsonb_typeof(current) = 'number' AND jsonb_typeof(incoming) = 'number' THEN to_jsonb((current::numeric + incoming::numeric) / 2) END $$;

-- Each entity has a twin, which is sent the same under other priorities, rules or another ladder.
CREATE TABLE pair (n int PRIMARY KEY, ladder text[], ranks int[], rules jsonb, twin_ladder text[], twin_ranks int[], twin_rules jsonb, deletes text);
INSERT INTO pair VALUES
	(1, '{version,merge,priority,manual}', '{1,2,3}', '[]', '{version,merge,priority,manual}', '{2,1,3}', '[]', 'latest'),
	(2, '{version,merge,priority,manual}', '{1,1,2}', '[]', '{version,merge,priority,manual}', '{1,2,3}', '[]', 'latest'),
	(3, '{version,merge,manual}', '{1,2,3}', '[]', '{version,latest,merge,priority,overwrite}', '{1,2,3}', '[]', 'latest'),
	(4, '{version,latest,merge,priority,keep}', '{1,1,1}', '[]', '{version,merge,priority,manual}', '{3,2,1}', '[]', 'latest'),
	(5, '{version,merge,priority,manual}', '{1,2,3}', '[{"field": "a", "rule": "max"}, {"field": "b", "rule": "function", "args": {"function": "public.middle"}}]',
	    '{version,merge,priority,manual}', '{1,2,3}', '[{"field": "a", "rule": "min", "args": {"empty": [1]}}, {"field": "c", "rule": "manual"}]', 'latest'),
	(6, '{latest,merge,priority,overwrite}', '{1,2,3}', '[]', '{latest,keep}', '{1,2,3}', '[]', 'latest'),
	(7, '{field,version,priority}', '{1,2,3}', '[]', '{field,version,priority}', '{2,3,1}', '[]', 'latest'),
	(8, '{field,version,latest,priority}', '{1,2,2}', '[]', '{field,version,latest,priority}', '{3,1,2}', '[]', 'delete_wins'),
	(9, '{field,version,priority}', '{1,2,3}', '[]', '{field,version,priority}', '{2,1,3}', '[]', 'edit_wins'),
	(10, '{priority,overwrite}', '{1,2,2}', '[]', '{priority,overwrite}', '{2,2,1}', '[]', 'latest'),
	(11, '{version,merge,priority,manual}', '{1,2,3}', '[{"field": "c", "rule": "sum"}]', '{version,merge,priority,manual}', '{3,1,2}', '[{"field": "c", "rule": "sum"}]', 'latest');
SELECT count(sync_add_entity('e' || n, ladder, deletes)), count(sync_add_entity('t' || n, twin_ladder, deletes)) FROM pair;
INSERT INTO syncext.source_priority
	SELECT s, e, '*', rank FROM pair, LATERAL (VALUES ('e' || n, ranks), ('t' || n, twin_ranks)) x (e, r), unnest('{A,B,C}'::text[], r) u (s, rank);
INSERT INTO syncext.field_rule
	SELECT e, r->>'field', r->>'rule', r->'args' FROM pair, LATERAL (VALUES ('e' || n, rules), ('t' || n, twin_rules)) x (e, rs), jsonb_array_elements(rs) r;

-- ---------- histories ----------
CREATE FUNCTION dice(n int) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT floor(random() * n)::int';
CREATE FUNCTION some_change(e text, ladder text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	id text := dice(12);
	c syncext.canonical;
	kind int := dice(20);
	doc jsonb := jsonb_build_object('entity', e, 'externalId', id, 'source', ('{A,B,C}'::text[])[1 + dice(3)]);
	by_base bool := NOT 'field' = ANY (ladder) AND dice(2) = 0;
BEGIN
	SELECT * INTO c FROM syncext.canonical r WHERE r.entity = e AND r.external_id = id;
	IF by_base THEN
		doc := doc || jsonb_build_object('base', greatest(0, coalesce(c.row_version, 0) - dice(3)));
	ELSE
		doc := doc || jsonb_build_object('version', greatest(0, coalesce(c.version, 0) + dice(3) - 1));
	END IF;
	IF 'latest' = ANY (ladder) OR dice(3) = 0 THEN
		doc := doc || jsonb_build_object('updatedAt', to_char(timestamp '2026-01-01' + dice(30) * interval '1 minute', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
	END IF;
	IF 'field' = ANY (ladder) AND kind < 4 THEN
		doc := doc || jsonb_build_object('known', jsonb_build_object('version', coalesce(c.version, 0)) || CASE WHEN 'latest' = ANY (ladder) THEN jsonb_build_object('updatedAt', '2026-01-01T00:10:00Z') ELSE '{}' END);
	END IF;
	IF kind < 2 THEN
		RETURN doc || '{"deleted": true}';
	END IF;
	IF kind = 2 AND coalesce((doc->>'base')::int, 0) = 0 THEN
		doc := doc || '{"created": true}';
	END IF;
	IF e = 'e11' AND dice(3) = 0 THEN
		doc := doc || jsonb_build_object('changeId', gen_random_uuid(), 'increments', jsonb_build_object('c', dice(5) - 2));
		RETURN CASE dice(2) WHEN 0 THEN doc - 'base' - 'version' - 'created' ELSE doc || jsonb_build_object('fields', jsonb_build_object('a', dice(3))) END;
	END IF;
	RETURN doc || jsonb_build_object('fields', coalesce((
		SELECT jsonb_object_agg(f, CASE WHEN dice(8) = 0 THEN NULL ELSE dice(3) END) FROM unnest('{a,b,c}'::text[]) f WHERE dice(3) > 0), '{"a": 1}'));
END $$;
CREATE FUNCTION some_decision(e text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	c bigint := (SELECT id FROM syncext.conflict_log l WHERE l.entity = e AND l.status = 'pending' ORDER BY md5(id::text || random()) LIMIT 1);
	decision text := ('{incoming,canonical,merge,dismiss,ladder}'::text[])[1 + dice(5)];
BEGIN
	RETURN sync_resolve(c, decision, CASE WHEN decision = 'merge' THEN jsonb_build_object('a', dice(3), 'c', dice(5)) END);
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END $$;
CREATE TABLE midpoint (n int, at timestamptz);
CREATE PROCEDURE histories(changes int) LANGUAGE plpgsql AS $$
DECLARE
	p pair;
	roll int;
BEGIN
	FOR p IN SELECT * FROM pair ORDER BY n LOOP
		FOR i IN 1 .. changes LOOP
			roll := dice(40);
			IF roll < 30 THEN
				PERFORM sync_apply(some_change('e' || p.n, p.ladder || p.twin_ladder));
			ELSIF roll < 34 THEN
				PERFORM sync_apply(jsonb_agg(some_change('e' || p.n, p.ladder || p.twin_ladder))) FROM generate_series(1, 5);
			ELSIF roll < 37 THEN
				PERFORM some_decision('e' || p.n);
			ELSIF roll = 38 AND NOT 'field' = ANY (p.ladder) THEN
				PERFORM sync_set_version(entity, external_id, greatest(0, version + dice(5) - 3)) FROM syncext.canonical c WHERE c.entity = 'e' || p.n ORDER BY random() LIMIT 1;
			ELSIF roll = 39 THEN
				PERFORM syncext.raise_floor(entity, max(row_version)) FROM syncext.canonical c WHERE c.entity = 'e' || p.n AND deleted GROUP BY entity;
				DELETE FROM syncext.canonical c WHERE c.entity = 'e' || p.n AND deleted;
				UPDATE syncext.conflict_log SET status = 'superseded' WHERE entity = 'e' || p.n AND status = 'pending';
			END IF;
			COMMIT;
			IF i = changes / 2 THEN
				INSERT INTO midpoint VALUES (p.n, clock_timestamp());
			END IF;
		END LOOP;
	END LOOP;
END $$;
SELECT setseed(:seed % 1000 / 1000.0);
CALL histories(:changes);

-- ---------- what was in force ----------
SELECT n, r.* FROM pair, sync_rehearse('e' || n) r;
SELECT n, r.* FROM pair, sync_rehearse('e' || n, (SELECT jsonb_agg(to_jsonb(p)) FROM syncext.source_priority p),
	(SELECT jsonb_agg(to_jsonb(f)) FROM syncext.field_rule f WHERE NOT 'field' = ANY (ladder)), ladder) r;
SELECT n, r.* FROM pair JOIN midpoint USING (n), sync_rehearse('e' || n, since => at) r;

-- ---------- the judge ----------
CREATE TABLE came_to (n int, id text, row_version bigint, twin_row_version bigint);
CREATE TABLE arose (n int, id bigint, twin_id bigint);
-- What a base is in the twin: the row version that it had when the other came to it.
CREATE FUNCTION twin_base(n int, id text, base bigint) RETURNS bigint LANGUAGE sql AS $$
	SELECT coalesce((SELECT c.twin_row_version + $3 - c.row_version FROM came_to c WHERE c.n = $1 AND c.id = $2 AND c.row_version <= $3 ORDER BY c.row_version DESC LIMIT 1), $3)
$$;
CREATE FUNCTION logged_document(l syncext.change_log, p int) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('entity', 't' || p, 'externalId', l.external_id, 'source', l.source)
		|| CASE WHEN l.detail ? 'base' THEN jsonb_build_object('base', twin_base(p, l.external_id, (l.detail->'base')::bigint))
		        WHEN l.detail ? 'version' THEN jsonb_strip_nulls(jsonb_build_object('version', l.detail->'version')) ELSE jsonb_build_object('version', l.version) END
		|| coalesce((SELECT jsonb_object_agg(k, v) FROM jsonb_each(l.detail) d (k, v) WHERE k IN ('updatedAt', 'deleted', 'created', 'known', 'increments')), '{}')
		|| CASE WHEN l.detail ? 'increments' THEN jsonb_build_object('changeId', gen_random_uuid()) ELSE '{}' END
		|| CASE WHEN l.detail ? 'deleted' OR l.detail ? 'increments' AND l.fields = '{}' THEN '{}' ELSE jsonb_build_object('fields', l.fields) END
$$;
CREATE FUNCTION send_twin(l syncext.change_log, p int) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	twin syncext.canonical;
	a jsonb;
	c bigint;
BEGIN
	SELECT * INTO twin FROM syncext.canonical r WHERE r.entity = 't' || p AND r.external_id = l.external_id;
	IF l.resolution = 'NEW_RECORD' AND twin.deleted THEN
		PERFORM syncext.raise_floor(twin.entity, twin.row_version);
		DELETE FROM syncext.canonical r WHERE r.entity = twin.entity AND r.external_id = twin.external_id;
		UPDATE syncext.conflict_log SET status = 'superseded' WHERE entity = twin.entity AND external_id = twin.external_id AND status = 'pending';
	END IF;
	IF l.resolution = 'NEW_RECORD' THEN
		PERFORM syncext.raise_floor('t' || p, l.row_version - 1);
	END IF;
	IF l.detail ? 'versionWas' THEN
		PERFORM sync_set_version(twin.entity, twin.external_id, l.version) WHERE twin.entity IS NOT NULL;
	ELSIF l.resolution IN ('RESOLVED', 'DISMISSED') THEN
		c := (SELECT r.twin_id FROM arose r JOIN syncext.conflict_log k ON k.id = r.twin_id AND k.status = 'pending' WHERE r.n = p AND r.id = (l.detail->'conflictId')::bigint);
		PERFORM sync_resolve(c, l.detail->>'decision', CASE WHEN l.detail->>'decision' = 'merge' THEN l.fields END) WHERE c IS NOT NULL;
	ELSIF l.resolution <> 'SUPERSEDED' THEN
		a := sync_apply(jsonb_build_array(logged_document(l, p)))->0;
		IF a->>'status' = '400' THEN
			RAISE EXCEPTION 'refused: % %', logged_document(l, p), a;
		END IF;
		IF l.resolution = 'MANUAL' AND a->>'resolution' = 'MANUAL' THEN
			DELETE FROM arose r WHERE r.n = p AND r.id = (l.detail->'conflictId')::bigint;
			INSERT INTO arose VALUES (p, (l.detail->'conflictId')::bigint, (a->'conflictId')::bigint);
		END IF;
	END IF;
	INSERT INTO came_to
		SELECT p, l.external_id, l.row_version, r.row_version FROM syncext.canonical r
		WHERE r.entity = 't' || p AND r.external_id = l.external_id
		  AND l.row_version > coalesce((SELECT max(c.row_version) FROM came_to c WHERE c.n = p AND c.id = l.external_id), 0);
END $$;
CREATE PROCEDURE judge() LANGUAGE plpgsql AS $$
DECLARE
	p pair;
	l syncext.change_log;
BEGIN
	FOR p IN SELECT * FROM pair ORDER BY n LOOP
		FOR l IN SELECT * FROM syncext.change_log c WHERE c.entity = 'e' || p.n ORDER BY c.seq LOOP
			PERFORM send_twin(l, p.n);
		END LOOP;
		COMMIT;
	END LOOP;
END $$;
CALL judge();
CREATE TABLE differs AS
	SELECT n, external_id, f.field, CASE WHEN f.field = '*' THEN e ELSE e->f.field END AS now, CASE WHEN f.field = '*' THEN t ELSE t->f.field END AS "then"
	FROM pair,
	LATERAL (SELECT external_id, jsonb_object_agg(entity, fields)->('e' || n) AS e, jsonb_object_agg(entity, fields)->('t' || n) AS t
	         FROM syncext.canonical WHERE entity IN ('e' || n, 't' || n) AND NOT deleted GROUP BY external_id) r,
	LATERAL (SELECT DISTINCT jsonb_object_keys(e || t) WHERE e IS NOT NULL AND t IS NOT NULL UNION ALL SELECT '*' WHERE e IS NULL OR t IS NULL) f (field)
	WHERE f.field = '*' OR e->f.field IS DISTINCT FROM t->f.field;
CREATE TABLE rehearsed AS
	SELECT n, r.* FROM pair, sync_rehearse('e' || n,
		(SELECT jsonb_agg(jsonb_build_object('source', source, 'entity', 'e' || n, 'priority', priority)) FROM syncext.source_priority WHERE entity = 't' || n),
		(SELECT coalesce(jsonb_agg(jsonb_build_object('entity', 'e' || n, 'field', field, 'rule', rule, 'args', args)), '[]') FROM syncext.field_rule WHERE entity = 't' || n),
		twin_ladder) r;
-- what only one of them has
SELECT coalesce(d.n, r.n) AS n, external_id, field, d.now, d.then, r.now AS rehearsed_now, r.then AS rehearsed_then, r.resolution, r.reason
FROM differs d FULL JOIN rehearsed r USING (n, external_id, field)
WHERE d.now IS DISTINCT FROM r.now OR d.then IS DISTINCT FROM r.then OR r.resolution IS NULL
ORDER BY 1, 2, 3 LIMIT 20;
-- it was no idle comparison
SELECT count(*) > 20 AS differ, count(DISTINCT n) > 6 AS of_many, bool_or(field = '*') AS with_deletes FROM differs;
DROP TABLE pair, midpoint, came_to, arose, differs, rehearsed;
DROP FUNCTION dice, some_change, some_decision, twin_base, logged_document, send_twin;
DROP PROCEDURE histories, judge;

-- ---------- what it says ----------
SELECT sync_add_entity('item');
INSERT INTO syncext.source_priority VALUES ('A', 'item', '*', 1), ('B', 'item', '*', 2);
CREATE FUNCTION said(source text, id text, change jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('entity', 'item', 'externalId', $2, 'source', $1) || $3)->>'resolution' $$;
SELECT said('A', '1', '{"version": 1, "fields": {"x": 1, "y": 1}}'), said('B', '1', '{"version": 1, "fields": {"x": 2, "z": null}}');
SELECT said('B', '2', '{"version": 1, "fields": {"x": 1}}'), said('A', '2', '{"version": 1, "deleted": true}');
SELECT said('A', '3', '{"base": 0, "fields": {"x": 1}}'), said('A', '3', '{"base": 1, "fields": {"x": 2}}');
-- it vouches, and so counts in a later contest: the log has it
SELECT said('B', '4', '{"version": 1, "fields": {"x": 1}}'), said('A', '4', '{"version": 1, "fields": {"x": 1}}'), said('A', '4', '{"version": 1, "fields": {"x": 1}}'), said('B', '4', '{"version": 1, "fields": {"x": 2}}');
SELECT source, resolution, told FROM sync_history('item', '4');
SELECT * FROM sync_rehearse('item') ORDER BY 1, 2;
SELECT * FROM sync_rehearse('item', '[{"source": "A", "priority": 2}, {"source": "B", "entity": "item", "priority": 1}]') ORDER BY 1, 2;
SELECT * FROM sync_rehearse('item', rules => '[{"field": "x", "rule": "max"}]') ORDER BY 1, 2;
SELECT * FROM sync_rehearse('item', ladder => '{version,merge,manual}') ORDER BY 1, 2;
SELECT * FROM sync_rehearse('item', ladder => '{version,latest,keep}') ORDER BY 1, 2;
SELECT count(*) FROM sync_rehearse('item', '[]', since => 'infinity');
-- what the log doesn't tell is not guessed
DELETE FROM syncext.change_log_0 WHERE entity = 'item' AND external_id = '1' AND source = 'A';
DELETE FROM syncext.change_log_0 WHERE entity = 'item' AND external_id = '2';
DELETE FROM syncext.change_log_0 WHERE entity = 'item' AND external_id = '3' AND row_version = 2;
UPDATE syncext.change_log_0 SET fields = '[1]' WHERE entity = 'item' AND external_id = '4' AND row_version = 1;
SELECT external_id, field, resolution, regexp_replace(reason, 'row \d+', 'row N') AS reason FROM sync_rehearse('item') ORDER BY 1, 2;
-- nothing is written
BEGIN TRANSACTION READ ONLY;
SELECT count(*), pg_current_xact_id_if_assigned() FROM sync_rehearse('item', '[]', '[{"field": "x", "rule": "function", "args": {"function": "public.middle"}}]');
COMMIT;

-- ---------- what is refused, and to whom ----------
CREATE ROLE syncext_rehearses;
CREATE ROLE syncext_nobody;
REVOKE EXECUTE ON FUNCTION public.middle FROM PUBLIC;
SELECT sync_grant('syncext_rehearses', 'steward', 'item');
CREATE FUNCTION told(command text, role text DEFAULT 'postgres') RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', role);
	EXECUTE 'SELECT count(*) FROM ' || command INTO hint;
	RESET ROLE;
	RETURN hint || ' rows';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ': ' || SQLERRM || ' | ' || hint;
END $$;
SELECT told(c) FROM unnest(ARRAY[
	$$sync_rehearse(NULL)$$, $$sync_rehearse('nothing')$$, $$sync_rehearse('item', '{"A": 1}')$$, $$sync_rehearse('item', '[1]')$$, $$sync_rehearse('item', '[{"priority": 1}]')$$,
	$$sync_rehearse('item', '[{"source": "A"}]')$$, $$sync_rehearse('item', '[{"source": "A", "priority": 1.5}]')$$, $$sync_rehearse('item', '[{"source": "Z", "priority": 1}]')$$,
	$$sync_rehearse('item', '[{"source": "A", "priority": 1, "feild": "x"}]')$$, $$sync_rehearse('item', '[{"source": "A", "priority": 1}, {"source": "A", "priority": 2}]')$$,
	$$sync_rehearse('item', NULL, '[{"field": "x"}]')$$, $$sync_rehearse('item', NULL, '[{"field": "*", "rule": "max"}]')$$, $$sync_rehearse('item', NULL, '[{"field": "x", "rule": "best"}]')$$,
	$$sync_rehearse('item', NULL, '[{"field": "x", "rule": "max", "args": {"function": "public.middle"}}]')$$, $$sync_rehearse('item', NULL, '[{"field": "x", "rule": "function", "args": {"function": "public.nothing"}}]')$$,
	$$sync_rehearse('item', NULL, '[{"field": "x", "rule": "max"}, {"field": "x", "rule": "min"}]')$$, $$sync_rehearse('item', NULL, '[{"entity": "item", "field": "x", "rule": "max"}]', '{field,version}')$$,
	$$sync_rehearse('item', NULL, NULL, '{merge}')$$, $$sync_rehearse('item', NULL, NULL, '{version,NULL}')$$]) c;
SELECT told(c, r) FROM (VALUES ('syncext_rehearses', $$sync_rehearse('item')$$), ('syncext_rehearses', $$sync_rehearse('record')$$), ('syncext_nobody', $$sync_rehearse('item')$$), ('syncext_nobody', $$sync_rehearse('nothing')$$),
	('syncext_rehearses', $$sync_rehearse('item', NULL, '[{"field": "x", "rule": "function", "args": {"function": "public.middle"}}]')$$)) x (r, c);
SELECT sync_revoke('syncext_rehearses', 'steward', 'item');
DROP ROLE syncext_rehearses, syncext_nobody;
DROP FUNCTION said, told, public.middle;
DROP EXTENSION syncext;
