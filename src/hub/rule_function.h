/*
 * rule_function.h
 *	  Field rules that ask a function of the database's.
 */
#ifndef SYNCEXT_RULE_FUNCTION_H
#define SYNCEXT_RULE_FUNCTION_H

#include "model/ladder.h"
#include "storage/registry.h"

typedef struct RuleScope
{
	const Entity *entity;
	LadderRank	rank;
	void	   *rank_arg;
} RuleScope;

/*
 * A FieldFunction, whose arg is a RuleScope.  The function can do nothing but look and
 * answer: it runs as its owner, restricted, reads only, and what it leaves is taken back.
 * An error of its own leaves the field undecided; those of the server pass.
 */
extern FieldVerdict rule_function_decide(void *arg, const Change *change, const FieldRule *rule,
										 const RecordField *current, const JsonbValue *sent,
										 const JsonbValue **result, char **failed);

#endif							/* SYNCEXT_RULE_FUNCTION_H */
