/*
 * said_keys.c
 *	  The keys that the tables of a spoke draw, as the spoke tells them.
 *
 * Called from SQL, by link/exchange_keys of the spoke, which has the crosswalk: over a link
 * records go by external ids.  What is said is how it is there now, so it may come again in
 * any order of calls; a key that named another record so far doesn't any more.  Where that
 * one lives, and has got no other key, the table has drawn the key twice: it was restored,
 * and what came of it may be one record.
 */
#include "postgres.h"

#include "access/xact.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "errcodes.h"
#include "hub/hello.h"
#include "hub/matching.h"
#include "hub/own_keys.h"
#include "hub/visibility.h"
#include "model/json_read.h"
#include "process/durability.h"
#include "process/owner.h"
#include "settings.h"
#include "storage/alias.h"
#include "storage/canonical.h"
#include "storage/key_problem.h"
#include "storage/link.h"
#include "storage/match_candidate.h"
#include "storage/source_key.h"

PG_FUNCTION_INFO_V1(syncext_hub_keys);
PG_FUNCTION_INFO_V1(syncext_hub_greatest_keys);

/* What stands for a match rule where two records have met by a key that was drawn twice. */
#define RULE_OF_KEY	"the same key"

typedef struct Saying
{
	const Source *source;
	SourceKeys *keys;
	Canonical  *records;
	TimestampTz turned_at;		/* when the spoke was last seen to have gone back in time; 0: never */
} Saying;

/* ---------- reading ---------- */

static void
raise_bad(const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_SYNC_BAD_DOCUMENT),
			 errmsg_internal("what the spoke says of its keys %s", what),
			 errhint("Only links call syncext.hub_keys.")));
}

static const char *
said_string(JsonbContainer *object, const char *name)
{
	JsonbValue	value;
	char	   *string;

	if (getKeyJsonValueFromContainer(object, name, strlen(name), &value) == NULL ||
		(string = json_read_string(&value)) == NULL || string[0] == '\0' ||
		strlen(string) > CHANGE_MAX_EXTERNAL_ID)
		raise_bad(psprintf("has no \"%s\" of 1 to %d bytes", name, CHANGE_MAX_EXTERNAL_ID));
	return string;
}

static SourceKey *
parse_keys(const char *source, Jsonb *said, int *n)
{
	SourceKey  *keys;

	if (!JB_ROOT_IS_ARRAY(said) || JB_ROOT_IS_SCALAR(said) ||
		(int) JB_ROOT_COUNT(said) > setting_max_batch)
		raise_bad(psprintf("is no array of at most %d keys", setting_max_batch));
	*n = JB_ROOT_COUNT(said);
	keys = palloc0(sizeof(SourceKey) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		JsonbContainer *object = json_read_object(getIthJsonbValueFromContainer(&said->root, i));
		JsonbValue	ended;

		if (object == NULL)
			raise_bad("has something else than objects");
		keys[i].source = source;
		keys[i].entity = said_string(object, "entity");
		keys[i].source_id = said_string(object, "sourceId");
		keys[i].external_id = said_string(object, "externalId");
		keys[i].duplicate = getKeyJsonValueFromContainer(object, "ended", 5, &ended) != NULL &&
			json_read_true(&ended);
	}
	return keys;
}

/* ---------- entities ---------- */

static bool
is_keyed(const SourceKey *key)
{
	return owner_true("SELECT EXISTS (SELECT FROM syncext.keyed_entity WHERE source = %s AND entity = %s AND linked)",
					  quote_literal_cstr(key->source), quote_literal_cstr(key->entity));
}

/* The entity's keys are told from now on; what is noted of them hangs on that. */
static void
begin_entity(const SourceKey *key)
{
	/* one that was dropped since the link was opened: the link waits for it */
	(void) registry_entity_required(registry_get(), key->entity);
	if (is_keyed(key))
		return;
	owner_execute("INSERT INTO syncext.keyed_entity (source, entity, armed, linked) "
				  "VALUES (%s, %s, true, true) ON CONFLICT DO NOTHING",
				  quote_literal_cstr(key->source), quote_literal_cstr(key->entity));
	if (!is_keyed(key))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("source \"%s\" has keys of its own, which links cannot use", key->source),
				 errhint("Let the spoke be a source of its own.")));
}

static void
begin_entities(const SourceKey *keys, int n)
{
	const char *last = NULL;

	for (int i = 0; i < n; i++)
	{
		if (last == NULL || strcmp(last, keys[i].entity) != 0)
			begin_entity(&keys[i]);
		last = keys[i].entity;
	}
}

/* ---------- binding ---------- */

/* Of a record that the source isn't shown nothing may come of what it says. */
static bool
shows_living(const Saying *s, const SourceKey *key)
{
	return visibility_shows_living(s->source, key->entity, key->external_id, s->records);
}

/* The record gets no other key of the source while it has one. */
static void
leave_key(const Saying *s, const SourceKey *key)
{
	SourceKey	current;

	if (source_key_current(s->keys, key->source, key->entity, key->external_id, &current) &&
		strcmp(current.source_id, key->source_id) != 0)
		(void) mapped_remove(s->keys, &current);
}

/* The key named a record that lives, and now it names another: a steward is to look. */
static void
note_drawn_twice(const Saying *s, const SourceKey *was, const SourceKey *is)
{
	const KeyProblem problem = {
		.source = was->source,
		.entity = was->entity,
		.kind = KEY_PROBLEM_REUSED,
		.source_id = was->source_id,
		.external_id = was->external_id
	};
	MatchCandidates *candidates;

	if (!shows_living(s, was))
		return;
	key_problem_note(&problem);
	if (!shows_living(s, is))
		return;
	candidates = mapped_open(&match_candidate_def, true);
	if (match_candidates_waiting(candidates, is->entity, is->external_id, MATCH_MAX_CANDIDATES) < MATCH_MAX_CANDIDATES)
		(void) match_candidate_add(candidates, is->entity, RULE_OF_KEY, was->external_id, is->external_id);
	mapped_close(candidates);
}

/* Another session is changing the same keys, by a merge of their records for one. */
static void
raise_changing(const SourceKey *key)
{
	ereport(ERROR,
			(errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
			 errmsg("keys of source \"%s\" are just being changed", key->source),
			 errhint("The link says them again.")));
}

/*
 * What the spoke doesn't say again as it was it has lost: there the key was drawn once more,
 * and the record that it had named has got another one since.
 */
static void
look_for_lost(const Saying *s, const SourceKey *key)
{
	SourceKey	found = *key;

	if (mapped_find(s->keys, &found) && !found.duplicate && found.since < s->turned_at &&
		strcmp(found.external_id, key->external_id) != 0)
		note_drawn_twice(s, &found, key);
}

static void
take_key(const Saying *s, const SourceKey *key)
{
	SourceKey	found = *key;
	bool		is_there = mapped_find(s->keys, &found);

	/* it is known to be of the present */
	if (is_there && !key->duplicate && found.since < s->turned_at &&
		strcmp(found.external_id, key->external_id) == 0)
	{
		(void) mapped_remove(s->keys, &found);
		is_there = false;
	}
	if (is_there && strcmp(found.external_id, key->external_id) != 0)
	{
		if (!found.duplicate && !key->duplicate)
			note_drawn_twice(s, &found, key);
		(void) mapped_remove(s->keys, &found);
		is_there = false;
	}
	if (is_there && found.duplicate == key->duplicate)
		return;
	if (is_there ? !source_key_save(s->keys, key) : !source_key_add(s->keys, key))
		raise_changing(key);
}

/* Does the call say another key of the record? */
static bool
is_said(const SourceKey *keys, int n, const SourceKey *key)
{
	CHECK_FOR_INTERRUPTS();
	for (int i = 0; i < n; i++)
		if (!keys[i].duplicate && strcmp(keys[i].external_id, key->external_id) == 0 &&
			strcmp(keys[i].entity, key->entity) == 0 &&
			strcmp(keys[i].source_id, key->source_id) != 0)
			return true;
	return false;
}

/*
 * The record was merged into another one here: the key is one of that, too, where that has one
 * already, or gets one.
 */
static void
follow_merge(const Saying *s, SourceKey *keys, int n, int i)
{
	SourceKey  *key = &keys[i];
	SourceKey	current;
	const char *kept = canonical_lives(s->records, key->entity, key->external_id) ? NULL :
		alias_kept(key->entity, key->external_id);

	if (kept == NULL)
		return;
	key->external_id = kept;
	key->duplicate |= is_said(keys, n, key) ||
		(source_key_current(s->keys, key->source, key->entity, kept, &current) &&
		 strcmp(current.source_id, key->source_id) != 0);
}

static void
take_keys(const Saying *s, SourceKey *keys, int n)
{
	for (int i = 0; i < n; i++)
		follow_merge(s, keys, n, i);
	for (int i = 0; i < n; i++)
		if (!keys[i].duplicate)
			look_for_lost(s, &keys[i]);
	/* what was given another key comes before who has got its old one */
	for (int i = 0; i < n; i++)
		if (!keys[i].duplicate)
			leave_key(s, &keys[i]);
	for (int i = 0; i < n; i++)
		take_key(s, &keys[i]);
}

/* ---------- for SQL ---------- */

static const Source *
spoke_source(FunctionCallInfo fcinfo)
{
	const Source *source = registry_source_required(registry_get(),
													text_to_cstring(PG_GETARG_TEXT_PP(0)));

	source_role_check(source);
	link_refuse_source(source->name);
	hello_require(source->name);
	hello_check(source->name);
	return source;
}

Datum
syncext_hub_keys(PG_FUNCTION_ARGS)
{
	Saying		saying = {.source = spoke_source(fcinfo)};
	int			n;
	SourceKey  *keys = parse_keys(saying.source->name, PG_GETARG_JSONB_P(1), &n);

	begin_entities(keys, n);
	source_keys_hold(saying.source->name);
	saying.keys = mapped_open(&source_key_def, true);
	saying.records = canonical_open(false);
	saying.turned_at = owner_time("SELECT turned_at FROM syncext.spoke WHERE source = %s",
								  quote_literal_cstr(saying.source->name));
	take_keys(&saying, keys, n);
	canonical_close(saying.records);
	mapped_close(saying.keys);
	/* the spoke doesn't say them again */
	durability_after_commit();
	PG_RETURN_VOID();
}

Datum
syncext_hub_greatest_keys(PG_FUNCTION_ARGS)
{
	const Source *source = spoke_source(fcinfo);
	char	   *greatest = owner_text("SELECT syncext.greatest_keys(%s)", quote_literal_cstr(source->name));

	PG_RETURN_DATUM(DirectFunctionCall1(jsonb_in, CStringGetDatum(greatest)));
}
