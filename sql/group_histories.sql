-- Histories by chance: what a record has of a group, a source has held together.  Sources
-- keep what they have, edit it, and send what they changed or all of it; they pull now and
-- then, and when an answer says that they lost.  A version is one more than that of what a
-- source has, and comes with all of the group where the source doesn't know what older
-- versions made of it; a birth is of what the source doesn't have.  Reviewers decide conflicts; records are deleted and come back.
-- SYNCEXT_GROUP_STEPS and SYNCEXT_GROUP_SEED in the environment ask for other histories.
CREATE EXTENSION syncext;
SET synchronous_commit = off;
SET client_min_messages = error;
\set steps `echo "${SYNCEXT_GROUP_STEPS:-80}"`
\set seed `echo "${SYNCEXT_GROUP_SEED:-1}"`
SELECT setseed(:seed / 1000.0) IS NULL AS seeded;

SELECT sync_add_source('A', 1), sync_add_source('B', 2), sync_add_source('C', 2), sync_add_source('D');
UPDATE syncext.source SET single_writer = true WHERE name = 'D';
CREATE FUNCTION public.evens(current jsonb, incoming jsonb, context jsonb) RETURNS jsonb LANGUAGE sql AS
	$$ SELECT CASE (SELECT sum(v::int) FROM jsonb_each_text(incoming) e (k, v)) % 3 WHEN 0 THEN current WHEN 1 THEN incoming ELSE current || incoming END $$;
-- every ladder with merge, with every rule of a group
CREATE TABLE played (entity text PRIMARY KEY, ladder text[], rule text);
INSERT INTO played
	SELECT 'e' || row_number() OVER (), l::text[], r
	FROM unnest('{"{version,merge,priority,manual}","{version,merge,priority,overwrite}","{version,merge,priority,keep}","{version,merge,manual}","{version,latest,merge,priority,manual}","{latest,merge,priority,overwrite}"}'::text[]) l,
	     unnest('{priority,latest,keep,manual,function}'::text[]) r;
SELECT count(sync_add_entity(entity, ladder)) AS entities FROM played;
INSERT INTO syncext.field_rule (entity, field, rule, args)
	SELECT entity, f, rule, jsonb_build_object('group', 'g') || CASE rule WHEN 'function' THEN '{"function": "public.evens"}' ELSE '{}' END::jsonb
	FROM played, unnest('{a,bb,c}'::text[]) f;

-- What a source has now, and what each has ever had of the group.
CREATE TABLE held (entity text, id text, source text, state jsonb, row_version bigint, version bigint, PRIMARY KEY (entity, id, source));
CREATE TABLE had (entity text, id text, state jsonb);
CREATE INDEX ON had (entity, id);
CREATE TABLE answered (entity text, change jsonb, answer jsonb);
CREATE TABLE torn (entity text, id text, step int, fields jsonb, change jsonb, answer jsonb);
CREATE SEQUENCE value;

CREATE FUNCTION of_group(fields jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
	$$ SELECT jsonb_strip_nulls(jsonb_build_object('a', fields->'a', 'bb', fields->'bb', 'c', fields->'c')) $$;
CREATE FUNCTION edited(state jsonb) RETURNS jsonb LANGUAGE sql VOLATILE AS $$
	SELECT coalesce(jsonb_object_agg(f, CASE WHEN random() < 0.1 THEN 'null' ELSE to_jsonb(nextval('value')) END), jsonb_build_object('a', nextval('value')))
	FROM unnest('{a,bb,c,x}'::text[]) f WHERE random() < 0.4
$$;

CREATE FUNCTION pull(entity text, id text, source text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO held
	SELECT $1, $2, $3, CASE WHEN r.deleted THEN '{}' ELSE jsonb_strip_nulls(r.fields) END, r.row_version, r.version
	FROM syncext.canonical r WHERE r.entity = $1 AND r.external_id = $2
	ON CONFLICT (entity, id, source) DO UPDATE SET state = excluded.state, row_version = excluded.row_version, version = excluded.version;
	INSERT INTO had SELECT $1, $2, of_group(h.state) FROM held h WHERE h.entity = $1 AND h.id = $2 AND h.source = $3;
$$;

-- The version, or the base, that an edit is sent with.
CREATE FUNCTION numbered(h held, r syncext.canonical, ladder text[], INOUT change jsonb) LANGUAGE plpgsql AS $$
DECLARE
	next bigint := coalesce(h.version, 0) + 1;
BEGIN
	IF 'latest' = ANY (ladder) OR random() < 0.5 THEN
		change := change || jsonb_build_object('updatedAt', timestamptz '2026-01-01 00:00:00+00' + (nextval('value') + floor(random() * 40)) * interval '1 second');
	END IF;
	IF random() < 0.5 THEN
		change := change || jsonb_build_object('base', coalesce(h.row_version, 0));
	ELSIF 'version' = ANY (ladder) THEN
		change := change || jsonb_build_object('version', next);
		IF NOT coalesce((change->>'deleted')::boolean, false) AND EXISTS (
			SELECT FROM unnest('{a,bb,c}'::text[]) f
			WHERE jsonb_strip_nulls(jsonb_build_object('f', h.state->f)) <> jsonb_strip_nulls(jsonb_build_object('f', CASE WHEN NOT r.deleted THEN r.fields->f END))
			  AND coalesce((syncext.stamp_part(r.stamps, f, 0))::bigint, r.version) < next) THEN
			change := jsonb_set(change, '{fields}', '{"a": null, "bb": null, "c": null}'::jsonb || h.state || (change->'fields'));
		END IF;
	END IF;
END $$;

CREATE FUNCTION play_one(entity text, id text, source text, ladder text[]) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	h held;
	r syncext.canonical;
	change jsonb := jsonb_build_object('entity', entity, 'externalId', id, 'source', source);
	answer jsonb;
	dice float8 := random();
	knew_nothing boolean;
BEGIN
	SELECT * INTO h FROM held WHERE held.entity = $1 AND held.id = $2 AND held.source = $3;
	knew_nothing := h IS NULL OR h.state = '{}';
	SELECT * INTO r FROM syncext.canonical c WHERE c.entity = $1 AND c.external_id = $2;
	IF dice < 0.1 THEN
		h.state := '{}';
		change := numbered(h, r, ladder, change || '{"deleted": true}');
	ELSIF h.state IS NULL OR knew_nothing AND dice < 0.5 THEN
		h.state := edited('{}');
		change := change || jsonb_build_object('base', 0, 'updatedAt', timestamptz '2026-01-01 00:00:00+00' + nextval('value') * interval '1 second', 'fields', h.state);
	ELSE
		change := change || jsonb_build_object('fields', edited(h.state));
		h.state := h.state || (change->'fields');
		IF random() < 0.3 THEN
			change := jsonb_set(change, '{fields}', h.state);
		END IF;
		change := numbered(h, r, ladder, change);
	END IF;
	h.state := jsonb_strip_nulls(h.state);
	INSERT INTO had VALUES (entity, id, of_group(h.state));
	answer := sync_apply(change);
	INSERT INTO answered VALUES (entity, change, answer);
	INSERT INTO held VALUES (entity, id, source, h.state, coalesce(h.row_version, 0), coalesce((change->>'version')::bigint, h.version, 1))
	ON CONFLICT ON CONSTRAINT held_pkey DO UPDATE SET state = excluded.state, version = excluded.version;
	-- who has lost, or made or revived a record, learns the truth
	IF answer->>'status' <> '200' OR answer->'lost' <> '[]' OR knew_nothing OR random() < 0.5 THEN
		PERFORM pull(entity, id, source);
	END IF;
	RETURN change || answer;
END $$;

-- What a reviewer says of a group, the reviewer has held.
CREATE FUNCTION review(entity text, id text) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	conflict bigint := (SELECT c.id FROM syncext.conflict_log c WHERE c.entity = $1 AND c.external_id = $2 AND c.status = 'pending' ORDER BY random() LIMIT 1);
	decision text := (ARRAY['incoming', 'incoming', 'canonical', 'dismiss', 'merge', 'ladder'])[1 + floor(random() * 6)];
	fields jsonb;
BEGIN
	IF conflict IS NULL THEN
		RETURN NULL;
	END IF;
	IF decision = 'merge' THEN
		fields := '{"a": null, "bb": null, "c": null}'::jsonb || CASE WHEN random() < 0.5 THEN edited('{}')
			ELSE (SELECT w.state FROM had w WHERE w.entity = $1 AND w.id = $2 ORDER BY random() LIMIT 1) END;
		INSERT INTO had VALUES (entity, id, of_group(fields));
	END IF;
	RETURN sync_resolve(conflict, decision, fields) || jsonb_build_object('decision', decision, 'of', (SELECT to_jsonb(c) FROM syncext.conflict_log c WHERE c.id = conflict));
END $$;

CREATE PROCEDURE play(steps int) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	id text;
	said jsonb;
BEGIN
	FOR p IN SELECT * FROM played ORDER BY entity LOOP
		FOR step IN 1 .. steps LOOP
			id := 'r' || step / 40 || '-' || floor(random() * 2);
			IF random() < 0.1 THEN
				said := review(p.entity, id);
			ELSIF random() < 0.15 THEN
				PERFORM pull(p.entity, id, chr(65 + floor(random() * 4)::int));
				CONTINUE;
			ELSE
				said := play_one(p.entity, id, chr(65 + floor(random() * 4)::int), p.ladder);
			END IF;
			INSERT INTO torn
				SELECT p.entity, id, step, r.fields, said, to_jsonb(r) FROM syncext.canonical r
				WHERE r.entity = p.entity AND r.external_id = id AND NOT r.deleted
				  AND NOT EXISTS (SELECT FROM had w WHERE w.entity = p.entity AND w.id = r.external_id AND w.state @> of_group(r.fields));
		END LOOP;
		COMMIT;
	END LOOP;
END $$;
CALL play(:steps);
SELECT t.entity, t.id, t.fields, t.change, jsonb_pretty((SELECT jsonb_agg(a.change || a.answer) FROM answered a WHERE a.entity = t.entity AND a.change->>'externalId' = t.id)) FROM torn t ORDER BY 1, step LIMIT 2;
SELECT count(*) AS torn FROM torn;
-- all of it was there
SELECT what, count(*) > 0 AS there
FROM (SELECT CASE WHEN answer->>'reason' LIKE '%which the change does not name, becomes null%' THEN 'emptied by ' || (answer->>'resolution')
                  WHEN answer->>'reason' LIKE '%group g: %' THEN 'decided by ' || (answer->>'resolution')
                  WHEN answer->>'resolution' = 'MANUAL' AND change ? 'fields' THEN 'for a reviewer' END AS what FROM answered
      UNION ALL SELECT 'the function chose neither' FROM answered WHERE answer->>'reason' LIKE '%chose neither side%'
      UNION ALL SELECT 'reviewed: ' || decision FROM syncext.conflict_log WHERE status IN ('resolved', 'dismissed')
      UNION ALL SELECT 'came back' FROM syncext.change_log WHERE detail ? 'revived') w
WHERE what IS NOT NULL GROUP BY 1 ORDER BY 1;

DROP PROCEDURE play;
DROP FUNCTION play_one, numbered, review, pull, edited, of_group, public.evens;
DROP TABLE held, had, answered, torn, played;
DROP SEQUENCE value;
DROP EXTENSION syncext;
