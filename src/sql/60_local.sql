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
SELECT pg_catalog.pg_extension_config_dump('syncext.binding', '');
-- by row, as sync_attach writes it without a statement
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE ON syncext.binding
	FOR EACH ROW EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_truncated AFTER TRUNCATE ON syncext.binding
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.binding ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.binding ENABLE ALWAYS TRIGGER registry_truncated;

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
	'of a relation behind a link: when it was agreed on with the hub there that there is no row; it goes with the retention';
COMMENT ON COLUMN syncext.replica.answers IS
	'of a relation behind a link: field: the row version of the hub''s record when it answered our edit of the field, of edits since the record last came; null: there were none, or no other source had changed the record';
COMMENT ON COLUMN syncext.replica.contested IS
	'of a relation behind a link: true where the hub''s last answer was that it has not, or not all, taken our edit, and its record has not come since';
COMMENT ON COLUMN syncext.replica.seen_version IS
	'of a field ladder: the version of the record as last delivered, or of an edit that was sent over a link since; the next edit''s is above it';
COMMENT ON COLUMN syncext.replica.seen_at IS 'and its time';
COMMENT ON COLUMN syncext.replica.counted IS
	'of a relation behind a link: what its edits have added to counters in all, as far as the hub has answered: {field: {run/first seq: [last seq, total]}}; a run is that of the server, by when it was started';
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
