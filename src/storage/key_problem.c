/*
 * key_problem.c
 *	  What sync_check tells of sources' own keys: table syncext.key_problem.
 *
 * One of each kind, source and entity will do.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "storage/key_problem.h"
#include "storage/mapped.h"

static const MappedDef key_problem_def = {
	.relation = "key_problem",
	.column = {
		[COL_KEY_PROBLEM_SOURCE] = {MAP_TEXT, offsetof(KeyProblem, source)},
		[COL_KEY_PROBLEM_ENTITY] = {MAP_TEXT, offsetof(KeyProblem, entity)},
		[COL_KEY_PROBLEM_KIND] = {MAP_TEXT, offsetof(KeyProblem, kind)},
		[COL_KEY_PROBLEM_SOURCE_ID] = {MAP_TEXT, offsetof(KeyProblem, source_id)},
		[COL_KEY_PROBLEM_EXTERNAL_ID] = {MAP_TEXT, offsetof(KeyProblem, external_id)},
		[COL_KEY_PROBLEM_NOTED_AT] = {MAP_TIME, offsetof(KeyProblem, noted_at)},
	}
};

void
key_problem_note(const KeyProblem *problem)
{
	MappedTable *table = mapped_open(&key_problem_def, true);
	KeyProblem	row = *problem;

	row.noted_at = GetCurrentTimestamp();
	/* one that another backend notes at the same time will do */
	if (!mapped_seek(table, 3, &row))
		(void) mapped_insert_new(table, &row);
	else if (rows_try_lock(table->rows))
		(void) mapped_update(table, MAP_ALL_COLUMNS, &row);
	mapped_close(table);
}

bool
key_problem_find(KeyProblem *problem)
{
	return mapped_find_one(&key_problem_def, problem);
}
