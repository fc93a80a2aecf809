/*
 * side.c
 *	  The side of a link that is for the tables of its source.
 *
 * local/spoke_tables and local/rebase do the work, and hub/outbox what leaves.
 */
#include "postgres.h"

#include "utils/builtins.h"

#include "link/side.h"
#include "local/spoke_merges.h"
#include "process/owner.h"
#include "storage/binding.h"
#include "storage/replica.h"

static bool
tables_take_records(const char *source)
{
	return binding_list(source, NULL) != NIL;
}

static void
tables_retry(const char *source)
{
	(void) spoke_tables_retry(source);
}

static List *
tables_entities(const char *source)
{
	List	   *names = NIL;

	foreach_ptr(const Binding, binding, binding_list(source, NULL))
		names = lappend(names, pstrdup(binding->entity));
	return names;
}

static int
tables_read_agreed(const char *source, const char *entity, const char *after, int max,
				   Size max_bytes, AgreedVersion *versions)
{
	const Binding *binding = binding_of_entity(source, entity);
	Replica    *replica;
	RowsScan   *scan;
	bool		present;
	Size		bytes = 0;
	int			n = 0;

	if (binding == NULL)
		return 0;
	replica = mapped_open(&replica_def, false);
	scan = replica_scan_begin(replica, binding->relation, after);
	while (n < max && bytes < max_bytes &&
		   replica_scan_next(replica, scan, &versions[n].external_id, &present))
	{
		versions[n].row_version = replica_scan_seen(replica, &versions[n].contested);
		bytes += replica_scan_bytes(replica);
		n++;
	}
	rows_scan_end(scan);
	mapped_close(replica);
	return n;
}

/*
 * What is kept of relations that are detached now was not compared.  Where we have gone
 * back it says nothing of what the hub has.
 */
static void
tables_rebased(const char *source, const char *link, bool ours)
{
	if (ours)
		spoke_forget_detached(source);
	else
		owner_execute("SELECT syncext.note_uncompared(%s)", quote_literal_cstr(link));
}

const SpokeSide spoke_tables_side = {
	.takes_records = tables_take_records,
	.retry = tables_retry,
	.cut = outbox_cut,
	.cut_ahead = outbox_cut_ahead,
	.answered = spoke_tables_answered,
	.take_rows = spoke_merges_take_rows,
	.place = spoke_tables_place,
	.entities = tables_entities,
	.read_agreed = tables_read_agreed,
	.recover = rebase_recover,
	.rebase = rebase_rows,
	.rebased = tables_rebased,
};
