-- Merging and undoing it where each field goes by its own stamp.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION syncext;
\ir test/helpers.sql
RESET client_min_messages;
SELECT sync_add_source('Plain', 3), sync_add_source('CRM', 1), sync_add_source('ERP', 2);
SELECT sync_add_entity('person', '{field,version,priority}'), sync_add_entity('place', '{field,latest}', 'delete_wins'), sync_add_entity('visit', '{field,latest}', 'edit_wins');
SELECT sync_add_reference('visit', 'of', 'place');
SELECT count(sync_own_keys(s, e)) FROM unnest('{CRM,ERP}'::text[]) s, unnest('{person,place}'::text[]) e;

CREATE FUNCTION says(entity text, source text, id text, stamp int, fields jsonb, key text DEFAULT NULL, more jsonb DEFAULT '{}') RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', a->>'resolution', a->>'externalId', a->>'changed', a->>'lost', a->>'told')
	FROM sync_apply(jsonb_strip_nulls(jsonb_build_object('source', $2, 'entity', $1, 'externalId', $3, 'sourceId', $6)) || $7
		|| CASE WHEN $1 = 'person' THEN jsonb_build_object('version', $4) ELSE jsonb_build_object('updatedAt', timestamptz '2020-01-01 00:00:00+00' + $4 * interval '1 day') END
		|| CASE WHEN $5 IS NULL THEN '{}' ELSE jsonb_build_object('fields', $5) END) a
$$;
CREATE VIEW stands AS SELECT entity, external_id, version, row_version, deleted, fields FROM syncext.canonical ORDER BY 1, 2;
CREATE FUNCTION stamps(entity text, id text) RETURNS TABLE (field text, version text, source text, row_version text, set_by text) LANGUAGE sql AS $$
	SELECT key, value->>'version', value->>'source', value->>'rowVersion', value->>'setBy' FROM jsonb_each(sync_record($1, $2)->'stamps') ORDER BY 1
$$;

--
-- Of each field what was said last stands, of equal stamps what the better rank says
--
SELECT says('person', 'Plain', 'A', 4, '{"name": "Ann", "city": "Bonn", "same": 1}'), says('person', 'ERP', 'A', 6, '{"tie": "erp"}', 'e1');
SELECT says('person', 'CRM', 'B', 5, '{"name": "Anna", "same": 1, "phone": "42"}', 'c1'), says('person', 'CRM', 'B', 6, '{"tie": "crm"}', 'c1'), says('person', 'Plain', 'B', 3, '{"city": "Ulm"}');
SELECT sync_merge('person', 'A', 'B', 'same person') AS merge \gset
SELECT * FROM stands;
SELECT * FROM stamps('person', 'A');
SELECT row_version, taken, undecided FROM syncext.merge;
SELECT count(*) FROM syncext.conflict_log;
SELECT source_id, deleted, merged_into, fields FROM sync_pull('ERP');
SELECT external_id, deleted, merged_into FROM sync_pull('Plain');
-- what comes late, and under the old id or a key of it, finds what was said before and after it, as ever
SELECT says('person', 'CRM', 'B', 4, '{"name": "Late", "fax": "1"}');
SELECT says('person', 'Plain', 'B', 9, '{"name": "Annie"}');
SELECT says('person', 'CRM', NULL, 10, '{"phone": "43"}', 'c1');
SELECT says('person', 'CRM', NULL, 8, '{"phone": "41", "mail": "a@x"}', 'c1');
-- a birth under it cuts nothing, a delete of it deletes nothing
SELECT says('person', 'Plain', 'B', 11, '{"age": 7}', NULL, '{"created": true, "known": {"version": 11}}');
SELECT says('person', 'Plain', 'B', 12, NULL, NULL, '{"deleted": true}');
SELECT * FROM stands;

--
-- Undone: what nobody has said since is as it was, said later than all that was known
--
SELECT sync_unmerge(:merge);
SELECT * FROM stands;
SELECT * FROM stamps('person', 'A');
SELECT * FROM stamps('person', 'B');
SELECT source, source_id, external_id FROM syncext.source_key WHERE entity = 'person' ORDER BY 1;
SELECT says('person', 'Plain', 'B', 30, '{"city": "Rome"}'), says('person', 'Plain', 'A', 30, NULL, NULL, '{"deleted": true}');
SELECT attempt(format('SELECT sync_unmerge(%s)', :merge));

--
-- Lives: that the other one was deleted once is no word on this one
--
SELECT says('place', 'Plain', 'L', 1, '{"name": "Lido", "zip": "1"}', NULL, '{"created": true}');
SELECT says('place', 'Plain', 'M', 2, '{"name": "Maidan"}', NULL, '{"created": true}'), says('place', 'Plain', 'M', 10, NULL, NULL, '{"deleted": true}'),
	says('place', 'CRM', 'M', 11, '{"zip": "2", "of": "town"}', 'm1', '{"created": true, "known": {"updatedAt": "2020-01-11T00:00:00Z"}}');
SELECT says('visit', 'Plain', 'V', 1, '{"of": "M"}'), says('visit', 'Plain', 'W', 1, '{"of": "M"}'), says('visit', 'Plain', 'W', 2, NULL, NULL, '{"deleted": true, "known": {"updatedAt": "2020-01-03T00:00:00Z"}}');
SELECT sync_merge('place', 'L', 'M') AS merge \gset
SELECT * FROM stands WHERE entity = 'place';
SELECT sync_record('place', 'L')->'life' AS life;
-- so an edit that is older than that one's birth finds the record
SELECT says('place', 'Plain', 'L', 9, '{"name": "Lodi"}');
CALL sync_maintain() \gset
SELECT :'result'::jsonb->'repointed' AS repointed;
SELECT external_id, deleted, fields FROM stands WHERE entity = 'visit';
-- at a later stamp, by which hubs that are joined know it
SELECT external_id, sync_record('visit', external_id)->'stamps'->'of'->>'updatedAt' AS at FROM stands WHERE entity = 'visit';
SELECT says('visit', 'Plain', 'V', 1, '{"of": "M"}');
SELECT sync_unmerge(:merge);
SELECT * FROM stands WHERE entity <> 'person';
SELECT external_id, sync_record('place', external_id)->'life' AS life FROM stands WHERE entity = 'place';
-- the tombstone is gone: the one that others may have of it is older, too
SELECT sync_merge('place', 'L', 'M') AS merge \gset
CALL sync_maintain() \g /dev/null
SELECT timestamptz '2000-01-01 00:00:00+00' + (life->'died'->>1)::bigint * interval '1 microsecond' AS died FROM syncext.canonical WHERE entity = 'place' AND external_id = 'M';
DELETE FROM syncext.canonical WHERE entity = 'place' AND external_id = 'M';
SELECT sync_unmerge(:merge);
SELECT deleted, fields, sync_record('place', 'M')->'life'->'born' AS born FROM stands WHERE entity = 'place' AND external_id = 'M';

--
-- By chance: whenever the two are merged, what was said of both comes to the same.
-- SYNCEXT_MERGE_FIELDS_ROUNDS and SYNCEXT_MERGE_FIELDS_SEED in the environment ask for others.
--
\set rounds `echo "${SYNCEXT_MERGE_FIELDS_ROUNDS:-60}"`
\set seed `echo "${SYNCEXT_MERGE_FIELDS_SEED:-1}"`
SET synchronous_commit = off;
SELECT sync_add_source('Other', 1), sync_add_source('Third', 2);
SELECT setseed(:seed / 1000.0) IS NOT NULL AS seeded;
CREATE TABLE said (n int, id text, source text, stamp int, fields jsonb);
CREATE TABLE wrong (round int, what text, one jsonb, other jsonb);
-- all of it in one order or another, merged after so many
CREATE FUNCTION come(name text, merged_after int, by_chance boolean) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	i int := 0;
	c said;
BEGIN
	FOR c IN SELECT * FROM said s ORDER BY s.n > 2, CASE WHEN by_chance THEN random() END, s.n LOOP
		IF i = merged_after THEN
			PERFORM sync_merge('person', name || '-1', name || '-2');
		END IF;
		PERFORM says('person', c.source, name || '-' || c.id, c.stamp, c.fields);
		i := i + 1;
	END LOOP;
	IF merged_after >= i THEN
		PERFORM sync_merge('person', name || '-1', name || '-2');
	END IF;
	RETURN (SELECT jsonb_build_object('fields', r.fields, 'version', r.version) FROM syncext.canonical r WHERE r.entity = 'person' AND r.external_id = name || '-1');
END $$;
CREATE PROCEDURE round_of(round int) LANGUAGE plpgsql AS $$
DECLARE
	one jsonb;
	other jsonb;
	was jsonb;
BEGIN
	TRUNCATE said;
	INSERT INTO said
	SELECT n, CASE WHEN n <= 2 THEN n ELSE 1 + (random())::int END, (ARRAY['Plain', 'Other', 'Third'])[1 + (random() * 2)::int], 1 + (random() * 9)::int,
	       (SELECT jsonb_object_agg(f, n || f) FROM unnest('{a,b,c,d}'::text[]) f WHERE random() < 0.5 OR f = 'a')
	FROM generate_series(1, 2 + (random() * 8)::int) n;
	one := come('o' || round, 2 + (random() * 8)::int, true);
	other := come('p' || round, 100, false);
	IF one IS DISTINCT FROM other THEN
		INSERT INTO wrong VALUES (round, 'merged', one, other);
	END IF;
	-- merged last, and undone at once: nothing but versions has changed
	SELECT jsonb_build_array(m.keep_before->'fields', m.drop_before->'fields') INTO was FROM syncext.merge m WHERE m.keep_id = 'p' || round || '-1';
	PERFORM sync_unmerge(id) FROM syncext.merge WHERE keep_id = 'p' || round || '-1';
	SELECT jsonb_agg(jsonb_strip_nulls(r.fields) ORDER BY r.external_id) INTO one FROM syncext.canonical r WHERE r.entity = 'person' AND r.external_id IN ('p' || round || '-1', 'p' || round || '-2');
	IF one IS DISTINCT FROM was THEN
		INSERT INTO wrong VALUES (round, 'undone', one, was);
	END IF;
	COMMIT;
END $$;
SELECT format('CALL round_of(%s)', n) FROM generate_series(1, :rounds) n \gexec
SELECT * FROM wrong ORDER BY 1 LIMIT 10;
SELECT count(*) = :rounds * 2 AS all FROM syncext.merge WHERE keep_id ~ '^[op][0-9]+-1$';

DROP VIEW stands;
DROP TABLE said, wrong;
DROP PROCEDURE round_of;
DROP FUNCTION says, stamps, come;
DROP EXTENSION syncext;
