/*
 * key_problem.h
 *	  What sync_check tells of sources' own keys: table syncext.key_problem.
 */
#ifndef SYNCEXT_KEY_PROBLEM_H
#define SYNCEXT_KEY_PROBLEM_H

#include "datatype/timestamp.h"

#define KEY_PROBLEM_CONFLICT	"conflict"	/* two keys of a document are not of one record */
#define KEY_PROBLEM_REUSED		"reused"	/* a table has drawn a key that it had drawn before */
#define KEY_PROBLEM_UNSAID		"unsaid"	/* a record was served that the source has no key of */

typedef struct KeyProblem
{
	const char *source;
	const char *entity;
	const char *kind;
	const char *source_id;		/* NULL: none */
	const char *external_id;
	TimestampTz noted_at;		/* set here */
} KeyProblem;

/* Note one, in place of the last one of its kind. */
extern void key_problem_note(const KeyProblem *problem);
/* Find the one that is noted, by source, entity and kind. */
extern bool key_problem_find(KeyProblem *problem);

#endif							/* SYNCEXT_KEY_PROBLEM_H */
