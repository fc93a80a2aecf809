/*
 * route_failure.c
 *	  Filters that could not be evaluated: table syncext.route_failure.
 *
 * They are noted for sync_check to tell of.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "storage/mapped.h"
#include "storage/route_failure.h"

typedef struct RouteFailure
{
	const char *source;
	const char *entity;
	const char *external_id;
	const char *error;
	TimestampTz since;
} RouteFailure;

static const MappedDef route_failure_def = {
	.relation = "route_failure",
	.column = {
		[COL_ROUTE_FAILURE_SOURCE] = {MAP_TEXT, offsetof(RouteFailure, source)},
		[COL_ROUTE_FAILURE_ENTITY] = {MAP_TEXT, offsetof(RouteFailure, entity)},
		[COL_ROUTE_FAILURE_EXTERNAL_ID] = {MAP_TEXT, offsetof(RouteFailure, external_id)},
		[COL_ROUTE_FAILURE_ERROR] = {MAP_ERROR, offsetof(RouteFailure, error)},
		[COL_ROUTE_FAILURE_SINCE] = {MAP_TIME, offsetof(RouteFailure, since)},
	}
};

void
route_failure_note(const char *source, const char *entity, const char *external_id,
				   const char *error)
{
	MappedTable *table = mapped_open(&route_failure_def, true);
	const RouteFailure failure = {
		.source = source,
		.entity = entity,
		.external_id = external_id,
		.error = error,
		.since = GetCurrentTimestamp()
	};

	/* one that another backend notes at the same time will do */
	if (mapped_seek(table, 2, &failure))
		(void) mapped_update(table, MAP_ALL_COLUMNS, &failure);
	else
		(void) mapped_insert_new(table, &failure);
	mapped_close(table);
}
