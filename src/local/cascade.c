/*
 * cascade.c
 *	  What a foreign key does to the rows that refer to a row.
 *
 * For rows that change while another is delivered.  The server doesn't say why a
 * trigger fires.  But a foreign key acts only when the row that was referred to is
 * gone, or has another key: the capture trigger runs after that, and can look.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_class.h"
#include "catalog/pg_constraint.h"
#include "executor/spi.h"
#include "nodes/parsenodes.h"
#include "utils/builtins.h"
#include "utils/datum.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "compat.h"
#include "local/cascade.h"
#include "local/writer.h"
#include "storage/names.h"
#include "storage/relations.h"

static bool
is_action(char action)
{
	return action == FKCONSTR_ACTION_CASCADE || action == FKCONSTR_ACTION_SETNULL ||
		action == FKCONSTR_ACTION_SETDEFAULT;
}

/* Does the foreign key do such a thing at all? */
static bool
key_acts(const ForeignKeyCacheInfo *key, bool deleted)
{
	HeapTuple	tuple = SearchSysCache1(CONSTROID, ObjectIdGetDatum(key->conoid));
	Form_pg_constraint constraint;
	bool		acts;

	if (!HeapTupleIsValid(tuple))
		return false;
	constraint = (Form_pg_constraint) GETSTRUCT(tuple);
	acts = deleted ? constraint->confdeltype == FKCONSTR_ACTION_CASCADE :
		is_action(constraint->confupdtype) ||
		(is_action(constraint->confdeltype) &&
		 constraint->confdeltype != FKCONSTR_ACTION_CASCADE);
	ReleaseSysCache(tuple);
	return acts;
}

/* Did the row refer to one by this key, and does it no longer? */
static bool
left_parent(const ForeignKeyCacheInfo *key, Relation rel, TupleTableSlot *old,
			TupleTableSlot *new)
{
	bool		left = new == NULL;

	for (int i = 0; i < key->nkeys; i++)
	{
		Form_pg_attribute att = TupleDescAttr(RelationGetDescr(rel), key->conkey[i] - 1);
		bool		was_null;
		bool		is_null = false;
		Datum		was = slot_getattr(old, key->conkey[i], &was_null);
		Datum		is = new == NULL ? (Datum) 0 : slot_getattr(new, key->conkey[i], &is_null);

		if (was_null)
			return false;
		if (new != NULL && (is_null || !datum_image_eq(was, is, att->attbyval, att->attlen)))
			left = true;
	}
	return left;
}

/* "SELECT FROM parent WHERE key = $1 AND …" */
static char *
make_query(const ForeignKeyCacheInfo *key)
{
	StringInfoData sql;
	bool		plain = get_rel_relkind(key->confrelid) == RELKIND_RELATION;

	initStringInfo(&sql);
	appendStringInfo(&sql, "SELECT FROM %s%s AS t", plain ? "ONLY " : "",
					 names_of_relation(key->confrelid));
	for (int i = 0; i < key->nkeys; i++)
		writer_append_equal(&sql, i, get_attname(key->confrelid, key->confkey[i], false),
							key->conpfeqop[i]);
	appendStringInfoString(&sql, " LIMIT 1");
	return sql.data;
}

/* Is the row that was referred to there still?  Asked as the owner of its table. */
static bool
parent_is_there(const ForeignKeyCacheInfo *key, Relation rel, TupleTableSlot *old)
{
	Datum		values[INDEX_MAX_KEYS];
	Oid			types[INDEX_MAX_KEYS];
	TableCode	code;
	int			result;
	bool		there;

	for (int i = 0; i < key->nkeys; i++)
	{
		bool		isnull;

		types[i] = TupleDescAttr(RelationGetDescr(rel), key->conkey[i] - 1)->atttypid;
		values[i] = slot_getattr(old, key->conkey[i], &isnull);
	}
	SPI_connect();
	table_code_enter(&code, object_owner(RelationRelationId, key->confrelid), TABLE_CODE_LOOKUP);
	result = SPI_execute_with_args(make_query(key), key->nkeys, types, values, NULL, false, 1);
	if (result != SPI_OK_SELECT)
		elog(ERROR, "SPI_execute_with_args failed: %s", SPI_result_code_string(result));
	there = SPI_processed > 0;
	table_code_leave(&code);
	SPI_finish();
	return there;
}

bool
cascade_made(Relation rel, TupleTableSlot *old, TupleTableSlot *new)
{
	/* the relation's own list may go while we look into catalogs */
	List	   *keys = copyObject(RelationGetFKeyList(rel));

	foreach_ptr(const ForeignKeyCacheInfo, key, keys)
	{
		if (key_acts(key, new == NULL) && left_parent(key, rel, old, new) &&
			!parent_is_there(key, rel, old))
			return true;
	}
	return false;
}
