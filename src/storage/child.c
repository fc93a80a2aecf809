/*
 * child.c
 *	  Which live records refer to a record: table syncext.child.
 *
 * Only for references with restrict or cascade.
 */
#include "postgres.h"

#include "access/xact.h"

#include "compat.h"
#include "storage/child.h"

const MappedDef child_def = {
	.relation = "child",
	.column = {
		[COL_CHILD_PARENT_ENTITY] = {MAP_TEXT, offsetof(Child, parent_entity)},
		[COL_CHILD_PARENT_ID] = {MAP_TEXT, offsetof(Child, parent_id)},
		[COL_CHILD_ENTITY] = {MAP_TEXT, offsetof(Child, entity)},
		[COL_CHILD_EXTERNAL_ID] = {MAP_TEXT, offsetof(Child, external_id)},
		[COL_CHILD_FIELD] = {MAP_TEXT, offsetof(Child, field)},
	}
};

bool
children_have(const List *children, const char *entity, const char *external_id,
			  const char *field)
{
	foreach_ptr(const Child, child, children)
	{
		if (strcmp(child->entity, entity) == 0 && strcmp(child->external_id, external_id) == 0 &&
			strcmp(child->field, field) == 0)
			return true;
	}
	return false;
}

/* Add those that a table's rows have, and that aren't found yet. */
static List *
read_children(Children *children, const char *parent_entity, const char *parent_id, List *found)
{
	const Child asked = {.parent_entity = parent_entity, .parent_id = parent_id};
	RowsScan   *scan = mapped_scan(children, NULL, 2, 0, &asked);
	const List *before = list_copy(found);

	while (rows_scan_next(scan))
	{
		Child	   *child = mapped_copy(children, sizeof(Child));

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
	List	   *found = read_children(children, parent_entity, parent_id, NIL);
	Children   *latest;

	if (!IsolationUsesXactSnapshot())
		return found;
	latest = mapped_open(&child_def, false);
	rows_see_latest(latest->rows);
	found = read_children(latest, parent_entity, parent_id, found);
	mapped_close(latest);
	return found;
}
