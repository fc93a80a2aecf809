/*
 * subscription_filter.c
 *	  What of an entity a target is let see: a filter and a mask.
 *
 * A record that no longer meets the filter is delivered once more, as gone, to
 * a target that has it.  Which records a target has is kept in syncext.routed, for filtered
 * entities alone: from when a record is served, not only when it is taken, for a
 * consumer may take it and end before it says so; and until the target has
 * acknowledged that it is gone.  So that is said once too often rather than
 * never.
 */
#include "postgres.h"

#include "access/xact.h"
#include "utils/builtins.h"

#include "hub/filter.h"
#include "hub/subscription_filter.h"
#include "process/owner.h"
#include "storage/rights.h"
#include "storage/route_failure.h"

struct Routing
{
	const Source *target;
	int64		batch;
	bool		again;
	RoutedTable *before;		/* as it was when the batch began to be read */
	RowsScan   *had;
	RoutedTable *table;
	const Route *failed;		/* whose filter failed last */
};

bool
route_admits(const Route *route, Jsonb *fields)
{
	return route == NULL || route->filter == NULL || filter_met(route->filter, fields, NULL);
}

void
route_arm(const char *target)
{
	const Source *source = registry_source_required(registry_get(), target);

	if (source->armed)
		return;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("a route of source \"%s\" was edited, and comes into force in transaction isolation level READ COMMITTED",
						target),
				 errhint("Pull in a transaction of its own, or begin with BEGIN ISOLATION LEVEL READ COMMITTED.")));
	owner_execute("SELECT syncext.route_arm(%s)", quote_literal_cstr(target));
}

/* ---------- delivery ---------- */

Routing *
routing_begin(const Source *target, int64 batch, bool again)
{
	Routing    *routing;

	if (!target->filtered)
		return NULL;
	routing = palloc0(sizeof(Routing));
	routing->target = target;
	routing->batch = batch;
	routing->again = again;
	routing->before = mapped_open(&routed_def, false);
	routing->had = routed_seek_begin(routing->before);
	routing->table = mapped_open(&routed_def, true);
	return routing;
}

void
routing_end(Routing *routing)
{
	if (routing == NULL)
		return;
	rows_scan_end(routing->had);
	mapped_close(routing->before);
	mapped_close(routing->table);
	pfree(routing);
}

bool
routing_admits(Routing *routing, const Route *route, const char *external_id, Jsonb *fields)
{
	const char *error;
	bool		met = filter_met(route->filter, fields, &error);

	/* one of a batch will do */
	if (error != NULL && routing->failed != route)
		route_failure_note(routing->target->name, route->entity, external_id, error);
	if (error != NULL)
		routing->failed = route;
	return met;
}

bool
routing_has(Routing *routing, const char *entity, const char *external_id)
{
	return routed_seek(routing->had, routing->target->name, entity, external_id);
}

/*
 * Where a batch is served again, a consumer may go by what it was told the first
 * time.  That a record is gone, and wasn't then, is not remembered; the change
 * that took it out comes in a later window.
 */
void
routing_note(Routing *routing, const char *entity, const char *external_id,
			 int64 row_version, bool gone)
{
	const char *target = routing->target->name;

	if (!gone)
		routed_note_served(routing->table, target, entity, external_id);
	else if (!routing->again)
		routed_note_gone(routing->table, target, entity, external_id, row_version,
						 routing->batch);
}

void
routing_check(const Feed *feed, const BatchFailure *failures, int nfailures)
{
	const char *target = feed->target->name;
	RoutedTable *table;
	RowsScan   *had;

	if (!feed->target->filtered || nfailures == 0)
		return;
	table = mapped_open(&routed_def, false);
	had = routed_seek_begin(table);
	for (int i = 0; i < nfailures; i++)
	{
		const Route *route = source_route(feed->target, failures[i].entity);

		if (route != NULL && route->filter != NULL &&
			!routed_seek(had, target, failures[i].entity, failures[i].external_id))
			batch_refuse_failure(feed, &failures[i]);
	}
	rows_scan_end(had);
	mapped_close(table);
}

static bool
has_failed(const BatchFailure *failures, int nfailures, const RoutedRecord *record)
{
	for (int i = 0; i < nfailures; i++)
		if (strcmp(failures[i].entity, record->entity) == 0 &&
			strcmp(failures[i].external_id, record->external_id) == 0)
			return true;
	return false;
}

void
routing_acknowledge(const Source *target, int64 batch, const BatchFailure *failures,
					int nfailures)
{
	RoutedTable *table;
	List	   *gone;

	if (!target->filtered)
		return;
	table = mapped_open(&routed_def, true);
	gone = routed_gone_in(table, target->name, batch);
	foreach_ptr(RoutedRecord, record, gone)
	{
		if (!has_failed(failures, nfailures, record))
			routed_forget(table, target->name, record, batch);
	}
	mapped_close(table);
}

/* ---------- a source's own changes ---------- */

/*
 * What takes a record out is told to its source, too, whether that has the record
 * or not: only the pull that serves it can tell, as it may be served just now.
 */
bool
route_note_own(const Source *source, const char *entity, const char *external_id,
			   const Record *after, RoutedTable **table, MemoryContext context)
{
	const Route *route = source_route(source, entity);

	if (route == NULL || route->filter == NULL || !after->exists || after->deleted)
		return false;
	if (!route_admits(route, record_fields_jsonb(after)))
		return true;
	if (*table == NULL)
		*table = mapped_open_in(context, &routed_def, true);
	routed_note_own(*table, source->name, entity, external_id, after->row_version);
	return false;
}
