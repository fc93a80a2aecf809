/*
 * registry_load.h
 *	  Putting a registry together; for what makes one, registry.c and supposed.c.
 */
#ifndef SYNCEXT_REGISTRY_LOAD_H
#define SYNCEXT_REGISTRY_LOAD_H

#include "storage/registry.h"

/* Add them one by one, in any order, and settle them then. */
extern void registry_add_rank(Source *source, const Rank *rank);
extern void registry_settle_ranks(Registry *registry);
/* An entity's own rule of a field comes before that of every entity. */
extern void registry_add_rule(Entity *entity, bool own, const FieldRule *rule);
extern void registry_settle_rules(Registry *registry);

#endif							/* SYNCEXT_REGISTRY_LOAD_H */
