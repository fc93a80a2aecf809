-- A hub that is a spoke of another hub.

CREATE TABLE syncext.agreed (
	source      text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	row_version bigint NOT NULL,
	fields      jsonb,
	held        jsonb,
	contested   boolean,
	answers     jsonb,
	answered    bigint,
	PRIMARY KEY (source, entity, external_id)
) WITH (fillfactor = 85);
COMMENT ON TABLE syncext.agreed IS
	'what this hub and the one behind a link have agreed on, record by record; what differs from it has still to be sent';
COMMENT ON COLUMN syncext.agreed.source IS 'the link''s source: what stands here for the hub behind it';
COMMENT ON COLUMN syncext.agreed.row_version IS 'of the other hub''s record: what the next change sent there is based on';
COMMENT ON COLUMN syncext.agreed.fields IS 'as they were sent and answered, or came from there; null: that there is no record';
COMMENT ON COLUMN syncext.agreed.held IS 'field: the row version it last came at, of those that the other hub keeps back: what the next change of it is based on';
COMMENT ON COLUMN syncext.agreed.contested IS
	'true where the other hub''s last answer was that it has not, or not all, taken what was sent, or that others had changed the record, and its record has not come since';
COMMENT ON COLUMN syncext.agreed.answers IS
	'field: the row version of the other hub''s record when it answered what was sent of the field, since the record last came from there; null: nothing was sent, or no other source had changed the record';
COMMENT ON COLUMN syncext.agreed.answered IS
	'the row version of the other hub''s record when it last took what was sent of it, beside which others may have written what has not come yet; null: nothing was sent';
SELECT pg_catalog.pg_extension_config_dump('syncext.agreed', '');

-- What was agreed on outlasts that a link is ended and made again to the same hub.
CREATE TABLE syncext.unlinked (
	source      text COLLATE "C" PRIMARY KEY REFERENCES syncext.source ON DELETE CASCADE,
	identity    jsonb,
	relay       boolean NOT NULL,
	heard_at    timestamptz,
	epoch       bigint NOT NULL DEFAULT 0,
	unlinked_at timestamptz NOT NULL DEFAULT pg_catalog.now()
);
COMMENT ON TABLE syncext.unlinked IS
	'sources whose link was ended: what was agreed on with the hub stands in syncext.agreed, for when they are linked to it again';
COMMENT ON COLUMN syncext.unlinked.source IS 'the source';
COMMENT ON COLUMN syncext.unlinked.identity IS 'the identity of the hub, as its syncext.identity() said; null: it was let go, and the next one is taken';
COMMENT ON COLUMN syncext.unlinked.relay IS 'whether the link was a relay';
COMMENT ON COLUMN syncext.unlinked.heard_at IS 'when the last batch came or was answered, by the hub''s clock, or what was agreed on when a comparison began that is not over';
COMMENT ON COLUMN syncext.unlinked.epoch IS 'the epoch of the hub that the row versions are of; 0: not known';
COMMENT ON COLUMN syncext.unlinked.unlinked_at IS 'when it was ended';
SELECT pg_catalog.pg_extension_config_dump('syncext.unlinked', '');

CREATE FUNCTION syncext.note_unlinked(source text) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.unlinked AS u (source, identity, relay, heard_at, epoch)
	SELECT l.source, p.identity, l.relay, coalesce(p.resync_since, p.heard_at),
	       CASE WHEN p.resync_since IS NULL AND p.identity IS NOT NULL
	            THEN coalesce(syncext.log_number(p.identity->'epoch'), 0) ELSE p.met_epoch END
	FROM syncext.link l
	JOIN syncext.peer p ON p.link = l.name
	WHERE l.source = $1
	ON CONFLICT ON CONSTRAINT unlinked_pkey DO UPDATE
	SET identity = excluded.identity, relay = excluded.relay, heard_at = excluded.heard_at, epoch = excluded.epoch, unlinked_at = now()
	$$;
COMMENT ON FUNCTION syncext.note_unlinked(text) IS 'before a link is ended: note who its hub is';
REVOKE ALL ON FUNCTION syncext.note_unlinked(text) FROM PUBLIC;

-- A hub that has gone back in time is compared with what was agreed on of the tables that
-- are attached.  What is kept of others is compared when they are attached again.
CREATE TABLE syncext.uncompared (
	source text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity text COLLATE "C" NOT NULL,
	since  timestamptz NOT NULL,
	epoch  bigint NOT NULL,
	PRIMARY KEY (source, entity)
);
COMMENT ON TABLE syncext.uncompared IS
	'entities of which what was agreed on is of another time of the hub than the present one: it is compared once a table is attached to it';
COMMENT ON COLUMN syncext.uncompared.source IS 'the source that is linked, or was';
COMMENT ON COLUMN syncext.uncompared.since IS 'when the hub was last heard of then, by its clock';
COMMENT ON COLUMN syncext.uncompared.epoch IS 'the epoch of the hub that the row versions are of; 0: not known';
SELECT pg_catalog.pg_extension_config_dump('syncext.uncompared', '');

CREATE FUNCTION syncext.note_uncompared(link text) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.uncompared AS u (source, entity, since, epoch)
	SELECT l.source, k.entity, p.resync_since, p.met_epoch
	FROM syncext.link l
	JOIN syncext.peer p ON p.link = l.name
	CROSS JOIN LATERAL (SELECT d.entity FROM syncext.detached d WHERE d.source = l.source
	                    UNION SELECT a.entity FROM syncext.agreed a WHERE a.source = l.source) k
	WHERE l.name = $1 AND NOT l.relay AND p.resync_since IS NOT NULL
	  AND NOT EXISTS (SELECT FROM syncext.binding b WHERE b.source = l.source AND b.entity = k.entity)
	ON CONFLICT ON CONSTRAINT uncompared_pkey DO UPDATE SET since = least(u.since, excluded.since)
	$$;
COMMENT ON FUNCTION syncext.note_uncompared(text) IS
	'when the tables of a link have been compared with its hub: note what is kept of others, which is still to be';
REVOKE ALL ON FUNCTION syncext.note_uncompared(text) FROM PUBLIC;

CREATE FUNCTION syncext.compare_attached(source text, entity text) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.uncompared AS u (source, entity, since, epoch)
	SELECT l.source, $2, p.resync_since, p.met_epoch
	FROM syncext.link l
	JOIN syncext.peer p ON p.link = l.name
	WHERE l.source = $1 AND NOT l.relay AND p.resync_since IS NOT NULL
	ON CONFLICT ON CONSTRAINT uncompared_pkey DO UPDATE SET since = least(u.since, excluded.since);
	UPDATE syncext.peer p SET resync_entity = NULL, resync_id = NULL
	FROM syncext.link l
	WHERE l.source = $1 AND p.link = l.name AND p.resync_entity IS NOT NULL
	  AND EXISTS (SELECT FROM syncext.uncompared u WHERE u.source = $1 AND u.entity = $2)
	$$;
COMMENT ON FUNCTION syncext.compare_attached(text, text) IS
	'after a table was attached: the comparison with the hub that is under way is to come to it, too';
REVOKE ALL ON FUNCTION syncext.compare_attached(text, text) FROM PUBLIC;

-- Relations of linked sources, those among them that are detached for now.
CREATE VIEW syncext.linked_relation AS
	SELECT b.relation, b.source, b.entity FROM syncext.binding b
	UNION ALL
	SELECT d.relation, d.source, d.entity FROM syncext.detached d
	WHERE NOT EXISTS (SELECT FROM syncext.binding b WHERE b.source = d.source AND b.entity = d.entity);
COMMENT ON VIEW syncext.linked_relation IS 'relations, and those that were detached from a linked source, with what is known of their rows';

CREATE FUNCTION syncext.keep_agreed(relation regclass) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.agreed AS a (source, entity, external_id, row_version, fields, held, contested, answers, answered)
	SELECT b.source, b.entity, r.external_id, r.row_version, r.fields, r.held, r.contested, r.answers, r.answered
	FROM syncext.replica r
	JOIN syncext.linked_relation b ON b.relation = r.relation
	WHERE r.relation = $1
	ON CONFLICT ON CONSTRAINT agreed_pkey DO UPDATE
	SET row_version = excluded.row_version, fields = excluded.fields, held = excluded.held,
	    contested = excluded.contested, answers = excluded.answers, answered = excluded.answered
	$$;
COMMENT ON FUNCTION syncext.keep_agreed(regclass) IS
	'before a link is ended: keep what was agreed on of a relation''s rows, for when it is made again';
REVOKE ALL ON FUNCTION syncext.keep_agreed(regclass) FROM PUBLIC;

-- Edits that the hub had not answered when its link was ended stand nowhere else.
CREATE TABLE syncext.unsent (
	source      text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	relation    regclass,
	deleted     boolean NOT NULL,
	elsewhere   boolean NOT NULL DEFAULT false,
	noted_at    timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (source, entity, external_id)
);
COMMENT ON TABLE syncext.unsent IS
	'rows with edits that the hub had not answered when the link of their source was ended: they are sent when it is linked to that hub again';
COMMENT ON COLUMN syncext.unsent.source IS 'the source';
COMMENT ON COLUMN syncext.unsent.relation IS 'the relation that has the row, or had it; null: none was known any more';
COMMENT ON COLUMN syncext.unsent.deleted IS 'the row was deleted';
COMMENT ON COLUMN syncext.unsent.elsewhere IS 'the source was linked to another hub since, to which they say nothing';
COMMENT ON COLUMN syncext.unsent.noted_at IS 'when the link was ended';
SELECT pg_catalog.pg_extension_config_dump('syncext.unsent', '');

CREATE FUNCTION syncext.note_unsent(source text) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.unsent AS s (source, entity, external_id, relation, deleted)
	SELECT $1, u.entity, u.external_id, b.relation, (array_agg(u.deleted ORDER BY u.seq DESC))[1]
	FROM syncext.unanswered_edits($1) u
	LEFT JOIN syncext.linked_relation b ON b.source = $1 AND b.entity = u.entity
	GROUP BY u.entity, u.external_id, b.relation
	ON CONFLICT ON CONSTRAINT unsent_pkey DO UPDATE
	SET relation = excluded.relation, deleted = excluded.deleted, elsewhere = false, noted_at = excluded.noted_at
	$$;
COMMENT ON FUNCTION syncext.note_unsent(text) IS
	'before a link is ended: note which rows have edits that its hub has not answered';
REVOKE ALL ON FUNCTION syncext.note_unsent(text) FROM PUBLIC;

CREATE FUNCTION syncext.take_unsent(source text, entity text, external_id text, noted_by timestamptz) RETURNS SETOF text
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	DELETE FROM syncext.unsent u
	WHERE u.source = $1 AND ($2 IS NULL OR u.entity = $2) AND ($3 IS NULL OR u.external_id = $3) AND u.noted_at <= $4
	RETURNING jsonb_build_array(u.entity, u.external_id)::text
	$$;
COMMENT ON FUNCTION syncext.take_unsent(text, text, text, timestamptz) IS
	'give up edits that were not sent when a link was ended; returns [entity, external id] of each';
REVOKE ALL ON FUNCTION syncext.take_unsent(text, text, text, timestamptz) FROM PUBLIC;

-- Nobody has watched the relation meanwhile: a row that differs is an edit.  A row that
-- is missing was deleted only where that was captured.
CREATE FUNCTION syncext.recall_agreed(relation regclass) RETURNS void
	LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
	AS $$
	BEGIN
		WITH kept AS (
			DELETE FROM syncext.agreed a USING syncext.binding b
			WHERE b.relation = $1 AND a.source = b.source AND a.entity = b.entity
			RETURNING a.*
		)
		INSERT INTO syncext.replica (relation, external_id, row_version, fields, held, contested, answers, answered, gone_at)
		SELECT $1, k.external_id, k.row_version, k.fields, k.held, k.contested, k.answers, k.answered,
		       CASE WHEN k.fields IS NULL THEN now() END
		FROM kept k
		ON CONFLICT DO NOTHING;
		IF FOUND THEN
			UPDATE syncext.binding b SET resumed = nextval('syncext.change_seq') WHERE b.relation = $1;
		END IF;
		WITH owed AS (
			DELETE FROM syncext.unsent u USING syncext.binding b
			WHERE b.relation = $1 AND u.source = b.source AND u.entity = b.entity AND NOT u.elsewhere
			  AND (u.deleted OR u.relation = $1)
			RETURNING u.external_id
		)
		INSERT INTO syncext.capture_failure AS f (relation, external_id, since, attempts, next_attempt, error)
		SELECT $1, o.external_id, now(), 0, now(), 'it had not been sent when its link was ended'
		FROM owed o
		ON CONFLICT ON CONSTRAINT capture_failure_pkey DO UPDATE SET next_attempt = excluded.next_attempt, dead_since = NULL;
	END $$;
COMMENT ON FUNCTION syncext.recall_agreed(regclass) IS
	'after a link was made again: have back what was agreed on of a relation''s rows, and which edits have still to be sent';
REVOKE ALL ON FUNCTION syncext.recall_agreed(regclass) FROM PUBLIC;

-- While a source isn't linked, edits of its relations are decided here.  Linked again, the
-- hub decides of them, as of any edit that it hasn't answered yet.
CREATE FUNCTION syncext.is_only_of(last_source text, stamps jsonb, source text) RETURNS boolean
	LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp
	AS $$
	-- a stamp without a source is the last one's
	SELECT $1 = $3 AND NOT EXISTS (SELECT FROM jsonb_each($2) s WHERE s.value->>3 <> $3)
	$$;
COMMENT ON FUNCTION syncext.is_only_of(text, jsonb, text) IS
	'has a golden record been written by this source alone?';
REVOKE ALL ON FUNCTION syncext.is_only_of(text, jsonb, text) FROM PUBLIC;

CREATE FUNCTION syncext.has_only_own(source text, entity text) RETURNS boolean
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT EXISTS (SELECT FROM syncext.unlinked u WHERE u.source = $1 AND NOT u.relay)
	   AND NOT EXISTS (SELECT FROM syncext.canonical r
	                   WHERE r.entity = $2 AND NOT syncext.is_only_of(r.last_source, r.stamps, $1))
	   AND NOT EXISTS (SELECT FROM syncext.pending p WHERE p.entity = $2 AND p.target <> $1)
	   AND NOT EXISTS (SELECT FROM syncext.conflict_log c WHERE c.entity = $2 AND c.status = 'pending')
	   AND NOT EXISTS (SELECT FROM syncext.waiting w WHERE w.entity = $2)
	$$;
COMMENT ON FUNCTION syncext.has_only_own(text, text) IS
	'was the source linked before, and are the entity''s records here its own alone, with nothing that is still to be decided';
REVOKE ALL ON FUNCTION syncext.has_only_own(text, text) FROM PUBLIC;

-- A record that another source writes meanwhile stays, and linking is refused because of it:
-- so what is removed is looked at by the statement that removes it.
-- The rows stand in capture_failure until the hub has answered: the first exchange captures
-- what they differ in from what was agreed on, those that were deleted among them.
CREATE FUNCTION syncext.hand_over(source text, entity text, relation regclass) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	WITH gone AS (
		DELETE FROM syncext.canonical r
		WHERE r.entity = $2 AND syncext.is_only_of(r.last_source, r.stamps, $1)
		RETURNING r.external_id, r.row_version
	), noted AS (
		INSERT INTO syncext.capture_failure AS f (relation, external_id, since, attempts, next_attempt, error)
		SELECT $3, g.external_id, now(), 0, now(), 'it was edited while its source was not linked'
		FROM gone g
		ON CONFLICT ON CONSTRAINT capture_failure_pkey DO UPDATE SET next_attempt = excluded.next_attempt, dead_since = NULL
	)
	SELECT syncext.raise_floor($2, max(g.row_version)) FROM gone g HAVING count(*) > 0;
	DELETE FROM syncext.child c WHERE c.entity = $2;
	DELETE FROM syncext.routed r WHERE r.entity = $2;
	DELETE FROM syncext.pending p WHERE p.entity = $2;
	$$;
COMMENT ON FUNCTION syncext.hand_over(text, text, regclass) IS
	'let the hub of a source that is linked again decide of the records that were edited meanwhile';
REVOKE ALL ON FUNCTION syncext.hand_over(text, text, regclass) FROM PUBLIC;
