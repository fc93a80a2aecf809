-- The yardstick: the default ladder {version,merge,priority,manual} with stamps,
-- conflict log and one outbox row a target, as PL/pgSQL does it best.  A change
-- takes four statements: read everything, walk through the fields, write the record,
-- write the outbox.  Optimistic by xmin; ranks are looked up in contests alone.
-- Loaded by test/bench/run.  It answers as sync_apply does.

CREATE TABLE bench.source (name text COLLATE "C" PRIMARY KEY, single_writer boolean NOT NULL DEFAULT false);
CREATE TABLE bench.source_priority (
	source text COLLATE "C", entity text COLLATE "C" DEFAULT '*', field text COLLATE "C" DEFAULT '*',
	priority int NOT NULL,
	PRIMARY KEY (source, entity, field));

CREATE TABLE bench.canonical (
	entity text COLLATE "C", external_id text COLLATE "C",
	version bigint NOT NULL, row_version bigint NOT NULL, last_source text NOT NULL,
	deleted boolean NOT NULL, updated_at timestamptz, fields jsonb NOT NULL,
	stamps jsonb NOT NULL,		-- field: [version, source, rowVersion, setBy]
	PRIMARY KEY (entity, external_id)) WITH (fillfactor = 85);

CREATE TABLE bench.outbox (
	id bigint GENERATED ALWAYS AS IDENTITY, target text COLLATE "C",
	recorded_at timestamptz NOT NULL DEFAULT now(), entity text NOT NULL, external_id text NOT NULL,
	source text NOT NULL, version bigint NOT NULL, row_version bigint NOT NULL,
	resolution text NOT NULL, fields jsonb NOT NULL,
	PRIMARY KEY (target, id));

CREATE TABLE bench.conflict_log (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	recorded_at timestamptz NOT NULL DEFAULT now(), decided_at timestamptz,
	state text NOT NULL DEFAULT 'pending', entity text NOT NULL COLLATE "C",
	external_id text NOT NULL COLLATE "C", source text NOT NULL, version bigint NOT NULL,
	deleted boolean NOT NULL, fields jsonb NOT NULL, record jsonb NOT NULL,
	contested text[] NOT NULL);
CREATE INDEX ON bench.conflict_log (entity, external_id) WHERE state = 'pending';

CREATE TABLE bench.replica (		-- which row version a relation's row was last given
	relation oid, external_id text COLLATE "C", row_version bigint NOT NULL,
	PRIMARY KEY (relation, external_id));

-- The rank of a source for a field ('*': the whole record); without one, below all others.
CREATE FUNCTION bench.rank(p_source text, p_entity text, p_field text) RETURNS int
LANGUAGE plpgsql STABLE AS $$
BEGIN
	RETURN coalesce((SELECT priority FROM bench.source_priority
					 WHERE source = p_source AND entity IN (p_entity, '*') AND field IN (p_field, '*')
					 ORDER BY field = '*', entity = '*' LIMIT 1), 2147483647);
END $$;

CREATE FUNCTION bench.plpgsql_apply(change jsonb) RETURNS jsonb
LANGUAGE plpgsql AS $$
DECLARE
	v_entity	text := coalesce(change->>'entity', 'record');
	v_id		text := change->>'externalId';
	v_source	text := change->>'source';
	v_version	bigint := (change->>'version')::bigint;
	v_base		bigint := (change->>'base')::bigint;
	v_if_match	bigint := (change->>'ifMatch')::bigint;
	v_updated	timestamptz := (change->>'updatedAt')::timestamptz;
	v_deleted	boolean := coalesce((change->>'deleted')::boolean, false);
	v_patch		jsonb := coalesce(change->'fields', change
		- '{externalId,source,version,base,entity,updatedAt,deleted,ifMatch}'::text[]);
	v_status	int := 200;
	v_told		text := 'none';
	v_lost		text[] := '{}';
	v_changed	text[] := '{}';
	v_whole		boolean := false;	-- a whole write
	v_merge		boolean := false;	-- a merge, or vouching alone
	v_write		boolean;
	v_contested	text[] := '{}';
	v_tie		boolean := false;
	v_mine		int;
	v_theirs	int;
	v_new		jsonb := '{}';		-- values that a merge changes
	v_key		text;
	v_value		jsonb;
	v_stamp		jsonb;
	v_stamps	jsonb;
	v_set		jsonb;				-- the stamp of a field that gets a new value
	v_vouched	jsonb;				-- and the first half of one that keeps it
	v_conflict	bigint;
	v_resolution text;
	v_reason	text;
	r			record;				-- the record as it stands, or all null
	w			record;				-- the record as it will stand
BEGIN
	IF v_id IS NULL OR v_source IS NULL OR num_nonnulls(v_version, v_base) <> 1
		OR v_deleted <> (v_patch = '{}') THEN
		RAISE invalid_parameter_value USING MESSAGE = 'bad change document';
	END IF;

	LOOP
		SELECT s.single_writer, c.xmin AS seen, c.version, c.row_version, c.last_source, c.deleted,
			c.updated_at, c.fields, c.stamps,
			EXISTS (SELECT FROM bench.conflict_log q WHERE q.entity = v_entity
					AND q.external_id = v_id AND q.state = 'pending') AS pending
		INTO r
		FROM bench.source s
		LEFT JOIN bench.canonical c ON c.entity = v_entity AND c.external_id = v_id
		WHERE s.name = v_source;
		IF NOT FOUND THEN
			RAISE undefined_object USING MESSAGE = format('source "%s" does not exist', v_source);
		END IF;
		w := r;

		-- Decide.
		IF v_if_match <> coalesce(r.row_version, 0) THEN
			v_status := 412; v_resolution := 'PRECONDITION_FAILED';
			v_reason := 'the record is not at row version ' || v_if_match;
		ELSIF r.seen IS NULL THEN
			v_resolution := 'NEW_RECORD'; v_whole := true;
			w.version := coalesce(v_version, 1);
			v_reason := 'there was no record';
		ELSIF v_version > r.version THEN
			v_resolution := 'VERSION_WIN'; v_whole := true;
			w.version := v_version;
			v_reason := 'version ' || v_version || ' is higher than the record''s ' || r.version;
		ELSIF v_version < r.version THEN
			v_resolution := 'STALE_SKIP'; v_told := 'origin'; v_lost := '{*}';
			v_reason := 'version ' || v_version || ' is lower than the record''s ' || r.version;
		ELSIF v_deleted = r.deleted AND r.fields || v_patch = r.fields THEN
			v_resolution := 'NO_CHANGE'; v_merge := v_base IS NULL;
			v_reason := 'the change says nothing new';
		ELSIF NOT v_deleted AND NOT r.deleted THEN
			FOR v_key, v_stamp IN
				SELECT key, r.stamps->key FROM jsonb_each(v_patch)
				WHERE value <> r.fields->key ORDER BY key COLLATE "C"
			LOOP
				CONTINUE WHEN CASE WHEN v_base IS NULL THEN (v_stamp->0)::bigint <> r.version
					ELSE (v_stamp->2)::bigint <= v_base OR r.single_writer AND v_stamp->>3 = v_source END;
				v_contested := v_contested || v_key;
				v_mine := bench.rank(v_source, v_entity, v_key);
				v_theirs := bench.rank(v_stamp->>1, v_entity, v_key);
				v_tie := v_tie OR v_mine = v_theirs;
				IF v_mine > v_theirs THEN
					v_lost := v_lost || v_key;
				END IF;
			END LOOP;
			IF v_contested = '{}' AND v_base IS NULL THEN
				v_resolution := 'FIELD_MERGE'; v_merge := true;
				v_reason := 'no field is contested';
			ELSIF v_contested = '{}' THEN
				v_resolution := 'VERSION_WIN'; v_whole := true;
				w.version := r.version + 1;
				v_reason := 'no field was set by others after row version ' || v_base;
			ELSIF v_tie THEN
				v_lost := '{}'; v_resolution := 'MANUAL'; v_status := 409;
				v_reason := 'sources of equal rank differ in ' || array_to_string(v_contested, ', ');
			ELSE
				v_resolution := 'PRIORITY_WIN'; v_merge := true;
				v_reason := 'each contested field goes to the source of the lower rank';
			END IF;
		ELSE								-- a delete on either side
			v_contested := '{*}';
			SELECT min(bench.rank(s.value->>1, v_entity, '*')) INTO v_theirs
			FROM jsonb_each(r.stamps) s
			WHERE NOT r.deleted
				AND CASE WHEN v_base IS NULL THEN (s.value->0)::bigint = r.version
					ELSE (s.value->2)::bigint > v_base
						 AND NOT (r.single_writer AND s.value->>3 = v_source) END;
			IF v_theirs IS NULL AND v_base IS NOT NULL AND NOT
				(r.deleted AND 0 < v_base AND v_base < r.row_version
				 AND NOT (r.single_writer AND r.last_source = v_source)) THEN
				v_resolution := 'VERSION_WIN'; v_whole := true;
				w.version := r.version + 1;
				v_reason := 'nothing was set by others after row version ' || v_base;
			ELSE
				v_mine := bench.rank(v_source, v_entity, '*');
				v_theirs := coalesce(v_theirs, bench.rank(r.last_source, v_entity, '*'));
				IF v_mine = v_theirs THEN
					v_resolution := 'MANUAL'; v_status := 409;
					v_reason := 'a delete and an edit come from sources of equal rank';
				ELSE
					v_resolution := 'PRIORITY_WIN'; v_whole := v_mine < v_theirs;
					v_reason := 'the record goes to the source of the lower rank';
					IF NOT v_whole THEN
						v_told := 'origin'; v_lost := '{*}';
					END IF;
				END IF;
			END IF;
		END IF;

		-- Work out what to write.
		IF v_whole THEN
			IF r.seen IS NULL OR (r.deleted AND NOT v_deleted) THEN
				w.fields := '{}'; w.stamps := '{}';
			END IF;
			w.row_version := coalesce(r.row_version, 0) + 1;
			v_vouched := jsonb_build_array(w.version, v_source);
			v_set := v_vouched || jsonb_build_array(w.row_version, v_source);
			v_stamps := w.stamps;
			FOR v_key, v_value IN
				SELECT key, value FROM jsonb_each(v_patch) ORDER BY key COLLATE "C"
			LOOP
				IF v_value = w.fields->v_key THEN
					v_stamps[v_key] := v_vouched || (v_stamps->v_key->2) || (v_stamps->v_key->3);
				ELSE
					v_stamps[v_key] := v_set;
					v_changed := v_changed || v_key;
				END IF;
			END LOOP;
			w.fields := w.fields || v_patch;
			w.stamps := v_stamps;
			w.deleted := v_deleted;
			w.last_source := v_source;
			IF v_changed <> '{}' OR v_deleted IS DISTINCT FROM r.deleted THEN
				v_told := 'others';
			END IF;
		ELSIF v_merge THEN
			v_vouched := jsonb_build_array(r.version, v_source);
			v_set := v_vouched || jsonb_build_array(r.row_version + 1, v_source);
			v_stamps := r.stamps;
			FOR v_key, v_value, v_stamp IN
				SELECT key, value, r.stamps->key FROM jsonb_each(v_patch)
				WHERE key <> ALL (v_lost) ORDER BY key COLLATE "C"
			LOOP
				IF v_value IS DISTINCT FROM r.fields->v_key THEN
					v_stamps[v_key] := v_set;
					v_changed := v_changed || v_key;
					v_new := v_new || jsonb_build_object(v_key, v_value);
				ELSIF v_base IS NULL AND ((v_stamp->0)::bigint < r.version OR v_stamp->>1 <> v_source
					AND bench.rank(v_source, v_entity, v_key) < bench.rank(v_stamp->>1, v_entity, v_key)) THEN
					v_stamps[v_key] := v_vouched || (v_stamp->2) || (v_stamp->3);
				END IF;
			END LOOP;
			w.fields := r.fields || v_new;
			w.stamps := v_stamps;
			IF v_changed <> '{}' THEN
				w.row_version := r.row_version + 1;
				v_told := CASE v_lost WHEN '{}' THEN 'others' ELSE 'all' END;
				IF v_lost = '{}' THEN
					w.last_source := v_source;
				END IF;
			ELSIF v_lost <> '{}' THEN
				v_told := 'origin';
			END IF;
		END IF;
		v_write := v_whole OR v_merge AND w.stamps <> r.stamps;

		-- Write, if the record is still the one decided on.
		IF w.row_version <> r.row_version THEN
			w.updated_at := greatest(r.updated_at, v_updated);
		END IF;
		IF v_resolution = 'NEW_RECORD' THEN
			INSERT INTO bench.canonical VALUES (v_entity, v_id, w.version, w.row_version,
				w.last_source, w.deleted, v_updated, w.fields, w.stamps)
			ON CONFLICT DO NOTHING;
		ELSIF v_write THEN
			UPDATE bench.canonical SET version = w.version, row_version = w.row_version,
				last_source = w.last_source, deleted = w.deleted, updated_at = w.updated_at,
				fields = w.fields, stamps = w.stamps
			WHERE entity = v_entity AND external_id = v_id AND xmin = r.seen;
		END IF;
		EXIT WHEN FOUND OR NOT v_write;
		v_told := 'none'; v_lost := '{}'; v_changed := '{}'; v_contested := '{}'; v_new := '{}';
		v_whole := false; v_merge := false; v_tie := false;
	END LOOP;

	IF v_told <> 'none' THEN
		INSERT INTO bench.outbox (target, entity, external_id, source, version, row_version, resolution,
			fields)
		SELECT name, v_entity, v_id, v_source, w.version, w.row_version, v_resolution, v_patch
		FROM bench.source
		WHERE v_told = 'all' OR v_told = 'others' AND name <> v_source
			OR v_told = 'origin' AND name = v_source;
	END IF;

	-- Open and close conflicts.
	IF v_resolution = 'MANUAL' AND r.pending THEN
		SELECT id INTO v_conflict FROM bench.conflict_log
		WHERE entity = v_entity AND external_id = v_id AND state = 'pending' AND source = v_source
			AND version = r.version AND deleted = v_deleted AND fields = v_patch;
	END IF;
	IF r.pending AND v_conflict IS NULL THEN
		UPDATE bench.conflict_log SET state = 'superseded', decided_at = now()
		WHERE entity = v_entity AND external_id = v_id AND state = 'pending'
			AND (v_whole AND (contested = '{*}' OR v_patch ?| contested OR v_deleted <> r.deleted)
				OR v_merge AND v_changed <> '{}' AND (contested = '{*}' OR contested && v_changed)
				OR source = v_source AND (v_merge OR v_resolution IN ('NO_CHANGE', 'MANUAL'))
					AND (contested = '{*}' OR v_patch ?| contested)
				OR source = v_source AND v_resolution = 'MANUAL' AND v_contested = '{*}');
	END IF;
	IF v_resolution = 'MANUAL' AND v_conflict IS NULL THEN
		INSERT INTO bench.conflict_log (entity, external_id, source, version, deleted, fields, record,
			contested)
		VALUES (v_entity, v_id, v_source, r.version, v_deleted, v_patch, r.fields, v_contested)
		RETURNING id INTO v_conflict;
	END IF;

	RETURN jsonb_build_object('status', v_status, 'resolution', v_resolution, 'entity', v_entity,
		'externalId', v_id, 'version', w.version, 'rowVersion', w.row_version,
		'lastSource', w.last_source, 'changed', v_changed, 'lost', v_lost, 'told', v_told,
		'conflictId', v_conflict, 'reason', v_reason);
END $$;

-- A batch, in key order so that two batches never deadlock; answers in input order.
CREATE FUNCTION bench.plpgsql_apply_batch(changes jsonb) RETURNS jsonb
LANGUAGE sql AS $$
	SELECT jsonb_agg(answer ORDER BY n)
	FROM (SELECT n, bench.plpgsql_apply(change) AS answer
		  FROM (SELECT * FROM jsonb_array_elements(changes) WITH ORDINALITY AS e (change, n)
				ORDER BY change->>'externalId' COLLATE "C", n) s) a
$$;

-- AFTER ROW trigger (source, entity, key column): turn what a statement did to a row into a change.
CREATE FUNCTION bench.plpgsql_capture() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
	v_new	jsonb;
	v_old	jsonb;
	v_id	text;
	v_base	bigint;
BEGIN
	IF current_setting('bench.inbound', true) = 'on' THEN
		RETURN NULL;
	END IF;
	IF TG_OP <> 'INSERT' THEN
		v_old := to_jsonb(OLD);
		v_id := v_old->>TG_ARGV[2];
	END IF;
	IF TG_OP <> 'DELETE' THEN
		v_new := to_jsonb(NEW);
		IF TG_OP = 'UPDATE' AND v_new->>TG_ARGV[2] = v_id THEN
			SELECT jsonb_object_agg(key, value) INTO v_new
			FROM jsonb_each(v_new) WHERE value <> v_old->key;
			IF v_new IS NULL THEN
				RETURN NULL;
			END IF;
		ELSE
			IF TG_OP = 'UPDATE' THEN		-- the key changed: the old record goes
				SELECT row_version INTO v_base FROM bench.replica
				WHERE relation = TG_RELID AND external_id = v_id;
				PERFORM bench.plpgsql_apply(jsonb_build_object('entity', TG_ARGV[1],
					'externalId', v_id, 'source', TG_ARGV[0], 'base', coalesce(v_base, 0), 'deleted', true));
			END IF;
			v_id := v_new->>TG_ARGV[2];
			v_new := v_new - TG_ARGV[2];
		END IF;
	END IF;
	SELECT row_version INTO v_base FROM bench.replica
	WHERE relation = TG_RELID AND external_id = v_id;
	PERFORM bench.plpgsql_apply(jsonb_build_object('entity', TG_ARGV[1], 'externalId', v_id,
		'source', TG_ARGV[0], 'base', coalesce(v_base, 0))
		|| CASE TG_OP WHEN 'DELETE' THEN '{"deleted": true}' ELSE jsonb_build_object('fields', v_new) END);
	RETURN NULL;
END $$;
