\set ECHO none
-- What several files of sql/ use: \ir test/helpers.sql after CREATE EXTENSION.
--
--	  change(source, entity, id, version, fields)	one change; without fields a delete
--	  fields(entity, id)		the golden record's fields
--	  answered(change)			sync_apply's answer, which sync_explain has to give before
--	  send(change, ...)			changes one after another, and what was answered to each
--	  fields_of(id, entity)		a record's fields, each with its stamp
--	  record_of(id, entity)		the record itself
--	  attempt(command)			what a command says: its SQLSTATE, what it returned or its error, the hint
--	  counts(result)			what a poll counted, zeros left out
--	  take(source, ...)			pulls, acknowledges and names what came: with its row version, and if it is gone
--	  leases_end()				time passes: no batch is anybody's any more
--
-- They stay in the database, for the next file to replace.

CREATE OR REPLACE FUNCTION change(source text, entity text, id text, version int, fields jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT sync_apply(jsonb_build_object('source', $1, 'entity', $2, 'externalId', $3, 'version', $4) ||
		CASE WHEN $5 IS NULL THEN '{"deleted": true}' ELSE jsonb_build_object('fields', $5) END)->>'resolution'
$$;

CREATE OR REPLACE FUNCTION fields(entity text, id text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT sync_record($1, $2)->'fields'
$$;

-- A conflict that isn't there yet has no number.
CREATE OR REPLACE FUNCTION answered(change jsonb) RETURNS jsonb LANGUAGE plpgsql AS $$
DECLARE
	explained jsonb := sync_explain(change);
	answer jsonb := sync_apply(change);
BEGIN
	IF explained - 'conflictId' <> answer - 'conflictId' OR explained->>'conflictId' <> answer->>'conflictId' THEN
		RAISE WARNING 'explained % but answered %', explained, answer;
	END IF;
	RETURN answer;
END $$;

CREATE OR REPLACE FUNCTION send(VARIADIC changes jsonb[])
	RETURNS TABLE (status int, resolution text, version bigint, row_version bigint,
	               last_source text, changed jsonb, lost jsonb, told text)
	LANGUAGE sql AS $$
	SELECT (a->>'status')::int, a->>'resolution', (a->>'version')::bigint, (a->>'rowVersion')::bigint, a->>'lastSource', a->'changed', a->'lost', a->>'told'
	FROM unnest(changes) change, answered(change) a
$$;

CREATE OR REPLACE FUNCTION fields_of(external_id text, entity text DEFAULT 'record')
	RETURNS TABLE (field text, value jsonb, version bigint, source text, row_version bigint, set_by text)
	LANGUAGE sql AS $$
	SELECT f.key, f.value, (s->>'version')::bigint, s->>'source', (s->>'rowVersion')::bigint, s->>'setBy'
	FROM sync_record($2, $1) r, jsonb_each(r->'fields') f, jsonb_extract_path(r, 'stamps', f.key) s
	ORDER BY f.key COLLATE "C"
$$;

CREATE OR REPLACE FUNCTION record_of(external_id text, entity text DEFAULT 'record')
	RETURNS TABLE (version bigint, row_version bigint, last_source text, deleted boolean, updated_at text)
	LANGUAGE sql AS $$
	SELECT (r->>'version')::bigint, (r->>'rowVersion')::bigint, r->>'lastSource', (r->>'deleted')::boolean, r->>'updatedAt'
	FROM sync_record($2, $1) r
$$;

CREATE OR REPLACE FUNCTION attempt(command text, OUT state text, OUT said text, OUT hint text) LANGUAGE plpgsql AS $$
DECLARE
	detail text;
BEGIN
	IF command ~* '^\s*SELECT\M' THEN
		EXECUTE command INTO said;
	ELSE
		EXECUTE command;
	END IF;
	state := '00000';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, said = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	said := concat_ws(' / ', said, nullif(detail, ''));
END $$;

CREATE OR REPLACE FUNCTION counts(result jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(key || '=' || value, ' ' ORDER BY ord)
	FROM unnest('{read,new,updated,merged,skipped,conflicts,waiting,deleted,failed}'::text[]) WITH ORDINALITY keys (key, ord),
		LATERAL (SELECT result->>key AS value) v
	WHERE value <> '0' OR key = 'read'
$$;

CREATE OR REPLACE FUNCTION take(source text, max int DEFAULT 500, slot int DEFAULT 0, slots int DEFAULT 1) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	batch bigint;
	records text;
BEGIN
	SELECT min(p.batch), string_agg(CASE p.entity WHEN 'record' THEN '' ELSE p.entity || ' ' END || p.external_id || ':' || p.row_version ||
	                                CASE WHEN p.deleted THEN ' gone' ELSE '' END, ', ')
	INTO batch, records FROM sync_pull(source, max, slot, slots) p;
	IF batch IS NULL THEN
		RETURN 'nothing';
	END IF;
	PERFORM sync_ack(source, batch, '[]', slot);
	RETURN records;
END $$;

CREATE OR REPLACE FUNCTION leases_end() RETURNS void LANGUAGE sql AS $$
	UPDATE syncext.cursor SET lease_until = now() - interval '1 s' WHERE lease_until IS NOT NULL
$$;
\set ECHO all
