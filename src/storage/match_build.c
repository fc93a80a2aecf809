/*
 * match_build.c
 *	  How far the match keys of an entity are built: table syncext.match_build.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "storage/match_build.h"

static MappedDef match_build_def = {
	.relation = "match_build",
	.ncolumns = 5,
	.column = {
		{"entity", MAP_TEXT, offsetof(MatchBuild, entity)},
		{"after_id", MAP_TEXT, offsetof(MatchBuild, after_id)},
		{"records", MAP_INT8, offsetof(MatchBuild, records)},
		{"candidates", MAP_INT8, offsetof(MatchBuild, candidates)},
		{"since", MAP_TIME, offsetof(MatchBuild, since)},
	}
};

MatchBuilds *
match_builds_open(void)
{
	return mapped_open(&match_build_def, true);
}

void
match_builds_close(MatchBuilds *builds)
{
	mapped_close(builds);
}

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

void
match_build_save(MatchBuilds *builds, const MatchBuild *build)
{
	mapped_save(builds, build);
}

void
match_build_remove(MatchBuilds *builds, const MatchBuild *build)
{
	(void) mapped_remove(builds, build);
}
