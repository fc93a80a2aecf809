/*
 * for_now.c
 *	  Settings that hold for a while, and waits for locks that one of them bounds.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "process/for_now.h"
#include "process/subxact.h"

void
set_for_now(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_SUSET, PGC_S_SESSION, GUC_ACTION_SAVE,
							 true, 0, false);
}

void
bound_waits_for_now(int timeout)
{
	char		text[16];

	snprintf(text, sizeof(text), "%d", Max(timeout, 1));
	set_for_now("lock_timeout", text);
}

int
bounded_wait_begin(int timeout)
{
	int			nest_level = NewGUCNestLevel();

	bound_waits_for_now(timeout);
	return nest_level;
}

void
bounded_wait_end(int nest_level)
{
	AtEOXact_GUC(false, nest_level);
}

bool
bounded_wait_try(int timeout, void (*function) (void *arg), void *arg)
{
	int			nest_level = bounded_wait_begin(timeout);
	bool		done = subxact_try_lock(function, arg);

	bounded_wait_end(nest_level);
	return done;
}
