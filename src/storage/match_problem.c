/*
 * match_problem.c
 *	  What sync_check tells of match rules: table syncext.match_problem.
 *
 * The first of each kind and rule will do; maintenance removes what is mended.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "storage/mapped.h"
#include "storage/match_problem.h"

typedef struct MatchProblem
{
	const char *entity;
	const char *rule;
	const char *kind;
	const char *external_id;
	const char *error;
	TimestampTz noted_at;
} MatchProblem;

static const MappedDef match_problem_def = {
	.relation = "match_problem",
	.latest = true,
	.column = {
		[COL_MATCH_PROBLEM_ENTITY] = {MAP_TEXT, offsetof(MatchProblem, entity)},
		[COL_MATCH_PROBLEM_RULE] = {MAP_TEXT, offsetof(MatchProblem, rule)},
		[COL_MATCH_PROBLEM_KIND] = {MAP_TEXT, offsetof(MatchProblem, kind)},
		[COL_MATCH_PROBLEM_EXTERNAL_ID] = {MAP_TEXT, offsetof(MatchProblem, external_id)},
		[COL_MATCH_PROBLEM_ERROR] = {MAP_ERROR, offsetof(MatchProblem, error)},
		[COL_MATCH_PROBLEM_NOTED_AT] = {MAP_TIME, offsetof(MatchProblem, noted_at)},
	}
};

void
match_problem_note(const char *entity, const char *rule, const char *kind,
				   const char *external_id, const char *error)
{
	const MatchProblem row = {
		.entity = entity,
		.rule = rule,
		.kind = kind,
		.external_id = external_id,
		.error = error,
		.noted_at = GetCurrentTimestamp()
	};
	MappedTable *table = mapped_open(&match_problem_def, true);

	if (!mapped_seek(table, 3, &row))
		(void) mapped_insert_new(table, &row);
	mapped_close(table);
}
