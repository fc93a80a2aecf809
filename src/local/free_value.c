/*
 * free_value.c
 *	  Values that no row of a table has in a unique index or exclusion constraint.
 *
 * For a row that has to let go of its value before it can get the one that it is to
 * have.  Which value the table's constraints allow isn't known:
 * null is tried first, then one beyond all others or one that is random, then one
 * below them, then an empty range.
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/relation.h"
#include "access/sysattr.h"
#include "executor/spi.h"
#include "optimizer/optimizer.h"
#include "parser/parse_coerce.h"
#include "rewrite/rewriteHandler.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "local/free_value.h"

typedef enum FreeKind
{
	FREE_NULL,
	FREE_ABOVE,
	FREE_BELOW,
	FREE_RANDOM
} FreeKind;

#define FREE_KINDS	3

/* What to take of what a column can have, by the candidate's number. */
static const FreeKind preference[FREE_VALUES][FREE_KINDS] = {
	{FREE_NULL, FREE_ABOVE, FREE_RANDOM},
	{FREE_ABOVE, FREE_RANDOM, FREE_NULL},
	{FREE_BELOW, FREE_RANDOM, FREE_NULL},
	{FREE_RANDOM, FREE_ABOVE, FREE_NULL},
};

/* An expression for the column's free value, over all rows of the table; NULL: none. */
static char *
make_expression(const AttachedColumn *column, FreeKind kind, int32 typmod)
{
	const char *name = quote_identifier(column->name);
	const char *which = kind == FREE_ABOVE ? "max" : "min";
	const char *op = kind == FREE_ABOVE ? "+" : "-";
	int			length = typmod < (int32) VARHDRSZ ? 32 : Min(32, typmod - VARHDRSZ);

	switch (getBaseType(column->type))
	{
		case INT2OID:
		case INT4OID:
		case INT8OID:
		case NUMERICOID:
		case FLOAT4OID:
		case FLOAT8OID:
		case DATEOID:
			return kind == FREE_RANDOM ? NULL :
				psprintf("pg_catalog.%s(t.%s) OPERATOR(pg_catalog.%s) 1", which, name, op);
		case TIMESTAMPOID:
		case TIMESTAMPTZOID:
			return kind == FREE_RANDOM ? NULL :
				psprintf("pg_catalog.%s(t.%s) OPERATOR(pg_catalog.%s) '1 day'::pg_catalog.interval",
						 which, name, op);
		case UUIDOID:
			return kind != FREE_RANDOM ? NULL : pstrdup("pg_catalog.gen_random_uuid()");
	}
	if (kind != FREE_RANDOM)
		return NULL;
	/* which overlaps with none, and is none but itself */
	if (type_is_range(getBaseType(column->type)))
		return pstrdup("'empty'");
	/* text, and citext, for one */
	if (IsBinaryCoercible(getBaseType(column->type), TEXTOID) ||
		getBaseType(column->type) == BPCHAROID)
		return psprintf("pg_catalog.left(pg_catalog.md5(pg_catalog.gen_random_uuid()::pg_catalog.text), %d)",
						length);
	return NULL;
}

/* Ask the table for a value; false if the type has none. */
static bool
find_value(const Attached *attached, const AttachedColumn *column, FreeKind kind, Datum *value)
{
	MemoryContext context = CurrentMemoryContext;
	Oid			type;
	int32		typmod;
	Oid			collation;
	char	   *expression;
	bool		isnull;
	char	   *sql;

	get_atttypetypmodcoll(attached->relid, column->attnum, &type, &typmod, &collation);
	expression = make_expression(column, kind, typmod);
	if (expression == NULL)
		return false;
	sql = psprintf("SELECT CAST(%s AS %s) FROM %s%s AS t", expression,
				   format_type_extended(column->type, typmod,
										FORMAT_TYPE_TYPEMOD_GIVEN | FORMAT_TYPE_FORCE_QUALIFY),
				   attached_only(attached), attached->name);
	if (kind == FREE_RANDOM)
		sql = psprintf("%s LIMIT 1", sql);
	if (SPI_execute(sql, false, 1) != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute failed: %s", SPI_result_code_string(SPI_result));
	MemoryContextSwitchTo(context);
	if (SPI_processed != 1)
		return false;
	*value = SPI_getbinval(SPI_tuptable->vals[0], SPI_tuptable->tupdesc, 1, &isnull);
	if (!isnull)
		*value = value_copy(column->value, *value);
	SPI_freetuptable(SPI_tuptable);
	return !isnull;
}

/* The field that a column of the index is; NULL if it is none: a key stays as it is. */
static const AttachedColumn *
field_of_column(const Attached *attached, AttrNumber attnum)
{
	return attached_is_key(attached, attnum) ? NULL : attached_column(attached, attnum);
}

static bool
put_into_column(const Attached *attached, const AttachedColumn *column, bool nulls_equal,
				FreeKind kind, AttachedRow *row)
{
	int			a = column->attnum - 1;

	if (kind != FREE_NULL)
	{
		Datum		value;

		if (!find_value(attached, column, kind, &value))
			return false;
		row->values[a] = value;
		row->isnull[a] = false;
		return true;
	}
	if (column->not_null || nulls_equal)
		return false;
	row->isnull[a] = true;
	return true;
}

/* Add the columns that an expression is made of. */
static void
add_columns_of(Node *expression, List **columns)
{
	Bitmapset  *attnums = NULL;
	int			member = -1;

	pull_varattnos(expression, 1, &attnums);
	while ((member = bms_next_member(attnums, member)) >= 0)
		*columns = lappend_int(*columns, member + FirstLowInvalidHeapAttributeNumber);
}

/*
 * The columns on which it depends what is in the index: its own, and those that its
 * expressions and generated columns are made of.
 */
static List *
columns_of_index(Relation rel, Relation index)
{
	List	   *columns = NIL;

	for (int i = 0; i < index->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attnum = index->rd_index->indkey.values[i];

		if (attnum > 0 && TupleDescAttr(RelationGetDescr(rel), attnum - 1)->attgenerated != '\0')
			add_columns_of(build_column_default(rel, attnum), &columns);
		else if (attnum > 0)
			columns = lappend_int(columns, attnum);
	}
	add_columns_of((Node *) RelationGetIndexExpressions(index), &columns);
	return columns;
}

/* Put a value into one of the index's columns; NULL if there is none. */
static const AttachedColumn *
put_into_index(const Attached *attached, Relation rel, Relation index, int candidate,
			   AttachedRow *row)
{
	const Form_pg_index form = index->rd_index;
	List	   *columns = columns_of_index(rel, index);
	ListCell   *lc;

	for (int kind = 0; kind < FREE_KINDS; kind++)
	{
		foreach(lc, columns)
		{
			const AttachedColumn *column = field_of_column(attached, lfirst_int(lc));

			if (column != NULL &&
				put_into_column(attached, column, form->indnullsnotdistinct,
								preference[candidate - 1][kind], row))
				return column;
		}
	}
	return NULL;
}

void
free_value_put(const Attached *attached, int candidate, AttachedRow *row, Bitmapset **columns)
{
	Relation	rel = relation_open(attached->relid, NoLock);
	List	   *indexes = RelationGetIndexList(rel);
	ListCell   *lc;

	foreach(lc, indexes)
	{
		Relation	index = index_open(lfirst_oid(lc), AccessShareLock);
		bool		excludes = index->rd_index->indisunique || index->rd_index->indisexclusion;
		const AttachedColumn *column = excludes ?
			put_into_index(attached, rel, index, candidate, row) : NULL;

		if (column != NULL)
			*columns = bms_add_member(*columns, column->attnum);
		index_close(index, AccessShareLock);
	}
	relation_close(rel, NoLock);
	if (bms_is_empty(*columns))
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("no value of relation %s is known to be free", attached->name)));
}
