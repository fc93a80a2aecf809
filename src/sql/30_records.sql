-- The golden records, the change log and the conflict log.

CREATE TABLE syncext.canonical (
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	version     bigint NOT NULL,
	row_version bigint NOT NULL,
	last_source text COLLATE "C" NOT NULL,
	deleted     boolean NOT NULL DEFAULT false,
	updated_at  timestamptz,
	fields      jsonb NOT NULL,
	stamps      jsonb NOT NULL,
	life        jsonb,
	PRIMARY KEY (entity, external_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE syncext.canonical IS 'the golden records';
COMMENT ON COLUMN syncext.canonical.version IS 'the version that sources count';
COMMENT ON COLUMN syncext.canonical.row_version IS 'the ETag: 1 (above syncext.entity_floor, if that has the entity), then one more at every write that counts';
COMMENT ON COLUMN syncext.canonical.stamps IS
	'field: [version, source, rowVersion, setBy, updatedAt], where they differ from (version, last_source, row_version, last_source, updated_at); null: as that column; updatedAt, in microseconds since 2000-01-01 UTC, is left out where it is not known, and stands alone (or null) where nothing else differs; "rowVersion@updatedAt" or "rowVersion" where besides it rowVersion alone does';
COMMENT ON COLUMN syncext.canonical.life IS
	'of a field ladder: name: [version, updatedAt, source] of the greatest stamps: lived, died (a source with these two), cut, born or seen; null where there was no delete and no birth counts: it lived by (version, updated_at, last_source)';
SELECT pg_catalog.pg_extension_config_dump('syncext.canonical', '');

-- A key that is used again goes on above the row versions that receivers may have
-- of it.  A function that removes records raises the floor, in the same transaction or
-- before: a writer that does not find the record then finds the floor.
CREATE TABLE syncext.entity_floor (
	entity      text COLLATE "C" PRIMARY KEY,
	row_version bigint NOT NULL
);
COMMENT ON TABLE syncext.entity_floor IS
	'the highest row version of the records of an entity that are forgotten (tombstones past the retention, sync_forget); a new record begins above it';
SELECT pg_catalog.pg_extension_config_dump('syncext.entity_floor', '');

CREATE FUNCTION syncext.raise_floor(entity text, row_version bigint) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.entity_floor AS f (entity, row_version) VALUES ($1, $2)
	ON CONFLICT (entity) DO UPDATE SET row_version = excluded.row_version
	WHERE f.row_version < excluded.row_version
	$$;
COMMENT ON FUNCTION syncext.raise_floor(text, bigint) IS
	'let new records of the entity begin above the row version';
REVOKE ALL ON FUNCTION syncext.raise_floor(text, bigint) FROM PUBLIC;

-- Edited configuration comes into force when all transactions that may not know of it
-- have ended.
CREATE FUNCTION syncext.writers_done() RETURNS boolean
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_writers_done';
COMMENT ON FUNCTION syncext.writers_done() IS
	'waits, syncext.maintain_lock_timeout at most, for the transactions that are changing records now; false: one of them goes on';
REVOKE ALL ON FUNCTION syncext.writers_done() FROM PUBLIC;

CREATE SEQUENCE syncext.change_seq CACHE 1;
SELECT pg_catalog.pg_extension_config_dump('syncext.change_seq', '');

-- Four tables, used in turn, so that old rows go by TRUNCATE.  resolution and
-- told are one-byte codes, version is null where it is row_version, and of detail what
-- nearly every change has are columns, base and updated_at: the view change_log spells
-- them out.
CREATE TABLE syncext.change_log_0 (
	xid         xid8 NOT NULL,
	seq         bigint NOT NULL,
	recorded_at timestamptz NOT NULL,
	version     bigint,
	row_version bigint NOT NULL,
	base        bigint,
	updated_at  timestamptz,
	resolution  "char" NOT NULL,
	told        "char" NOT NULL,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	source      text COLLATE "C" NOT NULL,
	fields      jsonb NOT NULL,
	detail      jsonb
) WITH (autovacuum_enabled = true, autovacuum_vacuum_insert_scale_factor = 0.02);
CREATE TABLE syncext.change_log_1 (LIKE syncext.change_log_0 INCLUDING ALL)
	WITH (autovacuum_enabled = true, autovacuum_vacuum_insert_scale_factor = 0.02);
CREATE TABLE syncext.change_log_2 (LIKE syncext.change_log_0 INCLUDING ALL)
	WITH (autovacuum_enabled = true, autovacuum_vacuum_insert_scale_factor = 0.02);
CREATE TABLE syncext.change_log_3 (LIKE syncext.change_log_0 INCLUDING ALL)
	WITH (autovacuum_enabled = true, autovacuum_vacuum_insert_scale_factor = 0.02);
COMMENT ON TABLE syncext.change_log_0 IS 'a part of the change log; read the view syncext.change_log';
COMMENT ON TABLE syncext.change_log_1 IS 'a part of the change log; read the view syncext.change_log';
COMMENT ON TABLE syncext.change_log_2 IS 'a part of the change log; read the view syncext.change_log';
COMMENT ON TABLE syncext.change_log_3 IS 'a part of the change log; read the view syncext.change_log';
CREATE INDEX change_log_0_position ON syncext.change_log_0 (xid, seq);
CREATE INDEX change_log_1_position ON syncext.change_log_1 (xid, seq);
CREATE INDEX change_log_2_position ON syncext.change_log_2 (xid, seq);
CREATE INDEX change_log_3_position ON syncext.change_log_3 (xid, seq);
-- Where a record's rows are, for sync_history.  It takes two bytes of WAL a row, when VACUUM
-- summarizes what has come in since the last one; an index of the records takes eighty.
CREATE INDEX change_log_0_record ON syncext.change_log_0 USING brin
	(external_id pg_catalog.text_bloom_ops (n_distinct_per_range = 700, false_positive_rate = 0.001)) WITH (pages_per_range = 16);
CREATE INDEX change_log_1_record ON syncext.change_log_1 USING brin
	(external_id pg_catalog.text_bloom_ops (n_distinct_per_range = 700, false_positive_rate = 0.001)) WITH (pages_per_range = 16);
CREATE INDEX change_log_2_record ON syncext.change_log_2 USING brin
	(external_id pg_catalog.text_bloom_ops (n_distinct_per_range = 700, false_positive_rate = 0.001)) WITH (pages_per_range = 16);
CREATE INDEX change_log_3_record ON syncext.change_log_3 USING brin
	(external_id pg_catalog.text_bloom_ops (n_distinct_per_range = 700, false_positive_rate = 0.001)) WITH (pages_per_range = 16);
-- They have no key.  A publication for all tables would refuse what sync_forget
-- and a restore delete and update.
ALTER TABLE syncext.change_log_0 REPLICA IDENTITY FULL;
ALTER TABLE syncext.change_log_1 REPLICA IDENTITY FULL;
ALTER TABLE syncext.change_log_2 REPLICA IDENTITY FULL;
ALTER TABLE syncext.change_log_3 REPLICA IDENTITY FULL;
SELECT pg_catalog.pg_extension_config_dump('syncext.change_log_0', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.change_log_1', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.change_log_2', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.change_log_3', '');

CREATE FUNCTION syncext.is_own_column(relation text, name text) RETURNS boolean
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_is_own_column';
COMMENT ON FUNCTION syncext.is_own_column(text, text) IS
	'has the extension made a column of this name in its table? False: another role has added it; null: it is no table of the extension''s';

CREATE FUNCTION syncext.resolution_name(code "char") RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_resolution_name';
COMMENT ON FUNCTION syncext.resolution_name("char") IS 'the resolution that a one-byte code in the change log stands for';
CREATE FUNCTION syncext.told_name(code "char") RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_told_name';
COMMENT ON FUNCTION syncext.told_name("char") IS 'which sources were told, as a one-byte code in the change log says';

-- All parts of the change log as they are stored.  A condition on (xid, seq) reaches
-- the index of each.
CREATE VIEW syncext.log_row AS
	SELECT xid, seq, recorded_at, coalesce(version, row_version) AS version, row_version, base, updated_at, resolution, told, entity, external_id, source, fields, detail
	FROM syncext.change_log_0
	UNION ALL SELECT xid, seq, recorded_at, coalesce(version, row_version), row_version, base, updated_at, resolution, told, entity, external_id, source, fields, detail
	FROM syncext.change_log_1
	UNION ALL SELECT xid, seq, recorded_at, coalesce(version, row_version), row_version, base, updated_at, resolution, told, entity, external_id, source, fields, detail
	FROM syncext.change_log_2
	UNION ALL SELECT xid, seq, recorded_at, coalesce(version, row_version), row_version, base, updated_at, resolution, told, entity, external_id, source, fields, detail
	FROM syncext.change_log_3;
COMMENT ON VIEW syncext.log_row IS 'the change log as it is stored, resolution and told as one-byte codes, base and updated_at beside detail; read the view syncext.change_log';

CREATE FUNCTION syncext.is_told(told "char", own boolean) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	RETURN CASE told WHEN 'a' THEN true WHEN 'o' THEN NOT own WHEN 'r' THEN own ELSE false END;
COMMENT ON FUNCTION syncext.is_told("char", boolean) IS
	'whether a target hears of a row of the log, by its one-byte code and whether the change is the target''s own';

-- Rows can be edited by hand.
CREATE FUNCTION syncext.log_number(value jsonb) RETURNS bigint
	LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT CASE WHEN jsonb_typeof($1) = 'number' THEN least(greatest(trunc($1::numeric), 0), 4611686018427387903)::bigint END
	$$;
COMMENT ON FUNCTION syncext.log_number(jsonb) IS 'a row version, or another whole number, of the change log''s detail; null: it is none';
REVOKE ALL ON FUNCTION syncext.log_number(jsonb) FROM PUBLIC;

CREATE FUNCTION syncext.log_detail(detail jsonb, base bigint, updated_at timestamptz) RETURNS jsonb
	LANGUAGE c IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_log_detail';
COMMENT ON FUNCTION syncext.log_detail(jsonb, bigint, timestamptz) IS
	'the detail of a row of the change log with what is stored beside it, base and updatedAt; null: the row has none of the three';

CREATE VIEW syncext.change_log AS
	SELECT l.xid, l.seq, l.recorded_at, l.entity, l.external_id, l.source, l.version, l.row_version,
	       syncext.resolution_name(l.resolution) AS resolution, syncext.told_name(l.told) AS told,
	       l.fields, syncext.log_detail(l.detail, l.base, l.updated_at) AS detail
	FROM syncext.log_row l;
COMMENT ON VIEW syncext.change_log IS 'every change that was answered, but for 412, 400 and a NO_CHANGE that moves no stamp: what came in, how it was decided, which sources were told';

CREATE TABLE syncext.conflict_log (
	id                bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	status            text NOT NULL DEFAULT 'pending'
	                  CHECK (status IN ('pending', 'resolved', 'superseded', 'dismissed')),
	recorded_at       timestamptz NOT NULL DEFAULT now(),
	entity            text COLLATE "C" NOT NULL,
	external_id       text COLLATE "C" NOT NULL,
	source            text COLLATE "C" NOT NULL,
	version           bigint NOT NULL,
	row_version       bigint NOT NULL,
	contested         text[] NOT NULL,
	incoming          jsonb NOT NULL,
	incoming_deleted  boolean NOT NULL,
	incoming_detail   jsonb NOT NULL,
	canonical         jsonb NOT NULL,
	canonical_deleted boolean NOT NULL,
	canonical_source  text COLLATE "C" NOT NULL,
	reason            text NOT NULL,
	decision          text,
	decided_fields    jsonb,
	decided_by        text,
	decided_at        timestamptz,
	decided_seq       bigint,
	note              text,
	assigned_to       text
);
COMMENT ON TABLE syncext.conflict_log IS 'conflicts for manual review: both sides, the contested fields, which role decided and when';
COMMENT ON COLUMN syncext.conflict_log.contested IS 'the contested fields, {*} where it is the whole record';
COMMENT ON COLUMN syncext.conflict_log.assigned_to IS 'who is to decide it, as sync_assign said; null: any steward';
COMMENT ON COLUMN syncext.conflict_log.decided_seq IS 'the change log row that closed it';
-- Only pending rows are looked up by record, on every write: they stay few.
CREATE INDEX conflict_log_pending ON syncext.conflict_log (entity, external_id) WHERE status = 'pending';
SELECT pg_catalog.pg_extension_config_dump('syncext.conflict_log', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.conflict_log_id_seq', '');
