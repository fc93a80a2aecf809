-- What became of the edits of test/bench/link's conflict workload.  Run at spoke
-- s1; the edits of s2, how the rows ended at the other nodes and what is told of
-- lost values stand in files of TMP.
\getenv tmp BENCH_TMP
\set file :tmp '/edit'
CREATE TEMP TABLE edit AS SELECT * FROM bench.edit;
COPY edit FROM :'file';
CREATE TEMP TABLE ending (node text, LIKE customer);
\set file :tmp '/ending'
COPY ending FROM :'file';
INSERT INTO ending SELECT 's1', * FROM customer WHERE id <= 1000;
CREATE TEMP TABLE told (value text);
\set file :tmp '/told'
COPY told FROM :'file';
CREATE TEMP TABLE logged (value text);
\set file :tmp '/logged'
COPY logged FROM :'file';

CREATE TEMP TABLE lost AS
	SELECT e.* FROM edit e
	WHERE NOT EXISTS (
		SELECT FROM ending r
		WHERE r.id = e.id AND e.value = CASE e.field WHEN 'email' THEN r.email WHEN 'phone' THEN r.phone ELSE r.city END)
	AND NOT EXISTS (SELECT FROM edit f WHERE f.id = e.id AND f.field = e.field AND f.saw = e.value);

SELECT (SELECT count(*) FROM edit),
	(SELECT count(*) FROM (SELECT id FROM ending GROUP BY id
		HAVING count(DISTINCT (name, email, phone, city, n)) > 1 OR count(*) <> 3) d),
	(SELECT count(*) FROM lost),
	(SELECT count(*) FROM lost WHERE value NOT IN (SELECT value FROM told)),
	(SELECT count(*) FROM lost WHERE value IN (SELECT value FROM logged));
