-- Both sides of a link: what a hub keeps of its spokes, and what is called to
-- make a link, to end it and to exchange changes over it.

-- At the hub.

CREATE TABLE syncext.spoke (
	source    text COLLATE "C" PRIMARY KEY REFERENCES syncext.source ON DELETE CASCADE,
	mark      uuid,
	linked_at timestamptz NOT NULL DEFAULT now(),
	batch     text COLLATE "C",
	pushed_at timestamptz,
	identity  jsonb,
	counter   bigint NOT NULL DEFAULT 0,
	epoch     bigint NOT NULL DEFAULT 0,
	refused   text,
	refused_at timestamptz,
	turned_at timestamptz,
	met       bigint,
	-- edited by hand to anything else, it would stop the link with an error that says nothing of it
	past      jsonb CHECK (pg_catalog.jsonb_typeof(past) = 'object' AND NOT pg_catalog.jsonb_path_exists(past,
	          '$.keyvalue() ? (!(@.key like_regex "^[0-9]{1,18}$") || @.value.type() != "array" || @.value[*].type() != "number")')),
	behind    integer NOT NULL DEFAULT 0,
	behind_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.spoke IS 'the databases that are linked to this hub, each as a source';
COMMENT ON COLUMN syncext.spoke.mark IS
	'the mark in the syncext.feed_origin of that database: no other one may be the source; null: it was let go, and the next one that comes is taken';
COMMENT ON COLUMN syncext.spoke.batch IS 'the last batch of changes that came from there';
COMMENT ON COLUMN syncext.spoke.identity IS 'its identity when it last connected, as its syncext.identity() said';
COMMENT ON COLUMN syncext.spoke.counter IS 'the number of that batch: a database that has not come so far has gone back in time, or is a copy';
COMMENT ON COLUMN syncext.spoke.epoch IS 'its epoch then: sessions that were opened in another one are over';
COMMENT ON COLUMN syncext.spoke.refused IS
	'what a database was that said it were this one: other; copy (by CREATE DATABASE … TEMPLATE); old primary; moved (or a copy, that has missed nothing); doubtful (restored elsewhere, or a copy)';
COMMENT ON COLUMN syncext.spoke.refused_at IS 'when that one last came';
COMMENT ON COLUMN syncext.spoke.turned_at IS 'when the linked one was last seen to have gone back in time, and began to get all records again';
COMMENT ON COLUMN syncext.spoke.met IS 'the epoch of the feed here in which it last connected';
COMMENT ON COLUMN syncext.spoke.past IS
	'earlier epochs in which it had connected: [counter, batch that it was last served] when each was over; by that it is found out what a database has seen of a time that this one has lost';
COMMENT ON COLUMN syncext.spoke.behind IS
	'how often, with less than a day in between, its word alone has told that this database had gone back in time; after ten times it is not believed until a day has passed';
COMMENT ON COLUMN syncext.spoke.behind_at IS 'when it last has: the epoch began then';
SELECT pg_catalog.pg_extension_config_dump('syncext.spoke', '');

CREATE FUNCTION syncext.note_spoke(source text, mark text, identity jsonb, epoch bigint) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	INSERT INTO syncext.spoke AS s (source, mark, identity, epoch, met)
	SELECT $1, $2::uuid, $3, $4, o.epoch
	FROM syncext.feed_origin o
	ON CONFLICT ON CONSTRAINT spoke_pkey DO UPDATE
	SET mark = excluded.mark, identity = excluded.identity, epoch = excluded.epoch,
	    met = coalesce(s.met, excluded.met),
	    linked_at = CASE WHEN s.mark IS NULL THEN now() ELSE s.linked_at END
	$$;
COMMENT ON FUNCTION syncext.note_spoke(text, text, jsonb, bigint) IS 'note which database a source is, as it connects';
REVOKE ALL ON FUNCTION syncext.note_spoke(text, text, jsonb, bigint) FROM PUBLIC;

CREATE FUNCTION syncext.meet_epoch(source text, max_past integer) RETURNS void
	LANGUAGE sql SET search_path = pg_catalog, pg_temp
	AS $$
	UPDATE syncext.spoke s
	SET met = o.epoch,
	    past = (SELECT jsonb_object_agg(k.key, k.value)
	            FROM (SELECT e.key, e.value
	                  FROM jsonb_each(coalesce(s.past, '{}') || jsonb_build_object(s.met::text, jsonb_build_array(s.counter,
	                       coalesce((SELECT c.batch FROM syncext.cursor c WHERE c.target = s.source AND c.slot = 0), 0)))) e
	                  ORDER BY e.key::bigint DESC LIMIT $2) k)
	FROM syncext.feed_origin o
	WHERE s.source = $1 AND s.met <> o.epoch
	$$;
COMMENT ON FUNCTION syncext.meet_epoch(text, integer) IS
	'where the epoch that a linked database had met is over, note at which numbers that ended, and of the last epochs alone; it has met the present one';
REVOKE ALL ON FUNCTION syncext.meet_epoch(text, integer) FROM PUBLIC;

CREATE FUNCTION syncext.epoch_after(source text, epoch bigint) RETURNS bigint
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT coalesce(min(e.number), 0)
	FROM (SELECT jsonb_object_keys(s.past)::bigint AS number FROM syncext.spoke s WHERE s.source = $1
	      UNION ALL SELECT s.met FROM syncext.spoke s WHERE s.source = $1
	      UNION ALL SELECT o.epoch FROM syncext.feed_origin o) e
	WHERE e.number > $2
	$$;
COMMENT ON FUNCTION syncext.epoch_after(text, bigint) IS
	'the first epoch after another one, of those of the feed here that a linked database has met and the present one; 0: none';
REVOKE ALL ON FUNCTION syncext.epoch_after(text, bigint) FROM PUBLIC;

CREATE TABLE syncext.spoke_table (
	source   text COLLATE "C" NOT NULL REFERENCES syncext.spoke ON DELETE CASCADE,
	entity   text COLLATE "C" NOT NULL REFERENCES syncext.entity ON DELETE CASCADE,
	attached text NOT NULL,
	PRIMARY KEY (source, entity)
);
COMMENT ON TABLE syncext.spoke_table IS
	'the entities that a linked database has tables for: of one that is new, or was attached again, it gets all records';
COMMENT ON COLUMN syncext.spoke_table.attached IS 'what tells the table from one that was attached before: it is that database''s to choose';
SELECT pg_catalog.pg_extension_config_dump('syncext.spoke_table', '');

CREATE TABLE syncext.push (
	source  text COLLATE "C" PRIMARY KEY REFERENCES syncext.source ON DELETE CASCADE,
	hashes  bytea NOT NULL,
	answers jsonb NOT NULL
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.push IS
	'what was answered to the last batch of a spoke, so that it is told the same if it sends the batch again';
COMMENT ON COLUMN syncext.push.hashes IS 'of the changes, in the order of the answers';
SELECT pg_catalog.pg_extension_config_dump('syncext.push', '');

CREATE TABLE syncext.counted (
	source      text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	entity      text COLLATE "C" NOT NULL,
	external_id text COLLATE "C" NOT NULL,
	counts      jsonb NOT NULL,
	PRIMARY KEY (source, entity, external_id)
) WITH (fillfactor = 70);
COMMENT ON TABLE syncext.counted IS
	'what the tables of spokes have added to the counters of records in all, so that what is sent again is added once';
COMMENT ON COLUMN syncext.counted.counts IS
	'{field: {run/first seq: [last seq, total]}}, as the spoke''s syncext.replica.counted';
SELECT pg_catalog.pg_extension_config_dump('syncext.counted', '');

CREATE FUNCTION syncext.erased_id(external_id text) RETURNS text
	LANGUAGE c IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'syncext_erased_id';
COMMENT ON FUNCTION syncext.erased_id(text) IS
	'under what name syncext.counted keeps the totals of a record that was erased: a hash of its id, after a character that begins no other';
REVOKE ALL ON FUNCTION syncext.erased_id(text) FROM PUBLIC;

-- Every push writes these over; vacuum comes before they are much larger.
ALTER TABLE syncext.spoke SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE syncext.push SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION @extschema@.sync_push(source text, batch text, changes jsonb) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_push';
COMMENT ON FUNCTION @extschema@.sync_push(text, text, jsonb) IS
	'what a link calls at the hub: apply a batch of changes, exactly once however often it is sent';

-- A spoke has told its tables.  While it had none for an entity, it was served none of
-- its records, or had no place for them: it gets all of them, parents first.  One that
-- was never served anything gets all of them anyway.
CREATE FUNCTION syncext.hub_note_tables(source text, tables jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
	new record;
BEGIN
	DELETE FROM syncext.spoke_table k WHERE k.source = $1 AND NOT $2 ? k.entity;
	FOR new IN
		WITH RECURSIVE below(entity, depth) AS (
			SELECT e.name, 0 FROM syncext.entity e
			UNION
			SELECT f.entity, b.depth + 1 FROM below b
			JOIN syncext.reference f ON f.parent = b.entity
			WHERE f.entity <> f.parent AND b.depth < 32
		)
		SELECT t.entity, t.attached, max(b.depth) AS depth
		FROM jsonb_each_text($2) t(entity, attached)
		JOIN below b ON b.entity = t.entity
		WHERE NOT EXISTS (SELECT FROM syncext.spoke_table k
		                  WHERE k.source = $1 AND k.entity = t.entity AND k.attached = t.attached)
		GROUP BY 1, 2
		ORDER BY 3, 1
	LOOP
		INSERT INTO syncext.spoke_table VALUES ($1, new.entity, new.attached)
		ON CONFLICT ON CONSTRAINT spoke_table_pkey DO UPDATE SET attached = excluded.attached;
		IF EXISTS (SELECT FROM syncext.cursor c WHERE c.target = $1 AND c.batch > 0)
		   AND (SELECT s.entities IS NULL OR new.entity = ANY (s.entities) FROM syncext.source s WHERE s.name = $1) THEN
			PERFORM syncext.cursor_resync($1, new.entity);
		END IF;
	END LOOP;
END $$;
COMMENT ON FUNCTION syncext.hub_note_tables(text, jsonb) IS
	'keep which entities a linked database has tables for, and let it walk through the records of those that are new';
REVOKE ALL ON FUNCTION syncext.hub_note_tables(text, jsonb) FROM PUBLIC;

CREATE FUNCTION syncext.hub_hello(source text, spoke jsonb) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_hello';
COMMENT ON FUNCTION syncext.hub_hello(text, jsonb) IS
	'what a link calls first at the hub: may we be this source, who are you, and has either of us gone back in time?';

CREATE FUNCTION syncext.hub_pull(source text, max_records integer, max_bytes integer DEFAULT 0)
	RETURNS TABLE (batch bigint, entity text, external_id text, version bigint, row_version bigint,
	               deleted boolean, fields jsonb, correction boolean, withheld text[], updated_at timestamptz,
	               state jsonb, counted jsonb, merged_from text[])
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 500 AS 'MODULE_PATHNAME', 'syncext_hub_pull';
COMMENT ON FUNCTION syncext.hub_pull(text, integer, integer) IS
	'what a link calls at the hub: sync_pull, that tells which fields are kept back; others that do not come the record does not have. state: of a field ladder, what another hub has to know to join the record with its own. counted: which totals of the source''s counters are in the record. merged_from: which records have become a part of it of whose rows the link has told the keys';

CREATE FUNCTION syncext.hub_ack(source text, batch bigint, failed jsonb) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_ack';
COMMENT ON FUNCTION syncext.hub_ack(text, bigint, jsonb) IS
	'what a link calls at the hub: sync_ack, for the batch that it pulled on the same connection';

CREATE FUNCTION syncext.hub_behind(source text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_behind';
COMMENT ON FUNCTION syncext.hub_behind(text) IS
	'what a link calls at the hub: how many records there are for us still, those that failed and come again and dead letters among them; 100000 stands for more';

-- What its tables draw a spoke tells, so that its records are found by that here.
CREATE FUNCTION syncext.hub_keys(source text, keys jsonb) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_keys';
COMMENT ON FUNCTION syncext.hub_keys(text, jsonb) IS
	'what a link calls at the hub: the keys that its tables have drawn, as they are now: an array of {"entity", "sourceId", "externalId", "ended"}';

CREATE FUNCTION syncext.greatest_keys(source text) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT coalesce(jsonb_object_agg(g.entity, g.key), '{}')
	FROM (SELECT k.entity, max(CASE WHEN k.source_id ~ '^[0-9]{1,18}$' THEN k.source_id::bigint END) AS key
	      FROM syncext.source_key k WHERE k.source = $1 GROUP BY k.entity) g
	WHERE g.key IS NOT NULL
	$$;
COMMENT ON FUNCTION syncext.greatest_keys(text) IS 'the greatest of a source''s own keys that are numbers, by entity';
REVOKE ALL ON FUNCTION syncext.greatest_keys(text) FROM PUBLIC;

CREATE FUNCTION syncext.hub_greatest_keys(source text) RETURNS jsonb
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_greatest_keys';
COMMENT ON FUNCTION syncext.hub_greatest_keys(text) IS
	'what a link calls at the hub: the greatest keys that its tables have drawn, by entity, for their sequences to go on from there';

-- A spoke that has met this hub in an epoch compares what it knows of records.  What was
-- written here since is unknown to it, but for what other spokes that have met the same
-- epoch have sent again: that has the row versions of then.  So of each record
-- [the last row version before the first write that is unknown, null if there is none;
-- the highest one that was sent again].  When the spoke last heard of the hub is known
-- by two clocks, and may be told too early by the time that a message takes.  What came
-- from its own source in an epoch that goes on it knows, up to the row version it has seen.  A record that was made anew has nothing in
-- common with the one that the spoke knew.
CREATE FUNCTION syncext.news_of(entity text, ids jsonb, since timestamptz, epoch bigint, writes text, birth "char", source text) RETURNS jsonb
	LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
	AS $$
	SELECT jsonb_object_agg(n.external_id, jsonb_build_array(n.before, n.recovered))
	FROM (SELECT w.external_id, max(w.recovered) FILTER (WHERE w.known) AS recovered,
	             (array_agg(CASE WHEN w.recovered IS NOT NULL THEN coalesce(w.base, 0)
	                             WHEN w.resolution = $6 THEN 0 ELSE w.row_version - 1 END ORDER BY w.seq) FILTER (WHERE NOT w.known))[1] AS before
	      FROM (SELECT l.external_id, l.seq, l.row_version, l.resolution, s.recovered, s.base,
	                   s.recovered IS NOT NULL AND s.epoch = $4 AND $4 > 0
	                   OR l.source = $7 AND coalesce(l.row_version <= CASE WHEN jsonb_typeof($2->l.external_id) = 'number' THEN abs(($2->>l.external_id)::numeric) END, false)
	                      AND EXISTS (SELECT FROM syncext.feed_origin o WHERE o.epoch = $4) AS known
	            FROM syncext.log_row l
	            CROSS JOIN LATERAL (SELECT syncext.log_number(l.detail->'recovered') AS recovered, l.base,
	                                       syncext.log_number(l.detail->'recoveredEpoch') AS epoch) s
	            WHERE l.entity = $1 AND l.recorded_at > $3 AND strpos($5, l.resolution::text) > 0
	              AND l.external_id IN (SELECT jsonb_object_keys($2))) w
	      GROUP BY w.external_id) n
	$$;
COMMENT ON FUNCTION syncext.news_of(text, jsonb, timestamptz, bigint, text, "char", text) IS
	'what was written to records since a spoke last heard of the hub, as hub_compare needs it';
REVOKE ALL ON FUNCTION syncext.news_of(text, jsonb, timestamptz, bigint, text, "char", text) FROM PUBLIC;

CREATE FUNCTION syncext.hub_compare(source text, entity text, known jsonb, since timestamptz, hub_behind boolean, epoch bigint DEFAULT 0, lost jsonb DEFAULT '[]')
	RETURNS TABLE (external_id text, present boolean, deleted boolean, row_version bigint, base bigint, fields jsonb, stamps jsonb, withheld text[], recovered boolean)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'syncext_hub_compare';
COMMENT ON FUNCTION syncext.hub_compare(text, text, jsonb, timestamptz, boolean, bigint, jsonb) IS
	'what a link calls at a hub that has gone back in time, or (hub_behind false) when the spoke has: of records, by id, whose row versions it knows it is told those of which the hub has lost any, and those whose row version comes negated, for it says nothing; base is the last row version that both have in common. since: when it last heard of the hub, by the hub''s clock; epoch: the hub''s then. lost: changes that are made first, if the hub has written nothing of its own since, and that give records the row versions that they had; recovered tells that such changes are all that the hub has written since';

CREATE FUNCTION syncext.release_spoke(source text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM syncext.push p WHERE p.source = $1;
	DELETE FROM syncext.spoke_table k WHERE k.source = $1;
	UPDATE syncext.spoke s SET mark = NULL, identity = NULL, epoch = 0, batch = NULL, refused = NULL, refused_at = NULL
	WHERE s.source = $1 AND s.mark IS NOT NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no database is linked to this hub as source "%"', source USING ERRCODE = 'undefined_object';
	END IF;
END $$;
COMMENT ON FUNCTION syncext.release_spoke(text) IS
	'let another database be linked to this hub as the source: the next one that comes gets all records; the one that was cannot exchange any more';
REVOKE ALL ON FUNCTION syncext.release_spoke(text) FROM PUBLIC;

-- At the spoke.

CREATE FUNCTION @extschema@.sync_link(name text, server name, source text, relay boolean DEFAULT false) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_link';
COMMENT ON FUNCTION @extschema@.sync_link(text, name, text, boolean) IS
	'link this database, as a source, to the hub that the foreign server leads to: the entities of the source''s tables are decided there; with relay this hub is a spoke as a whole, and no table is attached to the source';
REVOKE ALL ON FUNCTION @extschema@.sync_link(text, name, text, boolean) FROM PUBLIC;

CREATE FUNCTION @extschema@.sync_unlink(name text) RETURNS void
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_unlink';
COMMENT ON FUNCTION @extschema@.sync_unlink(text) IS
	'end a link: the tables keep their rows, and what has not been sent is kept for when the source is linked to that hub again';
REVOKE ALL ON FUNCTION @extschema@.sync_unlink(text) FROM PUBLIC;

CREATE PROCEDURE @extschema@.sync_exchange(link text, INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'sync_exchange';
COMMENT ON PROCEDURE @extschema@.sync_exchange(text, jsonb) IS
	'send what was captured to the hub behind the link and bring what it has for us, until there is no more; commits between its steps';
