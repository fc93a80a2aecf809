/*
 * match_rule.h
 *	  A row of table syncext.match_rule.
 */
#ifndef SYNCEXT_MATCH_RULE_H
#define SYNCEXT_MATCH_RULE_H

#include "model/fields.h"

/* How records of an entity that may be one are found: by a key made of their fields. */
typedef struct MatchRule
{
	const char *name;
	FieldNames	fields;			/* in the order given, which the default normalizing goes by */
	const char *normalize;		/* function, with its schema; NULL: the default */
	const char *written_by;
	bool		links;			/* a new record may be the one that is there */
	int			nlink_sources;
	const char **link_sources;	/* for these sources */
} MatchRule;

#endif							/* SYNCEXT_MATCH_RULE_H */
