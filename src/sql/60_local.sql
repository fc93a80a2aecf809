-- Attached relations: tables that hold a source's copy of an entity, watched by
-- triggers or polled, and written to by delivery.

CREATE TABLE syncext.binding (
	relation       regclass PRIMARY KEY,
	source         text COLLATE "C" NOT NULL REFERENCES syncext.source,
	entity         text COLLATE "C" NOT NULL REFERENCES syncext.entity,
	key            text[] COLLATE "C" NOT NULL CHECK (pg_catalog.cardinality(key) > 0 AND pg_catalog.array_position(key, NULL) IS NULL),
	columns        jsonb CHECK (pg_catalog.jsonb_typeof(columns) = 'object'),
	capture        text NOT NULL CHECK (capture IN ('trigger', 'poll', 'none')),
	direction      text NOT NULL CHECK (direction IN ('both', 'in', 'out')),
	version_column text COLLATE "C",
	updated_column text COLLATE "C",
	deleted_column text COLLATE "C",
	attached_at    timestamptz NOT NULL DEFAULT now(),
	row_type       regtype,
	name           text,
	attached_by    text COLLATE "C",
	attached_as    text COLLATE "C",
	loaded         jsonb CHECK (pg_catalog.jsonb_typeof(loaded) = 'object'),
	differing      jsonb CHECK (pg_catalog.jsonb_typeof(differing) = 'object'),
	resumed        bigint,
	own_keys       boolean NOT NULL DEFAULT false,
	external_id_column text COLLATE "C",
	shape          jsonb CHECK (pg_catalog.jsonb_typeof(shape) = 'object'),
	UNIQUE (source, entity)
);
COMMENT ON TABLE syncext.binding IS 'attached relations; sync_attach and sync_detach write it';
COMMENT ON COLUMN syncext.binding.key IS 'the columns that make the external id, or with own_keys the source''s own key, in order';
COMMENT ON COLUMN syncext.binding.columns IS 'field: column; null: every plain column under its own name';
COMMENT ON COLUMN syncext.binding.direction IS 'in: its edits go to the hub; out: the hub''s records are written to it; both';
COMMENT ON COLUMN syncext.binding.version_column IS 'the column in which the relation counts versions itself';
COMMENT ON COLUMN syncext.binding.updated_column IS 'the column that says when a row was edited';
COMMENT ON COLUMN syncext.binding.deleted_column IS 'the column that marks a row as deleted: true, or a time';
COMMENT ON COLUMN syncext.binding.row_type IS 'the type of the relation''s rows, which tells it from another that was given its OID';
COMMENT ON COLUMN syncext.binding.name IS 'the relation''s name when last seen, for when it was dropped';
COMMENT ON COLUMN syncext.binding.attached_by IS 'the role that attached it by its right to act as the source, and must keep that right; null: an administrator';
COMMENT ON COLUMN syncext.binding.attached_as IS 'that role';
COMMENT ON COLUMN syncext.binding.loaded IS
	'{column: its number} of the fields that the relation had when it and the hub were last brought together, by sync_load, by sync_poll, or by sync_attach of an empty table; others were added since. null: they were not yet';
COMMENT ON COLUMN syncext.binding.differing IS
	'{field: true} that the relation''s own triggers set to another value than the hub has whenever that is delivered; null: none is known';
COMMENT ON COLUMN syncext.binding.resumed IS
	'of a relation that was attached again to its link: rows of syncext.replica that were settled before may have been edited since without being captured; null: there are none';
COMMENT ON COLUMN syncext.binding.own_keys IS
	'its key is drawn where a row is born, and is its source''s own: syncext.source_key has which record that is';
COMMENT ON COLUMN syncext.binding.external_id_column IS 'with own_keys, the column that holds the record''s external id';
COMMENT ON COLUMN syncext.binding.shape IS
	'{"of": what tells the relation from one of another database, "partitions": {name: OID; [OID] of one that sync_load has yet to complete}, "columns": {name: [number, type, its OID, modifier; true if its values were written anew since]}} as it was when the rows were last brought together with the hub, as sync_check() compares it with what is now; null: not known yet';
SELECT pg_catalog.pg_extension_config_dump('syncext.binding', '');
-- by row, as sync_attach writes it without a statement
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE ON syncext.binding
	FOR EACH ROW EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_truncated AFTER TRUNCATE ON syncext.binding
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.binding ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.binding ENABLE ALWAYS TRIGGER registry_truncated;

-- What DDL makes of rows fires no trigger: a partition is dropped with its rows, a column
-- given other values, with another type or without.  So what partitions there were, and of
-- what types the fields, is remembered, for sync_check() to compare.  plpgsql keeps the
-- plans, which take longer to make than all that they read.

-- Numbers tell partitions and columns in the database that they are of, whatever they are
-- renamed to; after a restore, or in a copy, names do.  Read without a lock: maintenance
-- doesn't wait for an ALTER TABLE that goes on.
CREATE FUNCTION syncext.shape_of(b syncext.binding) RETURNS jsonb
	LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	BEGIN
		RETURN (SELECT jsonb_build_object(
			'of', format('%s/%s/%s', (SELECT s.system_identifier FROM pg_control_system() s),
			             (SELECT d.oid FROM pg_database d WHERE d.datname = current_database()), r.oid),
			'partitions', coalesce((SELECT jsonb_object_agg(format('%I.%I', s.nspname, c.relname),
			                               -- which leaves no trace on it when it is detached
			                               CASE WHEN $1.capture = 'trigger' AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = '_syncext_truncate')
			                                    THEN jsonb_build_array(c.oid::bigint) ELSE to_jsonb(c.oid::bigint) END)
			                        FROM (WITH RECURSIVE tree AS (
			                                  SELECT r.oid AS relid WHERE r.relkind = 'p'
			                                  UNION ALL
			                                  SELECT i.inhrelid FROM tree t JOIN pg_inherits i ON i.inhparent = t.relid)
			                              SELECT t.relid FROM tree t) p
			                        JOIN pg_class c ON c.oid = p.relid AND c.relkind <> 'p'
			                        JOIN pg_namespace s ON s.oid = c.relnamespace), '{}'),
			'columns', coalesce((SELECT jsonb_object_agg(a.attname, jsonb_build_array(a.attnum, format_type(t.type, t.modifier), t.type::bigint, t.modifier))
			                     FROM pg_attribute a
			                     CROSS JOIN LATERAL (
			                         -- a domain holds what its type does
			                         WITH RECURSIVE base AS (
			                             SELECT a.atttypid AS type, a.atttypmod AS modifier, 0 AS depth
			                             UNION ALL
			                             SELECT d.typbasetype, d.typtypmod, o.depth + 1
			                             FROM base o JOIN pg_type d ON d.oid = o.type AND d.typtype = 'd')
			                         SELECT o.type, o.modifier FROM base o ORDER BY o.depth DESC LIMIT 1) t
			                     WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped
			                       AND (a.attname = ANY ($1.key)
			                            OR CASE WHEN jsonb_typeof($1.columns) = 'object'
			                                    THEN a.attname IN (SELECT f.value FROM jsonb_each_text($1.columns) f)
			                                    ELSE a.attgenerated = '' AND a.attidentity = '' AND a.attname <> '*'
			                                         AND a.attname NOT IN (SELECT n.name FROM unnest(ARRAY[$1.version_column, $1.updated_column, $1.deleted_column, $1.external_id_column]) n(name)
			                                                               WHERE n.name IS NOT NULL) END)), '{}'))
		FROM pg_class r
		WHERE r.oid = $1.relation AND r.reltype = coalesce($1.row_type::oid, r.reltype));
	END $$;
COMMENT ON FUNCTION syncext.shape_of(syncext.binding) IS
	'the partitions of an attached relation and the types of its fields, as they are now; null: there is none';

CREATE FUNCTION syncext.known_columns(b syncext.binding) RETURNS TABLE (name text, was jsonb, now jsonb)
	LANGUAGE plpgsql STABLE ROWS 10 SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	#variable_conflict use_column
	DECLARE
		shape_now jsonb := syncext.shape_of($1);
		is_same   boolean := coalesce(shape_now->'of' = $1.shape->'of', false);
	BEGIN
		IF jsonb_typeof($1.shape->'columns') = 'object' THEN
			RETURN QUERY
			SELECT n.name, w.was, n.now
			FROM jsonb_each(shape_now->'columns') n(name, now)
			JOIN jsonb_each($1.shape->'columns') w(name, was)
			  ON CASE WHEN is_same THEN w.was->0 = n.now->0 ELSE w.name = n.name END
			WHERE jsonb_path_match(w.was, 'strict ($.size() == 4 || $.size() == 5) && $[1].type() == "string" && $[3].type() == "number"', silent => true);
		END IF;
	END $$;
COMMENT ON FUNCTION syncext.known_columns(syncext.binding) IS
	'the fields of an attached relation whose types are remembered: [number, type, its OID, modifier], as they were and are now; was has true behind them if its values were written anew since';

CREATE FUNCTION syncext.holds_as_much(was jsonb, now jsonb) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		RETURN (SELECT $1->4 IS NULL AND ($1->1 = $2->1 OR ($1->2 = $2->2 OR ARRAY[$1->>2, $2->>2] <@ '{25,1043}')
		                        AND CASE WHEN m.was = m.now OR m.now = -1 THEN true
		                                 WHEN m.was = -1 OR m.now < m.was THEN false
		                                 -- digits behind the point are the lower half
		                                 WHEN $2->>2 = '1700' THEN (m.now - m.was) % 65536 = 0
		                                 ELSE $2->>2 = ANY ('{1043,1083,1114,1184,1266}') END)
		FROM (SELECT ($1->>3)::numeric AS was, ($2->>3)::numeric AS now) m);
	END $$;
COMMENT ON FUNCTION syncext.holds_as_much(jsonb, jsonb) IS
	'does a column that was altered, both as in syncext.binding, hold the values that it had: they were not written anew, and the type is the same, renamed, or a varchar, numeric, time or timestamp with more room?';

CREATE FUNCTION syncext.left_partitions(b syncext.binding) RETURNS TABLE (name text, number jsonb, fate text)
	LANGUAGE plpgsql STABLE ROWS 1 SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	#variable_conflict use_column
	DECLARE
		shape_now jsonb := syncext.shape_of($1);
		is_same   boolean := coalesce(shape_now->'of' = $1.shape->'of', false);
	BEGIN
		IF shape_now IS NULL OR jsonb_typeof($1.shape->'partitions') IS DISTINCT FROM 'object' THEN
			RETURN;
		END IF;
		RETURN QUERY
		WITH missing AS MATERIALIZED (
			SELECT w.name, jsonb_typeof(w.number) = 'array' AS incomplete, coalesce(w.number->0, w.number) AS number
			FROM jsonb_each($1.shape->'partitions') w(name, number)
			WHERE CASE WHEN is_same THEN coalesce(w.number->0, w.number) ELSE to_jsonb(w.name) END NOT IN
			      (SELECT CASE WHEN is_same THEN coalesce(p.number->0, p.number) ELSE to_jsonb(p.name) END FROM jsonb_each(shape_now->'partitions') p(name, number)))
		SELECT m.name,
		       -- by which it is known from now on; another of its name takes no place of one that was dropped
		       CASE WHEN m.incomplete THEN jsonb_build_array(n.number) ELSE n.number END,
		       CASE WHEN c.oid IS NULL THEN 'dropped'
		            WHEN $1.capture <> 'trigger' OR c.relispartition OR c.relkind = 'f' THEN 'left'
		            -- of that its trigger tells
		            WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = '_syncext_truncate') THEN 'detached'
		            WHEN m.incomplete THEN 'left'
		            ELSE 'settled' END
		FROM missing m
		LEFT JOIN (pg_class c JOIN pg_namespace s ON s.oid = c.relnamespace)
		  ON CASE WHEN is_same THEN to_jsonb(c.oid::bigint) = m.number ELSE format('%I.%I', s.nspname, c.relname) = m.name END
		CROSS JOIN LATERAL (SELECT CASE WHEN is_same THEN m.number ELSE to_jsonb(coalesce(c.oid::bigint, 0)) END AS number) n;
	END $$;
COMMENT ON FUNCTION syncext.left_partitions(syncext.binding) IS
	'partitions that an attached relation had and has no more: dropped, left (of which nothing else tells), detached, or settled';

-- What is brought together is as it is now; else what differs from what was known is kept
-- as it was, under today's names, and what is new is added.
CREATE FUNCTION syncext.note_shape(relation regclass, columns boolean, partitions boolean) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	#variable_conflict use_column
	DECLARE
		known     syncext.binding := (SELECT b FROM syncext.binding b WHERE b.relation = $1);
		shape_now jsonb := syncext.shape_of(known);
	BEGIN
		IF NOT $2 THEN
			shape_now := jsonb_set(shape_now, '{columns}', shape_now->'columns' || coalesce(
				(SELECT jsonb_object_agg(c.name, jsonb_set(c.was, '{0}', c.now->0))
				 FROM syncext.known_columns(known) c WHERE NOT syncext.holds_as_much(c.was, c.now)), '{}'));
		END IF;
		IF NOT $3 THEN
			shape_now := jsonb_set(shape_now, '{partitions}', shape_now->'partitions' || coalesce(
				(SELECT jsonb_object_agg(p.name, p.number)
				 FROM syncext.left_partitions(known) p WHERE p.fate <> 'settled'), '{}'));
		END IF;
		-- what others have noted meanwhile isn't undone
		UPDATE syncext.binding b SET shape = shape_now
		WHERE b.relation = $1 AND b.shape IS NOT DISTINCT FROM known.shape AND shape_now <> coalesce(b.shape, '{}');
	END $$;
COMMENT ON FUNCTION syncext.note_shape(regclass, boolean, boolean) IS
	'remember the partitions of an attached relation and the types of its fields: of the columns, of the partitions, as they are now, as they are brought together with the hub; else beside what is remembered';
REVOKE ALL ON FUNCTION syncext.note_shape(regclass, boolean, boolean) FROM PUBLIC;

-- Of a partition, what it is a partition of is attached.  A column that has no expression is
-- told by its type: to and fro, too, but not where a domain's constraint is looked at.
CREATE FUNCTION syncext.note_rewritten(relation regclass, by_type text[], by_expression text[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	#variable_conflict use_column
	DECLARE
		attached regclass;
	BEGIN
		FOR attached IN SELECT b.relation FROM syncext.binding b
		                WHERE b.relation = $1 OR b.relation IN (SELECT a.relid FROM pg_partition_ancestors($1) a)
		                ORDER BY b.relation::oid
		LOOP
			-- columns that came since
			PERFORM syncext.note_shape(attached, false, false);
			UPDATE syncext.binding b SET shape = jsonb_set(b.shape, '{columns}', b.shape->'columns' || m.columns)
			FROM (SELECT jsonb_object_agg(c.name, c.was || 'true') AS columns
			      FROM syncext.binding o
			      CROSS JOIN LATERAL syncext.known_columns(o) c
			      WHERE o.relation = attached AND c.was->4 IS NULL
			        AND (c.name = ANY ($3) OR c.name = ANY ($2) AND NOT syncext.holds_as_much(c.was, c.now))) m
			WHERE b.relation = attached AND m.columns IS NOT NULL;
		END LOOP;
	END $$;
COMMENT ON FUNCTION syncext.note_rewritten(regclass, text[], text[]) IS
	'note that ALTER TABLE gives other values to columns of a relation: as they have another type, or by expressions';
REVOKE ALL ON FUNCTION syncext.note_rewritten(regclass, text[], text[]) FROM PUBLIC;

-- Rows of a view have other values by another definition of it, or of a view below: polls that
-- go by a watermark read those alone that were edited since.
CREATE FUNCTION syncext.note_replaced(view regclass) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	#variable_conflict use_column
	BEGIN
		PERFORM syncext.note_rewritten(b.relation, '{}', ARRAY(SELECT jsonb_object_keys(b.shape->'columns')))
		FROM syncext.binding b
		WHERE b.capture = 'poll' AND b.updated_column IS NOT NULL AND b.loaded IS NOT NULL AND jsonb_typeof(b.shape->'columns') = 'object'
		  AND b.relation IN (WITH RECURSIVE above AS (
			SELECT $1::oid AS relid
			UNION
			SELECT w.ev_class
			FROM above a
			JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = a.relid AND d.classid = 'pg_rewrite'::regclass
			JOIN pg_rewrite w ON w.oid = d.objid)
		                     SELECT relid FROM above)
		ORDER BY b.relation;
	END $$;
COMMENT ON FUNCTION syncext.note_replaced(regclass) IS
	'note that CREATE OR REPLACE VIEW gives other values to polled relations: the view, and views above it';
REVOKE ALL ON FUNCTION syncext.note_replaced(regclass) FROM PUBLIC;

CREATE FUNCTION syncext.note_altered() RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	BEGIN
		PERFORM syncext.note_shape(b.relation, false, false)
		FROM (SELECT DISTINCT o.relation
		      FROM pg_event_trigger_ddl_commands() d
		      CROSS JOIN LATERAL (SELECT d.objid UNION SELECT a.relid FROM pg_partition_ancestors(d.objid) a) r(relid)
		      JOIN syncext.binding o ON o.relation = r.relid
		      WHERE d.classid = 'pg_class'::regclass
		      ORDER BY o.relation) b;
		PERFORM syncext.note_replaced(d.objid)
		FROM pg_event_trigger_ddl_commands() d
		WHERE d.classid = 'pg_class'::regclass AND d.command_tag = 'CREATE VIEW';
	END $$;
COMMENT ON FUNCTION syncext.note_altered() IS
	'note which partitions and columns attached relations have that the statement under way was about, for an event trigger';
REVOKE ALL ON FUNCTION syncext.note_altered() FROM PUBLIC;

-- That the rows were deleted says that the hub has heard of it if the partition was captured
-- from when it was made, or from when it was loaded.
CREATE FUNCTION syncext.note_emptied(relation regclass, emptied oid[]) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET jit = off
	AS $$
	#variable_conflict use_column
	BEGIN
		UPDATE syncext.binding b SET shape = jsonb_set(b.shape, '{partitions}', p.others)
		FROM pg_partition_ancestors($1) a
		JOIN syncext.binding o ON o.relation = a.relid AND o.capture = 'trigger' AND jsonb_typeof(o.shape->'partitions') = 'object'
		CROSS JOIN LATERAL (
			SELECT coalesce(jsonb_object_agg(w.name, w.number), '{}') AS others
			FROM jsonb_each(o.shape->'partitions') w(name, number)
			WHERE coalesce(w.number->0, w.number) NOT IN (
				SELECT to_jsonb(c.tgrelid::bigint)
				FROM pg_trigger c
				WHERE c.tgrelid = ANY ($2) AND c.tgname = '_syncext_capture' AND c.tgenabled = 'A'
				  -- with the other trigger that is known, also of one that left and came back in the transaction that made it
				  AND coalesce((SELECT t.oid > c.oid FROM pg_trigger t WHERE t.tgrelid = c.tgrelid AND t.tgname = '_syncext_truncate'),
				               c.xmin = (SELECT made.xmin FROM pg_attribute made WHERE made.attrelid = c.tgrelid AND made.attnum = -1)))) p
		WHERE b.relation = o.relation AND p.others <> b.shape->'partitions';
	END $$;
COMMENT ON FUNCTION syncext.note_emptied(regclass, oid[]) IS
	'a partition is about to be dropped: these leaves of it, which have no rows, are none that attached relations had';
REVOKE ALL ON FUNCTION syncext.note_emptied(regclass, oid[]) FROM PUBLIC;

CREATE FUNCTION syncext.altered() RETURNS event_trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'syncext_altered';
COMMENT ON FUNCTION syncext.altered() IS 'event trigger: notes what DDL makes of the rows of attached relations';
REVOKE ALL ON FUNCTION syncext.altered() FROM PUBLIC;
CREATE EVENT TRIGGER syncext_rewritten ON table_rewrite EXECUTE FUNCTION syncext.altered();
CREATE EVENT TRIGGER syncext_altered ON ddl_command_end
	WHEN TAG IN ('ALTER TABLE', 'CREATE TABLE', 'CREATE FOREIGN TABLE', 'CREATE SCHEMA', 'CREATE VIEW')
	EXECUTE FUNCTION syncext.altered();
CREATE EVENT TRIGGER syncext_dropping ON ddl_command_start WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION syncext.altered();
ALTER EVENT TRIGGER syncext_rewritten ENABLE ALWAYS;
ALTER EVENT TRIGGER syncext_dropping ENABLE ALWAYS;
ALTER EVENT TRIGGER syncext_altered ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER syncext_rewritten IS 'notes columns of attached relations that ALTER TABLE gives other values';
COMMENT ON EVENT TRIGGER syncext_dropping IS 'notes partitions of attached relations that are dropped when they have no rows any more, of which nothing is to be told';
COMMENT ON EVENT TRIGGER syncext_altered IS 'notes partitions and columns of attached relations as they come, and puts on partitions that are made the trigger that sync_attach would have';

CREATE TABLE syncext.replica (
	relation       regclass NOT NULL,
	external_id    text COLLATE "C" NOT NULL,
	row_version    bigint NOT NULL,
	fields         jsonb,
	held           jsonb,
	adjusted       bigint,
	settled        bigint,
	answered       bigint,
	cascaded       jsonb,
	gone_at        timestamptz,
	contested      boolean,
	answers        jsonb,
	seen_version   bigint,
	seen_at        timestamptz,
	counted        jsonb,
	shifts         jsonb,
	PRIMARY KEY (relation, external_id)
) WITH (fillfactor = 70);
CREATE INDEX replica_gone ON syncext.replica (gone_at) WHERE gone_at IS NOT NULL;
COMMENT ON TABLE syncext.replica IS 'for each row that was delivered to an attached relation: what its next edit is based on';
COMMENT ON COLUMN syncext.replica.row_version IS 'the record''s row version, last delivered';
COMMENT ON COLUMN syncext.replica.fields IS
	'of a polled relation: the fields last seen; of one behind a link: those agreed on with the hub there, null if that there is no row';
COMMENT ON COLUMN syncext.replica.held IS
	'field: row version it was last delivered at, of the fields that a pending conflict keeps back';
COMMENT ON COLUMN syncext.replica.adjusted IS
	'the row version that came of it when the relation''s own triggers changed what was delivered';
COMMENT ON COLUMN syncext.replica.settled IS
	'of a relation behind a link: edits that were captured with a lower seq need not be sent any more';
COMMENT ON COLUMN syncext.replica.answered IS
	'of a relation behind a link: the row version of the hub''s record when it last took an edit of this row';
COMMENT ON COLUMN syncext.replica.cascaded IS
	'of a relation behind a link: the fields that a foreign key set when another row was delivered, {} where it deleted the row; null: it did nothing, or that was answered';
COMMENT ON COLUMN syncext.replica.gone_at IS
	'of a relation behind a link: when it was agreed on with the hub there that there is no row; it goes with the retention. With fields: when the hub had lost the record, which is sent before the next edit';
COMMENT ON COLUMN syncext.replica.answers IS
	'of a relation behind a link: field: the row version of the hub''s record when it answered our edit of the field, of edits since the record last came; null: there were none, or no other source had changed the record';
COMMENT ON COLUMN syncext.replica.contested IS
	'of a relation behind a link: true where the hub''s last answer was that it has not, or not all, taken our edit, and its record has not come since';
COMMENT ON COLUMN syncext.replica.seen_version IS
	'of a field ladder: the version of the record as last delivered, or of an edit that was sent over a link since; the next edit''s is above it';
COMMENT ON COLUMN syncext.replica.seen_at IS 'and its time';
COMMENT ON COLUMN syncext.replica.counted IS
	'of a relation behind a link: what its edits have added to counters in all, as far as the hub has answered: {field: {run/first seq: [last seq, total]}}; a run is that of the server, by when it was started, as this database';
COMMENT ON COLUMN syncext.replica.shifts IS
	'of a relation behind a link: by how much deliveries have moved counters since edits that wait for the hub were captured: {field: [[seq, difference]]}, of what was captured with a lower seq';
SELECT pg_catalog.pg_extension_config_dump('syncext.replica', '');

CREATE FUNCTION syncext.capture() RETURNS trigger
	LANGUAGE c AS 'MODULE_PATHNAME', 'syncext_capture';
COMMENT ON FUNCTION syncext.capture() IS
	'trigger on attached tables: brings each edit to the hub as the binding''s source; sync_attach creates it';
REVOKE ALL ON FUNCTION syncext.capture() FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_attach(relation regclass, source text, entity text DEFAULT 'record',
		key text[] DEFAULT NULL, columns jsonb DEFAULT NULL, capture text DEFAULT 'trigger',
		direction text DEFAULT 'both', version_column text DEFAULT NULL,
		updated_column text DEFAULT NULL, deleted_column text DEFAULT NULL,
		own_keys boolean DEFAULT false, external_id_column text DEFAULT NULL) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_attach';
COMMENT ON FUNCTION @extschema@.sync_attach(regclass, text, text, text[], jsonb, text, text, text, text, text, boolean, text) IS
	'make a table, view or foreign table a source''s copy of an entity: its edits go to the hub, the hub''s records to it';

CREATE FUNCTION @extschema@.sync_detach(relation regclass) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_detach';
COMMENT ON FUNCTION @extschema@.sync_detach(regclass) IS
	'undo sync_attach: the table keeps its rows, the hub its records';

CREATE FUNCTION @extschema@.sync_deliver(source text, max_records integer DEFAULT 500) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_deliver';
COMMENT ON FUNCTION @extschema@.sync_deliver(text, integer) IS
	'write what is due to the source into its attached tables; returns how many were delivered, 0 when nothing more can be';

CREATE PROCEDURE @extschema@.sync_load(relation regclass, winner text DEFAULT 'ladder', dry_run boolean DEFAULT false, INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'sync_load';
COMMENT ON PROCEDURE @extschema@.sync_load(regclass, text, boolean, jsonb) IS
	'bring an attached table and the hub together; where both have a row, ladder, hub or table decides; commits between batches. With dry_run the answer is the same, and nothing is written';
