/*
 * spoke_hub.c
 *	  A hub that is a spoke of another hub.
 *
 * For a link that was made with relay => true.  Its source is one of this hub's like
 * any other; it stands for the hub behind the link, and all that is there.  What the
 * feed owes it is sent as far as it differs from what the two hubs have agreed on, on
 * the row version that the other hub had then.  What comes from there has been decided
 * there, and is written as it is; but a record of which something has still to be sent
 * is left alone until the other hub has answered.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"

#include "hub/acknowledge.h"
#include "hub/apply_call.h"
#include "hub/backfill.h"
#include "hub/pull.h"
#include "hub/release.h"
#include "link/spoke_hub.h"
#include "model/field_state.h"
#include "model/field_versions.h"
#include "model/json.h"
#include "process/subxact.h"
#include "storage/agreed.h"
#include "storage/canonical.h"
#include "storage/link.h"
#include "storage/replica.h"
#include "storage/rights.h"

/* ---------- what is sent ---------- */

/*
 * The fields in which a record differs from what was agreed on.  One that it
 * doesn't have any more, as it was deleted and came back, is null.
 */
static Fields
find_news(Jsonb *jsonb, const Agreed *agreed)
{
	Fields		here = fields_of(jsonb);
	Fields		known = fields_of(agreed->fields);
	Fields		news = fields_difference(&here, &known);
	Fields		gone = fields_missing(&known, &here);

	return fields_union(&news, &gone);
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

static OutboxChange *
add_change(OutboxBatch *batch, int *room, const DeliveryRecord *record, int64 base)
{
	OutboxChange *change;

	if (batch->nchanges == *room)
	{
		*room *= 2;
		batch->changes = repalloc(batch->changes, sizeof(OutboxChange) * *room);
	}
	change = &batch->changes[batch->nchanges++];
	MemSet(change, 0, sizeof(OutboxChange));
	change->entity = record->entity;
	change->external_id = record->external_id;
	change->deleted = record->deleted;
	change->base = base;
	return change;
}

/*
 * Send a record that the other hub doesn't have, or has deleted, as a birth with our
 * fields: so no field of the deleted record comes back that we don't have.
 */
static void
add_birth(OutboxBatch *batch, int *room, const DeliveryRecord *record, Fields fields)
{
	OutboxChange *change = add_change(batch, room, record, 0);

	change->born = true;
	change->fields = fields;
}

/*
 * Add the changes that bring a record to the other hub: one, and another one for each
 * field of which that hub withholds a value from us.
 */
static void
add_changes(OutboxBatch *batch, int *room, const DeliveryRecord *record, const Agreed *agreed)
{
	Fields		held = fields_of(agreed->withheld);
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

		if (field_versions_find(&held, news.field[i].name, &base))
		{
			OutboxChange *change = add_change(batch, room, record, base);

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

/* The two hubs' records are joined: all of ours is sent, and it is told of what they have. */
static void
add_state(OutboxBatch *batch, int *room, const DeliveryRecord *record)
{
	OutboxChange *change = add_change(batch, room, record, 0);
	const JsonbValue state = json_to_value(record->state);

	change->fields = record->deleted ? (Fields) {0} : fields_of(record->fields);
	change->state = field_state_read(&state, &change->fields, record->deleted);
	if (change->state == NULL)
		elog(ERROR, "the state of record \"%s\" of entity \"%s\" cannot be read",
			 record->external_id, record->entity);
}

/* Keep of what is due the changes that have to be sent. */
static void
make_changes(const char *source, const Delivery *delivery, OutboxBatch *batch)
{
	AgreedTable *table = mapped_open(&agreed_def, false);
	Canonical  *canonical = canonical_open(false);
	int			room = delivery->nrecords;

	batch->batch = delivery->batch;
	batch->changes = palloc(sizeof(OutboxChange) * room);
	for (int i = 0; i < delivery->nrecords; i++)
	{
		const DeliveryRecord *record = &delivery->records[i];
		int			before = batch->nchanges;
		Agreed		agreed;

		if (record->state != NULL)
		{
			add_state(batch, &room, record);
			continue;
		}
		agreed_find(table, source, record->entity, record->external_id, &agreed);
		add_changes(batch, &room, record, &agreed);
		for (int n = before; n < batch->nchanges; n++)
		{
			batch->changes[n].has_updated_at = true;
			batch->changes[n].updated_at = edited_at(canonical, record);
		}
	}
	canonical_close(canonical);
	mapped_close(table);
}

static void
spoke_hub_cut(const char *source, int max, Size max_bytes, OutboxBatch *batch)
{
	MemSet(batch, 0, sizeof(OutboxBatch));
	for (;;)
	{
		Delivery	delivery = {.max_bytes = max_bytes, .with_state = true};

		CHECK_FOR_INTERRUPTS();
		pull_batch(source, ONLY_SLOT, max, &delivery);
		if (delivery.nrecords == 0)
			return;
		make_changes(source, &delivery, batch);
		if (batch->nchanges > 0)
			return;
		/* the other hub knows all of it */
		acknowledge_batch(source, 0, delivery.batch, NULL, 0, false);
	}
}

/* ---------- what was answered ---------- */

/* Note what the other hub answered: whatever it decided, the change is agreed on. */
static void
note_answer(Agreed *agreed, const OutboxChange *change, const PushedAnswer *answer)
{
	Fields		known = fields_of(agreed->fields);
	Fields		both = fields_union(&known, &change->fields);

	/*
	 * A version between the agreed one and the answer's is another source's change, a
	 * delete, say, and has still to come.  What is agreed on mustn't skip it.
	 */
	agreed->contested = !answer->written;
	if (answer->unchallenged && answer->row_version != 0 &&
		(answer->row_version <= agreed->row_version + 1 || agreed->row_version == 0))
	{
		agreed->row_version = answer->row_version;
		agreed->answers = NULL;
	}
	else
	{
		agreed->answers = field_versions_put(agreed->answers, &change->fields, answer->row_version);
		agreed->contested = true;
	}
	agreed->answered = Max(agreed->answered, answer->row_version);
	agreed->fields = change->deleted ? NULL : fields_to_jsonb(&both);
	if (change->deleted)
		agreed->withheld = NULL;
	else if (answer->written)
		agreed->withheld = field_versions_without(agreed->withheld, &change->fields);
}

/*
 * The other hub has no record of what we sent an edit of: it was erased there, and is sent
 * whole.  Nothing that comes from there is placed meanwhile.
 */
static void
forget_agreed(Agreed *agreed)
{
	agreed->fields = agreed->withheld = agreed->answers = NULL;
	agreed->row_version = 0;
	agreed->contested = false;
}

/*
 * Those that failed are due again later, and so are those of which the hub lacks the record;
 * those that were refused are dead.
 */
static void
acknowledge(const char *source, const OutboxBatch *batch, const PushedAnswer *answers)
{
	BatchFailure *failures = palloc0(sizeof(BatchFailure) * batch->nchanges);
	int			n = 0;

	for (int i = 0; i < batch->nchanges; i++)
	{
		if (answers[i].error == NULL && !answers[i].unheard)
			continue;
		failures[n].busy = answers[i].unheard;
		failures[n].entity = batch->changes[i].entity;
		failures[n].external_id = batch->changes[i].external_id;
		failures[n++].error = answers[i].unheard ?
			"the hub has no record of it any more, and is sent all of it" : answers[i].error;
	}
	acknowledge_batch(source, 0, batch->batch, failures, n, false);
}

static bool
spoke_hub_answered(const char *source, const OutboxBatch *batch, const PushedAnswer *answers,
				   const OutboxBatch *next)
{
	AgreedTable *table = mapped_open(&agreed_def, true);

	for (int i = 0; i < batch->nchanges; i++)
	{
		const OutboxChange *change = &batch->changes[i];
		Agreed		agreed;

		if (answers[i].error != NULL)
			continue;
		agreed_find(table, source, change->entity, change->external_id, &agreed);
		if (answers[i].unheard)
			forget_agreed(&agreed);
		else
			note_answer(&agreed, change, &answers[i]);
		agreed_set(table, source, change->entity, change->external_id, &agreed);
	}
	mapped_close(table);
	acknowledge(source, batch, answers);
	return false;
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
make_write(const char *source, const PulledRecord *from, const Agreed *agreed, const Record *here,
		   Change *change)
{
	Fields		known = {0, NULL};
	Fields		came;

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
		known = fields_of(record_fields_jsonb(here));
	came = pulled_fields(from, agreed->fields);
	change->fields = fields_difference(&came, &known);
	return change->fields.n > 0 || !here->exists || here->deleted;
}

/* In a field ladder what came is joined with what is here, and nothing of either is lost. */
static bool
make_join(const char *source, PulledRecord *from, Change *change)
{
	const JsonbValue state = json_to_value(from->state);

	MemSet(change, 0, sizeof(Change));
	change->entity = from->entity;
	change->external_id = from->external_id;
	change->source = source;
	change->deleted = from->deleted;
	change->fields = from->deleted ? (Fields) {0} : fields_of(from->fields);
	change->state = field_state_read(&state, &change->fields, from->deleted);
	if (change->state == NULL)
		from->error = pstrdup("08P01: what the hub says of the record's stamps cannot be read");
	return change->state != NULL;
}

/* The entity's ladder decides how a record is placed; both hubs must have the same kind. */
static bool
make_change(const char *source, const Registry *registry, PulledRecord *from, const Agreed *agreed,
			const Record *here, Change *change)
{
	const Entity *entity = registry_entity_required(registry, from->entity);
	const Link *other = link_of_entity(from->entity);

	if (other != NULL)
	{
		from->error = psprintf("55000: " LINK_ENTITY_MESSAGE, from->entity, other->name);
		return false;
	}
	if ((from->state != NULL) != ((entity->ladder & RUNG_FIELD) != 0))
	{
		from->error = psprintf("55000: entity \"%s\" has a field ladder on one side of the link alone: give both hubs the same",
							   from->entity);
		return false;
	}
	if (from->state != NULL)
		return make_join(source, from, change);
	/* something of ours has still to be answered there */
	from->busy = has_news(here, agreed);
	return !from->busy && make_write(source, from, agreed, here, change);
}

/* What this hub made of it, if that isn't what the other one has. */
static void
judge(PulledRecord *record, const Answer *answer)
{
	const Decision *d = &answer->decision;

	record->busy = d->resolution == RESOLUTION_PRECONDITION_FAILED;
	record->written = d->status == 200;
	if (d->status == 409)
		record->error = pstrdup(d->reason);
}

/* What came is what both have now. */
static void
note_record(Agreed *agreed, const PulledRecord *record)
{
	if (record->deleted)
		agreed->fields = agreed->withheld = NULL;
	else
	{
		Fields		known = fields_of(agreed->fields);
		Fields		came = pulled_fields(record, agreed->fields);
		Fields		both = fields_union(&known, &came);
		Fields		gone = fields_without(&known, &came);
		FieldNames	withheld;

		/* a field that the record came without is kept back */
		field_names_init(&withheld, gone.n);
		for (int i = 0; i < gone.n; i++)
			field_names_add(&withheld, gone.field[i].name);
		agreed->withheld = field_versions_make(&withheld, agreed->withheld, agreed->row_version);
		agreed->fields = fields_to_jsonb(&both);
	}
	agreed->row_version = record->row_version;
	agreed->contested = false;
	agreed->answers = NULL;
}

static void
place_one(const char *source, const Registry *registry, PulledRecord *record)
{
	AgreedTable *table = mapped_open(&agreed_def, true);
	Record		here;
	Agreed		agreed;
	Change		change;

	canonical_read(record->entity, record->external_id, &here);
	agreed_find(table, source, record->entity, record->external_id, &agreed);
	/* joining the same again does no harm */
	if (agreed.exists && record->row_version <= agreed.row_version && !record->correction &&
		record->state == NULL)
	{
		mapped_close(table);
		return;
	}
	if (make_change(source, registry, record, &agreed, &here, &change))
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
	mapped_close(table);
}

typedef struct Placing
{
	const char *source;
	PulledRecord *record;
} Placing;

static void
run_place(void *arg)
{
	const Placing *placing = arg;

	place_one(placing->source, registry_get(), placing->record);
}

/* Place a record in a subtransaction: one that fails fails alone. */
static void
try_one(const char *source, PulledRecord *record)
{
	Placing		placing = {source, record};
	ErrorData  *error;

	record->busy = record->written = false;
	record->error = NULL;
	error = subxact_try(run_place, &placing);
	if (error == NULL)
		return;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) == ERRCODE_OPERATOR_INTERVENTION)
		ReThrowError(error);
	record->busy = record->written = false;
	record->error = psprintf("%s: %s", unpack_sql_state(error->sqlerrcode), error->message);
	FreeErrorData(error);
}

static void
spoke_hub_place(const char *source, PulledRecord *records, int n)
{
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		try_one(source, &records[i]);
	}
}

/* ---------- after the other hub has gone back in time ---------- */

static bool
spoke_hub_recover(const char *source, const LostRecord *lost, Recovery *recovery)
{
	const Entity *entity = registry_entity(registry_get(), lost->entity);
	AgreedTable *table;
	Agreed		agreed;
	KnownRecord known = {0};

	/* there all of our records are sent again, with their stamps */
	if (entity != NULL && (entity->ladder & RUNG_FIELD))
		return false;
	table = mapped_open(&agreed_def, false);
	agreed_find(table, source, lost->entity, lost->external_id, &agreed);
	mapped_close(table);
	known.fields = agreed.fields;
	known.row_version = agreed.row_version;
	known.answered = agreed.answered;
	known.withheld = agreed.withheld;
	known.answers = agreed.answers;
	known.contested = agreed.contested;
	return agreed.exists && agreed.problem == NULL && recovery_make(lost, &known, recovery);
}

/*
 * Has the other hub again a delete, or another life of the record, that came after all
 * that we knew of it?  That will come.  But a tombstone without what was deleted needs
 * all of a record that has news, not the news alone.
 */
static bool
is_after_us(const LostRecord *lost, const Agreed *agreed)
{
	Record		here;

	if (!lost->recovered || agreed->contested ||
		Max(agreed->row_version, agreed->answered) > lost->base)
		return false;
	if (agreed->fields == NULL || !lost->deleted)
		return agreed->fields == NULL;
	canonical_read(lost->entity, lost->external_id, &here);
	return !has_news(&here, agreed);
}

static bool
spoke_hub_rebase(const char *source, LostRecord *records, int n, bool ours, Rebased *result)
{
	AgreedTable *table = mapped_open(&agreed_def, true);

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
		if (!agreed.exists)
			continue;
		result->resent += lost->sent;
		if (!agreed.contested && agreed.withheld == NULL && !lost->recovered &&
			replica_seen(agreed.row_version, agreed.answered, agreed.fields != NULL) <= lost->base)
			continue;
		if (is_after_us(lost, &agreed))
			continue;
		agreed.fields = rebase_fields(lost, agreed.fields, agreed.row_version, agreed.answers);
		agreed.row_version = Min(agreed.row_version, lost->base);
		agreed.answered = Min(agreed.answered, lost->base);
		agreed.withheld = field_versions_limit(agreed.withheld, lost->base);
		agreed.answers = field_versions_limit(agreed.answers, lost->base);
		/* should the other hub go back once more */
		agreed.contested = agreed.answers != NULL;
		agreed_set(table, source, lost->entity, lost->external_id, &agreed);
		result->resent += !lost->sent;
	}
	mapped_close(table);
	return true;
}

/* What the other hub lacks is sent again; what it knows already is none of that. */
static void
spoke_hub_rebased(const char *source, const char *link, bool ours)
{
	if (!ours)
		cursor_start(source);
}

static List *
spoke_hub_entities(const char *source)
{
	const Registry *registry = registry_get();
	List	   *names = NIL;

	for (int i = 0; i < registry->nentities; i++)
		names = lappend(names, pstrdup(registry->entities[i].name));
	return names;
}

static int
spoke_hub_read_agreed(const char *source, const char *entity, const char *after, int max,
					  Size max_bytes, AgreedVersion *versions)
{
	AgreedTable *table = mapped_open(&agreed_def, false);
	RowsScan   *scan = agreed_scan_begin(table, source, entity, after);
	Size		bytes = 0;
	int			n = 0;

	while (n < max && bytes < max_bytes &&
		   agreed_scan_next(table, scan, &versions[n].external_id, &versions[n].row_version,
							&versions[n].contested))
	{
		bytes += agreed_scan_bytes(table);
		n++;
	}
	rows_scan_end(scan);
	mapped_close(table);
	return n;
}

static bool
spoke_hub_takes_records(const char *source)
{
	return true;
}

/* What fails stays due to the source, as to any other. */
static void
spoke_hub_retry(const char *source)
{
}

const SpokeSide spoke_hub_side = {
	.takes_records = spoke_hub_takes_records,
	.retry = spoke_hub_retry,
	.cut = spoke_hub_cut,
	.answered = spoke_hub_answered,
	.place = spoke_hub_place,
	.entities = spoke_hub_entities,
	.read_agreed = spoke_hub_read_agreed,
	.recover = spoke_hub_recover,
	.rebase = spoke_hub_rebase,
	.rebased = spoke_hub_rebased,
};
