/*
 * deliver.c
 *	  sync_deliver: what is due to a source, into its attached relations.
 *
 * Called from SQL and by run_job.  Pull, place and acknowledge are one
 * transaction: where it is rolled back, the batch comes again.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "hub/delivery.h"
#include "local/coming.h"
#include "local/deliver.h"
#include "local/polled.h"
#include "local/work.h"
#include "storage/link.h"

PG_FUNCTION_INFO_V1(sync_deliver);

/* After so many batches of which all failed, the rest can wait. */
#define MAX_FRUITLESS	10

/*
 * A row that was edited since it was last polled has something to say, before
 * anything is written over it.  One that is gone is left to the full compare.
 * Returns false if the row is somebody else's then.
 */
static bool
take_edit(Placer *placer, Placement *p)
{
	const Binding *binding = p->attached->binding;
	PolledEdit	edit;

	if (binding->capture != CAPTURE_POLL || !binding->in || !p->present ||
		!polled_compare(p->attached, true, p->before, &p->replica, &edit))
		return true;
	(void) polled_send(placer, p->attached, p->external_id, p->before, &edit, &p->replica);
	return place_lock(placer, p->attached, p->external_id, p);
}

/*
 * A record that was placed already comes again when all are sent again: sync_resync.
 * What the row has lost since is brought back.  Every edit that a trigger has captured
 * is decided, so no edit can be lost by that; where nothing captures edits, the row may
 * have one, and what is missing from a polled relation may have been deleted.
 */
static bool
has_lost(Placement *p)
{
	switch (p->attached->binding->capture)
	{
		case CAPTURE_TRIGGER:
			return place_is_drifted(p);
		case CAPTURE_POLL:
			return p->present && place_is_drifted(p);
		case CAPTURE_NONE:
			break;
	}
	return !p->present && place_is_drifted(p);
}

/* Has nobody but the source itself changed the record since it was placed last? */
static bool
is_own_news(const Placement *p)
{
	for (int i = 0; i < p->record.nfields; i++)
	{
		const Stamp *stamp = &p->record.fields[i].stamp;

		if (stamp->row_version > p->replica.row_version &&
			strcmp(stamp->set_by, p->attached->binding->source) != 0)
			return false;
	}
	return p->replica.exists && !p->record.deleted;
}

/*
 * A record that was placed already, in a later version perhaps, is left alone if
 * the row is still so; not where a route was edited perhaps.  One that doesn't meet
 * the source's filter goes as if it were deleted.
 */
static int
deliver_item(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	Placement	placement;
	PlaceOutcome outcome;
	bool		own;

	if (!place_lock(placer, attached, item->external_id, &placement) ||
		!take_edit(placer, &placement))
	{
		item->busy = true;
		return PLACE_BUSY;
	}
	/* it was unsubscribed from since the batch was cut */
	if (placement.hidden && !placement.filtered)
		return PLACE_EQUAL;
	if (placement.filtered && !placement.record.deleted)
	{
		if (!placement.present)
			return PLACE_EQUAL;
		placement.record.deleted = true;
	}
	placement.taken_back = placement.filtered;
	if (placement.replica.exists && !item->correction && placement.route == NULL &&
		placement.record.row_version <= placement.replica.row_version)
	{
		if (!has_lost(&placement) || place_write(placer, &placement) != PLACE_WRITTEN)
			return PLACE_KNOWN;
		return PLACE_WRITTEN;
	}
	own = !item->correction && is_own_news(&placement);
	outcome = place_write(placer, &placement);
	return own && outcome == PLACE_EQUAL ? PLACE_KNOWN : outcome;
}

/*
 * Make an item of each record whose entity the source has a relation for; the
 * others count as taken.  Returns how many there are, and which record each is.
 */
static int
make_items(const char *source, const Delivery *delivery, WorkItem *items, int *of_record)
{
	int			n = 0;

	for (int i = 0; i < delivery->nrecords; i++)
	{
		const DeliveryRecord *record = &delivery->records[i];
		const Binding *binding = binding_of_entity(source, record->entity);

		if (binding == NULL || !binding->out || !binding_stands(binding))
			continue;
		of_record[n] = i;
		work_item(&items[n], binding, false, record->external_id);
		items[n].correction = record->correction;
		items[n].deleted = record->deleted;
		items[n].fields = record->deleted ? record->last_fields : record->fields;
		n++;
	}
	return n;
}

static int
make_failures(const Delivery *delivery, const WorkItem *items, const int *of_record, int n,
			  BatchFailure *failures)
{
	int			nfailures = 0;

	for (int i = 0; i < n; i++)
	{
		BatchFailure *failure = &failures[nfailures];

		if (work_error(&items[i]) == NULL)
			continue;
		failure->entity = delivery->records[of_record[i]].entity;
		failure->external_id = items[i].external_id;
		failure->busy = items[i].busy || coming_parent(&items[i]);
		failure->error = work_error(&items[i]);
		nfailures++;
	}
	return nfailures;
}

/* What came of a batch. */
typedef struct Outcome
{
	int			nitems;			/* that the source has relations for */
	int			nfailures;
	int			nknown;			/* that they hold already */
	const char *first;			/* the first failure, in words */
} Outcome;

static Outcome
deliver_batch(const char *source, const Delivery *delivery)
{
	WorkItem   *items = palloc0(sizeof(WorkItem) * delivery->nrecords);
	int		   *of_record = palloc(sizeof(int) * delivery->nrecords);
	BatchFailure *failures = palloc0(sizeof(BatchFailure) * delivery->nrecords);
	Outcome		outcome;

	outcome.nitems = make_items(source, delivery, items, of_record);
	if (outcome.nitems > 0)
	{
		work_through(registry_get(), items, outcome.nitems, deliver_item, NULL);
	}
	outcome.nfailures = make_failures(delivery, items, of_record, outcome.nitems, failures);
	outcome.nknown = 0;
	for (int i = 0; i < outcome.nitems; i++)
		outcome.nknown += work_error(&items[i]) == NULL && items[i].outcome == PLACE_KNOWN;
	outcome.first = outcome.nfailures == 0 ? NULL :
		psprintf("%s \"%s\": %s", failures[0].entity, failures[0].external_id, failures[0].error);
	delivery_ack(source, 0, delivery->batch, failures, outcome.nfailures);
	return outcome;
}

/* Who gets 0 must not take it for "there is nothing". */
static void
tell_failures(const char *source, int64 failed, const char *first)
{
	ereport(NOTICE,
			(errmsg("nothing was delivered to source \"%s\": " INT64_FORMAT " failed, the first of them %s",
					source, failed, first),
			 errhint("View syncext.outbound_change tells when they are tried again; view syncext.dead_letter lists those that were given up.")));
}

/*
 * Deliver a batch; if nothing of it could be, or need be, delivered, go on, so that who
 * calls until 0 comes back has everything.  Rows that stay locked must not keep
 * us here for ever.
 */
static int64
deliver_batches(const char *source, int max_records)
{
	MemoryContext old = CurrentMemoryContext;
	MemoryContext context = AllocSetContextCreate(old, "syncext delivery",
												  ALLOCSET_DEFAULT_SIZES);
	const char *first = NULL;
	int			fruitless = 0;
	int64		failed = 0;
	int64		delivered = 0;

	while (delivered == 0 && fruitless < MAX_FRUITLESS)
	{
		Delivery	delivery = {0};
		Outcome		outcome;

		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(context);
		MemoryContextSwitchTo(context);
		delivery_pull(source, ONLY_SLOT, max_records, &delivery);
		if (delivery.nrecords == 0)
			break;
		outcome = deliver_batch(source, &delivery);
		delivered = outcome.nitems - outcome.nfailures - outcome.nknown;
		if (outcome.nfailures > 0)
			fruitless++;
		if (failed == 0 && outcome.nfailures > 0)
			first = MemoryContextStrdup(old, outcome.first);
		failed += outcome.nfailures;
	}
	if (delivered == 0 && failed > 0)
		tell_failures(source, failed, first);
	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	return delivered;
}

static void
check_attached(const char *source)
{
	ListCell   *lc;

	foreach(lc, binding_list(source, NULL))
	{
		if (((Binding *) lfirst(lc))->out)
			return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("no relation is attached to deliver to for source \"%s\"", source),
			 errhint("Attach one with sync_attach; a source without tables here takes its changes with sync_pull.")));
}

int64
deliver_some(const char *source_name, int max_records)
{
	const Source *source = registry_source_required(registry_get(), source_name);

	source_role_check(source);
	link_refuse_source(source->name);
	check_attached(source->name);
	return deliver_batches(source->name, max_records);
}

Datum
sync_deliver(PG_FUNCTION_ARGS)
{
	if (PG_ARGISNULL(0) || PG_ARGISNULL(1))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", PG_ARGISNULL(0) ? "source" : "max_records")));
	PG_RETURN_INT64(deliver_some(text_to_cstring(PG_GETARG_TEXT_PP(0)), PG_GETARG_INT32(1)));
}
