/*
 * route_failure.c
 *	  Filters that could not be evaluated: table syncext.route_failure.
 *
 * Called by hub/route, for sync_check to tell of.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/timestamp.h"

#include "model/clip.h"
#include "storage/registry.h"
#include "storage/route_failure.h"
#include "storage/rows.h"

enum
{
	COL_SOURCE = 1,
	COL_ENTITY,
	COL_EXTERNAL_ID,
	COL_ERROR,
	COL_SINCE,
	NCOLUMNS = COL_SINCE
};

void
route_failure_note(const char *source, const char *entity, const char *external_id,
				   const char *error)
{
	Rows	   *rows = rows_open_write(registry_relation("route_failure"));
	Datum		values[NCOLUMNS];
	bool		isnull[NCOLUMNS] = {false};

	values[COL_SOURCE - 1] = CStringGetTextDatum(source);
	values[COL_ENTITY - 1] = CStringGetTextDatum(entity);
	values[COL_EXTERNAL_ID - 1] = CStringGetTextDatum(external_id);
	values[COL_ERROR - 1] = CStringGetTextDatum(clip_string(error, CLIP_ERROR));
	values[COL_SINCE - 1] = TimestampTzGetDatum(GetCurrentTimestamp());
	if (rows_find(rows, 2, values))
		(void) rows_update(rows, values, isnull);
	else
		(void) rows_insert_new(rows, values, isnull);
	rows_close(rows);
}
