-- The floor: tables shaped as the hub's canonical and change_log, for statements
-- that write one record and one queue row and decide nothing.
CREATE SCHEMA bare;
CREATE TABLE bare.canonical (
	entity text COLLATE "C" NOT NULL, external_id text COLLATE "C" NOT NULL,
	version bigint NOT NULL, row_version bigint NOT NULL, last_source text COLLATE "C" NOT NULL,
	deleted boolean NOT NULL, updated_at timestamptz, fields jsonb NOT NULL, stamps jsonb NOT NULL,
	PRIMARY KEY (entity, external_id)) WITH (fillfactor = 85);
CREATE SEQUENCE bare.change_seq;
CREATE TABLE bare.queue (
	xid xid8 NOT NULL, seq bigint NOT NULL, recorded_at timestamptz NOT NULL,
	version bigint NOT NULL, row_version bigint NOT NULL, resolution "char" NOT NULL, told "char" NOT NULL,
	entity text COLLATE "C" NOT NULL, external_id text COLLATE "C" NOT NULL,
	source text COLLATE "C" NOT NULL, fields jsonb NOT NULL, detail jsonb);
CREATE INDEX ON bare.queue (xid, seq);
