-- Changes that bear an id of their own, so that one that is sent again is known.

CREATE TABLE syncext.change_id (
	source      text COLLATE "C" NOT NULL,
	change_id   text COLLATE "C" NOT NULL,
	digest      bytea NOT NULL,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	answer      jsonb,
	answered_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (source, change_id)
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.change_id IS
	'how changes with a changeId were answered: one that is sent again is answered from here; removed when it is older than syncext.retention';
COMMENT ON COLUMN syncext.change_id.digest IS 'SHA-256 of what the document says: the same id stands for no other one';
COMMENT ON COLUMN syncext.change_id.answer IS 'the answer that was given; null: the transaction that applies it goes on';
CREATE INDEX change_id_answered ON syncext.change_id (answered_at);
SELECT pg_catalog.pg_extension_config_dump('syncext.change_id', '');
