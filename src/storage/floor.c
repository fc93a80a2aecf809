/*
 * floor.c
 *	  Row versions of records that are forgotten: table syncext.entity_floor.
 *
 * A key that is used again must not be taken for what receivers had of it before,
 * so its row versions go on above all that were forgotten.  sync_maintain and
 * sync_forget, which remove golden records, raise the floor first: a backend that doesn't
 * find the record finds the floor.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "model/change.h"
#include "storage/floor.h"
#include "storage/registry.h"
#include "storage/rows.h"

struct Floors
{
	Rows	   *rows;
};

Floors *
floors_open(MemoryContext context)
{
	MemoryContext old = MemoryContextSwitchTo(context);
	Floors	   *floors = palloc(sizeof(Floors));

	floors->rows = rows_open_read(registry_relation("entity_floor"));
	/* in REPEATABLE READ, too: an insert meets what was committed since */
	rows_see_latest(floors->rows);
	MemoryContextSwitchTo(old);
	return floors;
}

void
floors_close(Floors *floors)
{
	rows_close(floors->rows);
	pfree(floors);
}

int64
floors_find(Floors *floors, const char *entity)
{
	Datum		key = CStringGetTextDatum(entity);

	if (rows_empty(floors->rows) || !rows_find(floors->rows, COL_ENTITY_FLOOR_ENTITY, &key))
		return 0;
	/* whatever was edited by hand: the next one has to be higher */
	return Max(0, Min(DatumGetInt64(rows_datum(floors->rows, COL_ENTITY_FLOOR_ROW_VERSION)),
					  CHANGE_MAX_VERSION));
}
