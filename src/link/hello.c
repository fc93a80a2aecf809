/*
 * hello.c
 *	  The spoke's side of a link being opened: is it our hub, may we be who we are,
 *	  and has either side gone back in time?  hub/hello is the other side.
 *
 * Where the identities leave doubt, the link stops, and the error names the two calls
 * that an administrator can choose from.
 */
#include "postgres.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "hub/incarnation.h"
#include "compat.h"
#include "hub/self.h"
#include "link/hello.h"
#include "link/reply.h"
#include "model/fields.h"
#include "model/json.h"
#include "model/json_read.h"
#include "process/owner.h"
#include "storage/binding.h"
#include "storage/cursor.h"
#include "storage/hints.h"
#include "storage/link.h"
#include "storage/registry.h"

static const char *const hello_call = "syncext.hub_hello";

/* ---------- what we say ---------- */

static int64
last_batch(const char *source)
{
	CursorTable *cursors = mapped_open(&cursor_def, false);
	Cursor		cursor;
	int64		batch = 0;

	if (cursor_find(cursors, source, 0, &cursor))
		batch = cursor.batch;
	mapped_close(cursors);
	return batch;
}

void
greeting_prepare(Greeting *greeting, const char *link, const char *source)
{
	MemSet(greeting, 0, sizeof(Greeting));
	self_identity(&greeting->self);
	greeting->linked = peer_find(link, &greeting->peer);
	greeting->sent = last_batch(source);
}

const char *
greeting_say(const Greeting *greeting, bool claim, bool relay, int protocol, const char *tables)
{
	const Peer *peer = &greeting->peer;
	JsonbParseState *state = json_begin_object();
	Jsonb	   *said;

	json_push_number(&state, "protocol", protocol);
	json_push_bool(&state, "claim", claim);
	json_push_bool(&state, "relay", relay);
	json_push_jsonb(&state, "identity", identity_to_jsonb(&greeting->self));
	if (peer->identity != NULL)
		json_push_jsonb(&state, "hub", peer->identity);
	json_push_number(&state, "sent", greeting->sent);
	json_push_number(&state, "answered", peer->answered);
	json_push_number(&state, "pulled", peer->pulled);
	if (tables != NULL)
		json_push_jsonb(&state, "tables",
						DatumGetJsonbP(DirectFunctionCall1(jsonb_in, CStringGetDatum(tables))));
	said = json_end_object(&state);
	return JsonbToCString(NULL, &said->root, VARSIZE(said));
}

/* ---------- what the hub says ---------- */

static bool
heard_bool(const char *link, const Fields *said, const char *key)
{
	const JsonbValue *value = fields_value(said, key);

	if (value == NULL || value->type != jbvBool)
		reply_violation(link, hello_call, "does not say \"%s\"", key);
	return value->val.boolean;
}

static int64
heard_number(const char *link, const Fields *said, const char *key)
{
	int64		number;

	if (!json_read_number(fields_value(said, key), 0, PG_INT64_MAX, &number))
		reply_violation(link, hello_call, "has no number \"%s\"", key);
	return number;
}

static const char *
heard_word(const char *link, const Fields *said, const char *key)
{
	const JsonbValue *value = fields_value(said, key);

	if (value == NULL || value->type != jbvString || value->val.string.len > 20)
		reply_violation(link, hello_call, "has no word \"%s\"", key);
	return json_read_string(value);
}

static void
heard_identity(const char *link, const Fields *said, Identity *identity, Jsonb **jsonb)
{
	const JsonbValue *value = fields_value(said, "identity");

	if (value == NULL)
		reply_violation(link, hello_call, "has no \"identity\"");
	*jsonb = json_of_value(value);
	if (!identity_from_jsonb(*jsonb, identity))
		reply_violation(link, hello_call, "has an \"identity\" that is none");
}

/* An object, copied; NULL: there is none. */
static Jsonb *
heard_object(const Fields *said, const char *key)
{
	const JsonbValue *value = fields_value(said, key);

	return json_read_object(value) == NULL ? NULL : json_of_value(value);
}

/* Are the entity's counters here those of the array, which is NULL where it has none? */
static bool
has_counters(const char *entity_name, JsonbContainer *array)
{
	const Entity *entity = registry_entity(registry_get(), entity_name);
	const FieldRules none = {0};
	const FieldRules *rules = entity != NULL && (entity->ladder & RUNG_MERGE) ?
		&entity->field_rules : &none;

	if (rules->nsums != (array == NULL ? 0 : (int) JsonContainerSize(array)))
		return false;
	for (int i = 0; i < rules->n && array != NULL; i++)
	{
		JsonbValue	name;

		json_set_string(&name, rules->rule[i].field.data, rules->rule[i].field.len);
		if (rules->rule[i].kind == FIELD_RULE_SUM &&
			findJsonbValueFromContainer(array, JB_FARRAY, &name) == NULL)
			return false;
	}
	return true;
}

/*
 * What was added is told from what was set by the rule, so both sides have to have it: of a
 * table.  A relay's records are sent as they stand.
 */
static void
check_counters(const char *link_name, Jsonb *counters)
{
	const Link *link = link_of_name(link_name);
	Fields		hub = fields_of(counters);

	if (link == NULL)
		return;
	if (link->relay && hub.n > 0)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("the hub of link \"%s\" has fields with rule sum, which a relay cannot carry",
						link_name),
				 errhint("Subscribe the relay to other entities at the hub, or link tables instead.")));
	foreach_ptr(const Binding, binding, binding_list(link->source, NULL))
	{
		if (!has_counters(binding->entity, json_read_array(fields_value(&hub, binding->entity))))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("other fields of entity \"%s\" have rule sum here than at the hub of link \"%s\"",
							binding->entity, link_name),
					 errhint("Give both the same with sync_rule.")));
	}
}

static bool
has_reference(const Entity *entity, const char *field, const char *parent)
{
	for (int i = 0; i < entity->nreferences; i++)
		if (strcmp(entity->references[i].field, field) == 0 &&
			strcmp(entity->references[i].parent, parent) == 0)
			return true;
	return false;
}

/*
 * What rows refer to by keys of a table's own is put into external ids here, so we have to
 * know what does: else others would take our keys for theirs.
 */
static void
check_references_of(const char *link, const Source *source, const Entity *entity,
					const Fields *references)
{
	for (int i = 0; i < references->n; i++)
	{
		const char *field = field_name_cstring(references->field[i].name);
		const char *parent = json_read_string(&references->field[i].value);

		if (parent != NULL && source_has_own_keys(source, parent) &&
			!has_reference(entity, field, parent))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("field \"%s\" of entity \"%s\" refers to entity \"%s\" at the hub of link \"%s\", and not here",
							field, entity->name, parent, link),
					 errdetail("The table of \"%s\" draws its keys here, which nobody else knows.", parent),
					 errhint_call("SELECT sync_add_reference(%s, %s, %s).", quote_literal_cstr(entity->name),
								  quote_literal_cstr(field), quote_literal_cstr(parent))));
	}
}

static void
check_references(const char *link_name, Jsonb *references)
{
	const Link *link = link_of_name(link_name);
	Fields		hub = fields_of(references);
	const Source *source = link == NULL ? NULL : registry_source(registry_get(), link->source);

	if (source == NULL || source->nkeyed == 0)
		return;
	foreach_ptr(const Binding, binding, binding_list(link->source, NULL))
	{
		const Fields of_entity = fields_of_object(json_read_object(fields_value(&hub, binding->entity)));
		const Entity *entity = registry_entity(registry_get(), binding->entity);

		if (entity != NULL)
			check_references_of(link_name, source, entity, &of_entity);
	}
}

/* Raise if the hub is this database.  Its mark alone says little: a copy of us has it, too. */
static void
refuse_self(const Identity *self, const Identity *hub, const char *link)
{
	if (strcmp(self->mark, hub->mark) == 0 && self->system == hub->system &&
		self->database == hub->database)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("link \"%s\" leads to this database itself", link),
				 errhint("Name another database in the link's server.")));
}

void
greeting_hear(Greeting *greeting, const char *link, const Jsonb *answer)
{
	Fields		said;
	Identity	hub;
	Identity	known = {0};
	int64		now = GetCurrentTimestamp();

	said = fields_of(answer);
	heard_identity(link, &said, &hub, &greeting->hub);
	refuse_self(&greeting->self, &hub, link);
	greeting->counters = heard_object(&said, "counters");
	greeting->references = heard_object(&said, "references");
	greeting->spoke_is = heard_word(link, &said, "spoke_is");
	greeting->refused = heard_bool(link, &said, "refused");
	greeting->hub_behind = heard_bool(link, &said, "hub_behind");
	greeting->spoke_behind = heard_bool(link, &said, "spoke_behind");
	greeting->answered = heard_number(link, &said, "answered");
	greeting->pulled = heard_number(link, &said, "pulled");
	greeting->since = fields_value(&said, "since") == NULL ? 0 :
		heard_number(link, &said, "since");
	greeting->offset = heard_number(link, &said, "now") - now;
	/* we, not the hub, decide if it is the hub that was linked */
	if (greeting->peer.identity != NULL)
		(void) identity_from_jsonb(greeting->peer.identity, &known);
	greeting->hub_is = identity_judge(&known, &hub, !greeting->hub_behind, true);
	/* a new identity that an administrator accepted may lack any of our changes */
	greeting->hub_behind |= greeting->hub_is == IDENTITY_BEHIND ||
		(greeting->linked && greeting->hub_is == IDENTITY_NEW);
}

/* ---------- refusals ---------- */

const char *
greeting_why(const Greeting *greeting)
{
	if (identity_is_refused(greeting->hub_is))
		return identity_case_name(greeting->hub_is);
	return greeting->refused ? greeting->spoke_is : NULL;
}

static void
raise_other_hub(const Greeting *greeting, const char *link, const char *server)
{
	const char *what = greeting->hub_is == IDENTITY_COPY ?
		"a copy of the one that was linked, by CREATE DATABASE … TEMPLATE" :
		greeting->hub_is == IDENTITY_OLD_PRIMARY ?
		"an old primary, of before the one that was linked" :
		"another database than the one that was linked";

	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("the hub behind link \"%s\" is %s", link, what),
			 errhint("Let the link lead to that one: ALTER SERVER %s. Or go on with this one: SELECT syncext.release_hub(%s), and it is sent what it lacks of what was agreed on here.",
					 quote_identifier(server), quote_literal_cstr(link))));
}

static void
raise_other_spoke(const Greeting *greeting, const char *link, const char *source)
{
	const char *which = greeting->spoke_is;
	const char *what;

	if (strcmp(which, identity_case_name(IDENTITY_COPY)) == 0)
		what = "This one is a copy of it, by CREATE DATABASE … TEMPLATE.";
	else if (strcmp(which, identity_case_name(IDENTITY_OLD_PRIMARY)) == 0)
		what = "This one is an old primary: a later timeline of it has been there.";
	else if (strcmp(which, identity_case_name(IDENTITY_MOVED)) == 0)
		what = "This one is the same but for where it stands: it was moved, or is a copy.";
	else if (strcmp(which, identity_case_name(IDENTITY_DOUBTFUL)) == 0)
		what = "This one has missed what that one has exchanged since, and stands elsewhere: it was restored there, or is a copy.";
	else
		what = "They have nothing in common, or a dump of it was restored here.";
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("another database is linked to the hub of link \"%s\" as source \"%s\"", link,
					source),
			 errdetail_internal("%s", what),
			 greeting->linked ?
			 errhint_call("If this is a copy: SELECT sync_unlink(%s). If it takes the place of the other one: SELECT syncext.release_spoke(%s) at the hub.",
					 quote_literal_cstr(link), quote_literal_cstr(source)) :
			 errhint_call("Let it be a source of its own: SELECT sync_add_source(…) on both sides. If it takes the place of the other one: SELECT syncext.release_spoke(%s) at the hub.",
					 quote_literal_cstr(source))));
}

void
greeting_check(const Greeting *greeting, const char *link, const char *server,
			   const char *source)
{
	if (identity_is_refused(greeting->hub_is))
		raise_other_hub(greeting, link, server);
	if (greeting->refused)
		raise_other_spoke(greeting, link, source);
}

void
greeting_note_refusal(const char *link, const char *why)
{
	Peer		peer;

	if (!peer_find(link, &peer))
		return;
	peer.refused = why;
	peer.refused_at = GetCurrentTimestamp();
	peer_save(link, &peer);
}

/* ---------- what follows ---------- */

/* Note the hub's new mark: it was restored from a dump, or another hub was accepted. */
static void
note_mark(const char *link, const Identity *hub)
{
	owner_execute("UPDATE syncext.link SET hub = %s WHERE name = %s AND hub IS DISTINCT FROM %s",
				  quote_literal_cstr(hub->mark), quote_literal_cstr(link),
				  quote_literal_cstr(hub->mark));
}

/* Both sides count batches from what the hub says, from here on. */
static void
begin_counting(const Greeting *greeting, Peer *peer)
{
	peer->answered = greeting->answered;
	peer->pulled = greeting->pulled;
}

/*
 * Have the exchange compare what was agreed on with the hub, record by record, before
 * anything else goes over the link.  Edits made at the hub since we last heard from it
 * do not count as lost.
 */
static void
begin_resync(const Greeting *greeting, Peer *peer, const Identity *met, const char *turned)
{
	/* until a comparison is done, nothing else goes over the link: the numbers stay */
	if (met->known && (peer->resync_since == 0 || peer->met_epoch == 0))
		peer->met_epoch = met->epoch;
	peer->resync_since = peer->heard_at != 0 ? peer->heard_at : GetCurrentTimestamp();
	/* an old primary may have answered us while the one that is our hub now went on */
	if (greeting->since != 0)
		peer->resync_since = Min(peer->resync_since, greeting->since);
	peer->resync_entity = peer->resync_id = NULL;
	peer->resent = peer->stranded = 0;
	peer->turned = turned;
	peer->turned_at = GetCurrentTimestamp();
}

bool
greeting_note(Greeting *greeting, const char *link)
{
	Peer	   *peer = &greeting->peer;
	Identity	met = {0};
	Identity	hub;

	check_counters(link, greeting->counters);
	check_references(link, greeting->references);
	if (peer->identity != NULL)
		(void) identity_from_jsonb(peer->identity, &met);
	(void) identity_from_jsonb(greeting->hub, &hub);
	if (greeting->hub_is != IDENTITY_SAME)
		note_mark(link, &hub);
	peer->identity = greeting->hub;
	peer->refused = NULL;
	peer->refused_at = 0;
	if (greeting->hub_behind || greeting->spoke_behind || !greeting->linked)
		begin_counting(greeting, peer);
	if (greeting->hub_behind || greeting->spoke_behind)
		begin_resync(greeting, peer, &met, greeting->hub_behind ? "hub" : "spoke");
	/* of the keys that its tables have drawn one side has lost some */
	if (greeting->hub_behind || greeting->spoke_behind)
		owner_execute("UPDATE syncext.source_key SET unsaid = true WHERE NOT unsaid "
					  "AND source = (SELECT l.source FROM syncext.link l WHERE l.name = %s AND NOT l.relay)",
					  quote_literal_cstr(link));
	if (greeting->spoke_behind)
		incarnation_begin_epoch("behind");
	peer_save(link, peer);
	/* the caller reads the greeting again: what was noted is done */
	greeting->hub_behind = false;
	return greeting->spoke_behind;
}
