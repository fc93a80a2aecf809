/*
 * load_row.c
 *	  A row of an attached relation, and the record of the same external id, when the
 *	  relation is loaded.
 *
 * What was never loaded is a birth: all of the row is news, but for its nulls.
 * Afterwards a row that is as it was last agreed on with the hub is no edit, whatever
 * others have made of the record since: that has still to be delivered.  Of relations
 * without a capture trigger, table replica has the fields that were agreed on.  A
 * trigger has brought every edit to the hub when it was made; so there the record's
 * stamps tell: a value that was set by others and was not delivered yet is none that
 * the row can have been edited from.
 */
#include "postgres.h"

#include "hub/answer.h"
#include "hub/visibility.h"
#include "local/fragile.h"
#include "local/spoke_tables.h"
#include "local/load_row.h"
#include "model/json.h"
#include "model/row_change.h"

/* A value that was replaced, or kept back. */
typedef struct LoadFinding
{
	LoadDetail	kind;
	FieldName	name;
	const char *source;
	JsonbValue	hub;
	JsonbValue	relation;
} LoadFinding;

/* A row under way. */
typedef struct LoadRow
{
	RowWriter  *writer;
	RowState	p;
	LoadRows   *rows;
	List	  **found;
	bool	   *different;		/* from the record, in the order of attached->columns */
	bool	   *missing;		/* in the record */
	bool	   *sent;
} LoadRow;

/* ---------- what came of it ---------- */

void
load_rows_begin(LoadRows *rows, BatchItem *items, int n)
{
	List	  **found = palloc0(sizeof(List *) * Max(n, 1));

	rows->context = CurrentMemoryContext;
	/* of LoadFinding *, as the item was done last */
	for (int i = 0; i < n; i++)
		items[i].data = &found[i];
}

void
load_rows_count(LoadRows *rows, const BatchItem *item)
{
	rows->count[item->outcome]++;
	foreach_ptr(const LoadFinding, finding, *(List **) item->data)
	{
		load_details_add(rows->details, finding->kind, finding->name, finding->source,
						 item->external_id, &finding->hub, &finding->relation);
	}
}

static void
note(LoadRow *row, LoadDetail kind, const RecordField *field, const Field *relation)
{
	/* what outlives the item is copied */
	MemoryContext old = MemoryContextSwitchTo(row->rows->context);
	LoadFinding *finding = palloc(sizeof(LoadFinding));

	finding->kind = kind;
	finding->name = field_name(field_name_cstring(field->field.name));
	finding->source = pstrdup(field->stamp.source);
	finding->hub = json_to_value(json_of_value(&field->field.value));
	finding->relation = json_to_value(json_of_value(&relation->value));
	*row->found = lappend(*row->found, finding);
	MemoryContextSwitchTo(old);
}

/*
 * Tell what became of the values that differ.  The answer is NULL where nothing was
 * sent; d->changed has the fields of the record that have another value now.
 */
static void
note_values(LoadRow *row, const Answer *answer)
{
	RowState   *p = &row->p;
	Fields		fields;

	/* what the source may not see isn't told */
	if (!p->record.exists || p->record.deleted || p->hidden ||
		(answer != NULL && answer->hidden))
		return;
	attached_fields(p->attached, p->before, NULL, &fields);
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		const RecordField *field = record_find(&p->record, p->attached->columns[i].field);

		if (!row->different[i] || field == NULL)
			continue;
		if (answer != NULL && field_names_has(&answer->decision.changed, field->field.name))
		{
			if (strcmp(field->stamp.source, p->attached->binding->source) != 0 &&
				field->field.value.type != jbvNull)
				note(row, DETAIL_REPLACED, field, &fields.field[i]);
		}
		else if (row->sent[i] || row->rows->winner == WINNER_HUB || !p->attached->binding->out)
		{
			/* a birth's nulls were no word */
			if (fields.field[i].value.type != jbvNull)
				note(row, DETAIL_KEPT_BACK, field, &fields.field[i]);
		}
	}
}

static LoadOutcome
judge_answer(const Answer *answer, LoadOutcome otherwise)
{
	switch (answer_outcome(answer))
	{
		case OUTCOME_NOT_SHOWN:
			return LOAD_NOT_SHOWN;
		case OUTCOME_WAITING:
			return LOAD_WAITING;
		case OUTCOME_CONFLICT:
			return LOAD_CONFLICT;
		default:
			return otherwise;
	}
}

/*
 * What the row has just told the hub is the record now: take it over as it was decided.
 * False where it has to be read, as others may have had a word in it.
 */
static bool
take_born(RowState *p, const Answer *answer)
{
	const Registry *registry = p->writer->registry;
	const Binding *binding = p->attached->binding;
	const Source *source = registry_source_required(registry, binding->source);
	const Entity *entity = registry_entity_required(registry, binding->entity);

	if (answer->refused || answer->hidden || answer->conflict_id != 0 ||
		answer->decision.resolution != RESOLUTION_NEW_RECORD || !answer->decision.after.exists ||
		source->nroutes > 0 || !visibility_unlimited(source) || entity->field_rules.n > 0 ||
		p->record.exists || p->withheld.n > 0 || p->withheld_all || !p->present || p->taken_by != NULL)
		return false;
	p->record = answer->decision.after;
	p->alone = true;
	return true;
}

/*
 * A record that was just born of the row has the row's values.  Does nothing else of it go
 * into the row, so that the two need not be compared?
 */
static bool
is_record_itself(const RowState *p)
{
	const Attached *attached = p->attached;

	return attached->reads_quietly && attached->version == NULL && attached->updated == NULL &&
		attached->deleted == NULL && attached->external_id == NULL;
}

/* The row is held, and the record known. */
static void
conclude(LoadRow *row, RowState *now, bool agreed)
{
	if (now->attached->binding->out)
		(void) row_write_apply(row->writer, now);
	else if (agreed && now->record.exists && !now->hidden)
		row_write_remember(row->writer, now);
}

/*
 * Bring what the hub has now to the row, after the ladder has spoken.  Where
 * nothing is written to the relation, it has just seen what it agrees with.
 */
static void
settle(LoadRow *row, bool agreed)
{
	RowState	now;

	if (!row_write_lock(row->writer, row->p.attached, row->p.external_id, &now))
		elog(ERROR, "a row of relation %s was locked and is not any more", row->p.attached->name);
	conclude(row, &now, agreed);
}

/* ---------- what is known of the row ---------- */

/* Has the hub heard of the row, or the row of the record, before? */
static bool
is_known(const RowState *p)
{
	const Binding *binding = p->attached->binding;

	if (p->replica.exists || row_change_last_word(&p->record, binding->source) > 0)
		return true;
	return binding->loaded != NULL && binding->capture == CAPTURE_TRIGGER;
}

/* The fields that were agreed on; false where they aren't kept. */
static bool
agreed_fields(const RowState *p, Fields *agreed)
{
	if (p->replica.fields == NULL)
		return false;
	fields_from_container(&p->replica.fields->root, agreed);
	return true;
}

/* Was the row edited in a column in which it differs from the record? */
static bool
is_edited(const RowState *p, int i, const Fields *agreed, const Field *now)
{
	const AttachedColumn *column = &p->attached->columns[i];
	const RecordField *field = record_find(&p->record, column->field);

	/* what a column holds because it was added is no edit */
	if (agreed != NULL)
	{
		const Field *known = column->is_again ? NULL : fields_find(agreed, column->field);

		return known != NULL && !json_value_equal(&known->value, &now->value);
	}
	if (column->is_new || field == NULL)
		return false;
	return field->stamp.row_version <= p->replica.row_version ||
		strcmp(field->stamp.set_by, p->attached->binding->source) == 0;
}

/* Tell which columns were edited; returns whether any was. */
static bool
find_edited(LoadRow *row, bool *edited)
{
	RowState   *p = &row->p;
	bool		any = false;
	Fields		agreed;
	bool		has_agreed = agreed_fields(p, &agreed);
	Fields		now;

	attached_fields(p->attached, p->before, NULL, &now);
	for (int i = 0; i < p->attached->ncolumns; i++)
	{
		edited[i] = row->different[i] &&
			is_edited(p, i, has_agreed ? &agreed : NULL, &now.field[i]);
		any |= edited[i];
	}
	return any;
}

/* ---------- one row ---------- */

/* All of the row is news. */
static LoadOutcome
load_new(LoadRow *row)
{
	LoadOutcome outcome;
	Answer		answer;

	row_write_send(row->writer, &row->p, row->p.before, NULL, ORIGIN_INSERT, row->p.replica.row_version,
				   &answer);
	outcome = judge_answer(&answer, LOAD_NEW);
	if (outcome == LOAD_NEW && take_born(&row->p, &answer))
	{
		if (is_record_itself(&row->p))
			row_write_remember(row->writer, &row->p);
		else
			conclude(row, &row->p, true);
	}
	else
		settle(row, outcome == LOAD_NEW);
	return outcome;
}

/*
 * Others have deleted the record since.  An edit that the hub hasn't heard of is
 * decided against that; else the row goes, too.
 */
static LoadOutcome
load_deleted(LoadRow *row)
{
	RowState   *p = &row->p;
	LoadOutcome outcome = LOAD_UPDATED;
	Fields		agreed;
	Answer		answer;

	memset(row->different, true, p->attached->ncolumns);
	if (agreed_fields(p, &agreed) && find_edited(row, row->sent))
	{
		row_write_send(row->writer, p, p->before, row->sent, ORIGIN_EDIT, p->replica.row_version,
					   &answer);
		outcome = judge_answer(&answer, outcome);
	}
	settle(row, false);
	return outcome;
}

/* The record is a tombstone: is that what others have to say of this very row? */
static bool
is_deleted_by_others(const RowState *p)
{
	return p->record.deleted && is_known(p) &&
		p->record.row_version > p->replica.row_version &&
		strcmp(p->record.last_source, p->attached->binding->source) != 0;
}

/* Which fields are sent; returns how. */
static ChangeOrigin
choose_fields(LoadRow *row, int64 *base)
{
	RowState   *p = &row->p;
	int			n = p->attached->ncolumns;

	*base = row->rows->winner == WINNER_LADDER ? p->replica.row_version : p->record.row_version;
	if (row->rows->winner == WINNER_LADDER && is_known(p))
		(void) find_edited(row, row->sent);
	else if (row->rows->winner != WINNER_HUB)
		memcpy(row->sent, row->different, n);
	/* what the hub doesn't know it can't win */
	for (int i = 0; i < n; i++)
		row->sent[i] |= row->missing[i];
	return row->rows->winner == WINNER_LADDER && !is_known(p) ? ORIGIN_INSERT : ORIGIN_EDIT;
}

static bool
any_of(const bool *flags, int n)
{
	return n > 0 && memchr(flags, true, n) != NULL;
}

/* Is there a difference that was not sent? */
static bool
leaves_any(const LoadRow *row)
{
	for (int i = 0; i < row->p.attached->ncolumns; i++)
		if (row->different[i] && !row->sent[i])
			return true;
	return false;
}

/* Both have the row. */
static LoadOutcome
load_both(LoadRow *row)
{
	RowState   *p = &row->p;
	int			n = p->attached->ncolumns;
	LoadOutcome outcome = LOAD_EQUAL;
	ChangeOrigin origin;
	int64		base;
	Answer		answer;
	bool		send;

	/* the hub's values may be of another day, and of none of today's types */
	if (row->rows->winner == WINNER_TABLE)
		row_write_compare_json(p, row->different, row->missing);
	else
		row_write_compare(p, row->different, row->missing);
	if (any_of(row->different, n) || any_of(row->missing, n))
		outcome = LOAD_UPDATED;
	origin = choose_fields(row, &base);
	send = any_of(row->sent, n);
	if (send)
	{
		row_write_send(row->writer, p, p->before, row->sent, origin, base, &answer);
		outcome = judge_answer(&answer, outcome);
	}
	note_values(row, send ? &answer : NULL);
	if (outcome == LOAD_EQUAL && p->attached->version == NULL && p->attached->updated == NULL &&
		p->attached->external_id == NULL)
		row_write_remember(row->writer, p);
	else
		settle(row, outcome != LOAD_CONFLICT && !leaves_any(row));
	/* nothing is written to either side: what differs is told of as kept back */
	return send || p->attached->binding->out ? outcome : LOAD_EQUAL;
}

/*
 * The source may not see the record, which may be a tombstone: what the row has to
 * say is sent all the same, and nothing is told or written here.  No values are made
 * of the record's, as an error would show them.
 */
static LoadOutcome
load_unseen(LoadRow *row)
{
	RowState   *p = &row->p;
	ChangeOrigin origin = ORIGIN_INSERT;
	int64		base = p->replica.row_version;
	const bool *sent = NULL;
	Answer		answer;

	if (p->withheld_all || (p->record.deleted && row->rows->winner == WINNER_HUB))
		return LOAD_NOT_SHOWN;
	if (!p->record.deleted)
	{
		row_write_compare_json(p, row->different, row->missing);
		origin = choose_fields(row, &base);
		sent = row->sent;
	}
	else if (row->rows->winner == WINNER_LADDER && is_deleted_by_others(p))
	{
		memset(row->different, true, p->attached->ncolumns);
		if (p->replica.fields != NULL)
			(void) find_edited(row, row->sent);
		origin = ORIGIN_EDIT;
		sent = row->sent;
	}
	if (sent == NULL || any_of(sent, p->attached->ncolumns))
		row_write_send(row->writer, p, p->before, sent, origin, base, &answer);
	return LOAD_NOT_SHOWN;
}

static void
begin_row(LoadRow *row, RowWriter *writer, const BatchItem *item, LoadRows *rows)
{
	int			n = Max(row->p.attached->ncolumns, 1);

	row->writer = writer;
	row->rows = rows;
	row->found = item->data;
	*row->found = NIL;
	row->different = palloc0(n);
	row->missing = palloc0(n);
	row->sent = palloc0(n);
}

static int
load_one(RowWriter *writer, Attached *attached, BatchItem *item, LoadRows *rows)
{
	LoadRow		row;

	writer->loads = true;
	if (!row_write_lock(writer, attached, item->external_id, &row.p))
		return BATCH_ITEM_BUSY;
	if (!row.p.present || attached_is_deleted(attached, row.p.before))
		return LOAD_GONE;
	begin_row(&row, writer, item, rows);
	if (row.p.hidden)
		return load_unseen(&row);
	if (row.p.withheld_all)
		return LOAD_CONFLICT;
	if (!row.p.record.exists)
		return load_new(&row);
	if (row.p.record.deleted && rows->winner == WINNER_HUB)
	{
		settle(&row, false);
		return LOAD_UPDATED;
	}
	if (row.p.record.deleted)
		return rows->winner == WINNER_LADDER && is_deleted_by_others(&row.p) ?
			load_deleted(&row) : load_new(&row);
	return load_both(&row);
}

int
load_row(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	int			outcome = load_one(writer, attached, item, arg);

	/* the caller sees to a row that isn't there */
	if (outcome != BATCH_ITEM_BUSY && outcome != LOAD_GONE && fragile_owes(attached, item->external_id))
		fragile_settle(attached, item->external_id);
	return outcome;
}

/* The row, or the lack of it, against what was agreed on: the hub wins. */
static int
restore_row(RowWriter *writer, Attached *attached, BatchItem *item, bool missing)
{
	RowState	state;
	bool		present;

	if (!row_write_lock_row(writer, attached, item->external_id, &state))
		return BATCH_ITEM_BUSY;
	present = state.present;
	if (present == missing)
		return LOAD_GONE;
	/* the hub has not heard of it */
	if (present && !state.replica.exists)
		return spoke_tables_capture(&state, true) ? LOAD_NEW : LOAD_EQUAL;
	switch (spoke_tables_restore(&state))
	{
		case ROW_WRITTEN:
			return present ? LOAD_UPDATED : LOAD_DELIVERED;
		case ROW_BUSY:
			return LOAD_WAITING;
		default:
			return present ? LOAD_EQUAL : LOAD_GONE;
	}
}

int
load_agreed(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	return restore_row(writer, attached, item, false);
}

int
load_missing(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	return restore_row(writer, attached, item, true);
}

int
load_linked_row(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	RowState	state;

	if (!row_write_lock_row(writer, attached, item->external_id, &state))
		return BATCH_ITEM_BUSY;
	if (!state.present)
		return LOAD_GONE;
	if (!spoke_tables_capture(&state, true))
		return LOAD_EQUAL;
	return state.replica.exists ? LOAD_UPDATED : LOAD_NEW;
}

/* Is the row there, as far as the index of its key tells?  It isn't held. */
static bool
is_there(RowWriter *writer, Attached *attached, const char *external_id)
{
	AttachedRow row;

	return attached->has_key_index && !attached->binding->own_keys &&
		writer_peek(&writer->as_owner, attached, row_write_key(attached, external_id), &row) &&
		strcmp(attached_external_id(attached, row), external_id) == 0;
}

int
load_record(RowWriter *writer, Attached *attached, BatchItem *item, void *arg)
{
	const LoadRows *rows = arg;
	/* of a relation whose rows are never read they may be other than was delivered */
	bool		any = rows->winner == WINNER_HUB && !attached->binding->in;
	RowState	state;

	if (!any && item->known && is_there(writer, attached, item->external_id))
		return LOAD_GONE;
	if (!row_write_lock(writer, attached, item->external_id, &state))
		return BATCH_ITEM_BUSY;
	if (!any && state.record.row_version <= state.replica.row_version && state.present)
		return LOAD_GONE;
	if (state.hidden)
		return LOAD_GONE;
	return row_write_apply_later(writer, &state) == ROW_WRITTEN ? LOAD_DELIVERED : LOAD_GONE;
}
