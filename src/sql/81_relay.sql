-- A hub that is a spoke of another hub.

CREATE TABLE syncext.agreed (
	source      text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	row_version bigint NOT NULL,
	fields      jsonb,
	held        jsonb,
	contested   boolean,
	PRIMARY KEY (source, entity, external_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE syncext.agreed IS
	'what this hub and the one behind a link have agreed on, record by record; what differs from it has still to be sent';
COMMENT ON COLUMN syncext.agreed.source IS 'the link''s source: what stands here for the hub behind it';
COMMENT ON COLUMN syncext.agreed.row_version IS 'of the other hub''s record: what the next change sent there is based on';
COMMENT ON COLUMN syncext.agreed.fields IS 'as they were sent and answered, or came from there; null: that there is no record';
COMMENT ON COLUMN syncext.agreed.held IS 'field: the row version it last came at, of those that the other hub keeps back: what the next change of it is based on';
COMMENT ON COLUMN syncext.agreed.contested IS
	'true where the other hub''s last answer was that it has not, or not all, taken what was sent, and its record has not come since';
SELECT pg_catalog.pg_extension_config_dump('syncext.agreed', '');

-- What was agreed on outlasts that a link is ended and made again to the same hub.
CREATE TABLE syncext.unlinked (
	source      text COLLATE "C" PRIMARY KEY REFERENCES syncext.source ON DELETE CASCADE,
	identity    jsonb NOT NULL,
	relay       boolean NOT NULL,
	heard_at    timestamptz,
	unlinked_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE syncext.unlinked IS
	'sources whose link was ended: what was agreed on with the hub stands in syncext.agreed, for when they are linked to it again';
COMMENT ON COLUMN syncext.unlinked.source IS 'the source';
COMMENT ON COLUMN syncext.unlinked.identity IS 'who the hub was, as its syncext.identity() said';
COMMENT ON COLUMN syncext.unlinked.relay IS 'whether the link was a relay';
COMMENT ON COLUMN syncext.unlinked.heard_at IS 'when the last batch came or was answered, by the hub''s clock';
COMMENT ON COLUMN syncext.unlinked.unlinked_at IS 'when it was ended';
SELECT pg_catalog.pg_extension_config_dump('syncext.unlinked', '');
