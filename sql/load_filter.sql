-- A load heeds the filter of the table's source: what the source may not see is
-- neither written to its table nor told.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('Branch', 2);
CREATE TABLE branch (id text PRIMARY KEY, name text, region text);
SELECT sync_apply('[
	{"source": "CRM", "externalId": "1", "version": 1, "fields": {"name": "Secret", "region": "US"}},
	{"source": "CRM", "externalId": "2", "version": 1, "fields": {"name": "Shown", "region": "EU"}}]') IS NOT NULL AS applied;
SELECT sync_route('Branch', 'record', '$.region == "EU"');
SELECT sync_attach('branch', 'Branch', capture => 'none');
INSERT INTO branch VALUES ('1', 'guess', 'EU'), ('2', 'guess', 'EU');

-- nothing is sent, so nothing but the filter keeps it back
CALL sync_load('branch', 'hub', true) \gset
SELECT result::text ~ 'Secret' AS told, result::text ~ 'Shown' AS shown FROM (SELECT :'result'::text AS result) r;
CALL sync_load('branch', 'hub') \gset
SELECT result::text ~ 'Secret' AS told FROM (SELECT :'result'::text AS result) r;
SELECT * FROM branch ORDER BY id;
-- whether a row is as the hidden record isn't told either
UPDATE branch SET name = 'Secret', region = 'US' WHERE id = '1';
CALL sync_load('branch', 'hub', true) \gset
SELECT (:'result'::jsonb)->'updated' AS same;
UPDATE branch SET name = 'other' WHERE id = '1';
CALL sync_load('branch', 'hub', true) \gset
SELECT (:'result'::jsonb)->'updated' AS other;
-- nor what the ladder decides
UPDATE branch SET name = 'another', region = NULL WHERE id = '1';
CALL sync_load('branch') \gset
SELECT result::text ~ 'Secret' AS told FROM (SELECT :'result'::text AS result) r;
SELECT name FROM branch WHERE id = '1';
SELECT count(*) FROM branch WHERE name = 'Secret';

-- new records, which the load looks at again as they are filtered, are remembered all the same
CREATE TABLE shop (id text PRIMARY KEY, name text, region text);
INSERT INTO shop SELECT 's' || i, 'Shop ' || i, CASE WHEN i % 3 = 0 THEN 'US' ELSE 'EU' END FROM generate_series(1, 300) i;
SELECT sync_add_entity('shop'), sync_route('Branch', 'shop', '$.region == "EU"'), sync_attach('shop', 'Branch', 'shop', direction => 'in');
CALL sync_load('shop') \gset
SELECT (:'result'::jsonb)->'new' AS new, (:'result'::jsonb)->'not_shown' AS not_shown, (:'result'::jsonb)->'failed' AS failed;
SELECT c.fields->>'region' AS region, count(*), count(r) AS remembered FROM syncext.canonical c
LEFT JOIN syncext.replica r ON r.relation = 'shop'::regclass AND r.external_id = c.external_id WHERE entity = 'shop' GROUP BY 1 ORDER BY 1;
SELECT count(*), count(DISTINCT external_id) FROM syncext.change_log WHERE entity = 'shop';

DROP TABLE branch, shop;
DROP EXTENSION syncext;
