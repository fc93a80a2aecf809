/*
 * match_problem.h
 *	  What sync_check tells of match rules: table syncext.match_problem.
 */
#ifndef SYNCEXT_MATCH_PROBLEM_H
#define SYNCEXT_MATCH_PROBLEM_H

#define MATCH_PROBLEM_COMMON	"common"	/* too many records share a key */
#define MATCH_PROBLEM_ERROR		"error"		/* the rule's function made no key */

/* Note one, unless one of its kind and rule is noted.  error may be NULL. */
extern void match_problem_note(const char *entity, const char *rule, const char *kind,
							   const char *external_id, const char *error);

#endif							/* SYNCEXT_MATCH_PROBLEM_H */
