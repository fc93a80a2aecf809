/*
 * retention.c
 *	  Removing what is older than the retention, but for the change log.
 *
 * A row goes when nothing needs it any more: a closed conflict, the run of a job,
 * the answer to a change with an id, a tombstone.
 */
#include "postgres.h"

#include "hub/retention.h"
#include "process/subxact.h"
#include "settings.h"

/* Rows that one transaction removes. */
#define STEP_ROWS	10000

int64
retention_remove(Maintenance *m, const char *function)
{
	int64		all = 0;
	int64		removed;

	do
	{
		maintenance_begin(m);
		removed = owner_number("SELECT syncext.%s('%d s', %d)", function, setting_retention, STEP_ROWS);
		maintenance_commit(m);
		all += removed;
	} while (removed == STEP_ROWS);
	return all;
}

/* ---------- tombstones ---------- */

/*
 * Keys that are used again go on above what receivers may have of them.  That is
 * told before the tombstones go: removing them then waits for no lock.  All of
 * those were there before; the deletes of newer ones are in the log.
 */
static void
raise_floors(void *arg)
{
	(void) owner_execute("SELECT syncext.raise_floor(m.entity, m.row_version) "
						 "FROM (SELECT entity, max(row_version) AS row_version FROM syncext.canonical "
						 "WHERE deleted GROUP BY entity ORDER BY entity) m");
}

static bool
try_to_raise_floors(Maintenance *m)
{
	bool		done;

	maintenance_begin(m);
	done = subxact_try_lock(raise_floors, NULL);
	maintenance_commit(m);
	if (!done)
		maintenance_waits(m, "tombstones: a transaction that forgets records goes on");
	return done;
}

/*
 * Looking for tombstones reads all golden records, so it is done when a log table was
 * emptied: only then have more become old.  What was still needed at that time goes
 * with the next table.  In a hub where nothing is edited none comes, but its log is
 * empty, and each call looks.
 */
static bool
may_have_old_tombstones(Maintenance *m)
{
	bool		log_is_empty;

	if (m->truncated != NIL)
		return true;
	maintenance_begin(m);
	log_is_empty = !owner_true("SELECT EXISTS (SELECT FROM syncext.log_row)");
	maintenance_commit(m);
	return log_is_empty;
}

void
retention_remove_tombstones(Maintenance *m)
{
	char	   *horizon;
	uint64		removed;

	if (!may_have_old_tombstones(m) || !try_to_raise_floors(m))
		return;
	do
	{
		maintenance_begin(m);
		horizon = owner_text("SELECT syncext.tombstone_horizon()");
		removed = horizon == NULL ? 0 :
			owner_number("SELECT syncext.remove_tombstones(%s, %d)", horizon, STEP_ROWS);
		maintenance_commit(m);
		m->tombstones += removed;
	} while (removed == STEP_ROWS);
	if (horizon == NULL)
		maintenance_waits(m, "tombstones: a target is walking through the golden records");
}
