/*
 * place.c
 *	  Putting one record into its attached relation.
 *
 * Called by deliver and load, from a Work.  Lock the row, then read the
 * record afresh, compare field by field, write what differs, look at what the
 * relation's own triggers made of it, and remember which row version the row
 * has now seen.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/numeric.h"
#include "utils/timestamp.h"

#include "hub/apply_call.h"
#include "hub/visibility.h"
#include "local/free_value.h"
#include "local/place.h"
#include "local/row_edit.h"
#include "model/json.h"
#include "model/rfc3339.h"

/* ---------- the key ---------- */

static void
push_field(JsonbParseState **state, const char *column, const JsonbValue *value)
{
	json_push_key(state, column);
	pushJsonbValue(state, WJB_VALUE, unconstify(JsonbValue *, value));
}

static void
push_key(JsonbParseState **state, const Attached *attached, char **parts)
{
	for (int i = 0; i < attached->nkeys; i++)
		json_push_string(state, attached->keys[i].name, parts[i]);
}

/*
 * Make the key columns' values of the external id.  They must give that id
 * again: "007" is no key of an integer column, whose row 7 is record "7".
 */
AttachedRow
place_key(Attached *attached, ValueSettings *settings, const char *external_id)
{
	JsonbParseState *state = NULL;
	AttachedRow key;
	char	   *back;

	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, attached, attached_split_external_id(attached, external_id));
	key = attached_populate(attached,
							JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	back = attached_external_id(attached, settings, key);
	value_settings_end(settings);
	if (strcmp(back, external_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("external id \"%s\" is no key of relation %s: its row would be \"%s\"",
						external_id, attached->name, back)));
	return key;
}

/*
 * The key's type may take values for equal whose texts differ (1.0 and 1.00, or
 * a collation without case).  Then the row is another record's, and this one has none.
 */
static void
look_at_found_key(Placement *p)
{
	char	   *external_id = attached_external_id(p->attached, &p->settings, p->before);

	value_settings_end(&p->settings);
	if (strcmp(external_id, p->external_id) == 0)
		return;
	p->taken_by = external_id;
	p->present = false;
}

/* Nor can it get one. */
static void
check_not_taken(const Placement *p)
{
	if (p->taken_by != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNIQUE_VIOLATION),
				 errmsg("the row of relation %s whose key equals \"%s\" is record \"%s\"",
						p->attached->name, p->external_id, p->taken_by)));
}

/* ---------- reading both sides ---------- */

/*
 * Fields that the source may not see, or has in a pending conflict, are not
 * delivered to it.
 */
static void
find_withheld(Placer *placer, Placement *p)
{
	const Binding *binding = p->attached->binding;
	List	   *pending = conflict_log_pending(placer->conflicts, binding->entity,
											   p->external_id, binding->source);
	int			nmasked = p->route == NULL ? 0 : p->route->mask.n;
	int			n = nmasked;
	ListCell   *lc;

	foreach(lc, pending)
		n += ((Conflict *) lfirst(lc))->fields.n;
	field_names_init(&p->withheld, n);
	p->withheld_all = false;
	for (int i = 0; i < nmasked; i++)
		field_names_add(&p->withheld, p->route->mask.name[i]);
	foreach(lc, pending)
	{
		Conflict   *conflict = lfirst(lc);

		p->withheld_all |= conflict->whole;
		for (int i = 0; i < conflict->fields.n; i++)
			field_names_add(&p->withheld, conflict->fields.name[i]);
	}
}

static void
find_route(Placer *placer, Placement *p)
{
	const Binding *binding = p->attached->binding;
	const Source *source = registry_source_required(placer->registry, binding->source);

	p->route = source_route(source, binding->entity);
	p->hidden = p->record.exists && !visibility_unlimited(source) &&
		!visibility_shows(source, binding->entity, &p->record);
	p->filtered = p->hidden && source_gets_entity(source, binding->entity);
}

bool
place_lock_row(Placer *placer, Attached *attached, const char *external_id, Placement *p)
{
	WriterLock	lock;

	MemSet(p, 0, sizeof(Placement));
	p->placer = placer;
	p->attached = attached;
	p->external_id = external_id;
	value_settings_begin(&p->settings);
	p->key = place_key(attached, &p->settings, external_id);
	/* what was never delivered is seldom there */
	replica_find(placer->replica, attached->binding->relation, external_id, &p->replica);
	lock = writer_lock(&placer->writer, attached, p->key, p->replica.exists, &p->before);
	if (lock == WRITER_BUSY)
		return false;
	p->present = lock == WRITER_LOCKED;
	if (p->present)
		look_at_found_key(p);
	if (p->present)
		p->key.at = p->before.at;
	/* now nobody else writes it; where there is neither, the first of two to write wins */
	if (p->present || p->replica.exists)
		replica_look_again(placer->replica, attached->binding->relation, external_id, &p->replica);
	return true;
}

bool
place_lock(Placer *placer, Attached *attached, const char *external_id, Placement *p)
{
	if (!place_lock_row(placer, attached, external_id, p))
		return false;
	canonical_find(placer->canonical, attached->binding->entity, external_id, &p->record);
	find_route(placer, p);
	find_withheld(placer, p);
	return true;
}

/* ---------- the row as the record says ---------- */

static bool
is_mapped(const Attached *attached, AttrNumber attnum)
{
	for (int i = 0; i < attached->ncolumns; i++)
		if (attached->columns[i].attnum == attnum)
			return true;
	return false;
}

static bool
is_delivered(const Placement *p, const AttachedColumn *column)
{
	return record_find(&p->record, column->field) != NULL &&
		!field_names_has(&p->withheld, column->field);
}

/* A row that its own column marks as deleted is marked so, or not any more. */
static void
push_deleted(JsonbParseState **state, const Placement *p)
{
	const AttachedColumn *column = p->attached->deleted;
	JsonbValue	null = {.type = jbvNull};
	TimestampTz when = p->record.has_updated_at ? p->record.updated_at : GetCurrentTimestamp();

	if (column->type == BOOLOID)
		json_push_bool(state, column->name, p->record.deleted);
	else if (!p->record.deleted)
		push_field(state, column->name, &null);
	else
		json_push_string(state, column->name, rfc3339_format(when));
}

/*
 * The relation's own version and time of edit follow the record's, and so does
 * its mark of deletion.
 */
static void
push_special_columns(JsonbParseState **state, const Placement *p, Bitmapset **columns)
{
	const AttachedColumn *version = p->attached->version;
	const AttachedColumn *updated = p->attached->updated;
	const AttachedColumn *deleted = p->attached->deleted;

	if (version != NULL && !is_mapped(p->attached, version->attnum))
	{
		json_push_number(state, version->name, p->record.version);
		*columns = bms_add_member(*columns, version->attnum);
	}
	if (updated != NULL && !is_mapped(p->attached, updated->attnum) && p->record.has_updated_at)
	{
		json_push_string(state, updated->name, rfc3339_format(p->record.updated_at));
		*columns = bms_add_member(*columns, updated->attnum);
	}
	if (deleted != NULL && !is_mapped(p->attached, deleted->attnum))
	{
		push_deleted(state, p);
		*columns = bms_add_member(*columns, deleted->attnum);
	}
}

/* Make the row that the record's fields give, and tell which columns they are. */
static AttachedRow
make_target(Placement *p, Bitmapset **columns)
{
	const Attached *attached = p->attached;
	JsonbParseState *state = NULL;
	AttachedRow target;

	*columns = NULL;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_key(&state, attached, attached_split_external_id(attached, p->external_id));
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];

		if (!is_delivered(p, column))
			continue;
		push_field(&state, column->name, &record_find(&p->record, column->field)->field.value);
		*columns = bms_add_member(*columns, column->attnum);
	}
	push_special_columns(&state, p, columns);
	target = attached_populate(p->attached,
							   JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	return target;
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
find_different(Placement *p, AttachedRow target, Bitmapset *columns)
{
	Bitmapset  *different = NULL;
	int			attnum = -1;

	while ((attnum = bms_next_member(columns, attnum)) >= 0)
	{
		const AttachedColumn *column = column_of_attnum(p->attached, attnum);

		if (!value_equal(column->value, &p->settings,
						 p->before.values[attnum - 1], p->before.isnull[attnum - 1],
						 target.values[attnum - 1], target.isnull[attnum - 1]))
			different = bms_add_member(different, attnum);
	}
	value_settings_end(&p->settings);
	return different;
}

/* Has the row a value of a field that the record doesn't have? */
static bool
is_missing(const Placement *p, const AttachedColumn *column)
{
	return record_find(&p->record, column->field) == NULL &&
		!field_names_has(&p->withheld, column->field) &&
		!p->before.isnull[column->attnum - 1];
}

void
place_compare(Placement *p, bool *different, bool *missing)
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
place_compare_json(Placement *p, bool *different, bool *missing)
{
	const Attached *attached = p->attached;
	Fields		fields;

	attached_fields(attached, &p->settings, p->before, NULL, &fields);
	value_settings_end(&p->settings);
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
place_is_drifted(Placement *p)
{
	int			n = Max(p->attached->ncolumns, 1);
	bool	   *different = palloc0(n);
	bool	   *missing = palloc0(n);

	if (!p->record.exists || p->withheld_all)
		return false;
	if (p->record.deleted || !p->present)
		return p->record.deleted == p->present;
	place_compare(p, different, missing);
	return memchr(different, true, n) != NULL || memchr(missing, true, n) != NULL;
}

/* ---------- what the relation made of it ---------- */

/* A trigger that gives the row another key makes another record of it. */
static void
check_stored_key(Placement *p, AttachedRow stored)
{
	char	   *external_id = attached_external_id(p->attached, &p->settings, stored);

	value_settings_end(&p->settings);
	if (strcmp(external_id, p->external_id) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_TRIGGERED_DATA_CHANGE_VIOLATION),
				 errmsg("a trigger of relation %s changed the key of record \"%s\" to \"%s\"",
						p->attached->name, p->external_id, external_id)));
}

/*
 * The row versions that came of what other relations' triggers changed, as far
 * as is known: of each the last.
 */
static int
adjusted_elsewhere(Placer *placer, const Placement *p, int64 **row_versions)
{
	const Binding *binding = p->attached->binding;
	List	   *bindings = binding_list(NULL, binding->entity);
	int			n = 0;
	ListCell   *lc;

	*row_versions = palloc(sizeof(int64) * (list_length(bindings) + 1));
	foreach(lc, bindings)
	{
		const Binding *other = lfirst(lc);
		ReplicaRow	replica;

		if (other->relation == binding->relation)
			continue;
		replica_find(placer->replica, other->relation, p->external_id, &replica);
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
drop_answers(Placer *placer, const Placement *p, bool *adjusted)
{
	const Attached *attached = p->attached;
	int64	   *row_versions;
	int			n = adjusted_elsewhere(placer, p, &row_versions);
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
find_adjusted(Placement *p, AttachedRow target, AttachedRow stored, bool *adjusted)
{
	const Attached *attached = p->attached;
	bool		any = false;

	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];
		int			a = column->attnum - 1;

		/* what wasn't delivered is null in the target */
		adjusted[i] = !field_names_has(&p->withheld, column->field) &&
			!value_equal(column->value, &p->settings, target.values[a], target.isnull[a],
						 stored.values[a], stored.isnull[a]);
		any |= adjusted[i];
	}
	return any;
}

ApplyCall *
place_call(Placer *placer)
{
	if (placer->call == NULL)
	{
		MemoryContext old = MemoryContextSwitchTo(placer->context);

		placer->call = apply_begin(placer->registry);
		MemoryContextSwitchTo(old);
	}
	return placer->call;
}

void
place_send(Placer *placer, Placement *p, AttachedRow row, const bool *wanted,
		   ChangeOrigin origin, int64 base, Answer *answer)
{
	Fields		fields;

	attached_fields(p->attached, &p->settings, row, wanted, &fields);
	value_settings_end(&p->settings);
	row_send_fields(place_call(placer), p->attached, p->external_id, &fields, origin, base, answer);
}

/* That is an edit like any other, made on what was delivered. */
static void
send_adjusted(Placer *placer, Placement *p, AttachedRow target, AttachedRow stored)
{
	const Attached *attached = p->attached;
	bool	   *adjusted = palloc(sizeof(bool) * Max(attached->ncolumns, 1));
	bool		any = find_adjusted(p, target, stored, adjusted);
	Answer		answer;

	if (!any || !binding_captures(attached->binding))
		return;
	if (!drop_answers(placer, p, adjusted))
		return;
	place_send(placer, p, stored, adjusted, ORIGIN_EDIT, p->record.row_version, &answer);
	if (answer.decision.write != WRITE_NOTHING)
		p->replica.adjusted = answer.decision.after.row_version;
}

/* ---------- writing ---------- */

/*
 * What no trigger watches is watched by its content: a row that is as it was
 * delivered has not been edited since, which polls and loads ask.
 */
static Jsonb *
remembered_fields(Placement *p)
{
	const Binding *binding = p->attached->binding;
	Fields		fields;

	if (binding->capture == CAPTURE_TRIGGER || (binding->capture == CAPTURE_NONE && !binding->in) ||
		!p->present)
		return NULL;
	attached_fields(p->attached, &p->settings, p->before, NULL, &fields);
	value_settings_end(&p->settings);
	return fields_to_jsonb(&fields);
}

/*
 * Remember what the row has now seen.  A field that is kept back keeps the row
 * version at which it was delivered last, and an edit of it is judged by that.
 */
void
place_remember(Placer *placer, Placement *p)
{
	JsonbParseState *state = NULL;
	Fields		held = {0, NULL};

	if (p->replica.held != NULL)
		fields_from_container(&p->replica.held->root, &held);
	if (p->withheld.n > 0)
	{
		pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
		for (int i = 0; i < p->withheld.n; i++)
		{
			const Field *before = fields_find(&held, p->withheld.name[i]);
			char	   *name = field_name_cstring(p->withheld.name[i]);

			if (before != NULL)
				push_field(&state, name, &before->value);
			else
				json_push_number(&state, name, p->replica.row_version);
		}
		p->replica.held = JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
	}
	else
		p->replica.held = NULL;
	p->replica.fields = remembered_fields(p);
	p->replica.row_version = p->record.row_version;
	replica_set(placer->replica, p->attached->binding->relation, p->external_id, &p->replica);
}

/* Mark the row as deleted.  Returns whether it wasn't yet. */
static bool
write_mark(Placement *p)
{
	JsonbParseState *state = NULL;
	Bitmapset  *columns = NULL;
	AttachedRow target;

	if (attached_is_deleted(p->attached, p->before))
		return false;
	pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	push_special_columns(&state, p, &columns);
	target = attached_populate(p->attached,
							   JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL)));
	writer_update(p->attached, p->key, target, columns, &p->before);
	return true;
}

static bool
write_tombstone(Placement *p)
{
	bool		written = p->present;

	if (written && p->attached->deleted != NULL)
		written = write_mark(p);
	else if (written)
		writer_delete(p->attached, p->key);
	p->present = false;
	return written;
}

/* The row as it is, but for its unique values: others wait for them. */
static AttachedRow
put_aside(Placement *p, Bitmapset **columns)
{
	AttachedRow row = attached_row_make(p->attached);

	memcpy(row.values, p->before.values, sizeof(Datum) * p->attached->natts);
	memcpy(row.isnull, p->before.isnull, sizeof(bool) * p->attached->natts);
	*columns = NULL;
	free_value_put(p->attached, p->placer->free_value, &row, columns);
	return row;
}

/* For who wants to know why it failed. */
static void
note_attempt(Placement *p, AttachedRow target, Bitmapset *columns)
{
	PlaceAttempt *attempt = &p->placer->attempt;

	attempt->attached = p->attached;
	attempt->present = p->present;
	attempt->before = p->before;
	attempt->target = target;
	attempt->columns = columns;
}

static bool
write_live(Placement *p, AttachedRow *target)
{
	Bitmapset  *columns;
	AttachedRow stored;
	bool		written = true;

	check_not_taken(p);
	if (p->present && p->placer->free_value > 0)
		*target = put_aside(p, &columns);
	else
		*target = make_target(p, &columns);
	if (p->present)
	{
		columns = find_different(p, *target, columns);
		note_attempt(p, *target, columns);
		written = !bms_is_empty(columns);
		if (written)
			writer_update(p->attached, p->key, *target, columns, &stored);
		else
			stored = p->before;
	}
	else
	{
		for (int i = 0; i < p->attached->nkeys; i++)
			columns = bms_add_member(columns, p->attached->keys[i].attnum);
		note_attempt(p, *target, columns);
		writer_insert(p->attached, *target, columns, &stored);
	}
	check_stored_key(p, stored);
	p->present = true;
	p->before = stored;
	return written;
}

bool
place_put(Placement *p, AttachedRow *target)
{
	bool		written;

	writer_set_inbound(p->attached, p->external_id);
	written = p->record.deleted ? write_tombstone(p) : write_live(p, target);
	/* it has moved */
	ItemPointerSetInvalid(&p->key.at);
	return written;
}

PlaceOutcome
place_write(Placer *placer, Placement *p)
{
	AttachedRow target;
	bool		written;

	/* what waits for review as a whole leaves the row as it is */
	if (!p->record.exists || p->withheld_all)
		return PLACE_EQUAL;
	/* who may see it or not isn't left to the callers */
	if (p->hidden && !p->taken_back)
		return PLACE_EQUAL;
	written = place_put(p, &target);
	if (!p->record.deleted)
		send_adjusted(placer, p, target, p->before);
	place_remember(placer, p);
	return written ? PLACE_WRITTEN : PLACE_EQUAL;
}
