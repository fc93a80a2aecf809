-- Sources that name records by keys of their own.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Web', 3);
SELECT sync_add_entity('customer');
-- CRM has a record already, which it calls by the hub's id
SELECT change('CRM', 'customer', 'C-1', 1, '{"name": "Anna"}');
SELECT change('Web', 'customer', 'W-1', 1, '{"name": "Wanda"}');
SELECT sync_own_keys('CRM', 'customer');
SELECT sync_own_keys('CRM', 'customer') AS again;
SELECT source, source_id, external_id, duplicate FROM syncext.source_key;
SELECT sync_own_keys('ERP', 'customer');

-- what a source says, and is told; ids that the hub makes are random
CREATE FUNCTION said(source text, source_id text, said jsonb, external_id text DEFAULT NULL)
	RETURNS TABLE (status text, resolution text, external_id text, source_id text, row_version text, reason text) LANGUAGE sql AS $$
	SELECT a->>'status', a->>'resolution',
	       CASE WHEN a->>'externalId' ~ '^[0-9a-f]{8}-' THEN 'uuid' ELSE a->>'externalId' END,
	       a->>'sourceId', a->>'rowVersion', a->>'reason'
	FROM sync_apply(jsonb_strip_nulls(jsonb_build_object('source', $1, 'entity', 'customer', 'sourceId', $2, 'externalId', $4)) || $3) a
$$;
CREATE FUNCTION code_of(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE command;
	RETURN 'none';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END $$;
CREATE FUNCTION crosswalk() RETURNS TABLE (source text, source_id text, name text, duplicate boolean) LANGUAGE sql AS $$
	SELECT k.source, k.source_id, coalesce(c.fields->>'name', '(no record)') || CASE WHEN c.deleted THEN ' (deleted)' ELSE '' END, k.duplicate
	FROM syncext.source_key k LEFT JOIN syncext.canonical c USING (entity, external_id)
	ORDER BY 3, 1, k.since, 2
$$;
-- pulls, says which key each new record got, and names what came
CREATE FUNCTION pulled(source text, said jsonb DEFAULT '{}') RETURNS TABLE (name text, source_id text, deleted boolean) LANGUAGE plpgsql AS $$
DECLARE
	p record;
	number bigint;
	keys jsonb := '[]';
BEGIN
	FOR p IN SELECT * FROM sync_pull($1) LOOP
		number := p.batch;
		name := coalesce(p.fields->>'name', (SELECT r.fields->>'name' FROM syncext.canonical r WHERE (r.entity, r.external_id) = (p.entity, p.external_id)));
		source_id := p.source_id;
		deleted := p.deleted;
		IF said ? name THEN
			keys := keys || jsonb_build_object('entity', p.entity, 'externalId', p.external_id, 'sourceId', said->>name);
		END IF;
		RETURN NEXT;
	END LOOP;
	IF number IS NOT NULL THEN
		PERFORM sync_ack($1, number, keys => keys);
	END IF;
END $$;

-- known, unknown, and the same key of two systems is not the same record
SELECT * FROM said('CRM', 'C-1', '{"version": 2, "phone": "1"}');
SELECT * FROM said('CRM', '1001', '{"version": 1, "name": "Bob"}');
SELECT * FROM said('CRM', '1001', '{"version": 2, "name": "Bobby"}');
SELECT * FROM said('ERP', '1001', '{"version": 1, "name": "Zoe"}');
SELECT * FROM crosswalk();
-- a delete of an unknown one, and an id that nobody knows
SELECT * FROM said('CRM', '7', '{"version": 1, "deleted": true}');
SELECT count(*) FROM syncext.source_key WHERE source_id = '7';

-- both together bind them
SELECT * FROM said('ERP', 'K-77', '{"version": 2, "name": "Anna"}', 'C-1');
SELECT * FROM said('ERP', 'K-77', '{"version": 3, "city": "Bonn"}');
SELECT * FROM said('ERP', 'K-77', '{"version": 4, "city": "Ulm"}', 'C-1');
SELECT * FROM said('ERP', 'N-1', '{"version": 1, "name": "Nina"}', 'made here');
-- but not where either is bound otherwise
SELECT * FROM said('ERP', 'K-77', '{"version": 9, "city": "Rome"}', 'W-1');
SELECT * FROM said('ERP', 'K-78', '{"version": 9, "city": "Rome"}', 'C-1');
SELECT source, entity, kind, source_id, external_id FROM syncext.key_problem;
SELECT fields FROM syncext.canonical WHERE external_id IN ('C-1', 'W-1') ORDER BY external_id;
SELECT severity, object, regexp_replace(problem, 'at .*, which', 'at …, which') AS problem, hint FROM sync_check() WHERE problem ~ 'ERP';

-- what isn't clear
SELECT code_of($$SELECT * FROM said('Web', '5', '{"version": 1, "name": "x"}')$$);
SELECT code_of($$SELECT * FROM said('CRM', NULL, '{"version": 1, "name": "x"}', 'not there')$$);
SELECT code_of($$SELECT * FROM said('CRM', NULL, '{"version": 1, "name": "x"}')$$);
SELECT code_of($$SELECT * FROM said('CRM', '', '{"version": 1, "name": "x"}')$$);
SELECT code_of($$SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": 5, "version": 1, "name": "x"}')$$);
SELECT code_of(format($$SELECT * FROM said('CRM', %L, '{"version": 1, "name": "x"}')$$, repeat('é', 513)));
SELECT resolution, source_id = repeat('é', 512) AS longest FROM said('CRM', repeat('é', 512), '{"version": 1, "name": "long"}');
-- the hub's id alone does for a record that there is
SELECT * FROM said('CRM', NULL, '{"version": 1, "name": "Wanda", "seen": true}', 'W-1');

-- explaining answers as applying would, and binds nothing
SELECT e - 'reason' AS explained FROM sync_explain('{"source": "CRM", "entity": "customer", "sourceId": "new", "version": 1, "name": "x"}') e;
SELECT e->>'resolution' AS resolution, e->>'externalId' AS external_id FROM sync_explain('{"source": "CRM", "entity": "customer", "sourceId": "C-1", "version": 5, "name": "x"}') e;
SELECT e->>'resolution' AS resolution, e->>'rowVersion' AS row_version FROM jsonb_array_elements(sync_explain('[
	{"source": "CRM", "entity": "customer", "sourceId": "new", "version": 1, "name": "x"},
	{"source": "CRM", "entity": "customer", "sourceId": "new", "version": 2, "name": "y"},
	{"source": "CRM", "entity": "customer", "sourceId": "K", "externalId": "W-1", "version": 2, "name": "y"},
	{"source": "CRM", "entity": "customer", "sourceId": "1001", "externalId": "W-1", "version": 2, "name": "y"}]')) e;
SELECT count(*) FROM syncext.source_key WHERE source_id IN ('new', 'K');

-- in one batch
SELECT i, a->>'status' AS status, a->>'resolution' AS resolution, a->>'sourceId' AS source_id, a->>'rowVersion' AS row_version
FROM jsonb_array_elements(sync_apply('[
	{"source": "CRM", "entity": "customer", "sourceId": "b", "version": 1, "deleted": true},
	{"source": "CRM", "entity": "customer", "sourceId": "b", "version": 2, "name": "Berta"},
	{"source": "CRM", "entity": "customer", "sourceId": "a", "version": 1, "name": "Adam"},
	{"source": "CRM", "entity": "customer", "sourceId": "b", "version": 3, "name": "Bert"},
	{"source": "CRM", "entity": "customer", "sourceId": "a", "externalId": "C-1", "version": 1, "name": "Adam"},
	{"source": "CRM", "entity": "customer", "sourceId": "a", "version": 2, "deleted": true},
	{"source": "Web", "entity": "customer", "externalId": "W-1", "version": 4, "name": "Wanda B"},
	{"source": "CRM", "entity": "customer", "externalId": "nowhere", "version": 1, "name": "Adam"}]')) WITH ORDINALITY x (a, i) ORDER BY i;

-- a change that is sent again, by its id
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "once", "version": 1, "name": "Once", "changeId": "c"}') AS first \gset
SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "once", "version": 1, "name": "Once", "changeId": "c"}') = :'first' AS same;
SELECT i.external_id = k.external_id AS kept_with_its_record FROM syncext.change_id i JOIN syncext.source_key k ON k.source_id = 'once';
SELECT code_of($$SELECT sync_apply('{"source": "CRM", "entity": "customer", "sourceId": "twice", "version": 1, "name": "Once", "changeId": "c"}')$$);

-- looking up by key
SELECT r->>'externalId' AS external_id, r->'fields' AS fields FROM sync_record('customer', source => 'ERP', source_id => 'K-77') r;
SELECT sync_record('customer', source => 'ERP', source_id => 'nobody''s') AS none;
SELECT source, resolution FROM sync_history('customer', source => 'ERP', source_id => 'K-77');
SELECT count(*) FROM sync_history('customer', source => 'ERP', source_id => 'nobody''s');
SELECT code_of($$SELECT sync_record('customer', 'C-1', 'ERP', 'K-77')$$);
SELECT code_of($$SELECT sync_record('customer', source => 'ERP')$$);
SELECT sync_record('customer', NULL) AS null;

-- pulls: what a source has no key of it makes, and says by which key
SELECT * FROM pulled('CRM') ORDER BY 1;
SELECT * FROM pulled('ERP', '{"Bobby": "K-80", "Once": "K-81", "Wanda B": "K-77", "long": "K-82"}') ORDER BY 1;
SELECT * FROM crosswalk() WHERE source = 'ERP';
SELECT external_id = 'W-1' AS failed_alone, attempts, error FROM syncext.pending;
UPDATE syncext.pending SET next_attempt = now() - interval '1 s';
SELECT * FROM pulled('ERP', '{"Wanda B": "K-83"}') ORDER BY 1;
SELECT * FROM pulled('ERP') ORDER BY 1;
-- who never says them is told of
SELECT source, entity, kind FROM syncext.key_problem WHERE kind = 'unsaid' AND source = 'CRM';
UPDATE syncext.key_problem SET noted_at = noted_at - interval '2 hours';
SELECT severity, object, regexp_replace(problem, 'at .* and', 'at … and') AS problem, regexp_replace(hint, '(…, '')[^'']+', '\1…') AS hint FROM sync_check() WHERE problem ~ 'CRM was sent';
SELECT * FROM said('ERP', 'K-83', '{"version": 7, "name": "Wanda C"}');
SELECT * FROM pulled('CRM') ORDER BY 1;
SELECT * FROM pulled('Web') ORDER BY 1;
-- or by a later document
SELECT * FROM said('CRM', 'W', '{"version": 9, "city": "Wien"}', 'W-1');
SELECT * FROM pulled('ERP') ORDER BY 1;
-- keys that are none
SELECT sync_pull('ERP');
SELECT change('Web', 'customer', 'W-1', 12, '{"name": "Wanda D"}');
SELECT batch FROM sync_pull('ERP') \gset
SELECT code_of(format($$SELECT sync_ack('ERP', %s, keys => '[{"entity": "customer", "externalId": "C-1", "sourceId": "x"}]')$$, :batch));
SELECT code_of(format($$SELECT sync_ack('ERP', %s, keys => '[{"externalId": "W-1", "sourceId": "x"}]')$$, :batch));
SELECT code_of(format($$SELECT sync_ack('ERP', %s, keys => '[{"entity": "customer", "externalId": "W-1"}]')$$, :batch));
SELECT code_of(format($$SELECT sync_ack('ERP', %s, keys => '[{"entity": "customer", "externalId": "W-1", "sourceId": ""}]')$$, :batch));
SELECT code_of(format($$SELECT sync_ack('ERP', %s, keys => '[{"entity": "customer", "externalId": "W-1", "sourceId": "x", "y": 1}]')$$, :batch));
SELECT code_of(format($$SELECT sync_ack('ERP', %s, keys => '[1]')$$, :batch));
SELECT code_of(format($$SELECT sync_ack('ERP', %s, keys => '{}')$$, :batch));
SELECT sync_ack('ERP', :batch, keys => '[{"entity": "customer", "externalId": "W-1", "sourceId": "K-83"}]');
SELECT sync_ack('ERP', :batch, keys => '[{"entity": "customer", "externalId": "W-1", "sourceId": "again"}]');

-- binding and unbinding by hand
SELECT sync_bind('ERP', 'customer', 'K-90', external_id) FROM syncext.source_key WHERE source = 'CRM' AND source_id = 'b';
SELECT sync_bind('ERP', 'customer', 'K-90', external_id) FROM syncext.source_key WHERE source = 'CRM' AND source_id = 'b';
SELECT code_of($$SELECT sync_bind('ERP', 'customer', 'K-91', external_id) FROM syncext.source_key WHERE source = 'CRM' AND source_id = 'b'$$) ~ '^23505' AS a_second;
SELECT code_of($$SELECT sync_bind('ERP', 'customer', 'K-90', 'C-1')$$);
SELECT code_of($$SELECT sync_bind('ERP', 'customer', 'K-92', 'nowhere')$$);
SELECT code_of($$SELECT sync_bind('Web', 'customer', 'K-92', 'C-1')$$);
SELECT code_of($$SELECT sync_bind('ERP', 'customer', '', 'C-1')$$);
SELECT code_of($$SELECT sync_bind('ERP', 'customer', 'K-92', '')$$);
SELECT code_of($$SELECT sync_bind('ERP', 'customer', 'K-92', repeat('x', 1025))$$);
SELECT code_of($$SELECT sync_bind('ERP', 'customer', NULL, 'C-1')$$);
SELECT code_of($$SELECT sync_bind('ERP', 'thing', 'K', 'C-1')$$);
SELECT sync_unbind('ERP', 'customer', 'K-90'), sync_unbind('ERP', 'customer', 'K-90') AS again;
SELECT sync_bind('ERP', 'customer', 'K-91', external_id) FROM syncext.source_key WHERE source = 'CRM' AND source_id = 'b';

-- a delete ends the key: of its source at once, of others when they have taken it
SELECT * FROM said('CRM', 'b', '{"version": 4, "deleted": true}');
SELECT * FROM crosswalk() WHERE name ~ 'Bert';
SELECT * FROM said('CRM', 'b', '{"version": 3, "name": "late"}');
SELECT * FROM sync_pull('ERP') \gset p_
SELECT :'p_deleted' AS deleted, :'p_source_id' AS source_id;
SELECT duplicate FROM syncext.source_key WHERE source_id = 'K-91';
SELECT sync_ack('ERP', :p_batch);
SELECT duplicate FROM syncext.source_key WHERE source_id = 'K-91';
-- a revival draws a new one
SELECT * FROM said('CRM', 'b2', '{"version": 5, "name": "Bert"}', :'p_external_id');
SELECT * FROM pulled('ERP', '{"Bert": "K-92"}') ORDER BY 1;
SELECT * FROM crosswalk() WHERE name = 'Bert';
-- what comes late under the old ones finds the record; a delete only unbinds
SELECT * FROM said('ERP', 'K-91', '{"version": 1, "city": "late"}');
SELECT * FROM said('ERP', 'K-91', '{"version": 9, "deleted": true}');
SELECT * FROM crosswalk() WHERE name = 'Bert';
-- the source itself revives what it had deleted: its key is the one again
SELECT * FROM said('CRM', 'b2', '{"version": 6, "deleted": true}');
SELECT * FROM said('CRM', 'b2', '{"version": 7, "name": "Bert"}');
SELECT * FROM crosswalk() WHERE name = 'Bert';
-- a delete that is served and not acknowledged is no end
SELECT * FROM pulled('ERP') ORDER BY 1;
SELECT * FROM said('CRM', 'b2', '{"version": 8, "deleted": true}');
SELECT deleted, source_id FROM sync_pull('ERP');
SELECT * FROM said('CRM', 'b2', '{"version": 9, "name": "Bert"}');
SELECT deleted, source_id FROM sync_pull('ERP');
SELECT sync_ack('ERP', batch) FROM sync_pull('ERP');
SELECT * FROM crosswalk() WHERE name = 'Bert';
SELECT * FROM pulled('ERP') ORDER BY 1;

-- tombstones take their keys along, and erasing does
SELECT * FROM said('CRM', 'once', '{"version": 2, "deleted": true}');
SELECT * FROM pulled('ERP') ORDER BY 1;
SELECT count(*) > 0 AS taken FROM pulled('CRM'), pulled('Web') w;
SELECT name, duplicate FROM crosswalk() WHERE name ~ 'Once';
SET syncext.retention = 0;
CREATE FUNCTION drained() RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	s text;
	n bigint;
BEGIN
	FOREACH s IN ARRAY '{CRM,ERP,Web}'::text[] LOOP
		LOOP
			SELECT max(p.batch) INTO n FROM sync_pull(s) p;
			EXIT WHEN n IS NULL;
			PERFORM sync_ack(s, n);
		END LOOP;
	END LOOP;
END $$;
CALL sync_maintain() \g /dev/null
SELECT drained();
CALL sync_maintain() \g /dev/null
SELECT drained();
CALL sync_maintain() \g /dev/null
CALL sync_maintain() \g /dev/null
RESET syncext.retention;
SELECT count(*) FROM syncext.canonical WHERE deleted;
SELECT * FROM crosswalk() WHERE name ~ 'no record';
SELECT * FROM said('CRM', 'once', '{"version": 1, "name": "Once more"}');
SELECT sync_forget('customer', 'C-1')->'sourceKey' AS erased;
SELECT source, left(source_id, 10) AS source_id, name, duplicate FROM crosswalk();

-- off again
SELECT sync_own_keys('ERP', 'customer', false);
SELECT code_of($$SELECT * FROM said('ERP', '1001', '{"version": 5, "name": "x"}')$$);
SELECT sync_drop_source('CRM');
SELECT count(*) FROM syncext.source_key;
SELECT code_of($$SELECT sync_own_keys('CRM', 'customer')$$);
SELECT code_of($$SELECT sync_own_keys('Web', 'thing')$$);
SELECT code_of($$SELECT sync_own_keys('Web', 'customer', NULL)$$);
CREATE TABLE customers (id text PRIMARY KEY, name text);
SELECT sync_attach('customers', 'Web', 'customer', capture => 'none');
SELECT code_of($$SELECT sync_own_keys('Web', 'customer')$$);
SELECT sync_detach('customers');
SELECT sync_own_keys('Web', 'customer');
SELECT code_of($$SELECT sync_attach('customers', 'Web', 'customer')$$);

DROP TABLE customers;
DROP FUNCTION said, crosswalk, pulled, drained;
DROP FUNCTION code_of(text);
DROP EXTENSION syncext;
