-- Both sides of a link: what a hub keeps of its spokes, and what is called to
-- make a link, to end it and to exchange changes over it.

-- At the hub.

CREATE TABLE syncext.spoke (
	source    text COLLATE "C" PRIMARY KEY REFERENCES syncext.source ON DELETE CASCADE,
	mark      uuid,
	linked_at timestamptz NOT NULL DEFAULT now(),
	batch     text COLLATE "C",
	parts     integer NOT NULL DEFAULT 0,
	pushed_at timestamptz,
	identity  jsonb,
	counter   bigint NOT NULL DEFAULT 0,
	epoch     bigint NOT NULL DEFAULT 0,
	refused   text,
	refused_at timestamptz,
	turned_at timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.spoke IS 'the databases that are linked to this hub, each as a source';
COMMENT ON COLUMN syncext.spoke.mark IS
	'the mark in the syncext.feed_origin of that database: no other one may be the source; null: it was let go, and the next one that comes is taken';
COMMENT ON COLUMN syncext.spoke.batch IS 'the last batch of changes that came from there, and in how many parts';
COMMENT ON COLUMN syncext.spoke.identity IS 'who it was when it last connected, as its syncext.identity() said';
COMMENT ON COLUMN syncext.spoke.counter IS 'the number of that batch: a database that hasn''t come so far has gone back in time, or is a copy';
COMMENT ON COLUMN syncext.spoke.epoch IS 'its epoch then: sessions that were opened in another one are over';
COMMENT ON COLUMN syncext.spoke.refused IS
	'what a database was that said it were this one: other; copy (by CREATE DATABASE … TEMPLATE); old primary; moved (or a copy, that has missed nothing); doubtful (restored elsewhere, or a copy)';
COMMENT ON COLUMN syncext.spoke.refused_at IS 'when that one last came';
COMMENT ON COLUMN syncext.spoke.turned_at IS 'when the linked one was last seen to have gone back in time, and began to get all records again';
SELECT pg_catalog.pg_extension_config_dump('syncext.spoke', '');

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
	source  text COLLATE "C" NOT NULL REFERENCES syncext.source ON DELETE CASCADE,
	part    integer NOT NULL,
	hashes  bytea NOT NULL,
	answers jsonb NOT NULL,
	PRIMARY KEY (source, part)
) WITH (fillfactor = 50);
COMMENT ON TABLE syncext.push IS
	'what was answered to the last batch of a spoke, so that it is told the same if it sends the batch again';
COMMENT ON COLUMN syncext.push.hashes IS 'of the changes, in the order of the answers';
SELECT pg_catalog.pg_extension_config_dump('syncext.push', '');

-- Every push writes these over; vacuum comes before they are much larger.
ALTER TABLE syncext.spoke SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
ALTER TABLE syncext.push SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

CREATE FUNCTION @extschema@.sync_push(source text, batch text, changes jsonb) RETURNS jsonb
	LANGUAGE c VOLATILE PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'sync_push';
COMMENT ON FUNCTION @extschema@.sync_push(text, text, jsonb) IS
	'what a link calls at the hub: apply a batch of changes, or a part of it, exactly once however often it is sent';

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
	               deleted boolean, fields jsonb, correction boolean, withheld text[], updated_at timestamptz)
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 500 AS 'MODULE_PATHNAME', 'syncext_hub_pull';
COMMENT ON FUNCTION syncext.hub_pull(text, integer, integer) IS
	'what a link calls at the hub: sync_pull, that tells which fields are kept back; others that don''t come the record doesn''t have';

CREATE FUNCTION syncext.hub_ack(source text, batch bigint, failed jsonb) RETURNS void
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_ack';
COMMENT ON FUNCTION syncext.hub_ack(text, bigint, jsonb) IS
	'what a link calls at the hub: sync_ack, for the batch that it pulled on the same connection';

CREATE FUNCTION syncext.hub_behind(source text) RETURNS bigint
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE AS 'MODULE_PATHNAME', 'syncext_hub_behind';
COMMENT ON FUNCTION syncext.hub_behind(text) IS
	'what a link calls at the hub: how many records there are for us still, those that failed and come again and dead letters among them; 100000 stands for more';

CREATE FUNCTION syncext.hub_compare(source text, entity text, known jsonb, since timestamptz, hub_behind boolean)
	RETURNS TABLE (external_id text, present boolean, deleted boolean, row_version bigint, base bigint, fields jsonb, stamps jsonb, withheld text[])
	LANGUAGE c VOLATILE STRICT PARALLEL UNSAFE ROWS 100 AS 'MODULE_PATHNAME', 'syncext_hub_compare';
COMMENT ON FUNCTION syncext.hub_compare(text, text, jsonb, timestamptz, boolean) IS
	'what a link calls at a hub that has gone back in time, or (hub_behind false) when the spoke has: of records, by id, whose row versions it knows it is told those of which the hub has lost any, and those whose row version comes negated, for it says nothing; base is the last row version that both have in common. since: when it last heard of the hub, by the hub''s clock';

CREATE FUNCTION syncext.release_spoke(source text) RETURNS void
	LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
	DELETE FROM syncext.push p WHERE p.source = $1;
	DELETE FROM syncext.spoke_table k WHERE k.source = $1;
	UPDATE syncext.spoke s SET mark = NULL, identity = NULL, epoch = 0, batch = NULL, parts = 0, refused = NULL, refused_at = NULL
	WHERE s.source = $1 AND s.mark IS NOT NULL;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'no database is linked to this hub as source "%"', source USING ERRCODE = 'undefined_object';
	END IF;
END $$;
COMMENT ON FUNCTION syncext.release_spoke(text) IS
	'let another database be linked to this hub as the source: the next one that comes gets all records; the one that was can''t exchange any more';
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
	'end a link: the tables keep their rows, and what has not been exchanged stays here';
REVOKE ALL ON FUNCTION @extschema@.sync_unlink(text) FROM PUBLIC;

CREATE PROCEDURE @extschema@.sync_exchange(link text, INOUT result jsonb DEFAULT NULL)
	LANGUAGE c AS 'MODULE_PATHNAME', 'sync_exchange';
COMMENT ON PROCEDURE @extschema@.sync_exchange(text, jsonb) IS
	'send what was captured to the hub behind the link and bring what it has for us, until there is no more; commits between its steps';
