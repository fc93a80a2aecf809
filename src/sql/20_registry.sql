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
	added_at      timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE syncext.source IS 'the systems that send and get changes';
COMMENT ON COLUMN syncext.source.role IS 'the name of a role; whoever is a member of it may act as the source. Null, or no such role: administrators only';
COMMENT ON COLUMN syncext.source.single_writer IS 'its edits come in order (an attached table, a link)';
COMMENT ON COLUMN syncext.source.entities IS 'the entities it gets; null: every entity';
COMMENT ON COLUMN syncext.source.retry_cap IS 'failed deliveries of a change until it is a dead letter';

CREATE TABLE syncext.source_priority (
	source   text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity   text COLLATE "C" NOT NULL DEFAULT '*',
	field    text COLLATE "C" NOT NULL DEFAULT '*',
	priority integer NOT NULL,
	PRIMARY KEY (source, entity, field)
);
COMMENT ON TABLE syncext.source_priority IS
	'who wins a contest: the lower priority; looked up as (source, entity, field), (source, *, field), (source, entity, *), (source, *, *)';

CREATE TABLE syncext.entity (
	name     text COLLATE "C" PRIMARY KEY
	         CHECK (name <> '' AND name <> '*' AND octet_length(name) <= 63),
	ladder   text[] NOT NULL DEFAULT '{version,merge,priority,manual}'
	         CHECK (syncext.ladder_error(ladder) IS NULL),
	added_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE syncext.entity IS 'the kinds of record, each with its conflict ladder';

CREATE TABLE syncext.field_rule (
	entity text COLLATE "C" NOT NULL DEFAULT '*' CHECK (entity <> ''),
	field  text COLLATE "C" NOT NULL CHECK (field NOT IN ('', '*')),
	rule   text NOT NULL CHECK (rule IN ('max', 'min', 'longest', 'latest', 'union', 'keep', 'manual')),
	args   jsonb CHECK (args IS NULL),
	PRIMARY KEY (entity, field)
);
COMMENT ON TABLE syncext.field_rule IS
	'how a contested field is decided, before priority is asked: looked up as (entity, field), (*, field); only in ladders with merge';
COMMENT ON COLUMN syncext.field_rule.rule IS
	'max, min: of two numbers or two strings; longest: of two strings; latest: by updatedAt; union: of two arrays; keep: the record''s value stands; manual: neither rule nor priority decides, the ladder''s last rung does';
COMMENT ON COLUMN syncext.field_rule.args IS 'none of these rules takes arguments';

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

-- A rule that no contest can ever ask is most likely a slip of the pen.  It only
-- warns: a restore may bring the rules before the entities.
CREATE FUNCTION syncext.field_rule_check() RETURNS trigger
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	ladder text[];
BEGIN
	IF NEW.entity <> '*' THEN
		SELECT e.ladder INTO ladder FROM syncext.entity e WHERE e.name = NEW.entity;
		IF NOT FOUND THEN
			RAISE WARNING 'entity "%" does not exist: the rule of its field "%" is never asked', NEW.entity, NEW.field
				USING HINT = syncext.callable(format('Add it with SELECT sync_add_entity(%L).', NEW.entity));
		ELSIF NOT 'merge' = ANY (ladder) THEN
			RAISE WARNING 'the ladder of entity "%" has no merge: the rule of its field "%" is never asked', NEW.entity, NEW.field;
		END IF;
	END IF;
	RETURN NULL;
END $$;
COMMENT ON FUNCTION syncext.field_rule_check() IS 'trigger: warns of field rules that are never asked';
REVOKE ALL ON FUNCTION syncext.field_rule_check() FROM PUBLIC;
CREATE TRIGGER field_rule_check AFTER INSERT OR UPDATE ON syncext.field_rule
	FOR EACH ROW EXECUTE FUNCTION syncext.field_rule_check();

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
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON syncext.feed_state
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.source ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.source ENABLE ALWAYS TRIGGER registry_truncated;
ALTER TABLE syncext.source_priority ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.field_rule ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.entity ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.reference ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.feed_state ENABLE ALWAYS TRIGGER registry_changed;

-- CREATE EXTENSION has made the entity 'record' when a dump brings it again:
-- it takes the ladder that it had there.
CREATE FUNCTION syncext.entity_restored() RETURNS trigger
	LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	UPDATE syncext.entity SET ladder = NEW.ladder, added_at = NEW.added_at WHERE name = NEW.name;
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
