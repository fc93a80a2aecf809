/*
 * capture.c
 *	  Edits of attached tables on their way to the hub.
 *
 * The trigger function syncext.capture() stands on every attached table that is
 * captured by trigger, and on its partitions.  It makes a Change of each edit
 * and has the ladder decide it in the same transaction.  Whatever the ladder
 * says, the edit stands: where it lost, delivery corrects the row.  Where the
 * entity is decided by the hub behind a link, the edit is only noted for it.
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/relation.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "utils/rel.h"

#include "hub/own_keys.h"
#include "local/capture.h"
#include "local/capture_scope.h"
#include "local/cascade.h"
#include "local/fragile.h"
#include "local/own_trigger.h"
#include "local/row_edit.h"
#include "local/row_keys.h"
#include "local/spoke_keys.h"
#include "local/writer.h"
#include "process/subxact.h"
#include "settings.h"
#include "storage/link.h"

PG_FUNCTION_INFO_V1(syncext_capture);

/* A row that left its partition, until the same row is met in another one. */
typedef struct MovedRow
{
	const char *key;
	const Attached *attached;	/* of the partition that it left */
	AttachedRow row;
} MovedRow;

/* One edit. */
typedef struct Edit
{
	TriggerData *trigger;
	CaptureScope *scope;
	Attached   *attached;
	const char *key;			/* of the row, as text: the external id, unless it is its own */
	RowRecord	record;			/* that the row is */
	const char *external_id;	/* of that; NULL: none is known yet */
	Relation	root;			/* the bound relation, kept open, or NULL */
	bool		alone;			/* it may be rolled back, and others stay; or code of others
								 * runs next, which has to find what was logged */
	const FieldRules *counters; /* NULL: nothing was edited that may be one */
	Fields		before;			/* such fields as they were, and as this edit left them */
	Fields		after;
} Edit;

/* ---------- syncext.inbound ---------- */

bool
inbound_check(char **newval, void **extra, GucSource source)
{
	const char *value = *newval;
	const char *c = value;

	if (*value == '\0' || strcmp(value, "on") == 0 || strcmp(value, "off") == 0)
		return true;
	while (*c >= '0' && *c <= '9')
		c++;
	if (c > value && c[0] == ':' && c[1] != '\0')
		return true;
	GUC_check_errdetail("It is \"on\", \"off\", or a relation's OID, a colon and an external id.");
	return false;
}

static bool
inbound_is_all(void)
{
	return strcmp(setting_inbound, "on") == 0;
}

/* Is this the one row whose edit is a delivery? */
static bool
inbound_is_row(const Attached *attached, const char *key)
{
	char	   *end;

	if (setting_inbound[0] < '0' || setting_inbound[0] > '9')
		return false;
	if (strtoul(setting_inbound, &end, 10) != attached->binding->relation)
		return false;
	return strcmp(end + 1, key) == 0;
}

/* Does the edit come of another row's delivery, by a foreign key that cascades? */
static bool
is_cascade(const Edit *edit)
{
	TriggerData *trigger = edit->trigger;

	if (setting_inbound[0] < '0' || setting_inbound[0] > '9' ||
		TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		return false;
	return cascade_made(trigger->tg_relation, trigger->tg_trigslot,
						TRIGGER_FIRED_BY_UPDATE(trigger->tg_event) ? trigger->tg_newslot : NULL);
}

/* ---------- whose trigger it is ---------- */

/*
 * Whoever made the trigger: an edit is captured by ours, and once.  One that has our name
 * and another shape doesn't fire for all edits, or late.
 */
static void
check_trigger(const TriggerData *trigger)
{
	if (own_trigger_is(trigger->tg_trigger, trigger->tg_trigger->tgfoid))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
			 errmsg("trigger \"%s\" of table \"%s\" is not as sync_attach creates it",
					trigger->tg_trigger->tgname, RelationGetRelationName(trigger->tg_relation)),
			 errhint("Drop it. The one that captures is called \"" CAPTURE_TRIGGER_NAME
					 "\"; where it is gone, call sync_detach and sync_attach.")));
}

/* What is polled would be captured twice. */
static bool
is_captured(const Binding *binding)
{
	return binding->capture == CAPTURE_TRIGGER && binding_captures(binding);
}

/* ---------- rows as they stand now ---------- */

static void
raise_not_attached(Relation rel)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("table \"%s\" has a capture trigger, but is not attached",
					RelationGetRelationName(rel)),
			 errhint("Call sync_attach, or drop the trigger.")));
}

/* Describe the bound relation, which stays open while the edit is dealt with. */
static Attached *
open_root(Edit *edit)
{
	Attached   *root;

	if (edit->root == NULL)
		edit->root = relation_open(edit->attached->binding->relation, AccessShareLock);
	root = attached_of(edit->root);
	if (root == NULL)
		raise_not_attached(edit->root);
	attached_check(root);
	return root;
}

/*
 * Read the row that is the edit's record now, by the key of a row that was it,
 * in the layout of the bound relation; false if there is none.  Keys that are
 * equal may be other records, if their texts differ.
 */
static bool
read_current(Edit *edit, AttachedRow row, Attached **root, AttachedRow *current)
{
	const Attached *attached = edit->attached;
	MemoryContext context = CurrentMemoryContext;
	TableCode	code;
	AttachedRow key;
	bool		found;

	*root = open_root(edit);
	key = attached_row_make(*root);
	for (int i = 0; i < attached->nkeys; i++)
	{
		AttrNumber	attno = (*root)->keys[i].attnum - 1;

		if (attached->keys[i].type != (*root)->keys[i].type)
			attached_raise_altered(*root);
		key.values[attno] = attached_value(&attached->keys[i], row, &key.isnull[attno]);
	}
	SPI_connect();
	MemoryContextSwitchTo(context);
	table_code_enter(&code, (*root)->owner, TABLE_CODE_LOOKUP);
	found = writer_read(*root, key, current);
	table_code_leave(&code);
	SPI_finish();
	return found &&
		strcmp(attached_external_id(*root, *current), edit->key) == 0;
}

/*
 * Was this version of the row changed again in the meantime, by a trigger of
 * the same statement?  Those edits may have come to the hub already.
 */
static bool
is_superseded(TupleTableSlot *slot, HeapTuple tuple)
{
	uint16		infomask = tuple->t_data->t_infomask;

	return TTS_IS_BUFFERTUPLE(slot) &&
		!(infomask & HEAP_XMAX_INVALID) && !HEAP_XMAX_IS_LOCKED_ONLY(infomask);
}

/* Was the row deleted here to be inserted into another partition? */
static bool
is_move(TupleTableSlot *slot, HeapTuple tuple)
{
	return TTS_IS_BUFFERTUPLE(slot) && HeapTupleHeaderIndicatesMovedPartitions(tuple->t_data);
}

static AttachedRow
slot_row(const Attached *attached, TupleTableSlot *slot)
{
	AttachedRow row;

	slot_getsomeattrs(slot, attached->last_attnum);
	row.values = slot->tts_values;
	row.isnull = slot->tts_isnull;
	return row;
}

/* ---------- what is sent ---------- */

/*
 * The hub may know less of a record than the row holds: the table was not
 * loaded, or the record came from elsewhere with fewer fields, or was erased, or deleted
 * and came back with this edit.  Send what it lacks, after the edit if that waits.
 */
static void
send_missing(Edit *edit, ApplyCall *call, AttachedRow row, const Answer *answer)
{
	const Record *record = &answer->decision.after;
	const Attached *attached = edit->attached;
	bool	   *wanted = NULL;
	Fields		fields;
	Answer		second;

	if ((answer->decision.write != WRITE_WHOLE && !answer->unheard) || record->deleted)
		return;
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];

		if (row.isnull[column->attnum - 1] || record_find(record, column->field) != NULL)
			continue;
		if (wanted == NULL)
			wanted = palloc0(sizeof(bool) * attached->ncolumns);
		wanted[i] = true;
	}
	if (wanted == NULL)
		return;
	attached_fields(attached, row, wanted, &fields);
	row_send_fields(call, attached, edit->external_id, &fields, record->row_version, &second);
}

/*
 * Has the hub never heard of the row?  It was there before the table was attached,
 * and was not loaded since.  Then all of it is news.
 */
static bool
is_first_word(const Edit *edit, ApplyCall *call, const ReplicaRow *replica)
{
	const Binding *binding = edit->attached->binding;

	return !replica->exists && binding->loaded == NULL &&
		!apply_is_known(call, binding->entity, edit->external_id, binding->source);
}

/* A row that is gone ends its key; where it is back, deliveries go there again. */
static void
settle_key(const Edit *edit, bool deleted, bool gone)
{
	const Binding *binding = edit->attached->binding;

	if (!binding->own_keys)
		return;
	if (gone)
		own_keys_end(binding->source, binding->entity, edit->external_id);
	else if (!deleted && edit->record.ended)
		(void) own_keys_bind(binding->source, binding->entity, edit->key, edit->external_id);
}

/* The hub is behind a link: whatever its ladder is, it will hear of the edit. */
static void
note_for_hub(Edit *edit, RowEdit *sent, const bool *wanted)
{
	const Attached *attached = edit->attached;

	if (!sent->deleted)
		attached_fields(attached, sent->row, wanted, &sent->fields);
	spoke_keys_translate(attached, &sent->fields);
	if (sent->cascade)
		replica_note_cascade(attached->binding->relation, edit->external_id, &sent->fields);
	row_edit_note(sent, sent->inserted ? NOTE_INSERT : NOTE_EDIT);
	settle_key(edit, sent->deleted, sent->deleted);
}

/* Bring an edit to the hub; wanted tells which fields, NULL: all of them. */
static void
send_edit(Edit *edit, AttachedRow row, const bool *wanted, bool deleted)
{
	CaptureTables tables;
	ApplyCall  *call;
	ReplicaRow	replica;
	RowEdit		sent = {
		.attached = edit->attached,
		.external_id = edit->external_id,
		.row = row,
		.key = edit->attached->binding->own_keys ? edit->key : NULL,
		.key_is_new = edit->record.added,
		.duplicate = edit->record.duplicate,
		.takes_over = edit->record.takes_over,
		.inserted = !deleted && wanted == NULL,
		.deleted = deleted,
		.cascade = is_cascade(edit),
		.replica = &replica,
	};
	Answer		answer;
	bool		owes;

	attached_check_sender(edit->attached);
	owes = !sent.inserted && fragile_owes(edit->attached, edit->external_id);
	if (owes)
		wanted = NULL;
	if (link_of_source(edit->attached->binding->source) != NULL)
	{
		note_for_hub(edit, &sent, wanted);
		return;
	}
	if (!deleted)
		attached_fields(edit->attached, row, wanted, &sent.fields);
	tables = capture_scope_open(edit->scope, edit->alone);
	call = tables.call;
	replica_find(tables.replica, edit->attached->binding->relation, edit->external_id, &replica);
	if (owes && !deleted)
		sent.inserted = !apply_is_known(call, edit->attached->binding->entity, edit->external_id,
										edit->attached->binding->source);
	if (!deleted && wanted != NULL && is_first_word(edit, call, &replica))
	{
		sent.inserted = true;
		attached_fields(edit->attached, row, NULL, &sent.fields);
	}
	if (!sent.inserted)
		row_edit_find_increments(&sent, edit->counters, &edit->before, &edit->after);
	if (row_edit_send(call, edit->scope->registry, &sent, &answer))
	{
		if (!deleted && wanted != NULL)
			send_missing(edit, call, row, &answer);
		settle_key(edit, deleted, deleted && answer.decision.after.deleted);
	}
	capture_scope_close(edit->scope, tables);
	if (owes)
		fragile_settle(edit->attached, edit->external_id);
}

/* ---------- inserts, updates, deletes ---------- */

static void
set_record(Edit *edit, RowRecord record)
{
	edit->record = record;
	edit->external_id = record.external_id;
}

/* Learn which record the row is; false if its edit is a delivery. */
static bool
identify(Edit *edit, AttachedRow row)
{
	edit->key = attached_external_id(edit->attached, row);
	if (inbound_is_row(edit->attached, edit->key))
		return false;
	set_record(edit, row_keys_find(edit->attached->binding, edit->key));
	return true;
}

static void
capture_insert(Edit *edit, AttachedRow row, bool superseded)
{
	Attached   *root;

	set_record(edit, row_keys_birth(edit->attached->binding, edit->key));
	if (superseded)
	{
		if (!read_current(edit, row, &root, &row))
			return;
		edit->attached = root;
	}
	send_edit(edit, row, NULL, false);
}

/* A row that nobody was told of ends as quietly. */
static void
capture_delete(Edit *edit, AttachedRow row)
{
	if (edit->record.duplicate)
		row_keys_unbind(edit->attached->binding, edit->key);
	if (edit->external_id != NULL && !edit->record.ended)
		send_edit(edit, row, NULL, true);
}

/* Other bytes are a change, where JSON can't be made of the old value perhaps. */
static bool
is_changed(Edit *edit, const AttachedColumn *column, Datum old, bool old_isnull,
		   Datum new, bool new_isnull)
{
	if (edit->attached->fragile && !old_isnull && fragile_suspects_value(column, old))
		return new_isnull || !value_same_bytes(column->value, old, new);
	return !value_equal(column->value, old, old_isnull, new, new_isnull);
}

/*
 * Tell the fields that an edit changed; old may be a row of another partition.
 * Returns whether there are any.
 */
static bool
find_changed(Edit *edit, const Attached *old_attached, AttachedRow old, AttachedRow new,
			 bool *wanted)
{
	const Attached *attached = edit->attached;
	bool		any = false;

	if (old_attached->ncolumns != attached->ncolumns)
		attached_raise_altered(attached);
	for (int i = 0; i < attached->ncolumns; i++)
	{
		int			o = old_attached->columns[i].attnum - 1;
		int			n = attached->columns[i].attnum - 1;

		if (old_attached->columns[i].type != attached->columns[i].type)
			attached_raise_altered(attached);

		wanted[i] = is_changed(edit, &attached->columns[i], old.values[o], old.isnull[o],
							   new.values[n], new.isnull[n]);
		any |= wanted[i];
	}
	return any;
}

/* Keep what the edit itself made of counters: the row may have been edited again since. */
static void
note_counters(Edit *edit, const Attached *old_attached, AttachedRow old, AttachedRow new,
			  const bool *wanted)
{
	const FieldRules *rules = row_edit_counters(edit->scope->registry, edit->attached);
	bool	   *counts;

	if (rules == NULL)
		return;
	counts = palloc(sizeof(bool) * Max(edit->attached->ncolumns, 1));
	for (int i = 0; i < edit->attached->ncolumns; i++)
		counts[i] = wanted[i] && field_rules_sum(rules, edit->attached->columns[i].field);
	attached_fields(old_attached, old, counts, &edit->before);
	attached_fields(edit->attached, new, counts, &edit->after);
	edit->counters = rules;
}

static void
capture_update(Edit *edit, const Attached *old_attached, AttachedRow old, AttachedRow new,
			   bool superseded)
{
	bool	   *wanted = palloc(sizeof(bool) * Max(edit->attached->ncolumns, 1));
	Attached   *root;

	if (!find_changed(edit, old_attached, old, new, wanted))
		return;
	note_counters(edit, old_attached, old, new, wanted);
	if (superseded)
	{
		/* the fields are in the same order there */
		if (!read_current(edit, new, &root, &new))
			return;
		edit->attached = root;
	}
	if (edit->external_id == NULL || edit->record.ended)
		set_record(edit, row_keys_take(edit->attached->binding, edit->key));
	send_edit(edit, new, edit->record.added ? NULL : wanted, false);
}

/* A row of a table that draws its keys is the record that it was, under another key. */
static void
capture_new_key(Edit *edit, AttachedRow old, AttachedRow new, bool superseded)
{
	const char *before;

	if (!identify(edit, old) || edit->external_id == NULL ||
		(edit->record.ended && !edit->record.duplicate))
	{
		if (identify(edit, new))
			capture_insert(edit, new, superseded);
		return;
	}
	before = edit->key;
	edit->key = attached_external_id(edit->attached, new);
	row_keys_move(edit->attached->binding, edit->external_id, before, edit->key);
	capture_update(edit, edit->attached, old, new, superseded);
}

/* A row with another key is another record. */
static void
capture_key_change(Edit *edit, AttachedRow old, AttachedRow new, bool superseded)
{
	Attached   *root;
	AttachedRow current;

	/* another row may have the old key by now */
	if (identify(edit, old) && !read_current(edit, old, &root, &current))
		capture_delete(edit, old);
	if (identify(edit, new))
		capture_insert(edit, new, superseded);
}

/* ---------- moves between partitions ---------- */

static void
remember_move(Edit *edit, AttachedRow row)
{
	const Attached *attached = edit->attached;
	MemoryContext old = MemoryContextSwitchTo(edit->scope->statement);
	MovedRow   *moved = palloc(sizeof(MovedRow));

	moved->key = pstrdup(edit->key);
	moved->attached = attached;
	moved->row = attached_row_make(attached);
	for (int i = 0; i < attached->ncolumns; i++)
	{
		const AttachedColumn *column = &attached->columns[i];
		bool		isnull;
		Datum		value = attached_value(column, row, &isnull);

		moved->row.isnull[column->attnum - 1] = isnull;
		if (!isnull)
			moved->row.values[column->attnum - 1] = value_copy(column->value, value);
	}
	edit->scope->moved = lappend(edit->scope->moved, moved);
	MemoryContextSwitchTo(old);
}

static MovedRow *
take_moved(Edit *edit)
{
	ListCell   *lc;

	foreach(lc, edit->scope->moved)
	{
		MovedRow   *moved = lfirst(lc);

		if (strcmp(moved->key, edit->key) == 0 &&
			moved->attached->binding->relation == edit->attached->binding->relation)
		{
			edit->scope->moved = foreach_delete_current(edit->scope->moved, lc);
			return moved;
		}
	}
	return NULL;
}

/*
 * A row that goes to another partition is deleted in the one and inserted into
 * the other, and the triggers of both fire.  That is one update, as long as the
 * row is still there.
 */
static void
capture_row_deleted(Edit *edit, TriggerData *trigger)
{
	AttachedRow row = slot_row(edit->attached, trigger->tg_trigslot);
	Attached   *root;
	AttachedRow current;

	if (!identify(edit, row))
		return;
	if (is_move(trigger->tg_trigslot, trigger->tg_trigtuple) &&
		read_current(edit, row, &root, &current))
		remember_move(edit, row);
	else
		capture_delete(edit, row);
}

static void
capture_row_inserted(Edit *edit, TriggerData *trigger)
{
	AttachedRow row = slot_row(edit->attached, trigger->tg_trigslot);
	bool		superseded = is_superseded(trigger->tg_trigslot, trigger->tg_trigtuple);
	MovedRow   *moved;

	if (!identify(edit, row))
		return;
	moved = edit->scope->moved != NIL ? take_moved(edit) : NULL;
	if (moved != NULL)
		capture_update(edit, moved->attached, moved->row, row, superseded);
	else
		capture_insert(edit, row, superseded);
}

static void
capture_row_updated(Edit *edit, TriggerData *trigger)
{
	AttachedRow old = slot_row(edit->attached, trigger->tg_trigslot);
	AttachedRow new = slot_row(edit->attached, trigger->tg_newslot);
	bool		superseded = is_superseded(trigger->tg_newslot, trigger->tg_newtuple);

	if (attached_key_equal(edit->attached, old, new))
	{
		if (identify(edit, new))
			capture_update(edit, edit->attached, old, new, superseded);
	}
	else if (edit->attached->binding->own_keys)
		capture_new_key(edit, old, new, superseded);
	else
		capture_key_change(edit, old, new, superseded);
}

/* ---------- the trigger ---------- */

/* Deleting the rows one by one could be captured; this can't. */
static void
refuse_truncate(Relation rel)
{
	Attached   *attached = attached_of(rel);

	if (attached == NULL || !is_captured(attached->binding) || inbound_is_all())
		return;
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("cannot truncate attached table \"%s\"", RelationGetRelationName(rel)),
			 errhint("Use DELETE, so that the hub learns of each row; or call sync_detach first.")));
}

/*
 * Where the binding names a column that the table hasn't any more, an edit can't be
 * brought to the hub, and would be lost.  A delete can, by the key.
 */
static void
check_captures(const Attached *attached, const TriggerData *trigger)
{
	if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event) || !attached->has_key)
		attached_check(attached);
}

/* An edit, and what was fired for it. */
typedef struct Fired
{
	Edit	   *edit;
	TriggerData *trigger;
} Fired;

static void
capture_fired(void *arg)
{
	Edit	   *edit = ((Fired *) arg)->edit;
	TriggerData *trigger = ((Fired *) arg)->trigger;

	if (TRIGGER_FIRED_BY_UPDATE(trigger->tg_event))
		capture_row_updated(edit, trigger);
	else if (TRIGGER_FIRED_BY_INSERT(trigger->tg_event))
		capture_row_inserted(edit, trigger);
	else
		capture_row_deleted(edit, trigger);
	if (edit->root != NULL)
		relation_close(edit->root, NoLock);
}

/* The hub can't have this row, perhaps: then the edit stands, and that is kept. */
static void
try_fired(Fired *fired, const Attached *attached, AttachedRow row)
{
	ErrorData  *error;
	const char *key;

	fired->edit->alone = true;
	error = subxact_try(capture_fired, fired);
	if (error == NULL)
		return;
	if (!fragile_is_about_value(error))
		ReThrowError(error);
	key = attached_external_id(attached, row);
	fragile_keep(attached, row_keys_take(attached->binding, key).external_id, error);
}

static void
capture_row(TriggerData *trigger)
{
	bool		updated = TRIGGER_FIRED_BY_UPDATE(trigger->tg_event);
	Edit		edit = {.trigger = trigger};
	Fired		fired = {&edit, trigger};
	Attached   *attached = attached_of(trigger->tg_relation);
	AttachedRow row;

	if (attached == NULL)
		raise_not_attached(trigger->tg_relation);
	check_trigger(trigger);
	if (!is_captured(attached->binding) || inbound_is_all())
		return;
	check_captures(attached, trigger);
	edit.attached = attached;
	edit.scope = capture_scope_get();
	edit.scope->registry = registry_get();
	edit.alone = attached->runs_code;
	if (edit.alone)
		capture_scope_flush(edit.scope);
	if (!attached->fragile)
	{
		capture_fired(&fired);
		return;
	}
	row = slot_row(attached, updated ? trigger->tg_newslot : trigger->tg_trigslot);
	if (!TRIGGER_FIRED_BY_DELETE(trigger->tg_event) &&
		(fragile_suspects(attached, row) ||
		 (updated && fragile_suspects(attached, slot_row(attached, trigger->tg_trigslot)))))
		try_fired(&fired, attached, row);
	else
		capture_fired(&fired);
}

Datum
syncext_capture(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("syncext.capture is a trigger function")));
	if (TRIGGER_FIRED_BY_TRUNCATE(trigger->tg_event))
		refuse_truncate(trigger->tg_relation);
	else if (TRIGGER_FIRED_AFTER(trigger->tg_event) && TRIGGER_FIRED_FOR_ROW(trigger->tg_event))
		capture_row(trigger);
	else
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("syncext.capture works as an AFTER trigger FOR EACH ROW"),
				 errhint("sync_attach creates the triggers that a table needs.")));
	return PointerGetDatum(NULL);
}
