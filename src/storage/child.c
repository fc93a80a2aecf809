/*
 * child.c
 *	  Which live records refer to a record: table syncext.child.
 *
 * Called by hub/dependency, for references with restrict or cascade alone.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "storage/child.h"
#include "storage/registry.h"
#include "storage/rows.h"

enum
{
	COL_PARENT_ENTITY = 1,
	COL_PARENT_ID,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_FIELD,
	NCOLUMNS = COL_FIELD
};

struct Children
{
	Rows	   *rows;
};

Children *
children_open(bool write)
{
	Children   *children = palloc0(sizeof(Children));
	Oid			relid = registry_relation("child");

	children->rows = write ? rows_open_write(relid) : rows_open_read(relid);
	return children;
}

void
children_close(Children *children)
{
	rows_close(children->rows);
	pfree(children);
}

List *
children_of(Children *children, const char *parent_entity, const char *parent_id)
{
	Datum		keys[2] = {CStringGetTextDatum(parent_entity), CStringGetTextDatum(parent_id)};
	RowsScan   *scan = rows_scan_begin(children->rows, InvalidOid, 2, keys, 0, NULL);
	List	   *found = NIL;
	bool		isnull;

	while (rows_scan_next(scan))
	{
		Child	   *child = palloc(sizeof(Child));

		child->entity = TextDatumGetCString(rows_value(children->rows, COL_ENTITY, &isnull));
		child->external_id =
			TextDatumGetCString(rows_value(children->rows, COL_EXTERNAL_ID, &isnull));
		child->field = TextDatumGetCString(rows_value(children->rows, COL_FIELD, &isnull));
		found = lappend(found, child);
	}
	rows_scan_end(scan);
	return found;
}

static void
child_key(const char *parent_entity, const char *parent_id, const Child *child, Datum *key)
{
	key[COL_PARENT_ENTITY - 1] = CStringGetTextDatum(parent_entity);
	key[COL_PARENT_ID - 1] = CStringGetTextDatum(parent_id);
	key[COL_ENTITY - 1] = CStringGetTextDatum(child->entity);
	key[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(child->external_id);
	key[COL_FIELD - 1] = CStringGetTextDatum(child->field);
}

void
children_add(Children *children, const char *parent_entity, const char *parent_id,
			 const Child *child)
{
	Datum		key[NCOLUMNS];
	bool		isnull[NCOLUMNS] = {false};

	child_key(parent_entity, parent_id, child, key);
	/* the child's own record is held: whoever else lists it did so before */
	(void) rows_insert_new(children->rows, key, isnull);
}

void
children_remove(Children *children, const char *parent_entity, const char *parent_id,
				const Child *child)
{
	Datum		key[NCOLUMNS];

	child_key(parent_entity, parent_id, child, key);
	if (rows_find(children->rows, NCOLUMNS, key))
		(void) rows_delete(children->rows);
}
