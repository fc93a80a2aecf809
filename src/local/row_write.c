/*
 * row_write.c
 *	  Putting one record into its attached relation.
 *
 * Lock the row, then read the record afresh, compare field by field, write what
 * differs, look at what the relation's own triggers made of it, and remember which row
 * version the row has now seen.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/timestamp.h"

#include "compat.h"
#include "hub/apply_call.h"
#include "hub/own_keys.h"
#include "hub/visibility.h"
#include "local/draw_key.h"
#include "local/find_ahead.h"
#include "local/free_value.h"
#include "local/row_write.h"
#include "local/row_edit.h"
#include "local/row_maker.h"
#include "local/row_name.h"
#include "local/row_together.h"
#include "local/unheld.h"
#include "model/field_versions.h"
#include "model/rfc3339.h"
#include "storage/rights.h"
#include "storage/writers.h"

/* ---------- the key ---------- */

/*
 * Make the key columns' values of the external id.  They must give that id
 * again: "007" is no key of an integer column, whose row 7 is record "7".
 */
AttachedRow
row_write_key(Attached *attached, const char *key_text)
{
	char	  **parts = attached_split_external_id(attached, key_text);
	RowMaker	maker;
	AttachedRow key;
	char	   *back;

	row_maker_begin(&maker, attached);
	for (int i = 0; i < attached->nkeys; i++)
		row_maker_set_text(&maker, &attached->keys[i], parts[i]);
	key = row_maker_end(&maker);
	back = attached_external_id(attached, key);
	if (strcmp(back, key_text) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("external id \"%s\" is no key of relation %s: its row would be \"%s\"",
						key_text, attached->name, back)));
	return key;
}

/*
 * The key's type may take values for equal whose texts differ (1.0 and 1.00, or
 * a collation without case).  Then the row is another record's, and this one has none.
 */
static void
look_at_found_key(RowState *p)
{
	if (attached_key_equal(p->attached, p->before, p->key))
		return;
	p->taken_by = attached_external_id(p->attached, p->before);
	p->present = false;
}

/* Nor can it get one. */
static void
check_not_taken(const RowState *p)
{
	if (p->taken_by != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the row of relation %s whose key equals \"%s\" is record \"%s\"",
						p->attached->name, p->key_text, p->taken_by)));
}

/* ---------- reading both sides ---------- */

static void
find_route(RowWriter *writer, RowState *p)
{
	const Binding *binding = p->attached->binding;
	const Source *source = registry_source_required(writer->registry, binding->source);

	p->route = source_route(source, binding->entity);
	p->hidden = p->record.exists && !visibility_unlimited(source) &&
		!visibility_shows(source, binding->entity, &p->record);
	p->filtered = p->hidden && source_gets_entity(source, binding->entity);
}

/*
 * Where the rows before were all new, and nothing is remembered of this one, it has no key
 * either, as a rule, so that none is looked for.  Where it has one after all, it can't get
 * another: the run fails, and is tried again without guesses.
 */
static bool
guess_no_key(RowState *p)
{
	RowWriter  *writer = p->writer;

	if (!writer->ahead || writer->streak < ROWS_EXPECTED || writer->careful || writer->loads ||
		writer->polls || p->attached->external_id != NULL || !draw_key_is_blind(p->attached))
		return false;
	replica_find(writer->replica, p->attached->binding->relation, p->external_id, &p->replica);
	return !p->replica.exists;
}

/* Find the key by which the relation knows the record, if it does. */
static void
find_key(RowState *p)
{
	if (!p->attached->binding->own_keys)
		p->key_text = p->external_id;
	else
	{
		p->guessed = guess_no_key(p);
		p->key_text = p->guessed ? NULL : row_name_find(p);
	}
	p->key = p->key_text == NULL ? attached_row_make(p->attached) :
		row_write_key(p->attached, p->key_text);
}

/*
 * Where the rows before were all new this one isn't there either, as a rule: then it is looked
 * for by walking on from them.  A row that comes meanwhile makes the run fail, as one does that
 * comes a moment later.
 */
static bool
is_absent(RowWriter *writer, const Attached *attached, AttachedRow key)
{
	return writer->ahead && writer->streak >= ROWS_EXPECTED && !writer->careful && !writer->loads &&
		!writer->polls && attached->has_key_index && found_ahead_stands(writer) &&
		writer_lacks(&writer->as_owner, attached, key, writer->ahead_ended);
}

bool
row_write_lock_row(RowWriter *writer, Attached *attached, const char *external_id, RowState *p)
{
	/* to wait for a row it is good to know if it is likely to be there */
	const bool	first = !attached->has_key_index;
	WriterLock	lock;

	MemSet(p, 0, sizeof(RowState));
	p->writer = writer;
	p->attached = attached;
	p->external_id = external_id;
	p->refers_by_keys = row_name_refers(p);
	if (first)
		replica_find(writer->replica, attached->binding->relation, external_id, &p->replica);
	do
	{
		CHECK_FOR_INTERRUPTS();
		find_key(p);
		lock = p->key_text == NULL || is_absent(writer, attached, p->key) ? WRITER_ABSENT :
			writer_lock(&writer->as_owner, attached, p->key, p->replica.exists, &p->before);
		if (lock == WRITER_BUSY)
			return false;
		/* who held the row may have given it another key */
	} while (attached->binding->own_keys && p->key_text != NULL && !row_name_stands(p));
	p->present = lock == WRITER_LOCKED;
	p->at = writer->as_owner.at;
	if (p->present && !writer->loads && writer->ahead && !found_ahead_stands(writer))
		row_together_forget(writer);
	if (p->present)
		look_at_found_key(p);
	/* from here no other session writes it; where there is neither, the first of two wins */
	if (!first && !p->guessed)
		replica_find(writer->replica, attached->binding->relation, external_id, &p->replica);
	else if (!p->guessed && (p->present || p->replica.exists))
		replica_look_again(writer->replica, attached->binding->relation, external_id, &p->replica);
	return true;
}

static void
read_record(RowWriter *writer, RowState *p)
{
	const Binding *binding = p->attached->binding;
	List	   *conflicts = NIL;

	if (!p->present)
		p->read_at = writer->ahead ? writer->ahead_ended : writers_ended();
	canonical_find(row_together_records(writer), binding->entity, p->external_id, &p->record);
	find_route(writer, p);
	if (!writer->ahead || !writer->unconflicted)
		conflicts = conflict_log_pending(writer->conflicts, binding->entity, p->external_id,
										 binding->source);
	p->withheld_all = !visibility_withheld(p->route, conflicts, &p->withheld);
}

/*
 * Is the row there, and has the hub nothing of it?  Where it has by now what was not there
 * when that was found ahead, another session has just brought it: the hub decides upon that,
 * and where the row was held by that session, what is remembered is there to refuse ours.
 */
static bool
is_unheard_of(const RowState *p)
{
	return p->present && !p->record.exists && !p->replica.exists;
}

bool
row_write_lock(RowWriter *writer, Attached *attached, const char *external_id, RowState *p)
{
	bool		is_new;

	if (!row_write_lock_row(writer, attached, external_id, p))
		return false;
	read_record(writer, p);
	if (p->guessed && !row_together_may(p))
	{
		row_together_forget(writer);
		return row_write_lock(writer, attached, external_id, p);
	}
	is_new = writer->loads ? is_unheard_of(p) : !p->present;
	writer->streak = is_new ? writer->streak + 1 : 0;
	writer->quiet++;
	if (writer->ahead && !(writer->loads ? is_new : p->present || row_together_may(p)))
	{
		row_together_forget(writer);
		replica_look_again(writer->replica, attached->binding->relation, external_id, &p->replica);
		read_record(writer, p);
	}
	return true;
}

/* ---------- the row as the record says ---------- */

static bool
is_delivered(const RowState *p, const AttachedColumn *column)
{
	return record_find(&p->record, column->field) != NULL &&
		!field_names_has(&p->withheld, column->field);
}

/* A row that its own column marks as deleted is marked so, or not any more. */
static void
set_deleted(RowMaker *maker, const RowState *p)
{
	const AttachedColumn *column = p->attached->deleted;
	JsonbValue	value = {.type = jbvNull};

	if (column->type == BOOLOID)
	{
		value.type = jbvBool;
		value.val.boolean = p->record.deleted;
	}
	else if (p->record.deleted)
	{
		row_maker_set_text(maker, column,
						   rfc3339_format(p->record.has_updated_at ? p->record.updated_at :
										  GetCurrentTimestamp()));
		return;
	}
	row_maker_set(maker, column, &value);
}

/* Is there such a column, that is no field besides?  Then it is written, too. */
static bool
take_column(const RowState *p, const AttachedColumn *column, Bitmapset **columns)
{
	if (column == NULL || attached_column(p->attached, column->attnum) != NULL)
		return false;
	*columns = bms_add_member(*columns, column->attnum);
	return true;
}

/*
 * The relation's own version and time of edit follow the record's, and so does
 * its mark of deletion.
 */
static void
set_special_columns(RowMaker *maker, const RowState *p, Bitmapset **columns)
{
	const Attached *attached = p->attached;

	if (take_column(p, attached->version, columns))
		row_maker_set_number(maker, attached->version, p->record.version);
	if (p->record.has_updated_at && take_column(p, attached->updated, columns))
		row_maker_set_text(maker, attached->updated, rfc3339_format(p->record.updated_at));
	if (take_column(p, attached->deleted, columns))
		set_deleted(maker, p);
	if (take_column(p, attached->external_id, columns))
		row_maker_set_text(maker, attached->external_id, p->external_id);
}

/* Make the row that the record's fields give, and tell which columns they are. */
static AttachedRow
make_target(RowState *p, Bitmapset **columns)
{
	const Attached *attached = p->attached;
	RowMaker	maker;

	*columns = NULL;
	row_maker_begin(&maker, p->attached);
	for (int i = 0; p->key_text != NULL && i < attached->nkeys; i++)
		row_maker_copy(&maker, &attached->keys[i], p->key);
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = attached->in_table_order[i];
		JsonbValue	value;

		if (!is_delivered(p, column))
			continue;
		value = row_name_value(p, column);
		row_maker_set(&maker, column, &value);
		*columns = bms_add_member(*columns, column->attnum);
	}
	set_special_columns(&maker, p, columns);
	return row_maker_end(&maker);
}

static const AttachedColumn *
column_of_attnum(const Attached *attached, AttrNumber attnum)
{
	for (int i = 0; i < attached->nread; i++)
		if (attached->read[i]->attnum == attnum)
			return attached->read[i];
	elog(ERROR, "column %d of relation %s is none that is read", attnum, attached->name);
	return NULL;
}

/* The columns among these in which the row differs from what it should be. */
static Bitmapset *
find_different(RowState *p, AttachedRow target, Bitmapset *columns)
{
	Bitmapset  *different = NULL;
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		const AttachedColumn *column = column_of_attnum(p->attached, attnum);

		if (!value_equal(column->value, p->before.values[attnum - 1], p->before.isnull[attnum - 1],
						 target.values[attnum - 1], target.isnull[attnum - 1]))
			different = bms_add_member(different, attnum);
	}
	return different;
}

/* Has the row a value of a field that the record doesn't have? */
static bool
is_missing(const RowState *p, const AttachedColumn *column)
{
	return record_find(&p->record, column->field) == NULL &&
		!field_names_has(&p->withheld, column->field) &&
		!p->before.isnull[column->attnum - 1];
}

void
row_write_compare(RowState *p, bool *different, bool *missing)
{
	const Attached *attached = p->attached;
	Bitmapset  *columns;
	AttachedRow target = make_target(p, &columns);

	columns = find_different(p, target, columns);
	for (int i = 0; i < attached->ncolumns; i++)
	{
		different[i] = bms_is_member(attached->columns[i].attnum, columns);
		missing[i] = is_missing(p, &attached->columns[i]);
	}
}

void
row_write_compare_json(RowState *p, bool *different, bool *missing)
{
	const Attached *attached = p->attached;
	Fields		fields;

	attached_fields(attached, p->before, NULL, &fields);
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];
		RecordField *known = record_find(&p->record, column->field);

		different[i] = is_delivered(p, column) &&
			!json_value_equal(&known->field.value, &fields.field[i].value);
		missing[i] = is_missing(p, column);
	}
}

bool
row_write_is_drifted(RowState *p)
{
	int			n = Max(p->attached->ncolumns, 1);
	bool	   *different = palloc0(n);
	bool	   *missing = palloc0(n);

	if (!p->record.exists || p->withheld_all)
		return false;
	if (p->record.deleted || !p->present)
		return p->record.deleted == p->present;
	row_write_compare(p, different, missing);
	return memchr(different, true, n) != NULL || memchr(missing, true, n) != NULL;
}

/* ---------- what the relation made of it ---------- */

/* A trigger that gives the row another key makes another record of it. */
static void
check_stored_key(RowState *p, AttachedRow stored)
{
	if (!attached_key_equal(p->attached, stored, p->key))
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger of relation %s changed the key of record \"%s\" to \"%s\"",
						p->attached->name, p->external_id,
						attached_external_id(p->attached, stored))));
}

/*
 * The row versions that came of what other relations' triggers changed, as far
 * as is known: of each the last.
 */
static int
adjusted_elsewhere(RowWriter *writer, const RowState *p, int64 **row_versions)
{
	const Binding *binding = p->attached->binding;
	List	   *bindings = binding_list(NULL, binding->entity);
	int			n = 0;

	*row_versions = palloc(sizeof(int64) * (list_length(bindings) + 1));
	foreach_ptr(const Binding, other, bindings)
	{
		ReplicaRow	replica;

		if (other->relation == binding->relation)
			continue;
		replica_find(writer->replica, other->relation, p->external_id, &replica);
		if (replica.adjusted != 0)
			(*row_versions)[n++] = replica.adjusted;
	}
	return n;
}

static bool
was_adjusted(const RecordField *field, const int64 *row_versions, int n)
{
	for (int i = 0; i < n; i++)
		if (field->stamp.row_version == row_versions[i])
			return true;
	return false;
}

/*
 * Triggers of two relations could answer one another for ever.  So what another
 * relation's triggers made of a field is left as it is, and where nothing but
 * their work has come from others since the last delivery, none is added, but for
 * fields that the record doesn't have yet.
 */
static bool
drop_answers(RowWriter *writer, const RowState *p, bool *adjusted)
{
	const Attached *attached = p->attached;
	int64	   *row_versions;
	int			n = adjusted_elsewhere(writer, p, &row_versions);
	bool		news = false;
	bool		any = false;

	for (int i = 0; i < p->record.nfields; i++)
	{
		const RecordField *field = &p->record.fields[i];

		if (field->stamp.row_version > p->replica.row_version &&
			strcmp(field->stamp.set_by, attached->binding->source) != 0)
			news |= !was_adjusted(field, row_versions, n);
	}
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const RecordField *field = record_find(&p->record, attached->columns[i].field);

		if (field != NULL && adjusted[i] && (!news || was_adjusted(field, row_versions, n)))
		{
			adjusted[i] = false;
			binding_note_differing(attached->binding, field->field.name);
		}
		any |= adjusted[i];
	}
	return any;
}

/*
 * The fields in which the stored row says something that the hub didn't: it is
 * another value than was written, or a field that the record doesn't have (a
 * default, a new column, or what the row had before the record came to be).
 */
static bool
find_adjusted(RowState *p, AttachedRow target, AttachedRow stored, bool *adjusted)
{
	const Attached *attached = p->attached;
	bool		any = false;

	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];
		int			a = column->attnum - 1;

		/* what wasn't delivered is null in the target */
		adjusted[i] = !field_names_has(&p->withheld, column->field) &&
			!value_equal(column->value, target.values[a], target.isnull[a], stored.values[a],
						 stored.isnull[a]);
		any |= adjusted[i];
	}
	return any;
}

ApplyCall *
row_write_call(RowWriter *writer)
{
	row_together_insert(writer);
	if (writer->call == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(writer->context);

		writer->call = apply_begin(writer->registry);
		if (writer->loads && writer->together != NULL && !writer->careful)
			apply_let_births_wait(writer->call);
		MemoryContextSwitchTo(old);
	}
	return writer->call;
}

void
row_write_send(RowWriter *writer, RowState *p, AttachedRow row, const bool *wanted,
			   ChangeOrigin origin, int64 base, Answer *answer)
{
	RowEdit		edit = {
		.attached = p->attached,
		.external_id = p->external_id,
		.row = row,
		.key = p->attached->binding->own_keys ? p->key_text : NULL,
		.key_is_new = p->attached->binding->own_keys && origin == ORIGIN_INSERT,
		.replica = &p->replica
	};

	attached_fields(p->attached, row, wanted, &edit.fields);
	row_send_row(row_write_call(writer), &edit, origin, base, answer);
}

/* That is an edit like any other, made on what was delivered. */
static void
send_adjusted(RowWriter *writer, RowState *p, AttachedRow target, AttachedRow stored)
{
	const Attached *attached = p->attached;
	bool	   *adjusted = palloc(sizeof(bool) * Max(attached->ncolumns, 1));
	bool		any = find_adjusted(p, target, stored, adjusted);
	Answer		answer;

	if (!any || !binding_captures(attached->binding))
		return;
	if (!drop_answers(writer, p, adjusted))
		return;
	row_write_send(writer, p, stored, adjusted, ORIGIN_EDIT, p->record.row_version, &answer);
	if (answer.decision.write != WRITE_NOTHING)
		p->replica.adjusted = answer.decision.after.row_version;
}

/* ---------- writing ---------- */

/*
 * What no trigger watches is watched by its content: a row that is as it was
 * delivered has not been edited since, which polls and loads ask.
 */
static Jsonb *
remembered_fields(RowState *p)
{
	const Binding *binding = p->attached->binding;
	Fields		fields;

	if (binding->capture == CAPTURE_TRIGGER || (binding->capture == CAPTURE_NONE && !binding->in) ||
		!p->present)
		return NULL;
	attached_fields(p->attached, p->before, NULL, &fields);
	return fields_to_jsonb(&fields);
}

void
row_write_see(RowState *p)
{
	const Entity *entity = registry_entity(p->writer->registry, p->attached->binding->entity);
	const LifeStamp stamp = {
		.is_set = entity != NULL && (entity->ladder & RUNG_FIELD) != 0,
		.version = p->record.version,
		.has_updated_at = p->record.has_updated_at,
		.updated_at = p->record.updated_at
	};

	replica_see(&p->replica, &stamp);
}

/*
 * Remember what the row has now seen.  A field that is kept back keeps the row
 * version at which it was delivered last, and an edit of it is judged by that.
 */
static void
make_remembered(RowState *p)
{
	p->replica.withheld = field_versions_make(&p->withheld, p->replica.withheld, p->replica.row_version);
	p->replica.fields = remembered_fields(p);
	p->replica.row_version = p->record.row_version;
	row_write_see(p);
}

void
row_write_remember(RowWriter *writer, RowState *p)
{
	make_remembered(p);
	if (p->alone)
		row_together_remember(writer, p->attached->binding, p->external_id, &p->replica);
	else
		replica_set(writer->replica, p->attached->binding->relation, p->external_id, &p->replica);
}

/* What code of the table does from here on sees all rows, and is no edit of this one. */
static void
begin_write(RowState *p)
{
	row_together_end(p->writer);
	writer_begin_write(&p->writer->as_owner, p->attached, p->key_text);
}

/* Mark the row as deleted.  Returns whether it wasn't yet. */
static bool
write_mark(RowState *p)
{
	Bitmapset  *columns = NULL;
	RowMaker	maker;
	AttachedRow target;

	if (attached_is_deleted(p->attached, p->before))
		return false;
	begin_write(p);
	row_maker_begin(&maker, p->attached);
	set_special_columns(&maker, p, &columns);
	target = row_maker_end(&maker);
	writer_update(&p->writer->as_owner, p->attached, p->key, target, columns, &p->before);
	return true;
}

static bool
write_tombstone(RowState *p)
{
	bool		written = p->present;

	if (written && p->attached->deleted != NULL)
		written = write_mark(p);
	else
	{
		if (written)
		{
			begin_write(p);
			writer_delete(&p->writer->as_owner, p->attached, p->key);
		}
		if (p->attached->binding->own_keys && p->key_text != NULL)
			own_keys_end(p->attached->binding->source, p->attached->binding->entity, p->external_id);
	}
	p->present = false;
	return written;
}

/* The row as it is, but for its unique values: others wait for them. */
static AttachedRow
put_aside(RowState *p, Bitmapset **columns)
{
	AttachedRow row = attached_row_make(p->attached);

	memcpy(row.values, p->before.values, sizeof(Datum) * p->attached->natts);
	memcpy(row.isnull, p->before.isnull, sizeof(bool) * p->attached->natts);
	*columns = NULL;
	free_value_put(p->attached, p->writer->free_value, &row, columns);
	return row;
}

/* Keep what is tried, so that the caller can find out why it failed. */
static void
note_attempt(RowState *p, AttachedRow target, Bitmapset *columns)
{
	RowWriteAttempt *attempt = &p->writer->attempt;

	attempt->attached = p->attached;
	attempt->present = p->present;
	attempt->before = p->before;
	attempt->target = target;
	attempt->columns = columns;
}

static void
insert_row(RowState *p, AttachedRow target, Bitmapset *columns, AttachedRow *stored)
{
	if (p->key_text != NULL)
		for (int i = 0; i < p->attached->nkeys; i++)
			columns = bms_add_member(columns, p->attached->keys[i].attnum);
	note_attempt(p, target, columns);
	begin_write(p);
	if (p->key_text != NULL)
		writer_insert(&p->writer->as_owner, p->attached, target, columns, stored);
	else
	{
		writer_insert_blind(&p->writer->as_owner, p->attached, target, columns);
		row_name_read_back(p, stored);
	}
}

static bool
write_live(RowState *p, AttachedRow *target)
{
	Bitmapset  *columns;
	AttachedRow stored;
	bool		written = true;

	check_not_taken(p);
	if (p->present && p->writer->free_value > 0)
		*target = put_aside(p, &columns);
	else
		*target = make_target(p, &columns);
	if (p->present)
	{
		columns = find_different(p, *target, columns);
		note_attempt(p, *target, columns);
		written = !bms_is_empty(columns);
		stored = p->before;
		if (written && !row_together_change(p, *target, columns, &stored))
		{
			begin_write(p);
			writer_update(&p->writer->as_owner, p->attached, p->key, *target, columns, &stored);
		}
	}
	else
	{
		insert_row(p, *target, columns, &stored);
		unheld_check_row(p);
	}
	check_stored_key(p, stored);
	p->present = true;
	p->before = stored;
	return written;
}

bool
row_write_store(RowState *p, AttachedRow *target)
{
	if (p->key_text == NULL && !p->record.deleted && p->attached->key_defaults != NIL)
		row_name_draw(p, false);
	return p->record.deleted ? write_tombstone(p) : write_live(p, target);
}

RowWriteOutcome
row_write_apply(RowWriter *writer, RowState *p)
{
	AttachedRow target;
	bool		written;

	/* what waits for review as a whole leaves the row as it is */
	if (!p->record.exists || p->withheld_all)
		return ROW_EQUAL;
	/* whether the source may see it isn't left to the callers */
	if (p->hidden && !p->taken_back)
		return ROW_EQUAL;
	written = row_write_store(p, &target);
	p->alone = p->alone && !written;
	if (!p->record.deleted)
		send_adjusted(writer, p, target, p->before);
	row_write_remember(writer, p);
	return written ? ROW_WRITTEN : ROW_EQUAL;
}

bool
row_write_make_later(RowState *p)
{
	Bitmapset  *columns;

	if (!row_together_may(p))
		return false;
	if (p->key_text == NULL)
		row_name_draw(p, true);
	p->before = make_target(p, &columns);
	p->present = true;
	return true;
}

RowWriteOutcome
row_write_apply_later(RowWriter *writer, RowState *p)
{
	if (!row_write_make_later(p))
		return row_write_apply(writer, p);
	make_remembered(p);
	row_together_add(p, p->before);
	return ROW_WRITTEN;
}
