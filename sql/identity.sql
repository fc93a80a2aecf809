-- Who it is at the other end of a link: the table to decide by.
SET client_min_messages = warning;
CREATE EXTENSION syncext;
RESET client_min_messages;

-- what a database says of itself: where it stands in hashes alone
SELECT key, jsonb_typeof(value) AS type FROM jsonb_each(syncext.identity()) ORDER BY 1;
SELECT i->>'system' = (SELECT system_identifier::text FROM pg_control_system()) AS system,
	(i->>'database')::oid = (SELECT oid FROM pg_database WHERE datname = current_database()) AS database,
	(i->>'mark')::uuid = (SELECT mark FROM syncext.feed_origin) AS mark, i->>'epoch' AS epoch, i->>'timeline' AS timeline
FROM syncext.identity() i;
SELECT strpos(syncext.identity()::text, current_setting('data_directory')) AS told;

-- A row of the table: what is known, changed to what is said; does it know all that
-- was exchanged; is it the hub, or a spoke.
CREATE TEMP TABLE decision (what text, changed jsonb, hub text, hub_behind text, spoke text, spoke_behind text);
INSERT INTO decision (what, changed) VALUES
	('the same', '{}'),
	('its host named anew', '{"host": "77"}'),
	('its directory moved', '{"directory": "77"}'),
	('its files restored in place', '{"inode": "77"}'),
	('on another host', '{"host": "77", "inode": "77"}'),
	('in another directory', '{"directory": "77", "inode": "77"}'),
	('elsewhere', '{"host": "77", "directory": "77", "inode": "77"}'),
	('in a new epoch', '{"epoch": 1700000000000}'),
	('in an old epoch', '{"epoch": 4}'),
	('promoted', '{"timeline": 4}'),
	('promoted elsewhere', '{"timeline": 4, "host": "77", "inode": "77"}'),
	('promoted twice', '{"timeline": 5, "epoch": 1700000000000}'),
	('an old primary', '{"timeline": 2}'),
	('an old primary elsewhere', '{"timeline": 2, "host": "77", "inode": "77"}'),
	('upgraded', '{"system": "7100000000000000077", "timeline": 1, "inode": "77"}'),
	('upgraded elsewhere', '{"system": "7100000000000000077", "timeline": 1, "host": "77", "directory": "77", "inode": "77"}'),
	('a copy by TEMPLATE', '{"database": 16999}'),
	('a copy by TEMPLATE, promoted', '{"database": 16999, "timeline": 4}'),
	('a dump restored beside it', '{"mark": "00000000-0000-0000-0000-000000000002", "ancestors": ["00000000-0000-0000-0000-000000000001"], "database": 16999}'),
	('a dump restored elsewhere', '{"mark": "00000000-0000-0000-0000-000000000002", "ancestors": ["00000000-0000-0000-0000-000000000003", "00000000-0000-0000-0000-000000000001"], "system": "7100000000000000077", "database": 5}'),
	('of an ancestor of its own', '{"mark": "00000000-0000-0000-0000-000000000009"}'),
	('a stranger', '{"mark": "00000000-0000-0000-0000-000000000008", "system": "7100000000000000077"}'),
	('a stranger of the same number', '{"system": "7100000000000000077", "database": 16999}');
UPDATE decision d SET hub = syncext.identity_case(k, k || changed, true, true), hub_behind = syncext.identity_case(k, k || changed, false, true),
	spoke = syncext.identity_case(k, k || changed, true, false), spoke_behind = syncext.identity_case(k, k || changed, false, false)
FROM (SELECT '{"mark": "00000000-0000-0000-0000-000000000001", "ancestors": ["00000000-0000-0000-0000-000000000009"], "system": "7100000000000000001",
	"database": 16384, "timeline": 3, "epoch": 5, "host": "11", "directory": "12", "inode": "13"}'::jsonb) x(k);
SELECT what, hub, hub_behind, spoke, spoke_behind FROM decision ORDER BY ctid;
-- where nothing is known everybody is new
SELECT syncext.identity_case(NULL, syncext.identity(), b, c) FROM unnest('{t,f}'::boolean[]) b, unnest('{t,f}'::boolean[]) c;

-- what is no identity
SELECT syncext.identity_case(NULL, syncext.identity() - key, true, true) FROM jsonb_object_keys(syncext.identity()) key LIMIT 1;
DO $$
DECLARE
	n integer := 0;
	said jsonb;
BEGIN
	FOR said IN
		SELECT syncext.identity() - k FROM jsonb_object_keys(syncext.identity()) k
		UNION ALL SELECT jsonb_set(syncext.identity(), ARRAY[k], v)
		FROM jsonb_object_keys(syncext.identity()) k, unnest(ARRAY['null', '7.5', '-1', '""', '{}', '[7]']::jsonb[]) v
		UNION ALL SELECT v FROM unnest(ARRAY['null', '[]', '7', '{}']::jsonb[]) v
		UNION ALL SELECT jsonb_set(syncext.identity(), '{ancestors}', (SELECT jsonb_agg(gen_random_uuid()) FROM generate_series(1, 21)))
		UNION ALL SELECT jsonb_set(syncext.identity(), '{mark}', to_jsonb(repeat('Z', 36)))
	LOOP
		BEGIN
			PERFORM syncext.identity_case(NULL, said, true, true);
			RAISE NOTICE 'taken: %', said;
		EXCEPTION WHEN invalid_parameter_value THEN
			n := n + 1;
		END;
	END LOOP;
	RAISE NOTICE '% refused', n;
END $$;

-- An epoch begins with numbers that nothing before has had.
SELECT sync_add_source('CRM'), sync_add_source('ERP');
SELECT sync_apply('{"source": "CRM", "externalId": "A", "version": 1, "fields": {"a": 1}}') ->> 'status' AS status;
SELECT batch, external_id, row_version, epoch FROM sync_pull('ERP');
SELECT sync_ack('ERP', 1);
UPDATE syncext.feed_origin SET timeline = 77;
SELECT sync_apply('{"source": "CRM", "externalId": "A", "version": 2, "fields": {"a": 2}}') ->> 'status' AS status;
SELECT batch = epoch AS numbered, epoch > 1500000000000 AS later, row_version FROM sync_pull('ERP');
SELECT timeline = syncext.this_timeline() AS seen, reason FROM syncext.feed_origin;
SELECT incarnation FROM syncext.feed_state;

SET client_min_messages = warning;
DROP EXTENSION syncext;
