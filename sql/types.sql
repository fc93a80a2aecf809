-- Values of all types on their way from one attached table through the hub to
-- another one, whatever the settings of the sessions are.
CREATE EXTENSION syncext;
SELECT sync_add_source('A'), sync_add_source('B');
CREATE TYPE color AS ENUM ('red', 'green', '"odd, one"');
CREATE DOMAIN posint AS int CHECK (value > 0);
CREATE DOMAIN short AS varchar(5) NOT NULL;
CREATE DOMAIN intarr AS int[] CHECK (array_length(value, 1) < 5);
CREATE TYPE pair AS (x int, y text, z numeric(6,2));
CREATE DOMAIN pairdom AS pair;
CREATE TYPE nested AS (p pair, arr text[], t timestamptz, d intarr);
CREATE TYPE frange AS RANGE (subtype = float8);
CREATE TABLE ta (
	id int PRIMARY KEY,
	c_bool bool, c_int2 int2, c_int4 int4, c_int8 int8, c_float4 float4, c_float8 float8, c_numeric numeric, c_num102 numeric(10,2), c_money money,
	c_text text, c_varchar varchar(20), c_bpchar char(8), c_bp bpchar, c_name name, c_char "char", c_bytea bytea,
	c_date date, c_time time, c_timetz timetz, c_ts timestamp, c_tstz timestamptz, c_tstz0 timestamptz(0), c_interval interval,
	c_uuid uuid, c_json json, c_jsonb jsonb, c_jsonnn json NOT NULL DEFAULT 'null', c_jsonbnn jsonb NOT NULL DEFAULT 'null', c_xml xml, c_jsonpath jsonpath,
	c_inet inet, c_cidr cidr, c_mac macaddr, c_mac8 macaddr8, c_bit bit(5), c_varbit varbit,
	c_point point, c_line line, c_lseg lseg, c_box box, c_path path, c_polygon polygon, c_circle circle,
	c_tsv tsvector, c_tsq tsquery, c_int4range int4range, c_int8range int8range, c_numrange numrange, c_tsrange tsrange, c_tstzrange tstzrange,
	c_daterange daterange, c_int8mr int8multirange, c_tstzmr tstzmultirange,
	c_oid oid, c_regclass regclass, c_regtype regtype, c_regproc regprocedure, c_regrole regrole, c_regnsp regnamespace,
	c_lsn pg_lsn, c_xid xid, c_xid8 xid8, c_snap pg_snapshot, c_tid tid,
	c_enum color, c_posint posint, c_short short DEFAULT 'dflt', c_intarr intarr, c_pair pair, c_pairdom pairdom, c_nested nested, c_pairs pair[], c_frange frange,
	c_ints int[], c_texts text[], c_bools bool[], c_nums numeric[], c_tstzs timestamptz[], c_jsonbs jsonb[], c_jsons json[], c_byteas bytea[], c_enums color[],
	c_doms posint[], c_intarrs intarr[], c_ranges int4range[], c_floats float8[], c_intervals interval[], c_bpchars char(4)[], c_int2v int2vector, c_oidv oidvector,
	"c Odd ""Name" text);
CREATE TABLE tb (LIKE ta INCLUDING ALL);
SELECT sync_attach('ta', 'A'), sync_attach('tb', 'B');

-- how many rows differ, column by column
CREATE FUNCTION differing() RETURNS TABLE (col name, type regtype, id int, a text, b text) LANGUAGE plpgsql AS $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'ta'::regclass AND attnum > 0 ORDER BY attnum LOOP
		RETURN QUERY EXECUTE format('SELECT %1$L::name, %2$L::regtype, id, ta.%1$I::text, tb.%1$I::text FROM ta FULL JOIN tb USING (id)
			WHERE ta.%1$I::text COLLATE "C" IS DISTINCT FROM tb.%1$I::text', c.attname, c.atttypid);
	END LOOP;
END $$;

-- one session writes,
SET timezone = 'America/New_York';
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'sql_standard';
SET extra_float_digits = -5;
SET bytea_output = 'escape';
SET quote_all_identifiers = on;
SET xmloption = 'content';
INSERT INTO ta VALUES (1,
	true, -32768, 2147483647, -9223372036854775808, 1.1, 0.1 + 0.2, 12345678901234567890.123456789000, 1.5, 1234.56,
	E'tab\t"q" \\ \u00e9 \U0001F600', 'vc  ', 'ab', 'trail  ', 'nm', 'x', decode('00ff10ab', 'hex'),
	'2024-02-29', '23:59:59.123456', '12:00:00+05:30', '2024-01-02 03:04:05.678901', '2024-07-01 12:00:00.5+02', '2024-07-01 12:00:00.5+02', interval '-1 mons +2 days' - interval '03:04:05.6',
	'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{"a": [1, null, "x"]}', '{"b": {"c": 1.50}}', '{"n": null}', '"null"', '<a>x</a><b/>', '$.a[*] ? (@ > 1)',
	'10.1.2.3/8', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10101', B'1',
	'(1.1,-2.3333333333333335)', '{1,2,3}', '[(0,0),(1,1)]', '(1,1),(0,0)', '[(0,0),(1,1),(2,0)]', '((0,0),(1,1),(2,0))', '<(1,2),3>',
	'fat:1A cat:2', 'fat & !cat', '[1,5)', '[,9]', '(1.5,2.5]', '[2024-01-01 10:00,2024-01-02)', '[2024-01-01 00:00+02,)', '[2024-01-01,2024-02-01)', '{[1,3),[5,7)}', '{[2024-01-01 00:00+02,2024-01-02 00:00+02)}',
	4294967295, 'ta', 'int4[]', 'pg_catalog.lower(text)'::regprocedure, 'pg_read_all_data', 'public', '16/B374D848', '4000000000', '1234567890123', '10:20:10,14,15', '(5,7)',
	'"odd, one"', 7, 'abc', '{1,2}', '(1,"a,b",3.14)', '(2,,)', '("(1,x,2)","{a,b}","2024-01-01 00:00+00","{3}")', ARRAY[(1,'a',1)::pair, NULL, (NULL,NULL,NULL)::pair], '[0.1,0.30000000000000004)',
	'{{1,2},{3,NULL}}', '{"a,b","NULL",NULL,"","{x}"}', '{t,f}', '{1.10,NaN,Infinity}', '{"2024-07-01 12:00+02",infinity}', ARRAY['[1,2]', '"s"', 'null', '{"a": 1}']::jsonb[], ARRAY['[1]']::json[], ARRAY[decode('01ff', 'hex')], '{red,green}',
	'{1,2}', ARRAY['{1}', '{2}']::intarr[], '{"[1,2)","empty"}', '{0.1,NaN,-Infinity,1e300}', ARRAY['1 day', '-1 mons'::interval], '{a,b}', '1 2 3', '4 5',
	'odd name');
INSERT INTO ta (id, c_short) VALUES (2, 'nulls');
INSERT INTO ta (id, c_short, c_float4, c_float8, c_numeric, c_date, c_ts, c_tstz, c_ints, c_text, c_bytea, c_texts, c_json, c_jsonb, c_jsonnn, c_jsonbnn, c_int4range, c_tsv, c_xml, c_char, c_bp, c_bpchar, c_time, c_interval) VALUES
	(3, '', 'NaN', '-Infinity', 'NaN', 'infinity', '-infinity', 'infinity', '[0:1]={1,2}', '', '', '{}', '"str"', '"str"', 'true', 'true', 'empty', '', '', '', '', '', '24:00:00', '0'),
	(4, 'x', -1e-37, '1e-310', 'Infinity', '0044-03-15 BC', '0044-03-15 01:02:03 BC', '20000-01-01 00:00+00', '{}', ' ', '\x', NULL, '5', '5', '[]', '[[]]', '(,)', NULL, NULL, NULL, ' ', NULL, NULL, interval '1 year 2 mons' + interval '-3 days' + interval '04:05:06.789'),
	(5, 'y', '3.4028235e38', '1.7976931348623157e308', 1e-1000, '4713-01-01 BC', '294276-12-31 23:59:59.999999', '4714-11-24 00:00:00+00 BC', ARRAY[[[1,2],[3,4]],[[5,6],[7,8]]],
		repeat('x', 100000), decode(repeat('00ff', 5000), 'hex'), ARRAY[repeat('y', 5000)], '{}', '{}', '{"a": 1,   "b": 2}', '{"a": 1,   "b": 2}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
-- another delivers,
SET timezone = 'Asia/Tokyo';
SET datestyle = 'German, DMY';
SET intervalstyle = 'iso_8601';
SET extra_float_digits = 0;
SET bytea_output = 'hex';
SET array_nulls = off;
SET xmloption = 'document';
SET search_path = pg_catalog;
SELECT public.sync_deliver('B');
RESET search_path;
-- and all is there.
RESET ALL;
SELECT error FROM syncext.outbound_change WHERE error IS NOT NULL;
SELECT * FROM differing();
-- nothing came back as an edit, and both tables are the hub's records to a third session
SELECT source, count(*) FROM syncext.change_log GROUP BY 1;
SET timezone = 'Pacific/Chatham';
SET datestyle = 'Postgres, MDY';
SET intervalstyle = 'postgres_verbose';
SET extra_float_digits = -15;
SET bytea_output = 'escape';
CALL sync_load('tb') \gset
SELECT :'result'::jsonb - 'seconds' AS loaded;
CALL sync_load('ta') \gset
SELECT :'result'::jsonb - 'seconds' AS loaded;
RESET ALL;

-- each column alone, from its first value to its last, there and back
DO $$
DECLARE
	c record;
BEGIN
	FOR c IN SELECT attname FROM pg_attribute WHERE attrelid = 'ta'::regclass AND attnum > 1 ORDER BY attnum LOOP
		EXECUTE format('UPDATE ta SET %1$I = s.%1$I FROM ta s WHERE ta.id = 2 AND s.id = 1', c.attname);
	END LOOP;
	UPDATE tb SET c_text = 'from b', c_ints = '{9}', c_pair = (9, 'b', 9), c_jsonb = '[9]', c_bytea = '\x09', c_tstz = '2009-09-09 09:09:09+09', c_enum = 'green' WHERE id = 5;
END $$;
SELECT count(*) > 90 AS one_by_one FROM syncext.change_log WHERE external_id = '2' AND resolution = 'VERSION_WIN';
SELECT sync_deliver('B'), sync_deliver('A');
SELECT * FROM differing();
SELECT c_text, c_ints, c_pair, c_jsonb, c_bytea, c_enum FROM ta WHERE id = 5;
-- and back to null
UPDATE tb SET (c_text, c_ints, c_pair, c_jsonb, c_bytea, c_tstz, c_enum) = ROW(NULL, NULL, NULL, NULL, NULL, NULL, NULL) WHERE id = 5;
SELECT sync_deliver('A');
SELECT * FROM differing();

-- The same value in another form is no edit.
SELECT max(seq) AS seq FROM syncext.change_log \gset
UPDATE ta SET c_numeric = c_numeric + 0.0000, c_text = c_text || '', c_bytea = c_bytea || '', c_jsonb = (c_jsonb::text || ' ')::jsonb,
	c_json = (c_json::text || ' ')::json, c_ints = c_ints || '{}', c_float8 = c_float8 * 1, c_bpchar = c_bpchar || '  ' WHERE id IN (1, 3, 4, 5);
SELECT external_id, fields FROM syncext.change_log WHERE seq > :seq;
-- A JSON null is null to the hub; the column keeps what it holds.
UPDATE ta SET c_jsonb = 'null', c_json = 'null' WHERE id = 5;
UPDATE ta SET c_jsonb = NULL WHERE id = 5;
SELECT external_id, fields FROM syncext.change_log WHERE seq > :seq;
UPDATE ta SET c_jsonb = 'null' WHERE id = 5;
UPDATE tb SET c_int4 = 5 WHERE id = 5;
SELECT sync_deliver('A');
SELECT c_int4, c_json, c_jsonb FROM ta WHERE id = 5;

-- What the JSON looks like.
SELECT key, value FROM syncext.canonical, jsonb_each(fields) WHERE external_id = '1' ORDER BY key COLLATE "C";
SELECT key, value FROM syncext.canonical, jsonb_each(fields) WHERE external_id = '3' AND value <> 'null' ORDER BY key COLLATE "C";

-- Types may change while they are in use.
ALTER TYPE pair ADD ATTRIBUTE w text, DROP ATTRIBUTE y;
ALTER TYPE color ADD VALUE 'blue';
ALTER TABLE ta ALTER c_int4 TYPE text USING 'was ' || c_int4;
UPDATE ta SET c_pair = (1, 2, 'w'), c_enum = 'blue', c_int4 = 'text' WHERE id = 5;
SELECT fields->'c_pair' AS c_pair, fields->'c_enum' AS c_enum, fields->'c_int4' AS c_int4 FROM syncext.canonical WHERE external_id = '5';
SELECT sync_deliver('B');
SELECT external_id, error FROM syncext.outbound_change WHERE error IS NOT NULL;
ALTER TABLE tb ALTER c_int4 TYPE text;
SELECT sync_redrive('B'), sync_deliver('B');
SELECT c_pair, c_enum, c_int4 FROM tb WHERE id = 5;

-- What a value has and the type hasn't isn't left out: an edit of the rest would lose it for all.
CREATE TYPE half AS (x int, z numeric);
CREATE TABLE whole_a (id int PRIMARY KEY, p pair, q pair[], n text);
CREATE TABLE half_b (id int PRIMARY KEY, p half, q half[], n text);
SELECT sync_add_entity('half');
SELECT sync_attach('whole_a', 'A', 'half'), sync_attach('half_b', 'B', 'half');
INSERT INTO whole_a VALUES (1, (1, 2, 'w'), NULL, 'n'), (2, NULL, ARRAY[(3, 4, NULL), (5, 6, 'w')]::pair[], 'n'), (3, (7, 8, NULL), ARRAY[]::pair[], 'n');
SELECT sync_deliver('B');
SELECT * FROM half_b ORDER BY id;
SELECT external_id, error FROM syncext.pending ORDER BY 1;
ALTER TYPE half ADD ATTRIBUTE w text;
SELECT sync_redrive('B');
SELECT sync_deliver('B');
UPDATE half_b SET p.x = 10 WHERE id = 1;
SELECT sync_deliver('A');
SELECT a.*, b FROM whole_a a JOIN half_b b USING (id) ORDER BY id;
DROP TABLE whole_a, half_b;

DROP FUNCTION differing;
DROP TABLE ta, tb;
DROP TYPE half, nested, pair, color, frange CASCADE;
DROP DOMAIN posint, short, intarr;
DROP EXTENSION syncext;
