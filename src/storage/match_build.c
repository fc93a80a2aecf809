/*
 * match_build.c
 *	  How far the match keys of an entity are built: table syncext.match_build.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "storage/match_build.h"

const MappedDef match_build_def = {
	.relation = "match_build",
	.column = {
		[COL_MATCH_BUILD_ENTITY] = {MAP_TEXT, offsetof(MatchBuild, entity)},
		[COL_MATCH_BUILD_AFTER_ID] = {MAP_TEXT, offsetof(MatchBuild, after_id)},
		[COL_MATCH_BUILD_RECORDS] = {MAP_INT8, offsetof(MatchBuild, records)},
		[COL_MATCH_BUILD_CANDIDATES] = {MAP_INT8, offsetof(MatchBuild, candidates)},
		[COL_MATCH_BUILD_SINCE] = {MAP_TIME, offsetof(MatchBuild, since)},
	}
};

bool
match_build_hold(MatchBuilds *builds, const char *entity, MatchBuild *build)
{
	build->entity = entity;
	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!mapped_find(builds, build))
			return false;
	} while (rows_lock(builds->rows) != ROWS_DONE);
	return true;
}

void
match_build_add(MatchBuilds *builds, const char *entity)
{
	const MatchBuild build = {.entity = entity, .since = GetCurrentTimestamp()};

	if (!mapped_seek(builds, 1, &build))
		(void) mapped_insert_new(builds, &build);
}

