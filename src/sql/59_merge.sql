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
	undo_note    text,
	stands       jsonb NOT NULL DEFAULT '{}',
	conflicts    jsonb NOT NULL DEFAULT '{}'
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
COMMENT ON COLUMN syncext.merge.conflicts IS 'the conflicts of the record that went which waited then, and are about the one that stayed since: number: the row version in which each arose';
COMMENT ON COLUMN syncext.merge.stands IS 'of the fields that got another value by it, those that a later merge had changed, and that stand as they did since this was undone: field: row version';
CREATE INDEX merge_keep ON syncext.merge (entity, keep_id);
CREATE INDEX merge_drop ON syncext.merge (entity, drop_id);

CREATE TABLE syncext.merge_key (
	merge     bigint NOT NULL REFERENCES syncext.merge ON DELETE CASCADE,
	source    text COLLATE "C" NOT NULL,
	source_id text COLLATE "C" NOT NULL,
	duplicate boolean NOT NULL,
	second    boolean NOT NULL,
	PRIMARY KEY (merge, source, source_id)
);
COMMENT ON TABLE syncext.merge_key IS 'the keys that a merge has moved to the record that stayed';
COMMENT ON COLUMN syncext.merge_key.merge IS 'the merge''s number';
COMMENT ON COLUMN syncext.merge_key.source IS 'the source whose key it is';
COMMENT ON COLUMN syncext.merge_key.source_id IS 'the source''s own key';
COMMENT ON COLUMN syncext.merge_key.duplicate IS 'what it was before: deliveries did not go to it';
COMMENT ON COLUMN syncext.merge_key.second IS 'the source had a key of the record that stayed, which deliveries go to since';

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
	merge       bigint NOT NULL REFERENCES syncext.merge,
	PRIMARY KEY (entity, external_id)
);
COMMENT ON TABLE syncext.alias IS
	'external ids of records that were merged into others, for good: what comes under them is of the record that stayed';
COMMENT ON COLUMN syncext.alias.external_id IS 'the external id of a record that went';
COMMENT ON COLUMN syncext.alias.kept_id IS 'that of the record which it is a part of by now, however many merges it took';
COMMENT ON COLUMN syncext.alias.merge IS 'the merge by which it went';
CREATE INDEX alias_kept ON syncext.alias (entity, kept_id);
CREATE INDEX alias_merge ON syncext.alias (merge);

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

-- Both records are held, and are as they were.
CREATE FUNCTION syncext.note_merge(entity text, keep text, "drop" text, merged_by text, note text, row_version bigint,
                                   taken jsonb, undecided jsonb, settled boolean) RETURNS bigint
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	merge bigint;
BEGIN
	INSERT INTO syncext.merge (entity, keep_id, drop_id, merged_by, note, row_version, taken, undecided, keep_before, drop_before, settled_at)
	SELECT $1, $2, $3, $4, $5, $6, ARRAY(SELECT jsonb_array_elements_text($7->'names')), ARRAY(SELECT jsonb_array_elements_text($8->'names')),
	       to_jsonb(k), to_jsonb(d), CASE WHEN settled THEN now() END
	FROM syncext.canonical k, syncext.canonical d
	WHERE k.entity = $1 AND k.external_id = $2 AND d.entity = $1 AND d.external_id = $3
	RETURNING id INTO STRICT merge;
	RETURN merge;
END $$;
COMMENT ON FUNCTION syncext.note_merge(text, text, text, text, text, bigint, jsonb, jsonb, boolean) IS
	'keep what two records are before they are merged; the merge''s number';
REVOKE ALL ON FUNCTION syncext.note_merge(text, text, text, text, text, bigint, jsonb, jsonb, boolean) FROM PUBLIC;

-- A link's other end goes by external ids.
CREATE FUNCTION syncext.knows_by_key(source text, entity text, external_id text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (SELECT FROM syncext.source_key k WHERE k.entity = $2 AND k.external_id = $3 AND k.source = $1 AND NOT k.duplicate)
	       AND NOT EXISTS (SELECT FROM syncext.spoke p WHERE p.source = $1)
	$$;
COMMENT ON FUNCTION syncext.knows_by_key(text, text, text) IS 'whether deliveries of a record go to a source under a key of its own';
REVOKE ALL ON FUNCTION syncext.knows_by_key(text, text, text) FROM PUBLIC;

-- What named the one record names the other.
CREATE FUNCTION syncext.merge_names(merge bigint) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	m     syncext.merge;
	c     syncext.match_candidate;
	other text;
BEGIN
	SELECT * INTO STRICT m FROM syncext.merge o WHERE o.id = $1;
	-- of a link's other end its keys are known here, but it says itself what they are of
	INSERT INTO syncext.merge_key (merge, source, source_id, duplicate, second)
	SELECT $1, k.source, k.source_id, k.duplicate,
	       EXISTS (SELECT FROM syncext.source_key o WHERE o.entity = m.entity AND o.external_id = m.keep_id AND o.source = k.source AND NOT o.duplicate)
	FROM syncext.source_key k
	WHERE k.entity = m.entity AND k.external_id = m.drop_id AND NOT EXISTS (SELECT FROM syncext.spoke p WHERE p.source = k.source);
	-- under a duplicate the source has what it had before the merge that made it one; where it is just being told
	-- that the record is gone, it has deleted that, whatever the key is of
	UPDATE syncext.source_key k SET external_id = m.keep_id,
		merge = CASE WHEN k.duplicate AND k.merge IS NOT NULL THEN k.merge ELSE $1 END,
		duplicate = k.duplicate OR n.second
	FROM syncext.merge_key n
	WHERE n.merge = $1 AND k.source = n.source AND k.entity = m.entity AND k.source_id = n.source_id;

	-- a source with a filter has what it knows by its key; that it had the other record goes when that is found to be gone
	INSERT INTO syncext.routed (target, entity, external_id, own)
	SELECT r.target, r.entity, m.keep_id, r.own FROM syncext.routed r
	WHERE r.entity = m.entity AND r.external_id = m.drop_id AND syncext.knows_by_key(r.target, m.entity, m.keep_id)
	ON CONFLICT DO NOTHING;

	-- a row of a table that draws its keys is the other record's by now, of which it has seen nothing yet
	DELETE FROM syncext.replica r USING syncext.binding b
	WHERE b.own_keys AND b.entity = m.entity AND r.relation = b.relation AND r.external_id = m.drop_id
	  AND EXISTS (SELECT FROM syncext.replica o WHERE o.relation = r.relation AND o.external_id = m.keep_id);
	UPDATE syncext.replica r SET external_id = m.keep_id, row_version = 0 FROM syncext.binding b
	WHERE b.own_keys AND b.entity = m.entity AND r.relation = b.relation AND r.external_id = m.drop_id;
	-- and so is what it owes the hub; a second row of a source owes it still, see local/resend
	UPDATE syncext.capture_failure f SET external_id = m.keep_id FROM syncext.binding b
	WHERE b.own_keys AND b.entity = m.entity AND f.relation = b.relation AND f.external_id = m.drop_id
	  AND EXISTS (SELECT FROM syncext.merge_key n WHERE n.merge = $1 AND n.source = b.source AND NOT n.duplicate AND NOT n.second)
	  AND NOT EXISTS (SELECT FROM syncext.capture_failure o WHERE o.relation = f.relation AND o.external_id = m.keep_id);

	IF EXISTS (SELECT FROM syncext.entity e WHERE e.name = m.entity AND NOT e.merged) THEN
		UPDATE syncext.entity e SET merged = true WHERE e.name = m.entity;
	END IF;
	UPDATE syncext.alias a SET kept_id = m.keep_id WHERE a.entity = m.entity AND a.kept_id = m.drop_id;
	INSERT INTO syncext.alias (entity, external_id, kept_id, merge) VALUES (m.entity, m.drop_id, m.keep_id, $1);
	IF m.settled_at IS NULL THEN
		INSERT INTO syncext.repoint (entity) VALUES (m.entity) ON CONFLICT DO NOTHING;
	END IF;

	UPDATE syncext.match_candidate o
	SET status = 'merged', decided_by = m.merged_by, decided_at = m.merged_at, note = coalesce(m.note, o.note)
	WHERE o.entity = m.entity AND o.external_id = least(m.keep_id, m.drop_id) AND o.other_id = greatest(m.keep_id, m.drop_id);
	-- what was said of the one is said of the other
	FOR c IN SELECT * FROM syncext.match_candidate o
	         WHERE o.entity = m.entity AND m.drop_id IN (o.external_id, o.other_id) AND o.status <> 'merged' ORDER BY o.id LOOP
		other := CASE WHEN c.external_id = m.drop_id THEN c.other_id ELSE c.external_id END;
		IF c.status = 'distinct' THEN
			DELETE FROM syncext.match_candidate o WHERE o.entity = m.entity AND o.status = 'pending'
			  AND o.external_id = least(m.keep_id, other) AND o.other_id = greatest(m.keep_id, other);
		END IF;
		IF EXISTS (SELECT FROM syncext.match_candidate o WHERE o.entity = m.entity
		           AND o.external_id = least(m.keep_id, other) AND o.other_id = greatest(m.keep_id, other)) THEN
			DELETE FROM syncext.match_candidate o WHERE o.id = c.id;
		ELSE
			UPDATE syncext.match_candidate o SET external_id = least(m.keep_id, other), other_id = greatest(m.keep_id, other) WHERE o.id = c.id;
		END IF;
	END LOOP;

	-- that the record be deleted is settled; all else is about the one that stays
	UPDATE syncext.conflict_log l
	SET status = 'superseded', decided_by = m.merged_by, decided_at = m.merged_at, note = format('merge %s', $1)
	WHERE l.status = 'pending' AND l.entity = m.entity AND l.external_id = m.drop_id AND l.incoming_deleted;
	UPDATE syncext.merge o SET conflicts = w.waiting
	FROM (SELECT jsonb_object_agg(l.id, l.row_version) AS waiting FROM syncext.conflict_log l
	      WHERE l.status = 'pending' AND l.entity = m.entity AND l.external_id = m.drop_id) w
	WHERE o.id = $1 AND w.waiting IS NOT NULL;
	UPDATE syncext.conflict_log l SET external_id = m.keep_id, row_version = m.row_version
	WHERE l.status = 'pending' AND l.entity = m.entity AND l.external_id = m.drop_id;
END $$;
COMMENT ON FUNCTION syncext.merge_names(bigint) IS
	'let keys, aliases, candidates and conflicts of the record that a merge has dropped be of the one that stays';
REVOKE ALL ON FUNCTION syncext.merge_names(bigint) FROM PUBLIC;

-- Two keys of a source can't have gone with one record, unless deliveries went to one of them alone.
CREATE FUNCTION syncext.brought_another(merge bigint, source text, source_id text, kept text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
	SELECT EXISTS (SELECT FROM syncext.merge_key b
	               JOIN syncext.merge m ON m.id = b.merge
	               JOIN syncext.source_key k ON k.source = b.source AND k.entity = m.entity AND k.source_id = b.source_id AND k.external_id = $4
	               WHERE b.merge = $1 AND b.source = $2 AND b.source_id <> $3 AND NOT b.duplicate AND k.merge IS NOT NULL)
	$$;
COMMENT ON FUNCTION syncext.brought_another(bigint, text, text, text) IS
	'whether the record that went by a merge had another key of a source, which is the kept one''s still';
REVOKE ALL ON FUNCTION syncext.brought_another(bigint, text, text, text) FROM PUBLIC;

-- As if it had been said before the merges that have made the record a part of another; note: it is bound, and
-- so they take it back when they are undone.
CREATE FUNCTION syncext.key_by_alias(source text, entity text, source_id text, external_id text, note boolean) RETURNS boolean
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	at       bigint;
	kept     text;
	further  bigint;
	brought  bigint;
	another  boolean;
	is_other boolean := false;
BEGIN
	SELECT a.merge, a.kept_id INTO at, kept FROM syncext.alias a WHERE a.entity = $2 AND a.external_id = $4;
	IF syncext.brought_another(at, source, source_id, kept) THEN
		RETURN NULL;
	END IF;
	WHILE at IS NOT NULL LOOP
		-- what was merged further was merged later: rows that were edited by hand lead in no circle
		further := (SELECT a.merge FROM syncext.merge m JOIN syncext.alias a ON a.entity = m.entity AND a.external_id = m.keep_id AND a.merge > m.id WHERE m.id = at);
		another := CASE WHEN further IS NOT NULL THEN syncext.brought_another(further, source, source_id, kept)
		                ELSE EXISTS (SELECT FROM syncext.source_key k
		                             WHERE k.entity = $2 AND k.external_id = kept AND k.source = $1 AND k.source_id <> $3 AND NOT k.duplicate) END;
		IF note THEN
			INSERT INTO syncext.merge_key (merge, source, source_id, duplicate, second) VALUES (at, $1, $3, is_other, another) ON CONFLICT DO NOTHING;
		END IF;
		brought := CASE WHEN is_other THEN brought ELSE at END;
		is_other := is_other OR another;
		at := further;
	END LOOP;
	IF note THEN
		UPDATE syncext.source_key k SET merge = brought WHERE k.source = $1 AND k.entity = $2 AND k.source_id = $3;
	END IF;
	RETURN is_other;
END $$;
COMMENT ON FUNCTION syncext.key_by_alias(text, text, text, text, boolean) IS
	'whether a key that a source says of a record which was merged into another is a duplicate; null: that record had another key of the source. note: it is bound, and merges that are undone take it back';
REVOKE ALL ON FUNCTION syncext.key_by_alias(text, text, text, text, boolean) FROM PUBLIC;

-- Others may have been merged since the walk began: for these it begins again.
CREATE FUNCTION syncext.repoint_end(entity text) RETURNS SETOF text
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	RETURN QUERY
	UPDATE syncext.merge m SET settled_at = now() FROM syncext.repoint p
	WHERE p.entity = $1 AND m.entity = p.entity AND m.id <= p.upto AND m.settled_at IS NULL AND m.undone_at IS NULL
	RETURNING m.drop_id;
	DELETE FROM syncext.repoint p
	WHERE p.entity = $1 AND NOT EXISTS (SELECT FROM syncext.merge m WHERE m.entity = $1 AND m.settled_at IS NULL AND m.undone_at IS NULL);
	UPDATE syncext.repoint p SET upto = NULL, child_entity = NULL, after_id = NULL WHERE p.entity = $1;
END $$;
COMMENT ON FUNCTION syncext.repoint_end(text) IS
	'nothing refers to records of the entity that were merged when the walk began: their external ids, of which sources are to be told that they are gone';
REVOKE ALL ON FUNCTION syncext.repoint_end(text) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_merge(entity text, keep text, "drop" text, note text DEFAULT NULL) RETURNS bigint
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_merge';
COMMENT ON FUNCTION @extschema@.sync_merge(text, text, text, text) IS
	'make two records of an entity one: the keys of the second become keys of the first, fields that it lacks are taken over, and the second stays its alias; returns the merge''s number';
