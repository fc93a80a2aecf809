-- Callers that speak HTTP, as PostgREST calls: request.method and request.headers are
-- set for the transaction, and response.status is what it answers with.
CREATE EXTENSION syncext;
\ir test/helpers.sql
SELECT sync_add_source('CRM', 1), sync_add_source('Web', 3), sync_add_source('App', 3), sync_add_entity('item'), sync_add_reference('item', 'order', 'record');

-- What the gateway does: a transaction with the request's settings, the call, and then the
-- status that it was told, or that it makes of the SQLSTATE.
CREATE FUNCTION post(body jsonb, headers text DEFAULT '{"content-type": "application/json"}') RETURNS TABLE (status text, answer text) LANGUAGE plpgsql AS $$
DECLARE
	result jsonb;
	code text;
BEGIN
	PERFORM set_config('request.method', 'POST', true), set_config('request.headers', headers, true), set_config('response.status', '', true);
	BEGIN
		result := sync_apply(body);
		status := current_setting('response.status', true);
		answer := coalesce(result->>'resolution', (SELECT string_agg(coalesce(e->>'resolution', e->>'status'), ' ' ORDER BY n) FROM jsonb_array_elements(CASE jsonb_typeof(result) WHEN 'array' THEN result END) WITH ORDINALITY x(e, n)));
	EXCEPTION WHEN OTHERS THEN
		GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, answer = MESSAGE_TEXT;
		-- as PostgREST maps them
		status := code || CASE WHEN code LIKE 'PT___' THEN ' is ' || right(code, 3) WHEN code = '42501' THEN ' is 403' WHEN code IN ('42883', '42P01') THEN ' is 404'
		                       WHEN code LIKE '22%' OR code LIKE '42%' THEN ' is 400' WHEN code IN ('23503', '23505') THEN ' is 409' ELSE ' is 500' END;
	END;
	PERFORM set_config('request.method', '', true), set_config('request.headers', '', true), set_config('response.status', '', true);
	RETURN NEXT;
END $$;

-- the answer's own status
SELECT * FROM post('{"source":"Web","externalId":"K","version":1,"a":1}');
SELECT * FROM post('{"source":"App","externalId":"K","version":1,"a":2}');
SELECT * FROM post('{"source":"App","externalId":"K","version":1,"ifMatch":7,"a":2}');
SELECT * FROM post('{"source":"CRM","externalId":"K","version":0,"a":3}');
-- a change that waits for its parent was taken
SELECT * FROM post('{"entity":"item","source":"Web","externalId":"I","version":1,"order":"none"}');
-- a batch: 200, or 207 where an item went otherwise
SELECT * FROM post('[{"source":"Web","externalId":"B1","version":1,"a":1},{"source":"Web","externalId":"B2","version":1,"a":1}]');
SELECT * FROM post('[{"source":"App","externalId":"B1","version":1,"a":2},{"source":"Web","externalId":"B2","version":2,"a":1}]');
SELECT * FROM post('[{"source":"App","externalId":"B1","version":1},{"source":"App","externalId":"B1","version":2,"a":1}]');
SELECT * FROM post('[{"entity":"item","source":"Web","externalId":"I2","version":1,"order":"none"}]');
SELECT * FROM post('[]');
-- the same change once more, by its id, answers the same
SELECT * FROM post('{"source":"App","externalId":"K","version":1,"changeId":"x","a":9}') UNION ALL SELECT * FROM post('{"source":"App","externalId":"K","version":1,"changeId":"x","a":9}');
-- errors are the gateway's to map
SELECT * FROM post('{"source":"Web","version":1,"a":1}');
SELECT * FROM post('{"source":"nobody","externalId":"K","version":1,"a":1}');
CREATE ROLE regress_http;
SET ROLE regress_http;
SELECT * FROM post('{"source":"Web","externalId":"K","version":1,"a":1}');
RESET ROLE;

-- If-Match
SELECT row_version FROM syncext.canonical WHERE external_id = 'K';
SELECT t.header, p.* FROM (VALUES ('"7"'), ('"1"'), ('W/"2"'), (' 3 '), ('*'), ('"1", "2"'), ('"x"'), ('""'), ('"99999999999999999999"'), ('-1')) t(header),
	post('{"source":"Web","externalId":"K","version":1,"n":1}'::jsonb || jsonb_build_object(t.header, 1), jsonb_build_object('if-match', t.header)::text) p;
-- 0: there is to be none
SELECT * FROM post('{"source":"Web","externalId":"fresh","version":1,"a":1}', '{"if-match": "0"}');
SELECT * FROM post('{"source":"Web","externalId":"fresh","version":2,"a":1}', '{"if-match": "\"0\""}');
-- beside the document's own, and with a batch
SELECT * FROM post('{"source":"Web","externalId":"fresh","version":2,"ifMatch":1,"a":1}', '{"if-match": "\"1\""}');
SELECT * FROM post('{"source":"Web","externalId":"fresh","version":3,"ifMatch":1,"a":1}', '{"if-match": "\"2\""}');
SELECT * FROM post('[{"source":"Web","externalId":"fresh","version":3,"a":1}]', '{"if-match": "\"2\""}');
-- headers that are none
SELECT t.headers, p.* FROM (VALUES (''), ('{'), ('[]'), ('5'), ('{"if-match": 5}'), ('{"If-Match": "\"9\""}')) t(headers), post('{"source":"Web","externalId":"fresh","version":1,"a":1}', t.headers) p;
-- What a trigger sends on is no request: the header is of the record that was asked for.
CREATE FUNCTION send_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE 'one: %', sync_apply(jsonb_build_object('source', 'Web', 'externalId', NEW.external_id || ' copy', 'version', NEW.version, 'a', 1))->>'resolution';
	RAISE NOTICE 'a batch: %', sync_apply(jsonb_build_array(jsonb_build_object('source', 'nobody', 'externalId', NEW.external_id)))->0->>'status';
	IF NEW.version = 2 THEN
		PERFORM sync_apply('{}');
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER send_on AFTER INSERT OR UPDATE ON syncext.canonical FOR EACH ROW WHEN (NEW.external_id = 'sent') EXECUTE FUNCTION send_on();
SELECT * FROM post('{"source":"Web","externalId":"sent","version":1,"a":1}', '{"if-match": "0"}');
SELECT * FROM post('{"source":"Web","externalId":"sent","version":2,"a":2}', '{"if-match": "\"1\""}');
SELECT * FROM post('{"source":"Web","externalId":"sent","version":3,"a":3}', '{"if-match": "\"9\""}');
DROP TRIGGER send_on ON syncext.canonical;
-- nor is it later: when deferred triggers are fired, at commit or before
CREATE CONSTRAINT TRIGGER send_on AFTER INSERT OR UPDATE ON syncext.canonical DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.external_id = 'later') EXECUTE FUNCTION send_on();
BEGIN;
SELECT * FROM post('{"source":"Web","externalId":"later","version":1,"a":1}', '{"if-match": "0"}');
SET LOCAL response.status = 'as it was';
SET CONSTRAINTS ALL IMMEDIATE;
SELECT current_setting('response.status') AS status;
SET CONSTRAINTS ALL DEFERRED;
-- another call of the transaction is the client's
SELECT * FROM post('{"source":"Web","externalId":"other","version":1,"a":1}', '{"if-match": "9"}');
SELECT * FROM post('{"source":"Web","externalId":"later","version":3,"a":3}', '{"if-match": "1"}');
COMMIT;
-- a request that writes to a table, for whose rows a trigger calls
CREATE TABLE posted (id text, version int);
CREATE FUNCTION take_posted() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	RAISE NOTICE '%: %', NEW.id, sync_apply(jsonb_build_object('source', 'Web', 'externalId', NEW.id, 'version', NEW.version, 'a', NEW.version))->>'resolution';
	RETURN NEW;
END $$;
CREATE TRIGGER take_posted BEFORE INSERT ON posted FOR EACH ROW EXECUTE FUNCTION take_posted();
BEGIN;
SET LOCAL request.method = 'POST';
SET LOCAL request.headers = '{"if-match": "2"}';
INSERT INTO posted VALUES ('later', 4), ('other', 4);
COMMIT;
-- whose trigger is a deferred one
DROP TRIGGER take_posted ON posted;
CREATE CONSTRAINT TRIGGER take_posted AFTER INSERT ON posted DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION take_posted();
BEGIN;
SET LOCAL request.method = 'POST';
SET LOCAL request.headers = '{"if-match": "2"}';
INSERT INTO posted VALUES ('later', 5), ('other', 5);
COMMIT;
DROP TABLE posted;
DROP FUNCTION take_posted;
DROP TRIGGER send_on ON syncext.canonical;
DROP FUNCTION send_on;

-- a lease that is lost is a conflict
SELECT count(*) FROM sync_pull('App');
BEGIN;
SET LOCAL request.method = 'POST';
DO $$ BEGIN PERFORM sync_ack('App', 4711); EXCEPTION WHEN SQLSTATE 'PT409' THEN RAISE NOTICE '% %', SQLSTATE, SQLERRM; END $$;
COMMIT;

-- Nobody else notices: with the same headers, without a method.
BEGIN;
SET LOCAL request.headers = '{"if-match": "\"77\""}';
SELECT sync_apply('{"source":"Web","externalId":"fresh","version":9,"a":2}')->>'resolution' AS resolution, current_setting('response.status', true) AS status;
DO $$ BEGIN PERFORM sync_ack('App', 4711); EXCEPTION WHEN OTHERS THEN RAISE NOTICE '% %', SQLSTATE, SQLERRM; END $$;
SET LOCAL request.method = '';
SELECT sync_apply('{"source":"App","externalId":"fresh","version":9,"a":3}')->>'resolution' AS resolution, current_setting('response.status', true) AS status;
-- nor what isn't sync_apply
SET LOCAL request.method = 'POST';
SELECT sync_explain('{"source":"App","externalId":"fresh","version":9,"a":4}')->>'resolution' AS resolution, current_setting('response.status', true) AS status;
COMMIT;

-- Digits in quotes are a whole number, beyond what JavaScript can count, too.
SELECT t.value, a.said FROM (VALUES ('"9007199254740993"'), ('"0009007199254740994"'), ('"4611686018427387904"'), ('""'), ('"-1"'), ('"1.0"'), ('" 1"'), ('"1e3"'), ('"99999999999999999999999"')) t(value),
	attempt(format('SELECT a->>''version'' FROM sync_apply(%L) a', format('{"source":"Web","externalId":"big","version":%s,"a":%s}', t.value, t.value))) a;
SELECT sync_apply('{"source":"Web","externalId":"big","base":"1","b":2}')->>'resolution' AS resolution, sync_apply('{"source":"Web","externalId":"big","version":"9007199254740999","ifMatch":"3","b":3}')->>'resolution' AS resolution;
SELECT fields('record', 'big');

DROP FUNCTION post;
DROP EXTENSION syncext;
DROP ROLE regress_http;
