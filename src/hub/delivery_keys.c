/*
 * delivery_keys.c
 *	  The own keys of a target in what it is delivered, and in what it acknowledges.
 *
 * That a target was told of a record's end is noted at the key when the batch is served,
 * and counts when it is acknowledged: until then the target has what the key names.
 */
#include "postgres.h"

#include "miscadmin.h"
#include "utils/builtins.h"

#include "compat.h"
#include "errcodes.h"
#include "hub/batch_retry.h"
#include "hub/delivery_keys.h"
#include "hub/key_references.h"
#include "hub/own_keys.h"
#include "hub/release.h"
#include "hub/subscription_filter.h"
#include "model/clip.h"
#include "model/json_read.h"
#include "storage/alias.h"
#include "storage/hints.h"
#include "storage/key_problem.h"
#include "storage/record_set.h"
#include "storage/source_key.h"

struct DeliveryKeys
{
	const Source *target;
	int64		batch;
	SourceKeys *keys;
	SourceKeys *writing;		/* NULL until one is to be changed */
	bool		to_table;		/* which sees to its keys itself when it is written to */
	List	   *unsaid;			/* of char *: entities, a record of which was noted */
	RecordSet  *served;			/* of a batch that is served again, the records whose key it names */
};

/* ---------- serving ---------- */

/* A key that another transaction is changing stays as that leaves it. */
static void
note_gone(DeliveryKeys *keys, SourceKey *key, bool gone)
{
	if (keys->writing == NULL)
		keys->writing = mapped_open(&source_key_def, true);
	key->gone_batch = gone ? keys->batch : 0;
	source_key_try_save(keys->writing, key);
}

DeliveryKeys *
delivery_keys_begin(const Source *target, int64 batch, bool again, bool to_table)
{
	DeliveryKeys *keys;

	if (target->nkeyed == 0)
		return NULL;
	keys = palloc0(sizeof(DeliveryKeys));
	keys->target = target;
	keys->batch = batch;
	keys->to_table = to_table;
	keys->keys = mapped_open(&source_key_def, false);
	if (again && !to_table)
		keys->served = record_set_create(CurrentMemoryContext, 64);
	return keys;
}

/*
 * A key may be another record's since an earlier answer to the same pull told that what it
 * names is gone.  This answer doesn't: so its acknowledgement doesn't say so, either.
 */
static void
unmark_unserved(DeliveryKeys *keys)
{
	List	   *marked = source_keys_gone_in(keys->keys, keys->target->name, keys->batch);

	foreach_ptr(SourceKey, key, marked)
	{
		if (record_set_find_named(keys->served, key->entity, key->external_id) == NULL)
			note_gone(keys, key, false);
	}
	record_set_free(keys->served);
}

void
delivery_keys_end(DeliveryKeys *keys)
{
	if (keys == NULL)
		return;
	if (keys->served != NULL)
		unmark_unserved(keys);
	if (keys->writing != NULL)
		mapped_close(keys->writing);
	mapped_close(keys->keys);
	pfree(keys);
}

/*
 * The target is to say its key of the record.  Noted is one that it hasn't said for the
 * longest time.
 */
static void
note_unsaid(DeliveryKeys *keys, const char *entity, const char *external_id)
{
	KeyProblem	problem = {
		.source = keys->target->name,
		.entity = entity,
		.kind = KEY_PROBLEM_UNSAID
	};
	SourceKey	said;

	foreach_ptr(char, noted, keys->unsaid)
		if (strcmp(noted, entity) == 0)
			return;
	keys->unsaid = lappend(keys->unsaid, unconstify(char *, entity));
	if (key_problem_find(&problem) &&
		!source_key_current(keys->keys, keys->target->name, entity, problem.external_id, &said))
		return;
	problem.source_id = NULL;
	problem.external_id = external_id;
	key_problem_note(&problem);
}

const char *
delivery_keys_find(DeliveryKeys *keys, const char *entity, const char *external_id, bool gone)
{
	const char *target;
	SourceKey	key;
	bool		found;

	if (keys == NULL || keys->to_table || !source_has_own_keys(keys->target, entity))
		return NULL;
	target = keys->target->name;
	found = gone ? source_key_last(keys->keys, target, entity, external_id, &key) :
		source_key_current(keys->keys, target, entity, external_id, &key);
	if (!found && !gone)
		note_unsaid(keys, entity, external_id);
	if (!found)
		return NULL;
	if (keys->served != NULL)
		(void) record_set_add_named(keys->served, entity, external_id);
	if (!key.duplicate && (gone ? key.gone_batch != keys->batch : key.gone_batch != 0))
		note_gone(keys, &key, gone);
	return key.source_id;
}

bool
delivery_keys_knows(DeliveryKeys *keys, const char *entity, const char *external_id)
{
	SourceKey	key;

	return keys != NULL && source_has_own_keys(keys->target, entity) &&
		source_key_last(keys->keys, keys->target->name, entity, external_id, &key);
}

bool
delivery_keys_fields(DeliveryKeys *keys, Feed *feed, BatchRecord *record, Jsonb **fields)
{
	const RecordKey key = {record->entity, record->external_id};
	RecordKey	parent;
	Jsonb	   *written;

	if (keys == NULL || registry_entity(registry_get(), record->entity) == NULL)
		return true;
	written = key_references_write(keys->keys, keys->target, &key, *fields, &parent);
	if (written == NULL)
		batch_put_off(feed, record, &parent);
	else if (!keys->to_table)
		*fields = written;
	return written != NULL;
}

/* ---------- acknowledging ---------- */

static const BatchFailure *
find_failure(const Acknowledgement *ack, const char *entity, const char *external_id)
{
	for (int i = 0; i < ack->nfailures; i++)
		if (strcmp(ack->failures[i].entity, entity) == 0 &&
			strcmp(ack->failures[i].external_id, external_id) == 0)
			return &ack->failures[i];
	return NULL;
}

/* Could the target not delete what the key named when it was told?  That may be merged by now. */
static bool
has_failed(const Acknowledgement *ack, const SourceKey *key)
{
	if (find_failure(ack, key->entity, key->external_id) != NULL)
		return true;
	for (int i = 0; i < ack->nfailures && key->merge != 0; i++)
	{
		const BatchFailure *failure = &ack->failures[i];
		const char *kept = strcmp(failure->entity, key->entity) != 0 ? NULL :
			alias_kept(failure->entity, failure->external_id);

		if (kept != NULL && strcmp(kept, key->external_id) == 0)
			return true;
	}
	return false;
}

void
delivery_keys_acknowledge(const Source *target, int64 batch, const Acknowledgement *ack)
{
	SourceKeys *keys;
	List	   *gone;

	if (target->nkeyed == 0)
		return;
	keys = mapped_open(&source_key_def, true);
	gone = source_keys_gone_in(keys, target->name, batch);
	foreach_ptr(SourceKey, key, gone)
	{
		if (has_failed(ack, key))
			continue;
		key->duplicate = true;
		key->gone_batch = 0;
		source_key_try_save(keys, key);
	}
	mapped_close(keys);
}

/* ---------- keys that come with an acknowledgement ---------- */

/* A key as the target says it. */
typedef struct SaidKey
{
	const char *entity;
	const char *external_id;
	const char *source_id;
} SaidKey;

static void
raise_bad_keys(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
			 errmsg("%s", what),
			 errhint("\"keys\" is an array of {\"entity\": …, \"externalId\": …, \"sourceId\": …}.")));
}

static const char *
said_string(const Field *field)
{
	if (field->value.type != jbvString || field->value.val.string.len == 0 ||
		field->value.val.string.len > CHANGE_MAX_EXTERNAL_ID)
		raise_bad_keys(psprintf("\"%s\" in \"keys\" must be a string of 1 to %d bytes",
								field_name_cstring(field->name), CHANGE_MAX_EXTERNAL_ID));
	return json_read_string(&field->value);
}

static SaidKey
parse_key(const JsonbValue *element)
{
	SaidKey		key = {.entity = "record"};
	Fields		members;

	if (element->type != jbvBinary || !JsonContainerIsObject(element->val.binary.data))
		raise_bad_keys("an element of \"keys\" is not an object");
	fields_from_container(element->val.binary.data, &members);
	for (int i = 0; i < members.n; i++)
	{
		const Field *member = &members.field[i];
		char	   *name = field_name_cstring(member->name);

		if (strcmp(name, "entity") == 0)
			key.entity = said_string(member);
		else if (strcmp(name, "externalId") == 0)
			key.external_id = said_string(member);
		else if (strcmp(name, "sourceId") == 0)
			key.source_id = said_string(member);
		else
			raise_bad_keys(psprintf("unknown key \"%s\" in \"keys\"", clip_string(name, CLIP_QUOTE)));
	}
	if (key.external_id == NULL || key.source_id == NULL)
		raise_bad_keys("an element of \"keys\" lacks \"externalId\" or \"sourceId\"");
	return key;
}

/* The order of binding is one for all. */
static int
compare_said(const void *a, const void *b)
{
	const SaidKey *ka = a;
	const SaidKey *kb = b;
	int			cmp = strcmp(ka->entity, kb->entity);

	return cmp != 0 ? cmp : strcmp(ka->source_id, kb->source_id);
}

static SaidKey *
parse_keys(Jsonb *keys, int *n)
{
	SaidKey    *said;

	if (!JB_ROOT_IS_ARRAY(keys) || JB_ROOT_IS_SCALAR(keys))
		raise_bad_keys("\"keys\" is not an array");
	*n = JB_ROOT_COUNT(keys);
	batch_check_named(*n, "keys");
	said = palloc(sizeof(SaidKey) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
		said[i] = parse_key(getIthJsonbValueFromContainer(&keys->root, i));
	qsort(said, *n, sizeof(SaidKey), compare_said);
	return said;
}

/* A key is of a record that was served: of others the target doesn't learn if they are there. */
static void
check_served(Feed *feed, const SaidKey *said)
{
	const BatchFailure record = {.entity = said->entity, .external_id = said->external_id};

	if (!source_has_own_keys(feed->target, said->entity))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("source \"%s\" has no keys of its own of entity \"%s\"",
						feed->target->name, clip_string(said->entity, CLIP_QUOTE)),
				 errhint_call("An administrator gives it some: SELECT sync_own_keys(%s, %s).",
						 quote_literal_cstr(feed->target->name),
						 quote_literal_cstr(clip_string(said->entity, CLIP_QUOTE)))));
	if (!batch_has(feed, said->entity, said->external_id))
		batch_refuse_failure(feed, &record);
	routing_check(feed, &record, 1);
}

/* Room for a failure of each of the keys. */
static void
make_room(Acknowledgement *ack, int nkeys)
{
	BatchFailure *failures = palloc_extended(sizeof(BatchFailure) * (Size) (ack->nfailures + nkeys),
											 MCXT_ALLOC_HUGE);

	if (ack->nfailures > 0)
		memcpy(failures, ack->failures, sizeof(BatchFailure) * ack->nfailures);
	ack->failures = failures;
}

static void
add_failure(Acknowledgement *ack, const SaidKey *said)
{
	ack->failures[ack->nfailures++] = (BatchFailure)
	{
		.entity = said->entity,
		.external_id = said->external_id,
		.error = psprintf("sourceId \"%s\" cannot be bound to the record: the key is another record's, or the record has another key of the source",
						  clip_string(said->source_id, CLIP_QUOTE))
	};
}

void
delivery_keys_bind(Feed *feed, Acknowledgement *ack)
{
	int			n = 0;
	SaidKey    *said = ack->keys == NULL ? NULL : parse_keys(ack->keys, &n);

	if (n == 0)
		return;
	make_room(ack, n);
	batch_collect(feed);
	for (int i = 0; i < n; i++)
	{
		CHECK_FOR_INTERRUPTS();
		check_served(feed, &said[i]);
		if (find_failure(ack, said[i].entity, said[i].external_id) != NULL)
			continue;
		if (own_keys_bind(feed->target->name, said[i].entity, said[i].source_id,
						  said[i].external_id))
			ack->bound = lappend(ack->bound, &said[i]);
		else
			add_failure(ack, &said[i]);
	}
}

void
delivery_keys_send_again(Feed *feed, const Acknowledgement *ack)
{
	if (ack->bound != NIL || ack->named)
		batch_recall_put_off(feed);
	foreach_ptr(SaidKey, said, ack->bound)
	{
		const RecordKey record = {said->entity, said->external_id};

		if (key_references_itself(feed->target, &record))
			batch_send_again(feed, &record);
	}
}

void
delivery_keys_release(const Acknowledgement *ack)
{
	foreach_ptr(SaidKey, said, ack->bound)
	{
		const Entity *entity = registry_entity(registry_get(), said->entity);

		if (entity != NULL && entity->is_parent)
			release_waiting(said->entity, said->source_id);
	}
}
