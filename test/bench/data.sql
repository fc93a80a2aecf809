-- The data of all benchmarks: customers R0, R1, … at version 1.
CREATE FUNCTION bench.customer(k bigint, version int) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$ SELECT jsonb_build_object('fullName', 'Customer ' || k, 'email', 'c' || k || '@example.com',
	'city', 'City ' || k % 97, 'phone', '+49 ' || version) $$;

CREATE FUNCTION bench.doc(id text, source text, version int, fields jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE AS
$$ SELECT jsonb_build_object('externalId', id, 'source', source, 'version', version, 'fields', fields) $$;

CREATE FUNCTION bench.customers(records int) RETURNS SETOF jsonb LANGUAGE sql AS
$$ SELECT jsonb_agg(bench.doc('R' || k, 'CRM', 1, bench.customer(k, 1)))
   FROM generate_series(0, records - 1) k GROUP BY k / 1000 ORDER BY k / 1000 $$;

-- Arrays of 1,000 documents.  The mix is that of the single changes (see run): item i of batch n
-- takes the next record of a walk through all of them, at version n + 1, or one that batch n - 1
-- left at version n.
CREATE TABLE bench.batch (n int PRIMARY KEY, docs text NOT NULL);

ALTER TABLE bench.batch ALTER docs SET STORAGE EXTERNAL;

CREATE FUNCTION bench.make_batches(batches int, records int) RETURNS void LANGUAGE sql AS $$
INSERT INTO bench.batch
SELECT n, jsonb_agg(CASE
	WHEN i % 100 < 60 THEN bench.doc('R' || k, 'CRM', n + 1, bench.customer(k, n + 1))
	WHEN i % 100 < 80 THEN bench.doc('R' || k, 'Portal', n + 1, bench.customer(k, n + 1))
	WHEN i % 100 < 86 THEN bench.doc('R' || k, 'ERP', 0, bench.customer(k, n))			-- stale
	WHEN i % 100 < 90 THEN bench.doc('R' || p, 'ERP', n, jsonb_build_object('segment', 'S' || n))	-- merge
	WHEN i % 100 < 91 THEN bench.doc('R' || q, 'ERP', n, '{"city": "Rome"}')			-- wins over Portal
	WHEN i % 100 < 92 THEN bench.doc('R' || p, 'ERP', n, '{"city": "Rome"}')			-- loses to CRM
	WHEN i % 100 < 93 THEN bench.doc('R' || p, 'CRM', n, '{"city": "Bonn"}')			-- manual
	WHEN i % 100 < 95 THEN bench.doc('R' || p, 'CRM', n, bench.customer(p, n))			-- says nothing new
	ELSE bench.doc('N' || n || '-' || i, 'CRM', 1, bench.customer(k, 1)) END ORDER BY i)::text
FROM generate_series(1, batches) n, generate_series(0, 999) i, LATERAL (SELECT
	(n * 1000 + i) * 7919::bigint % records AS k,
	((n - 1) * 1000 + i - 60) * 7919::bigint % records AS p,
	((n - 1) * 1000 + i - 30) * 7919::bigint % records AS q) w
GROUP BY n
$$;
