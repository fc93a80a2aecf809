-- Random edits of a linked table, folded and sent in batches of any size: what
-- is sent, applied one by one to what was known before, gives the table's rows.
-- The model knows nothing of folding: it is a table that changes are applied to.
\set VERBOSITY terse
CREATE EXTENSION syncext;
SELECT sync_add_entity('item'), sync_add_source('branch');
CREATE TABLE item (id int PRIMARY KEY, a int, b text, c numeric, d jsonb);
SELECT sync_attach('item', 'branch', 'item');
INSERT INTO syncext.link (name, server, source) VALUES ('l', 'none', 'branch');
SELECT syncext.link_start('branch');
CREATE TABLE model (id int PRIMARY KEY, fields jsonb NOT NULL);
CREATE TABLE sent (round int, id int);

CREATE PROCEDURE edit_row(k int) LANGUAGE plpgsql AS $$
DECLARE
	v int := floor(random() * 5);
BEGIN
	IF NOT EXISTS (SELECT FROM item WHERE id = k) THEN
		INSERT INTO item VALUES (k, v, 'b' || v, v * 1.5, CASE WHEN random() < 0.7 THEN jsonb_build_object('v', v) END);
	ELSIF random() < 0.2 THEN
		DELETE FROM item WHERE id = k;
	ELSIF random() < 0.1 THEN
		-- another key: the old record goes, a new one comes
		UPDATE item SET id = k + 100, a = v WHERE id = k AND NOT EXISTS (SELECT FROM item WHERE id = k + 100);
	ELSE
		UPDATE item SET a = CASE WHEN random() < 0.5 THEN v ELSE a END,
		                b = CASE WHEN random() < 0.5 THEN nullif('b' || v, 'b0') ELSE b END,
		                c = CASE WHEN random() < 0.3 THEN v ELSE c END,
		                d = CASE WHEN random() < 0.3 THEN to_jsonb(v) ELSE d END
		WHERE id = k;
	END IF;
END $$;

CREATE PROCEDURE edit(n int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. n LOOP
		IF random() < 0.2 THEN
			-- a subtransaction, half of them in vain
			BEGIN
				CALL edit_row(floor(random() * 12)::int);
				CALL edit_row(floor(random() * 12)::int);
				IF random() < 0.5 THEN
					RAISE division_by_zero;
				END IF;
			EXCEPTION WHEN division_by_zero THEN
				NULL;
			END;
		ELSE
			CALL edit_row(floor(random() * 12)::int);
		END IF;
		IF random() < 0.3 THEN
			COMMIT;
		END IF;
	END LOOP;
	COMMIT;
END $$;

-- Send everything; between two batches the table may be edited on.
CREATE PROCEDURE send(round int, editing boolean) LANGUAGE plpgsql AS $$
DECLARE
	number bigint;
	changes jsonb;
	change jsonb;
BEGIN
	LOOP
		SELECT max(c.batch), jsonb_agg(c.change) INTO number, changes
		FROM syncext.captured('branch', 1 + floor(random() * 4)::int) c;
		COMMIT;
		EXIT WHEN number IS NULL;
		IF random() < 0.3 THEN
			-- the same again, as after a crash
			IF changes <> (SELECT jsonb_agg(c.change) FROM syncext.captured('branch', 50) c) THEN
				RAISE WARNING 'round %: batch % came again with something else', round, number;
			END IF;
			COMMIT;
		END IF;
		IF editing AND random() < 0.5 THEN
			CALL edit(2);
		END IF;
		FOR change IN SELECT * FROM jsonb_array_elements(changes) LOOP
			INSERT INTO sent VALUES (round, (change ->> 'externalId')::int);
			IF change ? 'deleted' THEN
				DELETE FROM model WHERE id = (change ->> 'externalId')::int;
			ELSE
				INSERT INTO model VALUES ((change ->> 'externalId')::int, change -> 'fields')
				ON CONFLICT (id) DO UPDATE SET fields = model.fields || excluded.fields;
			END IF;
		END LOOP;
		PERFORM syncext.captured_answered('branch', number,
			(SELECT jsonb_agg('{"status": 200, "lost": []}'::jsonb) FROM jsonb_array_elements(changes)));
		COMMIT;
	END LOOP;
END $$;

CREATE VIEW difference AS
	SELECT id, to_jsonb(i) - 'id' AS here, m.fields AS there, r.fields AS agreed
	FROM item i FULL JOIN model m USING (id)
	FULL JOIN (SELECT external_id::int AS id, fields FROM syncext.replica WHERE fields IS NOT NULL) r USING (id)
	WHERE to_jsonb(i) - 'id' IS DISTINCT FROM m.fields OR m.fields IS DISTINCT FROM r.fields;

CREATE PROCEDURE rounds(first int, last int, editing boolean) LANGUAGE plpgsql AS $$
DECLARE
	d record;
BEGIN
	FOR round IN first .. last LOOP
		PERFORM setseed(round / 1000.0);
		CALL edit(floor(random() * 40)::int);
		CALL send(round, editing);
		FOR d IN SELECT * FROM difference LOOP
			RAISE WARNING 'round %: %', round, d;
		END LOOP;
	END LOOP;
END $$;

-- one change a record, whatever was done to it
CALL rounds(1, 40, false);
SELECT round, id, count(*) FROM sent GROUP BY round, id HAVING count(*) > 1;
CALL rounds(41, 80, true);
SELECT count(*) > 500 AS enough, count(DISTINCT round) FROM sent;
SELECT * FROM difference;

-- The model can tell: a field that isn't sent shows.
UPDATE item SET a = 77 WHERE id = (SELECT min(id) FROM item);
SELECT count(*) FROM difference;
CALL send(81, false);
SELECT count(*) FROM difference;

-- Transactions that end in another order than they began: by seq, not by xid.
CREATE EXTENSION dblink;
SELECT format('host=%s port=%s dbname=%s', split_part(current_setting('unix_socket_directories'), ',', 1), current_setting('port'), current_database()) AS here \gset
SELECT dblink_connect('early', :'here'), dblink_connect('late', :'here');
SELECT dblink_exec('early', 'BEGIN'), dblink_exec('early', 'INSERT INTO item VALUES (500, 0)');
SELECT dblink_exec('late', 'INSERT INTO item VALUES (501, 1)');
SELECT dblink_exec('early', 'UPDATE item SET a = 2 WHERE id = 501'), dblink_exec('early', 'COMMIT');
SELECT change -> 'externalId' AS id, change -> 'fields' -> 'a' AS a FROM syncext.captured('branch', 1);
CALL send(82, false);
SELECT * FROM difference;
SELECT dblink_disconnect('early'), dblink_disconnect('late');
DROP EXTENSION dblink;

DROP EXTENSION syncext CASCADE;
DROP TABLE item, model, sent;
DROP PROCEDURE edit_row, edit, send, rounds;
