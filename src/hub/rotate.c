/*
 * rotate.c
 *	  Rotating and truncating the tables of the change log.
 *
 * Four tables are written to one after another, and each is truncated before it
 * is written to again.
 *
 * A writer learns which table is the current one when its call begins, and may
 * write there long after the rotation, under a transaction id that is newer
 * than it.  So what a table holds is not deduced from when it was current:
 * it is looked at, under ACCESS EXCLUSIVE lock.  Writers hold their lock on the
 * table until their transaction has ended, prepared ones too, so by then every
 * row is there to be seen; a later writer finds the table empty, adds to it,
 * and is found at the next look.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "compat.h"
#include "hub/rotate.h"
#include "process/owner.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/change_log.h"
#include "storage/link.h"
#include "storage/registry.h"

/*
 * How many rows are asked for the table's age.  The last transaction id need
 * not be that of the last change.
 */
#define NEWEST_ROWS	1000

static char *
table_name(const Maintenance *m, int table)
{
	return MemoryContextStrdup(m->context, psprintf("change_log_%d", table));
}

static bool
table_is_empty(int table)
{
	return owner_true("SELECT pg_relation_size('syncext.change_log_%d') = 0", table);
}

/* Is every change in the table older than the retention? */
static bool
table_is_old(int table)
{
	return owner_true("SELECT coalesce(max(recorded_at) < clock_timestamp() - interval '%d s', true) "
					  "FROM (SELECT recorded_at FROM syncext.change_log_%d "
					  "ORDER BY xid DESC, seq DESC LIMIT %d) newest",
					  setting_retention, table, NEWEST_ROWS);
}

/*
 * The targets that have something in the table yet to get.  A row
 * that they aren't told of doesn't count: a target that is told of nothing stays
 * where it was.
 */
static List *
table_targets(int table)
{
	return owner_texts("SELECT target FROM syncext.log_targets('syncext.change_log_%d') target", table);
}

/* ---------- truncating ---------- */

typedef struct Truncation
{
	int			table;
	bool		done;
} Truncation;

/* Lock the table, look at it again now that no session writes there, truncate it. */
static void
truncate_table(void *arg)
{
	Truncation *truncation = arg;
	int			table = truncation->table;

	truncation->done = false;
	owner_execute("LOCK TABLE syncext.change_log_%d IN ACCESS EXCLUSIVE MODE", table);
	if (!table_is_old(table) || table_targets(table) != NIL)
		return;
	owner_execute("TRUNCATE syncext.change_log_%d", table);
	truncation->done = true;
}

/* The sessions that keep the table from being locked, as words. */
static char *
table_users(int table)
{
	char	   *users = owner_text("SELECT syncext.lock_holders('syncext.change_log_%d')", table);
	return users != NULL ? users : "nobody any more";
}

/* Has the target edits in the table that the hub behind its link hasn't answered? */
static bool
table_has_captured(const char *target, int table)
{
	return link_of_source(target) != NULL &&
		owner_true("SELECT syncext.log_has_captured('syncext.change_log_%d', %s)",
				   table, quote_literal_cstr(target));
}

/*
 * Let those that are too far behind start anew: what they have not got in all
 * that time they get by walking through the golden records.  Not so the edits
 * that wait for a hub behind a link: they are in no golden record.
 */
static bool
restart_targets(Maintenance *m, int table)
{
	List	   *targets;
	bool		all = true;

	maintenance_begin(m);
	targets = table_targets(table);
	maintenance_commit(m);
	foreach_ptr(char, target, targets)
	{
		bool		captured;

		maintenance_begin(m);
		captured = table_has_captured(target, table);
		maintenance_commit(m);
		if (captured)
		{
			maintenance_waits(m, "change_log_%d: edits of source \"%s\" wait for the hub behind its link",
							  table, target);
			all = false;
		}
		else if (!maintenance_restart(m, target))
		{
			maintenance_waits(m, "change_log_%d: target \"%s\" has not got all of it, and is being served just now",
							  table, target);
			all = false;
		}
	}
	return all;
}

static void
truncate_if_old(Maintenance *m, int table)
{
	Truncation	truncation = {.table = table};
	bool		old;

	maintenance_begin(m);
	old = !table_is_empty(table) && table_is_old(table);
	maintenance_commit(m);
	if (!old || !restart_targets(m, table))
		return;

	maintenance_begin(m);
	if (!subxact_try_lock(truncate_table, &truncation))
		maintenance_waits(m, "change_log_%d: a transaction that has used it goes on (%s)",
						  table, table_users(table));
	else if (truncation.done)
		m->truncated = lappend(m->truncated, table_name(m, table));
	else
		maintenance_waits(m, "change_log_%d: it was written to, late; next time", table);
	maintenance_commit(m);
}

void
rotate_truncate(Maintenance *m)
{
	int			current = registry_get()->current_log;

	/* from the oldest on */
	for (int i = 1; i < LOG_NTABLES; i++)
		truncate_if_old(m, (current + i) % LOG_NTABLES);
}

/* ---------- rotating ---------- */

void
rotate_switch(Maintenance *m)
{
	int			current;
	int			next;

	maintenance_begin(m);
	/* three of the four hold the retention */
	current = owner_number("SELECT current_log FROM syncext.feed_state FOR UPDATE");
	next = (current + 1) % LOG_NTABLES;
	if (!table_is_empty(current) &&
		owner_true("SELECT switched_at <= clock_timestamp() - interval '%d s' / %d FROM syncext.feed_state",
				   setting_retention, LOG_NTABLES - 1))
	{
		if (!table_is_empty(next))
			maintenance_waits(m, "change_log_%d stays in use: change_log_%d comes next, and is not empty yet",
							  current, next);
		else
		{
			owner_execute("UPDATE syncext.feed_state SET current_log = %d, switched_at = clock_timestamp()",
						  next);
			m->rotated_from = current;
			m->rotated_to = next;
		}
	}
	maintenance_commit(m);
}
