/*
 * spoke_tables.c
 *	  Attached relations whose entity is decided by the hub behind a link:
 *	  placing its records, and what it answers.
 *
 * There is no golden record to compare with.  replica.fields holds what was
 * agreed on with the hub, and a row that differs from it has an edit that the
 * hub has yet to answer: it is left alone, and captured once more, whatever
 * became of the row of the log that told of it.
 */
#include "postgres.h"

#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "errcodes.h"
#include "hub/outstanding.h"
#include "local/spoke_keys.h"
#include "local/spoke_tables.h"
#include "local/own_sums.h"
#include "local/row_edit.h"
#include "local/row_together.h"
#include "local/item_batch.h"
#include "model/field_versions.h"
#include "storage/capture_failure.h"
#include "storage/change_log.h"

/* ---------- a row and what was agreed on ---------- */

static bool
is_agreed_present(const RowState *p)
{
	return p->replica.exists && p->replica.fields != NULL;
}

/*
 * Tell the fields in which the row differs from what was agreed on; all of them where
 * that was that there is no row, or nothing.
 */
static bool
find_edited(RowState *p, Fields *edited, Fields *added)
{
	Fields		now;

	attached_fields(p->attached, p->before, NULL, &now);
	spoke_keys_translate(p->attached, &now);
	added->n = 0;
	*edited = now;
	if (!is_agreed_present(p))
		return true;
	row_edit_find(p->attached, &now, p->replica.fields, edited, added);
	return edited->n > 0;
}

/*
 * Is all that the row differs in what a foreign key did to it when another row was
 * delivered?
 */
static bool
is_cascaded(RowState *p)
{
	Fields		cascaded;
	Fields		edited;
	Fields		added;

	if (p->replica.cascaded == NULL)
		return false;
	cascaded = fields_of(p->replica.cascaded);
	if (!p->present)
		return cascaded.n == 0;
	if (!is_agreed_present(p) || !find_edited(p, &edited, &added))
		return false;
	return fields_difference(&edited, &cascaded).n == 0;
}

static RowEdit
edit_of(RowState *p)
{
	RowEdit		edit = {
		.attached = p->attached,
		.external_id = p->external_id,
		.row = p->before,
		.cascade = is_cascaded(p),
		.replica = &p->replica
	};

	return edit;
}

/* The row isn't there, though that one is was agreed on. */
static bool
capture_gone(RowState *p)
{
	RowEdit		edit = edit_of(p);

	if (!is_agreed_present(p))
		return false;
	edit.deleted = true;
	/* in which there is no version to count on from */
	edit.row = p->key;
	row_edit_note(&edit, NOTE_ALL);
	return true;
}

/* Note what the row differs in; returns whether it does.  What was added is left to the caller. */
static bool
capture_edited(RowState *p, Fields *added)
{
	RowEdit		edit = edit_of(p);

	added->n = 0;
	if (!p->present)
		return capture_gone(p);
	if (!find_edited(p, &edit.fields, added))
		return false;
	row_edit_note(&edit, NOTE_ALL);
	return true;
}

/* Note what columns hold because they were added; returns whether any does. */
static bool
capture_added(RowState *p, const Fields *added)
{
	RowEdit		edit = edit_of(p);

	if (added->n == 0)
		return false;
	edit.fields = *added;
	row_edit_note(&edit, NOTE_ADDED);
	return true;
}

bool
spoke_tables_capture(RowState *p, bool with_added)
{
	Fields		added;
	bool		any = capture_edited(p, &added);

	return (with_added && capture_added(p, &added)) || any;
}

bool
spoke_tables_differs(RowState *p)
{
	Fields		edited;
	Fields		added;

	return p->present ? find_edited(p, &edited, &added) : is_agreed_present(p);
}

/* ---------- remembering what is agreed on ---------- */

/*
 * Fields that the hub keeps back: an edit of one is based on when it was last
 * delivered.  Others that the record came without it doesn't have, and that is
 * what an edit of them is based on; where it isn't told (withheld is NULL) which
 * those are, all may be kept back.
 */
static Jsonb *
held_fields(const RowState *p, const Fields *withheld)
{
	FieldNames	names;

	field_names_init(&names, p->attached->ncolumns);
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		FieldName	name = p->attached->columns[i].field;

		if (record_find(&p->record, name) == NULL &&
			(withheld == NULL || fields_find(withheld, name) != NULL))
			field_names_add(&names, name);
	}
	return field_versions_make(&names, p->replica.withheld, p->replica.row_version);
}

/*
 * Note what is agreed on now, as of a seq: the row as it stands, but for the fields that
 * the relation's triggers made something else of, which are as target has them, and
 * for what it has added of its own.
 */
static void
agree(RowState *p, AttachedRow target, const bool *adjusted, const Fields *withheld,
	  const UnansweredSums *own, int64 seq)
{
	if (p->record.deleted)
	{
		p->replica.fields = NULL;
		p->replica.withheld = p->replica.shifts = NULL;
		p->replica.gone_at = GetCurrentTimestamp();
	}
	else
	{
		AttachedRow agreed = attached_row_make(p->attached);
		Fields		fields;

		for (int i = 0; i < p->attached->ncolumns; i++)
		{
			int			a = p->attached->columns[i].attnum - 1;

			agreed.values[a] = adjusted[i] ? target.values[a] : p->before.values[a];
			agreed.isnull[a] = adjusted[i] ? target.isnull[a] : p->before.isnull[a];
		}
		attached_fields(p->attached, agreed, NULL, &fields);
		spoke_keys_translate(p->attached, &fields);
		own_sums_agree(&p->replica, own, seq, &fields);
		p->replica.withheld = held_fields(p, withheld);
		p->replica.fields = fields_to_jsonb(&fields);
		p->replica.gone_at = 0;
	}
	row_write_see(p);
	p->replica.row_version = p->record.row_version;
	p->replica.cascaded = p->replica.answers = NULL;
	p->replica.contested = false;
	/* other edits of before are answered, or were taken back */
	if (own->n == 0)
		p->replica.settled = seq;
}

static void
remember(RowWriter *writer, RowState *p, AttachedRow target, const bool *adjusted,
		 const Fields *withheld, const UnansweredSums *own)
{
	agree(p, target, adjusted, withheld, own, change_log_draw_seq(registry_relation("change_seq")));
	replica_set_alone(writer->replica, p->attached->binding->relation, p->external_id, &p->replica);
}

/* Does a new column hold something that the record, which is all there is, hasn't? */
static bool
is_added(const RowState *p, const AttachedColumn *column, const Fields *withheld)
{
	Fields		agreed = fields_of(p->replica.fields);

	if (p->before.isnull[column->attnum - 1] || withheld == NULL ||
		fields_find(withheld, column->field) != NULL)
		return false;
	return is_agreed_present(p) && fields_find(&agreed, column->field) == NULL;
}

/*
 * Has the record another value than was agreed on in a field that the relation's own
 * triggers have left as it came?
 */
static bool
brings_news(const RowState *p, const bool *adjusted)
{
	Fields		agreed = fields_of(p->replica.fields);

	if (!is_agreed_present(p))
		return true;
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		const RecordField *field = record_find(&p->record, p->attached->columns[i].field);

		if (field != NULL && !adjusted[i] && !fields_hold(&agreed, &field->field))
			return true;
	}
	return false;
}

/*
 * Triggers of two nodes could answer one another for ever.  So where a record brings
 * news only in fields that our triggers change, what they make of its fields is not sent:
 * then the nodes differ, which sync_check() tells.  Returns whether anything is left to send.
 */
static bool
drop_answers(RowState *p, bool *adjusted)
{
	bool		any = false;

	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		FieldName	name = p->attached->columns[i].field;

		if (adjusted[i] && record_find(&p->record, name) != NULL)
		{
			adjusted[i] = false;
			binding_note_differing(p->attached->binding, name);
		}
		any |= adjusted[i];
	}
	return any;
}

/*
 * Tell the fields of the record that the relation's triggers made something
 * else of.  That is an edit like any other, but not if the row was just so
 * before: then the hub has heard of it, and others have overwritten it since.
 */
static bool *
find_adjusted(RowState *p, AttachedRow before, bool present, AttachedRow target,
			  const Fields *withheld, bool *any)
{
	bool	   *adjusted = palloc0(sizeof(bool) * Max(p->attached->ncolumns, 1));

	*any = false;
	if (p->record.deleted || !binding_captures(p->attached->binding))
		return adjusted;
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		const AttachedColumn *column = &p->attached->columns[i];
		int			a = column->attnum - 1;

		if (record_find(&p->record, column->field) == NULL)
		{
			adjusted[i] = is_added(p, column, withheld);
			*any |= adjusted[i];
			continue;
		}
		if (value_equal(column->value, target.values[a], target.isnull[a], p->before.values[a],
						p->before.isnull[a]))
			continue;
		adjusted[i] = !present ||
			!value_equal(column->value, before.values[a], before.isnull[a], p->before.values[a],
						 p->before.isnull[a]);
		*any |= adjusted[i];
	}
	if (*any && !brings_news(p, adjusted))
		*any = drop_answers(p, adjusted);
	return adjusted;
}

static void
capture_adjusted(RowState *p, const bool *adjusted)
{
	RowEdit		edit = {
		.attached = p->attached,
		.external_id = p->external_id,
		.row = p->before,
		.replica = &p->replica
	};

	attached_fields(p->attached, p->before, adjusted, &edit.fields);
	spoke_keys_translate(p->attached, &edit.fields);
	row_edit_note(&edit, NOTE_EDIT);
}

/* ---------- fields ---------- */

Fields
pulled_fields(const PulledRecord *record, Jsonb *agreed)
{
	Fields		came = fields_of(record->fields);
	Fields		known = fields_of(agreed);
	Fields		gone;

	if (known.n == 0 || !record->whole || record->deleted)
		return came;
	gone = fields_missing(&known, &came);
	gone = fields_without(&gone, &record->withheld);
	return gone.n == 0 ? came : fields_union(&gone, &came);
}

/* ---------- placing a record ---------- */

typedef struct SpokeWork
{
	InFlight flight;
} SpokeWork;

static void
take_record(RowState *p, const PulledRecord *from)
{
	Record	   *record = &p->record;
	Fields		fields = pulled_fields(from, p->replica.fields);

	record->exists = true;
	record->version = from->version;
	record->row_version = from->row_version;
	record->deleted = from->deleted;
	record->has_updated_at = from->has_updated_at;
	record->updated_at = from->updated_at;
	record_take_fields(record, &fields);
}

/* Was the row there before, unknown to the hub, and is all that the record says? */
static bool
is_same(RowState *p)
{
	return p->present && !p->replica.exists && !p->record.deleted && !row_write_is_drifted(p);
}

bool
spoke_tables_outstanding(const InFlight *flight, const Binding *binding, const char *external_id,
						 int64 settled)
{
	return outbox_is_in_flight(flight, binding->entity, external_id) ||
		capture_failure_owed(binding->relation, external_id) ||
		outstanding_has(binding->source, binding->entity, external_id, settled);
}

static bool
is_outstanding(const InFlight *flight, const RowState *p)
{
	return spoke_tables_outstanding(flight, p->attached->binding, p->external_id, p->replica.settled);
}

bool
spoke_tables_unanswered(const RowState *p)
{
	InFlight	flight = outbox_in_flight(p->attached->binding->source);

	return is_outstanding(&flight, p);
}

/*
 * Must the record not be written yet?  That is so while an edit of it is under way, and
 * if it was read before our last edit came to the hub: it will be sent again, as it is
 * then.  A row that is missing was deleted if that was captured, or is owed to the
 * hub; else it was lost behind our back, and that is no delete.
 */
static bool
is_busy(const SpokeWork *work, RowState *p)
{
	if (outbox_is_in_flight(&work->flight, p->attached->binding->entity, p->external_id) ||
		p->record.row_version < p->replica.answered)
		return true;
	/* the record has moved on: what a foreign key did here is no edit */
	if (p->record.row_version > p->replica.row_version && is_cascaded(p))
		return false;
	if (is_same(p) || !binding_captures(p->attached->binding))
		return false;
	if (!p->present)
		return is_agreed_present(p) && is_outstanding(&work->flight, p);
	return spoke_tables_capture(p, false);
}

/*
 * Has the row been edited while the relation was detached, when no edit was captured?
 * Then it is now.  A row that is missing was not deleted: perhaps the table was filled
 * anew.
 */
static bool
was_edited_detached(RowState *p)
{
	return p->present && p->replica.settled < p->attached->binding->resumed &&
		spoke_tables_capture(p, true);
}

/*
 * Has the row nothing that the hub has not answered but what it has added to counters?
 * Then the record is the hub's, with that.
 */
static bool
add_own_sums(RowState *p, const PulledRecord *from, UnansweredSums *own)
{
	Fields		edited;
	Fields		added;

	own->n = 0;
	if (!from->whole || !p->present || !is_agreed_present(p) || p->record.deleted ||
		p->record.row_version < p->replica.answered || !binding_captures(p->attached->binding) ||
		!find_edited(p, &edited, &added) ||
		capture_failure_owed(p->attached->binding->relation, p->external_id))
		return false;
	return own_sums_add(p, &edited, from->counted, own);
}

/*
 * The record comes again as it was placed: after a crash, or by sync_resync.  Has the
 * row lost it since, though no edit of the row was captured?
 */
static bool
has_lost(const SpokeWork *work, RowState *p)
{
	if (p->record.row_version < p->replica.row_version || !row_write_is_drifted(p))
		return false;
	if (p->present && !binding_captures(p->attached->binding))
		return false;
	return !is_outstanding(&work->flight, p) && !was_edited_detached(p);
}

/*
 * May the new row be inserted together with others?  It is as the record has it then, and what
 * it is agreed on as of is told when it is inserted.
 */
static bool
place_later(RowState *p, const Fields *withheld)
{
	const UnansweredSums none = {0};
	bool	   *unadjusted;

	if (p->present || p->attached->binding->own_keys || !row_write_make_later(p))
		return false;
	unadjusted = palloc0(sizeof(bool) * Max(p->attached->ncolumns, 1));
	agree(p, p->before, unadjusted, withheld, &none, 0);
	row_together_add(p, p->before);
	return true;
}

static int
place_record(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	const SpokeWork *work = arg;
	PulledRecord *record = item->data;
	const Fields *withheld = record->whole ? &record->withheld : NULL;
	AttachedRow before;
	AttachedRow target;
	bool		present;
	bool		written;
	bool	   *adjusted;
	bool		again;
	bool		any;
	UnansweredSums own = {0};
	RowState	p;

	if (!row_write_lock_row(writer, attached, item->external_id, &p))
		return BATCH_ITEM_BUSY;
	take_record(&p, record);
	again = p.replica.exists && !record->correction && !item->correction &&
		p.record.row_version <= p.replica.row_version;
	if (again && !has_lost(work, &p))
		return ROW_KNOWN;
	if (!again && !add_own_sums(&p, record, &own) && is_busy(work, &p))
		return BATCH_ITEM_BUSY;
	if (own.n == 0 && place_later(&p, withheld))
		return ROW_WRITTEN;
	before = p.before;
	present = p.present;
	written = row_write_store(&p, &target);
	adjusted = find_adjusted(&p, before, present, target, withheld, &any);
	remember(writer, &p, target, adjusted, withheld, &own);
	if (any)
		capture_adjusted(&p, adjusted);
	return written ? ROW_WRITTEN : ROW_EQUAL;
}

void
spoke_tables_place(const char *source, PulledRecord *records, int n)
{
	BatchItem  *items = palloc0(sizeof(BatchItem) * Max(n, 1));
	SpokeWork	work = {0};
	int			nitems = 0;

	for (int i = 0; i < n; i++)
	{
		const Binding *binding = binding_of_entity(source, records[i].entity);

		records[i].busy = false;
		records[i].error = NULL;
		records[i].written = false;
		records[i].known = false;
		/* one that is to be loaded gets all records then */
		if (binding == NULL || !binding->out || !binding_stands(binding) ||
			binding_awaits_load(binding))
			continue;
		records[i].busy = records[i].awaits_row;
		if (records[i].awaits_row)
			continue;
		batch_item_init(&items[nitems], binding, true, records[i].external_id);
		items[nitems].data = &records[i];
		items[nitems].deleted = records[i].deleted;
		items[nitems++].fields = records[i].fields;
	}
	if (nitems == 0)
		return;
	work.flight = outbox_in_flight(source);
	item_batch_run(items, nitems, place_record, &work);
	for (int i = 0; i < nitems; i++)
	{
		const char *error = batch_item_error(&items[i]);
		PulledRecord *record = items[i].data;

		record->waits = items[i].sqlerrcode == ERRCODE_SYNC_NO_PARENT_KEY;
		record->busy = items[i].busy || record->waits;
		record->written = error == NULL && items[i].outcome == ROW_WRITTEN;
		record->known = error == NULL && items[i].outcome == ROW_KNOWN;
		if (error != NULL)
			record->error = pstrdup(items[i].error != NULL ? error :
									"the row is locked, or has an edit that the hub has not answered");
	}
}

/* What was agreed on, as if it were the record. */
static void
take_agreed(RowState *p)
{
	Fields		agreed = fields_of(p->replica.fields);

	p->record.exists = true;
	p->record.deleted = p->replica.fields == NULL;
	p->record.row_version = p->replica.row_version;
	record_take_fields(&p->record, &agreed);
}

RowWriteOutcome
spoke_tables_restore(RowState *p)
{
	InFlight flight = outbox_in_flight(p->attached->binding->source);
	AttachedRow target;

	if (!p->replica.exists || is_outstanding(&flight, p))
		return ROW_BUSY;
	take_agreed(p);
	return row_write_store(p, &target) ? ROW_WRITTEN : ROW_EQUAL;
}

/* ---------- answers ---------- */

/* In a field ladder the next edit is above this one. */
static void
see_sent(ReplicaRow *replica, const OutboxChange *change)
{
	const LifeStamp stamp = {
		.is_set = change->stamped,
		.version = change->version,
		.has_updated_at = change->has_updated_at,
		.updated_at = change->updated_at
	};

	replica_see(replica, &stamp);
}

/*
 * The hub has no record of the row: the one that we knew was erased there, or what was to make
 * it was given up.  What was agreed on is sent before the edit comes once more.
 */
static void
bring_back(Replica *table, CaptureFailures *failures, Oid relation, const OutboxChange *change)
{
	ReplicaRow	replica = {.at = change->replica_at};
	CaptureFailure failure = {
		.relation = relation,
		.external_id = change->external_id,
		.since = GetCurrentTimestamp()
	};

	replica_look_again(table, relation, change->external_id, &replica);
	replica.gone_at = failure.since;
	replica_set_alone(table, relation, change->external_id, &replica);
	(void) capture_failure_find(failures, relation, change->external_id, &failure);
	attempt_recall(&failure.attempt, failure.since);
	failure.attempt.error = "the hub has no record of the row any more, and is sent all of it";
	capture_failure_save(failures, &failure);
}

/* Whatever the hub decided, it has spoken on what was sent. */
static void
note_answer(Replica *table, Oid relation, const OutboxChange *change,
			const PushedAnswer *answer)
{
	ReplicaRow	replica = {.at = change->replica_at};
	Fields		said;
	bool		made_anew;

	replica_look_again(table, relation, change->external_id, &replica);
	made_anew = replica.row_version == 0 || change->anew;
	said = own_sums_answered(change, &replica);
	if (change->deleted)
		replica.fields = NULL;
	else
	{
		Fields		known = fields_of(replica.fields);
		Fields		both = fields_union(&known, &said);

		replica.fields = fields_to_jsonb(&both);
	}
	replica.gone_at = change->deleted ? GetCurrentTimestamp() : 0;
	if (replica.withheld != NULL && answer->written)
		replica.withheld = change->deleted ? NULL : field_versions_without(replica.withheld, &change->fields);
	/*
	 * If others have written in between, what they wrote has still to come, and
	 * an edit must not be taken for one that was made on it.  A record that we have
	 * made need not begin at row version 1.  What was counted before has made none, and
	 * counters are told to all.
	 */
	if (answer->written && change->counted == NULL &&
		(answer->row_version == replica.row_version + 1 ||
							(answer->unchallenged && made_anew)))
	{
		replica.row_version = answer->row_version;
		replica.answers = NULL;
	}
	else
		replica.answers = field_versions_put(replica.answers, &said, answer->row_version);
	replica.answered = Max(replica.answered, answer->row_version);
	see_sent(&replica, change);
	if (change->counted != NULL)
		replica.counted = change->counts;
	replica.cascaded = NULL;
	replica.contested = !answer->written;
	if (replica.exists)
		replica_set_alone(table, relation, change->external_id, &replica);
	else
		replica_insert_later(table, relation, change->external_id, &replica);
}

bool
spoke_tables_answered(const char *source, const OutboxBatch *batch, const PushedAnswer *answers,
					  const OutboxBatch *next)
{
	Replica    *table = mapped_open(&replica_def, true);
	CaptureFailures *failures = mapped_open(&capture_failure_def, true);
	MemoryContext each = AllocSetContextCreate(CurrentMemoryContext, "syncext answer", ALLOCSET_DEFAULT_SIZES);
	MemoryContext old = MemoryContextSwitchTo(each);
	const bool	any_failure = !capture_failures_none(failures);

	for (int i = 0; i < batch->nchanges; i++)
	{
		const OutboxChange *change = &batch->changes[i];
		Oid			relation = answers[i].error != NULL ? InvalidOid :
			outbox_relation(source, change->entity);

		if (!OidIsValid(relation))
			continue;
		/* what is to be inserted with others isn't found before */
		if (outbox_change_follows(batch, i))
			rows_flush(table->rows);
		if (answers[i].unheard)
			bring_back(table, failures, relation, change);
		else
			note_answer(table, relation, change, &answers[i]);
		if (any_failure)
			capture_failure_recall(failures, relation, change->external_id);
		MemoryContextReset(each);	/* records may be large */
	}
	MemoryContextSwitchTo(old);
	mapped_close(failures);
	mapped_close(table);
	return outbox_ack(source, batch, answers, next);
}

/* ---------- edits that failed ---------- */

#define RETRY_MAX	500

static int
recapture(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	RowState	p;
	Fields		added;
	bool		edited;

	if (!row_write_lock_row(writer, attached, item->external_id, &p))
		return BATCH_ITEM_BUSY;
	edited = capture_edited(&p, &added);
	(void) capture_added(&p, &added);
	return edited;
}

/*
 * What doesn't differ any more has gone through; columns that were added since are sent
 * by themselves, which nothing that has failed may keep back.  What does differ is on
 * its way now; should nothing come of that either, it is looked at again.
 */
static void
settle_failure(CaptureFailures *table, const BatchItem *item)
{
	CaptureFailure failure;

	if (batch_item_error(item) == NULL && !item->outcome)
		(void) capture_failure_remove(table, item->relation, item->external_id);
	else if (capture_failure_find(table, item->relation, item->external_id, &failure) &&
			 !attempt_is_dead(&failure.attempt))
	{
		failure.attempt.next_attempt = attempt_backoff(GetCurrentTimestamp(),
													   failure.attempt.attempts + 1);
		capture_failure_save(table, &failure);
	}
}

static int
retry_relation(const Binding *binding)
{
	CaptureFailures *table = mapped_open(&capture_failure_def, true);
	List	   *due = capture_failures_of(table, binding->relation, NULL, GetCurrentTimestamp(), RETRY_MAX);
	BatchItem  *items = palloc0(sizeof(BatchItem) * Max(list_length(due), 1));
	int			n = 0;
	int			captured = 0;

	foreach_ptr(const CaptureFailure, failure, due)
		batch_item_init(&items[n++], binding, true, failure->external_id);
	item_batch_run(items, n, recapture, NULL);
	for (int i = 0; i < n; i++)
	{
		settle_failure(table, &items[i]);
		captured += batch_item_error(&items[i]) == NULL && items[i].outcome;
	}
	mapped_close(table);
	return captured;
}

int
spoke_tables_retry(const char *source)
{
	CaptureFailures *table = mapped_open(&capture_failure_def, false);
	List	   *owing = NIL;	/* of const Binding * */
	int			captured = 0;

	foreach_ptr(const Binding, binding, binding_list(source, NULL))
	{
		if (capture_failures_any(table, binding->relation))
			owing = lappend(owing, unconstify(Binding *, binding));
	}
	mapped_close(table);
	foreach_ptr(const Binding, binding, owing)
		captured += retry_relation(binding);
	return captured;
}
