/*
 * relay.c
 *	  A hub that is a spoke of another hub.
 *
 * Called by link/exchange, for a linked source that no relation is attached to.
 * Such a source is one of this hub's like any other; it stands for the hub
 * behind the link, and all that is there.  What the feed owes it is sent as far
 * as it differs from what the two hubs have agreed on, on the row version that
 * the other hub had then.  What comes from there has been decided there, and is
 * written as it is; but a record of which something has still to be sent is left
 * alone until the other hub has answered.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/memutils.h"
#include "utils/resowner.h"
#include "utils/timestamp.h"

#include "hub/apply_call.h"
#include "hub/delivery.h"
#include "link/relay.h"
#include "storage/agreed.h"
#include "storage/binding.h"
#include "storage/canonical.h"

bool
relay_is(const char *source)
{
	return binding_list(source, NULL) == NIL;
}

/* ---------- what is sent ---------- */

/* The fields in which a record, none if NULL, differs from what was agreed on. */
static Fields
find_news(Jsonb *fields, const Agreed *agreed)
{
	Fields		news = {0, NULL};
	Fields		known = {0, NULL};

	if (fields == NULL)
		return news;
	fields_from_container(&fields->root, &news);
	if (agreed->fields != NULL)
	{
		int			kept = 0;

		fields_from_container(&agreed->fields->root, &known);
		for (int i = 0; i < news.n; i++)
		{
			const Field *old = fields_find(&known, news.field[i].name);

			if (old == NULL || !json_value_equal(&old->value, &news.field[i].value))
				news.field[kept++] = news.field[i];
		}
		news.n = kept;
	}
	return news;
}

/* When the record was last edited, as its sources said; else now. */
static TimestampTz
edited_at(Canonical *canonical, const DeliveryRecord *record)
{
	Record		current;

	canonical_find(canonical, record->entity, record->external_id, &current);
	return current.exists && current.has_updated_at ? current.updated_at :
		GetCurrentTransactionStartTimestamp();
}

/* Make the change that brings a record there; false if there is nothing to say. */
static bool
make_change(const DeliveryRecord *record, const Agreed *agreed, CapturedChange *change)
{
	MemSet(change, 0, sizeof(CapturedChange));
	change->entity = record->entity;
	change->external_id = record->external_id;
	change->deleted = record->deleted;
	change->base = agreed->row_version;
	if (record->deleted)
		return agreed->fields != NULL;
	change->fields = find_news(record->fields, agreed);
	/* a record without any field is none to sync_apply */
	return change->fields.n > 0;
}

/* Keep of what is due the changes that have to be sent. */
static void
make_changes(const char *source, const Delivery *delivery, CapturedBatch *batch)
{
	AgreedTable *table = agreed_open(false);
	Canonical  *canonical = canonical_open(false);

	batch->batch = delivery->batch;
	batch->changes = palloc(sizeof(CapturedChange) * delivery->nrecords);
	for (int i = 0; i < delivery->nrecords; i++)
	{
		const DeliveryRecord *record = &delivery->records[i];
		CapturedChange *change = &batch->changes[batch->nchanges];
		Agreed		agreed;

		agreed_find(table, source, record->entity, record->external_id, &agreed);
		if (!make_change(record, &agreed, change))
			continue;
		change->has_updated_at = true;
		change->updated_at = edited_at(canonical, record);
		batch->nchanges++;
	}
	canonical_close(canonical);
	agreed_close(table);
}

void
relay_cut(const char *source, int max, CapturedBatch *batch)
{
	MemSet(batch, 0, sizeof(CapturedBatch));
	for (;;)
	{
		Delivery	delivery;

		CHECK_FOR_INTERRUPTS();
		delivery_pull(source, ONLY_SLOT, max, &delivery);
		if (delivery.nrecords == 0)
			return;
		make_changes(source, &delivery, batch);
		if (batch->nchanges > 0)
			return;
		/* the other hub knows all of it */
		delivery_ack(source, 0, delivery.batch, NULL, 0);
	}
}

/* ---------- what was answered ---------- */

/* Fields written over others; neither may be NULL. */
static Jsonb *
patch_fields(Jsonb *old, const Fields *patch)
{
	Fields		fields;
	Fields		merged;

	fields_from_container(&old->root, &fields);
	merged.field = palloc(sizeof(Field) * Max(fields.n + patch->n, 1));
	merged.n = 0;
	/* both are in jsonb's key order */
	for (int o = 0, p = 0; o < fields.n || p < patch->n;)
	{
		int			cmp = o == fields.n ? 1 : p == patch->n ? -1 :
			field_name_cmp(fields.field[o].name, patch->field[p].name);

		merged.field[merged.n++] = cmp < 0 ? fields.field[o] : patch->field[p];
		if (cmp <= 0)
			o++;
		if (cmp >= 0)
			p++;
	}
	return fields_to_jsonb(&merged);
}

/* Agree on a change, or a record, that went over the link one way or the other. */
static void
agree(AgreedTable *table, const char *source, const char *entity, const char *external_id,
	  bool deleted, const Fields *fields, int64 row_version)
{
	Agreed		agreed;

	agreed_find(table, source, entity, external_id, &agreed);
	if (row_version != 0)
		agreed.row_version = row_version;
	if (deleted)
		agreed.fields = NULL;
	else if (agreed.fields == NULL)
		agreed.fields = fields_to_jsonb(fields);
	else
		agreed.fields = patch_fields(agreed.fields, fields);
	agreed_set(table, source, entity, external_id, &agreed);
}

void
relay_answered(const char *source, const LinkedAnswer *answers, int n)
{
	AgreedTable *table = agreed_open(true);

	for (int i = 0; i < n; i++)
	{
		const CapturedChange *change = answers[i].change;

		agree(table, source, change->entity, change->external_id, change->deleted,
			  &change->fields, answers[i].row_version);
	}
	agreed_close(table);
}

/* ---------- what comes from there ---------- */

/* Has the record here something that the other hub has not answered? */
static bool
has_news(const Record *record, const Agreed *agreed)
{
	if (!record->exists || record->deleted)
		return agreed->fields != NULL;
	if (agreed->fields == NULL)
		return true;
	return find_news(record_fields_jsonb(record), agreed).n > 0;
}

/*
 * Make the change that writes what came over the record that is here.  Returns
 * false if it is the same.
 */
static bool
make_write(const char *source, const LinkedRecord *from, const Record *here, Change *change)
{
	Agreed		as_here = {0};

	MemSet(change, 0, sizeof(Change));
	change->entity = from->entity;
	change->external_id = from->external_id;
	change->source = source;
	change->deleted = from->deleted;
	change->has_base = true;
	change->base = here->exists ? here->row_version : 0;
	change->has_if_match = true;
	change->if_match = change->base;
	change->has_updated_at = true;
	change->updated_at = GetCurrentTransactionStartTimestamp();
	if (from->deleted)
		return here->exists && !here->deleted;
	if (here->exists && !here->deleted)
		as_here.fields = record_fields_jsonb(here);
	change->fields = find_news(from->fields, &as_here);
	return change->fields.n > 0;
}

/* What this hub made of it, if that isn't what the other one has. */
static void
judge(LinkedRecord *record, const Answer *answer)
{
	const Decision *d = &answer->decision;

	record->busy = d->resolution == RESOLUTION_PRECONDITION_FAILED;
	record->written = d->status == 200;
	if (d->status == 409)
		record->error = pstrdup(d->reason);
}

static void
place_one(const char *source, const Registry *registry, LinkedRecord *record)
{
	Canonical  *canonical = canonical_open(false);
	AgreedTable *table = agreed_open(true);
	Record		here;
	Agreed		agreed;
	Change		change;

	canonical_find(canonical, record->entity, record->external_id, &here);
	agreed_find(table, source, record->entity, record->external_id, &agreed);
	canonical_close(canonical);
	if (agreed.exists && record->row_version <= agreed.row_version && !record->correction)
	{
		agreed_close(table);
		return;
	}
	if (has_news(&here, &agreed))
		record->busy = true;
	else if (make_write(source, record, &here, &change))
	{
		ApplyCall  *call = apply_begin(registry);
		Answer		answer;

		apply_change(call, &change, &answer);
		judge(record, &answer);
		apply_end(call);
	}
	if (!record->busy && record->error == NULL)
	{
		Fields		fields = {0, NULL};

		if (!record->deleted)
			fields_from_container(&record->fields->root, &fields);
		agree(table, source, record->entity, record->external_id, record->deleted, &fields,
			  record->row_version);
	}
	agreed_close(table);
}

/* Place a record in a subtransaction: one that fails fails alone. */
static void
try_one(const char *source, LinkedRecord *record)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;

	record->busy = record->written = false;
	record->error = NULL;
	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		place_one(source, registry_get(), record);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		MemoryContextSwitchTo(context);
		CurrentResourceOwner = owner;
		if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
			ReThrowError(error);
		record->written = false;
		record->error = psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
}

void
relay_place(const char *source, LinkedRecord *records, int n)
{
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		try_one(source, &records[i]);
	}
}
