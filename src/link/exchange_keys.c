/*
 * exchange_keys.c
 *	  Keys that the tables of a link draw, and the hub.
 *
 * The crosswalk is here, and nothing that goes over the link depends on what the hub knows of
 * it.  It is told, so that records are found by the keys there, and so that a database which
 * went back in time doesn't draw keys again that it has drawn before.  A key is said as it is
 * now, as often as need be: its row of syncext.source_key has whether the hub was told.
 */
#include "postgres.h"

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/latch.h"
#include "utils/builtins.h"
#include "utils/json.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"

#include "link/exchange_keys.h"
#include "link/wire.h"
#include "local/spoke_sequences.h"
#include "process/durability.h"
#include "process/owner.h"
#include "storage/binding.h"
#include "storage/source_key.h"

/* So many keys go in a call. */
#define KEYS_BATCH	1000
/* How often sequences that other sessions are drawing from are tried, and the wait in between. */
#define MAX_TRIES	50
#define WAIT_MS		20
#define GREATEST_BYTES	(1024 * 1024)

void
keys_begin(Exchange *x, bool relay)
{
	x->says_keys = false;
	foreach_ptr(const Binding, binding, binding_list(x->source, NULL))
	{
		x->says_keys |= binding->own_keys && !relay;
	}
	/* a new database may stand in the place of one that had drawn keys before */
	x->asks_keys = x->says_keys &&
		owner_true("SELECT NOT EXISTS (SELECT FROM syncext.source_key WHERE source = %s AND NOT unsaid)",
				   quote_literal_cstr(x->source));
}

/* ---------- saying ---------- */

/* A key that the wire can't carry is left out: the hub has never heard of its record either. */
static void
add_key(StringInfo said, const SourceKey *key)
{
	const char *why;
	const char *entity = wire_out(key->entity, &why);
	const char *source_id = wire_out(key->source_id, &why);
	const char *external_id = wire_out(key->external_id, &why);

	if (entity == NULL || source_id == NULL || external_id == NULL)
		return;
	appendStringInfoString(said, said->len > 1 ? ", {\"entity\": " : "{\"entity\": ");
	escape_json(said, entity);
	appendStringInfoString(said, ", \"sourceId\": ");
	escape_json(said, source_id);
	appendStringInfoString(said, ", \"externalId\": ");
	escape_json(said, external_id);
	appendStringInfo(said, ", \"ended\": %s}", key->duplicate ? "true" : "false");
}

/* Take the next keys that the hub wasn't told; in a step. */
static void
take_unsaid(Exchange *x)
{
	MemoryContext old = MemoryContextSwitchTo(x->unsaid_context);
	SourceKeys *keys = mapped_open(&source_key_def, false);
	StringInfoData said;

	x->unsaid = source_keys_unsaid(keys, x->source, KEYS_BATCH);
	mapped_close(keys);
	initStringInfo(&said);
	appendStringInfoChar(&said, '[');
	foreach_ptr(const SourceKey, key, x->unsaid)
	{
		add_key(&said, key);
	}
	appendStringInfoChar(&said, ']');
	x->unsaid_text = said.data;
	MemoryContextSwitchTo(old);
}

static void
note_said(Exchange *x)
{
	SourceKeys *keys = mapped_open(&source_key_def, true);

	foreach_ptr(const SourceKey, key, x->unsaid)
	{
		source_key_note_said(keys, key);
	}
	mapped_close(keys);
}

static void
send_keys(Exchange *x)
{
	static const ReplyShape told = {"syncext.hub_keys", 1, 1, 1, 100};
	const char *params[2] = {x->upstream->wire_source, x->unsaid_text};

	/* a crash here must not lose what the hub will know */
	durability_wait();
	reply_free(remote_call(&x->upstream->remote,
						   "SELECT syncext.hub_keys($1::pg_catalog.text, $2::pg_catalog.jsonb)", 2, params,
						   &told, upstream_deadline()));
}

void
keys_say(Exchange *x)
{
	bool		more = x->says_keys;

	x->unsaid_context = AllocSetContextCreate(x->context, "syncext keys", ALLOCSET_DEFAULT_SIZES);
	/* those that others are changing stay unsaid, and would come for ever */
	for (int i = 0; more && i < MAX_BATCHES; i++)
	{
		CHECK_FOR_INTERRUPTS();
		MemoryContextReset(x->unsaid_context);
		exchange_step(x, take_unsaid);
		more = list_length(x->unsaid) == KEYS_BATCH;
		if (x->unsaid == NIL)
			break;
		send_keys(x);
		exchange_step(x, note_said);
	}
	MemoryContextDelete(x->unsaid_context);
	x->unsaid = NIL;
}

/* ---------- sequences ---------- */

/* Raise what can be raised now; in a step. */
static void
raise_sequences(Exchange *x)
{
	x->asks_keys = !spoke_sequences_raise(x->source, x->greatest);
}

static void
ask_greatest(Exchange *x)
{
	static const ReplyShape shape = {"syncext.hub_greatest_keys", 1, 1, 1, GREATEST_BYTES};
	const char *source = x->upstream->wire_source;
	Reply	   *reply = remote_call(&x->upstream->remote,
									"SELECT syncext.hub_greatest_keys($1::pg_catalog.text)", 1, &source,
									&shape, upstream_deadline());

	x->greatest = reply_jsonb(reply, 0, 0);
	if (!JB_ROOT_IS_OBJECT(x->greatest))
		reply_violation(reply->link, shape.call, "is no JSON object");
	reply_free(reply);
}

/* One that stays in use is left: what is drawn twice is a record of its own nevertheless. */
void
keys_pass_over(Exchange *x)
{
	if (!x->asks_keys)
		return;
	ask_greatest(x);
	for (int i = 0; x->asks_keys && i < MAX_TRIES; i++)
	{
		CHECK_FOR_INTERRUPTS();
		exchange_step(x, raise_sequences);
		if (!x->asks_keys)
			break;
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH, WAIT_MS,
						 PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
	}
	pfree(x->greatest);
	x->greatest = NULL;
}
