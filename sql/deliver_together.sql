-- New rows of an attached table are inserted together where nobody can tell: what
-- comes of them is what comes of each alone.
CREATE EXTENSION syncext;
\pset null (null)
SELECT sync_add_entity('item'), sync_add_source('Shop', 1), sync_add_source('Till', 2);
CREATE TABLE till (id int PRIMARY KEY, name text NOT NULL, price numeric(8, 2) CHECK (price >= 0),
	code text UNIQUE);
SELECT sync_attach('till', 'Till', 'item');
CREATE FUNCTION shop_sends(ids int[], price text, prefix text DEFAULT 'C') RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', 'item', 'source', 'Shop',
		'externalId', i::text, 'version', 1, 'fields', jsonb_build_object('name', 'Item ' || i, 'price', price::numeric,
		'code', prefix || i)) ORDER BY i) FROM unnest(ids) i))
$$;
SELECT shop_sends(array_agg(i), '1.5') FROM generate_series(1, 700) i;

-- All come in, in several lots, none of them as an edit, and are remembered
SELECT sync_deliver('Till', 1000);
SELECT count(*), sum(price), count(DISTINCT code), min(name), max(name) FROM till;
SELECT count(*) FROM syncext.replica WHERE relation = 'till'::regclass;
SELECT count(*) FROM syncext.canonical WHERE last_source <> 'Shop';
SELECT sync_deliver('Till', 1000);
UPDATE till SET price = 2 WHERE id = 7;
SELECT fields->'price', last_source FROM syncext.canonical WHERE external_id = '7';

-- Those that the table refuses fail alone: a check, a unique value, a null
INSERT INTO till VALUES (9000, 'Own', 1, 'D1002');
SELECT shop_sends(array_agg(i), CASE WHEN i = 1001 THEN '-1' ELSE '3' END, 'D')
FROM generate_series(1001, 1003) i GROUP BY i ORDER BY i;
SELECT count(*) FROM sync_apply('{"entity": "item", "source": "Shop", "externalId": "1004", "version": 1,
	"fields": {"price": 4, "code": "D1004"}}');
SELECT shop_sends(array_agg(i), '3', 'D') FROM generate_series(1005, 1009) i;
SELECT sync_deliver('Till', 1000);
SELECT id, price FROM till WHERE id BETWEEN 1001 AND 1009 ORDER BY id;
SELECT external_id, state, attempts, error FROM syncext.outbound_change WHERE target = 'Till' AND error IS NOT NULL ORDER BY external_id;

-- What is filled in where it isn't delivered is the row's own word, and reaches the hub
CREATE TABLE till2 (id int PRIMARY KEY, name text, price numeric(8, 2), code text, shelf text DEFAULT 'A');
SELECT sync_add_source('Stock', 3);
SELECT sync_attach('till2', 'Stock', 'item');
SELECT sync_deliver('Stock', 2000) > 700;
SELECT count(*), count(shelf) FROM till2;
SELECT count(*) FROM syncext.canonical WHERE fields->>'shelf' = 'A';

-- Triggers of the table's own see every row, and the others' edits of theirs are captured
CREATE TABLE till3 (id int PRIMARY KEY, name text, price numeric(8, 2), code text);
CREATE TABLE seen (id int, n int);
CREATE FUNCTION see_till() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen SELECT new.id, count(*) FROM public.till3;
	new.name := upper(new.name);
	RETURN new;
END $$;
CREATE TRIGGER see BEFORE INSERT ON till3 FOR EACH ROW EXECUTE FUNCTION see_till();
SELECT sync_add_source('Board', 4);
SELECT sync_attach('till3', 'Board', 'item');
SELECT sync_deliver('Board', 2000) > 700;
SELECT count(*), count(DISTINCT n) FROM seen;
SELECT count(*) FROM till3 WHERE name = upper(name);

-- A child's rows come after their parents', in the same delivery
SELECT sync_add_entity('part');
CREATE TABLE whole (id int PRIMARY KEY, name text);
CREATE TABLE part (id int PRIMARY KEY, whole int REFERENCES whole, name text);
SELECT sync_add_source('Plan', 5);
SELECT sync_detach('till3');
SELECT sync_attach('whole', 'Plan', 'item', columns => '{"name": "name"}'),
	sync_attach('part', 'Plan', 'part', columns => '{"whole": "whole", "name": "name"}');
SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', 'part', 'source', 'Shop', 'externalId', i::text,
	'version', 1, 'fields', jsonb_build_object('name', 'Part ' || i, 'whole', CASE WHEN i = 13 THEN 7777 ELSE i END)))
	FROM generate_series(1, 300) i));
SELECT sync_deliver('Plan', 3000) > 900;
SELECT count(*) FROM whole;
SELECT count(*), count(*) FILTER (WHERE id = 13) FROM part;
SELECT external_id, state, error FROM syncext.outbound_change WHERE target = 'Plan' AND error IS NOT NULL;

-- A load leaves alone what is placed, but tells of a record that can't be read
CREATE TABLE shown (id int PRIMARY KEY, name text);
SELECT sync_add_source('Screen', 6);
SELECT sync_attach('shown', 'Screen', 'item', columns => '{"name": "name"}', direction => 'out');
CREATE FUNCTION load_shown() RETURNS text LANGUAGE plpgsql AS
	$$ DECLARE r jsonb; BEGIN CALL sync_load('shown', 'ladder', false, r); RETURN (r - 'seconds' - 'details')::text; END $$;
SELECT load_shown();
SELECT count(*) FROM shown;
SELECT load_shown();
DELETE FROM shown WHERE id = 3;
UPDATE syncext.canonical SET stamps = '[]' WHERE entity = 'item' AND external_id = '2';
SELECT load_shown();
SELECT count(*) FROM shown;

-- Rows whose keys are drawn come in together, too, each with a key of its own; those that
-- refer to them find the keys
SELECT sync_add_entity('ticket'), sync_add_entity('line'), sync_add_source('Desk', 7);
SELECT sync_add_reference('line', 'ticket', 'ticket');
CREATE TABLE ticket (no int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
CREATE TABLE line (no serial PRIMARY KEY, ticket int REFERENCES ticket, name text);
SELECT sync_attach('ticket', 'Desk', 'ticket', own_keys => true), sync_attach('line', 'Desk', 'line', own_keys => true);
CREATE FUNCTION shop_tickets(ids int[]) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', 'ticket', 'source', 'Shop',
		'externalId', 'T' || i, 'version', 1, 'fields', jsonb_build_object('name', 'Ticket ' || i)) ORDER BY i) FROM unnest(ids) i))
$$;
SELECT shop_tickets(array_agg(i)) FROM generate_series(1, 600) i;
SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', 'line', 'source', 'Shop',
	'externalId', 'L' || i, 'version', 1, 'fields', jsonb_build_object('name', 'Line ' || i, 'ticket', 'T' || i))) FROM generate_series(1, 600) i));
SELECT sync_deliver('Desk', 2000);
SELECT sync_deliver('Desk', 2000);
CREATE VIEW misnamed AS
	SELECT k.entity, k.source_id, k.external_id FROM syncext.source_key k
	LEFT JOIN ticket t ON k.entity = 'ticket' AND t.no::text = k.source_id
	LEFT JOIN line l ON k.entity = 'line' AND l.no::text = k.source_id
	WHERE coalesce(t.name, l.name) IS DISTINCT FROM sync_record(k.entity, k.external_id)->'fields'->>'name';
SELECT count(*), count(DISTINCT no) FROM ticket;
SELECT count(*) FROM line JOIN ticket ON ticket.no = line.ticket WHERE substr(line.name, 6) = substr(ticket.name, 8);
SELECT entity, count(*) FROM syncext.source_key GROUP BY 1 ORDER BY 1;
SELECT * FROM misnamed;
SELECT count(*) FROM syncext.canonical WHERE entity IN ('ticket', 'line') AND last_source <> 'Shop';

-- One that has a key already, which nothing is remembered of, keeps it; a key that is taken is drawn past
SELECT shop_tickets(array_agg(i)) FROM generate_series(1001, 1100) i;
INSERT INTO syncext.source_key (source, entity, source_id, external_id) VALUES ('Desk', 'ticket', '5000', 'T1050');
INSERT INTO ticket (no, name) OVERRIDING SYSTEM VALUE SELECT max(no) + 60, 'Own' FROM ticket;
SELECT sync_deliver('Desk', 2000);
SELECT sync_deliver('Desk', 2000);
SELECT name FROM ticket WHERE no = 5000;
SELECT count(*), count(DISTINCT no) FROM ticket;
SELECT * FROM misnamed;
SELECT external_id, state, error FROM syncext.outbound_change WHERE target = 'Desk' AND error IS NOT NULL;

-- A default that looks at the table sees the rows before
CREATE TABLE numbered (no int PRIMARY KEY, name text);
CREATE FUNCTION next_number() RETURNS int LANGUAGE sql AS 'SELECT coalesce(max(no), 0) + 1 FROM public.numbered';
ALTER TABLE numbered ALTER no SET DEFAULT next_number();
SELECT sync_add_source('Book', 8);
SELECT sync_attach('numbered', 'Book', 'ticket', own_keys => true);
SELECT sync_deliver('Book', 2000);
SELECT count(*), max(no) FROM numbered;

-- Rows that are there are updated without a statement: what the hub doesn't know of them stays,
-- and what the table refuses fails alone
CREATE TABLE shelf (id int PRIMARY KEY, label text);
INSERT INTO shelf SELECT i, 'Shelf ' || i FROM generate_series(1, 5) i;
CREATE TABLE stock (id int PRIMARY KEY, name text NOT NULL, shelf int REFERENCES shelf, place int UNIQUE,
	amount int CHECK (amount >= 0), slots int4range, note text, own text DEFAULT 'kept',
	EXCLUDE USING gist (slots WITH &&));
CREATE INDEX ON stock (lower(name)) WHERE amount > 10;
SELECT sync_add_entity('stock'), sync_add_source('Store', 9);
SELECT sync_attach('stock', 'Store', 'stock', columns => '{"name": "name", "shelf": "shelf", "place": "place", "amount": "amount", "slots": "slots", "note": "note"}');
CREATE FUNCTION shop_stocks(ids int[], v int, fields text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	EXECUTE format('SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object(''entity'', ''stock'', ''source'', ''Shop'',
		''externalId'', i::text, ''version'', %s, ''fields'', %s) ORDER BY i) FROM unnest($1) i))', v, fields) INTO n USING ids;
	RETURN n;
END $$;
SELECT shop_stocks(array_agg(i), 1, $$jsonb_build_object('name', 'Thing ' || i, 'shelf', i % 5 + 1, 'place', i, 'amount', i,
	'slots', format('[%s,%s)', i, i + 1), 'note', repeat(i::text, 2000))$$) FROM generate_series(1, 300) i;
SELECT sync_deliver('Store', 1000);
UPDATE stock SET own = 'own ' || id;
SELECT shop_stocks(array_agg(i), 2, $$jsonb_build_object('name', 'Item ' || i, 'amount', CASE WHEN i = 50 THEN -1 ELSE i + 1 END,
	'shelf', CASE WHEN i = 60 THEN 99 ELSE (i + 1) % 5 + 1 END, 'place', CASE WHEN i IN (70, 71) THEN 141 - i WHEN i = 80 THEN 81 ELSE i END,
	'slots', CASE WHEN i = 90 THEN '[91,93)' ELSE format('[%s,%s)', i, i + 1) END)$$) FROM generate_series(1, 300) i;
SELECT sync_deliver('Store', 1000);
SELECT count(*), count(*) FILTER (WHERE own = 'own ' || id AND note = repeat(id::text, 2000)) FROM stock WHERE name LIKE 'Item %';
SELECT id, name, place FROM stock WHERE name LIKE 'Thing %' OR id IN (70, 71) ORDER BY id;
SELECT external_id, state, error FROM syncext.outbound_change WHERE target = 'Store' AND error IS NOT NULL ORDER BY external_id::int;
SET enable_seqscan = off;
SELECT count(*) FROM stock WHERE lower(name) = 'item 200' AND amount > 10;
RESET enable_seqscan;
SELECT count(*) FROM syncext.canonical WHERE entity = 'stock' AND last_source <> 'Shop';
-- an edit is still captured, and the next delivery finds nothing to do
UPDATE stock SET amount = 7 WHERE id = 7;
SELECT fields->'amount', last_source FROM syncext.canonical WHERE entity = 'stock' AND external_id = '7';
SELECT sync_deliver('Store', 1000);

-- What the row's changes bring about elsewhere is done, and captured: generated columns, cascades
CREATE TABLE owner_of (id int PRIMARY KEY, code text UNIQUE, twice text GENERATED ALWAYS AS (code || code) STORED);
CREATE TABLE owned (id int PRIMARY KEY, code text REFERENCES owner_of (code) ON UPDATE CASCADE);
CREATE TABLE shout (id int PRIMARY KEY, code text UNIQUE);
CREATE TABLE heard (id int PRIMARY KEY, code text REFERENCES shout (code) ON UPDATE CASCADE);
SELECT sync_add_entity(e) FROM unnest('{owner,owned,shout,heard}'::text[]) e;
SELECT sync_attach('owner_of', 'Store', 'owner', columns => '{"code": "code"}'), sync_attach('owned', 'Store', 'owned', columns => '{"code": "code"}'),
	sync_attach('shout', 'Store', 'shout'), sync_attach('heard', 'Store', 'heard');
SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', e, 'source', 'Shop', 'externalId', i::text, 'version', 1,
	'fields', jsonb_build_object('code', 'c' || i))) FROM generate_series(1, 20) i, unnest('{owner,shout}'::text[]) e));
SELECT sync_deliver('Store', 1000);
INSERT INTO owned SELECT id, code FROM owner_of;
INSERT INTO heard SELECT id, code FROM shout;
SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', e, 'source', 'Shop', 'externalId', i::text, 'version', 2,
	'fields', jsonb_build_object('code', 'd' || i))) FROM generate_series(1, 20) i, unnest('{owner,shout}'::text[]) e));
SELECT sync_deliver('Store', 1000);
SELECT count(*) FROM owner_of WHERE code = 'd' || id AND twice = code || code;
SELECT count(*) FROM owned WHERE code = 'd' || id;
SELECT count(*) FROM heard WHERE code = 'd' || id;
SELECT entity, last_source, count(*) FROM syncext.canonical WHERE entity IN ('owner', 'owned', 'shout', 'heard') AND fields->>'code' = 'd' || external_id GROUP BY 1, 2 ORDER BY 1;

DROP VIEW misnamed;
SELECT sync_detach(t) FROM unnest('{ticket,line,numbered,stock,owner_of,owned,shout,heard}'::regclass[]) t;
DROP TABLE line, ticket, numbered, stock, shelf, owned, owner_of, heard, shout;
DROP FUNCTION shop_tickets, shop_stocks, next_number;

-- What the table's code sets for one row is not there for the next one's
SELECT sync_add_entity('talk'), sync_add_source('Ear', 3);
CREATE TABLE talk (id int PRIMARY KEY, word text, heard text);
CREATE FUNCTION hear() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.heard := coalesce(current_setting('talk.last', true), '');
	PERFORM set_config('talk.last', NEW.word, false);
	RETURN NEW;
END $$;
CREATE TRIGGER hear BEFORE INSERT ON talk FOR EACH ROW EXECUTE FUNCTION hear();
SELECT sync_attach('talk', 'Ear', 'talk', columns => '{"word": "word"}');
SELECT count(*) FROM sync_apply((SELECT jsonb_agg(jsonb_build_object('entity', 'talk', 'source', 'Shop', 'externalId', i::text, 'version', 1,
	'fields', jsonb_build_object('word', 'w' || i))) FROM generate_series(1, 5) i));
SELECT sync_deliver('Ear', 1000) >= 5 AS delivered;
SELECT count(*), count(*) FILTER (WHERE heard = '') AS apart FROM talk;
SELECT coalesce(current_setting('talk.last', true), '') = '' AS nothing_left, current_setting('syncext.inbound') = '' AS nothing_inbound;
SELECT sync_detach('talk');
DROP TABLE talk;
DROP FUNCTION hear;

-- Rows are taken to be new where those before were: of two records whose keys are equal to the
-- table one has the row, and the other is told so
CREATE TABLE till6 (id numeric PRIMARY KEY, name text);
SELECT sync_add_entity('size'), sync_add_source('Sizes', 4);
SELECT sync_attach('till6', 'Sizes', 'size');
SELECT count(sync_apply(jsonb_build_object('entity', 'size', 'source', 'Shop', 'externalId', id, 'version', 1,
	'fields', jsonb_build_object('name', 'Size ' || id))))
FROM unnest('{1,2,3,4,5,6,6.0,6.00,7,7.5,8,9}'::text[]) id;
SELECT sync_deliver('Sizes');
SELECT * FROM till6 ORDER BY id;
SELECT external_id, error FROM syncext.outbound_change WHERE target = 'Sizes' AND error IS NOT NULL ORDER BY external_id;
-- and rows that are there between new ones are found
INSERT INTO till6 VALUES (6.5, 'Mine'), (8.5, 'Mine');
SELECT count(sync_apply(jsonb_build_object('entity', 'size', 'source', 'Shop', 'externalId', id, 'version', 3,
	'fields', jsonb_build_object('name', 'New ' || id))))
FROM unnest('{5.1,5.2,5.3,5.4,5.5,5.6,5.7,5.8,6.1,6.2,6.5,6.6,8.4,8.5,8.6}'::text[]) id;
SELECT sync_deliver('Sizes');
SELECT * FROM till6 WHERE id > 5 ORDER BY id;
SELECT sync_detach('till6');
DROP TABLE till6;

DROP EXTENSION syncext CASCADE;
DROP TABLE shown, till, till2, till3, seen, part, whole;
DROP FUNCTION shop_sends, see_till, load_shown;
