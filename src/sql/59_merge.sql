-- Merging: two records that were found to be one.

CREATE TABLE syncext.merge (
	id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	entity       text COLLATE "C" NOT NULL,
	keep_id      text COLLATE "C" NOT NULL,
	drop_id      text COLLATE "C" NOT NULL,
	merged_at    timestamptz NOT NULL DEFAULT now(),
	merged_by    text COLLATE "C" NOT NULL DEFAULT CURRENT_USER,
	note         text,
	row_version  bigint NOT NULL,
	taken        text[] NOT NULL DEFAULT '{}',
	undecided    text[] NOT NULL DEFAULT '{}',
	keep_before  jsonb NOT NULL,
	drop_before  jsonb NOT NULL,
	settled_at   timestamptz,
	undone_at    timestamptz,
	undone_by    text COLLATE "C",
	undo_note    text
);
COMMENT ON TABLE syncext.merge IS
	'records that were merged, with what both were before; sync_merge writes it, sync_forget of either record erases it';
COMMENT ON COLUMN syncext.merge.keep_id IS 'the external id of the record that stayed';
COMMENT ON COLUMN syncext.merge.drop_id IS 'the external id of the record that became part of it';
COMMENT ON COLUMN syncext.merge.merged_at IS 'when they were merged';
COMMENT ON COLUMN syncext.merge.merged_by IS 'the role that merged them';
COMMENT ON COLUMN syncext.merge.note IS 'what the steward noted';
COMMENT ON COLUMN syncext.merge.row_version IS 'the row version that the record which stayed got by it; what has a stamp of this row version was not changed since';
COMMENT ON COLUMN syncext.merge.taken IS 'the fields that got another value by it';
COMMENT ON COLUMN syncext.merge.undecided IS 'the fields that the two disagreed on, where neither rule nor rank decided: the record that stayed kept its value';
COMMENT ON COLUMN syncext.merge.keep_before IS 'the row of syncext.canonical of the record that stayed, as it was';
COMMENT ON COLUMN syncext.merge.drop_before IS 'that of the other';
COMMENT ON COLUMN syncext.merge.settled_at IS 'when all that referred to the record that went referred to the other, and sources were told that it is gone; null: CALL sync_maintain() is at it';
COMMENT ON COLUMN syncext.merge.undone_at IS 'when it was undone; null: it stands';
COMMENT ON COLUMN syncext.merge.undone_by IS 'the role that undid it';
COMMENT ON COLUMN syncext.merge.undo_note IS 'what was noted then';
CREATE INDEX merge_keep ON syncext.merge (entity, keep_id);
CREATE INDEX merge_drop ON syncext.merge (entity, drop_id);

CREATE TABLE syncext.merge_key (
	merge     bigint NOT NULL REFERENCES syncext.merge ON DELETE CASCADE,
	source    text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL,
	duplicate boolean NOT NULL,
	PRIMARY KEY (merge, source, source_id)
);
COMMENT ON TABLE syncext.merge_key IS 'the keys that a merge has moved to the record that stayed';
COMMENT ON COLUMN syncext.merge_key.merge IS 'the merge''s number';
COMMENT ON COLUMN syncext.merge_key.source IS 'the source whose key it is';
COMMENT ON COLUMN syncext.merge_key.source_id IS 'the source''s own key';
COMMENT ON COLUMN syncext.merge_key.duplicate IS 'what it was before: deliveries did not go to it';

CREATE TABLE syncext.merge_child (
	merge       bigint NOT NULL REFERENCES syncext.merge ON DELETE CASCADE,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	field       text COLLATE "C" NOT NULL,
	row_version bigint NOT NULL,
	PRIMARY KEY (merge, entity, external_id, field)
);
COMMENT ON TABLE syncext.merge_child IS 'the records that referred to the one that went, and refer to the one that stayed since';
COMMENT ON COLUMN syncext.merge_child.merge IS 'the merge''s number';
COMMENT ON COLUMN syncext.merge_child.row_version IS 'the row version that the record got by it';
CREATE INDEX merge_child_record ON syncext.merge_child (entity, external_id);

CREATE TABLE syncext.alias (
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	kept_id     text COLLATE "C" NOT NULL CHECK (kept_id <> external_id),
	merge       bigint NOT NULL,
	PRIMARY KEY (entity, external_id)
);
COMMENT ON TABLE syncext.alias IS
	'external ids of records that were merged into others, for good: what comes under them is of the record that stayed';
COMMENT ON COLUMN syncext.alias.external_id IS 'the external id of a record that went';
COMMENT ON COLUMN syncext.alias.kept_id IS 'that of the record which it is a part of by now, however many merges it took';
COMMENT ON COLUMN syncext.alias.merge IS 'the merge by which it went';
CREATE INDEX alias_kept ON syncext.alias (entity, kept_id);

-- In a restored database the walk begins anew.
CREATE TABLE syncext.repoint (
	entity       text COLLATE "C" PRIMARY KEY,
	upto         bigint,
	child_entity text COLLATE "C",
	after_id     text COLLATE "C",
	since        timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE syncext.repoint IS
	'entities of which records were merged that others may refer to: CALL sync_maintain() walks these, portion by portion';
COMMENT ON COLUMN syncext.repoint.upto IS 'the last merge that the walk is for; null: it has not begun, for a transaction may go on that does not know of it';
COMMENT ON COLUMN syncext.repoint.child_entity IS 'the entity whose records it is at';
COMMENT ON COLUMN syncext.repoint.after_id IS 'the last of these that it has looked at';
COMMENT ON COLUMN syncext.repoint.since IS 'since when it is due';

SELECT pg_catalog.pg_extension_config_dump('syncext.merge', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.merge_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.merge_key', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.merge_child', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.alias', '');
SELECT pg_catalog.pg_extension_config_dump('syncext.repoint', '');
