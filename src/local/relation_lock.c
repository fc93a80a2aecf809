/*
 * relation_lock.c
 *	  The lock of a polled relation for moving rows between it and the hub.
 *
 * A poll compares a row with what was delivered to it, and delivery a record
 * with what was polled: neither must see the other's work half done, and a
 * foreign table has no rows here that could be locked.
 */
#include "postgres.h"

#include "utils/guc.h"

#include "local/relation_lock.h"
#include "process/subxact.h"
#include "storage/locks.h"

typedef struct Wait
{
	Oid			relation;
	int			timeout;
} Wait;

static void
wait_for_lock(void *arg)
{
	Wait	   *wait = arg;
	int			nest_level = NewGUCNestLevel();
	char		timeout[16];

	snprintf(timeout, sizeof(timeout), "%d", Max(wait->timeout, 1));
	(void) set_config_option("lock_timeout", timeout, PGC_SUSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	(void) lock_transaction(LOCK_TRANSFER, wait->relation, true);
	AtEOXact_GUC(false, nest_level);
}

bool
relation_lock(Oid relation, int timeout)
{
	Wait		wait = {.relation = relation, .timeout = timeout};

	if (timeout >= 0)
		return lock_transaction(LOCK_TRANSFER, relation, false) ||
			subxact_try_lock(wait_for_lock, &wait);
	return lock_transaction(LOCK_TRANSFER, relation, true);
}
