/*
 * attach.c
 *	  sync_attach and sync_detach: making a relation a source's copy of an
 *	  entity, and undoing it.
 *
 * Called from SQL.
 */
#include "postgres.h"

#include "access/relation.h"
#include "access/xact.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

#include "compat.h"
#include "local/attach_check.h"
#include "local/capture_trigger.h"
#include "local/outbox_buffer.h"
#include "local/spoke_tables.h"
#include "local/loaded.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/hints.h"
#include "storage/locks.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_attach);
PG_FUNCTION_INFO_V1(sync_detach);

/* ---------- bindings that are in the way ---------- */

static void
forget_dropped(const Binding *binding)
{
	binding_remove(binding->relation, false);
	CommandCounterIncrement();
}

/* A row is known by its record's external id, or by a key of its source's own. */
static void
check_keys(const Binding *binding)
{
	const Source *source = registry_source_required(registry_get(), binding->source);

	if (!binding->own_keys && source_has_own_keys(source, binding->entity))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" names records of entity \"%s\" by keys of its own",
						binding->source, binding->entity),
				 errhint_call("Attach it with own_keys => true; or have the source go by external ids again: SELECT sync_own_keys(%s, %s, false).",
							  quote_literal_cstr(binding->source),
							  quote_literal_cstr(binding->entity))));
}

/* What the source has by now it has under the names that it had so far: a load finds its rows. */
static void
begin_own_keys(const Binding *binding)
{
	if (binding->own_keys)
		owner_execute("SELECT syncext.own_keys_of_table(%s, %s)",
					  quote_literal_cstr(binding->source), quote_literal_cstr(binding->entity));
}

/*
 * Rows that the hub is never told of can't be told apart from its records, which would be
 * inserted beside them; but by their ids.
 */
static void
check_own_rows(const Binding *binding)
{
	const Binding *made = binding_of_relation(binding->relation);

	if (binding->in || binding->external_id_column != NULL || !binding_awaits_load(made))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("relation \"%s\" has rows, draws their keys itself, and tells the hub of none of them",
					get_rel_name(binding->relation)),
			 errhint("Leave direction out, and load it; or give external_id_column => 'column', one that has the hub's ids; or TRUNCATE it first.")));
}

static void
check_other_bindings(const Binding *binding)
{
	const Binding *other = binding_of_relation(binding->relation);

	if (other != NULL && !binding_stands(other))
		forget_dropped(other);
	else if (other != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("relation \"%s\" is already attached: it is source \"%s\"'s copy of entity \"%s\"",
						get_rel_name(binding->relation), other->source, other->entity),
				 errhint_call("Detach it first: SELECT sync_detach(%s).",
						 quote_literal_cstr(names_of_relation(binding->relation)))));
	other = binding_of_entity(binding->source, binding->entity);
	if (other == NULL)
		return;
	if (!binding_stands(other))
	{
		forget_dropped(other);
		return;
	}
	ereport(ERROR,
			(errcode(ERRCODE_DUPLICATE_OBJECT),
			 errmsg("source \"%s\" already has a copy of entity \"%s\": relation %s",
					binding->source, binding->entity, names_of_relation(other->relation)),
			 errhint_call("Detach it first: SELECT sync_detach(%s).",
					 quote_literal_cstr(names_of_relation(other->relation)))));
}

/* ---------- the functions ---------- */

static void
read_key(ArrayType *array, Binding *binding)
{
	binding->key = (const char **) names_of_array(PointerGetDatum(array), "key", &binding->nkeys);
	if (binding->nkeys == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("key names no column"),
				 errhint("Leave it out to use the primary key.")));
}

static void
read_capture(const char *capture, Binding *binding)
{
	if (!binding_capture_by_name(capture, &binding->capture))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("capture is \"%s\", which is unknown", capture),
				 errhint("It is 'trigger', 'poll' or 'none'.")));
}

static void
read_direction(const char *direction, Binding *binding)
{
	binding->in = strcmp(direction, "out") != 0;
	binding->out = strcmp(direction, "in") != 0;
	if (binding->in && binding->out && strcmp(direction, "both") != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("direction is \"%s\", which is unknown", direction),
				 errhint("It is 'both', 'in' (its edits go to the hub) or 'out' (the hub's records are written to it).")));
	/* what never goes to the hub needs no capture */
	if (!binding->in)
		binding->capture = CAPTURE_NONE;
}

static void
read_arguments(FunctionCallInfo fcinfo, Binding *binding)
{
	binding->relation = arg_relation(fcinfo, 0);
	binding->source = arg_text(fcinfo, 1, "source");
	binding->entity = arg_text(fcinfo, 2, "entity");
	if (!PG_ARGISNULL(3))
		read_key(PG_GETARG_ARRAYTYPE_P(3), binding);
	binding->columns = arg_jsonb_or_null(fcinfo, 4);
	read_capture(arg_text(fcinfo, 5, "capture"), binding);
	read_direction(arg_text(fcinfo, 6, "direction"), binding);
	binding->version_column = arg_text_or_null(fcinfo, 7);
	binding->updated_column = arg_text_or_null(fcinfo, 8);
	binding->deleted_column = arg_text_or_null(fcinfo, 9);
	binding->own_keys = arg_bool(fcinfo, 10, "own_keys");
	binding->external_id_column = arg_text_or_null(fcinfo, 11);
}

Datum
sync_attach(PG_FUNCTION_ARGS)
{
	Binding		binding = {0};
	const Registry *registry = registry_get();
	Relation	rel;

	read_arguments(fcinfo, &binding);
	source_role_check(registry_source_required(registry, binding.source));
	(void) registry_entity_required(registry, binding.entity);
	relation_check_owner(binding.relation, "Have its owner attach it, as a member of the source's role.");

	/* no edit of others may fall between the binding and the triggers */
	rel = try_relation_open(binding.relation, ShareRowExclusiveLock);
	if (rel == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist any more", binding.relation)));
	/* its owner may have given it away while we waited, or lost the source */
	relation_check_owner(binding.relation, "Have its owner attach it, as a member of the source's role.");
	source_role_check(registry_source_required(registry_get(), binding.source));
	attach_check(rel, &binding);
	relation_close(rel, NoLock);
	check_other_bindings(&binding);
	check_keys(&binding);
	spoke_check_binding(&binding);
	binding.row_type = get_rel_type_id(binding.relation);
	binding.name = names_of_relation(binding.relation);
	if (!role_is_owner())
	{
		binding.attached_by = GetUserNameFromId(GetUserId(), false);
		binding.attached_as = registry_source_required(registry, binding.source)->role_name;
	}

	binding_add(&binding);
	CommandCounterIncrement();
	begin_own_keys(&binding);
	spoke_resume(&binding);
	if (binding_captures(&binding))
		source_set_single_writer(binding.source, true);
	if (binding.capture == CAPTURE_TRIGGER)
		capture_triggers_create(binding.relation);
	if (binding.capture == CAPTURE_TRIGGER || binding.own_keys)
	{
		loaded_at_attach(binding.relation);
		check_own_rows(&binding);
	}
	else
		loaded_columns(binding.relation);
	loaded_note_shape(binding.relation, true, true);
	PG_RETURN_VOID();
}

/* A source none of whose relations is captured may have many writers again. */
static void
reset_single_writer(const char *source)
{
	foreach_ptr(const Binding, binding, binding_list(source, NULL))
	{
		if (binding_captures(binding))
			return;
	}
	source_set_single_writer(source, false);
}

/* The binding as it is now.  Raises unless the user may end it. */
static const Binding *
owned_binding(Oid relid, bool *exists)
{
	const Binding *binding = binding_of_relation(relid);
	const Source *source;

	*exists = get_rel_name(relid) != NULL && (binding == NULL || binding_stands(binding));
	if (*exists)
		relation_check_owner(relid, "Have its owner detach it.");
	if (binding == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("relation %s is not attached",
						*exists ? names_of_relation(relid) : psprintf("%u", relid)),
				 errhint("Table syncext.binding lists those that are.")));
	source = registry_source(registry_get(), binding->source);
	if (!*exists && source != NULL)
		source_role_check(source);
	return binding;
}

/* Wait for sessions that work on the relation: a delivery, say, would leave rows behind. */
static void
lock_to_detach(const Binding *binding, bool exists)
{
	if (exists)
		LockRelationOid(binding->relation, binding->capture == CAPTURE_TRIGGER ?
						AccessExclusiveLock : ShareRowExclusiveLock);
	if (binding->capture == CAPTURE_POLL)
		(void) lock_transaction(LOCK_TRANSFER, binding->relation, true);
}

Datum
sync_detach(PG_FUNCTION_ARGS)
{
	Oid			relid = arg_relation(fcinfo, 0);
	const Binding *binding;
	bool		exists;

	binding = owned_binding(relid, &exists);
	lock_to_detach(binding, exists);
	/* the session that we waited for may have detached it, or attached it anew */
	binding = owned_binding(relid, &exists);

	/* what was captured for a hub behind a link is based on what it is bound to */
	outbox_buffer_flush();
	if (exists && binding->capture == CAPTURE_TRIGGER)
		capture_triggers_drop(relid);
	binding_remove(relid, exists && spoke_keep(binding));
	CommandCounterIncrement();
	/* does nothing where there is no such source any more */
	if (binding_captures(binding))
		reset_single_writer(binding->source);
	PG_RETURN_VOID();
}
