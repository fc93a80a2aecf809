/*
 * rebase.c
 *	  Rows of relations behind a link whose hub has gone back in time: what it has
 *	  lost of them is sent to it again.
 *
 * The hub has said what it has of the record now, and up to which row version that is
 * what we knew.  That is what is agreed on from now on; what the row holds beside it,
 * its own edits and those of others that the hub had delivered once, is an edit made on
 * that row version, which the hub decides as any other.
 */
#include "postgres.h"

#include "utils/timestamp.h"

#include "local/spoke_tables.h"
#include "local/rebase.h"
#include "local/row_edit.h"
#include "local/item_batch.h"
#include "model/field_versions.h"
#include "model/fields.h"
#include "model/json_read.h"
#include "storage/capture_failure.h"
#include "storage/replica.h"

/* What comes of a row. */
typedef enum RebaseOutcome
{
	REBASE_KNOWN,				/* it was done before, or the row is gone */
	REBASE_EQUAL,				/* the row holds nothing else than the hub has */
	REBASE_CAPTURED,
	REBASE_PLACED,				/* nothing is sent from it: the hub's is placed again */
	REBASE_STRANDED				/* the hub has nothing to place */
} RebaseOutcome;

static int64
number_of(const Field *field)
{
	int64		number;

	return json_read_number(&field->value, 0, PG_INT64_MAX, &number) ? number : 0;
}

/* ---------- what the hub can have again ---------- */

/* The fields of a record that were known at its row version, but for those that the hub has. */
static Fields
lost_fields(const LostRecord *lost, const KnownRecord *known)
{
	Fields		all = fields_of(known->fields);
	Fields		withheld = fields_of(known->withheld);
	Fields		answers = fields_of(known->answers);
	Fields		hub = fields_of(lost->fields);
	Fields		ours = fields_without(&all, &withheld);

	ours = fields_without(&ours, &answers);
	ours = fields_without(&ours, &lost->withheld);
	return lost->present && !lost->deleted ? fields_difference(&ours, &hub) : ours;
}

bool
recovery_make(const LostRecord *lost, const KnownRecord *known, Recovery *recovery)
{
	MemSet(recovery, 0, sizeof(Recovery));
	if (lost->present && lost->base != lost->row_version)
		return false;
	recovery->deleted = known->fields == NULL;
	recovery->known = known->stamp;
	recovery->row_version = recovery->deleted ? Max(known->row_version, known->answered) :
		known->row_version;
	if (recovery->row_version <= lost->row_version)
		return false;
	/* the hub may have had another opinion of the delete */
	if (recovery->deleted)
		return !known->contested && !lost->deleted;
	recovery->fields = lost_fields(lost, known);
	return !lost->present || lost->deleted || recovery->fields.n > 0;
}

bool
rebase_recover(const char *source, const LostRecord *lost, Recovery *recovery)
{
	const Binding *binding = binding_of_entity(source, lost->entity);
	ReplicaRow	row = {0};
	KnownRecord known;

	if (binding == NULL || !binding->in || !binding_stands(binding))
		return false;
	replica_read(binding->relation, lost->external_id, &row);
	known.fields = row.fields;
	known.row_version = row.row_version;
	known.answered = row.answered;
	known.withheld = row.withheld;
	known.answers = row.answers;
	known.contested = row.contested;
	known.stamp = replica_stamp(&row);
	return row.exists && recovery_make(lost, &known, recovery);
}

/* ---------- what is agreed on then ---------- */

/* Nothing of it goes to the hub: what that has comes over what is here. */
static int
yield_row(RowWriter *writer, RowState *p, const LostRecord *lost)
{
	p->replica.row_version = 0;
	replica_set(writer->replica, p->attached->binding->relation, p->external_id, &p->replica);
	return lost->present ? REBASE_PLACED : REBASE_STRANDED;
}

/* Was it done before? */
static bool
is_rebased(const ReplicaRow *replica, const LostRecord *lost)
{
	return !replica->contested && replica->withheld == NULL && !lost->recovered &&
		replica_seen(replica->row_version, replica->answered,
					 replica->fields != NULL) <= lost->base;
}

/*
 * The hub has no record of a row that we knew it to have: it was deleted there longer
 * ago than is remembered, or the hub has lost it.  That isn't for us to decide.
 */
static int
strand_row(RowWriter *writer, RowState *p)
{
	CaptureFailures *failures;
	CaptureFailure failure = {
		.relation = p->attached->binding->relation,
		.external_id = p->external_id,
		.since = GetCurrentTimestamp(),
		.attempt.attempts = 1,
		.attempt.error = "this database has gone back in time, and the hub has no record of the row: it may have been deleted there; delete the row, or send it again with sync_redrive"
	};

	if (p->replica.fields == NULL || !p->present)
		return REBASE_KNOWN;
	p->replica.fields = p->replica.withheld = p->replica.cascaded = p->replica.answers = NULL;
	p->replica.shifts = NULL;
	p->replica.row_version = p->replica.answered = p->replica.adjusted = 0;
	p->replica.contested = false;
	p->replica.gone_at = GetCurrentTimestamp();
	replica_set(writer->replica, p->attached->binding->relation, p->external_id, &p->replica);
	attempt_kill(&failure.attempt, failure.since);
	failures = mapped_open(&capture_failure_def, true);
	capture_failure_save(failures, &failure);
	mapped_close(failures);
	return REBASE_STRANDED;
}

/*
 * Has the hub again a delete, or another life of the record, that came after all that we
 * knew of it?  That will be delivered.  But a tombstone without what was deleted needs
 * all of a row that was edited, not the edit alone.
 */
static bool
is_after_us(RowState *p, const LostRecord *lost)
{
	const ReplicaRow *replica = &p->replica;

	if (!lost->recovered || replica->contested ||
		replica_seen(replica->row_version, replica->answered, replica->fields != NULL) > lost->base)
		return false;
	return lost->deleted ? replica->fields == NULL || !spoke_tables_differs(p) :
		replica->fields == NULL;
}

/* Has the hub the record again as it was after that row version? */
static bool
is_given_back(const LostRecord *lost, int64 answered)
{
	return lost->recovered && lost->present && lost->row_version >= answered;
}

/*
 * Of what was counted, the hub has all with the record if that was given back as it was
 * after our last edit; else it may have lost any part of it, and is told all.
 */
static void
note_counted(RowState *p, const LostRecord *lost, int64 answered)
{
	RowEdit		edit = {
		.attached = p->attached,
		.external_id = p->external_id,
		.row = p->before,
		.replica = &p->replica
	};

	/* the row makes the record anew, with what it holds */
	if (!lost->present)
		p->replica.counted = NULL;
	if (p->replica.counted == NULL || lost->deleted)
		return;
	row_edit_note(&edit, is_given_back(lost, answered) ? NOTE_BASELINE : NOTE_RECOUNT);
}

/*
 * What a counter of the row has more than was agreed on is still to be sent; the rest of
 * it was counted, and isn't an edit.
 */
static Jsonb *
keep_counters(const RowState *p, Jsonb *before, Jsonb *agreed)
{
	const FieldRules *rules = row_edit_counters(registry_get(), p->attached);
	Fields		known = fields_of(before);
	Fields		kept = {0, palloc(sizeof(Field) * Max(known.n, 1))};
	Fields		hub = fields_of(agreed);
	Fields		both;

	if (rules == NULL || agreed == NULL)
		return agreed;
	for (int i = 0; i < known.n; i++)
		if (field_rules_sum(rules, known.field[i].name))
			kept.field[kept.n++] = known.field[i];
	both = fields_union(&hub, &kept);
	return fields_to_jsonb(&both);
}

/*
 * A field that the hub has, and that the row came without: the table had no such column.
 * It isn't agreed on, so that what a column holds that is added later is no edit.  Who
 * knew nothing of the row, or was not told of the field, may have written it.
 */
static Jsonb *
without_unseen(Jsonb *agreed, Jsonb *before, Jsonb *withheld)
{
	Fields		hub = fields_of(agreed);
	Fields		known = fields_of(before);
	Fields		held = fields_of(withheld);
	Fields		seen = {0, palloc(sizeof(Field) * Max(hub.n, 1))};

	if (agreed == NULL || before == NULL)
		return agreed;
	for (int i = 0; i < hub.n; i++)
		if (fields_find(&known, hub.field[i].name) != NULL ||
			fields_find(&held, hub.field[i].name) != NULL)
			seen.field[seen.n++] = hub.field[i];
	return fields_to_jsonb(&seen);
}

static int
rebase_row(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	const LostRecord *lost = item->data;
	ReplicaRow *replica;
	Jsonb	   *before;
	Jsonb	   *withheld;
	int64		answered;
	RowState	p;

	if (!row_write_lock_row(writer, attached, item->external_id, &p))
		return BATCH_ITEM_BUSY;
	replica = &p.replica;
	if (*(bool *) arg)
		return lost->present ? REBASE_KNOWN : strand_row(writer, &p);
	if (!replica->exists || is_rebased(replica, lost) || is_after_us(&p, lost))
		return REBASE_KNOWN;
	before = replica->fields;
	withheld = replica->withheld;
	answered = Max(replica->answered, replica->row_version);
	replica->answered = Min(replica->answered, lost->base);
	replica->adjusted = 0;
	replica->withheld = field_versions_limit(replica->withheld, lost->base);
	replica->cascaded = NULL;
	replica->contested = false;
	if (!attached->binding->in)
		return yield_row(writer, &p, lost);
	replica->fields = rebase_fields(lost, before, replica->row_version, replica->answers);
	replica->fields = without_unseen(replica->fields, before, withheld);
	replica->fields = keep_counters(&p, before, replica->fields);
	note_counted(&p, lost, answered);
	replica->answers = field_versions_limit(replica->answers, lost->base);
	replica->row_version = Min(replica->row_version, lost->base);
	if (replica->fields != NULL)
		replica->gone_at = 0;
	else if (replica->gone_at == 0)
		replica->gone_at = GetCurrentTimestamp();
	replica_set(writer->replica, attached->binding->relation, item->external_id, replica);
	/* a row that is missing was not deleted, if that was not captured: the hub's comes */
	if (!p.present && before != NULL && !spoke_tables_unanswered(&p))
		return REBASE_PLACED;
	return spoke_tables_capture(&p, true) ? REBASE_CAPTURED : REBASE_EQUAL;
}

/*
 * Is the hub's value of the field one that we need not have, or may not?  Up to the row
 * version at which it answered our edit of the field, what it has was known to it then.
 */
static bool
is_kept(const LostRecord *lost, FieldName name, int64 row_version, Jsonb *answers)
{
	const Field *stamp = fields_find(&lost->stamps, name);

	return fields_find(&lost->withheld, name) != NULL ||
		(stamp != NULL && number_of(stamp) > Max(row_version, field_versions_of(answers, name)));
}

/* Has the hub deleted the record after a row version that both had in common? */
static bool
is_deleted_since(const LostRecord *lost, int64 row_version)
{
	return lost->deleted && lost->row_version > Min(row_version, lost->base);
}

/* The fields of before, each of them null. */
static Jsonb *
nulls_of(Jsonb *before)
{
	Fields		known = fields_of(before);

	for (int i = 0; i < known.n; i++)
		known.field[i].value.type = jbvNull;
	return fields_to_jsonb(&known);
}

static Jsonb *
present_fields(const LostRecord *lost, Jsonb *before, int64 row_version, Jsonb *answers)
{
	PulledRecord now = {.whole = true, .fields = lost->fields, .withheld = lost->withheld};
	Fields		hub = pulled_fields(&now, before);
	Fields		known = fields_of(before);
	Fields		agreed = {0, palloc(sizeof(Field) * (hub.n + known.n + 1))};
	FieldsAlign align = {.first = &hub, .second = &known};
	const Field *theirs;
	const Field *ours;

	while (fields_align(&align, &theirs, &ours))
	{
		bool		kept = is_kept(lost, theirs != NULL ? theirs->name : ours->name, row_version,
								   answers);

		if (kept ? ours != NULL : theirs != NULL)
			agreed.field[agreed.n++] = kept ? *ours : *theirs;
	}
	return fields_to_jsonb(&agreed);
}

Jsonb *
rebase_fields(const LostRecord *lost, Jsonb *before, int64 row_version, Jsonb *answers)
{
	if (lost->present && !lost->deleted)
		return present_fields(lost, before, row_version, answers);
	return before != NULL && is_deleted_since(lost, row_version) ? nulls_of(before) : NULL;
}

/* Was the record sent to the hub again, as it was? */
static bool
records_sent(const BatchItem *item)
{
	return ((const LostRecord *) item->data)->sent;
}

bool
rebase_rows(const char *source, LostRecord *records, int n, bool ours, Rebased *result)
{
	BatchItem  *items = palloc0(sizeof(BatchItem) * Max(n, 1));
	int			nitems = 0;
	bool		all = true;

	for (int i = 0; i < n; i++)
	{
		const Binding *binding = binding_of_entity(source, records[i].entity);

		if (binding == NULL || !binding_stands(binding))
			continue;
		batch_item_init(&items[nitems], binding, true, records[i].external_id);
		items[nitems++].data = &records[i];
	}
	item_batch_run(items, nitems, rebase_row, &ours);
	for (int i = 0; i < nitems; i++)
	{
		/* what the table's own code says to it matters when it is placed */
		if (batch_item_error(&items[i]) != NULL)
			all = false;
		else if (items[i].outcome == REBASE_CAPTURED || records_sent(&items[i]))
			result->resent++;
		else if (items[i].outcome == REBASE_STRANDED)
			result->stranded++;
		if (items[i].error != NULL && result->error == NULL)
			result->error = pstrdup(items[i].error);
	}
	return all;
}
