/*
 * match_build.h
 *	  How far the match keys of an entity are built: table syncext.match_build.
 */
#ifndef SYNCEXT_MATCH_BUILD_H
#define SYNCEXT_MATCH_BUILD_H

#include "datatype/timestamp.h"
#include "storage/mapped.h"

typedef MappedTable MatchBuilds;

typedef struct MatchBuild
{
	const char *entity;
	const char *after_id;		/* NULL: it has not begun */
	int64		records;
	int64		candidates;
	TimestampTz since;
} MatchBuild;

extern const MappedDef match_build_def;

/* Find the entity's, and hold it.  False: none is due. */
extern bool match_build_hold(MatchBuilds *builds, const char *entity, MatchBuild *build);
/* Have one from the beginning, unless one is due. */
extern void match_build_add(MatchBuilds *builds, const char *entity);

#endif							/* SYNCEXT_MATCH_BUILD_H */
