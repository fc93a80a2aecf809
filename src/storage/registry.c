/*
 * registry.c
 *	  Sources, entities, priorities, field rules, references and subscriptions,
 *	  cached in the backend.
 *
 * Read by everything that decides.  The tables are read by systable scans with
 * the catalog snapshot, not through SPI: in REPEATABLE READ an edit that is in
 * force for all others must be in force here too, and the cache must not keep
 * what a transaction's old snapshot showed.
 */
#include "postgres.h"

#include "access/xact.h"
#include "catalog/pg_class.h"
#include "commands/trigger.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"
#include "utils/syscache.h"

#include "errcodes.h"
#include "model/clip.h"
#include "storage/config_cache.h"
#include "storage/config_scan.h"
#include "storage/hints.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/role.h"

PG_FUNCTION_INFO_V1(syncext_registry_changed);
PG_FUNCTION_INFO_V1(syncext_ladder_error);

/* ---------- invalidation ---------- */

/*
 * Trigger on the configuration tables.  All of them invalidate the same one,
 * so that one OID tells a session to read everything again.
 */
Datum
syncext_registry_changed(PG_FUNCTION_ARGS)
{
	if (!CALLED_AS_TRIGGER(fcinfo))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("syncext.registry_changed is a trigger function")));
	CacheInvalidateRelcacheByRelid(registry_relation("source"));
	return PointerGetDatum(NULL);
}

/* ---------- reading the tables ---------- */

static int
compare_sources(const void *a, const void *b)
{
	return strcmp(((const Source *) a)->name, ((const Source *) b)->name);
}

static int
compare_entities(const void *a, const void *b)
{
	return strcmp(((const Entity *) a)->name, ((const Entity *) b)->name);
}

static int
compare_ranks(const void *a, const void *b)
{
	const Rank *ra = a;
	const Rank *rb = b;
	int			cmp = strcmp(ra->entity, rb->entity);

	return cmp != 0 ? cmp : strcmp(ra->field, rb->field);
}

/* For the CHECK on syncext.entity: null, or why the rungs form no ladder. */
Datum
syncext_ladder_error(PG_FUNCTION_ARGS)
{
	Ladder		ladder;
	const char *why = NULL;
	int			n;
	char	   *no_name[] = {""};
	char	  **rungs = names_of_array(PG_GETARG_DATUM(0), NULL, &n);

	/* a null is a rung without a name */
	if (array_contains_nulls(PG_GETARG_ARRAYTYPE_P(0)))
	{
		rungs = no_name;
		n = 1;
	}
	if (ladder_parse(rungs, n, &ladder, &why))
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(why));
}

static void
load_sources(Registry *r)
{
	ConfigScan	scan;
	int			room = 8;

	r->sources = palloc0(sizeof(Source) * room);
	config_begin(&scan, "source");
	while (config_next(&scan))
	{
		Source	   *source;

		if (r->nsources == room)
			r->sources = repalloc(r->sources, sizeof(Source) * (room *= 2));
		source = &r->sources[r->nsources++];
		MemSet(source, 0, sizeof(Source));
		source->name = TextDatumGetCString(scan.values[0]);
		source->role_name = scan.isnull[1] ? NULL : TextDatumGetCString(scan.values[1]);
		source->role = role_of_name(source->role_name);
		source->single_writer = DatumGetBool(scan.values[2]);
		source->nentities = -1;
		if (!scan.isnull[3])
			source->entities = (const char **) names_of_array(scan.values[3], NULL, &source->nentities);
		source->retry_cap = DatumGetInt32(scan.values[4]);
		source->armed = true;
	}
	config_end(&scan);
	qsort(r->sources, r->nsources, sizeof(Source), compare_sources);
}

static void
load_entities(Registry *r)
{
	ConfigScan	scan;
	int			room = 8;

	r->entities = palloc0(sizeof(Entity) * room);
	config_begin(&scan, "entity");
	while (config_next(&scan))
	{
		Entity	   *entity;
		char	  **rungs;
		int			nrungs;
		const char *why;

		if (r->nentities == room)
			r->entities = repalloc(r->entities, sizeof(Entity) * (room *= 2));
		entity = &r->entities[r->nentities++];
		MemSet(entity, 0, sizeof(Entity));
		entity->name = TextDatumGetCString(scan.values[0]);
		rungs = names_of_array(scan.values[1], "a ladder", &nrungs);
		if (!ladder_parse(rungs, nrungs, &entity->ladder, &why))
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("the ladder of entity \"%s\" is not valid: %s", entity->name, why),
					 errhint("Mend it with UPDATE syncext.entity SET ladder = …; the default is {version,merge,priority,manual}.")));
	}
	config_end(&scan);
	qsort(r->entities, r->nentities, sizeof(Entity), compare_entities);
}

static void
load_priorities(Registry *r)
{
	ConfigScan	scan;

	config_begin(&scan, "source_priority");
	while (config_next(&scan))
	{
		char	   *name = TextDatumGetCString(scan.values[0]);
		Source	   *source = (Source *) registry_source(r, name);
		Rank	   *rank;

		if (source == NULL)
			continue;
		/* grow by doubling at each power of two */
		if ((source->nranks & (source->nranks - 1)) == 0)
		{
			Size		room = sizeof(Rank) * Max(1, source->nranks * 2);

			source->ranks = source->ranks ? repalloc(source->ranks, room) : palloc(room);
		}
		rank = &source->ranks[source->nranks++];
		rank->entity = TextDatumGetCString(scan.values[1]);
		rank->field = TextDatumGetCString(scan.values[2]);
		rank->rank = DatumGetInt32(scan.values[3]);
	}
	config_end(&scan);
	for (int i = 0; i < r->nsources; i++)
		qsort(r->sources[i].ranks, r->sources[i].nranks, sizeof(Rank), compare_ranks);
}

static FieldRuleKind
rule_kind(const char *entity, const char *field, const char *name)
{
	FieldRuleKind kind;

	if (!field_rule_by_name(name, &kind))
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("rule \"%s\" of field \"%s\" of entity \"%s\" does not exist", name, field,
						entity),
				 errhint("Set it to max, min, longest, latest, union, keep or manual with UPDATE syncext.field_rule.")));
	return kind;
}

static int
compare_field_rules(const void *a, const void *b)
{
	return field_name_cmp(((const FieldRule *) a)->field, ((const FieldRule *) b)->field);
}

/* An entity's own rule of a field comes before that of every entity. */
static void
add_field_rule(Entity *entity, bool own, FieldName field, FieldRuleKind kind)
{
	FieldRules *rules = &entity->field_rules;

	for (int i = 0; i < rules->n; i++)
	{
		if (field_name_cmp(rules->rule[i].field, field) != 0)
			continue;
		if (own)
			rules->rule[i].kind = kind;
		return;
	}
	/* rules are few: room for each as it comes */
	rules->rule = rules->rule == NULL ? palloc(sizeof(FieldRule)) :
		repalloc(rules->rule, sizeof(FieldRule) * (rules->n + 1));
	rules->rule[rules->n].field = field;
	rules->rule[rules->n++].kind = kind;
}

static void
load_field_rules(Registry *r)
{
	ConfigScan	scan;

	config_begin(&scan, "field_rule");
	while (config_next(&scan))
	{
		char	   *name = TextDatumGetCString(scan.values[0]);
		char	   *field = TextDatumGetCString(scan.values[1]);
		FieldRuleKind kind = rule_kind(name, field, TextDatumGetCString(scan.values[2]));
		bool		every = strcmp(name, "*") == 0;

		for (int i = 0; i < r->nentities; i++)
			if (every || strcmp(r->entities[i].name, name) == 0)
				add_field_rule(&r->entities[i], !every, field_name(field), kind);
	}
	config_end(&scan);
	for (int i = 0; i < r->nentities; i++)
		if (r->entities[i].field_rules.n > 1)
			qsort(r->entities[i].field_rules.rule, r->entities[i].field_rules.n,
				  sizeof(FieldRule), compare_field_rules);
}

static void
add_route(Source *source, const ConfigScan *scan)
{
	Route	   *route;
	char	  **mask;
	int			nmask;

	/* as few as entities: room for each as it comes */
	source->routes = source->routes == NULL ? palloc(sizeof(Route)) :
		repalloc(source->routes, sizeof(Route) * (source->nroutes + 1));
	route = &source->routes[source->nroutes++];
	route->entity = TextDatumGetCString(scan->values[1]);
	route->filter = scan->isnull[2] ? NULL : DatumGetJsonPathPCopy(scan->values[2]);
	mask = names_of_array(scan->values[3], NULL, &nmask);
	field_names_init(&route->mask, nmask);
	for (int i = 0; i < nmask; i++)
		field_names_add(&route->mask, field_name(mask[i]));
	source->filtered |= route->filter != NULL;
	source->armed &= DatumGetBool(scan->values[4]);
}

static void
load_routes(Registry *r)
{
	ConfigScan	scan;

	config_begin(&scan, "route");
	while (config_next(&scan))
	{
		Source	   *source = (Source *) registry_source(r, TextDatumGetCString(scan.values[0]));

		if (source != NULL)
			add_route(source, &scan);
	}
	config_end(&scan);
}

static OnDelete
on_delete_by_name(const char *name)
{
	if (strcmp(name, "restrict") == 0)
		return ON_DELETE_RESTRICT;
	return strcmp(name, "cascade") == 0 ? ON_DELETE_CASCADE : ON_DELETE_IGNORE;
}

static void
add_reference(Entity *child, Entity *parent, const char *field, OnDelete on_delete,
			  bool listed)
{
	Reference  *reference;

	/* references are few: room for each as it comes */
	child->references = child->references == NULL ? palloc(sizeof(Reference)) :
		repalloc(child->references, sizeof(Reference) * (child->nreferences + 1));
	reference = &child->references[child->nreferences++];
	reference->field = field;
	reference->parent = parent->name;
	reference->on_delete = on_delete;
	parent->is_parent = true;
	if (on_delete != ON_DELETE_IGNORE)
	{
		parent->holds_children = true;
		parent->unlisted |= !listed;
		child->tracks_parents = true;
	}
}

static void
load_references(Registry *r)
{
	ConfigScan	scan;

	config_begin(&scan, "reference");
	while (config_next(&scan))
	{
		Entity	   *child = (Entity *) registry_entity(r, TextDatumGetCString(scan.values[0]));
		Entity	   *parent = (Entity *) registry_entity(r, TextDatumGetCString(scan.values[2]));

		if (child != NULL && parent != NULL)
			add_reference(child, parent, TextDatumGetCString(scan.values[1]),
						  on_delete_by_name(TextDatumGetCString(scan.values[3])),
						  DatumGetBool(scan.values[4]));
	}
	config_end(&scan);
}

/*
 * An entity is one deeper than its deepest parent.  Going round as often as
 * there are entities settles every acyclic graph; cycles just stop there.
 */
static void
load_depths(Registry *r)
{
	for (int round = 0; round < r->nentities; round++)
	{
		for (int i = 0; i < r->nentities; i++)
		{
			Entity	   *child = &r->entities[i];

			for (int k = 0; k < child->nreferences; k++)
			{
				const Entity *parent = registry_entity(r, child->references[k].parent);

				if (parent != child)
					child->depth = Max(child->depth, Min(parent->depth + 1, r->nentities));
			}
		}
	}
}

static void
load_feed_state(Registry *r)
{
	ConfigScan	scan;

	config_begin(&scan, "feed_state");
	if (!config_next(&scan))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"syncext.feed_state\" is empty"),
				 errhint("Run INSERT INTO syncext.feed_state DEFAULT VALUES.")));
	r->current_log = DatumGetInt32(scan.values[1]);
	r->notifier_pid = scan.isnull[4] ? 0 : DatumGetInt32(scan.values[4]);
	config_end(&scan);
}

/* There are several rows until a dump that was restored is noticed, and none in between. */
static void
load_epoch(Registry *r)
{
	ConfigScan	scan;

	r->epoch = 1;
	config_begin(&scan, "feed_origin");
	while (config_next(&scan))
		r->epoch = Max(r->epoch, DatumGetInt64(scan.values[4]));
	config_end(&scan);
}

static void *
registry_load(void)
{
	Registry   *r = palloc0(sizeof(Registry));

	load_sources(r);
	load_entities(r);
	load_priorities(r);
	load_field_rules(r);
	load_routes(r);
	load_references(r);
	load_depths(r);
	load_feed_state(r);
	load_epoch(r);
	return r;
}

static ConfigCache cache = {.name = "registry", .load = registry_load};

const Registry *
registry_get(void)
{
	return config_cache_get(&cache);
}

uint64
registry_generation(void)
{
	(void) registry_get();
	return cache.generation;
}

/* ---------- looking things up ---------- */

const Source *
registry_source(const Registry *r, const char *name)
{
	Source		key = {.name = name};

	return bsearch(&key, r->sources, r->nsources, sizeof(Source), compare_sources);
}

const Entity *
registry_entity(const Registry *r, const char *name)
{
	Entity		key = {.name = name};

	return bsearch(&key, r->entities, r->nentities, sizeof(Entity), compare_entities);
}

const Source *
registry_source_required(const Registry *r, const char *name)
{
	const Source *source = registry_source(r, name);

	if (source == NULL)
	{
		registry_check_stranger(r, name);
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("source \"%s\" does not exist", name),
				 errhint_call("Add it with SELECT sync_add_source(%s).", quote_literal_cstr(name))));
	}
	return source;
}

const Entity *
registry_entity_required(const Registry *r, const char *name)
{
	const Entity *entity = registry_entity(r, name);

	if (entity == NULL)
	{
		registry_check_stranger(r, NULL);
		ereport(ERROR,
				(errcode(ERRCODE_SYNC_UNKNOWN_NAME),
				 errmsg("entity \"%s\" does not exist", name),
				 errhint_call("Add it with SELECT sync_add_entity(%s).", quote_literal_cstr(name))));
	}
	return entity;
}

/* Compare a rank's (entity, field) with what is looked up. */
static int
compare_rank_key(const Rank *rank, const char *entity, FieldName field)
{
	int			cmp = strcmp(rank->entity, entity);

	if (cmp == 0)
		cmp = strncmp(rank->field, field.data, field.len);
	if (cmp == 0 && rank->field[field.len] != '\0')
		cmp = 1;
	return cmp;
}

static bool
find_rank(const Source *source, const char *entity, FieldName field, int64 *rank)
{
	int			low = 0;
	int			high = source->nranks - 1;

	while (low <= high)
	{
		int			middle = (low + high) / 2;
		int			cmp = compare_rank_key(&source->ranks[middle], entity, field);

		if (cmp == 0)
		{
			*rank = source->ranks[middle].rank;
			return true;
		}
		if (cmp < 0)
			low = middle + 1;
		else
			high = middle - 1;
	}
	return false;
}

/* The most specific rank there is; field.data NULL asks for the whole record. */
int64
registry_rank(const Source *source, const char *entity, FieldName field)
{
	const FieldName any = {"*", 1};
	int64		rank;

	if (source == NULL)
		return RANK_NONE;
	if (field.data != NULL &&
		(find_rank(source, entity, field, &rank) || find_rank(source, "*", field, &rank)))
		return rank;
	if (find_rank(source, entity, any, &rank) || find_rank(source, "*", any, &rank))
		return rank;
	return RANK_NONE;
}

bool
source_gets_entity(const Source *source, const char *entity)
{
	if (source->nentities < 0)
		return true;
	for (int i = 0; i < source->nentities; i++)
		if (strcmp(source->entities[i], entity) == 0)
			return true;
	return false;
}

const Route *
source_route(const Source *source, const char *entity)
{
	for (int i = 0; i < source->nroutes; i++)
		if (strcmp(source->routes[i].entity, entity) == 0)
			return &source->routes[i];
	return NULL;
}

/* ---------- rights ---------- */

/* Superusers, the extension's owner and whoever has the owner's privileges. */
bool
role_is_administrator(void)
{
	return superuser() || has_privs_of_role(GetUserId(), registry_owner());
}

bool
source_role_held(const Source *source)
{
	if (OidIsValid(source->role) && has_privs_of_role(GetUserId(), source->role))
		return true;
	return role_is_administrator();
}

/* Who may read the golden records as a table sees all that there is. */
bool
role_reads_records(void)
{
	return pg_class_aclcheck(registry_relation("canonical"), GetUserId(),
							 ACL_SELECT) == ACLCHECK_OK;
}

static bool
holds_any_source(const Registry *r)
{
	for (int i = 0; i < r->nsources; i++)
		if (OidIsValid(r->sources[i].role) &&
			has_privs_of_role(GetUserId(), r->sources[i].role))
			return true;
	return role_is_administrator();
}

void
registry_check_stranger(const Registry *r, const char *source)
{
	if (!holds_any_source(r) && !role_reads_records())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 source != NULL ?
				 errmsg("permission denied to act as source \"%s\"", clip_string(source, CLIP_QUOTE)) :
				 errmsg("permission denied to read records of this hub"),
				 errhint("Ask an administrator of the hub to make role %s a member of a source's role.",
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
}

/* Nobody is to be told to grant a superuser's role away. */
static bool
role_is_grantable(const Source *source)
{
	return OidIsValid(source->role) && !superuser_arg(source->role) &&
		GetUserNameFromId(source->role, true) != NULL;
}

void
source_role_check(const Source *source)
{
	if (source_role_held(source))
		return;
	registry_check_stranger(registry_get(), source->name);
	if (role_is_grantable(source))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to act as source \"%s\"", source->name),
				 errhint("Become a member of its role: GRANT %s TO %s.",
						 quote_identifier(GetUserNameFromId(source->role, false)),
						 quote_identifier(GetUserNameFromId(GetUserId(), false)))));
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("permission denied to act as source \"%s\"", source->name),
			 source->role_name != NULL && !OidIsValid(source->role) ?
			 errdetail("Only administrators may act as it, for its role \"%s\" does not exist.", source->role_name) :
			 errdetail("Only administrators may act as it, for its role is theirs or it has none."),
			 errhint("Give it a role of its own: UPDATE syncext.source SET role = '…' WHERE name = %s.",
					 quote_literal_cstr(source->name))));
}
