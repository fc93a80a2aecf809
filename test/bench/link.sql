-- What each node of test/bench/link has: the table, and who writes and watches it.

CREATE TABLE customer (
	id bigint PRIMARY KEY,
	name text,
	email text,
	phone text,
	city text,
	n bigint NOT NULL DEFAULT 0);

CREATE SCHEMA bench;

CREATE FUNCTION bench.customers(records bigint) RETURNS SETOF customer LANGUAGE sql AS $$
	SELECT k, 'Customer ' || k, 'c' || k || '@example.com', '+49 ' || k, 'Cologne', 0
	FROM generate_series(1, records) k
$$;

-- A transaction for each row, each row once, not in the order of the table;
-- the factor is a prime that divides no number of records used.
CREATE PROCEDURE bench.update_rows(records bigint, round bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN 1 .. records LOOP
		UPDATE customer SET phone = '+49 ' || round || '-' || i, n = round WHERE id = i * 7919 % records + 1;
		COMMIT;
	END LOOP;
END $$;

CREATE PROCEDURE bench.insert_rows(first bigint, records bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first .. first + records - 1 LOOP
		INSERT INTO customer VALUES (i, 'Customer ' || i, 'c' || i || '@example.com', '+49 ' || i, 'Cologne', i);
		COMMIT;
	END LOOP;
END $$;

-- Wait until a query says true; returns when that was, as seconds since 1970.  It holds no snapshot in
-- between, as the tables watched are written to all the time.
CREATE PROCEDURE bench.watch(question text, timeout interval, INOUT seen float8 DEFAULT NULL)
LANGUAGE plpgsql AS $$
DECLARE
	started timestamptz := clock_timestamp();
	answer boolean;
BEGIN
	LOOP
		EXECUTE question INTO answer;
		EXIT WHEN answer;
		IF clock_timestamp() > started + timeout THEN
			RAISE 'not so after %: %', timeout, question;
		END IF;
		COMMIT;
		PERFORM pg_sleep(0.02);
	END LOOP;
	seen := extract(epoch FROM clock_timestamp());
END $$;

-- When a watcher saw the nth change of the latency workload
CREATE UNLOGGED TABLE bench.arrived (id bigint, at timestamptz);

CREATE FUNCTION bench.is_here(id bigint, mark bigint) RETURNS boolean LANGUAGE sql AS $$
	SELECT EXISTS (SELECT FROM customer c WHERE c.id = is_here.id AND c.n = mark)
$$;

-- Note which of the rows, from the one to follow on, have come with this mark;
-- returns the first that has not.
CREATE FUNCTION bench.see(following bigint, mark bigint) RETURNS bigint LANGUAGE plpgsql AS $$
BEGIN
	WHILE bench.is_here(following, mark) LOOP
		INSERT INTO bench.arrived VALUES (following, clock_timestamp());
		following := following + 1;
	END LOOP;
	RETURN following;
END $$;

-- What the conflict workload edited here: the value written, and the one that
-- the editor saw in its place.
CREATE TABLE bench.edit (node text, id bigint, field text, value text, saw text);

-- Edit rows at given times.  Who calls it with the same seed at another node
-- edits the same rows at the same times: half of the time another field, half
-- of the time the same.
CREATE PROCEDURE bench.edit_rows(node text, own_field text, started timestamptz, edits int, per_second float8,
	records int, seed float8) LANGUAGE plpgsql AS $$
DECLARE
	row_id bigint;
	field text;
	here boolean;
	seen text;
	due float8 := 0;
BEGIN
	PERFORM setseed(seed);
	FOR i IN 1 .. edits LOOP
		due := due - ln(1 - random()) / per_second;
		row_id := 1 + floor(random() * records);
		field := CASE WHEN random() < 0.5 THEN own_field ELSE 'city' END;
		PERFORM pg_sleep(extract(epoch FROM started - clock_timestamp()) + due);
		-- Bucardo deletes a row and inserts it anew: for a moment it isn't there.
		FOR tried IN 1 .. 1000 LOOP
			EXECUTE format('SELECT true, %I FROM customer WHERE id = $1 FOR UPDATE', field) INTO here, seen USING row_id;
			EXIT WHEN here;
			COMMIT;
			PERFORM pg_sleep(0.01);
		END LOOP;
		IF here IS NULL THEN
			RAISE 'there is no row %', row_id;
		END IF;
		EXECUTE format('UPDATE customer SET %I = $2 WHERE id = $1', field) USING row_id, node || '-' || i;
		INSERT INTO bench.edit VALUES (node, row_id, field, node || '-' || i, seen);
		COMMIT;
	END LOOP;
END $$;
