-- sync_pull's changed: which fields have changed since the source was last told.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('ERP', 2), sync_add_source('Web', 3), sync_add_source('App', 3);

-- What comes, without the values; everything is acknowledged.
CREATE FUNCTION told(source text, max int DEFAULT 500) RETURNS TABLE (id text, rv bigint, gone boolean, fields text, changed text[]) LANGUAGE plpgsql AS $$
DECLARE
	batch bigint;
BEGIN
	CREATE TEMP TABLE p ON COMMIT DROP AS SELECT * FROM sync_pull(source, max);
	SELECT min(p.batch) INTO batch FROM p;
	IF batch IS NOT NULL THEN
		PERFORM sync_ack(source, batch);
	END IF;
	RETURN QUERY SELECT p.external_id, p.row_version, p.deleted, (SELECT string_agg(k, ' ' ORDER BY k COLLATE "C") FROM jsonb_object_keys(p.fields) k), p.changed FROM p;
	DROP TABLE p;
END $$;
CREATE FUNCTION sent(VARIADIC changes jsonb[]) RETURNS TABLE (resolution text) LANGUAGE sql AS $$
	SELECT sync_apply(c)->>'resolution' FROM unnest(changes) c
$$;

CREATE FUNCTION drain(source text) RETURNS void LANGUAGE plpgsql AS $$ BEGIN WHILE take(source) <> 'nothing' LOOP END LOOP; END $$;

-- in a backfill, and for a record that is new, that is all of them: null
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":1,"a":1,"b":1,"c":1,"d":1}');
SELECT * FROM told('ERP');
SELECT * FROM sent('{"source":"CRM","externalId":"N","version":1,"a":1,"b":1}');
SELECT * FROM told('ERP');
-- what others have set since, and no more
SELECT * FROM told('App');
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":2,"b":2}');
SELECT * FROM told('ERP');
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":3,"c":3}', '{"source":"Web","externalId":"K","version":4,"a":4,"b":2}');
SELECT * FROM told('ERP');
-- a target that was away for longer has both
SELECT * FROM told('App');
-- what it has set itself isn't told, but where another has set it since
SELECT * FROM sent('{"source":"App","externalId":"K","version":5,"a":5,"b":5}', '{"source":"CRM","externalId":"K","version":6,"b":6}');
SELECT * FROM told('App');
SELECT * FROM told('ERP');
-- its own that lost: the record has not changed in it
SELECT * FROM sent('{"source":"ERP","externalId":"K","version":6,"b":7,"d":2}');
SELECT * FROM told('ERP');
SELECT * FROM told('App');
-- or was set aside whole
SELECT * FROM sent('{"source":"ERP","externalId":"K","version":2,"a":7,"c":7}');
SELECT * FROM told('ERP');
-- deleted: nothing is left to tell of; come back: all of them, as there was nothing before
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":9,"deleted":true}');
SELECT * FROM told('App');
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":10,"a":1}');
SELECT * FROM told('App');
-- both at once
SELECT * FROM told('ERP');
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":11,"deleted":true}', '{"source":"Web","externalId":"K","version":12,"created":true,"a":1}');
SELECT * FROM told('ERP');
-- a retry, of which it isn't known what the target has
SELECT * FROM told('App');
SELECT * FROM sent('{"source":"CRM","externalId":"N","version":2,"a":2}');
SELECT changed FROM sync_pull('App');
SELECT sync_ack('App', (SELECT max(batch) FROM syncext.cursor WHERE target = 'App'), '[{"externalId":"N","error":"not now"}]');
SELECT sync_redrive('App');
SELECT * FROM told('App');
-- A conflict that is closed shows its source what was kept from it: no one knows what it has.
SELECT * FROM told('Web');
SELECT * FROM sent('{"source":"Web","externalId":"N","version":2,"b":3}', '{"source":"App","externalId":"N","version":2,"b":4}');
SELECT * FROM told('App');
SELECT sync_resolve((SELECT max(id) FROM syncext.conflict_log), 'canonical')->>'told' AS told;
SELECT * FROM told('App');
SELECT * FROM sent('{"source":"App","externalId":"N","version":2,"a":6,"b":6}', '{"source":"CRM","externalId":"N","version":3,"a":7}');
SELECT source, resolution, detail - 'closes' AS detail, jsonb_array_length(detail->'closes') AS closes FROM syncext.change_log ORDER BY seq DESC LIMIT 2;
SELECT * FROM told('App');
SELECT * FROM told('Web');
-- A mask hides a field's name, too, a filter what it had let through before.
SELECT * FROM told('ERP');
SELECT sync_route('ERP', 'record', NULL, '{b}');
SELECT * FROM told('ERP');
SELECT * FROM sent('{"source":"CRM","externalId":"N","version":4,"b":9,"c":9}');
SELECT * FROM told('ERP');
SELECT sync_route('ERP', 'record', '$.c == 9');
SELECT * FROM told('ERP');
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":13,"b":1,"c":9}', '{"source":"CRM","externalId":"N","version":5,"a":10}');
SELECT * FROM told('ERP');

-- A page of a window: what later transactions have of its records is looked for.
SELECT sync_route('ERP', 'record');
SELECT * FROM told('ERP');
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":20,"a":20}', '{"source":"CRM","externalId":"N","version":20,"a":20}');
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":21,"b":21}');
SELECT * FROM told('ERP', 1);
SELECT * FROM told('ERP', 1);
SELECT * FROM told('ERP');
-- but no further than that takes long: then all may have changed
SELECT * FROM sent('{"source":"CRM","externalId":"K","version":22,"a":22}');
SELECT count(*) FROM generate_series(1, 1200) i, sync_apply(jsonb_build_object('source', 'CRM', 'externalId', 'many' || i, 'version', 1, 'a', 1, 'b', 1)) a;
SELECT * FROM told('ERP', 1);
-- one transaction of many is in the order in which it wrote
SELECT drain('App');
SELECT count(*) FROM generate_series(1, 1200) i, sync_apply(jsonb_build_object('source', 'CRM', 'externalId', 'many' || i, 'version', 2, 'b', 2)) a;
SELECT DISTINCT changed FROM told('App', 10);

-- What a hand has edited to what it can't be is no reason to stop.
SELECT drain('Web');
SELECT * FROM sent('{"source":"CRM","externalId":"N","version":21,"b":2}');
UPDATE syncext.change_log_0 SET detail = '{"lost": {"x": 1}, "base": "none"}' WHERE seq = (SELECT max(seq) FROM syncext.change_log);
SELECT * FROM told('Web');
SELECT * FROM sent('{"source":"CRM","externalId":"N","version":22,"b":3}');
UPDATE syncext.change_log_0 SET detail = '[1]' WHERE seq = (SELECT max(seq) FROM syncext.change_log);
SELECT * FROM told('Web');

DROP FUNCTION told, sent, drain;
DROP EXTENSION syncext;
