# shapes.awk
#	  Makes src/storage/shapes.inc, the tables' and indexes' shapes for
#	  storage/shapes.c and the columns' numbers for storage/shapes.h, of the install
#	  script's CREATE statements.

function fail(what)
{
	print "shapes.awk: " what ": " $0 > "/dev/stderr"
	exit 1
}

function number_of(name,    i)
{
	for (i = 1; i <= ncolumns[table]; i++)
		if (column[table, i] == name)
			return i
	fail("no column " name)
}

# The numbers of the columns in a list of names.
function numbers(names,    parts, n, i, list)
{
	n = split(names, parts, /, */)
	for (i = 1; i <= n; i++)
		list = list (i > 1 ? ", " : "") number_of(parts[i])
	return n ", {" list "}"
}

function end_table(    i, j)
{
	for (i = 1; i <= ncolumns[table]; i++)
		if ((", " primary ",") ~ (", " column[table, i] ","))
			sub(/false}$/, "true}", shape[table, i])
	key[table] = primary == "" ? "0, {0}" : numbers(primary)
	print_table(table, table)
	print_numbers(table)
	inside = 0
}

# The tables of the change log are alike.
function print_numbers(name,    i, prefix)
{
	prefix = toupper(name)
	sub(/_0$/, "", prefix)
	for (i = 1; i <= ncolumns[name]; i++)
		printf "COLUMN_NUMBER(COL_%s_%s, %d)\n", prefix, toupper(column[name, i]), i
	printf "COLUMN_NUMBER(NCOLUMNS_%s, %d)\n", prefix, ncolumns[name]
}

function print_table(name, like,    i)
{
	printf "TABLE_SHAPE(\"%s\", %s, %d,\n", name, "KEY(" key[like] ")", ncolumns[like]
	for (i = 1; i <= ncolumns[like]; i++)
		printf "\t%s%s\n", shape[like, i], i < ncolumns[like] ? "," : ")"
}

BEGIN {
	split("text text[] regrole regclass regtype oid[] boolean integer bigint timestamptz jsonb jsonpath xid8 \"char\" pg_snapshot uuid bytea smallint oid interval xid", sql, " ")
	split("TEXTOID TEXTARRAYOID REGROLEOID REGCLASSOID REGTYPEOID OIDARRAYOID BOOLOID INT4OID INT8OID TIMESTAMPTZOID JSONBOID JSONPATHOID XID8OID CHAROID PG_SNAPSHOTOID UUIDOID BYTEAOID INT2OID OIDOID INTERVALOID XIDOID", oid, " ")
	for (i in sql)
		type[sql[i]] = oid[i]
}

/^CREATE (UNLOGGED )?TABLE syncext\.[a-z_0-9]+ \($/ {
	table = $0
	sub(/^.*syncext\./, "", table)
	sub(/ \($/, "", table)
	inside = 1
	primary = ""
	ncolumns[table] = 0
	next
}

/^CREATE TABLE syncext\.[a-z_0-9]+ \(LIKE syncext\./ {
	match($0, /TABLE syncext\.[a-z_0-9]+/)
	name = substr($0, RSTART + 14, RLENGTH - 14)
	match($0, /LIKE syncext\.[a-z_0-9]+/)
	like = substr($0, RSTART + 13, RLENGTH - 13)
	print_table(name, like)
	ncolumns[name] = ncolumns[like]
	for (i = 1; i <= ncolumns[like]; i++)
		column[name, i] = column[like, i]
	next
}

inside && /^\)/ { end_table(); next }

inside && /^\tPRIMARY KEY \(/ {
	primary = $0
	sub(/^\tPRIMARY KEY \(/, "", primary)
	sub(/\).*/, "", primary)
	next
}

inside && /^\t[a-z_]+[ ]/ {
	n = ++ncolumns[table]
	of = $2
	sub(/,$/, "", of)
	if (!(of in type))
		fail("unknown type " of)
	column[table, n] = $1
	shape[table, n] = "{\"" $1 "\", " type[of] ", " ($0 ~ /NOT NULL|PRIMARY KEY/ ? "true" : "false") "}"
	if ($0 ~ /PRIMARY KEY/)
		primary = $1
	next
}

# Those of other kinds than btree are for SQL alone.
/^CREATE (UNIQUE )?INDEX [a-z_0-9]+ ON syncext\./ && !/ USING / {
	name = $0
	sub(/^CREATE (UNIQUE )?INDEX /, "", name)
	sub(/ .*/, "", name)
	table = $0
	sub(/^.* ON syncext\./, "", table)
	sub(/ .*/, "", table)
	columns = $0
	sub(/^[^(]*\(/, "", columns)
	partial = columns ~ /\) WHERE/ ? "true" : "false"
	sub(/\).*/, "", columns)
	indexes = indexes "INDEX_SHAPE(\"" name "\", \"" table "\", " partial ", KEY(" numbers(columns) "))\n"
}

END { printf "%s", indexes }
