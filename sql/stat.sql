-- Counters: what became of changes and deliveries, and syncext.metric.  This server has
-- not loaded the library when it started; test/t/024_stat.pl has one that has.
SET client_min_messages = warning;
DROP ROLE IF EXISTS syncext_scraper, syncext_other;
RESET client_min_messages;
CREATE EXTENSION syncext;
\ir test/helpers.sql
CREATE ROLE syncext_scraper;
CREATE ROLE syncext_other;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Web', 3), sync_add_source('App', 3), sync_add_entity('item'), sync_add_reference('item', 'order', 'record');
SELECT sync_stat_reset();
CREATE VIEW counted AS SELECT source, entity, resolution, changes, fields_changed AS changed, fields_lost AS lost FROM syncext.stat ORDER BY source, entity, resolution;
CREATE FUNCTION said(change jsonb) RETURNS text LANGUAGE sql AS $$ SELECT sync_apply($1)->>'resolution' $$;

SELECT said('{"source":"Web","externalId":"K","version":1,"a":1,"b":1}');
SELECT said('{"source":"Web","externalId":"K","version":1,"a":1,"b":1}');
SELECT said('{"source":"ERP","externalId":"K","version":1,"a":2,"c":1}');
SELECT said('{"source":"Web","externalId":"K","version":1,"a":3,"d":1}');
SELECT said('{"source":"App","externalId":"K","version":1,"b":9}');
SELECT said('{"source":"CRM","externalId":"K","version":0,"a":9,"b":9}');
SELECT said('{"source":"CRM","externalId":"K","version":1,"ifMatch":99,"a":9}');
-- refused: of a batch, and alone, where the transaction fails; names that are none don't count
SELECT sync_apply('[{"source":"CRM","externalId":"K","version":"x"},{"source":"CRM","entity":"nothing","externalId":"K","version":1},{"source":"nobody","externalId":"K","version":1}]') IS NOT NULL AS answered;
SELECT said('{"source":"CRM","externalId":"K"}');
SELECT 1 AS next;
-- what is rolled back doesn't
BEGIN;
SELECT said('{"source":"CRM","externalId":"gone","version":1,"a":1}');
ROLLBACK;
-- nor what a savepoint takes back, or a dry run; what was refused does, but for a dry run's
BEGIN;
SELECT said('{"source":"ERP","externalId":"S1","version":1,"a":1}');
SAVEPOINT s;
SELECT said('{"source":"ERP","externalId":"S2","version":1,"a":1}');
SAVEPOINT t;
SELECT said('{"source":"ERP","externalId":"S3","version":1,"a":1}');
RELEASE t;
SELECT sync_apply('[{"source":"ERP","externalId":"S4","version":"x"}]') IS NOT NULL AS answered;
ROLLBACK TO s;
SAVEPOINT t;
SELECT said('{"source":"ERP","externalId":"S5","version":1,"a":1}');
RELEASE t;
COMMIT;
CREATE TABLE dry (id text PRIMARY KEY, a int CHECK (a < 9));
INSERT INTO dry VALUES ('D1', 1), ('D2', 2);
SELECT sync_attach('dry', 'ERP');
CALL sync_load('dry', dry_run => true) \gset
SELECT (:'result'::jsonb)->'new' AS would_be_new;
SELECT * FROM counted WHERE source = 'ERP';
-- with a trigger's own subtransactions many of them
DO $$
BEGIN
	FOR i IN 1 .. 100 LOOP
		BEGIN
			PERFORM said(jsonb_build_object('source', 'App', 'externalId', 'U' || i, 'version', 1, 'a', 1));
			IF i % 4 = 0 THEN
				RAISE 'no';
			END IF;
		EXCEPTION WHEN raise_exception THEN
		END;
	END LOOP;
END $$;
SELECT * FROM counted WHERE source = 'App';
SELECT sync_detach('dry');
DROP TABLE dry;
-- where nothing is to be counted
SET syncext.track_counts = off;
SELECT said('{"source":"Web","externalId":"nobody counts","version":1,"a":1}');
RESET syncext.track_counts;
-- a child that waits, and is released
SELECT said('{"source":"Web","entity":"item","externalId":"I","version":1,"order":"O"}');
SELECT said('{"source":"Web","externalId":"O","version":1,"x":1}');
SELECT * FROM counted;
-- a batch counts each
SELECT count(*) FROM jsonb_array_elements(sync_apply((SELECT jsonb_agg(jsonb_build_object('source', 'CRM', 'externalId', 'B' || i, 'version', 1, 'a', i)) FROM generate_series(1, 100) i)));
SELECT * FROM counted WHERE source = 'CRM' AND resolution = 'NEW_RECORD';

-- deliveries
UPDATE syncext.source SET retry_cap = 2 WHERE name = 'ERP';
SELECT count(*) FROM sync_pull('ERP');
SELECT count(*) FROM sync_pull('ERP');
SELECT sync_ack('ERP', (SELECT batch FROM syncext.cursor WHERE target = 'ERP'), '[{"externalId":"B1","error":"x"},{"externalId":"B2","error":"x","busy":true}]');
SELECT sync_redrive('ERP');
SELECT count(*) FROM sync_pull('ERP');
SELECT sync_ack('ERP', (SELECT batch FROM syncext.cursor WHERE target = 'ERP'), '[{"externalId":"B1","error":"x"}]');
UPDATE syncext.pending SET next_attempt = now();
SELECT count(*) FROM sync_pull('ERP');
SELECT sync_ack('ERP', (SELECT batch FROM syncext.cursor WHERE target = 'ERP'), '[{"externalId":"B1","error":"x"}]');
SELECT target, delivered, failed, dead, redriven FROM syncext.stat_target ORDER BY target;

-- where they are
SELECT place IN ('table', 'registry') AS place, since < clock_timestamp() AS since, (unfolded >= 0) = (place = 'table') IS NOT FALSE AS unfolded FROM syncext.stat_info;
-- folded, they are the same
CREATE TABLE before AS SELECT * FROM counted;
INSERT INTO syncext.stat_row SELECT 'c', 'v', 'CRM', 'record', 1, 2, 3, 0, now() FROM generate_series(1, 1100);
SELECT syncext.fold_stat() > 1000 AS folded, (SELECT count(*) FROM syncext.stat_row) > 0 AS before_it;
SELECT count(*) < 30 AS few FROM syncext.stat_row;
SELECT * FROM counted EXCEPT SELECT * FROM before;
SELECT syncext.fold_stat();
-- from nothing
SELECT sync_stat_reset();
SELECT count(*) FROM syncext.stat;
SELECT count(*) FROM syncext.stat_target;

-- what a scraper gets
SELECT said('{"source":"Web","externalId":"M","version":1,"a":1}');
SELECT sync_grant('syncext_scraper', 'monitor');
SET ROLE syncext_scraper;
SELECT name, labels, CASE WHEN name ~ 'seconds|bytes|lag' THEN value >= 0 ELSE value > -1 END AS ok, type FROM syncext.metric WHERE labels->>'target' IS NULL OR labels->>'target' IN ('ERP') ORDER BY name COLLATE "C", labels;
SELECT value FROM syncext.metric WHERE name = 'syncext_changes_total';
SELECT count(*) FILTER (WHERE help = '' OR type NOT IN ('counter', 'gauge') OR value IS NULL) AS bad FROM syncext.metric;
SET ROLE syncext_other;
SELECT count(*) FROM syncext.stat;
SELECT count(*) FROM syncext.stat_rows('c');
SELECT sync_stat_reset();
RESET ROLE;

DROP VIEW counted;
DROP TABLE before;
DROP FUNCTION said;
DROP EXTENSION syncext;
DROP ROLE syncext_scraper, syncext_other;
