/*
 * own_keys.c
 *	  Documents whose source names records by keys of its own.
 *
 * Before any record is touched the keys of a call are looked up, in one order for all
 * calls, and the hub's ids of the records put into the changes: from there on all goes by
 * these.  A key that is new is bound there and then, to a new id: the row of the key
 * (storage/source_key) is what a backend that is sent the same key meanwhile waits for.  It
 * stays where the change waits for its parent or is refused, so that what refers to the
 * record by the key finds it whatever comes first.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/uuid.h"

#include "errcodes.h"
#include "hub/by_alias.h"
#include "hub/key_references.h"
#include "hub/match_link.h"
#include "hub/own_keys.h"
#include "hub/visibility.h"
#include "model/clip.h"
#include "process/owner.h"
#include "process/subxact.h"
#include "storage/alias.h"
#include "storage/canonical.h"
#include "storage/hints.h"
#include "storage/key_problem.h"
#include "storage/source_key.h"

/* What the keys of a call are looked up by. */
typedef struct Resolving
{
	bool		write;
	SourceKeys *keys;
	Canonical  *records;		/* NULL until one has to be looked at */
	MemoryContext scratch;		/* of one document: a record may be as large as thousands of these */
} Resolving;

bool
own_keys_check(const Source *source, const Change *change, ChangeError *error)
{
	if (change->source_id == NULL || source_has_own_keys(source, change->entity))
		return true;
	return change_error(error, ERRCODE_SYNC_BAD_DOCUMENT,
						call_text("Send the record's externalId; or an administrator lets the source have keys of its own: SELECT sync_own_keys(%s, %s).",
								  quote_literal_cstr(source->name),
								  quote_literal_cstr(change->entity)),
						"key \"sourceId\" was sent, but source \"%s\" has no keys of its own of entity \"%s\"",
						source->name, change->entity);
}

bool
own_keys_used(const Source *source, const Entity *entity)
{
	return source_has_own_keys(source, entity->name) || key_references_any(source, entity);
}

void
own_keys_arm(const char *name)
{
	const Source *source = registry_source_required(registry_get(), name);
	OwnerContext as_owner;
	bool		armed;

	if (source->keys_armed)
		return;
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_TRANSACTION_STATE),
				 errmsg("keys of source \"%s\" come into force in transaction isolation level READ COMMITTED",
						name),
				 errhint("Begin with BEGIN ISOLATION LEVEL READ COMMITTED once.")));
	SPI_connect();
	owner_enter(&as_owner, 0);
	armed = owner_true("SELECT syncext.arm_own_keys(%s)", quote_literal_cstr(name));
	owner_leave(&as_owner);
	SPI_finish();
	if (!armed)
		ereport(ERROR,
				(errcode(ERRCODE_LOCK_NOT_AVAILABLE),
				 errmsg("keys of source \"%s\" come into force when the transactions have ended that were changing records before",
						name),
				 errhint("Try again.")));
}

/* ---------- outcomes ---------- */

/* Answer without a record: whatever there is, the source isn't told of it. */
static void
answer_unapplied(KeyedChange *keyed, int status, Resolution resolution, const char *reason)
{
	Decision   *d = &keyed->answer.decision;

	keyed->outcome = KEY_ANSWERED;
	MemSet(&keyed->answer, 0, sizeof(Answer));
	keyed->answer.change = keyed->change;
	d->status = status;
	d->resolution = resolution;
	d->audience = AUDIENCE_NONE;
	d->lost_all = status == 409;
	d->reason = pstrdup(reason);
}

static void
answer_conflict(KeyedChange *keyed)
{
	answer_unapplied(keyed, 409, RESOLUTION_KEY_CONFLICT,
					 "sourceId cannot be bound to externalId: the key is another record's, or the record has another key of the source");
}

/* ---------- binding ---------- */

/* A key that is bound in a subtransaction: its record may get another meanwhile. */
typedef struct KeyBinding
{
	SourceKey	key;
	const char *alias;			/* it is said of this one, which was merged into its record; NULL: of that */
	bool		is_there;		/* it exists already: save, not add */
	bool		done;
} KeyBinding;

/*
 * A key that is said of a record which was merged into another one is what it would be, had
 * it been said before: a second one, where the source has a key of the other.  NULL: the
 * record had another key of the source.
 */
static char *
key_by_alias(const SourceKey *key, const char *alias, bool note)
{
	return owner_text("SELECT syncext.key_by_alias(%s, %s, %s, %s, %s)",
					  quote_literal_cstr(key->source), quote_literal_cstr(key->entity),
					  quote_literal_cstr(key->source_id), quote_literal_cstr(alias),
					  note ? "true" : "false");
}

static void
run_bind(void *arg)
{
	KeyBinding *binding = arg;
	SourceKeys *keys = mapped_open(&source_key_def, true);

	binding->done = binding->is_there ? source_key_save(keys, &binding->key) :
		source_key_add(keys, &binding->key);
	mapped_close(keys);
	if (binding->done && binding->alias != NULL)
		(void) key_by_alias(&binding->key, binding->alias, true);
}

/* Is it that?  An index of a DBA's would be violated again and again. */
static bool
is_taken(const ErrorData *error)
{
	return error->constraint_name != NULL &&
		(strcmp(error->constraint_name, "source_key_record") == 0 ||
		 strcmp(error->constraint_name, "source_key_pkey") == 0);
}

/*
 * Try to bind.  False: the key, or the record, has just got another binding, and both
 * are to be looked at again.
 */
static bool
try_bind(const SourceKey *key, const char *alias, bool is_there)
{
	KeyBinding	binding = {.key = *key, .alias = alias, .is_there = is_there};
	ErrorData  *error = subxact_try(run_bind, &binding);

	if (error == NULL)
		return binding.done;
	if (error->sqlerrcode != ERRCODE_UNIQUE_VIOLATION || !is_taken(error))
		ReThrowError(error);
	/* what isn't seen now won't be seen later either */
	if (IsolationUsesXactSnapshot())
		ereport(ERROR,
				(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
				 errmsg("could not serialize access due to concurrent update"),
				 errhint("Run the transaction again.")));
	FreeErrorData(error);
	return false;
}

typedef enum BindOutcome
{
	BIND_DONE,
	BIND_CONFLICT,
	BIND_AGAIN
} BindOutcome;

/* Bind a key to a record, of which it is said by an alias perhaps, as far as both are free. */
static BindOutcome
bind_once(SourceKeys *keys, const SourceKey *wanted, const char *alias, bool write)
{
	SourceKey	found = *wanted;
	SourceKey	current;
	bool		is_there = mapped_find(keys, &found);

	if (is_there && strcmp(found.external_id, wanted->external_id) != 0)
		return BIND_CONFLICT;
	if (is_there && (!found.duplicate || wanted->duplicate))
		return BIND_DONE;
	if (!wanted->duplicate &&
		source_key_current(keys, wanted->source, wanted->entity, wanted->external_id, &current))
		return BIND_CONFLICT;
	if (!write || try_bind(wanted, alias, is_there))
		return BIND_DONE;
	return BIND_AGAIN;
}

/* Bind a key to a record, or to the one that it was merged into. */
static bool
bind_key(SourceKeys *keys, const SourceKey *wanted, bool write)
{
	SourceKey	key = *wanted;
	Record		record;
	const char *kept = alias_read(key.entity, key.external_id, &record);
	/* a delete leaves nothing that a merge could be undone for */
	const char *alias = kept == NULL || wanted->duplicate ? NULL : wanted->external_id;
	BindOutcome outcome;

	if (kept != NULL)
		key.external_id = kept;
	do
	{
		char	   *second = alias == NULL ? NULL : key_by_alias(&key, alias, false);

		CHECK_FOR_INTERRUPTS();
		if (alias != NULL && second == NULL)
			return false;
		key.duplicate = wanted->duplicate || (second != NULL && strcmp(second, "t") == 0);
		outcome = bind_once(keys, &key, alias, write);
	} while (outcome == BIND_AGAIN);
	return outcome == BIND_DONE;
}

bool
own_keys_bind(const char *source, const char *entity, const char *source_id,
			  const char *external_id)
{
	const SourceKey wanted = {
		.source = source,
		.entity = entity,
		.source_id = source_id,
		.external_id = external_id
	};
	SourceKeys *keys;
	bool		bound;

	source_keys_hold(source);
	keys = mapped_open(&source_key_def, false);
	bound = bind_key(keys, &wanted, true);
	mapped_close(keys);
	return bound;
}

/* ---------- finding the record ---------- */

const char *
own_keys_new_id(void)
{
	Datum		uuid = OidFunctionCall0(F_GEN_RANDOM_UUID);

	return DatumGetCString(DirectFunctionCall1(uuid_out, uuid));
}

static SourceKey
key_of(const Change *change)
{
	const SourceKey key = {
		.source = change->source,
		.entity = change->entity,
		.source_id = change->source_id,
		.external_id = change->external_id
	};

	return key;
}

static Canonical *
records_table(Resolving *r)
{
	if (r->records == NULL)
		r->records = canonical_open(false);
	return r->records;
}

/* Is the source told what becomes of a change of the key's record? */
static bool
answers_of_record(Resolving *r, const ApplyItem *item, const SourceKey *key)
{
	Canonical  *records = records_table(r);
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	Record		record;
	bool		shown;

	canonical_find(records, key->entity, key->external_id, &record);
	shown = visibility_answers(item, &record, records);
	MemoryContextSwitchTo(old);
	return shown;
}

/*
 * A delete under a key that deliveries don't go to is of a row that the record's life
 * doesn't hang on: a second one of the source's, or one that was deleted before.
 */
static void
delete_duplicate(Resolving *r, KeyedChange *keyed, const SourceKey *key)
{
	const ApplyItem item = apply_item(registry_get(), keyed->change);
	Canonical  *records = records_table(r);
	bool		shown;

	if (!canonical_lives(records, key->entity, key->external_id))
		return;
	shown = answers_of_record(r, &item, key);
	if (r->write)
		(void) mapped_remove(r->keys, key);
	answer_unapplied(keyed, 200, RESOLUTION_NO_CHANGE,
					 "the key was not the one that deliveries go to: it is unbound, and the record stays");
	keyed->answer.hidden = !shown;
}

/*
 * A merge has brought the key to its record.  What was made on the other one has seen
 * nothing of this; and where deliveries go to another key of the source's, what the source has
 * under this one is what it had then.
 */
static void
take_merged(Resolving *r, KeyedChange *keyed, const SourceKey *key)
{
	Change	   *change = keyed->change;
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	SourceKey	current;
	Fields		image;
	int64		row_version;
	bool		known = merge_image(key->merge, &image, &row_version);

	MemoryContextSwitchTo(old);
	if (!known)
		return;
	if (change->has_base && change->base < row_version)
		change->base = 0;
	if (!key->duplicate || change->deleted)
		return;
	/* the record is gone, and may come back by this: its source has it as it was then */
	change->takes_over = !source_key_current(r->keys, key->source, key->entity, key->external_id, &current);
	if (change->takes_over)
		return;
	keyed->merge = key->merge;
	change->alias = key->source_id;
}

static void
take_found(Resolving *r, KeyedChange *keyed, const SourceKey *key)
{
	Change	   *change = keyed->change;

	change->external_id = key->external_id;
	if (key->merge != 0)
		take_merged(r, keyed, key);
	keyed->duplicate = key->duplicate;
	if (key->duplicate && change->deleted)
		delete_duplicate(r, keyed, key);
}

/* A key that the source has sent before in the same call, and that was only supposed. */
static bool
take_supposed(const Resolving *r, KeyedChange *keyed, const KeyedChange *before)
{
	if (r->write || before == NULL || before->outcome != KEY_RESOLVED ||
		before->change->source_id == NULL ||
		strcmp(before->change->source, keyed->change->source) != 0 ||
		strcmp(before->change->entity, keyed->change->entity) != 0 ||
		strcmp(before->change->source_id, keyed->change->source_id) != 0)
		return false;
	keyed->change->external_id = before->change->external_id;
	keyed->supposed = before->supposed;
	return true;
}

/*
 * It is one that is there, by a match rule: then what it says is said by a birth, that
 * knows nothing of what the record has.  False: it isn't.
 */
static bool
link_record(Resolving *r, KeyedChange *keyed)
{
	Change	   *change = keyed->change;
	const ApplyItem item = apply_item(registry_get(), change);
	Canonical  *records = records_table(r);
	const MatchRule *rule;
	MemoryContext old;
	SourceKey	key = key_of(change);

	if (item.entity->nmatches == 0 || change->has_if_match)
		return false;
	old = MemoryContextSwitchTo(r->scratch);
	key.external_id = match_link(&item, r->keys, records, &rule);
	MemoryContextSwitchTo(old);
	if (key.external_id == NULL)
		return false;
	key.external_id = pstrdup(key.external_id);
	if (!bind_key(r->keys, &key, r->write))
		return false;
	keyed->linked = true;
	keyed->added = r->write;
	change->external_id = key.external_id;
	change->matched_by = rule->name;
	if ((item.entity->ladder & RUNG_FIELD) == 0 && !change->has_base)
	{
		change->has_version = false;
		change->has_base = true;
		change->base = 0;
	}
	return true;
}

/* The document names its record by the source's key alone. */
static void
resolve_key(Resolving *r, KeyedChange *keyed, const KeyedChange *before)
{
	Change	   *change = keyed->change;
	SourceKey	key = key_of(change);

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (mapped_find(r->keys, &key))
		{
			take_found(r, keyed, &key);
			return;
		}
		if (take_supposed(r, keyed, before))
			return;
		if (change->deleted)
		{
			answer_unapplied(keyed, 200, RESOLUTION_NO_CHANGE,
							 "the source has no record of this key");
			return;
		}
		if (link_record(r, keyed))
			return;
		change->external_id = key.external_id = own_keys_new_id();
		keyed->supposed = !r->write;
		keyed->added = r->write && source_key_add(r->keys, &key);
		if (keyed->supposed || keyed->added)
			return;
	}
}

/* Is the record that is named the key's, or was it merged into that? */
static bool
is_record_of(const SourceKey *found, const SourceKey *named)
{
	const char *kept;
	Record		record;

	if (strcmp(found->external_id, named->external_id) == 0)
		return true;
	kept = alias_read(named->entity, named->external_id, &record);
	return kept != NULL && strcmp(found->external_id, kept) == 0;
}

/* It names it by both. */
static void
resolve_both(Resolving *r, KeyedChange *keyed)
{
	SourceKey	key = key_of(keyed->change);
	SourceKey	found = key;

	/* a record that goes needs no delivery, but late documents are to find it */
	key.duplicate = keyed->change->deleted;
	if (!mapped_find(r->keys, &found))
		keyed->added = bind_key(r->keys, &key, r->write);
	else if (is_record_of(&found, &key))
	{
		take_found(r, keyed, &found);
		return;
	}
	if (!keyed->added)
		answer_conflict(keyed);
}

/* Is the source shown the record that its change names? */
static bool
is_shown(Resolving *r, const Change *change)
{
	const Source *source = registry_source_required(registry_get(), change->source);
	Canonical  *records = records_table(r);
	MemoryContext old = MemoryContextSwitchTo(r->scratch);
	Record		record;
	bool		shown;

	canonical_find(records, change->entity, change->external_id, &record);
	shown = visibility_shows(source, change->entity, &record);
	MemoryContextSwitchTo(old);
	return shown;
}

/*
 * It names it by the hub's id alone.  A new record would be one that its source has no key
 * of, and would be told to make again.
 */
static void
resolve_external_id(Resolving *r, KeyedChange *keyed)
{
	const Change *change = keyed->change;
	SourceKey	key;

	if (change->deleted)
		return;
	/* of a record that the source isn't shown it learns no more than of none */
	if (canonical_exists(records_table(r), change->entity, change->external_id) &&
		(is_shown(r, change) || role_reads_records(change->entity) ||
		 source_key_last(r->keys, change->source, change->entity, change->external_id, &key)))
		return;
	keyed->outcome = KEY_REFUSED;
	(void) change_error(&keyed->error, ERRCODE_SYNC_BAD_DOCUMENT,
						"Send the source's own key of the record as \"sourceId\", beside \"externalId\" or in place of it.",
						"record \"%s\" of entity \"%s\" does not exist, and source \"%s\" makes records under keys of its own",
						clip_string(change->external_id, CLIP_QUOTE), change->entity, change->source);
}

/* The order of binding: of two calls with the same keys one waits for the other. */
static int
compare_keyed(const void *a, const void *b)
{
	const KeyedChange *ka = a;
	const KeyedChange *kb = b;
	const char *ida = ka->change->source_id ? ka->change->source_id : "";
	const char *idb = kb->change->source_id ? kb->change->source_id : "";
	int			cmp = strcmp(ka->change->source, kb->change->source);

	if (cmp == 0)
		cmp = strcmp(ka->change->entity, kb->change->entity);
	if (cmp == 0)
		cmp = strcmp(ida, idb);
	if (cmp != 0)
		return cmp;
	return ka->position < kb->position ? -1 : 1;
}

/* The changes of a call that is explained. */
typedef struct Supposition
{
	const KeyedChange *changes;
	int			n;
} Supposition;

/* What a change refers to by a key that is only supposed, as another change of the call has it. */
static const char *
find_supposed(void *arg, const SourceKey *key)
{
	const Supposition *supposed = arg;

	for (int i = 0; i < supposed->n; i++)
	{
		const Change *change = supposed->changes[i].change;

		if (supposed->changes[i].supposed && strcmp(change->source, key->source) == 0 &&
			strcmp(change->entity, key->entity) == 0 &&
			strcmp(change->source_id, key->source_id) == 0)
			return change->external_id;
	}
	return NULL;
}

/* Whatever the batch binds is bound by now. */
static void
read_references(Resolving *r, KeyedChange *changes, int n)
{
	Supposition supposed = {changes, n};

	for (int i = 0; i < n; i++)
	{
		const ApplyItem item = apply_item(registry_get(), changes[i].change);

		if (changes[i].outcome == KEY_RESOLVED && !changes[i].change->deleted)
			key_references_read(r->keys, &item, changes[i].change,
								r->write ? NULL : find_supposed, &supposed);
		if (changes[i].merge != 0)
			by_alias_leave_out(changes[i].merge, changes[i].change);
	}
}

static void
resolve_record(Resolving *r, KeyedChange *keyed, const KeyedChange *before)
{
	const Change *change = keyed->change;
	const Source *source = registry_source_required(registry_get(), change->source);

	keyed->outcome = KEY_RESOLVED;
	if (!source_has_own_keys(source, change->entity))
		return;
	if (change->source_id == NULL)
		resolve_external_id(r, keyed);
	else if (change->by_source_id)
		resolve_key(r, keyed, before);
	else
		resolve_both(r, keyed);
}

void
own_keys_resolve(KeyedChange *changes, int n, bool write)
{
	Resolving	r = {.write = write};

	qsort(changes, n, sizeof(KeyedChange), compare_keyed);
	for (int i = 0; i < n && write; i++)
	{
		const char *source = changes[i].change->source;

		if (i > 0 && strcmp(source, changes[i - 1].change->source) == 0)
			continue;
		source_keys_hold(source);
		own_keys_arm(source);
	}
	r.keys = mapped_open(&source_key_def, write);
	r.scratch = AllocSetContextCreate(CurrentMemoryContext, "syncext own keys", ALLOCSET_DEFAULT_SIZES);
	for (int i = 0; i < n; i++)
	{
		resolve_record(&r, &changes[i], i > 0 ? &changes[i - 1] : NULL);
		MemoryContextReset(r.scratch);
	}
	MemoryContextDelete(r.scratch);
	read_references(&r, changes, n);
	if (r.records != NULL)
		canonical_close(r.records);
	mapped_close(r.keys);
}

void
own_keys_note_conflicts(const KeyedChange *changes, int n)
{
	for (int i = 0; i < n; i++)
	{
		const Change *change = changes[i].change;
		const KeyProblem problem = {
			.source = change->source,
			.entity = change->entity,
			.kind = KEY_PROBLEM_CONFLICT,
			.source_id = change->source_id,
			.external_id = change->external_id
		};

		if (changes[i].outcome == KEY_ANSWERED &&
			changes[i].answer.decision.resolution == RESOLUTION_KEY_CONFLICT)
			key_problem_note(&problem);
	}
}

/* ---------- afterwards ---------- */

void
own_keys_end(const char *source, const char *entity, const char *external_id)
{
	SourceKeys *keys = mapped_open(&source_key_def, true);
	SourceKey	key;

	if (source_key_current(keys, source, entity, external_id, &key))
	{
		key.duplicate = true;
		key.gone_batch = 0;
		source_key_save(keys, &key);
	}
	mapped_close(keys);
}

/* Or what the hub refuses would claim a record for its source. */
static void
unlink_record(const Change *change)
{
	const SourceKey key = key_of(change);
	SourceKeys *keys = mapped_open(&source_key_def, true);

	(void) mapped_remove(keys, &key);
	mapped_close(keys);
}

bool
own_keys_settle(const KeyedChange *keyed, const Answer *answer)
{
	const Change *change = keyed->change;
	const Record *after = &answer->decision.after;
	bool		lost = answer->born && !keyed->added;

	if (answer->refused && keyed->linked)
	{
		unlink_record(change);
		return false;
	}
	if (answer->refused || !after->exists)
		return keyed->added;
	if (change->deleted && after->deleted)
		own_keys_end(change->source, change->entity, change->external_id);
	/* while its record was gone, another transaction may have ended the key or erased it */
	else if (change->source_id != NULL && !after->deleted && (keyed->duplicate || lost))
		(void) own_keys_bind(change->source, change->entity, change->source_id,
							 change->external_id);
	return keyed->added;
}
