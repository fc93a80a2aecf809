/*
 * merge.c
 *	  Two records become one: sync_merge.
 *
 * Who goes by keys of the entity ends first, and both records are held, in the order of
 * their ids, before anything of them is read: a source's change, a key that is being bound
 * and another merge come before it or after it, and find the one record then.  What names
 * the one that went is found by its alias from there on; maintenance changes what refers to
 * it (hub/repoint), and sources hear that it is gone when that is done.
 */
#include "postgres.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "errcodes.h"
#include "hub/apply_call.h"
#include "hub/apply_change.h"
#include "hub/apply_state.h"
#include "hub/keys_alone.h"
#include "hub/limits.h"
#include "hub/logged_change.h"
#include "hub/merge.h"
#include "hub/release.h"
#include "hub/resolve.h"
#include "hub/rule_function.h"
#include "model/clip.h"
#include "model/field_impose.h"
#include "model/json.h"
#include "model/record_merge.h"
#include "process/args.h"
#include "process/for_now.h"
#include "process/owner.h"
#include "process/subxact.h"
#include "storage/alias.h"
#include "storage/hints.h"
#include "storage/rights.h"
#include "storage/source_key.h"
#include "settings.h"

PG_FUNCTION_INFO_V1(sync_merge);

typedef struct Merging
{
	const Entity *entity;
	ApplyCall  *call;
	const char *keep_id;
	const char *drop_id;
	const char *note;
	Record		keep;			/* as they were */
	Record		drop;
	RecordMerge merge;
	int64		id;
} Merging;

/* ---------- what can be merged ---------- */

static void
check_call(const Entity *entity, const char *keep, const char *drop)
{
	keys_alone_check_entity(entity);
	if (strcmp(keep, drop) == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a record cannot be merged into itself")));
	/* a key that was bound since such a transaction began would not be seen */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("records are merged in transaction isolation level READ COMMITTED"),
				 errhint("Begin with BEGIN ISOLATION LEVEL READ COMMITTED.")));
}

static void
refuse_absent(const Merging *m, const char *id, const Record *record)
{
	const char *kept = alias_kept(m->entity->name, id);

	if (kept != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("record \"%s\" of entity \"%s\" was merged into another one",
						clip_string(id, CLIP_QUOTE), m->entity->name),
				 errhint("It is record \"%s\" now.", clip_string(kept, CLIP_QUOTE))));
	if (record->exists)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("record \"%s\" of entity \"%s\" is deleted", clip_string(id, CLIP_QUOTE),
						m->entity->name)));
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
			 errmsg("record \"%s\" of entity \"%s\" does not exist", clip_string(id, CLIP_QUOTE),
					m->entity->name)));
}

/*
 * What goes by keys of sources' own has looked them up, and is about to write: it has
 * to end first.
 */
static void
hold_keys(void *arg)
{
	const Registry *registry = registry_get();
	const char *entity = arg;

	for (int i = 0; i < registry->nsources; i++)
		if (source_has_own_keys(&registry->sources[i], entity))
			source_keys_hold_alone(registry->sources[i].name);
}

static void
hold_keys_soon(const char *entity)
{
	if (!subxact_try_lock(hold_keys, unconstify(char *, entity)))
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("records of entity \"%s\" can be merged when the transactions have ended that go by their sources' keys",
						entity),
				 errhint("Try again.")));
}

static void
hold(const Merging *m, const char *id, Record *record)
{
	do
	{
		CHECK_FOR_INTERRUPTS();
		canonical_find(m->call->canonical, m->entity->name, id, record);
		if (!record->exists || record->deleted)
			refuse_absent(m, id, record);
	} while (canonical_lock(m->call->canonical) != ROWS_DONE);
}

static void
hold_both(Merging *m)
{
	if (strcmp(m->keep_id, m->drop_id) < 0)
		hold(m, m->keep_id, &m->keep);
	hold(m, m->drop_id, &m->drop);
	if (strcmp(m->keep_id, m->drop_id) > 0)
		hold(m, m->keep_id, &m->keep);
}

/* ---------- the record that stays ---------- */

static int64
merge_rank(void *arg, const char *source, FieldName field)
{
	const Merging *m = arg;

	return registry_rank(registry_source(m->call->registry, source), m->entity->name, field);
}

static void
decide(Merging *m)
{
	RuleScope	rule_scope = {m->entity, merge_rank, m};
	const LadderRules rules = {
		.ladder = m->entity->ladder,
		.deletes = m->entity->deletes,
		.field_rules = &m->entity->field_rules,
		.rank = merge_rank,
		.rank_arg = m,
		.function = rule_function_decide,
		.function_arg = &rule_scope
	};

	m->merge.entity = m->entity->name;
	m->merge.keep_id = m->keep_id;
	m->merge.keep = &m->keep;
	m->merge.drop = &m->drop;
	m->merge.rules = &rules;
	record_merge(&m->merge);
	m->merge.rules = NULL;
}

static Change
change_of(const Merging *m, const char *id, const Record *record)
{
	const Change change = {
		.entity = m->entity->name,
		.external_id = id,
		.source = record->last_source
	};

	return change;
}

/* The row is held: it is as it was. */
static void
write_record(const Merging *m, const char *id, const Record *after)
{
	Record		record;

	canonical_find(m->call->canonical, m->entity->name, id, &record);
	if (canonical_write(m->call->canonical, m->entity->name, id, after) != ROWS_DONE)
		elog(ERROR, "record \"%s\" of entity \"%s\" has moved while it was held", id, m->entity->name);
}

/* First the one that goes: then the one that stays doesn't meet it. */
static Record
write_tombstone(const Merging *m)
{
	const Change change = change_of(m, m->drop_id, &m->drop);
	const ApplyItem item = {.change = &change, .entity = m->entity};
	Record		after = m->drop;

	after.deleted = true;
	after.version = m->merge.after.version;
	after.row_version = m->drop.row_version + 1;
	if (m->entity->ladder & RUNG_FIELD)
		field_impose(m->entity->ladder, m->entity->deletes, NULL, &m->drop, &after);
	write_record(m, m->drop_id, &after);
	apply_note_merged(m->call, &item, &m->drop, &after);
	return after;
}

static void
write_kept(const Merging *m)
{
	Change		change = change_of(m, m->keep_id, &m->keep);
	const ApplyItem item = {.change = &change, .entity = m->entity};
	Decision	d = {
		.write = WRITE_WHOLE,
		.after = m->merge.after,
		.changed = m->merge.taken
	};
	ChangeError error;

	if (!limits_record(&change, &m->keep, &d, &error))
		change_raise(&error);
	write_record(m, m->keep_id, &m->merge.after);
	apply_note(m->call, &item, &m->keep, &d);
}

/* ---------- what is noted ---------- */

char *
merge_names_literal(const FieldNames *names)
{
	JsonbParseState *state = json_begin_object();
	Jsonb	   *object;

	field_names_push_member(&state, "names", names);
	object = json_end_object(&state);
	return quote_literal_cstr(JsonbToCString(NULL, &object->root, VARSIZE(object)));
}

/* Before anything is written: the rows are kept as they are. */
static void
note_merge(Merging *m)
{
	m->id = owner_number("SELECT syncext.note_merge(%s, %s, %s, %s, %s, " INT64_FORMAT ", %s, %s, %s)",
						 quote_literal_cstr(m->entity->name), quote_literal_cstr(m->keep_id),
						 quote_literal_cstr(m->drop_id),
						 quote_literal_cstr(GetUserNameFromId(GetUserId(), false)),
						 m->note == NULL ? "NULL" : quote_literal_cstr(m->note),
						 m->merge.after.row_version, merge_names_literal(&m->merge.taken),
						 merge_names_literal(&m->merge.undecided),
						 m->entity->is_parent ? "false" : "true");
}

static int64
log_kept(const Merging *m)
{
	JsonbParseState *state = json_begin_object();
	const Fields taken = record_fields(&m->merge.after, &m->merge.taken);
	LogEntry	entry = logged_decision(m->entity->name, m->keep_id, m->merge.after.last_source,
									   &m->merge.after, &taken);

	/* not which record went: the last source may know neither of the two by its id */
	json_push_number(&state, "mergeId", m->id);
	json_push_string(&state, "decidedBy", GetUserNameFromId(GetUserId(), false));
	if (m->merge.undecided.n > 0)
		field_names_push_member(&state, "undecided", &m->merge.undecided);
	entry.detail = json_end_object(&state);
	return change_log_append(m->call->log, &entry);
}

static void
log_gone(const Merging *m, const Record *gone)
{
	const Change change = {
		.entity = m->entity->name,
		.external_id = m->keep_id,
		.source = gone->last_source,
		.alias = m->drop_id,
		.alias_merge = m->id
	};

	/* where others may refer to it, sources are told when these do no more */
	merge_log_gone(m->call->log, &change, gone, m->entity->is_parent ? AUDIENCE_NONE : AUDIENCE_ALL);
}

/* ---------- what is left undecided ---------- */

/* The undecided fields whose values of the record that goes a source vouches for. */
static FieldNames
undecided_of(const Merging *m, const char *source)
{
	FieldNames	names;

	field_names_init(&names, m->merge.undecided.n);
	for (int i = 0; i < m->merge.undecided.n; i++)
	{
		const RecordField *dropped = record_find(&m->drop, m->merge.undecided.name[i]);

		if (dropped != NULL && strcmp(dropped->stamp.source, source) == 0)
			field_names_add(&names, m->merge.undecided.name[i]);
	}
	return names;
}

static Jsonb *
base_detail(const Merging *m)
{
	JsonbParseState *state = json_begin_object();

	json_push_number(&state, "base", 0);
	/* hub/steward looks for it: when the merge is undone there is nothing left to decide */
	json_push_number(&state, "mergeId", m->id);
	return json_end_object(&state);
}

/*
 * A conflict that is decided for the record that stays, and keeps the other value: a
 * steward can open it again.
 */
static void
note_undecided(const Merging *m, const char *source, int64 seq)
{
	const FieldNames names = undecided_of(m, source);
	const Fields dropped = record_fields(&m->drop, &names);
	const Conflict conflict = {
		.entity = m->entity->name,
		.external_id = m->keep_id,
		.source = source,
		.version = m->merge.after.version,
		.row_version = m->merge.after.row_version,
		.incoming = fields_to_jsonb(&dropped),
		.incoming_detail = base_detail(m),
		.canonical = record_fields_jsonb(&m->merge.after),
		.canonical_source = m->merge.after.last_source,
		.reason = psprintf("merge " INT64_FORMAT ": neither a rule nor a rank decides between the two records",
						   m->id),
		.fields = names
	};
	int64		id = conflict_log_add(m->call->conflicts, &conflict);

	(void) conflict_log_close_one(m->call->conflicts, id, "resolved", "canonical", NULL, m->note, seq);
}

static void
note_all_undecided(const Merging *m, int64 seq)
{
	List	   *sources = NIL;

	for (int i = 0; i < m->merge.undecided.n; i++)
	{
		const RecordField *dropped = record_find(&m->drop, m->merge.undecided.name[i]);
		bool		noted = dropped == NULL;
		ListCell   *lc;

		foreach(lc, sources)
			noted |= dropped != NULL && strcmp(lfirst(lc), dropped->stamp.source) == 0;
		if (noted)
			continue;
		sources = lappend(sources, unconstify(char *, dropped->stamp.source));
		note_undecided(m, dropped->stamp.source, seq);
	}
}

/* ---------- merging ---------- */

int64
merge_records(const char *entity, const char *keep, const char *drop, const char *note)
{
	Merging		m = {.keep_id = keep, .drop_id = drop, .note = note};
	Record		gone;
	int			nest_level;

	m.entity = registry_entity_required(registry_get(), entity);
	check_call(m.entity, keep, drop);
	/* sources wait for us: so we don't wait for long */
	nest_level = bounded_wait_begin(setting_maintain_lock_timeout);
	hold_keys_soon(entity);
	m.call = apply_begin(registry_get());
	m.entity = registry_entity_required(m.call->registry, entity);
	hold_both(&m);
	decide(&m);
	note_merge(&m);
	(void) owner_execute("SELECT syncext.merge_names(" INT64_FORMAT ")", m.id);
	gone = write_tombstone(&m);
	write_kept(&m);
	note_all_undecided(&m, log_kept(&m));
	log_gone(&m, &gone);
	apply_end(m.call);
	bounded_wait_end(nest_level);
	return m.id;
}

Datum
sync_merge(PG_FUNCTION_ARGS)
{
	char	   *entity = arg_text(fcinfo, 0, "entity");
	char	   *keep = arg_text(fcinfo, 1, "keep");
	char	   *drop = arg_text(fcinfo, 2, "drop");

	if (!resolve_may_decide(fcinfo->flinfo->fn_oid, entity))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to merge records of entity \"%s\"",
						clip_string(entity, CLIP_QUOTE)),
				 errdetail("Or there is no such entity."),
				 errhint_call("Ask the owner of the extension: SELECT sync_grant(%s, 'steward', …).",
							  quote_literal_cstr(GetUserNameFromId(GetUserId(), false)))));
	PG_RETURN_INT64(merge_records(entity, keep, drop, arg_text_or_null(fcinfo, 3)));
}
