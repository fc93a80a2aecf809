-- Configuration: sources, their priorities, entities and references.  DBAs
-- edit these tables with plain SQL; an edit is in force from the next
-- statement in every session.

CREATE TABLE syncext.source (
	name          text COLLATE "C" PRIMARY KEY
	              CHECK (name NOT IN ('', '*', 'sync_resolve') AND octet_length(name) <= 63),
	role          text COLLATE "C",
	single_writer boolean NOT NULL DEFAULT false,
	entities      text[] COLLATE "C" CHECK (pg_catalog.array_position(entities, NULL) IS NULL),
	retry_cap     integer NOT NULL DEFAULT 5 CHECK (retry_cap > 0),
	added_at      timestamptz NOT NULL DEFAULT now(),
	relay         boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE syncext.source IS 'the systems that send and get changes';
COMMENT ON COLUMN syncext.source.role IS 'the name of a role, whose members may act as the source. Null, or no such role: administrators only';
COMMENT ON COLUMN syncext.source.single_writer IS 'its edits come in order (an attached table, a link)';
COMMENT ON COLUMN syncext.source.entities IS 'the entities it gets; null: every entity';
COMMENT ON COLUMN syncext.source.retry_cap IS 'failed deliveries of a change until it is a dead letter';
COMMENT ON COLUMN syncext.source.relay IS
	'it is a hub, that links here as a whole: of a field ladder it is told, and believed, which source has said what';

CREATE TABLE syncext.source_priority (
	source   text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity   text COLLATE "C" NOT NULL DEFAULT '*' CHECK (octet_length(entity) <= 63),
	field    text COLLATE "C" NOT NULL DEFAULT '*' CHECK (octet_length(field) <= 1024),
	priority integer NOT NULL,
	PRIMARY KEY (source, entity, field)
);
COMMENT ON TABLE syncext.source_priority IS
	'which source wins a contest: the one of the lower priority; looked up as (source, entity, field), (source, *, field), (source, entity, *), (source, *, *)';

CREATE TABLE syncext.entity (
	name     text COLLATE "C" PRIMARY KEY
	         CHECK (name <> '' AND name <> '*' AND octet_length(name) <= 63),
	ladder   text[] NOT NULL DEFAULT '{version,merge,priority,manual}'
	         CHECK (syncext.ladder_error(ladder) IS NULL),
	added_at timestamptz NOT NULL DEFAULT now(),
	deletes  text NOT NULL DEFAULT 'latest' CHECK (deletes IN ('latest', 'delete_wins', 'edit_wins')),
	merged   boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE syncext.entity IS 'the kinds of record, each with its conflict ladder';
COMMENT ON COLUMN syncext.entity.ladder IS
	'the rungs. Another ladder decides from the next statement on, upon records as they stand; a field ladder can only be given to an entity without records, and keeps what its stamps are made of';
COMMENT ON COLUMN syncext.entity.deletes IS
	'in a field ladder, how deletes and edits meet: latest: the later stamp counts; delete_wins: only a birth after the delete brings a record back; edit_wins: a delete counts if it knew of the last edit';
COMMENT ON COLUMN syncext.entity.merged IS 'records of it were merged: an id that is not found, or is referred to, may be an alias; sync_merge sets it';

CREATE TABLE syncext.field_rule (
	entity text COLLATE "C" NOT NULL DEFAULT '*' CHECK (entity <> '' AND octet_length(entity) <= 63),
	field  text COLLATE "C" NOT NULL CHECK (field NOT IN ('', '*') AND octet_length(field) <= 1024),
	rule   text NOT NULL CHECK (rule IN ('max', 'min', 'longest', 'latest', 'union', 'keep', 'manual', 'priority', 'function', 'sum')),
	args   jsonb CHECK (jsonb_typeof(args) = 'object'),
	written_by text COLLATE "C" NOT NULL DEFAULT CURRENT_USER,
	PRIMARY KEY (entity, field)
);
COMMENT ON TABLE syncext.field_rule IS
	'how a contested field is decided, before priority is asked: looked up as (entity, field), (*, field); only in ladders with merge';
COMMENT ON COLUMN syncext.field_rule.rule IS
	'max, min: of two numbers or two strings; longest: of two strings; latest: by updatedAt; union: of two arrays; keep: the record''s value stands; manual: neither rule nor priority decides, the ladder''s last rung does; priority: by rank, as without a rule; sum: increments of documents and captured edits are added, and what sets the field is decided by rank; function: what the function in args returns';
COMMENT ON COLUMN syncext.field_rule.args IS
	'"function": "schema.name" of rule function, called with (current, incoming, context), all jsonb; "empty": an array of values that count as null in births; "group": the name of the fields that it belongs to, which go to one side together';
COMMENT ON COLUMN syncext.field_rule.written_by IS
	'the role that wrote the rule (that restored it, of one from a dump), by name; its function is called as long as that role may call it';

CREATE TABLE syncext.reference (
	entity    text COLLATE "C" NOT NULL REFERENCES syncext.entity ON DELETE CASCADE,
	field     text COLLATE "C" NOT NULL CHECK (field <> '' AND octet_length(field) <= 255),
	parent    text COLLATE "C" NOT NULL REFERENCES syncext.entity ON DELETE CASCADE,
	on_delete text NOT NULL DEFAULT 'ignore' CHECK (on_delete IN ('ignore', 'restrict', 'cascade')),
	listed    boolean NOT NULL DEFAULT false,
	made_by   xid8 NOT NULL DEFAULT pg_catalog.pg_current_xact_id(),
	PRIMARY KEY (entity, field)
);
COMMENT ON TABLE syncext.reference IS 'which field of an entity names a record of another, that has to come first';
COMMENT ON COLUMN syncext.reference.listed IS
	'with restrict or cascade: syncext.child has the records that there were when it was made. The first delete of a parent or CALL sync_maintain() sees to that';
COMMENT ON COLUMN syncext.reference.made_by IS 'the transaction since which children are tracked, where they are not listed';

-- Roles are kept by name: a dump may come to where they are not yet.  Nor is a
-- misspelt one refused, so it is told of at once, too.
CREATE FUNCTION syncext.role_check() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = NEW.role) THEN
		RAISE WARNING 'role "%" does not exist: until it does administrators alone may act as source "%"', NEW.role, NEW.name
			USING HINT = format('CREATE ROLE %I, or UPDATE syncext.source SET role = … WHERE name = %L.', NEW.role, NEW.name);
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.role_check() IS 'trigger: warns of a source''s role that does not exist';
REVOKE ALL ON FUNCTION syncext.role_check() FROM PUBLIC;
CREATE TRIGGER role_check_insert AFTER INSERT ON syncext.source
	FOR EACH ROW WHEN (NEW.role IS NOT NULL) EXECUTE FUNCTION syncext.role_check();
CREATE TRIGGER role_check_update AFTER UPDATE ON syncext.source
	FOR EACH ROW WHEN (NEW.role <> OLD.role OR NEW.role IS NOT NULL AND OLD.role IS NULL) EXECUTE FUNCTION syncext.role_check();

-- Names stand in records, stamps, conflicts and the log: they don't change.
CREATE FUNCTION syncext.refuse_rename() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RAISE EXCEPTION '% "%" cannot be renamed', TG_TABLE_NAME, OLD.name USING ERRCODE = 'feature_not_supported',
		HINT = 'Records and the log know it by its name. Add another one, and drop this one.';
END $$;
COMMENT ON FUNCTION syncext.refuse_rename() IS 'trigger: sources and entities keep their names';
REVOKE ALL ON FUNCTION syncext.refuse_rename() FROM PUBLIC;
-- named so that it comes before the foreign keys' triggers, which say it less well
CREATE TRIGGER "Keep_name" AFTER UPDATE ON syncext.source
	FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION syncext.refuse_rename();
CREATE TRIGGER "Keep_name" AFTER UPDATE ON syncext.entity
	FOR EACH ROW WHEN (OLD.name <> NEW.name) EXECUTE FUNCTION syncext.refuse_rename();

-- What rules have called: a field rule its function, a match rule its normalize.
CREATE FUNCTION syncext.rule_function(rule text, name text) RETURNS oid
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN (SELECT p.oid FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
	        WHERE ARRAY[n.nspname, p.proname]::text[] = parse_ident(name) AND p.prokind = 'f' AND NOT p.proretset
	          AND (rule, oidvectortypes(p.proargtypes), p.prorettype) IN
	              (('field', 'jsonb, jsonb, jsonb', 'jsonb'::regtype::oid), ('match', 'jsonb', 'text'::regtype::oid)));
EXCEPTION WHEN invalid_parameter_value THEN
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.rule_function(text, text) IS
	'the function that a rule names, of a field rule (''field'') or a match rule (''match''); null: there is none that fits';

CREATE FUNCTION syncext.rule_function_error(rule text, name text, role text) RETURNS text
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT CASE WHEN f.oid IS NULL AND $1 = 'match' THEN format('there is no function %s(jsonb) that returns text', $2)
	            WHEN f.oid IS NULL THEN format('there is no function %s(jsonb, jsonb, jsonb) that returns jsonb', $2)
	            WHEN r.oid IS NULL THEN format('role %s, which wrote the rule, does not exist', quote_ident($3))
	            WHEN NOT has_function_privilege(r.oid, f.oid, 'EXECUTE')
	              OR NOT has_schema_privilege(r.oid, p.pronamespace, 'USAGE')
	            THEN format('role %s, which wrote the rule, may not call function %s', quote_ident($3), $2)
	            WHEN NOT p.prosecdef AND NOT pg_has_role(r.oid, p.proowner, 'USAGE')
	            THEN format('role %s, which wrote the rule, may not act as the owner of function %s, which is not SECURITY DEFINER', quote_ident($3), $2)
	            WHEN $1 = 'match' AND p.provolatile <> 'i' THEN format('function %s is not IMMUTABLE', $2) END
	FROM (SELECT syncext.rule_function($1, $2)) f(oid)
	LEFT JOIN pg_proc p ON p.oid = f.oid
	LEFT JOIN pg_roles r ON r.rolname = $3
	$$;
COMMENT ON FUNCTION syncext.rule_function_error(text, text, text) IS
	'why the function of a rule that the role wrote, a field rule (''field'') or a match rule (''match''), is not called; null: it is';

-- What a rule's function does it does as its owner; whoever writes the rule must be allowed
-- to call it himself, and to act as the owner, unless the function does that for every
-- caller, as SECURITY DEFINER.  Both are looked at with each call.  So what isn't allowed is told, and
-- not refused: a restore has to bring the other rules, be the right or the function still
-- to come.  sync_rule refuses it.
CREATE FUNCTION syncext.field_rule_args() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	key text := (SELECT k FROM jsonb_object_keys(CASE WHEN jsonb_typeof(NEW.args) = 'object' THEN NEW.args END) k WHERE k NOT IN ('function', 'empty', 'group') LIMIT 1);
	function text := NEW.args->>'function';
	parts text[];
	wrong text;
BEGIN
	IF key IS NOT NULL THEN
		wrong := format('args of a field rule have no key "%s"', key);
	ELSIF NEW.rule = 'function' AND coalesce(jsonb_typeof(NEW.args->'function'), '') <> 'string' THEN
		wrong := 'rule "function" needs args that name one';
	ELSIF NEW.rule <> 'function' AND NEW.args ? 'function' THEN
		wrong := format('rule "%s" calls no function', NEW.rule);
	ELSIF NEW.args ? 'empty' AND jsonb_typeof(NEW.args->'empty') <> 'array' THEN
		wrong := 'args "empty" must be an array of values';
	ELSIF NEW.args ? 'group' AND (jsonb_typeof(NEW.args->'group') <> 'string' OR NEW.args->>'group' = '') THEN
		wrong := 'args "group" must be a name';
	ELSIF NEW.args ? 'group' AND NEW.rule NOT IN ('latest', 'keep', 'manual', 'priority', 'function') THEN
		wrong := format('rule "%s" makes a value of a field''s own, and a group goes to one side as a whole', NEW.rule);
	ELSIF NEW.rule = 'function' THEN
		BEGIN
			parts := parse_ident(function);
		EXCEPTION WHEN invalid_parameter_value THEN
			parts := '{}';
		END;
		IF cardinality(parts) <> 2 THEN
			wrong := format('%s is not the name of a function with its schema', function);
		ELSIF syncext.rule_function_error('field', function, current_user) IS NOT NULL THEN
			RAISE WARNING '%: the rule of field "%" decides nothing', syncext.rule_function_error('field', function, current_user), NEW.field
				USING HINT = 'Make the function, grant EXECUTE on it and USAGE on its schema, make it SECURITY DEFINER or write the rule as its owner; or write another rule.';
		END IF;
	END IF;
	IF wrong IS NOT NULL THEN
		RAISE EXCEPTION '%', wrong USING ERRCODE = 'invalid_parameter_value',
			HINT = 'Rule "function" has args {"function": "schema.name"}; any rule may have {"empty": ["", "N/A"]}; latest, keep, manual, priority and function {"group": "address"}.';
	END IF;
	NEW.written_by := current_user;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION syncext.field_rule_args() IS 'trigger: checks the arguments of a field rule, and notes who wrote it';
REVOKE ALL ON FUNCTION syncext.field_rule_args() FROM PUBLIC;
CREATE TRIGGER field_rule_args BEFORE INSERT OR UPDATE ON syncext.field_rule
	FOR EACH ROW EXECUTE FUNCTION syncext.field_rule_args();

-- A rule that no contest can ever ask is most likely a slip of the pen.  It only
-- warns: a restore may bring the rules before the entities.
CREATE FUNCTION syncext.field_rule_check() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	ladder text[];
	unfit regclass;
	linked text;
BEGIN
	IF NEW.entity <> '*' THEN
		SELECT e.ladder INTO ladder FROM syncext.entity e WHERE e.name = NEW.entity;
		IF NOT FOUND THEN
			RAISE WARNING 'entity "%" does not exist: the rule of its field "%" is never asked', NEW.entity, NEW.field
				USING HINT = syncext.callable(format('Add it with SELECT sync_add_entity(%L).', NEW.entity));
		ELSIF array_position(ladder, 'field') IS NOT NULL THEN
			RAISE EXCEPTION 'entity "%" has a field ladder, in which fields have no rules', NEW.entity
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'A rule needs the rung "merge"; in a field ladder the greatest stamp of a field decides, in any order of arrival.';
		ELSIF NEW.rule = 'sum' AND NOT 'merge' = ANY (ladder) THEN
			RAISE EXCEPTION 'the ladder of entity "%" has no merge, which the rule sum of its field "%" needs', NEW.entity, NEW.field
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Such a ladder decides on records as a whole; the default ladder {version,merge,priority,manual} decides field by field.';
		ELSIF NOT 'merge' = ANY (ladder) AND NOT coalesce(NEW.args ? 'empty', false) THEN
			RAISE WARNING 'the ladder of entity "%" has no merge: the rule of its field "%" is never asked', NEW.entity, NEW.field;
		END IF;
	END IF;
	IF NEW.rule = 'sum' THEN
		SELECT b.relation INTO unfit FROM syncext.binding b JOIN pg_class c ON c.oid = b.relation
		WHERE NEW.entity IN (b.entity, '*') AND b.direction = 'both' AND c.relkind NOT IN ('r', 'p')
		  AND (b.columns ? NEW.field
		       OR b.columns IS NULL AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = b.relation AND a.attnum > 0 AND a.attname = NEW.field));
		IF FOUND THEN
			RAISE EXCEPTION 'field "%" cannot have rule sum: it is delivered to and polled from %, which is no table of this database', NEW.field, unfit
				USING ERRCODE = 'feature_not_supported',
				HINT = 'Attach it anew with direction "in" or "out", or without the field. Its rows are not locked when they are written, and what was added to them meanwhile would be lost.';
		END IF;
		SELECT k.source INTO linked FROM syncext.link k WHERE k.relay LIMIT 1;
		IF FOUND THEN
			RAISE EXCEPTION 'field "%" cannot have rule sum: this hub is a spoke as a whole, by source "%"', NEW.field, linked
				USING ERRCODE = 'feature_not_supported',
				HINT = 'A relay sends records as they stand, and not what was added to them; link tables instead.';
		END IF;
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.field_rule_check() IS 'trigger: warns of field rules that are never asked';
REVOKE ALL ON FUNCTION syncext.field_rule_check() FROM PUBLIC;
CREATE TRIGGER field_rule_check AFTER INSERT OR UPDATE ON syncext.field_rule
	FOR EACH ROW EXECUTE FUNCTION syncext.field_rule_check();

-- Rules of one group are looked at together, so they are written one after another: two
-- sessions that don't see each other's could let a group go by two.  The row is written,
-- and not only locked, for REPEATABLE READ to notice.  Who may write rules may not write it.
CREATE FUNCTION syncext.field_rule_turn() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE syncext.feed_state SET current_log = current_log;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.field_rule_turn() IS 'trigger: lets those who write field rules do it one after another';
REVOKE ALL ON FUNCTION syncext.field_rule_turn() FROM PUBLIC;
CREATE TRIGGER field_rule_turn BEFORE INSERT OR UPDATE OR DELETE ON syncext.field_rule
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.field_rule_turn();

-- A group goes by one rule.  A deleted row may uncover one of every entity's.
CREATE FUNCTION syncext.field_rule_group() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	apart record;
BEGIN
	SELECT e.entity, f.args->>'group' AS name, (array_agg(f.field ORDER BY f.rule, f.args->>'function', f.field))[1] AS one,
	       (array_agg(f.field ORDER BY f.rule DESC, f.args->>'function' DESC NULLS LAST, f.field))[1] AS other INTO apart
	FROM (SELECT DISTINCT r.entity FROM syncext.field_rule r) e
	JOIN syncext.field_rule f ON f.entity = e.entity
	     OR f.entity = '*' AND NOT EXISTS (SELECT FROM syncext.field_rule o WHERE o.entity = e.entity AND o.field = f.field)
	WHERE f.args ? 'group'
	GROUP BY e.entity, f.args->>'group'
	HAVING count(DISTINCT (f.rule, f.args->>'function')) > 1
	ORDER BY 1, 2 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION 'fields "%" and "%" of group "%" of entity "%" would go by other rules', apart.one, apart.other, apart.name, apart.entity
			USING ERRCODE = 'invalid_parameter_value',
			HINT = 'All fields of a group have one rule: UPDATE syncext.field_rule sets, and DELETE removes, that of all of them at once.';
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.field_rule_group() IS 'trigger: lets the fields of a group have one rule';
REVOKE ALL ON FUNCTION syncext.field_rule_group() FROM PUBLIC;
CREATE TRIGGER field_rule_group AFTER INSERT OR UPDATE OR DELETE ON syncext.field_rule
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.field_rule_group();

-- A field ladder's record is what all stamps of its changes come to.  Of records that
-- other ladders decided these aren't known, and what stamps are made of can't change
-- later.  A dump comes without asking: its entity "record" replaces the one that is there.
CREATE FUNCTION syncext.entity_check() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	IF NOT 'merge' = ANY (NEW.ladder)
	   AND EXISTS (SELECT FROM syncext.field_rule f WHERE f.entity = NEW.name AND f.rule = 'sum') THEN
		RAISE EXCEPTION 'entity "%" has fields with rule sum, which needs a ladder with merge', NEW.name USING ERRCODE = 'invalid_parameter_value',
			HINT = format('DELETE FROM syncext.field_rule WHERE entity = %L AND rule = ''sum''.', NEW.name);
	END IF;
	IF array_position(NEW.ladder, 'field') IS NULL THEN
		IF NEW.deletes <> 'latest' THEN
			RAISE EXCEPTION 'deletes = % needs a field ladder, which entity "%" does not have', quote_literal(NEW.deletes), NEW.name
				USING ERRCODE = 'invalid_parameter_value',
				HINT = 'Such are {field,version}, {field,latest} and {field,version,latest}, with priority or without.';
		END IF;
		RETURN NEW;
	END IF;
	IF EXISTS (SELECT FROM syncext.field_rule f WHERE f.entity = NEW.name) THEN
		RAISE EXCEPTION 'entity "%" has field rules, which a field ladder does not ask', NEW.name USING ERRCODE = 'invalid_parameter_value',
			HINT = format('DELETE FROM syncext.field_rule WHERE entity = %L.', NEW.name);
	END IF;
	IF TG_OP = 'UPDATE' AND pg_trigger_depth() = 1
	   AND (array_remove(NEW.ladder, 'priority') <> array_remove(OLD.ladder, 'priority') OR NEW.deletes <> OLD.deletes)
	   AND (EXISTS (SELECT FROM syncext.canonical r WHERE r.entity = NEW.name)
	        OR EXISTS (SELECT FROM syncext.conflict_log c WHERE c.entity = NEW.name AND c.status = 'pending')) THEN
		RAISE EXCEPTION 'entity "%" has records, whose stamps are not those of the ladder %, deletes %', NEW.name, NEW.ladder, quote_literal(NEW.deletes)
			USING ERRCODE = 'object_not_in_prerequisite_state',
			HINT = 'Make another entity with that ladder, and let its sources send their records. Rung "priority" can come and go.';
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION syncext.entity_check() IS 'trigger: a field ladder is given to an entity before its records, and keeps what its stamps are made of';
REVOKE ALL ON FUNCTION syncext.entity_check() FROM PUBLIC;
CREATE TRIGGER entity_check BEFORE INSERT OR UPDATE ON syncext.entity
	FOR EACH ROW EXECUTE FUNCTION syncext.entity_check();

-- What sync_grant gave whom, by name as all roles are kept.
CREATE TABLE syncext.privilege (
	role       text COLLATE "C" NOT NULL CHECK (role <> '' AND octet_length(role) <= 63),
	privilege  text NOT NULL CHECK (privilege IN ('monitor', 'steward', 'admin')),
	entity     text COLLATE "C" NOT NULL DEFAULT '*' CHECK (entity <> '' AND octet_length(entity) <= 63 AND (entity = '*' OR privilege = 'steward')),
	granted_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (role, privilege, entity)
);
COMMENT ON TABLE syncext.privilege IS 'which roles watch the hub, decide its conflicts or run it; sync_grant and sync_revoke write it';
COMMENT ON COLUMN syncext.privilege.role IS 'the name of a role; as long as there is none of that name, nobody has the privilege';
COMMENT ON COLUMN syncext.privilege.privilege IS 'monitor: sees how the hub is, not its records; steward: decides conflicts and sees the records; admin: does what the owner of the extension does by sync_ functions';
COMMENT ON COLUMN syncext.privilege.entity IS 'of a steward: the entity; *: every one';
COMMENT ON COLUMN syncext.privilege.granted_at IS 'when it was granted';

-- What the hub knows of itself: which change log table is written to.
CREATE TABLE syncext.feed_state (
	only_row          boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	current_log       integer NOT NULL DEFAULT 0 CHECK (current_log BETWEEN 0 AND 3),
	switched_at       timestamptz NOT NULL DEFAULT now(),
	incarnation       bigint NOT NULL DEFAULT 1,
	notifier_pid      integer
);
COMMENT ON TABLE syncext.feed_state IS 'the change feed''s own state: the log table in use, and how often it began anew after a restore';
COMMENT ON COLUMN syncext.feed_state.notifier_pid IS 'the process that tells links of changes, if one runs';
INSERT INTO syncext.feed_state DEFAULT VALUES;
INSERT INTO syncext.entity (name) VALUES ('record');

-- source by row, as sync_attach writes it without a statement
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE ON syncext.source
	FOR EACH ROW EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_truncated AFTER TRUNCATE ON syncext.source
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.source_priority
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.field_rule
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.entity
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.reference
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.privilege
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.feed_state
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.source ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.source ENABLE ALWAYS TRIGGER registry_truncated;
ALTER TABLE syncext.source_priority ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.field_rule ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.entity ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.reference ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.privilege ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.feed_state ENABLE ALWAYS TRIGGER registry_changed;

-- CREATE EXTENSION has made the entity 'record' when a dump brings it again:
-- it takes the ladder that it had there.
CREATE FUNCTION syncext.entity_restored() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE syncext.entity SET ladder = NEW.ladder, added_at = NEW.added_at, deletes = NEW.deletes, merged = NEW.merged WHERE name = NEW.name;
	IF FOUND THEN
		RETURN NULL;
	END IF;
	RETURN NEW;
END $$;
COMMENT ON FUNCTION syncext.entity_restored() IS 'trigger: the entity "record" of a dump takes the place of the one that is there';
REVOKE ALL ON FUNCTION syncext.entity_restored() FROM PUBLIC;
CREATE TRIGGER entity_restored BEFORE INSERT ON syncext.entity
	FOR EACH ROW WHEN (NEW.name = 'record') EXECUTE FUNCTION syncext.entity_restored();

SELECT pg_catalog.pg_extension_config_dump('syncext.source', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.source_priority', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.entity', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.field_rule', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.reference', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.privilege', '');
