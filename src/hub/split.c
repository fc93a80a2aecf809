/*
 * split.c
 *	  sync_split: one key of a source becomes a record of its own.
 *
 * Called from SQL, by stewards.  The new record has what the source last said by the key;
 * of the old one's values those go that nobody else has said, where that is sure.
 *
 * The source's keys are held alone (hub/keys_alone): whoever has looked one up has written its
 * record, and ended.
 */
#include "postgres.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/apply_call.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/key_children.h"
#include "hub/keys_alone.h"
#include "hub/logged_change.h"
#include "hub/own_keys.h"
#include "hub/release.h"
#include "hub/resolve.h"
#include "model/clip.h"
#include "model/json.h"
#include "model/json_read.h"
#include "process/args.h"
#include "process/owner.h"
#include "storage/hints.h"
#include "storage/match_candidate.h"
#include "storage/rights.h"
#include "storage/source_key.h"

PG_FUNCTION_INFO_V1(sync_split);

/* What nobody says any more was set by this; it is below every source that has a rank. */
#define SET_BY_SPLIT	"sync_split"

/* Newer than what the key's source has said, older than what others have said since. */
#define JUST_LATER		INT64CONST(1000)

typedef struct Split
{
	SourceKey	key;			/* external_id: of the record that it is a key of so far */
	const char *new_id;
	const char *note;
	bool		only_key;		/* the source's only one of the record */
	ApplyCall  *call;
	const Entity *entity;
	Record		before;			/* the old record */

	/* what the log has */
	Fields		words;			/* said by the key */
	Fields		others;			/* by everybody else, */
	Fields		sources;		/* and by whom */
	Fields		unclear;
	bool		whole;			/* it reaches back to the record's birth */

	/* what comes of it */
	Fields		said;			/* the new record */
	FieldNames	unsaid;			/* of the old one, the key's source isn't known to have said them */
	FieldNames	returned;		/* of the old one, as another source had said them */
	FieldNames	emptied;		/* nobody else had */
	FieldNames	kept;			/* it isn't sure: they stay */
	int			nchildren;
} Split;

/* ---------- rights and locks ---------- */

static void
check_rights(Oid function, const SourceKey *key)
{
	resolve_check_steward(function, key->entity, "split records");
	keys_alone_check_entity(registry_entity_required(registry_get(), key->entity));
	(void) registry_source_required(registry_get(), key->source);
}

static void
raise_unbound(const SourceKey *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
			 errmsg("source \"%s\" has no key \"%s\" of entity \"%s\"", key->source,
					clip_string(key->source_id, CLIP_QUOTE), key->entity),
			 errhint("Table syncext.source_key has all of them.")));
}

static void
raise_deleted(const SourceKey *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the record that source \"%s\" calls \"%s\" is deleted", key->source,
					clip_string(key->source_id, CLIP_QUOTE)),
			 errhint_call("There is nothing to be split: after SELECT sync_unbind(%s, %s, %s) the source's next document of the key is of a new record.",
						  quote_literal_cstr(key->source), quote_literal_cstr(key->entity),
						  quote_literal_cstr(key->source_id))));
}

/* Hold the key's record.  False: the key has just become another's, or the record was written. */
static bool
hold_once(Split *split, SourceKeys *keys)
{
	SourceKey	now = split->key;
	Record	   *record = &split->before;

	if (!mapped_find(keys, &split->key))
		raise_unbound(&split->key);
	canonical_find(split->call->canonical, split->key.entity, split->key.external_id, record);
	if (record->exists && canonical_lock(split->call->canonical) != ROWS_DONE)
		return false;
	/* who gives a record's keys to another holds it */
	if (!mapped_find(keys, &now) || strcmp(now.external_id, split->key.external_id) != 0)
		return false;
	if (!record->exists || record->deleted)
		raise_deleted(&split->key);
	return true;
}

static bool
has_other_key(const SourceKey *key, const char *source)
{
	return owner_true("SELECT EXISTS (SELECT FROM syncext.source_key k WHERE k.entity = %s AND k.external_id = %s "
					  "AND (k.source, k.source_id) <> (%s, %s) AND k.source = coalesce(%s, k.source))",
					  quote_literal_cstr(key->entity), quote_literal_cstr(key->external_id),
					  quote_literal_cstr(key->source), quote_literal_cstr(key->source_id),
					  source == NULL ? "NULL" : quote_literal_cstr(source));
}

/* Has nobody else had a word in the record? */
static bool
is_all_its_own(const Split *split)
{
	for (int i = 0; i < split->before.nfields; i++)
	{
		const Stamp *stamp = &split->before.fields[i].stamp;

		if (strcmp(stamp->source, split->key.source) != 0 ||
			strcmp(stamp->set_by, split->key.source) != 0)
			return false;
	}
	return true;
}

static void
hold_record(Split *split)
{
	SourceKeys *keys = mapped_open(&source_key_def, false);

	while (!hold_once(split, keys))
		CHECK_FOR_INTERRUPTS();
	mapped_close(keys);
	split->only_key = !has_other_key(&split->key, split->key.source);
	if (split->only_key && is_all_its_own(split) && !has_other_key(&split->key, NULL))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("key \"%s\" of source \"%s\" is the only one of its record, of which nobody else has said anything",
						clip_string(split->key.source_id, CLIP_QUOTE), split->key.source),
				 errhint("There is nothing to be split.")));
}

/* ---------- what was said ---------- */

static Fields
member_fields(const Fields *members, const char *name)
{
	return fields_of_object(json_read_object(fields_value(members, name)));
}

static void
read_words(Split *split)
{
	const SourceKey *key = &split->key;
	const char *entity = quote_literal_cstr(key->entity);
	const char *id = quote_literal_cstr(key->external_id);
	/* what was merged into the record has its history under the id that it had */
	char	   *text = owner_text("SELECT syncext.words_of(%s, ARRAY(SELECT %s UNION ALL SELECT a.external_id FROM syncext.alias a "
								  "WHERE a.entity = %s AND a.kept_id = %s), %s, %s, %s, %s)",
								  entity, id, entity, id,
								  quote_literal_cstr(key->source),
								  quote_literal_cstr(key->source_id),
								  split->only_key ? "true" : "false",
								  split->entity->ladder & RUNG_LATEST ? "true" : "false");
	Fields		members = fields_of(DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(text))));

	split->words = member_fields(&members, "said");
	split->others = member_fields(&members, "others");
	split->sources = member_fields(&members, "sources");
	split->unclear = member_fields(&members, "unclear");
	split->whole = json_read_true(fields_value(&members, "whole"));
}

static bool
is_set_by(const RecordField *field, const char *source)
{
	return strcmp(field->stamp.source, source) == 0 && strcmp(field->stamp.set_by, source) == 0;
}

/* What stands in the record, and the source has set or confirmed, it has said, too. */
static Fields
standing_words(const Split *split)
{
	Fields		fields = {0, palloc(sizeof(Field) * Max(split->before.nfields, 1))};

	for (int i = 0; i < split->before.nfields; i++)
	{
		const RecordField *field = &split->before.fields[i];

		if (split->only_key && (strcmp(field->stamp.set_by, split->key.source) == 0 ||
								strcmp(field->stamp.source, split->key.source) == 0))
			fields.field[fields.n++] = field->field;
	}
	return fields;
}

static void
find_said(Split *split)
{
	Fields		standing = standing_words(split);

	split->said = fields_union(&standing, &split->words);
	field_names_init(&split->unsaid, split->before.nfields);
	for (int i = 0; i < split->before.nfields; i++)
		if (fields_find(&split->said, split->before.fields[i].field.name) == NULL)
			field_names_add(&split->unsaid, split->before.fields[i].field.name);
}

/* ---------- the old record ---------- */

/* Is it sure that the value came by the key, and what others have said of the field? */
static bool
is_clear(const Split *split, const RecordField *field)
{
	FieldName	name = field->field.name;
	const Field *word = fields_find(&split->words, name);

	return fields_find(&split->unclear, name) == NULL &&
		(split->whole || fields_find(&split->others, name) != NULL) &&
		(split->only_key || (word != NULL && json_value_equal(&word->value, &field->field.value)));
}

/* What becomes of a field that the key's source alone vouches for: false, it stays. */
static bool
reconsider(Split *split, const RecordField *field, Field *value)
{
	const Field *other = fields_find(&split->others, field->field.name);

	*value = field->field;
	if (!is_clear(split, field))
	{
		field_names_add(&split->kept, field->field.name);
		return false;
	}
	if (other != NULL)
	{
		value->value = other->value;
		field_names_add(&split->returned, field->field.name);
		return true;
	}
	value->value.type = jbvNull;
	field_names_add(&split->emptied, field->field.name);
	return true;
}

static Fields
reconsider_fields(Split *split)
{
	const int	n = split->before.nfields;
	Fields		fields = {0, palloc(sizeof(Field) * Max(n, 1))};

	field_names_init(&split->returned, n);
	field_names_init(&split->emptied, n);
	field_names_init(&split->kept, n);
	for (int i = 0; i < n; i++)
	{
		const RecordField *field = &split->before.fields[i];

		if (field->field.value.type == jbvNull || !is_set_by(field, split->key.source))
			continue;
		if (reconsider(split, field, &fields.field[fields.n]))
			fields.n++;
	}
	return fields;
}

/* Who has said the value that the field has now. */
static const char *
who_said(const Split *split, FieldName name)
{
	const Field *source = fields_find(&split->sources, name);
	const char *said = source == NULL ? NULL : json_read_string(&source->value);

	return field_names_has(&split->emptied, name) || said == NULL ? SET_BY_SPLIT : said;
}

/* The last of the others whose word stands in the record. */
static const char *
last_other(const Split *split, const Record *after)
{
	const RecordField *last = NULL;

	for (int i = 0; i < after->nfields; i++)
	{
		const RecordField *field = &after->fields[i];

		if (strcmp(field->stamp.set_by, split->key.source) != 0 &&
			strcmp(field->stamp.set_by, SET_BY_SPLIT) != 0 &&
			(last == NULL || field->stamp.row_version > last->stamp.row_version))
			last = field;
	}
	return last != NULL ? last->stamp.set_by : split->before.last_source;
}

static void
set_stamps(const Split *split, const Fields *fields, Record *after)
{
	for (int i = 0; i < fields->n; i++)
	{
		FieldName	name = fields->field[i].name;
		const Stamp *was = &record_find(&split->before, name)->stamp;
		Stamp	   *stamp = &record_find(after, name)->stamp;

		stamp->source = stamp->set_by = who_said(split, name);
		stamp->has_updated_at = was->has_updated_at;
		stamp->updated_at = was->updated_at + JUST_LATER;
		if (after->has_updated_at && was->has_updated_at)
			after->updated_at = Max(after->updated_at, stamp->updated_at);
	}
	after->last_source = last_other(split, after);
}

static void
decide_old(Split *split, Change *change, Decision *d)
{
	*change = (Change)
	{
		.entity = split->key.entity,
		.external_id = split->key.external_id,
		.source = split->key.source,
		.fields = reconsider_fields(split)
	};
	ladder_impose(change, &split->before, NULL, NULL, d);
	set_stamps(split, &change->fields, &d->after);
}

static JsonbParseState *
begin_detail(const Split *split)
{
	JsonbParseState *state = json_begin_object();

	json_push_bool(&state, "split", true);
	json_push_string(&state, "decidedBy", GetUserNameFromId(GetUserId(), false));
	if (split->note != NULL)
		json_push_string(&state, "note", split->note);
	return state;
}

static int64
log_old(const Split *split, const Change *change, const Decision *d)
{
	JsonbParseState *state = begin_detail(split);
	LogEntry	entry = logged_decision(change->entity, change->external_id, change->source,
									   &d->after, &change->fields);

	field_names_push_member(&state, "returned", &split->returned);
	field_names_push_member(&state, "emptied", &split->emptied);
	entry.detail = json_end_object(&state);
	return change_log_append(split->call->log, &entry);
}

/* What the key's source has disputed is a matter of its own record now. */
static void
end_conflicts(const Split *split, int64 seq)
{
	List	   *pending = split->only_key ?
		conflict_log_pending(split->call->conflicts, split->key.entity, split->key.external_id,
							 split->key.source) : NIL;

	foreach_ptr(Conflict, conflict, pending)
		(void) conflict_log_close_one(split->call->conflicts, conflict->id, "dismissed", "dismiss",
									  NULL, "the source's key was made a record of its own", seq);
}

static void
write_old(Split *split)
{
	ApplyItem	item = {.entity = split->entity};
	Change		change;
	Decision	d;

	decide_old(split, &change, &d);
	item.change = &change;
	item.source = registry_source_required(split->call->registry, split->key.source);
	/* held, and found last */
	if (canonical_write(split->call->canonical, change.entity, change.external_id, &d.after) != ROWS_DONE)
		elog(ERROR, "record \"%s\" was changed while it was held", change.external_id);
	end_conflicts(split, log_old(split, &change, &d));
	apply_note(split->call, &item, &split->before, &d);
	/* what was delivered under the key is older than all that the new record will be */
	owner_execute("SELECT syncext.raise_floor(%s, " INT64_FORMAT ")",
				  quote_literal_cstr(change.entity), d.after.row_version);
}

/* ---------- the new record ---------- */

static const char *
sql_bool(bool value)
{
	return value ? "true" : "false";
}

/* Give the key, and what is remembered by it, to the new record. */
static void
move_key(Split *split)
{
	SourceKeys *keys = mapped_open(&source_key_def, true);
	SourceKey	moved = split->key;
	SourceKey	next;

	moved.external_id = split->new_id;
	moved.duplicate = false;
	(void) source_key_give(keys, &moved);
	if (!split->key.duplicate &&
		source_key_last(keys, moved.source, moved.entity, split->key.external_id, &next))
	{
		next.duplicate = false;
		(void) source_key_save(keys, &next);
	}
	mapped_close(keys);
	owner_execute("SELECT syncext.split_rest(%s, %s, %s, %s, %s, %s, %s)",
				  quote_literal_cstr(moved.entity), quote_literal_cstr(split->key.external_id),
				  quote_literal_cstr(moved.external_id), quote_literal_cstr(moved.source),
				  quote_literal_cstr(moved.source_id), sql_bool(split->only_key),
				  sql_bool(!split->key.duplicate));
}

/* Before the new record looks for others that are like it. */
static void
part(const Split *split)
{
	MatchCandidates *candidates = mapped_open(&match_candidate_def, true);

	match_candidate_part(candidates, split->key.entity, "sync_split", split->key.external_id,
						 split->new_id, split->note);
	mapped_close(candidates);
}

/*
 * Edits of the source's that are on the way were made on what it was delivered of the old
 * record.  The split has set nothing that they could contest: so the new record's values get
 * the versions and row versions that they had in the old one.
 */
static void
age_stamps(Split *split)
{
	Canonical  *canonical = split->call->canonical;
	Record		record;

	canonical_find(canonical, split->key.entity, split->new_id, &record);
	for (int i = 0; i < record.nfields; i++)
	{
		Stamp	   *stamp = &record.fields[i].stamp;
		const RecordField *old = record_find(&split->before, record.fields[i].field.name);

		stamp->version = old == NULL ? 0 : Min(old->stamp.version, record.version);
		stamp->row_version = old == NULL ? 1 : old->stamp.row_version;
	}
	if (canonical_write(canonical, split->key.entity, split->new_id, &record) != ROWS_DONE)
		elog(ERROR, "record \"%s\", which is new, was changed by another", split->new_id);
}

static void
write_new(Split *split)
{
	Change		change = {
		.entity = split->key.entity,
		.external_id = split->new_id,
		.source_id = split->key.source_id,
		.source = split->key.source,
		.has_version = true,
		.version = split->before.version,
		.has_updated_at = split->before.has_updated_at,
		.updated_at = split->before.updated_at,
		.verbatim = true,
		.split = true,
		.fields = split->said
	};
	Answer		answer;

	apply_own(split->call, &change, &answer);
	age_stamps(split);
}

/* ---------- children ---------- */

/*
 * What the source itself has said by the key is of the new record; all else that refers to
 * the old one was sent to the source by that key, if deliveries went to it.
 */
static void
settle_children(Split *split)
{
	const SourceKey *key = &split->key;
	JsonbParseState *state;

	/* the key by which another record was named isn't known where there are several */
	if (split->only_key)
		split->nchildren = key_children_move(split->call, key->source, key->entity,
											 key->external_id, split->new_id);
	if (key->duplicate)
		return;
	state = begin_detail(split);
	key_children_tell(split->call, key->entity, key->external_id, json_end_object(&state));
}

/* ---------- the call ---------- */

static Jsonb *
make_answer(const Split *split)
{
	JsonbParseState *state = json_begin_object();
	FieldNames	said;

	field_names_init(&said, split->said.n);
	for (int i = 0; i < split->said.n; i++)
		field_names_add(&said, split->said.field[i].name);
	json_push_string(&state, "externalId", split->new_id);
	field_names_push_member(&state, "said", &said);
	field_names_push_member(&state, "unsaid", &split->unsaid);
	field_names_push_member(&state, "returned", &split->returned);
	field_names_push_member(&state, "emptied", &split->emptied);
	field_names_push_member(&state, "kept", &split->kept);
	json_push_number(&state, "children", split->nchildren);
	return json_end_object(&state);
}

Datum
sync_split(PG_FUNCTION_ARGS)
{
	Split		split = {.note = arg_text_or_null(fcinfo, 3)};
	int			nest_level;

	split.key.entity = arg_text(fcinfo, 0, "entity");
	split.key.source = arg_text(fcinfo, 1, "source");
	split.key.source_id = arg_text(fcinfo, 2, "source_id");
	check_rights(fcinfo->flinfo->fn_oid, &split.key);
	nest_level = keys_alone_begin(list_make1(unconstify(char *, split.key.source)));
	split.call = apply_begin(registry_get());
	split.entity = registry_entity_required(split.call->registry, split.key.entity);
	hold_record(&split);
	read_words(&split);
	find_said(&split);
	split.new_id = own_keys_new_id();
	part(&split);
	move_key(&split);
	write_old(&split);
	write_new(&split);
	settle_children(&split);
	apply_end(split.call);
	keys_alone_end(nest_level);
	PG_RETURN_JSONB_P(make_answer(&split));
}
