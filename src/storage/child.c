/*
 * child.c
 *	  Which live records refer to a record: table syncext.child.
 *
 * Called by hub/dependency, for references with restrict or cascade alone.
 */
#include "postgres.h"

#include "access/xact.h"
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

bool
children_have(const List *children, const char *entity, const char *external_id,
			  const char *field)
{
	ListCell   *lc;

	foreach(lc, children)
	{
		const Child *child = lfirst(lc);

		if (strcmp(child->entity, entity) == 0 && strcmp(child->external_id, external_id) == 0 &&
			strcmp(child->field, field) == 0)
			return true;
	}
	return false;
}

/* Add those that a table's rows have, and that aren't found yet. */
static List *
read_children(Rows *rows, const char *parent_entity, const char *parent_id, List *found)
{
	Datum		keys[2] = {CStringGetTextDatum(parent_entity), CStringGetTextDatum(parent_id)};
	RowsScan   *scan = rows_scan_begin(rows, NULL, 2, keys, 0, NULL);
	const List *before = list_copy(found);
	bool		isnull;

	while (rows_scan_next(scan))
	{
		Child	   *child = palloc(sizeof(Child));

		child->entity = TextDatumGetCString(rows_value(rows, COL_ENTITY, &isnull));
		child->external_id = TextDatumGetCString(rows_value(rows, COL_EXTERNAL_ID, &isnull));
		child->field = TextDatumGetCString(rows_value(rows, COL_FIELD, &isnull));
		if (!children_have(before, child->entity, child->external_id, child->field))
			found = lappend(found, child);
	}
	rows_scan_end(scan);
	return found;
}

/*
 * A child may have been listed after an older snapshot though it was there before:
 * so the list as it is now counts, too, and the reader looks at the child.
 */
List *
children_of(Children *children, const char *parent_entity, const char *parent_id)
{
	List	   *found = read_children(children->rows, parent_entity, parent_id, NIL);
	Rows	   *latest;

	if (!IsolationUsesXactSnapshot())
		return found;
	latest = rows_open_read(registry_relation("child"));
	rows_see_latest(latest);
	found = read_children(latest, parent_entity, parent_id, found);
	rows_close(latest);
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
