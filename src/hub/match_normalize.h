/*
 * match_normalize.h
 *	  The key that a match rule makes of a record's fields.
 */
#ifndef SYNCEXT_MATCH_NORMALIZE_H
#define SYNCEXT_MATCH_NORMALIZE_H

#include "storage/registry.h"

/*
 * The rule's key of these fields, palloc'd; NULL: none.  Where the rule's function is not
 * called or raises an error of its own, *failed tells why.
 */
extern char *match_normalize(const MatchRule *rule, const Fields *fields, char **failed);

#endif							/* SYNCEXT_MATCH_NORMALIZE_H */
