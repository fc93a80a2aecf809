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

DROP EXTENSION syncext CASCADE;
DROP TABLE shown, till, till2, till3, seen, part, whole;
DROP FUNCTION shop_sends, see_till, load_shown;
