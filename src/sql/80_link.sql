-- Links to hubs on other servers, that decide the entities of the relations
-- that are attached to the link's source.

CREATE TABLE syncext.link (
	name       text COLLATE "C" PRIMARY KEY CHECK (name <> '' AND octet_length(name) <= 63),
	server     text COLLATE "C" NOT NULL,
	source     text COLLATE "C" NOT NULL UNIQUE REFERENCES syncext.source,
	owner      regrole NOT NULL DEFAULT current_user::regrole,
	enabled    boolean NOT NULL DEFAULT true,
	hub        uuid,
	worker_pid integer,
	added_at   timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE syncext.link IS 'hubs on other servers; sync_link and sync_unlink write it';
COMMENT ON COLUMN syncext.link.server IS 'the foreign server that says where the hub is, its user mapping who we are there';
COMMENT ON COLUMN syncext.link.source IS 'the source that stands here for the hub, and that we are there';
COMMENT ON COLUMN syncext.link.owner IS 'who made the link: its worker runs as this role';
COMMENT ON COLUMN syncext.link.enabled IS 'false: its worker rests';
COMMENT ON COLUMN syncext.link.hub IS 'the mark in the hub''s syncext.feed_origin, when it was linked';
COMMENT ON COLUMN syncext.link.worker_pid IS 'the process of its worker, if one runs';
SELECT pg_catalog.pg_extension_config_dump('syncext.link', '');
CREATE TRIGGER registry_changed AFTER INSERT OR UPDATE OR DELETE ON syncext.link
	FOR EACH ROW EXECUTE FUNCTION syncext.registry_changed();
CREATE TRIGGER registry_truncated AFTER TRUNCATE ON syncext.link
	FOR EACH STATEMENT EXECUTE FUNCTION syncext.registry_changed();
ALTER TABLE syncext.link ENABLE ALWAYS TRIGGER registry_changed;
ALTER TABLE syncext.link ENABLE ALWAYS TRIGGER registry_truncated;

CREATE TABLE syncext.link_state (
	link             text COLLATE "C" PRIMARY KEY
	                 REFERENCES syncext.link ON DELETE CASCADE ON UPDATE CASCADE,
	last_exchange_at timestamptz,
	last_push_at     timestamptz,
	last_pull_at     timestamptz,
	pushed           bigint NOT NULL DEFAULT 0,
	pulled           bigint NOT NULL DEFAULT 0,
	failures         integer NOT NULL DEFAULT 0,
	last_error       text,
	last_error_at    timestamptz,
	next_attempt     timestamptz,
	hub_behind       bigint
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.link_state IS 'how each link fares';
COMMENT ON COLUMN syncext.link_state.failures IS 'exchanges that failed one after the other';
COMMENT ON COLUMN syncext.link_state.hub_behind IS 'how many records the hub still had for us, as it last said';
SELECT pg_catalog.pg_extension_config_dump('syncext.link_state', '');
