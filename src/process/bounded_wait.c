/*
 * bounded_wait.c
 *	  Waiting for locks no longer than for a while.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "process/bounded_wait.h"

int
bounded_wait_begin(int timeout)
{
	int			nest_level = NewGUCNestLevel();
	char		text[16];

	snprintf(text, sizeof(text), "%d", Max(timeout, 1));
	(void) set_config_option("lock_timeout", text, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	return nest_level;
}

void
bounded_wait_end(int nest_level)
{
	AtEOXact_GUC(false, nest_level);
}
