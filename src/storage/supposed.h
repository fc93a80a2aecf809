/*
 * supposed.h
 *	  The registry as it would be with other priorities, rules or another ladder.
 */
#ifndef SYNCEXT_SUPPOSED_H
#define SYNCEXT_SUPPOSED_H

#include "storage/registry.h"

/* A row of syncext.source_priority. */
typedef struct SupposedRank
{
	const char *source;
	Rank		rank;
} SupposedRank;

/* A row of syncext.field_rule. */
typedef struct SupposedRule
{
	const char *entity;			/* or "*" */
	FieldRule	rule;
} SupposedRule;

/* What is supposed of an entity; what isn't stays as it is in force. */
typedef struct Supposed
{
	const char *entity;
	bool		has_ladder;
	Ladder		ladder;
	bool		has_ranks;
	int			nranks;
	SupposedRank *ranks;
	bool		has_rules;
	int			nrules;
	SupposedRule *rules;
} Supposed;

/* Made in the current memory context; what isn't supposed it shares with the real one. */
extern const Registry *registry_supposed(const Registry *real, const Supposed *supposed);

#endif							/* SYNCEXT_SUPPOSED_H */
