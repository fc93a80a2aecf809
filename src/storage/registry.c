/*
 * registry.c
 *	  Sources, entities, priorities, field rules, references and subscriptions,
 *	  cached in the backend.
 *
 * The tables are read by systable scans with the catalog snapshot, not through SPI:
 * in REPEATABLE READ an edit that is in force for other sessions must be in force
 * here, too, and the cache must not keep what a transaction's old snapshot showed.
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/inval.h"

#include "errcodes.h"
#include "storage/config_cache.h"
#include "storage/config_scan.h"
#include "storage/match_rule.h"
#include "storage/names.h"
#include "storage/registry.h"
#include "storage/registry_load.h"
#include "storage/rows.h"

PG_FUNCTION_INFO_V1(syncext_registry_changed);
PG_FUNCTION_INFO_V1(syncext_ladder_error);

/* ---------- invalidation ---------- */

void		(*registry_changed_hook) (void) = NULL;

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
	registry_changed_hook();
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

/* Room for one more in an array of n, which grows by doubling at each power of two. */
static void *
one_more(void *array, int n, Size size)
{
	if (array == NULL)
		return palloc(size);
	return n > 0 && (n & (n - 1)) == 0 ? repalloc(array, size * n * 2) : array;
}

static void
read_source(void *arg, const ConfigRow *row)
{
	Registry   *r = arg;
	Source	   *source;

	r->sources = one_more(r->sources, r->nsources, sizeof(Source));
	source = &r->sources[r->nsources++];
	MemSet(source, 0, sizeof(Source));
	source->name = config_text(row, COL_SOURCE_NAME);
	source->role_name = config_text(row, COL_SOURCE_ROLE);
	source->role = role_of_name(source->role_name);
	source->single_writer = DatumGetBool(row->values[COL_SOURCE_SINGLE_WRITER]);
	source->nentities = -1;
	if (!row->isnull[COL_SOURCE_ENTITIES])
		source->entities = (const char **) names_of_array(row->values[COL_SOURCE_ENTITIES], NULL, &source->nentities);
	source->retry_cap = DatumGetInt32(row->values[COL_SOURCE_RETRY_CAP]);
	source->relay = DatumGetBool(row->values[COL_SOURCE_RELAY]);
	source->armed = true;
	source->keys_armed = true;
}

/* The CHECK may have been dropped. */
static void
read_deletes(Entity *entity, const char *name)
{
	if (!delete_mode_by_name(name, &entity->deletes))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("entity \"%s\" has deletes \"%s\", which is none of the ways", entity->name, name),
				 errhint("Mend it with UPDATE syncext.entity SET deletes = …: latest, delete_wins or edit_wins.")));
}

static void
read_entity(void *arg, const ConfigRow *row)
{
	Registry   *r = arg;
	Entity	   *entity;
	int			nrungs;
	char	  **rungs = names_of_array(row->values[COL_ENTITY_LADDER], "a ladder", &nrungs);
	const char *why;

	r->entities = one_more(r->entities, r->nentities, sizeof(Entity));
	entity = &r->entities[r->nentities++];
	MemSet(entity, 0, sizeof(Entity));
	entity->name = config_text(row, COL_ENTITY_NAME);
	if (!ladder_parse(rungs, nrungs, &entity->ladder, &why))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the ladder of entity \"%s\" is not valid: %s", entity->name, why),
				 errhint("Mend it with UPDATE syncext.entity SET ladder = …; the default is {version,merge,priority,manual}.")));
	read_deletes(entity, config_text(row, COL_ENTITY_DELETES));
	entity->merged = DatumGetBool(row->values[COL_ENTITY_MERGED]);
}

void
registry_add_rank(Source *source, const Rank *rank)
{
	source->ranks = one_more(source->ranks, source->nranks, sizeof(Rank));
	source->ranks[source->nranks++] = *rank;
}

void
registry_settle_ranks(Registry *r)
{
	for (int i = 0; i < r->nsources; i++)
		qsort(r->sources[i].ranks, r->sources[i].nranks, sizeof(Rank), compare_ranks);
}

static void
read_priority(void *arg, const ConfigRow *row)
{
	Source	   *source = (Source *) registry_source(arg, config_text(row, COL_SOURCE_PRIORITY_SOURCE));
	const Rank	rank = {
		.entity = config_text(row, COL_SOURCE_PRIORITY_ENTITY),
		.field = config_text(row, COL_SOURCE_PRIORITY_FIELD),
		.rank = DatumGetInt32(row->values[COL_SOURCE_PRIORITY_PRIORITY])
	};

	if (source != NULL)
		registry_add_rank(source, &rank);
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
				 errhint("Set it to max, min, longest, latest, union, keep, manual, priority, function or sum with UPDATE syncext.field_rule.")));
	return kind;
}

static int
compare_field_rules(const void *a, const void *b)
{
	return field_name_cmp(((const FieldRule *) a)->field, ((const FieldRule *) b)->field);
}

void
registry_add_rule(Entity *entity, bool own, const FieldRule *rule)
{
	FieldRules *rules = &entity->field_rules;

	for (int i = 0; i < rules->n; i++)
	{
		if (field_name_cmp(rules->rule[i].field, rule->field) != 0)
			continue;
		if (own)
			rules->rule[i] = *rule;
		return;
	}
	rules->rule = one_more(rules->rule, rules->n, sizeof(FieldRule));
	rules->rule[rules->n++] = *rule;
}

/* Rows may have been written without their trigger. */
static void
take_field_rule(const ConfigRow *row, const char *entity, FieldRule *rule)
{
	char	   *field = config_text(row, COL_FIELD_RULE_FIELD);
	Jsonb	   *args = row->isnull[COL_FIELD_RULE_ARGS] ? NULL :
		DatumGetJsonbPCopy(row->values[COL_FIELD_RULE_ARGS]);
	const char *wrong;

	MemSet(rule, 0, sizeof(FieldRule));
	rule->field = field_name(field);
	rule->kind = rule_kind(entity, field, config_text(row, COL_FIELD_RULE_RULE));
	rule->written_by = config_text(row, COL_FIELD_RULE_WRITTEN_BY);
	wrong = field_rule_read_args(rule, args);
	if (wrong != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the arguments of the rule of field \"%s\" of entity \"%s\" cannot be: %s", field,
						entity, wrong),
				 errhint("Mend them with UPDATE syncext.field_rule SET args = ….")));
}

static void
note_empty_values(FieldRules *rules)
{
	rules->empty = palloc(sizeof(EmptyValues) * Max(rules->n, 1));
	for (int i = 0; i < rules->n; i++)
	{
		if (rules->rule[i].empty == NULL)
			continue;
		rules->empty[rules->nempty].field = rules->rule[i].field;
		rules->empty[rules->nempty++].values = rules->rule[i].empty;
	}
}

static void
read_field_rule(void *arg, const ConfigRow *row)
{
	Registry   *r = arg;
	char	   *name = config_text(row, COL_FIELD_RULE_ENTITY);
	bool		every = strcmp(name, "*") == 0;
	FieldRule	rule;

	take_field_rule(row, name, &rule);
	for (int i = 0; i < r->nentities; i++)
		if (every || strcmp(r->entities[i].name, name) == 0)
			registry_add_rule(&r->entities[i], !every, &rule);
}

void
registry_settle_rules(Registry *r)
{
	for (int i = 0; i < r->nentities; i++)
	{
		FieldRules *rules = &r->entities[i].field_rules;

		if (rules->n > 1)
			qsort(rules->rule, rules->n, sizeof(FieldRule), compare_field_rules);
		note_empty_values(rules);
		for (int k = 0; k < rules->n; k++)
			rules->nsums += rules->rule[k].kind == FIELD_RULE_SUM;
		field_rules_group(rules);
	}
}

static void
read_route(void *arg, const ConfigRow *row)
{
	Source	   *source = (Source *) registry_source(arg, config_text(row, COL_ROUTE_SOURCE));
	Route	   *route;

	if (source == NULL)
		return;
	source->routes = one_more(source->routes, source->nroutes, sizeof(Route));
	route = &source->routes[source->nroutes++];
	route->entity = config_text(row, COL_ROUTE_ENTITY);
	route->filter = row->isnull[COL_ROUTE_FILTER] ? NULL : DatumGetJsonPathPCopy(row->values[COL_ROUTE_FILTER]);
	field_names_of_array(row->values[COL_ROUTE_MASK], &route->mask);
	source->filtered |= route->filter != NULL;
	source->armed &= DatumGetBool(row->values[COL_ROUTE_ARMED]);
}

static void
read_keyed_entity(void *arg, const ConfigRow *row)
{
	Registry   *r = arg;
	Source	   *source = (Source *) registry_source(r, config_text(row, COL_KEYED_ENTITY_SOURCE));

	/* a link speaks of records by their external ids */
	if (source == NULL || DatumGetBool(row->values[COL_KEYED_ENTITY_LINKED]))
		return;
	source->keyed = one_more(source->keyed, source->nkeyed, sizeof(char *));
	source->keyed[source->nkeyed++] = config_text(row, COL_KEYED_ENTITY_ENTITY);
	source->keys_armed &= DatumGetBool(row->values[COL_KEYED_ENTITY_ARMED]);
	r->any_keyed = true;
}

static int
compare_matches(const void *a, const void *b)
{
	return strcmp(((const MatchRule *) a)->name, ((const MatchRule *) b)->name);
}

static void
read_match(void *arg, const ConfigRow *row)
{
	Entity	   *entity = (Entity *) registry_entity(arg, config_text(row, COL_MATCH_RULE_ENTITY));
	MatchRule  *match;

	if (entity == NULL)
		return;
	entity->matches = one_more(entity->matches, entity->nmatches, sizeof(MatchRule));
	match = &entity->matches[entity->nmatches++];
	match->name = config_text(row, COL_MATCH_RULE_NAME);
	field_names_of_array(row->values[COL_MATCH_RULE_FIELDS], &match->fields);
	match->normalize = config_text(row, COL_MATCH_RULE_NORMALIZE);
	match->links = strcmp(config_text(row, COL_MATCH_RULE_ACTION), "link") == 0;
	match->link_sources = (const char **) names_of_array(row->values[COL_MATCH_RULE_LINK_SOURCES], NULL, &match->nlink_sources);
	match->written_by = config_text(row, COL_MATCH_RULE_WRITTEN_BY);
}

static void
settle_matches(Registry *r)
{
	for (int i = 0; i < r->nentities; i++)
		if (r->entities[i].nmatches > 1)
			qsort(r->entities[i].matches, r->entities[i].nmatches, sizeof(MatchRule), compare_matches);
}

static OnDelete
on_delete_by_name(const char *name)
{
	if (strcmp(name, "restrict") == 0)
		return ON_DELETE_RESTRICT;
	return strcmp(name, "cascade") == 0 ? ON_DELETE_CASCADE : ON_DELETE_IGNORE;
}

static void
read_reference(void *arg, const ConfigRow *row)
{
	Entity	   *child = (Entity *) registry_entity(arg, config_text(row, COL_REFERENCE_ENTITY));
	Entity	   *parent = (Entity *) registry_entity(arg, config_text(row, COL_REFERENCE_PARENT));
	Reference  *reference;

	if (child == NULL || parent == NULL)
		return;
	child->references = one_more(child->references, child->nreferences, sizeof(Reference));
	reference = &child->references[child->nreferences++];
	reference->field = config_text(row, COL_REFERENCE_FIELD);
	reference->parent = parent->name;
	reference->on_delete = on_delete_by_name(config_text(row, COL_REFERENCE_ON_DELETE));
	parent->is_parent = true;
	if (reference->on_delete != ON_DELETE_IGNORE)
	{
		parent->holds_children = true;
		parent->unlisted |= !DatumGetBool(row->values[COL_REFERENCE_LISTED]);
		child->tracks_parents = true;
	}
}

/*
 * An entity is one deeper than its deepest parent.  Going round as often as
 * there are entities settles every acyclic graph; cycles just stop there.
 */
static void
settle_depths(Registry *r)
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

/* False where a hand has written something else. */
static bool
privilege_by_name(const char *name, PrivilegeKind *kind)
{
	static const char *const names[] = {"monitor", "steward", "admin"};

	for (int i = 0; i < (int) lengthof(names); i++)
	{
		*kind = i;
		if (strcmp(name, names[i]) == 0)
			return true;
	}
	return false;
}

static void
read_privilege(void *arg, const ConfigRow *row)
{
	Registry   *r = arg;
	Privilege	privilege = {
		.role = role_of_name(config_text(row, COL_PRIVILEGE_ROLE)),
		.entity = config_text(row, COL_PRIVILEGE_ENTITY)
	};

	if (!privilege_by_name(config_text(row, COL_PRIVILEGE_PRIVILEGE), &privilege.kind))
		return;
	r->privileges = one_more(r->privileges, r->nprivileges, sizeof(Privilege));
	r->privileges[r->nprivileges++] = privilege;
}

static void
read_feed_state(void *arg, const ConfigRow *row)
{
	Registry   *r = arg;

	r->current_log = DatumGetInt32(row->values[COL_FEED_STATE_CURRENT_LOG]);
	r->notifier_pid = row->isnull[COL_FEED_STATE_NOTIFIER_PID] ? 0 : DatumGetInt32(row->values[COL_FEED_STATE_NOTIFIER_PID]);
}

/* There are several rows until a dump that was restored is noticed, and none in between. */
static void
read_epoch(void *arg, const ConfigRow *row)
{
	Registry   *r = arg;

	r->epoch = Max(r->epoch, DatumGetInt64(row->values[COL_FEED_ORIGIN_EPOCH]));
}

static void *
registry_load(void)
{
	Registry   *r = palloc0(sizeof(Registry));

	/* bsearch() takes no null */
	r->sources = palloc(sizeof(Source));
	r->entities = palloc(sizeof(Entity));
	r->current_log = -1;
	r->epoch = 1;
	config_read("source", read_source, r);
	qsort(r->sources, r->nsources, sizeof(Source), compare_sources);
	config_read("entity", read_entity, r);
	qsort(r->entities, r->nentities, sizeof(Entity), compare_entities);
	config_read("source_priority", read_priority, r);
	registry_settle_ranks(r);
	config_read("field_rule", read_field_rule, r);
	registry_settle_rules(r);
	config_read("route", read_route, r);
	config_read("keyed_entity", read_keyed_entity, r);
	config_read("match_rule", read_match, r);
	settle_matches(r);
	config_read("reference", read_reference, r);
	settle_depths(r);
	config_read("privilege", read_privilege, r);
	config_read("feed_origin", read_epoch, r);
	config_read("feed_state", read_feed_state, r);
	if (r->current_log < 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("table \"syncext.feed_state\" is empty"),
				 errhint("Run INSERT INTO syncext.feed_state DEFAULT VALUES.")));
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

bool
source_has_own_keys(const Source *source, const char *entity)
{
	for (int i = 0; i < source->nkeyed; i++)
		if (strcmp(source->keyed[i], entity) == 0)
			return true;
	return false;
}

/* ---------- writing ---------- */

void
source_set_single_writer(const char *source, bool single_writer)
{
	Rows	   *rows = rows_open_write(registry_relation("source"));
	Datum		key = CStringGetTextDatum(source);
	Datum		values[MAX_COLUMNS];
	bool		isnull[MAX_COLUMNS];

	do
	{
		if (!rows_find(rows, 1, &key))
			break;
		rows_values(rows, values, isnull);
		if (DatumGetBool(values[COL_SOURCE_SINGLE_WRITER - 1]) == single_writer)
			break;
		values[COL_SOURCE_SINGLE_WRITER - 1] = BoolGetDatum(single_writer);
	} while (rows_update(rows, values, isnull) != ROWS_DONE);
	rows_close(rows);
}
