-- Match: how a record that is new is found to be one that is there.

CREATE TABLE syncext.match_rule (
	entity       text COLLATE "C" NOT NULL REFERENCES syncext.entity ON DELETE CASCADE,
	name         text COLLATE "C" NOT NULL CHECK (name <> '' AND octet_length(name) <= 255),
	fields       text[] NOT NULL CHECK (cardinality(fields) BETWEEN 1 AND 32 AND array_position(fields, NULL) IS NULL),
	normalize    text COLLATE "C",
	action       text NOT NULL DEFAULT 'review' CHECK (action IN ('review', 'link')),
	link_sources text[] NOT NULL DEFAULT '{}' CHECK (array_position(link_sources, NULL) IS NULL),
	written_by   text COLLATE "C" NOT NULL DEFAULT CURRENT_USER,
	PRIMARY KEY (entity, name)
);
COMMENT ON TABLE syncext.match_rule IS
	'by which fields records of an entity are found to be one; sync_add_match and sync_drop_match write it';
COMMENT ON COLUMN syncext.match_rule.name IS 'the rule''s name';
COMMENT ON COLUMN syncext.match_rule.fields IS 'the fields that a record''s key is made of';
COMMENT ON COLUMN syncext.match_rule.normalize IS
	'"schema.name" of an immutable function(jsonb) that returns the key as text, of an object of these fields; null: their values in lower case, trimmed and joined';
COMMENT ON COLUMN syncext.match_rule.action IS
	'review: records that share a key are a candidate for a steward; link: a new record of one of link_sources is the one that it shares its key with';
COMMENT ON COLUMN syncext.match_rule.link_sources IS 'the sources whose word is enough, with action link';
COMMENT ON COLUMN syncext.match_rule.written_by IS
	'the role that gave the rule its function (that restored it, of one from a dump), by name; the function is called as long as that role may call it';

-- An index of the records: it begins anew in a restored database, and is built there.
CREATE TABLE syncext.match_key (
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	rule        text COLLATE "C" NOT NULL,
	key         text COLLATE "C" NOT NULL,
	PRIMARY KEY (external_id, entity, rule)
);
COMMENT ON TABLE syncext.match_key IS 'the keys by which match rules find records, kept as records change; it is not dumped: CALL sync_rematch builds it';
COMMENT ON COLUMN syncext.match_key.rule IS 'the match rule';
COMMENT ON COLUMN syncext.match_key.key IS 'what records of one key share; one of more than 1024 bytes is kept as its SHA-256';
-- what differs most comes first
CREATE INDEX match_key_shared ON syncext.match_key (key, rule, entity);

-- Of two records that are born at once neither sees the other: maintenance looks again.
CREATE TABLE syncext.match_due (
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL
);
ALTER TABLE syncext.match_due REPLICA IDENTITY FULL;
COMMENT ON TABLE syncext.match_due IS 'records whose match keys are new, for CALL sync_maintain() to look for others of the same key that were written at the same time';

CREATE TABLE syncext.match_build (
	entity     text COLLATE "C" NOT NULL PRIMARY KEY REFERENCES syncext.entity ON DELETE CASCADE,
	after_id   text COLLATE "C",
	records    bigint NOT NULL DEFAULT 0,
	candidates bigint NOT NULL DEFAULT 0,
	since      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE syncext.match_build IS
	'entities whose match keys are to be built: CALL sync_rematch does, or CALL sync_maintain() portion by portion';
COMMENT ON COLUMN syncext.match_build.after_id IS 'the last record that has its keys; null: it has not begun, for a transaction may go on that does not know of the rule';
COMMENT ON COLUMN syncext.match_build.records IS 'how many records have their keys';
COMMENT ON COLUMN syncext.match_build.candidates IS 'how many candidates were found';
COMMENT ON COLUMN syncext.match_build.since IS 'since when it is due';

CREATE TABLE syncext.match_candidate (
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	other_id    text COLLATE "C" NOT NULL CHECK (external_id < other_id),
	id          bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
	rule        text COLLATE "C" NOT NULL,
	status      text COLLATE "C" NOT NULL DEFAULT 'pending' CHECK (status IN ('pending', 'distinct', 'merged')),
	since       timestamptz NOT NULL DEFAULT now(),
	decided_by  text COLLATE "C",
	decided_at  timestamptz,
	note        text,
	PRIMARY KEY (entity, external_id, other_id)
);
COMMENT ON TABLE syncext.match_candidate IS
	'pairs of records that may be one: those that wait for a steward, and those that were found to be two. View syncext.candidate shows the former';
COMMENT ON COLUMN syncext.match_candidate.external_id IS 'the external id of one of the two, the one that sorts first';
COMMENT ON COLUMN syncext.match_candidate.other_id IS 'the external id of the other';
COMMENT ON COLUMN syncext.match_candidate.id IS 'what sync_match_decide takes';
COMMENT ON COLUMN syncext.match_candidate.rule IS 'the match rule by which they have met first';
COMMENT ON COLUMN syncext.match_candidate.status IS 'pending: it waits; distinct: they are two, and are not asked about again; merged: they were one, and are';
COMMENT ON COLUMN syncext.match_candidate.since IS 'when they met';
COMMENT ON COLUMN syncext.match_candidate.decided_by IS 'the role that decided it';
COMMENT ON COLUMN syncext.match_candidate.decided_at IS 'when it was decided';
COMMENT ON COLUMN syncext.match_candidate.note IS 'what the steward noted';
CREATE INDEX match_candidate_other ON syncext.match_candidate (entity, other_id);
CREATE UNIQUE INDEX match_candidate_id ON syncext.match_candidate (id);

CREATE TABLE syncext.match_problem (
	entity      text COLLATE "C" NOT NULL,
	rule        text COLLATE "C" NOT NULL,
	kind        text COLLATE "C" NOT NULL CHECK (kind IN ('common', 'error')),
	external_id text COLLATE "C" NOT NULL,
	error       text,
	noted_at    timestamptz NOT NULL,
	PRIMARY KEY (entity, rule, kind)
);
COMMENT ON TABLE syncext.match_problem IS
	'what sync_check tells of match rules: one of each kind and rule, until maintenance finds it mended';
COMMENT ON COLUMN syncext.match_problem.rule IS 'the match rule';
COMMENT ON COLUMN syncext.match_problem.kind IS
	'common: more than 100 records share a key, which are no candidates then; error: the rule''s function made no key of a record';
COMMENT ON COLUMN syncext.match_problem.external_id IS 'the first such record''s external id';
COMMENT ON COLUMN syncext.match_problem.error IS 'what the function said';
COMMENT ON COLUMN syncext.match_problem.noted_at IS 'when it was last found';

CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.match_rule
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.match_rule ENABLE ALWAYS TRIGGER registry_changed;
SELECT pg_catalog.pg_extension_config_dump('syncext.match_rule', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.match_candidate', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.match_candidate_id_seq', '');

-- Who may have the function called is whoever named it: an edit of the rest of a rule, or of
-- its sources, leaves that as it is.
CREATE FUNCTION syncext.match_rule_written() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	NEW.written_by := CASE WHEN TG_OP = 'UPDATE' AND NEW.normalize IS NOT DISTINCT FROM OLD.normalize
	                       THEN OLD.written_by ELSE current_user END;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION syncext.match_rule_written() IS 'trigger: notes who gave a match rule its function';
REVOKE ALL ON FUNCTION syncext.match_rule_written() FROM PUBLIC;
CREATE TRIGGER match_rule_written BEFORE INSERT OR UPDATE ON syncext.match_rule
	FOR EACH ROW EXECUTE FUNCTION syncext.match_rule_written();

-- What was found by the rule as it was goes, and its keys are to be built.
CREATE FUNCTION syncext.match_rule_changed() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF TG_OP = 'UPDATE' THEN
		IF (NEW.entity, NEW.name, NEW.fields, NEW.normalize) IS NOT DISTINCT FROM (OLD.entity, OLD.name, OLD.fields, OLD.normalize) THEN
			RETURN NULL;
		END IF;
	END IF;
	IF TG_OP <> 'INSERT' THEN
		DELETE FROM syncext.match_key k WHERE k.entity = OLD.entity AND k.rule = OLD.name;
		DELETE FROM syncext.match_candidate c WHERE c.entity = OLD.entity AND c.rule = OLD.name AND c.status = 'pending';
		DELETE FROM syncext.match_problem p WHERE p.entity = OLD.entity AND p.rule = OLD.name;
		IF NOT EXISTS (SELECT FROM syncext.match_rule m WHERE m.entity = OLD.entity) THEN
			DELETE FROM syncext.match_build b WHERE b.entity = OLD.entity;
			DELETE FROM syncext.match_due d WHERE d.entity = OLD.entity;
		END IF;
	END IF;
	IF TG_OP <> 'DELETE' THEN
		INSERT INTO syncext.match_build AS b (entity) VALUES (NEW.entity)
		ON CONFLICT ON CONSTRAINT match_build_pkey DO UPDATE SET after_id = NULL, records = 0, candidates = 0, since = now();
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.match_rule_changed() IS 'trigger: ends what was found by a match rule that is changed or dropped, and has the keys of a new one built';
REVOKE ALL ON FUNCTION syncext.match_rule_changed() FROM PUBLIC;
CREATE TRIGGER match_rule_changed AFTER INSERT OR UPDATE OR DELETE ON syncext.match_rule
	FOR EACH ROW EXECUTE FUNCTION syncext.match_rule_changed();

-- A source that gets the name later is another one.
CREATE FUNCTION syncext.match_source_dropped() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE syncext.match_rule m SET link_sources = array_remove(m.link_sources, OLD.name::text) WHERE OLD.name = ANY (m.link_sources);
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.match_source_dropped() IS 'trigger: a source that is dropped links no records any more';
REVOKE ALL ON FUNCTION syncext.match_source_dropped() FROM PUBLIC;
CREATE TRIGGER match_source_dropped AFTER DELETE ON syncext.source
	FOR EACH ROW EXECUTE FUNCTION syncext.match_source_dropped();

-- As the caller, who needs the right to write the table and to call the rule's function.
CREATE FUNCTION @extschema@.sync_add_match(entity text, name text, fields text[], "normalize" regprocedure DEFAULT NULL,
                                action text DEFAULT 'review', link_sources text[] DEFAULT '{}') RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	function text := (SELECT format('%I.%I', n.nspname, p.proname) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE p.oid = $4);
	wrong    text;
	unknown  text;
BEGIN
	IF entity IS NULL OR fields IS NULL OR action IS NULL OR link_sources IS NULL THEN
		RAISE EXCEPTION 'entity, fields, action and link_sources must not be null' USING ERRCODE = 'null_value_not_allowed';
	END IF;
	IF name IS NULL OR octet_length(name) NOT BETWEEN 1 AND 255 THEN
		RAISE EXCEPTION 'name must be a name of 1 to 255 bytes' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF NOT EXISTS (SELECT FROM syncext.entity e WHERE e.name = $1) THEN
		RAISE EXCEPTION 'entity "%" does not exist', $1 USING ERRCODE = 'undefined_object',
			HINT = syncext.callable(format('Add it with SELECT sync_add_entity(%L).', $1));
	END IF;
	IF EXISTS (SELECT FROM syncext.match_rule m WHERE m.entity = $1 AND m.name = $2) THEN
		RAISE EXCEPTION 'entity "%" has a match rule "%" already', $1, $2 USING ERRCODE = 'duplicate_object',
			HINT = syncext.callable(format('Drop it first: SELECT sync_drop_match(%L, %L).', $1, $2));
	END IF;
	IF cardinality(fields) NOT BETWEEN 1 AND 32 OR EXISTS (SELECT FROM unnest(fields) f WHERE f IS NULL OR f IN ('', '*'))
	   OR cardinality(fields) <> (SELECT count(DISTINCT f) FROM unnest(fields) f) THEN
		RAISE EXCEPTION '% are not the fields of a match rule', fields USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Name 1 to 32 fields, each once.';
	END IF;
	IF action NOT IN ('review', 'link') THEN
		RAISE EXCEPTION 'action "%" is not known', action USING ERRCODE = 'invalid_parameter_value',
			HINT = 'It is review or link.';
	END IF;
	SELECT s INTO unknown FROM unnest(link_sources) s WHERE NOT EXISTS (SELECT FROM syncext.source o WHERE o.name = s) LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'source "%" does not exist', coalesce(unknown, 'null') USING ERRCODE = 'undefined_object',
			HINT = syncext.callable('Add it with SELECT sync_add_source(…).');
	END IF;
	IF (action = 'link') <> (cardinality(link_sources) > 0) THEN
		RAISE EXCEPTION 'link_sources go with action link, and with no other' USING ERRCODE = 'invalid_parameter_value',
			HINT = 'A source that is not named could claim anybody''s record by what it says of it: name those that may.';
	END IF;
	IF $4 IS NOT NULL THEN
		wrong := syncext.rule_function_error('match', function, current_user);
		IF function IS NULL OR syncext.rule_function('match', function) IS DISTINCT FROM $4::oid THEN
			RAISE EXCEPTION 'function % is not function(jsonb) that returns text', $4 USING ERRCODE = 'invalid_parameter_value',
				HINT = 'It gets an object of the named fields, and returns the key, or null for none.';
		ELSIF wrong LIKE '%IMMUTABLE' THEN
			RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_function_definition',
				HINT = 'Keys that are stored have to stay what they are: it may depend on its argument alone.';
		ELSIF wrong IS NOT NULL THEN
			RAISE EXCEPTION 'permission denied for function %', function USING ERRCODE = 'insufficient_privilege',
				HINT = 'Whoever writes a rule has to be allowed to call its function, and to act as its owner, for it runs as that; or it is SECURITY DEFINER.';
		END IF;
	END IF;
	INSERT INTO syncext.match_rule (entity, name, fields, normalize, action, link_sources)
	VALUES ($1, $2, $3, function, $5, $6);
END $$;
COMMENT ON FUNCTION @extschema@.sync_add_match(text, text, text[], regprocedure, text, text[]) IS
	'find records of an entity that may be one by a key made of these fields; with action link, a new record of the sources named is the one that it meets. CALL sync_rematch builds the keys of the records that are there';
REVOKE ALL ON FUNCTION @extschema@.sync_add_match(text, text, text[], regprocedure, text, text[]) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_drop_match(entity text, name text) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM syncext.match_rule m WHERE m.entity = $1 AND m.name = $2;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'entity % has no match rule %', coalesce('"' || $1 || '"', 'null'), coalesce('"' || $2 || '"', 'null')
			USING ERRCODE = 'undefined_object', HINT = 'Table syncext.match_rule has them all.';
	END IF;
END $$;
COMMENT ON FUNCTION @extschema@.sync_drop_match(text, text) IS
	'drop a match rule, with its keys and the candidates that wait; what was found to be distinct stays so';
REVOKE ALL ON FUNCTION @extschema@.sync_drop_match(text, text) FROM PUBLIC;
