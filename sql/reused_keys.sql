-- A key that is used again goes on above the row versions that anybody may have
-- of it, whatever became of its record.
CREATE EXTENSION syncext;
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Shop', 3);
SELECT sync_add_entity('order');
SET syncext.retention = 0;
\set VERBOSITY default

CREATE FUNCTION document(source text, entity text, id text, more jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('source', source, 'entity', entity, 'externalId', id) || more
$$;
CREATE FUNCTION put(entity text, id text, version int, v int) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s', a->>'resolution', a->>'rowVersion')
	FROM sync_apply(document('CRM', entity, id, jsonb_build_object('version', version, 'fields', jsonb_build_object('v', v)))) a
$$;
CREATE FUNCTION gone(entity text, id text, version int) RETURNS text LANGUAGE sql AS $$
	SELECT format('%s %s', a->>'resolution', a->>'rowVersion')
	FROM sync_apply(document('CRM', entity, id, jsonb_build_object('version', version, 'deleted', true))) a
$$;
-- what a client does: it keeps the row version of what it has, and refuses a lower
-- one, and another record under the same
CREATE TABLE client (source text, entity text, external_id text, row_version bigint, deleted boolean, fields jsonb,
                     PRIMARY KEY (source, entity, external_id));
CREATE FUNCTION receive(who text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	r       record;
	n       bigint;
	refused text;
BEGIN
	LOOP
		n := NULL;
		FOR r IN SELECT * FROM sync_pull(who) LOOP
			n := r.batch;
			INSERT INTO client AS c VALUES (who, r.entity, r.external_id, r.row_version, r.deleted, r.fields)
			ON CONFLICT (source, entity, external_id) DO UPDATE
				SET row_version = excluded.row_version, deleted = excluded.deleted, fields = excluded.fields
				WHERE c.row_version < excluded.row_version
				   OR c.row_version = excluded.row_version AND c.deleted = excluded.deleted
				      AND c.fields IS NOT DISTINCT FROM excluded.fields;
			IF NOT FOUND THEN
				refused := concat_ws(', ', refused, format('%s %s %s', r.entity, r.external_id, r.row_version));
			END IF;
		END LOOP;
		IF n IS NULL THEN
			RETURN refused;
		END IF;
		PERFORM sync_ack(who, n);
	END LOOP;
END $$;
-- tombstones are past the retention after it, which takes two calls
CREATE PROCEDURE age() LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
BEGIN
	FOR i IN 1 .. 2 LOOP
		PERFORM receive('CRM'), receive('ERP'), receive('Shop');
		COMMIT;
		CALL sync_maintain(result);
		COMMIT;
	END LOOP;
END $$;

-- ---------- past the retention ----------

SELECT put('record', 'C1', 1, 1), put('record', 'C1', 2, 2), put('record', 'C1', 3, 3), put('order', 'C1', 1, 1);
SELECT receive('ERP'), gone('record', 'C1', 4), gone('order', 'C1', 2), put('record', 'C2', 1, 1);
CALL age();
SELECT entity, external_id, row_version FROM syncext.canonical ORDER BY 1, 2;
SELECT * FROM syncext.entity_floor ORDER BY 1;
-- what it would be, and what it is: each entity has its own floor
SELECT sync_explain(document('CRM', 'record', 'C1', '{"version": 1, "fields": {"v": 9}}'))->>'rowVersion' AS explained;
SELECT put('record', 'C1', 1, 9), put('order', 'C1', 1, 9), put('record', 'C2', 2, 2), put('record', 'new', 1, 1);
SELECT jsonb_path_query_array(sync_apply(jsonb_build_array(
	document('CRM', 'record', 'b1', '{"version": 1, "fields": {"v": 1}}'),
	document('CRM', 'order', 'b1', '{"version": 1, "ifMatch": 0, "fields": {"v": 1}}'),
	document('CRM', 'record', 'b1', '{"version": 2, "fields": {"v": 2}}'),
	document('CRM', 'record', 'b2', '{"base": 3, "fields": {"v": 2}}'))), '$[*].rowVersion') AS batch;
SELECT sync_record('order', 'C1')->'stamps'->'v'->>'rowVersion' AS of_stamp;
SELECT receive('ERP');
SELECT entity, external_id, row_version, deleted, fields FROM client WHERE source = 'ERP' ORDER BY 1, 2;

-- ---------- forgotten ----------

SELECT put('record', 'C2', 3, 3), put('record', 'C2', 4, 4), put('record', 'C2', 5, 5), put('record', 'C2', 6, 6), put('record', 'C2', 7, 7);
SELECT receive('ERP');
SELECT sync_forget('record', 'C2')->>'canonical' AS forgotten;
SELECT put('record', 'C2', 1, 1), receive('ERP');
BEGIN;
SELECT sync_forget('record', 'C2')->>'canonical' AS forgotten;
SELECT put('record', 'C2', 1, 4), receive('ERP');
ROLLBACK;
-- what was rolled back has raised nothing
SELECT * FROM syncext.entity_floor ORDER BY 1;
-- within one transaction
BEGIN;
SELECT put('record', 'C2', 2, 5), put('record', 'C2', 3, 6);
SELECT sync_forget('record', 'C2')->>'canonical' AS forgotten;
SELECT put('record', 'C2', 1, 5);
COMMIT;
-- a reviewer brings back what is gone
SELECT sync_add_entity('reviewed', '{version,manual}');
SELECT sync_apply(jsonb_build_array(
	document('CRM', 'reviewed', 'V', '{"version": 1, "fields": {"v": 1}}'),
	document('CRM', 'reviewed', 'V', '{"version": 2, "fields": {"v": 2}}'),
	document('ERP', 'reviewed', 'V', '{"version": 2, "fields": {"v": 3}}')))->2->>'resolution' AS conflict;
UPDATE syncext.conflict_log SET external_id = 'W';
SELECT sync_forget('reviewed', 'V')->>'canonical' AS forgotten;
SELECT sync_resolve(id, 'incoming')->>'rowVersion' AS resolved FROM syncext.conflict_log;

-- ---------- attached tables ----------

CREATE TABLE shop (id text PRIMARY KEY, v int);
SELECT sync_attach('shop', 'Shop', columns => '{"v": "v"}');
CALL sync_load('shop', 'hub', false, NULL) \g /dev/null
SELECT put('record', 'S1', 1, 1), put('record', 'S1', 2, 2), put('record', 'S1', 3, 3);
SELECT sync_deliver('Shop');
SELECT gone('record', 'S1', 4);
SELECT sync_deliver('Shop');
CALL age();
-- nothing that names the key is left
SELECT count(*) AS left_over FROM syncext.replica WHERE external_id = 'S1';
-- even if something were
INSERT INTO syncext.replica (relation, external_id, row_version) VALUES ('shop', 'S1', (SELECT row_version FROM syncext.entity_floor WHERE entity = 'record'));
SELECT put('record', 'S1', 1, 7);
SELECT sync_deliver('Shop');
SELECT * FROM shop WHERE id = 'S1';
-- made anew by the table itself
DELETE FROM shop WHERE id = 'S1';
SELECT receive('ERP');
SELECT sync_forget('record', 'S1')->>'canonical' AS forgotten;
INSERT INTO shop VALUES ('S1', 8);
SELECT receive('ERP');
SELECT row_version, fields FROM client WHERE source = 'ERP' AND external_id = 'S1';
SELECT sync_detach('shop');

-- ---------- by chance ----------

-- whatever becomes of a few keys, no client is ever sent what it must refuse, and
-- in the end all have what the hub has
CREATE PROCEDURE chance(steps int) LANGUAGE plpgsql AS $$
DECLARE
	what  float;
	e     text;
	k     text;
	hub   syncext.canonical;
	n     int;
	wrong text;
	done  jsonb;
BEGIN
	FOR i IN 1 .. steps LOOP
		what := random();
		e := CASE WHEN random() < 0.5 THEN 'record' ELSE 'order' END;
		k := 'k' || floor(random() * 4);
		SELECT * INTO hub FROM syncext.canonical c WHERE c.entity = e AND c.external_id = k;
		IF what < 0.45 THEN
			PERFORM put(e, k, coalesce(hub.version, 0)::int + 1, i);
		ELSIF what < 0.6 THEN
			PERFORM gone(e, k, coalesce(hub.version, 0)::int + 1);
		ELSIF what < 0.65 THEN
			PERFORM sync_forget(e, k);
		ELSIF what < 0.75 THEN
			PERFORM put(e, k, coalesce(hub.version, 0)::int + 1, i);
			PERFORM sync_forget(e, k);
			IF random() < 0.5 THEN
				ROLLBACK;
			END IF;
		ELSIF what < 0.95 THEN
			wrong := concat_ws(', ', nullif(wrong, ''), receive(CASE WHEN random() < 0.5 THEN 'ERP' ELSE 'Shop' END));
		ELSE
			COMMIT;
			CALL sync_maintain(done);
		END IF;
		COMMIT;
	END LOOP;
	wrong := concat_ws(', ', nullif(wrong, ''), receive('ERP'), receive('Shop'));
	SELECT count(*) INTO n
	FROM (VALUES ('ERP'), ('Shop')) s(source), syncext.canonical h
	WHERE h.external_id LIKE 'k_' AND NOT EXISTS (
		SELECT FROM client c
		WHERE (c.source, c.entity, c.external_id, c.row_version, c.deleted)
		    = (s.source, h.entity, h.external_id, h.row_version, h.deleted) AND (h.deleted OR c.fields = h.fields))
	  AND NOT (h.deleted AND NOT EXISTS (SELECT FROM client c WHERE (c.source, c.entity, c.external_id) = (s.source, h.entity, h.external_id)));
	RAISE NOTICE 'refused: %, different: %', coalesce(nullif(wrong, ''), 'none'), n;
END $$;
SELECT setseed(0.4711);
CALL chance(600);
SELECT bool_and(row_version > 10) AS were_raised FROM syncext.entity_floor;

DROP TABLE client, shop;
DROP PROCEDURE chance, age;
DROP FUNCTION receive, gone, put, document;
DROP EXTENSION syncext;
