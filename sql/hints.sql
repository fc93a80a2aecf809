-- A call that a hint names can be copied, wherever the extension is, and whatever
-- search_path leads to.
CREATE SCHEMA "a%d b";
CREATE EXTENSION syncext SCHEMA "a%d b";
CREATE FUNCTION public.hint_of(command text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	hint text;
BEGIN
	EXECUTE command;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS hint = PG_EXCEPTION_HINT;
	RETURN hint;
END $$;
SELECT "a%d b".sync_add_source('A%s');
SELECT "a%d b".sync_apply('{"source": "A%s", "externalId": "1", "entity": "100%d", "version": 1, "a": 1}') IS NULL;
SELECT public.hint_of(format('SELECT "a%%d b".sync_apply(%L)', '{"source": "B%s", "externalId": "1", "version": 1, "a": 1}')) AS hint;
SET search_path = "a%d b", public;
SELECT hint_of(format('SELECT sync_apply(%L)', '{"source": "B%s", "externalId": "1", "version": 1, "a": 1}')) AS hint;
-- one of a function, which has a search_path of its own
SELECT hint_of($$SELECT sync_route('B%s', 'record')$$) AS hint;
RESET search_path;

-- what is looked at, and what was given up
CREATE TABLE public.t (id text PRIMARY KEY);
SELECT "a%d b".sync_attach('t', 'A%s', capture => 'trigger');
ALTER TABLE public.t DISABLE TRIGGER _syncext_capture;
INSERT INTO syncext.pending (target, entity, external_id, row_version, correction, attempts, since, error) VALUES ('A%s', 'record', '1', 1, false, 5, now(), 'it failed');
CREATE VIEW public.said AS
	SELECT 'check' AS of, object, hint FROM "a%d b".sync_check() WHERE severity = 'error'
	UNION ALL SELECT 'problem', object, hint FROM syncext.problem WHERE severity = 'error'
	UNION ALL SELECT 'dead letter', external_id, redrive FROM syncext.dead_letter;
SELECT * FROM public.said ORDER BY 1, 2;
SET search_path = "a%d b", public;
SELECT * FROM said ORDER BY 1, 2;
RESET search_path;
-- it can be called
SELECT redrive FROM syncext.dead_letter \gexec

DROP VIEW public.said;
DROP FUNCTION public.hint_of;
DROP TABLE public.t;
DROP EXTENSION syncext;
DROP SCHEMA "a%d b";
