/*
 * linked.c
 *	  Attached relations whose entity is decided by the hub behind a link:
 *	  placing its records, and what it answers.
 *
 * Called by link/exchange, from SQL (linked_call.c) and by sync_load.
 *
 * There is no golden record to compare with.  replica.fields holds what was
 * agreed on with the hub, and a row that differs from it has an edit that the
 * hub has yet to answer: it is left alone, and captured once more, whatever
 * became of the row of the log that told of it.
 */
#include "postgres.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "hub/outstanding.h"
#include "local/linked.h"
#include "local/row_edit.h"
#include "local/work.h"
#include "model/json.h"
#include "model/json_read.h"
#include "storage/capture_failure.h"
#include "storage/change_log.h"
#include "storage/link.h"

/* ---------- a row and what was agreed on ---------- */

static bool
is_agreed_present(const Placement *p)
{
	return p->replica.exists && p->replica.fields != NULL;
}

/*
 * Tell the fields in which the row differs from what was agreed on; all of them
 * where that was that there is no row, or nothing.  What a column holds that is new
 * since then is no edit: those that aren't null come in added.
 */
static bool
find_edited(Placement *p, Fields *edited, Fields *added)
{
	Fields		agreed;
	int			n = 0;

	added->n = 0;
	added->field = palloc(sizeof(Field) * Max(p->attached->ncolumns, 1));

	attached_fields(p->attached, &p->settings, p->before, NULL, edited);
	value_settings_end(&p->settings);
	if (!is_agreed_present(p))
		return true;
	fields_from_container(&p->replica.fields->root, &agreed);
	for (int i = 0; i < edited->n; i++)
	{
		const Field *field = &edited->field[i];
		/* what was agreed on of a column that was dropped says nothing of the next one */
		const Field *known = p->attached->columns[i].is_again ? NULL :
			fields_find(&agreed, field->name);

		if (known == NULL && field->value.type != jbvNull)
			added->field[added->n++] = *field;
		else if (known != NULL && !json_value_equal(&known->value, &field->value))
			edited->field[n++] = *field;
	}
	edited->n = n;
	return n > 0;
}

/*
 * Is all that the row differs in what a foreign key did to it when another row was
 * delivered?
 */
static bool
is_cascaded(Placement *p)
{
	Fields		cascaded;
	Fields		edited;
	Fields		added;

	if (p->replica.cascaded == NULL)
		return false;
	fields_from_container(&p->replica.cascaded->root, &cascaded);
	if (!p->present)
		return cascaded.n == 0;
	if (!is_agreed_present(p) || !find_edited(p, &edited, &added))
		return false;
	for (int i = 0; i < edited.n; i++)
	{
		const Field *field = fields_find(&cascaded, edited.field[i].name);

		if (field == NULL || !json_value_equal(&field->value, &edited.field[i].value))
			return false;
	}
	return true;
}

static RowEdit
edit_of(Placement *p)
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
capture_gone(Placement *p)
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

bool
linked_capture(Placement *p, bool with_added)
{
	RowEdit		edit = edit_of(p);
	Fields		added;
	bool		any;

	if (!p->present)
		return capture_gone(p);
	any = find_edited(p, &edit.fields, &added);
	if (any)
		row_edit_note(&edit, NOTE_ALL);
	if (!with_added || added.n == 0)
		return any;
	edit.fields = added;
	row_edit_note(&edit, NOTE_ADDED);
	return true;
}

/* ---------- remembering what is agreed on ---------- */

static void
push_held(JsonbParseState **state, FieldName name, int64 base)
{
	json_push_number(state, field_name_cstring(name), base);
}

/*
 * Fields that the hub keeps back: an edit of one is based on when it was last
 * delivered.  Others that the record came without it doesn't have, and that is
 * what an edit of them is based on; where it isn't told (withheld is NULL) which
 * those are, all may be kept back.
 */
static Jsonb *
held_fields(const Placement *p, const Fields *withheld)
{
	JsonbParseState *state = NULL;
	Fields		before = {0, NULL};
	int			n = 0;

	if (p->replica.held != NULL)
		fields_from_container(&p->replica.held->root, &before);
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		FieldName	name = p->attached->columns[i].field;
		const Field *held = fields_find(&before, name);
		int64		base;

		if (record_find(&p->record, name) != NULL ||
			(withheld != NULL && fields_find(withheld, name) == NULL))
			continue;
		push_held(&state, name,
				  held != NULL && json_read_rounded(&held->value, 0, CHANGE_MAX_VERSION, &base) ?
				  base : p->replica.row_version);
		n++;
	}
	return n == 0 ? NULL : JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}

/*
 * Remember what is agreed on now: the row as it stands, but for the fields that
 * the relation's triggers made something else of, which are as target has them.
 */
static void
remember(Placer *placer, Placement *p, AttachedRow target, const bool *adjusted,
		 const Fields *withheld)
{
	if (p->record.deleted)
	{
		p->replica.fields = NULL;
		p->replica.held = NULL;
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
		attached_fields(p->attached, &p->settings, agreed, NULL, &fields);
		value_settings_end(&p->settings);
		p->replica.held = held_fields(p, withheld);
		p->replica.fields = fields_to_jsonb(&fields);
		p->replica.gone_at = 0;
	}
	p->replica.row_version = p->record.row_version;
	p->replica.cascaded = NULL;
	p->replica.contested = false;
	/* edits of before are answered, or were taken back */
	p->replica.settled = change_log_draw_seq(registry_relation("change_seq"));
	replica_set_alone(placer->replica, p->attached->binding->relation, p->external_id, &p->replica);
}

/* Does a new column hold something that the record, which is all there is, hasn't? */
static bool
is_added(const Placement *p, const AttachedColumn *column, const Fields *withheld)
{
	Fields		agreed = {0, NULL};

	if (p->before.isnull[column->attnum - 1] || withheld == NULL ||
		fields_find(withheld, column->field) != NULL)
		return false;
	if (p->replica.fields != NULL)
		fields_from_container(&p->replica.fields->root, &agreed);
	return is_agreed_present(p) && fields_find(&agreed, column->field) == NULL;
}

/*
 * Has the record another value than was agreed on in a field that the relation's own
 * triggers have left as it came?
 */
static bool
brings_news(const Placement *p, const bool *adjusted)
{
	Fields		agreed;

	if (!is_agreed_present(p))
		return true;
	fields_from_container(&p->replica.fields->root, &agreed);
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		const RecordField *field = record_find(&p->record, p->attached->columns[i].field);
		const Field *known = fields_find(&agreed, p->attached->columns[i].field);

		if (field != NULL && !adjusted[i] &&
			(known == NULL || !json_value_equal(&known->value, &field->field.value)))
			return true;
	}
	return false;
}

/*
 * Triggers of two nodes could answer one another for ever: where nothing but what
 * ours makes something else of has come, it is not sent.  Then the nodes differ in
 * that, which sync_check() tells.  Returns whether anything is left to be sent.
 */
static bool
drop_answers(Placement *p, bool *adjusted)
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
 * before: then the hub has heard of it, others have had the last word, and we
 * don't quarrel.
 */
static bool *
find_adjusted(Placement *p, AttachedRow before, bool present, AttachedRow target,
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
		if (value_equal(column->value, &p->settings, target.values[a], target.isnull[a],
						p->before.values[a], p->before.isnull[a]))
			continue;
		adjusted[i] = !present ||
			!value_equal(column->value, &p->settings, before.values[a], before.isnull[a],
						 p->before.values[a], p->before.isnull[a]);
		*any |= adjusted[i];
	}
	value_settings_end(&p->settings);
	if (*any && !brings_news(p, adjusted))
		*any = drop_answers(p, adjusted);
	return adjusted;
}

static void
capture_adjusted(Placement *p, const bool *adjusted)
{
	RowEdit		edit = {
		.attached = p->attached,
		.external_id = p->external_id,
		.row = p->before,
		.replica = &p->replica
	};

	attached_fields(p->attached, &p->settings, p->before, adjusted, &edit.fields);
	value_settings_end(&p->settings);
	row_edit_note(&edit, NOTE_EDIT);
}

/* ---------- fields ---------- */

/* The fields of both; of those that both have, the second's. */
static Fields
unite_fields(const Fields *first, const Fields *second)
{
	Fields		both = {0, palloc(sizeof(Field) * Max(first->n + second->n, 1))};

	/* both are in jsonb's key order */
	for (int i = 0, j = 0; i < first->n || j < second->n;)
	{
		int			cmp = i >= first->n ? 1 : j >= second->n ? -1 :
			field_name_cmp(first->field[i].name, second->field[j].name);

		both.field[both.n++] = cmp < 0 ? first->field[i] : second->field[j];
		i += cmp <= 0;
		j += cmp >= 0;
	}
	return both;
}

Fields
linked_fields(const LinkedRecord *record, Jsonb *agreed)
{
	Fields		came = {0, NULL};
	Fields		gone = {0, NULL};
	int			n = 0;

	if (record->fields != NULL)
		fields_from_container(&record->fields->root, &came);
	if (agreed == NULL || !record->whole || record->deleted)
		return came;
	fields_from_container(&agreed->root, &gone);
	for (int i = 0; i < gone.n; i++)
	{
		if (gone.field[i].value.type == jbvNull ||
			fields_find(&came, gone.field[i].name) != NULL ||
			fields_find(&record->withheld, gone.field[i].name) != NULL)
			continue;
		gone.field[n] = gone.field[i];
		gone.field[n++].value.type = jbvNull;
	}
	gone.n = n;
	return n == 0 ? came : unite_fields(&gone, &came);
}

/* ---------- placing a record ---------- */

typedef struct LinkedWork
{
	CapturedFlight flight;
} LinkedWork;

static void
take_record(Placement *p, const LinkedRecord *from)
{
	Record	   *record = &p->record;
	Fields		fields = linked_fields(from, p->replica.fields);

	record->exists = true;
	record->version = from->version;
	record->row_version = from->row_version;
	record->deleted = from->deleted;
	record->has_updated_at = from->has_updated_at;
	record->updated_at = from->updated_at;
	record->nfields = fields.n;
	record->fields = palloc0(sizeof(RecordField) * Max(fields.n, 1));
	for (int i = 0; i < fields.n; i++)
		record->fields[i].field = fields.field[i];
}

/* Is there an edit of the row that the hub has refused, or could not take? */
static bool
is_owed(const Placement *p)
{
	CaptureFailures *failures = capture_failures_open(false);
	CaptureFailure failure;
	bool		owed = capture_failures_any(failures, p->attached->binding->relation) &&
		capture_failure_find(failures, p->attached->binding->relation, p->external_id, &failure);

	capture_failures_close(failures);
	return owed;
}

/* Was the row there before, unknown to the hub, and is all that the record says? */
static bool
is_same(Placement *p)
{
	bool	   *different;
	bool	   *missing;

	if (p->replica.exists || !p->present || p->record.deleted)
		return false;
	different = palloc(sizeof(bool) * Max(p->attached->ncolumns, 1));
	missing = palloc(sizeof(bool) * Max(p->attached->ncolumns, 1));
	place_compare(p, different, missing);
	for (int i = 0; i < p->attached->ncolumns; i++)
		if (different[i] || missing[i])
			return false;
	return true;
}

/* Is an edit of the row, which the hub has not answered, in the batch that is out? */
static bool
is_in_flight(const CapturedFlight *flight, const Placement *p)
{
	return captured_is_out(flight, p->attached->binding->entity, p->external_id);
}

/* Has the row an edit that was captured, and that the hub has not answered, or refused? */
static bool
is_outstanding(const CapturedFlight *flight, const Placement *p)
{
	const Binding *binding = p->attached->binding;

	return is_in_flight(flight, p) || is_owed(p) ||
		outstanding_has(binding->source, binding->entity, p->external_id, p->replica.settled);
}

/*
 * May the record be written now?  Not while an edit of it is under way, nor if
 * it was read before our last edit came there: it will be sent again, as it is
 * then.  A row that is missing was deleted if that was captured, or is owed to the
 * hub; else it was lost behind our back, and that is no delete.
 */
static bool
is_busy(const LinkedWork *work, Placement *p)
{
	if (is_in_flight(&work->flight, p) || p->record.row_version < p->replica.answered)
		return true;
	/* the record has moved on: what a foreign key did here is no edit */
	if (p->record.row_version > p->replica.row_version && is_cascaded(p))
		return false;
	if (is_same(p) || !binding_captures(p->attached->binding))
		return false;
	if (!p->present)
		return is_agreed_present(p) && is_outstanding(&work->flight, p);
	return linked_capture(p, false);
}

/*
 * Has the row been edited while the relation was detached, when no edit was captured?
 * Then it is now.  A row that is missing was not deleted: perhaps the table was filled
 * anew.
 */
static bool
was_edited_detached(Placement *p)
{
	return p->present && p->replica.settled < p->attached->binding->resumed &&
		linked_capture(p, true);
}

/*
 * The record comes again as it was placed: after a crash, or by sync_resync.  Has the
 * row lost it since, though no edit of the row was captured?
 */
static bool
has_lost(const LinkedWork *work, Placement *p)
{
	if (p->record.row_version < p->replica.row_version || !place_is_drifted(p))
		return false;
	if (p->present && !binding_captures(p->attached->binding))
		return false;
	return !is_outstanding(&work->flight, p) && !was_edited_detached(p);
}

static int
place_record(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	const LinkedWork *work = arg;
	LinkedRecord *record = item->data;
	const Fields *withheld = record->whole ? &record->withheld : NULL;
	AttachedRow before;
	AttachedRow target;
	bool		present;
	bool		written;
	bool	   *adjusted;
	bool		again;
	bool		any;
	Placement	p;

	if (!place_lock_row(placer, attached, item->external_id, &p))
	{
		item->busy = true;
		return PLACE_BUSY;
	}
	take_record(&p, record);
	again = p.replica.exists && !record->correction && !item->correction &&
		p.record.row_version <= p.replica.row_version;
	if (again && !has_lost(work, &p))
		return PLACE_KNOWN;
	if (!again && is_busy(work, &p))
	{
		item->busy = true;
		return PLACE_BUSY;
	}
	before = p.before;
	present = p.present;
	written = place_put(&p, &target);
	adjusted = find_adjusted(&p, before, present, target, withheld, &any);
	remember(placer, &p, target, adjusted, withheld);
	if (any)
		capture_adjusted(&p, adjusted);
	return written ? PLACE_WRITTEN : PLACE_EQUAL;
}

void
linked_place(const char *source, LinkedRecord *records, int n)
{
	WorkItem   *items = palloc0(sizeof(WorkItem) * Max(n, 1));
	LinkedWork	work = {0};
	int			nitems = 0;

	for (int i = 0; i < n; i++)
	{
		const Binding *binding = binding_of_entity(source, records[i].entity);

		records[i].busy = false;
		records[i].error = NULL;
		records[i].written = false;
		records[i].known = false;
		if (binding == NULL || !binding->out || !binding_stands(binding))
			continue;
		work_item(&items[nitems], binding, true, records[i].external_id);
		items[nitems].data = &records[i];
		items[nitems].deleted = records[i].deleted;
		items[nitems++].fields = records[i].fields;
	}
	if (nitems == 0)
		return;
	work.flight = captured_flight(source);
	work_through(registry_get(), items, nitems, place_record, &work);
	for (int i = 0; i < nitems; i++)
	{
		const char *error = work_error(&items[i]);
		LinkedRecord *record = items[i].data;

		record->busy = items[i].busy;
		record->written = error == NULL && items[i].outcome == PLACE_WRITTEN;
		record->known = error == NULL && items[i].outcome == PLACE_KNOWN;
		if (error == NULL)
			continue;
		record->error = pstrdup(items[i].error != NULL ? error :
										 "the row is locked, or has an edit that the hub has not answered");
	}
}

/* What was agreed on, as if it were the record. */
static void
take_agreed(Placement *p)
{
	Fields		agreed = {0, NULL};

	if (p->replica.fields != NULL)
		fields_from_container(&p->replica.fields->root, &agreed);
	p->record.exists = true;
	p->record.deleted = p->replica.fields == NULL;
	p->record.row_version = p->replica.row_version;
	p->record.nfields = agreed.n;
	p->record.fields = palloc0(sizeof(RecordField) * Max(agreed.n, 1));
	for (int i = 0; i < agreed.n; i++)
		p->record.fields[i].field = agreed.field[i];
}

PlaceOutcome
linked_restore(Placement *p)
{
	CapturedFlight flight = captured_flight(p->attached->binding->source);
	AttachedRow target;

	if (!p->replica.exists || is_outstanding(&flight, p))
		return PLACE_BUSY;
	take_agreed(p);
	return place_put(p, &target) ? PLACE_WRITTEN : PLACE_EQUAL;
}

/* ---------- answers ---------- */

static Jsonb *
union_fields(Jsonb *first, const Fields *second)
{
	Fields		a = {0, NULL};
	Fields		both;

	if (first != NULL)
		fields_from_container(&first->root, &a);
	both = unite_fields(&a, second);
	return fields_to_jsonb(&both);
}

/* What was kept back, but for fields that we have set now. */
static Jsonb *
held_without(Jsonb *held_jsonb, const Fields *set)
{
	Fields		held;
	int			kept = 0;

	fields_from_container(&held_jsonb->root, &held);
	for (int i = 0; i < held.n; i++)
		if (fields_find(set, held.field[i].name) == NULL)
			held.field[kept++] = held.field[i];
	held.n = kept;
	return kept == 0 ? NULL : fields_to_jsonb(&held);
}

/* Whatever the hub decided, it has spoken on what was sent. */
static void
note_answer(Replica *table, Oid relation, const LinkedAnswer *answer)
{
	const CapturedChange *change = answer->change;
	ReplicaRow	replica = {.at = change->replica_at};

	replica_look_again(table, relation, change->external_id, &replica);
	if (change->deleted)
		replica.fields = NULL;
	else
		replica.fields = union_fields(replica.fields, &change->fields);
	replica.gone_at = change->deleted ? GetCurrentTimestamp() : 0;
	if (replica.held != NULL && answer->written)
		replica.held = change->deleted ? NULL : held_without(replica.held, &change->fields);
	/*
	 * If others have written in between, what they wrote has still to come, and
	 * an edit must not be taken for one that was made on it.  A record that we have
	 * made need not begin at row version 1.
	 */
	if (answer->written && (answer->row_version == replica.row_version + 1 ||
							(answer->alone && replica.row_version == 0)))
		replica.row_version = answer->row_version;
	replica.answered = Max(replica.answered, answer->row_version);
	replica.cascaded = NULL;
	replica.contested = !answer->written;
	replica_set_alone(table, relation, change->external_id, &replica);
}

/* Have an edit of the row that had failed looked at again. */
static void
recall_failure(CaptureFailures *failures, Oid relation, const char *external_id)
{
	CaptureFailure failure;

	if (!capture_failures_any(failures, relation) ||
		!capture_failure_find(failures, relation, external_id, &failure))
		return;
	failure.dead = false;
	failure.next_attempt = GetCurrentTimestamp();
	capture_failure_save(failures, &failure);
}

void
linked_answered(const char *source, const LinkedAnswer *answers, int n)
{
	Replica    *table;
	CaptureFailures *failures;

	if (n == 0)
		return;
	table = replica_open(true);
	failures = capture_failures_open(true);
	for (int i = 0; i < n; i++)
	{
		Oid			relation = captured_relation(source, answers[i].change->entity);

		if (!OidIsValid(relation))
			continue;
		note_answer(table, relation, &answers[i]);
		recall_failure(failures, relation, answers[i].change->external_id);
	}
	capture_failures_close(failures);
	replica_close(table);
}

/* ---------- edits that failed ---------- */

#define RETRY_MAX	500

static int
recapture(Placer *placer, Attached *attached, WorkItem *item, void *arg)
{
	Placement	p;

	if (!place_lock_row(placer, attached, item->external_id, &p))
	{
		item->busy = true;
		return false;
	}
	return linked_capture(&p, true);
}

/*
 * What doesn't differ any more has gone through.  What does is on its way now;
 * should nothing come of that either, it is looked at again.
 */
static void
settle_failure(CaptureFailures *table, const WorkItem *item)
{
	CaptureFailure failure;

	if (work_error(item) == NULL && !item->outcome)
		(void) capture_failure_remove(table, item->relation, item->external_id);
	else if (capture_failure_find(table, item->relation, item->external_id, &failure))
	{
		failure.next_attempt = captured_retry_at(failure.attempts + 1);
		capture_failure_save(table, &failure);
	}
}

static int
retry_relation(const Binding *binding)
{
	CaptureFailures *table = capture_failures_open(true);
	List	   *due = capture_failures_of(table, binding->relation, NULL, GetCurrentTimestamp(), RETRY_MAX);
	WorkItem   *items = palloc0(sizeof(WorkItem) * Max(list_length(due), 1));
	int			n = 0;
	int			captured = 0;
	ListCell   *lc;

	foreach(lc, due)
	{
		const CaptureFailure *failure = lfirst(lc);

		work_item(&items[n++], binding, true, failure->external_id);
	}
	if (n > 0)
		work_through(registry_get(), items, n, recapture, NULL);
	for (int i = 0; i < n; i++)
	{
		settle_failure(table, &items[i]);
		captured += work_error(&items[i]) == NULL && items[i].outcome;
	}
	capture_failures_close(table);
	return captured;
}

int
linked_retry(const char *source)
{
	CaptureFailures *table = capture_failures_open(false);
	List	   *owing = NIL;	/* of const Binding * */
	int			captured = 0;
	ListCell   *lc;

	foreach(lc, binding_list(source, NULL))
	{
		const Binding *binding = lfirst(lc);

		if (capture_failures_any(table, binding->relation))
			owing = lappend(owing, unconstify(Binding *, binding));
	}
	capture_failures_close(table);
	foreach(lc, owing)
		captured += retry_relation(lfirst(lc));
	return captured;
}
