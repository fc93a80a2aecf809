/*
 * supposed.c
 *	  The registry as it would be with other priorities, rules or another ladder.
 */
#include "postgres.h"

#include "storage/registry_load.h"
#include "storage/supposed.h"

static void
suppose_ranks(Registry *registry, const Supposed *supposed)
{
	for (int i = 0; i < registry->nsources; i++)
	{
		registry->sources[i].nranks = 0;
		registry->sources[i].ranks = NULL;
	}
	for (int i = 0; i < supposed->nranks; i++)
	{
		const SupposedRank *row = &supposed->ranks[i];

		registry_add_rank((Source *) registry_source(registry, row->source), &row->rank);
	}
	registry_settle_ranks(registry);
}

static void
suppose_rules(Entity *entity, const Supposed *supposed)
{
	Registry	of_one = {.nentities = 1, .entities = entity};

	MemSet(&entity->field_rules, 0, sizeof(FieldRules));
	for (int i = 0; i < supposed->nrules; i++)
	{
		const SupposedRule *row = &supposed->rules[i];
		bool		every = strcmp(row->entity, "*") == 0;

		if (every || strcmp(row->entity, entity->name) == 0)
			registry_add_rule(entity, !every, &row->rule);
	}
	registry_settle_rules(&of_one);
}

static void *
copy_array(const void *array, Size bytes)
{
	return memcpy(palloc(Max(bytes, 1)), array, bytes);
}

const Registry *
registry_supposed(const Registry *real, const Supposed *supposed)
{
	Registry   *registry = copy_array(real, sizeof(Registry));
	Entity	   *entity;

	registry->sources = copy_array(real->sources, sizeof(Source) * real->nsources);
	registry->entities = copy_array(real->entities, sizeof(Entity) * real->nentities);
	entity = (Entity *) registry_entity(registry, supposed->entity);
	if (supposed->has_ranks)
		suppose_ranks(registry, supposed);
	if (supposed->has_rules)
		suppose_rules(entity, supposed);
	if (supposed->has_ladder)
		entity->ladder = supposed->ladder;
	return registry;
}
