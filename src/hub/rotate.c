/*
 * rotate.c
 *	  Rotating and truncating the tables of the change log.
 *
 * Called by hub/maintain.  Four tables are written to in turn, and each is
 * truncated before its turn comes again.
 *
 * A writer learns which table is the current one when its call begins, and may
 * write there long after the rotation, under a transaction id that is newer
 * than it.  So what a table holds is not deduced from when it was current:
 * it is looked at, under ACCESS EXCLUSIVE lock.  Writers hold their lock on the
 * table until their transaction has ended, prepared ones too, so by then every
 * row is there to be seen; who comes later finds the table empty, adds to it,
 * and is found at the next look.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "hub/rotate.h"
#include "hub/section.h"
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
	return section_true("SELECT pg_relation_size('syncext.change_log_%d') = 0", table);
}

/* Is every change in the table older than the retention? */
static bool
table_is_old(int table)
{
	return section_true("SELECT coalesce(max(recorded_at) < clock_timestamp() - interval '%d s', true) "
						"FROM (SELECT recorded_at FROM syncext.change_log_%d "
						"ORDER BY xid DESC, seq DESC LIMIT %d) newest",
						setting_retention, table, NEWEST_ROWS);
}

/*
 * The targets that have something in the table yet to get, in context.  A row
 * that they aren't told of doesn't count: who is told of nothing for long stays
 * where it was.
 */
static List *
table_targets(MemoryContext context, int table)
{
	return section_texts(context,
						 "SELECT DISTINCT c.target FROM syncext.cursor c "
						 "JOIN syncext.source s ON s.name = c.target "
						 "JOIN syncext.tick lo ON lo.id = c.lo "
						 "WHERE EXISTS (SELECT FROM syncext.change_log_%d l "
						 "WHERE l.xid >= pg_snapshot_xmin(lo.snapshot) "
						 "AND NOT pg_visible_in_snapshot(l.xid, lo.snapshot) "
						 "AND CASE l.told WHEN '%c' THEN true WHEN '%c' THEN l.source <> c.target "
						 "WHEN '%c' THEN l.source = c.target ELSE false END "
						 "AND syncext.record_slot(l.entity, l.external_id, c.slots) = c.slot "
						 "AND (s.entities IS NULL OR l.entity = ANY (s.entities))) ORDER BY 1",
						 table, TOLD_ALL, TOLD_OTHERS, TOLD_ORIGIN);
}

/* ---------- truncating ---------- */

typedef struct Truncation
{
	int			table;
	bool		done;
} Truncation;

/* Lock the table, look at it again now that nobody writes there, truncate it. */
static void
truncate_table(void *arg)
{
	Truncation *truncation = arg;
	int			table = truncation->table;

	truncation->done = false;
	section_run("LOCK TABLE syncext.change_log_%d IN ACCESS EXCLUSIVE MODE", table);
	if (!table_is_old(table) || table_targets(CurrentMemoryContext, table) != NIL)
		return;
	section_run("TRUNCATE syncext.change_log_%d", table);
	truncation->done = true;
}

/* Who keeps the table from being locked, as words. */
static char *
table_users(const Maintenance *m, int table)
{
	char	   *users;

	users = section_text(m->context,
						 "SELECT string_agg(DISTINCT coalesce('session ' || l.pid, "
						 "'prepared transaction ' || quote_literal(p.gid), "
						 "'a prepared transaction'), ', ') "
						 "FROM pg_locks l LEFT JOIN pg_locks x ON x.locktype = 'transactionid' "
						 "AND x.pid IS NULL AND x.virtualtransaction = l.virtualtransaction "
						 "LEFT JOIN pg_prepared_xacts p ON p.transaction = x.transactionid "
						 "WHERE l.locktype = 'relation' AND l.granted "
						 "AND l.pid IS DISTINCT FROM pg_backend_pid() "
						 "AND l.relation = 'syncext.change_log_%d'::regclass", table);
	return users != NULL ? users : "nobody any more";
}

/* Has the target edits in the table that the hub behind its link hasn't answered? */
static bool
table_has_captured(const char *target, int table)
{
	return link_of_source(target) != NULL &&
		section_true("SELECT EXISTS (SELECT FROM syncext.change_log_%d l "
					 "JOIN syncext.cursor c ON c.target = l.source "
					 "JOIN syncext.tick lo ON lo.id = c.lo "
					 "WHERE l.source = %s AND l.resolution = '%c' "
					 "AND l.xid >= pg_snapshot_xmin(lo.snapshot) "
					 "AND NOT pg_visible_in_snapshot(l.xid, lo.snapshot))",
					 table, quote_literal_cstr(target), RESOLUTION_CAPTURED);
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
	ListCell   *lc;
	bool		all = true;

	maintain_step_begin(m);
	targets = table_targets(m->context, table);
	maintain_step_end(m);
	foreach(lc, targets)
	{
		char	   *target = lfirst(lc);
		bool		captured;

		maintain_step_begin(m);
		captured = table_has_captured(target, table);
		maintain_step_end(m);
		if (captured)
		{
			maintain_waits(m, "change_log_%d: edits of source \"%s\" wait for the hub behind its link",
						   table, target);
			all = false;
		}
		else if (!maintain_restart(m, target))
		{
			maintain_waits(m, "change_log_%d: target \"%s\" has not got all of it, and is being served just now",
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

	maintain_step_begin(m);
	old = !table_is_empty(table) && table_is_old(table);
	maintain_step_end(m);
	if (!old || !restart_targets(m, table))
		return;

	maintain_step_begin(m);
	if (!section_try(truncate_table, &truncation))
		maintain_waits(m, "change_log_%d: a transaction that has used it goes on (%s)",
					   table, table_users(m, table));
	else if (truncation.done)
		m->truncated = lappend(m->truncated, table_name(m, table));
	else
		maintain_waits(m, "change_log_%d: it was written to, late; next time", table);
	maintain_step_end(m);
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

	maintain_step_begin(m);
	/* three of the four hold the retention */
	current = section_number("SELECT current_log FROM syncext.feed_state FOR UPDATE");
	next = (current + 1) % LOG_NTABLES;
	if (!table_is_empty(current) &&
		section_true("SELECT switched_at <= clock_timestamp() - interval '%d s' / %d FROM syncext.feed_state",
					 setting_retention, LOG_NTABLES - 1))
	{
		if (!table_is_empty(next))
			maintain_waits(m, "change_log_%d stays in use: change_log_%d comes next, and isn't empty yet",
						   current, next);
		else
		{
			section_run("UPDATE syncext.feed_state SET current_log = %d, switched_at = clock_timestamp()",
						next);
			m->rotated_from = current;
			m->rotated_to = next;
		}
	}
	maintain_step_end(m);
}
