-- Parallel consumers of one source: slots.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2);
SELECT sync_add_entity('order');

CREATE FUNCTION changes(version int, first int, last int) RETURNS bigint LANGUAGE sql AS
	$$ SELECT count(change('CRM', 'record', 'R' || i, version, jsonb_build_object('n', version))) FROM generate_series(first, last) i $$;
CREATE FUNCTION pull(slot int, slots int, max int DEFAULT 500) RETURNS TABLE (batch bigint, records text) LANGUAGE sql AS $$
	SELECT batch, string_agg(external_id || ':' || row_version, ' ') FROM sync_pull('ERP', max, slot, slots) GROUP BY 1
$$;
-- What the source has, of what it pulled and acknowledged alone.
CREATE TABLE copy (entity text, id text, rv bigint, slot int, times int DEFAULT 1, PRIMARY KEY (entity, id));
CREATE FUNCTION take(this_slot int, of_slots int, max int DEFAULT 500) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	this_batch bigint;
	n bigint;
BEGIN
	CREATE TEMP TABLE got ON COMMIT DROP AS SELECT * FROM sync_pull('ERP', max, this_slot, of_slots);
	SELECT min(batch), count(*) INTO this_batch, n FROM got;
	INSERT INTO copy SELECT entity, external_id, row_version, this_slot FROM got
		ON CONFLICT (entity, id) DO UPDATE SET slot = excluded.slot, times = copy.times + 1,
			rv = CASE WHEN excluded.rv < copy.rv THEN -1 ELSE excluded.rv END;
	IF n > 0 THEN
		PERFORM sync_ack('ERP', this_batch, '[]', this_slot);
	END IF;
	DROP TABLE got;
	RETURN n;
END $$;
-- Everything that is left, a slot after the other.
CREATE FUNCTION take_all(of_slots int, max int DEFAULT 500) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	total bigint := 0;
	n bigint;
BEGIN
	FOR slot IN 0 .. of_slots - 1 LOOP
		LOOP
			n := take(slot, of_slots, max);
			EXIT WHEN n = 0;
			total := total + n;
		END LOOP;
	END LOOP;
	RETURN total;
END $$;
CREATE VIEW difference AS
	SELECT coalesce(c.external_id, p.id) AS id, c.row_version, p.rv
	FROM syncext.canonical c FULL JOIN copy p ON p.entity = c.entity AND p.id = c.external_id
	WHERE c.row_version IS DISTINCT FROM p.rv;
-- Pulls and takes all slots, but for some records.
CREATE FUNCTION fail(failing text[], of_slots int) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	this_batch bigint;
	failed jsonb;
	total bigint := 0;
BEGIN
	FOR this_slot IN 0 .. of_slots - 1 LOOP
		CREATE TEMP TABLE got ON COMMIT DROP AS SELECT * FROM sync_pull('ERP', 500, this_slot, of_slots);
		UPDATE copy SET rv = row_version, slot = this_slot FROM got g WHERE g.entity = copy.entity AND external_id = id AND id <> ALL (failing);
		SELECT min(g.batch), coalesce(jsonb_agg(jsonb_build_object('externalId', external_id, 'error', 'no')) FILTER (WHERE external_id = ANY (failing)), '[]')
		INTO this_batch, failed FROM got g;
		PERFORM sync_ack('ERP', this_batch, failed, this_slot);
		total := total + jsonb_array_length(failed);
		DROP TABLE got;
	END LOOP;
	RETURN total;
END $$;

-- A record belongs to one slot, always the same.
SELECT syncext.record_slot('record', 'R' || i, 3), count(*) > 60 FROM generate_series(1, 300) i GROUP BY 1 ORDER BY 1;
SELECT syncext.record_slot('record', 'R1', 1), syncext.record_slot('record', 'R1', 3) = syncext.record_slot('record', 'R1', 3) AS same,
       syncext.record_slot('a', 'bc', 256) <> syncext.record_slot('ab', 'c', 256) AS differ;
SELECT syncext.record_slot('record', 'R1', 0);

-- Three consumers: each gets its own, and together everything once.
SELECT changes(1, 1, 30), change('CRM', 'order', 'O1', 1, '{"n": 1}');
SELECT slot, slots FROM syncext.cursor WHERE target = 'ERP';
SELECT count(*) AS records, count(*) FILTER (WHERE syncext.record_slot(entity, external_id, 3) <> 0) AS others FROM sync_pull('ERP', 500, 0, 3);
SELECT count(*) AS records, count(*) FILTER (WHERE syncext.record_slot(entity, external_id, 3) <> 1) AS others FROM sync_pull('ERP', 500, 1, 3);
SELECT slot, slots, batch, lease_until > now() AS leased FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
-- the view: what is out, and what isn't yet
SELECT state, batch, syncext.record_slot(entity, external_id, 3) AS slot, count(*) > 0 AS any FROM syncext.outbound_change WHERE target = 'ERP' GROUP BY 1, 2, 3 ORDER BY 3;
SELECT changes FROM syncext.feed_lag WHERE source = 'ERP';
-- a batch is its slot's
SELECT sync_ack('ERP', 1);
SELECT sync_ack('ERP', 4);
SELECT sync_ack('ERP', 3, '[]', 1);
SELECT sync_ack('ERP', 4, '[]', 2);
SELECT sync_ack('ERP', 99, '[]', 1);
-- each lease is its own: slot 0 goes on while slot 1 has a batch out
SELECT take(0, 3) > 0 AS first, take(0, 3) AS then;
SELECT slot, batch, lease_until IS NOT NULL AS leased FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
SELECT DISTINCT batch FROM sync_pull('ERP', 500, 1, 3);
SELECT take(1, 3) > 0 AS second, take(2, 3) > 0 AS third, take_all(3) AS rest;
SELECT * FROM difference;
SELECT max(times), count(DISTINCT slot) FROM copy;
SELECT count(*) FROM copy WHERE slot <> syncext.record_slot(entity, id, 3);
-- in pages, with changes going on
SELECT changes(2, 1, 30);
SELECT take(0, 3, 2), take(1, 3, 2), take(2, 3, 2);
SELECT changes(3, 5, 15);
SELECT take(0, 3, 2), take(1, 3, 2), take(2, 3, 2);
SELECT take_all(3, 4) > 0 AS rest;
SELECT * FROM difference;

-- Changing the number of slots, not while a batch is out.
SELECT changes(4, 1, 30);
SELECT count(*) > 0 AS any FROM pull(1, 3);
SELECT * FROM pull(0, 2);
SELECT * FROM pull(3, 4);
SELECT * FROM sync_pull('ERP');
SELECT sync_ack('ERP', batch, '[]', 1) FROM syncext.cursor WHERE target = 'ERP' AND slot = 1;
-- one had its part, the others nothing yet: it comes twice, nothing is lost
SELECT count(*) > 0 AS any FROM pull(3, 4);
SELECT slot, slots FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
-- the old numbers are void
SELECT sync_ack('ERP', batch - 4, '[]', 3) FROM syncext.cursor WHERE target = 'ERP' AND slot = 3;
SELECT take_all(4) > 0 AS rest;
SELECT * FROM difference;
-- fewer; a lease that has ended holds up nobody
SELECT changes(5, 1, 30);
SELECT take(0, 4) > 0 AS one, take(2, 4) > 0 AS three, count(*) > 0 AS two_is_out FROM pull(1, 4);
SELECT leases_end();
SELECT take(1, 2) > 0 AS any;
SELECT slot, slots FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
SELECT take_all(2) > 0 AS rest;
SELECT * FROM difference;
SELECT take_all(2), changes(6, 1, 3);
SELECT take_all(1) AS by_one;
SELECT count(*) AS cursors FROM syncext.cursor WHERE target = 'ERP';
SELECT * FROM difference;
-- by whom is far ahead, and whom is behind, with a window open in the middle
SELECT take_all(3) AS nothing;
SELECT changes(7, 1, 30);
SELECT take(2, 3, 3) AS page;
SELECT changes(8, 1, 10);
SELECT (SELECT sum(take(0, 3)) FROM generate_series(1, 3)) > 0 AS ahead;
SELECT count(DISTINCT lo) AS places FROM syncext.cursor WHERE target = 'ERP';
SELECT take_all(5) > 0 AS rest;
SELECT * FROM difference;
-- a change of slots that is rolled back was none
BEGIN;
SELECT changes(9, 1, 5);
COMMIT;
BEGIN;
SELECT count(*) > 0 AS any FROM pull(0, 2);
ROLLBACK;
SELECT count(*) AS cursors FROM syncext.cursor WHERE target = 'ERP';
SELECT take_all(5);
SELECT * FROM difference;

-- An idle slot writes nothing.
BEGIN;
SELECT * FROM pull(4, 5);
SELECT * FROM pull(2, 5);
SELECT pg_current_xact_id_if_assigned() IS NULL AS wrote_nothing;
COMMIT;

-- Retries and dead letters are their record's slot's, whatever the number of slots.
SELECT changes(10, 1, 30);
SELECT fail('{R1,R2,R3}', 5), take_all(5) AS rest;
SELECT id FROM difference ORDER BY 1;
SELECT external_id, state, attempts FROM syncext.outbound_change WHERE target = 'ERP' ORDER BY 1;
UPDATE syncext.pending SET next_attempt = CASE external_id WHEN 'R3' THEN NULL ELSE now() - interval '1 s' END;
SELECT external_id FROM syncext.dead_letter;
-- one slot's retries aren't another's
SELECT count(*) FROM sync_pull('ERP', 500, (syncext.record_slot('record', 'R1', 5) + 1) % 5, 5) WHERE external_id = 'R1';
SELECT external_id, attempt FROM sync_pull('ERP', 500, syncext.record_slot('record', 'R1', 5), 5) WHERE external_id = 'R1';
SELECT sync_discard('ERP', 'record', 'R1');
SELECT leases_end();
SELECT take_all(2) AS retries;
SELECT id FROM difference ORDER BY 1;
SELECT sync_redrive('ERP');
SELECT take_all(2);
SELECT * FROM difference;
SELECT count(*) FROM syncext.pending;
SELECT changes(11, 1, 30);
SELECT fail('{R1,R5,R7}', 2);
SELECT sync_discard('ERP', 'record', 'R1'), sync_discard('ERP');
SELECT count(*) FROM syncext.pending;
SELECT take_all(2) AS rest;
SELECT id FROM difference ORDER BY 1;

-- Backfill: a source that starts anew, in slots; they change in its middle.
TRUNCATE copy;
SELECT syncext.cursor_start('ERP');
SELECT slot, backfill_entity, backfill_rest FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
SELECT count(*) FROM syncext.outbound_change WHERE target = 'ERP';
SELECT take(0, 2, 5), take(0, 2, 5), take(1, 2, 3);
SELECT slot, entity, entities_left, done, done < total AS goes_on FROM syncext.backfill_progress WHERE source = 'ERP' ORDER BY slot;
SELECT (SELECT sum(total) FROM syncext.backfill_progress WHERE source = 'ERP') = (SELECT count(*) FROM syncext.canonical) AS all_records;
SELECT changes(12, 8, 12);
SELECT take(2, 3, 4) > 0 AS any;
SELECT take_all(3, 4) > 0 AS rest;
SELECT * FROM difference;
SELECT * FROM syncext.backfill_progress;
-- one slot has finished an entity, the other is in its middle
TRUNCATE copy;
SELECT syncext.cursor_start('ERP');
SELECT sum(take(0, 3)) > 0 AS through FROM generate_series(1, 5);
SELECT take(1, 3, 2) AS middle;
SELECT slot, backfill_entity FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
SELECT take_all(1) > 0 AS rest;
SELECT * FROM difference;
-- subscriptions
SELECT take_all(2) AS nothing;
SELECT sync_subscribe('ERP', '{record}');
SELECT changes(13, 1, 30), change('CRM', 'order', 'O2', 1, '{"n": 1}');
SELECT take_all(2);
SELECT * FROM difference;
SELECT sync_subscribe('ERP', NULL);
SELECT slot, backfill_entity FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
SELECT take_all(2);
SELECT * FROM difference;

-- maintenance moves idle cursors of all slots
SELECT take_all(2) AS nothing;
CREATE TABLE before AS SELECT slot, lo FROM syncext.cursor WHERE target = 'ERP';
SET syncext.retention = 0;
SELECT sync_apply('{"source": "ERP", "externalId": "own", "version": 1, "n": 1}') ->> 'resolution';
CALL sync_maintain(NULL) \gset
RESET syncext.retention;
SELECT c.slot, c.lo > b.lo AS moved, backfill_entity FROM syncext.cursor c JOIN before b USING (slot) WHERE target = 'ERP' ORDER BY 1;
SELECT changes(14, 1, 30);
SELECT take_all(2) AS rest;
-- (its own record it has not pulled)
SELECT id FROM difference ORDER BY 1;
-- a slot that nobody pulls for so long lets the source start anew
SELECT changes(15, 1, 30);
SELECT take(0, 2) > 0 AS any;
SET syncext.retention = 0;
CALL sync_maintain(NULL) \gset
CALL sync_maintain(NULL) \gset
RESET syncext.retention;
SELECT slot, backfill_entity FROM syncext.cursor WHERE target = 'ERP' ORDER BY slot;
SELECT take_all(2) > 30 AS everything;
SELECT * FROM difference;

-- Bad input
SELECT * FROM sync_pull('ERP', 5, 2, 2);
SELECT * FROM sync_pull('ERP', 5, -1, 2);
SELECT * FROM sync_pull('ERP', 5, 1);
SELECT * FROM sync_pull('ERP', 5, 0, 0);
SELECT * FROM sync_pull('ERP', 5, 0, 257);
SELECT * FROM sync_pull('ERP', 5, NULL, 2);
SELECT * FROM sync_pull('ERP', 5, 0, NULL);
SELECT * FROM sync_pull('ERP', slots => 2, slot => 5);
SELECT sync_ack('ERP', 1, '[]', 2);
SELECT sync_ack('ERP', 1, '[]', -1);
SELECT sync_ack('ERP', 1, '[]', NULL);
SELECT count(*) AS cursors FROM syncext.cursor WHERE target = 'ERP';

-- A source is dropped with all its slots.
SELECT sync_drop_source('ERP');
SELECT count(*) FROM syncext.cursor WHERE target = 'ERP';
DROP VIEW difference;
DROP TABLE copy, before;
DROP FUNCTION changes, pull, take(int, int, int), take_all, fail;
DROP EXTENSION syncext;
