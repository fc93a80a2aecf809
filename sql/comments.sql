-- Every function, relation, column and setting says what it is for.
CREATE EXTENSION syncext;
CREATE VIEW said AS
	SELECT d.classid, d.objid, 0 AS objsubid
	FROM pg_depend d
	LEFT JOIN pg_class c ON d.classid = 'pg_class'::regclass AND c.oid = d.objid
	WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
	  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext')
	  AND (d.classid IN ('pg_proc'::regclass, 'pg_namespace'::regclass) OR c.relkind IN ('r', 'v', 'm', 'f', 'p'))
	UNION ALL
	SELECT d.classid, d.objid, a.attnum
	FROM pg_depend d
	JOIN pg_attribute a ON d.classid = 'pg_class'::regclass AND a.attrelid = d.objid AND a.attnum > 0 AND NOT a.attisdropped
	JOIN pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'v', 'm', 'f', 'p')
	WHERE d.deptype = 'e' AND d.refclassid = 'pg_extension'::regclass
	  AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'syncext');
SELECT count(*) > 400 AS objects FROM said;
SELECT pg_describe_object(s.classid, s.objid, s.objsubid) AS "without a comment"
FROM said s
WHERE NOT EXISTS (SELECT FROM pg_description t
                  WHERE t.classoid = s.classid AND t.objoid = s.objid AND t.objsubid = s.objsubid AND length(t.description) > 4)
ORDER BY 1;
SELECT count(*) > 20 AS settings, count(*) FILTER (WHERE short_desc !~ '\w') AS "not described"
FROM pg_settings WHERE name ~ '^syncext\.';
DROP VIEW said;
DROP EXTENSION syncext;
