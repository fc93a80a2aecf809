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

DROP TABLE branch;
DROP EXTENSION syncext;
