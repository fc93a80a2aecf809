/*
 * unmerge.c
 *	  sync_unmerge: two records that were merged are two again.
 *
 * Called from SQL, by stewards.  The record that went lives again as it was, with its keys
 * and children; the one that stayed gives back what it got by the merge, as far as nobody has
 * said it since.  All that others do with either of the two comes before or after it: their
 * sources' keys are held alone (hub/keys_alone), then both records.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

#include "errcodes.h"
#include "hub/apply_call.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/key_children.h"
#include "hub/keys_alone.h"
#include "hub/limits.h"
#include "hub/logged_change.h"
#include "hub/merge.h"
#include "hub/release.h"
#include "hub/resolve.h"
#include "model/clip.h"
#include "model/field_impose.h"
#include "model/field_stamp.h"
#include "model/json.h"
#include "model/json_read.h"
#include "model/record_unmerge.h"
#include "model/referred_id.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/hints.h"
#include "storage/match_candidate.h"
#include "storage/rights.h"

PG_FUNCTION_INFO_V1(sync_unmerge);

typedef struct Unmerging
{
	int64		id;				/* of the merge */
	const char *note;
	ApplyCall  *call;
	const Entity *entity;
	const char *keep_id;
	const char *drop_id;
	Fields		merge;			/* what table syncext.merge has of it */
	Record		keep_before;
	Record		drop_before;
	FieldNames	taken;
	int64		row_version;
	Fields		stands;
	Record		keep;			/* as they are */
	Record		drop;
	RecordUnmerge unmerge;
	int64		nkeys;
	int			nchildren;
	bool		settled;		/* what referred to the one that went was changed already */
} Unmerging;

/* ---------- the merge ---------- */

/* Read the merge's row; false: there is none. */
static bool
read_merge(Unmerging *u, bool hold)
{
	char	   *text = owner_text("SELECT syncext.merge_to_undo(" INT64_FORMAT ", %s)", u->id,
								  hold ? "true" : "false");

	if (text == NULL)
		return false;
	u->merge = fields_of(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))));
	u->keep_id = json_read_string(fields_value(&u->merge, "keepId"));
	u->drop_id = json_read_string(fields_value(&u->merge, "dropId"));
	return true;
}

static void
raise_unknown(int64 id)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
			 errmsg("merge " INT64_FORMAT " does not exist", id),
			 errhint("Table syncext.merge has all of them; where one of its records was forgotten, a merge is erased, too, and cannot be undone.")));
}

/* The row may have been edited. */
static void
require_name(const Unmerging *u, const char *name)
{
	if (name == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("table \"syncext.merge\" does not say of merge " INT64_FORMAT " which records it was of", u->id),
				 errhint("Mend the row with UPDATE, or delete it.")));
}

static void
find_merge(Unmerging *u, Oid function)
{
	bool		found = read_merge(u, false);
	char	   *entity = found ? json_read_string(fields_value(&u->merge, "entity")) : NULL;

	resolve_refuse_stranger(function, entity, "undo", "merge", u->id);
	if (!found)
		raise_unknown(u->id);
	require_name(u, entity);
	require_name(u, u->keep_id);
	require_name(u, u->drop_id);
	u->entity = registry_entity_required(registry_get(), entity);
	keys_alone_check_entity(u->entity);
}

static List *
sources_of_keys(const Unmerging *u)
{
	return owner_texts("SELECT DISTINCT k.source FROM syncext.merge_key k WHERE k.merge = " INT64_FORMAT " ORDER BY 1",
					   u->id);
}

/* The record as it was; false: what is kept of it is none. */
static bool
read_image(const JsonbValue *value, Record *record)
{
	const Fields members = fields_of_object(json_read_object(value));
	const char *names[] = {"version", "row_version", "last_source", "updated_at", "fields", "stamps", "life"};
	const JsonbValue *member[lengthof(names)];
	JsonbContainer *life_object;
	Life	   *life = palloc(sizeof(Life));
	const char *time;

	MemSet(record, 0, sizeof(Record));
	for (int i = 0; i < (int) lengthof(names); i++)
	{
		member[i] = fields_value(&members, names[i]);
		if (member[i] == NULL)
			return false;
	}
	record->exists = true;
	record->last_source = json_read_string(member[2]);
	time = json_read_string(member[3]);
	record->has_updated_at = time != NULL;
	if (time != NULL)
		record->updated_at = DatumGetTimestampTz(DirectFunctionCall3(timestamptz_in, CStringGetDatum(time),
																	 ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1)));
	life_object = json_read_object(member[6]);
	if (life_object != NULL && life_read(life_object, life))
		record->life = life;
	return json_read_number(member[0], 0, CHANGE_MAX_VERSION, &record->version) &&
		json_read_number(member[1], 0, CHANGE_MAX_VERSION, &record->row_version) &&
		record->last_source != NULL &&
		json_read_object(member[4]) != NULL && json_read_object(member[5]) != NULL &&
		record_set_fields(record, json_of_value(member[4]), json_of_value(member[5])) == NULL;
}

static void
read_taken(Unmerging *u)
{
	JsonbContainer *taken = json_read_array(fields_value(&u->merge, "taken"));
	JsonbContainer *stands = json_read_object(fields_value(&u->merge, "stands"));
	int			n = taken == NULL ? 0 : JsonContainerSize(taken);

	if (stands != NULL)
		fields_from_container(stands, &u->stands);
	field_names_init(&u->taken, n);
	for (int i = 0; i < n; i++)
	{
		const char *name = json_read_string(getIthJsonbValueFromContainer(taken, i));

		/* an array that was edited by hand may have nulls */
		if (name != NULL)
			field_names_add(&u->taken, field_name(name));
	}
}

/* Can it be undone, now that nobody changes either record? */
static void
check_merge(Unmerging *u)
{
	int64		later;

	if (!read_merge(u, true))
		raise_unknown(u->id);
	require_name(u, u->keep_id);
	require_name(u, u->drop_id);
	if (json_read_true(fields_value(&u->merge, "undone")))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("merge " INT64_FORMAT " was undone already", u->id)));
	if (json_read_number(fields_value(&u->merge, "later"), 1, PG_INT64_MAX, &later))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("merge " INT64_FORMAT " cannot be undone before merge " INT64_FORMAT, u->id, later),
				 errhint_call("What was merged last is undone first: SELECT sync_unmerge(" INT64_FORMAT ").", later)));
	if (!read_image(fields_value(&u->merge, "keepBefore"), &u->keep_before) ||
		!read_image(fields_value(&u->merge, "dropBefore"), &u->drop_before) ||
		!json_read_number(fields_value(&u->merge, "rowVersion"), 1, CHANGE_MAX_VERSION, &u->row_version))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("of merge " INT64_FORMAT " it is not known any more what the records were before", u->id),
				 errhint("Give the keys that are another record's one of their own, with sync_split.")));
	if (!u->keep.exists || u->keep.deleted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("record \"%s\" of entity \"%s\", which stayed, is deleted",
						clip_string(u->keep_id, CLIP_QUOTE), u->entity->name),
				 errhint("Where a source brings it back, the merge can be undone.")));
	if (u->drop.exists && !u->drop.deleted)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("record \"%s\" of entity \"%s\", which went, lives again already",
						clip_string(u->drop_id, CLIP_QUOTE), u->entity->name)));
	read_taken(u);
}

/* ---------- the records ---------- */

/* In the order of their ids, as they were merged. */
static void
hold_both(Unmerging *u)
{
	Canonical  *canonical = u->call->canonical;
	const char *entity = u->entity->name;
	bool		keep_first = strcmp(u->keep_id, u->drop_id) < 0;

	if (keep_first)
		canonical_hold(canonical, entity, u->keep_id, &u->keep);
	canonical_hold(canonical, entity, u->drop_id, &u->drop);
	if (!keep_first)
		canonical_hold(canonical, entity, u->keep_id, &u->keep);
}

/* What was said since by the keys that move back, a member of values of each field. */
static Fields
said_since(const Unmerging *u, const char *member)
{
	char	   *text = owner_text("SELECT syncext.said_since(" INT64_FORMAT ")->%s", u->id,
								  quote_literal_cstr(member));

	return fields_of(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))));
}

/* Hubs that are joined with this one go by stamps alone. */
static void
stamp_fields(Unmerging *u)
{
	const Entity *entity = u->entity;
	const LifeStamp above = field_stamp_known(&u->keep);
	Record		gone = u->drop;

	if (!(entity->ladder & RUNG_FIELD))
		return;
	if (!gone.exists)
	{
		/* others may have the tombstone still */
		gone = u->drop_before;
		gone.deleted = true;
		field_impose(entity->ladder, entity->deletes, NULL, &u->drop_before, &gone);
	}
	field_impose(entity->ladder, entity->deletes, &above, &gone, &u->unmerge.revived);
	field_impose(entity->ladder, entity->deletes, NULL, &u->keep, &u->unmerge.after);
}

static void
decide(Unmerging *u)
{
	const Fields since = said_since(u, "values");
	const Fields since_by = said_since(u, "sources");
	const FieldRules no_rules = {0};
	int64		floor = Max(u->drop.exists ? u->drop.row_version : u->drop.floor,
							u->drop_before.row_version);

	u->unmerge = (RecordUnmerge)
	{
		.now = &u->keep,
		.keep = &u->keep_before,
		.drop = &u->drop_before,
		.taken = &u->taken,
		.row_version = u->row_version,
		.stands = &u->stands,
		.rules = u->entity->ladder & RUNG_FIELD ? &no_rules : &u->entity->field_rules,
		.since = &since,
		.since_by = &since_by,
		.shared = owner_true("SELECT EXISTS (SELECT FROM syncext.merge_key b "
							 "JOIN syncext.source_key k ON k.source = b.source AND k.source_id = b.source_id "
							 "WHERE b.merge = " INT64_FORMAT " AND k.entity = %s AND k.external_id = %s AND NOT k.duplicate AND k.merge IS NOT NULL)",
							 u->id, quote_literal_cstr(u->entity->name), quote_literal_cstr(u->keep_id))
	};
	/* sources have the other one at this version under the keys that move back */
	u->unmerge.revived.version = Max(u->keep.version, u->drop.exists ? u->drop.version : 0);
	u->unmerge.revived.row_version = Max(floor, u->keep.row_version) + 1;
	record_unmerge(&u->unmerge);
	stamp_fields(u);
}

static Jsonb *
log_detail(const Unmerging *u)
{
	JsonbParseState *state = json_begin_object();

	json_push_number(&state, "unmergeId", u->id);
	json_push_string(&state, "decidedBy", GetUserNameFromId(GetUserId(), false));
	if (u->note != NULL)
		json_push_string(&state, "note", u->note);
	return json_end_object(&state);
}

/* A record that is as after says is told to all, with what has changed. */
static void
note_written(const Unmerging *u, const Entity *entity, const char *id, const Record *before,
			 const Record *after, const Fields *changed)
{
	const Change change = {
		.entity = entity->name,
		.external_id = id,
		.source = after->last_source,
		.fields = *changed
	};
	const ApplyItem item = {.change = &change, .entity = entity};
	const Decision d = {.write = WRITE_WHOLE, .after = *after};
	LogEntry	entry = logged_decision(entity->name, id, after->last_source,
									   after, changed);

	entry.detail = log_detail(u);
	(void) change_log_append(u->call->log, &entry);
	apply_note(u->call, &item, before, &d);
}

/* The row is held, or wasn't there. */
static void
write_record(Unmerging *u, const char *id, const Record *before, const Record *after,
			 const FieldNames *changed)
{
	const Fields fields = record_fields(after, changed);
	const Change change = {.entity = u->entity->name, .external_id = id, .fields = fields};
	const Decision d = {.write = WRITE_WHOLE, .after = *after};
	Record		found;
	ChangeError error;

	if (!limits_record(&change, before, &d, &error))
		change_raise(&error);
	canonical_find(u->call->canonical, u->entity->name, id, &found);
	if (canonical_write(u->call->canonical, u->entity->name, id, after) != ROWS_DONE)
		elog(ERROR, "record \"%s\" of entity \"%s\" has moved while it was held", id, u->entity->name);
	note_written(u, u->entity, id, before, after, &fields);
}

/* ---------- children ---------- */

/* A record that was made to refer to the record that stayed. */
typedef struct MovedChild
{
	const Entity *entity;
	const char *external_id;
	FieldName	field;
	int64		row_version;	/* that it got by that */
} MovedChild;

/* False: somebody else has said since what it refers to. */
static bool
refer_back(const Unmerging *u, const MovedChild *child, const Record *record, Record *after)
{
	const RecordField *field = record->exists ? record_find(record, child->field) : NULL;
	const char *id = field == NULL ? NULL : referred_id(&field->field.value);
	Field		back = {.name = child->field};

	if (id == NULL || strcmp(id, u->keep_id) != 0 || field->stamp.row_version != child->row_version)
		return false;
	json_set_string(&back.value, u->drop_id, strlen(u->drop_id));
	*after = references_change(child->entity, record, &back, field->stamp.source);
	return true;
}

static void
return_child(Unmerging *u, const MovedChild *child)
{
	FieldNames	names;
	Record		record;
	Record		after;
	Fields		fields;

	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(u->call->canonical, child->entity->name, child->external_id, &record);
		if (!refer_back(u, child, &record, &after))
			return;
	} while (canonical_write(u->call->canonical, child->entity->name, child->external_id, &after) != ROWS_DONE);
	if (after.deleted)
		return;
	field_names_init(&names, 1);
	field_names_add(&names, child->field);
	fields = record_fields(&after, &names);
	note_written(u, child->entity, child->external_id, &record, &after, &fields);
	u->nchildren++;
	(void) owner_execute("SELECT syncext.unmerge_child(" INT64_FORMAT ", %s, %s, %s, " INT64_FORMAT ")",
						 u->id, quote_literal_cstr(child->entity->name),
						 quote_literal_cstr(child->external_id),
						 quote_literal_cstr(field_name_cstring(child->field)), after.row_version);
}

/* False: its entity was dropped, or the row says none. */
static bool
read_child(const Unmerging *u, const char *text, MovedChild *child)
{
	Jsonb	   *row = DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text)));
	const char *entity = json_read_string(getIthJsonbValueFromContainer(&row->root, 0));
	const char *field = json_read_string(getIthJsonbValueFromContainer(&row->root, 2));

	MemSet(child, 0, sizeof(MovedChild));
	child->external_id = json_read_string(getIthJsonbValueFromContainer(&row->root, 1));
	if (entity == NULL || field == NULL || child->external_id == NULL)
		return false;
	child->entity = registry_entity(u->call->registry, entity);
	child->field = field_name(field);
	(void) json_read_number(getIthJsonbValueFromContainer(&row->root, 3), 0, CHANGE_MAX_VERSION,
							&child->row_version);
	return child->entity != NULL;
}

/* In the order of records. */
static void
return_children(Unmerging *u)
{
	List	   *rows = owner_texts("SELECT jsonb_build_array(c.entity, c.external_id, c.field, c.row_version) FROM syncext.merge_child c "
								   "WHERE c.merge = " INT64_FORMAT " OR c.merge IN (SELECT a.merge FROM syncext.alias a WHERE a.entity = %s AND a.kept_id = %s) "
								   "ORDER BY c.entity, c.external_id, c.field",
								   u->id, quote_literal_cstr(u->entity->name),
								   quote_literal_cstr(u->drop_id));
	MemoryContext outer = CurrentMemoryContext;
	MemoryContext each = AllocSetContextCreate(outer, "syncext child", ALLOCSET_DEFAULT_SIZES);

	foreach_ptr(char, text, rows)
	{
		MovedChild	child;

		MemoryContextSwitchTo(each);
		if (read_child(u, text, &child))
			return_child(u, &child);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(each);
	}
	MemoryContextDelete(each);
}

/* What a source has said since by a key that moves back, its only one, refers to the other, too. */
static void
move_children(Unmerging *u)
{
	List	   *sources = owner_texts("SELECT DISTINCT k.source FROM syncext.merge_key k WHERE k.merge = " INT64_FORMAT
									  " AND NOT EXISTS (SELECT FROM syncext.source_key o WHERE o.source = k.source "
									  "AND o.entity = %s AND o.external_id = %s) ORDER BY 1",
									  u->id, quote_literal_cstr(u->entity->name), quote_literal_cstr(u->keep_id));

	foreach_ptr(char, source, sources)
		u->nchildren += key_children_move(u->call, source, u->entity->name, u->keep_id, u->drop_id);
}

/* ---------- the call ---------- */

static void
part(const Unmerging *u)
{
	MatchCandidates *candidates = mapped_open(&match_candidate_def, true);

	match_candidate_part(candidates, u->entity->name, "sync_unmerge", u->keep_id, u->drop_id, u->note);
	mapped_close(candidates);
}

/* Let what named the one record that there was name the other again. */
static void
return_names(Unmerging *u)
{
	u->nkeys = owner_number("SELECT syncext.unmerge_names(" INT64_FORMAT ", %s, %s, %s, " INT64_FORMAT ")",
							u->id, quote_literal_cstr(GetUserNameFromId(GetUserId(), false)),
							u->note == NULL ? "NULL" : quote_literal_cstr(u->note),
							merge_names_literal(&u->unmerge.returned),
							u->unmerge.after.row_version);
}

static Jsonb *
make_answer(const Unmerging *u)
{
	JsonbParseState *state = json_begin_object();

	json_push_string(&state, "externalId", u->drop_id);
	json_push_string(&state, "from", u->keep_id);
	json_push_number(&state, "keys", u->nkeys);
	field_names_push_member(&state, "returned", &u->unmerge.returned);
	field_names_push_member(&state, "kept", &u->unmerge.stays);
	json_push_number(&state, "children", u->nchildren);
	return json_end_object(&state);
}

Datum
sync_unmerge(PG_FUNCTION_ARGS)
{
	Unmerging	u = {.note = arg_text_or_null(fcinfo, 1)};
	int			nest_level;

	arg_refuse_null(fcinfo, 0, "merge_id");
	u.id = PG_GETARG_INT64(0);
	find_merge(&u, fcinfo->flinfo->fn_oid);
	nest_level = keys_alone_begin(sources_of_keys(&u));
	u.call = apply_begin(registry_get());
	u.entity = registry_entity_required(u.call->registry, u.entity->name);
	/* the walk that lets others refer to the record that stayed waits, or has ended */
	(void) owner_execute("SELECT FROM syncext.repoint p WHERE p.entity = %s FOR UPDATE",
						 quote_literal_cstr(u.entity->name));
	hold_both(&u);
	check_merge(&u);
	decide(&u);
	part(&u);
	u.settled = owner_true("SELECT m.settled_at IS NOT NULL FROM syncext.merge m WHERE m.id = " INT64_FORMAT, u.id);
	return_names(&u);
	write_record(&u, u.keep_id, &u.keep, &u.unmerge.after, &u.unmerge.returned);
	write_record(&u, u.drop_id, &u.drop, &u.unmerge.revived, NULL);
	return_children(&u);
	/* records that still refer to the one that went: targets got the other one's keys for it */
	if (!u.settled)
		key_children_tell(u.call, u.entity->name, u.drop_id, log_detail(&u));
	if (u.entity->is_parent)
		move_children(&u);
	/* records that refer to the one that stayed: targets got keys for it that are the other's again */
	if (u.entity->is_parent && u.unmerge.shared)
		key_children_tell(u.call, u.entity->name, u.keep_id, log_detail(&u));
	apply_end(u.call);
	keys_alone_end(nest_level);
	PG_RETURN_JSONB_P(make_answer(&u));
}
