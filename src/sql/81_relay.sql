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
