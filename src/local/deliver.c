/*
 * deliver.c
 *	  sync_deliver: what is due to a source, into its attached relations.
 *
 * Pull, write and acknowledge are one transaction: where it is rolled back, the batch
 * comes again.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "errcodes.h"
#include "hub/acknowledge.h"
#include "hub/pull.h"
#include "local/coming.h"
#include "local/deliver.h"
#include "local/polled.h"
#include "local/item_batch.h"
#include "process/args.h"
#include "storage/hints.h"
#include "storage/link.h"
#include "storage/names.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_deliver);

/* After so many batches of which all failed, the rest can wait. */
#define MAX_FRUITLESS	10

/*
 * A row that was edited since it was last polled has something to say, before
 * anything is written over it.  One that is gone is left to the full compare.
 * Returns false if another transaction holds the row then.
 */
static bool
take_edit(RowWriter *writer, RowState *p)
{
	const Binding *binding = p->attached->binding;
	PolledEdit	edit;

	if (binding->capture != CAPTURE_POLL || !binding->in || !p->present ||
		!polled_compare(p->attached, true, p->before, &p->replica, &edit))
		return true;
	(void) polled_send(writer, p->attached, p->external_id, p->before, &edit, &p->replica);
	return row_write_lock(writer, p->attached, p->external_id, p);
}

/*
 * A record that was placed already comes again when all are sent again: sync_resync.
 * What the row has lost since is brought back.  Every edit that a trigger has captured
 * is decided, so no edit can be lost by that; where nothing captures edits, the row may
 * have one, and what is missing from a polled relation may have been deleted.
 */
static bool
has_lost(RowState *p)
{
	switch (p->attached->binding->capture)
	{
		case CAPTURE_TRIGGER:
			return row_write_is_drifted(p);
		case CAPTURE_POLL:
			return p->present && row_write_is_drifted(p);
		case CAPTURE_NONE:
			break;
	}
	return !p->present && row_write_is_drifted(p);
}

/* Has the source alone changed the record since it was written to the row last? */
static bool
is_own_news(const RowState *p)
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
deliver_item(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	RowState	state;
	RowWriteOutcome outcome;
	bool		own;

	if (!row_write_lock(writer, attached, item->external_id, &state) ||
		!take_edit(writer, &state))
		return BATCH_ITEM_BUSY;
	/* it was unsubscribed from since the batch was cut */
	if (state.hidden && !state.filtered)
		return ROW_EQUAL;
	if (state.filtered && !state.record.deleted)
	{
		if (!state.present)
			return ROW_EQUAL;
		state.record.deleted = true;
	}
	state.taken_back = state.filtered;
	item->named = false;
	if (state.replica.exists && !item->correction && state.route == NULL &&
		state.record.row_version <= state.replica.row_version)
	{
		if (!has_lost(&state) || row_write_apply(writer, &state) != ROW_WRITTEN)
			return ROW_KNOWN;
		return ROW_WRITTEN;
	}
	own = !item->correction && is_own_news(&state);
	outcome = row_write_apply_later(writer, &state);
	item->named = state.named;
	return own && outcome == ROW_EQUAL ? ROW_KNOWN : outcome;
}

/*
 * Make an item of each record whose entity the source has a relation for; the
 * others count as taken.  Returns how many there are, and which record each is.
 */
static int
make_items(const char *source, const Delivery *delivery, BatchItem *items, int *of_record)
{
	int			n = 0;

	for (int i = 0; i < delivery->nrecords; i++)
	{
		const DeliveryRecord *record = &delivery->records[i];
		const Binding *binding = binding_of_entity(source, record->entity);

		if (binding == NULL || !binding->out || !binding_stands(binding))
			continue;
		of_record[n] = i;
		batch_item_init(&items[n], binding, false, record->external_id);
		items[n].record_at = record->at;
		items[n].correction = record->correction;
		items[n].deleted = record->deleted;
		items[n].fields = record->deleted ? record->last_fields : record->fields;
		n++;
	}
	return n;
}

static int
make_failures(const Delivery *delivery, const BatchItem *items, const int *of_record, int n,
			  BatchFailure *failures)
{
	int			nfailures = 0;

	for (int i = 0; i < n; i++)
	{
		BatchFailure *failure = &failures[nfailures];

		if (batch_item_error(&items[i]) == NULL)
			continue;
		failure->entity = delivery->records[of_record[i]].entity;
		failure->external_id = items[i].external_id;
		failure->waits = items[i].sqlerrcode == ERRCODE_SYNC_NO_PARENT_KEY;
		failure->busy = items[i].busy || coming_parent(&items[i]) || failure->waits;
		failure->error = batch_item_error(&items[i]);
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
	BatchItem  *items = palloc0(sizeof(BatchItem) * delivery->nrecords);
	int		   *of_record = palloc(sizeof(int) * delivery->nrecords);
	BatchFailure *failures = palloc0(sizeof(BatchFailure) * delivery->nrecords);
	bool		any_named = false;
	Outcome		outcome;

	outcome.nitems = make_items(source, delivery, items, of_record);
	item_batch_run(items, outcome.nitems, deliver_item, NULL);
	outcome.nfailures = make_failures(delivery, items, of_record, outcome.nitems, failures);
	outcome.nknown = 0;
	for (int i = 0; i < outcome.nitems; i++)
	{
		bool		done = batch_item_error(&items[i]) == NULL;

		outcome.nknown += done && items[i].outcome == ROW_KNOWN;
		any_named |= done && items[i].named;
	}
	outcome.first = outcome.nfailures == 0 ? NULL :
		psprintf("%s \"%s\": %s", failures[0].entity, failures[0].external_id, failures[0].error);
	acknowledge_batch(source, 0, delivery->batch, failures, outcome.nfailures, any_named);
	return outcome;
}

/* A caller that gets 0 must not take it for "there is nothing". */
static void
tell_failures(const char *source, int64 failed, const char *first)
{
	ereport(NOTICE,
			(errmsg("nothing was delivered to source \"%s\": " INT64_FORMAT " failed, the first of them %s",
					source, failed, first),
			 errhint("View syncext.outbound_change tells when they are tried again; view syncext.dead_letter lists those that were given up.")));
}

/*
 * Deliver a batch; if nothing of it could be, or need be, delivered, go on, so that a
 * caller which calls until 0 comes back has everything.  Rows that stay locked must not keep
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
		pull_batch(source, ONLY_SLOT, max_records, &delivery);
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

/*
 * Rows that the hub doesn't know may be what it has to deliver: where they have keys of
 * their own that is found out by a load, or a poll.
 */
static void
check_loaded(const Binding *binding)
{
	if (!binding_awaits_load(binding) || !binding_stands(binding))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("relation %s has rows that the hub does not know, and draws their keys itself",
					names_of_relation(binding->relation)),
			 errdetail("Nothing is delivered to source \"%s\" until they are loaded.", binding->source),
			 errhint_call("CALL sync_load(%s).",
						  quote_literal_cstr(names_of_relation(binding->relation)))));
}

static void
check_attached(const char *source)
{
	bool		any = false;

	foreach_ptr(const Binding, binding, binding_list(source, NULL))
	{
		if (!binding->out)
			continue;
		check_loaded(binding);
		any = true;
	}
	if (any)
		return;
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
	char	   *source = arg_text(fcinfo, 0, "source");

	PG_RETURN_INT64(deliver_some(source, arg_int(fcinfo, 1, "max_records")));
}
