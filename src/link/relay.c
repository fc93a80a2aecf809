/*
 * relay.c
 *	  A hub that is a spoke of another hub.
 *
 * Called by link/exchange, for a link that was made with relay => true.  Its
 * source is one of this hub's like any other; it stands for the hub
 * behind the link, and all that is there.  What the feed owes it is sent as far
 * as it differs from what the two hubs have agreed on, on the row version that
 * the other hub had then.  What comes from there has been decided there, and is
 * written as it is; but a record of which something has still to be sent is left
 * alone until the other hub has answered.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "hub/apply_call.h"
#include "hub/delivery.h"
#include "hub/procedure.h"
#include "link/relay.h"
#include "model/json.h"
#include "model/json_read.h"
#include "storage/agreed.h"
#include "storage/canonical.h"
#include "storage/cursor_set.h"

/* ---------- what is sent ---------- */

/* The fields of an object, none if it is NULL. */
static Fields
fields_of(Jsonb *jsonb)
{
	Fields		fields = {0, NULL};

	if (jsonb != NULL)
		fields_from_container(&jsonb->root, &fields);
	return fields;
}

/* Keep the fields that differ from, or aren't among, those that are known. */
static Fields
find_different(Fields different, Jsonb *known_fields)
{
	Fields		known = fields_of(known_fields);
	int			kept = 0;

	for (int i = 0; i < different.n; i++)
	{
		const Field *old = fields_find(&known, different.field[i].name);

		if (old == NULL || !json_value_equal(&old->value, &different.field[i].value))
			different.field[kept++] = different.field[i];
	}
	different.n = kept;
	return different;
}

/* The fields of both; of those that both have, the second's. */
static Fields
merge_fields(const Fields *first, const Fields *second)
{
	Fields		both = {0, palloc(sizeof(Field) * Max(first->n + second->n, 1))};

	/* both are in jsonb's key order */
	for (int i = 0, j = 0; i < first->n || j < second->n;)
	{
		int			cmp = i == first->n ? 1 : j == second->n ? -1 :
			field_name_cmp(first->field[i].name, second->field[j].name);

		both.field[both.n++] = cmp < 0 ? first->field[i] : second->field[j];
		i += cmp <= 0;
		j += cmp >= 0;
	}
	return both;
}

/*
 * The fields in which a record differs from what was agreed on.  One that it
 * doesn't have any more, as it was deleted and came back, is null.
 */
static Fields
find_news(Jsonb *jsonb, const Agreed *agreed)
{
	Fields		here = fields_of(jsonb);
	Fields		known = fields_of(agreed->fields);
	Fields		gone = {0, palloc(sizeof(Field) * Max(known.n, 1))};
	Fields		news = find_different(fields_of(jsonb), agreed->fields);

	for (int i = 0; i < known.n; i++)
	{
		if (known.field[i].value.type == jbvNull ||
			fields_find(&here, known.field[i].name) != NULL)
			continue;
		gone.field[gone.n] = known.field[i];
		gone.field[gone.n++].value.type = jbvNull;
	}
	return gone.n == 0 ? news : merge_fields(&news, &gone);
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

/* The row version that a field last came at, if it is kept back since. */
static bool
held_base(const Fields *held, FieldName name, int64 *base)
{
	const Field *field = fields_find(held, name);

	return field != NULL && json_read_rounded(&field->value, 0, CHANGE_MAX_VERSION, base);
}

static CapturedChange *
add_change(CapturedBatch *batch, int *room, const DeliveryRecord *record, int64 base)
{
	CapturedChange *change;

	if (batch->nchanges == *room)
	{
		*room *= 2;
		batch->changes = repalloc(batch->changes, sizeof(CapturedChange) * *room);
	}
	change = &batch->changes[batch->nchanges++];
	MemSet(change, 0, sizeof(CapturedChange));
	change->entity = record->entity;
	change->external_id = record->external_id;
	change->deleted = record->deleted;
	change->base = base;
	return change;
}

/*
 * A record that the other hub has not, or not any more, begins with what it has
 * here: of an earlier life there, nothing comes back that isn't here, too.
 */
static void
add_birth(CapturedBatch *batch, int *room, const DeliveryRecord *record, Fields fields)
{
	CapturedChange *change = add_change(batch, room, record, 0);

	change->born = true;
	change->fields = fields;
}

/*
 * Add what brings a record there: one change, and one for each field of which
 * the other hub has a value that it keeps back.
 */
static void
add_changes(CapturedBatch *batch, int *room, const DeliveryRecord *record, const Agreed *agreed)
{
	Fields		held = fields_of(agreed->held);
	Fields		news;
	int			rest = 0;

	if (record->deleted)
	{
		if (agreed->fields != NULL || agreed->problem != NULL)
			(void) add_change(batch, room, record, agreed->row_version);
		return;
	}
	news = find_news(record->fields, agreed);
	for (int i = 0; i < news.n; i++)
	{
		int64		base;

		if (held_base(&held, news.field[i].name, &base))
		{
			CapturedChange *change = add_change(batch, room, record, base);

			change->fields.field = palloc(sizeof(Field));
			change->fields.field[0] = news.field[i];
			change->fields.n = 1;
		}
		else
			news.field[rest++] = news.field[i];
	}
	news.n = rest;
	if (agreed->fields == NULL)
		add_birth(batch, room, record, news);
	else if (rest > 0)
		add_change(batch, room, record, agreed->row_version)->fields = news;
}

/* Keep of what is due the changes that have to be sent. */
static void
make_changes(const char *source, const Delivery *delivery, CapturedBatch *batch)
{
	AgreedTable *table = agreed_open(false);
	Canonical  *canonical = canonical_open(false);
	int			room = delivery->nrecords;

	batch->batch = delivery->batch;
	batch->changes = palloc(sizeof(CapturedChange) * room);
	for (int i = 0; i < delivery->nrecords; i++)
	{
		const DeliveryRecord *record = &delivery->records[i];
		int			before = batch->nchanges;
		Agreed		agreed;

		agreed_find(table, source, record->entity, record->external_id, &agreed);
		add_changes(batch, &room, record, &agreed);
		for (int n = before; n < batch->nchanges; n++)
		{
			batch->changes[n].has_updated_at = true;
			batch->changes[n].updated_at = edited_at(canonical, record);
		}
	}
	canonical_close(canonical);
	agreed_close(table);
}

void
relay_cut(const char *source, int max, Size max_bytes, CapturedBatch *batch)
{
	MemSet(batch, 0, sizeof(CapturedBatch));
	for (;;)
	{
		Delivery	delivery = {.max_bytes = max_bytes};

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

/* The fields that are held back, but for those that we have set now. */
static Jsonb *
held_without(Jsonb *held_jsonb, const Fields *set)
{
	Fields		held = fields_of(held_jsonb);
	int			kept = 0;

	for (int i = 0; i < held.n; i++)
		if (fields_find(set, held.field[i].name) == NULL)
			held.field[kept++] = held.field[i];
	held.n = kept;
	return kept == 0 ? NULL : fields_to_jsonb(&held);
}

/* Whatever the other hub decided, it has spoken on what was sent. */
static void
note_answer(Agreed *agreed, const LinkedAnswer *answer)
{
	const CapturedChange *change = answer->change;
	Fields		known = fields_of(agreed->fields);
	Fields		both = merge_fields(&known, &change->fields);

	/* a version in between is of others, and has still to come: a delete, say */
	if (answer->row_version != 0 && (answer->row_version <= agreed->row_version + 1 ||
									 (answer->alone && agreed->row_version == 0)))
		agreed->row_version = answer->row_version;
	agreed->fields = change->deleted ? NULL : fields_to_jsonb(&both);
	if (change->deleted)
		agreed->held = NULL;
	else if (answer->written)
		agreed->held = held_without(agreed->held, &change->fields);
	agreed->contested = !answer->written;
}

void
relay_answered(const char *source, const LinkedAnswer *answers, int n)
{
	AgreedTable *table = agreed_open(true);

	for (int i = 0; i < n; i++)
	{
		const CapturedChange *change = answers[i].change;
		Agreed		agreed;

		agreed_find(table, source, change->entity, change->external_id, &agreed);
		note_answer(&agreed, &answers[i]);
		agreed_set(table, source, change->entity, change->external_id, &agreed);
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
make_write(const char *source, const LinkedRecord *from, const Agreed *agreed, const Record *here,
		   Change *change)
{
	Jsonb	   *known = NULL;

	MemSet(change, 0, sizeof(Change));
	change->entity = from->entity;
	change->external_id = from->external_id;
	change->source = source;
	change->deleted = from->deleted;
	change->has_base = true;
	/* base 0 starts anew on a tombstone: all that the other hub has comes along */
	change->base = here->exists && !here->deleted ? here->row_version : 0;
	change->has_if_match = true;
	change->if_match = here->exists ? here->row_version : 0;
	change->verbatim = true;
	change->has_updated_at = true;
	change->updated_at = GetCurrentTransactionStartTimestamp();
	if (from->deleted)
		return here->exists && !here->deleted;
	if (here->exists && !here->deleted)
		known = record_fields_jsonb(here);
	change->fields = find_different(linked_fields(from, agreed->fields), known);
	return change->fields.n > 0 || !here->exists || here->deleted;
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

/*
 * A field that the record came without is kept back: what is said of it later is
 * based on when it came last.
 */
static Jsonb *
find_held(const Agreed *before, const Fields *known, const Fields *came)
{
	JsonbParseState *state = NULL;
	Fields		held = fields_of(before->held);
	int			n = 0;
	Jsonb	   *result;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < known->n; i++)
	{
		FieldName	name = known->field[i].name;
		int64		base = before->row_version;

		if (fields_find(came, name) != NULL)
			continue;
		(void) held_base(&held, name, &base);
		json_push_number(&state, field_name_cstring(name), base);
		n++;
	}
	result = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	return n == 0 ? NULL : result;
}

/* What came is what both have now. */
static void
note_record(Agreed *agreed, const LinkedRecord *record)
{
	if (record->deleted)
		agreed->fields = agreed->held = NULL;
	else
	{
		Fields		known = fields_of(agreed->fields);
		Fields		came = linked_fields(record, agreed->fields);
		Fields		both = merge_fields(&known, &came);

		agreed->held = find_held(agreed, &known, &came);
		agreed->fields = fields_to_jsonb(&both);
	}
	agreed->row_version = record->row_version;
	agreed->contested = false;
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
	else if (make_write(source, record, &agreed, &here, &change))
	{
		ApplyCall  *call = apply_begin(registry);
		Answer		answer;

		/* a parent that isn't here yet is the other hub's to send */
		apply_released(call, &change, &answer);
		judge(record, &answer);
		apply_end(call);
	}
	if (!record->busy && record->error == NULL)
	{
		note_record(&agreed, record);
		agreed_set(table, source, record->entity, record->external_id, &agreed);
	}
	agreed_close(table);
}

typedef struct Placing
{
	const char *source;
	LinkedRecord *record;
} Placing;

static void
run_place(void *arg)
{
	const Placing *placing = arg;

	place_one(placing->source, registry_get(), placing->record);
}

/* Place a record in a subtransaction: one that fails fails alone. */
static void
try_one(const char *source, LinkedRecord *record)
{
	Placing		placing = {source, record};
	ErrorData  *error;

	record->busy = record->written = false;
	record->error = NULL;
	error = procedure_try(CurrentMemoryContext, CurrentMemoryContext, run_place, &placing);
	if (error == NULL)
		return;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	record->busy = record->written = false;
	record->error = psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	FreeErrorData(error);
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

/* ---------- after the other hub has gone back in time ---------- */

void
relay_rebase(const char *source, const LostRecord *records, int n, bool ours, Rebased *result)
{
	AgreedTable *table = agreed_open(true);

	for (int i = 0; i < n; i++)
	{
		const LostRecord *lost = &records[i];
		Agreed		agreed;

		agreed_find(table, source, lost->entity, lost->external_id, &agreed);
		if (ours)
		{
			result->stranded += !lost->present && agreed.fields != NULL;
			continue;
		}
		if (!agreed.exists ||
			(!agreed.contested && agreed.held == NULL &&
			 Max(agreed.row_version, agreed.fields != NULL ? 1 : 0) <= lost->base))
			continue;
		agreed.fields = lost->present && !lost->deleted ?
			rebase_fields(lost, agreed.fields, agreed.row_version) : NULL;
		agreed.row_version = Min(agreed.row_version, lost->base);
		agreed.held = rebase_held(lost, agreed.held);
		agreed.contested = false;
		agreed_set(table, source, lost->entity, lost->external_id, &agreed);
		result->resent++;
	}
	agreed_close(table);
}

/* What the other hub knows already isn't sent. */
void
relay_renew(const char *source)
{
	const Registry *registry = registry_get();

	cursor_start(registry, registry_source_required(registry, source));
}
